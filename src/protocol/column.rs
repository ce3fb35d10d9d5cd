//! Column definitions and small result sets: parse and write definitions, write rows of answers that we make ourselves,
//! take a buffered result set apart. Never used on results that are relayed: those are not decoded.

use super::packet::{
    Cursor, HEADER_BYTES, PAYLOAD_BYTES_MAX, header, put_lenenc, put_lenenc_bytes,
    write_packet_with,
};
use super::response::{EOF_HEADER, ERR_HEADER, EofPacket, OkPacket};
use super::{ProtocolError, Result, capability};
use std::ops::Range;

/// Column type codes that we write or look at.
pub mod column_type {
    /// DECIMAL as text.
    pub const NEWDECIMAL: u8 = 0xF6;
    /// 8 bits.
    pub const TINY: u8 = 0x01;
    /// 16 bits.
    pub const SHORT: u8 = 0x02;
    /// 32 bits.
    pub const LONG: u8 = 0x03;
    /// 4-byte float.
    pub const FLOAT: u8 = 0x04;
    /// 8-byte float.
    pub const DOUBLE: u8 = 0x05;
    /// 64 bits.
    pub const LONGLONG: u8 = 0x08;
    /// 24 bits.
    pub const INT24: u8 = 0x09;
    /// DATE.
    pub const DATE: u8 = 0x0A;
    /// TIME.
    pub const TIME: u8 = 0x0B;
    /// DATETIME.
    pub const DATETIME: u8 = 0x0C;
    /// YEAR.
    pub const YEAR: u8 = 0x0D;
    /// TIMESTAMP.
    pub const TIMESTAMP: u8 = 0x07;
    /// BLOB and TEXT.
    pub const BLOB: u8 = 0xFC;
    /// VARCHAR and expressions of string type.
    pub const VAR_STRING: u8 = 0xFD;
    /// CHAR, ENUM, SET.
    pub const STRING: u8 = 0xFE;
}

/// Column flag: NOT NULL.
pub const FLAG_NOT_NULL: u16 = 0x0001;
/// Column flag: UNSIGNED.
pub const FLAG_UNSIGNED: u16 = 0x0020;
/// Column flag: bytes, not text.
pub const FLAG_BINARY: u16 = 0x0080;

/// utf8mb4_general_ci: utf8mb4 under an id that every client of MySQL and MariaDB knows.
pub const COLLATION_UTF8MB4: u16 = 45;
/// binary: numbers and dates have it.
pub const COLLATION_BINARY: u16 = 63;

/// The definition of one column (ColumnDefinition41), borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnDefinition<'a> {
    /// Schema of the table, or empty.
    pub schema: &'a [u8],
    /// Table or its alias.
    pub table: &'a [u8],
    /// Table behind the alias.
    pub org_table: &'a [u8],
    /// Column or its alias.
    pub name: &'a [u8],
    /// Column behind the alias.
    pub org_name: &'a [u8],
    /// Collation id.
    pub collation: u16,
    /// Display length, bytes.
    pub length: u32,
    /// Type code, see [`column_type`].
    pub type_code: u8,
    /// Column flags.
    pub flags: u16,
    /// Digits behind the point; 31 for none that is fixed.
    pub decimals: u8,
}

impl<'a> ColumnDefinition<'a> {
    /// A text column of an answer of our own, utf8mb4.
    pub const fn text(name: &'a [u8], characters: u32) -> Self {
        Self {
            schema: b"",
            table: b"",
            org_table: b"",
            name,
            org_name: b"",
            collation: COLLATION_UTF8MB4,
            length: characters.saturating_mul(4),
            type_code: column_type::VAR_STRING,
            flags: 0,
            decimals: 31,
        }
    }

    /// A BIGINT column of an answer of our own.
    pub const fn integer(name: &'a [u8]) -> Self {
        Self {
            collation: COLLATION_BINARY,
            length: 21,
            type_code: column_type::LONGLONG,
            flags: FLAG_BINARY,
            decimals: 0,
            ..Self::text(name, 0)
        }
    }

