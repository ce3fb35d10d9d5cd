//! A real file: written, read again, pruned, damaged, of a newer version, of somebody else, and where none can be.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

const FINISH_MAX: Duration = Duration::from_secs(20);

/// Latencies as bytes that are put behind each other, which is enough to see what was added up.
fn merge(left: &[u8], right: &[u8]) -> Vec<u8> {
    [left, right].concat()
}

fn settings(folder: &TempDir) -> Settings {
    Settings {
        path: folder.path().join("data/history.db"),
        keep_days: 3,
        bytes_max: 1 << 30,
        merge,
    }
}

fn row(digest: u128, executions: u64) -> Row {
    Row {
        digest,
        text: format!("SELECT {digest}").into(),
        kind: "select".into(),
        user: "ann".into(),
        app: "web".into(),
        schema: "shop".into(),
        sums: Sums {
            executions,
            total_us: 10 * executions,
            by_admin_us: 7,
            ..Sums::default()
        },
        latency: vec![1, 2],
    }
}

fn minute(minute: u64, rows: Vec<Row>) -> Minute {
    Minute { minute, rows }
}

const ALL: Wanted = Wanted {
    from: 0,
    to: u64::MAX,
    rows_max: 1_000_000,
    wait_max: FINISH_MAX,
};

fn read(store: &Store, wanted: Wanted) -> Vec<(u64, Row)> {
    let mut rows = Vec::new();
    let read = store.read(wanted, |minute, row| rows.push((minute, row.clone())));
    read.unwrap();
    rows
}

/// Waits until the writer has taken in everything and is in the state.
#[track_caller]
fn reach(store: &Store, state: State, written: u64, lost: u64) -> Status {
    let until = Instant::now() + FINISH_MAX;
    loop {
        let status = store.status();
        if (status.state, status.written, status.lost) == (state, written, lost) {
            return status;
        }
        assert!(Instant::now() < until, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_written_is_read_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(settings(&folder)).unwrap();
    reach(&store, State::On, 0, 0);
    store.write(minute(100, vec![row(1, 5), row(2, 1)]));
    store.write(minute(101, vec![row(0, 3)]));
    store.write(minute(102, vec![]));
    let status = reach(&store, State::On, 3, 0);
    assert_eq!(
        (status.minutes, status.oldest, status.newest),
        (3, Some(100), Some(102))
    );
    let mut found = read(&store, ALL);
    assert_eq!(found.len(), 3);
    assert_eq!(
        (found[0].0, found[0].1.sums.executions),
        (101, 3),
        "newest first"
    );
    assert_eq!(
        (&*found[0].1.text, &*found[0].1.kind),
        ("", ""),
        "no digest, no text"
    );
    found.sort_by_key(|(_, row)| row.digest);
    assert_eq!(found[1], (100, row(1, 5)));
    assert!(store.finish(FINISH_MAX));
    store.write(minute(103, vec![]));
    assert_eq!(store.status().lost, 1, "after the end nothing is kept");

    // Another process goes on in the same minute: rows of one key are one row.
    let store = Store::start(settings(&folder)).unwrap();
    reach(&store, State::On, 0, 0);
    store.write(minute(100, vec![row(1, 2)]));
    let status = reach(&store, State::On, 1, 0);
    assert_eq!((status.minutes, status.oldest), (3, Some(100)));
    let wanted = Wanted {
        from: 100,
        to: 100,
        rows_max: 10,
        ..ALL
    };
    let found = read(&store, wanted);
    let one = found.iter().find(|(_, row)| row.digest == 1).unwrap();
    assert_eq!(
        (found.len(), one.1.sums.executions, one.1.sums.total_us),
        (2, 7, 70)
    );
    assert_eq!(one.1.latency, [1, 2, 1, 2]);
    let one = Wanted { rows_max: 1, ..ALL };
    assert_eq!(read(&store, one)[0].0, 101);
    let at_once = Wanted {
        wait_max: Duration::ZERO,
        ..ALL
    };
    assert!(matches!(
        store.read(at_once, |_, _| ()),
        Err(StoreError::Slow)
    ));
    assert_eq!(store.status().unread, 1);
    assert!(store.finish(FINISH_MAX));
}

/// The process ends without a word: what was written is there, with the log of changes beside the file.
#[test]
fn a_crash_loses_what_was_not_written() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(settings(&folder)).unwrap();
    store.write(minute(100, vec![row(1, 5)]));
    store.write(minute(101, vec![row(2, 6)]));
    reach(&store, State::On, 2, 0);
    let left = TempDir::new().unwrap();
    std::fs::create_dir(left.path().join("data")).unwrap();
    let name = |folder: &TempDir, end: &str| folder.path().join(format!("data/history.db{end}"));
    for end in ["", "-wal"] {
        std::fs::copy(name(&folder, end), name(&left, end)).unwrap();
    }
    let again = Store::start(settings(&left)).unwrap();
    assert_eq!(reach(&again, State::On, 0, 0).minutes, 2);
    assert_eq!(read(&again, ALL).len(), 2);
    assert!(again.finish(FINISH_MAX));

    // Cut off in the middle of the last transaction.
    let log = std::fs::read(name(&folder, "-wal")).unwrap();
    std::fs::copy(name(&folder, ""), name(&left, "")).unwrap();
    std::fs::write(name(&left, "-wal"), &log[..log.len() - 100]).unwrap();
    let again = Store::start(settings(&left)).unwrap();
    assert_eq!(reach(&again, State::On, 0, 0).newest, Some(100));
}

#[test]
fn the_file_is_for_our_eyes_only() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(settings(&folder)).unwrap();
    store.write(minute(1, vec![row(1, 1)]));
    reach(&store, State::On, 1, 0);
    let mode = |name: &str| {
        let path = folder.path().join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("data"), 0o700);
    for name in [
        "history.db",
        "history.db-wal",
        "history.db-shm",
        "history.db-lock",
    ] {
        assert_eq!(mode(&format!("data/{name}")), 0o600, "{name}");
    }
    assert!(store.finish(FINISH_MAX));
    assert!(
        !folder.path().join("data/history.db-wal").exists(),
        "closed cleanly"
    );
}

