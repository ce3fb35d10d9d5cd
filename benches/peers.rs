//! The other programs between clients and server that Tidegate is compared with: started here, stopped when they are dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::MySql;
use crate::support::process::{self, Process};

/// The price of doing nothing.
pub fn start_forwarder(mysql: &MySql) -> (u16, Process) {
    let program = std::env::var_os("TIDEGATE_FLOOR").map(PathBuf::from);
    let port = process::free_port();
    let mut command = match program {
        Some(program) => Command::new(program),
        None => {
            let mut own = Command::new(std::env::current_exe().expect("a program knows its path"));
            own.arg("forward");
            own
        }
    };
    command.arg(port.to_string()).arg(mysql.port.to_string());
    let child = Process::spawn(
        "forwarder",
        command,
        &process::run_folder().join("forwarder.log"),
    );
    child
        .wait_ready(|| process::greets(port))
        .unwrap_or_else(|status| panic!("the forwarder ended: {status}"));
    (port, child)
}

/// HAProxy as a plain TCP proxy, when it is on PATH.
pub fn start_haproxy(mysql: &MySql) -> Option<(u16, Process)> {
    let port = process::free_port();
    let config = process::run_folder().join("haproxy.cfg");
    let text = format!(
        "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         listen mysql\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{}\n",
        mysql.port
    );
    std::fs::write(&config, text).expect("the configuration can be written");
    Command::new("haproxy").arg("-v").output().ok()?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&config);
    let child = Process::spawn(
        "haproxy",
        command,
        &process::run_folder().join("haproxy.log"),
    );
    child
        .wait_ready(|| process::greets(port))
        .unwrap_or_else(|status| panic!("haproxy ended: {status}"));
    Some((port, child))
}

/// One way through MySQL Router.
pub struct Router {
    /// Plain, or with connection sharing.
    pub name: &'static str,
    /// Where it listens.
    pub port: u16,
    /// The program.
    pub process: Process,
}

/// MySQL Router, one program for each of its two ways, where it can be had. Sharing wants passwords that it can repeat: without TLS,
/// that is the empty one of the account used here.
pub fn start_router(mysql: &MySql) -> Option<[Router; 2]> {
    let asked = Command::new(process::project().join("tests/tools/mysql-router"))
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let program = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim());
    let found = asked.status.success() && program.exists();
    found.then(|| {
        [("router", 0), ("router-shared", 1)]
            .map(|(name, sharing)| start_one_router(mysql, &program, name, sharing))
    })
}

fn start_one_router(mysql: &MySql, program: &Path, name: &'static str, sharing: u8) -> Router {
    let port = process::free_port();
    let folder = process::run_folder().join(name);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let plugins = program
        .with_file_name("tree")
        .join("usr/lib/mysqlrouter/plugin");
    let plugins = match plugins.exists() {
        true => format!("plugin_folder={}\n", plugins.display()),
        false => String::new(),
    };
    let at = folder.display();
    let text = format!(
        "[DEFAULT]\n{plugins}logging_folder=\nruntime_folder={at}\ndata_folder={at}\nconfig_folder={at}\nmax_total_connections=2000\n\
         [logger]\nlevel=WARNING\n[connection_pool]\nmax_idle_server_connections=64\n\
         [routing:r]\nbind_address=127.0.0.1\nbind_port={port}\nmax_connections=2000\ndestinations=127.0.0.1:{}\n\
         routing_strategy=first-available\nprotocol=classic\nconnection_sharing={sharing}\nclient_ssl_mode=DISABLED\nserver_ssl_mode=DISABLED\n",
        mysql.port
    );
    let config = folder.join("router.conf");
    std::fs::write(&config, text).expect("the configuration can be written");
    let mut command = Command::new(program);
    command.arg("-c").arg(&config);
    let process = Process::spawn(name, command, &folder.join("log"));
    process
        .wait_ready(|| process::greets(port))
        .unwrap_or_else(|status| panic!("{name} ended: {status}"));
    Router {
        name,
        port,
        process,
    }
}
