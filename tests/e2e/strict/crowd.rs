//! Many writers and readers at once. Each reader notes what everybody had been told before it asks, and compares.

use super::*;

/// Counters that writers raise; each writer owns those of its number modulo `WRITERS`.
const WRITERS: usize = 6;
const TOTAL: i64 = 10_000;

/// What has been told to anybody.
struct Ledger {
    /// Per writer: commits begun, and commits acknowledged.
    begun: [AtomicU64; WRITERS],
    told: [AtomicU64; WRITERS],
    stop: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    /// Writers rest while this is set.
    quiet: AtomicBool,
}

impl Ledger {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Default::default(),
            told: Default::default(),
            stop: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            quiet: AtomicBool::new(false),
        })
    }

    fn told(&self) -> [u64; WRITERS] {
        std::array::from_fn(|w| self.told[w].load(SeqCst))
    }

    /// Checks counters that a reader got, against what was told before it asked; then they are told.
    fn check(&self, before: [u64; WRITERS], got: &[u64], sql: &str) {
        for writer in 0..WRITERS {
            let begun = self.begun[writer].load(SeqCst);
            assert!(
                (before[writer]..=begun).contains(&got[writer]),
                "{sql}\nwriter {writer}: got {}, told {}, begun {begun}",
                got[writer],
                before[writer]
            );
            self.told[writer].fetch_max(got[writer], SeqCst);
        }
        self.reads.fetch_add(1, SeqCst);
    }
}

/// A cheap random number that differs per caller.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// One commit that raises the writer's counter by one, in the writer's own way.
async fn write(writer: usize, n: u64, conn: &mut Conn) -> mysql_async::Result<()> {
    let update = format!("UPDATE counter SET v = v + 1 WHERE id = {writer}");
    match writer {
        0 | 1 => conn.query_drop(update).await,
        2 => {
            conn.exec_drop("UPDATE counter SET v = v + 1 WHERE id = ?", (writer,))
                .await
        }
        3 => {
            conn.query_drop("BEGIN").await?;
            conn.query_drop(update).await?;
            let (from, to) = (n % 10, (n * 7 + 3) % 10);
            conn.query_drop(format!(
                "UPDATE accounts SET balance = balance - 5 WHERE id = {from}"
            ))
            .await?;
            conn.query_drop(format!(
                "UPDATE accounts SET balance = balance + 5 WHERE id = {to}"
            ))
            .await?;
            conn.query_drop("COMMIT").await
        }
        4 => {
            let xid = format!("'{writer}-{n}'");
            conn.query_drop(format!("XA START {xid}")).await?;
            conn.query_drop(update).await?;
            for statement in ["END", "PREPARE", "COMMIT"] {
                conn.query_drop(format!("XA {statement} {xid}")).await?;
            }
            Ok(())
        }
        _ => conn.query_drop("INSERT INTO other (v) VALUES (1)").await,
    }
}

