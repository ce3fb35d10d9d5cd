//! The server's global variables that decide how a new session may be treated, looked at every second.
//! Never guesses: what cannot be asked is unknown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::control::Control;
use crate::shutdown::Shutdown;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same, while the server cannot be asked.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Longest wait of a login for the answer to a look.
const KNOWN_MAX: Duration = Duration::from_secs(2);

/// What every new session of the server begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Statements that the server runs at each login (`@@GLOBAL.init_connect`); they leave anything behind.
    pub init_connect: String,
    /// How texts are read (`@@GLOBAL.sql_mode`).
    pub sql_mode: String,
    /// The isolation level (`@@GLOBAL.transaction_isolation`, in MariaDB before 11.1 `tx_isolation`).
    pub isolation: String,
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

    /// Looks every second, more often while the server is away, and at once when somebody waits or doubts. Tells when the server is
    /// back. Spawn it once, on the control runtime.
    pub async fn run(self: Arc<Self>, stop: Shutdown) {
        loop {
            self.look().await;
            let pause = match self.known.borrow().is_some() {
                true => LOOK_EVERY,
                false => LOOK_AGAIN,
            };
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
                () = self.control.doubted() => {}
            }
        }
    }

    async fn look(&self) {
        let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('init_connect', 'sql_mode', 'transaction_isolation', 'tx_isolation')";
        let known = match self.control.query::<(String, String)>(sql).await {
            Ok(found) => globals(found),
            Err(error) => {
                tracing::debug!(%error, "the server's defaults cannot be asked");
                None
            }
        };
        let is_known = known.is_some();
        if self.known.send_replace(known).is_none() && is_known {
            self.control.came_back();
        }
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

/// From names and values; `None` when one that a session depends on is missing.
fn globals(found: Vec<(String, String)>) -> Option<Globals> {
    let get = |name: &str| {
        let row = found.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
        row.map(|(_, value)| value.clone())
    };
    Some(Globals {
        init_connect: get("init_connect")?,
        sql_mode: get("sql_mode")?,
        isolation: get("transaction_isolation")
            .or_else(|| get("tx_isolation"))
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_unknown() {
        let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (init, mode) = (row("init_connect", ""), row("sql_mode", "ANSI"));
        assert_eq!(globals(vec![init.clone()]), None);
        let old = vec![
            init.clone(),
            mode.clone(),
            row("tx_isolation", "SERIALIZABLE"),
        ];
        assert_eq!(globals(old).unwrap().isolation, "SERIALIZABLE");
        assert_eq!(globals(vec![init, mode]).unwrap().isolation, "");
    }
}
