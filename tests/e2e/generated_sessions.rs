//! Random session programs, each played alone at the server and then, among many others, through the proxy with a small pool.
//! Every packet of every answer must be the same, but for what `client.rs` masks. `make test` plays a seeded 2,000,
//! `make sessions` 50,000 of a new seed. A program that differs is shrunk and printed in the form of tests/cases/sessions/*.txt;
//! put there, it is replayed by `the_kept_programs_give_the_same_answers`.
//!
//! TIDEGATE_SESSIONS_SEED and TIDEGATE_SESSIONS_COUNT choose another run; TIDEGATE_SESSIONS_FIRST starts it at a later
//! program, and after TIDEGATE_SESSIONS_KINDS kinds of differences it gives up.

mod client;
mod crowd;
mod dice;
mod encode;
mod generate;
mod play;
mod program;
mod routines;
mod run;
mod shrink;
mod stage;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::process;
use crowd::{CLIENTS, Rig};
use program::{Program, Step};
use run::{explained, is_fixed_alone, run};

/// The seed of `make test`.
const SEED: u64 = 20_261_120;
#[test]
fn seeded_programs_give_the_same_answers() {
    run(
        Rig::new(),
        number_of("SEED", SEED),
        number_of("COUNT", 2_000),
    );
}

/// The long form, of a new seed each time.
#[test]
#[ignore = "takes long: make sessions"]
fn soak_programs_of_a_new_seed_give_the_same_answers() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = now.map_or(SEED, |time| time.as_secs());
    run(
        Rig::new(),
        number_of("SEED", seed),
        number_of("COUNT", 50_000),
    );
}

/// The same with a reader beside the server, so that plain reads leave it and come back with every other statement.
#[test]
fn seeded_programs_give_the_same_answers_with_a_reader() {
    let rig = Rig::with_reader();
    run(rig, number_of("SEED", SEED), number_of("COUNT", 180));
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(format!("TIDEGATE_SESSIONS_{name}"));
    text.map_or(otherwise, |text| text.parse().expect("a number"))
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
    let mut differing = BTreeMap::new();
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
            for (at, difference) in rig.compare(&crowd) {
                let name = &part[at % part.len()].0;
                differing.insert(
                    difference.program.to_string(),
                    format!("{name}: {difference}"),
                );
            }
        }
    }
    let told: Vec<String> = differing.into_values().collect();
    assert!(
        told.is_empty(),
        "{} differ\n\n{}",
        told.len(),
        told.join("\n\n")
    );
}

/// The programs of tests/cases/sessions, or of the folder TIDEGATE_SESSIONS_KEPT, parted by blank lines, with their files' names.
fn kept() -> Vec<(String, Program)> {
    let other = std::env::var_os("TIDEGATE_SESSIONS_KEPT").map(PathBuf::from);
    let folder = other.unwrap_or_else(|| process::project().join("tests/cases/sessions"));
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
    let harmless = "capabilities deprecate_eof\nlogin gen_a 255 {s}\nquery SELECT 1\n\
         query SELECT id FROM t WHERE id = 2\npause\nquery SELECT DATABASE()\npause\nquery SELECT CONNECTION_ID() > 0";
    let harmless = Program::parse(harmless).expect("a program");
    let mut crowd = vec![harmless; CLIENTS];
    crowd[3]
        .steps
        .insert(3, Step::Query("EXPLAIN ROUTE SELECT 1".to_owned()));
    let found = rig.compare(&crowd);
    let seen: Vec<String> = found
        .iter()
        .map(|(at, found)| format!("{at}: {found}"))
        .collect();
    let [(3, difference)] = &found[..] else {
        panic!("one difference, in the fourth program: {}", seen.join("\n"));
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
