//! The handles a session works with: every room it may use, built once by the server. Holds next to no state of its own.

use super::throttle::Throttle;
use super::tls::ServerTls;
use super::verifiers::{AGE_MAX_UNTOLD, Verifiers};
use crate::admin::Admin;
use crate::analytics::Analytics;
use crate::backend::connection::{ServerConnection, ServerFacts};
use crate::backend::control::Control;
use crate::backend::defaults::Defaults;
use crate::backend::nodes::Nodes;
use crate::backend::probe::Probe;
use crate::backend::variables::Variables;
use crate::binlog::Binlog;
use crate::cache::Cache;
use crate::config::{Config, User};
use crate::protocol::auth::RsaKey;
use crate::router::rules::Active;
use crate::shutdown::Shutdown;
use crate::sql::StatementCache;
use crate::store::Store;
use crate::views::Views;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Our connection ids start here, so that they do not look like the backend's own, which count from 1:
/// a KILL must know whose id it was given.
const SESSION_IDS_FROM: u32 = 1 << 30;

/// Longest wait of a login for the log to tell of changed grants; then the backend checks the login.
const GRANTS_MAX: Duration = Duration::from_millis(250);

/// Longest time after the backend came back that a login waits for what goes on beside the clients.
const SETTLE_MAX: Duration = Duration::from_secs(4);

/// How often it looks.
const SETTLE_LOOK: Duration = Duration::from_millis(10);

/// Longest wait for the reset of a connection that a client has left.
const RESET_MAX: Duration = Duration::from_secs(5);

/// Every room a session uses.
pub struct Rooms {
    /// What the operator wrote.
    pub config: Arc<Config>,
    /// The stop signal.
    pub shutdown: Shutdown,
    /// TLS towards clients; `None` when it is off.
    pub tls: Option<ServerTls>,
    /// The key for passwords sent without TLS.
    pub rsa: Arc<RsaKey>,
    /// What is known of passwords.
    pub verifiers: Verifiers,
    /// Failed logins by source.
    pub throttle: Throttle,
    /// Users whose passwords are listed.
    pub users: Arc<ArcSwap<Vec<User>>>,
    /// The servers behind us.
    pub nodes: Arc<Nodes>,
    /// What the backend said of itself last; `None` until it was reached once.
    pub facts: ArcSwapOption<ServerFacts>,
    /// What the backend is and whether it is up.
    pub probe: Arc<Probe>,
    /// The control plane's connections.
    pub control: Arc<Control>,
    /// The binary log and the gate on it.
    pub binlog: Arc<Binlog>,
    /// Parsed statements, shared by the workers.
    pub statements: StatementCache,
    /// What is observed.
    pub analytics: Arc<Analytics>,
    /// What was observed in the past; `None` when the operator wants none.
    pub store: Option<Arc<Store>>,
    /// Results that cannot have changed.
    pub cache: Arc<Cache>,
    /// Aggregate views.
    pub views: Arc<Views>,
    /// Query rules.
    pub rules: Arc<Active>,
    /// The control plane's runtime.
    pub runtime: tokio::runtime::Handle,
    /// The virtual schema.
    pub admin: Arc<Admin>,
    /// Name and password of the administrator.
    pub admin_account: (String, String),
    /// What every new session of the backend begins with.
    pub defaults: Arc<Defaults>,
    /// Places for clients that hold a backend connection before they have proved who they are.
    pub unproven: Semaphore,
    /// The versions of servers seen, and which of their session variables can be carried.
    pub variables: ArcSwap<Vec<(Vec<u8>, Arc<Variables>)>>,
    /// Where the control plane works.
    pub control_runtime: Handle,
    /// Statements that wait for a writer now.
    pub held: AtomicUsize,
    /// The next connection id.
    pub session_ids: AtomicU32,
    /// Counts ticks for the clocks of the workers: a worker that sets no timer of its own sleeps and wakes for less.
    pub ticks: watch::Sender<u64>,
}

