//! Questions that a view in use would answer, but that were not compared on it yet: one at a time, the most asked first.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::super::observed::{Session, Variant};
use super::super::registry::Published;
use super::super::shadow::Sample;
use super::super::trial::{Trial, Verdict};
use super::Keeper;
use crate::sql::DigestScratch;

/// Executions before a question is worth running once more on the base table.
const ASKED_MIN: u64 = 2;
/// A trial under way.
pub(super) struct Trying {
    variant: Arc<Variant>,
    published: Arc<Published>,
    handle: JoinHandle<Verdict>,
}

/// A question that waits for its trial.
type Waiting = (Arc<Variant>, Arc<Published>, Session);

impl Keeper {
    /// Takes the verdict of the trial that has ended, and begins the next.
    pub(super) async fn try_questions(&mut self, now_ms: u64) {
        if let Some(trying) = self.trying.take_if(|trying| trying.handle.is_finished()) {
            let verdict = match trying.handle.await {
                Ok(verdict) => verdict,
                Err(error) => Verdict::Unclear(format!("the trial ended: {error}")),
            };
            self.follow(&trying.variant, &trying.published, verdict, now_ms)
                .await;
        }
        if self.trying.is_some() || !self.leads {
            return;
        }
        for (variant, published, session) in self.waiting(now_ms) {
            match self.sample(&variant, &published, &session) {
                Some(sample) => {
                    self.begin(variant, published, sample);
                    return;
                }
                // Another text may do; one is kept with each of the next executions.
                None => variant.proof.rest(now_ms),
            }
        }
    }

    fn waiting(&self, now_ms: u64) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for (_, observed) in self.views.statements.all() {
            for variant in observed.variants().iter() {
                let few = variant.totals().0 < ASKED_MIN || variant.samples().is_empty();
                if few || variant.proof.rests(now_ms) {
                    continue;
                }
                if let Ok((published, _)) = self.views.matched(variant)
                    && !variant.proof.holds(published.view.id)
                    && !published.is_stale()
                {
                    waiting.push((Arc::clone(variant), published, observed.session.clone()));
                }
            }
        }
        waiting.sort_by_key(|(variant, ..)| std::cmp::Reverse(variant.totals().0));
        waiting
    }

    /// A text of the question with its rewriting; `None` when none of those kept can be rewritten.
    fn sample(
        &self,
        variant: &Variant,
        published: &Published,
        session: &Session,
    ) -> Option<Sample> {
        let mut scratch = DigestScratch::new(self.views.digest_text_bytes_max);
        variant.samples().iter().find_map(|text| {
            scratch.run(text, session.mode);
            let rewritten = variant.plan.rewrite_for(&published.view, text, &scratch);
            Some(Sample {
                base_sql: text.to_vec(),
                view_sql: rewritten.ok()?.sql,
                env: Arc::clone(&session.env),
                schema: session.schema.to_string(),
                proof: Arc::clone(&variant.proof),
            })
        })
    }

    fn begin(&mut self, variant: Arc<Variant>, published: Arc<Published>, sample: Sample) {
        let trial = Trial {
            control: Arc::clone(&self.views.control),
            binlog: Arc::clone(&self.views.binlog),
            published: Arc::clone(&published),
            sample,
        };
        let views = Arc::clone(&self.views);
        let handle = tokio::spawn(async move {
            let verdict = trial.run().await;
            views.wake.notify_one();
            verdict
        });
        self.trying = Some(Trying {
            variant,
            published,
            handle,
        });
    }

    async fn follow(
        &mut self,
        variant: &Variant,
        published: &Published,
        verdict: Verdict,
        now_ms: u64,
    ) {
        let view = published.view.id;
        match verdict {
            Verdict::Equal => {
                variant.proof.equal(view);
                tracing::debug!(view, "views: one more question is answered from this view");
            }
            Verdict::Unclear(why) => {
                variant.proof.rest(now_ms);
                tracing::debug!(view, why, "views: a question could not be compared");
            }
            Verdict::EngineDifferent(why) => {
                variant.proof.rest(now_ms);
                self.counters.mismatches += 1;
                tracing::error!(view, why, "views: the secondary engine answers differently");
            }
            Verdict::Different(why) => {
                self.counters.mismatches += 1;
                // An alarm: this question was never answered from it, but the rules that led here are wrong.
                tracing::error!(view, why, "views: a view differs from its base table");
                let fingerprint = published.view.definition.fingerprint();
                self.backoff.ban(fingerprint, why.clone());
                self.drop_view(view, &why, now_ms).await;
            }
        }
    }
}
