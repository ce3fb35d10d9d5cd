//! Where clients are: behind a proxy that says so, on a Unix socket; and what the backend is told of it.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use socket2::{Domain, Socket, Type};

use super::ask;
use crate::support::mysql::{Flavour, Launchers, cells, options};
use crate::support::raw::{After, Raw};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, process};

const WAIT: Duration = Duration::from_secs(20);
const ATTRIBUTES: &str =
    "SELECT attr_name, attr_value FROM performance_schema.session_connect_attrs
    WHERE processlist_id = CONNECTION_ID() AND attr_name LIKE '\\_tidegate%'";

/// A connection from another address of this machine than clients of the tests have.
fn connect_from(address: [u8; 4], to: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from((address, 0));
    socket
        .bind(&own.into())
        .expect("all of 127.0.0.0/8 is ours");
    let there = SocketAddr::from(([127, 0, 0, 1], to));
    socket.connect(&there.into()).expect("the port answers");
    socket.into()
}

/// A proxy that says `header` before it passes everything on; its port.
fn proxy(to: u16, header: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let mut server = connect_from(PROXY, to);
            server.write_all(header).expect("it goes out");
            let (mut from, mut back) = (
                server.try_clone().expect("a handle"),
                client.try_clone().expect("a handle"),
            );
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut client, &mut server);
                let _ = server.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

/// Where the proxies of these tests are.
const PROXY: [u8; 4] = [127, 0, 0, 2];
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 3306\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x15\xb3\x0c\xea\x04\0\x01\0";
const ITSELF: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn clients(gate: &Tidegate) -> Vec<String> {
    gate.admin("SELECT client FROM sessions WHERE user = 'app'")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_are_trusted_say_where_a_client_is() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server)
        .set(
            "listen.proxy_protocol_networks",
            "[\"127.0.0.2\", \"192.0.2.0/24\"]",
        )
        .set("login.failures_per_source_max", "2")
        .set("pool.idle_max", "0")
        .start();
    let ports = [LINE, BINARY, ITSELF].map(|header| proxy(gate.app_port, header));
    for (port, expected) in ports
        .iter()
        .zip(["192.0.2.7:5555", "[2001:db8::9]:5555", "127.0.0.2:"])
    {
        let mut conn = Conn::new(options(*port, APP_USER, APP_PASSWORD, ""))
            .await
            .unwrap();
        let shown = clients(&gate).await;
        assert!(
            shown.iter().any(|client| client.starts_with(expected)),
            "{shown:?}"
        );
        let told = cells(&mut conn, ATTRIBUTES).await.unwrap();
        let value = told[0][1].clone().unwrap_or_default();
        assert!(value.starts_with(expected.as_bytes()), "{told:?}");
        conn.disconnect().await.unwrap();
    }
    // Failures count for the client, not for the proxy.
    let wrong = |port| ask(Flavour::MySql, port, APP_USER, "wrong", &[], "SELECT 1");
    for _ in 0..2 {
        assert!(wrong(ports[0]).contains("ERROR 1045"));
    }
    assert!(wrong(ports[0]).contains("ERROR 1129"));
    assert!(wrong(ports[1]).contains("ERROR 1045"));
    assert_eq!(
        ask(
            Flavour::MySql,
            ports[2],
            APP_USER,
            APP_PASSWORD,
            &[],
            "SELECT 1"
        ),
        "1\n"
    );
    gate.stop();
}

#[test]
fn a_header_is_garbage_where_none_is_due_and_due_where_one_is() {
    let gate = Tidegate::of(MySql::shared())
        .set("listen.proxy_protocol_networks", "[\"127.0.0.2/32\"]")
        .set("login.handshake_ms_max", "2000")
        .start();
    // From elsewhere: the greeting comes first, and the header is no answer to it.
    for header in [LINE, BINARY, ITSELF] {
        let (mut raw, _) = Raw::greeted(gate.app_port, WAIT).expect("a greeting");
        assert!(raw.send(header));
        assert_eq!(raw.end(WAIT), Some(1156));
    }
    let listed = |bytes: &[u8]| {
        let mut raw = Raw::of(connect_from(PROXY, gate.app_port));
        assert!(raw.send(bytes));
        raw
    };
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 3306\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.1 5 3306\r\n",
        b"PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x01\x02\x03\x04",
    ] {
        assert_eq!(listed(bytes).end(WAIT), Some(1835), "{bytes:?}");
    }
    assert_eq!(
        listed(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").end(WAIT),
        Some(1153)
    );
    // Nobody is waited for longer than a login may take, and nobody is greeted before it has said its header.
    for bytes in [&b""[..], b"PROXY TCP4 192.0.2.7", &BINARY[..30]] {
        assert_eq!(listed(bytes).end(WAIT), Some(4031), "{bytes:?}");
    }
    // What is behind the header is the client's.
    let mut raw = listed(&[LINE, b"\x01\0\0\x07\x0e"].concat());
    assert!(matches!(raw.after(WAIT), After::Packet(10)));
    assert_eq!(raw.end(WAIT), Some(1156));
    // The door to the admin schema is one, too.
    let mut raw = Raw::of(connect_from(PROXY, gate.admin_port));
    assert!(raw.send(LINE));
    assert!(matches!(raw.after(WAIT), After::Packet(10)));
    assert!(gate.runs() && !gate.log().contains("panicked"));
    gate.stop();
}

