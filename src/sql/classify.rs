//! Kind, effects and cacheability of one statement: what cannot be proven harmless has a reason. Runs once per digest.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::digest::DigestScratch;
use super::hold::Hold;
use super::lexer::{ClientCharset, TokenKind};
use super::parse;
use super::placement::WriterOnly;
use super::scan::{self, Scan};
use super::session_statement::{self, SessionStatement, SetTarget};
use super::statement::{
    DigestId, Effects, Kind, OpaqueReason, SelectTree, Statement, TableName, Uncacheable,
};
use super::tables;
use super::words::Words;

/// Tokens that we look at, long lists cut: more is too complex. Bounds what is quadratic below.
const TOKENS_MAX: usize = 6000;

/// Stack for parsing and walking; pages that are not used cost nothing. The deepest tree that `parse` allows takes between 4 and
/// 8 MiB of it in a debug build (tests/hostile.rs).
const STACK_BYTES: usize = 32 << 20;

/// A longer text is not kept beside its tree, so it gets none.
const SAMPLE_BYTES_MAX: usize = 32 << 10;

/// Trees deeper than this are not kept: whoever reads them recurses on an ordinary stack.
const KEPT_DEPTH_MAX: usize = 100;

/// The statement that `scratch` has digested from `sample`.
pub fn statement(scratch: &DigestScratch, sample: &[u8]) -> Statement {
    let words = Words::sample(sample, scratch.mode(), scratch.literals(), TOKENS_MAX);
    let kind = match &words {
        _ if scratch.notes().empty => Kind::Empty,
        None => Kind::Other,
        Some(words) => kind(words),
    };
    let mut statement = Statement {
        id: DigestId(xxh3_128(scratch.text())),
        digest_text: Arc::from(String::from_utf8_lossy(scratch.text())),
        kind,
        reads: Vec::new(),
        writes: Vec::new(),
        opaque: None,
        effects: Effects::NONE,
        reads_diagnostics: false,
        cacheable: Err(Uncacheable::NotQuery),
        aggregate: false,
        select_ast: None,
        hold: Hold::default(),
        writer_only: None,
    };
    let opaque = opaque(scratch).or(if words.is_none() {
        Some(OpaqueReason::TooComplex)
    } else {
        None
    });
    match (opaque, words) {
        (None, Some(words)) => understand(&mut statement, &words, scratch),
        (reason, _) => {
            statement.opaque = reason;
            if reason == Some(OpaqueReason::MultiStatement) && defines_program(&statement) {
                statement.opaque = Some(OpaqueReason::StoredProgram);
            } else if reason == Some(OpaqueReason::MultiStatement) {
                statement.kind = Kind::Multi;
            }
        }
    }
    if let Some(reason) = statement.opaque {
        statement.cacheable = Err(Uncacheable::Opaque(reason));
        // A query without a tree is still a query: its calls and variables have been read from its tokens.
        let tree_only = matches!(
            reason,
            OpaqueReason::Refused | OpaqueReason::TooComplex | OpaqueReason::TablesDisagree
        );
        if statement.kind != Kind::Select || !tree_only {
            statement.effects = Effects::ALL;
            statement.reads_diagnostics = true;
        }
    }
    statement.hold = Hold::of(&statement);
    statement.writer_only = WriterOnly::of(&statement);
    statement
}

/// `CREATE PROCEDURE p() BEGIN ...; ...; END` has semicolons, but is one statement.
fn defines_program(statement: &Statement) -> bool {
    statement.kind == Kind::Ddl
        && ["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT"]
            .iter()
            .any(|word| {
                statement
                    .digest_text
                    .split(' ')
                    .take(12)
                    .any(|part| part == *word)
            })
}