    /// Reads a payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        Self::parse_fields(payload).ok_or(ProtocolError::Malformed("column definition"))
    }

    fn parse_fields(payload: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let _catalog = cursor.lenenc_bytes()?;
        let schema = cursor.lenenc_bytes()?;
        let table = cursor.lenenc_bytes()?;
        let org_table = cursor.lenenc_bytes()?;
        let name = cursor.lenenc_bytes()?;
        let org_name = cursor.lenenc_bytes()?;
        let mut fixed = Cursor::new(cursor.lenenc_bytes()?);
        Some(Self {
            schema,
            table,
            org_table,
            name,
            org_name,
            collation: fixed.u16()?,
            length: fixed.u32()?,
            type_code: fixed.u8()?,
            flags: fixed.u16()?,
            decimals: fixed.u8()?,
        })
    }

    /// Appends the payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        for text in [
            &b"def"[..],
            self.schema,
            self.table,
            self.org_table,
            self.name,
            self.org_name,
        ] {
            put_lenenc_bytes(out, text);
        }
        put_lenenc(out, 12);
        out.extend_from_slice(&self.collation.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.push(self.type_code);
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&[self.decimals, 0, 0]);
    }
}

/// A value of an answer of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// Text or bytes.
    Text(&'a [u8]),
    /// For a column made by [`ColumnDefinition::integer`].
    Integer(i64),
}

/// Writes a small result set into a buffer: [`start`](Self::start), rows, [`finish`](Self::finish).
#[derive(Debug)]
pub struct ResultSetWriter<'o> {
    out: &'o mut Vec<u8>,
    sequence: &'o mut u8,
    caps: u32,
    is_binary: bool,
    columns: usize,
}

impl<'o> ResultSetWriter<'o> {
    /// Writes the column count and definitions. `is_binary` for the answer to an execution.
    /// `sequence` is that of the first packet (1 for a command of one packet).
    pub fn start(
        out: &'o mut Vec<u8>,
        sequence: &'o mut u8,
        caps: u32,
        is_binary: bool,
        columns: &[ColumnDefinition<'_>],
    ) -> Self {
        write_packet_with(out, sequence, |out| put_lenenc(out, columns.len() as u64));
        for column in columns {
            write_packet_with(out, sequence, |out| column.write(out));
        }
        if caps & capability::DEPRECATE_EOF == 0 {
            EofPacket::default().write(out, sequence);
        }
        Self {
            out,
            sequence,
            caps,
            is_binary,
            columns: columns.len(),
        }
    }

    /// Writes a row. Missing cells are NULL, superfluous ones are left out.
    pub fn row(&mut self, cells: &[Cell<'_>]) {
        let cell = |index: usize| cells.get(index).copied().unwrap_or(Cell::Null);
        let (columns, is_binary) = (self.columns, self.is_binary);
        write_packet_with(self.out, self.sequence, |out| {
            if is_binary {
                // The null bitmap starts at bit 2.
                let nulls = out.len() + 1;
                out.resize(nulls + (columns + 2).div_ceil(8), 0);
                for index in (0..columns).filter(|&index| cell(index) == Cell::Null) {
                    if let Some(byte) = out.get_mut(nulls + (index + 2) / 8) {
                        *byte |= 1 << ((index + 2) % 8);
                    }
                }
            }
            for index in 0..columns {
                put_cell(out, cell(index), is_binary);
            }
        });
    }

    /// Ends the result set.
    pub fn finish(self, status: u16, warnings: u16) {
        if self.caps & capability::DEPRECATE_EOF != 0 {
            OkPacket {
                status,
                warnings,
                ..OkPacket::default()
            }
            .write(self.out, self.sequence, self.caps, true);
        } else {
            EofPacket { warnings, status }.write(self.out, self.sequence);
        }
    }
}

fn put_cell(out: &mut Vec<u8>, cell: Cell<'_>, is_binary: bool) {
    match cell {
        Cell::Null if is_binary => (),
        Cell::Null => out.push(0xFB),
        Cell::Text(text) => put_lenenc_bytes(out, text),
        Cell::Integer(value) if is_binary => out.extend_from_slice(&value.to_le_bytes()),
        Cell::Integer(value) => put_lenenc_bytes(out, value.to_string().as_bytes()),
    }
}

/// Walks the physical packets of a buffer: sequence number and where the payload lies. Ends at the first packet that is not whole.
pub fn packets(bytes: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (length, sequence) = header(bytes.get(at..)?)?;
        let payload = at + HEADER_BYTES..at + HEADER_BYTES + length;
        bytes.get(payload.clone())?;
        at = payload.end;
        Some((sequence, payload))
    })
}

