//! Demand, candidates, and the next build: from counters to orders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::super::advisor::{self, Candidate, Demand, Thresholds};
use super::super::build::{Limits, Progress};
use super::super::catalog::{Asof, TableInfo, estimate};
use super::super::connection::{ChunkReads, ViewsError};
use super::super::definition::{Definition, ReadyView};
use super::super::job::{Job, SampleMaker};
use super::super::lifecycle::{Advice, Life, Rhythm, State};
use super::super::observed::{Observed, Session, Variant};
use super::super::registry::Usage;
use super::super::shadow::Sample;
use super::{Asked, Entry, GRACE_MS, Keeper, REMEMBERED_MAX, Running};
use crate::config::SecondaryEngine;
use crate::sql::DigestScratch;

/// Samples compared in one build at most, over all statements.
const SAMPLES_MAX: usize = 16;
/// Samples compared when a definition that was compared before is built again: the base tables are spared.
const SAMPLES_AGAIN: usize = 2;
/// First wait of a candidate whose estimate took too long, in ms.
const SHORT_HOLD_MS: u64 = 30_000;
/// First wait of a candidate that is too large or cannot be built, in ms.
const LONG_HOLD_MS: u64 = 3_600_000;

impl Keeper {
    pub(super) fn thresholds(&self) -> Thresholds {
        Thresholds {
            repeat_count_min: u64::from(self.views.settings.repeat_count_min.max(1)),
            mean_us_min: self.views.settings.mean_ms_min.saturating_mul(1000),
        }
    }

