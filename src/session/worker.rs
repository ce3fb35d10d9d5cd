//! One data-plane thread: a current-thread runtime, its sessions, and what they share without locks.
//! Never does blocking work and never talks to another worker.

use super::exchange::{Columns, Service};
use super::listener::Incoming;
use super::lot::Lot;
use super::rooms::Rooms;
use super::watch::Clock;
use crate::analytics::Recorder;
use crate::backend::nodes::{Health, Node};
use crate::router::rules::Memo;
use crate::sql::{DigestScratch, LexMode, LocalStatements, Statement};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::LocalSet;

pub use super::watch::TICK;

/// Ticks of [`TICK`] in a second.
const TICKS_A_SECOND: u64 = 4;

/// Statements whose columns one worker remembers.
const COLUMNS_MAX: usize = 1_024;

/// Statements of which one worker remembers that they leave state on readers.
const WRITERS_ONLY_MAX: usize = 1_024;

/// What the sessions of one thread share.
pub struct Worker {
    /// Every room.
    pub rooms: Arc<Rooms>,
    /// Number of this worker, from 0.
    pub id: usize,
    /// Reused for each statement's digest; never borrowed over an await.
    pub scratch: RefCell<DigestScratch>,
    /// Statements known to this worker; never borrowed over an await.
    pub statements: RefCell<LocalStatements>,
    /// What is observed here.
    pub recorder: Recorder,
    /// What stands in place of the digest text of a statement that was too long to be read.
    pub oversize_text: Arc<str>,
    /// Connections of the control-plane user that are free.
    pub services: RefCell<Vec<Service>>,
    /// Columns of clients' statements that views answer.
    pub columns: RefCell<HashMap<u128, Rc<Columns>>>,
    /// Makes the keys of `columns` unguessable.
    pub columns_seed: u64,
    /// What is known of the query rules; never borrowed over an await.
    pub rules: RefCell<Memo>,
    /// The stop signal has come. A flag of our own: asking the signal itself takes a lock.
    pub stopping: Cell<bool>,
    /// Sessions running.
    pub sessions: Cell<usize>,
    /// Bounds the waits of its sessions.
    pub clock: Rc<Clock>,
    /// Sessions that could give their connections up.
    pub lot: Lot,
    /// Statements that left state on a reader, by digest: they go to the writer.
    pub writers_only: RefCell<HashSet<u128>>,
}

impl Worker {
    /// The statement of a text: from this worker's memory, the process's, or parsed.
    pub fn statement(&self, text: &[u8], mode: LexMode) -> Arc<Statement> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.run(text, mode);
        self.statements.borrow_mut().get(&scratch, text).clone()
    }

    /// Remembers the columns of a statement.
    pub fn remember_columns(&self, key: u128, columns: Rc<Columns>) {
        let mut known = self.columns.borrow_mut();
        if known.len() >= COLUMNS_MAX {
            known.clear();
        }
        known.insert(key, columns);
    }

    /// A statement left state on a reader.
    pub fn learn_writers_only(&self, digest: u128) {
        let mut known = self.writers_only.borrow_mut();
        if known.len() < WRITERS_ONLY_MAX {
            known.insert(digest);
        }
    }

    /// The inside of the last comment of the text that [`statement`](Self::statement) was just asked about.
    pub fn last_comment<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let (start, end) = self.scratch.borrow().comment()?;
        text.get(start as usize..end as usize)
    }
}

