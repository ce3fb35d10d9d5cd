//! The digest itself: what it prints, where it finds the literals, and that nothing but literals is lost in it.

use super::*;
use crate::sql::digest::{Notes, SIGNED};

fn digest(text: &str) -> DigestScratch {
    let mut scratch = DigestScratch::new(1 << 16);
    scratch.run(text.as_bytes(), LexMode::default());
    scratch
}

fn printed(text: &str) -> String {
    String::from_utf8(digest(text).text().to_vec()).unwrap()
}

/// `kind elements [bytes]` of each literal.
fn literals(text: &str) -> Vec<String> {
    let scratch = digest(text);
    let show = |literal: &Literal| {
        let bytes = String::from_utf8_lossy(literal.bytes(text.as_bytes())).into_owned();
        format!("{:?} {} [{bytes}]", literal.kind, literal.elements)
    };
    scratch.literals().iter().map(show).collect()
}

#[test]
fn literals_are_where_the_question_marks_are() {
    assert_eq!(
        literals(
            "SELECT a, -1 FROM t WHERE b IN (1) AND c IN (2, -3, NULL) AND d = 'x''y' AND e - 5 LIMIT 5, 10"
        ),
        [
            "Int 1 [-1]",
            "List 1 [1]",
            "List 3 [2, -3, NULL]",
            "String 1 ['x''y']",
            "Int 1 [5]",
            "List 2 [5, 10]"
        ]
    );
    assert_eq!(
        literals("INSERT INTO t VALUES (1, 'a'), (2, 'b') , (3, 'c')"),
        ["Rows 3 [(1, 'a'), (2, 'b') , (3, 'c')]"]
    );
    assert_eq!(literals("INSERT INTO t VALUES (1, 2)"), ["List 2 [1, 2]"]);
    assert_eq!(
        literals("SELECT @a, @b := 5, x'41', b'1', 1.5, 1e5, N'n', ?"),
        [
            "Name 1 [a]",
            "Name 1 [b]",
            "List 7 [5, x'41', b'1', 1.5, 1e5, N'n', ?]"
        ]
    );
    assert_eq!(
        literals("SELECT a FROM t GROUP BY 1, 2 ORDER BY 1 + 1, 2"),
        ["Int 1 [1]", "List 2 [1, 2]"]
    );
    assert_eq!(
        literals("SELECT a FROM t WHERE b IS NULL AND c = NULL"),
        ["Null 1 [NULL]"]
    );
    assert_eq!(literals("SELECT - /* c */ - 5"), ["Int 1 [- /* c */ - 5]"]);
}

#[test]
fn the_shape_tells_what_the_text_hides() {
    let shape = |text: &str| digest(text).shape();
    let base = "SELECT a FROM t WHERE b IN (1, 2) AND c = 5";
    assert_eq!(
        shape(base),
        shape("SELECT a FROM t WHERE b IN (7, 8) AND c = 9")
    );
    for other in [
        "SELECT a FROM t WHERE b IN (1, 2, 3) AND c = 5",
        "SELECT a FROM t WHERE b IN (1, 2) AND c = '5'",
        "SELECT a FROM t WHERE b IN (1, 2) AND c = -5",
        "SELECT a FROM t WHERE b IN (1, 'x') AND c = 5",
        "SELECT a FROM t WHERE b IN (1, 2) AND c = NULL",
        "SELECT a FROM t WHERE b IN (1, 2) AND c = ?",
    ] {
        assert_eq!(printed(base), printed(other));
        assert_ne!(shape(base), shape(other), "{other}");
    }
}

