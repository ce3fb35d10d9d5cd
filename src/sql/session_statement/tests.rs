//! One line in, one debug line out.

use super::*;

fn show(text: &str) -> String {
    match parse(text.as_bytes(), LexMode::default()) {
        SessionStatement::Set(assignments) => assignments
            .iter()
            .map(|one| {
                let source = text.get(one.span.0..one.span.1).unwrap_or("?");
                format!("{:?} <- {:?} [{source}]", one.target, one.value)
            })
            .collect::<Vec<_>>()
            .join(" ; "),
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(show(text), expected, "{text}");
}

#[test]
fn set_variables() {
    check(
        "SET autocommit = 0",
        r#"Variable(Session, "autocommit") <- Number("0") [0]"#,
    );
    check(
        "set @@autocommit:=1;",
        r#"Variable(Session, "autocommit") <- Number("1") [1]"#,
    );
    check(
        "SET SESSION sql_mode = 'ANSI_QUOTES', time_zone='+00:00'",
        concat!(
            r#"Variable(Session, "sql_mode") <- Text([65, 78, 83, 73, 95, 81, 85, 79, 84, 69, 83]) ['ANSI_QUOTES'] ; "#,
            r#"Variable(Session, "time_zone") <- Text([43, 48, 48, 58, 48, 48]) ['+00:00']"#
        ),
    );
    // Measured on 9.7: the scope word holds on, the @@ form has its own.
    check(
        "SET GLOBAL a=1, b=ON, @@c=2, d=DEFAULT, SESSION e=null",
        concat!(
            r#"Variable(Global, "a") <- Number("1") [1] ; Variable(Global, "b") <- Word("ON") [ON] ; "#,
            r#"Variable(Session, "c") <- Number("2") [2] ; Variable(Global, "d") <- Default [DEFAULT] ; "#,
            r#"Variable(Session, "e") <- Null [null]"#
        ),
    );
    check(
        "set @@global.hot.key_buffer_size = -1",
        r#"Variable(Global, "hot.key_buffer_size") <- Number("-1") [-1]"#,
    );
    check(
        "SET PERSIST_ONLY x=1",
        r#"Variable(PersistOnly, "x") <- Number("1") [1]"#,
    );
    check(
        "SET sql_log_bin = (SELECT 1, 2) + 1, x = f(1,2)",
        concat!(
            r#"Variable(Session, "sql_log_bin") <- Expression [(SELECT 1, 2) + 1] ; "#,
            r#"Variable(Session, "x") <- Expression [f(1,2)]"#
        ),
    );
    check(
        "SET `sql_mode` = `ANSI`",
        r#"Variable(Session, "sql_mode") <- Word("ANSI") [`ANSI`]"#,
    );
}

#[test]
fn set_user_variables_and_names() {
    check(
        "SET @X = 5, @`a b` := 'y', @'q'=1",
        r#"User("x") <- Number("5") [5] ; User("a b") <- Text([121]) ['y'] ; User("q") <- Number("1") [1]"#,
    );
    check("SET NAMES utf8mb4", r#"Names <- Word("utf8mb4") [utf8mb4]"#);
    check(
        "SET NAMES 'latin1' COLLATE 'latin1_bin', @y=1",
        concat!(
            r#"Names <- Text([108, 97, 116, 105, 110, 49]) ['latin1'] ; "#,
            r#"Collation <- Text([108, 97, 116, 105, 110, 49, 95, 98, 105, 110]) ['latin1_bin'] ; User("y") <- Number("1") [1]"#
        ),
    );
    check("SET NAMES DEFAULT", "Names <- Default [DEFAULT]");
    check(
        "SET CHARACTER SET utf8",
        r#"CharacterSet <- Word("utf8") [utf8]"#,
    );
    check(
        "SET CHARSET binary",
        r#"CharacterSet <- Word("binary") [binary]"#,
    );
}

#[test]
fn set_transaction_keeps_its_scope() {
    check(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        r#"Isolation(NextTransaction) <- Word("READ COMMITTED") [ISOLATION LEVEL READ COMMITTED]"#,
    );
    check(
        "SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE",
        concat!(
            r#"AccessMode(Session) <- Word("READ ONLY") [READ ONLY] ; "#,
            r#"Isolation(Session) <- Word("SERIALIZABLE") [ISOLATION LEVEL SERIALIZABLE]"#
        ),
    );
    check(
        "SET GLOBAL TRANSACTION READ WRITE",
        r#"AccessMode(Global) <- Word("READ WRITE") [READ WRITE]"#,
    );
    check(
        "SET @@transaction_isolation = 'SERIALIZABLE'",
        r#"Variable(NextTransaction, "transaction_isolation") <- Text([83, 69, 82, 73, 65, 76, 73, 90, 65, 66, 76, 69]) ['SERIALIZABLE']"#,
    );
}

#[test]
fn set_accounts_and_roles() {
    check(
        "SET PASSWORD FOR 'a'@'b' = 'x'",
        "Password <- Expression [PASSWORD FOR 'a'@'b' = 'x']",
    );
    check(
        "SET ROLE ALL EXCEPT r",
        "Role <- Expression [ROLE ALL EXCEPT r]",
    );
    check(
        "SET DEFAULT ROLE ALL TO u",
        "DefaultRole <- Expression [DEFAULT ROLE ALL TO u]",
    );
    check(
        "SET RESOURCE GROUP g",
        "ResourceGroup <- Expression [RESOURCE GROUP g]",
    );
}

#[test]
fn transactions() {
    check("BEGIN", "Begin { read_only: None, snapshot: false }");
    check("begin work;", "Begin { read_only: None, snapshot: false }");
    check(
        "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
        "Begin { read_only: Some(true), snapshot: true }",
    );
    check(
        "START TRANSACTION READ WRITE",
        "Begin { read_only: Some(false), snapshot: false }",
    );
    check(
        "COMMIT AND NO CHAIN RELEASE",
        "Commit(Completion { chain: Some(false), release: Some(true) })",
    );
    check(
        "ROLLBACK WORK",
        "Rollback(Completion { chain: None, release: None })",
    );
    check("ROLLBACK WORK TO SAVEPOINT `a b`", r#"RollbackTo("a b")"#);
    check("ROLLBACK TO x", r#"RollbackTo("x")"#);
    check("SAVEPOINT s", r#"Savepoint("s")"#);
    check("RELEASE SAVEPOINT s", r#"ReleaseSavepoint("s")"#);
    check("XA START 'x'", r#"Xa("START")"#);
}

#[test]
fn locks_prepared_and_kill() {
    check(
        "LOCK TABLES t READ LOCAL, q.u AS v LOW_PRIORITY WRITE, w x WRITE",
        concat!(
            r#"LockTables([(TableName { schema: None, name: "t" }, false), (TableName { schema: Some("q"), name: "u" }, true), "#,
            r#"(TableName { schema: None, name: "w" }, true)])"#
        ),
    );
    check("LOCK INSTANCE FOR BACKUP", "LockInstance");
    check("UNLOCK TABLES", "UnlockTables");
    check(
        "PREPARE s FROM 'SELECT ''a'', \\'b\\''",
        r#"Prepare { name: "s", source: Text([83, 69, 76, 69, 67, 84, 32, 39, 97, 39, 44, 32, 39, 98, 39]) }"#,
    );
    check(
        "PREPARE s FROM @q",
        r#"Prepare { name: "s", source: Variable("q") }"#,
    );
    check(
        "EXECUTE s USING @a, @b",
        r#"Execute { name: "s", using: ["a", "b"] }"#,
    );
    check("DROP PREPARE s", r#"Deallocate("s")"#);
    check("KILL QUERY 5", "Kill { query: true, id: Number(5) }");
    check(
        "KILL CONNECTION 18446744073709551615",
        "Kill { query: false, id: Number(18446744073709551615) }",
    );
    check(
        "KILL 18446744073709551616",
        "Kill { query: false, id: Expression }",
    );
    check("KILL @x + 1", "Kill { query: false, id: Expression }");
    check("KILL ?", "Kill { query: false, id: Parameter }");
    check("KILL QUERY ?;", "Kill { query: true, id: Parameter }");
    check("KILL ? + 1", "Kill { query: false, id: Expression }");
    check("KILL", "Unknown");
}

#[test]
fn the_rest() {
    check("USE `my db`", r#"Use("my db")"#);
    check("use status", r#"Use("status")"#);
    check("EXPLAIN ROUTE SELECT 1", "ExplainRoute(14)");
    check("DESC route a", "Unknown");
    check("HANDLER q.t OPEN AS x", r#"Handler("OPEN")"#);
    check(
        "FLUSH TABLES  WITH READ LOCK",
        r#"Flush("TABLES WITH READ LOCK")"#,
    );
    check("SHOW COUNT(*) WARNINGS", "Show(CountWarnings)");
    check("SHOW WARNINGS LIMIT 5", "Show(Warnings)");
    check("SHOW FULL TABLES", "Show(Tables)");
    check("SHOW DATABASES", "Show(Schemas)");
    check("SHOW CREATE TABLE t", "Show(Other)");
    check(
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
        "Load { local: true }",
    );
    check(
        "LOAD DATA CONCURRENT INFILE 'x' INTO TABLE t",
        "Load { local: false }",
    );
    check(
        "CALL q.p(1)",
        r#"Call(TableName { schema: Some("q"), name: "p" })"#,
    );
    check("DO sleep(1)", "Do");
}

#[test]
fn what_is_not_understood_is_unknown() {
    for text in [
        "",
        ";",
        "SELECT 1",
        "SET",
        "SET a",
        "SET a=",
        "BEGIN; DROP TABLE t",
        "SET a = 'x",
        "USE a b",
        "SET GLOBAL",
        "KILL",
        "SET NAMES",
        "LOCK TABLES t",
        "COMMIT AND",
        "ROLLBACK TO",
        "\0",
        "SET a=1,",
        "SET a = )",
    ] {
        check(text, "Unknown");
    }
}

#[test]
fn escapes_of_strings() {
    let mode = LexMode::default();
    assert_eq!(
        unescape(br"'a\'b''c\\\n\t\0\%\Zx'", mode),
        b"a'b'c\\\n\t\0\\%\x1Ax"
    );
    assert_eq!(unescape(br#""a""b'c""#, mode), b"a\"b'c");
    assert_eq!(
        unescape(
            br"'a\b'",
            LexMode {
                no_backslash_escapes: true,
                ..mode
            }
        ),
        br"a\b"
    );
}
