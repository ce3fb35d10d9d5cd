//! The control plane's way to the backend: a small pool of ordinary client connections, and dedicated ones outside it.
//! Every wait has a deadline. Never carries a client's statement, never prints a password.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromRow, Queryable, StatementLike};
use mysql_async::{
    Conn, DriverError, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, SslOpts,
};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, watch};

use super::door::Door;
use super::login::ConnectError;
use super::target::Target;
use super::tls::BackendTls;
use crate::config::{self, BackendTlsMode, Compression, Config};
use crate::protocol::ProtocolError;

/// Longest time one helper call (`query`, `query_first`, `execute`) may take. Callers with longer work take `conn()`.
pub const QUERY_MS_MAX: u64 = 10_000;
/// Told to the server and believed of it, so that the driver does not ask on every connect.
const PACKET_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The driver closes an idle connection before the server would (server default: 8 hours).
const IDLE_S_MAX: usize = 600;
/// Control work is light: a few connections carry all of it, and the backend's limit is the clients' to use.
const CONNECTIONS_DEFAULT: usize = 8;

/// Where the backend is and who we are there.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Address, user and password of the control plane, TLS and time limit.
    pub backend: config::Backend,
    /// Pool size.
    pub connections_max: usize,
    /// The certificates in use; `None`: read for each connection.
    pub tls: Option<BackendTls>,
    /// The driver does not read the server's certificate, though nobody need have signed it.
    is_certificate_odd: Arc<AtomicBool>,
}

impl ControlSettings {
    /// From section `[backend]` of the configuration.
    pub fn from_config(config: &Config) -> Self {
        Self::of_backend(config.backend.clone())
    }

    /// The same of one server of several.
    pub fn of_backend(backend: config::Backend) -> Self {
        // Files that do not do are told by who starts; and by each connection.
        let tls = BackendTls::new(&backend).ok();
        Self {
            tls,
            ..Self::new(backend, CONNECTIONS_DEFAULT)
        }
    }

    /// With so many connections at most.
    pub fn new(backend: config::Backend, connections_max: usize) -> Self {
        Self {
            backend,
            connections_max,
            tls: None,
            is_certificate_odd: Arc::default(),
        }
    }

    /// The backend, for connections of our own making.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn target(&self) -> Result<Target, ControlError> {
        let mut target = match &self.tls {
            Some(tls) => Target::with_tls(&self.backend, tls.clone()),
            None => Target::new(&self.backend).map_err(std::io::Error::other)?,
        };
        // Tiny questions, whose answers are waited for.
        target.compression = Compression::None;
        Ok(target)
    }

    /// Whether the driver's own TLS does not do: it verifies no certificate without a name, and reads files only once.
    fn needs_door(&self) -> bool {
        self.backend.tls.verifies()
            || !self.backend.tls_cert.as_os_str().is_empty()
            || self.is_certificate_odd.load(Relaxed)
    }

    /// Whether an error shows such a certificate: our own TLS takes it, as clients do.
    fn needs_door_after(&self, error: &ControlError) -> bool {
        let is_certificate = match error {
            ControlError::Driver(mysql_async::Error::Io(error)) => {
                error.to_string().contains("certificate")
            }
            _ => false,
        };
        let needs = is_certificate && !self.needs_door();
        if needs {
            self.is_certificate_odd.store(true, Relaxed);
        }
        needs
    }

    /// Longest time for name lookup, TCP, TLS and login together.
    pub fn connect_max(&self) -> Duration {
        Duration::from_millis(self.backend.connect_ms_max)
    }
}

/// Why the control plane could not do what was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The server or the driver said no.
    #[error(transparent)]
    Driver(#[from] mysql_async::Error),
    /// The server answered with an error on a raw connection.
    #[error("ERROR {code}: {message}")]
    Server {
        /// MySQL's error number.
        code: u16,
        /// Its text.
        message: String,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server broke the protocol, or speaks something that we do not.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A raw connection could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It took longer than its deadline.
    #[error("{what} took longer than {ms} ms")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// The deadline in milliseconds.
        ms: u64,
    },
}

impl ControlError {
    /// The MySQL error number, when the server answered with one.
    pub fn server_code(&self) -> Option<u16> {
        match self {
            Self::Driver(mysql_async::Error::Server(error)) => Some(error.code),
            Self::Server { code, .. } | Self::Connect(ConnectError::Refused { code, .. }) => {
                Some(*code)
            }
            _ => None,
        }
    }

    /// Whether the account lacks a privilege (1044, 1045, 1142, 1143, 1227, 1370).
    pub fn is_denied(&self) -> bool {
        matches!(
            self.server_code(),
            Some(1044 | 1045 | 1142 | 1143 | 1227 | 1370)
        )
    }
}

