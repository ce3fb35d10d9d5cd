//! zlib and zstd as the compressed protocol uses them: one packet in one go when written, in steps of bounded memory when read.
//! Contexts are large and needed for moments only, so each thread keeps a few for all of its connections. Knows no headers.

use crate::protocol::{ProtocolError, capability};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;
use std::io;
use zstd::bulk::Compressor;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// zlib's own default, which MySQL takes on both sides.
const ZLIB_LEVEL: u32 = 6;
/// zstd's own default, which MySQL takes on both sides.
pub const ZSTD_LEVEL: u8 = 3;
/// A client may ask for up to 22. What reads does not notice which level wrote; a worker would, at tens of milliseconds a packet.
const ZSTD_LEVEL_MAX: u8 = 6;
/// No packet is longer than 2^24, so no window of a packet has to be: a frame that asks for more memory is refused.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;
/// Reading contexts of one kind that a thread keeps.
const KEPT_MAX: usize = 4;

/// How packets are compressed on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// zlib.
    Zlib,
    /// zstd at this level, 1 to 22; what we write has at most 6.
    Zstd(u8),
}

impl Algorithm {
    /// The capability that stands for it.
    pub fn capability(self) -> u32 {
        match self {
            Self::Zlib => capability::COMPRESS,
            Self::Zstd(_) => capability::ZSTD_COMPRESSION,
        }
    }

    /// The byte in a handshake response; 0 where none is sent.
    pub fn zstd_level(self) -> u8 {
        match self {
            Self::Zlib => 0,
            Self::Zstd(level) => level,
        }
    }
}

thread_local! {
    static ZLIB_WRITER: RefCell<Option<Compress>> = const { RefCell::new(None) };
    static ZSTD_WRITER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static READERS: RefCell<Vec<Decoder>> = const { RefCell::new(Vec::new()) };
}

/// Compresses `plain` into `out`, which is as long as the result may be. `None`: it would not get shorter than that.
pub fn compress(algorithm: Algorithm, plain: &[u8], out: &mut [u8]) -> Option<usize> {
    match algorithm {
        Algorithm::Zlib => ZLIB_WRITER.with_borrow_mut(|kept| {
            let writer =
                kept.get_or_insert_with(|| Compress::new(Compression::new(ZLIB_LEVEL), true));
            writer.reset();
            match writer.compress(plain, out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => usize::try_from(writer.total_out()).ok(),
                _ => None,
            }
        }),
        Algorithm::Zstd(level) => ZSTD_WRITER.with_borrow_mut(|kept| {
            if kept.is_none() {
                *kept = Some(Compressor::new(ZSTD_LEVEL.into()).ok()?);
            }
            let writer = kept.as_mut()?;
            let level = level.clamp(1, ZSTD_LEVEL_MAX).into();
            writer.set_compression_level(level).ok()?;
            writer.compress_to_buffer(plain, out).ok()
        }),
    }
}

/// One step of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Compressed bytes used up.
    pub consumed: usize,
    /// Plain bytes written.
    pub produced: usize,
    /// What was read is complete: it could end here.
    pub ended: bool,
}

/// Reads one compressed packet.
pub enum Decoder {
    /// zlib.
    Zlib(Decompress),
    /// zstd.
    Zstd(ZstdDecoder<'static>),
}

impl Decoder {
    /// A context for one packet.
    ///
    /// # Errors
    /// The library has no memory for one.
    pub fn take(algorithm: Algorithm) -> io::Result<Self> {
        let fits = |kept: &Decoder| kept.is_zlib() == (algorithm == Algorithm::Zlib);
        let kept = READERS.with_borrow_mut(|readers| {
            let at = readers.iter().position(fits)?;
            Some(readers.swap_remove(at))
        });
        match (kept, algorithm) {
            (Some(kept), _) => Ok(kept),
            (None, Algorithm::Zlib) => Ok(Self::Zlib(Decompress::new(true))),
            (None, Algorithm::Zstd(_)) => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
                Ok(Self::Zstd(decoder))
            }
        }
    }

    /// Lets the next packet of this thread have the context. One that read `plain_bytes`, more than a few, is let go: a zstd
    /// context keeps a window as long as the longest packet that it has read.
    pub fn give_back(mut self, plain_bytes: usize) {
        const KEPT_PLAIN_BYTES_MAX: usize = 256 * 1024;
        let ready = match &mut self {
            Self::Zlib(zlib) => {
                zlib.reset(true);
                true
            }
            Self::Zstd(zstd) => plain_bytes <= KEPT_PLAIN_BYTES_MAX && zstd.reinit().is_ok(),
        };
        READERS.with_borrow_mut(|readers| {
            let alike = readers.iter().filter(|r| r.is_zlib() == self.is_zlib());
            if ready && alike.count() < KEPT_MAX {
                readers.push(self);
            }
        });
    }

    fn is_zlib(&self) -> bool {
        matches!(self, Self::Zlib(_))
    }

    /// Reads from `input` into `out` as far as either goes.
    ///
    /// # Errors
    /// The bytes are not of this algorithm.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Step> {
        match self {
            Self::Zlib(zlib) => {
                let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
                let status = zlib
                    .decompress(input, out, FlushDecompress::None)
                    .map_err(|_| malformed())?;
                Ok(Step {
                    consumed: usize::try_from(zlib.total_in() - before_in).unwrap_or(usize::MAX),
                    produced: usize::try_from(zlib.total_out() - before_out).unwrap_or(usize::MAX),
                    ended: status == Status::StreamEnd,
                })
            }
            Self::Zstd(zstd) => {
                let mut input = InBuffer::around(input);
                let mut out = OutBuffer::around(out);
                let hint = zstd.run(&mut input, &mut out).map_err(|_| malformed())?;
                Ok(Step {
                    consumed: input.pos(),
                    produced: out.pos(),
                    ended: hint == 0,
                })
            }
        }
    }
}

/// A compressed packet that is none, or not the one that its header announced.
pub fn malformed() -> io::Error {
    protocol(ProtocolError::Malformed("compressed packet"))
}

/// An error of the peer's, as what reads streams can tell it.
pub fn protocol(error: ProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
