//! Statements about the session itself, read from the text at hand: SET in all its forms, USE, transactions, locks, named
//! prepared statements, KILL, SHOW, EXPLAIN ROUTE. sqlparser misreads some of these, so it never sees them. Judges nothing.
//!
//! Literals matter here (which value, which id), so this runs per text, not per digest.

use super::lexer::{LexMode, TokenKind};
use super::statement::TableName;
use super::words::{Words, undouble, unquote_name};

mod set;

pub use set::{Assignment, Scope, SetTarget, SetValue};

/// More tokens than any statement about a session has; what is longer is [`SessionStatement::Unknown`].
const TOKENS_MAX: usize = 4096;

/// What the text asks of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionStatement {
    /// SET, in order of the assignments.
    Set(Vec<Assignment>),
    /// USE schema.
    Use(String),
    /// BEGIN, START TRANSACTION.
    Begin {
        /// READ ONLY (true), READ WRITE (false), or not said.
        read_only: Option<bool>,
        /// WITH CONSISTENT SNAPSHOT.
        snapshot: bool,
    },
    /// COMMIT.
    Commit(Completion),
    /// ROLLBACK of the whole transaction.
    Rollback(Completion),
    /// ROLLBACK TO a savepoint.
    RollbackTo(String),
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    ReleaseSavepoint(String),
    /// LOCK TABLES: each table and whether for writing.
    LockTables(Vec<(TableName, bool)>),
    /// LOCK INSTANCE FOR BACKUP.
    LockInstance,
    /// UNLOCK TABLES.
    UnlockTables,
    /// UNLOCK INSTANCE.
    UnlockInstance,
    /// PREPARE name FROM ...
    Prepare {
        /// The statement's name.
        name: String,
        /// Its text.
        source: PrepareSource,
    },
    /// EXECUTE name.
    Execute {
        /// The statement's name.
        name: String,
        /// The user variables of USING.
        using: Vec<String>,
    },
    /// DEALLOCATE PREPARE, DROP PREPARE.
    Deallocate(String),
    /// KILL.
    Kill {
        /// KILL QUERY: the connection stays.
        query: bool,
        /// Whom.
        id: KillId,
    },
    /// XA, with the word after it in upper case.
    Xa(String),
    /// HANDLER t OPEN/READ/CLOSE: the last word that says which, in upper case.
    Handler(String),
    /// EXPLAIN ROUTE: where the statement to explain begins in the text.
    ExplainRoute(usize),
    /// FLUSH: everything behind it, in upper case, single spaces.
    Flush(String),
    /// RESET: everything behind it, in upper case, single spaces.
    Reset(String),
    /// SHOW.
    Show(Show),
    /// LOAD DATA or XML.
    Load {
        /// LOCAL: the client sends the file.
        local: bool,
    },
    /// DO.
    Do,
    /// CALL: the procedure.
    Call(TableName),
    /// It begins as one of these, but is no form that we know, or none of these.
    Unknown,
}

/// Whom a KILL means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillId {
    /// A plain number.
    Number(u64),
    /// A parameter of a prepared statement.
    Parameter,
    /// Something that the server has to work out.
    Expression,
}

/// How a transaction ends: AND [NO] CHAIN, [NO] RELEASE; `None` where not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Completion {
    /// AND CHAIN: a new transaction follows at once.
    pub chain: Option<bool>,
    /// RELEASE: the server closes the connection.
    pub release: Option<bool>,
}

/// Where PREPARE takes its text from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrepareSource {
    /// A string literal, unescaped.
    Text(Vec<u8>),
    /// A user variable.
    Variable(String),
}

/// The SHOW statements that the proxy has to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// SHOW WARNINGS, with or without LIMIT.
    Warnings,
    /// SHOW ERRORS.
    Errors,
    /// SHOW COUNT(*) WARNINGS.
    CountWarnings,
    /// SHOW COUNT(*) ERRORS.
    CountErrors,
    /// SHOW [GLOBAL | SESSION] VARIABLES or STATUS.
    Variables,
    /// SHOW DATABASES.
    Schemas,
    /// SHOW [FULL] TABLES.
    Tables,
    /// SHOW [FULL] PROCESSLIST.
    Processlist,
    /// Any other.
    Other,
}

