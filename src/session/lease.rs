//! A session and its backend connection: getting one, bringing it to the session's state, leaving it to others. The session is
//! told apart from its connection nowhere else. Never decides what state can be carried (`router::ties`, `backend::variables`).
//!
//! ```text
//!  attached --nothing ties it, and somebody waits or it was idle for long: look, leave--> away
//!  away --a command needs the backend: a connection, brought to the same state--> attached
//! ```

use super::Session;
use super::client::Client;
use super::diagnostics::FOUND_ROWS_MAX;
use super::error::SessionError;
use super::exchange::all_rows;
use super::login::attributes::with_client;
use super::prepared::Prepared;
use super::rooms::Rooms;
use super::spread::{Goal, Hold};
use super::worker::Worker;
use crate::analytics::SessionState as Doing;
use crate::backend::connection::{ConnectionKey, ExchangeError, Known, ServerConnection};
use crate::backend::login::{self as backend_login, ConnectError, Login};
use crate::backend::nodes::{Node, NodeId};
use crate::backend::pool::Grant;
use crate::backend::variables::{Snapshot, Variables};
use crate::config::PoolMode;
use crate::protocol::auth::Secret;
use crate::protocol::column::{BufferedResult, ColumnDefinition};
use crate::protocol::command::Command;
use crate::protocol::handshake::Attributes;
use crate::protocol::relay::{Expect, Summary};
use crate::protocol::response::OkPacket;
use crate::protocol::{ProtocolError, capability};
use crate::router::ties::{Reported, Tie};
use mysql_common::collations::{Collation, CollationId};
use std::sync::Arc;

/// Where the query that looks at a connection has its default schema.
const SCHEMA_COLUMN: usize = 3;

/// The server's error for a schema that is not there.
const UNKNOWN_SCHEMA: u16 = 1049;

/// Versions of servers whose variables are remembered.
const VERSIONS_MAX: usize = 16;

/// Names and values of all variables of a server.
const VARIABLES_BYTES_MAX: usize = 1 << 20;

/// Who a session is to the backend: what another login of it takes.
pub(super) struct Person {
    /// User name as the client wrote it.
    pub user: Vec<u8>,
    /// Connection attributes.
    pub attributes: Attributes,
    /// Proof of the password; `None` when we were shown none that can be repeated.
    pub secret: Option<Secret>,
    /// Connections of this login may be shared at all.
    pub tie: Option<Tie>,
    /// The server has ended the connection right after the login, and would tell the client at its first command.
    pub aborted: Option<Box<SessionError>>,
}

/// What a session was when it left its connection.
#[derive(Clone)]
pub(super) struct Away {
    pub known: Known,
    serial: u64,
    last_insert_id: u64,
    grants: Option<u64>,
    /// Where that led to.
    node: NodeId,
}

impl Session {
    /// Makes sure that the session has a backend connection in its own state.
    ///
    /// # Errors
    /// `Unattached` when there is none to be had now: the command fails, the session lives. Others end it.
    pub(super) async fn attach(&mut self) -> Result<(), SessionError> {
        if !self.backend.is_gone() && self.is_in_place() {
            return Ok(());
        }
        // Apart: a session that has its connection, or is idle, must not have room for this.
        Box::pin(self.attach_anew()).await
    }

    async fn attach_anew(&mut self) -> Result<(), SessionError> {
        if !self.backend.is_gone() && !self.leave_for_goal().await? {
            return Ok(());
        }
        let Some(away) = self.away.clone() else {
            let why = SessionError::Internal("a session without a connection");
            return Err(self.person.aborted.take().map_or(why, |aborted| *aborted));
        };
        let goal = self.goal();
        let was = self.observer.info().state();
        self.observer.enters(&self.worker, Doing::Queued);
        let found = self.find_connection(&away, &goal).await;
        self.observer.enters(&self.worker, was);
        let (connection, is_other_server) = found?;
        self.arrived_by(&goal, &away, is_other_server);
        self.hold(connection);
        self.away = None;
        Ok(())
    }

    /// The session has this connection from now on.
    pub(super) fn hold(&mut self, connection: ServerConnection) {
        self.backend = connection;
        self.observer.set_backend(&self.backend);
        self.worker.lot.enter(&self.seat, self.backend.node);
    }

