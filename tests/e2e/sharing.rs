//! Many clients on few backend connections: each sees its own state and nothing of the others', whichever connection it is on;
//! what cannot be carried keeps its connection, says why, and gives it back when that ends.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::support::{MySql, Tidegate, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

async fn one(conn: &mut Conn, sql: &str) -> String {
    let row: Option<Row> = conn
        .query_first(sql)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    let cells = row.expect("a row").unwrap();
    let cells: Vec<String> = cells
        .iter()
        .map(|cell| cell.as_sql(true).trim_matches('\'').to_owned())
        .collect();
    cells.join(" ")
}

fn rig(connections_max: usize) -> (MySql, Tidegate, String) {
    let server = MySql::start(&[]);
    let schema = server.schema("sharing");
    server.run(&format!(
        "CREATE TABLE {schema}.t (id INT PRIMARY KEY AUTO_INCREMENT, who INT NOT NULL, n INT NOT NULL); \
         CREATE SCHEMA {schema}_2; CREATE PROCEDURE {schema}.sets_it() SET @seen = 1; \
         CREATE PROCEDURE {schema}.sets_mode() SET SESSION sql_mode = 'ANSI'"
    ));
    let gate = Tidegate::of(&server)
        .set("pool.connections_max", &connections_max.to_string())
        .set("pool.wait_ms_max", "60000")
        .start();
    (server, gate, schema)
}

async fn roll_back(conn: &mut Conn, id: u64) {
    let mut transaction = conn
        .start_transaction(mysql_async::TxOpts::new())
        .await
        .unwrap();
    transaction
        .exec_drop("UPDATE t SET n = -1 WHERE id = ?", (id,))
        .await
        .unwrap();
    tokio::task::yield_now().await;
    let got: Option<i32> = transaction
        .exec_first("SELECT n FROM t WHERE id = ?", (id,))
        .await
        .unwrap();
    assert_eq!(got, Some(-1));
    transaction.rollback().await.unwrap();
}

async fn go_elsewhere(conn: &mut Conn, schema: &str) {
    conn.query_drop(format!("USE {schema}_2")).await.unwrap();
    assert_eq!(one(conn, "SELECT DATABASE()").await, format!("{schema}_2"));
    conn.query_drop(format!("USE {schema}")).await.unwrap();
}

