//! What a statement in the log touches, from its text. Pure. Knows a short list of forms; everything else touches everything.
//! Errs only towards touching more.

use std::sync::Arc;

use super::changes::Touch;
use super::decode::Query;
use super::position::TableKey;

const ANSI_QUOTES: u64 = 4;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// A statement with more tokens than this touches everything.
const TOKENS_MAX: usize = 20_000;

/// A statement of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A transaction opens.
    Begin,
    /// It commits, or is rolled back with traces in the log: either way it ends.
    End,
    /// Inside a transaction, without effect on what it touches.
    Within,
    /// An XA branch opens; its identity as printed.
    XaStart(Box<str>),
    /// An XA branch prepared earlier commits.
    XaCommit(Box<str>),
    /// An XA branch prepared earlier rolls back.
    XaRollback(Box<str>),
    /// Anything else: what it touches.
    Touches(Touch),
}

/// Tells what a statement is.
pub fn classify(query: &Query<'_>) -> Statement {
    let read = std::str::from_utf8(query.text)
        .ok()
        .filter(|text| query.utf8 || text.is_ascii())
        .and_then(|text| {
            let tokens = tokens(text, query.sql_mode)?;
            let schema = std::str::from_utf8(query.schema).ok()?;
            Parser {
                text,
                schema,
                tokens: &tokens,
                at: 0,
            }
            .statement()
        });
    read.unwrap_or_else(|| Statement::Touches(Touch::all()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A bare word, lower case.
    Word(String),
    /// A quoted name, unquoted.
    Name(String),
    /// A string or a number.
    Literal,
    /// Any other character.
    Symbol(char),
}

/// Splits the text; `None` when it is too long, ends inside a quote, or has conditional comments (whose content may count).
fn tokens(text: &str, sql_mode: u64) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if tokens.len() >= TOKENS_MAX {
            return None;
        }
        let after = rest.get(c.len_utf8()..)?;
        rest = match c {
            _ if c.is_whitespace() => after,
            '/' if after.starts_with('*') => {
                if after.starts_with("*!") {
                    return None;
                }
                let end = after.get(1..)?.find("*/")?;
                after.get(end + 3..)?
            }
            '#' => line_end(after),
            '-' if after.starts_with("- ")
                || after.starts_with("-\t")
                || after.starts_with("-\n") =>
            {
                line_end(after)
            }
            '`' => {
                let (name, after) = quoted(after, '`', false)?;
                tokens.push(Token::Name(name));
                after
            }
            '"' if sql_mode & ANSI_QUOTES != 0 => {
                let (name, after) = quoted(after, '"', false)?;
                tokens.push(Token::Name(name));
                after
            }
            '\'' | '"' => {
                let (_, after) = quoted(after, c, sql_mode & NO_BACKSLASH_ESCAPES == 0)?;
                tokens.push(Token::Literal);
                after
            }
            _ if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end)?;
                tokens.push(Token::Word(word.to_lowercase()));
                after
            }
            _ => {
                tokens.push(Token::Symbol(c));
                after
            }
        };
    }
    Some(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn line_end(text: &str) -> &str {
    text.find('\n').and_then(|at| text.get(at..)).unwrap_or("")
}

/// The content up to the closing quote, doubled quotes folded, and what stands behind it.
fn quoted(text: &str, quote: char, backslash: bool) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return Some((content, text.get(at + 1..)?));
            }
        } else if c == '\\' && backslash {
            chars.next()?;
            continue;
        }
        content.push(c);
    }
    None
}

struct Parser<'t> {
    text: &'t str,
    schema: &'t str,
    tokens: &'t [Token],
    at: usize,
}

