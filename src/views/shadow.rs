//! Compares what a view answers with what the base tables answer, cell by cell, before anybody is served from it.
//! Whether the base table changed meanwhile is the caller's to prove; without that a difference means nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Answer, ColumnKind, Link, SHORT, ViewsError};
use super::observed::Proof;
use super::registry::EngineUse;
use super::secondary::{self, Engine};
use super::storage::quoted;
use crate::sql::env::SessionEnv;

/// Rows and bytes of an answer; larger ones are not compared.
const LIMITS: (usize, usize) = (200_000, 64 << 20);
/// Longest time for the client's statement on the base tables.
pub const SAMPLE_MAX: Duration = Duration::from_secs(120);
/// Bytes of a cell shown in a report of a difference. Cells are numbers and dates mostly; names may be among them, so little.
const SHOWN_BYTES_MAX: usize = 24;

/// A statement as a client sent it, with what is needed to run it as the client did.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The client's own bytes.
    pub base_sql: Vec<u8>,
    /// The rewritten statement.
    pub view_sql: Vec<u8>,
    /// The client's session variables.
    pub env: Arc<SessionEnv>,
    /// The client's default schema; empty for none.
    pub schema: String,
    /// Where it is noted that the answers were equal.
    pub proof: Arc<Proof>,
}

/// How a comparison ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Every cell is equal.
    Equal {
        /// Time on the base tables, in microseconds.
        base_us: u64,
        /// Time on the view, in microseconds.
        view_us: u64,
    },
    /// Something differs; in words, with little of the data.
    Different(String),
    /// Not compared, and why.
    Skipped(String),
}

/// Gives the session the sample's environment and default schema, and keeps it on InnoDB unless a hint says otherwise.
///
/// # Errors
/// From the server; also when the environment cannot be written as SQL.
pub async fn settle(link: &mut Link, env: &SessionEnv, schema: &str) -> Result<(), ViewsError> {
    let mirror = env
        .mirror_sql()
        .ok_or_else(|| ViewsError::Unsupported("the sample's session cannot be mirrored".into()))?;
    link.run(&mirror, SHORT).await?;
    link.run(
        &format!(
            "SET SESSION lock_wait_timeout=1, max_execution_time={}",
            SAMPLE_MAX.as_millis()
        ),
        SHORT,
    )
    .await?;
    link.no_offload().await?;
    if !schema.is_empty() {
        link.run(&format!("USE {}", quoted(schema)), SHORT).await?;
    }
    Ok(())
}

/// Runs a sample as its client did: on the base tables, on the view's InnoDB copy, and on the secondary engine if that one may answer.
/// One outcome for each of the latter two, as far as the statement takes the hints.
///
/// # Errors
/// As [`settle`] and [`compare`].
pub async fn run(
    link: &mut Link,
    sample: &Sample,
    engine: &EngineUse,
) -> Result<Vec<Compared>, ViewsError> {
    let hinted = |engine| secondary::hinted(&sample.view_sql, engine);
    let mut sqls: Vec<Vec<u8>> = match engine {
        EngineUse::None => vec![sample.view_sql.clone()],
        _ => hinted(Engine::InnoDb).into_iter().collect(),
    };
    if matches!(engine, EngineUse::Proven(_)) {
        sqls.extend(hinted(Engine::Secondary));
    }
    settle(link, &sample.env, &sample.schema).await?;
    compare(link, &sample.base_sql, &sqls).await
}

/// Runs the statement on the base tables and each of `view_sqls` on the view; one outcome for each of these.
///
/// # Errors
/// The base statement failed or the connection did; a failing view statement is a difference.
pub async fn compare(
    link: &mut Link,
    base_sql: &[u8],
    view_sqls: &[Vec<u8>],
) -> Result<Vec<Compared>, ViewsError> {
    let began = Instant::now();
    let Some(base) = link.answer(base_sql, LIMITS, SAMPLE_MAX).await? else {
        return Err(ViewsError::Unsupported(
            "a sample's answer is too large to compare".into(),
        ));
    };
    let base_us = micros(began);
    let mut outcomes = Vec::with_capacity(view_sqls.len());
    for view_sql in view_sqls {
        outcomes.push(if base.warnings == 0 {
            compare_one(link, &base, base_us, view_sql).await?
        } else {
            Compared::Skipped("the statement leaves warnings on base tables".into())
        });
    }
    Ok(outcomes)
}

