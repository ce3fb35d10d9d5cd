//! Literals of one statement text: where they stand, and which of them may vary.
//! Reads bytes only; never decides where a literal may stand.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::check::{Check, skip_sign};
use crate::sql::{Literal as DigestLiteral, LiteralKind};
use crate::views::refusal::Refusal;

/// Which value of a statement text: the digest's literal, and the value within it where the digest folds several into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Index into the digest's literals.
    pub literal: u16,
    /// Which of its values; 0 unless it is a list.
    pub element: u16,
}

impl Slot {
    /// The value's bytes in a text of the same digest, sign and quotes included.
    pub fn bytes<'t>(self, text: &'t [u8], literals: &[DigestLiteral]) -> Option<&'t [u8]> {
        let literal = literals.get(usize::from(self.literal))?;
        if literal.kind != LiteralKind::List {
            return (self.element == 0).then(|| literal.bytes(text));
        }
        let elements = elements(literal.bytes(text))?;
        let (start, end) = *elements.get(usize::from(self.element))?;
        literal.bytes(text).get(start..end)
    }
}

/// The values of a list as the digest folds it: first and last byte of each, without spaces around. `None` when something
/// other than values and commas is in it.
pub fn elements(list: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut at = 0;
    loop {
        match list.get(at) {
            None | Some(b',') => {
                let part = list.get(from..at)?;
                let trimmed = part.trim_ascii();
                if trimmed.is_empty() {
                    return None;
                }
                let start = from + (part.len() - part.trim_ascii_start().len());
                found.push((start, start + trimmed.len()));
                if at >= list.len() {
                    return Some(found);
                }
                at += 1;
                from = at;
            }
            Some(quote @ (b'\'' | b'"')) => at = string_end(list, at + 1, *quote)?,
            Some(b'/' | b'#' | b'(' | b')' | b'`') => return None,
            Some(b'-') if list.get(at + 1) == Some(&b'-') => return None,
            Some(_) => at += 1,
        }
    }
}

/// Behind the closing quote of a string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize, quote: u8) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            byte if *byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// How many parameters stand in a text before a value.
pub fn parameters_before(text: &[u8], literals: &[DigestLiteral], slot: Slot) -> Option<u16> {
    let mut count = 0usize;
    for literal in literals.iter().take(usize::from(slot.literal)) {
        count += parameters_in(literal, text, usize::MAX)?;
    }
    let own = literals.get(usize::from(slot.literal))?;
    count += parameters_in(own, text, usize::from(slot.element))?;
    u16::try_from(count).ok()
}

fn parameters_in(literal: &DigestLiteral, text: &[u8], elements_max: usize) -> Option<usize> {
    if literal.mask & LiteralKind::Parameter.bit() == 0 {
        return Some(0);
    }
    match literal.kind {
        LiteralKind::List => {
            let list = literal.bytes(text);
            let values = elements(list)?;
            let is_parameter =
                |(start, end): &&(usize, usize)| list.get(*start..*end) == Some(b"?");
            Some(
                values
                    .iter()
                    .take(elements_max)
                    .filter(is_parameter)
                    .count(),
            )
        }
        // Parameters inside rows stand where nothing of this room looks.
        LiteralKind::Rows => None,
        _ => Some(usize::from(elements_max > 0)),
    }
}

/// What a literal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// Digits, a point, a sign.
    Number,
    /// A quoted string.
    Text,
    /// NULL.
    Null,
    /// TRUE or FALSE.
    Boolean,
    /// `?` of a prepared statement, with its number from 0.
    Parameter(u16),
}

/// A literal of the statement. Equal when it would print equally: two places may hold the same value.
#[derive(Debug, Clone)]
pub struct Literal {
    /// Its number, `None` for keywords that the digest keeps as words.
    pub slot: Option<Slot>,
    /// What it looks like.
    pub shape: Shape,
    /// `DATE` or `TIMESTAMP` in front of the string.
    pub prefix: Option<&'static str>,
    /// Its bytes in the text the pattern was made from, with sign and quotes.
    pub text: String,
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.prefix == other.prefix && self.text == other.text
    }
}

impl Eq for Literal {}

impl Literal {
    /// The digits of a number that is zero, whatever its scale.
    pub fn is_zero(&self) -> bool {
        self.shape == Shape::Number && self.text.bytes().all(|b| !(b'1'..=b'9').contains(&b))
    }

    /// Digits behind the point of a plain number.
    pub fn scale(&self) -> u32 {
        let digits = self.text.split_once('.').map_or("", |(_, digits)| digits);
        u32::try_from(digits.len()).unwrap_or(u32::MAX)
    }
}

