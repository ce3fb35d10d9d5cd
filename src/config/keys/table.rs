//! The rows of the configuration: one for each key, section by section as in config/tidegate.toml. Data only.

use super::{Field, Key, TextRule};
use crate::config::types::{Network, is_identifier};

const USER: TextRule = TextRule {
    allowed: "a user name of 1 to 32 characters",
    holds: |text| (1..=32).contains(&text.chars().count()),
};
const SCHEMA: TextRule = TextRule {
    allowed: "a schema name of letters, digits, _ and $, no system schema",
    holds: |text| {
        let system = ["mysql", "sys", "information_schema", "performance_schema"];
        is_identifier(text) && !system.iter().any(|name| name.eq_ignore_ascii_case(text))
    },
};
const LEVEL: TextRule = TextRule {
    allowed: "error, warn, info, debug, trace, or a list such as info,tidegate::binlog=debug",
    holds: |text| text.split(',').all(is_log_directive),
};
const DIGEST: TextRule = TextRule {
    allowed: "a digest: 32 hexadecimal digits",
    holds: |text| text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit()),
};
const ALGORITHM: TextRule = TextRule {
    allowed: "zlib or zstd",
    holds: |text| matches!(text, "zlib" | "zstd"),
};
const NETWORK: TextRule = TextRule {
    allowed: "an address, or a network as 192.0.2.0/24 or 2001:db8::/32",
    holds: |text| text.parse::<Network>().is_ok(),
};
const TABLE: TextRule = TextRule {
    allowed: "schema.table",
    holds: |text| {
        text.split_once('.')
            .is_some_and(|(schema, table)| !schema.is_empty() && !table.is_empty())
    },
};

/// A level, or a module of ours and its level.
fn is_log_directive(text: &str) -> bool {
    let (target, level) = text.split_once('=').unwrap_or(("all", text));
    let path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    !target.is_empty() && target.chars().all(path) && levels.contains(&level)
}

/// The sections in the order of the file, with what each is about. Those of the top have an empty name.
pub const SECTIONS: &[(&str, &str)] = &[
    ("", "Top of the file, before any [section]."),
    (
        "listen",
        "Addresses that Tidegate listens on. Port 0 takes a free one and logs it.",
    ),
    ("runtime", "Threads, and the end of the process."),
    ("backend", "The server behind Tidegate."),
    (
        "cluster",
        "The servers behind Tidegate when there are several: those of [[nodes]] beside that of backend.url.",
    ),
    ("tls", "TLS between clients and Tidegate."),
    (
        "login",
        "How long and how often a client may try to log in.",
    ),
    ("client", "Limits of one client connection."),
    ("pool", "Connections to the backend."),
    ("statements", "What is remembered of statements."),
    (
        "analytics",
        "What is measured, and how much of it is kept in memory.",
    ),
    (
        "binlog",
        "The stream of changes. Without it there is no view, and no cache but by time.",
    ),
    ("views", "Views that answer repeated aggregates exactly."),
    ("cache", "Results that cannot have changed."),
    ("admin", "The admin schema `tidegate`."),
    ("http", "Metrics, health and JSON."),
    ("log", "What is logged, and how."),
    ("history", "Statistics of each minute, kept in a file."),
];

/// A moment that nobody waits longer for: a day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// A key that takes effect at the next start.
const fn key(name: &'static str, field: Field, unit: &'static str, help: &'static str) -> Key {
    Key {
        name,
        field,
        unit,
        reloadable: false,
        help,
    }
}

/// A key whose change takes effect at once.
const fn live(name: &'static str, field: Field, unit: &'static str, help: &'static str) -> Key {
    Key {
        name,
        field,
        unit,
        reloadable: true,
        help,
    }
}

