//! What a WHERE on the time of a long table makes the engine read: enough for the right rows, and no more.

use parking_lot::Mutex;

use super::*;
use crate::admin::bounds::Bounds;
use crate::admin::time::{Moment, format_micros};

const MINUTE_US: i64 = 60_000_000;

/// Minutes 0 to 999 after this moment have a row each.
fn first_us() -> i64 {
    Moment::parse("2026-01-31 20:00").unwrap().to_micros()
}

type Asked = Arc<Mutex<Vec<Bounds>>>;

fn watched() -> (Engine, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let query_history = Arc::new(move |bounds: Bounds| {
        seen.lock().push(bounds);
        let minutes = (0..1_000).map(|at| first_us() + at * MINUTE_US);
        let wanted = minutes.filter(|at| {
            bounds.from_us.is_none_or(|from| *at >= from) && bounds.to_us.is_none_or(|to| *at <= to)
        });
        let row = |at: i64| -> Row {
            let minute = Value::from(format_micros(at)).cut(19);
            let mut row = vec![minute, format!("{at:032x}").into()];
            row.resize(7, "x".into());
            row.resize(34, 1.into());
            row
        };
        Ok(wanted.map(row).collect())
    });
    let sources = Sources {
        query_history,
        ..sources(3)
    };
    (Engine::start(sources, limits()).unwrap(), asked)
}

/// Asks for a count, and says how many minutes were read for it, by the width of the bounds.
async fn counted(condition: &str) -> (Value, Vec<(bool, bool)>) {
    let (engine, asked) = watched();
    let sql = format!("SELECT COUNT(*) FROM query_history WHERE {condition}");
    let count = ask(&engine, &sql).await.unwrap().rows[0][0].clone();
    let asked = asked.lock();
    let sides = |bounds: &Bounds| (bounds.from_us.is_some(), bounds.to_us.is_some());
    (count, asked.iter().map(sides).collect())
}

#[tokio::test]
async fn a_where_on_the_minute_bounds_what_is_read() {
    for (condition, count, sides) in [
        ("1 = 1", 1_000, (false, false)),
        ("minute >= '2026-02-01'", 760, (true, false)),
        ("minute < '2026-02-01'", 240, (false, true)),
        (
            "minute > '2026-02-01 00:00:00' AND minute <= '2026-02-01 00:10:00'",
            10,
            (true, true),
        ),
        (
            "minute BETWEEN '2026-01-31 20:00' AND '2026-01-31 20:05'",
            5,
            (true, true),
        ),
        ("minute = '2026-01-31 23:59:00'", 1, (true, true)),
        (
            "minute >= '2026-01-31 23:59:00.000000' - INTERVAL 9 MINUTE AND user = 'x' AND minute < '2026-02-01'",
            10,
            (true, true),
        ),
        ("minute >= NOW() - INTERVAL 1000 YEAR", 1_000, (true, false)),
        ("minute >= '2026'", 1_000, (false, false)),
        ("minute LIKE '2026-01-31 20:0%'", 10, (false, false)),
        (
            "minute >= '2026-02-01' OR minute < '2026-01-31 21:00'",
            820,
            (false, false),
        ),
    ] {
        let found = counted(condition).await;
        assert_eq!(found, (Value::Int(count), vec![sides]), "{condition}");
    }
}

/// A join that asks for other bounds at each row reads a few times, then everything once.
#[tokio::test]
async fn a_join_does_not_read_without_end() {
    let (engine, asked) = watched();
    let sql = "SELECT COUNT(*) FROM query_history a JOIN query_history b ON b.minute = a.minute AND b.digest = a.digest \
               WHERE a.minute < '2026-01-31 20:30'";
    let result = ask(&engine, sql).await.unwrap();
    assert_eq!(result.rows, [[Value::Int(30)]]);
    let asked = asked.lock();
    assert!(asked.len() <= 6, "{asked:?}");
}

/// A file that cannot be read is an error of the statement, and not a table without rows.
#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let sources = Sources {
        query_history: Arc::new(|_| Err("history: it is damaged".to_owned())),
        ..sources(3)
    };
    let engine = Engine::start(sources, limits()).unwrap();
    let error = ask(&engine, "SELECT COUNT(*) FROM query_history").await;
    let said = error.unwrap_err().to_string();
    assert!(said.contains("history: it is damaged"), "{said}");
    assert!(ask(&engine, "SELECT COUNT(*) FROM queries").await.is_ok());
}
