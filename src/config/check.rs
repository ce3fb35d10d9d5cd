//! Rules between keys: each value is allowed by itself, but not beside the others. And what is allowed but unwise.
//! Looks at files that the configuration names; changes nothing.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Config;
use super::load::Origins;
use super::mistake::{Mistake, Origin};
use super::types::{Choice, TlsMode};

/// Every rule between keys that is broken.
pub(super) fn together(config: &Config, origins: &Origins) -> Vec<Mistake> {
    let mut found = Found {
        origins,
        mistakes: Vec::new(),
    };
    addresses(config, &mut found);
    limits(config, &mut found);
    certificate(config, &mut found);
    nodes(config, &mut found);
    found.mistakes
}

struct Found<'a> {
    origins: &'a Origins,
    mistakes: Vec<Mistake>,
}

impl Found<'_> {
    /// Tells it at whichever of the keys was written; at the later one when both were.
    fn tell(&mut self, keys: [&str; 2], what: String) {
        let origin = keys.iter().filter_map(|key| self.origins.get(key)).max();
        self.mistakes.push(Mistake {
            origin: origin.cloned().unwrap_or(Origin::Default),
            what,
        });
    }

    /// `small` must not be larger than `large`.
    fn at_most(&mut self, small: (&str, u64), large: (&str, u64)) {
        if small.1 > large.1 {
            let what = format!(
                "{} is {}, more than {}, which is {}; allowed: at most the same",
                small.0, small.1, large.0, large.1
            );
            self.tell([small.0, large.0], what);
        }
    }
}

fn addresses(config: &Config, found: &mut Found<'_>) {
    let listen = &config.listen;
    let mut all = vec![("listen.app", listen.app), ("listen.admin", listen.admin)];
    if config.http.enabled {
        all.push(("listen.http", listen.http));
    }
    for (place, (name, address)) in all.iter().enumerate() {
        for (other, taken) in all.iter().take(place) {
            if overlap(*address, *taken) {
                let what = format!(
                    "{name} is {address}, and {other} is {taken}: two listeners on one port"
                );
                found.tell([name, other], what);
            }
        }
    }
    let url = &config.backend.url;
    let backend = url
        .host
        .parse()
        .ok()
        .or_else(|| (url.host == "localhost").then_some([127, 0, 0, 1].into()));
    let backend = backend.map(|host| SocketAddr::new(host, url.port));
    for (name, address) in all.iter().filter(|(name, _)| *name != "listen.http") {
        if backend.is_some_and(|backend| overlap(*address, backend)) {
            let what = format!(
                "{name} is {address}, and backend.url leads there: Tidegate would connect to itself"
            );
            found.tell([name, "backend.url"], what);
        }
    }
}

/// Each server once: two nodes at one address would be taken for two writers.
fn nodes(config: &Config, found: &mut Found<'_>) {
    let url = &config.backend.url;
    let mut all = vec![("backend.url", url.host.as_str(), url.port)];
    for node in &config.nodes {
        let taken = all
            .iter()
            .find(|(_, host, port)| (*host, *port) == (node.host.as_str(), node.port));
        if let Some((other, ..)) = taken {
            let what = format!("nodes.{} leads to where {other} leads", node.name);
            found.tell(["nodes", "nodes"], what);
        }
        all.push((node.name.as_str(), node.host.as_str(), node.port));
    }
}

/// Whether both cannot be listened on at once. Port 0 takes a free one.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let all = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() == right.port() && left.port() != 0 && (all || left.ip() == right.ip())
}

