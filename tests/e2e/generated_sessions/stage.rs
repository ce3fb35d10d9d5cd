//! The server of the programs: its users, and a pair of schemas for each client, brought back to the same state before each play.

use std::time::{Duration, Instant};

use super::client::{Client, End, Expect};
use super::play::PASSWORD;
use super::program::{Identity, Program};
use crate::support::MySql;
use crate::support::topology::executed;

/// Users of the programs: ordinary ones, with all rights on the clients' schemas and no other.
pub(super) const USERS: &[&str] = &["gen_a", "gen_b", "gen_c"];
const MULTI_STATEMENTS: u32 = 0x0003_0000;
const DEPRECATE_EOF: u32 = 0x0100_0000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of its own for the programs: durability costs time and proves nothing here, and a plan must not depend on when a
/// background thread counts rows.
pub(super) fn server(id: u32) -> MySql {
    let server = MySql::start(&[
        &format!("--server-id={id}"),
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=OFF",
        "--innodb-stats-auto-recalc=OFF",
        "--innodb-flush-method=nosync",
        "--log-bin-trust-function-creators=ON",
    ]);
    for user in USERS {
        server.run(&format!(
            "CREATE USER {user} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON `s%`.* TO {user}"
        ));
    }
    // Lets SQL read query attributes, where the server's package has it.
    let _ = server
        .client()
        .args([
            "-uroot",
            "-e",
            "INSTALL COMPONENT 'file://component_query_attributes'",
        ])
        .output();
    server
}

/// Makes a server of this kind a reader of another.
pub(super) fn follow(reader: &MySql, server: &MySql) {
    // What each did to itself at its start is nobody else's.
    for server in [reader, server] {
        server.run("RESET BINARY LOGS AND GTIDS");
    }
    reader.run(&format!(
        "SET GLOBAL super_read_only=ON; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', \
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_HEARTBEAT_PERIOD=1; START REPLICA",
        server.port
    ));
}

/// Waits until a reader has what its server has now.
pub(super) fn wait_copied(reader: &MySql, server: &MySql) {
    let set = executed(server);
    let waited = reader.run(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 60)"));
    assert_eq!(
        waited.trim(),
        "0",
        "not copied: {}",
        reader.run("SHOW REPLICA STATUS\\G")
    );
}

/// Schema of the client in one place of a crowd; `..b` is the other schema that it may USE.
pub(super) fn schema(place: usize) -> String {
    format!("s{place:02}")
}

/// A direct connection as root, for the work behind the scene.
pub(super) struct Hand(Client);

impl Hand {
    pub(super) fn new(server: &MySql, is_copied: bool) -> Hand {
        let root = Identity {
            user: "root".to_owned(),
            collation: 45,
            schema: String::new(),
        };
        let capabilities = MULTI_STATEMENTS | DEPRECATE_EOF;
        let (client, answer) = Client::login(server.port, &root, "", capabilities, PATIENCE);
        let mut hand = Hand(client.unwrap_or_else(|| panic!("root is refused: {answer:?}")));
        let logged = u8::from(is_copied);
        hand.run(&format!(
            "SET SESSION sql_log_bin = {logged}, SESSION lock_wait_timeout = 30"
        ));
        hand
    }

    /// Runs statements; panics when one fails, with it.
    pub(super) fn run(&mut self, sql: &str) -> Vec<Vec<u8>> {
        let answer = self
            .0
            .ask(&[b"\x03", sql.as_bytes()].concat(), Expect::Results);
        let failed = answer.end != End::Whole || answer.error().is_some();
        let packets = answer.packets.into_iter().map(|(_, payload)| payload);
        let packets: Vec<Vec<u8>> = packets.collect();
        if failed {
            let last = packets
                .last()
                .map(|packet| packet.escape_ascii().to_string());
            panic!("{sql}\nfailed: {:?} {last:?}", answer.end);
        }
        packets
    }

    /// The first column of a small result as text.
    pub(super) fn column(&mut self, sql: &str) -> Vec<String> {
        let packets = self.run(sql);
        let columns = usize::from(packets[0][0]);
        let rows = &packets[1 + columns..packets.len() - 1];
        let texts = rows.iter().map(|row| {
            let end = 1 + usize::from(row[0]);
            String::from_utf8_lossy(&row[1..end.min(row.len())]).into_owned()
        });
        texts.collect()
    }

    /// Everything of one client, made anew.
    pub(super) fn build(&mut self, schema: &str) {
        for name in [schema.to_owned(), format!("{schema}b")] {
            self.run(&format!(
                "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} COLLATE utf8mb4_0900_ai_ci"
            ));
        }
        self.build_tables(schema);
        for routine in super::routines::ALL {
            self.run(&format!("USE {schema}; {routine}"));
        }
    }

    fn build_tables(&mut self, schema: &str) {
        self.run(&format!(
            "USE {schema}b; {TABLES}; USE {schema}; {TABLES}; {TRIGGERS}"
        ));
    }

    /// Takes back what the program before may have changed.
    pub(super) fn restore(&mut self, schema: &str, touched: Touched) {
        if touched.tables {
            self.run(&format!("USE {schema}b; {DROPS}; USE {schema}; {DROPS}"));
            self.build_tables(schema);
        }
        let other = touched.other || touched.tables;
        for (name, wanted) in [
            (format!("{schema}b"), other),
            (schema.to_owned(), touched.rows || touched.tables),
        ] {
            if wanted {
                let changes = if name == schema { "" } else { OTHER_ROWS };
                let ids = if touched.ids { IDS } else { "" };
                self.run(&format!("USE {name}; BEGIN; {ROWS}{changes}; COMMIT{ids}"));
            }
        }
    }

