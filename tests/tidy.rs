//! House rules that no compiler knows, held by reading the sources: who may import whom, a `//!` head in every file, limits on
//! the length of files and functions, no `mod.rs`, no way to panic outside tests. Reads the text only; parses no Rust.
//! The rules are functions from text to findings, and each is shown here to fail on a bad sample.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// The rooms from the bottom up. A room may import every room of a lower row, none of its own row and none above.
const ROWS: &[&[&str]] = &[
    &["config", "metrics", "shutdown"],
    &["protocol", "sql", "store"],
    &["backend"],
    &["binlog"],
    &["analytics"],
    &["cache", "views"],
    &["router"],
    &["admin"],
    &["session", "http"],
    &["server"],
];

/// Rooms that may import less than their row allows, and what. The first two are pure: bytes and text in, values out.
const NARROWER: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("sql", &[]),
    ("store", &["config"]),
    (
        "analytics",
        &[
            "config", "metrics", "shutdown", "sql", "store", "backend", "binlog",
        ],
    ),
    (
        "http",
        &["config", "metrics", "shutdown", "analytics", "admin"],
    ),
];

/// Calls that can panic, in code that is not a test: how many each file may hold. The numbers only go down; at 0 the line goes.
// mysql_async calls the way to take a row apart `unwrap` too.
const PANICS: &[(&str, usize)] = &[("views/connection.rs", 1)];

/// Functions that were longer than the limit when the limit came: none may be added. One that is short again goes off the list.
const LONG: &[(&str, &str)] = &[("tests/e2e/views_build.rs", "chunks_add_up_to_one_group_by")];

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut findings = Vec::new();
    let mut panics = BTreeMap::new();
    let files = sources(root);
    assert!(files.len() > 10, "the sources were not found");
    for path in &files {
        let name = path
            .strip_prefix(root)
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(path).expect("a readable source");
        let code = blank(&text);
        findings.extend(head(&name, &text));
        findings.extend(length(&name, &text));
        findings.extend(functions(&name, &code));
        if let Some(name) = name.strip_prefix("src/") {
            findings.extend(imports(name, &code));
            panics.insert(name.to_owned(), panic_count(name, &code));
        }
    }
    findings.extend(ratchet(&panics, PANICS));
    let findings = without_known(findings, LONG);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Every Rust file of the project.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "config"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A file starts with what it owns and what it never does, and is not called mod.rs.
fn head(name: &str, text: &str) -> Option<String> {
    if name.ends_with("/mod.rs") {
        return Some(format!("{name}: rooms are room.rs + room/, not mod.rs"));
    }
    let first = text.lines().next().unwrap_or_default();
    (!first.starts_with("//! ")).then(|| format!("{name}: does not start with a `//!` head"))
}

fn length(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX)
        .then(|| format!("{name}: {lines} lines, {FILE_LINES_MAX} are the limit"))
}

/// Functions longer than the limit, signature and braces counted. `code` is blanked text.
fn functions(name: &str, code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, _) in words(code, "fn") {
        let rest = &code[at..];
        // A declaration without a body ends at `;` before any brace (array types keep their `;` inside brackets).
        let Some(open) = body_start(rest) else {
            continue;
        };
        let Some(close) = matching(rest, open) else {
            continue;
        };
        let lines = rest[..close].matches('\n').count() + 1;
        if lines > FUNCTION_LINES_MAX {
            let line = code[..at].matches('\n').count() + 1;
            let title = rest[2..]
                .trim_start()
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next();
            findings.push(format!(
                "{name}:{line}: function {} has {lines} lines, {FUNCTION_LINES_MAX} are the limit",
                title.unwrap_or("?")
            ));
        }
    }
    findings
}

/// Takes the functions on the list out of the findings; a listed function that is not found long is a finding of its own.
fn without_known(mut findings: Vec<String>, list: &[(&str, &str)]) -> Vec<String> {
    for (file, function) in list {
        let before = findings.len();
        let words = format!(": function {function} has ");
        findings.retain(|finding| !(finding.starts_with(file) && finding.contains(&words)));
        if findings.len() == before {
            findings.push(format!(
                "{file}: {function} is not too long any more: take it off the list in tests/tidy.rs"
            ));
        }
    }
    findings
}

