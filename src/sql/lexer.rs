//! Bytes to tokens by MySQL's lexical rules: any bytes, no UTF-8 needed, linear time, never a panic. Knows no grammar.
//!
//! The rules were learnt from the server's answers, not from its code: where a word is an identifier whatever it spells (after
//! a dot), where `-` starts a comment, which digits make an identifier (`1e`, `0X41`), what a version comment hides.

use super::keywords::{self, HINT_WORDS, HINTABLE, KEYWORDS};

/// How the session that sent the text reads it. What changes a token must be here, and in [`LexMode::key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexMode {
    /// `sql_mode` ANSI_QUOTES: `"x"` is an identifier.
    pub ansi_quotes: bool,
    /// `sql_mode` NO_BACKSLASH_ESCAPES: `\` in a string is itself.
    pub no_backslash_escapes: bool,
    /// `sql_mode` IGNORE_SPACE: `count (` is the function.
    pub ignore_space: bool,
    /// `sql_mode` PIPES_AS_CONCAT: `||` joins strings. No token changes, the tree does.
    pub pipes_as_concat: bool,
    /// `sql_mode` HIGH_NOT_PRECEDENCE. No token changes, the tree does.
    pub high_not_precedence: bool,
    /// What `character_set_client` is.
    pub charset: ClientCharset,
    /// The server's `MYSQL_VERSION_ID` (90704): which `/*!NNNNN */` it reads.
    pub server_version: u32,
    /// The server is MariaDB: it reads `/*M! */` too.
    pub mariadb: bool,
}

/// What bytes above 0x7F may mean in the client's character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCharset {
    /// utf8mb4, utf8mb3: names are readable as they are.
    Utf8,
    /// One byte a character (latin1 ...), or multi-byte without ASCII in second bytes (ujis, euckr): tokens are right, names are not readable.
    Other,
    /// gbk, gb18030, big5, sjis, cp932: a second byte may look like `\` or `` ` ``, so tokens around such bytes cannot be trusted.
    Unsafe,
}

impl ClientCharset {
    /// By the name in `character_set_client`. Unknown names are unsafe.
    pub fn from_name(name: &str) -> ClientCharset {
        match name.to_ascii_lowercase().as_str() {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => ClientCharset::Utf8,
            "gbk" | "gb18030" | "big5" | "sjis" | "cp932" | "gb2312" => ClientCharset::Unsafe,
            known if keywords::is_introducer(format!("_{known}").as_bytes()) => {
                ClientCharset::Other
            }
            _ => ClientCharset::Unsafe,
        }
    }
}

impl Default for LexMode {
    fn default() -> LexMode {
        LexMode {
            ansi_quotes: false,
            no_backslash_escapes: false,
            ignore_space: false,
            pipes_as_concat: false,
            high_not_precedence: false,
            charset: ClientCharset::Utf8,
            server_version: 90704,
            mariadb: false,
        }
    }
}

impl LexMode {
    /// Everything that gives the same digest text another meaning, as a number: part of every statement key.
    pub fn key(&self) -> u8 {
        u8::from(self.ansi_quotes)
            | u8::from(self.no_backslash_escapes) << 1
            | u8::from(self.ignore_space) << 2
            | u8::from(self.pipes_as_concat) << 3
            | u8::from(self.high_not_precedence) << 4
            | (self.charset as u8) << 5
            | u8::from(self.mariadb) << 7
    }
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenKind {
    /// A word of the grammar (`Token::keyword` is its number in [`KEYWORDS`], or in [`HINT_WORDS`] inside a hint).
    Keyword,
    /// An identifier without quotes.
    Ident,
    /// `` `x` ``, or `"x"` under ANSI_QUOTES; the span holds the quotes.
    QuotedIdent,
    /// `_utf8mb4` before a literal.
    Introducer,
    /// `'x'` or `"x"`; the span holds the quotes.
    String,
    /// `N'x'`.
    National,
    /// `x'41'` or `0x41`.
    Hex,
    /// `b'01'` or `0b01`.
    Bit,
    /// Digits.
    Int,
    /// Digits with a dot.
    Decimal,
    /// With an exponent.
    Float,
    /// `?`.
    Parameter,
    /// The name after `@`, where it has no quotes (`x.y` in `@x.y`).
    Hostname,
    /// `@`.
    At,
    /// `;`.
    Semicolon,
    /// `(`.
    LeftParen,
    /// `)`.
    RightParen,
    /// `,`.
    Comma,
    /// `.`.
    Dot,
    /// `+`.
    Plus,
    /// `-`.
    Minus,
    /// Another operator; its text is the span (`<>` prints as `!=`).
    Operator,
    /// `/*+`, with the hint's tokens after it.
    HintStart,
    /// `*/` of a hint.
    HintEnd,
    /// A byte the grammar has no place for, an unterminated string or comment. The text cannot be trusted from here.
    Malformed,
    /// The end of the text.
    End,
}

/// One token: a kind and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Meaningful for [`TokenKind::Keyword`] only.
    pub keyword: u16,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Token {
    /// The token's bytes in the text it came from.
    pub fn bytes<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

const OTHER: u8 = 0;
const SPACE: u8 = 1;
/// A token by itself, whatever follows.
const SINGLE: u8 = 2;
const LETTER: u8 = 3;
const DIGIT: u8 = 4;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | 0x09..=0x0D => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80..=0xFF => LETTER,
            b'0'..=b'9' => DIGIT,
            b'(' | b')' | b',' | b';' | b'?' | b'+' | b'=' | b'%' | b'^' | b'~' | b'{' | b'}' => {
                SINGLE
            }
            _ => OTHER,
        };
        byte += 1;
    }
    table
}

