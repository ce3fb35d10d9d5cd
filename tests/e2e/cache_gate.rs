//! The result cache behind the real binary log of a real server, without the rest of the proxy: writers commit, readers ask.
//! No answer may be older than what its reader had been told before it asked, nor newer than the last commit begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tidegate::backend::control::{Control, ControlSettings};
use tidegate::binlog::{Binlog, BinlogSettings, TableKey};
use tidegate::cache::{Cache, Lookup, Request, Settings};
use tidegate::config;
use tidegate::protocol::column::{BufferedResult, packets};
use tidegate::protocol::packet::Cursor;
use tidegate::shutdown::Shutdown;
use tidegate::sql::env::{SELECT_SQL, SessionEnv};
use tidegate::sql::{DigestScratch, LexMode, Statement, StatementCache};

use crate::support::MySql;
use crate::support::mysql::cells;
use crate::wire::{CAPS, Wire};

const SQL: &str = "SELECT SUM(v) FROM counter";

struct Rig {
    server: MySql,
    schema: String,
    cache: Arc<Cache>,
    binlog: Arc<Binlog>,
    stop: Shutdown,
    statement: Arc<Statement>,
    env: SessionEnv,
}

impl Rig {
    async fn new() -> Self {
        let server = MySql::start(&["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0"]);
        let schema = server.schema("cache");
        server.run(&format!(
            "CREATE TABLE {schema}.counter (id INT PRIMARY KEY, v BIGINT NOT NULL); \
             INSERT INTO {schema}.counter VALUES (1, 0), (2, 0), (3, 0); \
             CREATE TABLE {schema}.other (id INT PRIMARY KEY AUTO_INCREMENT)"
        ));
        let backend = config::Backend {
            url: server.root_url().parse().expect("a URL"),
            ..config::Backend::default()
        };
        let control = Control::new(ControlSettings::new(backend, 4));
        let stop = Shutdown::new();
        let binlog = Binlog::start(control, BinlogSettings::default(), &stop);
        let settings = Settings {
            tables: vec![TableKey::new(&schema, "counter")],
            gate_wait: Duration::from_millis(250),
            ..Settings::default()
        };
        let runtime = tokio::runtime::Handle::current();
        let cache = Cache::new(settings, binlog.clone(), runtime);
        let mut scratch = DigestScratch::new(4096);
        scratch.run(SQL.as_bytes(), LexMode::default());
        let statement = StatementCache::new(16).get_or_parse(&scratch, SQL.as_bytes());
        let mut conn = server.connect(&schema).await;
        let row = cells(&mut conn, SELECT_SQL).await.unwrap().remove(0);
        let env = SessionEnv::from_row(&row).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(reason) = binlog.available() {
            assert!(
                Instant::now() < deadline,
                "the log stays {reason}: {:?}",
                binlog.snapshot()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            server,
            schema,
            cache,
            binlog,
            stop,
            statement,
            env,
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            statement: &self.statement,
            text: SQL.as_bytes(),
            parameters: None,
            env: &self.env,
            caps: CAPS,
            is_chosen: false,
        }
    }

    /// One request as a session would serve it: the sum, and whether it came from the cache.
    async fn ask(&self, wire: &mut Wire) -> (u64, bool) {
        let wanted = self
            .cache
            .consider(&self.request())
            .expect("a rule takes it");
        match self.cache.lookup(wanted).await {
            Lookup::Hit(hit) => (sum(&hit.packets), true),
            Lookup::Fill(mut fill) => {
                let summary = wire.query_alone(SQL).await;
                fill.push(&wire.response);
                fill.complete(&summary, 1000);
                (sum(&wire.response), false)
            }
            Lookup::Bypass(_) => {
                wire.query_alone(SQL).await;
                (sum(&wire.response), false)
            }
        }
    }

    /// Whether nothing is kept any more for the question. What the gate cannot tell in time proves nothing, and is asked again.
    async fn is_void(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let wanted = self.cache.consider(&self.request());
            match self.cache.lookup(wanted.expect("a rule takes it")).await {
                Lookup::Hit(_) => return false,
                Lookup::Fill(_) => return true,
                Lookup::Bypass(skip) => assert!(Instant::now() < deadline, "{skip:?}"),
            }
        }
    }

    /// What the table says now, past everything.
    fn truth(&self) -> u64 {
        let sql = format!("SELECT IFNULL(SUM(v), 0) FROM {}.counter", self.schema);
        self.server.run(&sql).trim().parse().expect("a number")
    }

    async fn is_hit(&self, wire: &mut Wire) -> bool {
        self.ask(wire).await.1
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.request();
    }
}

