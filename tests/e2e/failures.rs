//! What happens when somebody dies in the middle: the server, the proxy, a client. Nothing wrong may be told, nothing may be left
//! behind, and service goes on. Also: results much larger than the proxy's memory, and a stop by SIGTERM.

use std::time::Duration;

use mysql_async::prelude::Queryable;

use crate::support::mysql::Flavour;
use crate::support::raw::query;
use crate::support::tls;
use crate::support::wire::{DEPRECATE_EOF, Streamed, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, wait_until};

/// A result of 1 KiB rows, as many as asked for.
fn rows_of_a_kib(count: u32) -> String {
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         SELECT a.i, REPEAT('x', 1000) FROM n a JOIN n b JOIN n c LIMIT {count}"
    )
}

fn wire(port: u16) -> Wire {
    match Wire::login(port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF) {
        Ok(wire) => wire,
        Err(error) => panic!("refused: {}", String::from_utf8_lossy(&error)),
    }
}

/// Connections of the application user that the server has now.
fn app_connections(server: &MySql) -> u32 {
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{APP_USER}'");
    server.run(&sql).trim().parse().expect("a number")
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_result_is_never_taken_for_its_end() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).start();
    let mut client = wire(gate.app_port);
    let mut seen = 0;
    let end = client.stream(rows_of_a_kib(100_000_000).as_bytes(), |_| {
        seen += 1;
        if seen == 1000 {
            server.kill9();
        }
        true
    });
    assert!(
        matches!(end, Streamed::Error(_) | Streamed::Broken),
        "{end:?} after {seen} rows"
    );
    assert!(gate.runs());
    server.start_again();
    // Service comes back by itself: new clients get in as soon as the proxy has noticed.
    let one = wait_until(
        "a client gets an answer again",
        Duration::from_secs(30),
        || {
            let mut client =
                Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF).ok()?;
            Some(client.query(b"SELECT 1", &[]).len())
        },
    );
    assert_eq!(one, 4);
    gate.stop();
}

/// The end of a TLS connection without a farewell is an error of another kind than that of a bare one; on none of them may what is
/// missing of the row be made up by an error packet.
#[test]
fn a_server_killed_in_the_middle_of_a_row_leaves_half_a_row() {
    let server = MySql::start(&[]);
    for backend in ["disabled", "required"] {
        let gate = Tidegate::of(&server)
            .set("backend.tls", &format!("\"{backend}\""))
            .start();
        for client in ["plain", "TLS"] {
            let mut stream: Box<dyn tls::Bytes> = match client {
                "TLS" => tls::login(gate.app_port, APP_USER, APP_PASSWORD, DEPRECATE_EOF),
                _ => Box::new(wire(gate.app_port).into_raw().into_stream()),
            };
            // Far more than fits into the buffers of all the sockets on the way.
            let statement = query("SELECT REPEAT('x', 60000000)");
            stream.write_all(&statement).expect("it goes out");
            let mut head = vec![0; 100_000];
            stream.read_exact(&mut head).expect("the row has begun");
            server.kill9();
            let mut got = head;
            let _ = stream.read_to_end(&mut got);
            let row = rest_of_the_row(&got);
            assert!(row.len() < 60_000_000, "{} bytes of the row", row.len());
            let other = row.iter().position(|byte| *byte != b'x');
            let around = other
                .map(|at| String::from_utf8_lossy(&row[at..row.len().min(at + 80)]).into_owned());
            assert_eq!(around, None, "{client} before {backend}");
            server.start_again();
            wait_until("service is back", Duration::from_secs(60), || {
                Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF).ok()
            });
        }
        gate.stop();
    }
}

