//! What a session tells analytics: its own entry in the list of sessions, each execution, its transactions, its end.
//! Never influences what the session does, but for the kill that others may ask for.

use super::client::Client;
use super::error::SessionError;
use super::listener::Entrance;
use super::login::Account;
use super::relay::Timing;
use super::worker::Worker;
use crate::analytics::isolation::Isolation;
use crate::analytics::peer::Peer;
use crate::analytics::{
    Boundary, Digest, Identity, Kill, QueryEvent, ServedBy, SessionGuard, SessionInfo,
    SessionState, StatementEnd, TransactionTracker, app_name,
};
use crate::backend::connection::ServerConnection;
use crate::backend::defaults::Globals;
use crate::protocol::relay::Summary;
use crate::router::reason::Reason;
use crate::router::ties::Tie;
use crate::sql::session_statement::Assignment;
use crate::sql::{Kind, Statement};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session's line to analytics.
pub struct Observer {
    guard: SessionGuard,
    identity: Arc<Identity>,
    transaction: TransactionTracker,
    program: Option<Vec<u8>>,
    app: String,
    killed: bool,
}

/// One execution, as the session saw it.
pub struct Execution<'a> {
    /// What ran; `None` for a text that was too long to be read.
    pub statement: Option<&'a Statement>,
    /// Who answered.
    pub served_by: ServedBy,
    /// Why.
    pub reason: Reason,
    /// Where the time went.
    pub timing: &'a Timing,
    /// How it ended.
    pub summary: &'a Summary,
    /// Bytes of the request.
    pub bytes_in: u64,
    /// The text, for samples.
    pub text: Option<&'a [u8]>,
}

impl Observer {
    /// Enters a session into the list.
    pub fn new(
        worker: &Worker,
        client: &Client,
        backend: &ServerConnection,
        account: &Account,
        id: u32,
        _: Entrance,
    ) -> Self {
        let analytics = &worker.rooms.analytics;
        let mut app = String::new();
        app_name(account.program.as_deref(), None, None, &mut app);
        let identity = Arc::new(analytics.identity(&account.user, &app, &account.schema));
        let now_ms = analytics.now_ms();
        let guard = analytics.sessions().register(
            u64::from(id),
            client.peer,
            worker.id,
            identity.clone(),
            now_ms,
        );
        let info = guard.info();
        info.node.set(u64::from(backend.node.0));
        info.backend_id.set(u64::from(backend.thread_id));
        info.tls.set(u64::from(client.stream.is_tls()));
        info.enter(SessionState::Idle, now_ms);
        let transaction = TransactionTracker::new(u64::from(id), analytics.clock());
        Self {
            guard,
            identity,
            transaction,
            program: account.program.clone(),
            app,
            killed: false,
        }
    }

    /// The connection id that the client was told.
    pub fn session_id(&self) -> u64 {
        self.guard.info().id
    }

    /// The app that its statements count for.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The connection did not say which app it is, so its statements may.
    pub fn wants_app(&self) -> bool {
        self.program.is_none()
    }

    /// Somebody asked for the end of this session.
    pub fn is_killed(&mut self) -> bool {
        self.killed |= self.guard.info().take_kill() == Some(Kill::Connection);
        self.killed
    }

    /// What the session does changes.
    pub fn enters(&self, worker: &Worker, doing: SessionState) {
        let now = worker.recorder.clock().unix_ms(Instant::now());
        self.guard.info().enter(doing, now);
    }

    /// The entry in the list of sessions.
    pub fn info(&self) -> &Arc<SessionInfo> {
        self.guard.info()
    }

    /// The session is on this backend connection now.
    pub fn set_backend(&self, backend: &ServerConnection) {
        self.guard.info().node.set(u64::from(backend.node.0));
        self.set_backend_id(backend.thread_id);
    }

