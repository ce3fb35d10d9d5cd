//! Garbage at every stage of a connection, by seed: before the login, in the request for TLS, in the exchange of passwords, in every
//! command. Whatever is sent, the connection must come to its end, the process must live, and others must be served.
//!
//! A failure names its case; `TIDEGATE_FUZZ_SEED` chooses another run than the usual one; the soak begins with it.

mod cases;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::api;
use super::vitals::watch;
use crate::support::raw::{Raw, packet};
use crate::support::tidegate::ADMIN_PASSWORD;
use crate::support::wire::{DEPRECATE_EOF, LOCAL_FILES, MULTI_STATEMENTS, SESSION_TRACK, Wire};
use crate::support::{MySql, Tidegate};
use cases::Dice;

/// A connection that is still open after this is a hang: far more than any limit in the configuration here.
const HANG: Duration = Duration::from_secs(30);
/// A statement that was executed with a cursor and then without one is answered by MySQL 9.7 with an OK packet where the rows should
/// be. On the wire that is a row, so everybody waits for more, with or without a proxy; this limit is what ends it.
const SILENCE_MS_MAX: u64 = 5_000;
/// Commands sent on one connection after its login.
const COMMANDS: usize = 6;
/// What garbage may add to the proxy's memory: a few packets of 20 MB at once are the most that one connection may make it hold, and
/// connections that got that far are few.
const GROWTH_BYTES_MAX: u64 = 96 << 20;
/// Connections at once.
const LANES: usize = 4;
/// The statements carry attributes.
const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// A user without any right but to log in, so that no garbage means harm to the server.
const USER: &str = "fuzz";
const PASSWORD: &str = "fuzz of many";

/// How many cases of each kind.
struct Size {
    before_login: usize,
    commands: usize,
    admin_commands: usize,
}

/// What came of the cases: the last error number of each connection (0: closed without), counted.
type Ends = BTreeMap<&'static str, BTreeMap<u16, usize>>;

/// One connection's worth of cases: how many they were, which error was the last, and in `sent` the start of each write.
fn one(
    gate: &Tidegate,
    stage: &'static str,
    dice: &mut Dice,
    sent: &mut Vec<String>,
) -> (usize, Option<u16>) {
    let mut send = |raw: &mut Raw, bytes: &[u8]| {
        let start: String = bytes
            .iter()
            .take(48)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        sent.push(format!("{start} of {}", bytes.len()));
        raw.send(bytes);
    };
    match stage {
        "before login" => {
            let port = match dice.below(10) {
                0 => gate.admin_port,
                _ => gate.app_port,
            };
            let Some((mut raw, greeting)) = Raw::greeted(port, HANG) else {
                return (1, None);
            };
            for bytes in cases::login(dice, &greeting) {
                send(&mut raw, &bytes);
            }
            raw.finish();
            (1, raw.end(HANG))
        }
        _ => {
            let mut raw = logged_in(gate, stage == "admin commands");
            let statement = prepare(&mut raw, dice);
            for _ in 0..COMMANDS {
                for bytes in cases::command(dice, statement) {
                    send(&mut raw, &bytes);
                }
            }
            raw.finish();
            (COMMANDS, raw.end(HANG))
        }
    }
}

fn logged_in(gate: &Tidegate, admin: bool) -> Raw {
    let capabilities =
        DEPRECATE_EOF | LOCAL_FILES | MULTI_STATEMENTS | SESSION_TRACK | QUERY_ATTRIBUTES;
    let wire = match admin {
        true => Wire::login(gate.admin_port, "admin", ADMIN_PASSWORD, "", DEPRECATE_EOF),
        false => Wire::login(gate.app_port, USER, PASSWORD, "", capabilities),
    };
    wire.map(Wire::into_raw)
        .unwrap_or_else(|error| panic!("no login: {}", String::from_utf8_lossy(&error)))
}

/// A prepared statement with two parameters, so that executions have something to be wrong about.
fn prepare(raw: &mut Raw, dice: &mut Dice) -> u32 {
    let text = [
        "SELECT ?, ?",
        "SELECT COUNT(*) FROM (SELECT ? a) t WHERE a = ?",
    ][dice.below(2)];
    raw.send(&packet(0, &[b"\x16", text.as_bytes()].concat()));
    let mut read = || raw.read_packet(Instant::now() + HANG).ok().flatten();
    let Some((_, head)) = read().filter(|(_, head)| head[0] == 0) else {
        return 0;
    };
    let count = head[5] + head[7];
    (0..count).for_each(|_| drop(read()));
    u32::from_le_bytes([head[1], head[2], head[3], head[4]])
}

