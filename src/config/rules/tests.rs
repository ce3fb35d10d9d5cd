//! Rules that are refused say why; those that are taken keep what was written.

use super::*;

fn rule(fields: &[(&str, Raw)]) -> Result<Rule, String> {
    let mut rule = Rule::default();
    for (name, raw) in fields {
        let field = field_of(name).ok_or_else(|| format!("{name}: no such field"))?;
        field
            .set(&mut rule, raw)
            .map_err(|why| format!("{name} {why}"))?;
    }
    rule.check()
        .map_err(|mistake| format!("{} {}", mistake.field, mistake.what))?;
    Ok(rule)
}

fn text(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}

#[test]
fn each_field_has_a_place_of_its_own() {
    for field in RULE_FIELDS {
        let mut changed = Rule::default();
        let value = match &field.kind {
            RuleKind::Text(_, check) => {
                let digest = "0".repeat(32);
                let words = ["x", "writer", "always", "rule", "10.0.0.0/8", &digest];
                text(
                    words
                        .into_iter()
                        .find(|word| (check.holds)(word))
                        .expect("one that fits"),
                )
            }
            RuleKind::Number(..) => Raw::Integer(7),
            RuleKind::Flag(_) => Raw::Flag(field.name != "enabled"),
        };
        field.set(&mut changed, &value).unwrap();
        let others: Vec<&str> = RULE_FIELDS
            .iter()
            .filter(|other| other.get(&changed) != other.get(&Rule::default()))
            .map(|other| other.name)
            .collect();
        assert_eq!(others, [field.name]);
        assert_eq!(field.get(&changed), Some(value));
        assert!(field.help.ends_with('.') && field.help.len() > 20);
    }
}

/// Fields beside a name, and a part of what is said about them.
fn bad() -> Vec<(Vec<(&'static str, Raw)>, &'static str)> {
    let number = Raw::Integer;
    vec![
        (vec![], "name has nothing to do"),
        (vec![("name", text("a b"))], "allowed: 1 to 64 letters"),
        (
            vec![("digest", text("abc"))],
            "digest is \"abc\"; allowed: a digest",
        ),
        (
            vec![("client", text("10.0.0.0/33"))],
            "client is \"10.0.0.0/33\"; allowed: an address",
        ),
        (vec![("route", text("reeder"))], "allowed: writer or reader"),
        (
            vec![("timeout_ms", number(-1))],
            "timeout_ms is -1, out of range; allowed: 0 to 86400000",
        ),
        (vec![("timeout_ms", text("5"))], "timeout_ms is text"),
        (
            vec![("log", number(1))],
            "log is a whole number; allowed: true or false",
        ),
    ]
}

/// The same for a rule as a whole.
fn bad_together() -> Vec<(Vec<(&'static str, Raw)>, &'static str)> {
    let log = ("log", Raw::Flag(true));
    let number = Raw::Integer;
    vec![
        (
            vec![log.clone(), ("text", text("(a"))],
            "text is no regular expression: unclosed group",
        ),
        (
            vec![log.clone(), ("text", text(r"(a)\1"))],
            "backreferences are not supported",
        ),
        (
            vec![
                log.clone(),
                ("raw_text", text("(((a{1,999}){1,999}){1,999})")),
            ],
            "raw_text needs more than",
        ),
        (
            vec![log.clone(), ("text", text(&"(".repeat(600)))],
            "text is no regular expression",
        ),
        (
            vec![("block", text("no")), ("cache", text("never"))],
            "block stands beside",
        ),
        (vec![("rewrite", text("SELECT $1"))], "has no raw_text"),
        (
            vec![("raw_text", text("a(b)")), ("rewrite", text("SELECT $2"))],
            "group \"2\", which raw_text does not have",
        ),
        (
            vec![("raw_text", text("a(b)")), ("rewrite", text("SELECT ${x}"))],
            "group \"x\"",
        ),
        (
            vec![("raw_text", text("a(b)")), ("rewrite", text("SELECT $1x"))],
            "group \"1x\"",
        ),
        (
            vec![("concurrent_max", number(1)), ("queue_max", number(1))],
            "queue_max and queue_ms_max belong together",
        ),
        (
            vec![log.clone(), ("limit_by", text("user"))],
            "limit_by has no limit",
        ),
        (
            vec![log, ("breaker_pause_ms", number(1))],
            "breaker_timeouts is missing",
        ),
    ]
}

#[test]
fn bad_rules_say_why() {
    for (fields, part) in bad().into_iter().chain(bad_together()) {
        let named = [vec![("name", text("a"))], fields.clone()].concat();
        let why = rule(&named).unwrap_err();
        assert!(why.contains(part), "{fields:?}: {why}");
        assert!(!why.contains('\n'), "{why}");
    }
    let why = rule(&[("log", Raw::Flag(true))]).unwrap_err();
    assert!(why.contains("name is missing"), "{why}");
}

#[test]
fn good_rules_are_taken() {
    for fields in [
        vec![("block", text("no"))],
        vec![
            ("raw_text", text("from (?P<t>x) (y)")),
            ("rewrite", text("SELECT '$$5' FROM ${t} $2 ${1}")),
        ],
        vec![("rewrite", text("SELECT 1"))],
        vec![("text", text("^SELECT .* FROM `t` $"))],
    ] {
        let more = vec![("name", text("a")), ("log", Raw::Flag(true))];
        let fields = [fields, more].concat();
        let rule = rule(&fields).unwrap_or_else(|why| panic!("{fields:?}: {why}"));
        assert!(rule.enabled);
    }
}

#[test]
fn names_are_unique_and_positions_follow() {
    let of = |name: &str, position| Rule {
        name: name.to_owned(),
        position,
        log: true,
        ..Rule::default()
    };
    let (at, why) = check_all(&[of("a", 1), of("b", 2), of("A", 3)]).unwrap_err();
    assert_eq!((at, why.field), (2, "name"));
    let many: Vec<Rule> = (0..=RULES_MAX).map(|at| of(&format!("r{at}"), 0)).collect();
    assert_eq!(check_all(&many).unwrap_err().0, RULES_MAX);
    assert_eq!(check_all(&many[1..]), Ok(()));
    let mut rules = [of("a", 0), of("b", 25), of("c", 0), of("d", 5)];
    in_order(&mut rules);
    let order: Vec<(&str, u64)> = rules
        .iter()
        .map(|rule| (rule.name.as_str(), rule.position))
        .collect();
    assert_eq!(order, [("d", 5), ("b", 25), ("a", 30), ("c", 40)]);
}
