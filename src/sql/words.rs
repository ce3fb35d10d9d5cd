//! The tokens of one statement text in hand, to look at by position. Bounded by what the caller takes; never judges.

use super::keywords::KEYWORDS;
use super::lexer::{LexMode, Lexer, Token, TokenKind};

/// A text and its tokens, [`TokenKind::End`] left out.
#[derive(Debug)]
pub struct Words<'t> {
    /// The text.
    pub text: &'t [u8],
    /// Its tokens in order.
    pub tokens: Vec<Token>,
}

impl<'t> Words<'t> {
    /// At most `tokens_max` tokens of the text. `None`: it has more.
    pub fn read(text: &'t [u8], mode: LexMode, tokens_max: usize) -> Option<Words<'t>> {
        let mut lexer = Lexer::new(text, mode);
        let mut tokens = Vec::new();
        loop {
            let token = lexer.next_token();
            if token.kind == TokenKind::End {
                return Some(Words { text, tokens });
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

    /// Whether the bytes at a place spell `word`, in any case and whatever the token is.
    pub fn spells(&self, at: usize, word: &str) -> bool {
        self.bytes(at).eq_ignore_ascii_case(word.as_bytes())
    }
}
