//! The virtual schema through real clients: mysql and mariadb, mysql_async in text and binary protocol, and over HTTP.
//! Functions are held against what MySQL itself answers to the same text.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use crate::support::mysql::{Flavour, Launchers};
use crate::support::tidegate::ADMIN_PASSWORD;
use crate::support::{MySql, Tidegate, process, wait_until};

mod deep;

/// Runs statements, one a line, and goes on after errors.
fn client(gate: &Tidegate, flavour: Flavour, statements: &[&str]) -> Output {
    let script = process::new_folder("admin").join("script.sql");
    std::fs::write(&script, statements.join(";\n") + ";\n").expect("the script can be written");
    let mut client = Launchers::of(flavour).client();
    client
        .args(["-h127.0.0.1", &format!("-P{}", gate.admin_port)])
        .args(["-uadmin", "--batch", "--force"])
        .env("MYSQL_PWD", ADMIN_PASSWORD)
        .stdin(std::fs::File::open(script).expect("the script is there"));
    client.output().expect("the client runs")
}

/// What both command line clients print for the same statements.
#[tokio::test]
async fn the_command_line_clients_open_it() {
    let gate = Tidegate::of(MySql::shared()).start();
    for flavour in [Flavour::MySql, Flavour::MariaDb] {
        let output = client(
            &gate,
            flavour,
            &[
                "select @@version_comment limit 1",
                "show databases",
                "use tidegate",
                "show tables like 'queries%'",
                "describe lost",
                "select name, value from settings where name = 'admin.password'",
                "select * from nope",
                "select table_name from information_schema.tables where table_name = 'queries'",
                "delete from queries",
                "select 1+1",
            ],
        );
        let printed = String::from_utf8_lossy(&output.stdout);
        let expected = "@@version_comment\nTidegate virtual schema\nDatabase\ninformation_schema\ntidegate\n\
                        Tables_in_tidegate (queries%)\nqueries\nField\tType\tNull\tKey\tDefault\tExtra\n\
                        what\tvarchar(64)\tYES\t\tNULL\t\ncount\tbigint\tYES\t\tNULL\t\n\
                        name\tvalue\nadmin.password\t***\nTABLE_NAME\nqueries\n1+1\n2\n";
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(printed, expected, "{flavour:?}: {told}");
        assert!(told.contains("ERROR 1146 (42S02)"), "{told}");
        assert!(told.contains("ERROR 1290 (HY000)"), "{told}");
    }
    gate.stop();
}

/// What an application did is there at once, with its counts and times.
#[tokio::test]
async fn what_an_application_did_is_shown() {
    let server = MySql::shared();
    let gate = Tidegate::of(server).start();
    let schema = server.schema("shown");
    let mut app = gate.connect(&schema).await;
    app.query_drop("CREATE TABLE t (a INT PRIMARY KEY)")
        .await
        .unwrap();
    for at in 0..5 {
        app.query_drop(format!("INSERT INTO t VALUES ({at})"))
            .await
            .unwrap();
    }
    let _: Vec<i32> = app.query("SELECT a FROM t WHERE a > 2").await.unwrap();
    assert!(app.query_drop("SELECT b FROM t").await.is_err());
    let mut admin = gate.connect_admin().await;
    let inserts: Option<(u64, u64, f64, String)> = admin
        .exec_first(
            "SELECT executions, rows_affected, mean_us, user FROM queries WHERE schema_name = ? AND kind = ?",
            (&schema, "insert"),
        )
        .await
        .unwrap();
    let (executions, changed, mean_us, user) = inserts.expect("the inserts are there");
    assert_eq!((executions, changed, user.as_str()), (5, 5, "app"));
    assert!(mean_us > 0.0);
    let errors: Vec<(u16, u64)> = admin
        .exec(
            "SELECT error_number, count FROM errors WHERE schema_name = ?",
            (&schema,),
        )
        .await
        .unwrap();
    assert_eq!(errors, [(1054, 1)]);
    let states: Vec<(String, bool)> = admin
        .exec(
            "SELECT state, tls FROM sessions WHERE schema_name = ?",
            (&schema,),
        )
        .await
        .unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
    assert_eq!(states[0].0, "idle");
    let up: Option<String> = admin
        .query_first("SELECT state FROM backends")
        .await
        .unwrap();
    assert_eq!(up.as_deref(), Some("up"));
    drop(app);
    gate.stop();
}

