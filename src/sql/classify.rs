//! Kind, effects and cacheability of one statement: what cannot be proven harmless has a reason. Runs once per digest.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::digest::DigestScratch;
use super::lexer::{ClientCharset, TokenKind};
use super::statement::{DigestId, Effects, Kind, OpaqueReason, Statement, Uncacheable};
use super::words::Words;

/// The statement that `scratch` has digested from `sample`.
pub fn statement(scratch: &DigestScratch, sample: &[u8]) -> Statement {
    let words = Words::read(sample, scratch.mode(), 1 << 20);
    let kind = words.as_ref().map_or(Kind::Other, kind);
    let opaque = opaque(scratch).or(Some(OpaqueReason::Refused));
    Statement {
        id: DigestId(xxh3_128(scratch.text())),
        digest_text: Arc::from(String::from_utf8_lossy(scratch.text())),
        kind: if scratch.notes().multi_statement {
            Kind::Multi
        } else {
            kind
        },
        reads: Vec::new(),
        writes: Vec::new(),
        opaque,
        effects: Effects::ALL,
        reads_diagnostics: false,
        cacheable: Err(opaque.map_or(Uncacheable::NotQuery, Uncacheable::Opaque)),
        aggregate: false,
        select_ast: None,
    }
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
        "EXPLAIN" | "DESC"
            if words.spells(at + 1, "ROUTE") && words.kind(at + 2) != TokenKind::End =>
        {
            Kind::ExplainRoute
        }
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
