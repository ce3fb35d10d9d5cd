//! What the demo found: as text for a person, as JSON for a program, and as a list of what fell short.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::measure::{Board, Boards};
use crate::support::process;
use crate::workload::Timed;
use crate::{Demo, SCHEMA};

/// A view must be this much faster than the base tables.
const VIEW_GOAL: f64 = 100.0;
/// A cached result too.
const CACHE_GOAL: f64 = 300.0;

/// Everything that was measured and observed.
pub struct Report {
    rows: u64,
    /// Times of the app's operations.
    pub workload: Vec<Timed>,
    boards: Vec<Board>,
    totals: Vec<(&'static str, i64)>,
    candidates: Vec<Vec<String>>,
    views: Vec<Vec<String>>,
    decisions: Vec<Vec<String>>,
}

impl Report {
    /// Empty, for a fact table of so many rows.
    pub fn new(rows: u64) -> Report {
        Report {
            rows,
            workload: Vec::new(),
            boards: Vec::new(),
            totals: Vec::new(),
            candidates: Vec::new(),
            views: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Takes over the measurements.
    pub async fn take(&mut self, boards: Boards<'_>) {
        self.boards = boards.boards;
    }

    /// Reads what the proxy tells about itself.
    pub async fn observe(&mut self, demo: &Demo) {
        let sums = "SUM(executions), COUNT(DISTINCT digest), SUM(errors), SUM(by_backend), SUM(by_view), SUM(by_cache)";
        let sql = format!("SELECT {sums} FROM tidegate.queries WHERE schema_name = '{SCHEMA}'");
        let row = admin(demo, &sql).await.pop().unwrap_or_default();
        let names = [
            "queries",
            "digests",
            "errors",
            "from_backend",
            "from_views",
            "from_cache",
        ];
        self.totals = names
            .into_iter()
            .zip(row.iter().map(|cell| cell.parse().unwrap_or(0)))
            .collect();
        self.candidates = admin(
            demo,
            "SELECT base_table, state, reason, executions, CAST(mean_us AS INTEGER), definition FROM tidegate.view_candidates",
        )
        .await;
        self.views = admin(
            demo,
            "SELECT name, state, base_table, rows_count, base_rows_count, hits, builds, build_us, definition FROM tidegate.views",
        )
        .await;
        self.decisions = admin(
            demo,
            "SELECT target, reason, count FROM tidegate.decisions ORDER BY count DESC LIMIT 12",
        )
        .await;
    }

    /// What fell short, in words; empty when all is well.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for board in &self.boards {
            failures.extend(board.failures.iter().cloned());
            let name = board.dashboard.name;
            let direct = median(&board.direct_ms);
            for (what, times, goal) in [
                ("view", &board.view_ms, VIEW_GOAL),
                ("cache", &board.cache_ms, CACHE_GOAL),
            ] {
                let factor = direct / median(times);
                if factor.is_nan() || factor < goal {
                    failures.push(format!(
                        "{name}: {factor:.0} times faster from the {what}, the goal is {goal}"
                    ));
                }
            }
        }
        failures
    }

    /// The report for a person.
    pub fn print(&self) {
        println!("\n================ What Tidegate did ================");
        println!(
            "Fact table: {} rows. Statements of the app by the proxy's own count:",
            self.rows
        );
        for (name, count) in &self.totals {
            println!("  {:<22}{count:>12}", name.replace('_', " "));
        }
        println!("\nTimes of the app's operations through the proxy (client side):");
        println!(
            "  {:<22}{:>10}{:>12}{:>12}",
            "", "count", "p50 ms", "p99 ms"
        );
        for timed in &self.workload {
            let at = |quantile| timed.us.value_at_quantile(quantile) as f64 / 1000.0;
            println!(
                "  {:<22}{:>10}{:>12.3}{:>12.3}",
                timed.name,
                timed.us.len(),
                at(0.5),
                at(0.99)
            );
        }
        println!("\nAggregates that kept coming back:");
        for row in &self.candidates {
            if let [table, state, reason, executions, mean_us, definition] = &row[..] {
                println!(
                    "  {table}: {state} ({reason}), {executions} times in the window, mean {mean_us} us at the backend"
                );
                println!("    {definition}");
            }
        }
        println!("\nViews made for them:");
        for row in &self.views {
            if let [name, state, table, rows, base, hits, builds, us, definition] = &row[..] {
                println!(
                    "  {name} ({state}): {rows} rows for {base} of {table}, {hits} answers, built {builds} times, last in {us} us"
                );
                println!("    {definition}");
            }
        }
        println!("\nWhy statements went where they went (most frequent):");
        for row in &self.decisions {
            println!("  {}", row.join("  "));
        }
        self.print_dashboards();
    }

