//! The statements that change something: INSERT, UPDATE and DELETE on the tables that can be changed, as a query for the engine whose
//! rows say what is to become of which row; and SAVE, DISCARD, RESET. Reads the text; changes nothing.
//!
//! ```text
//! INSERT INTO t (a, b) VALUES (1, 2)     ->  VALUES (1, 2)
//! UPDATE t SET a = a + 1 WHERE b > 5     ->  SELECT name, (a + 1) FROM t WHERE b > 5
//! DELETE FROM t WHERE b > 5              ->  SELECT name FROM t WHERE b > 5
//! ```

use super::catalog::SCHEMA;
use super::context::Context;
use super::dialect::{self, Rewritten};
use super::error::Error;
use super::runtime::{Action, Target};
use super::statement::{Plan, Source};

/// A change of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The table.
    pub target: Target,
    /// What is done to it.
    pub action: Action,
    /// The columns that get values.
    pub columns: Vec<String>,
    /// Gives the rows.
    pub query: Rewritten,
}

/// What becomes of all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Kept for the next start.
    Save,
    /// Back to what was saved.
    Discard,
    /// Back to the configuration file.
    Reset,
}

/// The plan for a statement that begins with a word of writing; `None`: it is none of ours.
///
/// # Errors
/// Whatever is wrong with it.
pub fn plan(source: Source<'_>, context: &Context) -> Result<Option<Plan>, Error> {
    if source.tokens.len() == 1 {
        let keeps = [
            ("SAVE", Keep::Save),
            ("DISCARD", Keep::Discard),
            ("RESET", Keep::Reset),
        ];
        let keep = keeps.iter().find(|(word, _)| source.words(0, &[word]));
        return Ok(keep.map(|(_, keep)| Plan::Keep(*keep)));
    }
    let write = if source.words(0, &["INSERT"]) {
        insert(source, context)?
    } else if source.words(0, &["UPDATE"]) {
        update(source, context)?
    } else if source.words(0, &["DELETE"]) {
        delete(source, context)?
    } else {
        None
    };
    Ok(write.map(Plan::Write))
}

/// `[tidegate.]name` at `at`: the table, and what follows it. `None`: not one that can be changed.
fn target(
    source: Source<'_>,
    at: usize,
    context: &Context,
) -> Result<Option<(Target, usize)>, Error> {
    let first = source.name(at).ok_or_else(|| source.syntax(at))?;
    let (schema, name, next) = match source.mark(at + 1, ".") {
        true => {
            let name = source.name(at + 2).ok_or_else(|| source.syntax(at + 2))?;
            (first, name, at + 3)
        }
        false => (context.schema, first, at + 1),
    };
    if !schema.eq_ignore_ascii_case(SCHEMA) {
        return Ok(None);
    }
    let all = [Target::Rules, Target::Users, Target::Settings];
    let found = all
        .into_iter()
        .find(|target| target.name().eq_ignore_ascii_case(name));
    if found.is_none() && name.eq_ignore_ascii_case("backends") {
        let what = "servers come and go with [[nodes]] of the configuration file at the next start; changing backends";
        return Err(Error::ReadOnly(what.to_owned()));
    }
    Ok(found.map(|target| (target, next)))
}

fn insert(source: Source<'_>, context: &Context) -> Result<Option<Write>, Error> {
    let at = 1 + usize::from(source.words(1, &["INTO"]));
    let Some((target, mut at)) = target(source, at, context)? else {
        return Ok(None);
    };
    if !source.mark(at, "(") {
        let why = "name the columns: INSERT INTO t (column, ...) VALUES (...)";
        return Err(Error::Syntax(why.to_owned()));
    }
    let mut columns = Vec::new();
    loop {
        at += 1;
        columns.push(source.name(at).ok_or_else(|| source.syntax(at))?.to_owned());
        at += 1;
        if source.mark(at, ")") {
            break;
        }
        if !source.mark(at, ",") {
            return Err(source.syntax(at));
        }
    }
    at += 1;
    if !source.one_of(at, &["VALUES", "SELECT", "WITH"]) {
        return Err(source.syntax(at));
    }
    let query = rewritten(source, at, source.tokens.len(), context)?;
    let action = Action::Insert;
    Ok(Some(Write {
        target,
        action,
        columns,
        query,
    }))
}

fn update(source: Source<'_>, context: &Context) -> Result<Option<Write>, Error> {
    let Some((target, at)) = target(source, 1, context)? else {
        return Ok(None);
    };
    if !source.words(at, &["SET"]) {
        return Err(source.syntax(at));
    }
    let tail = tail(source, at);
    let (mut columns, mut parts) = (Vec::new(), Vec::new());
    let mut from = at + 1;
    while from < tail {
        let to = assignment_end(source, from, tail);
        columns.push(
            source
                .name(from)
                .ok_or_else(|| source.syntax(from))?
                .to_owned(),
        );
        if !source.mark(from + 1, "=") || from + 2 >= to {
            return Err(source.syntax(from + 1));
        }
        parts.push(rewritten(source, from + 2, to, context)?);
        if to < tail && to + 1 >= tail {
            return Err(source.syntax(tail));
        }
        from = to + 1;
    }
    if columns.is_empty() {
        return Err(source.syntax(tail));
    }
    let mut sql = "SELECT name".to_owned();
    for part in &parts {
        sql.push_str(&format!(", ({})", part.sql));
    }
    let end = rewritten(source, tail, source.tokens.len(), context)?;
    let query = Rewritten {
        sql: format!("{sql} FROM {SCHEMA}.{} {}", target.name(), end.sql),
        names: Vec::new(),
        parameters: parts.iter().map(|part| part.parameters).sum::<usize>() + end.parameters,
    };
    let action = Action::Update;
    Ok(Some(Write {
        target,
        action,
        columns,
        query,
    }))
}

