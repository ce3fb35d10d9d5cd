//! What a statement leaves behind on its connection that no tracker of the server reports, read off its digest text once.
//! Everything is an upper bound: true means "may". Decides nothing.

use super::statement::{Effects, Kind, OpaqueReason, Statement};

/// Words of a text that matter to whoever wants to give its connection to another session afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hold {
    /// Takes a user lock by GET_LOCK(). No tracker tells (measured on 9.7.4).
    pub takes_user_lock: bool,
    /// Frees all user locks, and takes none.
    pub frees_user_locks: bool,
    /// LOCK TABLES, LOCK INSTANCE, FLUSH TABLES ... WITH READ LOCK or FOR EXPORT.
    pub locks_tables: bool,
    /// UNLOCK TABLES.
    pub unlocks_tables: bool,
    /// Assigns a user variable: SET, `:=`, INTO. The server reports only the first.
    pub sets_user_variable: bool,
    /// Makes a temporary table.
    pub makes_temporary_table: bool,
    /// Asks which connection this is: the answer must stay true.
    pub reads_identity: bool,
    /// Names the variables of the session trackers, which we set.
    pub names_trackers: bool,
    /// May show those variables among others: SHOW VARIABLES, the tables behind it.
    pub shows_trackers: bool,
    /// Opens a table for HANDLER.
    pub opens_handler: bool,
    /// Begins a transaction of XA.
    pub begins_xa: bool,
    /// Ends one.
    pub ends_xa: bool,
    /// Makes a prepared statement in SQL.
    pub prepares: bool,
    /// Runs code that is not in the text: CALL, EXECUTE, a function that we do not know.
    pub runs_unseen: bool,
    /// Asks ROW_COUNT().
    pub reads_row_count: bool,
    /// Asks for warnings or errors of the statement before.
    pub reads_conditions: bool,
    /// Asks FOUND_ROWS().
    pub reads_found_rows: bool,
    /// A query after which FOUND_ROWS() is not simply the number of rows that were sent: LIMIT, SQL_CALC_FOUND_ROWS.
    pub limits_rows: bool,
    /// It changes FOUND_ROWS() in a way that its answer does not tell; else it leaves it as it was, or tells by its rows.
    pub blurs_found_rows: bool,
    /// It blurs FOUND_ROWS(), and it may as well leave it as it was.
    pub may_leave_found_rows: bool,
    /// It may assign LAST_INSERT_ID() without telling.
    pub sets_insert_id: bool,
    /// Not all of the text could be read, so none of the above is certain.
    pub is_blind: bool,
}

impl Hold {
    /// Reads it off a statement whose other parts are known.
    pub fn of(statement: &Statement) -> Self {
        let text = statement.digest_text.to_ascii_uppercase();
        let has = |word: &str| text.contains(word);
        let effects = &statement.effects;
        let kind = statement.kind;
        let begins = |head: &str| text.starts_with(head);
        let unread = statement.opaque.is_some() && effects.any();
        let takes_user_lock = has("GET_LOCK");
        let assigns = has(":=")
            || has("INTO @")
            || kind == Kind::Select && has("INTO")
            || unread
            || matches!(kind, Kind::Set | Kind::Diagnostics | Kind::Load);
        Self {
            takes_user_lock,
            frees_user_locks: has("RELEASE_ALL_LOCKS") && !takes_user_lock && !unread,
            locks_tables: kind == Kind::Lock
                || kind == Kind::Flush && (has("LOCK") || has("EXPORT"))
                || unread && (has("LOCK TABLE") || has("LOCK INSTANCE") || has("READ LOCK")),
            unlocks_tables: kind == Kind::Unlock && has("TABLE"),
            sets_user_variable: has("@") && assigns && mentions_user_variable(&text),
            makes_temporary_table: has("TEMPORARY") && !begins("DROP"),
            reads_identity: has("CONNECTION_ID") || has("THREAD_ID"),
            names_trackers: has("SESSION_TRACK"),
            shows_trackers: kind == Kind::Show && has("VARIABLES") && !has("GLOBAL")
                || has("SESSION_VARIABLES")
                || has("VARIABLES_BY_THREAD"),
            opens_handler: kind == Kind::Handler || unread && has("HANDLER"),
            begins_xa: kind == Kind::Xa && !has("RECOVER") || unread && has("XA "),
            ends_xa: begins("XA COMMIT") || begins("XA ROLLBACK"),
            prepares: kind == Kind::Prepare || unread && has("PREPARE"),
            runs_unseen: runs_unseen(kind, effects, statement.opaque.is_some()),
            reads_row_count: has("ROW_COUNT"),
            reads_conditions: has("WARNING") || has("ERROR") || has("DIAGNOSTICS"),
            reads_found_rows: text
                .replace("SQL_CALC_FOUND_ROWS", "")
                .contains("FOUND_ROWS"),
            limits_rows: kind == Kind::Select
                && (has("LIMIT") || has("SQL_CALC_FOUND_ROWS") || has("INTO")),
            blurs_found_rows: !leaves_found_rows(kind, &text) || unread,
            may_leave_found_rows: !(leaves_found_rows(kind, &text) || finds_rows(kind)) || unread,
            sets_insert_id: effects.env && kind != Kind::Use || unread,
            is_blind: statement.opaque.is_some_and(hides_words),
        }
    }
}

