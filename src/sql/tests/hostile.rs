//! Texts made to hurt: bottomless nesting, endless chains, nothing ever closed, any bytes at all. Every test runs on the small
//! stack that test threads have (2 MiB), like a worker's.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::sql::lexer::{Lexer, TokenKind};

fn modes() -> Vec<LexMode> {
    let plain = LexMode::default();
    vec![
        plain,
        LexMode {
            ansi_quotes: true,
            no_backslash_escapes: true,
            ..plain
        },
        LexMode {
            ignore_space: true,
            pipes_as_concat: true,
            mariadb: true,
            ..plain
        },
        LexMode {
            charset: ClientCharset::Unsafe,
            ..plain
        },
    ]
}

/// Digest and classify; the digest text may be as long as the text.
fn swallow(text: &[u8], mode: LexMode, text_bytes_max: usize) -> Statement {
    let mut scratch = DigestScratch::new(text_bytes_max);
    scratch.run(text, mode);
    let mut end = 0;
    for literal in scratch.literals() {
        assert!(
            literal.start >= end && literal.end >= literal.start,
            "literals overlap"
        );
        assert!(literal.end as usize <= text.len() && literal.elements > 0);
        end = literal.end;
    }
    assert!(scratch.text().len() <= text_bytes_max + 8);
    let _ = session_statement::parse(text, mode);
    classify::statement(&scratch, text)
}

/// Something `{}` something, the middle `count` times over.
fn repeated(before: &str, middle: &str, after: &str, count: usize) -> String {
    format!("{before}{}{after}", middle.repeat(count))
}

const NESTED: [(&str, &str, &str); 34] = [
    ("", "(", ""),
    ("SELECT ", "(", "1"),
    ("SELECT ", "(SELECT ", "1"),
    ("SELECT * FROM ", "(", "t"),
    ("SELECT * FROM ", "(SELECT * FROM ", "t"),
    ("SELECT * FROM ", "(t JOIN ", "t"),
    ("SELECT * FROM t", " JOIN t ON 1", ""),
    ("SELECT * FROM t", ", t", ""),
    ("SELECT ", "f(", "1"),
    ("SELECT 1", "+1", ""),
    ("SELECT a", " AND b", " FROM t"),
    ("SELECT a", " OR (b", " FROM t"),
    ("SELECT ", "NOT ", "a FROM t"),
    ("SELECT ", "-", "a FROM t"),
    ("SELECT ", "- ", "1 FROM t"),
    ("SELECT ", "!", "a FROM t"),
    ("SELECT ", "~ ", "a FROM t"),
    ("SELECT ", "CASE WHEN ", "a FROM t"),
    ("SELECT a", " IN (SELECT a", ""),
    ("SELECT a", " BETWEEN a AND a", " FROM t"),
    ("SELECT a", " IS NULL", " FROM t"),
    ("SELECT a", " COLLATE utf8mb4_bin", " FROM t"),
    ("SELECT a", "->'$.a'", " FROM t"),
    ("SELECT a", ".a", " FROM t"),
    ("SELECT 1", " UNION SELECT 1", ""),
    ("(SELECT 1", ") UNION (SELECT 1", ")"),
    ("", "WITH c AS (", "SELECT 1"),
    ("SELECT ", "EXISTS (SELECT ", "1"),
    ("SELECT ", "CAST(", "1"),
    ("SELECT ", "INTERVAL ", "1 DAY"),
    ("SELECT ", "BINARY ", "a"),
    ("SELECT ", "EXTRACT(DAY FROM ", "a"),
    ("SELECT ", "IF(a, ", "b"),
    ("SELECT a OVER ", "(PARTITION BY SUM(a) OVER ", "w FROM t"),
];

/// The same, with every bracket closed.
fn closed(before: &str, middle: &str, after: &str, count: usize) -> String {
    let open = middle
        .matches('(')
        .count()
        .saturating_sub(middle.matches(')').count());
    let end = if middle.contains("CASE") {
        " THEN 1 END"
    } else {
        ""
    };
    let from = if after.contains("FROM") {
        ""
    } else {
        " FROM t"
    };
    let (core, tail) = after
        .split_once(" FROM")
        .map_or((after, String::new()), |(core, tail)| {
            (core, format!(" FROM{tail}"))
        });
    format!(
        "{before}{}{core}{}{}{tail}{from}",
        middle.repeat(count),
        ")".repeat(open * count),
        end.repeat(count)
    )
}

