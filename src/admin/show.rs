//! SHOW and DESCRIBE as queries over information_schema, with the columns that MySQL gives them.
//! Writes SQLite's dialect; only a client's WHERE goes through `dialect`.

use super::catalog::{self, SCHEMA};
use super::context::Context;
use super::dialect::{self, Rewritten};
use super::error::Error;
use super::information_schema;
use super::lexer::Kind;
use super::statement::{Source, schema};

/// A string as SQLite reads it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn plain(sql: String) -> Rewritten {
    Rewritten {
        sql,
        names: Vec::new(),
        parameters: 0,
    }
}

/// `LIKE 'pattern'` or `WHERE condition` at the end of a SHOW, over the rows of `select`; `column` is what LIKE looks at.
fn filtered(
    select: &str,
    column: &str,
    source: Source<'_>,
    at: usize,
    context: &Context,
) -> Result<Rewritten, Error> {
    if source.words(at, &["LIKE"]) {
        let token = source
            .tokens
            .get(at + 1)
            .ok_or_else(|| source.syntax(at + 1))?;
        let Kind::Text(pattern) = &token.kind else {
            return Err(source.syntax(at + 1));
        };
        source.end(at + 2)?;
        let pattern = quoted(pattern);
        return Ok(plain(format!(
            "SELECT * FROM ({select}) WHERE `{column}` LIKE {pattern}"
        )));
    }
    if source.words(at, &["WHERE"]) {
        let condition = dialect::rewrite(source.text, &source.tokens[at..], context)?;
        return Ok(Rewritten {
            sql: format!("SELECT * FROM ({select}) {}", condition.sql),
            names: Vec::new(),
            parameters: condition.parameters,
        });
    }
    source.end(at)?;
    Ok(plain(select.to_owned()))
}

/// `FROM name` or `IN name`: the name and the place behind it.
fn from_name<'a>(source: Source<'a>, at: usize) -> Result<Option<(&'a str, usize)>, Error> {
    if !source.one_of(at, &["FROM", "IN"]) {
        return Ok(None);
    }
    let name = source.name(at + 1).ok_or_else(|| source.syntax(at + 1))?;
    Ok(Some((name, at + 2)))
}

/// A schema named by FROM or IN at `at`, else the default; and the place behind it.
fn from_schema(
    source: Source<'_>,
    at: usize,
    context: &Context,
) -> Result<(&'static str, usize), Error> {
    match from_name(source, at)? {
        Some((name, after)) => Ok((schema(name)?, after)),
        None => Ok((context.schema, at)),
    }
}

/// `[schema.]table` at `at`, with the schema that may follow by FROM; and the place behind it.
fn table(
    source: Source<'_>,
    at: usize,
    context: &Context,
) -> Result<(&'static catalog::Table, usize), Error> {
    let first = source.name(at).ok_or_else(|| source.syntax(at))?;
    let (schema_name, name, after) = if source.mark(at + 1, ".") {
        let name = source.name(at + 2).ok_or_else(|| source.syntax(at + 2))?;
        (schema(first)?, name, at + 3)
    } else {
        let (schema, after) = from_schema(source, at + 1, context)?;
        (schema, first, after)
    };
    let found = catalog::find(schema_name, name);
    let table = found.ok_or_else(|| Error::UnknownTable(format!("{schema_name}.{name}")))?;
    Ok((table, after))
}

/// `DESCRIBE t [column | 'pattern']`, from its second token on.
///
/// # Errors
/// `UnknownTable`, `UnknownDatabase`, `Syntax`.
pub fn describe(source: Source<'_>, context: &Context) -> Result<Rewritten, Error> {
    let (table, after) = table(source, 1, context)?;
    let select = columns_of(table, false);
    let Some(token) = source.tokens.get(after) else {
        return Ok(plain(select));
    };
    let pattern = token
        .name_or_text(source.text)
        .ok_or_else(|| source.syntax(after))?;
    source.end(after + 1)?;
    let pattern = quoted(pattern);
    Ok(plain(format!(
        "SELECT * FROM ({select}) WHERE `Field` LIKE {pattern}"
    )))
}

