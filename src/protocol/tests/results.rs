//! Column definitions and result sets of our own, read back by ourselves and by an independent implementation.

use crate::protocol::column::*;
use crate::protocol::relay::{Event, Expect, ResponseMachine};
use crate::protocol::response::OkPacket;
use crate::protocol::{capability, status};
use mysql_common::io::ParseBuf;
use mysql_common::packets::Column;
use mysql_common::proto::{Binary, MyDeserialize, Text};
use mysql_common::row::RowDeserializer;
use mysql_common::value::{ServerSide, Value};
use proptest::prelude::*;
use std::sync::Arc;

const OLD: u32 = capability::PROTOCOL_41;
const NEW: u32 = OLD | capability::DEPRECATE_EOF;

fn columns() -> [ColumnDefinition<'static>; 3] {
    [
        ColumnDefinition::text(b"Variable_name", 64),
        ColumnDefinition::integer(b"Value"),
        ColumnDefinition::text(b"x", 1),
    ]
}

fn write(caps: u32, is_binary: bool, rows: &[[Cell<'_>; 3]]) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), 1);
    let mut writer = ResultSetWriter::start(&mut out, &mut sequence, caps, is_binary, &columns());
    rows.iter().for_each(|row| writer.row(row));
    writer.finish(status::AUTOCOMMIT, 2);
    out
}

#[test]
fn our_result_sets_are_read_by_the_machine_and_the_oracle() {
    let rows = [
        [Cell::Text(b"port"), Cell::Integer(-6033), Cell::Null],
        [Cell::Null, Cell::Null, Cell::Text(b"")],
        [
            Cell::Text(&[b'y'; 70_000]),
            Cell::Integer(i64::MAX),
            Cell::Text(b"z"),
        ],
    ];
    for caps in [OLD, NEW] {
        for is_binary in [false, true] {
            let wire = write(caps, is_binary, &rows);
            let Ok(Some(Event::Done(summary))) = ResponseMachine::new(Expect::Query, caps)
                .feed(&wire)
                .map(|fed| fed.event)
            else {
                panic!("not one response")
            };
            assert_eq!(
                (
                    summary.rows,
                    summary.columns,
                    summary.status,
                    summary.warnings
                ),
                (3, 3, status::AUTOCOMMIT, 2)
            );
            let parts = BufferedResult::parse(&wire, caps).unwrap();
            assert_eq!((parts.row_count, parts.columns.len()), (3, 3));
            let theirs: Arc<[Column]> = parts
                .columns
                .iter()
                .map(|range| Column::deserialize((), &mut ParseBuf(&wire[range.clone()])).unwrap())
                .collect();
            assert_eq!(theirs[0].name_str(), "Variable_name");
            let first = packets(&wire[parts.rows.clone()]).next().unwrap().1;
            let mut row = ParseBuf(&wire[parts.rows.clone()][first]);
            let row = match is_binary {
                true => mysql_common::row::Row::from(
                    RowDeserializer::<ServerSide, Binary>::deserialize(theirs, &mut row).unwrap(),
                ),
                false => RowDeserializer::<(), Text>::deserialize(theirs, &mut row)
                    .unwrap()
                    .into(),
            };
            let number = if is_binary {
                Value::Int(-6033)
            } else {
                Value::Bytes(b"-6033".to_vec())
            };
            assert_eq!(
                row.unwrap(),
                [Value::Bytes(b"port".to_vec()), number, Value::NULL]
            );
        }
    }
}

#[test]
fn only_whole_single_results_are_taken_apart() {
    let rows = [[Cell::Text(b"a"), Cell::Integer(1), Cell::Null]];
    for caps in [OLD, NEW] {
        let wire = write(caps, false, &rows);
        for cut in 0..wire.len() {
            assert!(BufferedResult::parse(&wire[..cut], caps).is_err(), "{cut}");
        }
        let twice = [&wire[..], &wire[..]].concat();
        assert!(BufferedResult::parse(&twice, caps).is_err());
        let mut ok = Vec::new();
        OkPacket::default().write(&mut ok, &mut 1, caps, false);
        assert!(BufferedResult::parse(&ok, caps).is_err());
    }
}

#[test]
fn parts_of_two_answers_become_one() {
    let wire = write(
        OLD,
        false,
        &[[Cell::Text(b"a"), Cell::Integer(1), Cell::Null]],
    );
    let parts = BufferedResult::parse(&wire, OLD).unwrap();
    let mut rows = wire[parts.rows].to_vec();
    let mut sequence = 250;
    renumber(&mut rows, &mut sequence);
    assert_eq!(sequence, 251);
    assert_eq!(
        packets(&rows).map(|(number, _)| number).collect::<Vec<_>>(),
        [250]
    );
}

proptest! {
    #[test]
    fn definitions_round_trip_and_agree_with_the_oracle(
        texts in prop::array::uniform5("[a-z_$ä]{0,300}"),
        collation in 1..400_u16,
        length in any::<u32>(),
        flags in any::<u16>(),
        decimals in any::<u8>(),
    ) {
        let [schema, table, org_table, name, org_name] = texts.each_ref().map(|text| text.as_bytes());
        let ours = ColumnDefinition {
            schema, table, org_table, name, org_name, collation, length, flags, decimals,
            type_code: column_type::NEWDECIMAL,
        };
        let mut out = Vec::new();
        ours.write(&mut out);
        prop_assert_eq!(ColumnDefinition::parse(&out), Ok(ours));
        let theirs = Column::deserialize((), &mut ParseBuf(&out)).unwrap();
        prop_assert_eq!(theirs.schema_ref(), schema);
        prop_assert_eq!(theirs.org_name_ref(), org_name);
        prop_assert_eq!((theirs.character_set(), theirs.column_length(), theirs.decimals()), (collation, length, decimals));
        for cut in 0..out.len() - 2 {
            prop_assert!(ColumnDefinition::parse(&out[..cut]).is_err());
        }
    }

    #[test]
    fn arbitrary_buffers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), caps in any::<u32>(), small in 0..12_u8) {
        let mut framed = bytes.clone();
        // Small lengths in the place of headers reach further than noise.
        framed.iter_mut().skip(1).step_by(4).for_each(|byte| *byte = 0);
        framed.iter_mut().step_by(4).for_each(|byte| *byte %= small.max(1));
        for mut wire in [bytes, framed] {
            let _ = BufferedResult::parse(&wire, caps);
            let _ = ColumnDefinition::parse(&wire);
            renumber(&mut wire, &mut 0);
            prop_assert!(packets(&wire).all(|(_, payload)| payload.end <= wire.len()));
        }
    }
}
