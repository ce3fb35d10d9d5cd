//! A cluster of real servers behind the proxy: who is what, who is out and why, and what follows the writer when it changes.

mod fresh;
mod mariadb;

use std::time::{Duration, Instant};

use crate::support::process::http_get;
use crate::support::topology::Wire;
use crate::support::{MySql, Tidegate, Topology};

/// Longest wait for something to be seen.
const SEEN_MAX: Duration = Duration::from_secs(30);

/// Name, role, state and reason of each node.
async fn nodes(gate: &Tidegate) -> Vec<String> {
    let rows: Vec<(String, String, String, Option<String>, bool)> = gate
        .admin("SELECT name, role, state, reason, reads FROM backends")
        .await;
    let told = rows.into_iter().map(|(name, role, state, reason, reads)| {
        let reads = if reads { "reads" } else { "-" };
        format!(
            "{name} {role} {state} {} {reads}",
            reason.as_deref().unwrap_or("-")
        )
    });
    told.collect()
}

/// Waits until the nodes are these.
async fn until<const N: usize>(gate: &Tidegate, expected: [&str; N]) {
    let begin = Instant::now();
    loop {
        let found = nodes(gate).await;
        if found == expected {
            return;
        }
        assert!(
            begin.elapsed() < SEEN_MAX,
            "{found:#?}, expected {expected:#?}\n{}",
            gate.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_lag_and_loss_are_seen() {
    let topology = Topology::start();
    let gate = topology
        .tidegate()
        .set("cluster.lag_ms_max", "2000")
        .start();
    let all_well = [
        "backend writer up - -",
        "second reader up - reads",
        "third reader up - reads",
    ];
    until(&gate, all_well).await;
    // A copy that does not apply.
    topology.hold(1);
    let one_out = |what| ["backend writer up - -", what, "third reader up - reads"];
    until(
        &gate,
        one_out("second reader up node_replication_stopped -"),
    )
    .await;
    topology.release(1);
    until(&gate, all_well).await;
    // One that applies late: out while there is something to apply.
    topology.delay(1, 6);
    topology.servers[0].run("CREATE DATABASE late");
    until(&gate, one_out("second reader up node_lagging -")).await;
    let lag: Vec<(i64,)> = gate
        .admin("SELECT lag_ms FROM backends WHERE name = 'second'")
        .await;
    assert!((2_001..20_000).contains(&lag[0].0), "{lag:?}");
    topology.delay(1, 0);
    until(&gate, all_well).await;
    // One that is gone, and comes back.
    topology.servers[1].kill9();
    until(&gate, one_out("second unknown down node_unreachable -")).await;
    topology.servers[1].start_again();
    until(&gate, all_well).await;
    // One that hangs.
    topology.servers[1].freeze();
    until(&gate, one_out("second unknown down node_late -")).await;
    topology.servers[1].resume();
    until(&gate, all_well).await;
    let (_, page) = http_get(gate.http_port, "/metrics").expect("a page");
    for line in [
        "tidegate_cluster_writers 1",
        "tidegate_node_writer{node=\"backend\"} 1",
        "tidegate_node_reads{node=\"third\"} 1",
        "tidegate_node_up{node=\"second\"} 1",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "no {line} in\n{page}"
        );
    }
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_does_not_know_that_it_is_behind_is_out() {
    let topology = Topology::start();
    let wire = Wire::to(topology.servers[0].port);
    topology.follow_port(2, wire.port);
    topology.wait_copied(0);
    let gate = topology
        .tidegate()
        .set("cluster.lag_ms_max", "1000")
        .start();
    let well = [
        "backend writer up - -",
        "second reader up - reads",
        "third reader up - reads",
    ];
    until(&gate, well).await;
    // Its source is silent: for four seconds it takes itself for up to date.
    wire.hold(true);
    topology.servers[0].run("CREATE DATABASE unheard");
    let behind = [
        "backend writer up - -",
        "second reader up - reads",
        "third reader up node_lagging -",
    ];
    until(&gate, behind).await;
    wire.hold(false);
    until(&gate, well).await;
    gate.stop();
}

/// Until the page about being ready says so.
async fn until_ready(gate: &Tidegate, status: u16, word: &str) {
    let begin = Instant::now();
    loop {
        let (found, page) = http_get(gate.http_port, "/readyz").expect("a page");
        if found == status && page.contains(word) {
            return;
        }
        assert!(
            begin.elapsed() < SEEN_MAX,
            "{found}: {page}\n{}",
            gate.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Until the log that is followed is that of this server.
async fn until_log_of(gate: &Tidegate, server: &MySql) {
    let uuid = server.run("SELECT @@server_uuid").trim().to_owned();
    let begin = Instant::now();
    loop {
        let found: Vec<(String, Option<String>)> =
            gate.admin("SELECT state, server_uuid FROM binlog").await;
        if found == [("running".to_owned(), Some(uuid.clone()))] {
            return;
        }
        assert!(
            begin.elapsed() < SEEN_MAX,
            "{found:?}, expected {uuid}\n{}",
            gate.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Changes of the writer that people can look up later.
async fn are_kept<const N: usize>(gate: &Tidegate, turns: [(&str, &str); N]) {
    let sql = "SELECT backend_name, state FROM backend_changes WHERE role = 'writer' AND state LIKE 'writer_%'";
    let changes: Vec<(String, String)> = gate.admin(sql).await;
    for (names, state) in turns {
        let change = (names.to_owned(), state.to_owned());
        assert!(
            changes.contains(&change),
            "{change:?} is not in {changes:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_is_followed_and_two_are_none() {
    let topology = Topology::start();
    let gate = topology.tidegate().start();
    let servers = &topology.servers;
    until_log_of(&gate, &servers[0]).await;
    until_ready(&gate, 200, "backend takes writes").await;
    // A planned switchover.
    topology.switch_over(0, 1);
    let after = [
        "backend reader up - reads",
        "second writer up - -",
        "third reader up - reads",
    ];
    until(&gate, after).await;
    until_log_of(&gate, &servers[1]).await;
    until_ready(&gate, 200, "second takes writes").await;
    // Another server takes writes, too.
    topology.promote(2);
    until_ready(&gate, 503, "writer_several: second, third").await;
    let both = [
        "backend reader up - reads",
        "second writer up node_split_brain -",
        "third writer up node_split_brain -",
    ];
    until(&gate, both).await;
    let log: Vec<(String,)> = gate.admin("SELECT state FROM binlog").await;
    assert_eq!(log[0].0, "binlog_no_writer");
    topology.follow(2, 1);
    until(&gate, after).await;
    until_log_of(&gate, &servers[1]).await;
    // The writer dies, and nobody is made one: reads go on.
    servers[1].kill9();
    until_ready(&gate, 503, "writer_none_all_read_only").await;
    let gone = [
        "backend reader up - reads",
        "second unknown down node_unreachable -",
        "third reader up - reads",
    ];
    until(&gate, gone).await;
    // Until somebody makes one.
    topology.promote(2);
    topology.follow(0, 2);
    let anew = [
        "backend reader up - reads",
        "second unknown down node_unreachable -",
        "third writer up - -",
    ];
    until(&gate, anew).await;
    until_log_of(&gate, &servers[2]).await;
    // The dead one comes back as what it was.
    servers[1].start_again();
    until_ready(&gate, 503, "writer_several: second, third").await;
    topology.follow(1, 2);
    until_ready(&gate, 200, "third takes writes").await;
    let turns = [
        ("second", "writer_one"),
        ("second, third", "writer_several"),
        ("third", "writer_one"),
    ];
    are_kept(&gate, turns).await;
    let told = gate.log();
    for words in ["writes go to this node", "several nodes take writes"] {
        assert!(told.contains(words), "no word of it: {words}");
    }
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_says_who_its_primary_is() {
    let topology = Topology::start_group();
    let gate = topology.tidegate().start();
    let servers = &topology.servers;
    let before = [
        "backend writer up - -",
        "second reader up - reads",
        "third reader up - reads",
    ];
    until(&gate, before).await;
    until_log_of(&gate, &servers[0]).await;
    // The group elects another, as it is told.
    let uuid = servers[1].run("SELECT @@server_uuid");
    servers[0].run(&format!(
        "SELECT group_replication_set_as_primary('{}')",
        uuid.trim()
    ));
    let after = [
        "backend reader up - reads",
        "second writer up - -",
        "third reader up - reads",
    ];
    until(&gate, after).await;
    until_log_of(&gate, &servers[1]).await;
    // A member leaves.
    servers[2].run("STOP GROUP_REPLICATION");
    let left = [
        "backend reader up - reads",
        "second writer up - -",
        "third reader draining node_group_state -",
    ];
    until(&gate, left).await;
    servers[2].run("START GROUP_REPLICATION");
    until(&gate, after).await;
    // The primary dies: the group elects one by itself, and is followed.
    servers[1].kill9();
    let begin = Instant::now();
    loop {
        let found = nodes(&gate).await;
        let writers = found
            .iter()
            .filter(|node| node.contains(" writer up - -"))
            .count();
        if writers == 1 && found[1] == "second unknown down node_unreachable -" {
            break;
        }
        assert!(begin.elapsed() < 2 * SEEN_MAX, "{found:#?}\n{}", gate.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gate.stop();
}
