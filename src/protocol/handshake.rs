//! Packets of the connection phase: greeting, TLS request, handshake response, COM_CHANGE_USER, auth switch and more-data.
//! Keeps what a client sent in its order and bytes. Never judges a password: that is `auth`.

use super::auth::Nonce;
use super::packet::{Cursor, put_lenenc, put_lenenc_bytes, put_until_zero};
use super::{ProtocolError, Result, capability};

/// The protocol version that every server since 3.21 speaks.
const PROTOCOL_VERSION: u8 = 10;
/// Length of a TLS request, and of the fixed head of a handshake response.
const SSL_REQUEST_BYTES: usize = 32;
/// More attributes than this are refused; drivers send about ten.
const ATTRIBUTES_MAX: usize = 1024;
/// The server's own limit on the sum of connection attributes.
pub const ATTRIBUTES_BYTES_MAX: usize = 65_536;

/// The server's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Version text, for example `9.7.4`. MariaDB puts `5.5.5-` before its own.
    pub version: Vec<u8>,
    /// Connection (thread) id, the low 32 bits.
    pub connection_id: u32,
    /// What the server offers.
    pub capabilities: u32,
    /// Default collation id, the low 8 bits.
    pub collation: u8,
    /// Server status bits.
    pub status: u16,
    /// The challenge.
    pub nonce: Nonce,
    /// Default authentication plugin; empty if the server names none.
    pub plugin: Vec<u8>,
    /// MariaDB's extended capabilities; 0 on MySQL.
    pub mariadb_capabilities: u32,
}

impl Greeting {
    /// Reads a payload. A server that refuses at once sends ERR (0xFF) in this place: look at the first byte before.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        match payload.first() {
            Some(&PROTOCOL_VERSION) => {
                Self::parse_fields(payload).ok_or(ProtocolError::Malformed("greeting"))
            }
            Some(_) => Err(ProtocolError::Unsupported(
                "protocol version of the greeting",
            )),
            None => Err(ProtocolError::Malformed("greeting")),
        }
    }

    fn parse_fields(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        cursor.u8()?;
        let version = cursor.until_zero()?.to_vec();
        let connection_id = cursor.u32()?;
        let first = cursor.bytes(8)?;
        cursor.u8()?;
        let low = cursor.u16()?;
        let collation = cursor.u8()?;
        let status = cursor.u16()?;
        let high = cursor.u16()?;
        let capabilities = u32::from(low) | u32::from(high) << 16;
        let nonce_bytes = usize::from(cursor.u8()?);
        cursor.bytes(6)?;
        let extended = cursor.u32()?;
        // At least 13 bytes whatever the announced length says; the last one is a zero.
        let second = cursor.bytes(
            nonce_bytes
                .saturating_sub(8)
                .max(13)
                .min(cursor.rest().len()),
        )?;
        let nonce = Nonce::from_slice(&[first, second.get(..12)?].concat())?;
        let mut plugin = Vec::new();
        if capabilities & capability::PLUGIN_AUTH != 0 {
            // Servers before 5.5.10 leave the closing zero out.
            plugin = cursor
                .until_zero()
                .unwrap_or_else(|| cursor.rest())
                .to_vec();
        }
        // MariaDB clears the first flag to say that it is not MySQL, and only then uses the reserved bytes.
        let mariadb_capabilities = if capabilities & capability::LONG_PASSWORD == 0 {
            extended
        } else {
            0
        };
        Some(Self {
            version,
            connection_id,
            capabilities,
            collation,
            status,
            nonce,
            plugin,
            mariadb_capabilities,
        })
    }

    /// Appends the payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        let [c0, c1, c2, c3] = self.capabilities.to_le_bytes();
        let nonce = self.nonce.as_bytes();
        out.push(PROTOCOL_VERSION);
        put_until_zero(out, &self.version);
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&nonce[..8]);
        out.extend_from_slice(&[0, c0, c1, self.collation]);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&[c2, c3]);
        out.push(if self.capabilities & capability::PLUGIN_AUTH != 0 {
            21
        } else {
            0
        });
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.mariadb_capabilities.to_le_bytes());
        out.extend_from_slice(&nonce[8..]);
        out.push(0);
        if self.capabilities & capability::PLUGIN_AUTH != 0 {
            put_until_zero(out, &self.plugin);
        }
    }
}

