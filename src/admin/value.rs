//! One cell and one row of an admin table. Owns no format: text, binary and JSON forms are made where they are sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One cell. NULL means "not known" and is never used for zero.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL: not known, or not applicable.
    Null,
    /// Any whole number. Counters beyond `i64::MAX` stop there.
    Int(i64),
    /// A floating point number.
    Real(f64),
    /// Text, or a time as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC.
    Text(Arc<str>),
}

/// One row: as many values as the table has columns, in their order.
pub type Row = Vec<Value>;

/// The rows of one table at one moment.
pub type Rows = Arc<Vec<Row>>;

impl Value {
    /// A duration in whole microseconds.
    pub fn micros(duration: Duration) -> Self {
        Self::Int(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }

    /// A moment as UTC text with microseconds, the form of every DATETIME(6) column here.
    pub fn moment(at: SystemTime) -> Self {
        match at.duration_since(UNIX_EPOCH) {
            Ok(since) => Self::unix_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
            Err(_) => Self::Null,
        }
    }

    /// A moment that may not have come yet.
    pub fn moment_or_null(at: Option<SystemTime>) -> Self {
        at.map_or(Self::Null, Self::moment)
    }

    /// Text cut after so many characters; the column says how many it holds.
    pub fn cut(self, characters_max: usize) -> Self {
        match &self {
            Self::Text(text) => match text.char_indices().nth(characters_max) {
                Some((end, _)) => text[..end].into(),
                None => self,
            },
            _ => self,
        }
    }

    /// A moment given as microseconds since 1970-01-01 UTC; 0 means "never" and becomes NULL.
    pub fn unix_micros(micros: u64) -> Self {
        if micros == 0 {
            return Self::Null;
        }
        Self::Text(super::time::format_micros(i64::try_from(micros).unwrap_or(i64::MAX)).into())
    }

    /// A moment given as milliseconds since 1970-01-01 UTC; 0 means "never" and becomes NULL.
    pub fn unix_millis(millis: u64) -> Self {
        Self::unix_micros(millis.saturating_mul(1000))
    }

    /// A whole minute, given as minutes since 1970-01-01 UTC; 0 becomes NULL. Written without a fraction, as people write
    /// minutes: moments are compared as text.
    pub fn unix_minutes(minutes: u64) -> Self {
        const TO_SECONDS: usize = "0000-00-00 00:00:00".len();
        Self::unix_millis(minutes.saturating_mul(60_000)).cut(TO_SECONDS)
    }

    /// A digest as its 32 hex digits; 0 means "none" and becomes NULL.
    pub fn digest(digest: u128) -> Self {
        if digest == 0 {
            return Self::Null;
        }
        format!("{digest:032x}").into()
    }

    /// A text where empty means "none" and becomes NULL.
    pub fn text_or_null(text: impl AsRef<str> + Into<Self>) -> Self {
        if text.as_ref().is_empty() {
            Self::Null
        } else {
            text.into()
        }
    }

    /// Bytes in memory that it takes, for the limits on results.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                _ => 0,
            }
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(number: $type) -> Self {
                Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
    )*};
}
from_integer!(u8, u16, u32, u64, usize, i32, i64);

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        // A ratio with an empty denominator is not known; it is neither zero nor infinite.
        if number.is_finite() {
            Self::Real(number)
        } else {
            Self::Null
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::Text(text.clone())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stop_at_the_largest_bigint() {
        assert_eq!(Value::from(u64::MAX), Value::Int(i64::MAX));
        assert_eq!(Value::from(-3i64), Value::Int(-3));
    }

    #[test]
    fn unknown_is_null_and_not_zero() {
        assert_eq!(Value::from(f64::NAN), Value::Null);
        assert_eq!(Value::from(None::<u64>), Value::Null);
        assert_eq!(Value::unix_micros(0), Value::Null);
    }

    #[test]
    fn moments_are_utc_text() {
        assert_eq!(
            Value::unix_micros(1_000_000_000_000_123),
            Value::from("2001-09-09 01:46:40.000123")
        );
        assert_eq!(
            Value::unix_minutes(16_666_666),
            Value::from("2001-09-09 01:46:00")
        );
    }
}
