//! One control connection in the one session state that builds and comparisons need, and the room's error type.
//! Every call has a deadline. Never carries a client's transaction.

use std::future::Future;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use thiserror::Error;

use super::definition::ViewEnv;
use super::storage::literal;
use crate::sql::env::DEFAULT_SQL_MODE;

/// Collation of a session that builds or compares, unless a definition asks for another.
const COLLATION: &str = "utf8mb4_0900_ai_ci";
/// Longest wait for a metadata lock, in seconds: a waiting ALTER or DROP stops all new readers of its table.
const LOCK_WAIT_S: u32 = 1;
/// Longest time for a statement that only reads or sets something small.
pub const SHORT: Duration = Duration::from_secs(10);

/// Why work on a view stopped.
#[derive(Debug, Error)]
pub enum ViewsError {
    /// The server refused a statement.
    #[error("server error {code}: {message}")]
    Server {
        /// MySQL error number.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The connection failed; whether the last statement took effect is unknown.
    #[error("connection: {0}")]
    Connection(String),
    /// A statement took too long.
    #[error("{what} took longer than {ms} ms")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// The deadline in milliseconds.
        ms: u64,
    },
    /// The definition or its table cannot be built, now or later.
    #[error("{0}")]
    Unsupported(String),
    /// More groups than allowed.
    #[error("{rows} groups, {rows_max} allowed")]
    TooLarge {
        /// Groups found.
        rows: u64,
        /// Groups allowed.
        rows_max: u64,
    },
    /// The base table changed while it was read.
    #[error("the base table changed during the build")]
    Changed,
    /// No proof of freshness can be had now; the gate's reason.
    #[error("no proof of freshness: {0}")]
    Gate(String),
    /// The view answered differently from the base table.
    #[error("the view answered differently: {0}")]
    Mismatch(String),
    /// The address of the backend leads to another server than the one whose log is read.
    #[error("the connection leads to another server than the log's")]
    OtherServer,
    /// The process is stopping, or this proxy no longer leads.
    #[error("stopped")]
    Stopped,
}

impl ViewsError {
    /// A stable name for metrics and admin tables.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Server { .. } => "server_error",
            Self::Connection(_) => "connection",
            Self::Late { .. } => "late",
            Self::Unsupported(_) => "unsupported",
            Self::TooLarge { .. } => "too_large",
            Self::Changed => "base_changed",
            Self::Gate(_) => "gate",
            Self::Mismatch(_) => "mismatch",
            Self::OtherServer => "other_server",
            Self::Stopped => "stopped",
        }
    }

    /// The MySQL error number, when the server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Says nothing about what was asked: lock waits, timeouts, kills, a server that goes down.
    pub fn is_passing(&self) -> bool {
        self.code().is_some_and(is_passing)
    }

    /// A lock wait or deadlock: the statement had no effect and may run again.
    pub fn is_lock(&self) -> bool {
        matches!(self.code(), Some(1205 | 1213))
    }
}

/// Whether an error number of MySQL says nothing about the statement itself.
pub fn is_passing(code: u16) -> bool {
    matches!(code, 1205 | 1213 | 1317 | 3024 | 1053 | 2006 | 2013)
}

impl From<mysql_async::Error> for ViewsError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => Self::Server {
                code: error.code,
                message: error.message,
            },
            other => Self::Connection(other.to_string()),
        }
    }
}

/// What a statement without rows did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ran {
    /// Affected rows as the server counts them.
    pub affected: u64,
    /// Warnings it left.
    pub warnings: u16,
    /// `Records:` and `Duplicates:` of INSERT .. SELECT, when the server said so.
    pub records: Option<(u64, u64)>,
}

/// The fields of a result column that do not depend on the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnKind {
    /// Wire type code.
    pub wire_type: u8,
    /// Character set number.
    pub character_set: u16,
    /// Decimals as described.
    pub decimals: u8,
    /// Whether it is unsigned.
    pub unsigned: bool,
}

/// A result held whole, in the text protocol's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its columns.
    pub columns: Vec<ColumnKind>,
    /// Its rows; `None` is NULL.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Warnings it left.
    pub warnings: u16,
}

/// A control connection. Dropped when anything about its state is in doubt.
pub struct Link {
    conn: Conn,
    server_uuid: String,
}

