//! A small client on the pipe: every command, both protocols, every set of capabilities that changes what is sent,
//! and what no client sends.

use std::time::Duration;

use super::*;
use crate::admin::{Admin, Identity, Limits, Sources};
use crate::protocol::column::{BufferedResult, ColumnDefinition, column_type};
use crate::protocol::packet::put_lenenc_bytes;
use crate::protocol::relay::{Event, Expect, ResponseMachine, Summary};

const FLAGS: [u32; 4] = [
    capability::PROTOCOL_41,
    capability::PROTOCOL_41 | capability::DEPRECATE_EOF,
    capability::PROTOCOL_41 | capability::DEPRECATE_EOF | capability::SESSION_TRACK,
    capability::PROTOCOL_41 | capability::SESSION_TRACK | capability::QUERY_ATTRIBUTES,
];

struct Client {
    pipe: DuplexStream,
    capabilities: u32,
}

fn identity() -> Identity {
    Identity {
        user: "ann".to_owned(),
        host: "10.0.0.9".to_owned(),
        connection_id: 7,
        schema: None,
    }
}

fn sources() -> Sources {
    Sources {
        errors: Arc::new(|| {
            (0..3i64)
                .map(|at| {
                    vec![
                        Value::Int(1000 + at),
                        "ann".into(),
                        Value::Null,
                        "shop".into(),
                        Value::Int(at),
                        "x".repeat(300).into(),
                        Value::Null,
                        Value::unix_micros(1_000_000_000_000_000 + 500_000),
                    ]
                })
                .collect()
        }),
        ..Sources::default()
    }
}

fn client(capabilities: u32) -> Client {
    let runtime = tokio::runtime::Handle::current();
    let admin = Admin::start(sources(), Limits::new(1000, 2000), runtime).unwrap();
    Client {
        pipe: admin.connect(identity(), capabilities).unwrap(),
        capabilities,
    }
}

impl Client {
    async fn send(&mut self, command: Command, body: &[u8]) {
        let mut payload = vec![command.byte()];
        payload.extend_from_slice(body);
        let mut packet = Vec::new();
        write_packet(&mut packet, &mut 0, &payload);
        self.pipe.write_all(&packet).await.unwrap();
    }

    /// The whole response, as the session's own machine sees it.
    async fn receive(&mut self, expect: Expect) -> (Vec<u8>, Summary) {
        let mut machine = ResponseMachine::new(expect, self.capabilities);
        let mut bytes = Vec::new();
        loop {
            let mut chunk = vec![0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(5), self.pipe.read(&mut chunk));
            let count = read.await.expect("an answer").unwrap();
            assert!(count > 0, "the pipe ended");
            bytes.extend_from_slice(&chunk[..count]);
            let fed = machine.feed(&chunk[..count]).unwrap();
            if let Some(Event::Done(summary)) = fed.event {
                assert_eq!(fed.consumed, count, "bytes behind the response");
                return (bytes, summary);
            }
        }
    }

    async fn ask(&mut self, command: Command, body: &[u8]) -> (Vec<u8>, Summary) {
        self.send(command, body).await;
        self.receive(Expect::of(command).unwrap()).await
    }

    async fn query(&mut self, text: &str) -> (Vec<u8>, Summary) {
        let mut body = Vec::new();
        if self.capabilities & capability::QUERY_ATTRIBUTES != 0 {
            // One attribute, a string.
            body.extend_from_slice(&[1, 1, 0, 1, 0xFE, 0]);
            put_lenenc_bytes(&mut body, b"trace");
            put_lenenc_bytes(&mut body, b"abc");
        }
        body.extend_from_slice(text.as_bytes());
        self.ask(Command::Query, &body).await
    }

    async fn error(&mut self, command: Command, body: &[u8]) -> u16 {
        let (_, summary) = self.ask(command, body).await;
        summary.error.expect("an error").code
    }

    async fn prepare(&mut self, text: &str) -> (u32, Summary) {
        let (_, summary) = self.ask(Command::StmtPrepare, text.as_bytes()).await;
        let prepared = summary.prepared.unwrap_or_else(|| panic!("{summary:?}"));
        (prepared.statement_id, summary)
    }

