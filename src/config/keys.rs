//! KEYS: every configuration key with its place, type, limits, unit and meaning. The one source of the reader, `tidegate
//! keys`, the admin table `settings`, and the test that holds config/tidegate.toml. Never reads a file.
//! This file has the types of keys and how a value is taken in; [`table`] has the rows.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::types::{
    BackendTlsMode, BackendUrl, Choice, Compression, Consistency, LogFormat, PoolMode, Reads,
    SecondaryEngine, TlsMode,
};
use super::{Config, Secret};

mod table;

pub use table::{KEYS, SECTIONS};

/// One key.
#[derive(Debug)]
pub struct Key {
    /// `section.key`, or `key` alone at the top of the file.
    pub name: &'static str,
    /// Its type, its place in [`Config`] and its limits.
    pub field: Field,
    /// Unit of a number; empty where it has none.
    pub unit: &'static str,
    /// Whether a running Tidegate takes up a change.
    pub reloadable: bool,
    /// What it does, one or two sentences.
    pub help: &'static str,
}

type Place<T> = fn(&mut Config) -> &mut T;

/// The type of a key: where its value lives and what values it may have.
#[derive(Debug)]
pub enum Field {
    /// true or false.
    Flag(Place<bool>),
    /// A whole number of 32 bits.
    U32(Place<u32>, u32, u32),
    /// A whole number of 64 bits.
    U64(Place<u64>, u64, u64),
    /// A number of things or bytes.
    Usize(Place<usize>, usize, usize),
    /// A share.
    Ratio(Place<f64>, f64, f64),
    /// A word for TLS.
    Tls(Place<TlsMode>),
    /// A word for TLS towards the backend.
    BackendTls(Place<BackendTlsMode>),
    /// A word for compression.
    Compression(Place<Compression>),
    /// A word for how connections are shared.
    Pool(Place<PoolMode>),
    /// A word for where reads go.
    Reads(Place<Reads>),
    /// A word for what reads must have seen.
    Consistency(Place<Consistency>),
    /// A word for the log's form.
    Format(Place<LogFormat>),
    /// An address to listen on.
    Address(Place<SocketAddr>),
    /// Text with a rule.
    Text(Place<String>, TextRule),
    /// A list of texts, each with the rule.
    List(Place<Vec<String>>, TextRule),
    /// A file or directory.
    Path(Place<PathBuf>),
    /// The backend.
    Url(Place<BackendUrl>),
    /// A password.
    Secret(Place<Secret>),
    /// A secondary engine.
    Engine(Place<SecondaryEngine>),
}

/// What a text may be.
#[derive(Debug, Clone, Copy)]
pub struct TextRule {
    /// In words.
    pub allowed: &'static str,
    /// The same as a test.
    pub holds: fn(&str) -> bool,
}

/// A value as somebody wrote it, in a file, a variable or an argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// Text.
    Text(String),
    /// A whole number as written, for those that fit no type of ours.
    Integer(i128),
    /// A number with a point or an exponent.
    Float(f64),
    /// true or false.
    Flag(bool),
    /// A list whose items are all text.
    Texts(Vec<String>),
    /// Something no key takes, by its name: a table, a date, a list of other things.
    Other(&'static str),
}

