//! Our wire format against real servers: logins by every plugin that a plain wire allows, and the end of every kind of response.
//! After each response a PING must be answered by exactly one OK: a machine that ended too early or too late fails there.

use tidegate::protocol::auth::{ClientAuth, ClientStep, Secret, Stage1};
use tidegate::protocol::command::{
    Command, EXECUTE_CURSOR_READ_ONLY, EXECUTE_PARAMETER_COUNT_AVAILABLE, put_query,
};
use tidegate::protocol::handshake::{Greeting, HandshakeResponse};
use tidegate::protocol::packet::{HEADER_BYTES, PacketBuffer, header, write_packet};
use tidegate::protocol::relay::{Event, Expect, ResponseMachine, Summary};
use tidegate::protocol::response::ErrPacket;
use tidegate::protocol::{capability, status};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::mysql::Flavour;
use crate::support::{APP_PASSWORD, APP_USER, MySql};

pub(crate) const CAPS: u32 = capability::LONG_PASSWORD
    | capability::PROTOCOL_41
    | capability::SECURE_CONNECTION
    | capability::PLUGIN_AUTH
    | capability::PLUGIN_AUTH_LENENC
    | capability::TRANSACTIONS
    | capability::MULTI_STATEMENTS
    | capability::MULTI_RESULTS
    | capability::PS_MULTI_RESULTS
    | capability::LOCAL_FILES
    | capability::CONNECT_WITH_DB
    | capability::SESSION_TRACK;

/// A client made of nothing but our wire format.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: PacketBuffer,
    machine: ResponseMachine,
    pub(crate) caps: u32,
    /// The bytes of the last response.
    pub(crate) response: Vec<u8>,
    packets_in_login: usize,
    plugin: &'static [u8],
}

enum Login {
    In(Box<Wire>),
    Refused(u16),
    NeedPassword,
}

