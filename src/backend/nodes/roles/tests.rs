//! Clusters as they are met, told by what each node says of itself.

use super::*;

const LIMITS: Limits = Limits {
    lag_max: Duration::from_secs(5),
};

/// A node called by its letter that takes writes and copies from nowhere.
fn writes(name: &str, begun: Instant) -> Observation {
    Observation {
        begun,
        answered: begun,
        server_uuid: Some(name.into()),
        read_only: false,
        offline: false,
        channels: Vec::new(),
        member: None,
        lacks_ms: 0,
    }
}

/// One that takes no writes and copies from another.
fn copies(name: &str, source: &str, begun: Instant) -> Observation {
    Observation {
        read_only: true,
        channels: vec![Channel {
            source: Some(source.into()),
            fetching: Thread::Running,
            applying: true,
            lag_ms: Some(0),
            is_done: true,
        }],
        ..writes(name, begun)
    }
}

fn member(name: &str, is_primary: bool, begun: Instant) -> Observation {
    Observation {
        read_only: !is_primary,
        member: Some(Member {
            group: "g".into(),
            is_online: true,
            is_primary,
            has_majority: true,
            lag_ms: 0,
        }),
        ..writes(name, begun)
    }
}

/// Nodes that were looked at once.
fn cluster(looks: Vec<Observation>) -> Vec<Seen> {
    let look = |look| {
        let mut seen = Seen {
            weight: 1,
            ..Seen::default()
        };
        seen.add(Ok(look));
        seen
    };
    looks.into_iter().map(look).collect()
}

fn writer_and_copies(now: Instant) -> Vec<Seen> {
    cluster(vec![
        writes("a", now),
        copies("b", "a", now),
        copies("c", "a", now),
    ])
}

fn chosen(seen: &[Seen]) -> Chosen {
    decide(seen, LIMITS).writer
}

fn reads(seen: &[Seen]) -> Vec<Option<Why>> {
    decide(seen, LIMITS)
        .nodes
        .iter()
        .map(|node| node.no_reads)
        .collect()
}

#[test]
fn one_takes_writes_and_two_copy() {
    let seen = writer_and_copies(Instant::now());
    let decision = decide(&seen, LIMITS);
    assert_eq!(decision.writer, Chosen::One(0));
    let roles: Vec<Role> = decision.nodes.iter().map(|node| node.role).collect();
    assert_eq!(roles, [Role::Writer, Role::Reader, Role::Reader]);
    assert_eq!(reads(&seen), [None; 3]);
    assert_eq!(decision.nodes[1].lag_ms, Some(0));
    assert_eq!(decision.nodes[0].lag_ms, None);
}

#[test]
fn nothing_is_known_before_somebody_looked() {
    let seen = vec![Seen::default(); 2];
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::NotProbed));
    assert_eq!(reads(&seen), [Some(Why::NotProbed); 2]);
    let mut seen = writer_and_copies(Instant::now());
    seen[2] = Seen::default();
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::NotProbed));
    seen[2].add(Err(Why::Unreachable));
    assert_eq!(chosen(&seen), Chosen::One(0));
    seen[0] = seen[2].clone();
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::AllReadOnly));
}

#[test]
fn one_failure_is_none_and_two_are_an_end() {
    let mut seen = writer_and_copies(Instant::now());
    seen[0].add(Err(Why::Late));
    seen[1].add(Err(Why::Unreachable));
    assert_eq!(chosen(&seen), Chosen::One(0));
    // Reads can go elsewhere at once.
    assert_eq!(reads(&seen), [None, Some(Why::Unreachable), None]);
    assert_eq!(decide(&seen, LIMITS).nodes[1].health, Health::Up);
    seen[0].add(Err(Why::Late));
    seen[1].add(Err(Why::Unreachable));
    let decision = decide(&seen, LIMITS);
    assert_eq!(decision.writer, Chosen::None(NoWriter::AllReadOnly));
    assert_eq!(decision.nodes[0].health, Health::Down(Why::Late));
    assert_eq!(decision.nodes[1].health, Health::Down(Why::Unreachable));
    seen[0].add(Ok(writes("a", Instant::now())));
    assert_eq!(chosen(&seen), Chosen::One(0));
    for node in &mut seen {
        node.add(Err(Why::Unreachable));
        node.add(Err(Why::Unreachable));
    }
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::AllDown));
}

