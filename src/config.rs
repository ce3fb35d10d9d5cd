//! What the operator wrote, validated once: values with units, passed in as a handle. Reads files; never opens a socket.
//!
//! Two steps: [`file`] reads the TOML as it was written, with lines; [`load`] turns it, the environment and the command
//! line into a [`Config`] whose every value is known to be in range. [`keys::KEYS`] is the one table behind both.
//! Order of precedence: command line, environment (secrets only), file, default.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub mod cli;
pub mod file;
pub mod keys;
pub mod load;
pub mod logging;
pub mod mistake;
pub mod reference;
pub mod rules;
pub mod secret;
pub mod types;

mod check;

pub use mistake::ConfigError;
pub use rules::Rule;
pub use secret::Secret;
pub use types::{
    BackendTlsMode, BackendUrl, Compression, Consistency, LogFormat, Network, NodeEntry, PoolMode,
    Reads, SecondaryEngine, TlsMode, User,
};

/// Everything Tidegate can be told, in range and ready to use. Handed to the rooms as `Arc<Config>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Addresses for apps, admins and HTTP.
    pub listen: Listen,
    /// Threads and the end of the process.
    pub runtime: Runtime,
    /// The server behind Tidegate.
    pub backend: Backend,
    /// The servers behind Tidegate when there are several.
    pub cluster: Cluster,
    /// TLS towards clients.
    pub tls: Tls,
    /// How long and how often a client may try to log in.
    pub login: Login,
    /// Limits of one client connection.
    pub client: Client,
    /// Connections to the backend.
    pub pool: Pool,
    /// What is remembered of statements.
    pub statements: Statements,
    /// What is measured and how much of it is kept.
    pub analytics: Analytics,
    /// The stream of changes.
    pub binlog: Binlog,
    /// Views that answer repeated aggregates.
    pub views: Views,
    /// Results that cannot have changed.
    pub cache: Cache,
    /// The admin schema.
    pub admin: Admin,
    /// Metrics, health and the JSON interface.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
    /// Where history is kept.
    pub history: History,
    /// Directory for files of our own (certificate, history), as written; rooms ask [`Config::data_dir`].
    pub data_dir: PathBuf,
    /// Users whose passwords are listed here; all others log in with what the backend knows of them.
    pub users: Vec<User>,
    /// Servers of the cluster beside that of `backend.url`.
    pub nodes: Vec<NodeEntry>,
    /// Query rules, in order.
    pub rules: Vec<Rule>,
}

/// One key with the value it has, for people: a row of the admin table `settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub name: &'static str,
    /// The value it has, secrets as `***`.
    pub value: String,
    /// The value when nobody says anything.
    pub default: String,
    /// Unit of a number; empty where it has none.
    pub unit: &'static str,
    /// What it may be.
    pub allowed: String,
    /// Whether a running Tidegate takes up a change.
    pub reloadable: bool,
    /// What it does.
    pub help: &'static str,
}

impl Config {
    /// Every key with its value.
    pub fn settings(&self) -> Vec<Setting> {
        keys::KEYS
            .iter()
            .map(|key| Setting {
                name: key.name,
                value: key.value(self),
                default: key.default_value(),
                unit: key.unit,
                allowed: key.allowed(),
                reloadable: key.reloadable,
                help: key.help,
            })
            .collect()
    }

    /// Where files of ours live: as written, or `$XDG_STATE_HOME/tidegate`, or `~/.local/state/tidegate`, or (no home
    /// at all, as for some services) `/var/lib/tidegate`.
    pub fn data_dir(&self) -> PathBuf {
        if !self.data_dir.as_os_str().is_empty() {
            return self.data_dir.clone();
        }
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        if let Some(state) = absolute("XDG_STATE_HOME") {
            return state.join("tidegate");
        }
        absolute("HOME").map_or_else(
            || PathBuf::from("/var/lib/tidegate"),
            |home| home.join(".local/state/tidegate"),
        )
    }

    /// The file with statistics of the past: as written, or in the data directory; none when no history is wanted.
    pub fn history_path(&self) -> Option<PathBuf> {
        let path = &self.history.path;
        match path.to_str() {
            Some("") => None,
            Some(HISTORY_AUTO) => Some(self.data_dir().join("history.db")),
            _ => Some(path.clone()),
        }
    }
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// MySQL protocol for apps.
    pub app: SocketAddr,
    /// MySQL protocol for the admin schema.
    pub admin: SocketAddr,
    /// HTTP for metrics, health and JSON.
    pub http: SocketAddr,
    /// Connections the kernel may hold that we have not accepted yet.
    pub backlog: u32,
    /// Clients connected at once; the next one is refused with error 1040.
    pub clients_max: usize,
    /// Unix socket for apps; empty: none.
    pub socket: PathBuf,
    /// Networks of proxies that say for whom they connect; rooms ask [`Listen::proxies`].
    pub proxy_protocol_networks: Vec<String>,
}

