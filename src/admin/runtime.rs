//! What can be changed while Tidegate runs: rules, listed users, and those settings that take effect at once. Each change is looked at
//! as a whole and takes effect as a whole; SAVE keeps it for the next start. Parses no SQL: that is `writes`.
//!
//! ```text
//! written  the configuration file              RESET:   in force = written
//! saved    runtime.toml, read over it at start DISCARD: in force = saved
//! in force what INSERT, UPDATE, DELETE change  SAVE:    saved = in force
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::Error;
use super::value::{Row, Value};
use crate::config::keys::{self, KEYS, Raw};
use crate::config::rules::{self, RULE_FIELDS, Rule, RuleKind};
use crate::config::{Config, RUNTIME_FILE, Secret, User};
use crate::router::rules::Active;

/// Listed users at once.
const USERS_MAX: usize = 10_000;

const HEAD: &str = "\
# Written by SAVE in the admin schema, and read over the configuration file at each start: what is said here counts.
# DISCARD and RESET in the admin schema undo changes; without this file the configuration file counts alone.
";

/// What can be changed, at one moment.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    rules: Vec<Rule>,
    users: Vec<User>,
    /// Every setting that takes effect at once, as it would be written.
    settings: BTreeMap<&'static str, Raw>,
}

impl Shape {
    fn of(config: &Config) -> Self {
        let reloadable = KEYS.iter().filter(|key| key.reloadable);
        Self {
            rules: config.rules.clone(),
            users: config.users.clone(),
            settings: reloadable.map(|key| (key.name, key.raw(config))).collect(),
        }
    }

    /// The configuration with this in its place.
    fn over(&self, base: &Config) -> Result<Config, Error> {
        let mut config = base.clone();
        config.rules.clone_from(&self.rules);
        config.users.clone_from(&self.users);
        for (name, raw) in &self.settings {
            if let Some(key) = keys::find(name) {
                key.set(&mut config, raw)
                    .map_err(|why| Error::Setting(format!("{name} {why}")))?;
            }
        }
        Ok(config)
    }
}

/// What is to be done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A row that is new.
    Insert,
    /// Values of rows that are there; the first value of each row is the name that it has now.
    Update,
    /// Rows go; each has its name only.
    Delete,
}

/// The tables that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `rules`.
    Rules,
    /// `users`.
    Users,
    /// `settings`.
    Settings,
}

impl Target {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Users => "users",
            Self::Settings => "settings",
        }
    }
}

/// Takes over a configuration whose reloadable settings or users have changed.
pub type Takes = Box<dyn Fn(&Config) + Send + Sync>;

struct State {
    base: Config,
    written: Shape,
    saved: Shape,
    now: Shape,
}

/// The state that can be changed.
pub struct Runtime {
    state: Mutex<State>,
    rules: Arc<Active>,
    takes: Takes,
    path: PathBuf,
}

