//! Arbitrary and mangled bytes into every parser: nothing may panic, and what one reader accepts an independent one reads alike.

mod mangled;

use crate::protocol::auth::{ClientAuth, Known, Nonce, RsaKey, Secret, ServerAuth, ServerStep};
use crate::protocol::command::{Execute, QueryBody, put_query_with_attributes};
use crate::protocol::handshake::*;
use crate::protocol::packet::*;
use crate::protocol::relay::PrepareOk;
use crate::protocol::response::*;
use crate::protocol::{capability, status};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets as oracle;
use mysql_common::proto::{MyDeserialize, MySerialize};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static KEY: LazyLock<Arc<RsaKey>> =
    LazyLock::new(|| Arc::new(RsaKey::generate().expect("a key pair")));

fn parse_everything(bytes: &[u8], caps: u32) {
    let _ = Greeting::parse(bytes);
    let _ = SslRequest::parse(bytes);
    let _ = HandshakeResponse::parse(bytes);
    let _ = ChangeUser::parse(bytes, caps);
    let _ = AuthSwitch::parse(bytes);
    let _ = AuthMoreData::parse(bytes);
    let _ = OkPacket::parse(bytes, caps);
    let _ = EofPacket::parse(bytes);
    let _ = ErrPacket::parse(bytes);
    let _ = PrepareOk::parse(bytes);
    assert!(SessionStateReader::new(bytes).take(10_000).count() < 10_000);
    if let Ok(query) = QueryBody::parse(bytes, caps) {
        query.for_each_attribute(|_| ());
        assert_eq!(query.prefix.len() + query.text.len(), bytes.len());
    }
    if let Ok(execute) = Execute::parse(bytes) {
        for declared in [0, 1, 3, 65_535] {
            if let Ok(before) = execute.before_types(caps, declared) {
                assert!(before.bytes <= bytes.len());
            }
            if let Ok(parameters) = execute.parameters(caps, declared) {
                let _ = parameters.for_each(Some(&[8; 64]), |index| index == 1, |_, _| ());
            }
        }
    }
}

