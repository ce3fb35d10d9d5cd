//! The types of values a key can have beyond numbers and words, with their reading and printing. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Secret;

/// Where the backend is and who the control plane logs in as: `mysql://user:password@host:port`.
/// Prints with the password as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BackendUrl {
    /// Host name or address, without brackets; empty: not set.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User of the control plane.
    pub user: String,
    /// Password of that user.
    pub password: Secret,
}

/// What stands in a user name of a printed URL as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

impl BackendUrl {
    /// The form every message names.
    pub const FORM: &str = "mysql://USER:PASSWORD@HOST:PORT";
    /// The port when none is written.
    pub const PORT: u16 = 3306;

    /// Whether a backend was named at all.
    pub fn is_set(&self) -> bool {
        !self.host.is_empty()
    }

    /// `host:port`, IPv6 in brackets: what goes into logs and to a resolver.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BackendUrl {
    type Err = String;

    /// Reads the URL; user and password may be percent-encoded. The error is the end of a sentence that starts with the
    /// key. It shows no part of the URL: an unencoded `/` or `@` makes a part of the password look like something else.
    fn from_str(text: &str) -> Result<Self, String> {
        const ENCODE: &str =
            "; in a password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, % as %25";
        if !text.starts_with("mysql://") {
            return Err("does not start with mysql://".to_owned());
        }
        let url = url::Url::parse(text).map_err(|why| format!("is no URL ({why}){ENCODE}"))?;
        if !matches!(url.path(), "" | "/") {
            return Err(format!(
                "goes on behind HOST:PORT, but a schema has no place here: Tidegate serves all{ENCODE}"
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "has options behind HOST:PORT, but there are none{ENCODE}"
            ));
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            // Not a special scheme: the parser leaves escapes in the name as they were written.
            Some(host) => decode(&host.to_string(), "host")?,
            None => String::new(),
        };
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        let user = decode(url.username(), "user")?;
        if user.is_empty() {
            return Err("names no user".to_owned());
        }
        let password = Secret::new(decode(url.password().unwrap_or_default(), "password")?);
        let port = url.port().unwrap_or(Self::PORT);
        if port == 0 {
            return Err("has port 0; allowed: 1 to 65535".to_owned());
        }
        Ok(Self {
            host,
            port,
            user,
            password,
        })
    }
}

fn decode(part: &str, name: &str) -> Result<String, String> {
    let text = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| format!("has a {name} that is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("has a {name} with a zero byte in it"));
    }
    Ok(text.into_owned())
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_set() {
            return Ok(());
        }
        write!(f, "mysql://{}", utf8_percent_encode(&self.user, &PLAIN))?;
        if !self.password.is_empty() {
            write!(f, ":{}", self.password)?;
        }
        write!(f, "@{}", self.address())
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A value with a fixed set of words for it.
pub trait Choice: Sized + Copy + PartialEq + 'static {
    /// Every value with its word, in the order of the documentation.
    const WORDS: &'static [(&'static str, Self)];

    /// The value a word stands for.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, value)| *value)
    }

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }
}

/// Whether clients use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// When the other side can.
    Preferred,
    /// Or no connection.
    Required,
}

impl Choice for TlsMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disabled", Self::Disabled),
        ("preferred", Self::Preferred),
        ("required", Self::Required),
    ];
}

/// Whether TLS is used towards the backend, and who it has to be: the words of `--ssl-mode` of the MySQL clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendTlsMode {
    /// Never.
    Disabled,
    /// When the backend can.
    Preferred,
    /// For a client that came by TLS, when the backend can; our own connections as with `Preferred`.
    AsClient,
    /// Or no connection.
    Required,
    /// And its certificate comes from an authority that we know.
    VerifyCa,
    /// And is made out to the host that we connect to.
    VerifyIdentity,
}

impl BackendTlsMode {
    /// Whether certificates are verified.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

impl Choice for BackendTlsMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disabled", Self::Disabled),
        ("preferred", Self::Preferred),
        ("as_client", Self::AsClient),
        ("required", Self::Required),
        ("verify_ca", Self::VerifyCa),
        ("verify_identity", Self::VerifyIdentity),
    ];
}

/// How connections to the backend are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By zlib, if the backend offers it.
    Zlib,
    /// By zstd, if the backend offers it.
    Zstd,
    /// As the client of the connection does, if the backend offers it.
    AsClient,
}

impl Choice for Compression {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("zlib", Self::Zlib),
        ("zstd", Self::Zstd),
        ("as_client", Self::AsClient),
    ];
}

/// How long a client keeps a connection to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// As long as a transaction or another state holds it there; between two statements others may have it.
    Transaction,
    /// As long as it is connected.
    Session,
}

impl Choice for PoolMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("transaction", Self::Transaction),
        ("session", Self::Session),
    ];
}

/// Where statements go that only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// To the writer, as all others.
    Writer,
    /// To a reader, where the session's state and the consistency asked for allow it.
    Readers,
}

impl Choice for Reads {
    const WORDS: &'static [(&'static str, Self)] =
        &[("writer", Self::Writer), ("readers", Self::Readers)];
}

/// What a read on a reader must have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Everything: reads never leave the writer.
    Strict,
    /// What its own session has written and read before.
    Session,
    /// Whatever the reader has, within the lag allowed.
    Eventual,
}

impl Choice for Consistency {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("strict", Self::Strict),
        ("session", Self::Session),
        ("eventual", Self::Eventual),
    ];
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("human", Self::Human), ("json", Self::Json)];
}

