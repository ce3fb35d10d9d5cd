//! SET: which variable, of which scope, to what. Values are kept as written; nothing is evaluated.

use super::{Reader, unescape};
use crate::sql::lexer::TokenKind;
use crate::sql::words::unquote_name;

/// One assignment of a SET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What is set.
    pub target: SetTarget,
    /// To what.
    pub value: SetValue,
    /// The value's bytes in the text, start and end.
    pub span: (usize, usize),
}

/// What an assignment sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetTarget {
    /// A system variable, lower case, with its component (`x.y`) if any. Inside stored programs this could be a local variable.
    Variable(Scope, String),
    /// A user variable, lower case.
    User(String),
    /// SET NAMES; the value is the character set. A COLLATE comes as a second assignment to `Collation`.
    Names,
    /// The COLLATE of SET NAMES.
    Collation,
    /// SET CHARACTER SET.
    CharacterSet,
    /// ISOLATION LEVEL of SET TRANSACTION; the value is a word such as `READ COMMITTED`.
    Isolation(Scope),
    /// READ ONLY / READ WRITE of SET TRANSACTION; the value is `READ ONLY` or `READ WRITE`.
    AccessMode(Scope),
    /// SET PASSWORD.
    Password,
    /// SET ROLE.
    Role,
    /// SET DEFAULT ROLE.
    DefaultRole,
    /// SET RESOURCE GROUP.
    ResourceGroup,
}

/// Which value of a system variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This session's.
    Session,
    /// The server's.
    Global,
    /// The server's, kept over a restart.
    Persist,
    /// Only after a restart.
    PersistOnly,
    /// SET TRANSACTION, or `@@transaction_isolation`, without a scope: the next transaction only.
    NextTransaction,
}

/// What it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetValue {
    /// DEFAULT.
    Default,
    /// A bare word (ON, utf8mb4, REPEATABLE READ): as written.
    Word(String),
    /// A number with its sign, as written, without spaces.
    Number(String),
    /// A string, unescaped.
    Text(Vec<u8>),
    /// NULL.
    Null,
    /// Anything else: only the server can say.
    Expression,
}

/// The scope of `SET @@name = ..` with none written: the session, but for the characteristics of a transaction
/// (MySQL manual, "SET TRANSACTION Statement").
fn scope_of(name: &str) -> Scope {
    match name {
        "transaction_isolation" | "transaction_read_only" | "tx_isolation" | "tx_read_only" => {
            Scope::NextTransaction
        }
        _ => Scope::Session,
    }
}

