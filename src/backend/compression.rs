//! The compressed protocol as a layer of a stream: plain packets above, compressed ones below, in both directions. Starts right
//! behind the OK of a login. Memory is bounded whatever a peer announces: what is read is unpacked in steps into the reader's own
//! buffer, never beyond the announced length; what is written is packed in pieces.
//!
//! ```text
//! 3 bytes  length of what follows    1 byte  number, from 0 in each exchange    3 bytes  length unpacked; 0: not packed
//! ```

mod codec;
mod numbers;

pub use codec::{Algorithm, ZSTD_LEVEL};
pub use numbers::Role;

use super::stream::Stream;
use crate::protocol::ProtocolError;
use codec::{Decoder, compress, malformed, protocol};
use numbers::Numbers;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the header of a compressed packet.
const HEAD_BYTES: usize = 7;
/// Less is not worth packing; MySQL has the same rule.
const PACKED_BYTES_MIN: usize = 50;
/// Plain bytes of one compressed packet of ours: packing it delays nobody else for long.
const PIECE_BYTES: usize = 64 * 1024;
/// Read buffer for what is still compressed.
const RAW_BYTES: usize = 8 * 1024;
/// Write buffers that grew beyond this go when they are empty.
const KEPT_BYTES: usize = 1024;

/// Where in a compressed packet the reader is.
enum Place {
    /// In its header, of which so many bytes are there.
    Head([u8; HEAD_BYTES], usize),
    /// In bytes that are not packed: so many more.
    Plain(usize),
    /// In packed ones.
    Packed(Box<Packed>),
}

/// A packed packet that is being read.
struct Packed {
    decoder: Decoder,
    /// Packed bytes still to come.
    packed_left: usize,
    /// Plain bytes still to come.
    plain_left: usize,
    plain_bytes: usize,
}

/// A stream whose packets are compressed.
pub struct Compressed {
    inner: Stream,
    algorithm: Algorithm,
    role: Role,
    numbers: Numbers,
    /// Number of the next compressed packet, in either direction.
    next: u8,
    raw: Box<[u8]>,
    raw_start: usize,
    raw_end: usize,
    place: Place,
    /// Plain bytes that were written and not packed yet.
    pending: Vec<u8>,
    /// Packed bytes on their way, and how many of them have gone.
    out: Vec<u8>,
    out_gone: usize,
}

impl Compressed {
    /// Compresses from now on. `ahead` was read from `inner` already.
    pub fn new(inner: Stream, algorithm: Algorithm, role: Role, ahead: &[u8]) -> Self {
        Self {
            inner,
            algorithm,
            role,
            numbers: Numbers::new(role),
            next: 0,
            raw: ahead.into(),
            raw_start: 0,
            raw_end: ahead.len(),
            place: Place::Head([0; HEAD_BYTES], 0),
            pending: Vec::new(),
            out: Vec::new(),
            out_gone: 0,
        }
    }

    /// What is below.
    pub fn inner(&self) -> &Stream {
        &self.inner
    }

    /// Nothing was read that nobody has been given.
    pub fn is_drained(&self) -> bool {
        self.raw_start == self.raw_end && matches!(self.place, Place::Head(_, 0))
    }

    fn held(&self) -> &[u8] {
        self.raw
            .get(self.raw_start..self.raw_end)
            .unwrap_or_default()
    }

    /// What is left of a packed packet is its end, without a plain byte: it is over at once, not with the next read.
    fn can_finish(&self) -> bool {
        let is_here = |packed: &Packed| packed.packed_left == 0 || !self.held().is_empty();
        matches!(&self.place, Place::Packed(packed) if packed.plain_left == 0 && is_here(packed))
    }

