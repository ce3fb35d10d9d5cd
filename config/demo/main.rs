//! The demo: starts MySQL and Tidegate, loads the sample schema, lets an app work through the proxy, and reports what became of
//! its dashboards. Uses an ordinary client library (mysql_async) and knows Tidegate only by its ports and its admin schema.
//! Exits with 1 when an answer differs from the base tables' or a speed goal is missed; never prints a number that it did not measure.
//!
//! DEMO_EXIT=1 ends it after the report (so does a missing terminal); DEMO_ROWS=N loads another number of fact rows.

mod answer;
mod dashboards;
mod load;
mod measure;
mod report;
#[path = "../../tests/support/lib.rs"]
mod support;
mod workload;

use std::io::IsTerminal;
use std::time::Instant;

use support::{MySql, Tidegate};

/// The schema that the demo makes.
pub const SCHEMA: &str = "shop";

/// What every stage works with.
pub struct Demo {
    /// The server.
    pub mysql: MySql,
    /// The proxy in front of it.
    pub gate: Tidegate,
    /// Rows in the fact table.
    pub rows: u64,
}

/// Prints a progress line with the time since the start.
pub fn say(text: &str) {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    println!("demo [{elapsed:6.1} s] {text}");
}

#[tokio::main]
async fn main() {
    tokio::spawn(async {
        let _ = tokio::signal::ctrl_c().await;
        println!("\ndemo: stopped");
        std::process::exit(130);
    });
    let rows = match std::env::var("DEMO_ROWS").map(|text| text.replace('_', "").parse::<u64>()) {
        Ok(Ok(rows)) if rows >= load::BLOCK => rows / load::BLOCK * load::BLOCK,
        Err(std::env::VarError::NotPresent) => load::ROWS,
        _ => {
            eprintln!(
                "DEMO_ROWS must be a number of rows, at least {}",
                load::BLOCK
            );
            std::process::exit(2);
        }
    };
    let demo = start(rows).await;
    let report = run(&demo).await;
    report.print();
    let file = report.write();
    println!("\nThe same as JSON: {}", file.display());
    let failures = report.failures();
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    if failures.is_empty()
        && std::io::stdout().is_terminal()
        && std::env::var_os("DEMO_EXIT").is_none()
    {
        stay_up(&demo).await;
    }
    demo.gate.stop();
    demo.mysql.stop();
    drop(demo);
    std::process::exit(i32::from(!failures.is_empty()));
}

/// Servers up, data in.
async fn start(rows: u64) -> Demo {
    say(
        "starting a private MySQL (mysqld on PATH, else fetched once from Debian; nothing is installed)",
    );
    let mysql = MySql::start(&[
        "--innodb-buffer-pool-size=1G",
        "--innodb-redo-log-capacity=1G",
        "--max-binlog-size=256M",
    ]);
    say(&format!(
        "MySQL {} is up on port {}",
        mysql.run("SELECT VERSION()").trim(),
        mysql.port
    ));
    load::load(&mysql, rows).await;
    let gate = Tidegate::of(&mysql).start();
    say(&format!(
        "Tidegate is up: apps on port {}, admin {}, HTTP {}",
        gate.app_port, gate.admin_port, gate.http_port
    ));
    Demo { mysql, gate, rows }
}

/// All stages in order.
async fn run(demo: &Demo) -> report::Report {
    let mut report = report::Report::new(demo.rows);
    let mut boards = measure::Boards::open(demo).await;
    say("dashboards through the proxy before it knows them, and directly");
    boards.before().await;
    say(
        "the app works through the proxy: short transactions, point reads, dashboards with moving date ranges",
    );
    report.workload = workload::run(demo).await;
    say("waiting until each dashboard is answered from a view");
    boards.wait_for_views().await;
    say("dashboards from the views, each answer compared with the base tables'");
    boards.measure_views().await;
    say("dashboards from the cache, each answer compared with the base tables'");
    boards.measure_cache().await;
    say("one row booked through the proxy, one past it: the next answers must hold them");
    boards.prove_freshness().await;
    report.take(boards).await;
    report.observe(demo).await;
    report
}

/// Says where to look around and waits for Ctrl-C, which ends the program by the task in `main`.
async fn stay_up(demo: &Demo) {
    use support::mysql::{APP_PASSWORD, APP_USER, url};
    use support::tidegate::ADMIN_PASSWORD;
    println!("\nEverything stays up until Ctrl-C. Look around:");
    println!(
        "  app    mysql -h127.0.0.1 -P{} -u{APP_USER} -p'{APP_PASSWORD}' {SCHEMA}",
        demo.gate.app_port
    );
    println!(
        "         {}",
        url(APP_USER, APP_PASSWORD, demo.gate.app_port, SCHEMA)
    );
    println!(
        "         try: EXPLAIN ROUTE SELECT status, COUNT(*) FROM financial_transactions GROUP BY status"
    );
    println!(
        "  admin  mysql -h127.0.0.1 -P{} -uadmin -p'{ADMIN_PASSWORD}' tidegate",
        demo.gate.admin_port
    );
    println!(
        "         try: SELECT digest_text, executions, mean_us, by_view, by_cache FROM queries ORDER BY total_us DESC LIMIT 10"
    );
    println!(
        "  HTTP   http://127.0.0.1:{}/ and /metrics",
        demo.gate.http_port
    );
    println!(
        "  direct mysql -h127.0.0.1 -P{} -uroot {SCHEMA}",
        demo.mysql.port
    );
    std::future::pending::<()>().await;
}
