//! What the tokens of a statement show without a tree: which names stand where tables stand, what is called, which words
//! change the session. One of two independent ways to the table list; the other is the tree ([`super::tables`]).

use super::functions::{self, Function};
use super::lexer::{LexMode, TokenKind};
use super::statement::TableName;
use super::words::Words;

/// Everything found in one pass.
#[derive(Debug, Default)]
pub struct Scan {
    /// Names in table positions of queries and data changes, in order, common table expressions among them.
    pub tables: Vec<TableName>,
    /// A name in a table position that is not UTF-8.
    pub unreadable_table: bool,
    /// The worst function class of each kind was met.
    pub functions: Functions,
    /// `@x`.
    pub user_variable: bool,
    /// `@@x`.
    pub system_variable: bool,
    /// `@@warning_count` and its like.
    pub diagnostics_variable: bool,
    /// INTO behind SELECT: a variable, OUTFILE, DUMPFILE.
    pub into: bool,
    /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
    pub locking: bool,
    /// LOCK IN SHARE MODE: the parser does not know it.
    pub lock_in_share_mode: bool,
    /// SQL_CALC_FOUND_ROWS.
    pub found_rows: bool,
    /// A hint that may change the result or the session, or SQL_NO_CACHE.
    pub unsafe_hint: bool,
    /// Any hint.
    pub hint: bool,
    /// A word whose tree we would not trust (see `parse`): fine for tables, not for views.
    pub exotic: bool,
}

/// Which classes of functions are called.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Functions {
    /// COUNT, SUM and the like.
    pub aggregate: bool,
    /// NOW and the like.
    pub clock: bool,
    /// USER() and the like.
    pub session: bool,
    /// FOUND_ROWS() and the like.
    pub diagnostics: bool,
    /// LAST_INSERT_ID(expression): sets what it says.
    pub sets_last_insert_id: bool,
    /// RAND() and the like.
    pub non_deterministic: bool,
    /// GET_LOCK and the like.
    pub lock: bool,
    /// One that is not on the list.
    pub unknown: bool,
}

/// Where in a query a parenthesis level is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    /// Not a query: arguments, a list, an expression.
    Expression,
    /// The arguments of EXTRACT, TRIM, SUBSTRING: their FROM is not a query's.
    Arguments,
    /// Before FROM, or behind the joins.
    Outside,
    /// In FROM, a table comes next.
    TableNext,
    /// In FROM, behind a table.
    Tables,
    /// A list of names that are columns or indexes.
    Names,
}

/// Scan one statement's tokens.
pub fn scan(words: &Words, mode: LexMode) -> Scan {
    let mut scanner = Scanner {
        words,
        mode,
        scan: Scan::default(),
        levels: vec![Clause::Outside],
        names: Vec::new(),
        hints: Vec::new(),
    };
    let mut at = 0;
    while at < words.tokens.len() {
        at = scanner.step(at);
    }
    let names = std::mem::take(&mut scanner.names);
    scanner.calls(&names);
    scanner.scan
}

struct Scanner<'w, 't> {
    words: &'w Words<'t>,
    mode: LexMode,
    scan: Scan,
    levels: Vec<Clause>,
    /// Tokens that are the last word of a table name: `(` behind them is no call.
    names: Vec<usize>,
    /// From the first to behind the last token of each hint.
    hints: Vec<std::ops::Range<usize>>,
}

impl Scanner<'_, '_> {
    fn clause(&self) -> Clause {
        self.levels.last().copied().unwrap_or(Clause::Expression)
    }

    fn set(&mut self, clause: Clause) {
        if let Some(level) = self.levels.last_mut() {
            *level = clause;
        }
    }

