<<<<<<< HEAD
//! The room's handle without a server: what workers are told, and what they tell.

use super::catalog::TableInfo;
use super::definition::{MeasureFunction, ReadyView, StoredColumn};
use super::keyset::{KeyPart, Keyset};
use super::observed::Observed;
use super::plan::{Parsed, Plan};
use super::registry::Usage;
use super::schema::TableSchema;
use super::*;
use crate::backend::control::ControlSettings;
use crate::binlog::{Position, TableKey, Unavailable};
use crate::sql::{LexMode, StatementCache};

const SQL: &str = "SELECT kind, SUM(amount) FROM orders WHERE day >= '2026-01-01' GROUP BY kind";

struct Desk {
    views: Arc<Views>,
    statements: StatementCache,
    env: Arc<SessionEnv>,
}

impl Desk {
    fn new() -> Self {
        Self::with(&Config::default())
    }

    fn with(config: &Config) -> Self {
        let views = Views::new(
            config,
            Control::new(ControlSettings::from_config(config)),
            Binlog::unavailable(Unavailable::Disabled),
            SharedCapabilities::default(),
        );
        Self {
            views,
            statements: StatementCache::new(100),
            env: Arc::new(env(&[])),
        }
    }

    fn ask<T>(&self, sql: &str, then: impl FnOnce(&Question<'_>) -> T) -> T {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(sql.as_bytes(), LexMode::default());
        let statement = self.statements.get_or_parse(&scratch, sql.as_bytes());
        then(&Question {
            statement: &statement,
            text: sql.as_bytes(),
            scratch: &scratch,
            schema: "shop",
            env: &self.env,
        })
    }

    fn route(&self, sql: &str) -> Result<ViewRoute, Refusal> {
        self.ask(sql, |question| self.views.route(question))
    }

    fn observe(&self, sql: &str, times: u32) {
        for _ in 0..times {
            self.ask(sql, |question| self.views.observe(question, &[], 50_000));
        }
    }

    /// What the refresh task does with waiting texts.
    fn plan(&self) -> Vec<Arc<Observed>> {
        let all: Vec<Arc<Observed>> = self
            .views
            .statements
            .all()
            .into_iter()
            .map(|(_, observed)| observed)
            .collect();
        for observed in &all {
            for unplanned in observed.take_unplanned() {
                if observed.fits_now(&unplanned) {
                    continue;
                }
                let parsed = Parsed::new(unplanned.text(), &observed.session);
                let planned = parsed
                    .base_table(&observed.session)
                    .and_then(|_| Plan::make(&parsed, info()));
                observed.planned(&unplanned, planned, 0);
            }
        }
        all
    }

    /// Publishes the view that a statement asks for.
    fn publish(&self, engine: EngineUse, generation: u64) -> Arc<Published> {
        let definition = self
            .views
            .statements
            .all()
            .iter()
            .find_map(|(_, observed)| {
                let variants = observed.variants();
                Some(Arc::clone(variants.first()?.plan.definition()))
            })
            .unwrap();
        let stored = |name: &str, column_type: &str| StoredColumn {
            name: name.into(),
            column_type: column_type.into(),
            character_set: None,
            collation: None,
            nullable: false,
        };
        let keys = definition
            .keys
            .iter()
            .map(|key| match key.expression.as_str() {
                "`day`" => stored(&key.column, "date"),
                _ => stored(&key.column, "int"),
            });
        let measures = definition.measures.iter().map(|m| match m.function {
            MeasureFunction::Sum => stored(&m.column, "decimal(37,2)"),
            _ => stored(&m.column, "bigint"),
        });
        let columns = keys.chain(measures).collect();
        let view = ReadyView {
            id: 1,
            generation,
            table_sql: format!("`tidegate`.`v1_{generation}`").into(),
            definition,
            columns: Arc::new(columns),
            variant_columns: Arc::default(),
            rows: 9,
        };
        let published = Arc::new(Published::new(
            view,
            vec![TableKey::new("shop", "orders")],
            (Position::new(1, 4), 1),
            engine,
            Arc::<Usage>::default(),
        ));
        self.views.registry.publish(Arc::clone(&published));
        published
    }
}

/// The environment of a fresh session, with some columns of its row replaced.
fn env(changes: &[(usize, &str)]) -> SessionEnv {
    let mut row: Vec<&str> = vec![
        "shop",
        "app@%",
        "NONE",
        crate::sql::env::DEFAULT_SQL_MODE,
        "SYSTEM",
        "utf8mb4",
        "utf8mb4",
        "utf8mb4_0900_ai_ci",
        "utf8mb4",
        "4",
        "1024",
        "0",
        "en_US",
        "18446744073709551615",
        "18446744073709551615",
        "1",
        "1",
        "1",
        "REPEATABLE-READ",
        "0",
        "1024",
        "67108864",
        "en_US",
        "1",
        "1024",
        "aes-128-ecb",
        "index_merge=on",
        "FULL",
        "ON",
        "0",
        "1000",
        "utf8mb4_0900_ai_ci",
    ];
    // What the row has beyond these is of no interest here.
    row.resize(crate::sql::env::COLUMNS, "x");
    for (at, value) in changes {
        row[*at] = value;
    }
    let row: Vec<Option<Vec<u8>>> = row.iter().map(|v| Some(v.as_bytes().to_vec())).collect();
    SessionEnv::from_row(&row).unwrap()
}

fn info() -> Arc<TableInfo> {
    let text = |text: &str| Some(text.to_owned());
    let column = |name: &str, kind: &str, key: &str| {
        vec![
            text(name),
            text(kind),
            text("NO"),
            None,
            None,
            text(""),
            text(key),
        ]
    };
    let table = [
        text("shop"),
        text("orders"),
        text("BASE TABLE"),
        text("InnoDB"),
    ];
    let columns = vec![
        column("id", "bigint", "PRI"),
        column("day", "date", ""),
        column("kind", "int", ""),
        column("amount", "decimal(15,2)", ""),
    ];
    let part = KeyPart {
        column: "id",
        data_type: "bigint",
        character_set: None,
    };
    Arc::new(TableInfo {
        schema: Arc::new(TableSchema::from_rows(&table, &columns).unwrap()),
        key: TableKey::new("shop", "orders"),
        keyset: Keyset::new(&[part]),
        primary: vec!["id".into()],
        rows_estimated: 1_000,
    })
}

#[test]
fn a_statement_waits_until_it_was_seen_planned_and_published() {
    let desk = Desk::new();
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NotPlanned);
    desk.observe(SQL, 1);
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NotPlanned);
    desk.plan();
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NoView);
    let published = desk.publish(EngineUse::None, 1);
    let route = desk.route(SQL).unwrap();
    assert!(Arc::ptr_eq(&route.view, &published));
    assert!(route.sql.starts_with(b"SELECT ") && route.fallback_sql.is_none());
    // Other literals of the same statement use the same plan.
    let later = SQL.replace("2026-01-01", "2026-02-02");
    let sql = desk.route(&later).unwrap().sql;
    assert!(String::from_utf8(sql).unwrap().contains("2026-02-02"));
}

