//! The words MySQL's grammar knows, with the spelling its digest prints for them. Never decides what a statement means.
//!
//! `keywords.txt` was read from a 9.7 server (`information_schema.KEYWORDS`, and `STATEMENT_DIGEST_TEXT()` for the printed
//! spelling of synonyms). One line is one word: the word, flags (`-` for none), and the printed spelling where it differs.
//! The flags are explained at the constants below.

use std::sync::LazyLock;

/// A signed number may follow: the digest folds `-1` into `?` after this word.
pub const SIGN_FOLDS: u16 = 1 << 0;
/// An operand may follow, so that a NULL there is a value, not part of `IS NULL` or of a column definition.
pub const OPERAND: u16 = 1 << 1;
/// Reserved: never an identifier without quotes.
pub const RESERVED: u16 = 1 << 2;
/// A keyword only when `(` follows at once (`count(`); an identifier otherwise.
pub const FUNCTION: u16 = 1 << 3;
/// Ends the list of a GROUP BY, ORDER BY or PARTITION BY.
pub const ENDS_BY: u16 = 1 << 4;
/// May stand after an ordinal of such a list (`ORDER BY 1 DESC`).
pub const AFTER_ORDINAL: u16 = 1 << 5;
/// An optimizer hint may follow.
pub const HINTABLE: u16 = 1 << 6;
/// `IN`.
pub const IN: u16 = 1 << 7;
/// `NULL`.
pub const NULL: u16 = 1 << 8;
/// `NOT`.
pub const NOT: u16 = 1 << 9;
/// `BY`.
pub const BY: u16 = 1 << 10;
/// `GROUP`, `ORDER`, `PARTITION`: a BY behind it begins a list whose items may be ordinals.
pub const BEFORE_BY: u16 = 1 << 12;
/// A word of the optimizer hint grammar (a table of its own).
pub const HINT: u16 = 1 << 11;

const SOURCE: &str = include_str!("keywords.txt");
const HINTS: &str = "BKA BNL DERIVED_CONDITION_PUSHDOWN DUPSWEEDOUT FIRSTMATCH GROUP_INDEX HASH_JOIN INDEX INDEX_MERGE \
    INTOEXISTS JOIN_FIXED_ORDER JOIN_INDEX JOIN_ORDER JOIN_PREFIX JOIN_SUFFIX LOOSESCAN MATERIALIZATION \
    MAX_EXECUTION_TIME MERGE MRR NO_BKA NO_BNL NO_DERIVED_CONDITION_PUSHDOWN NO_GROUP_INDEX NO_HASH_JOIN NO_ICP \
    NO_INDEX NO_INDEX_MERGE NO_JOIN_INDEX NO_MERGE NO_MRR NO_ORDER_INDEX NO_RANGE_OPTIMIZATION NO_SEMIJOIN \
    NO_SKIP_SCAN ORDER_INDEX QB_NAME RESOURCE_GROUP SEMIJOIN SET_VAR SKIP_SCAN SUBQUERY";
const CHARSETS: &str = "armscii8 ascii big5 binary cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 cp932 dec8 eucjpms \
    euckr gb18030 gb2312 gbk geostd8 greek hebrew hp8 keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman \
    sjis swe7 tis620 ucs2 ujis utf16 utf16le utf32 utf8 utf8mb3 utf8mb4";

/// Longest word of any table here; longer words are identifiers without a look-up.
const WORD_BYTES_MAX: usize = 40;
/// Most printed words are shorter.
const PADDED_BYTES: usize = 16;
/// Slots of the hash table: a power of two, under a quarter full.
const SLOTS: usize = 4096;

/// One word of the grammar.
#[derive(Debug, Clone, Copy)]
pub struct Keyword {
    /// Upper case.
    pub word: &'static str,
    /// What the digest prints, followed by one space (the tables keep it so for speed).
    printed_with_space: &'static str,
    /// The same, filled up: a copy of known length is quicker than one of any.
    padded: [u8; PADDED_BYTES],
    /// The constants above.
    pub flags: u16,
}

impl Keyword {
    /// What MySQL's digest prints for the word.
    pub fn printed(&self) -> &'static str {
        self.printed_with_space
            .strip_suffix(' ')
            .unwrap_or(self.printed_with_space)
    }

    fn is(&self, word: &[u8]) -> bool {
        self.word.as_bytes().eq_ignore_ascii_case(word)
    }

    /// Puts what the digest prints, and a space, behind a text.
    #[inline]
    pub(crate) fn print(&self, text: &mut Vec<u8>) {
        let length = self.printed_with_space.len();
        if length <= PADDED_BYTES {
            text.extend_from_slice(&self.padded);
            text.truncate(text.len() - PADDED_BYTES + length);
        } else {
            text.extend_from_slice(self.printed_with_space.as_bytes());
        }
    }

    fn new(word: &'static str, printed: &str, flags: u16) -> Keyword {
        // Leaked once per process: the tables are statics.
        let printed_with_space: &'static str = Box::leak(format!("{printed} ").into_boxed_str());
        let mut padded = [0; PADDED_BYTES];
        for (to, from) in padded.iter_mut().zip(printed_with_space.bytes()) {
            *to = from;
        }
        Keyword {
            word,
            printed_with_space,
            padded,
            flags,
        }
    }
}

/// A closed hash table of words, built once.
#[derive(Debug)]
pub struct Keywords {
    slots: Box<[Slot; SLOTS]>,
    words: Vec<Keyword>,
}

/// What a look-up compares, in one place.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    ends: Ends,
    /// The word's number plus one; 0: free.
    entry: u16,
}

