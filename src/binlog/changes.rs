//! What changed when: the last relevant position of every table, the epoch and the grant epoch. Pure: no IO, no clock.
//! Bounded: a table that is not remembered counts as changed at the floor, which is never below its true last change.

use std::collections::HashMap;
use std::sync::Arc;

use super::position::{Gtid, Position, TableKey};

/// The last thing that happened to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// End of the transaction (or DDL statement) in the log.
    pub position: Position,
    /// Its identity; unknown for the floor of a new epoch.
    pub gtid: Option<Gtid>,
}

/// What one transaction of the log touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// Tables whose rows changed.
    pub rows: Vec<TableKey>,
    /// Those of them whose child tables may have changed with them by foreign keys, without a trace in the log.
    pub cascades: Vec<TableKey>,
    /// Tables whose definition changed (created, altered, renamed, truncated, dropped).
    pub definitions: Vec<TableKey>,
    /// Schemas dropped or altered, lower case: every table in them counts as redefined.
    pub schemas: Vec<Arc<str>>,
    /// Not understood, or more than is worth remembering: every table counts as redefined.
    pub everything: bool,
    /// Users, roles or privileges may have changed.
    pub grants: bool,
}

impl Touch {
    /// A touch of everything, grants included: what is done with anything not understood.
    pub fn all() -> Self {
        Self {
            everything: true,
            grants: true,
            ..Self::default()
        }
    }

    /// Whether it touches nothing at all.
    pub fn is_empty(&self) -> bool {
        !self.everything
            && !self.grants
            && self.rows.is_empty()
            && self.cascades.is_empty()
            && self.definitions.is_empty()
            && self.schemas.is_empty()
    }

    /// Adds what `other` touches.
    pub fn add(&mut self, other: &Touch) {
        self.rows.extend_from_slice(&other.rows);
        self.cascades.extend_from_slice(&other.cascades);
        self.definitions.extend_from_slice(&other.definitions);
        self.schemas.extend_from_slice(&other.schemas);
        self.everything |= other.everything;
        self.grants |= other.grants;
    }
}

/// A table to watch: one that a query reads, or an ancestor of it by foreign keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    /// Which.
    pub key: TableKey,
    /// Its own rows do not matter, only what may have cascaded from it unseen, and its definition.
    pub ancestor: bool,
}

/// What is remembered of one table.
#[derive(Clone, Debug)]
struct TableState {
    last: Change,
    /// The last change that matters to tables below it; `None`: not after the floor that stood when it was first seen.
    cascade: Option<Change>,
    defined: Position,
}

/// What happened to a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Rows,
    Cascade,
    Definition,
}

/// The changes of one server's log, as far as processed.
#[derive(Debug)]
pub struct ChangeLog {
    tables: HashMap<TableKey, TableState>,
    schemas: HashMap<Arc<str>, Change>,
    tables_max: usize,
    /// Anything not remembered may have changed, rows and definition, as late as here.
    floor: Change,
    processed: Position,
    /// Every commit up to here is known to be visible to a read view opened from now on.
    visible: Position,
    last_commit: Option<Change>,
    epoch: u64,
    grant_epoch: u64,
}

impl ChangeLog {
    /// An empty log in epoch 0, in which nothing is certified. `tables_max` bounds the memory (at least 16).
    pub fn new(tables_max: usize) -> Self {
        Self {
            tables: HashMap::new(),
            schemas: HashMap::new(),
            tables_max: tables_max.max(16),
            floor: Change {
                position: Position::default(),
                gtid: None,
            },
            processed: Position::default(),
            visible: Position::default(),
            last_commit: None,
            epoch: 0,
            grant_epoch: 0,
        }
    }

    /// Begins a new epoch at `at`: nothing known before holds any more, every table may have changed as late as `at`.
    pub fn begin(&mut self, at: Position) {
        self.tables.clear();
        self.schemas.clear();
        self.floor = Change {
            position: at,
            gtid: None,
        };
        self.processed = at;
        self.visible = Position::default();
        self.last_commit = None;
        self.epoch += 1;
        self.grant_epoch += 1;
    }

    /// Records one transaction that ends at `end`.
    pub fn apply(&mut self, end: Position, gtid: Option<&Gtid>, touch: &Touch) {
        debug_assert!(end >= self.processed, "the log only grows within an epoch");
        let change = Change {
            position: end,
            gtid: gtid.cloned(),
        };
        if change.gtid.is_some() {
            self.last_commit = Some(change.clone());
        }
        if touch.grants {
            self.grant_epoch += 1;
        }
        if touch.everything {
            self.tables.clear();
            self.schemas.clear();
            self.floor = change;
        } else {
            for key in &touch.rows {
                self.touch_table(key, &change, How::Rows);
            }
            for key in &touch.cascades {
                self.touch_table(key, &change, How::Cascade);
            }
            for key in &touch.definitions {
                self.touch_table(key, &change, How::Definition);
            }
            for schema in &touch.schemas {
                self.touch_schema(schema, &change);
            }
        }
        self.advance(end);
    }

