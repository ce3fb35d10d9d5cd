//! Mangled bytes by seed, millions of them: what a client or a server could send, with a few bytes changed, cut out, doubled or cut
//! off. Nothing may panic, hang or ask for more memory than it was given bytes.
//!
//! `TIDEGATE_FUZZ_SEED` and `TIDEGATE_FUZZ_INPUTS` choose another run than the usual ones.

use super::{parse_everything, valid_packet};
use crate::protocol::column::{BufferedResult, ColumnDefinition};
use crate::protocol::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX, header, put_lenenc, write_packet};
use crate::protocol::relay::{Event, Expect, ResponseMachine};
use crate::protocol::response::{EofPacket, ErrPacket, OkPacket};
use crate::protocol::tracking::{Hidden, write_ok};
use crate::protocol::{capability, proxy_header, status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Every shape of answer.
const SHAPES: [Expect; 8] = [
    Expect::Query,
    Expect::Execute,
    Expect::Prepare,
    Expect::Fetch,
    Expect::FieldList,
    Expect::Simple,
    Expect::Statistics,
    Expect::Binlog,
];

/// The definition of a column of numbers.
const COLUMN: &[u8] =
    b"\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00";

/// Capabilities that change what answers look like.
fn capabilities(dice: &mut StdRng) -> u32 {
    let mut caps = capability::PROTOCOL_41;
    for bit in [
        capability::DEPRECATE_EOF,
        capability::SESSION_TRACK,
        capability::QUERY_ATTRIBUTES,
        capability::PLUGIN_AUTH,
        capability::CONNECT_ATTRS,
        capability::CONNECT_WITH_DB,
        capability::PLUGIN_AUTH_LENENC,
    ] {
        caps |= if dice.random() { bit } else { 0 };
    }
    caps
}

fn some_bytes(dice: &mut StdRng, most: usize) -> Vec<u8> {
    let length = dice.random_range(0..=most);
    (0..length).map(|_| dice.random()).collect()
}

/// A few changes of the kinds that break parsers.
fn mangle(bytes: &mut Vec<u8>, dice: &mut StdRng) {
    for _ in 0..dice.random_range(0..4) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.random_range(0..bytes.len());
        let end = (at + dice.random_range(1..9)).min(bytes.len());
        match dice.random_range(0..6) {
            0 => bytes[at] = dice.random(),
            // Lengths and marks.
            1 => {
                bytes[at] =
                    [0, 1, 0x7F, 0x80, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF][dice.random_range(0..10)]
            }
            2 => bytes[at] ^= 1 << dice.random_range(0..8),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.truncate(at),
        }
    }
}

/// An OK packet with everything that one may have.
fn put_ok(out: &mut Vec<u8>, sequence: &mut u8, caps: u32, as_eof: bool, dice: &mut StdRng) {
    let state: &[u8] = match dice.random_range(0..4) {
        0 => b"\x00\x0f\x0aautocommit\x03OFF",
        1 => b"\x01\x05\x04test\x02\x02\x011",
        2 => b"\x05\x09\x08T_______",
        _ => b"",
    };
    let more = if dice.random_ratio(1, 4) {
        status::MORE_RESULTS
    } else {
        0
    };
    let ok = OkPacket {
        affected_rows: dice.random::<u64>() >> dice.random_range(0..64),
        last_insert_id: dice.random::<u64>() >> dice.random_range(0..64),
        status: status::AUTOCOMMIT | more,
        warnings: dice.random(),
        info: b"Rows matched: 1",
        session_state: state,
    };
    ok.write(out, sequence, caps, as_eof);
}

/// An answer of a server, whole.
fn answer(caps: u32, dice: &mut StdRng) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), 1);
    let has_eof = caps & capability::DEPRECATE_EOF == 0;
    let eof = EofPacket {
        warnings: 1,
        status: status::AUTOCOMMIT,
    };
    match dice.random_range(0..5) {
        0 => put_ok(&mut out, &mut sequence, caps, false, dice),
        1 => ErrPacket::new(1064, b"42000", b"You have an error").write(&mut out, &mut sequence),
        2 => {
            // To a PREPARE of one parameter and one column.
            write_packet(
                &mut out,
                &mut sequence,
                &[0, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0],
            );
            for _ in 0..2 {
                write_packet(&mut out, &mut sequence, COLUMN);
                if has_eof {
                    eof.write(&mut out, &mut sequence);
                }
            }
        }
        _ => {
            let columns = dice.random_range(1..4_u64);
            let mut count = Vec::new();
            put_lenenc(&mut count, columns);
            write_packet(&mut out, &mut sequence, &count);
            (0..columns).for_each(|_| write_packet(&mut out, &mut sequence, COLUMN));
            if has_eof {
                eof.write(&mut out, &mut sequence);
            }
            for _ in 0..dice.random_range(0..4) {
                let row = some_bytes(dice, 20);
                write_packet(&mut out, &mut sequence, &row);
            }
            match has_eof {
                true => eof.write(&mut out, &mut sequence),
                false => put_ok(&mut out, &mut sequence, caps, true, dice),
            }
        }
    }
    out
}

