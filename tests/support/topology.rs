//! Several MySQL servers that copy from one: started together, with GTIDs, and turned by hand as an operator would. Root does all
//! of it; readers have `super_read_only` on, which survives their restart.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::mysql::MySql;
use super::tidegate::{Builder, Tidegate};

/// Longest wait for a copy to be made.
const COPY_MAX: Duration = Duration::from_secs(60);

/// A writer and its readers. The writer is whichever server was made it last.
pub struct Topology {
    /// All servers; the first one was the writer at the start.
    pub servers: Vec<MySql>,
}

impl Topology {
    /// One writer and two readers.
    pub fn start() -> Topology {
        let servers: Vec<MySql> = std::thread::scope(|scope| {
            let start = |id: u32| scope.spawn(move || server(id));
            let started: Vec<_> = (1..=3).map(start).collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined.map(|server| server.expect("a server")).collect()
        });
        let topology = Topology { servers };
        // SYSTEM_USER: the tests' account of applications has it, so who ends its statements must.
        topology.servers[0].run(
            "CREATE USER tidegate IDENTIFIED BY 'secret'; \
             GRANT SELECT, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO tidegate; \
             CREATE DATABASE tidegate; GRANT ALL ON tidegate.* TO tidegate; \
             GRANT CONNECTION_ADMIN, SYSTEM_USER ON *.* TO tidegate",
        );
        for reader in &topology.servers[1..] {
            reader.run("SET PERSIST super_read_only=ON");
            follow(reader, &topology.servers[0]);
        }
        topology.wait_copied(0);
        topology
    }

    /// A group of three (Group Replication with one primary, the first of them).
    pub fn start_group() -> Topology {
        let ports: Vec<u16> = (0..3).map(|_| super::process::free_port()).collect();
        let seeds: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let seeds = seeds.join(",");
        let servers: Vec<MySql> = std::thread::scope(|scope| {
            let start = |(id, port): (u32, u16)| {
                let arguments = [
                    "--plugin-load-add=group_replication.so".to_owned(),
                    "--loose-group-replication-group-name=aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
                        .to_owned(),
                    "--loose-group-replication-start-on-boot=OFF".to_owned(),
                    "--loose-group-replication-ip-allowlist=127.0.0.1/32".to_owned(),
                    "--loose-group-replication-recovery-get-public-key=ON".to_owned(),
                    "--loose-group-replication-member-expel-timeout=0".to_owned(),
                    format!("--loose-group-replication-local-address=127.0.0.1:{port}"),
                    format!("--loose-group-replication-group-seeds={seeds}"),
                    "--report-host=127.0.0.1".to_owned(),
                ];
                scope.spawn(move || server_with(id, &arguments))
            };
            let started: Vec<_> = (1..=3).zip(ports).map(start).collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined.map(|server| server.expect("a server")).collect()
        });
        for (at, server) in servers.iter().enumerate() {
            let bootstrap = if at == 0 { "ON" } else { "OFF" };
            server.run(&format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_USER='root' FOR CHANNEL 'group_replication_recovery'; \
                 SET GLOBAL group_replication_bootstrap_group={bootstrap}; START GROUP_REPLICATION; \
                 SET GLOBAL group_replication_bootstrap_group=OFF"
            ));
        }
        Topology { servers }
    }

    /// A Tidegate to be in front of all of them, by the names `backend`, `second` and `third`; the pauses are short.
    pub fn tidegate(&self) -> Builder {
        let names = ["second", "third"];
        let nodes = self.servers[1..].iter().zip(names).map(|(server, name)| {
            format!(
                "{{name = \"{name}\", address = \"127.0.0.1:{}\"}}",
                server.port
            )
        });
        let nodes: Vec<String> = nodes.collect();
        let first = &self.servers[0];
        let is_ours = self.has_account(first);
        let mut builder = Tidegate::of(first);
        if is_ours {
            let url = format!("mysql://tidegate:secret@127.0.0.1:{}", first.port);
            builder = builder.backend_url(&url);
        }
        builder
            .set("nodes", &format!("[{}]", nodes.join(", ")))
            .set("cluster.probe_ms", "100")
    }

    /// Whether there is the account that README tells to make.
    fn has_account(&self, server: &MySql) -> bool {
        server
            .run("SELECT COUNT(*) FROM mysql.user WHERE user = 'tidegate'")
            .trim()
            == "1"
    }

    /// Stops a reader's applying thread; it goes on fetching.
    pub fn hold(&self, at: usize) {
        self.servers[at].run("STOP REPLICA SQL_THREAD");
    }

    /// Starts it again.
    pub fn release(&self, at: usize) {
        self.servers[at].run("START REPLICA SQL_THREAD");
    }

    /// Makes a reader apply everything so many seconds late; 0: at once.
    pub fn delay(&self, at: usize, seconds: u32) {
        self.servers[at].run(&format!(
            "STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_DELAY={seconds}; START REPLICA SQL_THREAD"
        ));
    }

    /// Waits until every other server that follows has what `from` has now.
    pub fn wait_copied(&self, from: usize) {
        let set = executed(&self.servers[from]);
        for (at, server) in self.servers.iter().enumerate() {
            if at != from && is_running(server) {
                wait_for(server, &set);
            }
        }
    }

    /// A planned switchover, as an operator does it: the old writer takes no more writes, the new one gets the rest of them, then
    /// takes them; all others copy from it.
    pub fn switch_over(&self, from: usize, to: usize) {
        let (old, new) = (&self.servers[from], &self.servers[to]);
        old.run("SET PERSIST super_read_only=ON");
        wait_for(new, &executed(old));
        self.promote(to);
        for (at, server) in self.servers.iter().enumerate() {
            if at != to && is_running(server) {
                follow(server, new);
            }
        }
    }

    /// Makes a server a writer, whatever the others are.
    pub fn promote(&self, at: usize) {
        self.servers[at].run(
            "STOP REPLICA; RESET REPLICA ALL; SET PERSIST super_read_only=OFF; SET PERSIST read_only=OFF",
        );
    }

    /// Makes a reader copy from what is at this port.
    pub fn follow_port(&self, at: usize, port: u16) {
        follow_at(&self.servers[at], port);
    }

    /// Makes a server copy from another and take no writes.
    pub fn follow(&self, at: usize, source: usize) {
        self.servers[at].run("SET PERSIST super_read_only=ON");
        follow(&self.servers[at], &self.servers[source]);
    }
}

