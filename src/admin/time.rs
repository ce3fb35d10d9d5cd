//! Calendar arithmetic for DATETIME values in UTC: text to microseconds since 1970 and back, and INTERVAL units.
//! Proleptic Gregorian calendar, years 0000 to 9999 as in MySQL; no time zones and no leap seconds.

/// Microseconds in one day.
pub const DAY_US: i64 = 86_400_000_000;

/// Days since 1970-01-01 of a date. Months outside 1..=12 are the caller's error.
pub fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is a year's last day.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date (year, month, day) of a number of days since 1970-01-01.
pub fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// How many days a month has.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    let next = if month == 12 {
        days_from_date(year + 1, 1, 1)
    } else {
        days_from_date(year, month + 1, 1)
    };
    next - days_from_date(year, month, 1)
}

/// A moment taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Year, 0 to 9999.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: i64,
    /// Day of the month from 1.
    pub day: i64,
    /// Hour, 0 to 23.
    pub hour: i64,
    /// Minute, 0 to 59.
    pub minute: i64,
    /// Second, 0 to 59.
    pub second: i64,
    /// Microsecond, 0 to 999999.
    pub micro: i64,
}

impl Moment {
    /// The moment that lies this many microseconds after 1970-01-01 UTC; years beyond 9999 stop at its end.
    pub fn from_micros(micros: i64) -> Self {
        let last = days_from_date(9999, 12, 31) * DAY_US + DAY_US - 1;
        let first = days_from_date(0, 1, 1) * DAY_US;
        let micros = micros.clamp(first, last);
        let (year, month, day) = date_from_days(micros.div_euclid(DAY_US));
        let rest = micros.rem_euclid(DAY_US);
        Self {
            year,
            month,
            day,
            hour: rest / 3_600_000_000,
            minute: rest / 60_000_000 % 60,
            second: rest / 1_000_000 % 60,
            micro: rest % 1_000_000,
        }
    }

    /// Microseconds since 1970-01-01 UTC.
    pub fn to_micros(self) -> i64 {
        days_from_date(self.year, self.month, self.day) * DAY_US
            + ((self.hour * 60 + self.minute) * 60 + self.second) * 1_000_000
            + self.micro
    }

    /// Reads `YYYY-MM-DD`, optionally followed by ` HH:MM[:SS[.f]]` (a `T` may stand for the space, a `Z` may follow).
    /// None when it is anything else or no such date exists.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('Z');
        let (date, clock) = match text.find([' ', 'T']) {
            Some(at) => (&text[..at], text[at + 1..].trim_start()),
            None => (text, ""),
        };
        let mut parts = date.split('-').map(number);
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() || year > 9999 || !(1..=12).contains(&month) {
            return None;
        }
        if !(1..=days_in_month(year, month)).contains(&day) {
            return None;
        }
        let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let (mut hour, mut minute, mut second) = (0, 0, 0);
        if !whole.is_empty() {
            let mut parts = whole.split(':').map(number);
            hour = parts.next()??;
            minute = parts.next()??;
            second = parts.next().unwrap_or(Some(0))?;
            if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
                return None;
            }
        }
        let micro = if fraction.is_empty() {
            0
        } else {
            let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
            number(&digits)?
        };
        Some(Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micro,
        })
    }
}

