//! Decides where a statement goes and says why. Pure: awaits nothing, writes nothing.

pub mod limits;
pub mod place;
pub mod reason;
pub mod rules;
pub mod session_state;
pub mod ties;
pub mod traces;

use crate::cache::Cache;
use crate::sql::{Kind, Statement};
use reason::Reason;
use rules::{Caching, Said};

/// The first question, judged by the statement alone: why nothing better than the backend need be looked for. The way of most
/// statements. `None`: cache or views may have an answer, and the session's state decides
/// ([`session_state::SessionState::allows_other_answers`]). `caching`: what a rule says of the cache.
pub fn plain(
    statement: &Statement,
    cache: &Cache,
    views_enabled: bool,
    caching: Said<Caching>,
) -> Option<Reason> {
    if statement.kind != Kind::Select {
        return Some(match statement.kind {
            Kind::Multi => Reason::MultiStatement,
            _ => Reason::NotARead,
        });
    }
    if let Some(opaque) = statement.opaque {
        return Some(Reason::Opaque(opaque.label()));
    }
    if statement.reads_diagnostics {
        // Whatever we asked on the client's connection first would change what it is told.
        return Some(Reason::SessionState("reads_diagnostics"));
    }
    let not_cached = match caching {
        Some((Caching::Never, rule)) => Some(Reason::RuleNoCache(rule)),
        chosen => cache
            .may_take(statement, chosen.is_some())
            .err()
            .map(|skip| Reason::NotCacheable(skip.label())),
    };
    not_cached.filter(|_| !(statement.aggregate && views_enabled))
}
