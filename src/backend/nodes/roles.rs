//! From what was seen of each node to what each node is: one writer, or why there is none, and who may be read from. Pure: time
//! comes in as an argument. Follows what the servers say of themselves; never makes one of them anything.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Health, NoWriter, Role, Why};

/// So many looks in a row must fail before a node that was up is taken for down.
pub const FAILURES_DOWN: u32 = 2;

/// A thread of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// At work.
    Running,
    /// Trying to reach the source.
    Connecting,
    /// Stopped, by somebody or by an error.
    Stopped,
}

/// Where a node copies from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// `@@server_uuid` of the source, once it was reached.
    pub source: Option<Arc<str>>,
    /// The thread that fetches.
    pub fetching: Thread,
    /// Whether the thread that applies runs.
    pub applying: bool,
    /// How far behind it is in milliseconds; `None`: nobody knows.
    pub lag_ms: Option<u64>,
    /// Everything that was fetched is applied.
    pub is_done: bool,
}

impl Channel {
    fn is_stopped(&self) -> bool {
        self.fetching == Thread::Stopped && !self.applying
    }
}

/// A node's place in a group (Group Replication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The group's name.
    pub group: Arc<str>,
    /// `MEMBER_STATE` is ONLINE.
    pub is_online: bool,
    /// `MEMBER_ROLE` is PRIMARY.
    pub is_primary: bool,
    /// More than half of the members that it knows are reachable.
    pub has_majority: bool,
    /// Age of the transaction that it applies now, in milliseconds; 0: none.
    pub lag_ms: u64,
}

/// What a look at a node found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When the look began: what it found held at some moment since.
    pub begun: Instant,
    /// When it was known whether the node takes writes: that held at some moment before.
    pub answered: Instant,
    /// `@@server_uuid`.
    pub server_uuid: Option<Arc<str>>,
    /// It takes no writes.
    pub read_only: bool,
    /// `offline_mode`.
    pub offline: bool,
    /// Where it copies from.
    pub channels: Vec<Channel>,
    /// Its place in a group, if it is in one.
    pub member: Option<Member>,
    /// It lacks something that the writer had so long ago; 0: nothing that is known.
    pub lacks_ms: u64,
}

/// All that was seen of a node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last look that succeeded.
    pub last: Option<Observation>,
    /// Looks that failed since.
    pub failures: u32,
    /// Why the last of those failed.
    pub failure: Option<Why>,
    /// When the first of the looks in a row that found it taking writes had its answer.
    pub writable_since: Option<Instant>,
    /// Its share of the reads.
    pub weight: u32,
}

impl Seen {
    /// Takes in a look. True if the node takes writes now and did not before, or the other way round.
    pub fn add(&mut self, look: Result<Observation, Why>) -> bool {
        match look {
            Ok(found) => {
                let before = self.writable_since;
                self.writable_since = match found.read_only || found.offline {
                    true => None,
                    false => before.or(Some(found.answered)),
                };
                self.failures = 0;
                self.failure = None;
                self.last = Some(found);
                before.is_some() != self.writable_since.is_some()
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.failure = Some(why);
                // What it was does not count any more: coming back, it has to be seen taking writes anew.
                self.is_down() && self.writable_since.take().is_some()
            }
        }
    }

    fn is_down(&self) -> bool {
        self.last.is_none() || self.failures >= FAILURES_DOWN
    }

    fn health(&self) -> Health {
        let Some(last) = self.last.as_ref().filter(|_| !self.is_down()) else {
            return Health::Down(self.failure.unwrap_or(Why::NotProbed));
        };
        match &last.member {
            _ if last.offline => Health::Draining(Why::Offline),
            Some(member) if !member.is_online => Health::Draining(Why::GroupState),
            Some(member) if !member.has_majority => Health::Draining(Why::GroupMinority),
            _ => Health::Up,
        }
    }

    /// The last look, unless the node is down or should not be used.
    fn usable(&self) -> Option<&Observation> {
        self.last.as_ref().filter(|_| self.health() == Health::Up)
    }
}

/// Who takes the writes, by places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// This one.
    One(usize),
    /// Nobody.
    None(NoWriter),
    /// More than one.
    Several(Vec<usize>),
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it does.
    pub role: Role,
    /// Whether it may be used.
    pub health: Health,
    /// Why it gets no reads; the writer is no reader, though it may be read from.
    pub no_reads: Option<Why>,
    /// How far its copy is behind.
    pub lag_ms: Option<u64>,
}

/// The outcome for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who takes the writes.
    pub writer: Chosen,
    /// One for each node.
    pub nodes: Vec<Verdict>,
}

/// What the operator set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A reader that is further behind gets no reads.
    pub lag_max: Duration,
}

/// Judges what was seen.
pub fn decide(seen: &[Seen], limits: Limits) -> Decision {
    let writer = writer(seen);
    let verdict = |at: usize, node: &Seen| {
        let health = node.health();
        let role = match (&writer, health) {
            (_, Health::Down(_)) => Role::Unknown,
            (Chosen::One(one), _) if *one == at => Role::Writer,
            (Chosen::Several(all), _) if all.contains(&at) => Role::Writer,
            _ => Role::Reader,
        };
        let lag_ms = match role {
            Role::Reader => node.last.as_ref().and_then(lag_ms),
            _ => None,
        };
        let no_reads = match role {
            Role::Writer if matches!(writer, Chosen::Several(_)) => Some(Why::SplitBrain),
            Role::Writer => health.why(),
            _ => no_reads(seen, at, &writer, limits),
        };
        Verdict {
            role,
            health,
            no_reads,
            lag_ms,
        }
    };
    let nodes = seen.iter().enumerate().map(|(at, node)| verdict(at, node));
    Decision {
        nodes: nodes.collect(),
        writer,
    }
}

