//! No strict answer is older than a commit that anybody was told of: through the whole program, cache and views, with writers
//! through the proxy and past it. First one write after another, then many at once, then with servers that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::time::sleep;

use crate::support::mysql::cells;
use crate::support::{MySql, Tidegate};

mod crowd;

const WAIT: Duration = Duration::from_secs(60);

/// The tables of these tests in a schema of their own.
fn tables(server: &MySql, rows: u32) -> String {
    let schema = server.schema("fresh");
    server.run(&format!(
        "USE {schema}; SET SESSION cte_max_recursion_depth = 1000000;
         CREATE TABLE counter (id INT PRIMARY KEY, kind INT NOT NULL, v BIGINT NOT NULL, note VARCHAR(20));
         INSERT INTO counter WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows})
           SELECT i, i % 8, 0, NULL FROM n;
         CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL);
         INSERT INTO accounts SELECT id, 1000 FROM counter WHERE id < 10;
         CREATE TABLE parent (id INT PRIMARY KEY, v INT);
         CREATE TABLE child (id INT PRIMARY KEY, pid INT,
           FOREIGN KEY (pid) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE other (id INT PRIMARY KEY AUTO_INCREMENT, v INT);
         CREATE TABLE swap (id INT PRIMARY KEY, kind INT NOT NULL, v BIGINT NOT NULL, note VARCHAR(20));
         INSERT INTO parent VALUES (1, 1), (2, 2), (3, 3), (4, 4); INSERT INTO child VALUES (1, 1), (2, 2), (3, 3), (4, 4);
         INSERT INTO swap SELECT id, kind, v + 1000000, 'swapped' FROM counter"
    ));
    schema
}

/// The proxy with every table of the schema in the cache by rule.
fn with_cache(server: &MySql, schema: &str) -> Tidegate {
    let names = ["counter", "accounts", "parent", "child"];
    let list: Vec<String> = names.iter().map(|t| format!("\"{schema}.{t}\"")).collect();
    Tidegate::of(server)
        .set("views.enabled", "false")
        .set("cache.tables", &format!("[{}]", list.join(", ")))
        .set("cache.gate_wait_ms_max", "1000")
        .start()
}

/// How many statements were decided for a reason since the start.
async fn decided(gate: &Tidegate, reason: &str) -> u64 {
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE reason = '{reason}'"
    );
    let rows: Vec<(i64,)> = gate.admin(&sql).await;
    u64::try_from(rows[0].0).unwrap()
}