    pub(super) fn rhythm(&self) -> Rhythm {
        Rhythm {
            rebuild_interval_ms_min: self.views.settings.rebuild_interval_ms_min,
            window_ms: self.views.settings.repeat_window_ms,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let settings = &self.views.settings;
        Limits {
            rows_max: settings.rows_max,
            ratio_max: settings.size_ratio_max,
            chunk_target: Duration::from_millis(settings.chunk_ms_target.max(1)),
            reads: ChunkReads::default(),
        }
    }

    /// Moves the windows on and gives each view its demand: what it answered, and what it would have.
    pub(super) fn count_demand(&mut self, now_ms: u64) {
        let window_ms = self.views.settings.repeat_window_ms;
        let mut demands = Vec::new();
        self.digests.clear();
        for entry in &mut self.book {
            entry.demand = 0;
        }
        for (_, observed) in self.views.statements.all() {
            observed.note_hits(now_ms);
            for variant in observed.variants().iter() {
                let (base, hits) = variant.advance(now_ms, window_ms);
                let definition = variant.plan.definition();
                for entry in &mut self.book {
                    if entry.definition.covers(definition) {
                        entry.demand += base.0 + hits;
                        if base.0 + hits > 0 {
                            entry.life.wanted(observed.last_ms().min(now_ms));
                        }
                    }
                }
                asked(&mut self.digests, definition, &observed);
                demands.push(Demand {
                    definition: Arc::clone(definition),
                    count: base.0,
                    time_us: base.1,
                });
            }
        }
        for entry in &mut self.book {
            let hits = entry.usage.hits.load(Ordering::Relaxed);
            if hits != entry.hits_seen {
                entry.hits_seen = hits;
                entry.last_used_at = Some(SystemTime::now());
            }
        }
        let estimates = &self.estimates;
        let rows = |definition: &Definition| estimates.get(&definition.fingerprint()).copied();
        self.candidates = advisor::candidates(&demands, self.thresholds(), &rows);
        // What nobody asks for any more is forgotten; it is observed anew when it comes back.
        let forget_ms = window_ms.saturating_mul(10).max(3_600_000);
        self.views
            .statements
            .forget(now_ms.saturating_sub(forget_ms));
    }

    /// Drops what is not worth its keep, takes in new candidates, starts the one build that is most wanted.
    pub(super) async fn decide(&mut self, now_ms: u64) {
        let (thresholds, rhythm) = (self.thresholds(), self.rhythm());
        let mut wanted: Option<(u64, u64)> = None;
        let mut dropped = Vec::new();
        for entry in &mut self.book {
            match entry
                .life
                .advice(now_ms, entry.demand, thresholds.repeat_count_min, rhythm)
            {
                Advice::Build => {
                    if wanted.is_none_or(|(_, demand)| demand < entry.demand) {
                        wanted = Some((entry.id, entry.demand));
                    }
                }
                Advice::Wait(why) => {
                    if !why.is_empty() && entry.life.state() != State::Building {
                        entry.reason = why;
                    }
                }
                Advice::Drop(why) => dropped.push((entry.id, why)),
            }
        }
        for (id, why) in dropped {
            if let Some(entry) = self.book.iter().find(|entry| entry.id == id) {
                self.backoff
                    .hold(entry.definition.fingerprint(), now_ms, why.clone());
            }
            self.drop_view(id, &why, now_ms).await;
        }
        if self.running.is_some() {
            return;
        }
        if let Some((id, _)) = wanted {
            self.start(id, now_ms);
            return;
        }
        self.take_in(now_ms).await;
    }

    /// Enters the most expensive candidate that is worth a view into the book.
    async fn take_in(&mut self, now_ms: u64) {
        for candidate in self.candidates.clone() {
            if candidate.short_of.is_some() || self.refused(&candidate, now_ms).is_some() {
                continue;
            }
            let definition = self.with_siblings(&candidate);
            match self.admit(&definition, now_ms).await {
                Ok(()) => return,
                Err(error) => {
                    let fingerprint = candidate.definition.fingerprint();
                    if matches!(error, ViewsError::Connection(_)) {
                        // Says nothing about the candidate.
                        tracing::debug!(%error, "views: a candidate cannot be looked at now");
                        self.link = None;
                        return;
                    }
                    let late = matches!(error, ViewsError::Late { .. });
                    let first_ms = if late { SHORT_HOLD_MS } else { LONG_HOLD_MS };
                    self.backoff
                        .hold_from(fingerprint, now_ms, first_ms, error.to_string());
                    if late {
                        self.link = None;
                        return;
                    }
                }
            }
        }
    }

    /// Why a candidate with enough demand is not taken in now.
    pub(super) fn refused(&self, candidate: &Candidate, now_ms: u64) -> Option<String> {
        if let Some(entry) = self
            .book
            .iter()
            .find(|entry| entry.definition.covers(&candidate.definition))
        {
            return Some(format!("view {} is there for it", entry.id));
        }
        if let Some(held) = self
            .backoff
            .held(candidate.definition.fingerprint(), now_ms)
        {
            return Some(held.reason.clone());
        }
        if self.book.len() >= self.views.settings.views_max {
            return Some("views.views_max views exist".into());
        }
        None
    }

    /// Joins the candidate with a view of the same keys, which the new one then replaces.
    fn with_siblings(&self, candidate: &Candidate) -> Arc<Definition> {
        let mut definition = Arc::clone(&candidate.definition);
        for entry in &self.book {
            if entry.definition.keys == definition.keys
                && let Some(merged) = entry.definition.merged(&definition)
            {
                definition = Arc::new(merged);
            }
        }
        definition
    }

    /// Describes, estimates, lists. Afterwards the view is in the book, to be built.
    async fn admit(&mut self, definition: &Arc<Definition>, now_ms: u64) -> Result<(), ViewsError> {
        let base = &definition.base;
        let (asof, info) = self.table(&base.schema, &base.name).await?;
        let info = info.ok_or_else(|| ViewsError::Unsupported("the table is gone".into()))?;
        if let Err(error) = &info.keyset {
            return Err(ViewsError::Unsupported(error.to_string()));
        }
        let link = self.link().await?;
        let rows = estimate(link, &info, definition).await?;
        self.remember_estimate(definition, rows);
        let rows_max = self.limits().rows_allowed(info.rows_estimated);
        if rows > rows_max {
            return Err(ViewsError::TooLarge { rows, rows_max });
        }
        let list = self.list.clone();
        let id = list.list(self.link().await?, definition).await?;
        tracing::info!(view = id, table = %info.key, groups = rows, "views: a view is worth building");
        self.book.push(entry(id, definition, info, asof, now_ms));
        Ok(())
    }

    fn remember_estimate(&mut self, definition: &Definition, rows: u64) {
        if self.estimates.len() >= REMEMBERED_MAX {
            self.estimates.clear();
        }
        self.estimates.insert(definition.fingerprint(), rows);
    }

    /// Starts the build of a view of the book.
    fn start(&mut self, id: u64, now_ms: u64) {
        let limits = self.limits();
        let Some(at) = self.book.iter().position(|entry| entry.id == id) else {
            return;
        };
        let Some((definition, builds)) = self
            .book
            .get(at)
            .map(|entry| (Arc::clone(&entry.definition), entry.builds))
        else {
            return;
        };
        let samples = self.sample_maker(&definition, builds == 0);
        let engine = self.engine();
        let Some(entry) = self.book.get_mut(at) else {
            return;
        };
        entry.generation += 1;
        entry.life.build_begins(now_ms);
        entry.reason = "being built".into();
        let (stop, progress) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(Progress::default()),
        );
        let job = Job {
            control: Arc::clone(&self.views.control),
            binlog: Arc::clone(&self.views.binlog),
            info: Arc::clone(&entry.info),
            definition,
            schema: self.views.settings.schema.clone(),
            id,
            generation: entry.generation,
            limits,
            engine,
            stop: Arc::clone(&stop),
            progress: Arc::clone(&progress),
            samples,
        };
        self.counters.builds += 1;
        let wake = Arc::clone(&self.views);
        let handle = tokio::spawn(async move {
            let outcome = job.run().await;
            wake.wake.notify_one();
            outcome
        });
        self.running = Some(Running {
            id,
            generation: entry.generation,
            stop,
            progress,
            handle,
        });
    }

