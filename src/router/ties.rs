//! What ties a session to its backend connection: state that cannot be carried to another one. Fed with every statement and its
//! end; asked when the connection is wanted elsewhere. Pure. In doubt it ties.
//!
//! The server's trackers say that state changed; what they are silent about (user locks, `:=`, INTO) is read off the text; what
//! neither can tell (stored programs) ties.

use crate::protocol::command::Command;
use crate::protocol::relay::Summary;
use crate::protocol::response::{SessionStateReader, StateChange};
use crate::protocol::status;
use crate::sql::{Kind, Statement};

/// The account's password has expired: the connection only takes a new one.
const EXPIRED_PASSWORD: [u16; 2] = [1820, 1862];

/// Why a session cannot leave its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tie {
    /// `pool.mode` or `pool.session_users` says so, or the server cannot report state.
    SessionMode,
    /// The connection is the admin engine's.
    Admin,
    /// Another connection of this login could not be opened: we were shown no proof to repeat, or the server runs statements at each login.
    Login,
    /// A transaction is open.
    Transaction,
    /// A SET TRANSACTION waits for the next transaction.
    NextTransaction,
    /// It writes past the binary log.
    Unlogged,
    /// Parameters wait at the server as long data.
    LongData,
    /// A statement was prepared under other variables or in another schema.
    PreparedBefore,
    /// A prepared statement may ask ROW_COUNT(), which no other connection can be told.
    RowCount,
    /// COM_SET_OPTION.
    SetOption,
    /// SET ROLE, SET RESOURCE GROUP.
    Role,
    /// Somebody is about to kill what runs on the connection.
    Kill,
    /// Changes are still to be reported to the client.
    LateReports,
    /// A variable has a value that cannot be carried.
    Variables,
    /// A text that was not read to its end.
    OpaqueStatement,
    /// CALL, EXECUTE or a function that we do not know: user locks and variables made there are not reported.
    StoredProgram,
    /// A temporary table.
    TemporaryTable,
    /// A user variable.
    UserVariable,
    /// A PREPARE in SQL.
    SqlPrepare,
    /// HANDLER.
    Handler,
    /// It knows its connection's id.
    ConnectionId,
    /// It uses the session trackers itself.
    SessionTrack,
    /// A statement that we do not know.
    UnknownStatement,
    /// State changed by a statement that does not say so: a trigger.
    UnseenState,
    /// The password has expired.
    ExpiredPassword,
    /// A variable that cannot be carried was set.
    Variable,
    /// The server's report of its state could not be read.
    UnreadableState,
    /// A request that was too long to be read.
    UnreadStatement,
    /// LOCK TABLES and the like.
    TableLock,
    /// GET_LOCK().
    UserLock,
    /// An XA transaction.
    Xa,
    /// A cursor is open.
    Cursor,
    /// The last statement failed or warned, and may be asked about.
    Diagnostics,
    /// It is a replica's connection.
    Replication,
    /// A savepoint outside of a transaction.
    Savepoint,
}

impl Tie {
    /// All, in the order of their numbers.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::SessionMode, "session_mode"),
        (Self::Admin, "admin"),
        (Self::Login, "login"),
        (Self::Transaction, "transaction"),
        (Self::NextTransaction, "next_transaction"),
        (Self::Unlogged, "unlogged"),
        (Self::LongData, "long_data"),
        (Self::PreparedBefore, "prepared_before"),
        (Self::RowCount, "row_count"),
        (Self::SetOption, "set_option"),
        (Self::Role, "role"),
        (Self::Kill, "kill"),
        (Self::LateReports, "late_reports"),
        (Self::Variables, "variables"),
        (Self::OpaqueStatement, "opaque_statement"),
        (Self::StoredProgram, "stored_program"),
        (Self::TemporaryTable, "temporary_table"),
        (Self::UserVariable, "user_variable"),
        (Self::SqlPrepare, "sql_prepare"),
        (Self::Handler, "handler"),
        (Self::ConnectionId, "connection_id"),
        (Self::SessionTrack, "session_track"),
        (Self::UnknownStatement, "unknown_statement"),
        (Self::UnseenState, "unseen_state"),
        (Self::ExpiredPassword, "expired_password"),
        (Self::Variable, "variable"),
        (Self::UnreadableState, "unreadable_state"),
        (Self::UnreadStatement, "unread_statement"),
        (Self::TableLock, "table_lock"),
        (Self::UserLock, "user_lock"),
        (Self::Xa, "xa"),
        (Self::Cursor, "cursor"),
        (Self::Diagnostics, "diagnostics"),
        (Self::Replication, "replication"),
        (Self::Savepoint, "savepoint"),
    ];

    /// The stable name.
    pub fn label(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, label)| label)
    }
}

