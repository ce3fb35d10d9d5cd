//! A whole run: program after program, what differs gathered by kind, one of each kind shrunk and shown.

use std::time::{Duration, Instant};

use super::crowd::{CLIENTS, Difference, POOL_CONNECTIONS, Rig, difference};
use super::program::Program;
use super::{generate, number_of, shrink};
use crate::support::process;

/// Kinds of differences after which a run gives up.
const KINDS_MAX: u64 = 4;
/// One program of so many may differ when it is played twice at the server itself; such are counted and not compared.
const LOOSE_SHARE: u64 = 200;
/// One program of so many may meet a limit that README names.
const LIMITS_SHARE: u64 = 300;
/// Copies of a program that is looked at closely, among others of its crowd.
const COPIES: usize = 12;
/// Crowds at the server itself in which a program must give its answers before they are held against the proxy.
const CONTROLS: usize = 6;
const SHRINK_QUESTIONS_MAX: usize = 100;

/// The first difference of its kind.
struct Found {
    number: u64,
    difference: Difference,
    crowd: Vec<Program>,
    /// Programs that differ so.
    count: usize,
}

/// How far a run is.
struct Tally {
    start: Instant,
    programs: usize,
    steps: usize,
    /// Programs without fixed answers.
    loose: u64,
    /// Programs that met a limit of sharing that README names.
    limits: u64,
    /// Thousands of programs that were told of.
    told: usize,
    found: Vec<Found>,
}

/// Plays so many programs; panics with those that differ.
pub(super) fn run(mut rig: Rig, seed: u64, count: u64) {
    let (first, kinds_max) = (number_of("FIRST", 0), number_of("KINDS", KINDS_MAX));
    println!(
        "sessions: seed {seed}, {count} programs from {first}, {CLIENTS} clients, {POOL_CONNECTIONS} connections, {} variables",
        rig.variables.len()
    );
    let mut tally = Tally::new();
    for batch in (first..first + count).step_by(CLIENTS) {
        let numbers = batch..(batch + CLIENTS as u64).min(first + count);
        let programs: Vec<Program> = numbers
            .map(|number| generate::program(seed, number, &rig.variables))
            .collect();
        let differences = rig.compare(&programs);
        assert!(rig.gate.runs(), "the proxy ended:\n{}", rig.gate.log());
        for (at, difference) in differences {
            tally.note(&mut rig, batch + at as u64, difference, &programs);
        }
        tally.add(&programs, &rig);
        if tally.found.len() as u64 >= kinds_max {
            break;
        }
    }
    tally.tell(&rig);
    let log = rig.gate.log();
    assert!(!log.contains("panicked"), "{log}");
    for found in &tally.found {
        println!(
            "sessions: {} programs as program {} of seed {seed} (full: {}): {}\n",
            found.count,
            found.number,
            found.difference.program,
            explained(&mut rig, &found.difference, &found.crowd)
        );
    }
    assert!(
        tally.found.is_empty(),
        "{} kinds of differences, see above",
        tally.found.len()
    );
    assert!(
        tally.loose <= 2 + count / LOOSE_SHARE,
        "{} programs of {count} have no fixed answers at the server itself",
        tally.loose
    );
    assert!(
        tally.limits <= 2 + count / LIMITS_SHARE,
        "{} programs of {count} meet a limit: more than ever did",
        tally.limits
    );
    println!("sessions: no other difference in {count} programs of seed {seed}");
    rig.gate.stop();
}

impl Tally {
    fn new() -> Tally {
        Tally {
            start: Instant::now(),
            programs: 0,
            steps: 0,
            loose: 0,
            limits: 0,
            told: 0,
            found: Vec::new(),
        }
    }

    /// Files a difference under its kind, when it is the proxy's.
    fn note(&mut self, rig: &mut Rig, number: u64, difference: Difference, crowd: &[Program]) {
        if difference.known_limit().is_some() {
            self.limits += 1;
            return;
        }
        let kind = difference.kind();
        let mut known = self.found.iter_mut();
        if let Some(found) = known.find(|found| found.difference.kind() == kind) {
            found.count += 1;
        } else if is_fixed(rig, &difference.program, crowd) {
            println!("sessions: program {number} differs {difference}");
            self.found.push(Found {
                number,
                difference,
                crowd: crowd.to_vec(),
                count: 1,
            });
        } else {
            self.loose += 1;
        }
    }

