//! A session among the servers of a cluster: where its next statement must run, leaving one server for another, and waiting for a
//! writer while there is none. Never decides which server suits a statement (`router::place`), nor what a server is
//! (`backend::nodes`).
//!
//! ```text
//!  at the writer --a plain read, and nothing ties it--> away --own writes are there--> on a reader
//!  on a reader --anything else--> away --held while there is no writer--> at the writer
//! ```

mod steer;

use super::Session;
use super::client::Client;
use super::error::SessionError;
use super::lease::Away;
use super::relay::Turns;
use super::rooms::Rooms;
use super::watch::Ticks;
use crate::backend::connection::Known;
use crate::backend::login::ConnectError;
use crate::backend::nodes::{Node, NodeId, Writer};
use crate::config::{Consistency, PoolMode, Reads};
use crate::protocol::command::Command;
use crate::protocol::relay::Summary;
use crate::protocol::response::{SessionStateReader, StateChange};
use crate::router::ties::Tie;
use crate::sql::{Kind, Statement};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

/// A commit of several transactions may have several GTIDs; more text than this is not kept.
const GTIDS_BYTES_MAX: usize = 1_024;

/// Pause between two attempts to reach a writer that nobody has found to be gone yet.
const RETRY: Duration = Duration::from_millis(50);

/// A KILL under way is waited for so often, for 5 ms each.
const KILL_WAITS_MAX: usize = 200;

/// The reason of a read that the writer answers because the reader does not have the session's writes in time.
const OWN_WRITES_MISSING: &str = "own_writes_missing";

/// Where the next statement must run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Writer,
    Reader(NodeId),
    /// Wherever the session is.
    Here,
}

/// What a session has written itself, as its server told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    /// Nothing yet.
    None,
    /// GTIDs of the last commit.
    Last(Box<str>),
    /// Something without a number, or with one that was too long: no reader can be asked for it.
    Unknown,
}

/// A session's part in a cluster.
pub(super) struct Spread {
    wants: Wants,
    on_reader: bool,
    /// The name of the server that the session was on before it went to a reader: that is where its variables are looked up.
    home: Option<Box<str>>,
    /// The request stays in the client's buffer until it was answered.
    holds_request: bool,
    /// Which errors of the next answer are turned back.
    turns: Turns,
    own: Own,
    /// The reader that is known to have it.
    seen_on: Option<NodeId>,
    /// A reader could not be used: until then the writer is asked at once, and why.
    not_before: (Ticks, &'static str),
    /// Rows of the last answer.
    rows: u64,
}

/// Where a connection is looked for.
pub(super) enum Goal {
    /// At whichever server takes the writes.
    Writer,
    /// At this reader.
    Reader(Arc<Node>),
}

impl Goal {
    /// Whether it is a reader.
    pub fn is_reader(&self) -> bool {
        matches!(self, Self::Reader(_))
    }
}

/// Whether sessions are told the GTIDs of their commits.
pub(super) fn wants_gtids(rooms: &Rooms) -> bool {
    rooms.nodes.is_cluster() && rooms.config.cluster.consistency == Consistency::Session
}

impl Spread {
    /// The part of a session that has just logged in; `None` where there is no cluster.
    pub fn new(rooms: &Rooms, on: NodeId) -> Option<Box<Self>> {
        rooms.nodes.is_cluster().then(|| {
            Box::new(Self {
                wants: Wants::Writer,
                on_reader: !rooms.nodes.takes_writes(on),
                home: None,
                holds_request: false,
                turns: Turns::Never,
                own: Own::None,
                seen_on: None,
                not_before: (0, ""),
                rows: 0,
            })
        })
    }

    /// A command begins. Whatever is not steered goes to the writer, but for what any connection does as well.
    pub fn begin(&mut self, command: Option<Command>, is_tied: bool) {
        self.wants = match command {
            Some(Command::Ping | Command::StmtReset | Command::StmtClose | Command::ChangeUser) => {
                Wants::Here
            }
            // A reset gives a session the settings of its server: they have to be the writer's.
            Some(Command::ResetConnection) if is_tied => Wants::Here,
            _ => Wants::Writer,
        };
        (self.holds_request, self.turns) = (false, Turns::Never);
    }

