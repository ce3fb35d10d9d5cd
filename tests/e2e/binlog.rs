//! The log as real servers write it: what each kind of write moves, and what breaks or keeps continuity.
//! Uses the library's binlog room directly; the gate through the proxy is `freshness`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::backend::control::{Control, ControlSettings};
use tidegate::binlog::{Binlog, BinlogSettings, Position, TableKey};
use tidegate::config;
use tidegate::shutdown::Shutdown;
use tokio::time::{Instant, sleep};

use crate::support::MySql;

mod axioms;
mod continuity;
mod gate;

const WAIT: Duration = Duration::from_secs(20);

/// A log follower and what it knew last of some tables.
struct Follower {
    binlog: Arc<Binlog>,
    stop: Shutdown,
    known: BTreeMap<&'static str, Position>,
    grants: u64,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.request();
    }
}

impl Follower {
    /// Of a server whose log can be used.
    async fn of(server: &MySql) -> Self {
        let follower = Self::connect(&server.root_url());
        follower.up().await;
        follower
    }

    /// Of whatever listens there.
    fn connect(url: &str) -> Self {
        let backend = config::Backend {
            url: url.parse().unwrap(),
            ..config::Backend::default()
        };
        let control = Control::new(ControlSettings::new(backend, 4));
        let settings = BinlogSettings {
            reconnect: Duration::from_millis(100),
            ..BinlogSettings::default()
        };
        let stop = Shutdown::new();
        let binlog = Binlog::start(control, settings, &stop);
        Self {
            binlog,
            stop,
            known: BTreeMap::new(),
            grants: 0,
        }
    }

