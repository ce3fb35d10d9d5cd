//! One command of a client to its backend connection and the whole answer back, as bytes. The hot path: no row is decoded,
//! nothing is allocated in the steady state. Knows where time went; decides nothing.

use super::client::Client;
use super::error::SessionError;
use crate::backend::connection::ServerConnection;
use crate::binlog::Binlog;
use crate::cache::Fill;
use crate::protocol::packet::{HEADER_BYTES, header};
use crate::protocol::relay::{Event, Expect, ResponseMachine, Summary};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Where the time of one exchange went.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The request was whole.
    pub started: Instant,
    /// The request was with the backend.
    pub sent: Instant,
    /// The first byte of the answer came; `None` before.
    pub first_byte: Option<Instant>,
    /// The last byte of the answer came.
    pub last_byte: Instant,
    /// The last byte was with the client.
    pub ended: Instant,
    /// Waiting for the client to take the answer, before the last byte came.
    pub drain: Duration,
}

impl Timing {
    /// A clock that starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            sent: now,
            first_byte: None,
            last_byte: now,
            ended: now,
            drain: Duration::ZERO,
        }
    }
}

/// Writes to the backend and makes sure that it is on its way.
pub async fn send_to_backend(
    backend: &mut ServerConnection,
    bytes: &[u8],
) -> Result<(), SessionError> {
    backend
        .stream
        .write_all(bytes)
        .await
        .map_err(SessionError::BackendIo)?;
    if backend.stream.is_tls() {
        backend
            .stream
            .flush()
            .await
            .map_err(SessionError::BackendIo)?;
    }
    Ok(())
}

/// Relays the answer to a command that was sent, until its last byte is with the client.
///
/// # Errors
/// Either side's socket, or a stream of the backend that makes no sense. The session must end: the exchange is half done.
pub async fn relay_answer(
    client: &mut Client,
    backend: &mut ServerConnection,
    machine: &mut ResponseMachine,
    expect: Expect,
    timing: &mut Timing,
    mut fill: Option<&mut Fill<Binlog>>,
) -> Result<Summary, SessionError> {
    machine.reset(expect, backend.capabilities);
    loop {
        if backend.input.is_empty() {
            let read = match backend.input.fill(&mut backend.stream).await {
                Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                other => other,
            };
            read.map_err(|error| broken_off(client, machine, SessionError::BackendIo(error)))?;
        }
        let arrived = Instant::now();
        timing.first_byte.get_or_insert(arrived);
        let place = machine.next_sequence();
        let fed = match machine.feed(backend.input.peek()) {
            Ok(fed) => fed,
            Err(error) => {
                client.sequence = place.unwrap_or(0);
                client.is_mid_packet = place.is_none();
                return Err(SessionError::BackendProtocol(error));
            }
        };
        let bytes = backend.input.peek().get(..fed.consumed).unwrap_or_default();
        client.send(bytes).await.map_err(SessionError::ClientIo)?;
        if let Some(fill) = &mut fill {
            fill.push(bytes);
        }
        backend.input.consume(fed.consumed);
        match fed.event {
            None => timing.drain += arrived.elapsed(),
            Some(Event::Done(summary)) => {
                timing.last_byte = arrived;
                timing.ended = Instant::now();
                return Ok(summary);
            }
            Some(Event::LocalInfile { .. }) => {
                relay_file(client, backend).await?;
                machine.infile_sent();
            }
        }
    }
}

/// An answer broke off: notes whether, and under which number, an error can still be told to the client.
fn broken_off(client: &mut Client, machine: &ResponseMachine, error: SessionError) -> SessionError {
    client.sequence = machine.next_sequence().unwrap_or(0);
    client.is_mid_packet = machine.next_sequence().is_none();
    error
}

/// Relays the file of a LOAD DATA LOCAL from the client up to its empty packet. An empty packet behind a full one only ends
/// that one.
async fn relay_file(
    client: &mut Client,
    backend: &mut ServerConnection,
) -> Result<(), SessionError> {
    let mut continued = false;
    loop {
        let length = relay_packet(client, backend).await?.length;
        if length == 0 && !continued {
            return Ok(());
        }
        continued = length == crate::protocol::packet::PAYLOAD_BYTES_MAX;
    }
}

/// Length of a packet that was relayed.
struct Relayed {
    length: usize,
}

/// Relays one physical packet of the client, in pieces as they come: 16 MiB are never held.
async fn relay_packet(
    client: &mut Client,
    backend: &mut ServerConnection,
) -> Result<Relayed, SessionError> {
    while client.input.peek().len() < HEADER_BYTES {
        fill_client(client).await?;
    }
    let (length, sequence) = header(client.input.peek()).ok_or(SessionError::Internal("header"))?;
    client.sequence = sequence.wrapping_add(1);
    let mut left = HEADER_BYTES + length;
    loop {
        let piece = client.input.peek();
        let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
        send_to_backend(backend, piece).await?;
        left -= piece.len();
        let used = piece.len();
        client.input.consume(used);
        if left == 0 {
            return Ok(Relayed { length });
        }
        fill_client(client).await?;
    }
}

async fn fill_client(client: &mut Client) -> Result<(), SessionError> {
    match client.input.fill(&mut client.stream).await {
        Ok(0) => Err(SessionError::ClientIo(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(SessionError::ClientIo(error)),
    }
}

/// Relays a request that is longer than we care to hold: its physical packets, up to the first that is not full.
/// Answers the number of bytes. `bytes_max` ends a client that never comes to an end.
///
/// # Errors
/// Either side's socket, or more than `bytes_max`.
pub async fn relay_long_request(
    client: &mut Client,
    backend: &mut ServerConnection,
    bytes_max: usize,
) -> Result<u64, SessionError> {
    let mut total = 0u64;
    loop {
        let packet = relay_packet(client, backend).await?;
        total += packet.length as u64;
        if packet.length < crate::protocol::packet::PAYLOAD_BYTES_MAX {
            return Ok(total);
        }
        if total > bytes_max as u64 {
            let error = crate::protocol::ProtocolError::TooLarge {
                what: "request",
                bytes_max,
            };
            return Err(SessionError::ClientProtocol(error));
        }
    }
}
