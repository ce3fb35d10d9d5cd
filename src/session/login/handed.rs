//! Logins that the backend judges packet by packet: accounts whose plugin is none that we can verify, and clients that come with
//! another plugin than ours. The backend is asked first which plugin the account has; what is said then goes from one side to the
//! other as it is. Never reads an answer, never keeps one.

use super::{Claim, LOGIN_PACKET_BYTES_MAX, backend_capabilities, backend_claim, refuse};
use crate::backend::connection::ServerConnection;
use crate::backend::login::{self as backend_login, Asked, ConnectError, Heard};
use crate::backend::nodes::Node;
use crate::backend::pool::{PoolError, Slot};
use crate::protocol::ProtocolError;
use crate::protocol::auth::{CACHING_SHA2, CLEAR, NATIVE, Nonce, SHA256, Secret};
use crate::session::client::Client;
use crate::session::error::SessionError;
use crate::session::spread::Hold;
use crate::session::worker::Worker;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::SemaphorePermit;

/// More packets than any plugin says; who goes on is not logging in.
const PACKETS_MAX: usize = 64;

/// A backend connection whose server has said which plugin the account has, and waits for the proof.
pub(super) struct Waiting<'w> {
    asked: Asked,
    slot: Slot,
    grants: Option<u64>,
    node: Arc<Node>,
    _place: SemaphorePermit<'w>,
}

/// Asks the backend which plugin the account of a claim has.
///
/// # Errors
/// No connection in time, or one that is refused at once.
pub(super) async fn ask<'w>(
    client: &mut Client,
    worker: &'w Worker,
    claim: &Claim<'_>,
) -> Result<Waiting<'w>, SessionError> {
    let rooms = &worker.rooms;
    let began = Instant::now();
    // Whoever has proved nothing yet may hold only a share of the backend's connections while he thinks about his answer.
    let wait = Duration::from_millis(rooms.config.pool.wait_ms_max);
    let Ok(Ok(place)) = tokio::time::timeout(wait, rooms.unproven.acquire()).await else {
        return Err(SessionError::Pool(PoolError::Timeout {
            wait_ms: rooms.config.pool.wait_ms_max,
            max: rooms.config.pool.connections_max,
        }));
    };
    let node = Hold::new(rooms).node_for_login(client).await?;
    let slot = node.pool.slot(&String::from_utf8_lossy(claim.user)).await?;
    let grants = rooms.grant_epoch();
    let mut login = backend_claim(client, claim, Secret::None);
    login.capabilities = backend_capabilities(client, worker);
    let target = node.target.for_client(client.like);
    let asked = backend_login::ask(&target, &login, rooms.config.client.buffer_bytes).await;
    client.waited_since(began);
    Ok(Waiting {
        asked: asked?,
        slot,
        grants,
        node,
        _place: place,
    })
}

impl Waiting<'_> {
    /// Whether the exchange is one for the backend and a client that came with `plugin`, and not for us.
    pub(super) fn is_the_backends(&self, plugin: &[u8]) -> bool {
        match self.asked.plugin.as_slice() {
            CACHING_SHA2 | SHA256 => false,
            NATIVE => plugin == NATIVE,
            _ => true,
        }
    }

    /// Ends it in the server's way: answered with nothing, so that it counts a failed login and not a broken handshake, of which
    /// it takes only a few before it shuts its door to us.
    pub(super) async fn give_up(self) {
        self.asked.give_up(&self.node.target).await;
    }

    /// Proves the claim with a secret that the client has proved to us, or given.
    ///
    /// # Errors
    /// Refused, or a secret that does not do.
    pub(super) async fn prove(
        self,
        client: &mut Client,
        worker: &Worker,
        secret: Secret,
    ) -> Result<ServerConnection, SessionError> {
        let began = Instant::now();
        let repeats = self.asked.plugin == CACHING_SHA2;
        let kept = repeats.then(|| secret.hashed());
        let proved = self.asked.prove(&self.node.target, secret).await;
        client.waited_since(began);
        let mut backend = ready(worker, proved?, self.slot, (self.grants, &self.node));
        backend.secret = kept;
        Ok(backend)
    }

    /// Lets client and backend talk until the backend accepts or refuses. Answers with the challenge that the client has seen, too.
    ///
    /// # Errors
    /// Refused by the backend, in its own words; the client's socket; too much talk.
    pub(super) async fn relay(
        mut self,
        client: &mut Client,
        worker: &Worker,
    ) -> Result<(ServerConnection, Option<Nonce>), SessionError> {
        let rooms = &worker.rooms;
        if self.asked.plugin == CLEAR && !(client.stream.is_secure() && self.asked.is_secure()) {
            self.give_up().await;
            let text = "This account's password goes over the wire as it is (mysql_clear_password), which Tidegate allows over TLS only, on both sides";
            return Err(refuse(client, 1045, b"28000", text).await);
        }
        let nonce = self.asked.nonce();
        let is_native = self.asked.plugin == NATIVE;
        // The backend may ask a third party: its time does not count as the client's.
        client.may_log_in_for(
            rooms.config.login.handshake_ms_max + rooms.config.backend.connect_ms_max,
        );
        match self.talk(client).await {
            Ok(ok) => {
                let backend = self.asked.accepted(ok)?;
                let mut backend = ready(worker, backend, self.slot, (self.grants, &self.node));
                // Who that is may be decided elsewhere, and anew with each login.
                backend.poolable &= is_native;
                Ok((backend, nonce))
            }
            Err(error @ (SessionError::ClientIo(_) | SessionError::TimedOut(_))) => {
                self.give_up().await;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Carries packets to and fro; answers with the backend's OK.
    async fn talk(&mut self, client: &mut Client) -> Result<Vec<u8>, SessionError> {
        let switch = std::mem::take(&mut self.asked.switch);
        let sent = client.send_packet(&switch).await;
        sent.map_err(SessionError::ClientIo)?;
        for _ in 0..PACKETS_MAX {
            tokio::select! {
                biased;
                heard = self.asked.hear() => match heard? {
                    Heard::Ok(payload) => return Ok(payload),
                    Heard::More(payload) => client
                        .send_packet(&payload)
                        .await
                        .map_err(SessionError::ClientIo)?,
                },
                answer = client.read_login_packet(LOGIN_PACKET_BYTES_MAX) => {
                    let answer = zeroize::Zeroizing::new(answer?);
                    let sent = self.asked.say(&answer).await;
                    sent.map_err(|error| SessionError::Connect(ConnectError::Unreachable(error)))?;
                }
            }
        }
        Err(SessionError::ClientProtocol(ProtocolError::Unexpected(
            "authentication: too many rounds",
        )))
    }
}

fn ready(
    worker: &Worker,
    mut backend: ServerConnection,
    slot: Slot,
    (grants, node): (Option<u64>, &Node),
) -> ServerConnection {
    backend.hold(slot);
    (backend.grants, backend.node) = (grants, node.id);
    worker.rooms.saw_facts(&backend.facts);
    backend
}
