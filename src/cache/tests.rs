//! Tests of the cache: what it takes, what it keeps, what makes two questions the same. The gate here is a toy that says what a
//! test wants; `simulation` puts the whole cache over an abstract log.

mod simulation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::worth::Worth;
use super::*;
use crate::binlog::{Position, TableKey};
use crate::protocol::relay::{ErrInfo, Summary};
use crate::protocol::{capability, status};
use crate::sql::env::{COLUMNS, SessionEnv};
use crate::sql::{ClientCharset, DigestScratch, LexMode, Statement, StatementCache, Uncacheable};

/// A session environment with MySQL's defaults; `changes` are (column of the environment query, value).
pub(super) fn env(user: &str, schema: Option<&str>, changes: &[(usize, &str)]) -> SessionEnv {
    let mut row: Vec<Option<Vec<u8>>> = vec![Some(b"0".to_vec()); COLUMNS];
    let mut set = |at: usize, value: &str| row[at] = Some(value.as_bytes().to_vec());
    set(1, user);
    set(2, "NONE");
    set(17, "1");
    set(18, "REPEATABLE-READ");
    set(28, "ON");
    for (at, value) in changes {
        set(*at, value);
    }
    row[0] = schema.map(|schema| schema.as_bytes().to_vec());
    SessionEnv::from_row(&row).unwrap()
}

/// What we know of a text.
pub(super) fn statement(text: &str) -> Arc<Statement> {
    let mut scratch = DigestScratch::new(4096);
    let mode = LexMode {
        ansi_quotes: false,
        no_backslash_escapes: false,
        ignore_space: false,
        pipes_as_concat: false,
        high_not_precedence: false,
        charset: ClientCharset::Utf8,
        server_version: 90_704,
        mariadb: false,
    };
    scratch.run(text.as_bytes(), mode);
    StatementCache::new(16).get_or_parse(&scratch, text.as_bytes())
}

/// A response that may be kept.
pub(super) fn good_summary(bytes: &[u8]) -> Summary {
    Summary {
        bytes: bytes.len() as u64,
        status: status::AUTOCOMMIT,
        status_any: status::AUTOCOMMIT | status::NO_INDEX_USED,
        result_sets: 1,
        columns: 1,
        rows: 2,
        ..Summary::default()
    }
}

/// A gate that says what it is told.
#[derive(Debug)]
struct Toy {
    now: AtomicU64,
    changed_at: AtomicU64,
    grants: AtomicU64,
    fails: Mutex<Option<GateError>>,
}

impl Toy {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicU64::new(10),
            changed_at: AtomicU64::new(0),
            grants: AtomicU64::new(1),
            fails: Mutex::new(None),
        })
    }

    fn write(&self) {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.changed_at.store(now, Relaxed);
    }

    fn position(&self) -> Position {
        Position::new(1, self.now.load(Relaxed))
    }

    fn verdict(&self, since: Position) -> Result<Position, GateError> {
        if let Some(error) = self.fails.lock().clone() {
            return Err(error);
        }
        let at = Position::new(1, self.changed_at.load(Relaxed));
        match at > since {
            true => Err(GateError::Changed {
                table: TableKey::new("s", "t"),
                at,
            }),
            false => Ok(self.position()),
        }
    }
}

impl Gate for Toy {
    type Token = Position;

    fn available(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        1
    }

    fn grant_epoch(&self) -> u64 {
        self.grants.load(Relaxed)
    }

    fn last_change(&self, _: &TableKey) -> Option<Position> {
        Some(Position::new(1, self.changed_at.load(Relaxed)))
    }

    async fn unchanged_since(
        &self,
        _: &[TableKey],
        since: Position,
        _: u64,
        _: Duration,
    ) -> Result<Position, GateError> {
        self.verdict(since)
    }

    async fn fill_start(&self, _: &[TableKey]) -> Result<Position, GateError> {
        self.fails.lock().clone().map_or(Ok(self.position()), Err)
    }

    async fn fill_end(&self, token: Position) -> Result<Filed, GateError> {
        Ok(Filed {
            position: self.verdict(token)?,
            epoch: 1,
            grant_epoch: self.grant_epoch(),
        })
    }
}

const SQL: &str = "SELECT b, COUNT(*) FROM s.t GROUP BY b";

/// A cache that takes everything from table `s.t`.
fn settings() -> Settings {
    Settings {
        tables: vec![TableKey::new("s", "t")],
        fill_wait: Duration::from_millis(200),
        ..Settings::default()
    }
}

