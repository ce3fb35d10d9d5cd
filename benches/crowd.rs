//! Crowds: 1 to 512 clients that read rows or run transactions, at the server and through each proxy. Rate, time and memory; the
//! proxy under test has 32 backend connections.

use serde_json::{Value, json};

use crate::Target;
use crate::load::{self, USER, Work};
use crate::support::{MySql, Tidegate};

/// Clients at a time.
const CROWDS: [u32; 4] = [1, 8, 64, 512];

/// Backend connections that the proxy under test may have.
const POOL: &str = "32";

/// Runs each kind of work with each crowd through each target for so many seconds; prints a table, gives the same as JSON.
pub fn measure(mysql: &MySql, targets: &[Target], seconds: u32) -> Value {
    if seconds == 0 {
        return Value::Null;
    }
    let gate = Tidegate::of(mysql)
        .set("pool.connections_max", POOL)
        .start();
    let mut rows = Vec::new();
    for work in [Work::Prepared, Work::ReadOnly, Work::ReadWrite] {
        for clients in CROWDS {
            println!("\n{} of {clients} clients, {seconds} s each", work.name());
            println!(
                "  {:<14}{:>10}{:>12}{:>14}{:>10}{:>10}{:>10}{:>8}",
                "", "qps", "of direct", "CPU us/query", "p50 us", "p99 us", "RSS MiB", "errors"
            );
            let mut direct = f64::NAN;
            for target in targets.iter().filter(|target| target.name != "floor") {
                let (port, id) = match target.name {
                    "tidegate" => (gate.app_port, Some(gate.id())),
                    _ => (target.port, target.id),
                };
                let sample = load::crowd(port, id, work, clients, seconds);
                if target.name == "direct" {
                    direct = sample.qps;
                }
                let of_direct = sample.qps / direct;
                println!(
                    "  {:<14}{:>10.0}{of_direct:>12.2}{:>14}{:>10.0}{:>10.0}{:>10}{:>8}",
                    target.name,
                    sample.qps,
                    crate::shown(sample.cpu_us.unwrap_or(f64::NAN), 1),
                    sample.p50_us,
                    sample.p99_us,
                    crate::shown(sample.rss_mib.unwrap_or(f64::NAN), 1),
                    sample.errors
                );
                rows.push(json!({
                    "work": work.name(), "clients": clients, "target": target.name, "qps": crate::value(sample.qps),
                    "of_direct": crate::value(of_direct), "cpu_us_per_query": crate::value(sample.cpu_us.unwrap_or(f64::NAN)),
                    "p50_us": crate::value(sample.p50_us), "p99_us": crate::value(sample.p99_us), "errors": sample.errors,
                    "rss_mib": crate::value(sample.rss_mib.unwrap_or(f64::NAN)),
                }));
            }
        }
    }
    println!("\nTidegate had {POOL} backend connections; the account is {USER}.");
    gate.stop();
    Value::Array(rows)
}
