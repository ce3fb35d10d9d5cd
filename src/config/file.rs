//! The TOML as it was written: each known key with its value and line, and everything in the file that is not one.
//! Knows which keys there are, not what their values may be. Opens the file for reading and nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key, Raw, SECTIONS, did_you_mean, nearest};
use super::mistake::{Mistake, Origin};
use super::rules::RULE_FIELDS;

/// A configuration is a page or two; what is larger is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A list of tables, and its keys.
type List = (&'static str, fn() -> Vec<&'static str>);

/// The lists of tables beside the sections.
const LISTS: [List; 3] = [
    ("users", || vec!["name", "password"]),
    ("nodes", || vec!["name", "address", "weight"]),
    ("rules", || {
        RULE_FIELDS.iter().map(|field| field.name).collect()
    }),
];

/// A key as written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Which key.
    pub key: &'static Key,
    /// Its value as written.
    pub raw: Raw,
    /// Its line, from 1.
    pub line: usize,
}

/// One table of a list as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WrittenTable {
    /// The name of the list.
    pub list: &'static str,
    /// The line of the table.
    pub line: usize,
    /// Its keys, each with its value and its line.
    pub values: Vec<(&'static str, Raw, usize)>,
}

impl WrittenTable {
    /// The value of a key and its line.
    pub fn get(&self, key: &str) -> Option<(&Raw, usize)> {
        let found = self.values.iter().find(|(name, ..)| *name == key);
        found.map(|(_, raw, line)| (raw, *line))
    }
}

/// A file as written.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// Known keys, in the order of the file.
    pub written: Vec<Written>,
    /// Tables of lists, each list in the order of the file.
    pub tables: Vec<WrittenTable>,
    /// The lists that are there, be they empty.
    pub lists: Vec<&'static str>,
    /// What is not TOML, or no key of ours.
    pub mistakes: Vec<Mistake>,
}

impl ConfigFile {
    /// Reads the file. What is wrong with it is in `mistakes`; then the rest is what could be understood.
    pub fn read(path: &Path) -> Self {
        let whole = |what: String| Self {
            mistakes: vec![Mistake {
                origin: Origin::WholeFile(path.to_owned()),
                what,
            }],
            ..Self::default()
        };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            if file.metadata()?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
        });
        if let Err(why) = read {
            return whole(format!("cannot be read: {why}"));
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return whole(format!(
                "is larger than {FILE_BYTES_MAX} bytes, which no configuration is"
            ));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, &text),
            Err(why) => {
                let valid = why.utf8_error().valid_up_to();
                let line = line_at(why.as_bytes(), valid);
                let what = "is not UTF-8 text; save the file as UTF-8".to_owned();
                Self {
                    mistakes: vec![Mistake {
                        origin: Origin::line(path, line),
                        what,
                    }],
                    ..Self::default()
                }
            }
        }
    }

    /// Understands `text`, which came from `path`.
    pub fn parse(path: &Path, text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            path,
            text,
            file: Self::default(),
        };
        reader.top(table.get_ref());
        // After broken syntax the rest may be misread: a section header without its bracket moves all keys below it.
        let broken = errors
            .iter()
            .filter(|error| error.message() != DUPLICATE)
            .map(|error| reader.line_of(error))
            .min();
        if let Some(line) = broken {
            let before = |origin: &Origin| !matches!(origin, Origin::File(_, at) if *at >= line);
            reader
                .file
                .mistakes
                .retain(|mistake| before(&mistake.origin));
            reader.file.written.retain(|written| written.line < line);
            reader.file.tables.retain(|table| table.line < line);
        }
        let mut lines_told = Vec::new();
        for error in &errors {
            let line = reader.line_of(error);
            if !lines_told.contains(&line) {
                lines_told.push(line);
                let what = reader.syntax(error, line);
                reader.mistake(line, what);
            }
        }
        let mut file = reader.file;
        file.written.sort_by_key(|written| written.line);
        file.mistakes.sort();
        file
    }
}

/// The parser's words for a key that was there already.
const DUPLICATE: &str = "duplicate key";

/// The parser's words for a value that is none.
const NO_VALUE: [&str; 3] = [
    "string values must be quoted",
    "invalid float",
    "invalid integer",
];

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    file: ConfigFile,
}

