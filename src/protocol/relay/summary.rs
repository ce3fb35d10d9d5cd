//! What a response was, when it is over: the numbers of its OK and EOF packets, its error, its session state.
//! Every part that a server could make long has a bound.

use crate::protocol::packet::Cursor;
use crate::protocol::response::{EOF_HEADER, EofPacket, ErrPacket};
use crate::protocol::{ProtocolError, Result, capability, status};

/// More session state than this in one response is not kept; then [`Summary::session_state_lost`] is set.
pub const SESSION_STATE_BYTES_MAX: usize = 65_536;
/// The most of an error's text that is kept.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 512;

/// An error as the server gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrInfo {
    /// MySQL error number.
    pub code: u16,
    /// SQLSTATE.
    pub sqlstate: [u8; 5],
    /// The text, cut at 512 bytes, in the session's result character set. May hold literals of the statement.
    pub message: Vec<u8>,
}

/// The head of an answer to COM_STMT_PREPARE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareOk {
    /// The server's id of the statement.
    pub statement_id: u32,
    /// Result columns (0: no result set).
    pub columns: u16,
    /// Parameters.
    pub params: u16,
    /// Warnings while preparing.
    pub warnings: u16,
}

impl PrepareOk {
    /// Reads the first packet of the answer.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        Self::parse_fields(payload).ok_or(ProtocolError::Malformed("answer to PREPARE"))
    }

    fn parse_fields(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8()? != 0 {
            return None;
        }
        let statement_id = cursor.u32()?;
        let columns = cursor.u16()?;
        let params = cursor.u16()?;
        cursor.u8()?;
        // Very old servers end here.
        let warnings = cursor.u16().unwrap_or(0);
        Some(Self {
            statement_id,
            columns,
            params,
            warnings,
        })
    }
}

/// A finished response in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Bytes of the response, headers included.
    pub bytes: u64,
    /// Status bits of the last packet that had some; 0 after an error without any result before it.
    pub status: u16,
    /// All status bits of all results together: NO_INDEX_USED of the first of several shows here.
    pub status_any: u16,
    /// Warning count of the last packet that had one.
    pub warnings: u16,
    /// Affected rows of all results together.
    pub affected_rows: u64,
    /// The last insert id that is not 0.
    pub last_insert_id: u64,
    /// Rows of all result sets (events of a binlog stream).
    pub rows: u64,
    /// Result sets with columns.
    pub result_sets: u32,
    /// Columns of the last result set (definitions of a field list).
    pub columns: u32,
    /// The error that ended the response.
    pub error: Option<ErrInfo>,
    /// The head of the answer to a PREPARE.
    pub prepared: Option<PrepareOk>,
    /// A cursor was opened; rows come by COM_STMT_FETCH.
    pub has_cursor: bool,
    /// A result set carried OUT parameters of a procedure.
    pub has_out_params: bool,
    /// The client was asked for a file.
    pub had_infile: bool,
    /// Session state of all OK packets, one behind the other, for
    /// [`SessionStateReader`](crate::protocol::response::SessionStateReader). `None` if there was none.
    pub session_state: Option<Vec<u8>>,
    /// Session state was too long to keep: whoever follows it must assume that everything changed.
    pub session_state_lost: bool,
}

impl Summary {
    /// Adds an EOF or OK packet that ends a result; answers its status bits. `payload` may be a part of a packet of
    /// `payload_bytes`; the fixed fields are always in it. `spare` is an empty buffer to use before allocating one.
    pub(super) fn end(
        &mut self,
        payload: &[u8],
        payload_bytes: usize,
        caps: u32,
        spare: &mut Vec<u8>,
    ) -> Result<u16> {
        let bits = match payload {
            [EOF_HEADER, ..] if payload_bytes == 5 => {
                let eof = EofPacket::parse(payload)?;
                self.warnings = eof.warnings;
                eof.status
            }
            _ => self
                .end_by_ok(payload, payload_bytes, caps, spare)
                .ok_or(ProtocolError::Malformed("OK packet"))?,
        };
        self.note_status(bits);
        Ok(bits)
    }

    /// Notes status bits that came with a packet.
    pub(super) fn note_status(&mut self, bits: u16) {
        self.status = bits;
        self.status_any |= bits;
        self.has_out_params |= bits & status::PS_OUT_PARAMS != 0;
    }

    fn end_by_ok(
        &mut self,
        payload: &[u8],
        payload_bytes: usize,
        caps: u32,
        spare: &mut Vec<u8>,
    ) -> Option<u16> {
        let mut cursor = Cursor::new(payload);
        cursor.u8()?;
        self.affected_rows = self.affected_rows.saturating_add(cursor.lenenc()?);
        let id = cursor.lenenc()?;
        if id != 0 {
            self.last_insert_id = id;
        }
        let mut bits = 0;
        if caps & (capability::PROTOCOL_41 | capability::TRANSACTIONS) != 0 {
            bits = cursor.u16()?;
        }
        if caps & capability::PROTOCOL_41 != 0 {
            self.warnings = cursor.u16()?;
        }
        if caps & capability::SESSION_TRACK != 0 && bits & status::SESSION_STATE_CHANGED != 0 {
            let is_whole = payload.len() == payload_bytes;
            // The state stands behind the info text, which may be absent only if the state is too.
            let state = match cursor.is_empty() {
                true => Some(&[][..]),
                false => cursor.lenenc_bytes().and_then(|_| {
                    if cursor.is_empty() {
                        Some(&[][..])
                    } else {
                        cursor.lenenc_bytes()
                    }
                }),
            };
            match state {
                Some(state) => self.add_session_state(state, spare),
                None if is_whole => return None,
                None => self.session_state_lost = true,
            }
        }
        Some(bits)
    }

    fn add_session_state(&mut self, state: &[u8], spare: &mut Vec<u8>) {
        if state.is_empty() {
            return;
        }
        let held = self.session_state.as_ref().map_or(0, Vec::len);
        if held + state.len() > SESSION_STATE_BYTES_MAX {
            self.session_state_lost = true;
            return;
        }
        self.session_state
            .get_or_insert_with(|| std::mem::take(spare))
            .extend_from_slice(state);
    }

    /// Notes the error that ends the response.
    pub(super) fn fail(&mut self, error: ErrPacket<'_>) {
        let length = error.message.len().min(ERROR_MESSAGE_BYTES_MAX);
        let message = error.message.get(..length).unwrap_or_default().to_vec();
        self.error = Some(ErrInfo {
            code: error.code,
            sqlstate: error.sqlstate,
            message,
        });
    }
}
