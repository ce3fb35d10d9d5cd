//! One build from start to proof: the base table's state is fixed by the gate, storage is filled and compared, and the gate
//! is asked again. What comes out equals the base table at the returned position, or is an error.
//!
//! Why it is exact: `fill_start` says that every change of the base table up to its position was visible before the first
//! chunk was read; at the end no change lies between that position and a later barrier. So every chunk and every sample
//! read one and the same state, although each had a read view of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::build::{self, Built, Limits, Order, Progress};
use super::catalog::TableInfo;
use super::connection::{Link, SHORT, ViewsError};
use super::definition::{Definition, ReadyView};
use super::leader::connect_to_log;
use super::observed::Proof;
use super::registry::EngineUse;
use super::secondary;
use super::shadow::{self, Compared, Sample};
use super::storage::{literal, quoted, storage_name, storage_sql};
use crate::backend::control::Control;
use crate::binlog::{Binlog, FillToken, GateError, Position};

/// Longest wait for the gate's first half; a busy server makes single attempts late.
const START_MAX: Duration = Duration::from_secs(5);
/// Wait of one attempt at the gate's second half.
const END_WAIT: Duration = Duration::from_secs(2);
/// Attempts at the gate's second half.
const END_ATTEMPTS: u32 = 5;

/// Rewrites statements of clients for a view.
pub type SampleMaker = Box<dyn Fn(&ReadyView) -> Vec<Sample> + Send + Sync>;

/// Everything one build needs; owns what it uses, so that it can run beside the task that ordered it.
pub struct Job {
    /// The control plane.
    pub control: Arc<Control>,
    /// The gate.
    pub binlog: Arc<Binlog>,
    /// The base table.
    pub info: Arc<TableInfo>,
    /// What to store.
    pub definition: Arc<Definition>,
    /// Our schema on the backend.
    pub schema: String,
    /// The view's number.
    pub id: u64,
    /// Which build of it this is.
    pub generation: u64,
    /// What it may take.
    pub limits: Limits,
    /// The engine to load it into.
    pub engine: Option<String>,
    /// Set when the process stops or another proxy leads.
    pub stop: Arc<AtomicBool>,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// Statements of clients, rewritten for the view once its columns are known.
    pub samples: SampleMaker,
}

/// A finished and proven build.
#[derive(Debug)]
pub struct Done {
    /// What matching sees.
    pub view: ReadyView,
    /// Equal to the base table from here on, until it changes.
    pub position: Position,
    /// The log's epoch of `position`.
    pub epoch: u64,
    /// Whether a secondary engine answers.
    pub engine: EngineUse,
    /// Why no secondary engine answers, when one was wanted.
    pub engine_reason: Option<String>,
    /// Base rows behind it.
    pub base_rows: u64,
    /// Bytes of storage by the server's statistics.
    pub bytes: u64,
    /// Samples compared.
    pub samples: usize,
    /// Mean time of the samples on base tables and on the view, in microseconds.
    pub sample_us: (u64, u64),
    /// How long all of it took.
    pub elapsed: Duration,
}

impl Job {
    fn table(&self) -> String {
        storage_sql(&self.schema, self.id, self.generation)
    }

    /// Runs the build. On an error the storage table may exist; dropping it is the caller's.
    ///
    /// # Errors
    /// Everything that can stop a build; `Changed` when the base table did not stand still.
    pub async fn run(&self) -> Result<Done, ViewsError> {
        let began = Instant::now();
        let token = self.start().await?;
        let mut link = connect_to_log(&self.control, &self.binlog).await?;
        let outcome = self.work(&mut link, &token).await;
        // Whatever went wrong: if the table changed, that explains it, and it is not the view's fault.
        if outcome.is_err() {
            self.watch(&token)?;
        }
        let (view, built, tried) = outcome?;
        let position = self.end(&token).await?;
        let samples = tried.proof?;
        for proof in &samples.equal {
            proof.equal(self.id);
        }
        let bytes = self.bytes(&mut link).await;
        link.close().await;
        Ok(Done {
            view,
            position,
            epoch: token.epoch(),
            engine: tried.engine,
            engine_reason: tried.engine_reason,
            base_rows: built.base_rows,
            bytes,
            samples: samples.equal.len(),
            sample_us: samples.mean_us(),
            elapsed: began.elapsed(),
        })
    }

