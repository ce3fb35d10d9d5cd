//! KILL in every way in which a client can say it: with the id from our greeting, and with the server's own (`CONNECTION_ID()`).
//! It ends whom it means, or there is a clear error; nobody else is ever hit.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use tokio::task::JoinHandle;

use crate::support::raw::{After, packet};
use crate::support::wire::{DEPRECATE_EOF, Parameter, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// The server's error for an id that nobody has.
const UNKNOWN_ID: u16 = 1094;

/// A client in the middle of a long statement.
struct Sleeper {
    /// From our greeting.
    id: u64,
    /// The server's own.
    backend_id: u64,
    statement: JoinHandle<Outcome>,
}

/// What became of a sleeper: its connection, and whether it may go on with it.
struct Outcome {
    lives_on: bool,
}

impl Sleeper {
    async fn begin(gate: &Tidegate, server: &MySql) -> Sleeper {
        let mut conn = gate.connect("").await;
        let id = u64::from(conn.id());
        let backend_id = conn.query_first("SELECT CONNECTION_ID()").await.unwrap();
        let backend_id: u64 = backend_id.expect("a row");
        assert_ne!(id, backend_id);
        let statement = tokio::spawn(async move {
            // A killed one answers 1 or with an error, by what was killed and when.
            let _ = conn.query_first::<i64, _>("SELECT SLEEP(10000)").await;
            let lives_on = conn.query_drop("DO 1").await.is_ok();
            Outcome { lives_on }
        });
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {backend_id} AND info LIKE '%SLEEP%'"
        );
        wait_until("it sleeps", PATIENCE, || {
            (server.run(&sql).trim() == "1").then_some(())
        });
        Sleeper {
            id,
            backend_id,
            statement,
        }
    }

    /// Waits for the end of its statement: whether its connection lives on.
    async fn end(self) -> bool {
        let ended = tokio::time::timeout(PATIENCE, self.statement).await;
        ended.expect("it was killed").unwrap().lives_on
    }
}

fn code_of(result: Result<(), mysql_async::Error>) -> Option<u16> {
    match result {
        Ok(()) => None,
        Err(mysql_async::Error::Server(error)) => Some(error.code),
        Err(error) => panic!("{error}"),
    }
}

async fn execute(conn: &mut Conn, sql: &str, value: Value) -> Option<u16> {
    code_of(conn.exec_drop(sql, Params::Positional(vec![value])).await)
}

/// One way to say it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Text,
    Prepared,
    Integer,
    Words,
    Float,
}

async fn kill(conn: &mut Conn, what: &str, id: u64, way: Way) -> Option<u16> {
    let prepared = format!("KILL {what} ?");
    match way {
        Way::Text => code_of(conn.query_drop(format!("KILL {what} {id}")).await),
        Way::Prepared => code_of(conn.exec_drop(format!("KILL {what} {id}"), ()).await),
        Way::Integer => execute(conn, &prepared, Value::UInt(id)).await,
        Way::Words => execute(conn, &prepared, Value::Bytes(id.to_string().into_bytes())).await,
        Way::Float => execute(conn, &prepared, Value::Double(id as f64)).await,
    }
}

/// MariaDB, and MySQL up to 8.4, take a parameter there.
const WITH_PARAMETER: [Way; 3] = [Way::Integer, Way::Words, Way::Float];
/// MySQL 9: "Dynamic parameters can only be used in DML statements."
const NO_PARAMETER_HERE: u16 = 6413;

