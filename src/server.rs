//! Builds each room once, starts its tasks, runs until the stop signal, drains. Holds no logic of its own.

use crate::admin::{self, Admin};
use crate::analytics::Analytics;
use crate::backend::certificates::TlsError;
use crate::backend::control::{Control, ControlError};
use crate::backend::defaults::Defaults;
use crate::backend::login::{self, Login};
use crate::backend::nodes::{Node, Nodes, Writer};
use crate::backend::probe::Probe;
use crate::binlog::{Binlog, BinlogSettings};
use crate::cache::Cache;
use crate::config::{Config, TlsMode};
use crate::http;
use crate::metrics::MetricsError;
use crate::protocol::auth::{RsaKey, Secret};
use crate::protocol::capability;
use crate::session::listener::{DoorCounters, WorkerHandle};
use crate::session::rooms::Rooms;
use crate::session::throttle::Throttle;
use crate::session::tls::ServerTls;
use crate::session::verifiers::Verifiers;
use crate::session::worker;
use crate::shutdown::Shutdown;
use crate::sql::StatementCache;
use crate::views::Views;
use arc_swap::{ArcSwap, ArcSwapOption};
use changes::Live;
use history::History;
use listeners::Listeners;
use sources::Parts;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

mod certificates;
mod changes;
mod history;
mod listeners;
mod pages;
pub mod series;
mod sources;

/// Threads of the control plane: probes, binary log, builds, admin engine, HTTP. They never delay a query.
const CONTROL_THREADS: usize = 2;

/// Pause between two probes of the backend.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Pause between two attempts to reach a backend that is not there.
const BACKEND_RETRY: Duration = Duration::from_millis(500);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({key}): {error}")]
    Listen {
        /// The config key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A Unix socket could not be listened on.
    #[error("cannot listen on {path} (listen.socket): {error}")]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// A query rule.
    #[error("rule {name}: {field} {what}")]
    Rule {
        /// Which.
        name: String,
        /// Where it shows.
        field: &'static str,
        /// What is wrong there.
        what: String,
    },
    /// The control plane's settings.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A series is described wrongly.
    #[error("metrics: {0}")]
    Metrics(#[from] MetricsError),
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System { what, error }
}

/// Runs until SIGTERM or SIGINT, then drains. `written` is the configuration without what SAVE has kept.
///
/// # Errors
/// What keeps it from starting. A backend that is not there does not: clients are told until it comes.
pub fn run(config: Arc<Config>, written: &Config) -> Result<(), ServerError> {
    let control_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(system("control runtime"))?;
    let _inside = control_runtime.enter();
    let stop = Shutdown::new();
    tokio::spawn(stop.listen().map_err(system("signal handlers"))?);
    let listeners = Listeners::open(&config)?;
    let workers_count = config.runtime.workers_effective();
    let analytics = Analytics::new(&config.analytics, workers_count);
    let history = History::start(&config, &analytics).map_err(system("history thread"))?;
    let rooms = build(config.clone(), written, &stop, analytics, history.as_ref())?;
    let (workers, threads) = start_workers(&rooms, workers_count)?;
    let counters = Arc::new(DoorCounters::default());
    let http = listeners.start(&config, &workers, &counters, &stop)?;
    if let Some(listener) = http {
        tracing::info!(address = %listener.local_addr().map_err(system("listener"))?, "http");
        let pages = pages::pages(&rooms, &counters)?;
        tokio::spawn(http::serve(
            listener,
            pages,
            http::Limits::default(),
            stop.clone(),
        ));
    }
    start_chores(&rooms, &stop)?;
    if let Some(history) = &history {
        tokio::spawn(history.clone().run(stop.clone()));
    }
    drop(workers);
    control_runtime.block_on(stop.requested());
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a worker thread had panicked");
        }
    }
    if let Some(history) = &history {
        history.finish();
    }
    control_runtime.shutdown_timeout(Duration::from_secs(1));
    tracing::info!("stopped");
    Ok(())
}

