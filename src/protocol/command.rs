//! Client commands: the COM_* bytes, and the bodies that we must read (query attributes, prepared execution).
//! Never decodes a parameter value further than is needed to find where it ends.

use super::packet::{Cursor, put_lenenc, put_lenenc_bytes};
use super::{ProtocolError, Result, capability};

/// Every command byte of MySQL and MariaDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// Internal to the server.
    Sleep = 0x00,
    /// Ends the connection; no answer.
    Quit = 0x01,
    /// Changes the default schema.
    InitDb = 0x02,
    /// A statement as text.
    Query = 0x03,
    /// Columns of a table (old).
    FieldList = 0x04,
    /// Creates a schema (removed).
    CreateDb = 0x05,
    /// Drops a schema (removed).
    DropDb = 0x06,
    /// FLUSH as a command (removed in 9).
    Refresh = 0x07,
    /// Stops the server (removed in 9).
    Shutdown = 0x08,
    /// One line of server statistics, a bare string.
    Statistics = 0x09,
    /// SHOW PROCESSLIST as a command.
    ProcessInfo = 0x0A,
    /// Internal to the server.
    Connect = 0x0B,
    /// KILL as a command.
    ProcessKill = 0x0C,
    /// Dumps debug information to the server's log.
    Debug = 0x0D,
    /// Is the server alive.
    Ping = 0x0E,
    /// Internal to the server.
    Time = 0x0F,
    /// Internal to the server.
    DelayedInsert = 0x10,
    /// Logs in again on the same connection.
    ChangeUser = 0x11,
    /// Binary log from a file position.
    BinlogDump = 0x12,
    /// Historic.
    TableDump = 0x13,
    /// Internal to the server.
    ConnectOut = 0x14,
    /// A replica says who it is.
    RegisterReplica = 0x15,
    /// Prepares a statement.
    StmtPrepare = 0x16,
    /// Executes a prepared statement.
    StmtExecute = 0x17,
    /// A piece of a long parameter; no answer.
    StmtSendLongData = 0x18,
    /// Closes a prepared statement; no answer.
    StmtClose = 0x19,
    /// Forgets long data and closes the cursor.
    StmtReset = 0x1A,
    /// Turns multi-statements on or off.
    SetOption = 0x1B,
    /// Rows of an open cursor.
    StmtFetch = 0x1C,
    /// Internal to the server.
    Daemon = 0x1D,
    /// Binary log from a GTID set.
    BinlogDumpGtid = 0x1E,
    /// Resets session state without logging in again.
    ResetConnection = 0x1F,
    /// The clone plugin's own protocol.
    Clone = 0x20,
    /// Group Replication's own protocol.
    SubscribeGroupReplicationStream = 0x21,
    /// MariaDB: execute with an array of parameter rows.
    StmtBulkExecute = 0xFA,
}

impl Command {
    /// The command of a byte; `None` for bytes that no server knows.
    pub fn from_byte(byte: u8) -> Option<Self> {
        use Command::*;
        const LOW: [Command; 34] = [
            Sleep,
            Quit,
            InitDb,
            Query,
            FieldList,
            CreateDb,
            DropDb,
            Refresh,
            Shutdown,
            Statistics,
            ProcessInfo,
            Connect,
            ProcessKill,
            Debug,
            Ping,
            Time,
            DelayedInsert,
            ChangeUser,
            BinlogDump,
            TableDump,
            ConnectOut,
            RegisterReplica,
            StmtPrepare,
            StmtExecute,
            StmtSendLongData,
            StmtClose,
            StmtReset,
            SetOption,
            StmtFetch,
            Daemon,
            BinlogDumpGtid,
            ResetConnection,
            Clone,
            SubscribeGroupReplicationStream,
        ];
        match byte {
            0xFA => Some(StmtBulkExecute),
            _ => LOW.get(usize::from(byte)).copied(),
        }
    }

    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// The server's name for it, in the words of `SHOW PROCESSLIST`.
    pub fn name(self) -> &'static str {
        use Command::*;
        match self {
            Sleep => "Sleep",
            Quit => "Quit",
            InitDb => "Init DB",
            Query => "Query",
            FieldList => "Field List",
            CreateDb => "Create DB",
            DropDb => "Drop DB",
            Refresh => "Refresh",
            Shutdown => "Shutdown",
            Statistics => "Statistics",
            ProcessInfo => "Processlist",
            Connect => "Connect",
            ProcessKill => "Kill",
            Debug => "Debug",
            Ping => "Ping",
            Time => "Time",
            DelayedInsert => "Delayed insert",
            ChangeUser => "Change user",
            BinlogDump => "Binlog Dump",
            TableDump => "Table Dump",
            ConnectOut => "Connect Out",
            RegisterReplica => "Register Replica",
            StmtPrepare => "Prepare",
            StmtExecute => "Execute",
            StmtSendLongData => "Long Data",
            StmtClose => "Close stmt",
            StmtReset => "Reset stmt",
            SetOption => "Set option",
            StmtFetch => "Fetch",
            Daemon => "Daemon",
            BinlogDumpGtid => "Binlog Dump GTID",
            ResetConnection => "Reset Connection",
            Clone => "clone",
            SubscribeGroupReplicationStream => "Group Replication Data Stream subscription",
            StmtBulkExecute => "Bulk Execute",
        }
    }
}