/// Handle on the control plane: share it as `Arc<Control>`.
pub struct Control {
    way: Mutex<Way>,
    /// Moves with every new destination.
    turn: AtomicU64,
    /// When the backend was reached after it could not be.
    back: watch::Sender<Option<Instant>>,
    doubt: Notify,
}

/// Where connections go now.
struct Way {
    settings: Arc<ControlSettings>,
    pool: Option<Pool>,
    door: Option<Door>,
}

impl Control {
    /// Connects nothing yet: a backend that is down at start is not an error.
    pub fn new(settings: impl Into<Arc<ControlSettings>>) -> Arc<Self> {
        Arc::new(Self {
            way: Mutex::new(Way {
                settings: settings.into(),
                pool: None,
                door: None,
            }),
            turn: AtomicU64::new(0),
            back: watch::Sender::new(None),
            doubt: Notify::new(),
        })
    }

    /// A connection to the backend has ended that should not have: whoever looks after it should look now.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits for somebody's doubt.
    pub async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// The backend is reached again.
    pub fn came_back(&self) {
        self.back.send_replace(Some(Instant::now()));
    }

    /// When that was last, and the next time at once: who has lost a connection need not wait any longer.
    pub fn comebacks(&self) -> watch::Receiver<Option<Instant>> {
        self.back.subscribe()
    }

    /// Where connections go now.
    pub fn settings(&self) -> Arc<ControlSettings> {
        self.way.lock().settings.clone()
    }

    /// The same, and which turn it is: connections of another turn lead to where nobody goes any more.
    pub fn destination(&self) -> (Arc<ControlSettings>, u64) {
        let way = self.way.lock();
        (way.settings.clone(), self.turn())
    }

    /// Moves with every new destination.
    pub fn turn(&self) -> u64 {
        self.turn.load(SeqCst)
    }

    /// From now on all new connections go to another server; the pool's old ones are closed, those in use when they come back.
    /// False if that is where they go already.
    pub fn turn_to(&self, settings: Arc<ControlSettings>) -> bool {
        let mut way = self.way.lock();
        if Arc::ptr_eq(&way.settings, &settings) {
            return false;
        }
        way.settings = settings;
        way.door = None;
        let pool = way.pool.take();
        self.turn.fetch_add(1, SeqCst);
        drop(way);
        if let Some(pool) = pool {
            tokio::spawn(async move { pool.disconnect().await });
        }
        true
    }

    /// A pooled connection. Its session is reset when it goes back, so `SET SESSION` on it is safe.
    ///
    /// # Errors
    /// Login refused, unreachable, or no connection within `connect_max`.
    pub async fn conn(&self) -> Result<Conn, ControlError> {
        loop {
            let (settings, turn) = self.destination();
            let opened = deadline("a control connection", settings.connect_max(), async {
                Ok(self.pool(&settings).await?.get_conn().await?)
            })
            .await;
            match &opened {
                Err(error) if settings.needs_door_after(error) => self.way.lock().pool = None,
                _ if turn == self.turn() => return opened,
                _ => {}
            }
        }
    }

