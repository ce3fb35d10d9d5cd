//! The page with every key: config/tidegate.toml and the answer of `tidegate keys`. Made from KEYS, so that neither can
//! lag behind the code.

use std::fmt::Write;

use super::Config;
use super::keys::{Field, KEYS, Key, SECTIONS};
use super::rules::{RULE_FIELDS, RuleKind};

/// Lines of comment are broken here.
const WIDTH: usize = 110;

const HEAD: &str = "\
Tidegate: every key, with its default as the value. What is left out has its default.
This page is made from the code: `tidegate keys` prints it. `tidegate check-config FILE` looks for mistakes.
Units stand at the end of names: ..._ms are milliseconds, ..._bytes are bytes. Write numbers without a unit.
Changes take effect at the next start; where it says so, UPDATE settings in the admin schema changes a value at once.";

const LISTS: &str = r#"
# More servers of the cluster, beside that of backend.url: the same account and TLS settings. Who takes writes is looked at, not
# configured. weight is the share of reads against those of the other readers; 0: none.
# [[nodes]]
# name = "second"
# address = "db-2.example:3306"
# weight = 1

# Users whose passwords Tidegate knows. Nobody needs to be listed: whoever is not logs in with the password that the
# backend knows. Listed users can log in with mysql_native_password, too.
# [[users]]
# name = "app"
# password = "..."
"#;

const RULES: &str = "
Query rules, as many as needed; the admin table `rules` shows and changes them. All that is said of whom and what must
hold; then all of it is done. The first rule that matches is the only one, unless it `continues`.";

/// The page, for the keys whose names begin with `prefix`; all of them when it is empty.
pub fn page(prefix: &str) -> String {
    let mut page = String::new();
    if prefix.is_empty() {
        comment(&mut page, HEAD);
    }
    for (section, about) in SECTIONS {
        let keys: Vec<&Key> = KEYS
            .iter()
            .filter(|key| key.section() == *section && key.name.starts_with(prefix))
            .collect();
        if keys.is_empty() {
            continue;
        }
        if !section.is_empty() {
            page.push('\n');
            comment(&mut page, about);
            let _ = writeln!(page, "[{section}]");
        }
        for key in keys {
            page.push('\n');
            entry(&mut page, key);
        }
    }
    if prefix.is_empty() {
        page.push_str(LISTS);
        rules(&mut page);
    }
    page
}

/// What a rule can say, as comments: there is no rule by default.
fn rules(page: &mut String) {
    comment(page, RULES);
    comment(page, "[[rules]]");
    for field in RULE_FIELDS {
        let value = match &field.kind {
            RuleKind::Text(..) => "\"...\"",
            RuleKind::Number(..) => "0",
            RuleKind::Flag(_) if field.name == "enabled" => "true",
            RuleKind::Flag(_) => "false",
        };
        let text = format!("{} Allowed: {}.", field.help, field.allowed());
        page.push_str("#\n");
        comment(page, &text);
        comment(page, &format!("{} = {value}", field.name));
    }
}

fn entry(page: &mut String, key: &Key) {
    let default = value(key);
    comment(page, key.help);
    let live = if key.reloadable {
        " Can be changed while running."
    } else {
        ""
    };
    comment(
        page,
        &format!("Default: {default}. Allowed: {}.{live}", key.allowed()),
    );
    let _ = writeln!(page, "{} = {default}", key.short());
}

/// The default as TOML.
fn value(key: &Key) -> String {
    let value = key.value(&Config::default());
    match key.field {
        Field::Flag(_) | Field::U32(..) | Field::U64(..) | Field::Usize(..) | Field::Ratio(..) => {
            value
        }
        Field::List(at, _) => {
            let items = at(&mut Config::default()).clone();
            let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            format!("[{}]", quoted.join(", "))
        }
        _ => format!("\"{value}\""),
    }
}

fn comment(page: &mut String, text: &str) {
    for line in text.lines() {
        let mut length = 0;
        for word in line.split(' ') {
            if length > 0 && length + 1 + word.len() > WIDTH {
                page.push('\n');
                length = 0;
            }
            let before = if length == 0 { "# " } else { " " };
            page.push_str(before);
            page.push_str(word);
            length += before.len() + word.len();
        }
        page.push('\n');
    }
}
