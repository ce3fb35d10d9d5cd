//! Who a session is: after a change of user nothing of the one before is left, and no login that was made before a change of accounts
//! or grants is handed to a client that comes after it.

use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{ChangeUserOpts, Conn, Statement};

use crate::support::mysql::options;
use crate::support::{MySql, Tidegate};

const PATIENCE: Duration = Duration::from_secs(60);
const NO_RIGHT_ON_TABLE: u16 = 1142;

/// The first column of the first row, or the error's number.
async fn ask<T>(conn: &mut Conn, sql: &str) -> Result<Option<T>, u16>
where
    T: FromRow + Send + 'static,
{
    number(conn.query_first(sql).await)
}

fn number<T>(result: mysql_async::Result<T>) -> Result<T, u16> {
    match result {
        Ok(value) => Ok(value),
        Err(mysql_async::Error::Server(error)) => Err(error.code),
        Err(error) => panic!("{error}"),
    }
}

async fn connect(gate: &Tidegate, user: &str, password: &str) -> Result<Conn, u16> {
    number(Conn::new(options(gate.app_port, user, password, "")).await)
}

async fn become_user(conn: &mut Conn, user: &str, password: &str, schema: &str) {
    let options = ChangeUserOpts::new()
        .with_user(Some(user.to_owned()))
        .with_pass(Some(password.to_owned()))
        .with_db_name(Some(schema.to_owned()));
    conn.change_user(options).await.expect("the new account");
}

/// Answers from the cache so far.
async fn hits(gate: &Tidegate) -> i64 {
    let sql =
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE reason = 'cache_hit'";
    gate.admin::<i64>(sql).await[0]
}

async fn until_cached(gate: &Tidegate, conn: &mut Conn, sql: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let before = hits(gate).await;
        conn.query_drop(sql).await.expect("an answer");
        if hits(gate).await > before {
            return;
        }
        assert!(std::time::Instant::now() < end, "{sql}: never a hit");
    }
}

