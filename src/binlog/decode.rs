//! The bytes of one log event into what we need of it: names, identities, positions, never row values. Pure.
//! Anything that cannot be read becomes `LogEvent::Opaque`, which touches everything.

use std::sync::Arc;

use super::position::Gtid;
use crate::protocol::packet::Cursor;

/// Bytes of the header that every event starts with.
pub const HEADER_BYTES: usize = 19;
/// Bytes of the checksum behind an event.
pub const CHECKSUM_BYTES: usize = 4;
/// `flags`: made up by the server for this stream, does not stand in the file.
const ARTIFICIAL: u16 = 0x20;
/// `flags`: who does not know the event may skip it.
const IGNORABLE: u16 = 0x80;
/// The flag in a rows event: changes of child tables by foreign keys are logged as events of their own.
const ROWS_SQL_FOREIGN_KEY: u16 = 0x10;
/// The table id of a rows event that only ends a statement.
const ROWS_DUMMY_TABLE: u64 = 0xFF_FFFF;
/// More of a statement than this is not kept; such a statement touches everything.
pub const QUERY_BYTES_MAX: usize = 256 * 1024;

/// Event type numbers.
pub mod kind {
    #![allow(missing_docs)]
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const INTVAR: u8 = 5;
    pub const RAND: u8 = 13;
    pub const USER_VAR: u8 = 14;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const IGNORABLE: u8 = 28;
    pub const ROWS_QUERY: u8 = 29;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const TRANSACTION_CONTEXT: u8 = 36;
    pub const VIEW_CHANGE: u8 = 37;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const HEARTBEAT_V2: u8 = 41;
    pub const GTID_TAGGED: u8 = 42;
}

/// The header of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Unix seconds of the original statement.
    pub timestamp: u32,
    /// One of `kind`, or a number from the future.
    pub kind: u8,
    /// Bytes of the whole event, header and checksum included.
    pub size: u32,
    /// Where the next event starts in the file, modulo 2^32; 0 for events that do not stand in the file.
    pub log_pos: u32,
    /// Flags.
    pub flags: u16,
}

impl Header {
    /// From the first bytes of an event; `None` when there are too few or the size is impossible.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(bytes);
        let timestamp = c.u32()?;
        let kind = c.u8()?;
        c.u32()?;
        let header = Self {
            timestamp,
            kind,
            size: c.u32()?,
            log_pos: c.u32()?,
            flags: c.u16()?,
        };
        (header.size as usize >= HEADER_BYTES).then_some(header)
    }

    /// Whether it stands in the file (and so moves the position).
    pub fn in_file(&self) -> bool {
        self.log_pos != 0
            && self.flags & ARTIFICIAL == 0
            && !matches!(self.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2)
    }

    /// How many bytes of the body `decode` wants to see. The payload of a compressed transaction is read elsewhere.
    pub fn wanted(&self) -> usize {
        match self.kind {
            kind::QUERY => QUERY_BYTES_MAX,
            kind::TABLE_MAP | kind::ROTATE | kind::XA_PREPARE | kind::HEARTBEAT => 1024,
            kind::HEARTBEAT_V2 | kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => 1024,
            kind::FORMAT_DESCRIPTION => 512,
            kind::TRANSACTION_PAYLOAD => 0,
            _ => 16,
        }
    }
}

/// What an event says, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent<'a> {
    /// A transaction begins; `None` when it is anonymous or its identity cannot be read.
    Gtid(Option<Gtid>),
    /// A statement.
    Query(Query<'a>),
    /// The rows events that follow call this table `id`.
    TableMap {
        /// Number of the table until the next map of it.
        id: u64,
        /// Schema, as stored.
        schema: &'a [u8],
        /// Table, as stored.
        table: &'a [u8],
    },
    /// Rows of a table were written, changed or deleted.
    Rows {
        /// Which, by its map.
        id: u64,
        /// Rows of other tables may have changed with it, by foreign keys, without an event.
        silent_cascade: bool,
    },
    /// COMMIT of a transaction of InnoDB.
    Xid,
    /// XA PREPARE, or XA COMMIT ONE PHASE.
    XaPrepare {
        /// It is a commit.
        one_phase: bool,
    },
    /// Another file follows.
    Rotate {
        /// Offset in it.
        offset: u64,
        /// Its name.
        file: &'a [u8],
    },
    /// The file's head.
    FormatDescription {
        /// The server started (or its logs were reset) when it wrote this file.
        at_startup: bool,
        /// Events of this file carry a checksum.
        checksum: bool,
    },
    /// The server is alive.
    Heartbeat,
    /// The server stops in order.
    Stop,
    /// The server knows that its log has a hole.
    Incident,
    /// Changes nothing.
    Harmless,
    /// Not understood.
    Opaque,
}

