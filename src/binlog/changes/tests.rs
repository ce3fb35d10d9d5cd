//! The change log against a model that remembers everything.

use proptest::prelude::*;

use super::*;

fn key(name: &str) -> TableKey {
    TableKey::new("d", name)
}

fn at(offset: u64) -> Position {
    Position::new(1, offset)
}

fn rows(names: &[&str]) -> Touch {
    Touch {
        rows: names.iter().map(|n| key(n)).collect(),
        ..Touch::default()
    }
}

fn reader(name: &str) -> Watched {
    Watched {
        key: key(name),
        ancestor: false,
    }
}

fn ancestor(name: &str) -> Watched {
    Watched {
        key: key(name),
        ancestor: true,
    }
}

fn started() -> ChangeLog {
    let mut log = ChangeLog::new(100);
    log.begin(at(100));
    log
}

#[test]
fn what_is_not_known_counts_as_changed_at_the_start() {
    let log = started();
    assert_eq!(log.last_change(&key("t")).position, at(100));
    assert_eq!(log.first_changed(&[reader("t")], at(100)), None);
    assert!(log.first_changed(&[reader("t")], at(99)).is_some());
}

#[test]
fn rows_of_a_table_change_that_table_only() {
    let mut log = started();
    let gtid: Gtid = "3d27f50a-e4ae-11f1-845f-02fc00000001:7".parse().unwrap();
    log.apply(at(200), Some(&gtid), &rows(&["a"]));
    assert_eq!(log.last_change(&key("a")).gtid, Some(gtid));
    assert_eq!(log.last_change(&key("a")).position, at(200));
    assert_eq!(log.last_change(&key("b")).position, at(100));
    assert_eq!(log.last_definition(&key("a")), at(100));
    assert_eq!(log.processed(), at(200));
    assert_eq!(
        log.first_changed(&[reader("b"), reader("a")], at(150))
            .unwrap()
            .0,
        &key("a")
    );
    // Its children are not concerned: whatever cascaded was logged.
    assert_eq!(log.first_changed(&[ancestor("a")], at(150)), None);
}

#[test]
fn unlogged_cascades_and_definitions_reach_the_children() {
    let mut log = started();
    let mut touch = rows(&["a"]);
    touch.cascades.push(key("a"));
    log.apply(at(200), None, &touch);
    assert!(log.first_changed(&[ancestor("a")], at(150)).is_some());
    let touch = Touch {
        definitions: vec![key("b")],
        ..Touch::default()
    };
    log.apply(at(300), None, &touch);
    assert!(log.first_changed(&[ancestor("b")], at(250)).is_some());
    assert_eq!(log.last_definition(&key("b")), at(300));
    log.apply(at(400), None, &rows(&["b"]));
    assert_eq!(log.last_watched(&ancestor("b")).position, at(300));
    assert_eq!(log.last_watched(&reader("b")).position, at(400));
}

#[test]
fn schemas_and_everything_reach_all_their_tables() {
    let mut log = started();
    let touch = Touch {
        schemas: vec!["d".into()],
        ..Touch::default()
    };
    log.apply(at(200), None, &touch);
    assert_eq!(log.last_change(&key("t")).position, at(200));
    assert_eq!(log.last_definition(&key("t")), at(200));
    assert_eq!(log.last_watched(&ancestor("t")).position, at(200));
    assert_eq!(log.last_change(&TableKey::new("e", "t")).position, at(100));
    let grants = log.grant_epoch();
    log.apply(at(300), None, &Touch::all());
    assert_eq!(log.last_change(&TableKey::new("e", "t")).position, at(300));
    assert_eq!(log.last_watched(&ancestor("x")).position, at(300));
    assert_eq!(log.grant_epoch(), grants + 1);
    assert_eq!(log.tables(), 0);
}

#[test]
fn a_new_epoch_voids_what_was_known() {
    let mut log = started();
    log.apply(at(200), None, &rows(&["a"]));
    log.saw_visible(log.epoch(), at(200));
    let (epoch, grants) = (log.epoch(), log.grant_epoch());
    log.begin(Position::new(1, 4));
    assert_eq!((log.epoch(), log.grant_epoch()), (epoch + 1, grants + 1));
    assert_eq!(log.processed(), Position::new(1, 4));
    assert_eq!(log.visible(), Position::default());
    log.saw_visible(epoch, at(500));
    assert_eq!(log.visible(), Position::default());
}

#[derive(Clone, Debug)]
enum Step {
    Rows(u8),
    Cascade(u8),
    Definition(u8),
    Schema,
    Everything,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0_u8..40).prop_map(Step::Rows),
        3 => (0_u8..40).prop_map(Step::Cascade),
        3 => (0_u8..40).prop_map(Step::Definition),
        1 => Just(Step::Schema),
        1 => Just(Step::Everything),
    ]
}

proptest! {
    /// However little fits, no table is ever said to have changed earlier than it did; with room for all it is exact.
    #[test]
    fn a_small_log_forgets_only_towards_changed(steps in proptest::collection::vec(step(), 0..120), small: bool) {
        let mut log = ChangeLog::new(if small { 16 } else { 1000 });
        log.begin(at(1));
        let mut last = [1_u64; 40];
        let mut cascade = [1_u64; 40];
        let mut defined = [1_u64; 40];
        for (i, step) in steps.iter().enumerate() {
            let end = 10 + i as u64;
            let mut touch = Touch::default();
            match step {
                Step::Rows(n) => {
                    touch.rows.push(key(&n.to_string()));
                    last[*n as usize] = end;
                }
                Step::Cascade(n) => {
                    touch.rows.push(key(&n.to_string()));
                    touch.cascades.push(key(&n.to_string()));
                    last[*n as usize] = end;
                    cascade[*n as usize] = end;
                }
                Step::Definition(n) => {
                    touch.definitions.push(key(&n.to_string()));
                    last[*n as usize] = end;
                    cascade[*n as usize] = end;
                    defined[*n as usize] = end;
                }
                Step::Schema | Step::Everything => {
                    touch.everything = matches!(step, Step::Everything);
                    touch.schemas.push("d".into());
                    last.fill(end);
                    cascade.fill(end);
                    defined.fill(end);
                }
            }
            log.apply(at(end), None, &touch);
            let room = if small { 16 } else { 1000 };
            prop_assert!(log.tables() <= room);
            for n in 0..40 {
                let name = n.to_string();
                let said = [
                    (log.last_change(&key(&name)).position.offset, last[n]),
                    (log.last_watched(&ancestor(&name)).position.offset, cascade[n]),
                    (log.last_definition(&key(&name)).offset, defined[n]),
                ];
                for (said, truth) in said {
                    prop_assert!(said >= truth, "table {n}: {said} < {truth}");
                    prop_assert!(small || said == truth, "table {n}: {said} != {truth}");
                }
            }
        }
    }
}
