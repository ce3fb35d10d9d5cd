//! One raw control connection: logs in, runs tiny statements with the least delay, or becomes a stream of bytes (the log).
//! For what the driver cannot do: a barrier in one round trip, a log stream in bounded memory. Never carries a client's statement.

use tokio::io::AsyncWriteExt;

use super::connection::ServerConnection;
use super::control::{ControlError, ControlSettings};
use super::login::{self, Login};
use crate::protocol::ProtocolError;
use crate::protocol::auth::Secret;
use crate::protocol::capability as cap;
use crate::protocol::command::Command;
use crate::protocol::packet::{Cursor, HEADER_BYTES, ReadError, write_packet};
use crate::protocol::response::{EOF_HEADER, ERR_HEADER, ErrPacket, OK_HEADER};

/// Longest packet taken in answer to a statement (a status row carries the whole GTID set).
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most rows taken in answer to a statement.
const ROWS_MAX: usize = 10_000;
/// Read buffer; the log is read in blocks of this size.
const BUFFER_BYTES: usize = 64 * 1024;
/// utf8mb4_general_ci: known to every server that we talk to.
const COLLATION: u16 = 45;

const CAPABILITIES: u32 = cap::LONG_PASSWORD
    | cap::LONG_FLAG
    | cap::PROTOCOL_41
    | cap::TRANSACTIONS
    | cap::SECURE_CONNECTION
    | cap::PLUGIN_AUTH
    | cap::PLUGIN_AUTH_LENENC
    | cap::CONNECT_ATTRS
    | cap::DEPRECATE_EOF;

/// One row of text cells; NULL is `None`.
pub type Row = Vec<Option<Vec<u8>>>;

/// A logged-in connection.
pub struct WireConn {
    server: ServerConnection,
    out: Vec<u8>,
}

impl WireConn {
    /// The server's number for this connection.
    pub fn connection_id(&self) -> u32 {
        self.server.thread_id
    }

    /// Whether the server offers TLS.
    pub fn has_tls(&self) -> bool {
        self.server.facts.capabilities & cap::SSL != 0
    }

