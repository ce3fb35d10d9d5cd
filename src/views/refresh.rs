//! The one task that decides and acts: plans texts, watches base tables, orders builds, publishes, retires, drops.
//! Runs on the control runtime; a slow step delays decisions, never a client and never exactness, which is the gate's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;

use super::Views;
use super::advisor::{Backoff, Candidate};
use super::build::Progress;
use super::catalog::{Asof, Catalog, TableInfo, describe};
use super::connection::{Link, ViewsError};
use super::definition::Definition;
use super::job::Done;
use super::leader::{Leader, List};
use super::lifecycle::Life;
use super::observed::Session;
use super::plan::{Parsed, Plan};
use super::refusal::Refusal;
use super::registry::{Published, Usage};
use super::snapshot::Counters;
use crate::binlog::{Position, TableKey};
use crate::shutdown::Shutdown;
use crate::sql::DigestId;

mod decide;
mod outcome;
mod show;
mod trials;

/// Pause between two looks, in ms; a wake-up makes it shorter.
const TICK_MS: u64 = 250;
/// How often the lock is looked at and demand is counted, in ms.
const SLOW_TICK_MS: u64 = 1_000;
/// A connection for short questions is closed when none has come for so long.
const LINK_IDLE_MS_MAX: u64 = 5_000;
/// How long a replaced storage table stays, so that statements on their way to it find it, in ms.
const GRACE_MS: u64 = 5_000;
/// Pause before another attempt to drop a table, in ms.
const DROP_AGAIN_MS: u64 = 5_000;
/// Tables waiting to be dropped; beyond that they are left to the next leader.
const GARBAGE_MAX: usize = 1_024;
/// Definitions whose estimates and holds are remembered.
const REMEMBERED_MAX: usize = 1_024;
/// Tables whose descriptions are remembered.
const TABLES_MAX: usize = 1_024;

/// One view in the book.
struct Entry {
    id: u64,
    definition: Arc<Definition>,
    info: Arc<TableInfo>,
    /// Up to where the log had been read when `info` was.
    asof: Asof,
    life: Life,
    generation: u64,
    published: Option<Arc<Published>>,
    usage: Arc<Usage>,
    saved_us_before: u64,
    last_change: Option<Position>,
    reason: String,
    last: Option<Summary>,
    last_error: Option<String>,
    errors_in_a_row: u32,
    builds: u64,
    builds_void: u64,
    created_at: SystemTime,
    demand: u64,
    hits_seen: u64,
    last_used_at: Option<SystemTime>,
}

/// What is kept of the last published build.
struct Summary {
    rows: u64,
    base_rows: u64,
    bytes: u64,
    build_us: u64,
    samples: usize,
    engine_reason: Option<String>,
    at: SystemTime,
}

/// The last statement that asked for a definition.
struct Asked {
    definition: Arc<Definition>,
    digest: DigestId,
    last_ms: u64,
}

/// A build under way.
struct Running {
    id: u64,
    generation: u64,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    handle: JoinHandle<Result<Done, ViewsError>>,
}

/// A table to be dropped.
struct Garbage {
    table: String,
    not_before_ms: u64,
}

/// All that the task knows.
pub(super) struct Keeper {
    views: Arc<Views>,
    leader: Leader,
    list: List,
    leads: bool,
    slow_ms: u64,
    set_up_not_before_ms: u64,
    unavailable: String,
    catalog: Catalog,
    link: Option<Link>,
    link_used_ms: u64,
    book: Vec<Entry>,
    running: Option<Running>,
    trying: Option<trials::Trying>,
    backoff: Backoff,
    estimates: HashMap<u128, u64>,
    candidates: Vec<Candidate>,
    digests: Vec<Asked>,
    shown_version: u64,
    garbage: Vec<Garbage>,
    counters: Counters,
}

impl Keeper {
    pub(super) fn new(views: Arc<Views>) -> Self {
        let leader = Leader::new(
            Arc::clone(&views.control),
            Arc::clone(&views.binlog),
            &views.settings.schema,
        );
        Self {
            list: List::new(&views.settings.schema),
            leader,
            views,
            leads: false,
            slow_ms: 0,
            set_up_not_before_ms: 0,
            unavailable: "starting".into(),
            catalog: Catalog::new(TABLES_MAX),
            link: None,
            link_used_ms: 0,
            book: Vec::new(),
            running: None,
            trying: None,
            backoff: Backoff::new(REMEMBERED_MAX),
            estimates: HashMap::new(),
            candidates: Vec::new(),
            digests: Vec::new(),
            shown_version: 0,
            garbage: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Works until `shutdown`. Then nothing is dropped: the next leader does that.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut comebacks = self.views.control.comebacks();
        loop {
            self.tick().await;
            tokio::select! {
                () = shutdown.requested() => break,
                () = self.views.wake.notified() => {}
                Ok(()) = comebacks.changed() => self.slow_ms = 0,
                () = tokio::time::sleep(Duration::from_millis(TICK_MS)) => {}
            }
        }
        self.views.registry.retire_all();
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
            // A chunk ends soon; what it leaves is dropped by the next leader.
            let _ = tokio::time::timeout(Duration::from_secs(2), running.handle).await;
        }
        self.leader.release().await;
    }

