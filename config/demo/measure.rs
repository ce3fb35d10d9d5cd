//! Measures each dashboard: directly, through the proxy before views, from its view, from the cache; compares every answer with
//! the base tables' own, taken directly. How a statement was answered is read from the proxy's counters, never assumed.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::answer::Answer;
use crate::dashboards::{self, Dashboard};
use crate::{Demo, SCHEMA, say};

/// How long views and cache may take to come; far above what they need.
const DEADLINE: Duration = Duration::from_secs(300);
/// Runs of each dashboard before views: fewer than `views.repeat_count_min`, so that they are all the base tables'.
const RUNS_BEFORE: u32 = 3;
/// Runs from the view, each with a range of its own.
const RUNS_VIEW: u32 = 9;
/// Runs from the cache.
const RUNS_CACHE: u32 = 31;
/// First steps of ranges that nothing else uses (see [`Dashboard::sql`]).
const STEP_VIEW: u32 = 20;
const STEP_WAIT: u32 = 40;

/// One dashboard and what was measured of it, times in milliseconds.
pub struct Board {
    /// The query.
    pub dashboard: Dashboard,
    /// At MySQL itself.
    pub direct_ms: Vec<f64>,
    /// Through the proxy, answered by the base tables.
    pub proxied_ms: Vec<f64>,
    /// Answered from a view.
    pub view_ms: Vec<f64>,
    /// Answered from the cache.
    pub cache_ms: Vec<f64>,
    /// Answers compared, and the cells in them.
    pub compared: u64,
    /// Cells compared.
    pub cells: u64,
    /// Answers that were not the base tables'.
    pub differences: u64,
    /// What went wrong, in words.
    pub failures: Vec<String>,
    /// What EXPLAIN ROUTE said when it was answered from its view.
    pub route: Vec<Vec<String>>,
}

impl Board {
    /// Name of the view that answers it, from EXPLAIN ROUTE; None when no view does.
    pub fn view_name(&self) -> Option<&str> {
        let row = self
            .route
            .iter()
            .find(|row| row.first().is_some_and(|cell| cell == "view"))?;
        row.get(1).map(String::as_str)
    }

    fn compare(&mut self, stage: &str, answer: &Answer, base: &Answer) {
        self.compared += 1;
        self.cells += base.cells();
        if let Some(difference) = answer.difference(base) {
            self.differences += 1;
            self.failures
                .push(format!("{} {stage}: {difference}", self.dashboard.name));
        }
    }
}

/// How many statements each source answered so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Served {
    backend: i64,
    view: i64,
    cache: i64,
}

/// All dashboards, with a connection through the proxy and one past it.
pub struct Boards<'a> {
    demo: &'a Demo,
    through: Conn,
    direct: Conn,
    /// In the file's order.
    pub boards: Vec<Board>,
}