/// A word without its case: length and up to eight bytes from each end. For words of up to 16 bytes, equal ends are equal words:
/// among the bytes of names, setting bit 5 joins the two cases of a letter and nothing else that is ASCII.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    head: u64,
    tail: u64,
    length: usize,
}

/// The statement grammar's words.
pub static KEYWORDS: LazyLock<Keywords> =
    LazyLock::new(|| Keywords::build(SOURCE.lines().filter_map(parse_line)));
/// The optimizer hints' words.
pub static HINT_WORDS: LazyLock<Keywords> =
    LazyLock::new(|| Keywords::build(HINTS.split_ascii_whitespace().map(|word| plain(word, HINT))));
static CHARSET_WORDS: LazyLock<Keywords> =
    LazyLock::new(|| Keywords::build(CHARSETS.split_ascii_whitespace().map(|word| plain(word, 0))));

/// Whether `word` (with its underscore) is a character set introducer of MySQL.
pub fn is_introducer(word: &[u8]) -> bool {
    word.strip_prefix(b"_")
        .is_some_and(|charset| CHARSET_WORDS.find(charset).is_some())
}

fn plain(word: &'static str, flags: u16) -> Keyword {
    let upper: &'static str = Box::leak(word.to_ascii_uppercase().into_boxed_str());
    Keyword::new(upper, upper, flags)
}

fn parse_line(line: &'static str) -> Option<Keyword> {
    let mut parts = line.split_ascii_whitespace();
    let word = parts.next()?;
    let flags = parts
        .next()
        .unwrap_or("-")
        .bytes()
        .fold(0, |flags, letter| flags | flag(letter));
    Some(Keyword::new(word, parts.next().unwrap_or(word), flags))
}

fn flag(letter: u8) -> u16 {
    match letter {
        b's' => SIGN_FOLDS | OPERAND,
        b'n' => OPERAND,
        b'r' => RESERVED,
        b'f' => FUNCTION,
        b'b' => ENDS_BY | AFTER_ORDINAL,
        b'o' => AFTER_ORDINAL,
        b'h' => HINTABLE,
        b'I' => IN,
        b'N' => NULL,
        b'T' => NOT,
        b'B' => BY,
        b'g' => BEFORE_BY,
        _ => 0,
    }
}

impl Keywords {
    fn build(words: impl Iterator<Item = Keyword>) -> Keywords {
        let words: Vec<Keyword> = words
            .filter(|keyword| keyword.word.len() <= WORD_BYTES_MAX)
            .collect();
        let mut slots = Box::new([Slot::default(); SLOTS]);
        for (index, keyword) in words.iter().enumerate() {
            let ends = Ends::of(keyword.word.as_bytes());
            let mut slot = ends.hash();
            while slots[slot].entry != 0 {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = Slot {
                ends,
                entry: index as u16 + 1,
            };
        }
        Keywords { slots, words }
    }

    /// The word's number, whatever its case. Numbers are stable within a process only.
    #[inline]
    pub fn find(&self, word: &[u8]) -> Option<u16> {
        if word.is_empty() || word.len() > WORD_BYTES_MAX {
            return None;
        }
        let ends = Ends::of(word);
        let mut slot = ends.hash();
        loop {
            // The table is never full, so a free slot ends every search.
            let found = self.slots[slot];
            if found.entry == 0 {
                return None;
            }
            if found.ends == ends
                && (word.len() <= 16 || self.words[found.entry as usize - 1].is(word))
            {
                return Some(found.entry - 1);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// The word of a number that `find` gave.
    #[inline]
    pub fn get(&self, number: u16) -> Option<&Keyword> {
        self.words.get(number as usize)
    }
}

impl Ends {
    #[inline]
    fn of(word: &[u8]) -> Ends {
        const CASE: u64 = 0x2020_2020_2020_2020;
        let length = word.len();
        let (head, tail) = if length >= 8 {
            (read8(&word[..8]), read8(&word[length - 8..]))
        } else {
            let head = word
                .iter()
                .rev()
                .fold(0, |head, &byte| head << 8 | u64::from(byte));
            (head, 0)
        };
        Ends {
            head: head | CASE,
            tail: tail | CASE,
            length,
        }
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = self
            .head
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(self.tail.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add(self.length as u64);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 52) as usize
    }
}

#[inline]
fn read8(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_any_case() {
        for keyword in &KEYWORDS.words {
            let number = KEYWORDS
                .find(keyword.word.to_ascii_lowercase().as_bytes())
                .unwrap();
            assert_eq!(KEYWORDS.get(number).unwrap().word, keyword.word);
        }
        assert_eq!(KEYWORDS.find(b"not_a_word"), None);
        // What setting bit 5 could mix up: `_` and 0x7F, `$` and 0x04, and everything above ASCII.
        assert_eq!(KEYWORDS.find(b"GROUP\x7fREPLICATION"), None);
        assert_eq!(KEYWORDS.find(b"\xc9N"), None);
        assert_eq!(KEYWORDS.find(b"MASTER_PUBLIC_KEY_PATI"), None);
        assert_eq!(KEYWORDS.find(b""), None);
    }

    #[test]
    fn synonyms_print_as_the_server_prints_them() {
        for (word, printed) in [
            ("int", "INTEGER"),
            ("databases", "SCHEMAS"),
            ("regexp", "RLIKE"),
            ("select", "SELECT"),
        ] {
            let number = KEYWORDS.find(word.as_bytes()).unwrap();
            assert_eq!(KEYWORDS.get(number).unwrap().printed(), printed);
        }
    }

    #[test]
    fn introducers_are_character_sets_only() {
        assert!(is_introducer(b"_utf8mb4"));
        assert!(is_introducer(b"_BINARY"));
        assert!(!is_introducer(b"_foo"));
        assert!(!is_introducer(b"utf8mb4"));
    }
}
