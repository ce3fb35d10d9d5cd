//! What is told of one execution, and of whom. Plain data: session fills it in, [`super::recorder`] counts it.

use std::sync::Arc;
use std::time::Instant;

use super::names::Name;
use crate::sql::Statement;

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServedBy {
    /// The server, with the statement as the client wrote it.
    Backend,
    /// A view, by a rewritten statement.
    View,
    /// The result cache.
    Cache,
    /// Tidegate itself.
    Local,
    /// The admin schema.
    Admin,
}

impl ServedBy {
    /// All of them, in the order of columns and labels.
    pub const ALL: [Self; 5] = [
        Self::Backend,
        Self::View,
        Self::Cache,
        Self::Local,
        Self::Admin,
    ];

    /// The word in columns and labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::View => "view",
            Self::Cache => "cache",
            Self::Local => "local",
            Self::Admin => "admin",
        }
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The digest of a statement, as far as counting needs it.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    /// Digest id; 0 for what has none.
    pub id: u128,
    /// Digest text, cut as configured.
    pub text: &'a Arc<str>,
    /// Kind of statement: one of a fixed set of words.
    pub kind: &'static str,
}

impl<'a> From<&'a Statement> for Digest<'a> {
    fn from(statement: &'a Statement) -> Self {
        Self {
            id: statement.id.0,
            text: &statement.digest_text,
            kind: statement.kind.label(),
        }
    }
}

/// Who asked: interned once per login, schema change or app change, so that counting copies nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User name as logged in.
    pub user: Name,
    /// App, by [`app_name`].
    pub app: Name,
    /// Default schema, empty when none.
    pub schema: Name,
}

/// One execution, from its first byte read to its last byte sent. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct QueryEvent<'a> {
    /// What was run.
    pub digest: Digest<'a>,
    /// Who ran it.
    pub identity: &'a Identity,
    /// Who answered.
    pub served_by: ServedBy,
    /// Why that one: the label of the router's reason.
    pub reason: &'static str,
    /// When the last byte was handed to the client's socket.
    pub ended: Instant,
    /// From the request's last byte to `ended`: queue, backend, drain and our own time.
    pub total_us: u64,
    /// Waiting for a backend connection.
    pub queue_us: u64,
    /// From the request sent to the backend's last byte, less `drain_us`.
    pub backend_us: u64,
    /// From the request sent to the backend's first byte.
    pub first_byte_us: u64,
    /// Waiting for the client to take the answer.
    pub drain_us: u64,
    /// Rows sent.
    pub rows: u64,
    /// Bytes of the request with headers.
    pub bytes_in: u64,
    /// Bytes of the answer with headers.
    pub bytes_out: u64,
    /// Rows changed.
    pub affected_rows: u64,
    /// Status bits of the last packet; 0 after an error, whose packet has none.
    pub status: u16,
    /// Warnings of the last packet.
    pub warnings: u16,
    /// Error code and message when the answer was an error.
    pub error: Option<(u16, &'a str)>,
    /// The statement as written, for samples of slow ones; kept only when `analytics.sample_literals` is on.
    pub text: Option<&'a [u8]>,
}

impl<'a> QueryEvent<'a> {
    /// An event with nothing measured yet.
    pub fn new(digest: Digest<'a>, identity: &'a Identity, ended: Instant) -> Self {
        Self {
            digest,
            identity,
            served_by: ServedBy::Backend,
            reason: "",
            ended,
            total_us: 0,
            queue_us: 0,
            backend_us: 0,
            first_byte_us: 0,
            drain_us: 0,
            rows: 0,
            bytes_in: 0,
            bytes_out: 0,
            affected_rows: 0,
            status: 0,
            warnings: 0,
            error: None,
            text: None,
        }
    }
}

/// Longest app name; what is longer is cut at a character.
pub const APP_BYTES_MAX: usize = 64;

/// Status bit of a result, from the server's protocol documentation.
const STATUS_NO_INDEX_USED: u16 = 0x20;

impl QueryEvent<'_> {
    /// Whether the server said that it used no index.
    pub fn no_index_used(&self) -> bool {
        self.status & STATUS_NO_INDEX_USED != 0
    }
}

