//! Sessions: variables, prepared statements, warnings, and what real clients say when they start.

use super::*;
use crate::admin::engine::Limits;
use crate::admin::sources::Sources;

fn conversation() -> Conversation {
    let engine = Engine::start(Sources::default(), Limits::new(1000, 2000)).unwrap();
    Conversation::new(engine, Context::for_tests().identity).unwrap()
}

async fn one(conversation: &mut Conversation, text: &str) -> Value {
    match conversation.run(text, Vec::new()).await {
        Ok(Outcome::Rows(result)) => result.rows[0][0].clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn variables_and_schemas_last_as_long_as_the_session() {
    let mut talk = conversation();
    talk.run(
        "SET autocommit = 0, @x = 1 + 1, sql_mode = CONCAT(@@sql_mode, 'ANSI')",
        Vec::new(),
    )
    .await
    .unwrap();
    assert_eq!(one(&mut talk, "SELECT @@autocommit").await, 0.into());
    assert_eq!(one(&mut talk, "SELECT @x").await, 2.into());
    assert_eq!(
        one(&mut talk, "SELECT COUNT(*) FROM \"queries\"").await,
        0.into()
    );
    talk.run("USE information_schema", Vec::new())
        .await
        .unwrap();
    assert_eq!(
        one(&mut talk, "SELECT DATABASE()").await,
        "information_schema".into()
    );
    assert_eq!(
        one(&mut talk, "SELECT table_schema FROM tables LIMIT 1").await,
        "tidegate".into()
    );
    talk.reset();
    assert_eq!(one(&mut talk, "SELECT @@autocommit").await, 1.into());
    assert_eq!(
        one(&mut talk, "SELECT DATABASE()").await,
        "information_schema".into()
    );
}

#[tokio::test]
async fn prepared_statements_are_counted_and_closed() {
    let mut talk = conversation();
    let (id, description) = talk.prepare("SELECT ? + 1").await.unwrap();
    assert_eq!((description.parameters, description.columns.len()), (1, 1));
    assert_eq!(talk.parameters(id), Ok(1));
    let Ok(Outcome::Rows(result)) = talk.execute(id, vec![4.into()]).await else {
        panic!()
    };
    assert_eq!(result.rows[0][0], 5.into());
    assert_eq!(
        talk.execute(id, Vec::new()).await.unwrap_err().number(),
        1210
    );
    talk.close(id);
    assert_eq!(
        talk.execute(id, Vec::new()).await.unwrap_err(),
        Error::UnknownStatement(id)
    );
    let (set, description) = talk.prepare("SET @a = ?").await.unwrap();
    assert_eq!(description.parameters, 1);
    talk.execute(set, vec!["v".into()]).await.unwrap();
    assert_eq!(one(&mut talk, "SELECT @a").await, "v".into());
    for _ in 1..STATEMENTS_MAX {
        talk.prepare("BEGIN").await.unwrap();
    }
    assert_eq!(talk.prepare("BEGIN").await.unwrap_err().number(), 1461);
}

#[tokio::test]
async fn warnings_repeat_the_last_error() {
    let mut talk = conversation();
    assert!(
        talk.run("SELECT nothing FROM queries", Vec::new())
            .await
            .is_err()
    );
    for _ in 0..2 {
        let Ok(Outcome::Rows(result)) = talk.run("SHOW WARNINGS", Vec::new()).await else {
            panic!()
        };
        assert_eq!(result.rows[0][1], 1054.into());
    }
    talk.run("SELECT 1", Vec::new()).await.unwrap();
    let Ok(Outcome::Rows(result)) = talk.run("SHOW ERRORS", Vec::new()).await else {
        panic!()
    };
    assert!(result.rows.is_empty());
}

#[test]
fn an_unknown_schema_is_refused_at_login() {
    let engine = Engine::start(Sources::default(), Limits::new(1, 1)).unwrap();
    let identity = Identity {
        schema: Some("shop".to_owned()),
        ..Context::for_tests().identity
    };
    assert_eq!(
        Conversation::new(engine, identity)
            .err()
            .map(|error| error.number()),
        Some(1049)
    );
}

/// What drivers and tools send before their user has typed anything. Every one has to succeed.
#[tokio::test]
async fn clients_start() {
    let mut talk = conversation();
    for text in [
        // mysql, mariadb
        "select @@version_comment limit 1",
        "select USER()",
        "SELECT DATABASE()",
        "show databases",
        "show tables",
        "select cast('test plugin results' as char(60)) as a",
        // Connector/J
        "/* mysql-connector-j-9.1.0 (Revision: 00) */SELECT  @@session.auto_increment_increment AS auto_increment_increment, \
         @@character_set_client AS character_set_client, @@character_set_results AS character_set_results, \
         @@character_set_server AS character_set_server, @@collation_server AS collation_server, \
         @@collation_connection AS collation_connection, @@init_connect AS init_connect, \
         @@interactive_timeout AS interactive_timeout, @@license AS license, \
         @@lower_case_table_names AS lower_case_table_names, @@max_allowed_packet AS max_allowed_packet, \
         @@net_write_timeout AS net_write_timeout, @@performance_schema AS performance_schema, @@sql_mode AS sql_mode, \
         @@system_time_zone AS system_time_zone, @@time_zone AS time_zone, \
         @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout",
        "SET character_set_results = NULL",
        "SET autocommit=1",
        "SET sql_mode='STRICT_TRANS_TABLES'",
        "SELECT @@session.transaction_read_only",
        "SET SESSION TRANSACTION READ ONLY",
        // MariaDB Connector/J
        "set autocommit=1, session_track_schema=1, sql_mode = concat(@@sql_mode,',STRICT_TRANS_TABLES')",
        "SELECT @@max_allowed_packet,@@system_time_zone,@@time_zone,@@auto_increment_increment",
        // PyMySQL, mysqlclient, SQLAlchemy
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
        "SET AUTOCOMMIT = 0",
        "SELECT CAST('test collated returns' AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS anon_1",
        "SELECT 'x' AS `some_label`",
        "SHOW VARIABLES LIKE 'lower_case_table_names'",
        "SHOW CREATE TABLE `queries`",
        "ROLLBACK",
        // mysql_async, mysql2, sqlx
        "SELECT @@max_allowed_packet,@@wait_timeout",
        "SELECT @@socket IS NULL",
        "SET sql_mode=(SELECT CONCAT(@@sql_mode, ',PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION')),time_zone='+00:00',\
         NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
        // DBeaver, Workbench
        "SET SQL_SAFE_UPDATES=1",
        "SHOW SESSION VARIABLES LIKE 'lower_case_table_names'",
        "SELECT current_user()",
        "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
        "SELECT @@GLOBAL.character_set_server,@@GLOBAL.collation_server",
        "SHOW FULL TABLES FROM `tidegate`",
        "SHOW PLUGINS",
        "SELECT * FROM information_schema.KEYWORDS WHERE RESERVED=1",
        // mysqldump
        "/*!40100 SET @@SQL_MODE='' */",
        "/*!40103 SET TIME_ZONE='+00:00' */",
        "SHOW VARIABLES LIKE 'gtid\\_mode'",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM `queries`",
        "SET @saved_cs_client = @@character_set_client",
    ] {
        let outcome = talk.run(text, Vec::new()).await;
        assert!(outcome.is_ok(), "{text}: {}", outcome.unwrap_err());
    }
}
