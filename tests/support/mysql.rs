//! Private MySQL and MariaDB servers: each with its own data folder, copied from an initialised template, on a free port.
//! The programs come from `tests/tools/mysql-tree`. Users: `root` without a password, and [`APP_USER`] with [`APP_PASSWORD`].

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use mysql_async::prelude::Queryable;

use super::process::{self, Process};

/// An ordinary application user that every server here knows, with all rights on all schemas.
pub const APP_USER: &str = "app";
/// Its password: not empty, and with characters that need care in URLs.
pub const APP_PASSWORD: &str = "s3cret/of@app";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Oracle MySQL 8.0 or newer, with the mock secondary engine where the machine has it.
    MySql,
    /// MariaDB, the second server: no caching_sha2_password by default, no secondary engine.
    MariaDb,
}

/// One running server.
pub struct MySql {
    /// What it is.
    pub flavour: Flavour,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl MySql {
    /// A MySQL server of your own, with more arguments for mysqld. Stopped and removed when dropped.
    pub fn start(arguments: &[&str]) -> MySql {
        MySql::start_flavour(Flavour::MySql, arguments)
    }

    /// A MySQL server with the mock secondary engine; panics with the reason where the engine cannot be had.
    pub fn start_with_mock(arguments: &[&str]) -> MySql {
        let facts = Launchers::of(Flavour::MySql).fact("mock");
        assert!(
            facts == "yes",
            "this test needs MySQL's mock secondary engine, which is not there: {facts}"
        );
        let mut all = vec!["--plugin-load-add=ha_mock.so"];
        all.extend(arguments);
        MySql::start(&all)
    }

    /// A MariaDB server of your own.
    pub fn start_mariadb(arguments: &[&str]) -> MySql {
        MySql::start_flavour(Flavour::MariaDb, arguments)
    }

    /// The MySQL server that all tests share. Work in a [`MySql::schema`] of your own, change nothing global, never stop it.
    pub fn shared() -> &'static MySql {
        static SHARED: OnceLock<MySql> = OnceLock::new();
        SHARED.get_or_init(|| MySql::start(&[]))
    }

