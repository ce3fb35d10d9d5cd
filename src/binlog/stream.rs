//! The dump connection: connects, proves that it continues the log read before, follows it, publishes what was recorded.
//! A connection that cannot prove it begins a new epoch. Publishes a position only after everything below it was recorded.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::barrier::Status;
use super::decode::{Header, LogEvent, kind};
use super::position::{Gtid, Position, split_file_name};
use super::reader::{LogReader, Raw, ReadFailure};
use super::transaction::{Broken, Ended, Transactions};
use super::{Binlog, Mark, Server, Unavailable, facts};
use crate::backend::control::{ControlError, ControlSettings};
use crate::backend::wire::{self, WireConn};
use crate::protocol::command::Command;
use crate::shutdown::Shutdown;

/// Longest time for one of the statements before the dump begins.
const SETUP_MS_MAX: u64 = 5_000;
/// Error of a dump that cannot begin or go on: purged, reset, shortened, another file of that name.
const LOG_UNREADABLE: u16 = 1236;
/// Where the first event of a file stands.
const FIRST_OFFSET: u64 = 4;
/// Longest pause between two looks at the commits that were in flight at the start.
const SETTLE_MS_MAX: u64 = 500;

/// Why the stream stopped.
#[derive(Debug)]
struct Stopped {
    reason: Unavailable,
    detail: String,
    /// Whether the next connection may try to continue.
    resumable: bool,
    /// The server cannot read its log from where it was asked to.
    unreadable: bool,
}

impl Stopped {
    fn new(reason: Unavailable, detail: impl ToString) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
            resumable: true,
            unreadable: false,
        }
    }

    fn lost(detail: impl ToString) -> Self {
        Self {
            resumable: false,
            ..Self::new(Unavailable::Reconnecting, detail)
        }
    }
}

impl From<ReadFailure> for Stopped {
    fn from(failure: ReadFailure) -> Self {
        match &failure {
            ReadFailure::Server(payload) => {
                let error = wire::error_of(payload);
                let reason = if error.is_denied() {
                    Unavailable::NoStreamPrivilege
                } else {
                    Unavailable::Reconnecting
                };
                Self {
                    unreadable: error.server_code() == Some(LOG_UNREADABLE),
                    ..Self::new(reason, error)
                }
            }
            ReadFailure::End => Self::new(Unavailable::Reconnecting, failure),
            ReadFailure::Malformed(_) => Self::lost(failure),
        }
    }
}

impl From<ControlError> for Stopped {
    fn from(error: ControlError) -> Self {
        let reason = if error.is_denied() {
            Unavailable::NoStreamPrivilege
        } else {
            Unavailable::Unreachable
        };
        Self::new(reason, error)
    }
}

/// What is left of a connection that ended: enough for the next one to prove that it continues.
struct Past {
    server: Arc<Server>,
    transactions: Transactions,
    anchor: Option<Anchor>,
    /// `gtid_executed` when this epoch began: proof enough while nothing was logged since.
    executed: String,
}

/// The first event of the last recorded transaction. It carries the commit's time in microseconds, identity and length: found
/// unchanged at the same place, the log up to there is the one that was read.
#[derive(Clone, PartialEq, Eq)]
struct Anchor {
    start: Position,
    header: Header,
    body: Vec<u8>,
}

