//! Money is moved while the writer changes: every transfer that a client was told of is there once, and no other twice.

use super::*;

const ACCOUNTS: u64 = 10;

/// One client: transfers in transactions, each with a row of its own number, until `stop`. Answers the numbers that were acknowledged
/// and how many errors it saw.
async fn transfer(gate_port: Arc<Tidegate>, client: u64, stop: Arc<AtomicBool>) -> (Vec<u64>, u64) {
    let (mut told, mut errors) = (Vec::new(), 0);
    let mut number = client * 1_000_000;
    let mut conn: Option<Conn> = None;
    while !stop.load(Relaxed) {
        let mut held = match conn.take() {
            Some(held) => held,
            None => gate_port.connect("bank").await,
        };
        number += 1;
        match one(&mut held, number).await {
            Ok(()) => {
                told.push(number);
                conn = Some(held);
            }
            Err(Error::Server(error)) => {
                errors += 1;
                // As an application does: it tries to go on where it can.
                assert_ne!(error.code, 1062, "a number was used twice: {error}");
                if held.query_drop("ROLLBACK").await.is_ok() {
                    conn = Some(held);
                }
            }
            Err(_) => errors += 1,
        }
    }
    (told, errors)
}

async fn one(conn: &mut Conn, number: u64) -> Result<(), Error> {
    let (from, to) = (number % ACCOUNTS, (number / 7 + 1) % ACCOUNTS);
    if number.is_multiple_of(4) {
        // One statement in autocommit.
        return conn
            .query_drop(format!("INSERT INTO transfers VALUES ({number}, 0, 0, 0)"))
            .await;
    }
    conn.query_drop("BEGIN").await?;
    let (low, high) = (from.min(to), from.max(to));
    conn.query_drop(format!(
        "SELECT balance FROM accounts WHERE id IN ({low}, {high}) ORDER BY id FOR UPDATE"
    ))
    .await?;
    conn.exec_drop(
        "UPDATE accounts SET balance = balance - 1 WHERE id = ?",
        (from,),
    )
    .await?;
    conn.exec_drop(
        "UPDATE accounts SET balance = balance + 1 WHERE id = ?",
        (to,),
    )
    .await?;
    conn.query_drop(format!(
        "INSERT INTO transfers VALUES ({number}, {from}, {to}, 1)"
    ))
    .await?;
    conn.query_drop("COMMIT").await?;
    // Own writes, wherever they are read.
    let found = ask(
        conn,
        &format!("SELECT COUNT(*) FROM transfers WHERE id = {number}"),
    )
    .await?;
    assert_eq!(found, "1");
    Ok(())
}

fn open_bank(topology: &Topology) {
    let accounts: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, 1000)")).collect();
    topology.servers[0].run(&format!(
        "USE bank; CREATE TABLE accounts (id INT PRIMARY KEY, balance INT NOT NULL); \
         CREATE TABLE transfers (id BIGINT PRIMARY KEY, a INT, b INT, n INT); INSERT INTO accounts VALUES {}",
        accounts.join(", ")
    ));
    topology.wait_copied(0);
    // A server that is to take no more writes waits for statements under way, and they for rows of transactions that wait for it.
    for server in &topology.servers {
        server.run("SET GLOBAL innodb_lock_wait_timeout = 2");
    }
}

