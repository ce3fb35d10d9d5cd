//! The views that may be used now, as one snapshot that workers read without a lock, and what each has done.
//! Only the refresh task adds; any worker may mark one as stale, which takes effect at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::definition::ReadyView;
use crate::binlog::{Position, TableKey};

/// How the storage table stands to a secondary engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineUse {
    /// The table has no engine: no hint is needed.
    None,
    /// The table has an engine that must not answer: statements are pinned to InnoDB.
    Pinned,
    /// Loaded, and every sample was answered exactly by it.
    Proven(Arc<str>),
}

/// What a view has done, over all its builds.
#[derive(Debug, Default)]
pub struct Usage {
    /// Statements answered from it.
    pub hits: AtomicU64,
    /// Time those took on the view, in microseconds.
    pub view_us: AtomicU64,
    /// Time those would have taken on base tables, less the time they took, in microseconds.
    pub saved_us: AtomicU64,
    /// Times the gate did not open.
    pub gate_closed: AtomicU64,
    /// Statements the secondary engine refused.
    pub engine_refusals: AtomicU64,
    /// The secondary engine is not tried before this, in the room's ms.
    pub engine_not_before_ms: AtomicU64,
}

/// One usable build of a view.
#[derive(Debug)]
pub struct Published {
    /// What matching sees.
    pub view: ReadyView,
    /// The tables whose changes end it.
    pub tables: Vec<TableKey>,
    /// Equal to the base table at every moment from this place in the log to the base table's next change.
    pub position: Position,
    /// The log's epoch `position` belongs to.
    pub epoch: u64,
    /// Whether a secondary engine answers.
    pub engine: EngineUse,
    /// What the view has done.
    pub usage: Arc<Usage>,
    stale: AtomicBool,
}

impl Published {
    /// A fresh build.
    pub fn new(
        view: ReadyView,
        tables: Vec<TableKey>,
        proven: (Position, u64),
        engine: EngineUse,
        usage: Arc<Usage>,
    ) -> Self {
        Self {
            view,
            tables,
            position: proven.0,
            epoch: proven.1,
            engine,
            usage,
            stale: AtomicBool::new(false),
        }
    }

    /// Whether it is known not to equal its base table any more.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Marks it as not usable any more; true for the first who does.
    pub fn set_stale(&self) -> bool {
        !self.stale.swap(true, Ordering::Relaxed)
    }
}

/// The usable views by base table.
#[derive(Debug, Default)]
pub struct Ready {
    /// Moves with every change of the set.
    pub version: u64,
    by_table: HashMap<TableKey, Vec<Arc<Published>>>,
}

impl Ready {
    /// The views over a table.
    pub fn of(&self, table: &TableKey) -> &[Arc<Published>] {
        self.by_table.get(table).map_or(&[], Vec::as_slice)
    }

    /// Every view.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Published>> {
        self.by_table.values().flatten()
    }
}

/// The set and its one writer's lock.
#[derive(Debug, Default)]
pub struct Registry {
    ready: ArcSwap<Ready>,
    writing: Mutex<()>,
}

impl Registry {
    /// The present set.
    pub fn ready(&self) -> Guard<Arc<Ready>> {
        self.ready.load()
    }

    /// Puts a build in place of the view's earlier one.
    pub fn publish(&self, published: Arc<Published>) {
        let Some(table) = published.tables.first().cloned() else {
            return;
        };
        self.change(|by_table| {
            remove(by_table, published.view.id);
            by_table.entry(table).or_default().push(published);
        });
    }

    /// Takes a view out of use.
    pub fn retire(&self, id: u64) {
        let known = self.ready.load().all().any(|p| p.view.id == id);
        if known {
            self.change(|by_table| remove(by_table, id));
        }
    }

    /// Takes every view out of use.
    pub fn retire_all(&self) {
        if self.ready.load().all().next().is_some() {
            self.change(HashMap::clear);
        }
    }

    fn change(&self, edit: impl FnOnce(&mut HashMap<TableKey, Vec<Arc<Published>>>)) {
        let _one_writer = self.writing.lock();
        let present = self.ready.load();
        let mut by_table = present.by_table.clone();
        edit(&mut by_table);
        self.ready.store(Arc::new(Ready {
            version: present.version + 1,
            by_table,
        }));
    }
}

fn remove(by_table: &mut HashMap<TableKey, Vec<Arc<Published>>>, id: u64) {
    for views in by_table.values_mut() {
        for gone in views.extract_if(.., |p| p.view.id == id) {
            // Whoever still holds it must not use it either.
            gone.set_stale();
        }
    }
    by_table.retain(|_, views| !views.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::definition::{BaseTable, Definition, ViewEnv};

    fn published(id: u64, generation: u64) -> Arc<Published> {
        let base = BaseTable {
            schema: "s".into(),
            name: "t".into(),
        };
        let view = ReadyView {
            id,
            generation,
            table_sql: format!("`tidegate`.`v{id}_{generation}`").into(),
            definition: Arc::new(Definition::new(
                base,
                ["`a`".to_owned()],
                [],
                ViewEnv::default(),
            )),
            columns: Arc::default(),
            variant_columns: Arc::default(),
            rows: 1,
        };
        Arc::new(Published::new(
            view,
            vec![TableKey::new("s", "t")],
            (Position::default(), 1),
            EngineUse::None,
            Arc::default(),
        ))
    }

    #[test]
    fn a_new_build_replaces_the_old_one_and_makes_it_stale() {
        let registry = Registry::default();
        let (one, two) = (published(1, 1), published(1, 2));
        registry.publish(Arc::clone(&one));
        registry.publish(published(2, 1));
        let before = registry.ready().version;
        registry.publish(two);
        let ready = registry.ready();
        assert!(ready.version > before && one.is_stale());
        let found: Vec<u64> = ready
            .of(&TableKey::new("S", "T"))
            .iter()
            .map(|p| p.view.generation)
            .collect();
        assert_eq!(found, [1, 2]);
    }

    #[test]
    fn what_is_retired_is_stale_for_those_who_hold_it() {
        let registry = Registry::default();
        let one = published(1, 1);
        registry.publish(Arc::clone(&one));
        let version = registry.ready().version;
        registry.retire(7);
        assert_eq!(registry.ready().version, version);
        registry.retire(1);
        assert!(one.is_stale() && registry.ready().all().next().is_none());
        assert!(!one.set_stale());
    }
}
