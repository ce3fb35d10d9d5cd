//! MySQL text into tokens, for the rewrite to SQLite. Comments vanish, the content of `/*! */` stays.
//! Knows no grammar. Text of unknown shape becomes an error here and never reaches SQLite.

use super::error::Error;

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A bare word: keyword, name, function.
    Word,
    /// A quoted name; holds it without quotes.
    Quoted(String),
    /// A string; holds its value.
    Text(String),
    /// A number, or a hexadecimal or bit literal.
    Number,
    /// `?`.
    Parameter,
    /// `@@name`, `@@session.name`; holds all after the two signs.
    SystemVariable(String),
    /// `@name`.
    UserVariable,
    /// An operator or a mark.
    Mark,
}

/// One token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins in the text, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

impl Token {
    /// Whether it is that bare word, in any case.
    pub fn is_word(&self, text: &str, word: &str) -> bool {
        self.kind == Kind::Word && text[self.start..self.end].eq_ignore_ascii_case(word)
    }

    /// Whether it is that mark.
    pub fn is_mark(&self, text: &str, mark: &str) -> bool {
        self.kind == Kind::Mark && &text[self.start..self.end] == mark
    }

    /// The name that it may be: a bare word or a quoted name.
    pub fn name<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        match &self.kind {
            Kind::Word => Some(&text[self.start..self.end]),
            Kind::Quoted(name) => Some(name),
            _ => None,
        }
    }

    /// The name or the string that it may be: MySQL takes either in SET NAMES, USE, LIKE.
    pub fn name_or_text<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        match &self.kind {
            Kind::Text(value) => Some(value),
            _ => self.name(text),
        }
    }
}

/// Marks of more than one character, longest first.
const MARKS: [&str; 13] = [
    "<=>", "->>", "->", ":=", "||", "&&", "<=", ">=", "<>", "!=", "<<", ">>", "==",
];

/// How many tokens one statement may have.
const TOKENS_MAX: usize = 100_000;

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Whether we are inside `/*! .. */`.
    versioned: bool,
}