/// The short packet by which a client asks to go on with TLS: the head of its handshake response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SslRequest {
    /// The client's capabilities, SSL among them.
    pub capabilities: u32,
    /// The longest packet that the client takes.
    pub packet_bytes_max: u32,
    /// Collation id, 8 bits on the wire.
    pub collation: u16,
}

impl SslRequest {
    /// `Some` if this payload is a TLS request and not a whole response: it ends after the fixed head and has the flag.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        if payload.len() != SSL_REQUEST_BYTES {
            return None;
        }
        let (capabilities, packet_bytes_max, collation, _) = read_head(&mut Cursor::new(payload))?;
        (capabilities & capability::SSL != 0).then_some(Self {
            capabilities,
            packet_bytes_max,
            collation,
        })
    }

    /// Appends the payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_head(
            out,
            self.capabilities | capability::SSL,
            self.packet_bytes_max,
            self.collation,
            0,
        );
    }
}

fn read_head(cursor: &mut Cursor<'_>) -> Option<(u32, u32, u16, u32)> {
    let capabilities = cursor.u32()?;
    let packet_bytes_max = cursor.u32()?;
    let collation = u16::from(cursor.u8()?);
    cursor.bytes(19)?;
    let extended = cursor.u32()?;
    Some((capabilities, packet_bytes_max, collation, extended))
}

fn put_head(
    out: &mut Vec<u8>,
    capabilities: u32,
    packet_bytes_max: u32,
    collation: u16,
    extended: u32,
) {
    out.extend_from_slice(&capabilities.to_le_bytes());
    out.extend_from_slice(&packet_bytes_max.to_le_bytes());
    out.push(collation.to_le_bytes()[0]);
    out.extend_from_slice(&[0; 19]);
    out.extend_from_slice(&extended.to_le_bytes());
}

/// Connection attributes in the order in which they came, duplicates kept.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

fn read_attributes(cursor: &mut Cursor<'_>) -> Option<Attributes> {
    let mut inner = Cursor::new(
        cursor
            .lenenc_bytes()
            .filter(|bytes| bytes.len() <= ATTRIBUTES_BYTES_MAX)?,
    );
    let mut attributes = Vec::new();
    while !inner.is_empty() {
        // Empty names and values cost a byte on the wire and much more here.
        if attributes.len() >= ATTRIBUTES_MAX {
            return None;
        }
        attributes.push((
            inner.lenenc_bytes()?.to_vec(),
            inner.lenenc_bytes()?.to_vec(),
        ));
    }
    Some(attributes)
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    let mut inner = Vec::new();
    for (name, value) in attributes {
        put_lenenc_bytes(&mut inner, name);
        put_lenenc_bytes(&mut inner, value);
    }
    put_lenenc_bytes(out, &inner);
}

/// A string that should end with a zero but may end with the packet.
fn zero_or_end<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    cursor.until_zero().unwrap_or_else(|| cursor.take_rest())
}

/// What a client answers to the greeting.
///
/// `Debug` leaves the auth response out: with `mysql_clear_password` it is the password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HandshakeResponse {
    /// The client's capabilities.
    pub capabilities: u32,
    /// The longest packet that the client takes.
    pub packet_bytes_max: u32,
    /// Collation id. The wire has 8 bits here: a client whose collation is above 255 sets it afterwards by SET NAMES.
    pub collation: u16,
    /// User name.
    pub user: Vec<u8>,
    /// Answer to the challenge by [`plugin`](Self::plugin).
    pub auth_response: Vec<u8>,
    /// Default schema; empty for none.
    pub schema: Vec<u8>,
    /// The plugin that made the auth response; empty if the client names none.
    pub plugin: Vec<u8>,
    /// Connection attributes.
    pub attributes: Attributes,
    /// zstd compression level; 0 if not sent.
    pub zstd_level: u8,
    /// MariaDB's extended capabilities; 0 from others.
    pub mariadb_capabilities: u32,
}

impl std::fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &format_args!("{:#010x}", self.capabilities))
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("schema", &String::from_utf8_lossy(&self.schema))
            .field("plugin", &String::from_utf8_lossy(&self.plugin))
            .field("collation", &self.collation)
            .field("attributes", &self.attributes.len())
            .finish_non_exhaustive()
    }
}

