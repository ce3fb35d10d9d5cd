//! What the proxy costs: the same point selects, text and prepared, at the server itself, through a bare forwarder, through
//! Tidegate with all its statistics on, and through HAProxy and MySQL Router (plain, and with connection sharing) where they can be
//! had; several rounds in turn. Then crowds: 1 to 512 clients, reads and transactions, Tidegate with 32 backend connections. The
//! measure is the proxy's own CPU time per query from the kernel's accounts. Only ratios within one run mean anything.
//!
//! `bench` measures, writes target/bench/summary.json, and ends with 1 when Tidegate needs more than 1.5 times the forwarder.
//! `bench forward LISTEN BACKEND` is the forwarder. BENCH_SECONDS (5) and BENCH_ROUNDS (3) change the length, BENCH_CROWD_SECONDS (3)
//! that of each crowd (0: none); TIDEGATE_FLOOR names another forwarder program that takes the same two ports.

mod crowd;
mod forward;
mod load;
mod peers;
#[path = "../tests/support/lib.rs"]
mod support;

use serde_json::{Value, json};

use load::{Kind, Sample};
use support::{MySql, Tidegate, process};

/// Tidegate's CPU time per query, as a multiple of the forwarder's, that must not be passed.
const RATIO_MAX: f64 = 1.5;

/// One way to the server.
struct Target {
    name: &'static str,
    port: u16,
    /// The process whose time is charged; none for the server itself.
    id: Option<u32>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["forward", listen, backend] => forward::run(port(listen), port(backend)),
        [] => std::process::exit(i32::from(!measure())),
        _ => {
            eprintln!("usage: bench | bench forward LISTEN_PORT BACKEND_PORT");
            std::process::exit(2);
        }
    }
}

fn port(text: &str) -> u16 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is not a port"))
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number"))
    })
}

/// Starts everything, measures, reports; true when the goal is met.
fn measure() -> bool {
    let (seconds, rounds) = (number("BENCH_SECONDS", 5), number("BENCH_ROUNDS", 3));
    println!("bench: starting MySQL and loading {} rows", load::ROWS);
    let mysql = MySql::start(&["--innodb-buffer-pool-size=512M", "--max-connections=2000"]);
    mysql.run(&load::setup());
    let gate = Tidegate::of(&mysql).start();
    let floor = peers::start_forwarder(&mysql);
    let haproxy = peers::start_haproxy(&mysql);
    let router = peers::start_router(&mysql);
    let mut targets = vec![
        Target {
            name: "direct",
            port: mysql.port,
            id: None,
        },
        Target {
            name: "floor",
            port: floor.0,
            id: Some(floor.1.id()),
        },
        Target {
            name: "tidegate",
            port: gate.app_port,
            id: Some(gate.id()),
        },
    ];
    if let Some((port, process)) = &haproxy {
        targets.push(Target {
            name: "haproxy",
            port: *port,
            id: Some(process.id()),
        });
    }
    for router in router.iter().flatten() {
        targets.push(Target {
            name: router.name,
            port: router.port,
            id: Some(router.process.id()),
        });
    }
    let mut results = Vec::new();
    for kind in [Kind::Prepared, Kind::Text] {
        let mut samples: Vec<Vec<Sample>> = targets.iter().map(|_| Vec::new()).collect();
        for round in 1..=rounds {
            println!(
                "bench: {} point selects, {} clients, round {round} of {rounds}",
                kind.name(),
                load::CLIENTS
            );
            for (target, samples) in targets.iter().zip(&mut samples) {
                samples.push(load::run(target.port, target.id, kind, seconds));
            }
        }
        results.push((kind, samples));
    }
    gate.stop();
    let crowds = crowd::measure(&mysql, &targets, number("BENCH_CROWD_SECONDS", 3));
    report(&targets, &results, crowds)
}

/// Prints and writes the medians; true when the ratio goal is met in every kind.
fn report(targets: &[Target], results: &[(Kind, Vec<Vec<Sample>>)], crowds: Value) -> bool {
    let mut met = true;
    let mut kinds = serde_json::Map::new();
    for (kind, samples) in results {
        println!(
            "\n{} point selects: medians of {} rounds",
            kind.name(),
            samples[0].len()
        );
        println!(
            "  {:<14}{:>10}{:>14}{:>18}{:>14}{:>10}{:>10}",
            "", "qps", "of direct", "CPU us/query", "of the floor", "p50 us", "p99 us"
        );
        let mut rows = serde_json::Map::new();
        for (target, own) in targets.iter().zip(samples) {
            let qps = median(own.iter().map(|sample| sample.qps));
            let cpu = median(own.iter().filter_map(|sample| sample.cpu_us));
            // Ratios are taken round by round: neighbours in time saw the same machine.
            let of_direct = median(
                own.iter()
                    .zip(&samples[0])
                    .map(|(own, direct)| own.qps / direct.qps),
            );
            let of_floor = median(
                own.iter()
                    .zip(&samples[1])
                    .filter_map(|(own, floor)| Some(own.cpu_us? / floor.cpu_us?)),
            );
            let (p50, p99) = (
                median(own.iter().map(|sample| sample.p50_us)),
                median(own.iter().map(|sample| sample.p99_us)),
            );
            println!(
                "  {:<14}{qps:>10.0}{of_direct:>14.2}{:>18}{:>14}{p50:>10.0}{p99:>10.0}",
                target.name,
                shown(cpu, 1),
                shown(of_floor, 2)
            );
            rows.insert(
                target.name.to_owned(),
                json!({"qps": value(qps), "of_direct": value(of_direct), "cpu_us_per_query": value(cpu),
                       "cpu_of_floor": value(of_floor), "p50_us": value(p50), "p99_us": value(p99)}),
            );
            if target.name == "tidegate" && (of_floor.is_nan() || of_floor > RATIO_MAX) {
                met = false;
                println!(
                    "  GOAL MISSED: tidegate takes {of_floor:.2} times the forwarder's CPU time per query, {RATIO_MAX} is the limit"
                );
            }
        }
        kinds.insert(kind.name().to_owned(), Value::Object(rows));
    }
    let folder = process::project().join("target/bench");
    std::fs::create_dir_all(&folder).expect("target/bench can be made");
    let file = folder.join("summary.json");
    let summary = json!({"ratio_max": RATIO_MAX, "met": met, "clients": load::CLIENTS, "point_select": kinds, "crowds": crowds});
    let text = serde_json::to_string_pretty(&summary).expect("plain JSON");
    std::fs::write(&file, text + "\n").expect("the summary can be written");
    println!("\nThe same as JSON: {}", file.display());
    met
}

/// NaN when there is nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shown(value: f64, digits: usize) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else {
        format!("{value:.digits$}")
    }
}

fn value(value: f64) -> Value {
    if value.is_finite() {
        json!((value * 1000.0).round() / 1000.0)
    } else {
        Value::Null
    }
}