impl Link {
    /// Takes a fresh connection of the control plane, and asks which server it leads to.
    ///
    /// # Errors
    /// From the connection. A server without such an identity is not an error.
    pub async fn new(conn: Conn) -> Result<Self, ViewsError> {
        let mut link = Self {
            conn,
            server_uuid: String::new(),
        };
        link.server_uuid = match link.texts("SELECT @@server_uuid", SHORT).await {
            Ok(rows) => rows.into_iter().flatten().flatten().next(),
            Err(ViewsError::Server { code: 1193, .. }) => None,
            Err(error) => return Err(error),
        }
        .unwrap_or_default();
        Ok(link)
    }

    /// `@@server_uuid` of the server; empty when it has none.
    pub fn server_uuid(&self) -> &str {
        &self.server_uuid
    }

    /// The server's number for this connection.
    pub fn id(&self) -> u32 {
        self.conn.id()
    }

    /// Runs a statement for its effect.
    ///
    /// # Errors
    /// From the server or the connection, or later than `max`.
    pub async fn run(&mut self, sql: &str, max: Duration) -> Result<Ran, ViewsError> {
        within("a statement", max, async {
            self.conn.query_drop(sql).await?;
            Ok(Ran {
                affected: self.conn.affected_rows(),
                warnings: self.conn.get_warnings(),
                records: parse_records(&self.conn.info()),
            })
        })
        .await
    }

    /// Reads a whole result of at most `rows_max` rows and `bytes_max` bytes; `None` when it is larger. After `None` the
    /// connection still holds the rest of the result: drop it.
    ///
    /// # Errors
    /// From the server or the connection, or later than `max`.
    pub async fn answer(
        &mut self,
        sql: &[u8],
        limits: (usize, usize),
        max: Duration,
    ) -> Result<Option<Answer>, ViewsError> {
        let (rows_max, bytes_max) = limits;
        within("a query", max, async {
            let mut result = self.conn.query_iter(sql).await?;
            let columns = result
                .columns_ref()
                .iter()
                .map(|column| ColumnKind {
                    wire_type: column.column_type() as u8,
                    character_set: column.character_set(),
                    decimals: column.decimals(),
                    unsigned: column
                        .flags()
                        .contains(mysql_async::consts::ColumnFlags::UNSIGNED_FLAG),
                })
                .collect();
            let mut rows = Vec::new();
            let mut bytes = 0;
            while let Some(row) = result.next().await? {
                let cells: Vec<Option<Vec<u8>>> = row.unwrap().into_iter().map(cell).collect();
                bytes += cells.iter().flatten().map(Vec::len).sum::<usize>() + 32 * cells.len();
                if rows.len() >= rows_max || bytes > bytes_max {
                    return Ok(None);
                }
                rows.push(cells);
            }
            drop(result);
            Ok(Some(Answer {
                columns,
                rows,
                warnings: self.conn.get_warnings(),
            }))
        })
        .await
    }

    /// The rows of a small query as text; NULL is `None`, bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// From the server or the connection, later than `max`, or more than 100,000 rows.
    pub async fn texts(
        &mut self,
        sql: &str,
        max: Duration,
    ) -> Result<Vec<Vec<Option<String>>>, ViewsError> {
        let answer = self
            .answer(sql.as_bytes(), (100_000, 64 << 20), max)
            .await?
            .ok_or_else(|| ViewsError::Connection("a control query was too large".into()))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(answer
            .rows
            .into_iter()
            .map(|row| row.into_iter().map(|cell| cell.map(text)).collect())
            .collect())
    }

