//! What an admin statement is, and what has to be done for it: a query for the engine, a change of the session, or nothing.
//! Refuses, with MySQL's own errors, everything that would change something. Runs nothing.

use super::catalog;
use super::context::Context;
use super::dialect::{self, Rewritten};
use super::error::Error;
use super::lexer::{self, Kind, Token};
use super::show;
use super::value::Value;
use super::variables::{self, Scope};
use super::writes::{self, Keep, Write};

/// What has to be done for a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Run this query and send its rows.
    Query(Rewritten),
    /// Set these variables.
    Set(Vec<Assignment>),
    /// Make this the default schema.
    Use(&'static str),
    /// Run this query, and change what its rows say.
    Write(Write),
    /// Save or undo all changes.
    Keep(Keep),
    /// Answer OK: there is nothing to do (BEGIN, COMMIT: every statement reads one moment and none writes).
    Nothing,
}

impl Plan {
    /// How many `?` the statement has.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Query(rewritten) => rewritten.parameters,
            Self::Set(assignments) => assignments
                .iter()
                .map(|assignment| match &assignment.to {
                    NewValue::Expression(rewritten) => rewritten.parameters,
                    _ => 0,
                })
                .sum(),
            Self::Write(write) => write.query.parameters,
            Self::Use(_) | Self::Keep(_) | Self::Nothing => 0,
        }
    }
}

/// One variable of a SET.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Lower-case name of a system variable, or of a user variable with its `@`.
    pub name: String,
    /// What it becomes.
    pub to: NewValue,
}

/// The right side of an assignment.
#[derive(Debug, Clone, PartialEq)]
pub enum NewValue {
    /// Its default.
    Default,
    /// This value.
    Literal(Value),
    /// What this expression gives, as `SELECT <expression>`.
    Expression(Rewritten),
}

/// Words that begin a statement which changes something or needs a real server.
const WRITES: [&str; 34] = [
    "ALTER",
    "ANALYZE",
    "BINLOG",
    "CALL",
    "CHANGE",
    "CHECK",
    "CHECKSUM",
    "CLONE",
    "CREATE",
    "DELETE",
    "DROP",
    "FLUSH",
    "GRANT",
    "IMPORT",
    "INSERT",
    "INSTALL",
    "KILL",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "PURGE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "RESTART",
    "REVOKE",
    "SHUTDOWN",
    "START",
    "STOP",
    "TRUNCATE",
    "UNINSTALL",
    "UPDATE",
    "CACHE",
];

/// Words of statements that MySQL has and the virtual schema does not.
const UNSUPPORTED: [&str; 11] = [
    "DEALLOCATE",
    "DO",
    "EXECUTE",
    "GET",
    "HANDLER",
    "HELP",
    "PREPARE",
    "RESIGNAL",
    "SIGNAL",
    "XA",
    "DELIMITER",
];

/// A statement's text with its tokens.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The text.
    pub text: &'a str,
    /// Its tokens.
    pub tokens: &'a [Token],
}

impl<'a> Source<'a> {
    /// Whether the tokens from `at` on begin with these bare words.
    pub fn words(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| {
            self.tokens
                .get(at + offset)
                .is_some_and(|token| token.is_word(self.text, word))
        })
    }

    /// Whether the token at `at` is one of these bare words.
    pub fn one_of(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.words(at, &[word]))
    }

    /// Whether the token at `at` is this mark.
    pub fn mark(&self, at: usize, mark: &str) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.is_mark(self.text, mark))
    }

    /// The name at `at`.
    pub fn name(&self, at: usize) -> Option<&'a str> {
        self.tokens.get(at)?.name(self.text)
    }

    /// The source as written of the token at `at`.
    pub fn raw(&self, at: usize) -> &'a str {
        self.tokens
            .get(at)
            .map_or("", |token| &self.text[token.start..token.end])
    }

    /// The error that points at the token at `at`, or at the end.
    pub fn syntax(&self, at: usize) -> Error {
        match self.tokens.get(at) {
            Some(token) => {
                let near: String = self.text[token.start..].chars().take(80).collect();
                Error::Syntax(format!("near '{near}'"))
            }
            None => Error::Syntax("near the end".to_owned()),
        }
    }

    /// Nothing may follow.
    pub fn end(&self, at: usize) -> Result<(), Error> {
        if at < self.tokens.len() {
            Err(self.syntax(at))
        } else {
            Ok(())
        }
    }
}

