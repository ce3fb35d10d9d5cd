//! The process as the kernel sees it, under the names that Prometheus client libraries use. Reads /proc/self only.

use super::{Samples, series};

/// Ticks of /proc times a second: fixed in the kernel's interface on all platforms that Tidegate runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Brings what can be read; what cannot is left out.
pub(super) fn sample(samples: &mut Samples, started_unix_s: f64) {
    samples.set(&series::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    samples.set(&series::PROCESS_START, &[], started_unix_s);
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&read("stat")) {
        samples.set(&series::PROCESS_CPU, &[], seconds);
    }
    if let Some(bytes) = resident_bytes(&read("status")) {
        samples.set(&series::PROCESS_RESIDENT, &[], bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        samples.count(&series::PROCESS_OPEN_FDS, &[], open.count() as u64);
    }
    if let Some(max) = files_max(&read("limits")) {
        samples.set(&series::PROCESS_MAX_FDS, &[], max);
    }
}

/// User and system time: fields 14 and 15, counted behind the name, which may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

fn files_max(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words() {
        let stat = "7 (tide) gate) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(
            resident_bytes("VmSize: 9 kB\nVmRSS:\t    12 kB\n"),
            Some(12_288.0)
        );
        let limits = "Limit   Soft Limit  Hard Limit\nMax open files            1024                 4096   files\n";
        assert_eq!(files_max(limits), Some(1024.0));
    }
}