impl Wire {
    async fn login(server: &MySql, user: &str, secret: Secret, schema: &str, caps: u32) -> Login {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port))
            .await
            .unwrap();
        let mut buffer = PacketBuffer::new(1024);
        let (mut sequence, payload) = packet(&mut stream, &mut buffer).await;
        let greeting = Greeting::parse(&payload).unwrap();
        let caps = caps & greeting.capabilities;
        let mut auth = ClientAuth::new(secret, false, None, &greeting.plugin, greeting.nonce);
        let mut response = Vec::new();
        let auth_response = auth.first_response().unwrap().to_vec();
        HandshakeResponse {
            capabilities: caps,
            packet_bytes_max: 1 << 30,
            collation: 45,
            user: user.into(),
            auth_response,
            schema: schema.into(),
            plugin: auth.plugin().to_vec(),
            ..HandshakeResponse::default()
        }
        .write(&mut response);
        let mut packets_in_login = 0;
        loop {
            send(&mut stream, sequence.wrapping_add(1), &response).await;
            let step = loop {
                let (number, payload) = packet(&mut stream, &mut buffer).await;
                sequence = number;
                packets_in_login += 1;
                match auth.on_packet(&payload).unwrap() {
                    ClientStep::Wait => continue,
                    ClientStep::Refused => {
                        return Login::Refused(ErrPacket::parse(&payload).unwrap().code);
                    }
                    step => break step,
                }
            };
            match step {
                ClientStep::Send(payload) => response = payload.to_vec(),
                ClientStep::NeedPassword => return Login::NeedPassword,
                _ => break,
            }
        }
        let machine = ResponseMachine::new(Expect::Simple, caps);
        let plugin = auth.plugin();
        Login::In(Box::new(Self {
            stream,
            buffer,
            machine,
            caps,
            response: Vec::new(),
            packets_in_login,
            plugin,
        }))
    }

    pub(crate) async fn open(server: &MySql, schema: &str, caps: u32) -> Box<Self> {
        let secret = Secret::of_password(APP_PASSWORD.as_bytes());
        match Self::login(server, APP_USER, secret, schema, caps).await {
            Login::In(wire) => wire,
            Login::Refused(code) => panic!("refused: {code}"),
            Login::NeedPassword => panic!("needs a password"),
        }
    }

    /// Sends a command and reads to the end of its response; then proves by a PING that it was the end.
    async fn command(&mut self, command: Command, body: &[u8]) -> Summary {
        let summary = self.command_alone(command, body).await;
        if summary.error.is_none() {
            assert!(self.is_in_step().await, "{command:?}");
        }
        summary
    }

    /// A PING is answered by one OK of its own: the first packet of a response, and nothing before or behind it.
    async fn is_in_step(&mut self) -> bool {
        let ping = self.command_alone(Command::Ping, b"").await;
        let own = header(&self.response).map(|(_, sequence)| sequence) == Some(1);
        self.buffer.is_empty() && own && ping.bytes >= 11 && ping.error.is_none()
    }

    async fn command_alone(&mut self, command: Command, body: &[u8]) -> Summary {
        let payload = [&[command.byte()], body].concat();
        send(&mut self.stream, 0, &payload).await;
        self.response.clear();
        self.machine.reset(Expect::of(command).unwrap(), self.caps);
        loop {
            if self.buffer.is_empty() {
                assert!(
                    self.buffer.fill(&mut self.stream).await.unwrap() > 0,
                    "hung up"
                );
            }
            let fed = self.machine.feed(self.buffer.peek()).unwrap();
            // Long results are not kept: one test reads 32 MiB rows.
            let end = fed.consumed.min(65_536);
            self.response.extend_from_slice(&self.buffer.peek()[..end]);
            self.response.truncate(65_536);
            self.buffer.consume(fed.consumed);
            match fed.event {
                Some(Event::Done(summary)) => return summary,
                Some(Event::LocalInfile { name }) => {
                    assert_eq!(name, b"any.csv");
                    let mut out = Vec::new();
                    let mut sequence = 2;
                    write_packet(&mut out, &mut sequence, b"7,seven\n8,eight\n");
                    write_packet(&mut out, &mut sequence, b"");
                    self.stream.write_all(&out).await.unwrap();
                    self.machine.infile_sent();
                }
                None => (),
            }
        }
    }

    pub(crate) async fn query_alone(&mut self, sql: &str) -> Summary {
        let mut payload = Vec::new();
        put_query(&mut payload, self.caps, sql.as_bytes());
        self.command_alone(Command::Query, &payload[1..]).await
    }

    async fn query(&mut self, sql: &str) -> Summary {
        let mut payload = Vec::new();
        put_query(&mut payload, self.caps, sql.as_bytes());
        self.command(Command::Query, &payload[1..]).await
    }

    async fn prepare(&mut self, sql: &str) -> u32 {
        let summary = self.command(Command::StmtPrepare, sql.as_bytes()).await;
        let prepared = summary
            .prepared
            .unwrap_or_else(|| panic!("{:?}", summary.error));
        assert_eq!(summary.columns, u32::from(prepared.columns));
        prepared.statement_id
    }

    async fn execute(&mut self, id: u32, flags: u8, parameters: &[u8]) -> Summary {
        let head = [&id.to_le_bytes()[..], &[flags, 1, 0, 0, 0], parameters].concat();
        self.command(Command::StmtExecute, &head).await
    }
}

async fn packet(stream: &mut TcpStream, buffer: &mut PacketBuffer) -> (u8, Vec<u8>) {
    buffer
        .fill_packet(stream, 1 << 20)
        .await
        .unwrap()
        .expect("the server spoke");
    let (sequence, payload) = buffer.packet().unwrap();
    let payload = payload.to_vec();
    buffer.consume(HEADER_BYTES + payload.len());
    (sequence, payload)
}

async fn send(stream: &mut TcpStream, mut sequence: u8, payload: &[u8]) {
    let mut out = Vec::new();
    write_packet(&mut out, &mut sequence, payload);
    stream.write_all(&out).await.unwrap();
}