/// What has to be done for this statement in this session.
///
/// # Errors
/// Whatever is wrong with the text, and a refusal of everything that is not reading.
pub fn plan(text: &str, context: &Context) -> Result<Plan, Error> {
    let tokens = lexer::tokens(text, context.ansi_quotes())?;
    let source = Source {
        text,
        tokens: &tokens,
    };
    if tokens.is_empty() {
        return Err(Error::EmptyQuery);
    }
    let first = source.raw(0).to_ascii_uppercase();
    match first.as_str() {
        "SELECT" | "WITH" | "(" | "VALUES" => query(text, &tokens, context),
        "TABLE" => {
            let rewritten = dialect::rewrite(text, &tokens[1..], context)?;
            Ok(Plan::Query(prefixed("SELECT * FROM ", rewritten)))
        }
        "SHOW" => show::show(source, context).map(Plan::Query),
        "DESCRIBE" | "DESC" | "EXPLAIN" => explain(source, context),
        "USE" => {
            let name = source.name(1).ok_or_else(|| source.syntax(1))?;
            source.end(2)?;
            schema(name).map(Plan::Use)
        }
        "SET" => set(source, context),
        "BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "UNLOCK" => Ok(Plan::Nothing),
        "START" if source.words(1, &["TRANSACTION"]) => Ok(Plan::Nothing),
        "INSERT" | "UPDATE" | "DELETE" | "SAVE" | "DISCARD" | "RESET" => {
            let planned = writes::plan(source, context)?;
            planned.ok_or_else(|| Error::ReadOnly(first.clone()))
        }
        word if WRITES.contains(&word) => Err(Error::ReadOnly(word.to_owned())),
        word if UNSUPPORTED.contains(&word) => Err(Error::Unsupported(word.to_owned())),
        _ => Err(source.syntax(0)),
    }
}

/// The catalog's schema of that name.
///
/// # Errors
/// `UnknownDatabase`.
pub fn schema(name: &str) -> Result<&'static str, Error> {
    catalog::schema(name).ok_or_else(|| Error::UnknownDatabase(name.to_owned()))
}

fn query(text: &str, tokens: &[Token], context: &Context) -> Result<Plan, Error> {
    // A common table expression may stand before DELETE and UPDATE too.
    let writes = ["DELETE", "UPDATE", "INSERT", "REPLACE"];
    if tokens[0].is_word(text, "WITH") {
        let mut depth = 0i32;
        for token in tokens {
            depth += i32::from(token.is_mark(text, "(")) - i32::from(token.is_mark(text, ")"));
            if depth == 0
                && let Some(word) = writes.iter().find(|word| token.is_word(text, word))
            {
                return Err(Error::ReadOnly((*word).to_owned()));
            }
        }
    }
    dialect::rewrite(text, tokens, context).map(Plan::Query)
}

fn prefixed(prefix: &str, rewritten: Rewritten) -> Rewritten {
    Rewritten {
        sql: format!("{prefix}{}", rewritten.sql),
        ..rewritten
    }
}

/// `DESCRIBE t [column]`, and `EXPLAIN SELECT`, which shows SQLite's plan.
fn explain(source: Source<'_>, context: &Context) -> Result<Plan, Error> {
    if source.one_of(1, &["SELECT", "WITH", "TABLE"]) || source.mark(1, "(") {
        let rewritten = dialect::rewrite(source.text, &source.tokens[1..], context)?;
        let mut rewritten = prefixed("EXPLAIN QUERY PLAN ", rewritten);
        rewritten.names.clear();
        return Ok(Plan::Query(rewritten));
    }
    if source.words(1, &["FORMAT"]) || source.words(1, &["ANALYZE"]) {
        return Err(Error::Unsupported(
            "EXPLAIN FORMAT and EXPLAIN ANALYZE".to_owned(),
        ));
    }
    if source.one_of(1, &["INSERT", "UPDATE", "DELETE", "REPLACE"]) {
        return Err(Error::ReadOnly(source.raw(1).to_ascii_uppercase()));
    }
    show::describe(source, context).map(Plan::Query)
}

