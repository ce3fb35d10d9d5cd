//! From the bytes of a dump connection to events: packets, events across packets, compressed transactions. Pure push parser.
//! Holds the interesting head of one event at a time and a fixed window of decompression, whatever the size of a transaction.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::decode::{CHECKSUM_BYTES, HEADER_BYTES, Header, LogEvent, decode, kind};
use crate::protocol::packet::{self, Cursor};
use thiserror::Error;

/// Decompressed bytes handled at a time.
const WINDOW_BYTES: usize = 64 * 1024;
/// The head of a compressed transaction: three numbered fields.
const PAYLOAD_HEAD_BYTES_MAX: usize = 128;
/// An ERR packet is kept up to here.
const ERROR_BYTES_MAX: usize = 1024;

/// Why the stream cannot be read on.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReadFailure {
    /// The server ended the stream with an error packet (its payload).
    #[error("the server ended the stream with an error")]
    Server(Vec<u8>),
    /// The server ended the stream.
    #[error("the server ended the stream")]
    End,
    /// The bytes make no sense.
    #[error("malformed log stream: {0}")]
    Malformed(&'static str),
}

/// One event as the caller sees it.
#[derive(Debug)]
pub struct Raw<'a> {
    /// Its header.
    pub header: Header,
    /// The kept head of its body, without the checksum.
    pub body: &'a [u8],
    /// Whether `body` is all of it.
    pub whole: bool,
    /// It stood inside a compressed transaction: its header's position means nothing.
    pub inner: bool,
}

impl Raw<'_> {
    /// What it says.
    pub fn event(&self) -> LogEvent<'_> {
        decode(&self.header, self.body, self.whole)
    }
}

/// The parser of one dump connection.
pub struct LogReader {
    packet_left: usize,
    /// The current packet continues the one before it (16 MiB - 1 bytes each).
    continued: bool,
    head: Vec<u8>,
    status_due: bool,
    error: Option<Vec<u8>>,
    outer: Assembler,
    payload: Option<Payload>,
}

impl LogReader {
    /// `checksum`: whether events before the first file head carry one (`@@binlog_checksum` is not NONE).
    pub fn new(checksum: bool) -> Self {
        Self {
            packet_left: 0,
            continued: false,
            head: Vec::with_capacity(packet::HEADER_BYTES),
            status_due: false,
            error: None,
            outer: Assembler::new(checksum),
            payload: None,
        }
    }

    /// Takes the next bytes of the connection and hands every event that ends in them to `sink`.
    ///
    /// # Errors
    /// The stream's end, by the server or by nonsense; also what `sink` answers.
    pub fn push<E: From<ReadFailure>>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(Raw<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.packet_left == 0 {
                bytes = self.take_packet_header(bytes);
                continue;
            }
            let (mut part, rest) = bytes.split_at(self.packet_left.min(bytes.len()));
            bytes = rest;
            self.packet_left -= part.len();
            if self.status_due {
                self.status_due = false;
                part = self.take_status(part)?;
            }
            if let Some(error) = &mut self.error {
                let room = ERROR_BYTES_MAX.saturating_sub(error.len());
                error.extend(part.iter().take(room));
                if self.packet_left == 0 {
                    return Err(ReadFailure::Server(std::mem::take(error)).into());
                }
                continue;
            }
            self.take_event_bytes(part, sink)?;
            if self.packet_left == 0 && !self.continued && self.outer.is_inside() {
                return Err(ReadFailure::Malformed("an event longer than its packet").into());
            }
        }
        Ok(())
    }

    fn take_packet_header<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let missing = packet::HEADER_BYTES - self.head.len();
        let (part, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head.extend_from_slice(part);
        if let Some((length, _)) = packet::header(&self.head) {
            self.head.clear();
            self.packet_left = length;
            // An empty packet ends a row of full ones.
            self.status_due = !self.continued && length > 0;
            self.continued = length == packet::PAYLOAD_BYTES_MAX;
        }
        rest
    }

    /// The first byte of an event's first packet: 0 before an event, else the end.
    fn take_status<'b>(&mut self, part: &'b [u8]) -> Result<&'b [u8], ReadFailure> {
        match part.split_first() {
            Some((0, rest)) => {
                self.outer.begin();
                Ok(rest)
            }
            Some((0xFF, _)) => {
                self.error = Some(Vec::new());
                Ok(part)
            }
            Some((0xFE, _)) => Err(ReadFailure::End),
            _ => Err(ReadFailure::Malformed("packet status")),
        }
    }

    fn take_event_bytes<E: From<ReadFailure>>(
        &mut self,
        mut part: &[u8],
        sink: &mut impl FnMut(Raw<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !part.is_empty() {
            if !self.outer.is_inside() {
                return Err(ReadFailure::Malformed("bytes behind an event").into());
            }
            let (taken, body) = self.outer.take(part)?;
            part = part.get(taken..).unwrap_or(&[]);
            if self.outer.kind() == Some(kind::TRANSACTION_PAYLOAD) {
                let payload = self.payload.get_or_insert_with(Payload::default);
                payload.push(body, sink)?;
            }
            if !self.outer.is_done() {
                continue;
            }
            let header = self.outer.header_or_fail()?;
            if header.kind == kind::TRANSACTION_PAYLOAD {
                self.payload.take().unwrap_or_default().finish()?;
            }
            let raw = self.outer.finish(header, false);
            if let LogEvent::FormatDescription { checksum, .. } = raw.event() {
                let result = sink(raw);
                self.outer.checksum = checksum;
                result?;
            } else {
                sink(raw)?;
            }
        }
        Ok(())
    }
}

