//! Names of places and things in the binary log: position, GTID, table. Plain values; does no IO.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A place in the binary log: the end of everything that stands before it.
/// Positions compare only within one epoch of one server (`Binlog::epoch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number in the file's name: 12 for `binlog.000012`.
    pub file: u32,
    /// Bytes from the start of that file.
    pub offset: u64,
}

impl Position {
    /// From its parts.
    pub const fn new(file: u32, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl fmt::Display for Position {
    /// With the server's default base name; the base name in use stands in `BinlogSnapshot::file`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "binlog.{:06}:{}", self.file, self.offset)
    }
}

/// A log file's name in its two parts: `mysql-bin.000012` is (`mysql-bin`, 12).
pub fn split_file_name(name: &str) -> Option<(&str, u32)> {
    let (base, number) = name.rsplit_once('.')?;
    let plain =
        !base.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| number.parse().ok().map(|n| (base, n)))?
}

/// A table as `schema.table` in lower case. Servers with `lower_case_table_names=0` may hold tables that differ only in case:
/// they share a key, which can only invalidate too much.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey(Arc<str>);

impl TableKey {
    /// The key of a table.
    pub fn new(schema: &str, table: &str) -> Self {
        let mut text = String::with_capacity(schema.len() + 1 + table.len());
        push_lower(&mut text, schema);
        text.push('.');
        push_lower(&mut text, table);
        Self(text.into())
    }

    /// `schema.table`, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first dot.
    pub fn schema(&self) -> &str {
        self.0.split_once('.').map_or("", |(schema, _)| schema)
    }

    /// The part after the first dot.
    pub fn table(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, table)| table)
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn push_lower(out: &mut String, text: &str) {
    if text.is_ascii() {
        out.extend(text.bytes().map(|b| char::from(b.to_ascii_lowercase())));
    } else {
        out.push_str(&text.to_lowercase());
    }
}

/// The identity of one transaction: `uuid:number` or `uuid:tag:number`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// The server or group that committed it first.
    pub uuid: [u8; 16],
    /// The tag (8.3 and later), lower case.
    pub tag: Option<Arc<str>>,
    /// Its number there, from 1.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.uuid.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        match &self.tag {
            Some(tag) => write!(f, ":{tag}:{}", self.number),
            None => write!(f, ":{}", self.number),
        }
    }
}

impl FromStr for Gtid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let uuid = parts.next().ok_or(())?.replace('-', "");
        let uuid: [u8; 16] = hex::decode(uuid)
            .map_err(|_| ())?
            .try_into()
            .map_err(|_| ())?;
        let middle = parts.next().ok_or(())?;
        let (tag, number) = match parts.next() {
            Some(number) => (Some(Arc::from(middle)), number),
            None => (None, middle),
        };
        if parts.next().is_some() {
            return Err(());
        }
        let number = number.parse().map_err(|_| ())?;
        Ok(Self { uuid, tag, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_by_file_then_offset() {
        assert!(Position::new(2, 4) > Position::new(1, 9_000_000_000));
        assert!(Position::new(2, 5) > Position::new(2, 4));
        assert_eq!(Position::new(12, 345).to_string(), "binlog.000012:345");
    }

    #[test]
    fn file_names_split_at_the_last_dot() {
        assert_eq!(split_file_name("binlog.000012"), Some(("binlog", 12)));
        assert_eq!(split_file_name("a.b.1000000"), Some(("a.b", 1_000_000)));
        for bad in [
            "binlog",
            "binlog.",
            ".000001",
            "binlog.12x",
            "binlog.+12",
            "binlog.99999999999",
        ] {
            assert_eq!(split_file_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn table_keys_fold_case() {
        let key = TableKey::new("Shop", "OrderS");
        assert_eq!(key.as_str(), "shop.orders");
        assert_eq!((key.schema(), key.table()), ("shop", "orders"));
        assert_eq!(TableKey::new("é", "É"), TableKey::new("É", "é"));
    }

    #[test]
    fn gtids_print_and_parse() {
        for text in [
            "3d27f50a-e4ae-11f1-845f-02fc00000001:7",
            "3d27f50a-e4ae-11f1-845f-02fc00000001:blue:9223372036854775806",
        ] {
            assert_eq!(text.parse::<Gtid>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "x:1",
            "3d27f50a-e4ae-11f1-845f-02fc00000001",
            "3d27f50a-e4ae-11f1-845f-02fc00000001:a:1:2",
        ] {
            assert!(bad.parse::<Gtid>().is_err(), "{bad}");
        }
    }
}
