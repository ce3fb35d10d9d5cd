//! The harness itself: servers come up, take statements, die and come back; nothing is left behind.

use mysql_async::prelude::Queryable;

use crate::support::mysql::{Flavour, Launchers, cells};
use crate::support::{MySql, process};

#[tokio::test]
async fn the_shared_server_answers_the_app_user() {
    let server = MySql::shared();
    let schema = server.schema("harness");
    let mut conn = server.connect(&schema).await;
    conn.query_drop("CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(9))")
        .await
        .unwrap();
    conn.query_drop("INSERT INTO t VALUES (1, 'x'), (2, NULL)")
        .await
        .unwrap();
    let rows = cells(&mut conn, "SELECT * FROM t ORDER BY a")
        .await
        .unwrap();
    assert_eq!(
        rows,
        [
            [Some(b"1".to_vec()), Some(b"x".to_vec())],
            [Some(b"2".to_vec()), None]
        ]
    );
}

#[tokio::test]
async fn a_killed_server_keeps_what_was_committed() {
    let server = MySql::start(&[]);
    server
        .run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY); INSERT INTO d.t VALUES (7)");
    let id = server.id();
    server.kill9();
    assert!(!process::greets(server.port));
    server.start_again();
    assert_ne!(server.id(), id);
    assert_eq!(server.run("SELECT a FROM d.t"), "7\n");
    server.restart();
    assert_eq!(server.run("SELECT a FROM d.t"), "7\n");
}

#[test]
fn extra_arguments_reach_the_server() {
    let server = MySql::start(&["--div-precision-increment=7"]);
    assert_eq!(
        server.run("SELECT @@GLOBAL.div_precision_increment, @@gtid_mode, @@log_bin"),
        "7\tON\t1\n"
    );
}

#[test]
fn the_mock_secondary_engine_takes_a_table() {
    let server = MySql::start_with_mock(&[]);
    server.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY) SECONDARY_ENGINE=MOCK; ALTER TABLE d.t SECONDARY_LOAD");
    let plan = server.run("SET use_secondary_engine=FORCED; EXPLAIN FORMAT=TREE SELECT * FROM d.t");
    assert!(plan.contains("in secondary engine MOCK"), "{plan}");
}

#[tokio::test]
async fn mariadb_is_the_second_server() {
    let server = MySql::shared_mariadb();
    let mut conn = server.connect("").await;
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.unwrap();
    assert!(
        version
            .as_deref()
            .is_some_and(|text| text.contains("MariaDB")),
        "{version:?}"
    );
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let server = MySql::start(&[]);
    let (port, id, socket) = (server.port, server.id(), server.socket());
    assert!(socket.exists());
    drop(server);
    assert!(!process::greets(port));
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    assert!(!socket.exists());
}

#[test]
fn the_launchers_tell_what_they_are() {
    let version = Launchers::of(Flavour::MySql).fact("version");
    assert!(version.starts_with(char::is_numeric), "{version}");
    assert_eq!(Launchers::of(Flavour::MySql).fact("mock"), "yes");
}