fn limits(config: &Config, found: &mut Found<'_>) {
    let pool = &config.pool;
    let connections = ("pool.connections_max", pool.connections_max as u64);
    found.at_most(
        (
            "pool.connections_per_user_max",
            pool.connections_per_user_max as u64,
        ),
        connections,
    );
    // The default of idle_max is not a wish: only what was written is held against a small pool.
    if found.origins.contains_key("pool.idle_max") {
        found.at_most(("pool.idle_max", pool.idle_max as u64), connections);
    }
    let (client, cache) = (&config.client, &config.cache);
    found.at_most(
        (
            "client.statement_bytes_max",
            client.statement_bytes_max as u64,
        ),
        ("client.packet_bytes_max", client.packet_bytes_max as u64),
    );
    if cache.enabled && found.origins.contains_key("cache.entry_bytes_max") {
        found.at_most(
            ("cache.entry_bytes_max", cache.entry_bytes_max as u64),
            ("cache.bytes_max", cache.bytes_max),
        );
    }
    let binlog = &config.binlog;
    if binlog.heartbeat_ms >= binlog.silence_ms_max {
        let what = format!(
            "binlog.heartbeat_ms is {}, and binlog.silence_ms_max is {}; allowed: a heartbeat shorter than the silence",
            binlog.heartbeat_ms, binlog.silence_ms_max
        );
        found.tell(["binlog.heartbeat_ms", "binlog.silence_ms_max"], what);
    }
}

fn certificate(config: &Config, found: &mut Found<'_>) {
    let (tls, backend) = (&config.tls, &config.backend);
    let named = |path: &Path| !path.as_os_str().is_empty();
    for ([name, other], cert, key) in [
        (["tls.cert", "tls.key"], &tls.cert, &tls.key),
        (
            ["backend.tls_cert", "backend.tls_key"],
            &backend.tls_cert,
            &backend.tls_key,
        ),
    ] {
        if named(cert) != named(key) {
            let what = format!("{name} and {other} belong together; allowed: both, or neither");
            found.tell([name, other], what);
        }
    }
    if backend.tls.verifies() && !named(&backend.tls_ca) {
        let what = format!(
            "backend.tls is {:?}, but backend.tls_ca names no file with the authorities to verify by",
            backend.tls.word()
        );
        found.tell(["backend.tls", "backend.tls_ca"], what);
    }
    if tls.client_cert_required && !(named(&tls.client_ca) && tls.mode == TlsMode::Required) {
        let what = "tls.client_cert_required is true, but clients may come without one; allowed: beside tls.client_ca and tls.mode = \"required\"";
        found.tell(["tls.client_cert_required", "tls.mode"], what.to_owned());
    }
    for (name, path) in [
        ("tls.cert", &tls.cert),
        ("tls.key", &tls.key),
        ("tls.client_ca", &tls.client_ca),
        ("backend.tls_ca", &backend.tls_ca),
        ("backend.tls_cert", &backend.tls_cert),
        ("backend.tls_key", &backend.tls_key),
    ] {
        if !named(path) {
            continue;
        }
        if let Err(why) = File::open(path) {
            found.tell(
                [name, name],
                format!("{name} is {}, which cannot be read: {why}", path.display()),
            );
        }
    }
}

/// What works but is worth a word.
pub(super) fn warnings(config: &Config, file: Option<&Path>) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(path) = file {
        let mode = path
            .metadata()
            .map_or(0, |metadata| metadata.permissions().mode());
        let url_in_file = !config.backend.url.password.is_empty();
        if mode & 0o004 != 0
            && (url_in_file || !config.admin.password.is_empty() || !config.users.is_empty())
        {
            warnings.push(format!(
                "{} can be read by everybody; if it holds passwords, chmod 600 it",
                path.display()
            ));
        }
    }
    if config.http.enabled && !config.listen.http.ip().is_loopback() {
        warnings.push(format!(
            "listen.http is {}: HTTP asks for no password",
            config.listen.http
        ));
    }
    if !config.backend.tls_ca.as_os_str().is_empty() && !config.backend.tls.verifies() {
        warnings.push(format!(
            "backend.tls_ca has no effect while backend.tls is {:?}",
            config.backend.tls.word()
        ));
    }
    if config.views.enabled && !config.binlog.enabled {
        warnings.push("views.enabled has no effect while binlog.enabled is false".to_owned());
    }
    warnings
}