/// Offset of the `{` that opens the body of the item at the start of `code`, or None when the item ends without one.
fn body_start(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Offset of the brace that closes the one at `open`.
fn matching(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Places where `word` stands as a whole word, with what follows it.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = at
            .checked_sub(1)
            .is_some_and(|before| part(code.as_bytes()[before]));
        let end = at + word.len();
        let after = code.as_bytes().get(end).copied().is_some_and(part);
        (!before && !after).then(|| (at, &code[end..]))
    })
}

/// The room a file belongs to: `views/registry.rs` and `views.rs` are `views`. lib.rs and main.rs belong to none.
fn room(name: &str) -> &str {
    name.split('/')
        .next()
        .unwrap_or(name)
        .trim_end_matches(".rs")
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

/// Imports that the table forbids. Every path that begins with `crate::`, or climbs to the crate's root by `super::`, counts,
/// whether in a `use` or in the middle of an expression.
fn imports(name: &str, code: &str) -> Vec<String> {
    let own = room(name);
    if own == "lib" || own == "main" {
        return Vec::new();
    }
    let Some(own_row) = row(own) else {
        return vec![format!(
            "src/{name}: the room `{own}` is not in the table of tests/tidy.rs"
        )];
    };
    let narrower = NARROWER
        .iter()
        .find(|(room, _)| *room == own)
        .map(|(_, allowed)| *allowed);
    let depth = name.split('/').count();
    let mut findings = Vec::new();
    for (at, target) in imported(code, depth) {
        let Some(target_row) = row(&target) else {
            continue;
        };
        let allowed = match narrower {
            Some(list) => list.contains(&target.as_str()),
            None => target_row < own_row,
        };
        if target != own && !allowed {
            let line = code[..at].matches('\n').count() + 1;
            findings.push(format!(
                "src/{name}:{line}: `{own}` may not import `{target}`"
            ));
        }
    }
    findings
}

/// Modules of the crate's root named in `code`, with where. `depth` is how many `super::` lead to the root from this file.
fn imported(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, rest) in words(code, "crate") {
        if let Some(path) = rest.strip_prefix("::") {
            found.extend(heads(path).into_iter().map(|head| (at, head)));
        }
    }
    for (at, rest) in words(code, "super") {
        let chain = code[..at].ends_with("super::");
        let mut rest = rest.strip_prefix("::");
        let mut count = 1;
        while let Some(next) = rest.and_then(|rest| rest.strip_prefix("super")) {
            rest = next.strip_prefix("::");
            count += 1;
        }
        // Only the first of a chain counts; a chain longer than needed comes from a module inside the file.
        if let Some(path) = rest.filter(|_| !chain && count >= depth) {
            found.extend(heads(path).into_iter().map(|head| (at, head)));
        }
    }
    found
}

