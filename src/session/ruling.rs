//! Query rules in a session: what they say of the statement at hand is asked here, done here as far as it is an answer or a wait, and
//! kept until the statement has ended. Never matches: that is `router::rules`.

use super::Session;
use super::error::SessionError;
use super::observe::Execution;
use super::relay::Timing;
use crate::analytics::{Digest, ServedBy};
use crate::protocol::command::{Command, QueryBody};
use crate::protocol::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX, write_packet};
use crate::protocol::relay::{ErrInfo, Expect, Summary};
use crate::router::limits::{CountedBy, Gate, Permit, Place, Probe, Refusal};
use crate::router::reason::Reason;
use crate::router::rules::{
    Caching, Class, Compiled, Decision, Route, Rules, Said, Verdict, Who, check_text, parameters,
};
use crate::sql::placement::Hint;
use crate::sql::{Kind, Statement};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// An error of the server's that says that a statement took too long: by `max_execution_time`, and MariaDB's `max_statement_time`.
const TIMEOUTS: [u16; 2] = [TIMED_OUT, 1969];

/// The server's error for a statement that took too long.
pub(super) const TIMED_OUT: u16 = 3024;

/// A command that the server does not do.
const NOT_ALLOWED: u16 = 1148;

/// What the rules made of a statement.
pub(super) enum Ruled {
    /// It goes its way, with what the rules say of it in [`Session::ruling`].
    Goes,
    /// The client has its answer: an error.
    Refused,
    /// Another statement stands in its place in the client's buffer, of this length; it goes its way.
    Replaced(usize),
}

/// The class of a session's client, and whom it was found for.
pub(super) struct Known {
    class: Class,
    user: Arc<str>,
    app: Box<str>,
    schema: Arc<str>,
}

/// What the rules say of the statement at hand, and the places that it takes up.
pub(super) struct Ruling {
    rules: Arc<Rules>,
    said: Arc<Decision>,
    digest: u128,
    permits: Vec<Permit>,
    probes: Vec<(Arc<Gate>, Option<Probe>)>,
    /// It was ended at its deadline, or the server said that it took too long.
    timed_out: bool,
    /// The server has answered it.
    is_answered: bool,
}

impl Ruling {
    fn new(rules: Arc<Rules>, said: Arc<Decision>, statement: &Statement) -> Self {
        Self {
            rules,
            said,
            digest: statement.id.0,
            permits: Vec::new(),
            probes: Vec::new(),
            timed_out: false,
            is_answered: false,
        }
    }

    /// What is said of the cache.
    pub fn caching(&self) -> Said<Caching> {
        self.said.cache
    }

    /// How long the server may take.
    pub fn timeout_ms(&self) -> Said<u64> {
        self.said.timeout_ms
    }

    /// The server has answered: with this error, if with one.
    pub fn answered(&mut self, error: Option<u16>) {
        self.is_answered = true;
        self.timed_out |= error.is_some_and(|code| TIMEOUTS.contains(&code));
    }

    /// It was ended at its deadline.
    pub fn overdue(&mut self) {
        self.timed_out = true;
        let rule = self.said.timeout_ms.and_then(|(_, name)| {
            let mut matched = self.said.matched.iter().filter_map(|at| self.rules.at(*at));
            matched.find(|rule| rule.name == name)
        });
        if let Some(rule) = rule {
            rule.times_out();
        }
    }

    /// The statement has ended, one way or the other.
    pub fn ends(self) {
        let now = Instant::now();
        for (gate, probe) in self.probes {
            // An answer from elsewhere, or none at all, says nothing of how long it takes.
            if self.is_answered {
                gate.ended(self.digest, self.timed_out, probe, now);
            }
        }
    }
}

/// A statement as the rules are to see it.
pub(super) struct Subject<'a> {
    /// What it is.
    pub statement: &'a Arc<Statement>,
    /// Of an execution, the text that was prepared; `None`: it was too long to be held.
    pub prepared: Option<Arc<[u8]>>,
    /// Which command it came by.
    pub command: Command,
    /// Bytes of that command's body.
    pub length: usize,
}