/// Which secondary engine views are loaded into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondaryEngine {
    /// The one the backend has, if it has one.
    Auto,
    /// None, whatever the backend has.
    Off,
    /// This one (`RAPID`, or `MOCK` in tests).
    Named(String),
}

impl fmt::Display for SecondaryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Named(name) => name,
        })
    }
}

impl FromStr for SecondaryEngine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            name if is_identifier(name) => Ok(Self::Named(name.to_owned())),
            _ => Err("is not the name of an engine".to_owned()),
        }
    }
}

/// Letters, digits, `_` and `$`, not starting with a digit, at most 64: what needs no quoting anywhere in MySQL.
pub fn is_identifier(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether an address is one of them. IPv4 inside of IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |left: u128, right: u128, width: u32| {
            self.bits == 0 || (left ^ right) >> (width - self.bits) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(left), IpAddr::V4(right)) => {
                same(left.to_bits().into(), right.to_bits().into(), 32)
            }
            (IpAddr::V6(left), IpAddr::V6(right)) => same(left.to_bits(), right.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// `192.0.2.0/24`, `2001:db8::/32`, or a single address.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "has no IP address")?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= width)
                .ok_or("has more bits than an address")?,
            Some(_) => return Err("has no number of bits behind the slash".to_owned()),
        };
        // The IPv6 spelling of an IPv4 address would never be met.
        if address.to_canonical() != address {
            return Err("is IPv4 inside of IPv6; write it as IPv4".to_owned());
        }
        Ok(Self { address, bits })
    }
}

/// One of `[[users]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// Name as the client sends it.
    pub name: String,
    /// Password on both sides of Tidegate.
    pub password: Secret,
}

/// One of `[[nodes]]`: a server of the cluster beside that of `backend.url`, with the same account and TLS settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// What it is called in tables, metrics and logs.
    pub name: String,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Its share of the reads, against those of the other readers; 0: none.
    pub weight: u32,
}

impl NodeEntry {
    /// The name of the server of `backend.url`.
    pub const FIRST: &str = "backend";
    /// Servers beside that of `backend.url`.
    pub const MOST: usize = 63;
    /// The largest weight.
    pub const WEIGHT_MAX: u32 = 1_000;
}

/// Host and port of `host:port` or `[address]:port`; the port may be left out.
///
/// # Errors
/// The end of a sentence that starts with the key.
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (
            host,
            rest.strip_prefix(':').or(rest.is_empty().then_some("")),
        ),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = match port {
        Some("") => Some(BackendUrl::PORT),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => None,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    match port {
        Some(port) if !host.is_empty() && host.chars().all(plain) => Ok((host.to_owned(), port)),
        _ => Err(format!("is {text:?}, which is no host and port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("db-2.example:3307", "db-2.example", 3307),
            ("10.0.0.7", "10.0.0.7", 3306),
            ("[::1]:3307", "::1", 3307),
            ("[::1]", "::1", 3306),
        ] {
            assert_eq!(host_and_port(text), Ok((host.to_owned(), port)));
        }
        for text in [
            "", ":3306", "a:0", "a:65536", "a:b", "::1", "[::1", "[::1]3", "a b:1", "u@a:1",
        ] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        let has = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.9/24", "192.0.2.1", "::1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
        ] {
            assert!(has(network, inside) && !has(network, outside), "{network}");
        }
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "localhost",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/99999999999",
            "::ffff:10.0.0.0/104",
            " 10.0.0.0/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn urls_that_are_read() {
        let url: BackendUrl = "mysql://app%40eu:p%40ss%3A%2F%25@db.example:3307"
            .parse()
            .unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.user.as_str()),
            ("db.example", 3307, "app@eu")
        );
        assert_eq!(url.password.reveal(), "p@ss:/%");
        assert_eq!(url.to_string(), "mysql://app%40eu:***@db.example:3307");
        let url: BackendUrl = "mysql://root@[::1]/".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.password.is_empty()),
            ("::1", 3306, true)
        );
        assert_eq!(url.to_string(), "mysql://root@[::1]:3306");
    }

    #[test]
    fn urls_that_are_refused() {
        for (text, part) in [
            ("127.0.0.1:3306", "does not start with mysql://"),
            ("postgres://a@b", "does not start with mysql://"),
            ("mysql://host:3306", "names no user"),
            ("mysql://user:pw@", "is no URL (empty host)"),
            ("mysql://u:p@h:3306/shop", "goes on behind HOST:PORT"),
            ("mysql://u:p@h?ssl=1", "has options"),
            ("mysql://u:p@h:0", "port 0"),
            (
                "mysql://u:secret@h:99999",
                "is no URL (invalid port number)",
            ),
            ("mysql://u:p/secret@h:1", "is no URL"),
            ("mysql://u:p@/secret@h:1", "is no URL"),
            ("mysql://u:p@x/secret@h:1", "goes on"),
            ("mysql://u:%ff@h", "password that is not UTF-8"),
        ] {
            let why = text.parse::<BackendUrl>().unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn words_and_values_are_one_to_one() {
        for (word, mode) in TlsMode::WORDS {
            assert_eq!(
                (TlsMode::from_word(word), mode.word()),
                (Some(*mode), *word)
            );
        }
        assert_eq!(TlsMode::from_word("PREFERRED"), None);
        assert_eq!(
            "RAPID".parse::<SecondaryEngine>().unwrap().to_string(),
            "RAPID"
        );
        assert!("a b".parse::<SecondaryEngine>().is_err());
    }
}