    /// An execution; every parameter is a type code and its bytes.
    async fn execute(
        &mut self,
        id: u32,
        parameters: &[(u16, &[u8])],
        types: bool,
    ) -> (Vec<u8>, Summary) {
        let body = self.execute_body(id, parameters, types);
        self.ask(Command::StmtExecute, &body).await
    }

    fn execute_body(&self, id: u32, parameters: &[(u16, &[u8])], types: bool) -> Vec<u8> {
        let named = self.capabilities & capability::QUERY_ATTRIBUTES != 0;
        let mut body = id.to_le_bytes().to_vec();
        body.extend_from_slice(&[if named { 8 } else { 0 }, 1, 0, 0, 0]);
        if named {
            body.push(parameters.len() as u8);
        }
        if !parameters.is_empty() {
            body.resize(body.len() + parameters.len().div_ceil(8), 0);
            body.push(u8::from(types));
            if types {
                for (code, _) in parameters {
                    body.extend_from_slice(&code.to_le_bytes());
                    if named {
                        body.push(0);
                    }
                }
            }
            for (_, bytes) in parameters {
                body.extend_from_slice(bytes);
            }
        }
        body
    }
}

fn cells(bytes: &[u8], capabilities: u32) -> Vec<Vec<Option<String>>> {
    let result = BufferedResult::parse(bytes, capabilities).unwrap();
    crate::protocol::column::packets(&bytes[result.rows.clone()])
        .map(|(_, payload)| {
            let mut cursor = Cursor::new(&bytes[result.rows.clone()][payload]);
            let mut row = Vec::new();
            while !cursor.is_empty() {
                let cell = cursor.cell().unwrap();
                row.push(cell.map(|cell| String::from_utf8(cell.to_vec()).unwrap()));
            }
            row
        })
        .collect()
}

#[tokio::test]
async fn text_results_in_every_set_of_capabilities() {
    for flags in FLAGS {
        let mut client = client(flags);
        let (bytes, summary) = client
            .query("SELECT error_number, app, last_seen, count / 2 FROM errors ORDER BY 1 DESC LIMIT 2")
            .await;
        assert_eq!(
            (summary.rows, summary.columns, summary.status),
            (2, 4, AUTOCOMMIT)
        );
        let row = [
            Some("1002"),
            None,
            Some("2001-09-09 01:46:40.500000"),
            Some("1"),
        ];
        assert_eq!(
            cells(&bytes, flags)[0],
            row.map(|cell| cell.map(str::to_owned))
        );
        let result = BufferedResult::parse(&bytes, flags).unwrap();
        let define =
            |at: usize| ColumnDefinition::parse(&bytes[result.columns[at].clone()]).unwrap();
        assert_eq!(define(0).type_code, column_type::LONGLONG);
        assert_eq!(
            (define(0).schema, define(0).org_name),
            (&b"tidegate"[..], &b"error_number"[..])
        );
        assert_eq!(
            (define(2).type_code, define(2).decimals),
            (column_type::DATETIME, 6)
        );
        assert_eq!(
            (define(3).name, define(3).type_code, define(3).decimals),
            (&b"count / 2"[..], column_type::DOUBLE, 31)
        );
        let (_, summary) = client.query("SET NAMES utf8mb4").await;
        assert_eq!((summary.columns, summary.status), (0, AUTOCOMMIT));
    }
}

#[tokio::test]
async fn large_results_arrive_whole() {
    let mut client = client(FLAGS[1]);
    let (bytes, summary) = client
        .query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i, repeat('y', 2000) FROM n")
        .await;
    assert_eq!(summary.rows, 1000);
    assert!(bytes.len() > 2_000_000);
}

#[tokio::test]
async fn errors_have_the_servers_numbers_and_states() {
    for flags in FLAGS {
        let mut client = client(flags);
        for (text, number, state) in [
            ("SELECT * FROM nope", 1146, b"42S02"),
            ("SELECT nope FROM errors", 1054, b"42S22"),
            ("SELEC 1", 1064, b"42000"),
            ("DELETE FROM errors", 1290, b"HY000"),
            ("USE mysql", 1049, b"42000"),
            ("", 1065, b"42000"),
        ] {
            let (_, summary) = client.query(text).await;
            let error = summary.error.unwrap();
            assert_eq!((error.code, &error.sqlstate), (number, state), "{text}");
        }
        assert_eq!(client.query("SELECT 1").await.1.rows, 1);
    }
}

