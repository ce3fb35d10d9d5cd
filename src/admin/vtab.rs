//! The tables of the catalog as SQLite virtual tables: read-only, over one snapshot per statement.
//! The one file of the room with `unsafe`: rusqlite's virtual table traits are unsafe because SQLite casts their structs.
//! Never lets a panic cross into SQLite: that would end the process.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::ffi::{sqlite3_vtab, sqlite3_vtab_cursor};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConnection,
    VTabCursor, VTabKind,
};
use rusqlite::{Connection, Error, Result, ToSql};

use super::bounds::Bounds;
use super::catalog::{self, Bounded, Table, Type};
use super::sources::Sources;
use super::value::{Rows, Value};

/// The module's name in `CREATE VIRTUAL TABLE .. USING`.
const MODULE: &str = "tidegate_catalog";

/// Readings of one table with different bounds that one statement may hold: a join could ask for new ones at each row.
const BOUNDS_MAX: usize = 4;

/// Bits of the plan number: the first argument is both bounds, or the lower one; the next the upper one.
const PLAN_AT: c_int = 1;
const PLAN_FROM: c_int = 2;
const PLAN_TO: c_int = 4;
/// Above them stands the column of a lookup, counted from 1.
const PLAN_COLUMN: c_int = 8;

/// Rows of one table, read once per statement, with the lookups that the statement needed.
struct Snapshot {
    rows: Rows,
    /// Column -> key -> row numbers. Made when a statement first compares that column for equality.
    lookups: Mutex<HashMap<usize, Arc<Lookup>>>,
}

type Lookup = HashMap<Key, Vec<u32>>;

/// What a snapshot is of: schema, table, and how much of it.
type Taken = (&'static str, &'static str, Bounds);

/// What equal values share. Values that are not equal may share it too: SQLite checks every row again.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(u64),
    Text(String),
}

impl Key {
    fn number(number: f64) -> Self {
        // 0.0 and -0.0 are equal but have different bits.
        Self::Number(if number == 0.0 { 0 } else { number.to_bits() })
    }

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Int(number) => Some(Self::number(*number as f64)),
            Value::Real(number) => Some(Self::number(*number)),
            Value::Text(text) => Some(Self::Text(text.to_ascii_lowercase())),
        }
    }
}

/// What the virtual tables of one connection share: where rows come from, and the snapshots of the running statement.
pub struct Snapshots {
    sources: Sources,
    taken: Mutex<HashMap<Taken, Arc<Snapshot>>>,
}

impl Snapshots {
    /// No snapshots yet.
    pub fn new(sources: Sources) -> Arc<Self> {
        Arc::new(Self {
            sources,
            taken: Mutex::new(HashMap::new()),
        })
    }

    /// Forgets the snapshots; the next statement reads afresh.
    pub fn clear(&self) {
        self.taken.lock().clear();
    }

    fn get(&self, table: &'static Table, mut bounds: Bounds) -> Result<Arc<Snapshot>> {
        let bounded = bounded(table);
        {
            let taken = self.taken.lock();
            let of_table = taken.keys().filter(|(_, name, _)| *name == table.name);
            if bounded.is_none() || of_table.count() >= BOUNDS_MAX {
                bounds = Bounds::default();
            }
            if let Some(snapshot) = taken.get(&(table.schema, table.name, bounds)) {
                return Ok(snapshot.clone());
            }
        }
        let name = (table.schema, table.name, bounds);
        let read = || match bounded {
            Some(bounded) => (bounded.rows)(&self.sources, bounds),
            None => Ok((table.rows)(&self.sources)),
        };
        let rows = catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| Error::ModuleError(format!("rows of {} cannot be read", table.name)))?
            .map_err(Error::ModuleError)?;
        let rows = fitted(table, rows);
        let snapshot = Arc::new(Snapshot {
            rows,
            lookups: Mutex::new(HashMap::new()),
        });
        self.taken.lock().insert(name, snapshot.clone());
        Ok(snapshot)
    }
}

fn bounded(table: &Table) -> Option<&'static Bounded> {
    catalog::BOUNDED
        .iter()
        .find(|bounded| std::ptr::eq(bounded.table, table))
}

/// Cuts text that is longer than its column says: names come from clients.
fn fitted(table: &Table, mut rows: Rows) -> Rows {
    let limits: Vec<(usize, usize)> = table
        .columns
        .iter()
        .enumerate()
        .filter_map(|(at, column)| Some((at, usize::try_from(column.kind.characters_max()?).ok()?)))
        .collect();
    let is_long = |value: &Value, max| matches!(value, Value::Text(text) if text.len() > max);
    let long = rows.iter().any(|row| {
        limits
            .iter()
            .any(|(at, max)| row.get(*at).is_some_and(|value| is_long(value, *max)))
    });
    if long {
        for row in Arc::make_mut(&mut rows) {
            for (at, max) in &limits {
                if let Some(value) = row.get_mut(*at)
                    && is_long(value, *max)
                {
                    *value = std::mem::replace(value, Value::Null).cut(*max);
                }
            }
        }
    }
    rows
}

