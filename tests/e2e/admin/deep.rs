//! Statements for the admin engine that go on for thousands of terms, or thousands of levels: each is answered or refused with an
//! error, and the one after it is answered. Whatever reads them may neither overflow its stack nor be busy for ever.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::support::{MySql, Tidegate};

/// Nobody waits longer for any of them, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest text that is taken.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What is put inside itself again and again: name, what stands before it, its beginning, its core, its end.
#[rustfmt::skip]
const NESTED: &[[&str; 5]] = &[
    ["not", "SELECT ", "NOT ", "1", ""],
    ["minus", "SELECT ", "- ", "1", ""],
    ["tilde", "SELECT ", "~", "1", ""],
    ["parentheses", "SELECT ", "(", "1", ")"],
    ["opened", "SELECT ", "(", "1", ""],
    ["closed", "SELECT ", "", "1", ")"],
    ["condition", "SELECT 1 FROM queries WHERE ", "(", "executions = 1", ")"],
    ["cast", "SELECT ", "CAST(", "1", " AS CHAR)"],
    ["convert", "SELECT ", "CONVERT(", "1", ", CHAR)"],
    ["if", "SELECT ", "IF(1,", "1", ",2)"],
    ["ifnull", "SELECT ", "IFNULL(", "1", ",2)"],
    ["concat", "SELECT ", "CONCAT('a',", "'b'", ")"],
    ["case", "SELECT ", "CASE WHEN 1 THEN ", "1", " ELSE 2 END"],
    ["interval", "SELECT ", "NOW() + INTERVAL (", "1", ") DAY"],
    ["intervals", "SELECT ", "NOW() + INTERVAL ", "1", " DAY"],
    ["bare intervals", "SELECT ", "INTERVAL ", "1", " DAY"],
    ["date_add", "SELECT ", "DATE_ADD(NOW(), INTERVAL ", "1", " DAY)"],
    ["extract", "SELECT ", "EXTRACT(DAY FROM ", "NOW()", ")"],
    ["group_concat", "SELECT ", "GROUP_CONCAT(", "1", " SEPARATOR ',')"],
    ["position", "SELECT ", "POSITION('a' IN ", "'a'", ")"],
    ["trim", "SELECT ", "TRIM(LEADING 'a' FROM ", "'a'", ")"],
    ["between", "SELECT ", "1 BETWEEN 0 AND ", "1", ""],
    ["in a query", "SELECT 1 FROM queries WHERE ", "executions IN (SELECT 1 FROM queries WHERE ", "1", ")"],
    ["exists", "SELECT 1 FROM queries WHERE ", "EXISTS (SELECT 1 FROM queries WHERE ", "1", ")"],
    ["queries", "SELECT ", "(SELECT ", "1", ")"],
    ["tables", "", "SELECT * FROM (", "SELECT * FROM queries", ") AS t"],
    ["unions in unions", "", "(SELECT 1 UNION ", "SELECT 1", ")"],
    ["withs in withs", "", "WITH a AS (", "SELECT 1", ") SELECT 1"],
    ["set", "SET @a = ", "(", "1", ")"],
    ["show", "SHOW TABLES WHERE ", "(", "1", ")"],
    ["explain", "EXPLAIN SELECT ", "(", "1", ")"],
];

