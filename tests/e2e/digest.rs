//! Our digest text against the server's own `STATEMENT_DIGEST_TEXT()`, over a corpus, in several SQL modes; our word lists
//! against the server's. Never tolerates a difference that has no reason written down.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable;
use tidegate::sql::keywords::{KEYWORDS, RESERVED};
use tidegate::sql::{DigestScratch, LexMode, functions};

use crate::support::MySql;

/// The share of statements on which we must agree, in every mode.
const AGREEMENT_MIN: f64 = 0.95;

fn case(name: &str) -> String {
    let path = format!("{}/tests/cases/digest/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn statements() -> Vec<String> {
    let text = case("corpus.sql");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("## "));
    lines
        .map(|line| line.replace("{NL}", "\n").replace("{TAB}", "\t"))
        .collect()
}

/// Statement to reason, from the list of known differences.
fn known_differences() -> BTreeMap<String, String> {
    let mut reason = String::new();
    let mut known = BTreeMap::new();
    for line in case("differences.txt")
        .lines()
        .filter(|line| !line.is_empty())
    {
        match line.strip_prefix("## ") {
            Some(heading) => reason = heading.to_owned(),
            None => {
                assert!(!reason.is_empty(), "a difference without a reason: {line}");
                known.insert(
                    line.replace("{NL}", "\n").replace("{TAB}", "\t"),
                    reason.clone(),
                );
            }
        }
    }
    known
}

fn modes() -> [(&'static str, LexMode); 5] {
    let plain = LexMode::default();
    [
        ("", plain),
        (
            "ANSI_QUOTES",
            LexMode {
                ansi_quotes: true,
                ..plain
            },
        ),
        (
            "NO_BACKSLASH_ESCAPES",
            LexMode {
                no_backslash_escapes: true,
                ..plain
            },
        ),
        (
            "IGNORE_SPACE",
            LexMode {
                ignore_space: true,
                ..plain
            },
        ),
        (
            "PIPES_AS_CONCAT",
            LexMode {
                pipes_as_concat: true,
                ..plain
            },
        ),
    ]
}

#[tokio::test]
async fn digest_texts_agree_with_the_servers() {
    // As long as ours: by default the server cuts at 1024 bytes of tokens.
    let server = MySql::start(&["--max-digest-length=1048576"]);
    let schema = server.schema("digest");
    let mut conn = server.connect(&schema).await;
    let version: String = conn.query_first("SELECT VERSION()").await.unwrap().unwrap();
    let statements = statements();
    assert!(statements.len() >= 300, "{} statements", statements.len());
    let known = known_differences();
    let mut met = BTreeSet::new();
    let mut scratch = DigestScratch::new(1 << 20);
    for (mode_name, mode) in modes() {
        conn.exec_drop("SET sql_mode = ?", (mode_name,))
            .await
            .unwrap();
        let (mut compared, mut equal, mut unknown) = (0u32, 0u32, Vec::new());
        for statement in &statements {
            let answer = conn
                .exec_first("SELECT STATEMENT_DIGEST_TEXT(?)", (statement,))
                .await;
            let theirs: Vec<u8> = match answer {
                Ok(text) => text.expect("one row"),
                // Not every statement is one in every mode.
                Err(_) if !mode_name.is_empty() => continue,
                Err(error) => panic!("the server refuses {statement}: {error}"),
            };
            scratch.run(statement.as_bytes(), mode);
            compared += 1;
            if scratch.text() == theirs {
                equal += 1;
                continue;
            }
            met.insert(statement.clone());
            if !known.contains_key(statement) {
                let ours = String::from_utf8_lossy(scratch.text()).into_owned();
                unknown.push(format!(
                    "{statement}\n  server {}\n  ours   {ours}",
                    String::from_utf8_lossy(&theirs)
                ));
            }
        }
        println!("sql_mode '{mode_name}': {equal} of {compared} digest texts agree");
        assert!(
            unknown.is_empty(),
            "sql_mode '{mode_name}', differences without a reason:\n{}",
            unknown.join("\n")
        );
        assert!(
            f64::from(equal) >= AGREEMENT_MIN * f64::from(compared),
            "{equal} of {compared}"
        );
    }
    if version.starts_with("9.7.") {
        let gone: Vec<&String> = known
            .keys()
            .filter(|statement| !met.contains(*statement))
            .collect();
        assert!(gone.is_empty(), "listed as different, but equal: {gone:?}");
    }
}

#[tokio::test]
async fn keywords_are_the_servers() {
    let mut conn = MySql::shared().connect("").await;
    let rows: Vec<(String, u8)> = conn
        .query("SELECT WORD, RESERVED FROM information_schema.KEYWORDS")
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for (word, reserved) in rows {
        let found = KEYWORDS
            .find(word.as_bytes())
            .and_then(|number| KEYWORDS.get(number));
        if found.is_none_or(|keyword| (keyword.flags & RESERVED != 0) != (reserved != 0)) {
            wrong.push(word);
        }
    }
    let version: String = conn.query_first("SELECT VERSION()").await.unwrap().unwrap();
    assert!(
        wrong.is_empty() || !version.starts_with("9.7."),
        "missing, or reserved by one of us only: {wrong:?}"
    );
}

/// A name on our list that the server does not know could be somebody's stored function.
async fn unknown_functions(server: &MySql, mode: LexMode) -> Vec<&'static str> {
    let schema = server.schema("functions");
    let mut conn = server.connect(&schema).await;
    let mut unknown = Vec::new();
    for (name, _) in functions::all() {
        if functions::class(name, mode) == functions::Function::Unknown {
            continue;
        }
        // Too many arguments for any of them: an error, but another one than for a name that does not exist.
        let answer = conn
            .query_drop(format!("EXPLAIN SELECT {name}(1,2,3,4,5,6,7,8,9,10,11,12)"))
            .await;
        if let Err(mysql_async::Error::Server(error)) = answer
            && matches!(error.code, 1305 | 1630)
        {
            unknown.push(name);
        }
    }
    unknown
}

#[tokio::test]
async fn functions_that_we_trust_are_the_servers_own() {
    let unknown = unknown_functions(MySql::shared(), LexMode::default()).await;
    assert_eq!(unknown, Vec::<&str>::new());
}

#[tokio::test]
async fn functions_that_we_trust_on_mariadb_are_its_own() {
    let mode = LexMode {
        mariadb: true,
        server_version: 101_100,
        ..LexMode::default()
    };
    let unknown = unknown_functions(MySql::shared_mariadb(), mode).await;
    assert_eq!(unknown, Vec::<&str>::new());
}
