//! The virtual schema: SQL over snapshots of the other rooms. Never touches a client's data; changes nothing but what `runtime` lets.
//!
//! `catalog` lists the tables; `sources` gives their rows; `vtab` shows them to SQLite as virtual tables.
//! What may be changed is changed by `writes` (the statements) and `runtime` (the state).
//! A statement goes `lexer` -> `statement` (what it is) -> `dialect` (MySQL to SQLite) -> `engine` (SQLite on its own thread).
//! On the wire: session -> pipe -> `front` (checks every command) -> opensrv-mysql -> `shim` -> `conversation`.

pub mod bounds;
pub mod catalog;
pub mod context;
pub mod conversation;
pub mod dialect;
pub mod engine;
pub mod error;
mod front;
pub mod functions;
pub mod information_schema;
pub mod lexer;
pub mod runtime;
mod scope;
mod shim;
pub mod show;
pub mod sources;
pub mod statement;
pub mod tables;
pub mod time;
pub mod typing;
pub mod value;
pub mod variables;
pub mod vtab;
pub mod wire;
mod writes;

use std::io;
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::protocol::capability;
use crate::protocol::command::Command;

pub use context::Identity;
pub use engine::{Limits, ResultSet};
pub use error::Error;
pub use scope::is_admin_statement;
pub use sources::{RowsFn, Sources};
pub use value::{Row, Value};

use conversation::{Conversation, Outcome};
use engine::Engine;
use front::Front;
use shim::{Reply, Shared};

/// What our greeting may offer to a client whose session is only relayed here. `Admin::connect` speaks to clients with any of
/// the flags of the app port too: those that are not here change nothing in what is sent.
pub const CAPABILITIES: u32 = capability::PROTOCOL_41
    | capability::SECURE_CONNECTION
    | capability::PLUGIN_AUTH
    | capability::PLUGIN_AUTH_LENENC
    | capability::CONNECT_ATTRS
    | capability::CONNECT_WITH_DB
    | capability::LONG_PASSWORD
    | capability::LONG_FLAG
    | capability::FOUND_ROWS
    | capability::TRANSACTIONS
    | capability::INTERACTIVE
    | capability::IGNORE_SPACE
    | capability::MULTI_RESULTS
    | capability::PS_MULTI_RESULTS
    | capability::SESSION_TRACK
    | capability::QUERY_ATTRIBUTES
    | capability::DEPRECATE_EOF;

/// Admin sessions at once. Each may hold more than a megabyte: opensrv reads into a buffer of that size.
const SESSIONS_MAX: usize = 256;

/// The virtual schema, ready to be asked.
pub struct Admin {
    engine: Engine,
    runtime: Handle,
    sessions: Arc<Semaphore>,
}

impl Admin {
    /// Starts the engine. Sessions run on `runtime`: the control plane's.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(sources: Sources, limits: Limits, runtime: Handle) -> io::Result<Arc<Self>> {
        let engine = Engine::start(sources, limits)?;
        Ok(Arc::new(Self {
            engine,
            runtime,
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
        }))
    }

    /// A pipe to a new admin session, logged in and waiting for a command in the client's own capabilities. Relay to it only
    /// what `relayed` allows; the session ends when the pipe is dropped.
    ///
    /// # Errors
    /// `UnknownDatabase` when the identity asks for a schema that is not served here; `TooManySessions`.
    pub fn connect(&self, identity: Identity, capabilities: u32) -> Result<DuplexStream, Error> {
        let place = self
            .sessions
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::TooManySessions(SESSIONS_MAX))?;
        let conversation = Conversation::new(self.engine.clone(), identity)?;
        let shared = Arc::new(Shared {
            conversation: conversation.into(),
            reply: Reply::default().into(),
            closed: tokio::sync::Notify::new(),
        });
        let (near, far) = tokio::io::duplex(front::PIPE_BYTES);
        self.runtime.spawn(async move {
            Front::new(far, capabilities, shared).serve().await;
            drop(place);
        });
        Ok(near)
    }

    /// Runs one statement in a session of its own: what HTTP does.
    ///
    /// # Errors
    /// Whatever is wrong with the statement; `Unsupported` when it gives no rows.
    pub async fn query(&self, sql: &str, parameters: Vec<Value>) -> Result<ResultSet, Error> {
        let identity = Identity {
            user: "http".to_owned(),
            host: "localhost".to_owned(),
            connection_id: 0,
            schema: None,
        };
        let mut conversation = Conversation::new(self.engine.clone(), identity)?.only_reading();
        match conversation.run(sql, parameters).await? {
            Outcome::Rows(result) => Ok(result),
            Outcome::Done | Outcome::Changed(_) => {
                Err(Error::Unsupported("a statement without rows".to_owned()))
            }
        }
    }
}

/// The version that the virtual schema tells clients, in VERSION() and for the greeting of the admin port.
pub fn version() -> &'static str {
    variables::VERSION
}

/// Whether a command can be relayed to an admin session; the session answers the others itself.
pub fn relayed(command: Command) -> bool {
    use Command::{
        FieldList, InitDb, Ping, Query, Quit, ResetConnection, StmtClose, StmtExecute, StmtPrepare,
        StmtReset, StmtSendLongData,
    };
    matches!(
        command,
        FieldList
            | InitDb
            | Ping
            | Query
            | Quit
            | ResetConnection
            | StmtClose
            | StmtExecute
            | StmtPrepare
            | StmtReset
            | StmtSendLongData
    )
}
