//! The server side of a login: what we ask a client and what its answers prove. Sans-IO; the caller owns sequence numbers and sockets.
//! Never decides who a user is: it proves knowledge of a password, or hands a password out for the caller to check.

use super::{CACHING_SHA2, CLEAR, NATIVE, NativeVerifier, Nonce, RsaKey, SHA256, Stage1, Verifier};
use crate::protocol::handshake::{AuthMoreData, AuthSwitch};
use crate::protocol::{ProtocolError, Result, capability};
use std::sync::Arc;
use zeroize::Zeroizing;

/// More-data byte: the scramble was right, OK follows.
pub const FAST_AUTH_SUCCESS: u8 = 0x03;
/// More-data byte: send the password itself.
pub const PERFORM_FULL_AUTH: u8 = 0x04;
/// What a caching_sha2 client sends to get our public key.
pub const REQUEST_PUBLIC_KEY: u8 = 0x02;
/// What a sha256_password client sends to get our public key.
pub const REQUEST_PUBLIC_KEY_SHA256: u8 = 0x01;

/// Longer passwords are refused before anything is done with them (mysqld: 256 characters for sha2 plugins).
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// What the caller knows of the user before the first answer is judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// From config or from an earlier full login.
    pub sha2: Option<&'a Verifier>,
    /// From config only.
    pub native: Option<&'a NativeVerifier>,
}

/// What an accepted client has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It knows the password; SHA256 of it fell out of the scramble.
    Stage1(Stage1),
    /// It knows the password, by mysql_native_password: nothing that a backend would take fell out.
    Native,
}

/// What to do next.
#[derive(Debug)]
pub enum ServerStep {
    /// Send this payload and give the client's next one to [`ServerAuth::on_packet`].
    Send(Vec<u8>),
    /// Proved. Send `before_ok` (if not empty) as a packet of its own and then OK.
    /// A caller that needs the password itself all the same (the backend wants a full login) calls
    /// [`ServerAuth::demand_password`] in place of that.
    Accepted {
        /// The payload that the client's plugin wants to see before OK.
        before_ok: Vec<u8>,
        /// What was proved.
        proof: Proof,
    },
    /// The client gave its password (empty: it has none). Check it, then send OK or ERR 1045.
    Check(Zeroizing<Vec<u8>>),
    /// The answer is wrong, or the client has no plugin that we can judge. Send ERR 1045. The text is a stable label.
    Denied(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Asked for the plugin; the next packet is its first answer.
    Switched,
    /// Asked for the password; the next packet has it, or asks for our key.
    FullAuth {
        key_sent: bool,
    },
    Done,
}

/// One login, or one COM_CHANGE_USER.
///
/// ```text
/// Start --right scramble--> Accepted --demand_password--> FullAuth
///   | other plugin              ^                            | 0x02: key, once
///   v                           |                            v
/// Switched -------right scramble+---wrong or unknown---> FullAuth --password--> Check
/// ```
#[derive(Debug)]
pub struct ServerAuth {
    nonce: Nonce,
    secure: bool,
    key: Arc<RsaKey>,
    state: State,
    can_switch: bool,
    /// The client's plugin of now is caching_sha2_password.
    is_caching_sha2: bool,
    /// The caller needs the password, whatever we know.
    needs_password: bool,
}

impl ServerAuth {
    /// `nonce` is that of our greeting, `secure` says that the client came by TLS (or a local socket).
    pub fn new(nonce: Nonce, secure: bool, key: Arc<RsaKey>) -> Self {
        Self {
            nonce,
            secure,
            key,
            state: State::Start,
            can_switch: false,
            is_caching_sha2: false,
            needs_password: false,
        }
    }

    /// Judges the first answer: `plugin` and `response` of the handshake response or of COM_CHANGE_USER.
    pub fn start(
        &mut self,
        caps: u32,
        plugin: &[u8],
        response: &[u8],
        known: Known<'_>,
    ) -> ServerStep {
        self.can_switch = caps & capability::PLUGIN_AUTH != 0;
        // A client that names no plugin made its answer by the one that its response's length fits.
        let plugin = match (plugin, response.len()) {
            (b"", 20) => NATIVE,
            (b"", 32) => CACHING_SHA2,
            _ => plugin,
        };
        match plugin {
            CACHING_SHA2 => self.caching_sha2(response, known),
            NATIVE => self.native(response, known),
            CLEAR if self.secure => self.password(response),
            SHA256 if self.secure && !response.is_empty() => self.password(response),
            _ => self.switch(),
        }
    }

