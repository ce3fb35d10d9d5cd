//! Which statements no reader of a cluster may answer, read off the statement once per digest; and the hint that a text has in a
//! comment. Pure. Decides nothing: what a session's state allows is `router::place`'s to say.

use super::classify::is_system_schema;
use super::lexer::{LexMode, Lexer, TokenKind};
use super::statement::{Kind, Statement, Uncacheable};

/// What a hint begins with.
const MARK: &[u8] = b"tidegate:";

/// Functions that ask about the server they run on, or wait for it.
const ABOUT_THE_SERVER: [&str; 7] = [
    "IS_FREE_LOCK",
    "IS_USED_LOCK",
    "LOAD_FILE",
    "POS_WAIT",
    "GTID_WAIT",
    "WAIT_FOR_EXECUTED",
    "ROLES_GRAPHML",
];

/// Why a statement must reach the writer, whatever the session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriterOnly {
    /// Not a query.
    NotARead,
    /// Several statements in one text.
    MultiStatement,
    /// Not understood.
    Opaque,
    /// It runs code that we do not see.
    StoredRoutine,
    /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
    LockingRead,
    /// GET_LOCK() and its like: the lock is of one server.
    UserLock,
    /// INTO @x, OUTFILE, DUMPFILE.
    SelectInto,
    /// It reads or sets `@x`.
    UserVariable,
    /// It changes the session in another way.
    Effects,
    /// It asks about the statement before it.
    ReadsDiagnostics,
    /// SQL_CALC_FOUND_ROWS.
    FoundRows,
    /// It asks which connection this is.
    ConnectionId,
    /// It asks about the server it runs on.
    ServerFunction,
    /// information_schema, performance_schema, mysql, sys.
    SystemSchema,
    /// It reads no table: there is nothing to take off the writer. A hint may still send it to a reader.
    NoTable,
}

impl WriterOnly {
    /// The stable name, for tables and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotARead => "not_a_read",
            Self::MultiStatement => "multi_statement",
            Self::Opaque => "opaque_statement",
            Self::StoredRoutine => "stored_routine",
            Self::LockingRead => "locking_read",
            Self::UserLock => "user_lock",
            Self::SelectInto => "select_into",
            Self::UserVariable => "user_variable",
            Self::Effects => "session_effects",
            Self::ReadsDiagnostics => "reads_diagnostics",
            Self::FoundRows => "sql_calc_found_rows",
            Self::ConnectionId => "connection_id",
            Self::ServerFunction => "server_function",
            Self::SystemSchema => "system_schema",
            Self::NoTable => "no_table",
        }
    }

    /// Reads it off a statement whose other parts are known. `None`: a reader may answer it.
    pub fn of(statement: &Statement) -> Option<Self> {
        let text = statement.digest_text.to_ascii_uppercase();
        let has = |word: &str| text.contains(word);
        let (effects, hold) = (&statement.effects, &statement.hold);
        let is_locking = statement.cacheable == Err(Uncacheable::Locking);
        let in_system = || {
            let mut schemas = statement.reads.iter().filter_map(|t| t.schema.as_deref());
            schemas.any(is_system_schema)
        };
        let reasons = [
            (statement.kind == Kind::Multi, Self::MultiStatement),
            (statement.kind != Kind::Select, Self::NotARead),
            (statement.opaque.is_some(), Self::Opaque),
            (hold.runs_unseen, Self::StoredRoutine),
            (is_locking, Self::LockingRead),
            (effects.lock, Self::UserLock),
            (
                statement.cacheable == Err(Uncacheable::Into),
                Self::SelectInto,
            ),
            (effects.user_variable, Self::UserVariable),
            (effects.any() || !statement.writes.is_empty(), Self::Effects),
            (statement.reads_diagnostics, Self::ReadsDiagnostics),
            (has("SQL_CALC_FOUND_ROWS"), Self::FoundRows),
            (hold.reads_identity, Self::ConnectionId),
            (
                hold.shows_trackers || hold.names_trackers,
                Self::SystemSchema,
            ),
            (
                ABOUT_THE_SERVER.iter().any(|word| has(word)),
                Self::ServerFunction,
            ),
            (in_system(), Self::SystemSchema),
            (statement.reads.is_empty(), Self::NoTable),
        ];
        let found = reasons.into_iter().find(|(met, _)| *met);
        found.map(|(_, why)| why)
    }
}