struct Bench {
    cache: Arc<Cache<Toy>>,
    gate: Arc<Toy>,
    statement: Arc<Statement>,
    env: SessionEnv,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let gate = Toy::new();
        let runtime = tokio::runtime::Handle::current();
        Self {
            cache: Cache::new(settings, gate.clone(), runtime),
            gate,
            statement: statement(SQL),
            env: env("ann@%", Some("s"), &[]),
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            statement: &self.statement,
            text: SQL.as_bytes(),
            parameters: None,
            env: &self.env,
            caps: capability::DEPRECATE_EOF,
            is_chosen: false,
        }
    }

    async fn lookup(&self) -> Lookup<Toy> {
        let wanted = self.cache.consider(&self.request()).unwrap();
        self.cache.lookup(wanted).await
    }

    async fn fill(&self) -> Box<Fill<Toy>> {
        match self.lookup().await {
            Lookup::Fill(fill) => fill,
            other => panic!("{other:?}"),
        }
    }

    async fn fill_with(&self, packets: &[u8], summary: &Summary) {
        let mut fill = self.fill().await;
        packets.chunks(3).for_each(|chunk| fill.push(chunk));
        fill.complete(summary, 50_000);
        self.settled().await;
    }

    /// Waits until no fill is under way.
    async fn settled(&self) {
        while self.cache.totals().fills_under_way > 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn is_hit(&self) -> bool {
        matches!(self.lookup().await, Lookup::Hit(_))
    }
}

#[tokio::test]
async fn a_kept_answer_comes_back_until_its_table_changes() {
    let bench = Bench::new(settings());
    bench.fill_with(b"packets", &good_summary(b"packets")).await;
    let Lookup::Hit(hit) = bench.lookup().await else {
        panic!("no hit")
    };
    assert_eq!(&hit.packets[..], b"packets");
    assert_eq!((hit.rows, hit.columns, hit.fill_us), (2, 1, 50_000));
    let row = &bench.cache.snapshot(10)[0];
    assert_eq!(
        (row.hits, row.tables.as_slice()),
        (1, &["s.t".to_owned()][..])
    );
    assert!(row.last_used_at.is_some() && row.entry.len() == 32 && row.size_bytes > 7);

    bench.gate.write();
    assert!(matches!(bench.lookup().await, Lookup::Fill(_)));
    let totals = bench.cache.totals();
    assert_eq!(
        (totals.hits, totals.misses, totals.invalidations),
        (1, 2, 1)
    );
    assert_eq!((totals.entries, totals.bytes, totals.fill_bytes), (0, 0, 0));
}

#[tokio::test]
async fn a_proof_moves_the_entry_forward() {
    let bench = Bench::new(settings());
    bench.fill_with(b"x", &good_summary(b"x")).await;
    let before = bench.cache.snapshot(1)[0].filed.position;
    bench.gate.now.fetch_add(5, Relaxed);
    assert!(bench.is_hit().await);
    assert!(bench.cache.snapshot(1)[0].filed.position > before);
}

#[tokio::test]
async fn changed_privileges_make_entries_worthless() {
    let bench = Bench::new(settings());
    bench.fill_with(b"x", &good_summary(b"x")).await;
    bench.gate.grants.fetch_add(1, Relaxed);
    assert!(!bench.is_hit().await);
}

#[tokio::test]
async fn a_gate_that_does_not_open_means_the_backend_and_keeps_the_entry() {
    let bench = Bench::new(settings());
    bench.fill_with(b"x", &good_summary(b"x")).await;
    *bench.gate.fails.lock() = Some(GateError::BarrierLate);
    assert!(matches!(
        bench.lookup().await,
        Lookup::Bypass(Skip::Gate("gate_barrier_late"))
    ));
    *bench.gate.fails.lock() = None;
    assert!(bench.is_hit().await);
}

#[tokio::test]
async fn a_write_during_the_fill_refuses_it() {
    let bench = Bench::new(settings());
    let mut fill = bench.fill().await;
    fill.push(b"x");
    bench.gate.write();
    fill.complete(&good_summary(b"x"), 1);
    bench.settled().await;
    assert_eq!(bench.cache.totals().fills_refused, 1);
    assert!(!bench.is_hit().await);
}

