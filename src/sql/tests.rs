//! Golden cases: one statement, one line of what we know of it. `UPDATE_GOLDEN=1 cargo test` writes the lines anew; read the diff.

use super::*;

mod digest;
mod hostile;

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/cases/statement/classify.txt"
);

/// The statement of a text that nobody has seen before.
pub(super) fn statement(text: &str) -> Statement {
    statement_in(text, LexMode::default())
}

/// The same under a mode.
pub(super) fn statement_in(text: &str, mode: LexMode) -> Statement {
    let mut scratch = DigestScratch::new(1 << 16);
    scratch.run(text.as_bytes(), mode);
    classify::statement(&scratch, text.as_bytes())
}

fn names(tables: &[TableName]) -> String {
    let name = |table: &TableName| match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    };
    tables.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn summary(statement: &Statement) -> String {
    let mut line = statement.kind.label().to_owned();
    if !statement.reads.is_empty() {
        line += &format!(" | reads {}", names(&statement.reads));
    }
    if !statement.writes.is_empty() {
        line += &format!(" | writes {}", names(&statement.writes));
    }
    line += &match statement.cacheable {
        Ok(()) => " | cacheable".to_owned(),
        Err(Uncacheable::NotQuery) => String::new(),
        Err(reason) => format!(" | not cacheable: {}", reason.label()),
    };
    if let Some(reason) = statement.opaque {
        line += &format!(" | opaque: {}", reason.label());
    }
    let effects = statement.effects;
    if effects == Effects::ALL {
        line += " | any effect";
    } else if effects.any() {
        let flags = [
            (effects.env, "env"),
            (effects.may_change_schema, "schema"),
            (effects.temp_table, "temp_table"),
            (effects.user_variable, "user_variable"),
            (effects.lock, "lock"),
            (effects.transaction_control, "transaction"),
            (effects.ddl, "ddl"),
            (effects.prepared, "prepared"),
        ];
        let met: Vec<&str> = flags
            .iter()
            .filter(|(met, _)| *met)
            .map(|(_, name)| *name)
            .collect();
        line += &format!(" | effects {}", met.join(" "));
    }
    if statement.reads_diagnostics && effects != Effects::ALL {
        line += " | reads diagnostics";
    }
    if statement.aggregate {
        line += " | aggregate";
    }
    line
}

#[test]
fn what_we_know_of_statements() {
    let cases = std::fs::read_to_string(CASES).unwrap();
    let mut written = String::new();
    for line in cases.lines() {
        if line.starts_with("    ") {
            continue;
        }
        written += line;
        written.push('\n');
        if !line.is_empty() && !line.starts_with("## ") {
            written += &format!("    {}\n", summary(&statement(line)));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(CASES, &written).unwrap();
    }
    for (line, (expected, actual)) in cases.lines().zip(written.lines()).enumerate() {
        assert_eq!(expected, actual, "line {} of {CASES}", line + 1);
    }
    assert_eq!(cases.lines().count(), written.lines().count());
}
