//! A MySQL client of its own that keeps every packet as it came, to compare two servers byte by byte. Knows just enough of the
//! protocol to see where a response ends, and takes nothing from the crate under test: it is the independent opinion.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::raw::Raw;

/// Capabilities that every client here has: protocol 4.1, plugin authentication, transactions, several results.
pub(super) const BASE: u32 = 0x0000_0001
    | 0x0000_0008
    | 0x0000_0200
    | 0x0000_2000
    | 0x0000_8000
    | 0x0002_0000
    | 0x0004_0000
    | 0x0008_0000;
/// LOAD DATA LOCAL may ask us for a file.
pub const LOCAL_FILES: u32 = 0x0000_0080;
/// Affected rows are found rows.
pub const FOUND_ROWS: u32 = 0x0000_0002;
/// Several statements in one text.
pub const MULTI_STATEMENTS: u32 = 0x0001_0000;
/// OK packets carry state changes.
pub const SESSION_TRACK: u32 = 0x0080_0000;
/// Result sets end with OK packets.
pub const DEPRECATE_EOF: u32 = 0x0100_0000;

/// Status bit: another result follows.
const MORE_RESULTS: u16 = 0x0008;
const PART: usize = 0xFF_FFFF;

/// One packet: its sequence number and its payload, parts of 16 MiB joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Number of its last part.
    pub sequence: u8,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// How a streamed result ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Streamed {
    /// With its end packet.
    Whole,
    /// With an ERR packet of that code.
    Error(u16),
    /// With the connection.
    Broken,
    /// The reader stopped.
    Left,
}

/// A parameter of a prepared statement.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// NULL.
    Null,
    /// LONGLONG.
    Integer(i64),
    /// VAR_STRING.
    Text(Vec<u8>),
}

/// A logged-in connection.
pub struct Wire {
    stream: TcpStream,
    capabilities: u32,
}