/// Relays an answer as a session does: in pieces, a piece at a time when a packet must be whole, with OK packets edited.
fn relay(wire: &[u8], caps: u32, dice: &mut StdRng) {
    let expect = SHAPES[dice.random_range(0..SHAPES.len())];
    let mut machine = ResponseMachine::new(expect, caps);
    if dice.random() {
        machine.hold_back();
    }
    let hidden = Hidden {
        state_changes: true,
        gtids: true,
        leaves_mark: dice.random(),
        is_variable: |name| name == b"autocommit",
    };
    let (mut start, mut end) = (0, 0);
    while end < wire.len() {
        end = (end + dice.random_range(1..40)).min(wire.len());
        loop {
            let Ok(fed) = machine.feed(&wire[start..end]) else {
                assert!(machine.feed(&[0]).is_err(), "an error that is forgotten");
                return;
            };
            assert!(fed.consumed <= end - start && fed.ok_bytes <= fed.consumed);
            let passed = &wire[start..start + fed.consumed];
            start += fed.consumed;
            if fed.ok_bytes > 0 {
                let packet = &passed[passed.len() - fed.ok_bytes..];
                let (_, sequence) = header(packet).expect("a packet");
                let mut out = Vec::new();
                let payload = &packet[HEADER_BYTES..];
                if write_ok(payload, caps, caps, &hidden, &[], &mut out, sequence).is_ok() {
                    assert!(out.len() <= packet.len() + 16 && payload.len() < PAYLOAD_BYTES_MAX);
                }
            }
            match fed.event {
                Some(Event::Done(_)) => return,
                Some(Event::LocalInfile { .. }) => machine.infile_sent(),
                None if fed.ok_bytes == 0 => break,
                None => {}
            }
        }
    }
}

fn mangled_by_seed(seed: u64, inputs: u64) {
    for number in 0..inputs {
        // Each input has a seed of its own, so that a failure can be run alone.
        let mut dice = StdRng::seed_from_u64(seed.wrapping_mul(1 << 32).wrapping_add(number));
        let caps = capabilities(&mut dice);
        match number % 4 {
            0 => {
                let mut bytes = some_bytes(&mut dice, 60);
                mangle(&mut bytes, &mut dice);
                parse_everything(&bytes, caps);
            }
            1 => {
                let text = some_bytes(&mut dice, 40);
                let mut bytes = valid_packet(dice.random_range(0..6), &text, caps);
                mangle(&mut bytes, &mut dice);
                parse_everything(&bytes, caps);
            }
            2 => {
                let mut bytes = match dice.random() {
                    true => b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n".to_vec(),
                    false => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a".to_vec(),
                };
                mangle(&mut bytes, &mut dice);
                let _ = proxy_header::read(&bytes);
                let mut bytes = COLUMN.to_vec();
                mangle(&mut bytes, &mut dice);
                let _ = ColumnDefinition::parse(&bytes);
            }
            _ => {
                let mut wire = answer(caps, &mut dice);
                mangle(&mut wire, &mut dice);
                let _ = BufferedResult::parse(&wire, caps);
                relay(&wire, caps, &mut dice);
            }
        }
    }
}

fn chosen(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn mangled_bytes_of_one_seed() {
    mangled_by_seed(chosen("TIDEGATE_FUZZ_SEED").unwrap_or(20_261_120), 40_000);
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_ten_million_mangled_inputs() {
    let inputs = chosen("TIDEGATE_FUZZ_INPUTS").unwrap_or(10_000_000);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs();
    let seed = chosen("TIDEGATE_FUZZ_SEED").unwrap_or(now);
    println!("mangled: seed {seed}, {inputs} inputs");
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || mangled_by_seed(seed ^ (half << 31), inputs / 2));
        }
    });
    println!("mangled: {inputs} inputs, none panicked");
}