/// What the server reported of the session's state with an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// Some state changed.
    pub state: bool,
    /// The default schema.
    pub schema: bool,
    /// A variable that cannot be carried.
    pub holding_variable: bool,
    /// The report could not be read.
    pub unreadable: bool,
}

impl Reported {
    /// Reads it off the end of an answer; `is_holding` knows the variables that cannot be carried.
    pub fn of(summary: &Summary, is_holding: fn(&[u8]) -> bool) -> Self {
        let mut reported = Self {
            unreadable: summary.session_state_lost,
            ..Self::default()
        };
        let Some(state) = &summary.session_state else {
            return reported;
        };
        for change in SessionStateReader::new(state) {
            match change {
                Ok(StateChange::SystemVariable { name, .. }) => {
                    reported.state = true;
                    reported.holding_variable |= is_holding(name);
                }
                Ok(StateChange::StateChanged(_)) => reported.state = true,
                Ok(StateChange::Schema(_)) => reported.schema = true,
                Ok(_) => {}
                Err(_) => reported.unreadable = true,
            }
        }
        reported
    }

    /// Whether anything that can be carried may have changed.
    pub fn any(self) -> bool {
        self.state || self.schema || self.holding_variable || self.unreadable
    }
}

/// What ties one session now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ties {
    /// Until the session is reset: the first reason that came.
    until_reset: Option<Tie>,
    table_lock: bool,
    user_lock: bool,
    xa: bool,
    /// The last statement failed or warned, so the next one may ask about that; and what a failure did is not reported.
    diagnostics: bool,
    /// A write has failed: what its triggers changed is reported with the next OK, whatever that one changes itself.
    failed_write: bool,
    /// A savepoint outside of a transaction: without autocommit there are such.
    savepoint: bool,
    /// Prepared statements with an open cursor.
    cursors: Vec<u32>,
}

impl Ties {
    /// Ties the session until it is reset.
    pub fn until_reset(&mut self, why: Tie) {
        self.until_reset.get_or_insert(why);
    }

    /// Learns from a statement that the backend has run. `None`: nobody has read it.
    pub fn observe(
        &mut self,
        statement: Option<&Statement>,
        summary: &Summary,
        reported: Reported,
    ) {
        let ok = summary.error.is_none();
        // Who asks for warnings leaves them as they are.
        let keeps = self.diagnostics && statement.is_some_and(|s| s.reads_diagnostics);
        self.diagnostics = !ok || summary.warnings > 0 || keeps;
        if let Some(error) = &summary.error
            && EXPIRED_PASSWORD.contains(&error.code)
        {
            self.until_reset(Tie::ExpiredPassword);
        }
        if reported.holding_variable {
            self.until_reset(Tie::Variable);
        }
        if reported.unreadable {
            self.until_reset(Tie::UnreadableState);
        }
        match statement {
            None => self.until_reset(Tie::UnreadStatement),
            Some(statement) => {
                self.observe_statement(statement, ok, reported);
                self.observe_savepoint(statement, summary);
                if !ok {
                    self.failed_write |= !statement.writes.is_empty();
                } else if summary.result_sets == 0 {
                    self.failed_write = false;
                }
            }
        }
    }

    /// Inside a transaction that one ties, and its end takes them away.
    fn observe_savepoint(&mut self, statement: &Statement, summary: &Summary) {
        let is_outside = summary.error.is_none()
            && summary.status & (status::IN_TRANS | status::AUTOCOMMIT) == 0;
        if matches!(statement.kind, Kind::Savepoint | Kind::Multi) && is_outside {
            self.savepoint |= statement.digest_text.contains("SAVEPOINT");
        } else if self.savepoint && summary.error.is_none() {
            let ends = match statement.kind {
                Kind::Commit | Kind::Ddl => true,
                Kind::Rollback => !statement.digest_text.contains(" TO "),
                _ => false,
            };
            self.savepoint = !(ends || summary.status & status::IN_TRANS != 0);
        }
    }

