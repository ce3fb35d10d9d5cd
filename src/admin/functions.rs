//! MySQL's functions that SQLite lacks or means differently, registered in the engine's connections. All are pure but NOW.
//! Any argument may be of any type: what cannot be read as the wanted type gives NULL, as MySQL does with a warning.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};

use super::time::{DAY_US, Moment, Unit, format_micros};
use super::value::Value;
use super::variables::VALUE_BYTES_MAX;

/// Longest pattern of LIKE and REGEXP, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

type Function = fn(&Arguments<'_, '_>) -> Option<Value>;

/// Arguments of one call, read leniently.
struct Arguments<'a, 'b>(&'a Context<'b>);

impl Arguments<'_, '_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn raw(&self, at: usize) -> ValueRef<'_> {
        if at < self.0.len() {
            self.0.get_raw(at)
        } else {
            ValueRef::Null
        }
    }

    fn text(&self, at: usize) -> Option<String> {
        match self.raw(at) {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(real_text(number)),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        }
    }

    fn number(&self, at: usize) -> Option<f64> {
        match self.raw(at) {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number as f64),
            ValueRef::Real(number) => Some(number),
            ValueRef::Text(_) | ValueRef::Blob(_) => Some(leading_number(&self.text(at)?)),
        }
    }

    fn whole(&self, at: usize) -> Option<i64> {
        match self.raw(at) {
            ValueRef::Integer(number) => Some(number),
            _ => Some(self.number(at)?.round() as i64),
        }
    }

    /// Microseconds since 1970 of a DATETIME text.
    fn moment(&self, at: usize) -> Option<i64> {
        Some(Moment::parse(&self.text(at)?)?.to_micros())
    }

    fn unit(&self, at: usize) -> Option<Unit> {
        Unit::from_name(&self.text(at)?)
    }

    fn value(&self, at: usize) -> Value {
        match self.raw(at) {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(_) | ValueRef::Blob(_) => self.text(at).into(),
        }
    }
}

/// A floating point number as MySQL writes it: whole ones without a fraction.
pub fn real_text(number: f64) -> String {
    if number == number.trunc() && number.abs() < 1e15 {
        format!("{number:.0}")
    } else {
        format!("{number:?}")
    }
}

/// The number that a text begins with, 0 when with none: MySQL's conversion.
fn leading_number(text: &str) -> f64 {
    let text = text.trim_start();
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let sign = matches!(c, '+' | '-') && (at == 0 || text[..at].ends_with(['e', 'E']));
        if !(c.is_ascii_digit() || c == '.' || c == 'e' || c == 'E' || sign) {
            break;
        }
        end = at + c.len_utf8();
    }
    // `1e` and `1.2.3` begin with a number too: the longest beginning that is one.
    (1..=end)
        .rev()
        .find_map(|end| text.get(..end)?.parse().ok())
        .unwrap_or(0.0)
}

fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A moment with as many digits of its fraction as it needs.
fn moment_text(micros: i64) -> Value {
    let text = format_micros(micros);
    let text = if micros % 1_000_000 == 0 {
        &text[..19]
    } else {
        text.trim_end_matches('0')
    };
    text.into()
}

/// A moment moved by an interval: a date stays a date when it is moved by whole days or more.
fn moved(a: &Arguments<'_, '_>, from: usize, count: f64, unit: usize) -> Option<Value> {
    let step = a.unit(unit)?;
    let micros = step.add(a.moment(from)?, count)?;
    let date = a.text(from)?.trim().len() <= 10 && !matches!(step, Unit::Micros(us) if us < DAY_US);
    Some(if date {
        format_micros(micros)[..10].into()
    } else {
        moment_text(micros)
    })
}

/// Registers every function.
///
/// # Errors
/// SQLite's own.
pub fn register(db: &Connection) -> Result<()> {
    let pure = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    for (names, counts, function) in TEXT_FUNCTIONS.iter().chain(NUMBER_FUNCTIONS) {
        add(db, names, counts, *function, pure)?;
    }
    for (names, counts, function) in TIME_FUNCTIONS {
        add(db, names, counts, *function, FunctionFlags::SQLITE_UTF8)?;
    }
    db.create_scalar_function("like", 2, pure, |ctx| like(ctx, Some('\\')))?;
    db.create_scalar_function("like", 3, pure, |ctx| {
        let escape = ctx.get::<Option<String>>(2)?;
        like(ctx, escape.and_then(|text| text.chars().next()))
    })?;
    db.create_scalar_function("regexp", 2, pure, regexp)
}

