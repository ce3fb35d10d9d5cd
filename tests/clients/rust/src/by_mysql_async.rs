//! The program for mysql_async: text by `query_iter`, statements of the server by `exec_iter`.

use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{
    Conn, Error, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, QueryResult, SslOpts,
    TxOpts, Value, params,
};

use crate::common::{self, bytes_shown, env, say};

fn options() -> OptsBuilder {
    let ssl = SslOpts::default()
        .with_danger_accept_invalid_certs(true)
        .with_danger_skip_domain_validation(true);
    OptsBuilder::default()
        .ip_or_hostname(env("HOST"))
        .tcp_port(env("PORT").parse().expect("a port"))
        .user(Some(env("USER")))
        .pass(Some(env("PASSWORD")))
        .db_name(Some(env("SCHEMA")))
        .prefer_socket(false)
        .ssl_opts(common::tls().then_some(ssl))
}

async fn connect() -> Conn {
    Conn::new(options()).await.expect("a connection")
}

fn value_shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => bytes_shown(bytes),
        other => format!("{other:?}"),
    }
}

fn error_shown(error: &Error) -> String {
    match error {
        Error::Server(error) => format!("error {} {} {}", error.code, error.state, error.message),
        other => format!("error {other}"),
    }
}

/// Everything that one execution brings.
async fn answers<P: mysql_async::prelude::Protocol>(
    mode: &str,
    section: &str,
    mut result: QueryResult<'_, '_, P>,
) -> mysql_async::Result<()> {
    while !result.is_empty() {
        let columns: Vec<String> = result
            .columns()
            .iter()
            .flat_map(|columns| columns.iter())
            .map(|column| {
                let (name, kind) = (column.name_str(), column.column_type());
                let (flags, length) = (column.flags().bits(), column.column_length());
                format!(
                    "{name}:{kind:?}:{flags}:{length}:{}",
                    column.character_set()
                )
            })
            .collect();
        let rows: Vec<mysql_async::Row> = result.collect().await?;
        let rows: Vec<String> = rows
            .into_iter()
            .map(|row| {
                let values: Vec<String> = row.unwrap().iter().map(value_shown).collect();
                format!("({})", values.join(", "))
            })
            .collect();
        say(
            mode,
            section,
            format!("{} {}", columns.join(","), rows.join(" ")),
        );
    }
    let (count, id) = (result.affected_rows(), result.last_insert_id());
    let (warnings, info) = (result.warnings(), result.info().into_owned());
    say(
        mode,
        section,
        format!("rows {count} id {id:?} warnings {warnings} {info}"),
    );
    Ok(())
}

async fn run(conn: &mut Conn, mode: &str, section: &str, sql: &str, parameters: Params) {
    let done = if mode == "binary" {
        match conn.exec_iter(sql, parameters).await {
            Ok(result) => answers(mode, section, result).await,
            Err(error) => Err(error),
        }
    } else {
        match conn.query_iter(sql).await {
            Ok(result) => answers(mode, section, result).await,
            Err(error) => Err(error),
        }
    };
    let Err(error) = done else { return };
    say(mode, section, error_shown(&error));
    // What the server does not prepare goes as text, so that the rest of the script finds what it needs.
    if mode == "binary" && matches!(&error, Error::Server(error) if error.code == 1295) {
        Box::pin(run(conn, "text", section, sql, Params::Empty)).await;
    }
}

async fn plain(conn: &mut Conn, mode: &str, section: &str, sql: &str) {
    run(conn, mode, section, sql, Params::Empty).await;
}

