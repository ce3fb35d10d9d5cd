//! The control plane's way to the backend: a small pool of ordinary client connections, and dedicated ones outside it.
//! Every wait has a deadline. Never carries a client's statement, never prints a password.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable, StatementLike};
use mysql_async::{
    Conn, DriverError, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, SslOpts,
};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use thiserror::Error;

/// Longest time one helper call (`query`, `query_first`, `execute`) may take. Callers with longer work take `conn()`.
pub const QUERY_MS_MAX: u64 = 10_000;
/// Told to the server and believed of it, so that the driver does not ask on every connect.
const PACKET_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The driver closes an idle connection before the server would (server default: 8 hours).
const IDLE_S_MAX: usize = 600;
/// Control work is light: a few connections carry all of it, and the backend's limit is the clients' to use.
const CONNECTIONS_DEFAULT: usize = 8;

/// Whether control connections are encrypted. Certificates are not verified, as with `--ssl-mode=PREFERRED|REQUIRED` of the mysql client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlTls {
    /// Never.
    Disabled,
    /// When the server offers it.
    Preferred,
    /// Always; a server without TLS is an error.
    Required,
}

/// Where the backend is and who we are there. `Debug` hides the password.
#[derive(Clone)]
pub struct ControlSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The control-plane user.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<String>,
    /// Encryption.
    pub tls: ControlTls,
    /// Longest time for name lookup, TCP, TLS and login together.
    pub connect_max: Duration,
    /// Pool size.
    pub connections_max: usize,
}

impl fmt::Debug for ControlSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &"***")
            .field("tls", &self.tls)
            .field("connect_max", &self.connect_max)
            .field("connections_max", &self.connections_max)
            .finish()
    }
}

impl ControlSettings {
    /// From `mysql://user:password@host:port`; user and password may be percent-encoded, a path is ignored.
    ///
    /// # Errors
    /// `ControlError::Url` names what is missing; the text never contains the password.
    pub fn from_url(
        url: &str,
        tls: ControlTls,
        connect_max: Duration,
    ) -> Result<Self, ControlError> {
        let url = url::Url::parse(url).map_err(|e| ControlError::Url(e.to_string()))?;
        if url.scheme() != "mysql" {
            return Err(ControlError::Url("the scheme must be mysql".into()));
        }
        let host = url
            .host_str()
            .ok_or_else(|| ControlError::Url("no host".into()))?;
        let decode = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|s| s.into_owned())
                .map_err(|_| ControlError::Url("user or password is not UTF-8".into()))
        };
        Ok(Self {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_string(),
            port: url.port().unwrap_or(3306),
            user: decode(url.username())?,
            password: url.password().map(decode).transpose()?,
            tls,
            connect_max,
            connections_max: CONNECTIONS_DEFAULT,
        })
    }
}

/// Why the control plane could not do what was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The backend URL cannot be used.
    #[error("backend url: {0}")]
    Url(String),
    /// The server or the driver said no.
    #[error(transparent)]
    Driver(#[from] mysql_async::Error),
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
}

impl Control {
    /// Connects nothing yet: a backend that is down at start is not an error.
    pub fn new(settings: ControlSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            pool: Mutex::new(None),
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
        deadline("a control connection", self.settings.connect_max, async {
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
            let _ = deadline("closing the pool", self.settings.connect_max, async {
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
        let encrypted = match self.settings.tls {
            ControlTls::Disabled => false,
            ControlTls::Required => true,
            ControlTls::Preferred => {
                let (conn, encrypted) = self.connect().await?;
                let _ = deadline(
                    "closing a control connection",
                    self.settings.connect_max,
                    async { Ok(conn.disconnect().await?) },
                )
                .await;
                encrypted
            }
        };
        let mut slot = self.pool.lock();
        Ok(slot
            .get_or_insert_with(|| Pool::new(self.opts(encrypted)))
            .clone())
    }

    async fn connect(&self) -> Result<(Conn, bool), ControlError> {
        deadline(
            "connecting to the backend",
            self.settings.connect_max,
            async {
                match self.settings.tls {
                    ControlTls::Disabled => Ok((Conn::new(self.opts(false)).await?, false)),
                    ControlTls::Required => Ok((Conn::new(self.opts(true)).await?, true)),
                    ControlTls::Preferred => match Conn::new(self.opts(true)).await {
                        Ok(conn) => Ok((conn, true)),
                        Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                            Ok((Conn::new(self.opts(false)).await?, false))
                        }
                        Err(error) => Err(error.into()),
                    },
                }
            },
        )
        .await
    }

    fn opts(&self, encrypted: bool) -> Opts {
        let tls = encrypted.then(|| SslOpts::default().with_danger_accept_invalid_certs(true));
        let max = self.settings.connections_max.max(1);
        let constraints = PoolConstraints::new(0, max).unwrap_or_default();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            .with_inactive_connection_ttl(Duration::from_secs(60))
            .with_reset_connection(true);
        OptsBuilder::default()
            .ip_or_hostname(self.settings.host.clone())
            .tcp_port(self.settings.port)
            .user(Some(self.settings.user.clone()))
            .pass(self.settings.password.clone())
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(IDLE_S_MAX))
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .tcp_nodelay(true)
            .ssl_opts(tls)
            .pool_opts(pool)
            .connect_attribute("program_name", "tidegate")
            .into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_parts_are_decoded_and_the_password_is_never_shown() {
        let s = ControlSettings::from_url(
            "mysql://a%40b:p%2Fw@db.example:3307/x",
            ControlTls::Preferred,
            Duration::from_secs(1),
        )
        .unwrap();
        assert_eq!(
            (s.host.as_str(), s.port, s.user.as_str()),
            ("db.example", 3307, "a@b")
        );
        assert_eq!(s.password.as_deref(), Some("p/w"));
        assert!(!format!("{s:?}").contains("p/w"));
        let s = ControlSettings::from_url(
            "mysql://root@[::1]",
            ControlTls::Disabled,
            Duration::from_secs(1),
        )
        .unwrap();
        assert_eq!((s.host.as_str(), s.port, s.password), ("::1", 3306, None));
    }

    #[test]
    fn a_bad_url_says_why_without_the_password() {
        for (url, part) in [
            ("postgres://u:secret@h", "scheme"),
            ("mysql:///x", "host"),
            ("mysql", "relative"),
        ] {
            let error =
                ControlSettings::from_url(url, ControlTls::Disabled, Duration::from_secs(1))
                    .unwrap_err()
                    .to_string();
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("secret"));
        }
    }
}