/// Numbers the packets of a buffer anew, from `sequence` on; leaves the next number there. For answers put together from several.
pub fn renumber(bytes: &mut [u8], sequence: &mut u8) {
    let mut at = 0;
    while let Some((length, _)) = bytes.get(at..).and_then(header) {
        if let Some(number) = bytes.get_mut(at + HEADER_BYTES - 1) {
            *number = *sequence;
        }
        *sequence = sequence.wrapping_add(1);
        at += HEADER_BYTES + length;
    }
}

/// A whole response of one result set, taken apart. Ranges are into the buffer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferedResult {
    /// Payloads of the column definitions.
    pub columns: Vec<Range<usize>>,
    /// All packets of definitions, headers included (without the EOF of the old protocol).
    pub definitions: Range<usize>,
    /// All row packets, headers included.
    pub rows: Range<usize>,
    /// Number of rows.
    pub row_count: u64,
    /// Payload of the EOF or OK that ends the rows.
    pub end: Range<usize>,
}

impl BufferedResult {
    /// Takes a complete response apart. Fails unless it is exactly one result set without an error.
    pub fn parse(bytes: &[u8], caps: u32) -> Result<Self> {
        Self::parse_packets(bytes, caps).ok_or(ProtocolError::Malformed("buffered result set"))
    }

    fn parse_packets(bytes: &[u8], caps: u32) -> Option<Self> {
        let mut packets = packets(bytes).map(|(_, payload)| payload);
        let mut count = Cursor::new(bytes.get(packets.next()?)?);
        let columns = count
            .lenenc()
            .filter(|&columns| columns > 0 && columns <= 65_535 && count.is_empty())?;
        let columns: Vec<_> = packets.by_ref().take(columns as usize).collect();
        let definitions = columns.first()?.start - HEADER_BYTES..columns.last()?.end;
        let deprecates_eof = caps & capability::DEPRECATE_EOF != 0;
        let mut rows_start = definitions.end;
        if !deprecates_eof {
            let eof = packets.next()?;
            EofPacket::parse(bytes.get(eof.clone())?).ok()?;
            rows_start = eof.end;
        }
        let (mut row_count, mut is_continued) = (0, false);
        for payload in packets {
            let first = bytes.get(payload.clone())?.first();
            let length = payload.len();
            let ends = match first {
                Some(&ERR_HEADER) if !is_continued => return None,
                Some(&EOF_HEADER) if !is_continued => match deprecates_eof {
                    true => length < PAYLOAD_BYTES_MAX,
                    false => length < 9,
                },
                _ => false,
            };
            if ends {
                let is_whole = payload.end == bytes.len();
                let rows = rows_start..payload.start - HEADER_BYTES;
                return is_whole.then_some(Self {
                    columns,
                    definitions,
                    rows,
                    row_count,
                    end: payload,
                });
            }
            row_count += u64::from(!is_continued);
            is_continued = length == PAYLOAD_BYTES_MAX;
        }
        None
    }
}