/// Starts what goes on beside the clients.
fn start_chores(rooms: &Arc<Rooms>, stop: &Shutdown) -> Result<(), ServerError> {
    let (probe, until) = (rooms.probe.clone(), stop.clone());
    tokio::spawn(async move { probe.run(PROBE_EVERY, until).await });
    tokio::spawn(rooms.views.clone().run(stop.clone()));
    tokio::spawn(learn_backend(rooms.clone(), stop.clone()));
    tokio::spawn(tick(rooms.clone(), stop.clone()));
    tokio::spawn(keep_time(rooms.clone()));
    let hangups = signal(SignalKind::hangup()).map_err(system("signal handlers"))?;
    tokio::spawn(certificates::watch(rooms.clone(), hangups, stop.clone()));
    Ok(())
}

/// Builds every room, in the order in which they use each other, and starts the tasks that they live by.
fn build(
    config: Arc<Config>,
    written: &Config,
    stop: &Shutdown,
    analytics: Arc<Analytics>,
    history: Option<&Arc<History>>,
) -> Result<Arc<Rooms>, ServerError> {
    let tls = client_tls(&config)?;
    let no_key = || system("RSA key")(io::Error::other("the crypto library made none"));
    let rsa = RsaKey::generate().ok_or_else(no_key)?;
    let nodes = Nodes::new(&config)?;
    let control = Control::new(first(&nodes)?.control.settings());
    let defaults = Defaults::new(control.clone());
    tokio::spawn(defaults.clone().run(stop.clone()));
    let binlog = Binlog::start(control.clone(), BinlogSettings::from_config(&config), stop);
    let cache = Cache::new((&config.cache).into(), binlog.clone(), Handle::current());
    let probe = probe(&control, &cache);
    let views = Views::new(
        &config,
        control.clone(),
        binlog.clone(),
        probe.capabilities(),
    );
    follow_writer(&nodes, &config, &control, &binlog, stop);
    let live = Live::new(written, &config, &analytics, &cache)?;
    let sources = sources::sources(&Parts {
        config: config.clone(),
        analytics: analytics.clone(),
        nodes: nodes.clone(),
        probe: probe.clone(),
        binlog: binlog.clone(),
        cache: cache.clone(),
        store: history.map(|history| history.store().clone()),
        views: views.clone(),
        rules: live.rules.clone(),
        runtime: live.runtime,
    });
    let admin = admin_engine(&config, sources)?;
    Ok(Arc::new(Rooms {
        shutdown: stop.clone(),
        tls,
        rsa: Arc::new(rsa),
        verifiers: Verifiers::default(),
        throttle: throttle(&config),
        users: live.users,
        nodes,
        facts: ArcSwapOption::empty(),
        probe,
        control,
        binlog,
        statements: StatementCache::new(config.statements.cache_entries_max as u64),
        analytics,
        store: history.map(|history| history.store().clone()),
        cache,
        views,
        rules: live.rules,
        runtime: Handle::current(),
        admin,
        admin_account: admin_account(&config),
        defaults,
        unproven: Semaphore::new(Rooms::unproven_max(config.pool.connections_max)),
        variables: ArcSwap::default(),
        held: AtomicUsize::new(0),
        control_runtime: Handle::current(),
        session_ids: Rooms::first_session_id(),
        ticks: watch::Sender::new(0),
        config,
    }))
}

fn admin_engine(config: &Config, sources: admin::Sources) -> Result<Arc<Admin>, ServerError> {
    let limits = admin::Limits::new(config.admin.rows_max, config.admin.query_ms_max);
    Admin::start(sources, limits, Handle::current()).map_err(system("admin engine"))
}

/// TLS towards clients.
fn client_tls(config: &Config) -> Result<Option<ServerTls>, ServerError> {
    Ok(match config.tls.mode {
        TlsMode::Disabled => None,
        _ => Some(ServerTls::new(config)?),
    })
}

fn throttle(config: &Config) -> Throttle {
    let window = Duration::from_millis(config.login.failures_window_ms);
    Throttle::new(config.login.failures_per_source_max, window)
}

/// The server of `backend.url`.
fn first(nodes: &Nodes) -> Result<Arc<Node>, ServerError> {
    let none = || system("nodes")(io::Error::other("there is none"));
    nodes.all().first().cloned().ok_or_else(none)
}