/// One client's work: everything that it can ask about itself, in between the work of the others.
async fn work(mut conn: Conn, who: i32, schema: String) {
    let mode = ["", "ANSI", "TRADITIONAL"][who as usize % 3];
    let limit = 1_000 + who;
    conn.query_drop(format!(
        "SET sql_mode = '{mode}', sql_select_limit = {limit}, time_zone = '+0{}:00'",
        who % 9
    ))
    .await
    .unwrap();
    let insert = conn
        .prep("INSERT INTO t (who, n) VALUES (?, ?), (?, ?)")
        .await
        .unwrap();
    let select = conn
        .prep("SELECT who, n FROM t WHERE id = ?")
        .await
        .unwrap();
    let floats = conn
        .prep("SELECT n FROM t WHERE who < ? + 1000 AND id = ?")
        .await
        .unwrap();
    for turn in 0..25 {
        let is = one(
            &mut conn,
            "SELECT @@sql_select_limit, DATABASE(), @@time_zone",
        )
        .await;
        assert_eq!(is, format!("{limit} {schema} +0{}:00", who % 9));
        conn.exec_drop(&insert, (who, turn, who, turn + 1))
            .await
            .unwrap();
        let id = conn.last_insert_id().unwrap();
        assert_eq!(one(&mut conn, "SELECT ROW_COUNT()").await, "2");
        assert_eq!(
            one(&mut conn, "SELECT LAST_INSERT_ID()").await,
            id.to_string()
        );
        conn.query_drop("SELECT id FROM t LIMIT 2").await.unwrap();
        assert_eq!(one(&mut conn, "SELECT FOUND_ROWS()").await, "2");
        let got: Option<(i32, i64)> = conn.exec_first(&select, (id,)).await.unwrap();
        assert_eq!(got, Some((who, i64::from(turn))));
        let got: Option<i32> = conn.exec_first(&floats, (0.5, id)).await.unwrap();
        assert_eq!(got, Some(turn));
        if turn % 3 == 0 {
            roll_back(&mut conn, id).await;
        }
        if turn % 7 == 0 {
            go_elsewhere(&mut conn, &schema).await;
        }
    }
    conn.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_clients_on_three_connections_each_see_their_own_state() {
    let (server, gate, schema) = rig(3);
    let mut clients = Vec::new();
    for who in 0..30 {
        let conn = gate.connect(&schema).await;
        clients.push(tokio::spawn(work(conn, who, schema.clone())));
    }
    for client in clients {
        tokio::time::timeout(PATIENCE * 3, client)
            .await
            .expect("nobody starves")
            .unwrap();
    }
    let rows = server.run(&format!("SELECT COUNT(*) = 30 * 25 * 2 FROM {schema}.t"));
    assert_eq!(rows.trim(), "1");
    let pools: Vec<(u64, u64)> = gate
        .admin("SELECT waits, refused FROM tidegate.pools WHERE user = 'app'")
        .await;
    assert!(pools[0].0 > 0, "nobody had to wait, so nothing was shared");
    assert_eq!(pools[0].1, 0);
}

async fn pinned_by(gate: &Tidegate, conn: &Conn) -> Option<Option<String>> {
    let sql = format!(
        "SELECT pinned_by FROM tidegate.sessions WHERE id = {}",
        conn.id()
    );
    gate.admin(&sql).await.pop()
}

#[tokio::test]
async fn what_cannot_be_carried_ties_and_says_why() {
    let (_server, gate, schema) = rig(20);
    for (does, undoes, why) in [
        ("CREATE TEMPORARY TABLE x (a INT)", "", "temporary_table"),
        (
            "SELECT GET_LOCK('a', 1)",
            "SELECT RELEASE_ALL_LOCKS()",
            "user_lock",
        ),
        ("LOCK TABLES t READ", "UNLOCK TABLES", "table_lock"),
        ("BEGIN", "COMMIT", "transaction"),
        (
            "SET TRANSACTION READ ONLY",
            "SELECT COUNT(*) FROM t",
            "next_transaction",
        ),
        ("XA START 'a'", "XA END 'a'; XA ROLLBACK 'a'", "xa"),
        ("HANDLER t OPEN", "", "handler"),
        ("SET @a = 1", "", "user_variable"),
        ("SELECT @a := 1", "", "user_variable"),
        ("CALL sets_it()", "", "stored_program"),
        ("PREPARE s FROM 'SELECT 1'", "", "sql_prepare"),
        ("SELECT CONNECTION_ID()", "", "connection_id"),
        ("SET timestamp = 5", "", "variable"),
        ("SET session_track_gtids = OWN_GTID", "", "session_track"),
        ("SELECT 1 / 0", "SELECT 1", "diagnostics"),
    ] {
        let mut conn = gate.connect(&schema).await;
        conn.query_drop(does).await.unwrap();
        let seen = wait_for(&gate, &conn, |tie| tie.is_some()).await;
        assert_eq!(seen.as_deref(), Some(why), "{does}");
        for sql in undoes.split("; ").filter(|sql| !sql.is_empty()) {
            conn.query_drop(sql).await.unwrap();
        }
        if undoes.is_empty() {
            conn.reset().await.unwrap();
        }
        assert_eq!(
            wait_for(&gate, &conn, |tie| tie.is_none()).await,
            None,
            "{does}"
        );
    }
}

/// What pins a session, once it is idle; waits until that is as expected, or for good.
async fn wait_for(
    gate: &Tidegate,
    conn: &Conn,
    is: impl Fn(&Option<String>) -> bool,
) -> Option<String> {
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let tie = pinned_by(gate, conn).await.expect("the session is listed");
        if is(&tie) || std::time::Instant::now() > end {
            return tie;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_idle_client_gives_its_connection_to_the_pool_and_gets_its_state_back() {
    let (server, gate, schema) = rig(20);
    let mut conn = gate.connect(&schema).await;
    conn.query_drop("SET lc_time_names = 'de_DE'")
        .await
        .unwrap();
    conn.query_drop("CALL sets_mode()").await.unwrap();
    conn.query_drop("INSERT INTO t (who, n) VALUES (1, 1)")
        .await
        .unwrap();
    conn.reset().await.unwrap();
    conn.query_drop("SET lc_time_names = 'fr_FR'")
        .await
        .unwrap();
    conn.query_drop("INSERT INTO t (who, n) VALUES (1, 1), (1, 2), (1, 3)")
        .await
        .unwrap();
    let sql = format!(
        "SELECT backend_id FROM tidegate.sessions WHERE id = {}",
        conn.id()
    );
    let end = std::time::Instant::now() + PATIENCE;
    while gate.admin::<Option<u64>>(&sql).await != [None] {
        assert!(std::time::Instant::now() < end, "it keeps its connection");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Somebody else closes what is idle, so that the session comes to another connection.
    let user = "SELECT GROUP_CONCAT('KILL ', id SEPARATOR ';') FROM information_schema.processlist WHERE user = 'app'";
    server.run(server.run(user).trim());
    assert_eq!(one(&mut conn, "SELECT ROW_COUNT()").await, "3");
    assert_eq!(
        one(&mut conn, "SELECT @@lc_time_names, LAST_INSERT_ID()").await,
        "fr_FR 2"
    );
}

#[tokio::test]
async fn who_finds_no_connection_is_told_and_goes_on() {
    let server = MySql::start(&[]);
    let schema = server.schema("crowded");
    let gate = Tidegate::of(&server)
        .set("pool.connections_max", "2")
        .set("pool.wait_ms_max", "300")
        .set("views.enabled", "false")
        .start();
    let mut first = gate.connect(&schema).await;
    let mut second = gate.connect(&schema).await;
    let mut third = gate.connect(&schema).await;
    first.query_drop("BEGIN").await.unwrap();
    second.query_drop("BEGIN").await.unwrap();
    let refused = third.query_drop("DO 1").await.unwrap_err();
    assert!(
        matches!(&refused, mysql_async::Error::Server(e) if e.code == 1040),
        "{refused}"
    );
    first.query_drop("COMMIT").await.unwrap();
    assert_eq!(one(&mut third, "SELECT 5").await, "5");
    second.query_drop("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_client_without_a_connection_can_be_killed() {
    let (_server, gate, schema) = rig(20);
    let mut victim = gate.connect(&schema).await;
    let mut killer = gate.connect(&schema).await;
    let sql = format!(
        "SELECT backend_id FROM tidegate.sessions WHERE id = {}",
        victim.id()
    );
    let end = std::time::Instant::now() + PATIENCE;
    while gate.admin::<Option<u64>>(&sql).await != [None] {
        assert!(std::time::Instant::now() < end, "it keeps its connection");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    killer
        .query_drop(format!("KILL QUERY {}", victim.id()))
        .await
        .unwrap();
    assert_eq!(one(&mut victim, "SELECT 1").await, "1");
    killer
        .query_drop(format!("KILL {}", victim.id()))
        .await
        .unwrap();
    let id = victim.id();
    assert!(victim.query_drop("DO 1").await.is_err());
    let gone = killer.query_drop(format!("KILL {id}")).await.unwrap_err();
    assert!(
        matches!(&gone, mysql_async::Error::Server(e) if e.code == 1094),
        "{gone}"
    );
}

#[test]
fn in_session_mode_a_client_keeps_its_connection() {
    let server = MySql::start(&[]);
    let schema = server.schema("kept");
    let gate = Tidegate::of(&server)
        .set("pool.mode", "\"session\"")
        .set("pool.hold_ms_max", "0")
        .start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut conn = gate.connect(&schema).await;
        conn.query_drop("DO 1").await.unwrap();
        let seen = wait_for(&gate, &conn, |tie| tie.is_some()).await;
        assert_eq!(seen.as_deref(), Some("session_mode"));
    });
    wait_until("it still has it", PATIENCE, || {
        let count =
            server.run("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'");
        (count.trim() == "1").then_some(())
    });
}

/// What ties a session may show only when it is asked to leave: then the next one is asked.
#[tokio::test]
async fn who_turns_out_to_be_tied_lets_another_go() {
    let server = MySql::start(&[]);
    let schema = server.schema("asked");
    let gate = Tidegate::of(&server)
        .set("pool.connections_max", "2")
        .set("pool.hold_ms_max", "60000")
        .set("pool.wait_ms_max", "20000")
        .set("views.enabled", "false")
        .start();
    let mut tied = gate.connect(&schema).await;
    let sum: Option<i64> = tied.exec_first("SELECT ? + 1", (1,)).await.unwrap();
    assert_eq!(sum, Some(2));
    let mut free = gate.connect(&schema).await;
    assert_eq!(one(&mut free, "SELECT 1").await, "1");
    let mut third = gate.connect(&schema).await;
    assert_eq!(one(&mut third, "SELECT 3").await, "3");
    let seen = wait_for(&gate, &tied, |tie| tie.is_some()).await;
    assert_eq!(seen.as_deref(), Some("prepared_before"));
    let sum: Option<i64> = tied.exec_first("SELECT ? + 1", (2,)).await.unwrap();
    assert_eq!(sum, Some(3));
    assert_eq!(one(&mut free, "SELECT 2").await, "2");
}

/// A session that is without a connection while its schema is dropped must not be stuck, and must not come to another schema.
#[tokio::test]
async fn a_session_whose_schema_is_dropped_goes_on_without_one() {
    let (server, gate, schema) = rig(20);
    server.run(&format!(
        "CREATE SCHEMA {schema}_gone; CREATE TABLE {schema}_gone.t (a INT)"
    ));
    let mut conn = gate.connect(&format!("{schema}_gone")).await;
    let sql = format!(
        "SELECT backend_id FROM tidegate.sessions WHERE id = {}",
        conn.id()
    );
    let end = std::time::Instant::now() + PATIENCE;
    while gate.admin::<Option<u64>>(&sql).await != [None] {
        assert!(std::time::Instant::now() < end, "it keeps its connection");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.run(&format!("DROP SCHEMA {schema}_gone"));
    let user = "SELECT GROUP_CONCAT('KILL ', id SEPARATOR ';') FROM information_schema.processlist WHERE user = 'app'";
    server.run(server.run(user).trim());
    assert_eq!(one(&mut conn, "SELECT 1").await, "1");
    let refused = conn.query_drop("SELECT * FROM t").await.unwrap_err();
    assert!(
        matches!(&refused, mysql_async::Error::Server(e) if e.code == 1046),
        "{refused}"
    );
    conn.query_drop(format!("USE {schema}")).await.unwrap();
    conn.query_drop("SELECT * FROM t").await.unwrap();
}
