//! SERIES: every series that Tidegate exports. Data only; names follow Prometheus' rules (base units, `_total`).

use super::{Kind, Series};

/// Makes a static for each row, and the table of them all.
macro_rules! series {
    ($($name:ident: $kind:ident $text:literal $labels:tt $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $name: Series = Series { name: $text, kind: Kind::$kind, labels: &$labels, help: $help };
        )*
        /// Every series.
        pub static SERIES: &[&Series] = &[$(&$name),*];
    };
}

series! {
    BUILD_INFO: Gauge "tidegate_build_info" ["version"] "Always 1; the version is the label.";
    PROCESS_START: Gauge "process_start_time_seconds" [] "When the process started, in seconds since 1970.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" [] "User and system CPU time of the process.";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" [] "Resident memory of the process.";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" [] "Open file descriptors.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" [] "Most file descriptors that may be open.";
    METRICS_DROPPED_SAMPLES: Counter "tidegate_metrics_dropped_samples_total" [] "Samples left out of this page because a series had too many.";

    QUERY_DURATION: Histogram "tidegate_query_duration_seconds" ["served_by"] "Time from a statement read to its answer sent, by who answered. Its count is the number of executions.";
    QUERY_QUEUE: Histogram "tidegate_query_queue_seconds" [] "Time that statements for the backend waited for a connection.";
    QUERY_BACKEND: Histogram "tidegate_query_backend_seconds" [] "Time that statements spent in the backend.";
    QUERY_DRAIN: Histogram "tidegate_query_drain_seconds" [] "Time that answers waited for the client to take them.";
    QUERY_ERRORS: Counter "tidegate_query_errors_total" ["served_by"] "Executions answered with an error, by who answered.";
    QUERY_ROWS: Counter "tidegate_query_rows_total" [] "Rows sent to clients.";
    QUERY_AFFECTED_ROWS: Counter "tidegate_query_affected_rows_total" [] "Rows changed.";
    QUERY_WARNINGS: Counter "tidegate_query_warnings_total" [] "Warnings in answers.";
    QUERY_SLOW: Counter "tidegate_query_slow_total" [] "Executions that took at least analytics.slow_query_ms.";
    QUERY_NO_INDEX: Counter "tidegate_query_no_index_total" [] "Executions for which the server said that it used no index.";
    QUERY_RECEIVED: Counter "tidegate_query_received_bytes_total" [] "Bytes of statements, with packet headers.";
    QUERY_SENT: Counter "tidegate_query_sent_bytes_total" [] "Bytes of answers, with packet headers.";

    DIGEST_EXECUTIONS: Counter "tidegate_digest_executions_total" ["digest", "kind"] "Executions of the digests with the most time; the admin table `queries` has the text.";
    DIGEST_TIME: Counter "tidegate_digest_time_seconds_total" ["digest", "kind"] "Time of the digests with the most time.";
    DIGEST_ERRORS: Counter "tidegate_digest_errors_total" ["digest", "kind"] "Errors of the digests with the most time.";
    DIGEST_ROWS: Gauge "tidegate_digest_statistics_rows" [] "Rows of statistics kept, one for each digest, user, app and schema.";

    DECISIONS: Counter "tidegate_decisions_total" ["about", "reason"] "Decisions by reason: where executions went and why, and what was not done.";
    ERRORS: Counter "tidegate_errors_total" ["code"] "Errors that clients were given, by MySQL error code.";
    LOST: Counter "tidegate_statistics_lost_total" ["what"] "Statistics that found no room: what could not be kept apart, or not be listed.";

    TRANSACTIONS: Counter "tidegate_transactions_total" ["outcome"] "Transactions that ended, by outcome; autocommit are single statements that wrote.";
    TRANSACTION_DURATION: Histogram "tidegate_transaction_duration_seconds" [] "Duration of transactions, without autocommit.";
    TRANSACTION_IDLE: Counter "tidegate_transaction_idle_seconds_total" [] "Time in which open transactions waited for their app.";
    TRANSACTION_STATEMENTS: Counter "tidegate_transaction_statements_total" [] "Statements in transactions, without autocommit.";
    TRANSACTIONS_OPEN: Gauge "tidegate_transactions_open" [] "Transactions open now.";
    TRANSACTION_OLDEST: Gauge "tidegate_transaction_oldest_seconds" [] "Age of the oldest open transaction; 0 when none is open.";

    SESSIONS: Gauge "tidegate_sessions" ["state"] "Client sessions by what they do now.";
    CLIENTS: Gauge "tidegate_clients" [] "Client connections open now, with those that still log in.";
    CLIENTS_ACCEPTED: Counter "tidegate_clients_accepted_total" [] "Client connections accepted.";
    CLIENTS_REFUSED: Counter "tidegate_clients_refused_total" [] "Client connections refused because of listen.clients_max.";
    CLIENT_ACCEPT_ERRORS: Counter "tidegate_client_accept_errors_total" [] "Accepts that failed.";

    POOL_CONNECTIONS: Gauge "tidegate_pool_connections" ["state"] "Backend connections by state.";
    POOL_CONNECTIONS_LIMIT: Gauge "tidegate_pool_connections_limit" [] "Backend connections allowed (pool.connections_max).";
    POOL_WAITING: Gauge "tidegate_pool_waiting" [] "Clients that wait for a backend connection now.";
    POOL_WAITS: Counter "tidegate_pool_waits_total" [] "Waits for a backend connection.";
    POOL_WAIT_TIME: Counter "tidegate_pool_wait_seconds_total" [] "Time of those waits.";
    POOL_OPENED: Counter "tidegate_pool_opened_total" [] "Backend connections opened.";
    POOL_REUSED: Counter "tidegate_pool_reused_total" [] "Logins served by an idle backend connection.";
    POOL_REFUSED: Counter "tidegate_pool_refused_total" [] "Clients turned away by the pool.";

    RULE_HITS: Counter "tidegate_rule_hits_total" ["rule"] "Statements that a query rule matched.";
    RULE_REFUSED: Counter "tidegate_rule_refused_total" ["rule"] "Statements that a query rule answered with an error.";
    RULE_TIMEOUTS: Counter "tidegate_rule_timeouts_total" ["rule"] "Statements that were ended at a query rule's timeout_ms.";
    RULE_RUNNING: Gauge "tidegate_rule_running" ["rule"] "Statements that run under a query rule's limits.";
    RULE_WAITING: Gauge "tidegate_rule_waiting" ["rule"] "Statements that wait for a query rule's limits.";
    RULE_BREAKERS_OPEN: Gauge "tidegate_rule_breakers_open" ["rule"] "Digests that a query rule's breaker does not run now.";

    BACKEND_UP: Gauge "tidegate_backend_up" [] "1 when the last probe of the backend succeeded, else 0.";
    BACKEND_LATENCY: Gauge "tidegate_backend_probe_seconds" [] "Time that the last probe of the backend took.";
    BACKEND_PROBES: Counter "tidegate_backend_probes_total" [] "Probes of the backend.";
    BACKEND_PROBE_FAILURES: Counter "tidegate_backend_probe_failures_total" [] "Probes of the backend that failed.";

    NODE_UP: Gauge "tidegate_node_up" ["node"] "1 when the node may be used, else 0. Nodes are looked at when there are several.";
    NODE_WRITER: Gauge "tidegate_node_writer" ["node"] "1 when the node takes the writes, else 0.";
    NODE_READS: Gauge "tidegate_node_reads" ["node"] "1 when the node is a reader that may be read from, else 0.";
    NODE_LAG: Gauge "tidegate_node_lag_seconds" ["node"] "How far the node is behind; missing when that is not known.";
    NODE_CONNECTIONS: Gauge "tidegate_node_connections" ["node", "state"] "Connections to the node, by state: active, idle.";
    NODE_LOOKS: Counter "tidegate_node_probes_total" ["node"] "Probes of the node.";
    NODE_FAILURES: Counter "tidegate_node_probe_failures_total" ["node"] "Probes of the node that failed.";
    NODE_CHANGES: Counter "tidegate_node_changes_total" ["node"] "Changes of the node's role, state, and of whether it gets reads.";
    WRITERS: Gauge "tidegate_cluster_writers" [] "Nodes that take writes. Anything but 1: writes are refused.";

    BINLOG_RUNNING: Gauge "tidegate_binlog_running" [] "1 when the binary log is followed, else 0: then no view and no strict cache.";
    BINLOG_EVENTS: Counter "tidegate_binlog_events_total" [] "Events received from the binary log.";
    BINLOG_TRANSACTIONS: Counter "tidegate_binlog_transactions_total" [] "Transactions received from the binary log.";
    BINLOG_BYTES: Counter "tidegate_binlog_received_bytes_total" [] "Bytes received from the binary log.";
    BINLOG_LAG: Gauge "tidegate_binlog_lag_seconds" [] "Last measured time from a barrier to the stream having passed it.";
    BINLOG_RECONNECTS: Counter "tidegate_binlog_reconnects_total" [] "Times that the stream was opened again.";
    BINLOG_BARRIERS: Counter "tidegate_binlog_barriers_total" [] "Barriers asked of the backend.";
    BINLOG_BARRIER_WAITERS: Counter "tidegate_binlog_barrier_waiters_total" [] "Answers that those barriers served.";
    BINLOG_TABLES: Gauge "tidegate_binlog_tables" [] "Tables whose last change is remembered by name.";

    CACHE_ENTRIES: Gauge "tidegate_cache_entries" [] "Results kept.";
    CACHE_BYTES: Gauge "tidegate_cache_bytes" [] "Memory of the results kept.";
    CACHE_LOOKUPS: Counter "tidegate_cache_lookups_total" ["outcome"] "Lookups in the result cache, by outcome.";
    CACHE_EVICTIONS: Counter "tidegate_cache_evictions_total" ["cause"] "Results given up, by cause.";

    VIEWS: Gauge "tidegate_views" ["state"] "Views by state.";
    VIEW_ROWS: Gauge "tidegate_view_rows" [] "Rows of all views.";
    VIEW_BUILDS: Counter "tidegate_view_builds_total" ["outcome"] "Builds of views, by outcome.";
    VIEW_CANDIDATES: Gauge "tidegate_view_candidates" [] "Patterns watched as candidates for a view.";
}
