//! What keeps an epoch and what ends it; and the reasons for which there is none.

use tidegate::binlog::Unavailable;

use super::*;

/// Ends the dump connection on the server.
fn cut(server: &MySql) {
    let id = server
        .run("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'");
    let id = id.trim();
    assert!(!id.is_empty(), "no dump connection");
    server.run(&format!("KILL {id}"));
}

/// Waits for something about the follower.
async fn until(what: &str, follower: &Follower, condition: impl Fn(&Binlog) -> bool) {
    let deadline = Instant::now() + WAIT;
    while !condition(&follower.binlog) {
        let snapshot = follower.binlog.snapshot();
        assert!(Instant::now() < deadline, "{what}: {snapshot:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn server() -> MySql {
    let server = MySql::start(&[]);
    server.run("CREATE DATABASE d; CREATE TABLE d.a (id INT PRIMARY KEY AUTO_INCREMENT, v INT); CREATE TABLE d.b LIKE d.a");
    server
}

#[tokio::test]
async fn a_cut_stream_goes_on_where_it_was() {
    let server = server();
    let mut follower = Follower::of(&server).await;
    follower.moved(&["d.a", "d.b"]).await;
    let epoch = follower.binlog.epoch();
    let nothing: [&str; 0] = [];
    // Nothing was logged since the start: there is no transaction to prove it by.
    cut_and_back(&server, &follower).await;
    assert_eq!(follower.moved(&["d.a", "d.b"]).await, nothing);
    for round in 0..4 {
        server.run("INSERT INTO d.a (v) VALUES (1)");
        assert_eq!(follower.moved(&["d.a", "d.b"]).await, ["d.a"]);
        if round == 2 {
            server.run("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
        }
        // Written while nobody listens.
        cut(&server);
        server.run("BEGIN; INSERT INTO d.b (v) VALUES (1); INSERT INTO d.b (v) VALUES (2); COMMIT");
        assert_eq!(
            follower.moved(&["d.a", "d.b"]).await,
            ["d.b"],
            "round {round}"
        );
        cut_and_back(&server, &follower).await;
        assert_eq!(follower.moved(&["d.a", "d.b"]).await, nothing);
    }
    assert_eq!(follower.binlog.epoch(), epoch);
}

async fn cut_and_back(server: &MySql, follower: &Follower) {
    let before = follower.binlog.snapshot().reconnects;
    cut(server);
    until("reconnected", follower, |b| {
        b.snapshot().reconnects > before
    })
    .await;
    follower.up().await;
}

#[tokio::test]
async fn a_prepared_branch_survives_a_cut() {
    let server = server();
    let mut follower = Follower::of(&server).await;
    server.run("XA START 'x'; INSERT INTO d.a (v) VALUES (1); XA END 'x'; XA PREPARE 'x'");
    follower.moved(&["d.a", "d.b"]).await;
    cut(&server);
    server.run("XA COMMIT 'x'");
    assert_eq!(follower.moved(&["d.a", "d.b"]).await, ["d.a"]);
    // One that was prepared before we came can be anything.
    server.run("XA START 'y'; INSERT INTO d.a (v) VALUES (1); XA END 'y'; XA PREPARE 'y'");
    let mut later = Follower::of(&server).await;
    later.moved(&["d.a", "d.b"]).await;
    server.run("XA COMMIT 'y'");
    assert_eq!(later.moved(&["d.a", "d.b"]).await, ["d.a", "d.b", "grants"]);
    assert_eq!(follower.moved(&["d.a", "d.b"]).await, ["d.a"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_continued_begins_a_new_epoch() {
    let server = server();
    let follower = Follower::of(&server).await;
    type Breaking = (&'static str, fn(&MySql));
    let ways: [Breaking; 5] = [
        ("reset", |server| {
            server.run("INSERT INTO d.a (v) VALUES (1); RESET BINARY LOGS AND GTIDS");
        }),
        // The same bytes at the same places with the same identities: only the times differ.
        ("reset and replay", |server| {
            server.run("INSERT INTO d.a VALUES (900, 1); RESET BINARY LOGS AND GTIDS; DELETE FROM d.a WHERE id = 900; INSERT INTO d.a VALUES (900, 1)");
        }),
        ("restart", |server| server.restart()),
        ("kill -9", |server| {
            server.kill9();
            server.start_again();
        }),
        ("restart after writes", |server| {
            server.run("INSERT INTO d.a (v) VALUES (1)");
            server.restart();
            server.run("INSERT INTO d.a (v) VALUES (1)");
        }),
    ];
    for (name, break_it) in ways {
        let epoch = follower.binlog.epoch();
        let grants = follower.binlog.grant_epoch();
        break_it(&server);
        until(name, &follower, |b| b.epoch() > epoch).await;
        follower.up().await;
        assert!(follower.binlog.grant_epoch() > grants, "{name}");
        assert_eq!(follower.binlog.epoch(), epoch + 1, "{name}");
    }
}

#[tokio::test]
async fn purged_history_ends_the_epoch_only_when_it_is_needed() {
    let server = server();
    let follower = Follower::of(&server).await;
    server.run("INSERT INTO d.a (v) VALUES (1)");
    follower.synced().await.unwrap();
    let epoch = follower.binlog.epoch();
    // The stream is ahead of what is purged: nothing happens.
    server.run("FLUSH BINARY LOGS");
    let file = server
        .run("SHOW BINARY LOG STATUS")
        .split('\t')
        .next()
        .unwrap()
        .to_owned();
    follower.synced().await.unwrap();
    server.run(&format!("PURGE BINARY LOGS TO '{file}'"));
    server.run("INSERT INTO d.a (v) VALUES (1)");
    follower.synced().await.unwrap();
    assert_eq!(follower.binlog.epoch(), epoch);
    // The last transaction is purged: after a cut it cannot be found any more.
    server.run("FLUSH BINARY LOGS");
    let file = server
        .run("SHOW BINARY LOG STATUS")
        .split('\t')
        .next()
        .unwrap()
        .to_owned();
    follower.synced().await.unwrap();
    server.run(&format!("PURGE BINARY LOGS TO '{file}'"));
    cut(&server);
    until("a new epoch", &follower, |b| b.epoch() > epoch).await;
    follower.up().await;
}

#[tokio::test]
async fn a_hanging_server_closes_the_gate_and_a_waking_one_opens_it() {
    let server = server();
    let follower = Follower::of(&server).await;
    let epoch = follower.binlog.epoch();
    server.freeze();
    until("silent", &follower, |b| b.available().is_err()).await;
    let begin = Instant::now();
    assert!(follower.binlog.barrier().await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(1));
    server.resume();
    follower.up().await;
    assert_eq!(follower.binlog.epoch(), epoch);
}

#[tokio::test]
async fn a_condition_that_is_lost_closes_the_gate_by_name() {
    let server = server();
    let follower = Follower::of(&server).await;
    let ways = [
        (
            "binlog_order_commits",
            "OFF",
            "ON",
            Unavailable::CommitOrderOff,
        ),
        ("binlog_format", "MIXED", "ROW", Unavailable::FormatNotRow),
        (
            "replica_preserve_commit_order",
            "OFF",
            "ON",
            Unavailable::ReplicaOrderOff,
        ),
        ("gtid_mode", "ON_PERMISSIVE", "ON", Unavailable::GtidOff),
    ];
    for (variable, bad, good, reason) in ways {
        let epoch = follower.binlog.epoch();
        server.run(&format!("SET GLOBAL {variable} = {bad}"));
        until(variable, &follower, |b| b.available() == Err(reason)).await;
        let snapshot = follower.binlog.snapshot();
        assert_eq!(snapshot.state, reason.label());
        assert!(snapshot.detail.contains(variable), "{}", snapshot.detail);
        server.run(&format!("SET GLOBAL {variable} = {good}"));
        follower.up().await;
        assert!(follower.binlog.epoch() > epoch, "{variable}");
    }
}

#[tokio::test]
async fn without_a_usable_log_there_is_a_reason() {
    let server = server();
    server.run("CREATE USER poor IDENTIFIED BY ''; CREATE USER client IDENTIFIED BY ''; GRANT REPLICATION CLIENT ON *.* TO client");
    let no_log = MySql::start(&["--skip-log-bin", "--gtid-mode=OFF"]);
    let filtered = MySql::start(&["--binlog-ignore-db=secret"]);
    let url = |user: &str| crate::support::mysql::url(user, "", server.port, "");
    let cases = [
        (url("poor"), Unavailable::NoStatusPrivilege),
        (url("client"), Unavailable::NoStreamPrivilege),
        (url("nobody"), Unavailable::NoStreamPrivilege),
        (no_log.root_url(), Unavailable::LogOff),
        (filtered.root_url(), Unavailable::LogFiltered),
        (MySql::shared_mariadb().root_url(), Unavailable::NotMySql),
        (
            "mysql://root@127.0.0.1:1".to_owned(),
            Unavailable::Unreachable,
        ),
    ];
    for (url, reason) in cases {
        let follower = Follower::connect(&url);
        until(reason.label(), &follower, |b| b.available() == Err(reason)).await;
        let error = follower.binlog.barrier().await.unwrap_err();
        assert_eq!(error.label(), reason.label());
        assert_eq!(follower.binlog.last_change(&TableKey::new("d", "a")), None);
        assert!(
            follower
                .binlog
                .fill_start(&[TableKey::new("d", "a")])
                .await
                .is_err()
        );
    }
}
