//! A query's tokens to a tree: our lexer feeds sqlparser's grammar. The tree is for reading, never for printing.
//!
//! Feeding our own tokens mends what sqlparser's tokenizer does not know of MySQL (`1e`, introducers, `||` as OR, escapes,
//! words that are no keyword here), keeps big lists out of the tree, and makes every span a byte offset (line 1, column =
//! offset + 1). Identifiers are fed as quoted words, so that none of another dialect's keywords wakes up.

use sqlparser::ast::Statement as Ast;
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span, Token as Fed, TokenWithSpan, Word};

use super::digest::{Literal, LiteralKind};
use super::functions::{self, Function};
use super::keywords::{FUNCTION, KEYWORDS, RESERVED};
use super::lexer::{LexMode, Token, TokenKind};
use super::session_statement::unescape;
use super::statement::Slot;
use super::words::{Words, unquote_name};

/// Tokens given to the parser. Trees can be as deep as their text is long (`1+1+1+...`), and are walked and dropped by recursion.
const TOKENS_MAX: usize = 3000;
/// sqlparser's own guard against deep nesting.
const RECURSION_MAX: usize = 50;

/// A tree and where the literals of its text are.
#[derive(Debug)]
pub struct Tree {
    /// The query.
    pub ast: Ast,
    /// Every literal value that was fed, by position.
    pub slots: Vec<Slot>,
    /// The tree says not quite what the text says: good for tables, not for views.
    pub bent: bool,
}

/// Why there is no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// More than we give to the parser.
    TooComplex,
    /// sqlparser does not know the form.
    Refused,
}

/// Parse a query from its sample tokens ([`Words::sample`]: long lists are cut). `literals` are those its digest found.
pub fn query(words: &Words, literals: &[Literal], mode: LexMode) -> Result<Tree, Failure> {
    let mut feeder = Feeder {
        words,
        literals,
        mode,
        fed: Vec::new(),
        slots: Vec::new(),
        bent: words.cut,
    };
    feeder.feed()?;
    let dialect = MySqlDialect {};
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens_with_locations(feeder.fed);
    let query = parser.parse_query().map_err(|_| Failure::Refused)?;
    if parser.peek_token_ref().token != Fed::EOF {
        return Err(Failure::Refused);
    }
    Ok(Tree {
        ast: Ast::Query(query),
        slots: feeder.slots,
        bent: feeder.bent,
    })
}

struct Feeder<'w, 't> {
    words: &'w Words<'t>,
    literals: &'w [Literal],
    mode: LexMode,
    fed: Vec<TokenWithSpan>,
    slots: Vec<Slot>,
    bent: bool,
}

impl Feeder<'_, '_> {
    fn feed(&mut self) -> Result<(), Failure> {
        let (mut at, mut literal) = (0, 0);
        while let Some(token) = self.words.get(at) {
            while self
                .literals
                .get(literal)
                .is_some_and(|literal| literal.end <= token.start)
            {
                literal += 1;
            }
            at = match self.literals.get(literal) {
                Some(found) if found.start <= token.start => self.literal(at, literal, *found),
                _ => self.token(at, token),
            };
            if self.fed.len() > TOKENS_MAX {
                return Err(Failure::TooComplex);
            }
        }
        Ok(())
    }

    fn push(&mut self, fed: Fed, start: u32, end: u32) {
        let place = |offset: u32| Location {
            line: 1,
            column: u64::from(offset) + 1,
        };
        self.fed.push(TokenWithSpan {
            token: fed,
            span: Span {
                start: place(start),
                end: place(end),
            },
        });
    }

    /// All tokens of one literal.
    fn literal(&mut self, mut at: usize, index: usize, literal: Literal) -> usize {
        let (mut element, mut depth, mut signed) = (0u32, 0u32, false);
        while let Some(token) = self.words.get(at).filter(|token| token.start < literal.end) {
            at += 1;
            let fed = match token.kind {
                TokenKind::Comma => {
                    element += u32::from(depth == 0);
                    Fed::Comma
                }
                TokenKind::Plus => Fed::Plus,
                TokenKind::Minus => Fed::Minus,
                TokenKind::LeftParen => {
                    depth += 1;
                    Fed::LParen
                }
                TokenKind::RightParen => {
                    depth = depth.saturating_sub(1);
                    Fed::RParen
                }
                _ => {
                    // The sign binds closer than anything to the server; to the parser `^` binds closer.
                    self.bent |= signed && self.words.bytes(at) == b"^";
                    self.value(token, index as u32, element);
                    continue;
                }
            };
            signed = matches!(fed, Fed::Plus | Fed::Minus);
            self.push(fed, token.start, token.end);
        }
        at
    }

