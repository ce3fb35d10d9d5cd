//! The task's book as a snapshot for admin tables and metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::super::definition::Definition;
use super::super::leader::describe;
use super::super::lifecycle::State;
use super::super::registry::EngineUse;
use super::super::snapshot::{CandidateRow, Snapshot, ViewRow};
use super::{Asked, Entry, Keeper};

/// Rows of candidates shown; the most expensive are.
const CANDIDATES_SHOWN_MAX: usize = 1_000;

impl Keeper {
    /// Replaces the snapshot.
    pub(super) fn show(&mut self, now_ms: u64) {
        self.counters.overflow = self.views.statements.overflow();
        self.counters.failures = self.views.failures.load(Ordering::Relaxed);
        let mut candidates = self.candidate_rows(now_ms);
        candidates.extend(self.refused_rows(now_ms));
        candidates.truncate(CANDIDATES_SHOWN_MAX);
        self.views.shown.store(Arc::new(Snapshot {
            leads: self.leads,
            unavailable: self.unavailable.clone(),
            views: self.book.iter().map(|entry| self.view_row(entry)).collect(),
            candidates,
            counters: self.counters,
        }));
    }

    fn view_row(&self, entry: &Entry) -> ViewRow {
        let usage = &entry.usage;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let hits = read(&usage.hits);
        let last = entry.last.as_ref();
        let running = self
            .running
            .as_ref()
            .filter(|running| running.id == entry.id);
        let target = match entry.published.as_ref().map(|p| &p.engine) {
            Some(EngineUse::Proven(engine)) => format!("innodb+{engine}"),
            _ => "innodb".to_owned(),
        };
        ViewRow {
            id: entry.id,
            name: self
                .table_name(entry.id, entry.generation.max(1))
                .replace('`', ""),
            base_schema: entry.definition.base.schema.clone(),
            base_table: entry.definition.base.name.clone(),
            state: entry.life.state().label(),
            reason: entry.reason.clone(),
            definition: describe(&entry.definition),
            target,
            engine_reason: last.and_then(|last| last.engine_reason.clone()),
            rows: last.map(|last| last.rows),
            base_rows: last.map(|last| last.base_rows),
            bytes: last.map(|last| last.bytes),
            hits,
            saved_us: read(&usage.saved_us),
            view_us: read(&usage.view_us).checked_div(hits),
            gate_closed: read(&usage.gate_closed),
            position: entry.published.as_ref().map(|p| p.position.to_string()),
            builds: entry.builds,
            builds_void: entry.builds_void,
            build_us: last.map(|last| last.build_us),
            samples: last.map_or(0, |last| last.samples),
            progress_percent: running.map(|running| running.progress.percent()),
            last_error: entry.last_error.clone(),
            created_at: Some(entry.created_at),
            refreshed_at: last.map(|last| last.at),
            last_used_at: entry.last_used_at,
        }
    }

    fn candidate_rows(&self, now_ms: u64) -> Vec<CandidateRow> {
        self.candidates
            .iter()
            .map(|candidate| {
                let definition = &candidate.definition;
                let view = self
                    .book
                    .iter()
                    .find(|entry| entry.definition.covers(definition));
                let (state, reason) = match (view, &candidate.short_of) {
                    (Some(entry), _) => match entry.life.state() {
                        State::Ready => ("built", format!("view {}", entry.id)),
                        State::Building => ("building", format!("view {}", entry.id)),
                        _ => ("waiting", entry.reason.clone()),
                    },
                    (None, Some(short)) => ("counting", short.clone()),
                    (None, None) => match self.refused(candidate, now_ms) {
                        Some(why) => ("refused", why),
                        None => ("waiting", self.unavailable.clone()),
                    },
                };
                let asked = self.last_asked(definition);
                CandidateRow {
                    pattern: format!("{:032x}", definition.fingerprint()),
                    base_schema: definition.base.schema.clone(),
                    base_table: definition.base.name.clone(),
                    definition: describe(definition),
                    state,
                    reason,
                    last_digest: asked
                        .map(|asked| asked.digest.to_string())
                        .unwrap_or_default(),
                    executions: candidate.count,
                    mean_us: candidate.time_us as f64 / candidate.count.max(1) as f64,
                    benefit_us: candidate.time_us,
                    rows_estimated: self.estimates.get(&definition.fingerprint()).copied(),
                    last_seen: asked.and_then(|asked| ago(now_ms, asked.last_ms)),
                }
            })
            .collect()
    }

    fn last_asked(&self, definition: &Definition) -> Option<&Asked> {
        self.digests
            .iter()
            .filter(|asked| definition.covers(&asked.definition))
            .max_by_key(|asked| asked.last_ms)
    }

    /// Statements that no view can answer, by the rule that says so.
    fn refused_rows(&self, now_ms: u64) -> Vec<CandidateRow> {
        self.views
            .statements
            .all()
            .iter()
            .filter(|(_, observed)| observed.variants().is_empty())
            .filter_map(|(_, observed)| {
                let refusal = observed.refusal()?;
                Some(CandidateRow {
                    pattern: observed.digest.to_string(),
                    state: "refused",
                    reason: refusal.label().to_owned(),
                    last_digest: observed.digest.to_string(),
                    executions: observed.refused_count(),
                    last_seen: ago(now_ms, observed.last_ms()),
                    ..CandidateRow::default()
                })
            })
            .collect()
    }
}

/// The moment that lies as long ago as `then_ms` before `now_ms`.
fn ago(now_ms: u64, then_ms: u64) -> Option<SystemTime> {
    SystemTime::now().checked_sub(Duration::from_millis(now_ms.saturating_sub(then_ms)))
}