impl Show {
    /// Whether it asks about the statement before it.
    pub fn reads_diagnostics(self) -> bool {
        matches!(
            self,
            Show::Warnings | Show::Errors | Show::CountWarnings | Show::CountErrors
        )
    }
}

/// Read one text. One trailing `;` is allowed; more statements behind it are [`SessionStatement::Unknown`].
pub fn parse(text: &[u8], mode: LexMode) -> SessionStatement {
    let Some(mut words) = Words::read(text, mode, TOKENS_MAX) else {
        return SessionStatement::Unknown;
    };
    while words
        .tokens
        .last()
        .is_some_and(|token| token.kind == TokenKind::Semicolon)
    {
        words.tokens.pop();
    }
    let broken = |kind| matches!(kind, TokenKind::Semicolon | TokenKind::Malformed);
    if words.tokens.iter().any(|token| broken(token.kind)) {
        return SessionStatement::Unknown;
    }
    Reader { words, at: 0, mode }
        .statement()
        .unwrap_or(SessionStatement::Unknown)
}

/// A place in the tokens. Methods that begin with `take` move on only when they find what they want.
#[derive(Debug)]
struct Reader<'t> {
    words: Words<'t>,
    at: usize,
    mode: LexMode,
}

impl Reader<'_> {
    fn statement(&mut self) -> Option<SessionStatement> {
        use SessionStatement as S;
        let first = self.words.keyword(0);
        self.at = 1;
        Some(match first {
            "SET" => S::Set(self.set()?),
            "USE" => S::Use(self.last_name()?),
            "BEGIN" => {
                self.take("WORK");
                self.end(S::Begin {
                    read_only: None,
                    snapshot: false,
                })?
            }
            "START" => self.start_transaction()?,
            "COMMIT" => S::Commit(self.completion()?),
            "ROLLBACK" => self.rollback()?,
            "SAVEPOINT" => S::Savepoint(self.last_name()?),
            "RELEASE" => {
                self.must("SAVEPOINT")?;
                S::ReleaseSavepoint(self.last_name()?)
            }
            "LOCK" => self.lock()?,
            "UNLOCK" if self.take("INSTANCE") => self.end(S::UnlockInstance)?,
            "UNLOCK" => {
                self.tables_word()?;
                self.end(S::UnlockTables)?
            }
            "PREPARE" => self.prepare()?,
            "EXECUTE" => self.execute()?,
            "DEALLOCATE" | "DROP" => {
                self.must("PREPARE")?;
                S::Deallocate(self.last_name()?)
            }
            "KILL" => self.kill()?,
            "XA" => S::Xa(self.upper(self.at)),
            "HANDLER" => self.handler()?,
            "EXPLAIN" | "DESC" if self.words.explains_route(0) => {
                S::ExplainRoute(self.words.get(2)?.start as usize)
            }
            "FLUSH" => S::Flush(self.rest()),
            "RESET" => S::Reset(self.rest()),
            "SHOW" => S::Show(self.show()),
            "LOAD" => S::Load {
                local: (1..6).any(|at| self.words.keyword(at) == "LOCAL"),
            },
            "DO" => S::Do,
            "CALL" => S::Call(self.table_name()?),
            _ => return None,
        })
    }

    fn take(&mut self, keyword: &str) -> bool {
        let found = self.words.keyword(self.at) == keyword;
        self.at += usize::from(found);
        found
    }

    fn take_kind(&mut self, kind: TokenKind) -> bool {
        let found = self.words.kind(self.at) == kind;
        self.at += usize::from(found);
        found
    }

    fn must(&mut self, keyword: &str) -> Option<()> {
        self.take(keyword).then_some(())
    }

    fn at_end(&self) -> bool {
        self.words.kind(self.at) == TokenKind::End
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.at_end().then_some(value)
    }

    fn upper(&self, at: usize) -> String {
        String::from_utf8_lossy(self.words.bytes(at)).to_ascii_uppercase()
    }

    fn rest(&self) -> String {
        let words: Vec<String> = (self.at..self.words.tokens.len())
            .map(|at| self.upper(at))
            .collect();
        words.join(" ")
    }

    /// A name in any spelling: bare (also where it is an unreserved keyword) or quoted.
    fn name(&mut self) -> Option<String> {
        let name = self.words.name(self.at)?;
        self.at += 1;
        Some(name)
    }

    fn last_name(&mut self) -> Option<String> {
        let name = self.name()?;
        self.end(name)
    }

    fn table_name(&mut self) -> Option<TableName> {
        let first = self.name()?;
        if self.take_kind(TokenKind::Dot) {
            return Some(TableName {
                schema: Some(first),
                name: self.name()?,
            });
        }
        Some(TableName {
            schema: None,
            name: first,
        })
    }

    /// `@x`, `@'x'`, `` @`x` ``: names of user variables have no case.
    fn user_variable(&mut self) -> Option<String> {
        if self.words.kind(self.at) != TokenKind::At {
            return None;
        }
        let token = self.words.get(self.at + 1)?;
        let bytes = token.bytes(self.words.text);
        let name = match token.kind {
            TokenKind::Hostname => bytes.to_vec(),
            TokenKind::QuotedIdent => unquote_name(bytes),
            TokenKind::String => unescape(bytes, self.mode),
            _ => return None,
        };
        self.at += 2;
        Some(String::from_utf8(name).ok()?.to_lowercase())
    }

    fn tables_word(&mut self) -> Option<()> {
        (self.take("TABLES") || self.take("TABLE")).then_some(())
    }

    fn start_transaction(&mut self) -> Option<SessionStatement> {
        self.must("TRANSACTION")?;
        let (mut read_only, mut snapshot) = (None, false);
        while !self.at_end() {
            if self.take("READ") {
                read_only = Some(self.take("ONLY"));
                if read_only == Some(false) {
                    self.must("WRITE")?;
                }
            } else {
                self.must("WITH")?;
                self.must("CONSISTENT")?;
                self.must("SNAPSHOT")?;
                snapshot = true;
            }
            if !self.take_kind(TokenKind::Comma) {
                break;
            }
        }
        self.end(SessionStatement::Begin {
            read_only,
            snapshot,
        })
    }

    /// [WORK] [AND [NO] CHAIN] [[NO] RELEASE]
    fn completion(&mut self) -> Option<Completion> {
        self.take("WORK");
        let mut completion = Completion::default();
        if self.take("AND") {
            completion.chain = Some(!self.take("NO"));
            self.must("CHAIN")?;
        }
        if !self.at_end() {
            completion.release = Some(!self.take("NO"));
            self.must("RELEASE")?;
        }
        self.end(completion)
    }

    fn rollback(&mut self) -> Option<SessionStatement> {
        let start = self.at;
        self.take("WORK");
        if self.take("TO") {
            self.take("SAVEPOINT");
            return Some(SessionStatement::RollbackTo(self.last_name()?));
        }
        self.at = start;
        Some(SessionStatement::Rollback(self.completion()?))
    }

    fn lock(&mut self) -> Option<SessionStatement> {
        if self.take("INSTANCE") {
            self.must("FOR")?;
            self.must("BACKUP")?;
            return self.end(SessionStatement::LockInstance);
        }
        self.tables_word()?;
        let mut tables = Vec::new();
        loop {
            let table = self.table_name()?;
            let lock = |reader: &Self| {
                matches!(
                    reader.words.keyword(reader.at),
                    "READ" | "WRITE" | "LOW_PRIORITY"
                )
            };
            if self.take("AS") || !lock(self) {
                self.name()?;
            }
            let write = if self.take("READ") {
                self.take("LOCAL");
                false
            } else {
                self.take("LOW_PRIORITY");
                self.must("WRITE")?;
                true
            };
            tables.push((table, write));
            if !self.take_kind(TokenKind::Comma) {
                return self.end(SessionStatement::LockTables(tables));
            }
        }
    }

    fn prepare(&mut self) -> Option<SessionStatement> {
        let name = self.name()?;
        self.must("FROM")?;
        let source = if self.words.kind(self.at) == TokenKind::String {
            self.at += 1;
            PrepareSource::Text(unescape(self.words.bytes(self.at - 1), self.mode))
        } else {
            PrepareSource::Variable(self.user_variable()?)
        };
        self.end(SessionStatement::Prepare { name, source })
    }

    fn execute(&mut self) -> Option<SessionStatement> {
        let name = self.name()?;
        let mut using = Vec::new();
        if self.take("USING") {
            using.push(self.user_variable()?);
            while self.take_kind(TokenKind::Comma) {
                using.push(self.user_variable()?);
            }
        }
        self.end(SessionStatement::Execute { name, using })
    }

    fn kill(&mut self) -> Option<SessionStatement> {
        let query = self.take("QUERY");
        if !query {
            self.take("CONNECTION");
        }
        let is_last = self.words.kind(self.at + 1) == TokenKind::End;
        let number = || {
            std::str::from_utf8(self.words.bytes(self.at))
                .ok()?
                .parse()
                .ok()
        };
        let id = match self.words.kind(self.at) {
            TokenKind::Int if is_last => number().map_or(KillId::Expression, KillId::Number),
            TokenKind::Parameter if is_last => KillId::Parameter,
            _ => KillId::Expression,
        };
        (!self.at_end()).then_some(SessionStatement::Kill { query, id })
    }

    fn handler(&mut self) -> Option<SessionStatement> {
        self.table_name()?;
        let action = self.upper(self.at);
        matches!(action.as_str(), "OPEN" | "READ" | "CLOSE")
            .then_some(SessionStatement::Handler(action))
    }

    fn show(&mut self) -> Show {
        if self.words.spells(self.at, "COUNT")
            && self.words.kind(self.at + 1) == TokenKind::LeftParen
        {
            return match self.words.keyword(self.at + 4) {
                "WARNINGS" => Show::CountWarnings,
                "ERRORS" => Show::CountErrors,
                _ => Show::Other,
            };
        }
        while matches!(
            self.words.keyword(self.at),
            "FULL" | "EXTENDED" | "GLOBAL" | "SESSION" | "LOCAL"
        ) {
            self.at += 1;
        }
        match self.words.keyword(self.at) {
            "WARNINGS" => Show::Warnings,
            "ERRORS" => Show::Errors,
            "VARIABLES" | "STATUS" => Show::Variables,
            "SCHEMAS" => Show::Schemas,
            "TABLES" => Show::Tables,
            "PROCESSLIST" => Show::Processlist,
            _ => Show::Other,
        }
    }
}

/// The bytes that a string literal (with its quotes) stands for.
pub fn unescape(literal: &[u8], mode: LexMode) -> Vec<u8> {
    let Some((&mark, rest)) = literal.split_first() else {
        return Vec::new();
    };
    let inside = rest.get(..rest.len().saturating_sub(1)).unwrap_or_default();
    if mode.no_backslash_escapes {
        return undouble(inside, mark);
    }
    let mut value = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(b'0') => value.push(0),
                Some(b'b') => value.push(8),
                Some(b'n') => value.push(b'\n'),
                Some(b'r') => value.push(b'\r'),
                Some(b't') => value.push(b'\t'),
                Some(b'Z') => value.push(0x1A),
                // Kept for LIKE, which reads them itself.
                Some(wildcard @ (b'%' | b'_')) => value.extend([b'\\', wildcard]),
                Some(other) => value.push(other),
                None => {}
            },
            _ if byte == mark && bytes.peek() == Some(&mark) => {
                bytes.next();
                value.push(mark);
            }
            _ => value.push(byte),
        }
    }
    value
}

#[cfg(test)]
mod tests;
