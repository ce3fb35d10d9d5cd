//! What the hot path must not do: allocate in the steady state. A counting allocator watches the parts that see every query.
//! One program of its own, because an allocator is global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use tidegate::binlog::{Binlog, Unavailable};
use tidegate::cache::{Cache, Request, Settings, Skip};
use tidegate::protocol::command::{Execute, QueryBody};
use tidegate::protocol::packet::{PacketBuffer, put_lenenc, write_packet};
use tidegate::protocol::relay::{Event, Expect, ResponseMachine};
use tidegate::protocol::response::{EofPacket, OkPacket};
use tidegate::protocol::{capability, status};
use tidegate::sql::env::{COLUMNS, SessionEnv};
use tidegate::sql::{DigestScratch, LexMode, LocalStatements, StatementCache};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

/// Runs it twice to warm up and then demands that a hundred more runs allocate nothing.
fn assert_steady(name: &str, mut work: impl FnMut()) {
    work();
    work();
    let count = allocations(|| (0..100).for_each(|_| work()));
    assert_eq!(count, 0, "{name}");
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(black_box(vec![1_u8; 10]))) >= 1);
}

/// A result set of rows of many lengths, and an OK with session state behind it.
fn response(caps: u32) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), 1);
    let mut count = Vec::new();
    put_lenenc(&mut count, 1);
    write_packet(&mut out, &mut sequence, &count);
    write_packet(
        &mut out,
        &mut sequence,
        b"\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00",
    );
    let more = status::MORE_RESULTS;
    if caps & capability::DEPRECATE_EOF == 0 {
        EofPacket::default().write(&mut out, &mut sequence);
    }
    for length in 1..300 {
        write_packet(&mut out, &mut sequence, &vec![3; length]);
    }
    match caps & capability::DEPRECATE_EOF {
        0 => EofPacket {
            warnings: 0,
            status: more,
        }
        .write(&mut out, &mut sequence),
        _ => OkPacket {
            status: more,
            ..OkPacket::default()
        }
        .write(&mut out, &mut sequence, caps, true),
    }
    let ok = OkPacket {
        session_state: &[1, 2, 1, b's'],
        ..OkPacket::default()
    };
    ok.write(&mut out, &mut sequence, caps, false);
    out
}

#[test]
fn relaying_a_response() {
    for caps in [
        capability::PROTOCOL_41,
        capability::PROTOCOL_41 | capability::SESSION_TRACK | capability::DEPRECATE_EOF,
    ] {
        let wire = response(caps);
        let mut machine = ResponseMachine::new(Expect::Query, caps);
        for chunk in [usize::MAX, 1460, 7, 1] {
            assert_steady(&format!("chunks of {chunk}"), || {
                machine.reset(Expect::Query, caps);
                let mut done = None;
                for bytes in wire.chunks(chunk.min(wire.len())) {
                    match machine.feed(bytes).expect("a good response").event {
                        Some(Event::Done(summary)) => done = Some(summary),
                        Some(event) => panic!("{event:?}"),
                        None => (),
                    }
                }
                let summary = done.expect("the end");
                assert_eq!(summary.rows, 299);
                machine.recycle(summary);
            });
        }
    }
}

#[test]
fn reading_commands() {
    let mut buffer = PacketBuffer::new(16_384);
    let mut wire = Vec::new();
    write_packet(&mut wire, &mut 0, b"\x03\x00\x01SELECT 1");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for _ in 0..2 {
            // Twice by hand: an async closure in the steady loop would be another's allocation.
            buffer
                .fill_packet(&mut wire.as_slice(), 1 << 20)
                .await
                .expect("a packet");
            buffer.consume(wire.len());
        }
        let before = COUNT.with(Cell::get);
        for _ in 0..100 {
            buffer
                .fill_packet(&mut wire.as_slice(), 1 << 20)
                .await
                .expect("a packet");
            let (_, payload) = buffer.packet().expect("whole");
            let query =
                QueryBody::parse(&payload[1..], capability::QUERY_ATTRIBUTES).expect("a query");
            assert_eq!(query.text, b"SELECT 1");
            buffer.consume(wire.len());
        }
        assert_eq!(COUNT.with(Cell::get) - before, 0);
    });
    let body = [
        &[7, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 8, 0][..],
        &42_u64.to_le_bytes(),
    ]
    .concat();
    assert_steady("execute", || {
        let execute = Execute::parse(&body).expect("an execution");
        let parameters = execute.parameters(0, 1).expect("parameters");
        parameters
            .for_each(None, |_| false, |_, value| assert!(value.value.is_some()))
            .expect("values");
    });
}

#[test]
fn digesting_a_statement() {
    let mut scratch = DigestScratch::new(2048);
    assert_steady("digest", || {
        scratch.run(
            b"SELECT c FROM sbtest1 WHERE id=4711 AND k IN (1, 2, 3) AND pad = 'x'",
            LexMode::default(),
        );
        black_box(scratch.hash());
    });
}

#[test]
fn asking_the_cache_about_what_it_does_not_take() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let binlog = Binlog::unavailable(Unavailable::Disabled);
    let cache = Cache::new(Settings::default(), binlog, runtime.handle().clone());
    let row = vec![Some(b"1".to_vec()); COLUMNS];
    let env = SessionEnv::from_row(&row).expect("an environment");
    for (text, expected) in [
        ("SELECT c FROM s.t WHERE id = 5", "too_cheap"),
        ("UPDATE s.t SET c = 1", "not_a_query"),
        ("SELECT NOW() FROM s.t", "clock_function"),
    ] {
        let mut scratch = DigestScratch::new(2048);
        scratch.run(text.as_bytes(), LexMode::default());
        let statement = StatementCache::new(16).get_or_parse(&scratch, text.as_bytes());
        let request = Request {
            statement: &statement,
            text: text.as_bytes(),
            parameters: None,
            env: &env,
            caps: 0,
            is_chosen: false,
        };
        assert_steady(text, || {
            cache.observe(statement.id, 150);
            let skip = cache.consider(&request).map(drop);
            assert_eq!(skip.map_err(Skip::label), Err(expected));
        });
    }
}

#[test]
fn the_digest_of_a_known_statement() {
    let mut scratch = DigestScratch::new(2048);
    let mut local = LocalStatements::new(StatementCache::new(100), 100);
    let texts = [
        "SELECT c FROM sbtest1 WHERE id = 5",
        "SELECT a, `b`, COUNT(*) FROM q.t JOIN u USING (k) WHERE c IN (1, 2, -3, NULL) AND d = 'it''s' GROUP BY 1, a ORDER BY 2",
        "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, NULL)",
        "SELECT /*+ INDEX(t k) */ a FROM t /* app='x' */ LIMIT 5, 10",
        "SET @a = 1, NAMES utf8mb4",
        "SELECT 'never closed",
    ];
    assert_steady("digest and known statement", || {
        for text in texts {
            scratch.run(text.as_bytes(), LexMode::default());
            black_box(local.get(&scratch, text.as_bytes()));
        }
    });
}
