//! Fills one storage table from its base table by primary key ranges, sized by time. Never decides whether the result may
//! be used: that is for whoever knows that the base table did not change meanwhile.
//!
//! Ranges are added up in a temporary table, which is not logged, and copied when all are in: a group that occurs in every
//! range would otherwise go through the binary log once for each (a view of 13,000 groups over a million rows took 130 MB).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::connection::{ChunkReads, Link, SHORT, ViewsError};
use super::definition::{Definition, MeasureFunction, StoredColumn};
use super::keyset::{Bound, Keyset};
use super::storage;

/// Rows of the first chunk; the following ones are sized by what it took.
const CHUNK_ROWS_FIRST: u64 = 2_000;
/// Bounds of a chunk's rows.
const CHUNK_ROWS: (u64, u64) = (1_000, 200_000);
/// Longest time for one chunk, whatever was aimed at.
const CHUNK_MAX: Duration = Duration::from_secs(30);
/// Attempts of one chunk that meets locks.
const ATTEMPTS_MAX: u32 = 8;
/// Rows copied in one transaction.
const COPY_ROWS: u64 = 5_000;
/// A chunk whose rows fall into more groups than a quarter of their number may take this many times the time aimed at: it
/// is the number of groups added up again and again that costs.
const POOR_FOLDING_TIMES: u32 = 8;
/// The pause after a chunk is its own time divided by this: a build takes four fifths of one connection at most.
const PAUSE_DIVISOR: u32 = 4;
/// A view this small is allowed whatever the size of its base table.
pub const SMALL_ROWS: u64 = 1_000;

/// How far a build is; read by anybody at any time.
#[derive(Debug, Default)]
pub struct Progress {
    /// Chunks done.
    pub chunks: AtomicU64,
    /// Rows of the base table read.
    pub base_rows: AtomicU64,
    /// Groups stored.
    pub groups: AtomicU64,
    /// Rows of the base table by its statistics, when the build began.
    pub base_rows_estimated: AtomicU64,
    /// Chunks run again after a lock wait or deadlock.
    pub retries: AtomicU64,
}

impl Progress {
    /// Rows read of those that the statistics promised, in percent; at most 99, since they are estimates.
    pub fn percent(&self) -> u8 {
        let read = self.base_rows.load(Ordering::Relaxed);
        let all = self.base_rows_estimated.load(Ordering::Relaxed).max(1);
        u8::try_from((read.saturating_mul(100) / all).min(99)).unwrap_or(99)
    }
}

/// What a build may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Groups at most.
    pub rows_max: u64,
    /// Groups per base row at most (small views are always allowed).
    pub ratio_max: f64,
    /// Time aimed at for one chunk.
    pub chunk_target: Duration,
    /// How chunks read.
    pub reads: ChunkReads,
}

impl Limits {
    /// Groups allowed for a base table of this many rows.
    pub fn rows_allowed(&self, base_rows: u64) -> u64 {
        let by_ratio = (base_rows as f64 * self.ratio_max) as u64;
        by_ratio.max(SMALL_ROWS).min(self.rows_max)
    }
}

/// What to build, and where.
pub struct Order<'a> {
    /// What it stores.
    pub definition: &'a Definition,
    /// How to walk the base table.
    pub keyset: &'a Keyset,
    /// The storage table, quoted. It must not exist.
    pub table: &'a str,
    /// A name for temporary tables, quoted, in a schema we may create them in: the type probe, then the staging table.
    pub probe_table: &'a str,
    /// Rows of the base table by its statistics.
    pub base_rows_estimated: u64,
    /// What it may take.
    pub limits: Limits,
}

/// A filled storage table.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its columns with their types, without `gk`.
    pub columns: Vec<StoredColumn>,
    /// Columns with collation-equal but byte-different values.
    pub variant_columns: Vec<String>,
    /// Groups stored.
    pub rows: u64,
    /// Base rows they stand for.
    pub base_rows: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Chunk size that follows measured time.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rows: u64,
    target: Duration,
}

