//! `tidegate.rules`, `tidegate.limits`, `tidegate.breakers`: the query rules in force, and what they hold back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::admin::catalog::{SCHEMA, Table, Type, column};
use crate::admin::sources::RowsFn;
use crate::admin::value::{Row, Value};
use crate::config::keys::Raw;
use crate::config::rules::RULE_FIELDS;
use crate::router::rules::{Active, Compiled};

/// See its description. The columns up to `breaker_pause_ms` are the fields of a rule, in their order.
pub static TABLE: Table = Table {
    schema: SCHEMA,
    name: "rules",
    description: "One row per query rule, in the order in which they are looked at. NULL where a rule says nothing.",
    columns: &[
        column(
            "name",
            Type::Varchar(64),
            "Name of the rule, unique in any case.",
        ),
        column(
            "position",
            Type::BigInt,
            "Rules are looked at in this order.",
        ),
        column(
            "enabled",
            Type::Bool,
            "0: the rule is kept, but matches nothing.",
        ),
        column(
            "continues",
            Type::Bool,
            "1: rules behind this one are looked at, too.",
        ),
        column(
            "digest",
            Type::Varchar(32),
            "Matches this digest, as in queries.digest.",
        ),
        column(
            "text",
            Type::Text,
            "Expression that is found in the digest text, without regard to case.",
        ),
        column(
            "raw_text",
            Type::Text,
            "Expression that is found in the statement as the client wrote it.",
        ),
        column(
            "user",
            Type::Name(256),
            "Matches clients of this user name.",
        ),
        column(
            "schema",
            Type::Name(256),
            "Matches sessions in this default schema.",
        ),
        column(
            "app",
            Type::Name(256),
            "Matches statements of this app, as in queries.app.",
        ),
        column(
            "client",
            Type::Varchar(64),
            "Matches clients of this network.",
        ),
        column(
            "route",
            Type::Varchar(8),
            "writer or reader: the server that answers if one must.",
        ),
        column(
            "cache",
            Type::Varchar(8),
            "always: kept in the cache under its proof; never: not answered from there, not kept.",
        ),
        column(
            "rewrite",
            Type::Text,
            "Sent in place of the whole statement, with groups of raw_text.",
        ),
        column(
            "block",
            Type::Text,
            "The statement is answered with error 1148 and these words.",
        ),
        column(
            "timeout_ms",
            Type::BigInt,
            "After so long the statement is ended on the server; error 3024.",
        ),
        column(
            "log",
            Type::Bool,
            "1: a line in the log for each statement.",
        ),
        column(
            "limit_by",
            Type::Varchar(8),
            "What the limits are counted for: rule, user, app, digest or client.",
        ),
        column(
            "rate_per_s_max",
            Type::BigInt,
            "Statements that may begin in a second; error 1226.",
        ),
        column(
            "concurrent_max",
            Type::BigInt,
            "Statements that may run at once; error 1203.",
        ),
        column(
            "queue_max",
            Type::BigInt,
            "Statements that may wait for one of these limits.",
        ),
        column(
            "queue_ms_max",
            Type::BigInt,
            "Longest wait in milliseconds.",
        ),
        column(
            "breaker_timeouts",
            Type::BigInt,
            "Timeouts of one digest within the window that open its breaker.",
        ),
        column(
            "breaker_window_ms",
            Type::BigInt,
            "That window in milliseconds; NULL: 60000.",
        ),
        column(
            "breaker_pause_ms",
            Type::BigInt,
            "How long a breaker stays open, in milliseconds; NULL: 10000.",
        ),
        column(
            "hits",
            Type::BigInt,
            "Statements and prepares that it matched since start.",
        ),
        column(
            "refused",
            Type::BigInt,
            "Statements that were answered with an error of this rule.",
        ),
        column(
            "timeouts",
            Type::BigInt,
            "Statements that were ended at its timeout_ms.",
        ),
        column(
            "last_hit",
            Type::Datetime,
            "When it last matched (UTC); NULL: never.",
        ),
    ],
    rows: |sources| Arc::new((sources.rules)()),
};

/// See its description.
pub static LIMITS: Table = Table {
    schema: SCHEMA,
    name: "limits",
    description: "One row per limit of a query rule and what it is counted for, once a statement has met it.",
    columns: &[
        column(
            "rule_name",
            Type::Varchar(64),
            "The rule; joins rules.name.",
        ),
        column(
            "counted_for",
            Type::Name(256),
            "User, app, digest or client address; * for a rule as a whole.",
        ),
        column("running", Type::BigInt, "Statements that run now."),
        column("waiting", Type::BigInt, "Statements that wait now."),
        column(
            "started",
            Type::BigInt,
            "Statements that began since start.",
        ),
        column("queued", Type::BigInt, "Statements that had to wait."),
        column(
            "wait_us_sum",
            Type::BigInt,
            "Their waits together, in microseconds.",
        ),
        column(
            "refused",
            Type::BigInt,
            "Statements that were refused, at once or after a wait.",
        ),
    ],
    rows: |sources| Arc::new((sources.limits)()),
};

