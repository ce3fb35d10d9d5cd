//! What ends a login or a session, in one place: what the client is told, and whose fault it was (a log field and a metric label).

use crate::backend::connection::ExchangeError;
use crate::backend::login::ConnectError;
use crate::backend::pool::PoolError;
use crate::protocol::ProtocolError;
use crate::protocol::packet::ReadError;
use std::io;

/// Whose fault the end of a session was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The client, or the way to it.
    Client,
    /// Tidegate, or its limits.
    Proxy,
    /// The backend, or the way to it.
    Backend,
}

impl Source {
    /// The stable label.
    pub fn label(self) -> &'static str {
        match self {
            Source::Client => "client",
            Source::Proxy => "proxy",
            Source::Backend => "backend",
        }
    }
}

/// What ended a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client went away.
    #[error("client connection: {0}")]
    ClientIo(io::Error),
    /// The client broke the protocol.
    #[error("client packets: {0}")]
    ClientProtocol(ProtocolError),
    /// The client was refused at login; it has been told.
    #[error("login refused: {code} {text}")]
    LoginRefused {
        /// The error number it was told.
        code: u16,
        /// The words.
        text: String,
    },
    /// The client took too long to log in, or was silent for too long.
    #[error("{0}")]
    TimedOut(&'static str),
    /// An administrator or another session ended this one.
    #[error("killed")]
    Killed,
    /// The server stops.
    #[error("stopping")]
    Stopping,
    /// No backend connection could be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The backend could not be logged in to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The backend connection broke.
    #[error("backend connection: {0}")]
    BackendIo(io::Error),
    /// The backend broke the protocol.
    #[error("backend packets: {0}")]
    BackendProtocol(ProtocolError),
    /// There is no backend connection for the command now; the session goes on without one.
    #[error("{code} {text}")]
    Unattached {
        /// MySQL error number.
        code: u16,
        /// SQLSTATE.
        sqlstate: [u8; 5],
        /// The words.
        text: String,
    },
    /// The server's answer was an error that another server may have no reason for: it was not passed on, and its connection is
    /// as good as before. Never tells anything to a client.
    #[error("the statement is to run on another server")]
    TurnedBack,
    /// Something of ours failed.
    #[error("{0}")]
    Internal(&'static str),
}

/// An error for the client: number, SQLSTATE, text.
pub type Told = (u16, [u8; 5], String);

/// The rule that a peer broke, where a stream found it.
fn broken_rule(error: &io::Error) -> Option<ProtocolError> {
    error.get_ref()?.downcast_ref().copied()
}

impl SessionError {
    /// As the answer to one command of a session that goes on, where that is possible.
    pub fn unattached(error: impl Into<Self>) -> Self {
        let error = error.into();
        match (&error, error.told()) {
            (Self::Pool(_) | Self::Connect(_), Some((code, sqlstate, text))) => Self::Unattached {
                code,
                sqlstate,
                text,
            },
            _ => error,
        }
    }

    /// Whose fault it was.
    pub fn source(&self) -> Source {
        match self {
            Self::ClientIo(_)
            | Self::ClientProtocol(_)
            | Self::LoginRefused { .. }
            | Self::TimedOut(_)
            | Self::Killed => Source::Client,
            Self::Stopping | Self::Pool(_) | Self::Unattached { .. } | Self::Internal(_) => {
                Source::Proxy
            }
            Self::Connect(_) | Self::BackendIo(_) | Self::BackendProtocol(_) | Self::TurnedBack => {
                Source::Backend
            }
        }
    }

    /// A stable word for the kind of end.
    pub fn label(&self) -> &'static str {
        match self {
            Self::ClientIo(error) => {
                broken_rule(error).map_or("client_gone", |error| error.label())
            }
            Self::ClientProtocol(error) => error.label(),
            Self::LoginRefused { .. } => "login_refused",
            Self::TimedOut(_) => "timed_out",
            Self::Killed => "killed",
            Self::Stopping => "stopping",
            Self::Pool(_) => "pool",
            Self::Unattached { .. } => "unattached",
            Self::Connect(_) => "connect",
            Self::BackendIo(_) => "backend_gone",
            Self::BackendProtocol(_) => "backend_protocol",
            Self::TurnedBack => "turned_back",
            Self::Internal(_) => "internal",
        }
    }

    /// The client was told already, by who found the error.
    pub fn was_told(&self) -> bool {
        matches!(self, Self::LoginRefused { .. })
    }

    /// Under which number and with which words it is counted: what the client was told, or the server's own number for a
    /// client that could not be told.
    pub fn counted(&self) -> (u16, String) {
        match self {
            Self::LoginRefused { code, text } => (*code, text.clone()),
            Self::ClientIo(error) if error.kind() == io::ErrorKind::TimedOut => {
                (1161, "Got timeout writing communication packets".to_owned())
            }
            Self::ClientIo(error) if broken_rule(error).is_none() => {
                let text = format!("Got an error reading communication packets ({error})");
                (1158, text)
            }
            _ => match self.told() {
                Some((code, _, text)) => (code, text),
                None => (1105, self.to_string()),
            },
        }
    }

    /// What the client is told before the connection closes; `None`: nothing, because it is gone or was told already.
    pub fn told(&self) -> Option<Told> {
        match self {
            // What unpacks compressed packets is a stream: it tells of a broken rule as streams do.
            Self::ClientIo(error) => match broken_rule(error)? {
                error @ ProtocolError::Sequence { .. } => Self::ClientProtocol(error).told(),
                error => {
                    let text = format!("Couldn't uncompress communication packet ({error})");
                    Some((1157, *b"08S01", text))
                }
            },
            Self::LoginRefused { .. } => None,
            Self::ClientProtocol(error @ ProtocolError::Sequence { .. }) => Some((
                1156,
                *b"08S01",
                format!("Got packets out of order ({error})"),
            )),
            Self::ClientProtocol(error @ ProtocolError::TooLarge { .. }) => Some((
                1153,
                *b"08S01",
                format!("Got a packet bigger than 'max_allowed_packet' bytes ({error})"),
            )),
            Self::ClientProtocol(error) => Some((
                1835,
                *b"HY000",
                format!("Malformed communication packet ({error})"),
            )),
            Self::TimedOut(what) => Some((
                4031,
                *b"HY000",
                format!("The client was disconnected by Tidegate: {what}"),
            )),
            Self::Killed => Some((
                1317,
                *b"70100",
                "Query execution was interrupted (connection killed)".to_owned(),
            )),
            Self::Stopping => Some((1053, *b"08S01", "Server shutdown in progress".to_owned())),
            Self::Pool(PoolError::UserLimit { .. }) => Some((1203, *b"42000", self.to_string())),
            Self::Pool(_) => Some((1040, *b"08004", format!("Too many connections: {self}"))),
            Self::Connect(ConnectError::Refused {
                code,
                sqlstate,
                message,
            }) => Some((*code, *sqlstate, message.clone())),
            Self::Connect(error) => Some((
                2003,
                *b"HY000",
                format!("Can't connect to MySQL server behind Tidegate: {error}"),
            )),
            Self::BackendIo(_) | Self::BackendProtocol(_) => Some((
                2013,
                *b"HY000",
                "Lost connection to MySQL server during query".to_owned(),
            )),
            Self::Unattached {
                code,
                sqlstate,
                text,
            } => Some((*code, *sqlstate, text.clone())),
            Self::TurnedBack => Some((1105, *b"HY000", format!("Tidegate: {self}"))),
            Self::Internal(what) => Some((1105, *b"HY000", format!("Tidegate: {what}"))),
        }
    }
}

impl From<ReadError> for SessionError {
    /// Reading from the client failed.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::ClientIo(error),
            ReadError::Protocol(error) => Self::ClientProtocol(error),
        }
    }
}

impl From<ExchangeError> for SessionError {
    /// An exchange of our own on the client's backend connection broke it.
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Io(error) => Self::BackendIo(error),
            ExchangeError::Protocol(error) => Self::BackendProtocol(error),
            ExchangeError::Refused { .. } => {
                Self::Internal("an exchange with the backend was refused")
            }
        }
    }
}