fn columns_of(table: &catalog::Table, full: bool) -> String {
    let (collation, rest) = if full {
        (
            "COLLATION_NAME AS `Collation`, ",
            ", PRIVILEGES AS `Privileges`, COLUMN_COMMENT AS `Comment`",
        )
    } else {
        ("", "")
    };
    format!(
        "SELECT COLUMN_NAME AS `Field`, COLUMN_TYPE AS `Type`, {collation}IS_NULLABLE AS `Null`, COLUMN_KEY AS `Key`, \
         COLUMN_DEFAULT AS `Default`, EXTRA AS `Extra`{rest} FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{}'",
        table.schema, table.name
    )
}

/// Every SHOW that clients and people send to look around.
///
/// # Errors
/// `Unsupported` for the others; `UnknownTable`, `UnknownDatabase` and `Syntax` as in MySQL.
pub fn show(source: Source<'_>, context: &Context) -> Result<Rewritten, Error> {
    // Words that only choose a variant: FULL is remembered, scopes change nothing here.
    let full = source.words(1, &["FULL"]) || source.words(1, &["EXTENDED", "FULL"]);
    let mut at = 1;
    while source.one_of(
        at,
        &["FULL", "EXTENDED", "SESSION", "GLOBAL", "LOCAL", "STORAGE"],
    ) {
        at += 1;
    }
    let kind = source.raw(at).to_ascii_uppercase();
    let after = at + 1;
    match kind.as_str() {
        "DATABASES" | "SCHEMAS" => {
            let select = "SELECT SCHEMA_NAME AS `Database` FROM information_schema.SCHEMATA";
            filtered(select, "Database", source, after, context)
        }
        "TABLES" => tables(source, after, full, context),
        "COLUMNS" | "FIELDS" => {
            let start = after + usize::from(source.one_of(after, &["FROM", "IN"]));
            let (table, after) = table(source, start, context)?;
            filtered(&columns_of(table, full), "Field", source, after, context)
        }
        "TABLE" if source.words(after, &["STATUS"]) => table_status(source, after + 1, context),
        "CREATE" => create(source, after, context),
        "INDEX" | "INDEXES" | "KEYS" => {
            let start = after + usize::from(source.one_of(after, &["FROM", "IN"]));
            let (_, after) = table(source, start, context)?;
            filtered(INDEXES, "Key_name", source, after, context)
        }
        "VARIABLES" => filtered(&variables(context), "Variable_name", source, after, context),
        "STATUS" => filtered(STATUS, "Variable_name", source, after, context),
        "PROCESSLIST" => filtered(PROCESSLIST, "Id", source, after, context),
        "WARNINGS" | "ERRORS" => Ok(plain(warnings(context))),
        _ => fixed(&kind, source, after, context),
    }
}

fn tables(
    source: Source<'_>,
    at: usize,
    full: bool,
    context: &Context,
) -> Result<Rewritten, Error> {
    let (schema, after) = from_schema(source, at, context)?;
    let name = format!("Tables_in_{schema}");
    let kind = if full {
        ", TABLE_TYPE AS `Table_type`"
    } else {
        ""
    };
    let select = format!(
        "SELECT TABLE_NAME AS `{name}`{kind} FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = '{schema}' ORDER BY TABLE_NAME"
    );
    let mut rewritten = filtered(&select, &name, source, after, context)?;
    if source.words(after, &["LIKE"])
        && let Some(Kind::Text(pattern)) = source.tokens.get(after + 1).map(|token| &token.kind)
    {
        let shown = format!("{name} ({pattern})");
        rewritten.names.push((name, shown));
    }
    Ok(rewritten)
}

fn table_status(source: Source<'_>, at: usize, context: &Context) -> Result<Rewritten, Error> {
    let (schema, after) = from_schema(source, at, context)?;
    let select = format!(
        "SELECT TABLE_NAME AS `Name`, ENGINE AS `Engine`, VERSION AS `Version`, ROW_FORMAT AS `Row_format`, \
         TABLE_ROWS AS `Rows`, AVG_ROW_LENGTH AS `Avg_row_length`, DATA_LENGTH AS `Data_length`, \
         MAX_DATA_LENGTH AS `Max_data_length`, INDEX_LENGTH AS `Index_length`, DATA_FREE AS `Data_free`, \
         AUTO_INCREMENT AS `Auto_increment`, CREATE_TIME AS `Create_time`, UPDATE_TIME AS `Update_time`, \
         CHECK_TIME AS `Check_time`, TABLE_COLLATION AS `Collation`, CHECKSUM AS `Checksum`, \
         CREATE_OPTIONS AS `Create_options`, TABLE_COMMENT AS `Comment` \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{schema}' ORDER BY TABLE_NAME"
    );
    filtered(&select, "Name", source, after, context)
}

