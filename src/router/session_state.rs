//! What of a session routing depends on. Fed with every statement and its outcome; asked before every read.
//! Never guesses: what it cannot know exactly makes the session ineligible for anything but its own backend connection.
//!
//! ```text
//!                 SET, CALL, unknown function, USE           env query on the client's own connection
//! env known  ------------------------------------> env unknown ------------------------------------> env known
//! exact      -- temporary table, LOCK TABLES, text not understood --> inexact -- reset / change user --> exact
//! ```

use super::reason::Reason;
use crate::protocol::status;
use crate::sql::classify::is_system_schema;
use crate::sql::env::SessionEnv;
use crate::sql::{Kind, Statement};
use std::sync::Arc;

/// State of one session, as far as it decides where a read may be answered.
#[derive(Debug, Clone, Default)]
pub struct SessionState {
    /// Status bits of the last answer.
    pub status: u16,
    /// The session variables that can change an answer, when known.
    pub env: Option<Arc<SessionEnv>>,
    /// How often `env` was forgotten: while it stands still, the variables do.
    pub env_changes: u64,
    /// Default schema as told at login and by what followed; for statistics. Exact where `env` is known.
    pub schema: Arc<str>,
    /// Why answers from elsewhere than the session's own connection are ruled out until the session is reset.
    pub inexact: Option<&'static str>,
    /// A `SET TRANSACTION` waits for the next transaction; anything of ours on the connection would use it up.
    pub next_transaction_set: bool,
    /// The connection may be given to another client after a reset.
    pub reusable: bool,
}

impl SessionState {
    /// The state right after login or reset.
    pub fn new(status: u16, schema: Arc<str>) -> Self {
        Self {
            status,
            schema,
            reusable: true,
            ..Self::default()
        }
    }

    /// A transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.status & status::IN_TRANS != 0
    }

    /// Whether a read may be answered by other means than the session's own connection, before its variables are looked at.
    ///
    /// # Errors
    /// The reason why not.
    pub fn allows_other_answers(&self) -> Result<(), Reason> {
        if let Some(why) = self.inexact {
            return Err(Reason::SessionState(why));
        }
        if self.in_transaction()
            || self.status & status::AUTOCOMMIT == 0
            || self.next_transaction_set
        {
            return Err(Reason::InTransaction);
        }
        Ok(())
    }

    /// Learns from a statement that the backend ran. `status`: the status bits of its end; an error has none.
    pub fn observe(&mut self, statement: &Statement, status: Option<u16>) {
        let was_in_transaction = self.in_transaction();
        if let Some(status) = status {
            self.status = status;
            // A SET TRANSACTION is used up by the next transaction, be it one statement on a table.
            if self.next_transaction_set
                && !self.in_transaction()
                && (was_in_transaction || self.touches_tables(statement))
            {
                self.next_transaction_set = false;
            }
        }
        self.observe_effects(statement);
    }

    /// Whether a statement is sure to begin a transaction: the tables of some schemas take part in none (measured on 9.7.4).
    fn touches_tables(&self, statement: &Statement) -> bool {
        let mut tables = statement.reads.iter().chain(&statement.writes);
        tables.any(|table| {
            let schema = table.schema.as_deref().unwrap_or(&self.schema);
            !is_system_schema(&schema.to_ascii_lowercase())
        })
    }

    /// The variables are not known any more.
    pub fn forget_env(&mut self) {
        self.env = None;
        self.env_changes += 1;
    }

    /// Effects hold also for failed statements: part of a failed one may have been done.
    fn observe_effects(&mut self, statement: &Statement) {
        let effects = &statement.effects;
        let opaque = statement.may_do_more();
        // A trigger of a written table can set variables.
        let writes = !statement.writes.is_empty();
        if effects.env || effects.may_change_schema || effects.ddl || opaque || writes {
            self.forget_env();
        }
        if effects.temp_table {
            self.inexact.get_or_insert("temporary_table");
        }
        // Row locks end with their transaction and user locks change no answer; locked tables do.
        if effects.lock && matches!(statement.kind, Kind::Lock | Kind::Flush | Kind::Handler) {
            self.inexact.get_or_insert("lock");
        }
        if opaque {
            self.inexact.get_or_insert("opaque_statement");
            self.reusable = false;
        }
    }

    /// Learns that the session runs something nobody looked into (too long, or streamed).
    pub fn observe_unknown(&mut self, why: &'static str, status: Option<u16>) {
        if let Some(status) = status {
            self.status = status;
        }
        self.forget_env();
        self.inexact.get_or_insert(why);
        self.reusable = false;
    }
}
