//! The client's side of a session: its stream, its read buffer, what it negotiated. Frames, but interprets nothing.

use crate::backend::stream::Stream;
use crate::protocol::packet::{HEADER_BYTES, PacketBuffer, ReadError};
use crate::protocol::response::{ErrPacket, OkPacket};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Longest wait for a client to take one piece of an answer, as the server's own `net_write_timeout`.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// A connected client.
pub struct Client {
    /// Its socket.
    pub stream: Stream,
    /// Bytes it sent that were not used yet.
    pub input: PacketBuffer,
    /// Capabilities in force between it and us.
    pub capabilities: u32,
    /// Its address.
    pub peer: SocketAddr,
    /// Sequence number of the next packet of ours in the current exchange.
    pub sequence: u8,
    /// The server's character set it asked for at login.
    pub collation: u16,
    /// Part of a packet is out: nothing sensible can be sent any more.
    pub is_mid_packet: bool,
}

impl Client {
    /// A client that has not said anything yet.
    pub fn new(stream: Stream, peer: SocketAddr, buffer_bytes: usize) -> Self {
        Self {
            stream,
            input: PacketBuffer::new(buffer_bytes),
            capabilities: 0,
            peer,
            sequence: 0,
            collation: 0,
            is_mid_packet: false,
        }
    }

    /// Sends bytes that are packets already.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            match self.stream.is_tls() {
                true => self.stream.flush().await,
                false => Ok(()),
            }
        };
        match tokio::time::timeout(WRITE_MAX, sent).await {
            Ok(sent) => sent,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client takes nothing",
            )),
        }
    }

    /// Reads one whole packet during login: its payload, with the sequence number checked off.
    ///
    /// # Errors
    /// Socket, oversize, or a sequence number that is not due. A clean end is `UnexpectedEof`.
    pub async fn read_login_packet(
        &mut self,
        payload_bytes_max: usize,
    ) -> Result<Vec<u8>, ReadError> {
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
