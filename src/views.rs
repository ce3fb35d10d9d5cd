//! Aggregate views: recognise, choose, build, match, rewrite, retire. Any doubt goes to the base tables.

pub mod advisor;
pub mod build;
pub mod catalog;
pub mod connection;
pub mod definition;
pub mod job;
pub mod keyset;

pub mod leader;
pub mod lifecycle;
pub mod matching;
pub mod pattern;
pub mod refusal;
pub mod registry;
pub mod rewrite;
pub mod schema;
pub mod secondary;
pub mod shadow;
pub mod storage;
