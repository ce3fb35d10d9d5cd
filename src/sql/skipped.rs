//! How many rows the LIMIT of a query leaves out at its beginning: the server's FOUND_ROWS() counts them. Pure.
//! Never guesses: a form whose LIMIT could belong to another part of the query is unknown.

use super::lexer::{LexMode, TokenKind};
use super::words::Words;

/// A longer text with a LIMIT is not looked through.
const TOKENS_MAX: usize = 100_000;

/// The rows that the outermost LIMIT leaves out; 0 without one. `parameter` has the value of each `?`, counted from 0. `None`: unknown.
pub fn skipped_rows(
    text: &[u8],
    mode: LexMode,
    parameter: impl Fn(usize) -> Option<u64>,
) -> Option<u64> {
    let words = Words::read(text, mode, TOKENS_MAX)?;
    let (mut depth, mut parameters, mut skipped, mut inside) = (0u32, 0, 0, false);
    for at in 0..words.tokens.len() {
        match words.kind(at) {
            TokenKind::LeftParen => depth += 1,
            TokenKind::RightParen => depth = depth.saturating_sub(1),
            TokenKind::Parameter => parameters += 1,
            TokenKind::Keyword if words.keyword(at) == "LIMIT" => {
                // `LIMIT 20, 10` or `LIMIT 10 OFFSET 20`; each value is one token.
                let place = match (words.kind(at + 2), words.keyword(at + 2)) {
                    (TokenKind::Comma, _) => at + 1,
                    (_, "OFFSET") => at + 3,
                    _ => continue,
                };
                let before = (at + 1..place)
                    .filter(|at| words.kind(*at) == TokenKind::Parameter)
                    .count();
                let value = match words.kind(place) {
                    TokenKind::Parameter => parameter(parameters + before),
                    TokenKind::Int => std::str::from_utf8(words.bytes(place)).ok()?.parse().ok(),
                    _ => None,
                };
                inside |= depth > 0;
                if depth == 0 {
                    skipped = value?;
                }
            }
            _ => {}
        }
    }
    // `(SELECT .. LIMIT 1, 2)` is the whole query, and so may be a part of a UNION.
    let is_composed = words.kind(0) == TokenKind::LeftParen
        || (0..words.tokens.len())
            .any(|at| matches!(words.keyword(at), "UNION" | "INTERSECT" | "EXCEPT"));
    (!inside || !is_composed).then_some(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_limit_counts() {
        let bound = |at| [5, 7, 9].get(at).copied();
        for (text, skipped) in [
            ("SELECT a FROM t", Some(0)),
            ("SELECT a FROM t LIMIT 3", Some(0)),
            ("SELECT a FROM t LIMIT 3 OFFSET 2", Some(2)),
            ("SELECT a FROM t LIMIT 2 , 3;", Some(2)),
            (
                "SELECT `limit`, offset FROM t LIMIT 3 /* x */ OFFSET 2",
                Some(2),
            ),
            ("SELECT a FROM t WHERE b = ? LIMIT ? OFFSET ?", Some(9)),
            ("SELECT a FROM t WHERE b = ? LIMIT ?, ?", Some(7)),
            ("SELECT a FROM t LIMIT ?, ? FOR SHARE", Some(5)),
            (
                "SELECT a FROM t WHERE b = ? AND c = ? AND d = ? LIMIT ?, 1",
                None,
            ),
            ("SELECT a FROM (SELECT a FROM t LIMIT 1, 2) x", Some(0)),
            (
                "SELECT a FROM (SELECT a FROM t LIMIT 1, 2) x LIMIT 4, 5",
                Some(4),
            ),
            ("(SELECT a FROM t LIMIT 1, 2)", None),
            (
                "SELECT a FROM t UNION ALL (SELECT a FROM t LIMIT 1, 2)",
                None,
            ),
            (
                "SELECT a FROM t UNION ALL SELECT a FROM t LIMIT 1, 2",
                Some(1),
            ),
        ] {
            let found = skipped_rows(text.as_bytes(), LexMode::default(), bound);
            assert_eq!(found, skipped, "{text}");
        }
    }
}
