//! `route` in a real cluster: what a rule sends to the writer or to a reader, as text and prepared, and what it cannot send away; a
//! deadline ends a statement where it runs.

use super::*;
use crate::support::Topology;

const READ: &str = "SELECT @@server_id FROM bank.t LIMIT 1";
const OTHER_READ: &str = "SELECT @@server_id, n FROM bank.t LIMIT 1";

async fn on(conn: &mut Conn, sql: &str, prepared: bool) -> u32 {
    let row: Option<mysql_async::Row> = match prepared {
        false => conn.query_first(sql).await.unwrap(),
        true => conn.exec_first(sql, ()).await.unwrap(),
    };
    row.expect("a row").get(0).expect("a number")
}

async fn until_readers(gate: &Tidegate) {
    let begin = Instant::now();
    while gate
        .admin::<u64>("SELECT COUNT(*) FROM backends WHERE reads = 1")
        .await
        != [2]
    {
        assert!(begin.elapsed() < Duration::from_secs(30), "{}", gate.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn only_rule(admin: &mut Conn, text: &str, route: &str) {
    admin.query_drop("DELETE FROM rules").await.unwrap();
    let insert = "INSERT INTO rules (name, text, route) VALUES ('way', ?, ?)";
    admin.exec_drop(insert, (text, route)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_choose_the_server() {
    let topology = Topology::start();
    topology.servers[0].run(
        "CREATE DATABASE bank; CREATE TABLE bank.t (id INT PRIMARY KEY, n INT NOT NULL); INSERT INTO bank.t VALUES (1, 0)",
    );
    topology.wait_copied(0);
    for (reads, text, route) in [("readers", "`n`", "writer"), ("writer", "`n`", "reader")] {
        let gate = topology
            .tidegate()
            .set("cluster.reads", &format!("\"{reads}\""))
            .start();
        until_readers(&gate).await;
        let mut admin = gate.connect_admin().await;
        let mut conn = gate.connect("bank").await;
        for prepared in [false, true] {
            assert_eq!(
                on(&mut conn, OTHER_READ, prepared).await == 1,
                reads == "writer"
            );
        }
        only_rule(&mut admin, text, route).await;
        for prepared in [false, true] {
            let ruled = on(&mut conn, OTHER_READ, prepared).await;
            assert_eq!(ruled == 1, route == "writer", "{route} {prepared}: {ruled}");
            let free = on(&mut conn, READ, prepared).await;
            assert_eq!(free == 1, reads == "writer", "{route} {prepared}: {free}");
        }
        let told = format!(
            "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE target = '{route}' AND reason = 'rule'"
        );
        assert!(gate.admin::<i64>(&told).await[0] >= 2);
        assert_eq!(
            super::route(&mut conn, OTHER_READ, "node_reason")
                .await
                .unwrap(),
            "rule"
        );
        // What is no read stays with the writer.
        conn.query_drop("UPDATE t SET n = n + 1").await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        assert_eq!(on(&mut conn, OTHER_READ, false).await, 1);
        conn.query_drop("COMMIT").await.unwrap();
        drop((admin, conn));
        gate.stop();
    }
    let written = topology.servers[0].run("SELECT n FROM bank.t");
    assert_eq!(written.trim(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_statement_on_its_reader() {
    let topology = Topology::start();
    topology.servers[0].run(
        "CREATE DATABASE bank; CREATE TABLE bank.t (id INT PRIMARY KEY, n INT NOT NULL); INSERT INTO bank.t VALUES (1, 0)",
    );
    topology.wait_copied(0);
    let gate = topology
        .tidegate()
        .set("cluster.reads", "\"readers\"")
        .set(
            "rules",
            "[{name = 'short', text = 'SLEEP', timeout_ms = 300}]",
        )
        .start();
    until_readers(&gate).await;
    let mut conn = gate.connect("bank").await;
    assert_ne!(on(&mut conn, READ, false).await, 1);
    let began = Instant::now();
    let slow = "SELECT @@server_id FROM t WHERE SLEEP(30) = 7";
    let node = super::route(&mut conn, slow, "node").await.unwrap();
    assert_ne!(node, "backend", "it is a reader's");
    let (code, words) = refusal(conn.query_drop(slow).await);
    assert_eq!(code, 3024, "{words}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_ne!(on(&mut conn, READ, false).await, 1);
    drop(conn);
    gate.stop();
}