    /// Looks at the token and says where to go on.
    fn step(&mut self, at: usize) -> usize {
        match self.words.kind(at) {
            TokenKind::LeftParen => self.open(at),
            TokenKind::RightParen => {
                if self.levels.len() > 1 {
                    self.levels.pop();
                }
                // A derived table or a nested join has ended.
                if self.clause() == Clause::TableNext {
                    self.set(Clause::Tables);
                }
            }
            TokenKind::Comma if self.clause() == Clause::Tables => self.set(Clause::TableNext),
            TokenKind::At => return self.variable(at),
            TokenKind::HintStart => return self.hint(at),
            TokenKind::Keyword if self.keyword(at) => {}
            TokenKind::Keyword | TokenKind::Ident | TokenKind::QuotedIdent
                if self.clause() == Clause::TableNext =>
            {
                return self.table(at);
            }
            TokenKind::Operator if self.words.bytes(at) == b"!" => self.scan.exotic = true,
            TokenKind::Operator if self.words.bytes(at) == b"{" => {
                // `{ oj t ... }`, `{ d '2020-01-01' }`: the word is no name.
                self.scan.exotic = true;
                return at + 2;
            }
            _ => {}
        }
        at + 1
    }

    fn open(&mut self, at: usize) {
        let before = if at > 0 {
            self.words.keyword(at - 1)
        } else {
            ""
        };
        let inner = match (self.clause(), before) {
            (_, "EXTRACT" | "TRIM" | "SUBSTRING" | "POSITION") => Clause::Arguments,
            // `FROM (t1 JOIN t2)`; a query in it says so itself.
            (Clause::TableNext, _) => Clause::TableNext,
            (_, "PARTITION" | "INDEX" | "KEY" | "USING") => Clause::Names,
            _ => Clause::Expression,
        };
        self.levels.push(inner);
    }

    /// Words that move between clauses. False: the word may be a name.
    fn keyword(&mut self, at: usize) -> bool {
        let clause = self.clause();
        let before = if at > 0 {
            self.words.keyword(at - 1)
        } else {
            ""
        };
        let word = self.words.keyword(at);
        if before == "FOR" && matches!(word, "JOIN" | "ORDER" | "GROUP") {
            // `USE INDEX FOR JOIN (k)`
            return true;
        }
        match word {
            // In a table position these two begin a query, anywhere else they do as well.
            "SELECT" | "VALUES" => self.set(Clause::Outside),
            "WITH" if matches!(clause, Clause::TableNext | Clause::Expression) => {
                self.set(Clause::Outside)
            }
            "FROM" if clause != Clause::Arguments => self.set(Clause::TableNext),
            "JOIN" | "STRAIGHT_JOIN" if matches!(clause, Clause::Tables) => {
                self.set(Clause::TableNext)
            }
            "TABLE" if !matches!(clause, Clause::Arguments | Clause::Names) => {
                self.set(Clause::TableNext)
            }
            "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "WINDOW" | "UNION" | "INTERSECT"
            | "EXCEPT"
                if matches!(clause, Clause::Tables | Clause::TableNext) =>
            {
                self.set(Clause::Outside);
            }
            "INSERT" | "REPLACE" | "UPDATE"
                if clause == Clause::Outside
                    && self.levels.len() == 1
                    && self.scan.tables.is_empty()
                    && !matches!(before, "FOR" | "KEY" | "ON")
                    && self.words.kind(at + 1) != TokenKind::LeftParen =>
            {
                self.set(Clause::TableNext);
            }
            // `DELETE FROM t1, t2 USING ...`
            "USING"
                if clause == Clause::Tables && self.words.kind(at + 1) != TokenKind::LeftParen =>
            {
                self.set(Clause::TableNext);
            }
            "INTO" if clause == Clause::TableNext => {}
            "SET" if matches!(clause, Clause::Tables) => self.set(Clause::Outside),
            "LATERAL" if clause == Clause::TableNext => {}
            "ONLY" | "LOW_PRIORITY" | "HIGH_PRIORITY" | "DELAYED" | "IGNORE" | "QUICK"
                if clause == Clause::TableNext => {}
            "JSON_TABLE" if clause == Clause::TableNext => self.set(Clause::Tables),
            "DUAL" if clause == Clause::TableNext => self.set(Clause::Tables),
            _ => return self.remarkable(at, before),
        }
        true
    }