/// What a text asks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// `/* tidegate:writer */`.
    Writer,
    /// `/* tidegate:reader */`.
    Reader,
}

/// The first hint in a comment of `text`, in any place. What stands in strings and names is none.
pub fn hint(text: &[u8], mode: LexMode) -> Option<Hint> {
    memchr::memmem::find(text, MARK)?;
    let mut lexer = Lexer::new(text, mode);
    let mut from = 0;
    loop {
        let token = lexer.next_token();
        // Between two tokens are spaces and comments only.
        let gap = text.get(from..token.start as usize).unwrap_or_default();
        if let Some(found) = in_comment(gap) {
            return Some(found);
        }
        if matches!(token.kind, TokenKind::End | TokenKind::Malformed) {
            return None;
        }
        from = token.end as usize;
    }
}

fn in_comment(gap: &[u8]) -> Option<Hint> {
    let at = memchr::memmem::find(gap, MARK)?;
    let rest = gap.get(at + MARK.len()..)?;
    let is_end = |byte: Option<&u8>| byte.is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    for (word, hint) in [(&b"writer"[..], Hint::Writer), (b"reader", Hint::Reader)] {
        if rest.starts_with(word) && is_end(rest.get(word.len())) {
            return Some(hint);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{DigestScratch, classify};

    fn why(text: &str) -> Option<&'static str> {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        let statement = classify::statement(&scratch, text.as_bytes());
        statement.writer_only.map(WriterOnly::label)
    }

    #[test]
    fn plain_reads_may_go_to_readers() {
        for text in [
            "select a from t",
            "SELECT @@server_id, a FROM t WHERE b = 1 LIMIT 3 OFFSET 2",
            "with x as (select a from t) select count(*) from x",
            "select rand(), uuid(), now(), user() from t",
            "select a from t union select b from u",
            "table t",
            "select /*+ MAX_EXECUTION_TIME(10) */ a from t",
        ] {
            assert_eq!(why(text), None, "{text}");
        }
    }

    #[test]
    fn all_others_have_a_reason() {
        for (text, label) in [
            ("insert into t values (1)", "not_a_read"),
            ("show tables", "not_a_read"),
            ("select 1 from t; select 2 from t", "multi_statement"),
            ("select /*!40101 a */ from t", "opaque_statement"),
            ("select my_function(a) from t", "stored_routine"),
            ("select a from t for update", "locking_read"),
            ("select a from t for share", "locking_read"),
            ("select a from t lock in share mode", "locking_read"),
            ("select get_lock('a', 1) from t", "user_lock"),
            ("select a into @x from t", "select_into"),
            ("select a, @x from t", "user_variable"),
            ("select @x := a from t", "user_variable"),
            ("select last_insert_id(a) from t", "session_effects"),
            ("select last_insert_id() from t", "reads_diagnostics"),
            ("select found_rows() from t", "reads_diagnostics"),
            ("select @@warning_count from t", "reads_diagnostics"),
            (
                "select sql_calc_found_rows a from t limit 1",
                "sql_calc_found_rows",
            ),
            ("select connection_id() from t", "connection_id"),
            ("select is_used_lock('a') from t", "server_function"),
            ("select load_file('/x') from t", "server_function"),
            ("select * from information_schema.tables", "system_schema"),
            ("select @@server_id", "no_table"),
        ] {
            assert_eq!(why(text), Some(label), "{text}");
        }
    }

    #[test]
    fn hints_stand_in_comments_only() {
        let of = |text: &str| hint(text.as_bytes(), LexMode::default());
        for text in [
            "/* tidegate:writer */ select 1",
            "select /*tidegate:writer*/ a from t /* app=x */",
            "select a from t -- tidegate:writer",
            "select a # tidegate:writer\n from t",
            "select 'tidegate:reader' /* tidegate:writer */",
        ] {
            assert_eq!(of(text), Some(Hint::Writer), "{text}");
        }
        assert_eq!(
            of("select a from t /* tidegate:reader, x=y */"),
            Some(Hint::Reader)
        );
        for text in [
            "select a from t",
            "select '/* tidegate:writer */' from t",
            "select `tidegate:writer` from t",
            "select a from t /* tidegate:writers */",
            "select a from t /* tidegate: writer */",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