/// The one number of the one row; 0 for the sum of nothing.
fn sum(response: &[u8]) -> u64 {
    let result = BufferedResult::parse(response, CAPS).expect("one result set");
    let rows = &response[result.rows];
    let row = packets(rows).next().expect("a row").1;
    let cell = Cursor::new(&rows[row]).cell().expect("a whole cell");
    cell.map_or(0, |cell| {
        String::from_utf8_lossy(cell).parse().expect("a number")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_older_than_a_commit_that_was_told() {
    let rig = Arc::new(Rig::new().await);
    let begun = Arc::new(AtomicU64::new(0));
    let told = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=3_u64)
        .map(|id| {
            let (rig, begun, told, stop) = (rig.clone(), begun.clone(), told.clone(), stop.clone());
            tokio::spawn(async move {
                let mut conn = rig.server.connect(&rig.schema).await;
                let mut turn = id;
                while !stop.load(SeqCst) {
                    // Bursts and quiet times: hits need the quiet, mistakes need the bursts.
                    turn += 1;
                    if turn % 20 == 0 {
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                    begun.fetch_add(1, SeqCst);
                    conn.query_drop(format!("UPDATE counter SET v = v + 1 WHERE id = {id}"))
                        .await
                        .unwrap();
                    told.fetch_add(1, SeqCst);
                    conn.query_drop("INSERT INTO other VALUES ()")
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (rig, begun, told, stop) = (rig.clone(), begun.clone(), told.clone(), stop.clone());
            tokio::spawn(async move {
                let mut wire = Wire::open(&rig.server, &rig.schema, CAPS).await;
                let (mut hits, mut asked) = (0, 0);
                while !stop.load(SeqCst) {
                    let before = told.load(SeqCst);
                    let (sum, is_hit) = rig.ask(&mut wire).await;
                    let after = begun.load(SeqCst);
                    assert!(
                        before <= sum && sum <= after,
                        "{before} <= {sum} <= {after}, hit: {is_hit}"
                    );
                    asked += 1;
                    hits += u64::from(is_hit);
                }
                (hits, asked)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(8)).await;
    stop.store(true, SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let (mut hits, mut asked) = (0, 0);
    for reader in readers {
        let (h, a) = reader.await.unwrap();
        (hits, asked) = (hits + h, asked + a);
    }
    let totals = rig.cache.totals();
    println!(
        "{asked} asked, {hits} hits, {} told, {totals:?}",
        told.load(SeqCst)
    );
    assert!(
        hits > 200 && totals.fills > 20 && totals.invalidations > 10,
        "{asked} {totals:?}"
    );
}

#[tokio::test]
async fn what_makes_an_answer_worthless() {
    let rig = Rig::new().await;
    let (schema, server) = (&rig.schema, &rig.server);
    let mut wire = Wire::open(server, schema, CAPS).await;
    let warm = async |wire: &mut Wire| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !rig.is_hit(wire).await {
            assert!(
                Instant::now() < deadline,
                "never a hit: {:?}",
                rig.cache.totals()
            );
        }
    };
    // Writes elsewhere do not matter.
    warm(&mut wire).await;
    server.run(&format!(
        "INSERT INTO {schema}.other VALUES (); CREATE TABLE {schema}.third (id INT PRIMARY KEY, v BIGINT); \
         INSERT INTO {schema}.third VALUES (1, 1000)"
    ));
    assert!(rig.is_hit(&mut wire).await);
    let statements = [
        "UPDATE {}.counter SET v = v + 1 WHERE id = 1",
        "INSERT INTO {}.counter VALUES (9, 5)",
        "DELETE FROM {}.counter WHERE id = 9",
        "ALTER TABLE {}.counter ADD COLUMN w INT",
        "TRUNCATE {}.counter",
        "INSERT INTO {}.counter (id, v) VALUES (1, 3)",
        // Nothing but the name: what has it now holds other rows.
        "RENAME TABLE {0}.counter TO {0}.gone, {0}.third TO {0}.counter",
        "RENAME TABLE {0}.counter TO {0}.third, {0}.gone TO {0}.counter",
        "CREATE USER somebody",
        "FLUSH PRIVILEGES",
    ];
    for statement in statements {
        let statement = statement.replace("{0}", schema).replace("{}", schema);
        warm(&mut wire).await;
        server.run(&statement);
        assert!(rig.is_void().await, "{statement}");
        assert_eq!(rig.ask(&mut wire).await.0, rig.truth(), "{statement}");
        warm(&mut wire).await;
        assert_eq!(rig.ask(&mut wire).await.0, rig.truth(), "{statement}");
    }
    // The sweep throws away by itself what nobody asks for any more.
    server.run(&format!("DROP TABLE {schema}.counter; CREATE TABLE {schema}.counter (id INT PRIMARY KEY, v BIGINT); INSERT INTO {schema}.counter VALUES (1, 7)"));
    warm(&mut wire).await;
    server.run(&format!("UPDATE {schema}.counter SET v = 8"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while rig.cache.totals().entries > 0 {
        assert!(Instant::now() < deadline);
        rig.cache.sweep();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.ask(&mut wire).await.0, 8);
}

#[tokio::test]
async fn a_server_that_dies_takes_its_answers_along() {
    let rig = Rig::new().await;
    let mut wire = Wire::open(&rig.server, &rig.schema, CAPS).await;
    while !rig.is_hit(&mut wire).await {}
    rig.server.kill9();
    let wanted = rig.cache.consider(&rig.request());
    // Known dead or not yet: never a hit that nobody can prove.
    if let Ok(wanted) = wanted {
        assert!(!matches!(rig.cache.lookup(wanted).await, Lookup::Hit(_)));
    }
    rig.server.start_again();
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.binlog.available().is_err() {
        assert!(Instant::now() < deadline, "{:?}", rig.binlog.available());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut wire = Wire::open(&rig.server, &rig.schema, CAPS).await;
    let wanted = rig.cache.consider(&rig.request()).unwrap();
    assert!(!matches!(rig.cache.lookup(wanted).await, Lookup::Hit(_)));
    while !rig.is_hit(&mut wire).await {}
}