impl HandshakeResponse {
    /// Reads a payload. Clients without the 4.1 protocol are [`ProtocolError::Unsupported`].
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let flags = Cursor::new(payload)
            .u16()
            .ok_or(ProtocolError::Malformed("handshake response"))?;
        if u32::from(flags) & capability::PROTOCOL_41 == 0 {
            return Err(ProtocolError::Unsupported(
                "client without the 4.1 protocol",
            ));
        }
        Self::parse_fields(payload).ok_or(ProtocolError::Malformed("handshake response"))
    }

    fn parse_fields(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let (capabilities, packet_bytes_max, collation, extended) = read_head(&mut cursor)?;
        let has = |flag: u32| capabilities & flag != 0;
        let user = cursor.until_zero()?.to_vec();
        let auth_response = if has(capability::PLUGIN_AUTH_LENENC) {
            cursor.lenenc_bytes()?
        } else if has(capability::SECURE_CONNECTION) {
            let length = cursor.u8()?;
            cursor.bytes(usize::from(length))?
        } else {
            cursor.until_zero()?
        }
        .to_vec();
        let schema = if has(capability::CONNECT_WITH_DB) {
            zero_or_end(&mut cursor).to_vec()
        } else {
            Vec::new()
        };
        let plugin = if has(capability::PLUGIN_AUTH) {
            zero_or_end(&mut cursor).to_vec()
        } else {
            Vec::new()
        };
        // Some clients set the flag and send nothing.
        let attributes = match has(capability::CONNECT_ATTRS) && !cursor.is_empty() {
            true => read_attributes(&mut cursor)?,
            false => Vec::new(),
        };
        let zstd_level = if has(capability::ZSTD_COMPRESSION) {
            cursor.u8().unwrap_or(0)
        } else {
            0
        };
        let mariadb_capabilities = if has(capability::LONG_PASSWORD) {
            0
        } else {
            extended
        };
        Some(Self {
            capabilities,
            packet_bytes_max,
            collation,
            user,
            auth_response,
            schema,
            plugin,
            attributes,
            zstd_level,
            mariadb_capabilities,
        })
    }

    /// Appends the payload. Flags decide which fields are written, so they must fit: CONNECT_WITH_DB with a schema and so on.
    pub fn write(&self, out: &mut Vec<u8>) {
        let has = |flag: u32| self.capabilities & flag != 0;
        put_head(
            out,
            self.capabilities,
            self.packet_bytes_max,
            self.collation,
            self.mariadb_capabilities,
        );
        put_until_zero(out, &self.user);
        if has(capability::PLUGIN_AUTH_LENENC) {
            put_lenenc_bytes(out, &self.auth_response);
        } else if has(capability::SECURE_CONNECTION) {
            let length = self.auth_response.len().min(255);
            out.push(length as u8);
            out.extend_from_slice(&self.auth_response[..length]);
        } else {
            put_until_zero(out, &self.auth_response);
        }
        if has(capability::CONNECT_WITH_DB) {
            put_until_zero(out, &self.schema);
        }
        if has(capability::PLUGIN_AUTH) {
            put_until_zero(out, &self.plugin);
        }
        if has(capability::CONNECT_ATTRS) {
            put_attributes(out, &self.attributes);
        }
        if has(capability::ZSTD_COMPRESSION) {
            out.push(self.zstd_level);
        }
    }

    /// The value of the first attribute with this name.
    pub fn attribute(&self, name: &[u8]) -> Option<&[u8]> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_slice())
    }
}

/// The body of COM_CHANGE_USER (after the command byte).
///
/// `Debug` leaves the auth response out.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChangeUser {
    /// User name.
    pub user: Vec<u8>,
    /// Answer to the challenge of the connection's greeting.
    pub auth_response: Vec<u8>,
    /// Default schema; empty for none.
    pub schema: Vec<u8>,
    /// Collation id, 16 bits here.
    pub collation: u16,
    /// The plugin that made the auth response; empty if none was named.
    pub plugin: Vec<u8>,
    /// Connection attributes.
    pub attributes: Attributes,
}

impl std::fmt::Debug for ChangeUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeUser")
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("schema", &String::from_utf8_lossy(&self.schema))
            .field("plugin", &String::from_utf8_lossy(&self.plugin))
            .finish_non_exhaustive()
    }
}

