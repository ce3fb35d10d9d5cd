//! What is looked at while a flood runs and after it: the proxy's memory, files, log and processor time, and whether an ordinary
//! client is served. Memory and files are asserted; times and rates depend on the machine and are only printed.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{PATIENCE, app, assert_serves};
use crate::support::raw::query;
use crate::support::{MySql, Tidegate, process, wait_until};

/// The ordinary client's pause between two statements. It is no load, so that the rate of the flood is the flood's.
const PAUSE: Duration = Duration::from_millis(20);
/// Files that come and go by themselves: eight control connections, which stay for a minute after their last use, those on which the
/// cache and the views ask for themselves, and the look at the pools.
const FILES_OF_ITS_OWN: usize = 8 + 2 + 1;
/// A log that a flood cannot fill.
const LOG_BYTES_MAX: usize = 1 << 20;

/// Processor time of everybody who shares the machine: client (this program), proxy, server.
type Times = [Duration; 3];

/// What was seen of a proxy during a flood.
pub struct Seen {
    /// How long the flood took.
    pub took: Duration,
    files: usize,
    resident: u64,
    highest: u64,
    served: usize,
    slowest: Duration,
    times: Times,
}

fn times(gate: &Tidegate, server: &MySql) -> Times {
    [std::process::id(), gate.id(), server.id()].map(process::cpu_time)
}

/// Open files but for those of idle backend connections, which are kept for the next client on purpose.
fn files_in_use(gate: &Tidegate) -> usize {
    let idle = metric(gate, "tidegate_pool_connections{state=\"idle\"}");
    gate.open_files().saturating_sub(idle as usize)
}

/// A metric: of all its labels together, or of those that stand in `name`.
pub fn metric(gate: &Tidegate, name: &str) -> u64 {
    let (_, page) = process::http_get(gate.http_port, "/metrics").expect("an answer");
    let mut values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = rest.starts_with(['{', ' ']).then_some(line)?;
        value.rsplit(' ').next()?.parse::<f64>().ok()
    });
    let first = values.next();
    let first = first.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    values.fold(first, |sum, value| sum + value) as u64
}

/// Runs `flood` beside an ordinary client that asks something now and then, and must always be answered.
pub fn watch<T>(gate: &Tidegate, server: &MySql, flood: impl FnOnce() -> T) -> (T, Seen) {
    assert_serves(gate);
    let (files, resident) = (files_in_use(gate), gate.resident_bytes());
    let (start, before) = (Instant::now(), times(gate, server));
    let (over, flood_is_over) = channel::<()>();
    std::thread::scope(|scope| {
        let ordinary = scope.spawn(move || {
            let mut client = app(gate, "");
            let (mut served, mut slowest, mut highest) = (0, Duration::ZERO, resident);
            while flood_is_over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let asked = Instant::now();
                client.send(&query("SELECT 1"));
                assert_eq!(client.answer(asked + PATIENCE), Ok(()));
                slowest = slowest.max(asked.elapsed());
                highest = highest.max(gate.resident_bytes());
                served += 1;
            }
            (served, slowest, highest)
        });
        let done = flood();
        let took = start.elapsed();
        drop(over);
        let (served, slowest, highest) = ordinary
            .join()
            .expect("the ordinary client is served all the time");
        let after = times(gate, server);
        let seen = Seen {
            took,
            files,
            resident,
            highest,
            served,
            slowest,
            times: [0, 1, 2].map(|who| after[who].saturating_sub(before[who])),
        };
        (done, seen)
    })
}

impl Seen {
    /// Whatever the flood was, it is over: memory stayed below `growth_bytes_max`, files are closed, the log is short, and others
    /// are served. Prints what was seen, with processor time for each of `count` items of the flood.
    pub fn assert_over(&self, gate: &Tidegate, name: &str, count: usize, growth_bytes_max: u64) {
        let grown = self.highest.saturating_sub(self.resident);
        let each = self
            .times
            .map(|time| time.as_micros() / count.max(1) as u128);
        println!(
            "{name}: {count} in {:.1} s, {:.0} a second; processor time each: client {} us, proxy {} us, server {} us",
            self.took.as_secs_f64(),
            count as f64 / self.took.as_secs_f64(),
            each[0],
            each[1],
            each[2]
        );
        println!(
            "{name}: resident {} MiB before, {} MiB at most; the ordinary client had {} answers, the slowest in {:?}",
            self.resident >> 20,
            self.highest >> 20,
            self.served,
            self.slowest
        );
        assert!(grown < growth_bytes_max, "{name}: {grown} bytes more");
        assert!(self.served > 0, "{name}: the ordinary client had no turn");
        let files = wait_until("the files are closed again", PATIENCE, || {
            Some(files_in_use(gate)).filter(|files| *files <= self.files + FILES_OF_ITS_OWN)
        });
        println!("{name}: {} files before, {files} after", self.files);
        let log = gate.log().len();
        assert!(log < LOG_BYTES_MAX, "{name}: {log} bytes of log");
        assert_serves(gate);
    }
}