impl Wire {
    /// Logs in with [`BASE`] and `capabilities`; the ERR packet's payload when refused, nothing when the connection just ended.
    pub fn login(
        port: u16,
        user: &str,
        password: &str,
        schema: &str,
        capabilities: u32,
    ) -> Result<Wire, Vec<u8>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port answers");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("the option can be set");
        let mut wire = Wire {
            stream,
            capabilities: BASE | capabilities,
        };
        let greeting = wire.try_read().ok_or_else(Vec::new)?;
        if greeting.payload[0] == 0xFF {
            return Err(greeting.payload);
        }
        let (nonce, plugin) = parse_greeting(&greeting.payload);
        let mut response = Vec::new();
        response.extend(wire.capabilities.to_le_bytes());
        response.extend((1_u32 << 30).to_le_bytes());
        response.push(45);
        response.extend([0; 23]);
        response.extend(user.as_bytes());
        response.push(0);
        let scramble = scramble(&plugin, &nonce, password);
        response.push(scramble.len() as u8);
        response.extend(scramble);
        response.extend(schema.as_bytes());
        response.push(0);
        response.extend(plugin.as_bytes());
        response.push(0);
        wire.write(greeting.sequence.wrapping_add(1), &response);
        wire.finish_login(nonce, password)?;
        Ok(wire)
    }

    fn finish_login(&mut self, mut nonce: Vec<u8>, password: &str) -> Result<(), Vec<u8>> {
        loop {
            let packet = self.try_read().ok_or_else(Vec::new)?;
            let reply = match packet.payload[0] {
                0x00 => return Ok(()),
                0xFF => return Err(packet.payload),
                0xFE => {
                    let end = 1 + packet.payload[1..]
                        .iter()
                        .position(|byte| *byte == 0)
                        .expect("a plugin name");
                    let plugin = String::from_utf8_lossy(&packet.payload[1..end]).into_owned();
                    nonce = packet.payload[end + 1..].to_vec();
                    nonce.truncate(20);
                    scramble(&plugin, &nonce, password)
                }
                // Fast path taken: the OK follows.
                0x01 if packet.payload[1..] == [3] => continue,
                // Full path without TLS: ask for the public key.
                0x01 if packet.payload[1..] == [4] => vec![2],
                0x01 => {
                    let mut secret = password.as_bytes().to_vec();
                    secret.push(0);
                    for (at, byte) in secret.iter_mut().enumerate() {
                        *byte ^= nonce[at % nonce.len()];
                    }
                    mysql_common::crypto::encrypt(&secret, &packet.payload[1..])
                }
                other => panic!("a login packet begins with {other:#04x}"),
            };
            self.write(packet.sequence.wrapping_add(1), &reply);
        }
    }

    /// COM_QUERY: every packet of every result. `file` is what LOAD DATA LOCAL gets.
    pub fn query(&mut self, sql: &[u8], file: &[u8]) -> Vec<Packet> {
        let mut command = vec![0x03];
        command.extend(sql);
        self.write(0, &command);
        self.results(file)
    }

    /// COM_QUERY of one result set whose packets are looked at and let go; ends when `look` says so, at the end of the rows, at
    /// an ERR packet, or when the connection breaks. For results too large to keep.
    pub fn stream(&mut self, sql: &[u8], mut look: impl FnMut(&[u8]) -> bool) -> Streamed {
        let mut command = vec![0x03];
        command.extend(sql);
        self.write(0, &command);
        let columns = lenenc(&self.read().payload).0;
        let deprecate = self.capabilities & DEPRECATE_EOF != 0;
        for _ in 0..columns + u64::from(!deprecate) {
            self.read();
        }
        loop {
            let Some(packet) = self.try_read() else {
                return Streamed::Broken;
            };
            match packet.payload[0] {
                0xFF => {
                    return Streamed::Error(u16::from_le_bytes([
                        packet.payload[1],
                        packet.payload[2],
                    ]));
                }
                0xFE if packet.payload.len() < PART => return Streamed::Whole,
                _ if !look(&packet.payload) => return Streamed::Left,
                _ => {}
            }
        }
    }

    /// COM_STMT_PREPARE: its packets, and the statement's number when it is not refused.
    pub fn prepare(&mut self, sql: &[u8]) -> (Vec<Packet>, Option<u32>) {
        let mut command = vec![0x16];
        command.extend(sql);
        self.write(0, &command);
        let first = self.read();
        let head = first.payload.clone();
        let mut packets = vec![first];
        if head[0] != 0 {
            return (packets, None);
        }
        let number = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        for count in [number(7), number(5)] {
            let end = u16::from(count > 0 && self.capabilities & DEPRECATE_EOF == 0);
            for _ in 0..count + end {
                packets.push(self.read());
            }
        }
        (
            packets,
            Some(u32::from_le_bytes([head[1], head[2], head[3], head[4]])),
        )
    }

    /// COM_STMT_EXECUTE without a cursor.
    pub fn execute(&mut self, statement: u32, parameters: &[Parameter]) -> Vec<Packet> {
        let mut command = vec![0x17];
        command.extend(statement.to_le_bytes());
        command.extend([0, 1, 0, 0, 0]);
        if !parameters.is_empty() {
            let mut nulls = vec![0; parameters.len().div_ceil(8)];
            let (mut types, mut values) = (Vec::new(), Vec::new());
            for (at, parameter) in parameters.iter().enumerate() {
                match parameter {
                    Parameter::Null => {
                        nulls[at / 8] |= 1 << (at % 8);
                        types.extend([6, 0]);
                    }
                    Parameter::Integer(value) => {
                        types.extend([8, 0]);
                        values.extend(value.to_le_bytes());
                    }
                    Parameter::Text(text) => {
                        types.extend([0xFD, 0]);
                        values.push(u8::try_from(text.len()).expect("a short text"));
                        values.extend(text);
                    }
                }
            }
            command.extend(nulls);
            command.push(1);
            command.extend(types);
            command.extend(values);
        }
        self.write(0, &command);
        self.results(&[])
    }

    /// COM_STMT_CLOSE, which has no answer.
    pub fn close(&mut self, statement: u32) {
        let mut command = vec![0x19];
        command.extend(statement.to_le_bytes());
        self.write(0, &command);
    }

    /// Any command whose answer is one packet: COM_PING, COM_INIT_DB, COM_STATISTICS, COM_STMT_RESET, COM_RESET_CONNECTION ...
    pub fn simple(&mut self, command: &[u8]) -> Packet {
        self.write(0, command);
        self.read()
    }

    /// The bare socket, logged in, for packets of one's own making.
    pub fn into_raw(self) -> Raw {
        Raw::of(self.stream)
    }

    /// COM_QUIT.
    pub fn quit(mut self) {
        self.write(0, &[0x01]);
    }

    /// All packets until no further result follows.
    fn results(&mut self, file: &[u8]) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            let first = self.read();
            let payload = first.payload.clone();
            let sequence = first.sequence;
            packets.push(first);
            let status = match payload[0] {
                0xFF => return packets,
                0x00 => ok_status(&payload),
                0xFB => {
                    let mut sequence = sequence.wrapping_add(1);
                    if !file.is_empty() {
                        self.write(sequence, file);
                        sequence = sequence.wrapping_add(1);
                    }
                    self.write(sequence, &[]);
                    continue;
                }
                _ => match self.rows(lenenc(&payload).0, &mut packets) {
                    Some(status) => status,
                    None => return packets,
                },
            };
            if status & MORE_RESULTS == 0 {
                return packets;
            }
        }
    }

    /// Column definitions and rows; the status at the end, or None when an error ended them.
    fn rows(&mut self, columns: u64, packets: &mut Vec<Packet>) -> Option<u16> {
        let deprecate = self.capabilities & DEPRECATE_EOF != 0;
        for _ in 0..columns + u64::from(!deprecate) {
            packets.push(self.read());
        }
        loop {
            let packet = self.read();
            let payload = packet.payload.clone();
            packets.push(packet);
            match payload.first() {
                Some(0xFF) => return None,
                Some(0xFE) if deprecate && payload.len() < PART => {
                    return Some(ok_status(&payload));
                }
                Some(0xFE) if !deprecate && payload.len() < 9 => {
                    return Some(u16::from_le_bytes([payload[3], payload[4]]));
                }
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Packet {
        self.try_read().expect("a whole packet comes")
    }

    /// One packet; None when the connection ended or broke.
    fn try_read(&mut self) -> Option<Packet> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).ok()?;
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let start = payload.len();
            payload.resize(start + length, 0);
            self.stream.read_exact(&mut payload[start..]).ok()?;
            if length < PART {
                return Some(Packet {
                    sequence: header[3],
                    payload,
                });
            }
        }
    }

    fn write(&mut self, mut sequence: u8, payload: &[u8]) {
        let mut rest = payload;
        loop {
            let length = rest.len().min(PART);
            let mut part = (length as u32).to_le_bytes();
            part[3] = sequence;
            let mut bytes = part.to_vec();
            bytes.extend(&rest[..length]);
            self.stream.write_all(&bytes).expect("the command goes out");
            rest = &rest[length..];
            sequence = sequence.wrapping_add(1);
            if length < PART {
                return;
            }
        }
    }
}

