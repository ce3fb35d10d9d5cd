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

/// `open` as often as it goes, then `core`, then `close` as often.
fn nested(count: usize, open: &str, core: &str, close: &str) -> String {
    [open.repeat(count), core.to_owned(), close.repeat(count)].concat()
}

fn chain(count: usize, term: &str, between: &str) -> String {
    vec![term; count].join(between)
}

/// The texts, by name, with about `count` terms or levels. The tables are of the default schema.
fn texts(count: usize) -> Vec<(&'static str, String)> {
    let select = |what: String| format!("SELECT {what}");
    let from = |what: String| format!("SELECT 1 FROM queries WHERE {what}");
    vec![
        ("or", from(chain(count, "executions = 1", " OR "))),
        ("and", from(chain(count, "executions = 1", " AND "))),
        ("xor", from(chain(count, "executions", " XOR "))),
        ("plus", select(chain(count, "1", "+"))),
        ("divided", select(chain(count, "1", "/"))),
        ("div", select(chain(count, "1", " DIV "))),
        ("equals", select(chain(count, "1", "="))),
        ("strings", select(chain(count, "'a'", " "))),
        ("not", select(nested(count, "NOT ", "1", ""))),
        ("minus", select(nested(count, "- ", "1", ""))),
        ("tilde", select(nested(count, "~", "1", ""))),
        ("parentheses", select(nested(count, "(", "1", ")"))),
        ("opened", select(nested(count, "(", "1", ""))),
        ("closed", select(nested(count, "", "1", ")"))),
        (
            "condition in parentheses",
            from(nested(count, "(", "executions = 1", ")")),
        ),
        ("cast", select(nested(count, "CAST(", "1", " AS CHAR)"))),
        ("convert", select(nested(count, "CONVERT(", "1", ", CHAR)"))),
        ("if", select(nested(count, "IF(1,", "1", ",2)"))),
        ("ifnull", select(nested(count, "IFNULL(", "1", ",2)"))),
        ("concat", select(nested(count, "CONCAT('a',", "'b'", ")"))),
        (
            "arguments",
            select(format!("CONCAT({})", chain(count, "'a'", ","))),
        ),
        (
            "case",
            select(nested(count, "CASE WHEN 1 THEN ", "1", " ELSE 2 END")),
        ),
        (
            "whens",
            select(format!("CASE 1 {} END", chain(count, "WHEN 2 THEN 3", " "))),
        ),
        (
            "interval",
            select(nested(count, "NOW() + INTERVAL (", "1", ") DAY")),
        ),
        (
            "intervals",
            select(nested(count, "NOW() + INTERVAL ", "1", " DAY")),
        ),
        (
            "bare intervals",
            select(nested(count, "INTERVAL ", "1", " DAY")),
        ),
        (
            "date_add",
            select(nested(count, "DATE_ADD(NOW(), INTERVAL ", "1", " DAY)")),
        ),
        (
            "extract",
            select(nested(count, "EXTRACT(DAY FROM ", "NOW()", ")")),
        ),
        (
            "group_concat",
            select(nested(count, "GROUP_CONCAT(", "1", " SEPARATOR ',')")),
        ),
        (
            "position",
            select(nested(count, "POSITION('a' IN ", "'a'", ")")),
        ),
        (
            "trim",
            select(nested(count, "TRIM(LEADING 'a' FROM ", "'a'", ")")),
        ),
        ("like", select(chain(count, "'a'", " LIKE "))),
        (
            "between",
            select(nested(count, "1 BETWEEN 0 AND ", "1", "")),
        ),
        (
            "in a list",
            from(format!("executions IN ({})", chain(count, "1", ","))),
        ),
        (
            "in a query",
            from(nested(
                count,
                "executions IN (SELECT 1 FROM queries WHERE ",
                "1",
                ")",
            )),
        ),
        (
            "exists",
            from(nested(
                count,
                "EXISTS (SELECT 1 FROM queries WHERE ",
                "1",
                ")",
            )),
        ),
        (
            "queries in queries",
            nested(count, "SELECT (", "1", ")").replace("(1", "(SELECT 1"),
        ),
        (
            "tables in tables",
            nested(count, "SELECT * FROM (", "SELECT * FROM queries", ") AS t"),
        ),
        (
            "union",
            chain(count, "SELECT 1 FROM queries", " UNION ALL "),
        ),
        (
            "unions in unions",
            nested(count, "(SELECT 1 UNION ", "SELECT 1", ")"),
        ),
        (
            "joins",
            format!("SELECT 1 FROM queries {}", chain(count, "JOIN totals", " ")),
        ),
        (
            "commas",
            format!("SELECT 1 FROM {}", chain(count, "queries", ",")),
        ),
        (
            "columns",
            format!("SELECT {} FROM queries", chain(count, "executions", ",")),
        ),
        (
            "order",
            format!(
                "SELECT 1 FROM queries ORDER BY {}",
                chain(count, "executions", ",")
            ),
        ),
        (
            "group",
            format!(
                "SELECT 1 FROM queries GROUP BY {}",
                chain(count, "executions", ",")
            ),
        ),
        (
            "with",
            format!(
                "WITH {} SELECT 1",
                chain(count, "a AS (SELECT 1 FROM queries)", ",")
            ),
        ),
        (
            "withs in withs",
            nested(count, "WITH a AS (", "SELECT 1", ") SELECT 1"),
        ),
        ("set", format!("SET @a = {}", nested(count, "(", "1", ")"))),
        ("sets", format!("SET {}", chain(count, "@a = 1", ","))),
        (
            "show",
            format!("SHOW TABLES WHERE {}", chain(count, "1", " OR ")),
        ),
        (
            "show in parentheses",
            format!("SHOW TABLES WHERE {}", nested(count, "(", "1", ")")),
        ),
        (
            "explain",
            format!("EXPLAIN SELECT {}", nested(count, "(", "1", ")")),
        ),
        ("comments", select(chain(count, "1", "/* + */ + /*!1 + */"))),
        ("statements", chain(count, "SELECT 1", ";")),
        ("parameters", select(chain(count, "?", "+"))),
    ]
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
    let mut app = gate.connect("").await;
    app.query_drop("USE tidegate").await.unwrap();
    ask_all(&mut app, &[100, 10_000]).await;
    assert!(gate.runs());
    assert!(!gate.log().contains("panicked"), "{}", gate.log());
    gate.stop();
}