/// Flag of [`Execute::flags`]: the parameter count is on the wire although the statement has no parameters (only with query
/// attributes).
pub const EXECUTE_PARAMETER_COUNT_AVAILABLE: u8 = 0x08;
/// Flag of [`Execute::flags`]: open a read-only cursor.
pub const EXECUTE_CURSOR_READ_ONLY: u8 = 0x01;
/// Any cursor flag of [`Execute::flags`].
pub const EXECUTE_CURSOR_ANY: u8 = 0x07;

/// More attributes or parameters than this are refused: the server itself allows 65,535 parameters.
const PARAMETERS_MAX: u64 = 65_535;

/// A named value on the wire: its type code and its bytes in the binary protocol (`None`: NULL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Name; empty for an unnamed parameter.
    pub name: &'a [u8],
    /// Column type code; bit 0x8000 means unsigned.
    pub type_code: u16,
    /// The value without its length prefix; `None` for NULL.
    pub value: Option<&'a [u8]>,
}

/// A COM_QUERY, taken apart: where the statement text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryBody<'a> {
    /// Everything between the command byte and the text, as it came: to put in front of another text.
    pub prefix: &'a [u8],
    /// The statement text.
    pub text: &'a [u8],
    /// How many attributes the prefix has.
    pub attributes: usize,
}

impl<'a> QueryBody<'a> {
    /// Reads the payload after the command byte.
    pub fn parse(body: &'a [u8], caps: u32) -> Result<Self> {
        if caps & capability::QUERY_ATTRIBUTES == 0 {
            return Ok(Self {
                prefix: &[],
                text: body,
                attributes: 0,
            });
        }
        // The common case of a client that can send attributes and has none: count 0, one parameter set.
        if let [0, 1, text @ ..] = body {
            return Ok(Self {
                prefix: &body[..2],
                text,
                attributes: 0,
            });
        }
        Self::parse_attributes(body, |_| {}).ok_or(ProtocolError::Malformed("COM_QUERY"))
    }

    /// Calls `each` for every attribute of this query; an attribute that is not in order was refused by [`parse`](Self::parse).
    pub fn for_each_attribute(&self, each: impl FnMut(Attribute<'a>)) {
        if self.attributes > 0 {
            let _ = Self::parse_attributes(self.prefix, each);
        }
    }

    fn parse_attributes(body: &'a [u8], each: impl FnMut(Attribute<'a>)) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let count = cursor.lenenc().filter(|&count| count <= PARAMETERS_MAX)? as usize;
        let _sets = cursor.lenenc()?;
        if count > 0 {
            let nulls = cursor.bytes(count.div_ceil(8))?;
            let types_follow = cursor.u8()?;
            if types_follow != 1 {
                return None; // attributes are never bound before
            }
            read_parameters(&mut cursor, nulls, count, true, each)?;
        }
        let prefix = body.get(..body.len() - cursor.rest().len())?;
        Some(Self {
            prefix,
            text: cursor.rest(),
            attributes: count,
        })
    }
}

/// Reads `count` type-and-name entries and then the values; `None` if they do not fit.
fn read_parameters<'a>(
    cursor: &mut Cursor<'a>,
    nulls: &[u8],
    count: usize,
    named: bool,
    mut each: impl FnMut(Attribute<'a>),
) -> Option<()> {
    let mut types = *cursor;
    for _ in 0..count {
        cursor.u16()?;
        if named {
            cursor.lenenc_bytes()?;
        }
    }
    for index in 0..count {
        let type_code = types.u16()?;
        let name = if named { types.lenenc_bytes()? } else { &[] };
        let is_null = nulls.get(index / 8)? & (1 << (index % 8)) != 0;
        let value = if is_null {
            None
        } else {
            Some(binary_value(cursor, type_code as u8)?)
        };
        each(Attribute {
            name,
            type_code,
            value,
        });
    }
    Some(())
}