    /// The log was read up to `to` and nothing relevant stood there.
    pub fn advance(&mut self, to: Position) {
        self.processed = self.processed.max(to);
    }

    /// The last change that a reader of `key` could notice, at or below `processed()`; foreign keys to other tables aside.
    pub fn last_change(&self, key: &TableKey) -> &Change {
        self.last_of(key, self.tables.get(key).map(|state| &state.last))
    }

    /// The last change that could be noticed by who reads the table that is watched for.
    pub fn last_watched(&self, watched: &Watched) -> &Change {
        if !watched.ancestor {
            return self.last_change(&watched.key);
        }
        let state = self.tables.get(&watched.key);
        self.last_of(&watched.key, state.and_then(|state| state.cascade.as_ref()))
    }

    fn last_of<'c>(&'c self, key: &TableKey, own: Option<&'c Change>) -> &'c Change {
        let schema = self.schemas.get(key.schema());
        [own, schema]
            .into_iter()
            .flatten()
            .fold(
                &self.floor,
                |a, b| if b.position > a.position { b } else { a },
            )
    }

    /// The last position at which the definition of `key` may have changed.
    pub fn last_definition(&self, key: &TableKey) -> Position {
        let table = self
            .tables
            .get(key)
            .map_or(self.floor.position, |s| s.defined);
        let schema = self
            .schemas
            .get(key.schema())
            .map_or(self.floor.position, |c| c.position);
        table.max(schema).max(self.floor.position)
    }

    /// The first of `tables` that changed after `since`, if one did.
    pub fn first_changed<'t>(
        &self,
        tables: &'t [Watched],
        since: Position,
    ) -> Option<(&'t TableKey, &Change)> {
        tables
            .iter()
            .map(|watched| (&watched.key, self.last_watched(watched)))
            .find(|(_, change)| change.position > since)
    }

    /// The log has been read and recorded up to here.
    pub fn processed(&self) -> Position {
        self.processed
    }

    /// Moves whenever continuity of the log could not be proven; what was certified in another epoch is void.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Moves whenever users, roles or privileges may have changed.
    pub fn grant_epoch(&self) -> u64 {
        self.grant_epoch
    }

    /// Every commit up to here is visible to any read view opened from now on.
    pub fn visible(&self) -> Position {
        self.visible
    }

    /// The last transaction recorded that has an identity.
    pub fn last_commit(&self) -> Option<&Change> {
        self.last_commit.as_ref()
    }

    /// Records that every commit up to `to` has been seen visible. Ignored when it is of another epoch.
    pub fn saw_visible(&mut self, epoch: u64, to: Position) {
        if epoch == self.epoch {
            self.visible = self.visible.max(to);
        }
    }

    /// How many tables are remembered by name.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    fn touch_table(&mut self, key: &TableKey, change: &Change, how: How) {
        if !self.tables.contains_key(key) && self.tables.len() >= self.tables_max {
            self.forget_older_half();
        }
        let floor = self.floor.position;
        let state = self
            .tables
            .entry(key.clone())
            .or_insert_with(|| TableState {
                last: change.clone(),
                cascade: None,
                defined: floor,
            });
        state.last.clone_from(change);
        if how != How::Rows {
            state.cascade = Some(change.clone());
        }
        if how == How::Definition {
            state.defined = change.position;
        }
    }

    fn touch_schema(&mut self, schema: &Arc<str>, change: &Change) {
        if self.schemas.len() >= self.tables_max && !self.schemas.contains_key(schema) {
            self.forget_older_half();
        }
        self.schemas.insert(schema.clone(), change.clone());
    }

    /// Frees room by raising the floor to the median: what is dropped then counts as changed no earlier than it did.
    fn forget_older_half(&mut self) {
        let mut ends: Vec<&Change> = self.tables.values().map(|s| &s.last).collect();
        ends.extend(self.schemas.values());
        let middle = ends.len() / 2;
        if ends.is_empty() {
            return;
        }
        let (_, median, _) = ends.select_nth_unstable_by_key(middle, |c| c.position);
        let floor = (*median).clone();
        if floor.position > self.floor.position {
            self.floor = floor;
        }
        let floor = self.floor.position;
        self.tables.retain(|_, s| s.last.position > floor);
        self.schemas.retain(|_, c| c.position > floor);
    }
}

#[cfg(test)]
#[path = "changes/tests.rs"]
mod tests;
