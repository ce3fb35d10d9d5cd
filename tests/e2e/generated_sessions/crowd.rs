//! Runs programs: each alone at the server, then all at once through the proxy, and compares every answer.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::{Answer, End};
use super::play::{Crowd, Place, play};
use super::program::{Execution, Program, Step};
use super::stage::{self, Hand, Touched};
use super::variables::{self, Variable};
use crate::support::process::http_get;
use crate::support::{MySql, Tidegate};

/// Clients at once.
pub(super) const CLIENTS: usize = 30;
/// Connections of the proxy's pool, for all of them together.
pub(super) const POOL_CONNECTIONS: usize = 3;
/// Programs that run at once directly: nothing is shared there, more only crowd the processor.
const DIRECT_AT_ONCE: usize = 4;
/// The longest that one answer may take at the server, and through the proxy, where in a full pool it includes the programs that
/// come first.
const PATIENCE: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(90)];

/// The server, the proxy before it, and one hand for each client's schemas.
pub(super) struct Rig {
    pub server: MySql,
    /// One that copies from it, where reads go.
    reader: Option<MySql>,
    pub gate: Tidegate,
    pub variables: Vec<Variable>,
    hands: Vec<Hand>,
    /// What the last program in each place may have changed.
    touched: Vec<Touched>,
    /// Crowds that were put together around one program.
    pub crowds: usize,
    /// Time in plays directly and proxied.
    pub spent: [Duration; 2],
}

/// Where the two first differ.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub program: Program,
    /// 0: the login; else the step of that number, counted from 1.
    pub answer: usize,
    pub direct: Option<Answer>,
    pub proxied: Option<Answer>,
}

impl Rig {
    pub(super) fn new() -> Rig {
        Rig::of(stage::server(1), None)
    }