    /// Words that say something about the statement. False: it says nothing.
    fn remarkable(&mut self, at: usize, before: &str) -> bool {
        match self.words.keyword(at) {
            "INTO" => self.into(at),
            "FOR" => self.locking(at),
            "SQL_CALC_FOUND_ROWS" => self.scan.found_rows = true,
            "SQL_NO_CACHE" => self.scan.unsafe_hint = true,
            "TABLESAMPLE" => self.scan.functions.non_deterministic = true,
            "UTC_DATE" | "UTC_TIME" | "UTC_TIMESTAMP" | "NOW" | "CURDATE" | "CURTIME"
            | "SYSDATE" => {
                self.scan.functions.clock = true;
            }
            // A TIME becomes a DATETIME by today's date.
            "TIME" if self.is_time_type(at, before) => self.scan.functions.clock = true,
            "LOCK" if self.words.keyword(at + 1) == "IN" => {
                self.scan.lock_in_share_mode = true;
                self.locking(at);
            }
            "CURRENT_USER" => self.scan.functions.session = true,
            "BINARY" | "SOUNDS" => self.scan.exotic = true,
            _ => return false,
        }
        true
    }

    /// `CAST(x AS TIME)`, `TIME '10:00'`: a TIME becomes a DATETIME by today's date wherever one is wanted.
    fn is_time_type(&self, at: usize, before: &str) -> bool {
        matches!(before, "AS" | "RETURNING")
            || self.words.kind(at + 1) == TokenKind::String
            || self.words.keyword(at + 1) == "PATH"
            || at > 0 && self.words.kind(at - 1) == TokenKind::Comma && self.in_convert(at - 1)
    }

    /// LOAD .. INTO TABLE says TABLE; SELECT .. INTO takes the result away.
    fn into(&mut self, at: usize) {
        if self.words.keyword(at + 1) != "TABLE" {
            self.scan.into = true;
            self.set(Clause::Outside);
        }
    }

    fn locking(&mut self, at: usize) {
        if matches!(self.words.keyword(at + 1), "UPDATE" | "SHARE" | "IN") {
            self.scan.locking = true;
            self.set(Clause::Outside);
        }
    }

    /// At the first word of a table's name.
    fn table(&mut self, at: usize) -> usize {
        let (first, mut last) = (self.words.name(at), at);
        let mut table = TableName {
            schema: None,
            name: String::new(),
        };
        let second = if self.words.kind(at + 1) == TokenKind::Dot {
            last = at + 2;
            // `DELETE t.* FROM ...`
            Some(self.words.name(at + 2))
        } else {
            None
        };
        match (first, second) {
            (Some(schema), Some(Some(name))) => {
                table = TableName {
                    schema: Some(schema),
                    name,
                }
            }
            (Some(name), None) => table.name = name,
            _ => self.scan.unreadable_table = true,
        }
        if !table.name.is_empty() {
            self.scan.tables.push(table);
        }
        self.names.push(last);
        self.set(Clause::Tables);
        last + 1
    }

    /// At `@`.
    fn variable(&mut self, at: usize) -> usize {
        if self.words.kind(at + 1) != TokenKind::At {
            self.scan.user_variable = true;
            return at + 2;
        }
        self.scan.system_variable = true;
        let scoped = self.words.kind(at + 3) == TokenKind::Dot;
        let name = self.words.bytes(if scoped { at + 4 } else { at + 2 });
        let name = name
            .strip_prefix(b"`")
            .and_then(|name| name.strip_suffix(b"`"))
            .unwrap_or(name);
        for known in ["warning_count", "error_count", "last_insert_id", "identity"] {
            self.scan.diagnostics_variable |= name.eq_ignore_ascii_case(known.as_bytes());
        }
        at + if scoped { 5 } else { 3 }
    }

    /// At `/*+`: the hints that only choose a plan are harmless.
    fn hint(&mut self, at: usize) -> usize {
        self.scan.hint = true;
        let start = at;
        let (mut at, mut depth) = (at + 1, 0usize);
        loop {
            match self.words.kind(at) {
                TokenKind::HintEnd | TokenKind::End => {
                    self.hints.push(start..at + 1);
                    return at + 1;
                }
                TokenKind::LeftParen => depth += 1,
                TokenKind::RightParen => depth = depth.saturating_sub(1),
                TokenKind::Keyword if depth == 0 => {
                    let changes = ["SET_VAR", "MAX_EXECUTION_TIME", "RESOURCE_GROUP"];
                    self.scan.unsafe_hint |= changes.iter().any(|name| self.words.spells(at, name));
                }
                _ if depth == 0 => self.scan.unsafe_hint = true,
                _ => {}
            }
            at += 1;
        }
    }