#[test]
fn nesting_costs_linear_time_and_no_stack() {
    for (before, middle, after) in NESTED {
        for count in [3, 30, 49, 60, 1_200, 20_000] {
            for text in [
                repeated(before, middle, after, count),
                closed(before, middle, after, count),
            ] {
                for text_bytes_max in [2048, if count > 2_000 { 2048 } else { 1 << 20 }] {
                    let start = Instant::now();
                    swallow(text.as_bytes(), LexMode::default(), text_bytes_max);
                    let taken = start.elapsed();
                    // Far above what a debug build on a busy machine needs; exponential parsing is far above this.
                    assert!(
                        taken < Duration::from_secs(5),
                        "{taken:?} for {count} times {before}{middle}{after}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_never_closed_is_malformed() {
    for open in [
        "'",
        "\"",
        "`",
        "/*",
        "/*!",
        "/*!50000 ",
        "x'4",
        "b'01",
        "n'",
        "_utf8mb4'",
        "SELECT /*+ BKA(t",
        "'\\",
        "`a``",
    ] {
        let text = format!("SELECT a FROM t WHERE b = 1 AND {open}");
        let statement = statement(&text);
        assert_eq!(statement.opaque, Some(OpaqueReason::Malformed), "{text}");
        let long = format!("{text}{}", "x".repeat(1 << 20));
        let opaque = swallow(long.as_bytes(), LexMode::default(), 2048).opaque;
        assert!(opaque.is_some(), "{open}");
    }
}

#[test]
fn many_openings_of_comments_and_strings_are_linear() {
    for piece in [
        "/*", "/*!", "'\\'", "`` ", "\"\"", "-- \n", "#\n", "/**/", "@", "@@", "x'", "0x", "1e",
        "a.", "?", ";", "/*+", "\\", "\u{0}", "\u{ff}",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        for mode in modes() {
            let start = Instant::now();
            swallow(text.as_bytes(), mode, 2048);
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{piece:?}: {:?}",
                start.elapsed()
            );
        }
    }
}

#[test]
fn bytes_that_are_no_text() {
    for text in [
        &b"SELECT a FROM t\0"[..],
        b"SELECT '\xFF\xFE' FROM t",
        b"SELECT a FROM `\xFF`",
        b"SELECT \xFF FROM t",
        b"\0",
        b"\xFF",
    ] {
        for mode in modes() {
            swallow(text, mode, 2048);
        }
    }
    let nul = swallow(b"SELECT a FROM t\0", LexMode::default(), 2048);
    assert_eq!(nul.opaque, Some(OpaqueReason::Malformed));
    // A literal may be any bytes; a table's name must be readable.
    let literal = swallow(
        b"SELECT a FROM t WHERE b = '\xFF\xFE'",
        LexMode::default(),
        2048,
    );
    assert_eq!(literal.cacheable, Ok(()));
    let name = swallow(b"SELECT a FROM `\xFF`", LexMode::default(), 2048);
    assert_eq!(name.opaque, Some(OpaqueReason::UnreadableName));
    let latin1 = LexMode {
        charset: ClientCharset::Other,
        ..LexMode::default()
    };
    let name = swallow("SELECT a FROM té".as_bytes(), latin1, 2048);
    assert_eq!(name.opaque, Some(OpaqueReason::UnreadableName));
    let sjis = LexMode {
        charset: ClientCharset::Unsafe,
        ..LexMode::default()
    };
    let hidden = swallow(
        b"SELECT a FROM t WHERE b = '\x95\x5C' OR c = ' UNION SELECT 1 -- '",
        sjis,
        2048,
    );
    assert_eq!(hidden.opaque, Some(OpaqueReason::UnsafeCharset));
}

#[test]
fn a_cut_digest_is_opaque() {
    let text = format!("SELECT a FROM t WHERE {}", "b = 1 AND ".repeat(1000));
    let mut scratch = DigestScratch::new(100);
    scratch.run(text.as_bytes(), LexMode::default());
    assert!(scratch.notes().truncated && scratch.text().ends_with(b"..."));
    assert_eq!(
        classify::statement(&scratch, text.as_bytes()).opaque,
        Some(OpaqueReason::Truncated)
    );
    // A list is one word of the digest, however long.
    let list = format!("SELECT a FROM t WHERE b IN ({}1)", "1, ".repeat(100_000));
    scratch.run(list.as_bytes(), LexMode::default());
    assert!(!scratch.notes().truncated);
    assert_eq!(
        classify::statement(&scratch, list.as_bytes()).cacheable,
        Ok(())
    );
}

/// Words that make trouble when they meet.
const SOUP: [&str; 78] = [
    "SELECT",
    "FROM",
    "WHERE",
    "t",
    "`t`",
    "q",
    ".",
    ",",
    "(",
    ")",
    "*",
    "=",
    "1",
    "-",
    "+",
    "'x'",
    "\"y\"",
    "NULL",
    "?",
    "IN",
    "NOT",
    "IS",
    "AND",
    "OR",
    "JOIN",
    "LEFT",
    "ON",
    "USING",
    "UNION",
    "ALL",
    "WITH",
    "RECURSIVE",
    "AS",
    "c",
    "GROUP",
    "ORDER",
    "BY",
    "HAVING",
    "LIMIT",
    "FOR",
    "UPDATE",
    "SET",
    "INSERT",
    "INTO",
    "VALUES",
    "DELETE",
    "count(",
    "f(",
    "@",
    "@x",
    "@@y",
    ":=",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "INTERVAL",
    "DAY",
    "DATE",
    "/*+",
    "*/",
    "/*!80000",
    "/* c */",
    "-- x\n",
    ";",
    "_utf8mb4",
    "N'x'",
    "x'41'",
    "TABLE",
    "LATERAL",
    "JSON_TABLE(",
    "COLUMNS",
    "PATH",
    "OVER",
    "{",
    "}",
    "\0",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn tokens_tile_the_text(bytes in proptest::collection::vec(any::<u8>(), 0..200), mode in 0usize..4) {
        let mode = modes()[mode];
        let mut lexer = Lexer::new(&bytes, mode);
        let (mut end, mut gaps) = (0u32, Vec::new());
        loop {
            let token = lexer.next_token();
            prop_assert!(token.start >= end && token.end >= token.start && token.end as usize <= bytes.len());
            gaps.push(end..token.start);
            end = token.end;
            if token.kind == TokenKind::End {
                break;
            }
            prop_assert!(token.end > token.start || matches!(token.kind, TokenKind::Hostname | TokenKind::Malformed));
        }
        prop_assert_eq!(end as usize, bytes.len());
        // Between tokens there are spaces and comments only.
        if !lexer.saw_version_comment {
            for gap in gaps {
                let between = &bytes[gap.start as usize..gap.end as usize];
                prop_assert_eq!(Lexer::new(between, mode).next_token().kind, TokenKind::End, "{:?}", between);
            }
        }
    }

    #[test]
    fn any_bytes_are_digested(bytes in proptest::collection::vec(any::<u8>(), 0..400), mode in 0usize..4) {
        swallow(&bytes, modes()[mode], 200);
    }

    #[test]
    fn any_words_are_digested(words in proptest::collection::vec(0usize..SOUP.len(), 0..60), mode in 0usize..4, spaces in any::<bool>()) {
        let words: Vec<&str> = words.into_iter().map(|word| SOUP[word]).collect();
        let text = words.join(if spaces { " " } else { "" });
        let statement = swallow(text.as_bytes(), modes()[mode], 1 << 16);
        if statement.cacheable.is_ok() {
            prop_assert!(statement.opaque.is_none() && !statement.reads.is_empty() && !statement.effects.any(), "{}", text);
        }
    }
}
