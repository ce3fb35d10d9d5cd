//! Looks at every node from time to time, and at once when somebody could not use one or another has changed its role. What was
//! decided is published in one step; whoever has to let go of the old writer first is asked before that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::observe::{self, Failure, Look, Sample};
use super::roles::{self, Chosen, Decision, FAILURES_DOWN, Limits, Seen, Verdict};
use super::{Current, Health, NoWriter, Node, NodeEvent, NodeState, Nodes, Role, Writer};
use crate::config;
use crate::shutdown::Shutdown;

/// Pause after a look that failed, while the node is not taken for down yet.
const AGAIN: Duration = Duration::from_millis(100);
/// Shortest pause between two looks, however many want one.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// A look may take as long as the pause between two, within these: a server that is busy is not gone.
const LOOK_MAX: Duration = Duration::from_millis(2_000);
const LOOK_MIN: Duration = Duration::from_millis(1_000);
/// Moments at which it is remembered what the writer had.
const SAMPLES_MAX: usize = 32;

/// Hears who will be the writer, before anybody else may know.
pub type Before = Box<dyn Fn(&Writer) + Send + Sync>;

struct Monitor {
    nodes: Arc<Nodes>,
    limits: Limits,
    /// Pause between two looks.
    probe: Duration,
    before: Before,
    board: Mutex<Board>,
}

/// All that was seen.
struct Board {
    seen: Vec<Seen>,
    /// What the writer had, oldest first.
    samples: VecDeque<Sample>,
    /// The newest sample that each node is known to have had.
    has: Vec<Option<Instant>>,
    /// The last writer.
    writer: Option<usize>,
}

impl Nodes {
    /// Looks at the nodes until `stop`, on the runtime of the caller; one alone is not looked at.
    pub fn watch(self: &Arc<Self>, cluster: &config::Cluster, before: Before, stop: &Shutdown) {
        if !self.is_cluster() {
            return;
        }
        let weight = |node: &Arc<Node>| Seen {
            weight: node.weight,
            ..Seen::default()
        };
        let monitor = Arc::new(Monitor {
            limits: Limits {
                lag_max: Duration::from_millis(cluster.lag_ms_max),
            },
            probe: Duration::from_millis(cluster.probe_ms),
            before,
            board: Mutex::new(Board {
                seen: self.all.iter().map(weight).collect(),
                samples: VecDeque::new(),
                has: vec![None; self.all.len()],
                writer: None,
            }),
            nodes: self.clone(),
        });
        for (at, node) in self.all.iter().enumerate() {
            tokio::spawn(follow(monitor.clone(), at, node.clone(), stop.clone()));
        }
    }
}

impl Board {
    fn writer_is(&mut self, one: usize) {
        if self.writer != Some(one) {
            self.writer = Some(one);
            self.samples.clear();
            self.has.fill(None);
        }
    }

    /// Remembers what the writer had. Sets that are too long to be asked for are not compared with.
    fn sample(&mut self, at: Instant, executed: Option<Arc<str>>, pause: Duration) {
        let Some(executed) = executed else {
            return self.samples.clear();
        };
        let last = self.samples.back().map(|(last, _)| *last);
        if last.is_some_and(|last| at.saturating_duration_since(last) < pause) {
            return;
        }
        self.samples.push_back((at, executed));
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }
}

/// Looks at one node until `stop`.
async fn follow(monitor: Arc<Monitor>, at: usize, node: Arc<Node>, stop: Shutdown) {
    let limit = monitor.probe.clamp(LOOK_MIN, LOOK_MAX);
    let mut eye = None;
    loop {
        let samples = monitor.samples_for(at);
        let begun = Instant::now();
        let settings = node.control.settings();
        let look = tokio::select! {
            () = stop.requested() => return,
            look = observe::look(&mut eye, &settings, &samples, limit) => look,
        };
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        node.counters.looks.fetch_add(1, Relaxed);
        match look {
            Ok(_) => node.counters.look_us.store(us, Relaxed),
            Err(_) => {
                node.counters.failures.fetch_add(1, Relaxed);
            }
        }
        let pause = monitor.take_in(at, look);
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(pause) => {}
            () = node.wanted.notified() => tokio::time::sleep(PAUSE_MIN).await,
        }
    }
}