    fn committed(&mut self, gtids: &[u8]) {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b',' | b'_');
        let text: Vec<u8> = gtids
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        let text = String::from_utf8(text).unwrap_or_default();
        let is_plain = !text.is_empty() && text.len() <= GTIDS_BYTES_MAX;
        self.own = match is_plain && text.bytes().all(|b| plain(&b)) {
            true => Own::Last(text.into()),
            false => Own::Unknown,
        };
        self.seen_on = None;
        if self.not_before.1 == OWN_WRITES_MISSING {
            self.not_before.0 = 0;
        }
    }
}

/// Whether a statement may have committed something.
fn may_write(statement: &Statement) -> bool {
    let quiet = matches!(
        statement.kind,
        Kind::Select
            | Kind::Show
            | Kind::Set
            | Kind::Use
            | Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::Explain
            | Kind::Empty
    );
    !quiet || statement.hold.runs_unseen || statement.may_do_more()
}

impl Session {
    /// Whether the session's connection leads to where its next statement must run. Without a cluster it always does.
    #[inline]
    pub(super) fn is_in_place(&self) -> bool {
        match &self.spread {
            None => true,
            Some(spread) => self.is_where_wanted(spread),
        }
    }

    fn is_where_wanted(&self, spread: &Spread) -> bool {
        match spread.wants {
            Wants::Here => true,
            Wants::Reader(id) => self.backend.node == id,
            Wants::Writer => {
                let nodes = &self.worker.rooms.nodes;
                // Who is tied to a server that takes no writes any more is told so by that server.
                nodes.takes_writes(self.backend.node)
                    || !spread.on_reader && self.moving_tie().is_some()
            }
        }
    }

    /// The session is on a connection to a reader.
    pub(super) fn is_on_reader(&self) -> bool {
        self.spread.as_ref().is_some_and(|spread| spread.on_reader)
    }

    /// Where the connection is to be looked for.
    pub(super) fn goal(&self) -> Goal {
        let wants = self.spread.as_ref().map(|spread| spread.wants);
        match wants {
            Some(Wants::Reader(id)) => match self.worker.rooms.nodes.node(id) {
                Some(node) => Goal::Reader(node.clone()),
                None => Goal::Writer,
            },
            _ => Goal::Writer,
        }
    }

    /// A connection was found. What is known of the session's variables stays so on a reader: they were brought there.
    pub(super) fn arrived_by(&mut self, goal: &Goal, away: &Away, is_other_server: bool) {
        match (&mut self.spread, goal) {
            (Some(spread), Goal::Reader(_)) => {
                (spread.on_reader, spread.home) = (true, Some(away.known.server.clone()));
            }
            (spread, _) => {
                if let Some(spread) = spread {
                    (spread.on_reader, spread.home) = (false, None);
                }
                if is_other_server {
                    self.state.forget_env();
                }
            }
        }
    }

    /// The session leaves its connection.
    pub(super) fn comes_home(&mut self, known: &mut Known) {
        if let Some(spread) = &mut self.spread
            && std::mem::take(&mut spread.on_reader)
            && let Some(home) = spread.home.take()
        {
            known.server = home;
        }
    }

    /// What ties the session to its connection when its next statement asks nothing about the one before.
    pub(super) fn moving_tie(&self) -> Option<Tie> {
        match self.tie() {
            Some(Tie::Diagnostics) => self.tie_beside(),
            // Nothing but plain reads runs there, and they report nothing.
            Some(Tie::LateReports) if self.is_on_reader() => self.tie_beside(),
            tie => tie,
        }
    }

    fn tie_beside(&self) -> Option<Tie> {
        let more = [
            (self.state.in_transaction(), Tie::Transaction),
            (self.state.next_transaction_set, Tie::NextTransaction),
            (self.is_unlogged, Tie::Unlogged),
            (self.long_data > 0, Tie::LongData),
            (self.observer.is_being_killed(), Tie::Kill),
        ];
        more.into_iter().find(|(met, _)| *met).map(|(_, tie)| tie)
    }