/// The values of a statement that may vary from text to text, and what each must be.
#[derive(Debug, Clone, Default)]
pub struct Varying {
    /// Single values.
    pub values: Vec<(Slot, Check)>,
    /// Lists of any length, by the digest's literal: every value of them.
    pub lists: Vec<(u16, Check)>,
}

impl Varying {
    /// Whether a value may vary.
    pub fn has(&self, slot: Slot) -> bool {
        self.has_list(slot.literal) || self.values.iter().any(|(varying, _)| *varying == slot)
    }

    /// Whether a whole list may vary.
    pub fn has_list(&self, literal: u16) -> bool {
        self.lists.iter().any(|(list, _)| *list == literal)
    }

    /// Tests the values of a text. Gives what the parameters among them must be, by parameter number.
    ///
    /// # Errors
    /// The first rule that a value does not meet.
    pub fn check(
        &self,
        text: &[u8],
        literals: &[DigestLiteral],
    ) -> Result<Vec<(u16, Check)>, Refusal> {
        let mut parameters = Vec::new();
        let mut one = |slot: Slot, bytes: &[u8], check: Check| {
            if bytes != b"?" {
                return check.literal(bytes);
            }
            let number =
                parameters_before(text, literals, slot).ok_or(Refusal::ParameterPosition)?;
            parameters.push((number, check));
            Ok(())
        };
        for (slot, check) in &self.values {
            let bytes = slot.bytes(text, literals).ok_or(Refusal::OtherLiterals)?;
            one(*slot, bytes, *check)?;
        }
        for (literal, check) in &self.lists {
            let list = literals
                .get(usize::from(*literal))
                .filter(|list| list.kind == LiteralKind::List)
                .ok_or(Refusal::OtherLiterals)?
                .bytes(text);
            let parts = elements(list).ok_or(Refusal::LiteralType)?;
            // A list of numbers and strings is compared in ways that depend on the server's plan.
            let quoted = parts
                .iter()
                .filter(|(start, _)| matches!(list.get(*start), Some(b'\'' | b'"')))
                .count();
            if quoted > 0 && quoted < parts.len() && *check != Check::Text {
                return Err(Refusal::LiteralType);
            }
            // Beside an indexed DATE column the server reads such parameters as numbers when it looks at ranges, and warns.
            let moments = !matches!(
                check,
                Check::Number | Check::Integer { .. } | Check::Text | Check::Year
            );
            if moments
                && parts
                    .iter()
                    .any(|(start, _)| list.get(*start) == Some(&b'?'))
            {
                return Err(Refusal::ParameterPosition);
            }
            for (element, (start, end)) in parts.into_iter().enumerate() {
                let element = u16::try_from(element).map_err(|_too_many| Refusal::LiteralType)?;
                let slot = Slot {
                    literal: *literal,
                    element,
                };
                one(slot, list.get(start..end).unwrap_or_default(), *check)?;
            }
        }
        Ok(parameters)
    }
}

/// One value of a list by its place, with its bytes.
type Kept = (u16, Box<[u8]>);

/// A literal that shapes the pattern: only these bytes fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    literal: u16,
    /// The values that must be the same, by element; all of the literal when `None`.
    elements: Option<(usize, Vec<Kept>)>,
    whole: Box<[u8]>,
}

impl Fixed {
    /// What must stay of a text's literals when `varying` may not.
    ///
    /// # Errors
    /// When a parameter is among it: its value is not known.
    pub fn of(
        text: &[u8],
        literals: &[DigestLiteral],
        varying: &Varying,
    ) -> Result<Vec<Self>, Refusal> {
        let mut all = Vec::new();
        for (at, literal) in literals.iter().enumerate() {
            let at = u16::try_from(at).map_err(|_too_many| Refusal::LiteralPosition)?;
            if varying.has_list(at) {
                continue;
            }
            let bytes = literal.bytes(text);
            let mut fixed = Self {
                literal: at,
                elements: None,
                whole: bytes.into(),
            };
            let mut has_parameter = literal.mask & LiteralKind::Parameter.bit() != 0;
            if varying.values.iter().any(|(slot, _)| slot.literal == at) {
                let parts = match literal.kind {
                    LiteralKind::List => elements(bytes).ok_or(Refusal::LiteralPosition)?,
                    _ => vec![(0, bytes.len())],
                };
                let kept: Vec<Kept> = (0u16..)
                    .zip(&parts)
                    .filter(|(element, _)| {
                        !varying.has(Slot {
                            literal: at,
                            element: *element,
                        })
                    })
                    .map(|(element, (start, end))| {
                        (element, bytes.get(*start..*end).unwrap_or_default().into())
                    })
                    .collect();
                has_parameter = kept.iter().any(|(_, bytes)| **bytes == *b"?");
                fixed.elements = Some((parts.len(), kept));
                fixed.whole = Box::default();
            }
            if has_parameter {
                return Err(Refusal::ParameterPosition);
            }
            all.push(fixed);
        }
        Ok(all)
    }