/// Both servers, with EOF packets and without.
async fn everywhere(mut test: impl AsyncFnMut(&MySql, Box<Wire>)) {
    for server in [MySql::shared(), MySql::shared_mariadb()] {
        let schema = server.schema("wire");
        for caps in [
            CAPS,
            CAPS | capability::DEPRECATE_EOF,
            CAPS | capability::DEPRECATE_EOF | capability::QUERY_ATTRIBUTES,
        ] {
            let wire = Wire::open(server, &schema, caps).await;
            test(server, wire).await;
        }
    }
}

#[tokio::test]
async fn logins_by_every_plugin() {
    let server = MySql::shared();
    server.run("CREATE USER wire_sha2 IDENTIFIED WITH caching_sha2_password BY 'one two'; CREATE USER wire_old IDENTIFIED WITH sha256_password BY 'three'; CREATE USER wire_none IDENTIFIED BY ''");
    let password = |text: &str| Secret::of_password(text.as_bytes());
    let stage1 = || Secret::Stage1(Stage1::of_password(b"one two"));
    let login = async |user, secret| Wire::login(server, user, secret, "", CAPS).await;
    // The server's cache is cold: SHA256 alone does not do, the password goes by RSA (key, then OK).
    assert!(matches!(
        login("wire_sha2", stage1()).await,
        Login::NeedPassword
    ));
    let Login::In(full) = login("wire_sha2", password("one two")).await else {
        panic!("full login")
    };
    assert_eq!(full.packets_in_login, 3);
    // Now it is warm, and SHA256 is enough.
    for secret in [stage1(), password("one two")] {
        let Login::In(fast) = login("wire_sha2", secret).await else {
            panic!("fast login")
        };
        assert_eq!(fast.packets_in_login, 2);
    }
    assert!(matches!(
        login("wire_sha2", password("one")).await,
        Login::Refused(1045)
    ));
    assert!(matches!(
        login("wire_old", password("three")).await,
        Login::In(wire) if wire.plugin == b"sha256_password"
    ));
    assert!(matches!(
        login("wire_none", Secret::None).await,
        Login::In(_)
    ));
    assert!(matches!(
        login("wire_none", password("x")).await,
        Login::Refused(1045)
    ));
    assert!(matches!(
        login("nobody", password("x")).await,
        Login::Refused(1045)
    ));
    // MariaDB: its default plugin is the native one, and a hash alone cannot serve it.
    let maria = MySql::shared_mariadb();
    let right = Wire::login(maria, APP_USER, password(APP_PASSWORD), "", CAPS).await;
    assert!(matches!(right, Login::In(wire) if wire.plugin == b"mysql_native_password"));
    assert!(matches!(
        Wire::login(maria, APP_USER, password("x"), "", CAPS).await,
        Login::Refused(1045)
    ));
    assert!(matches!(
        Wire::login(maria, APP_USER, stage1(), "", CAPS).await,
        Login::NeedPassword
    ));
}

