//! What a session program is, and its text form: one step a line, so that a shrunk program can be pasted into a file of
//! tests/cases/sessions. `{s}` stands for the client's own schema, its name for locks and the start of its other names.
//! Knows nothing of sockets or servers.

use std::fmt::{self, Display, Formatter};

/// How a client logs in, and what it then does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Program {
    /// Names out of [`CAPABILITIES`].
    pub capabilities: Vec<&'static str>,
    pub identity: Identity,
    pub steps: Vec<Step>,
}

/// Who logs in, where, with which collation. Also what COM_CHANGE_USER carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub user: String,
    pub collation: u16,
    /// Empty: none.
    pub schema: String,
}

/// What a client may do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Query(String),
    /// COM_QUERY with query attributes, where the capability is there; else without.
    Attributed(Vec<(String, String)>, String),
    /// COM_INIT_DB.
    Use(String),
    Prepare(usize, String),
    Execute(usize, Execution),
    LongData(usize, u16, String),
    Fetch(usize, u32),
    ResetStatement(usize),
    Close(usize),
    ResetConnection,
    ChangeUser(Identity),
    Ping,
    Statistics,
    FieldList(String),
    SetOption(u16),
    /// Waits until other clients have done steps.
    Pause,
    /// The statement sleeps; a second session of the same user ends it by KILL QUERY.
    KillQuery(String),
    /// A second session kills this one, which then logs in again.
    Kill,
}

/// One execution of a prepared statement.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Execution {
    /// Leaves the types out where an earlier execution told them.
    pub bare: bool,
    pub cursor: bool,
    /// Used in turn for as many parameters as the statement has.
    pub values: Vec<Value>,
}

/// A parameter: the type's name and the value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub kind: &'static str,
    pub text: String,
}

/// Types of parameters by name.
pub(super) const KINDS: &[&str] = &[
    "null", "tiny", "short", "int", "long", "unsigned", "float", "double", "decimal", "text",
    "blob", "date", "datetime", "time",
];

/// Capabilities that vary, by name.
pub(super) const CAPABILITIES: &[(&str, u32)] = &[
    ("found_rows", 0x0000_0002),
    ("no_schema", 0x0000_0010),
    ("local_files", 0x0000_0080),
    ("ignore_space", 0x0000_0100),
    ("multi_statements", 0x0001_0000),
    ("multi_results", 0x0002_0000),
    ("ps_multi_results", 0x0004_0000),
    ("session_track", 0x0080_0000),
    ("deprecate_eof", 0x0100_0000),
    ("query_attributes", 0x0800_0000),
];

impl Program {
    /// The capability bits.
    pub(super) fn bits(&self) -> u32 {
        let named = |name: &str| CAPABILITIES.iter().find(|(other, _)| *other == name);
        let bits = self.capabilities.iter().filter_map(|name| named(name));
        bits.fold(0, |all, (_, bit)| all | bit)
    }

    /// Whether it ends sessions by KILL: such programs run one at a time.
    pub(super) fn kills(&self) -> bool {
        let kills = |step: &Step| matches!(step, Step::Kill | Step::KillQuery(_));
        self.steps.iter().any(kills)
    }

    /// Reads what [`Display`] writes; comment lines begin with `#`.
    pub(super) fn parse(text: &str) -> Result<Program, String> {
        let mut lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let first = lines.next().ok_or("an empty program")?;
        let names = first.strip_prefix("capabilities").ok_or(first)?;
        let mut capabilities = Vec::new();
        for word in names.split_whitespace() {
            let known = CAPABILITIES.iter().find(|(name, _)| *name == word);
            capabilities.push(known.ok_or_else(|| format!("no capability: {word}"))?.0);
        }
        let second = lines.next().ok_or("no login line")?;
        let identity = second.strip_prefix("login ").ok_or(second)?;
        let identity = Identity::parse(identity)?;
        let steps = lines.map(Step::parse).collect::<Result<_, _>>()?;
        Ok(Program {
            capabilities,
            identity,
            steps,
        })
    }
}

impl Display for Program {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "capabilities {}", self.capabilities.join(" "))?;
        writeln!(out, "login {}", self.identity)?;
        self.steps
            .iter()
            .try_for_each(|step| writeln!(out, "{step}"))
    }
}

impl Identity {
    fn parse(text: &str) -> Result<Identity, String> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [user, collation, schema] => Ok(Identity {
                user: user.to_owned(),
                collation: collation
                    .parse()
                    .map_err(|_| format!("no number: {collation}"))?,
                schema: schema.trim_start_matches('-').to_owned(),
            }),
            _ => Err(format!("user, collation, schema (or -): {text}")),
        }
    }
}

