//! Query rules, compiled: which of them a statement of a client meets, and what follows. Pure: awaits nothing, sends nothing.
//! Never changes a rule: whoever does hands over all of them anew ([`Active::replace`]).
//!
//! Three steps, each remembered by [`Memo`], so that an expression is looked at once per digest:
//! ```text
//! who asks        -> class: the rules whose user, schema, app and network fit
//! class, digest   -> verdict: nothing, a decision, or rules that want to see the text itself
//! verdict, text   -> decision
//! ```

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use regex::{Regex, bytes};
use smallvec::SmallVec;

use super::limits::Gate;
use crate::config::Network;
use crate::config::rules::{Rule, RuleMistake};
use crate::sql::lexer::{Lexer, TokenKind};
use crate::sql::{DigestScratch, Kind, LexMode, Statement, classify};

/// Names of rules that this process has ever seen and keeps for its reasons; later ones are all called `rule`.
const NAMES_MAX: usize = 10_000;

/// Verdicts that one worker remembers.
const VERDICTS_MAX: usize = 20_000;

/// Classes that one worker remembers.
const CLASSES_MAX: usize = 1_000;

/// Digest text of a rewritten statement that is looked at.
const REWRITTEN_BYTES_MAX: usize = 8_192;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// User name as logged in.
    pub user: &'a str,
    /// App, as analytics tells them apart.
    pub app: &'a str,
    /// Default schema; empty: none.
    pub schema: &'a str,
    /// Where from; none by the Unix socket.
    pub address: Option<IpAddr>,
}

/// The server that answers if one must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The writer.
    Writer,
    /// A reader, where one may.
    Reader,
}

impl Route {
    /// The word in rules.
    pub fn label(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

/// What a rule says of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Kept as if its digest stood in `cache.digests`.
    Always,
    /// Not looked up, not kept.
    Never,
}

impl Caching {
    /// The word in rules.
    pub fn label(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What was counted of a rule.
#[derive(Debug, Default)]
pub struct Counters {
    /// Executions and prepares that it matched.
    pub hits: AtomicU64,
    /// Milliseconds since 1970 of the last one; 0: none.
    pub last_ms: AtomicU64,
    /// Statements answered with an error of this rule.
    pub refused: AtomicU64,
    /// Statements that were ended at its deadline.
    pub timeouts: AtomicU64,
}

/// One rule, ready to match.
#[derive(Debug)]
pub struct Compiled {
    /// Its name, for reasons.
    pub name: &'static str,
    /// As written.
    pub rule: Rule,
    /// What was counted; kept over changes of the rules.
    pub counters: Arc<Counters>,
    /// Its limits and breakers, if it has any.
    pub gate: Option<Arc<Gate>>,
    digest: Option<u128>,
    text: Option<Regex>,
    raw: Option<bytes::Regex>,
    network: Option<Network>,
}

/// Places of rules in [`Rules::all`].
pub type Places = SmallVec<[u16; 4]>;

/// Something decided by a rule, and the rule's name.
pub type Said<T> = Option<(T, &'static str)>;

/// What the rules say of one statement.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// The rules that matched, in order.
    pub matched: Places,
    /// The server.
    pub route: Said<Route>,
    /// The cache.
    pub cache: Said<Caching>,
    /// The rule whose template replaces the statement.
    pub rewrite: Option<u16>,
    /// The rule that answers.
    pub block: Option<u16>,
    /// Longest run in milliseconds.
    pub timeout_ms: Said<u64>,
    /// The rules with limits or breakers.
    pub gates: Places,
    /// A line goes to the log.
    pub logs: bool,
}

/// What is known of a class and a digest.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// No rule matches.
    Nothing,
    /// These hold whatever the text.
    Decided(Arc<Decision>),
    /// These match but for those that have to see the text.
    AskText(Arc<[u16]>),
}

/// All rules at one moment.
#[derive(Debug, Default)]
pub struct Rules {
    /// Moves with every change.
    pub epoch: u64,
    /// In order.
    pub all: Vec<Compiled>,
}

fn matches_name(wanted: &str, found: &str) -> bool {
    wanted.is_empty() || wanted == found
}

impl Compiled {
    fn new(
        rule: &Rule,
        name: &'static str,
        before: Option<&Compiled>,
    ) -> Result<Self, RuleMistake> {
        rule.check()?;
        check_rewrite(rule)?;
        let had_gate = before.and_then(|before| before.gate.as_ref());
        Ok(Self {
            name,
            counters: before
                .map(|before| before.counters.clone())
                .unwrap_or_default(),
            gate: Gate::of(rule, had_gate),
            digest: u128::from_str_radix(&rule.digest, 16).ok(),
            text: rule.text_regex()?,
            raw: rule.raw_regex()?,
            network: rule.client.parse().ok(),
            rule: rule.clone(),
        })
    }

