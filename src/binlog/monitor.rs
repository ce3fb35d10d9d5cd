//! Looks after the stream once a second: measures its lag, cuts it when it stands still, checks again what must hold on the server.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::gate::GateError;
use super::{Binlog, facts};
use crate::backend::wire::WireConn;
use crate::shutdown::Shutdown;

/// Pause between two looks.
const LOOK_MS: u64 = 1_000;
/// Longest wait for a barrier or for the facts.
const ANSWER_MS_MAX: u64 = 2_000;
/// A stream that got nowhere for so long, with more to read, is cut.
const STALL_MS_MAX: u64 = 5_000;

/// Until `stop`.
pub(super) async fn run(binlog: Arc<Binlog>, stop: Shutdown) {
    let mut conn = None;
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = sleep(Duration::from_millis(LOOK_MS)) => {}
        }
        if binlog.available().is_err() {
            conn = None;
            continue;
        }
        check(&binlog, &mut conn).await;
        measure(&binlog).await;
    }
}

/// What must hold may be changed while the server runs; then nothing certified may be served.
async fn check(binlog: &Binlog, held: &mut Option<(WireConn, u64)>) {
    let Some(control) = &binlog.control else {
        return;
    };
    let (settings, turn) = control.destination();
    let mut conn = match held.take() {
        Some((conn, of)) if of == turn => conn,
        _ => match WireConn::connect(&settings).await {
            Ok(conn) => conn,
            Err(_) => return,
        },
    };
    let answer = timeout(Duration::from_millis(ANSWER_MS_MAX), facts::ask(&mut conn)).await;
    let Ok(Ok(facts)) = answer else {
        return;
    };
    if binlog.is_of_another(Some(&facts.server_uuid)) {
        return binlog.kick("the address leads to another server");
    }
    match facts.judge() {
        Ok(()) => *held = Some((conn, turn)),
        Err((reason, detail)) => {
            tracing::warn!(reason = reason.label(), %detail, "the log cannot be trusted any more");
            binlog.kick(reason.label());
        }
    }
}

/// The time from a barrier until the stream has processed it.
async fn measure(binlog: &Binlog) {
    let begin = Instant::now();
    let Ok(answer) = binlog
        .ask(begin + Duration::from_millis(ANSWER_MS_MAX))
        .await
    else {
        return;
    };
    let before = *binlog.mark.borrow();
    let deadline = begin + Duration::from_millis(STALL_MS_MAX);
    let reached = binlog
        .reached(answer.status.position, answer.epoch, deadline)
        .await;
    match reached {
        Ok(()) => {
            let us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            binlog.counters.lag_us.store(us.saturating_add(1), Relaxed);
        }
        Err(GateError::StreamLate) => {
            let us = STALL_MS_MAX * 1000;
            binlog.counters.lag_us.store(us + 1, Relaxed);
            if *binlog.mark.borrow() == before {
                binlog.kick("the stream stands still");
            }
        }
        Err(_) => {}
    }
}
