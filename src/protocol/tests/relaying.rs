//! The end-of-response machine: generated responses over random chunk splits, the corners of the protocol, and arbitrary bytes.

use crate::protocol::packet::{
    PAYLOAD_BYTES_MAX, header, put_lenenc, put_lenenc_bytes, write_packet,
};
use crate::protocol::relay::*;
use crate::protocol::response::*;
use crate::protocol::{ProtocolError, capability, status};
use proptest::prelude::*;

const OLD: u32 =
    capability::PROTOCOL_41 | capability::SESSION_TRACK | capability::CAPABILITY_EXTENSION;
const NEW: u32 = OLD | capability::DEPRECATE_EOF;

/// One result of a generated response.
#[derive(Debug, Clone)]
enum Part {
    Ok {
        affected: u64,
        info: usize,
        state: usize,
    },
    Rows {
        columns: u16,
        rows: Vec<(u8, usize)>,
    },
    Progress,
}

/// Writes a response and says what the machine has to find in it.
struct Writer {
    caps: u32,
    out: Vec<u8>,
    sequence: u8,
    expected: Summary,
}

impl Writer {
    fn new(caps: u32) -> Self {
        Self {
            caps,
            out: Vec::new(),
            sequence: 1,
            expected: Summary::default(),
        }
    }

    fn packet(&mut self, payload: &[u8]) {
        write_packet(&mut self.out, &mut self.sequence, payload);
    }

    fn status(&mut self, bits: u16) {
        self.expected.status = bits;
        self.expected.status_any |= bits;
    }

    fn ok(&mut self, affected: u64, info: usize, state: usize, more: bool, as_eof: bool) {
        let mut session_state = Vec::new();
        if state > 0 {
            session_state.push(1);
            let mut name = Vec::new();
            put_lenenc_bytes(&mut name, &vec![b'n'; state]);
            put_lenenc_bytes(&mut session_state, &name);
        }
        let mut bits = if more { status::MORE_RESULTS } else { 0 } | status::AUTOCOMMIT;
        let ok = OkPacket {
            affected_rows: affected,
            last_insert_id: affected,
            status: bits,
            warnings: 3,
            info: &vec![b'i'; info],
            session_state: &session_state,
        };
        ok.write(&mut self.out, &mut self.sequence, self.caps, as_eof);
        if state > 0 {
            bits |= status::SESSION_STATE_CHANGED;
            self.expected
                .session_state
                .get_or_insert_default()
                .extend_from_slice(&session_state);
        }
        self.status(bits);
        self.expected.warnings = 3;
        self.expected.affected_rows += affected;
        if affected > 0 {
            self.expected.last_insert_id = affected;
        }
    }

    fn end_of_rows(&mut self, more: bool, bits: u16) {
        if self.caps & capability::DEPRECATE_EOF != 0 {
            return self.ok(0, 0, 0, more, true);
        }
        let bits = bits | if more { status::MORE_RESULTS } else { 0 };
        EofPacket {
            warnings: 1,
            status: bits,
        }
        .write(&mut self.out, &mut self.sequence);
        self.expected.warnings = 1;
        self.status(bits);
    }

    fn columns(&mut self, columns: u16) {
        for _ in 0..columns {
            self.packet(
                b"\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00",
            );
        }
    }

    fn rows(&mut self, columns: u16, rows: &[(u8, usize)], more: bool) {
        let mut count = Vec::new();
        put_lenenc(&mut count, u64::from(columns));
        self.packet(&count);
        self.columns(columns);
        if self.caps & capability::DEPRECATE_EOF == 0 {
            EofPacket {
                warnings: 0,
                status: status::NO_INDEX_USED,
            }
            .write(&mut self.out, &mut self.sequence);
            self.status(status::NO_INDEX_USED);
        }
        for &(first, length) in rows {
            let mut row = vec![0x55; length.max(if first == 0xFE { 9 } else { 1 })];
            // A row shorter than 16 MiB cannot start with 0xFE where that means the end.
            row[0] = match first {
                0xFE if self.caps & capability::DEPRECATE_EOF != 0 => 0xFD,
                first => first,
            };
            self.packet(&row);
        }
        self.expected.rows += rows.len() as u64;
        self.expected.result_sets += 1;
        self.expected.columns = u32::from(columns);
        self.end_of_rows(more, 0);
    }

