//! The servers of the cluster: each with its own way there, its pool and its state; and who takes the writes and the reads now.
//! Never makes a server a writer: it follows.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::certificates::TlsError;
use super::control::{Control, ControlSettings};
use super::pool::Pool;
use super::target::Target;
use crate::config::{self, Config, NodeEntry};

pub mod monitor;
mod observe;
pub mod roles;

/// A node's place in the configuration: 0 is the server of `backend.url`, then those of `[[nodes]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u16);

impl NodeId {
    /// That of the server of `backend.url`.
    pub const FIRST: Self = Self(0);
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Writer,
    /// Has a copy.
    Reader,
    /// Not looked at yet, or not reached for so long that what it was does not count.
    Unknown,
}

impl Role {
    /// The word in tables and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a node is not used, or not for reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Nobody has looked yet.
    NotProbed,
    /// No connection.
    Unreachable,
    /// A connection, but no login.
    LoginRefused,
    /// It has as many connections as it takes.
    Full,
    /// It does not answer in time.
    Late,
    /// It answers with errors.
    Errors,
    /// `offline_mode` is on: it ends the connections of ordinary users.
    Offline,
    /// Its copy is behind by more than `cluster.lag_ms_max`.
    Lagging,
    /// The threads of replication do not run, so that nobody knows how far its copy is behind.
    ReplicationStopped,
    /// It takes no writes, and copies from nowhere.
    NoSource,
    /// Its weight is 0.
    NoWeight,
    /// It is in a group, but not ONLINE there.
    GroupState,
    /// Its part of the group has no majority.
    GroupMinority,
    /// It takes writes beside another node.
    SplitBrain,
}

impl Why {
    /// A stable word for tables, metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotProbed => "node_not_probed",
            Self::Unreachable => "node_unreachable",
            Self::LoginRefused => "node_login_refused",
            Self::Full => "node_full",
            Self::Late => "node_late",
            Self::Errors => "node_errors",
            Self::Offline => "node_offline",
            Self::Lagging => "node_lagging",
            Self::ReplicationStopped => "node_replication_stopped",
            Self::NoSource => "node_no_source",
            Self::NoWeight => "node_no_weight",
            Self::GroupState => "node_group_state",
            Self::GroupMinority => "node_group_minority",
            Self::SplitBrain => "node_split_brain",
        }
    }
}

/// Whether a node may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It may.
    Up,
    /// It answers, but nothing new may begin there.
    Draining(Why),
    /// It does not answer.
    Down(Why),
}

impl Health {
    /// The word in tables and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining(_) => "draining",
            Self::Down(_) => "down",
        }
    }

    /// Why it may not be used.
    pub fn why(self) -> Option<Why> {
        match self {
            Self::Up => None,
            Self::Draining(why) | Self::Down(why) => Some(why),
        }
    }
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeState {
    /// What it does.
    pub role: Role,
    /// Whether it may be used.
    pub health: Health,
    /// Why it gets no reads; `None`: it may get some.
    pub no_reads: Option<Why>,
    /// How far its copy is behind in milliseconds; `None`: not a copy, or unknown.
    pub lag_ms: Option<u64>,
    /// `@@server_uuid` at the last look that succeeded.
    pub server_uuid: Option<Arc<str>>,
    /// Since when role and health are these.
    pub since: Instant,
    /// The last error of a look.
    pub error: Option<Arc<str>>,
}

impl NodeState {
    fn new(role: Role, health: Health) -> Self {
        Self {
            role,
            health,
            no_reads: health.why(),
            lag_ms: None,
            server_uuid: None,
            since: Instant::now(),
            error: None,
        }
    }
}

/// What was counted of a node since start.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Looks.
    pub looks: AtomicU64,
    /// Those that failed.
    pub failures: AtomicU64,
    /// How long the last one took that did not fail, in microseconds.
    pub look_us: AtomicU64,
    /// Changes of role, of health, and of whether it gets reads.
    pub changes: AtomicU64,
}

/// One server of the cluster.
pub struct Node {
    /// Its place.
    pub id: NodeId,
    /// Its name in tables, metrics and logs.
    pub name: Arc<str>,
    /// How clients' connections get there.
    pub target: Arc<Target>,
    /// Those connections.
    pub pool: Arc<Pool>,
    /// The control plane's way to this very server.
    pub control: Arc<Control>,
    /// Its share of the reads.
    pub weight: u32,
    /// What is known of it.
    pub state: ArcSwap<NodeState>,
    /// What was counted.
    pub counters: NodeCounters,
    /// Somebody wants it looked at now.
    wanted: Notify,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("state", &*self.state.load())
            .finish_non_exhaustive()
    }
}

