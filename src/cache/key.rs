//! What makes two results the same: everything that can change a byte of a response, spelt out. Keys are compared whole,
//! never by a hash alone: a collision would hand one user's rows to another.

use std::hash::Hasher;
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::protocol::capability;
use crate::sql::Statement;
use crate::sql::env::SessionEnv;

/// The parameters of an execution in the binary protocol, as they came.
#[derive(Debug, Clone, Copy)]
pub struct BoundParameters<'a> {
    /// One bit per parameter.
    pub nulls: &'a [u8],
    /// Type entries: those of this execution, or those of the last one that sent some.
    pub types: &'a [u8],
    /// The values.
    pub values: &'a [u8],
}

/// A read that may be answered from the cache.
///
/// The caller promises: no transaction is open, no temporary table, no LOCK TABLES, no cursor is asked for, no parameter was
/// sent as long data, and `env` is the session's environment now (for an execution: also when the statement was prepared,
/// because schema and sql_mode stick to a prepared statement).
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What we know of the statement.
    pub statement: &'a Statement,
    /// Its text, byte for byte; of an execution, the text that was prepared.
    pub text: &'a [u8],
    /// `Some` for an execution in the binary protocol.
    pub parameters: Option<BoundParameters<'a>>,
    /// The session's environment.
    pub env: &'a SessionEnv,
    /// Capabilities of the client's connection.
    pub caps: u32,
    /// A query rule has chosen it. Changes no byte of the answer, and is no part of the key.
    pub is_chosen: bool,
}

/// The whole key of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<[u8]>);

impl Request<'_> {
    /// Calls `each` for every part of the key in order; parts are length-prefixed, so that none can run into the next.
    fn parts(&self, mut each: impl FnMut(&[u8])) {
        let mut part = |bytes: &[u8]| {
            each(&(bytes.len() as u64).to_le_bytes());
            each(bytes);
        };
        part(&(self.caps & capability::RESPONSE_BYTES).to_le_bytes());
        // The fingerprint covers these three too, but it is a hash, and they decide who may see what.
        part(self.env.user.as_bytes());
        part(self.env.roles.as_bytes());
        match &self.env.schema {
            Some(schema) => part(schema.as_bytes()),
            None => part(b"\0none"),
        }
        part(&self.env.fingerprint().to_le_bytes());
        part(self.text);
        match self.parameters {
            None => part(b"text"),
            Some(bound) => {
                part(b"binary");
                part(bound.nulls);
                part(bound.types);
                part(bound.values);
            }
        }
    }

    /// A hash of the key, without making it.
    pub fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.parts(|bytes| hasher.write(bytes));
        hasher.digest()
    }

    /// The key.
    pub fn key(&self) -> Key {
        let mut length = 0;
        self.parts(|bytes| length += bytes.len());
        let mut key = Vec::with_capacity(length);
        self.parts(|bytes| key.extend_from_slice(bytes));
        Key(key.into())
    }
}

impl Key {
    /// Bytes of memory of the key itself.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// A short name for people: 32 hex digits.
    pub fn name(&self) -> String {
        format!("{:032x}", xxh3_128(&self.0))
    }
}
