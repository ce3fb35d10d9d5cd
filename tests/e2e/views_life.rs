//! Views from the first repeated aggregate to the answer and back: the room as a session uses it, on a real server.
//! Every answer from a view is compared with the base table's in the same moment of quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate::backend::control::{Control, ControlSettings};
use tidegate::backend::probe::SharedCapabilities;
use tidegate::binlog::{Binlog, BinlogSettings};
use tidegate::config::{Config, SecondaryEngine};
use tidegate::shutdown::Shutdown;
use tidegate::sql::env::{self, SessionEnv};
use tidegate::sql::{DigestScratch, LexMode, StatementCache};
use tidegate::views::secondary::is_refusal;
use tidegate::views::snapshot::{CandidateRow, Snapshot, ViewRow};
use tidegate::views::{Question, Views};

use crate::support::mysql::cells;
use crate::support::{MySql, Tidegate, wait_until};
use crate::views_build::config;

mod trial;

type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// The room, and what a session would hold.
struct Room {
    views: Arc<Views>,
    binlog: Arc<Binlog>,
    statements: StatementCache,
    stop: Shutdown,
}

/// Who answered.
#[derive(Debug, PartialEq, Eq)]
enum By {
    View,
    Fallback,
    /// With the reason.
    Base(String),
}

fn quick(server: &MySql) -> Config {
    let mut config = config(server);
    config.views.repeat_count_min = 3;
    config.views.mean_ms_min = 0;
    config.views.rebuild_interval_ms_min = 200;
    config.views.chunk_ms_target = 10;
    config.views.size_ratio_max = 0.5;
    config.views.gate_wait_ms_max = 500;
    config
}

impl Room {
    fn open(config: &Config) -> Self {
        let stop = Shutdown::new();
        let control = Control::new(ControlSettings::from_config(config));
        let settings = BinlogSettings::from_config(config);
        let binlog = Binlog::start(Arc::clone(&control), settings, &stop);
        let capabilities = SharedCapabilities::default();
        let views = Views::new(config, control, Arc::clone(&binlog), capabilities);
        tokio::spawn(Arc::clone(&views).run(stop.clone()));
        Self {
            views,
            binlog,
            statements: StatementCache::new(100),
            stop,
        }
    }

    /// Does what a session does with one statement.
    async fn ask(&self, session: &mut Session, sql: &str) -> (Rows, By) {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(sql.as_bytes(), LexMode::default());
        let statement = self.statements.get_or_parse(&scratch, sql.as_bytes());
        let (schema, env) = (session.schema.clone(), Arc::clone(&session.env));
        let question = Question {
            statement: &statement,
            text: sql.as_bytes(),
            scratch: &scratch,
            schema: &schema,
            env: &env,
        };
        let reason = match self.views.route(&question) {
            Err(refusal) => refusal.label().to_owned(),
            Ok(route) => {
                let view = &route.view;
                let wait = self.views.gate_wait();
                let gate = self
                    .binlog
                    .unchanged_since(&view.tables, view.position, view.epoch, wait)
                    .await;
                match gate {
                    Err(error) => {
                        self.views.gate_closed(&route, &error);
                        error.label().to_owned()
                    }
                    Ok(_) => match self.run_route(session, &route).await {
                        Ok(answer) => return answer,
                        Err(code) => format!("error {code}"),
                    },
                }
            }
        };
        let began = Instant::now();
        let rows = cells(&mut session.conn, sql).await.unwrap();
        let base_us = u64::try_from(began.elapsed().as_micros()).unwrap();
        self.views.observe(&question, &[], base_us);
        (rows, By::Base(reason))
    }

    async fn run_route(
        &self,
        session: &mut Session,
        route: &tidegate::views::ViewRoute,
    ) -> Result<(Rows, By), u16> {
        let began = Instant::now();
        let text = |sql: &[u8]| String::from_utf8(sql.to_vec()).unwrap();
        let mut by = By::View;
        let mut answer = cells(&mut session.service, &text(&route.sql)).await;
        if let (Err(mysql_async::Error::Server(error)), Some(fallback)) =
            (&answer, &route.fallback_sql)
            && is_refusal(error.code)
        {
            self.views.failed(route, error.code);
            by = By::Fallback;
            answer = cells(&mut session.service, &text(fallback)).await;
        }
        match answer {
            Ok(rows) => {
                let view_us = u64::try_from(began.elapsed().as_micros()).unwrap();
                self.views.served(route, view_us);
                Ok((rows, by))
            }
            Err(mysql_async::Error::Server(error)) => {
                self.views.failed(route, error.code);
                Err(error.code)
            }
            Err(_) => Err(0),
        }
    }