    /// With a reader: the proxy sends it what it may answer.
    pub(super) fn with_reader() -> Rig {
        let (server, reader) = (stage::server(1), stage::server(2));
        stage::follow(&reader, &server);
        let rig = Rig::of(server, Some(reader));
        let begin = Instant::now();
        let seen = || {
            let page = http_get(rig.gate.http_port, "/metrics");
            page.is_some_and(|(_, page)| page.contains("tidegate_node_reads{node=\"reader\"} 1"))
        };
        while !seen() {
            assert!(begin.elapsed() < PATIENCE[1], "{}", rig.gate.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        rig
    }

    fn of(server: MySql, reader: Option<MySql>) -> Rig {
        let mut gate = Tidegate::of(&server);
        if let Some(reader) = &reader {
            let node = format!(
                "[{{name = \"reader\", address = \"127.0.0.1:{}\"}}]",
                reader.port
            );
            gate = gate
                .set("nodes", &node)
                .set("cluster.probe_ms", "1000")
                .set("cluster.lag_ms_max", "600000")
                .set("cluster.reads", "\"readers\"")
                .set("cluster.gtid_wait_ms_max", "10000");
        }
        let gate = gate
            .set("pool.connections_max", &POOL_CONNECTIONS.to_string())
            .set("pool.wait_ms_max", "600000")
            // On a machine that is busy with more than this a login may take long.
            .set("backend.connect_ms_max", "60000")
            // Both ask for the session's environment first, and README knows: FOUND_ROWS() after a read that fails shows it.
            .set("views.enabled", "false")
            .set("cache.enabled", "false")
            .start();
        let mut hands: Vec<Hand> = (0..CLIENTS)
            .map(|_| Hand::new(&server, reader.is_some()))
            .collect();
        for (place, hand) in hands.iter_mut().enumerate() {
            hand.build(&stage::schema(place));
        }
        let variables = variables::discover(&server);
        assert!(
            variables.len() > 100,
            "only {} variables can be set",
            variables.len()
        );
        Rig {
            server,
            reader,
            gate,
            variables,
            hands,
            touched: vec![Touched::ALL; CLIENTS],
            crowds: 0,
            spent: [Duration::ZERO; 2],
        }
    }

    /// Runs at most [`CLIENTS`] programs, both ways; what differs, by the program's place among them.
    pub(super) fn compare(&mut self, programs: &[Program]) -> Vec<(usize, Difference)> {
        let direct = self.directly(programs);
        let proxied = self.proxied(programs);
        let pairs = direct.into_iter().zip(proxied).enumerate();
        pairs
            .filter_map(|(at, (direct, proxied))| {
                Some((at, difference(&programs[at], direct, proxied)?))
            })
            .collect()
    }

    /// Each alone at the server; the answers of each.
    pub(super) fn directly(&mut self, programs: &[Program]) -> Vec<Vec<Answer>> {
        let start = Instant::now();
        let port = self.server.port;
        let answers = self.all(programs, DIRECT_AT_ONCE, |place, program| {
            play(place_of(port, &stage::schema(place), None), program)
        });
        self.spent[0] += start.elapsed();
        answers
    }

    /// All at once through the proxy; the answers of each.
    pub(super) fn proxied(&mut self, programs: &[Program]) -> Vec<Vec<Answer>> {
        let start = Instant::now();
        let answers = self.crowded(self.gate.app_port, programs);
        self.spent[1] += start.elapsed();
        answers
    }

    /// The control: whether the first `count` programs, the same one, give other answers than alone in such a crowd at the server
    /// itself. Some things there depend on what else it does (on its caches of tables and triggers, for one).
    pub(super) fn is_loose(&mut self, programs: &[Program], count: usize) -> bool {
        let alone = self.directly(&programs[..count]);
        let crowded = self.crowded(self.server.port, programs);
        let mut pairs = alone.iter().zip(&crowded);
        pairs.any(|(alone, crowded)| alone != crowded)
    }

    /// All at once.
    fn crowded(&mut self, port: u16, programs: &[Program]) -> Vec<Vec<Answer>> {
        let crowd = Crowd::default();
        // Programs with KILL run one at a time: each needs two connections, and two that hold one would wait for each other.
        let killers = Mutex::new(());
        self.all(programs, CLIENTS, |place, program| {
            let _turn = program.kills().then(|| killers.lock());
            play(place_of(port, &stage::schema(place), Some(&crowd)), program)
        })
    }

    /// Restores every program's schemas, then plays them, and waits until nothing of them is left.
    fn all(
        &mut self,
        programs: &[Program],
        at_once: usize,
        player: impl Fn(usize, &Program) -> Vec<Answer> + Sync,
    ) -> Vec<Vec<Answer>> {
        self.restore(programs);
        if let Some(reader) = &self.reader {
            stage::wait_copied(reader, &self.server);
        }
        let mut answers: Vec<Vec<Answer>> = programs.iter().map(|_| Vec::new()).collect();
        let mut work: Vec<_> = programs.iter().zip(&mut answers).enumerate().collect();
        let share = work.len().div_ceil(at_once).max(1);
        let player = &player;
        std::thread::scope(|scope| {
            for part in work.chunks_mut(share) {
                scope.spawn(move || {
                    for (place, (program, answers)) in part {
                        **answers = player(*place, program);
                    }
                });
            }
        });
        self.hands[0].quiesce();
        answers
    }

    /// Takes back what was done in the places of these programs, and notes what they may do.
    fn restore(&mut self, programs: &[Program]) {
        let touched: Vec<Touched> = programs.iter().map(Touched::by).collect();
        let hands = self.hands.iter_mut().zip(&mut self.touched).enumerate();
        let mut work: Vec<_> = hands.zip(touched).collect();
        let share = work.len().div_ceil(DIRECT_AT_ONCE).max(1);
        std::thread::scope(|scope| {
            for part in work.chunks_mut(share) {
                scope.spawn(move || {
                    for ((place, (hand, touched)), next) in part {
                        hand.restore(&stage::schema(*place), **touched);
                        **touched = *next;
                    }
                });
            }
        });
    }
}

fn place_of<'a>(port: u16, schema: &'a str, crowd: Option<&'a Crowd>) -> Place<'a> {
    Place {
        port,
        schema,
        crowd,
        patience: PATIENCE[usize::from(crowd.is_some())],
    }
}

/// The first answers that are not the same.
pub(super) fn difference(
    program: &Program,
    direct: Vec<Answer>,
    proxied: Vec<Answer>,
) -> Option<Difference> {
    let count = direct.len().max(proxied.len());
    let differs = |at: &usize| direct.get(*at) != proxied.get(*at);
    // A hang is never right, even where both hang.
    let hangs = |at: &usize| {
        proxied
            .get(*at)
            .is_some_and(|answer| answer.end == End::Hang)
    };
    let answer = (0..count).find(|at| differs(at) || hangs(at))?;
    Some(Difference {
        program: program.clone(),
        answer,
        direct: direct.get(answer).cloned(),
        proxied: proxied.get(answer).cloned(),
    })
}

impl Answer {
    /// As it would be in another client's place: the names of the schemas are as long in each.
    pub(super) fn moved(&self, from: usize, to: usize) -> Answer {
        let (from, to) = (stage::schema(from), stage::schema(to));
        let mut moved = self.clone();
        for (_, payload) in &mut moved.packets {
            for at in 0..payload.len().saturating_sub(from.len() - 1) {
                if payload[at..].starts_with(from.as_bytes()) {
                    payload[at..at + to.len()].copy_from_slice(to.as_bytes());
                }
            }
        }
        moved
    }
}

impl Difference {
    /// What kind it is: two programs that show the same fault have the same, mostly.
    pub(super) fn kind(&self) -> String {
        let step = self.answer.checked_sub(1).map(|at| &self.program.steps[at]);
        let step = step.map_or("login".to_owned(), |step| step.to_string());
        let nothing = (Vec::new(), (0, Vec::new()));
        let packets = |answer: &Option<Answer>| {
            answer
                .as_ref()
                .map_or(&nothing.0, |answer| &answer.packets)
                .clone()
        };
        let (direct, proxied) = (packets(&self.direct), packets(&self.proxied));
        let count = direct.len().max(proxied.len());
        let at = (0..count).find(|at| direct.get(*at) != proxied.get(*at));
        let shown = |packets: &[(u8, Vec<u8>)]| {
            let packet = at.and_then(|at| packets.get(at)).unwrap_or(&nothing.1);
            let text = packet.1.escape_ascii().to_string();
            let letters = text.chars().filter(|letter| !letter.is_ascii_digit());
            letters.take(70).collect::<String>()
        };
        let ends =
            [&self.direct, &self.proxied].map(|answer| answer.as_ref().map(|answer| answer.end));
        let word = step.split(' ').next().unwrap_or_default();
        format!("{word} {ends:?} {} {}", shown(&direct), shown(&proxied))
    }
}

impl Difference {
    /// What of it README names as a limit of sharing. Nothing else passes.
    pub(super) fn known_limit(&self) -> Option<&'static str> {
        let at = self.answer.checked_sub(1)?;
        let step = self.program.steps.get(at)?;
        let before = self.program.steps.get(..at)?;
        if shows_warnings(step) && changes_types(before) {
            return Some("a statement whose values change their type");
        }
        if self.loses_warnings(step, before) {
            return Some("warnings of before, behind a statement that was prepared again");
        }
        let Step::Execute(number, execution) = step else {
            let calls = matches!(step, Step::Query(sql) if sql.starts_with("CALL "));
            return (calls && self.counts_only())
                .then_some("a CALL after a write that another connection ran");
        };
        let kinds = |e: &Execution| e.values.iter().map(|value| value.kind).collect::<Vec<_>>();
        let other_types = before.iter().any(|step| {
            matches!(step, Step::Execute(other, earlier) if other == number && kinds(earlier) != kinds(execution))
        });
        let calls = before
            .iter()
            .any(|step| matches!(step, Step::Prepare(other, sql) if other == number && sql.starts_with("CALL ")));
        match (other_types, calls && self.counts_only()) {
            (true, _) => Some("a statement whose values change their type"),
            (false, true) => Some("a CALL after a write that another connection ran"),
            (false, false) => None,
        }
    }

    /// The step shows warnings of a statement, and behind that the client changed its schema by COM_INIT_DB or sent long data: a
    /// statement that was on another connection had to be prepared for that, and a PREPARE takes warnings away.
    fn loses_warnings(&self, step: &Step, before: &[Step]) -> bool {
        let prepares = before.iter().any(|step| matches!(step, Step::Prepare(..)));
        let between = |step: &&Step| {
            let asks = matches!(step, Step::Query(sql) if sql.starts_with("SHOW COUNT") || sql.starts_with("SHOW WARN") || sql.starts_with("SHOW ERR"));
            asks || matches!(
                step,
                Step::Use(_)
                    | Step::LongData(..)
                    | Step::Pause
                    | Step::Ping
                    | Step::ResetStatement(_)
            )
        };
        let is_needed = |step: &Step| matches!(step, Step::Use(_) | Step::LongData(..));
        let shows = match step {
            Step::Query(sql) => ["WARNINGS", "ERRORS", "_count", "DIAGNOSTICS"]
                .iter()
                .any(|word| sql.contains(word)),
            Step::Use(_) | Step::Ping => true,
            _ => false,
        };
        let mut between = before.iter().rev().take_while(between);
        prepares && shows && (matches!(step, Step::Use(_)) || between.any(is_needed))
    }

    /// Both answers are one OK packet, and differ in the rows that it counts.
    fn counts_only(&self) -> bool {
        let ok = |answer: &Option<Answer>| match answer.as_ref()?.packets.as_slice() {
            [(_, payload)] if payload.first() == Some(&0) => payload.get(2..).map(<[u8]>::to_vec),
            _ => None,
        };
        let (direct, proxied) = (ok(&self.direct), ok(&self.proxied));
        direct.is_some() && direct == proxied
    }
}

fn shows_warnings(step: &Step) -> bool {
    matches!(step, Step::Query(sql) if sql.starts_with("SHOW WARN") || sql.starts_with("GET DIAG"))
}

/// Whether the last execution brought other types than one of the same statement before it.
fn changes_types(before: &[Step]) -> bool {
    let kinds = |e: &Execution| e.values.iter().map(|value| value.kind).collect::<Vec<_>>();
    let mut executions = before.iter().rev().filter_map(|step| match step {
        Step::Execute(number, execution) => Some((*number, kinds(execution))),
        _ => None,
    });
    let last = executions.next();
    last.is_some_and(|(number, kinds)| {
        executions.any(|(other, earlier)| other == number && earlier != kinds)
    })
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.answer.checked_sub(1).map(|at| &self.program.steps[at]) {
            None => writeln!(out, "at the login")?,
            Some(step) => writeln!(out, "at step {}: {step}", self.answer)?,
        }
        let (direct, proxied) = (self.direct.as_ref(), self.proxied.as_ref());
        writeln!(out, "directly: {}", shown(direct, proxied))?;
        writeln!(out, "proxied:  {}", shown(proxied, direct))?;
        write!(out, "{}", self.program)
    }
}

/// An answer's end, and its packets where the other one has not the same.
fn shown(answer: Option<&Answer>, other: Option<&Answer>) -> String {
    let Some(answer) = answer else {
        return "never asked".to_owned();
    };
    let mut text = format!("{:?}, {} packets", answer.end, answer.packets.len());
    for (at, packet) in answer.packets.iter().enumerate() {
        if other.is_none_or(|other| other.packets.get(at) != Some(packet)) {
            let start = &packet.1[..packet.1.len().min(160)];
            text.push_str(&format!("\n    {}: {}", packet.0, start.escape_ascii()));
        }
    }
    text
}