/// A way from a reader to its source that can be made to carry nothing, with all its connections open.
pub struct Wire {
    /// Where it begins.
    pub port: u16,
    is_held: Arc<AtomicBool>,
}

impl Wire {
    /// To this port. Ends with the test's process.
    pub fn to(target: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let is_held = Arc::new(AtomicBool::new(false));
        let held = is_held.clone();
        std::thread::spawn(move || {
            for reader in listener.incoming().flatten() {
                if let Ok(source) = TcpStream::connect(("127.0.0.1", target)) {
                    carry(&reader, &source, &held);
                    carry(&source, &reader, &held);
                }
            }
        });
        Wire { port, is_held }
    }

    /// From now on nothing comes through, or all does again.
    pub fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, SeqCst);
    }
}

fn carry(from: &TcpStream, to: &TcpStream, is_held: &Arc<AtomicBool>) {
    let copies = [from.try_clone(), to.try_clone()];
    let ([Ok(mut from), Ok(mut to)], is_held) = (copies, is_held.clone()) else {
        return;
    };
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read) = from.read(&mut bytes) {
            while is_held.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn server(id: u32) -> MySql {
    server_with(id, &[])
}

fn server_with(id: u32, more: &[String]) -> MySql {
    let id = format!("--server-id={id}");
    let mut arguments = vec![
        &*id,
        "--innodb-buffer-pool-size=32M",
        "--max-connections=200",
        "--replica-net-timeout=4",
    ];
    arguments.extend(more.iter().map(String::as_str));
    let server = MySql::start(&arguments);
    // What each did to itself at its start is nobody else's.
    server.run("RESET BINARY LOGS AND GTIDS");
    server
}

fn follow(reader: &MySql, source: &MySql) {
    follow_at(reader, source.port);
}

fn follow_at(reader: &MySql, port: u16) {
    reader.run(&format!(
        "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', \
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, SOURCE_HEARTBEAT_PERIOD=1; START REPLICA",
        port
    ));
}

/// What a server has.
pub fn executed(server: &MySql) -> String {
    server
        .run("SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')")
        .trim()
        .to_owned()
}

fn wait_for(server: &MySql, set: &str) {
    let begin = Instant::now();
    let sql = format!(
        "SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', {})",
        COPY_MAX.as_secs()
    );
    let waited = server.run(&sql);
    assert_eq!(
        waited.trim(),
        "0",
        "not copied within {:?}",
        begin.elapsed()
    );
}

fn is_running(server: &MySql) -> bool {
    super::process::greets(server.port)
}
