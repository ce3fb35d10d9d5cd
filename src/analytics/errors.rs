//! Errors that clients were given, per code, user, app and schema, with the last message made safe to show.
//! Never keeps a literal unless the operator asked for samples.

use std::sync::Arc;

use parking_lot::Mutex;

use super::counter::Counter;
use super::event::Identity;
use super::names::OTHER;
use super::parts::{Local, Shared};

/// A message is cut after this many bytes.
const MESSAGE_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    code: u16,
    user: u32,
    app: u32,
    schema: u32,
}

/// One worker's part of an error row.
#[derive(Debug)]
pub(super) struct Part {
    code: u16,
    names: [Arc<str>; 3],
    count: Counter,
    first_ms: Counter,
    last_ms: Counter,
    message: Mutex<String>,
}

/// One error as read.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorRow {
    /// The code; 0 for what found no row of its own.
    pub code: u16,
    /// Whose statement it was.
    pub user: Arc<str>,
    /// Which app's.
    pub app: Arc<str>,
    /// In which schema.
    pub schema: Arc<str>,
    /// How often.
    pub count: u64,
    /// When first, in milliseconds since 1970.
    pub first_ms: u64,
    /// When last.
    pub last_ms: u64,
    /// A recent message, redacted.
    pub message: String,
}

/// All errors.
#[derive(Debug)]
pub struct Errors {
    shared: Arc<Shared<Key, Part>>,
    keep_literals: bool,
}

impl Errors {
    /// At most `max` rows; messages with their literals only when `keep_literals`.
    pub fn new(max: usize, keep_literals: bool) -> Self {
        Self {
            shared: Arc::new(Shared::new(max)),
            keep_literals,
        }
    }

    /// Errors that were counted in `_other`.
    pub fn lost(&self) -> u64 {
        self.shared.lost()
    }

    /// A row for each code, user, app and schema, latest first.
    pub fn rows(&self) -> Vec<ErrorRow> {
        let mut rows: Vec<ErrorRow> = self
            .shared
            .rows()
            .iter()
            .filter_map(|(_, parts)| merged(parts))
            .collect();
        rows.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then(a.code.cmp(&b.code)));
        rows
    }
}

fn merged(parts: &[Arc<Part>]) -> Option<ErrorRow> {
    let latest = parts.iter().max_by_key(|part| part.last_ms.get())?;
    let [user, app, schema] = latest.names.clone();
    Some(ErrorRow {
        code: latest.code,
        user,
        app,
        schema,
        count: parts.iter().map(|part| part.count.get()).sum(),
        first_ms: parts
            .iter()
            .map(|part| part.first_ms.get())
            .min()
            .unwrap_or(0),
        last_ms: latest.last_ms.get(),
        message: latest.message.lock().clone(),
    })
}

/// One worker's side.
#[derive(Debug)]
pub(super) struct LocalErrors {
    parts: Local<Key, Part>,
    keep_literals: bool,
}

impl LocalErrors {
    pub(super) fn new(shared: &Errors) -> Self {
        let other = Key {
            code: 0,
            user: 0,
            app: 0,
            schema: 0,
        };
        Self {
            parts: Local::new(Arc::clone(&shared.shared), other),
            keep_literals: shared.keep_literals,
        }
    }

    pub(super) fn record(&mut self, code: u16, message: &str, identity: &Identity, at_ms: u64) {
        let (user, app, schema) = (&identity.user, &identity.app, &identity.schema);
        let key = Key {
            code,
            user: user.id(),
            app: app.id(),
            schema: schema.id(),
        };
        let keep_literals = self.keep_literals;
        let make = |other| Part {
            code: if other { 0 } else { code },
            names: if other {
                std::array::from_fn(|_| OTHER.into())
            } else {
                [user, app, schema].map(|name| Arc::clone(name.text()))
            },
            count: Counter::default(),
            first_ms: Counter::default(),
            last_ms: Counter::default(),
            message: Mutex::default(),
        };
        self.parts.with(key, make, |part| {
            part.count.add(1);
            part.first_ms.lower(at_ms);
            part.last_ms.raise(at_ms);
            // While somebody reads, the message of before is as good an example as this one.
            if let Some(mut kept) = part.message.try_lock() {
                if keep_literals {
                    kept.clear();
                    push_bounded(message, &mut kept);
                } else {
                    redact(code, message, &mut kept);
                }
            }
        });
    }
}