    /// Waits until the log can be used.
    async fn up(&self) {
        let deadline = Instant::now() + WAIT;
        while self.binlog.available().is_err() || self.synced().await.is_none() {
            let snapshot = self.binlog.snapshot();
            assert!(
                Instant::now() < deadline,
                "not up: {} {}",
                snapshot.state,
                snapshot.detail
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything committed before now has been recorded.
    async fn synced(&self) -> Option<Position> {
        let end = self.binlog.barrier().await.ok()?;
        let done = self.binlog.wait_processed(end, Instant::now() + WAIT).await;
        done.then_some(end)
    }

    /// Which of the tables moved since the last call, `grants` if privileges did, and `epoch` when continuity was lost.
    async fn moved(&mut self, tables: &[&'static str]) -> Vec<&'static str> {
        self.up().await;
        self.synced().await.expect("the stream follows");
        let mut moved = Vec::new();
        for table in tables {
            let (schema, name) = table.split_once('.').unwrap();
            let change = self
                .binlog
                .last_change(&TableKey::new(schema, name))
                .unwrap();
            if self.known.insert(table, change.position) != Some(change.position) {
                moved.push(*table);
            }
        }
        let grants = self.binlog.grant_epoch();
        if std::mem::replace(&mut self.grants, grants) != grants {
            moved.push("grants");
        }
        moved
    }
}

const SCHEMA: &str = "CREATE DATABASE d; CREATE DATABASE e; USE d;
    CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, v INT) PARTITION BY HASH (id) PARTITIONS 2;
    CREATE TABLE b (id INT PRIMARY KEY AUTO_INCREMENT, v INT);
    CREATE TABLE p (id INT PRIMARY KEY, v INT);
    CREATE TABLE c (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE ON UPDATE SET NULL);
    CREATE TABLE e.x (id INT PRIMARY KEY, v INT);
    CREATE TABLE e.spare (id INT PRIMARY KEY, v INT);
    INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1, 1); INSERT INTO p VALUES (1, 1), (2, 2), (3, 3);
    INSERT INTO c VALUES (1, 1), (2, 2), (3, 3); INSERT INTO e.x VALUES (1, 1)";

const TABLES: [&str; 5] = ["d.a", "d.b", "d.p", "d.c", "e.x"];
const ALL: [&str; 6] = ["d.a", "d.b", "d.p", "d.c", "e.x", "grants"];

const NOTHING: &[&str] = &[];

/// What is written, and what must have moved.
const STEPS: &[(&str, &[&str])] = &[
    ("INSERT INTO d.a (v) VALUES (5)", &["d.a"]),
    ("UPDATE d.a SET v = v + 1", &["d.a"]),
    ("UPDATE d.a SET v = v", NOTHING),
    ("DELETE FROM d.b", &["d.b"]),
    ("REPLACE INTO e.x VALUES (1, 2)", &["e.x"]),
    (
        "BEGIN; INSERT INTO d.a (v) VALUES (6); UPDATE e.x SET v = 9; COMMIT",
        &["d.a", "e.x"],
    ),
    ("BEGIN; INSERT INTO d.a (v) VALUES (6); ROLLBACK", NOTHING),
    (
        "BEGIN; INSERT INTO d.a (v) VALUES (6); SAVEPOINT s; INSERT INTO d.b (v) VALUES (6); ROLLBACK TO s; COMMIT",
        &["d.a"],
    ),
    // Cascades: logged by this server.
    ("DELETE FROM d.p WHERE id = 1", &["d.p", "d.c"]),
    ("UPDATE d.p SET id = 9 WHERE id = 2", &["d.p", "d.c"]),
    ("UPDATE d.p SET v = 9 WHERE id = 3", &["d.p"]),
    // Definitions.
    ("TRUNCATE d.b", &["d.b"]),
    ("ALTER TABLE d.b ADD COLUMN w INT", &["d.b"]),
    ("RENAME TABLE d.b TO d.b2", &["d.b"]),
    ("RENAME TABLE d.b2 TO d.b", &["d.b"]),
    ("USE d; CREATE INDEX i ON a (v)", &["d.a"]),
    (
        "USE d; ALTER TABLE a DROP INDEX i, ALGORITHM=INPLACE",
        &["d.a"],
    ),
    ("CREATE TABLE e.y AS SELECT * FROM d.a", NOTHING),
    ("DROP TABLE e.y", NOTHING),
    (
        "CREATE TABLE e.y (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (5))",
        NOTHING,
    ),
    ("CREATE VIEW e.v AS SELECT * FROM d.a", NOTHING),
    (
        "CREATE TABLE d.a3 LIKE d.a; ALTER TABLE d.a3 REMOVE PARTITIONING; ALTER TABLE d.a COALESCE PARTITION 1",
        &["d.a"],
    ),
    ("OPTIMIZE TABLE d.b", &["d.b"]),
    ("ANALYZE TABLE d.b", NOTHING),
    // Triggers and routines.
    (
        "CREATE TRIGGER d.t AFTER INSERT ON d.a FOR EACH ROW UPDATE e.x SET v = v + 1",
        NOTHING,
    ),
    ("INSERT INTO d.a (v) VALUES (7)", &["d.a", "e.x"]),
    (
        "SET GLOBAL log_bin_trust_function_creators = ON;\nDELIMITER //\nCREATE FUNCTION d.f() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO d.b (v) VALUES (1); RETURN 1; END//",
        NOTHING,
    ),
    ("SELECT d.f()", &["d.b"]),
    ("CREATE PROCEDURE d.r() UPDATE d.b SET v = v + 1", NOTHING),
    ("CALL d.r()", &["d.b"]),
    // Statements in the log can do anything.
    (
        "SET binlog_format = STATEMENT; INSERT INTO d.b (v) VALUES (3)",
        &ALL,
    ),
    (
        "SET binlog_format = STATEMENT; UPDATE d.a SET v = 3 WHERE id = 1",
        &ALL,
    ),
    // Compressed.
    (
        "SET binlog_transaction_compression = ON; UPDATE d.b SET v = v + 1",
        &["d.b"],
    ),
    (
        "SET binlog_transaction_compression = ON; BEGIN; UPDATE d.b SET v = v + 1; UPDATE d.p SET v = v + 1; COMMIT",
        &["d.b", "d.p"],
    ),
    (
        "SET binlog_row_value_options = PARTIAL_JSON; UPDATE d.b SET v = v + 1",
        &["d.b"],
    ),
    (
        "SET binlog_row_image = MINIMAL; UPDATE d.b SET v = v + 1",
        &["d.b"],
    ),
    (
        "SET binlog_rows_query_log_events = ON; UPDATE d.b SET v = v + 1",
        &["d.b"],
    ),
    (
        "SET gtid_next = 'AUTOMATIC:blue'; UPDATE d.b SET v = v + 1",
        &["d.b"],
    ),
    // XA: counted when it commits.
    (
        "XA START 'x'; UPDATE d.b SET v = v + 1; XA END 'x'; XA PREPARE 'x'",
        NOTHING,
    ),
    ("XA COMMIT 'x'", &["d.b"]),
    (
        "XA START 'y'; UPDATE d.b SET v = v + 1; XA END 'y'; XA COMMIT 'y' ONE PHASE",
        &["d.b"],
    ),
    (
        "XA START 'z'; UPDATE d.b SET v = v + 1; XA END 'z'; XA PREPARE 'z'",
        NOTHING,
    ),
    ("XA ROLLBACK 'z'", NOTHING),
    (
        "SET binlog_transaction_compression = ON; XA START 'w'; UPDATE d.b SET v = v + 1; XA END 'w'; XA PREPARE 'w'",
        NOTHING,
    ),
    ("XA COMMIT 'w'", &["d.b"]),
    // Privileges.
    ("CREATE USER u IDENTIFIED BY 'x'", &["grants"]),
    ("GRANT SELECT ON d.* TO u", &["grants"]),
    ("CREATE ROLE r", &["grants"]),
    ("GRANT r TO u", &["grants"]),
    ("SET DEFAULT ROLE r TO u", &["grants"]),
    ("ALTER USER u IDENTIFIED BY 'y'", &["grants"]),
    ("SET PASSWORD FOR u = 'z'", &["grants"]),
    ("RENAME USER u TO u2", &["grants"]),
    ("REVOKE SELECT ON d.* FROM u2", &["grants"]),
    ("DROP USER u2", &["grants"]),
    ("FLUSH PRIVILEGES", &["grants"]),
    ("UPDATE mysql.db SET Host = Host WHERE 1 = 0", NOTHING),
    (
        "INSERT INTO mysql.db (Host, Db, User) VALUES ('h', 'q', 'q')",
        &["grants"],
    ),
    // Without effect.
    (
        "CREATE TEMPORARY TABLE d.tmp (a INT); INSERT INTO d.tmp VALUES (1); DROP TEMPORARY TABLE d.tmp",
        NOTHING,
    ),
    ("FLUSH TABLES", NOTHING),
    ("FLUSH BINARY LOGS", NOTHING),
    ("INSERT INTO d.b (v) VALUES (4)", &["d.b"]),
    (
        "CREATE DATABASE f; CREATE TABLE f.t (a INT); DROP DATABASE f",
        NOTHING,
    ),
    ("USE e; ALTER DATABASE e COLLATE utf8mb4_bin", &["e.x"]),
    ("DROP DATABASE e", &["e.x"]),
];

#[tokio::test]
async fn each_write_moves_exactly_what_it_must() {
    let server = MySql::start(&[]);
    server.run(SCHEMA);
    let mut follower = Follower::of(&server).await;
    follower.moved(&TABLES).await;
    let epoch = follower.binlog.epoch();
    for (sql, expected) in STEPS {
        server.run(sql);
        assert_eq!(&follower.moved(&TABLES).await, expected, "{sql}");
    }
    assert_eq!(follower.binlog.epoch(), epoch);
    assert_eq!(follower.binlog.snapshot().reconnects, 0);
}

/// Rows longer than a packet, and a transaction that is small only while it is compressed.
#[tokio::test]
async fn large_rows_and_transactions_are_followed() {
    let server = MySql::start(&[]);
    server.run("CREATE DATABASE d; CREATE TABLE d.big (id INT PRIMARY KEY, v LONGBLOB); CREATE TABLE d.b (id INT PRIMARY KEY)");
    let mut follower = Follower::of(&server).await;
    let tables = ["d.big", "d.b"];
    follower.moved(&tables).await;
    for sql in [
        "INSERT INTO d.big VALUES (1, REPEAT('x', 40000000))",
        "SET binlog_transaction_compression = ON; UPDATE d.big SET v = REPEAT('y', 60000000)",
    ] {
        server.run(sql);
        assert_eq!(follower.moved(&tables).await, ["d.big"], "{sql}");
        server.run("INSERT INTO d.b SELECT COUNT(*) FROM d.b");
        assert_eq!(follower.moved(&tables).await, ["d.b"]);
    }
    assert_eq!(follower.binlog.snapshot().reconnects, 0);
}