#[test]
fn literals_that_shape_the_answer_have_plans_of_their_own() {
    let desk = Desk::new();
    let of = |kind: u32| {
        format!("SELECT SUM(CASE WHEN kind = {kind} THEN amount ELSE 0 END) FROM orders")
    };
    desk.observe(&of(1), 3);
    desk.plan();
    desk.publish(EngineUse::None, 1);
    assert!(desk.route(&of(1)).is_ok());
    assert!(desk.route(&of(2)).is_err());
    desk.observe(&of(2), 1);
    let all = desk.plan();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].variants().len(), 2);
    assert!(matches!(
        desk.route(&of(2)),
        Err(Refusal::MissingMeasure | Refusal::MissingKey)
    ));
    // Never more variants than are looked at.
    for kind in 3..40 {
        desk.observe(&of(kind), 1);
        desk.plan();
    }
    assert!(all[0].variants().len() <= 8);
}

#[test]
fn what_is_stale_or_replaced_is_not_used() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    let first = desk.publish(EngineUse::None, 1);
    let route = desk.route(SQL).unwrap();
    desk.views.gate_closed(&route, &GateError::StreamLate);
    assert!(!first.is_stale());
    desk.views.gate_closed(&route, &GateError::Epoch);
    assert!(first.is_stale());
    assert!(desk.route(SQL).is_err());
    let second = desk.publish(EngineUse::None, 2);
    assert!(Arc::ptr_eq(&desk.route(SQL).unwrap().view, &second));
    desk.views.failed(&route, 1205);
    let route = desk.route(SQL).unwrap();
    desk.views.failed(&route, 1205);
    assert!(!second.is_stale());
    desk.views.failed(&route, 1146);
    assert!(second.is_stale() && desk.route(SQL).is_err());
    desk.publish(EngineUse::None, 3);
    desk.views.registry.retire(1);
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NoView);
}