async fn each_way(server: &MySql, ways: &[Way]) {
    let gate = Tidegate::of(server).start();
    let mut killer = gate.connect("").await;
    let bystander = Sleeper::begin(&gate, server).await;
    let mut victims = 0;
    for &way in ways {
        for what in ["", "CONNECTION", "QUERY"] {
            for of_the_server in [false, true] {
                let victim = Sleeper::begin(&gate, server).await;
                victims += 1;
                let id = match of_the_server {
                    true => victim.backend_id,
                    false => victim.id,
                };
                let told = kill(&mut killer, what, id, way).await;
                assert_eq!(told, None, "{way:?} {what} {of_the_server}");
                let lives_on = victim.end().await;
                assert_eq!(lives_on, what == "QUERY", "{way:?} {what} {of_the_server}");
            }
        }
        let told = kill(&mut killer, "QUERY", bystander.id + 1000, way).await;
        assert_eq!(told, Some(UNKNOWN_ID), "{way:?}");
        victims += 1;
    }
    assert!(!bystander.statement.is_finished(), "nobody else was hit");
    // Each was counted, whoever answered it.
    let sql = "SELECT CAST(SUM(executions) AS SIGNED) FROM queries WHERE digest_text LIKE 'KILL%'";
    assert_eq!(gate.admin::<i64>(sql).await, [victims]);
    let told = kill(&mut killer, "QUERY", bystander.id, ways[0]).await;
    assert_eq!((told, bystander.end().await), (None, true));
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_ends_whom_it_means_however_it_is_said() {
    each_way(MySql::shared(), &[Way::Text, Way::Prepared]).await;
    let all = [&[Way::Text, Way::Prepared][..], &WITH_PARAMETER].concat();
    each_way(MySql::shared_mariadb(), &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_cannot_be_read_hits_nobody() {
    let server = MySql::shared();
    let gate = Tidegate::of(server).start();
    let mut killer = gate.connect("").await;
    let bystander = Sleeper::begin(&gate, server).await;
    for way in WITH_PARAMETER {
        let told = kill(&mut killer, "QUERY", bystander.id, way).await;
        assert_eq!(told, Some(NO_PARAMETER_HERE), "{way:?}");
    }
    // What the server works out by itself knows the server's ids only: those of our greeting are nobody's there.
    let sql = [
        format!("SET @id = {}", bystander.id),
        "KILL @id".to_owned(),
        format!("KILL {} + 0", bystander.id),
        format!("PREPARE s FROM 'KILL QUERY {}'", bystander.id),
        "EXECUTE s".to_owned(),
    ];
    for sql in sql {
        let told = code_of(killer.query_drop(&sql).await);
        let is_kill = sql.starts_with("KILL") || sql.starts_with("EXECUTE");
        assert_eq!(told, is_kill.then_some(UNKNOWN_ID), "{sql}");
    }
    assert!(!bystander.statement.is_finished(), "nobody was hit");
    // With the server's own id they work.
    let sql = format!("PREPARE s FROM 'KILL QUERY {}'", bystander.backend_id);
    killer.query_drop(sql).await.unwrap();
    killer.query_drop("EXECUTE s").await.unwrap();
    assert!(bystander.end().await);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_id_that_means_nobody_hits_nobody() {
    let server = MySql::shared_mariadb();
    let gate = Tidegate::of(server).start();
    let (mut killer, mut direct) = (gate.connect("").await, server.connect("").await);
    let bystander = Sleeper::begin(&gate, server).await;
    let values = [
        Value::NULL,
        Value::Int(-1),
        Value::Double(0.5),
        Value::Bytes(b"x".to_vec()),
        Value::UInt(u64::MAX),
    ];
    for value in values {
        let direct = execute(&mut direct, "KILL QUERY ?", value.clone()).await;
        let through = execute(&mut killer, "KILL QUERY ?", value.clone()).await;
        assert!(direct.is_some(), "{value:?}");
        assert_eq!(through, direct, "{value:?}");
    }
    for sql in [
        format!("SET @id = {}", bystander.id),
        "PREPARE s FROM 'KILL ?'".to_owned(),
    ] {
        killer.query_drop(sql).await.unwrap();
    }
    let told = code_of(killer.query_drop("EXECUTE s USING @id").await);
    assert_eq!(told, Some(UNKNOWN_ID));
    assert!(!bystander.statement.is_finished(), "nobody was hit");
    gate.stop();
}

/// The types of a parameter come with the first execution only. The one that we answered in the server's place must not be the only
/// one that knew them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_without_types_follows_one_that_was_ours() {
    let server = MySql::shared_mariadb();
    let gate = Tidegate::of(server).start();
    let login = Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF);
    let Ok(mut wire) = login else {
        panic!("refused")
    };
    let (_, statement) = wire.prepare(b"KILL QUERY ?");
    let statement = statement.expect("prepared");
    let first = Sleeper::begin(&gate, server).await;
    let id = i64::try_from(first.id).unwrap();
    let told = wire.execute(statement, &[Parameter::Integer(id)]);
    assert_eq!(told[0].payload[0], 0, "{told:?}");
    assert!(first.end().await);
    let second = Sleeper::begin(&gate, server).await;
    let third = Sleeper::begin(&gate, server).await;
    let mut raw = wire.into_raw();
    for id in [second.backend_id, third.id] {
        let head = [&[0x17][..], &statement.to_le_bytes(), &[0, 1, 0, 0, 0]].concat();
        let bare = [&head[..], &[0, 0], &id.to_le_bytes()].concat();
        assert!(raw.send(&packet(0, &bare)));
        assert_eq!(raw.after(PATIENCE), After::Packet(0));
    }
    assert!(second.end().await && third.end().await);
    // COM_PROCESS_KILL is a KILL CONNECTION.
    let last = Sleeper::begin(&gate, server).await;
    let id = u32::try_from(last.id).unwrap().to_le_bytes();
    assert!(raw.send(&packet(0, &[&[0x0C][..], &id].concat())));
    assert_eq!(raw.after(PATIENCE), After::Packet(0));
    assert!(!last.end().await);
    gate.stop();
}