fn number(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`.
pub fn format_micros(micros: i64) -> String {
    let m = Moment::from_micros(micros);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
        m.year, m.month, m.day, m.hour, m.minute, m.second, m.micro
    )
}

/// An INTERVAL or TIMESTAMPDIFF unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A fixed number of microseconds.
    Micros(i64),
    /// A number of calendar months.
    Months(i64),
}

impl Unit {
    /// The unit of that name, in any case. Compound units (`DAY_HOUR`) are not known here.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MICROSECOND" => Self::Micros(1),
            "SECOND" => Self::Micros(1_000_000),
            "MINUTE" => Self::Micros(60_000_000),
            "HOUR" => Self::Micros(3_600_000_000),
            "DAY" => Self::Micros(DAY_US),
            "WEEK" => Self::Micros(7 * DAY_US),
            "MONTH" => Self::Months(1),
            "QUARTER" => Self::Months(3),
            "YEAR" => Self::Months(12),
            _ => return None,
        })
    }

    /// `micros` moved by `count` of this unit; months keep the day where the month has it, else its last day.
    /// None outside the calendar.
    pub fn add(self, micros: i64, count: f64) -> Option<i64> {
        match self {
            Self::Micros(unit) => {
                let delta = (count * unit as f64).round();
                if delta.abs() > 4e17 {
                    return None;
                }
                micros.checked_add(delta as i64)
            }
            Self::Months(unit) => {
                if count.abs() > 120_000.0 {
                    return None;
                }
                let mut m = Moment::from_micros(micros);
                let months = m.year * 12 + m.month - 1 + count.round() as i64 * unit;
                m.year = months.div_euclid(12);
                m.month = months.rem_euclid(12) + 1;
                if !(0..=9999).contains(&m.year) {
                    return None;
                }
                m.day = m.day.min(days_in_month(m.year, m.month));
                Some(m.to_micros())
            }
        }
    }

    /// Whole units from `from` to `to`, towards zero, as TIMESTAMPDIFF counts them.
    pub fn between(self, from: i64, to: i64) -> i64 {
        match self {
            Self::Micros(unit) => (to - from) / unit,
            Self::Months(unit) => {
                if to < from {
                    return -self.between(to, from);
                }
                let (a, b) = (Moment::from_micros(from), Moment::from_micros(to));
                let mut months = (b.year * 12 + b.month) - (a.year * 12 + a.month);
                let rest = |m: &Moment| (m.day, m.hour, m.minute, m.second, m.micro);
                if rest(&b) < rest(&a) {
                    months -= 1;
                }
                months / unit
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        let first = days_from_date(1900, 1, 1);
        let mut previous = (1899, 12, 31);
        for days in first..first + 146_097 {
            let (year, month, day) = date_from_days(days);
            assert_eq!(days_from_date(year, month, day), days);
            assert!((year, month, day) > previous);
            previous = (year, month, day);
        }
        assert_eq!(days_from_date(1970, 1, 1), 0);
        assert_eq!(days_in_month(2000, 2), 29);
        assert_eq!(days_in_month(1900, 2), 28);
    }

    #[test]
    fn text_is_read_and_written() {
        let micros = |text: &str| Moment::parse(text).map(Moment::to_micros);
        assert_eq!(micros("1970-01-02"), Some(DAY_US));
        assert_eq!(micros("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(micros("1970-01-01T00:01Z"), Some(60_000_000));
        for bad in [
            "",
            "now",
            "1970-13-01",
            "1970-02-30",
            "1970-01-01 25:00:00",
            "1-2-3-4",
        ] {
            assert_eq!(micros(bad), None, "{bad}");
        }
        assert_eq!(format_micros(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(format_micros(i64::MAX), "9999-12-31 23:59:59.999999");
    }

    #[test]
    fn units_move_and_count() {
        let at = |text: &str| Moment::parse(text).unwrap().to_micros();
        let month = Unit::from_name("month").unwrap();
        assert_eq!(month.add(at("2024-01-31"), 1.0), Some(at("2024-02-29")));
        assert_eq!(month.add(at("2024-03-31"), -1.0), Some(at("2024-02-29")));
        assert_eq!(month.between(at("2024-01-31"), at("2024-02-29")), 0);
        assert_eq!(month.between(at("2024-03-01"), at("2024-01-01")), -2);
        let minute = Unit::from_name("MINUTE").unwrap();
        assert_eq!(
            minute.add(at("2024-01-01"), 1.5),
            Some(at("2024-01-01 00:01:30"))
        );
        assert_eq!(minute.add(0, 1e300), None);
        assert_eq!(Unit::from_name("DAY_HOUR"), None);
    }
}
