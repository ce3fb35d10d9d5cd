//! MySQL's dialect into SQLite's, token by token: strings, variables, INTERVAL, CAST, division, functions with odd grammar.
//! Keeps the client's spelling of every select item, since that is the column's name in MySQL. Never decides what a
//! statement may do: that is `statement`.

use super::context::Context;
use super::error::Error;
use super::lexer::{Kind, Token};
use super::time::Unit;
use super::value::Value;

/// Functions of odd grammar inside each other; a statement with more would use up the stack, and with it the program.
const DEPTH_MAX: usize = 100;

/// A statement in SQLite's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The text for SQLite.
    pub sql: String,
    /// What SQLite would call a column -> what MySQL calls it, where the two differ.
    pub names: Vec<(String, String)>,
    /// How many `?` it has.
    pub parameters: usize,
}

/// Rewrites a SELECT, or any part of one.
///
/// # Errors
/// `UnknownVariable` for `@@name`; `Syntax` where parentheses do not match.
pub fn rewrite(text: &str, tokens: &[Token], context: &Context) -> Result<Rewritten, Error> {
    let closers = match_parentheses(text, tokens)?;
    let mut rewriter = Rewriter {
        text,
        tokens,
        closers,
        context,
        out: String::with_capacity(text.len() + 64),
        spans: vec![(0, 0); tokens.len()],
        interval: None,
        depth: 0,
    };
    rewriter.range(0, tokens.len())?;
    let parameters = tokens.iter().filter(|t| t.kind == Kind::Parameter).count();
    let names = rewriter.names();
    Ok(Rewritten {
        sql: rewriter.out,
        names,
        parameters,
    })
}

/// Index of the closing parenthesis of every opening one.
fn match_parentheses(text: &str, tokens: &[Token]) -> Result<Vec<usize>, Error> {
    let mut closers = vec![usize::MAX; tokens.len()];
    let mut open = Vec::new();
    let unbalanced = || Error::Syntax("parentheses do not match".to_owned());
    for (at, token) in tokens.iter().enumerate() {
        if token.is_mark(text, "(") {
            open.push(at);
        } else if token.is_mark(text, ")") {
            closers[open.pop().ok_or_else(unbalanced)?] = at;
        }
    }
    if open.is_empty() {
        Ok(closers)
    } else {
        Err(unbalanced())
    }
}

struct Rewriter<'a> {
    text: &'a str,
    tokens: &'a [Token],
    closers: Vec<usize>,
    context: &'a Context,
    out: String,
    /// Where each token's own output stands; empty for those that were dropped.
    spans: Vec<(usize, usize)>,
    /// Last token of the latest `x + INTERVAL ..` and where its output begins.
    interval: Option<(usize, usize)>,
    /// Ranges that the one in hand stands in.
    depth: usize,
}

/// Words of a SELECT that say nothing here.
const DROPPED: [&str; 8] = [
    "SQL_NO_CACHE",
    "SQL_CACHE",
    "SQL_CALC_FOUND_ROWS",
    "SQL_BUFFER_RESULT",
    "SQL_SMALL_RESULT",
    "SQL_BIG_RESULT",
    "HIGH_PRIORITY",
    "STRAIGHT_JOIN",
];

/// Words that SQLite reserves and MySQL does not: as names they need quotes.
const RESERVED: [&str; 8] = [
    "AUTOINCREMENT",
    "COMMIT",
    "DEFERRABLE",
    "ISNULL",
    "NOTHING",
    "NOTNULL",
    "RETURNING",
    "TRANSACTION",
];

/// MySQL function -> ours, where SQLite's grammar has the word for something else or another function does the same.
const RENAMED: [(&str, &str); 6] = [
    ("ANY_VALUE", "max"),
    ("ISNULL", "is_null"),
    ("LEFT", "left_of"),
    ("RIGHT", "right_of"),
    ("CURRENT_DATE", "curdate"),
    ("CURRENT_TIMESTAMP", "now"),
];