/// The first names of a path or of a braced group of paths.
fn heads(path: &str) -> Vec<String> {
    let ident = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![ident(path)];
    };
    let mut depth = 0usize;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b',' | b'}' if depth == 0 => {
                found.push(ident(&group[start..at]));
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// How many calls that can panic stand in `code` outside tests.
fn panic_count(name: &str, code: &str) -> usize {
    if name.ends_with("/tests.rs") || name.contains("/tests/") {
        return 0;
    }
    let code = without_tests(code);
    let calls = [
        ".unwrap()",
        ".expect(\"",
        ".unwrap_err()",
        "panic!(",
        "todo!(",
        "unimplemented!(",
    ];
    calls.iter().map(|call| code.matches(call).count()).sum()
}

/// `code` without the items that `#[cfg(test)]` marks.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at + "#[cfg(test)]".len()..];
        let end = match body_start(item) {
            Some(open) => matching(item, open).map_or(item.len(), |close| close + 1),
            None => item.find(';').map_or(item.len(), |end| end + 1),
        };
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Compares what was counted with the list: more is forbidden, fewer must be written down.
fn ratchet(counted: &BTreeMap<String, usize>, list: &[(&str, usize)]) -> Vec<String> {
    let allowed: BTreeMap<&str, usize> = list.iter().copied().collect();
    let mut findings = Vec::new();
    for (name, count) in counted {
        let limit = allowed.get(name.as_str()).copied().unwrap_or(0);
        if *count > limit {
            findings.push(format!("src/{name}: {count} calls that can panic outside tests, {limit} allowed: return an error"));
        } else if *count < limit {
            findings.push(format!("src/{name}: only {count} calls that can panic are left: lower its number in tests/tidy.rs"));
        }
    }
    for name in allowed.keys().filter(|name| !counted.contains_key(**name)) {
        findings.push(format!(
            "src/{name}: gone: take it off the list in tests/tidy.rs"
        ));
    }
    findings
}

/// The text with comments and the insides of strings and characters replaced by spaces, so that what is left is code.
/// Offsets and line ends stay; the outer quotes of plain strings too.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if starts_word(bytes, at) => raw_string_end(bytes, at),
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        if bytes[at] == b'"' {
            out[at] = b'"';
            out[end - 1] = b'"';
        }
        at = end;
    }
    String::from_utf8(out).expect("only ASCII was put in, whole characters were taken out")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn starts_word(bytes: &[u8], at: usize) -> bool {
    // `br"..."` and `cr"..."` have one letter before; any longer word ending in r is an identifier.
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match at.checked_sub(1).map(|before| bytes[before]) {
        None => true,
        Some(b'b' | b'c') => !at.checked_sub(2).is_some_and(|before| part(&bytes[before])),
        Some(byte) => !part(&byte),
    }
}

fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    if bytes.get(start + 1 + hashes) != Some(&b'"') {
        return start;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = start + 2 + hashes;
    bytes[body..]
        .windows(close.len())
        .position(|window| window == close)
        .map_or(bytes.len(), |length| body + length + close.len())
}

/// A quote opens a character when it is escaped or closed by a quote one character later; else it is a lifetime.
fn character_end(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        return bytes[start + 3..]
            .iter()
            .position(|byte| *byte == b'\'')
            .map_or(bytes.len(), |length| start + 3 + length + 1);
    }
    let width = match bytes.get(start + 1) {
        Some(byte) if *byte >= 0xF0 => 4,
        Some(byte) if *byte >= 0xE0 => 3,
        Some(byte) if *byte >= 0xC0 => 2,
        _ => 1,
    };
    if bytes.get(start + 1 + width) == Some(&b'\'') {
        start + width + 2
    } else {
        start
    }
}

/// Each rule must be able to fail: bad samples, with the good ones that lie nearest.
mod samples {
    use super::*;

    #[test]
    fn upward_and_sideways_imports_are_found() {
        let bad = |name: &str, text: &str| imports(name, &blank(text)).len();
        assert_eq!(bad("backend/pool.rs", "use crate::analytics::Recorder;"), 1);
        assert_eq!(bad("backend.rs", "fn f() { crate::router::route() }"), 1);
        assert_eq!(
            bad(
                "cache.rs",
                "use crate::{\n config::Config,\n views::{View, Match},\n};"
            ),
            1
        );
        assert_eq!(bad("cache/key.rs", "use super::super::views::View;"), 1);
        assert_eq!(bad("protocol/packet.rs", "use crate::config::Config;"), 1);
        assert_eq!(bad("sql.rs", "use super::store::File;"), 1);
        assert_eq!(bad("closet.rs", ""), 1);
        assert_eq!(
            bad(
                "backend/pool.rs",
                "use crate::backend::x; use super::metrics; use crate::config;"
            ),
            0
        );
        assert_eq!(
            bad(
                "views/registry.rs",
                "// use crate::router;\nlet a = \"crate::admin\";"
            ),
            0
        );
        assert_eq!(
            bad(
                "session/query.rs",
                "use crate::{admin::Admin, protocol::packet};"
            ),
            0
        );
        assert_eq!(bad("main.rs", "use crate::server;"), 0);
    }