/// Nonce and default plugin of a protocol 10 greeting.
pub(crate) fn parse_greeting(payload: &[u8]) -> (Vec<u8>, String) {
    let version = 1 + payload[1..]
        .iter()
        .position(|byte| *byte == 0)
        .expect("a version text");
    let first = version + 1 + 4;
    // 8 bytes of nonce, filler, capabilities, collation, status, capabilities, nonce length, 10 reserved, rest of the nonce.
    let rest = first + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10;
    let mut nonce = payload[first..first + 8].to_vec();
    nonce.extend(&payload[rest..rest + 12]);
    let plugin = payload[rest + 13..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    (nonce, String::from_utf8_lossy(plugin).into_owned())
}

pub(crate) fn scramble(plugin: &str, nonce: &[u8], password: &str) -> Vec<u8> {
    match plugin {
        _ if password.is_empty() => Vec::new(),
        "caching_sha2_password" => scramble_sha256(nonce, password.as_bytes())
            .expect("a password")
            .to_vec(),
        "mysql_native_password" => scramble_native(nonce, password.as_bytes())
            .expect("a password")
            .to_vec(),
        other => panic!("the plugin {other} is not known here"),
    }
}

/// A length-encoded integer and how many bytes it took.
fn lenenc(bytes: &[u8]) -> (u64, usize) {
    let wide = |count: usize| {
        let mut value = [0; 8];
        value[..count].copy_from_slice(&bytes[1..=count]);
        (u64::from_le_bytes(value), count + 1)
    };
    match bytes[0] {
        0xFC => wide(2),
        0xFD => wide(3),
        0xFE => wide(8),
        small => (u64::from(small), 1),
    }
}

fn ok_status(payload: &[u8]) -> u16 {
    let (_, first) = lenenc(&payload[1..]);
    let (_, second) = lenenc(&payload[1 + first..]);
    let at = 1 + first + second;
    u16::from_le_bytes([payload[at], payload[at + 1]])
}