#[test]
fn only_plain_good_results_are_kept() {
    let good = good_summary(b"x");
    assert_eq!(fill::judge(&good), Ok(()));
    let refused = |change: &dyn Fn(&mut Summary)| {
        let mut summary = good.clone();
        change(&mut summary);
        fill::judge(&summary).unwrap_err()
    };
    let error = ErrInfo {
        code: 1,
        sqlstate: *b"HY000",
        message: Vec::new(),
    };
    assert_eq!(
        refused(&|s| s.error = Some(error.clone())),
        FillRefusal::Error
    );
    assert_eq!(refused(&|s| s.warnings = 1), FillRefusal::Warnings);
    for shape in [
        (|s: &mut Summary| s.result_sets = 0) as fn(&mut Summary),
        |s| s.result_sets = 2,
        |s| s.has_cursor = true,
        |s| s.had_infile = true,
        |s| s.status_any |= status::MORE_RESULTS,
        |s| s.status_any |= status::METADATA_CHANGED,
        |s| s.status_any |= status::PS_OUT_PARAMS,
    ] {
        assert_eq!(refused(&shape), FillRefusal::Shape);
    }
    for session in [
        (|s: &mut Summary| s.session_state = Some(vec![1])) as fn(&mut Summary),
        |s| s.session_state_lost = true,
        |s| s.status_any |= status::IN_TRANS,
        |s| s.status_any |= status::IN_TRANS_READONLY,
        |s| s.status &= !status::AUTOCOMMIT,
    ] {
        assert_eq!(refused(&session), FillRefusal::Session);
    }
}

#[tokio::test]
async fn one_fetches_and_the_others_wait_for_it() {
    let bench = Bench::new(settings());
    let mut fill = bench.fill().await;
    let others = async { (bench.lookup().await, bench.lookup().await) };
    let filler = async {
        tokio::task::yield_now().await;
        fill.push(b"once");
        fill.complete(&good_summary(b"once"), 1);
    };
    let ((first, second), ()) = tokio::join!(others, filler);
    assert!(matches!(first, Lookup::Hit(hit) if &hit.packets[..] == b"once"));
    assert!(matches!(second, Lookup::Hit(_)));
    assert_eq!(bench.cache.totals().fill_waits, 1);
}

#[tokio::test]
async fn waiting_ends_in_the_backend_or_in_an_own_fill() {
    let bench = Bench::new(settings());
    let fill = bench.fill().await;
    // Nobody comes back: the wait is bounded.
    assert!(matches!(
        bench.lookup().await,
        Lookup::Bypass(Skip::FillWait)
    ));
    // The filler gives up: one of those who waited takes over, the others ask the backend.
    let waiting = async { tokio::join!(bench.lookup(), bench.lookup()) };
    let giving_up = async {
        tokio::task::yield_now().await;
        drop(fill);
    };
    let ((first, second), ()) = tokio::join!(waiting, giving_up);
    let both = [&first, &second];
    let count = |wanted: fn(&Lookup<Toy>) -> bool| both.iter().filter(|got| wanted(got)).count();
    assert_eq!(count(|got| matches!(got, Lookup::Fill(_))), 1, "{both:?}");
    assert_eq!(
        count(|got| matches!(got, Lookup::Bypass(Skip::FillWait))),
        1
    );
}

#[tokio::test]
async fn memory_is_bounded() {
    // A result beyond its limit is not kept, and its copy is given back while the rest streams by.
    let bench = Bench::new(Settings {
        entry_bytes_max: 100,
        bytes_max: 40_000,
        ..settings()
    });
    let mut fill = bench.fill().await;
    fill.push(&[0; 90]);
    assert_eq!(bench.cache.totals().fill_bytes, 90);
    fill.push(&[0; 20]);
    fill.push(&[0; 1]);
    assert_eq!(bench.cache.totals().fill_bytes, 0);
    // Nor does anybody wait for that rest.
    assert!(matches!(bench.lookup().await, Lookup::Fill(_)));
    fill.complete(&good_summary(b""), 1);
    assert_eq!(bench.cache.totals().fills_refused, 1);
    drop(bench);

    // All fills together.
    let bench = Bench::new(Settings {
        bytes_max: 400,
        entry_bytes_max: 90,
        ..settings()
    });
    bench.cache.fill_bytes.store(60, Relaxed);
    let mut fill = bench.fill().await;
    fill.push(&[0; 50]);
    fill.complete(&good_summary(b""), 1);
    assert_eq!(bench.cache.totals().fill_bytes, 60);
    assert_eq!(bench.cache.totals().fills_refused, 1);
}