#[test]
fn old_minutes_and_unused_texts_go() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(settings(&folder)).unwrap();
    let day = 1_440;
    store.write(minute(10 * day, vec![row(1, 1), row(2, 1)]));
    store.write(minute(11 * day, vec![row(2, 1)]));
    store.write(minute(13 * day, vec![row(3, 1)]));
    assert_eq!(reach(&store, State::On, 3, 0).oldest, Some(10 * day));
    store.write(minute(13 * day + 1, vec![]));
    assert_eq!(reach(&store, State::On, 4, 0).oldest, Some(11 * day));
    assert_eq!(read(&store, ALL).len(), 2);
    assert!(store.finish(FINISH_MAX));
    let db = Connection::open(&settings(&folder).path).unwrap();
    let texts: String = db
        .query_row(
            "SELECT group_concat(text) FROM (SELECT text FROM digest ORDER BY text)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(texts, "SELECT 2,SELECT 3");
}

/// Ten times what the file may hold: it stays below the limit but for one minute, and gives pages back when less comes.
#[test]
fn the_file_does_not_grow_for_ever() {
    let folder = TempDir::new().unwrap();
    let bytes_max = 1 << 20;
    let store = Store::start(Settings {
        bytes_max,
        ..settings(&folder)
    })
    .unwrap();
    let path = settings(&folder).path;
    let (mut largest, mut next) = (0, 0);
    for at in 0..100u64 {
        let rows = (0..200).map(|_| {
            next += 1;
            Row {
                text: "x".repeat(200).into(),
                ..row(next, 1)
            }
        });
        store.write(minute(at, rows.collect()));
        let status = reach(&store, State::On, at + 1, 0);
        largest = largest.max(status.bytes);
    }
    let minute_bytes = 200 * 700;
    assert!(largest <= bytes_max + minute_bytes, "{largest}");
    let status = store.status();
    assert_eq!(status.newest, Some(99));
    assert!(status.minutes > 2 && status.oldest > Some(80), "{status:?}");
    assert!(store.finish(FINISH_MAX));
    assert!(std::fs::metadata(&path).unwrap().len() <= bytes_max + minute_bytes);

    // Days later everything is too old, and the file shrinks.
    let store = Store::start(Settings {
        bytes_max,
        ..settings(&folder)
    })
    .unwrap();
    store.write(minute(100_000, vec![row(1, 1)]));
    let status = reach(&store, State::On, 1, 0);
    assert_eq!((status.minutes, read(&store, ALL).len()), (1, 1));
    assert!(status.bytes < bytes_max, "{status:?}");
    assert!(store.finish(FINISH_MAX));
}

