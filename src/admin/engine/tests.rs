//! The engine with made-up rows: results, types, limits and refusals.

mod bounds;

use super::*;
use crate::admin::context::Context;
use crate::admin::statement::{Plan, plan};

fn sources(queries: usize) -> Sources {
    let queries = Arc::new(move || {
        (0..queries)
            .map(|at| {
                let mut row: Row = vec![
                    format!("{at:032x}").into(),
                    "SELECT `a` FROM `t` WHERE `b` = ?".into(),
                    "select".into(),
                    if at % 2 == 0 { "ann" } else { "Bob" }.into(),
                ];
                row.resize(6, "".into());
                row.resize(37, at.into());
                row
            })
            .collect()
    });
    Sources {
        queries,
        decisions: Arc::new(|| panic!("a room's snapshot failed")),
        ..Sources::default()
    }
}

async fn ask_with(engine: &Engine, sql: &str, parameters: Vec<Value>) -> Result<ResultSet, Error> {
    let context = Context::for_tests();
    match plan(sql, &context)? {
        Plan::Query(rewritten) => engine.run(context.schema, rewritten, parameters).await,
        other => panic!("{other:?}"),
    }
}

async fn ask(engine: &Engine, sql: &str) -> Result<ResultSet, Error> {
    ask_with(engine, sql, Vec::new()).await
}

fn engine(queries: usize, limits: Limits) -> Engine {
    Engine::start(sources(queries), limits).unwrap()
}

fn limits() -> Limits {
    Limits::new(1000, 2000)
}

#[tokio::test]
async fn rows_names_and_types() {
    let engine = engine(10, limits());
    let result = ask(
        &engine,
        "SELECT q.executions, COUNT(*) AS n, SUM(errors)/2, \"x\", NULL, last_seen FROM queries q WHERE executions >= 3 \
         GROUP BY executions ORDER BY executions DESC LIMIT 1, 2",
    )
    .await
    .unwrap();
    let columns: Vec<(&str, Type)> = result
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.kind))
        .collect();
    assert_eq!(
        columns[..5],
        [
            ("executions", Type::BigInt),
            ("n", Type::BigInt),
            ("SUM(errors)/2", Type::Double),
            ("x", Type::Name(1)),
            ("NULL", typing::TEXT),
        ]
    );
    let expected: Row = vec![
        8.into(),
        1.into(),
        4.0.into(),
        "x".into(),
        Value::Null,
        8.into(),
    ];
    assert_eq!((result.rows.len(), &result.rows[0]), (2, &expected));
    let origin = result.columns[0].origin.clone().unwrap();
    assert_eq!((origin.alias.as_str(), origin.table), ("q", "queries"));
}

#[tokio::test]
async fn a_type_is_widened_where_a_value_does_not_fit() {
    let engine = engine(3, limits());
    // last_seen is a DATETIME, but these rows hold numbers.
    let result = ask(
        &engine,
        "SELECT last_seen, nullif(1, 1), json_extract('2.5', '$') FROM queries",
    )
    .await
    .unwrap();
    let kinds: Vec<Type> = result.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [typing::TEXT, Type::BigInt, Type::Double]);
}

#[tokio::test]
async fn numbers_sort_as_numbers_and_states_compare_without_case() {
    let engine = engine(12, limits());
    let result = ask(
        &engine,
        "SELECT executions FROM queries ORDER BY executions DESC LIMIT 3",
    )
    .await
    .unwrap();
    assert_eq!(result.rows, [[11.into()], [10.into()], [9.into()]]);
    let count = |result: ResultSet| result.rows[0][0].clone();
    let same = ask(
        &engine,
        "SELECT COUNT(*) FROM queries WHERE kind = 'SELECT'",
    )
    .await
    .unwrap();
    assert_eq!(count(same), 12.into());
    // Users are names: compared exactly.
    let exact = ask(&engine, "SELECT COUNT(*) FROM queries WHERE user = 'bob'")
        .await
        .unwrap();
    assert_eq!(count(exact), 0.into());
    let number_as_text = ask(
        &engine,
        "SELECT COUNT(*) FROM queries WHERE executions = '7'",
    )
    .await
    .unwrap();
    assert_eq!(count(number_as_text), 1.into());
}

#[tokio::test]
async fn joins_on_equality_do_not_scan_for_every_row() {
    let engine = engine(5000, Limits::new(10, 20_000));
    let result = ask(
        &engine,
        "SELECT COUNT(*) FROM queries a JOIN queries b ON a.digest = b.digest JOIN tidegate.queries c \
         ON c.executions = b.executions WHERE a.user = 'ann'",
    )
    .await
    .unwrap();
    assert_eq!(result.rows[0][0], 2500.into());
}

