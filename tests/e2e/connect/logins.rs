//! Logins after which the server has something to say: the client hears it, at the moment and in the words that it would without us.

use std::time::Duration;

use super::ask;
use crate::support::mysql::Flavour;
use crate::support::wire::Wire;
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, wait_until};

/// A client that asks for it names tables without their schema, and is warned of it.
const NO_SCHEMA: u32 = 0x0000_0010;

/// The answers to `texts` after a login with `capabilities`; of a session that ends, those that came.
fn answers(port: u16, user: &str, capabilities: u32, texts: &[&str]) -> Vec<Vec<u8>> {
    let wire = Wire::login(port, user, APP_PASSWORD, "", capabilities);
    let mut wire = wire.expect("it logs in");
    let mut all = Vec::new();
    for text in texts {
        for packet in wire.query(text.as_bytes(), b"") {
            all.push(packet.payload);
        }
    }
    all
}

/// Of a login by TLS the server takes this capability from the request for TLS only.
#[test]
fn a_client_is_warned_of_a_deprecated_capability() {
    let server = MySql::shared();
    let gate = Tidegate::of(server)
        .set("backend.tls", "\"required\"")
        .start();
    for texts in [
        ["SHOW WARNINGS", "SELECT 1"],
        ["SELECT 1", "SHOW COUNT(*) WARNINGS"],
        [
            "SELECT COUNT(*) FROM information_schema.SCHEMATA",
            "SELECT 1",
        ],
    ] {
        let seen = answers(gate.app_port, APP_USER, NO_SCHEMA, &texts);
        assert_eq!(
            seen,
            answers(server.port, APP_USER, NO_SCHEMA, &texts),
            "{texts:?}"
        );
    }
}

#[test]
fn a_client_is_told_that_init_connect_failed() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).start();
    let error = |port| {
        let mut all = answers(port, "plain", 0, &["SELECT 1"]);
        let last = all.pop().unwrap_or_default();
        let text = String::from_utf8_lossy(last.get(3..).unwrap_or_default()).into_owned();
        // The number of the connection is another one each time.
        text.chars()
            .filter(|c| !c.is_ascii_digit())
            .collect::<String>()
    };
    // Administrators are spared it.
    server.run(&format!("CREATE USER plain IDENTIFIED BY '{APP_PASSWORD}'"));
    server.run("SET GLOBAL init_connect='this is no statement'");
    let direct = error(server.port);
    assert!(direct.contains("init_connect command failed"), "{direct}");
    assert_eq!(error(gate.app_port), direct);
    server.run("SET GLOBAL init_connect=''");
}

/// Neither what is written into the tables of grants nor, everywhere, what makes it count is in a log.
#[test]
fn an_account_that_is_locked_by_hand_is_locked() {
    for (arguments, flush) in [
        (&["--disable-log-bin"][..], "FLUSH PRIVILEGES"),
        (&[], "FLUSH LOCAL PRIVILEGES"),
    ] {
        let server = MySql::start(arguments);
        let gate = Tidegate::of(&server).start();
        server.run(&format!("CREATE USER plain IDENTIFIED BY '{APP_PASSWORD}'"));
        let login = || Wire::login(gate.app_port, "plain", APP_PASSWORD, "", 0);
        for _ in 0..2 {
            assert!(login().is_ok());
        }
        let mut root = Wire::login(gate.app_port, "root", "", "", 0).expect("root logs in");
        for text in [
            "UPDATE mysql.user SET account_locked='Y' WHERE user='plain'",
            flush,
        ] {
            let answer = root.query(text.as_bytes(), b"");
            assert_eq!(answer[0].payload[0], 0, "{text}");
        }
        let refused = login().err().expect("it is refused");
        assert_eq!(refused[1..3], 3118_u16.to_le_bytes(), "{flush}");
    }
}

/// What goes on beside the clients comes back with the server, not in the middle of somebody's session. Nothing waits for it longer
/// than four seconds, which a busy machine needs (that is why this runs with the soak, alone): once in five times it must have been
/// in time.
#[test]
#[ignore = "needs a machine with nothing else to do: make soak"]
fn soak_a_session_after_a_restart_sees_nobody_arrive() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).start();
    let connected = |wire: &mut Wire| {
        let answer = wire.query(b"SHOW GLOBAL STATUS LIKE 'Threads_connected'", b"");
        let row = &answer[answer.len() - 2].payload;
        let digits = row.iter().filter(|byte| byte.is_ascii_digit());
        digits.fold(0, |all, digit| all * 10 + u32::from(digit - b'0'))
    };
    let is_quiet = || {
        server.restart();
        let mut wire = wait_until("a login", Duration::from_secs(30), || {
            Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", 0).ok()
        });
        let first = connected(&mut wire);
        std::thread::sleep(Duration::from_millis(4_500));
        let last = connected(&mut wire);
        println!("{first} connections, then {last}");
        last <= first
    };
    assert!((0..5).any(|_| is_quiet()));
}

#[test]
fn connections_to_the_backend_are_like_those_of_their_clients() {
    let server = MySql::shared();
    let gate = Tidegate::of(server)
        .set("backend.tls", "\"as_client\"")
        .set("backend.compression", "\"as_client\"")
        .start();
    let user = server.schema("like");
    server.run(&format!(
        "CREATE USER {user} IDENTIFIED BY '{APP_PASSWORD}' REQUIRE SSL"
    ));
    let ways = [
        &["--ssl-mode=DISABLED", "--get-server-public-key"][..],
        &["--ssl-mode=REQUIRED"],
        &["--ssl-mode=REQUIRED", "--compression-algorithms=zlib"],
        &[
            "--ssl-mode=REQUIRED",
            "--compression-algorithms=zstd",
            "--zstd-compression-level=5",
        ],
    ];
    let status = "SELECT * FROM performance_schema.session_status
        WHERE VARIABLE_NAME IN ('Ssl_version', 'Compression', 'Compression_algorithm', 'Compression_level') ORDER BY 1";
    let ask = |port, user: &str, arguments, sql| {
        let text = ask(Flavour::MySql, port, user, APP_PASSWORD, arguments, sql);
        let told = |line: &&str| !line.starts_with("WARNING");
        text.lines().filter(told).collect::<Vec<_>>().join("\n")
    };
    // Twice, so that what one has left is there for the next.
    for arguments in ways.into_iter().chain(ways) {
        let seen = ask(gate.app_port, APP_USER, arguments, status);
        assert_eq!(
            seen,
            ask(server.port, APP_USER, arguments, status),
            "{arguments:?}"
        );
    }
    assert_eq!(ask(gate.app_port, &user, ways[1], "SELECT 1"), "1");
    let refused = ask(gate.app_port, &user, ways[0], "SELECT 1");
    assert!(refused.contains("1045"), "{refused}");
}