    /// What a connection must be for this session.
    fn key(&self, away: &Away) -> ConnectionKey {
        let first = self.worker.rooms.nodes.node(NodeId::FIRST);
        // The same for all nodes.
        let like = first.and_then(|node| node.target.wanted(self.client.like));
        let mut key = ConnectionKey::new(
            self.backend.user_arc(),
            self.backend.capabilities,
            away.known.schema.is_none(),
        );
        key.like = like;
        key.grants_min = away.grants;
        key.last = away.serial;
        key
    }

    /// The session ends without a connection.
    pub(super) fn give_up_place(&self) {
        if let Some(away) = &self.away
            && let Some(node) = self.worker.rooms.nodes.node(away.node)
        {
            node.pool.gone(&self.key(away));
        }
    }

    async fn find_connection(
        &mut self,
        away: &Away,
        goal: &Goal,
    ) -> Result<(ServerConnection, bool), SessionError> {
        let worker = self.worker.clone();
        let mut away = away.clone();
        let mut key = self.key(&away);
        let mut hold = Hold::new(&worker.rooms);
        // A reader may only not have it yet.
        let is_gone = |away: &Away| away.known.schema.is_some() && !goal.is_reader();
        loop {
            let node = hold.node(&self.client, goal).await?;
            let acquired = node.pool.acquire(&key.user, Some(&key), worker.id);
            let grant = self.client.wait_for_pool(acquired).await?;
            let is_new = matches!(grant, Ok(Grant::Slot(_)));
            let mut connection = match grant.map_err(SessionError::unattached)? {
                Grant::Connection(connection) if connection.is_quiet() => *connection,
                Grant::Connection(_) => continue,
                Grant::Slot(slot) => {
                    let opened = self.open_another(&worker.rooms, &node, &away);
                    let mut opened = match opened.await {
                        Err(SessionError::Connect(ConnectError::NeedPassword)) => {
                            return Err(self.lacks_password(goal));
                        }
                        Err(SessionError::Connect(error)) if hold.may_wait(goal, &error) => {
                            drop(slot);
                            hold.failed(&self.client, &node, error).await?;
                            continue;
                        }
                        Err(error) if is_unknown_schema(&error) && is_gone(&away) => {
                            away.known.schema = None;
                            key = self.key(&away);
                            continue;
                        }
                        opened => opened.map_err(SessionError::unattached)?,
                    };
                    opened.hold(slot);
                    opened
                }
            };
            let brought = bring(&mut connection, &away, &worker.rooms, goal.is_reader());
            match self.client.wait_for_backend(brought).await? {
                Ok(is_other_server) => return Ok((connection, is_other_server)),
                // Somebody has dropped the schema meanwhile: the session goes on without one, on a connection that has none.
                Err(ExchangeError::Refused {
                    code: UNKNOWN_SCHEMA,
                    ..
                }) if is_gone(&away) => {
                    away.known.schema = None;
                    key = self.key(&away);
                }
                // It was idle for long and has been closed, perhaps: the next one.
                Err(ExchangeError::Io(error)) if !is_new => {
                    tracing::debug!(%error, "a connection from the pool was broken");
                }
                Err(ExchangeError::Io(error)) if hold.may_wait(goal, &lost()) => {
                    let error = ConnectError::Unreachable(error);
                    hold.failed(&self.client, &node, error).await?;
                }
                Err(error) => return Err(not_carried(error)),
            }
        }
    }

    /// One more login of this session's client.
    async fn open_another(
        &self,
        rooms: &Rooms,
        node: &Node,
        away: &Away,
    ) -> Result<ServerConnection, SessionError> {
        let Some(secret) = self.person.secret.clone() else {
            return Err(SessionError::Internal("a login that cannot be repeated"));
        };
        let users = rooms.users.load();
        let listed = users
            .iter()
            .find(|user| user.name.as_bytes() == self.person.user);
        let secret = listed.map_or(secret, |user| {
            Secret::of_password(user.password.reveal().as_bytes())
        });
        let grants = rooms.grant_epoch();
        let login = Login {
            user: &self.person.user,
            secret,
            schema: away.known.schema.as_deref().unwrap_or_default().as_bytes(),
            capabilities: self.backend.capabilities,
            collation: self.client.collation,
            attributes: with_client(&self.person.attributes, self.client.peer),
        };
        let buffer_bytes = rooms.config.client.buffer_bytes;
        let target = node.target.for_client(self.client.like);
        let opened = backend_login::open(&target, &login, buffer_bytes);
        let mut connection = self.client.wait_for_backend(opened).await??;
        connection.grants = grants;
        connection.node = node.id;
        Ok(connection)
    }

