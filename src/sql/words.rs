//! The tokens of one statement text in hand, to look at by position. Bounded by what the caller takes; never judges.

use super::digest::{Literal, LiteralKind};
use super::keywords::{KEYWORDS, RESERVED};
use super::lexer::{LexMode, Lexer, Token, TokenKind};

/// Values of one list that are looked at.
const LIST_VALUES_MAX: u32 = 256;
/// Rows of one list of rows that are looked at.
const ROWS_MAX: u32 = 2;

/// A text and its tokens, [`TokenKind::End`] left out.
#[derive(Debug)]
pub struct Words<'t> {
    /// The text.
    pub text: &'t [u8],
    /// Its tokens in order.
    pub tokens: Vec<Token>,
    /// Some values of a list were left out.
    pub cut: bool,
}

impl<'t> Words<'t> {
    /// At most `tokens_max` tokens of the text. `None`: it has more.
    pub fn read(text: &'t [u8], mode: LexMode, tokens_max: usize) -> Option<Words<'t>> {
        let mut lexer = Lexer::new(text, mode);
        let mut tokens = Vec::new();
        loop {
            let token = lexer.next_token();
            if token.kind == TokenKind::End {
                return Some(Words {
                    text,
                    tokens,
                    cut: false,
                });
            }
            if tokens.len() >= tokens_max {
                return None;
            }
            tokens.push(token);
        }
    }

    /// As `read`, but of each list among `literals` (those of this text) only the first values, and of rows the first two:
    /// what a statement means does not depend on the rest. `None`: more than `tokens_max` even so.
    pub fn sample(
        text: &'t [u8],
        mode: LexMode,
        literals: &[Literal],
        tokens_max: usize,
    ) -> Option<Words<'t>> {
        let mut lexer = Lexer::new(text, mode);
        let mut literals = literals
            .iter()
            .filter(|literal| literal.elements > ROWS_MAX)
            .peekable();
        let (mut tokens, mut depth, mut values, mut cut) = (Vec::new(), 0u32, 0u32, false);
        loop {
            let token = lexer.next_token();
            if token.kind == TokenKind::End {
                return Some(Words { text, tokens, cut });
            }
            while literals
                .next_if(|literal| literal.end <= token.start)
                .is_some()
            {
                values = 0;
                depth = 0;
            }
            if let Some(literal) = literals
                .peek()
                .filter(|literal| literal.start <= token.start)
            {
                let values_max = if literal.kind == LiteralKind::Rows {
                    ROWS_MAX
                } else {
                    LIST_VALUES_MAX
                };
                match token.kind {
                    TokenKind::LeftParen => depth += 1,
                    TokenKind::RightParen => depth = depth.saturating_sub(1),
                    TokenKind::Comma if depth == 0 => values += 1,
                    _ => {}
                }
                if values >= values_max {
                    cut = true;
                    continue;
                }
            }
            if tokens.len() >= tokens_max {
                return None;
            }
            tokens.push(token);
        }
    }

    /// The token at a place.
    pub fn get(&self, at: usize) -> Option<Token> {
        self.tokens.get(at).copied()
    }

    /// The kind at a place; [`TokenKind::End`] beyond the last.
    pub fn kind(&self, at: usize) -> TokenKind {
        self.get(at).map_or(TokenKind::End, |token| token.kind)
    }

    /// The bytes at a place.
    pub fn bytes(&self, at: usize) -> &'t [u8] {
        self.get(at).map_or(b"", |token| token.bytes(self.text))
    }

    /// The keyword at a place, in the spelling the digest prints (`SCHEMA` for DATABASE, `EXPLAIN` for DESCRIBE); empty otherwise.
    pub fn keyword(&self, at: usize) -> &'static str {
        match self.get(at) {
            Some(Token {
                kind: TokenKind::Keyword,
                keyword,
                ..
            }) => KEYWORDS.get(keyword).map_or("", |word| word.printed()),
            _ => "",
        }
    }

    /// The name at a place in any spelling: bare (a keyword too) or quoted. `None`: no name, or not UTF-8.
    pub fn name(&self, at: usize) -> Option<String> {
        let token = self.get(at)?;
        let name = match token.kind {
            TokenKind::Ident | TokenKind::Keyword => token.bytes(self.text).to_vec(),
            TokenKind::QuotedIdent => unquote_name(token.bytes(self.text)),
            _ => return None,
        };
        String::from_utf8(name).ok()
    }

    /// EXPLAIN ROUTE and a statement, from this place on; `DESC route a` describes a column of a table with that name.
    pub fn explains_route(&self, at: usize) -> bool {
        let statement = match self.get(at + 2) {
            Some(Token {
                kind: TokenKind::LeftParen,
                ..
            }) => true,
            Some(Token {
                kind: TokenKind::Keyword,
                keyword,
                ..
            }) => KEYWORDS
                .get(keyword)
                .is_some_and(|keyword| keyword.flags & RESERVED != 0),
            _ => false,
        };
        statement && self.kind(at + 1) == TokenKind::Ident && self.spells(at + 1, "ROUTE")
    }

    /// Whether the bytes at a place spell `word`, in any case and whatever the token is.
    pub fn spells(&self, at: usize, word: &str) -> bool {
        self.bytes(at).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// The name between backticks (or double quotes under ANSI_QUOTES), doubled marks single.
pub fn unquote_name(quoted: &[u8]) -> Vec<u8> {
    let Some((&mark, rest)) = quoted.split_first() else {
        return Vec::new();
    };
    let inside = rest.get(..rest.len().saturating_sub(1)).unwrap_or_default();
    undouble(inside, mark)
}

/// Doubled marks made single.
pub fn undouble(inside: &[u8], mark: u8) -> Vec<u8> {
    let mut name = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == mark && bytes.peek() == Some(&mark) {
            bytes.next();
        }
        name.push(byte);
    }
    name
}
