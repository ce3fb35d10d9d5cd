//! Executions of prepared statements that are too long for the proxy to hold, by clients that send the types of their parameters
//! once. When the proxy answered that one execution itself, the server has never seen them: it must get them now.

use std::time::{Duration, Instant};

use crate::support::raw::{Raw, packet};
use crate::support::wire::{DEPRECATE_EOF, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate};

const PATIENCE: Duration = Duration::from_secs(120);
/// Executions have a count and names, for attributes.
const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// The longest payload of one physical packet.
const FULL: usize = 0xFF_FFFF;
/// Longer than the proxy holds.
const LONG: usize = 2 << 20;
const SQL: &[u8] = b"SELECT LENGTH(?), RIGHT(?, 3), COUNT(*) FROM t";

/// A client that writes its packets by itself.
struct Client {
    raw: Raw,
    named: bool,
    statement: u32,
}

impl Client {
    fn new(port: u16, schema: &str, named: bool) -> Client {
        let capabilities = DEPRECATE_EOF | if named { QUERY_ATTRIBUTES } else { 0 };
        match Wire::login(port, APP_USER, APP_PASSWORD, schema, capabilities) {
            Ok(wire) => Client {
                raw: wire.into_raw(),
                named,
                statement: 0,
            },
            Err(error) => panic!("refused: {}", String::from_utf8_lossy(&error)),
        }
    }

    fn prepare(&mut self) {
        self.send(&[b"\x16", SQL].concat());
        // With DEPRECATE_EOF: two parameters and three columns.
        let head = self.packets(6).remove(0);
        assert_eq!(head[0], 0, "{}", String::from_utf8_lossy(&head));
        self.statement = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    }

    /// One logical packet, in as many physical ones as it takes.
    fn send(&mut self, payload: &[u8]) {
        let mut sequence = 0;
        let mut rest = payload;
        loop {
            let (part, behind) = rest.split_at(rest.len().min(FULL));
            assert!(self.raw.send(&packet(sequence, part)));
            sequence += 1;
            rest = behind;
            if part.len() < FULL {
                return;
            }
        }
    }

    fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut next = || self.raw.read_packet(deadline).expect("in time");
        (0..count).map(|_| next().expect("open").1).collect()
    }

    /// COM_STMT_EXECUTE with two texts; their types only if asked for.
    fn execution(&self, first: &[u8], second: &[u8], types: bool) -> Vec<u8> {
        let mut payload = vec![0x17];
        payload.extend(self.statement.to_le_bytes());
        payload.extend([0, 1, 0, 0, 0]);
        if self.named {
            payload.push(2);
        }
        payload.extend([0, u8::from(types)]);
        if types {
            let entry: &[u8] = if self.named {
                &[0xFD, 0, 0]
            } else {
                &[0xFD, 0]
            };
            payload.extend(entry);
            payload.extend(entry);
        }
        for text in [first, second] {
            // Always in the longest form, so that the length of the whole is easy to tell.
            payload.push(0xFE);
            payload.extend((text.len() as u64).to_le_bytes());
            payload.extend(text);
        }
        payload
    }

    /// Sequence numbers and payloads of a whole answer; `None` when the connection ended before.
    fn answer(&mut self) -> Option<Vec<(u8, Vec<u8>)>> {
        let deadline = Instant::now() + PATIENCE;
        let mut packets = Vec::new();
        loop {
            let packet = self.raw.read_packet(deadline).expect("in time")?;
            let first = packet.1[0];
            packets.push(packet);
            if first == 0xFF || (first == 0xFE && packets.len() > 1) {
                return Some(packets);
            }
        }
    }

    fn execute(&mut self, first: &[u8], types: bool) -> Option<Vec<(u8, Vec<u8>)>> {
        let payload = self.execution(first, b"the end", types);
        self.send(&payload);
        self.answer()
    }
}

async fn hits(gate: &Tidegate) -> i64 {
    let sql =
        "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM decisions WHERE reason = 'cache_hit'";
    gate.admin::<i64>(sql).await[0]
}

