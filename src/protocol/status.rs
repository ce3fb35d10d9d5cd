//! Server status bits of OK and EOF packets. Owns only numbers.

/// A transaction is open. The one bit to trust: the transaction tracker loses it after CREATE TEMPORARY TABLE.
pub const IN_TRANS: u16 = 0x0001;
/// autocommit is on.
pub const AUTOCOMMIT: u16 = 0x0002;
/// Another result follows this one.
pub const MORE_RESULTS: u16 = 0x0008;
/// The query used no good index.
pub const NO_GOOD_INDEX_USED: u16 = 0x0010;
/// The query used no index.
pub const NO_INDEX_USED: u16 = 0x0020;
/// A cursor is open: no rows follow the column definitions; they are fetched.
pub const CURSOR_EXISTS: u16 = 0x0040;
/// The last row of a cursor has been sent.
pub const LAST_ROW_SENT: u16 = 0x0080;
/// A schema was dropped.
pub const DB_DROPPED: u16 = 0x0100;
/// Backslash is not an escape character in this session.
pub const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
/// A prepared statement was prepared again and its columns changed.
pub const METADATA_CHANGED: u16 = 0x0400;
/// Slower than the session's `long_query_time`.
pub const QUERY_WAS_SLOW: u16 = 0x0800;
/// This result set carries OUT parameters.
pub const PS_OUT_PARAMS: u16 = 0x1000;
/// The open transaction is read only.
pub const IN_TRANS_READONLY: u16 = 0x2000;
/// The OK packet carries session state information.
pub const SESSION_STATE_CHANGED: u16 = 0x4000;
