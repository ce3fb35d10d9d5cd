//! Which aggregates come back: counters per statement and per variant of it, with a few sample texts. Workers write here
//! after each eligible execution on base tables; the refresh task reads. Bounded in every direction; parses nothing.
//!
//! Texts of one digest may still be different questions, when a literal shapes the answer (`CASE WHEN kind = 'A'`). Each
//! such question is a variant with a plan of its own; a text that fits no plan yet is kept for the refresh task to plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::Question;
use super::advisor::Window;
use super::pattern::check::ParameterValue;
use super::plan::{Found, Plan, inlined};
use super::refusal::Refusal;
use crate::binlog::TableKey;
use crate::sql::env::SessionEnv;
use crate::sql::{DigestId, DigestScratch, LexMode};

/// Longest statement kept as a sample, in bytes.
const SAMPLE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of all texts kept.
const TEXT_BYTES_MAX: usize = 32 << 20;
/// Variants of one statement; more are not planned.
const VARIANTS_MAX: usize = 8;
/// Texts waiting to be planned, per statement.
const UNPLANNED_MAX: usize = 2;
/// How long a refusal that does not depend on literals stands before the statement is looked at again, in ms.
const REFUSAL_MS: u64 = 60_000;
/// A sample is replaced once in so many executions, so that samples follow moving literals.
const REPLACE_EVERY: u64 = 64;

/// Views on which one question is known to be equal.
const PROVEN_MAX: usize = 8;
/// First and longest rest of a question that could not be compared, in ms.
const REST_MS_MIN: u64 = 2_000;
const REST_MS_MAX: u64 = 600_000;

/// What makes two executions the same for views: the statement, what its digest folded away, and the session's schema and
/// environment as far as a view can depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObservedKey {
    digest: DigestId,
    shape: u64,
    session: u64,
}

impl ObservedKey {
    /// The key of an execution.
    pub fn new(question: &Question<'_>) -> Self {
        let env = question.env;
        let mut session = Xxh3::new();
        for part in [
            question.schema,
            &env.time_zone,
            &env.character_set_client,
            &env.collation_connection,
        ] {
            session.update(&(part.len() as u64).to_le_bytes());
            session.update(part.as_bytes());
        }
        session.update(&question.scratch.reading().to_le_bytes());
        Self {
            digest: question.statement.id,
            shape: question.scratch.shape(),
            session: session.digest(),
        }
    }
}

/// Bytes of texts that may still be kept.
#[derive(Debug, Clone)]
struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Keeps a text, if there is room for it.
    fn keep(&self, text: &[u8]) -> Option<Kept> {
        if text.len() > SAMPLE_BYTES_MAX {
            return None;
        }
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(text.len())
            });
        taken.ok().map(|_| Kept {
            text: text.into(),
            budget: self.clone(),
        })
    }
}

/// A text within the budget; gives its bytes back when dropped.
#[derive(Debug)]
struct Kept {
    text: Box<[u8]>,
    budget: Budget,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.text.len(), Ordering::Relaxed);
    }
}

/// The match of a variant with the views of one registry version.
#[derive(Debug, Default)]
pub struct Memo {
    /// The version; 0 before the first match.
    pub version: u64,
    /// The view and the match, or why there is none.
    pub found: Option<Result<Found, Refusal>>,
}

/// The views on which one question was compared with the base table, cell by cell, and was equal. Their later builds are filled
/// by the same rules.
#[derive(Debug, Default)]
pub struct Proof {
    /// The views' numbers, the latest last.
    views: ArcSwap<Vec<u64>>,
    /// Comparisons in a row that came to nothing.
    fruitless: AtomicU64,
    /// No comparison before this, in the room's ms.
    not_before_ms: AtomicU64,
}

impl Proof {
    /// Whether it was compared on this view, and was equal.
    pub fn holds(&self, view: u64) -> bool {
        self.views.load().contains(&view)
    }

    /// It was equal on this view.
    pub fn equal(&self, view: u64) {
        self.fruitless.store(0, Ordering::Relaxed);
        if self.holds(view) {
            return;
        }
        let mut views = Vec::clone(&self.views.load());
        if views.len() >= PROVEN_MAX {
            views.remove(0);
        }
        views.push(view);
        self.views.store(Arc::new(views));
    }