/// Collects the header and the wanted head of one event after another.
struct Assembler {
    inside: bool,
    checksum: bool,
    bytes: Vec<u8>,
    header: Option<Header>,
    /// Bytes of the body, without the checksum, that are still to come.
    body_left: usize,
    tail_left: usize,
    whole: bool,
    sum: crc32fast::Hasher,
    /// The checksum as it came, little end first.
    tail: u32,
}

impl Assembler {
    fn new(checksum: bool) -> Self {
        Self {
            inside: false,
            checksum,
            bytes: Vec::with_capacity(1024),
            header: None,
            body_left: 0,
            tail_left: 0,
            whole: true,
            sum: crc32fast::Hasher::new(),
            tail: 0,
        }
    }

    fn begin(&mut self) {
        self.inside = true;
        self.bytes.clear();
        self.header = None;
        self.whole = true;
        self.sum = crc32fast::Hasher::new();
        self.tail = 0;
        // One large statement must not be remembered by the size of this buffer.
        self.bytes.shrink_to(WINDOW_BYTES);
    }

    fn is_inside(&self) -> bool {
        self.inside
    }

    fn kind(&self) -> Option<u8> {
        self.header.map(|h| h.kind)
    }

    fn is_done(&self) -> bool {
        self.header.is_some() && self.body_left == 0 && self.tail_left == 0
    }

    fn header_or_fail(&self) -> Result<Header, ReadFailure> {
        self.header.ok_or(ReadFailure::Malformed("event header"))
    }

    /// Takes the next bytes: how many it took, and which of them belong to the body.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<(usize, &'b [u8]), ReadFailure> {
        let Some(header) = self.header else {
            let n = (HEADER_BYTES - self.bytes.len()).min(bytes.len());
            self.bytes.extend(bytes.iter().take(n));
            if self.bytes.len() == HEADER_BYTES {
                self.begin_body()?;
            }
            return Ok((n, &[]));
        };
        if self.body_left > 0 {
            let (body, _) = bytes.split_at(self.body_left.min(bytes.len()));
            self.body_left -= body.len();
            if self.checksum {
                self.sum.update(body);
            }
            let room = header.wanted().saturating_sub(self.bytes.len());
            self.bytes.extend(body.iter().take(room));
            self.whole &= body.len() <= room;
            return Ok((body.len(), body));
        }
        let n = self.tail_left.min(bytes.len());
        for byte in bytes.iter().take(n) {
            self.tail = self.tail >> 8 | u32::from(*byte) << 24;
        }
        self.tail_left -= n;
        if self.tail_left == 0 {
            self.verify(header)?;
        }
        Ok((n, &[]))
    }

    fn begin_body(&mut self) -> Result<(), ReadFailure> {
        let header = Header::parse(&self.bytes).ok_or(ReadFailure::Malformed("event header"))?;
        // The head of a file always carries a checksum field, whatever it says about the events behind it.
        let sums = self.checksum || header.kind == kind::FORMAT_DESCRIPTION;
        self.tail_left = if sums { CHECKSUM_BYTES } else { 0 };
        self.sum.update(&self.bytes);
        self.body_left = (header.size as usize)
            .checked_sub(HEADER_BYTES + self.tail_left)
            .ok_or(ReadFailure::Malformed("event size"))?;
        self.header = Some(header);
        self.bytes.clear();
        Ok(())
    }

    /// A damaged name would hide a change. The head of a file is left out: a flag in it changes after it was summed up.
    fn verify(&self, header: Header) -> Result<(), ReadFailure> {
        if self.checksum
            && header.kind != kind::FORMAT_DESCRIPTION
            && self.sum.clone().finalize() != self.tail
        {
            return Err(ReadFailure::Malformed("event checksum"));
        }
        Ok(())
    }

    fn finish(&mut self, header: Header, inner: bool) -> Raw<'_> {
        self.inside = false;
        Raw {
            header,
            body: &self.bytes,
            whole: self.whole,
            inner,
        }
    }
}

