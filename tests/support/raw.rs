//! A bare socket to a MySQL port: packets as bytes, right or wrong, and what comes back. For what no well-behaved client would do.
//! Every read has a deadline, so that whatever hangs is told from whatever is slow.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How a connection went on after the last thing that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// An ERR packet of this number came.
    Error(u16),
    /// Another packet came; its first byte.
    Packet(u8),
    /// The connection was closed.
    Closed,
    /// Nothing came before the deadline.
    Silence,
}

/// A connected socket.
pub struct Raw {
    stream: TcpStream,
    /// Read from the socket and not used yet.
    held: VecDeque<u8>,
}

/// One physical packet as bytes: `length` is what its header claims.
pub fn claimed(length: usize, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (length as u32).to_le_bytes();
    bytes[3] = sequence;
    [&bytes[..], payload].concat()
}

/// One physical packet as bytes, with its true length.
pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    claimed(payload.len(), sequence, payload)
}

/// COM_QUERY as bytes.
pub fn query(sql: &str) -> Vec<u8> {
    packet(0, &[b"\x03", sql.as_bytes()].concat())
}

impl Raw {
    /// Connects, and reads nothing yet.
    pub fn connect(port: u16) -> io::Result<Raw> {
        TcpStream::connect(("127.0.0.1", port)).map(Raw::of)
    }

    /// Takes over a socket that is in whatever state.
    pub fn of(stream: TcpStream) -> Raw {
        stream.set_nodelay(true).expect("the option can be set");
        Raw {
            stream,
            held: VecDeque::new(),
        }
    }

    /// Connects and reads the greeting: its payload, or None when none comes.
    pub fn greeted(port: u16, wait: Duration) -> Option<(Raw, Vec<u8>)> {
        let mut raw = Raw::connect(port).ok()?;
        let greeting = raw.read_packet(Instant::now() + wait).ok().flatten()?;
        Some((raw, greeting.1))
    }

    /// The bare socket; nothing may have been read ahead.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.held.is_empty(), "bytes were read ahead");
        self.stream
    }

    /// The socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes as they are; false when the peer has gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next packet: sequence number and payload. `Ok(None)` is the end of the connection.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` when nothing whole came before the deadline.
    pub fn read_packet(&mut self, deadline: Instant) -> io::Result<Option<(u8, Vec<u8>)>> {
        let mut header = [0; 4];
        if !self.read_all(&mut header, deadline)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let mut payload = vec![0; length];
        let whole = self.read_all(&mut payload, deadline)?;
        Ok(whole.then_some((header[3], payload)))
    }

    fn read_all(&mut self, into: &mut [u8], deadline: Instant) -> io::Result<bool> {
        while self.held.len() < into.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut block = [0; 65_536];
            match self.stream.read(&mut block) {
                Ok(0) => return Ok(false),
                Ok(count) => self.held.extend(&block[..count]),
                Err(error) if is_end(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let taken = self.held.drain(..into.len());
        into.iter_mut().zip(taken).for_each(|(to, byte)| *to = byte);
        Ok(true)
    }

    /// Sends statements without waiting for answers in between, then reads all the answers: how many were right, how many errors.
    /// For connections with `DEPRECATE_EOF` and statements with at most one result.
    pub fn ask_all(&mut self, texts: &[String], deadline: Instant) -> (usize, usize) {
        let bytes: Vec<u8> = texts.iter().flat_map(|text| query(text)).collect();
        assert!(self.send(&bytes), "the connection takes statements");
        let errors = texts
            .iter()
            .filter(|_| self.answer(deadline).is_err())
            .count();
        (texts.len() - errors, errors)
    }

    /// Reads one whole answer (at most one result set, `DEPRECATE_EOF`): the error's number where it is one.
    ///
    /// # Errors
    /// The number in the ERR packet. Panics when no whole answer comes.
    pub fn answer(&mut self, deadline: Instant) -> Result<(), u16> {
        let mut columns_left = None;
        loop {
            let packet = self.read_packet(deadline).expect("an answer in time");
            let payload = packet.expect("an answer").1;
            let first = payload.first().copied();
            match columns_left {
                _ if first == Some(0xFF) => {
                    return Err(u16::from_le_bytes([payload[1], payload[2]]));
                }
                None if first == Some(0) => return Ok(()),
                None => columns_left = first,
                Some(0) if first == Some(0xFE) => return Ok(()),
                Some(0) => {}
                Some(left) => columns_left = Some(left - 1),
            }
        }
    }

    /// What comes next.
    pub fn after(&mut self, wait: Duration) -> After {
        match self.read_packet(Instant::now() + wait) {
            Ok(None) => After::Closed,
            Ok(Some((_, payload))) => match payload[..] {
                [0xFF, low, high, ..] => After::Error(u16::from_le_bytes([low, high])),
                [first, ..] => After::Packet(first),
                [] => After::Packet(0),
            },
            Err(_) => After::Silence,
        }
    }

    /// Reads on to the end of the connection: the number of the last error on the way, 0 for none.
    /// None when the connection is still open at the deadline.
    pub fn end(&mut self, wait: Duration) -> Option<u16> {
        let deadline = Instant::now() + wait;
        let mut last = 0;
        loop {
            match self.read_packet(deadline) {
                Ok(None) => return Some(last),
                Ok(Some((_, payload))) => {
                    if let [0xFF, low, high, ..] = payload[..] {
                        last = u16::from_le_bytes([low, high]);
                    }
                }
                Err(_) => return None,
            }
        }
    }
}

/// Errors by which the other side's close shows itself.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}