impl Monitor {
    /// What the writer had since the last time that this node is known to have had it all.
    fn samples_for(&self, at: usize) -> Vec<Sample> {
        let board = self.board.lock();
        let has = board.has.get(at).copied().flatten();
        let newer = board.samples.iter().filter(|(when, _)| Some(*when) > has);
        newer.cloned().collect()
    }

    /// Takes in a look, decides, publishes. Returns the pause before the next one.
    fn take_in(&self, at: usize, look: Result<Look, Failure>) -> Duration {
        let mut board = self.board.lock();
        let board = &mut *board;
        let mut executed = None;
        let (look, begun, said) = match look {
            Ok(look) => {
                if let Some(has) = board.has.get_mut(at) {
                    *has = (*has).max(look.has);
                }
                executed = look.executed;
                let begun = look.found.begun;
                (Ok(look.found), begun, look.blind.map(Into::into))
            }
            Err((why, text)) => (Err(why), Instant::now(), Some(text.into())),
        };
        let Some(seen) = board.seen.get_mut(at) else {
            return self.probe;
        };
        let flipped = seen.add(look);
        let failures = seen.failures;
        let decision = roles::decide(&board.seen, self.limits);
        if let Chosen::One(one) = decision.writer {
            board.writer_is(one);
            if one == at && failures == 0 {
                // Often enough to tell what is too far behind, and over a time that is longer.
                board.sample(begun, executed, self.probe.max(self.limits.lag_max / 8));
            }
        }
        self.publish(&decision, &board.seen, (at, said));
        let is_changing = decision.writer == Chosen::None(NoWriter::Changing);
        if flipped || is_changing {
            let others = self
                .nodes
                .all
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at);
            others.for_each(|(_, node)| node.wanted.notify_one());
        }
        match failures {
            _ if is_changing => PAUSE_MIN,
            1..FAILURES_DOWN => AGAIN.min(self.probe),
            _ => self.probe,
        }
    }

    fn publish(&self, decision: &Decision, seen: &[Seen], said: (usize, Option<Arc<str>>)) {
        let all = &self.nodes.all;
        let name = |at: &usize| all.get(*at).map(|node| node.name.clone());
        let writer = match &decision.writer {
            Chosen::One(one) => match all.get(*one) {
                Some(node) => Writer::One(node.clone()),
                None => return,
            },
            Chosen::None(why) => Writer::None(*why),
            Chosen::Several(several) => Writer::Several(several.iter().filter_map(name).collect()),
        };
        let was = self.nodes.writer();
        let mut has_changed = !is_same(&was, &writer);
        if has_changed {
            (self.before)(&writer);
            tell_writer(&was, &writer);
            self.nodes.note(of_writer(&writer));
        }
        let is_settled = decision.writer != Chosen::None(NoWriter::Changing);
        for (at, node) in all.iter().enumerate() {
            let (Some(verdict), Some(seen)) = (decision.nodes.get(at), seen.get(at)) else {
                continue;
            };
            let heard = (said.0 == at).then_some(&said.1);
            if let Some(event) = update(node, *verdict, seen, heard, is_settled) {
                self.nodes.note(event);
                has_changed = true;
            }
        }
        if !has_changed {
            return;
        }
        let readers = decision.nodes.iter().zip(all).filter(|(verdict, node)| {
            verdict.role == Role::Reader
                && verdict.no_reads.is_none()
                && node.state.load().no_reads.is_none()
        });
        let readers = readers.map(|(_, node)| node.clone()).collect();
        self.nodes
            .current
            .store(Arc::new(Current { writer, readers }));
        self.nodes.changes.send_modify(|count| *count += 1);
    }
}

