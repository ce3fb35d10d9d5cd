//! What the backend is and can do, asked once and again from time to time; and whether it is up. Decides nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::control::{Control, ControlError, deadline};
use super::wire::{Row, WireConn};
use crate::shutdown::Shutdown;

/// Longest time of one probe.
const PROBE_MS_MAX: u64 = 5_000;

/// Variables or status values by their names in lower case.
pub type Variables = HashMap<String, String>;

/// Which family of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flavour {
    /// MySQL, Percona Server, HeatWave.
    #[default]
    MySql,
    /// MariaDB.
    MariaDb,
}

/// What the server is and can do. The default is "nothing known".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Family.
    pub flavour: Flavour,
    /// Version numbers.
    pub version: (u8, u8, u8),
    /// `VERSION()` as the server says it.
    pub version_text: String,
    /// `@@version_comment`.
    pub version_comment: String,
    /// `@@server_uuid`; empty on MariaDB.
    pub server_uuid: String,
    /// `@@collation_server`.
    pub default_collation: String,
    /// The plugin new accounts get: first factor of `authentication_policy`, or `default_authentication_plugin`.
    pub auth_plugin_default: String,
    /// 0, 1 or 2.
    pub lower_case_table_names: u8,
    /// Whether the server offers TLS.
    pub tls: bool,
    /// `read_only`.
    pub read_only: bool,
    /// `super_read_only`.
    pub super_read_only: bool,
    /// A secondary engine that can be loaded into: `RAPID` on HeatWave, `MOCK` in tests.
    pub secondary_engine: Option<String>,
    /// Whether HeatWave nodes are online (`rapid_service_status`).
    pub rapid: bool,
    /// The binary log's preconditions, each named.
    pub preconditions: Vec<Precondition>,
}

/// One condition for trusting the binary log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// A stable name: the variable.
    pub name: &'static str,
    /// What is needed.
    pub needed: &'static str,
    /// What the server has; `None`: the variable does not exist there.
    pub found: Option<String>,
    /// Whether it holds.
    pub holds: bool,
}

/// Variable, accepted values (none: any), needed for what, and whether absence is fine.
const PRECONDITIONS: [(&str, &str, bool); 6] = [
    ("log_bin", "ON", false),
    ("gtid_mode", "ON", false),
    // Servers that know no other format may drop the variable.
    ("binlog_format", "ROW", true),
    ("binlog_order_commits", "ON", false),
    // What a replica applies must stand in its own log, in the order in which it becomes visible.
    ("log_replica_updates", "ON", true),
    ("replica_preserve_commit_order", "ON", true),
];

/// The names before 8.0.26.
const OLD_NAMES: [(&str, &str); 2] = [
    ("log_replica_updates", "log_slave_updates"),
    (
        "replica_preserve_commit_order",
        "slave_preserve_commit_order",
    ),
];

/// How many threads apply what a source sends.
const APPLIERS: [&str; 2] = ["replica_parallel_workers", "slave_parallel_workers"];

impl Precondition {
    /// The variables to ask for, as a list for `IN (..)`.
    pub fn variables() -> String {
        let names = PRECONDITIONS.iter().map(|p| p.0);
        let old = OLD_NAMES.iter().map(|n| n.1);
        let all = names.chain(old).chain(APPLIERS);
        let quoted: Vec<String> = all.map(|name| format!("'{name}'")).collect();
        quoted.join(", ")
    }
}

fn one_applier(variables: &Variables) -> bool {
    APPLIERS
        .iter()
        .find_map(|name| variables.get(*name))
        .is_some_and(|count| matches!(count.as_str(), "0" | "1"))
}

/// Judges the variables (names in lower case).
pub fn preconditions(variables: &Variables) -> Vec<Precondition> {
    let judge = |&(name, needed, optional): &(&'static str, &'static str, bool)| {
        let old = OLD_NAMES.iter().find(|n| n.0 == name).map(|n| n.1);
        let found = variables.get(name).or_else(|| variables.get(old?)).cloned();
        let holds = match &found {
            Some(value) => value.eq_ignore_ascii_case(needed) || (value == "1" && needed == "ON"),
            None => optional,
        };
        // One applier alone cannot change the order.
        let holds = holds || (name == "replica_preserve_commit_order" && one_applier(variables));
        Precondition {
            name,
            needed,
            found,
            holds,
        }
    };
    PRECONDITIONS.iter().map(judge).collect()
}

