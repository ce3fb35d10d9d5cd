//! `[[rules]]`: what a query rule may say, field by field. One table of fields feeds the reader of files, the admin table `rules`,
//! the SQL that changes it, and the file of runtime changes. Knows no statement: `router::rules` matches.

use regex::{Regex, RegexBuilder, bytes};

use super::keys::{Raw, TextRule, did_you_mean, nearest};
use super::types::Network;

/// Rules at once: each is a row in memory, and a candidate for each new statement.
pub const RULES_MAX: usize = 1_000;

/// Longest expression, template or message.
const TEXT_BYTES_MAX: usize = 8_192;

/// What one compiled expression may take in memory, so that no rule can use up the process.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Positions are given in steps, so that a rule fits between two others.
pub const POSITION_STEP: u64 = 10;

const DAY_MS: u64 = 86_400_000;

/// One rule as the operator wrote it: whom and what it means, and what happens then. Empty text and 0 mean "not said".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique in any case.
    pub name: String,
    /// Rules are looked at in this order.
    pub position: u64,
    /// Not: it is kept, but matches nothing.
    pub enabled: bool,
    /// The rules behind it are looked at, too.
    pub continues: bool,
    /// Digest of our own, 32 hexadecimal digits.
    pub digest: String,
    /// Expression over the digest text.
    pub text: String,
    /// Expression over the text as the client wrote it.
    pub raw_text: String,
    /// User name.
    pub user: String,
    /// Default schema.
    pub schema: String,
    /// App.
    pub app: String,
    /// Network of the client.
    pub client: String,
    /// `writer` or `reader`.
    pub route: String,
    /// `always` or `never`.
    pub cache: String,
    /// The text that is sent instead.
    pub rewrite: String,
    /// Words of the error that it is answered with.
    pub block: String,
    /// A statement that runs for longer is ended.
    pub timeout_ms: u64,
    /// A line in the log.
    pub log: bool,
    /// What the limits are counted by.
    pub limit_by: String,
    /// Statements that may begin in a second.
    pub rate_per_s_max: u64,
    /// Statements that may run at once.
    pub concurrent_max: u64,
    /// Statements that may wait.
    pub queue_max: u64,
    /// How long one may wait.
    pub queue_ms_max: u64,
    /// Timeouts of one digest within the window that open the breaker.
    pub breaker_timeouts: u64,
    /// That window.
    pub breaker_window_ms: u64,
    /// How long the breaker stays open.
    pub breaker_pause_ms: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: String::new(),
            position: 0,
            enabled: true,
            continues: false,
            digest: String::new(),
            text: String::new(),
            raw_text: String::new(),
            user: String::new(),
            schema: String::new(),
            app: String::new(),
            client: String::new(),
            route: String::new(),
            cache: String::new(),
            rewrite: String::new(),
            block: String::new(),
            timeout_ms: 0,
            log: false,
            limit_by: String::new(),
            rate_per_s_max: 0,
            concurrent_max: 0,
            queue_max: 0,
            queue_ms_max: 0,
            breaker_timeouts: 0,
            breaker_window_ms: 0,
            breaker_pause_ms: 0,
        }
    }
}

type Place<T> = fn(&mut Rule) -> &mut T;

/// The type of a field: where its value lives and what it may be.
#[derive(Debug)]
pub enum RuleKind {
    /// Text with a rule; empty means "not said".
    Text(Place<String>, TextRule),
    /// A number up to this one; 0 means "not said".
    Number(Place<u64>, u64),
    /// true or false.
    Flag(Place<bool>),
}

/// One field.
#[derive(Debug)]
pub struct RuleField {
    /// Its name, in files and in SQL.
    pub name: &'static str,
    /// Its type and place.
    pub kind: RuleKind,
    /// What it says.
    pub help: &'static str,
}

const NAME: TextRule = TextRule {
    allowed: "1 to 64 letters, digits, _ . and -",
    holds: |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        (1..=64).contains(&text.len()) && text.chars().all(plain)
    },
};
const DIGEST: TextRule = TextRule {
    allowed: "a digest: 32 hexadecimal digits",
    holds: |text| text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit()),
};
const EXPRESSION: TextRule = TextRule {
    allowed: "a regular expression of at most 8192 bytes, without look-around and references back",
    holds: |text| text.len() <= TEXT_BYTES_MAX,
};
const EXACT: TextRule = TextRule {
    allowed: "a name of at most 256 bytes, compared exactly",
    holds: |text| text.len() <= 256,
};
const NETWORK: TextRule = TextRule {
    allowed: "an address, or a network as 192.0.2.0/24 or 2001:db8::/32",
    holds: |text| text.parse::<Network>().is_ok(),
};
const ROUTE: TextRule = TextRule {
    allowed: "writer or reader",
    holds: |text| matches!(text, "writer" | "reader"),
};
const CACHE: TextRule = TextRule {
    allowed: "always or never",
    holds: |text| matches!(text, "always" | "never"),
};
const TEMPLATE: TextRule = TextRule {
    allowed: "one statement of at most 8192 bytes",
    holds: |text| text.len() <= TEXT_BYTES_MAX,
};
const MESSAGE: TextRule = TextRule {
    allowed: "a message of at most 400 bytes",
    holds: |text| text.len() <= 400,
};
const COUNTED_BY: TextRule = TextRule {
    allowed: "rule, user, app, digest or client",
    holds: |text| matches!(text, "rule" | "user" | "app" | "digest" | "client"),
};

