//! Small exchanges of our own around a client's statement: the session's variables, the columns of a statement, and queries on
//! service connections. Nothing here is sent to a client.

use super::Session;
use super::error::SessionError;
use super::worker::Worker;
use crate::backend::connection::{ExchangeError, ServerConnection};
use crate::backend::login::{self as backend_login, Login};
use crate::backend::nodes::Writer;
use crate::protocol::auth::Secret;
use crate::protocol::column::{BufferedResult, packets};
use crate::protocol::command::Command;
use crate::protocol::packet::Cursor;
use crate::protocol::relay::{Expect, Summary};
use crate::protocol::{ProtocolError, capability};
use crate::sql::env::{SELECT_SQL, SELECT_SQL_MARIADB, SessionEnv};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The row of session variables has a few hundred bytes.
const ENV_BYTES_MAX: usize = 65_536;

/// 4096 columns of long names.
const PREPARE_BYTES_MAX: usize = 4 << 20;

/// Service connections that one worker keeps for the next view.
const SERVICES_MAX: usize = 16;

/// What service connections speak: the new end of rows, and nothing that a session could notice.
const SERVICE_CAPABILITIES: u32 = capability::PROTOCOL_41
    | capability::SECURE_CONNECTION
    | capability::LONG_PASSWORD
    | capability::LONG_FLAG
    | capability::TRANSACTIONS
    | capability::DEPRECATE_EOF
    | capability::PS_MULTI_RESULTS
    | capability::MULTI_RESULTS;

/// A connection of the control-plane user, on which rewritten statements run.
pub struct Service {
    connection: ServerConnection,
    /// The environment it was given last.
    env: Option<u128>,
    /// `@@server_uuid` of the server it is on, as text.
    server_uuid: Option<Vec<u8>>,
    /// When it was last used.
    used: Instant,
}

/// A whole answer, in memory.
pub struct Answer {
    /// All its packets.
    pub bytes: Vec<u8>,
    /// Its parts.
    pub parts: BufferedResult,
    /// How it ended.
    pub summary: Summary,
    /// Capabilities of the connection it came by.
    pub capabilities: u32,
}

/// Column definitions as PREPARE describes a statement: whole packets, to be renumbered.
pub struct Columns {
    /// How many.
    pub count: usize,
    /// The packets, headers included.
    pub packets: Box<[u8]>,
}

/// Appends up to a limit.
pub(super) fn keep(
    bytes: &mut Vec<u8>,
    more: &[u8],
    bytes_max: usize,
) -> Result<(), ProtocolError> {
    if bytes.len() + more.len() > bytes_max {
        return Err(ProtocolError::TooLarge {
            what: "answer to a query of ours",
            bytes_max,
        });
    }
    bytes.extend_from_slice(more);
    Ok(())
}

