//! Configurations, good and bad. Bad ones are files in tests/cases/config with what must be said about them; with
//! TIDEGATE_BLESS=1 in the environment the expectations are written anew, to be read before they are committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::file::ConfigFile;
use super::load::{BACKEND_PASSWORD, Sources, load};
use super::*;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with the file, or writes it when asked to.
#[track_caller]
fn expect_file(path: &Path, text: &str) {
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{} differs", path.display());
}

#[test]
fn the_reference_file_is_the_page_that_the_code_makes() {
    expect_file(&root("config/tidegate.toml"), &reference::page(""));
}

#[test]
fn the_reference_file_has_every_key_and_says_the_defaults() {
    let path = root("config/tidegate.toml");
    let file = ConfigFile::read(&path);
    let written: BTreeSet<&str> = file
        .written
        .iter()
        .map(|written| written.key.name)
        .collect();
    let keys: BTreeSet<&str> = keys::KEYS.iter().map(|key| key.name).collect();
    assert_eq!(written, keys);
    let loaded = load(&Sources {
        file: Some(&path),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn every_bad_configuration_says_what_is_wrong() {
    let folder = root("tests/cases/config");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let said = match load(&Sources {
            file: Some(&path),
            ..Sources::default()
        }) {
            Ok(_) => panic!("{} has no mistake", path.display()),
            Err(error) => error.to_string(),
        };
        let said = said
            .replace(&format!("{}/", folder.display()), "")
            .replace(env!("CARGO_MANIFEST_DIR"), "ROOT");
        expect_file(&path.with_extension("expected"), &format!("{said}\n"));
        count += 1;
    }
    assert!(count >= 15, "only {count} cases were found");
}

#[track_caller]
fn refused(sources: &Sources<'_>, expected: &str) {
    assert_eq!(load(sources).unwrap_err().to_string(), expected);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    let sources = |path| Sources {
        file: Some(path),
        ..Sources::default()
    };
    let shown = path.display();
    refused(
        &sources(&path),
        &format!("{shown}: cannot be read: No such file or directory (os error 2)"),
    );
    refused(
        &sources(folder.path()),
        &format!(
            "{}: cannot be read: is a directory",
            folder.path().display()
        ),
    );
    std::fs::write(&path, b"[pool]\nidle_max = 3 # caf\xe9\n").unwrap();
    refused(
        &sources(&path),
        &format!("{shown}:2: is not UTF-8 text; save the file as UTF-8"),
    );
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    refused(
        &sources(&path),
        &format!("{shown}: is larger than 1048576 bytes, which no configuration is"),
    );
}

#[test]
fn a_backend_must_be_named_to_serve() {
    let sources = Sources {
        needs_backend: true,
        ..Sources::default()
    };
    assert!(
        load(&sources)
            .unwrap_err()
            .to_string()
            .contains("no backend is named: pass --backend mysql://")
    );
    let arguments = vec![("--backend", "backend.url", "127.0.0.1:3306".to_owned())];
    refused(
        &Sources {
            arguments,
            ..sources
        },
        "argument --backend: backend.url does not start with mysql://; allowed: mysql://USER:PASSWORD@HOST:PORT",
    );
}

#[test]
fn arguments_win_over_the_environment_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    let text = "backend.url = \"mysql://file:one@h\"\nlisten.app = \"127.0.0.1:1\"\nadmin.password = \"a\"\n";
    std::fs::write(&path, text).unwrap();
    let sources = |variables: &[(&'static str, &str)],
                   arguments: &[(&'static str, &'static str, &str)]| Sources {
        file: Some(&path),
        variables: variables
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        arguments: arguments
            .iter()
            .map(|(name, key, value)| (*name, *key, (*value).to_owned()))
            .collect(),
        needs_backend: true,
    };
    let url = |sources: Sources<'_>| {
        let url = load(&sources).unwrap().config.backend.url;
        format!("{}:{}", url.user, url.password.reveal())
    };
    assert_eq!(url(sources(&[], &[])), "file:one");
    assert_eq!(url(sources(&[(BACKEND_PASSWORD, "p@:")], &[])), "file:p@:");
    let variables = [
        ("TIDEGATE_BACKEND_URL", "mysql://env@h"),
        (BACKEND_PASSWORD, "two"),
    ];
    assert_eq!(url(sources(&variables, &[])), "env:two");
    assert_eq!(
        url(sources(
            &variables,
            &[("--backend", "backend.url", "mysql://arg@h")]
        )),
        "arg:two"
    );
    assert_eq!(
        url(sources(
            &variables,
            &[("--backend", "backend.url", "mysql://arg:three@h")]
        )),
        "arg:three"
    );
    let arguments = [("--listen", "listen.app", "localhost:2")];
    let config = load(&sources(&[("TIDEGATE_ADMIN_PASSWORD", "b")], &arguments))
        .unwrap()
        .config;
    assert_eq!(
        (
            config.listen.app.to_string().as_str(),
            config.admin.password.reveal()
        ),
        ("127.0.0.1:2", "b")
    );
}

#[test]
fn settings_show_values_and_no_secrets() {
    let mut config = Config::default();
    config.backend.url = "mysql://u:secret@h".parse().unwrap();
    config.admin.password = Secret::new("secret");
    config.pool.idle_max = 3;
    let settings = config.settings();
    let value = |name| {
        settings
            .iter()
            .find(|setting| setting.name == name)
            .unwrap()
            .value
            .as_str()
    };
    assert_eq!(value("backend.url"), "mysql://u:***@h:3306");
    assert_eq!(
        (
            value("admin.password"),
            value("pool.idle_max"),
            value("cache.tables")
        ),
        ("***", "3", "[]")
    );
    assert!(
        !format!("{settings:?} {config:?}").contains("secret@")
            && !format!("{config:?}").contains("\"secret\"")
    );
}

#[test]
fn unwise_configurations_get_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    let text =
        "[admin]\npassword = \"x\"\n[listen]\nhttp = \"0.0.0.0:6070\"\n[binlog]\nenabled = false\n";
    std::fs::write(&path, text).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap()
    };
    let warnings = || {
        load(&Sources {
            file: Some(&path),
            ..Sources::default()
        })
        .unwrap()
        .warnings
    };
    mode(0o644);
    assert_eq!(warnings().len(), 3, "{:?}", warnings());
    mode(0o600);
    assert_eq!(warnings().len(), 2, "{:?}", warnings());
}

