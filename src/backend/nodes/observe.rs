//! One look at a node: what it says of its role, of what it copies and of its group, in a few statements on a connection that is
//! kept. Judges nothing. What the account may not see stays unknown and is told with the look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Why;
use super::roles::{Channel, Member, Observation, Thread};
use crate::backend::control::{ControlError, ControlSettings};
use crate::backend::login::ConnectError;
use crate::backend::probe::parse_version;
use crate::backend::wire::{Row, WireConn};

/// Largest GTID set that is carried from server to server.
const SET_BYTES_MAX: usize = 16 * 1024;
/// Most sets compared in one look.
const SETS_MAX: usize = 4;

/// What the writer had at some moment.
pub type Sample = (Instant, Arc<str>);

/// A look that succeeded.
pub struct Look {
    /// What goes into the decision.
    pub found: Observation,
    /// `@@gtid_executed`, where it is short enough.
    pub executed: Option<Arc<str>>,
    /// The newest of the samples that the node has all of.
    pub has: Option<Instant>,
    /// What could not be asked.
    pub blind: Option<String>,
}

/// The connection to a node, kept from look to look.
pub struct Eye {
    conn: WireConn,
    is_mariadb: bool,
    replica_status: &'static str,
}

/// Failed looks: why, and in the words of whoever said so.
pub type Failure = (Why, String);

impl Eye {
    /// Connects.
    async fn open(settings: &ControlSettings) -> Result<Self, ControlError> {
        let mut conn = WireConn::connect(settings).await?;
        let rows = conn.query("SELECT VERSION()").await?;
        let version = text(rows.first(), 0).unwrap_or_default();
        let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
        let replica_status = match () {
            () if is_mariadb => "SHOW ALL SLAVES STATUS",
            () if parse_version(&version) >= (8, 0, 22) => "SHOW REPLICA STATUS",
            () => "SHOW SLAVE STATUS",
        };
        if !is_mariadb {
            // Times below are compared in UTC, where no hour comes twice.
            conn.query("SET SESSION time_zone='+00:00'").await?;
        }
        Ok(Self {
            conn,
            is_mariadb,
            replica_status,
        })
    }

    async fn look(&mut self, samples: &[Sample]) -> Result<Look, ControlError> {
        let begun = Instant::now();
        let of_mysql = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only, @@server_uuid, \
                        @@GLOBAL.super_read_only, @@GLOBAL.offline_mode, @@GLOBAL.gtid_executed";
        let of_mariadb = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only, CONCAT('server-id-', @@server_id)";
        let sql = if self.is_mariadb {
            of_mariadb
        } else {
            of_mysql
        };
        let rows = self.conn.query(sql).await?;
        let answered = Instant::now();
        // From MariaDB 12 on `read_only` is a word.
        let is_on = |i| text(rows.first(), i).is_some_and(|word| !matches!(&*word, "0" | "OFF"));
        let mut blind = None;
        let (names, replicas) = optional(&mut self.conn, self.replica_status, &mut blind).await?;
        let channels: Vec<Channel> = replicas.iter().map(|row| channel(&names, row)).collect();
        let mut found = Observation {
            begun,
            answered,
            server_uuid: text(rows.first(), 2).map(Into::into),
            read_only: is_on(0) || is_on(1) || is_on(3),
            offline: is_on(4),
            channels,
            member: None,
            lacks_ms: 0,
        };
        let executed = text(rows.first(), 5).map(|set| set.replace('\n', ""));
        let executed = executed.filter(|set| set.len() <= SET_BYTES_MAX);
        let mut has = None;
        if !self.is_mariadb {
            found.member = self.member(&mut blind).await?;
            if !found.channels.is_empty() || found.member.is_some() {
                self.applying(&mut found, &mut blind).await?;
                let lacks;
                (has, lacks) = self.has(samples).await?;
                let since = lacks.map(|at| begun.saturating_duration_since(at).as_millis());
                found.lacks_ms = u64::try_from(since.unwrap_or(0)).unwrap_or(u64::MAX);
            }
        }
        Ok(Look {
            found,
            executed: executed.map(Into::into),
            has,
            blind,
        })
    }