#[tokio::test]
async fn a_flood_of_entries_stays_within_bytes_and_number() {
    for (bytes_max, entries_max, most) in [(200_000, 1000, 125), (200_000_000, 50, 50)] {
        let mut bench = Bench::new(Settings {
            bytes_max,
            entries_max,
            ..settings()
        });
        for user in 0..500 {
            bench.env = env(&format!("u{user}@%"), Some("s"), &[]);
            bench.fill_with(&[7; 1000], &good_summary(&[7; 1000])).await;
        }
        bench.cache.sweep();
        let totals = bench.cache.totals();
        assert!(totals.entries > 0 && totals.entries <= most, "{totals:?}");
        assert!(
            totals.bytes <= bytes_max && totals.evictions > 0,
            "{totals:?}"
        );
        assert_eq!(bench.cache.snapshot(10_000).len() as u64, totals.entries);
    }
}

#[tokio::test]
async fn a_sweep_frees_what_changed_and_nothing_else() {
    let bench = Bench::new(settings());
    bench.fill_with(b"x", &good_summary(b"x")).await;
    assert_eq!(bench.cache.sweep(), 0);
    bench.gate.write();
    assert_eq!(bench.cache.sweep(), 1);
    assert_eq!(
        (bench.cache.totals().entries, bench.cache.totals().bytes),
        (0, 0)
    );
    bench.fill_with(b"y", &good_summary(b"y")).await;
    bench.cache.clear();
    assert_eq!(bench.cache.totals().entries, 0);
}

#[tokio::test]
async fn everything_that_can_change_a_byte_is_in_the_key() {
    let bench = Bench::new(settings());
    let request = bench.request();
    let key = request.key();
    let hash = request.hash();
    let mut seen = vec![(key, hash)];
    let mut differs = |request: Request<'_>| {
        let new = (request.key(), request.hash());
        assert!(
            seen.iter()
                .all(|(key, hash)| *key != new.0 && *hash != new.1)
        );
        seen.push(new);
    };
    differs(Request {
        text: b"SELECT b, COUNT(*) FROM s.t GROUP BY b ",
        ..request
    });
    differs(Request { caps: 0, ..request });
    differs(Request {
        caps: capability::DEPRECATE_EOF | capability::FOUND_ROWS,
        ..request
    });
    let others = [
        env("bob@%", Some("s"), &[]),
        env("ann@%", None, &[]),
        env("ann@%", Some(""), &[]),
        env("ann@%", Some("s2"), &[]),
        env("ann@%", Some("s"), &[(2, "boss@%")]),
        env("ann@%", Some("s"), &[(3, "ANSI")]),
        env("ann@%", Some("s"), &[(4, "+01:00")]),
        env("ann@%", Some("s"), &[(8, "latin1")]),
        env("ann@%", Some("s"), &[(13, "5")]),
    ];
    others
        .iter()
        .for_each(|env| differs(Request { env, ..request }));
    let bound = |nulls, types, values| Request {
        parameters: Some(BoundParameters {
            nulls,
            types,
            values,
        }),
        ..request
    };
    differs(bound(&[], &[], &[]));
    differs(bound(&[0], &[8, 0], &[1]));
    differs(bound(&[0], &[8], &[0, 1]));
    differs(bound(&[1], &[8, 0], &[1]));
    differs(bound(&[0], &[8, 0], &[2]));
    // What changes no byte of an answer is not.
    let same = Request {
        caps: capability::DEPRECATE_EOF | capability::CONNECT_ATTRS,
        ..request
    };
    assert_eq!(same.key(), request.key());
}

#[tokio::test]
async fn what_the_cache_takes() {
    let bench = Bench::new(Settings {
        auto: false,
        users_exclude: vec!["root".into()],
        ..settings()
    });
    let verdict = |text: &str, env: &SessionEnv| {
        let statement = statement(text);
        let request = Request {
            statement: &statement,
            text: text.as_bytes(),
            env,
            ..bench.request()
        };
        bench
            .cache
            .consider(&request)
            .map(|wanted| wanted.tables.to_vec())
    };
    let ann = env("ann@%", Some("s"), &[]);
    assert_eq!(
        verdict("SELECT * FROM t a JOIN T b", &ann),
        Ok(vec![TableKey::new("s", "t")])
    );
    assert_eq!(verdict("SELECT * FROM u", &ann), Err(Skip::NotChosen));
    assert_eq!(verdict("SELECT * FROM t, u", &ann), Err(Skip::NotChosen));
    assert_eq!(
        verdict("SELECT * FROM t", &env("ann@%", None, &[])),
        Err(Skip::NoSchema)
    );
    assert_eq!(
        verdict("SELECT * FROM t", &env("root@h", Some("s"), &[])),
        Err(Skip::UserExcluded)
    );
    for isolation in ["READ-UNCOMMITTED", "SERIALIZABLE"] {
        let env = env("ann@%", Some("s"), &[(18, isolation)]);
        assert_eq!(verdict("SELECT * FROM t", &env), Err(Skip::Isolation));
    }
    assert_eq!(
        verdict("SELECT * FROM t", &env("ann@%", Some("s"), &[(17, "0")])),
        Err(Skip::Isolation)
    );
    assert_eq!(
        verdict("SELECT * FROM t WHERE a < NOW()", &ann),
        Err(Skip::Statement(Uncacheable::Clock))
    );
    assert_eq!(
        verdict("SELECT * FROM t FOR UPDATE", &ann),
        Err(Skip::Statement(Uncacheable::Locking))
    );
    assert_eq!(
        verdict("DELETE FROM t", &ann),
        Err(Skip::Statement(Uncacheable::NotQuery))
    );
    assert_eq!(
        verdict("SELECT 1", &ann),
        Err(Skip::Statement(Uncacheable::NoTable))
    );
}