    async fn tick(&mut self) {
        let now_ms = self.views.now_ms();
        let slow = now_ms >= self.slow_ms;
        if slow {
            self.slow_ms = now_ms + SLOW_TICK_MS;
            self.watch_lead(now_ms).await;
        }
        self.plan_texts(now_ms).await;
        self.watch_tables(now_ms).await;
        self.end_build(now_ms).await;
        self.try_questions(now_ms).await;
        if slow {
            self.count_demand(now_ms);
            if self.leads && self.unavailable.is_empty() {
                self.decide(now_ms).await;
            }
            self.drop_garbage(now_ms).await;
            if now_ms > self.link_used_ms + LINK_IDLE_MS_MAX
                && let Some(link) = self.link.take()
            {
                link.close().await;
            }
        }
        let version = self.views.registry.ready().version;
        if slow || version != self.shown_version {
            self.shown_version = version;
            self.show(now_ms);
        }
    }

    /// Keeps the lock; without it, or without a usable log, nothing is in use and nothing is built.
    async fn watch_lead(&mut self, now_ms: u64) {
        self.unavailable = match self.views.binlog.available() {
            Ok(()) => String::new(),
            Err(reason) => reason.label().to_owned(),
        };
        if now_ms < self.set_up_not_before_ms {
            self.unavailable = "cannot set up the schema on the backend yet".into();
            return;
        }
        let began = Instant::now();
        let held = self.leader.hold().await;
        let is_known = matches!(held, Ok(_) | Err(ViewsError::Stopped));
        match held {
            Ok(false) => self.leads = true,
            Ok(true) => self.take_lead(now_ms).await,
            Err(error) => {
                if self.leads {
                    tracing::warn!(%error, "views: the lead is lost, nothing is built or used until it is back");
                    self.lose_lead();
                    // The link was broken, perhaps, and the server is there.
                    self.slow_ms = now_ms + TICK_MS;
                }
                self.unavailable = match error {
                    ViewsError::Stopped => "another proxy builds the views of this backend".into(),
                    other => other.to_string(),
                };
            }
        }
        if is_known {
            *self.views.looked.lock() = Some(began);
        }
    }

