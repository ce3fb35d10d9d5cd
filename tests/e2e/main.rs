//! End-to-end tests: the built program in front of real servers. One binary; one module a feature.
//! A module never starts servers by itself: `support` does, and takes them down.

#[path = "../support/lib.rs"]
mod support;

mod admin;
mod binlog;
mod cache_gate;
mod clients;
mod connect;
mod differential;
mod digest;
mod failures;
mod floods;
mod freshness;
mod generated_sessions;
mod harness;
mod history;
mod identity;
mod kills;
mod long_executions;
mod nodes;
mod other_server;
mod probe;
mod readme;
mod reads;
mod rules;
mod sessions;
mod sharing;
mod strict;
mod transactions;
mod views_build;
mod views_exact;
mod views_life;
mod wire;