/// Follows the log until `stop`.
pub(super) async fn run(binlog: Arc<Binlog>, stop: Shutdown) {
    let mut past: Option<Past> = None;
    let mut told: Option<(&str, String)> = None;
    let mut comebacks = binlog.control.as_ref().map(|control| control.comebacks());
    loop {
        let stopped = tokio::select! {
            () = stop.requested() => return,
            stopped = follow(&binlog, &mut past) => stopped,
        };
        let was_up = binlog.available().is_ok();
        if was_up {
            told = None;
        }
        binlog.set_down(stopped.reason, &stopped.detail);
        let (reason, detail) = (stopped.reason.label(), &stopped.detail);
        // What stays as it is is said once.
        if told.as_ref() != Some(&(reason, detail.clone())) {
            tracing::info!(reason, %detail, "log stream stopped");
            told = Some((reason, detail.clone()));
        }
        if !stopped.resumable {
            past = None;
        }
        // A stream that was up is tried again at once: gates are closed until it is back.
        if was_up {
            binlog.control.iter().for_each(|control| control.doubt());
            continue;
        }
        let is_back = async {
            match &mut comebacks {
                Some(comebacks) => comebacks.changed().await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            () = stop.requested() => return,
            () = sleep(binlog.settings.reconnect) => {}
            true = is_back => {}
        }
    }
}

/// One connection, from its login to its end.
async fn follow(binlog: &Arc<Binlog>, past: &mut Option<Past>) -> Stopped {
    let Some(control) = &binlog.control else {
        return Stopped::new(Unavailable::Disabled, "");
    };
    // A kick meant for the connection before this one is void.
    binlog.kicks.take();
    let (settings, turn) = control.destination();
    let mut conn = match WireConn::connect(&settings).await {
        Ok(conn) => conn,
        Err(error) => return error.into(),
    };
    let (server, status) = match set_up(&mut conn, (&settings, turn), binlog).await {
        Ok(ready) => ready,
        Err(stopped) => return stopped,
    };
    let mut follower = match Follower::resume(binlog, past.take(), &server, &status) {
        Some(follower) => follower,
        None => Follower::begin(binlog, &server, &status),
    };
    let mut stopped = follower.dump(&mut conn).await;
    // Once the stream ran, the next attempt decides: it has to prove that the log goes on.
    stopped.resumable &= !(stopped.unreadable && follower.proof.is_some());
    *past = follower.into_past();
    stopped
}

/// Checks what must hold, and prepares the session for a dump.
async fn set_up(
    conn: &mut WireConn,
    (settings, turn): (&ControlSettings, u64),
    binlog: &Binlog,
) -> Result<(Arc<Server>, Status), Stopped> {
    let limit = Duration::from_millis(SETUP_MS_MAX);
    let work = async {
        let facts = facts::ask(conn).await?;
        if let Err((reason, detail)) = facts.judge() {
            return Err(Stopped {
                resumable: false,
                ..Stopped::new(reason, detail)
            });
        }
        let rows = match conn.query(facts.status_sql()).await {
            Ok(rows) => rows,
            Err(error) if error.is_denied() => {
                return Err(Stopped::new(Unavailable::NoStatusPrivilege, error));
            }
            Err(error) => return Err(error.into()),
        };
        let status = Status::from_rows(&rows)
            .ok_or_else(|| Stopped::new(Unavailable::LogOff, "no log status"))?;
        if !status.filters.is_empty() {
            return Err(Stopped::new(Unavailable::LogFiltered, &status.filters));
        }
        let heartbeat_ns = binlog.settings.heartbeat.as_nanos();
        let uuid = &binlog.replica_uuid;
        // Both spellings: the server reads the one of its version.
        conn.query(&format!(
            "SET @source_binlog_checksum='CRC32', @master_binlog_checksum='CRC32', \
             @source_heartbeat_period={heartbeat_ns}, @master_heartbeat_period={heartbeat_ns}, \
             @replica_uuid='{uuid}', @slave_uuid='{uuid}'"
        ))
        .await?;
        let server = Arc::new(Server {
            turn,
            uuid: facts.server_uuid.clone(),
            base: status.base.clone(),
            status_sql: facts.status_sql(),
            checksum: facts.checksum(),
            exact_names: facts.exact_names(),
        });
        Ok((server, status))
    };
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Stopped::new(
            Unavailable::Unreachable,
            format!("{} is slow to answer", settings.backend.url.address()),
        )),
    }
}

/// Reads one connection's events.
struct Follower<'b> {
    binlog: &'b Arc<Binlog>,
    server: Arc<Server>,
    executed: String,
    transactions: Transactions,
    /// Where the next event starts.
    position: Position,
    /// Everything before this was recorded, by this connection or the one before.
    recorded: Position,
    /// The event that must come first, until it came.
    proof: Option<Anchor>,
    anchor: Option<Anchor>,
    /// The first event of the transaction in progress.
    opening: Option<Anchor>,
    /// A compressed transaction that ended inside its payload; it counts at the end of that.
    unpacked: Option<Ended>,
    /// A new epoch is due with the first event: until then the server may still refuse the dump.
    fresh: bool,
}