    /// The one number a query yields.
    ///
    /// # Errors
    /// As [`Link::texts`]; also when it yields none.
    pub async fn number(&mut self, sql: &str, max: Duration) -> Result<u64, ViewsError> {
        let rows = self.texts(sql, max).await?;
        rows.into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten())
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ViewsError::Connection("a control query gave no number".into()))
    }

    /// The warnings of the last statement: number and words.
    ///
    /// # Errors
    /// As [`Link::texts`].
    pub async fn warnings(&mut self) -> Result<Vec<(u16, String)>, ViewsError> {
        let rows = self.texts("SHOW WARNINGS", SHORT).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let mut row = row.into_iter().skip(1);
                let code = row.next().flatten()?.parse().ok()?;
                Some((code, row.next().flatten().unwrap_or_default()))
            })
            .collect())
    }

    /// Puts the session in the state that builds run in: the one accepted sql_mode, UTC unless the definition has a time
    /// zone, no offload, short waits for locks, and the isolation level of `reads`.
    ///
    /// # Errors
    /// From the server or the connection.
    pub async fn settle(&mut self, env: &ViewEnv, reads: ChunkReads) -> Result<(), ViewsError> {
        self.run(&settle_sql(env, reads), SHORT).await?;
        let collation = env.collation_connection.as_deref().unwrap_or(COLLATION);
        let names = format!("SET NAMES utf8mb4 COLLATE {}", literal(collation));
        if env.collation_connection.is_none() {
            // A server without this collation has another default of utf8mb4; no expression depends on it then.
            if self.run(&names, SHORT).await.is_err() {
                self.run("SET NAMES utf8mb4", SHORT).await?;
            }
        } else {
            self.run(&names, SHORT).await?;
        }
        self.no_offload().await
    }

    /// Keeps every statement of this session on InnoDB.
    ///
    /// # Errors
    /// From the server or the connection; a server without the variable has no secondary engine.
    pub async fn no_offload(&mut self) -> Result<(), ViewsError> {
        match self
            .run("SET SESSION use_secondary_engine=OFF", SHORT)
            .await
        {
            Err(ViewsError::Server { code: 1193, .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Says goodbye; errors do not matter any more.
    pub async fn close(self) {
        let _ = tokio::time::timeout(SHORT, self.conn.disconnect()).await;
    }
}

/// How a chunk reads the base table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkReads {
    /// Consistent reads that lock nothing. Enough where a build counts only if the base table did not change at all from
    /// its start to its end: then every chunk saw the same rows.
    #[default]
    Unlocked,
    /// Locking reads. Makes writers wait, and a writer that meets a chunk's rows in another order can be chosen as the
    /// victim of a deadlock: seen within seconds.
    Locking,
}

impl ChunkReads {
    fn isolation(self) -> &'static str {
        match self {
            Self::Unlocked => "READ-COMMITTED",
            Self::Locking => "REPEATABLE-READ",
        }
    }
}

fn settle_sql(env: &ViewEnv, reads: ChunkReads) -> String {
    format!(
        "SET SESSION autocommit=1, sql_mode={}, time_zone={}, transaction_isolation='{}', \
         lock_wait_timeout={LOCK_WAIT_S}, innodb_lock_wait_timeout={LOCK_WAIT_S}, max_execution_time=0, \
         div_precision_increment=4, default_week_format=0, lc_time_names='en_US', sql_select_limit=DEFAULT, \
         sql_big_selects=1, sql_safe_updates=0, windowing_use_high_precision=1",
        literal(DEFAULT_SQL_MODE),
        literal(env.time_zone.as_deref().unwrap_or("+00:00")),
        reads.isolation(),
    )
}

/// Runs `work` for at most `max`.
async fn within<T>(
    what: &'static str,
    max: Duration,
    work: impl Future<Output = Result<T, ViewsError>>,
) -> Result<T, ViewsError> {
    tokio::time::timeout(max, work)
        .await
        .unwrap_or(Err(ViewsError::Late {
            what,
            ms: u64::try_from(max.as_millis()).unwrap_or(u64::MAX),
        }))
}

fn cell(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        // The text protocol has only bytes; anything else would be a driver's conversion.
        other => Some(other.as_sql(true).into_bytes()),
    }
}

/// Reads `Records: 3  Duplicates: 1  Warnings: 0`.
fn parse_records(info: &str) -> Option<(u64, u64)> {
    let after = |name: &str| -> Option<u64> {
        let rest = info.split_once(name)?.1.trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    };
    Some((after("Records:")?, after("Duplicates:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        assert_eq!(
            parse_records("Records: 31  Duplicates: 2  Warnings: 0"),
            Some((31, 2))
        );
        assert_eq!(parse_records(""), None);
        assert_eq!(parse_records("Records: x"), None);
    }

    #[test]
    fn sessions_are_settled_by_one_statement() {
        insta::assert_snapshot!(settle_sql(&ViewEnv::default(), ChunkReads::Unlocked), @r"SET SESSION autocommit=1, sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone='+00:00', transaction_isolation='READ-COMMITTED', lock_wait_timeout=1, innodb_lock_wait_timeout=1, max_execution_time=0, div_precision_increment=4, default_week_format=0, lc_time_names='en_US', sql_select_limit=DEFAULT, sql_big_selects=1, sql_safe_updates=0, windowing_use_high_precision=1");
        let berlin = ViewEnv {
            time_zone: Some("+02:00".into()),
            collation_connection: None,
        };
        let sql = settle_sql(&berlin, ChunkReads::Locking);
        assert!(sql.contains("time_zone='+02:00'") && sql.contains("REPEATABLE-READ"));
    }

    #[test]
    fn locks_are_told_from_other_errors() {
        let server = |code| ViewsError::Server {
            code,
            message: String::new(),
        };
        assert!(server(1205).is_lock() && server(1213).is_lock());
        assert!(!server(1146).is_lock() && !ViewsError::Changed.is_lock());
    }
}
