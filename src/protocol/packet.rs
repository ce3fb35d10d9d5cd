//! Packets: the four-byte header, the split at 16 MiB, bounded cursors for reading fields, writers, and the read buffer of one socket.
//! Never panics on short or hostile input: every reader answers `None` when the bytes do not reach.

use super::{ProtocolError, Result};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a packet header: three of length, one of sequence.
pub const HEADER_BYTES: usize = 4;

/// The longest payload of one physical packet. A packet of exactly this length is continued by the next one.
pub const PAYLOAD_BYTES_MAX: usize = 0xFF_FFFF;

/// Payload length and sequence number of the packet that starts here; `None` if fewer than four bytes are there.
#[inline]
pub fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, sequence] = *bytes.first_chunk::<HEADER_BYTES>()?;
    Some((u32::from_le_bytes([a, b, c, 0]) as usize, sequence))
}

/// Fails unless `got` is the sequence number that is due.
pub fn expect_sequence(expected: u8, got: u8) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(ProtocolError::Sequence { expected, got })
    }
}

/// A place in a payload; every read moves it and answers `None` (without moving) when the bytes do not reach.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Everything that has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True at the end.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, little endian.
    #[inline]
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, little endian.
    #[inline]
    pub fn u24(&mut self) -> Option<u32> {
        self.array::<3>()
            .map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little endian.
    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little endian.
    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-encoded integer. 0xFB (NULL) and 0xFF are not integers and answer `None`.
    #[inline]
    pub fn lenenc(&mut self) -> Option<u64> {
        let before = self.rest;
        let value = match self.u8()? {
            byte @ 0..=0xFA => Some(u64::from(byte)),
            0xFC => self.u16().map(u64::from),
            0xFD => self.u24().map(u64::from),
            0xFE => self.u64(),
            0xFB | 0xFF => None,
        };
        if value.is_none() {
            self.rest = before;
        }
        value
    }

    /// A string with a length-encoded length.
    #[inline]
    pub fn lenenc_bytes(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        let bytes = self
            .lenenc()
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| self.bytes(n));
        if bytes.is_none() {
            self.rest = before;
        }
        bytes
    }

    /// A cell of a text row: `Some(None)` is SQL NULL.
    #[inline]
    pub fn cell(&mut self) -> Option<Option<&'a [u8]>> {
        if self.rest.first() == Some(&0xFB) {
            self.u8()?;
            return Some(None);
        }
        self.lenenc_bytes().map(Some)
    }

    /// A string that ends with a zero byte; the zero is passed over and not part of the answer.
    pub fn until_zero(&mut self) -> Option<&'a [u8]> {
        let at = memchr::memchr(0, self.rest)?;
        let bytes = self.bytes(at)?;
        self.u8()?;
        Some(bytes)
    }

    /// Everything that is left; leaves the cursor at the end.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Writes a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xFA => out.push(bytes[0]),
        0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xFE);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Writes a string with a length-encoded length.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a string and a zero byte. Zero bytes inside would end it early for the reader, so the string stops at the first one.
pub fn put_until_zero(out: &mut Vec<u8>, bytes: &[u8]) {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    out.extend_from_slice(&bytes[..end]);
    out.push(0);
}

/// Appends `payload` as one logical packet: split at 16 MiB - 1, with an empty last packet where the split leaves none.
/// `sequence` is the number of the first packet and afterwards the next one to use.
pub fn write_packet(out: &mut Vec<u8>, sequence: &mut u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (head, tail) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
        put_header(out, head.len(), *sequence);
        *sequence = sequence.wrapping_add(1);
        out.extend_from_slice(head);
        rest = tail;
        if head.len() < PAYLOAD_BYTES_MAX {
            return;
        }
    }
}