/// Half of the writers go through the proxy, half past it; a dead server is waited for.
async fn writer(writer: usize, ledger: Arc<Ledger>, ports: [u16; 2], schema: String) {
    let port = ports[writer % 2];
    let mut seed = 0x9E37_79B9 + writer as u64;
    let mut conn = None;
    while !ledger.stop.load(SeqCst) {
        if ledger.quiet.load(SeqCst) {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let Some(open) = &mut conn else {
            conn = connect(port, &schema).await;
            continue;
        };
        let n = ledger.begun[writer].fetch_add(1, SeqCst) + 1;
        match write(writer, n, open).await {
            Ok(()) => {
                ledger.told[writer].fetch_max(n, SeqCst);
                ledger.writes.fetch_add(1, SeqCst);
            }
            Err(_) => {
                // Committed or not, nobody was told. Find out, so that counting goes on from what is there.
                let now = settle(writer, ports[1], &schema, &ledger).await;
                ledger.begun[writer].store(now, SeqCst);
                conn = None;
            }
        }
        let pause = random(&mut seed, 20) * random(&mut seed, 3);
        sleep(Duration::from_millis(pause)).await;
    }
}

async fn connect(port: u16, schema: &str) -> Option<Conn> {
    let options = crate::support::mysql::options(
        port,
        crate::support::mysql::APP_USER,
        crate::support::mysql::APP_PASSWORD,
        schema,
    );
    match Conn::new(options).await {
        Ok(conn) => Some(conn),
        Err(_) => {
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// The writer's counter once no transaction of a lost connection can change it any more.
async fn settle(writer: usize, port: u16, schema: &str, ledger: &Ledger) -> u64 {
    let sql = format!("SELECT v FROM counter WHERE id = {writer} FOR UPDATE");
    while !ledger.stop.load(SeqCst) {
        if let Some(mut conn) = connect(port, schema).await
            && let Ok(Some(v)) = conn.query_first::<u64, _>(&sql).await
        {
            return v;
        }
    }
    u64::MAX
}

const COUNTERS: &str = "SELECT id, v FROM counter WHERE id < 6 ORDER BY id";
const BANK: &str = "SELECT SUM(balance), COUNT(*) FROM accounts";
const BY_KIND: &str = "SELECT kind, SUM(v), COUNT(*) FROM counter GROUP BY kind ORDER BY kind";

async fn reader(number: u64, ledger: Arc<Ledger>, port: u16, schema: String, pause: Duration) {
    let mut seed = 0xABCD_EF01 + number;
    let mut conn = None;
    while !ledger.stop.load(SeqCst) {
        let Some(open) = &mut conn else {
            conn = connect(port, &schema).await;
            continue;
        };
        let before = ledger.told();
        let result: mysql_async::Result<()> = match random(&mut seed, 4) {
            0 => bank(open).await,
            1 => counters(open, false)
                .await
                .map(|got| ledger.check(before, &got, COUNTERS)),
            2 => counters(open, true)
                .await
                .map(|got| ledger.check(before, &got, COUNTERS)),
            // Counter `id` is the only one of its kind that moves.
            _ => by_kind(open)
                .await
                .map(|got| ledger.check(before, &got, BY_KIND)),
        };
        if result.is_err() {
            conn = None;
        }
        sleep(pause).await;
    }
}

async fn bank(conn: &mut Conn) -> mysql_async::Result<()> {
    let row: Option<(i64, i64)> = conn.query_first(BANK).await?;
    assert_eq!(row, Some((TOTAL, 10)), "money appeared or vanished");
    Ok(())
}

async fn counters(conn: &mut Conn, prepared: bool) -> mysql_async::Result<Vec<u64>> {
    let rows: Vec<(u64, u64)> = if prepared {
        conn.exec(COUNTERS, ()).await?
    } else {
        conn.query(COUNTERS).await?
    };
    Ok(rows.into_iter().map(|(_, v)| v).collect())
}

async fn by_kind(conn: &mut Conn) -> mysql_async::Result<Vec<u64>> {
    let rows: Vec<Row> = conn.query(BY_KIND).await?;
    Ok(rows
        .iter()
        .take(WRITERS)
        .map(|row| row.get(1).unwrap())
        .collect())
}

/// Runs writers and readers; `during` decides for how long and what happens meanwhile.
async fn crowd(
    server: &MySql,
    gate: &Tidegate,
    schema: &str,
    pause: Duration,
    during: impl Future<Output = ()>,
    ledger: Arc<Ledger>,
) {
    server.run(&format!(
        "CREATE TRIGGER {schema}.raise AFTER INSERT ON {schema}.other FOR EACH ROW UPDATE counter SET v = v + 1 WHERE id = 5"
    ));
    let ports = [gate.app_port, server.port];
    let mut tasks = Vec::new();
    for number in 0..WRITERS {
        tasks.push(tokio::spawn(writer(
            number,
            ledger.clone(),
            ports,
            schema.to_owned(),
        )));
    }
    for number in 0..6 {
        tasks.push(tokio::spawn(reader(
            number,
            ledger.clone(),
            gate.app_port,
            schema.to_owned(),
            pause,
        )));
    }
    during.await;
    ledger.stop.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(ledger.writes.load(SeqCst) > 20, "too few writes");
    assert!(ledger.reads.load(SeqCst) > 100, "too few reads");
    let sum: i64 = server
        .run(&format!("SELECT SUM(balance) FROM {schema}.accounts"))
        .trim()
        .parse()
        .unwrap();
    assert_eq!(sum, TOTAL);
}

/// Work and rest in turns: kept answers need moments in which nothing changes. A rest lasts until there were some.
async fn turns(ledger: &Ledger, gate: &Tidegate, count: u32, work: Duration, answers: Answers) {
    for _ in 0..count {
        ledger.quiet.store(false, SeqCst);
        sleep(work).await;
        ledger.quiet.store(true, SeqCst);
        let until = Instant::now() + Duration::from_secs(60);
        let goal = decided(gate, answers.0).await + answers.1;
        while decided(gate, answers.0).await < goal {
            if Instant::now() >= until {
                let why: Vec<(String, u64)> =
                    gate.admin("SELECT reason, count FROM decisions").await;
                panic!("no {}: {why:?}\n{}", answers.0, gate.log());
            }
            sleep(ms(20)).await;
        }
    }
}

/// A decision, and how many more of it are awaited.
type Answers = (&'static str, u64);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kept_result_is_older_than_what_was_told() {
    let server = MySql::start(&[]);
    let schema = tables(&server, 48);
    let gate = with_cache(&server, &schema);
    let ledger = Ledger::new();
    let during = turns(&ledger, &gate, 8, ms(600), ("cache_hit", 20));
    crowd(&server, &gate, &schema, ms(1), during, ledger.clone()).await;
    let hits = decided(&gate, "cache_hit").await;
    println!(
        "{} reads, {} writes, {hits} hits",
        ledger.reads.load(SeqCst),
        ledger.writes.load(SeqCst)
    );
    assert!(hits > 100, "{hits} hits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_view_is_older_than_what_was_told() {
    let server = MySql::start(&[]);
    let schema = tables(&server, 4_800);
    let gate = Tidegate::of(&server)
        .set("cache.enabled", "false")
        .set("views.repeat_count_min", "2")
        .set("views.mean_ms_min", "0")
        .set("views.rebuild_interval_ms_min", "100")
        .set("views.size_ratio_max", "0.5")
        .set("views.gate_wait_ms_max", "1000")
        .start();
    let ledger = Ledger::new();
    let during = turns(&ledger, &gate, 6, ms(500), ("view", 5));
    crowd(&server, &gate, &schema, ms(5), during, ledger.clone()).await;
    let served = decided(&gate, "view").await;
    println!(
        "{} reads, {} writes, {served} from views",
        ledger.reads.load(SeqCst),
        ledger.writes.load(SeqCst)
    );
    assert!(served > 20, "{served} from views");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_after_servers_and_proxy_died() {
    let server = MySql::start(&[]);
    let schema = tables(&server, 48);
    let gate = with_cache(&server, &schema);
    let ledger = Ledger::new();
    let during = async {
        for round in 0..4 {
            turns(&ledger, &gate, 1, ms(500), ("cache_hit", 5)).await;
            ledger.quiet.store(false, SeqCst);
            match round % 4 {
                0 => {
                    server.kill9();
                    server.start_again();
                }
                1 => {
                    gate.kill9();
                    gate.start_again();
                }
                2 => server.restart(),
                _ => {
                    server.freeze();
                    sleep(ms(1_500)).await;
                    server.resume();
                }
            }
            turns(&ledger, &gate, 1, ms(500), ("cache_hit", 5)).await;
        }
    };
    crowd(&server, &gate, &schema, ms(1), during, ledger.clone()).await;
}