    /// Why the session cannot leave its connection now; `None`: nothing ties it there.
    pub(super) fn tie(&self) -> Option<Tie> {
        let asks_count = || self.prepared.values().any(Prepared::asks_row_count);
        let written = self.traces.row_count.is_some_and(|rows| rows > 0);
        let found = self.traces.found_rows.unwrap_or_default();
        let tracks = self.client.capabilities & capability::SESSION_TRACK != 0;
        let more = [
            (!self.backend.reports, Tie::SessionMode),
            (self.state.in_transaction(), Tie::Transaction),
            (self.state.next_transaction_set, Tie::NextTransaction),
            (self.is_unlogged, Tie::Unlogged),
            (self.long_data > 0, Tie::LongData),
            (written && asks_count(), Tie::RowCount),
            (found > FOUND_ROWS_MAX, Tie::RowCount),
            (
                self.unplaceable == Some((self.changes, self.prepared.len())),
                Tie::PreparedBefore,
            ),
            (
                // They are for the client, with its own next OK.
                tracks && self.reports_are_late(),
                Tie::LateReports,
            ),
            (self.observer.is_being_killed(), Tie::Kill),
        ];
        let found = more.into_iter().find(|(met, _)| *met).map(|(_, tie)| tie);
        self.person.tie.or_else(|| self.ties.first()).or(found)
    }

    /// Gives the connection to others if nothing ties the session to it. Answers whether it did.
    ///
    /// # Errors
    /// The connection broke while it was asked for its state: the session cannot go on.
    pub(super) async fn leave(&mut self) -> Result<bool, SessionError> {
        self.leave_unless(Self::tie).await
    }

    /// The same, with another idea of what ties it.
    pub(super) async fn leave_unless(
        &mut self,
        tie: fn(&Self) -> Option<Tie>,
    ) -> Result<bool, SessionError> {
        if self.backend.is_gone() || tie(self).is_some() {
            return Ok(false);
        }
        if self.reports_are_late() {
            Box::pin(self.ask_reports()).await?;
        }
        let is_known = self.backend.known.is_some() && self.backend.last_insert_id.is_some();
        if !is_known || !self.traces.are_known() {
            Box::pin(self.look()).await?;
        }
        let (Some(known), Some(last_insert_id)) =
            (self.backend.known.clone(), self.backend.last_insert_id)
        else {
            return Ok(false);
        };
        if !self.place_prepared(&known) {
            self.unplaceable = Some((self.changes, self.prepared.len()));
            return Ok(false);
        }
        // Reports and looks may have shown a tie.
        self.observer.set_backend_id(0);
        if tie(self).is_some() {
            self.observer.set_backend(&self.backend);
            return Ok(false);
        }
        let mut left = self.go_away(known, last_insert_id);
        left.is_used = true;
        left.login_ok.clear();
        if let Some(pool) = left.pool().cloned() {
            pool.give_back(left, self.worker.id, false);
        }
        Ok(true)
    }

    /// The session is without a connection from now on; answers with the one that it had.
    fn go_away(&mut self, mut known: Known, last_insert_id: u64) -> ServerConnection {
        self.comes_home(&mut known);
        self.away = Some(Away {
            known,
            serial: self.backend.serial,
            last_insert_id,
            grants: self.backend.grants,
            node: self.backend.node,
        });
        self.traces.moved();
        self.client.input.rest();
        self.worker.lot.leave(&self.seat);
        let gone = self.backend.gone();
        std::mem::replace(&mut self.backend, gone)
    }

