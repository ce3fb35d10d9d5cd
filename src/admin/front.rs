//! What stands between a session of the proxy and opensrv: logs in to it, lets only well-formed commands through, answers
//! what it cannot, and puts true errors, status bits and column definitions into its responses.
//! Never trusts a byte: opensrv asserts and unwraps on what it reads. Should it panic all the same, its task ends alone and
//! the client is told an error.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use opensrv_mysql::AsyncMysqlIntermediary;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::protocol::capability;
use crate::protocol::command::{Command, Execute, QueryBody};
use crate::protocol::packet::{
    Cursor, HEADER_BYTES, PAYLOAD_BYTES_MAX, PacketBuffer, ReadError, write_packet,
};
use crate::protocol::response::{
    EOF_HEADER, ERR_HEADER, EofPacket, ErrPacket, OK_HEADER, OkPacket,
};
use crate::protocol::status::AUTOCOMMIT;

use super::catalog;
use super::error::Error;
use super::shim::{Reply, Shared, Shim};
use super::value::Value;
use super::variables::STATEMENT_BYTES_MAX;
use super::wire;

/// Bytes that one pipe holds before its writer waits.
pub const PIPE_BYTES: usize = 64 * 1024;

/// Largest command: a statement, and room for the numbers and types around parameters.
const COMMAND_BYTES_MAX: usize = STATEMENT_BYTES_MAX + 256 * 1024;

/// Answers are handed on when so much has gathered.
const FLUSH_BYTES: usize = 16 * 1024;

/// The capabilities that opensrv is logged in with, where the client has them: they change how it writes.
const WRITTEN: u32 = capability::DEPRECATE_EOF | capability::SESSION_TRACK;

/// Why a session ends.
enum End {
    /// The client left, or sent what no client sends.
    Client,
    /// opensrv is gone.
    Backend,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Client
    }
}

/// The shape of a response of opensrv's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Simple,
    Prepare,
    Rows,
}

/// What a client has sent ahead for one prepared statement.
#[derive(Default)]
struct Bound {
    /// Type entries of the last execution: clients send them once.
    types: Vec<u8>,
    /// Long data by parameter.
    long_data: HashMap<u16, Vec<u8>>,
    /// What went wrong with it: COM_STMT_SEND_LONG_DATA has no answer, so the next execution tells.
    fault: Option<Error>,
}

/// One admin session, seen from the proxy's side.
pub struct Front {
    outer: DuplexStream,
    inner: DuplexStream,
    capabilities: u32,
    shared: Arc<Shared>,
    commands: PacketBuffer,
    responses: PacketBuffer,
    out: Vec<u8>,
    /// Sequence number of the next packet to the client.
    sequence: u8,
    bound: HashMap<u32, Bound>,
}

impl Front {
    /// A session on this pipe, in the client's capabilities.
    pub fn new(outer: DuplexStream, capabilities: u32, shared: Arc<Shared>) -> Self {
        let (inner, far) = tokio::io::duplex(PIPE_BYTES);
        let shim = Shim(shared.clone());
        let opensrv = async move {
            let (reader, writer) = tokio::io::split(far);
            AsyncMysqlIntermediary::run_on(shim, reader, writer).await
        };
        // A task of its own: a panic in there ends it alone, and shows here as the end of the pipe.
        tokio::spawn(opensrv);
        Self::with_backend(outer, inner, capabilities, shared)
    }