#[test]
fn the_command_line_is_consistent() {
    use clap::{CommandFactory, Parser};
    cli::Cli::command().debug_assert();
    let parsed = cli::Cli::try_parse_from([
        "tidegate",
        "serve",
        "--backend",
        "mysql://u@h",
        "--log-format",
        "json",
    ]);
    let cli::Command::Serve(serve) = parsed.unwrap().command else {
        panic!("not serve")
    };
    let loaded = load(&serve.sources()).unwrap();
    assert_eq!(
        (
            loaded.config.backend.url.host.as_str(),
            loaded.config.log.format
        ),
        ("h", LogFormat::Json)
    );
    for (_, key, _) in serve.sources().arguments {
        assert!(keys::find(key).is_some(), "{key}");
    }
}

proptest::proptest! {
    /// Whatever the file holds, it is understood or refused; it never ends the program.
    #[test]
    fn no_text_is_too_odd(text in "(\\[?[a-z\\[\\]]{1,6}\\]?\n|[a-z.]{1,8} ?= ?[\\[\\]a-z0-9\"'{},.-]{0,8}\n|.{0,12}\n){0,8}") {
        let file = ConfigFile::parse(Path::new("x.toml"), &text);
        for mistake in &file.mistakes {
            let lines = text.lines().count() + 1;
            proptest::prop_assert!(matches!(mistake.origin, mistake::Origin::File(_, line) if line >= 1 && line <= lines));
        }
    }
}
