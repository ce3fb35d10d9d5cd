//! Which server of a cluster answers a statement: the writer or a reader, and why. Pure: knows neither servers nor connections.
//! In doubt the writer.

use super::session_state::SessionState;
use super::ties::Tie;
use crate::config::{Consistency, Reads};
use crate::sql::placement::{Hint, WriterOnly};
use crate::sql::{Kind, Statement};

/// Where a statement is to run, and the stable label of the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the server that takes the writes.
    Writer(&'static str),
    /// On a reader.
    Reader(&'static str),
    /// Wherever the session is: it asks about what its connection did before.
    Here(&'static str),
}

impl Place {
    /// The word in tables and metrics, and the reason's label.
    pub fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Writer(why) => ("writer", why),
            Self::Reader(why) => ("reader", why),
            Self::Here(why) => ("same_node", why),
        }
    }
}

/// What the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What is to run.
    pub statement: &'a Statement,
    /// What its text asks for.
    pub hint: Option<Hint>,
    /// The session it runs in.
    pub state: &'a SessionState,
    /// What ties the session to the connection that it has.
    pub tie: Option<Tie>,
    /// That connection is a reader's.
    pub on_reader: bool,
    /// Why the way of asking needs the writer: a cursor, an answer that is to be kept.
    pub needs_writer: Option<&'static str>,
    /// `cluster.reads`.
    pub reads: Reads,
    /// `cluster.consistency`.
    pub consistency: Consistency,
}

/// Decides.
pub fn place(asked: &Asked<'_>) -> Place {
    if asked.on_reader && only_asks_back(asked.statement) {
        return Place::Here("reads_diagnostics");
    }
    match for_writer(asked) {
        Some(why) => Place::Writer(why),
        None if asked.hint == Some(Hint::Reader) => Place::Reader("hint"),
        None => Place::Reader("plain_read"),
    }
}

fn for_writer(asked: &Asked<'_>) -> Option<&'static str> {
    let (statement, state) = (asked.statement, asked.state);
    let hinted = asked.hint == Some(Hint::Reader);
    match statement.writer_only {
        Some(WriterOnly::NoTable) if hinted => {}
        Some(why) => return Some(why.label()),
        None => {}
    }
    if let Err(reason) = state.allows_other_answers() {
        let (group, detail) = reason.parts();
        return Some(detail.unwrap_or(group));
    }
    if asked.hint == Some(Hint::Writer) {
        return Some("hint");
    }
    if asked.consistency == Consistency::Strict {
        return Some("consistency_strict");
    }
    if asked.reads == Reads::Writer && !hinted {
        return Some("reads_writer");
    }
    let schema = &*state.schema;
    let unnamed = || statement.reads.iter().any(|table| table.schema.is_none());
    if crate::sql::classify::is_system_schema(schema) && unnamed() {
        return Some(WriterOnly::SystemSchema.label());
    }
    asked.needs_writer.or(asked.tie.map(Tie::label))
}

/// Whether a statement does nothing but ask what the connection's last statement left behind.
fn only_asks_back(statement: &Statement) -> bool {
    matches!(statement.kind, Kind::Select | Kind::Show)
        && statement.reads_diagnostics
        && statement.opaque.is_none()
        && statement.reads.is_empty()
        && statement.writes.is_empty()
        && !statement.effects.any()
        && !statement.hold.shows_trackers
        // What these say would have to stay true: they tie a session to its connection.
        && !statement.hold.reads_identity
        && !statement.hold.names_trackers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::status;
    use crate::sql::{DigestScratch, LexMode, classify};

    fn asked(text: &str, change: impl FnOnce(&mut Asked<'_>, &mut SessionState)) -> Place {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        let statement = classify::statement(&scratch, text.as_bytes());
        let fresh = SessionState::new(status::AUTOCOMMIT, "shop".into());
        let mut state = fresh.clone();
        let mut asked = Asked {
            statement: &statement,
            hint: None,
            state: &fresh,
            tie: None,
            on_reader: false,
            needs_writer: None,
            reads: Reads::Readers,
            consistency: Consistency::Session,
        };
        change(&mut asked, &mut state);
        place(&Asked {
            state: &state,
            ..asked
        })
    }

    #[test]
    fn a_plain_read_leaves_the_writer() {
        let read = "select a from t";
        assert_eq!(asked(read, |_, _| {}), Place::Reader("plain_read"));
        let hinted = asked(read, |asked, _| {
            (asked.reads, asked.hint) = (Reads::Writer, Some(Hint::Reader));
        });
        assert_eq!(hinted, Place::Reader("hint"));
        let without_table = asked("select @@server_id", |asked, _| {
            asked.hint = Some(Hint::Reader);
        });
        assert_eq!(without_table, Place::Reader("hint"));
    }

    #[test]
    fn each_state_that_keeps_a_read_on_the_writer_has_a_reason() {
        type Change = fn(&mut Asked<'_>, &mut SessionState);
        let cases: [(Change, &str); 11] = [
            (|_, s| s.status |= status::IN_TRANS, "in_transaction"),
            (|_, s| s.status = 0, "in_transaction"),
            (|_, s| s.next_transaction_set = true, "in_transaction"),
            (
                |_, s| s.inexact = Some("temporary_table"),
                "temporary_table",
            ),
            (|_, s| s.schema = "MYSQL".into(), "system_schema"),
            (|a, _| a.hint = Some(Hint::Writer), "hint"),
            (
                |a, _| a.consistency = Consistency::Strict,
                "consistency_strict",
            ),
            (|a, _| a.reads = Reads::Writer, "reads_writer"),
            (|a, _| a.tie = Some(Tie::UserVariable), "user_variable"),
            (|a, _| a.needs_writer = Some("cursor"), "cursor"),
            (
                |a, _| (a.consistency, a.hint) = (Consistency::Strict, Some(Hint::Reader)),
                "consistency_strict",
            ),
        ];
        for (change, label) in cases {
            let found = asked("select a from t", change);
            assert_eq!(found, Place::Writer(label));
        }
        // A hint moves nothing that must not move.
        for (text, label) in [
            ("select a from t for update", "locking_read"),
            ("insert into t values (1)", "not_a_read"),
        ] {
            let found = asked(text, |asked, _| asked.hint = Some(Hint::Reader));
            assert_eq!(found, Place::Writer(label));
        }
    }

    #[test]
    fn questions_about_the_last_answer_stay_where_it_came_from() {
        for text in ["show warnings", "select found_rows()", "select row_count()"] {
            let on_reader = asked(text, |asked, _| asked.on_reader = true);
            assert_eq!(on_reader, Place::Here("reads_diagnostics"), "{text}");
            assert!(matches!(asked(text, |_, _| {}), Place::Writer(_)));
        }
        let writes = asked("insert into t values (row_count())", |asked, _| {
            asked.on_reader = true;
        });
        assert_eq!(writes, Place::Writer("not_a_read"));
    }
}