    /// Reads into the empty raw buffer; 0 is the end. While nothing comes there is no buffer: an idle peer costs next to nothing.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        (self.raw_start, self.raw_end) = (0, 0);
        if self.raw.is_empty() {
            self.raw = vec![0; RAW_BYTES].into_boxed_slice();
        }
        let mut block = ReadBuf::new(&mut self.raw);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut block);
        self.raw_end = block.filled().len();
        if self.raw_end == 0 {
            self.raw = Box::default();
        }
        polled.map_ok(|()| self.raw_end)
    }

    /// One step with what the raw buffer holds. Answers how many plain bytes `buf` got.
    fn step(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let held = self
            .raw
            .get(self.raw_start..self.raw_end)
            .unwrap_or_default();
        match &mut self.place {
            Place::Head(head, have) => {
                let wanted = head.get_mut(*have..).unwrap_or_default();
                let taken = wanted.len().min(held.len());
                for (to, from) in wanted.iter_mut().zip(held) {
                    *to = *from;
                }
                *have += taken;
                self.raw_start += taken;
                if *have == HEAD_BYTES {
                    let head = *head;
                    self.begin(head)?;
                }
                Ok(0)
            }
            Place::Plain(left) => {
                let taken = held.len().min(*left).min(buf.remaining());
                buf.put_slice(held.get(..taken).unwrap_or_default());
                *left -= taken;
                self.raw_start += taken;
                if *left == 0 {
                    self.place = Place::Head([0; HEAD_BYTES], 0);
                }
                Ok(taken)
            }
            Place::Packed(packed) => {
                let step = packed.step(held, buf)?;
                self.raw_start += step.consumed;
                if step.ended
                    && let Place::Packed(packed) =
                        std::mem::replace(&mut self.place, Place::Head([0; HEAD_BYTES], 0))
                {
                    packed.decoder.give_back(packed.plain_bytes);
                }
                Ok(step.produced)
            }
        }
    }

    /// A header is whole.
    fn begin(&mut self, head: [u8; HEAD_BYTES]) -> io::Result<()> {
        let [l0, l1, l2, number, p0, p1, p2] = head;
        let length = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
        let plain = u32::from_le_bytes([p0, p1, p2, 0]) as usize;
        if number == 0 {
            // A client's next command, or a server that speaks unasked.
            if self.role == Role::Client && self.next != 0 {
                self.numbers.begins_unasked();
            }
        } else if number != self.next {
            return Err(protocol(ProtocolError::Sequence {
                expected: self.next,
                got: number,
            }));
        }
        self.next = number.wrapping_add(1);
        self.place = match (length, plain) {
            (0, 0) => Place::Head([0; HEAD_BYTES], 0),
            (0, _) => return Err(malformed()),
            (_, 0) => Place::Plain(length),
            _ => Place::Packed(Box::new(Packed {
                decoder: Decoder::take(self.algorithm)?,
                packed_left: length,
                plain_left: plain,
                plain_bytes: plain,
            })),
        };
        Ok(())
    }

    /// Packs what is pending. Everything packed before must have gone.
    fn seal(&mut self) {
        let length = self.pending.len();
        self.out.clear();
        self.out_gone = 0;
        self.out.resize(HEAD_BYTES + length, 0);
        let packed = match self.out.get_mut(HEAD_BYTES..) {
            Some(room) if length >= PACKED_BYTES_MIN => {
                compress(self.algorithm, &self.pending, room)
            }
            _ => None,
        };
        let packed = packed.filter(|packed| *packed < length);
        self.out.truncate(HEAD_BYTES + packed.unwrap_or(0));
        if packed.is_none() {
            self.out.extend_from_slice(&self.pending);
        }
        let [l0, l1, l2, ..] = (packed.unwrap_or(length) as u32).to_le_bytes();
        let [p0, p1, p2, ..] = packed.map_or(0, |_| length as u32).to_le_bytes();
        if let Some(head) = self.out.first_chunk_mut::<HEAD_BYTES>() {
            *head = [l0, l1, l2, self.next, p0, p1, p2];
        }
        self.next = self.next.wrapping_add(1);
        self.pending.clear();
    }

    /// Sends what is packed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.out_gone..).filter(|r| !r.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                gone => self.out_gone += gone,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Packs and sends everything.
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx))?;
            if self.pending.is_empty() {
                break;
            }
            self.seal();
        }
        self.out_gone = 0;
        for buffer in [&mut self.out, &mut self.pending] {
            buffer.clear();
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Packed {
    /// One step; `ended` says that the packet is over, and was what its header announced.
    fn step(&mut self, held: &[u8], buf: &mut ReadBuf<'_>) -> io::Result<codec::Step> {
        let input = held.get(..self.packed_left.min(held.len()));
        let input = input.unwrap_or_default();
        // Room for one byte more, so that a packet that unpacks to more than it announced is told from one that has ended.
        let mut beyond = [0; 1];
        let is_full = self.plain_left == 0;
        let out = match is_full {
            true => &mut beyond[..],
            false => {
                let free = buf.initialize_unfilled();
                let most = free.len().min(self.plain_left);
                free.get_mut(..most).unwrap_or_default()
            }
        };
        let mut step = self.decoder.step(input, out)?;
        if is_full && step.produced > 0 {
            return Err(malformed());
        }
        buf.advance(step.produced);
        self.packed_left -= step.consumed;
        self.plain_left -= step.produced;
        let is_stuck = step.produced == 0 && (step.consumed == 0 || self.packed_left == 0);
        step.ended = step.ended && self.packed_left == 0 && self.plain_left == 0;
        if is_stuck && !step.ended {
            return Err(malformed());
        }
        Ok(step)
    }
}

impl AsyncRead for Compressed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while buf.remaining() > 0 || this.can_finish() {
            let unpacks = matches!(&this.place, Place::Packed(packed) if packed.packed_left == 0);
            if this.held().is_empty() && !unpacks {
                if buf.filled().len() > before {
                    break;
                }
                if ready!(this.poll_raw(cx))? == 0 {
                    match this.place {
                        Place::Head(_, 0) => break,
                        _ => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    }
                }
            }
            let start = buf.filled().len();
            let produced = this.step(buf)?;
            this.numbers
                .read(buf.filled_mut().get_mut(start..).unwrap_or_default());
            debug_assert_eq!(buf.filled().len(), start + produced);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Compressed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let begins = this.numbers.must_begin(buf);
        if this.pending.len() >= PIECE_BYTES || begins && !this.pending.is_empty() {
            ready!(this.poll_drain(cx))?;
            this.seal();
        }
        if begins {
            this.next = 0;
        }
        let room = PIECE_BYTES - this.pending.len();
        let piece = buf.get(..room.min(buf.len())).unwrap_or_default();
        let taken = this.numbers.write(piece);
        this.pending
            .extend_from_slice(piece.get(..taken).unwrap_or_default());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_all(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_all(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
