//! Connection attributes as the backend gets them: the client's own, and where it is. Never makes a login fail.

use crate::analytics::peer::Peer;
use crate::protocol::handshake::{Attributes, attributes_wire_bytes};

/// The attribute that says where a client is.
pub(super) const CLIENT: &[u8] = b"_tidegate_client";

/// What a server keeps of all attributes, unless it is told otherwise (`performance_schema_session_connect_attrs_size`). It cuts the
/// rest off and complains in its log.
const KEPT_BYTES_MAX: usize = 512;

/// The client's attributes in its order, and last where it is, if a server keeps that, too. One of the same name that a client sends
/// is not believed.
pub(in crate::session) fn with_client(own: &Attributes, peer: Peer) -> Attributes {
    let believed = own.iter().filter(|(name, _)| name != CLIENT);
    let mut attributes: Attributes = believed.cloned().collect();
    attributes.push((CLIENT.to_vec(), peer.to_string().into_bytes()));
    if attributes_wire_bytes(&attributes) > KEPT_BYTES_MAX {
        attributes.pop();
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &[u8], bytes: usize) -> (Vec<u8>, Vec<u8>) {
        (name.to_vec(), vec![b'v'; bytes])
    }

    #[test]
    fn where_a_client_is_comes_last_and_only_if_it_fits() {
        let peer = Peer::At("192.0.2.7:5555".parse().unwrap());
        let ours = (CLIENT.to_vec(), b"192.0.2.7:5555".to_vec());
        let own = vec![one(b"a", 3), one(b"a", 4)];
        let expected = [own.clone(), vec![ours.clone()]].concat();
        assert_eq!(with_client(&own, peer), expected);
        let lying = [vec![one(CLIENT, 3)], own].concat();
        assert_eq!(with_client(&lying, peer), expected);
        // 32 bytes are ours.
        let room = KEPT_BYTES_MAX - 32 - 3 - 2;
        assert_eq!(
            with_client(&vec![one(b"n", room)], peer).last(),
            Some(&ours)
        );
        for bytes in [room + 1, 600, 65_000] {
            let own = vec![one(b"n", bytes)];
            assert_eq!(with_client(&own, peer), own);
        }
        let local = with_client(&Vec::new(), Peer::Local);
        assert_eq!(local, [(CLIENT.to_vec(), b"local".to_vec())]);
    }
}
