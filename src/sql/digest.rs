//! The digest: one pass over the bytes of a statement gives its text without literals, where the literals are, and a hash.
//! Follows MySQL's own token rules (`STATEMENT_DIGEST_TEXT()`), bounded in memory, no allocation once its buffers have grown.
//!
//! Where we differ from the server on purpose: a backtick inside an identifier stays doubled (the server prints it single, so
//! that two statements can print alike), and a text that was cut ends in `...`.

use xxhash_rust::xxh3::xxh3_64;

use super::keywords::{self, HINT_WORDS, KEYWORDS};
use super::lexer::{ClientCharset, LexMode, Lexer, Token, TokenKind};

/// What a folded literal was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LiteralKind {
    /// Digits.
    Int,
    /// Digits with a dot.
    Decimal,
    /// With an exponent.
    Float,
    /// `'x'`.
    String,
    /// `N'x'`.
    National,
    /// `x'41'`, `0x41`.
    Hex,
    /// `b'01'`, `0b01`.
    Bit,
    /// NULL as a value.
    Null,
    /// `?` as the client wrote it.
    Parameter,
    /// The name of a user variable or the host of an account (`@x`): folded by the digest, but no value.
    Name,
    /// Several values between commas, or the one value of `IN (1)`: [`Literal::elements`] values, kinds in [`Literal::mask`].
    List,
    /// Several value rows (`(1, 2), (3, 4)`), the span with the outer parentheses.
    Rows,
}

impl LiteralKind {
    /// The kind's bit in [`Literal::mask`].
    pub fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// One `?` (or `...`) of the digest text: where its bytes are in the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// First byte; a folded sign (`- 1`) is inside.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// For a list its number of values, for rows their number; 1 for a single value.
    pub elements: u32,
    /// What it is.
    pub kind: LiteralKind,
    /// Bits ([`LiteralKind::bit`]) of all the kinds in it; [`SIGNED`] when a sign was folded.
    pub mask: u16,
}

/// Bit of [`Literal::mask`]: at least one value carries a folded sign.
pub const SIGNED: u16 = 1 << 15;

impl Literal {
    /// The literal's bytes in the statement it came from.
    pub fn bytes<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// What the pass noticed besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// The digest text was cut at its limit: it no longer says what the statement is.
    pub truncated: bool,
    /// A byte outside the grammar, or an unterminated string or comment.
    pub malformed: bool,
    /// A token follows a `;`.
    pub multi_statement: bool,
    /// No token at all.
    pub empty: bool,
    /// `/*+ ... */`.
    pub hint: bool,
    /// `/*! ... */` or `/*M! ... */`, read or skipped.
    pub version_comment: bool,
    /// A character set introducer (`_latin1'x'`): the digest does not say which.
    pub introducer: bool,
    /// An identifier with bytes above 0x7F.
    pub non_ascii_name: bool,
    /// A byte above 0x7F anywhere.
    pub non_ascii: bool,
}

/// A token of the digest: what it is to the folding rules, and where its printed text begins.
#[derive(Debug, Clone, Copy)]
struct Printed {
    code: u16,
    text_start: u32,
    start: u32,
}

// Codes beyond the keyword numbers.
const VALUE: u16 = 0xF000;
const LIST: u16 = 0xF001;
const ROW_SINGLE: u16 = 0xF002;
const ROW_SINGLE_LIST: u16 = 0xF003;
const ROW_MULTIPLE: u16 = 0xF004;
const ROW_MULTIPLE_LIST: u16 = 0xF005;
const ORDINAL: u16 = 0xF006;
const LEFT: u16 = 0xF007;
const COMMA: u16 = 0xF008;
const SIGN: u16 = 0xF009;
/// An operator after which a sign belongs to the number.
const OPERATOR: u16 = 0xF00A;
/// An operator after which the server leaves the sign alone (`!`, `~`, `:=`).
const UNARY: u16 = 0xF00B;
const AT: u16 = 0xF00C;
const OTHER: u16 = 0xF00F;

