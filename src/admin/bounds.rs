//! Bounds on the time column of a table that is read from a file: a WHERE on it decides what is read at all. SQLite checks
//! every row again, so bounds may be too wide and must never be too narrow.

use super::time::Moment;

/// From when to when rows are wanted, in microseconds since 1970, both ends included; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bounds {
    /// The first moment.
    pub from_us: Option<i64>,
    /// The last moment.
    pub to_us: Option<i64>,
}

impl Bounds {
    /// The bounds of a statement: what its column must not be before, and not after. Text that is not written as our own
    /// moments are compares in another order than time does, and bounds nothing.
    pub fn of_texts(from: Option<&str>, to: Option<&str>) -> Self {
        Self {
            from_us: from.and_then(micros),
            to_us: to.and_then(micros),
        }
    }
}

/// The moment of a text that is the beginning of one of ours, and at least a whole day.
fn micros(text: &str) -> Option<i64> {
    const FORM: &[u8] = b"0000-00-00 00:00:00.000000";
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    };
    let ours = (10..=FORM.len()).contains(&text.len()) && text.bytes().zip(FORM).all(fits);
    // Cut off within a number, it would be read as another moment.
    let whole = matches!(text.len(), 10 | 16 | 19 | 21..);
    (ours && whole).then(|| Moment::parse(text).map(Moment::to_micros))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_form_bounds() {
        let minute = Some(1_000_000_000_000_000 / 60_000_000 * 60_000_000);
        for text in [
            "2001-09-09 01:46",
            "2001-09-09 01:46:00",
            "2001-09-09 01:46:00.000000",
        ] {
            assert_eq!(micros(text), minute, "{text}");
        }
        assert_eq!(micros("1970-01-02"), Some(86_400_000_000));
        for text in [
            "",
            "2001",
            "2001-9-9",
            "2001-09-09T01:46",
            "2001-09-09 01:4",
            "2001-13-01",
            " 2001-09-09",
            "2001-09-09Z",
            "2001-09-09 01:46:00.0000000",
            "x",
            "\u{665}001-09-09",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    /// What compares as text between two bounds is between them in time.
    #[test]
    fn bounds_are_never_too_narrow() {
        let texts = [
            "2001-09-09",
            "2001-09-09 01:46",
            "2001-09-09 01:46:40.5",
            "2001-09-10 23:59:59.999999",
            "1999-12-31",
        ];
        for text in texts {
            for minute in (0..4_000).map(|at| 999_900_000_000_000 + at * 60_000_000) {
                let long = crate::admin::time::format_micros(minute);
                let bound = micros(text).unwrap();
                for row in [&long[..], &long[..19]] {
                    assert!(row < text || bound <= minute, "{row} {text}");
                    assert!(row > text || bound >= minute, "{row} {text}");
                }
            }
        }
    }
}
