//! Tests of the wire format: packets and fields here, one child module for each larger part.

mod hostile;
mod login;
mod relaying;
mod results;

use super::command::{Command, Execute, QueryBody, put_query, put_query_with_attributes};
use super::packet::*;
use super::response::*;
use super::{capability, status};

const CAPS: u32 = capability::PROTOCOL_41 | capability::TRANSACTIONS | capability::SESSION_TRACK;

#[test]
fn header_needs_four_bytes() {
    assert_eq!(header(&[1, 0, 0]), None);
    assert_eq!(header(&[0xFE, 0xFF, 0xFF, 7, 9]), Some((0xFF_FFFE, 7)));
}

#[test]
fn lenenc_widths() {
    for value in [
        0,
        0xFA,
        0xFB,
        0xFFFF,
        0x1_0000,
        0xFF_FFFF,
        0x100_0000,
        u64::MAX,
    ] {
        let mut out = Vec::new();
        put_lenenc(&mut out, value);
        let mut cursor = Cursor::new(&out);
        assert_eq!(cursor.lenenc(), Some(value));
        assert!(cursor.is_empty());
        // Cut short, it answers nothing and stays where it was.
        let mut short = Cursor::new(&out[..out.len() - 1]);
        assert_eq!(short.lenenc(), None);
        assert_eq!(short.rest().len(), out.len() - 1);
    }
    assert_eq!(Cursor::new(&[0xFB]).lenenc(), None);
    assert_eq!(Cursor::new(&[0xFB]).cell(), Some(None));
    assert_eq!(Cursor::new(&[2, b'a', b'b']).cell(), Some(Some(&b"ab"[..])));
    // A length that cannot be there must not overflow anything.
    assert_eq!(
        Cursor::new(&[0xFE, 255, 255, 255, 255, 255, 255, 255, 255, 1]).lenenc_bytes(),
        None
    );
}

#[test]
fn long_payloads_are_split() {
    for (length, packets) in [
        (0, 1),
        (1, 1),
        (PAYLOAD_BYTES_MAX - 1, 1),
        (PAYLOAD_BYTES_MAX, 2),
        (PAYLOAD_BYTES_MAX + 1, 2),
    ] {
        let payload = vec![7; length];
        let (mut plain, mut in_place) = (Vec::new(), vec![0xAA]);
        let (mut sequence, mut sequence_in_place) = (255, 255);
        write_packet(&mut plain, &mut sequence, &payload);
        write_packet_with(&mut in_place, &mut sequence_in_place, |out| {
            out.extend_from_slice(&payload)
        });
        assert_eq!(plain.len(), length + packets * HEADER_BYTES);
        assert!(plain == in_place[1..], "{length}");
        assert_eq!(sequence, 255_u8.wrapping_add(packets as u8));
        assert_eq!(sequence_in_place, sequence);
        if packets == 2 {
            assert_eq!(
                header(&plain[HEADER_BYTES + PAYLOAD_BYTES_MAX..]),
                Some((length - PAYLOAD_BYTES_MAX, 0))
            );
        }
    }
}