impl Reader<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = self.line(name);
            let word: &str = name.get_ref();
            let section = SECTIONS
                .iter()
                .any(|(section, _)| !section.is_empty() && *section == word);
            if let Some((list, keys)) = LISTS.iter().find(|(list, _)| *list == word) {
                self.list(list, &keys(), value.get_ref(), line);
                continue;
            }
            match (value.get_ref(), keys::find(word)) {
                (DeValue::Table(inside), _) if section => self.section(word, inside),
                (_, _) if section => {
                    self.mistake(
                        line,
                        format!(
                            "{word} is a section; write [{word}], and its keys in the lines below"
                        ),
                    );
                }
                (value, Some(key)) => self.file.written.push(Written {
                    key,
                    raw: raw(value),
                    line,
                }),
                (DeValue::Table(_), None) => self.unknown_section(word, line),
                (_, None) => self.unknown_key("", word, line),
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = self.line(name);
            match keys::find(&format!("{section}.{}", name.get_ref())) {
                Some(key) => self.file.written.push(Written {
                    key,
                    raw: raw(value.get_ref()),
                    line,
                }),
                None => self.unknown_key(section, name.get_ref(), line),
            }
        }
    }

    fn list(
        &mut self,
        list: &'static str,
        keys: &[&'static str],
        value: &DeValue<'_>,
        line: usize,
    ) {
        let tables = value
            .as_array()
            .filter(|array| array.iter().all(|item| item.get_ref().is_table()));
        let Some(tables) = tables else {
            let keys = keys.get(..2).unwrap_or(keys).join(" and ");
            return self.mistake(
                line,
                format!("{list} is a list of tables; write [[{list}]], then {keys}"),
            );
        };
        self.file.lists.push(list);
        for table in tables.iter() {
            let Some(inside) = table.get_ref().as_table() else {
                continue;
            };
            let mut written = WrittenTable {
                list,
                line: self.line(table),
                values: Vec::new(),
            };
            for (name, value) in inside {
                let (line, word) = (self.line(name), name.get_ref().as_ref());
                match keys.iter().find(|key| **key == word) {
                    Some(key) => written.values.push((key, raw(value.get_ref()), line)),
                    None => {
                        let meant = did_you_mean(nearest(word, keys.iter().copied()));
                        let allowed = keys.join(", ");
                        self.mistake(
                            line,
                            format!("{list}.{word}: no such key{meant}; allowed: {allowed}"),
                        );
                    }
                }
            }
            self.file.tables.push(written);
        }
    }

    fn unknown_section(&mut self, word: &str, line: usize) {
        let sections = || {
            SECTIONS
                .iter()
                .map(|(section, _)| *section)
                .filter(|section| !section.is_empty())
                .chain(LISTS.map(|(list, _)| list))
        };
        let all: Vec<&str> = sections().collect();
        let what = match nearest(word, sections()) {
            Some(meant) => format!("[{word}]: no such section; did you mean [{meant}]?"),
            None => format!("[{word}]: no such section; allowed: {}", all.join(", ")),
        };
        self.mistake(line, what);
    }

    fn unknown_key(&mut self, section: &str, word: &str, line: usize) {
        let name = if section.is_empty() {
            word.to_owned()
        } else {
            format!("{section}.{word}")
        };
        let here = || {
            KEYS.iter()
                .filter(|key| key.section() == section)
                .map(Key::short)
        };
        let elsewhere = || KEYS.iter().find(|key| key.short() == word);
        let what = match (nearest(word, here()), elsewhere()) {
            (Some(meant), _) => format!("{name}: no such key; did you mean {meant}?"),
            (None, Some(key)) if key.section().is_empty() => {
                format!(
                    "{name}: no such key; {word} stands at the top of the file, before any [section]"
                )
            }
            (None, Some(key)) => {
                format!("{name}: no such key; {word} belongs to [{}]", key.section())
            }
            (None, None) if section.is_empty() => {
                format!("{name}: no such key; keys belong to a [section]")
            }
            (None, None) => format!(
                "{name}: no such key; allowed: {}",
                here().collect::<Vec<_>>().join(", ")
            ),
        };
        self.mistake(line, what);
    }

    fn syntax(&self, error: &toml::de::Error, line: usize) -> String {
        let written = self.text.lines().nth(line - 1).unwrap_or_default().trim();
        if error.message() != DUPLICATE {
            let value = written.split_once('=').map(|(_, value)| value.trim());
            return match value {
                Some("") => "not TOML: the value is missing".to_owned(),
                Some(_)
                    if NO_VALUE
                        .iter()
                        .any(|words| error.message().starts_with(words)) =>
                {
                    "not TOML: this is no number, and text stands in quotes".to_owned()
                }
                _ => format!("not TOML: {}", error.message()),
            };
        }
        if written.starts_with('[') {
            return format!("{written} is there already; write each section once");
        }
        let name = written.split('=').next().unwrap_or_default().trim();
        format!("{name} is there already; write each key once")
    }

    fn mistake(&mut self, line: usize, what: String) {
        self.file.mistakes.push(Mistake {
            origin: Origin::line(self.path, line),
            what,
        });
    }

    fn line<T>(&self, spanned: &Spanned<T>) -> usize {
        line_at(self.text.as_bytes(), spanned.span().start)
    }

    fn line_of(&self, error: &toml::de::Error) -> usize {
        let at = error.span().map_or(0, |span| span.start);
        // An error at the very end of a line is about that line.
        line_at(self.text.as_bytes(), at)
    }
}

/// The line, from 1, that byte `at` is in.
fn line_at(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("a number too large for anything"),
        },
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Raw::Other("a number"), Raw::Float),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect();
            texts.map_or(Raw::Other("a list of other things than texts"), Raw::Texts)
        }
    }
}