/// A change, for people who ask later what happened.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    /// When it was seen.
    pub at: SystemTime,
    /// The node; of the writer's changes: the writer, or all that take writes.
    pub node: String,
    /// `writer` when another takes the writes, or none or several do; else the node's role.
    pub role: &'static str,
    /// The node's health; of the writer's changes `writer_one` or why there is none.
    pub state: &'static str,
    /// Why it is not up, or gets no reads.
    pub reason: Option<Why>,
    /// How far it was behind.
    pub lag_ms: Option<u64>,
    /// The last error, when that is why it is not up.
    pub error: Option<Arc<str>>,
}

/// Why there is no writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoWriter {
    /// The nodes were not looked at yet.
    NotProbed,
    /// Roles are changing: some node was not looked at since another began to take writes.
    Changing,
    /// No node that answers takes writes.
    AllReadOnly,
    /// The nodes that take writes are replicas.
    OnlyReplicas,
    /// No node answers.
    AllDown,
}

impl NoWriter {
    /// A stable word for tables, metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotProbed => "writer_not_probed",
            Self::Changing => "writer_changing",
            Self::AllReadOnly => "writer_none_all_read_only",
            Self::OnlyReplicas => "writer_none_only_replicas",
            Self::AllDown => "writer_none_all_down",
        }
    }
}

/// Who takes the writes.
#[derive(Clone, Debug)]
pub enum Writer {
    /// This node.
    One(Arc<Node>),
    /// None.
    None(NoWriter),
    /// More than one, by their names: writes must go to none of them.
    Several(Arc<[Arc<str>]>),
}

impl Writer {
    /// The label when there are several.
    pub const SEVERAL: &str = "writer_several";

    /// A stable word for tables, metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::One(_) => "writer_one",
            Self::None(why) => why.label(),
            Self::Several(_) => Self::SEVERAL,
        }
    }
}

/// Who takes the writes and the reads: replaced as a whole.
struct Current {
    writer: Writer,
    readers: Vec<Arc<Node>>,
}

/// All of them; share it as `Arc<Nodes>`, ask it from any thread.
pub struct Nodes {
    all: Vec<Arc<Node>>,
    current: ArcSwap<Current>,
    changes: watch::Sender<u64>,
    /// The last changes, oldest first.
    events: Mutex<VecDeque<NodeEvent>>,
    events_max: usize,
}

impl Nodes {
    /// The nodes of a config. One alone is the writer for good and is not looked at; of several nothing is known yet.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(config: &Config) -> Result<Arc<Self>, TlsError> {
        let alone = config.nodes.is_empty();
        let mut all = vec![node(
            config,
            0,
            NodeEntry::FIRST,
            1,
            config.backend.clone(),
            alone,
        )?];
        for (entry, id) in config.nodes.iter().zip(1..) {
            let backend = config.backend.at(entry);
            all.push(node(config, id, &entry.name, entry.weight, backend, false)?);
        }
        let writer = match all.first() {
            Some(first) if alone => Writer::One(first.clone()),
            _ => Writer::None(NoWriter::NotProbed),
        };
        let current = Current {
            writer,
            readers: Vec::new(),
        };
        Ok(Arc::new(Self {
            all,
            current: ArcSwap::from_pointee(current),
            changes: watch::Sender::new(0),
            events: Mutex::default(),
            events_max: config.analytics.events_max,
        }))
    }

    /// Every node, in the order of their ids. Never empty.
    pub fn all(&self) -> &[Arc<Node>] {
        &self.all
    }

    /// Whether there is more than one: else nothing ever changes.
    pub fn is_cluster(&self) -> bool {
        self.all.len() > 1
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.all.get(usize::from(id.0))
    }

    /// Who takes the writes now.
    pub fn writer(&self) -> Writer {
        self.current.load().writer.clone()
    }

    /// Whether this node takes the writes, and it alone.
    pub fn takes_writes(&self, id: NodeId) -> bool {
        matches!(&self.current.load().writer, Writer::One(node) if node.id == id)
    }

    /// The reader for a seed: by weight among those that are up and not behind. The same seed gets the same one while that may be
    /// read from, whatever becomes of the others.
    pub fn reader(&self, seed: u64) -> Option<Arc<Node>> {
        let current = self.current.load();
        let best = current
            .readers
            .iter()
            .max_by(|left, right| draw(seed, left).total_cmp(&draw(seed, right)));
        best.cloned()
    }

    /// Moves whenever role or health of a node has changed, or whether it may be read from.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The last changes, oldest first.
    pub fn events(&self) -> Vec<NodeEvent> {
        self.events.lock().iter().cloned().collect()
    }

    fn note(&self, event: NodeEvent) {
        let mut events = self.events.lock();
        events.push_back(event);
        while events.len() > self.events_max {
            events.pop_front();
        }
    }

    /// Somebody could not use a node: it is looked at now.
    pub fn report_failure(&self, id: NodeId, why: &str) {
        if let Some(node) = self.node(id).filter(|_| self.is_cluster()) {
            tracing::debug!(node = %node.name, why, "a node could not be used");
            node.wanted.notify_one();
        }
    }
}

