//! Both ends of the layer against each other, peers that number packets in their own way, and peers that lie.

use super::*;
use crate::protocol::packet::{PAYLOAD_BYTES_MAX, header, write_packet};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd(3)];

fn pair(algorithm: Algorithm) -> (Compressed, Compressed) {
    let (left, right) = duplex(1 << 16);
    let layer = |pipe, role| Compressed::new(Stream::Pipe(pipe), algorithm, role, &[]);
    (layer(left, Role::Client), layer(right, Role::Server))
}

/// A layer whose peer is played by the test.
fn alone(algorithm: Algorithm, role: Role) -> (Compressed, DuplexStream) {
    let (ours, theirs) = duplex(1 << 20);
    (
        Compressed::new(Stream::Pipe(ours), algorithm, role, &[]),
        theirs,
    )
}

/// A compressed packet as a peer sends it, with whatever it claims.
fn outer(number: u8, claimed: usize, body: &[u8]) -> Vec<u8> {
    let [l0, l1, l2, ..] = (body.len() as u32).to_le_bytes();
    let [p0, p1, p2, ..] = (claimed as u32).to_le_bytes();
    [&[l0, l1, l2, number, p0, p1, p2], body].concat()
}

fn packed(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let mut room = vec![0; plain.len() + 64];
    let length = compress(algorithm, plain, &mut room).unwrap();
    room.truncate(length);
    room
}

fn inner(mut sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_packet(&mut out, &mut sequence, payload);
    out
}

/// What the layer makes of bytes of a peer that then hangs up.
async fn reads(algorithm: Algorithm, role: Role, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (mut layer, mut peer) = alone(algorithm, role);
    let (bytes, mut read) = (bytes.to_vec(), Vec::new());
    let sent = tokio::spawn(async move {
        let _ = peer.write_all(&bytes).await;
    });
    let mut block = [0; 1000];
    loop {
        match layer.read(&mut block).await? {
            0 => break,
            some => read.extend_from_slice(&block[..some]),
        }
    }
    sent.await.unwrap();
    Ok(read)
}

fn numbers_of(mut bytes: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    while let Some((length, number)) = header(bytes) {
        numbers.push(number);
        bytes = &bytes[4 + length..];
    }
    numbers
}

#[tokio::test]
async fn what_one_end_writes_the_other_reads() {
    for algorithm in BOTH {
        let (mut client, mut server) = pair(algorithm);
        for length in [
            0, 1, 45, 46, 49, 50, 1_000, 65_532, 65_536, 70_000, 3_000_000,
        ] {
            let payload: Vec<u8> = (0..length)
                .map(|n: u32| (n.wrapping_mul(n) / 7 % 251) as u8)
                .collect();
            let sent = inner(0, &payload);
            let (write, mut got) = (sent.clone(), vec![0; sent.len()]);
            let sending = async {
                client.write_all(&write).await.unwrap();
                client.flush().await.unwrap();
            };
            let (_, read) = tokio::join!(sending, server.read_exact(&mut got));
            read.unwrap();
            assert!(got == sent, "{algorithm:?} {length}");
            assert!(server.is_drained(), "{algorithm:?} {length}");
            // And an answer.
            server.write_all(&inner(1, b"ok")).await.unwrap();
            server.flush().await.unwrap();
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"\x02\0\0\x01ok");
            assert!(client.is_drained());
        }
    }
}

#[tokio::test]
async fn short_packets_stay_as_they_are_and_long_ones_shrink() {
    for algorithm in BOTH {
        let (mut layer, mut peer) = alone(algorithm, Role::Client);
        layer.write_all(&inner(0, &[b'x'; 40])).await.unwrap();
        layer.flush().await.unwrap();
        let mut got = vec![0; 7 + 44];
        peer.read_exact(&mut got).await.unwrap();
        assert_eq!(got, outer(0, 0, &inner(0, &[b'x'; 40])));
        layer.write_all(&inner(0, &[b'x'; 5_000])).await.unwrap();
        layer.flush().await.unwrap();
        let mut head = [0; 7];
        peer.read_exact(&mut head).await.unwrap();
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        assert!(length < 200, "{length}");
        assert_eq!(&head[3..], &[0, 0x8c, 0x13, 0], "the command begins anew");
    }
}

#[tokio::test]
async fn what_was_read_ahead_is_not_lost() {
    let command = outer(0, 0, &inner(0, b"\x03SELECT 1"));
    let (ours, _theirs) = duplex(64);
    let mut layer = Compressed::new(Stream::Pipe(ours), Algorithm::Zlib, Role::Server, &command);
    let mut got = [0; 13];
    layer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\x09\0\0\0\x03SELECT 1");
}

