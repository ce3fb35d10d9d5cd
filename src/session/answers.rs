//! Answers that do not come from the session's own backend connection: kept results and views. Each is sent whole or not at all;
//! whatever is missing, late or odd ends in the backend's own answer with the reason why.

use super::Session;
use super::diagnostics::FOUND_ROWS_MAX;
use super::error::SessionError;
use super::exchange::{Answer, Columns};
use super::observe::Execution;
use super::prepared::Bound;
use super::relay::Timing;
use super::rooms::Rooms;
use super::statements::whole_number;
use crate::analytics::ServedBy;
use crate::backend::connection::ExchangeError;
use crate::cache::{Fill, Hit, Lookup, Request, Wanted};
use crate::protocol::capability;
use crate::protocol::column::{ColumnDefinition, column_type, packets, renumber};
use crate::protocol::packet::{put_lenenc, write_packet_with};
use crate::protocol::relay::Summary;
use crate::protocol::response::{EofPacket, OkPacket};
use crate::protocol::status;
use crate::router::reason::Reason;
use crate::router::rules::Caching;
use crate::sql::Statement;
use crate::sql::env::SessionEnv;
use crate::sql::skipped::skipped_rows;
use crate::views::pattern::check_parameters;
use crate::views::{self, ViewRoute, secondary};
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use xxhash_rust::xxh3::Xxh3;

/// Column flag of the protocol: the integer has no sign.
const UNSIGNED_FLAG: u16 = 32;

/// A view's answer is held whole before its first byte is sent, so that a failure can still become the base tables' answer.
const VIEW_ANSWER_BYTES_MAX: usize = 8 << 20;

/// A read that may be answered from elsewhere, with its text apart from the client's buffer.
pub(super) struct Question<'a> {
    /// What it is.
    pub statement: &'a Arc<Statement>,
    /// Its text; of an execution, the text that was prepared.
    pub text: &'a [u8],
    /// The parameters of an execution in the binary protocol.
    pub bound: Option<&'a Bound>,
    /// Bytes of the request.
    pub bytes_in: u64,
}

/// What came of looking for a better answer.
pub(super) enum Tried {
    /// The client has it.
    Answered,
    /// The backend must answer.
    Not {
        /// Why.
        reason: Reason,
        /// The backend's answer is to be kept.
        fill: Option<Box<Fill<crate::binlog::Binlog>>>,
        /// The session's variables, where they were looked at.
        env: Option<Arc<SessionEnv>>,
    },
}

impl Tried {
    /// The backend must answer, and nothing was looked at.
    pub fn not(reason: Reason) -> Self {
        Self::Not {
            reason,
            fill: None,
            env: None,
        }
    }
}

impl Session {
    /// Looks for a kept result and for a view, in this order, and sends what it finds.
    pub(super) async fn try_better(
        &mut self,
        question: &Question<'_>,
        timing: &mut Timing,
    ) -> Result<Tried, SessionError> {
        if let Err(reason) = self.state.allows_other_answers() {
            return Ok(Tried::not(reason));
        }
        let Some(env) = self.env().await? else {
            return Ok(Tried::not(Reason::Environment("unknown")));
        };
        let rooms = self.worker.rooms.clone();
        if rooms.binlog.is_of_another(env.variable("server_uuid")) {
            // The address leads elsewhere since this session connected: nothing proven there holds here.
            return Ok(Tried::not(Reason::NotFresh("gate_other_server")));
        }
        let request = Request {
            statement: question.statement,
            text: question.text,
            parameters: question.bound.map(Bound::key),
            env: &env,
            caps: self.client.capabilities,
            is_chosen: self.caching().is_some(),
        };
        let (mut reason, mut fill) = match self.consider(&request) {
            Err(reason) => (reason, None),
            Ok(wanted) => match Box::pin(rooms.cache.lookup(wanted)).await {
                // The wait may have seen the address move to another server.
                _ if rooms.binlog.is_of_another(env.variable("server_uuid")) => {
                    (Reason::NotFresh("other_server"), None)
                }
                Lookup::Hit(hit) => match self.found_rows(question, hit.rows) {
                    Some(found) => {
                        self.send_hit(&hit, question, timing).await?;
                        self.traces.served_elsewhere(found);
                        self.ties.cleared();
                        return Ok(Tried::Answered);
                    }
                    None => (Reason::NotCacheable("rows_skipped"), None),
                },
                Lookup::Fill(fill) => (Reason::CacheMiss, Some(fill)),
                Lookup::Bypass(skip) => (Reason::NotFresh(skip.label()), None),
            },
        };
        if question.statement.aggregate {
            match self.view_route(question, &env) {
                Err(refusal) if fill.is_none() => reason = Reason::ViewRefused(refusal),
                Err(_) => {}
                Ok(route) => {
                    match Box::pin(self.answer_from_view(&route, question, &env, &mut fill, timing))
                        .await?
                    {
                        Ok(()) => return Ok(Tried::Answered),
                        Err(why) => reason = why,
                    }
                }
            }
        }
        Ok(Tried::Not {
            reason,
            fill,
            env: Some(env),
        })
    }