impl Raw {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a point",
            Self::Flag(_) => "true or false",
            Self::Texts(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

impl Key {
    /// The section's name; empty at the top of the file.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The name within the section.
    pub fn short(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(_, short)| short)
    }

    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.field, Field::Secret(_) | Field::Url(_))
    }

    /// The value that `config` has, secrets as `***`. Text without quotes, lists as `[a, b]`.
    pub fn value(&self, config: &Config) -> String {
        // The places are written for setting; a copy is cheap where values are shown.
        let config = &mut config.clone();
        match &self.field {
            Field::Flag(at) => at(config).to_string(),
            Field::U32(at, ..) => at(config).to_string(),
            Field::U64(at, ..) => at(config).to_string(),
            Field::Usize(at, ..) => at(config).to_string(),
            Field::Ratio(at, ..) => at(config).to_string(),
            Field::Tls(at) => at(config).word().to_owned(),
            Field::BackendTls(at) => at(config).word().to_owned(),
            Field::Compression(at) => at(config).word().to_owned(),
            Field::Pool(at) => at(config).word().to_owned(),
            Field::Reads(at) => at(config).word().to_owned(),
            Field::Consistency(at) => at(config).word().to_owned(),
            Field::Format(at) => at(config).word().to_owned(),
            Field::Address(at) => at(config).to_string(),
            Field::Text(at, _) => at(config).clone(),
            Field::List(at, _) => format!("[{}]", at(config).join(", ")),
            Field::Path(at) => at(config).display().to_string(),
            Field::Url(at) => at(config).to_string(),
            Field::Secret(at) => at(config).to_string(),
            Field::Engine(at) => at(config).to_string(),
        }
    }

    /// The value that `config` has, as it would be written.
    pub fn raw(&self, config: &Config) -> Raw {
        let copy = &mut config.clone();
        match &self.field {
            Field::Flag(at) => Raw::Flag(*at(copy)),
            Field::U32(at, ..) => Raw::Integer((*at(copy)).into()),
            Field::U64(at, ..) => Raw::Integer((*at(copy)).into()),
            Field::Usize(at, ..) => Raw::Integer(*at(copy) as i128),
            Field::Ratio(at, ..) => Raw::Float(*at(copy)),
            Field::List(at, _) => Raw::Texts(at(copy).clone()),
            _ => Raw::Text(self.value(config)),
        }
    }

    /// A value that came as bare text, as a file would have it.
    pub fn read(&self, text: &str) -> Raw {
        let words = || Raw::Text(text.to_owned());
        match &self.field {
            Field::Flag(_) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" | "1" => Raw::Flag(true),
                "false" | "off" | "0" => Raw::Flag(false),
                _ => words(),
            },
            Field::U32(..) | Field::U64(..) | Field::Usize(..) => {
                text.trim().parse().map_or_else(|_| words(), Raw::Integer)
            }
            Field::Ratio(..) => text.trim().parse().map_or_else(|_| words(), Raw::Float),
            Field::List(..) => {
                let inside = text.trim().trim_start_matches('[').trim_end_matches(']');
                let items = inside.split(',').map(|item| item.trim().trim_matches('"'));
                let items = items.filter(|item| !item.is_empty()).map(str::to_owned);
                Raw::Texts(items.collect())
            }
            _ => words(),
        }
    }

    /// The value when nobody says anything.
    pub fn default_value(&self) -> String {
        self.value(&Config::default())
    }

    /// What it may be, in words.
    pub fn allowed(&self) -> String {
        let range = |min: &dyn std::fmt::Display, max: &dyn std::fmt::Display| {
            let unit = if self.unit.is_empty() {
                String::new()
            } else {
                format!(" {}", self.unit)
            };
            format!("{min} to {max}{unit}")
        };
        match &self.field {
            Field::Flag(_) => "true or false".to_owned(),
            Field::U32(_, min, max) => range(min, max),
            Field::U64(_, min, max) => range(min, max),
            Field::Usize(_, min, max) => range(min, max),
            Field::Ratio(_, min, max) => range(min, max),
            Field::Tls(_) => words::<TlsMode>(),
            Field::BackendTls(_) => words::<BackendTlsMode>(),
            Field::Compression(_) => words::<Compression>(),
            Field::Pool(_) => words::<PoolMode>(),
            Field::Reads(_) => words::<Reads>(),
            Field::Consistency(_) => words::<Consistency>(),
            Field::Format(_) => words::<LogFormat>(),
            Field::Address(_) => {
                "an address and a port, as 127.0.0.1:6033 or [::1]:6033".to_owned()
            }
            Field::Text(_, rule) => rule.allowed.to_owned(),
            Field::List(_, rule) => format!("a list in brackets, each item {}", rule.allowed),
            Field::Path(_) => "a path in quotes".to_owned(),
            Field::Url(_) => BackendUrl::FORM.to_owned(),
            Field::Secret(_) => "a password in quotes".to_owned(),
            Field::Engine(_) => "auto, off, or the name of an engine".to_owned(),
        }
    }

    /// Puts a value as written into `config`.
    ///
    /// # Errors
    /// What is wrong with the value, as the end of a sentence that starts with the key; never the value of a secret.
    pub fn set(&self, config: &mut Config, raw: &Raw) -> Result<(), String> {
        match (&self.field, raw) {
            (Field::Flag(at), Raw::Flag(value)) => *at(config) = *value,
            (Field::U32(at, min, max), Raw::Integer(value)) => {
                *at(config) = in_range(*value, *min, *max)?
            }
            (Field::U64(at, min, max), Raw::Integer(value)) => {
                *at(config) = in_range(*value, *min, *max)?
            }
            (Field::Usize(at, min, max), Raw::Integer(value)) => {
                *at(config) = in_range(*value, *min, *max)?
            }
            (Field::Ratio(at, min, max), Raw::Integer(_) | Raw::Float(_)) => {
                *at(config) = ratio(raw, *min, *max)?
            }
            (Field::Tls(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::BackendTls(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::Compression(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::Pool(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::Reads(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::Consistency(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::Format(at), Raw::Text(text)) => *at(config) = choice(text)?,
            (Field::Address(at), Raw::Text(text)) => *at(config) = address(text)?,
            (Field::Text(at, rule), Raw::Text(text)) => *at(config) = ruled(text, rule)?,
            (Field::List(at, rule), Raw::Texts(texts)) => {
                *at(config) = texts
                    .iter()
                    .map(|text| ruled(text, rule))
                    .collect::<Result<_, _>>()?;
            }
            (Field::Path(at), Raw::Text(text)) if !text.contains('\0') => {
                *at(config) = PathBuf::from(text)
            }
            // Empty is the default: no backend in the file.
            (Field::Url(at), Raw::Text(text)) if text.is_empty() => {
                *at(config) = BackendUrl::default()
            }
            (Field::Url(at), Raw::Text(text)) => *at(config) = text.parse()?,
            (Field::Secret(at), Raw::Text(text)) => *at(config) = Secret::new(text.clone()),
            (Field::Engine(at), Raw::Text(text)) => {
                *at(config) = text.parse().map_err(|why| format!("{text:?} {why}"))?;
            }
            (_, raw) => return Err(self.wrong_type(raw)),
        }
        Ok(())
    }

    fn wrong_type(&self, raw: &Raw) -> String {
        let expected = match self.field {
            Field::Flag(_) => "true or false",
            Field::U32(..) | Field::U64(..) | Field::Usize(..) => "a whole number",
            Field::Ratio(..) => "a number",
            Field::List(..) => "a list of texts",
            _ => "text in quotes",
        };
        let shown = match raw {
            Raw::Text(text) if !self.is_secret() => format!(" ({text:?})"),
            _ => String::new(),
        };
        format!("is {}{shown}, expected {expected}", raw.kind())
    }
}

fn words<T: Choice>() -> String {
    let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
    words.join(", ")
}

fn in_range<T>(value: i128, min: T, max: T) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd,
{
    let fits = T::try_from(value)
        .ok()
        .filter(|value| *value >= min && *value <= max);
    fits.ok_or_else(|| format!("is {value}, out of range"))
}

fn ratio(raw: &Raw, min: f64, max: f64) -> Result<f64, String> {
    let value = match raw {
        Raw::Integer(value) => *value as f64,
        Raw::Float(value) => *value,
        _ => f64::NAN,
    };
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("is {value}, out of range"))
    }
}

fn choice<T: Choice>(text: &str) -> Result<T, String> {
    T::from_word(text).ok_or_else(|| {
        let meant = nearest(text, T::WORDS.iter().map(|(word, _)| *word));
        format!("is {text:?}{}", did_you_mean(meant))
    })
}

fn ruled(text: &str, rule: &TextRule) -> Result<String, String> {
    if (rule.holds)(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("is {text:?}"))
    }
}

/// An address to listen on; `localhost` is 127.0.0.1. Names are not resolved: what is listened on should not depend
/// on a name server.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("is {text:?}, without a port"));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!(
            "is {text:?}, whose port is not a number from 0 to 65535"
        ));
    };
    match host {
        "localhost" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        "" | "*" => Err(format!(
            "is {text:?}; for every address write 0.0.0.0:{port}"
        )),
        _ => Err(format!("is {text:?}, whose host is not an IP address")),
    }
}

/// `; did you mean X?`, or nothing.
pub(super) fn did_you_mean(meant: Option<&str>) -> String {
    meant
        .map(|word| format!("; did you mean {word}?"))
        .unwrap_or_default()
}

/// The word most like `text`, if one is like it at all.
pub(super) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let near = |word: &str| match strsim::damerau_levenshtein(&text, word) {
        distance if distance <= (word.len() / 3).max(1) => Some(distance),
        // The beginning of a word is as near as one can type.
        _ if text.len() >= 3 && word.starts_with(&text) => Some(0),
        _ => None,
    };
    words
        .filter_map(|word| Some((near(word)?, word)))
        .min()
        .map(|(_, word)| word)
}

/// The key of this full name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests;
