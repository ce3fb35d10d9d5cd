//! Who is connected and what each does now, with the handle by which it can be killed. The session writes its own
//! entry, admin reads it and asks for kills. Never touches a socket.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use futures_util::task::AtomicWaker;

use super::counter::Counter;
use super::event::Identity;
use super::peer::Peer;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Logging in.
    Login,
    /// Waiting for the client's next command.
    Idle,
    /// Waiting for a backend connection.
    Queued,
    /// Waiting for an answer.
    Running,
    /// Sending the answer.
    Sending,
    /// Ending.
    Closing,
}

impl SessionState {
    /// All of them, in the order of labels.
    pub const ALL: [Self; 6] = [
        Self::Login,
        Self::Idle,
        Self::Queued,
        Self::Running,
        Self::Sending,
        Self::Closing,
    ];

    /// The word in columns.
    pub fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Sending => "sending",
            Self::Closing => "closing",
        }
    }
}

/// What is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// The running statement.
    Query,
    /// The connection.
    Connection,
}

/// One session. Its owner writes; everybody else reads, or asks for a kill.
#[derive(Debug)]
pub struct SessionInfo {
    /// The connection id that the client was told.
    pub id: u64,
    /// Where the client connects from.
    pub client: Peer,
    /// Connected since, in milliseconds since 1970.
    pub connected_ms: u64,
    /// The worker that runs it.
    pub worker: usize,
    identity: ArcSwap<Identity>,
    state: AtomicU8,
    since_ms: Counter,
    digest: DigestCell,
    kill: AtomicU8,
    /// Somebody has called the session, and it has not looked yet.
    is_called: AtomicBool,
    /// Of the session's task. Kept between waits: a session waits once for each command.
    waker: AtomicWaker,
    /// Thread id of the backend connection it holds; 0 when none.
    pub backend_id: Counter,
    /// Number of the server of the cluster that this is on. Set before `backend_id`.
    pub node: Counter,
    /// Whether the client uses TLS (1) or not (0).
    pub tls: Counter,
    /// Executions.
    pub queries: Counter,
    /// Bytes of requests.
    pub bytes_in: Counter,
    /// Bytes of answers.
    pub bytes_out: Counter,
    /// The open transaction.
    pub transaction: LiveTransaction,
    /// Number of what ties it to its backend connection, plus one; 0: nothing.
    pub tie: Counter,
    /// Kills under way of what its backend connection runs.
    kills: AtomicU64,
}

/// A kill under way: until it is over, the connection stays with its session.
pub struct KillUnderWay(Arc<SessionInfo>);

impl KillUnderWay {
    /// Begins. The backend id is only to be read afterwards.
    pub fn of(session: Arc<SessionInfo>) -> Self {
        session.kills.fetch_add(1, Ordering::SeqCst);
        Self(session)
    }
}