    /// Its place in the group, if there is one.
    async fn member(&mut self, blind: &mut Option<String>) -> Result<Option<Member>, ControlError> {
        let sql = "SELECT @@GLOBAL.group_replication_group_name, \
                   SUM(MEMBER_ID = @@server_uuid AND MEMBER_STATE = 'ONLINE'), \
                   SUM(MEMBER_ID = @@server_uuid AND MEMBER_ROLE = 'PRIMARY'), \
                   SUM(MEMBER_STATE IN ('ONLINE', 'RECOVERING')) * 2 > COUNT(*) \
                   FROM performance_schema.replication_group_members HAVING COUNT(*) > 0";
        let rows = match self.conn.query(sql).await {
            Ok(rows) => rows,
            // No such variable: the plugin is not there.
            Err(ControlError::Server { code: 1193, .. }) => return Ok(None),
            Err(error @ ControlError::Server { .. }) => {
                blind.get_or_insert(error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let is = |i| text(rows.first(), i).is_some_and(|word| word == "1");
        Ok(text(rows.first(), 0)
            .filter(|group| !group.is_empty())
            .map(|group| Member {
                group: group.into(),
                is_online: is(1),
                is_primary: is(2),
                has_majority: is(3),
                lag_ms: 0,
            }))
    }

    /// The age of the oldest transaction that is being applied: what `Seconds_Behind_Source` tells in whole seconds only, and of a
    /// group not at all.
    async fn applying(
        &mut self,
        found: &mut Observation,
        blind: &mut Option<String>,
    ) -> Result<(), ControlError> {
        let sql = "SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, t, NOW(6))) DIV 1000, 0) FROM \
                   (SELECT APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP AS t \
                    FROM performance_schema.replication_applier_status_by_worker WHERE APPLYING_TRANSACTION <> '' \
                    UNION ALL SELECT PROCESSING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP \
                    FROM performance_schema.replication_applier_status_by_coordinator WHERE PROCESSING_TRANSACTION <> '') \
                   AS busy WHERE t > '1971-01-01'";
        let (_, rows) = optional(&mut self.conn, sql, blind).await?;
        let Some(age_ms) = text(rows.first(), 0).and_then(|ms| ms.parse().ok()) else {
            return Ok(());
        };
        if let Some(member) = &mut found.member {
            member.lag_ms = age_ms;
        }
        for lag_ms in found
            .channels
            .iter_mut()
            .filter_map(|channel| channel.lag_ms.as_mut())
        {
            *lag_ms = refined(*lag_ms, age_ms);
        }
        Ok(())
    }

    /// The newest sample that is contained in what this node has, and the oldest that is not.
    async fn has(
        &mut self,
        samples: &[Sample],
    ) -> Result<(Option<Instant>, Option<Instant>), ControlError> {
        // Newest first; when there are more than can be asked, evenly from all of them.
        let step = samples.len().div_ceil(SETS_MAX).max(1);
        let asked: Vec<&Sample> = samples.iter().rev().step_by(step).collect();
        if asked.is_empty() {
            return Ok((None, None));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | ',' | '_' | ' ');
        let tests: Vec<String> = asked
            .iter()
            .map(|(_, set)| match set.chars().all(plain) {
                true => format!("GTID_SUBSET('{set}', @@GLOBAL.gtid_executed)"),
                false => "0".to_owned(),
            })
            .collect();
        let rows = self
            .conn
            .query(&format!("SELECT {}", tests.join(", ")))
            .await?;
        let is = |at: usize| text(rows.first(), at).is_some_and(|is| is == "1");
        let first = (0..asked.len()).find(|at| is(*at)).unwrap_or(asked.len());
        let when = |at: usize| asked.get(at).map(|(when, _)| *when);
        Ok((when(first), first.checked_sub(1).and_then(when)))
    }
}

/// One look within `limit`, on the connection of the last one if it is still there.
///
/// # Errors
/// Why it failed; then nothing is kept.
pub async fn look(
    kept: &mut Option<Eye>,
    settings: &ControlSettings,
    samples: &[Sample],
    limit: Duration,
) -> Result<Look, Failure> {
    let mut eye = kept.take();
    let work = async {
        let mut open = match eye.take() {
            Some(eye) => eye,
            None => Eye::open(settings).await?,
        };
        let look = open.look(samples).await?;
        eye = Some(open);
        Ok(look)
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(look)) => {
            *kept = eye;
            Ok(look)
        }
        Ok(Err(error)) => Err((why(&error), error.to_string())),
        Err(_) => Err((
            Why::Late,
            format!("no answer within {} ms", limit.as_millis()),
        )),
    }
}

fn why(error: &ControlError) -> Why {
    match error {
        ControlError::Connect(ConnectError::Refused { code: 3032, .. }) => Why::Offline,
        ControlError::Connect(ConnectError::Refused { code: 1040, .. }) => Why::Full,
        ControlError::Connect(ConnectError::Refused { .. }) => Why::LoginRefused,
        ControlError::Late { .. } => Why::Late,
        ControlError::Server { .. } => Why::Errors,
        _ => Why::Unreachable,
    }
}

/// Rows with the names of their columns; none, and a word of it, where the account may not ask or the server does not know.
async fn optional(
    conn: &mut WireConn,
    sql: &str,
    blind: &mut Option<String>,
) -> Result<(Vec<String>, Vec<Row>), ControlError> {
    match conn.query_named(sql).await {
        Ok(found) => Ok(found),
        Err(error @ ControlError::Server { .. }) => {
            blind.get_or_insert(error.to_string());
            Ok((Vec::new(), Vec::new()))
        }
        Err(error) => Err(error),
    }
}

fn text(row: Option<&Row>, at: usize) -> Option<String> {
    let cell = row?.get(at)?.as_deref()?;
    Some(String::from_utf8_lossy(cell).into_owned())
}

/// One row of the replica's status. The words changed with 8.0.22: source for master, replica for slave.
fn channel(names: &[String], row: &Row) -> Channel {
    let get = |wanted: &str| {
        let old = wanted
            .replace("Source", "Master")
            .replace("Replica", "Slave");
        let at = names
            .iter()
            .position(|name| name == wanted || *name == old)?;
        text(Some(row), at).filter(|value| !value.is_empty())
    };
    let thread = |name| match get(name).as_deref() {
        Some("Yes") => Thread::Running,
        Some("Connecting" | "Preparing") => Thread::Connecting,
        _ => Thread::Stopped,
    };
    let of_mariadb = || {
        get("Source_Server_Id")
            .filter(|id| id != "0")
            .map(|id| format!("server-id-{id}"))
    };
    let same = |left, right| get(left).is_some() && get(left) == get(right);
    Channel {
        source: get("Source_UUID").or_else(of_mariadb).map(Into::into),
        fetching: thread("Replica_IO_Running"),
        applying: thread("Replica_SQL_Running") == Thread::Running,
        lag_ms: get("Seconds_Behind_Source")
            .and_then(|seconds| seconds.parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1_000)),
        is_done: same("Source_Log_File", "Relay_Source_Log_File")
            && same("Read_Source_Log_Pos", "Exec_Source_Log_Pos"),
    }
}

/// The lag in whole seconds, which is corrected for clocks that differ, made finer by one that is not.
fn refined(whole_ms: u64, age_ms: u64) -> u64 {
    age_ms.clamp(whole_ms.saturating_sub(1_000), whole_ms.saturating_add(999))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cells: &[(&str, &str)]) -> Channel {
        let names: Vec<String> = cells.iter().map(|(name, _)| (*name).to_owned()).collect();
        let value = |cell: &str| (cell != "NULL").then(|| cell.as_bytes().to_vec());
        channel(&names, &cells.iter().map(|(_, cell)| value(cell)).collect())
    }