#[tokio::test]
async fn text_responses_end_where_the_server_ends_them() {
    everywhere(async |_, mut wire| {
        let created = wire.query("CREATE TABLE IF NOT EXISTS t (a INT AUTO_INCREMENT PRIMARY KEY, b VARCHAR(20)); DELETE FROM t").await;
        assert_eq!((created.error, created.result_sets), (None, 0));
        let inserted = wire.query("INSERT INTO t (b) VALUES ('x'), ('y'), (NULL)").await;
        assert!(inserted.affected_rows == 3 && inserted.last_insert_id > 0);
        let rows = wire.query("SELECT a, b FROM t").await;
        assert_eq!((rows.rows, rows.columns, rows.result_sets), (3, 2, 1));
        assert_eq!(wire.query("SELECT * FROM t WHERE b = 'z'").await.rows, 0);
        let many = wire.query("SELECT 1; SELECT a FROM t; DO 1; INSERT INTO t (b) VALUES ('m'); SELECT 2, 3").await;
        assert_eq!((many.rows, many.result_sets, many.columns, many.affected_rows), (5, 3, 2, 1));
        let unindexed = wire.query("SELECT b FROM t WHERE b = 'x'").await;
        assert!(unindexed.status_any & status::NO_INDEX_USED != 0);
        // An error before any result, after one, and in the middle of rows.
        let error = wire.query("SELECT nothing").await.error.expect("an error");
        assert_eq!((error.code, error.sqlstate), (1054, *b"42S22"));
        assert!(wire.is_in_step().await);
        let late = wire.query("SELECT 1; SELECT nothing; SELECT 2").await;
        assert_eq!((late.rows, late.error.map(|error| error.code)), (1, Some(1054)));
        assert!(wire.is_in_step().await);
        let middle = wire.query("SELECT IF(n < 800, REPEAT('x', 99), (SELECT 1 FROM t WHERE a > -n)) FROM (WITH RECURSIVE c AS (SELECT 1 n UNION ALL SELECT n + 1 FROM c WHERE n < 900) SELECT n FROM c) d; SELECT 1").await;
        let error = middle.error.expect("an error in the middle");
        assert_eq!((error.code, middle.rows), (1242, 799));
        assert!(wire.is_in_step().await);
        let tracked = wire.query("SET NAMES utf8mb4; SET autocommit = 1; USE information_schema").await;
        assert!(tracked.session_state.is_some_and(|state| state.windows(11).any(|part| part == b"information")));
    })
    .await;
}

