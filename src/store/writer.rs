//! The writer thread: one transaction a minute that adds the rows and deletes what is too old or too much. Tells of
//! trouble once each time the state changes, and goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::file::{self, Open, StoreError};
use super::{Minute, Row, Settings, Shared, State, Status, Sums};

const MINUTES_A_DAY: u64 = 1_440;
/// Rows deleted in one transaction, or twice what it wrote if that is more: a backlog goes away over some minutes.
const DELETED_ROWS_MIN: u64 = 20_000;
/// Free pages are given back to the system when there are more, at most so many at once.
const FREE_PAGES_MAX: u64 = 256;
const GIVEN_BACK_MAX: u64 = 4_096;

/// Owns the connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    settings: Settings,
    shared: Arc<Shared>,
    file: Option<Open>,
    /// Minutes written since start.
    written: u64,
}

impl Writer {
    pub(super) fn new(settings: Settings, shared: Arc<Shared>) -> Self {
        Self {
            settings,
            shared,
            file: None,
            written: 0,
        }
    }

    /// Writes what comes until nobody can send any more, then closes the file.
    pub(super) fn run(mut self, minutes: &Receiver<Minute>) {
        let opened = self.open();
        self.enter(opened);
        for minute in minutes {
            self.take(&minute);
        }
        if let Some(Open { db, .. }) = self.file.take()
            && let Err((_, error)) = db.close()
        {
            tracing::warn!(path = %self.settings.path.display(), %error, "history was not closed cleanly");
        }
    }

    /// Takes one minute in: written, or counted as lost.
    pub(super) fn take(&mut self, minute: &Minute) {
        if self.shared.status.lock().state == State::Off {
            self.shared.lost.fetch_add(1, Relaxed);
            return;
        }
        let written = self.open().and_then(|()| self.write(minute));
        if written.is_err() {
            self.shared.lost.fetch_add(1, Relaxed);
        }
        // What goes wrong behind a minute that is written is trouble, but nothing is lost by it.
        let kept = written.and_then(|()| self.keep_house());
        self.enter(kept);
    }

    /// Opens the file unless it is open, and still the one at its path.
    fn open(&mut self) -> Result<(), StoreError> {
        if self
            .file
            .as_ref()
            .is_some_and(|file| !file.is_at(&self.settings.path))
        {
            tracing::warn!(path = %self.settings.path.display(), "the history file was moved away; a new one begins");
            self.file = None;
        }
        if self.file.is_none() {
            let file = file::open(&self.settings)?;
            self.file = Some(file);
            self.measure()?;
        }
        Ok(())
    }

    fn write(&mut self, minute: &Minute) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let work = file
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        add(&work, minute)?;
        prune(&work, minute, &self.settings)?;
        work.commit()?;
        self.written += 1;
        Ok(())
    }

    fn keep_house(&self) -> Result<(), StoreError> {
        if let Some(file) = &self.file {
            give_back(&file.db)?;
        }
        self.measure()
    }

    /// Brings the size and the minutes kept. Who asks for the status must not wait for the disk: it is locked at the end.
    fn measure(&self) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let measured = measured(&file.db)?;
        let mut status = self.shared.status.lock();
        (status.minutes, status.bytes) = (measured.minutes, measured.bytes);
        (status.oldest, status.newest) = (measured.oldest, measured.newest);
        status.written = self.written;
        Ok(())
    }

    /// Says what changed, once.
    fn enter(&mut self, result: Result<(), StoreError>) {
        let (state, reason) = match &result {
            Ok(()) => (State::On, String::new()),
            Err(error) if error.is_lasting() => (State::Off, error.to_string()),
            Err(error) => (State::Failing, error.to_string()),
        };
        if state == State::Off {
            self.file = None;
        }
        let before = {
            let mut status = self.shared.status.lock();
            status.is_readable = self.file.is_some();
            status.reason.clone_from(&reason);
            std::mem::replace(&mut status.state, state)
        };
        if before == state {
            return;
        }
        let path = self.settings.path.display();
        match state {
            State::On => tracing::info!(%path, "history is on"),
            State::Off => {
                tracing::error!(%path, %reason, "history is off: the file is left as it is");
            }
            _ => {
                tracing::warn!(%path, %reason, "history cannot be written; trying again every minute")
            }
        }
    }
}

/// A whole number as SQLite has it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The statement that adds a row to the one with its key.
fn upsert() -> String {
    let names = Sums::NAMES.join(", ");
    let places = vec!["?"; Sums::NAMES.len() + 6].join(", ");
    let sums: String = Sums::NAMES
        .iter()
        .map(|name| format!("{name} = {name} + excluded.{name}, "))
        .collect();
    format!(
        "INSERT INTO query (minute, digest, user, app, schema_name, {names}, latency) VALUES ({places}) \
         ON CONFLICT DO UPDATE SET {sums}latency = merge_latency(latency, excluded.latency)"
    )
}

