//! One question compared on a view that is in use already: its statement came after the build, or found no place among the
//! build's samples. Reads only; what follows from the verdict is the caller's.

use std::sync::Arc;
use std::time::Duration;

use super::connection::ViewsError;
use super::leader::connect_to_log;
use super::registry::Published;
use super::shadow::{self, Compared, Sample};
use crate::backend::control::Control;
use crate::binlog::Binlog;

/// Wait for the gate after the comparison.
const PROOF_WAIT: Duration = Duration::from_secs(2);

/// A question and the view to compare it on.
pub struct Trial {
    /// The control plane.
    pub control: Arc<Control>,
    /// The gate.
    pub binlog: Arc<Binlog>,
    /// The view.
    pub published: Arc<Published>,
    /// The question, rewritten for it.
    pub sample: Sample,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every cell was equal.
    Equal,
    /// The view's own copy on InnoDB answered differently while nothing had changed: the rules are wrong.
    Different(String),
    /// Only the secondary engine answered differently.
    EngineDifferent(String),
    /// Nothing can be said now, and why.
    Unclear(String),
}

impl Trial {
    /// Runs the statement on the base table and on the view, and then proves that both stood still: the view equals the base
    /// table at its position, every change up to there was visible before it was published, and none came after it.
    pub async fn run(&self) -> Verdict {
        let outcomes = self.compare().await;
        let view = &self.published;
        let proof =
            self.binlog
                .unchanged_since(&view.tables, view.position, view.epoch, PROOF_WAIT);
        match proof.await {
            // A view that is out of use may have lost its table: that says nothing.
            Ok(_) if !view.is_stale() => judge(outcomes),
            Ok(_) => Verdict::Unclear("the view went out of use meanwhile".into()),
            Err(error) => Verdict::Unclear(error.to_string()),
        }
    }

    async fn compare(&self) -> Result<Vec<Compared>, ViewsError> {
        let mut link = connect_to_log(&self.control, &self.binlog).await?;
        let outcomes = shadow::run(&mut link, &self.sample, &self.published.engine).await?;
        link.close().await;
        Ok(outcomes)
    }
}

/// The verdict of a comparison during which nothing changed: of the InnoDB copy first, then of the engine.
fn judge(outcomes: Result<Vec<Compared>, ViewsError>) -> Verdict {
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error @ ViewsError::Mismatch(_)) => return Verdict::Different(error.to_string()),
        Err(error) => return Verdict::Unclear(error.to_string()),
    };
    let mut outcomes = outcomes.into_iter();
    match outcomes.next() {
        Some(Compared::Equal { .. }) => {}
        Some(Compared::Different(words)) => return Verdict::Different(words),
        Some(Compared::Skipped(why)) => return Verdict::Unclear(why),
        None => return Verdict::Unclear("its statement takes no hint".into()),
    }
    match outcomes.next() {
        None | Some(Compared::Equal { .. }) => Verdict::Equal,
        Some(Compared::Different(words)) => Verdict::EngineDifferent(words),
        Some(Compared::Skipped(why)) => Verdict::Unclear(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal() -> Compared {
        Compared::Equal {
            base_us: 1,
            view_us: 1,
        }
    }

    #[test]
    fn only_equal_answers_are_a_proof() {
        let different = || Compared::Different("row 1".into());
        let skipped = || Compared::Skipped("warnings".into());
        let verdict = |outcomes| judge(Ok(outcomes));
        assert_eq!(verdict(vec![equal()]), Verdict::Equal);
        assert_eq!(verdict(vec![equal(), equal()]), Verdict::Equal);
        assert!(matches!(verdict(vec![different()]), Verdict::Different(_)));
        assert!(matches!(
            verdict(vec![different(), equal()]),
            Verdict::Different(_)
        ));
        assert!(matches!(
            verdict(vec![equal(), different()]),
            Verdict::EngineDifferent(_)
        ));
        for unclear in [vec![], vec![skipped()], vec![equal(), skipped()]] {
            assert!(matches!(verdict(unclear), Verdict::Unclear(_)));
        }
        assert!(matches!(
            judge(Err(ViewsError::Mismatch("far more rows".into()))),
            Verdict::Different(_)
        ));
        assert!(matches!(
            judge(Err(ViewsError::Stopped)),
            Verdict::Unclear(_)
        ));
    }
}
