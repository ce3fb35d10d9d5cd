//! What can go wrong with an admin statement, and the MySQL error number and text that the client is told.
//! Numbers, SQLSTATEs and wording follow the server's own, so that drivers act on them as they do elsewhere.

/// An admin statement that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a statement that is understood.
    #[error("You have an error in your SQL syntax; {0}")]
    Syntax(String),
    /// Nothing but space and comments.
    #[error("Query was empty")]
    EmptyQuery,
    /// The table is in neither schema.
    #[error("Table '{0}' doesn't exist")]
    UnknownTable(String),
    /// A schema that is not served here.
    #[error("Unknown database '{0}'; only tidegate and information_schema are served here")]
    UnknownDatabase(String),
    /// A column that no table of the statement has.
    #[error("Unknown column '{0}' in 'field list'")]
    UnknownColumn(String),
    /// A column that several tables of the statement have.
    #[error("Column '{0}' in field list is ambiguous")]
    AmbiguousColumn(String),
    /// A function that does not exist here.
    #[error("FUNCTION tidegate.{0} does not exist")]
    UnknownFunction(String),
    /// A function with too many or too few arguments.
    #[error("Incorrect parameter count in the call to native function '{0}'")]
    ArgumentCount(String),
    /// An aggregate where none may stand.
    #[error("Invalid use of group function")]
    MisplacedAggregate,
    /// `@@name` that is not known.
    #[error("Unknown system variable '{0}'")]
    UnknownVariable(String),
    /// SET GLOBAL and SET PERSIST.
    #[error(
        "The configuration cannot be changed by SQL: '{0}' was not set; change the configuration file instead"
    )]
    GlobalVariable(String),
    /// Anything that would change something.
    #[error("The schema tidegate is read-only: {0} is refused")]
    ReadOnly(String),
    /// A value of a row that cannot be.
    #[error("Incorrect value for column '{column}' at row {row}: {why}")]
    Incorrect {
        /// The column.
        column: String,
        /// The row of the statement, from 1.
        row: usize,
        /// Why, and what is allowed.
        why: String,
    },
    /// A name that is there already.
    #[error("Duplicate entry '{0}' for key '{1}'")]
    Duplicate(String, &'static str),
    /// More or fewer values than columns.
    #[error("Column count doesn't match value count")]
    ColumnCount,
    /// A query rule that cannot be in force.
    #[error("Rule {0}")]
    Rule(String),
    /// A setting that cannot be in force.
    #[error("Setting {0}")]
    Setting(String),
    /// A setting that is read at the start only.
    #[error("'{0}' takes effect at the next start only; write it into the configuration file")]
    NeedsRestart(String),
    /// The file of SAVE.
    #[error("{0} cannot be written: {1}")]
    Save(String, String),
    /// A statement that MySQL has and the virtual schema does not.
    #[error("The virtual schema does not support '{0}'")]
    Unsupported(String),
    /// More rows than admin.rows_max.
    #[error("The result has more than {0} rows (admin.rows_max); add a WHERE or a LIMIT")]
    TooManyRows(usize),
    /// More memory for the result than allowed.
    #[error("The result takes more than {0} bytes; select fewer columns or rows")]
    ResultTooLarge(usize),
    /// Sorting, grouping or a recursion took too much memory.
    #[error("The statement needs more than {0} bytes of memory")]
    OutOfMemory(u64),
    /// Longer than admin.query_ms_max.
    #[error(
        "Query execution was interrupted, maximum statement execution time exceeded ({0} ms, admin.query_ms_max)"
    )]
    Timeout(u64),
    /// The engine has as many statements waiting as it takes.
    #[error("Too many admin statements at once; try again")]
    Busy,
    /// As many admin sessions are open as there may be.
    #[error("Too many connections to the virtual schema: {0} are open")]
    TooManySessions(usize),
    /// A statement id that was not prepared in this session.
    #[error("Unknown prepared statement handler ({0}) given to EXECUTE")]
    UnknownStatement(u32),
    /// More prepared statements than one session may hold.
    #[error("Can't create more than {0} prepared statements in one admin session")]
    StatementsMax(usize),
    /// Parameters that do not fit the statement, or cannot be read.
    #[error("Incorrect arguments to EXECUTE: {0}")]
    Parameters(String),
    /// A command packet that cannot be read.
    #[error("Malformed communication packet: {0}")]
    Malformed(&'static str),
    /// Text that is not UTF-8.
    #[error("Invalid utf8mb4 character string in the statement")]
    NotUtf8,
    /// A command that the virtual schema does not have.
    #[error("Unknown command")]
    UnknownCommand,
    /// A packet longer than allowed.
    #[error("Got a packet bigger than the {0} bytes that an admin statement may have")]
    PacketTooLarge(usize),
    /// Whatever SQLite says that has no MySQL counterpart.
    #[error("{0}")]
    Engine(String),
    /// A fault of ours; the log has more.
    #[error("Internal error in the virtual schema: {0}")]
    Internal(String),
}