    /// Asks until a view answers, and compares each answer with the base table's.
    async fn ask_until_view(&self, session: &mut Session, sql: &str) -> Rows {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let (rows, by) = self.ask(session, sql).await;
            if by == By::View {
                assert_eq!(rows, cells(&mut session.conn, sql).await.unwrap(), "{sql}");
                return rows;
            }
            assert!(
                Instant::now() < until,
                "no view answers {sql}: {by:?}\n{:#?}\n{:#?}",
                self.views.snapshot(),
                self.binlog.snapshot()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks until a build of a view is under way.
    async fn ask_until_build(&self, session: &mut Session, sql: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.view().state != "building" {
            self.ask(session, sql).await;
            assert!(Instant::now() < until, "no build: {:?}", self.view());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the snapshot is as wanted.
    async fn shows(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let snapshot = self.views.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < until, "never {what}: {snapshot:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn view(&self) -> ViewRow {
        self.views
            .snapshot()
            .views
            .first()
            .cloned()
            .unwrap_or_default()
    }
}

/// A client's own connection, and the one on which its rewritten statements run.
struct Session {
    conn: Conn,
    service: Conn,
    schema: String,
    env: Arc<SessionEnv>,
}

impl Session {
    async fn open(server: &MySql, schema: &str) -> Self {
        let mut conn = server.connect(schema).await;
        let row = cells(&mut conn, env::SELECT_SQL).await.unwrap().remove(0);
        Self {
            conn,
            service: server.connect_root().await,
            schema: schema.to_owned(),
            env: Arc::new(SessionEnv::from_row(&row).unwrap()),
        }
    }

    /// In a schema of its own, with the demo's table in it.
    async fn with_transactions(server: &MySql, rows: u32) -> Self {
        let mut session = Self::open(server, &server.schema("life")).await;
        transactions(&mut session, rows).await;
        session
    }
}

/// A server with the demo's table, a client of it, and the room with these settings.
async fn rig(rows: u32, set: impl FnOnce(&mut Config)) -> (MySql, Session, Room) {
    let server = MySql::start(&[]);
    let (session, room) = rig_on(&server, rows, set).await;
    (server, session, room)
}

/// The same on a server that is there.
async fn rig_on(server: &MySql, rows: u32, set: impl FnOnce(&mut Config)) -> (Session, Room) {
    let session = Session::with_transactions(server, rows).await;
    let mut config = quick(server);
    set(&mut config);
    (session, Room::open(&config))
}

/// The tables that hold views now.
fn tables_of_views(server: &MySql) -> String {
    server.run("SHOW TABLES IN tidegate LIKE 'v%\\_%'")
}

/// Old and broken builds are dropped after a grace.
fn one_table_is_left(server: &MySql) {
    wait_until("one table is left", Duration::from_secs(20), || {
        (tables_of_views(server).lines().count() == 1).then_some(())
    });
}

/// The demo's table in small: `rows` transactions over 400 days.
async fn transactions(session: &mut Session, rows: u32) {
    session
        .conn
        .query_drop(
            "CREATE TABLE financial_transactions (transaction_id BIGINT NOT NULL AUTO_INCREMENT, project_id INT NOT NULL,
               transaction_type ENUM('INVOICE','PAYMENT','COST','ADJUSTMENT') NOT NULL, amount DECIMAL(15,2) NOT NULL,
               transaction_date DATE NOT NULL, status ENUM('PENDING','BOOKED','VOID') NOT NULL,
               currency_code CHAR(3) NOT NULL, PRIMARY KEY (transaction_id, transaction_date))",
        )
        .await
        .unwrap();
    session
        .conn
        .query_drop("SET SESSION cte_max_recursion_depth=1000000")
        .await
        .unwrap();
    session
        .conn
        .query_drop(format!(
            "INSERT INTO financial_transactions (project_id, transaction_type, amount, transaction_date, status, currency_code)
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT i % 50, 1 + i % 4, (i * 37 % 100000) / 100, DATE '2025-01-01' + INTERVAL i % 400 DAY, 1 + i % 3,
               ELT(1 + i % 3, 'EUR', 'USD', 'GBP') FROM n"
        ))
        .await
        .unwrap();
}

fn monthly(from: &str) -> String {
    format!(
        "SELECT DATE_FORMAT(transaction_date, '%Y-%m') AS month,
           SUM(CASE WHEN transaction_type = 'INVOICE' THEN amount ELSE 0 END) AS revenue,
           SUM(CASE WHEN transaction_type = 'COST' THEN amount ELSE 0 END) AS cost
         FROM financial_transactions WHERE transaction_date >= '{from}'
         GROUP BY DATE_FORMAT(transaction_date, '%Y-%m') ORDER BY month"
    )
}

const BY_TYPE: &str = "SELECT transaction_type, status, COUNT(*), AVG(amount), MAX(amount) FROM financial_transactions \
GROUP BY transaction_type, status ORDER BY transaction_type, status";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_comes_back_is_answered_from_a_view_exactly() {
    let (_server, mut session, room) = rig(20_000, |_| ()).await;
    for day in 1..4 {
        let (_, by) = room
            .ask(&mut session, &monthly(&format!("2025-02-0{day}")))
            .await;
        assert!(matches!(by, By::Base(_)));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    room.ask_until_view(&mut session, &monthly("2025-03-05"))
        .await;
    // A literal never seen, and one that selects nothing.
    room.ask_until_view(&mut session, &monthly("2025-06-17"))
        .await;
    assert_eq!(
        room.ask_until_view(&mut session, &monthly("2099-01-01"))
            .await,
        Rows::new()
    );
    room.ask_until_view(&mut session, BY_TYPE).await;
    let shown = room
        .shows("two views in use", |s| {
            s.views
                .iter()
                .filter(|view| view.state == "ready" && view.hits > 0)
                .count()
                == 2
        })
        .await;
    assert_eq!(shown.counters.mismatches, 0);
    let view = &shown.views[0];
    assert_eq!(
        (view.base_rows, view.target.as_str()),
        (Some(20_000), "innodb")
    );
    assert!(
        view.samples > 0 && view.rows.is_some_and(|rows| rows <= 400 * 4),
        "{view:?}"
    );
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_ends_the_view_at_once_and_it_comes_back() {
    let (server, mut session, room) = rig(5_000, |_| ()).await;
    room.ask_until_view(&mut session, BY_TYPE).await;
    for round in 0..5 {
        let change =
            "UPDATE financial_transactions SET amount = amount + 1 WHERE transaction_id = 7";
        session.conn.query_drop(change).await.unwrap();
        // Told of the commit: no answer may be older from here on.
        let (rows, by) = room.ask(&mut session, BY_TYPE).await;
        assert!(matches!(by, By::Base(_)), "round {round}: {by:?}");
        assert_eq!(rows, cells(&mut session.conn, BY_TYPE).await.unwrap());
        room.ask_until_view(&mut session, BY_TYPE).await;
    }
    let shown = room.shows("the rebuilds", |s| s.views[0].builds >= 6).await;
    assert_eq!(shown.views.len(), 1);
    // Old builds are dropped after a grace.
    one_table_is_left(&server);
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_during_builds_never_make_a_wrong_answer() {
    let (server, mut session, room) = rig(20_000, |_| ()).await;
    // Bursts of moves between groups, each as soon as the view answered again: the sum over all groups never changes.
    let mut writer = server.connect(&session.schema).await;
    let answered = Arc::new(AtomicU32::new(0));
    let heard = Arc::clone(&answered);
    let writes = tokio::spawn(async move {
        for burst in 0..5u32 {
            for n in 0..20 {
                let (one, two) = (
                    1 + (burst * 31 + n * 7) % 20_000,
                    1 + (burst * 17 + n * 13) % 20_000,
                );
                writer
                    .query_drop(format!(
                        "BEGIN; UPDATE financial_transactions SET amount = amount - 5 WHERE transaction_id = {one}; \
                         UPDATE financial_transactions SET amount = amount + 5 WHERE transaction_id = {two}; COMMIT"
                    ))
                    .await
                    .unwrap();
            }
            let (before, until) = (
                heard.load(Ordering::Relaxed),
                Instant::now() + Duration::from_secs(5),
            );
            while heard.load(Ordering::Relaxed) == before && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let sum = "SELECT SUM(amount), COUNT(*) FROM financial_transactions WHERE transaction_date >= '2025-01-01'";
    let expected = cells(&mut session.conn, sum).await.unwrap();
    while !writes.is_finished() {
        let (rows, by) = room.ask(&mut session, sum).await;
        assert_eq!(rows, expected, "{by:?}");
        answered.fetch_add(u32::from(by == By::View), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writes.await.unwrap();
    room.ask_until_view(&mut session, sum).await;
    let counters = room.views.snapshot().counters;
    assert_eq!(
        (counters.mismatches, counters.failed),
        (0, 0),
        "{counters:?}"
    );
    assert!(answered.load(Ordering::Relaxed) > 0, "{counters:?}");
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ddl_retires_the_view_and_what_was_planned() {
    let (_server, mut session, room) = rig(5_000, |_| ()).await;
    room.ask_until_view(&mut session, BY_TYPE).await;
    let first = room.view().id;
    // The scale of AVG and MAX becomes another one.
    let ddl = "ALTER TABLE financial_transactions MODIFY amount DECIMAL(16,4) NOT NULL";
    session.conn.query_drop(ddl).await.unwrap();
    let (rows, by) = room.ask(&mut session, BY_TYPE).await;
    assert!(matches!(by, By::Base(_)), "{by:?}");
    assert_eq!(rows, cells(&mut session.conn, BY_TYPE).await.unwrap());
    room.ask_until_view(&mut session, BY_TYPE).await;
    let shown = room
        .shows("another view", |s| s.views.iter().all(|v| v.id != first))
        .await;
    assert!(shown.counters.dropped >= 1);
    // TRUNCATE changes rows, not columns: the same view is built again.
    let second = room.view().id;
    session
        .conn
        .query_drop("TRUNCATE TABLE financial_transactions")
        .await
        .unwrap();
    assert_eq!(
        room.ask_until_view(&mut session, BY_TYPE).await,
        Rows::new()
    );
    assert_eq!(room.view().id, second);
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ddl_during_a_build_voids_it() {
    let set = |config: &mut Config| config.views.chunk_ms_target = 1;
    let (_server, mut session, room) = rig(60_000, set).await;
    room.ask_until_build(&mut session, BY_TYPE).await;
    let ddl =
        "ALTER TABLE financial_transactions ADD COLUMN note VARCHAR(9) NULL, ADD INDEX (status)";
    let began = Instant::now();
    session.conn.query_drop(ddl).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "a build must not hold up DDL"
    );
    room.ask_until_view(&mut session, BY_TYPE).await;
    let shown = room.views.snapshot();
    assert_eq!(shown.counters.mismatches, 0);
    assert!(
        shown.counters.builds >= 2 || shown.counters.dropped >= 1,
        "{shown:#?}"
    );
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_backend_leaves_nothing_wrong() {
    let set = |config: &mut Config| config.views.chunk_ms_target = 1;
    let (server, mut session, room) = rig(60_000, set).await;
    room.ask_until_build(&mut session, BY_TYPE).await;
    server.kill9();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.start_again();
    let mut session = Session::open(&server, &session.schema).await;
    room.ask_until_view(&mut session, BY_TYPE).await;
    let shown = room.views.snapshot();
    assert_eq!(shown.counters.mismatches, 0);
    // What the dead build left is gone.
    one_table_is_left(&server);
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_mock_engine_is_loaded_and_never_believed() {
    let server = MySql::start_with_mock(&[]);
    let mock = SecondaryEngine::Named("MOCK".into());
    let set = |config: &mut Config| config.views.secondary_engine = mock;
    let (mut session, room) = rig_on(&server, 5_000, set).await;
    room.ask_until_view(&mut session, BY_TYPE).await;
    let view = room.view();
    let reason = view.engine_reason.unwrap_or_default();
    assert!(reason.contains("MOCK answered differently"), "{reason}");
    assert_eq!(view.target, "innodb");
    let table = view.name.split('.').next_back().unwrap().to_owned();
    let options = format!(
        "SELECT CREATE_OPTIONS FROM information_schema.TABLES WHERE TABLE_SCHEMA='tidegate' AND TABLE_NAME='{table}'"
    );
    assert!(
        !server.run(&options).contains("SECONDARY"),
        "{}",
        server.run(&options)
    );
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_refusal_has_its_reason() {
    let set = |config: &mut Config| config.views.size_ratio_max = 0.05;
    let (_server, mut session, room) = rig(20_000, set).await;
    let large =
        "SELECT transaction_id, COUNT(*) FROM financial_transactions GROUP BY transaction_id";
    let float = "SELECT STDDEV(amount) FROM financial_transactions GROUP BY status";
    for _ in 0..10 {
        for sql in [large, float] {
            let (_, by) = room.ask(&mut session, sql).await;
            assert!(matches!(by, By::Base(_)), "{by:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused =
        |row: &CandidateRow, part: &str| row.state == "refused" && row.reason.contains(part);
    room.shows("both refusals", |s| {
        let by = |part: &str| s.candidates.iter().any(|row| refused(row, part));
        by("1000 allowed") && by("approximate_aggregate") && s.views.is_empty()
    })
    .await;
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_proxies_one_builds_and_the_other_takes_over() {
    let (server, mut session, one) = rig(3_000, |_| ()).await;
    one.ask_until_view(&mut session, BY_TYPE).await;
    let first = one.view().name;
    let two = Room::open(&quick(&server));
    let idle = two
        .shows("the other's lead", |s| {
            s.unavailable.contains("another proxy")
        })
        .await;
    assert!(!idle.leads);
    for _ in 0..6 {
        let (_, by) = two.ask(&mut session, BY_TYPE).await;
        assert!(matches!(by, By::Base(_)), "{by:?}");
    }
    assert!(two.views.snapshot().views.is_empty());
    // The leader stops; the other takes over, drops what it left and builds anew.
    one.stop.request();
    two.ask_until_view(&mut session, BY_TYPE).await;
    let second = two.view().name;
    assert_ne!(first, second);
    assert!(one.views.snapshot().views.len() <= 1);
    let tables = tables_of_views(&server);
    assert_eq!(tables.trim(), second.split('.').next_back().unwrap());
    let (_, by) = one.ask(&mut session, BY_TYPE).await;
    assert!(
        matches!(by, By::Base(_)),
        "a stopped proxy serves nothing from views: {by:?}"
    );
    two.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn through_the_program_an_app_gets_its_answers_from_a_view() {
    let server = MySql::start(&[]);
    let mut direct = Session::with_transactions(&server, 20_000).await;
    let gate = Tidegate::of(&server)
        .set("views.repeat_count_min", "3")
        .set("views.mean_ms_min", "0")
        .set("views.size_ratio_max", "0.5")
        .set("views.gate_wait_ms_max", "500")
        .set("views.rebuild_interval_ms_min", "200")
        .set("cache.enabled", "false")
        .start();
    let mut app = gate.connect(&direct.schema).await;
    let hits = "SELECT CAST(IFNULL(SUM(hits), 0) AS SIGNED) FROM views";
    let until = Instant::now() + Duration::from_secs(60);
    let mut day = 0;
    while gate
        .admin::<i64>(hits)
        .await
        .first()
        .is_none_or(|hits| *hits < 5)
    {
        day += 1;
        let sql = monthly(&format!("2025-{:02}-{:02}", 1 + day % 12, 1 + day % 28));
        let through = cells(&mut app, &sql).await.unwrap();
        assert_eq!(
            through,
            cells(&mut direct.conn, &sql).await.unwrap(),
            "{sql}"
        );
        assert!(
            Instant::now() < until,
            "{:?}\n{}",
            gate.admin::<(String, Option<String>)>("SELECT state, reason FROM view_candidates")
                .await,
            gate.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A write through the proxy, then past it: the next answer has it.
    for conn in [&mut app, &mut direct.conn] {
        conn.query_drop("UPDATE financial_transactions SET amount = amount + 1 LIMIT 100")
            .await
            .unwrap();
        let sql = monthly("2025-01-01");
        let told = cells(conn, &sql).await.unwrap();
        assert_eq!(told, cells(conn, &sql).await.unwrap());
    }
    let sql = monthly("2025-01-01");
    assert_eq!(
        cells(&mut app, &sql).await.unwrap(),
        cells(&mut direct.conn, &sql).await.unwrap()
    );
    gate.stop();
}
