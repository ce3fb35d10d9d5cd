//! The server's global variables that decide how a new session may be treated, looked at every second.
//! Never guesses: what cannot be asked is unknown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::control::Control;
use crate::shutdown::Shutdown;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait of a login for the answer to a look.
const KNOWN_MAX: Duration = Duration::from_secs(2);

/// What every new session of the server begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Statements that the server runs at each login (`@@GLOBAL.init_connect`); they leave anything behind.
    pub init_connect: String,
    /// How texts are read (`@@GLOBAL.sql_mode`).
    pub sql_mode: String,
}

/// The last look; share it as `Arc<Defaults>`, ask it from any runtime.
pub struct Defaults {
    control: Arc<Control>,
    known: watch::Sender<Option<Globals>>,
    wanted: Notify,
}

impl Defaults {
    /// Knows nothing yet.
    pub fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self {
            control,
            known: watch::Sender::new(None),
            wanted: Notify::new(),
        })
    }

    /// Looks every second, and at once when somebody waits. Spawn it once, on the control runtime.
    pub async fn run(self: Arc<Self>, stop: Shutdown) {
        loop {
            self.look().await;
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn look(&self) {
        let sql = "SELECT @@GLOBAL.init_connect, @@GLOBAL.sql_mode";
        let found = self.control.query_first::<(String, String)>(sql).await;
        if let Err(error) = &found {
            tracing::debug!(%error, "the server's defaults cannot be asked");
        }
        let known = found
            .ok()
            .flatten()
            .map(|(init_connect, sql_mode)| Globals {
                init_connect,
                sql_mode,
            });
        self.known.send_replace(known);
    }

    /// What the last look found.
    pub fn present(&self) -> Option<Globals> {
        self.known.borrow().clone()
    }

    /// As [`present`](Self::present); waits up to two seconds for a look when the last one found nothing: a session that
    /// begins just after its server came back would otherwise be taken for odd as long as it lives.
    pub async fn known(&self) -> Option<Globals> {
        let mut looks = self.known.subscribe();
        if let Some(known) = &*looks.borrow_and_update() {
            return Some(known.clone());
        }
        self.wanted.notify_one();
        let found = tokio::time::timeout(KNOWN_MAX, looks.wait_for(Option::is_some)).await;
        found.ok()?.ok()?.clone()
    }
}