impl Pace {
    fn new(target: Duration) -> Self {
        Self {
            rows: CHUNK_ROWS_FIRST,
            target,
        }
    }

    /// Takes the time of the last chunk and its groups; halves or doubles at most, so that one odd chunk does not decide.
    fn took(&mut self, elapsed: Duration, groups: u64) {
        let target = if groups.saturating_mul(4) > self.rows {
            self.target * POOR_FOLDING_TIMES
        } else {
            self.target
        };
        let ratio = target.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        let rows = (self.rows as f64 * ratio.clamp(0.5, 2.0)) as u64;
        self.rows = rows.clamp(CHUNK_ROWS.0, CHUNK_ROWS.1);
    }
}

/// The column types the server derives for a definition's keys and measures.
///
/// # Errors
/// An expression the server refuses, or no right to make a temporary table.
pub async fn probe_columns(
    link: &mut Link,
    definition: &Definition,
    probe_table: &str,
) -> Result<Vec<StoredColumn>, ViewsError> {
    let drop = format!("DROP TEMPORARY TABLE IF EXISTS {probe_table}");
    link.run(&drop, SHORT).await?;
    link.run(&storage::probe_sql(definition, probe_table), SHORT)
        .await?;
    let rows = link
        .texts(&format!("SHOW FULL COLUMNS FROM {probe_table}"), SHORT)
        .await?;
    link.run(&drop, SHORT).await?;
    let mut columns = Vec::new();
    for row in rows {
        let mut row = row.into_iter();
        let (Some(name), Some(column_type)) = (row.next().flatten(), row.next().flatten()) else {
            return Err(ViewsError::Unsupported("a column without a type".into()));
        };
        if name == super::definition::GROUP_KEY_COLUMN {
            continue;
        }
        let collation = row.next().flatten();
        columns.push(StoredColumn {
            name,
            column_type,
            character_set: collation.as_deref().map(character_set_of),
            collation,
            nullable: row.next().flatten().as_deref() == Some("YES"),
        });
    }
    let wanted = definition
        .keys
        .iter()
        .map(|key| &key.column)
        .chain(definition.measures.iter().map(|m| &m.column));
    if !wanted.eq(columns.iter().map(|column| &column.name)) {
        return Err(ViewsError::Unsupported(
            "the server derived other columns than were asked for".into(),
        ));
    }
    Ok(columns)
}

/// The character set a collation belongs to: its name up to the first underscore.
fn character_set_of(collation: &str) -> String {
    collation.split('_').next().unwrap_or(collation).to_owned()
}

/// Makes and fills the storage table. `watch` is asked before every chunk and ends the build with its error.
/// On any error the table may exist and must be dropped.
///
/// # Errors
/// From the server, from `watch`, or when the view grows beyond its limits.
pub async fn build(
    link: &mut Link,
    order: &Order<'_>,
    progress: &Progress,
    watch: &(dyn Fn() -> Result<(), ViewsError> + Sync),
) -> Result<Built, ViewsError> {
    let started = Instant::now();
    let definition = order.definition;
    link.settle(&definition.env, order.limits.reads).await?;
    let columns = probe_columns(link, definition, order.probe_table).await?;
    refuse_types(definition, &columns)?;
    let stage = storage::create_stage_sql(definition, &columns, order.probe_table);
    link.run(&stage, SHORT).await?;
    progress
        .base_rows_estimated
        .store(order.base_rows_estimated, Ordering::Relaxed);
    fill(link, order, &columns, progress, watch).await?;
    let (rows, base_rows) = totals(link, order.probe_table).await?;
    let rows_max = order.limits.rows_allowed(base_rows);
    if rows > rows_max {
        return Err(ViewsError::TooLarge { rows, rows_max });
    }
    let variant_columns = variants(link, order, &columns).await?;
    let create = storage::create_sql(definition, &columns, order.table);
    link.run(&create, SHORT).await?;
    copy(link, order, rows, progress, watch).await?;
    let drop = format!("DROP TEMPORARY TABLE {}", order.probe_table);
    link.run(&drop, SHORT).await?;
    Ok(Built {
        columns,
        variant_columns,
        rows,
        base_rows,
        elapsed: started.elapsed(),
    })
}