    #[test]
    fn a_replica_says_where_it_stands() {
        let found = read(&[
            ("Replica_IO_State", "Waiting for source to send event"),
            ("Source_Log_File", "binlog.000002"),
            ("Read_Source_Log_Pos", "900"),
            ("Relay_Source_Log_File", "binlog.000002"),
            ("Exec_Source_Log_Pos", "900"),
            ("Replica_IO_Running", "Yes"),
            ("Replica_SQL_Running", "Yes"),
            ("Seconds_Behind_Source", "3"),
            ("Source_Server_Id", "7"),
            ("Source_UUID", "u"),
        ]);
        let expected = Channel {
            source: Some("u".into()),
            fetching: Thread::Running,
            applying: true,
            lag_ms: Some(3_000),
            is_done: true,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_old_words_and_those_of_mariadb() {
        let found = read(&[
            ("Master_Log_File", "binlog.000002"),
            ("Read_Master_Log_Pos", "900"),
            ("Relay_Master_Log_File", "binlog.000001"),
            ("Exec_Master_Log_Pos", "900"),
            ("Slave_IO_Running", "Connecting"),
            ("Slave_SQL_Running", "No"),
            ("Seconds_Behind_Master", "NULL"),
            ("Master_Server_Id", "7"),
        ]);
        let expected = Channel {
            source: Some("server-id-7".into()),
            fetching: Thread::Connecting,
            applying: false,
            lag_ms: None,
            is_done: false,
        };
        assert_eq!(found, expected);
        let found = read(&[
            ("Slave_IO_Running", "No"),
            ("Master_Server_Id", "0"),
            ("Source_UUID", ""),
        ]);
        assert_eq!((found.source, found.fetching), (None, Thread::Stopped));
    }

    #[test]
    fn clocks_that_differ_do_not_make_a_lag() {
        assert_eq!(refined(0, 40), 40);
        assert_eq!(refined(0, 3_600_000), 999);
        assert_eq!(refined(7_000, 0), 6_000);
        assert_eq!(refined(7_000, 7_400), 7_400);
    }
}
