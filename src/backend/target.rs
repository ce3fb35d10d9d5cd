//! How to reach the backend for clients: address, TLS, time limit. Never keeps a connection.

use super::certificates::TlsError;
use super::compression::{Algorithm, ZSTD_LEVEL};
use super::stream::Stream;
use super::tls::BackendTls;
use crate::config::{self, BackendTlsMode, Compression};
use crate::protocol::capability;
use std::borrow::Cow;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How a client came, where its connections to the backend are to be alike (`as_client`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Like {
    /// By TLS, or without a network between.
    pub secure: bool,
    /// Its packets are compressed.
    pub compression: Option<Algorithm>,
}

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
    /// Whom its connections are for; only what the configuration wants alike. `None`: nothing, or nobody.
    pub like: Option<Like>,
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
            like: None,
            tls,
        }
    }

    /// What of a client's ways the configuration wants its connections to have. `None`: nothing.
    pub fn wanted(&self, client: Like) -> Option<Like> {
        let secure = self.tls_mode == BackendTlsMode::AsClient;
        let compression = self.compression == Compression::AsClient;
        (secure || compression).then(|| Like {
            secure: secure && client.secure,
            compression: client.compression.filter(|_| compression),
        })
    }

    /// The same for connections of such a client.
    pub fn for_client(&self, client: Like) -> Cow<'_, Self> {
        match self.wanted(client) {
            None => Cow::Borrowed(self),
            like => Cow::Owned(Self {
                like,
                ..self.clone()
            }),
        }
    }

    /// Whether to use TLS with a server that offers it.
    pub fn uses_tls(&self) -> bool {
        match self.tls_mode {
            BackendTlsMode::Disabled => false,
            BackendTlsMode::AsClient => self.like.is_none_or(|like| like.secure),
            _ => true,
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
            Compression::AsClient => {
                let wanted = self.like.and_then(|like| like.compression);
                wanted.filter(|algorithm| offers(algorithm.capability()))
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

#[cfg(test)]
mod tests {
    use super::*;

    const ZLIB_BY_TLS: Like = Like {
        secure: true,
        compression: Some(Algorithm::Zlib),
    };

    fn target(tls: BackendTlsMode, compression: Compression) -> Target {
        let config = config::Backend {
            tls,
            compression,
            ..config::Backend::default()
        };
        Target::new(&config).unwrap()
    }

    #[test]
    fn connections_are_like_their_clients_only_where_that_is_wanted() {
        let plain = target(BackendTlsMode::Preferred, Compression::None);
        assert_eq!(plain.wanted(ZLIB_BY_TLS), None);
        assert!(plain.for_client(Like::default()).uses_tls());
        let tls = target(BackendTlsMode::AsClient, Compression::Zstd);
        assert!(tls.uses_tls(), "our own");
        assert!(tls.for_client(ZLIB_BY_TLS).uses_tls());
        assert!(!tls.for_client(Like::default()).uses_tls());
        let both = target(BackendTlsMode::AsClient, Compression::AsClient);
        assert_eq!(both.wanted(ZLIB_BY_TLS), Some(ZLIB_BY_TLS));
        let all = capability::COMPRESSION;
        let like = both.for_client(ZLIB_BY_TLS);
        assert_eq!(like.algorithm(all), Some(Algorithm::Zlib));
        assert_eq!(like.algorithm(capability::ZSTD_COMPRESSION), None);
        assert_eq!(both.for_client(Like::default()).algorithm(all), None);
        assert_eq!(both.algorithm(all), None, "our own");
    }
}
