//! The built `tidegate` program in front of a server of [`super::mysql`], on free ports, with its log in a file.
//! Stops it by SIGTERM and asserts that it goes down cleanly.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;

use mysql_async::prelude::{FromRow, Queryable};

use super::mysql::{APP_PASSWORD, APP_USER, MySql, connect};
use super::process::{self, Process};

/// The admin password in the configuration written here.
pub const ADMIN_PASSWORD: &str = "admin-of-test";

/// A configuration to be; `start` makes it run.
pub struct Builder {
    backend_url: String,
    settings: Vec<(String, String)>,
    program: PathBuf,
}

impl Builder {
    /// Sets a key as TOML, such as `("views.repeat_count_min", "2")` or `("cache.tables", "[\"a.b\"]")`. The last one wins.
    pub fn set(mut self, key: &str, value: &str) -> Builder {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Another program than the one built with the tests.
    pub fn program(mut self, program: PathBuf) -> Builder {
        self.program = program;
        self
    }

    /// Another backend URL (another control-plane user, another server).
    pub fn backend_url(mut self, url: &str) -> Builder {
        self.backend_url = url.to_owned();
        self
    }

    /// Starts the program and waits until it serves on every listener.
    pub fn start(self) -> Tidegate {
        let folder = process::new_folder("tidegate");
        let mut gate = Tidegate {
            app_port: 0,
            admin_port: 0,
            http_port: 0,
            folder,
            builder: self,
            process: Mutex::new(None),
        };
        for attempt in 1.. {
            gate.app_port = process::free_port();
            gate.admin_port = process::free_port();
            gate.http_port = process::free_port();
            match gate.launch() {
                Ok(()) => break,
                Err(status) => assert!(
                    attempt < 3,
                    "tidegate ends at its start ({status}):\n{}",
                    gate.log()
                ),
            }
        }
        gate
    }
}

/// A running Tidegate.
pub struct Tidegate {
    /// Where applications connect.
    pub app_port: u16,
    /// The admin schema.
    pub admin_port: u16,
    /// HTTP.
    pub http_port: u16,
    folder: PathBuf,
    builder: Builder,
    process: Mutex<Option<Process>>,
}

impl Tidegate {
    /// In front of `server`, with root as the control-plane user.
    pub fn of(server: &MySql) -> Builder {
        Builder {
            backend_url: server.root_url(),
            settings: Vec::new(),
            program: default_program(),
        }
    }

    fn launch(&self) -> Result<(), ExitStatus> {
        let config = self.folder.join("tidegate.toml");
        std::fs::write(&config, self.config()).expect("the configuration can be written");
        // It holds passwords.
        std::fs::set_permissions(&config, Permissions::from_mode(0o600)).expect("ours to change");
        let mut command = Command::new(&self.builder.program);
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("RUST_BACKTRACE", "1");
        let child = Process::spawn("tidegate", command, &self.log_file());
        let ready = child.wait_ready(|| {
            process::greets(self.app_port)
                && process::greets(self.admin_port)
                && process::http_status(self.http_port, "/readyz") == Some(200)
        });
        *self.process.lock().expect("not poisoned") = Some(child);
        ready
    }

    /// The configuration file: what every test needs, then what the test set, one table a section.
    fn config(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut settings = vec![
            (
                "listen.app".to_owned(),
                quoted(&format!("127.0.0.1:{}", self.app_port)),
            ),
            (
                "listen.admin".to_owned(),
                quoted(&format!("127.0.0.1:{}", self.admin_port)),
            ),
            (
                "listen.http".to_owned(),
                quoted(&format!("127.0.0.1:{}", self.http_port)),
            ),
            ("backend.url".to_owned(), quoted(&self.builder.backend_url)),
            ("admin.password".to_owned(), quoted(ADMIN_PASSWORD)),
            (
                "data_dir".to_owned(),
                quoted(&self.folder.join("data").display().to_string()),
            ),
        ];
        for (key, value) in &self.builder.settings {
            settings.retain(|(other, _)| other != key);
            settings.push((key.clone(), value.clone()));
        }
        // Keys before the first table belong to the top: those without a section go first.
        settings.sort_by_key(|(key, _)| key.contains('.'));
        settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect()
    }

    /// Everything it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Where it keeps files of its own.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// SIGTERM; panics unless it ends with 0.
    pub fn stop(&self) {
        let status = self.take().stop();
        assert!(
            status.success(),
            "tidegate ended with {status}:\n{}",
            self.log()
        );
    }

    /// SIGTERM, without waiting for anything.
    pub fn ask_to_stop(&self) {
        self.process
            .lock()
            .expect("not poisoned")
            .as_ref()
            .expect("tidegate runs")
            .signal(libc::SIGTERM);
    }

    /// Waits for the end of the process after [`Tidegate::ask_to_stop`].
    pub fn wait_end(&self) -> ExitStatus {
        self.take().wait()
    }

    /// kill -9 and wait for the end of the process.
    pub fn kill9(&self) {
        self.take().kill9();
    }

    /// Starts it again after [`Tidegate::stop`] or [`Tidegate::kill9`], on the same ports and data folder.
    pub fn start_again(&self) {
        if let Err(status) = self.launch() {
            panic!(
                "tidegate does not come up again ({status}):\n{}",
                self.log()
            );
        }
    }

    fn take(&self) -> Process {
        self.process
            .lock()
            .expect("not poisoned")
            .take()
            .expect("tidegate runs")
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process
            .lock()
            .expect("not poisoned")
            .as_ref()
            .expect("tidegate runs")
            .id()
    }

    /// Whether the process still runs.
    pub fn runs(&self) -> bool {
        self.process
            .lock()
            .expect("not poisoned")
            .as_ref()
            .is_some_and(|process| process.exited().is_none())
    }

    /// Resident memory of the process in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id()))
            .expect("the process runs");
        let line = text
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("the kernel tells it");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("a number")
            * 1024
    }

    /// Files and sockets that the process has open.
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.id());
        std::fs::read_dir(folder).expect("the process runs").count()
    }

    /// An application's connection through the proxy (empty schema: none).
    pub async fn connect(&self, schema: &str) -> mysql_async::Conn {
        connect(self.app_port, APP_USER, APP_PASSWORD, schema).await
    }

    /// A connection to the admin port.
    pub async fn connect_admin(&self) -> mysql_async::Conn {
        connect(self.admin_port, "admin", ADMIN_PASSWORD, "").await
    }

    /// One query of the admin schema, on a connection of its own.
    pub async fn admin<T: FromRow + Send + 'static>(&self, sql: &str) -> Vec<T> {
        let mut conn = self.connect_admin().await;
        let rows = conn
            .query(sql)
            .await
            .unwrap_or_else(|error| panic!("admin query failed: {sql}: {error}"));
        let _ = conn.disconnect().await;
        rows
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of tidegate on port {} ---\n{}",
                self.app_port,
                self.log()
            );
        }
    }
}

/// The program built with the tests; for an example, the one beside it in the same profile's folder.
fn default_program() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_tidegate") {
        Some(path) => path.into(),
        None => {
            let own = std::env::current_exe().expect("a program knows its path");
            own.ancestors()
                .nth(2)
                .expect("target/<profile>/examples/<name>")
                .join("tidegate")
        }
    }
}
