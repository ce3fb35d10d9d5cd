//! From what was written to a [`Config`]: file, then environment, then command line; every value checked, then all of
//! them together. All mistakes are told at once.

use std::collections::BTreeMap;
use std::path::Path;

use super::check;
use super::file::{ConfigFile, WrittenTable};
use super::keys::{self, Key, Raw};
use super::mistake::{Mistake, Origin};
use super::rules::{self, Rule};
use super::types::{host_and_port, is_identifier};
use super::{Config, ConfigError, NodeEntry, Secret, User};

/// Environment variables that are read, with their key. Secrets, so that they need not stand in a file or in the list of
/// processes.
pub const VARIABLES: &[(&str, &str)] = &[
    ("TIDEGATE_BACKEND_URL", "backend.url"),
    ("TIDEGATE_ADMIN_PASSWORD", "admin.password"),
];
/// The password of the backend's URL alone.
pub const BACKEND_PASSWORD: &str = "TIDEGATE_BACKEND_PASSWORD";

/// Where values come from.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// `--config`.
    pub file: Option<&'a Path>,
    /// Environment variables, as far as they are set.
    pub variables: Vec<(&'static str, String)>,
    /// Arguments as (argument, key, value).
    pub arguments: Vec<(&'static str, &'static str, String)>,
    /// Whether a backend must have been named.
    pub needs_backend: bool,
}

impl Sources<'_> {
    /// Takes in the variables of this process. An empty one counts as not set.
    pub fn with_environment(mut self) -> Self {
        let names = VARIABLES
            .iter()
            .map(|(name, _)| *name)
            .chain([BACKEND_PASSWORD]);
        for name in names {
            match std::env::var_os(name) {
                Some(value) if !value.is_empty() => {
                    // What is not UTF-8 becomes text that no check accepts, instead of being passed over.
                    self.variables.push((
                        name,
                        value.into_string().unwrap_or_else(|_| "\0".to_owned()),
                    ));
                }
                _ => {}
            }
        }
        self
    }
}

/// A configuration to work with.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What works but is worth a word, to be logged.
    pub warnings: Vec<String>,
}

/// Where each key that was written was written.
pub(super) type Origins = BTreeMap<&'static str, Origin>;

/// Reads everything.
///
/// # Errors
/// Every mistake that was found.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
    let file = sources.file.map(ConfigFile::read).unwrap_or_default();
    let mut loading = Loading {
        mistakes: file.mistakes,
        ..Loading::default()
    };
    let path = sources.file.unwrap_or_else(|| Path::new(""));
    for written in file.written {
        loading.set(written.key, &written.raw, Origin::line(path, written.line));
    }
    for table in &file.tables {
        match table.list {
            "nodes" => loading.node(table, path),
            "rules" => {}
            _ => loading.user(table, path),
        }
    }
    let rules = file.tables.iter().filter(|table| table.list == "rules");
    loading.rules(rules, path);
    for (variable, value) in &sources.variables {
        let known = VARIABLES.iter().find(|(name, _)| name == variable);
        if let Some(key) = known.and_then(|(_, key)| keys::find(key)) {
            loading.set(key, &Raw::Text(value.clone()), Origin::Variable(variable));
        }
    }
    for (argument, name, value) in &sources.arguments {
        if let Some(key) = keys::find(name) {
            loading.set(key, &Raw::Text(value.clone()), Origin::Argument(argument));
        }
    }
    loading.backend_password(sources);
    if sources.needs_backend
        && !loading.config.backend.url.is_set()
        && !loading.failed("backend.url")
    {
        let what = format!(
            "no backend is named: pass --backend {form}, or write url = \"{form}\" under [backend] in the file",
            form = super::BackendUrl::FORM
        );
        loading.mistakes.push(Mistake {
            origin: Origin::Default,
            what,
        });
    }
    let Loading {
        config,
        origins,
        mut mistakes,
    } = loading;
    mistakes.extend(check::together(&config, &origins));
    ConfigError::unless_none(mistakes)?;
    let warnings = check::warnings(&config, sources.file);
    Ok(Loaded { config, warnings })
}