impl Snapshot {
    fn lookup(&self, column: usize) -> Arc<Lookup> {
        let mut lookups = self.lookups.lock();
        if let Some(lookup) = lookups.get(&column) {
            return lookup.clone();
        }
        let mut lookup = Lookup::new();
        for (at, row) in self.rows.iter().enumerate() {
            let key = row.get(column).and_then(Key::of);
            if let (Some(key), Ok(at)) = (key, u32::try_from(at)) {
                lookup.entry(key).or_default().push(at);
            }
        }
        let lookup = Arc::new(lookup);
        lookups.insert(column, lookup.clone());
        lookup
    }
}

/// One virtual table.
#[repr(C)]
pub struct CatalogTable<'vtab> {
    base: sqlite3_vtab,
    table: &'static Table,
    snapshots: Arc<Snapshots>,
    lives_for: PhantomData<&'vtab ()>,
}

/// One scan of a table: all rows, or those that a lookup named.
#[repr(C)]
pub struct CatalogCursor<'vtab> {
    base: sqlite3_vtab_cursor,
    table: &'static Table,
    snapshots: Arc<Snapshots>,
    rows: Rows,
    chosen: Option<Vec<u32>>,
    at: usize,
    lives_for: PhantomData<&'vtab ()>,
}

// SAFETY: repr(C) with `sqlite3_vtab` first, as the trait asks; SQLite alone creates and frees it, on one thread.
unsafe impl<'vtab> VTab<'vtab> for CatalogTable<'vtab> {
    type Aux = Arc<Snapshots>;
    type Cursor = CatalogCursor<'vtab>;

    fn connect(
        _: &mut VTabConnection,
        aux: Option<&Self::Aux>,
        _: &[u8],
        database: &[u8],
        name: &[u8],
        _: &[&[u8]],
    ) -> Result<(Cow<'static, CStr>, Self)> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let table = catalog::find(&text(database), &text(name))
            .ok_or_else(|| Error::ModuleError("no such table in the catalog".to_owned()))?;
        let snapshots = aux
            .cloned()
            .ok_or_else(|| Error::ModuleError("no sources".to_owned()))?;
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("\"{}\" {}", column.name, column.kind.declaration()))
            .collect();
        let declaration = CString::new(format!("CREATE TABLE x({})", columns.join(", ")))?;
        let table = Self {
            base: sqlite3_vtab::default(),
            table,
            snapshots,
            lives_for: PhantomData,
        };
        Ok((Cow::Owned(declaration), table))
    }

    fn best_index(&self, info: &mut IndexInfo) -> Result<bool> {
        let time = bounded(self.table).and_then(|bounded| c_int::try_from(bounded.column).ok());
        let (mut moment, mut from, mut to, mut equal) = (None, None, None, None);
        for (at, constraint) in info.constraints().enumerate() {
            if !constraint.is_usable() || constraint.column() < 0 {
                continue;
            }
            let here = Some((at, constraint.column()));
            let in_time = time == Some(constraint.column());
            match constraint.operator() {
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ if in_time => moment = here,
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ if equal.is_none() => equal = here,
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE
                | IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT
                    if in_time && from.is_none() =>
                {
                    from = here;
                }
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE
                | IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT
                    if in_time && to.is_none() =>
                {
                    to = here;
                }
                _ => {}
            }
        }
        // Another collation could call values equal that our keys hold apart.
        equal = equal.filter(|(at, _)| matches!(info.collation(*at), Ok("BINARY" | "NOCASE")));
        let binary = |(at, _): &(usize, c_int)| matches!(info.collation(*at), Ok("BINARY"));
        moment = moment.filter(binary);
        // One moment says more than two bounds.
        from = from.filter(|bound| moment.is_none() && binary(bound));
        to = to.filter(|bound| moment.is_none() && binary(bound));
        let mut plan = 0;
        let mut argument = 0;
        for (chosen, bits) in [
            (moment, PLAN_AT),
            (from, PLAN_FROM),
            (to, PLAN_TO),
            (
                equal,
                equal.map_or(0, |(_, column)| (column + 1) * PLAN_COLUMN),
            ),
        ] {
            if let Some((at, _)) = chosen {
                argument += 1;
                info.constraint_usage(at).set_argv_index(argument);
                plan |= bits;
            }
        }
        info.set_idx_num(plan);
        let (cost, rows) = match (equal, plan) {
            (Some(_), _) => (20.0, 10),
            (None, 0) => (10_000.0, 10_000),
            _ => (5_000.0, 5_000),
        };
        info.set_estimated_cost(cost);
        info.set_estimated_rows(rows);
        Ok(true)
    }

    fn open(&'vtab mut self) -> Result<Self::Cursor> {
        Ok(CatalogCursor {
            base: sqlite3_vtab_cursor::default(),
            table: self.table,
            snapshots: self.snapshots.clone(),
            rows: Arc::new(Vec::new()),
            chosen: None,
            at: 0,
            lives_for: PhantomData,
        })
    }
}