/// Names are copied by blocks of this many bytes.
const COPY_BYTES: usize = 16;

/// Longest integer that the server can take for an ordinal (`ORDER BY 1`); longer ones are decimals to it.
const ORDINAL_BYTES_MAX: usize = 18;

/// The working memory of one worker for one statement at a time.
#[derive(Debug)]
pub struct DigestScratch {
    text_bytes_max: usize,
    text: Vec<u8>,
    tokens: Vec<Printed>,
    literals: Vec<Literal>,
    notes: Notes,
    mode: LexMode,
    hash: u64,
    comment: Option<(u32, u32)>,
    depth: u32,
    /// Bit n: at parenthesis depth n we are inside the list of a BY.
    by_lists: u64,
    in_hint: bool,
    semicolon: bool,
}

impl DigestScratch {
    /// `text_bytes_max`: where the digest text is cut (config `statements.digest_text_bytes_max`).
    pub fn new(text_bytes_max: usize) -> DigestScratch {
        DigestScratch {
            text_bytes_max,
            text: Vec::with_capacity(512),
            tokens: Vec::with_capacity(128),
            literals: Vec::with_capacity(32),
            notes: Notes::default(),
            mode: LexMode::default(),
            hash: 0,
            comment: None,
            depth: 0,
            by_lists: 0,
            in_hint: false,
            semicolon: false,
        }
    }

