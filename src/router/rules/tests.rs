//! Each matcher meets what it means and nothing else; what rules say together; what is remembered.

use super::*;
use crate::sql::classify;

fn statement(text: &str) -> Statement {
    let mut scratch = DigestScratch::new(4096);
    scratch.run(text.as_bytes(), LexMode::default());
    classify::statement(&scratch, text.as_bytes())
}

fn rule(name: &str, change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule {
        name: name.to_owned(),
        log: true,
        ..Rule::default()
    };
    change(&mut rule);
    rule
}

const WHO: Who<'static> = Who {
    user: "app",
    app: "shop",
    schema: "s",
    address: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3))),
};

/// The names of the rules that a statement of somebody meets.
fn met(active: &Active, who: &Who<'_>, text: &str) -> Vec<&'static str> {
    let rules = active.now();
    let mut memo = Memo::default();
    let class = memo.class(&rules, who);
    let decision = match memo.verdict(&rules, class, &statement(text)) {
        Verdict::Nothing => None,
        Verdict::Decided(decision) => Some((*decision).clone()),
        Verdict::AskText(places) => rules.decide(&places, Some(text.as_bytes())),
    };
    decision.map_or(Vec::new(), |decision| rules.names(&decision.matched))
}

#[track_caller]
fn meets(change: impl FnOnce(&mut Rule), hit: (&Who<'_>, &str), miss: (&Who<'_>, &str)) {
    let active = Active::new(&[rule("r", change)]).unwrap();
    assert_eq!(met(&active, hit.0, hit.1), ["r"]);
    assert_eq!(met(&active, miss.0, miss.1), [""; 0]);
}

#[test]
fn each_matcher_meets_what_it_means() {
    let text = "select a from t where id = 5 /* x */";
    let digest = statement(text).id.to_string();
    meets(
        |r| r.digest = digest.to_uppercase(),
        (&WHO, text),
        (&WHO, "select b from t"),
    );
    meets(
        |r| r.text = "^select `a` from".to_owned(),
        (&WHO, text),
        (&WHO, "select b from t"),
    );
    meets(
        |r| r.text = r"\bDELETE\b".to_owned(),
        (&WHO, "delete from t"),
        (&WHO, "select 'delete'"),
    );
    meets(
        |r| r.raw_text = "= 5 ".to_owned(),
        (&WHO, text),
        (&WHO, "select a from t where id = 6 /* x */"),
    );
    meets(
        |r| r.raw_text = r"/\* X".to_owned(),
        (&WHO, text),
        (&WHO, "select a from t where id = 5"),
    );
    let other = |change: fn(&mut Who<'static>)| {
        let mut who = WHO;
        change(&mut who);
        who
    };
    meets(
        |r| r.user = "app".to_owned(),
        (&WHO, text),
        (&other(|w| w.user = "App"), text),
    );
    meets(
        |r| r.schema = "s".to_owned(),
        (&WHO, text),
        (&other(|w| w.schema = ""), text),
    );
    meets(
        |r| r.app = "shop".to_owned(),
        (&WHO, text),
        (&other(|w| w.app = "shop2"), text),
    );
    let elsewhere = other(|w| w.address = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 0))));
    meets(
        |r| r.client = "10.1.0.0/16".to_owned(),
        (&WHO, text),
        (&elsewhere, text),
    );
    let socket = other(|w| w.address = None);
    meets(
        |r| r.client = "0.0.0.0/0".to_owned(),
        (&WHO, text),
        (&socket, text),
    );
    let both = |r: &mut Rule| (r.user, r.text) = ("app".to_owned(), "SELECT".to_owned());
    meets(both, (&WHO, text), (&WHO, "delete from t"));
    let active = Active::new(&[rule("off", |r| r.enabled = false)]).unwrap();
    assert!(!active.is_any() && met(&active, &WHO, text).is_empty());
}

/// A text that is not UTF-8 is no way around a rule.
#[test]
fn raw_texts_are_bytes() {
    let active =
        Active::new(&[rule("r", |r| r.raw_text = "^select .* from t$".to_owned())]).unwrap();
    let rules = active.now();
    assert!(
        rules
            .decide(&[0], Some(b"SELECT '\xff\xfe\n' FROM t"))
            .is_some()
    );
    assert!(
        rules
            .decide(&[0], Some(b"SELECT '\xff\xfe' FROM u"))
            .is_none()
    );
}