/// The bytes of the only cell, as far as they came: behind the count, the column and the cell's length, without packet headers.
fn rest_of_the_row(bytes: &[u8]) -> Vec<u8> {
    let mut cell = Vec::new();
    let mut rest = bytes;
    for number in 0.. {
        let Some((header, behind)) = rest.split_at_checked(4) else {
            break;
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let (payload, next) = behind.split_at(length.min(behind.len()));
        match number {
            0 => assert_eq!(payload, [1], "one column"),
            1 => {}
            2 => cell.extend(&payload[9..]),
            _ => cell.extend(payload),
        }
        rest = next;
    }
    cell
}

#[tokio::test]
async fn a_proxy_killed_in_a_transaction_leaves_no_half_of_it() {
    let server = MySql::start(&[]);
    server.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b INT); INSERT INTO d.t VALUES (1, 0)");
    let gate = Tidegate::of(&server).start();
    let mut conn = gate.connect("d").await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("UPDATE t SET b = 99").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (2, 99)")
        .await
        .unwrap();
    gate.kill9();
    assert!(conn.query_drop("COMMIT").await.is_err());
    wait_until("the server has noticed", Duration::from_secs(30), || {
        (app_connections(&server) == 0).then_some(())
    });
    assert_eq!(server.run("SELECT a, b FROM d.t"), "1\t0\n");
    gate.start_again();
    let mut conn = gate.connect("d").await;
    conn.query_drop("UPDATE t SET b = 1 WHERE a = 1")
        .await
        .unwrap();
    assert_eq!(server.run("SELECT a, b FROM d.t"), "1\t1\n");
    gate.stop();
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_result_frees_the_server() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).start();
    let mut client = wire(gate.app_port);
    let mut seen = 0;
    let end = client.stream(rows_of_a_kib(100_000_000).as_bytes(), |_| {
        seen += 1;
        seen < 1000
    });
    assert_eq!(end, Streamed::Left);
    drop(client);
    let running = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{APP_USER}' AND command = 'Query'"
    );
    wait_until(
        "the server does not work for it any more",
        Duration::from_secs(30),
        || (server.run(&running) == "0\n").then_some(()),
    );
    gate.stop();
}

#[test]
fn a_result_larger_than_its_memory_goes_through_the_proxy() {
    let server = MySql::shared();
    let gate = Tidegate::of(server).start();
    let mut client = wire(gate.app_port);
    assert_eq!(client.query(b"SELECT 1", &[]).len(), 4);
    let before = gate.resident_bytes();
    let (mut bytes, mut rows, mut highest) = (0_u64, 0_u32, 0);
    let end = client.stream(rows_of_a_kib(300_000).as_bytes(), |row| {
        bytes += row.len() as u64;
        rows += 1;
        if rows.is_multiple_of(1000) {
            highest = highest.max(gate.resident_bytes());
        }
        true
    });
    assert_eq!(end, Streamed::Whole);
    assert!(bytes > 300_000_000, "{bytes}");
    let grown = highest.max(gate.resident_bytes()).saturating_sub(before);
    assert!(
        grown < 32 << 20,
        "the proxy grew by {grown} bytes for a result of {bytes}"
    );
    gate.stop();
}

#[tokio::test]
async fn a_stop_lets_idle_clients_go_and_takes_no_new_ones() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).start();
    let mut conn = gate.connect("").await;
    conn.query_drop("SELECT 1").await.unwrap();
    gate.stop();
    assert!(conn.query_drop("SELECT 1").await.is_err());
    assert!(std::net::TcpStream::connect(("127.0.0.1", gate.app_port)).is_err());
    wait_until("its connections are gone", Duration::from_secs(30), || {
        (app_connections(&server) == 0).then_some(())
    });
}

#[test]
fn the_servers_own_clients_work_through_the_proxy() {
    for server in [MySql::shared(), MySql::shared_mariadb()] {
        let gate = Tidegate::of(server).start();
        for client in [Flavour::MySql, Flavour::MariaDb] {
            let mut command = crate::support::mysql::Launchers::of(client).client();
            command.args([
                "-h127.0.0.1",
                &format!("-P{}", gate.app_port),
                &format!("-u{APP_USER}"),
            ]);
            command.arg(format!("-p{APP_PASSWORD}")).args([
                "-BN",
                "-e",
                "SELECT 40 + 2; SHOW TABLES FROM mysql LIKE 'user'",
            ]);
            let output = command.output().expect("the client runs");
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                text,
                "42\nuser\n",
                "{client:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        gate.stop();
    }
}