impl Rooms {
    /// The first value of [`Rooms::session_ids`].
    pub fn first_session_id() -> AtomicU32 {
        AtomicU32::new(SESSION_IDS_FROM)
    }

    /// How many such places there are: an eighth of the pool.
    pub fn unproven_max(connections_max: usize) -> usize {
        (connections_max / 8).max(1)
    }

    /// A connection id that no living session has (it would take two thousand million sessions to come round).
    pub fn next_session_id(&self) -> u32 {
        SESSION_IDS_FROM | self.session_ids.fetch_add(1, Relaxed)
    }

    /// Repeats in our greeting what the backend says now.
    pub fn saw_facts(&self, facts: &ServerFacts) {
        if self.facts.load().as_deref() != Some(facts) {
            self.facts.store(Some(Arc::new(facts.clone())));
        }
    }

    /// The count that moves when accounts or grants change; `None` when nobody would tell us.
    pub fn grant_epoch(&self) -> Option<u64> {
        self.binlog
            .available()
            .ok()
            .map(|()| self.binlog.grant_epoch())
    }

    /// A client changes accounts: what is known of logins is from before. The log may tell of it later, or not at all.
    pub fn sees_accounts_change(&self) {
        self.verifiers.accounts_change(Instant::now());
        self.drop_idle(None);
    }

    /// Closes every idle connection of `user`, or of all, to whichever server.
    pub fn drop_idle(&self, user: Option<&str>) {
        let nodes = self.nodes.all().iter();
        nodes.for_each(|node| node.pool.drop_idle(user));
    }

    /// Just after the backend came back: waits until the log is followed and the lead of the views is decided, or it is known why not.
    /// A session that begins before could be answered from nowhere else, and whoever watches the server sees us arrive in the middle
    /// of it.
    pub async fn settled(&self) {
        let Some(back) = *self.control.comebacks().borrow() else {
            return;
        };
        let until = back + SETTLE_MAX;
        while Instant::now() < until {
            if self.binlog.is_settled() && self.views.has_looked_since(back) {
                // The barrier has a connection of its own.
                let _ = tokio::time::timeout_at(until.into(), self.binlog.barrier()).await;
                return;
            }
            tokio::time::sleep(SETTLE_LOOK).await;
        }
    }

    /// Whether the login of an idle connection is what a login now would be: no account and no grant changed since, whatever anybody
    /// was told of before this call. Global privileges and default roles stick to a login.
    pub async fn is_login_current(&self, connection: &ServerConnection) -> bool {
        // What a client of ours did counts, whether the log tells it (FLUSH LOCAL PRIVILEGES is not in it) or not.
        let opened = Instant::now().checked_sub(connection.age());
        if !opened.is_some_and(|opened| self.verifiers.no_change_since(opened)) {
            return false;
        }
        let Some(then) = connection.grants else {
            // Nobody tells us: as long as a password counts.
            return self.grant_epoch().is_none() && connection.age() < AGE_MAX_UNTOLD;
        };
        let Ok(told) = self.binlog.barrier().await else {
            return false;
        };
        let deadline = tokio::time::Instant::now() + GRANTS_MAX;
        self.binlog.wait_processed(told, deadline).await && self.grant_epoch() == Some(then)
    }

    /// Resets a connection that a client has left and gives it to the pool; closes it if that fails.
    pub async fn give_back(&self, mut connection: ServerConnection, worker: usize) {
        // Global privileges and default roles stick to a login, and init_connect runs only at one.
        let current = connection.grants == self.grant_epoch() && connection.poolable;
        let globals = self.defaults.present();
        if !current || globals.is_none_or(|globals| !globals.init_connect.is_empty()) {
            return;
        }
        match tokio::time::timeout(RESET_MAX, connection.reset()).await {
            Ok(Ok(())) => {
                if let Some(pool) = connection.pool().cloned() {
                    pool.give_back(connection, worker, true);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a backend connection could not be reset"),
            Err(_) => tracing::debug!("the reset of a backend connection took too long"),
        }
    }
}
