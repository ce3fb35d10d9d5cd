//! Where a client is. Owns no socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// On this machine: it came by a Unix socket.
    Local,
    /// At this address.
    At(SocketAddr),
    /// Behind a proxy at this address, which has not said yet where.
    Behind(SocketAddr),
}

impl Peer {
    /// The address, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::At(address) | Self::Behind(address) => Some(address.ip()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::At(address) | Self::Behind(address) => address.fmt(f),
        }
    }
}