/// Every form of SET.
fn set(source: Source<'_>, context: &Context) -> Result<Plan, Error> {
    let scoped = usize::from(source.one_of(1, &["SESSION", "LOCAL"]));
    if source.words(1 + scoped, &["TRANSACTION"]) {
        return Ok(Plan::Nothing);
    }
    if source.words(1, &["GLOBAL", "TRANSACTION"]) {
        return Err(Error::GlobalVariable("transaction_isolation".to_owned()));
    }
    if source.one_of(1, &["PASSWORD", "ROLE", "RESOURCE"]) || source.words(1, &["DEFAULT", "ROLE"])
    {
        return Err(Error::Unsupported(format!("SET {}", source.raw(1))));
    }
    let mut assignments = Vec::new();
    for (from, to) in comma_parts(source, 1)? {
        match charset_words(source, from) {
            0 => assignments.push(assignment(source, from, to, context)?),
            words => assignments.extend(set_names(source, from + words, to)?),
        }
    }
    Ok(Plan::Set(assignments))
}

/// How many words at `at` say that a character set follows: `NAMES`, `CHARSET`, `CHARACTER SET`.
fn charset_words(source: Source<'_>, at: usize) -> usize {
    if source.words(at, &["CHARACTER", "SET"]) {
        2
    } else {
        usize::from(source.one_of(at, &["NAMES", "CHARSET"]) && !source.mark(at + 1, "="))
    }
}

/// `charset [COLLATE collation]` from `at` to `to`.
fn set_names(source: Source<'_>, at: usize, to: usize) -> Result<Vec<Assignment>, Error> {
    let word = |at: usize| {
        let token = source.tokens.get(at).filter(|_| at < to);
        token
            .and_then(|token| token.name_or_text(source.text))
            .ok_or_else(|| source.syntax(at))
    };
    let charset = word(at)?;
    let charset = if charset.eq_ignore_ascii_case("default") {
        "utf8mb4"
    } else {
        charset
    };
    let assign = |name: &str, value: &str| Assignment {
        name: name.to_owned(),
        to: NewValue::Literal(value.to_ascii_lowercase().into()),
    };
    let names = [
        "character_set_client",
        "character_set_connection",
        "character_set_results",
    ];
    let mut assignments: Vec<Assignment> = names.iter().map(|name| assign(name, charset)).collect();
    let mut end = at + 1;
    if source.words(end, &["COLLATE"]) {
        assignments.push(assign("collation_connection", word(at + 2)?));
        end = at + 3;
    }
    if end == to {
        Ok(assignments)
    } else {
        Err(source.syntax(end))
    }
}

/// The ranges between commas that stand in no parentheses.
fn comma_parts(source: Source<'_>, from: usize) -> Result<Vec<(usize, usize)>, Error> {
    let mut parts = Vec::new();
    let (mut depth, mut first) = (0i32, from);
    for at in from..=source.tokens.len() {
        depth += i32::from(source.mark(at, "(")) - i32::from(source.mark(at, ")"));
        if at == source.tokens.len() || (depth == 0 && source.mark(at, ",")) {
            if at == first {
                return Err(source.syntax(at));
            }
            parts.push((first, at));
            first = at + 1;
        }
    }
    Ok(parts)
}

/// `[scope] name = expression` between two tokens.
fn assignment(
    source: Source<'_>,
    from: usize,
    to: usize,
    context: &Context,
) -> Result<Assignment, Error> {
    let mut at = from;
    let mut scope = Scope::Session;
    if source.one_of(at, &["SESSION", "LOCAL"]) && !source.mark(at + 1, "=") {
        at += 1;
    } else if source.one_of(at, &["GLOBAL", "PERSIST", "PERSIST_ONLY"]) && !source.mark(at + 1, "=")
    {
        scope = Scope::Global;
        at += 1;
    }
    let token = source.tokens.get(at).ok_or_else(|| source.syntax(at))?;
    let name = match &token.kind {
        Kind::SystemVariable(name) => {
            let (written, name) = variables::without_scope(name);
            if written == Scope::Global {
                scope = written;
            }
            name
        }
        Kind::UserVariable => source.raw(at).replace('`', "").to_ascii_lowercase(),
        _ => token
            .name(source.text)
            .ok_or_else(|| source.syntax(at))?
            .to_ascii_lowercase(),
    };
    if scope == Scope::Global {
        return Err(Error::GlobalVariable(name));
    }
    if !source.mark(at + 1, "=") && !source.mark(at + 1, ":=") {
        return Err(source.syntax(at + 1));
    }
    if at + 2 >= to {
        return Err(source.syntax(to));
    }
    let to = new_value(source, &name, at + 2, to, context)?;
    Ok(Assignment { name, to })
}

