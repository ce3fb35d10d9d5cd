//! Real client programs, at the server and through the proxy: what they print must be the same. The programs, and the runner that
//! compares, are in tests/clients; here are the servers.

use std::process::Command;

use crate::support::{MySql, Tidegate, process};

/// The server, and one proxy for clients with and without TLS beside one that takes no client without.
struct Pair {
    open: Tidegate,
    only_tls: Tidegate,
}

impl Pair {
    fn start(server: &MySql, settings: &[(&str, &str)]) -> Pair {
        let start = |mode: &str| {
            let builder = Tidegate::of(server).set("tls.mode", mode);
            let builder = settings
                .iter()
                .fold(builder, |builder, (key, value)| builder.set(key, value));
            builder.start()
        };
        Pair {
            open: start("\"preferred\""),
            only_tls: start("\"required\""),
        }
    }

    /// As the runner wants it.
    fn argument(&self, name: &str) -> String {
        format!("{name}={},{}", self.open.app_port, self.only_tls.app_port)
    }

    fn stop(&self) {
        for gate in [&self.open, &self.only_tls] {
            let log = gate.log();
            assert!(!log.contains("panicked"), "{log}");
            gate.stop();
        }
    }
}

/// Runs tests/clients/run; its report goes to this test's own output.
fn run(server: &MySql, gates: &[(&str, &Pair)], arguments: &[&str]) {
    let mut command = Command::new(process::project().join("tests/clients/run"));
    command.arg("--direct").arg(server.port.to_string());
    for (name, pair) in gates {
        command.arg("--gate").arg(pair.argument(name));
    }
    let output = command
        .args(arguments)
        .stdout(std::process::Stdio::inherit());
    let status = output.status().expect("tests/clients/run runs");
    assert!(
        status.success(),
        "clients see differences: the lines are above"
    );
}

#[test]
fn the_command_line_clients_see_the_same() {
    let server = MySql::start(&[]);
    let pair = Pair::start(&server, &[]);
    run(&server, &[("default", &pair)], &["--quick"]);
    pair.stop();
}

#[test]
#[ignore = "fetches drivers and takes minutes: make clients"]
fn all_clients_see_the_same() {
    let server = MySql::start(&[]);
    let pair = Pair::start(&server, &[]);
    // Fewer than the clients' own pools open: their transactions take turns.
    let few = Pair::start(&server, &[("pool.connections_max", "3")]);
    let gates = [("default", &pair), ("On 3 connections", &few)];
    run(&server, &gates, &["--readme"]);
    pair.stop();
    few.stop();
}
