//! Certificate files: reading them, and noticing that they were replaced. For both sides; speaks no TLS itself.

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Why certificates could not be loaded or made.
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
    /// A file holds no certificate.
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    /// Certificate and key do not go together or are of a kind that is not supported.
    #[error("certificate {path}: {error}")]
    Rejected {
        /// The certificate's file.
        path: PathBuf,
        /// What the TLS library said.
        error: rustls::Error,
    },
    /// Nobody can be verified with these certificates.
    #[error("{path}: {error}")]
    Verifier {
        /// The authorities' file.
        path: PathBuf,
        /// What the TLS library said.
        error: rustls::server::VerifierBuilderError,
    },
    /// The TLS library cannot be set up.
    #[error("TLS library: {0}")]
    Library(rustls::Error),
    /// Making a certificate failed.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

fn pem(path: &Path) -> impl Fn(rustls_pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |error| TlsError::Pem {
        path: path.clone(),
        error,
    }
}

/// The certificates in a file.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .map_err(pem(path))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(path))?;
    match chain.is_empty() {
        true => Err(TlsError::Empty(path.to_owned())),
        false => Ok(chain),
    }
}

/// The private key in a file.
///
/// # Errors
/// As [`chain`].
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(pem(path))
}

/// The certificates in a file as those of authorities.
///
/// # Errors
/// As [`chain`].
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| TlsError::Rejected {
            path: path.to_owned(),
            error,
        })?;
    }
    Ok(roots)
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Files that may be replaced while we run.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Stamp>>,
}

impl Watched {
    /// These files as they are now; empty paths are none.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let named = paths
            .into_iter()
            .filter(|path| !path.as_os_str().is_empty());
        let paths: Vec<PathBuf> = named.map(Path::to_owned).collect();
        let seen = Mutex::new(paths.iter().map(|path| stamp(path)).collect());
        Self { paths, seen }
    }

    /// Whether one of them is not what it was at the last call.
    pub fn have_changed(&self) -> bool {
        let now: Vec<Stamp> = self.paths.iter().map(|path| stamp(path)).collect();
        let mut seen = self.seen.lock();
        std::mem::replace(&mut *seen, now.clone()) != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "one").unwrap();
        let watched = Watched::new([path.as_path(), Path::new("")]);
        assert!(!watched.have_changed());
        // The same length, and within one tick of a coarse clock: another file all the same.
        fs::write(&beside, "two").unwrap();
        fs::rename(&beside, &path).unwrap();
        assert!(watched.have_changed());
        assert!(!watched.have_changed());
        fs::remove_file(&path).unwrap();
        assert!(watched.have_changed());
        assert!(!watched.have_changed());
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cert.pem");
        let missing = chain(&path).unwrap_err().to_string();
        assert!(missing.contains("cert.pem"), "{missing}");
        for text in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA",
        ] {
            fs::write(&path, text).unwrap();
            for error in [
                chain(&path).err(),
                authorities(&path).err(),
                key(&path).err(),
            ] {
                let error = error.expect(text).to_string();
                assert!(error.contains("cert.pem"), "{error}");
            }
        }
        fs::write(
            &path,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(matches!(authorities(&path), Err(TlsError::Rejected { .. })));
    }
}