    fn print_dashboards(&self) {
        println!(
            "\nDashboards, median ms (times faster than direct; goals: view {VIEW_GOAL}, cache {CACHE_GOAL}):"
        );
        println!(
            "  {:<22}{:>10}{:>10}{:>18}{:>18}  answers",
            "", "direct", "proxied", "view", "cache"
        );
        for board in &self.boards {
            let direct = median(&board.direct_ms);
            let faster =
                |times: &[f64]| format!("{:.3} ({:.0}x)", median(times), direct / median(times));
            println!(
                "  {:<22}{direct:>10.1}{:>10.1}{:>18}{:>18}  {}",
                board.dashboard.name,
                median(&board.proxied_ms),
                faster(&board.view_ms),
                faster(&board.cache_ms),
                if equal(board) { "equal" } else { "DIFFER" },
            );
        }
        let compared: u64 = self.boards.iter().map(|board| board.compared).sum();
        let cells: u64 = self.boards.iter().map(|board| board.cells).sum();
        if self.boards.iter().all(equal) {
            println!(
                "\nEvery answer was compared with the base tables' own and was equal: {compared} answers, {cells} cells."
            );
        }
    }

    /// The report as JSON in target/demo/report.json.
    pub fn write(&self) -> PathBuf {
        let queries: Vec<Value> = self
            .boards
            .iter()
            .map(|board| {
                json!({
                    "name": board.dashboard.name,
                    "title": board.dashboard.title,
                    "direct_ms": number(median(&board.direct_ms)),
                    "proxied_ms": number(median(&board.proxied_ms)),
                    "view_ms": number(median(&board.view_ms)),
                    "cache_ms": number(median(&board.cache_ms)),
                    "equal": equal(board),
                    "compared": board.compared,
                    "view": board.view_name(),
                    "route": board.route,
                })
            })
            .collect();
        let times: Vec<Value> = self
            .workload
            .iter()
            .map(|timed| {
                let at = |quantile| timed.us.value_at_quantile(quantile);
                json!({"name": timed.name, "count": timed.us.len(), "p50_us": at(0.5), "p99_us": at(0.99)})
            })
            .collect();
        let totals: serde_json::Map<String, Value> = self
            .totals
            .iter()
            .map(|(name, count)| ((*name).to_owned(), json!(count)))
            .collect();
        let report = json!({
            "rows": self.rows,
            "queries": queries,
            "workload": times,
            "totals": totals,
            "views": self.views,
            "failures": self.failures(),
        });
        let folder = process::project().join("target/demo");
        std::fs::create_dir_all(&folder).expect("target/demo can be made");
        let file = folder.join("report.json");
        let text = serde_json::to_string_pretty(&report).expect("plain JSON");
        std::fs::write(&file, text + "\n").expect("the report can be written");
        file
    }
}

/// Rows of an admin query as texts.
async fn admin(demo: &Demo, sql: &str) -> Vec<Vec<String>> {
    let mut conn = demo.gate.connect_admin().await;
    let answer = Answer::of(&mut conn, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}\nfailed: {error}"));
    let _ = conn.disconnect().await;
    answer.texts()
}

/// Whether answers were compared and none differed.
fn equal(board: &Board) -> bool {
    board.compared > 0 && board.differences == 0
}

/// NaN when nothing was measured, which no goal accepts.
fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

/// JSON knows no NaN: null says that nothing was measured.
fn number(value: f64) -> Value {
    if value.is_finite() {
        json!((value * 1000.0).round() / 1000.0)
    } else {
        Value::Null
    }
}
