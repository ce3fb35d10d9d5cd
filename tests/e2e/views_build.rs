//! Building views on a real server: what is stored equals what one GROUP BY over the base table gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tidegate::backend::control::{Control, ControlSettings};
use tidegate::binlog::{Binlog, Unavailable};
use tidegate::config::Config;
use tidegate::views::build::{self, Limits, Order, Progress};
use tidegate::views::connection::{ChunkReads, Link, ViewsError};
use tidegate::views::definition::{BaseTable, Definition, MeasureFunction, ViewEnv};
use tidegate::views::keyset::{KeyPart, Keyset};
use tidegate::views::leader::{Leader, List};
use tidegate::views::secondary::{self, Engine};

use crate::support::MySql;
use crate::support::mysql::cells;

/// A table with everything that makes exactness hard: NULL keys, equal texts of other bytes, ENUM, a composite text key,
/// timestamps that the session's time zone would fold together.
async fn hard_table(conn: &mut mysql_async::Conn, rows: u32) {
    conn.query_drop(
        "CREATE TABLE hard (a VARCHAR(12) COLLATE utf8mb4_0900_ai_ci NOT NULL, b INT NOT NULL, c DATE NOT NULL,
           kind ENUM('b','a','c') NULL, word VARCHAR(9) COLLATE utf8mb4_general_ci NULL, raw VARBINARY(9) NULL,
           at TIMESTAMP NULL, dt DATETIME(3) NULL, amount DECIMAL(15,2) NULL, units INT NOT NULL, PRIMARY KEY (a, b, c))",
    )
    .await
    .unwrap();
    conn.query_drop("SET SESSION cte_max_recursion_depth=1000000, time_zone='+00:00'")
        .await
        .unwrap();
    conn.query_drop(format!(
        "INSERT INTO hard
         WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         SELECT CONCAT('k', i % 97), i, DATE '2026-01-01' + INTERVAL i % 50 DAY,
           ELT(1 + i % 4, 'a', 'b', 'c', NULL), ELT(1 + i % 5, 'x', 'X', 'x ', NULL, 'ü'), ELT(1 + i % 3, 'r', 'r ', NULL),
           TIMESTAMP '2026-10-25 00:30:00' + INTERVAL i % 4 HOUR,
           TIMESTAMP '2026-01-01 23:59:59.999' + INTERVAL i % 400 HOUR,
           IF(i % 7 = 0, NULL, (i % 1000) / 100 - 3), i % 11 - 5
         FROM n"
    ))
    .await
    .unwrap();
}

fn definition(schema: &str, keys: &[&str]) -> Definition {
    use MeasureFunction::*;
    let measures: [(MeasureFunction, Option<&str>); 6] = [
        (CountStar, None),
        (Count, Some("`word`")),
        (Sum, Some("`amount`")),
        (Sum, Some("CASE WHEN `kind` = 'a' THEN `amount` ELSE 0 END")),
        (Min, Some("`dt`")),
        (Max, Some("`units`")),
    ];
    Definition::new(
        BaseTable {
            schema: schema.to_owned(),
            name: "hard".to_owned(),
        },
        keys.iter().map(|key| (*key).to_owned()),
        measures
            .iter()
            .map(|(function, argument)| (*function, argument.map(str::to_owned))),
        ViewEnv::default(),
    )
}

fn limits(reads: ChunkReads) -> Limits {
    Limits {
        rows_max: 1_000_000,
        ratio_max: 1.0,
        chunk_target: Duration::from_millis(10),
        reads,
    }
}

fn keyset() -> Keyset {
    let part = |column, data_type, character_set| KeyPart {
        column,
        data_type,
        character_set,
    };
    Keyset::new(&[
        part("a", "varchar", Some("utf8mb4")),
        part("b", "int", None),
        part("c", "date", None),
    ])
    .unwrap()
}