fn delete(source: Source<'_>, context: &Context) -> Result<Option<Write>, Error> {
    if !source.words(1, &["FROM"]) {
        return Err(source.syntax(1));
    }
    let Some((target, at)) = target(source, 2, context)? else {
        return Ok(None);
    };
    let end = rewritten(source, at, source.tokens.len(), context)?;
    let query = Rewritten {
        sql: format!("SELECT name FROM {SCHEMA}.{} {}", target.name(), end.sql),
        names: Vec::new(),
        parameters: end.parameters,
    };
    let (action, columns) = (Action::Delete, Vec::new());
    Ok(Some(Write {
        target,
        action,
        columns,
        query,
    }))
}

fn rewritten(
    source: Source<'_>,
    from: usize,
    to: usize,
    context: &Context,
) -> Result<Rewritten, Error> {
    let tokens = source.tokens.get(from..to).unwrap_or_default();
    dialect::rewrite(source.text, tokens, context)
}

/// Where the assignments of an UPDATE end: at WHERE, ORDER, LIMIT, or the end.
fn tail(source: Source<'_>, from: usize) -> usize {
    let ends = |at: usize| source.one_of(at, &["WHERE", "ORDER", "LIMIT"]);
    outside(source, from, source.tokens.len(), ends)
}

fn assignment_end(source: Source<'_>, from: usize, to: usize) -> usize {
    outside(source, from, to, |at| source.mark(at, ","))
}

/// The first place outside of parentheses where something holds.
fn outside(source: Source<'_>, from: usize, to: usize, holds: impl Fn(usize) -> bool) -> usize {
    let mut depth = 0i32;
    for at in from..to {
        depth += i32::from(source.mark(at, "(")) - i32::from(source.mark(at, ")"));
        if depth == 0 && holds(at) {
            return at;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::lexer;

    fn of(text: &str) -> Result<Option<Plan>, Error> {
        let tokens = lexer::tokens(text, false)?;
        let source = Source {
            text,
            tokens: &tokens,
        };
        plan(source, &Context::for_tests())
    }

    fn write(text: &str) -> Write {
        match of(text) {
            Ok(Some(Plan::Write(write))) => write,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn writes_become_queries() {
        let inserted =
            write("INSERT INTO tidegate.rules (name, `block`) VALUES ('a', ?), ('b', 'x')");
        assert_eq!(
            (inserted.target, inserted.action),
            (Target::Rules, Action::Insert)
        );
        assert_eq!(
            (inserted.columns, inserted.query.parameters),
            (vec!["name".to_owned(), "block".to_owned()], 1)
        );
        assert!(inserted.query.sql.starts_with("VALUES"));
        let updated = write(
            "update rules set position = position + 1, block = concat('a', ',b') where name = ? limit 1",
        );
        assert_eq!(updated.columns, ["position", "block"]);
        assert!(
            updated.query.sql.starts_with("SELECT name, (position"),
            "{}",
            updated.query.sql
        );
        assert!(
            updated.query.sql.contains("FROM tidegate.rules where"),
            "{}",
            updated.query.sql
        );
        assert_eq!(updated.query.parameters, 1);
        let deleted = write("DELETE FROM users");
        assert_eq!(
            (deleted.target, deleted.action),
            (Target::Users, Action::Delete)
        );
    }

    #[test]
    fn what_is_no_write_of_ours() {
        assert_eq!(of("SAVE"), Ok(Some(Plan::Keep(Keep::Save))));
        assert_eq!(of("reset"), Ok(Some(Plan::Keep(Keep::Reset))));
        for text in [
            "INSERT INTO queries (a) VALUES (1)",
            "DELETE FROM shop.rules",
            "RESET MASTER",
            "drop table rules",
        ] {
            assert_eq!(of(text), Ok(None), "{text}");
        }
        for text in [
            "INSERT INTO rules VALUES (1)",
            "INSERT INTO rules (name) VALUE (1)",
            "INSERT INTO rules (name, ) VALUES (1)",
            "UPDATE rules SET",
            "UPDATE rules SET block",
            "UPDATE rules SET block = ",
            "UPDATE rules SET block = 'x',",
            "UPDATE rules SET block = 'x', WHERE name = 'a'",
            "DELETE rules",
            "UPDATE (",
        ] {
            assert_eq!(of(text).unwrap_err().number(), 1064, "{text}");
        }
        let refused = of("INSERT INTO backends (name) VALUES ('x')").unwrap_err();
        assert_eq!(refused.number(), 1290);
        assert!(refused.to_string().contains("[[nodes]]"), "{refused}");
    }
}
