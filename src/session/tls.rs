//! TLS towards clients: the operator's certificate, or one made by ourselves and kept in the data directory; clients' certificates;
//! new files without a restart. Never talks to a client itself.

use crate::backend::certificates::{self, TlsError, Watched};
use crate::config::Config;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// TLS of the listeners.
pub struct ServerTls {
    files: Files,
    watched: Watched,
    current: ArcSwap<ServerConfig>,
}

/// What it is made of.
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
    client_cert_required: bool,
}

impl ServerTls {
    /// Loads what the config names; without a certificate there, the pair kept in the data directory, made at the first start.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        let data_dir = config.data_dir();
        let mut files = Files {
            cert: config.tls.cert.clone(),
            key: config.tls.key.clone(),
            client_ca: config.tls.client_ca.clone(),
            client_cert_required: config.tls.client_cert_required,
        };
        if files.cert.as_os_str().is_empty() {
            files.cert = data_dir.join("server-cert.pem");
            files.key = data_dir.join("server-key.pem");
            if !files.cert.exists() || !files.key.exists() {
                make(&files.cert, &files.key, &data_dir)?;
            }
        }
        let watched = Watched::new([&*files.cert, &*files.key, &*files.client_ca]);
        Ok(Self {
            current: ArcSwap::new(files.load()?),
            watched,
            files,
        })
    }

    /// What the next client is met with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again if they were replaced, or `always`. True if new clients get something new.
    ///
    /// # Errors
    /// The new files do not do; the old ones stay in use.
    pub fn reload(&self, always: bool) -> Result<bool, TlsError> {
        if !self.watched.have_changed() && !always {
            return Ok(false);
        }
        self.current.store(self.files.load()?);
        Ok(true)
    }
}

impl Files {
    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates::chain(&self.cert)?;
        let key = certificates::key(&self.key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?;
        let asks = !self.client_ca.as_os_str().is_empty();
        let builder = match asks {
            false => builder.with_no_client_auth(),
            true => {
                let roots = Arc::new(certificates::authorities(&self.client_ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match self.client_cert_required {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| TlsError::Verifier {
                    path: self.client_ca.clone(),
                    error,
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let rejected = |error| TlsError::Rejected {
            path: self.cert.clone(),
            error,
        };
        let mut config = builder.with_single_cert(chain, key).map_err(rejected)?;
        if asks {
            // A session that is resumed shows no certificate again: it would outlive a change of the authorities.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }
}

fn make(cert: &Path, key: &Path, data_dir: &Path) -> Result<(), TlsError> {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "tidegate".to_owned()])?;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::File { path, error }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(at(data_dir))?;
    write_private(key, &made.signing_key.serialize_pem()).map_err(at(key))?;
    write_private(cert, &made.cert.pem()).map_err(at(cert))?;
    Ok(())
}

/// Writes beside the target and renames, so that a crash leaves either no file or a whole one.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