impl<'vtab> CreateVTab<'vtab> for CatalogTable<'vtab> {
    const KIND: VTabKind = VTabKind::Default;
}

impl CatalogCursor<'_> {
    fn row(&self) -> Option<&super::value::Row> {
        let at = match &self.chosen {
            Some(chosen) => *chosen.get(self.at)? as usize,
            None => self.at,
        };
        self.rows.get(at)
    }

    /// The rows whose column may equal the argument; None when only a full scan can tell.
    fn choose(&self, snapshot: &Snapshot, column: usize, wanted: ValueRef<'_>) -> Option<Vec<u32>> {
        let numeric = matches!(
            self.table.columns.get(column)?.kind,
            Type::BigInt | Type::Double | Type::Bool
        );
        let key = match (wanted, numeric) {
            // Nothing equals NULL.
            (ValueRef::Null, _) => return Some(Vec::new()),
            (ValueRef::Integer(number), true) => Key::number(number as f64),
            (ValueRef::Real(number), true) => Key::number(number),
            (ValueRef::Text(text), false) => {
                Key::Text(std::str::from_utf8(text).ok()?.to_ascii_lowercase())
            }
            _ => return None,
        };
        Some(
            snapshot
                .lookup(column)
                .get(&key)
                .cloned()
                .unwrap_or_default(),
        )
    }
}

// SAFETY: repr(C) with `sqlite3_vtab_cursor` first, as the trait asks; SQLite alone creates and frees it, on one thread.
unsafe impl VTabCursor for CatalogCursor<'_> {
    fn filter(&mut self, index: c_int, _: Option<&str>, args: &Filters<'_>) -> Result<()> {
        let mut given = args.iter().peekable();
        let mut text = |bit: c_int| match given.next_if(|_| index & bit != 0) {
            Some(ValueRef::Text(text)) => std::str::from_utf8(text).ok(),
            _ => None,
        };
        let bounds = match text(PLAN_AT) {
            Some(moment) => Bounds::of_texts(Some(moment), Some(moment)),
            None => Bounds::of_texts(text(PLAN_FROM), text(PLAN_TO)),
        };
        let snapshot = self.snapshots.get(self.table, bounds)?;
        self.rows = snapshot.rows.clone();
        self.at = 0;
        self.chosen = match (usize::try_from(index / PLAN_COLUMN - 1), given.next()) {
            (Ok(column), Some(wanted)) => self.choose(&snapshot, column, wanted),
            _ => None,
        };
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.row().is_none()
    }

    fn column(&self, ctx: &mut Context, column: c_int) -> Result<()> {
        let value = usize::try_from(column)
            .ok()
            .and_then(|column| self.row()?.get(column))
            .unwrap_or(&Value::Null);
        ctx.set_result(value)
    }

    fn rowid(&self) -> Result<i64> {
        Ok(i64::try_from(self.at).unwrap_or(i64::MAX))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Puts every table of the catalog into a new connection. Unqualified names are looked up in `first` before the other
/// schema: that is how a default schema works here.
///
/// # Errors
/// SQLite's own, when a declaration is wrong or memory is short.
pub fn attach(db: &Connection, snapshots: &Arc<Snapshots>, first: &str) -> Result<()> {
    let module = const { &Module::<CatalogTable<'static>>::read_only_module() };
    db.create_module(MODULE, module, Some(snapshots.clone()))?;
    let mut schemas = [catalog::SCHEMA, catalog::INFORMATION_SCHEMA];
    schemas.sort_by_key(|schema| *schema != first);
    for schema in schemas {
        db.execute_batch(&format!("ATTACH ':memory:' AS {schema}"))?;
        for table in catalog::all().filter(|table| table.schema == schema) {
            let name = table.name;
            db.execute_batch(&format!(
                "CREATE VIRTUAL TABLE {schema}.{name} USING {MODULE}"
            ))?;
        }
    }
    Ok(())
}

/// Bytes that SQLite holds now, in the whole process.
pub fn sqlite_bytes() -> u64 {
    // SAFETY: reads one counter of the library; no pointers.
    u64::try_from(unsafe { rusqlite::ffi::sqlite3_memory_used() }).unwrap_or(0)
}