/// Opens a store on the file as it is, hands it a minute, and says why it is off. The file must stay as it is.
fn refused(settings: &Settings) -> String {
    let before = std::fs::read(&settings.path).unwrap();
    let store = Store::start(settings.clone()).unwrap();
    let until = Instant::now() + FINISH_MAX;
    while store.status().state != State::Off {
        assert!(Instant::now() < until, "{:?}", store.status());
        std::thread::sleep(Duration::from_millis(5));
    }
    store.write(minute(5, vec![row(1, 1)]));
    let status = reach(&store, State::Off, 0, 1);
    assert_eq!(read(&store, ALL), []);
    assert!(store.finish(FINISH_MAX));
    assert!(
        std::fs::read(&settings.path).unwrap() == before,
        "the file was touched"
    );
    status.reason
}

/// A file with some minutes in it, closed.
fn filled(folder: &TempDir) -> Settings {
    let settings = settings(folder);
    let store = Store::start(settings.clone()).unwrap();
    for at in 0..5 {
        store.write(minute(at, (1..100).map(|digest| row(digest, 1)).collect()));
        reach(&store, State::On, at + 1, 0);
    }
    assert!(store.finish(FINISH_MAX));
    settings
}

#[test]
fn a_file_that_is_not_ours_to_write_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let settings = filled(&folder);
    let whole = std::fs::read(&settings.path).unwrap();

    Connection::open(&settings.path)
        .unwrap()
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    assert!(refused(&settings).contains("of version 2"));

    std::fs::write(
        &settings.path,
        b"a text that somebody keeps here, long enough to be no header at all",
    )
    .unwrap();
    assert!(refused(&settings).contains("damaged"));

    std::fs::write(&settings.path, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&settings).contains("damaged"));

    // Garbage in the middle: in a page that holds rows.
    let mut broken = whole.clone();
    let half = broken.len() / 2;
    broken[half - 3_000..half].fill(0xA5);
    std::fs::write(&settings.path, &broken).unwrap();
    assert!(refused(&settings).contains("damaged"));

    for (about, sql) in [
        ("a table too many", "CREATE TABLE more (a)"),
        (
            "runs when we write",
            "CREATE TRIGGER t AFTER INSERT ON minute BEGIN DELETE FROM query; END",
        ),
        ("a table too few", "DROP TABLE digest"),
        ("another program's", "PRAGMA application_id = 7"),
    ] {
        std::fs::write(&settings.path, &whole).unwrap();
        Connection::open(&settings.path)
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        assert!(refused(&settings).contains("something else"), "{about}");
    }

    std::fs::write(&settings.path, &whole).unwrap();
    let store = Store::start(settings).unwrap();
    assert_eq!(reach(&store, State::On, 0, 0).minutes, 5);
}

/// Bytes of the file turned at random: whatever is read or refused, nothing panics.
#[test]
fn a_file_turned_at_random_ends_nobody() {
    let folder = TempDir::new().unwrap();
    let settings = filled(&folder);
    let whole = std::fs::read(&settings.path).unwrap();
    let mut seed = 7u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let mut taken = 0;
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random(4) {
            // Half of them in the head of the file or of a page, where most can go wrong.
            let at = if random(2) == 0 {
                random(bytes.len() / 4_096) * 4_096 + random(110)
            } else {
                random(bytes.len())
            };
            bytes[at] = random(256) as u8;
        }
        std::fs::write(&settings.path, &bytes).unwrap();
        let _ = reader::read(&settings.path, ALL, |_, _| ());
        let shared = Arc::new(Shared::default());
        let mut writer = writer::Writer::new(settings.clone(), shared.clone());
        writer.take(&minute(6, vec![row(1, 1)]));
        taken += u64::from(shared.status.lock().written == 1);
        let _ = reader::read(&settings.path, ALL, |_, _| ());
        drop(writer);
        for beside in ["-wal", "-shm"] {
            let mut path = settings.path.clone().into_os_string();
            path.push(beside);
            let _ = std::fs::remove_file(path);
        }
    }
    assert!((1..150).contains(&taken), "{taken} of 150 were taken");
}