/// The bytes of one value in the binary protocol, without its length prefix. `None` if it does not fit or the type is unknown.
pub fn binary_value<'a>(cursor: &mut Cursor<'a>, type_code: u8) -> Option<&'a [u8]> {
    match type_code {
        0x01 => cursor.bytes(1),               // TINY
        0x02 | 0x0D => cursor.bytes(2),        // SHORT, YEAR
        0x03 | 0x04 | 0x09 => cursor.bytes(4), // LONG, FLOAT, INT24
        0x05 | 0x08 => cursor.bytes(8),        // DOUBLE, LONGLONG
        0x06 => cursor.bytes(0),               // NULL
        0x07 | 0x0A | 0x0B | 0x0C | 0x0E | 0x11..=0x13 => {
            // TIMESTAMP, DATE, TIME, DATETIME and their newer forms
            let length = cursor.u8()?;
            cursor.bytes(usize::from(length))
        }
        0x00 | 0x0F | 0x10 | 0xF2..=0xFF => cursor.lenenc_bytes(), // DECIMAL, VARCHAR, BIT, VECTOR, JSON and all strings
        0xF1 => None,
        _ => None,
    }
}

/// A COM_STMT_EXECUTE, taken apart. The parameter bytes stay as they came, so that they can be a cache key or be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The statement id of the connection that it came from.
    pub statement_id: u32,
    /// Cursor flags and [`EXECUTE_PARAMETER_COUNT_AVAILABLE`].
    pub flags: u8,
    /// Everything after statement id, flags and iteration count.
    pub parameters: &'a [u8],
}

/// How an [`Execute`] begins, as far as it can be read without its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeforeTypes {
    /// Number of values, attributes included; with 0 of them nothing follows.
    pub count: usize,
    /// Bytes behind the command byte, up to the one that says whether types follow.
    pub bytes: usize,
    /// Whether they do.
    pub types_follow: bool,
}

/// The parameter block of a [`Execute`], when its parameter count is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters<'a> {
    /// Number of values, attributes included.
    pub count: usize,
    /// One bit per value.
    pub nulls: &'a [u8],
    /// Type (and, with query attributes, name) entries; `None` when the client re-uses those of its last execution.
    pub types: Option<&'a [u8]>,
    /// The values, one behind the other.
    pub values: &'a [u8],
    named: bool,
}

impl<'a> Execute<'a> {
    /// Reads the payload after the command byte.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        Self::parse_fields(body).ok_or(ProtocolError::Malformed("COM_STMT_EXECUTE"))
    }

    fn parse_fields(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let statement_id = cursor.u32()?;
        let flags = cursor.u8()?;
        let _iterations = cursor.u32()?;
        Some(Self {
            statement_id,
            flags,
            parameters: cursor.rest(),
        })
    }

    /// Takes the parameter block apart. `declared` is the statement's own parameter count (from its PREPARE).
    pub fn parameters(&self, caps: u32, declared: usize) -> Result<Parameters<'a>> {
        self.parameter_fields(caps, declared)
            .ok_or(ProtocolError::Malformed("COM_STMT_EXECUTE parameters"))
    }

    /// How the packet begins. The bytes behind its null bits need not be there.
    pub fn before_types(&self, caps: u32, declared: usize) -> Result<BeforeTypes> {
        let (count, _, mut cursor) = self
            .count_and_nulls(caps, declared)
            .ok_or(ProtocolError::Malformed("COM_STMT_EXECUTE parameters"))?;
        let bytes = 9 + self.parameters.len() - cursor.rest().len();
        let types_follow = count > 0
            && cursor
                .u8()
                .ok_or(ProtocolError::Malformed("COM_STMT_EXECUTE parameters"))?
                != 0;
        Ok(BeforeTypes {
            count,
            bytes,
            types_follow,
        })
    }

    /// The number of values, their null bits, and what is behind these.
    fn count_and_nulls(&self, caps: u32, declared: usize) -> Option<(usize, &'a [u8], Cursor<'a>)> {
        let named = caps & capability::QUERY_ATTRIBUTES != 0;
        // The flag speaks for attributes alone: a statement with parameters of its own always brings the count.
        // MySQL Connector/Python sends it so, and the server (9.7.4) reads it so.
        let flagged = self.flags & EXECUTE_PARAMETER_COUNT_AVAILABLE != 0;
        let counted = named && (declared > 0 || flagged);
        let mut cursor = Cursor::new(self.parameters);
        let mut count = declared;
        if counted {
            count = cursor.lenenc().filter(|&count| count <= PARAMETERS_MAX)? as usize;
        }
        let nulls = cursor.bytes(count.div_ceil(8))?;
        Some((count, nulls, cursor))
    }

    fn parameter_fields(&self, caps: u32, declared: usize) -> Option<Parameters<'a>> {
        let named = caps & capability::QUERY_ATTRIBUTES != 0;
        let (count, nulls, mut cursor) = self.count_and_nulls(caps, declared)?;
        if count == 0 {
            return Some(Parameters {
                count,
                nulls: &[],
                types: None,
                values: cursor.rest(),
                named,
            });
        }
        let types_follow = cursor.u8()? != 0;
        let mut types = None;
        if types_follow {
            let before = cursor.rest();
            for _ in 0..count {
                cursor.u16()?;
                if named {
                    cursor.lenenc_bytes()?;
                }
            }
            types = before.get(..before.len() - cursor.rest().len());
        }
        Some(Parameters {
            count,
            nulls,
            types,
            values: cursor.rest(),
            named,
        })
    }
}