/// A client whose only execution so far, which had the types, was answered from the cache.
async fn answered_by_the_proxy(gate: &Tidegate, schema: &str, named: bool) -> Client {
    let end = Instant::now() + PATIENCE;
    let mut client = Client::new(gate.app_port, schema, named);
    loop {
        client.prepare();
        let before = hits(gate).await;
        let answer = client.execute(b"x", true).expect("open");
        assert_eq!(answer[0].1, [3], "three columns");
        if hits(gate).await > before {
            return client;
        }
        assert!(Instant::now() < end, "never a hit");
    }
}

fn rig(server: &MySql) -> (Tidegate, String) {
    let schema = server.schema("long");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a INT PRIMARY KEY); INSERT INTO {schema}.t VALUES (1), (2), (3)"
    ));
    let gate = Tidegate::of(server)
        .set("cache.tables", &format!("[\"{schema}.t\"]"))
        .set("cache.gate_wait_ms_max", "1000")
        .start();
    (gate, schema)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_only_the_proxy_knows_reach_the_server_with_a_long_execution() {
    let server = MySql::shared();
    let (gate, schema) = rig(server);
    for named in [false, true] {
        let mut past = Client::new(server.port, &schema, named);
        past.prepare();
        past.execute(b"x", true).expect("open");
        let around = past.execution(b"", b"the end", false).len();
        // One packet; several; and where the last one is empty, or just not full with the types.
        let types = if named { 6 } else { 4 };
        let lengths = [
            LONG,
            FULL - 1 - types - around,
            FULL - around,
            FULL + 1 - around,
            2 * FULL - around,
            2 * FULL + LONG,
        ];
        for length in lengths {
            let mut client = answered_by_the_proxy(&gate, &schema, named).await;
            let long = vec![b'l'; length];
            for _ in 0..2 {
                let right = past.execute(&long, false).expect("open");
                assert_eq!(right[0].1, [3], "three columns");
                let got = client.execute(&long, false).expect("open");
                assert!(got == right, "{named} {length}: {got:?}");
            }
            let short = client.execute(b"short", false);
            assert_eq!(short, past.execute(b"short", false), "{named} {length}");
        }
    }
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_a_long_execution_brings_are_the_ones_that_count() {
    let server = MySql::shared();
    let (gate, schema) = rig(server);
    for named in [false, true] {
        let mut past = Client::new(server.port, &schema, named);
        past.prepare();
        let mut client = answered_by_the_proxy(&gate, &schema, named).await;
        for (length, types) in [(LONG, true), (5, false), (FULL, true), (LONG, false)] {
            let long = vec![b'l'; length];
            let right = past.execute(&long, types);
            assert!(client.execute(&long, types) == right, "{named} {length}");
        }
    }
    gate.stop();
}

/// The types would make one physical packet more, and the answer's packets would have other numbers than the client waits for: the
/// connection ends, with an error for whoever is not sending any more. Nothing is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_without_room_for_its_types_ends_with_an_error() {
    let server = MySql::shared();
    let (gate, schema) = rig(server);
    for more in 0..2 {
        let mut client = answered_by_the_proxy(&gate, &schema, false).await;
        let around = client.execution(b"", b"the end", false).len();
        let long = vec![b'l'; FULL - 1 - around + more * FULL];
        let payload = client.execution(&long, b"the end", false);
        let (first, rest) = payload.split_at(payload.len().min(FULL));
        let sent = client.raw.send(&packet(0, first));
        if sent && !rest.is_empty() {
            client.raw.send(&packet(1, rest));
        }
        let last = client.raw.end(PATIENCE).expect("the end");
        assert!(last == 0 || last == 1105, "{last}");
        let sql = "SELECT CAST(COALESCE(SUM(count), 0) AS SIGNED) FROM errors WHERE last_message LIKE '%its parameter types'";
        let counted = gate.admin::<i64>(sql).await;
        assert_eq!(counted, [more as i64 + 1], "counted as what it is");
    }
    // Everybody else is served.
    answered_by_the_proxy(&gate, &schema, false).await;
    gate.stop();
}
