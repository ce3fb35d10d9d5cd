//! Which statements on the app port mean the virtual schema: those that read its tables and nothing else.
//! Conservative: in doubt a statement is the backend's.

use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Statement, Visit, Visitor};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;

use super::catalog::{self, SCHEMA};
use super::context::{Context, Identity};
use super::dialect;
use super::lexer;
use super::statement::Source;

/// Whether every table that the statement names is one of schema `tidegate`, and it names at least one; or it is a SHOW or
/// DESCRIBE of that schema. `current_schema` is where unqualified names are looked up.
pub fn is_admin_statement(text: &str, current_schema: &str) -> bool {
    // Most statements end here, without a token.
    let inside = current_schema.eq_ignore_ascii_case(SCHEMA);
    if !inside && !mentions(text) {
        return false;
    }
    let Ok(tokens) = lexer::tokens(text, false) else {
        return false;
    };
    let source = Source {
        text,
        tokens: &tokens,
    };
    if source.one_of(0, &["SELECT", "WITH", "TABLE"]) || source.mark(0, "(") {
        reads_only_ours(source, inside)
    } else if source.one_of(0, &["SHOW"]) {
        shows_ours(source, inside)
    } else if source.one_of(0, &["DESCRIBE", "DESC", "EXPLAIN"]) {
        is_table(source, 1, inside)
    } else {
        false
    }
}

fn mentions(text: &str) -> bool {
    let wanted = SCHEMA.as_bytes();
    text.as_bytes()
        .windows(wanted.len())
        .any(|window| window.eq_ignore_ascii_case(wanted))
}

/// Names of the tables of a query; common table expressions are not tables.
#[derive(Default)]
struct Relations {
    names: Vec<Vec<String>>,
    ctes: Vec<String>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &sqlparser::ast::Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.push(cte.alias.name.value.to_ascii_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let parts = name.0.iter().filter_map(|part| part.as_ident());
        self.names
            .push(parts.map(|name| name.value.to_ascii_lowercase()).collect());
        ControlFlow::Continue(())
    }
}

/// A statement of more tokens is not looked into.
const TOKENS_MAX: usize = 2_000;

fn reads_only_ours(source: Source<'_>, inside: bool) -> bool {
    let nobody = Context::new(Identity {
        user: String::new(),
        host: String::new(),
        connection_id: 0,
        schema: None,
    });
    let table = source.one_of(0, &["TABLE"]);
    let skipped = source.tokens.get(usize::from(table)..).unwrap_or(&[]);
    let Ok(rewritten) = dialect::rewrite(source.text, skipped, &nobody) else {
        return false;
    };
    let sql = if table {
        format!("SELECT * FROM {}", rewritten.sql)
    } else {
        rewritten.sql
    };
    // Trees of long chains are as deep as the text is long, and are dropped by recursion.
    if skipped.len() > TOKENS_MAX {
        return false;
    }
    let Ok(statements) = Parser::parse_sql(&SQLiteDialect {}, &sql) else {
        return false;
    };
    let [statement @ Statement::Query(_)] = statements.as_slice() else {
        return false;
    };
    let mut relations = Relations::default();
    let _ = statement.visit(&mut relations);
    let mut ours = 0;
    for name in &relations.names {
        let name: Vec<&str> = name.iter().map(String::as_str).collect();
        match name.as_slice() {
            [one] if relations.ctes.iter().any(|cte| cte == one) => {}
            [one] if inside && catalog::find(SCHEMA, one).is_some() => ours += 1,
            [schema, one] if *schema == SCHEMA && catalog::find(SCHEMA, one).is_some() => ours += 1,
            _ => return false,
        }
    }
    ours > 0
}

/// `[tidegate.]table` at `at`, one of ours.
fn is_table(source: Source<'_>, at: usize, inside: bool) -> bool {
    let Some(first) = source.name(at) else {
        return false;
    };
    if source.mark(at + 1, ".") {
        let name = source.name(at + 2).unwrap_or("");
        return first.eq_ignore_ascii_case(SCHEMA) && catalog::find(SCHEMA, name).is_some();
    }
    let named = source
        .one_of(at + 1, &["FROM", "IN"])
        .then(|| source.name(at + 2))
        .flatten();
    let ours = named.map_or(inside, |schema| schema.eq_ignore_ascii_case(SCHEMA));
    ours && catalog::find(SCHEMA, first).is_some()
}

fn shows_ours(source: Source<'_>, inside: bool) -> bool {
    let mut at = 1;
    while source.one_of(at, &["FULL", "EXTENDED"]) {
        at += 1;
    }
    let from = |at: usize| {
        let from = source.one_of(at, &["FROM", "IN"]);
        let named = from.then(|| source.name(at + 1)).flatten();
        named.map_or(inside && !from, |schema| {
            schema.eq_ignore_ascii_case(SCHEMA)
        })
    };
    if source.one_of(at, &["TABLES"]) {
        return from(at + 1);
    }
    if source.words(at, &["TABLE", "STATUS"]) {
        return from(at + 2);
    }
    if source.words(at, &["CREATE", "TABLE"]) {
        return is_table(source, at + 2, inside);
    }
    if source.one_of(at, &["COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"]) {
        return source.one_of(at + 1, &["FROM", "IN"]) && is_table(source, at + 2, inside);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_alone() {
        for (text, outside, inside) in [
            ("SELECT * FROM tidegate.queries", true, true),
            (
                "/* app */ select count(*) from `TideGate`.`queries` where digest = \"x\"",
                true,
                true,
            ),
            ("SELECT * FROM queries", false, true),
            (
                "WITH a AS (SELECT * FROM tidegate.errors) SELECT * FROM a JOIN tidegate.cache",
                true,
                true,
            ),
            (
                "SELECT * FROM tidegate.queries q, shop.orders o",
                false,
                false,
            ),
            ("SELECT * FROM tidegate.v1_1", false, false),
            (
                "SELECT (SELECT MAX(id) FROM orders) FROM tidegate.queries",
                false,
                false,
            ),
            ("SELECT 'tidegate'", false, false),
            ("SELECT tidegate FROM t", false, false),
            ("TABLE tidegate.queries", true, true),
            ("INSERT INTO tidegate.queries VALUES (1)", false, false),
            ("DROP TABLE tidegate.queries", false, false),
            ("SHOW TABLES FROM tidegate", true, true),
            ("SHOW FULL TABLES", false, true),
            ("SHOW TABLES FROM shop", false, false),
            ("SHOW COLUMNS FROM queries FROM tidegate", true, true),
            ("SHOW CREATE TABLE tidegate.queries", true, true),
            ("SHOW VARIABLES LIKE 'tidegate'", false, false),
            ("DESCRIBE tidegate.queries", true, true),
            ("DESC orders", false, false),
            ("SELECT * FROM tidegate.queries; DROP TABLE x", false, false),
            ("not sql tidegate", false, false),
        ] {
            assert_eq!(is_admin_statement(text, "shop"), outside, "outside: {text}");
            assert_eq!(
                is_admin_statement(text, "TIDEGATE"),
                inside,
                "inside: {text}"
            );
        }
    }
}
