//! Aggregate views: recognise, choose, build, match, rewrite, retire. Any doubt goes to the base tables.
//!
//! A statement's way: [`Views::route`] finds the view that answers it (workers, no lock, no wait); the session asks the gate
//! whether that view still equals its base table and runs the rewritten statement; [`Views::served`] or
//! [`Views::gate_closed`] tells how it went. What ran on base tables is counted by [`Views::observe`]; the task behind
//! [`Views::run`] builds what comes back often enough and publishes it; a question is answered from it once its answer was compared with the
//! base table's, in the build or in a [`trial`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub mod advisor;
pub mod build;
pub mod catalog;
pub mod connection;
pub mod definition;
pub mod job;
pub mod keyset;
pub mod leader;
pub mod lifecycle;
pub mod matching;
pub mod observed;
pub mod pattern;
pub mod plan;
mod refresh;
pub mod refusal;
pub mod registry;
pub mod rewrite;
pub mod schema;
pub mod secondary;
pub mod shadow;
pub mod snapshot;
pub mod storage;
pub mod trial;

use crate::backend::control::Control;
use crate::backend::probe::SharedCapabilities;
use crate::binlog::{Binlog, GateError};
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::sql::env::SessionEnv;
use crate::sql::{DigestScratch, Statement};
use observed::{Memo, ObservedKey, Statements, Timing, Variant};
use pattern::check::{Check, ParameterValue};
use refusal::Refusal;
use registry::{EngineUse, Published, Registry};
use secondary::Engine;
use snapshot::Snapshot;

/// Statements observed at most, whatever the statement cache holds.
const STATEMENTS_MAX: usize = 4_096;
/// How long a secondary engine that refused a statement is left alone, in ms.
const ENGINE_REST_MS: u64 = 60_000;

/// A statement as a session asks it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What is known of it.
    pub statement: &'a Arc<Statement>,
    /// The client's bytes.
    pub text: &'a [u8],
    /// The digest's working memory after it ran over `text`.
    pub scratch: &'a DigestScratch,
    /// The session's default schema; empty for none.
    pub schema: &'a str,
    /// The session's environment.
    pub env: &'a Arc<SessionEnv>,
}

/// How a statement is answered from a view.
#[derive(Debug, Clone)]
pub struct ViewRoute {
    /// What to run, in the client's character set, on a connection with the client's environment and no open transaction.
    pub sql: Vec<u8>,
    /// What to run when `sql` fails with an error for which [`secondary::is_refusal`] holds: the same from InnoDB.
    pub fallback_sql: Option<Vec<u8>>,
    /// For each `?` of the statement in order: the number of the client's parameter that belongs there.
    pub parameters: Vec<u16>,
    /// What the client's parameters must be, by number; test them with `pattern::check_parameters` at each execution.
    pub checks: Vec<(u16, Check)>,
    /// The view. The gate must prove `tables` unchanged since `position` in `epoch` before `sql` runs.
    pub view: Arc<Published>,
    /// Mean time of this question on base tables, in microseconds; 0 when not known.
    pub base_us: u64,
    variant: Arc<Variant>,
}

/// The room's handle; share it as `Arc<Views>`, call it from any thread.
pub struct Views {
    settings: crate::config::Views,
    digest_text_bytes_max: usize,
    control: Arc<Control>,
    binlog: Arc<Binlog>,
    capabilities: SharedCapabilities,
    statements: Statements,
    registry: Registry,
    shown: arc_swap::ArcSwap<Snapshot>,
    failures: AtomicU64,
    wake: Notify,
    /// When the lead was last taken, kept, or found taken by another.
    looked: Mutex<Option<Instant>>,
    started: Instant,
}

impl Views {
    /// A room without views; [`Views::run`] makes them.
    pub fn new(
        config: &Config,
        control: Arc<Control>,
        binlog: Arc<Binlog>,
        capabilities: SharedCapabilities,
    ) -> Arc<Self> {
        let statements_max = config.statements.cache_entries_max.min(STATEMENTS_MAX);
        Arc::new(Self {
            settings: config.views.clone(),
            digest_text_bytes_max: config.statements.digest_text_bytes_max,
            control,
            binlog,
            capabilities,
            statements: Statements::new(statements_max, config.views.shadow_samples as usize),
            registry: Registry::default(),
            shown: arc_swap::ArcSwap::default(),
            failures: AtomicU64::new(0),
            wake: Notify::new(),
            looked: Mutex::new(None),
            started: Instant::now(),
        })
    }