async fn build(
    server: &MySql,
    definition: &Definition,
    table: &str,
    limits: Limits,
    watch: &(dyn Fn() -> Result<(), ViewsError> + Sync),
) -> Result<(build::Built, Progress), ViewsError> {
    let mut link = Link::new(server.connect("").await).await.unwrap();
    let keyset = keyset();
    let order = Order {
        definition,
        keyset: &keyset,
        table,
        probe_table: &format!("`{}`.`probe`", definition.base.schema),
        base_rows_estimated: 30_000,
        limits,
    };
    let progress = Progress::default();
    build::build(&mut link, &order, &progress, watch)
        .await
        .map(|built| (built, progress))
}

#[tokio::test]
async fn chunks_add_up_to_one_group_by() {
    let server = MySql::shared();
    let schema = server.schema("build");
    let mut conn = server.connect(&schema).await;
    hard_table(&mut conn, 30_000).await;
    for (at, reads) in [ChunkReads::Unlocked, ChunkReads::Locking]
        .into_iter()
        .enumerate()
    {
        let keys = ["DATE(`dt`)", "`kind`", "`word`", "`raw`", "`at`"];
        let definition = definition(&schema, &keys);
        let table = format!("`{schema}`.`v1_{at}`");
        let (built, progress) = build(server, &definition, &table, limits(reads), &|| Ok(()))
            .await
            .unwrap();
        assert!(progress.chunks.into_inner() > 5);
        assert_eq!(built.base_rows, 30_000);
        let keys: Vec<String> = definition
            .keys
            .iter()
            .map(|k| k.expression.clone())
            .collect();
        let direct = cells(
            &mut conn,
            &format!(
                "SELECT {0}, HEX(`word`), COUNT(*), COUNT(`word`), SUM(`amount`),
                   SUM(CASE WHEN `kind` = 'a' THEN `amount` ELSE 0 END), MIN(`dt`), MAX(`units`)
                 FROM hard GROUP BY {0}, HEX(`word`)",
                keys.join(", ")
            ),
        )
        .await
        .unwrap();
        let column = |function, argument: Option<&str>| {
            definition
                .measure(function, argument)
                .unwrap()
                .column
                .clone()
        };
        use MeasureFunction::*;
        let stored = cells(
            &mut conn,
            &format!(
                "SELECT {}, HEX(`{}`), n, {}, IF({}, {}, NULL), {}, {}, {} FROM {table}",
                definition
                    .keys
                    .iter()
                    .map(|k| k.column.clone())
                    .collect::<Vec<_>>()
                    .join(", "),
                definition.key("`word`").unwrap().column,
                column(Count, Some("`word`")),
                column(Count, Some("`amount`")),
                column(Sum, Some("`amount`")),
                column(Sum, Some("CASE WHEN `kind` = 'a' THEN `amount` ELSE 0 END")),
                column(Min, Some("`dt`")),
                column(Max, Some("`units`")),
            ),
        )
        .await
        .unwrap();
        let sorted = |mut rows: Vec<Vec<Option<Vec<u8>>>>| {
            rows.sort();
            rows
        };
        assert_eq!(direct.len() as u64, built.rows);
        assert_eq!(sorted(direct), sorted(stored));
        let word = definition.key("`word`").unwrap().column.clone();
        assert_eq!(
            built.variant_columns,
            [word],
            "x, X and x-blank are equal but not the same"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_build_never_hurts_writers() {
    let server = MySql::shared();
    let schema = server.schema("writers");
    let mut conn = server.connect(&schema).await;
    hard_table(&mut conn, 20_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|seed| tokio::spawn(write_backwards(schema.clone(), seed, Arc::clone(&stop))))
        .collect();
    let definition = definition(&schema, &["`kind`", "DATE(`dt`)"]);
    let mut builds = 0;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let table = format!("`{schema}`.`v9_{builds}`");
        let chosen = limits(reads_under_test());
        build(server, &definition, &table, chosen, &|| Ok(()))
            .await
            .unwrap();
        builds += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let mut commits = 0;
    for writer in writers {
        let (done, errors) = writer.await.unwrap();
        assert_eq!(errors, Vec::<String>::new(), "after {builds} builds");
        commits += done;
    }
    assert!(
        builds > 2 && commits > 100,
        "{builds} builds, {commits} commits"
    );
}

/// How the product's builds read. `Locking` makes the test above fail: that is why they do not lock.
fn reads_under_test() -> ChunkReads {
    match std::env::var("VIEWS_TEST_READS").as_deref() {
        Ok("locking") => ChunkReads::Locking,
        _ => ChunkReads::default(),
    }
}

/// Transactions that change a few rows each, from high keys to low: the opposite of a build's order.
async fn write_backwards(schema: String, seed: u32, stop: Arc<AtomicBool>) -> (u32, Vec<String>) {
    let mut conn = MySql::shared().connect(&schema).await;
    let (mut commits, mut errors) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) && errors.is_empty() {
        let mut statements = vec!["BEGIN".to_owned()];
        let mut keys: Vec<u32> = (0..5)
            .map(|n| (commits * 7919 + seed * 104_729 + n * 3_571) % 97)
            .collect();
        keys.sort_unstable_by(|one, two| two.cmp(one));
        for key in keys {
            statements.push(format!(
                "UPDATE hard SET units = units + 1 WHERE a = 'k{key}' ORDER BY a DESC, b DESC LIMIT 20"
            ));
        }
        statements.push("COMMIT".to_owned());
        for sql in statements {
            match conn.query_drop(&sql).await {
                Ok(()) => {}
                // Writers may deadlock among themselves: not with the same order of keys.
                Err(error) => errors.push(error.to_string()),
            }
        }
        commits += 1;
    }
    (commits, errors)
}

#[tokio::test]
async fn one_proxy_leads_and_clears_what_another_left() {
    let server = MySql::start(&[]);
    let control = control(&server);
    let binlog = Binlog::unavailable(Unavailable::Disabled);
    let mut one = Leader::new(Arc::clone(&control), Arc::clone(&binlog), "tide");
    let mut two = Leader::new(Arc::clone(&control), Arc::clone(&binlog), "tide");
    assert!(one.hold().await.unwrap());
    assert!(!one.hold().await.unwrap());
    assert!(matches!(two.hold().await, Err(ViewsError::Stopped)));
    let mut link = one.connect().await.unwrap();
    assert_eq!(one.set_up(&mut link).await.unwrap(), Vec::<String>::new());
    // Nothing is made before a view is wanted.
    assert_eq!(server.run("SHOW DATABASES LIKE 'tide'"), "");
    let list = List::new("tide");
    let definition = definition("shop", &["`kind`"]);
    let first = list.list(&mut link, &definition).await.unwrap();
    let second = list.list(&mut link, &definition).await.unwrap();
    assert!(second > first);
    let comment = tidegate::views::storage::TABLE_COMMENT;
    server.run(&format!(
        "CREATE TABLE tide.v1_1 (a INT PRIMARY KEY) COMMENT='{comment}'; \
         CREATE TABLE tide.v1_2 (a INT PRIMARY KEY); \
         CREATE TABLE tide.keep (a INT PRIMARY KEY) COMMENT='{comment}'"
    ));
    // The leader dies; the next one takes over, drops what is surely ours and hands out new numbers.
    server.run(&format!("KILL {}", lock_holder(&server)));
    assert!(one.hold().await.is_err());
    assert!(two.hold().await.unwrap());
    two.set_up(&mut link).await.unwrap();
    assert_eq!(server.run("SHOW TABLES IN tide"), "keep\nv1_2\nviews\n");
    assert_eq!(server.run("SELECT COUNT(*) FROM tide.views"), "0\n");
    assert!(list.list(&mut link, &definition).await.unwrap() > second);
    assert!(matches!(one.hold().await, Err(ViewsError::Stopped)));
}

/// The connection that holds a named lock.
fn lock_holder(server: &MySql) -> String {
    server
        .run(
            "SELECT PROCESSLIST_ID FROM performance_schema.metadata_locks JOIN performance_schema.threads \
             ON OWNER_THREAD_ID=THREAD_ID WHERE OBJECT_TYPE='USER LEVEL LOCK'",
        )
        .trim()
        .to_owned()
}

fn control(server: &MySql) -> Arc<Control> {
    Control::new(ControlSettings::from_config(&config(server)))
}

/// A configuration whose backend is this server.
pub fn config(server: &MySql) -> Config {
    let mut config = Config::default();
    config.backend.url = server.root_url().trim_end_matches('/').parse().unwrap();
    config
}

#[tokio::test]
async fn a_secondary_engine_is_believed_only_when_it_has_loaded() {
    let server = MySql::start_with_mock(&[]);
    server.run(
        "CREATE DATABASE d; CREATE TABLE d.v1_1 (a INT PRIMARY KEY); INSERT INTO d.v1_1 VALUES (1)",
    );
    let mut link = Link::new(server.connect_root().await).await.unwrap();
    link.settle(&ViewEnv::default(), ChunkReads::default())
        .await
        .unwrap();
    let table = "`d`.`v1_1`";
    // No such engine: the server says OK twice, and only a warning tells.
    let unknown = secondary::load(&mut link, "d", "v1_1", table, "NOSUCH").await;
    assert!(
        matches!(unknown, Err(ViewsError::Unsupported(_))),
        "{unknown:?}"
    );
    secondary::unload(&mut link, table).await.unwrap();
    // A reader's open transaction: the wait is short, and readers are not kept behind it.
    let mut reader = server.connect_root().await;
    reader
        .query_drop("BEGIN; SELECT * FROM d.v1_1")
        .await
        .unwrap();
    let began = Instant::now();
    let blocked = secondary::load(&mut link, "d", "v1_1", table, "MOCK").await;
    assert!(
        blocked.as_ref().is_err_and(ViewsError::is_lock),
        "{blocked:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(15));
    reader.query_drop("COMMIT").await.unwrap();
    secondary::load(&mut link, "d", "v1_1", table, "MOCK")
        .await
        .unwrap();
    // The mock answers with nothing; the InnoDB copy is still there.
    for (engine, rows) in [(Engine::Secondary, 0), (Engine::InnoDb, 1)] {
        let sql = secondary::hinted(b"SELECT a FROM d.v1_1", engine).unwrap();
        let short = Duration::from_secs(5);
        let answer = link.answer(&sql, (10, 1000), short).await.unwrap().unwrap();
        assert_eq!(answer.rows.len(), rows, "{engine:?}");
    }
    secondary::unload(&mut link, table).await.unwrap();
    let forced = secondary::hinted(b"SELECT a FROM d.v1_1", Engine::Secondary).unwrap();
    let refused = link
        .answer(&forced, (10, 1000), Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(
        refused.code().is_some_and(secondary::is_refusal),
        "{refused}"
    );
}

#[tokio::test]
async fn a_build_logs_each_group_once() {
    let server = MySql::start(&[]);
    let schema = server.schema("logged");
    let mut conn = server.connect(&schema).await;
    hard_table(&mut conn, 30_000).await;
    let definition = definition(&schema, &["DATE(`dt`)", "`kind`", "`units`"]);
    let end = || {
        let status = server.run("SHOW BINARY LOG STATUS");
        let mut fields = status.split('\t');
        let file = fields.next().unwrap().to_owned();
        (file, fields.next().unwrap().parse::<u64>().unwrap())
    };
    let before = end();
    let table = format!("`{schema}`.`v1_1`");
    let chosen = limits(ChunkReads::default());
    let (built, progress) = build(&server, &definition, &table, chosen, &|| Ok(()))
        .await
        .unwrap();
    let after = end();
    assert_eq!(before.0, after.0);
    let (bytes, chunks) = (after.1 - before.1, progress.chunks.into_inner());
    // A row of this view is some 100 bytes, and every group is in most chunks.
    let most = 150 * built.rows + 10_000;
    assert!(
        chunks > 5 && bytes < most,
        "{bytes} bytes for {} groups in {chunks} chunks",
        built.rows
    );
}
