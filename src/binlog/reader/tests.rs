//! Streams built as a server builds them, cut at every place.

use std::io::Write;

use super::super::position::Gtid;
use super::*;

/// One event with its header; `checksum` as the file has it.
fn event(kind: u8, body: &[u8], checksum: bool) -> Vec<u8> {
    let tail = if checksum { CHECKSUM_BYTES } else { 0 };
    let size = (HEADER_BYTES + body.len() + tail) as u32;
    let mut bytes = vec![1, 2, 3, 4, kind, 1, 0, 0, 0];
    bytes.extend(size.to_le_bytes());
    bytes.extend(77_u32.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend_from_slice(body);
    let sum = crc32fast::hash(&bytes).to_le_bytes();
    bytes.extend_from_slice(&sum[..tail]);
    bytes
}

/// The packets that carry an event.
fn packets(event: &[u8]) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend_from_slice(event);
    let (mut out, mut sequence) = (Vec::new(), 9);
    packet::write_packet(&mut out, &mut sequence, &payload);
    out
}

fn format_description(checksum: bool) -> Vec<u8> {
    let mut body = vec![4, 0];
    body.resize(56, 0);
    body.push(19);
    body.resize(90, 0);
    body.push(u8::from(checksum));
    event(kind::FORMAT_DESCRIPTION, &body, true)
}

fn gtid(number: u64) -> Vec<u8> {
    let mut body = vec![0];
    body.extend([7; 16]);
    body.extend(number.to_le_bytes());
    body
}

fn payload(events: &[u8], compressed: bool) -> Vec<u8> {
    let data = if compressed {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(events).unwrap();
        encoder.finish().unwrap()
    } else {
        events.to_vec()
    };
    let mut body = vec![2];
    if compressed {
        body.extend([1, 0]);
    } else {
        body.extend([3, 0xFC, 255, 0]);
    }
    body.extend([1, 3, 0xFC, 9, 9, 3, 1, 5, 0]);
    body.extend(data);
    body
}

/// What the reader makes of a stream, cut into `chunk` bytes: kind, inner, length of the kept body, whole.
fn read(stream: &[u8], chunk: usize) -> Result<Vec<(u8, bool, usize, bool)>, ReadFailure> {
    let mut reader = LogReader::new(true);
    let mut seen = Vec::new();
    for part in stream.chunks(chunk.max(1)) {
        reader.push::<ReadFailure>(part, &mut |raw| {
            let _ = raw.event();
            seen.push((raw.header.kind, raw.inner, raw.body.len(), raw.whole));
            Ok(())
        })?;
    }
    Ok(seen)
}

#[test]
fn events_come_whole_at_any_cut() {
    let mut stream = packets(&format_description(true));
    stream.extend(packets(&event(kind::GTID, &gtid(5), true)));
    stream.extend(packets(&event(kind::XID, &[0; 8], true)));
    stream.extend(packets(&event(kind::WRITE_ROWS, &[1; 100], true)));
    stream.extend(packets(&event(kind::STOP, &[], true)));
    let expected = [
        (kind::FORMAT_DESCRIPTION, false, 91, true),
        (kind::GTID, false, 25, true),
        (kind::XID, false, 8, true),
        (kind::WRITE_ROWS, false, 16, false),
        (kind::STOP, false, 0, true),
    ];
    for chunk in 1..=stream.len() {
        assert_eq!(read(&stream, chunk).unwrap(), expected, "chunk {chunk}");
    }
}