/// Types whose values depend on the plan or have no exact sum must not be stored, whoever let them through.
fn refuse_types(definition: &Definition, columns: &[StoredColumn]) -> Result<(), ViewsError> {
    for column in columns {
        let kind = column.column_type.to_ascii_lowercase();
        let word = kind.split(['(', ' ']).next().unwrap_or_default();
        let inexact = matches!(
            word,
            "float" | "double" | "json" | "bit" | "geometry" | "vector"
        ) || word.ends_with("blob")
            || word.ends_with("text");
        let summed = definition
            .measures
            .iter()
            .any(|m| m.column == column.name && m.function == MeasureFunction::Sum);
        if inexact || (summed && word != "decimal") {
            return Err(ViewsError::Unsupported(format!(
                "{} would be stored as {word}",
                column.name
            )));
        }
    }
    Ok(())
}

async fn fill(
    link: &mut Link,
    order: &Order<'_>,
    columns: &[StoredColumn],
    progress: &Progress,
    watch: &(dyn Fn() -> Result<(), ViewsError> + Sync),
) -> Result<(), ViewsError> {
    let base = storage::base_sql(&order.definition.base);
    let allowed = order
        .limits
        .rows_allowed(order.base_rows_estimated.saturating_mul(2));
    let mut pace = Pace::new(order.limits.chunk_target);
    let mut after: Option<Bound> = None;
    loop {
        watch()?;
        let began = Instant::now();
        let rows = pace.rows;
        let upto = next_bound(link, order.keyset, &base, after.as_ref(), rows).await?;
        let range = order.keyset.range_sql(after.as_ref(), upto.as_ref());
        let sql = storage::chunk_sql(order.definition, columns, order.probe_table, &range);
        let ran = with_retries(link, &sql, progress, watch).await?;
        // Affected rows: 1 for a new group, 2 for one that was there.
        let (records, duplicates) = ran.records.unwrap_or((ran.affected, 0));
        let new_groups = records.saturating_sub(duplicates);
        progress.chunks.fetch_add(1, Ordering::Relaxed);
        progress.base_rows.fetch_add(rows, Ordering::Relaxed);
        let groups = progress.groups.fetch_add(new_groups, Ordering::Relaxed) + new_groups;
        if groups > allowed {
            return Err(ViewsError::TooLarge {
                rows: groups,
                rows_max: allowed,
            });
        }
        let Some(bound) = upto else { return Ok(()) };
        after = Some(bound);
        let elapsed = began.elapsed();
        pace.took(elapsed, records);
        tokio::time::sleep((elapsed / PAUSE_DIVISOR).min(order.limits.chunk_target)).await;
    }
}

/// Copies the staging table into the storage table, a part of the hashes at a time.
async fn copy(
    link: &mut Link,
    order: &Order<'_>,
    rows: u64,
    progress: &Progress,
    watch: &(dyn Fn() -> Result<(), ViewsError> + Sync),
) -> Result<(), ViewsError> {
    for range in storage::group_key_ranges(rows.div_ceil(COPY_ROWS)) {
        watch()?;
        let began = Instant::now();
        let sql = storage::copy_sql(order.probe_table, order.table, &range);
        with_retries(link, &sql, progress, watch).await?;
        tokio::time::sleep((began.elapsed() / PAUSE_DIVISOR).min(order.limits.chunk_target)).await;
    }
    let (copied, _) = totals(link, order.table).await?;
    if copied != rows {
        return Err(ViewsError::Unsupported(format!(
            "{copied} of {rows} groups were copied"
        )));
    }
    Ok(())
}

async fn next_bound(
    link: &mut Link,
    keyset: &Keyset,
    base: &str,
    after: Option<&Bound>,
    rows: u64,
) -> Result<Option<Bound>, ViewsError> {
    let found = link
        .texts(&keyset.bound_sql(base, after, rows), CHUNK_MAX)
        .await?;
    let Some(row) = found.into_iter().next() else {
        return Ok(None);
    };
    let unreadable = || ViewsError::Unsupported("a primary key value cannot be read back".into());
    let row: Option<Vec<String>> = row.into_iter().collect();
    keyset
        .bound(&row.ok_or_else(unreadable)?)
        .map(Some)
        .ok_or_else(unreadable)
}