/// An error of a rule.
struct Objection {
    rule: &'static str,
    reason: Reason,
    code: u16,
    sqlstate: [u8; 5],
    text: String,
}

impl Session {
    /// What the rules say of the cache.
    pub(super) fn caching(&self) -> Said<Caching> {
        self.ruling.as_ref().and_then(|ruling| ruling.caching())
    }

    /// The server that the rules ask for, in the words of hints.
    pub(super) fn routed(&self) -> Option<Hint> {
        let (route, _) = self.ruling.as_ref()?.said.route?;
        Some(match route {
            Route::Writer => Hint::Writer,
            Route::Reader => Hint::Reader,
        })
    }

    /// Asks the rules about a statement, and does what they say before it runs. Called only where there are rules.
    pub(super) async fn ask_rules(
        &mut self,
        subject: &Subject<'_>,
        timing: &mut Timing,
    ) -> Result<Ruled, SessionError> {
        let rules = self.worker.rooms.rules.now();
        let said = self.decide(&rules, subject.statement, |session| {
            session.text_of(subject)
        });
        let Some(said) = said else {
            return Ok(Ruled::Goes);
        };
        self.note_hits(&rules, &said, subject);
        if let Some(rule) = said.block.and_then(|place| rules.at(place)) {
            let objection = Objection {
                rule: rule.name,
                reason: Reason::RuleBlocks(rule.name),
                code: NOT_ALLOWED,
                sqlstate: *b"42000",
                text: rule.rule.block.clone(),
            };
            return self.object(&rules, objection, subject, timing).await;
        }
        let mut ruling = Ruling::new(rules.clone(), said.clone(), subject.statement);
        // What ends a transaction gives places up, and must not wait for one.
        if subject.command != Command::StmtPrepare && !is_exempt(subject.statement.kind) {
            for place in &said.gates {
                let Some(rule) = rules.at(*place) else {
                    continue;
                };
                if let Err(objection) = self.pass(rule, subject.statement, &mut ruling).await? {
                    return self.object(&rules, objection, subject, timing).await;
                }
            }
        }
        let replaced = match said.rewrite.and_then(|place| rules.at(place)) {
            Some(rule) if subject.command != Command::StmtExecute => {
                match self.replace(rule, subject) {
                    Ok(replaced) => replaced,
                    Err(why) => {
                        let objection = rewrite_fails(rule.name, &why);
                        return self.object(&rules, objection, subject, timing).await;
                    }
                }
            }
            _ => None,
        };
        self.ruling = Some(Box::new(ruling));
        Ok(replaced.map_or(Ruled::Goes, Ruled::Replaced))
    }

    /// What the rules say, for EXPLAIN ROUTE: nothing is counted, nothing is held back. It is in force until the explanation is over.
    pub(super) fn rules_on(&mut self, statement: &Statement, text: &[u8]) -> Option<RulesOn> {
        self.ruling = None;
        if !self.worker.rooms.rules.is_any() {
            return None;
        }
        let rules = self.worker.rooms.rules.now();
        let said = self.decide(&rules, statement, |_| Some(text))?;
        let ruling = Ruling::new(rules.clone(), said.clone(), statement);
        self.ruling = Some(Box::new(ruling));
        Some(RulesOn { rules, said })
    }

    fn decide<'s>(
        &'s mut self,
        rules: &Rules,
        statement: &Statement,
        text: impl FnOnce(&'s Self) -> Option<&'s [u8]>,
    ) -> Option<Arc<Decision>> {
        let class = self.class(rules);
        let verdict = self
            .worker
            .rules
            .borrow_mut()
            .verdict(rules, class, statement);
        match verdict {
            Verdict::Nothing => None,
            Verdict::Decided(said) => Some(said),
            Verdict::AskText(places) => rules.decide(&places, text(self)).map(Arc::new),
        }
    }

