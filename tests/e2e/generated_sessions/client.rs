//! One client's connection: login, commands as bytes, and whole answers packet by packet. Takes nothing from the crate under test.
//! Every wait has a deadline; whatever goes wrong is part of the answer and never a panic, since both sides must go wrong alike.
//!
//! What of a packet is masked, because two sessions at the same server differ there too:
//! - the number of a prepared statement, in the answer to COM_STMT_PREPARE and in the texts of errors 1243 and 1421, also in rows
//!   (SHOW WARNINGS, GET DIAGNOSTICS);
//! - the GTID in the session state of an OK packet (`session_track_gtids`): each transaction has its own;
//! - the variable `statement_id` there (`session_track_system_variables = '*'`): it counts the statements of the whole server;
//! - digits in the answer to COM_STATISTICS: they count everybody's work;
//! - of logins and COM_CHANGE_USER all but the last packet, and its sequence number: nonces are random, and the way to
//!   the password check (fast or full) is each server's own.
//!
//! Connection ids are never masked: programs only ask whether two of them are equal.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::program::Identity;
use crate::support::raw::Raw;
use crate::support::wire::{parse_greeting, scramble};

/// Protocol 4.1, secure connection, plugins, transactions, long passwords.
const BASE: u32 = 0x0000_0001 | 0x0000_0200 | 0x0000_2000 | 0x0000_8000 | 0x0008_0000;
const CONNECT_WITH_DB: u32 = 0x0000_0008;
const SESSION_TRACK: u32 = 0x0080_0000;
const DEPRECATE_EOF: u32 = 0x0100_0000;
const QUERY_ATTRIBUTES: u32 = 0x0800_0000;

const MORE_RESULTS: u16 = 0x0008;
const CURSOR_EXISTS: u16 = 0x0040;
const OUT_PARAMETERS: u16 = 0x1000;
const STATE_CHANGED: u16 = 0x4000;

/// Kinds of items of session state: a variable, GTIDs.
const TRACK_VARIABLE: u8 = 0;
const TRACK_GTIDS: u8 = 3;
/// The server's count of statements, as a variable's name with its length.
const STATEMENT_ID: &[u8] = b"\x0cstatement_id";
/// Errors that tell the number of a prepared statement: it is unknown, it has no open cursor.
const WITH_STATEMENT_NUMBER: &[u64] = &[1243, 1421];

/// Their texts up to it.
const UNKNOWN_STATEMENT: &[&[u8]] = &[b"Unknown prepared statement handler (", b"The statement ("];

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The connection was closed.
    Closed,
    /// Nothing whole came before the deadline.
    Hang,
    /// A packet that cannot be where it is.
    Malformed,
}

/// Everything that came for one command, masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub packets: Vec<(u8, Vec<u8>)>,
    pub end: End,
}

/// What kind of answer a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// One packet.
    Simple,
    Statistics,
    Results,
    /// As `Results`, where rows may be left to a cursor.
    Cursor,
    Fetch,
    FieldList,
}

/// What the server said of a prepared statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    pub id: u32,
    pub parameters: u16,
}

/// A connection that is logged in.
pub(super) struct Client {
    raw: Raw,
    capabilities: u32,
    /// The id of the greeting.
    pub id: u32,
    patience: Duration,
}

impl Answer {
    fn new() -> Answer {
        Answer {
            packets: Vec::new(),
            end: End::Whole,
        }
    }

    /// An answer that is only its end.
    pub(super) fn only(end: End) -> Answer {
        Answer {
            packets: Vec::new(),
            end,
        }
    }

    /// Code of the ERR packet at its end.
    pub(super) fn error(&self) -> Option<u16> {
        match self.packets.last()?.1[..] {
            [0xFF, low, high, ..] => Some(u16::from_le_bytes([low, high])),
            _ => None,
        }
    }
}