fn create(source: Source<'_>, at: usize, context: &Context) -> Result<Rewritten, Error> {
    match source.raw(at).to_ascii_uppercase().as_str() {
        "TABLE" => {
            let (table, after) = table(source, at + 1, context)?;
            source.end(after)?;
            Ok(plain(format!(
                "SELECT {} AS `Table`, {} AS `Create Table`",
                quoted(table.name),
                quoted(&information_schema::create_table(table))
            )))
        }
        "DATABASE" | "SCHEMA" => {
            let name = schema(source.name(at + 1).ok_or_else(|| source.syntax(at + 1))?)?;
            source.end(at + 2)?;
            Ok(plain(format!(
                "SELECT '{name}' AS `Database`, \
                 'CREATE DATABASE `{name}` /*!40100 DEFAULT CHARACTER SET utf8mb4 */' AS `Create Database`"
            )))
        }
        _ => Err(source.syntax(at)),
    }
}

/// SHOW of what has a fixed list here, most of them empty.
fn fixed(
    kind: &str,
    source: Source<'_>,
    after: usize,
    context: &Context,
) -> Result<Rewritten, Error> {
    let (select, column) = match kind {
        "ENGINES" => (
            "SELECT ENGINE AS `Engine`, SUPPORT AS `Support`, COMMENT AS `Comment`, \
             TRANSACTIONS AS `Transactions`, XA AS `XA`, SAVEPOINTS AS `Savepoints` FROM information_schema.ENGINES",
            "Engine",
        ),
        "COLLATION" => (
            "SELECT COLLATION_NAME AS `Collation`, CHARACTER_SET_NAME AS `Charset`, ID AS `Id`, \
             IS_DEFAULT AS `Default`, IS_COMPILED AS `Compiled`, SORTLEN AS `Sortlen`, \
             PAD_ATTRIBUTE AS `Pad_attribute` FROM information_schema.COLLATIONS",
            "Collation",
        ),
        "CHARSET" | "CHARACTER" => (
            "SELECT CHARACTER_SET_NAME AS `Charset`, DESCRIPTION AS `Description`, \
             DEFAULT_COLLATE_NAME AS `Default collation`, MAXLEN AS `Maxlen` FROM information_schema.CHARACTER_SETS",
            "Charset",
        ),
        "PLUGINS" => (
            "SELECT PLUGIN_NAME AS `Name`, PLUGIN_STATUS AS `Status`, PLUGIN_TYPE AS `Type`, \
             PLUGIN_LIBRARY AS `Library`, PLUGIN_LICENSE AS `License` FROM information_schema.PLUGINS",
            "Name",
        ),
        "TRIGGERS" => (
            "SELECT TRIGGER_NAME AS `Trigger`, EVENT_MANIPULATION AS `Event`, EVENT_OBJECT_TABLE AS `Table`, \
             ACTION_STATEMENT AS `Statement`, ACTION_TIMING AS `Timing`, CREATED AS `Created` \
             FROM information_schema.TRIGGERS",
            "Table",
        ),
        "EVENTS" => (
            "SELECT EVENT_SCHEMA AS `Db`, EVENT_NAME AS `Name`, DEFINER AS `Definer`, STATUS AS `Status` \
             FROM information_schema.EVENTS",
            "Name",
        ),
        "PROCEDURE" | "FUNCTION" if source.words(after, &["STATUS"]) => (
            "SELECT ROUTINE_SCHEMA AS `Db`, ROUTINE_NAME AS `Name`, ROUTINE_TYPE AS `Type`, DEFINER AS `Definer`, \
             LAST_ALTERED AS `Modified`, CREATED AS `Created`, SECURITY_TYPE AS `Security_type`, \
             ROUTINE_COMMENT AS `Comment` FROM information_schema.ROUTINES",
            "Name",
        ),
        "GRANTS" => {
            let select = format!(
                "SELECT 'GRANT SELECT ON `{SCHEMA}`.* TO current_user' AS `Grants for {}`",
                context.identity.user.replace('`', "")
            );
            return Ok(plain(select));
        }
        _ => return Err(Error::Unsupported(format!("SHOW {kind}"))),
    };
    let mut at = after + usize::from(source.one_of(after, &["SET", "STATUS"]));
    if matches!(kind, "TRIGGERS" | "EVENTS") {
        at = from_schema(source, at, context)?.1;
    }
    filtered(select, column, source, at, context)
}

