//! What the last statements of a session left behind for the next one to ask about: ROW_COUNT() and FOUND_ROWS(), and whether the
//! connection it is on knows them. Pure.

use crate::protocol::relay::Summary;
use crate::sql::{Kind, Statement};

/// ROW_COUNT() after a result set.
const AFTER_ROWS: i64 = -1;

/// What the session would be told, and who knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// ROW_COUNT(); `None`: only the connection knows.
    pub row_count: Option<i64>,
    /// FOUND_ROWS(); `None`: only the connection knows.
    pub found_rows: Option<u64>,
    /// The connection does not know ROW_COUNT().
    pub is_count_elsewhere: bool,
    /// The connection does not know FOUND_ROWS().
    pub is_found_elsewhere: bool,
}

impl Traces {
    /// The connection has answered a statement.
    pub fn answered(&mut self, statement: Option<&Statement>, summary: &Summary) {
        let gets = statement
            .is_some_and(|it| it.kind == Kind::Diagnostics && it.digest_text.starts_with("GET"));
        if gets && summary.error.is_none() && summary.warnings == 0 {
            // GET DIAGNOSTICS leaves all that can be asked for as it is (measured on 9.7.4).
            return;
        }
        self.is_count_elsewhere = false;
        self.row_count = match (&summary.error, summary.result_sets) {
            (Some(_), _) => Some(AFTER_ROWS),
            (None, 1) => Some(AFTER_ROWS),
            (None, 0) => i64::try_from(summary.affected_rows).ok(),
            (None, _) => None,
        };
        let Some(statement) = statement else {
            self.forget();
            return;
        };
        if gets {
            self.row_count = Some(AFTER_ROWS);
        }
        if matches!(statement.kind, Kind::Call | Kind::Multi | Kind::Execute) {
            self.row_count = None;
        }
        let hold = &statement.hold;
        let is_one = statement.opaque.is_none();
        if summary.error.is_some() && is_one {
            // What failed has found nothing.
        } else if hold.blurs_found_rows || hold.limits_rows || summary.has_cursor {
            (self.found_rows, self.is_found_elsewhere) = (None, false);
        } else if statement.kind == Kind::Select {
            (self.found_rows, self.is_found_elsewhere) = (Some(summary.rows), false);
        }
    }

    /// The connection has run something of which nobody knows what it left behind.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// A session begins, and has run nothing; its connection may have.
    pub fn new() -> Self {
        Self {
            row_count: Some(0),
            found_rows: Some(0),
            is_count_elsewhere: true,
            is_found_elsewhere: true,
        }
    }

    /// The session was reset: that counts no rows, and leaves alone what was found (measured on 9.7.4).
    pub fn reset(&mut self) {
        self.row_count = Some(0);
        self.moved();
    }

    /// A command that is no statement was answered. Rows found stay as they were (measured on 9.7.4).
    pub fn commanded(&mut self, row_count: Option<i64>) {
        (self.row_count, self.is_count_elsewhere) = (row_count, false);
    }

    /// The session was given an answer of so many rows found that did not come from its connection.
    pub fn served_elsewhere(&mut self, found_rows: u64) {
        *self = Self {
            row_count: Some(AFTER_ROWS),
            found_rows: Some(found_rows),
            is_count_elsewhere: true,
            is_found_elsewhere: true,
        };
    }

    /// Whether both are known, so that the connection may be left.
    pub fn are_known(&self) -> bool {
        self.row_count.is_some() && self.found_rows.is_some()
    }

    /// The connection was asked.
    pub fn found(&mut self, row_count: i64, found_rows: u64) {
        if !self.is_count_elsewhere {
            self.row_count = Some(row_count);
        }
        if !self.is_found_elsewhere {
            self.found_rows = Some(found_rows);
        }
        self.moved();
    }

    /// The session is on another connection now, or its own has run something of ours.
    pub fn moved(&mut self) {
        self.is_count_elsewhere = true;
        self.is_found_elsewhere = true;
    }

    /// Whether what the connection does not know is to be brought there before a statement: that may ask for it, or may leave the
    /// rows found as they are. `has_conditions`: the connection has warnings that may be asked for. To bring rows wipes them out, and
    /// a count as well; code that we do not see finds no warnings of the statement before it (measured on 9.7.4).
    pub fn are_missed_by(&self, statement: &Statement, has_conditions: bool) -> bool {
        if !self.is_count_elsewhere && !self.is_found_elsewhere {
            return false;
        }
        let hold = &statement.hold;
        let is_unseen = runs_unseen(statement);
        let count = self.is_count_elsewhere && (hold.reads_row_count || is_unseen);
        let found = self.is_found_elsewhere
            && (hold.reads_found_rows || hold.may_leave_found_rows || is_unseen);
        let has_count = !self.is_count_elsewhere && !matches!(self.row_count, Some(AFTER_ROWS | 0));
        (count || found)
            && !(has_count && is_unseen)
            && !(has_conditions && (hold.reads_conditions || hold.is_blind))
    }

    /// A command of ours has failed on the connection: what it counts is not the session's.
    pub fn miscounted(&mut self) {
        self.is_count_elsewhere |= self.row_count.is_some();
    }

    /// A query that found so many rows has been run on the connection.
    pub fn restored(&mut self) {
        self.is_found_elsewhere = false;
        self.is_count_elsewhere = self.row_count != Some(AFTER_ROWS);
    }
}

/// Whether it may ask in a way that its text does not show.
fn runs_unseen(statement: &Statement) -> bool {
    let unread = statement.opaque.is_some() && statement.effects.any();
    statement.hold.runs_unseen || statement.hold.is_blind || unread
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{DigestScratch, LexMode, classify};

    fn statement(text: &str) -> Statement {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        classify::statement(&scratch, text.as_bytes())
    }

    fn rows(rows: u64) -> Summary {
        Summary {
            rows,
            result_sets: 1,
            ..Summary::default()
        }
    }

    #[test]
    fn rows_of_a_query_stay_found_through_plain_writes() {
        let mut traces = Traces::default();
        traces.answered(Some(&statement("select a from t")), &rows(3));
        let written = Summary {
            affected_rows: 2,
            ..Summary::default()
        };
        traces.answered(Some(&statement("insert into t values (1), (2)")), &written);
        assert_eq!((traces.row_count, traces.found_rows), (Some(2), Some(3)));
        traces.answered(Some(&statement("update t set a = 1")), &written);
        assert_eq!(traces.found_rows, None);
        traces.answered(Some(&statement("select a from t limit 1")), &rows(1));
        assert!(!traces.are_known());
    }

    #[test]
    fn a_connection_that_was_changed_is_asked_only_after_a_restore() {
        let mut traces = Traces::default();
        traces.answered(Some(&statement("select a from t")), &rows(3));
        let asks = statement("select found_rows()");
        assert!(!traces.are_missed_by(&asks, false));
        traces.moved();
        assert!(
            traces.are_missed_by(&asks, false)
                && traces.are_missed_by(&statement("call p()"), false)
        );
        assert!(!traces.are_missed_by(&statement("select a from t"), false));
        traces.restored();
        assert!(!traces.are_missed_by(&asks, false));
    }

    #[test]
    fn a_count_that_no_query_brings_back_stays_elsewhere() {
        let mut traces = Traces::default();
        traces.answered(Some(&statement("select a from t")), &rows(3));
        let written = Summary {
            affected_rows: 2,
            ..Summary::default()
        };
        traces.answered(Some(&statement("delete from t")), &written);
        traces.moved();
        traces.restored();
        assert!(traces.is_count_elsewhere && !traces.is_found_elsewhere);
    }
}