/// Appends one packet whose payload `fill` writes in place; splits it afterwards in the rare case that it is too long for one.
pub fn write_packet_with(out: &mut Vec<u8>, sequence: &mut u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    fill(out);
    let length = out.len() - start - HEADER_BYTES;
    if length >= PAYLOAD_BYTES_MAX {
        let payload = out.split_off(start + HEADER_BYTES);
        out.truncate(start);
        return write_packet(out, sequence, &payload);
    }
    let [a, b, c, ..] = (length as u32).to_le_bytes();
    out[start..start + HEADER_BYTES].copy_from_slice(&[a, b, c, *sequence]);
    *sequence = sequence.wrapping_add(1);
}

/// Appends a bare header. `length` must be at most [`PAYLOAD_BYTES_MAX`]; longer is cut to its low 24 bits.
pub fn put_header(out: &mut Vec<u8>, length: usize, sequence: u8) {
    let [a, b, c, ..] = (length as u32).to_le_bytes();
    out.extend_from_slice(&[a, b, c, sequence]);
}

/// What ended the wait for a packet.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The socket failed, or ended inside a packet (`UnexpectedEof`).
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// How often a grown buffer must run empty without need of its size before it shrinks: keeps a client that sends large
/// statements in a row from paying an allocation for each.
const QUIET_FILLS_BEFORE_SHRINK: u8 = 32;

/// What a resting buffer keeps: enough for the short statements that most are.
const RESTING_BYTES: usize = 512;

/// The read buffer of one socket. It reads into a fixed block, hands out what came and moves on; it grows only when a caller asks
/// for a whole packet that does not fit, and falls back to its base size when that need has passed.
#[derive(Debug)]
pub struct PacketBuffer {
    /// All of it is initialised, so that a read needs no zeroing.
    block: Box<[u8]>,
    start: usize,
    end: usize,
    base_bytes: usize,
    quiet_fills: u8,
}

impl PacketBuffer {
    /// An empty buffer of `base_bytes` (at least 1 KiB).
    pub fn new(base_bytes: usize) -> Self {
        let base_bytes = base_bytes.max(1024);
        Self {
            block: vec![0; base_bytes].into_boxed_slice(),
            start: 0,
            end: 0,
            base_bytes,
            quiet_fills: 0,
        }
    }

    /// A buffer that takes no memory and nothing in.
    pub fn none() -> Self {
        Self {
            block: Box::default(),
            start: 0,
            end: 0,
            base_bytes: 0,
            quiet_fills: 0,
        }
    }

    /// What has been read and not consumed.
    #[inline]
    pub fn peek(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or(&[])
    }

    /// As [`peek`](Self::peek), to be changed in place.
    #[inline]
    pub fn peek_mut(&mut self) -> &mut [u8] {
        self.block.get_mut(self.start..self.end).unwrap_or(&mut [])
    }

    /// Drops the first `n` bytes of [`peek`](Self::peek) (all of them if it has fewer).
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Puts `bytes` in the place of the first `n` bytes of [`peek`](Self::peek).
    pub fn replace_front(&mut self, n: usize, bytes: &[u8]) {
        let rest = self.peek().get(n..).unwrap_or_default();
        let whole = [bytes, rest].concat();
        self.consume(usize::MAX);
        self.reserve(whole.len());
        if let Some(place) = self.block.get_mut(..whole.len()) {
            place.copy_from_slice(&whole);
            self.end = whole.len();
        }
    }

    /// Takes everything that is buffered: for who goes on reading in another way.
    pub fn take(&mut self) -> Vec<u8> {
        let taken = self.peek().to_vec();
        self.consume(taken.len());
        taken
    }

    /// True if nothing is buffered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory held now.
    pub fn capacity(&self) -> usize {
        self.block.len()
    }