    /// Whether the cache takes a request, by what a rule says and by itself.
    fn consider(&self, request: &Request<'_>) -> Result<Wanted, Reason> {
        if let Some((Caching::Never, rule)) = self.caching() {
            return Err(Reason::RuleNoCache(rule));
        }
        let considered = self.worker.rooms.cache.consider(request);
        considered.map_err(|skip| Reason::NotCacheable(skip.label()))
    }

    /// The view for a question, or the label of the rule that keeps it on the base tables.
    pub(super) fn view_route(
        &self,
        question: &Question<'_>,
        env: &Arc<SessionEnv>,
    ) -> Result<ViewRoute, &'static str> {
        let mut scratch = self.worker.scratch.borrow_mut();
        scratch.run(question.text, self.lex_mode());
        let asked = views::Question {
            statement: question.statement,
            text: question.text,
            scratch: &scratch,
            schema: env.schema.as_deref().unwrap_or_default(),
            env,
        };
        self.worker
            .rooms
            .views
            .route(&asked)
            .map_err(|refusal| refusal.label())
    }

    async fn send_hit(
        &mut self,
        hit: &Hit,
        question: &Question<'_>,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        timing.sent = Instant::now();
        timing.first_byte = Some(timing.sent);
        timing.last_byte = timing.sent;
        let summary = Summary {
            rows: hit.rows,
            status: hit.status,
            bytes: hit.packets.len() as u64,
            ..Summary::default()
        };
        self.send_own(
            &hit.packets,
            question,
            ServedBy::Cache,
            Reason::CacheHit,
            &summary,
            timing,
        )
        .await
    }

    /// Sends an answer that did not come from the session's backend connection. That knows nothing of it, which is for the caller to
    /// note: `Traces`.
    async fn send_own(
        &mut self,
        packets: &[u8],
        question: &Question<'_>,
        served_by: ServedBy,
        reason: Reason,
        summary: &Summary,
        timing: &mut Timing,
    ) -> Result<(), SessionError> {
        self.client
            .send(packets)
            .await
            .map_err(SessionError::ClientIo)?;
        timing.ended = Instant::now();
        let execution = Execution {
            statement: Some(question.statement),
            served_by,
            reason,
            timing,
            summary,
            bytes_in: question.bytes_in,
            text: Some(question.text),
        };
        self.observer.ends(&self.worker, &execution);
        Ok(())
    }

    /// Runs the rewritten statement, if the view is proven to equal its base table, and sends its rows under the columns of the
    /// client's own statement. The inner error: the backend must answer, and why.
    async fn answer_from_view(
        &mut self,
        route: &ViewRoute,
        question: &Question<'_>,
        env: &SessionEnv,
        fill: &mut Option<Box<Fill<crate::binlog::Binlog>>>,
        timing: &mut Timing,
    ) -> Result<Result<(), Reason>, SessionError> {
        let rooms = self.worker.rooms.clone();
        // Columns and privileges first, the proof after them: what changed in between shows in the proof.
        let grants = rooms.binlog.grant_epoch();
        let Some(columns) = self.columns_for(route, question, env).await? else {
            return Ok(Err(Reason::ViewFailed("columns")));
        };
        if let Err(reason) = prove(&rooms, route, grants).await {
            return Ok(Err(reason));
        }
        let parameters = match view_parameters(route, question) {
            Ok(parameters) => parameters,
            Err(why) => return Ok(Err(Reason::ViewRefused(why))),
        };
        let answer = match self.run_on_service(route, env, parameters.as_deref()).await {
            Ok(answer) => answer,
            Err(why) => return Ok(Err(Reason::ViewFailed(why))),
        };
        timing.last_byte = Instant::now();
        timing.first_byte = Some(timing.last_byte);
        let same_types = question.bound.is_none() || same_binary_types(&columns, &answer);
        if answer.parts.columns.len() != columns.count
            || answer.summary.warnings != 0
            || !same_types
        {
            return Ok(Err(Reason::ViewFailed("shape")));
        }
        let status = self.state.status & (status::AUTOCOMMIT | status::NO_BACKSLASH_ESCAPES);
        let Some(packets) = compose(&columns, &answer, self.client.capabilities, status) else {
            return Ok(Err(Reason::ViewFailed("shape")));
        };
        let Some(found) = self.found_rows(question, answer.parts.row_count) else {
            return Ok(Err(Reason::ViewFailed("rows_skipped")));
        };
        let view_us =
            u64::try_from((timing.last_byte - timing.started).as_micros()).unwrap_or(u64::MAX);
        let summary = Summary {
            rows: answer.parts.row_count,
            status,
            bytes: packets.len() as u64,
            result_sets: 1,
            columns: columns.count as u32,
            ..Summary::default()
        };
        self.send_own(
            &packets,
            question,
            ServedBy::View,
            Reason::View,
            &summary,
            timing,
        )
        .await?;
        self.traces.served_elsewhere(found);
        self.ties.cleared();
        rooms.views.served(route, view_us);
        if let Some(mut fill) = fill.take() {
            fill.push(&packets);
            fill.complete(&summary, view_us);
        }
        Ok(Ok(()))
    }

    /// What FOUND_ROWS() says after an answer of so many rows: the rows that an OFFSET left out count as well. `None`: an answer
    /// without rows does not tell how many there were to leave out.
    fn found_rows(&self, question: &Question<'_>, rows: u64) -> Option<u64> {
        if !question.statement.digest_text.contains("LIMIT") {
            return Some(rows);
        }
        let bound = question.bound.map(Bound::values).unwrap_or_default();
        let parameter = |at: usize| whole_number(bound.get(at)?);
        match skipped_rows(question.text, self.lex_mode(), parameter)? {
            0 => Some(rows),
            skipped if rows > 0 => {
                Some(rows.saturating_add(skipped)).filter(|n| *n <= FOUND_ROWS_MAX)
            }
            _ => None,
        }
    }

    /// Runs the rewritten statement on a service connection; the error is a label.
    async fn run_on_service(
        &mut self,
        route: &ViewRoute,
        env: &SessionEnv,
        parameters: Option<&[u8]>,
    ) -> Result<Answer, &'static str> {
        let worker = self.worker.clone();
        let mut service = worker.service().await.map_err(|error| {
            tracing::warn!(%error, "no service connection for a view");
            "no_service_connection"
        })?;
        if !service.is_on(env) {
            return Err("other_server");
        }
        let client = &self.client;
        let asked = service.answer(&route.sql, parameters, env, VIEW_ANSWER_BYTES_MAX);
        let mut answer = client
            .wait_for_backend(asked)
            .await
            .map_err(|_| "no_answer")?;
        if let (Err(ExchangeError::Refused { code, .. }), Some(fallback)) =
            (&answer, &route.fallback_sql)
            && secondary::is_refusal(*code)
        {
            worker.rooms.views.failed(route, *code);
            let asked = service.answer(fallback, parameters, env, VIEW_ANSWER_BYTES_MAX);
            answer = client
                .wait_for_backend(asked)
                .await
                .map_err(|_| "no_answer")?;
        }
        match answer {
            Ok(answer) => {
                worker.keep_service(service);
                Ok(answer)
            }
            Err(ExchangeError::Refused { code, message, .. }) => {
                tracing::info!(
                    code,
                    message,
                    "a view's statement was refused; the base tables answer"
                );
                worker.rooms.views.failed(route, code);
                worker.keep_service(service);
                Err("refused")
            }
            Err(error) => {
                tracing::info!(%error, "a view's statement failed; the base tables answer");
                Err("connection")
            }
        }
    }

    /// The columns of the client's own statement: remembered for this user, these variables and grants, this build of the view and
    /// everything of the statement that a column's name or type can depend on.
    async fn columns_for(
        &mut self,
        route: &ViewRoute,
        question: &Question<'_>,
        env: &SessionEnv,
    ) -> Result<Option<Rc<Columns>>, SessionError> {
        let key = self.columns_key(route, question, env);
        if let Some(known) = self.worker.columns.borrow().get(&key) {
            return Ok(Some(known.clone()));
        }
        let Some(columns) = self.columns_of(question.text).await? else {
            return Ok(None);
        };
        let columns = Rc::new(columns);
        self.worker.remember_columns(key, columns.clone());
        Ok(Some(columns))
    }

    fn columns_key(&self, route: &ViewRoute, question: &Question<'_>, env: &SessionEnv) -> u128 {
        let mut hash = Xxh3::with_seed(self.worker.columns_seed);
        hash.write(&question.statement.id.0.to_le_bytes());
        hash.write(&env.fingerprint().to_le_bytes());
        hash.write(&self.worker.rooms.binlog.grant_epoch().to_le_bytes());
        hash.write(&route.view.view.id.to_le_bytes());
        hash.write(&route.view.view.generation.to_le_bytes());
        hash.write(&route.view.epoch.to_le_bytes());
        // Names of columns without an alias are the text of their expressions, so all of the select list counts.
        hash.write(
            question
                .text
                .get(..select_list_bytes(question.text))
                .unwrap_or(question.text),
        );
        hash.digest128()
    }
}