const fn field(name: &'static str, kind: RuleKind, help: &'static str) -> RuleField {
    RuleField { name, kind, help }
}

/// Every field, in the order of the documentation.
pub static RULE_FIELDS: &[RuleField] = &[
    field(
        "name",
        RuleKind::Text(|r| &mut r.name, NAME),
        "Name of the rule, unique in any case; stands in reasons and errors.",
    ),
    field(
        "position",
        RuleKind::Number(|r| &mut r.position, 1_000_000_000),
        "Rules are looked at in this order; of equal ones the one that was written first. Not said: behind all others.",
    ),
    field(
        "enabled",
        RuleKind::Flag(|r| &mut r.enabled),
        "false: the rule is kept, but matches nothing. Not said: true.",
    ),
    field(
        "continues",
        RuleKind::Flag(|r| &mut r.continues),
        "Rules behind this one are looked at, too. What an earlier rule says of a thing counts; limits of all of them count.",
    ),
    field(
        "digest",
        RuleKind::Text(|r| &mut r.digest, DIGEST),
        "Matches statements of this digest, as in queries.digest.",
    ),
    field(
        "text",
        RuleKind::Text(|r| &mut r.text, EXPRESSION),
        "Matches where this expression is found in the digest text, without regard to case. Looked at once per digest.",
    ),
    field(
        "raw_text",
        RuleKind::Text(|r| &mut r.raw_text, EXPRESSION),
        "Matches where this expression is found in the statement as the client wrote it, literals and comments included. Looked at for each execution; of a prepared statement, the text that was prepared.",
    ),
    field(
        "user",
        RuleKind::Text(|r| &mut r.user, EXACT),
        "Matches clients of this user name.",
    ),
    field(
        "schema",
        RuleKind::Text(|r| &mut r.schema, EXACT),
        "Matches sessions in this default schema.",
    ),
    field(
        "app",
        RuleKind::Text(|r| &mut r.app, EXACT),
        "Matches statements of this app, as in queries.app.",
    ),
    field(
        "client",
        RuleKind::Text(|r| &mut r.client, NETWORK),
        "Matches clients of this network. Who comes by the Unix socket is of none.",
    ),
    field(
        "route",
        RuleKind::Text(|r| &mut r.route, ROUTE),
        "The server that answers if one must. A reader is taken only where the statement is a read that one may answer.",
    ),
    field(
        "cache",
        RuleKind::Text(|r| &mut r.cache, CACHE),
        "always: kept like the digests in cache.digests, under the same proof. never: neither answered from the cache nor kept.",
    ),
    field(
        "rewrite",
        RuleKind::Text(|r| &mut r.rewrite, TEMPLATE),
        "Sent in place of the whole statement. $1 and ${name} stand for groups of raw_text, $$ for a dollar sign.",
    ),
    field(
        "block",
        RuleKind::Text(|r| &mut r.block, MESSAGE),
        "The statement is answered with error 1148 and these words.",
    ),
    field(
        "timeout_ms",
        RuleKind::Number(|r| &mut r.timeout_ms, DAY_MS),
        "A statement that the server has not finished after this time is ended by KILL QUERY; the client gets error 3024.",
    ),
    field(
        "log",
        RuleKind::Flag(|r| &mut r.log),
        "A line in the log for each statement: rule, user, app, digest, never the text.",
    ),
    field(
        "limit_by",
        RuleKind::Text(|r| &mut r.limit_by, COUNTED_BY),
        "What the limits below are counted for: the rule as a whole, or each user, app, digest or client address by itself. Not said: rule.",
    ),
    field(
        "rate_per_s_max",
        RuleKind::Number(|r| &mut r.rate_per_s_max, 1_000_000),
        "Statements that may begin in a second, with as many at once. The next one waits if it may, or gets error 1226.",
    ),
    field(
        "concurrent_max",
        RuleKind::Number(|r| &mut r.concurrent_max, 1_000_000),
        "Statements that may run at once. The next one waits if it may, or gets error 1203.",
    ),
    field(
        "queue_max",
        RuleKind::Number(|r| &mut r.queue_max, 1_000_000),
        "Statements that may wait for one of these limits.",
    ),
    field(
        "queue_ms_max",
        RuleKind::Number(|r| &mut r.queue_ms_max, DAY_MS),
        "Longest wait; then the error of the limit.",
    ),
    field(
        "breaker_timeouts",
        RuleKind::Number(|r| &mut r.breaker_timeouts, 1_000_000),
        "After so many timeouts (error 3024) of one digest within the window, statements of the digest get error 3024 at once.",
    ),
    field(
        "breaker_window_ms",
        RuleKind::Number(|r| &mut r.breaker_window_ms, DAY_MS),
        "That window. Not said: 60000.",
    ),
    field(
        "breaker_pause_ms",
        RuleKind::Number(|r| &mut r.breaker_pause_ms, DAY_MS),
        "After this time one statement of the digest is let through; if it ends in time, all are. Not said: 10000.",
    ),
];