fn writer(seen: &[Seen]) -> Chosen {
    // At the start each is waited for: one alone may not be the only one.
    if seen
        .iter()
        .any(|node| node.failures == 0 && node.last.is_none())
    {
        return Chosen::None(NoWriter::NotProbed);
    }
    let looks = || {
        seen.iter()
            .enumerate()
            .filter_map(|(at, node)| Some((at, node.usable()?)))
    };
    let writable: Vec<(usize, &Observation)> =
        looks().filter(|(_, look)| !look.read_only).collect();
    let mut takers: Vec<(usize, &Observation)> = writable
        .iter()
        .copied()
        .filter(|(_, look)| is_taker(look, &writable, seen))
        .collect();
    if takers.is_empty() && writable.len() > 1 && all_copy_from_each_other(&writable) {
        takers.clone_from(&writable);
    }
    // Members of one group that all take writes are one writer: it is the group that keeps them in step.
    let group = |look: &Observation| look.member.as_ref().map(|member| member.group.clone());
    if let [(_, first), rest @ ..] = takers.as_slice()
        && group(first).is_some()
        && rest.iter().all(|(_, look)| group(look) == group(first))
    {
        takers.truncate(1);
    }
    match takers.as_slice() {
        [] if looks().next().is_none() => Chosen::None(NoWriter::AllDown),
        [] if !writable.is_empty() => Chosen::None(NoWriter::OnlyReplicas),
        [] => Chosen::None(NoWriter::AllReadOnly),
        [(one, _)] => Chosen::One(*one),
        several => {
            // One that was asked before another was known to take writes may have stopped since: it is asked again first.
            let is_stale = |(at, look): &(usize, &Observation)| {
                several.iter().any(|(other, _)| {
                    let known = seen.get(*other).and_then(|other| other.writable_since);
                    other != at && known > Some(look.begun)
                })
            };
            match several.iter().any(is_stale) {
                true => Chosen::None(NoWriter::Changing),
                false => Chosen::Several(several.iter().map(|(at, _)| *at).collect()),
            }
        }
    }
}

/// Whether a node that takes writes is where they belong: it copies from no node of the cluster. A source that nobody knows yet
/// may be one. A copy whose threads were both stopped is one no more, unless its source takes writes.
fn is_taker(look: &Observation, writable: &[(usize, &Observation)], seen: &[Seen]) -> bool {
    if let Some(member) = &look.member {
        return member.is_primary;
    }
    let known: HashSet<&str> = seen
        .iter()
        .filter_map(|node| node.last.as_ref()?.server_uuid.as_deref())
        .collect();
    let all_known = seen.iter().all(|node| node.last.is_some());
    look.channels.iter().all(|channel| match &channel.source {
        source if channel.is_stopped() => !writable
            .iter()
            .any(|(_, other)| source.is_some() && *source == other.server_uuid),
        Some(source) => all_known && !known.contains(&**source),
        None => false,
    })
}

fn all_copy_from_each_other(writable: &[(usize, &Observation)]) -> bool {
    writable.iter().all(|(_, look)| {
        look.channels.iter().any(|channel| {
            writable
                .iter()
                .any(|(_, other)| channel.source.is_some() && channel.source == other.server_uuid)
        })
    })
}

fn lag_ms(look: &Observation) -> Option<u64> {
    let told = match &look.member {
        Some(member) => Some(member.lag_ms),
        None if look.channels.is_empty() => None,
        None => look
            .channels
            .iter()
            .map(|channel| channel.lag_ms)
            .try_fold(0, |worst, lag| lag.map(|lag| worst.max(lag))),
    };
    told.map(|told| told.max(look.lacks_ms))
}

/// Why a node that is not the writer gets no reads.
fn no_reads(seen: &[Seen], at: usize, writer: &Chosen, limits: Limits) -> Option<Why> {
    let node = seen.get(at)?;
    if let Some(why) = node.health().why() {
        return Some(why);
    }
    let last = node.last.as_ref()?;
    if node.failures > 0 {
        return node.failure;
    }
    if node.weight == 0 {
        return Some(Why::NoWeight);
    }
    if last.member.is_none() {
        if last.channels.is_empty() {
            return Some(Why::NoSource);
        }
        let is_writer_there = matches!(writer, Chosen::One(_));
        for channel in &last.channels {
            // While there is no writer there is nothing to fetch: a copy that has applied all it got is as good as it was.
            let waits =
                channel.fetching == Thread::Connecting && !is_writer_there && channel.is_done;
            if !channel.applying || !(channel.fetching == Thread::Running || waits) {
                return Some(Why::ReplicationStopped);
            }
        }
        if let Chosen::One(one) = writer
            && !leads_to(seen, at, *one)
        {
            return Some(Why::NoSource);
        }
    }
    let lag = lag_ms(last).map(Duration::from_millis);
    (lag > Some(limits.lag_max)).then_some(Why::Lagging)
}

/// Whether what a node copies comes from the writer in the end, as far as the sources are known.
fn leads_to(seen: &[Seen], from: usize, writer: usize) -> bool {
    let look = |at: usize| seen.get(at).and_then(|node| node.last.as_ref());
    let mut next = vec![from];
    let mut met = HashSet::new();
    while let Some(at) = next.pop() {
        if at == writer {
            return true;
        }
        let Some(look) = look(at).filter(|_| met.insert(at)) else {
            continue;
        };
        for channel in &look.channels {
            let source = seen.iter().position(|node| {
                let uuid = node
                    .last
                    .as_ref()
                    .and_then(|last| last.server_uuid.as_ref());
                uuid.is_some() && uuid == channel.source.as_ref()
            });
            match source {
                Some(source) => next.push(source),
                // Somebody in between that we were not told of.
                None => return true,
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
