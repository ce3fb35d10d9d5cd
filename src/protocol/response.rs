//! OK, EOF and ERR packets: parse and write. Session state of an OK is kept as raw bytes; who needs it reads it with [`SessionStateReader`].
//! Never decides what a packet means in its place (an 0xFE may be a row): that is `relay`'s work.

use super::packet::{Cursor, put_lenenc, put_lenenc_bytes, write_packet_with};
use super::{ProtocolError, Result, capability, status};

/// First byte of an OK packet.
pub const OK_HEADER: u8 = 0x00;
/// First byte of an EOF packet, and of the OK that ends rows under DEPRECATE_EOF.
pub const EOF_HEADER: u8 = 0xFE;
/// First byte of an ERR packet.
pub const ERR_HEADER: u8 = 0xFF;
/// First byte of the request for a client's file.
pub const LOCAL_INFILE_HEADER: u8 = 0xFB;
/// The error number of MariaDB's progress reports, which are not errors.
pub const PROGRESS_ERROR_CODE: u16 = 0xFFFF;

/// An OK packet, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OkPacket<'a> {
    /// Rows changed (or found, by capability).
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value of the statement.
    pub last_insert_id: u64,
    /// Server status bits.
    pub status: u16,
    /// Number of warnings.
    pub warnings: u16,
    /// Human text ("Rows matched: ..").
    pub info: &'a [u8],
    /// Session state changes as they stand on the wire (without the outer length); empty if none.
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// Reads a payload that starts with 0x00, or 0xFE for the OK that ends rows.
    pub fn parse(payload: &'a [u8], caps: u32) -> Result<Self> {
        Self::parse_fields(payload, caps).ok_or(ProtocolError::Malformed("OK packet"))
    }

    fn parse_fields(payload: &'a [u8], caps: u32) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        if !matches!(cursor.u8()?, OK_HEADER | EOF_HEADER) {
            return None;
        }
        let mut ok = Self {
            affected_rows: cursor.lenenc()?,
            last_insert_id: cursor.lenenc()?,
            ..Self::default()
        };
        if caps & (capability::PROTOCOL_41 | capability::TRANSACTIONS) != 0 {
            ok.status = cursor.u16()?;
        }
        if caps & capability::PROTOCOL_41 != 0 {
            ok.warnings = cursor.u16()?;
        }
        if caps & capability::SESSION_TRACK != 0 {
            // The server leaves the text out when it is empty and no state follows.
            if !cursor.is_empty() {
                ok.info = cursor.lenenc_bytes()?;
            }
            if ok.status & status::SESSION_STATE_CHANGED != 0 && !cursor.is_empty() {
                ok.session_state = cursor.lenenc_bytes()?;
            }
        } else {
            // Documented as "the rest", but the server writes a length before it.
            let rest = cursor.rest();
            let mut inner = cursor;
            ok.info = inner
                .lenenc_bytes()
                .filter(|_| inner.is_empty())
                .unwrap_or(rest);
        }
        Some(ok)
    }

    /// Appends the packet as the server would write it for a client with these capabilities.
    /// `as_eof` writes header 0xFE (the end of rows under DEPRECATE_EOF).
    pub fn write(&self, out: &mut Vec<u8>, sequence: &mut u8, caps: u32, as_eof: bool) {
        let has_state = caps & capability::SESSION_TRACK != 0 && !self.session_state.is_empty();
        let status_bits = match has_state {
            true => self.status | status::SESSION_STATE_CHANGED,
            false => self.status & !status::SESSION_STATE_CHANGED,
        };
        write_packet_with(out, sequence, |out| {
            out.push(if as_eof { EOF_HEADER } else { OK_HEADER });
            put_lenenc(out, self.affected_rows);
            put_lenenc(out, self.last_insert_id);
            if caps & (capability::PROTOCOL_41 | capability::TRANSACTIONS) != 0 {
                out.extend_from_slice(&status_bits.to_le_bytes());
            }
            if caps & capability::PROTOCOL_41 != 0 {
                out.extend_from_slice(&self.warnings.to_le_bytes());
            }
            if !self.info.is_empty() || has_state {
                put_lenenc_bytes(out, self.info);
            }
            if has_state {
                put_lenenc_bytes(out, self.session_state);
            }
        });
    }
}

impl OkPacket<'_> {
    /// Appends the packet for a client with trackers, with a session state that is empty.
    pub fn write_marked(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        let status_bits = self.status | status::SESSION_STATE_CHANGED;
        write_packet_with(out, sequence, |out| {
            out.push(OK_HEADER);
            put_lenenc(out, self.affected_rows);
            put_lenenc(out, self.last_insert_id);
            out.extend_from_slice(&status_bits.to_le_bytes());
            out.extend_from_slice(&self.warnings.to_le_bytes());
            put_lenenc_bytes(out, self.info);
            put_lenenc(out, 0);
        });
    }
}