/// The configuration with what SAVE has written over it; `None`: nothing was saved.
///
/// # Errors
/// Every mistake in the file.
pub fn overlay(config: &Config, path: &Path) -> Result<Option<Config>, ConfigError> {
    if !path.exists() {
        return Ok(None);
    }
    let file = ConfigFile::read(path);
    let mut loading = Loading {
        config: config.clone(),
        mistakes: file.mistakes,
        ..Loading::default()
    };
    for written in file.written {
        let origin = Origin::line(path, written.line);
        if written.key.reloadable {
            loading.set(written.key, &written.raw, origin);
        } else {
            let name = written.key.name;
            let what =
                format!("{name}: SAVE writes no such key; write it into the configuration file");
            loading.mistakes.push(Mistake { origin, what });
        }
    }
    if file.lists.contains(&"users") {
        loading.config.users.clear();
    }
    for table in &file.tables {
        match table.list {
            "users" => loading.user(table, path),
            "rules" => {}
            list => loading.mistakes.push(Mistake {
                origin: Origin::line(path, table.line),
                what: format!("[[{list}]]: SAVE writes no such list"),
            }),
        }
    }
    if file.lists.contains(&"rules") {
        loading.rules(
            file.tables.iter().filter(|table| table.list == "rules"),
            path,
        );
    }
    ConfigError::unless_none(loading.mistakes)?;
    Ok(Some(loading.config))
}

#[derive(Default)]
struct Loading {
    config: Config,
    origins: Origins,
    mistakes: Vec<Mistake>,
}

impl Loading {
    fn set(&mut self, key: &'static Key, raw: &Raw, origin: Origin) {
        if let Err(why) = key.set(&mut self.config, raw) {
            let what = format!("{} {why}; allowed: {}", key.name, key.allowed());
            self.mistakes.push(Mistake {
                origin: origin.clone(),
                what,
            });
        }
        self.origins.insert(key.name, origin);
    }

    /// Whether a value for the key was refused.
    fn failed(&self, name: &str) -> bool {
        self.mistakes
            .iter()
            .any(|mistake| mistake.what.starts_with(name))
    }

    fn user(&mut self, written: &WrittenTable, path: &Path) {
        let mut tell = |line, what: &str| {
            self.mistakes.push(Mistake {
                origin: Origin::line(path, line),
                what: format!("users.{what}"),
            });
        };
        let name = match written.get("name") {
            Some((Raw::Text(name), _)) if (1..=32).contains(&name.chars().count()) => {
                Some(name.clone())
            }
            Some((_, line)) => {
                tell(
                    line,
                    "name is no user name; allowed: text in quotes of 1 to 32 characters",
                );
                None
            }
            None => {
                tell(
                    written.line,
                    "name is missing; write name = \"...\" below [[users]]",
                );
                None
            }
        };
        let password = match written.get("password") {
            Some((Raw::Text(password), _)) => Some(password.clone()),
            Some((_, line)) => {
                tell(line, "password is no text; allowed: a password in quotes");
                None
            }
            None => {
                tell(
                    written.line,
                    "password is missing; write password = \"...\" below [[users]]",
                );
                None
            }
        };
        let (Some(name), Some(password)) = (name, password) else {
            return;
        };
        if self.config.users.iter().any(|user| user.name == name) {
            return tell(
                written.line,
                &format!("name {name:?} is there already; write each user once"),
            );
        }
        self.config.users.push(User {
            name,
            password: Secret::new(password),
        });
    }

    fn node(&mut self, written: &WrittenTable, path: &Path) {
        match self.node_entry(written) {
            Ok(node) => self.config.nodes.push(node),
            Err((line, what)) => self.mistakes.push(Mistake {
                origin: Origin::line(path, line),
                what: format!("nodes.{what}"),
            }),
        }
    }