/// A statement in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The default schema it ran in; may be empty.
    pub schema: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// `sql_mode` it ran under.
    pub sql_mode: u64,
    /// Whether its text is UTF-8 by the session's character set.
    pub utf8: bool,
}

/// Reads an event. `body` holds the first `header.wanted()` bytes of what follows the header, without the checksum;
/// `whole` says that this is all of it.
pub fn decode<'a>(header: &Header, body: &'a [u8], whole: bool) -> LogEvent<'a> {
    let read = match header.kind {
        kind::GTID => Some(LogEvent::Gtid(gtid(body))),
        kind::GTID_TAGGED => Some(LogEvent::Gtid(tagged_gtid(body))),
        kind::ANONYMOUS_GTID => Some(LogEvent::Gtid(None)),
        kind::QUERY if whole => query(body).map(LogEvent::Query),
        kind::TABLE_MAP => table_map(body),
        kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => rows(body, false),
        kind::UPDATE_ROWS
        | kind::UPDATE_ROWS_V1
        | kind::DELETE_ROWS
        | kind::DELETE_ROWS_V1
        | kind::PARTIAL_UPDATE_ROWS => rows(body, true),
        kind::XID => Some(LogEvent::Xid),
        kind::XA_PREPARE => body.first().map(|one_phase| LogEvent::XaPrepare {
            one_phase: *one_phase != 0,
        }),
        kind::ROTATE => rotate(body),
        kind::FORMAT_DESCRIPTION => format_description(body),
        kind::HEARTBEAT | kind::HEARTBEAT_V2 => Some(LogEvent::Heartbeat),
        kind::STOP => Some(LogEvent::Stop),
        kind::INCIDENT => Some(LogEvent::Incident),
        kind::INTVAR
        | kind::RAND
        | kind::USER_VAR
        | kind::IGNORABLE
        | kind::ROWS_QUERY
        | kind::PREVIOUS_GTIDS
        | kind::TRANSACTION_CONTEXT
        | kind::VIEW_CHANGE => Some(LogEvent::Harmless),
        _ if header.flags & IGNORABLE != 0 => Some(LogEvent::Harmless),
        _ => None,
    };
    read.unwrap_or(LogEvent::Opaque)
}

fn gtid(body: &[u8]) -> Option<Gtid> {
    let mut c = Cursor::new(body);
    c.u8()?;
    Some(Gtid {
        uuid: c.array()?,
        tag: None,
        number: c.u64().filter(|n| *n > 0)?,
    })
}

/// The server's own serialization: numbered fields in order, integers of variable length, signed ones folded.
fn tagged_gtid(body: &[u8]) -> Option<Gtid> {
    let mut c = Cursor::new(body);
    let (_version, _size, _last) = (varlen(&mut c)?, varlen(&mut c)?, varlen(&mut c)?);
    if varlen(&mut c)? != 0 {
        return None;
    }
    let _flags = varlen(&mut c)?;
    if varlen(&mut c)? != 1 {
        return None;
    }
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = u8::try_from(varlen(&mut c)?).ok()?;
    }
    if varlen(&mut c)? != 2 {
        return None;
    }
    let folded = varlen(&mut c)?;
    let number = (folded & 1 == 0).then_some(folded >> 1)?;
    let mut tag = None;
    if varlen(&mut c)? == 3 {
        let bytes = usize::try_from(varlen(&mut c)?).ok()?;
        let text = std::str::from_utf8(c.bytes(bytes)?).ok()?;
        tag = (!text.is_empty()).then(|| Arc::from(text));
    }
    (number > 0).then_some(Gtid { uuid, tag, number })
}

/// As many low one-bits as further bytes follow, then a zero bit, then the value, little end first.
fn varlen(c: &mut Cursor<'_>) -> Option<u64> {
    let first = c.u8()?;
    let more = first.trailing_ones();
    let mut bytes = [0_u8; 16];
    bytes[0] = first;
    bytes
        .get_mut(1..=more as usize)?
        .copy_from_slice(c.bytes(more as usize)?);
    let shifted = u128::from_le_bytes(bytes) >> (more + 1).min(8);
    u64::try_from(shifted).ok()
}

