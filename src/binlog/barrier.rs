//! Where the log ends: one status call at a time on a connection of its own, shared by everybody who asked before it was issued.
//! Answers or fails within its deadline; connects again after a failure. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::gate::GateError;
use super::position::{Gtid, Position, split_file_name};
use super::{Binlog, Server};
use crate::backend::control::ControlError;
use crate::backend::wire::{Row, WireConn};
use crate::shutdown::Shutdown;

/// A status call that takes longer fails, and its connection is given up.
const STATUS_MS_MAX: u64 = 2_000;
/// Pause after a connection that could not be made.
const RETRY_MS: u64 = 20;

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Base name of the log files.
    pub(super) base: String,
    /// The end of the log.
    pub(super) position: Position,
    /// Schemas the log is restricted to or spared from, if any.
    pub(super) filters: String,
    /// `gtid_executed`: all of these are visible.
    pub(super) executed: String,
}

/// A status and the epoch whose positions it compares with.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) epoch: u64,
    pub(super) status: Arc<Status>,
}

impl Status {
    /// From the one row of the status statement; `None` when there is no log.
    pub(super) fn from_rows(rows: &[Row]) -> Option<Self> {
        let row = rows.first()?;
        let text = |i: usize| {
            let cell = row.get(i)?.as_deref()?;
            std::str::from_utf8(cell).ok()
        };
        let (base, file) = split_file_name(text(0)?)?;
        let filters = [text(2).unwrap_or(""), text(3).unwrap_or("")].concat();
        Some(Self {
            base: base.to_owned(),
            position: Position::new(file, text(1)?.parse().ok()?),
            filters,
            executed: text(4)?.to_owned(),
        })
    }
}

/// Whether a GTID set as the server prints it (`uuid:1-5:7:tag:1-2,\nuuid:..`) contains a GTID.
pub(super) fn set_contains(set: &str, gtid: &Gtid) -> bool {
    let printed = gtid.to_string();
    let uuid = printed.split(':').next().unwrap_or("");
    set.split(',').any(|part| {
        let mut pieces = part.trim().split(':');
        if !pieces
            .next()
            .is_some_and(|p| p.trim().eq_ignore_ascii_case(uuid))
        {
            return false;
        }
        let mut tag: Option<&str> = None;
        pieces.map(str::trim).any(|piece| {
            let (low, high) = piece.split_once('-').unwrap_or((piece, piece));
            let (Ok(low), Ok(high)) = (low.parse::<u64>(), high.parse::<u64>()) else {
                tag = Some(piece);
                return false;
            };
            tag == gtid.tag.as_deref() && (low..=high).contains(&gtid.number)
        })
    })
}

/// Serves the line until `stop`.
pub(super) async fn serve(binlog: Arc<Binlog>, stop: Shutdown) {
    let mut held: Option<(WireConn, Arc<Server>)> = None;
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = binlog.line.arrivals() => {}
        }
        let server = match binlog.server() {
            Ok(server) => server,
            Err(reason) => {
                fail(&binlog, &GateError::Unavailable(reason));
                continue;
            }
        };
        held = held.filter(|(_, of)| Arc::ptr_eq(of, &server));
        if held.is_none() {
            match connect(&binlog, &server).await {
                Ok(conn) => held = Some((conn, server.clone())),
                Err(error) => {
                    fail(&binlog, &GateError::BarrierFailed(error.to_string()));
                    sleep(Duration::from_millis(RETRY_MS)).await;
                    continue;
                }
            }
        }
        let Some((conn, _)) = &mut held else { continue };
        if let Err(error) = ask(&binlog, conn, &server).await {
            tracing::debug!(%error, "barrier call failed");
            held = None;
        }
    }
}

