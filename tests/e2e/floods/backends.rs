//! A backend that sends what no server should: in place of its greeting, and in place of an answer. Its client gets a clear error or
//! the end of its connection within a deadline; the proxy, its memory and its other clients do not mind.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{PATIENCE, app};
use crate::support::hostile::{Hostile, Script, Stage};
use crate::support::raw::{Raw, claimed, packet, query};
use crate::support::tls;
use crate::support::wire::{DEPRECATE_EOF, LOCAL_FILES, Wire};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, wait_until};

/// Longest silence of the backend in the configuration here, in milliseconds.
const SILENCE_MS: u64 = 1500;
/// What is sent and read at most where there is no end to it.
const ENDLESS_BYTES: usize = 96 << 20;

/// A column definition that says nothing.
const COLUMN: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
/// The OK that ends rows when a further result follows.
const END_AND_MORE: &[u8] = b"\xfe\0\0\x0a\0\0\0";

fn send_all(stage: &mut Stage, packets: &[&[u8]]) {
    for (number, payload) in packets.iter().enumerate() {
        stage.send(&packet(number as u8 + 1, payload));
    }
}

/// An answer that breaks off inside its second row.
fn half_row() -> Vec<u8> {
    [
        packet(1, b"\x01"),
        packet(2, COLUMN),
        packet(3, b"\x01a"),
        claimed(100, 4, b"\x05abc"),
    ]
    .concat()
}

/// Packets without end (or nearly), numbered on from `first`.
fn without_end(stage: &mut Stage, first: u8, payload: &[u8]) {
    let mut sequence = first;
    let mut sent = 0;
    while sent < 2 * ENDLESS_BYTES {
        let mut bytes = Vec::new();
        while bytes.len() < 65_536 {
            bytes.extend(packet(sequence, payload));
            sequence = sequence.wrapping_add(1);
        }
        if !stage.send(&bytes) {
            return;
        }
        sent += bytes.len();
    }
}

/// Answers that are none, by name.
const ANSWERS: &[(&str, Script)] = &[
    ("close", |_| {}),
    ("silence", Stage::be_silent),
    ("noise", |stage| {
        let noise: Vec<u8> = (0..4096_u32).map(|n| (n * n / 7) as u8).collect();
        stage.send(&noise);
        stage.be_silent();
    }),
    ("half_header", |stage| {
        stage.send(&[7, 0]);
        stage.be_silent();
    }),
    ("half_packet", |stage| {
        stage.send(&claimed(100, 1, b"\0\0\0"));
        stage.be_silent();
    }),
    ("half_row", |stage| {
        stage.send(&half_row());
        stage.be_silent();
    }),
    ("close_in_row", |stage| {
        stage.send(&half_row());
    }),
    ("close_after_row", |stage| {
        send_all(stage, &[b"\x01", COLUMN, b"\x01a"]);
    }),
    ("wrong_number", |stage| {
        send_all(stage, &[b"\x01", COLUMN]);
        stage.send(&packet(9, b"\x01a"));
        stage.be_silent();
    }),
    ("more_than_asked", |stage| {
        // Two whole answers to one statement: the second one belongs to nobody.
        let answer = packet(1, b"\0\0\0\x02\0\0\0");
        stage.send(&[answer.clone(), answer].concat());
        stage.be_silent();
    }),
    ("too_many_columns", |stage| {
        send_all(stage, &[b"\xfd\xff\xff\xff"]);
        without_end(stage, 2, COLUMN);
    }),
    ("columns_without_end", |stage| {
        send_all(stage, &[b"\xfc\xff\xff"]);
        without_end(stage, 2, &[b'x'; 4096]);
    }),
    ("rows_without_end", |stage| {
        send_all(stage, &[b"\x01", COLUMN]);
        without_end(stage, 3, &[b'0'; 4096]);
    }),
    ("row_without_end", |stage| {
        send_all(stage, &[b"\x01", COLUMN]);
        let block = vec![b'x'; 0xFF_FFFF];
        let mut sequence = 3;
        while sequence < 20 && stage.send(&packet(sequence, &block)) {
            sequence += 1;
        }
    }),
    ("results_without_end", |stage| {
        let mut sequence = 1_u8;
        let mut sent = 0;
        while sent < ENDLESS_BYTES / 8 {
            let mut bytes = Vec::new();
            for payload in [b"\x01", COLUMN, b"\x01a", END_AND_MORE] {
                bytes.extend(packet(sequence, payload));
                sequence = sequence.wrapping_add(1);
            }
            sent += bytes.len();
            if !stage.send(&bytes) {
                return;
            }
        }
    }),
    ("progress_without_end", |stage| {
        without_end(stage, 1, b"\xff\xff\xff\x01\x01\x01\0\0\0\x04busy");
    }),
    ("short_error", |stage| {
        send_all(stage, &[b"\xff"]);
        stage.be_silent();
    }),
    ("short_ok", |stage| {
        send_all(stage, &[b"\0\0"]);
        stage.be_silent();
    }),
    ("long_ok", |stage| {
        // Session state of 16 MiB that says it is longer still.
        let state = [
            &b"\0\0\0\0\x40\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"[..],
            &[b's'; 0xFF_0000],
        ]
        .concat();
        send_all(stage, &[&state]);
    }),
    ("file", |stage| {
        send_all(stage, &[b"\xfb/etc/hostname"]);
        stage.be_silent();
    }),
    ("file_of_long_name", |stage| {
        let name = [&b"\xfb"[..], &[b'/'; 9000]].concat();
        send_all(stage, &[&name]);
        stage.be_silent();
    }),
];