/// Text and binary protocol give the same values under the same definitions, and PREPARE tells the definitions before.
#[tokio::test]
async fn both_protocols_agree() {
    let gate = Tidegate::of(MySql::shared()).start();
    let mut admin = gate.connect_admin().await;
    let sql = "SELECT name, reloadable, LENGTH(value) AS bytes, LENGTH(value) / 3 AS third, NULL AS nothing, \
               FROM_UNIXTIME(86400) AS day FROM settings ORDER BY name LIMIT 7";
    let text: Vec<Row> = admin.query(sql).await.unwrap();
    let statement = admin.prep(sql).await.unwrap();
    let promised: Vec<ColumnType> = statement
        .columns()
        .iter()
        .map(|column| column.column_type())
        .collect();
    let binary: Vec<Row> = admin.exec(&statement, ()).await.unwrap();
    assert_eq!((text.len(), binary.len()), (7, 7));
    let found: Vec<ColumnType> = binary[0]
        .columns_ref()
        .iter()
        .map(|column| column.column_type())
        .collect();
    assert_eq!(promised, found);
    assert_eq!(
        found[..4],
        [
            ColumnType::MYSQL_TYPE_VAR_STRING,
            ColumnType::MYSQL_TYPE_TINY,
            ColumnType::MYSQL_TYPE_LONGLONG,
            ColumnType::MYSQL_TYPE_DOUBLE
        ]
    );
    for (text, binary) in text.into_iter().zip(binary) {
        let named = text.columns_ref()[2].name_str().into_owned();
        assert_eq!(named, "bytes");
        let (text, binary) = (text.unwrap(), binary.unwrap());
        assert_eq!(text[0], binary[0]);
        assert_eq!((&text[4], &binary[4]), (&Value::NULL, &Value::NULL));
        let number = |value: &Value| mysql_async::from_value::<f64>(value.clone());
        assert_eq!(number(&text[3]), number(&binary[3]));
        assert_eq!(text[5], Value::Bytes(b"1970-01-02 00:00:00".to_vec()));
        assert_eq!(binary[5], Value::Date(1970, 1, 2, 0, 0, 0, 0));
    }
    gate.stop();
}

/// The same expressions, asked of MySQL and of the virtual schema.
#[tokio::test]
async fn functions_answer_as_the_servers_own() {
    let server = MySql::shared();
    let gate = Tidegate::of(server).start();
    let mut direct = server.connect("").await;
    let mut admin = gate.connect_admin().await;
    direct.query_drop("SET time_zone = '+00:00'").await.unwrap();
    for expression in [
        "CONCAT('a', 1, 2.5), CONCAT('a', NULL), CONCAT_WS('-', 'a', NULL, 'b')",
        "LEFT('größe', 3), RIGHT('abc', 2), LENGTH('ö'), CHAR_LENGTH('ö'), REVERSE('abc'), REPEAT('ab', 3)",
        "LPAD('7', 3, '0'), RPAD('abc', 2, 'x'), LOCATE('B', 'abcb', 3), FIELD('b', 'a', 'b'), ELT(2, 'a', 'b')",
        "UPPER('ö'), LOWER('Ä'), SUBSTRING('abcdef', 2, 3), REPLACE('aXa', 'X', 'b'), TRIM('  x ')",
        "GREATEST(1, 3, 2), LEAST('b', 'a'), IF(1 > 2, 'y', 'n'), IFNULL(NULL, 4), NULLIF(1, 1), COALESCE(NULL, 'c')",
        "FORMAT(1234567.891, 2), FORMAT(-999, 0), FORMAT_BYTES(512), FORMAT_BYTES(1536), FORMAT_PICO_TIME(3501)",
        "MOD(7, 3), 7 DIV 2, -7 MOD 3, FLOOR(-1.5), CEIL(1.2), TRUNCATE(1.999, 2), ROUND(2.567, 2), ABS(-4)",
        "1 = 1, 'a' = 'A' COLLATE utf8mb4_general_ci, NULL <=> NULL, 1 IN (1, 2), 3 BETWEEN 1 AND 2, NOT 1",
        "'ABC' LIKE 'a%c', 'a%c' LIKE 'a\\%c', 'abc' LIKE 'a\\%c', 'abc' LIKE 'a|%c' ESCAPE '|', 'x' REGEXP '^[w-z]$'",
        "UNIX_TIMESTAMP('2001-09-09 01:46:40'), FROM_UNIXTIME(1000000000), FROM_UNIXTIME(0, '%Y-%j %a %b %l%p')",
        "DATE_FORMAT('2024-02-29 13:05:09', '%Y-%m %W %k:%i:%s'), DATEDIFF('2024-03-01', '2024-02-28 23:59:59')",
        "'2024-01-31' + INTERVAL 1 MONTH, '2024-01-31 01:02:03' - INTERVAL 90 MINUTE, DATE_ADD('2024-02-28', INTERVAL 1 DAY)",
        "TIMESTAMPDIFF(MINUTE, '2024-01-01', '2024-01-01 01:30:59'), TIMESTAMPDIFF(MONTH, '2024-01-31', '2024-02-29')",
        "YEAR('2024-02-29'), QUARTER('2024-08-01'), EXTRACT(HOUR FROM '2024-02-29 13:05:09'), WEEKDAY('2024-02-29')",
        "SEC_TO_TIME(3661), CAST('12abc' AS SIGNED), CAST(3.7 AS CHAR), CONVERT('x' USING utf8mb4), 'it''s', \"q\"",
        "0x41 + 0, 1e3, .5, TRUE, FALSE, NULL IS NULL, ISNULL(1), 'a' 'b'",
    ] {
        let sql = format!("SELECT {expression}");
        let ours = printed(&mut admin, &sql).await;
        let theirs = printed(&mut direct, &sql).await;
        assert_eq!(ours, theirs, "{sql}");
    }
    gate.stop();
}

