//! One command of a client to its backend connection and the whole answer back, as bytes. The hot path: no row is decoded,
//! nothing is allocated in the steady state. Knows where time went; decides nothing.

use super::client::Client;
use super::error::SessionError;
use super::watch::Watch;
use crate::backend::connection::ServerConnection;
use crate::binlog::Binlog;
use crate::cache::Fill;
use crate::protocol::ProtocolError;
use crate::protocol::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX, header, put_header};
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

/// Writes to the backend and makes sure that it is on its way. `watch` is that of the client whose bytes they are.
///
/// # Errors
/// The backend's socket; `TimedOut` when it takes nothing for `backend.silence_ms_max`.
pub async fn send_to_backend(
    watch: &Watch,
    backend: &mut ServerConnection,
    bytes: &[u8],
) -> Result<(), SessionError> {
    let stream = &mut backend.stream;
    let write = async {
        stream.write_all(bytes).await?;
        if stream.is_buffered() {
            stream.flush().await?;
        }
        Ok(())
    };
    match watch.limit(watch.clock.silence_max, write).await {
        Ok(sent) => sent.map_err(SessionError::BackendIo),
        Err(_) => Err(SessionError::BackendIo(io::ErrorKind::TimedOut.into())),
    }
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
    let offers_file = std::mem::take(&mut client.offers_file);
    loop {
        // Where an error of ours would stand in what the client has by now.
        let place = machine.next_sequence();
        let cut_off = |client: &mut Client, error| {
            client.sequence = place.unwrap_or(0);
            client.is_mid_packet = place.is_none();
            error
        };
        if backend.input.is_empty() {
            let read = backend.input.fill(&mut backend.stream);
            let error = match client.wait_for_backend(read).await {
                Ok(Ok(1..)) => None,
                Ok(Ok(_)) => Some(SessionError::BackendIo(io::ErrorKind::UnexpectedEof.into())),
                Ok(Err(error)) => Some(SessionError::BackendIo(error)),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                return Err(cut_off(client, error));
            }
        }
        let arrived = Instant::now();
        timing.first_byte.get_or_insert(arrived);
        let fed = machine
            .feed(backend.input.peek())
            .map_err(|error| cut_off(client, SessionError::BackendProtocol(error)))?;
        if !offers_file && matches!(fed.event, Some(Event::LocalInfile { .. })) {
            // No server asks for a file out of the blue. One that does wants to be given what it has no right to.
            let error = ProtocolError::Unexpected("an answer to a statement that loads no file");
            return Err(cut_off(client, SessionError::BackendProtocol(error)));
        }
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

/// Relays the file of a LOAD DATA LOCAL from the client up to its empty packet. An empty packet behind a full one only ends
/// that one.
async fn relay_file(
    client: &mut Client,
    backend: &mut ServerConnection,
) -> Result<(), SessionError> {
    let mut continued = false;
    loop {
        let length = relay_packet(client, backend, &mut Shift::default()).await?;
        if length == 0 && !continued {
            return Ok(());
        }
        continued = length == PAYLOAD_BYTES_MAX;
    }
}

/// What goes to the backend in place of the first bytes of a long request.
pub struct Instead {
    /// At least as many as they replace; few, since they are held.
    pub bytes: Vec<u8>,
    /// How many of the client's they replace; these are in the buffer.
    pub of: usize,
}

/// By how much a request on its way differs from what the client sends.
#[derive(Default)]
struct Shift {
    /// Bytes that go before whatever comes next.
    carry: Vec<u8>,
    /// Bytes of what comes next that do not go.
    skip: usize,
}

/// Relays one physical packet of the client, in pieces as they come: 16 MiB are never held. Answers its length.
async fn relay_packet(
    client: &mut Client,
    backend: &mut ServerConnection,
    shift: &mut Shift,
) -> Result<usize, SessionError> {
    while client.input.peek().len() < HEADER_BYTES {
        client.fill().await?;
    }
    let (length, sequence) = header(client.input.peek()).ok_or(SessionError::Internal("header"))?;
    client.sequence = sequence.wrapping_add(1);
    if shift.carry.is_empty() {
        pass(client, backend, HEADER_BYTES + length).await?;
    } else {
        relay_shifted(client, backend, (length, sequence), shift).await?;
    }
    Ok(length)
}

/// The same with a few bytes more: a full packet stays full and leaves as many for the next one, the last one grows.
async fn relay_shifted(
    client: &mut Client,
    backend: &mut ServerConnection,
    (length, sequence): (usize, u8),
    shift: &mut Shift,
) -> Result<(), SessionError> {
    let skip = std::mem::take(&mut shift.skip).min(length);
    client.input.consume(HEADER_BYTES + skip);
    let ours = shift.carry.len() + length - skip;
    let sent = match length {
        PAYLOAD_BYTES_MAX => PAYLOAD_BYTES_MAX,
        // One packet more, and the numbers of the answer's packets would not be those that the client waits for.
        _ if ours >= PAYLOAD_BYTES_MAX => {
            return Err(SessionError::Internal(
                "an execution too long to be given its parameter types",
            ));
        }
        _ => ours,
    };
    let mut head = Vec::with_capacity(HEADER_BYTES + shift.carry.len());
    put_header(&mut head, sent, sequence);
    head.append(&mut shift.carry);
    send_to_backend(&client.watch, backend, &head).await?;
    pass(client, backend, HEADER_BYTES + sent - head.len()).await?;
    while shift.carry.len() < ours - sent {
        if client.input.is_empty() {
            client.fill().await?;
        }
        let piece = client.input.peek();
        let used = piece.len().min(ours - sent - shift.carry.len());
        shift
            .carry
            .extend_from_slice(piece.get(..used).unwrap_or_default());
        client.input.consume(used);
    }
    Ok(())
}

/// Passes so many bytes of the client on, in pieces as they come.
async fn pass(
    client: &mut Client,
    backend: &mut ServerConnection,
    mut left: usize,
) -> Result<(), SessionError> {
    loop {
        let piece = client.input.peek();
        let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
        send_to_backend(&client.watch, backend, piece).await?;
        left -= piece.len();
        let used = piece.len();
        client.input.consume(used);
        if left == 0 {
            return Ok(());
        }
        client.fill().await?;
    }
}

/// Relays a request that is longer than we care to hold: its physical packets, up to the first that is not full.
/// Answers the number of bytes. `bytes_max` ends a client that never comes to an end.
///
/// # Errors
/// Either side's socket, more than `bytes_max`, or a packet that has no room for what stands in place of its first bytes.
pub async fn relay_long_request(
    client: &mut Client,
    backend: &mut ServerConnection,
    bytes_max: usize,
    instead: Option<Instead>,
) -> Result<u64, SessionError> {
    let mut total = 0u64;
    let mut shift = instead.map_or_else(Shift::default, |instead| Shift {
        carry: instead.bytes,
        skip: instead.of,
    });
    loop {
        let length = relay_packet(client, backend, &mut shift).await?;
        total += length as u64;
        if length < PAYLOAD_BYTES_MAX {
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
