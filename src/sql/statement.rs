//! What we know of a statement, once per digest: [`Statement`] and the words it is described in. Holds data, decides nothing.

use std::sync::Arc;

use super::digest::LiteralKind;
use super::hold::Hold;
use super::placement::WriterOnly;

/// Our name for a digest: xxh3-128 of the digest text. Shown as 32 hex digits; other servers' digests differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestId(pub u128);

impl std::fmt::Display for DigestId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// What a statement is, by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SELECT, WITH ... SELECT, VALUES, TABLE, a parenthesised query.
    Select,
    /// INSERT.
    Insert,
    /// REPLACE.
    Replace,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// LOAD DATA, LOAD XML (LOCAL or not).
    Load,
    /// CALL.
    Call,
    /// DO.
    Do,
    /// SET in every form.
    Set,
    /// USE.
    Use,
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK (also TO SAVEPOINT).
    Rollback,
    /// SAVEPOINT, RELEASE SAVEPOINT.
    Savepoint,
    /// XA ...
    Xa,
    /// LOCK TABLES, LOCK INSTANCE.
    Lock,
    /// UNLOCK TABLES, UNLOCK INSTANCE.
    Unlock,
    /// PREPARE s FROM ...
    Prepare,
    /// EXECUTE s.
    Execute,
    /// DEALLOCATE PREPARE, DROP PREPARE.
    Deallocate,
    /// HANDLER.
    Handler,
    /// SHOW.
    Show,
    /// EXPLAIN, DESCRIBE, DESC, HELP.
    Explain,
    /// EXPLAIN ROUTE: ours.
    ExplainRoute,
    /// KILL.
    Kill,
    /// CREATE, ALTER, DROP, RENAME, TRUNCATE of anything but accounts.
    Ddl,
    /// GRANT, REVOKE, CREATE/ALTER/DROP/RENAME USER, ROLE.
    Account,
    /// FLUSH.
    Flush,
    /// RESET.
    Reset,
    /// ANALYZE, CHECK, CHECKSUM, OPTIMIZE, REPAIR TABLE.
    Maintenance,
    /// GET DIAGNOSTICS, SIGNAL, RESIGNAL.
    Diagnostics,
    /// START/STOP REPLICA, CHANGE REPLICATION, PURGE, INSTALL, CLONE, SHUTDOWN and the like.
    Admin,
    /// More than one statement in the text.
    Multi,
    /// Nothing but spaces and comments.
    Empty,
    /// Anything else.
    Other,
}

impl Kind {
    /// The stable name, for tables and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Select => "select",
            Kind::Insert => "insert",
            Kind::Replace => "replace",
            Kind::Update => "update",
            Kind::Delete => "delete",
            Kind::Load => "load",
            Kind::Call => "call",
            Kind::Do => "do",
            Kind::Set => "set",
            Kind::Use => "use",
            Kind::Begin => "begin",
            Kind::Commit => "commit",
            Kind::Rollback => "rollback",
            Kind::Savepoint => "savepoint",
            Kind::Xa => "xa",
            Kind::Lock => "lock",
            Kind::Unlock => "unlock",
            Kind::Prepare => "prepare",
            Kind::Execute => "execute",
            Kind::Deallocate => "deallocate",
            Kind::Handler => "handler",
            Kind::Show => "show",
            Kind::Explain => "explain",
            Kind::ExplainRoute => "explain_route",
            Kind::Kill => "kill",
            Kind::Ddl => "ddl",
            Kind::Account => "account",
            Kind::Flush => "flush",
            Kind::Reset => "reset",
            Kind::Maintenance => "maintenance",
            Kind::Diagnostics => "diagnostics",
            Kind::Admin => "admin",
            Kind::Multi => "multi",
            Kind::Empty => "empty",
            Kind::Other => "other",
        }
    }
}

/// A table as the statement writes it. Case is kept: whether it matters is the server's `lower_case_table_names`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema before the dot; `None`: the session's current one.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

/// Why we do not understand a statement. It is relayed, taken to have every effect, never cached or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpaqueReason {
    /// The digest text was cut at `statements.digest_text_bytes_max`.
    Truncated,
    /// A byte outside the grammar, an unterminated string or comment.
    Malformed,
    /// Several statements in one text.
    MultiStatement,
    /// `/*! ... */`: what it does depends on the server's version.
    VersionComment,
    /// The client's character set can hide quotes inside characters.
    UnsafeCharset,
    /// A name that cannot be read: not UTF-8, or sent in another character set.
    UnreadableName,
    /// Our parser does not know this form.
    Refused,
    /// Nested or long beyond what the parser is given.
    TooComplex,
    /// Two ways of listing its tables gave two lists.
    TablesDisagree,
    /// It runs code that we do not see: CALL, EXECUTE, a stored program's definition.
    StoredProgram,
    /// It does not begin as any statement that we know.
    UnknownStatement,
}