impl Runtime {
    /// `written` is what the configuration says without the file of SAVE, `config` with it; `rules` are in force as in `config`.
    pub fn new(written: &Config, config: &Config, rules: Arc<Active>, takes: Takes) -> Arc<Self> {
        let saved = Shape::of(config);
        Arc::new(Self {
            state: Mutex::new(State {
                base: written.clone(),
                written: Shape::of(written),
                now: saved.clone(),
                saved,
            }),
            rules,
            takes,
            path: config.data_dir().join(RUNTIME_FILE),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        let state = self.state.lock();
        // What is in force was looked at when it came.
        state
            .now
            .over(&state.base)
            .unwrap_or_else(|_| state.base.clone())
    }

    /// Does something to rows of a table: all of it, or nothing. `columns` are those that the rows have values for, behind the name
    /// where rows are changed. Answers with how many rows changed.
    ///
    /// # Errors
    /// What is wrong, with row and column.
    pub fn change(
        &self,
        target: Target,
        action: Action,
        columns: &[String],
        rows: &[Row],
    ) -> Result<u64, Error> {
        let mut state = self.state.lock();
        let mut next = state.now.clone();
        let changed = match target {
            Target::Rules => change_rules(&mut next.rules, action, columns, rows)?,
            Target::Users => change_users(&mut next.users, action, columns, rows)?,
            Target::Settings => change_settings(&mut next.settings, action, columns, rows)?,
        };
        self.put(&mut state, next)?;
        tracing::info!(
            table = target.name(),
            ?action,
            rows = changed,
            "changed at run time"
        );
        Ok(changed)
    }

    fn put(&self, state: &mut State, next: Shape) -> Result<(), Error> {
        if next == state.now {
            return Ok(());
        }
        let config = next.over(&state.base)?;
        if next.rules != state.now.rules {
            self.rules.replace(&next.rules).map_err(|(at, mistake)| {
                let name = next.rules.get(at).map_or("", |rule| &rule.name);
                Error::Rule(format!("{name}: {} {}", mistake.field, mistake.what))
            })?;
        }
        (self.takes)(&config);
        state.now = next;
        Ok(())
    }

    /// DISCARD: back to what was saved, or was there at the start.
    ///
    /// # Errors
    /// None that are expected: it was in force before.
    pub fn discard(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let saved = state.saved.clone();
        self.put(&mut state, saved)
    }

    /// RESET: back to the configuration file.
    ///
    /// # Errors
    /// As [`discard`](Self::discard).
    pub fn reset(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let written = state.written.clone();
        self.put(&mut state, written)
    }

    /// SAVE: keeps what is in force for the next start. Waits for the disk.
    ///
    /// # Errors
    /// The file's.
    pub fn save(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let failed =
            |why: std::io::Error| Error::Save(self.path.display().to_string(), why.to_string());
        if state.now == state.written {
            match std::fs::remove_file(&self.path) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(failed(why)),
                _ => {}
            }
        } else {
            let text = page(&state.now, &state.written);
            write_whole(&self.path, &text).map_err(failed)?;
        }
        state.saved = state.now.clone();
        tracing::info!(path = %self.path.display(), "saved for the next start");
        Ok(())
    }

    /// Rows of `users`: name, password.
    pub fn user_rows(&self) -> Vec<Row> {
        let state = self.state.lock();
        let row = |user: &User| vec![user.name.as_str().into(), user.password.to_string().into()];
        state.now.users.iter().map(row).collect()
    }

    /// Rows of `changes`: what is in force and differs from what is saved or written.
    pub fn change_rows(&self) -> Vec<Row> {
        let state = self.state.lock();
        let shown = [&state.written, &state.saved, &state.now].map(shown);
        let [written, saved, now] = &shown;
        let names: std::collections::BTreeSet<_> = shown.iter().flat_map(BTreeMap::keys).collect();
        let mut rows = Vec::new();
        for name in names {
            let [written, saved, now] = [written, saved, now].map(|shape| shape.get(name));
            if written != now || saved != now {
                let line = |one: Option<&Shown>| Value::from(one.map(|one| one.line.clone()));
                rows.push(vec![
                    name.0.into(),
                    name.1.as_str().into(),
                    line(written),
                    line(saved),
                    line(now),
                    (saved == now).into(),
                ]);
            }
        }
        rows
    }
}

/// One thing that can be changed.
#[derive(PartialEq)]
struct Shown {
    /// As people see it.
    line: String,
    /// What they do not see.
    secret: Option<Secret>,
}

/// Everything in a shape by what it is and its name.
fn shown(shape: &Shape) -> BTreeMap<(&'static str, String), Shown> {
    let open = |line| Shown { line, secret: None };
    let mut all = BTreeMap::new();
    for rule in &shape.rules {
        let fields = RULE_FIELDS.iter().filter_map(|field| {
            let value = field.get(rule).filter(|value| {
                *value != Raw::Flag(false) && (field.name != "enabled" || *value != Raw::Flag(true))
            });
            value.map(|value| format!("{} = {}", field.name, toml(&value)))
        });
        let line = fields.collect::<Vec<_>>().join(", ");
        all.insert(("rule", rule.name.clone()), open(line));
    }
    for user in &shape.users {
        let hidden = Shown {
            line: "***".to_owned(),
            secret: Some(user.password.clone()),
        };
        all.insert(("user", user.name.clone()), hidden);
    }
    for (name, raw) in &shape.settings {
        all.insert(("setting", (*name).to_owned()), open(toml(raw)));
    }
    all
}

/// The place of a rule or user by its name.
fn place<T>(all: &[T], name: &Value, name_of: impl Fn(&T) -> &str) -> Option<usize> {
    let Value::Text(name) = name else { return None };
    all.iter()
        .position(|one| name_of(one).eq_ignore_ascii_case(name))
}

fn incorrect(column: &str, row: usize, why: &str) -> Error {
    Error::Incorrect {
        column: column.to_owned(),
        row: row + 1,
        why: why.to_owned(),
    }
}

fn change_rules(
    all: &mut Vec<Rule>,
    action: Action,
    columns: &[String],
    rows: &[Row],
) -> Result<u64, Error> {
    let before = all.clone();
    for (number, row) in rows.iter().enumerate() {
        let mut values = row.iter();
        let known = match action {
            Action::Insert => None,
            _ => place(all, values.next().unwrap_or(&Value::Null), |rule| {
                &rule.name
            }),
        };
        match (action, known) {
            (Action::Delete, Some(at)) => {
                all.remove(at);
                continue;
            }
            (Action::Delete | Action::Update, None) => continue,
            _ => {}
        }
        let mut rule = known
            .and_then(|at| all.get(at))
            .cloned()
            .unwrap_or_default();
        for (column, value) in columns.iter().zip(values) {
            let field = rules::field_of(column)
                .ok_or_else(|| Error::UnknownColumn(format!("{column}{}", rules::meant(column))))?;
            let raw = rule_value(&field.kind, field.name, value);
            field
                .set(&mut rule, &raw)
                .map_err(|why| incorrect(field.name, number, &why))?;
        }
        rule.check()
            .map_err(|mistake| incorrect(mistake.field, number, &mistake.what))?;
        match known.and_then(|at| all.get_mut(at)) {
            Some(place) => *place = rule,
            None => all.push(rule),
        }
    }
    rules::check_all(all).map_err(|(at, mistake)| {
        let name = all.get(at).map_or("", |rule| &rule.name);
        match all
            .iter()
            .filter(|rule| rule.name.eq_ignore_ascii_case(name))
            .count()
        {
            0 | 1 => Error::Rule(format!("{name}: {} {}", mistake.field, mistake.what)),
            _ => Error::Duplicate(name.to_owned(), "rules.name"),
        }
    })?;
    rules::in_order(all);
    Ok(difference(&before, all, rows.len(), action))
}

/// How many rows a statement changed.
fn difference<T: PartialEq>(before: &[T], after: &[T], rows: usize, action: Action) -> u64 {
    let changed = match action {
        Action::Insert => rows,
        Action::Update => after.iter().filter(|one| !before.contains(one)).count(),
        Action::Delete => before.len() - after.len(),
    };
    changed as u64
}

/// A value of SQL as a file would have it.
fn rule_value(kind: &RuleKind, name: &str, value: &Value) -> Raw {
    match (kind, value) {
        (RuleKind::Text(..), Value::Null) => Raw::Text(String::new()),
        (RuleKind::Text(..), Value::Int(number)) => Raw::Text(number.to_string()),
        (RuleKind::Number(..), Value::Null) => Raw::Integer(0),
        (RuleKind::Flag(_), Value::Null) => Raw::Flag(name == "enabled"),
        (RuleKind::Flag(_), value) => flag(value).map_or(plain(value), Raw::Flag),
        (RuleKind::Number(..), Value::Text(text)) => text
            .trim()
            .parse()
            .map_or_else(|_| plain(value), Raw::Integer),
        (_, value) => plain(value),
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Text(text) if &**text == "1" => Some(true),
        Value::Text(text) if &**text == "0" => Some(false),
        _ => None,
    }
}

fn plain(value: &Value) -> Raw {
    match value {
        Value::Null => Raw::Other("NULL"),
        Value::Int(number) => Raw::Integer((*number).into()),
        Value::Real(number) => Raw::Float(*number),
        Value::Text(text) => Raw::Text(text.to_string()),
    }
}

fn change_users(
    all: &mut Vec<User>,
    action: Action,
    columns: &[String],
    rows: &[Row],
) -> Result<u64, Error> {
    let before = all.clone();
    for (number, row) in rows.iter().enumerate() {
        let mut values = row.iter();
        let known = match action {
            Action::Insert => None,
            _ => {
                // Names of accounts are told apart by case.
                let name = values.next().unwrap_or(&Value::Null);
                all.iter()
                    .position(|user| Value::from(user.name.as_str()) == *name)
            }
        };
        match (action, known) {
            (Action::Delete, Some(at)) => {
                all.remove(at);
                continue;
            }
            (Action::Delete | Action::Update, None) => continue,
            _ => {}
        }
        let mut user = known
            .and_then(|at| all.get(at))
            .cloned()
            .unwrap_or_default();
        let mut has_password = known.is_some();
        for (column, value) in columns.iter().zip(values) {
            let text = match value {
                Value::Text(text) => text.to_string(),
                Value::Int(value) => value.to_string(),
                _ => return Err(incorrect(column, number, "is no text")),
            };
            match column.to_ascii_lowercase().as_str() {
                "name" => user.name = text,
                "password" => (user.password, has_password) = (Secret::new(text), true),
                _ => return Err(Error::UnknownColumn(column.clone())),
            }
        }
        if !(1..=32).contains(&user.name.chars().count()) {
            let why = "is no user name; allowed: 1 to 32 characters";
            return Err(incorrect("name", number, why));
        }
        if !has_password {
            return Err(incorrect("password", number, "is missing"));
        }
        match known.and_then(|at| all.get_mut(at)) {
            Some(place) => *place = user,
            None => all.push(user),
        }
    }
    for (at, user) in all.iter().enumerate() {
        if all.iter().take(at).any(|other| other.name == user.name) {
            return Err(Error::Duplicate(user.name.clone(), "users.name"));
        }
    }
    if all.len() > USERS_MAX {
        let why = format!("is one too many; allowed: {USERS_MAX} users");
        return Err(incorrect("name", rows.len().saturating_sub(1), &why));
    }
    Ok(difference(&before, all, rows.len(), action))
}

fn change_settings(
    all: &mut BTreeMap<&'static str, Raw>,
    action: Action,
    columns: &[String],
    rows: &[Row],
) -> Result<u64, Error> {
    if action != Action::Update {
        let what = "rows of settings are neither added nor removed; UPDATE settings SET value = ... WHERE name = ...";
        return Err(Error::ReadOnly(what.to_owned()));
    }
    let mut changed = 0;
    for (number, row) in rows.iter().enumerate() {
        let mut values = row.iter();
        let Some(Value::Text(name)) = values.next() else {
            continue;
        };
        let key = keys::find(name).ok_or_else(|| Error::UnknownVariable(name.to_string()))?;
        for (column, value) in columns.iter().zip(values) {
            if !column.eq_ignore_ascii_case("value") {
                let what =
                    format!("column {column} of settings; only value can be changed, and it");
                return Err(Error::ReadOnly(what));
            }
            if !key.reloadable {
                return Err(Error::NeedsRestart(key.name.to_owned()));
            }
            let mut probe = Config::default();
            let told = |why: String| {
                let why = format!("of {name} {why}; allowed: {}", key.allowed());
                incorrect("value", number, &why)
            };
            let raw = key.read(&as_text(value));
            key.set(&mut probe, &raw).map_err(told)?;
            // As it is shown and saved, not as it was said.
            let raw = key.raw(&probe);
            changed += u64::from(all.insert(key.name, raw.clone()) != Some(raw));
        }
    }
    Ok(changed)
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

/// A value as TOML.
fn toml(raw: &Raw) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    match raw {
        Raw::Text(value) => text(value),
        Raw::Integer(number) => number.to_string(),
        Raw::Float(number) => number.to_string(),
        Raw::Flag(flag) => flag.to_string(),
        Raw::Texts(texts) => {
            let texts: Vec<String> = texts.iter().map(|one| text(one)).collect();
            format!("[{}]", texts.join(", "))
        }
        Raw::Other(_) => "\"\"".to_owned(),
    }
}

/// The file: what differs from the configuration file, lists as a whole.
fn page(now: &Shape, written: &Shape) -> String {
    let mut page = HEAD.to_owned();
    if now.rules.is_empty() && !written.rules.is_empty() {
        page.push_str("rules = []\n");
    }
    if now.users.is_empty() && !written.users.is_empty() {
        page.push_str("users = []\n");
    }
    for (name, raw) in &now.settings {
        if written.settings.get(name) != Some(raw) {
            page.push_str(&format!("{name} = {}\n", toml(raw)));
        }
    }
    if now.users != written.users {
        for user in &now.users {
            let (name, password) = (user.name.clone(), user.password.reveal().to_owned());
            let (name, password) = (toml(&Raw::Text(name)), toml(&Raw::Text(password)));
            page.push_str(&format!(
                "\n[[users]]\nname = {name}\npassword = {password}\n"
            ));
        }
    }
    if now.rules != written.rules {
        for rule in &now.rules {
            page.push_str("\n[[rules]]\n");
            for field in RULE_FIELDS {
                if let Some(value) = field.get(rule) {
                    page.push_str(&format!("{} = {}\n", field.name, toml(&value)));
                }
            }
        }
    }
    page
}

/// Writes a file beside the old one and puts it in its place, so that there is always a whole one. Only its owner may read it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("toml.new");
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    match std::fs::remove_file(&beside) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