/// One call for everybody in line.
async fn ask(binlog: &Binlog, conn: &mut WireConn, server: &Server) -> Result<(), ControlError> {
    // Taken first, then read what is processed, then issued: all three orders matter.
    let batch = binlog.line.take();
    if batch.is_empty() {
        return Ok(());
    }
    let issued = *binlog.mark.borrow();
    let last = binlog.with_log(|log| log.last_commit().cloned());
    let begin = Instant::now();
    let limit = Duration::from_millis(STATUS_MS_MAX);
    let result = match timeout(limit, conn.query(server.status_sql)).await {
        Ok(result) => result,
        Err(_) => Err(ControlError::Late {
            what: "the status call",
            ms: STATUS_MS_MAX,
        }),
    };
    let counters = &binlog.counters;
    counters.barriers.fetch_add(1, Relaxed);
    counters
        .barrier_waiters
        .fetch_add(batch.len() as u64, Relaxed);
    let took = begin.elapsed().as_micros();
    counters.barrier_us.store(took as u64, Relaxed);
    let answer = match &result {
        Ok(rows) => match Status::from_rows(rows) {
            Some(status) => judge(binlog, server, issued, status),
            None => Err(GateError::BarrierFailed("no log status".into())),
        },
        Err(error) => Err(GateError::BarrierFailed(error.to_string())),
    };
    if let (Ok(answer), Some(last)) = (&answer, last)
        && let Some(gtid) = &last.gtid
        && set_contains(&answer.status.executed, gtid)
    {
        binlog.log.write().saw_visible(answer.epoch, last.position);
    }
    for ((), sender) in batch {
        // Who does not wait any more does not mind.
        let _ = sender.send(answer.clone());
    }
    result.map(drop)
}

/// The log of one server run only grows: an end below what was processed before the call belongs to another log.
fn judge(
    binlog: &Binlog,
    server: &Server,
    issued: super::Mark,
    status: Status,
) -> Result<Answer, GateError> {
    if status.base != server.base || status.position < issued.position {
        binlog.kick("the log went back");
        return Err(GateError::Epoch);
    }
    Ok(Answer {
        epoch: issued.epoch,
        status: Arc::new(status),
    })
}

async fn connect(binlog: &Binlog, server: &Server) -> Result<WireConn, ControlError> {
    let Some(control) = &binlog.control else {
        return Err(ControlError::Late {
            what: "no backend",
            ms: 0,
        });
    };
    let mut conn = WireConn::connect(&control.settings()).await?;
    let limit = Duration::from_millis(STATUS_MS_MAX);
    let rows = match timeout(limit, conn.query("SELECT @@server_uuid")).await {
        Ok(rows) => rows?,
        Err(_) => {
            return Err(ControlError::Late {
                what: "the server's identity",
                ms: STATUS_MS_MAX,
            });
        }
    };
    let uuid = rows.first().and_then(|row| row.first().cloned().flatten());
    if uuid.as_deref() != Some(server.uuid.as_bytes()) {
        binlog.kick("the address leads to another server");
        return Err(ControlError::Late {
            what: "the same server",
            ms: 0,
        });
    }
    Ok(conn)
}

fn fail(binlog: &Binlog, error: &GateError) {
    for ((), sender) in binlog.line.take() {
        let _ = sender.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(cells: [&str; 5]) -> Vec<Row> {
        vec![cells.iter().map(|c| Some(c.as_bytes().to_vec())).collect()]
    }

    #[test]
    fn the_status_row_is_read() {
        let status = Status::from_rows(&cells(["binlog.000012", "345", "", "", "u:1-3"])).unwrap();
        assert_eq!(status.base, "binlog");
        assert_eq!(status.position, Position::new(12, 345));
        assert_eq!(
            (status.filters.as_str(), status.executed.as_str()),
            ("", "u:1-3")
        );
        let status = Status::from_rows(&cells(["b.1", "4", "", "secret", ""])).unwrap();
        assert_eq!(status.filters, "secret");
        assert_eq!(Status::from_rows(&[]), None);
        assert_eq!(
            Status::from_rows(&cells(["binlog", "345", "", "", ""])),
            None
        );
    }

    #[test]
    fn gtid_sets_contain_what_they_print() {
        let set = "3d27f50a-e4ae-11f1-845f-02fc00000001:1-5:7:blue:1-2:red:9,\n4d27f50a-e4ae-11f1-845f-02fc00000001:3";
        for (gtid, contained) in [
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:1", true),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:5", true),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:6", false),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:7", true),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:9", false),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:blue:2", true),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:blue:5", false),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:red:9", true),
            ("3d27f50a-e4ae-11f1-845f-02fc00000001:red:1", false),
            ("4d27f50a-e4ae-11f1-845f-02fc00000001:3", true),
            ("4d27f50a-e4ae-11f1-845f-02fc00000001:1", false),
            ("5d27f50a-e4ae-11f1-845f-02fc00000001:1", false),
        ] {
            assert_eq!(
                set_contains(set, &gtid.parse().unwrap()),
                contained,
                "{gtid}"
            );
        }
        assert!(!set_contains(
            "",
            &"3d27f50a-e4ae-11f1-845f-02fc00000001:1".parse().unwrap()
        ));
    }
}