    /// Reads once into the free space and answers the number of bytes; 0 is the end of the stream.
    /// A full buffer is no error of the peer: the caller has to consume or [`reserve`](Self::reserve) first, else `OutOfMemory` is answered.
    /// Cancel safe: either the bytes are in the buffer or none were taken.
    pub async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
        if self.is_empty() {
            self.shrink_when_quiet();
        } else if self.end == self.block.len() && self.start == 0 && self.end < self.base_bytes {
            // What it rested with is too small for what came.
            self.reserve(self.base_bytes);
        } else if self.end == self.block.len() && self.start > 0 {
            self.block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let Some(free) = self
            .block
            .get_mut(self.end..)
            .filter(|free| !free.is_empty())
        else {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "read buffer is full",
            ));
        };
        let n = reader.read(free).await?;
        self.end += n;
        Ok(n)
    }

    /// Makes room so that `total` bytes from the start of [`peek`](Self::peek) fit.
    pub fn reserve(&mut self, total: usize) {
        if self.block.len() - self.start >= total {
            return;
        }
        if self.block.len() >= total {
            self.block.copy_within(self.start..self.end, 0);
        } else {
            let mut grown = vec![0; total.next_multiple_of(4096)].into_boxed_slice();
            let held = self.end - self.start;
            grown[..held].copy_from_slice(&self.block[self.start..self.end]);
            self.block = grown;
        }
        self.end -= self.start;
        self.start = 0;
        self.quiet_fills = 0;
    }

    /// The next physical packet, if all of it is buffered: its sequence number and payload.
    /// Consume `HEADER_BYTES + payload.len()` when done with it.
    #[inline]
    pub fn packet(&self) -> Option<(u8, &[u8])> {
        let (length, sequence) = header(self.peek())?;
        let payload = self.peek().get(HEADER_BYTES..HEADER_BYTES + length)?;
        Some((sequence, payload))
    }

    /// Waits until the next physical packet is whole in the buffer. `Ok(None)`: the stream ended cleanly between two packets.
    /// Then [`packet`](Self::packet) is `Some`. A payload of more than `payload_bytes_max` is refused before it is read.
    /// Memory grows with what has arrived, not with what a header announced. Cancel safe.
    pub async fn fill_packet<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        payload_bytes_max: usize,
    ) -> std::result::Result<Option<()>, ReadError> {
        loop {
            let held = self.peek().len();
            if let Some((length, _)) = header(self.peek()) {
                if length > payload_bytes_max {
                    return Err(ProtocolError::TooLarge {
                        what: "packet",
                        bytes_max: payload_bytes_max,
                    }
                    .into());
                }
                if held >= HEADER_BYTES + length {
                    return Ok(Some(()));
                }
                // Doubling: a peer that announces 16 MiB and sends 10 bytes costs 10 bytes' worth of buffer.
                self.reserve((HEADER_BYTES + length).min((held * 2).max(self.base_bytes)));
            }
            if self.fill(reader).await? == 0 {
                if held == 0 {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn shrink_when_quiet(&mut self) {
        if self.block.len() <= self.base_bytes {
            return;
        }
        self.quiet_fills = self.quiet_fills.saturating_add(1);
        if self.quiet_fills >= QUIET_FILLS_BEFORE_SHRINK {
            self.shrink();
        }
    }

    /// Gives its memory back but for a little, if nothing is buffered. For a connection that will be idle for long.
    pub fn rest(&mut self) {
        if self.is_empty() && self.block.len() > RESTING_BYTES {
            *self = Self {
                block: vec![0; RESTING_BYTES].into_boxed_slice(),
                ..Self::sized(self.base_bytes)
            };
        }
    }

    fn sized(base_bytes: usize) -> Self {
        Self {
            base_bytes,
            ..Self::none()
        }
    }

    /// Falls back to the base size at once, if what is buffered fits it. For a connection that goes idle.
    pub fn shrink(&mut self) {
        let held = self.end - self.start;
        if self.block.len() > self.base_bytes && held <= self.base_bytes {
            let mut small = vec![0; self.base_bytes].into_boxed_slice();
            small[..held].copy_from_slice(&self.block[self.start..self.end]);
            self.block = small;
            self.start = 0;
            self.end = held;
        }
        self.quiet_fills = 0;
    }
}
