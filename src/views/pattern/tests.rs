//! Runs the files of tests/cases/{pattern,match,rewrite,refusal}: one file a case, statement and expectation side by side.
//! `GOLDEN_WRITE=1 cargo test --lib views::pattern::tests` writes what is found into the files; read the difference before keeping it.
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

use super::Pattern;
use crate::sql::{DigestScratch, LexMode, Literal, SelectTree, StatementCache};
use crate::views::definition::{
    BaseTable, Definition, MeasureFunction, ReadyView, StoredColumn, ViewEnv,
};
use crate::views::matching;
use crate::views::refusal::Refusal;
use crate::views::rewrite::rewrite;
use crate::views::schema::{Column, ColumnType, TableSchema};

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
    let base = super::base_table(&tree.ast, Some(&table.schema))?;
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
const NOT_HERE: [(Refusal, &str); 11] = [
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
    (
        Refusal::NotCompared,
        "of the room's life: tests/e2e/views_life.rs",
    ),
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
        let found = super::base_table(&tree.ast, Some(&table.schema))
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
}