impl<'b> Follower<'b> {
    /// A new epoch from the end of the log.
    fn begin(binlog: &'b Arc<Binlog>, server: &Arc<Server>, status: &Status) -> Self {
        Self {
            binlog,
            server: server.clone(),
            executed: status.executed.clone(),
            transactions: Transactions::default(),
            position: status.position,
            recorded: status.position,
            proof: None,
            anchor: None,
            opening: None,
            unpacked: None,
            fresh: true,
        }
    }

    /// Where the connection before stopped, if that can be proven to be the same log.
    fn resume(
        binlog: &'b Arc<Binlog>,
        past: Option<Past>,
        server: &Arc<Server>,
        status: &Status,
    ) -> Option<Self> {
        let mut past = past?;
        let recorded = binlog.with_log(|log| log.processed());
        if past.server.uuid != server.uuid || past.server.base != server.base {
            return None;
        }
        let start = match &past.anchor {
            Some(anchor) => anchor.start,
            None if status.position == recorded && status.executed == past.executed => recorded,
            None => return None,
        };
        binlog.counters.reconnects.fetch_add(1, Relaxed);
        past.transactions.forget_open();
        Some(Self {
            binlog,
            server: server.clone(),
            executed: past.executed,
            transactions: past.transactions,
            position: start,
            recorded,
            proof: past.anchor.clone(),
            anchor: past.anchor,
            opening: None,
            unpacked: None,
            fresh: false,
        })
    }

    fn into_past(self) -> Option<Past> {
        (!self.fresh).then_some(Past {
            server: self.server,
            transactions: self.transactions,
            anchor: self.anchor,
            executed: self.executed,
        })
    }

    /// Asks for the log from `position` and reads it until something ends it.
    async fn dump(&mut self, conn: &mut WireConn) -> Stopped {
        let body = dump_request(self.binlog.server_id, &self.server.base, self.position);
        if let Err(error) = conn.send_command(Command::BinlogDumpGtid, &body).await {
            return error.into();
        }
        let mut reader = LogReader::new(self.server.checksum);
        let silence = self.binlog.settings.silence_max;
        loop {
            let filled = tokio::select! {
                filled = timeout(silence, conn.fill()) => filled,
                detail = self.binlog.kicks.wait() => return Stopped::lost(detail),
            };
            match filled {
                Ok(Ok(0)) => {
                    return Stopped::new(Unavailable::Reconnecting, "the connection ended");
                }
                Ok(Ok(n)) => {
                    self.binlog.counters.bytes.fetch_add(n as u64, Relaxed);
                }
                Ok(Err(error)) => return Stopped::new(Unavailable::Reconnecting, error),
                Err(_) => {
                    let ms = silence.as_millis();
                    let detail = format!("no event and no heartbeat for {ms} ms");
                    return Stopped::new(Unavailable::Silent, detail);
                }
            }
            let taken = conn.peek().len();
            let result = reader.push(conn.peek(), &mut |raw| self.event(&raw));
            conn.consume(taken);
            if let Err(stopped) = result {
                return stopped;
            }
            self.publish();
        }
    }

    /// Tells everybody how far the log was recorded, once the dump has shown to be a continuation.
    fn publish(&self) {
        if self.fresh || self.proof.is_some() || self.position < self.recorded {
            return;
        }
        let mark = self.binlog.with_log(|log| Mark {
            epoch: log.epoch(),
            position: log.processed(),
        });
        self.binlog.mark.send_if_modified(|old| {
            let moved = *old != mark;
            *old = mark;
            moved
        });
        // Last: who sees the log available must also see where it is.
        self.binlog.set_up(&self.server);
    }

    fn begin_epoch(&mut self) {
        self.fresh = false;
        let epoch = {
            let mut log = self.binlog.log.write();
            log.begin(self.position);
            log.epoch()
        };
        tracing::info!(position = %self.position, epoch, "log stream begins");
        let settling = self.binlog.clone();
        tokio::spawn(async move { settle(&settling, epoch).await });
    }

