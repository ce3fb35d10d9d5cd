//! Whether the bytes of a literal, or the value of a parameter, are of the kind a place needs for an exact answer without
//! warnings. Reads bytes only.

use crate::views::refusal::Refusal;

/// What the bytes of a literal must be at one place for the answer from a view to be exact and free of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// A plain number.
    Number,
    /// A plain integer, or a string that is nothing but one; not negative beside an unsigned column, where the server's
    /// answer depends on its plan.
    Integer {
        /// The column is unsigned.
        unsigned: bool,
    },
    /// A year of four digits.
    Year,
    /// One quoted string.
    Text,
    /// A complete, valid date, with or without a time of day.
    Date,
    /// A date at midnight.
    DayStart,
    /// The last moment of a day at this many digits of a second.
    DayEnd {
        /// Digits behind the second.
        fraction: u8,
    },
    /// An unsigned integer.
    Count,
}

/// The value of a parameter of a prepared statement, as the client bound it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterValue<'a> {
    /// NULL.
    Null,
    /// An integer of any size.
    Int(i128),
    /// FLOAT or DOUBLE.
    Double(f64),
    /// A string, DECIMAL or blob, in the session's character set.
    Bytes(&'a [u8]),
    /// DATE, DATETIME or TIMESTAMP: year, month, day, hour, minute, second, microsecond.
    Moment([u32; 7]),
    /// TIME and all else.
    Other,
}

impl Check {
    /// Tests the bytes of a literal (sign and quotes included).
    ///
    /// # Errors
    /// The rule that the literal does not meet.
    pub fn literal(self, bytes: &[u8]) -> Result<(), Refusal> {
        match self {
            Self::Number => met(is_number(bytes), Refusal::LiteralType),
            Self::Integer { unsigned } => {
                let content = string_content(bytes);
                let spaced = content.is_some_and(|inner| inner.contains(&b' '));
                let integer = is_integer(content.unwrap_or(bytes), unsigned);
                met(integer && !spaced, Refusal::LiteralType)
            }
            Self::Year => met(is_year(bytes), Refusal::LiteralType),
            Self::Text => met(string_content(bytes).is_some(), Refusal::LiteralType),
            Self::Count => met(is_count(bytes), Refusal::LimitForm),
            Self::Date | Self::DayStart | Self::DayEnd { .. } => {
                let inner = string_content(bytes).ok_or(Refusal::LiteralType)?;
                self.moment(Moment::parse(inner).ok_or(Refusal::DateInvalid)?)
            }
        }
    }

    /// Tests the value of a parameter in the literal's place.
    ///
    /// # Errors
    /// The rule that the value does not meet.
    pub fn parameter(self, value: &ParameterValue<'_>) -> Result<(), Refusal> {
        match (self, value) {
            (Self::Number, ParameterValue::Int(_)) => Ok(()),
            (Self::Number, ParameterValue::Bytes(bytes)) => {
                met(is_number(bytes), Refusal::LiteralType)
            }
            (Self::Integer { unsigned }, ParameterValue::Int(value)) => {
                met(!unsigned || *value >= 0, Refusal::LiteralType)
            }
            (Self::Year, ParameterValue::Int(year)) => {
                met((1901..=2155).contains(year), Refusal::LiteralType)
            }
            (Self::Text, ParameterValue::Bytes(_)) => Ok(()),
            (Self::Count, ParameterValue::Int(count)) => met(
                (0..=i128::from(u64::MAX)).contains(count),
                Refusal::LimitForm,
            ),
            (Self::Date | Self::DayStart | Self::DayEnd { .. }, ParameterValue::Bytes(bytes)) => {
                self.moment(Moment::parse(bytes).ok_or(Refusal::DateInvalid)?)
            }
            (Self::Date | Self::DayStart | Self::DayEnd { .. }, ParameterValue::Moment(parts)) => {
                self.moment(Moment::from_parts(*parts).ok_or(Refusal::DateInvalid)?)
            }
            (Self::Count, _) => Err(Refusal::LimitForm),
            _ => Err(Refusal::LiteralType),
        }
    }

    fn moment(self, moment: Moment) -> Result<(), Refusal> {
        let aligned = match self {
            Self::DayStart => moment.is_midnight(),
            Self::DayEnd { fraction } => moment.ends_day(fraction),
            _ => true,
        };
        met(aligned, Refusal::RangeNotAligned)
    }
}