type Entry = (&'static [&'static str], &'static [i32], Function);

fn add(
    db: &Connection,
    names: &[&str],
    counts: &[i32],
    function: Function,
    flags: FunctionFlags,
) -> Result<()> {
    for name in names {
        for count in counts {
            db.create_scalar_function(*name, *count, flags, move |ctx| {
                Ok(function(&Arguments(ctx)).unwrap_or(Value::Null))
            })?;
        }
    }
    Ok(())
}

fn like(ctx: &Context<'_>, escape: Option<char>) -> Result<Option<bool>> {
    let arguments = Arguments(ctx);
    let (Some(pattern), Some(text)) = (arguments.text(0), arguments.text(1)) else {
        return Ok(None);
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(user_error("LIKE pattern too long"));
    }
    Ok(Some(is_like(&text, &pattern, escape)))
}

fn regexp(ctx: &Context<'_>) -> Result<Option<bool>> {
    let arguments = Arguments(ctx);
    let (Some(pattern), Some(text)) = (arguments.text(0), arguments.text(1)) else {
        return Ok(None);
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(user_error("regular expression too long"));
    }
    let regex: Arc<regex::Regex> = ctx.get_or_create_aux(0, |_| {
        regex::RegexBuilder::new(&pattern)
            .case_insensitive(true)
            .size_limit(1 << 20)
            .build()
    })?;
    Ok(Some(regex.is_match(&text)))
}

fn user_error(message: &str) -> Error {
    Error::UserFunctionError(message.into())
}

/// LIKE without regard to case. A failed match goes back to the last `%` only, which is enough and keeps it polynomial.
pub fn is_like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Any,
        One,
        Char(char),
    }
    let fold = |c: char| c.to_lowercase().next().unwrap_or(c);
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if Some(c) == escape => Part::Char(fold(chars.next().unwrap_or(c))),
            '%' => Part::Any,
            '_' => Part::One,
            c => Part::Char(fold(c)),
        });
    }
    let text: Vec<char> = text.chars().map(fold).collect();
    let (mut at, mut part) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                retry = Some((part, at));
                part += 1;
                continue;
            }
            Some(Part::One) => {}
            Some(Part::Char(c)) if *c == text[at] => {}
            _ => match retry {
                Some((any, from)) => {
                    retry = Some((any, from + 1));
                    (at, part) = (from + 1, any + 1);
                    continue;
                }
                None => return false,
            },
        }
        at += 1;
        part += 1;
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

static TEXT_FUNCTIONS: &[Entry] = &[
    (&["concat"], &[-1], |a| {
        let parts: Option<Vec<String>> = (0..a.count()).map(|at| a.text(at)).collect();
        bounded(parts?.concat())
    }),
    (&["left_of"], &[2], |a| {
        let count = usize::try_from(a.whole(1)?).unwrap_or(0);
        Some(a.text(0)?.chars().take(count).collect::<String>().into())
    }),
    (&["right_of"], &[2], |a| {
        let text = a.text(0)?;
        let count = usize::try_from(a.whole(1)?).unwrap_or(0);
        let skip = text.chars().count().saturating_sub(count);
        Some(text.chars().skip(skip).collect::<String>().into())
    }),
    (&["length", "octet_length"], &[1], |a| {
        Some(a.text(0)?.len().into())
    }),
    (&["char_length", "character_length"], &[1], |a| {
        Some(a.text(0)?.chars().count().into())
    }),
    (&["ucase", "upper"], &[1], |a| {
        Some(a.text(0)?.to_uppercase().into())
    }),
    (&["lcase", "lower"], &[1], |a| {
        Some(a.text(0)?.to_lowercase().into())
    }),
    (&["locate", "position"], &[2, 3], locate),
    (&["repeat"], &[2], |a| {
        let (text, count) = (a.text(0)?, usize::try_from(a.whole(1)?.max(0)).ok()?);
        if text.len().checked_mul(count)? > VALUE_BYTES_MAX {
            return None;
        }
        Some(text.repeat(count).into())
    }),
    (&["reverse"], &[1], |a| {
        Some(a.text(0)?.chars().rev().collect::<String>().into())
    }),
    (&["lpad"], &[3], |a| pad(a, true)),
    (&["rpad"], &[3], |a| pad(a, false)),
    (&["strcmp"], &[2], |a| {
        let (left, right) = (a.text(0)?.to_lowercase(), a.text(1)?.to_lowercase());
        Some(Value::Int(left.cmp(&right) as i64))
    }),
    (&["field"], &[-1], |a| {
        let wanted = a.text(0);
        let found = (1..a.count()).find(|at| wanted.is_some() && a.text(*at) == wanted);
        Some(found.unwrap_or(0).into())
    }),
    (&["elt"], &[-1], |a| {
        let at = usize::try_from(a.whole(0)?).ok()?;
        (at > 0).then(|| a.value(at))
    }),
    (&["is_null"], &[1], |a| {
        Some(matches!(a.raw(0), ValueRef::Null).into())
    }),
    (&["greatest"], &[-1], |a| extreme(a, true)),
    (&["least"], &[-1], |a| extreme(a, false)),
    (&["format"], &[2], |a| {
        Some(grouped(a.number(0)?, a.whole(1)?).into())
    }),
    (&["format_bytes"], &[1], |a| {
        Some(format_bytes(a.number(0)?).into())
    }),
    (&["format_pico_time"], &[1], |a| {
        Some(format_pico_time(a.number(0)?).into())
    }),
];

