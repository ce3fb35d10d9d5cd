//! One table, its views, and every statement asked of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use tidegate::sql::env::{SELECT_SQL, SessionEnv};
use tidegate::sql::{DigestScratch, LexMode, SelectTree, StatementCache};
use tidegate::views::build::{self, Limits, Order, Progress};
use tidegate::views::connection::{ChunkReads, Link};
use tidegate::views::definition::{Definition, ReadyView};
use tidegate::views::keyset::{KeyPart, Keyset};
use tidegate::views::matching;
use tidegate::views::pattern::check::ParameterValue;
use tidegate::views::pattern::{Pattern, check_parameters};
use tidegate::views::rewrite::{Rewritten, rewrite};
use tidegate::views::schema::{COLUMNS_SQL, TABLE_SQL, TableSchema};

use super::Counts;
use super::queries::Query;
use super::random::Random;
use super::tables::Table;
use crate::support::MySql;

/// How often each accepted statement is asked, with other literals each time.
const WRITINGS: usize = 3;

/// The character set number of everything that is not text.
const BINARY: u16 = 63;

type Cells = Vec<Vec<Option<Vec<u8>>>>;

/// One random table on the shared server.
pub struct Round {
    seed: u64,
    random: Random,
    schema: String,
    table: Table,
    described: Arc<TableSchema>,
    /// As a client: on the base table.
    base: Conn,
    /// As our service connection: on the view.
    service: Conn,
    scratch: DigestScratch,
}

/// A statement with the pattern of its first writing.
struct Accepted {
    query: Query,
    digest: Vec<u8>,
    pattern: Pattern,
}

/// The tree of a statement, as the proxy makes it.
fn tree(scratch: &mut DigestScratch, sql: &str) -> Option<SelectTree> {
    scratch.run(sql.as_bytes(), LexMode::default());
    let statement = StatementCache::new(1).get_or_parse(scratch, sql.as_bytes());
    Arc::into_inner(statement)?.select_ast
}

/// A random session, as drivers set it up.
fn names(random: &mut Random) -> &'static str {
    const NAMES: [&str; 7] = [
        "SET NAMES utf8mb4",
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SET NAMES latin1",
        "SET character_set_results = NULL",
        "SET time_zone = '+05:30'",
        "SET transaction_isolation = 'READ-COMMITTED'",
    ];
    NAMES[random.below(NAMES.len())]
}

async fn texts(conn: &mut Conn, sql: &str, parameters: (&str, &str)) -> Vec<Vec<Option<String>>> {
    let rows: Vec<mysql_async::Row> = conn.exec(sql, parameters).await.unwrap();
    rows.into_iter()
        .map(|row| {
            (0..row.len())
                .map(|at| row.get::<Option<String>, _>(at).unwrap())
                .collect()
        })
        .collect()
}

