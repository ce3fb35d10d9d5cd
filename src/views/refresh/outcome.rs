//! What follows from a build: publish, try again, hold, or never again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::super::connection::ViewsError;
use super::super::job::Done;
use super::super::leader::Listed;
use super::super::lifecycle::State;
use super::super::registry::Published;
use super::{GRACE_MS, Keeper, Summary};

/// Failures in a row, other than a changed base table, after which a view is given up for a while.
const ERRORS_MAX: u32 = 5;
/// First wait of a definition that lacks a privilege, in ms.
const DENIED_HOLD_MS: u64 = 600_000;

impl Keeper {
    /// Takes the outcome of a build that has ended.
    pub(super) async fn end_build(&mut self, now_ms: u64) {
        if !self
            .running
            .as_ref()
            .is_some_and(|running| running.handle.is_finished())
        {
            return;
        }
        let Some(running) = self.running.take() else {
            return;
        };
        let outcome = match running.handle.await {
            Ok(outcome) => outcome,
            Err(error) => Err(ViewsError::Connection(format!(
                "the build task ended: {error}"
            ))),
        };
        let table = self.table_name(running.id, running.generation);
        let wanted = self.leads && self.book.iter().any(|entry| entry.id == running.id);
        match outcome {
            Ok(done) if wanted => self.publish(running.id, done, now_ms).await,
            outcome => {
                self.throw_away(table, now_ms);
                if let (Err(error), true) = (outcome, wanted) {
                    self.failed(running.id, error, now_ms).await;
                }
            }
        }
    }

    async fn publish(&mut self, id: u64, done: Done, now_ms: u64) {
        let Some(entry) = self.book.iter_mut().find(|entry| entry.id == id) else {
            return;
        };
        let rows = done.view.rows;
        let earlier = entry.generation.saturating_sub(1);
        let published = Arc::new(Published::new(
            done.view,
            vec![entry.info.key.clone()],
            (done.position, done.epoch),
            done.engine,
            Arc::clone(&entry.usage),
        ));
        entry.saved_us_before = entry.usage.saved_us.load(Ordering::Relaxed);
        entry.life.published(now_ms);
        entry.reason.clear();
        entry.errors_in_a_row = 0;
        entry.builds += 1;
        entry.last = Some(Summary {
            rows,
            base_rows: done.base_rows,
            bytes: done.bytes,
            build_us: u64::try_from(done.elapsed.as_micros()).unwrap_or(u64::MAX),
            samples: done.samples,
            engine_reason: done.engine_reason,
            at: SystemTime::now(),
        });
        entry.published = Some(Arc::clone(&published));
        let (fingerprint, generation) = (entry.definition.fingerprint(), entry.generation);
        tracing::info!(
            view = id, generation, table = %entry.info.key, rows, base_rows = done.base_rows,
            ms = u64::try_from(done.elapsed.as_millis()).unwrap_or(u64::MAX), samples = done.samples,
            base_us = done.sample_us.0, view_us = done.sample_us.1, "views: published"
        );
        self.counters.published += 1;
        self.backoff.clear(fingerprint);
        self.estimates.insert(fingerprint, rows);
        self.views.registry.publish(published);
        if earlier > 0 {
            let table = self.table_name(id, earlier);
            self.throw_away(table, now_ms + GRACE_MS);
        }
        self.note(id, "ready", rows, "").await;
        self.drop_replaced(id, now_ms).await;
    }

    /// Views of the same keys that the new one covers are of no use any more.
    async fn drop_replaced(&mut self, id: u64, now_ms: u64) {
        let Some(new) = self.book.iter().find(|entry| entry.id == id) else {
            return;
        };
        let replaced: Vec<u64> = self
            .book
            .iter()
            .filter(|old| {
                old.id != id
                    && old.definition.keys == new.definition.keys
                    && new.definition.covers(&old.definition)
            })
            .map(|old| old.id)
            .collect();
        for old in replaced {
            self.drop_view(old, &format!("replaced by view {id}"), now_ms)
                .await;
        }
    }

    async fn failed(&mut self, id: u64, error: ViewsError, now_ms: u64) {
        let Some(entry) = self.book.iter_mut().find(|entry| entry.id == id) else {
            return;
        };
        let fingerprint = entry.definition.fingerprint();
        entry.builds_void += 1;
        entry.reason = error.to_string();
        entry.life.build_void(now_ms, entry.builds == 0);
        if matches!(error, ViewsError::Changed) {
            self.counters.changed += 1;
            tracing::debug!(view = id, "views: the base table changed during the build");
            return;
        }
        entry.last_error = Some(error.to_string());
        entry.errors_in_a_row += 1;
        let give_up = entry.errors_in_a_row >= ERRORS_MAX;
        self.counters.failed += 1;
        let why = error.to_string();
        match error {
            ViewsError::Mismatch(_) => {
                self.counters.mismatches += 1;
                // An alarm: nobody was served, but the rules that led here are wrong.
                tracing::error!(
                    view = id,
                    why,
                    "views: a view differs from its base table; it is never built again"
                );
                self.backoff.ban(fingerprint, why.clone());
            }
            ViewsError::TooLarge { .. } | ViewsError::Unsupported(_) => {
                self.backoff.hold(fingerprint, now_ms, why.clone());
            }
            ViewsError::Server {
                code: 1044 | 1142 | 1143 | 1227,
                ..
            } => {
                self.backoff
                    .hold_from(fingerprint, now_ms, DENIED_HOLD_MS, why.clone());
            }
            // As often as they occur these may pass: tried again in the view's own rhythm, a few times.
            _ if !give_up => {
                tracing::warn!(
                    view = id,
                    why,
                    "views: a build failed and will be tried again"
                );
                return;
            }
            _ => {
                self.backoff.hold(fingerprint, now_ms, why.clone());
            }
        }
        tracing::warn!(view = id, why, "views: given up for now");
        self.drop_view(id, &why, now_ms).await;
    }

    async fn note(&mut self, id: u64, state: &'static str, rows: u64, reason: &str) {
        let Some(entry) = self.book.iter().find(|entry| entry.id == id) else {
            return;
        };
        debug_assert!(state != "ready" || entry.life.state() == State::Ready);
        let row = Listed {
            id,
            generation: entry.generation,
            state,
            rows,
            reason,
        };
        let list = self.list.clone();
        if let Ok(link) = self.link().await
            && let Err(error) = list.note(link, &row).await
        {
            tracing::debug!(%error, "views: the list on the backend cannot be written");
            self.link = None;
        }
    }
}