#[test]
fn what_two_names_cannot_say_together() {
    assert_ne!(
        printed("SELECT `a``.``b` FROM t"),
        printed("SELECT `a`.`b` FROM t")
    );
    assert_ne!(
        printed("SELECT now() FROM t"),
        printed("SELECT `now`() FROM t")
    );
    assert_ne!(
        printed("SELECT count(a) FROM t"),
        printed("SELECT count (a) FROM t")
    );
    assert_ne!(printed("SELECT `?` FROM t"), printed("SELECT ? FROM t"));
    assert_ne!(
        printed("SELECT a FROM t ORDER BY 1"),
        printed("SELECT a FROM t ORDER BY 2")
    );
    assert_ne!(
        printed("SELECT a, 'x' FROM t"),
        printed("SELECT a 'x' FROM t")
    );
    let ansi = LexMode {
        ansi_quotes: true,
        ..LexMode::default()
    };
    let mut scratch = DigestScratch::new(1000);
    scratch.run(br#"SELECT "a""b`c""#, ansi);
    assert_eq!(scratch.text(), br#"SELECT `a"b``c`"#);
}

#[test]
fn what_the_pass_notices() {
    let notes = |text: &str| digest(text).notes();
    assert!(notes("SELECT 1; SELECT 2").multi_statement);
    assert!(!notes("SELECT 1 ; ; -- x").multi_statement);
    assert!(notes(" /* c */ ;").empty && notes("").empty && !notes("x").empty);
    assert!(notes("SELECT /*+ BKA(t) */ 1").hint);
    assert!(notes("SELECT 1 /*!99999 x */").version_comment);
    assert!(notes("SELECT _latin1'x'").introducer);
    assert!(
        notes("SELECT é").non_ascii_name
            && notes("SELECT 'é'").non_ascii
            && !notes("SELECT 'é'").non_ascii_name
    );
    assert!(notes("SELECT 'x").malformed);
    let comment = |text: &str| {
        digest(text)
            .comment()
            .map(|(start, end)| text[start as usize..end as usize].to_owned())
    };
    assert_eq!(
        comment("SELECT 1 /* a */ + 2 /*app='x'*/").as_deref(),
        Some("/*app='x'*/")
    );
    assert_eq!(comment("SELECT 1 -- app"), None);
}

#[test]
fn a_scratch_forgets() {
    let mut scratch = DigestScratch::new(1000);
    scratch.run(b"SELECT /*+ BKA(t) */ 'x; SELECT", LexMode::default());
    scratch.run(b"SELECT a FROM t WHERE b = 1", LexMode::default());
    assert_eq!(scratch.text(), b"SELECT `a` FROM `t` WHERE `b` = ?");
    assert_eq!(scratch.notes(), Notes::default());
    assert_eq!(
        scratch.hash(),
        digest("select  a from t where b=  'y'").hash()
    );
}

/// Over the whole corpus: other values of the same kind change neither the digest text nor the shape, and the statement that was
/// learnt from one text is that of the other.
#[test]
fn other_values_same_statement() {
    let corpus = include_str!("../../../tests/cases/digest/corpus.sql");
    let mut tried = 0;
    for text in corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("## "))
    {
        let scratch = digest(text);
        let mut other = text.as_bytes().to_vec();
        for literal in scratch.literals().iter().rev() {
            let value: &[u8] = match literal.kind {
                // Too long for an ordinal; a shorter one in its place would be one.
                LiteralKind::Int if literal.end - literal.start > 18 => continue,
                LiteralKind::Int if literal.mask & SIGNED == 0 => b"77",
                LiteralKind::Int => b"-77",
                LiteralKind::String => b"'another (1, 2) -- value'",
                LiteralKind::Decimal if literal.mask & SIGNED == 0 => b"7.7",
                LiteralKind::Hex => b"0x77",
                _ => continue,
            };
            other.splice(
                literal.start as usize..literal.end as usize,
                value.iter().copied(),
            );
            tried += 1;
        }
        let other = String::from_utf8(other).unwrap();
        let changed = digest(&other);
        assert_eq!(
            String::from_utf8_lossy(scratch.text()),
            String::from_utf8_lossy(changed.text()),
            "{text}\n{other}"
        );
        assert_eq!(
            (scratch.shape(), scratch.reading()),
            (changed.shape(), changed.reading()),
            "{text}\n{other}"
        );
        assert_eq!(
            summary(&statement(text)),
            summary(&statement(&other)),
            "{text}\n{other}"
        );
    }
    assert!(tried > 500, "{tried}");
}