    async fn start(&self) -> Result<FillToken, ViewsError> {
        let deadline = Instant::now() + START_MAX;
        let tables = [self.info.key.clone()];
        loop {
            match self.binlog.fill_start(&tables).await {
                Ok(token) => return Ok(token),
                Err(error) if !error.is_passing() => {
                    return Err(ViewsError::Unsupported(error.to_string()));
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(ViewsError::Gate(error.to_string()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            self.stopped()?;
        }
    }

    /// The gate's second half. Grants do not matter to what a table holds, so this asks for the table alone.
    async fn end(&self, token: &FillToken) -> Result<Position, ViewsError> {
        let mut attempt = 1;
        loop {
            let answer = self
                .binlog
                .unchanged_since(token.tables(), token.position(), token.epoch(), END_WAIT)
                .await;
            match answer {
                Ok(position) => return Ok(position),
                Err(GateError::Changed { .. } | GateError::Epoch) => {
                    return Err(ViewsError::Changed);
                }
                Err(error) if attempt >= END_ATTEMPTS => {
                    return Err(ViewsError::Gate(error.to_string()));
                }
                Err(_) => attempt += 1,
            }
            self.stopped()?;
        }
    }

    fn stopped(&self) -> Result<(), ViewsError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ViewsError::Stopped);
        }
        Ok(())
    }

    /// Ends a build early that can only come to nothing.
    fn watch(&self, token: &FillToken) -> Result<(), ViewsError> {
        self.stopped()?;
        let changed = token.tables().iter().any(|table| {
            self.binlog
                .last_change(table)
                .is_none_or(|change| change.position > token.position())
        });
        if changed || self.binlog.epoch() != token.epoch() {
            return Err(ViewsError::Changed);
        }
        Ok(())
    }

    async fn work(
        &self,
        link: &mut Link,
        token: &FillToken,
    ) -> Result<(ReadyView, Built, Tried), ViewsError> {
        let table = self.table();
        let keyset = self
            .info
            .keyset
            .as_ref()
            .map_err(|error| ViewsError::Unsupported(error.to_string()))?;
        let probe_table = format!(
            "{}.{}",
            quoted(&self.schema),
            quoted(&format!("probe{}", self.id))
        );
        let order = Order {
            definition: &self.definition,
            keyset,
            table: &table,
            probe_table: &probe_table,
            base_rows_estimated: self.info.rows_estimated,
            limits: self.limits,
        };
        let watch = || self.watch(token);
        let built = build::build(link, &order, &self.progress, &watch).await?;
        let view = ReadyView {
            id: self.id,
            generation: self.generation,
            table_sql: table.as_str().into(),
            definition: Arc::clone(&self.definition),
            columns: Arc::new(built.columns.clone()),
            variant_columns: Arc::new(built.variant_columns.clone()),
            rows: built.rows,
        };
        let mut tried = self.load(link, &table).await;
        let samples = (self.samples)(&view);
        self.try_samples(token, &samples, &mut tried).await?;
        self.settle_engine(link, &table, &mut tried).await;
        Ok((view, built, tried))
    }

    /// Loads the table into the secondary engine, if there is one. A failure costs the engine, not the view.
    async fn load(&self, link: &mut Link, table: &str) -> Tried {
        let mut tried = Tried::default();
        let Some(engine) = &self.engine else {
            return tried;
        };
        let name = storage_name(self.id, self.generation);
        match secondary::load(link, &self.schema, &name, table, engine).await {
            Ok(()) => tried.engine = EngineUse::Proven(engine.as_str().into()),
            Err(error) => {
                tried.engine = EngineUse::Pinned;
                tried.engine_reason = Some(format!("not loaded into {engine}: {error}"));
            }
        }
        tried
    }

    /// Runs every sample on the base table, on the view's InnoDB copy and, when loaded, on the secondary engine.
    async fn try_samples(
        &self,
        token: &FillToken,
        samples: &[Sample],
        tried: &mut Tried,
    ) -> Result<(), ViewsError> {
        let mut link = connect_to_log(&self.control, &self.binlog).await?;
        let mut proof = Equals::default();
        let mut skipped = String::from("no client's statement can be answered from it");
        for sample in samples {
            self.watch(token)?;
            match shadow::run(&mut link, sample, &tried.engine).await {
                Ok(outcomes) => {
                    let mut outcomes = outcomes.into_iter();
                    proof.take(outcomes.next(), &sample.proof, &mut skipped);
                    tried.judge_engine(outcomes.next());
                }
                // The client's own statement failed or is too large here: another sample may do.
                Err(ViewsError::Server { code, message }) => {
                    skipped = format!("a sample failed with {code}: {message}");
                }
                Err(ViewsError::Unsupported(why)) => {
                    skipped = why;
                    link = connect_to_log(&self.control, &self.binlog).await?;
                }
                Err(error @ ViewsError::Mismatch(_)) => {
                    proof.different = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        link.close().await;
        tried.proof = match (proof.different.take(), proof.equal.is_empty()) {
            (Some(words), _) => Err(ViewsError::Mismatch(words)),
            (None, true) => Err(ViewsError::Unsupported(skipped)),
            (None, false) => Ok(proof),
        };
        Ok(())
    }

    /// An engine that may not answer is taken off the table; where that fails, statements stay pinned to InnoDB.
    async fn settle_engine(&self, link: &mut Link, table: &str, tried: &mut Tried) {
        if tried.engine != EngineUse::Pinned {
            return;
        }
        match secondary::unload(link, table).await {
            Ok(()) => tried.engine = EngineUse::None,
            Err(error) => {
                tracing::warn!(table, %error, "the secondary engine cannot be taken off a view's storage");
            }
        }
    }

    async fn bytes(&self, link: &mut Link) -> u64 {
        let sql = format!(
            "SELECT IFNULL(DATA_LENGTH + INDEX_LENGTH, 0) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA={} AND TABLE_NAME={}",
            literal(&self.schema),
            literal(&storage_name(self.id, self.generation))
        );
        let fresh = "SET SESSION information_schema_stats_expiry=0";
        if link.run(fresh, SHORT).await.is_err() {
            return 0;
        }
        link.number(&sql, SHORT).await.unwrap_or(0)
    }
}

/// What the comparisons said, to be believed only when the table stood still.
struct Tried {
    engine: EngineUse,
    engine_reason: Option<String>,
    proof: Result<Equals, ViewsError>,
}

impl Default for Tried {
    fn default() -> Self {
        Self {
            engine: EngineUse::None,
            engine_reason: None,
            proof: Ok(Equals::default()),
        }
    }
}

impl Tried {
    /// One wrong or failed answer is enough against an engine.
    fn judge_engine(&mut self, outcome: Option<Compared>) {
        let EngineUse::Proven(name) = &self.engine else {
            return;
        };
        if let Some(Compared::Different(words)) = outcome {
            self.engine_reason = Some(format!("{name} answered differently: {words}"));
            self.engine = EngineUse::Pinned;
        }
    }
}

/// The samples that were equal.
#[derive(Debug, Default)]
struct Equals {
    /// One for each sample.
    equal: Vec<Arc<Proof>>,
    base_us: u64,
    view_us: u64,
    different: Option<String>,
}

impl Equals {
    fn take(&mut self, outcome: Option<Compared>, of: &Arc<Proof>, skipped: &mut String) {
        match outcome {
            Some(Compared::Equal { base_us, view_us }) => {
                self.equal.push(Arc::clone(of));
                self.base_us += base_us;
                self.view_us += view_us;
            }
            Some(Compared::Different(words)) => self.different = Some(words),
            Some(Compared::Skipped(why)) => *skipped = why,
            None => "its statement takes no hint".clone_into(skipped),
        }
    }

    fn mean_us(&self) -> (u64, u64) {
        let count = self.equal.len().max(1) as u64;
        (self.base_us / count, self.view_us / count)
    }
}
