//! What a statement may ask about the one before it, brought to a connection that does not know it: because the last answer came
//! from elsewhere, or because the session is on another connection now. What cannot be brought is written into the statement.

use super::Session;
use super::error::SessionError;
use super::exchange::all_rows;
use super::text::{changes_tables, may_change_state};
use crate::backend::connection::ExchangeError;
use crate::protocol::command::Command;
use crate::protocol::relay::Expect;
use crate::sql::{Kind, Statement};

/// The most rows that a connection is made to find for the sake of FOUND_ROWS() alone.
pub(super) const FOUND_ROWS_MAX: u64 = 1 << 20;

/// What the statement before it counted and found.
const ROWS_BEFORE: &[u8] = b"SELECT ROW_COUNT(),FOUND_ROWS()";

impl Session {
    /// Before a statement: if it may ask about what its connection does not know, that is brought there first. A statement that asks
    /// nothing leaves its own traces behind.
    pub(super) async fn restore_diagnostics_before(
        &mut self,
        statement: &Statement,
    ) -> Result<(), SessionError> {
        if !self.prepared.is_empty() && may_change_state(statement) {
            self.attach().await?;
            Box::pin(self.place_all()).await?;
            if changes_tables(statement) {
                self.keep_until_executed();
            }
        }
        let has_conditions = self.ties.has_diagnostics();
        match self.traces.are_missed_by(statement, has_conditions) {
            true => Box::pin(self.restore_diagnostics()).await,
            false => Ok(()),
        }
    }

    /// Brings FOUND_ROWS(), ROW_COUNT() and the warnings of the backend connection to what the last answer left behind, as far as a
    /// query can: a count of changed rows stays elsewhere.
    pub(super) async fn restore_diagnostics(&mut self) -> Result<(), SessionError> {
        self.attach().await?;
        if !self.traces.is_found_elsewhere && !self.traces.is_count_elsewhere {
            return Ok(());
        }
        let (rows, count) = (self.traces.found_rows, self.traces.row_count);
        if self.traces.is_found_elsewhere || count == Some(-1) {
            self.find_rows(rows.unwrap_or_default()).await?;
        }
        if self.traces.is_count_elsewhere && count == Some(0) {
            // It counts no rows, and leaves those that were found (measured on 9.7.4).
            let asked = self.backend.run(Command::Ping, &[], Expect::Simple);
            let summary = self.client.wait_for_backend(asked).await??;
            self.observe_own(&summary);
            self.traces.is_count_elsewhere = false;
        }
        Ok(())
    }

    /// Asks the connection what only it knows of the last statement, before something of ours runs there.
    pub(super) async fn look_back(&mut self) -> Result<(), SessionError> {
        if self.traces.are_known() {
            self.traces.moved();
            return Ok(());
        }
        let mut bytes = Vec::new();
        let asked = self.backend.query(ROWS_BEFORE, |more| {
            super::exchange::keep(&mut bytes, more, 4096)
        });
        let summary = self.client.wait_for_backend(asked).await??;
        self.observe_own(&summary);
        let row = all_rows(&bytes, self.backend.capabilities).and_then(|mut rows| rows.pop());
        let number = |at: usize| {
            let cell = row.as_ref()?.get(at)?.as_deref()?;
            std::str::from_utf8(cell).ok()?.parse::<i64>().ok()
        };
        match (number(0), number(1)) {
            (Some(count), Some(found)) => self.traces.found(count, found.unsigned_abs()),
            _ => self.traces.forget(),
        }
        Ok(())
    }

    /// Runs a query that finds so many rows.
    async fn find_rows(&mut self, rows: u64) -> Result<(), SessionError> {
        let sql = rows_statement(rows);
        let asked = self.backend.query(sql.as_bytes(), |_| Ok(()));
        match self.client.wait_for_backend(asked).await? {
            Ok(summary) => self.observe_own(&summary),
            Err(ExchangeError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.traces.restored();
        Ok(())
    }

    /// The statement with its ROW_COUNT() written out, when its connection cannot be brought to know the count: of rows changed on
    /// another one. `None`: as it stands.
    ///
    /// # Errors
    /// It asks in a way that cannot be written out without changing the names of its columns.
    pub(super) fn with_row_count(
        &self,
        statement: &Statement,
        text: &[u8],
    ) -> Result<Option<Vec<u8>>, SessionError> {
        let Some(count) = self.traces.row_count.filter(|count| *count > 0) else {
            return Ok(None);
        };
        if !self.traces.is_count_elsewhere || !statement.hold.reads_row_count {
            return Ok(None);
        }
        match write_out_first(statement, text, count) {
            Some(written) => Ok(Some(written)),
            None => Err(SessionError::Unattached {
                code: 1105,
                sqlstate: *b"HY000",
                text: "Tidegate: this form of ROW_COUNT() needs pool.mode = \"session\" (ask for it alone: SELECT ROW_COUNT())"
                    .to_owned(),
            }),
        }
    }
}

/// The same of several statements: only the first asks about what was before.
fn write_out_first(statement: &Statement, text: &[u8], count: i64) -> Option<Vec<u8>> {
    if statement.kind != Kind::Multi {
        return write_out(statement.kind == Kind::Select, text, count);
    }
    let (first, rest) = text.split_at_checked(end_of_first(text)?)?;
    let Some(_) = call_of_row_count(first) else {
        return Some(text.to_vec());
    };
    let word = first.trim_ascii_start().get(..6)?;
    let mut written = write_out(word.eq_ignore_ascii_case(b"select"), first, count)?;
    written.extend_from_slice(rest);
    Some(written)
}

/// Where the first of several statements ends. `None`: comments or backslashes may hide it.
fn end_of_first(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (_, b'\\' | b'#' | b'/' | b'-') => return None,
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'\'' | b'"' | b'`') => quote = Some(*byte),
            (None, b';') => return Some(at),
            _ => {}
        }
    }
    None
}