/// See its description.
pub static BREAKERS: Table = Table {
    schema: SCHEMA,
    name: "breakers",
    description: "One row per digest that timed out under a query rule with a breaker.",
    columns: &[
        column(
            "rule_name",
            Type::Varchar(64),
            "The rule; joins rules.name.",
        ),
        column(
            "digest",
            Type::Name(32),
            "The digest; joins queries.digest.",
        ),
        column(
            "state",
            Type::Varchar(8),
            "closed: statements run. open: they are refused. probing: one runs, the others are refused.",
        ),
        column(
            "timeouts",
            Type::BigInt,
            "Timeouts within the window, while it is closed.",
        ),
        column("opened", Type::BigInt, "How often it opened."),
        column("refused", Type::BigInt, "Statements that it refused."),
        column(
            "next_try_ms",
            Type::BigInt,
            "Milliseconds until one statement is let through; NULL unless it is open.",
        ),
    ],
    rows: |sources| Arc::new((sources.breakers)()),
};

/// The rows of the rules in force.
pub fn source(rules: Arc<Active>) -> RowsFn {
    Arc::new(move || rules.now().all.iter().map(row).collect())
}

fn row(compiled: &Compiled) -> Row {
    let value = |raw: Option<Raw>| match raw {
        Some(Raw::Text(text)) => text.into(),
        Some(Raw::Integer(number)) => Value::from(u64::try_from(number).unwrap_or(u64::MAX)),
        Some(Raw::Flag(flag)) => flag.into(),
        _ => Value::Null,
    };
    let fields = RULE_FIELDS.iter().map(|field| field.get(&compiled.rule));
    let mut row: Row = fields.map(value).collect();
    let counters = &compiled.counters;
    row.extend([
        counters.hits.load(Relaxed).into(),
        counters.refused.load(Relaxed).into(),
        counters.timeouts.load(Relaxed).into(),
        Value::unix_millis(counters.last_ms.load(Relaxed)),
    ]);
    row
}

/// The rows of `limits`.
pub fn limits(rules: Arc<Active>) -> RowsFn {
    Arc::new(move || {
        let mut rows = Vec::new();
        for rule in &rules.now().all {
            let limits = rule.gate.as_ref().filter(|gate| gate.is_limit());
            for limit in limits.map(|gate| gate.rows()).unwrap_or_default() {
                rows.push(vec![
                    rule.name.into(),
                    limit.key.into(),
                    limit.running.into(),
                    limit.waiting.into(),
                    limit.started.into(),
                    limit.queued.into(),
                    limit.wait_us.into(),
                    limit.refused.into(),
                ]);
            }
        }
        rows
    })
}

/// The rows of `breakers`.
pub fn breakers(rules: Arc<Active>) -> RowsFn {
    Arc::new(move || {
        let (now, mut rows) = (Instant::now(), Vec::new());
        for rule in &rules.now().all {
            let breakers = rule.gate.as_ref().map(|gate| gate.breaker_rows(now));
            for breaker in breakers.unwrap_or_default() {
                rows.push(vec![
                    rule.name.into(),
                    Value::digest(breaker.digest),
                    breaker.state.into(),
                    breaker.timeouts.into(),
                    breaker.opened.into(),
                    breaker.refused.into(),
                    breaker.opens_again_ms.into(),
                ]);
            }
        }
        rows
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::{Rule, RuleKind};

    #[test]
    fn the_columns_are_the_fields() {
        for (at, field) in RULE_FIELDS.iter().enumerate() {
            let column = TABLE.columns[at];
            assert_eq!(column.name, field.name);
            let fits = match &field.kind {
                RuleKind::Text(..) => column.kind.characters_max().is_some(),
                RuleKind::Number(..) => column.kind == Type::BigInt,
                RuleKind::Flag(_) => column.kind == Type::Bool,
            };
            assert!(fits, "{}", field.name);
        }
    }

    #[test]
    fn rules_are_shown_as_they_are_written() {
        let rule = Rule {
            name: "slow".to_owned(),
            timeout_ms: 5,
            ..Rule::default()
        };
        let active = Arc::new(Active::new(&[rule]).unwrap());
        active.now().at(0).unwrap().hit();
        let rows = source(active)();
        let cell = |name: &str| {
            let at = TABLE.columns.iter().position(|column| column.name == name);
            rows[0][at.unwrap()].clone()
        };
        assert_eq!(rows[0].len(), TABLE.columns.len());
        assert_eq!(cell("name"), "slow".into());
        assert_eq!(cell("timeout_ms"), Value::Int(5));
        assert_eq!(
            (cell("block"), cell("concurrent_max")),
            (Value::Null, Value::Null)
        );
        assert_eq!(
            (cell("enabled"), cell("hits")),
            (Value::Int(1), Value::Int(1))
        );
    }
}
