//! Failed logins per source address within a window. Bounded; forgets the oldest windows first. Never blocks a login that succeeds.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses remembered at once.
const SOURCES_MAX: usize = 10_000;

struct Window {
    began: Instant,
    failures: u32,
}

/// Counts failed logins.
pub struct Throttle {
    failures_max: u32,
    window: Duration,
    sources: Mutex<HashMap<IpAddr, Window>>,
}

impl Throttle {
    /// At most `failures_max` failures from one address in `window`; 0 turns the check off.
    pub fn new(failures_max: u32, window: Duration) -> Self {
        Self {
            failures_max,
            window,
            sources: Mutex::new(HashMap::new()),
        }
    }

    /// Whether `source` may try again now. Who is on this machine always may.
    pub fn allows(&self, source: Option<IpAddr>, now: Instant) -> bool {
        let Some(source) = source.filter(|_| self.failures_max > 0) else {
            return true;
        };
        let sources = self.sources.lock();
        sources.get(&source).is_none_or(|w| {
            w.failures < self.failures_max || now.duration_since(w.began) >= self.window
        })
    }

    /// Counts a failed login.
    pub fn failed(&self, source: Option<IpAddr>, now: Instant) {
        let Some(source) = source else { return };
        let mut sources = self.sources.lock();
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&source) {
            let window = self.window;
            sources.retain(|_, w| now.duration_since(w.began) < window);
            if sources.len() >= SOURCES_MAX {
                // All of them recent: an attack from many addresses. Forgetting some is better than growing.
                sources.clear();
            }
        }
        let entry = sources.entry(source).or_insert(Window {
            began: now,
            failures: 0,
        });
        if now.duration_since(entry.began) >= self.window {
            *entry = Window {
                began: now,
                failures: 0,
            };
        }
        entry.failures = entry.failures.saturating_add(1);
    }

    /// Counts the end of a login if it was a refusal.
    pub(super) fn failed_if_refused(
        &self,
        error: &super::error::SessionError,
        source: Option<IpAddr>,
    ) {
        use super::error::SessionError::{Connect, LoginRefused};
        use crate::backend::login::ConnectError::Refused;
        if matches!(
            error,
            LoginRefused { code: 1045, .. } | Connect(Refused { code: 1045, .. })
        ) {
            self.failed(source, Instant::now());
        }
    }

    /// A successful login clears the address.
    pub fn succeeded(&self, source: Option<IpAddr>) {
        let Some(source) = source else { return };
        let mut sources = self.sources.lock();
        if !sources.is_empty() {
            sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOME: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

    #[test]
    fn refuses_after_the_limit_until_the_window_has_passed() {
        let throttle = Throttle::new(3, Duration::from_secs(60));
        let start = Instant::now();
        for _ in 0..3 {
            assert!(throttle.allows(HOME, start));
            throttle.failed(HOME, start);
        }
        assert!(!throttle.allows(HOME, start + Duration::from_secs(59)));
        assert!(throttle.allows(HOME, start + Duration::from_secs(60)));
    }

    #[test]
    fn a_success_clears_the_count() {
        let throttle = Throttle::new(1, Duration::from_secs(60));
        let now = Instant::now();
        throttle.failed(HOME, now);
        throttle.succeeded(HOME);
        assert!(throttle.allows(HOME, now));
    }

    #[test]
    fn many_sources_do_not_grow_it() {
        let throttle = Throttle::new(1, Duration::from_secs(60));
        let now = Instant::now();
        for n in 0..(SOURCES_MAX as u32 * 3) {
            throttle.failed(Some(IpAddr::V4(Ipv4Addr::from(n))), now);
        }
        assert!(throttle.sources.lock().len() <= SOURCES_MAX);
    }
}