    /// Runs a statement with no result or one small text result.
    /// After any error but `ControlError::Server` the connection must be dropped. Not cancel safe: drop it then, too.
    ///
    /// # Errors
    /// The server's, the socket's, or more than a few megabytes of answer.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, ControlError> {
        Ok(self.query_named(sql).await?.1)
    }

    /// The same with the names of the columns.
    ///
    /// # Errors
    /// As `query`.
    pub async fn query_named(
        &mut self,
        sql: &str,
    ) -> Result<(Vec<String>, Vec<Row>), ControlError> {
        self.send_command(Command::Query, sql.as_bytes()).await?;
        let columns = {
            let payload = self.packet().await?;
            match payload.first() {
                Some(&OK_HEADER) => 0,
                Some(&ERR_HEADER) => return Err(server_error(payload)),
                _ => Cursor::new(payload)
                    .lenenc()
                    .filter(|n| (1..=4096).contains(n))
                    .ok_or(ProtocolError::Malformed("column count"))?,
            }
        };
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        if columns == 0 {
            return Ok((names, rows));
        }
        for _ in 0..columns {
            let name = name_of_column(self.packet().await?);
            names.push(name.ok_or(ProtocolError::Malformed("column definition"))?);
        }
        loop {
            let payload = self.packet().await?;
            match payload.first() {
                Some(&ERR_HEADER) => return Err(server_error(payload)),
                Some(&EOF_HEADER) if payload.len() < 0xFF_FFFF => return Ok((names, rows)),
                _ if rows.len() >= ROWS_MAX => {
                    return Err(ProtocolError::Unexpected("an answer of so many rows").into());
                }
                _ => rows.push(row(payload, columns)?),
            }
        }
    }

    /// Sends a command with sequence number 0.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send_command(
        &mut self,
        command: Command,
        body: &[u8],
    ) -> Result<(), ControlError> {
        let mut payload = Vec::with_capacity(1 + body.len());
        payload.push(command as u8);
        payload.extend_from_slice(body);
        self.send(&payload, 0).await?;
        Ok(())
    }

    /// Bytes received and not consumed: for who reads a stream in place of answers.
    pub fn peek(&self) -> &[u8] {
        self.server.input.peek()
    }

    /// Drops the first `n` bytes of `peek`.
    pub fn consume(&mut self, n: usize) {
        self.server.input.consume(n);
    }

    /// Reads once from the socket; 0 is the end. Cancel safe.
    ///
    /// # Errors
    /// The socket's; a full buffer that nobody consumed.
    pub async fn fill(&mut self) -> std::io::Result<usize> {
        self.server.input.fill(&mut self.server.stream).await
    }

    /// Connects and logs in, within the backend's `connect_ms_max`.
    ///
    /// # Errors
    /// Unreachable, no TLS where it is required, refused, or late.
    pub async fn connect(settings: &ControlSettings) -> Result<Self, ControlError> {
        let target = settings.target()?;
        let url = &settings.backend.url;
        let login = Login {
            user: url.user.as_bytes(),
            secret: Secret::of_password(url.password.reveal().as_bytes()),
            schema: b"",
            capabilities: CAPABILITIES,
            collation: COLLATION,
            attributes: vec![(b"program_name".to_vec(), b"tidegate".to_vec())],
        };
        let server = login::open(&target, &login, BUFFER_BYTES).await?;
        Ok(Self {
            server,
            out: Vec::new(),
        })
    }

    async fn send(&mut self, payload: &[u8], mut sequence: u8) -> std::io::Result<()> {
        self.out.clear();
        write_packet(&mut self.out, &mut sequence, payload);
        self.server.stream.write_all(&self.out).await?;
        self.server.stream.flush().await
    }

    async fn packet(&mut self) -> Result<&[u8], ControlError> {
        Ok(self.packet_with_sequence().await?.1)
    }

    /// The next packet's payload; it stays readable until the next call.
    async fn packet_with_sequence(&mut self) -> Result<(u8, &[u8]), ControlError> {
        // The payload is copied out of the ring so that the buffer can move on: answers here are tiny.
        let ServerConnection { stream, input, .. } = &mut self.server;
        let filled = input.fill_packet(stream, ANSWER_BYTES_MAX).await;
        match filled {
            Ok(Some(())) => {}
            Ok(None) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            Err(ReadError::Io(error)) => return Err(error.into()),
            Err(ReadError::Protocol(error)) => return Err(error.into()),
        }
        self.out.clear();
        let mut sequence = 0;
        if let Some((got, payload)) = self.server.input.packet() {
            sequence = got;
            self.out.extend_from_slice(payload);
        }
        self.server.input.consume(HEADER_BYTES + self.out.len());
        Ok((sequence, &self.out))
    }
}

/// The fifth text of a column definition: catalog, schema, table and the table's own name stand before it.
fn name_of_column(payload: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(payload);
    let name = (0..5).try_fold(&b""[..], |_, _| cursor.lenenc_bytes())?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn row(payload: &[u8], columns: u64) -> Result<Row, ControlError> {
    let mut cursor = Cursor::new(payload);
    let cells = (0..columns).map(|_| cursor.cell().map(|cell| cell.map(<[u8]>::to_vec)));
    let cells: Option<Row> = cells.collect();
    Ok(cells.ok_or(ProtocolError::Malformed("text row"))?)
}

fn server_error(payload: &[u8]) -> ControlError {
    match ErrPacket::parse(payload) {
        Ok(error) => ControlError::Server {
            code: error.code,
            message: String::from_utf8_lossy(error.message).into_owned(),
        },
        Err(error) => error.into(),
    }
}

/// An ERR payload as an error, for who reads a stream in place of answers.
pub fn error_of(payload: &[u8]) -> ControlError {
    server_error(payload)
}
