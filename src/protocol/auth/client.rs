//! The client side of a login: how we answer a backend. Sans-IO; the caller owns sequence numbers and sockets.
//! Never sends a password as it is without TLS.

use super::server::{
    FAST_AUTH_SUCCESS, PERFORM_FULL_AUTH, REQUEST_PUBLIC_KEY, REQUEST_PUBLIC_KEY_SHA256,
};
use super::{CACHING_SHA2, CLEAR, NATIVE, Nonce, RsaPublicKey, SHA256, Stage1, native_scramble};
use crate::protocol::handshake::{
    AUTH_MORE_DATA_HEADER, AUTH_NEXT_FACTOR_HEADER, AUTH_SWITCH_HEADER, AuthMoreData, AuthSwitch,
};
use crate::protocol::response::{ERR_HEADER, OK_HEADER};
use crate::protocol::{ProtocolError, Result};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A server that asks more often than this is not trying to log us in.
const ROUNDS_MAX: u8 = 8;

/// What we can prove.
#[derive(Clone)]
pub enum Secret {
    /// The password itself (not empty).
    Password(Zeroizing<Vec<u8>>),
    /// SHA256 of it: enough for the fast path of caching_sha2_password.
    Stage1(Stage1),
    /// The user has no password.
    None,
}

impl Secret {
    /// From a password; the empty one is [`Secret::None`].
    pub fn of_password(password: &[u8]) -> Self {
        match password {
            [] => Self::None,
            _ => Self::Password(Zeroizing::new(password.to_vec())),
        }
    }

    /// What may be kept of it while a session lasts: enough for another login by the fast path, not the password.
    pub fn hashed(&self) -> Self {
        match self {
            Self::Password(password) => Self::Stage1(Stage1::of_password(password)),
            other => other.clone(),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Secret::Password(***)",
            Self::Stage1(_) => "Secret::Stage1(***)",
            Self::None => "Secret::None",
        })
    }
}

/// What to do next.
#[derive(Debug)]
pub enum ClientStep {
    /// Send this payload, then read on.
    Send(Zeroizing<Vec<u8>>),
    /// Nothing to send; read on.
    Wait,
    /// The payload is OK: logged in.
    Done,
    /// The payload is ERR: refused.
    Refused,
    /// The server wants the password itself and we have only SHA256 of it: give this connection up, ask the client, try again.
    NeedPassword,
}

/// One login, or one COM_CHANGE_USER.
#[derive(Debug)]
pub struct ClientAuth {
    secret: Secret,
    secure: bool,
    pinned_key: Option<Arc<RsaPublicKey>>,
    plugin: Plugin,
    nonce: Nonce,
    rounds: u8,
    awaits_key: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    CachingSha2,
    Native,
    Sha256,
    Clear,
}

impl Plugin {
    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            CACHING_SHA2 => Some(Self::CachingSha2),
            NATIVE => Some(Self::Native),
            SHA256 => Some(Self::Sha256),
            CLEAR => Some(Self::Clear),
            _ => None,
        }
    }

    fn name(self) -> &'static [u8] {
        match self {
            Self::CachingSha2 => CACHING_SHA2,
            Self::Native => NATIVE,
            Self::Sha256 => SHA256,
            Self::Clear => CLEAR,
        }
    }
}

impl ClientAuth {
    /// Starts from a server's greeting: its default plugin and challenge. `secure` says that the link has TLS.
    /// `pinned_key` is the server's RSA key if an operator gave it; without it the key is asked for, when it is needed.
    pub fn new(
        secret: Secret,
        secure: bool,
        pinned_key: Option<Arc<RsaPublicKey>>,
        greeting_plugin: &[u8],
        nonce: Nonce,
    ) -> Self {
        // With SHA256 alone only one plugin can be served; a server that wants another one for this user will switch.
        let wanted = match secret {
            Secret::Stage1(_) => None,
            _ => Plugin::from_name(greeting_plugin),
        };
        // Clear text is never volunteered: only a server's explicit switch brings it.
        let plugin = wanted
            .filter(|&plugin| plugin != Plugin::Clear)
            .unwrap_or(Plugin::CachingSha2);
        Self {
            secret,
            secure,
            pinned_key,
            plugin,
            nonce,
            rounds: 0,
            awaits_key: false,
        }
    }