    fn with_backend(
        outer: DuplexStream,
        inner: DuplexStream,
        capabilities: u32,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            outer,
            inner,
            capabilities,
            shared,
            commands: PacketBuffer::new(4096),
            responses: PacketBuffer::new(PIPE_BYTES),
            out: Vec::new(),
            sequence: 0,
            bound: HashMap::new(),
        }
    }

    /// Serves until the client leaves.
    pub async fn serve(mut self) {
        if self.log_in().await.is_err() {
            tracing::error!("the admin session could not log in to its own backend");
            return;
        }
        loop {
            match self.next_command().await {
                Ok(()) => {}
                Err(End::Client) => return,
                Err(End::Backend) => {
                    tracing::error!("an admin session's backend ended unasked");
                    let error = Error::Internal("the admin session has ended".to_owned());
                    let _ = self.send_error(&error).await;
                    return;
                }
            }
        }
    }

    /// opensrv's own handshake: it takes any answer, since only we hold the other end of its pipe.
    async fn log_in(&mut self) -> Result<(), End> {
        self.next_packet().await?;
        let capabilities = capability::PROTOCOL_41
            | capability::SECURE_CONNECTION
            | capability::PLUGIN_AUTH
            | (self.capabilities & WRITTEN);
        let mut payload = capabilities.to_le_bytes().to_vec();
        payload.extend_from_slice(&(1u32 << 24).to_le_bytes());
        payload.push(crate::protocol::column::COLLATION_UTF8MB4 as u8);
        payload.extend_from_slice(&[0; 23]);
        payload.extend_from_slice(b"admin\0\0mysql_native_password\0");
        let mut packet = Vec::new();
        write_packet(&mut packet, &mut 1, &payload);
        self.inner
            .write_all(&packet)
            .await
            .map_err(|_| End::Backend)?;
        let answer = self.next_packet().await?;
        if answer.first() == Some(&OK_HEADER) {
            Ok(())
        } else {
            Err(End::Backend)
        }
    }

    /// Reads one command and answers it.
    async fn next_command(&mut self) -> Result<(), End> {
        let read = self
            .commands
            .fill_packet(&mut self.outer, COMMAND_BYTES_MAX)
            .await;
        match read {
            Ok(Some(())) => {}
            Ok(None) | Err(ReadError::Io(_)) => return Err(End::Client),
            Err(ReadError::Protocol(_)) => {
                self.sequence = 1;
                let _ = self
                    .send_error(&Error::PacketTooLarge(STATEMENT_BYTES_MAX))
                    .await;
                // The rest of the packet still lies in the pipe: take it, so that the client can read the answer.
                let _ = self.outer.shutdown().await;
                let _ =
                    tokio::io::copy(&mut (&mut self.outer).take(1 << 30), &mut tokio::io::sink())
                        .await;
                return Err(End::Client);
            }
        }
        let Some((sequence, payload)) = self.commands.packet() else {
            return Err(End::Client);
        };
        let payload = payload.to_vec();
        self.commands.consume(HEADER_BYTES + payload.len());
        self.sequence = sequence.wrapping_add(1);
        if sequence != 0 {
            let _ = self
                .send_error(&Error::Malformed("a command out of order"))
                .await;
            return Err(End::Client);
        }
        *self.shared.reply.lock() = Reply::default();
        let Some((&byte, body)) = payload.split_first() else {
            return Ok(self
                .send_error(&Error::Malformed("an empty command"))
                .await?);
        };
        match self.answer(Command::from_byte(byte), body).await {
            Ok(()) => Ok(()),
            Err(Refusal::Error(error)) => Ok(self.send_error(&error).await?),
            Err(Refusal::End(end)) => Err(end),
        }
    }

    async fn answer(&mut self, command: Option<Command>, body: &[u8]) -> Result<(), Refusal> {
        match command {
            Some(Command::Quit) => Err(End::Client.into()),
            Some(Command::Query) => self.query(body).await,
            Some(Command::StmtPrepare) => {
                let text = utf8(body)?;
                self.forward(Command::StmtPrepare, text.as_bytes(), Shape::Prepare)
                    .await
            }
            Some(Command::StmtExecute) => self.execute(body).await,
            Some(Command::StmtSendLongData) => {
                self.long_data(body);
                Ok(())
            }
            Some(Command::StmtReset) => {
                let id = statement_id(body)?;
                self.shared.conversation.lock().await.parameters(id)?;
                if let Some(bound) = self.bound.get_mut(&id) {
                    bound.long_data.clear();
                    bound.fault = None;
                }
                Ok(self.send_ok().await?)
            }
            Some(Command::StmtClose) => {
                // There is no answer to this command, whatever it says.
                if let Ok(id) = statement_id(body) {
                    self.bound.remove(&id);
                    // Here and not when opensrv comes to it: the next command may ask for the statement before that.
                    self.shared.conversation.lock().await.close(id);
                    self.close(id).await?;
                }
                Ok(())
            }
            Some(Command::InitDb) => {
                let schema = utf8(body)?;
                self.forward(Command::InitDb, schema.as_bytes(), Shape::Simple)
                    .await
            }
            Some(Command::Ping) => self.forward(Command::Ping, &[], Shape::Simple).await,
            Some(Command::FieldList) => self.field_list(body).await,
            Some(Command::ResetConnection) => {
                self.shared.conversation.lock().await.reset();
                self.bound.clear();
                Ok(self.send_ok().await?)
            }
            _ => Err(Error::UnknownCommand.into()),
        }
    }

    async fn query(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let query = QueryBody::parse(body, self.capabilities)
            .map_err(|_| Error::Malformed("query attributes"))?;
        let text = utf8(query.text)?;
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(Error::PacketTooLarge(STATEMENT_BYTES_MAX).into());
        }
        // opensrv answers some texts by itself, by how they begin; none begins with a space.
        let text = format!(" {text}");
        self.forward(Command::Query, text.as_bytes(), Shape::Rows)
            .await
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let malformed = || Error::Malformed("COM_STMT_EXECUTE");
        let execute = Execute::parse(body).map_err(|_| malformed())?;
        let id = execute.statement_id;
        let declared = self.shared.conversation.lock().await.parameters(id)?;
        let bound = self.bound.entry(id).or_default();
        if let Some(fault) = bound.fault.take() {
            bound.long_data.clear();
            return Err(fault.into());
        }
        let parameters = execute
            .parameters(self.capabilities, declared)
            .map_err(|_| malformed())?;
        if parameters.count < declared {
            return Err(malformed().into());
        }
        let mut values = Vec::new();
        if declared > 0 {
            if let Some(types) = parameters.types {
                bound.types = types.to_vec();
            }
            let long_data = std::mem::take(&mut bound.long_data);
            let of = |index: usize| {
                u16::try_from(index)
                    .ok()
                    .and_then(|index| long_data.get(&index))
            };
            let known = Some(bound.types.as_slice()).filter(|types| !types.is_empty());
            let mut found: Vec<Result<Value, Error>> = Vec::with_capacity(declared);
            let read = parameters.for_each(
                known,
                |index| of(index).is_some(),
                |index, given| {
                    // Query attributes stand behind the parameters.
                    if index < declared {
                        found.push(match (of(index), given.value) {
                            (Some(data), _) => wire::parameter(0xFD, data),
                            (None, Some(bytes)) => wire::parameter(given.type_code, bytes),
                            (None, None) => Ok(Value::Null),
                        });
                    }
                },
            );
            read.map_err(|_| malformed())?;
            values = found.into_iter().collect::<Result<_, _>>()?;
        }
        let packet = wire::execute_packet(id, &values);
        self.forward(
            Command::StmtExecute,
            packet.get(1..).unwrap_or(&[]),
            Shape::Rows,
        )
        .await
    }

    /// Keeps long data for the next execution. Bounded: what is too much is told then.
    fn long_data(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let (Some(id), Some(parameter)) = (cursor.u32(), cursor.u16()) else {
            return;
        };
        let held: usize = self
            .bound
            .values()
            .flat_map(|b| b.long_data.values())
            .map(Vec::len)
            .sum();
        if !self.bound.contains_key(&id) && self.bound.len() >= 4096 {
            return;
        }
        let bound = self.bound.entry(id).or_default();
        if held + cursor.rest().len() > STATEMENT_BYTES_MAX {
            bound.fault = Some(Error::PacketTooLarge(STATEMENT_BYTES_MAX));
            bound.long_data.clear();
            return;
        }
        bound
            .long_data
            .entry(parameter)
            .or_default()
            .extend_from_slice(cursor.rest());
    }

    /// The columns of a table, by COM_FIELD_LIST: `table\0pattern`.
    async fn field_list(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let mut cursor = Cursor::new(body);
        let table = cursor
            .until_zero()
            .ok_or(Error::Malformed("COM_FIELD_LIST"))?;
        let (name, pattern) = (utf8(table)?, utf8(cursor.rest())?.trim_end_matches('\0'));
        let schema = self.shared.conversation.lock().await.context().schema;
        let table = catalog::find(schema, name)
            .ok_or_else(|| Error::UnknownTable(format!("{schema}.{name}")))?;
        for column in table.columns {
            if pattern.is_empty() || super::functions::is_like(column.name, pattern, Some('\\')) {
                write_packet(
                    &mut self.out,
                    &mut self.sequence,
                    &wire::field_definition(table, column),
                );
            }
        }
        self.end_of_rows();
        Ok(self.flush().await?)
    }

    fn end_of_rows(&mut self) {
        if self.capabilities & capability::DEPRECATE_EOF == 0 {
            let eof = EofPacket {
                status: AUTOCOMMIT,
                ..EofPacket::default()
            };
            eof.write(&mut self.out, &mut self.sequence);
        } else {
            let ok = OkPacket {
                status: AUTOCOMMIT,
                ..OkPacket::default()
            };
            ok.write(&mut self.out, &mut self.sequence, self.capabilities, true);
        }
    }

    async fn send_ok(&mut self) -> io::Result<()> {
        let ok = OkPacket {
            status: AUTOCOMMIT,
            ..OkPacket::default()
        };
        ok.write(&mut self.out, &mut self.sequence, self.capabilities, false);
        self.flush().await
    }

    async fn send_error(&mut self, error: &Error) -> io::Result<()> {
        self.put_error(error);
        self.flush().await
    }

    fn put_error(&mut self, error: &Error) {
        let mut sqlstate = *b"HY000";
        if let Ok(state) = error.sqlstate().as_bytes().try_into() {
            sqlstate = state;
        }
        let text = error.to_string();
        // The server's own limit on the text of an error.
        let end = text.floor_char_boundary(512);
        let message = text.get(..end).unwrap_or("").as_bytes();
        ErrPacket::new(error.number(), &sqlstate, message).write(&mut self.out, &mut self.sequence);
    }

    async fn flush(&mut self) -> io::Result<()> {
        let written = self.outer.write_all(&self.out).await;
        self.out.clear();
        written
    }

    /// Sends a command to opensrv.
    async fn send(&mut self, command: Command, body: &[u8]) -> Result<(), Refusal> {
        let mut payload = vec![command.byte()];
        payload.extend_from_slice(body);
        let mut packet = Vec::with_capacity(payload.len() + HEADER_BYTES);
        write_packet(&mut packet, &mut 0, &payload);
        self.inner
            .write_all(&packet)
            .await
            .map_err(|_| End::Backend.into())
    }

    /// Has opensrv forget a statement. Waits until it has: when two commands lie in its pipe at once, opensrv 0.7 gives the memory
    /// of the first back before it has read it, and answers what it finds there instead.
    async fn close(&mut self, id: u32) -> Result<(), Refusal> {
        self.send(Command::StmtClose, &id.to_le_bytes()).await?;
        tokio::select! {
            () = self.shared.closed.notified() => Ok(()),
            // Nothing can come here but the end.
            _ = self.responses.fill(&mut self.inner) => Err(End::Backend.into()),
        }
    }

    /// Sends a command to opensrv and its response to the client.
    async fn forward(
        &mut self,
        command: Command,
        body: &[u8],
        shape: Shape,
    ) -> Result<(), Refusal> {
        self.send(command, body).await?;
        self.relay(shape).await?;
        Ok(self.flush().await?)
    }

    /// opensrv's next packet.
    async fn next_packet(&mut self) -> Result<Vec<u8>, End> {
        match self
            .responses
            .fill_packet(&mut self.inner, PAYLOAD_BYTES_MAX)
            .await
        {
            Ok(Some(())) => {}
            _ => return Err(End::Backend),
        }
        let (_, payload) = self.responses.packet().ok_or(End::Backend)?;
        let payload = payload.to_vec();
        self.responses.consume(HEADER_BYTES + payload.len());
        Ok(payload)
    }

    /// Hands a packet on under the next sequence number.
    async fn pass(&mut self, payload: &[u8]) -> Result<(), End> {
        crate::protocol::packet::put_header(&mut self.out, payload.len(), self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        self.out.extend_from_slice(payload);
        if self.out.len() >= FLUSH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Hands on a packet that ends a response, with the status bits that opensrv leaves out.
    async fn pass_end(&mut self, mut payload: Vec<u8>) -> Result<(), End> {
        if payload.first() == Some(&ERR_HEADER) {
            let known = self.shared.reply.lock().error.take();
            let error =
                known.unwrap_or_else(|| Error::Internal("an error without a reason".to_owned()));
            self.put_error(&error);
            return Ok(());
        }
        // Both OK (its two counts are 0 here) and EOF have the status at the same place.
        if let Some(status) = payload.get_mut(3..5) {
            status.copy_from_slice(&AUTOCOMMIT.to_le_bytes());
        }
        self.pass(&payload).await
    }

    async fn relay(&mut self, shape: Shape) -> Result<(), End> {
        let first = self.next_packet().await?;
        let head = first.first().copied();
        if shape == Shape::Simple || head == Some(ERR_HEADER) {
            return self.pass_end(first).await;
        }
        let mut definitions = std::mem::take(&mut self.shared.reply.lock().definitions).into_iter();
        if shape == Shape::Prepare {
            let mut counts = Cursor::new(first.get(5..).unwrap_or(&[]));
            let (columns, parameters) = (counts.u16().unwrap_or(0), counts.u16().unwrap_or(0));
            self.pass(&first).await?;
            self.relay_definitions(usize::from(parameters), &mut definitions)
                .await?;
            return self
                .relay_definitions(usize::from(columns), &mut definitions)
                .await;
        }
        if head == Some(OK_HEADER) {
            return self.pass_end(first).await;
        }
        let count = Cursor::new(&first)
            .lenenc()
            .and_then(|count| usize::try_from(count).ok());
        self.pass(&first).await?;
        self.relay_definitions(count.unwrap_or(0), &mut definitions)
            .await?;
        let mut continued = false;
        loop {
            let packet = self.next_packet().await?;
            let end = match packet.first() {
                _ if continued => false,
                Some(&EOF_HEADER) => packet.len() < PAYLOAD_BYTES_MAX && packet.len() < 64,
                Some(&ERR_HEADER) => true,
                _ => false,
            };
            if end {
                return self.pass_end(packet).await;
            }
            continued = packet.len() == PAYLOAD_BYTES_MAX;
            self.pass(&packet).await?;
        }
    }

    /// Takes `count` definitions from opensrv and sends the true ones in their place.
    async fn relay_definitions(
        &mut self,
        count: usize,
        definitions: &mut impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), End> {
        for _ in 0..count {
            let written = self.next_packet().await?;
            let definition = definitions.next().unwrap_or(written);
            self.pass(&definition).await?;
        }
        if count > 0 && self.capabilities & capability::DEPRECATE_EOF == 0 {
            let eof = self.next_packet().await?;
            self.pass_end(eof).await?;
        }
        Ok(())
    }
}

/// Why a command was not answered.
enum Refusal {
    Error(Error),
    End(End),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<End> for Refusal {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::End(error.into())
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)
}

fn statement_id(body: &[u8]) -> Result<u32, Error> {
    Cursor::new(body)
        .u32()
        .ok_or(Error::Malformed("no statement id"))
}

#[cfg(test)]
mod tests;