/// Fill in what the tokens and, for a query, the tree tell.
fn understand(statement: &mut Statement, words: &Words, scratch: &DigestScratch) {
    let scan = scan::scan(words, scratch.mode());
    effects(statement, words, scratch, &scan);
    match statement.kind {
        Kind::Select => query(statement, words, scratch, &scan),
        Kind::Insert | Kind::Replace | Kind::Load => {
            let mut tables = scan.tables.into_iter();
            statement.writes.extend(tables.next());
            statement.reads.extend(tables);
        }
        // Which of several tables is changed is the server's knowledge: all of them may be.
        Kind::Update | Kind::Delete => {
            let mut seen = std::collections::HashSet::new();
            statement.reads = scan
                .tables
                .into_iter()
                .filter(|table| seen.insert(table.clone()))
                .collect();
            statement.writes.clone_from(&statement.reads);
        }
        Kind::Call | Kind::Execute => statement.opaque = Some(OpaqueReason::StoredProgram),
        Kind::Other | Kind::Admin => statement.opaque = Some(OpaqueReason::UnknownStatement),
        Kind::Ddl if defines_program(statement) => {
            statement.opaque = Some(OpaqueReason::StoredProgram)
        }
        _ => {}
    }
}

/// What it may do to the session. Triggers are not seen here: the server's session trackers report what they change.
fn effects(statement: &mut Statement, words: &Words, scratch: &DigestScratch, scan: &Scan) {
    let functions = scan.functions;
    let mut effects = Effects {
        user_variable: scan.user_variable,
        lock: functions.lock || scan.locking,
        env: functions.sets_last_insert_id,
        ..Effects::NONE
    };
    if functions.unknown && runs_expressions(statement.kind) {
        effects = Effects::ALL;
    }
    statement.reads_diagnostics = functions.diagnostics || scan.diagnostics_variable;
    match statement.kind {
        Kind::Set => set_effects(&mut effects, words, scratch),
        Kind::Use => effects.may_change_schema = true,
        Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Savepoint | Kind::Maintenance => {
            effects.transaction_control = true
        }
        Kind::Xa | Kind::Lock | Kind::Unlock => {
            effects.transaction_control = true;
            effects.lock = true;
        }
        Kind::Prepare | Kind::Deallocate | Kind::Handler => effects.prepared = true,
        Kind::Account => {
            effects.ddl = true;
            effects.transaction_control = true;
        }
        Kind::Ddl => {
            effects.ddl = true;
            effects.transaction_control = true;
            effects.temp_table =
                matches!(words.keyword(0), "DROP") || words.keyword(1) == "TEMPORARY";
            effects.may_change_schema = words.keyword(0) == "DROP" && words.keyword(1) == "SCHEMA";
        }
        Kind::Flush | Kind::Reset => {
            effects.ddl = true;
            effects.lock = true;
            effects.transaction_control = true;
        }
        Kind::Diagnostics => statement.reads_diagnostics = true,
        Kind::Show => {
            let about_before = ["WARNINGS", "ERRORS", "PROFILE", "PROFILES"];
            statement.reads_diagnostics |=
                (1..words.tokens.len()).any(|at| about_before.contains(&words.keyword(at)));
        }
        _ => {}
    }
    statement.effects = effects;
}

/// Names of variables are in the digest, so what is said of one text holds for all.
fn set_effects(effects: &mut Effects, words: &Words, scratch: &DigestScratch) {
    let SessionStatement::Set(assignments) = session_statement::parse(words.text, scratch.mode())
    else {
        effects.env = true;
        effects.transaction_control = true;
        return;
    };
    for assignment in &assignments {
        match &assignment.target {
            SetTarget::User(_) => {}
            SetTarget::Isolation(_) | SetTarget::AccessMode(_) => {
                effects.env = true;
                effects.transaction_control = true;
            }
            SetTarget::Variable(_, name) => {
                effects.env = true;
                // autocommit, transaction_isolation, tx_read_only, completion_type ...
                effects.transaction_control |= ["autocommit", "transaction", "tx_", "completion"]
                    .iter()
                    .any(|part| name.contains(part));
            }
            _ => effects.env = true,
        }
    }
}

/// Whether a call in the text is a call, and runs.
fn runs_expressions(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Select
            | Kind::Insert
            | Kind::Replace
            | Kind::Update
            | Kind::Delete
            | Kind::Load
            | Kind::Do
            | Kind::Ddl
            | Kind::Show
            | Kind::Set
            | Kind::Explain
            | Kind::Handler
            | Kind::Kill
    )
}