fn met(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

/// Most digits of a number that is taken: more could pass the limits of DECIMAL.
const NUMBER_BYTES_MAX: usize = 40;
/// Most digits of an integer that is taken: all of them fit every integer type the server compares in.
const INTEGER_BYTES_MAX: usize = 15;

/// `12`, `1.50`, `.5`, `-3`: an exact number without exponent.
fn is_number(bytes: &[u8]) -> bool {
    is_unsigned_number(skip_sign(bytes).0)
}

fn is_unsigned_number(bytes: &[u8]) -> bool {
    let points = bytes.iter().filter(|b| **b == b'.').count();
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    digits > 0 && points <= 1 && digits + points == bytes.len() && bytes.len() <= NUMBER_BYTES_MAX
}

fn is_integer(bytes: &[u8], unsigned: bool) -> bool {
    let (digits, _) = skip_sign(bytes);
    let negative = bytes.first() == Some(&b'-');
    !digits.is_empty()
        && digits.len() <= INTEGER_BYTES_MAX
        && digits.iter().all(u8::is_ascii_digit)
        && !(unsigned && negative)
}

fn is_year(bytes: &[u8]) -> bool {
    bytes.len() == 4
        && bytes.iter().all(u8::is_ascii_digit)
        && (*b"1901"..=*b"2155").contains(&digits4(bytes))
}

fn digits4(bytes: &[u8]) -> [u8; 4] {
    bytes.try_into().unwrap_or_default()
}

fn is_count(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= 18 && bytes.iter().all(u8::is_ascii_digit)
}

/// The bytes behind a folded sign, and whether there was one.
pub fn skip_sign(bytes: &[u8]) -> (&[u8], bool) {
    match bytes.split_first() {
        Some((b'-' | b'+', rest)) => (rest.trim_ascii_start(), true),
        _ => (bytes, false),
    }
}

/// The bytes between the quotes, when the literal is exactly one quoted string (not two beside each other, no introducer).
/// Escapes stay as they are.
pub fn string_content(bytes: &[u8]) -> Option<&[u8]> {
    let (quote, rest) = bytes.split_first()?;
    let (last, inner) = rest.split_last()?;
    if !matches!(quote, b'\'' | b'"') || quote != last {
        return None;
    }
    let mut at = 0;
    while let Some(byte) = inner.get(at) {
        let doubled = inner.get(at + 1);
        match byte {
            // An escaped last byte would have been the closing quote.
            b'\\' if doubled.is_none() => return None,
            b'\\' => at += 2,
            byte if byte == quote && doubled == Some(quote) => at += 2,
            byte if byte == quote => return None,
            _ => at += 1,
        }
    }
    Some(inner)
}

/// The content of a string that means the same in every session: printable ASCII without quotes and backslashes.
pub fn plain_content(text: &str) -> Option<&str> {
    let inner = std::str::from_utf8(string_content(text.as_bytes())?).ok()?;
    inner
        .bytes()
        .all(|b| (b' '..=b'~').contains(&b) && !matches!(b, b'\'' | b'"' | b'\\' | b'`'))
        .then_some(inner)
}

/// A date with or without a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    hour: u32,
    minute: u32,
    second: u32,
    microsecond: u32,
}