#[tokio::test]
async fn a_secondary_engine_may_answer_from_another_moment() {
    let mut bench = Bench::new(settings());
    bench.cache.set_secondary_engine(true);
    let verdict = |bench: &Bench| bench.cache.consider(&bench.request()).map(drop);
    assert_eq!(verdict(&bench), Err(Skip::SecondaryEngine));
    bench.env = env("ann@%", Some("s"), &[(28, "OFF")]);
    assert_eq!(verdict(&bench), Ok(()));
    let off = Bench::new(Settings {
        enabled: false,
        ..settings()
    });
    assert_eq!(verdict(&off), Err(Skip::Disabled));
}

#[tokio::test]
async fn dear_questions_that_come_back_are_taken() {
    let bench = Bench::new(Settings {
        tables: Vec::new(),
        ..Settings::default()
    });
    let skip = || bench.cache.consider(&bench.request()).map(drop);
    let digest = bench.statement.id;
    assert_eq!(skip(), Err(Skip::TooCheap));
    bench.cache.observe(digest, 1_000);
    assert_eq!(skip(), Err(Skip::TooCheap));
    (0..60).for_each(|_| bench.cache.observe(digest, 80_000));
    assert_eq!(skip(), Err(Skip::TooRare));
    // Asking why does not count as coming back.
    (0..5).for_each(|_| assert_eq!(bench.cache.explain(&bench.request()), Err(Skip::TooRare)));
    assert_eq!(skip(), Err(Skip::TooRare));
    assert_eq!(skip(), Ok(()));
    bench.fill_with(b"x", &good_summary(b"x")).await;
    assert!(bench.cache.explain(&bench.request()).unwrap().is_some());
    assert!(bench.is_hit().await);

    // A table that changes before anybody comes back: ever more chances are passed by.
    let mut fills = 0;
    for _ in 0..100 {
        bench.gate.write();
        if let Lookup::Fill(mut fill) = bench.lookup().await {
            fills += 1;
            fill.push(b"x");
            fill.complete(&good_summary(b"x"), 1);
            bench.settled().await;
        }
    }
    assert!((3..12).contains(&fills), "{fills}");
}

#[test]
fn estimates_stay_estimates_in_fixed_memory() {
    let worth = Worth::default();
    assert_eq!(worth.mean_us(DigestId(1 << 100 | 5)), None);
    worth.observe(DigestId(1 << 100 | 5), 100);
    assert_eq!(worth.mean_us(DigestId(1 << 100 | 5)), Some(100));
    // Another digest in the same place takes it over and is not mistaken for it.
    worth.observe(DigestId(2 << 100 | 5), 7);
    assert_eq!(worth.mean_us(DigestId(1 << 100 | 5)), None);
    worth.observe(DigestId(3), u64::MAX);
    assert!(worth.mean_us(DigestId(3)).is_some());

    // A question that comes back survives a flood of those that do not.
    let often = 0xABCD_EF01_2345_6789;
    (0..40).for_each(|_| assert!(worth.count(often, 3) > 0));
    for flood in 0..30_u64 {
        worth.count(flood << 40 | (often & 0xFFFF), 3);
    }
    assert_eq!(worth.appearances(often, 3), 10);
    assert_eq!(worth.count(often, 3), 11);
    // Long ago does not count.
    assert_eq!(worth.appearances(often, 90), 0);
    assert_eq!(worth.count(often, 90), 1);
}
