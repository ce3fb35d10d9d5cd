//! MariaDB's replication: other words for the same, ids of servers in place of UUIDs.

use super::until;
use crate::support::{MySql, Topology};

fn server(id: u32) -> MySql {
    let id = format!("--server-id={id}");
    let server = MySql::start_mariadb(&[
        &id,
        "--innodb-buffer-pool-size=32M",
        "--log-slave-updates=ON",
    ]);
    server.run("RESET MASTER");
    server
}

fn follow(reader: &MySql, source: &MySql) {
    reader.run(&format!(
        "SET GLOBAL read_only=ON; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', \
         MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos; START SLAVE",
        source.port
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_and_its_replica_are_told_apart() {
    let topology = Topology {
        servers: vec![server(1), server(2)],
    };
    let [writer, reader] = &topology.servers[..] else {
        panic!("two")
    };
    follow(reader, writer);
    let gate = topology.tidegate().start();
    let well = ["backend writer up - -", "second reader up - reads"];
    until(&gate, well).await;
    reader.run("STOP SLAVE SQL_THREAD");
    let stopped = "second reader up node_replication_stopped -";
    until(&gate, ["backend writer up - -", stopped]).await;
    reader.run("START SLAVE SQL_THREAD");
    until(&gate, well).await;
    // A replica that somebody left open is none that takes the writes.
    reader.run("SET GLOBAL read_only=OFF");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    until(&gate, well).await;
    writer.run("SET GLOBAL read_only=ON");
    until(
        &gate,
        [
            "backend reader up node_no_source -",
            "second reader up - reads",
        ],
    )
    .await;
    reader.run("STOP SLAVE; RESET SLAVE ALL");
    follow(writer, reader);
    until(&gate, ["backend reader up - reads", "second writer up - -"]).await;
    writer.kill9();
    let gone = "backend unknown down node_unreachable -";
    until(&gate, [gone, "second writer up - -"]).await;
    gate.stop();
}
