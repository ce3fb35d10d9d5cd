//! Query rules on a real server: each matcher and each action has a statement that it must hit and one that it must not,
//! as text and prepared.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder};

use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate};

mod limits;
mod routes;
mod runtime;

/// Rules as they stand in a file.
fn gate(server: &MySql, rules: &str) -> Tidegate {
    Tidegate::of(server)
        .set("rules", &format!("[{rules}]"))
        .set("cache.auto", "false")
        .start()
}

/// A schema with a table `t` of one row.
async fn schema(server: &MySql, name: &str) -> String {
    let schema = server.schema(name);
    server.run(&format!(
        "CREATE TABLE {schema}.t (id INT PRIMARY KEY, a INT); INSERT INTO {schema}.t VALUES (1, 10), (2, 20)"
    ));
    schema
}

/// The number of the error that a statement is answered with, and its words.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String) {
    match answer {
        Err(Error::Server(error)) => (error.code, error.message),
        other => panic!("no error of a server: {other:?}"),
    }
}

async fn number(conn: &mut Conn, sql: &str) -> Result<Option<i64>, Error> {
    conn.query_first(sql).await
}

/// What EXPLAIN ROUTE says under a name.
async fn route(conn: &mut Conn, sql: &str, name: &str) -> Option<String> {
    let rows: Vec<(String, String)> = conn.query(format!("EXPLAIN ROUTE {sql}")).await.unwrap();
    rows.into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

async fn hits(gate: &Tidegate, rule: &str) -> u64 {
    let sql = format!("SELECT hits FROM rules WHERE name = '{rule}'");
    gate.admin::<u64>(&sql).await[0]
}

fn as_app(gate: &Tidegate, app: &str, schema: &str) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(gate.app_port)
        .user(Some(APP_USER))
        .pass(Some(APP_PASSWORD))
        .db_name(Some(schema))
        .prefer_socket(false)
        .init(Vec::<String>::new())
        .connect_attributes([("program_name".to_owned(), app.to_owned())].into())
        .into()
}

/// Statements that are met by what they say, others that are not, and what the first ones are told.
const TEXTS: [(&str, &str, &str); 2] = [
    (
        "DELETE FROM t WHERE id = 7",
        "DELETE FROM t2 WHERE id = 7",
        "no deletes",
    ),
    (
        "SELECT id FROM t WHERE a = 666",
        "SELECT id FROM t WHERE a = 667",
        "not that one",
    ),
];

