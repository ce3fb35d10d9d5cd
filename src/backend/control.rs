//! The control plane's way to the backend: a small pool of ordinary client connections, and dedicated ones outside it.
//! Every wait has a deadline. Never carries a client's statement, never prints a password.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable, StatementLike};
use mysql_async::{
    Conn, DriverError, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, SslOpts,
};
use parking_lot::Mutex;
use thiserror::Error;

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
        self.backend.tls.verifies() || !self.backend.tls_cert.as_os_str().is_empty()
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
    settings: ControlSettings,
    pool: Mutex<Option<Pool>>,
    door: Mutex<Option<Door>>,
}

impl Control {
    /// Connects nothing yet: a backend that is down at start is not an error.
    pub fn new(settings: ControlSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            pool: Mutex::new(None),
            door: Mutex::new(None),
        })
    }

    /// What it was made with.
    pub fn settings(&self) -> &ControlSettings {
        &self.settings
    }

    /// A pooled connection. Its session is reset when it goes back, so `SET SESSION` on it is safe.
    ///
    /// # Errors
    /// Login refused, unreachable, or no connection within `connect_max`.
    pub async fn conn(&self) -> Result<Conn, ControlError> {
        let pool = self.pool().await?;
        deadline("a control connection", self.settings.connect_max(), async {
            Ok(pool.get_conn().await?)
        })
        .await
    }

    /// A connection of one's own, outside the pool (binlog stream, barrier, locks, DDL).
    ///
    /// # Errors
    /// As `conn`.
    pub async fn dedicated(&self) -> Result<Conn, ControlError> {
        let (conn, _) = self.connect().await?;
        Ok(conn)
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
        let pool = self.pool.lock().take();
        if let Some(pool) = pool {
            let _ = deadline("closing the pool", self.settings.connect_max(), async {
                Ok(pool.disconnect().await?)
            })
            .await;
        }
    }

    /// The pool, made at first use: only a connect tells whether the server has TLS.
    async fn pool(&self) -> Result<Pool, ControlError> {
        if let Some(pool) = self.pool.lock().clone() {
            return Ok(pool);
        }
        let encrypted = match self.settings.backend.tls {
            _ if self.settings.needs_door() => false,
            BackendTlsMode::Disabled => false,
            BackendTlsMode::Preferred => {
                let (conn, encrypted) = self.connect().await?;
                let _ = deadline(
                    "closing a control connection",
                    self.settings.connect_max(),
                    async { Ok(conn.disconnect().await?) },
                )
                .await;
                encrypted
            }
            _ => true,
        };
        let opts = self.opts(encrypted)?;
        let mut slot = self.pool.lock();
        Ok(slot.get_or_insert_with(|| Pool::new(opts)).clone())
    }

    async fn connect(&self) -> Result<(Conn, bool), ControlError> {
        deadline(
            "connecting to the backend",
            self.settings.connect_max(),
            async {
                let open = async |encrypted| -> Result<_, ControlError> {
                    Ok((Conn::new(self.opts(encrypted)?).await?, encrypted))
                };
                match self.settings.backend.tls {
                    _ if self.settings.needs_door() => open(false).await,
                    BackendTlsMode::Disabled => open(false).await,
                    BackendTlsMode::Preferred => match open(true).await {
                        Err(ControlError::Driver(mysql_async::Error::Driver(
                            DriverError::NoClientSslFlagFromServer,
                        ))) => open(false).await,
                        opened => opened,
                    },
                    _ => open(true).await,
                }
            },
        )
        .await
    }

    /// The door, opened at first use.
    fn through_door(&self, opts: OptsBuilder) -> Result<OptsBuilder, ControlError> {
        let mut door = self.door.lock();
        let door = match &mut *door {
            Some(door) => door,
            none => {
                let url = self.settings.backend.url.clone();
                none.insert(Door::open(self.settings.target()?, url)?)
            }
        };
        let path = door.path().display().to_string();
        let password = door.password().to_owned();
        Ok(opts.socket(Some(path)).pass(Some(password)))
    }

    fn opts(&self, encrypted: bool) -> Result<Opts, ControlError> {
        let url = &self.settings.backend.url;
        let tls = encrypted.then(|| SslOpts::default().with_danger_accept_invalid_certs(true));
        let max = self.settings.connections_max.max(1);
        let constraints = PoolConstraints::new(0, max).unwrap_or_default();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            .with_inactive_connection_ttl(Duration::from_secs(60))
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
        Ok(match self.settings.needs_door() {
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
