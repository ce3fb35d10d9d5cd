//! Child processes, ports and the run folder. Owns their end: whatever happens to the test, none of them outlives it.
//! Knows nothing of MySQL or Tidegate.

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The longest that anything here may take to come up or go down. Generous, since the machine may be busy: it is reached only on failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives a value; panics with `what` when the deadline passes. The pause is only the grain of the check.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "gave up after {deadline:?} waiting until {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A child process with its output in a file. Dropping it kills it.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command` with stdout and stderr appended to `log`, in a process group of its own.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Process {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file can be opened");
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle"))
            .stderr(file);
        let child = spawn_on_keeper(command)
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        alive().lock().expect("not poisoned").push(child.id());
        Process {
            name: name.to_owned(),
            log: log.to_owned(),
            child: Mutex::new(child),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.lock().expect("not poisoned").id()
    }

    /// The exit status when the process has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .expect("not poisoned")
            .try_wait()
            .expect("a child can be waited for")
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub fn signal(&self, signal: i32) {
        let mut child = self.child.lock().expect("not poisoned");
        if child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
        {
            // SAFETY: a plain system call on the group of our own child, which is not reaped yet and so still owns its id.
            unsafe { libc::kill(-(child.id() as i32), signal) };
        }
    }

    /// Waits for the end; panics with the log's end when it does not come.
    pub fn wait(&self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} does not end. Its log:\n{}",
                self.name,
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// kill -9, then waits for the end.
    pub fn kill9(&self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Waits until `ready` says so; panics with the log's end when the process ends first or the deadline passes.
    pub fn wait_ready(&self, mut ready: impl FnMut() -> bool) -> Result<(), ExitStatus> {
        let end = Instant::now() + DEADLINE;
        while !ready() {
            if let Some(status) = self.exited() {
                return Err(status);
            }
            assert!(
                Instant::now() < end,
                "{} is not ready after {DEADLINE:?}. Its log:\n{}",
                self.name,
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The last lines of the log, for messages.
    pub fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        let child = self
            .child
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = child.wait();
        let id = child.id();
        alive()
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .retain(|other| *other != id);
    }
}

/// Ids of the children that run, for the clean-up at exit.
fn alive() -> &'static Mutex<Vec<u32>> {
    static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    &ALIVE
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Spawns on one thread that lives as long as the program: the kernel sends the parent-death signal when the *thread* that
/// spawned a child ends, and test threads end early.
fn spawn_on_keeper(command: Command) -> std::io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox): (Sender<Order>, Receiver<Order>) = channel();
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                while let Ok((mut command, reply)) = inbox.recv() {
                    let _ = reply.send(spawn_tied(&mut command));
                }
            })
            .expect("a thread can be started");
        Mutex::new(orders)
    });
    let (reply, answer) = channel();
    keeper
        .lock()
        .expect("not poisoned")
        .send((command, reply))
        .expect("the keeper lives");
    answer.recv().expect("the keeper answers")
}

/// Starts the child in its own process group, tied to our life: when we die by whatever means, it is killed.
fn spawn_tied(command: &mut Command) -> std::io::Result<Child> {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getppid and building an error without allocation.
    unsafe {
        command.process_group(0).pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have died before the call above.
            if libc::getppid() as u32 != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        })
    };
    command.spawn()
}

/// The folder of this run, under target/e2e; removed at exit unless TIDEGATE_KEEP is set. Leftovers of dead runs go first.
pub fn run_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let all = project().join("target/e2e");
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name
                .parse::<u32>()
                .is_ok_and(|id| !Path::new("/proc").join(id.to_string()).exists())
            {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&folder).expect("the run folder can be made");
        // SAFETY: registers a plain function that touches only statics; it runs once, at exit.
        unsafe { libc::atexit(clean_up) };
        folder
    })
}

extern "C" fn clean_up() {
    for id in alive()
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .drain(..)
    {
        // SAFETY: plain system calls on our own children, which nobody else reaps at this point.
        unsafe {
            libc::kill(-(id as i32), libc::SIGKILL);
            libc::waitpid(id as i32, std::ptr::null_mut(), 0);
        }
    }
    if std::env::var_os("TIDEGATE_KEEP").is_none() {
        let _ = std::fs::remove_dir_all(run_folder());
    }
}

/// A new folder below the run folder.
pub fn new_folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = run_folder().join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// The project's root folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A port that nobody listens on now and that this run has not given out before. It lies below the range of outgoing connections,
/// so that no connection takes it before the server binds it; whoever binds it must still be ready to try another.
pub fn free_port() -> u16 {
    const FIRST: u32 = 14_000;
    const COUNT: u32 = 18_000;
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(977)));
    for _ in 0..COUNT {
        let port = (FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Processor time that a process has used so far, in user and kernel mode together. The kernel counts in steps of 10 ms.
pub fn cpu_time(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
    // Fields 14 and 15, counted behind the name, which may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let used = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = used
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Whether a MySQL greeting (protocol 10) comes from the port.
pub fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut start = [0; 5];
    stream.read_exact(&mut start).is_ok() && start[4] == 10
}

/// Status code of an HTTP GET, or None when nobody answers.
pub fn http_status(port: u16, path: &str) -> Option<u16> {
    http_get(port, path).map(|(status, _)| status)
}

/// Status code and body of an HTTP GET, or None when nobody answers.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    use std::io::Write;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    Some((status, body))
}