/// What goes on and on: name, what stands before it, one term, what stands between two, and behind all.
#[rustfmt::skip]
const CHAINS: &[[&str; 5]] = &[
    ["or", "SELECT 1 FROM queries WHERE ", "executions = 1", " OR ", ""],
    ["and", "SELECT 1 FROM queries WHERE ", "executions = 1", " AND ", ""],
    ["xor", "SELECT 1 FROM queries WHERE ", "executions", " XOR ", ""],
    ["plus", "SELECT ", "1", "+", ""],
    ["divided", "SELECT ", "1", "/", ""],
    ["div", "SELECT ", "1", " DIV ", ""],
    ["equals", "SELECT ", "1", "=", ""],
    ["strings", "SELECT ", "'a'", " ", ""],
    ["arguments", "SELECT CONCAT(", "'a'", ",", ")"],
    ["whens", "SELECT CASE 1 ", "WHEN 2 THEN 3", " ", " END"],
    ["like", "SELECT ", "'a'", " LIKE ", ""],
    ["in a list", "SELECT 1 FROM queries WHERE executions IN (", "1", ",", ")"],
    ["union", "", "SELECT 1 FROM queries", " UNION ALL ", ""],
    ["joins", "SELECT 1 FROM queries ", "JOIN totals", " ", ""],
    ["commas", "SELECT 1 FROM ", "queries", ",", ""],
    ["columns", "SELECT ", "executions", ",", " FROM queries"],
    ["order", "SELECT 1 FROM queries ORDER BY ", "executions", ",", ""],
    ["group", "SELECT 1 FROM queries GROUP BY ", "executions", ",", ""],
    ["with", "WITH ", "a AS (SELECT 1 FROM queries)", ",", " SELECT 1"],
    ["sets", "SET ", "@a = 1", ",", ""],
    ["shows", "SHOW TABLES WHERE ", "1", " OR ", ""],
    ["comments", "SELECT ", "1", "/* + */ + /*!1 + */", ""],
    ["statements", "", "SELECT 1", ";", ""],
    ["parameters", "SELECT ", "?", "+", ""],
];

/// The texts, by name, with so many terms or levels. The tables are of the default schema.
fn texts(count: usize) -> Vec<(&'static str, String)> {
    let nested = NESTED.iter().map(|[name, before, open, core, close]| {
        let (open, close) = (open.repeat(count), close.repeat(count));
        (*name, format!("{before}{open}{core}{close}"))
    });
    let chains = CHAINS.iter().map(|[name, before, term, between, behind]| {
        let terms = vec![*term; count].join(between);
        (*name, format!("{before}{terms}{behind}"))
    });
    nested.chain(chains).collect()
}

/// Whether there was an answer; an error of the server is one.
async fn answered<T>(name: &str, what: impl Future<Output = mysql_async::Result<T>>) -> bool {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(Ok(_)) => true,
        Ok(Err(mysql_async::Error::Server(error))) => {
            assert!(!error.message.is_empty(), "{name}");
            false
        }
        Ok(Err(error)) => panic!("'{name}': {error}"),
        Err(_) => panic!("'{name}' takes for ever"),
    }
}

async fn ask_all(conn: &mut Conn, counts: &[usize]) {
    let (mut answers, mut refusals) = (0, 0);
    for &count in counts {
        for (name, text) in texts(count) {
            if text.len() > TEXT_BYTES_MAX {
                continue;
            }
            let by_text = answered(name, conn.query::<Row, _>(&text)).await;
            let prepared = answered(name, conn.prep(&text)).await;
            let next: Option<i64> = conn.query_first("SELECT 41 + 1").await.unwrap();
            assert_eq!(next, Some(42), "after '{name}' x {count}");
            for yes in [by_text, prepared] {
                *(if yes { &mut answers } else { &mut refusals }) += 1;
            }
        }
    }
    println!("{answers} answers, {refusals} refusals");
    assert!(answers > 0 && refusals > 0, "{answers} {refusals}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_thousands_of_terms_ends_in_an_answer_or_an_error() {
    let gate = Tidegate::of(MySql::shared())
        .set("admin.users", "[\"app\"]")
        .start();
    let mut administrator = gate.connect_admin().await;
    administrator.query_drop("USE tidegate").await.unwrap();
    // Few enough to be read as trees, many, and as many as there is room for.
    ask_all(&mut administrator, &[100, 900, 10_000, 100_000, 500_000]).await;
    // It is there as soon as there was a view.
    MySql::shared().run("CREATE DATABASE IF NOT EXISTS tidegate");
    let mut app = gate.connect("").await;
    app.query_drop("USE tidegate").await.unwrap();
    ask_all(&mut app, &[100, 10_000]).await;
    assert!(gate.runs());
    assert!(!gate.log().contains("panicked"), "{}", gate.log());
    gate.stop();
}