#[tokio::test]
async fn answers_are_numbered_as_on_a_plain_stream() {
    // A server sets its inner numbers to the outer one whenever it has sent something.
    let (mut layer, mut peer) = alone(Algorithm::Zlib, Role::Client);
    layer.write_all(&inner(0, b"\x03a;b")).await.unwrap();
    layer.flush().await.unwrap();
    let first = [inner(1, b"one"), inner(2, b"two"), inner(3, b"three")].concat();
    let second = [inner(2, b"four"), inner(3, b"five")].concat();
    let answer = [outer(1, 0, &first), outer(2, 0, &second)].concat();
    peer.write_all(&answer).await.unwrap();
    let mut got = vec![0; first.len() + second.len()];
    layer.read_exact(&mut got).await.unwrap();
    assert_eq!(numbers_of(&got), [1, 2, 3, 4, 5]);
    // What comes unasked begins with 0.
    peer.write_all(&outer(0, 0, &inner(7, b"\xffbye")))
        .await
        .unwrap();
    let mut got = [0; 8];
    layer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\x04\0\0\0\xffbye");
}

#[tokio::test]
async fn a_file_goes_on_with_the_numbers_of_the_answer() {
    // From a client that numbers its packets by the outer ones.
    let (mut layer, mut peer) = alone(Algorithm::Zlib, Role::Server);
    peer.write_all(&outer(0, 0, &inner(0, b"\x03LOAD")))
        .await
        .unwrap();
    let mut got = [0; 9];
    layer.read_exact(&mut got).await.unwrap();
    let asked = [inner(1, b"ok"), inner(2, b"ok"), inner(3, b"\xfbname")].concat();
    layer.write_all(&asked).await.unwrap();
    layer.flush().await.unwrap();
    let mut sent = vec![0; 7 + asked.len()];
    peer.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[3], 1);
    let file = [inner(2, b"1,2\n"), inner(3, b"3,4\n"), inner(4, b"")].concat();
    peer.write_all(&outer(2, 0, &file)).await.unwrap();
    let mut got = vec![0; file.len()];
    layer.read_exact(&mut got).await.unwrap();
    assert_eq!(numbers_of(&got), [4, 5, 6]);
    layer.write_all(&inner(7, b"\0done")).await.unwrap();
    layer.flush().await.unwrap();
    let mut sent = [0; 7 + 9];
    peer.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[3], 3);
    // The next command is one, and has its own numbers.
    peer.write_all(&outer(0, 0, &inner(0, b"\x0e")))
        .await
        .unwrap();
    let mut got = [0; 5];
    layer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\x01\0\0\0\x0e");
}

#[tokio::test]
async fn a_file_that_we_send_is_no_command() {
    let (mut layer, mut peer) = alone(Algorithm::Zlib, Role::Client);
    layer.write_all(&inner(0, b"\x03LOAD")).await.unwrap();
    layer.flush().await.unwrap();
    peer.write_all(&outer(1, 0, &inner(1, b"\xfbname")))
        .await
        .unwrap();
    let mut got = [0; 9];
    layer.read_exact(&mut got).await.unwrap();
    let file = [inner(2, b"1,2\n"), inner(3, b"")].concat();
    layer.write_all(&file).await.unwrap();
    layer.flush().await.unwrap();
    layer.write_all(&inner(0, b"\x0e")).await.unwrap();
    layer.flush().await.unwrap();
    let mut sent = vec![0; 7 + 9 + 7 + file.len() + 7 + 5];
    peer.read_exact(&mut sent).await.unwrap();
    assert_eq!((sent[3], sent[16 + 3], sent[sent.len() - 9]), (0, 2, 0));
}

