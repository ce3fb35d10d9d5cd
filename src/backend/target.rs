//! How to reach the backend for clients: address, TLS, time limit. Never keeps a connection.

use super::certificates::TlsError;
use super::compression::{Algorithm, ZSTD_LEVEL};
use super::stream::Stream;
use super::tls::BackendTls;
use crate::config::{self, BackendTlsMode, Compression};
use crate::protocol::capability;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// The server behind us, as the data plane reaches it.
#[derive(Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Whether TLS may or must be used.
    pub tls_mode: BackendTlsMode,
    /// Wanted on connections that serve clients.
    pub compression: Compression,
    /// Longest wait for connect and login together.
    pub connect_max: Duration,
    tls: BackendTls,
}

/// Between two processes of one machine there is no congestion, and an algorithm that paces (BBR) sets a timer for each packet: such
/// a connection has the plainest one that the kernel has. It is only cheaper, so a kernel that refuses is no fault.
pub fn spare_pacing(tcp: &TcpStream) {
    if tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        let _ = socket2::SockRef::from(tcp).set_tcp_congestion(b"reno");
    }
}

impl Target {
    /// The target of a config.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(config: &config::Backend) -> Result<Self, TlsError> {
        Ok(Self::with_tls(config, BackendTls::new(config)?))
    }

    /// The same with certificates that somebody has.
    pub fn with_tls(config: &config::Backend, tls: BackendTls) -> Self {
        Self {
            address: config.url.address(),
            tls_mode: config.tls,
            compression: config.compression,
            connect_max: Duration::from_millis(config.connect_ms_max),
            tls,
        }
    }

    /// Its certificates.
    pub fn tls(&self) -> &BackendTls {
        &self.tls
    }

    /// What to compress with on a connection to a server that offers `capabilities`.
    pub fn algorithm(&self, capabilities: u32) -> Option<Algorithm> {
        let offers = |flag| capabilities & flag != 0;
        match self.compression {
            Compression::Zlib if offers(capability::COMPRESS) => Some(Algorithm::Zlib),
            Compression::Zstd if offers(capability::ZSTD_COMPRESSION) => {
                Some(Algorithm::Zstd(ZSTD_LEVEL))
            }
            _ => None,
        }
    }

    /// Opens a TCP connection without Nagle's delay.
    ///
    /// # Errors
    /// The system's.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        spare_pacing(&tcp);
        Ok(tcp)
    }

    /// Goes on with TLS after the short request was sent.
    ///
    /// # Errors
    /// The TLS handshake's.
    pub async fn secure(&self, tcp: TcpStream) -> io::Result<Stream> {
        Ok(Stream::Tls(Box::new(self.tls.connect(tcp).await?)))
    }
}
