//! Clients that come and go as fast as they can, half-way, with wrong passwords, in silence, byte by byte, and more of them than
//! there are connections for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mysql_async::ChangeUserOpts;
use mysql_async::prelude::Queryable;

use super::{PATIENCE, api, app, assert_serves};
use crate::support::raw::{After, Raw, claimed, packet, query};
use crate::support::wire::{DEPRECATE_EOF, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, wait_until};

/// The number in an ERR packet's payload.
fn number(error: &[u8]) -> u16 {
    match error {
        [0xFF, low, high, ..] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    }
}

fn login(gate: &Tidegate, password: &str) -> Result<Wire, u16> {
    Wire::login(gate.app_port, APP_USER, password, "", DEPRECATE_EOF)
        .map_err(|error| number(&error))
}

/// One way to come and go; `kind` says which.
fn come_and_go(gate: &Tidegate, kind: usize) {
    match kind {
        // Not a word, before and after the greeting.
        0 => drop(Raw::connect(gate.app_port)),
        1 => drop(Raw::greeted(gate.app_port, PATIENCE)),
        // Half a response, and a request for TLS that is not followed by any.
        2 | 3 => {
            let Some((mut raw, _)) = Raw::greeted(gate.app_port, PATIENCE) else {
                return;
            };
            raw.send(&match kind {
                2 => claimed(200, 1, b"half a response"),
                _ => packet(1, &tls_request()),
            });
            raw.send(b"no client hello");
        }
        4 => drop(login(gate, "wrong")),
        // Logged in, and gone without a word; and in order.
        5 => drop(login(gate, APP_PASSWORD)),
        6 => {
            let Ok(wire) = login(gate, APP_PASSWORD) else {
                return;
            };
            wire.quit();
        }
        // In the middle of an answer.
        _ => {
            let Ok(wire) = login(gate, APP_PASSWORD) else {
                return;
            };
            let mut raw = wire.into_raw();
            raw.send(&query("SELECT REPEAT('x', 1000000)"));
        }
    }
}

/// The fixed head of a handshake response with the TLS flag.
fn tls_request() -> [u8; 32] {
    let mut request = [0; 32];
    request[..4].copy_from_slice(&0x0008_8A01_u32.to_le_bytes());
    request[8] = 45;
    request
}

/// Comes and goes from several threads for as long as said; answers how often.
fn storm(gate: &Tidegate, length: Duration) -> usize {
    let (end, count) = (Instant::now() + length, AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < end {
                    come_and_go(gate, count.fetch_add(1, Relaxed) % 8);
                }
            });
        }
    });
    count.into_inner()
}

/// A storm with a good client in it, and what must be seen afterwards.
fn weather(gate: &Tidegate, length: Duration) {
    assert_serves(gate);
    let (files, memory) = (gate.open_files(), gate.resident_bytes());
    let over = AtomicBool::new(false);
    let (count, served) = std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let (mut client, mut served) = (app(gate, ""), 0);
            while !over.load(Relaxed) {
                client.send(&query("SELECT 1"));
                assert_eq!(client.answer(Instant::now() + PATIENCE), Ok(()));
                served += 1;
            }
            served
        });
        let count = storm(gate, length);
        over.store(true, Relaxed);
        (
            count,
            good.join().expect("the good client is served all the time"),
        )
    });
    // Idle backend connections may be kept for the next client.
    wait_until("the files are closed again", PATIENCE, || {
        (gate.open_files() <= files + 70).then_some(())
    });
    let grown = gate.resident_bytes().saturating_sub(memory);
    println!(
        "storm: {count} connects in {length:?}, a good client was answered {served} times, {} files before and {} after, {} KiB more memory",
        files,
        gate.open_files(),
        grown >> 10
    );
    assert!(grown < 48 << 20, "{grown} bytes more");
    assert!(served > 10);
    assert_serves(gate);
}

#[tokio::test]
async fn connects_and_disconnects_as_fast_as_they_go() {
    let gate = Tidegate::of(MySql::shared())
        .set("login.failures_per_source_max", "1000000")
        .start();
    weather(&gate, Duration::from_secs(10));
    let refused: Vec<(u64,)> = gate
        .admin("SELECT SUM(count) FROM errors WHERE error_number = 1045")
        .await;
    assert!(refused[0].0 > 10, "{refused:?}");
    let sessions: Vec<(u64,)> = gate
        .admin("SELECT COUNT(*) FROM sessions WHERE user = 'app'")
        .await;
    assert_eq!(sessions, [(0,)]);
    gate.stop();
}

#[tokio::test]
async fn wrong_passwords_are_refused_unseen_after_some() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server)
        .set("login.failures_per_source_max", "5")
        .set("login.failures_window_ms", "3000")
        .start();
    // A success clears the count: from here on it is zero.
    assert_eq!(login(&gate, APP_PASSWORD).map(Wire::quit), Ok(()));
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(login(&gate, "wrong").err(), Some(1045));
    }
    let asked = denied(&server);
    // The window began with the first failure, and none of these may come after its end.
    let within = |outcome| (start.elapsed() < Duration::from_secs(3)).then_some(outcome);
    for password in ["wrong", APP_PASSWORD] {
        if let Some(refused) = within(login(&gate, password).err()) {
            assert_eq!(refused, Some(1129), "with {password}");
        }
    }
    assert_eq!(denied(&server), asked, "the backend was asked all the same");
    wait_until("the window is over", PATIENCE, || {
        login(&gate, APP_PASSWORD).ok().map(Wire::quit)
    });
    gate.stop();
}