    /// Builds, watches and drops views until `shutdown`. Spawn it once, on the control runtime.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        if !self.settings.enabled {
            self.shown.store(Arc::new(Snapshot {
                unavailable: "views.enabled is false".into(),
                ..Snapshot::default()
            }));
            return;
        }
        refresh::Keeper::new(self).run(shutdown).await;
    }

    /// Whether it is known since `then` who builds: this proxy, another, or none.
    pub fn has_looked_since(&self, then: Instant) -> bool {
        !self.settings.enabled || self.looked.lock().is_some_and(|looked| looked >= then)
    }

    /// Milliseconds since the room was made: the clock of everything in it.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Finds the view that answers a statement of a session outside any transaction. Counts nothing: it may be asked for
    /// EXPLAIN ROUTE as well.
    ///
    /// # Errors
    /// The rule that keeps the statement on the base tables.
    pub fn route(&self, question: &Question<'_>) -> Result<ViewRoute, Refusal> {
        if !self.settings.enabled {
            return Err(Refusal::ViewsOff);
        }
        let Question { text, scratch, .. } = *question;
        if !question.statement.aggregate {
            return Err(Refusal::NoAggregate);
        }
        question.env.is_default_enough()?;
        let key = ObservedKey::new(question);
        let observed = self.statements.get(&key).ok_or(Refusal::NotPlanned)?;
        let variant = observed.variant(text, scratch)?;
        if variant.plan.is_outdated(&self.binlog) {
            observed.forget_plans_of(variant.plan.table());
            return Err(Refusal::NotPlanned);
        }
        let (view, matched) = self.matched(&variant)?;
        if view.is_stale() {
            return Err(Refusal::ViewStale);
        }
        if !variant.proof.holds(view.view.id) {
            return Err(Refusal::NotCompared);
        }
        let rewritten = variant.plan.rewrite(&matched, text, scratch)?;
        let (sql, fallback_sql) = self.with_engine(rewritten.sql, &view);
        Ok(ViewRoute {
            sql,
            fallback_sql,
            parameters: rewritten.parameters,
            checks: rewritten.checks,
            view,
            base_us: variant.mean_us(),
            variant,
        })
    }

    /// The match of a question with the present views, remembered until the set of views moves.
    fn matched(&self, variant: &Variant) -> Result<plan::Found, Refusal> {
        let ready = self.registry.ready();
        let memo = variant.memo.load();
        if memo.version == ready.version
            && let Some(found) = &memo.found
        {
            return found.clone();
        }
        let found = variant.plan.find(ready.of(variant.plan.table()));
        variant.memo.store(Arc::new(Memo {
            version: ready.version,
            found: Some(found.clone()),
        }));
        found
    }

    /// Fixes the engine of the statement when the storage table has one.
    fn with_engine(&self, sql: Vec<u8>, view: &Published) -> (Vec<u8>, Option<Vec<u8>>) {
        match &view.engine {
            EngineUse::None => (sql, None),
            EngineUse::Pinned => (secondary::hinted(&sql, Engine::InnoDb).unwrap_or(sql), None),
            EngineUse::Proven(_) => {
                let pinned = secondary::hinted(&sql, Engine::InnoDb);
                let rests = view.usage.engine_not_before_ms.load(Ordering::Relaxed) > self.now_ms();
                match (secondary::hinted(&sql, Engine::Secondary), pinned) {
                    (Some(forced), Some(pinned)) if !rests => (forced, Some(pinned)),
                    (_, Some(pinned)) => (pinned, None),
                    _ => (sql, None),
                }
            }
        }
    }

    /// Counts an execution of a statement on base tables: call it after an aggregate ran there outside a transaction and
    /// without an error, with the time until its last byte. `parameters`: those of an executed prepared statement, else none.
    pub fn observe(
        &self,
        question: &Question<'_>,
        parameters: &[ParameterValue<'_>],
        base_us: u64,
    ) {
        let eligible = self.settings.enabled && question.statement.aggregate;
        if !eligible || question.env.is_default_enough().is_err() {
            return;
        }
        let timing = Timing {
            now_ms: self.now_ms(),
            base_us,
        };
        if self.statements.observe(question, parameters, timing) {
            self.wake.notify_one();
        }
    }

    /// The statement was answered from the view, in this time.
    pub fn served(&self, route: &ViewRoute, view_us: u64) {
        let usage = &route.view.usage;
        usage.hits.fetch_add(1, Ordering::Relaxed);
        usage.view_us.fetch_add(view_us, Ordering::Relaxed);
        let saved_us = route.base_us.saturating_sub(view_us);
        usage.saved_us.fetch_add(saved_us, Ordering::Relaxed);
        route.variant.hit();
    }

    /// The gate did not open, so the statement ran on base tables.
    pub fn gate_closed(&self, route: &ViewRoute, error: &GateError) {
        route.view.usage.gate_closed.fetch_add(1, Ordering::Relaxed);
        let over = matches!(error, GateError::Changed { .. } | GateError::Epoch);
        if over && route.view.set_stale() {
            self.wake.notify_one();
        }
    }

    /// The rewritten statement failed with this MySQL error, so the fallback or the client's own statement ran. A view
    /// whose table is gone or unreadable is taken out of use.
    pub fn failed(&self, route: &ViewRoute, code: u16) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if secondary::is_refusal(code) {
            let usage = &route.view.usage;
            usage.engine_refusals.fetch_add(1, Ordering::Relaxed);
            let until_ms = self.now_ms() + ENGINE_REST_MS;
            usage
                .engine_not_before_ms
                .store(until_ms, Ordering::Relaxed);
            return;
        }
        if !connection::is_passing(code) && route.view.set_stale() {
            self.wake.notify_one();
        }
    }

    /// Longest wait for the gate.
    pub fn gate_wait(&self) -> Duration {
        Duration::from_millis(self.settings.gate_wait_ms_max)
    }

    /// What the room shows of itself, at most about a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shown.load_full()
    }
}

#[cfg(test)]
mod tests;