impl Drop for KillUnderWay {
    fn drop(&mut self) {
        self.0.kills.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The open transaction of a session; `started_ms` 0 when none is open.
#[derive(Debug, Default)]
pub struct LiveTransaction {
    /// When it began, in milliseconds since 1970.
    pub started_ms: Counter,
    /// Statements in it.
    pub statements: Counter,
    /// Time its statements took, in microseconds.
    pub busy_us: Counter,
    /// Rows it changed.
    pub affected_rows: Counter,
    /// Its isolation level by number, see `isolation::number`.
    pub isolation: Counter,
}

impl SessionInfo {
    /// Says what the session does from `at_ms` on.
    pub fn enter(&self, state: SessionState, at_ms: u64) {
        self.state.store(state as u8, Ordering::Relaxed);
        self.since_ms.set(at_ms);
    }

    /// What it does.
    pub fn state(&self) -> SessionState {
        let place = usize::from(self.state.load(Ordering::Relaxed));
        SessionState::ALL
            .get(place)
            .copied()
            .unwrap_or(SessionState::Closing)
    }

    /// Since when, in milliseconds since 1970.
    pub fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// Who it is now: user, app and schema.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Says who it is now.
    pub fn set_identity(&self, identity: Arc<Identity>) {
        self.identity.store(identity);
    }

    /// Says which digest runs; 0 for none.
    pub fn set_digest(&self, digest: u128) {
        self.digest.set(digest);
    }

    /// Digest of the running statement, or of the last one.
    pub fn digest(&self) -> Option<u128> {
        self.digest.get().filter(|digest| *digest != 0)
    }

    /// Asks the session to end its statement or itself. The stronger wish stays.
    pub fn request_kill(&self, kill: Kill) {
        let wish = match kill {
            Kill::Query => 1,
            Kill::Connection => 2,
        };
        self.kill.fetch_max(wish, Ordering::AcqRel);
        self.wake();
    }

    /// Whether a kill of what its backend connection runs is under way.
    pub fn is_being_killed(&self) -> bool {
        self.kills.load(Ordering::SeqCst) > 0
    }

    /// Wakes the session without a wish: it looks at the stop signal. It is woken even if it only starts to wait later.
    pub fn wake(&self) {
        self.is_called.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Takes a wish for the statement; a wish for the connection stays.
    pub fn take_kill(&self) -> Option<Kill> {
        if self.kill.load(Ordering::Acquire) == 0 {
            return None;
        }
        match self
            .kill
            .compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Some(Kill::Query),
            Err(2) => Some(Kill::Connection),
            Err(_) => None,
        }
    }

    /// Waits until somebody asks for a kill. May also return without a wish: ask [`Self::take_kill`].
    /// Only the session's own task may wait.
    pub async fn kill_requested(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.is_called.load(Ordering::Acquire) {
                // What was said before this call, or before one that comes just now, is seen by whoever looks afterwards.
                self.is_called.swap(false, Ordering::AcqRel);
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Sixteen bytes that one thread writes and others read whole: readers retry while the count is odd or has moved.
#[derive(Debug, Default)]
struct DigestCell {
    turn: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
}

impl DigestCell {
    fn set(&self, digest: u128) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Release);
        self.high.store((digest >> 64) as u64, Ordering::Relaxed);
        self.low.store(digest as u64, Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    fn get(&self) -> Option<u128> {
        for _ in 0..64 {
            let before = self.turn.load(Ordering::Acquire);
            let (high, low) = (
                self.high.load(Ordering::Relaxed),
                self.low.load(Ordering::Relaxed),
            );
            std::sync::atomic::fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == before {
                return Some(u128::from(high) << 64 | u128::from(low));
            }
        }
        None
    }
}

/// All sessions. Their number is bounded by `listen.clients_max`, which the listener holds.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: DashMap<u64, Arc<SessionInfo>>,
}

impl Sessions {
    /// Enters a new session. It is listed until the guard is dropped.
    pub fn register(
        self: &Arc<Self>,
        id: u64,
        client: Peer,
        worker: usize,
        identity: Arc<Identity>,
        now_ms: u64,
    ) -> SessionGuard {
        let info = Arc::new(SessionInfo {
            id,
            client,
            connected_ms: now_ms,
            worker,
            identity: ArcSwap::new(identity),
            state: AtomicU8::new(SessionState::Login as u8),
            since_ms: Counter::default(),
            digest: DigestCell::default(),
            kill: AtomicU8::new(0),
            is_called: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            backend_id: Counter::default(),
            node: Counter::default(),
            tls: Counter::default(),
            queries: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            transaction: LiveTransaction::default(),
            tie: Counter::default(),
            kills: AtomicU64::new(0),
        });
        info.since_ms.set(now_ms);
        self.by_id.insert(id, Arc::clone(&info));
        SessionGuard {
            sessions: Arc::clone(self),
            info,
        }
    }

    /// The session with this connection id.
    pub fn get(&self, id: u64) -> Option<Arc<SessionInfo>> {
        self.by_id.get(&id).map(|entry| Arc::clone(entry.value()))
    }

    /// Every session, by connection id.
    pub fn list(&self) -> Vec<Arc<SessionInfo>> {
        let mut list: Vec<_> = self
            .by_id
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect();
        list.sort_unstable_by_key(|session| session.id);
        list
    }

    /// Sessions now.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Asks session `id` to end its statement or itself; false when there is none.
    pub fn kill(&self, id: u64, kill: Kill) -> bool {
        let session = self.get(id);
        if let Some(session) = &session {
            session.request_kill(kill);
        }
        session.is_some()
    }
}

/// Keeps a session listed while it lives.
#[derive(Debug)]
pub struct SessionGuard {
    sessions: Arc<Sessions>,
    info: Arc<SessionInfo>,
}

impl SessionGuard {
    /// The entry itself, to hand to others.
    pub fn info(&self) -> &Arc<SessionInfo> {
        &self.info
    }
}

impl std::ops::Deref for SessionGuard {
    type Target = SessionInfo;

    fn deref(&self) -> &SessionInfo {
        &self.info
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        // Only our own entry: an id that was given twice must not take the other one with it.
        self.sessions
            .by_id
            .remove_if(&self.info.id, |_, listed| Arc::ptr_eq(listed, &self.info));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::names::Names;

    fn session(sessions: &Arc<Sessions>, id: u64) -> SessionGuard {
        let name = Names::new(9).intern("ann");
        let identity = Arc::new(Identity {
            user: name.clone(),
            app: name.clone(),
            schema: name,
        });
        sessions.register(id, Peer::Local, 0, identity, 7)
    }

    #[test]
    fn listed_while_the_guard_lives() {
        let sessions = Arc::new(Sessions::default());
        let (one, two) = (session(&sessions, 1), session(&sessions, 2));
        one.enter(SessionState::Running, 9);
        let listed: Vec<_> = sessions
            .list()
            .iter()
            .map(|s| (s.id, s.state().label(), s.since_ms()))
            .collect();
        assert_eq!(listed, [(1, "running", 9), (2, "login", 7)]);
        drop(one);
        assert_eq!((sessions.len(), sessions.get(1).is_none()), (1, true));
        drop(two);
        assert!(sessions.is_empty());
    }

    #[tokio::test]
    async fn kills_are_heard_even_when_asked_before_the_wait() {
        let sessions = Arc::new(Sessions::default());
        let one = session(&sessions, 1);
        assert!(sessions.kill(1, Kill::Query) && !sessions.kill(2, Kill::Query));
        one.kill_requested().await;
        assert_eq!(
            (one.take_kill(), one.take_kill()),
            (Some(Kill::Query), None)
        );
        sessions.kill(1, Kill::Connection);
        sessions.kill(1, Kill::Query);
        assert_eq!(
            (one.take_kill(), one.take_kill()),
            (Some(Kill::Connection), Some(Kill::Connection))
        );
    }

    #[test]
    fn a_digest_is_read_whole() {
        let cell = DigestCell::default();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200_000u128).for_each(|n| cell.set(n << 64 | n)));
            for _ in 0..20_000 {
                if let Some(digest) = cell.get() {
                    assert_eq!(digest >> 64, digest & u128::from(u64::MAX));
                }
            }
        });
        assert_eq!(cell.get(), Some(199_999 << 64 | 199_999));
    }
}