fn warnings(context: &Context) -> String {
    match &context.last_error {
        Some((number, text)) => format!(
            "SELECT 'Error' AS `Level`, {number} AS `Code`, {} AS `Message`",
            quoted(text)
        ),
        None => "SELECT '' AS `Level`, 0 AS `Code`, '' AS `Message` WHERE 0".to_owned(),
    }
}

fn variables(context: &Context) -> String {
    let rows: Vec<String> = context
        .variables()
        .iter()
        .map(|(name, value)| format!("({},{})", quoted(name), quoted(value)))
        .collect();
    format!(
        "SELECT column1 AS `Variable_name`, column2 AS `Value` FROM (VALUES {})",
        rows.join(",")
    )
}

const INDEXES: &str = "SELECT TABLE_NAME AS `Table`, NON_UNIQUE AS `Non_unique`, INDEX_NAME AS `Key_name`, \
    SEQ_IN_INDEX AS `Seq_in_index`, COLUMN_NAME AS `Column_name`, COLLATION AS `Collation`, \
    CARDINALITY AS `Cardinality`, SUB_PART AS `Sub_part`, PACKED AS `Packed`, NULLABLE AS `Null`, \
    INDEX_TYPE AS `Index_type`, COMMENT AS `Comment`, INDEX_COMMENT AS `Index_comment`, \
    IS_VISIBLE AS `Visible`, EXPRESSION AS `Expression` FROM information_schema.STATISTICS";

const STATUS: &str = "SELECT 'Questions' AS `Variable_name`, \
    (SELECT CAST(COALESCE(SUM(executions), 0) AS TEXT) FROM tidegate.queries) AS `Value` \
    UNION ALL SELECT 'Ssl_cipher', '' \
    UNION ALL SELECT 'Threads_connected', (SELECT CAST(COUNT(*) AS TEXT) FROM tidegate.sessions) \
    UNION ALL SELECT 'Threads_running', \
    (SELECT CAST(COUNT(*) AS TEXT) FROM tidegate.sessions WHERE state = 'running')";

const PROCESSLIST: &str = "SELECT id AS `Id`, user AS `User`, client AS `Host`, schema_name AS `db`, \
    CASE state WHEN 'running' THEN 'Query' ELSE 'Sleep' END AS `Command`, state_ms / 1000 AS `Time`, \
    state AS `State`, NULL AS `Info` FROM tidegate.sessions";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::statement::{Plan, plan};

    fn sql(text: &str) -> Result<String, Error> {
        match plan(text, &Context::for_tests())? {
            Plan::Query(rewritten) => Ok(rewritten.sql),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn filters_are_put_around() {
        let text = sql("SHOW TABLES FROM tidegate LIKE 'q%'").unwrap();
        assert!(
            text.ends_with("WHERE `Tables_in_tidegate` LIKE 'q%'"),
            "{text}"
        );
        let text = sql("show variables where Variable_name = \"autocommit\"").unwrap();
        assert!(
            text.ends_with("where Variable_name = 'autocommit'"),
            "{text}"
        );
        assert!(text.contains("('autocommit','ON')"), "{text}");
    }

    #[test]
    fn names_are_checked_before_they_are_used() {
        assert_eq!(sql("show tables from shop").unwrap_err().number(), 1049);
        assert_eq!(sql("describe nothing").unwrap_err().number(), 1146);
        assert_eq!(
            sql("show columns from queries from `mysql`")
                .unwrap_err()
                .number(),
            1049
        );
        assert_eq!(sql("show replicas").unwrap_err().number(), 1235);
        assert_eq!(sql("show tables likes 'x'").unwrap_err().number(), 1064);
        assert_eq!(sql("show tables like x").unwrap_err().number(), 1064);
        assert!(sql("desc tidegate.`queries`").is_ok());
        assert!(sql("show create table information_schema.tables").is_ok());
    }
}