/// Runs a worker until the stop signal and then until its sessions have ended or the drain limit is reached.
///
/// # Errors
/// The runtime cannot be built.
pub fn run(
    rooms: Arc<Rooms>,
    id: usize,
    clients: UnboundedReceiver<Incoming>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let recorder = rooms
        .analytics
        .recorder(id)
        .ok_or_else(|| std::io::Error::other("the worker's recorder is taken"))?;
    let worker = Rc::new(Worker {
        scratch: RefCell::new(DigestScratch::new(
            rooms.config.statements.digest_text_bytes_max,
        )),
        statements: RefCell::new(LocalStatements::new(
            rooms.statements.clone(),
            rooms.config.statements.cache_entries_max,
        )),
        recorder,
        oversize_text: Arc::from("(a statement longer than client.statement_bytes_max)"),
        services: RefCell::new(Vec::new()),
        columns: RefCell::default(),
        columns_seed: rand::random(),
        rules: RefCell::default(),
        stopping: Cell::new(false),
        sessions: Cell::new(0),
        clock: Clock::new(&rooms.config),
        lot: Lot::default(),
        writers_only: RefCell::default(),
        rooms,
        id,
    });
    // In a task of its own: the future that a LocalSet is run with is polled each time anything happens.
    let tasks = LocalSet::new();
    let served = tasks.spawn_local(serve(worker, clients));
    tasks
        .block_on(&runtime, served)
        .map_err(std::io::Error::other)
}

/// Lets the clock tick. Once a second: hands over what the recorder holds, and closes connections of our own that nobody needs.
async fn keep_time(worker: Rc<Worker>, mut ticks: watch::Receiver<u64>) {
    while ticks.changed().await.is_ok() {
        worker.clock.tick();
        if ticks.borrow_and_update().is_multiple_of(TICKS_A_SECOND) {
            let now = std::time::Instant::now();
            worker.recorder.tick(now);
            worker.reap_services(now);
        }
    }
}

/// Asks sessions that rest for their connections to a server when somebody waits for one.
async fn share(worker: Rc<Worker>, node: Arc<Node>) {
    let mut starving = node.pool.starving();
    while starving.changed().await.is_ok() {
        worker.lot.ask(node.id, node.pool.waiting());
    }
}

/// Asks sessions that rest at a server which does not take the writes to leave it, whenever something of the cluster changes.
async fn follow(worker: Rc<Worker>) {
    let nodes = worker.rooms.nodes.clone();
    let mut changes = nodes.changes();
    while changes.changed().await.is_ok() {
        for node in nodes.all() {
            if !nodes.takes_writes(node.id) {
                worker.lot.ask(node.id, usize::MAX);
            }
            if node.state.load().health != Health::Up {
                node.pool.drop_idle(None);
            }
        }
    }
}

/// Counts a session for as long as it runs, however it ends.
struct Running<'a>(&'a Cell<usize>);

impl<'a> Running<'a> {
    fn new(sessions: &'a Cell<usize>) -> Self {
        sessions.set(sessions.get() + 1);
        Self(sessions)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn serve(worker: Rc<Worker>, mut clients: UnboundedReceiver<Incoming>) {
    let shutdown = worker.rooms.shutdown.clone();
    tokio::task::spawn_local(keep_time(worker.clone(), worker.rooms.ticks.subscribe()));
    for node in worker.rooms.nodes.all() {
        tokio::task::spawn_local(share(worker.clone(), node.clone()));
    }
    if worker.rooms.nodes.is_cluster() {
        tokio::task::spawn_local(follow(worker.clone()));
    }
    loop {
        let incoming = tokio::select! {
            biased;
            incoming = clients.recv() => incoming,
            () = shutdown.requested() => None,
        };
        let Some(incoming) = incoming else { break };
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            let _running = Running::new(&worker.sessions);
            super::run(&worker, incoming).await;
        });
    }
    worker.stopping.set(true);
    for session in worker.rooms.analytics.sessions().list() {
        if session.worker == worker.id {
            session.wake();
        }
    }
    let drain = std::time::Duration::from_millis(worker.rooms.config.runtime.shutdown_drain_ms_max);
    let ended = tokio::time::timeout(drain, async {
        // Sessions end at their own pace; this only has to notice the last one.
        // A socket from the pool may be driven by another worker's reactor, so all workers stay until all sessions are over.
        while worker.sessions.get() > 0 || !worker.rooms.analytics.sessions().list().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    if ended.await.is_err() {
        tracing::warn!(
            worker = worker.id,
            sessions = worker.sessions.get(),
            "sessions were cut off at the drain limit"
        );
    }
}