/// A compressed transaction on its way through.
struct Payload {
    head: Vec<u8>,
    body: PayloadBody,
    inner: Assembler,
}

enum PayloadBody {
    Head,
    Zstd(Box<Decoder<'static>>),
    Plain,
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            body: PayloadBody::Head,
            inner: Assembler::new(false),
        }
    }
}

impl Payload {
    fn push<E: From<ReadFailure>>(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Raw<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !matches!(self.body, PayloadBody::Head) {
            return self.unpack(bytes, sink);
        }
        self.head.extend_from_slice(bytes);
        let Some((compressed, start)) = payload_head(&self.head)? else {
            if self.head.len() > PAYLOAD_HEAD_BYTES_MAX {
                return Err(ReadFailure::Malformed("payload head").into());
            }
            return Ok(());
        };
        self.body = if compressed {
            let decoder = Decoder::new().map_err(|_| ReadFailure::Malformed("no decompressor"))?;
            PayloadBody::Zstd(Box::new(decoder))
        } else {
            PayloadBody::Plain
        };
        let head = std::mem::take(&mut self.head);
        self.unpack(head.get(start..).unwrap_or(&[]), sink)
    }

    fn unpack<E: From<ReadFailure>>(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Raw<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let PayloadBody::Zstd(decoder) = &mut self.body else {
            return take_inner(&mut self.inner, bytes, sink);
        };
        let mut window = vec![0; WINDOW_BYTES];
        let mut input = InBuffer::around(bytes);
        loop {
            let mut output = OutBuffer::around(window.as_mut_slice());
            decoder
                .run(&mut input, &mut output)
                .map_err(|_| ReadFailure::Malformed("compressed transaction"))?;
            let written = output.pos();
            take_inner(&mut self.inner, window.get(..written).unwrap_or(&[]), sink)?;
            // A full window may hide more output; an unfilled one means that the input is used up.
            if written < WINDOW_BYTES && input.pos >= bytes.len() {
                return Ok(());
            }
        }
    }

    fn finish(self) -> Result<(), ReadFailure> {
        let begun = !matches!(self.body, PayloadBody::Head);
        if begun && !self.inner.is_inside() {
            Ok(())
        } else {
            Err(ReadFailure::Malformed("cut transaction payload"))
        }
    }
}

/// Whether it is compressed and where the data starts; `None` while the head is not whole.
fn payload_head(bytes: &[u8]) -> Result<Option<(bool, usize)>, ReadFailure> {
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    let mut c = Cursor::new(bytes);
    let mut compression = None;
    loop {
        let Some(field) = c.lenenc() else {
            return Ok(None);
        };
        if field == 0 {
            return match compression {
                Some(ZSTD) => Ok(Some((true, bytes.len() - c.rest().len()))),
                Some(NONE) => Ok(Some((false, bytes.len() - c.rest().len()))),
                _ => Err(ReadFailure::Malformed("payload compression")),
            };
        }
        let Some(value) = c.lenenc_bytes() else {
            return Ok(None);
        };
        if field == 2 {
            compression = Cursor::new(value).lenenc();
        }
    }
}

fn take_inner<E: From<ReadFailure>>(
    inner: &mut Assembler,
    mut bytes: &[u8],
    sink: &mut impl FnMut(Raw<'_>) -> Result<(), E>,
) -> Result<(), E> {
    while !bytes.is_empty() {
        if !inner.is_inside() {
            inner.begin();
        }
        let (taken, _) = inner.take(bytes)?;
        bytes = bytes.get(taken..).unwrap_or(&[]);
        if inner.is_done() {
            let header = inner.header_or_fail()?;
            if header.kind == kind::TRANSACTION_PAYLOAD {
                return Err(ReadFailure::Malformed("payload inside a payload").into());
            }
            sink(inner.finish(header, true))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "reader/tests.rs"]
mod tests;