impl Reader<'_> {
    pub(super) fn set(&mut self) -> Option<Vec<Assignment>> {
        match self.words.keyword(self.at) {
            "PASSWORD" => return self.whole(SetTarget::Password),
            "ROLE" if !self.assigns(self.at + 1) => return self.whole(SetTarget::Role),
            "DEFAULT" if self.words.keyword(self.at + 1) == "ROLE" => {
                return self.whole(SetTarget::DefaultRole);
            }
            "RESOURCE" if self.words.keyword(self.at + 1) == "GROUP" => {
                return self.whole(SetTarget::ResourceGroup);
            }
            _ => {}
        }
        if let Some(scope) = self.transaction() {
            return self.characteristics(scope);
        }
        let mut assignments = Vec::new();
        let mut scope = Scope::Session;
        loop {
            self.assignment(&mut scope, &mut assignments)?;
            if !self.take_kind(TokenKind::Comma) {
                return self.end(assignments);
            }
        }
    }

    /// The rest of the text is about one target that the proxy does not look into.
    fn whole(&mut self, target: SetTarget) -> Option<Vec<Assignment>> {
        let start = self.words.get(self.at)?.start as usize;
        let end = self.words.tokens.last()?.end as usize;
        self.at = self.words.tokens.len();
        Some(vec![Assignment {
            target,
            value: SetValue::Expression,
            span: (start, end),
        }])
    }

    fn assigns(&self, at: usize) -> bool {
        matches!(self.words.bytes(at), b"=" | b":=")
    }

    /// [GLOBAL | SESSION | LOCAL] TRANSACTION, or nothing taken.
    fn transaction(&mut self) -> Option<Scope> {
        let (scope, words) = match self.words.keyword(self.at) {
            "GLOBAL" => (Scope::Global, 1),
            "SESSION" | "LOCAL" => (Scope::Session, 1),
            _ => (Scope::NextTransaction, 0),
        };
        if self.words.keyword(self.at + words) != "TRANSACTION" || self.assigns(self.at + words + 1)
        {
            return None;
        }
        self.at += words + 1;
        Some(scope)
    }

    fn characteristics(&mut self, scope: Scope) -> Option<Vec<Assignment>> {
        let mut assignments = Vec::new();
        loop {
            let start = self.words.get(self.at)?.start as usize;
            let (target, value) = if self.take("ISOLATION") {
                self.must("LEVEL")?;
                let level = match (self.words.keyword(self.at), self.words.keyword(self.at + 1)) {
                    ("READ", "COMMITTED") => "READ COMMITTED",
                    ("READ", "UNCOMMITTED") => "READ UNCOMMITTED",
                    ("REPEATABLE", "READ") => "REPEATABLE READ",
                    ("SERIALIZABLE", _) => "SERIALIZABLE",
                    _ => return None,
                };
                self.at += if level == "SERIALIZABLE" { 1 } else { 2 };
                (SetTarget::Isolation(scope), level)
            } else {
                self.must("READ")?;
                let mode = if self.take("ONLY") {
                    "READ ONLY"
                } else {
                    "READ WRITE"
                };
                if mode == "READ WRITE" {
                    self.must("WRITE")?;
                }
                (SetTarget::AccessMode(scope), mode)
            };
            let end = self.words.get(self.at.checked_sub(1)?)?.end as usize;
            assignments.push(Assignment {
                target,
                value: SetValue::Word(value.to_owned()),
                span: (start, end),
            });
            if !self.take_kind(TokenKind::Comma) {
                return self.end(assignments);
            }
        }
    }

    fn assignment(&mut self, scope: &mut Scope, assignments: &mut Vec<Assignment>) -> Option<()> {
        if self.words.keyword(self.at) == "NAMES" && !self.assigns(self.at + 1) {
            self.at += 1;
            return self.names(assignments);
        }
        let charset = match (self.words.keyword(self.at), self.words.keyword(self.at + 1)) {
            ("CHARSET", _) if !self.assigns(self.at + 1) => 1,
            ("CHARACTER", "SET") => 2,
            _ => 0,
        };
        if charset > 0 {
            self.at += charset;
            let (value, span) = self.one_word()?;
            assignments.push(Assignment {
                target: SetTarget::CharacterSet,
                value,
                span,
            });
            return Some(());
        }
        let target = if self.words.kind(self.at) == TokenKind::At
            && self.words.kind(self.at + 1) == TokenKind::At
        {
            self.at += 2;
            let own = self.scope_word();
            if own.is_some() && !self.take_kind(TokenKind::Dot) {
                return None;
            }
            let name = self.variable_name()?;
            SetTarget::Variable(own.unwrap_or_else(|| scope_of(&name)), name)
        } else if self.words.kind(self.at) == TokenKind::At {
            SetTarget::User(self.user_variable()?)
        } else {
            // A scope word holds for the variables behind it that have none of their own.
            if let Some(own) = self.scope_word() {
                *scope = own;
            }
            SetTarget::Variable(*scope, self.variable_name()?)
        };
        if !self.assigns(self.at) {
            return None;
        }
        self.at += 1;
        let (value, span) = self.value()?;
        assignments.push(Assignment {
            target,
            value,
            span,
        });
        Some(())
    }

    fn scope_word(&mut self) -> Option<Scope> {
        let scope = match self.words.keyword(self.at) {
            "GLOBAL" => Scope::Global,
            "SESSION" | "LOCAL" => Scope::Session,
            "PERSIST" => Scope::Persist,
            "PERSIST_ONLY" => Scope::PersistOnly,
            _ => return None,
        };
        // A variable of that name cannot be: all four are followed by the variable's own name.
        self.at += 1;
        Some(scope)
    }

    fn variable_name(&mut self) -> Option<String> {
        let mut name = self.name()?.to_ascii_lowercase();
        if self.take_kind(TokenKind::Dot) {
            name = format!("{name}.{}", self.name()?.to_ascii_lowercase());
        }
        Some(name)
    }

    /// What follows NAMES.
    fn names(&mut self, assignments: &mut Vec<Assignment>) -> Option<()> {
        let (value, span) = self.one_word()?;
        assignments.push(Assignment {
            target: SetTarget::Names,
            value,
            span,
        });
        if self.take("COLLATE") {
            let (value, span) = self.one_word()?;
            assignments.push(Assignment {
                target: SetTarget::Collation,
                value,
                span,
            });
        }
        Some(())
    }

    /// One word, string or DEFAULT.
    fn one_word(&mut self) -> Option<(SetValue, (usize, usize))> {
        let token = self.words.get(self.at)?;
        let value = self.single(self.at)?;
        self.at += 1;
        Some((value, (token.start as usize, token.end as usize)))
    }

    fn single(&self, at: usize) -> Option<SetValue> {
        let token = self.words.get(at)?;
        let text = String::from_utf8_lossy(token.bytes(self.words.text)).into_owned();
        Some(match token.kind {
            TokenKind::String => SetValue::Text(unescape(token.bytes(self.words.text), self.mode)),
            TokenKind::Int | TokenKind::Decimal | TokenKind::Float => SetValue::Number(text),
            TokenKind::Keyword if self.words.keyword(at) == "DEFAULT" => SetValue::Default,
            TokenKind::Keyword if self.words.keyword(at) == "NULL" => SetValue::Null,
            TokenKind::Ident | TokenKind::Keyword => SetValue::Word(text),
            TokenKind::QuotedIdent => {
                SetValue::Word(String::from_utf8_lossy(&unquote_name(text.as_bytes())).into_owned())
            }
            _ => return None,
        })
    }

    /// Up to the comma that ends the assignment.
    fn value(&mut self) -> Option<(SetValue, (usize, usize))> {
        let first = self.at;
        let mut depth = 0usize;
        loop {
            match self.words.kind(self.at) {
                TokenKind::End => break,
                TokenKind::Comma if depth == 0 => break,
                TokenKind::LeftParen => depth += 1,
                TokenKind::RightParen => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
        }
        let last = self.at.checked_sub(1).filter(|last| *last >= first)?;
        let span = (
            self.words.get(first)?.start as usize,
            self.words.get(last)?.end as usize,
        );
        let value = match (self.at - first, self.words.kind(first)) {
            (1, _) => self.single(first),
            (2, TokenKind::Minus | TokenKind::Plus) => match self.single(last) {
                Some(SetValue::Number(number)) if self.words.kind(first) == TokenKind::Minus => {
                    Some(SetValue::Number(format!("-{number}")))
                }
                Some(SetValue::Number(number)) => Some(SetValue::Number(number)),
                _ => None,
            },
            _ => None,
        };
        Some((value.unwrap_or(SetValue::Expression), span))
    }
}