impl Capabilities {
    /// Whether the server's version is at least this.
    pub fn at_least(&self, major: u8, minor: u8, patch: u8) -> bool {
        self.version >= (major, minor, patch)
    }

    /// The statement that tells where the log ends (renamed in 8.2, the old name removed in 8.4).
    pub fn log_status_statement(&self) -> &'static str {
        if self.flavour == Flavour::MySql && self.at_least(8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        }
    }

    /// The first precondition that does not hold.
    pub fn broken_precondition(&self) -> Option<&Precondition> {
        self.preconditions.iter().find(|p| !p.holds)
    }
}

/// Shared, replaced as a whole by each probe.
pub type SharedCapabilities = Arc<ArcSwap<Capabilities>>;

/// Health of the backend for the admin table `backends`.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the last probe succeeded.
    pub up: bool,
    /// Since when it is up or down.
    pub since: Instant,
    /// The last error, if there ever was one.
    pub error: Option<String>,
    /// How long the last `SELECT 1` took.
    pub latency_us: Option<u64>,
    /// Probes made.
    pub probes: u64,
    /// Probes that failed.
    pub failures: u64,
}

/// Runs the probes and keeps their outcome.
pub struct Probe {
    control: Arc<Control>,
    /// The probe's own connection, kept while it answers and leads to where the control plane works.
    held: Mutex<Option<(WireConn, u64)>>,
    capabilities: SharedCapabilities,
    health: Mutex<Health>,
    /// Hears what each probe has learnt, before anybody may take the backend for up.
    told: Box<dyn Fn(&Capabilities) + Send + Sync>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("health", &*self.health.lock())
            .finish_non_exhaustive()
    }
}

/// Asks the server what it is, on a connection made for it.
///
/// # Errors
/// Unreachable, login refused, or too slow.
pub async fn probe(control: &Control) -> Result<Capabilities, ControlError> {
    let mut conn = WireConn::connect(&control.settings()).await?;
    ask(&mut conn).await
}

/// Facts that an account may not see stay unknown; they do not make the probe fail.
async fn ask(conn: &mut WireConn) -> Result<Capabilities, ControlError> {
    let limit = Duration::from_millis(PROBE_MS_MAX);
    let work = async {
        let sql = format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'version_comment', 'server_uuid', \
             'collation_server', 'authentication_policy', 'default_authentication_plugin', \
             'lower_case_table_names', 'read_only', 'super_read_only', {})",
            Precondition::variables()
        );
        let variables = pairs(&conn.query(&sql).await?);
        let rapid = optional(conn, "SHOW GLOBAL STATUS LIKE 'rapid_service_status'").await?;
        let engines = "SELECT PLUGIN_NAME, PLUGIN_STATUS FROM information_schema.PLUGINS \
                       WHERE PLUGIN_NAME IN ('RAPID', 'MOCK') AND PLUGIN_STATUS = 'ACTIVE'";
        let engines = optional(conn, engines).await?;
        Ok(capabilities(&variables, &rapid, &engines, conn.has_tls()))
    };
    deadline("probing the backend", limit, work).await
}

/// Rows of two columns; none when the server refuses the statement.
async fn optional(conn: &mut WireConn, sql: &str) -> Result<Variables, ControlError> {
    match conn.query(sql).await {
        Ok(rows) => Ok(pairs(&rows)),
        Err(ControlError::Server { .. }) => Ok(Variables::new()),
        Err(error) => Err(error),
    }
}

/// Names (lower case) and values of a two-column result.
pub fn pairs(rows: &[Row]) -> Variables {
    let text = |cell: Option<&Option<Vec<u8>>>| {
        let cell = cell.and_then(Option::as_deref).unwrap_or_default();
        String::from_utf8_lossy(cell).into_owned()
    };
    rows.iter()
        .map(|row| (text(row.first()).to_ascii_lowercase(), text(row.get(1))))
        .collect()
}