    fn value(&mut self, token: Token, literal: u32, element: u32) {
        let bytes = token.bytes(self.words.text);
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let string =
            |quoted: &[u8]| String::from_utf8_lossy(&unescape(quoted, self.mode)).into_owned();
        let (fed, kind) = match token.kind {
            TokenKind::Int => (Fed::Number(text(), false), LiteralKind::Int),
            TokenKind::Decimal => (Fed::Number(text(), false), LiteralKind::Decimal),
            TokenKind::Float => (Fed::Number(text(), false), LiteralKind::Float),
            TokenKind::String if bytes.first() == Some(&b'"') => {
                (Fed::DoubleQuotedString(string(bytes)), LiteralKind::String)
            }
            TokenKind::String => (Fed::SingleQuotedString(string(bytes)), LiteralKind::String),
            TokenKind::National => (
                Fed::NationalStringLiteral(string(bytes.get(1..).unwrap_or_default())),
                LiteralKind::National,
            ),
            TokenKind::Hex => (Fed::HexStringLiteral(inner_digits(bytes)), LiteralKind::Hex),
            TokenKind::Bit => (
                Fed::SingleQuotedByteStringLiteral(inner_digits(bytes)),
                LiteralKind::Bit,
            ),
            TokenKind::Parameter => (Fed::Placeholder("?".to_owned()), LiteralKind::Parameter),
            TokenKind::Keyword => (Fed::make_keyword("NULL"), LiteralKind::Null),
            _ => {
                self.bent = true;
                return;
            }
        };
        self.push(fed, token.start, token.end);
        self.slots.push(Slot {
            start: token.start,
            end: token.end,
            literal,
            element,
            kind,
        });
    }

    /// A token outside the literals. Says where to go on.
    fn token(&mut self, at: usize, token: Token) -> usize {
        let bytes = token.bytes(self.words.text);
        let fed = match token.kind {
            TokenKind::Keyword => return self.keyword(at, token),
            TokenKind::Ident => word(&String::from_utf8_lossy(bytes), Some('`')),
            TokenKind::QuotedIdent => {
                word(&String::from_utf8_lossy(&unquote_name(bytes)), Some('`'))
            }
            TokenKind::Introducer => {
                self.bent = true;
                word(&String::from_utf8_lossy(bytes), None)
            }
            // An ordinal: a literal that the digest keeps.
            TokenKind::Int => Fed::Number(String::from_utf8_lossy(bytes).into_owned(), false),
            TokenKind::At => return self.variable(at),
            TokenKind::HintStart => {
                let end = (at..self.words.tokens.len())
                    .find(|&at| self.words.kind(at) == TokenKind::HintEnd);
                return end.unwrap_or(self.words.tokens.len()) + 1;
            }
            TokenKind::LeftParen => Fed::LParen,
            TokenKind::RightParen => Fed::RParen,
            TokenKind::Comma => Fed::Comma,
            TokenKind::Dot => Fed::Period,
            TokenKind::Plus => Fed::Plus,
            TokenKind::Minus => Fed::Minus,
            // One trailing `;` is all that gets here.
            TokenKind::Semicolon => return at + 1,
            _ => match self.operator(bytes) {
                Some(fed) => fed,
                None => {
                    self.bent = true;
                    Fed::Char('?')
                }
            },
        };
        self.push(fed, token.start, token.end);
        at + 1
    }

    fn operator(&self, bytes: &[u8]) -> Option<Fed> {
        Some(match bytes {
            b"=" => Fed::Eq,
            b"<" => Fed::Lt,
            b">" => Fed::Gt,
            b"<=" => Fed::LtEq,
            b">=" => Fed::GtEq,
            b"<>" | b"!=" => Fed::Neq,
            b"<=>" => Fed::Spaceship,
            b"*" => Fed::Mul,
            b"/" => Fed::Div,
            b"%" => Fed::Mod,
            b"^" => Fed::Caret,
            b"&" => Fed::Ampersand,
            b"|" => Fed::Pipe,
            b"~" => Fed::Tilde,
            b"<<" => Fed::ShiftLeft,
            b">>" => Fed::ShiftRight,
            b"->" => Fed::Arrow,
            b"->>" => Fed::LongArrow,
            b":=" => Fed::Assignment,
            b"&&" => Fed::make_keyword("AND"),
            b"||" if self.mode.pipes_as_concat => Fed::StringConcat,
            b"||" => Fed::make_keyword("OR"),
            // Binds closer than NOT does; a view must not believe it.
            b"!" => Fed::make_keyword("NOT"),
            _ => return None,
        })
    }

    fn variable(&mut self, at: usize) -> usize {
        let start = self.words.get(at).map_or(0, |token| token.start);
        let system = self.words.kind(at + 1) == TokenKind::At;
        let name_at = at + 1 + usize::from(system);
        let name = String::from_utf8_lossy(self.words.bytes(name_at)).into_owned();
        let end = self.words.get(name_at).map_or(start, |token| token.end);
        self.push(
            word(
                &format!("{}{name}", if system { "@@" } else { "@" }),
                Some('`'),
            ),
            start,
            end,
        );
        name_at + 1
    }