    /// The plugin name to put into the handshake response.
    pub fn plugin(&self) -> &'static [u8] {
        self.plugin.name()
    }

    /// The auth response to put into the handshake response.
    pub fn first_response(&mut self) -> Result<Zeroizing<Vec<u8>>> {
        match self.respond()? {
            ClientStep::Send(payload) => Ok(payload),
            // Only sha256_password and clear text can need more here, and both are answered after a switch.
            _ => Ok(Zeroizing::new(Vec::new())),
        }
    }

    /// Judges the server's next payload.
    pub fn on_packet(&mut self, payload: &[u8]) -> Result<ClientStep> {
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            return Err(ProtocolError::Unexpected("authentication: too many rounds"));
        }
        match payload.first().copied() {
            Some(OK_HEADER) => Ok(ClientStep::Done),
            Some(ERR_HEADER) => Ok(ClientStep::Refused),
            Some(AUTH_SWITCH_HEADER) => self.on_switch(AuthSwitch::parse(payload)?),
            Some(AUTH_MORE_DATA_HEADER) => self.on_more(AuthMoreData::parse(payload)?.data),
            Some(AUTH_NEXT_FACTOR_HEADER) => {
                Err(ProtocolError::Unsupported("a second authentication factor"))
            }
            _ => Err(ProtocolError::Malformed("authentication packet")),
        }
    }

    fn on_switch(&mut self, switch: AuthSwitch<'_>) -> Result<ClientStep> {
        let plugin = Plugin::from_name(switch.plugin).ok_or(ProtocolError::Unsupported(
            "authentication plugin of the server",
        ))?;
        if plugin != Plugin::Clear {
            self.nonce = Nonce::from_slice(switch.data)
                .ok_or(ProtocolError::Malformed("auth switch nonce"))?;
        }
        self.plugin = plugin;
        self.awaits_key = false;
        self.respond()
    }

    /// The first answer of the current plugin.
    fn respond(&mut self) -> Result<ClientStep> {
        let secret = self.secret.clone();
        match (self.plugin, secret) {
            (Plugin::CachingSha2 | Plugin::Native, Secret::None) => Ok(send(&[])),
            (Plugin::Sha256 | Plugin::Clear, Secret::None) => Ok(send(&[0])),
            (Plugin::CachingSha2, Secret::Password(password)) => {
                Ok(send(&Stage1::of_password(&password).scramble(&self.nonce)))
            }
            (Plugin::CachingSha2, Secret::Stage1(stage1)) => {
                Ok(send(&stage1.scramble(&self.nonce)))
            }
            (Plugin::Native, Secret::Password(password)) => {
                Ok(send(&native_scramble(&password, &self.nonce)))
            }
            (Plugin::Sha256, Secret::Password(password)) => {
                self.send_password(&password, REQUEST_PUBLIC_KEY_SHA256)
            }
            (Plugin::Clear, Secret::Password(password)) if self.secure => Ok(send_clear(&password)),
            (Plugin::Clear, Secret::Password(_)) => Err(ProtocolError::Unsupported(
                "clear text password without TLS",
            )),
            (Plugin::Native | Plugin::Sha256 | Plugin::Clear, Secret::Stage1(_)) => {
                Ok(ClientStep::NeedPassword)
            }
        }
    }

    fn on_more(&mut self, data: &[u8]) -> Result<ClientStep> {
        if self.awaits_key {
            return self.on_key(data);
        }
        match (self.plugin, data) {
            (Plugin::CachingSha2, [FAST_AUTH_SUCCESS]) => Ok(ClientStep::Wait),
            (Plugin::CachingSha2, [PERFORM_FULL_AUTH]) => match self.secret.clone() {
                Secret::Password(password) => self.send_password(&password, REQUEST_PUBLIC_KEY),
                Secret::Stage1(_) => Ok(ClientStep::NeedPassword),
                Secret::None => Ok(send(&[0])),
            },
            _ => Err(ProtocolError::Unexpected("authentication")),
        }
    }

    /// The password itself: as it is over TLS, else inside RSA, for which the key may have to be asked first.
    fn send_password(&mut self, password: &[u8], key_request: u8) -> Result<ClientStep> {
        if self.secure {
            return Ok(send_clear(password));
        }
        if let Some(key) = &self.pinned_key {
            let answer = key
                .encrypt(password, &self.nonce)
                .ok_or(ProtocolError::Unsupported(
                    "password too long for the RSA key",
                ))?;
            return Ok(send(&answer));
        }
        self.awaits_key = true;
        Ok(send(&[key_request]))
    }

    fn on_key(&mut self, pem: &[u8]) -> Result<ClientStep> {
        self.awaits_key = false;
        let key =
            RsaPublicKey::from_pem(pem).ok_or(ProtocolError::Malformed("RSA key of the server"))?;
        let Secret::Password(password) = &self.secret else {
            return Ok(ClientStep::NeedPassword);
        };
        let answer = key
            .encrypt(password, &self.nonce)
            .ok_or(ProtocolError::Unsupported(
                "password too long for the RSA key",
            ))?;
        Ok(send(&answer))
    }
}

fn send(payload: &[u8]) -> ClientStep {
    ClientStep::Send(Zeroizing::new(payload.to_vec()))
}

fn send_clear(password: &[u8]) -> ClientStep {
    let mut payload = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    payload.extend_from_slice(password);
    payload.push(0);
    ClientStep::Send(payload)
}