impl Session {
    /// The session's variables: as known, or asked for on its own connection. `None`: they cannot be known now.
    /// Only for sessions that [`SessionState::allows_other_answers`](crate::router::session_state::SessionState) lets through:
    /// asking leaves traces that only a following statement covers.
    pub(super) async fn env(&mut self) -> Result<Option<Arc<SessionEnv>>, SessionError> {
        if let Some(env) = &self.state.env {
            return Ok(Some(env.clone()));
        }
        self.attach().await?;
        let sql = if self.lex_base.mariadb {
            SELECT_SQL_MARIADB
        } else {
            SELECT_SQL
        };
        let mut bytes = Vec::new();
        let keeps = |more: &[u8]| keep(&mut bytes, more, ENV_BYTES_MAX);
        let asked = Box::pin(self.backend.query(sql.as_bytes(), keeps));
        let asked = self.client.wait_for_backend(asked).await?;
        self.traces.moved();
        match asked {
            Ok(summary) => self.observe_own(&summary),
            // A variable that this server does not have: such a session is never answered from elsewhere.
            Err(ExchangeError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let env = one_row(&bytes, self.backend.capabilities)
            .and_then(|row| SessionEnv::from_row(&row).ok());
        self.state.env = env.map(Arc::new);
        Ok(self.state.env.clone())
    }

    /// What PREPARE says of the columns of a statement, on the client's own connection: with that it is also the check that the
    /// client may run it. `None`: refused, or not a statement with columns; the base tables will give the true answer.
    pub(super) async fn columns_of(
        &mut self,
        text: &[u8],
    ) -> Result<Option<Columns>, SessionError> {
        self.attach().await?;
        let mut bytes = Vec::new();
        let prepared = self
            .backend
            .exchange(Command::StmtPrepare, text, Expect::Prepare, |more| {
                keep(&mut bytes, more, PREPARE_BYTES_MAX)
            });
        let prepared = match self.client.wait_for_backend(prepared).await? {
            Ok(Summary {
                prepared: Some(prepared),
                ..
            }) => prepared,
            Ok(_) | Err(ExchangeError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.backend
            .send(Command::StmtClose, &prepared.statement_id.to_le_bytes())
            .await
            .map_err(SessionError::BackendIo)?;
        let deprecates_eof = self.backend.capabilities & capability::DEPRECATE_EOF != 0;
        let params = usize::from(prepared.params);
        let before = 1 + params + usize::from(params > 0 && !deprecates_eof);
        let count = usize::from(prepared.columns);
        let wanted: Vec<_> = packets(&bytes)
            .skip(before)
            .take(count)
            .map(|(_, payload)| payload)
            .collect();
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Ok(None);
        };
        let range = first.start - crate::protocol::packet::HEADER_BYTES..last.end;
        let packets = bytes.get(range).unwrap_or_default().into();
        Ok((wanted.len() == count).then_some(Columns { count, packets }))
    }
}

/// The one row of a text result set.
fn one_row(bytes: &[u8], capabilities: u32) -> Option<Vec<Option<Vec<u8>>>> {
    let mut rows = all_rows(bytes, capabilities)?;
    rows.truncate(1);
    rows.pop()
}

/// The rows of a text result set.
pub(super) fn all_rows(bytes: &[u8], capabilities: u32) -> Option<Vec<Vec<Option<Vec<u8>>>>> {
    let parts = BufferedResult::parse(bytes, capabilities).ok()?;
    let rows = bytes.get(parts.rows)?;
    let read = |payload| {
        let mut cursor = Cursor::new(rows.get(payload)?);
        let mut row = Vec::with_capacity(parts.columns.len());
        for _ in 0..parts.columns.len() {
            row.push(cursor.cell()?.map(<[u8]>::to_vec));
        }
        cursor.is_empty().then_some(row)
    };
    packets(rows).map(|(_, payload)| read(payload)).collect()
}

impl Service {
    /// Whether it is on the server that a session with these variables is on: an address can move to another one.
    pub fn is_on(&self, env: &SessionEnv) -> bool {
        self.server_uuid.as_deref() == env.variable("server_uuid").map(str::as_bytes)
    }

    /// Runs a query with the given environment and keeps the whole answer.
    ///
    /// # Errors
    /// Everything but a plain answer of one result set; after an error that is not `Refused` the connection must not be used.
    pub async fn answer(
        &mut self,
        sql: &[u8],
        parameters: Option<&[u8]>,
        env: &SessionEnv,
        bytes_max: usize,
    ) -> Result<Answer, ExchangeError> {
        if self.env != Some(env.fingerprint()) {
            self.env = None;
            let mirror = env
                .mirror_sql()
                .ok_or(ProtocolError::Unsupported("session environment"))?;
            self.connection.query(mirror.as_bytes(), |_| Ok(())).await?;
            self.env = Some(env.fingerprint());
        }
        let mut bytes = Vec::new();
        let summary = match parameters {
            None => {
                self.connection
                    .query(sql, |more| keep(&mut bytes, more, bytes_max))
                    .await?
            }
            Some(parameters) => {
                self.execute(sql, parameters, |more| keep(&mut bytes, more, bytes_max))
                    .await?
            }
        };
        let parts = BufferedResult::parse(&bytes, self.connection.capabilities)?;
        Ok(Answer {
            bytes,
            parts,
            summary,
            capabilities: self.connection.capabilities,
        })
    }
}

impl Service {
    /// Prepares, executes and closes a statement: the answer comes in the binary protocol.
    async fn execute(
        &mut self,
        sql: &[u8],
        parameters: &[u8],
        each: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<Summary, ExchangeError> {
        let prepared = self
            .connection
            .run(Command::StmtPrepare, sql, Expect::Prepare)
            .await?
            .prepared;
        let prepared = prepared.ok_or(ProtocolError::Unexpected("answer to a PREPARE of ours"))?;
        let mut body = prepared.statement_id.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 1, 0, 0, 0]);
        body.extend_from_slice(parameters);
        let executed = self
            .connection
            .exchange(Command::StmtExecute, &body, Expect::Execute, each)
            .await;
        self.connection
            .send(Command::StmtClose, &prepared.statement_id.to_le_bytes())
            .await?;
        executed
    }
}

impl Worker {
    /// A service connection: one kept from before, or a new one.
    ///
    /// # Errors
    /// The pool has none to give at once, or the backend cannot be logged in to.
    pub async fn service(&self) -> Result<Service, SessionError> {
        let kept = self.services.borrow_mut().pop();
        if let Some(kept) = kept.filter(|s| s.connection.is_quiet()) {
            return Ok(kept);
        }
        let url = &self.rooms.config.backend.url;
        let Writer::One(node) = self.rooms.nodes.writer() else {
            return Err(SessionError::Internal("there is no writer for a view"));
        };
        let slot = node.pool.slot_at_once(&url.user);
        let slot = slot.ok_or(SessionError::Internal(
            "no backend connection is free for a view",
        ))?;
        let login = Login {
            user: url.user.as_bytes(),
            secret: Secret::of_password(url.password.reveal().as_bytes()),
            schema: b"",
            capabilities: SERVICE_CAPABILITIES,
            collation: 255,
            attributes: vec![(b"program_name".to_vec(), b"tidegate views".to_vec())],
        };
        let mut connection =
            backend_login::open(&node.target, &login, self.rooms.config.client.buffer_bytes)
                .await?;
        connection.hold(slot);
        connection.node = node.id;
        let mut bytes = Vec::new();
        connection
            .query(b"SELECT @@server_uuid", |more| {
                keep(&mut bytes, more, ENV_BYTES_MAX)
            })
            .await?;
        let server_uuid =
            one_row(&bytes, connection.capabilities).and_then(|mut row| row.pop().flatten());
        Ok(Service {
            connection,
            env: None,
            server_uuid,
            used: Instant::now(),
        })
    }

    /// Keeps a service connection that is still usable for the next one.
    pub fn keep_service(&self, mut service: Service) {
        service.used = Instant::now();
        let mut services = self.services.borrow_mut();
        if services.len() < SERVICES_MAX {
            services.push(service);
        }
    }

    /// Closes the service connections that nobody used for a while, and all of them when clients wait for a connection.
    pub fn reap_services(&self, now: Instant) {
        let idle_max = Duration::from_millis(self.rooms.config.pool.idle_ms_max);
        let nodes = self.rooms.nodes.all();
        let wanted = nodes.iter().any(|node| node.pool.has_waiters());
        self.services
            .borrow_mut()
            .retain(|service| !wanted && now.duration_since(service.used) < idle_max);
    }
}