    fn event(&mut self, raw: &Raw<'_>) -> Result<(), Stopped> {
        self.binlog.counters.events.fetch_add(1, Relaxed);
        if self.fresh {
            self.begin_epoch();
        }
        let event = raw.event();
        if let LogEvent::Rotate { offset, file } = &event {
            return self.rotate(raw, *offset, file);
        }
        let start = self.position;
        if raw.header.kind == kind::FORMAT_DESCRIPTION && start.offset != FIRST_OFFSET {
            // A dump that starts inside a file begins with that file's head: it is not where we are.
            return Ok(());
        }
        if raw.inner {
            if let Some(ended) = self.gather(&event)? {
                self.unpacked = Some(ended);
            }
            return Ok(());
        }
        if raw.header.in_file() {
            self.position.offset = next_offset(start.offset, &raw.header)?;
            self.prove(raw, start)?;
            self.remember_opening(raw, start);
        }
        let ended = if raw.header.kind == kind::TRANSACTION_PAYLOAD {
            self.unpacked.take()
        } else {
            self.gather(&event)?
        };
        if let Some(ended) = ended {
            self.end(&ended);
        }
        if !self.transactions.is_open() && self.position > self.recorded {
            self.recorded = self.position;
            self.binlog.log.write().advance(self.position);
        }
        Ok(())
    }

    /// Hands an event to the transaction in progress.
    fn gather(&mut self, event: &LogEvent<'_>) -> Result<Option<Ended>, Stopped> {
        self.transactions.event(event).map_err(|broken| {
            Stopped::lost(match broken {
                Broken::Restarted => "the server was restarted or its logs were reset",
                Broken::Incident => "the server reports a hole in its log",
            })
        })
    }

    fn end(&mut self, ended: &Ended) {
        if let Some(opening) = self.opening.take() {
            self.anchor = Some(opening);
        }
        // Already recorded by the connection before: read again only to get here.
        if self.position <= self.recorded {
            return;
        }
        self.recorded = self.position;
        self.binlog.counters.transactions.fetch_add(1, Relaxed);
        let mut log = self.binlog.log.write();
        log.apply(self.position, ended.gtid.as_ref(), &ended.touch);
    }

    fn remember_opening(&mut self, raw: &Raw<'_>, start: Position) {
        if matches!(raw.header.kind, kind::GTID | kind::GTID_TAGGED) {
            self.opening = Some(Anchor {
                start,
                header: raw.header,
                body: raw.body.to_vec(),
            });
        }
    }

    /// The first event of a continued log must be the one that stood there before.
    fn prove(&mut self, raw: &Raw<'_>, start: Position) -> Result<(), Stopped> {
        if let Some(proof) = self.proof.take() {
            let same = proof.start == start && proof.header == raw.header && proof.body == raw.body;
            if !same {
                return Err(Stopped::lost("the log is not the one read before"));
            }
        }
        // Below what was recorded, events must end where they ended before.
        if start < self.recorded
            && self.position > self.recorded
            && start.file == self.recorded.file
        {
            return Err(Stopped::lost("the log differs from the one read before"));
        }
        Ok(())
    }

    /// A rotation stands at the end of a file, or is made up to name the file that follows.
    fn rotate(&mut self, raw: &Raw<'_>, offset: u64, file: &[u8]) -> Result<(), Stopped> {
        let name = std::str::from_utf8(file).ok().and_then(split_file_name);
        let Some((base, number)) = name.filter(|(base, _)| *base == self.server.base) else {
            return Err(Stopped::lost("a rotation to a strange file"));
        };
        let _ = base;
        let next = Position::new(number, offset);
        if raw.header.in_file() {
            self.position.offset = next_offset(self.position.offset, &raw.header)?;
            return Ok(());
        }
        let follows = number == self.position.file.wrapping_add(1) && offset == FIRST_OFFSET;
        if next != self.position && !follows {
            return Err(Stopped::lost(format!(
                "the log jumps from {} to {next}",
                self.position
            )));
        }
        self.position = next;
        Ok(())
    }
}