impl Rewriter<'_> {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.token(at)
            .is_some_and(|token| token.is_word(self.text, word))
    }

    fn is_mark(&self, at: usize, mark: &str) -> bool {
        self.token(at)
            .is_some_and(|token| token.is_mark(self.text, mark))
    }

    fn raw(&self, at: usize) -> &str {
        self.token(at)
            .map_or("", |token| &self.text[token.start..token.end])
    }

    /// Space between two tokens as the client wrote it; a comment becomes one space.
    fn gap(&mut self, at: usize) {
        let before = match at.checked_sub(1).and_then(|before| self.token(before)) {
            Some(token) => token.end,
            None => return,
        };
        let Some(token) = self.token(at) else { return };
        let gap = &self.text[before..token.start];
        if gap.chars().all(char::is_whitespace) {
            self.out.push_str(gap);
        } else {
            self.out.push(' ');
        }
    }

    fn range(&mut self, from: usize, to: usize) -> Result<(), Error> {
        if self.depth >= DEPTH_MAX {
            let text = format!("more than {DEPTH_MAX} functions inside each other");
            return Err(Error::Syntax(text));
        }
        self.depth += 1;
        let done = self.tokens_of(from, to);
        self.depth -= 1;
        done
    }

    fn tokens_of(&mut self, from: usize, to: usize) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            self.gap(at);
            let start = self.out.len();
            let after = self.one(at, to)?.max(at + 1);
            self.spans[at] = (start, self.out.len());
            at = after;
        }
        Ok(())
    }

    /// Writes the token at `at`, and those after it that belong to it; returns the next one to write.
    fn one(&mut self, at: usize, to: usize) -> Result<usize, Error> {
        let token = &self.tokens[at];
        match &token.kind {
            Kind::Text(value) => self.text_literal(&value.clone()),
            Kind::Quoted(name) => {
                let quoted = format!("`{}`", name.replace('`', "``"));
                self.out.push_str(&quoted);
            }
            Kind::SystemVariable(name) => {
                let value = self.context.variable(name)?;
                self.literal(&value);
            }
            Kind::UserVariable => {
                let value = self.context.user_variable(self.raw(at));
                self.literal(&value);
            }
            // Clients send numbers as text too, and SQLite takes only numbers there.
            Kind::Parameter if self.is_limit(at) => self.out.push_str("CAST(? AS INTEGER)"),
            Kind::Number | Kind::Parameter => self.out.push_str(&self.text[token.start..token.end]),
            Kind::Mark => self.mark(at),
            Kind::Word => return self.word(at, to),
        }
        Ok(at + 1)
    }

    /// Whether the token is a number of LIMIT: `LIMIT ?`, `OFFSET ?`, `LIMIT ?, ?`.
    fn is_limit(&self, at: usize) -> bool {
        let word = |back: usize, word| at >= back && self.is_word(at - back, word);
        let second = at >= 1 && self.is_mark(at - 1, ",") && word(3, "LIMIT");
        word(1, "LIMIT") || word(1, "OFFSET") || second
    }

    fn mark(&mut self, at: usize) {
        let mark = match self.raw(at) {
            // Whole numbers divide to a fraction in MySQL.
            "/" => "*1.0/",
            "||" => "OR",
            "&&" => "AND",
            "<=>" => "IS",
            other => other,
        };
        let mark = mark.to_owned();
        self.out.push_str(&mark);
    }

    fn word(&mut self, at: usize, to: usize) -> Result<usize, Error> {
        let word = self.raw(at).to_ascii_uppercase();
        // Behind a dot stands a name, whatever the word.
        let behind_dot = at > 0 && self.is_mark(at - 1, ".");
        // `$name` is a name in MySQL and a parameter in SQLite.
        let needs_quotes = word.starts_with('$') || RESERVED.contains(&word.as_str());
        if needs_quotes && !self.is_mark(at + 1, "(") {
            let quoted = format!("`{}`", self.raw(at));
            self.out.push_str(&quoted);
            return Ok(at + 1);
        }
        if behind_dot {
            self.copy(at);
            return Ok(at + 1);
        }
        if self.is_mark(at + 1, "(") {
            return self.call(&word, at, to);
        }
        match word.as_str() {
            "INTERVAL" => return self.interval(at, to),
            "DIV" => self.out.push('/'),
            "MOD" => self.out.push('%'),
            "RLIKE" => self.out.push_str("REGEXP"),
            "DISTINCTROW" => self.out.push_str("DISTINCT"),
            "CURRENT_USER" => self.literal(&self.context.user_at_host()),
            "UTC_TIMESTAMP" | "LOCALTIME" | "LOCALTIMESTAMP" | "CURRENT_TIMESTAMP" => {
                self.out.push_str("now()");
            }
            "UTC_DATE" => self.out.push_str("curdate()"),
            "COLLATE" => return Ok(self.collate(at)),
            "FROM" if self.is_word(at + 1, "DUAL") => return Ok(at + 2),
            "FOR" if self.is_word(at + 1, "UPDATE") || self.is_word(at + 1, "SHARE") => {
                return Ok(to);
            }
            "LOCK" if self.is_word(at + 1, "IN") && self.is_word(at + 2, "SHARE") => return Ok(to),
            _ if DROPPED.contains(&word.as_str()) => {}
            _ if self.is_introducer(at) => {}
            _ => self.copy(at),
        }
        Ok(at + 1)
    }

    fn copy(&mut self, at: usize) {
        let token = &self.tokens[at];
        self.out.push_str(&self.text[token.start..token.end]);
    }

    /// `_utf8mb4'x'` and `N'x'`: the word says only what the string is written in.
    fn is_introducer(&self, at: usize) -> bool {
        let next_is_text = matches!(self.token(at + 1).map(|t| &t.kind), Some(Kind::Text(_)));
        let raw = self.raw(at);
        next_is_text
            && (raw.eq_ignore_ascii_case("n")
                || [
                    "_utf8mb4", "_utf8mb3", "_utf8", "_latin1", "_binary", "_ascii",
                ]
                .iter()
                .any(|introducer| raw.eq_ignore_ascii_case(introducer)))
    }

    fn collate(&mut self, at: usize) -> usize {
        let name = self.raw(at + 1).to_ascii_lowercase();
        let exact = name.ends_with("_bin") || name.ends_with("_cs") || name == "binary";
        self.out.push_str(if exact {
            "COLLATE BINARY"
        } else {
            "COLLATE NOCASE"
        });
        at + 2
    }

    /// `word(`.
    fn call(&mut self, word: &str, at: usize, to: usize) -> Result<usize, Error> {
        let close = self.closers[at + 1];
        if close >= to {
            return Err(Error::Syntax("parentheses do not match".to_owned()));
        }
        let empty = close == at + 2;
        match word {
            "DATABASE" | "SCHEMA" if empty => self.literal(&self.context.schema.into()),
            "VERSION" if empty => self.literal(&super::version().into()),
            "CONNECTION_ID" if empty => self.literal(&self.context.identity.connection_id.into()),
            "USER" | "CURRENT_USER" | "SESSION_USER" | "SYSTEM_USER" if empty => {
                self.literal(&self.context.user_at_host());
            }
            "CAST" | "CONVERT" => self.cast(at + 1, close)?,
            "GROUP_CONCAT" => self.group_concat(at + 1, close)?,
            "TIMESTAMPDIFF" | "TIMESTAMPADD" | "EXTRACT" => self.with_unit(at, close)?,
            _ => {
                match RENAMED.iter().find(|(name, _)| *name == word) {
                    Some((_, ours)) => self.out.push_str(ours),
                    None => self.copy(at),
                }
                return Ok(at + 1);
            }
        }
        Ok(close + 1)
    }

    /// The first token at or after `from` that stands directly inside the parentheses and meets the test.
    fn find(&self, from: usize, to: usize, test: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = from;
        while at < to {
            if test(at) {
                return Some(at);
            }
            at = match self.closers[at] {
                usize::MAX => at + 1,
                close => close + 1,
            };
        }
        None
    }

    /// `CAST(x AS type)`, `CONVERT(x, type)` and `CONVERT(x USING charset)`, from the opening to the closing parenthesis.
    fn cast(&mut self, open: usize, close: usize) -> Result<(), Error> {
        let split = self.find(open + 1, close, |at| {
            self.is_word(at, "AS") || self.is_word(at, "USING") || self.is_mark(at, ",")
        });
        let split = split.ok_or_else(|| Error::Syntax("near 'CAST'".to_owned()))?;
        self.out.push_str("CAST(");
        self.range(open + 1, split)?;
        let target = match self.raw(split + 1).to_ascii_uppercase().as_str() {
            _ if self.is_word(split, "USING") => "TEXT",
            "UNSIGNED" | "SIGNED" | "INTEGER" | "INT" | "YEAR" => "INTEGER",
            "DOUBLE" | "FLOAT" | "REAL" => "REAL",
            "DECIMAL" | "NUMERIC" => "NUMERIC",
            "CHAR" | "NCHAR" | "DATETIME" | "DATE" | "TIME" | "JSON" | "TEXT" => "TEXT",
            "BINARY" => "BLOB",
            other => return Err(Error::Syntax(format!("near '{other}' in CAST"))),
        };
        self.out.push_str(" AS ");
        self.out.push_str(target);
        self.out.push(')');
        Ok(())
    }

    /// `GROUP_CONCAT([DISTINCT] x [ORDER BY y] [SEPARATOR s])`: SQLite has the separator before the order.
    fn group_concat(&mut self, open: usize, close: usize) -> Result<(), Error> {
        let separator = self.find(open + 1, close, |at| self.is_word(at, "SEPARATOR"));
        let end = separator.unwrap_or(close);
        let order = self.find(open + 1, end, |at| self.is_word(at, "ORDER"));
        self.out.push_str("group_concat(");
        self.range(open + 1, order.unwrap_or(end))?;
        if let Some(separator) = separator {
            self.out.push_str(", ");
            self.range(separator + 1, close)?;
        }
        if let Some(order) = order {
            self.out.push(' ');
            self.range(order, end)?;
        }
        self.out.push(')');
        Ok(())
    }

    /// `TIMESTAMPDIFF(unit, a, b)`, `EXTRACT(unit FROM x)`: the unit becomes a string.
    fn with_unit(&mut self, at: usize, close: usize) -> Result<(), Error> {
        let unit = self.raw(at + 2).to_owned();
        let comma = self.is_mark(at + 3, ",") || self.is_word(at + 3, "FROM");
        if Unit::from_name(&unit).is_none() || !comma {
            return Err(Error::Syntax(format!(
                "near '{unit}': a time unit is wanted"
            )));
        }
        self.copy(at);
        self.out.push('(');
        self.text_literal(&unit);
        self.out.push(',');
        self.range(at + 4, close)?;
        self.out.push(')');
        Ok(())
    }

    /// `x + INTERVAL n unit` becomes `interval_add(x, n, unit)`, `, INTERVAL n unit` (in DATE_ADD) becomes `, n, unit`.
    fn interval(&mut self, at: usize, to: usize) -> Result<usize, Error> {
        let unit = self.find(at + 1, to, |at| Unit::from_name(self.raw(at)).is_some());
        let unit = unit.ok_or_else(|| Error::Syntax("near 'INTERVAL': no time unit".to_owned()))?;
        let before = at.checked_sub(1);
        let sign = before.map_or("", |before| self.raw(before)).to_owned();
        if let (Some(before), "+" | "-") = (before, sign.as_str()) {
            let start = self.operand(before)?;
            let (mark, _) = self.spans[before];
            self.out.truncate(mark);
            self.out.push_str(if sign == "-" { ", -(" } else { ", (" });
            self.range(at + 1, unit)?;
            self.out.push_str("), ");
            self.out.insert_str(start, "interval_add(");
            self.interval = Some((unit, start));
        } else {
            self.range(at + 1, unit)?;
            self.out.push_str(", ");
        }
        let unit_name = self.raw(unit).to_owned();
        self.text_literal(&unit_name);
        if matches!(sign.as_str(), "+" | "-") {
            self.out.push(')');
        }
        Ok(unit + 1)
    }

    /// Where the output of the operand that ends before the token `end` begins.
    fn operand(&self, end: usize) -> Result<usize, Error> {
        let wrong = || Error::Syntax("near 'INTERVAL': no operand before it".to_owned());
        let last = end.checked_sub(1).ok_or_else(wrong)?;
        if let Some((token, start)) = self.interval
            && token == last
        {
            return Ok(start);
        }
        let mut first = last;
        if self.is_mark(last, ")") {
            first = self
                .closers
                .iter()
                .position(|close| *close == last)
                .ok_or_else(wrong)?;
            let call = first > 0
                && self.token(first - 1).is_some_and(|token| {
                    token
                        .name(self.text)
                        .is_some_and(|name| !is_operator_word(name))
                });
            if call {
                first -= 1;
            }
        }
        while first >= 2 && self.is_mark(first - 1, ".") {
            first -= 2;
        }
        Ok(self.spans[first].0)
    }

    fn text_literal(&mut self, value: &str) {
        self.out.push('\'');
        self.out.push_str(&value.replace('\'', "''"));
        self.out.push('\'');
    }

    fn literal(&mut self, value: &Value) {
        match value {
            Value::Null => self.out.push_str("NULL"),
            Value::Int(number) => self.out.push_str(&number.to_string()),
            Value::Real(number) => self.out.push_str(&format!("{number:?}")),
            Value::Text(text) => self.text_literal(text),
        }
    }

    /// Column names that SQLite would take from the rewritten text, with the client's own spelling.
    fn names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for (first, last) in select_items(self.text, self.tokens, &self.closers) {
            let original = match &self.tokens[first].kind {
                Kind::Text(value) if first == last => value.as_str(),
                _ => &self.text[self.tokens[first].start..self.tokens[last].end],
            };
            // The output of an item reaches to where the next token's begins, less the space between.
            let end = self.spans[last + 1..]
                .iter()
                .find(|span| span.1 > 0)
                .map(|span| span.0);
            let (start, end) = (self.spans[first].0, end.unwrap_or(self.out.len()));
            let rewritten = self.out.get(start..end).unwrap_or("").trim();
            if rewritten != original {
                names.push((rewritten.to_owned(), original.to_owned()));
            }
        }
        names
    }
}