#[inline]
fn is_ident(byte: u8) -> bool {
    CLASS[byte as usize] >= LETTER
}

/// Bytes of a name or string looked at one by one before a search by blocks begins: most are shorter.
const SHORT_BYTES: usize = 16;

/// What the next token must be, whatever its bytes spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Anything,
    /// After a dot: an identifier, also where it spells a keyword or begins with a digit.
    Ident,
    /// After `@`: a user variable or host name.
    Hostname,
    /// After `@@`: a word, also where it begins with a digit.
    SystemVariable,
}

/// The tokens of one text, in order. After [`TokenKind::End`] every call gives it again.
#[derive(Debug)]
pub struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    mode: LexMode,
    expect: Expect,
    in_hint: bool,
    hint_allowed: bool,
    /// Inside `/*! ... */` whose text the server reads.
    in_version_comment: bool,
    /// A `/*! */` or `/*M! */` was met, read or skipped.
    pub saw_version_comment: bool,
    /// The last ordinary comment (`/* */`), with its marks: where sqlcommenter writes.
    pub comment: Option<(u32, u32)>,
}

impl<'t> Lexer<'t> {
    /// Texts of 4 GiB and more are cut there (packets cannot carry them).
    pub fn new(text: &'t [u8], mode: LexMode) -> Lexer<'t> {
        let text = text.get(..u32::MAX as usize).unwrap_or(text);
        Lexer {
            text,
            at: 0,
            mode,
            expect: Expect::Anything,
            in_hint: false,
            hint_allowed: false,
            in_version_comment: false,
            saw_version_comment: false,
            comment: None,
        }
    }

    #[inline]
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    #[inline]
    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token {
            kind,
            keyword: 0,
            start: start as u32,
            end: self.at as u32,
        }
    }