#[tokio::test]
async fn texts_that_opensrv_would_answer_itself_are_ours() {
    let mut client = client(FLAGS[1]);
    let (bytes, _) = client.query("SELECT @@max_allowed_packet").await;
    assert_eq!(
        cells(&bytes, FLAGS[1])[0][0].as_deref(),
        Some(STATEMENT_BYTES_MAX.to_string().as_str())
    );
    assert!(
        client
            .query("USE information_schema")
            .await
            .1
            .error
            .is_none()
    );
    let (bytes, _) = client.query("SELECT DATABASE()").await;
    assert_eq!(
        cells(&bytes, FLAGS[1])[0][0].as_deref(),
        Some("information_schema")
    );
}

#[tokio::test]
async fn prepared_statements_in_every_set_of_capabilities() {
    for flags in FLAGS {
        let mut client = client(flags);
        let (id, summary) = client
            .prepare("SELECT error_number, last_seen, app, ? AS given FROM errors WHERE count >= ? ORDER BY count")
            .await;
        let prepared = summary.prepared.unwrap();
        assert_eq!((prepared.columns, prepared.params), (4, 2));
        let one = 1i64.to_le_bytes();
        let (bytes, summary) = client
            .execute(id, &[(0xFD, b"\x02hi"), (0x08, &one)], true)
            .await;
        assert_eq!(summary.rows, 2, "{summary:?}");
        let result = BufferedResult::parse(&bytes, flags).unwrap();
        let row = &bytes[result.rows.start + HEADER_BYTES..result.rows.end];
        let mut cursor = Cursor::new(row);
        // Header, NULL bitmap (third column), BIGINT, DATETIME of 11 bytes, text.
        assert_eq!(cursor.bytes(2), Some(&[0, 0b1_0000][..]));
        assert_eq!(cursor.u64(), Some(1001));
        assert_eq!(
            cursor.bytes(12),
            Some(&[11, 0xD1, 7, 9, 9, 1, 46, 40, 0x20, 0xA1, 7, 0][..])
        );
        assert_eq!(cursor.lenenc_bytes(), Some(&b"hi"[..]));
        // Types are not sent again.
        let two = 2i64.to_le_bytes();
        let (_, summary) = client
            .execute(id, &[(0xFD, b"\x02hi"), (0x08, &two)], false)
            .await;
        assert_eq!(summary.rows, 1);
        client.send(Command::StmtClose, &id.to_le_bytes()).await;
        assert_eq!(
            client.execute(id, &[], true).await.1.error.unwrap().code,
            1243
        );
        assert!(client.ask(Command::Ping, &[]).await.1.error.is_none());
    }
}

#[tokio::test]
async fn a_command_right_behind_one_without_an_answer_gets_its_own() {
    let mut client = client(FLAGS[1]);
    let mut id = client.prepare("SELECT ?, 0").await.0;
    for round in 1..100 {
        // Both in one write, as a client does that need not wait.
        let text = format!("SELECT ?, {round}");
        let mut both = Vec::new();
        for (command, body) in [
            (Command::StmtClose, &id.to_le_bytes()[..]),
            (Command::StmtPrepare, text.as_bytes()),
        ] {
            let payload = [&[command.byte()], body].concat();
            write_packet(&mut both, &mut 0, &payload);
        }
        client.pipe.write_all(&both).await.unwrap();
        let (_, summary) = client.receive(Expect::Prepare).await;
        id = summary.prepared.expect("an answer to PREPARE").statement_id;
    }
}