/// The field of this name (any case).
pub fn field_of(name: &str) -> Option<&'static RuleField> {
    RULE_FIELDS
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name))
}

/// `; did you mean X?` for a name that is no field, or nothing.
pub fn meant(name: &str) -> String {
    did_you_mean(nearest(name, RULE_FIELDS.iter().map(|field| field.name)))
}

impl RuleField {
    /// What it may be, in words.
    pub fn allowed(&self) -> String {
        match &self.kind {
            RuleKind::Text(_, rule) => rule.allowed.to_owned(),
            RuleKind::Number(_, most) => format!("0 to {most}"),
            RuleKind::Flag(_) => "true or false".to_owned(),
        }
    }

    /// Puts a value as written into `rule`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that starts with the field, and what is allowed.
    pub fn set(&self, rule: &mut Rule, raw: &Raw) -> Result<(), String> {
        let wrong = match (&self.kind, raw) {
            (RuleKind::Text(at, check), Raw::Text(text)) => {
                if text.is_empty() || (check.holds)(text) {
                    at(rule).clone_from(text);
                    return Ok(());
                }
                format!("is {:?}", cut(text))
            }
            (RuleKind::Number(at, most), Raw::Integer(number)) => {
                match u64::try_from(*number).ok().filter(|n| n <= most) {
                    Some(number) => {
                        *at(rule) = number;
                        return Ok(());
                    }
                    None => format!("is {number}, out of range"),
                }
            }
            (RuleKind::Flag(at), Raw::Flag(flag)) => {
                *at(rule) = *flag;
                return Ok(());
            }
            (_, raw) => format!("is {}", raw.kind()),
        };
        Err(format!("{wrong}; allowed: {}", self.allowed()))
    }

    /// The value that `rule` has; `None` where it says nothing.
    pub fn get(&self, rule: &Rule) -> Option<Raw> {
        // The places are written for setting.
        let rule = &mut rule.clone();
        match &self.kind {
            RuleKind::Text(at, _) => Some(at(rule).clone())
                .filter(|text| !text.is_empty())
                .map(Raw::Text),
            RuleKind::Number(at, _) => Some(*at(rule))
                .filter(|number| *number > 0)
                .map(|number| Raw::Integer(number.into())),
            RuleKind::Flag(at) => Some(Raw::Flag(*at(rule))),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMistake {
    /// The field that it shows at.
    pub field: &'static str,
    /// What, as the end of a sentence that starts with the field.
    pub what: String,
}

impl RuleMistake {
    /// A mistake in a field.
    pub fn new(field: &'static str, what: impl Into<String>) -> Self {
        Self {
            field,
            what: what.into(),
        }
    }
}

impl Rule {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn text_regex(&self) -> Result<Option<Regex>, RuleMistake> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let built = RegexBuilder::new(&self.text)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .nest_limit(50)
            .build();
        built.map(Some).map_err(|why| unreadable("text", &why))
    }

    /// Compiles `raw_text`. Bytes, since a client may write in any character set.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn raw_regex(&self) -> Result<Option<bytes::Regex>, RuleMistake> {
        if self.raw_text.is_empty() {
            return Ok(None);
        }
        let built = bytes::RegexBuilder::new(&self.raw_text)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .unicode(false)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .nest_limit(50)
            .build();
        built.map(Some).map_err(|why| unreadable("raw_text", &why))
    }

    /// Whether it holds statements back.
    pub fn is_limit(&self) -> bool {
        self.rate_per_s_max > 0 || self.concurrent_max > 0
    }

    fn acts(&self) -> bool {
        let texts = [&self.route, &self.cache, &self.rewrite, &self.block];
        texts.iter().any(|text| !text.is_empty())
            || self.timeout_ms > 0
            || self.breaker_timeouts > 0
            || self.log
            || self.is_limit()
    }

    /// Looks at it as a whole.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), RuleMistake> {
        let wrong = |field, what: &str| Err(RuleMistake::new(field, what));
        if self.name.is_empty() {
            return wrong(
                "name",
                "is missing; allowed: 1 to 64 letters, digits, _ . and -",
            );
        }
        self.text_regex()?;
        let raw = self.raw_regex()?;
        if !self.acts() {
            return wrong(
                "name",
                "has nothing to do; say one of route, cache, rewrite, block, timeout_ms, log, rate_per_s_max, concurrent_max, breaker_timeouts",
            );
        }
        let beside_block = !self.rewrite.is_empty()
            || !self.cache.is_empty()
            || !self.route.is_empty()
            || self.timeout_ms > 0
            || self.breaker_timeouts > 0
            || self.is_limit();
        if !self.block.is_empty() && beside_block {
            return wrong(
                "block",
                "stands beside an action that could never happen; allowed: beside log alone",
            );
        }
        check_template(&self.rewrite, raw.as_ref())?;
        let waits = self.queue_max > 0;
        if waits != (self.queue_ms_max > 0) {
            return wrong(
                "queue_max",
                "and queue_ms_max belong together; allowed: both, or neither",
            );
        }
        if (waits || !self.limit_by.is_empty()) && !self.is_limit() {
            let field = if waits { "queue_max" } else { "limit_by" };
            return wrong(
                field,
                "has no limit to go by; allowed: beside rate_per_s_max or concurrent_max",
            );
        }
        let timed = self.breaker_window_ms > 0 || self.breaker_pause_ms > 0;
        if timed && self.breaker_timeouts == 0 {
            return wrong(
                "breaker_timeouts",
                "is missing; breaker_window_ms and breaker_pause_ms mean nothing without it",
            );
        }
        Ok(())
    }
}