    fn add(&mut self, programs: &[Program], rig: &Rig) {
        self.programs += programs.len();
        self.steps += programs
            .iter()
            .map(|program| program.steps.len())
            .sum::<usize>();
        if self.programs / 1_000 > self.told {
            self.told = self.programs / 1_000;
            self.tell(rig);
        }
    }

    fn tell(&self, rig: &Rig) {
        let seconds = |time: Duration| time.as_secs();
        println!(
            "sessions: {} programs, {} steps, {} without fixed answers, {} at a limit that README names; {} s, directly {} s, proxied {} s; processor: server {} s, proxy {} s, clients {} s",
            self.programs,
            self.steps,
            self.loose,
            self.limits,
            seconds(self.start.elapsed()),
            seconds(rig.spent[0]),
            seconds(rig.spent[1]),
            seconds(process::cpu_time(rig.server.id())),
            seconds(process::cpu_time(rig.gate.id())),
            seconds(process::cpu_time(std::process::id())),
        );
    }
}

/// A difference, shrunk: without others where it shows without them.
pub(super) fn explained(rig: &mut Rig, found: &Difference, crowd: &[Program]) -> String {
    let kind = found.kind();
    let alone = (0..2).any(|_| seen_again(rig, &found.program, &[], &kind).is_some());
    let crowd = if alone { &[] } else { crowd };
    let mut last = None;
    let mut again = |candidate: &Program| {
        let seen = seen_again(rig, candidate, crowd, &kind);
        let is_seen = seen.is_some();
        last = seen.or(last.take());
        is_seen
    };
    if !(0..10).any(|_| again(&found.program)) {
        return format!("was not seen again in ten crowds. {found}");
    }
    let short = shrink::shrink(&found.program, SHRINK_QUESTIONS_MAX, &mut again);
    let last = last.filter(|last| last.program == short);
    let told = last.map_or_else(|| format!("{short}"), |last| format!("{last}"));
    match alone {
        true => format!("alone, {told}"),
        false => format!("only among others, {told}"),
    }
}

/// Whether a program gives the same answers twice at the server itself, alone and in crowds.
fn is_fixed(rig: &mut Rig, program: &Program, others: &[Program]) -> bool {
    is_fixed_alone(rig, program)
        && !(0..CONTROLS).any(|_| {
            let programs = copies(rig, program, others);
            rig.is_loose(&programs, COPIES)
        })
}

/// Whether it does alone.
pub(super) fn is_fixed_alone(rig: &mut Rig, program: &Program) -> bool {
    let program = std::slice::from_ref(program);
    let (mut one, mut other) = (rig.directly(program), rig.directly(program));
    difference(&program[0], one.remove(0), other.remove(0)).is_none()
}

/// Copies of the program, then others: each time another part of them.
fn copies(rig: &mut Rig, program: &Program, others: &[Program]) -> Vec<Program> {
    rig.crowds += 1;
    let mut programs = vec![program.clone(); COPIES];
    let others = others.iter().cycle().skip(rig.crowds * 11);
    programs.extend(others.take(CLIENTS - COPIES).cloned());
    programs
}

/// The difference of that kind of one of the program's copies in a crowd of its old neighbours, or of the program alone where
/// there are none. Nothing where it has no fixed answers.
fn seen_again(
    rig: &mut Rig,
    candidate: &Program,
    crowd: &[Program],
    kind: &str,
) -> Option<Difference> {
    let one = std::slice::from_ref(candidate);
    let (direct, twice) = (rig.directly(one).remove(0), rig.directly(one).remove(0));
    if direct != twice {
        return None;
    }
    let (programs, count) = match crowd.is_empty() {
        true => (one.to_vec(), 1),
        false => (copies(rig, candidate, crowd), COPIES),
    };
    let proxied = rig.proxied(&programs).into_iter().take(count);
    let mut found = proxied.enumerate().filter_map(|(place, proxied)| {
        let direct = direct.iter().map(|answer| answer.moved(0, place)).collect();
        difference(candidate, direct, proxied)
    });
    found.find(|difference| difference.kind() == kind)
}
