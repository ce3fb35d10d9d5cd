//! The MySQL wire format: packets, handshakes, authentication, responses and where a response ends.
//! Knows no SQL, no config and no socket of ours; never panics on what a peer sent and never holds more than a named bound of it.
//!
//! Sources of the rules: the protocol chapters of the MySQL source documentation, measured against MySQL 9.7.4 and MariaDB 10.11.

pub mod auth;
pub mod capability;
pub mod column;
pub mod command;
pub mod handshake;
pub mod packet;
pub mod proxy_header;
pub mod relay;
pub mod response;
pub mod status;
pub mod tracking;

/// What a peer did wrong on the wire. Every variant has a stable [`label`](ProtocolError::label) for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A packet ended before a field that it must have, or a field had an impossible value. The text names the packet.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A packet was longer than the limit for its place.
    #[error("{what} of more than {bytes_max} bytes")]
    TooLarge {
        /// Which packet.
        what: &'static str,
        /// The limit that it passed.
        bytes_max: usize,
    },
    /// A packet had another sequence number than the one that is due.
    #[error("packet out of order: sequence {got}, expected {expected}")]
    Sequence {
        /// The number that was due.
        expected: u8,
        /// The number that came.
        got: u8,
    },
    /// A packet that is well formed but has no place here. The text names the state.
    #[error("unexpected packet in {0}")]
    Unexpected(&'static str),
    /// The peer cannot do or asked for something that we do not speak. The text names it.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
}

impl ProtocolError {
    /// A stable word for metrics and the admin schema.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Sequence { .. } => "sequence",
            Self::Unexpected(_) => "unexpected",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// The result of everything here that reads peer input.
pub type Result<T> = std::result::Result<T, ProtocolError>;

#[cfg(test)]
mod tests;
