//! How clients come in and how we go on to the backend: compression, plugins, certificates, addresses.

mod addresses;
mod compression;
mod logins;
mod plugins;
mod tls;

use std::process::Output;

use crate::support::mysql::{Flavour, Launchers};

/// What a command line client prints, errors first, for one text of statements.
fn ask(
    flavour: Flavour,
    port: u16,
    user: &str,
    password: &str,
    arguments: &[&str],
    sql: &str,
) -> String {
    let mut client = Launchers::of(flavour).client();
    client
        .args(["-h127.0.0.1", &format!("-P{port}"), &format!("-u{user}")])
        .args(["-BN", "-e", sql])
        .args(arguments)
        .env("MYSQL_PWD", password);
    let Output { stdout, stderr, .. } = client.output().expect("the client runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&stderr) + &text(&stdout)
}