/// The tokens of a statement. A final `;` is dropped.
///
/// # Errors
/// `Syntax` for an unfinished string, name or comment, for a character that no token begins with, and for a second
/// statement after `;`.
pub fn tokens(text: &str, ansi_quotes: bool) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer {
        text,
        at: 0,
        versioned: false,
    };
    let mut tokens: Vec<Token> = Vec::new();
    while let Some(token) = lexer.next(ansi_quotes)? {
        if tokens.len() >= TOKENS_MAX {
            return Err(Error::Syntax(format!("more than {TOKENS_MAX} tokens")));
        }
        match (&mut tokens[..], &token.kind) {
            // Strings side by side are one string.
            ([.., last], Kind::Text(next)) if matches!(last.kind, Kind::Text(_)) => {
                if let Kind::Text(value) = &mut last.kind {
                    value.push_str(next);
                    last.end = token.end;
                }
            }
            _ => tokens.push(token),
        }
    }
    while tokens.last().is_some_and(|token| token.is_mark(text, ";")) {
        tokens.pop();
    }
    if tokens.iter().any(|token| token.is_mark(text, ";")) {
        return Err(Error::Syntax("one statement at a time".to_owned()));
    }
    Ok(tokens)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn next(&mut self, ansi_quotes: bool) -> Result<Option<Token>, Error> {
        self.skip()?;
        let start = self.at;
        let rest = self.rest();
        let Some(&first) = rest.first() else {
            return Ok(None);
        };
        let kind = match first {
            b'\'' => Kind::Text(self.string(b'\'')?),
            b'"' if ansi_quotes => Kind::Quoted(self.quoted(b'"')?),
            b'"' => Kind::Text(self.string(b'"')?),
            b'`' => Kind::Quoted(self.quoted(b'`')?),
            b'?' => {
                self.at += 1;
                Kind::Parameter
            }
            b'@' => self.variable(),
            b'0'..=b'9' => self.number(),
            b'.' if rest.get(1).is_some_and(u8::is_ascii_digit) && !self.after_name() => {
                self.number()
            }
            _ if is_word_byte(first) => {
                self.at += rest.iter().take_while(|&&b| is_word_byte(b)).count();
                Kind::Word
            }
            _ => self.mark()?,
        };
        let token = Token {
            kind,
            start,
            end: self.at,
        };
        Ok(Some(token))
    }

    /// Whether the byte before belongs to a name: then `.5` is a part of it and not a number.
    fn after_name(&self) -> bool {
        let before = self.text.as_bytes()[..self.at].last();
        before.is_some_and(|&byte| is_word_byte(byte) || byte == b'`')
    }

    /// Over space and comments.
    fn skip(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            let space = rest
                .iter()
                .take_while(|b| b.is_ascii_whitespace() || **b == 0x0b)
                .count();
            let rest = &rest[space..];
            let line = rest.starts_with(b"#")
                || (rest.starts_with(b"--") && rest.get(2).is_none_or(|b| *b <= b' '));
            let length = if line {
                rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
            } else if rest.starts_with(b"/*!") {
                self.versioned = true;
                3 + rest[3..].iter().take_while(|b| b.is_ascii_digit()).count()
            } else if rest.starts_with(b"/*") {
                let end = rest[2..].windows(2).position(|pair| pair == b"*/");
                4 + end.ok_or_else(|| Error::Syntax("unfinished comment".to_owned()))?
            } else if self.versioned && rest.starts_with(b"*/") {
                self.versioned = false;
                2
            } else {
                self.at += space;
                return Ok(());
            };
            self.at += space + length;
        }
    }

    fn number(&mut self) -> Kind {
        let rest = self.rest();
        let hexadecimal = rest.starts_with(b"0x") || rest.starts_with(b"0X");
        let mut length = rest
            .iter()
            .take_while(|&&b| is_word_byte(b) || (b == b'.' && !hexadecimal))
            .count();
        // 1e-3 and 1e+3: the sign belongs to the number.
        let exponent = !hexadecimal && matches!(rest.get(length - 1), Some(b'e' | b'E'));
        if exponent && matches!(rest.get(length), Some(b'+' | b'-')) {
            let digits = rest[length + 1..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            if digits > 0 {
                length += 1 + digits;
            }
        }
        self.at += length;
        let word = &self.text.as_bytes()[self.at - length..self.at];
        // A name may begin with a digit; a number has no other letters than those of its exponent.
        let numeric = hexadecimal
            || word
                .iter()
                .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        if numeric { Kind::Number } else { Kind::Word }
    }

    fn variable(&mut self) -> Kind {
        let rest = self.rest();
        let signs = if rest.get(1) == Some(&b'@') { 2 } else { 1 };
        let body = &rest[signs..];
        let length = body
            .iter()
            .take_while(|&&b| is_word_byte(b) || b == b'.' || b == b'`')
            .count();
        let start = self.at + signs;
        self.at = start + length;
        if signs == 2 {
            Kind::SystemVariable(self.text[start..self.at].replace('`', ""))
        } else {
            Kind::UserVariable
        }
    }

    fn mark(&mut self) -> Result<Kind, Error> {
        let rest = &self.text[self.at..];
        if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            self.at += mark.len();
            return Ok(Kind::Mark);
        }
        match rest.as_bytes().first() {
            Some(b'+' | b'-' | b'*' | b'/' | b'%' | b'(' | b')' | b',' | b';' | b'.' | b'=') => {}
            Some(b'<' | b'>' | b'!' | b'~' | b'&' | b'|' | b'^') => {}
            _ => {
                let shown: String = rest.chars().take(20).collect();
                return Err(Error::Syntax(format!("near '{}'", shown.escape_default())));
            }
        }
        self.at += 1;
        Ok(Kind::Mark)
    }

    /// A string with MySQL's escapes: doubled quotes and backslashes; `\%` and `\_` stay as they are, for LIKE.
    fn string(&mut self, quote: u8) -> Result<String, Error> {
        let unfinished = || Error::Syntax("unfinished string".to_owned());
        let mut value = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let stop = rest
                .bytes()
                .position(|byte| byte == quote || byte == b'\\')
                .ok_or_else(unfinished)?;
            value.push_str(&rest[..stop]);
            let after = &rest[stop + 1..];
            if rest.as_bytes()[stop] == quote {
                self.at += stop + 1;
                if after.as_bytes().first() != Some(&quote) {
                    break;
                }
                value.push(char::from(quote));
                self.at += 1;
                continue;
            }
            let escaped = after.chars().next().ok_or_else(unfinished)?;
            match escaped {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                'b' => value.push('\u{8}'),
                'Z' => value.push('\u{1a}'),
                '0' => return Err(Error::Syntax("a zero byte in a string".to_owned())),
                '%' | '_' => {
                    value.push('\\');
                    value.push(escaped);
                }
                other => value.push(other),
            }
            self.at += stop + 1 + escaped.len_utf8();
        }
        if value.contains('\0') {
            return Err(Error::Syntax("a zero byte in a string".to_owned()));
        }
        Ok(value)
    }

    fn quoted(&mut self, quote: u8) -> Result<String, Error> {
        let mut name = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let stop = rest
                .bytes()
                .position(|byte| byte == quote)
                .ok_or_else(|| Error::Syntax("unfinished quoted name".to_owned()))?;
            name.push_str(&rest[..stop]);
            self.at += stop + 1;
            if rest.as_bytes().get(stop + 1) != Some(&quote) {
                break;
            }
            name.push(char::from(quote));
            self.at += 1;
        }
        if name.is_empty() || name.contains('\0') {
            return Err(Error::Syntax("an empty name".to_owned()));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<(String, Kind)> {
        let found = tokens(text, false).unwrap();
        let show = |token: Token| (text[token.start..token.end].to_owned(), token.kind);
        found.into_iter().map(show).collect()
    }

    #[test]
    fn comments_vanish_and_versioned_ones_open() {
        let words: Vec<String> = kinds("/* a */ SELECT -- b\n 1 # c\n /*!80000 , 2 */; ;")
            .into_iter()
            .map(|(word, _)| word)
            .collect();
        assert_eq!(words, ["SELECT", "1", ",", "2"]);
        assert_eq!(kinds("1--1").len(), 4);
        assert!(tokens("/* a", false).is_err());
    }

    #[test]
    fn strings_names_numbers_and_variables() {
        let one = |text: &str| kinds(text).remove(0).1;
        assert_eq!(one(r"'a\'b''c\n'"), Kind::Text("a'b'c\n".to_owned()));
        assert_eq!(one(r#""x""y""#), Kind::Text("x\"y".to_owned()));
        assert_eq!(kinds("'a' \"b\"").len(), 1);
        assert_eq!(one("'a' 'b'"), Kind::Text("ab".to_owned()));
        assert_eq!(one(r"'100\%'"), Kind::Text(r"100\%".to_owned()));
        assert_eq!(one("`a``b`"), Kind::Quoted("a`b".to_owned()));
        assert_eq!(
            one("@@session.`x`"),
            Kind::SystemVariable("session.x".to_owned())
        );
        assert_eq!(one("@a"), Kind::UserVariable);
        for number in ["1", "1.5", ".5", "1e-3", "0x1F", "2E10"] {
            assert_eq!(kinds(number), [(number.to_owned(), Kind::Number)]);
        }
        assert_eq!(kinds("1-3").len(), 3);
        assert_eq!(kinds("a.b").len(), 3);
        assert_eq!(kinds("a<=>b")[1].0, "<=>");
        let ansi = tokens("\"x\"", true).unwrap();
        assert_eq!(ansi[0].kind, Kind::Quoted("x".to_owned()));
    }

    #[test]
    fn what_cannot_be_a_statement_is_refused() {
        for bad in [
            "'a",
            "`a",
            "``",
            "select 1; select 2",
            "\u{1}",
            "'a\0'",
            r"'\0'",
            "'a\\",
        ] {
            assert!(matches!(tokens(bad, false), Err(Error::Syntax(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_tokens_stand_in_order(text in "[ -~é\n\t]{0,60}") {
            if let Ok(found) = tokens(&text, false) {
                let mut end = 0;
                for token in found {
                    prop_assert!(token.start >= end && token.end > token.start);
                    prop_assert!(text.get(token.start..token.end).is_some());
                    end = token.end;
                }
            }
        }
    }
}
