//! The SQL engine of the virtual schema: SQLite connections on threads of their own, bounded in rows, bytes, time and memory.
//! Takes statements in SQLite's dialect, gives whole results: a slow reader never holds an engine thread.
//! Never writes: an authorizer lets nothing through but reading.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Statement, params_from_iter};
use tokio::sync::oneshot;

use super::catalog::Type;
use super::dialect::Rewritten;
use super::error::Error;
use super::functions;
use super::runtime::Runtime;
use super::sources::Sources;
use super::time::Moment;
use super::typing::{self, Origin};
use super::value::{Row, Value};
use super::variables::{STATEMENT_BYTES_MAX, VALUE_BYTES_MAX};
use super::vtab::{self, Snapshots};

/// What one statement, and all together, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most rows of one result (admin.rows_max); more is an error, never a silent cut.
    pub rows_max: usize,
    /// Longest run of one statement (admin.query_ms_max).
    pub query_ms_max: u64,
    /// Most bytes of one result in memory.
    pub result_bytes_max: usize,
    /// Most bytes of all results that are being sent at one time.
    pub results_bytes_max: usize,
    /// Most bytes that SQLite may hold while a statement runs (sorting, grouping).
    pub memory_bytes_max: u64,
    /// Statements that may wait for a thread.
    pub waiting_max: usize,
    /// Engine threads.
    pub threads: usize,
}

impl Limits {
    /// The limits for these two keys of the configuration; the others follow from them or are fixed.
    pub fn new(rows_max: usize, query_ms_max: u64) -> Self {
        Self {
            rows_max,
            query_ms_max,
            result_bytes_max: 64 << 20,
            results_bytes_max: 256 << 20,
            memory_bytes_max: 256 << 20,
            waiting_max: 256,
            threads: 2,
        }
    }
}

/// One column of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultColumn {
    /// Its name, as the client wrote it.
    pub name: String,
    /// Its type; every value of the result fits it.
    pub kind: Type,
    /// The table column that it shows unchanged, if it does.
    pub origin: Option<Origin>,
}

/// What is known of a statement before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Its result columns.
    pub columns: Vec<ResultColumn>,
    /// How many `?` it has.
    pub parameters: usize,
}

/// A whole result.
#[derive(Debug)]
pub struct ResultSet {
    /// Its columns.
    pub columns: Vec<ResultColumn>,
    /// Its rows, as wide as the columns.
    pub rows: Vec<Row>,
    /// Gives the bytes back to the common budget when the result has been sent.
    _held: Held,
}

/// A share of the budget for results.
#[derive(Debug)]
struct Held {
    bytes: usize,
    budget: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

enum Job {
    Describe(oneshot::Sender<Result<Description, Error>>),
    Run(Vec<Value>, oneshot::Sender<Result<ResultSet, Error>>),
}

struct Request {
    schema: &'static str,
    statement: Rewritten,
    job: Job,
    cancelled: Arc<AtomicBool>,
}

/// Tells the engine that nobody waits for the answer any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The handle. Its threads end when the last one is dropped and the statement in hand is done.
#[derive(Clone)]
pub struct Engine {
    requests: SyncSender<Request>,
    changes: Option<Arc<Runtime>>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(sources: Sources, limits: Limits) -> io::Result<Self> {
        let changes = sources.runtime.clone();
        let (sender, receiver) = sync_channel(limits.waiting_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let budget = Arc::new(AtomicUsize::new(0));
        for number in 0..limits.threads.max(1) {
            let worker = Worker {
                sources: sources.clone(),
                limits,
                budget: budget.clone(),
                databases: HashMap::new(),
            };
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name(format!("admin-sql-{number}"))
                // SQLite recurses over expressions of up to 1000 levels.
                .stack_size(8 << 20)
                .spawn(move || worker.serve(&receiver))?;
        }
        Ok(Self {
            requests: sender,
            changes,
        })
    }

    /// The state that can be changed, where there is one.
    pub fn changes(&self) -> Option<&Arc<Runtime>> {
        self.changes.as_ref()
    }

    /// Columns and parameters of a statement, without running it.
    ///
    /// # Errors
    /// Whatever SQLite finds wrong with it; `Busy` when too many wait.
    pub async fn describe(
        &self,
        schema: &'static str,
        statement: Rewritten,
    ) -> Result<Description, Error> {
        let (reply, answer) = oneshot::channel();
        let _cancel = self.send(schema, statement, Job::Describe(reply))?;
        answer.await.map_err(|_| stopped())?
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// As `describe`, and when a limit is met.
    pub async fn run(
        &self,
        schema: &'static str,
        statement: Rewritten,
        parameters: Vec<Value>,
    ) -> Result<ResultSet, Error> {
        let (reply, answer) = oneshot::channel();
        let _cancel = self.send(schema, statement, Job::Run(parameters, reply))?;
        answer.await.map_err(|_| stopped())?
    }

    fn send(
        &self,
        schema: &'static str,
        statement: Rewritten,
        job: Job,
    ) -> Result<CancelOnDrop, Error> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let request = Request {
            schema,
            statement,
            job,
            cancelled: cancelled.clone(),
        };
        self.requests.try_send(request).map_err(|_| Error::Busy)?;
        Ok(CancelOnDrop(cancelled))
    }
}

fn stopped() -> Error {
    Error::Internal("the engine did not answer".to_owned())
}

/// Why a running statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Time,
    Memory,
    Cancelled,
}

/// What the progress handler of a connection looks at.
struct Watch {
    deadline: Instant,
    memory_bytes_max: u64,
    cancelled: Arc<AtomicBool>,
    stop: Option<Stop>,
}

impl Watch {
    /// Whether the statement must stop now.
    fn check(&mut self) -> bool {
        self.stop = if Instant::now() >= self.deadline {
            Some(Stop::Time)
        } else if vtab::sqlite_bytes() > self.memory_bytes_max {
            Some(Stop::Memory)
        } else if self.cancelled.load(Ordering::Relaxed) {
            Some(Stop::Cancelled)
        } else {
            None
        };
        self.stop.is_some()
    }
}

/// One connection with one default schema.
struct Database {
    connection: Connection,
    snapshots: Arc<Snapshots>,
    watch: Arc<Mutex<Watch>>,
}

impl Database {
    fn open(sources: Sources, schema: &str, limits: &Limits) -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        let snapshots = Snapshots::new(sources);
        functions::register(&connection)?;
        vtab::attach(&connection, &snapshots, schema)?;
        // Sorts stay in memory, where the watch sees them.
        connection.execute_batch("PRAGMA temp_store = MEMORY")?;
        let bytes = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes(VALUE_BYTES_MAX * 2))?;
        connection.set_limit(
            Limit::SQLITE_LIMIT_SQL_LENGTH,
            bytes(STATEMENT_BYTES_MAX * 2),
        )?;
        let watch = Arc::new(Mutex::new(Watch {
            deadline: Instant::now(),
            memory_bytes_max: limits.memory_bytes_max,
            cancelled: Arc::default(),
            stop: None,
        }));
        let watched = watch.clone();
        connection.progress_handler(1000, Some(move || watched.lock().check()))?;
        connection.authorizer(Some(authorize))?;
        Ok(Self {
            connection,
            snapshots,
            watch,
        })
    }
}

fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Function { function_name } => {
            if function_name.eq_ignore_ascii_case("load_extension") {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        }
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

struct Worker {
    sources: Sources,
    limits: Limits,
    budget: Arc<AtomicUsize>,
    databases: HashMap<&'static str, Database>,
}

impl Worker {
    fn serve(mut self, requests: &Mutex<Receiver<Request>>) {
        loop {
            let request = requests.lock().recv();
            let Ok(request) = request else { return };
            if request.cancelled.load(Ordering::Relaxed) {
                continue;
            }
            // A fault in one statement must not take the engine with it; the connections are made anew.
            if catch_unwind(AssertUnwindSafe(|| self.answer(request))).is_err() {
                tracing::error!("admin statement panicked; its connections are made anew");
                self.databases.clear();
            }
        }
    }

    fn answer(&mut self, request: Request) {
        let Request {
            schema,
            statement,
            job,
            cancelled,
        } = request;
        match job {
            Job::Describe(reply) => {
                let answer = self.with_database(schema, cancelled, |db, _| {
                    let prepared = prepare(&db.connection, &statement.sql)?;
                    let columns = columns(&prepared, &statement, schema);
                    Ok(Description {
                        columns: columns.into_iter().map(|column| column.0).collect(),
                        parameters: statement.parameters,
                    })
                });
                let _ = reply.send(answer);
            }
            Job::Run(parameters, reply) => {
                let budget = self.budget.clone();
                let answer = self.with_database(schema, cancelled, |db, limits| {
                    run(db, limits, &budget, &statement, &parameters, schema)
                });
                let _ = reply.send(answer);
            }
        }
    }

    fn with_database<T>(
        &mut self,
        schema: &'static str,
        cancelled: Arc<AtomicBool>,
        act: impl FnOnce(&Database, &Limits) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.databases.contains_key(schema) {
            let database = Database::open(self.sources.clone(), schema, &self.limits)
                .map_err(|error| Error::Internal(error.to_string()))?;
            self.databases.insert(schema, database);
        }
        let Some(database) = self.databases.get(schema) else {
            return Err(stopped());
        };
        *database.watch.lock() = Watch {
            deadline: Instant::now() + Duration::from_millis(self.limits.query_ms_max),
            memory_bytes_max: self.limits.memory_bytes_max,
            cancelled,
            stop: None,
        };
        let result = act(database, &self.limits);
        database.snapshots.clear();
        let stop = database.watch.lock().stop;
        result.map_err(|error| match (error, stop) {
            (Error::Engine(_), Some(Stop::Time)) => Error::Timeout(self.limits.query_ms_max),
            (Error::Engine(_), Some(Stop::Memory)) => {
                Error::OutOfMemory(self.limits.memory_bytes_max)
            }
            (Error::Engine(_), Some(Stop::Cancelled)) => stopped(),
            (error, _) => error,
        })
    }
}

fn prepare<'db>(db: &'db Connection, sql: &str) -> Result<Statement<'db>, Error> {
    let statement = db
        .prepare(sql)
        .map_err(|error| Error::from_sqlite(&error))?;
    if statement.readonly() {
        Ok(statement)
    } else {
        Err(Error::ReadOnly("the statement".to_owned()))
    }
}

