//! RSA-OAEP (SHA-1) for passwords on a plain wire: the key pair that we answer with, and the public key of a server.
//! Never used over TLS, where the password travels as it is.

use super::{Nonce, xor_with_nonce};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// Our own key pair of 2048 bits, made at start. About 70 ms to make and 0.2 ms to decrypt.
pub struct RsaKey {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RsaKey(***)")
    }
}

impl RsaKey {
    /// Makes a new pair; `None` if the crypto library refuses.
    pub fn generate() -> Option<Self> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).ok()?;
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().ok()?;
        let public_pem = pem(der.as_ref());
        Some(Self {
            private: OaepPrivateDecryptingKey::new(private).ok()?,
            public_pem,
        })
    }

    /// The public half as clients ask for it.
    pub fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// The password inside a client's answer, its closing zero taken off. `None` if it was not made for this key and nonce.
    pub fn decrypt(&self, ciphertext: &[u8], nonce: &Nonce) -> Option<Zeroizing<Vec<u8>>> {
        if ciphertext.len() != self.private.key_size_bytes() {
            return None;
        }
        let mut plain = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let length = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut plain, None)
            .ok()?
            .len();
        plain.truncate(length);
        xor_with_nonce(&mut plain, nonce);
        // The last byte must be the zero: with a foreign nonce it would not be.
        (plain.pop() == Some(0)).then_some(plain)
    }
}

/// A server's public key.
#[derive(Debug)]
pub struct RsaPublicKey {
    key: OaepPublicEncryptingKey,
}

impl RsaPublicKey {
    /// Reads the PEM that a server sends or an operator configured; `None` if it is none.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        let key = PublicEncryptingKey::from_der(der.as_ref()).ok()?;
        Some(Self {
            key: OaepPublicEncryptingKey::new(key).ok()?,
        })
    }

    /// The answer that carries `password`; `None` if it is too long for the key.
    pub fn encrypt(&self, password: &[u8], nonce: &Nonce) -> Option<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(password.len() + 1));
        plain.extend_from_slice(password);
        plain.push(0);
        xor_with_nonce(&mut plain, nonce);
        let mut out = vec![0; self.key.ciphertext_size()];
        let length = self
            .key
            .encrypt(&OAEP_SHA1_MGF1SHA1, &plain, &mut out, None)
            .ok()?
            .len();
        out.truncate(length);
        Some(out)
    }
}

/// A public key in PEM: base64 in lines of 64.
fn pem(der: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let mut bits = 0_u32;
            for index in 0..3 {
                bits = bits << 8 | u32::from(group.get(index).copied().unwrap_or(0));
            }
            for index in 0..4 {
                let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
                out.push(if index <= group.len() { letter } else { b'=' });
            }
        }
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END PUBLIC KEY-----\n");
    out
}