    async fn take_lead(&mut self, now_ms: u64) {
        self.lose_lead();
        let outcome = match self.leader.connect().await {
            Ok(mut link) => {
                let outcome = self.leader.set_up(&mut link).await;
                link.close().await;
                outcome
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(left) => {
                for table in left {
                    self.throw_away(table, now_ms + DROP_AGAIN_MS);
                }
                self.leads = true;
                tracing::info!("views: this proxy builds");
            }
            Err(error) => {
                tracing::warn!(%error, "views: the schema on the backend cannot be set up; nothing is built");
                self.unavailable = error.to_string();
                self.leader.release().await;
                self.set_up_not_before_ms = now_ms + 60_000;
            }
        }
    }

    /// Forgets everything that was built under a lock that is gone.
    fn lose_lead(&mut self) {
        self.leads = false;
        self.link = None;
        self.views.registry.retire_all();
        self.book.clear();
        self.garbage.clear();
        if let Some(running) = &self.running {
            running.stop.store(true, Ordering::Relaxed);
        }
    }

    /// A connection for short questions, kept between ticks.
    async fn link(&mut self) -> Result<&mut Link, ViewsError> {
        self.link_used_ms = self.views.now_ms();
        let binlog = &self.views.binlog;
        self.link
            .take_if(|link| binlog.is_of_another(Some(link.server_uuid())));
        if self.link.is_none() {
            let mut link = self.leader.connect().await?;
            link.settle(&Default::default(), Default::default()).await?;
            self.link = Some(link);
        }
        self.link
            .as_mut()
            .ok_or_else(|| ViewsError::Connection("no connection".into()))
    }

    /// The log as read so far.
    fn asof(&self) -> Asof {
        // The epoch first: should it move in between, the pair holds for nothing.
        Asof {
            epoch: self.views.binlog.epoch(),
            position: self.views.binlog.processed(),
        }
    }

    /// A description of a table that holds from the returned point on: the remembered one, or what the server says now that every
    /// change of the table up to that point is known visible.
    async fn table(
        &mut self,
        schema: &str,
        name: &str,
    ) -> Result<(Asof, Option<Arc<TableInfo>>), ViewsError> {
        let (now, key) = (self.asof(), TableKey::new(schema, name));
        let binlog = Arc::clone(&self.views.binlog);
        let holds = move |then: Asof, key: &TableKey| {
            let defined = binlog.last_definition(key);
            defined.is_some_and(|at| at <= then.position) && binlog.epoch() == then.epoch
        };
        if let Some(known) = self.catalog.known((schema, name), &holds) {
            return Ok((now, known));
        }
        let seen = self.views.binlog.seen(&key).await;
        let (epoch, position) = seen.map_err(|error| ViewsError::Gate(error.to_string()))?;
        let asof = Asof { epoch, position };
        match describe(self.link().await?, schema, name).await {
            Ok(found) => {
                let found = found.map(Arc::new);
                self.catalog.remember((schema, name), asof, found.clone());
                Ok((asof, found))
            }
            Err(error) => {
                self.link = None;
                Err(error)
            }
        }
    }

    /// Plans the texts that workers left.
    async fn plan_texts(&mut self, now_ms: u64) {
        for (_, observed) in self.views.statements.all() {
            for unplanned in observed.take_unplanned() {
                if observed.fits_now(&unplanned) {
                    continue;
                }
                match self.plan(&observed.session, unplanned.text()).await {
                    Ok(planned) => observed.planned(&unplanned, planned, now_ms),
                    Err(error) => {
                        tracing::debug!(%error, "views: a base table cannot be described now");
                        return;
                    }
                }
            }
        }
    }

    async fn plan(
        &mut self,
        session: &Session,
        text: &[u8],
    ) -> Result<Result<Plan, Refusal>, ViewsError> {
        let parsed = Parsed::new(text, session);
        let base = match parsed.base_table(session) {
            Ok(base) => base,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (asof, info) = self.table(&base.schema, &base.name).await?;
        let Some(info) = info else {
            return Ok(Err(Refusal::NotBaseTable));
        };
        Ok(Plan::make(&parsed, info, asof))
    }

    /// Ends the use of views whose table changed, and of those whose table is another one now.
    async fn watch_tables(&mut self, now_ms: u64) {
        let binlog = Arc::clone(&self.views.binlog);
        let mut doubtful = Vec::new();
        for entry in &mut self.book {
            let key = &entry.info.key;
            let change = binlog.last_change(key).map(|change| change.position);
            let defined = binlog.last_definition(key);
            let epoch = binlog.epoch();
            let (Some(change), Some(defined)) = (change, defined) else {
                continue;
            };
            if entry.last_change != Some(change) {
                if entry.last_change.is_some() {
                    entry.life.table_changed(now_ms);
                }
                entry.last_change = Some(change);
            }
            if let Some(published) = entry.published.take_if(|published| {
                published.is_stale() || published.epoch != epoch || change > published.position
            }) {
                self.views.registry.retire(entry.id);
                let saved_us = published.usage.saved_us.load(Ordering::Relaxed);
                let saved_ms = saved_us.saturating_sub(entry.saved_us_before) / 1000;
                entry.life.went_stale(now_ms, saved_ms);
                entry.reason = format!("the base table changed at {change}");
            }
            if epoch != entry.asof.epoch || defined > entry.asof.position {
                doubtful.push(entry.id);
            }
        }
        for id in doubtful {
            self.describe_again(id, now_ms).await;
        }
    }

    /// The base table's definition may be another one: if it is, nothing planned or built over it counts any more.
    async fn describe_again(&mut self, id: u64, now_ms: u64) {
        let Some(entry) = self.book.iter().find(|entry| entry.id == id) else {
            return;
        };
        let old = Arc::clone(&entry.info);
        let found = self.table(&old.schema.schema, &old.schema.name).await;
        match found {
            Ok((asof, Some(info))) if info.schema == old.schema => {
                if let Some(entry) = self.book.iter_mut().find(|entry| entry.id == id) {
                    entry.asof = asof;
                    entry.info = info;
                }
            }
            Ok(_) => {
                for (_, observed) in self.views.statements.all() {
                    observed.forget_plans_of(&old.key);
                }
                self.drop_view(id, "the base table was redefined", now_ms)
                    .await;
            }
            Err(error) => tracing::debug!(%error, "views: a base table cannot be described now"),
        }
    }

    /// Takes a view out of use and out of the book; its storage goes after a grace.
    async fn drop_view(&mut self, id: u64, why: &str, now_ms: u64) {
        let Some(at) = self.book.iter().position(|entry| entry.id == id) else {
            return;
        };
        let entry = self.book.swap_remove(at);
        self.views.registry.retire(id);
        self.counters.dropped += 1;
        tracing::info!(view = id, table = %entry.info.key, why, "views: dropped");
        if let Some(running) = &self.running
            && running.id == id
        {
            // Its table is thrown away when it ends.
            running.stop.store(true, Ordering::Relaxed);
        }
        if entry.generation > 0 {
            let table = self.table_name(id, entry.generation);
            self.throw_away(table, now_ms + GRACE_MS);
        }
        let list = self.list.clone();
        if let Ok(link) = self.link().await {
            // The list informs people; a row too many does no harm.
            let _ = list.strike(link, id).await;
        }
    }

    fn table_name(&self, id: u64, generation: u64) -> String {
        super::storage::storage_sql(&self.views.settings.schema, id, generation)
    }

    fn throw_away(&mut self, table: String, not_before_ms: u64) {
        if self.garbage.len() < GARBAGE_MAX && !self.garbage.iter().any(|g| g.table == table) {
            self.garbage.push(Garbage {
                table,
                not_before_ms,
            });
        }
    }
}