    /// Whether another text of the digest has the same here.
    pub fn fits(&self, text: &[u8], literals: &[DigestLiteral]) -> bool {
        let Some(literal) = literals.get(usize::from(self.literal)) else {
            return false;
        };
        let Some((count, kept)) = &self.elements else {
            return literal.bytes(text) == &*self.whole;
        };
        let parts = match literal.kind {
            LiteralKind::List => elements(literal.bytes(text)).map_or(0, |parts| parts.len()),
            _ => 1,
        };
        parts == *count
            && kept.iter().all(|(element, bytes)| {
                let slot = Slot {
                    literal: self.literal,
                    element: *element,
                };
                slot.bytes(text, literals) == Some(bytes)
            })
    }
}

/// Finds the literal that stands at a place of the parsed tree. Trees have line 1 and column = byte offset + 1.
#[derive(Debug)]
pub struct Places<'a> {
    text: &'a [u8],
    literals: &'a [DigestLiteral],
    /// By the first byte behind a folded sign.
    by_offset: HashMap<u64, (Slot, &'a [u8])>,
    /// The places the tree has been seen to name.
    named: RefCell<HashSet<Slot>>,
}

impl<'a> Places<'a> {
    /// Indexes the values of a text.
    ///
    /// # Errors
    /// When a literal cannot be taken apart.
    pub fn new(text: &'a [u8], literals: &'a [DigestLiteral]) -> Result<Self, Refusal> {
        let mut by_offset = HashMap::with_capacity(literals.len());
        for (at, literal) in literals.iter().enumerate() {
            let at = u16::try_from(at).map_err(|_too_many| Refusal::LiteralPosition)?;
            let bytes = literal.bytes(text);
            let values = match literal.kind {
                LiteralKind::List => elements(bytes).ok_or(Refusal::LiteralPosition)?,
                LiteralKind::Rows => continue,
                _ => vec![(0, bytes.len())],
            };
            for (element, (start, end)) in values.into_iter().enumerate() {
                let value = bytes.get(start..end).ok_or(Refusal::LiteralPosition)?;
                let behind_sign = end - skip_sign(value).0.len();
                let element =
                    u16::try_from(element).map_err(|_too_many| Refusal::LiteralPosition)?;
                let slot = Slot {
                    literal: at,
                    element,
                };
                by_offset.insert(u64::from(literal.start) + behind_sign as u64, (slot, value));
            }
        }
        Ok(Self {
            text,
            literals,
            by_offset,
            named: RefCell::default(),
        })
    }

    /// The value at a place of the tree, with its bytes; a folded sign is among them.
    pub fn at(&self, line: u64, column: u64) -> Option<(Slot, &'a [u8])> {
        let offset = column.checked_sub(1).filter(|_| line == 1)?;
        let found = self.by_offset.get(&offset).copied()?;
        self.named.borrow_mut().insert(found.0);
        Some(found)
    }

    /// Whether the tree has named every value of the text. One that it has not named was lost in parsing: the second of
    /// `'a' 'b'` becomes part of the first there.
    pub fn all_named(&self) -> bool {
        let named = self.named.borrow();
        self.by_offset
            .values()
            .all(|(slot, _)| named.contains(slot))
            && self
                .literals
                .iter()
                .all(|literal| literal.kind != LiteralKind::Rows)
    }

    /// The byte at a place of the tree.
    pub fn byte_at(&self, line: u64, column: u64) -> Option<u8> {
        let offset = column.checked_sub(1).filter(|_| line == 1)?;
        self.text.get(usize::try_from(offset).ok()?).copied()
    }

    /// The text.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The digest's literals.
    pub fn literals(&self) -> &'a [DigestLiteral] {
        self.literals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart() {
        let parts = |list: &str| {
            elements(list.as_bytes()).map(|parts| {
                parts
                    .into_iter()
                    .map(|(start, end)| list[start..end].to_owned())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(parts("1"), Some(vec!["1".into()]));
        assert_eq!(
            parts(" 'a,b' ,- 2,\"c''\\\"d\""),
            Some(vec!["'a,b'".into(), "- 2".into(), "\"c''\\\"d\"".into()])
        );
        for bad in ["", "1,", "1 /* x */, 2", "1, -- x", "'a", "1,,2", "f(1)"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
