//! The program for sqlx: text by `raw_sql`, statements of the server by `query`.

use futures_util::TryStreamExt;
use sqlx::mysql::{
    MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlQueryResult, MySqlRow, MySqlSslMode,
};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Either, Executor, MySqlConnection, Row,
    TypeInfo, ValueRef,
};

use crate::common::{self, bytes_shown, env, say};

fn options() -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .host(&env("HOST"))
        .port(env("PORT").parse().expect("a port"))
        .username(&env("USER"))
        .password(&env("PASSWORD"))
        .database(&env("SCHEMA"))
        .ssl_mode(if common::tls() {
            MySqlSslMode::Required
        } else {
            MySqlSslMode::Disabled
        })
        .disable_statement_logging()
}

async fn connect() -> MySqlConnection {
    options().connect().await.expect("a connection")
}

fn error_shown(error: &sqlx::Error) -> String {
    match error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
    {
        Some(error) => format!(
            "error {} {:?} {}",
            error.number(),
            error.code(),
            error.message()
        ),
        None => format!("error {error}"),
    }
}

/// One cell by its type's name: numbers and times as sqlx reads them, the rest as bytes.
fn cell_shown(row: &MySqlRow, at: usize) -> String {
    let Ok(raw) = row.try_get_raw(at) else {
        return "?".to_owned();
    };
    if raw.is_null() {
        return "NULL".to_owned();
    }
    let kind = raw.type_info().name().to_owned();
    fn show<T: std::fmt::Debug>(value: Result<T, sqlx::Error>) -> String {
        value.map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
    }
    match kind.as_str() {
        "BOOLEAN" => show(row.try_get::<bool, _>(at)),
        "FLOAT" | "DOUBLE" => show(row.try_get_unchecked::<f64, _>(at)),
        "DECIMAL" => show(row.try_get::<rust_decimal::Decimal, _>(at)),
        "DATE" => show(row.try_get::<time::Date, _>(at)),
        "TIME" => show(row.try_get::<time::Time, _>(at)),
        "DATETIME" => show(row.try_get::<time::PrimitiveDateTime, _>(at)),
        "TIMESTAMP" => show(row.try_get::<time::OffsetDateTime, _>(at)),
        "JSON" => show(row.try_get::<serde_json::Value, _>(at)),
        name if name.ends_with("UNSIGNED") || name == "BIT" || name == "YEAR" => {
            show(row.try_get_unchecked::<u64, _>(at))
        }
        name if name.ends_with("INT") => show(row.try_get_unchecked::<i64, _>(at)),
        _ => match row.try_get_unchecked::<Vec<u8>, _>(at) {
            Ok(bytes) => bytes_shown(&bytes),
            Err(error) => error.to_string(),
        },
    }
}

fn say_all(
    mode: &str,
    section: &str,
    all: Result<Vec<Either<MySqlQueryResult, MySqlRow>>, sqlx::Error>,
) {
    let all = match all {
        Ok(all) => all,
        Err(error) => return say(mode, section, error_shown(&error)),
    };
    let mut rows = Vec::new();
    for one in all {
        match one {
            Either::Left(done) => {
                say(
                    mode,
                    section,
                    format!(
                        "rows {} id {} {}",
                        done.rows_affected(),
                        done.last_insert_id(),
                        rows.join(" ")
                    ),
                );
                rows.clear();
            }
            Either::Right(row) => {
                let cells: Vec<String> = (0..row.len()).map(|at| cell_shown(&row, at)).collect();
                if rows.is_empty() {
                    let names: Vec<String> = row
                        .columns()
                        .iter()
                        .map(|column| format!("{}:{}", column.name(), column.type_info().name()))
                        .collect();
                    rows.push(names.join(","));
                }
                rows.push(format!("({})", cells.join(", ")));
            }
        }
    }
}

async fn run(conn: &mut MySqlConnection, mode: &str, section: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    let all = if mode == "binary" {
        // Marks a statement without parameters as one to prepare.
        conn.fetch_many(sqlx::query(sql)).try_collect().await
    } else {
        conn.fetch_many(sqlx::raw_sql(sql)).try_collect().await
    };
    say_all(mode, section, all);
}

