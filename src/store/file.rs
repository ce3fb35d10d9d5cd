//! The file itself: its tables, its version, and what makes it one that may be written. Never writes into a file that it
//! does not know to be whole and of this version.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Merge, Settings, Sums};

/// Version of the tables below; goes up with every change of them.
pub const VERSION: i32 = 1;
/// Marks the file as ours, in the place that SQLite keeps for that: "Tide".
const APPLICATION: i32 = 0x5469_6465;
/// No value of ours is longer: texts of digests end at 64 KiB. What is comes from elsewhere, and is refused.
const VALUE_BYTES_MAX: i32 = 128 * 1024;
/// How long the log of changes beside the file may stay after it was written back.
const LOG_BYTES_MAX: i64 = 4 << 20;
/// Wait for somebody else's lock, such as that of a backup.
const BUSY_MAX: Duration = Duration::from_secs(2);

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Another process writes it.
    #[error("another process has it open; give this one a history.path of its own")]
    Taken,
    /// A later version of Tidegate wrote it.
    #[error(
        "it is of version {0}, and this Tidegate knows version {VERSION}; move it away or use a newer Tidegate"
    )]
    Newer(i32),
    /// It is a database, but none of ours.
    #[error("it is a database of something else, or its tables are not ours; move it away")]
    Foreign,
    /// It is no database, or a broken one.
    #[error("it is damaged ({0}); move it away")]
    Damaged(String),
    /// Reading took too long.
    #[error("reading it takes too long; ask for fewer minutes")]
    Slow,
    /// The words of the rows take too much memory.
    #[error("its texts are too much to be read at once; ask for fewer minutes")]
    Large,
    /// SQLite could not do something.
    #[error("{0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::Slow,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl StoreError {
    /// Whether waiting will not mend it.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Newer(_) | Self::Foreign | Self::Damaged(_))
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError::System { what, error }
}

/// The tables, in the order in which they are made.
fn tables() -> Vec<String> {
    let sums: String = Sums::NAMES
        .iter()
        .map(|name| format!("{name} INTEGER NOT NULL, "))
        .collect();
    vec![
        "CREATE TABLE minute (minute INTEGER PRIMARY KEY, executions INTEGER NOT NULL, rows INTEGER NOT NULL) STRICT"
            .to_owned(),
        "CREATE TABLE digest (digest BLOB PRIMARY KEY NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, last_minute INTEGER NOT NULL) STRICT"
            .to_owned(),
        "CREATE INDEX digest_last_minute ON digest (last_minute)".to_owned(),
        format!(
            "CREATE TABLE query (minute INTEGER NOT NULL, digest BLOB NOT NULL, user TEXT NOT NULL, app TEXT NOT NULL, \
             schema_name TEXT NOT NULL, {sums}latency BLOB NOT NULL, \
             PRIMARY KEY (minute, digest, user, app, schema_name)) STRICT, WITHOUT ROWID"
        ),
    ]
}

/// An open file that is ours to write.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) db: Connection,
    /// Device and number of the file that `db` writes.
    identity: (u64, u64),
    /// Held as long as the file is written; last, so that it is let go last.
    _lock: File,
}

impl Open {
    /// Whether the path still leads to the file that is open: somebody may have moved it away.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|now| now == self.identity)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Opens the file for writing; makes it, for our eyes only, when there is none.
pub(super) fn open(settings: &Settings) -> Result<Open, StoreError> {
    let path = &settings.path;
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(system("its folder cannot be made"))?;
    }
    let lock = lock(path)?;
    let exists = fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0);
    let is_new = if exists {
        examine(path)?
    } else {
        let mut file = OpenOptions::new();
        let file = file.append(true).create(true).mode(0o600).open(path);
        drop(file.map_err(system("it cannot be made"))?);
        true
    };
    let identity = identity(path).map_err(system("it cannot be looked at"))?;
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if db.is_readonly("main")? {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        return Err(system("it cannot be written")(error));
    }
    prepare(&db, settings.merge, is_new)?;
    Ok(Open {
        db,
        identity,
        _lock: lock,
    })
}

/// Two writers would count each other's minutes twice. The lock is on a file of its own: SQLite loses its locks on the
/// database when anybody else in the process closes it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-lock");
    let mut file = OpenOptions::new();
    let file = file
        .append(true)
        .create(true)
        .mode(0o600)
        .open(PathBuf::from(beside))
        .map_err(system("its folder cannot be written"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Taken),
        Err(TryLockError::Error(error)) => Err(system("it cannot be locked")(error)),
    }
}

/// A connection that trusts nothing in the file.
pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_MAX)?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    Ok(db)
}

/// Looks at a file that is there, without writing: true when it has nothing in it yet, an error unless it is ours and whole.
fn examine(path: &Path) -> Result<bool, StoreError> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let found = schema(&db)?;
    if application == 0 && version == 0 && found.is_empty() {
        return Ok(true);
    }
    if application != APPLICATION {
        return Err(StoreError::Foreign);
    }
    if version > VERSION {
        return Err(StoreError::Newer(version));
    }
    let ours = Connection::open_in_memory()?;
    ours.execute_batch(&tables().join(";"))?;
    // Anything beside our tables could be a trigger that runs when we write.
    if version != VERSION || found != schema(&ours)? {
        return Err(StoreError::Foreign);
    }
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged(verdict));
    }
    Ok(false)
}

/// What stands in the schema, as it was written.
fn schema(db: &Connection) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let mut statement = db.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Brings a connection that will write into its state, and makes the tables of a new file, all at once.
fn prepare(db: &Connection, merge: Merge, is_new: bool) -> Result<(), StoreError> {
    if is_new {
        // Only before there are tables.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let error = io::Error::other(format!("its journal mode stays {mode}"));
        return Err(system("it cannot be written while it is read")(error));
    }
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    db.create_scalar_function(
        "merge_latency",
        2,
        FunctionFlags::SQLITE_UTF8
            | FunctionFlags::SQLITE_DETERMINISTIC
            | FunctionFlags::SQLITE_DIRECTONLY,
        move |context| {
            let bytes = |at| context.get_raw(at).as_bytes().unwrap_or_default();
            Ok(merge(bytes(0), bytes(1)))
        },
    )?;
    if is_new {
        let made = tables().join(";");
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; {made}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
        ))?;
    }
    Ok(())
}