fn node(
    config: &Config,
    id: u16,
    name: &str,
    weight: u32,
    backend: config::Backend,
    is_alone: bool,
) -> Result<Arc<Node>, TlsError> {
    let state = match is_alone {
        true => NodeState::new(Role::Writer, Health::Up),
        false => NodeState::new(Role::Unknown, Health::Down(Why::NotProbed)),
    };
    Ok(Arc::new(Node {
        id: NodeId(id),
        name: name.into(),
        target: Arc::new(Target::new(&backend)?),
        pool: Pool::new(config.pool.clone()),
        control: Control::new(ControlSettings::of_backend(backend)),
        weight,
        state: ArcSwap::from_pointee(state),
        counters: NodeCounters::default(),
        wanted: Notify::new(),
    }))
}

/// A node's luck for a seed: the largest of all has each node as often as its weight says (weighted rendezvous).
fn draw(seed: u64, node: &Node) -> f64 {
    let mixed = mix(seed ^ mix(u64::from(node.id.0) + 1));
    // 53 bits, above 0 and below 1.
    let share = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(node.weight) / -share.ln()
}

/// Spreads neighbouring numbers over all numbers.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(weights: &[u32]) -> Arc<Nodes> {
        let mut config = Config::default();
        config.backend.url = "mysql://root@127.0.0.1:1".parse().unwrap();
        config.nodes = weights
            .iter()
            .zip(2..)
            .map(|(weight, port)| NodeEntry {
                name: format!("n{port}"),
                host: "127.0.0.1".to_owned(),
                port,
                weight: *weight,
            })
            .collect();
        Nodes::new(&config).unwrap()
    }

    fn read_from(nodes: &Nodes, ids: &[u16]) {
        let readers = ids
            .iter()
            .map(|id| nodes.node(NodeId(*id)).unwrap().clone());
        nodes.current.store(Arc::new(Current {
            writer: nodes.writer(),
            readers: readers.collect(),
        }));
    }

    #[test]
    fn one_alone_is_the_writer() {
        let nodes = cluster(&[]);
        assert!(matches!(nodes.writer(), Writer::One(node) if node.id == NodeId(0)));
        assert!(nodes.reader(1).is_none() && !nodes.is_cluster());
        let nodes = cluster(&[1]);
        assert_eq!(nodes.writer().label(), "writer_not_probed");
        assert_eq!(nodes.all()[1].target.address, "127.0.0.1:2");
        assert_eq!(nodes.all()[1].control.settings().backend.url.port, 2);
    }

    #[test]
    fn reads_are_spread_by_weight_and_stay_where_they_are() {
        let nodes = cluster(&[1, 3, 2]);
        read_from(&nodes, &[1, 2]);
        let chosen = |seed| nodes.reader(seed).unwrap().id.0;
        let before: Vec<u16> = (0..10_000).map(chosen).collect();
        let of_second = before.iter().filter(|id| **id == 2).count();
        assert!((7_300..7_700).contains(&of_second), "{of_second}");
        assert_eq!(before, (0..10_000).map(chosen).collect::<Vec<_>>());
        // One more: only what it gets moves.
        read_from(&nodes, &[1, 2, 3]);
        let after: Vec<u16> = (0..10_000).map(chosen).collect();
        assert!(
            before
                .iter()
                .zip(&after)
                .all(|(old, new)| old == new || *new == 3)
        );
        let of_third = after.iter().filter(|id| **id == 3).count();
        assert!((3_100..3_600).contains(&of_third), "{of_third}");
    }
}
