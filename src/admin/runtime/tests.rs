//! Changes of the state alone: whole or not at all, shown, saved and undone.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config::load::overlay;

fn rows(rows: &[&[&str]]) -> Vec<Row> {
    let row = |row: &&[&str]| row.iter().map(|value| (*value).into()).collect();
    rows.iter().map(row).collect()
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn runtime(folder: &Path) -> (Arc<Runtime>, Arc<AtomicU64>, Config) {
    let config = Config {
        data_dir: folder.to_owned(),
        ..Config::default()
    };
    let taken = Arc::new(AtomicU64::new(0));
    let seen = taken.clone();
    let takes: Takes = Box::new(move |config| {
        seen.store(config.analytics.slow_query_ms, Ordering::Relaxed);
    });
    let runtime = Runtime::new(&config, &config, Arc::default(), takes);
    (runtime, taken, config)
}

#[test]
fn a_change_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, _, _) = runtime(folder.path());
    let insert = |columns_: &[&str], values: &[&[&str]]| {
        runtime.change(
            Target::Rules,
            Action::Insert,
            &columns(columns_),
            &rows(values),
        )
    };
    assert_eq!(
        insert(&["name", "block"], &[&["a", "x"], &["b", "y"]]),
        Ok(2)
    );
    let why = insert(&["name", "block"], &[&["c", "x"], &["A", "y"]]).unwrap_err();
    assert_eq!(why.number(), 1062);
    assert_eq!(runtime.rules.now().all.len(), 2);
    let update = |name: &str, value: &str| {
        let rows = rows(&[&[name, value]]);
        runtime.change(Target::Rules, Action::Update, &columns(&["block"]), &rows)
    };
    assert_eq!(update("a", "z"), Ok(1));
    assert_eq!(update("a", "z"), Ok(0));
    assert_eq!(update("nobody", "z"), Ok(0));
    assert_eq!(
        runtime.change(Target::Rules, Action::Delete, &[], &rows(&[&["b"]])),
        Ok(1)
    );
    assert_eq!(runtime.rules.now().all.len(), 1);
}

#[test]
fn what_is_saved_is_read_again_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, taken, config) = runtime(folder.path());
    let odd = "\"\\''é #\n[[x]]";
    let password = format!("s3cret{odd}");
    let insert = |target, names: &[&str], values: &[&str]| {
        runtime.change(target, Action::Insert, &columns(names), &rows(&[values]))
    };
    insert(Target::Rules, &["name", "block", "log"], &["a", odd, "1"]).unwrap();
    insert(Target::Users, &["name", "password"], &["ann", &password]).unwrap();
    let set = |value: &str| {
        let rows = rows(&[&["analytics.slow_query_ms", value]]);
        runtime.change(
            Target::Settings,
            Action::Update,
            &columns(&["value"]),
            &rows,
        )
    };
    assert_eq!(set("5"), Ok(1));
    assert_eq!(taken.load(Ordering::Relaxed), 5);
    assert_eq!(runtime.change_rows().len(), 3);
    assert!(!format!("{:?} {:?}", runtime.change_rows(), runtime.user_rows()).contains("s3cret"));
    runtime.save().unwrap();
    assert!(
        runtime
            .change_rows()
            .iter()
            .all(|row| row[5] == Value::Int(1))
    );
    let path = folder.path().join(RUNTIME_FILE);
    let read = overlay(&config, &path).unwrap().unwrap();
    assert_eq!(read, runtime.config());
    assert_eq!(
        (
            read.rules[0].block.as_str(),
            read.users[0].password.reveal()
        ),
        (odd, password.as_str())
    );
    set("7").unwrap();
    runtime.discard().unwrap();
    assert_eq!(runtime.config(), read);
    assert_eq!(taken.load(Ordering::Relaxed), 5);
    runtime.reset().unwrap();
    assert_eq!(runtime.config(), config);
    runtime.save().unwrap();
    assert!(!path.exists());
    assert!(overlay(&config, &path).unwrap().is_none());
}

#[test]
fn a_file_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, _, _) = runtime(&folder.path().join("file"));
    std::fs::write(folder.path().join("file"), "").unwrap();
    let rows = rows(&[&["analytics.slow_query_ms", "5"]]);
    runtime
        .change(
            Target::Settings,
            Action::Update,
            &columns(&["value"]),
            &rows,
        )
        .unwrap();
    assert_eq!(runtime.save().unwrap_err().number(), 1026);
    assert_eq!(runtime.change_rows()[0][5], Value::Int(0));
}