fn capabilities(
    variables: &Variables,
    rapid: &Variables,
    engines: &Variables,
    tls: bool,
) -> Capabilities {
    let get = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let is_on = |name: &str| matches!(get(name).to_ascii_uppercase().as_str(), "ON" | "1");
    let version_text = get("version");
    let mariadb = version_text.to_ascii_lowercase().contains("mariadb");
    let rapid = rapid
        .get("rapid_service_status")
        .is_some_and(|status| status.eq_ignore_ascii_case("ONLINE"));
    let engine = ["rapid", "mock"]
        .into_iter()
        .find(|name| engines.contains_key(*name) || (rapid && *name == "rapid"));
    // `authentication_policy` is a list of factors; `*` or nothing stands for the built-in default.
    let policy = get("authentication_policy");
    let first_factor = policy
        .split([',', ':'])
        .find(|part| !matches!(*part, "*" | ""));
    let auth_plugin_default = match (first_factor, get("default_authentication_plugin")) {
        (Some(plugin), _) => plugin.trim().to_owned(),
        (None, plugin) if !plugin.is_empty() => plugin,
        (None, _) if mariadb => "mysql_native_password".to_owned(),
        (None, _) => "caching_sha2_password".to_owned(),
    };
    Capabilities {
        flavour: if mariadb {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        },
        version: parse_version(&version_text),
        version_text,
        version_comment: get("version_comment"),
        server_uuid: get("server_uuid"),
        default_collation: get("collation_server"),
        auth_plugin_default,
        lower_case_table_names: get("lower_case_table_names").parse().unwrap_or(0),
        tls,
        read_only: is_on("read_only"),
        super_read_only: is_on("super_read_only"),
        secondary_engine: engine.map(str::to_ascii_uppercase),
        rapid,
        preconditions: preconditions(variables),
    }
}