    #[test]
    fn files_without_head_or_too_long_are_found() {
        assert!(head("src/a.rs", "use std::fmt;\n").is_some());
        assert!(head("src/a.rs", "").is_some());
        assert!(head("src/a/mod.rs", "//! Good words.\n").is_some());
        assert!(head("src/a.rs", "//! Good words.\n").is_none());
        assert!(length("src/a.rs", &"\n".repeat(801)).is_some());
        assert!(length("src/a.rs", &"\n".repeat(800)).is_none());
    }

    #[test]
    fn long_functions_are_found() {
        let of = |lines: usize| {
            format!(
                "pub fn f(a: [u8; 2]) {{{}}}\nfn g() {{}}\n",
                "\n".repeat(lines - 1)
            )
        };
        assert_eq!(functions("a.rs", &blank(&of(71))).len(), 1);
        assert_eq!(functions("a.rs", &blank(&of(70))), Vec::<String>::new());
        let brace_in_text = format!(
            "fn f() {{ let a = \"}}\"; let b = '}}'; {} }}",
            "\n".repeat(71)
        );
        assert_eq!(functions("a.rs", &blank(&brace_in_text)).len(), 1);
        let declared = format!("trait T {{ fn f(&self) -> u8; {} }}", "\n".repeat(90));
        assert_eq!(functions("a.rs", &blank(&declared)), Vec::<String>::new());
    }

    #[test]
    fn ways_to_panic_are_counted_outside_tests_only() {
        let count = |text: &str| panic_count("a.rs", &blank(text));
        assert_eq!(
            count("fn f() { x.unwrap(); y.expect(\"why\"); panic!(\"no\") }"),
            3
        );
        assert_eq!(
            count("fn f() { x.unwrap_or(1); self.expect(Token::Comma)?; } // .unwrap()"),
            0
        );
        assert_eq!(
            count("#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }\nfn g() { y.unwrap() }"),
            1
        );
        assert_eq!(count("#[cfg(test)]\nmod tests;\nfn g() { y.unwrap() }"), 1);
        assert_eq!(panic_count("a/tests.rs", "x.unwrap()"), 0);
    }

    #[test]
    fn the_ratchet_turns_one_way() {
        let counted = |count| BTreeMap::from([("a.rs".to_owned(), count)]);
        assert!(ratchet(&counted(2), &[("a.rs", 2)]).is_empty());
        assert_eq!(ratchet(&counted(3), &[("a.rs", 2)]).len(), 1);
        assert_eq!(ratchet(&counted(1), &[("a.rs", 2)]).len(), 1);
        assert_eq!(ratchet(&counted(1), &[]).len(), 1);
        assert_eq!(ratchet(&BTreeMap::new(), &[("a.rs", 2)]).len(), 1);
    }

    #[test]
    fn the_list_of_long_functions_only_shrinks() {
        let found = || vec!["a.rs:1: function f has 71 lines, 70 are the limit".to_owned()];
        assert!(without_known(found(), &[("a.rs", "f")]).is_empty());
        assert_eq!(without_known(found(), &[]).len(), 1);
        assert_eq!(
            without_known(found(), &[("a.rs", "f"), ("a.rs", "g")]).len(),
            1
        );
        assert_eq!(without_known(found(), &[("b.rs", "f")]).len(), 2);
    }

    #[test]
    fn text_is_told_from_code() {
        let check = |text: &str, expected: &str| assert_eq!(blank(text), expected);
        check("a /* b /* c */ d */ e", "a                   e");
        check(
            r##"x(r#"a"b"#, 'c', '\'', b'"')"##,
            "x(        ,    ,     , b   )",
        );
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("\"a\\\"b\" + c", "\"    \" + c");
    }
}