impl Client {
    /// Logs in; the answer is the last packet of the login. No client where that is not OK.
    pub(super) fn login(
        port: u16,
        identity: &Identity,
        password: &str,
        capabilities: u32,
        patience: Duration,
    ) -> (Option<Client>, Answer) {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return (None, Answer::only(End::Closed));
        };
        let mut client = Client {
            raw: Raw::of(stream),
            capabilities: BASE | capabilities,
            id: 0,
            patience,
        };
        if !identity.schema.is_empty() {
            client.capabilities |= CONNECT_WITH_DB;
        }
        let answer = client.handshake(identity, password);
        let is_in = answer.end == End::Whole && answer.error().is_none();
        (is_in.then_some(client), answer)
    }

    fn handshake(&mut self, identity: &Identity, password: &str) -> Answer {
        let (sequence, greeting) = match self.read() {
            Ok(packet) => packet,
            Err(end) => return Answer::only(end),
        };
        if greeting.first() != Some(&10) {
            let packets = vec![(0, greeting)];
            return Answer {
                packets,
                end: End::Malformed,
            };
        }
        let version = greeting.iter().position(|byte| *byte == 0).unwrap_or(0);
        self.id = number(&greeting[version + 1..version + 5]) as u32;
        let (nonce, plugin) = parse_greeting(&greeting);
        let mut response = self.capabilities.to_le_bytes().to_vec();
        response.extend((1_u32 << 24).to_le_bytes());
        response.push(identity.collation.to_le_bytes()[0]);
        response.extend([0; 23]);
        response.extend(identity.user.as_bytes());
        response.push(0);
        let secret = scramble(&plugin, &nonce, password);
        response.push(secret.len() as u8);
        response.extend(secret);
        if !identity.schema.is_empty() {
            response.extend(identity.schema.as_bytes());
            response.push(0);
        }
        response.extend(plugin.as_bytes());
        response.push(0);
        self.write(sequence.wrapping_add(1), &response);
        self.authenticate(nonce, password)
    }

    /// COM_CHANGE_USER: its last packet.
    pub(super) fn change_user(&mut self, identity: &Identity, password: &str) -> Answer {
        // A scramble for no nonce: the server switches to the plugin again and sends one.
        let mut command = vec![0x11];
        command.extend(identity.user.as_bytes());
        command.extend([0, 0]);
        command.extend(identity.schema.as_bytes());
        command.push(0);
        command.extend(identity.collation.to_le_bytes());
        command.extend(b"caching_sha2_password\0");
        self.write(0, &command);
        self.authenticate(Vec::new(), password)
    }

    /// Answers what the server asks until it says OK or ERR.
    fn authenticate(&mut self, mut nonce: Vec<u8>, password: &str) -> Answer {
        loop {
            let (sequence, payload) = match self.read() {
                Ok(packet) => packet,
                Err(end) => return Answer::only(end),
            };
            let reply = match payload[..] {
                [0x00 | 0xFF, ..] => {
                    let mut answer = Answer::new();
                    self.keep(&mut answer, 0, payload);
                    return answer;
                }
                [0xFE, ref rest @ ..] => {
                    let mut parts = rest.splitn(2, |byte| *byte == 0);
                    let plugin = String::from_utf8_lossy(parts.next().unwrap_or_default());
                    nonce = parts.next().unwrap_or_default().to_vec();
                    nonce.truncate(20);
                    match &*plugin {
                        // For users that are not there, a server may ask in whatever way: here it is to send its key.
                        "sha256_password" => vec![1],
                        _ => scramble(&plugin, &nonce, password),
                    }
                }
                [0x01, 3] => continue,
                [0x01, 4] => vec![2],
                [0x01, ref key @ ..] => {
                    let mut secret = password.as_bytes().to_vec();
                    secret.push(0);
                    for (at, byte) in secret.iter_mut().enumerate() {
                        *byte ^= nonce[at % nonce.len()];
                    }
                    mysql_common::crypto::encrypt(&secret, key)
                }
                _ => {
                    let packets = vec![(sequence, payload)];
                    return Answer {
                        packets,
                        end: End::Malformed,
                    };
                }
            };
            self.write(sequence.wrapping_add(1), &reply);
        }
    }

    /// Whether statements and executions carry attributes here.
    pub(super) fn has_attributes(&self) -> bool {
        self.capabilities & QUERY_ATTRIBUTES != 0
    }

    /// Sends a command and reads its answer.
    pub(super) fn ask(&mut self, command: &[u8], expect: Expect) -> Answer {
        self.send(command);
        self.answer(expect)
    }

    /// COM_STMT_PREPARE.
    pub(super) fn prepare(&mut self, sql: &[u8]) -> (Answer, Option<Prepared>) {
        self.send(&[&[0x16], sql].concat());
        let mut prepared = None;
        let mut answer = Answer::new();
        answer.end = self
            .read_prepare(&mut answer, &mut prepared)
            .err()
            .unwrap_or(End::Whole);
        (answer, prepared)
    }

    /// Sends a command. Whether it arrives, its answer tells.
    pub(super) fn send(&mut self, command: &[u8]) {
        self.write(0, command);
    }

    /// Whether an answer (or the end of the connection) comes within so long; reads nothing.
    pub(super) fn hears(&mut self, wait: Duration) -> bool {
        let stream = self.raw.stream();
        let _ = stream.set_read_timeout(Some(wait));
        stream.peek(&mut [0]).is_ok()
    }

    /// Reads one whole answer.
    pub(super) fn answer(&mut self, expect: Expect) -> Answer {
        let mut answer = Answer::new();
        let read = match expect {
            Expect::Simple => self.read_simple(&mut answer),
            Expect::Statistics => self.read_statistics(&mut answer),
            Expect::Results => self.read_results(&mut answer, false),
            Expect::Cursor => self.read_results(&mut answer, true),
            Expect::Fetch => self.read_rows(&mut answer).map(|_| ()),
            Expect::FieldList => self.read_rows(&mut answer).map(|_| ()),
        };
        answer.end = read.err().unwrap_or(End::Whole);
        answer
    }

    /// COM_QUIT, and waits for the other side's close.
    pub(super) fn quit(mut self) {
        self.send(&[0x01]);
        let _ = self.read();
    }

    fn read_simple(&mut self, answer: &mut Answer) -> Result<(), End> {
        let (sequence, payload) = self.read()?;
        self.keep(answer, sequence, payload);
        Ok(())
    }

    fn read_statistics(&mut self, answer: &mut Answer) -> Result<(), End> {
        let (sequence, mut payload) = self.read()?;
        payload.retain(|byte| !byte.is_ascii_digit());
        answer.packets.push((sequence, payload));
        Ok(())
    }

    fn read_prepare(
        &mut self,
        answer: &mut Answer,
        prepared: &mut Option<Prepared>,
    ) -> Result<(), End> {
        let (sequence, mut payload) = self.read()?;
        if payload.first() != Some(&0) || payload.len() < 9 {
            self.keep(answer, sequence, payload);
            return Ok(());
        }
        let (columns, parameters) = (number(&payload[5..7]), number(&payload[7..9]));
        *prepared = Some(Prepared {
            id: number(&payload[1..5]) as u32,
            parameters: parameters as u16,
        });
        payload[1..5].fill(0);
        answer.packets.push((sequence, payload));
        for count in [parameters, columns] {
            let end = u64::from(count > 0 && self.capabilities & DEPRECATE_EOF == 0);
            for _ in 0..count + end {
                let (sequence, payload) = self.read()?;
                answer.packets.push((sequence, payload));
            }
        }
        Ok(())
    }

    fn read_results(&mut self, answer: &mut Answer, cursor: bool) -> Result<(), End> {
        loop {
            let (sequence, payload) = self.read()?;
            let status = match payload.first() {
                None => return Err(End::Malformed),
                Some(0xFB) => {
                    // LOAD DATA LOCAL: the same small file each time.
                    answer.packets.push((sequence, payload));
                    self.write(sequence.wrapping_add(1), b"71,seven\n72,eight\n72,again\n");
                    self.write(sequence.wrapping_add(2), b"");
                    continue;
                }
                Some(0x00 | 0xFF) => self.keep(answer, sequence, payload),
                Some(_) => {
                    let columns = lenenc(&payload).ok_or(End::Malformed)?.0;
                    answer.packets.push((sequence, payload));
                    self.read_result_set(answer, columns, cursor)?
                }
            };
            if status.is_none_or(|status| status & MORE_RESULTS == 0) {
                return Ok(());
            }
        }
    }

    fn read_result_set(
        &mut self,
        answer: &mut Answer,
        columns: u64,
        cursor: bool,
    ) -> Result<Option<u16>, End> {
        for _ in 0..columns {
            let (sequence, payload) = self.read()?;
            answer.packets.push((sequence, payload));
        }
        if self.capabilities & DEPRECATE_EOF == 0 {
            let (sequence, payload) = self.read()?;
            let status = self.keep(answer, sequence, payload);
            if status.is_none_or(|status| cursor && status & CURSOR_EXISTS != 0) {
                return Ok(status);
            }
            if status.is_some_and(|status| status & OUT_PARAMETERS != 0) {
                // The status behind these rows forgets to say that an OK follows (9.7.4).
                return Ok(self.read_rows(answer)?.map(|status| status | MORE_RESULTS));
            }
        }
        self.read_rows(answer)
    }

    /// Packets up to the one that ends them: its status, or None for an error.
    fn read_rows(&mut self, answer: &mut Answer) -> Result<Option<u16>, End> {
        loop {
            let (sequence, payload) = self.read()?;
            let is_last = matches!(payload.first(), Some(0xFE | 0xFF));
            if !is_last {
                let mut payload = payload;
                mask_row(&mut payload);
                answer.packets.push((sequence, payload));
                continue;
            }
            return Ok(self.keep(answer, sequence, payload));
        }
    }

    /// Keeps an OK, EOF or ERR packet, masked; gives the status of the first two.
    fn keep(&self, answer: &mut Answer, sequence: u8, mut payload: Vec<u8>) -> Option<u16> {
        let status = match payload.first() {
            Some(0xFF) => {
                mask_error(&mut payload);
                None
            }
            Some(0xFE) if payload.len() == 5 => Some(number(&payload[3..5]) as u16),
            _ => ok_status(&payload),
        };
        let has_state = status.is_some_and(|status| status & STATE_CHANGED != 0);
        if has_state && payload.len() > 5 && self.capabilities & SESSION_TRACK != 0 {
            payload = mask_state(&payload).unwrap_or(payload);
        }
        answer.packets.push((sequence, payload));
        status
    }

    fn read(&mut self) -> Result<(u8, Vec<u8>), End> {
        let deadline = Instant::now() + self.patience;
        match self.raw.read_packet(deadline) {
            Ok(Some(packet)) => Ok(packet),
            Ok(None) => Err(End::Closed),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                Err(End::Hang)
            }
            Err(_) => Err(End::Closed),
        }
    }

    fn write(&mut self, sequence: u8, payload: &[u8]) {
        let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
        bytes[3] = sequence;
        bytes.extend(payload);
        self.raw.send(&bytes);
    }
}