impl ChangeUser {
    /// Reads the body; `caps` are those of the connection's handshake.
    pub fn parse(body: &[u8], caps: u32) -> Result<Self> {
        Self::parse_fields(body, caps).ok_or(ProtocolError::Malformed("COM_CHANGE_USER"))
    }

    fn parse_fields(body: &[u8], caps: u32) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let mut change = Self {
            user: cursor.until_zero()?.to_vec(),
            ..Self::default()
        };
        change.auth_response = match caps & capability::SECURE_CONNECTION != 0 {
            true => {
                let length = cursor.u8()?;
                cursor.bytes(usize::from(length))?.to_vec()
            }
            false => cursor.until_zero()?.to_vec(),
        };
        change.schema = zero_or_end(&mut cursor).to_vec();
        if cursor.is_empty() {
            return Some(change);
        }
        change.collation = cursor.u16()?;
        if caps & capability::PLUGIN_AUTH != 0 {
            change.plugin = zero_or_end(&mut cursor).to_vec();
        }
        if caps & capability::CONNECT_ATTRS != 0 && !cursor.is_empty() {
            change.attributes = read_attributes(&mut cursor)?;
        }
        Some(change)
    }

    /// Appends the body (without the command byte).
    pub fn write(&self, out: &mut Vec<u8>, caps: u32) {
        put_until_zero(out, &self.user);
        if caps & capability::SECURE_CONNECTION != 0 {
            let length = self.auth_response.len().min(255);
            out.push(length as u8);
            out.extend_from_slice(&self.auth_response[..length]);
        } else {
            put_until_zero(out, &self.auth_response);
        }
        put_until_zero(out, &self.schema);
        out.extend_from_slice(&self.collation.to_le_bytes());
        if caps & capability::PLUGIN_AUTH != 0 {
            put_until_zero(out, &self.plugin);
        }
        if caps & capability::CONNECT_ATTRS != 0 {
            put_attributes(out, &self.attributes);
        }
    }
}

/// First byte of an auth switch request.
pub const AUTH_SWITCH_HEADER: u8 = 0xFE;
/// First byte of more auth data.
pub const AUTH_MORE_DATA_HEADER: u8 = 0x01;
/// First byte of the request for a second factor.
pub const AUTH_NEXT_FACTOR_HEADER: u8 = 0x02;

/// The server asks for another plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSwitch<'a> {
    /// Plugin name.
    pub plugin: &'a [u8],
    /// Its data, without a closing zero: mostly a new challenge.
    pub data: &'a [u8],
}

impl<'a> AuthSwitch<'a> {
    /// Reads a payload that starts with 0xFE. The bare byte is the switch to the hash of 3.23: refused.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8() != Some(AUTH_SWITCH_HEADER) {
            return Err(ProtocolError::Malformed("auth switch"));
        }
        if cursor.is_empty() {
            return Err(ProtocolError::Unsupported("authentication of MySQL 3.23"));
        }
        let plugin = cursor
            .until_zero()
            .ok_or(ProtocolError::Malformed("auth switch"))?;
        let data = cursor.rest();
        Ok(Self {
            plugin,
            data: data.strip_suffix(&[0]).unwrap_or(data),
        })
    }

    /// Appends the payload, with the closing zero that mysqld writes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(AUTH_SWITCH_HEADER);
        put_until_zero(out, self.plugin);
        out.extend_from_slice(self.data);
        out.push(0);
    }
}

/// Data of a running plugin from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthMoreData<'a> {
    /// The plugin's bytes.
    pub data: &'a [u8],
}

impl<'a> AuthMoreData<'a> {
    /// Reads a payload that starts with 0x01.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        match payload {
            [AUTH_MORE_DATA_HEADER, data @ ..] => Ok(Self { data }),
            _ => Err(ProtocolError::Malformed("auth more data")),
        }
    }

    /// Appends the payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(AUTH_MORE_DATA_HEADER);
        out.extend_from_slice(self.data);
    }
}

/// Size of the attributes as they stand on the wire, without the outer length. For those who add one and must stay in the limit.
pub fn attributes_wire_bytes(attributes: &Attributes) -> usize {
    let mut scratch = Vec::with_capacity(9);
    let mut length = |n: usize| {
        scratch.clear();
        put_lenenc(&mut scratch, n as u64);
        scratch.len() + n
    };
    attributes
        .iter()
        .map(|(name, value)| length(name.len()) + length(value.len()))
        .sum()
}
