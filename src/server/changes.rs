//! Who takes up a change that was made at run time: listed users, rules, and each setting that can be changed. Decides nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ServerError;
use crate::admin::runtime::{Runtime, Takes};
use crate::analytics::Analytics;
use crate::cache::Cache;
use crate::config::{Config, User, logging};
use crate::router::rules::Active;

/// What can change while Tidegate runs.
pub(super) struct Live {
    pub(super) rules: Arc<Active>,
    pub(super) users: Arc<ArcSwap<Vec<User>>>,
    pub(super) runtime: Arc<Runtime>,
}

impl Live {
    /// As `config` says; `written` is the configuration without what was saved.
    ///
    /// # Errors
    /// A rule that cannot be in force.
    pub(super) fn new(
        written: &Config,
        config: &Config,
        analytics: &Arc<Analytics>,
        cache: &Arc<Cache>,
    ) -> Result<Self, ServerError> {
        let rules = rules(config)?;
        let users = Arc::new(ArcSwap::from_pointee(config.users.clone()));
        let takes = takes(users.clone(), analytics.clone(), cache.clone());
        let runtime = Runtime::new(written, config, rules.clone(), takes);
        Ok(Self {
            rules,
            users,
            runtime,
        })
    }
}

/// One line for each key that is `live` in `config/keys/table.rs`; tests/e2e/rules/runtime.rs holds the two together.
fn takes(users: Arc<ArcSwap<Vec<User>>>, analytics: Arc<Analytics>, cache: Arc<Cache>) -> Takes {
    Box::new(move |config| {
        users.store(Arc::new(config.users.clone()));
        analytics.set_slow_query_ms(config.analytics.slow_query_ms);
        cache.set_enabled(config.cache.enabled);
        logging::set_level(&config.log.level);
    })
}

/// The rules of the configuration.
fn rules(config: &Config) -> Result<Arc<Active>, ServerError> {
    let active = Active::new(&config.rules).map(Arc::new);
    active.map_err(|(at, mistake)| ServerError::Rule {
        name: config
            .rules
            .get(at)
            .map_or_else(String::new, |rule| rule.name.clone()),
        field: mistake.field,
        what: mistake.what,
    })
}