/// Runs one chunk; a lock wait or deadlock undid it wholly, so it runs again after a random pause that grows.
async fn with_retries(
    link: &mut Link,
    sql: &str,
    progress: &Progress,
    watch: &(dyn Fn() -> Result<(), ViewsError> + Sync),
) -> Result<super::connection::Ran, ViewsError> {
    let mut attempt = 1;
    loop {
        match link.run(sql, CHUNK_MAX).await {
            Err(error) if error.is_lock() && attempt < ATTEMPTS_MAX => {
                progress.retries.fetch_add(1, Ordering::Relaxed);
                let most_ms = 20u64 << attempt;
                let pause_ms = rand::random_range(most_ms / 2..=most_ms);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                watch()?;
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn totals(link: &mut Link, table: &str) -> Result<(u64, u64), ViewsError> {
    let rows = link.texts(&storage::totals_sql(table), CHUNK_MAX).await?;
    let mut numbers = rows
        .into_iter()
        .flatten()
        .map(|cell| cell.and_then(|text| text.parse::<u64>().ok()));
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(groups), Some(base_rows)) => Ok((groups, base_rows)),
        _ => Err(ViewsError::Unsupported("totals cannot be read".into())),
    }
}

/// Text columns whose values cannot be printed exactly: keys with collation-equal members of other bytes, and every MIN or
/// MAX of such text, since storage does not hold the members of a group.
async fn variants(
    link: &mut Link,
    order: &Order<'_>,
    columns: &[StoredColumn],
) -> Result<Vec<String>, ViewsError> {
    let mut found = Vec::new();
    for column in columns.iter().filter(|c| storage::can_have_variants(c)) {
        let key = order
            .definition
            .keys
            .iter()
            .any(|key| key.column == column.name);
        let variants = if key {
            let sql = storage::variants_sql(order.probe_table, &column.name);
            link.number(&sql, CHUNK_MAX).await?
        } else {
            1
        };
        if variants > 0 {
            found.push(column.name.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_time_within_bounds() {
        let target = Duration::from_millis(50);
        let mut pace = Pace::new(target);
        pace.took(Duration::from_millis(5), 9);
        assert_eq!(pace.rows, 4_000);
        pace.took(Duration::from_millis(100), 9);
        assert_eq!(pace.rows, 2_000);
        for _ in 0..40 {
            pace.took(Duration::from_secs(5), 9);
        }
        assert_eq!(pace.rows, CHUNK_ROWS.0);
        for _ in 0..40 {
            pace.took(Duration::ZERO, 9);
        }
        assert_eq!(pace.rows, CHUNK_ROWS.1);
    }

    #[test]
    fn chunks_that_hardly_fold_grow_beyond_the_target() {
        let mut pace = Pace::new(Duration::from_millis(50));
        pace.took(Duration::from_millis(100), 1_999);
        assert_eq!(pace.rows, 4_000);
        pace.took(Duration::from_millis(100), 400);
        assert_eq!(pace.rows, 2_000);
    }

    #[test]
    fn size_is_judged_by_table_and_cap() {
        let limits = Limits {
            rows_max: 50_000,
            ratio_max: 0.05,
            chunk_target: Duration::from_millis(50),
            reads: ChunkReads::Unlocked,
        };
        assert_eq!(limits.rows_allowed(0), SMALL_ROWS);
        assert_eq!(limits.rows_allowed(100_000), 5_000);
        assert_eq!(limits.rows_allowed(100_000_000), 50_000);
    }

    #[test]
    fn character_sets_come_from_collations() {
        assert_eq!(character_set_of("utf8mb4_0900_ai_ci"), "utf8mb4");
        assert_eq!(character_set_of("binary"), "binary");
    }
}
