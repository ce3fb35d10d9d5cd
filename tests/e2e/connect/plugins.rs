//! Accounts whose plugin is another than the client's, or one that nobody here knows: the server's own words, whatever they are.

use std::time::{Duration, Instant};

use super::ask;
use crate::support::hostile::{Hostile, Stage};
use crate::support::mysql::Flavour;
use crate::support::raw::{Raw, packet};
use crate::support::{MySql, Tidegate};

const WAIT: Duration = Duration::from_secs(20);
/// Protocol 4.1, secure connection, plugins, transactions.
const CAPS: u32 = 0x0008_a201;

#[test]
fn the_clients_plugin_and_the_accounts_need_not_be_the_same() {
    let server = MySql::start(&["--sha256-password-proxy-users=OFF"]);
    server.run(
        "CREATE USER old IDENTIFIED WITH sha256_password BY 'one'; CREATE USER new IDENTIFIED BY 'two';
         CREATE USER none IDENTIFIED BY ''; CREATE USER locked IDENTIFIED BY 'x' ACCOUNT LOCK;
         INSTALL PLUGIN mysql_no_login SONAME 'mysql_no_login.so'; CREATE USER nobody IDENTIFIED WITH mysql_no_login",
    );
    let gate = Tidegate::of(&server).start();
    let who = "SELECT USER(), CURRENT_USER()";
    for (user, password) in [
        ("old", "one"),
        ("new", "two"),
        ("new", "wrong"),
        ("old", ""),
        ("none", ""),
        ("none", "some"),
        ("locked", "x"),
        ("nobody", "x"),
        ("unknown", "x"),
    ] {
        for default in [
            "caching_sha2_password",
            "sha256_password",
            "mysql_clear_password",
        ] {
            let plugin = format!("--default-auth={default}");
            for tls in ["--ssl-mode=REQUIRED", "--ssl-mode=DISABLED"] {
                let arguments = [
                    &plugin,
                    tls,
                    "--get-server-public-key",
                    "--enable-cleartext-plugin",
                ];
                if default == "mysql_clear_password" && tls == "--ssl-mode=DISABLED" {
                    continue;
                }
                let ask = |port| ask(Flavour::MySql, port, user, password, &arguments, who);
                let (ours, direct) = (ask(gate.app_port), ask(server.port));
                assert_eq!(ours, direct, "{user} {password} {default} {tls}");
            }
        }
    }
    assert!(
        ask(
            Flavour::MariaDb,
            gate.app_port,
            "old",
            "one",
            &["--ssl"],
            who
        )
        .contains("old@")
    );
}

#[test]
fn a_login_that_begins_with_another_plugin_counts_no_failure() {
    let server = MySql::start(&[]);
    server.run(
        "CREATE USER strict IDENTIFIED BY 'p' FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME UNBOUNDED",
    );
    let gate = Tidegate::of(&server).start();
    let one = |flavour, arguments: &[&str], password| {
        ask(
            flavour,
            gate.app_port,
            "strict",
            password,
            arguments,
            "SELECT 1",
        )
    };
    for _ in 0..2 {
        assert_eq!(
            one(Flavour::MySql, &["--default-auth=sha256_password"], "p"),
            "1\n"
        );
        assert_eq!(
            one(
                Flavour::MariaDb,
                &["--ssl", "--default-auth=mysql_native_password"],
                "p"
            ),
            "1\n"
        );
    }
    // One that is wrong does.
    assert!(one(Flavour::MySql, &[], "q").contains("ERROR 3955"));
    assert!(one(Flavour::MySql, &[], "p").contains("ERROR 3955"));
}

#[test]
fn expired_passwords_are_the_servers_matter() {
    let server = MySql::start(&[]);
    server.run("CREATE USER old IDENTIFIED BY 'p' PASSWORD EXPIRE");
    let gate = Tidegate::of(&server).start();
    let able = &["--connect-expired-password"][..];
    // What this client makes of error 1862.
    let refused = "Please use --connect-expired-password";
    let one = |arguments: &[&str], password, sql| {
        let ask = |port| ask(Flavour::MySql, port, "old", password, arguments, sql);
        let (ours, direct) = (ask(gate.app_port), ask(server.port));
        assert_eq!(ours, direct);
        ours
    };
    for _ in 0..2 {
        assert!(one(&[], "p", "SELECT 1").contains(refused));
        assert!(one(able, "p", "SELECT 1").contains("ERROR 1820"));
    }
    // Nobody inherits a connection that may only set a password.
    let set = "ALTER USER USER() IDENTIFIED BY 'q'; SELECT 2";
    assert_eq!(
        ask(Flavour::MySql, gate.app_port, "old", "p", able, set),
        "2\n"
    );
    assert_eq!(one(&[], "q", "SELECT 3"), "3\n");
    assert!(one(&[], "p", "SELECT 4").contains("ERROR 1045"));
    server.run("ALTER USER old PASSWORD EXPIRE");
    assert!(one(&[], "q", "SELECT 5").contains(refused));
}