    /// The text that a rule is to see.
    fn text_of<'s>(&'s self, subject: &'s Subject<'_>) -> Option<&'s [u8]> {
        match subject.command {
            Command::StmtExecute => subject.prepared.as_deref(),
            Command::Query => {
                let body = self.body(subject.length);
                let query = QueryBody::parse(body, self.client.capabilities).ok()?;
                Some(query.text)
            }
            _ => Some(self.body(subject.length)),
        }
    }

    /// The class of this client now.
    fn class(&mut self, rules: &Rules) -> Class {
        let user = self.backend.user();
        let (app, schema) = (self.observer.app(), &self.state.schema);
        let mut memo = self.worker.rules.borrow_mut();
        if let Some(known) = &self.known_class
            && memo.knows(rules, known.class)
            && *known.user == *user
            && *known.app == *app
            && known.schema == *schema
        {
            return known.class;
        }
        let who = Who {
            user,
            app,
            schema,
            address: self.client.peer.ip(),
        };
        let class = memo.class(rules, &who);
        self.known_class = Some(Box::new(Known {
            class,
            user: self.backend.user_arc(),
            app: app.into(),
            schema: schema.clone(),
        }));
        class
    }

    fn note_hits(&self, rules: &Rules, said: &Decision, subject: &Subject<'_>) {
        let digest = Digest::from(&**subject.statement);
        for rule in said.matched.iter().filter_map(|place| rules.at(*place)) {
            rule.hit();
            let now = Instant::now();
            self.worker
                .recorder
                .decision("rule", rule.name, Some(&digest), now);
            if rule.rule.log {
                tracing::info!(
                    rule = rule.name,
                    user = self.backend.user(),
                    app = self.observer.app(),
                    client = %self.client.peer,
                    digest = %subject.statement.id,
                    command = subject.command.name(),
                    "a rule matched"
                );
            }
        }
    }

    /// Takes the places that a rule's limits and breaker ask for, and waits for them as long as it may.
    async fn pass(
        &mut self,
        rule: &Compiled,
        statement: &Statement,
        ruling: &mut Ruling,
    ) -> Result<Result<(), Objection>, SessionError> {
        let Some(gate) = &rule.gate else {
            return Ok(Ok(()));
        };
        match gate.allows(statement.id.0, Instant::now()) {
            Ok(probe) => ruling.probes.push((gate.clone(), probe)),
            Err(why) => return Ok(Err(held_back(rule, why, "", statement))),
        }
        if !gate.is_limit() {
            return Ok(Ok(()));
        }
        let key = match gate.by() {
            CountedBy::Rule => "*".to_owned(),
            CountedBy::User => self.backend.user().to_owned(),
            CountedBy::App => self.observer.app().to_owned(),
            CountedBy::Digest => statement.id.to_string(),
            CountedBy::Client => self
                .client
                .peer
                .ip()
                .map_or("localhost".to_owned(), |ip: IpAddr| ip.to_string()),
        };
        let bucket = gate.bucket(&key);
        let began = Instant::now();
        match bucket.begins(began) {
            Err(why) => return Ok(Err(held_back(rule, why, self.backend.user(), statement))),
            Ok(None) => {}
            Ok(Some(delay)) => {
                let slept = self.client.wait_for_pool(tokio::time::sleep(delay.wait));
                slept.await?;
                bucket.waited(delay.wait, false);
            }
        }
        let permit = match bucket.enters() {
            Err(why) => Err(why),
            Ok(Place::Taken(permit)) => Ok(permit),
            Ok(Place::Queued(turn)) => {
                let most = gate.queue().saturating_sub(began.elapsed());
                let turn = tokio::time::timeout(most, turn);
                let turn = self.client.wait_for_pool(turn).await?;
                bucket.waited(began.elapsed(), turn.is_err());
                turn.ok().and_then(Result::ok).ok_or(Refusal::Late)
            }
        };
        match permit {
            Ok(permit) => {
                ruling.permits.push(permit);
                Ok(Ok(()))
            }
            Err(why) => Ok(Err(held_back(rule, why, self.backend.user(), statement))),
        }
    }

    /// Puts what a rule writes in the place of the client's statement. Answers with its length.
    fn replace(&mut self, rule: &Compiled, subject: &Subject<'_>) -> Result<Option<usize>, String> {
        let mode = self.lex_mode();
        let before = self.text_of(subject).unwrap_or_default();
        let Some(text) = rule.rewritten(before) else {
            return Ok(None);
        };
        let (_, wanted) = check_text(&text, mode)?;
        let given = parameters(before, mode);
        if subject.command == Command::StmtPrepare && wanted != given {
            return Err(format!(
                "has {wanted} parameters where the client has {given}"
            ));
        }
        let mut payload = vec![subject.command.byte()];
        if subject.command == Command::Query {
            let body = self.body(subject.length);
            if let Ok(query) = QueryBody::parse(body, self.client.capabilities) {
                payload.extend_from_slice(query.prefix);
            }
        }
        payload.extend_from_slice(&text);
        let most = self.worker.rooms.config.client.statement_bytes_max;
        if payload.len() > most.min(PAYLOAD_BYTES_MAX - 1) {
            return Err(format!("has more than {most} bytes"));
        }
        let mut packet = Vec::with_capacity(payload.len() + HEADER_BYTES);
        write_packet(&mut packet, &mut 0, &payload);
        self.client
            .input
            .replace_front(HEADER_BYTES + subject.length, &packet);
        Ok(Some(payload.len()))
    }

    /// Answers the statement with a rule's error.
    async fn object(
        &mut self,
        rules: &Rules,
        objection: Objection,
        subject: &Subject<'_>,
        timing: &mut Timing,
    ) -> Result<Ruled, SessionError> {
        let refusing = rules.all.iter().find(|rule| rule.name == objection.rule);
        if let Some(rule) = refusing {
            rule.refuses();
        }
        if subject.command == Command::StmtExecute {
            self.forget_long_data().await?;
        }
        self.client.input.consume(HEADER_BYTES + subject.length);
        let Objection {
            reason,
            code,
            sqlstate,
            text,
            ..
        } = objection;
        self.client
            .send_error(code, &sqlstate, &text)
            .await
            .map_err(SessionError::ClientIo)?;
        self.last_ok = false;
        match self.traces.found_rows {
            Some(found) => self.traces.served_elsewhere(found),
            None => self.traces.forget(),
        }
        timing.ended = Instant::now();
        timing.sent = timing.ended;
        timing.last_byte = timing.ended;
        let summary = Summary {
            error: Some(ErrInfo {
                code,
                sqlstate,
                message: text.into_bytes(),
            }),
            ..Summary::default()
        };
        let execution = Execution {
            statement: Some(subject.statement),
            served_by: ServedBy::Local,
            reason,
            timing,
            summary: &summary,
            bytes_in: (HEADER_BYTES + subject.length) as u64,
            text: None,
        };
        self.observer.ends(&self.worker, &execution);
        Ok(Ruled::Refused)
    }

    /// An execution that never reaches the server leaves its long data there, where it would become part of the next one.
    async fn forget_long_data(&mut self) -> Result<(), SessionError> {
        let Some(prepared) = self
            .statement_id()
            .and_then(|id| self.prepared.get_mut(&id))
        else {
            return Ok(());
        };
        let Some(server_id) = prepared.reset_long_data(self.backend.serial) else {
            return Ok(());
        };
        self.long_data = self.long_data.saturating_sub(1);
        let id = server_id.to_le_bytes();
        let asked = self.backend.run(Command::StmtReset, &id, Expect::Simple);
        let answer = Box::pin(self.client.wait_for_backend(asked)).await?;
        answer.map(drop).map_err(SessionError::from)
    }

    /// The statement at hand has ended: its places are free.
    pub(super) fn end_ruling(&mut self) {
        if let Some(ruling) = self.ruling.take() {
            ruling.ends();
        }
    }
}