    fn parts(mut self, parts: &[Part], error: bool) -> (Vec<u8>, Summary) {
        for (index, part) in parts.iter().enumerate() {
            let more = error
                || parts[index + 1..]
                    .iter()
                    .any(|part| !matches!(part, Part::Progress));
            match part {
                Part::Ok {
                    affected,
                    info,
                    state,
                } => self.ok(*affected, *info, *state, more, false),
                Part::Rows { columns, rows } => self.rows(*columns, rows, more),
                Part::Progress if more => {
                    self.packet(b"\xFF\xFF\xFF\x01\x01\x02\x00\x00\x00\x04sort")
                }
                Part::Progress => (),
            }
        }
        if error {
            ErrPacket::new(1317, b"70100", b"Query execution was interrupted")
                .write(&mut self.out, &mut self.sequence);
            let message = b"Query execution was interrupted".to_vec();
            self.expected.error = Some(ErrInfo {
                code: 1317,
                sqlstate: *b"70100",
                message,
            });
        }
        self.expected.bytes = self.out.len() as u64;
        (self.out, self.expected)
    }
}

/// Feeds in chunks of the given lengths (repeated); checks that nothing is consumed past the end.
fn run(
    machine: &mut ResponseMachine,
    wire: &[u8],
    chunks: &[usize],
) -> Result<Summary, ProtocolError> {
    let mut at = 0;
    for &chunk in chunks.iter().cycle() {
        // A few bytes of "the next response" are in sight, as they could be on a socket.
        let end = (at + chunk.max(1)).min(wire.len());
        let fed = machine.feed(&wire[at..end])?;
        at += fed.consumed;
        match fed.event {
            Some(Event::Done(summary)) => {
                assert_eq!(at, wire.len(), "ended too early");
                return Ok(summary);
            }
            Some(event) => panic!("{event:?}"),
            None => assert_eq!(at, end, "did not consume all"),
        }
        assert!(at < wire.len(), "the end was not seen: {machine:?}");
    }
    unreachable!()
}

fn check(expect: Expect, caps: u32, wire: &[u8], expected: &Summary) {
    for chunks in [&[usize::MAX / 2][..], &[1], &[5], &[4, 1], &[3, 7, 1]] {
        let mut machine = ResponseMachine::new(expect, caps);
        assert_eq!(
            run(&mut machine, wire, chunks).as_ref(),
            Ok(expected),
            "chunks {chunks:?}"
        );
        assert!(machine.is_done());
        assert!(machine.feed(&[1, 0, 0, 0, 0]).is_err());
    }
    // Bytes behind the end are left alone.
    let mut longer = wire.to_vec();
    longer.extend_from_slice(&[1, 0, 0, 1, 0]);
    let fed = ResponseMachine::new(expect, caps).feed(&longer).unwrap();
    assert_eq!(fed.consumed, wire.len());
}

