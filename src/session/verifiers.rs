//! What is known of passwords after a full login: the same doubly hashed form that the server's own cache holds, in memory only.
//! Never on disk, never logged. Forgotten when accounts change.

use crate::protocol::auth::Verifier;
use dashmap::DashMap;
use parking_lot::Mutex;
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
    /// When somebody was last seen to change accounts where nobody else would tell.
    changed: Mutex<Option<Instant>>,
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

    /// Somebody changes accounts: nothing that was known before counts.
    pub fn accounts_change(&self, now: Instant) {
        *self.changed.lock() = Some(now);
        self.known.clear();
    }

    /// Whether nobody was seen to change accounts since `then`.
    pub fn no_change_since(&self, then: Instant) -> bool {
        self.changed.lock().is_none_or(|changed| changed < then)
    }

    /// Remembers a password that the server has accepted in a login that began at `now`.
    pub fn learn(&self, user: &[u8], verifier: Verifier, grant_epoch: Option<u64>, now: Instant) {
        if !self.no_change_since(now) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_before_a_change_does_not_count() {
        let verifiers = Verifiers::default();
        let verifier = || Verifier::of_password(b"p");
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        verifiers.learn(b"u", verifier(), None, at(1));
        assert!(verifiers.get(b"u", None, at(2)).is_some());
        assert!(verifiers.get(b"u", None, at(62)).is_none());
        verifiers.accounts_change(at(3));
        assert!(verifiers.get(b"u", None, at(4)).is_none());
        assert!(!verifiers.no_change_since(at(3)) && verifiers.no_change_since(at(4)));
        // Its login began before the change: perhaps with the old password.
        verifiers.learn(b"u", verifier(), None, at(2));
        assert!(verifiers.get(b"u", None, at(4)).is_none());
        verifiers.learn(b"u", verifier(), None, at(4));
        assert!(verifiers.get(b"u", None, at(5)).is_some());
    }
}