impl Error {
    /// The MySQL error number.
    pub fn number(&self) -> u16 {
        match self {
            Self::Syntax(_) => 1064,
            Self::EmptyQuery => 1065,
            Self::UnknownTable(_) => 1146,
            Self::UnknownDatabase(_) => 1049,
            Self::UnknownColumn(_) => 1054,
            Self::AmbiguousColumn(_) => 1052,
            Self::UnknownFunction(_) => 1305,
            Self::ArgumentCount(_) => 1582,
            Self::MisplacedAggregate => 1111,
            Self::UnknownVariable(_) => 1193,
            Self::GlobalVariable(_) | Self::NeedsRestart(_) => 1238,
            Self::Incorrect { .. } | Self::Rule(_) => 1366,
            Self::Duplicate(..) => 1062,
            Self::ColumnCount => 1136,
            Self::Setting(_) => 1231,
            Self::Save(..) => 1026,
            Self::ReadOnly(_) => 1290,
            Self::Unsupported(_) => 1235,
            Self::TooManyRows(_) => 1104,
            Self::ResultTooLarge(_) | Self::OutOfMemory(_) => 1041,
            Self::Timeout(_) => 3024,
            Self::Busy | Self::TooManySessions(_) => 1040,
            Self::UnknownStatement(_) => 1243,
            Self::StatementsMax(_) => 1461,
            Self::Parameters(_) => 1210,
            Self::Malformed(_) => 1835,
            Self::NotUtf8 => 1300,
            Self::UnknownCommand => 1047,
            Self::PacketTooLarge(_) => 1153,
            Self::Engine(_) | Self::Internal(_) => 1105,
        }
    }

    /// The SQLSTATE that the server sends with that number.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax(_)
            | Self::EmptyQuery
            | Self::UnknownDatabase(_)
            | Self::UnknownFunction(_)
            | Self::ArgumentCount(_)
            | Self::Unsupported(_)
            | Self::TooManyRows(_)
            | Self::StatementsMax(_) => "42000",
            Self::UnknownTable(_) => "42S02",
            Self::UnknownColumn(_) => "42S22",
            Self::ColumnCount => "21S01",
            Self::AmbiguousColumn(_) | Self::Duplicate(..) => "23000",
            Self::Busy | Self::TooManySessions(_) => "08004",
            Self::UnknownCommand | Self::PacketTooLarge(_) => "08S01",
            _ => "HY000",
        }
    }

    /// Which of our errors one of SQLite's is.
    pub fn from_sqlite(error: &rusqlite::Error) -> Self {
        let message = match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            rusqlite::Error::MultipleStatement => {
                return Self::Syntax("one statement at a time".to_owned());
            }
            rusqlite::Error::NulError(_) => return Self::Syntax("a zero byte".to_owned()),
            rusqlite::Error::InvalidParameterCount(given, wanted) => {
                return Self::Parameters(format!("{wanted} wanted, {given} given"));
            }
            other => other.to_string(),
        };
        Self::from_message(&message)
    }

    fn from_message(message: &str) -> Self {
        let after = |prefix: &str| message.strip_prefix(prefix).map(str::to_owned);
        if let Some(name) = after("no such table: ") {
            return Self::unknown_table(&name);
        }
        if let Some(name) = after("unknown database ") {
            return Self::UnknownDatabase(name);
        }
        if let Some(name) = after("no such column: ") {
            let name = name.split(" - should this").next().unwrap_or(&name);
            return Self::UnknownColumn(name.trim_matches('"').to_owned());
        }
        if let Some(name) = after("ambiguous column name: ") {
            return Self::AmbiguousColumn(name);
        }
        if let Some(name) = after("no such function: ") {
            return Self::UnknownFunction(name);
        }
        if let Some(rest) = after("wrong number of arguments to function ") {
            return Self::ArgumentCount(rest.trim_end_matches("()").to_owned());
        }
        if message.starts_with("misuse of aggregate") || message.starts_with("misuse of window") {
            return Self::MisplacedAggregate;
        }
        if message.contains("syntax error")
            || message.starts_with("incomplete input")
            || message.starts_with("unrecognized token")
        {
            return Self::Syntax(message.to_owned());
        }
        if message.starts_with("not authorized") || message.contains("readonly") {
            return Self::ReadOnly("the statement".to_owned());
        }
        Self::Engine(message.to_owned())
    }

    fn unknown_table(name: &str) -> Self {
        match name.split_once('.') {
            Some((schema, _)) if super::catalog::schema(schema).is_none() => {
                Self::UnknownDatabase(schema.to_owned())
            }
            Some(_) => Self::UnknownTable(name.to_owned()),
            None => Self::UnknownTable(format!("{}.{name}", super::catalog::SCHEMA)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_messages_become_mysql_errors() {
        for (message, number, text) in [
            (
                "no such table: nope",
                1146,
                "Table 'tidegate.nope' doesn't exist",
            ),
            (
                "no such table: shop.orders",
                1049,
                "Unknown database 'shop'",
            ),
            ("no such column: x", 1054, "Unknown column 'x'"),
            ("ambiguous column name: user", 1052, "Column 'user'"),
            ("no such function: SLEEP", 1305, "FUNCTION tidegate.SLEEP"),
            (
                "near \"FORM\": syntax error",
                1064,
                "near \"FORM\": syntax error",
            ),
            ("something new", 1105, "something new"),
        ] {
            let error = Error::from_message(message);
            assert_eq!(error.number(), number, "{message}");
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.sqlstate().len(), 5);
        }
    }
}
