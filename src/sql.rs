//! Statements: digest, kind, tables, effects. Pure; never does IO and never prints an AST for a server.

pub mod env;