    /// It could not be compared at `now_ms`: it rests, twice as long each time.
    pub fn rest(&self, now_ms: u64) {
        let before = self.fruitless.fetch_add(1, Ordering::Relaxed).min(16);
        let rest_ms = REST_MS_MAX.min(REST_MS_MIN << before);
        self.not_before_ms
            .store(now_ms + rest_ms, Ordering::Relaxed);
    }

    /// Whether it rests at `now_ms`.
    pub fn rests(&self, now_ms: u64) -> bool {
        self.not_before_ms.load(Ordering::Relaxed) > now_ms
    }
}

/// One question that a statement asks.
#[derive(Debug)]
pub struct Variant {
    /// How views answer it.
    pub plan: Plan,
    /// Its match with the present views.
    pub memo: ArcSwap<Memo>,
    /// The views that it may be answered from, because it was compared there.
    pub proof: Arc<Proof>,
    count: AtomicU64,
    time_us: AtomicU64,
    hits: AtomicU64,
    samples: Mutex<Vec<Kept>>,
    budget: Budget,
    samples_kept: AtomicUsize,
    /// Executions on base tables, and answered from views, within the window; the refresh task's.
    windows: Mutex<(Window, Window)>,
}

impl Variant {
    /// A variant that was executed once, in this time.
    fn new(plan: Plan, base_us: u64, budget: Budget) -> Self {
        Self {
            plan,
            memo: ArcSwap::default(),
            proof: Arc::default(),
            count: AtomicU64::new(1),
            time_us: AtomicU64::new(base_us),
            hits: AtomicU64::new(0),
            samples: Mutex::new(Vec::new()),
            budget,
            samples_kept: AtomicUsize::new(0),
            windows: Mutex::default(),
        }
    }

    /// Moves the windows to `now_ms`: executions on base tables with their time in microseconds, and answers from views.
    pub fn advance(&self, now_ms: u64, window_ms: u64) -> ((u64, u64), u64) {
        let mut windows = self.windows.lock();
        windows.0.advance(now_ms, window_ms, self.totals());
        windows.1.advance(now_ms, window_ms, (self.hits(), 0));
        (windows.0.totals(), windows.1.totals().0)
    }

    /// Executions on base tables and their time in microseconds, since the start.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.count.load(Ordering::Relaxed),
            self.time_us.load(Ordering::Relaxed),
        )
    }

    /// Executions answered from a view, since the start.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Counts an execution answered from a view.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Mean time on base tables in microseconds; 0 before the first.
    pub fn mean_us(&self) -> u64 {
        let (count, time_us) = self.totals();
        time_us.checked_div(count).unwrap_or(0)
    }

    /// The samples kept.
    pub fn samples(&self) -> Vec<Box<[u8]>> {
        let samples = self.samples.lock();
        samples.iter().map(|kept| kept.text.clone()).collect()
    }

    /// Counts an execution on base tables; the place where its text is wanted as a sample, if it is.
    fn record(&self, base_us: u64, samples_max: usize) -> Option<usize> {
        let nth = self.count.fetch_add(1, Ordering::Relaxed);
        self.time_us.fetch_add(base_us, Ordering::Relaxed);
        let kept = self.samples_kept.load(Ordering::Relaxed);
        if kept < samples_max {
            return Some(kept);
        }
        let place = (nth / REPLACE_EVERY) as usize;
        (nth.is_multiple_of(REPLACE_EVERY)).then(|| place.checked_rem(samples_max))?
    }

    fn keep(&self, text: &[u8], place: usize) {
        // Another worker keeps a sample just now: that one will do.
        let Some(mut samples) = self.samples.try_lock() else {
            return;
        };
        if samples.iter().any(|kept| *kept.text == *text) {
            return;
        }
        let Some(kept) = self.budget.keep(text) else {
            return;
        };
        match samples.get_mut(place) {
            Some(slot) => *slot = kept,
            None => samples.push(kept),
        }
        self.samples_kept.store(samples.len(), Ordering::Relaxed);
    }
}

/// A text that fits no plan yet.
#[derive(Debug)]
pub struct Unplanned {
    kept: Kept,
    base_us: u64,
}