fn bounded(text: String) -> Option<Value> {
    (text.len() <= VALUE_BYTES_MAX).then(|| text.into())
}

fn locate(a: &Arguments<'_, '_>) -> Option<Value> {
    let (wanted, text) = (a.text(0)?.to_lowercase(), a.text(1)?.to_lowercase());
    let start = if a.count() > 2 { a.whole(2)? } else { 1 };
    let skip = usize::try_from(start - 1).ok();
    let Some(skip) = skip else {
        return Some(Value::Int(0));
    };
    let rest: String = text.chars().skip(skip).collect();
    let found = rest
        .find(&wanted)
        .map(|at| rest[..at].chars().count() + skip + 1);
    Some(found.unwrap_or(0).into())
}

fn pad(a: &Arguments<'_, '_>, left: bool) -> Option<Value> {
    let (text, fill) = (a.text(0)?, a.text(2)?);
    let length = usize::try_from(a.whole(1)?).ok()?;
    let count = text.chars().count();
    if length <= count {
        return Some(text.chars().take(length).collect::<String>().into());
    }
    if fill.is_empty() || length > VALUE_BYTES_MAX / 4 {
        return None;
    }
    let padding: String = fill.chars().cycle().take(length - count).collect();
    Some(
        if left {
            padding + &text
        } else {
            text + &padding
        }
        .into(),
    )
}

fn extreme(a: &Arguments<'_, '_>, greatest: bool) -> Option<Value> {
    let values: Vec<Value> = (0..a.count()).map(|at| a.value(at)).collect();
    if values.contains(&Value::Null) {
        return None;
    }
    let text = values.iter().any(|value| matches!(value, Value::Text(_)));
    let order = |left: &usize, right: &usize| {
        if text {
            a.text(*left).cmp(&a.text(*right))
        } else {
            let (left, right) = (a.number(*left), a.number(*right));
            left.partial_cmp(&right)
                .unwrap_or(std::cmp::Ordering::Equal)
        }
    };
    let indexes = 0..values.len();
    let at = if greatest {
        indexes.max_by(order)
    } else {
        indexes.min_by(order)
    };
    values.get(at?).cloned()
}

/// FORMAT: thousands separated by commas.
fn grouped(number: f64, decimals: i64) -> String {
    let decimals = usize::try_from(decimals.clamp(0, 30)).unwrap_or(0);
    let plain = format!("{:.decimals$}", number.abs());
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{text}{point}{fraction}")
}