    /// The MariaDB server that all tests share, under the same rules.
    pub fn shared_mariadb() -> &'static MySql {
        static SHARED: OnceLock<MySql> = OnceLock::new();
        SHARED.get_or_init(|| MySql::start_mariadb(&[]))
    }

    fn start_flavour(flavour: Flavour, arguments: &[&str]) -> MySql {
        let folder = process::new_folder(Launchers::of(flavour).server_name());
        copy_template(flavour, &folder.join("data"));
        let arguments = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        let mut server = MySql {
            flavour,
            port: 0,
            folder,
            arguments,
            process: Mutex::new(None),
        };
        // The port is free when chosen, yet another program may take it before the server does.
        for attempt in 1.. {
            server.port = process::free_port();
            match server.launch() {
                Ok(()) => break,
                Err(status) => assert!(
                    attempt < 3,
                    "the server ends at its start ({status}):\n{}",
                    server.log_end()
                ),
            }
        }
        server.run(&format!("CREATE USER '{APP_USER}'@'%' IDENTIFIED BY '{APP_PASSWORD}'; GRANT ALL ON *.* TO '{APP_USER}'@'%'"));
        server
    }

    fn launch(&self) -> Result<(), ExitStatus> {
        let mut command = Command::new(Launchers::of(self.flavour).server());
        command
            .arg(format!("--datadir={}", self.folder.join("data").display()))
            .arg(format!("--port={}", self.port))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.folder.join("pid").display()))
            .args([
                "--bind-address=127.0.0.1",
                "--server-id=1",
                "--local-infile=ON",
                "--secure-file-priv=",
            ])
            .args([
                "--max-connections=500",
                "--innodb-buffer-pool-size=128M",
                "--performance-schema=ON",
            ]);
        match self.flavour {
            Flavour::MySql => command.args([
                "--mysqlx=OFF",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--binlog-row-metadata=FULL",
            ]),
            Flavour::MariaDb => command.args([
                "--log-bin=binlog",
                "--binlog-format=ROW",
                "--binlog-row-metadata=FULL",
                // A plan, and with it the bit for an unused index, must not depend on when a background thread counts rows.
                "--innodb-stats-auto-recalc=OFF",
            ]),
        };
        command.args(&self.arguments);
        let server = Process::spawn(
            Launchers::of(self.flavour).server_name(),
            command,
            &self.log_file(),
        );
        let ready = server.wait_ready(|| process::greets(self.port));
        *self.process.lock().expect("not poisoned") = Some(server);
        ready
    }

    /// Ends the server as an operator would (SIGTERM) and waits for it.
    pub fn stop(&self) {
        self.take().stop();
    }

    /// kill -9 and wait for the end of the process.
    pub fn kill9(&self) {
        self.take().kill9();
    }

    /// Starts the server again after [`MySql::stop`] or [`MySql::kill9`], on the same port and data.
    pub fn start_again(&self) {
        if let Err(status) = self.launch() {
            panic!(
                "the server does not come up again ({status}):\n{}",
                self.log_end()
            );
        }
    }

    /// Stops and starts the server.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// SIGSTOP: the server hangs, its sockets stay open. [`MySql::resume`] ends that.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        self.process
            .lock()
            .expect("not poisoned")
            .as_ref()
            .expect("the server runs")
            .signal(signal);
    }

    fn take(&self) -> Process {
        self.process
            .lock()
            .expect("not poisoned")
            .take()
            .expect("the server runs")
    }

    /// Process id of the server.
    pub fn id(&self) -> u32 {
        self.process
            .lock()
            .expect("not poisoned")
            .as_ref()
            .expect("the server runs")
            .id()
    }

    /// Path of its unix socket. Kept short: such paths are limited to 107 bytes.
    pub fn socket(&self) -> PathBuf {
        std::env::temp_dir().join(format!("tidegate-{}.sock", self.port))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log_end(&self) -> String {
        let text = std::fs::read(self.log_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// `mysql://user:password@host:port/schema` for the application user (empty schema: none).
    pub fn url(&self, schema: &str) -> String {
        url(APP_USER, APP_PASSWORD, self.port, schema)
    }

    /// The same for root.
    pub fn root_url(&self) -> String {
        url("root", "", self.port, "")
    }

    /// A direct connection as the application user (empty schema: none).
    pub async fn connect(&self, schema: &str) -> mysql_async::Conn {
        connect(self.port, APP_USER, APP_PASSWORD, schema).await
    }

    /// A direct connection as root.
    pub async fn connect_root(&self) -> mysql_async::Conn {
        connect(self.port, "root", "", "").await
    }

    /// Runs statements as root by the server's own client; gives what it prints, without column names. For set-up.
    pub fn run(&self, sql: &str) -> String {
        let mut client = self.client();
        let output = client
            .args(["-uroot", "-BN", "-e", sql])
            .output()
            .expect("the client runs");
        assert!(
            output.status.success(),
            "{sql}\nfailed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The server's own command line client, pointed at this server; give it a user and what to do.
    pub fn client(&self) -> Command {
        let mut client = Launchers::of(self.flavour).client();
        client
            .args(["-h127.0.0.1", &format!("-P{}", self.port)])
            .stdin(Stdio::null());
        client
    }

    /// A fresh, empty schema with a name of its own that starts with `prefix`.
    pub fn schema(&self, prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.run(&format!("CREATE DATABASE `{name}`"));
        name
    }
}

impl Drop for MySql {
    fn drop(&mut self) {
        // The process first (its own drop kills it), then what it wrote.
        drop(self.process.get_mut().map(Option::take));
        let _ = std::fs::remove_file(self.socket());
        if std::env::var_os("TIDEGATE_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Connects an ordinary client (mysql_async) to a port of this machine.
pub async fn connect(port: u16, user: &str, password: &str, schema: &str) -> mysql_async::Conn {
    let options = options(port, user, password, schema);
    match mysql_async::Conn::new(options).await {
        Ok(conn) => conn,
        Err(error) => panic!("{user} cannot log in on port {port}: {error}"),
    }
}

/// Options of such a client: TCP only, no hidden set-up statements.
pub fn options(port: u16, user: &str, password: &str, schema: &str) -> mysql_async::OptsBuilder {
    mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(user))
        .pass(Some(password))
        .db_name((!schema.is_empty()).then_some(schema))
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
}

/// `mysql://..` with everything escaped that must be.
pub fn url(user: &str, password: &str, port: u16, schema: &str) -> String {
    let escape = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let secret = if password.is_empty() {
        String::new()
    } else {
        format!(":{}", escape(password))
    };
    format!(
        "mysql://{}{secret}@127.0.0.1:{port}/{}",
        escape(user),
        escape(schema)
    )
}

/// Every row of a text query as strings, NULL as `None`: for comparisons cell by cell.
pub async fn cells(
    conn: &mut mysql_async::Conn,
    sql: &str,
) -> mysql_async::Result<Vec<Vec<Option<Vec<u8>>>>> {
    let rows: Vec<mysql_async::Row> = conn.query(sql).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            row.unwrap()
                .into_iter()
                .map(|value| match value {
                    mysql_async::Value::NULL => None,
                    mysql_async::Value::Bytes(bytes) => Some(bytes),
                    other => Some(other.as_sql(true).into_bytes()),
                })
                .collect()
        })
        .collect())
}

/// The folder of launchers that `tests/tools/mysql-tree` made.
pub struct Launchers {
    flavour: Flavour,
    folder: PathBuf,
}

impl Launchers {
    /// Made on first use; that may fetch packages and take a minute.
    pub fn of(flavour: Flavour) -> &'static Launchers {
        static MYSQL: OnceLock<Launchers> = OnceLock::new();
        static MARIADB: OnceLock<Launchers> = OnceLock::new();
        let (cell, option) = match flavour {
            Flavour::MySql => (&MYSQL, if cfg!(test) { "--mock" } else { "--mysql" }),
            Flavour::MariaDb => (&MARIADB, "--mariadb"),
        };
        cell.get_or_init(|| {
            let tool = process::project().join("tests/tools/mysql-tree");
            let output = Command::new(tool)
                .arg(option)
                .stderr(Stdio::inherit())
                .output()
                .expect("tests/tools/mysql-tree runs");
            let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            assert!(
                output.status.success() && !folder.is_empty(),
                "no database server: see what mysql-tree said above"
            );
            Launchers {
                flavour,
                folder: folder.into(),
            }
        })
    }

    /// `mysqld` or `mariadbd`.
    pub fn server_name(&self) -> &'static str {
        match self.flavour {
            Flavour::MySql => "mysqld",
            Flavour::MariaDb => "mariadbd",
        }
    }

    /// Path of the server's launcher.
    pub fn server(&self) -> PathBuf {
        self.folder.join(self.server_name())
    }

    /// The flavour's own command line client, not yet pointed at a server.
    pub fn client(&self) -> Command {
        Command::new(self.folder.join(match self.flavour {
            Flavour::MySql => "mysql",
            Flavour::MariaDb => "mariadb",
        }))
    }

    /// One value of the `facts` file: `version`, `source` or `mock`.
    pub fn fact(&self, name: &str) -> String {
        let text =
            std::fs::read_to_string(self.folder.join("facts")).expect("the facts file is there");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("unknown").to_owned()
    }

    fn init(&self, folder: &Path) {
        let status = Command::new(self.folder.join("init-datadir"))
            .arg(folder)
            .status()
            .expect("init-datadir runs");
        assert!(status.success(), "the data folder cannot be initialised");
    }
}

/// Copies the initialised data folder of this run; it is made once, on first use.
fn copy_template(flavour: Flavour, target: &Path) {
    static MYSQL: OnceLock<PathBuf> = OnceLock::new();
    static MARIADB: OnceLock<PathBuf> = OnceLock::new();
    let cell = if flavour == Flavour::MySql {
        &MYSQL
    } else {
        &MARIADB
    };
    let template = cell.get_or_init(|| {
        let folder = process::new_folder("template").join("data");
        Launchers::of(flavour).init(&folder);
        folder
    });
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto", "--sparse=always"])
        .arg(template)
        .arg(target)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the template cannot be copied"
    );
}
