//! A logged-in connection over TLS as bytes, for what must hold there as on a bare socket. Checks no certificate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::raw::packet;
use super::wire::{BASE, parse_greeting, scramble};

/// Capability: the rest of the login is encrypted.
const SSL: u32 = 0x0000_0800;

/// Bytes in both directions.
pub trait Bytes: Read + Write + Send {}

impl<T: Read + Write + Send> Bytes for T {}

#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Logs in over TLS with `capabilities` beside the usual ones. Panics when it is refused.
pub fn login(port: u16, user: &str, password: &str, capabilities: u32) -> Box<dyn Bytes> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).expect("the port answers");
    let wait = Some(Duration::from_secs(60));
    tcp.set_read_timeout(wait).expect("a timeout can be set");
    tcp.set_nodelay(true).expect("the option can be set");
    let (nonce, plugin) = parse_greeting(&read_packet(&mut tcp));
    let mut head = (BASE | SSL | capabilities).to_le_bytes().to_vec();
    head.extend((1_u32 << 30).to_le_bytes());
    head.push(45);
    head.extend([0; 23]);
    tcp.write_all(&packet(1, &head)).expect("it goes out");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut tls = StreamOwned::new(connection, tcp);
    let scramble = scramble(&plugin, &nonce, password);
    let response = [
        &head[..],
        user.as_bytes(),
        &[0, scramble.len() as u8],
        &scramble,
        b"\0",
        plugin.as_bytes(),
        b"\0",
    ]
    .concat();
    tls.write_all(&packet(2, &response)).expect("it goes out");
    loop {
        match read_packet(&mut tls)[..] {
            [0, ..] => return Box::new(tls),
            // Fast path taken: the OK follows.
            [1, 3] => {}
            // Nobody else can read it here.
            [1, 4] => {
                let secret = [password.as_bytes(), b"\0"].concat();
                tls.write_all(&packet(4, &secret)).expect("it goes out");
            }
            ref other => panic!("refused: {}", String::from_utf8_lossy(other)),
        }
    }
}

fn read_packet(stream: &mut impl Read) -> Vec<u8> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("a header");
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("a payload");
    payload
}