    /// A connection of one's own, outside the pool (binlog stream, barrier, locks, DDL).
    ///
    /// # Errors
    /// As `conn`.
    pub async fn dedicated(&self) -> Result<Conn, ControlError> {
        loop {
            let (settings, turn) = self.destination();
            let opened = self.connect(&settings).await;
            if let Err(error) = &opened
                && settings.needs_door_after(error)
            {
                continue;
            }
            if turn == self.turn() {
                return Ok(opened?.0);
            }
        }
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// From the server, or later than `QUERY_MS_MAX`.
    pub async fn query<T>(&self, sql: &str) -> Result<Vec<T>, ControlError>
    where
        T: FromRow + Send + 'static,
    {
        let mut conn = self.conn().await?;
        deadline("a control query", query_max(), async {
            Ok(conn.query(sql).await?)
        })
        .await
    }

    /// The first row of a statement.
    ///
    /// # Errors
    /// From the server, or later than `QUERY_MS_MAX`.
    pub async fn query_first<T>(&self, sql: &str) -> Result<Option<T>, ControlError>
    where
        T: FromRow + Send + 'static,
    {
        let mut conn = self.conn().await?;
        deadline("a control query", query_max(), async {
            Ok(conn.query_first(sql).await?)
        })
        .await
    }

    /// All rows of a statement with parameters.
    ///
    /// # Errors
    /// From the server, or later than `QUERY_MS_MAX`.
    pub async fn exec<T, S, P>(&self, sql: S, params: P) -> Result<Vec<T>, ControlError>
    where
        T: FromRow + Send + 'static,
        S: StatementLike + Send,
        P: Into<Params> + Send,
    {
        let mut conn = self.conn().await?;
        deadline("a control query", query_max(), async {
            Ok(conn.exec(sql, params).await?)
        })
        .await
    }

    /// Runs a statement for its effect; returns the affected rows.
    ///
    /// # Errors
    /// From the server, or later than `QUERY_MS_MAX`.
    pub async fn execute(&self, sql: &str) -> Result<u64, ControlError> {
        let mut conn = self.conn().await?;
        deadline("a control statement", query_max(), async {
            conn.query_drop(sql).await?;
            Ok(conn.affected_rows())
        })
        .await
    }

    /// Closes the pool's idle connections; later calls open new ones.
    pub async fn disconnect(&self) {
        let (pool, max) = {
            let mut way = self.way.lock();
            (way.pool.take(), way.settings.connect_max())
        };
        if let Some(pool) = pool {
            let _ = deadline("closing the pool", max, async {
                Ok(pool.disconnect().await?)
            })
            .await;
        }
    }

    /// The pool, made at first use: only a connect tells whether the server has TLS.
    async fn pool(&self, settings: &Arc<ControlSettings>) -> Result<Pool, ControlError> {
        if let Some(pool) = self.way.lock().pool.clone() {
            return Ok(pool);
        }
        let encrypted = match settings.backend.tls {
            _ if settings.needs_door() => false,
            BackendTlsMode::Disabled => false,
            BackendTlsMode::Preferred | BackendTlsMode::AsClient => {
                let (conn, encrypted) = self.connect(settings).await?;
                let max = settings.connect_max();
                let _ = deadline("closing a control connection", max, async {
                    Ok(conn.disconnect().await?)
                })
                .await;
                encrypted
            }
            _ => true,
        };
        let pool = Pool::new(self.opts(settings, encrypted)?);
        let mut way = self.way.lock();
        match Arc::ptr_eq(&way.settings, settings) {
            true => Ok(way.pool.get_or_insert(pool).clone()),
            // Another turn: whoever asked looks again.
            false => Ok(pool),
        }
    }

    async fn connect(&self, settings: &ControlSettings) -> Result<(Conn, bool), ControlError> {
        deadline("connecting to the backend", settings.connect_max(), async {
            let open = async |encrypted| -> Result<_, ControlError> {
                let opts = self.opts(settings, encrypted)?;
                Ok((Conn::new(opts).await?, encrypted))
            };
            match settings.backend.tls {
                _ if settings.needs_door() => open(false).await,
                BackendTlsMode::Disabled => open(false).await,
                BackendTlsMode::Preferred | BackendTlsMode::AsClient => match open(true).await {
                    Err(ControlError::Driver(mysql_async::Error::Driver(
                        DriverError::NoClientSslFlagFromServer,
                    ))) => open(false).await,
                    opened => opened,
                },
                _ => open(true).await,
            }
        })
        .await
    }

    /// The door, opened at first use.
    fn through_door(&self, opts: OptsBuilder) -> Result<OptsBuilder, ControlError> {
        let mut way = self.way.lock();
        let way = &mut *way;
        let door = match &mut way.door {
            Some(door) => door,
            none => {
                let url = way.settings.backend.url.clone();
                none.insert(Door::open(way.settings.target()?, url)?)
            }
        };
        let path = door.path().display().to_string();
        let password = door.password().to_owned();
        Ok(opts.socket(Some(path)).pass(Some(password)))
    }

    fn opts(&self, settings: &ControlSettings, encrypted: bool) -> Result<Opts, ControlError> {
        let url = &settings.backend.url;
        let tls = encrypted.then(|| SslOpts::default().with_danger_accept_invalid_certs(true));
        let max = settings.connections_max.max(1);
        let constraints = PoolConstraints::new(1, max).unwrap_or_default();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            // What a moment has needed besides the one is not kept: it counts among the server's.
            .with_inactive_connection_ttl(Duration::from_secs(5))
            .with_ttl_check_interval(Duration::from_secs(1))
            .with_reset_connection(true);
        let opts = OptsBuilder::default()
            .ip_or_hostname(url.host.clone())
            .tcp_port(url.port)
            .user(Some(url.user.clone()))
            .pass((!url.password.is_empty()).then(|| url.password.reveal().to_owned()))
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(IDLE_S_MAX))
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .tcp_nodelay(true)
            .ssl_opts(tls)
            .pool_opts(pool)
            .connect_attribute("program_name", "tidegate");
        Ok(match settings.needs_door() {
            true => self.through_door(opts)?.into(),
            false => opts.into(),
        })
    }
}

fn query_max() -> Duration {
    Duration::from_millis(QUERY_MS_MAX)
}

/// Runs `work` for at most `max`.
///
/// # Errors
/// `ControlError::Late`, or the error of `work`.
pub async fn deadline<T>(
    what: &'static str,
    max: Duration,
    work: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    match tokio::time::timeout(max, work).await {
        Ok(result) => result,
        Err(_) => Err(ControlError::Late {
            what,
            ms: u64::try_from(max.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}
