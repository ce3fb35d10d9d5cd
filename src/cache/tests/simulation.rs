//! The whole cache over an abstract binary log, by seed: writers, readers, the stream and the server take turns at every await.
//! The log keeps only what was measured of a real one: a commit is in the status position before it is visible, and in
//! `gtid_executed` only after; visibility goes in log order. Every answer must be the state of its tables at one moment between
//! its request and its reply, and no privilege taken away before the request may still count.
//! The last tests break the gate on purpose and demand that the simulation notices.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{env, good_summary, statement};
use crate::binlog::{GateError, Position, TableKey};
use crate::cache::{Cache, Filed, Gate, Lookup, Request, Settings};
use crate::protocol::relay::{ErrInfo, Summary};
use crate::sql::Statement;

/// What one commit touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Table(u8),
    Grant,
}

/// A rule of the gate that a test breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// `fill_start` does not wait until relevant commits are visible.
    BlindStart,
    /// `fill_end` does not look for changes.
    BlindEnd,
    /// `unchanged_since` asks no barrier: what the stream has seen will do.
    NoBarrier,
    /// The stream does not notice privileges.
    NoGrants,
}

/// The server and our stream: `executed <= visible <= status <= log.len()`, `processed <= status`.
#[derive(Debug)]
struct World {
    random: u64,
    log: Vec<Commit>,
    status: usize,
    visible: usize,
    executed: usize,
    processed: usize,
    epoch: u64,
    fault: Fault,
}

impl World {
    fn random(&mut self, below: u64) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    /// One thing happens.
    fn step(&mut self) {
        match self.random(40) {
            0..3 => {
                let table = self.random(3) as u8;
                self.log.push(Commit::Table(table));
            }
            3 if self.random(6) == 0 => self.log.push(Commit::Grant),
            4 if self.random(20) == 0 => {
                // Continuity is lost; what stands in the log counts as read.
                self.epoch += 1;
                self.processed = self.status;
            }
            5..14 => self.status = (self.status + 1).min(self.log.len()),
            14..22 => self.visible = (self.visible + 1).min(self.status),
            22..28 => self.executed = (self.executed + 1).min(self.visible),
            28..40 => self.processed = (self.processed + 1).min(self.status),
            _ => (),
        }
    }

    fn commits(&self, up_to: usize, wanted: Commit) -> usize {
        self.log[..up_to]
            .iter()
            .filter(|&&commit| commit == wanted)
            .count()
    }

    /// The last commit at or below `up_to` that touches one of the tables.
    fn last_change(&self, tables: &[TableKey], up_to: usize) -> usize {
        let touches = |commit: &Commit| match commit {
            Commit::Table(table) => tables.contains(&key(*table)),
            Commit::Grant => false,
        };
        self.log[..up_to]
            .iter()
            .rposition(touches)
            .map_or(0, |at| at + 1)
    }

    fn grant_epoch(&self) -> u64 {
        match self.fault {
            Fault::NoGrants => 0,
            _ => self.epoch * 1_000_000 + self.commits(self.processed, Commit::Grant) as u64,
        }
    }

    fn unchanged(&self, tables: &[TableKey], since: usize, epoch: u64) -> Result<(), GateError> {
        if self.epoch != epoch {
            return Err(GateError::Epoch);
        }
        let last = self.last_change(tables, self.processed);
        match last > since {
            true => Err(GateError::Changed {
                table: tables[0].clone(),
                at: position(last),
            }),
            false => Ok(()),
        }
    }
}

fn key(table: u8) -> TableKey {
    TableKey::new("s", &format!("t{table}"))
}

fn position(at: usize) -> Position {
    Position::new(1, at as u64)
}

/// The gate's contract over the world, one careful step at a time.
#[derive(Debug, Clone)]
struct SimGate(Arc<Mutex<World>>);

#[derive(Debug)]
struct Token {
    tables: Vec<TableKey>,
    at: usize,
    epoch: u64,
    grant_epoch: u64,
}

