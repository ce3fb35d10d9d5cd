//! Random session programs, each played alone at the server and then, among many others, through the proxy with a small pool.
//! Every packet of every answer must be the same, but for what `client.rs` masks. `make test` plays a seeded 2,000,
//! `make sessions` 50,000 of a new seed. A program that differs is shrunk and printed in the form of tests/cases/sessions/*.txt;
//! put there, it is replayed by `the_kept_programs_give_the_same_answers`.
//!
//! TIDEGATE_SESSIONS_SEED and TIDEGATE_SESSIONS_COUNT choose another run; TIDEGATE_SESSIONS_FIRST starts it at a later program.

mod client;
mod crowd;
mod dice;
mod encode;
mod generate;
mod play;
mod program;
mod routines;
mod shrink;
mod stage;
mod variables;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::process;
use crowd::{CLIENTS, Difference, POOL_CONNECTIONS, Rig, difference};
use program::{Program, Step};

/// The seed of `make test`.
const SEED: u64 = 20_261_120;
/// Differences that are shrunk and shown before a run gives up.
const DIFFERENCES_MAX: usize = 4;
/// One program of so many may differ when it is played twice at the server itself; such are counted and not compared.
const LOOSE_SHARE: u64 = 200;
/// Copies of a program that is being shrunk, among others of its crowd.
const COPIES: usize = 12;
/// Crowds at the server itself in which a program must give its answers before they are held against the proxy.
const CONTROLS: usize = 8;
const SHRINK_QUESTIONS_MAX: usize = 120;

#[test]
fn seeded_programs_give_the_same_answers() {
    run(number_of("SEED", SEED), number_of("COUNT", 2_000));
}

/// The long form, of a new seed each time.
#[test]
#[ignore = "takes long: make sessions"]
fn soak_programs_of_a_new_seed_give_the_same_answers() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = now.map_or(SEED, |time| time.as_secs());
    run(number_of("SEED", seed), number_of("COUNT", 50_000));
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(format!("TIDEGATE_SESSIONS_{name}"));
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Plays so many programs; panics with those that differ.
fn run(seed: u64, count: u64) {
    let mut rig = Rig::new();
    let first = number_of("FIRST", 0);
    println!(
        "sessions: seed {seed}, {count} programs from {first}, {CLIENTS} clients, {POOL_CONNECTIONS} connections, {} variables",
        rig.variables.len()
    );
    let mut tally = Tally::default();
    let mut found = Vec::new();
    for batch in (first..first + count).step_by(CLIENTS) {
        let numbers = batch..(batch + CLIENTS as u64).min(first + count);
        let programs: Vec<Program> = numbers
            .map(|number| generate::program(seed, number, &rig.variables))
            .collect();
        for (at, difference) in rig.compare(&programs) {
            if !is_fixed(&mut rig, &difference.program, &programs) {
                tally.loose += 1;
                continue;
            }
            println!(
                "sessions: program {} of seed {seed} differs {difference}",
                batch + at as u64
            );
            found.push((batch + at as u64, difference, programs.clone()));
        }
        tally.add(&programs, &rig);
        if found.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    let log = rig.gate.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        tally.loose <= 2 + count / LOOSE_SHARE,
        "{} programs of {count} have no fixed answers at the server itself",
        tally.loose
    );
    tally.tell(&rig);
    if found.is_empty() {
        println!("sessions: no difference in {count} programs of seed {seed}");
        return rig.gate.stop();
    }
    let told: Vec<String> = found
        .iter()
        .map(|(number, difference, crowd)| {
            let told = explained(&mut rig, difference, crowd);
            format!("program {number} of seed {seed}: {told}")
        })
        .collect();
    panic!("{} programs differ\n\n{}", told.len(), told.join("\n\n"));
}

/// How far a run is.
struct Tally {
    start: Instant,
    programs: usize,
    steps: usize,
    /// Programs without fixed answers.
    loose: u64,
    /// Thousands of programs that were told of.
    told: usize,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            start: Instant::now(),
            programs: 0,
            steps: 0,
            loose: 0,
            told: 0,
        }
    }
}

impl Tally {
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
            "sessions: {} programs, {} steps, {} without fixed answers; {} s, directly {} s, proxied {} s; processor: server {} s, proxy {} s, clients {} s",
            self.programs,
            self.steps,
            self.loose,
            seconds(self.start.elapsed()),
            seconds(rig.spent[0]),
            seconds(rig.spent[1]),
            seconds(process::cpu_time(rig.server.id())),
            seconds(process::cpu_time(rig.gate.id())),
            seconds(process::cpu_time(std::process::id())),
        );
    }
}

