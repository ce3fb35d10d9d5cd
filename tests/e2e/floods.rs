//! Floods and bad input: more of everything than there is room for, and bytes that no client or server should send.
//! What must hold each time: memory and files stay bounded, the refusal is clear and counted, everybody else is served.
//!
//! `make test` runs the short forms. The long ones (`soak_..`) are ignored there; `make soak` runs them.

mod backends;
mod caches;
mod connects;
mod digests;
mod drain;
mod fuzz;
mod readers;
mod step;
mod vitals;

use std::time::Duration;

use crate::support::raw::Raw;
use crate::support::wire::{DEPRECATE_EOF, Wire};
use crate::support::{APP_PASSWORD, APP_USER, Tidegate, process};

/// The longest that a single answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A logged-in application connection as a bare socket.
fn app(gate: &Tidegate, schema: &str) -> Raw {
    match Wire::login(gate.app_port, APP_USER, APP_PASSWORD, schema, DEPRECATE_EOF) {
        Ok(wire) => wire.into_raw(),
        Err(error) => panic!("refused: {}", String::from_utf8_lossy(&error)),
    }
}

/// An ordinary client gets in and gets its answer.
fn assert_serves(gate: &Tidegate) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut client = app(gate, "");
    client.send(&crate::support::raw::query("SELECT 42"));
    assert_eq!(client.answer(deadline), Ok(()), "a good client is served");
    let log = gate.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// The rows of an admin table, by way of HTTP: needs no client connection.
fn api(gate: &Tidegate, table: &str) -> Vec<serde_json::Value> {
    let (status, body) =
        process::http_get(gate.http_port, &format!("/api/{table}")).expect("an answer");
    assert_eq!(status, 200, "{body}");
    let parsed: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let rows = parsed.as_array().or_else(|| parsed["rows"].as_array());
    rows.unwrap_or_else(|| panic!("no rows: {body}")).clone()
}
