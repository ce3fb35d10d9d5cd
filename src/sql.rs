//! Statements: digest, kind, tables, effects. Pure; never does IO and never prints an AST for a server.
//!
//! The order of work: [`digest::DigestScratch::run`] reads the bytes once; [`statement_cache`] finds the [`Statement`] of
//! that digest or makes it; what depends on the literals (a SET's value, the id of a KILL) is read from the text at hand by
//! [`session_statement`]. A statement that we do not fully understand is opaque, with a reason: relayed, never cached or
//! rewritten, and taken to do anything.

pub mod keywords;
pub mod lexer;

pub mod digest;

mod words;

pub mod statement;

pub mod hold;

pub mod placement;

pub mod session_statement;

pub mod skipped;

pub mod functions;

mod scan;

mod parse;

mod tables;

pub mod classify;

pub mod statement_cache;

pub mod env;

pub use digest::{DigestScratch, Literal, LiteralKind};
pub use lexer::{ClientCharset, LexMode};
pub use session_statement::SessionStatement;
pub use statement::{
    DigestId, Effects, Kind, OpaqueReason, SelectTree, Slot, Statement, TableName, Uncacheable,
};
pub use statement_cache::{LocalStatements, StatementCache};

#[cfg(test)]
mod tests;