    /// Every name before a `(` is a call, unless it is one of the few other things that look so.
    fn calls(&mut self, table_names: &[usize]) {
        for at in 0..self.words.tokens.len() {
            if self.words.kind(at + 1) != TokenKind::LeftParen
                || table_names.binary_search(&at).is_ok()
                || self.hints.iter().any(|hint| hint.contains(&at))
            {
                continue;
            }
            let before = if at > 0 {
                self.words.kind(at - 1)
            } else {
                TokenKind::End
            };
            let before_word = if at > 0 {
                self.words.keyword(at - 1)
            } else {
                ""
            };
            let function = match self.words.kind(at) {
                // `q.f(1)`: stored.
                TokenKind::Ident | TokenKind::QuotedIdent if before == TokenKind::Dot => {
                    Function::Unknown
                }
                TokenKind::Ident | TokenKind::QuotedIdent => {
                    // `AS d (a, b)`, `(SELECT ..) d (a, b)`, `WITH c (a) AS (`: column names.
                    if before_word == "AS"
                        || before == TokenKind::RightParen
                        || self.names_columns(at)
                    {
                        continue;
                    }
                    match self.words.name(at) {
                        Some(name) => functions::class_of_identifier(&name, self.mode),
                        None => Function::Unknown,
                    }
                }
                TokenKind::Keyword => {
                    let word = std::str::from_utf8(self.words.bytes(at)).unwrap_or_default();
                    if before == TokenKind::Dot {
                        Function::Unknown
                    } else if functions::is_type(word) && !self.starts_expression(at)
                        || functions::is_grammar(word)
                    {
                        continue;
                    } else {
                        functions::class(word, self.mode)
                    }
                }
                _ => continue,
            };
            self.call(function, at);
        }
    }

    /// Whether a type word at this place is called as a function (`DATE(x)`) rather than named as a type (`CAST(x AS TIME(3))`).
    fn starts_expression(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else {
            return true;
        };
        match self.words.kind(before) {
            TokenKind::Comma => !self.in_convert(before),
            TokenKind::Ident | TokenKind::QuotedIdent => false,
            TokenKind::Keyword => !matches!(
                self.words.keyword(before),
                "AS" | "RETURNING" | "UNSIGNED" | "NATIONAL" | "LONG"
            ),
            _ => true,
        }
    }

    /// `CONVERT(x, CHAR(3))`: the comma belongs to a CONVERT.
    fn in_convert(&self, comma: usize) -> bool {
        let mut depth = 0usize;
        for at in (0..comma).rev() {
            match self.words.kind(at) {
                TokenKind::RightParen => depth += 1,
                TokenKind::LeftParen if depth == 0 => {
                    return at > 0 && self.words.keyword(at - 1) == "CONVERT";
                }
                TokenKind::LeftParen => depth -= 1,
                _ => {}
            }
        }
        false
    }

    /// `c (a, b) AS (` behind WITH.
    fn names_columns(&self, at: usize) -> bool {
        let mut depth = 0usize;
        for next in at + 1..self.words.tokens.len() {
            match self.words.kind(next) {
                TokenKind::LeftParen => depth += 1,
                TokenKind::RightParen => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return self.words.keyword(next + 1) == "AS"
                            && self.words.kind(next + 2) == TokenKind::LeftParen;
                    }
                }
                TokenKind::Ident
                | TokenKind::QuotedIdent
                | TokenKind::Keyword
                | TokenKind::Comma => {}
                _ => return false,
            }
        }
        false
    }

    fn call(&mut self, function: Function, at: usize) {
        let functions = &mut self.scan.functions;
        let no_arguments = self.words.kind(at + 2) == TokenKind::RightParen;
        match function {
            Function::Pure if no_arguments && self.words.spells(at, "UNIX_TIMESTAMP") => {
                functions.clock = true
            }
            Function::Pure => {}
            Function::Aggregate => functions.aggregate = true,
            Function::Clock => functions.clock = true,
            Function::Session => functions.session = true,
            Function::Diagnostics => {
                functions.diagnostics = true;
                functions.sets_last_insert_id |= !no_arguments;
            }
            Function::NonDeterministic => functions.non_deterministic = true,
            Function::Lock => functions.lock = true,
            Function::Unknown => functions.unknown = true,
        }
    }
}
