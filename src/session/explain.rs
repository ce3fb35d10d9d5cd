//! EXPLAIN ROUTE: what would happen to a statement now, and why, as a result set of names and values. Runs nothing of the statement.

use super::Session;
use super::answers::Question;
use super::error::SessionError;
use super::observe::Execution;
use super::relay::Timing;
use super::ruling::RulesOn;
use crate::analytics::ServedBy;
use crate::cache::Request;
use crate::protocol::column::{Cell, ColumnDefinition, ResultSetWriter};
use crate::protocol::relay::Summary;
use crate::router::plain;
use crate::router::reason::Reason;
use crate::router::rules::{Caching, Said};
use crate::sql::Statement;
use crate::sql::env::SessionEnv;
use std::sync::Arc;
use std::time::Instant;

/// Name and value.
type Row = (&'static str, String);

impl Session {
    /// Explains `text` and sends the explanation.
    pub(super) async fn explain_route(
        &mut self,
        text: &[u8],
        own: &Arc<Statement>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        let rows = self.explanation(text).await?;
        let columns = [
            ColumnDefinition::text(b"name", 32),
            ColumnDefinition::text(b"value", 4096),
        ];
        let (mut out, mut sequence) = (Vec::new(), 1);
        let mut writer = ResultSetWriter::start(
            &mut out,
            &mut sequence,
            self.client.capabilities,
            false,
            &columns,
        );
        for (name, value) in &rows {
            writer.row(&[Cell::Text(name.as_bytes()), Cell::Text(value.as_bytes())]);
        }
        writer.finish(self.state.status, 0);
        self.client
            .send(&out)
            .await
            .map_err(SessionError::ClientIo)?;
        timing.ended = Instant::now();
        timing.last_byte = timing.ended;
        self.traces.served_elsewhere(rows.len() as u64);
        let summary = Summary {
            rows: rows.len() as u64,
            bytes: out.len() as u64,
            status: self.state.status,
            ..Summary::default()
        };
        let execution = Execution {
            statement: Some(own),
            served_by: ServedBy::Local,
            reason: Reason::Local,
            timing,
            summary: &summary,
            bytes_in: text.len() as u64,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        Ok(())
    }

    async fn explanation(&mut self, text: &[u8]) -> Result<Vec<Row>, SessionError> {
        let statement = self.worker.statement(text, self.lex_mode());
        let mut rows: Vec<Row> = vec![
            ("digest", statement.id.to_string()),
            ("digest_text", statement.digest_text.to_string()),
            ("kind", statement.kind.label().to_owned()),
            ("tables_read", names(&statement.reads)),
            ("tables_written", names(&statement.writes)),
            ("aggregate", statement.aggregate.to_string()),
        ];
        let on = self.rules_on(&statement, text);
        let (text, statement) = match on.as_ref().and_then(|on| on.rewritten(text)) {
            Some(text) => {
                let statement = self.worker.statement(&text, self.lex_mode());
                (text, statement)
            }
            None => (text.to_vec(), statement),
        };
        if let Some(on) = &on {
            rows.extend(on.rows(&text));
        }
        let caching = on.as_ref().and_then(|on| on.said.cache);
        let decision = match on.as_ref().and_then(RulesOn::blocks) {
            Some(rule) => Reason::RuleBlocks(rule),
            None => {
                self.explain_decision(&text, &statement, caching, &mut rows)
                    .await?
            }
        };
        let target = match decision {
            Reason::CacheHit => "cache",
            Reason::View => "view",
            Reason::RuleBlocks(_) => "local",
            _ => "backend",
        };
        rows.push(("target", target.to_owned()));
        if target == "backend" && self.spread.is_some() {
            let (node, why) = self.explain_place(&text, &statement);
            rows.push(("node", node));
            rows.push(("node_reason", why.to_owned()));
        }
        rows.push(("reason", decision.to_string()));
        Ok(rows)
    }

    async fn explain_decision(
        &mut self,
        text: &[u8],
        statement: &Arc<Statement>,
        caching: Said<Caching>,
        rows: &mut Vec<Row>,
    ) -> Result<Reason, SessionError> {
        let rooms = self.worker.rooms.clone();
        if let Err(reason) = self.state.allows_other_answers() {
            return Ok(reason);
        }
        if !statement.is_plain_read() {
            return Ok(
                plain(statement, &rooms.cache, self.views_enabled(), caching)
                    .unwrap_or(Reason::NotARead),
            );
        }
        let Some(env) = self.env().await? else {
            return Ok(Reason::Environment("unknown"));
        };
        let freshness = match rooms.binlog.barrier().await {
            Ok(position) => position.to_string(),
            Err(error) => format!("unknown ({})", error.label()),
        };
        rows.push(("freshness_position", freshness));
        let request = Request {
            statement,
            text,
            parameters: None,
            env: &env,
            caps: self.client.capabilities,
            is_chosen: caching.is_some(),
        };
        let kept = match caching {
            Some((Caching::Never, rule)) => Err(Reason::RuleNoCache(rule)),
            _ => rooms
                .cache
                .explain(&request)
                .map_err(|skip| Reason::NotCacheable(skip.label())),
        };
        let mut reason = match kept {
            Ok(Some(row)) => {
                rows.push(("cache_entry", row.entry));
                Reason::CacheHit
            }
            Ok(None) => Reason::CacheMiss,
            Err(reason) => reason,
        };
        rows.push(("cache", reason.to_string()));
        if reason != Reason::CacheHit && statement.aggregate {
            reason = self.explain_view(text, statement, &env, rows).await;
        }
        Ok(reason)
    }
}

impl Session {
    /// Why a view answers an aggregate, or why none does.
    async fn explain_view(
        &self,
        text: &[u8],
        statement: &Arc<Statement>,
        env: &Arc<SessionEnv>,
        rows: &mut Vec<Row>,
    ) -> Reason {
        let question = Question {
            statement,
            text,
            bound: None,
            bytes_in: 0,
        };
        let route = match self.view_route(&question, env) {
            Err(refusal) => return Reason::ViewRefused(refusal),
            Ok(route) => route,
        };
        let rooms = &self.worker.rooms;
        let (view, wait) = (&route.view, rooms.views.gate_wait());
        rows.push(("view", view.view.table_sql.to_string()));
        rows.push(("view_position", view.position.to_string()));
        let rewritten = String::from_utf8_lossy(&route.sql).into_owned();
        rows.push(("rewritten", rewritten));
        let proof = rooms
            .binlog
            .unchanged_since(&view.tables, view.position, view.epoch, wait);
        match proof.await {
            Ok(_) => Reason::View,
            Err(error) => Reason::NotFresh(error.label()),
        }
    }
}

fn names(tables: &[crate::sql::TableName]) -> String {
    let name = |t: &crate::sql::TableName| match &t.schema {
        Some(schema) => format!("{schema}.{}", t.name),
        None => t.name.clone(),
    };
    tables.iter().map(name).collect::<Vec<_>>().join(", ")
}