#[tokio::test]
async fn procedures_files_and_long_rows() {
    everywhere(async |server, mut wire| {
        wire.query("CREATE TABLE IF NOT EXISTS f (a INT, b VARCHAR(20)); DELETE FROM f").await;
        server.run("SET GLOBAL local_infile = 1");
        let loaded = wire.query("LOAD DATA LOCAL INFILE 'any.csv' INTO TABLE f FIELDS TERMINATED BY ','").await;
        assert!(loaded.had_infile && loaded.affected_rows == 2, "{loaded:?}");
        wire.query("DROP PROCEDURE IF EXISTS p").await;
        wire.query("CREATE PROCEDURE p(OUT x INT) BEGIN SELECT a FROM f; SELECT b, a FROM f; SET x = 5; END").await;
        let called = wire.query("CALL p(@x)").await;
        assert_eq!((called.result_sets, called.rows, called.columns), (2, 4, 2));
        let id = wire.prepare("CALL p(?)").await;
        // One NULL of type NULL. Where attributes can be sent, the count and the names must be.
        let (flags, parameters): (u8, &[u8]) = match wire.caps & capability::QUERY_ATTRIBUTES {
            0 => (0, &[1, 1, 6, 0]),
            _ => (EXECUTE_PARAMETER_COUNT_AVAILABLE, &[1, 1, 1, 6, 0, 0]),
        };
        let called = wire.execute(id, flags, parameters).await;
        assert_eq!((called.result_sets, called.rows, called.has_out_params), (3, 5, true), "{called:?}");
        server.run("SET GLOBAL max_allowed_packet = 1073741824");
        let mut long = match Wire::login(server, APP_USER, Secret::of_password(APP_PASSWORD.as_bytes()), "", wire.caps).await {
            Login::In(long) => long,
            _ => panic!("no second login"),
        };
        // Around one packet's end: the row has a length prefix of 4 bytes up to 16 MiB, of 9 beyond.
        for text in [16_777_210, 16_777_211, 16_777_212, 16_777_215, 16_777_216, 33_554_421, 33_554_430] {
            let row = long.query(&format!("SELECT REPEAT('x', {text}) UNION ALL SELECT 'y'")).await;
            assert_eq!((row.rows, row.error), (2, None), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn prepared_statements_and_cursors() {
    everywhere(async |_, mut wire| {
        wire.query("CREATE TABLE IF NOT EXISTS c (a INT PRIMARY KEY, b VARCHAR(20)); REPLACE INTO c VALUES (1, 'x'), (2, NULL), (3, 'z')").await;
        for (sql, columns) in [("DO 1", 0), ("SELECT 1", 1), ("SELECT ?, a FROM c WHERE b = ?", 2), ("UPDATE c SET b = ? WHERE a = 9", 0)] {
            let prepared = wire.command(Command::StmtPrepare, sql.as_bytes()).await;
            assert_eq!(prepared.columns, columns, "{sql}");
        }
        let failed = wire.command(Command::StmtPrepare, b"SELECT nothing").await;
        assert!(failed.error.is_some() && wire.is_in_step().await);
        let id = wire.prepare("SELECT a, b FROM c ORDER BY a").await;
        assert_eq!(wire.execute(id, 0, &[]).await.rows, 3);
        let opened = wire.execute(id, EXECUTE_CURSOR_READ_ONLY, &[]).await;
        assert_eq!((opened.rows, opened.has_cursor, opened.columns), (0, true, 2));
        let fetch = |rows: u32| [id.to_le_bytes(), rows.to_le_bytes()].concat();
        let first = wire.command(Command::StmtFetch, &fetch(2)).await;
        assert_eq!((first.rows, first.status & status::LAST_ROW_SENT), (2, 0));
        let last = wire.command(Command::StmtFetch, &fetch(2)).await;
        assert_eq!((last.rows, last.status & status::LAST_ROW_SENT), (1, status::LAST_ROW_SENT));
        let beyond = wire.command(Command::StmtFetch, &fetch(2)).await;
        assert!(beyond.error.is_some() && wire.is_in_step().await);
        // No rows, and nothing to open a cursor for.
        let empty = wire.prepare("SELECT a FROM c WHERE a > 5").await;
        assert_eq!(wire.execute(empty, EXECUTE_CURSOR_READ_ONLY, &[]).await.rows, 0);
        let update = wire.prepare("UPDATE c SET b = 'q' WHERE a = 1").await;
        assert_eq!(wire.execute(update, EXECUTE_CURSOR_READ_ONLY, &[]).await.error, None);
        // A statement that fails while its cursor is opened.
        let failing = wire.prepare("SELECT a, (SELECT a FROM c) FROM c").await;
        let failed = wire.execute(failing, EXECUTE_CURSOR_READ_ONLY, &[]).await;
        assert_eq!(failed.error.map(|error| error.code), Some(1242));
        assert!(wire.is_in_step().await);
        assert_eq!(wire.command(Command::StmtReset, &id.to_le_bytes()).await.error, None);
    })
    .await;
}

#[tokio::test]
async fn the_other_commands() {
    everywhere(async |server, mut wire| {
        wire.query("CREATE TABLE IF NOT EXISTS o (a INT, b INT, c INT)")
            .await;
        assert_eq!(wire.command(Command::FieldList, b"o\0%").await.columns, 3);
        assert!(
            wire.command(Command::FieldList, b"none\0%")
                .await
                .error
                .is_some()
        );
        assert!(wire.is_in_step().await);
        assert!(wire.command(Command::Statistics, b"").await.bytes > 20);
        for option in [1, 0] {
            assert_eq!(
                wire.command(Command::SetOption, &[option, 0]).await.error,
                None
            );
        }
        assert_eq!(wire.command(Command::InitDb, b"mysql").await.error, None);
        assert!(
            wire.command(Command::InitDb, b"none_such")
                .await
                .error
                .is_some()
        );
        assert_eq!(
            wire.command(Command::ResetConnection, b"").await.error,
            None
        );
        assert_eq!(wire.command(Command::Debug, b"").await.error, None);
        let processes = wire.command(Command::ProcessInfo, b"").await;
        // MySQL 9 has none of this; MariaDB still answers with a result set.
        assert_eq!(
            processes.error.is_some(),
            server.flavour == Flavour::MySql && processes.rows == 0
        );
        assert!(wire.is_in_step().await);
    })
    .await;
}