    /// Leaves the connection for one that leads to where the next statement must run. False: it is tied, and stays.
    ///
    /// # Errors
    /// The connection broke; a session that made state on a reader which cannot be carried.
    pub(super) async fn leave_for_goal(&mut self) -> Result<bool, SessionError> {
        for _ in 0..KILL_WAITS_MAX {
            if !self.observer.is_being_killed() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let is_on_reader = self.is_on_reader();
        if self.ties.has_diagnostics() && !is_on_reader {
            // What a failed statement did is told with the next OK, and not before.
            self.ask_reports().await?;
            self.backend.known = None;
        }
        let node = self.backend.node;
        let left = self.leave_unless(Self::moving_tie).await;
        let wants = self.spread.as_ref().map(|spread| spread.wants);
        match left {
            Ok(false) if is_on_reader && wants == Some(Wants::Writer) => {
                let tie = self.moving_tie().map_or("unknown", Tie::label);
                let text = format!(
                    "Tidegate: a statement that a reader answered left state there that cannot be carried ({tie}); reset the connection, and mark it /* tidegate:writer */"
                );
                Err(SessionError::Unattached {
                    code: 1105,
                    sqlstate: *b"HY000",
                    text,
                })
            }
            Err(error @ SessionError::BackendIo(_)) => {
                let nodes = &self.worker.rooms.nodes;
                nodes.report_failure(node, "a connection broke");
                match self.survives_loss() {
                    true => Ok(true),
                    false => Err(error),
                }
            }
            left => left,
        }
    }

    /// A server wants the password itself, which is not kept: it has not seen it since it started. The next login will be asked for
    /// it. Without a writer the session cannot go on.
    pub(super) fn lacks_password(&self, goal: &Goal) -> SessionError {
        self.worker.rooms.verifiers.forget(&self.person.user);
        let error = ConnectError::NeedPassword;
        match self.spread.is_some() && !goal.is_reader() {
            true => SessionError::BackendIo(std::io::Error::other(error)),
            false => SessionError::unattached(SessionError::Connect(error)),
        }
    }

    /// Whether a connection that broke is no loss to the session, as far as ties go.
    pub(super) fn may_lose_connection(&mut self) -> bool {
        self.spread.is_some()
            && !self.observer.is_killed()
            && self.moving_tie().is_none()
            && (self.is_on_reader() || !self.ties.has_diagnostics())
    }

    /// The connection broke while the session was idle: whether it goes on without.
    pub(super) fn loses_nothing(&mut self) -> bool {
        let node = self.backend.node;
        let survives = self.spread.is_some() && self.survives_loss();
        if survives {
            let nodes = &self.worker.rooms.nodes;
            nodes.report_failure(node, "an idle connection broke");
        }
        survives
    }

    /// The server has answered: the session remembers what it committed.
    pub(super) fn note_commits(&mut self, summary: &Summary) {
        let Some(spread) = &mut self.spread else {
            return;
        };
        spread.rows = summary.rows;
        if summary.session_state_lost {
            spread.own = Own::Unknown;
        }
        let Some(state) = &summary.session_state else {
            return;
        };
        for change in SessionStateReader::new(state) {
            match change {
                Ok(StateChange::Gtids(gtids)) => spread.committed(gtids),
                Ok(_) => {}
                Err(_) => spread.own = Own::Unknown,
            }
        }
    }

    /// The same where no server tells GTIDs: whatever may have been written is not known by any number.
    pub(super) fn note_unnumbered(&mut self, statement: Option<&Statement>) {
        let tells = self.backend.reports_gtids;
        if let Some(spread) = &mut self.spread
            && !tells
            && statement.is_none_or(may_write)
        {
            spread.own = Own::Unknown;
        }
    }

    /// The session goes on as another one, or anew, on this connection.
    pub(super) fn settles(&mut self) {
        let (rooms, node) = (&self.worker.rooms, self.backend.node);
        if let Some(spread) = &mut self.spread {
            (spread.on_reader, spread.home) = (!rooms.nodes.takes_writes(node), None);
        }
    }

    /// The request at the front of the client's buffer is on its way. It stays there while it may have to be sent again.
    pub(super) fn request_sent(&mut self, bytes: usize) {
        if !self
            .spread
            .as_ref()
            .is_some_and(|spread| spread.holds_request)
        {
            self.client.input.consume(bytes);
        }
    }

    /// Which errors of the next answer are turned back.
    pub(super) fn turns(&self) -> Turns {
        self.spread
            .as_ref()
            .map_or(Turns::Never, |spread| spread.turns)
    }
}

/// Somebody waits for a writer.
struct Held(Arc<Rooms>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}

/// A wait for a server: for one that takes writes, at most `cluster.failover_hold_ms_max` in all.
pub(super) struct Hold {
    rooms: Arc<Rooms>,
    deadline: Option<Instant>,
    held: Option<Held>,
}

impl Hold {
    /// One that has not begun.
    pub fn new(rooms: &Arc<Rooms>) -> Self {
        Self {
            rooms: rooms.clone(),
            deadline: None,
            held: None,
        }
    }

