//! One file per admin table: its columns, and the function that turns the owning room's snapshot into rows.
//! Nothing here changes anything or keeps state.

pub mod backend_changes;
pub mod backends;
pub mod binlog;
pub mod cache;
pub mod cache_totals;
pub mod decisions;
pub mod errors;
pub mod history;
pub mod lost;
pub mod phases;
pub mod pool_usage;
pub mod pools;
pub mod queries;
pub mod query_history;
pub mod rules;
pub mod schema;
pub mod served;
pub mod sessions;
pub mod settings;
pub mod slow_queries;
pub mod totals;
pub mod transactions;
pub mod users;
pub mod view_candidates;
pub mod view_totals;
pub mod views;

#[cfg(test)]
mod tests;