/// Asks until the answer comes from where it should.
async fn until_served(gate: &Tidegate, conn: &mut Conn, sql: &str, reason: &str) {
    let deadline = Instant::now() + WAIT;
    let before = decided(gate, reason).await;
    loop {
        conn.query_drop(sql).await.unwrap();
        if decided(gate, reason).await > before {
            return;
        }
        if Instant::now() > deadline {
            let all: Vec<(String, i64)> = gate.admin("SELECT reason, count FROM decisions").await;
            panic!("{sql}: never {reason}: {all:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_is_seen_by_the_next_read() {
    let server = MySql::start(&[]);
    let schema = tables(&server, 100);
    let gate = with_cache(&server, &schema);
    let mut client = gate.connect(&schema).await;
    let reads = [
        "SELECT * FROM counter WHERE id < 20 ORDER BY id",
        "SELECT kind, SUM(v), COUNT(*) FROM counter GROUP BY kind ORDER BY kind",
        "SELECT * FROM child ORDER BY id",
        "SELECT c.v, p.v FROM counter c JOIN parent p ON p.id = c.id ORDER BY c.id",
    ];
    let writes = [
        "UPDATE counter SET v = v + 1 WHERE id = 3",
        "BEGIN; UPDATE counter SET v = v + 1; UPDATE parent SET v = v + 1; COMMIT",
        "DELETE FROM counter WHERE id = 7",
        "REPLACE INTO counter VALUES (7, 7, 7, 'seven')",
        "DELETE FROM parent WHERE id = 1",
        "UPDATE parent SET id = 40 WHERE id = 4",
        "SET SESSION binlog_transaction_compression = ON; UPDATE counter SET v = v + 1",
        "SET SESSION binlog_format = STATEMENT; UPDATE counter SET v = v + 1 WHERE id = 4",
        "SET SESSION binlog_row_image = MINIMAL; UPDATE counter SET v = v + 1 WHERE id = 4",
        "XA START 'x'; UPDATE counter SET v = v + 1; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'",
        "XA START 'y'; UPDATE counter SET v = v + 1; XA END 'y'; XA COMMIT 'y' ONE PHASE",
        "CREATE TRIGGER t AFTER INSERT ON other FOR EACH ROW UPDATE counter SET v = v + 1 WHERE id = 5",
        "INSERT INTO other (v) VALUES (1)",
        "ALTER TABLE counter ADD COLUMN extra INT DEFAULT 5",
        "ALTER TABLE counter DROP COLUMN extra",
        "RENAME TABLE counter TO gone, swap TO counter",
        "CREATE INDEX i ON counter (kind)",
        "ALTER TABLE counter MODIFY note VARCHAR(30) CHARACTER SET latin1",
        "FLUSH BINARY LOGS; UPDATE counter SET v = v + 1 WHERE id = 6",
        "TRUNCATE counter",
        "INSERT INTO counter SELECT id, id % 8, id, 'again' FROM gone",
    ];
    for write in writes {
        let mut before = Vec::new();
        for read in reads {
            until_served(&gate, &mut client, read, "cache_hit").await;
            before.push(seen(&mut client, read).await);
        }
        // Past the proxy: the proxy is told of it by nobody but the log. On a connection of its own: what one sets for its write
        // (the format of the log, its compression) is not what the next one is written with.
        let mut direct = server.connect(&schema).await;
        direct.query_drop(write).await.unwrap();
        let mut changed = false;
        for (read, before) in reads.iter().zip(before) {
            let got = seen(&mut client, read).await;
            let base = seen(&mut direct, read).await;
            assert_eq!(got, base, "{write}\n{read}");
            changed |= base != before;
        }
        // Else an old answer could not be told from a new one.
        assert_eq!(changed, !write.starts_with("CREATE TRIGGER"), "{write}");
        let way: Option<String> = direct.query_first(WRITTEN).await.unwrap();
        assert_eq!(way.as_deref(), Some(written(write)), "{write}");
    }
}

/// How a session writes into the log.
const WRITTEN: &str =
    "SELECT CONCAT_WS(' ', @@binlog_format, @@binlog_row_image, @@binlog_transaction_compression)";

/// How a write was to be written into the log.
fn written(write: &str) -> &'static str {
    match write.split(';').next() {
        Some("SET SESSION binlog_transaction_compression = ON") => "ROW FULL 1",
        Some("SET SESSION binlog_format = STATEMENT") => "STATEMENT FULL 0",
        Some("SET SESSION binlog_row_image = MINIMAL") => "ROW MINIMAL 0",
        _ => "ROW FULL 0",
    }
}

/// What a client sees of an answer: the columns as they are described, and the rows.
async fn seen(conn: &mut Conn, sql: &str) -> (Vec<String>, Vec<Row>) {
    let mut result = conn.query_iter(sql).await.unwrap();
    let described = |column: &mysql_async::Column| {
        let (kind, length) = (column.column_type(), column.column_length());
        let (name, flags) = (column.name_str(), column.flags());
        format!("{name} {kind:?} {length} {flags:?} {}", column.decimals())
    };
    let columns = result.columns_ref().iter().map(described).collect();
    (columns, result.collect().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_right_ends_with_the_revoke() {
    let server = MySql::start(&[]);
    let schema = tables(&server, 100);
    server.run(&format!(
        "CREATE USER reader IDENTIFIED BY 'r'; GRANT SELECT ON {schema}.counter TO reader; CREATE ROLE peeks; \
         GRANT SELECT ON {schema}.accounts TO peeks; GRANT peeks TO reader; SET DEFAULT ROLE peeks TO reader"
    ));
    let gate = with_cache(&server, &schema);
    let mut reader = crate::support::mysql::connect(gate.app_port, "reader", "r", &schema).await;
    let cases = [
        (
            "SELECT SUM(v) FROM counter",
            format!("REVOKE SELECT ON {schema}.counter FROM reader"),
        ),
        (
            "SELECT SUM(balance) FROM accounts",
            format!("REVOKE SELECT ON {schema}.accounts FROM peeks"),
        ),
    ];
    for (read, revoke) in cases {
        until_served(&gate, &mut reader, read, "cache_hit").await;
        server.run(&revoke);
        let error = reader.query_drop(read).await.unwrap_err();
        let mysql_async::Error::Server(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.code, 1142, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_in_a_transaction_is_the_transactions_own() {
    let server = MySql::start(&[]);
    let schema = tables(&server, 100);
    let gate = with_cache(&server, &schema);
    let (mut client, mut direct) = (gate.connect(&schema).await, server.connect(&schema).await);
    let read = "SELECT SUM(v) FROM counter";
    until_served(&gate, &mut client, read, "cache_hit").await;
    client
        .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await
        .unwrap();
    direct
        .query_drop("UPDATE counter SET v = v + 1")
        .await
        .unwrap();
    let value =
        |conn: Vec<Vec<Option<Vec<u8>>>>| String::from_utf8(conn[0][0].clone().unwrap()).unwrap();
    assert_eq!(value(cells(&mut client, read).await.unwrap()), "0");
    client
        .query_drop("UPDATE counter SET v = v + 10 WHERE id = 1")
        .await
        .unwrap();
    // Nobody else sees the open transaction, and it sees itself.
    assert_eq!(value(cells(&mut client, read).await.unwrap()), "11");
    let mut second = gate.connect(&schema).await;
    assert_eq!(value(cells(&mut second, read).await.unwrap()), "100");
    until_served(&gate, &mut second, read, "cache_hit").await;
    client.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(value(cells(&mut client, read).await.unwrap()), "100");
}