impl Parser<'_> {
    fn statement(mut self) -> Option<Statement> {
        let head = self.word()?;
        let touch = match head.as_str() {
            "begin" => return Some(Statement::Begin),
            "start" => return self.eat("transaction").then_some(Statement::Begin),
            "commit" => return Some(Statement::End),
            "rollback" if self.eat("to") => return Some(Statement::Within),
            "rollback" => return Some(Statement::End),
            "savepoint" | "release" => return Some(Statement::Within),
            "xa" => return self.xa(),
            "truncate" => {
                self.eat("table");
                self.one_table()?
            }
            "create" => self.create()?,
            "alter" => self.alter()?,
            "drop" => self.drop_statement()?,
            "rename" => self.rename()?,
            "analyze" => Touch::default(),
            "optimize" | "repair" => self.maintenance()?,
            "grant" | "revoke" => grants(),
            "set" if matches!(self.word()?.as_str(), "password" | "default" | "role") => grants(),
            "flush" if self.has("privileges") => grants(),
            "flush" => Touch::default(),
            _ => return None,
        };
        Some(Statement::Touches(touch))
    }

    fn xa(&mut self) -> Option<Statement> {
        let verb = self.word()?;
        let rest = self.text.trim_start().get(2..)?.trim_start();
        let id: Box<str> = rest.get(verb.len()..)?.trim().into();
        Some(match verb.as_str() {
            "start" | "begin" => Statement::XaStart(id),
            "end" => Statement::Within,
            "commit" => Statement::XaCommit(id),
            "rollback" => Statement::XaRollback(id),
            _ => return None,
        })
    }

    fn create(&mut self) -> Option<Touch> {
        // In row format a CREATE .. SELECT is logged as its columns and rows; as a statement it may call anything.
        let what = self.object()?;
        match what.as_str() {
            "table" if self.has("select") || self.has_pair("values", "row") => None,
            "table" => {
                self.if_exists();
                self.one_table()
            }
            "view" => {
                self.if_exists();
                self.one_table()
            }
            "index" => self.on_table(),
            "database" | "schema" => Some(Touch::default()),
            "user" | "role" => Some(grants()),
            "trigger" | "procedure" | "function" | "event" => Some(Touch::default()),
            _ => None,
        }
    }

    fn alter(&mut self) -> Option<Touch> {
        let what = self.object()?;
        match what.as_str() {
            "table" => self.alter_table(),
            "view" => self.one_table(),
            "database" | "schema" => self.whole_schema(),
            "user" => Some(grants()),
            "procedure" | "function" | "event" => Some(Touch::default()),
            _ => None,
        }
    }

    fn alter_table(&mut self) -> Option<Touch> {
        let mut touch = self.one_table()?;
        while self.at < self.tokens.len() {
            if self.eat("rename") {
                if self.eat("column") || self.eat("index") || self.eat("key") {
                    continue;
                }
                let _ = self.eat("to") || self.eat("as") || self.eat_symbol('=');
                touch.definitions.push(self.table()?);
            } else if self.eat("with") {
                // EXCHANGE PARTITION p WITH TABLE t; WITH VALIDATION and WITH PARSER name no table.
                if self.eat("table") {
                    touch.definitions.push(self.table()?);
                }
            } else {
                self.at += 1;
            }
        }
        Some(touch)
    }

    fn drop_statement(&mut self) -> Option<Touch> {
        if self.eat("temporary") {
            return Some(Touch::default());
        }
        let what = self.word()?;
        match what.as_str() {
            "table" | "tables" | "view" => {
                self.if_exists();
                self.tables()
            }
            "index" => self.on_table(),
            "database" | "schema" => {
                self.if_exists();
                self.whole_schema()
            }
            "user" | "role" => Some(grants()),
            "trigger" | "procedure" | "function" | "event" => Some(Touch::default()),
            _ => None,
        }
    }

    fn rename(&mut self) -> Option<Touch> {
        if self.eat("user") {
            return Some(grants());
        }
        if !(self.eat("table") || self.eat("tables")) {
            return None;
        }
        let mut touch = Touch::default();
        loop {
            touch.definitions.push(self.table()?);
            if !self.eat("to") {
                return None;
            }
            touch.definitions.push(self.table()?);
            if self.at_end() {
                return Some(touch);
            }
            if !self.eat_symbol(',') {
                return None;
            }
        }
    }

    fn maintenance(&mut self) -> Option<Touch> {
        let _ = self.eat("no_write_to_binlog") || self.eat("local");
        (self.eat("table") || self.eat("tables")).then_some(())?;
        self.tables()
    }

    /// What a CREATE or ALTER is about, its options before that skipped.
    fn object(&mut self) -> Option<String> {
        const OBJECTS: [&str; 11] = [
            "table",
            "view",
            "index",
            "database",
            "schema",
            "user",
            "role",
            "trigger",
            "procedure",
            "function",
            "event",
        ];
        const OPTIONS: [&str; 16] = [
            "or",
            "replace",
            "unique",
            "fulltext",
            "spatial",
            "algorithm",
            "undefined",
            "merge",
            "temptable",
            "sql",
            "security",
            "invoker",
            "aggregate",
            "ignore",
            "online",
            "materialized",
        ];
        loop {
            match self.tokens.get(self.at)? {
                Token::Word(word) if word == "definer" => self.skip_definer(),
                Token::Word(word) if OPTIONS.contains(&word.as_str()) => self.at += 1,
                Token::Symbol('=') => self.at += 1,
                Token::Word(word) if OBJECTS.contains(&word.as_str()) => {
                    self.at += 1;
                    return Some(word.clone());
                }
                _ => return None,
            }
        }
    }

    /// `definer = user@host`, or `sql security definer`: the user may be called like an object.
    fn skip_definer(&mut self) {
        self.at += 1;
        if self.eat_symbol('=') {
            self.at += 1;
            if self.eat_symbol('@') || self.eat_symbol('(') {
                self.at += 1;
            }
        }
    }

    fn if_exists(&mut self) {
        if self.eat("if") {
            self.eat("not");
            self.eat("exists");
        }
    }

    fn one_table(&mut self) -> Option<Touch> {
        Some(Touch {
            definitions: vec![self.table()?],
            ..Touch::default()
        })
    }

    fn tables(&mut self) -> Option<Touch> {
        let mut touch = self.one_table()?;
        while self.eat_symbol(',') {
            touch.definitions.push(self.table()?);
        }
        let _ = self.eat("restrict") || self.eat("cascade");
        self.at_end().then_some(touch)
    }

    /// `.. ON table`: the first ON, which follows the index's name and type.
    fn on_table(&mut self) -> Option<Touch> {
        self.name()?;
        while !self.eat("on") {
            self.at += 1;
            self.tokens.get(self.at)?;
        }
        self.one_table()
    }

    fn whole_schema(&mut self) -> Option<Touch> {
        // ALTER DATABASE may leave the name out; then an option word stands here and the default schema is meant as well.
        let name = self.name()?;
        if name.contains('.') {
            // Keys are cut at their first dot.
            return None;
        }
        let mut schemas: Vec<Arc<str>> = vec![name.to_lowercase().into()];
        if !self.schema.is_empty() {
            schemas.push(self.schema.to_lowercase().into());
        }
        if self.tokens.len() <= self.at {
            schemas.truncate(1);
        }
        Some(Touch {
            schemas,
            ..Touch::default()
        })
    }

    fn table(&mut self) -> Option<TableKey> {
        let first = self.name()?;
        if self.eat_symbol('.') {
            return Some(TableKey::new(&first, &self.name()?));
        }
        (!self.schema.is_empty()).then(|| TableKey::new(self.schema, &first))
    }

    fn name(&mut self) -> Option<String> {
        let name = match self.tokens.get(self.at)? {
            Token::Word(name) | Token::Name(name) => name.clone(),
            _ => return None,
        };
        self.at += 1;
        Some(name)
    }

    fn word(&mut self) -> Option<String> {
        match self.tokens.get(self.at)? {
            Token::Word(word) => {
                self.at += 1;
                Some(word.clone())
            }
            _ => None,
        }
    }

    fn eat(&mut self, word: &str) -> bool {
        let hit = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == word);
        self.at += usize::from(hit);
        hit
    }

    fn eat_symbol(&mut self, symbol: char) -> bool {
        let hit = self.tokens.get(self.at) == Some(&Token::Symbol(symbol));
        self.at += usize::from(hit);
        hit
    }

    fn has(&self, word: &str) -> bool {
        self.tokens
            .iter()
            .any(|token| matches!(token, Token::Word(w) if w == word))
    }

    fn has_pair(&self, first: &str, second: &str) -> bool {
        let is = |token: &Token, word: &str| matches!(token, Token::Word(w) if w == word);
        self.tokens
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if is(a, first) && is(b, second)))
    }

    fn at_end(&mut self) -> bool {
        self.eat_symbol(';');
        self.at >= self.tokens.len()
    }
}

fn grants() -> Touch {
    Touch {
        grants: true,
        ..Touch::default()
    }
}

#[cfg(test)]
#[path = "statement/tests.rs"]
mod tests;