/// Codes whose quoted words are names (tables, columns, keys, users), not values: what they say is safe to keep.
const NAMES_ONLY: &[u16] = &[
    1007, 1008, 1044, 1045, 1046, 1048, 1049, 1050, 1051, 1052, 1054, 1055, 1060, 1061, 1091, 1093,
    1104, 1109, 1110, 1136, 1140, 1142, 1143, 1146, 1176, 1205, 1213, 1227, 1264, 1305, 1317, 1364,
    1370, 1406, 1451, 1452, 3024, 3819,
];
/// Duplicate key: the first quoted word is a value, the last one the key's name.
const DUPLICATE_ENTRY: u16 = 1062;
/// SIGNAL: the whole message was written by somebody's procedure.
const SIGNAL: u16 = 1644;

/// Writes `message` into `into` without the values in it. Values stand in quotes; where a value may itself hold a
/// quote, everything from the first quote to the last goes.
pub fn redact(code: u16, message: &str, into: &mut String) {
    into.clear();
    if NAMES_ONLY.contains(&code) {
        return push_bounded(message, into);
    }
    if code == SIGNAL {
        return into.push_str("(text of a SIGNAL, not kept)");
    }
    let quote = |character| matches!(character, '\'' | '"');
    let (Some(first), Some(last)) = (message.find(quote), message.rfind(quote)) else {
        return push_bounded(message, into);
    };
    if first == last && is_not(message, first) {
        return push_bounded(message, into);
    }
    let tail_from = match code {
        DUPLICATE_ENTRY => message.rfind(" for key '").filter(|at| *at > first),
        // Never closed, since the message was cut: all the rest is the value.
        _ if first == last => None,
        _ => Some(last + 1),
    };
    push_bounded(message.get(..first).unwrap_or_default(), into);
    into.push_str("'?'");
    push_bounded(
        tail_from
            .and_then(|from| message.get(from..))
            .unwrap_or_default(),
        into,
    );
}

/// Whether the quote at `at` is the apostrophe of a "Can't" or "doesn't", which opens no value.
fn is_not(message: &str, at: usize) -> bool {
    let (before, behind) = message.split_at(at);
    before.ends_with('n') && (behind.starts_with("'t ") || behind == "'t")
}

fn push_bounded(text: &str, into: &mut String) {
    let room = MESSAGE_BYTES_MAX.saturating_sub(into.len());
    let end = (0..=room.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    into.push_str(text.get(..end).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::names::Names;

    #[track_caller]
    fn check(code: u16, message: &str, expected: &str) {
        let mut into = String::from("before");
        redact(code, message, &mut into);
        assert_eq!(into, expected);
    }

    #[test]
    fn values_go_and_names_stay() {
        check(
            1146,
            "Table 'shop.orders' doesn't exist",
            "Table 'shop.orders' doesn't exist",
        );
        check(
            1062,
            "Duplicate entry 'ann@x' for key 'u.email'",
            "Duplicate entry '?' for key 'u.email'",
        );
        check(
            1062,
            "Duplicate entry 'it's for key 'a'' for key 'u.k'",
            "Duplicate entry '?' for key 'u.k'",
        );
        check(
            1064,
            "... near 'WHERE card='4111'' at line 1",
            "... near '?' at line 1",
        );
        check(
            1366,
            "Incorrect integer value: 'pin 12' for column 'a' at row 1",
            "Incorrect integer value: '?' at row 1",
        );
        check(
            1644,
            "account 4711 is closed",
            "(text of a SIGNAL, not kept)",
        );
        check(2013, "Lost connection", "Lost connection");
        check(1062, "odd 'x'", "odd '?'");
        check(2003, "Can't connect", "Can't connect");
        check(1366, "Incorrect value: 'pin 12 and", "Incorrect value: '?'");
    }

    #[test]
    fn messages_are_bounded_at_a_character() {
        let mut into = String::new();
        redact(2013, &"€".repeat(200), &mut into);
        assert_eq!(into.len(), 255);
    }

    #[test]
    fn counts_per_user_and_bounds_rows() {
        let names = Names::new(9);
        let of = |user| Identity {
            user: names.intern(user),
            app: names.intern("app"),
            schema: names.intern(""),
        };
        let errors = Errors::new(1, false);
        let mut local = LocalErrors::new(&errors);
        local.record(1146, "Table 'a.b' doesn't exist", &of("ann"), 5);
        local.record(1146, "Table 'a.c' doesn't exist", &of("ann"), 9);
        local.record(1054, "Unknown column 'x' in 'field list'", &of("bob"), 7);
        let rows = errors.rows();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.code, &*row.user, row.count, &*row.message))
            .collect();
        assert_eq!(
            seen,
            [
                (1146, "ann", 2, "Table 'a.c' doesn't exist"),
                (0, OTHER, 1, "Unknown column 'x' in 'field list'")
            ]
        );
        assert_eq!(
            (rows[0].first_ms, rows[0].last_ms, errors.lost()),
            (5, 9, 1)
        );
    }
}