impl OpaqueReason {
    /// The stable name, for tables and metrics.
    pub fn label(self) -> &'static str {
        match self {
            OpaqueReason::Truncated => "truncated",
            OpaqueReason::Malformed => "malformed",
            OpaqueReason::MultiStatement => "multi_statement",
            OpaqueReason::VersionComment => "version_comment",
            OpaqueReason::UnsafeCharset => "unsafe_charset",
            OpaqueReason::UnreadableName => "unreadable_name",
            OpaqueReason::Refused => "parser_refused",
            OpaqueReason::TooComplex => "too_complex",
            OpaqueReason::TablesDisagree => "tables_disagree",
            OpaqueReason::StoredProgram => "stored_program",
            OpaqueReason::UnknownStatement => "unknown_statement",
        }
    }
}

/// What a statement may do to its session, beyond reading and writing rows. Everything is an upper bound: true means "may".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// May change session variables, the character set, the role (SET, CALL, an unknown function ...).
    pub env: bool,
    /// May change the current schema (USE, or unknown).
    pub may_change_schema: bool,
    /// May create or drop a temporary table.
    pub temp_table: bool,
    /// Reads or sets user variables.
    pub user_variable: bool,
    /// Takes or frees locks that outlive the statement (LOCK TABLES, GET_LOCK, FLUSH .. WITH READ LOCK, FOR UPDATE in a transaction).
    pub lock: bool,
    /// Begins, ends or marks a transaction, also by an implicit commit.
    pub transaction_control: bool,
    /// Changes definitions or grants.
    pub ddl: bool,
    /// Makes or drops a named prepared statement or an open handler.
    pub prepared: bool,
}

impl Effects {
    /// No effect at all.
    pub const NONE: Effects = Effects {
        env: false,
        may_change_schema: false,
        temp_table: false,
        user_variable: false,
        lock: false,
        transaction_control: false,
        ddl: false,
        prepared: false,
    };
    /// Everything: what is not understood.
    pub const ALL: Effects = Effects {
        env: true,
        may_change_schema: true,
        temp_table: true,
        user_variable: true,
        lock: true,
        transaction_control: true,
        ddl: true,
        prepared: true,
    };

    /// Whether any session state may differ afterwards.
    pub fn any(self) -> bool {
        self != Effects::NONE
    }
}

/// Why the result of a statement must not be stored for others, or for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Uncacheable {
    /// Not a query.
    NotQuery,
    /// We do not understand it.
    Opaque(OpaqueReason),
    /// It reads no table: cheaper to ask, and nothing would ever invalidate it.
    NoTable,
    /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
    Locking,
    /// INTO @x, OUTFILE, DUMPFILE.
    Into,
    /// `@x`.
    UserVariable,
    /// `@@x`.
    SystemVariable,
    /// A function whose value differs between two calls (RAND, UUID, SLEEP ...).
    NonDeterministic,
    /// NOW(), CURDATE() and the like.
    Clock,
    /// A function of who asks, or of what the session did before (CONNECTION_ID, LAST_INSERT_ID, USER ...).
    SessionFunction,
    /// A function that is not on our list: stored, loadable, or new.
    UnknownFunction,
    /// information_schema, performance_schema, mysql, sys.
    SystemSchema,
    /// An optimizer hint that can change the result or the session (SET_VAR, MAX_EXECUTION_TIME, RESOURCE_GROUP, unknown).
    Hint,
    /// SQL_CALC_FOUND_ROWS: the next statement asks for the count.
    FoundRows,
}

impl Uncacheable {
    /// The stable name, for tables and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Uncacheable::NotQuery => "not_a_query",
            Uncacheable::Opaque(reason) => reason.label(),
            Uncacheable::NoTable => "no_table",
            Uncacheable::Locking => "locking_read",
            Uncacheable::Into => "select_into",
            Uncacheable::UserVariable => "user_variable",
            Uncacheable::SystemVariable => "system_variable",
            Uncacheable::NonDeterministic => "non_deterministic",
            Uncacheable::Clock => "clock_function",
            Uncacheable::SessionFunction => "session_function",
            Uncacheable::UnknownFunction => "unknown_function",
            Uncacheable::SystemSchema => "system_schema",
            Uncacheable::Hint => "hint",
            Uncacheable::FoundRows => "sql_calc_found_rows",
        }
    }
}

/// Where one literal value of the sample text stands: the link from a node of the tree to the literals of any text with the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// First byte in the sample, behind a folded sign: where the tree has its value.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// Index into `DigestScratch::literals()`.
    pub literal: u32,
    /// Which value of that literal (0 unless it is a list or rows).
    pub element: u32,
    /// The value's own kind in the sample.
    pub kind: LiteralKind,
}

/// The tree of a query, for the views. Spans in it are byte offsets into `sample`: line 1, column = offset + 1.
#[derive(Debug)]
pub struct SelectTree {
    /// sqlparser's tree. Literal values in it are the sample's; take values from the text at hand by slot. Most names carry
    /// `quote_style: Some('`')` whether the client quoted them or not: it says nothing.
    pub ast: Box<sqlparser::ast::Statement>,
    /// The text that was parsed.
    pub sample: Box<[u8]>,
    /// Every literal value of the sample, by position.
    pub slots: Box<[Slot]>,
    /// The literals of the sample as the digest saw them.
    pub literals: Box<[super::digest::Literal]>,
    /// The text has an optimizer hint; the tree does not show it.
    pub hint: bool,
}

