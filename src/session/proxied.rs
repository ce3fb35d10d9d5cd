//! Clients behind a proxy that is trusted to say where they are (`listen.proxy_protocol_networks`). From elsewhere nothing is read:
//! such a header is garbage where a login is due.

use super::client::Client;
use super::error::SessionError;
use crate::analytics::peer::Peer;
use crate::protocol::proxy_header::{self, Progress};

/// Reads the header of a client that is behind a proxy, and no byte more. Does nothing for others.
///
/// # Errors
/// No header, or not in time.
pub async fn meet(client: &mut Client) -> Result<(), SessionError> {
    let Peer::Behind(proxy) = client.peer else {
        return Ok(());
    };
    let mut header = Vec::new();
    loop {
        match proxy_header::read(&header).map_err(SessionError::ClientProtocol)? {
            Progress::Wants(more) => {
                let held = header.len();
                header.resize(held + more, 0);
                let wanted = header.get_mut(held..).unwrap_or_default();
                client.read_exactly(wanted).await?;
            }
            Progress::Done(source) => {
                client.peer = Peer::At(source.unwrap_or(proxy));
                return Ok(());
            }
        }
    }
}
