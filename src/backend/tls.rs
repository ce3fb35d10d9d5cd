//! TLS towards the backend: who it has to be, who we are, and new certificates without a restart.
//!
//! | `backend.tls` | the server's certificate |
//! |---|---|
//! | preferred, required | not looked at, as in MySQL's clients |
//! | verify_ca | signed by an authority in `backend.tls_ca`; names are not looked at: MySQL's auto-made certificates carry none |
//! | verify_identity | and made out to the host in `backend.url` |

mod plain_key;

use super::certificates::{self, TlsError, Watched};
use crate::config::{self, BackendTlsMode};
use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

/// Starts TLS on connections to the backend. Clones share their certificates.
#[derive(Clone)]
pub struct BackendTls {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for BackendTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendTls")
            .field("files", &self.shared.files)
            .finish_non_exhaustive()
    }
}

struct Shared {
    name: ServerName<'static>,
    files: Files,
    watched: Watched,
    current: ArcSwap<ClientConfig>,
}

/// What the certificates are read from, and what for.
#[derive(Debug)]
struct Files {
    mode: BackendTlsMode,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl BackendTls {
    /// A connector for the server of a config.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn new(config: &config::Backend) -> Result<Self, TlsError> {
        let files = Files {
            mode: config.tls,
            ca: config.tls_ca.clone(),
            cert: config.tls_cert.clone(),
            key: config.tls_key.clone(),
        };
        let watched = Watched::new([&*files.ca, &*files.cert, &*files.key]);
        let current = ArcSwap::new(files.load()?);
        // Only where names are verified must there be one.
        let fallback = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let name = ServerName::try_from(config.url.host.clone()).unwrap_or(fallback);
        Ok(Self {
            shared: Arc::new(Shared {
                name,
                files,
                watched,
                current,
            }),
        })
    }

    /// Reads the files again if they were replaced, or `always`. True if new connections get something new.
    ///
    /// # Errors
    /// The new files do not do; the old ones stay in use.
    pub fn reload(&self, always: bool) -> Result<bool, TlsError> {
        if !self.shared.watched.have_changed() && !always {
            return Ok(false);
        }
        self.shared.current.store(self.shared.files.load()?);
        Ok(true)
    }

    /// Runs the TLS handshake.
    ///
    /// # Errors
    /// The peer's or the socket's, as `io::Error`; a certificate that is not what it has to be.
    pub async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.shared.current.load_full());
        Ok(connector
            .connect(self.shared.name.clone(), tcp)
            .await?
            .into())
    }
}

impl Files {
    fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.mode {
            BackendTlsMode::VerifyIdentity => {
                let roots = Arc::new(certificates::authorities(&self.ca)?);
                let built = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                built.build().map_err(|error| TlsError::Verifier {
                    path: self.ca.clone(),
                    error,
                })?
            }
            BackendTlsMode::VerifyCa => Arc::new(Unnamed {
                roots: Some(certificates::authorities(&self.ca)?),
                provider: provider.clone(),
            }),
            _ => Arc::new(Unnamed {
                roots: None,
                provider: provider.clone(),
            }),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.cert.as_os_str().is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let chain = certificates::chain(&self.cert)?;
                let key = certificates::key(&self.key)?;
                let rejected = |error| TlsError::Rejected {
                    path: self.cert.clone(),
                    error,
                };
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(rejected)?
            }
        };
        // Where a name is not checked, none is told.
        config.enable_sni = self.mode == BackendTlsMode::VerifyIdentity;
        Ok(Arc::new(config))
    }
}

/// Looks at no name. With authorities, the certificate must be signed by one; without, every certificate will do. In both cases the
/// peer must own the key that it shows.
#[derive(Debug)]
struct Unnamed {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match verify_tls12_signature(message, cert, dss, algorithms) {
            Err(error) if self.roots.is_none() && plain_key::is_old(&error) => {
                plain_key::verify_tls12(message, cert, dss, algorithms)
                    .map(|()| HandshakeSignatureValid::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match verify_tls13_signature(message, cert, dss, algorithms) {
            Err(error) if self.roots.is_none() && plain_key::is_old(&error) => {
                plain_key::verify_tls13(message, cert, dss, algorithms)
                    .map(|()| HandshakeSignatureValid::assertion())
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