    fn keyword(&mut self, at: usize, token: Token) -> usize {
        let spelled = String::from_utf8_lossy(token.bytes(self.words.text)).into_owned();
        let flags = KEYWORDS
            .get(token.keyword)
            .map_or(0, |keyword| keyword.flags);
        let next = self.words.kind(at + 1);
        let before = if at > 0 {
            self.words.keyword(at - 1)
        } else {
            ""
        };
        let fed = match self.words.keyword(at) {
            "MOD" if self.ends_operand(at) => Fed::Mod,
            "SOUNDS" => {
                self.bent = true;
                return at + 1;
            }
            "TABLE"
                if at == 0
                    || self.words.kind(at - 1) == TokenKind::LeftParen
                    || is_set_word(before) =>
            {
                self.bent = true;
                self.push(Fed::make_keyword("SELECT"), token.start, token.end);
                self.push(Fed::Mul, token.start, token.end);
                Fed::make_keyword("FROM")
            }
            unit if COMPOSITE_UNITS.contains(&unit) => {
                self.bent = true;
                Fed::make_keyword("SECOND")
            }
            _ if flags & (RESERVED | FUNCTION) != 0 => Fed::make_keyword(&spelled),
            "DATE" | "TIME" | "TIMESTAMP" | "DATETIME" if next == TokenKind::String => {
                Fed::make_keyword(&spelled)
            }
            "AS" | "RETURNING" => Fed::make_keyword(&spelled),
            _ if next == TokenKind::LeftParen
                && before != "AS"
                && functions::class(&spelled, self.mode) != Function::Unknown =>
            {
                word(&spelled, Some('`'))
            }
            role if ROLES.split_ascii_whitespace().any(|known| known == role) => {
                Fed::make_keyword(&spelled)
            }
            _ => word(&spelled, Some('`')),
        };
        self.push(fed, token.start, token.end);
        at + 1
    }

    /// Whether an operand ends just before this place, so that a word here is an operator.
    fn ends_operand(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else {
            return false;
        };
        match self.words.kind(before) {
            TokenKind::Keyword => KEYWORDS
                .get(
                    self.words
                        .get(before)
                        .map_or(u16::MAX, |token| token.keyword),
                )
                .is_some_and(|keyword| {
                    keyword.flags & RESERVED == 0
                        || matches!(keyword.word, "NULL" | "TRUE" | "FALSE")
                }),
            kind => !matches!(
                kind,
                TokenKind::LeftParen
                    | TokenKind::Comma
                    | TokenKind::Operator
                    | TokenKind::Plus
                    | TokenKind::Minus
            ),
        }
    }
}

fn is_set_word(word: &str) -> bool {
    matches!(
        word,
        "UNION" | "ALL" | "DISTINCTROW" | "EXCEPT" | "INTERSECT" | "AS"
    )
}

fn word(value: &str, quote_style: Option<char>) -> Fed {
    match quote_style {
        Some(_) => Fed::Word(Word {
            value: value.to_owned(),
            quote_style,
            keyword: sqlparser::keywords::Keyword::NoKeyword,
        }),
        None => Fed::make_keyword(value),
    }
}

/// The digits of `x'41'`, `0x41`, `b'01'`, `0b01`.
fn inner_digits(bytes: &[u8]) -> String {
    let inside = bytes.get(2..).unwrap_or_default();
    String::from_utf8_lossy(inside.strip_suffix(b"'").unwrap_or(inside)).into_owned()
}

/// Units that sqlparser does not know.
const COMPOSITE_UNITS: [&str; 11] = [
    "SECOND_MICROSECOND",
    "MINUTE_MICROSECOND",
    "MINUTE_SECOND",
    "HOUR_MICROSECOND",
    "HOUR_SECOND",
    "HOUR_MINUTE",
    "DAY_MICROSECOND",
    "DAY_SECOND",
    "DAY_MINUTE",
    "DAY_HOUR",
    "YEAR_MONTH",
];

/// Words that are not reserved, but have a part in a query's grammar (in the digest's spelling).
const ROLES: &str = "AGAINST ANY SOME BOOLEAN CHARSET FIELDS CURRENT DATE DATETIME SQL_TSI_DAY END ERROR ESCAPE EXCLUDE EXPANSION FIRST FOLLOWING \
    SQL_TSI_HOUR JSON LANGUAGE LAST LOCKED MEMBER MICROSECOND SQL_TSI_MINUTE MODE SQL_TSI_MONTH NATIONAL NCHAR NESTED NO NOWAIT NULLS OFFSET \
    ORDINALITY OTHERS PATH PRECEDING SQL_TSI_QUARTER QUERY RESPECT RETURNING ROLLUP ROW SQL_TSI_SECOND SHARE SIGNED SKIP SQL_CALC_FOUND_ROWS \
    SQL_NO_CACHE SQL_BUFFER_RESULT SQL_CACHE TIES TIME TIMESTAMP UNBOUNDED UNKNOWN VALUE WEEK YEAR TEXT ROWS";