impl Round {
    /// Makes the table of a seed and fills it.
    pub async fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let table = Table::random(&mut random, "base");
        Self::with(seed, random, table).await
    }

    /// Makes a given table.
    pub async fn with(seed: u64, mut random: Random, table: Table) -> Self {
        let server = MySql::shared();
        let schema = server.schema("exact");
        let mut base = server.connect(&schema).await;
        base.query_drop(&table.create).await.unwrap();
        if table.loose {
            base.query_drop("SET sql_mode = ''").await.unwrap();
        }
        for insert in &table.insert {
            base.query_drop(insert).await.unwrap();
        }
        base.query_drop("SET sql_mode = DEFAULT").await.unwrap();
        base.query_drop("ANALYZE TABLE base").await.unwrap();
        let row = texts(&mut base, TABLE_SQL, (&schema, "base")).await;
        let columns = texts(&mut base, COLUMNS_SQL, (&schema, "base")).await;
        let described = Arc::new(TableSchema::from_rows(&row[0], &columns).unwrap());
        base.query_drop(names(&mut random)).await.unwrap();
        let env: mysql_async::Row = base.query_first(SELECT_SQL).await.unwrap().unwrap();
        let env: Vec<Option<Vec<u8>>> = env
            .unwrap()
            .into_iter()
            .map(|value| match value {
                Value::NULL => None,
                Value::Bytes(bytes) => Some(bytes),
                other => Some(other.as_sql(true).trim_matches('\'').as_bytes().to_vec()),
            })
            .collect();
        let env = SessionEnv::from_row(&env).unwrap();
        env.is_default_enough().unwrap();
        let mut service = server.connect(&schema).await;
        service.query_drop(env.mirror_sql().unwrap()).await.unwrap();
        Self {
            seed,
            random,
            schema,
            table,
            described,
            base,
            service,
            scratch: DigestScratch::new(16_384),
        }
    }

    /// Asks one statement of the table and of a view of its own. It must be rewritten.
    pub async fn ask(&mut self, sql: &str, counts: &mut Counts) {
        let tree = tree(&mut self.scratch, sql).unwrap_or_else(|| panic!("no tree: {sql}"));
        let pattern = Pattern::new(&tree, &self.described).unwrap_or_else(|e| panic!("{e}: {sql}"));
        let number = counts.compared;
        let view = self.build(&pattern.generalise().unwrap(), number).await;
        let views = [view.unwrap()];
        let rewritten = self.rewritten(&pattern, sql, &views, counts).unwrap();
        let expected = answer(&mut self.base, sql).await.unwrap();
        let found = answer(&mut self.service, rewritten.sql.clone())
            .await
            .unwrap();
        counts.compared += 1;
        let difference = expected.difference(&found, pattern.total_order);
        if let Some(difference) = difference.or_else(|| expected.retyped(&found)) {
            self.failed(sql, &rewritten, &difference, counts);
        }
    }

    /// Asks one statement that fails on the table of a view of its own, if it would be rewritten: no answer may come from there.
    pub async fn ask_in_vain(&mut self, sql: &str, counts: &mut Counts) {
        let expected = answer(&mut self.base, sql).await;
        assert!(expected.is_err(), "the server answers {sql}");
        counts.made += 1;
        let Some(tree) = tree(&mut self.scratch, sql) else {
            return;
        };
        let pattern = match Pattern::new(&tree, &self.described) {
            Ok(pattern) => pattern,
            Err(refusal) => {
                *counts.refused.entry(refusal.label()).or_default() += 1;
                return;
            }
        };
        let number = counts.made;
        let view = self.build(&pattern.generalise().unwrap(), number).await;
        let views = [view.unwrap_or_else(|error| panic!("{error}: {sql}"))];
        let Some(rewritten) = self.rewritten(&pattern, sql, &views, counts) else {
            return;
        };
        let found = answer(&mut self.service, rewritten.sql.clone()).await;
        if let Some(difference) = compared(&expected, &found, true, counts) {
            self.failed(sql, &rewritten, &difference, counts);
        }
    }

    /// Makes statements, builds views for the accepted ones, and compares.
    pub async fn run(mut self, queries: usize, counts: &mut Counts) {
        let mut accepted = Vec::new();
        for _ in 0..queries {
            let query = Query::random(&mut self.random, &self.table);
            let (sql, _) = query.write(&mut self.random, false);
            counts.made += 1;
            let Some(tree) = tree(&mut self.scratch, &sql) else {
                *counts.refused.entry("(no tree)").or_default() += 1;
                continue;
            };
            match Pattern::new(&tree, &self.described) {
                Ok(pattern) => accepted.push(Accepted {
                    query,
                    digest: self.scratch.text().to_vec(),
                    pattern,
                }),
                Err(refusal) => {
                    *counts.refused.entry(refusal.label()).or_default() += 1;
                }
            }
        }
        counts.accepted += accepted.len();
        let views = self.views(&accepted, counts).await;
        for statement in &accepted {
            for _ in 0..WRITINGS {
                self.compare(statement, &views, counts).await;
                self.compare_bound(&statement.query, &views, counts).await;
            }
        }
        let drop = format!("DROP DATABASE `{}`", self.schema);
        self.base.query_drop(drop).await.unwrap();
    }

    /// Builds views: the patterns' own definitions, merged at random.
    async fn views(&mut self, accepted: &[Accepted], counts: &mut Counts) -> Vec<ReadyView> {
        let mut merged: BTreeMap<usize, Definition> = BTreeMap::new();
        let groups = 1 + accepted.len() / 8;
        let mut alone = Vec::new();
        for statement in accepted {
            let own = statement.pattern.generalise().unwrap();
            let group = self.random.below(groups);
            match merged.get(&group) {
                None => {
                    merged.insert(group, own.clone());
                }
                Some(other) => {
                    merged.insert(group, other.merged(&own).unwrap());
                }
            }
            alone.push((group, own));
        }
        let mut views = Vec::new();
        for (group, definition) in merged {
            match self.build(&definition, views.len()).await {
                Ok(view) => views.push(view),
                Err(_) => {
                    // One expression of the group fails on some row, so that none of the group is built: try each alone.
                    for (_, own) in alone.iter().filter(|(of, _)| *of == group) {
                        match self.build(own, views.len()).await {
                            Ok(view) => views.push(view),
                            Err(_) => counts.unbuilt += 1,
                        }
                    }
                }
            }
        }
        views
    }

    async fn build(&mut self, definition: &Definition, number: usize) -> Result<ReadyView, String> {
        let table = format!("`{}`.`v{number}`", self.schema);
        let keyset = Keyset::new(&[KeyPart {
            column: "id",
            data_type: "bigint",
            character_set: None,
        }])
        .unwrap();
        let order = Order {
            definition,
            keyset: &keyset,
            table: &table,
            probe_table: &format!("`{}`.`probe`", self.schema),
            base_rows_estimated: self.table.rows as u64,
            limits: Limits {
                rows_max: 1_000_000,
                ratio_max: 1.0,
                chunk_target: Duration::from_millis(50),
                reads: ChunkReads::Locking,
            },
        };
        let mut link = Link::new(MySql::shared().connect(&self.schema).await)
            .await
            .unwrap();
        let built = build::build(&mut link, &order, &Progress::default(), &|| Ok(())).await;
        if built.is_err() {
            let drop = format!("DROP TABLE IF EXISTS {table}");
            self.base.query_drop(drop).await.unwrap();
        }
        let built = built.map_err(|error| error.to_string())?;
        Ok(ReadyView {
            id: number as u64,
            generation: 1,
            table_sql: table.into(),
            definition: Arc::new(definition.clone()),
            columns: Arc::new(built.columns),
            variant_columns: Arc::new(built.variant_columns),
            rows: built.rows,
        })
    }

    fn rewritten(
        &mut self,
        pattern: &Pattern,
        sql: &str,
        views: &[ReadyView],
        counts: &mut Counts,
    ) -> Option<Rewritten> {
        self.scratch.run(sql.as_bytes(), LexMode::default());
        let literals = self.scratch.literals();
        if !pattern.fits(sql.as_bytes(), literals) {
            *counts.refused.entry("(other shape)").or_default() += 1;
            return None;
        }
        let found = matching::find(pattern, views)
            .and_then(|found| rewrite(&found, sql.as_bytes(), literals));
        match found {
            Ok(rewritten) => Some(rewritten),
            Err(refusal) => {
                *counts.refused.entry(refusal.label()).or_default() += 1;
                None
            }
        }
    }

    async fn compare(&mut self, statement: &Accepted, views: &[ReadyView], counts: &mut Counts) {
        let (sql, _) = statement.query.write(&mut self.random, false);
        self.scratch.run(sql.as_bytes(), LexMode::default());
        if self.scratch.text() != statement.digest {
            // A sign or a DATE in front of a literal makes another digest.
            *counts.refused.entry("(other digest)").or_default() += 1;
            return;
        }
        let pattern = &statement.pattern;
        let Some(rewritten) = self.rewritten(pattern, &sql, views, counts) else {
            return;
        };
        let expected = answer(&mut self.base, sql.as_str()).await;
        let found = answer(&mut self.service, rewritten.sql.clone()).await;
        let rows = expected.as_ref().map_or(0, |answer| answer.cells.len());
        counts.with_rows += usize::from(rows > 0);
        if let Some(difference) = compared(&expected, &found, pattern.total_order, counts) {
            self.failed(&sql, &rewritten, &difference, counts);
        }
    }

    async fn compare_bound(&mut self, query: &Query, views: &[ReadyView], counts: &mut Counts) {
        let (sql, values) = query.write(&mut self.random, true);
        let Some(tree) = tree(&mut self.scratch, &sql) else {
            return;
        };
        let Ok(pattern) = Pattern::new(&tree, &self.described) else {
            return;
        };
        let Some(rewritten) = self.rewritten(&pattern, &sql, views, counts) else {
            return;
        };
        let bound: Vec<ParameterValue<'_>> = values.iter().map(parameter).collect();
        if let Err(refusal) = check_parameters(&rewritten.checks, &bound) {
            *counts.refused.entry(refusal.label()).or_default() += 1;
            return;
        }
        let placed: Vec<Value> = rewritten
            .parameters
            .iter()
            .map(|number| values[usize::from(*number)].clone())
            .collect();
        let expected = execute(&mut self.base, &sql, values.clone()).await;
        let rewrite = String::from_utf8_lossy(&rewritten.sql);
        let found = execute(&mut self.service, &rewrite, placed).await;
        counts.bound += 1;
        if let Some(difference) = compared(&expected, &found, pattern.total_order, counts) {
            let shown = format!("{sql}\n  with {values:?}");
            self.failed(&shown, &rewritten, &difference, counts);
        }
    }

    fn failed(&self, sql: &str, rewritten: &Rewritten, difference: &str, counts: &mut Counts) {
        counts.failures.push(format!(
            "seed {}\n  {}\n  base: {sql}\n  view: {}\n  {difference}",
            self.seed,
            self.table.create,
            String::from_utf8_lossy(&rewritten.sql)
        ));
    }
}

