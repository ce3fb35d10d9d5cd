//! Makes a program that shows a difference as short as it can be. Pure: whether a shorter one still differs is asked of the caller.

use super::program::Program;

/// Drops steps and capabilities for as long as the rest still differs, asking at most `questions_max` times.
pub(super) fn shrink(
    program: &Program,
    questions_max: usize,
    mut differs: impl FnMut(&Program) -> bool,
) -> Program {
    let mut best = program.clone();
    let mut questions = 0;
    let mut ask = |candidate: &Program| {
        questions += 1;
        questions <= questions_max && differs(candidate)
    };
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let mut candidate = best.clone();
            candidate.steps.drain(at..(at + size).min(best.steps.len()));
            match ask(&candidate) {
                true => best = candidate,
                false => at += size,
            }
        }
        size /= 2;
    }
    for name in best.capabilities.clone() {
        let mut candidate = best.clone();
        candidate.capabilities.retain(|other| *other != name);
        if ask(&candidate) {
            best = candidate;
        }
    }
    best
}