#[test]
fn the_first_one_counts_and_others_join_where_it_continues() {
    let mut rules = [
        rule("a", |r| {
            (r.continues, r.cache, r.text) = (true, "never".to_owned(), "SELECT".to_owned())
        }),
        rule("b", |r| {
            (r.cache, r.route) = ("always".to_owned(), "reader".to_owned())
        }),
        rule("c", |r| r.block = "no".to_owned()),
    ];
    let active = Active::new(&rules).unwrap();
    assert_eq!(met(&active, &WHO, "select 1"), ["a", "b"]);
    assert_eq!(met(&active, &WHO, "delete from t"), ["b"]);
    let Verdict::Decided(said) = active.now().verdict(&[0, 1, 2], &statement("select 1")) else {
        panic!("nothing depends on the text")
    };
    assert_eq!(said.cache, Some((Caching::Never, "a")));
    assert_eq!(said.route, Some((Route::Reader, "b")));
    assert_eq!((said.block, said.logs), (None, true));
    // A rule that does not match its text stops nobody.
    rules[1].raw_text = "nowhere".to_owned();
    active.replace(&rules).unwrap();
    assert_eq!(met(&active, &WHO, "select 1"), ["a", "c"]);
}

#[test]
fn a_change_is_whole_and_counts_go_on() {
    let active = Active::new(&[rule("a", |_| {}), rule("b", |_| {})]).unwrap();
    active.now().at(1).unwrap().hit();
    let bad = [
        rule("b", |r| r.user = "x".to_owned()),
        rule("c", |r| r.text = "(".to_owned()),
    ];
    let (at, why) = active.replace(&bad).unwrap_err();
    assert_eq!((at, why.field), (1, "text"));
    assert_eq!(met(&active, &WHO, "select 1"), ["a"]);
    let epoch = active.now().epoch;
    active.replace(&bad[..1]).unwrap();
    let rules = active.now();
    assert_eq!((rules.epoch, rules.all.len()), (epoch + 1, 1));
    assert_eq!(
        rules.at(0).unwrap().counters.hits.load(Ordering::Relaxed),
        1
    );
    active.replace(&[]).unwrap();
    assert!(!active.is_any());
}

#[test]
fn what_is_remembered_holds_for_its_rules_only() {
    let active = Active::new(&[rule("a", |r| r.user = "app".to_owned())]).unwrap();
    let mut memo = Memo::default();
    let first = active.now();
    let class = memo.class(&first, &WHO);
    assert!(memo.knows(&first, class));
    let text = statement("select 1");
    assert!(matches!(
        memo.verdict(&first, class, &text),
        Verdict::Decided(_)
    ));
    active
        .replace(&[rule("a", |r| r.user = "job".to_owned())])
        .unwrap();
    let second = active.now();
    assert!(!memo.knows(&second, class));
    let class = memo.class(&second, &WHO);
    assert!(matches!(
        memo.verdict(&second, class, &text),
        Verdict::Nothing
    ));
    // More classes than are kept: numbers of before mean nothing any more.
    let many: Vec<Rule> = (0..12)
        .map(|bit| {
            rule(&format!("r{bit}"), |r| {
                (r.schema, r.continues) = (bit.to_string(), true)
            })
        })
        .chain((0..64).map(|u| rule(&format!("u{u}"), |r| r.user = format!("u{u}"))))
        .chain((0..64).map(|a| rule(&format!("a{a}"), |r| r.app = format!("a{a}"))))
        .collect();
    active.replace(&many).unwrap();
    let rules = active.now();
    let first = memo.class(&rules, &WHO);
    for (user, app) in (0..64).flat_map(|u| (0..64).map(move |a| (u, a))) {
        let (user, app) = (format!("u{user}"), format!("a{app}"));
        memo.class(
            &rules,
            &Who {
                user: &user,
                app: &app,
                ..WHO
            },
        );
        assert!(memo.classes.len() <= CLASSES_MAX);
    }
    assert!(!memo.knows(&rules, first));
}

#[test]
fn rewrites_are_whole_statements() {
    let of = |raw: &str, template: &str| {
        Active::new(&[rule("r", |r| {
            (r.raw_text, r.rewrite) = (raw.to_owned(), template.to_owned())
        })])
    };
    let active = of(
        r"^select (\w+) from (?<t>t)$",
        "SELECT $1, '$$1' FROM ${t}_new",
    )
    .unwrap();
    let rules = active.now();
    let text = rules.at(0).unwrap().rewritten(b"select a from t").unwrap();
    assert_eq!(text, b"SELECT a, '$1' FROM t_new");
    assert_eq!(rules.at(0).unwrap().rewritten(b"select a from u"), None);
    let plain = of("", "SELECT '$$'").unwrap();
    assert_eq!(
        plain.now().at(0).unwrap().rewritten(b"x").unwrap(),
        b"SELECT '$'"
    );
    for (template, part) in [
        ("SELECT 1; DROP TABLE t", "more than one statement"),
        ("SELEC 1", "no statement that is known"),
        ("SELECT (1", "cannot be understood"),
        ("SELECT 'a", "cannot be understood"),
        ("  ", "no statement"),
    ] {
        let (_, why) = of("", template).unwrap_err();
        assert!(
            why.field == "rewrite" && why.what.contains(part),
            "{template}: {why:?}"
        );
    }
    assert_eq!(
        check_text(b"SELECT ? FROM t WHERE a IN (?, ?)", LexMode::default()),
        Ok((Kind::Select, 3))
    );
}