#[test]
fn two_that_take_writes_are_none() {
    let now = Instant::now();
    let mut seen = cluster(vec![
        writes("a", now),
        copies("b", "a", now),
        writes("c", now),
    ]);
    assert_eq!(chosen(&seen), Chosen::Several(vec![0, 2]));
    assert_eq!(reads(&seen)[0], Some(Why::SplitBrain));
    seen[2].add(Ok(copies("c", "a", now)));
    assert_eq!(chosen(&seen), Chosen::One(0));
}

#[test]
fn a_writer_that_was_not_asked_since_another_began_is_asked_first() {
    let first = Instant::now();
    let then = first + Duration::from_millis(300);
    let later = first + Duration::from_millis(350);
    let mut seen = writer_and_copies(first);
    assert!(seen[1].add(Ok(writes("b", then))));
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::Changing));
    let mut demoted = seen.clone();
    assert!(demoted[0].add(Ok(copies("a", "b", later))));
    assert_eq!(chosen(&demoted), Chosen::One(1));
    // It was asked while the new one was: that may have been before.
    let mut meanwhile = seen.clone();
    let mut answer = writes("a", then);
    answer.answered = later;
    meanwhile[0].add(Ok(answer));
    meanwhile[1] = Seen {
        weight: 1,
        ..Seen::default()
    };
    let mut answer = writes("b", then - Duration::from_millis(1));
    answer.answered = then + Duration::from_millis(1);
    meanwhile[1].add(Ok(answer));
    assert_eq!(chosen(&meanwhile), Chosen::None(NoWriter::Changing));
    // Later looks at the new one do not make the old one's answer stale again.
    assert!(!seen[0].add(Ok(writes("a", later))));
    assert_eq!(chosen(&seen), Chosen::Several(vec![0, 1]));
    seen[1].add(Ok(writes("b", later + Duration::from_secs(1))));
    assert_eq!(chosen(&seen), Chosen::Several(vec![0, 1]));
    // The old one is dead: it need not answer.
    seen[0].add(Err(Why::Unreachable));
    seen[0].add(Err(Why::Unreachable));
    assert_eq!(chosen(&seen), Chosen::One(1));
}

#[test]
fn a_copy_that_takes_writes_is_no_writer() {
    let now = Instant::now();
    let mut open = copies("b", "a", now);
    open.read_only = false;
    let mut seen = cluster(vec![writes("a", now), open.clone()]);
    assert_eq!(chosen(&seen), Chosen::One(0));
    // Nor when its source is gone: nobody made it the writer.
    open.channels[0].fetching = Thread::Connecting;
    seen[1].add(Ok(open.clone()));
    seen[0].add(Err(Why::Unreachable));
    seen[0].add(Err(Why::Unreachable));
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::OnlyReplicas));
    // But somebody did who stopped both of its threads.
    open.channels[0].fetching = Thread::Stopped;
    open.channels[0].applying = false;
    seen[1].add(Ok(open.clone()));
    assert_eq!(chosen(&seen), Chosen::One(1));
    // Beside a source that lives it is a copy at rest.
    seen[0].add(Ok(writes("a", now)));
    assert_eq!(chosen(&seen), Chosen::One(0));
    assert_eq!(reads(&seen)[1], Some(Why::ReplicationStopped));
}

#[test]
fn a_writer_may_copy_from_outside() {
    let now = Instant::now();
    let mut fed = copies("a", "elsewhere", now);
    fed.read_only = false;
    let mut seen = cluster(vec![fed, copies("b", "a", now)]);
    assert_eq!(chosen(&seen), Chosen::One(0));
    // As long as somebody is not known, it might be the source.
    seen.push(Seen::default());
    seen[2].add(Err(Why::Unreachable));
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::OnlyReplicas));
}

#[test]
fn two_that_copy_from_each_other_are_two() {
    let now = Instant::now();
    let (mut a, mut b) = (copies("a", "b", now), copies("b", "a", now));
    (a.read_only, b.read_only) = (false, false);
    let mut seen = cluster(vec![a.clone(), b]);
    assert_eq!(chosen(&seen), Chosen::Several(vec![0, 1]));
    a.read_only = true;
    seen[0].add(Ok(a));
    assert_eq!(chosen(&seen), Chosen::None(NoWriter::OnlyReplicas));
}