fn add(work: &Transaction<'_>, minute: &Minute) -> Result<(), StoreError> {
    let at = stored(minute.minute);
    let executions = minute.rows.iter().map(|row| row.sums.executions);
    work.prepare_cached(
        "INSERT INTO minute (minute, executions, rows) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET executions = executions + excluded.executions, rows = rows + excluded.rows",
    )?
    .execute((
        at,
        stored(executions.fold(0, u64::saturating_add)),
        stored(minute.rows.len() as u64),
    ))?;
    let mut row_in = work.prepare_cached(&upsert())?;
    let mut text_in = work.prepare_cached(
        "INSERT INTO digest (digest, kind, text, last_minute) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET last_minute = max(last_minute, excluded.last_minute)",
    )?;
    for row in &minute.rows {
        let digest = row.digest.to_be_bytes();
        row_in.execute(rusqlite::params_from_iter(values(at, &digest, row)))?;
        if row.digest != 0 {
            text_in.execute((&digest[..], &*row.kind, &*row.text, at))?;
        }
    }
    Ok(())
}

/// The values of a row in the order of its columns.
fn values<'a>(
    minute: i64,
    digest: &'a [u8],
    row: &'a Row,
) -> impl Iterator<Item = ToSqlOutput<'a>> {
    let names = [&row.user, &row.app, &row.schema];
    let sums = row
        .sums
        .values()
        .map(|sum| ToSqlOutput::Owned(Value::Integer(stored(sum))));
    std::iter::once(ToSqlOutput::Owned(Value::Integer(minute)))
        .chain(std::iter::once(digest.into()))
        .chain(names.map(|name| (&**name).into()))
        .chain(sums)
        .chain(std::iter::once(row.latency.as_slice().into()))
}

/// Deletes minutes that are too old, then oldest minutes until the rest fits; stops after a bounded number of rows.
/// Minutes ahead of the clock are never too old: they stay until the clock has come by, or the room is used up.
fn prune(work: &Transaction<'_>, minute: &Minute, settings: &Settings) -> Result<(), StoreError> {
    let kept = u64::from(settings.keep_days).saturating_mul(MINUTES_A_DAY);
    let too_old = stored(minute.minute.saturating_sub(kept));
    let mut room = DELETED_ROWS_MIN.max(2 * minute.rows.len() as u64);
    while room > 0 {
        let oldest: Option<i64> = work
            .prepare_cached("SELECT minute FROM minute ORDER BY minute LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let Some(oldest) = oldest else { break };
        if oldest >= too_old && used_bytes(work)? <= settings.bytes_max {
            break;
        }
        let mut deleted = 1;
        for table in [
            "DELETE FROM query WHERE minute <= ?1",
            "DELETE FROM minute WHERE minute <= ?1",
            "DELETE FROM digest WHERE last_minute <= ?1",
        ] {
            deleted += work.prepare_cached(table)?.execute([oldest])? as u64;
        }
        room = room.saturating_sub(deleted);
    }
    Ok(())
}

fn number(db: &Connection, pragma: &str) -> Result<u64, StoreError> {
    let value: i64 = db.pragma_query_value(None, pragma, |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// Bytes of the file that hold something.
fn used_bytes(db: &Connection) -> Result<u64, StoreError> {
    let pages = number(db, "page_count")?.saturating_sub(number(db, "freelist_count")?);
    Ok(pages.saturating_mul(number(db, "page_size")?))
}

/// Makes the file smaller by some of its free pages, so that a flood of rows does not keep its room for ever.
fn give_back(db: &Connection) -> Result<(), StoreError> {
    if number(db, "freelist_count")? > FREE_PAGES_MAX {
        let sql = format!("PRAGMA incremental_vacuum({GIVEN_BACK_MAX})");
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([])?;
        // Each step frees a page.
        while rows.next()?.is_some() {}
    }
    Ok(())
}

/// The size and the minutes kept; nothing else is set.
fn measured(db: &Connection) -> Result<Status, StoreError> {
    let minute = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let found = db
        .prepare_cached("SELECT COUNT(*), MIN(minute), MAX(minute) FROM minute")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (minutes, oldest, newest): (i64, Option<i64>, Option<i64>) = found;
    Ok(Status {
        minutes: u64::try_from(minutes).unwrap_or(0),
        oldest: minute(oldest),
        newest: minute(newest),
        bytes: number(db, "page_count")?.saturating_mul(number(db, "page_size")?),
        ..Status::default()
    })
}

#[cfg(test)]
impl Writer {
    /// The connection, for tests that need a disk with a fault.
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.file.as_ref().map(|file| &file.db)
    }
}