fn part() -> impl Strategy<Value = Part> {
    let first = prop_oneof![Just(0_u8), Just(0xFB), Just(0xFC), Just(0xFE), 1..=0xFA_u8];
    let rows = prop::collection::vec((first, 1..400_usize), 0..60);
    prop_oneof![
        (
            0..1000_u64,
            0..300_usize,
            prop_oneof![Just(0_usize), 1..400_usize]
        )
            .prop_map(|(affected, info, state)| Part::Ok {
                affected,
                info,
                state
            }),
        (1..20_u16, rows).prop_map(|(columns, rows)| Part::Rows { columns, rows }),
        Just(Part::Progress),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_response_over_any_chunks(
        parts in prop::collection::vec(part(), 1..6),
        ends_in_error in any::<bool>(),
        deprecate in any::<bool>(),
        execute in any::<bool>(),
        chunks in prop::collection::vec(prop_oneof![1..16_usize, 1..700_usize], 1..20),
    ) {
        let caps = if deprecate { NEW } else { OLD };
        let only_progress = parts.iter().all(|part| matches!(part, Part::Progress));
        let (wire, expected) = Writer::new(caps).parts(&parts, ends_in_error || only_progress);
        let expect = if execute { Expect::Execute } else { Expect::Query };
        let mut machine = ResponseMachine::new(expect, caps);
        for chunks in [&chunks[..], &[usize::MAX / 2]] {
            machine.reset(expect, caps);
            let summary = run(&mut machine, &wire, chunks);
            prop_assert_eq!(summary.as_ref(), Ok(&expected));
            machine.recycle(summary.unwrap());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        lengths in prop::collection::vec(0..40_u8, 0..60),
        caps in any::<u32>(),
        chunk in 1..64_usize,
        kind in 0..8_usize,
    ) {
        const KINDS: [Expect; 8] = [
            Expect::Query, Expect::Execute, Expect::Prepare, Expect::Fetch,
            Expect::FieldList, Expect::Simple, Expect::Statistics, Expect::Binlog,
        ];
        // Once as noise, once as packets with right headers and noise inside, which gets further.
        let mut framed = Vec::new();
        let (mut sequence, mut rest) = (0, &bytes[..]);
        for length in lengths {
            let (head, tail) = rest.split_at(rest.len().min(usize::from(length)));
            write_packet(&mut framed, &mut sequence, head);
            rest = tail;
        }
        for wire in [&bytes, &framed] {
            let mut machine = ResponseMachine::new(KINDS[kind], caps);
            'stream: for chunk in wire.chunks(chunk) {
                let mut at = 0;
                while at < chunk.len() {
                    match machine.feed(&chunk[at..]) {
                        Ok(fed) => {
                            prop_assert!(at + fed.consumed <= chunk.len());
                            at += fed.consumed;
                            match fed.event {
                                Some(Event::Done(_)) => machine.reset(KINDS[kind], caps),
                                Some(Event::LocalInfile { .. }) => machine.infile_sent(),
                                None => prop_assert_eq!(at, chunk.len()),
                            }
                        }
                        Err(error) => {
                            prop_assert_eq!(machine.feed(&[0]).unwrap_err(), error);
                            break 'stream;
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_cursor_ends_after_the_columns() {
    for caps in [OLD, NEW] {
        let mut writer = Writer::new(caps);
        writer.packet(&[2]);
        writer.columns(2);
        let bits = status::CURSOR_EXISTS | status::AUTOCOMMIT;
        match caps {
            OLD => EofPacket {
                warnings: 0,
                status: bits,
            }
            .write(&mut writer.out, &mut writer.sequence),
            _ => OkPacket {
                status: bits,
                ..OkPacket::default()
            }
            .write(&mut writer.out, &mut writer.sequence, caps, true),
        }
        let expected = Summary {
            status: bits,
            status_any: bits,
            result_sets: 1,
            columns: 2,
            has_cursor: true,
            bytes: writer.out.len() as u64,
            ..Summary::default()
        };
        check(Expect::Execute, caps, &writer.out, &expected);
        // A failing statement with a cursor has no EOF between its columns and its error.
        let mut writer = Writer::new(caps);
        writer.packet(&[1]);
        writer.columns(1);
        let (wire, mut expected) = writer.parts(&[], true);
        (expected.columns, expected.result_sets) = (1, 1);
        check(Expect::Execute, caps, &wire, &expected);
    }
}

/// With EOF packets only the one before the rows says that an OK follows; without them the OK that ends the rows says it.
#[test]
fn out_parameters_are_followed_by_an_ok() {
    let bits = status::PS_OUT_PARAMS | status::MORE_RESULTS;
    for caps in [OLD, NEW] {
        let mut writer = Writer::new(caps);
        writer.packet(&[1]);
        writer.columns(1);
        let eof = |status, warnings| EofPacket { warnings, status };
        if caps == OLD {
            eof(bits, 0).write(&mut writer.out, &mut writer.sequence);
        }
        writer.packet(&[0, 0, 5, 0, 0, 0]);
        match caps {
            OLD => eof(0, 0).write(&mut writer.out, &mut writer.sequence),
            _ => OkPacket {
                status: bits,
                ..OkPacket::default()
            }
            .write(&mut writer.out, &mut writer.sequence, caps, true),
        }
        writer.ok(0, 0, 0, false, false);
        let expected = Summary {
            status_any: bits | status::AUTOCOMMIT,
            result_sets: 1,
            columns: 1,
            rows: 1,
            has_out_params: true,
            bytes: writer.out.len() as u64,
            ..writer.expected
        };
        check(Expect::Execute, caps, &writer.out, &expected);
    }
}

#[test]
fn prepare_in_all_shapes() {
    for caps in [OLD, NEW] {
        for (params, columns) in [(0_u16, 0_u16), (2, 0), (0, 3), (2, 3), (1, 1)] {
            let mut writer = Writer::new(caps);
            let [p0, p1] = params.to_le_bytes();
            let [c0, c1] = columns.to_le_bytes();
            writer.packet(&[0, 7, 0, 0, 0, c0, c1, p0, p1, 0, 1, 0]);
            for count in [params, columns] {
                writer.columns(count);
                if count > 0 && caps == OLD {
                    EofPacket::default().write(&mut writer.out, &mut writer.sequence);
                }
            }
            let expected = Summary {
                prepared: Some(PrepareOk {
                    statement_id: 7,
                    columns,
                    params,
                    warnings: 1,
                }),
                warnings: 1,
                columns: u32::from(columns),
                bytes: writer.out.len() as u64,
                ..Summary::default()
            };
            check(Expect::Prepare, caps, &writer.out, &expected);
        }
        let (wire, expected) = Writer::new(caps).parts(&[], true);
        check(Expect::Prepare, caps, &wire, &expected);
    }
}

#[test]
fn one_packet_answers() {
    for caps in [OLD, NEW] {
        let (wire, expected) = Writer::new(caps).parts(
            &[Part::Ok {
                affected: 0,
                info: 0,
                state: 5,
            }],
            false,
        );
        check(Expect::Simple, caps, &wire, &expected);
        // SET_OPTION answers with EOF, or with an OK that looks like one.
        let mut writer = Writer::new(caps);
        writer.end_of_rows(false, status::AUTOCOMMIT);
        writer.expected.bytes = writer.out.len() as u64;
        check(Expect::Simple, caps, &writer.out, &writer.expected);
        // Rows at once, for FETCH; definitions at once, for FIELD_LIST.
        let mut writer = Writer::new(caps);
        writer.packet(&[0, 0, 1]);
        writer.packet(&[0, 0, 2]);
        writer.end_of_rows(false, status::LAST_ROW_SENT);
        (writer.expected.bytes, writer.expected.rows) = (writer.out.len() as u64, 2);
        check(Expect::Fetch, caps, &writer.out, &writer.expected);
        let mut writer = Writer::new(caps);
        writer.columns(3);
        writer.end_of_rows(false, 0);
        (writer.expected.bytes, writer.expected.columns) = (writer.out.len() as u64, 3);
        check(Expect::FieldList, caps, &writer.out, &writer.expected);
    }
    let mut wire = Vec::new();
    write_packet(&mut wire, &mut 1, b"Uptime: 1  Threads: 2");
    check(
        Expect::Statistics,
        NEW,
        &wire,
        &Summary {
            bytes: wire.len() as u64,
            ..Summary::default()
        },
    );
    // A leftover "more results" of an earlier statement does not keep a ping waiting.
    let mut wire = Vec::new();
    OkPacket {
        status: status::MORE_RESULTS,
        ..OkPacket::default()
    }
    .write(&mut wire, &mut 1, NEW, false);
    assert!(matches!(
        ResponseMachine::new(Expect::Simple, NEW).feed(&wire),
        Ok(Fed {
            event: Some(Event::Done(_)),
            ..
        })
    ));
}

#[test]
fn local_infile_waits_for_the_client() {
    let mut wire = Vec::new();
    write_packet(&mut wire, &mut 1, b"\xFB/tmp/data.csv");
    let mut machine = ResponseMachine::new(Expect::Query, NEW);
    let fed = machine.feed(&wire).unwrap();
    assert_eq!(
        (fed.consumed, fed.event),
        (
            wire.len(),
            Some(Event::LocalInfile {
                name: b"/tmp/data.csv".to_vec()
            })
        )
    );
    machine.infile_sent();
    let mut wire = Vec::new();
    OkPacket {
        affected_rows: 9,
        ..OkPacket::default()
    }
    .write(&mut wire, &mut 200, NEW, false);
    let Ok(Fed {
        event: Some(Event::Done(summary)),
        ..
    }) = machine.feed(&wire)
    else {
        panic!()
    };
    assert!(summary.had_infile && summary.affected_rows == 9);
    // A server that speaks while the client sends its file is out of step.
    let mut machine = ResponseMachine::new(Expect::Query, NEW);
    let mut twice = Vec::new();
    write_packet(&mut twice, &mut 1, b"\xFBx");
    machine.feed(&twice).unwrap();
    assert!(machine.feed(&wire).is_err());
}

#[test]
fn rows_of_16_mib_and_more() {
    for caps in [OLD, NEW] {
        for length in [
            PAYLOAD_BYTES_MAX - 1,
            PAYLOAD_BYTES_MAX,
            PAYLOAD_BYTES_MAX + 1,
            2 * PAYLOAD_BYTES_MAX,
        ] {
            let mut writer = Writer::new(caps);
            // 0xFE starts a text of 16 MiB and more; what follows in the continuation may look like anything.
            let mut row = vec![0xFE; length];
            if length < PAYLOAD_BYTES_MAX && caps == NEW {
                row[0] = 0xFD;
            }
            writer.packet(&[1]);
            writer.columns(1);
            if caps == OLD {
                EofPacket::default().write(&mut writer.out, &mut writer.sequence);
            }
            writer.packet(&row);
            writer.packet(&[0xFB]);
            writer.end_of_rows(false, 0);
            (
                writer.expected.rows,
                writer.expected.columns,
                writer.expected.result_sets,
            ) = (2, 1, 1);
            writer.expected.bytes = writer.out.len() as u64;
            for chunk in [usize::MAX / 2, 65_536, 16_777_219, 16_777_215] {
                let mut machine = ResponseMachine::new(Expect::Query, caps);
                assert_eq!(
                    run(&mut machine, &writer.out, &[chunk]).as_ref(),
                    Ok(&writer.expected),
                    "{length} {chunk}"
                );
            }
        }
    }
}

#[test]
fn what_is_kept_is_bounded() {
    // Session state beyond the bound is reported as lost, whole or in pieces.
    for (state, lost) in [(60_000, false), (70_000, true), (3_000_000, true)] {
        let (wire, expected) = Writer::new(NEW).parts(
            &[Part::Ok {
                affected: 1,
                info: 10,
                state,
            }],
            false,
        );
        for chunk in [usize::MAX / 2, 1000] {
            let mut machine = ResponseMachine::new(Expect::Query, NEW);
            let summary = run(&mut machine, &wire, &[chunk]).unwrap();
            assert_eq!(
                (summary.session_state_lost, summary.affected_rows),
                (lost, 1)
            );
            if !lost {
                assert_eq!(summary, expected);
            }
        }
    }
    let mut wire = Vec::new();
    ErrPacket::new(1064, b"42000", &[b'x'; 100_000]).write(&mut wire, &mut 1);
    for chunk in [usize::MAX / 2, 1000] {
        let summary = run(
            &mut ResponseMachine::new(Expect::Query, NEW),
            &wire,
            &[chunk],
        )
        .unwrap();
        assert_eq!(
            summary.error.map(|error| (error.code, error.message.len())),
            Some((1064, 512))
        );
    }
}

#[test]
fn nonsense_is_an_error() {
    let fails = |expect, payload: &[u8]| {
        let mut wire = Vec::new();
        write_packet(&mut wire, &mut 1, payload);
        let whole = ResponseMachine::new(expect, NEW).feed(&wire).unwrap_err();
        let mut machine = ResponseMachine::new(expect, NEW);
        let pieces = wire.chunks(1).find_map(|byte| machine.feed(byte).err());
        assert_eq!(pieces, Some(whole));
        whole
    };
    assert_eq!(
        fails(Expect::Query, b""),
        ProtocolError::Malformed("empty packet of a response")
    );
    assert_eq!(
        fails(Expect::Query, &[0xFE, 0, 0, 0, 0, 1, 0, 0, 0]),
        ProtocolError::Malformed("column count")
    );
    assert_eq!(
        fails(Expect::Query, &[0xFE, 0, 0]),
        ProtocolError::Malformed("column count")
    );
    assert_eq!(
        fails(Expect::Query, &[0, 1]),
        ProtocolError::Malformed("OK packet")
    );
    assert_eq!(
        fails(Expect::Prepare, &[0, 1]),
        ProtocolError::Malformed("answer to PREPARE")
    );
    assert_eq!(
        fails(Expect::Simple, &[5]),
        ProtocolError::Unexpected("a response")
    );
    assert_eq!(
        fails(Expect::Query, &[0xFF, 1]),
        ProtocolError::Malformed("ERR packet")
    );
    let mut name = vec![0xFB];
    name.resize(5000, b'a');
    assert_eq!(fails(Expect::Query, &name).label(), "too_large");

    // A packet out of order is noticed, in the hot loop too.
    let (mut wire, _) = Writer::new(NEW).parts(
        &[Part::Rows {
            columns: 1,
            rows: vec![(1, 5); 10],
        }],
        false,
    );
    let at = wire.len() - 9;
    let last_row = wire[..at].len() - 2 - 9; // its header
    assert_eq!(header(&wire[last_row..]).map(|(length, _)| length), Some(5));
    wire[last_row + 3] ^= 1;
    assert_eq!(
        ResponseMachine::new(Expect::Query, NEW)
            .feed(&wire)
            .unwrap_err()
            .label(),
        "sequence"
    );
}

#[test]
fn an_error_with_the_number_of_progress_reports_is_an_error_to_who_asked_for_none() {
    let caps = OLD & !capability::CAPABILITY_EXTENSION;
    let mut wire = Vec::new();
    ErrPacket::new(
        PROGRESS_ERROR_CODE,
        b"HY000",
        b"Unhandled user-defined exception condition",
    )
    .write(&mut wire, &mut 1);
    let mut machine = ResponseMachine::new(Expect::Query, caps);
    let summary = run(&mut machine, &wire, &[usize::MAX / 2]).expect("it ends");
    assert_eq!(summary.error.map(|error| error.code), Some(65_535));
}

#[test]
fn a_result_may_have_more_columns_than_a_table() {
    const COLUMNS: u64 = 68_001;
    let (mut wire, mut sequence) = (Vec::new(), 1);
    let mut count = Vec::new();
    put_lenenc(&mut count, COLUMNS);
    write_packet(&mut wire, &mut sequence, &count);
    for _ in 0..COLUMNS {
        write_packet(
            &mut wire,
            &mut sequence,
            b"\x03def\0\0\0\x01a\0\x0c\x3f\0\0\0\0\0\x06\x80\0\0\0\0",
        );
    }
    write_packet(&mut wire, &mut sequence, &[0xFB; COLUMNS as usize]);
    let end = OkPacket::default();
    end.write(&mut wire, &mut sequence, NEW, true);
    let mut machine = ResponseMachine::new(Expect::Query, NEW);
    let summary = run(&mut machine, &wire, &[usize::MAX / 2]).expect("it ends");
    assert_eq!((u64::from(summary.columns), summary.rows), (COLUMNS, 1));
}