fn new_value(
    source: Source<'_>,
    name: &str,
    from: usize,
    to: usize,
    context: &Context,
) -> Result<NewValue, Error> {
    if to == from + 1
        && let Some(word) = source.tokens[from].name(source.text)
    {
        // A bare word is a value here and no column.
        return Ok(match word.to_ascii_uppercase().as_str() {
            "DEFAULT" => NewValue::Default,
            "NULL" => NewValue::Literal(Value::Null),
            _ => NewValue::Literal(variables::switch(name, word).unwrap_or_else(|| word.into())),
        });
    }
    let expression = dialect::rewrite(source.text, &source.tokens[from..to], context)?;
    Ok(NewValue::Expression(prefixed("SELECT ", expression)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Plan, Error> {
        plan(text, &Context::for_tests())
    }

    #[test]
    fn everything_that_writes_is_refused_as_read_only() {
        for text in [
            "INSERT INTO queries VALUES (1)",
            "/* x */ update queries set a = 1",
            "with a as (select 1) delete from queries",
            "DROP TABLE queries",
            "create view v as select 1",
            "truncate queries",
            "kill 7",
            "start slave",
        ] {
            assert_eq!(of(text).unwrap_err().number(), 1290, "{text}");
        }
        assert_eq!(of("xa begin 'x'").unwrap_err().number(), 1235);
        assert_eq!(
            of("explain delete from queries").unwrap_err().number(),
            1290
        );
        assert_eq!(of("nonsense").unwrap_err().number(), 1064);
        assert_eq!(of("attach ':memory:' as x").unwrap_err().number(), 1064);
        assert_eq!(of("pragma page_size").unwrap_err().number(), 1064);
        assert_eq!(of(" -- nothing\n").unwrap_err().number(), 1065);
    }

    #[test]
    fn schemas_and_transactions() {
        assert_eq!(of("use `TideGate`;"), Ok(Plan::Use("tidegate")));
        assert_eq!(of("use mysql").unwrap_err().number(), 1049);
        assert_eq!(of("use"), Err(Error::Syntax("near the end".to_owned())));
        for text in [
            "begin",
            "start transaction read only",
            "COMMIT",
            "rollback to a",
        ] {
            assert_eq!(of(text), Ok(Plan::Nothing), "{text}");
        }
    }

    #[test]
    fn every_form_of_set() {
        let literal = |text: &str, at: usize| match of(text) {
            Ok(Plan::Set(assignments)) => match &assignments[at] {
                Assignment {
                    name,
                    to: NewValue::Literal(value),
                } => (name.clone(), value.clone()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let named = |name: &str, value: Value| (name.to_owned(), value);
        assert_eq!(
            literal("SET NAMES utf8mb4", 2),
            named("character_set_results", "utf8mb4".into())
        );
        assert_eq!(
            literal("set names 'utf8' collate 'utf8mb4_bin'", 3),
            named("collation_connection", "utf8mb4_bin".into())
        );
        assert_eq!(
            literal("SET @@session.autocommit = OFF", 0),
            named("autocommit", Value::Int(0))
        );
        assert_eq!(
            literal("set character_set_results = NULL", 0).1,
            Value::Null
        );
        assert_eq!(
            literal("set session sql_mode = ansi, @a := x", 1),
            named("@a", "x".into())
        );
        assert_eq!(
            of("set autocommit=default"),
            Ok(Plan::Set(vec![Assignment {
                name: "autocommit".to_owned(),
                to: NewValue::Default
            }]))
        );
        let Ok(Plan::Set(assignments)) = of("SET autocommit=1, sql_mode=concat(@@sql_mode, ',X')")
        else {
            panic!()
        };
        let NewValue::Expression(rewritten) = &assignments[1].to else {
            panic!()
        };
        assert_eq!(rewritten.sql, "SELECT concat('', ',X')");
        assert_eq!(
            of("set session transaction isolation level read committed"),
            Ok(Plan::Nothing)
        );
        assert_eq!(of("set global read_only = 0").unwrap_err().number(), 1238);
        assert_eq!(
            of("set @@persist.read_only = 0").unwrap_err().number(),
            1238
        );
        for bad in [
            "set",
            "set x",
            "set x =",
            "set names",
            "set a = 1,",
            "set 1 = 2",
        ] {
            assert_eq!(of(bad).unwrap_err().number(), 1064, "{bad}");
        }
    }
}
