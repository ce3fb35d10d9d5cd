//! Limits under many clients, and breakers: nobody is let through who should not be, and nobody is lost.

use std::sync::Arc;

use super::*;

/// A statement of 20 ms that says when it began and when it was about to end, by the server's clock.
const STATEMENT: &str =
    "SELECT UNIX_TIMESTAMP(NOW(6)) AS began, SLEEP(0.02), UNIX_TIMESTAMP(SYSDATE(6)) AS ended";

/// What became of the statements of 50 clients.
struct Crowd {
    /// From when to when each ran, in seconds.
    ran: Vec<(f64, f64)>,
    /// The errors of the others.
    refused: Vec<u16>,
}

impl Crowd {
    /// 50 clients run the statement again and again.
    async fn run(gate: &Arc<Tidegate>, each: usize) -> Crowd {
        let mut clients = Vec::new();
        for _ in 0..50 {
            let gate = gate.clone();
            clients.push(tokio::spawn(async move {
                let mut conn = gate.connect("").await;
                let (mut ran, mut refused) = (Vec::new(), Vec::new());
                for _ in 0..each {
                    match conn.query_first::<(f64, i64, f64), _>(STATEMENT).await {
                        Ok(row) => ran.extend(row.map(|(began, _, ended)| (began, ended))),
                        Err(Error::Server(error)) => refused.push(error.code),
                        Err(error) => panic!("{error}"),
                    }
                }
                (ran, refused)
            }));
        }
        let (mut ran, mut refused) = (Vec::new(), Vec::new());
        for client in clients {
            let (rows, errors) = client.await.unwrap();
            ran.extend(rows);
            refused.extend(errors);
        }
        Crowd { ran, refused }
    }

    /// How many ran at one time.
    fn most(&self) -> usize {
        let at = |moment: f64| {
            let runs = |(began, ended): &&(f64, f64)| *began <= moment && moment < *ended;
            self.ran.iter().filter(runs).count()
        };
        self.ran
            .iter()
            .map(|(began, _)| at(*began))
            .max()
            .unwrap_or(0)
    }
}

/// 50 clients, 4 at once, all may wait: all are answered, and never more than 4 run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_wait_their_turn() {
    let server = MySql::shared();
    let gate = Arc::new(gate(
        server,
        "{name = 'four', text = 'SLEEP', concurrent_max = 4, queue_max = 100, queue_ms_max = 60000}",
    ));
    let crowd = Crowd::run(&gate, 6).await;
    assert_eq!((crowd.ran.len(), crowd.refused.len()), (300, 0));
    assert!(
        (2..=4).contains(&crowd.most()),
        "{} ran at once",
        crowd.most()
    );
    let rows: Vec<(u64, u64, u64, u64)> = gate
        .admin("SELECT running, waiting, started, refused FROM limits WHERE counted_for = '*'")
        .await;
    assert_eq!(rows, [(0, 0, 300, 0)]);
}

/// What is held to four above is not held to it by anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_more_run() {
    let gate = Arc::new(gate(MySql::shared(), ""));
    assert!(Crowd::run(&gate, 6).await.most() > 4);
}

/// 50 clients, 4 at once, 3 may wait: the others are told at once, with the error that is meant for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    let server = MySql::shared();
    let gate = Arc::new(gate(
        server,
        "{name = 'four', text = 'SLEEP', limit_by = 'user', concurrent_max = 4, queue_max = 3, queue_ms_max = 60000}",
    ));
    let crowd = Crowd::run(&gate, 6).await;
    assert!(crowd.most() <= 4, "{} ran at once", crowd.most());
    let (done, refused) = (crowd.ran.len() as u64, crowd.refused);
    assert!(done >= 4 && !refused.is_empty() && refused.iter().all(|code| *code == 1203));
    assert_eq!(done + refused.len() as u64, 300);
    let rows: Vec<(String, u64, u64, u64)> = gate
        .admin("SELECT counted_for, running, started, refused FROM limits")
        .await;
    assert_eq!(rows, [(APP_USER.to_owned(), 0, done, refused.len() as u64)]);
    let mut conn = gate.connect("").await;
    assert_eq!(number(&mut conn, "SELECT 5").await.unwrap(), Some(5));
}