/// Tables, cacheability and the tree of a query.
fn query(statement: &mut Statement, words: &Words, scratch: &DigestScratch, scan: &Scan) {
    statement.reads.clone_from(&scan.tables);
    statement.reads.sort_unstable();
    statement.reads.dedup();
    let refused = refusal(scan);
    // These the parser would misread or refuse.
    if scan.into || scan.lock_in_share_mode || scan.unreadable_table {
        statement.opaque = scan
            .unreadable_table
            .then_some(OpaqueReason::UnreadableName);
        statement.cacheable = Err(refused.unwrap_or(Uncacheable::Into));
        return;
    }
    // The parser, the walk and the drop of a tree recurse as deep as the tree is; a worker's stack is small.
    let read = stacker::grow(STACK_BYTES, || {
        let tree = parse::query(words, scratch.literals(), scratch.mode())?;
        let found = tables::tables(&tree.ast, &tree.slots);
        let tree = (found.depth <= KEPT_DEPTH_MAX).then_some(tree);
        Ok((tree, found))
    });
    let (tree, mut found) = match read {
        Ok(read) => read,
        Err(failure) => {
            statement.opaque = Some(match failure {
                parse::Failure::Refused => OpaqueReason::Refused,
                parse::Failure::TooComplex => OpaqueReason::TooComplex,
            });
            return;
        }
    };
    let mut scanned = scan.tables.clone();
    scanned.sort_unstable();
    found.named.sort_unstable();
    if found.strange || scanned != found.named {
        statement.opaque = Some(OpaqueReason::TablesDisagree);
        return;
    }
    statement.reads = found.read;
    statement.cacheable = match refused {
        Some(reason) => Err(reason),
        None if statement.reads.is_empty() => Err(Uncacheable::NoTable),
        None if statement.reads.iter().any(in_system_schema) => Err(Uncacheable::SystemSchema),
        None => Ok(()),
    };
    let grouped = (0..words.tokens.len())
        .any(|at| words.keyword(at) == "GROUP" && words.keyword(at + 1) == "BY");
    // What the system's tables tell may be about the statement before it (OPTIMIZER_TRACE): none of ours may come in between.
    let trusted = words.text.len() <= SAMPLE_BYTES_MAX
        && !statement.reads.iter().any(in_system_schema)
        && !scan.exotic
        && !found.unbound_literal
        && !scratch.notes().introducer;
    let tree = tree.filter(|tree| trusted && !tree.bent && (scan.functions.aggregate || grouped));
    statement.aggregate = tree.is_some();
    statement.select_ast = tree.map(|tree| SelectTree {
        ast: Box::new(tree.ast),
        sample: words.text.into(),
        slots: tree.slots.into(),
        literals: scratch.literals().into(),
        hint: scan.hint,
    });
}

/// What the tokens alone say against storing the result.
fn refusal(scan: &Scan) -> Option<Uncacheable> {
    let functions = scan.functions;
    let reasons = [
        (scan.into, Uncacheable::Into),
        (scan.locking, Uncacheable::Locking),
        (scan.found_rows, Uncacheable::FoundRows),
        (scan.user_variable, Uncacheable::UserVariable),
        (scan.system_variable, Uncacheable::SystemVariable),
        (functions.unknown, Uncacheable::UnknownFunction),
        (
            functions.non_deterministic || functions.lock,
            Uncacheable::NonDeterministic,
        ),
        (
            functions.session || functions.diagnostics,
            Uncacheable::SessionFunction,
        ),
        (functions.clock, Uncacheable::Clock),
        (scan.unsafe_hint, Uncacheable::Hint),
    ];
    reasons
        .into_iter()
        .find(|(met, _)| *met)
        .map(|(_, reason)| reason)
}

fn in_system_schema(table: &TableName) -> bool {
    table.schema.as_deref().is_some_and(is_system_schema)
}

/// Schemas whose tables change without a trace in the binary log.
pub fn is_system_schema(schema: &str) -> bool {
    [
        "information_schema",
        "performance_schema",
        "mysql",
        "sys",
        "ndbinfo",
    ]
    .iter()
    .any(|known| schema.eq_ignore_ascii_case(known))
}