fn rig(server: &MySql) -> Tidegate {
    server.run(
        "CREATE DATABASE d; CREATE TABLE d.t (v INT); INSERT INTO d.t VALUES (1), (2), (3); CREATE TABLE d.u (v INT);
         CREATE DATABASE e; CREATE TABLE e.t (v INT); INSERT INTO e.t VALUES (50);
         CREATE ROLE peeks; GRANT SELECT ON d.u TO peeks;
         CREATE USER alice IDENTIFIED BY 'a'; GRANT SELECT ON d.t TO alice; GRANT peeks TO alice;
         CREATE TABLE d.w (v INT); CREATE USER bob IDENTIFIED BY 'b'; GRANT SELECT ON d.w TO bob; GRANT SELECT ON e.t TO bob",
    );
    Tidegate::of(server)
        .set("cache.tables", r#"["d.t", "e.t"]"#)
        .set("cache.gate_wait_ms_max", "1000")
        .set("admin.users", r#"["alice"]"#)
        .start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_user_has_nothing_of_the_one_before() {
    let server = MySql::start(&[]);
    let gate = rig(&server);
    let mut conn = connect(&gate, "alice", "a").await.expect("a login");
    let id = conn.id();
    conn.query_drop("USE d").await.unwrap();
    let (sum, qualified) = ("SELECT SUM(v) FROM t", "SELECT SUM(v) FROM d.t");
    until_cached(&gate, &mut conn, sum).await;
    until_cached(&gate, &mut conn, qualified).await;
    let prepared: Statement = conn.prep(sum).await.unwrap();
    for sql in [
        "SET @mine = 1",
        "SET ROLE peeks",
        "SELECT COUNT(*) FROM u",
        "SELECT COUNT(*) FROM tidegate.queries",
    ] {
        number(conn.query_drop(sql).await).expect(sql);
    }

    become_user(&mut conn, "bob", "b", "d").await;
    // Told already: what the tables say is not behind.
    let told: Vec<(String, String, u64)> = gate
        .admin(&format!(
            "SELECT user, schema_name, backend_id FROM sessions WHERE id = {id}"
        ))
        .await;
    let backend_id = ask::<u64>(&mut conn, "SELECT CONNECTION_ID()").await;
    let backend_id = backend_id.unwrap().unwrap();
    assert_eq!(told, [("bob".to_owned(), "d".to_owned(), backend_id)]);
    let user = ask::<String>(&mut conn, "SELECT CURRENT_USER()").await;
    assert_eq!(user, Ok(Some("bob@%".to_owned())));
    // Not from what is kept for the one before, in whatever form it is asked.
    let refused = Err(NO_RIGHT_ON_TABLE);
    for sql in [sum, qualified, "SELECT COUNT(*) FROM u"] {
        assert_eq!(ask::<i64>(&mut conn, sql).await, refused, "{sql}");
        assert_eq!(
            number(conn.exec_drop(sql, ()).await),
            Err(NO_RIGHT_ON_TABLE)
        );
    }
    let old = number(conn.exec_drop(&prepared, ()).await);
    assert_eq!(old, Err(1243), "statements go with the connection");
    let mine = ask::<Option<i64>>(&mut conn, "SELECT @mine").await;
    assert_eq!(mine, Ok(Some(None)));
    let roles = ask::<String>(&mut conn, "SELECT CURRENT_ROLE()").await;
    assert_eq!(roles, Ok(Some("NONE".to_owned())));
    // The admin tables are not his.
    let admin = ask::<i64>(&mut conn, "SELECT COUNT(*) FROM tidegate.queries").await;
    assert_eq!(admin, refused);
    // Counted as his, and as nobody else's.
    let users: Vec<String> = gate
        .admin("SELECT user FROM queries WHERE digest_text LIKE '%CURRENT_ROLE%'")
        .await;
    assert_eq!(users, ["bob"]);

    // The same name of a table is another table now.
    become_user(&mut conn, "bob", "b", "e").await;
    until_cached(&gate, &mut conn, sum).await;
    assert_eq!(ask::<i64>(&mut conn, sum).await, Ok(Some(50)));
    become_user(&mut conn, "alice", "a", "d").await;
    until_cached(&gate, &mut conn, sum).await;
    assert_eq!(ask::<i64>(&mut conn, sum).await, Ok(Some(6)));
    let admin = ask::<i64>(&mut conn, "SELECT COUNT(*) > 0 FROM tidegate.queries").await;
    assert_eq!(admin, Ok(Some(1)));
    gate.stop();
}

/// What is known of a session's variables, texts and parameters is of the connection that is gone.
#[test]
fn a_changed_user_starts_with_the_servers_own_settings() {
    let server = MySql::start(&[]);
    let gate = rig(&server);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut conn = connect(&gate, "alice", "a").await.expect("a login");
        for sql in [
            "USE d",
            "SET SESSION sql_mode = 'ANSI_QUOTES'",
            "SET NAMES latin1",
            "SET SESSION transaction_read_only = 1",
            "BEGIN",
            "SELECT GET_LOCK('mine', 0)",
        ] {
            number(conn.query_drop(sql).await).expect(sql);
        }
        become_user(&mut conn, "alice", "a", "d").await;
        let (mut direct, sql) = (
            server.connect("").await,
            "SELECT CONCAT_WS(' ', @@sql_mode, @@transaction_read_only, @@autocommit)",
        );
        let now = ask::<String>(&mut conn, sql).await;
        assert_eq!(now, ask::<String>(&mut direct, sql).await);
        let quoted = ask::<String>(&mut conn, "SELECT \"text\"").await;
        assert_eq!(quoted, Ok(Some("text".to_owned())));
        let free = ask::<i64>(&mut direct, "SELECT IS_FREE_LOCK('mine')").await;
        assert_eq!(free, Ok(Some(1)));
        // Nothing rules answers from elsewhere out any more.
        until_cached(&gate, &mut conn, "SELECT SUM(v) FROM t").await;
    });
    gate.stop();
}

/// Connections of a user that wait for the next client.
fn idle(gate: &Tidegate, user: &str) -> u64 {
    pool(gate, user, "idle")
}

fn pool(gate: &Tidegate, user: &str, column: &str) -> u64 {
    let (_, body) =
        crate::support::process::http_get(gate.http_port, "/api/pools").expect("an answer");
    let parsed: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let rows = parsed.as_array().or_else(|| parsed["rows"].as_array());
    let row = rows.expect("rows").iter().find(|row| row["user"] == user);
    row.and_then(|row| row[column].as_u64()).unwrap_or(0)
}

/// A client of that user comes and goes until its connection is kept for the next one of its kind.
async fn leave_one_behind(gate: &Tidegate, user: &str, password: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    // What a change of grants threw away since is made anew.
    while idle(gate, user) == 0 {
        assert!(std::time::Instant::now() < end, "no connection is kept");
        let visit = connect(gate, user, password).await.expect("a login");
        visit.disconnect().await.unwrap();
    }
}

/// Clients come and go until one has the connection of another.
async fn until_reused(gate: &Tidegate, user: &str, password: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    let before = pool(gate, user, "reused");
    while pool(gate, user, "reused") == before {
        assert!(std::time::Instant::now() < end, "no connection is reused");
        let visit = connect(gate, user, password).await.expect("a login");
        visit.disconnect().await.unwrap();
    }
}

/// Each as an account that we know from logins, and as one whose password stands in the configuration: what is remembered of the
/// first is void with every change, the second proves itself to us without asking the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_from_before_a_change_of_grants_is_handed_on() {
    let server = MySql::start(&["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0"]);
    server.run("CREATE ROLE first, second; CREATE DATABASE d; CREATE TABLE d.t (b LONGBLOB)");
    let gate = Tidegate::of(&server)
        .set("users", "[{ name = \"listed\", password = \"c\" }]")
        .start();
    let mut root = server.connect_root().await;
    for user in ["listed", "unlisted"] {
        server.run(&format!(
            "CREATE USER {user} IDENTIFIED BY 'c'; GRANT first, second TO {user}"
        ));
        // Where nothing changed, it is.
        until_reused(&gate, user, "c").await;
        let transactions = "SELECT COUNT(*) >= 0 FROM information_schema.INNODB_TRX";
        let role = "SELECT CURRENT_ROLE() = '`second`@`%`'";
        let changes = [
            ("GRANT PROCESS ON *.* TO", "", transactions, Ok(Some(1))),
            ("REVOKE PROCESS ON *.* FROM", "", transactions, Err(1227)),
            ("ALTER USER", "DEFAULT ROLE second", role, Ok(Some(1))),
            ("ALTER USER", "DEFAULT ROLE NONE", role, Ok(Some(0))),
        ];
        for (before, behind, sql, right) in changes {
            leave_one_behind(&gate, user, "c").await;
            change(&mut root, &format!("{before} {user} {behind}")).await;
            let mut conn = connect(&gate, user, "c").await.expect("a login");
            let got = ask::<i64>(&mut conn, sql).await;
            assert_eq!(got, right, "after {before} {user} {behind}");
            conn.disconnect().await.unwrap();
        }
        let refusals = [
            ("ALTER USER", "ACCOUNT LOCK", 3118),
            ("ALTER USER", "IDENTIFIED BY 'new'", 1045),
            ("DROP USER", "", 1045),
        ];
        for (before, behind, number) in refusals {
            leave_one_behind(&gate, user, "c").await;
            change(&mut root, &format!("{before} {user} {behind}")).await;
            let refused = connect(&gate, user, "c").await.map(drop);
            assert_eq!(refused, Err(number), "after {before} {user} {behind}");
            server.run(&format!(
                "DROP USER IF EXISTS {user}; CREATE USER {user} IDENTIFIED BY 'c'"
            ));
        }
    }
    gate.stop();
}

