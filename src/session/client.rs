//! The client's side of a session: its stream, its read buffer, what it negotiated. Frames, but interprets nothing.

use super::deadline::Overdue;
use super::error::SessionError;
use super::relay::Turns;
use super::watch::{Cut, Ticks, Watch};
use crate::analytics::peer::Peer;
use crate::backend::compression::{Algorithm, Role};
use crate::backend::stream::Stream;
use crate::backend::target::Like;
use crate::protocol::capability;
use crate::protocol::packet::{HEADER_BYTES, PacketBuffer, ReadError};
use crate::protocol::response::{ErrPacket, OkPacket};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Sent at once; a client that takes so much, however slowly, has not stalled.
const PIECE_BYTES: usize = 65_536;

/// A connected client.
pub struct Client {
    /// Its socket.
    pub stream: Stream,
    /// Bytes it sent that were not used yet.
    pub input: PacketBuffer,
    /// Capabilities in force between it and us.
    pub capabilities: u32,
    /// What its packets are compressed with once it is logged in.
    pub compression: Option<Algorithm>,
    /// How it came.
    pub like: Like,
    /// Its address.
    pub peer: Peer,
    /// Sequence number of the next packet of ours in the current exchange.
    pub sequence: u8,
    /// The server's character set it asked for at login.
    pub collation: u16,
    /// Part of a packet is out: nothing sensible can be sent any more.
    pub is_mid_packet: bool,
    /// Its statement may make the server ask it for a file.
    pub offers_file: bool,
    /// Which errors of the next answer it does not get to see.
    pub turns: Turns,
    /// Session state that was reported for it with answers of ours: it comes with its next OK.
    pub owed: Vec<u8>,
    /// The statement at hand may end a transaction and begin another.
    pub renews_transaction: bool,
    /// Its statement has a deadline.
    pub overdue: Option<Rc<Overdue>>,
    /// Bounds every wait of its session.
    pub watch: Rc<Watch>,
    /// When its login must be over.
    deadline: Instant,
}

/// Waits for a client that logs in.
async fn in_time<T>(
    deadline: Instant,
    wait: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let late = SessionError::TimedOut("the login took longer than login.handshake_ms_max");
    tokio::time::timeout_at(deadline, wait)
        .await
        .unwrap_or(Err(late))
}

impl Client {
    /// A client that has not said anything yet.
    pub fn new(stream: Stream, peer: Peer, buffer_bytes: usize, watch: Rc<Watch>) -> Self {
        Self {
            stream,
            input: PacketBuffer::new(buffer_bytes),
            capabilities: 0,
            compression: None,
            like: Like::default(),
            peer,
            sequence: 0,
            collation: 0,
            is_mid_packet: false,
            offers_file: false,
            turns: Turns::Never,
            owed: Vec::new(),
            renews_transaction: false,
            overdue: None,
            watch,
            deadline: Instant::now(),
        }
    }

    /// A login begins, and may take so long.
    pub fn may_log_in_for(&mut self, ms: u64) {
        self.deadline = Instant::now() + Duration::from_millis(ms);
    }

    /// The login waited for somebody else since `began`: this time does not count.
    pub fn waited_since(&mut self, began: std::time::Instant) {
        self.deadline += began.elapsed();
    }

    /// It has heard the OK of its first login: from here on packets are compressed, if that was agreed on.
    pub fn begin_compression(&mut self) {
        if let Some(algorithm) = self.compression.take() {
            let ahead = self.input.take();
            self.stream.compress(algorithm, Role::Server, &ahead);
        }
    }

    /// It has said that it can be asked for files.
    pub fn can_send_files(&self) -> bool {
        self.capabilities & capability::LOCAL_FILES != 0
    }

    /// What is told next was not asked for, so that its packet is the first of its exchange.
    pub fn unasked(&mut self, error: SessionError) -> SessionError {
        self.sequence = 0;
        error
    }

    /// Sends bytes that are packets already.
    ///
    /// # Errors
    /// The socket's; `TimedOut` when the client takes nothing for `client.stall_ms_max`.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (stream, watch) = (&mut self.stream, &self.watch);
        for piece in bytes.chunks(PIECE_BYTES) {
            let write = async {
                stream.write_all(piece).await?;
                if stream.is_buffered() {
                    stream.flush().await?;
                }
                Ok(())
            };
            let sent = match watch.limit(watch.clock.stall_max, write).await {
                Ok(sent) => sent,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            if sent.is_err() {
                self.is_mid_packet = true;
                return sent;
            }
        }
        Ok(())
    }

    /// Ends the stream so that the last words arrive: a socket that is closed with bytes of the client unread takes them back.
    ///
    /// # Errors
    /// The socket's. Does not end before the client does: give it a time limit.
    pub async fn linger(&mut self) -> io::Result<()> {
        /// What a client may have sent before it heard; more is not waited for.
        const UNREAD_BYTES_MAX: usize = 1 << 20;
        self.stream.shutdown().await?;
        let (mut block, mut unread) = ([0; 1024], 0);
        while unread < UNREAD_BYTES_MAX {
            match self.stream.read(&mut block).await? {
                0 => break,
                read => unread += read,
            }
        }
        Ok(())
    }