    /// The server to go to.
    ///
    /// # Errors
    /// `Unattached`: no writer in time, more than one, or too many wait already. `ClientIo`: the client has left.
    pub async fn node(&mut self, client: &Client, goal: &Goal) -> Result<Arc<Node>, SessionError> {
        if let Goal::Reader(node) = goal {
            return Ok(node.clone());
        }
        if let Writer::One(node) = self.rooms.nodes.writer() {
            return Ok(node);
        }
        let mut changes = self.rooms.nodes.changes();
        loop {
            let why = match self.rooms.nodes.writer() {
                Writer::One(node) => return Ok(node),
                Writer::Several(names) => return Err(several_writers(&names)),
                Writer::None(why) => why.label(),
            };
            if !self.wait(client, &mut changes, Duration::MAX).await? {
                let ms = self.rooms.config.cluster.failover_hold_ms_max;
                return Err(read_only(&format!(
                    "no server takes writes: {why}, waited {ms} ms"
                )));
            }
        }
    }

    /// A login for clients at the first server that can tell who they are: the writer, or a reader while there is none.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub async fn node_for_login(&mut self, client: &Client) -> Result<Arc<Node>, SessionError> {
        let nodes = &self.rooms.nodes;
        if let Writer::One(node) = nodes.writer() {
            return Ok(node);
        }
        let config = &self.rooms.config;
        let reads = config.cluster.reads == Reads::Readers
            && config.cluster.consistency != Consistency::Strict
            && config.pool.mode == PoolMode::Transaction;
        match nodes.reader(rand::random()).filter(|_| reads) {
            Some(node) => Ok(node),
            None => self.node(client, &Goal::Writer).await,
        }
    }

    /// Whether a server that could not be reached is waited for.
    pub fn may_wait(&self, goal: &Goal, error: &ConnectError) -> bool {
        self.rooms.nodes.is_cluster()
            && !goal.is_reader()
            && matches!(
                error,
                ConnectError::Unreachable(_) | ConnectError::Timeout(_)
            )
    }

    /// A server could not be reached: waits a little, for it or for another one to take its place.
    ///
    /// # Errors
    /// The wait is over; then it is the error.
    pub async fn failed(
        &mut self,
        client: &Client,
        node: &Node,
        error: ConnectError,
    ) -> Result<(), SessionError> {
        let mut changes = self.rooms.nodes.changes();
        let nodes = &self.rooms.nodes;
        nodes.report_failure(node.id, &error.to_string());
        match self.wait(client, &mut changes, RETRY).await? {
            true => Ok(()),
            false => Err(SessionError::Connect(error)),
        }
    }

    /// Waits until something of the cluster changes, or for `most`. False: nobody waits any longer.
    pub async fn wait(
        &mut self,
        client: &Client,
        changes: &mut Receiver<u64>,
        most: Duration,
    ) -> Result<bool, SessionError> {
        let now = Instant::now();
        let ms = self.rooms.config.cluster.failover_hold_ms_max;
        let deadline = *self.deadline.get_or_insert(now + Duration::from_millis(ms));
        if self.held.is_none() {
            let held = self.rooms.held.fetch_add(1, Relaxed);
            self.held = Some(Held(self.rooms.clone()));
            if held >= self.rooms.config.pool.waiters_max {
                return Ok(false);
            }
        }
        if now >= deadline {
            return Ok(false);
        }
        let until = now
            .checked_add(most)
            .map_or(deadline, |at| at.min(deadline));
        let changed = tokio::time::timeout_at(until, changes.changed());
        client.wait_for_pool(changed).await?.ok();
        Ok(true)
    }
}

/// Nothing that writes is sent anywhere while two servers take writes.
fn several_writers(names: &[Arc<str>]) -> SessionError {
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let names = names.join(", ");
    read_only(&format!("more than one server takes writes: {names}"))
}

/// The server's own error for a write that it does not take. Clients that know failover try again after it: the Go driver
/// (`rejectReadOnly`), Laravel, Vitess; and it is true that nothing was done.
fn read_only(why: &str) -> SessionError {
    let text = format!(
        "The MySQL server is running with the --read-only option so it cannot execute this statement (Tidegate: {why})"
    );
    SessionError::Unattached {
        code: 1290,
        sqlstate: *b"HY000",
        text,
    }
}