impl Unplanned {
    /// The client's bytes.
    pub fn text(&self) -> &[u8] {
        &self.kept.text
    }
}

/// When an execution ended, in the room's ms, and how long it took on base tables.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The moment.
    pub now_ms: u64,
    /// The time.
    pub base_us: u64,
}

/// What is needed to read and run a statement as a client does.
#[derive(Debug, Clone)]
pub struct Session {
    /// Default schema; empty for none.
    pub schema: Box<str>,
    /// Session variables.
    pub env: Arc<SessionEnv>,
    /// How texts are read.
    pub mode: LexMode,
}

/// One statement as it was asked of base tables.
#[derive(Debug)]
pub struct Observed {
    /// The statement's digest.
    pub digest: DigestId,
    /// The first session that asked it; the others are the same as far as the key tells them apart.
    pub session: Session,
    budget: Budget,
    variants: ArcSwap<Vec<Arc<Variant>>>,
    unplanned: Mutex<Vec<Unplanned>>,
    refusal: Mutex<Option<(Refusal, u64)>>,
    refused: AtomicU64,
    last_ms: AtomicU64,
    hits_seen: AtomicU64,
}

impl Observed {
    fn new(question: &Question<'_>, budget: Budget) -> Self {
        Self {
            budget,
            digest: question.statement.id,
            session: Session {
                schema: question.schema.into(),
                env: Arc::clone(question.env),
                mode: question.scratch.mode(),
            },
            variants: ArcSwap::default(),
            unplanned: Mutex::new(Vec::new()),
            refusal: Mutex::new(None),
            refused: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            hits_seen: AtomicU64::new(0),
        }
    }

    /// The variant a text belongs to.
    ///
    /// # Errors
    /// Why none fits: not planned yet, or refused.
    pub fn variant(&self, text: &[u8], scratch: &DigestScratch) -> Result<Arc<Variant>, Refusal> {
        let variants = self.variants.load();
        match variants
            .iter()
            .find(|variant| variant.plan.fits(text, scratch))
        {
            Some(variant) => Ok(Arc::clone(variant)),
            None => Err(self.refusal().unwrap_or(if variants.is_empty() {
                Refusal::NotPlanned
            } else {
                Refusal::OtherLiterals
            })),
        }
    }

    /// Every variant.
    pub fn variants(&self) -> Arc<Vec<Arc<Variant>>> {
        self.variants.load_full()
    }

    /// Takes the texts that wait to be planned.
    pub fn take_unplanned(&self) -> Vec<Unplanned> {
        std::mem::take(&mut *self.unplanned.lock())
    }

    /// Whether a text that waited fits a plan made meanwhile; it is counted there.
    pub fn fits_now(&self, of: &Unplanned) -> bool {
        let mut scratch = DigestScratch::new(of.text().len().saturating_mul(2).max(2048));
        scratch.run(of.text(), self.session.mode);
        let Ok(variant) = self.variant(of.text(), &scratch) else {
            return false;
        };
        variant.record(of.base_us, 0);
        true
    }

    /// The plan of a text, or why there is none.
    pub fn planned(&self, of: &Unplanned, planned: Result<Plan, Refusal>, now_ms: u64) {
        match planned {
            Ok(plan) => {
                let variant = Variant::new(plan, of.base_us, self.budget.clone());
                // With a parameter in it, it cannot be run again.
                if !of.text().contains(&b'?') {
                    variant.keep(of.text(), 0);
                }
                let mut variants = Vec::clone(&self.variants.load());
                if variants.len() < VARIANTS_MAX {
                    variants.push(Arc::new(variant));
                    self.variants.store(Arc::new(variants));
                }
                *self.refusal.lock() = None;
            }
            Err(refusal) => *self.refusal.lock() = Some((refusal, now_ms)),
        }
    }

    /// Forgets what was planned over a table: it is another one now.
    pub fn forget_plans_of(&self, table: &TableKey) {
        let variants = self.variants.load();
        if variants.iter().any(|variant| variant.plan.table() == table) {
            self.variants.store(Arc::default());
        }
    }