/// Where the writer goes the control plane goes first: nothing is certified by the log of a server that is the writer no more.
fn follow_writer(
    nodes: &Arc<Nodes>,
    config: &Config,
    control: &Arc<Control>,
    binlog: &Arc<Binlog>,
    stop: &Shutdown,
) {
    if nodes.is_cluster() {
        // Until somebody has looked.
        binlog.writer_lost();
    }
    let (control, binlog) = (control.clone(), binlog.clone());
    let before = move |writer: &Writer| match writer {
        Writer::One(node) => binlog.writer_found(control.turn_to(node.control.settings())),
        Writer::None(_) | Writer::Several(_) => binlog.writer_lost(),
    };
    nodes.watch(&config.cluster, Box::new(before), stop);
}

/// The probe. The cache hears from it of a secondary engine, and takes one to be there until the first probe has looked.
fn probe(control: &Arc<Control>, cache: &Arc<Cache>) -> Arc<Probe> {
    cache.set_secondary_engine(true);
    let cache = cache.clone();
    Probe::telling(control.clone(), move |found| {
        cache.set_secondary_engine(found.secondary_engine.is_some());
    })
}

/// The administrator's account; a password that is not configured is made and shown once.
fn admin_account(config: &Config) -> (String, String) {
    let configured = config.admin.password.reveal();
    if !configured.is_empty() {
        return (config.admin.user.clone(), configured.to_owned());
    }
    let password = hex::encode(rand::random::<[u8; 12]>());
    tracing::info!(user = %config.admin.user, %password, "admin.password is not set: this one was made for this run");
    (config.admin.user.clone(), password)
}

type Threads = Vec<std::thread::JoinHandle<()>>;

fn start_workers(
    rooms: &Arc<Rooms>,
    count: usize,
) -> Result<(Vec<WorkerHandle>, Threads), ServerError> {
    let mut handles = Vec::with_capacity(count);
    let mut threads = Vec::with_capacity(count);
    for id in 0..count {
        let (clients, incoming) = mpsc::unbounded_channel();
        handles.push(WorkerHandle {
            clients,
            load: Arc::new(AtomicUsize::new(0)),
        });
        let rooms = rooms.clone();
        let body = move || {
            if let Err(error) = worker::run(rooms, id, incoming) {
                tracing::error!(worker = id, %error, "a worker could not start");
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(body);
        threads.push(thread.map_err(system("worker thread"))?);
    }
    Ok((handles, threads))
}

/// Tries to reach the backend until it says what it is, so that clients can be greeted in its name.
async fn learn_backend(rooms: Arc<Rooms>, stop: Shutdown) {
    let url = &rooms.config.backend.url;
    let mut told = false;
    // Any of several will do.
    let mut nodes = rooms.nodes.all().iter().cycle();
    while let Some(node) = nodes.next().filter(|_| rooms.facts.load().is_none())
        && !stop.is_requested()
    {
        let login = Login {
            user: url.user.as_bytes(),
            secret: Secret::of_password(url.password.reveal().as_bytes()),
            schema: b"",
            capabilities: capability::OFFERED_MAX,
            collation: 255,
            attributes: vec![(b"program_name".to_vec(), b"tidegate".to_vec())],
        };
        match login::open(&node.target, &login, 4096).await {
            Ok(connection) => {
                rooms.saw_facts(&connection.facts);
                tracing::info!(
                    address = %node.target.address,
                    version = %String::from_utf8_lossy(&connection.facts.version),
                    "backend reached"
                );
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(address = %node.target.address, %error, "backend not reached; trying on");
                }
                tokio::time::sleep(BACKEND_RETRY).await;
            }
        }
    }
}

/// Lets the clocks of the workers tick, until there are no more workers.
async fn keep_time(rooms: Arc<Rooms>) {
    let mut ticks = interval(worker::TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        rooms.ticks.send_modify(|count| *count += 1);
    }
}

/// The chores of every second.
async fn tick(rooms: Arc<Rooms>, stop: Shutdown) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut grants = rooms.grant_epoch();
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = seconds.tick() => {}
        }
        for node in rooms.nodes.all() {
            node.pool.reap();
        }
        rooms.analytics.maintain();
        rooms
            .analytics
            .pool()
            .sample(series::pools_sample(&rooms.nodes, rooms.analytics.now_ms()));
        rooms.cache.sweep();
        if rooms.grant_epoch() != grants {
            grants = rooms.grant_epoch();
            // Nobody inherits a login from before a change of accounts.
            for node in rooms.nodes.all() {
                node.pool.drop_idle(None);
            }
        }
    }
}
