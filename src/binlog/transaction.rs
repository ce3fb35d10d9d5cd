//! Gathers events into transactions and says what each of them touches. Pure. Keeps names of tables, never rows.

use std::collections::HashMap;

use super::changes::Touch;
use super::decode::LogEvent;
use super::position::{Gtid, TableKey};
use super::statement::{Statement, classify};

/// Numbers of tables known at a time; a map event stands before its rows events in the same transaction.
const NAMES_MAX: usize = 4096;
/// A transaction that touches more tables than this touches everything.
const TABLES_MAX: usize = 4096;
/// Prepared XA branches remembered; one that is not remembered touches everything when it commits.
const PREPARED_MAX: usize = 1024;
/// Changes here may be changes of privileges.
const SYSTEM_SCHEMA: &[u8] = b"mysql";

/// A transaction that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its identity.
    pub gtid: Option<Gtid>,
    /// What became visible with it.
    pub touch: Touch,
}

/// Why the log cannot be trusted to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The server started again, or its logs were reset.
    Restarted,
    /// The server says that its log has a hole.
    Incident,
}

/// The state between events.
#[derive(Default)]
pub struct Transactions {
    names: HashMap<u64, Name>,
    gtid: Option<Gtid>,
    gtid_seen: bool,
    open: bool,
    xa: Option<Box<str>>,
    tables: HashMap<TableKey, bool>,
    rest: Touch,
    prepared: HashMap<Box<str>, Touch>,
}

struct Name {
    schema: Box<[u8]>,
    table: Box<[u8]>,
    key: TableKey,
    system: bool,
}

impl Transactions {
    /// Takes the next event; answers a transaction when it ended with it.
    ///
    /// # Errors
    /// The log does not continue.
    pub fn event(&mut self, event: &LogEvent<'_>) -> Result<Option<Ended>, Broken> {
        match event {
            LogEvent::Gtid(gtid) => {
                // The one before should have ended; what it collected must not be lost.
                let unfinished = self.unfinished();
                self.gtid.clone_from(gtid);
                self.gtid_seen = true;
                return Ok(unfinished);
            }
            LogEvent::Query(query) => return Ok(self.statement(classify(query))),
            LogEvent::TableMap { id, schema, table } => self.map(*id, schema, table),
            LogEvent::Rows { id, silent_cascade } => self.rows(*id, *silent_cascade),
            LogEvent::Xid | LogEvent::XaPrepare { one_phase: true } => return Ok(Some(self.end())),
            LogEvent::XaPrepare { one_phase: false } => return Ok(Some(self.prepare())),
            LogEvent::FormatDescription {
                at_startup: true, ..
            } => return Err(Broken::Restarted),
            LogEvent::Incident => return Err(Broken::Incident),
            LogEvent::Opaque => {
                self.rest = Touch::all();
                if !self.open {
                    return Ok(Some(self.end()));
                }
            }
            LogEvent::FormatDescription { .. }
            | LogEvent::Rotate { .. }
            | LogEvent::Heartbeat
            | LogEvent::Stop
            | LogEvent::Harmless => {}
        }
        Ok(None)
    }

    /// Whether events of a transaction that has not ended have been taken.
    pub fn is_open(&self) -> bool {
        self.open || self.gtid_seen
    }

    /// Forgets the transaction in progress (it will be read again), but not prepared branches.
    pub fn forget_open(&mut self) {
        self.names.clear();
        self.close();
    }

    fn statement(&mut self, statement: Statement) -> Option<Ended> {
        match statement {
            Statement::Begin => self.open = true,
            Statement::Within => {}
            Statement::End => return Some(self.end()),
            Statement::XaStart(id) => {
                self.open = true;
                self.xa = Some(id);
            }
            Statement::XaCommit(id) => {
                let touch = self.prepared.remove(&id).unwrap_or_else(Touch::all);
                self.rest.add(&touch);
                return Some(self.end());
            }
            Statement::XaRollback(id) => {
                self.prepared.remove(&id);
                return Some(self.end());
            }
            Statement::Touches(touch) => {
                if !touch.definitions.is_empty() || !touch.schemas.is_empty() || touch.everything {
                    self.names.clear();
                }
                self.rest.add(&touch);
                // Outside BEGIN a statement is a transaction of its own.
                if !self.open {
                    return Some(self.end());
                }
            }
        }
        None
    }

    fn map(&mut self, id: u64, schema: &[u8], table: &[u8]) {
        if let Some(name) = self.names.get(&id)
            && *name.schema == *schema
            && *name.table == *table
        {
            return;
        }
        let (Ok(schema_text), Ok(table_text)) =
            (std::str::from_utf8(schema), std::str::from_utf8(table))
        else {
            self.names.remove(&id);
            return;
        };
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let name = Name {
            schema: schema.into(),
            table: table.into(),
            key: TableKey::new(schema_text, table_text),
            system: schema.eq_ignore_ascii_case(SYSTEM_SCHEMA),
        };
        self.names.insert(id, name);
    }

    fn rows(&mut self, id: u64, silent_cascade: bool) {
        let Some(name) = self.names.get(&id) else {
            // More tables in one statement than names are kept, or a map that could not be read.
            self.rest = Touch::all();
            return;
        };
        self.rest.grants |= name.system;
        if let Some(silent) = self.tables.get_mut(&name.key) {
            *silent |= silent_cascade;
        } else if self.tables.len() < TABLES_MAX {
            self.tables.insert(name.key.clone(), silent_cascade);
        } else {
            self.rest.everything = true;
        }
    }

    fn prepare(&mut self) -> Ended {
        let id = self.xa.take();
        let Ended { gtid, touch } = self.end();
        match id {
            Some(id) if self.prepared.len() < PREPARED_MAX => {
                self.prepared.insert(id, touch);
            }
            // Not remembered: its commit will touch everything.
            _ => {}
        }
        Ended {
            gtid,
            touch: Touch::default(),
        }
    }

    fn unfinished(&mut self) -> Option<Ended> {
        let collected = !self.tables.is_empty() || !self.rest.is_empty();
        collected.then(|| self.end())
    }

    fn end(&mut self) -> Ended {
        let mut touch = std::mem::take(&mut self.rest);
        for (key, silent) in self.tables.drain() {
            if silent {
                touch.cascades.push(key.clone());
            }
            touch.rows.push(key);
        }
        let gtid = self.gtid.take();
        self.close();
        Ended { gtid, touch }
    }

    fn close(&mut self) {
        self.gtid = None;
        self.gtid_seen = false;
        self.open = false;
        self.xa = None;
        self.tables.clear();
        self.rest = Touch::default();
    }
}

#[cfg(test)]
#[path = "transaction/tests.rs"]
mod tests;