/// What is different, if anything: where the base statement fails, the view's must not answer.
fn compared(
    expected: &mysql_async::Result<Answer>,
    found: &mysql_async::Result<Answer>,
    ordered: bool,
    counts: &mut Counts,
) -> Option<String> {
    counts.compared += 1;
    match (expected, found) {
        (Ok(expected), Ok(found)) => expected
            .difference(found, ordered)
            .or_else(|| expected.retyped(found)),
        (Ok(_), Err(error)) => Some(format!("the rewrite fails: {error}")),
        (Err(mysql_async::Error::Server(_)), Err(mysql_async::Error::Server(_))) => {
            counts.server_refused += 1;
            None
        }
        (Err(error), Ok(found)) => Some(format!(
            "the base statement fails, the rewrite has {} rows: {error}",
            found.cells.len()
        )),
        (Err(one), Err(other)) => Some(format!("{one} -- {other}")),
    }
}

fn parameter(value: &Value) -> ParameterValue<'_> {
    match value {
        Value::NULL => ParameterValue::Null,
        Value::Bytes(bytes) => ParameterValue::Bytes(bytes),
        Value::Int(value) => ParameterValue::Int(i128::from(*value)),
        Value::UInt(value) => ParameterValue::Int(i128::from(*value)),
        _ => ParameterValue::Other,
    }
}