#[tokio::test]
async fn commands_without_an_answer_begin_anew_each() {
    let (mut layer, mut peer) = alone(Algorithm::Zlib, Role::Client);
    let closes = [inner(0, b"\x19\x01\0\0\0"), inner(0, b"\x19\x02\0\0\0")].concat();
    layer.write_all(&closes).await.unwrap();
    layer.flush().await.unwrap();
    let mut sent = vec![0; 2 * (7 + 9)];
    peer.read_exact(&mut sent).await.unwrap();
    let expected = [outer(0, 0, &closes[..9]), outer(0, 0, &closes[9..])].concat();
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn an_error_that_nobody_asked_for_begins_anew() {
    let (mut layer, mut peer) = alone(Algorithm::Zlib, Role::Server);
    peer.write_all(&outer(0, 0, &inner(0, b"\x0e")))
        .await
        .unwrap();
    layer.read_exact(&mut [0; 5]).await.unwrap();
    layer.write_all(&inner(1, b"\0ok")).await.unwrap();
    layer.flush().await.unwrap();
    layer.write_all(&inner(0, b"\xffbye")).await.unwrap();
    layer.flush().await.unwrap();
    let mut sent = [0; 7 + 7 + 7 + 8];
    peer.read_exact(&mut sent).await.unwrap();
    assert_eq!((sent[3], sent[14 + 3]), (1, 0));
}

#[tokio::test]
async fn a_packet_of_16_mib_is_one_exchange() {
    let payload = vec![7; PAYLOAD_BYTES_MAX + 10];
    let sent = inner(0, &payload);
    let (mut client, mut server) = pair(Algorithm::Zstd(3));
    let mut got = vec![0; sent.len()];
    let sending = async {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
    };
    let (_, read) = tokio::join!(sending, server.read_exact(&mut got));
    read.unwrap();
    assert!(got == sent);
    assert_eq!(numbers_of(&got), [0, 1]);
}

#[tokio::test]
async fn packets_of_every_size_are_read_in_every_step() {
    let plain: Vec<u8> = (0..40_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
    let plain = inner(0, &plain);
    for algorithm in BOTH {
        for step in [1, 3, 7, 4_096, 65_536] {
            let (mut layer, mut peer) = alone(algorithm, Role::Server);
            let bytes = outer(0, plain.len(), &packed(algorithm, &plain));
            let sending = tokio::spawn(async move {
                for piece in bytes.chunks(step * 5) {
                    peer.write_all(piece).await.unwrap();
                }
                peer
            });
            let mut got = Vec::new();
            let mut block = vec![0; step];
            while got.len() < plain.len() {
                let some = layer.read(&mut block).await.unwrap();
                assert!(some > 0);
                got.extend_from_slice(&block[..some]);
            }
            assert!(got == plain, "{algorithm:?} {step}");
            sending.await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_announced_length_is_a_limit_in_both_directions() {
    let bomb = vec![0; 10_000_000];
    for algorithm in BOTH {
        let body = packed(algorithm, &bomb);
        assert!(body.len() < 20_000, "{}", body.len());
        for claimed in [1, 60, 9_999_999, 10_000_001, PAYLOAD_BYTES_MAX] {
            let error = reads(algorithm, Role::Server, &outer(0, claimed, &body)).await;
            let error = error.expect_err("a lie");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{claimed}");
        }
        let honest = reads(algorithm, Role::Server, &outer(0, bomb.len(), &body)).await;
        assert_eq!(honest.unwrap().len(), bomb.len());
    }
}

#[tokio::test]
async fn bytes_that_are_nothing_are_refused() {
    for algorithm in BOTH {
        let body = packed(algorithm, &inner(0, &[b'x'; 500]));
        let behind = [&body[..], b"more"].concat();
        for (what, bytes) in [
            ("no body", outer(0, 10, b"")),
            ("garbage", outer(0, 10, b"garbage that is none of both")),
            ("cut off inside", outer(0, 504, &body[..body.len() - 3])),
            ("something behind", outer(0, 504, &behind)),
            ("a number that is not due", outer(3, 504, &body)),
        ] {
            let error = reads(algorithm, Role::Server, &bytes)
                .await
                .expect_err(what);
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{what}");
        }
        for cut in [1, 6, 7, 20] {
            let bytes = &outer(0, 504, &body)[..cut];
            let error = reads(algorithm, Role::Server, bytes).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
        }
        // Packets with nothing in them are passed over.
        let empty = [outer(0, 0, b""), outer(1, 504, &body)].concat();
        assert_eq!(
            reads(algorithm, Role::Server, &empty).await.unwrap().len(),
            504
        );
    }
    // A frame that wants a window of 128 MiB.
    let mut huge = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, (27 - 10) << 3];
    huge.extend([0; 40]);
    let error = reads(Algorithm::Zstd(3), Role::Server, &outer(0, 1_000, &huge)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn noise_never_panics_and_never_grows() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(36);
    for round in 0..400 {
        let algorithm = BOTH[round % 2];
        let role = [Role::Server, Role::Client][round / 2 % 2];
        let plain: Vec<u8> = (0..random.random_range(60..3_000usize))
            .map(|n| (n % 13) as u8)
            .collect();
        let mut bytes = outer(0, plain.len(), &packed(algorithm, &plain));
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        // Whatever comes of it: no panic, and not more than was announced.
        let claimed = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], 0]) as usize;
        if let Ok(read) = reads(algorithm, role, &bytes).await {
            assert!(read.len() <= claimed.max(bytes.len()));
        }
    }
}
