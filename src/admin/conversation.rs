//! One admin session: its context, its prepared statements, and what a statement does to them.
//! Knows the engine and no wire.

use std::collections::HashMap;
use std::sync::Arc;

use super::context::{Context, Identity};
use super::engine::{Description, Engine, ResultSet};
use super::error::Error;
use super::runtime::{Action, Runtime};
use super::statement::{self, NewValue, Plan};
use super::value::Value;
use super::writes::{Keep, Write};

/// Prepared statements that one session may hold.
const STATEMENTS_MAX: usize = 1024;

/// What became of a statement.
#[derive(Debug)]
pub enum Outcome {
    /// It gave no rows: OK.
    Done,
    /// It changed so many rows.
    Changed(u64),
    /// It gave these rows.
    Rows(ResultSet),
}

/// One admin session.
pub struct Conversation {
    engine: Engine,
    context: Context,
    statements: HashMap<u32, (String, usize)>,
    last_id: u32,
    only_reads: bool,
}

impl Conversation {
    /// A new session in the schema that the identity asks for.
    ///
    /// # Errors
    /// `UnknownDatabase`.
    pub fn new(engine: Engine, identity: Identity) -> Result<Self, Error> {
        let schema = identity
            .schema
            .as_deref()
            .filter(|schema| !schema.is_empty());
        let schema = schema.map(statement::schema).transpose()?;
        let mut context = Context::new(identity);
        if let Some(schema) = schema {
            context.schema = schema;
        }
        Ok(Self {
            engine,
            context,
            statements: HashMap::new(),
            last_id: 0,
            only_reads: false,
        })
    }

    /// The same for somebody who may change nothing.
    pub fn only_reading(self) -> Self {
        Self {
            only_reads: true,
            ..self
        }
    }

    /// The session's state.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// COM_RESET_CONNECTION: variables and statements are gone, the schema stays.
    pub fn reset(&mut self) {
        self.context.reset();
        self.statements.clear();
    }