    /// Answers from views since the last call are questions as well: it was asked just now.
    pub fn note_hits(&self, now_ms: u64) {
        let hits = self.hits();
        if self.hits_seen.swap(hits, Ordering::Relaxed) != hits {
            self.last_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    fn hits(&self) -> u64 {
        let variants = self.variants.load();
        variants.iter().map(|variant| variant.hits()).sum()
    }

    /// When it was last asked, in the room's ms.
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    /// The last refusal, when the last text could not be planned.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().map(|(refusal, _)| refusal)
    }

    /// Executions that no plan fits.
    pub fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Keeps a text to be planned; true when the refresh task should look.
    fn keep_unplanned(&self, text: &[u8], timing: Timing) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let again = self.refusal.lock().is_none_or(|(refusal, at_ms)| {
            refusal.depends_on_literals() || timing.now_ms.saturating_sub(at_ms) > REFUSAL_MS
        });
        if !again || self.variants.load().len() >= VARIANTS_MAX {
            return false;
        }
        let Some(mut unplanned) = self.unplanned.try_lock() else {
            return false;
        };
        if unplanned.len() >= UNPLANNED_MAX {
            return false;
        }
        let Some(kept) = self.budget.keep(text) else {
            return false;
        };
        unplanned.push(Unplanned {
            kept,
            base_us: timing.base_us,
        });
        true
    }
}

/// All statements observed.
#[derive(Debug)]
pub struct Statements {
    map: DashMap<ObservedKey, Arc<Observed>, ahash::RandomState>,
    entries_max: usize,
    samples_max: usize,
    budget: Budget,
    overflow: AtomicU64,
}

impl Statements {
    /// At most `entries_max` statements, `samples_max` texts of each variant.
    pub fn new(entries_max: usize, samples_max: usize) -> Self {
        Self {
            map: DashMap::default(),
            entries_max,
            samples_max,
            budget: Budget::new(TEXT_BYTES_MAX),
            overflow: AtomicU64::new(0),
        }
    }

    /// The statement, if it was seen.
    pub fn get(&self, key: &ObservedKey) -> Option<Arc<Observed>> {
        self.map.get(key).map(|entry| Arc::clone(&entry))
    }

    /// Counts an execution on base tables; true when the refresh task should look soon.
    pub fn observe(
        &self,
        question: &Question<'_>,
        parameters: &[ParameterValue<'_>],
        timing: Timing,
    ) -> bool {
        let Question { text, scratch, .. } = *question;
        let key = ObservedKey::new(question);
        let entry = match self.get(&key) {
            Some(entry) => entry,
            None => {
                if self.map.len() >= self.entries_max {
                    self.overflow.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                let fresh = Observed::new(question, self.budget.clone());
                Arc::clone(&self.map.entry(key).or_insert_with(|| Arc::new(fresh)))
            }
        };
        entry.last_ms.store(timing.now_ms, Ordering::Relaxed);
        match entry.variant(text, scratch) {
            Ok(variant) => {
                if let Some(place) = variant.record(timing.base_us, self.samples_max) {
                    if parameters.is_empty() {
                        variant.keep(text, place);
                    } else if let Some(text) = inlined(text, scratch, parameters) {
                        variant.keep(&text, place);
                    }
                }
                false
            }
            Err(_) => entry.keep_unplanned(text, timing),
        }
    }

    /// Every statement with its key.
    pub fn all(&self) -> Vec<(ObservedKey, Arc<Observed>)> {
        self.map
            .iter()
            .map(|entry| (*entry.key(), Arc::clone(&entry)))
            .collect()
    }

    /// Forgets statements not asked since `before_ms`; when there is no place for another one, also a quarter of those that no
    /// view answers, the ones not asked for longest: else nothing new would ever be learnt where many statements come only once.
    pub fn forget(&self, before_ms: u64) {
        self.map.retain(|_, entry| entry.last_ms() >= before_ms);
        if self.map.len() < self.entries_max {
            return;
        }
        let age = |entry: &Observed| (entry.hits() > 0, entry.last_ms());
        let mut ages: Vec<_> = self.map.iter().map(|entry| age(&entry)).collect();
        ages.sort_unstable();
        let mut left = ages.len().div_ceil(4);
        let Some(&oldest) = ages.get(left - 1) else {
            return;
        };
        self.map.retain(|_, entry| {
            let stays = left == 0 || age(entry) > oldest;
            left -= usize::from(!stays);
            stays
        });
    }

    /// Executions not counted because the table was full.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}
