//! A way for the control plane's driver through our own login. The driver cannot verify a certificate without a name in it (the kind
//! that MySQL makes for itself), nor take a new one without a restart. So it connects to a socket in a folder of ours, proves that it
//! belongs to this process, and is put through to a backend connection that was opened as clients' are.

use super::login::{self, ConnectError, Login};
use super::target::Target;
use crate::config::BackendUrl;
use crate::protocol::auth::server::FAST_AUTH_SUCCESS;
use crate::protocol::auth::{CACHING_SHA2, Nonce, Secret, Verifier};
use crate::protocol::capability;
use crate::protocol::handshake::{AuthMoreData, Greeting, HandshakeResponse};
use crate::protocol::packet::{HEADER_BYTES, PacketBuffer, write_packet};
use crate::protocol::response::ErrPacket;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What both legs speak: what the driver asks for when it is offered this.
const CAPABILITIES: u32 = capability::LONG_PASSWORD
    | capability::PROTOCOL_41
    | capability::TRANSACTIONS
    | capability::SECURE_CONNECTION
    | capability::MULTI_STATEMENTS
    | capability::MULTI_RESULTS
    | capability::PS_MULTI_RESULTS
    | capability::PLUGIN_AUTH
    | capability::DEPRECATE_EOF;

/// utf8mb4_general_ci: known to every server that we talk to.
const COLLATION: u16 = 45;
const BUFFER_BYTES: usize = 16 * 1024;
const LOGIN_PACKET_BYTES_MAX: usize = 4 * 1024;
/// The driver is in this process: it answers at once.
const LOGIN_MAX: Duration = Duration::from_secs(5);

/// The socket; gone when dropped.
pub struct Door {
    folder: PathBuf,
    password: String,
    accepting: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Door {
    /// Opens it, on the runtime of the caller.
    ///
    /// # Errors
    /// The folder or the socket cannot be made.
    pub fn open(target: Target, url: BackendUrl) -> io::Result<Self> {
        let name = format!(
            "tidegate-{}-{:016x}",
            std::process::id(),
            rand::random::<u64>()
        );
        let folder = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let listener = UnixListener::bind(folder.join("door"))?;
        let password = hex::encode(rand::random::<[u8; 16]>());
        let verifier = Verifier::of_password(password.as_bytes());
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((driver, _)) => {
                        let (target, url) = (target.clone(), url.clone());
                        tokio::spawn(put_through(driver, target, url, verifier.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control plane's door");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Ok(Self {
            folder,
            password,
            accepting,
        })
    }

    /// Where the driver connects.
    pub fn path(&self) -> PathBuf {
        Path::new(&self.folder).join("door")
    }

    /// What it proves itself with.
    pub fn password(&self) -> &str {
        &self.password
    }
}

async fn put_through(mut driver: UnixStream, target: Target, url: BackendUrl, verifier: Verifier) {
    let login = Login {
        user: url.user.as_bytes(),
        secret: Secret::of_password(url.password.reveal().as_bytes()),
        schema: b"",
        capabilities: CAPABILITIES,
        collation: COLLATION,
        attributes: vec![(b"program_name".to_vec(), b"tidegate".to_vec())],
    };
    let opened = login::open(&target, &login, BUFFER_BYTES).await;
    let mut backend = match opened {
        Ok(backend) => backend,
        Err(error) => {
            let _ = refuse(&mut driver, &error).await;
            return;
        }
    };
    let greeting = Greeting {
        version: backend.facts.version.clone(),
        connection_id: backend.thread_id,
        capabilities: backend.capabilities & CAPABILITIES,
        collation: backend.facts.collation,
        status: backend.status,
        // Without random numbers nobody is let in.
        nonce: Nonce::generate().unwrap_or(Nonce::ZERO),
        plugin: CACHING_SHA2.to_vec(),
        mariadb_capabilities: 0,
    };
    let welcomed = welcome(&mut driver, &greeting, &verifier, &backend.login_ok);
    match tokio::time::timeout(LOGIN_MAX, welcomed).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) | Err(_) => return tracing::warn!("a stranger at the control plane's door"),
        Ok(Err(error)) => return tracing::debug!(%error, "the control plane's door"),
    }
    // The end of either side is the end.
    let _ = copy_bidirectional(&mut driver, &mut backend.stream).await;
}