    /// Waits until nothing of earlier sessions is left that a new one could see: a server ends a session some time after it
    /// closes the socket. Prepared XA transactions outlive their sessions and are rolled back.
    pub(super) fn quiesce(&mut self) {
        let end = Instant::now() + PATIENCE;
        // The schemas' names and those of the locks begin alike. Idle sessions hold nothing.
        let left = "SELECT CONCAT_WS(' ', object_type, object_schema, object_name, owner_thread_id) \
             FROM performance_schema.metadata_locks WHERE lock_status = 'GRANTED' \
             AND COALESCE(object_schema, object_name) REGEXP '^s[0-9][0-9]'";
        loop {
            self.end_xa();
            let locks = self.column(left);
            if locks.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "locks stay after the sessions: {locks:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn end_xa(&mut self) {
        let packets = self.run("XA RECOVER CONVERT XID");
        for row in packets.iter().skip(5).take(packets.len().saturating_sub(6)) {
            // The identifier in hex is the last column.
            let text = String::from_utf8_lossy(row);
            let Some(at) = text.find("0x") else { continue };
            let hex: String = text[at + 2..]
                .chars()
                .take_while(char::is_ascii_hexdigit)
                .collect();
            let lengths: Vec<usize> = text
                .split(|letter: char| !letter.is_ascii_digit())
                .filter_map(|word| word.parse().ok())
                .collect();
            let split = lengths
                .get(1)
                .map_or(hex.len(), |length| length * 2)
                .min(hex.len());
            let (name, branch) = hex.split_at(split);
            self.run(&format!("XA ROLLBACK X'{name}', X'{branch}'"));
        }
    }
}

/// What of its schemas a program may have changed. Told by words of its text: too much costs time, too little would show as programs
/// without fixed answers.
#[derive(Clone, Copy)]
pub(super) struct Touched {
    /// The tables themselves.
    tables: bool,
    /// Rows in the client's schema.
    rows: bool,
    /// Rows in its other schema.
    other: bool,
    /// The next id of table a.
    ids: bool,
}

impl Touched {
    /// As after the schemas were built.
    pub(super) const ALL: Touched = Touched {
        tables: false,
        rows: true,
        other: true,
        ids: true,
    };

    pub(super) fn by(program: &Program) -> Touched {
        let text = program.to_string().to_uppercase();
        let text = text
            .replace("DROP TEMPORARY", "")
            .replace("DROP PREPARE", "");
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        Touched {
            tables: has(&[
                "CREATE TABLE",
                "CREATE VIEW",
                "ALTER ",
                "DROP ",
                "TRUNCATE",
                "RENAME",
                "INDEX",
                "P_DDL",
            ]),
            rows: has(&[
                "INSERT",
                "UPDATE",
                "DELETE",
                "REPLACE",
                "CALL ",
                "F_",
                "LOAD DATA",
            ]),
            other: has(&["{S}B"]),
            ids: has(&[
                "INTO A ",
                "}.A ",
                "}B.A ",
                "P_INSERT",
                "F_INCREMENT",
                "TABLE A",
            ]),
        }
    }
}

const TABLES: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT, s VARCHAR(40), d DECIMAL(10,2), KEY v (v)); \
     CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, k INT UNIQUE, s VARCHAR(20)); \
     CREATE TABLE g (id INT PRIMARY KEY, s VARCHAR(9)); \
     CREATE TABLE l (n INT, s VARCHAR(80)); \
     CREATE TABLE w (id INT PRIMARY KEY, c CHAR(3) NOT NULL, n TINYINT NOT NULL, x DOUBLE, m DATETIME, j JSON, b BLOB)";
// A table whose trigger writes to another is never read-locked: which of its two errors a write gets then is up to MySQL's cache.
const TRIGGERS: &str = "CREATE TRIGGER t_i BEFORE INSERT ON t FOR EACH ROW SET @trig = CONCAT_WS('/', @trig, NEW.id); \
     CREATE TRIGGER t_u AFTER UPDATE ON t FOR EACH ROW SET @changed = CONCAT(OLD.v, '>', NEW.v); \
     CREATE TRIGGER g_i BEFORE INSERT ON g FOR EACH ROW SET @trig = NEW.s; \
     CREATE TRIGGER g_u AFTER UPDATE ON g FOR EACH ROW INSERT INTO l VALUES (NEW.id, CONCAT(OLD.s, '>', NEW.s))";
const DROPS: &str = "DROP VIEW IF EXISTS nv; DROP TABLE IF EXISTS t, a, g, l, w, n1, n2, n3";
const ROWS: &str = "DELETE FROM t; DELETE FROM a; DELETE FROM g; DELETE FROM w; \
     INSERT INTO t VALUES (1, 10, 'one', 1.5), (2, 20, 'two', 2.25), (3, 30, 'three', NULL), (4, NULL, 'vier', 0), \
     (5, 50, _utf8mb4 X'66C3BC6E66', 5.55), (6, 60, 'six ', -6); \
     INSERT INTO a VALUES (1, 100, 'a'), (2, 200, 'b'), (3, 300, 'c'); INSERT INTO g VALUES (1, 'x'), (2, 'y'); DELETE FROM l";
const IDS: &str = "; ALTER TABLE a AUTO_INCREMENT = 4";
const OTHER_ROWS: &str = "; UPDATE t SET s = CONCAT('other ', s), v = v + 1";