    /// The engine to load into, when there is one. A mock is used only when it is named.
    fn engine(&self) -> Option<String> {
        match &self.views.settings.secondary_engine {
            SecondaryEngine::Off => None,
            SecondaryEngine::Named(name) => Some(name.clone()),
            SecondaryEngine::Auto => {
                let capabilities = self.views.capabilities.load();
                if capabilities.rapid {
                    capabilities.secondary_engine.clone()
                } else {
                    None
                }
            }
        }
    }

    /// Rewrites samples of the statements that the definition covers: one of each, the most executed first, then a second of
    /// each, and so on.
    fn sample_maker(&self, definition: &Arc<Definition>, first: bool) -> SampleMaker {
        let mut sources: Vec<(Arc<Variant>, Session)> = Vec::new();
        for (_, observed) in self.views.statements.all() {
            for variant in observed.variants().iter() {
                if definition.covers(variant.plan.definition()) {
                    sources.push((Arc::clone(variant), observed.session.clone()));
                }
            }
        }
        sources.sort_by_key(|(variant, _)| std::cmp::Reverse(variant.totals().0));
        let samples_max = if first {
            let wanted = self.views.settings.shadow_samples.max(1) as usize;
            wanted.max(sources.len()).min(SAMPLES_MAX)
        } else {
            SAMPLES_AGAIN
        };
        let text_bytes_max = self.views.digest_text_bytes_max;
        Box::new(move |view: &ReadyView| {
            let mut scratch = DigestScratch::new(text_bytes_max);
            let mut made = Vec::new();
            let mut texts: Vec<_> = sources
                .iter()
                .map(|(variant, session)| (variant, session, variant.samples().into_iter()))
                .collect();
            let mut found = true;
            while found && made.len() < samples_max {
                found = false;
                for (variant, session, texts) in &mut texts {
                    let Some(text) = texts.next() else { continue };
                    found = true;
                    scratch.run(&text, session.mode);
                    let rewritten = variant.plan.rewrite_for(view, &text, &scratch);
                    if let (Ok(rewritten), true) = (rewritten, made.len() < samples_max) {
                        made.push(Sample {
                            base_sql: text.to_vec(),
                            view_sql: rewritten.sql,
                            env: Arc::clone(&session.env),
                            schema: session.schema.to_string(),
                            proof: Arc::clone(&variant.proof),
                        });
                    }
                }
            }
            made
        })
    }

    /// Drops tables whose time has come.
    pub(super) async fn drop_garbage(&mut self, now_ms: u64) {
        if !self.leads {
            return;
        }
        let due: Vec<String> = self
            .garbage
            .iter()
            .filter(|garbage| garbage.not_before_ms <= now_ms)
            .map(|garbage| garbage.table.clone())
            .take(4)
            .collect();
        for table in due {
            let sql = format!("DROP TABLE IF EXISTS {table}");
            let outcome = match self.link().await {
                Ok(link) => link.run(&sql, Duration::from_secs(10)).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(_) => self.garbage.retain(|garbage| garbage.table != table),
                Err(error) => {
                    if error.code().is_none() {
                        self.link = None;
                    }
                    tracing::debug!(table, %error, "views: a storage table cannot be dropped yet");
                    for garbage in &mut self.garbage {
                        if garbage.table == table {
                            garbage.not_before_ms = now_ms + GRACE_MS;
                        }
                    }
                }
            }
        }
    }
}

/// Notes which statement asked for a definition last.
fn asked(digests: &mut Vec<Asked>, definition: &Arc<Definition>, observed: &Observed) {
    let (digest, last_ms) = (observed.digest, observed.last_ms());
    match digests
        .iter_mut()
        .find(|known| known.definition == *definition)
    {
        Some(known) if known.last_ms < last_ms => (known.digest, known.last_ms) = (digest, last_ms),
        Some(_) => {}
        None => digests.push(Asked {
            definition: Arc::clone(definition),
            digest,
            last_ms,
        }),
    }
}

fn entry(
    id: u64,
    definition: &Arc<Definition>,
    info: Arc<TableInfo>,
    asof: Asof,
    now_ms: u64,
) -> Entry {
    Entry {
        id,
        definition: Arc::clone(definition),
        info,
        asof,
        life: Life::new(now_ms),
        generation: 0,
        published: None,
        usage: Arc::new(Usage {
            hits: AtomicU64::new(0),
            ..Usage::default()
        }),
        saved_us_before: 0,
        last_change: None,
        reason: String::new(),
        last: None,
        last_error: None,
        errors_in_a_row: 0,
        builds: 0,
        builds_void: 0,
        created_at: SystemTime::now(),
        demand: 0,
        hits_seen: 0,
        last_used_at: None,
    }
}