/// An EOF packet of the old protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EofPacket {
    /// Number of warnings.
    pub warnings: u16,
    /// Server status bits.
    pub status: u16,
}

impl EofPacket {
    /// Reads a payload of five bytes that starts with 0xFE.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        match *payload {
            [EOF_HEADER, w0, w1, s0, s1] => Ok(Self {
                warnings: u16::from_le_bytes([w0, w1]),
                status: u16::from_le_bytes([s0, s1]),
            }),
            _ => Err(ProtocolError::Malformed("EOF packet")),
        }
    }

    /// Appends the packet.
    pub fn write(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        write_packet_with(out, sequence, |out| {
            out.push(EOF_HEADER);
            out.extend_from_slice(&self.warnings.to_le_bytes());
            out.extend_from_slice(&self.status.to_le_bytes());
        });
    }
}

/// An ERR packet, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// MySQL error number.
    pub code: u16,
    /// SQLSTATE; `HY000` where the packet has none.
    pub sqlstate: [u8; 5],
    /// The text, in the session's result character set.
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    /// An error to send.
    pub fn new(code: u16, sqlstate: &[u8; 5], message: &'a [u8]) -> Self {
        Self {
            code,
            sqlstate: *sqlstate,
            message,
        }
    }

    /// Reads a payload that starts with 0xFF. The SQLSTATE is absent in errors sent before the handshake is done.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(payload);
        let fields = (cursor.u8(), cursor.u16());
        let (Some(ERR_HEADER), Some(code)) = fields else {
            return Err(ProtocolError::Malformed("ERR packet"));
        };
        let mut sqlstate = *b"HY000";
        if let [b'#', state @ ..] = cursor.rest()
            && let Some((found, message)) = state.split_first_chunk::<5>()
        {
            sqlstate = *found;
            return Ok(Self {
                code,
                sqlstate,
                message,
            });
        }
        Ok(Self {
            code,
            sqlstate,
            message: cursor.rest(),
        })
    }

    /// Appends the packet, with SQLSTATE.
    pub fn write(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        write_packet_with(out, sequence, |out| {
            out.push(ERR_HEADER);
            out.extend_from_slice(&self.code.to_le_bytes());
            out.push(b'#');
            out.extend_from_slice(&self.sqlstate);
            out.extend_from_slice(self.message);
        });
    }

    /// Appends the packet as it must be written before the client's capabilities are known (a refusal in place of the greeting).
    pub fn write_without_state(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        write_packet_with(out, sequence, |out| {
            out.push(ERR_HEADER);
            out.extend_from_slice(&self.code.to_le_bytes());
            out.extend_from_slice(self.message);
        });
    }
}

/// One change in the session state of an OK packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange<'a> {
    /// A tracked system variable has a new value.
    SystemVariable {
        /// Its name.
        name: &'a [u8],
        /// Its new value as text.
        value: &'a [u8],
    },
    /// The default schema changed.
    Schema(&'a [u8]),
    /// Some session state changed (only the fact; `1` or `0`).
    StateChanged(&'a [u8]),
    /// The GTIDs of this session's commit.
    Gtids(&'a [u8]),
    /// The statements that would open the same transaction.
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters of transaction state.
    TransactionState(&'a [u8]),
    /// A kind that we do not know, with its bytes.
    Other(u8, &'a [u8]),
}

/// Walks the changes in [`OkPacket::session_state`]; ends early (and says so by an error item) on malformed bytes.
#[derive(Debug, Clone)]
pub struct SessionStateReader<'a> {
    cursor: Cursor<'a>,
}

impl<'a> SessionStateReader<'a> {
    /// Reads from the raw bytes of an OK packet's session state.
    pub fn new(session_state: &'a [u8]) -> Self {
        Self {
            cursor: Cursor::new(session_state),
        }
    }

    fn read(&mut self) -> Option<StateChange<'a>> {
        let kind = self.cursor.u8()?;
        let mut data = Cursor::new(self.cursor.lenenc_bytes()?);
        Some(match kind {
            0 => StateChange::SystemVariable {
                name: data.lenenc_bytes()?,
                value: data.lenenc_bytes()?,
            },
            1 => StateChange::Schema(data.lenenc_bytes()?),
            // Without a length of its own, unlike the others (9.7.4 on the wire: 02 01 31).
            2 => StateChange::StateChanged(data.take_rest()),
            3 => {
                data.u8()?; // encoding specification, always 0 so far
                StateChange::Gtids(data.lenenc_bytes()?)
            }
            4 => StateChange::TransactionCharacteristics(data.lenenc_bytes()?),
            5 => StateChange::TransactionState(data.lenenc_bytes()?),
            other => StateChange::Other(other, data.take_rest()),
        })
    }
}

impl<'a> Iterator for SessionStateReader<'a> {
    type Item = Result<StateChange<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        match self.read() {
            Some(change) => Some(Ok(change)),
            None => {
                self.cursor.take_rest();
                Some(Err(ProtocolError::Malformed("session state")))
            }
        }
    }
}
