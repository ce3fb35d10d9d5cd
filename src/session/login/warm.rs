//! The other servers of a cluster, when a client has given its password: each is logged in to once, so that it takes the short proof
//! of that password from then on (caching_sha2_password remembers accounts on each server for itself). Never keeps a password.

use super::{Claim, backend_capabilities, backend_claim};
use crate::backend::login as backend_login;
use crate::backend::nodes::{Health, Node, NodeId};
use crate::protocol::auth::Secret;
use crate::session::client::Client;
use crate::session::worker::Worker;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Longest time that a login waits for this; who is late is asked for the password again another time.
const WARM_MAX: Duration = Duration::from_millis(500);

/// Logs in to all servers that answer, but for the one that the client was logged in to, and keeps the connections for it.
pub(super) async fn others(
    client: &Client,
    worker: &Worker,
    claim: &Claim<'_>,
    password: &[u8],
    but: NodeId,
) {
    let rooms = &worker.rooms;
    let up = |node: &&Arc<Node>| node.id != but && node.state.load().health == Health::Up;
    let user = String::from_utf8_lossy(claim.user).into_owned();
    let mut logins = JoinSet::new();
    for node in rooms.nodes.all().iter().filter(up).cloned() {
        let mut login = backend_claim(client, claim, Secret::of_password(password));
        login.capabilities = backend_capabilities(client, worker);
        // The copy of a schema may be late.
        login.schema = b"";
        let (user, name) = (user.clone(), claim.user.to_vec());
        let buffer_bytes = rooms.config.client.buffer_bytes;
        let grants = rooms.grant_epoch();
        let (secret, attributes) = (login.secret, login.attributes);
        let (capabilities, collation, id) = (login.capabilities, login.collation, worker.id);
        logins.spawn_local(async move {
            let Some(slot) = node.pool.slot_at_once(&user) else {
                return;
            };
            let login = backend_login::Login {
                user: &name,
                secret,
                schema: b"",
                capabilities,
                collation,
                attributes,
            };
            match backend_login::open(&node.target, &login, buffer_bytes).await {
                Ok(mut connection) => {
                    connection.hold(slot);
                    (connection.grants, connection.node) = (grants, node.id);
                    node.pool.give_back(connection, id, true);
                }
                Err(error) => {
                    tracing::debug!(%error, node = %node.name, "a login at another server failed");
                }
            }
        });
    }
    let all = async { while logins.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(WARM_MAX, all).await;
}
