//! TLS towards clients: the operator's certificate, or one made by ourselves and kept in the data directory.
//! Never talks to a client itself.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why no certificate could be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file holds no usable PEM.
    #[error("{path}: {error}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not go together or are of a kind that is not supported.
    #[error("certificate {path}: {error}")]
    Rejected {
        /// The certificate's file.
        path: PathBuf,
        /// What the TLS library said.
        error: rustls::Error,
    },
    /// Making a certificate failed.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Loads `cert` and `key`; where both are empty, the pair kept in `data_dir`, made at the first start.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn acceptor(cert: &Path, key: &Path, data_dir: &Path) -> Result<TlsAcceptor, TlsError> {
    if !cert.as_os_str().is_empty() {
        return load(cert, key);
    }
    let (cert, key) = (
        data_dir.join("server-cert.pem"),
        data_dir.join("server-key.pem"),
    );
    if !cert.exists() || !key.exists() {
        make(&cert, &key, data_dir)?;
    }
    load(&cert, &key)
}

fn load(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::Pem { path, error }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .map_err(pem(cert))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(cert))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    let rejected = |error| TlsError::Rejected {
        path: cert.to_owned(),
        error,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(rejected)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(rejected)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
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