impl Display for Identity {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let schema = if self.schema.is_empty() {
            "-"
        } else {
            &self.schema
        };
        write!(out, "{} {} {schema}", self.user, self.collation)
    }
}

impl Step {
    fn parse(line: &str) -> Result<Step, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbered = || -> Result<(usize, &str), String> {
            let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let number = number.parse().map_err(|_| format!("no number: {line}"))?;
            Ok((number, rest))
        };
        let slot = || numbered().map(|(slot, _)| slot);
        Ok(match word {
            "query" => Step::Query(unescape(rest)),
            "attributed" => {
                let (list, sql) = rest.split_once(" | ").ok_or(line)?;
                let pairs = list.split(' ').filter_map(|pair| pair.split_once('='));
                let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
                Step::Attributed(pairs.collect(), unescape(sql))
            }
            "use" => Step::Use(rest.to_owned()),
            "prepare" => numbered().map(|(slot, sql)| Step::Prepare(slot, unescape(sql)))?,
            "execute" => {
                let (slot, rest) = numbered()?;
                Step::Execute(slot, Execution::parse(rest)?)
            }
            "long_data" => {
                let (slot, rest) = numbered()?;
                let (parameter, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let parameter = parameter.parse().map_err(|_| line)?;
                Step::LongData(slot, parameter, unescape(text))
            }
            "fetch" => {
                let (slot, rows) = numbered()?;
                Step::Fetch(slot, rows.parse().map_err(|_| line)?)
            }
            "reset_statement" => Step::ResetStatement(slot()?),
            "close" => Step::Close(slot()?),
            "reset_connection" => Step::ResetConnection,
            "change_user" => Step::ChangeUser(Identity::parse(rest)?),
            "ping" => Step::Ping,
            "statistics" => Step::Statistics,
            "field_list" => Step::FieldList(rest.to_owned()),
            "set_option" => Step::SetOption(rest.parse().map_err(|_| line)?),
            "pause" => Step::Pause,
            "kill_query" => Step::KillQuery(unescape(rest)),
            "kill" => Step::Kill,
            _ => return Err(format!("no step: {line}")),
        })
    }
}

impl Display for Step {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Step::Query(sql) => write!(out, "query {}", escape(sql)),
            Step::Attributed(pairs, sql) => {
                write!(out, "attributed")?;
                for (name, value) in pairs {
                    write!(out, " {name}={value}")?;
                }
                write!(out, " | {}", escape(sql))
            }
            Step::Use(schema) => write!(out, "use {schema}"),
            Step::Prepare(slot, sql) => write!(out, "prepare {slot} {}", escape(sql)),
            Step::Execute(slot, execution) => write!(out, "execute {slot}{execution}"),
            Step::LongData(slot, at, text) => write!(out, "long_data {slot} {at} {}", escape(text)),
            Step::Fetch(slot, rows) => write!(out, "fetch {slot} {rows}"),
            Step::ResetStatement(slot) => write!(out, "reset_statement {slot}"),
            Step::Close(slot) => write!(out, "close {slot}"),
            Step::ResetConnection => write!(out, "reset_connection"),
            Step::ChangeUser(identity) => write!(out, "change_user {identity}"),
            Step::Ping => write!(out, "ping"),
            Step::Statistics => write!(out, "statistics"),
            Step::FieldList(table) => write!(out, "field_list {table}"),
            Step::SetOption(option) => write!(out, "set_option {option}"),
            Step::Pause => write!(out, "pause"),
            Step::KillQuery(sql) => write!(out, "kill_query {}", escape(sql)),
            Step::Kill => write!(out, "kill"),
        }
    }
}

impl Execution {
    fn parse(text: &str) -> Result<Execution, String> {
        let mut execution = Execution::default();
        for part in text.split(" | ").filter(|part| !part.is_empty()) {
            match part {
                "bare" => execution.bare = true,
                "cursor" => execution.cursor = true,
                _ => {
                    let (kind, value) = part.split_once(':').ok_or(part)?;
                    let known = KINDS.iter().find(|known| **known == kind).ok_or(part)?;
                    execution.values.push(Value {
                        kind: known,
                        text: unescape(value),
                    });
                }
            }
        }
        Ok(execution)
    }
}

impl Display for Execution {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let flags = [("bare", self.bare), ("cursor", self.cursor)];
        let flags = flags.iter().filter(|(_, set)| *set);
        let mut parts: Vec<String> = flags.map(|(name, _)| (*name).to_owned()).collect();
        for value in &self.values {
            parts.push(format!("{}:{}", value.kind, escape(&value.text)));
        }
        match parts.is_empty() {
            true => Ok(()),
            false => write!(out, " {}", parts.join(" | ")),
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    plain
}