#[test]
fn a_new_password_counts_at_the_next_login_with_and_without_a_log() {
    let untold = MySql::start(&[
        "--skip-log-bin",
        "--gtid-mode=OFF",
        "--enforce-gtid-consistency=OFF",
    ]);
    for server in [MySql::shared(), &untold, MySql::shared_mariadb()] {
        server.run("CREATE USER changing IDENTIFIED BY 'p0'");
        let gate = Tidegate::of(server).start();
        let one = |password: &str, sql: &str| {
            let arguments = ["--ssl-mode=REQUIRED"];
            ask(
                Flavour::MySql,
                gate.app_port,
                "changing",
                password,
                &arguments,
                sql,
            )
        };
        for round in 0..4 {
            let (old, new) = (format!("p{round}"), format!("p{}", round + 1));
            // Twice: the second finds a connection that the first has left.
            assert_eq!(one(&old, "SELECT 1"), "1\n", "{round}");
            assert_eq!(one(&old, "SELECT 2"), "2\n", "{round}");
            let change = match server.flavour {
                Flavour::MariaDb => format!("SET PASSWORD = PASSWORD('{new}')"),
                _ if round % 2 == 0 => format!("ALTER USER USER() IDENTIFIED BY '{new}'"),
                _ => format!("SET PASSWORD = '{new}'"),
            };
            assert_eq!(one(&old, &change), "", "{round}");
            assert!(one(&old, "SELECT 3").contains("ERROR 1045"), "{round}");
        }
        server.run("DROP USER changing");
    }
}

/// The greeting of a server without TLS.
fn greet(stage: &mut Stage) -> Option<Vec<u8>> {
    let [c0, c1, c2, c3] = (CAPS | 8).to_le_bytes();
    let greeting = [
        b"\x0a9.7.4\0\x07\0\0\0abcdefgh\0",
        &[c0, c1, 255, 2, 0, c2, c3, 21][..],
        &[0; 10],
        b"ijklmnopqrst\0caching_sha2_password\0",
    ]
    .concat();
    stage.send(&packet(0, &greeting)).then_some(())?;
    let response = stage.read_packet()?;
    let user = response.get(32..)?;
    user.starts_with(b"stranger\0").then_some(response)
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

/// Two packets of the server in a row, then two of the client.
fn talkative(stage: &mut Stage) {
    let Some(_) = greet(stage) else { return };
    stage.send(&packet(2, b"\xfestrange_plugin\0hello\0with a zero"));
    if stage.read_packet().as_deref() != Some(b"first") {
        return;
    }
    stage.send(&packet(4, b"\x01more"));
    stage.send(&packet(5, b"\x01and more"));
    let said = [stage.read_packet(), stage.read_packet()].map(Option::unwrap_or_default);
    if said[1] != b"third" {
        stage.send(&packet(8, b"\xff\xd2\x04#28000no third word"));
        return;
    }
    stage.send(&packet(8, OK));
    while let Some(command) = stage.read_packet() {
        if command == [0x0e] {
            stage.send(&packet(1, OK));
        }
    }
}

fn wants_it_clear(stage: &mut Stage) {
    if greet(stage).is_some() {
        stage.send(&packet(2, b"\xfemysql_clear_password\0"));
        stage.read_packet();
        stage.send(&packet(4, b"\xff\x15\x04#28000heard it"));
    }
}

fn never_ends(stage: &mut Stage) {
    if greet(stage).is_some() {
        stage.send(&packet(2, b"\xfestrange_plugin\0"));
        let mut number = 3;
        while stage.send(&packet(number, b"\x01once more")) {
            number = number.wrapping_add(1);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A handshake response of `stranger`, who answers by `plugin`.
fn claim(raw: &mut Raw, plugin: &str, answer: &[u8]) {
    let response = [
        &CAPS.to_le_bytes()[..],
        &[0, 0, 0, 1, 45],
        &[0; 23],
        b"stranger\0",
        &[answer.len() as u8],
        answer,
        plugin.as_bytes(),
        b"\0",
    ]
    .concat();
    assert!(raw.send(&packet(1, &response)));
}

fn next(raw: &mut Raw) -> (u8, Vec<u8>) {
    let read = raw.read_packet(Instant::now() + WAIT);
    read.expect("no error").expect("a packet")
}

#[test]
fn what_nobody_here_knows_goes_through_as_it_is() {
    let hostile = Hostile::before(MySql::shared(), &[]);
    let gate = Tidegate::of(MySql::shared())
        .backend_url(&format!("mysql://root@127.0.0.1:{}", hostile.port))
        .set("login.failures_per_source_max", "1000")
        .start();
    let begin = |plugin| {
        let (mut raw, _) = Raw::greeted(gate.app_port, WAIT).expect("a greeting");
        claim(&mut raw, plugin, b"something");
        raw
    };
    hostile.greet(Some(talkative));
    for third in ["third", "wrong"] {
        let mut raw = begin("strange_client");
        assert_eq!(
            next(&mut raw),
            (2, b"\xfestrange_plugin\0hello\0with a zero".to_vec())
        );
        raw.send(&packet(3, b"first"));
        assert_eq!(next(&mut raw), (4, b"\x01more".to_vec()));
        assert_eq!(next(&mut raw), (5, b"\x01and more".to_vec()));
        raw.send(&[packet(6, b""), packet(7, third.as_bytes())].concat());
        let (number, answer) = next(&mut raw);
        assert_eq!(number, 8);
        if third == "wrong" {
            assert_eq!(answer, b"\xff\xd2\x04#28000no third word");
            continue;
        }
        assert_eq!(answer[0], 0);
        raw.send(&packet(0, b"\x0e"));
        assert_eq!(next(&mut raw), (1, OK.to_vec()));
    }
    // Out of order, in the middle of it.
    let mut raw = begin("strange_client");
    next(&mut raw);
    raw.send(&packet(9, b"first"));
    assert_eq!(raw.end(WAIT), Some(1156));
    hostile.greet(Some(wants_it_clear));
    assert_eq!(begin("mysql_clear_password").end(WAIT), Some(1045));
    let mut raw = begin("strange_client");
    let refusal = String::from_utf8(next(&mut raw).1[9..].to_vec()).expect("text");
    assert!(refusal.contains("over TLS only"), "{refusal}");
    hostile.greet(Some(never_ends));
    assert_eq!(begin("strange_client").end(WAIT), Some(1835));
    hostile.greet(None);
    assert!(gate.runs());
}