fn local(flavour: Flavour, socket: &Path, arguments: &[&str], sql: &str) -> String {
    let socket = format!("--socket={}", socket.display());
    let mut client = Launchers::of(flavour).client();
    client
        .args([
            &socket,
            "--protocol=SOCKET",
            &format!("-u{APP_USER}"),
            "-BN",
            "-e",
            sql,
        ])
        .args(arguments)
        .env("MYSQL_PWD", APP_PASSWORD);
    let output = client.output().expect("the client runs");
    [output.stderr, output.stdout]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_this_machine_come_by_a_unix_socket() {
    let server = MySql::start(&[]);
    let folder = process::new_folder("socket");
    let path = folder.join("gate.sock");
    let gate = Tidegate::of(&server)
        .set(
            "listen.socket",
            &format!("{:?}", path.display().to_string()),
        )
        .set("login.failures_per_source_max", "1")
        .start();
    // It counts as secure: the password itself may be asked for, and no TLS is needed.
    for flavour in [Flavour::MySql, Flavour::MariaDb] {
        for sql in ["SELECT 1", "SELECT 2"] {
            assert_eq!(local(flavour, &path, &[], sql), format!("{}\n", &sql[7..]));
        }
    }
    let compressed = local(
        Flavour::MySql,
        &path,
        &["--compression-algorithms=zstd"],
        "SELECT REPEAT('x', 100000)",
    );
    assert_eq!(compressed.len(), 100_001);
    // Who is here is not counted as a source.
    for _ in 0..3 {
        assert!(local(Flavour::MySql, &path, &["-pwrong"], "SELECT 1").contains("ERROR 1045"));
    }
    assert!(
        local(Flavour::MySql, &path, &["--ssl-mode=REQUIRED"], "SELECT 1").contains("ERROR 2026")
    );
    let opts = mysql_async::OptsBuilder::default()
        .socket(Some(path.display().to_string()))
        .user(Some(APP_USER))
        .pass(Some(APP_PASSWORD));
    let mut conn = Conn::new(opts).await.unwrap();
    assert_eq!(clients(&gate).await, ["local"]);
    conn.query_drop("SELECT 3").await.unwrap();
    conn.disconnect().await.unwrap();
    // A file that a killed process left is replaced, and none is left by one that stops.
    gate.kill9();
    assert!(path.exists());
    gate.start_again();
    assert_eq!(local(Flavour::MySql, &path, &[], "SELECT 4"), "4\n");
    gate.stop();
    assert!(!path.exists());
    let gate = Tidegate::of(&server)
        .set(
            "listen.socket",
            &format!("{:?}", path.display().to_string()),
        )
        .set("tls.mode", "\"required\"")
        .start();
    assert_eq!(local(Flavour::MySql, &path, &[], "SELECT 5"), "5\n");
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backend_is_told_where_a_client_is_and_no_login_fails_for_it() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).set("pool.idle_max", "0").start();
    let all = "SELECT attr_name, LENGTH(attr_value) FROM performance_schema.session_connect_attrs
        WHERE processlist_id = CONNECTION_ID() AND attr_name NOT LIKE '\\_client%' ORDER BY ordinal_position";
    for bytes in [0, 10, 300, 480, 600, 20_000, 65_000] {
        let connect = |port| {
            let options = options(port, APP_USER, APP_PASSWORD, "")
                .connect_attribute("mine", "m".repeat(bytes))
                .connect_attribute("_tidegate_client", "a lie");
            Conn::new(options)
        };
        let mut ours = connect(gate.app_port).await.unwrap();
        let kept = cells(&mut ours, all).await.unwrap();
        let told = cells(&mut ours, ATTRIBUTES).await.unwrap();
        match bytes {
            0..=300 => {
                let value = told[0][1].clone().unwrap_or_default();
                assert!(value.starts_with(b"127.0.0.1:"), "{told:?}");
                assert!(
                    kept.iter().any(|row| row[0].as_deref() == Some(b"mine")),
                    "{kept:?}"
                );
            }
            _ => assert!(told.is_empty(), "{bytes}: {told:?}"),
        }
        ours.disconnect().await.unwrap();
    }
}