#[tokio::test]
async fn parameters_are_bound_with_their_types() {
    let engine = engine(5, limits());
    let sql = "SELECT executions FROM queries WHERE executions > ? AND user = ?";
    let result = ask_with(&engine, sql, vec![2.into(), "ann".into()])
        .await
        .unwrap();
    assert_eq!(result.rows, [[4.into()]]);
    let limited = "SELECT executions FROM queries ORDER BY 1 LIMIT ? OFFSET ?";
    let result = ask_with(&engine, limited, vec!["1".into(), "2".into()])
        .await
        .unwrap();
    assert_eq!(result.rows, [[2.into()]]);
    let error = ask_with(&engine, sql, vec![2.into()]).await.unwrap_err();
    assert_eq!(error.number(), 1210);
}

#[tokio::test]
async fn text_is_as_long_as_its_column_at_most() {
    let long = "ü".repeat(200);
    let sources = Sources {
        decisions: Arc::new(move || vec![vec!["é".into(), long.clone().into()]]),
        ..Sources::default()
    };
    let engine = Engine::start(sources, limits()).unwrap();
    let result = ask(
        &engine,
        "SELECT target, CHAR_LENGTH(reason), last_digest FROM decisions",
    )
    .await
    .unwrap();
    // The row is too short too: what is missing is not known.
    assert_eq!(result.rows, [["é".into(), 64.into(), Value::Null]]);
}

#[tokio::test]
async fn statements_are_described_without_being_run() {
    let engine = engine(1, limits());
    let Plan::Query(rewritten) = plan(
        "SELECT ?, COUNT(*), @@version FROM decisions",
        &Context::for_tests(),
    )
    .unwrap() else {
        panic!()
    };
    // Reading decisions would panic; describing does not read.
    let description = engine.describe("tidegate", rewritten).await.unwrap();
    assert_eq!(description.parameters, 1);
    assert_eq!(description.columns[1].kind, Type::BigInt);
    assert_eq!(description.columns[2].name, "@@version");
}

#[tokio::test]
async fn every_limit_is_an_error_that_names_it() {
    let rows = engine(
        20,
        Limits {
            rows_max: 10,
            ..limits()
        },
    );
    assert_eq!(
        ask(&rows, "SELECT * FROM queries").await.unwrap_err(),
        Error::TooManyRows(10)
    );
    assert!(ask(&rows, "SELECT * FROM queries LIMIT 10").await.is_ok());

    let bytes = engine(
        200,
        Limits {
            result_bytes_max: 10_000,
            ..limits()
        },
    );
    assert_eq!(
        ask(&bytes, "SELECT * FROM queries")
            .await
            .unwrap_err()
            .number(),
        1041
    );

    let time = engine(
        1,
        Limits {
            query_ms_max: 50,
            ..limits()
        },
    );
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";
    assert_eq!(ask(&time, endless).await.unwrap_err(), Error::Timeout(50));
    assert!(ask(&time, "SELECT 1").await.is_ok());
}

#[tokio::test]
async fn memory_is_bounded() {
    let engine = engine(
        1,
        Limits {
            memory_bytes_max: 32 << 20,
            ..Limits::new(1000, 60_000)
        },
    );
    let hungry = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) \
                  SELECT COUNT(DISTINCT concat(repeat('x', 1000), i)) FROM n";
    assert_eq!(
        ask(&engine, hungry).await.unwrap_err(),
        Error::OutOfMemory(32 << 20)
    );
}

#[tokio::test]
async fn results_that_wait_to_be_sent_share_one_budget() {
    let engine = engine(
        100,
        Limits {
            results_bytes_max: 100_000,
            ..limits()
        },
    );
    let first = ask(&engine, "SELECT * FROM queries LIMIT 60")
        .await
        .unwrap();
    assert_eq!(
        ask(&engine, "SELECT * FROM queries LIMIT 60")
            .await
            .unwrap_err(),
        Error::Busy
    );
    drop(first);
    assert!(ask(&engine, "SELECT * FROM queries LIMIT 60").await.is_ok());
}

#[tokio::test]
async fn a_failing_snapshot_fails_one_statement_only() {
    let engine = engine(1, limits());
    let error = ask(&engine, "SELECT * FROM decisions").await.unwrap_err();
    assert!(error.to_string().contains("decisions"), "{error}");
    assert!(ask(&engine, "SELECT * FROM queries").await.is_ok());
}

