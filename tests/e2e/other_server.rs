//! The backend's address leads to another server: a failover, a DNS name, a balancer. An answer is the one of the server that the
//! session is connected to, whatever was proven of the other.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use crate::support::mysql::{self, cells};
use crate::support::{MySql, Tidegate};

/// One address in front of whichever server it is turned to; connections stay where they were made.
struct Address {
    port: u16,
    leads_to: Arc<AtomicU16>,
}

impl Address {
    fn of(server: &MySql) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let leads_to = Arc::new(AtomicU16::new(server.port));
        let target = leads_to.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", target.load(SeqCst))) {
                    join(&client, &server);
                    join(&server, &client);
                }
            }
        });
        Self { port, leads_to }
    }
}

/// Copies one direction until either side has gone.
fn join(from: &TcpStream, to: &TcpStream) {
    let copies = [from.try_clone(), to.try_clone()];
    let [Ok(mut from), Ok(mut to)] = copies else {
        return;
    };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = from.shutdown(std::net::Shutdown::Both);
    });
}

type Rows = Vec<Vec<Option<Vec<u8>>>>;

const SQL: &str = "SELECT kind, SUM(v), COUNT(*) FROM d.t GROUP BY kind ORDER BY kind";

fn server(amount: u32) -> MySql {
    let server = MySql::start(&[]);
    server.run(&format!(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, kind INT NOT NULL, v DECIMAL(12,2) NOT NULL);
         SET SESSION cte_max_recursion_depth = 100000;
         INSERT INTO d.t (kind, v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
           SELECT i % 5, {amount} FROM n"
    ));
    server
}

/// One session: which server it is on, and its answer. Answers with whether it was on the first.
async fn ask(gate: &Tidegate, truth: &[(String, Rows); 2]) -> Option<bool> {
    let options = mysql::options(gate.app_port, mysql::APP_USER, mysql::APP_PASSWORD, "d");
    // While a server is gone there may be no way in.
    let mut conn = mysql_async::Conn::new(options).await.ok()?;
    let rows = cells(&mut conn, SQL).await.ok()?;
    let uuid: String = conn.query_first("SELECT @@server_uuid").await.ok()??;
    let at = truth
        .iter()
        .position(|(of, _)| *of == uuid)
        .expect("one of the two");
    assert_eq!(rows, truth[at].1, "of server {at}");
    Some(at == 0)
}

/// Sessions come and go until one was on that server and something was decided so.
async fn until(gate: &Tidegate, truth: &[(String, Rows); 2], first: bool, reason: &str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE reason = '{reason}'"
    );
    let before: Vec<(i64,)> = gate.admin(&sql).await;
    loop {
        let on = ask(gate, truth).await;
        let now: Vec<(i64,)> = gate.admin(&sql).await;
        if on == Some(first) && now[0].0 > before[0].0 {
            return;
        }
        assert!(Instant::now() < deadline, "never {reason}: {}", gate.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Answers come as `reason` says from the first server; then the address leads to the second; then the first dies.
async fn turn(reason: &str, settings: &[(&str, &str)]) {
    let (one, two) = (server(7), server(8));
    let mut truth = Vec::new();
    for server in [&one, &two] {
        let mut conn = server.connect("d").await;
        let uuid: Option<String> = conn.query_first("SELECT @@server_uuid").await.unwrap();
        truth.push((uuid.unwrap(), cells(&mut conn, SQL).await.unwrap()));
    }
    let truth: [(String, Rows); 2] = truth.try_into().expect("two");
    assert_ne!(truth[0].0, truth[1].0);
    let address = Address::of(&one);
    let url = format!("mysql://root@127.0.0.1:{}", address.port);
    let mut builder = Tidegate::of(&one).backend_url(&url);
    for (key, value) in settings {
        builder = builder.set(key, value);
    }
    let gate = builder.set("pool.idle_max", "1").start();
    until(&gate, &truth, true, reason).await;
    address.leads_to.store(two.port, SeqCst);
    let mut elsewhere = 0;
    while elsewhere < 20 {
        // More than the pool has kept, so that some are new.
        let held = (gate.connect("d").await, gate.connect("d").await);
        elsewhere += u32::from(ask(&gate, &truth).await == Some(false));
        drop(held);
    }
    one.kill9();
    until(&gate, &truth, false, reason).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_view_answers_for_another_server() {
    let settings = [
        ("cache.enabled", "false"),
        ("views.repeat_count_min", "2"),
        ("views.mean_ms_min", "0"),
        ("views.rebuild_interval_ms_min", "100"),
        ("views.size_ratio_max", "0.5"),
        ("views.gate_wait_ms_max", "1000"),
    ];
    turn("view", &settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kept_result_answers_for_another_server() {
    let settings = [("views.enabled", "false"), ("cache.tables", "[\"d.t\"]")];
    turn("cache_hit", &settings).await;
}