/// Greetings that are none, by name.
const GREETINGS: &[(&str, Script)] = &[
    ("close", |_| {}),
    ("silence", Stage::be_silent),
    ("noise", |stage| {
        stage.send(b"220 ready for mail, or for the web\r\n");
        stage.be_silent();
    }),
    ("huge", |stage| {
        stage.send(&claimed(0xFF_FFFF, 0, b"\x0a9.7.0\0"));
        without_end(stage, 1, &[0; 4096]);
    }),
    ("old", |stage| {
        stage.send(&packet(0, b"\x093.20\0\x01\0\0\0abcdefgh\0"));
        stage.be_silent();
    }),
    ("half", |stage| {
        stage.send(&claimed(70, 0, b"\x0a9.7.0\0"));
        stage.be_silent();
    }),
    ("no_name", |stage| {
        stage.send(&packet(0, &[&b"\x0a"[..], &[b'9'; 200]].concat()));
        stage.be_silent();
    }),
    ("error", |stage| {
        stage.send(&packet(0, b"\xff\x10\x04Too many connections"));
    }),
    ("short_error", |stage| {
        stage.send(&packet(0, b"\xff"));
        stage.be_silent();
    }),
    ("switch", |stage| {
        // A proper greeting, and then another plugin again and again.
        let mut greeting =
            b"\x0a9.7.0\0\x07\0\0\0abcdefgh\0\xff\xf7\x2d\x02\0\xff\xdf\x15".to_vec();
        greeting.extend([0; 10]);
        greeting.extend(b"abcdefghijkl\0caching_sha2_password\0");
        stage.send(&packet(0, &greeting));
        for sequence in (2..200).step_by(2) {
            stage.send(&packet(
                sequence,
                b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0",
            ));
        }
        stage.be_silent();
    }),
    ("more_without_end", |stage| {
        let mut greeting =
            b"\x0a9.7.0\0\x07\0\0\0abcdefgh\0\xff\xf7\x2d\x02\0\xff\xdf\x15".to_vec();
        greeting.extend([0; 10]);
        greeting.extend(b"abcdefghijkl\0caching_sha2_password\0");
        stage.send(&packet(0, &greeting));
        without_end(stage, 2, &[1; 4000]);
    }),
];

/// Reads whatever comes up to the end: how much it was, and whether the end came in time.
fn read_out(raw: &mut Raw, wait: Duration) -> (usize, bool) {
    let (deadline, mut block, mut got) = (Instant::now() + wait, vec![0; 65_536], 0);
    while Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        let stream = raw.stream();
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .expect("it can be set");
        match stream.read(&mut block) {
            Ok(0) => return (got, true),
            Ok(count) => got += count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return (got, true);
            }
            Err(_) => return (got, false),
        }
        if got > ENDLESS_BYTES {
            return (got, true);
        }
    }
    (got, false)
}

/// A server, the hostile port before it, and the proxy before that.
fn rig() -> (MySql, Hostile, Tidegate) {
    let server = MySql::start(&[]);
    let hostile = Hostile::before(&server, ANSWERS);
    let url = server
        .root_url()
        .replace(&server.port.to_string(), &hostile.port.to_string());
    let gate = Tidegate::of(&server)
        .backend_url(&url)
        // New clients are to need new connections, which greet.
        .set("pool.mode", "\"session\"")
        .set("backend.tls", "\"disabled\"")
        .set("backend.silence_ms_max", &SILENCE_MS.to_string())
        .set("backend.connect_ms_max", "1500")
        .start();
    (server, hostile, gate)
}

/// Another client of the proxy, on a connection that was there before; and what the proxy takes of memory meanwhile.
struct Other<'g> {
    gate: &'g Tidegate,
    client: Raw,
    before: u64,
    highest: u64,
}