/// Little-endian bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// A length-encoded integer and how many bytes it took.
pub(super) fn lenenc(bytes: &[u8]) -> Option<(u64, usize)> {
    let width = match *bytes.first()? {
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        small => return Some((u64::from(small), 1)),
    };
    Some((number(bytes.get(1..=width)?), width + 1))
}

/// Where the status of an OK packet stands.
fn status_place(payload: &[u8]) -> Option<usize> {
    let (_, first) = lenenc(payload.get(1..)?)?;
    let (_, second) = lenenc(payload.get(1 + first..)?)?;
    Some(1 + first + second)
}

fn ok_status(payload: &[u8]) -> Option<u16> {
    let place = status_place(payload)?;
    Some(number(payload.get(place..place + 2)?) as u16)
}

/// The packet with GTIDs and the number of the statement in its session state masked; every other byte stays.
fn mask_state(payload: &[u8]) -> Option<Vec<u8>> {
    let mut at = status_place(payload)? + 4;
    let (info, width) = lenenc(payload.get(at..)?)?;
    at += width + info as usize;
    let (_, width) = lenenc(payload.get(at..)?)?;
    let mut rest = payload.get(at + width..)?;
    let mut masked = Vec::new();
    while let [kind, after @ ..] = rest {
        let (length, width) = lenenc(after)?;
        let item = 1 + width + length as usize;
        match *kind {
            TRACK_GTIDS => masked.extend([TRACK_GTIDS, 1, b'#']),
            TRACK_VARIABLE if after.get(width..)?.starts_with(STATEMENT_ID) => {
                masked.extend([TRACK_VARIABLE, 1, b'#']);
            }
            _ => masked.extend(rest.get(..item)?),
        }
        rest = rest.get(item..)?;
    }
    let mut whole = payload[..at].to_vec();
    whole.extend((masked.len() as u32).to_le_bytes());
    whole.extend(masked);
    Some(whole)
}

/// The same in a row: without the number, and without the length of its text.
fn mask_row(payload: &mut Vec<u8>) {
    for text in UNKNOWN_STATEMENT {
        let Some(at) = payload.windows(text.len()).position(|part| part == *text) else {
            continue;
        };
        let number = at + text.len();
        let digits = payload[number..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        payload.drain(number..number + digits);
        payload[at.saturating_sub(1)] = b'#';
    }
}

/// "Unknown prepared statement handler (7) given to ..", "The statement (7) has no open cursor.": without the number.
fn mask_error(payload: &mut Vec<u8>) {
    if payload.len() > 3 && WITH_STATEMENT_NUMBER.contains(&number(&payload[1..3])) {
        payload.retain(|byte| !byte.is_ascii_digit());
    }
}