/// A change of grants, right behind so much else that the proxy's reader of the log is late.
async fn change(root: &mut Conn, sql: &str) {
    let much = "INSERT INTO d.t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) \
                SELECT REPEAT('x', 1000000) FROM n";
    root.query_drop(much).await.unwrap();
    root.query_drop(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_runs_at_each_login_is_run_at_each() {
    let server = MySql::start(&[]);
    server.run("CREATE USER carl IDENTIFIED BY 'c'");
    let gate = Tidegate::of(&server).start();
    for round in 0..3 {
        leave_one_behind(&gate, "carl", "c").await;
        server.run("SET GLOBAL init_connect = 'SET @greeting = 7'");
        for _ in 0..3 {
            let mut conn = connect(&gate, "carl", "c").await.expect("a login");
            let greeting = ask::<Option<i64>>(&mut conn, "SELECT @greeting").await;
            assert_eq!(greeting, Ok(Some(Some(7))), "round {round}");
            conn.query_drop("SET @greeting = 8").await.unwrap();
            conn.disconnect().await.unwrap();
        }
        server.run("SET GLOBAL init_connect = ''");
        let mut conn = connect(&gate, "carl", "c").await.expect("a login");
        let greeting = ask::<Option<i64>>(&mut conn, "SELECT @greeting").await;
        assert_eq!(greeting, Ok(Some(None)), "round {round}");
        conn.disconnect().await.unwrap();
    }
    until_reused(&gate, "carl", "c").await;
    gate.stop();
}
