//! What the tests of patterns, matching and rewriting share: trees, tables and views without a server.

use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use crate::sql::{DigestScratch, LexMode, SelectTree};

/// The parsed tree of one line of ASCII.
pub(crate) fn tree(sql: &str) -> Option<SelectTree> {
    assert!(sql.is_ascii() && !sql.contains('\n'), "{sql}");
    let mut scratch = DigestScratch::new(4096);
    scratch.run(sql.as_bytes(), LexMode::default());
    let mut statements = Parser::parse_sql(&MySqlDialect {}, sql).ok()?;
    Some(SelectTree {
        ast: Box::new(statements.pop()?),
        sample: sql.as_bytes().into(),
        slots: Box::default(),
        literals: scratch.literals().into(),
        hint: false,
    })
}

#[test]
fn a_tree_has_its_literals() {
    let tree = tree("SELECT COUNT(*) FROM t WHERE a = 1 AND b IN ('x', 'y')").unwrap();
    assert_eq!(tree.literals.len(), 2);
}