/// Tells the driver why there is no connection, in place of a greeting.
async fn refuse(driver: &mut UnixStream, error: &ConnectError) -> io::Result<()> {
    let mut out = Vec::new();
    match error {
        ConnectError::Refused {
            code,
            sqlstate,
            message,
        } => ErrPacket::new(*code, sqlstate, message.as_bytes())
            .write_without_state(&mut out, &mut 0),
        error => ErrPacket::new(2003, b"HY000", error.to_string().as_bytes())
            .write_without_state(&mut out, &mut 0),
    }
    driver.write_all(&out).await
}

/// Logs the driver in. False: it is somebody else.
async fn welcome(
    driver: &mut UnixStream,
    greeting: &Greeting,
    verifier: &Verifier,
    ok: &[u8],
) -> io::Result<bool> {
    let mut payload = Vec::new();
    greeting.write(&mut payload);
    let mut out = Vec::new();
    write_packet(&mut out, &mut 0, &payload);
    driver.write_all(&out).await?;
    let mut input = PacketBuffer::new(LOGIN_PACKET_BYTES_MAX);
    let filled = input.fill_packet(driver, LOGIN_PACKET_BYTES_MAX).await;
    let Some((_, response)) = filled.ok().flatten().and_then(|()| input.packet()) else {
        return Ok(false);
    };
    let behind = input.peek().len() - HEADER_BYTES - response.len();
    let Ok(response) = HandshakeResponse::parse(response) else {
        return Ok(false);
    };
    let is_ours = greeting.nonce != Nonce::ZERO
        && verifier
            .check(&response.auth_response, &greeting.nonce)
            .is_some();
    // Both legs must mean the same by every byte that follows.
    if !is_ours || behind > 0 || response.capabilities & CAPABILITIES != greeting.capabilities {
        return Ok(false);
    }
    out.clear();
    payload.clear();
    AuthMoreData {
        data: &[FAST_AUTH_SUCCESS],
    }
    .write(&mut payload);
    let mut sequence = 2;
    write_packet(&mut out, &mut sequence, &payload);
    write_packet(&mut out, &mut sequence, ok);
    driver.write_all(&out).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_keeps_the_door_shut_is_told_in_place_of_a_greeting() {
        let mut backend = config::Backend {
            url: "mysql://root@127.0.0.1:1".parse().unwrap(),
            ..config::Backend::default()
        };
        backend.connect_ms_max = 1_000;
        let door = Door::open(Target::new(&backend).unwrap(), backend.url.clone()).unwrap();
        let path = door.path();
        let mut driver = UnixStream::connect(&path).await.unwrap();
        let mut said = Vec::new();
        driver.read_to_end(&mut said).await.unwrap();
        assert_eq!(&said[3..7], &[0, 0xFF, 0xD3, 0x07]);
        drop(door);
        assert!(!path.exists() && !path.parent().unwrap().exists());
    }

    #[tokio::test]
    async fn strangers_are_not_let_in() {
        let verifier = Verifier::of_password(b"right");
        for (password, length) in [(&b"wrong"[..], None), (b"right", Some(3)), (b"right", None)] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            let greeting = Greeting {
                version: b"9.7.4".to_vec(),
                connection_id: 1,
                capabilities: CAPABILITIES,
                collation: 255,
                status: 2,
                nonce: Nonce::generate().unwrap(),
                plugin: CACHING_SHA2.to_vec(),
                mariadb_capabilities: 0,
            };
            let scramble = crate::protocol::auth::sha256_scramble(password, &greeting.nonce);
            let mut response = Vec::new();
            HandshakeResponse {
                capabilities: CAPABILITIES,
                auth_response: scramble.to_vec(),
                plugin: CACHING_SHA2.to_vec(),
                ..HandshakeResponse::default()
            }
            .write(&mut response);
            response.truncate(length.unwrap_or(response.len()));
            let mut packet = Vec::new();
            write_packet(&mut packet, &mut 1, &response);
            theirs.write_all(&packet).await.unwrap();
            let let_in = welcome(&mut ours, &greeting, &verifier, &[0; 7])
                .await
                .unwrap();
            assert_eq!(let_in, password == b"right" && length.is_none());
        }
    }
}
