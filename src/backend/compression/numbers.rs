//! The sequence numbers of the packets inside compressed ones. Peers do not look at them and some write others than they would on
//! a plain stream (they are set to the outer number at each flush): here they become those of a plain stream, so that nothing above
//! knows of compression. Follows packet boundaries in both directions; holds no bytes.

use crate::protocol::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX};

/// First byte of a server's request for a file: what the client sends next is no command.
const LOCAL_INFILE: u8 = 0xFB;

/// On which side of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The peer is a client.
    Server,
    /// The peer is a server.
    Client,
}

/// The packets of one direction.
#[derive(Debug, Default)]
struct Flow {
    /// Bytes of the header that have passed.
    head: [u8; HEADER_BYTES],
    have: usize,
    /// Bytes of the payload still to pass.
    left: usize,
    /// The last packet was full, so that the next one goes on with it.
    continues: bool,
    /// First byte of the last packet's payload.
    first: Option<u8>,
}

impl Flow {
    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Takes a byte of a header; true when it was the last one.
    fn take_head(&mut self, byte: u8) -> bool {
        if let Some(place) = self.head.get_mut(self.have) {
            *place = byte;
        }
        self.have += 1;
        if self.have < HEADER_BYTES {
            return false;
        }
        let [a, b, c, _] = self.head;
        self.left = u32::from_le_bytes([a, b, c, 0]) as usize;
        self.continues = self.left == PAYLOAD_BYTES_MAX;
        self.have = 0;
        self.first = None;
        true
    }

    /// Takes as much of `bytes` as belongs to the payload that passes; answers how much.
    fn take_payload(&mut self, bytes: &[u8]) -> usize {
        let taken = self.left.min(bytes.len());
        if self.first.is_none() {
            self.first = bytes.first().copied();
        }
        self.left -= taken;
        taken
    }
}

/// Whether a packet of the client's that starts now begins an exchange.
fn begins(client: &Flow, server: &Flow) -> bool {
    !client.continues && server.first != Some(LOCAL_INFILE)
}

/// Both directions of a connection, and the number that comes next.
#[derive(Debug)]
pub struct Numbers {
    role: Role,
    read: Flow,
    written: Flow,
    next: u8,
}

impl Numbers {
    /// Between two exchanges.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            read: Flow::default(),
            written: Flow::default(),
            next: 0,
        }
    }

    /// The peer speaks unasked: its numbers begin anew.
    pub fn begins_unasked(&mut self) {
        self.next = 0;
    }

    /// Passes bytes that were read, and sets the numbers in them right.
    pub fn read(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            if self.read.left > 0 {
                at += self.read.take_payload(rest);
                continue;
            }
            at += 1;
            let Some(byte) = rest.first_mut() else { return };
            if self.read.have < HEADER_BYTES - 1 {
                self.read.take_head(*byte);
                continue;
            }
            let continued = self.read.continues;
            if self.role == Role::Client || !begins(&self.read, &self.written) {
                *byte = self.next;
            }
            self.next = byte.wrapping_add(1);
            self.read.take_head(*byte);
            if self.role == Role::Server && self.read.left == 0 && !continued {
                // An empty packet ends a file, if it was one.
                self.written.first = None;
            }
        }
    }

    /// Whether what is written next has to begin a compressed packet with number 0.
    pub fn must_begin(&self, bytes: &[u8]) -> bool {
        if !self.written.is_between() {
            return false;
        }
        match self.role {
            Role::Client => begins(&self.written, &self.read),
            // An error that nobody asked for.
            Role::Server => bytes.get(HEADER_BYTES - 1) == Some(&0) && self.next != 0,
        }
    }

    /// Passes bytes that are written, up to the first packet that has to begin a compressed packet; answers how many that are.
    /// The first one is passed in any case.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((rest, byte)) = bytes
            .get(at..)
            .and_then(|rest| Some((rest, *rest.first()?)))
        {
            if self.written.left > 0 {
                at += self.written.take_payload(rest);
                continue;
            }
            if at > 0 && self.must_begin(rest) {
                return at;
            }
            let continued = self.written.continues;
            if self.written.take_head(byte) {
                self.next = byte.wrapping_add(1);
                if self.role == Role::Client && self.written.left == 0 && !continued {
                    self.read.first = None;
                }
            }
            at += 1;
        }
        at
    }
}
