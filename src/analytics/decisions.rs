//! Why each execution went where it went: a count and the last example per reason. Knows reasons only by their labels.

use std::sync::Arc;

use parking_lot::Mutex;

use super::counter::Counter;
use super::event::{Digest, ServedBy};
use super::names::OTHER;
use super::parts::{Local, Shared};

/// Reasons come from enums of ours, so this many is a limit against a mistake, not against a client.
const ROWS_MAX: usize = 1_000;
/// An example is replaced at most this often, so that a busy reason costs a count and nothing else.
const EXAMPLE_INTERVAL_MS: u64 = 1_000;

/// A label is known by its address: the hot path compares no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    about: Label,
    reason: Label,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Label {
    address: usize,
    len: usize,
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Self {
        Self {
            address: text.as_ptr() as usize,
            len: text.len(),
        }
    }
}

/// One worker's part of a reason.
#[derive(Debug)]
pub(super) struct Part {
    about: &'static str,
    reason: &'static str,
    number: u64,
    count: Counter,
    last_ms: Counter,
    example_ms: Counter,
    example: Mutex<Option<(u128, Arc<str>)>>,
}

/// One reason as read.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRow {
    /// What was decided: `backend`, `view` ... for where an execution went, or a word of the room that decided.
    pub about: &'static str,
    /// The reason's label.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
    /// When last, in milliseconds since 1970.
    pub last_ms: u64,
    /// Digest of a recent example.
    pub example_digest: Option<u128>,
    /// Its digest text.
    pub example_text: Option<Arc<str>>,
}

/// All reasons.
#[derive(Debug)]
pub struct Decisions {
    shared: Arc<Shared<Key, Part>>,
    /// Labels by their number, so that a counter can hold a reason.
    labels: Mutex<Vec<&'static str>>,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared::new(ROWS_MAX)),
            labels: Mutex::new(vec![""]),
        }
    }
}

impl Decisions {
    /// The label of a number that [`super::queries::QueryRow::reason`] holds; empty for an unknown one.
    pub fn label(&self, number: u64) -> &'static str {
        usize::try_from(number)
            .ok()
            .and_then(|number| self.labels.lock().get(number).copied())
            .unwrap_or("")
    }

    /// A row for each thing decided and reason, most frequent first.
    pub fn rows(&self) -> Vec<DecisionRow> {
        let mut rows: Vec<DecisionRow> = Vec::new();
        for part in self.shared.rows().iter().flat_map(|(_, parts)| parts) {
            let example = part.example.lock().clone();
            let (example_digest, example_text) = example.unzip();
            let read = DecisionRow {
                about: part.about,
                reason: part.reason,
                count: part.count.get(),
                last_ms: part.last_ms.get(),
                example_digest,
                example_text,
            };
            // By text: one label may have several addresses.
            match rows
                .iter_mut()
                .find(|row| row.about == read.about && row.reason == read.reason)
            {
                None => rows.push(read),
                Some(row) => {
                    let count = row.count + read.count;
                    if read.last_ms > row.last_ms
                        && (read.example_digest.is_some() || row.example_digest.is_none())
                    {
                        *row = read;
                    } else {
                        row.last_ms = row.last_ms.max(read.last_ms);
                    }
                    row.count = count;
                }
            }
        }
        rows.sort_by(|a, b| {
            b.count
                .cmp(&a.count)
                .then(a.about.cmp(b.about))
                .then(a.reason.cmp(b.reason))
        });
        rows
    }

    fn number(&self, label: &'static str) -> u64 {
        let mut labels = self.labels.lock();
        let known = labels.iter().position(|known| *known == label);
        let place = known.unwrap_or_else(|| {
            labels.push(label);
            labels.len() - 1
        });
        place as u64
    }
}

/// One worker's side.
#[derive(Debug)]
pub(super) struct LocalDecisions {
    shared: Arc<Decisions>,
    parts: Local<Key, Part>,
}

impl LocalDecisions {
    pub(super) fn new(shared: Arc<Decisions>) -> Self {
        let other = Key {
            about: OTHER.into(),
            reason: OTHER.into(),
        };
        let parts = Local::new(Arc::clone(&shared.shared), other);
        Self { shared, parts }
    }

    /// Counts a decision and returns the number of its reason.
    pub(super) fn record(
        &mut self,
        about: &'static str,
        reason: &'static str,
        digest: Option<&Digest<'_>>,
        at_ms: u64,
    ) -> u64 {
        let shared = &self.shared;
        let make = |other| {
            let (about, reason) = if other {
                (OTHER, OTHER)
            } else {
                (about, reason)
            };
            Part {
                about,
                reason,
                number: shared.number(reason),
                count: Counter::default(),
                last_ms: Counter::default(),
                example_ms: Counter::default(),
                example: Mutex::default(),
            }
        };
        let mut number = 0;
        self.parts.with(
            Key {
                about: about.into(),
                reason: reason.into(),
            },
            make,
            |part| {
                part.count.add(1);
                part.last_ms.raise(at_ms);
                number = part.number;
                let Some(digest) = digest else { return };
                if at_ms < part.example_ms.get().saturating_add(EXAMPLE_INTERVAL_MS) {
                    return;
                }
                if let Some(mut example) = part.example.try_lock() {
                    *example = Some((digest.id, Arc::clone(digest.text)));
                    part.example_ms.set(at_ms);
                }
            },
        );
        number
    }

    /// Counts where an execution went and why.
    pub(super) fn served(
        &mut self,
        by: ServedBy,
        reason: &'static str,
        digest: &Digest<'_>,
        at_ms: u64,
    ) -> u64 {
        self.record(by.label(), reason, Some(digest), at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_text_over_workers_and_keeps_an_example() {
        let decisions = Arc::new(Decisions::default());
        let (mut one, mut two) = (
            LocalDecisions::new(Arc::clone(&decisions)),
            LocalDecisions::new(Arc::clone(&decisions)),
        );
        let text: Arc<str> = "SELECT ?".into();
        let digest = Digest {
            id: 7,
            text: &text,
            kind: "select",
        };
        // Two addresses of one text, as two compilation units may have.
        let twin: &'static str = Box::leak("in_transaction".to_owned().into_boxed_str());
        let first = one.served(ServedBy::Backend, "in_transaction", &digest, 5_010);
        let second = two.served(ServedBy::Backend, twin, &digest, 5_020);
        one.record("cache", "too_large", None, 5);
        assert_eq!((first, decisions.label(first)), (second, "in_transaction"));
        let rows = decisions.rows();
        assert_eq!(rows.len(), 2);
        let top = rows.first().unwrap();
        assert_eq!(
            (top.about, top.reason, top.count, top.last_ms),
            ("backend", "in_transaction", 2, 5_020)
        );
        assert_eq!(top.example_digest, Some(7));
        assert_eq!(decisions.label(99), "");
    }
}