/// An answer and what a client can see of it.
struct Answer {
    cells: Cells,
    types: Vec<String>,
    warnings: u16,
}

impl Answer {
    fn difference(&self, found: &Self, ordered: bool) -> Option<String> {
        if self.warnings != found.warnings {
            return Some(format!(
                "warnings: base {}, view {}",
                self.warnings, found.warnings
            ));
        }
        let (mut one, mut other) = (self.cells.clone(), found.cells.clone());
        if !ordered {
            one.sort();
            other.sort();
        }
        if one == other {
            return None;
        }
        let at = one.iter().zip(&other).position(|(a, b)| a != b);
        let at = at.unwrap_or(one.len().min(other.len()));
        let shown = |cells: &Cells| -> String {
            cells.get(at).map_or("(no row)".into(), |row| {
                let row: Vec<String> = row
                    .iter()
                    .map(|cell| match cell {
                        None => "NULL".into(),
                        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    })
                    .collect();
                row.join(" | ")
            })
        };
        Some(format!(
            "row {at} of {} and {}: base {} -- view {}",
            one.len(),
            other.len(),
            shown(&one),
            shown(&other)
        ))
    }

    /// Column types as a client sees them. Integers come in whatever width the plan gives, on base tables as well.
    fn retyped(&self, found: &Self) -> Option<String> {
        let (one, other) = (self.types.iter(), found.types.iter());
        let (one, other) = one.zip(other).find(|(one, other)| one != other)?;
        Some(format!("type: base {one} -- view {other}"))
    }
}

fn described(columns: &[mysql_async::Column]) -> Vec<String> {
    use mysql_async::consts::{ColumnFlags, ColumnType as Type};
    columns
        .iter()
        .map(|column| {
            let flags = column.flags();
            let unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
            match column.column_type() {
                Type::MYSQL_TYPE_TINY
                | Type::MYSQL_TYPE_SHORT
                | Type::MYSQL_TYPE_INT24
                | Type::MYSQL_TYPE_LONG
                | Type::MYSQL_TYPE_LONGLONG
                | Type::MYSQL_TYPE_YEAR => format!("integer unsigned {unsigned}"),
                Type::MYSQL_TYPE_NEWDECIMAL => format!("decimal {}", column.decimals()),
                other => format!("{other:?} binary {}", column.character_set() == BINARY),
            }
        })
        .collect()
}

fn cells(rows: Vec<mysql_async::Row>) -> Cells {
    rows.into_iter()
        .map(|row| {
            row.unwrap()
                .into_iter()
                .map(|value| match value {
                    Value::NULL => None,
                    Value::Bytes(bytes) => Some(bytes),
                    other => Some(other.as_sql(true).into_bytes()),
                })
                .collect()
        })
        .collect()
}

async fn answer(
    conn: &mut Conn,
    sql: impl mysql_async::prelude::AsQuery,
) -> mysql_async::Result<Answer> {
    let mut result = conn.query_iter(sql).await?;
    let types = described(result.columns_ref());
    let rows = result.collect::<mysql_async::Row>().await?;
    drop(result);
    Ok(Answer {
        cells: cells(rows),
        types,
        warnings: conn.get_warnings(),
    })
}

async fn execute(conn: &mut Conn, sql: &str, values: Vec<Value>) -> mysql_async::Result<Answer> {
    let parameters = if values.is_empty() {
        mysql_async::Params::Empty
    } else {
        mysql_async::Params::Positional(values)
    };
    let mut result = conn.exec_iter(sql, parameters).await?;
    let types = described(result.columns_ref());
    let rows = result.collect::<mysql_async::Row>().await?;
    drop(result);
    Ok(Answer {
        cells: cells(rows),
        types,
        warnings: conn.get_warnings(),
    })
}