impl Other<'_> {
    fn of(gate: &Tidegate) -> Other<'_> {
        let mut other = Other {
            gate,
            client: app(gate, ""),
            before: 0,
            highest: 0,
        };
        other.assert_unmoved("the login");
        other.before = gate.resident_bytes();
        other
    }

    fn assert_unmoved(&mut self, name: &str) {
        self.client.send(&query("SELECT 42"));
        let answer = self.client.answer(Instant::now() + PATIENCE);
        assert_eq!(answer, Ok(()), "after {name}");
        self.highest = self.highest.max(self.gate.resident_bytes());
    }

    fn assert_bounded(&self) {
        let grown = self.highest.saturating_sub(self.before);
        assert!(grown < 24 << 20, "{grown} bytes more");
        let log = self.gate.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn answers_that_are_none_end_only_their_own_connection() {
    let (_server, _hostile, gate) = rig();
    let mut other = Other::of(&gate);
    for (name, _) in ANSWERS {
        let start = Instant::now();
        let mut victim = app(&gate, "");
        victim.send(&query(&format!("SELECT 1 /*hostile:{name}*/")));
        let (got, ended) = read_out(&mut victim, Duration::from_secs(20));
        println!("answer '{name}': {got} bytes in {:?}", start.elapsed());
        assert!(ended, "'{name}' keeps its client waiting");
        other.assert_unmoved(name);
    }
    other.assert_bounded();
    gate.stop();
}

#[test]
fn a_client_is_told_what_became_of_its_statement() {
    let (_server, _hostile, gate) = rig();
    for name in [
        "close",
        "silence",
        "close_after_row",
        "short_error",
        "short_ok",
        "file",
        "wrong_number",
    ] {
        let mut victim = app(&gate, "");
        victim.send(&query(&format!("SELECT 1 /*hostile:{name}*/")));
        assert_eq!(victim.end(Duration::from_secs(20)), Some(2013), "'{name}'");
    }
    gate.stop();
}

/// An error packet there would be read as what is missing of the row.
#[test]
fn a_row_that_breaks_off_is_not_completed_by_an_error() {
    let (_server, _hostile, gate) = rig();
    for name in ["half_row", "close_in_row"] {
        let tls = tls::login(gate.app_port, APP_USER, APP_PASSWORD, DEPRECATE_EOF);
        let plain = Box::new(app(&gate, "").into_stream());
        let victims: [(&str, Box<dyn tls::Bytes>); 2] = [("TLS", tls), ("plain", plain)];
        for (kind, mut victim) in victims {
            let statement = query(&format!("SELECT 1 /*hostile:{name}*/"));
            victim.write_all(&statement).expect("it goes out");
            let mut got = Vec::new();
            // TLS that is not closed in order ends with an error; what came before it counts.
            let _ = victim.read_to_end(&mut got);
            assert_eq!(got, half_row(), "'{name}' on {kind}");
        }
    }
    gate.stop();
}

#[test]
fn a_file_is_asked_only_of_a_client_that_offered_one() {
    let (_server, _hostile, gate) = rig();
    let login = |capabilities| {
        let wire = Wire::login(
            gate.app_port,
            APP_USER,
            APP_PASSWORD,
            "",
            capabilities | DEPRECATE_EOF,
        );
        wire.map(Wire::into_raw)
            .map_err(|error| String::from_utf8_lossy(&error).into_owned())
            .expect("a login")
    };
    // Neither of these asked for a file to be loaded: one cannot, the other could.
    for (capabilities, sql) in [
        (
            0,
            "LOAD DATA LOCAL INFILE 'x' INTO TABLE t /*hostile:file*/",
        ),
        (LOCAL_FILES, "SELECT 1 /*hostile:file*/"),
    ] {
        let mut victim = login(capabilities);
        victim.send(&query(sql));
        let deadline = Instant::now() + PATIENCE;
        let mut first = Vec::new();
        while let Ok(Some((_, payload))) = victim.read_packet(deadline) {
            first.push(payload[0]);
        }
        assert_eq!(first, [0xFF], "{sql}");
    }
    // This one did.
    let mut asked = login(LOCAL_FILES);
    asked.send(&query(
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t /*hostile:file*/",
    ));
    let request = asked
        .read_packet(Instant::now() + PATIENCE)
        .expect("in time")
        .expect("open");
    assert_eq!(request.1[0], 0xFB);
    gate.stop();
}

#[test]
fn greetings_that_are_none_keep_new_clients_out_and_old_ones_in() {
    let (_server, hostile, gate) = rig();
    let mut other = Other::of(&gate);
    for (name, script) in GREETINGS {
        hostile.greet(Some(*script));
        let start = Instant::now();
        // The connection that another client left may be used without any greeting: take it out of the way.
        let refused: Vec<u16> = (0..3)
            .filter_map(|_| {
                Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF).err()
            })
            .map(|error| u16::from_le_bytes([error[1], error[2]]))
            .collect();
        println!("greeting '{name}': {refused:?} in {:?}", start.elapsed());
        assert_eq!(refused.len(), 3, "'{name}' lets clients in");
        assert!(
            refused.iter().all(|number| matches!(number, 1040 | 2003)),
            "'{name}': {refused:?}"
        );
        other.assert_unmoved(name);
    }
    hostile.greet(None);
    wait_until("new clients get in again", PATIENCE, || {
        Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", DEPRECATE_EOF)
            .ok()
            .map(Wire::quit)
    });
    other.assert_bounded();
    gate.stop();
}