/// What the rules say of a statement that is only asked about.
pub(super) struct RulesOn {
    rules: Arc<Rules>,
    /// What they say.
    pub said: Arc<Decision>,
}

impl RulesOn {
    /// Names and values for EXPLAIN ROUTE; `sent`: the text that the server would get.
    pub fn rows(&self, sent: &[u8]) -> Vec<(&'static str, String)> {
        let said = &self.said;
        let names = |places| self.rules.names(places).join(", ");
        let mut rows = vec![("rules", names(&said.matched))];
        if let Some(rule) = said.rewrite.and_then(|place| self.rules.at(place)) {
            let sent = String::from_utf8_lossy(sent);
            rows.push(("rule_rewrite", format!("{}: {sent}", rule.name)));
        }
        if let Some((route, rule)) = said.route {
            rows.push(("rule_route", format!("{rule}: {}", route.label())));
        }
        if let Some((caching, rule)) = said.cache {
            rows.push(("rule_cache", format!("{rule}: {}", caching.label())));
        }
        if let Some((ms, rule)) = said.timeout_ms {
            rows.push(("rule_timeout_ms", format!("{rule}: {ms}")));
        }
        if !said.gates.is_empty() {
            rows.push(("rule_limits", names(&said.gates)));
        }
        rows
    }