#[test]
fn the_files_head_says_whether_checksums_follow() {
    let mut stream = packets(&format_description(false));
    stream.extend(packets(&event(kind::GTID, &gtid(5), false)));
    let mut reader = LogReader::new(true);
    let mut last = None;
    reader
        .push::<ReadFailure>(&stream, &mut |raw| {
            if let LogEvent::Gtid(gtid) = raw.event() {
                last = gtid;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(
        last,
        Some(Gtid {
            uuid: [7; 16],
            tag: None,
            number: 5
        })
    );
}

#[test]
fn compressed_transactions_are_unpacked_in_place() {
    let mut inner = event(kind::QUERY, &[0; 40], false);
    inner.extend(event(kind::WRITE_ROWS, &vec![7; 300_000], false));
    inner.extend(event(kind::XID, &[0; 8], false));
    for compressed in [true, false] {
        let mut stream = packets(&event(
            kind::TRANSACTION_PAYLOAD,
            &payload(&inner, compressed),
            true,
        ));
        stream.extend(packets(&event(kind::GTID, &gtid(6), true)));
        for chunk in [1, 7, 100, 5000, stream.len()] {
            let seen = read(&stream, chunk).unwrap();
            let kinds: Vec<_> = seen.iter().map(|s| (s.0, s.1)).collect();
            assert_eq!(
                kinds,
                [
                    (kind::QUERY, true),
                    (kind::WRITE_ROWS, true),
                    (kind::XID, true),
                    (kind::TRANSACTION_PAYLOAD, false),
                    (kind::GTID, false)
                ],
                "chunk {chunk}"
            );
            assert_eq!(seen[1].2, 16);
        }
    }
}

#[test]
fn a_broken_payload_is_an_error_not_an_empty_transaction() {
    let inner = event(kind::XID, &[0; 8], false);
    let good = payload(&inner, true);
    let mut broken = good.clone();
    let magic = broken.len() - good.len() + 12;
    broken[magic] ^= 0xFF;
    let mut unknown = good.clone();
    unknown[2] = 7;
    let cut = payload(&inner[..20], true);
    let nested = payload(&event(kind::TRANSACTION_PAYLOAD, &good, false), false);
    for body in [broken, unknown, cut, nested, vec![], vec![1; 200]] {
        let stream = packets(&event(kind::TRANSACTION_PAYLOAD, &body, true));
        assert!(read(&stream, 1000).is_err(), "{body:?}");
    }
}

#[test]
fn a_damaged_event_is_an_error() {
    let whole = event(kind::GTID, &gtid(5), true);
    for at in [HEADER_BYTES + 3, whole.len() - 1, 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        let result = read(&packets(&damaged), 10);
        assert_eq!(
            result,
            Err(ReadFailure::Malformed("event checksum")),
            "{at}"
        );
    }
}

#[test]
fn events_longer_than_a_packet_are_joined_and_not_kept() {
    let size = packet::PAYLOAD_BYTES_MAX * 2 + 1000;
    for body in [
        size,
        packet::PAYLOAD_BYTES_MAX - 1 - HEADER_BYTES - CHECKSUM_BYTES,
    ] {
        let mut stream = packets(&event(kind::WRITE_ROWS, &vec![1; body], true));
        stream.extend(packets(&event(kind::XID, &[0; 8], true)));
        let mut reader = LogReader::new(true);
        let mut kinds = Vec::new();
        for part in stream.chunks(65_536) {
            reader
                .push::<ReadFailure>(part, &mut |raw| {
                    kinds.push(raw.header.kind);
                    Ok(())
                })
                .unwrap();
            assert!(reader.outer.bytes.capacity() <= WINDOW_BYTES);
        }
        assert_eq!(kinds, [kind::WRITE_ROWS, kind::XID]);
    }
}

#[test]
fn the_end_of_the_stream_is_told() {
    let (mut error, mut sequence) = (Vec::new(), 3);
    packet::write_packet(
        &mut error,
        &mut sequence,
        b"\xff\xd4\x04#HY000could not find next log",
    );
    for chunk in [1, 5, 100] {
        let Err(ReadFailure::Server(payload)) = read(&error, chunk) else {
            panic!("no error");
        };
        assert!(payload.ends_with(b"next log"));
    }
    assert_eq!(
        read(&[5, 0, 0, 1, 0xFE, 0, 0, 2, 0], 3),
        Err(ReadFailure::End)
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(0_u8..=255, 0..400), chunk in 1_usize..50) {
        let _ = read(&bytes, chunk);
        let mut framed = Vec::new();
        let mut sequence = 0;
        let mut body = vec![0];
        body.extend(&bytes);
        packet::write_packet(&mut framed, &mut sequence, &body);
        let _ = read(&framed, chunk);
        let payload = packets(&event(kind::TRANSACTION_PAYLOAD, &bytes, true));
        let _ = read(&payload, chunk);
    }
}