/// Every matcher, with a statement that it meets and one that it does not.
#[tokio::test]
async fn each_matcher_blocks_what_it_means() {
    let server = MySql::shared();
    let (inside, outside) = (schema(server, "ruled").await, schema(server, "free").await);
    let rules = format!(
        "{{name = 'by_text', text = '^DELETE FROM `t`', block = 'no deletes'}},
         {{name = 'by_raw', raw_text = '= *666', block = 'not that one'}},
         {{name = 'by_schema', schema = '{inside}', text = 'SELECT `a`', block = 'not here'}},
         {{name = 'by_user', user = 'nobody', block = 'never met'}},
         {{name = 'by_app', app = 'reporting', text = 'FROM `t`', block = 'no reports'}},
         {{name = 'by_client', client = '192.0.2.0/24', block = 'never met'}},
         {{name = 'off', enabled = false, block = 'never met'}}"
    );
    let gate = gate(server, &rules);
    let mut conn = gate.connect(&outside).await;
    for (hit, miss, words) in TEXTS {
        for _ in 0..2 {
            assert_eq!(
                refusal(conn.query_drop(hit).await),
                (1148, words.to_owned())
            );
            assert_eq!(
                refusal(conn.exec_drop(hit, ()).await),
                (1148, words.to_owned())
            );
        }
        let missed = conn.query_drop(miss).await;
        assert!(
            !matches!(&missed, Err(Error::Server(error)) if error.code == 1148),
            "{missed:?}"
        );
    }
    assert_eq!(
        number(&mut conn, "SELECT a FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(10)
    );
    conn.query_drop(format!("USE {inside}")).await.unwrap();
    assert_eq!(
        refusal(number(&mut conn, "SELECT a FROM t WHERE id = 1").await).0,
        1148
    );
    assert_eq!(
        number(&mut conn, "SELECT id FROM t WHERE a = 10")
            .await
            .unwrap(),
        Some(1)
    );
    let mut report = Conn::new(as_app(&gate, "reporting", &outside))
        .await
        .unwrap();
    assert_eq!(
        refusal(number(&mut report, "SELECT a FROM t WHERE id = 1").await).1,
        "no reports"
    );
    let mut other = Conn::new(as_app(&gate, "shop", &outside)).await.unwrap();
    assert_eq!(
        number(&mut other, "SELECT a FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(10)
    );
    check_counts(&gate, &mut conn).await;
}

/// What is counted and told of the statements above.
async fn check_counts(gate: &Tidegate, conn: &mut Conn) {
    for (rule, wanted) in [
        ("by_text", 4),
        ("by_raw", 4),
        ("by_schema", 1),
        ("by_app", 1),
    ] {
        assert_eq!(hits(gate, rule).await, wanted, "{rule}");
    }
    for rule in ["by_user", "by_client", "off"] {
        assert_eq!(hits(gate, rule).await, 0, "{rule}");
    }
    // The connection is none the worse, and each refusal is told with its rule.
    let decided = "SELECT CAST(SUM(count) AS SIGNED) FROM decisions WHERE target = 'rule' AND reason = 'by_text'";
    assert_eq!(gate.admin::<i64>(decided).await, [4]);
    let refused = "SELECT CAST(SUM(count) AS SIGNED) FROM decisions WHERE target = 'local' AND reason = 'rule_blocks'";
    assert_eq!(gate.admin::<i64>(refused).await, [10]);
    assert_eq!(
        route(conn, "DELETE FROM t", "reason").await.unwrap(),
        "rule_blocks:by_text"
    );
    assert_eq!(hits(gate, "by_text").await, 4);
    // Asking is never refused, whatever is asked about.
    let asked = route(conn, "SELECT id FROM t WHERE a = 666", "reason").await;
    assert_eq!(asked.unwrap(), "rule_blocks:by_raw");
}

/// By user, by digest and by a network that clients are in.
#[tokio::test]
async fn who_and_which_digest() {
    let server = MySql::shared();
    let schema = schema(server, "who").await;
    let digest = {
        let gate = gate(server, "");
        let mut conn = gate.connect(&schema).await;
        route(&mut conn, "SELECT a FROM t WHERE id = 5", "digest")
            .await
            .unwrap()
    };
    let rules = format!(
        "{{name = 'them', user = '{APP_USER}', client = '127.0.0.0/8', digest = '{digest}', block = 'gone', log = true}}"
    );
    let gate = gate(server, &rules);
    let mut conn = gate.connect(&schema).await;
    assert_eq!(
        refusal(number(&mut conn, "SELECT a FROM t WHERE id = 1").await).1,
        "gone"
    );
    assert_eq!(
        number(&mut conn, "SELECT id FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(1)
    );
    let mut root = crate::support::mysql::connect(gate.app_port, "root", "", &schema).await;
    assert_eq!(
        number(&mut root, "SELECT a FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(10)
    );
    let log = gate.log();
    let line = log
        .lines()
        .find(|line| line.contains("a rule matched"))
        .expect("it is logged");
    assert!(
        line.contains("them") && line.contains(&digest) && !line.contains("id = 1"),
        "{line}"
    );
    assert_eq!(log.matches("a rule matched").count(), 1);
}

/// A rewrite takes the place of the whole statement, for text and prepared statements, and never sends what is none.
#[tokio::test]
async fn statements_are_rewritten() {
    let server = MySql::shared();
    let schema = schema(server, "rewritten").await;
    let gate = gate(
        server,
        r"{name = 'swap', raw_text = '^SELECT (\w+) FROM old_t WHERE id = (\?|\d+)$', rewrite = 'SELECT $1 + 1 FROM t WHERE id = $2'},
          {name = 'fixed', text = '^SHOW TABLES', rewrite = 'SELECT 7'},
          {name = 'bad', raw_text = '^SELECT bad (.*)$', rewrite = 'SELECT $1'},
          {name = 'count', raw_text = '^SELECT few (.*)', rewrite = 'SELECT 1'}",
    );
    let mut conn = gate.connect(&schema).await;
    assert_eq!(
        number(&mut conn, "SELECT a FROM old_t WHERE id = 2")
            .await
            .unwrap(),
        Some(21)
    );
    let missing = refusal(number(&mut conn, "SELECT a FROM old_t WHERE id = 2 ").await);
    assert_eq!(
        missing.0, 1146,
        "what the expression does not match goes as it stands"
    );
    let prepared = conn.prep("SELECT a FROM old_t WHERE id = ?").await.unwrap();
    for id in [1, 2] {
        let found: Option<i64> = conn.exec_first(&prepared, (id,)).await.unwrap();
        assert_eq!(found, Some(10 * id + 1));
    }
    assert_eq!(hits(&gate, "swap").await, 4);
    assert_eq!(number(&mut conn, "SHOW TABLES").await.unwrap(), Some(7));
    assert_eq!(
        number(&mut conn, "SELECT a FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(10)
    );
    for broken in [
        "SELECT bad (1",
        "SELECT bad 1; DROP TABLE t",
        "SELECT bad 'x",
    ] {
        let (code, words) = refusal(conn.query_drop(broken).await);
        assert!(code == 1064 && words.contains("rule bad"), "{code} {words}");
    }
    assert_eq!(number(&mut conn, "SELECT bad 5").await.unwrap(), Some(5));
    let (code, words) = refusal(conn.prep("SELECT few ?, ?").await.map(drop));
    assert!(
        code == 1064 && words.contains("0 parameters where the client has 2"),
        "{words}"
    );
    let explained = route(
        &mut conn,
        "SELECT a FROM old_t WHERE id = 2",
        "rule_rewrite",
    )
    .await;
    assert_eq!(explained.unwrap(), "swap: SELECT a + 1 FROM t WHERE id = 2");
    assert_eq!(
        number(&mut conn, "SELECT COUNT(*) FROM t").await.unwrap(),
        Some(2)
    );
}

/// A statement that runs for too long is ended with the server's error for that, and the connection goes on.
#[tokio::test]
async fn statements_are_ended_at_their_deadline() {
    let server = MySql::shared();
    let schema = schema(server, "deadline").await;
    let gate = gate(
        server,
        "{name = 'short', raw_text = '/\\* short \\*/', timeout_ms = 300}"
            .replace("\\*", "[*]")
            .as_str(),
    );
    let mut conn = gate.connect(&schema).await;
    let slow = "SELECT /* short */ COUNT(*) FROM t WHERE SLEEP(20) = 0 OR id = ";
    for prepared in [false, true, false] {
        let began = Instant::now();
        let answer = match prepared {
            false => conn.query_drop(format!("{slow} 1")).await,
            true => conn.exec_drop(format!("{slow} ?"), (1,)).await,
        };
        let (code, words) = refusal(answer);
        assert_eq!(code, 3024, "{words}");
        assert!(words.contains("(300 ms, Tidegate's rule short)"), "{words}");
        let took = began.elapsed();
        assert!(
            (Duration::from_millis(300)..Duration::from_secs(15)).contains(&took),
            "{took:?}"
        );
        assert_eq!(
            number(&mut conn, "SELECT a FROM t WHERE id = 1")
                .await
                .unwrap(),
            Some(10)
        );
    }
    // In time, and without the rule.
    let quick = "SELECT /* short */ COUNT(*) FROM t WHERE SLEEP(0.01) = 0";
    assert_eq!(number(&mut conn, quick).await.unwrap(), Some(2));
    let free = "SELECT COUNT(*) FROM t WHERE SLEEP(0.3) = 0";
    assert_eq!(number(&mut conn, free).await.unwrap(), Some(2));
    assert_eq!(gate.admin::<u64>("SELECT timeouts FROM rules").await, [3]);
    let counted: Vec<u64> = gate
        .admin("SELECT count FROM errors WHERE error_number = 3024")
        .await;
    assert_eq!(counted, [3]);
}

/// What a rule says of the cache: chosen under the same proof, or never.
#[tokio::test]
async fn the_cache_by_rule() {
    let server = MySql::shared();
    let schema = schema(server, "kept").await;
    let gate = Tidegate::of(server)
        .set(
            "rules",
            "[{name = 'keep', text = '^SELECT `a` FROM `t`', cache = 'always'},
              {name = 'fresh', text = '^SELECT `id` FROM `t`', cache = 'never'}]",
        )
        .set("cache.auto", "false")
        .set("cache.tables", &format!("[\"{schema}.t\"]"))
        .start();
    let plain = Tidegate::of(server).set("cache.auto", "false").start();
    let hits =
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE reason = 'cache_hit'";
    for (gate, sql, kept) in [
        (&gate, "SELECT a FROM t WHERE id = 1", true),
        (&gate, "SELECT id FROM t WHERE a = 10", false),
        (&plain, "SELECT a FROM t WHERE id = 1", false),
    ] {
        let mut conn = gate.connect(&schema).await;
        let before = gate.admin::<i64>(hits).await[0];
        let deadline = Instant::now() + Duration::from_secs(if kept { 30 } else { 2 });
        let mut found = false;
        while !found && Instant::now() < deadline {
            number(&mut conn, sql).await.unwrap();
            let prepared: Option<i64> = conn.exec_first(sql, ()).await.unwrap();
            assert!(prepared.is_some());
            found = gate.admin::<i64>(hits).await[0] > before;
        }
        assert_eq!(found, kept, "{sql}");
    }
    let mut conn = gate.connect(&schema).await;
    // Kept under the proof: a write shows at once.
    conn.query_drop("UPDATE t SET a = 11 WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(
        number(&mut conn, "SELECT a FROM t WHERE id = 1")
            .await
            .unwrap(),
        Some(11)
    );
    let said = route(&mut conn, "SELECT id FROM t WHERE a = 10", "reason").await;
    assert_eq!(said.unwrap(), "rule_no_cache:fresh");
}

/// Who was rewritten and then found no connection is told so, and its next statement is read where it begins.
#[tokio::test]
async fn a_rewritten_statement_without_a_connection_leaves_the_next_one_alone() {
    let server = MySql::shared();
    let schema = schema(server, "rewritten_late").await;
    let rules = "{name = 'longer', text = '^SELECT `a` FROM `t` WHERE `id`', rewrite = 'SELECT a + 0 + 0 + 0 + 0 + 0 FROM t WHERE id = 2'}";
    let gate = Tidegate::of(server)
        .set("rules", &format!("[{rules}]"))
        .set("cache.auto", "false")
        .set("pool.connections_max", "1")
        .set("pool.wait_ms_max", "200")
        .start();
    let sql = "SELECT a FROM t WHERE id = 1";
    let mut one = gate.connect(&schema).await;
    assert_eq!(number(&mut one, sql).await.unwrap(), Some(20));
    let mut other = gate.connect(&schema).await;
    other.query_drop("BEGIN").await.unwrap();
    other
        .query_drop("UPDATE t SET a = a + 1 WHERE id = 1")
        .await
        .unwrap();
    for _ in 0..3 {
        let (_, words) = refusal(number(&mut one, sql).await);
        assert!(words.contains("pool.connections_max"), "{words}");
    }
    other.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(number(&mut one, "SELECT 41 + 1").await.unwrap(), Some(42));
    assert_eq!(number(&mut one, sql).await.unwrap(), Some(20));
    gate.stop();
}