    /// The node, or the line and what is wrong there.
    fn node_entry(&self, written: &WrittenTable) -> Result<NodeEntry, (usize, String)> {
        let text = |key: &str| match written.get(key) {
            Some((Raw::Text(text), line)) => Ok((text.as_str(), line)),
            Some((_, line)) => Err((line, format!("{key} is no text in quotes"))),
            None => {
                let what = format!("{key} is missing; write {key} = \"...\" below [[nodes]]");
                Err((written.line, what))
            }
        };
        let (name, line) = text("name")?;
        if !is_identifier(name) {
            let what = "name is no name; allowed: 1 to 64 letters, digits, _ and $";
            return Err((line, what.to_owned()));
        }
        if name == NodeEntry::FIRST || self.config.nodes.iter().any(|node| node.name == name) {
            let what = format!("name {name:?} is there already; write each node once");
            return Err((line, what));
        }
        let (address, line) = text("address")?;
        let allowed = "; allowed: host:port";
        let (host, port) =
            host_and_port(address).map_err(|why| (line, format!("address {why}{allowed}")))?;
        let weight = match written.get("weight") {
            None => 1,
            Some((Raw::Integer(weight), line)) => u32::try_from(*weight)
                .ok()
                .filter(|weight| *weight <= NodeEntry::WEIGHT_MAX)
                .ok_or_else(|| {
                    (
                        line,
                        format!(
                            "weight is {weight}; allowed: 0 to {}",
                            NodeEntry::WEIGHT_MAX
                        ),
                    )
                })?,
            Some((_, line)) => return Err((line, "weight is no whole number".to_owned())),
        };
        if self.config.nodes.len() >= NodeEntry::MOST {
            return Err((
                written.line,
                format!("{name} is one too many; allowed: {}", NodeEntry::MOST),
            ));
        }
        Ok(NodeEntry {
            name: name.to_owned(),
            host,
            port,
            weight,
        })
    }

    fn rules<'t>(&mut self, written: impl Iterator<Item = &'t WrittenTable>, path: &Path) {
        let mut lines = Vec::new();
        let mut tell = |line, what: String| {
            self.mistakes.push(Mistake {
                origin: Origin::line(path, line),
                what: format!("rules.{what}"),
            });
        };
        let mut read = Vec::new();
        for table in written {
            let (mut rule, mut is_good) = (Rule::default(), true);
            for (name, raw, line) in &table.values {
                let set = rules::field_of(name).map(|field| field.set(&mut rule, raw));
                if let Some(Err(why)) = set {
                    is_good = false;
                    tell(*line, format!("{name} {why}"));
                }
            }
            if !is_good {
                continue;
            }
            // The line of the field that a mistake shows at, if it was written.
            let line_of = |name: &str| table.get(name).map_or(table.line, |(_, line)| line);
            match rule.check() {
                Ok(()) => {
                    lines.push(line_of("name"));
                    read.push(rule);
                }
                Err(why) => tell(line_of(why.field), format!("{} {}", why.field, why.what)),
            }
        }
        if let Err((at, why)) = rules::check_all(&read) {
            let line = lines.get(at).copied().unwrap_or_default();
            tell(line, format!("{} {}", why.field, why.what));
        }
        rules::in_order(&mut read);
        self.config.rules = read;
    }

    /// The variable for the password wins over one in the file's URL, and loses against one in `--backend`.
    fn backend_password(&mut self, sources: &Sources<'_>) {
        let variable = sources
            .variables
            .iter()
            .find(|(name, _)| *name == BACKEND_PASSWORD);
        let Some((_, password)) = variable else {
            return;
        };
        let url = &mut self.config.backend.url;
        let from_argument = matches!(self.origins.get("backend.url"), Some(Origin::Argument(_)));
        if from_argument && !url.password.is_empty() {
            return;
        }
        if password.contains('\0') {
            let what = "is not UTF-8 text".to_owned();
            self.mistakes.push(Mistake {
                origin: Origin::Variable(BACKEND_PASSWORD),
                what,
            });
        }
        url.password = Secret::new(password.clone());
    }
}