#[test]
fn who_is_behind_or_stands_still_is_not_read_from() {
    let now = Instant::now();
    let mut seen = writer_and_copies(now);
    let mut behind = copies("b", "a", now);
    behind.channels[0].lag_ms = Some(5_001);
    let mut stopped = copies("c", "a", now);
    stopped.channels[0].applying = false;
    stopped.channels[0].lag_ms = None;
    seen[1].add(Ok(behind.clone()));
    seen[2].add(Ok(stopped));
    assert_eq!(
        reads(&seen),
        [None, Some(Why::Lagging), Some(Why::ReplicationStopped)]
    );
    behind.channels[0].lag_ms = Some(5_000);
    seen[1].add(Ok(behind.clone()));
    assert_eq!(reads(&seen)[1], None);
    // It says that it has all, but lacks what the writer had seven seconds ago.
    behind.channels[0].lag_ms = Some(0);
    behind.lacks_ms = 7_000;
    seen[1].add(Ok(behind));
    assert_eq!(reads(&seen)[1], Some(Why::Lagging));
    assert_eq!(decide(&seen, LIMITS).nodes[1].lag_ms, Some(7_000));
}

#[test]
fn without_a_writer_a_copy_that_has_all_is_read_from() {
    let now = Instant::now();
    let mut seen = writer_and_copies(now);
    let mut waiting = copies("b", "a", now);
    waiting.channels[0].fetching = Thread::Connecting;
    waiting.channels[0].lag_ms = None;
    seen[1].add(Ok(waiting.clone()));
    assert_eq!(reads(&seen)[1], Some(Why::ReplicationStopped));
    seen[0].add(Err(Why::Unreachable));
    seen[0].add(Err(Why::Unreachable));
    assert_eq!(reads(&seen)[1], None);
    waiting.channels[0].is_done = false;
    seen[1].add(Ok(waiting));
    assert_eq!(reads(&seen)[1], Some(Why::ReplicationStopped));
}

#[test]
fn a_copy_of_a_copy_counts_and_one_of_a_former_writer_does_not() {
    let now = Instant::now();
    let seen = cluster(vec![
        writes("a", now),
        copies("b", "a", now),
        copies("c", "b", now),
    ]);
    assert_eq!(reads(&seen), [None; 3]);
    let mut former = writes("b", now);
    former.read_only = true;
    let seen = cluster(vec![writes("a", now), former, copies("c", "b", now)]);
    assert_eq!(chosen(&seen), Chosen::One(0));
    assert_eq!(
        reads(&seen),
        [None, Some(Why::NoSource), Some(Why::NoSource)]
    );
    let seen = cluster(vec![writes("a", now), copies("b", "not told", now)]);
    assert_eq!(reads(&seen), [None; 2]);
}

#[test]
fn a_group_says_who_its_writer_is() {
    let now = Instant::now();
    let three = || {
        vec![
            member("a", false, now),
            member("b", true, now),
            member("c", false, now),
        ]
    };
    let seen = cluster(three());
    assert_eq!(chosen(&seen), Chosen::One(1));
    assert_eq!(reads(&seen), [None; 3]);
    // A member that has left the group.
    let mut looks = three();
    looks[2].member.as_mut().unwrap().is_online = false;
    let seen = cluster(looks);
    assert_eq!(
        decide(&seen, LIMITS).nodes[2].health,
        Health::Draining(Why::GroupState)
    );
    // The primary is cut off: what it says of itself does not count.
    let mut looks = three();
    looks[1].member.as_mut().unwrap().has_majority = false;
    looks[0] = member("a", true, now);
    let seen = cluster(looks);
    assert_eq!(chosen(&seen), Chosen::One(0));
    assert_eq!(reads(&seen)[1], Some(Why::GroupMinority));
    // All are primaries of the same group.
    let seen = cluster(vec![member("a", true, now), member("b", true, now)]);
    assert_eq!(chosen(&seen), Chosen::One(0));
    let mut other = member("b", true, now);
    other.member.as_mut().unwrap().group = "h".into();
    let seen = cluster(vec![member("a", true, now), other]);
    assert_eq!(chosen(&seen), Chosen::Several(vec![0, 1]));
}

