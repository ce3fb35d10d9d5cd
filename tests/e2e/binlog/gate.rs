//! The gate against real commits.

use tidegate::binlog::GateError;

use super::*;

const GATE: Duration = Duration::from_secs(2);

fn key(name: &str) -> TableKey {
    let (schema, table) = name.split_once('.').unwrap();
    TableKey::new(schema, table)
}

impl Follower {
    /// A fill that nothing disturbs.
    async fn fill(&self, tables: &[TableKey]) -> (Position, u64) {
        let token = self.fill_token(tables).await;
        let epoch = token.epoch();
        (self.binlog.fill_end(token).await.unwrap(), epoch)
    }

    /// Commits become visible a moment after they are logged.
    async fn fill_token(&self, tables: &[TableKey]) -> tidegate::binlog::FillToken {
        let deadline = Instant::now() + WAIT;
        loop {
            match self.binlog.fill_start(tables).await {
                Ok(token) => return token,
                Err(GateError::NotVisible) if Instant::now() < deadline => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_stands_until_one_of_its_tables_changes() {
    let server = MySql::start(&[]);
    server.run(SCHEMA);
    let follower = Follower::of(&server).await;
    let binlog = &follower.binlog;
    let tables = [key("d.a"), key("d.b")];
    let (mut since, epoch) = follower.fill(&tables).await;
    for _ in 0..3 {
        server.run("UPDATE e.x SET v = v + 1");
        let until = binlog
            .unchanged_since(&tables, since, epoch, GATE)
            .await
            .unwrap();
        assert!(until > since);
        since = until;
    }
    server.run("UPDATE d.b SET v = v + 1");
    let error = binlog
        .unchanged_since(&tables, since, epoch, GATE)
        .await
        .unwrap_err();
    assert!(matches!(error, GateError::Changed { table, .. } if table == key("d.b")));
    assert!(
        binlog
            .unchanged_since(&tables[..1], since, epoch, GATE)
            .await
            .is_ok()
    );
    let error = binlog
        .unchanged_since(&tables[..1], since, epoch + 1, GATE)
        .await
        .unwrap_err();
    assert_eq!(error, GateError::Epoch);
}

#[tokio::test]
async fn a_write_during_a_fill_spoils_it() {
    let server = MySql::start(&[]);
    server.run(SCHEMA);
    let follower = Follower::of(&server).await;
    let tables = [key("d.a")];
    for (sql, spoiled) in [
        ("UPDATE e.x SET v = v + 1", false),
        ("UPDATE d.a SET v = v + 1", true),
        ("TRUNCATE d.a", true),
        ("CREATE USER u", true),
    ] {
        let token = follower.fill_token(&tables).await;
        server.run(sql);
        assert_eq!(
            follower.binlog.fill_end(token).await.is_err(),
            spoiled,
            "{sql}"
        );
    }
    // What was begun in one epoch does not end in another.
    let token = follower.fill_token(&tables).await;
    server.restart();
    let deadline = Instant::now() + WAIT;
    while follower.binlog.epoch() == token.epoch() && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
    follower.up().await;
    assert_eq!(follower.binlog.fill_end(token).await, Err(GateError::Epoch));
}

#[tokio::test]
async fn tables_that_the_log_cannot_vouch_for_are_refused() {
    let server = MySql::start(&[]);
    server.run(SCHEMA);
    server.run("CREATE VIEW d.v AS SELECT * FROM d.a; CREATE TABLE d.m (a INT) ENGINE=MyISAM; CREATE TABLE d.`Mixed` (a INT); \
        CREATE TABLE d.twin (a INT); CREATE TABLE d.`Twin` (a INT) ENGINE=MEMORY");
    let follower = Follower::of(&server).await;
    for (name, why) in [
        ("d.v", "view"),
        ("d.m", "engine"),
        ("d.twin", "engine"),
        ("d.none", "missing"),
        ("mysql.user", "system_schema"),
        ("performance_schema.threads", "system_schema"),
        ("information_schema.tables", "system_schema"),
    ] {
        match follower.binlog.fill_start(&[key("d.a"), key(name)]).await {
            Err(GateError::TableNotTracked { table, why: found }) => {
                assert_eq!((table, found), (key(name), why));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    follower.fill(&[key("d.mixed")]).await;
    // A name that becomes a view is noticed.
    let (since, epoch) = follower.fill(&[key("d.b")]).await;
    server.run("RENAME TABLE d.b TO d.b2; CREATE VIEW d.b AS SELECT * FROM d.b2");
    let error = follower
        .binlog
        .unchanged_since(&[key("d.b")], since, epoch, GATE)
        .await;
    assert!(matches!(error, Err(GateError::Changed { .. })));
    let error = follower.binlog.fill_start(&[key("d.b")]).await;
    assert!(
        matches!(error, Err(GateError::TableNotTracked { why: "view", .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn cascades_that_are_not_logged_reach_the_children() {
    let server = MySql::start(&["--innodb-native-foreign-keys=ON"]);
    server.run(SCHEMA);
    server.run("CREATE TABLE d.g (id INT PRIMARY KEY, cid INT, FOREIGN KEY (cid) REFERENCES d.c (id) ON DELETE CASCADE); \
        CREATE TABLE d.r (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES d.p (id)); INSERT INTO d.g VALUES (1, 1), (2, 3)");
    let follower = Follower::of(&server).await;
    let (child, grandchild) = ([key("d.c")], [key("d.g")]);
    for (sql, changed) in [
        ("INSERT INTO d.p VALUES (50, 1)", false),
        // Changes nothing below, but cannot be told from one that does.
        ("UPDATE d.p SET v = v + 1 WHERE id = 50", true),
        ("DELETE FROM d.p WHERE id = 1", true),
        ("UPDATE d.a SET v = v + 1", false),
    ] {
        let c = follower.fill(&child).await;
        let g = follower.fill(&grandchild).await;
        let r = follower.fill(&[key("d.r")]).await;
        server.run(sql);
        for (tables, (since, epoch), changed) in [
            (&child[..], c, changed),
            (&grandchild[..], g, changed),
            (&[key("d.r")][..], r, false),
        ] {
            let answer = follower
                .binlog
                .unchanged_since(tables, since, epoch, GATE)
                .await;
            assert_eq!(answer.is_err(), changed, "{sql}: {tables:?} {answer:?}");
        }
    }
    assert_eq!(server.run("SELECT COUNT(*) FROM d.g"), "1\n");
    // A key that is added later counts from then on.
    server.run("DELETE FROM d.r; ALTER TABLE d.r ADD FOREIGN KEY (pid) REFERENCES d.b (id) ON DELETE SET NULL");
    let (since, epoch) = follower.fill(&[key("d.r")]).await;
    server.run("DELETE FROM d.b");
    let answer = follower
        .binlog
        .unchanged_since(&[key("d.r")], since, epoch, GATE)
        .await;
    assert!(answer.is_err());
}

#[tokio::test]
async fn one_status_call_serves_many() {
    let server = MySql::start(&[]);
    server.run(SCHEMA);
    let follower = Follower::of(&server).await;
    let before = follower.binlog.snapshot();
    let calls = (0..500).map(|_| {
        let binlog = follower.binlog.clone();
        tokio::spawn(async move { binlog.barrier().await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let after = follower.binlog.snapshot();
    let waiters = after.barrier_waiters - before.barrier_waiters;
    let calls = after.barriers - before.barriers;
    assert!(
        waiters >= 500 && calls < 50,
        "{calls} calls for {waiters} waiters"
    );
}