/// The app of a statement: the connection attribute `program_name`, else the query attribute of that name, else the
/// statement's sqlcommenter comment (with or without its marks). Cut to [`APP_BYTES_MAX`]; empty when nobody said.
/// Writes into `into`, so that a session does this without allocating.
pub fn app_name(
    program_name: Option<&[u8]>,
    attribute: Option<&[u8]>,
    comment: Option<&[u8]>,
    into: &mut String,
) {
    into.clear();
    let given = [program_name, attribute]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty());
    if let Some(name) = given {
        push_clean(name.iter().copied(), into);
    } else if let Some(value) = comment.and_then(comment_value) {
        push_clean(percent_encoding::percent_decode(value), into);
    }
}

/// The value of `application`, `app` or `service` in `key='value',...` (sqlcommenter) or `key:value,...` (marginalia).
fn comment_value(comment: &[u8]) -> Option<&[u8]> {
    let comment = comment.strip_prefix(b"/*").unwrap_or(comment);
    let comment = comment.strip_suffix(b"*/").unwrap_or(comment);
    comment.split(|byte| *byte == b',').find_map(|pair| {
        let at = pair.iter().position(|byte| matches!(byte, b'=' | b':'))?;
        let (key, value) = (
            pair.get(..at)?.trim_ascii(),
            pair.get(at + 1..)?.trim_ascii(),
        );
        let value = value
            .strip_prefix(b"'")
            .and_then(|value| value.strip_suffix(b"'"))
            .unwrap_or(value);
        (matches!(key, b"application" | b"app" | b"service") && !value.is_empty()).then_some(value)
    })
}

/// Appends the bytes as text: not-UTF-8 and control characters become `?`, and it stops at [`APP_BYTES_MAX`].
fn push_clean(bytes: impl Iterator<Item = u8>, into: &mut String) {
    // One more character than fits, so that a character that ends at the limit is whole.
    let mut room = [0; APP_BYTES_MAX + 4];
    let mut length = 0;
    for (slot, byte) in room.iter_mut().zip(bytes) {
        *slot = byte;
        length += 1;
    }
    let raw = room.get(..length).unwrap_or_default();
    for chunk in raw.utf8_chunks() {
        let broken = (!chunk.invalid().is_empty()).then_some('?');
        for character in chunk.valid().chars().chain(broken) {
            if into.len() + character.len_utf8() > APP_BYTES_MAX {
                return;
            }
            into.push(if character.is_control() {
                '?'
            } else {
                character
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(program: Option<&str>, attribute: Option<&str>, comment: Option<&str>) -> String {
        let mut into = String::from("left over");
        app_name(
            program.map(str::as_bytes),
            attribute.map(str::as_bytes),
            comment.map(str::as_bytes),
            &mut into,
        );
        into
    }

    #[test]
    fn the_first_that_names_an_app_wins() {
        let comment = Some("controller='orders',application='web%20shop',traceparent='00-ab'");
        assert_eq!(app(Some("billing"), Some("job"), comment), "billing");
        assert_eq!(app(Some(""), Some("job"), comment), "job");
        assert_eq!(app(None, None, comment), "web shop");
        assert_eq!(
            app(None, None, Some("application:Shop,controller:x")),
            "Shop"
        );
        assert_eq!(app(None, None, Some("/* app='x y' */")), "x y");
        assert_eq!(app(None, None, Some("a plain comment")), "");
        assert_eq!(app(None, None, None), "");
    }

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(app(Some("a\nb\u{7f}"), None, None), "a?b?");
        assert_eq!(app(Some(&"x".repeat(500)), None, None).len(), APP_BYTES_MAX);
        let long = format!("{}€", "x".repeat(62));
        assert_eq!(app(Some(&long), None, None), "x".repeat(62));
        let mut into = String::new();
        app_name(Some(b"a\xff\xfeb"), None, None, &mut into);
        assert_eq!(into, "a??b");
    }

    #[test]
    fn labels_and_places_agree() {
        for (place, served_by) in ServedBy::ALL.into_iter().enumerate() {
            assert_eq!(served_by.index(), place);
        }
    }
}