    /// The session is on the backend connection of this id, or on none.
    pub fn set_backend_id(&self, id: u32) {
        self.guard.info().backend_id.set(u64::from(id));
        // Whoever kills looks here after he has said so; whoever leaves looks for him after this.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Somebody is about to kill what runs on the backend connection.
    pub fn is_being_killed(&self) -> bool {
        self.guard.info().is_being_killed()
    }

    /// What ties the session to its connection now.
    pub fn set_tie(&self, tie: Option<Tie>) {
        let number = tie.map_or(0, |tie| tie as u64 + 1);
        self.guard.info().tie.set(number);
    }

    /// Waits until somebody wants something of this session.
    pub async fn woken(&self) {
        self.guard.info().kill_requested().await;
    }

    /// The session begins, or begins anew, with the server's default isolation level.
    pub fn begins_with(&mut self, globals: Option<&Globals>) {
        let global = globals
            .filter(|globals| globals.init_connect.is_empty())
            .map(|globals| globals.isolation.as_str());
        *self.transaction.isolation() = Isolation::new(global);
    }

    /// The server has done a SET.
    pub fn assigned(&mut self, assignments: &[Assignment]) {
        self.transaction.isolation().assigned(assignments);
    }

    /// The server has done a SET that was not read.
    pub fn assigned_unread(&mut self) {
        self.transaction.isolation().forget();
    }

    /// The default schema changed.
    pub fn set_schema(&mut self, worker: &Worker, schema: &str) {
        let changed = Identity {
            schema: worker.rooms.analytics.schema(schema),
            ..(*self.identity).clone()
        };
        self.set_identity(changed);
    }

    /// Another user took the connection over.
    pub fn set_account(&mut self, worker: &Worker, account: &Account, backend: &ServerConnection) {
        self.program.clone_from(&account.program);
        app_name(self.program.as_deref(), None, None, &mut self.app);
        let identity = worker
            .rooms
            .analytics
            .identity(&account.user, &self.app, &account.schema);
        self.guard
            .info()
            .backend_id
            .set(u64::from(backend.thread_id));
        self.set_identity(identity);
    }

    fn set_identity(&mut self, identity: Identity) {
        self.identity = Arc::new(identity);
        self.guard.info().set_identity(self.identity.clone());
    }

    /// The app of a statement: what it says of itself counts only where the connection said nothing.
    pub fn note_app(&mut self, worker: &Worker, attribute: Option<&[u8]>, comment: Option<&[u8]>) {
        if self.program.is_some() || (attribute.is_none() && comment.is_none()) {
            return;
        }
        app_name(None, attribute, comment, &mut self.app);
        if *self.app != **self.identity.app.text() {
            let app = worker.recorder.app(&self.app);
            self.set_identity(Identity {
                app,
                ..(*self.identity).clone()
            });
        }
    }

    /// A statement starts.
    pub fn starts(&self, worker: &Worker, statement: Option<&Statement>, at: Instant) {
        let info = self.guard.info();
        info.set_digest(statement.map_or(0, |s| s.id.0));
        info.enter(SessionState::Running, worker.recorder.clock().unix_ms(at));
        if statement.is_some_and(Statement::changes_accounts) {
            worker.rooms.sees_accounts_change();
        }
    }

    /// A statement has ended.
    pub fn ends(&mut self, worker: &Worker, execution: &Execution<'_>) {
        let Execution {
            statement,
            timing,
            summary,
            ..
        } = execution;
        let info = self.guard.info();
        info.enter(
            SessionState::Idle,
            worker.recorder.clock().unix_ms(timing.ended),
        );
        if statement.is_some_and(|statement| statement.changes_accounts()) {
            worker.rooms.sees_accounts_change();
        }
        info.queries.add(1);
        info.bytes_in.add(execution.bytes_in);
        info.bytes_out.add(summary.bytes);
        let digest = match statement {
            Some(s) => digest_of(s),
            None => Digest {
                id: 0,
                text: &worker.oversize_text,
                kind: "oversize",
            },
        };
        let error = summary.error.as_ref();
        let message = error.map(|e| String::from_utf8_lossy(&e.message));
        let event = QueryEvent {
            served_by: execution.served_by,
            reason: execution.reason.label(),
            total_us: us(timing.ended - timing.started),
            queue_us: us(timing.sent - timing.started),
            backend_us: us((timing.last_byte - timing.sent).saturating_sub(timing.drain)),
            first_byte_us: timing.first_byte.map_or(0, |at| us(at - timing.sent)),
            drain_us: us(timing.drain + (timing.ended - timing.last_byte)),
            rows: summary.rows,
            bytes_in: execution.bytes_in,
            bytes_out: summary.bytes,
            affected_rows: summary.affected_rows,
            status: summary.status,
            warnings: summary.warnings,
            error: error
                .zip(message.as_deref())
                .map(|(e, text)| (e.code, text)),
            text: execution.text,
            ..QueryEvent::new(digest, &self.identity, timing.ended)
        };
        worker.recorder.record(&event);
        let end = StatementEnd {
            boundary: boundary(*statement),
            started: timing.started,
            ended: timing.ended,
            status: summary.status,
            error: error.map(|e| e.code),
            affected_rows: summary.affected_rows,
            digest: digest.id,
            identity: &self.identity,
            forgets_isolation: statement.is_none_or(may_set_anything),
            touches_tables: statement.is_some_and(|s| !s.reads.is_empty() || !s.writes.is_empty()),
        };
        self.transaction
            .observe(&end, &info.transaction, &worker.recorder);
    }

    /// The session has ended.
    pub fn closed(&mut self, worker: &Worker) {
        let info = self.guard.info();
        self.transaction
            .disconnected(&self.identity, &info.transaction, &worker.recorder);
    }
}

/// A statement as analytics knows it.
pub fn digest_of(statement: &Statement) -> Digest<'_> {
    Digest {
        id: statement.id.0,
        text: &statement.digest_text,
        kind: statement.kind.label(),
    }
}

/// Whole microseconds.
pub fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whether a statement may set variables in a way that its text does not show.
fn may_set_anything(statement: &Statement) -> bool {
    let runs_others = matches!(statement.kind, Kind::Call | Kind::Execute);
    // A function that we do not know may be one that was written for it.
    let function = statement.effects.env && !matches!(statement.kind, Kind::Set | Kind::Use);
    statement.may_do_more() || runs_others || function
}

/// What a statement means to a transaction that is open.
fn boundary(statement: Option<&Statement>) -> Boundary {
    statement.map_or(Boundary::None, Boundary::of)
}

/// Counts the end of a session, or of a login that did not become one.
pub fn session_ended(worker: &Worker, error: &SessionError, peer: Peer) {
    tracing::debug!(%peer, source = error.source().label(), kind = error.label(), %error, "session ended");
    let (code, text) = error.counted();
    let identity = worker.rooms.analytics.identity("", "", "");
    worker
        .recorder
        .error(code, &text, &identity, Instant::now());
}
