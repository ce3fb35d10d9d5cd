//! Makes random session programs: a few short scenes, each of one theme, shuffled into each other, with questions and pauses
//! between. Sets nothing that another client could see.

mod commands;
mod diagnostics;
mod probes;
mod routines;
mod settings;
mod statements;
mod tables;
mod transactions;
mod values;

use super::dice::Dice;
use super::program::{CAPABILITIES, Identity, Program, Step};
use super::stage::USERS;
use super::variables::Variable;

/// Longest program.
const STEPS_MAX: usize = 25;
/// Collations of the login: utf8mb4 (two), latin1 (two), utf8mb3, binary, cp1251, ascii.
const COLLATIONS: &[u16] = &[45, 255, 45, 255, 8, 47, 33, 63, 51, 11];

/// Makes one scene.
type Scene = fn(&mut Dice, &[Variable]) -> Vec<Step>;

/// Scenes and how often they come.
const SCENES: &[(usize, Scene)] = &[
    (14, settings::any_variable),
    (5, settings::names),
    (5, settings::with_effect),
    (4, settings::several),
    (6, values::user_variables),
    (3, values::into_variables),
    (5, tables::temporary),
    (4, tables::locked),
    (3, tables::handler),
    (4, tables::ddl),
    (4, tables::user_locks),
    (12, statements::binary),
    (4, statements::two_of_one_text),
    (4, statements::cursor),
    (3, statements::long_data),
    (5, statements::prepared_before_change),
    (6, statements::in_sql),
    (9, transactions::plain),
    (3, transactions::autocommit_off),
    (4, transactions::characteristics),
    (3, transactions::savepoints),
    (2, transactions::xa),
    (8, diagnostics::errors),
    (7, diagnostics::warnings),
    (4, diagnostics::row_counts),
    (4, diagnostics::found_rows),
    (6, diagnostics::insert_ids),
    (8, routines::calls),
    (4, routines::functions),
    (2, routines::triggers),
    (4, commands::use_schema),
    (2, commands::reset_connection),
    (2, commands::change_user),
    (3, commands::small),
    (4, commands::multi_statements),
    (2, commands::attributes),
    (1, commands::infile),
    (1, commands::kill),
];

/// COM_QUERY.
fn query(sql: impl Into<String>) -> Step {
    Step::Query(sql.into())
}

/// Several of them.
fn queries(texts: &[&str]) -> Vec<Step> {
    texts.iter().map(|text| query(*text)).collect()
}

/// The program of that number in the run of that seed.
pub(super) fn program(seed: u64, number: u64, variables: &[Variable]) -> Program {
    let mut dice = Dice::new(seed, number);
    let dice = &mut dice;
    let capabilities = capabilities(dice);
    let identity = identity(dice);
    let scenes = (0..dice.between(1, 4)).map(|_| scene(dice)(dice, variables));
    let scenes: Vec<Vec<Step>> = scenes.collect();
    let mut steps = Vec::new();
    for step in shuffled(dice, scenes) {
        let is_login = matches!(step, Step::ChangeUser(_));
        steps.push(step);
        if is_login {
            // MySQL forgets everything then but FOUND_ROWS(): the next user sees the last one's. Nobody should.
            steps.push(query("SELECT 1"));
        }
        if dice.percent(25) {
            steps.push(query(probes::any(dice)));
        }
        if dice.percent(20) {
            steps.push(Step::Pause);
        }
    }
    steps.truncate(STEPS_MAX);
    Program {
        capabilities,
        identity,
        steps,
    }
}

fn scene(dice: &mut Dice) -> Scene {
    let total: usize = SCENES.iter().map(|(weight, _)| weight).sum();
    let mut left = dice.below(total);
    for (weight, scene) in SCENES {
        if left < *weight {
            return *scene;
        }
        left -= weight;
    }
    SCENES[0].1
}

/// All steps of all scenes, each scene's in their order.
fn shuffled(dice: &mut Dice, scenes: Vec<Vec<Step>>) -> Vec<Step> {
    let mut rest: Vec<_> = scenes.into_iter().map(Vec::into_iter).collect();
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let at = dice.below(rest.len());
        // A few of one scene in a row: some things only show between neighbours.
        for _ in 0..dice.between(1, 3) {
            steps.extend(rest[at].next());
        }
        if rest[at].len() == 0 {
            rest.swap_remove(at);
        }
    }
    steps
}

fn capabilities(dice: &mut Dice) -> Vec<&'static str> {
    let likely = |name: &str| match name {
        "deprecate_eof" | "session_track" => 60,
        "multi_statements" | "multi_results" | "ps_multi_results" => 75,
        "query_attributes" | "local_files" => 40,
        "found_rows" => 25,
        // Deprecated, and a login with it leaves a warning that nobody else's has.
        "no_schema" => 0,
        _ => 8,
    };
    let names = CAPABILITIES.iter().map(|(name, _)| *name);
    names.filter(|name| dice.percent(likely(name))).collect()
}

fn identity(dice: &mut Dice) -> Identity {
    Identity {
        user: dice.pick(USERS).to_owned(),
        collation: dice.one(COLLATIONS),
        schema: dice
            .pick(&["{s}", "{s}", "{s}", "{s}b", "{s}", "{s}", ""])
            .to_owned(),
    }
}
