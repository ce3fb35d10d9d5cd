//! Sequences of events as servers send them, and what is made of them.

use super::super::decode::Query;
use super::*;

const INSERT: bool = false;

fn statement(text: &str) -> LogEvent<'_> {
    LogEvent::Query(Query {
        schema: b"d",
        text: text.as_bytes(),
        sql_mode: 0,
        utf8: true,
    })
}

fn map(id: u64, table: &str) -> LogEvent<'_> {
    LogEvent::TableMap {
        id,
        schema: b"d",
        table: table.as_bytes(),
    }
}

fn rows(id: u64, silent_cascade: bool) -> LogEvent<'static> {
    LogEvent::Rows { id, silent_cascade }
}

fn gtid(number: u64) -> LogEvent<'static> {
    LogEvent::Gtid(Some(identity(number)))
}

fn identity(number: u64) -> Gtid {
    Gtid {
        uuid: [7; 16],
        tag: None,
        number,
    }
}

/// Feeds the events; words for each transaction that ended.
fn run(transactions: &mut Transactions, events: &[LogEvent<'_>]) -> Vec<String> {
    let mut ended = Vec::new();
    for event in events {
        if let Some(e) = transactions.event(event).unwrap() {
            ended.push(words(&e));
        }
    }
    ended
}

fn words(ended: &Ended) -> String {
    let number = ended
        .gtid
        .as_ref()
        .map_or("-".into(), |g| g.number.to_string());
    let mut touch = ended.touch.clone();
    touch.rows.sort();
    touch.cascades.sort();
    let list = |keys: &[TableKey]| {
        keys.iter()
            .map(TableKey::table)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut text = format!("{number}:{}", list(&touch.rows));
    for (name, keys) in [
        ("cascades", &touch.cascades),
        ("defines", &touch.definitions),
    ] {
        if !keys.is_empty() {
            text += &format!(" {name} {}", list(keys));
        }
    }
    if touch.everything {
        text += " everything";
    }
    if touch.grants {
        text += " grants";
    }
    text
}

#[test]
fn row_transactions_touch_the_tables_with_rows() {
    let mut t = Transactions::default();
    let events = [
        gtid(1),
        statement("BEGIN"),
        map(1, "c"),
        map(2, "p"),
        map(3, "unchanged"),
        rows(1, INSERT),
        rows(2, true),
        rows(2, false),
        LogEvent::Xid,
        gtid(2),
        statement("BEGIN"),
        map(1, "c"),
        rows(1, INSERT),
        statement("SAVEPOINT `a`"),
        LogEvent::Harmless,
        statement("COMMIT"),
    ];
    assert_eq!(run(&mut t, &events), ["1:c,p cascades p", "2:c"]);
    assert!(!t.is_open());
}

#[test]
fn a_table_number_is_what_its_last_map_says() {
    let mut t = Transactions::default();
    let events = [
        gtid(1),
        statement("BEGIN"),
        map(1, "a"),
        rows(1, INSERT),
        map(1, "b"),
        rows(1, INSERT),
        LogEvent::Xid,
        gtid(2),
        statement("BEGIN"),
        rows(9, INSERT),
        LogEvent::Xid,
    ];
    assert_eq!(run(&mut t, &events), ["1:a,b", "2: everything grants"]);
}

#[test]
fn definitions_stand_alone_or_inside() {
    let mut t = Transactions::default();
    let events = [
        gtid(1),
        statement("truncate c"),
        gtid(2),
        statement("BEGIN"),
        statement("CREATE TABLE `ct` (\n  `id` int NOT NULL\n) START TRANSACTION"),
        map(4, "ct"),
        rows(4, INSERT),
        LogEvent::Xid,
        gtid(3),
        statement("BEGIN"),
        statement("insert into c values (f())"),
        LogEvent::Xid,
        gtid(4),
        statement("drop user u"),
        statement("flush tables"),
    ];
    assert_eq!(
        run(&mut t, &events),
        [
            "1: defines c",
            "2:ct defines ct",
            "3: everything grants",
            "4: grants",
            "-:"
        ]
    );
}

#[test]
fn what_is_not_understood_touches_everything() {
    let mut t = Transactions::default();
    let events = [
        gtid(1),
        LogEvent::Opaque,
        gtid(2),
        statement("BEGIN"),
        map(1, "a"),
        rows(1, INSERT),
        LogEvent::Opaque,
        LogEvent::Xid,
        // Ends without an end.
        gtid(3),
        statement("BEGIN"),
        map(1, "a"),
        rows(1, INSERT),
        LogEvent::Gtid(None),
        statement("BEGIN"),
        LogEvent::Xid,
    ];
    assert_eq!(
        run(&mut t, &events),
        ["1: everything grants", "2:a everything grants", "3:a", "-:"]
    );
    assert_eq!(
        t.event(&LogEvent::FormatDescription {
            at_startup: true,
            checksum: true
        }),
        Err(Broken::Restarted)
    );
    assert_eq!(t.event(&LogEvent::Incident), Err(Broken::Incident));
}

#[test]
fn system_tables_are_privileges() {
    let mut t = Transactions::default();
    let events = [
        gtid(1),
        statement("BEGIN"),
        LogEvent::TableMap {
            id: 1,
            schema: b"mysql",
            table: b"user",
        },
        rows(1, true),
        LogEvent::Xid,
    ];
    assert_eq!(run(&mut t, &events), ["1:user cascades user grants"]);
}

#[test]
fn xa_branches_count_when_they_commit() {
    let mut t = Transactions::default();
    let branch = |id: &'static str, table: &'static str, one_phase| {
        [
            statement(id),
            map(1, table),
            rows(1, INSERT),
            statement("XA END X'31',X'',1"),
            LogEvent::XaPrepare { one_phase },
        ]
    };
    let mut events = vec![gtid(1)];
    events.extend(branch("XA START X'31',X'',1", "a", false));
    events.push(gtid(2));
    events.extend(branch("XA START X'32',X'',1", "b", false));
    events.extend([gtid(3), statement("XA COMMIT X'31',X'',1")]);
    events.extend([gtid(4), statement("XA ROLLBACK X'32',X'',1")]);
    events.extend([gtid(5), statement("XA COMMIT X'32',X'',1")]);
    events.push(gtid(6));
    events.extend(branch("XA START X'33',X'',1", "c", true));
    assert_eq!(
        run(&mut t, &events),
        ["1:", "2:", "3:a", "4:", "5: everything grants", "6:c"]
    );
}

#[test]
fn memory_is_bounded() {
    let mut t = Transactions::default();
    let names: Vec<String> = (0..2 * TABLES_MAX).map(|n| format!("t{n}")).collect();
    run(&mut t, &[gtid(1), statement("BEGIN")]);
    for (id, name) in names.iter().enumerate() {
        run(&mut t, &[map(id as u64, name), rows(id as u64, INSERT)]);
    }
    assert!(t.names.len() <= NAMES_MAX && t.tables.len() <= TABLES_MAX);
    let ended = t.event(&LogEvent::Xid).unwrap().unwrap();
    assert!(ended.touch.everything);
    let ids: Vec<String> = (0..2 * PREPARED_MAX).map(|n| format!("'{n}'")).collect();
    for id in &ids {
        let start = format!("XA START {id}");
        run(
            &mut t,
            &[statement(&start), LogEvent::XaPrepare { one_phase: false }],
        );
    }
    assert!(t.prepared.len() <= PREPARED_MAX);
    let commit = format!("XA COMMIT {}", ids.last().unwrap());
    assert_eq!(run(&mut t, &[statement(&commit)]), ["-: everything grants"]);
}