fn unreadable(field: &'static str, why: &regex::Error) -> RuleMistake {
    let what = match why {
        regex::Error::CompiledTooBig(bytes) => {
            format!("needs more than {bytes} bytes of memory; allowed: a smaller expression")
        }
        why => {
            // The parser draws a picture over several lines; its last line says it in words.
            let words = why.to_string();
            let last = words.lines().last().unwrap_or_default();
            let last = last.trim_start_matches("error: ");
            format!("is no regular expression: {last}")
        }
    };
    RuleMistake::new(field, what)
}

/// Every group that a template names is one of the expression's.
fn check_template(template: &str, raw: Option<&bytes::Regex>) -> Result<(), RuleMistake> {
    for group in groups(template) {
        let Some(raw) = raw else {
            let what =
                format!("names the group {group:?}, but the rule has no raw_text to take it from");
            return Err(RuleMistake::new("rewrite", what));
        };
        let known = match group.parse::<usize>() {
            Ok(number) => number < raw.captures_len(),
            Err(_) => raw.capture_names().flatten().any(|name| name == group),
        };
        if !known {
            let what = format!("names the group {group:?}, which raw_text does not have");
            return Err(RuleMistake::new("rewrite", what));
        }
    }
    Ok(())
}

/// The groups that a template names, by the rules of [`bytes::Captures::expand`].
fn groups(template: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(behind) = rest.strip_prefix('$') {
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let Some(end) = inside.find('}') else {
                continue;
            };
            found.push(inside.get(..end).unwrap_or_default());
            rest = inside.get(end..).unwrap_or_default();
        } else {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end > 0 {
                found.push(rest.get(..end).unwrap_or_default());
            }
        }
    }
    found
}

/// Gives those without a position one behind all others, and puts all in order.
pub fn in_order(rules: &mut [Rule]) {
    let mut last = rules.iter().map(|rule| rule.position).max().unwrap_or(0);
    for rule in rules.iter_mut().filter(|rule| rule.position == 0) {
        last = (last / POSITION_STEP + 1) * POSITION_STEP;
        rule.position = last;
    }
    rules.sort_by_key(|rule| rule.position);
}

/// Looks at all rules together: each by itself, and whether a name is there twice.
///
/// # Errors
/// The place of the first bad one in `rules`, and its mistake.
pub fn check_all(rules: &[Rule]) -> Result<(), (usize, RuleMistake)> {
    for (at, rule) in rules.iter().enumerate() {
        rule.check().map_err(|mistake| (at, mistake))?;
        let same = |other: &Rule| other.name.eq_ignore_ascii_case(&rule.name);
        if rules.iter().take(at).any(same) {
            let what = format!("{:?} is there already; write each rule once", rule.name);
            return Err((at, RuleMistake::new("name", what)));
        }
    }
    match rules.len() > RULES_MAX {
        true => {
            let what = format!("is one rule too many; allowed: at most {RULES_MAX} rules");
            Err((RULES_MAX, RuleMistake::new("name", what)))
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