/// CALL and EXECUTE, and expressions with a function that is on no list of ours (their effects are all there are).
fn runs_unseen(kind: Kind, effects: &Effects, is_opaque: bool) -> bool {
    matches!(kind, Kind::Call | Kind::Execute) || *effects == Effects::ALL && !is_opaque
}

/// Reasons why words of the text may be missing in its digest text.
fn hides_words(reason: OpaqueReason) -> bool {
    use OpaqueReason::{Malformed, TooComplex, Truncated, UnsafeCharset, VersionComment};
    matches!(
        reason,
        Truncated | Malformed | UnsafeCharset | VersionComment | TooComplex
    )
}

/// `@x`, apart from `@@x` and from the `@` of an account.
fn mentions_user_variable(text: &str) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| {
        bytes.get(at) == Some(&b'@')
            && bytes.get(at + 1) != Some(&b'@')
            && at.checked_sub(1).and_then(|at| bytes.get(at)) != Some(&b'@')
    })
}

/// Statements after which FOUND_ROWS() is what it was (measured on 9.7.4), or, for a query, what its answer shows.
fn leaves_found_rows(kind: Kind, text: &str) -> bool {
    let reads = || text.contains("SELECT") || text.contains("TABLE ");
    match kind {
        Kind::Insert | Kind::Replace | Kind::Delete => !reads(),
        Kind::Ddl => !text.contains("SELECT"),
        Kind::Show => {
            (text.contains("WARNINGS") || text.contains("ERRORS")) && !text.contains("COUNT")
        }
        Kind::Select
        | Kind::Set
        | Kind::Use
        | Kind::Begin
        | Kind::Commit
        | Kind::Rollback
        | Kind::Savepoint
        | Kind::Lock
        | Kind::Unlock
        | Kind::Flush
        | Kind::Account
        | Kind::Prepare
        | Kind::Deallocate
        | Kind::Handler
        | Kind::Maintenance
        | Kind::Diagnostics
        | Kind::Xa => true,
        _ => false,
    }
}

/// Statements that find rows of their own, if they find any way to run: of those that `leaves_found_rows` does not name. An UPDATE
/// whose WHERE cannot be true leaves them as they were (measured on 9.7.4), and that cannot be seen.
fn finds_rows(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Update | Kind::Insert | Kind::Replace | Kind::Delete
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{DigestScratch, LexMode, classify};

    fn hold(text: &str) -> Hold {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        Hold::of(&classify::statement(&scratch, text.as_bytes()))
    }

    #[test]
    fn locks_are_seen_in_any_place() {
        for text in [
            "DO GET_LOCK('a', 1)",
            "select 1, get_lock( 'x',0)",
            "begin; select get_lock('a', 1)",
        ] {
            assert!(hold(text).takes_user_lock, "{text}");
        }
        assert!(hold("select release_all_locks()").frees_user_locks);
        assert!(!hold("select release_all_locks(), get_lock('a',1)").frees_user_locks);
        assert!(hold("lock tables t read").locks_tables);
        assert!(hold("flush tables with read lock").locks_tables);
        assert!(hold("unlock tables").unlocks_tables);
        assert!(!hold("select * from t for update").locks_tables);
    }

    #[test]
    fn user_variables_are_assigned_or_only_read() {
        for text in [
            "set @a = 1",
            "select @a := 2",
            "select 1 into @a",
            "set @@sql_mode = '', @b = 2",
            "insert into t values (@a := 3)",
        ] {
            assert!(hold(text).sets_user_variable, "{text}");
        }
        for text in [
            "select @a",
            "select @@sql_mode",
            "set @@sql_mode = ''",
            "set names utf8mb4",
            "select a from t where b = @x",
        ] {
            assert!(!hold(text).sets_user_variable, "{text}");
        }
    }

    #[test]
    fn what_runs_unseen_is_told_from_what_is_plain() {
        assert!(hold("call p(1)").runs_unseen);
        assert!(hold("select my_function(1)").runs_unseen);
        assert!(!hold("select abs(1) from t").runs_unseen);
        assert!(!hold("insert into t values (1)").runs_unseen);
    }

    #[test]
    fn rows_found_are_known_after_plain_queries_only() {
        let plain = hold("select a from t");
        assert!(!plain.limits_rows && !plain.blurs_found_rows);
        assert!(hold("select a from t limit 3").limits_rows);
        assert!(hold("update t set a = 1").blurs_found_rows);
        assert!(hold("insert into t select * from u").blurs_found_rows);
        assert!(!hold("insert into t values (1)").blurs_found_rows);
        for text in [
            "explain select 1",
            "show tables",
            "create table t select 1",
            "do 1",
        ] {
            let hold = hold(text);
            assert!(hold.blurs_found_rows && hold.may_leave_found_rows, "{text}");
        }
        for text in ["handler t read next limit 2", "delete from t limit 2"] {
            let hold = hold(text);
            assert!(!hold.limits_rows && !hold.blurs_found_rows, "{text}");
        }
        assert!(!hold("update t set a = 1").may_leave_found_rows);
    }
}