    /// Makes this the default schema.
    ///
    /// # Errors
    /// `UnknownDatabase`.
    pub fn choose_schema(&mut self, name: &str) -> Result<(), Error> {
        let chosen = statement::schema(name);
        self.remember(chosen.as_ref().err(), name);
        self.context.schema = chosen?;
        Ok(())
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// Whatever is wrong with it; SHOW WARNINGS repeats it afterwards.
    pub async fn run(&mut self, text: &str, parameters: Vec<Value>) -> Result<Outcome, Error> {
        let outcome = self.try_run(text, parameters).await;
        self.remember(outcome.as_ref().err(), text);
        outcome
    }

    async fn try_run(&mut self, text: &str, parameters: Vec<Value>) -> Result<Outcome, Error> {
        match statement::plan(text, &self.context)? {
            Plan::Query(rewritten) => {
                let rows = self
                    .engine
                    .run(self.context.schema, rewritten, parameters)
                    .await?;
                return Ok(Outcome::Rows(rows));
            }
            Plan::Use(schema) => self.context.schema = schema,
            Plan::Nothing => {}
            Plan::Write(write) => return self.write(write, parameters).await,
            Plan::Keep(keep) => self.keep(keep).await?,
            Plan::Set(assignments) => {
                let mut parameters = parameters.into_iter();
                for assignment in assignments {
                    let value = match assignment.to {
                        NewValue::Default => None,
                        NewValue::Literal(value) => Some(value),
                        NewValue::Expression(rewritten) => {
                            let given = parameters.by_ref().take(rewritten.parameters).collect();
                            let result = self
                                .engine
                                .run(self.context.schema, rewritten, given)
                                .await?;
                            let first = result.rows.first().and_then(|row| row.first());
                            Some(first.cloned().unwrap_or(Value::Null))
                        }
                    };
                    self.context.set(&assignment.name, value)?;
                }
            }
        }
        Ok(Outcome::Done)
    }

    /// The state that this session may change.
    fn changes(&self) -> Result<Arc<Runtime>, Error> {
        let changes = self.engine.changes().filter(|_| !self.only_reads);
        changes
            .cloned()
            .ok_or_else(|| Error::ReadOnly("a change".to_owned()))
    }

    async fn write(&mut self, write: Write, parameters: Vec<Value>) -> Result<Outcome, Error> {
        let changes = self.changes()?;
        let found = self
            .engine
            .run(self.context.schema, write.query, parameters)
            .await?;
        let names = usize::from(write.action != Action::Insert);
        if write.columns.len() + names != found.columns.len() {
            return Err(Error::ColumnCount);
        }
        let changed = changes.change(write.target, write.action, &write.columns, &found.rows)?;
        Ok(Outcome::Changed(changed))
    }

    async fn keep(&mut self, keep: Keep) -> Result<(), Error> {
        let changes = self.changes()?;
        // It waits for the disk.
        let kept = tokio::task::spawn_blocking(move || match keep {
            Keep::Save => changes.save(),
            Keep::Discard => changes.discard(),
            Keep::Reset => changes.reset(),
        });
        kept.await
            .map_err(|error| Error::Internal(error.to_string()))?
    }

    /// Keeps what SHOW WARNINGS has to say; looking at the warnings leaves them.
    fn remember(&mut self, error: Option<&Error>, text: &str) {
        let first: String = text.trim_start().chars().take(13).collect();
        let looking = error.is_none() && first.to_ascii_uppercase().starts_with("SHOW ");
        if !looking {
            self.context.last_error = error.map(|error| (error.number(), error.to_string()));
        }
    }

    /// Prepares a statement: its id and what is known of it.
    ///
    /// # Errors
    /// Whatever is wrong with it; `StatementsMax`.
    pub async fn prepare(&mut self, text: &str) -> Result<(u32, Description), Error> {
        let prepared = self.try_prepare(text).await;
        self.remember(prepared.as_ref().err(), text);
        prepared
    }

    async fn try_prepare(&mut self, text: &str) -> Result<(u32, Description), Error> {
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(Error::StatementsMax(STATEMENTS_MAX));
        }
        let description = match statement::plan(text, &self.context)? {
            Plan::Query(rewritten) => self.engine.describe(self.context.schema, rewritten).await?,
            plan => Description {
                columns: Vec::new(),
                parameters: plan.parameters(),
            },
        };
        if description.parameters > usize::from(u16::MAX) {
            return Err(Error::Unsupported("more than 65535 parameters".to_owned()));
        }
        let id = loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.statements.contains_key(&self.last_id) {
                break self.last_id;
            }
        };
        self.statements
            .insert(id, (text.to_owned(), description.parameters));
        Ok((id, description))
    }

    /// How many parameters a prepared statement has.
    ///
    /// # Errors
    /// `UnknownStatement`.
    pub fn parameters(&self, id: u32) -> Result<usize, Error> {
        self.statements
            .get(&id)
            .map(|(_, parameters)| *parameters)
            .ok_or(Error::UnknownStatement(id))
    }

    /// Runs a prepared statement. It is read anew, since its meaning hangs on the session's state too.
    ///
    /// # Errors
    /// As `run`; `UnknownStatement`.
    pub async fn execute(&mut self, id: u32, parameters: Vec<Value>) -> Result<Outcome, Error> {
        let (text, wanted) = self
            .statements
            .get(&id)
            .cloned()
            .ok_or(Error::UnknownStatement(id))?;
        if parameters.len() != wanted {
            let given = parameters.len();
            return Err(Error::Parameters(format!("{wanted} wanted, {given} given")));
        }
        self.run(&text, parameters).await
    }

    /// Forgets a prepared statement.
    pub fn close(&mut self, id: u32) {
        self.statements.remove(&id);
    }
}

#[cfg(test)]
mod tests;