/// What the digest pass alone says against understanding the text.
fn opaque(scratch: &DigestScratch) -> Option<OpaqueReason> {
    let notes = scratch.notes();
    let charset = scratch.mode().charset;
    if notes.malformed {
        Some(OpaqueReason::Malformed)
    } else if notes.truncated {
        Some(OpaqueReason::Truncated)
    } else if charset == ClientCharset::Unsafe && notes.non_ascii {
        Some(OpaqueReason::UnsafeCharset)
    } else if notes.version_comment {
        Some(OpaqueReason::VersionComment)
    } else if notes.multi_statement {
        Some(OpaqueReason::MultiStatement)
    } else if notes.non_ascii_name && charset != ClientCharset::Utf8 {
        Some(OpaqueReason::UnreadableName)
    } else {
        None
    }
}

/// By the first words.
fn kind(words: &Words) -> Kind {
    let mut at = 0;
    while words.kind(at) == TokenKind::LeftParen {
        at += 1;
    }
    let second = words.keyword(at + 1);
    match words.keyword(at) {
        "SELECT" | "VALUES" | "TABLE" => Kind::Select,
        "WITH" => with_kind(words, at),
        _ if at > 0 => Kind::Other,
        "INSERT" => Kind::Insert,
        "REPLACE" => Kind::Replace,
        "UPDATE" => Kind::Update,
        "DELETE" => Kind::Delete,
        "LOAD" => Kind::Load,
        "CALL" => Kind::Call,
        "DO" => Kind::Do,
        "SET" => Kind::Set,
        "USE" => Kind::Use,
        "BEGIN" => Kind::Begin,
        "START" if second == "TRANSACTION" => Kind::Begin,
        "COMMIT" => Kind::Commit,
        "ROLLBACK" => Kind::Rollback,
        "SAVEPOINT" | "RELEASE" => Kind::Savepoint,
        "XA" => Kind::Xa,
        "LOCK" => Kind::Lock,
        "UNLOCK" => Kind::Unlock,
        "PREPARE" => Kind::Prepare,
        "EXECUTE" => Kind::Execute,
        "DEALLOCATE" => Kind::Deallocate,
        "DROP" if second == "PREPARE" => Kind::Deallocate,
        "HANDLER" => Kind::Handler,
        "SHOW" => Kind::Show,
        "EXPLAIN" | "DESC" if words.explains_route(at) => Kind::ExplainRoute,
        "EXPLAIN" | "DESC" | "HELP" => Kind::Explain,
        "KILL" => Kind::Kill,
        "GRANT" | "REVOKE" => Kind::Account,
        "CREATE" | "ALTER" | "DROP" | "RENAME" if matches!(second, "SYSTEM_USER" | "ROLE") => {
            Kind::Account
        }
        "ALTER" if second == "INSTANCE" => Kind::Admin,
        "CREATE" | "ALTER" | "DROP" | "RENAME" | "TRUNCATE" => Kind::Ddl,
        "FLUSH" => Kind::Flush,
        "RESET" => Kind::Reset,
        "ANALYZE" | "CHECK" | "CHECKSUM" | "OPTIMIZE" | "REPAIR" => Kind::Maintenance,
        "GET" | "SIGNAL" | "RESIGNAL" => Kind::Diagnostics,
        "START" | "STOP" | "CHANGE" | "PURGE" | "INSTALL" | "UNINSTALL" | "CLONE" | "SHUTDOWN"
        | "RESTART" | "IMPORT" | "BINLOG" | "CACHE" => Kind::Admin,
        _ if words.kind(0) == TokenKind::End => Kind::Empty,
        _ => Kind::Other,
    }
}

/// `WITH ...` belongs to the first SELECT, UPDATE or DELETE outside parentheses.
fn with_kind(words: &Words, from: usize) -> Kind {
    let mut depth = 0usize;
    for at in from..words.tokens.len() {
        match words.kind(at) {
            TokenKind::LeftParen => depth += 1,
            TokenKind::RightParen => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ => match words.keyword(at) {
                "SELECT" | "VALUES" | "TABLE" => return Kind::Select,
                "UPDATE" => return Kind::Update,
                "DELETE" => return Kind::Delete,
                _ => {}
            },
        }
    }
    Kind::Other
}