fn query(body: &[u8]) -> Option<Query<'_>> {
    let mut c = Cursor::new(body);
    c.bytes(8)?;
    let schema_bytes = usize::from(c.u8()?);
    c.u16()?;
    let status_bytes = usize::from(c.u16()?);
    let (sql_mode, utf8) = status_variables(c.bytes(status_bytes)?);
    let schema = c.bytes(schema_bytes)?;
    c.u8()?;
    Some(Query {
        schema,
        text: c.take_rest(),
        sql_mode: sql_mode?,
        utf8,
    })
}

/// `sql_mode` and whether the text is UTF-8. Stops at the first variable it does not know.
fn status_variables(bytes: &[u8]) -> (Option<u64>, bool) {
    let mut c = Cursor::new(bytes);
    let (mut sql_mode, mut utf8) = (None, false);
    loop {
        let skipped = match c.u8() {
            Some(0 | 3) => c.bytes(4).map(drop),
            Some(1) => c.u64().map(|mode| sql_mode = Some(mode)),
            Some(5 | 6) => c.u8().and_then(|n| c.bytes(usize::from(n))).map(drop),
            Some(4) => {
                utf8 = c.u16().is_some_and(is_utf8);
                None
            }
            _ => None,
        };
        if skipped.is_none() {
            return (sql_mode, utf8);
        }
    }
}

/// Collations of utf8mb3 and utf8mb4 (8.0 to 9.7).
fn is_utf8(collation: u16) -> bool {
    matches!(collation, 33 | 45 | 46 | 76 | 83 | 192..=247 | 255..=323)
}

fn table_map(body: &[u8]) -> Option<LogEvent<'_>> {
    let mut c = Cursor::new(body);
    let id = id48(&mut c)?;
    c.u16()?;
    let schema_bytes = usize::from(c.u8()?);
    let schema = c.bytes(schema_bytes)?;
    c.u8()?;
    let table_bytes = usize::from(c.u8()?);
    let table = c.bytes(table_bytes)?;
    Some(LogEvent::TableMap { id, schema, table })
}

fn id48(c: &mut Cursor<'_>) -> Option<u64> {
    let low = u64::from(c.u32()?);
    Some(low | u64::from(c.u16()?) << 32)
}

fn rows(body: &[u8], may_cascade: bool) -> Option<LogEvent<'_>> {
    let mut c = Cursor::new(body);
    let id = id48(&mut c)?;
    let flags = c.u16()?;
    if id == ROWS_DUMMY_TABLE {
        return Some(LogEvent::Harmless);
    }
    let silent_cascade = may_cascade && flags & ROWS_SQL_FOREIGN_KEY == 0;
    Some(LogEvent::Rows { id, silent_cascade })
}

fn rotate(body: &[u8]) -> Option<LogEvent<'_>> {
    let mut c = Cursor::new(body);
    let offset = c.u64()?;
    Some(LogEvent::Rotate {
        offset,
        file: c.take_rest(),
    })
}