/// Where an event ends, checked against what its header says (which has 32 bits only).
fn next_offset(start: u64, header: &Header) -> Result<u64, Stopped> {
    let next = start + u64::from(header.size);
    if next as u32 == header.log_pos {
        Ok(next)
    } else {
        Err(Stopped::lost(format!(
            "an event that starts at {start} says it ends at {}",
            header.log_pos
        )))
    }
}

/// COM_BINLOG_DUMP_GTID with an empty set: from a file and a 64-bit offset, nothing skipped.
fn dump_request(server_id: u32, base: &str, position: Position) -> Vec<u8> {
    let name = format!("{base}.{:06}", position.file);
    let mut body = Vec::with_capacity(64);
    body.extend_from_slice(&0_u16.to_le_bytes());
    body.extend_from_slice(&server_id.to_le_bytes());
    body.extend_from_slice(&(name.len() as u32).to_le_bytes());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&position.offset.to_le_bytes());
    body.extend_from_slice(&8_u32.to_le_bytes());
    body.extend_from_slice(&0_u64.to_le_bytes());
    body
}

/// Commits that were in the log at the start of an epoch may still be on their way to visibility. Each of them owned its GTID
/// from before it was written until after it became visible, so those that own one now and then no more are through.
async fn settle(binlog: &Binlog, epoch: u64) {
    let Some(control) = &binlog.control else {
        return;
    };
    let start = binlog.with_log(|log| log.processed());
    let mut in_flight: Option<Vec<Gtid>> = None;
    let mut pause = Duration::from_millis(5);
    while binlog.epoch() == epoch {
        let sql = "SELECT @@server_uuid, @@GLOBAL.gtid_owned";
        if let Ok(Some((uuid, owned))) = control.query_first::<(String, String)>(sql).await
            && binlog.server_uuid() == Some(uuid)
        {
            let owned = owned_gtids(&owned);
            let left: Vec<Gtid> = match (in_flight.take(), owned) {
                (Some(before), Some(now)) => {
                    before.into_iter().filter(|g| now.contains(g)).collect()
                }
                (None, Some(now)) => now,
                (before, None) => {
                    in_flight = before;
                    sleep(pause).await;
                    continue;
                }
            };
            if left.is_empty() {
                binlog.log.write().saw_visible(epoch, start);
                return;
            }
            in_flight = Some(left);
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(SETTLE_MS_MAX));
    }
}

/// Reads `uuid:5#12:6#13,\nuuid:tag:1#9`; `None` when it cannot be read.
fn owned_gtids(text: &str) -> Option<Vec<Gtid>> {
    let mut gtids = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let mut pieces = part.split(':');
        let uuid = pieces.next()?;
        let mut tag: Option<&str> = None;
        for piece in pieces {
            match piece.split_once('#') {
                Some((number, _)) => {
                    let tag = tag.map(|t| format!("{t}:")).unwrap_or_default();
                    gtids.push(format!("{uuid}:{tag}{number}").parse().ok()?);
                }
                None => tag = Some(piece),
            }
        }
    }
    Some(gtids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_gtids_are_read() {
        let uuid = "3d27f50a-e4ae-11f1-845f-02fc00000001";
        let text = format!("{uuid}:77#23:78#24,\n{uuid}:blue:1#9");
        let printed: Vec<String> = owned_gtids(&text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            printed,
            [
                format!("{uuid}:77"),
                format!("{uuid}:78"),
                format!("{uuid}:blue:1")
            ]
        );
        assert_eq!(owned_gtids(""), Some(vec![]));
        assert_eq!(owned_gtids("x:1#2"), None);
    }

    #[test]
    fn offsets_go_on_beyond_four_gigabytes() {
        let header = |size, log_pos| Header {
            timestamp: 0,
            kind: 0,
            size,
            log_pos,
            flags: 0,
        };
        let far = (1_u64 << 32) - 10;
        assert_eq!(next_offset(100, &header(20, 120)).unwrap(), 120);
        assert_eq!(next_offset(far, &header(30, 20)).unwrap(), far + 30);
        assert!(!next_offset(100, &header(20, 121)).unwrap_err().resumable);
    }
}