    /// The name of the one that answers with an error.
    pub fn blocks(&self) -> Option<&'static str> {
        let rule = self.said.block.and_then(|place| self.rules.at(place));
        rule.map(|rule| rule.name)
    }

    /// What is sent instead of `text`.
    pub fn rewritten(&self, text: &[u8]) -> Option<Vec<u8>> {
        let rule = self.said.rewrite.and_then(|place| self.rules.at(place));
        rule?.rewritten(text)
    }
}

/// Statements that limits leave alone: they end what others wait for, or are the way out.
fn is_exempt(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::Xa
            | Kind::Unlock
            | Kind::Deallocate
            | Kind::Kill
            | Kind::ExplainRoute
    )
}

fn rewrite_fails(rule: &'static str, why: &str) -> Objection {
    Objection {
        rule,
        reason: Reason::RuleRewrite(rule),
        code: 1064,
        sqlstate: *b"42000",
        text: format!("Tidegate's rule {rule} rewrites this statement, and what it writes {why}"),
    }
}

/// What a client is told whose statement may not begin.
fn held_back(rule: &Compiled, why: Refusal, user: &str, statement: &Statement) -> Objection {
    let name = rule.name;
    let (code, sqlstate, text) = match why {
        Refusal::Rate => (
            1226,
            *b"42000",
            format!(
                "User '{user}' has exceeded the 'rate_per_s_max' resource (current value: {}; Tidegate's rule {name})",
                rule.rule.rate_per_s_max
            ),
        ),
        Refusal::Running | Refusal::Late => {
            let waited = match why {
                Refusal::Late => format!(" after a wait of {} ms", rule.rule.queue_ms_max),
                _ => String::new(),
            };
            (
                1203,
                *b"42000",
                format!(
                    "User {user} already has more than 'concurrent_max' statements running (current value: {}; Tidegate's rule {name}){waited}",
                    rule.rule.concurrent_max
                ),
            )
        }
        Refusal::Open(ms) => (
            TIMED_OUT,
            *b"HY000",
            format!(
                "Query execution was interrupted, maximum statement execution time exceeded too often (Tidegate's rule {name}: digest {} is not run for another {ms} ms)",
                statement.id
            ),
        ),
    };
    let reason = match why {
        Refusal::Open(_) => Reason::RuleBreaker(name),
        _ => Reason::RuleLimit(name),
    };
    Objection {
        rule: name,
        reason,
        code,
        sqlstate,
        text,
    }
}