/// Every key, in the order of [`SECTIONS`]. `[[users]]` and `[[nodes]]` are lists of tables and have no row here.
pub static KEYS: &[Key] = &[
    key(
        "data_dir",
        Field::Path(|c| &mut c.data_dir),
        "",
        "Directory for files of our own, made with mode 0700. Empty: $XDG_STATE_HOME/tidegate or ~/.local/state/tidegate.",
    ),
    key(
        "listen.app",
        Field::Address(|c| &mut c.listen.app),
        "",
        "MySQL protocol for applications.",
    ),
    key(
        "listen.admin",
        Field::Address(|c| &mut c.listen.admin),
        "",
        "MySQL protocol for the admin schema.",
    ),
    key(
        "listen.http",
        Field::Address(|c| &mut c.listen.http),
        "",
        "HTTP for metrics, health and JSON. It asks for no password.",
    ),
    key(
        "listen.backlog",
        Field::U32(|c| &mut c.listen.backlog, 1, 65_535),
        "connections",
        "New connections that the kernel may hold until Tidegate accepts them.",
    ),
    key(
        "listen.clients_max",
        Field::Usize(|c| &mut c.listen.clients_max, 1, 1_000_000),
        "clients",
        "Clients connected at once. The next one gets error 1040.",
    ),
    key(
        "listen.socket",
        Field::Path(|c| &mut c.listen.socket),
        "",
        "Unix socket for applications of this machine, without TLS, as secure as with it. A file of an earlier run is replaced; it goes at the end. Empty: none.",
    ),
    key(
        "listen.proxy_protocol_networks",
        Field::List(|c| &mut c.listen.proxy_protocol_networks, NETWORK),
        "",
        "Networks of proxies that say for whom they connect, by PROXY protocol 1 or 2 before anything else; from there every connection must. From elsewhere such a header is refused.",
    ),
    key(
        "runtime.workers",
        Field::Usize(|c| &mut c.runtime.workers, 0, 1_024),
        "threads",
        "Threads that serve clients. 0: half the cores, at least one.",
    ),
    key(
        "runtime.shutdown_drain_ms_max",
        Field::U64(|c| &mut c.runtime.shutdown_drain_ms_max, 0, DAY_MS),
        "ms",
        "Longest wait for running statements after SIGTERM.",
    ),
    key(
        "backend.url",
        Field::Url(|c| &mut c.backend.url),
        "",
        "Where clients go, and the user that Tidegate itself logs in as. Percent-encode @ : / ? # % in name and password. TIDEGATE_BACKEND_URL and TIDEGATE_BACKEND_PASSWORD override it.",
    ),
    key(
        "backend.tls",
        Field::BackendTls(|c| &mut c.backend.tls),
        "",
        "TLS between Tidegate and the backend. as_client: for clients that use TLS themselves, so that accounts that require it are refused to others as without Tidegate, and connections are shared among clients of one kind only; verify_ca: its certificate is signed by one in backend.tls_ca (MySQL's auto-made ones do); verify_identity: and made out to the host in backend.url.",
    ),
    key(
        "backend.tls_ca",
        Field::Path(|c| &mut c.backend.tls_ca),
        "",
        "PEM file with the authorities of the backend's certificate. Like all certificate files it is read again when it is replaced, and at SIGHUP; one that does not do is logged and the old one kept.",
    ),
    key(
        "backend.tls_cert",
        Field::Path(|c| &mut c.backend.tls_cert),
        "",
        "PEM file with the certificate that Tidegate shows the backend. Empty: none.",
    ),
    key(
        "backend.tls_key",
        Field::Path(|c| &mut c.backend.tls_key),
        "",
        "PEM file with the private key of backend.tls_cert.",
    ),
    key(
        "backend.compression",
        Field::Compression(|c| &mut c.backend.compression),
        "",
        "Compression between Tidegate and the backend, on the connections that serve clients, where the backend offers it. as_client: what the client has asked for.",
    ),
    key(
        "backend.connect_ms_max",
        Field::U64(|c| &mut c.backend.connect_ms_max, 1, DAY_MS),
        "ms",
        "Longest wait for a connection to the backend, with its login.",
    ),
    key(
        "backend.silence_ms_max",
        Field::U64(|c| &mut c.backend.silence_ms_max, 1_000, 30 * DAY_MS),
        "ms",
        "Longest silence of the backend while an answer is due. Then the client gets error 2013. A statement that computes is silent, too.",
    ),
    key(
        "cluster.probe_ms",
        Field::U64(|c| &mut c.cluster.probe_ms, 10, 60_000),
        "ms",
        "Pause between two looks at a server of the cluster: whether it is up, whether it takes writes, how far it is behind.",
    ),
    key(
        "cluster.lag_ms_max",
        Field::U64(|c| &mut c.cluster.lag_ms_max, 1, DAY_MS),
        "ms",
        "A reader that is further behind the writer gets no reads.",
    ),
    key(
        "cluster.failover_hold_ms_max",
        Field::U64(|c| &mut c.cluster.failover_hold_ms_max, 0, DAY_MS),
        "ms",
        "Longest wait of a statement for a writer while there is none.",
    ),
    key(
        "cluster.reads",
        Field::Reads(|c| &mut c.cluster.reads),
        "",
        "Where statements go that only read, outside of transactions.",
    ),
    key(
        "cluster.consistency",
        Field::Consistency(|c| &mut c.cluster.consistency),
        "",
        "What a read on a reader must have seen. strict: reads never leave the writer. session: what its own session has written and read before, by GTID. eventual: whatever the reader has.",
    ),
    key(
        "cluster.gtid_wait_ms_max",
        Field::U64(|c| &mut c.cluster.gtid_wait_ms_max, 0, DAY_MS),
        "ms",
        "Longest wait of a read for its session's own writes to arrive at the reader; then the writer answers.",
    ),
    key(
        "tls.mode",
        Field::Tls(|c| &mut c.tls.mode),
        "",
        "Whether clients may, or must, use TLS.",
    ),
    key(
        "tls.cert",
        Field::Path(|c| &mut c.tls.cert),
        "",
        "PEM file with the certificate chain. Empty: one is made and kept in data_dir.",
    ),
    key(
        "tls.key",
        Field::Path(|c| &mut c.tls.key),
        "",
        "PEM file with the private key of tls.cert.",
    ),
    key(
        "tls.client_ca",
        Field::Path(|c| &mut c.tls.client_ca),
        "",
        "PEM file with the authorities of clients' certificates: one that a client shows must be signed by one of them. Empty: none is asked for.",
    ),
    key(
        "tls.client_cert_required",
        Field::Flag(|c| &mut c.tls.client_cert_required),
        "",
        "Clients without a certificate are refused; those of listen.socket are on this machine and show none.",
    ),
    key(
        "login.handshake_ms_max",
        Field::U64(|c| &mut c.login.handshake_ms_max, 100, DAY_MS),
        "ms",
        "Longest time that a client may take to log in. Waits for the backend do not count.",
    ),
    key(
        "login.failures_per_source_max",
        Field::U32(|c| &mut c.login.failures_per_source_max, 1, 1_000_000),
        "logins",
        "Failed logins from one address within the window, after which it is refused at once.",
    ),
    key(
        "login.failures_window_ms",
        Field::U64(|c| &mut c.login.failures_window_ms, 1_000, DAY_MS),
        "ms",
        "Length of that window.",
    ),
    key(
        "client.idle_ms_max",
        Field::U64(|c| &mut c.client.idle_ms_max, 1_000, 30 * DAY_MS),
        "ms",
        "A client that sends nothing for longer is disconnected.",
    ),
    key(
        "client.stall_ms_max",
        Field::U64(|c| &mut c.client.stall_ms_max, 1_000, DAY_MS),
        "ms",
        "A client that stops in the middle of a request, or takes nothing of an answer, for longer is disconnected.",
    ),
    key(
        "client.packet_bytes_max",
        Field::Usize(|c| &mut c.client.packet_bytes_max, 1_024, 1 << 30),
        "bytes",
        "Largest request. A larger one gets error 1153.",
    ),
    key(
        "client.statement_bytes_max",
        Field::Usize(|c| &mut c.client.statement_bytes_max, 1_024, 64 << 20),
        "bytes",
        "A longer statement is relayed while it comes in: it has no digest, no view and no cache.",
    ),
    key(
        "client.buffer_bytes",
        Field::Usize(|c| &mut c.client.buffer_bytes, 4_096, 1 << 20),
        "bytes",
        "Read buffer of one connection at rest.",
    ),
    key(
        "client.compression",
        Field::List(|c| &mut c.client.compression, ALGORITHM),
        "",
        "What clients may compress with, when they ask for it. Empty: nothing.",
    ),
    key(
        "pool.mode",
        Field::Pool(|c| &mut c.pool.mode),
        "",
        "How long a client keeps a connection to the backend: for a transaction, or for its own life.",
    ),
    key(
        "pool.session_users",
        Field::List(|c| &mut c.pool.session_users, USER),
        "",
        "Users whose clients keep their connections for life, whatever pool.mode says.",
    ),
    key(
        "pool.connections_max",
        Field::Usize(|c| &mut c.pool.connections_max, 1, 100_000),
        "connections",
        "Connections to the backend. Keep it below the backend's max_connections.",
    ),
    key(
        "pool.connections_per_user_max",
        Field::Usize(|c| &mut c.pool.connections_per_user_max, 0, 100_000),
        "connections",
        "Connections to the backend of one user. 0: only pool.connections_max counts.",
    ),
    key(
        "pool.idle_max",
        Field::Usize(|c| &mut c.pool.idle_max, 0, 100_000),
        "connections",
        "Idle connections kept for the next client.",
    ),
    key(
        "pool.idle_ms_max",
        Field::U64(|c| &mut c.pool.idle_ms_max, 100, DAY_MS),
        "ms",
        "An idle connection is closed after this.",
    ),
    key(
        "pool.surplus_ms_max",
        Field::U64(|c| &mut c.pool.surplus_ms_max, 0, DAY_MS),
        "ms",
        "A connection whose client has left is kept for the next login for so long, and then closed.",
    ),
    key(
        "pool.lifetime_ms_max",
        Field::U64(|c| &mut c.pool.lifetime_ms_max, 1_000, 30 * DAY_MS),
        "ms",
        "A connection that is older is closed instead of being used again.",
    ),
    key(
        "pool.hold_ms_max",
        Field::U64(|c| &mut c.pool.hold_ms_max, 0, DAY_MS),
        "ms",
        "A client that has been idle for so long gives its connection to the pool. Who waits gets it sooner.",
    ),
    key(
        "pool.prepared_max",
        Field::Usize(|c| &mut c.pool.prepared_max, 1, 65_536),
        "statements",
        "Prepared statements open on one connection. The least recently used is closed, and prepared again when wanted.",
    ),
    key(
        "pool.wait_ms_max",
        Field::U64(|c| &mut c.pool.wait_ms_max, 0, DAY_MS),
        "ms",
        "Longest wait for a connection. Then the client gets error 1040.",
    ),
    key(
        "pool.waiters_max",
        Field::Usize(|c| &mut c.pool.waiters_max, 0, 1_000_000),
        "clients",
        "Clients that may wait for a connection at once. The next one gets error 1040.",
    ),
    key(
        "statements.cache_entries_max",
        Field::Usize(|c| &mut c.statements.cache_entries_max, 16, 10_000_000),
        "statements",
        "Parsed statements kept, one for each digest.",
    ),
    key(
        "statements.digest_text_bytes_max",
        Field::Usize(|c| &mut c.statements.digest_text_bytes_max, 64, 65_536),
        "bytes",
        "A digest's text is cut after this.",
    ),
    key(
        "analytics.digests_max",
        Field::Usize(|c| &mut c.analytics.digests_max, 16, 1_000_000),
        "rows",
        "Rows of statistics, one for each digest, user, app and schema. What finds no room is counted in _other.",
    ),
    key(
        "analytics.apps_max",
        Field::Usize(|c| &mut c.analytics.apps_max, 1, 100_000),
        "names",
        "App names told apart.",
    ),
    key(
        "analytics.users_max",
        Field::Usize(|c| &mut c.analytics.users_max, 1, 100_000),
        "names",
        "User names told apart.",
    ),
    key(
        "analytics.schemas_max",
        Field::Usize(|c| &mut c.analytics.schemas_max, 1, 100_000),
        "names",
        "Schema names told apart.",
    ),
    live(
        "analytics.slow_query_ms",
        Field::U64(|c| &mut c.analytics.slow_query_ms, 0, DAY_MS),
        "ms",
        "A statement that takes this long counts as slow.",
    ),
    key(
        "analytics.sample_literals",
        Field::Flag(|c| &mut c.analytics.sample_literals),
        "",
        "Keep slow statements and error messages with the values in them.",
    ),
    key(
        "analytics.events_max",
        Field::Usize(|c| &mut c.analytics.events_max, 0, 1_000_000),
        "events",
        "Slow statements, errors and ended transactions kept, of each kind.",
    ),
    key(
        "binlog.enabled",
        Field::Flag(|c| &mut c.binlog.enabled),
        "",
        "Follow the backend's binary log.",
    ),
    key(
        "binlog.server_id",
        Field::U32(|c| &mut c.binlog.server_id, 0, u32::MAX),
        "",
        "Replica id that Tidegate uses; no other replica of the backend may have it. 0: a random high one.",
    ),
    key(
        "binlog.reconnect_ms",
        Field::U64(|c| &mut c.binlog.reconnect_ms, 10, DAY_MS),
        "ms",
        "Pause before a stream that broke is opened again.",
    ),
    key(
        "binlog.silence_ms_max",
        Field::U64(|c| &mut c.binlog.silence_ms_max, 50, DAY_MS),
        "ms",
        "A stream that is silent for longer counts as broken.",
    ),
    key(
        "binlog.heartbeat_ms",
        Field::U64(|c| &mut c.binlog.heartbeat_ms, 10, DAY_MS),
        "ms",
        "The backend is asked to say something this often.",
    ),
    key(
        "views.enabled",
        Field::Flag(|c| &mut c.views.enabled),
        "",
        "Find aggregates that come back, build views for them, answer from those.",
    ),
    key(
        "views.schema",
        Field::Text(|c| &mut c.views.schema, SCHEMA),
        "",
        "Schema on the backend for our tables. The backend's user needs all rights in it.",
    ),
    key(
        "views.repeat_count_min",
        Field::U32(|c| &mut c.views.repeat_count_min, 1, 1_000_000),
        "executions",
        "An aggregate must come this often within the window.",
    ),
    key(
        "views.repeat_window_ms",
        Field::U64(|c| &mut c.views.repeat_window_ms, 1_000, 30 * DAY_MS),
        "ms",
        "Length of that window.",
    ),
    key(
        "views.mean_ms_min",
        Field::U64(|c| &mut c.views.mean_ms_min, 0, DAY_MS),
        "ms",
        "An aggregate must take this long on average.",
    ),
    key(
        "views.rows_max",
        Field::U64(|c| &mut c.views.rows_max, 1, 1_000_000_000),
        "rows",
        "Rows that one view may have.",
    ),
    key(
        "views.size_ratio_max",
        Field::Ratio(|c| &mut c.views.size_ratio_max, 0.0001, 1.0),
        "",
        "Rows that one view may have, as a share of its table's.",
    ),
    key(
        "views.rebuild_interval_ms_min",
        Field::U64(|c| &mut c.views.rebuild_interval_ms_min, 0, 30 * DAY_MS),
        "ms",
        "Pause between two builds of one view.",
    ),
    key(
        "views.chunk_ms_target",
        Field::U64(|c| &mut c.views.chunk_ms_target, 1, 60_000),
        "ms",
        "Time that one chunk of a build aims at; larger tables are read in more chunks.",
    ),
    key(
        "views.views_max",
        Field::Usize(|c| &mut c.views.views_max, 1, 10_000),
        "views",
        "Views at once.",
    ),
    key(
        "views.gate_wait_ms_max",
        Field::U64(|c| &mut c.views.gate_wait_ms_max, 0, 60_000),
        "ms",
        "Longest wait for the proof that a view is up to date. Then the base tables answer.",
    ),
    key(
        "views.secondary_engine",
        Field::Engine(|c| &mut c.views.secondary_engine),
        "",
        "Load views into this secondary engine. auto: the one the backend has, if it has one.",
    ),
    key(
        "views.shadow_samples",
        Field::U32(|c| &mut c.views.shadow_samples, 1, 1_000),
        "answers",
        "Answers of a new view that are compared with the base tables' before it is used.",
    ),
    live(
        "cache.enabled",
        Field::Flag(|c| &mut c.cache.enabled),
        "",
        "Keep results that cannot have changed.",
    ),
    key(
        "cache.bytes_max",
        Field::U64(|c| &mut c.cache.bytes_max, 0, 1 << 46),
        "bytes",
        "Memory of all results.",
    ),
    key(
        "cache.entry_bytes_max",
        Field::Usize(|c| &mut c.cache.entry_bytes_max, 0, 1 << 30),
        "bytes",
        "A larger result is not kept.",
    ),
    key(
        "cache.entries_max",
        Field::Usize(|c| &mut c.cache.entries_max, 0, 100_000_000),
        "results",
        "Results kept.",
    ),
    key(
        "cache.auto",
        Field::Flag(|c| &mut c.cache.auto),
        "",
        "Choose digests by themselves, by what they cost and how often they come back.",
    ),
    key(
        "cache.auto_mean_ms_min",
        Field::U64(|c| &mut c.cache.auto_mean_ms_min, 0, DAY_MS),
        "ms",
        "A digest that is chosen so must take this long on average.",
    ),
    key(
        "cache.auto_repeat_min",
        Field::U32(|c| &mut c.cache.auto_repeat_min, 1, 1_000_000),
        "executions",
        "A digest that is chosen so must have come back this often with the same values.",
    ),
    key(
        "cache.digests",
        Field::List(|c| &mut c.cache.digests, DIGEST),
        "",
        "Digests whose results are always kept.",
    ),
    key(
        "cache.tables",
        Field::List(|c| &mut c.cache.tables, TABLE),
        "",
        "Results of statements that read only these tables are always kept.",
    ),
    key(
        "cache.fill_wait_ms_max",
        Field::U64(|c| &mut c.cache.fill_wait_ms_max, 0, DAY_MS),
        "ms",
        "Longest wait for another client that is just fetching the same result.",
    ),
    key(
        "cache.gate_wait_ms_max",
        Field::U64(|c| &mut c.cache.gate_wait_ms_max, 0, 60_000),
        "ms",
        "Longest wait for the proof that a result is up to date. Then the backend answers.",
    ),
    key(
        "cache.users_exclude",
        Field::List(|c| &mut c.cache.users_exclude, USER),
        "",
        "Users that are never answered from the cache.",
    ),
    key(
        "admin.users",
        Field::List(|c| &mut c.admin.users, USER),
        "",
        "Users that see the admin schema on the app port too.",
    ),
    key(
        "admin.user",
        Field::Text(|c| &mut c.admin.user, USER),
        "",
        "The user of the admin port.",
    ),
    key(
        "admin.password",
        Field::Secret(|c| &mut c.admin.password),
        "",
        "That user's password. Empty: one is made at start and logged once. TIDEGATE_ADMIN_PASSWORD overrides it.",
    ),
    key(
        "admin.rows_max",
        Field::Usize(|c| &mut c.admin.rows_max, 1, 10_000_000),
        "rows",
        "Rows of one answer of the admin schema.",
    ),
    key(
        "admin.query_ms_max",
        Field::U64(|c| &mut c.admin.query_ms_max, 1, DAY_MS),
        "ms",
        "Time that one statement on the admin schema may take.",
    ),
    key(
        "http.enabled",
        Field::Flag(|c| &mut c.http.enabled),
        "",
        "Serve HTTP at all.",
    ),
    key(
        "log.format",
        Field::Format(|c| &mut c.log.format),
        "",
        "Lines for people, or JSON objects for machines.",
    ),
    live(
        "log.level",
        Field::Text(|c| &mut c.log.level, LEVEL),
        "",
        "What is logged.",
    ),
    key(
        "history.path",
        Field::Path(|c| &mut c.history.path),
        "",
        "SQLite file, made with mode 0600. auto: history.db in data_dir. Empty: no history. Each process needs one of its own.",
    ),
    key(
        "history.keep_days",
        Field::U32(|c| &mut c.history.keep_days, 1, 400),
        "days",
        "Older minutes are deleted.",
    ),
    key(
        "history.bytes_max",
        Field::U64(|c| &mut c.history.bytes_max, 1 << 20, 1 << 46),
        "bytes",
        "Room in the file. When it is used up, the oldest minutes are deleted.",
    ),
    key(
        "history.rows_per_minute_max",
        Field::Usize(|c| &mut c.history.rows_per_minute_max, 1, 10_000),
        "rows",
        "Rows kept of one minute: those with the most time, and as many again of those with errors. The others are added up in _other.",
    ),
];