    fn observe_statement(&mut self, statement: &Statement, ok: bool, reported: Reported) {
        let hold = &statement.hold;
        let unknown = matches!(statement.kind, Kind::Admin | Kind::Other);
        let reasons = [
            (hold.is_blind, Tie::OpaqueStatement),
            (hold.runs_unseen, Tie::StoredProgram),
            (hold.makes_temporary_table, Tie::TemporaryTable),
            (hold.sets_user_variable, Tie::UserVariable),
            (hold.prepares, Tie::SqlPrepare),
            (hold.opens_handler, Tie::Handler),
            (hold.reads_identity, Tie::ConnectionId),
            (hold.names_trackers, Tie::SessionTrack),
            (unknown, Tie::UnknownStatement),
            (
                reported.state && (self.failed_write || !explains_state(statement)),
                Tie::UnseenState,
            ),
        ];
        if let Some((_, why)) = reasons.into_iter().find(|(met, _)| *met) {
            self.until_reset(why);
        }
        if hold.locks_tables {
            self.table_lock = true;
        } else if ok && hold.unlocks_tables {
            self.table_lock = false;
        }
        if hold.takes_user_lock {
            self.user_lock = true;
        } else if ok && hold.frees_user_locks {
            self.user_lock = false;
        }
        if ok && hold.ends_xa {
            self.xa = false;
        } else if hold.begins_xa {
            self.xa = true;
        }
    }

    /// A command that is no statement was answered. It leaves the warnings of the statement before alone, and COM_FIELD_LIST
    /// adds one of which its answer says nothing (measured on 9.7.4).
    pub fn observe_command(&mut self, command: Command, summary: &Summary, reported: Reported) {
        self.diagnostics |=
            summary.error.is_some() || summary.warnings > 0 || command == Command::FieldList;
        if reported.state && (self.failed_write || command != Command::InitDb) {
            self.until_reset(Tie::UnseenState);
        }
        if reported.holding_variable || reported.unreadable {
            self.until_reset(Tie::Variable);
        }
    }

    /// A statement was prepared, or could not be. `None`: it was not read, and stays where it is.
    pub fn prepared(&mut self, statement: Option<&Statement>, summary: &Summary) {
        self.diagnostics = summary.error.is_some() || summary.warnings > 0;
        if statement.is_some_and(|statement| statement.hold.sets_user_variable) {
            // There it is from now on, NULL with a type of its own (measured on 9.7.4).
            self.until_reset(Tie::UserVariable);
        }
    }

    /// The client was given an answer without warnings that did not come from the connection.
    pub fn cleared(&mut self) {
        self.diagnostics = false;
    }

    /// A cursor was opened for a prepared statement.
    pub fn cursor_opened(&mut self, statement: u32) {
        if !self.cursors.contains(&statement) {
            self.cursors.push(statement);
        }
    }

    /// It has no cursor any more.
    pub fn cursor_closed(&mut self, statement: u32) {
        self.cursors.retain(|open| *open != statement);
    }

    /// The last statement failed or warned.
    pub fn has_diagnostics(&self) -> bool {
        self.diagnostics
    }

    /// The first thing that ties the session, by its stable name.
    pub fn first(&self) -> Option<Tie> {
        let reasons = [
            (self.table_lock, Tie::TableLock),
            (self.user_lock, Tie::UserLock),
            (self.xa, Tie::Xa),
            (!self.cursors.is_empty(), Tie::Cursor),
            (self.diagnostics, Tie::Diagnostics),
            (self.savepoint, Tie::Savepoint),
        ];
        let found = reasons.into_iter().find(|(met, _)| *met);
        self.until_reset.or(found.map(|(_, why)| why))
    }
}