#[test]
fn a_proven_engine_is_forced_with_a_way_back() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.publish(EngineUse::Pinned, 1);
    let text = |sql: &[u8]| String::from_utf8(sql.to_vec()).unwrap();
    let route = desk.route(SQL).unwrap();
    assert!(text(&route.sql).contains("use_secondary_engine=OFF"));
    assert_eq!(route.fallback_sql, None);
    desk.publish(EngineUse::Proven("RAPID".into()), 2);
    let route = desk.route(SQL).unwrap();
    assert!(text(&route.sql).contains("use_secondary_engine=FORCED"));
    assert!(text(route.fallback_sql.as_deref().unwrap()).contains("use_secondary_engine=OFF"));
    // Refused once, it is left alone for a while; the view stays in use.
    desk.views.failed(&route, 3889);
    let route = desk.route(SQL).unwrap();
    assert!(text(&route.sql).contains("use_secondary_engine=OFF"));
    assert_eq!(route.fallback_sql, None);
}

#[test]
fn sessions_that_differ_are_refused_or_kept_apart() {
    let mut desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.publish(EngineUse::None, 1);
    desk.env = Arc::new(env(&[(3, "ANSI_QUOTES")]));
    assert_eq!(desk.route(SQL).unwrap_err().label(), "env_sql_mode");
    desk.observe(SQL, 5);
    desk.env = Arc::new(env(&[(4, "+02:00")]));
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NotPlanned);
    assert_eq!(desk.views.statements.all().len(), 1);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut config = Config::default();
    config.statements.cache_entries_max = 10;
    let desk = Desk::with(&config);
    for table in 0..50 {
        desk.observe(&format!("SELECT COUNT(*) FROM t{table} GROUP BY a"), 1);
    }
    assert_eq!(desk.views.statements.all().len(), 10);
    assert_eq!(desk.views.statements.overflow(), 40);
    let long = format!(
        "SELECT COUNT(*) FROM t0 WHERE a = '{}' GROUP BY a",
        "x".repeat(40_000)
    );
    let all = desk.views.statements.all();
    desk.observe(&long, 3);
    let kept: usize = all
        .iter()
        .flat_map(|(_, observed)| observed.take_unplanned())
        .map(|unplanned| unplanned.text().len())
        .sum();
    assert!(kept < 10 * 2 * 100, "{kept} bytes");
}

#[test]
fn samples_follow_what_is_asked() {
    let desk = Desk::new();
    for day in 10..28 {
        desk.observe(&SQL.replace("2026-01-01", &format!("2026-01-{day}")), 20);
        desk.plan();
    }
    let all = desk.plan();
    let variants = all[0].variants();
    let samples = variants[0].samples();
    assert_eq!(samples.len(), 5);
    let last = samples
        .iter()
        .map(|text| String::from_utf8(text.to_vec()).unwrap())
        .max()
        .unwrap();
    assert!(last > SQL.replace("2026-01-01", "2026-01-16"), "{last}");
    assert!(variants[0].totals().0 > 300);
}

#[test]
fn switched_off_means_off() {
    let mut config = Config::default();
    config.views.enabled = false;
    let desk = Desk::with(&config);
    desk.observe(SQL, 9);
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::ViewsOff);
    assert!(desk.views.statements.all().is_empty());
}

#[test]
fn hits_are_counted_with_what_they_saved() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.observe(SQL, 3);
    let published = desk.publish(EngineUse::None, 1);
    let route = desk.route(SQL).unwrap();
    assert_eq!(route.base_us, 50_000);
    desk.views.served(&route, 1_000);
    desk.views.served(&route, 90_000);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(read(&published.usage.hits), 2);
    assert_eq!(read(&published.usage.view_us), 91_000);
    assert_eq!(read(&published.usage.saved_us), 49_000);
