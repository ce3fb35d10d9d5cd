//! Clients that come and go as fast as they can, half-way, with wrong passwords, in silence, byte by byte, and more of them than
//! there are connections for.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mysql_async::ChangeUserOpts;
use mysql_async::prelude::Queryable;

use super::vitals::{metric, watch};
use super::{PATIENCE, api, app, assert_serves};
use crate::support::raw::{After, Raw, claimed, packet, query};
use crate::support::wire::{DEPRECATE_EOF, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, wait_until};

/// What a storm may add to the proxy's memory: sixteen kilobytes of buffer and a task for each of the few clients that are there at
/// once, the pool's idle connections, and what an allocator keeps of all that.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
/// Ways to come and go.
const KINDS: usize = 8;
/// The way with a wrong password.
const WRONG_PASSWORD: usize = 4;

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
        WRONG_PASSWORD => drop(login(gate, "wrong")),
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

/// Comes and goes from several threads for as long as said; answers how often. Each comes again as soon as it has gone.
fn storm(length: Duration, each: &(impl Fn(usize) + Sync)) -> usize {
    let (end, count) = (Instant::now() + length, AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < end {
                    each(count.fetch_add(1, Relaxed));
                }
            });
        }
    });
    count.into_inner()
}

/// A storm with an ordinary client in it, and what must be seen afterwards; answers how many came and went.
fn weather(
    gate: &Tidegate,
    server: &MySql,
    name: &str,
    length: Duration,
    each: impl Fn(usize) + Sync,
) -> usize {
    let accepted = metric(gate, "tidegate_clients_accepted_total");
    let backends = Backends::of(gate);
    let (count, seen) = watch(gate, server, || storm(length, &each));
    let now = Backends::of(gate);
    println!(
        "{name}: {} backend connections opened, {} used again",
        now.opened - backends.opened,
        now.reused - backends.reused
    );
    seen.assert_over(gate, name, count, GROWTH_BYTES_MAX);
    let accepted = metric(gate, "tidegate_clients_accepted_total") - accepted;
    assert!(
        accepted >= count as u64,
        "{accepted} of {count} were counted"
    );
    count
}

/// What the pool did for clients since the start.
struct Backends {
    opened: u64,
    reused: u64,
}

impl Backends {
    fn of(gate: &Tidegate) -> Backends {
        Backends {
            opened: metric(gate, "tidegate_pool_opened_total"),
            reused: metric(gate, "tidegate_pool_reused_total"),
        }
    }
}

/// A storm of all kinds of clients; every wrong password is counted, and no session is left.
async fn all_kinds(gate: &Tidegate, server: &MySql, length: Duration) {
    let refused =
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM errors WHERE error_number = 1045";
    let before: Vec<(u64,)> = gate.admin(refused).await;
    let count = weather(gate, server, "clients of all kinds", length, |n| {
        come_and_go(gate, n % KINDS)
    });
    let after: Vec<(u64,)> = gate.admin(refused).await;
    let wrong = (0..count).filter(|n| n % KINDS == WRONG_PASSWORD).count();
    assert_eq!(after[0].0 - before[0].0, wrong as u64);
    wait_until("no session is left", PATIENCE, || {
        let rows = api(gate, "sessions");
        rows.iter().all(|row| row["user"] != APP_USER).then_some(())
    });
}

fn stormy(server: &MySql) -> Tidegate {
    Tidegate::of(server)
        .set("login.failures_per_source_max", "1000000")
        .start()
}

#[tokio::test]
async fn connects_and_disconnects_as_fast_as_they_go() {
    let server = MySql::shared();
    let gate = stormy(server);
    all_kinds(&gate, server, Duration::from_secs(10)).await;
    gate.stop();
}

/// A minute of each: clients of all kinds; the greeting only; logins whose password is known; logins of which nothing is known.
#[tokio::test]
#[ignore = "minutes: make soak"]
async fn soak_connects_and_disconnects_for_minutes() {
    const MINUTE: Duration = Duration::from_secs(60);
    let server = MySql::start(&[]);
    let gate = stormy(&server);
    all_kinds(&gate, &server, MINUTE).await;
    weather(&gate, &server, "greetings", MINUTE, |n| {
        come_and_go(&gate, n % 2)
    });
    let logs_in = |user: &str| {
        let wire = Wire::login(gate.app_port, user, APP_PASSWORD, "", DEPRECATE_EOF);
        wire.unwrap_or_else(|error| panic!("{user}: {}", String::from_utf8_lossy(&error)))
            .quit();
    };
    weather(&gate, &server, "known passwords", MINUTE, |_| {
        logs_in(APP_USER)
    });
    let strangers = Strangers::of(&server);
    let opened = Backends::of(&gate).opened;
    let count = weather(&gate, &server, "unknown passwords", MINUTE, |n| {
        logs_in(&strangers.nth(&server, n))
    });
    let opened = Backends::of(&gate).opened - opened;
    assert!(
        opened >= count as u64,
        "{opened} of {count} were proved by the server"
    );
    gate.stop();
}

/// Users that nobody knows: each logs in once before the server and the proxy forget them all.
struct Strangers;

impl Strangers {
    const COUNT: usize = 1_000;

    fn of(server: &MySql) -> Strangers {
        let name = |n: usize| format!("'{}'@'%' IDENTIFIED BY '{APP_PASSWORD}'", Self::name(n));
        let users: Vec<String> = (0..Self::COUNT).map(name).collect();
        server.run(&format!("CREATE USER {}", users.join(", ")));
        Strangers
    }

    fn name(n: usize) -> String {
        format!("stranger{n}")
    }

    /// Who comes as number `n`.
    fn nth(&self, server: &MySql, n: usize) -> String {
        if n > 0 && n.is_multiple_of(Self::COUNT) {
            server.run("FLUSH PRIVILEGES");
        }
        Self::name(n % Self::COUNT)
    }
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
        .set("pool.mode", "\"session\"")
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