/// A difference, shrunk.
fn explained(rig: &mut Rig, found: &Difference, crowd: &[Program]) -> String {
    let mut last = None;
    let mut again = |candidate: &Program| {
        let seen = seen_again(rig, candidate, crowd).filter(|_| is_fixed_alone(rig, candidate));
        let is_seen = seen.is_some();
        last = seen.or(last.take());
        is_seen
    };
    if !(0..5).any(|_| again(&found.program)) {
        return format!("was not seen again in five crowds. {found}");
    }
    let short = shrink::shrink(&found.program, SHRINK_QUESTIONS_MAX, &mut again);
    let last = last.filter(|last| last.program == short);
    last.map_or_else(|| format!("{short}"), |last| format!("{last}"))
}

/// Whether a program gives the same answers twice at the server itself, alone and in crowds.
fn is_fixed(rig: &mut Rig, program: &Program, others: &[Program]) -> bool {
    is_fixed_alone(rig, program)
        && !(0..CONTROLS).any(|_| {
            let programs = copies(rig, program, others);
            rig.is_loose(&programs, COPIES)
        })
}

fn is_fixed_alone(rig: &mut Rig, program: &Program) -> bool {
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

/// Copies of the program in a crowd of its old neighbours: the difference of one of the copies.
fn seen_again(rig: &mut Rig, candidate: &Program, crowd: &[Program]) -> Option<Difference> {
    let programs = copies(rig, candidate, crowd);
    let mut found = rig.compare(&programs).into_iter();
    found
        .find(|(at, _)| *at < COPIES)
        .map(|(_, difference)| difference)
}

/// Programs that once differed.
#[test]
fn the_kept_programs_give_the_same_answers() {
    let kept = kept();
    let mut rig = Rig::new();
    for (name, program) in &kept {
        assert!(
            is_fixed_alone(&mut rig, program),
            "{name}: give this program fixed answers\n{program}"
        );
    }
    // Each several times, beside every other.
    for round in 0..4 {
        let all: Vec<_> = kept
            .iter()
            .skip(round)
            .chain(kept.iter().take(round))
            .collect();
        for part in all.chunks(CLIENTS) {
            let crowd: Vec<Program> = part
                .iter()
                .cycle()
                .take(CLIENTS)
                .map(|(_, program)| program.clone())
                .collect();
            if let Some((at, difference)) = rig.compare(&crowd).first() {
                panic!("{}: {difference}", part[at % part.len()].0);
            }
        }
    }
}

/// The programs of tests/cases/sessions, parted by blank lines, with their files' names.
fn kept() -> Vec<(String, Program)> {
    let folder = process::project().join("tests/cases/sessions");
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder)
        .expect("the kept programs")
        .flatten()
    {
        let text = std::fs::read_to_string(entry.path()).expect("a readable file");
        let name = entry.file_name().to_string_lossy().into_owned();
        for block in text
            .split("\n\n")
            .filter(|block| block.lines().any(|line| line.starts_with("capabilities")))
        {
            let program =
                Program::parse(block).unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
            kept.push((name.clone(), program));
        }
    }
    kept.sort_by(|one, other| one.0.cmp(&other.0));
    kept
}

/// The comparison must be able to fail, and what it finds must be made short: EXPLAIN ROUTE is an error at the server.
#[test]
fn a_difference_is_found_and_shrunk() {
    let mut rig = Rig::new();
    let mut crowd: Vec<Program> = (0..CLIENTS as u64)
        .map(|number| generate::program(SEED, number, &rig.variables))
        .collect();
    crowd[3].steps.truncate(9);
    crowd[3]
        .steps
        .insert(5, Step::Query("EXPLAIN ROUTE SELECT 1".to_owned()));
    crowd[3]
        .steps
        .insert(6, Step::Query("SELECT CONNECTION_ID() > 0".to_owned()));
    let found = rig.compare(&crowd);
    let [(3, difference)] = &found[..] else {
        panic!("one difference, in the fourth program: {found:?}");
    };
    let told = explained(&mut rig, difference, &crowd);
    assert!(told.contains("\nquery EXPLAIN ROUTE SELECT 1\n"), "{told}");
    assert_eq!(told.matches("\nquery ").count(), 1, "{told}");
    // What two sessions at the server tell apart is not held against the proxy.
    crowd[3].steps = vec![Step::Query("SELECT CONNECTION_ID()".to_owned())];
    assert!(!is_fixed_alone(&mut rig, &crowd[3]));
    rig.gate.stop();
}

/// The text form loses nothing.
#[test]
fn programs_are_read_as_they_are_written() {
    let variables = [variables::Variable {
        name: "sql_mode".to_owned(),
        values: vec!["'ANSI'".to_owned()],
    }];
    for number in 0..3_000 {
        let program = generate::program(SEED, number, &variables);
        let text = program.to_string();
        assert_eq!(Program::parse(&text).as_ref(), Ok(&program), "{text}");
    }
}

/// The same seed makes the same programs; another one others.
#[test]
fn a_seed_means_its_programs() {
    let variables = [variables::Variable {
        name: "sql_mode".to_owned(),
        values: vec!["'ANSI'".to_owned()],
    }];
    let of = |seed| generate::program(seed, 7, &variables);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}