#[test]
fn a_node_that_is_offline_drains() {
    let now = Instant::now();
    let mut seen = writer_and_copies(now);
    let mut offline = writes("a", now);
    offline.offline = true;
    seen[0].add(Ok(offline));
    let decision = decide(&seen, LIMITS);
    assert_eq!(decision.writer, Chosen::None(NoWriter::AllReadOnly));
    assert_eq!(decision.nodes[0].health, Health::Draining(Why::Offline));
    seen[1].weight = 0;
    assert_eq!(
        reads(&seen),
        [Some(Why::Offline), Some(Why::NoWeight), None]
    );
}

/// What a server is at a moment.
#[derive(Clone, Copy)]
struct Real {
    writes: bool,
    source: Option<usize>,
}

fn dice(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) % below
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three servers, a switchover under way, and looks at them.
struct World {
    dice: u64,
    real: [Real; 3],
    /// What is still to be done of the switchover: the last first.
    steps: Vec<(usize, Real)>,
    /// When each look began, and what it found once it has asked.
    looks: [Option<(Instant, Option<Observation>)>; 3],
    seen: Vec<Seen>,
}

impl World {
    fn roll(&mut self, below: u64) -> u64 {
        dice(&mut self.dice, below)
    }

    /// One step of a switchover, or the beginning of one.
    fn turn(&mut self) {
        let copy = |source| Real {
            writes: false,
            source,
        };
        if self.steps.is_empty() && self.roll(40) == 0 {
            let old = self.real.iter().position(|server| server.writes).unwrap();
            let new = (old + 1 + self.roll(2) as usize) % 3;
            let third = 3 - old - new;
            let writer = Real {
                writes: true,
                source: None,
            };
            // The old one stops before the new one begins.
            self.steps = vec![
                (third, copy(Some(new))),
                (old, copy(Some(new))),
                (new, writer),
                (new, copy(None)),
                (old, copy(None)),
            ];
        } else if self.roll(6) == 0
            && let Some((at, server)) = self.steps.pop()
        {
            self.real[at] = server;
        }
    }

    /// A look begins, asks, or has its answer.
    fn look(&mut self, now: Instant) {
        let at = self.roll(3) as usize;
        match self.looks[at].take() {
            None => self.looks[at] = Some((now, None)),
            Some((begun, None)) => {
                let found = match self.real[at] {
                    Real { writes: true, .. } => writes(NAMES[at], begun),
                    Real {
                        source: Some(source),
                        ..
                    } => copies(NAMES[at], NAMES[source], begun),
                    Real { source: None, .. } => Observation {
                        read_only: true,
                        ..writes(NAMES[at], begun)
                    },
                };
                self.looks[at] = Some((begun, Some(found)));
            }
            Some((_, Some(mut found))) => {
                found.answered = now;
                self.seen[at].add(Ok(found));
            }
        }
    }
}

/// Servers change by the steps of switchovers while looks at them begin, ask and end at any moments. How often another writer was
/// followed, and how often there was none.
fn play(seed: u64) -> (usize, usize) {
    let begin = Instant::now();
    let server = |source: Option<usize>| Real {
        writes: source.is_none(),
        source,
    };
    let unseen = Seen {
        weight: 1,
        ..Seen::default()
    };
    let mut world = World {
        dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        real: [server(None), server(Some(0)), server(Some(0))],
        steps: Vec::new(),
        looks: [None, None, None],
        seen: vec![unseen; 3],
    };
    let (mut follows, mut waits, mut followed) = (0, 0, None);
    for tick in 0..600 {
        world.turn();
        world.look(begin + Duration::from_millis(tick));
        match chosen(&world.seen) {
            Chosen::Several(several) => panic!("seed {seed}: {several:?} at {tick}"),
            Chosen::One(one) => {
                follows += usize::from(followed != Some(one));
                followed = Some(one);
            }
            Chosen::None(_) => waits += 1,
        }
    }
    (follows, waits)
}

#[test]
fn a_switchover_is_never_taken_for_two_writers() {
    let (mut follows, mut waits) = (0, 0);
    for seed in 1..=500 {
        let (some, more) = play(seed);
        follows += some;
        waits += more;
    }
    assert!(follows > 2_500 && waits > 2_500, "{follows} {waits}");
}