/// `ROW_COUNT()` as a value of the same type (checked against 9.7.4: the same column definition), under the name it would have.
fn write_out(is_select: bool, text: &[u8], count: i64) -> Option<Vec<u8>> {
    let (start, end) = call_of_row_count(text)?;
    let (before, call, after) = (text.get(..start)?, text.get(start..end)?, text.get(end..)?);
    // Inside a string or a comment it would be no call: behind one, nobody can tell without reading the text.
    if before
        .iter()
        .any(|b| matches!(b, b'\'' | b'"' | b'`' | b'#' | b'/' | b'-'))
    {
        return None;
    }
    let mut written = before.to_vec();
    written.extend_from_slice(format!("CAST({count} AS SIGNED)").as_bytes());
    if is_select {
        let head = before.trim_ascii();
        let open = head.iter().filter(|b| **b == b'(').count();
        let closed = head.iter().filter(|b| **b == b')').count();
        let begins = head
            .get(..6)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"select"));
        // An item of the outermost list, and all of it.
        let alone = begins && open == closed && (head.len() == 6 || head.ends_with(b","));
        let rest = after.trim_ascii();
        let is_named = rest.len() > 3 && rest.get(..3)?.eq_ignore_ascii_case(b"as ");
        let ends = rest.is_empty() || rest == b";";
        if !alone || !(is_named || ends || rest.starts_with(b",")) {
            return None;
        }
        if !is_named {
            written.extend_from_slice(b" AS `");
            written.extend_from_slice(call);
            written.push(b'`');
        }
    }
    if call_of_row_count(after).is_some() {
        return None;
    }
    written.extend_from_slice(after);
    Some(written)
}

/// Where the call stands. The text was read as one statement that has the word; in a string or comment it would not be found by
/// its digest.
fn call_of_row_count(text: &[u8]) -> Option<(usize, usize)> {
    const NAME: &[u8] = b"row_count";
    let at = text
        .windows(NAME.len())
        .position(|word| word.eq_ignore_ascii_case(NAME))?;
    let behind = text.get(at + NAME.len()..)?;
    let open = behind.iter().position(|b| !b.is_ascii_whitespace())?;
    let inside = behind.get(open..)?.strip_prefix(b"(")?;
    let close = inside.iter().position(|b| !b.is_ascii_whitespace())?;
    inside.get(close..)?.strip_prefix(b")")?;
    Some((at, at + NAME.len() + open + 1 + close + 1))
}

/// A SELECT with exactly this many rows and no warning.
fn rows_statement(rows: u64) -> String {
    match rows {
        0 => "SELECT 1 FROM DUAL WHERE 0".to_owned(),
        1 => "SELECT 1".to_owned(),
        n => format!(
            "SELECT 1 FROM JSON_TABLE(CONCAT(_utf8mb4'[',REPEAT(_utf8mb4'1,',{}),_utf8mb4'1]'),_utf8mb4'$[*]' COLUMNS(a INT PATH _utf8mb4'$')) AS t",
            n - 1
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{DigestScratch, LexMode, classify};

    fn written(text: &str) -> Option<String> {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        let statement = classify::statement(&scratch, text.as_bytes());
        let written = write_out_first(&statement, text.as_bytes(), 5)?;
        String::from_utf8(written).ok()
    }

    #[test]
    fn a_count_is_written_out_under_its_own_name() {
        for (text, wanted) in [
            (
                "select Row_Count()",
                Some("select CAST(5 AS SIGNED) AS `Row_Count()`"),
            ),
            (
                "SELECT ROW_COUNT ( ) ;",
                Some("SELECT CAST(5 AS SIGNED) AS `ROW_COUNT ( )` ;"),
            ),
            (
                "SELECT ROW_COUNT() as n",
                Some("SELECT CAST(5 AS SIGNED) as n"),
            ),
            (
                "select row_count(), 1",
                Some("select CAST(5 AS SIGNED) AS `row_count()`, 1"),
            ),
            (
                "insert into t values (row_count())",
                Some("insert into t values (CAST(5 AS SIGNED))"),
            ),
            ("set @a = row_count()", Some("set @a = CAST(5 AS SIGNED)")),
            (
                "insert into t values ('row_count()', row_count /**/ ())",
                None,
            ),
            ("select row_count() + 1", None),
            (
                "select 1, row_count()",
                Some("select 1, CAST(5 AS SIGNED) AS `row_count()`"),
            ),
            (
                "select last_insert_id(), row_count(), 2",
                Some("select last_insert_id(), CAST(5 AS SIGNED) AS `row_count()`, 2"),
            ),
            ("select (select 1, row_count())", None),
            (
                "select @a, row_count(); select row_count()",
                Some("select @a, CAST(5 AS SIGNED) AS `row_count()`; select row_count()"),
            ),
            (
                "select 1; select row_count()",
                Some("select 1; select row_count()"),
            ),
            ("select 'a', row_count(); select 1", None),
            (
                "prepare x from 'select 5'; select row_count()",
                Some("prepare x from 'select 5'; select row_count()"),
            ),
            ("select 1 /* ; */; select row_count()", None),
            ("set @a = row_count(), @b = row_count()", None),
        ] {
            assert_eq!(written(text).as_deref(), wanted, "{text}");
        }
    }
}