    /// The session's connection has broken while nothing of its client was under way there that could have been done. Answers whether the
    /// session can go on without: nothing tied it there, and all that is to be carried is known. Only in a cluster.
    pub(super) fn survives_loss(&mut self) -> bool {
        if self.backend.is_gone() || !self.may_lose_connection() || !self.traces.are_known() {
            return false;
        }
        let known = self.backend.known.clone().zip(self.backend.last_insert_id);
        let Some((known, last_insert_id)) = known else {
            return false;
        };
        if !self.place_prepared(&known) {
            return false;
        }
        self.observer.set_backend_id(0);
        drop(self.go_away(known, last_insert_id));
        true
    }

    /// What changed is told with the next OK.
    fn reports_are_late(&self) -> bool {
        self.is_unreported
    }

    pub(super) async fn ask_reports(&mut self) -> Result<(), SessionError> {
        // A ping counts no rows.
        self.look_back().await?;
        let asked = self.backend.run(Command::Ping, &[], Expect::Simple);
        match self.client.wait_for_backend(asked).await? {
            Ok(summary) => {
                self.observe_own(&summary);
                self.is_unreported = false;
                self.state.status = summary.status;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Asks the connection for everything that is to be carried.
    pub(super) async fn look(&mut self) -> Result<(), SessionError> {
        let with_rows = !self.traces.are_known();
        let seen = look(&mut self.backend, with_rows);
        match self.client.wait_for_backend(seen).await? {
            Ok(Some(_)) if !with_rows => self.traces.moved(),
            Ok(Some(snapshot)) => {
                self.traces.found(snapshot.row_count, snapshot.found_rows);
            }
            Ok(None) | Err(ExchangeError::Refused { .. }) => {
                self.traces.moved();
                self.ties.until_reset(Tie::Variables);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// A query of ours has been answered on the session's connection. It changes nothing, so what is reported was done before.
    pub(super) fn observe_own(&mut self, summary: &Summary) {
        let reported = Reported::of(summary, crate::backend::variables::is_holding);
        self.note_reported(reported);
        let tracks = self.client.capabilities & capability::SESSION_TRACK != 0;
        if let Some(state) = summary.session_state.as_ref().filter(|_| tracks) {
            let hidden = super::relay::hidden(&self.backend, false);
            crate::protocol::tracking::owe(&mut self.client.owed, state, &hidden);
        }
        self.note_commits(summary);
        if reported.state {
            self.ties.until_reset(Tie::UnseenState);
        }
    }

    /// The server has reported a change: what was known of the connection is not known any more.
    pub(super) fn note_reported(&mut self, reported: Reported) {
        if reported.any() {
            self.backend.known = None;
            self.changes += 1;
        }
    }
}

/// A connection that broke, as a server that cannot be reached.
fn lost() -> ConnectError {
    ConnectError::Unreachable(std::io::ErrorKind::UnexpectedEof.into())
}

fn is_unknown_schema(error: &SessionError) -> bool {
    use ConnectError::Refused;
    matches!(error, SessionError::Connect(Refused { code, .. }) if *code == UNKNOWN_SCHEMA)
}

/// Why a connection could not be brought to a session's state.
fn not_carried(error: ExchangeError) -> SessionError {
    match error {
        ExchangeError::Refused {
            code,
            sqlstate,
            message,
        } => SessionError::Unattached {
            code,
            sqlstate,
            text: format!("{message} (Tidegate: the session could not be carried on)"),
        },
        error => error.into(),
    }
}

/// Reads the state of a connection and remembers it there. `None`: it cannot be carried.
async fn look(
    connection: &mut ServerConnection,
    with_rows: bool,
) -> Result<Option<Snapshot>, ExchangeError> {
    let Some(variables) = connection.variables.clone() else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let sql = variables.read_sql(with_rows).as_bytes();
    let keeps = |more: &[u8]| super::exchange::keep(&mut bytes, more, VARIABLES_BYTES_MAX);
    connection.query(sql, keeps).await?;
    let rows = all_rows(&bytes, connection.capabilities);
    let snapshot = rows
        .and_then(|mut rows| rows.pop())
        .and_then(|row| variables.snapshot(&row));
    if let Some(snapshot) = &snapshot {
        connection.known = Some(Known {
            values: snapshot.values.clone(),
            variables: variables.clone(),
            schema: snapshot.schema.clone(),
            server: snapshot.server.clone(),
            results_collation: results_collation(&bytes, connection.capabilities),
        });
        connection.last_insert_id = Some(snapshot.last_insert_id);
    }
    Ok(snapshot)
}

/// The collation in which a column that is a text came.
fn results_collation(answer: &[u8], capabilities: u32) -> u16 {
    let column = || {
        let parts = BufferedResult::parse(answer, capabilities).ok()?;
        let payload = parts.columns.get(SCHEMA_COLUMN)?.clone();
        ColumnDefinition::parse(answer.get(payload)?).ok()
    };
    column().map_or(0, |column| column.collation)
}

/// The assignment that gives texts in answers their collation; what else it sets must be set behind it. Empty: it is right already.
fn names_sql(from: &Known, to: &Known) -> String {
    let collation = Collation::resolve(CollationId::from(to.results_collation));
    match from.results_collation == to.results_collation || to.results_collation == 0 {
        true => String::new(),
        false => format!(
            "NAMES '{}' COLLATE '{}'",
            collation.charset(),
            collation.collation()
        ),
    }
}

/// Gives a connection the state of a session. Answers whether it is on another server than before.
async fn bring(
    connection: &mut ServerConnection,
    away: &Away,
    rooms: &Rooms,
    is_reader: bool,
) -> Result<bool, ExchangeError> {
    arm(connection, rooms).await?;
    if connection.known.is_none() || connection.last_insert_id.is_none() {
        look(connection, false).await?;
    }
    let (Some(known), Some(variables)) = (connection.known.take(), connection.variables.clone())
    else {
        return Err(ProtocolError::Unsupported("session state").into());
    };
    let values = match variables == away.known.variables {
        true => away.known.values.clone(),
        // On its way back the session would have lost what this server does not have.
        false if is_reader => {
            return Err(ProtocolError::Unsupported("a reader of another version").into());
        }
        false => {
            let (there, carried) = (&away.known.variables, &away.known.values);
            Arc::new(variables.translate(&known.values, there, carried))
        }
    };
    let mut sql = names_sql(&known, &away.known);
    let differ = variables.difference(&known.values, &values, !sql.is_empty());
    let comma = if sql.is_empty() || differ.is_empty() {
        ""
    } else {
        ","
    };
    sql = format!("{sql}{comma}{differ}");
    if connection.last_insert_id != Some(away.last_insert_id) {
        let comma = if sql.is_empty() { "" } else { "," };
        sql = format!("{sql}{comma}last_insert_id={}", away.last_insert_id);
    }
    if !sql.is_empty() {
        let sql = format!("SET {sql}");
        connection.query(sql.as_bytes(), |_| Ok(())).await?;
    }
    if let Some(schema) = &away.known.schema
        && known.schema != away.known.schema
    {
        connection.use_schema(schema.as_bytes()).await?;
    }
    let is_other_server = known.server != away.known.server;
    connection.known = Some(Known {
        values,
        variables,
        schema: away.known.schema.clone(),
        server: known.server,
        results_collation: away.known.results_collation,
    });
    connection.last_insert_id = Some(away.last_insert_id);
    Ok(is_other_server)
}

/// Makes the server report changes of state on a connection that is new or was reset.
///
/// # Errors
/// The connection is of no more use.
pub(super) async fn arm(
    connection: &mut ServerConnection,
    rooms: &Rooms,
) -> Result<(), ExchangeError> {
    if connection.reports || rooms.config.pool.mode == PoolMode::Session {
        return Ok(());
    }
    if connection.capabilities & capability::SESSION_TRACK == 0 {
        return Ok(());
    }
    match variables_of(connection, rooms).await {
        Ok(variables) => {
            let with_gtids = super::spread::wants_gtids(rooms);
            connection.track(&variables, with_gtids).await
        }
        Err(error) if error.is_abort() => Err(error),
        // An account that may do nothing yet: its password has expired.
        Err(ExchangeError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the server of a new session report changes of state, unless the login left something that a query of ours would wipe out.
/// Answers why the server has ended the connection already, if it has.
pub(super) async fn begin(
    client: &Client,
    backend: &mut ServerConnection,
    rooms: &Rooms,
) -> Result<Option<Box<SessionError>>, SessionError> {
    if has_warned(backend) {
        return Ok(None);
    }
    let armed = arm(backend, rooms);
    match client.wait_for_backend(armed).await? {
        Ok(()) => Ok(None),
        Err(ExchangeError::Refused {
            code,
            sqlstate,
            message,
        }) => Ok(Some(Box::new(SessionError::Connect(
            ConnectError::Refused {
                code,
                sqlstate,
                message,
            },
        )))),
        Err(error) => Err(error.into()),
    }
}

/// Whether the login left warnings that the client may ask for: of options that are deprecated. Of some the server warns without
/// counting it in its OK.
pub(super) fn has_warned(connection: &ServerConnection) -> bool {
    if connection.capabilities & capability::NO_SCHEMA != 0 {
        return true;
    }
    let ok = OkPacket::parse(&connection.login_ok, connection.capabilities);
    ok.is_ok_and(|ok| ok.warnings > 0)
}

/// The variables of the connection's server that can be carried; asked once for each version.
async fn variables_of(
    connection: &mut ServerConnection,
    rooms: &Rooms,
) -> Result<Arc<Variables>, ExchangeError> {
    let version = &connection.facts.version;
    let known = rooms.variables.load_full();
    if let Some((_, variables)) = known.iter().find(|(of, _)| of == version) {
        return Ok(variables.clone());
    }
    let mut bytes = Vec::new();
    connection
        .query(b"SHOW SESSION VARIABLES", |more| {
            super::exchange::keep(&mut bytes, more, VARIABLES_BYTES_MAX)
        })
        .await?;
    let rows = all_rows(&bytes, connection.capabilities).unwrap_or_default();
    let names = rows.iter().filter_map(|row| row.first()?.as_deref());
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    let mut variables = Variables::of(names);
    let is = |name: &str, value: &str| {
        let find = |row: &&Vec<Option<Vec<u8>>>| matches!(row.as_slice(), [Some(of), Some(_)] if of.eq_ignore_ascii_case(name.as_bytes()));
        let row = rows.iter().find(find);
        row.is_some_and(|row| row.get(1) == Some(&Some(value.into())))
    };
    if is("gtid_mode", "ON") && is("log_bin", "ON") && is("session_track_gtids", "OFF") {
        variables = variables.with_gtids();
    }
    Ok(remember(
        rooms,
        &connection.facts.version,
        Arc::new(variables),
    ))
}

/// The one copy of these variables: others may have asked at the same time, and two versions with the same variables are one.
fn remember(rooms: &Rooms, version: &[u8], variables: Arc<Variables>) -> Arc<Variables> {
    let mut one = variables.clone();
    rooms.variables.rcu(|known| {
        let same = known
            .iter()
            .find(|(of, known)| of == version || **known == *variables);
        one = same.map_or_else(|| variables.clone(), |(_, known)| known.clone());
        if known.iter().any(|(of, _)| of == version) {
            return known.clone();
        }
        let mut more = Vec::clone(known);
        more.truncate(VERSIONS_MAX - 1);
        more.insert(0, (version.to_vec(), one.clone()));
        Arc::new(more)
    });
    one
}

impl Person {
    /// Who logged in, and whether connections of this login may be shared.
    pub fn new(
        worker: &Worker,
        user: &[u8],
        attributes: &Attributes,
        backend: &ServerConnection,
    ) -> Self {
        let rooms = &worker.rooms;
        let pool = &rooms.config.pool;
        let keeps = pool.mode == PoolMode::Session
            || pool
                .session_users
                .iter()
                .any(|name| name.as_bytes() == user);
        let globals = rooms.defaults.present();
        let repeats = backend.secret.is_some()
            && backend.poolable
            && globals.is_some_and(|globals| globals.init_connect.is_empty());
        let tie = match (keeps, repeats) {
            (true, _) => Some(Tie::SessionMode),
            (false, false) => Some(Tie::Login),
            (false, true) => None,
        };
        Self {
            user: user.to_vec(),
            attributes: attributes.clone(),
            secret: backend.secret.clone(),
            tie,
            aborted: None,
        }
    }

    /// A session of the admin engine: it has one pipe.
    pub fn of_admin() -> Self {
        Self {
            user: Vec::new(),
            attributes: Vec::new(),
            secret: None,
            tie: Some(Tie::Admin),
            aborted: None,
        }
    }
}