async fn compare_one(
    link: &mut Link,
    base: &Answer,
    base_us: u64,
    view_sql: &[u8],
) -> Result<Compared, ViewsError> {
    let began = Instant::now();
    match link.answer(view_sql, LIMITS, SAMPLE_MAX).await {
        Ok(Some(view)) => Ok(match difference(base, &view) {
            Some(words) => Compared::Different(words),
            None => Compared::Equal {
                base_us,
                view_us: micros(began),
            },
        }),
        // The connection still holds the rest of that answer, so nothing else can be asked on it.
        Ok(None) => Err(ViewsError::Mismatch(format!(
            "{} rows on base tables, far more from the view",
            base.rows.len()
        ))),
        Err(error) if error.is_passing() => Ok(Compared::Skipped(error.to_string())),
        Err(ViewsError::Server { code, message }) => Ok(Compared::Different(format!(
            "the view's statement failed with {code}: {message}"
        ))),
        Err(other) => Err(other),
    }
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What differs between two answers, in words; `None` when they are equal. Rows may stand in another order as long as
/// they are the same rows: the order is the server's own work on equal values, and only ties can move.
pub fn difference(base: &Answer, view: &Answer) -> Option<String> {
    if base.columns.len() != view.columns.len() {
        return Some(format!(
            "{} columns on base tables, {} from the view",
            base.columns.len(),
            view.columns.len()
        ));
    }
    if let Some(at) = base
        .columns
        .iter()
        .zip(&view.columns)
        .position(|(base, view)| !same_kind(base, view))
    {
        return Some(format!("column {} has another type", at + 1));
    }
    if view.warnings != 0 {
        return Some(format!("the view leaves {} warnings", view.warnings));
    }
    if base.rows.len() != view.rows.len() {
        return Some(format!(
            "{} rows on base tables, {} from the view",
            base.rows.len(),
            view.rows.len()
        ));
    }
    if base.rows == view.rows {
        return None;
    }
    let (mut left, mut right): (Vec<_>, Vec<_>) =
        (base.rows.iter().collect(), view.rows.iter().collect());
    left.sort_unstable();
    right.sort_unstable();
    left.iter()
        .zip(&right)
        .find(|(base, view)| base != view)
        .map(|(base, view)| cell_difference(base, view))
}

fn cell_difference(base: &[Option<Vec<u8>>], view: &[Option<Vec<u8>>]) -> String {
    let shown = |cell: &Option<Vec<u8>>| match cell {
        None => "NULL".to_owned(),
        Some(bytes) => {
            let short = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
            format!("{:?}", String::from_utf8_lossy(short))
        }
    };
    match base.iter().zip(view).position(|(base, view)| base != view) {
        Some(at) => format!(
            "column {}: {} on base tables, {} from the view",
            at + 1,
            base.get(at).map(shown).unwrap_or_default(),
            view.get(at).map(shown).unwrap_or_default()
        ),
        None => "rows differ in length".to_owned(),
    }
}

/// Whether two columns are of one kind: the integer types count as one (their codes depend on the plan), decimals must
/// agree in scale, text in character set.
fn same_kind(base: &ColumnKind, view: &ColumnKind) -> bool {
    use mysql_async::consts::ColumnType::*;
    let class = |kind: &ColumnKind| match mysql_async::consts::ColumnType::try_from(kind.wire_type)
    {
        Ok(
            MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_INT24 | MYSQL_TYPE_LONG
            | MYSQL_TYPE_LONGLONG | MYSQL_TYPE_YEAR,
        ) => (1, 0),
        Ok(MYSQL_TYPE_DECIMAL | MYSQL_TYPE_NEWDECIMAL) => (2, u16::from(kind.decimals)),
        Ok(MYSQL_TYPE_FLOAT | MYSQL_TYPE_DOUBLE) => (3, 0),
        Ok(MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE) => (4, 0),
        Ok(MYSQL_TYPE_DATETIME | MYSQL_TYPE_TIMESTAMP) => (5, 0),
        Ok(MYSQL_TYPE_TIME) => (6, 0),
        Ok(MYSQL_TYPE_BIT) => (7, 0),
        Ok(MYSQL_TYPE_JSON) => (8, 0),
        Ok(MYSQL_TYPE_GEOMETRY) => (9, 0),
        _ => (10, kind.character_set),
    };
    class(base) == class(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kinds: &[(u8, u8)], rows: &[&[Option<&str>]]) -> Answer {
        Answer {
            columns: kinds
                .iter()
                .map(|(wire_type, decimals)| ColumnKind {
                    wire_type: *wire_type,
                    character_set: 63,
                    decimals: *decimals,
                    unsigned: false,
                })
                .collect(),
            rows: rows
                .iter()
                .map(|row| {
                    row.iter()
                        .map(|cell| cell.map(|text| text.as_bytes().to_vec()))
                        .collect()
                })
                .collect(),
            warnings: 0,
        }
    }

    const LONG: (u8, u8) = (3, 0);
    const LONGLONG: (u8, u8) = (8, 0);
    const DECIMAL_2: (u8, u8) = (246, 2);
    const DECIMAL_4: (u8, u8) = (246, 4);

    #[test]
    fn the_same_rows_are_equal_in_any_order_and_integer_type() {
        let base = answer(&[LONG], &[&[Some("1")], &[None], &[Some("2")]]);
        let view = answer(&[LONGLONG], &[&[None], &[Some("2")], &[Some("1")]]);
        assert_eq!(difference(&base, &view), None);
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        let base = answer(&[DECIMAL_2], &[&[Some("1.00")], &[Some("1.00")]]);
        let differs = |view: &Answer| difference(&base, view).unwrap();
        assert!(differs(&answer(&[DECIMAL_2], &[&[Some("1.00")]])).contains("1 from the view"));
        assert!(
            differs(&answer(&[DECIMAL_2], &[&[Some("1.00")], &[Some("1.0")]])).contains("column 1")
        );
        assert!(differs(&answer(&[DECIMAL_2], &[&[Some("1.00")], &[None]])).contains("NULL"));
        assert!(
            differs(&answer(&[DECIMAL_4], &[&[Some("1.00")], &[Some("1.00")]])).contains("type")
        );
        assert!(differs(&answer(&[DECIMAL_2, LONG], &[])).contains("columns"));
        let mut warned = base.clone();
        warned.warnings = 1;
        assert!(differs(&warned).contains("warnings"));
    }

    #[test]
    fn a_row_twice_is_not_two_rows_once() {
        let base = answer(&[LONG], &[&[Some("1")], &[Some("1")], &[Some("2")]]);
        let view = answer(&[LONG], &[&[Some("1")], &[Some("2")], &[Some("2")]]);
        assert!(difference(&base, &view).is_some());
    }
}