async fn parameters(conn: &mut MySqlConnection) {
    let mode = "binary";
    run(conn, "text", "given", "DELETE FROM given").await;
    let date = time::Date::from_calendar_date(2024, time::Month::February, 29).expect("a date");
    let moment = time::PrimitiveDateTime::new(
        date,
        time::Time::from_hms_micro(1, 2, 3, 456_789).expect("a time"),
    );
    for (id, given) in [(1, true), (2, false), (3, true), (1, true)] {
        let some = given.then_some(());
        let query = sqlx::query("INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(id)
            .bind(some.map(|()| i64::MIN))
            .bind(some.map(|()| u64::MAX))
            .bind(some.map(|()| -1.25e300))
            .bind(some.map(|()| rust_decimal::Decimal::new(-1_234_567, 5)))
            .bind(some.map(|()| "🐬 ' \" \\ ü%"))
            .bind(some.map(|()| vec![0u8, 255]))
            .bind(some.map(|()| date))
            .bind(some.map(|()| moment.time()))
            .bind(some.map(|()| moment))
            .bind(some.map(|()| serde_json::json!({"a": [1, null]})));
        say_all(mode, "given", conn.fetch_many(query).try_collect().await);
    }
    for at in [0, 2, 9, 1] {
        let query = sqlx::query("SELECT * FROM given WHERE id > ? ORDER BY id").bind(at);
        say_all(mode, "given", conn.fetch_many(query).try_collect().await);
    }
}

async fn transactions(conn: &mut MySqlConnection, mode: &str) {
    for commit in [false, true] {
        let Ok(mut outer) = conn.begin().await else {
            return say(mode, "transaction", "none");
        };
        run(
            &mut outer,
            mode,
            "transaction",
            "INSERT INTO counters VALUES (100, 7)",
        )
        .await;
        // A transaction inside is a savepoint.
        let Ok(mut inner) = outer.begin().await else {
            return say(mode, "transaction", "no savepoint");
        };
        run(
            &mut inner,
            mode,
            "transaction",
            "INSERT INTO counters VALUES (101, 7)",
        )
        .await;
        say(mode, "transaction", inner.rollback().await.is_ok());
        let end = if commit {
            outer.commit().await
        } else {
            outer.rollback().await
        };
        say(mode, "transaction", end.is_ok());
        run(
            conn,
            mode,
            "transaction",
            "SELECT * FROM counters WHERE id > 50",
        )
        .await;
    }
    run(conn, mode, "clean", "DELETE FROM counters WHERE id > 50").await;
}

async fn calls(conn: &mut MySqlConnection, mode: &str) {
    run(conn, "text", "call", "SET @c = 'in'").await;
    for sql in [
        "CALL two(4, @b, @c)",
        "CALL two(5, @b, @c)",
        "SELECT @b, @c",
        "CALL quiet()",
        "CALL refuses('no ü')",
        "SELECT 'in step'",
    ] {
        run(conn, mode, "call", sql).await;
    }
    if mode == "text" {
        let many = "SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60";
        for sql in [
            many,
            "SELECT 1; SELECT * FROM missing; SELECT 3",
            "SELECT 'in step'",
        ] {
            run(conn, mode, "multi", sql).await;
        }
    }
}

async fn errors(conn: &mut MySqlConnection, mode: &str) {
    for sql in common::WRONG {
        run(conn, mode, "error", sql).await;
    }
    for wrong in [
        options().password("wrong"),
        options().username("nobody"),
        options().database("nowhere"),
    ] {
        match wrong.connect().await {
            Ok(_) => say(mode, "login", "let in"),
            Err(error) => say(mode, "login", error_shown(&error)),
        }
    }
}

async fn large(conn: &mut MySqlConnection) {
    let query = sqlx::query("INSERT INTO large (b) VALUES (?)").bind(common::large());
    say_all(
        "binary",
        "large",
        conn.fetch_many(query).try_collect().await,
    );
    for mode in ["text", "binary"] {
        run(
            conn,
            mode,
            "large",
            "SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id",
        )
        .await;
    }
    run(conn, "text", "large", "TRUNCATE TABLE large").await;
}

async fn sessions(mode: &str) {
    let mut conn = options()
        .statement_cache_capacity(2)
        .charset("latin1")
        .timezone(Some("+03:00".to_owned()))
        .connect()
        .await
        .expect("a connection");
    run(&mut conn, "text", "session", "SET @x = 1").await;
    say(mode, "session", conn.ping().await.is_ok());
    run(
        &mut conn,
        mode,
        "session",
        "SELECT @x, DATABASE(), USER(), @@time_zone, @@character_set_client, @@sql_mode",
    )
    .await;
    // More statements than its cache holds: the eldest are closed.
    for number in 0..6 {
        run(&mut conn, mode, "cache", &format!("SELECT {number}")).await;
    }
    say(mode, "session", conn.close().await.is_ok());
}

async fn streams(conn: &mut MySqlConnection, mode: &str) {
    let mut total = 0;
    {
        let mut rows = sqlx::query_as::<_, (i32, String)>("SELECT id, t FROM many ORDER BY id")
            .fetch(&mut *conn);
        while let Ok(Some((id, text))) = rows.try_next().await {
            total += i64::from(id) + text.len() as i64;
        }
    }
    say(mode, "stream", total);
    let first = conn
        .fetch_one(sqlx::query("SELECT id FROM many ORDER BY id"))
        .await;
    say(mode, "stream", first.is_ok());
    run(conn, mode, "stream", "SELECT 'in step'").await;
}

async fn turns(pool: MySqlPool, number: i32) -> Result<(), sqlx::Error> {
    for turn in 0..25 {
        let mut transaction = pool.begin().await?;
        let id = 1 + (number + turn) % 4;
        sqlx::query("UPDATE counters SET n = n + 1 WHERE id = ?")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        let _: (i32,) = sqlx::query_as("SELECT n FROM counters WHERE id = ?")
            .bind(id)
            .fetch_one(&mut *transaction)
            .await?;
        match turn % 5 {
            3 => transaction.rollback().await?,
            // Dropped without an end: rolled back with the next use of the connection.
            4 => drop(transaction),
            _ => transaction.commit().await?,
        }
    }
    Ok(())
}

async fn pools(mode: &str) {
    let pool = MySqlPoolOptions::new()
        .max_connections(4)
        .connect_with(options())
        .await
        .expect("a pool");
    let tasks: Vec<_> = (0..6)
        .map(|number| tokio::spawn(turns(pool.clone(), number)))
        .collect();
    for task in tasks {
        if let Err(error) = task.await.expect("no panic") {
            say(mode, "pool", error_shown(&error));
        }
    }
    let mut conn = pool.acquire().await.expect("a connection");
    run(
        &mut conn,
        mode,
        "pool",
        "SELECT * FROM counters ORDER BY id",
    )
    .await;
    run(&mut conn, mode, "pool", "UPDATE counters SET n = 0").await;
    drop(conn);
    pool.close().await;
}

/// Runs everything.
pub async fn main() {
    println!("version {}", env!("SQLX_VERSION"));
    for mode in ["text", "binary"] {
        let mut conn = connect().await;
        let schema = env("SCHEMA");
        run(
            &mut conn,
            "text",
            "clean",
            &format!("DROP DATABASE {schema}"),
        )
        .await;
        run(
            &mut conn,
            "text",
            "clean",
            &format!("CREATE DATABASE {schema}"),
        )
        .await;
        let mut conn = connect().await;
        for (section, sql) in common::script() {
            run(&mut conn, mode, &section, &sql).await;
            if mode == "binary"
                && [
                    "PREPARE",
                    "EXECUTE",
                    "DEALLOCATE",
                    "START",
                    "BEGIN",
                    "SAVEPOINT",
                    "ROLLBACK",
                    "LOCK",
                    "UNLOCK",
                    "CREATE PROCEDURE",
                    "CREATE FUNCTION",
                    "CREATE TRIGGER",
                ]
                .iter()
                .any(|word| sql.starts_with(word))
            {
                // The server does not prepare these.
                run(&mut conn, "text", &section, &sql).await;
            }
        }
        if mode == "binary" {
            parameters(&mut conn).await;
            large(&mut conn).await;
        }
        transactions(&mut conn, mode).await;
        calls(&mut conn, mode).await;
        errors(&mut conn, mode).await;
        streams(&mut conn, mode).await;
        sessions(mode).await;
        pools(mode).await;
    }
}