    fn suits(&self, who: &Who<'_>) -> bool {
        let rule = &self.rule;
        let from_there = |network: Network| who.address.is_some_and(|ip| network.contains(ip));
        rule.enabled
            && matches_name(&rule.user, who.user)
            && matches_name(&rule.schema, who.schema)
            && matches_name(&rule.app, who.app)
            && self.network.is_none_or(from_there)
    }

    fn suits_digest(&self, statement: &Statement) -> bool {
        self.digest.is_none_or(|digest| digest == statement.id.0)
            && self
                .text
                .as_ref()
                .is_none_or(|text| text.is_match(&statement.digest_text))
    }

    /// Counts a statement that it matched.
    pub fn hit(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now.map_or(0, |since| since.as_millis() as u64);
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        self.counters.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Counts a statement that it refused.
    pub fn refuses(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a statement that was ended at its deadline.
    pub fn times_out(&self) {
        self.counters.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// The text that stands in place of `text`. `None`: the expression does not match it after all.
    pub fn rewritten(&self, text: &[u8]) -> Option<Vec<u8>> {
        let template = self.rule.rewrite.as_bytes();
        let mut out = Vec::with_capacity(template.len() + text.len());
        match &self.raw {
            Some(raw) => raw.captures(text)?.expand(template, &mut out),
            // Without an expression there are no groups; `$$` is a dollar sign all the same.
            None => out = self.rule.rewrite.replace("$$", "$").into_bytes(),
        }
        Some(out)
    }
}

/// A template without groups is a statement, and is looked at when the rule is made; with groups, each text that it gives is.
fn check_rewrite(rule: &Rule) -> Result<(), RuleMistake> {
    let template = rule.rewrite.replace("$$", "");
    if rule.rewrite.is_empty() || template.contains('$') {
        return Ok(());
    }
    let text = rule.rewrite.replace("$$", "$");
    check_text(text.as_bytes(), LexMode::default())
        .map(drop)
        .map_err(|why| RuleMistake::new("rewrite", why))
}

/// Whether a text is one statement that we understand. Answers with its kind and how many parameters it has.
///
/// # Errors
/// Why not, as the end of a sentence.
pub fn check_text(text: &[u8], mode: LexMode) -> Result<(Kind, usize), String> {
    let mut scratch = DigestScratch::new(REWRITTEN_BYTES_MAX);
    scratch.run(text, mode);
    let statement = classify::statement(&scratch, text);
    match (statement.kind, statement.opaque) {
        (Kind::Multi, _) => Err("is more than one statement; allowed: one".to_owned()),
        (Kind::Empty | Kind::Other, _) => Err("is no statement that is known".to_owned()),
        (_, Some(why)) => Err(format!(
            "cannot be understood ({}); allowed: one statement",
            why.label()
        )),
        (kind, None) => Ok((kind, parameters(text, mode))),
    }
}

/// How many `?` a text has.
pub fn parameters(text: &[u8], mode: LexMode) -> usize {
    let mut lexer = Lexer::new(text, mode);
    let mut found = 0;
    loop {
        match lexer.next_token().kind {
            TokenKind::Parameter => found += 1,
            TokenKind::End => return found,
            _ => {}
        }
    }
}

impl Rules {
    /// The rules that a client may meet, in order.
    pub fn class(&self, who: &Who<'_>) -> Vec<u16> {
        let suits = |(_, rule): &(usize, &Compiled)| rule.suits(who);
        let places = self.all.iter().enumerate().filter(suits);
        places.map(|(at, _)| at as u16).collect()
    }

    /// The rule at a place.
    pub fn at(&self, place: u16) -> Option<&Compiled> {
        self.all.get(usize::from(place))
    }

    /// The names of the rules at some places.
    pub fn names(&self, places: &[u16]) -> Vec<&'static str> {
        let name = |place: &u16| self.at(*place).map(|rule| rule.name);
        places.iter().filter_map(name).collect()
    }

    /// What is known without the text.
    pub fn verdict(&self, class: &[u16], statement: &Statement) -> Verdict {
        let mut places = Places::new();
        let mut asks = false;
        for place in class {
            let Some(rule) = self.at(*place).filter(|rule| rule.suits_digest(statement)) else {
                continue;
            };
            places.push(*place);
            asks |= rule.raw.is_some();
            if rule.raw.is_none() && !rule.rule.continues {
                break;
            }
        }
        match (places.is_empty(), asks) {
            (true, _) => Verdict::Nothing,
            (false, true) => Verdict::AskText(places.as_slice().into()),
            (false, false) => Verdict::Decided(Arc::new(self.combine(places))),
        }
    }

    /// The decision for a text, out of [`Verdict::AskText`]. Of a text that is not there, rules that have to see it match nothing.
    pub fn decide(&self, candidates: &[u16], text: Option<&[u8]>) -> Option<Decision> {
        let mut places = Places::new();
        for place in candidates {
            let Some(rule) = self.at(*place) else {
                continue;
            };
            let is_match = |raw: &bytes::Regex| text.is_some_and(|text| raw.is_match(text));
            if rule.raw.as_ref().is_some_and(|raw| !is_match(raw)) {
                continue;
            }
            places.push(*place);
            if !rule.rule.continues {
                break;
            }
        }
        (!places.is_empty()).then(|| self.combine(places))
    }

    /// What rules say together: of each thing, the first one that says something.
    fn combine(&self, matched: Places) -> Decision {
        let mut said = Decision::default();
        for place in &matched {
            let Some(Compiled {
                rule, name, gate, ..
            }) = self.at(*place)
            else {
                continue;
            };
            let route = match rule.route.as_str() {
                "writer" => Some((Route::Writer, *name)),
                "reader" => Some((Route::Reader, *name)),
                _ => None,
            };
            let cache = match rule.cache.as_str() {
                "always" => Some((Caching::Always, *name)),
                "never" => Some((Caching::Never, *name)),
                _ => None,
            };
            let timeout = (rule.timeout_ms > 0).then_some((rule.timeout_ms, *name));
            said.route = said.route.or(route);
            said.cache = said.cache.or(cache);
            said.timeout_ms = said.timeout_ms.or(timeout);
            if !rule.rewrite.is_empty() {
                said.rewrite.get_or_insert(*place);
            }
            if !rule.block.is_empty() {
                said.block.get_or_insert(*place);
            }
            if gate.is_some() {
                said.gates.push(*place);
            }
            said.logs |= rule.log;
        }
        said.matched = matched;
        said
    }
}

/// The rules in force, for every thread.
#[derive(Debug, Default)]
pub struct Active {
    is_any: AtomicBool,
    current: ArcSwap<Rules>,
    /// Names live as long as the process, as reasons do.
    names: Mutex<HashSet<&'static str>>,
}

impl Active {
    /// Rules in force from the start on.
    ///
    /// # Errors
    /// The place of the first bad one, and what is wrong with it.
    pub fn new(rules: &[Rule]) -> Result<Self, (usize, RuleMistake)> {
        let active = Self::default();
        active.replace(rules)?;
        Ok(active)
    }

    /// Whether there is a rule at all: one relaxed load.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }

    /// The rules now.
    pub fn now(&self) -> Arc<Rules> {
        self.current.load_full()
    }

    /// Compiles rules without putting them in force.
    ///
    /// # Errors
    /// The place of the first bad one, and what is wrong with it.
    pub fn check(rules: &[Rule]) -> Result<(), (usize, RuleMistake)> {
        for (at, rule) in rules.iter().enumerate() {
            Compiled::new(rule, "", None).map_err(|why| (at, why))?;
        }
        Ok(())
    }

    /// These are in force from now on, all of them or none. Counts and limits of a name go on.
    ///
    /// # Errors
    /// The place of the first bad one, and what is wrong with it; then nothing has changed.
    pub fn replace(&self, rules: &[Rule]) -> Result<(), (usize, RuleMistake)> {
        // Before a limit that goes on is touched.
        Self::check(rules)?;
        let mut names = self.names.lock();
        let before = self.current.load_full();
        let mut all = Vec::with_capacity(rules.len());
        for (at, rule) in rules.iter().enumerate() {
            let same = before.all.iter().find(|old| old.rule.name == rule.name);
            let name = intern(&mut names, &rule.name);
            all.push(Compiled::new(rule, name, same).map_err(|why| (at, why))?);
        }
        for rule in &all {
            if let Some(gate) = &rule.gate {
                gate.takes(&rule.rule);
            }
        }
        let is_any = all.iter().any(|rule| rule.rule.enabled);
        let epoch = before.epoch + 1;
        self.current.store(Arc::new(Rules { epoch, all }));
        self.is_any.store(is_any, Ordering::Relaxed);
        Ok(())
    }
}

fn intern(names: &mut HashSet<&'static str>, name: &str) -> &'static str {
    if let Some(known) = names.get(name) {
        return known;
    }
    if names.len() >= NAMES_MAX {
        return "rule";
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

/// The number of a class, and of the memory that knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    generation: u64,
    place: u32,
}

/// What one worker remembers of the rules in force.
#[derive(Debug, Default)]
pub struct Memo {
    epoch: u64,
    generation: u64,
    classes: Vec<Rc<[u16]>>,
    verdicts: HashMap<(u32, u128), Verdict>,
}

impl Memo {
    /// The class of a client. It holds while [`Memo::knows`] it and as long as `who` stays the same.
    pub fn class(&mut self, rules: &Rules, who: &Who<'_>) -> Class {
        if self.epoch != rules.epoch || self.classes.len() >= CLASSES_MAX {
            *self = Self {
                epoch: rules.epoch,
                generation: self.generation + 1,
                ..Self::default()
            };
        }
        let class = rules.class(who);
        let known = self.classes.iter().position(|known| **known == *class);
        let place = known.unwrap_or_else(|| {
            self.classes.push(class.into());
            self.classes.len() - 1
        });
        Class {
            generation: self.generation,
            place: place as u32,
        }
    }

    /// Whether a class is one of these rules.
    pub fn knows(&self, rules: &Rules, class: Class) -> bool {
        self.epoch == rules.epoch && self.generation == class.generation
    }

    /// What is known of a statement of a client of this class.
    pub fn verdict(&mut self, rules: &Rules, class: Class, statement: &Statement) -> Verdict {
        let key = (class.place, statement.id.0);
        if let Some(known) = self.verdicts.get(&key) {
            return known.clone();
        }
        let Some(places) = self.classes.get(class.place as usize) else {
            return Verdict::Nothing;
        };
        let verdict = rules.verdict(places, statement);
        if self.verdicts.len() >= VERDICTS_MAX {
            self.verdicts.clear();
        }
        self.verdicts.insert(key, verdict.clone());
        verdict
    }
}

#[cfg(test)]
mod tests;