#[tokio::test]
async fn long_data_is_kept_reset_and_bounded() {
    let flags = FLAGS[1];
    let mut client = client(flags);
    let (id, _) = client.prepare("SELECT length(?)").await;
    let long = |data: &[u8]| {
        let mut body = id.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(data);
        body
    };
    let length = |bytes: &[u8]| {
        let result = BufferedResult::parse(bytes, flags).unwrap();
        let mut cursor = Cursor::new(&bytes[result.rows.start + HEADER_BYTES..result.rows.end]);
        cursor.bytes(2).unwrap();
        cursor.u64().unwrap()
    };
    client.send(Command::StmtSendLongData, &long(b"abc")).await;
    client.send(Command::StmtSendLongData, &long(b"de")).await;
    let (bytes, _) = client.execute(id, &[(0xFC, b"")], true).await;
    assert_eq!(length(&bytes), 5);
    client.send(Command::StmtSendLongData, &long(b"abc")).await;
    assert!(
        client
            .ask(Command::StmtReset, &id.to_le_bytes())
            .await
            .1
            .error
            .is_none()
    );
    let (bytes, _) = client.execute(id, &[(0xFD, b"\x01x")], true).await;
    assert_eq!(length(&bytes), 1);
    for _ in 0..3 {
        client
            .send(Command::StmtSendLongData, &long(&vec![b'x'; 500_000]))
            .await;
    }
    assert_eq!(
        client
            .execute(id, &[(0xFC, b"")], true)
            .await
            .1
            .error
            .unwrap()
            .code,
        1153
    );
    let (bytes, _) = client.execute(id, &[(0xFD, b"\x01x")], true).await;
    assert_eq!(length(&bytes), 1);
}

