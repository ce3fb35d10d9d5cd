//! What a statement may depend on besides its text: who asks, the default schema, session and user variables.
//! Lives as long as one admin session. Changes nothing outside of it.

use std::collections::HashMap;

use super::catalog::SCHEMA;
use super::error::Error;
use super::value::Value;
use super::variables;

/// Who is on the other end of an admin session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User name as it logged in.
    pub user: String,
    /// Host or address, without port, for USER().
    pub host: String,
    /// What CONNECTION_ID() says.
    pub connection_id: u64,
    /// Default schema asked for at login; None means `tidegate`.
    pub schema: Option<String>,
}

/// How many variables one session may set.
const VARIABLES_MAX: usize = 256;
/// How long a variable's value may be.
const VALUE_BYTES_MAX: usize = 4096;

/// The state of one admin session that statements read.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub identity: Identity,
    /// Default schema: one of the catalog's.
    pub schema: &'static str,
    /// Number and text of the last statement's error, for SHOW WARNINGS.
    pub last_error: Option<(u16, String)>,
    /// What SET changed: system variables by lower-case name, user variables with their `@`.
    set: HashMap<String, Value>,
}

impl Context {
    /// A new session in schema `tidegate`.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            schema: SCHEMA,
            last_error: None,
            set: HashMap::new(),
        }
    }

    /// As after login: COM_RESET_CONNECTION.
    pub fn reset(&mut self) {
        self.set.clear();
        self.last_error = None;
    }

    /// What USER() and CURRENT_USER() say.
    pub fn user_at_host(&self) -> Value {
        format!("{}@{}", self.identity.user, self.identity.host).into()
    }

    /// The value of `@@name`; a scope before it (`session.`, `global.`) is taken off.
    ///
    /// # Errors
    /// `UnknownVariable`.
    pub fn variable(&self, name: &str) -> Result<Value, Error> {
        let name = variables::without_scope(name).1;
        match self.set.get(&name) {
            Some(value) => Ok(value.clone()),
            None => variables::default(&name).ok_or(Error::UnknownVariable(name)),
        }
    }

    /// The value of `@name`: NULL when it was never set, as in MySQL.
    pub fn user_variable(&self, name: &str) -> Value {
        let name = name.replace('`', "").to_ascii_lowercase();
        self.set.get(&name).cloned().unwrap_or(Value::Null)
    }

    /// Sets a system variable (lower-case name) or a user variable (with its `@`); None sets back.
    ///
    /// # Errors
    /// `Unsupported` beyond the limits on number and length.
    pub fn set(&mut self, name: &str, value: Option<Value>) -> Result<(), Error> {
        let Some(value) = value else {
            self.set.remove(name);
            return Ok(());
        };
        let full = self.set.len() >= VARIABLES_MAX && !self.set.contains_key(name);
        if full || name.len() > 256 || value.bytes() > VALUE_BYTES_MAX {
            return Err(Error::Unsupported(format!(
                "more than {VARIABLES_MAX} variables, or values longer than {VALUE_BYTES_MAX} bytes"
            )));
        }
        self.set.insert(name.to_owned(), value);
        Ok(())
    }

    /// Whether double quotes delimit names in this session.
    pub fn ansi_quotes(&self) -> bool {
        let mode = self.set.get("sql_mode");
        matches!(mode, Some(Value::Text(mode)) if mode.to_ascii_uppercase().contains("ANSI"))
    }

    /// Every system variable with its value as SHOW VARIABLES writes it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut shown: Vec<(String, String)> = variables::names()
            .map(|name| (name.to_owned(), self.variable(name).unwrap_or(Value::Null)))
            .map(|(name, value)| {
                let text = variables::shown(&name, &value);
                (name, text)
            })
            .collect();
        shown.sort();
        shown
    }
}

#[cfg(test)]
impl Context {
    /// A session of ann's.
    pub fn for_tests() -> Self {
        Self::new(Identity {
            user: "ann".to_owned(),
            host: "10.0.0.9".to_owned(),
            connection_id: 7,
            schema: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_and_set_back() {
        let mut context = Context::for_tests();
        assert_eq!(context.variable("SESSION.Autocommit"), Ok(Value::Int(1)));
        context.set("autocommit", Some(Value::Int(0))).unwrap();
        assert_eq!(context.variable("autocommit"), Ok(Value::Int(0)));
        context.set("autocommit", None).unwrap();
        assert_eq!(context.variable("autocommit"), Ok(Value::Int(1)));
        assert_eq!(context.user_variable("@a"), Value::Null);
        context.set("@a", Some("x".into())).unwrap();
        assert_eq!(context.user_variable("@A"), "x".into());
    }

    #[test]
    fn a_session_cannot_grow_without_bound() {
        let mut context = Context::for_tests();
        for at in 0..VARIABLES_MAX {
            context
                .set(&format!("@v{at}"), Some(Value::Int(1)))
                .unwrap();
        }
        assert!(context.set("@more", Some(Value::Int(1))).is_err());
        assert!(context.set("@v1", Some(Value::Int(2))).is_ok());
        assert!(context.set("@v2", Some("x".repeat(5000).into())).is_err());
    }
}