/// Proves that a view equals its base table now, and that nobody's rights changed since `grants`.
async fn prove(rooms: &Rooms, route: &ViewRoute, grants: u64) -> Result<(), Reason> {
    let (view, wait) = (&route.view, rooms.views.gate_wait());
    let proof = rooms
        .binlog
        .unchanged_since(&view.tables, view.position, view.epoch, wait);
    if let Err(error) = proof.await {
        rooms.views.gate_closed(route, &error);
        return Err(Reason::NotFresh(error.label()));
    }
    match rooms.binlog.grant_epoch() == grants {
        true => Ok(()),
        false => Err(Reason::NotFresh("grants")),
    }
}

/// The parameter block for the rewritten statement; `None` for a text.
fn view_parameters(
    route: &ViewRoute,
    question: &Question<'_>,
) -> Result<Option<Vec<u8>>, &'static str> {
    let Some(bound) = question.bound else {
        return Ok(None);
    };
    check_parameters(&route.checks, &bound.values()).map_err(|refusal| refusal.label())?;
    bound
        .reordered(&route.parameters)
        .map(Some)
        .ok_or("parameter_position")
}

/// Whether every column of the view's answer has the type that the client was told when it prepared: binary rows are written by type.
fn same_binary_types(columns: &Columns, answer: &Answer) -> bool {
    let told = packets(&columns.packets).map(|(_, payload)| columns.packets.get(payload));
    let sent = answer
        .parts
        .columns
        .iter()
        .map(|payload| answer.bytes.get(payload.clone()));
    let of = |payload: Option<&[u8]>| {
        let column = ColumnDefinition::parse(payload?).ok()?;
        Some((
            column.type_code,
            column.flags & UNSIGNED_FLAG,
            column.decimals,
        ))
    };
    told.zip(sent)
        .all(|(told, sent)| match (of(told), of(sent)) {
            (Some((a, ..)), Some((b, ..))) if is_string(a) && is_string(b) => true,
            (Some(told), Some(sent)) => told == sent,
            _ => false,
        })
}