impl<'a> Parameters<'a> {
    /// Calls `each` for every value. `bound` are the type entries of the last execution, for a client that did not send them again.
    /// `long_data` says that parameter `index` was sent by COM_STMT_SEND_LONG_DATA: then its value is not here.
    /// Fails if types are missing or the values do not fit them.
    pub fn for_each(
        &self,
        bound: Option<&'a [u8]>,
        long_data: impl Fn(usize) -> bool,
        mut each: impl FnMut(usize, Attribute<'a>),
    ) -> Result<()> {
        let mut types = Cursor::new(
            self.types
                .or(bound)
                .ok_or(ProtocolError::Malformed("COM_STMT_EXECUTE types"))?,
        );
        let mut values = Cursor::new(self.values);
        for index in 0..self.count {
            let attribute = self.next_value(index, &mut types, &mut values, &long_data);
            each(
                index,
                attribute.ok_or(ProtocolError::Malformed("COM_STMT_EXECUTE values"))?,
            );
        }
        Ok(())
    }

    fn next_value(
        &self,
        index: usize,
        types: &mut Cursor<'a>,
        values: &mut Cursor<'a>,
        long_data: impl Fn(usize) -> bool,
    ) -> Option<Attribute<'a>> {
        let type_code = types.u16()?;
        let name = if self.named {
            types.lenenc_bytes()?
        } else {
            &[]
        };
        let is_null = self.nulls.get(index / 8)? & (1 << (index % 8)) != 0;
        let value = match is_null || long_data(index) {
            true => None,
            false => Some(binary_value(values, type_code as u8)?),
        };
        Some(Attribute {
            name,
            type_code,
            value,
        })
    }
}

/// Appends the body of a COM_QUERY payload (command byte included) for `text`, with no attributes.
pub fn put_query(out: &mut Vec<u8>, caps: u32, text: &[u8]) {
    out.push(Command::Query.byte());
    if caps & capability::QUERY_ATTRIBUTES != 0 {
        out.extend_from_slice(&[0, 1]);
    }
    out.extend_from_slice(text);
}

/// Appends the body of a COM_QUERY payload (command byte included) with text attributes `(name, value)`.
/// `caps` must have QUERY_ATTRIBUTES, else the attributes are left out.
pub fn put_query_with_attributes(
    out: &mut Vec<u8>,
    caps: u32,
    attributes: &[(&[u8], &[u8])],
    text: &[u8],
) {
    if caps & capability::QUERY_ATTRIBUTES == 0 || attributes.is_empty() {
        return put_query(out, caps, text);
    }
    out.push(Command::Query.byte());
    put_lenenc(out, attributes.len() as u64);
    put_lenenc(out, 1);
    out.resize(out.len() + attributes.len().div_ceil(8), 0);
    out.push(1);
    for (name, _) in attributes {
        out.extend_from_slice(&[0xFE, 0x00]); // a string
        put_lenenc_bytes(out, name);
    }
    for (_, value) in attributes {
        put_lenenc_bytes(out, value);
    }
    out.extend_from_slice(text);
}