async fn parameters(conn: &mut Conn) {
    let mode = "binary";
    plain(conn, mode, "given", "DELETE FROM given").await;
    let insert = "INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let day = Value::Date(2024, 2, 29, 1, 2, 3, 456_789);
    let time = Value::Time(true, 1, 6, 0, 0, 5);
    let one = vec![
        Value::Int(1),
        Value::Int(-5),
        Value::UInt(5),
        Value::Double(1.25),
        text("12.340000"),
        text("plain"),
        Value::Bytes(vec![0, 255]),
        Value::Date(2024, 2, 29, 0, 0, 0, 0),
        time,
        day,
        text("{\"a\": 1}"),
    ];
    let mut two = vec![Value::Int(2)];
    two.resize(11, Value::NULL);
    let three = vec![
        Value::Int(3),
        Value::Int(i64::MIN),
        Value::UInt(u64::MAX),
        Value::Double(-1e300),
        text("-99999999999999.999999"),
        text("🐬 ' \" \\ ü%"),
        text("'\"\\"),
        Value::Date(1000, 1, 1, 0, 0, 0, 0),
        Value::Time(false, 0, 0, 0, 0, 0),
        Value::Date(9999, 12, 31, 23, 59, 59, 0),
        text("[]"),
    ];
    for row in [one.clone(), two, three, one] {
        run(conn, mode, "given", insert, Params::Positional(row)).await;
    }
    for at in [0, 2, 9, 1] {
        let sql = "SELECT * FROM given WHERE id > ? ORDER BY id";
        run(
            conn,
            mode,
            "given",
            sql,
            Params::Positional(vec![at.into()]),
        )
        .await;
    }
    let statement = conn
        .prep("SELECT id, t, :given AS given FROM given WHERE id >= :id")
        .await;
    let Ok(statement) = statement else { return };
    for given in [Value::Int(7), Value::NULL, text("🐬"), Value::Float(0.5)] {
        let named = params! { "given" => given, "id" => 1 };
        match conn.exec_iter(&statement, named).await {
            Ok(result) => drop(answers(mode, "named", result).await),
            Err(error) => say(mode, "named", error_shown(&error)),
        }
    }
    let batch = (20..25).map(|id| (id, format!("b{id}")));
    let done = conn
        .exec_batch("INSERT INTO given (id, t) VALUES (?, ?)", batch)
        .await;
    say(
        mode,
        "batch",
        format!("{:?}", done.map_err(|error| error_shown(&error))),
    );
}

async fn transactions(conn: &mut Conn, mode: &str) {
    for commit in [false, true] {
        let Ok(mut transaction) = conn.start_transaction(TxOpts::default()).await else {
            return say(mode, "transaction", "none");
        };
        let done = transaction
            .query_drop("INSERT INTO counters VALUES (100, 7)")
            .await;
        let end = if commit {
            transaction.commit().await
        } else {
            transaction.rollback().await
        };
        say(
            mode,
            "transaction",
            format!("{} {}", done.is_ok(), end.is_ok()),
        );
        plain(
            conn,
            mode,
            "transaction",
            "SELECT * FROM counters WHERE id > 50",
        )
        .await;
    }
    plain(conn, mode, "clean", "DELETE FROM counters WHERE id > 50").await;
}

async fn calls(conn: &mut Conn, mode: &str) {
    let one_by_one = [
        "SET @c = 'in'",
        "CALL two(4, @b, @c)",
        "CALL two(5, @b, @c)",
        "SELECT @b, @c",
        "CALL quiet()",
        "CALL refuses('no ü')",
        "SELECT 'in step'",
    ];
    for sql in one_by_one {
        plain(conn, mode, "call", sql).await;
    }
    if mode == "text" {
        let many = "SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60";
        for sql in [
            many,
            "SELECT 1; SELECT * FROM missing; SELECT 3",
            "SELECT 'in step'",
        ] {
            plain(conn, mode, "multi", sql).await;
        }
    }
}

async fn errors(conn: &mut Conn, mode: &str) {
    for sql in common::WRONG {
        plain(conn, mode, "error", sql).await;
    }
    let wrong = [
        options().pass(Some("wrong")),
        options().user(Some("nobody")),
        options().db_name(Some("nowhere")),
    ];
    for options in wrong {
        match Conn::new(options).await {
            Ok(_) => say(mode, "login", "let in"),
            Err(error) => say(mode, "login", error_shown(&error)),
        }
    }
}

async fn large(conn: &mut Conn) {
    let mode = "binary";
    let value = vec![Value::Bytes(common::large())];
    run(
        conn,
        mode,
        "large",
        "INSERT INTO large (b) VALUES (?)",
        Params::Positional(value),
    )
    .await;
    for one in ["text", "binary"] {
        plain(
            conn,
            one,
            "large",
            "SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id",
        )
        .await;
    }
    plain(conn, mode, "large", "TRUNCATE TABLE large").await;
}

