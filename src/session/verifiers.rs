//! What is known of passwords after a full login: the same doubly hashed form that the server's own cache holds, in memory only.
//! Never on disk, never logged. Forgotten when accounts change.

use crate::protocol::auth::Verifier;
use dashmap::DashMap;
use std::time::{Duration, Instant};

/// Users remembered at once.
const USERS_MAX: usize = 10_000;

/// Without a binary log that tells of changed accounts, a login is checked with the server again after this time.
pub const AGE_MAX_UNTOLD: Duration = Duration::from_secs(60);

struct Known {
    verifier: Verifier,
    grant_epoch: Option<u64>,
    learnt: Instant,
}

/// Verifiers by user.
#[derive(Default)]
pub struct Verifiers {
    known: DashMap<Box<[u8]>, Known>,
}

impl Verifiers {
    /// The verifier of `user`, if it still counts: no account changed since (`grant_epoch`, `None` when nobody would tell us).
    pub fn get(&self, user: &[u8], grant_epoch: Option<u64>, now: Instant) -> Option<Verifier> {
        let known = self.known.get(user)?;
        let valid = match (known.grant_epoch, grant_epoch) {
            (Some(then), Some(now)) => then == now,
            _ => now.duration_since(known.learnt) < AGE_MAX_UNTOLD,
        };
        valid.then(|| known.verifier.clone())
    }

    /// Remembers a password that the server has just accepted.
    pub fn learn(&self, user: &[u8], verifier: Verifier, grant_epoch: Option<u64>, now: Instant) {
        if self.known.len() >= USERS_MAX && !self.known.contains_key(user) {
            // Rather one more full login for everybody than a map that an attacker can grow.
            self.known.clear();
        }
        self.known.insert(
            user.into(),
            Known {
                verifier,
                grant_epoch,
                learnt: now,
            },
        );
    }

    /// Forgets a user whose verifier the server no longer honours.
    pub fn forget(&self, user: &[u8]) {
        self.known.remove(user);
    }
}