#[tokio::test]
async fn nothing_but_reading_gets_through() {
    let engine = engine(1, limits());
    let raw = |sql: &str| Rewritten {
        sql: sql.to_owned(),
        names: Vec::new(),
        parameters: 0,
    };
    for sql in [
        "DELETE FROM queries",
        "CREATE TABLE x(a)",
        "ATTACH ':memory:' AS x",
        "PRAGMA temp_store = FILE",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('x')",
        "VACUUM",
        "BEGIN",
    ] {
        assert!(
            engine.run("tidegate", raw(sql), Vec::new()).await.is_err(),
            "{sql}"
        );
    }
    assert!(
        engine
            .run("tidegate", raw("SELECT 1; SELECT 2"), Vec::new())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn mysql_errors_for_unknown_things() {
    let engine = engine(1, limits());
    for (sql, number) in [
        ("SELECT * FROM nope", 1146),
        ("SELECT * FROM nothing", 1146),
        ("SELECT * FROM shop.orders", 1049),
        ("SELECT nothing FROM queries", 1054),
        ("SELECT `nothing` FROM queries", 1054),
        ("SELECT q.nothing FROM queries q", 1054),
        ("SELECT user FROM queries, sessions", 1052),
        ("SELECT sleep(10)", 1305),
        ("SELECT left('a')", 1582),
        ("SELECT 1 FROM queries WHERE COUNT(*) > 1", 1111),
        ("SELECT FROM queries", 1064),
        ("SELECT a FROM queries WHERE", 1064),
        ("SELECT 'a' REGEXP '('", 1105),
    ] {
        let error = ask(&engine, sql).await.unwrap_err();
        assert_eq!(error.number(), number, "{sql}: {error}");
    }
}

#[tokio::test]
async fn both_schemas_resolve_names_by_the_default() {
    let engine = engine(3, limits());
    let own = ask(&engine, "SELECT COUNT(*) FROM tables").await.unwrap();
    assert_eq!(own.rows[0][0], crate::admin::catalog::TABLES.len().into());
    let Plan::Query(rewritten) =
        plan("SELECT COUNT(*) FROM tables", &Context::for_tests()).unwrap()
    else {
        panic!()
    };
    let standard = engine
        .run("information_schema", rewritten, Vec::new())
        .await
        .unwrap();
    assert_eq!(
        standard.rows[0][0],
        crate::admin::catalog::all().count().into()
    );
    let joined = ask(
        &engine,
        "SELECT c.COLUMN_TYPE FROM information_schema.columns c JOIN `information_schema`.`tables` t \
         ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
         WHERE c.table_schema = 'TIDEGATE' AND c.table_name = 'queries' AND c.column_name = 'last_seen'",
    )
    .await
    .unwrap();
    assert_eq!(joined.rows, [["datetime(6)".into()]]);
}

#[tokio::test]
async fn every_show_runs() {
    let engine = engine(3, limits());
    for sql in [
        "SHOW DATABASES",
        "SHOW SCHEMAS LIKE 'tide%'",
        "SHOW FULL TABLES FROM information_schema",
        "SHOW TABLES LIKE 'q%'",
        "SHOW TABLES WHERE Tables_in_tidegate = 'queries'",
        "SHOW FULL COLUMNS FROM queries",
        "SHOW FIELDS IN `queries` IN tidegate LIKE '%\\_us'",
        "DESCRIBE queries",
        "DESC queries mean_us",
        "EXPLAIN queries",
        "EXPLAIN SELECT * FROM queries WHERE digest = 'x'",
        "SHOW CREATE TABLE queries",
        "SHOW CREATE DATABASE tidegate",
        "SHOW INDEX FROM queries",
        "SHOW KEYS FROM queries WHERE Key_name = 'PRIMARY'",
        "SHOW TABLE STATUS FROM tidegate LIKE 'queries'",
        "SHOW VARIABLES",
        "SHOW SESSION VARIABLES LIKE 'lower_case_%'",
        "SHOW VARIABLES WHERE Variable_name = 'language' OR Variable_name = 'net_write_timeout'",
        "SHOW GLOBAL STATUS",
        "SHOW STATUS LIKE 'Ssl_cipher'",
        "SHOW FULL PROCESSLIST",
        "SHOW WARNINGS",
        "SHOW ENGINES",
        "SHOW STORAGE ENGINES",
        "SHOW COLLATION WHERE Charset = 'utf8mb4'",
        "SHOW CHARACTER SET LIKE 'utf8%'",
        "SHOW CHARSET",
        "SHOW PLUGINS",
        "SHOW TRIGGERS FROM tidegate",
        "SHOW EVENTS",
        "SHOW PROCEDURE STATUS WHERE Db = 'tidegate'",
        "SHOW FUNCTION STATUS",
        "SHOW GRANTS",
        "TABLE queries",
        "TABLE queries LIMIT 1",
        "VALUES (1, 2)",
    ] {
        let result = ask(&engine, sql).await;
        assert!(result.is_ok(), "{sql}: {}", result.unwrap_err());
    }
    let names = |result: ResultSet| {
        result
            .columns
            .into_iter()
            .map(|c| c.name)
            .collect::<Vec<_>>()
    };
    let described = ask(&engine, "DESCRIBE queries").await.unwrap();
    assert_eq!(
        names(described),
        ["Field", "Type", "Null", "Key", "Default", "Extra"]
    );
}
