//! Every package that goes into the program, its tests and its build may be used under a permissive licence. Asks cargo for what
//! Cargo.lock holds; reads no source.

use std::process::Command;

/// Licences without obligations beyond naming their authors (SPDX identifiers).
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression (also in the old form with `/` for OR) can be met with permissive licences alone.
fn is_permissive(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced
        .split(|c: char| c.is_whitespace() || c == '/')
        .filter(|word| !word.is_empty())
        .collect();
    // `MIT/Apache-2.0` has no word between its parts: it means OR.
    let mut tokens: Vec<String> = Vec::new();
    for word in words {
        let operator = ["OR", "AND", "WITH", "(", ")"].contains(&word);
        let after_name = tokens
            .last()
            .is_some_and(|last| !["OR", "AND", "WITH", "("].contains(&last.as_str()));
        if !operator && after_name {
            tokens.push("OR".to_owned());
        }
        tokens.push(word.to_owned());
    }
    let mut rest = tokens.as_slice();
    any(&mut rest) == Some(true) && rest.is_empty()
}

/// Alternatives; `None` where there is no expression.
fn any(rest: &mut &[String]) -> Option<bool> {
    let mut met = all(rest)?;
    while take(rest, "OR") {
        met |= all(rest)?;
    }
    Some(met)
}

/// What must be met together; binds closer.
fn all(rest: &mut &[String]) -> Option<bool> {
    let mut met = one(rest)?;
    while take(rest, "AND") {
        met &= one(rest)?;
    }
    Some(met)
}

fn one(rest: &mut &[String]) -> Option<bool> {
    if take(rest, "(") {
        let met = any(rest)?;
        return take(rest, ")").then_some(met);
    }
    let (name, after) = rest.split_first()?;
    *rest = after;
    let mut name = name.clone();
    if take(rest, "WITH") {
        let (exception, after) = rest.split_first()?;
        *rest = after;
        name = format!("{name} WITH {exception}");
    }
    Some(PERMISSIVE.contains(&name.as_str()))
}

fn take(rest: &mut &[String], word: &str) -> bool {
    let found = rest.first().is_some_and(|first| first == word);
    if found {
        *rest = &rest[1..];
    }
    found
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_dependency_is_permissive() {
    let host = output(Command::new("rustc").arg("-vV"));
    let host = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    // Packages for other systems are not on this machine.
    let found = output(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .args(["--filter-platform", host])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let packages = found["packages"].as_array().expect("a list");
    assert!(packages.len() > 100, "{} packages", packages.len());
    let bad: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_permissive))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn expressions_are_read() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "MIT OR GPL-3.0-only",
        "(MIT OR GPL-2.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR MIT",
        "Apache-2.0 / MIT",
    ] {
        assert!(is_permissive(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT OR",
        "(MIT",
        "Apache-2.0 WITH Some-exception",
        "(GPL-2.0-only OR LGPL-3.0-only) AND MIT",
    ] {
        assert!(!is_permissive(bad), "{bad}");
    }
}
