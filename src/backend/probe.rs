//! What the backend is and can do, asked once and again from time to time; and whether it is up. Decides nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mysql_async::prelude::Queryable;
use parking_lot::Mutex;

use super::control::{Control, ControlError, deadline};
use crate::shutdown::Shutdown;

/// Longest time of one probe.
const PROBE_MS_MAX: u64 = 5_000;

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

fn one_applier(variables: &HashMap<String, String>) -> bool {
    APPLIERS
        .iter()
        .find_map(|name| variables.get(*name))
        .is_some_and(|count| matches!(count.as_str(), "0" | "1"))
}

/// Judges the variables (names in lower case).
pub fn preconditions(variables: &HashMap<String, String>) -> Vec<Precondition> {
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
    capabilities: SharedCapabilities,
    health: Mutex<Health>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("health", &*self.health.lock())
            .finish_non_exhaustive()
    }
}

/// Asks the server what it is. Lacking privileges make facts unknown, not the probe fail.
///
/// # Errors
/// Unreachable, login refused, or too slow.
pub async fn probe(control: &Control) -> Result<Capabilities, ControlError> {
    let mut conn = control.conn().await?;
    deadline(
        "probing the backend",
        Duration::from_millis(PROBE_MS_MAX),
        async {
            let version_text: String = conn
                .query_first("SELECT VERSION()")
                .await?
                .unwrap_or_default();
            let mariadb = version_text.to_ascii_lowercase().contains("mariadb");
            Ok(Capabilities {
                flavour: if mariadb {
                    Flavour::MariaDb
                } else {
                    Flavour::MySql
                },
                version: parse_version(&version_text),
                version_text,
                ..Capabilities::default()
            })
        },
    )
    .await
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
        Arc::new(Self {
            control,
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
        loop {
            let _ = self.once().await;
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    async fn attempt(&self) -> Result<u64, ControlError> {
        let capabilities = probe(&self.control).await?;
        self.capabilities.store(Arc::new(capabilities));
        let begin = Instant::now();
        let _: Option<u8> = self.control.query_first("SELECT 1").await?;
        Ok(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX))
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