async fn load() {
    let file = env("FILE");
    let options =
        options().local_infile_handler(Some(mysql_async::WhiteListFsHandler::new([file.clone()])));
    let mut conn = Conn::new(options).await.expect("a connection");
    for name in [file.as_str(), "/nowhere/at/all"] {
        let sql =
            format!("LOAD DATA LOCAL INFILE '{name}' INTO TABLE loaded FIELDS TERMINATED BY ','");
        plain(&mut conn, "text", "load", &sql).await;
    }
    for sql in ["SELECT * FROM loaded ORDER BY id", "TRUNCATE TABLE loaded"] {
        plain(&mut conn, "text", "load", sql).await;
    }
}

async fn sessions(mode: &str) {
    let mut conn = connect().await;
    let look = "SELECT @x, DATABASE(), USER(), CURRENT_USER()";
    plain(&mut conn, mode, "session", "SET @x = 1").await;
    say(mode, "session", conn.ping().await.is_ok());
    plain(&mut conn, mode, "session", look).await;
    say(mode, "session", format!("{:?}", conn.reset().await.is_ok()));
    plain(&mut conn, mode, "session", look).await;
    let to = mysql_async::ChangeUserOpts::default().with_db_name(Some("mysql".to_owned()));
    say(mode, "session", conn.change_user(to).await.is_ok());
    plain(&mut conn, mode, "session", look).await;
    let (major, minor, patch) = conn.server_version();
    say(mode, "session", format!("{major}.{minor}.{patch}"));
    say(mode, "session", conn.disconnect().await.is_ok());
}

async fn streams(conn: &mut Conn, mode: &str) {
    let sql = "SELECT id, t FROM many ORDER BY id";
    let mut total = 0;
    {
        let mut rows = conn
            .exec_stream::<(u64, String), _, _>(sql, ())
            .await
            .expect("rows");
        while let Some(Ok((id, text))) = rows.next().await {
            total += id + text.len() as u64;
        }
    }
    say(mode, "stream", total);
    let left = conn.query_iter(sql).await.expect("rows");
    drop(left);
    plain(conn, mode, "stream", "SELECT 'in step'").await;
}

async fn turns(pool: Pool, number: u64) -> mysql_async::Result<()> {
    for turn in 0..25 {
        let mut conn = pool.get_conn().await?;
        let mut transaction = conn.start_transaction(TxOpts::default()).await?;
        let id = 1 + (number + turn) % 4;
        transaction
            .exec_drop("UPDATE counters SET n = n + 1 WHERE id = ?", (id,))
            .await?;
        let _: Option<u64> = transaction
            .query_first(format!("SELECT n FROM counters WHERE id = {id}"))
            .await?;
        match turn % 5 {
            3 => transaction.rollback().await?,
            _ => transaction.commit().await?,
        }
    }
    Ok(())
}

async fn pools(mode: &str) {
    let bounds = PoolOpts::default().with_constraints(PoolConstraints::new(1, 4).expect("bounds"));
    let pool = Pool::new(Opts::from(options().pool_opts(bounds)));
    let tasks: Vec<_> = (0..6)
        .map(|number| tokio::spawn(turns(pool.clone(), number)))
        .collect();
    for task in tasks {
        if let Err(error) = task.await.expect("no panic") {
            say(mode, "pool", error_shown(&error));
        }
    }
    let mut conn = pool.get_conn().await.expect("a connection");
    plain(
        &mut conn,
        mode,
        "pool",
        "SELECT * FROM counters ORDER BY id",
    )
    .await;
    plain(&mut conn, mode, "pool", "UPDATE counters SET n = 0").await;
    drop(conn);
    say(mode, "pool", pool.disconnect().await.is_ok());
}

/// Runs everything.
pub async fn main() {
    println!("version {}", env!("MYSQL_ASYNC_VERSION"));
    for mode in ["text", "binary"] {
        let mut conn = connect().await;
        let schema = env("SCHEMA");
        plain(
            &mut conn,
            "text",
            "clean",
            &format!("DROP DATABASE {schema}"),
        )
        .await;
        plain(
            &mut conn,
            "text",
            "clean",
            &format!("CREATE DATABASE {schema}"),
        )
        .await;
        let mut conn = connect().await;
        for (section, sql) in common::script() {
            plain(&mut conn, mode, &section, &sql).await;
        }
        if mode == "binary" {
            parameters(&mut conn).await;
            large(&mut conn).await;
        }
        transactions(&mut conn, mode).await;
        calls(&mut conn, mode).await;
        errors(&mut conn, mode).await;
        streams(&mut conn, mode).await;
        if mode == "text" {
            load().await;
        }
        sessions(mode).await;
        pools(mode).await;
    }
}
