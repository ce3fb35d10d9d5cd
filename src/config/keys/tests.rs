//! The table of keys is complete, in order, and each row leads to its own place.

use super::*;

/// A value that the key allows and that is not its default.
fn other_value(key: &Key) -> Raw {
    let mut config = Config::default();
    match &key.field {
        Field::Flag(at) => Raw::Flag(!*at(&mut config)),
        Field::U32(at, min, max) => {
            other_number((*at(&mut config)).into(), (*min).into(), (*max).into())
        }
        Field::U64(at, min, max) => {
            other_number((*at(&mut config)).into(), (*min).into(), (*max).into())
        }
        Field::Usize(at, min, max) => {
            other_number(*at(&mut config) as i128, *min as i128, *max as i128)
        }
        Field::Ratio(..) => Raw::Float(0.25),
        Field::Tls(_) => Raw::Text("required".to_owned()),
        Field::BackendTls(_) => Raw::Text("verify_ca".to_owned()),
        Field::Compression(_) => Raw::Text("zstd".to_owned()),
        Field::Pool(_) => Raw::Text("session".to_owned()),
        Field::Reads(_) => Raw::Text("readers".to_owned()),
        Field::Consistency(_) => Raw::Text("eventual".to_owned()),
        Field::Format(_) => Raw::Text("json".to_owned()),
        Field::Address(_) => Raw::Text("127.0.0.9:9".to_owned()),
        Field::Text(..) if key.name == "log.level" => {
            Raw::Text("warn,tidegate::binlog=debug".to_owned())
        }
        Field::Text(..) | Field::Path(_) | Field::Secret(_) | Field::Engine(_) => {
            Raw::Text("other".to_owned())
        }
        Field::List(..) if key.name == "cache.digests" => {
            Raw::Texts(vec!["0123456789abcdefABCDEF0123456789".to_owned()])
        }
        Field::List(..) if key.name == "listen.proxy_protocol_networks" => {
            Raw::Texts(vec!["10.0.0.0/8".to_owned()])
        }
        Field::List(..) if key.name == "client.compression" => Raw::Texts(vec!["zstd".to_owned()]),
        Field::List(..) => Raw::Texts(vec!["some.thing".to_owned()]),
        Field::Url(_) => Raw::Text("mysql://u:p@h:1".to_owned()),
    }
}

fn other_number(default: i128, min: i128, max: i128) -> Raw {
    assert!(
        (min..=max).contains(&default),
        "the default {default} is out of range {min} to {max}"
    );
    Raw::Integer(if default == max { min } else { max })
}

#[test]
fn each_key_has_a_place_of_its_own() {
    for key in KEYS {
        let mut config = Config::default();
        key.set(&mut config, &other_value(key))
            .unwrap_or_else(|why| panic!("{} {why}", key.name));
        let changed: Vec<&str> = KEYS
            .iter()
            .filter(|other| other.value(&config) != other.default_value())
            .map(|other| other.name)
            .collect();
        assert_eq!(changed, [key.name]);
    }
}

#[test]
fn keys_stand_in_the_order_of_sections_and_once() {
    let mut place = 0;
    for key in KEYS {
        let at = SECTIONS
            .iter()
            .position(|(section, _)| *section == key.section());
        let at = at.unwrap_or_else(|| panic!("{} is in no section", key.name));
        assert!(at >= place, "{} is out of order", key.name);
        place = at;
        assert_eq!(
            KEYS.iter().filter(|other| other.name == key.name).count(),
            1,
            "{}",
            key.name
        );
        assert!(key.help.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn units_stand_in_names() {
    for key in KEYS {
        let named = |unit: &str| key.short().split('_').any(|word| word == unit);
        assert_eq!(named("ms"), key.unit == "ms", "{}", key.name);
        assert_eq!(named("bytes"), key.unit == "bytes", "{}", key.name);
    }
}

#[test]
fn both_ends_of_a_range_are_allowed_and_no_more() {
    for key in KEYS {
        let range: (i128, i128) = match key.field {
            Field::U32(_, min, max) => (min.into(), max.into()),
            Field::U64(_, min, max) => (min.into(), max.into()),
            Field::Usize(_, min, max) => (min as i128, max as i128),
            _ => continue,
        };
        let set = |value| key.set(&mut Config::default(), &Raw::Integer(value));
        assert_eq!(
            (set(range.0), set(range.1)),
            (Ok(()), Ok(())),
            "{}",
            key.name
        );
        assert!(
            set(range.0 - 1).is_err() && set(range.1 + 1).is_err(),
            "{}",
            key.name
        );
    }
}

#[test]
fn a_secret_is_not_shown_even_when_it_is_wrong() {
    for name in ["admin.password", "backend.url"] {
        let key = find(name).unwrap();
        for raw in [
            Raw::Integer(4711),
            Raw::Text("mysql://u:4711@".to_owned()),
            Raw::Texts(vec!["4711".to_owned()]),
        ] {
            let mut config = Config::default();
            let why = key.set(&mut config, &raw).err().unwrap_or_default();
            assert!(
                !why.contains("4711") && !key.value(&config).contains("4711"),
                "{name} {why}"
            );
        }
    }
}

#[test]
fn words_that_are_near() {
    let words = || ["connections_max", "idle_max", "app"].into_iter();
    assert_eq!(nearest("conections_max", words()), Some("connections_max"));
    assert_eq!(nearest("Idle_Max", words()), Some("idle_max"));
    assert_eq!(nearest("apps", words()), Some("app"));
    assert_eq!(nearest("http", words()), None);
}