/// The columns of a statement; the flag says whether the type was known from the statement alone.
fn columns(
    prepared: &Statement<'_>,
    statement: &Rewritten,
    schema: &'static str,
) -> Vec<(ResultColumn, bool)> {
    let outputs = typing::outputs(&statement.sql, schema);
    let known = outputs.len() == prepared.column_count();
    let column = |(at, column): (usize, rusqlite::Column<'_>)| {
        let output = if known {
            outputs.get(at).cloned().unwrap_or_default()
        } else {
            Default::default()
        };
        let declared = column.decl_type().and_then(Type::from_declaration);
        let kind = declared.or(output.kind);
        let name = column.name();
        let renamed = statement.names.iter().find(|(sqlite, _)| sqlite == name);
        let column = ResultColumn {
            name: renamed.map_or(name, |(_, mysql)| mysql).to_owned(),
            kind: kind.unwrap_or(typing::TEXT),
            origin: output.origin,
        };
        (column, kind.is_some())
    };
    prepared.columns().enumerate().map(column).collect()
}

fn run(
    db: &Database,
    limits: &Limits,
    budget: &Arc<AtomicUsize>,
    statement: &Rewritten,
    parameters: &[Value],
    schema: &'static str,
) -> Result<ResultSet, Error> {
    if parameters.len() != statement.parameters {
        let (wanted, given) = (statement.parameters, parameters.len());
        return Err(Error::Parameters(format!("{wanted} wanted, {given} given")));
    }
    let mut prepared = prepare(&db.connection, &statement.sql)?;
    let columns = columns(&prepared, statement, schema);
    let mut held = Held {
        bytes: 0,
        budget: budget.clone(),
    };
    let mut rows = Vec::new();
    let mut found = prepared
        .query(params_from_iter(parameters))
        .map_err(|error| sqlite(&error))?;
    while let Some(row) = found.next().map_err(|error| sqlite(&error))? {
        if rows.len() >= limits.rows_max {
            return Err(Error::TooManyRows(limits.rows_max));
        }
        let values = (0..columns.len()).map(|at| row.get_ref(at).map(value));
        let values: Row = values
            .collect::<Result<_, _>>()
            .map_err(|error| sqlite(&error))?;
        let bytes = size_of::<Row>() + values.iter().map(Value::bytes).sum::<usize>();
        held.bytes += bytes;
        let all = budget.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held.bytes > limits.result_bytes_max {
            return Err(Error::ResultTooLarge(limits.result_bytes_max));
        }
        if all > limits.results_bytes_max {
            return Err(Error::Busy);
        }
        rows.push(values);
    }
    Ok(ResultSet {
        columns: settle(columns, &rows),
        rows,
        _held: held,
    })
}

fn sqlite(error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        // The watch knows why.
        Some(ErrorCode::OperationInterrupted) => Error::Engine("interrupted".to_owned()),
        _ => Error::from_sqlite(error),
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            String::from_utf8_lossy(text).into_owned().into()
        }
    }
}

/// Final types: unknown ones from the values, and known ones widened where a value does not fit. SQLite's values carry
/// their own types, so a column's type is a promise that has to be checked before it is sent.
fn settle(columns: Vec<(ResultColumn, bool)>, rows: &[Row]) -> Vec<ResultColumn> {
    let kind_of = |at: usize, first: Option<Type>| {
        let mut kind = first;
        for value in rows.iter().filter_map(|row| row.get(at)) {
            kind = match (kind, value) {
                (kind, Value::Null) => kind,
                (Some(Type::BigInt | Type::Bool | Type::Double) | None, Value::Real(_)) => {
                    Some(Type::Double)
                }
                (None, Value::Int(_)) => Some(Type::BigInt),
                (Some(Type::BigInt | Type::Bool | Type::Double) | None, Value::Text(_)) => {
                    Some(typing::TEXT)
                }
                (Some(Type::Datetime), value) if !is_moment(value) => Some(typing::TEXT),
                (kind, _) => kind,
            };
        }
        kind.unwrap_or(typing::TEXT)
    };
    columns
        .into_iter()
        .enumerate()
        .map(|(at, (column, known))| ResultColumn {
            kind: kind_of(at, known.then_some(column.kind)),
            ..column
        })
        .collect()
}

fn is_moment(value: &Value) -> bool {
    matches!(value, Value::Text(text) if Moment::parse(text).is_some())
}

#[cfg(test)]
mod tests;