/// Layout: version 2, server version 50, created 4, header length 1, lengths per type, checksum algorithm 1 (the checksum
/// behind it is cut off already).
fn format_description(body: &[u8]) -> Option<LogEvent<'_>> {
    let mut c = Cursor::new(body);
    let version = c.u16()?;
    c.bytes(50)?;
    let created = c.u32()?;
    let header_bytes = usize::from(c.u8()?);
    let algorithm = *c.rest().last()?;
    (version == 4 && header_bytes == HEADER_BYTES && algorithm <= 1).then_some(
        LogEvent::FormatDescription {
            at_startup: created != 0,
            checksum: algorithm == 1,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8) -> Header {
        Header {
            timestamp: 0,
            kind,
            size: 19,
            log_pos: 1,
            flags: 0,
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex.replace([' ', '\n'], "")).unwrap()
    }

    // Bodies below are copied from a log written by MySQL 9.7.4.
    #[test]
    fn a_tagged_gtid_of_the_server_is_read() {
        let body = bytes(
            "02 70 00 00 00 02 7a 4e d5 03 14 91 03 b9 02 22 c5 03 11 02 be 04 f1 03 00 00 00 02 04 04
             06 08 62 6c 75 65 08 00 0a 04 0c 7f 36 ec 21 c9 af 60 06 10 29 04 12 83 12 0b",
        );
        let LogEvent::Gtid(Some(gtid)) = decode(&header(kind::GTID_TAGGED), &body, true) else {
            panic!("not read");
        };
        assert_eq!(
            gtid.to_string(),
            "3d27f50a-e4ae-11f1-845f-02fc00000001:blue:1"
        );
    }

    #[test]
    fn rows_and_maps_of_the_server_are_read() {
        let map = bytes("a8 00 00 00 00 00 01 00 02 62 31 00 01 74 00 01 03 00 00 01 01 00");
        assert_eq!(
            decode(&header(kind::TABLE_MAP), &map, true),
            LogEvent::TableMap {
                id: 0xa8,
                schema: b"b1",
                table: b"t"
            }
        );
        let rows = bytes("a8 00 00 00 00 00 11 00 02 00 01 ff 00 e8 03 00 00");
        for (kind, flags, silent) in [
            (kind::WRITE_ROWS, 0x01, false),
            (kind::UPDATE_ROWS, 0x11, false),
            (kind::UPDATE_ROWS, 0x01, true),
            (kind::PARTIAL_UPDATE_ROWS, 0x01, true),
            (kind::DELETE_ROWS_V1, 0x03, true),
        ] {
            let mut rows = rows.clone();
            rows[6] = flags;
            assert_eq!(
                decode(&header(kind), &rows[..16], false),
                LogEvent::Rows {
                    id: 0xa8,
                    silent_cascade: silent
                }
            );
        }
        let mut dummy = rows.clone();
        dummy[..6].copy_from_slice(&[0xff, 0xff, 0xff, 0, 0, 0]);
        assert_eq!(
            decode(&header(kind::WRITE_ROWS), &dummy, true),
            LogEvent::Harmless
        );
    }

    #[test]
    fn a_statement_of_the_server_is_read() {
        let body = bytes(
            "17 00 00 00 00 00 00 00 00 00 00 1d 00 00 00 00 00 00 01 20 00 a0 45 00 00 00 00 06 03 73 74 64
             04 ff 00 ff 00 ff 00 12 ff 00 00 42 45 47 49 4e",
        );
        let LogEvent::Query(query) = decode(&header(kind::QUERY), &body, true) else {
            panic!("not read");
        };
        assert_eq!((query.schema, query.text), (&b""[..], &b"BEGIN"[..]));
        assert_eq!(query.sql_mode, 0x45a0_0020);
        assert!(query.utf8);
        assert_eq!(decode(&header(kind::QUERY), &body, false), LogEvent::Opaque);
        for cut in 0..body.len() - 5 {
            assert_eq!(
                decode(&header(kind::QUERY), &body[..cut], true),
                LogEvent::Opaque
            );
        }
    }

    #[test]
    fn a_file_head_of_the_server_is_read() {
        let mut body = bytes("04 00 39 2e 37 2e 34 2d 32");
        body.resize(52, 0);
        body.extend(bytes(
            "d2 ef ff 6a 13 00 0d 00 08 00 00 00 00 04 00 04 00 00 00 63 00 04 1a 08 00 00 00 00 00 00 02
             00 00 00 0a 0a 0a 2a 2a 00 12 34 00 0a 28 00 00 01",
        ));
        assert_eq!(
            decode(&header(kind::FORMAT_DESCRIPTION), &body, true),
            LogEvent::FormatDescription {
                at_startup: true,
                checksum: true
            }
        );
        body[52..56].fill(0);
        *body.last_mut().unwrap() = 0;
        assert_eq!(
            decode(&header(kind::FORMAT_DESCRIPTION), &body, true),
            LogEvent::FormatDescription {
                at_startup: false,
                checksum: false
            }
        );
    }

    #[test]
    fn the_unknown_is_opaque_unless_the_server_calls_it_ignorable() {
        assert_eq!(decode(&header(99), b"", true), LogEvent::Opaque);
        let ignorable = Header {
            flags: IGNORABLE,
            ..header(99)
        };
        assert_eq!(decode(&ignorable, b"", true), LogEvent::Harmless);
        for old in [1, 6, 7, 8, 9, 10, 11, 12, 17, 18, 20, 21, 22] {
            assert_eq!(decode(&header(old), b"", true), LogEvent::Opaque, "{old}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(kind in 0_u8..50, body: Vec<u8>, whole: bool) {
            let _ = decode(&header(kind), &body, whole);
            let _ = Header::parse(&body);
        }
    }
}