impl SimGate {
    /// Lets others run for a while.
    async fn pause(&self) {
        let turns = self.0.lock().random(5);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn wait(&self, late: GateError, ready: impl Fn(&World) -> bool) -> Result<(), GateError> {
        for _ in 0..200 {
            if ready(&self.0.lock()) {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        Err(late)
    }

    /// A barrier that the stream has processed.
    async fn barrier(&self) -> Result<(), GateError> {
        self.pause().await;
        let end = self.0.lock().status;
        self.pause().await;
        self.wait(GateError::StreamLate, |world| world.processed >= end)
            .await
    }
}

impl Gate for SimGate {
    type Token = Token;

    fn available(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.0.lock().epoch
    }

    fn grant_epoch(&self) -> u64 {
        self.0.lock().grant_epoch()
    }

    fn last_change(&self, table: &TableKey) -> Option<Position> {
        let world = self.0.lock();
        Some(position(
            world.last_change(std::slice::from_ref(table), world.processed),
        ))
    }

    async fn unchanged_since(
        &self,
        tables: &[TableKey],
        since: Position,
        epoch: u64,
        _: Duration,
    ) -> Result<Position, GateError> {
        let since = since.offset as usize;
        self.0.lock().unchanged(tables, since, epoch)?;
        let fault = self.0.lock().fault;
        if fault != Fault::NoBarrier {
            self.barrier().await?;
        }
        let world = self.0.lock();
        world.unchanged(tables, since, epoch)?;
        Ok(position(world.processed.max(since)))
    }

    async fn fill_start(&self, tables: &[TableKey]) -> Result<Token, GateError> {
        self.barrier().await?;
        let (token, last, fault) = {
            let world = self.0.lock();
            let token = Token {
                tables: tables.to_vec(),
                at: world.processed,
                epoch: world.epoch,
                grant_epoch: world.grant_epoch(),
            };
            (
                token,
                world.last_change(tables, world.processed),
                world.fault,
            )
        };
        if fault != Fault::BlindStart {
            self.wait(GateError::NotVisible, |world| world.executed >= last)
                .await?;
        }
        self.pause().await;
        Ok(token)
    }

    async fn fill_end(&self, token: Token) -> Result<Filed, GateError> {
        self.barrier().await?;
        let world = self.0.lock();
        if world.grant_epoch() != token.grant_epoch {
            return Err(GateError::Grants);
        }
        if world.fault != Fault::BlindEnd {
            world.unchanged(&token.tables, token.at, token.epoch)?;
        }
        Ok(Filed {
            position: position(world.processed.max(token.at)),
            epoch: token.epoch,
            grant_epoch: token.grant_epoch,
        })
    }
}

/// What a query sees: how many commits each table has, and how many privileges have changed.
type Content = [u8; 4];

fn content(world: &World, visible: usize, tables: &[u8]) -> Content {
    let mut content = [0; 4];
    for &table in tables {
        content[usize::from(table)] = world.commits(visible, Commit::Table(table)) as u8;
    }
    // A privilege counts from the moment that it is in the log: its change holds the lock on all of them until then.
    content[3] = world.commits(world.status, Commit::Grant) as u8;
    content
}

/// The statements that readers ask, and the tables that they read.
const QUERIES: [(&str, &[u8]); 4] = [
    ("SELECT a FROM s.t0", &[0]),
    ("SELECT a FROM s.t1", &[1]),
    ("SELECT t0.a FROM s.t0 JOIN s.t1", &[0, 1]),
    ("SELECT t0.a FROM s.t0, s.t1, s.t2", &[0, 1, 2]),
];

/// How a run ended.
#[derive(Debug, Default, Clone)]
struct Outcome {
    hits: u64,
    fills: u64,
    stale: Vec<String>,
}

struct Reader {
    cache: Arc<Cache<SimGate>>,
    gate: SimGate,
    statements: Arc<Vec<Arc<Statement>>>,
    outcome: Arc<Mutex<Outcome>>,
}

impl Reader {
    async fn run(self, requests: usize) {
        let session = env("ann@%", Some("s"), &[]);
        for _ in 0..requests {
            self.gate.pause().await;
            let pick = self.gate.0.lock().random(QUERIES.len() as u64) as usize;
            let (text, tables) = QUERIES[pick];
            let arrived = {
                let world = self.gate.0.lock();
                (
                    world.visible,
                    world.commits(world.status, Commit::Grant) as u8,
                )
            };
            let request = Request {
                statement: &self.statements[pick],
                text: text.as_bytes(),
                parameters: None,
                env: &session,
                caps: 0,
                is_chosen: false,
            };
            let wanted = self.cache.consider(&request).expect("a rule takes it");
            match self.cache.lookup(wanted).await {
                Lookup::Hit(hit) => self.check(text, tables, arrived, &hit.packets),
                Lookup::Fill(mut fill) => {
                    self.gate.pause().await;
                    let seen = {
                        let world = self.gate.0.lock();
                        content(&world, world.visible, tables)
                    };
                    self.gate.pause().await;
                    fill.push(&seen);
                    self.gate.pause().await;
                    self.outcome.lock().fills += 1;
                    let luck = self.gate.0.lock().random(12);
                    match luck {
                        0 => drop(fill),
                        1 => fill.complete(&failed(), 1),
                        _ => fill.complete(&good_summary(&seen), 1),
                    }
                }
                Lookup::Bypass(_) => (),
            }
        }
    }

    /// The answer is the state at one moment between request and reply.
    fn check(&self, text: &str, tables: &[u8], arrived: (usize, u8), packets: &[u8]) {
        let world = self.gate.0.lock();
        let fits = (arrived.0..=world.visible)
            .any(|moment| content(&world, moment, tables)[..3] == packets[..3]);
        let mut outcome = self.outcome.lock();
        outcome.hits += 1;
        if !fits || packets[3] < arrived.1 {
            outcome.stale.push(format!(
                "{text}: {packets:?}, asked at {arrived:?}, {world:?}"
            ));
        }
    }
}

fn failed() -> Summary {
    Summary {
        error: Some(ErrInfo {
            code: 1317,
            sqlstate: *b"70100",
            message: Vec::new(),
        }),
        ..good_summary(b"")
    }
}

/// One run: everybody takes turns in an order that the seed decides.
fn simulate(seed: u64, fault: Fault) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World {
            random: seed,
            log: Vec::new(),
            status: 0,
            visible: 0,
            executed: 0,
            processed: 0,
            epoch: 1,
            fault,
        };
        let gate = SimGate(Arc::new(Mutex::new(world)));
        let settings = Settings {
            tables: (0..3).map(key).collect(),
            // Nothing here waits for a clock: a wait that is never ended shows as a test that hangs.
            fill_wait: Duration::from_secs(3600),
            gate_wait: Duration::from_secs(3600),
            ..Settings::default()
        };
        let cache = Cache::new(
            settings,
            Arc::new(gate.clone()),
            tokio::runtime::Handle::current(),
        );
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let statements = Arc::new(
            QUERIES
                .iter()
                .map(|(text, _)| statement(text))
                .collect::<Vec<_>>(),
        );
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let reader = Reader {
                    cache: cache.clone(),
                    gate: gate.clone(),
                    statements: statements.clone(),
                    outcome: outcome.clone(),
                };
                tokio::spawn(reader.run(40))
            })
            .collect();
        while readers.iter().any(|reader| !reader.is_finished()) {
            {
                let mut world = gate.0.lock();
                for _ in 0..=world.random(3) {
                    world.step();
                }
            }
            if gate.0.lock().random(50) == 0 {
                cache.sweep();
            }
            tokio::task::yield_now().await;
        }
        for reader in readers {
            reader.await.expect("a reader does not panic");
        }
        outcome.lock().clone()
    })
}

fn run_seeds(seeds: std::ops::Range<u64>, fault: Fault) -> (u64, Option<(u64, Outcome)>) {
    let mut hits = 0;
    for seed in seeds {
        let outcome = simulate(seed, fault);
        hits += outcome.hits;
        if !outcome.stale.is_empty() {
            return (hits, Some((seed, outcome)));
        }
    }
    (hits, None)
}

#[test]
fn no_interleaving_serves_a_stale_answer() {
    let (hits, stale) = run_seeds(0..150, Fault::None);
    assert!(stale.is_none(), "seed {:?}", stale);
    // A simulation without hits would prove nothing.
    assert!(hits > 2_000, "{hits}");
}

#[test]
fn the_simulation_notices_every_broken_rule() {
    for fault in [
        Fault::BlindStart,
        Fault::BlindEnd,
        Fault::NoBarrier,
        Fault::NoGrants,
    ] {
        let (_, stale) = run_seeds(0..150, fault);
        assert!(stale.is_some(), "{fault:?} went unnoticed");
    }
}