/// Types whose binary form is bytes with a length.
fn is_string(code: u8) -> bool {
    matches!(code, 15 | column_type::VAR_STRING | column_type::STRING)
}

/// Bytes of a text before its outermost FROM: the select list and what stands before it. All of the text if there is no such word,
/// or if there are comments, in which such a word would mislead.
pub(super) fn select_list_bytes(text: &[u8]) -> usize {
    let has_comment = memchr::memchr(b'#', text).is_some()
        || memchr::memmem::find(text, b"/*").is_some()
        || memchr::memmem::find(text, b"--").is_some();
    if has_comment {
        return text.len();
    }
    let mut depth = 0u32;
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (quote, byte) {
            (Some(b'\'' | b'"'), b'\\') => at += 1,
            (Some(q), _) if q == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"' | b'`') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b'f' | b'F') if depth == 0 && is_word_from(text, at) => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn is_word_from(text: &[u8], at: usize) -> bool {
    let is_name = |byte: Option<&u8>| {
        byte.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | 0x80..))
    };
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    text.get(at..at + 4)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"from"))
        && !is_name(before)
        && before != Some(&b'.')
        && !is_name(text.get(at + 4))
}

/// One answer out of the columns of the client's statement and the rows of the view's, for a client with these capabilities.
fn compose(columns: &Columns, answer: &Answer, capabilities: u32, status: u16) -> Option<Vec<u8>> {
    let rows = answer.bytes.get(answer.parts.rows.clone())?;
    let mut out = Vec::with_capacity(columns.packets.len() + rows.len() + 64);
    let mut sequence = 1;
    write_packet_with(&mut out, &mut sequence, |out| {
        put_lenenc(out, columns.count as u64)
    });
    out.extend_from_slice(&columns.packets);
    let deprecates_eof = capabilities & capability::DEPRECATE_EOF != 0;
    if !deprecates_eof {
        EofPacket {
            warnings: 0,
            status,
        }
        .write(&mut out, &mut sequence);
    }
    out.extend_from_slice(rows);
    if deprecates_eof {
        OkPacket {
            status,
            ..OkPacket::default()
        }
        .write(&mut out, &mut sequence, capabilities, true);
    } else {
        EofPacket {
            warnings: 0,
            status,
        }
        .write(&mut out, &mut sequence);
    }
    renumber(&mut out, &mut 1);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_select_list_ends_at_the_outermost_from() {
        let check = |text: &str, head: &str| {
            assert_eq!(select_list_bytes(text.as_bytes()), head.len(), "{text}")
        };
        check("select a from t", "select a ");
        check(
            "SELECT EXTRACT(YEAR FROM d), 'x from y' FROM t",
            "SELECT EXTRACT(YEAR FROM d), 'x from y' ",
        );
        check("select t.from_x, xfrom from t", "select t.from_x, xfrom ");
        check("select 'it\\'s from' from t", "select 'it\\'s from' ");
        check("select `a\\`, `from`, 1 from t", "select `a\\`, `from`, 1 ");
        check("select 1", "select 1");
        check("select /* from */ 1 from t", "select /* from */ 1 from t");
    }
}