impl<'a> Boards<'a> {
    /// Opens both connections.
    pub async fn open(demo: &'a Demo) -> Boards<'a> {
        let through = demo.gate.connect(SCHEMA).await;
        let direct = demo.mysql.connect(SCHEMA).await;
        let board = |dashboard| Board {
            dashboard,
            direct_ms: Vec::new(),
            proxied_ms: Vec::new(),
            view_ms: Vec::new(),
            cache_ms: Vec::new(),
            compared: 0,
            cells: 0,
            differences: 0,
            failures: Vec::new(),
            route: Vec::new(),
        };
        let boards = dashboards::all().into_iter().map(board).collect();
        Boards {
            demo,
            through,
            direct,
            boards,
        }
    }

    /// The first runs of all: through the proxy while it knows nothing, and directly.
    pub async fn before(&mut self) {
        for at in 0..self.boards.len() {
            let statements: Vec<String> = (0..RUNS_BEFORE)
                .map(|step| self.boards[at].dashboard.sql(step))
                .collect();
            let (times, answers, served) = self.series(&statements).await;
            let name = self.boards[at].dashboard.name;
            if served.backend == i64::from(RUNS_BEFORE) {
                self.boards[at].proxied_ms = times;
            } else {
                let failure = format!(
                    "{name}: its first runs were not all answered by the backend: {served:?}"
                );
                self.boards[at].failures.push(failure);
            }
            self.compare_with_base(at, "through the proxy", &statements, &answers)
                .await;
        }
    }

    /// Runs each dashboard with new ranges until a view answers it.
    pub async fn wait_for_views(&mut self) {
        let end = Instant::now() + DEADLINE;
        for at in 0..self.boards.len() {
            let name = self.boards[at].dashboard.name;
            for step in STEP_WAIT.. {
                let sql = self.boards[at].dashboard.sql(step);
                let (_, _, served) = self.series(std::slice::from_ref(&sql)).await;
                if served.view == 1 {
                    self.boards[at].route = self.explain(&sql).await;
                    say(&format!("  {name}: answered from a view"));
                    break;
                }
                if Instant::now() > end {
                    let route = self.explain(&sql).await;
                    self.boards[at].failures.push(format!(
                        "{name}: no view answers it; EXPLAIN ROUTE: {route:?}"
                    ));
                    break;
                }
                // The grain of the check: the build goes on meanwhile, on the same two cores.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }

    /// Times each dashboard from its view, each run with another range; then compares with the base tables.
    pub async fn measure_views(&mut self) {
        for at in 0..self.boards.len() {
            let name = self.boards[at].dashboard.name;
            let steps = STEP_VIEW..STEP_VIEW + RUNS_VIEW;
            let statements: Vec<String> = steps
                .map(|step| self.boards[at].dashboard.sql(step))
                .collect();
            let (times, answers, served) = self.series(&statements).await;
            if served.view == i64::from(RUNS_VIEW) {
                self.boards[at].view_ms = times;
            } else {
                let failure =
                    format!("{name}: not all its runs were answered from a view: {served:?}");
                self.boards[at].failures.push(failure);
            }
            self.compare_with_base(at, "from the view", &statements, &answers)
                .await;
        }
    }

    /// Repeats one range until the cache answers it, times that, and compares every answer.
    pub async fn measure_cache(&mut self) {
        for at in 0..self.boards.len() {
            let name = self.boards[at].dashboard.name;
            let sql = self.boards[at].dashboard.sql(STEP_VIEW);
            let one = std::slice::from_ref(&sql);
            let end = Instant::now() + DEADLINE / 6;
            while self.series(one).await.2.cache == 0 {
                if Instant::now() > end {
                    let route = self.explain(&sql).await;
                    self.boards[at].failures.push(format!(
                        "{name}: the cache does not answer it; EXPLAIN ROUTE: {route:?}"
                    ));
                    break;
                }
            }
            let statements = vec![sql.clone(); RUNS_CACHE as usize];
            let (times, answers, served) = self.series(&statements).await;
            if served.cache == i64::from(RUNS_CACHE) {
                self.boards[at].cache_ms = times;
            } else {
                let failure =
                    format!("{name}: not all its runs were answered from the cache: {served:?}");
                self.boards[at].failures.push(failure);
            }
            let base = ask(&mut self.direct, &sql).await;
            for answer in &answers {
                self.boards[at].compare("from the cache", answer, &base);
            }
        }
    }

    /// Books one row through the proxy, then one past it; after each, the next answer of every dashboard, which the cache held
    /// until then, must be the new truth. Then the same from the views built anew.
    pub async fn prove_freshness(&mut self) {
        for (id, past) in [(900_000_001_u64, false), (900_000_002, true)] {
            let stage = if past {
                "after a booking past the proxy"
            } else {
                "after a booking through the proxy"
            };
            let old = self.fill_cache_with_latest().await;
            let booking = format!(
                "INSERT INTO financial_transactions (transaction_id, project_id, transaction_type, amount, \
                 transaction_date, status, currency_code, project_type, project_status, reference) VALUES \
                 ({id}, 7, 'INVOICE', 1234567.89, '2025-11-28', 'SETTLED', 'EUR', 'TIME_AND_MATERIAL', 'ACTIVE', 'TX-PROOF')"
            );
            let writer = if past {
                &mut self.direct
            } else {
                &mut self.through
            };
            writer.query_drop(booking).await.expect("the booking works");
            for (at, old) in old.iter().enumerate() {
                let sql = self.latest(at, 3);
                let answer = ask(&mut self.through, &sql).await;
                let base = ask(&mut self.direct, &sql).await;
                let board = &mut self.boards[at];
                board.compare(stage, &answer, &base);
                // Every dashboard counts bookings or sums invoices, so every answer must have changed.
                if base == *old {
                    let name = board.dashboard.name;
                    let failure = format!("{name} {stage}: the booking is not in its range");
                    board.failures.push(failure);
                }
            }
        }
        say("waiting until views answer again, now with the new rows");
        self.wait_for_views().await;
        for at in 0..self.boards.len() {
            let statements = [self.latest(at, 4)];
            let (_, answers, _) = self.series(&statements).await;
            self.compare_with_base(at, "after the rebuild", &statements, &answers)
                .await;
        }
    }

    /// Repeats a range that holds the last month, so that the cache has it where it can; gives the answers.
    async fn fill_cache_with_latest(&mut self) -> Vec<Answer> {
        let (mut last, mut cached) = (Vec::new(), 0);
        for at in 0..self.boards.len() {
            let sql = self.latest(at, 3);
            self.series(&vec![sql.clone(); 3]).await;
            let (_, mut answers, served) = self.series(std::slice::from_ref(&sql)).await;
            cached += served.cache;
            last.extend(answers.pop());
        }
        let all = self.boards.len();
        say(&format!(
            "  the cache answers {cached} of {all} dashboards; now the booking"
        ));
        last
    }

    /// The statement of a dashboard for its `number`th range that holds the last month.
    fn latest(&self, at: usize, number: u32) -> String {
        let dashboard = &self.boards[at].dashboard;
        dashboard.sql(dashboard.last_step(number))
    }

    /// Runs statements through the proxy one after the other; gives times, answers, and who answered.
    async fn series(&mut self, statements: &[String]) -> (Vec<f64>, Vec<Answer>, Served) {
        let before = self.served().await;
        let (mut times, mut answers) = (Vec::new(), Vec::new());
        for sql in statements {
            let start = Instant::now();
            let answer = Answer::of(&mut self.through, sql).await;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            answers.push(
                answer.unwrap_or_else(|error| panic!("{sql}\nfailed through the proxy: {error}")),
            );
        }
        let after = self.served().await;
        let served = Served {
            backend: after.backend - before.backend,
            view: after.view - before.view,
            cache: after.cache - before.cache,
        };
        (times, answers, served)
    }

    /// Counters of the statements on the fact table in the demo's schema; nothing else runs while they are compared.
    async fn served(&self) -> Served {
        let rows: Vec<(Option<i64>, Option<i64>, Option<i64>)> = self
            .demo
            .gate
            .admin("SELECT SUM(by_backend), SUM(by_view), SUM(by_cache) FROM tidegate.queries WHERE schema_name = 'shop' AND kind = 'select'")
            .await;
        let (backend, view, cache) = rows.first().copied().unwrap_or_default();
        Served {
            backend: backend.unwrap_or(0),
            view: view.unwrap_or(0),
            cache: cache.unwrap_or(0),
        }
    }

    /// Asks the base tables directly and compares; the time counts as a direct one.
    async fn compare_with_base(
        &mut self,
        at: usize,
        stage: &str,
        statements: &[String],
        answers: &[Answer],
    ) {
        for (sql, answer) in statements.iter().zip(answers) {
            let start = Instant::now();
            let base = ask(&mut self.direct, sql).await;
            self.boards[at]
                .direct_ms
                .push(start.elapsed().as_secs_f64() * 1000.0);
            assert!(base.len() > 1, "the range of {sql} holds data");
            self.boards[at].compare(stage, answer, &base);
        }
    }

    /// What EXPLAIN ROUTE says, rows as texts.
    async fn explain(&mut self, sql: &str) -> Vec<Vec<String>> {
        match Answer::of(&mut self.through, &format!("EXPLAIN ROUTE {sql}")).await {
            Ok(answer) => answer.texts(),
            Err(error) => vec![vec![error.to_string()]],
        }
    }
}

/// An answer that must come.
async fn ask(conn: &mut Conn, sql: &str) -> Answer {
    match Answer::of(conn, sql).await {
        Ok(answer) => answer,
        Err(error) => panic!("{sql}\nfailed: {error}"),
    }
}