    /// Digest one statement text. What the last run left is gone.
    pub fn run(&mut self, bytes: &[u8], mode: LexMode) {
        self.text.clear();
        self.tokens.clear();
        self.literals.clear();
        self.notes = Notes::default();
        self.mode = mode;
        self.depth = 0;
        self.by_lists = 0;
        self.in_hint = false;
        self.semicolon = false;
        self.notes.non_ascii = !bytes.is_ascii();
        let mut lexer = Lexer::new(bytes, mode);
        loop {
            let token = lexer.next_token();
            if token.kind == TokenKind::End {
                break;
            }
            self.add(token, bytes);
        }
        if self.code(1) == ORDINAL {
            self.settle_ordinal(None, bytes);
        }
        self.comment = lexer.comment;
        self.notes.version_comment = lexer.saw_version_comment;
        self.notes.empty = self.tokens.is_empty();
        if self.text.last() == Some(&b' ') {
            self.text.pop();
        }
        if self.notes.truncated {
            self.text.extend_from_slice(b"...");
        }
        self.hash =
            xxh3_64(&self.text) ^ u64::from(self.reading()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// The digest text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// One entry per `?` and `...` of the digest text, in order.
    pub fn literals(&self) -> &[Literal] {
        &self.literals
    }

    /// What else was noticed.
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// How the text was read.
    pub fn mode(&self) -> LexMode {
        self.mode
    }

    /// What makes equal digest texts different statements: the mode, and what the text does not show. Part of every key.
    pub fn reading(&self) -> u16 {
        let notes = self.notes;
        let unsafe_bytes = notes.non_ascii && self.mode.charset == ClientCharset::Unsafe;
        u16::from(self.mode.key())
            | u16::from(notes.version_comment) << 8
            | u16::from(notes.truncated) << 9
            | u16::from(notes.malformed) << 10
            | u16::from(notes.multi_statement) << 11
            | u16::from(unsafe_bytes) << 12
            | u16::from(self.mode.server_version >= 90_000) << 13
    }

    /// A hash of text and reading, for look-ups. Equal hashes do not prove equal statements.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last ordinary comment, with its marks: where sqlcommenter writes.
    pub fn comment(&self) -> Option<(u32, u32)> {
        self.comment
    }

    /// A hash of what folding hid: kinds and lengths of the literals. With the digest it fixes what each literal means.
    pub fn shape(&self) -> u64 {
        let mut shape = 0x9E37_79B9_7F4A_7C15u64;
        for literal in &self.literals {
            let word = u64::from(literal.elements) << 24
                | u64::from(literal.mask) << 8
                | literal.kind as u64;
            shape = (shape ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            shape ^= shape >> 32;
        }
        shape
    }

    #[inline]
    fn code(&self, back: usize) -> u16 {
        match self.tokens.len().checked_sub(back) {
            Some(index) => self.tokens.get(index).map_or(OTHER, |token| token.code),
            None => OTHER,
        }
    }

    /// What the token `back` places before the end lets follow: bits of `keywords`.
    #[inline]
    fn lets_follow(&self, back: usize) -> u16 {
        match self.code(back) {
            LEFT | COMMA | SIGN | OPERATOR => keywords::SIGN_FOLDS | keywords::OPERAND,
            UNARY => keywords::OPERAND,
            number => KEYWORDS.get(number).map_or(0, |keyword| keyword.flags),
        }
    }

    /// In line, so that the compiler knows the length of the many that are constant.
    #[inline(always)]
    fn push(&mut self, code: u16, printed: &[u8], start: u32) {
        if self.notes.truncated || self.text.len() + printed.len() > self.text_bytes_max {
            self.notes.truncated = true;
            return;
        }
        self.tokens.push(Printed {
            code,
            text_start: self.text.len() as u32,
            start,
        });
        self.text.extend_from_slice(printed);
    }

    /// Takes `count` tokens off the end and their text with them.
    #[inline]
    fn pop(&mut self, count: usize) {
        let left = self.tokens.len().saturating_sub(count);
        if let Some(first) = self.tokens.get(left) {
            self.text.truncate(first.text_start as usize);
        }
        self.tokens.truncate(left);
    }

    #[inline]
    fn add(&mut self, token: Token, bytes: &[u8]) {
        use TokenKind::*;
        if self.code(1) == ORDINAL {
            self.settle_ordinal(Some(token), bytes);
        }
        if self.semicolon && token.kind != Semicolon {
            self.semicolon = false;
            self.notes.multi_statement = true;
            self.push(OTHER, b"; ", token.start);
        }
        match token.kind {
            Keyword => self.keyword(token),
            Ident | QuotedIdent => self.identifier(token, bytes),
            Int | Decimal | Float | Hex | Bit => self.number(token),
            String => self.value(token, LiteralKind::String, 0),
            National => self.value(token, LiteralKind::National, 0),
            Parameter => self.value(token, LiteralKind::Parameter, 0),
            Hostname => self.value(token, LiteralKind::Name, 0),
            Introducer => {
                self.notes.introducer = true;
                self.push(OTHER, b"(_charset) ", token.start);
            }
            LeftParen => {
                self.depth += 1;
                self.set_by(false);
                self.push(LEFT, b"( ", token.start);
            }
            RightParen => self.right_paren(token),
            Comma => self.push(COMMA, b", ", token.start),
            Plus => self.push(if self.in_hint { OTHER } else { SIGN }, b"+ ", token.start),
            Minus => self.push(if self.in_hint { OTHER } else { SIGN }, b"- ", token.start),
            Dot => self.push(OTHER, b". ", token.start),
            // `@x` prints without a space between.
            At => self.at(token, bytes),
            Semicolon => {
                self.semicolon = !self.tokens.is_empty();
                self.depth = 0;
                self.by_lists = 0;
            }
            HintStart => {
                self.notes.hint = true;
                self.in_hint = true;
                self.push(OTHER, b"/*+ ", token.start);
            }
            HintEnd => self.hint_end(token),
            Operator => self.operator(token, bytes),
            Malformed => {
                self.notes.malformed = true;
                self.push(OTHER, b"\x00 ", token.start);
            }
            End => {}
        }
    }

    /// `/*+ */` without a word in it prints as nothing.
    fn hint_end(&mut self, token: Token) {
        self.in_hint = false;
        if self.text.ends_with(b"/*+ ") && !self.notes.truncated {
            self.pop(1);
        } else {
            self.push(OTHER, b"*/ ", token.start);
        }
    }

    #[inline]
    fn keyword(&mut self, token: Token) {
        if self.in_hint {
            if let Some(word) = HINT_WORDS.get(token.keyword) {
                self.print_word(OTHER, word, token.start);
            }
            return;
        }
        let Some(word) = KEYWORDS.get(token.keyword) else {
            return;
        };
        let flags = word.flags;
        if flags & (keywords::NULL | keywords::BY | keywords::ENDS_BY) != 0 {
            if flags & keywords::NULL != 0 && self.null_is_value() {
                return self.value(token, LiteralKind::Null, 0);
            }
            if flags & keywords::BY != 0 {
                // Not `IDENTIFIED BY`, `TERMINATED BY`.
                self.set_by(self.lets_follow(1) & keywords::BEFORE_BY != 0);
            } else if flags & keywords::ENDS_BY != 0 {
                self.set_by(false);
            }
        }
        self.print_word(token.keyword, word, token.start);
    }

    #[inline]
    fn print_word(&mut self, code: u16, word: &keywords::Keyword, start: u32) {
        if self.notes.truncated || self.text.len() + word.printed().len() >= self.text_bytes_max {
            self.notes.truncated = true;
            return;
        }
        self.tokens.push(Printed {
            code,
            text_start: self.text.len() as u32,
            start,
        });
        word.print(&mut self.text);
    }

    /// NULL stands for a value where an operand may stand; not in `IS [NOT] NULL`, `a INT [NOT] NULL`, `SET NULL`, `NULL ON EMPTY`.
    fn null_is_value(&self) -> bool {
        let before = self.lets_follow(1);
        if before & keywords::NOT != 0 {
            return self.lets_follow(2) & keywords::OPERAND != 0;
        }
        before & keywords::OPERAND != 0
    }

    #[inline]
    fn set_by(&mut self, inside: bool) {
        if self.depth < 64 {
            let bit = 1u64 << self.depth;
            self.by_lists = if inside {
                self.by_lists | bit
            } else {
                self.by_lists & !bit
            };
        }
    }

    #[inline]
    fn identifier(&mut self, token: Token, bytes: &[u8]) {
        let name = token.bytes(bytes);
        if self.notes.non_ascii && !name.is_ascii() {
            self.notes.non_ascii_name = true;
        }
        if self.notes.truncated || self.text.len() + name.len() + 3 > self.text_bytes_max {
            self.notes.truncated = true;
            return;
        }
        // Once for the whole name; a copy of known length is quicker than one of any.
        self.text.reserve(name.len() + COPY_BYTES + 3);
        let text_start = self.text.len() as u32;
        match (token.kind, name.first()) {
            (TokenKind::QuotedIdent, Some(b'"')) => {
                self.text.push(b'`');
                push_requoted(&mut self.text, name);
                self.text.extend_from_slice(b"` ");
            }
            (TokenKind::QuotedIdent, _) => {
                self.copy(token, bytes);
                self.text.push(b' ');
            }
            _ => {
                self.text.push(b'`');
                self.copy(token, bytes);
                self.text.extend_from_slice(b"` ");
            }
        }
        self.tokens.push(Printed {
            code: OTHER,
            text_start,
            start: token.start,
        });
    }

    /// A token's bytes as they are.
    #[inline]
    fn copy(&mut self, token: Token, bytes: &[u8]) {
        let (start, length) = (token.start as usize, (token.end - token.start) as usize);
        match bytes
            .get(start..)
            .and_then(|rest| rest.first_chunk::<COPY_BYTES>())
        {
            Some(block) if length <= COPY_BYTES => {
                self.text.extend_from_slice(block);
                self.text.truncate(self.text.len() - COPY_BYTES + length);
            }
            _ => self.text.extend_from_slice(token.bytes(bytes)),
        }
    }

    #[inline]
    fn number(&mut self, token: Token) {
        let kind = match token.kind {
            TokenKind::Int => LiteralKind::Int,
            TokenKind::Decimal => LiteralKind::Decimal,
            TokenKind::Float => LiteralKind::Float,
            TokenKind::Hex => LiteralKind::Hex,
            _ => LiteralKind::Bit,
        };
        let mut token = token;
        let mut mask = 0;
        while self.code(1) == SIGN
            && self.lets_follow(2) & keywords::SIGN_FOLDS != 0
            && !self.notes.truncated
        {
            token.start = self.tokens.last().map_or(token.start, |sign| sign.start);
            self.pop(1);
            mask = SIGNED;
        }
        if kind == LiteralKind::Int
            && mask == 0
            && self.at_ordinal()
            && (token.end - token.start) as usize <= ORDINAL_BYTES_MAX
        {
            // Printed as a value until what follows shows that it is the whole item.
            self.push_ordinal(token);
            return;
        }
        self.value(token, kind, mask);
    }

    /// Where `ORDER BY 1` has its 1.
    #[inline]
    fn at_ordinal(&self) -> bool {
        if self.depth >= 64 || self.by_lists >> self.depth & 1 == 0 {
            return false;
        }
        match self.code(1) {
            COMMA => !matches!(self.code(2), VALUE | LIST),
            number => KEYWORDS
                .get(number)
                .is_some_and(|keyword| keyword.flags & keywords::BY != 0),
        }
    }

    fn push_ordinal(&mut self, token: Token) {
        self.value(token, LiteralKind::Int, 0);
        if let Some(last) = self.tokens.last_mut()
            && !self.notes.truncated
        {
            last.code = ORDINAL;
        }
    }

    /// The token behind a possible ordinal has come: keep the number if it was the whole item, else leave it a value.
    fn settle_ordinal(&mut self, next: Option<Token>, bytes: &[u8]) {
        let whole_item = match next.map(|token| (token.kind, token.keyword)) {
            None | Some((TokenKind::Comma | TokenKind::RightParen | TokenKind::Semicolon, _)) => {
                true
            }
            Some((TokenKind::Keyword, number)) => KEYWORDS
                .get(number)
                .is_some_and(|keyword| keyword.flags & keywords::AFTER_ORDINAL != 0),
            Some(_) => false,
        };
        let Some(last) = self.tokens.last_mut() else {
            return;
        };
        last.code = VALUE;
        if !whole_item {
            return;
        }
        let start = last.start;
        self.pop(1);
        if let Some(literal) = self.literals.pop() {
            let digits = literal.bytes(bytes);
            let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
            self.push(
                OTHER,
                digits
                    .get(zeros.min(digits.len().saturating_sub(1))..)
                    .unwrap_or_default(),
                start,
            );
            if !self.notes.truncated {
                self.text.push(b' ');
            }
        }
    }

    /// A value: joins the value or list before it (`?, ...`), as the server does.
    #[inline]
    fn value(&mut self, token: Token, kind: LiteralKind, mask: u16) {
        let kind = if self.code(1) == AT {
            LiteralKind::Name
        } else {
            kind
        };
        let literal = Literal {
            start: token.start,
            end: token.end,
            elements: 1,
            kind,
            mask: kind.bit() | mask,
        };
        if self.code(1) == COMMA && matches!(self.code(2), VALUE | LIST) && !self.notes.truncated {
            if let Some(list) = self.literals.last_mut() {
                list.end = literal.end;
                list.elements = list.elements.saturating_add(1);
                list.kind = LiteralKind::List;
                list.mask |= literal.mask;
            }
            if self.code(2) == LIST {
                // The list is printed already.
                return self.pop(1);
            }
            let first = self
                .tokens
                .len()
                .checked_sub(2)
                .and_then(|first| self.tokens.get(first));
            let start = first.map_or(token.start, |first| first.start);
            self.pop(2);
            self.push(LIST, b"?, ... ", start);
        } else {
            self.push(VALUE, b"? ", token.start);
            if !self.notes.truncated {
                self.literals.push(literal);
            }
        }
    }

    /// `( ? )` and `( ?, ... )` become rows, rows between commas become one list of rows, and what IN compares with is one form.
    #[inline]
    fn right_paren(&mut self, token: Token) {
        self.set_by(false);
        self.depth = self.depth.saturating_sub(1);
        let inner = self.code(1);
        if self.code(2) != LEFT || !matches!(inner, VALUE | LIST) || self.notes.truncated {
            return self.push(OTHER, b") ", token.start);
        }
        let start = self
            .tokens
            .get(self.tokens.len() - 2)
            .map_or(token.start, |left| left.start);
        self.pop(2);
        if self.lets_follow(1) & keywords::IN != 0 {
            if let Some(literal) = self.literals.last_mut() {
                literal.kind = LiteralKind::List;
            }
            return self.push(OTHER, b"(...) ", start);
        }
        let (row, rows, printed, printed_list): (u16, u16, &[u8], &[u8]) = if inner == VALUE {
            (ROW_SINGLE, ROW_SINGLE_LIST, b"(?) ", b"(?) /* , ... */ ")
        } else {
            (
                ROW_MULTIPLE,
                ROW_MULTIPLE_LIST,
                b"(...) ",
                b"(...) /* , ... */ ",
            )
        };
        if self.code(1) != COMMA || !(self.code(2) == row || self.code(2) == rows) {
            return self.push(row, printed, start);
        }
        let start = self
            .tokens
            .get(self.tokens.len() - 2)
            .map_or(start, |first| first.start);
        self.pop(2);
        if let Some(last) = self.literals.pop()
            && let Some(all) = self.literals.last_mut()
        {
            all.elements = if all.kind == LiteralKind::Rows {
                all.elements.saturating_add(1)
            } else {
                2
            };
            all.kind = LiteralKind::Rows;
            all.start = start;
            all.end = token.end;
            all.mask |= last.mask;
        }
        self.push(rows, printed_list, start);
    }

    fn at(&mut self, token: Token, bytes: &[u8]) {
        // `t1@qb1` in a hint is one word.
        let glued = token
            .start
            .checked_sub(1)
            .and_then(|before| bytes.get(before as usize));
        if self.in_hint
            && self.text.last() == Some(&b' ')
            && glued.is_some_and(|byte| !byte.is_ascii_whitespace() && *byte != b'(')
        {
            self.text.pop();
        }
        self.push(AT, b"@", token.start);
    }

    #[inline]
    fn operator(&mut self, token: Token, bytes: &[u8]) {
        let text = token.bytes(bytes);
        let code = match text {
            _ if self.in_hint => OTHER,
            b"!" | b"~" | b":=" => UNARY,
            // As a string operator it is another token to the server, one that leaves signs alone.
            b"||" if self.mode.pipes_as_concat => UNARY,
            b"->" | b"->>" | b"{" | b"}" | b":" => OTHER,
            _ => OPERATOR,
        };
        // One token to the server, so one spelling.
        let text = if text == b"<>" { b"!=" } else { text };
        self.push(code, text, token.start);
        if !self.notes.truncated {
            self.text.push(b' ');
        }
    }
}

/// The inside of `"a""b"` as it stands between backticks.
fn push_requoted(text: &mut Vec<u8>, quoted: &[u8]) {
    let inside = quoted
        .get(1..quoted.len().saturating_sub(1))
        .unwrap_or_default();
    let mut skip = false;
    for &byte in inside {
        if std::mem::take(&mut skip) {
            continue;
        }
        match byte {
            b'"' => {
                text.push(b'"');
                skip = true;
            }
            b'`' => text.extend_from_slice(b"``"),
            _ => text.push(byte),
        }
    }
}