#[tokio::test]
async fn buffer_grows_for_a_packet_and_shrinks_again() {
    let mut wire = Vec::new();
    write_packet(&mut wire, &mut 0, &vec![1; 100_000]);
    write_packet(&mut wire, &mut 1, &[2; 10]);
    let mut reader = wire.as_slice();
    let mut buffer = PacketBuffer::new(1024);
    buffer
        .fill_packet(&mut reader, 1 << 20)
        .await
        .unwrap()
        .unwrap();
    let (sequence, payload) = buffer.packet().unwrap();
    assert_eq!((sequence, payload.len()), (0, 100_000));
    assert!(buffer.capacity() > 100_000);
    buffer.consume(HEADER_BYTES + 100_000);
    buffer
        .fill_packet(&mut reader, 1 << 20)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(buffer.packet(), Some((1, &[2; 10][..])));
    buffer.shrink();
    assert_eq!(buffer.capacity(), 1024);
    assert_eq!(buffer.packet(), Some((1, &[2; 10][..])));
    buffer.consume(14);
    assert!(
        buffer
            .fill_packet(&mut reader, 1 << 20)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn buffer_refuses_what_is_too_long_and_does_not_believe_headers() {
    let mut announced = &[0xFF, 0xFF, 0xFE, 0, 1, 2, 3][..];
    let mut buffer = PacketBuffer::new(1024);
    let refused = buffer.fill_packet(&mut announced, 1000).await;
    assert!(
        matches!(refused, Err(ReadError::Protocol(_))),
        "{refused:?}"
    );
    let mut announced = &[0xFF, 0xFF, 0xFE, 0, 1, 2, 3][..];
    let mut buffer = PacketBuffer::new(1024);
    let cut = buffer.fill_packet(&mut announced, 1 << 24).await;
    assert!(matches!(cut, Err(ReadError::Io(_))), "{cut:?}");
    assert!(buffer.capacity() <= 8192);
}

#[test]
fn ok_round_trip() {
    let ok = OkPacket {
        affected_rows: 300,
        last_insert_id: 70_000,
        status: status::AUTOCOMMIT | status::SESSION_STATE_CHANGED,
        warnings: 2,
        info: b"Rows matched: 1",
        session_state: &[1, 5, 4, b't', b'e', b's', b't'],
    };
    for as_eof in [false, true] {
        let mut out = Vec::new();
        ok.write(&mut out, &mut 3, CAPS, as_eof);
        assert_eq!(header(&out), Some((out.len() - 4, 3)));
        assert_eq!(OkPacket::parse(&out[4..], CAPS), Ok(ok));
    }
    let changes: Vec<_> = SessionStateReader::new(ok.session_state).collect();
    assert_eq!(changes, [Ok(StateChange::Schema(b"test"))]);
    assert_eq!(
        SessionStateReader::new(&[1, 9, 4])
            .filter(Result::is_err)
            .count(),
        1
    );
}

#[test]
fn ok_without_text_and_without_tracking() {
    let plain = capability::PROTOCOL_41;
    let ok = OkPacket {
        status: 2,
        ..OkPacket::default()
    };
    let mut out = Vec::new();
    ok.write(&mut out, &mut 0, plain, false);
    assert_eq!(&out[4..], [0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(OkPacket::parse(&out[4..], plain), Ok(ok));
    assert_eq!(OkPacket::parse(&out[4..], CAPS), Ok(ok));
    assert!(OkPacket::parse(&[0, 0, 0, 2], plain).is_err());
    assert!(OkPacket::parse(&[], plain).is_err());
}

#[test]
fn err_with_and_without_state() {
    let error = ErrPacket::new(1045, b"28000", b"Access denied");
    let mut out = Vec::new();
    error.write(&mut out, &mut 2);
    assert_eq!(ErrPacket::parse(&out[4..]), Ok(error));
    let mut out = Vec::new();
    error.write_without_state(&mut out, &mut 0);
    assert_eq!(
        ErrPacket::parse(&out[4..]),
        Ok(ErrPacket {
            sqlstate: *b"HY000",
            ..error
        })
    );
    assert!(ErrPacket::parse(&[0xFF, 1]).is_err());
    assert_eq!(
        ErrPacket::parse(b"\xFF\x15\x04#280").unwrap().message,
        b"#280"
    );
}

#[test]
fn commands_have_their_byte() {
    for byte in 0..=255 {
        match Command::from_byte(byte) {
            Some(command) => assert_eq!(command.byte(), byte),
            None => assert!((0x22..0xFA).contains(&byte) || byte > 0xFA),
        }
    }
    assert_eq!(Command::from_byte(0x17), Some(Command::StmtExecute));
}

#[test]
fn query_attributes() {
    let caps = capability::QUERY_ATTRIBUTES;
    let mut plain = Vec::new();
    put_query(&mut plain, caps, b"SELECT 1");
    let body = QueryBody::parse(&plain[1..], caps).unwrap();
    assert_eq!(
        (body.text, body.attributes, body.prefix),
        (&b"SELECT 1"[..], 0, &[0, 1][..])
    );

    let mut named = Vec::new();
    put_query_with_attributes(
        &mut named,
        caps,
        &[(b"program_name", b"shop"), (b"route", b"/x")],
        b"SELECT 2",
    );
    let body = QueryBody::parse(&named[1..], caps).unwrap();
    assert_eq!((body.text, body.attributes), (&b"SELECT 2"[..], 2));
    let mut seen = Vec::new();
    body.for_each_attribute(|attribute| {
        seen.push((attribute.name.to_vec(), attribute.value.map(<[u8]>::to_vec)))
    });
    assert_eq!(
        seen,
        [
            (b"program_name".to_vec(), Some(b"shop".to_vec())),
            (b"route".to_vec(), Some(b"/x".to_vec()))
        ]
    );
    for cut in 1..named.len() - 8 {
        let _ = QueryBody::parse(&named[1..cut], caps); // must not panic; most are refused
    }
    assert!(QueryBody::parse(&named[1..10], caps).is_err());
    assert_eq!(QueryBody::parse(b"SELECT 3", 0).unwrap().text, b"SELECT 3");
}

/// With query attributes negotiated the count stands before the parameters, whatever the flag says.
#[test]
fn executes_count_their_parameters_without_the_flag() {
    // One parameter, a TINY of 7, with an empty name; no attribute, so no flag.
    let body = [5, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0x01, 0, 0, 7];
    let execute = Execute::parse(&body).unwrap();
    let parameters = execute.parameters(capability::QUERY_ATTRIBUTES, 1).unwrap();
    assert_eq!((parameters.count, parameters.values), (1, &[7][..]));
    // The head can be read before the types are there.
    for length in 12..=body.len() {
        let cut = Execute::parse(&body[..length]).unwrap();
        let before = cut.before_types(capability::QUERY_ATTRIBUTES, 1).unwrap();
        assert_eq!((before.count, before.bytes), (1, 11));
        assert!(before.types_follow);
    }
    let short = Execute::parse(&body[..11]).unwrap();
    assert!(short.before_types(capability::QUERY_ATTRIBUTES, 1).is_err());
    let none = short.before_types(0, 0).unwrap();
    assert_eq!((none.count, none.bytes, none.types_follow), (0, 9, false));
}

#[test]
fn execute_parameters() {
    // Statement 7, two parameters: a NULL and a LONGLONG, types on the wire.
    let body = [
        &[7, 0, 0, 0, 0, 1, 0, 0, 0, 0b01, 1, 0xFE, 0, 8, 0][..],
        &42_u64.to_le_bytes(),
    ]
    .concat();
    let execute = Execute::parse(&body).unwrap();
    assert_eq!((execute.statement_id, execute.flags), (7, 0));
    let parameters = execute.parameters(0, 2).unwrap();
    let mut seen = Vec::new();
    parameters
        .for_each(
            None,
            |_| false,
            |index, value| seen.push((index, value.value.map(<[u8]>::to_vec))),
        )
        .unwrap();
    assert_eq!(seen, [(0, None), (1, Some(42_u64.to_le_bytes().to_vec()))]);
    // Without types and without bound ones it is refused, not guessed.
    let again = [
        &[7, 0, 0, 0, 0, 1, 0, 0, 0, 0b01, 0][..],
        &42_u64.to_le_bytes(),
    ]
    .concat();
    let parameters = Execute::parse(&again).unwrap().parameters(0, 2).unwrap();
    assert!(parameters.for_each(None, |_| false, |_, _| ()).is_err());
    assert!(
        parameters
            .for_each(Some(&[0xFE, 0, 8, 0]), |_| false, |_, _| ())
            .is_ok()
    );
    assert!(Execute::parse(&body[..8]).is_err());
}