impl Listen {
    /// The networks of proxies that say for whom they connect.
    pub fn proxies(&self) -> Vec<Network> {
        let networks = self.proxy_protocol_networks.iter();
        networks
            .filter_map(|network| network.parse().ok())
            .collect()
    }
}

impl Default for Listen {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            app: local(6033),
            admin: local(6032),
            http: local(6070),
            backlog: 1024,
            clients_max: 10_000,
            socket: PathBuf::new(),
            proxy_protocol_networks: Vec::new(),
        }
    }
}

/// `[runtime]`
#[derive(Debug, Clone, PartialEq)]
pub struct Runtime {
    /// Data-plane threads as written; 0 means [`Runtime::workers_effective`] decides.
    pub workers: usize,
    /// How long a stop may wait for running statements.
    pub shutdown_drain_ms_max: u64,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            workers: 0,
            shutdown_drain_ms_max: 10_000,
        }
    }
}

impl Runtime {
    /// Data-plane threads to start: as written, or half the cores and at least one. Half, because the backend's
    /// answers cost the other half when client, proxy and kernel share a machine.
    pub fn workers_effective(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    }
}

/// `[backend]`
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Where clients go, and the control plane's own user. `url.is_set()` is false only in tests and `check-config`.
    pub url: BackendUrl,
    /// TLS towards the backend.
    pub tls: BackendTlsMode,
    /// PEM file with the authorities of its certificate; given where the mode verifies.
    pub tls_ca: PathBuf,
    /// PEM file with our certificate; empty: we show none.
    pub tls_cert: PathBuf,
    /// PEM file with its private key; given exactly when `tls_cert` is.
    pub tls_key: PathBuf,
    /// Compression towards the backend, on the connections that serve clients.
    pub compression: Compression,
    /// Longest wait for connect and login.
    pub connect_ms_max: u64,
    /// Longest silence while an answer is due.
    pub silence_ms_max: u64,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            url: BackendUrl::default(),
            tls: BackendTlsMode::Preferred,
            tls_ca: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            compression: Compression::None,
            connect_ms_max: 5_000,
            silence_ms_max: 86_400_000,
        }
    }
}

impl Backend {
    /// The same account and settings at another server of the cluster.
    pub fn at(&self, node: &NodeEntry) -> Self {
        let mut backend = self.clone();
        backend.url.host.clone_from(&node.host);
        backend.url.port = node.port;
        backend
    }
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Pause between two looks at a node.
    pub probe_ms: u64,
    /// A reader that is further behind gets no reads.
    pub lag_ms_max: u64,
    /// Longest wait of a statement for a writer while there is none.
    pub failover_hold_ms_max: u64,
    /// Where reads go.
    pub reads: Reads,
    /// What a read on a reader must have seen.
    pub consistency: Consistency,
    /// Longest wait of a read for its session's own writes to arrive at the reader; then the writer answers.
    pub gtid_wait_ms_max: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            probe_ms: 1_000,
            lag_ms_max: 5_000,
            failover_hold_ms_max: 5_000,
            reads: Reads::Writer,
            consistency: Consistency::Session,
            gtid_wait_ms_max: 50,
        }
    }
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Whether clients may or must use TLS.
    pub mode: TlsMode,
    /// PEM file with the certificate chain; empty: made by ourselves, kept in `data_dir`.
    pub cert: PathBuf,
    /// PEM file with the private key; given exactly when `cert` is.
    pub key: PathBuf,
    /// PEM file with the authorities of clients' certificates; empty: none is asked for.
    pub client_ca: PathBuf,
    /// Clients must show one.
    pub client_cert_required: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            mode: TlsMode::Preferred,
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            client_cert_required: false,
        }
    }
}

/// `[login]`
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Longest time from accept to logged in.
    pub handshake_ms_max: u64,
    /// Failed logins from one address within the window before it is refused unheard.
    pub failures_per_source_max: u32,
    /// Length of that window.
    pub failures_window_ms: u64,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            handshake_ms_max: 10_000,
            failures_per_source_max: 20,
            failures_window_ms: 60_000,
        }
    }
}