/// Who waits for too long is told so, and takes no place from anybody; who leaves does not either.
#[tokio::test]
async fn waits_end() {
    let server = MySql::shared();
    let gate = gate(
        server,
        "{name = 'one', text = 'SLEEP', concurrent_max = 1, queue_max = 5, queue_ms_max = 300}",
    );
    let mut first = gate.connect("").await;
    let mut second = gate.connect("").await;
    let slow = tokio::spawn(async move { first.query_drop("SELECT SLEEP(2)").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let (code, words) = refusal(second.query_drop("SELECT SLEEP(0.01)").await);
    assert!(
        code == 1203 && words.contains("rule one) after a wait of 300 ms"),
        "{words}"
    );
    assert!(
        (300..1_500).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    // What ends a transaction is never held back, nor what the rule does not mean.
    second.query_drop("COMMIT").await.unwrap();
    assert_eq!(number(&mut second, "SELECT 5").await.unwrap(), Some(5));
    slow.await.unwrap().unwrap();
    second.query_drop("SELECT SLEEP(0.01)").await.unwrap();
    let rows: Vec<(u64, u64)> = gate.admin("SELECT running, waiting FROM limits").await;
    assert_eq!(rows, [(0, 0)]);
}

/// Ten may begin in a second, and as many at once; the next one hears of it. Executions of prepared statements count alike.
#[tokio::test]
async fn a_rate_holds() {
    let server = MySql::shared();
    let gate = gate(
        server,
        "{name = 'ten', raw_text = 'counted', limit_by = 'digest', rate_per_s_max = 10}",
    );
    let mut conn = gate.connect("").await;
    let prepared = conn.prep("SELECT ? AS counted").await.unwrap();
    let (began, mut done, mut refused) = (Instant::now(), 0u32, 0u32);
    while began.elapsed() < Duration::from_secs(3) {
        match conn.exec_first::<i64, _, _>(&prepared, (5,)).await {
            Ok(_) => done += 1,
            Err(Error::Server(error)) => {
                assert_eq!(error.code, 1226, "{}", error.message);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!((35..=42).contains(&done), "{done} in {:?}", began.elapsed());
    assert!(refused > 100, "{refused}");
    // Another digest counts for itself, and what the rule does not mean is free.
    assert_eq!(
        number(&mut conn, "SELECT 1 + 1 AS counted").await.unwrap(),
        Some(2)
    );
    for _ in 0..50 {
        conn.query_drop("SELECT 1").await.unwrap();
    }
}

/// A digest that keeps timing out is not run any more, until one of its statements has ended in time.
#[tokio::test]
async fn a_breaker_opens_and_closes() {
    let server = MySql::shared();
    let gate = gate(
        server,
        "{name = 'fuse', text = 'SLEEP', timeout_ms = 100, breaker_timeouts = 3, breaker_window_ms = 60000, breaker_pause_ms = 1500}",
    );
    let mut conn = gate.connect("").await;
    let slow = "SELECT 1 FROM (SELECT 1 UNION SELECT 2) AS d WHERE SLEEP(5) = 7";
    let quick = "SELECT 1 FROM (SELECT 1 UNION SELECT 2) AS d WHERE SLEEP(0) = 7";
    let state = "SELECT state, timeouts, opened FROM breakers";
    for at in 1..=3u64 {
        assert_eq!(refusal(conn.query_drop(slow).await).0, 3024);
        let rows: Vec<(String, u64, u64)> = gate.admin(state).await;
        let wanted = if at < 3 {
            ("closed".to_owned(), at, 0)
        } else {
            ("open".to_owned(), 0, 1)
        };
        assert_eq!(rows, [wanted]);
    }
    // The same digest, whatever its literals; at once, and with words that say why.
    let began = Instant::now();
    let (code, words) = refusal(conn.query_drop(quick).await);
    assert!(
        code == 3024 && words.contains("rule fuse: digest"),
        "{words}"
    );
    assert!(
        began.elapsed() < Duration::from_millis(90),
        "{:?}",
        began.elapsed()
    );
    // Another digest under the same rule runs.
    conn.query_drop("SELECT SLEEP(0)").await.unwrap();
    // The first one after the pause is the proof: it is slow, so the breaker stays open.
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    let (_, words) = refusal(conn.query_drop(slow).await);
    assert!(words.contains("(100 ms"), "it ran: {words}");
    assert!(
        refusal(conn.query_drop(quick).await)
            .1
            .contains("too often")
    );
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    conn.query_drop(quick).await.unwrap();
    conn.query_drop(quick).await.unwrap();
    let rows: Vec<(String, u64, u64)> = gate.admin(state).await;
    assert_eq!(rows, [("closed".to_owned(), 0, 2)]);
    assert_eq!(gate.admin::<u64>("SELECT refused FROM breakers").await, [2]);
    let page = crate::support::process::http_get(gate.http_port, "/metrics")
        .expect("it answers")
        .1;
    for line in [
        "tidegate_rule_refused_total{rule=\"fuse\"} 2",
        "tidegate_rule_timeouts_total{rule=\"fuse\"} 4",
        "tidegate_rule_breakers_open{rule=\"fuse\"} 0",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "no {line} in\n{page}"
        );
    }
}