=======
//! Runs the files of tests/cases/{pattern,match,rewrite,refusal}: one file a case, statement and expectation side by side.
//! `GOLDEN_WRITE=1 cargo test --lib views::tests` writes what is found into the files; read the difference before keeping it.
//!
//! A file has `name: value` lines, then `---`, then what must come out. `table` names a file of tests/cases/tables; `sql` is
//! the statement the pattern is made of; each `text` another statement of its digest; each `view` a ready view, as
//! `` `key`, `key` | SUM `x`, MIN `y` | variants k1 | rows 7 ``. Without a `view` there is the one that generalises the pattern.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::definition::{BaseTable, Definition, MeasureFunction, ReadyView, StoredColumn, ViewEnv};
use super::matching;
use super::pattern::{self, Pattern};
use super::refusal::Refusal;
use super::rewrite::rewrite;
use super::schema::{Column, ColumnType, TableSchema};
use crate::sql::{DigestScratch, LexMode, Literal, SelectTree, StatementCache};

/// The type of every SUM in these cases.
const SUM_TYPE: &str = "decimal(37,2)";

struct Case {
    file: PathBuf,
    lines: Vec<(String, String)>,
    expected: String,
}

impl Case {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let (head, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let lines = head
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (name, value) = line
                    .split_once(": ")
                    .unwrap_or_else(|| panic!("{file:?}: {line}"));
                (name.to_owned(), value.to_owned())
            })
            .collect();
        Self {
            file: file.to_owned(),
            lines,
            expected: expected.to_owned(),
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn one<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name)
            .next()
            .unwrap_or_else(|| panic!("{:?} has no {name}", self.file))
    }
}

fn cases(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(folder)
}

