//! What README.md tells a new user to type, typed.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use crate::support::mysql::cells;
use crate::support::{MySql, Tidegate};

/// The statements that make Tidegate's own user.
fn grants() -> String {
    let readme = include_str!("../../README.md");
    let lines: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.contains("CREATE USER tidegate"))
        .take_while(|line| line.starts_with("    "))
        .collect();
    assert!(lines.len() >= 3, "{lines:?}");
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_grants_of_the_readme_a_view_answers() {
    let server = MySql::start(&[]);
    server.run(&grants());
    server.run(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, kind INT NOT NULL, v DECIMAL(12,2) NOT NULL);
         SET SESSION cte_max_recursion_depth = 100000;
         INSERT INTO d.t (kind, v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
           SELECT i % 50, i FROM n",
    );
    let url = format!("mysql://tidegate:secret@127.0.0.1:{}", server.port);
    let gate = Tidegate::of(&server)
        .backend_url(&url)
        .set("views.repeat_count_min", "2")
        .set("views.mean_ms_min", "0")
        .set("views.size_ratio_max", "0.5")
        .set("views.gate_wait_ms_max", "1000")
        .start();
    let mut conn = gate.connect("d").await;
    let mut direct = server.connect("d").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    for from in (0..50).cycle() {
        let sql = format!(
            "SELECT kind, SUM(v), COUNT(*) FROM t WHERE kind >= {from} GROUP BY kind ORDER BY kind"
        );
        let rows = cells(&mut conn, &sql).await.unwrap();
        assert_eq!(rows, cells(&mut direct, &sql).await.unwrap());
        let hits = "SELECT CAST(COALESCE(SUM(hits), 0) AS SIGNED) FROM views";
        let hits: Vec<(i64,)> = gate.admin(hits).await;
        if hits[0].0 > 3 {
            break;
        }
        if Instant::now() > deadline {
            let why: Vec<(String, String)> = gate
                .admin("SELECT state, reason FROM view_candidates")
                .await;
            panic!("no view: {why:?}\n{}", gate.log());
        }
    }
    conn.query_drop("SELECT 1").await.unwrap();
    gate.stop();
}