/// Every acknowledged transfer is there, the sum is what it was, and each account is what its transfers made of it.
fn audit(topology: &Topology, at: usize, told: &[u64]) {
    let server = &topology.servers[at];
    let there = server.run("SELECT id FROM bank.transfers");
    let there: std::collections::HashSet<u64> =
        there.lines().map(|id| id.parse().unwrap()).collect();
    let lost: Vec<&u64> = told.iter().filter(|id| !there.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(
        server.run("SELECT SUM(balance) FROM bank.accounts").trim(),
        "10000"
    );
    let wrong = server.run(
        "SELECT COUNT(*) FROM bank.accounts WHERE balance <> 1000 \
         - (SELECT COALESCE(SUM(n), 0) FROM bank.transfers WHERE a = accounts.id) \
         + (SELECT COALESCE(SUM(n), 0) FROM bank.transfers WHERE b = accounts.id)",
    );
    assert_eq!(
        wrong.trim(),
        "0",
        "an account is not what its transfers made of it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transfer_is_lost_or_doubled_when_the_writer_changes() {
    let topology = Topology::start();
    let gate = Arc::new(rig(&topology, &[("cluster.failover_hold_ms_max", "30000")]));
    open_bank(&topology);
    until_seen(&gate, "backend", &["second", "third"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (1..=8)
        .map(|client| tokio::spawn(transfer(gate.clone(), client, stop.clone())))
        .collect();
    let mut idle = gate.connect("bank").await;
    cell(&mut idle, WHERE).await;
    for (from, to, name, readers) in [
        (0, 1, "second", ["backend", "third"]),
        (1, 2, "third", ["backend", "second"]),
        (2, 0, "backend", ["second", "third"]),
    ] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| topology.switch_over(from, to));
        until_seen(&gate, name, &readers).await;
        // Who did nothing meanwhile goes on at the new writer.
        idle.query_drop("UPDATE t SET n = n + 1 WHERE id = 1")
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Relaxed);
    let (mut told, mut errors) = (Vec::new(), 0);
    for client in clients {
        let (more, failed) = client.await.unwrap();
        told.extend(more);
        errors += failed;
    }
    assert!(told.len() > 100, "only {} transfers", told.len());
    // About the transactions that were open at each of three moments, and those that waited for rows of these.
    assert!(
        errors <= 3 * 8 * 4,
        "{errors} errors for {} transfers",
        told.len()
    );
    assert_eq!(
        topology.servers[0]
            .run("SELECT n FROM bank.t WHERE id = 1")
            .trim(),
        "3"
    );
    audit(&topology, 0, &told);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transfer_is_lost_or_doubled_when_the_writer_dies() {
    let topology = Topology::start();
    let gate = Arc::new(rig(&topology, &[("cluster.failover_hold_ms_max", "30000")]));
    open_bank(&topology);
    until_seen(&gate, "backend", &["second", "third"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (1..=6)
        .map(|client| tokio::spawn(transfer(gate.clone(), client, stop.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Asynchronous copies may miss the last transfers of a writer that dies: it ends in order, and they have all of it.
    topology.servers[0].stop();
    tokio::task::block_in_place(|| {
        let ahead = crate::support::topology::executed(&topology.servers[1]);
        let other = crate::support::topology::executed(&topology.servers[2]);
        assert!(!ahead.is_empty() && !other.is_empty());
        topology.promote(1);
        topology.follow(2, 1);
    });
    until_seen(&gate, "second", &["third"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Relaxed);
    let mut told = Vec::new();
    for client in clients {
        told.extend(client.await.unwrap().0);
    }
    assert!(told.len() > 50, "only {} transfers", told.len());
    audit(&topology, 1, &told);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_get_no_writes_and_the_reason_is_told() {
    let topology = Topology::start();
    let gate = rig(&topology, &[("cluster.failover_hold_ms_max", "500")]);
    until_seen(&gate, "backend", &["second", "third"]).await;
    let mut conn = gate.connect("bank").await;
    let mut tied = gate.connect("bank").await;
    tied.query_drop("BEGIN").await.unwrap();
    tied.query_drop("INSERT INTO t VALUES (2, 9)")
        .await
        .unwrap();
    topology.promote(1);
    let begin = Instant::now();
    let refused = loop {
        match conn.query_drop("UPDATE t SET n = n WHERE id = 1").await {
            Ok(()) => assert!(begin.elapsed() < SEEN_MAX, "writes go on"),
            Err(error) => break error,
        }
    };
    let Error::Server(told) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(told.code, 1290, "{told}");
    assert!(
        told.message
            .contains("more than one server takes writes: backend, second"),
        "{told}"
    );
    // Neither in a transaction that was open.
    let commit = tied.query_drop("COMMIT").await.unwrap_err();
    assert!(
        commit.to_string().contains("more than one server"),
        "{commit}"
    );
    tied.query_drop("ROLLBACK").await.unwrap();
    // Reads go on where they may.
    assert_eq!(cell(&mut conn, WHERE).await, "3");
    // One of them is a reader again.
    topology.follow(1, 0);
    until_seen(&gate, "backend", &["second", "third"]).await;
    conn.query_drop("UPDATE t SET n = 4 WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(
        topology.servers[0]
            .run("SELECT n FROM bank.t WHERE id = 1")
            .trim(),
        "4"
    );
    // No writer at all: a write waits, then is told.
    topology.servers[0].run("SET PERSIST super_read_only=ON");
    let begin = Instant::now();
    let refused = conn
        .query_drop("UPDATE t SET n = 5 WHERE id = 1")
        .await
        .unwrap_err();
    assert!(begin.elapsed() >= Duration::from_millis(450), "{refused}");
    assert!(
        matches!(&refused, Error::Server(error) if error.code == 1290),
        "{refused}"
    );
    topology.servers[0].run("SET PERSIST super_read_only=OFF; SET PERSIST read_only=OFF");
    until_seen(&gate, "backend", &["second", "third"]).await;
    conn.query_drop("UPDATE t SET n = 6 WHERE id = 1")
        .await
        .unwrap();
    gate.stop();
}