/// Runs `cases` cases of a stage on several connections at once.
fn stage(gate: &Tidegate, stage: &'static str, cases: usize, seed: u64, ends: &Mutex<Ends>) {
    let next = AtomicUsize::new(0);
    let lane = || {
        loop {
            let number = next.fetch_add(1, Relaxed) as u64;
            let mut dice = Dice::new(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut sent = Vec::new();
            let (done, end) = one(gate, stage, &mut dice, &mut sent);
            let end = end.unwrap_or_else(|| {
                panic!("{stage}: case {number} of seed {seed:#x} hangs after {sent:#?}")
            });
            *ends
                .lock()
                .expect("no panic")
                .entry(stage)
                .or_default()
                .entry(end)
                .or_default() += done;
            if number as usize * done.max(1) >= cases {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        (0..LANES).for_each(|_| drop(scope.spawn(lane)));
    });
}

/// All stages once, by one seed; answers the memory that the proxy had when each kind of case had been there.
fn run(gate: &Tidegate, size: &Size, seed: u64, ends: &Mutex<Ends>) -> u64 {
    stage(gate, "commands", size.commands / 10, seed, ends);
    let early = gate.resident_bytes();
    stage(gate, "before login", size.before_login, seed, ends);
    stage(gate, "commands", size.commands, seed, ends);
    stage(gate, "admin commands", size.admin_commands, seed, ends);
    early
}

/// Garbage by one seed after the other, starting with `first`, until `length` is over; by one at least.
fn fuzz(server: &MySql, size: &Size, first: u64, length: Duration) {
    server.run(&format!(
        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"
    ));
    let gate = Tidegate::of(server)
        .set("login.failures_per_source_max", "1000000")
        .set("login.handshake_ms_max", "3000")
        .set("client.packet_bytes_max", "20000000")
        .set("backend.silence_ms_max", &SILENCE_MS_MAX.to_string())
        // Garbage has a digest, too: with little room for those, what grows is something else.
        .set("statements.cache_entries_max", "1000")
        .set("analytics.digests_max", "1000")
        .start();
    let (id, start) = (gate.id(), Instant::now());
    let ends = Mutex::new(Ends::new());
    println!("fuzz: from seed {first} on");
    let ((seeds, early), seen) = watch(&gate, server, || {
        let (mut seeds, early) = (1, run(&gate, size, first, &ends));
        while start.elapsed() < length {
            run(&gate, size, first.wrapping_add(seeds), &ends);
            seeds += 1;
        }
        (seeds, early)
    });
    let ends = ends.into_inner().expect("no panic");
    let done: usize = ends.values().flat_map(BTreeMap::values).sum();
    let grown = gate.resident_bytes().saturating_sub(early);
    println!(
        "fuzz: {seeds} seeds from {first} on, {} KiB more memory since the first cases; last errors {ends:?}",
        grown >> 10
    );
    assert!(done >= size.before_login + size.commands, "{done} cases");
    assert!(gate.runs() && gate.id() == id);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let errors = api(&gate, "errors?limit=1000");
    for number in [1045, 1153, 1156, 1835] {
        assert!(
            errors.iter().any(|row| row["error_number"] == number),
            "{number} was not counted: {errors:?}"
        );
    }
    seen.assert_over(&gate, "fuzz", done, GROWTH_BYTES_MAX);
    gate.stop();
}

/// The seed that the environment asks for.
fn chosen_seed() -> Option<u64> {
    std::env::var("TIDEGATE_FUZZ_SEED").ok()?.parse().ok()
}

const USUAL: Size = Size {
    before_login: 8_000,
    commands: 11_000,
    admin_commands: 1_500,
};

#[test]
fn garbage_ends_only_its_own_connection() {
    let seed = chosen_seed().unwrap_or(20_261_120);
    fuzz(MySql::shared(), &USUAL, seed, Duration::ZERO);
}

/// Seeds that nobody has tried yet.
#[test]
#[ignore = "minutes: make soak"]
fn soak_garbage_of_many_seeds() {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let seed = chosen_seed().unwrap_or(now.as_secs() << 16);
    fuzz(&MySql::start(&[]), &USUAL, seed, Duration::from_secs(180));
}