/// Runs every file of a folder.
fn check(folder: &str, run: impl Fn(&Case) -> String) -> usize {
    let mut files: Vec<PathBuf> = fs::read_dir(cases(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut wrong = String::new();
    for file in &files {
        let case = Case::read(file);
        let found = run(&case);
        if found == case.expected {
            continue;
        }
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            let text = fs::read_to_string(file).unwrap();
            let head = text.split_once("---\n").map_or(&*text, |(head, _)| head);
            fs::write(file, format!("{head}---\n{found}")).unwrap();
            continue;
        }
        let _ = writeln!(
            wrong,
            "{}\n expected:\n{}\n found:\n{found}",
            file.display(),
            case.expected
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
    files.len()
}

/// The tree of a statement, as the statement cache makes it. What it does not trust itself to read has none there, and gets
/// the plain parser's, so that the rules are tested none the less.
fn tree(sql: &str) -> SelectTree {
    let mut scratch = DigestScratch::new(8192);
    scratch.run(sql.as_bytes(), LexMode::default());
    let statement = StatementCache::new(1).get_or_parse(&scratch, sql.as_bytes());
    if let Some(tree) = Arc::into_inner(statement).and_then(|statement| statement.select_ast) {
        return tree;
    }
    let mut statements =
        Parser::parse_sql(&MySqlDialect {}, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    SelectTree {
        ast: Box::new(statements.pop().unwrap()),
        sample: sql.as_bytes().into(),
        slots: Box::default(),
        literals: scratch.literals().into(),
        hint: false,
    }
}

fn literals(sql: &str) -> Vec<Literal> {
    let mut scratch = DigestScratch::new(8192);
    scratch.run(sql.as_bytes(), LexMode::default());
    scratch.literals().to_vec()
}

fn table(name: &str) -> Arc<TableSchema> {
    let text = fs::read_to_string(cases("tables").join(name)).unwrap();
    let mut table = TableSchema {
        schema: String::new(),
        name: String::new(),
        table_type: "BASE TABLE".into(),
        engine: "InnoDB".into(),
        has_primary_key: true,
        columns: Vec::new(),
    };
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "schema" => table.schema = rest.into(),
            "name" => table.name = rest.into(),
            "type" => table.table_type = rest.into(),
            "engine" => table.engine = rest.into(),
            "key" => table.has_primary_key = rest != "none",
            _ => {
                let (column_type, more) = rest.split_once(' ').unwrap_or((rest, ""));
                table.columns.push(Column {
                    name: word.into(),
                    column_type: ColumnType::parse(&column_type.replace('_', " ")),
                    nullable: !more.contains("not null"),
                    collation: more.split_once("collate ").map(|(_, name)| name.into()),
                    generated_virtual: more.contains("virtual"),
                });
            }
        }
    }
    Arc::new(table)
}

fn pattern(case: &Case) -> Result<Pattern, Refusal> {
    let tree = tree(case.one("sql"));
    let table = table(case.one("table"));
    let base = pattern::base_table(&tree.ast, Some(&table.schema))?;
    assert_eq!(
        (&base.schema, &base.name),
        (&table.schema, &table.name),
        "{:?}",
        case.file
    );
    Pattern::new(&tree, &table)
}

fn stored(name: &str, column_type: &str, collation: Option<&String>) -> StoredColumn {
    StoredColumn {
        name: name.into(),
        column_type: column_type.into(),
        character_set: collation.map(|_| "utf8mb4".into()),
        collation: collation.cloned(),
        nullable: true,
    }
}

/// A ready view of a definition, with the types the server would derive for plain columns.
fn ready(
    id: u64,
    table: &TableSchema,
    definition: Definition,
    rows: u64,
    variants: Vec<String>,
) -> ReadyView {
    let source = fs::read_to_string(cases("tables").join(&table.name)).unwrap();
    let type_of = |column: &str| {
        let line = source
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{column} ")));
        line.map_or("bigint", |rest| rest.split(' ').next().unwrap())
            .to_owned()
    };
    let mut columns = Vec::new();
    for key in &definition.keys {
        let name = key.expression.trim_matches('`');
        match table.position(name) {
            Some(at) => columns.push(stored(
                &key.column,
                &type_of(name),
                table.columns[at].collation.as_ref(),
            )),
            None => columns.push(stored(&key.column, "date", None)),
        }
    }
    for measure in &definition.measures {
        let column_type = match measure.function {
            MeasureFunction::CountStar | MeasureFunction::Count => "bigint".to_owned(),
            MeasureFunction::Sum => SUM_TYPE.to_owned(),
            MeasureFunction::Min | MeasureFunction::Max => {
                type_of(measure.argument.as_deref().unwrap_or("").trim_matches('`'))
            }
        };
        columns.push(stored(&measure.column, &column_type, None));
    }
    ReadyView {
        id,
        generation: 1,
        table_sql: format!("`tidegate`.`v{id}_1`").into(),
        definition: Arc::new(definition),
        columns: Arc::new(columns),
        variant_columns: Arc::new(variants),
        rows,
    }
}

fn views(case: &Case, pattern: &Pattern) -> Vec<ReadyView> {
    let table = &pattern.table;
    let mut views = Vec::new();
    for (id, line) in (1..).zip(case.all("view")) {
        let mut parts = line.split(" | ");
        let list = |text: Option<&str>| -> Vec<String> {
            text.unwrap_or("")
                .split(", ")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let keys = list(parts.next());
        let measures: Vec<(MeasureFunction, Option<String>)> = list(parts.next())
            .iter()
            .filter_map(|measure| {
                let (function, argument) = measure.split_once(' ')?;
                let function = match function {
                    "COUNT" => MeasureFunction::Count,
                    "SUM" => MeasureFunction::Sum,
                    "MIN" => MeasureFunction::Min,
                    _ => MeasureFunction::Max,
                };
                Some((function, Some(argument.to_owned())))
            })
            .collect();
        let (mut variants, mut rows, mut of) = (Vec::new(), id * 10, table.name.clone());
        for part in parts {
            match part.split_once(' ').unwrap() {
                ("variants", column) => variants.push(column.to_owned()),
                ("rows", number) => rows = number.parse().unwrap(),
                (_, name) => of = name.to_owned(),
            }
        }
        let base = BaseTable {
            schema: table.schema.clone(),
            name: of,
        };
        let definition = Definition::new(base, keys, measures, ViewEnv::default());
        views.push(ready(id, table, definition, rows, variants));
    }
    if views.is_empty() {
        views.push(ready(
            1,
            table,
            pattern.generalise().unwrap(),
            10,
            Vec::new(),
        ));
    }
    views
}

fn refused(refusal: Refusal) -> String {
    format!("refused {refusal}\n")
}

fn described(pattern: &Pattern) -> String {
    let definition = pattern.generalise().unwrap();
    let mut out = String::new();
    for key in &definition.keys {
        let _ = writeln!(out, "key {}", key.expression);
    }
    for measure in &definition.measures {
        let argument = measure.argument.as_deref().unwrap_or("*");
        let _ = writeln!(out, "measure {}({argument})", measure.function.sql());
    }
    let grouped = if pattern.keys.is_some() {
        "grouped"
    } else {
        "scalar"
    };
    let order = if pattern.total_order {
        "total order"
    } else {
        "order may differ in ties"
    };
    let _ = writeln!(out, "{grouped}, {order}");
    out
}

fn rewritten(pattern: &Pattern, text: &str, views: &[ReadyView]) -> String {
    let literals = literals(text);
    if !pattern.fits(text.as_bytes(), &literals) {
        return refused(Refusal::OtherLiterals);
    }
    let found = matching::find(pattern, views)
        .and_then(|found| rewrite(&found, text.as_bytes(), &literals));
    match found {
        Err(refusal) => refused(refusal),
        Ok(rewritten) => {
            let mut out = format!("{}\n", String::from_utf8_lossy(&rewritten.sql));
            if !rewritten.parameters.is_empty() {
                let _ = writeln!(out, "parameters {:?}", rewritten.parameters);
            }
            for (parameter, check) in &rewritten.checks {
                let _ = writeln!(out, "parameter {parameter} must be {check:?}");
            }
            out
        }
    }
}

#[test]
fn patterns() {
    let cases = check("pattern", |case| match pattern(case) {
        Ok(pattern) => described(&pattern),
        Err(refusal) => refused(refusal),
    });
    assert!(cases > 10);
}

#[test]
fn matches() {
    let cases = check("match", |case| {
        let pattern = pattern(case).unwrap();
        match matching::find(&pattern, &views(case, &pattern)) {
            Ok(found) => format!("view {}\n", found.view),
            Err(refusal) => refused(refusal),
        }
    });
    assert!(cases > 10);
}

#[test]
fn rewrites() {
    let cases = check("rewrite", |case| {
        let pattern = pattern(case).unwrap();
        let views = views(case, &pattern);
        std::iter::once(case.one("sql"))
            .chain(case.all("text"))
            .map(|text| rewritten(&pattern, text, &views))
            .collect()
    });
    assert!(cases > 10);
}

/// Rules that no statement of these files can meet, and why.
const NOT_HERE: [(Refusal, &str); 10] = [
    (
        Refusal::OtherLiterals,
        "a property of a second text: rewrite cases",
    ),
    (Refusal::NoView, "match cases"),
    (Refusal::MissingKey, "match cases"),
    (Refusal::MissingMeasure, "match cases"),
    (Refusal::KeyVariants, "match cases"),
    (
        Refusal::StoredType,
        "needs types that only a server derives: the executed tests",
    ),
    (Refusal::NotPlanned, "of the room's life, not of a pattern"),
    (Refusal::ViewStale, "of the room's life, not of a pattern"),
    (Refusal::ViewsOff, "of the room's life, not of a pattern"),
    (
        Refusal::NotSelect,
        "statements of other kinds have no tree; kept for clauses of other dialects",
    ),
];

#[test]
fn refusals() {
    let mut seen = Vec::new();
    let all = check("refusal", |case| {
        let tree = tree(case.one("sql"));
        let table = table(case.one("table"));
        let found = pattern::base_table(&tree.ast, Some(&table.schema))
            .and_then(|_| Pattern::new(&tree, &table))
            .and_then(|pattern| pattern.check(&tree.sample, &tree.literals));
        match found {
            Ok(()) => "accepted\n".to_owned(),
            Err(refusal) => refused(refusal),
        }
    });
    for entry in fs::read_dir(cases("refusal")).unwrap() {
        seen.push(Case::read(&entry.unwrap().path()).expected);
    }
    let missing: Vec<&str> = Refusal::ALL
        .iter()
        .filter(|refusal| !NOT_HERE.iter().any(|(known, _)| known == *refusal))
        .map(|refusal| refusal.label())
        .filter(|label| {
            !seen
                .iter()
                .any(|expected| *expected == format!("refused {label}\n"))
        })
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    assert!(all > Refusal::ALL.len() - NOT_HERE.len());
>>>>>>> 36c3cdc (Views: golden cases for every rule, and rewritten answers executed against base answers)
}