    /// Reads more of a request, or of a file, that has begun.
    ///
    /// # Errors
    /// The socket's; `UnexpectedEof` at its end, `TimedOut` when nothing comes for `client.stall_ms_max`.
    pub async fn fill(&mut self) -> Result<(), SessionError> {
        let watch = &self.watch;
        let read = self.input.fill(&mut self.stream);
        let error = match watch.limit(watch.clock.stall_max, read).await {
            Ok(Ok(1..)) => return Ok(()),
            Ok(Ok(_)) => io::ErrorKind::UnexpectedEof.into(),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        Err(SessionError::ClientIo(error))
    }

    /// Waits for the backend on behalf of this client: at most `backend.silence_ms_max` long, and not for one that has left.
    ///
    /// # Errors
    /// `BackendIo` when nothing came in time; `ClientIo` when the client has left.
    pub async fn wait_for_backend<T>(
        &self,
        wait: impl Future<Output = T>,
    ) -> Result<T, SessionError> {
        let watch = &self.watch;
        let is_here = || !self.stream.peer_has_left();
        match watch
            .limit_while(watch.clock.silence_max, wait, is_here)
            .await
        {
            Ok(done) => Ok(done),
            Err(Cut::Overdue) => Err(SessionError::BackendIo(io::ErrorKind::TimedOut.into())),
            Err(Cut::Pointless) => Err(SessionError::ClientIo(
                io::ErrorKind::ConnectionAborted.into(),
            )),
        }
    }

    /// Waits for a place in the pool, which has a limit of its own, and not for a client that has left.
    ///
    /// # Errors
    /// `ClientIo` when the client has left.
    pub async fn wait_for_pool<T>(&self, wait: impl Future<Output = T>) -> Result<T, SessionError> {
        let is_here = || !self.stream.peer_has_left();
        let waited = self.watch.limit_while(Ticks::MAX, wait, is_here).await;
        waited.map_err(|_| SessionError::ClientIo(io::ErrorKind::ConnectionAborted.into()))
    }

    /// Reads exactly so many bytes during login and not one more.
    ///
    /// # Errors
    /// The socket's, or not in time.
    pub async fn read_exactly(&mut self, bytes: &mut [u8]) -> Result<(), SessionError> {
        in_time(self.deadline, async {
            let read = self.stream.read_exact(bytes).await;
            read.map(drop).map_err(SessionError::ClientIo)
        })
        .await
    }

    /// Runs the TLS handshake of a login.
    ///
    /// # Errors
    /// The handshake's, or not in time.
    pub async fn shake_hands<T>(
        &self,
        handshake: impl Future<Output = io::Result<T>>,
    ) -> Result<T, SessionError> {
        in_time(self.deadline, async {
            handshake.await.map_err(SessionError::ClientIo)
        })
        .await
    }

    /// Reads one whole packet during login: its payload, with the sequence number checked off.
    ///
    /// # Errors
    /// Socket, oversize, not in time, or a sequence number that is not due. A clean end is `UnexpectedEof`.
    pub async fn read_login_packet(
        &mut self,
        payload_bytes_max: usize,
    ) -> Result<Vec<u8>, SessionError> {
        let deadline = self.deadline;
        in_time(deadline, async {
            Ok(self.login_packet(payload_bytes_max).await?)
        })
        .await
    }

    async fn login_packet(&mut self, payload_bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let Some(()) = self
            .input
            .fill_packet(&mut self.stream, payload_bytes_max)
            .await?
        else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        let (sequence, payload) = self
            .input
            .packet()
            .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        crate::protocol::packet::expect_sequence(self.sequence, sequence)?;
        let payload = payload.to_vec();
        self.input.consume(HEADER_BYTES + payload.len());
        self.sequence = self.sequence.wrapping_add(1);
        Ok(payload)
    }

    /// Sends one packet with the next sequence number.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send_packet(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(payload.len() + HEADER_BYTES);
        crate::protocol::packet::write_packet(&mut out, &mut self.sequence, payload);
        self.send(&out).await
    }

    /// Sends an OK that changed nothing.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send_ok(&mut self, status: u16) -> io::Result<()> {
        let mut out = Vec::with_capacity(16);
        OkPacket {
            status,
            ..OkPacket::default()
        }
        .write(&mut out, &mut self.sequence, self.capabilities, false);
        self.send(&out).await
    }

    /// Sends an error.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send_error(
        &mut self,
        code: u16,
        sqlstate: &[u8; 5],
        message: &str,
    ) -> io::Result<()> {
        let mut out = Vec::with_capacity(64);
        ErrPacket::new(code, sqlstate, message.as_bytes()).write(&mut out, &mut self.sequence);
        self.send(&out).await
    }
}