/// A valid packet of one of the kinds, to be mangled.
fn valid_packet(kind: usize, text: &[u8], caps: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let nonce = Nonce::from_slice(&[b'n'; 20]).unwrap();
    match kind {
        0 => Greeting {
            version: text.to_vec(),
            connection_id: 7,
            capabilities: caps,
            collation: 45,
            status: 2,
            nonce,
            plugin: text.to_vec(),
            mariadb_capabilities: 0,
        }
        .write(&mut out),
        1 => HandshakeResponse {
            capabilities: caps | capability::PROTOCOL_41,
            user: text.to_vec(),
            auth_response: text.to_vec(),
            schema: text.to_vec(),
            plugin: text.to_vec(),
            attributes: vec![(text.to_vec(), text.to_vec())],
            ..HandshakeResponse::default()
        }
        .write(&mut out),
        2 => ChangeUser {
            user: text.to_vec(),
            auth_response: text.to_vec(),
            ..ChangeUser::default()
        }
        .write(&mut out, caps),
        3 => put_query_with_attributes(&mut out, caps, &[(text, text), (b"", text)], text),
        4 => AuthSwitch {
            plugin: text,
            data: nonce.as_bytes(),
        }
        .write(&mut out),
        _ => {
            let state = [
                &[1, text.len() as u8 % 100 + 1, text.len() as u8 % 100][..],
                &text[..text.len() % 100],
            ]
            .concat();
            let ok = OkPacket {
                info: text,
                session_state: &state,
                affected_rows: 1 << 40,
                ..OkPacket::default()
            };
            ok.write(&mut out, &mut 0, caps, false);
            out.drain(..HEADER_BYTES);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), caps in any::<u32>()) {
        parse_everything(&bytes, caps);
        // With a first byte that some parser takes, noise reaches further.
        for first in [0, 1, 7, 10, 0xFE, 0xFF] {
            let mut led = bytes.clone();
            led.insert(0, first);
            parse_everything(&led, caps);
        }
    }

    #[test]
    fn mangled_packets_never_panic(
        kind in 0..6_usize,
        text in prop::collection::vec(any::<u8>(), 0..90),
        caps in any::<u32>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        read_caps in any::<u32>(),
    ) {
        let mut packet = valid_packet(kind, &text, caps);
        for (place, byte) in changes {
            let place = place.index(packet.len());
            packet[place] = byte;
        }
        parse_everything(&packet, caps);
        parse_everything(&packet, read_caps);
        packet.truncate(cut.index(packet.len() + 1));
        parse_everything(&packet, caps);
    }

    #[test]
    fn logins_never_panic(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        plugin in prop::sample::select(vec![&b"caching_sha2_password"[..], b"mysql_native_password", b"sha256_password", b"", b"x"]),
        caps in any::<u32>(),
        secure in any::<bool>(),
    ) {
        let nonce = Nonce::from_slice(&[b'n'; 20]).unwrap();
        let mut server = ServerAuth::new(nonce, secure, KEY.clone());
        let mut step = Some(server.start(caps, plugin, &packets[0], Known::default()));
        for packet in &packets[1..] {
            let Some(ServerStep::Send(_)) = step else { break };
            step = server.on_packet(packet, Known::default()).ok();
        }
        // Without a verifier nobody gets in without the caller having checked a password.
        let is_accepted = matches!(step, Some(ServerStep::Accepted { .. }));
        prop_assert!(!is_accepted);
        let mut client = ClientAuth::new(Secret::of_password(b"pw"), secure, None, plugin, nonce);
        prop_assert!(client.first_response().is_ok());
        for packet in &packets {
            for first in [0xFE, 1] {
                let mut led = packet.clone();
                led.insert(0, first);
                if client.on_packet(&led).is_err() {
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn ok_and_err_agree_with_the_oracle(
        affected_rows in any::<u64>(),
        last_insert_id in any::<u64>(),
        warnings in any::<u16>(),
        info in "[a-z ]{0,300}",
        schema in "[a-z]{0,200}",
        message in "[a-zA-Z '#]{0,300}",
        code in 1000..5000_u16,
    ) {
        let caps = capability::PROTOCOL_41 | capability::SESSION_TRACK;
        let their_caps = CapabilityFlags::from_bits_truncate(caps);
        let mut state = vec![1];
        let mut inner = Vec::new();
        put_lenenc_bytes(&mut inner, schema.as_bytes());
        put_lenenc_bytes(&mut state, &inner);
        let ok = OkPacket {
            affected_rows, last_insert_id, warnings,
            status: status::AUTOCOMMIT | status::SESSION_STATE_CHANGED,
            info: info.as_bytes(),
            session_state: &state,
        };
        let mut out = Vec::new();
        ok.write(&mut out, &mut 0, caps, false);
        prop_assert_eq!(OkPacket::parse(&out[4..], caps), Ok(ok));
        let body = &out[4..];
        let theirs = oracle::OkPacketDeserializer::<oracle::CommonOkPacket>::deserialize(their_caps, &mut ParseBuf(body)).unwrap();
        let theirs = theirs.into_inner();
        prop_assert_eq!((theirs.affected_rows(), theirs.warnings()), (affected_rows, warnings));
        prop_assert_eq!(theirs.last_insert_id(), Some(last_insert_id).filter(|&id| id != 0));
        prop_assert_eq!(theirs.info_ref().unwrap_or_default(), info.as_bytes());
        prop_assert_eq!(theirs.session_state_info_ref(), Some(&state[..]));

        let error = ErrPacket::new(code, b"42S02", message.as_bytes());
        let mut out = Vec::new();
        error.write(&mut out, &mut 0);
        let theirs = oracle::ErrPacket::deserialize(their_caps, &mut ParseBuf(&out[4..])).unwrap();
        prop_assert_eq!((theirs.server_error().error_code(), theirs.is_error()), (code, true));
        prop_assert_eq!(theirs.server_error().message_ref(), message.as_bytes());
        let mut again = Vec::new();
        theirs.serialize(&mut again);
        prop_assert_eq!(ErrPacket::parse(&again), Ok(error));
    }

    #[test]
    fn any_packets_through_the_read_buffer(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..12),
        pieces in prop::collection::vec(1..3000_usize, 1..20),
    ) {
        let mut wire = Vec::new();
        let mut sequence = 250;
        packets.iter().for_each(|packet| write_packet(&mut wire, &mut sequence, packet));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            let mut buffer = PacketBuffer::new(1024);
            let mut read = Vec::new();
            let mut at = 0;
            for piece in pieces.iter().cycle() {
                let end = (at + piece).min(wire.len());
                tokio::io::AsyncWriteExt::write_all(&mut far, &wire[at..end]).await.unwrap();
                at = end;
                // Reads until it would have to wait, which drops the read in the middle: no byte may be lost by that.

                while let Ok(Ok(Some(()))) = poll_once(buffer.fill_packet(&mut near, 1 << 20)).await {
                    let (number, payload) = buffer.packet().unwrap();
                    read.push((number, payload.to_vec()));
                    let length = payload.len();
                    buffer.consume(HEADER_BYTES + length);
                }
                if at == wire.len() {
                    break;
                }
            }
            read
        });
        let expected: Vec<_> = packets.into_iter().enumerate().map(|(i, packet)| (250_u8.wrapping_add(i as u8), packet)).collect();
        prop_assert_eq!(read, expected);
    }
}

/// Polls once; what is not ready then is dropped, as a select would do.
async fn poll_once<F: Future>(future: F) -> Result<F::Output, ()> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Ok(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(Err(())),
    })
    .await
}
