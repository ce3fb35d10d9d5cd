//! Authentication: nonces, scrambles, verifiers and secrets here; RSA in `rsa`, the server-side exchange in `server`, the client-side one in `client`.
//! Sans-IO: payloads in, payloads out. Secrets are wiped when dropped and never printed.

pub mod client;
pub mod rsa;
pub mod server;

pub use client::{ClientAuth, ClientStep, Secret};
pub use rsa::{RsaKey, RsaPublicKey};
pub use server::{Known, Proof, ServerAuth, ServerStep};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Bytes of a challenge.
pub const NONCE_BYTES: usize = 20;

/// Plugin name of the default of MySQL 8 and 9.
pub const CACHING_SHA2: &[u8] = b"caching_sha2_password";
/// Plugin name of the default of MySQL 4.1 to 5.7 and of MariaDB; removed from MySQL 9.
pub const NATIVE: &[u8] = b"mysql_native_password";
/// Plugin name of the forerunner of caching_sha2_password.
pub const SHA256: &[u8] = b"sha256_password";
/// Plugin name of the password as it is; only ever over TLS.
pub const CLEAR: &[u8] = b"mysql_clear_password";

/// A challenge: 20 random bytes, none of them 0 or `$` (both would end a string in old clients and in stored hashes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// Stands where no challenge was sent.
    pub const ZERO: Self = Self([0; NONCE_BYTES]);

    /// A fresh one from the system's random source. `None` if that source fails: then nobody may log in.
    pub fn generate() -> Option<Self> {
        let mut bytes = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        for byte in &mut bytes {
            *byte &= 0x7F;
            if *byte == 0 || *byte == b'$' {
                *byte += 1;
            }
        }
        Some(Self(bytes))
    }

    /// A peer's challenge; `None` unless it has 20 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(
            *bytes
                .first_chunk::<NONCE_BYTES>()
                .filter(|_| bytes.len() == NONCE_BYTES)?,
        ))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }
}

/// SHA256(password): what the fast path of caching_sha2_password needs. As good as the password for that plugin, so it is kept as one.
#[derive(Clone, PartialEq, Eq)]
pub struct Stage1([u8; 32]);

impl Drop for Stage1 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Stage1 {
    /// From the password.
    pub fn of_password(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Answer to a caching_sha2 challenge.
    pub fn scramble(&self, nonce: &Nonce) -> [u8; 32] {
        sha256_scramble_from_stage1(&self.0, nonce)
    }

    /// What checks it.
    pub fn verifier(&self) -> Verifier {
        Verifier {
            stage2: Sha256::digest(self.0).into(),
        }
    }
}

impl std::fmt::Debug for Stage1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage1(***)")
    }
}

fn sha1_of(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn sha256_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn xor<const N: usize>(mut a: [u8; N], b: [u8; N]) -> [u8; N] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    a
}

/// Answer to a mysql_native_password challenge. The empty password has the empty answer, which callers send themselves.
pub fn native_scramble(password: &[u8], nonce: &Nonce) -> [u8; 20] {
    let stage1 = sha1_of(&[password]);
    let stage2 = sha1_of(&[&stage1]);
    xor(stage1, sha1_of(&[&nonce.0, &stage2]))
}

/// Answer to a caching_sha2_password challenge. The empty password has the empty answer, which callers send themselves.
pub fn sha256_scramble(password: &[u8], nonce: &Nonce) -> [u8; 32] {
    Stage1::of_password(password).scramble(nonce)
}

/// Answer to a caching_sha2_password challenge from SHA256(password).
pub fn sha256_scramble_from_stage1(stage1: &[u8; 32], nonce: &Nonce) -> [u8; 32] {
    let stage2 = sha256_of(&[stage1]);
    xor(*stage1, sha256_of(&[&stage2, &nonce.0]))
}

/// SHA256(SHA256(password)), as mysqld's own cache holds it: checks a fast login, but cannot make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    stage2: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(***)")
    }
}

impl Verifier {
    /// From the password.
    pub fn of_password(password: &[u8]) -> Self {
        Stage1::of_password(password).verifier()
    }

    /// Checks a scramble in constant time. A right one gives up SHA256(password), with which we can log in to the backend
    /// by the fast path without ever having seen the password.
    pub fn check(&self, scramble: &[u8], nonce: &Nonce) -> Option<Stage1> {
        let scramble: [u8; 32] = scramble.try_into().ok()?;
        let stage1 = Stage1(xor(scramble, sha256_of(&[&self.stage2, &nonce.0])));
        bool::from(sha256_of(&[&stage1.0]).ct_eq(&self.stage2)).then_some(stage1)
    }

    /// Checks a password in constant time.
    pub fn check_password(&self, password: &[u8]) -> bool {
        Self::of_password(password)
            .stage2
            .ct_eq(&self.stage2)
            .into()
    }
}

/// SHA1(SHA1(password)), what mysql.user holds for mysql_native_password.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeVerifier {
    stage2: [u8; 20],
}

impl std::fmt::Debug for NativeVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NativeVerifier(***)")
    }
}

impl NativeVerifier {
    /// From the password.
    pub fn of_password(password: &[u8]) -> Self {
        Self {
            stage2: sha1_of(&[&sha1_of(&[password])]),
        }
    }

    /// Checks a scramble in constant time.
    pub fn check(&self, scramble: &[u8], nonce: &Nonce) -> bool {
        let Ok(scramble) = <[u8; 20]>::try_from(scramble) else {
            return false;
        };
        let stage1 = xor(scramble, sha1_of(&[&nonce.0, &self.stage2]));
        sha1_of(&[&stage1]).ct_eq(&self.stage2).into()
    }
}

/// XORs in place with the nonce, repeated: how a password travels inside RSA.
fn xor_with_nonce(bytes: &mut [u8], nonce: &Nonce) {
    bytes
        .iter_mut()
        .zip(nonce.0.iter().cycle())
        .for_each(|(byte, key)| *byte ^= key);
}
