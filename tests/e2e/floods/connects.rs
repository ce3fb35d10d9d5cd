//! Clients that come and go as fast as they can, half-way, with wrong passwords, in silence, byte by byte, and more of them than
//! there are connections for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{PATIENCE, app, assert_serves};
use crate::support::raw::{Raw, claimed, packet, query};
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