/// `[client]`
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// A client silent for longer is closed.
    pub idle_ms_max: u64,
    /// A client that stops in the middle of a request or of an answer for longer is closed.
    pub stall_ms_max: u64,
    /// Largest request, over all its packets.
    pub packet_bytes_max: usize,
    /// Longer statements are relayed as they stream in, without a digest.
    pub statement_bytes_max: usize,
    /// Read buffer of one socket at rest.
    pub buffer_bytes: usize,
    /// Algorithms that clients may compress with: `zlib`, `zstd`.
    pub compression: Vec<String>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            idle_ms_max: 28_800_000,
            stall_ms_max: 60_000,
            packet_bytes_max: 1 << 30,
            statement_bytes_max: 1 << 20,
            buffer_bytes: 16_384,
            compression: vec!["zlib".to_owned(), "zstd".to_owned()],
        }
    }
}

/// `[pool]`
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// How long a client keeps a connection.
    pub mode: PoolMode,
    /// Users whose clients keep theirs for life.
    pub session_users: Vec<String>,
    /// Backend connections in all.
    pub connections_max: usize,
    /// Backend connections of one user; 0: only `connections_max` counts.
    pub connections_per_user_max: usize,
    /// Idle backend connections kept.
    pub idle_max: usize,
    /// An idle backend connection is closed after this.
    pub idle_ms_max: u64,
    /// One whose client has left is closed after this.
    pub surplus_ms_max: u64,
    /// A backend connection is not lent again after this.
    pub lifetime_ms_max: u64,
    /// A client that has been idle for so long gives its connection up.
    pub hold_ms_max: u64,
    /// Prepared statements open on one backend connection.
    pub prepared_max: usize,
    /// Longest wait for a backend connection; then error 1040.
    pub wait_ms_max: u64,
    /// Clients that may wait at once; the next one is refused at once.
    pub waiters_max: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            mode: PoolMode::Transaction,
            session_users: Vec::new(),
            connections_max: 1_000,
            connections_per_user_max: 0,
            idle_max: 64,
            idle_ms_max: 60_000,
            surplus_ms_max: 2_000,
            lifetime_ms_max: 3_600_000,
            hold_ms_max: 1_000,
            prepared_max: 256,
            wait_ms_max: 10_000,
            waiters_max: 10_000,
        }
    }
}

/// `[statements]`
#[derive(Debug, Clone, PartialEq)]
pub struct Statements {
    /// Parsed statements kept, one per digest.
    pub cache_entries_max: usize,
    /// Digest text is cut after this.
    pub digest_text_bytes_max: usize,
}

impl Default for Statements {
    fn default() -> Self {
        Self {
            cache_entries_max: 20_000,
            digest_text_bytes_max: 2_048,
        }
    }
}

/// `[analytics]`
#[derive(Debug, Clone, PartialEq)]
pub struct Analytics {
    /// Rows of statistics (digest, user, app, schema); what comes after goes to `_other`.
    pub digests_max: usize,
    /// App names told apart.
    pub apps_max: usize,
    /// User names told apart.
    pub users_max: usize,
    /// Schema names told apart.
    pub schemas_max: usize,
    /// A statement that takes longer counts as slow.
    pub slow_query_ms: u64,
    /// Keep the text of slow statements with their literals.
    pub sample_literals: bool,
    /// Slow statements, errors and ended transactions kept, of each kind.
    pub events_max: usize,
}

impl Default for Analytics {
    fn default() -> Self {
        Self {
            digests_max: 20_000,
            apps_max: 500,
            users_max: 1_000,
            schemas_max: 1_000,
            slow_query_ms: 1_000,
            sample_literals: false,
            events_max: 1_000,
        }
    }
}

/// `[binlog]`
#[derive(Debug, Clone, PartialEq)]
pub struct Binlog {
    /// Follow the backend's binary log. Without it no view and no strict cache.
    pub enabled: bool,
    /// Our replica id; 0: a random high one.
    pub server_id: u32,
    /// Pause before the stream is opened again.
    pub reconnect_ms: u64,
    /// A stream silent for longer is taken for dead.
    pub silence_ms_max: u64,
    /// Heartbeat period asked of the server.
    pub heartbeat_ms: u64,
}