/// Somebody puts another file in the place of ours: reading it ends, and ends with an error.
#[test]
fn a_file_that_was_swapped_is_read_with_care() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder);
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let sums = Sums::NAMES.join(", 1 AS ");
    Connection::open(&settings.path)
        .unwrap()
        .execute_batch(&format!(
            "CREATE VIEW query AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) \
             SELECT n AS minute, x'00' AS digest, 'a' AS user, 'b' AS app, 'c' AS schema_name, 1 AS {sums}, x'' AS latency \
             FROM n WHERE n < 0"
        ))
        .unwrap();
    let started = Instant::now();
    let wanted = Wanted {
        wait_max: Duration::from_millis(200),
        ..ALL
    };
    let read = reader::read(&settings.path, wanted, |_, _| ());
    assert!(matches!(read, Err(StoreError::Slow)), "{read:?}");
    assert!(started.elapsed() < FINISH_MAX);
}

/// Where nothing can be written: counted, told once, and tried again.
#[test]
fn a_folder_that_cannot_be_written_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder);
    // A file where the folder should be: refused whoever asks, the superuser too.
    std::fs::write(folder.path().join("data"), b"").unwrap();
    let store = Store::start(settings.clone()).unwrap();
    reach(&store, State::Failing, 0, 0);
    store.write(minute(1, vec![row(1, 1)]));
    assert!(
        reach(&store, State::Failing, 0, 1)
            .reason
            .contains("its folder cannot be made")
    );
    std::fs::remove_file(folder.path().join("data")).unwrap();
    store.write(minute(2, vec![row(1, 1)]));
    assert_eq!(reach(&store, State::On, 1, 1).reason, "");

    // The same path in a second process, as flock sees it.
    let second = Store::start(settings.clone()).unwrap();
    assert!(
        reach(&second, State::Failing, 0, 0)
            .reason
            .contains("another process")
    );
    assert!(store.finish(FINISH_MAX));
    second.write(minute(3, vec![row(1, 1)]));
    assert_eq!(reach(&second, State::On, 1, 0).minutes, 2);

    // Moved away while it is open: the next minute begins a new file.
    std::fs::rename(&settings.path, folder.path().join("old.db")).unwrap();
    second.write(minute(4, vec![row(1, 1)]));
    assert_eq!(reach(&second, State::On, 2, 0).minutes, 1);
    assert!(second.finish(FINISH_MAX));
}

/// A disk that is full: the minute is lost and counted, and when there is room again the next one is kept.
#[test]
fn a_full_disk_loses_minutes_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let shared = Arc::new(Shared::default());
    let mut writer = writer::Writer::new(settings(&folder), shared.clone());
    writer.take(&minute(1, vec![row(1, 1)]));
    let limit = |writer: &writer::Writer, pages: i64| {
        let db = writer.connection().unwrap();
        db.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
            .unwrap();
    };
    limit(&writer, 1);
    let much = minute(2, (1..500).map(|digest| row(digest, 1)).collect());
    for lost in 1..=2 {
        writer.take(&much);
        let status = shared.status.lock().clone();
        assert_eq!(
            (status.state, shared.lost.load(Relaxed)),
            (State::Failing, lost)
        );
        assert!(status.reason.contains("full"), "{}", status.reason);
    }
    limit(&writer, 1_000_000);
    writer.take(&much);
    let status = shared.status.lock().clone();
    assert_eq!(
        (status.state, status.written, status.minutes),
        (State::On, 2, 2)
    );
    let mut rows = 0;
    reader::read(&settings(&folder).path, ALL, |_, _| rows += 1).unwrap();
    assert_eq!(rows, 500);
}

/// Nobody waits for a writer that hangs: what finds no room in the queue is lost and counted.
#[test]
fn a_writer_that_hangs_holds_nobody_up() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(settings(&folder)).unwrap();
    reach(&store, State::On, 0, 0);
    let held = Connection::open(store.path()).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    for at in 0..QUEUE_MINUTES_MAX as u64 + 5 {
        store.write(minute(at, vec![row(1, 1)]));
    }
    assert!(started.elapsed() < Duration::from_millis(500));
    assert!(store.status().lost >= 4);
    assert!(!store.finish(Duration::from_millis(10)), "still hangs");
    held.execute_batch("ROLLBACK").unwrap();
}
