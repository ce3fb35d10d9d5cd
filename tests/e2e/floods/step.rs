//! Answers stay with their questions: what a server says to a malformed command must not be taken for the answer to the next one.

use std::time::Instant;

use super::{PATIENCE, app};
use crate::support::raw::{Raw, packet, query};
use crate::support::wire::{DEPRECATE_EOF, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate};

/// Commands without an answer when they are right, cut short: `COM_STMT_SEND_LONG_DATA` and `COM_STMT_CLOSE`.
fn cut_short() -> Vec<Vec<u8>> {
    let long_data = (0..6).map(|length| [&[0x18][..], &[1, 0, 0, 0, 0][..length.min(5)]].concat());
    let close = (0..4).map(|length| [&[0x19][..], &[1, 0, 0, 0][..length]].concat());
    long_data.chain(close).collect()
}

/// The same of the right length, about statements and parameters that are not there.
fn about_nothing() -> Vec<Vec<u8>> {
    let long = [&b"\x18xxxx\0\0"[..], &[b'x'; 1_500_000]].concat();
    let long_data: [&[u8]; 4] = [
        b"\x18\xff\xff\0\0\0\0data",
        b"\x18\xff\xff\0\0\0\0",
        b"\x18\xff\xff\0\0\xff\xff",
        &long,
    ];
    let close: [&[u8]; 3] = [b"\x19\xff\xff\0\0", b"\x19\xff\xff\0\0\0", b"\x19\0\0\0\0"];
    long_data
        .iter()
        .chain(&close)
        .map(|bytes| bytes.to_vec())
        .collect()
}

/// Everything that is said to these packets and a PING behind each of them.
fn said(port: u16, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let wire = Wire::login(port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF);
    let mut raw = wire
        .map(Wire::into_raw)
        .unwrap_or_else(|_| panic!("no login"));
    for payload in payloads {
        raw.send(&packet(0, payload));
        raw.send(&packet(0, b"\x0e"));
    }
    raw.send(&query("SELECT 'the last one'"));
    let deadline = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while let Some((_, payload)) = raw.read_packet(deadline).expect("in time") {
        let is_last = payload.ends_with(b"the last one") && payload[0] == 12;
        all.push(payload);
        if is_last {
            return all;
        }
    }
    all
}

#[test]
fn malformed_commands_are_answered_as_the_server_answers_them() {
    let server = MySql::shared();
    let gate = Tidegate::of(server).start();
    let payloads = [cut_short(), about_nothing()].concat();
    // All but the count of warnings in the answer to a PING: the server has a new one with each malformed command.
    let told = |port| -> Vec<Vec<u8>> {
        let mut packets = said(port, &payloads);
        let pings = packets.iter_mut().filter(|packet| packet[0] == 0);
        pings.for_each(|packet| packet.truncate(5));
        packets
    };
    assert_eq!(told(gate.app_port), told(server.port));
    gate.stop();
}

fn value(client: &mut Raw, sql: &str) -> Vec<u8> {
    client.send(&query(sql));
    let (deadline, mut row) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        let (_, payload) = client
            .read_packet(deadline)
            .expect("in time")
            .expect("open");
        match payload[0] {
            0xFE | 0xFF => return row,
            _ => row = payload,
        }
    }
}

#[test]
fn a_malformed_command_puts_no_wrong_answer_into_the_cache() {
    let server = MySql::shared();
    let schema = server.schema("step");
    server.run(&format!(
        "CREATE TABLE {schema}.t (a INT PRIMARY KEY, b VARCHAR(9)); INSERT INTO {schema}.t VALUES (1, 'one'), (2, 'two'), (3, 'three')"
    ));
    let gate = Tidegate::of(server)
        .set("cache.tables", &format!("[\"{schema}.t\"]"))
        .start();
    let sql = |a: u32| format!("SELECT b FROM t WHERE a = {a}");
    for payload in cut_short() {
        let mut hostile = app(&gate, &schema);
        let mut bytes = packet(0, &payload);
        (1..=3).for_each(|a| bytes.extend(query(&sql(a))));
        hostile.send(&bytes);
        hostile.finish();
        hostile.end(PATIENCE);
        let mut other = app(&gate, &schema);
        for (a, right) in [(1, "one"), (2, "two"), (3, "three")] {
            assert_eq!(
                value(&mut other, &sql(a))[1..],
                *right.as_bytes(),
                "after {payload:02x?}"
            );
        }
        // The kept answers go, so that the next round fills anew.
        server.run(&format!("UPDATE {schema}.t SET b = b; INSERT INTO {schema}.t VALUES (9, ''); DELETE FROM {schema}.t WHERE a = 9"));
    }
    gate.stop();
}