    /// Judges the client's next payload after a [`ServerStep::Send`].
    pub fn on_packet(&mut self, payload: &[u8], known: Known<'_>) -> Result<ServerStep> {
        match self.state {
            State::Switched => Ok(self.caching_sha2(payload, known)),
            State::FullAuth { key_sent } => Ok(self.full_auth(payload, key_sent)),
            State::Start | State::Done => Err(ProtocolError::Unexpected("authentication")),
        }
    }

    /// Asks for the password of a client that has proved its knowledge of it already (a fast login to the backend was refused).
    /// A client that came by another plugin is switched first, or denied if it cannot be.
    pub fn demand_password(&mut self) -> ServerStep {
        self.needs_password = true;
        if !self.is_caching_sha2 {
            return self.switch();
        }
        self.state = State::FullAuth { key_sent: false };
        ServerStep::Send(more_data(&[PERFORM_FULL_AUTH]))
    }

    /// Our nonce of now: that of the greeting, or that of the switch.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    fn caching_sha2(&mut self, response: &[u8], known: Known<'_>) -> ServerStep {
        self.is_caching_sha2 = true;
        if matches!(response, [] | [0]) {
            self.state = State::Done;
            return ServerStep::Check(Zeroizing::new(Vec::new()));
        }
        if response.len() != 32 {
            return self.deny("bad_scramble");
        }
        let verifier = known.sha2.filter(|_| !self.needs_password);
        if let Some(stage1) = verifier.and_then(|verifier| verifier.check(response, &self.nonce)) {
            self.state = State::Done;
            return ServerStep::Accepted {
                before_ok: more_data(&[FAST_AUTH_SUCCESS]),
                proof: Proof::Stage1(stage1),
            };
        }
        // Unknown, or the password was changed behind our back: the same to the client.
        self.demand_password()
    }

    fn native(&mut self, response: &[u8], known: Known<'_>) -> ServerStep {
        if let Some(verifier) = known.native {
            if verifier.check(response, &self.nonce) {
                self.state = State::Done;
                return ServerStep::Accepted {
                    before_ok: Vec::new(),
                    proof: Proof::Native,
                };
            }
            return self.deny("wrong_password");
        }
        self.switch()
    }

    fn switch(&mut self) -> ServerStep {
        if !self.can_switch {
            return self.deny("old_client");
        }
        // A fresh nonce: what the client computed from the first one proves nothing here.
        let Some(nonce) = Nonce::generate() else {
            return self.deny("no_random");
        };
        self.nonce = nonce;
        self.state = State::Switched;
        let mut out = Vec::new();
        AuthSwitch {
            plugin: CACHING_SHA2,
            data: nonce.as_bytes(),
        }
        .write(&mut out);
        ServerStep::Send(out)
    }

    fn full_auth(&mut self, payload: &[u8], key_sent: bool) -> ServerStep {
        if self.secure {
            return self.password(payload);
        }
        if payload == [REQUEST_PUBLIC_KEY] && !key_sent {
            self.state = State::FullAuth { key_sent: true };
            return ServerStep::Send(more_data(self.key.public_pem()));
        }
        match self.key.decrypt(payload, &self.nonce) {
            Some(password) if password.len() <= PASSWORD_BYTES_MAX => {
                self.state = State::Done;
                ServerStep::Check(password)
            }
            _ => self.deny("bad_ciphertext"),
        }
    }

    /// A password as it is, with its closing zero.
    fn password(&mut self, payload: &[u8]) -> ServerStep {
        match payload.strip_suffix(&[0]) {
            Some(password) if password.len() <= PASSWORD_BYTES_MAX && !password.contains(&0) => {
                self.state = State::Done;
                ServerStep::Check(Zeroizing::new(password.to_vec()))
            }
            _ => self.deny("bad_password_packet"),
        }
    }

    fn deny(&mut self, why: &'static str) -> ServerStep {
        self.state = State::Done;
        ServerStep::Denied(why)
    }
}

fn more_data(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + data.len());
    AuthMoreData { data }.write(&mut out);
    out
}