impl Moment {
    /// `YYYY-MM-DD`, or that and `HH:MM:SS` with up to six digits of a second, separated by one space. Nothing else: other
    /// separators, short years and offsets are legal for the server but warn or depend on more than the literal.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let date = bytes.get(..10)?;
        let number = |from: usize, to: usize| -> Option<u32> {
            let digits = bytes.get(from..to)?;
            digits.iter().all(u8::is_ascii_digit).then(|| {
                digits
                    .iter()
                    .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
            })
        };
        if date.get(4) != Some(&b'-') || date.get(7) != Some(&b'-') {
            return None;
        }
        let mut parts = [number(0, 4)?, number(5, 7)?, number(8, 10)?, 0, 0, 0, 0];
        if bytes.len() > 10 {
            let colons = bytes.get(13) == Some(&b':') && bytes.get(16) == Some(&b':');
            if bytes.get(10) != Some(&b' ') || !colons {
                return None;
            }
            parts[3] = number(11, 13)?;
            parts[4] = number(14, 16)?;
            parts[5] = number(17, 19)?;
            if bytes.len() > 19 {
                let digits = u32::try_from(bytes.len() - 20).ok()?;
                if bytes.get(19) != Some(&b'.') || !(1..=6).contains(&digits) {
                    return None;
                }
                parts[6] = number(20, bytes.len())? * 10u32.pow(6 - digits);
            }
        }
        Self::from_parts(parts)
    }

    fn from_parts([year, month, day, hour, minute, second, microsecond]: [u32; 7]) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        let valid = (1000..=9999).contains(&year)
            && (1..=days).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60
            && microsecond < 1_000_000;
        valid.then_some(Self {
            hour,
            minute,
            second,
            microsecond,
        })
    }

    fn is_midnight(self) -> bool {
        (self.hour, self.minute, self.second, self.microsecond) == (0, 0, 0, 0)
    }

    /// The last moment of its day that a column with this many digits can hold.
    fn ends_day(self, fraction: u8) -> bool {
        let unit = 10u32.pow(6 - u32::from(fraction.min(6)));
        let last = if fraction == 0 { 0 } else { 1_000_000 - unit };
        (self.hour, self.minute, self.second, self.microsecond) == (23, 59, 59, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for good in ["1", "1.5", ".5", "-3", "- 3", "5."] {
            assert_eq!(Check::Number.literal(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", "1e5", "0x1F", "'1'", "1.2.3", ".", "?", "--1"] {
            assert!(Check::Number.literal(bad.as_bytes()).is_err(), "{bad}");
        }
        let signed = Check::Integer { unsigned: false };
        let unsigned = Check::Integer { unsigned: true };
        for good in ["12", "-12", "- 12", "'12'", "'-12'", "0"] {
            assert_eq!(signed.literal(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "'12abc'",
            "' 12'",
            "'- 12'",
            "'1e3'",
            "1.5",
            "'1.5'",
            "1234567890123456",
            "''",
            "-",
        ] {
            assert!(signed.literal(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(unsigned.literal(b"7"), Ok(()));
        assert!(unsigned.literal(b"-7").is_err() && unsigned.literal(b"'-7'").is_err());
        assert!(unsigned.parameter(&ParameterValue::Int(-1)).is_err());
    }

    #[test]
    fn one_string_only() {
        for good in ["'a'", "\"a\"", "''", "'it''s'", r"'a\'b'", "'\"'", r"'a\\'"] {
            assert!(string_content(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "'a' 'b'", "'a", "a", r"'a\'", "_utf8'a'", "n'a'", "'a\"", "x'41'",
        ] {
            assert!(string_content(bad.as_bytes()).is_none(), "{bad}");
        }
        assert_eq!(plain_content("'INVOICE'"), Some("INVOICE"));
        assert_eq!(plain_content("'a''b'"), None);
        assert_eq!(plain_content("'é'"), None);
    }

    #[test]
    fn dates_must_be_complete_and_valid() {
        for good in [
            "2024-02-29",
            "2024-01-01 00:00:00",
            "2024-01-01 23:59:59.999999",
        ] {
            let literal = format!("'{good}'");
            assert_eq!(Check::Date.literal(literal.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "2023-02-29",
            "2024-1-1",
            "20240101",
            "2024/01/01",
            "24-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01 24:00:00",
            "2024-01-01 00:00",
            "2024-00-10",
            "0000-00-00",
            "2024-01-01 00:00:00+02:00",
            "2024-01-01 ",
            "",
        ] {
            let literal = format!("'{bad}'");
            assert_eq!(
                Check::Date.literal(literal.as_bytes()),
                Err(Refusal::DateInvalid),
                "{bad}"
            );
        }
        assert_eq!(Check::Date.literal(b"20240101"), Err(Refusal::LiteralType));
    }

    #[test]
    fn alignment() {
        let not = Err(Refusal::RangeNotAligned);
        assert_eq!(Check::DayStart.literal(b"'2024-01-01'"), Ok(()));
        assert_eq!(
            Check::DayStart.literal(b"'2024-01-01 00:00:00.000'"),
            Ok(())
        );
        assert_eq!(Check::DayStart.literal(b"'2024-01-01 00:00:01'"), not);
        let end = |fraction| Check::DayEnd { fraction };
        assert_eq!(end(0).literal(b"'2024-01-01 23:59:59'"), Ok(()));
        assert_eq!(end(0).literal(b"'2024-01-01'"), not);
        assert_eq!(end(3).literal(b"'2024-01-01 23:59:59'"), not);
        assert_eq!(end(3).literal(b"'2024-01-01 23:59:59.999'"), Ok(()));
        assert_eq!(end(3).literal(b"'2024-01-01 23:59:59.9999'"), not);
        assert_eq!(end(6).literal(b"'2024-01-01 23:59:59.999999'"), Ok(()));
        assert_eq!(end(0).literal(b"'2024-01-01 23:59:59.9'"), not);
        let last = ParameterValue::Moment([2024, 1, 31, 23, 59, 59, 0]);
        assert_eq!(end(0).parameter(&last), Ok(()));
        assert_eq!(end(6).parameter(&last), not);
    }
}