fn is_operator_word(word: &str) -> bool {
    const WORDS: [&str; 20] = [
        "AND", "OR", "NOT", "IN", "WHERE", "ON", "WHEN", "THEN", "ELSE", "SELECT", "BY", "HAVING",
        "BETWEEN", "LIKE", "IS", "DISTINCT", "ALL", "XOR", "CASE", "RETURN",
    ];
    WORDS
        .iter()
        .any(|operator| word.eq_ignore_ascii_case(operator))
}

/// First and last token of every item of the outermost select list.
fn select_items(text: &str, tokens: &[Token], closers: &[usize]) -> Vec<(usize, usize)> {
    const ENDS: [&str; 11] = [
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "FOR",
        "WINDOW",
    ];
    let mut items = Vec::new();
    let mut at = 0;
    let skip = |at: usize| match closers[at] {
        usize::MAX => at + 1,
        close => close + 1,
    };
    while at < tokens.len() && !tokens[at].is_word(text, "SELECT") {
        at = skip(at);
    }
    at += 1;
    let is_prefix = |at: usize| {
        let words = ["DISTINCT", "ALL", "DISTINCTROW"];
        tokens.get(at).is_some_and(|token| {
            words
                .iter()
                .chain(&DROPPED)
                .any(|word| token.is_word(text, word))
        })
    };
    while is_prefix(at) {
        at += 1;
    }
    let mut first = at;
    while at <= tokens.len() {
        let end = at == tokens.len()
            || (ENDS.iter().any(|word| tokens[at].is_word(text, word))
                && !(at > 0 && tokens[at - 1].is_mark(text, ".")));
        if end || tokens[at].is_mark(text, ",") {
            if at > first {
                items.push((first, at - 1));
            }
            first = at + 1;
        }
        if end {
            break;
        }
        at = skip(at);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::lexer;

    fn sql(text: &str) -> Rewritten {
        let context = Context::for_tests();
        rewrite(text, &lexer::tokens(text, false).unwrap(), &context).unwrap()
    }

    #[test]
    fn each_difference_of_the_dialects() {
        for (mysql, sqlite) in [
            ("select a / b", "select a *1.0/ b"),
            ("select \"it's\"", "select 'it''s'"),
            (r"select 'a\'b'", "select 'a''b'"),
            ("select a && b || c", "select a AND b OR c"),
            ("select a <=> b", "select a IS b"),
            (
                "select ? from t limit ?, ?",
                "select ? from t limit CAST(? AS INTEGER), CAST(? AS INTEGER)",
            ),
            ("select $$", "select `$$`"),
            ("select 7 div 2, 7 mod 2", "select 7 / 2, 7 % 2"),
            ("select a rlike 'x'", "select a REGEXP 'x'"),
            ("select DATABASE(), `a``b`", "select 'tidegate', `a``b`"),
            ("select connection_id(), user()", "select 7, 'ann@10.0.0.9'"),
            ("select @@autocommit", "select 1"),
            ("select 1 from dual", "select 1 "),
            ("select a from t for update", "select a from t "),
            ("select left(a, 2), t.left", "select left_of(a, 2), t.left"),
            ("select cast(a as unsigned)", "select CAST(a AS INTEGER)"),
            ("select convert(a, char(3))", "select CAST(a AS TEXT)"),
            ("select convert(a using utf8mb4)", "select CAST(a AS TEXT)"),
            ("select a collate utf8mb4_bin", "select a COLLATE BINARY"),
            ("select _utf8mb4'x' as b", "select 'x' as b"),
            (
                "select group_concat(distinct a order by b separator '|')",
                "select group_concat(distinct a, '|' order by b)",
            ),
            (
                "select timestampdiff(SECOND, a, now())",
                "select timestampdiff('SECOND', a, now())",
            ),
            ("select extract(hour from a)", "select extract('hour', a)"),
            ("date_add(a, interval 1 day)", "date_add(a, 1, 'day')"),
            (
                "a > now() - interval 5 minute",
                "a > interval_add(now() , -( 5), 'minute')",
            ),
            (
                "t.a + interval ? day - interval 1 hour > 1",
                "interval_add(interval_add(t.a , ( ?), 'day') , -( 1), 'hour') > 1",
            ),
        ] {
            let rewritten = sql(mysql).sql;
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeeze(&rewritten), squeeze(sqlite), "{mysql}");
        }
    }

    #[test]
    fn column_names_stay_as_the_client_wrote_them() {
        let names = |text: &str| {
            let rewritten = sql(text);
            rewritten
                .names
                .into_iter()
                .map(|(_, name)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("SELECT @@version_comment, DATABASE() , 'x', a/b, count(*) FROM t LIMIT 1"),
            ["@@version_comment", "DATABASE()", "x", "a/b"]
        );
        assert_eq!(
            sql("SELECT @@autocommit LIMIT 1").names,
            [("1".to_owned(), "@@autocommit".to_owned())]
        );
        assert_eq!(
            names("select now() - interval 1 day from t"),
            ["now() - interval 1 day"]
        );
        assert!(names("select a, b from t where c = \"x\"").is_empty());
    }

    #[test]
    fn parameters_are_counted_and_faults_are_named() {
        assert_eq!(sql("select ?, '?' from t where a = ?").parameters, 2);
        let context = Context::for_tests();
        let fails =
            |text: &str| rewrite(text, &lexer::tokens(text, false).unwrap(), &context).unwrap_err();
        assert_eq!(fails("select @@nonsense").number(), 1193);
        assert_eq!(fails("select (1").number(), 1064);
        assert_eq!(fails("select interval 1").number(), 1064);
        assert_eq!(fails("select cast(1)").number(), 1064);
        assert_eq!(fails("- interval 1 day").number(), 1064);
    }
}