impl Default for Binlog {
    fn default() -> Self {
        Self {
            enabled: true,
            server_id: 0,
            reconnect_ms: 1_000,
            silence_ms_max: 1_000,
            heartbeat_ms: 200,
        }
    }
}

/// `[views]`
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// Find, build and use views.
    pub enabled: bool,
    /// Schema on the backend that holds our tables.
    pub schema: String,
    /// A pattern must be seen this often within the window.
    pub repeat_count_min: u32,
    /// Length of that window.
    pub repeat_window_ms: u64,
    /// A pattern must take this long on average.
    pub mean_ms_min: u64,
    /// A view may have this many rows.
    pub rows_max: u64,
    /// A view may have this many rows for one of its table.
    pub size_ratio_max: f64,
    /// Pause between two builds of one view.
    pub rebuild_interval_ms_min: u64,
    /// Time aimed at for one chunk of a build.
    pub chunk_ms_target: u64,
    /// Views at once.
    pub views_max: usize,
    /// Longest wait for the proof that a view is up to date; then the base tables answer.
    pub gate_wait_ms_max: u64,
    /// Load views into this secondary engine.
    pub secondary_engine: SecondaryEngine,
    /// Answers compared with the base tables' before a view is used.
    pub shadow_samples: u32,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            enabled: true,
            schema: "tidegate".to_owned(),
            repeat_count_min: 5,
            repeat_window_ms: 600_000,
            mean_ms_min: 20,
            rows_max: 5_000_000,
            size_ratio_max: 0.05,
            rebuild_interval_ms_min: 10_000,
            chunk_ms_target: 50,
            views_max: 64,
            gate_wait_ms_max: 10,
            secondary_engine: SecondaryEngine::Auto,
            shadow_samples: 5,
        }
    }
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Keep results.
    pub enabled: bool,
    /// All results together.
    pub bytes_max: u64,
    /// One result.
    pub entry_bytes_max: usize,
    /// Results kept.
    pub entries_max: usize,
    /// Choose digests by what they cost and how often they come back.
    pub auto: bool,
    /// A digest chosen so takes this long on average.
    pub auto_mean_ms_min: u64,
    /// A digest chosen so came back this often with the same literals.
    pub auto_repeat_min: u32,
    /// Digests always cached (32 hex digits).
    pub digests: Vec<String>,
    /// Statements that read only these tables are always cached (`schema.table`).
    pub tables: Vec<String>,
    /// Longest wait for another client that is fetching the same result.
    pub fill_wait_ms_max: u64,
    /// Longest wait for the proof that a result is up to date; then the backend answers.
    pub gate_wait_ms_max: u64,
    /// Users never answered from the cache.
    pub users_exclude: Vec<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            bytes_max: 256 << 20,
            entry_bytes_max: 8 << 20,
            entries_max: 100_000,
            auto: true,
            auto_mean_ms_min: 20,
            auto_repeat_min: 3,
            digests: Vec::new(),
            tables: Vec::new(),
            fill_wait_ms_max: 1_000,
            gate_wait_ms_max: 10,
            users_exclude: Vec::new(),
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Users who see schema `tidegate` on the app port too.
    pub users: Vec<String>,
    /// User of the admin port.
    pub user: String,
    /// Password of that user; empty: made at start and logged once.
    pub password: Secret,
    /// Rows of one answer.
    pub rows_max: usize,
    /// Time of one statement.
    pub query_ms_max: u64,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            user: "admin".to_owned(),
            password: Secret::default(),
            rows_max: 100_000,
            query_ms_max: 5_000,
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Serve metrics, health and JSON.
    pub enabled: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level, or a list such as `info,tidegate::binlog=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            level: "info".to_owned(),
        }
    }
}

/// `[history]`
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// SQLite file, as written; rooms ask [`Config::history_path`].
    pub path: PathBuf,
    /// Days that minutes are kept.
    pub keep_days: u32,
    /// Room in the file in bytes; the oldest minutes go when it is used up.
    pub bytes_max: u64,
    /// Rows kept of one minute by load, and as many again of those with errors.
    pub rows_per_minute_max: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            path: PathBuf::from(HISTORY_AUTO),
            keep_days: 3,
            bytes_max: 1 << 30,
            rows_per_minute_max: 200,
        }
    }
}

/// Name of the file that SAVE writes into `data_dir`.
pub const RUNTIME_FILE: &str = "runtime.toml";

/// What stands in `history.path` for the file in the data directory.
const HISTORY_AUTO: &str = "auto";

#[cfg(test)]
mod tests;