/// Statements that say themselves what of the session they change.
fn explains_state(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::Set | Kind::Use | Kind::Prepare | Kind::Deallocate | Kind::Ddl
    ) && statement.opaque.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::relay::ErrInfo;
    use crate::sql::{DigestScratch, LexMode, classify};

    fn observe(ties: &mut Ties, text: &str, summary: &Summary, reported: Reported) {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        let statement = classify::statement(&scratch, text.as_bytes());
        ties.observe(Some(&statement), summary, reported);
    }

    fn after(texts: &[&str]) -> Option<&'static str> {
        let mut ties = Ties::default();
        let ok = Summary::default();
        texts
            .iter()
            .for_each(|text| observe(&mut ties, text, &ok, Reported::default()));
        label(&ties)
    }

    fn label(ties: &Ties) -> Option<&'static str> {
        ties.first().map(Tie::label)
    }

    #[test]
    fn each_state_has_its_name_and_its_end() {
        for (texts, tie) in [
            (&["select 1 from t"][..], None),
            (&["insert into t values (1)"], None),
            (&["set sql_mode = ''"], None),
            (&["set @a = 1"], Some("user_variable")),
            (
                &["create temporary table t(a int)"],
                Some("temporary_table"),
            ),
            (&["do get_lock('a', 1)"], Some("user_lock")),
            (&["do get_lock('a', 1)", "select release_all_locks()"], None),
            (&["lock tables t read"], Some("table_lock")),
            (&["lock tables t read", "unlock tables"], None),
            (&["xa start 'a'"], Some("xa")),
            (&["xa start 'a'", "xa end 'a'"], Some("xa")),
            (&["xa start 'a'", "xa rollback 'a'"], None),
            (&["handler t open"], Some("handler")),
            (&["prepare s from 'select 1'"], Some("sql_prepare")),
            (&["call p()"], Some("stored_program")),
            (&["select f(1)"], Some("stored_program")),
            (&["select connection_id()"], Some("connection_id")),
            (
                &["set session_track_gtids = own_gtid"],
                Some("session_track"),
            ),
            (&["/*!40101 set names utf8 */"], Some("opaque_statement")),
            (&["begin; do get_lock('a',1)"], Some("user_lock")),
        ] {
            assert_eq!(after(texts), tie, "{texts:?}");
        }
    }

    #[test]
    fn errors_and_warnings_tie_until_the_next_statement() {
        let mut ties = Ties::default();
        let failed = Summary {
            error: Some(ErrInfo {
                code: 1062,
                sqlstate: *b"23000",
                message: Vec::new(),
            }),
            ..Summary::default()
        };
        let warned = Summary {
            warnings: 2,
            ..Summary::default()
        };
        let none = Reported::default();
        observe(&mut ties, "insert into t values (1)", &failed, none);
        assert_eq!(label(&ties), Some("diagnostics"));
        observe(&mut ties, "select 1", &warned, none);
        assert_eq!(label(&ties), Some("diagnostics"));
        observe(&mut ties, "select 1", &Summary::default(), none);
        assert_eq!(label(&ties), None);
    }

    #[test]
    fn what_is_reported_and_not_explained_ties() {
        let changed = Reported {
            state: true,
            ..Reported::default()
        };
        let mut ties = Ties::default();
        observe(&mut ties, "set sql_mode=''", &Summary::default(), changed);
        assert_eq!(label(&ties), None);
        observe(
            &mut ties,
            "insert into t values (1)",
            &Summary::default(),
            changed,
        );
        assert_eq!(label(&ties), Some("unseen_state"));
        let mut ties = Ties::default();
        let holding = Reported {
            holding_variable: true,
            ..Reported::default()
        };
        observe(&mut ties, "set timestamp=1", &Summary::default(), holding);
        assert_eq!(label(&ties), Some("variable"));
    }

    #[test]
    fn labels_stand_at_their_numbers() {
        for (at, (tie, _)) in Tie::ALL.iter().enumerate() {
            assert_eq!(*tie as usize, at);
        }
    }

    #[test]
    fn reports_are_read() {
        let entry = |kind: u8, data: &[u8]| {
            let mut out = vec![kind, data.len() as u8];
            out.extend_from_slice(data);
            out
        };
        let summary = Summary {
            session_state: Some([entry(0, b"\x01a\x01b"), entry(1, b"\x01s")].concat()),
            ..Summary::default()
        };
        let reported = Reported::of(&summary, |name| name == b"a");
        assert!(reported.state && reported.schema && reported.holding_variable);
        let broken = Summary {
            session_state: Some(vec![0, 9]),
            ..Summary::default()
        };
        assert!(Reported::of(&broken, |_| false).unreadable);
    }
}