#[tokio::test]
async fn the_other_commands_are_answered_truly() {
    for flags in FLAGS {
        let mut client = client(flags);
        assert!(client.ask(Command::Ping, &[]).await.1.error.is_none());
        assert!(
            client
                .ask(Command::InitDb, b"information_schema")
                .await
                .1
                .error
                .is_none()
        );
        assert_eq!(client.error(Command::InitDb, b"shop").await, 1049);
        assert_eq!(client.error(Command::FieldList, b"queries\0").await, 1146);
        assert!(
            client
                .ask(Command::InitDb, b"tidegate")
                .await
                .1
                .error
                .is_none()
        );
        let (bytes, summary) = client.ask(Command::FieldList, b"errors\0last%").await;
        assert!(summary.error.is_none());
        let definitions: Vec<_> = crate::protocol::column::packets(&bytes).collect();
        assert_eq!(definitions.len(), 2 + 1);
        assert!(client.query("SET @a = 5").await.1.error.is_none());
        assert!(
            client
                .ask(Command::ResetConnection, &[])
                .await
                .1
                .error
                .is_none()
        );
        let (bytes, _) = client.query("SELECT @a").await;
        assert_eq!(cells(&bytes, flags)[0][0], None);
        assert_eq!(client.error(Command::Statistics, &[]).await, 1047);
        assert_eq!(
            client.error(Command::StmtReset, &9u32.to_le_bytes()).await,
            1243
        );
        client.send(Command::Quit, &[]).await;
        assert_eq!(client.pipe.read(&mut [0; 16]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_no_client_sends_ends_in_an_error_and_nothing_else() {
    let mut client = client(FLAGS[1]);
    let (id, _) = client.prepare("SELECT ?").await;
    let full = client.execute_body(id, &[(0xFD, b"\x02hi")], true);
    for end in 0..full.len() {
        let (_, summary) = client.ask(Command::StmtExecute, &full[..end]).await;
        assert!(summary.error.is_some(), "cut at {end}");
    }
    // A type that does not exist, types never sent, text that is not UTF-8.
    assert!(
        client
            .execute(id, &[(0x20, b"\x02hi")], true)
            .await
            .1
            .error
            .is_some()
    );
    let (other, _) = client.prepare("SELECT ?").await;
    assert_eq!(
        client
            .execute(other, &[(0xFD, b"\x02hi")], false)
            .await
            .1
            .error
            .unwrap()
            .code,
        1835
    );
    assert_eq!(
        client
            .execute(id, &[(0xFD, b"\x01\xFF")], true)
            .await
            .1
            .error
            .unwrap()
            .code,
        1210
    );
    assert_eq!(client.error(Command::Query, b"SELECT '\xFF'").await, 1300);
    assert_eq!(client.error(Command::StmtReset, b"x").await, 1835);
    client.send(Command::StmtClose, b"x").await;
    client.send(Command::StmtSendLongData, b"x").await;
    assert_eq!(client.query("SELECT 1").await.1.rows, 1);

    // An empty packet, and a sequence that does not begin at 0.
    client.pipe.write_all(&[0, 0, 0, 0]).await.unwrap();
    assert_eq!(
        client.receive(Expect::Simple).await.1.error.unwrap().code,
        1835
    );
    client
        .pipe
        .write_all(&[1, 0, 0, 5, Command::Ping.byte()])
        .await
        .unwrap();
    let mut answer = [0; 7];
    client.pipe.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[3], answer[4]), (6, ERR_HEADER));
}

#[tokio::test]
async fn a_command_that_is_too_long_is_refused_before_it_is_read() {
    let mut client = client(FLAGS[1]);
    client.pipe.write_all(&[0xFF, 0xFF, 0xFF, 0]).await.unwrap();
    let (bytes, summary) = client.receive(Expect::Query).await;
    assert_eq!(summary.error.unwrap().code, 1153);
    assert!(bytes.len() < 200);
}

#[tokio::test]
async fn the_end_of_opensrv_is_an_error_to_the_client() {
    let engine =
        crate::admin::engine::Engine::start(Sources::default(), Limits::new(1, 1000)).unwrap();
    let conversation = crate::admin::conversation::Conversation::new(engine, identity()).unwrap();
    let shared = Arc::new(Shared {
        conversation: conversation.into(),
        reply: Reply::default().into(),
        closed: tokio::sync::Notify::new(),
    });
    let (pipe, outer) = tokio::io::duplex(PIPE_BYTES);
    let (inner, mut far) = tokio::io::duplex(PIPE_BYTES);
    let flags = FLAGS[1];
    tokio::spawn(Front::with_backend(outer, inner, flags, shared).serve());
    tokio::spawn(async move {
        // A greeting of any kind, an OK, then a result that stops after its first packet, as after a panic.
        far.write_all(&[1, 0, 0, 0, 10]).await.unwrap();
        far.read_exact(&mut [0; 65]).await.unwrap();
        far.write_all(&[7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0])
            .await
            .unwrap();
        let _ = far.read(&mut [0; 64]).await.unwrap();
        far.write_all(&[1, 0, 0, 1, 1]).await.unwrap();
        panic!("as opensrv might");
    });
    let mut client = Client {
        pipe,
        capabilities: flags,
    };
    client.send(Command::Query, b"SELECT 1").await;
    let mut answer = Vec::new();
    client.pipe.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer[..5], [1, 0, 0, 1, 1]);
    // The error follows in sequence.
    assert_eq!((answer[8], answer[9]), (2, ERR_HEADER));
}

/// Random bytes behind every command byte, by seed: each gets one whole answer, and the session goes on.
#[tokio::test]
async fn random_commands_are_answered_one_by_one() {
    use rand::{RngExt, SeedableRng};
    for flags in [FLAGS[1], FLAGS[3]] {
        let mut random = rand::rngs::StdRng::seed_from_u64(4);
        let mut client = client(flags);
        let (id, _) = client.prepare("SELECT ?, ?").await;
        for round in 0..1500 {
            let mut body: Vec<u8> = (0..random.random_range(0..40))
                .map(|_| random.random())
                .collect();
            if round % 2 == 0 {
                // Often enough a statement that exists, with few parameters set.
                body.splice(0..body.len().min(4), id.to_le_bytes());
                body.iter_mut()
                    .skip(4)
                    .step_by(3)
                    .for_each(|byte| *byte &= 1);
            }
            let commands = [
                Command::Query,
                Command::StmtPrepare,
                Command::StmtExecute,
                Command::StmtExecute,
                Command::StmtReset,
                Command::FieldList,
                Command::InitDb,
                Command::Statistics,
            ];
            let command = commands[random.random_range(0..commands.len())];
            client.send(Command::StmtSendLongData, &body).await;
            client.send(command, &body).await;
            let expect = if command == Command::Statistics {
                Expect::Simple
            } else {
                Expect::of(command).unwrap()
            };
            client.receive(expect).await;
        }
        assert!(client.ask(Command::Ping, &[]).await.1.error.is_none());
    }
}

#[tokio::test]
async fn sessions_are_bounded_and_their_places_come_back() {
    let runtime = tokio::runtime::Handle::current();
    let admin = Admin::start(sources(), Limits::new(1000, 2000), runtime).unwrap();
    let mut pipes = Vec::new();
    let refused = loop {
        match admin.connect(identity(), FLAGS[1]) {
            Ok(pipe) => pipes.push(pipe),
            Err(error) => break error,
        }
        assert!(pipes.len() < 1000);
    };
    assert_eq!(refused.number(), 1040);
    pipes.clear();
    let again = async {
        while admin.connect(identity(), FLAGS[1]).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again)
        .await
        .expect("a place comes free");
}