/// Failed logins that the server has seen.
fn denied(server: &MySql) -> String {
    server.run("SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Aborted_connects'")
}

#[tokio::test]
async fn passwords_guessed_by_change_user_count_as_well() {
    let gate = Tidegate::of(MySql::shared())
        .set("login.failures_per_source_max", "3")
        .set("login.failures_window_ms", "600000")
        .start();
    let mut sessions: Vec<Raw> = (0..4).map(|_| app(&gate, "")).collect();
    // A wrong answer by the plugin that the server has, 32 bytes long.
    let guess = [
        &b"\x11app\0\x20"[..],
        &[7; 32],
        b"\0\x2d\0caching_sha2_password\0",
    ]
    .concat();
    for session in sessions.iter_mut().take(3) {
        session.send(&packet(0, &guess));
        // The password is asked for; what comes is none.
        assert_eq!(session.after(PATIENCE), After::Packet(1));
        session.send(&packet(2, &[9; 256]));
        assert_eq!(session.end(PATIENCE), Some(1045));
    }
    assert_eq!(login(&gate, APP_PASSWORD).err(), Some(1129));
    gate.stop();
}

#[test]
fn clients_that_say_nothing_or_hardly_anything_are_let_go() {
    let gate = Tidegate::of(MySql::shared())
        .set("login.handshake_ms_max", "1500")
        .start();
    let files = gate.open_files();
    let start = Instant::now();
    let mut silent: Vec<Raw> = (0..300)
        .filter_map(|_| Raw::connect(gate.app_port).ok())
        .collect();
    let mut slow: Vec<Raw> = (0..20)
        .filter_map(|_| Some(Raw::greeted(gate.app_port, PATIENCE)?.0))
        .collect();
    let response = packet(1, &[&tls_request()[..], &[b'a'; 300]].concat());
    // Byte by byte; the answers of the good client in between are the pace.
    let mut sent = 0;
    while slow.iter_mut().all(|raw| raw.send(&response[sent..=sent])) && start.elapsed() < PATIENCE
    {
        assert_serves(&gate);
        sent = (sent + 1) % response.len();
    }
    let open = silent.iter_mut().chain(&mut slow);
    for (n, raw) in open.enumerate() {
        assert!(raw.end(PATIENCE).is_some(), "{n} is still open");
    }
    assert!(start.elapsed() < Duration::from_secs(30));
    wait_until("the files are closed again", PATIENCE, || {
        (gate.open_files() <= files + 20).then_some(())
    });
    gate.stop();
}

#[tokio::test]
async fn clients_beyond_the_connections_are_told_so() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server)
        .set("pool.connections_max", "4")
        .set("pool.waiters_max", "2")
        .set("pool.wait_ms_max", "1200")
        .set("login.handshake_ms_max", "600")
        .start();
    let mut changing = gate.connect("").await;
    let mut held: Vec<Wire> = (0..3)
        .map(|_| login(&gate, APP_PASSWORD).expect("there is room"))
        .collect();
    // Two wait for as long as they may, although that is longer than a login may take; the rest is refused at once.
    let start = Instant::now();
    let told: Vec<(Option<u16>, Duration)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (login(&gate, APP_PASSWORD).err(), start.elapsed())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert!(
        told.iter().all(|(error, _)| *error == Some(1040)),
        "{told:?}"
    );
    let waited = told
        .iter()
        .filter(|(_, time)| *time >= Duration::from_millis(1200));
    assert_eq!(waited.count(), 2, "{told:?}");
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{APP_USER}'");
    assert_eq!(server.run(&sql), "4\n");
    let pools = api(&gate, "pools");
    let sum = |key: &str| -> u64 { pools.iter().filter_map(|pool| pool[key].as_u64()).sum() };
    assert_eq!((sum("refused"), sum("waits")), (8, 2), "{pools:?}");
    // A new name on a connection that one has needs no second one.
    changing
        .change_user(
            ChangeUserOpts::default()
                .with_user(Some(APP_USER.to_owned()))
                .with_pass(Some(APP_PASSWORD.to_owned())),
        )
        .await
        .expect("a change of user finds room");
    changing.query_drop("SELECT 1").await.expect("it is usable");
    // A place that becomes free goes to whoever waits.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| login(&gate, APP_PASSWORD).map(Wire::quit));
        wait_until("somebody waits", PATIENCE, || {
            let waiting = |pool: &serde_json::Value| pool["waiting"] == 1;
            api(&gate, "pools").iter().any(waiting).then_some(())
        });
        held.pop().expect("four").quit();
        assert_eq!(waiting.join().expect("no panic"), Ok(()));
    });
    gate.stop();
}

#[tokio::test]
async fn more_clients_than_may_be_are_refused_and_the_administrator_still_gets_in() {
    let gate = Tidegate::of(MySql::shared())
        .set("listen.clients_max", "5")
        .start();
    let mut open: Vec<Raw> = Vec::new();
    let refused = loop {
        let (raw, greeting) = Raw::greeted(gate.app_port, PATIENCE).expect("a word");
        if greeting[0] == 0xFF {
            break number(&greeting);
        }
        assert!(open.len() < 5);
        open.push(raw);
    };
    assert_eq!(refused, 1040);
    let sessions: Vec<(u64,)> = gate.admin("SELECT COUNT(*) FROM sessions").await;
    assert_eq!(sessions, [(1,)]);
    drop(open);
    wait_until("there is room again", PATIENCE, || {
        login(&gate, APP_PASSWORD).ok().map(Wire::quit)
    });
    gate.stop();
}
