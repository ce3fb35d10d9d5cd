//! Who owns the key in a certificate of X.509 version 1, as `openssl x509 -req` makes them without extensions: the verifier does
//! not read those, MySQL's clients do. Only for servers whose certificate need not be signed by anybody. Never trusts one.

use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError};
use rustls_pki_types::SubjectPublicKeyInfoDer;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// One element of DER.
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, after) = bytes.split_first()?;
    let (&first, after) = after.split_first()?;
    let (length, after) = match first {
        0..=0x7F => (usize::from(first), after),
        0x81..=0x83 => {
            let (length, after) = after.split_at_checked(usize::from(first & 0x7F))?;
            let length = length
                .iter()
                .fold(0, |all, byte| all << 8 | usize::from(*byte));
            (length, after)
        }
        _ => return None,
    };
    let (content, rest) = after.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    Some(Element {
        tag,
        whole,
        content,
        rest,
    })
}

/// The element after `count` others.
fn after(bytes: &[u8], count: usize) -> Option<Element<'_>> {
    let mut rest = bytes;
    for _ in 0..count {
        rest = element(rest)?.rest;
    }
    element(rest)
}

/// The key of a certificate of version 1: after serial number, algorithm, issuer, validity and subject.
fn key_of(certificate: &[u8]) -> Option<&[u8]> {
    let signed = element(element(certificate)?.content)?;
    let key = after(signed.content, 5)?;
    (key.tag == SEQUENCE).then_some(key.whole)
}

/// Whether that is what the verifier does not read.
pub(super) fn is_old(error: &Error) -> bool {
    // The name of the reason is not public; that of a certificate which only lacks something newer is no other.
    let Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else {
        return false;
    };
    format!("{why:?}").contains("UnsupportedCertVersion")
}

/// As the library's own check for TLS 1.3.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &[u8],
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let key =
        key_of(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let key = SubjectPublicKeyInfoDer::from(key);
    verify_tls13_signature_with_raw_key(message, &key, dss, algorithms).map(drop)
}

/// As the library's own check for TLS 1.2.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &[u8],
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let parts = || {
        let key = element(key_of(certificate)?)?;
        let algorithm = element(key.content)?;
        let bits = element(algorithm.rest)?;
        // No unused bits at its end.
        let bits = bits
            .content
            .strip_prefix(&[0])
            .filter(|_| bits.tag == BIT_STRING)?;
        Some((algorithm.content, bits))
    };
    let (algorithm, bits) =
        parts().ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let fitting = algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == dss.scheme)
        .flat_map(|(_, all)| all.iter())
        .filter(|one| one.public_key_alg_id().as_ref() == algorithm);
    let mut checked = fitting.map(|one| one.verify_signature(bits, message, dss.signature()));
    match checked.any(|outcome| outcome.is_ok()) {
        true => Ok(()),
        false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_peer_shows_makes_it_panic() {
        for bytes in [
            &b""[..],
            &[0x30],
            &[0x30, 0x84, 1, 0, 0, 0],
            &[0x30, 0x83, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x02, 0x30, 0x00],
            &[0x30, 0x80, 0, 0],
        ] {
            assert_eq!(key_of(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_key_is_behind_five_others() {
        let inner = [
            0x02, 1, 7, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 2, 5, 0,
        ];
        let mut bytes = vec![0x30, inner.len() as u8 + 2, 0x30, inner.len() as u8];
        bytes.extend(inner);
        assert_eq!(key_of(&bytes), Some(&[0x30, 2, 5, 0][..]));
    }
}
