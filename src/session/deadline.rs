//! The deadline that a query rule sets a statement: when it has passed, what runs on the backend is killed there, and the client is
//! told that its statement took too long, as the server does it by itself for `max_execution_time`.
//! A KILL QUERY that comes too late meets an idle connection, on which the server does nothing; nothing else runs there meanwhile.

use super::Session;
use super::rooms::Rooms;
use super::ruling::TIMED_OUT;
use crate::backend::nodes::NodeId;
use crate::protocol::packet::{HEADER_BYTES, header};
use crate::protocol::relay::{ErrInfo, Event, Fed, Summary};
use crate::protocol::response::{ERR_HEADER, ErrPacket};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The server's error for a statement that was killed.
const INTERRUPTED: u16 = 1317;

/// What stands before the words in an error packet: mark, number, `#` and SQLSTATE.
const ERR_HEAD_BYTES: usize = 9;

/// A statement with a deadline, as who relays its answer sees it.
pub struct Overdue {
    has_passed: Cell<bool>,
    text: String,
}

impl Overdue {
    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.has_passed.get()
    }

    fn is_killed(&self, summary: &Summary) -> bool {
        let code = summary.error.as_ref().map(|error| error.code);
        self.has_passed() && code == Some(INTERRUPTED)
    }

    /// The error that the client gets, in the place of the one that ends `bytes`.
    pub fn edit(&self, bytes: &[u8], fed: &Fed) -> Option<Vec<u8>> {
        let Some(Event::Done(summary)) = &fed.event else {
            return None;
        };
        let error = summary.error.as_ref().filter(|_| self.is_killed(summary))?;
        let length = ERR_HEAD_BYTES + error.message.len();
        let at = bytes.len().checked_sub(HEADER_BYTES + length)?;
        let (before, packet) = bytes.split_at(at);
        let (said, mut sequence) = header(packet)?;
        if said != length || packet.get(HEADER_BYTES) != Some(&ERR_HEADER) {
            return None;
        }
        let mut out = before.to_vec();
        ErrPacket::new(TIMED_OUT, b"HY000", self.text.as_bytes()).write(&mut out, &mut sequence);
        Some(out)
    }

    /// The same for what is counted.
    fn amend(&self, summary: &mut Summary) {
        if self.is_killed(summary) {
            summary.error = Some(ErrInfo {
                code: TIMED_OUT,
                sqlstate: *b"HY000",
                message: self.text.clone().into_bytes(),
            });
        }
    }
}

/// The deadline of the statement at hand.
pub(super) struct Deadline {
    wait: Duration,
    node: NodeId,
    backend_id: u32,
    rooms: Arc<Rooms>,
    overdue: Rc<Overdue>,
}

/// Waits for an answer that may have a deadline.
pub(super) async fn in_time<T>(
    deadline: Option<Deadline>,
    mut answer: Pin<&mut impl Future<Output = T>>,
) -> T {
    match deadline {
        None => answer.as_mut().await,
        // Apart: only statements with a deadline have room for it.
        Some(deadline) => Box::pin(deadline.keep(answer)).await,
    }
}

impl Deadline {
    /// Waits for an answer, and has the statement killed when it does not come in time. Does not end before the KILL is done, so that
    /// it meets no other statement.
    async fn keep<T>(self, mut answer: Pin<&mut impl Future<Output = T>>) -> T {
        tokio::select! {
            biased;
            done = answer.as_mut() => return done,
            () = tokio::time::sleep(self.wait) => self.overdue.has_passed.set(true),
        }
        let Some(node) = self.rooms.nodes.node(self.node).cloned() else {
            return answer.await;
        };
        let id = self.backend_id;
        let kill = async move { node.control.execute(&format!("KILL QUERY {id}")).await };
        let killed = self.rooms.runtime.spawn(kill);
        let (done, killed) = tokio::join!(answer, killed);
        match killed {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "a statement is over its rule's timeout_ms and could not be killed");
            }
            Err(error) => tracing::debug!(%error, "a KILL QUERY was given up"),
        }
        done
    }
}

impl Session {
    /// The deadline of the statement that is about to be relayed, if a rule has set one.
    pub(super) fn deadline(&mut self) -> Option<Deadline> {
        let (ms, rule) = self.ruling.as_ref()?.timeout_ms()?;
        let text = format!(
            "Query execution was interrupted, maximum statement execution time exceeded ({ms} ms, Tidegate's rule {rule})"
        );
        let overdue = Rc::new(Overdue {
            has_passed: Cell::new(false),
            text,
        });
        self.client.overdue = Some(overdue.clone());
        Some(Deadline {
            wait: Duration::from_millis(ms),
            node: self.backend.node,
            backend_id: self.backend.thread_id,
            rooms: self.worker.rooms.clone(),
            overdue,
        })
    }

    /// The server has answered a statement that query rules said something of.
    pub(super) fn ruled_statement_answered(&mut self, summary: &mut Summary) {
        let overdue = self.client.overdue.take();
        let Some(ruling) = &mut self.ruling else {
            return;
        };
        if let Some(overdue) = overdue.filter(|overdue| overdue.has_passed()) {
            overdue.amend(summary);
            ruling.overdue();
        }
        ruling.answered(summary.error.as_ref().map(|error| error.code));
    }
}