fn of_writer(writer: &Writer) -> NodeEvent {
    NodeEvent {
        at: SystemTime::now(),
        node: match writer {
            Writer::One(node) => node.name.to_string(),
            Writer::None(_) => String::new(),
            Writer::Several(names) => names.join(", "),
        },
        role: Role::Writer.label(),
        state: writer.label(),
        reason: None,
        lag_ms: None,
        error: None,
    }
}

/// Brings a node's state up to date. What has changed, if others have to know.
fn update(
    node: &Node,
    verdict: Verdict,
    seen: &Seen,
    heard: Option<&Option<Arc<str>>>,
    is_settled: bool,
) -> Option<NodeEvent> {
    let was = node.state.load_full();
    let mut now = NodeState::clone(&was);
    now.health = verdict.health;
    now.lag_ms = verdict.lag_ms;
    // While roles change nobody has got one, and nobody has lost his.
    if is_settled || verdict.health != Health::Up {
        now.role = verdict.role;
        now.no_reads = verdict.no_reads;
    }
    if let Some(last) = &seen.last {
        now.server_uuid.clone_from(&last.server_uuid);
    }
    if let Some(Some(error)) = heard {
        if seen.failures == 0 && was.error.as_ref() != Some(error) {
            // A look that succeeded, without the answer to one of its questions.
            tracing::warn!(node = %node.name, %error, "this node cannot be asked for all that tells its role and lag");
        }
        now.error = Some(error.clone());
    }
    let is_other = (was.role, was.health) != (now.role, now.health);
    let has_changed = is_other || was.no_reads != now.no_reads;
    if is_other {
        now.since = Instant::now();
    }
    if has_changed {
        node.counters.changes.fetch_add(1, Relaxed);
        tell_node(node, &now);
    }
    if now.health != Health::Up {
        node.pool.drop_idle(None);
    }
    let event = has_changed.then(|| NodeEvent {
        at: SystemTime::now(),
        node: node.name.to_string(),
        role: now.role.label(),
        state: now.health.label(),
        reason: now.health.why().or(now.no_reads),
        lag_ms: now.lag_ms,
        error: now.health.why().and(now.error.clone()),
    });
    if now != *was {
        node.state.store(Arc::new(now));
    }
    event
}

fn is_same(left: &Writer, right: &Writer) -> bool {
    match (left, right) {
        (Writer::One(left), Writer::One(right)) => left.id == right.id,
        (Writer::None(left), Writer::None(right)) => left == right,
        (Writer::Several(left), Writer::Several(right)) => left == right,
        _ => false,
    }
}

fn tell_writer(was: &Writer, now: &Writer) {
    let reason = now.label();
    match (was, now) {
        (Writer::None(_) | Writer::Several(_), Writer::One(node)) | (_, Writer::One(node)) => {
            tracing::info!(node = %node.name, address = %node.target.address, was = was.label(), "writes go to this node");
        }
        (_, Writer::None(NoWriter::NotProbed | NoWriter::Changing)) => {
            tracing::info!(reason, "it is not clear who takes the writes");
        }
        (_, Writer::None(_)) => tracing::warn!(reason, "no node takes writes"),
        (_, Writer::Several(names)) => {
            let nodes = names.join(", ");
            tracing::error!(reason, %nodes, "several nodes take writes: all writes are refused");
        }
    }
}

fn tell_node(node: &Node, now: &NodeState) {
    tracing::info!(
        node = %node.name,
        address = %node.target.address,
        role = now.role.label(),
        health = now.health.label(),
        reason = now.health.why().or(now.no_reads).map_or("", super::Why::label),
        lag_ms = now.lag_ms,
        error = now.health.why().and(now.error.as_deref()),
        "a node has changed"
    );
}