/// The one row of a query as text, numbers without a fraction of zeros: MySQL's decimals have one where doubles have none.
async fn printed(conn: &mut Conn, sql: &str) -> Vec<String> {
    let row: Option<Row> = conn
        .query_first(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let values = row.expect("one row").unwrap();
    values
        .into_iter()
        .map(|value| match value {
            Value::Bytes(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                match text.parse::<f64>() {
                    Ok(number) => number.to_string(),
                    Err(_) => text,
                }
            }
            other => format!("{other:?}"),
        })
        .collect()
}

/// Every page answers, the metrics are valid by Prometheus' own checker, and JSON and SQL tell the same.
#[tokio::test]
async fn http_shows_the_same() {
    let server = MySql::shared();
    let gate = Tidegate::of(server).start();
    let get = |path: &str| process::http_get(gate.http_port, path).expect("an answer");
    let mut app = gate.connect("").await;
    app.query_drop("SELECT 1").await.unwrap();
    assert_eq!(get("/healthz").0, 200);
    let (status, body) = get("/readyz");
    assert_eq!(status, 200, "{body}");
    assert!(get("/").1.contains("<title>Tidegate</title>"));
    let (status, metrics) = get("/metrics");
    assert_eq!(status, 200);
    match promtool(&metrics) {
        Some(checked) => assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        ),
        None => eprintln!(
            "promtool (Debian package prometheus) is not installed: /metrics was not checked by it"
        ),
    }
    let (status, body) = get("/api/settings?order=name&limit=1000");
    assert_eq!(status, 200);
    let settings: serde_json::Value = serde_json::from_str(&body).unwrap();
    let names: Vec<String> = gate.admin("SELECT name FROM settings ORDER BY name").await;
    let shown = settings["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap());
    assert_eq!(shown.collect::<Vec<_>>(), names);
    assert!(!body.contains(ADMIN_PASSWORD));
    let (status, body) = get("/api/queries?order=nothing");
    assert_eq!((status, body.contains("no column")), (400, true), "{body}");
    gate.stop();
}

/// What Prometheus' own checker says; None where it is not installed.
fn promtool(metrics: &str) -> Option<Output> {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = tool.stdin.take().expect("its input");
    input.write_all(metrics.as_bytes()).expect("it reads");
    drop(input);
    Some(tool.wait_with_output().expect("it ends"))
}

/// A backend that is gone makes it not ready, and the admin schema goes on.
#[tokio::test]
async fn without_a_backend_it_is_not_ready_and_says_why() {
    let server = MySql::start(&[]);
    let gate = Tidegate::of(&server).start();
    server.kill9();
    wait_until("readyz notices", std::time::Duration::from_secs(20), || {
        let (status, body) = process::http_get(gate.http_port, "/readyz")?;
        (status == 503 && body.contains("backend")).then_some(())
    });
    assert_eq!(process::http_status(gate.http_port, "/healthz"), Some(200));
    let states: Vec<String> = gate.admin("SELECT state FROM backends").await;
    assert_eq!(states, ["down"]);
    gate.stop();
}

/// Login: the right password by caching_sha2_password; nothing else.
#[tokio::test]
async fn only_the_administrator_gets_in() {
    let gate = Tidegate::of(MySql::shared()).start();
    for (user, password) in [("admin", "wrong"), ("root", ""), ("admin", "")] {
        let options = crate::support::mysql::options(gate.admin_port, user, password, "");
        assert!(Conn::new(options).await.is_err(), "{user} {password:?}");
    }
    let options = crate::support::mysql::options(gate.admin_port, "admin", ADMIN_PASSWORD, "shop");
    let error = Conn::new(options).await.unwrap_err().to_string();
    assert!(error.contains("1049"), "{error}");
    gate.stop();
}