/// The three numbers a version text starts with; missing ones are 0.
pub fn parse_version(text: &str) -> (u8, u8, u8) {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u8>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

impl Probe {
    /// Knows nothing yet; `run` probes.
    pub fn new(control: Arc<Control>) -> Arc<Self> {
        Self::telling(control, |_| ())
    }

    /// The same, and `told` hears at once what each probe has learnt: before the backend counts as up for the first time.
    pub fn telling(
        control: Arc<Control>,
        told: impl Fn(&Capabilities) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            control,
            told: Box::new(told),
            held: Mutex::new(None),
            capabilities: SharedCapabilities::default(),
            health: Mutex::new(Health {
                up: false,
                since: Instant::now(),
                error: None,
                latency_us: None,
                probes: 0,
                failures: 0,
            }),
        })
    }

    /// The shared capabilities.
    pub fn capabilities(&self) -> SharedCapabilities {
        self.capabilities.clone()
    }

    /// For the admin table `backends`.
    pub fn snapshot(&self) -> Health {
        self.health.lock().clone()
    }

    /// One probe now.
    ///
    /// # Errors
    /// As `probe`; the health says so too.
    pub async fn once(&self) -> Result<(), ControlError> {
        let outcome = self.attempt().await;
        let mut health = self.health.lock();
        let up = outcome.is_ok();
        health.probes += 1;
        if up != health.up {
            health.up = up;
            health.since = Instant::now();
        }
        match outcome {
            Ok(latency_us) => {
                health.latency_us = Some(latency_us);
                Ok(())
            }
            Err(error) => {
                health.failures += 1;
                health.error = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Probes every `interval` until `stop`.
    pub async fn run(&self, interval: Duration, stop: Shutdown) {
        let mut comebacks = self.control.comebacks();
        loop {
            let _ = self.once().await;
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(interval) => {}
                Ok(()) = comebacks.changed() => {}
            }
        }
    }

    async fn attempt(&self) -> Result<u64, ControlError> {
        let held = self.held.lock().take();
        let (settings, turn) = self.control.destination();
        let mut conn = match held {
            Some((conn, of)) if of == turn => conn,
            _ => WireConn::connect(&settings).await?,
        };
        let capabilities = ask(&mut conn).await?;
        (self.told)(&capabilities);
        self.capabilities.store(Arc::new(capabilities));
        let begin = Instant::now();
        let limit = Duration::from_millis(PROBE_MS_MAX);
        deadline("the probe's query", limit, conn.query("SELECT 1")).await?;
        let took = begin.elapsed();
        *self.held.lock() = Some((conn, turn));
        Ok(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse() {
        assert_eq!(parse_version("9.7.4-2"), (9, 7, 4));
        assert_eq!(parse_version("8.0.36-28.1"), (8, 0, 36));
        assert_eq!(parse_version("10.11.6-MariaDB-0+deb12u1"), (10, 11, 6));
        assert_eq!(parse_version("x"), (0, 0, 0));
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_a_server_says_becomes_capabilities() {
        let mysql = variables(&[
            ("version", "9.7.4-2"),
            ("authentication_policy", "*,,"),
            ("lower_case_table_names", "1"),
            ("super_read_only", "ON"),
            ("log_bin", "ON"),
        ]);
        let none = Variables::new();
        let c = capabilities(&mysql, &none, &variables(&[("mock", "ACTIVE")]), true);
        assert_eq!((c.flavour, c.version), (Flavour::MySql, (9, 7, 4)));
        assert_eq!(c.auth_plugin_default, "caching_sha2_password");
        assert_eq!((c.lower_case_table_names, c.tls), (1, true));
        assert_eq!((c.read_only, c.super_read_only), (false, true));
        assert_eq!(
            (c.secondary_engine.as_deref(), c.rapid),
            (Some("MOCK"), false)
        );
        assert_eq!(c.broken_precondition().map(|p| p.name), Some("gtid_mode"));
        let heatwave = variables(&[("rapid_service_status", "ONLINE")]);
        let c = capabilities(&mysql, &heatwave, &none, true);
        assert_eq!(
            (c.secondary_engine.as_deref(), c.rapid),
            (Some("RAPID"), true)
        );
        let maria = variables(&[("version", "10.11.6-MariaDB-0+deb12u1")]);
        let c = capabilities(&maria, &none, &none, false);
        assert_eq!(c.flavour, Flavour::MariaDb);
        assert_eq!(c.auth_plugin_default, "mysql_native_password");
        let old = variables(&[("authentication_policy", "sha256_password,,")]);
        let c = capabilities(&old, &none, &none, false);
        assert_eq!(c.auth_plugin_default, "sha256_password");
    }

    #[test]
    fn preconditions_are_judged_by_name() {
        let mut good = variables(&[
            ("log_bin", "ON"),
            ("gtid_mode", "ON"),
            ("binlog_format", "ROW"),
            ("binlog_order_commits", "1"),
            ("log_slave_updates", "ON"),
            ("slave_preserve_commit_order", "ON"),
        ]);
        assert!(preconditions(&good).iter().all(|p| p.holds));
        for (name, bad) in [
            ("log_bin", "OFF"),
            ("gtid_mode", "ON_PERMISSIVE"),
            ("binlog_format", "MIXED"),
            ("binlog_order_commits", "0"),
            ("log_slave_updates", "OFF"),
            ("slave_preserve_commit_order", "OFF"),
        ] {
            let was = good.insert(name.into(), bad.into()).unwrap();
            assert_eq!(
                preconditions(&good).iter().filter(|p| !p.holds).count(),
                1,
                "{name}"
            );
            good.insert(name.into(), was);
        }
        good.insert("slave_preserve_commit_order".into(), "OFF".into());
        good.insert("replica_parallel_workers".into(), "1".into());
        assert!(preconditions(&good).iter().all(|p| p.holds));
    }

    #[test]
    fn the_status_statement_follows_the_version() {
        let mut c = Capabilities {
            version: (9, 7, 4),
            ..Capabilities::default()
        };
        assert_eq!(c.log_status_statement(), "SHOW BINARY LOG STATUS");
        c.version = (8, 0, 36);
        assert_eq!(c.log_status_statement(), "SHOW MASTER STATUS");
    }
}