impl SelectTree {
    /// The slot of the literal at a tree node's span. `None`: the node has no span, or stands for no literal of the digest.
    pub fn slot(&self, span: sqlparser::tokenizer::Span) -> Option<&Slot> {
        let start = u32::try_from(span.start.column.checked_sub(1)?).ok()?;
        if span.start.line != 1 {
            return None;
        }
        let index = self
            .slots
            .binary_search_by_key(&start, |slot| slot.start)
            .ok()?;
        self.slots.get(index)
    }

    /// The bytes of the sample between two offsets.
    pub fn text(&self, start: u32, end: u32) -> &[u8] {
        self.sample
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }
}

/// What we know of every text with one digest (and one way of reading it). Shared, never changed.
#[derive(Debug)]
pub struct Statement {
    /// The digest's name.
    pub id: DigestId,
    /// The digest text; bytes outside UTF-8 are replaced for show.
    pub digest_text: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// Tables that it reads. Complete when `cacheable` is Ok; otherwise as far as we could see.
    pub reads: Vec<TableName>,
    /// Tables that it writes, as far as we could see.
    pub writes: Vec<TableName>,
    /// Why we do not understand it.
    pub opaque: Option<OpaqueReason>,
    /// What it may do to the session.
    pub effects: Effects,
    /// It asks about the statement before it (FOUND_ROWS(), ROW_COUNT(), LAST_INSERT_ID(), SHOW WARNINGS, GET DIAGNOSTICS,
    /// `@@warning_count` ...): it must see the session as the client's statements left it.
    pub reads_diagnostics: bool,
    /// Whether its result may be stored, as far as the statement alone tells.
    pub cacheable: Result<(), Uncacheable>,
    /// A query with an aggregate or GROUP BY that was parsed: worth giving to the views, which decide.
    pub aggregate: bool,
    /// Only when `aggregate`.
    pub select_ast: Option<SelectTree>,
    /// What it may leave behind on its connection.
    pub hold: Hold,
    /// Why no reader of a cluster may answer it.
    pub writer_only: Option<WriterOnly>,
}

/// Bytes that one unit of [`Statement::weight`] stands for: what an ordinary statement takes.
const WEIGHT_UNIT_BYTES: usize = 4096;
/// Bytes of tree for each byte of text, about (measured: 30 to 100).
const TREE_BYTES_PER_BYTE: usize = 100;

impl Statement {
    /// How many ordinary statements' memory it takes, about: what caches of statements are bounded by.
    pub fn weight(&self) -> u32 {
        let names = (self.reads.len() + self.writes.len()) * 64;
        let tree = self
            .select_ast
            .as_ref()
            .map_or(0, |tree| tree.sample.len() * TREE_BYTES_PER_BYTE);
        let bytes = 3 * self.digest_text.len() + names + tree;
        u32::try_from(1 + bytes / WEIGHT_UNIT_BYTES).unwrap_or(u32::MAX)
    }

    /// Whether it says that accounts or grants change. What a stored program or a text of several statements does is not read.
    pub fn changes_accounts(&self) -> bool {
        let begins = |words: &str| {
            let start = self.digest_text.get(..words.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(words))
        };
        match self.kind {
            Kind::Account => true,
            Kind::Set => begins("SET PASSWORD"),
            // What somebody wrote into the tables of grants counts from then on.
            Kind::Flush => [
                "FLUSH PRIVILEGES",
                "FLUSH LOCAL",
                "FLUSH NO_WRITE_TO_BINLOG",
            ]
            .iter()
            .any(|words| begins(words)),
            _ => false,
        }
    }

    /// Whether it may do more than was read of it. A text that the parser does not know, but that our own reading shows to be a
    /// plain query, does nothing to a session.
    pub fn may_do_more(&self) -> bool {
        self.opaque.is_some() && self.effects.any() || self.kind == Kind::Multi
    }

    /// The same without its tree, for holders that plan nothing.
    pub fn without_tree(&self) -> Self {
        Self {
            id: self.id,
            digest_text: self.digest_text.clone(),
            kind: self.kind,
            reads: self.reads.clone(),
            writes: self.writes.clone(),
            opaque: self.opaque,
            effects: self.effects,
            reads_diagnostics: self.reads_diagnostics,
            cacheable: self.cacheable,
            aggregate: self.aggregate,
            select_ast: None,
            hold: self.hold,
            writer_only: self.writer_only,
        }
    }

    /// A query that reads and does nothing else, as far as the statement alone tells.
    pub fn is_plain_read(&self) -> bool {
        self.kind == Kind::Select
            && self.opaque.is_none()
            && self.writes.is_empty()
            && !self.effects.any()
    }
}