fn format_bytes(bytes: f64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut amount = bytes;
    let mut unit = "bytes";
    for next in units {
        if amount.abs() < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    if unit == "bytes" {
        format!("{amount:4.0} {unit}")
    } else {
        format!("{amount:.2} {unit}")
    }
}

fn format_pico_time(picos: f64) -> String {
    let steps = [
        (1e3, "ps"),
        (1e6, "ns"),
        (1e9, "us"),
        (1e12, "ms"),
        (6e13, "s"),
        (3.6e15, "min"),
    ];
    let mut divisor = 1.0;
    for (limit, unit) in steps {
        if picos.abs() < limit {
            let amount = picos / divisor;
            return if unit == "ps" {
                format!("{amount:3.0} {unit}")
            } else {
                format!("{amount:.2} {unit}")
            };
        }
        divisor = limit;
    }
    let (amount, unit) = if picos.abs() < 8.64e16 {
        (3.6e15, "h")
    } else {
        (8.64e16, "d")
    };
    format!("{:.2} {unit}", picos / amount)
}

static NUMBER_FUNCTIONS: &[Entry] = &[
    (&["mod"], &[2], |a| {
        let (number, by) = (a.number(0)?, a.number(1)?);
        match (a.raw(0), a.raw(1)) {
            (ValueRef::Integer(number), ValueRef::Integer(by)) => {
                number.checked_rem(by).map(Value::Int)
            }
            _ => (by != 0.0).then(|| (number % by).into()),
        }
    }),
    (&["floor"], &[1], |a| Some(whole(a.number(0)?.floor()))),
    (&["ceil", "ceiling"], &[1], |a| {
        Some(whole(a.number(0)?.ceil()))
    }),
    (&["power", "pow"], &[2], |a| {
        Some(a.number(0)?.powf(a.number(1)?).into())
    }),
    (&["sqrt"], &[1], |a| Some(a.number(0)?.sqrt().into())),
    (&["exp"], &[1], |a| Some(a.number(0)?.exp().into())),
    (&["ln", "log"], &[1], |a| {
        positive(a.number(0)?).map(|n| n.ln().into())
    }),
    (&["log"], &[2], |a| {
        Some((positive(a.number(1)?)?.ln() / positive(a.number(0)?)?.ln()).into())
    }),
    (&["log2"], &[1], |a| {
        positive(a.number(0)?).map(|n| n.log2().into())
    }),
    (&["log10"], &[1], |a| {
        positive(a.number(0)?).map(|n| n.log10().into())
    }),
    (&["truncate"], &[2], |a| {
        let factor = 10f64.powi(a.whole(1)?.clamp(-30, 30) as i32);
        Some(((a.number(0)? * factor).trunc() / factor).into())
    }),
];

fn positive(number: f64) -> Option<f64> {
    (number > 0.0).then_some(number)
}

fn whole(number: f64) -> Value {
    if number.abs() < 9e18 {
        Value::Int(number as i64)
    } else {
        number.into()
    }
}

static TIME_FUNCTIONS: &[Entry] = &[
    (
        &[
            "now",
            "sysdate",
            "utc_timestamp",
            "localtime",
            "localtimestamp",
        ],
        &[0, 1],
        |a| {
            let digits = if a.count() > 0 {
                a.whole(0)?.clamp(0, 6)
            } else {
                0
            };
            let end = if digits == 0 { 19 } else { 20 + digits };
            let text = format_micros(now_micros());
            Some(text.get(..usize::try_from(end).ok()?)?.into())
        },
    ),
    (&["curdate", "utc_date"], &[0], |_| {
        Some(format_micros(now_micros())[..10].into())
    }),
    (&["curtime", "utc_time"], &[0], |_| {
        Some(format_micros(now_micros())[11..19].into())
    }),
    (&["unix_timestamp"], &[0], |_| {
        Some(Value::Int(now_micros() / 1_000_000))
    }),
    (&["unix_timestamp"], &[1], |a| Some(seconds(a.moment(0)?))),
    (&["from_unixtime"], &[1], |a| {
        Some(moment_text(from_seconds(a.number(0)?)?))
    }),
    (&["from_unixtime"], &[2], |a| {
        Some(formatted(from_seconds(a.number(0)?)?, &a.text(1)?).into())
    }),
    (&["date_format"], &[2], |a| {
        Some(formatted(a.moment(0)?, &a.text(1)?).into())
    }),
    (&["timestampdiff"], &[3], |a| {
        Some(Value::Int(a.unit(0)?.between(a.moment(1)?, a.moment(2)?)))
    }),
    (&["timestampadd"], &[3], |a| moved(a, 2, a.number(1)?, 0)),
    (&["date_add", "adddate", "interval_add"], &[3], |a| {
        moved(a, 0, a.number(1)?, 2)
    }),
    (&["date_sub", "subdate"], &[3], |a| {
        moved(a, 0, -a.number(1)?, 2)
    }),
    (&["datediff"], &[2], |a| {
        let day = |at| Some(a.moment(at)?.div_euclid(DAY_US));
        Some(Value::Int(day(0)? - day(1)?))
    }),
    (&["extract"], &[2], |a| part(&a.text(0)?, a.moment(1)?)),
    (&["year"], &[1], |a| part("YEAR", a.moment(0)?)),
    (&["quarter"], &[1], |a| part("QUARTER", a.moment(0)?)),
    (&["month"], &[1], |a| part("MONTH", a.moment(0)?)),
    (&["day", "dayofmonth"], &[1], |a| part("DAY", a.moment(0)?)),
    (&["hour"], &[1], |a| part("HOUR", a.moment(0)?)),
    (&["minute"], &[1], |a| part("MINUTE", a.moment(0)?)),
    (&["second"], &[1], |a| part("SECOND", a.moment(0)?)),
    (&["microsecond"], &[1], |a| {
        part("MICROSECOND", a.moment(0)?)
    }),
    (&["weekday"], &[1], |a| {
        Some(Value::Int(
            (a.moment(0)?.div_euclid(DAY_US) + 3).rem_euclid(7),
        ))
    }),
    (&["sec_to_time"], &[1], |a| {
        let seconds = a.whole(0)?.clamp(-3_020_399, 3_020_399);
        let (sign, s) = (if seconds < 0 { "-" } else { "" }, seconds.abs());
        Some(format!("{sign}{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60).into())
    }),
];

fn seconds(micros: i64) -> Value {
    if micros % 1_000_000 == 0 {
        Value::Int(micros / 1_000_000)
    } else {
        Value::Real(micros as f64 / 1e6)
    }
}

fn from_seconds(seconds: f64) -> Option<i64> {
    // MySQL 8: 0 to the end of the year 3000.
    (0.0..=32_536_771_199.999_999)
        .contains(&seconds)
        .then(|| (seconds * 1e6).round() as i64)
}

fn part(unit: &str, micros: i64) -> Option<Value> {
    let m = Moment::from_micros(micros);
    Some(Value::Int(match unit.to_ascii_uppercase().as_str() {
        "YEAR" => m.year,
        "QUARTER" => (m.month + 2) / 3,
        "MONTH" => m.month,
        "DAY" => m.day,
        "HOUR" => m.hour,
        "MINUTE" => m.minute,
        "SECOND" => m.second,
        "MICROSECOND" => m.micro,
        _ => return None,
    }))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// DATE_FORMAT, without the week numbers. A specifier that is not known stands for its own letter, as in MySQL.
fn formatted(micros: i64, format: &str) -> String {
    let m = Moment::from_micros(micros);
    let weekday = (micros.div_euclid(DAY_US) + 3).rem_euclid(7);
    let name = |names: &[&'static str], at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or("")
    };
    let hour12 = (m.hour + 11) % 12 + 1;
    let half = if m.hour < 12 { "AM" } else { "PM" };
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let Some(specifier) = chars.next() else { break };
        text.push_str(&match specifier {
            'Y' => format!("{:04}", m.year),
            'y' => format!("{:02}", m.year % 100),
            'm' => format!("{:02}", m.month),
            'c' => m.month.to_string(),
            'd' => format!("{:02}", m.day),
            'e' => m.day.to_string(),
            'H' => format!("{:02}", m.hour),
            'k' => m.hour.to_string(),
            'h' | 'I' => format!("{hour12:02}"),
            'l' => hour12.to_string(),
            'i' => format!("{:02}", m.minute),
            's' | 'S' => format!("{:02}", m.second),
            'f' => format!("{:06}", m.micro),
            'p' => half.to_owned(),
            'r' => format!("{hour12:02}:{:02}:{:02} {half}", m.minute, m.second),
            'T' => format!("{:02}:{:02}:{:02}", m.hour, m.minute, m.second),
            'M' => name(&MONTHS, m.month - 1).to_owned(),
            'b' => name(&MONTHS, m.month - 1).chars().take(3).collect(),
            'W' => name(&DAYS, weekday).to_owned(),
            'a' => name(&DAYS, weekday).chars().take(3).collect(),
            'w' => ((weekday + 1) % 7).to_string(),
            'j' => {
                let first = super::time::days_from_date(m.year, 1, 1);
                format!("{:03}", micros.div_euclid(DAY_US) - first + 1)
            }
            other => other.to_string(),
        });
    }
    text
}

#[cfg(test)]
mod tests;