    /// The next token.
    #[inline]
    pub fn next_token(&mut self) -> Token {
        let expect = std::mem::replace(&mut self.expect, Expect::Anything);
        // A hint stands right behind its keyword: not even a comment may come between.
        let mut hint_here = std::mem::take(&mut self.hint_allowed);
        if expect != Expect::Anything
            && let Some(token) = self.expected(expect)
        {
            return token;
        }
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return self.end();
            };
            match CLASS[byte as usize] {
                SPACE => self.at += 1,
                SINGLE => return self.single(byte),
                LETTER => return self.word_or_prefixed_literal(byte),
                DIGIT => return self.number_or_ident(),
                _ => {
                    if let Some(token) = self.other(byte, hint_here) {
                        return token;
                    }
                    hint_here = false;
                }
            }
        }
    }

    #[inline]
    fn single(&mut self, byte: u8) -> Token {
        let start = self.at;
        self.at += 1;
        let kind = match byte {
            b'(' => TokenKind::LeftParen,
            b')' => TokenKind::RightParen,
            b',' => TokenKind::Comma,
            b';' => TokenKind::Semicolon,
            b'?' => TokenKind::Parameter,
            b'+' => TokenKind::Plus,
            _ => TokenKind::Operator,
        };
        self.token(kind, start)
    }

    fn end(&mut self) -> Token {
        // A hint or a version comment that nobody closed is an error to the server too.
        let unfinished =
            std::mem::take(&mut self.in_hint) | std::mem::take(&mut self.in_version_comment);
        let at = self.text.len();
        self.at = at;
        self.token(
            if unfinished {
                TokenKind::Malformed
            } else {
                TokenKind::End
            },
            at,
        )
    }

    fn expected(&mut self, expect: Expect) -> Option<Token> {
        let start = self.at;
        match expect {
            Expect::Hostname => {
                while matches!(self.peek(0), b'.' | b'_' | b'$' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | 0x80..=0xFF)
                    && self.at < self.text.len()
                {
                    self.at += 1;
                }
                // `@ x` is a nameless variable to the server.
                Some(self.token(TokenKind::Hostname, start))
            }
            Expect::Ident if is_ident(self.peek(0)) => {
                self.take_ident();
                self.after_ident();
                Some(self.token(TokenKind::Ident, start))
            }
            Expect::SystemVariable if is_ident(self.peek(0)) => {
                self.take_ident();
                // `@@global.x`: the scope is a keyword although a dot follows.
                let mut token = self.token(TokenKind::Ident, start);
                if let Some(number) = KEYWORDS.find(&self.text[start..self.at]) {
                    token.kind = TokenKind::Keyword;
                    token.keyword = number;
                }
                Some(token)
            }
            _ => None,
        }
    }

    #[inline]
    fn take_ident(&mut self) {
        while self.at < self.text.len() && is_ident(self.text[self.at]) {
            self.at += 1;
        }
    }

    /// A dot right behind an identifier makes the next word an identifier.
    #[inline]
    fn after_ident(&mut self) -> bool {
        self.peek(0) == b'.' && is_ident(self.peek(1))
    }

    #[inline]
    fn word_or_prefixed_literal(&mut self, byte: u8) -> Token {
        let start = self.at;
        if self.peek(1) == b'\'' && !self.in_hint {
            match byte {
                b'x' | b'X' => {
                    if let Some(token) =
                        self.quoted_digits(TokenKind::Hex, |digit| digit.is_ascii_hexdigit())
                    {
                        return token;
                    }
                }
                b'b' | b'B' => {
                    if let Some(token) =
                        self.quoted_digits(TokenKind::Bit, |digit| matches!(digit, b'0' | b'1'))
                    {
                        return token;
                    }
                }
                b'n' | b'N' => {
                    self.at += 1;
                    let mut token = self.string(b'\'');
                    token.start = start as u32;
                    if token.kind == TokenKind::String {
                        token.kind = TokenKind::National;
                    }
                    return token;
                }
                _ => {}
            }
        }
        self.take_ident();
        self.keyword_or_ident(start)
    }

    /// `x'..'`: an even number of hex digits; anything else is an error of the server's, so of ours.
    fn quoted_digits(&mut self, kind: TokenKind, allowed: fn(u8) -> bool) -> Option<Token> {
        let start = self.at;
        let mut at = start + 2;
        while self.text.get(at).is_some_and(|&digit| allowed(digit)) {
            at += 1;
        }
        let closed = self.text.get(at) == Some(&b'\'');
        let even = kind != TokenKind::Hex || (at - start).is_multiple_of(2);
        self.at = if closed { at + 1 } else { at };
        Some(self.token(
            if closed && even {
                kind
            } else {
                TokenKind::Malformed
            },
            start,
        ))
    }

    #[inline]
    fn keyword_or_ident(&mut self, start: usize) -> Token {
        let word = &self.text[start..self.at];
        if self.in_hint {
            let mut token = self.token(TokenKind::Ident, start);
            if let Some(number) = HINT_WORDS.find(word) {
                token.kind = TokenKind::Keyword;
                token.keyword = number;
            }
            return token;
        }
        // `status.x`: not the keyword. A dot with a space around it does not hide one.
        if self.after_ident() {
            return self.token(TokenKind::Ident, start);
        }
        if let Some(number) = KEYWORDS.find(word)
            && let Some(keyword) = KEYWORDS.get(number)
            && (keyword.flags & keywords::FUNCTION == 0 || self.at_call())
        {
            self.hint_allowed = keyword.flags & HINTABLE != 0;
            let mut token = self.token(TokenKind::Keyword, start);
            token.keyword = number;
            return token;
        }
        let introducer = word.first() == Some(&b'_') && keywords::is_introducer(word);
        self.token(
            if introducer {
                TokenKind::Introducer
            } else {
                TokenKind::Ident
            },
            start,
        )
    }

    /// Whether `(` follows: at once, or after spaces under IGNORE_SPACE.
    fn at_call(&self) -> bool {
        let mut ahead = 0;
        if self.mode.ignore_space {
            while CLASS[self.peek(ahead) as usize] == SPACE {
                ahead += 1;
            }
        }
        self.peek(ahead) == b'('
    }

    #[inline]
    fn number_or_ident(&mut self) -> Token {
        let start = self.at;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'b') {
            let hex = self.peek(1) == b'x';
            let mut at = self.at + 2;
            while self.text.get(at).is_some_and(|&byte| {
                if hex {
                    byte.is_ascii_hexdigit()
                } else {
                    matches!(byte, b'0' | b'1')
                }
            }) {
                at += 1;
            }
            if at > self.at + 2 && !self.text.get(at).is_some_and(|&byte| is_ident(byte)) {
                self.at = at;
                return self.token(if hex { TokenKind::Hex } else { TokenKind::Bit }, start);
            }
            self.take_ident();
            return self.token(TokenKind::Ident, start);
        }
        self.take_digits();
        if self.peek(0) == b'.' {
            self.at += 1;
            return self.fraction(start);
        }
        if self.at == self.text.len() || !is_ident(self.peek(0)) {
            if self.in_hint && self.hint_suffix() {
                self.at += 1;
            }
            return self.token(TokenKind::Int, start);
        }
        if self.in_hint && self.hint_suffix() && !is_ident(self.peek(1)) {
            self.at += 1;
            return self.token(TokenKind::Int, start);
        }
        if self.take_exponent() {
            return self.token(TokenKind::Float, start);
        }
        self.take_ident();
        self.token(TokenKind::Ident, start)
    }

    fn hint_suffix(&self) -> bool {
        matches!(self.peek(0), b'k' | b'K' | b'm' | b'M' | b'g' | b'G')
    }

    #[inline]
    fn take_digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    /// `e5`, `e+5`: taken whole or not at all.
    fn take_exponent(&mut self) -> bool {
        if !matches!(self.peek(0), b'e' | b'E') {
            return false;
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if !self.peek(1 + sign).is_ascii_digit() {
            return false;
        }
        self.at += 1 + sign;
        self.take_digits();
        true
    }

    /// Behind the dot of a number.
    fn fraction(&mut self, start: usize) -> Token {
        self.take_digits();
        if self.take_exponent() {
            return self.token(TokenKind::Float, start);
        }
        self.token(TokenKind::Decimal, start)
    }

    /// A byte that is neither space nor word. `None`: it was a comment, go on.
    fn other(&mut self, byte: u8, hint_here: bool) -> Option<Token> {
        let start = self.at;
        match byte {
            b'\'' => return Some(self.string(byte)),
            b'"' if self.mode.ansi_quotes && !self.in_hint => return Some(self.quoted_ident(byte)),
            b'"' => return Some(self.string(byte)),
            b'`' => return Some(self.quoted_ident(byte)),
            b'#' => {
                self.skip_line();
                return None;
            }
            b'-' if self.peek(1) == b'-' && self.comment_follows_dashes() => {
                self.skip_line();
                return None;
            }
            b'/' if self.peek(1) == b'*' && !self.in_hint => {
                return self.comment_or_hint(hint_here);
            }
            b'*' if self.peek(1) == b'/' && (self.in_hint || self.in_version_comment) => {
                self.at += 2;
                if std::mem::take(&mut self.in_hint) {
                    return Some(self.token(TokenKind::HintEnd, start));
                }
                self.in_version_comment = false;
                return None;
            }
            b'.' if self.peek(1).is_ascii_digit() && !self.behind_name() => {
                self.at += 1;
                return Some(self.fraction(start));
            }
            _ => {}
        }
        Some(self.punctuation(byte))
    }

    /// Right behind a name a dot separates names, also before a digit (`t.1`).
    fn behind_name(&self) -> bool {
        let before = self
            .at
            .checked_sub(1)
            .and_then(|before| self.text.get(before));
        before.is_some_and(|&byte| {
            is_ident(byte) || byte == b'`' || byte == b'"' && self.mode.ansi_quotes
        })
    }

    /// `--` opens a comment only before a space, a control byte or the end.
    fn comment_follows_dashes(&self) -> bool {
        match self.text.get(self.at + 2) {
            None => true,
            Some(&byte) => CLASS[byte as usize] == SPACE || byte < 0x20 || byte == 0x7F,
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    }

    fn punctuation(&mut self, byte: u8) -> Token {
        use TokenKind::*;
        let start = self.at;
        let (kind, length) = match (byte, self.peek(1)) {
            (b'.', _) => (Dot, 1),
            (b'@', _) => (At, 1),
            (b'<', b'=') if self.peek(2) == b'>' => (Operator, 3),
            (b'-', b'>') if self.peek(2) == b'>' => (Operator, 3),
            (b'<', b'=' | b'>' | b'<') | (b'>', b'=' | b'>') | (b'!' | b':', b'=') => (Operator, 2),
            (b'&', b'&') | (b'|', b'|') | (b'-', b'>') => (Operator, 2),
            (b'-', _) => (Minus, 1),
            (b'<' | b'>' | b'*' | b'/' | b'&' | b'|' | b'!' | b':', _) => (Operator, 1),
            _ => (Malformed, 1),
        };
        self.at += length;
        self.expect = match kind {
            Dot if is_ident(self.peek(0)) => Expect::Ident,
            At if self.in_hint => Expect::Anything,
            At if start > 0 && self.text[start - 1] == b'@' => Expect::SystemVariable,
            At if !matches!(self.peek(0), b'@' | b'\'' | b'"' | b'`') => Expect::Hostname,
            _ => Expect::Anything,
        };
        self.token(kind, start)
    }

    /// From the opening quote; a doubled quote and, by mode, a backslash escape do not end it.
    fn string(&mut self, quote: u8) -> Token {
        let start = self.at;
        let escapes = !self.mode.no_backslash_escapes;
        let mut at = self.at + 1;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let wanted = |byte: u8| byte == quote || byte == b'\\' && escapes;
            let found = find_near(rest, wanted).or_else(|| {
                let far = rest.get(SHORT_BYTES..)?;
                let found = if escapes {
                    memchr::memchr2(quote, b'\\', far)
                } else {
                    memchr::memchr(quote, far)
                };
                found.map(|offset| offset + SHORT_BYTES)
            });
            let Some(offset) = found else {
                self.at = self.text.len();
                return self.token(TokenKind::Malformed, start);
            };
            at += offset;
            if self.text[at] == b'\\' && escapes || self.text.get(at + 1) == Some(&quote) {
                at += 2;
                continue;
            }
            self.at = at + 1;
            return self.token(TokenKind::String, start);
        }
    }

    fn quoted_ident(&mut self, quote: u8) -> Token {
        let start = self.at;
        let mut at = self.at + 1;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let found = find_near(rest, |byte| byte == quote).or_else(|| {
                let far = rest.get(SHORT_BYTES..)?;
                memchr::memchr(quote, far).map(|offset| offset + SHORT_BYTES)
            });
            let Some(offset) = found else {
                self.at = self.text.len();
                return self.token(TokenKind::Malformed, start);
            };
            at += offset;
            if self.text.get(at + 1) == Some(&quote) {
                at += 2;
                continue;
            }
            self.at = at + 1;
            return self.token(TokenKind::QuotedIdent, start);
        }
    }

    /// At `/*`. `None`: skipped, or its text is read as if the marks were not there.
    fn comment_or_hint(&mut self, hint_here: bool) -> Option<Token> {
        let start = self.at;
        let mark = self.peek(2);
        if mark == b'+' && hint_here && !self.in_version_comment {
            self.at += 3;
            self.in_hint = true;
            return Some(self.token(TokenKind::HintStart, start));
        }
        let version_at = match (mark, self.peek(3)) {
            (b'!', _) => Some(start + 3),
            (b'M', b'!') => Some(start + 4),
            _ => None,
        };
        if let Some(version_at) = version_at {
            self.saw_version_comment = true;
            let (version, digits) = version_number(&self.text[version_at..]);
            let read_here = mark == b'!' || self.mode.mariadb;
            // One inside another is left to the server: its rules changed between versions.
            if read_here && version <= self.mode.server_version && !self.in_version_comment {
                self.at = version_at + digits;
                self.in_version_comment = true;
                return None;
            }
        }
        match memchr::memmem::find(&self.text[start + 2..], b"*/") {
            Some(offset) => {
                self.at = start + 2 + offset + 2;
                if version_at.is_none() {
                    self.comment = Some((start as u32, self.at as u32));
                }
                None
            }
            None => {
                self.at = self.text.len();
                Some(self.token(TokenKind::Malformed, start))
            }
        }
    }
}

/// The first wanted byte among the first few.
#[inline]
fn find_near(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    bytes
        .iter()
        .take(SHORT_BYTES)
        .position(|&byte| wanted(byte))
}

/// The five or six digits behind `/*!`, and how many they were. No digits: version 0, read by everybody.
fn version_number(text: &[u8]) -> (u32, usize) {
    let digits = text
        .iter()
        .take(6)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits < 5 {
        return (0, 0);
    }
    let value = text[..digits]
        .iter()
        .fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    (value, digits)
}
