//! Makes the sample schema and its rows inside MySQL, in blocks, with a progress line for each part.

use std::time::Instant;

use mysql_async::prelude::Queryable;

use crate::support::MySql;
use crate::{SCHEMA, say};

/// Rows of one run of generate.sql.
pub const BLOCK: u64 = 100_000;
/// Rows of the fact table unless DEMO_ROWS says otherwise.
pub const ROWS: u64 = 2_000_000;
/// Sum of all amounts at [`ROWS`] rows: the data is the same on every machine, or the demo says so.
const SUM_AT_ROWS: &str = "50109655438.47";

/// Makes everything. The bulk of the rows is not written to the binary log: nobody follows it yet, and it would double the work.
pub async fn load(mysql: &MySql, rows: u64) {
    mysql.run(&format!("CREATE DATABASE {SCHEMA}"));
    let mut conn = mysql.connect_root().await;
    let mut run = async |text: &str| {
        for statement in statements(text) {
            conn.query_drop(&statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}\nfailed: {error}"));
        }
    };
    run(&format!("USE {SCHEMA}; SET sql_log_bin = 0")).await;
    run(include_str!("schema.sql")).await;
    run(include_str!("masters.sql")).await;
    say(&format!(
        "schema {SCHEMA} made; generating {rows} financial transactions over 36 months"
    ));
    let start = Instant::now();
    let blocks = rows / BLOCK;
    for block in 0..blocks {
        run(&format!("SET @block = {block}")).await;
        run(include_str!("generate.sql")).await;
        let (done, elapsed) = (block + 1, start.elapsed().as_secs_f64());
        if done % 4 == 0 || done == blocks {
            let left = elapsed / done as f64 * (blocks - done) as f64;
            say(&format!(
                "  {:3} % loaded, about {left:.0} s left",
                done * 100 / blocks
            ));
        }
    }
    run("ANALYZE TABLE financial_transactions; SET sql_log_bin = 1").await;
    if rows == ROWS {
        let sum = mysql.run(&format!(
            "SELECT SUM(amount) FROM {SCHEMA}.financial_transactions"
        ));
        assert_eq!(
            sum.trim(),
            SUM_AT_ROWS,
            "the generated data is not what it is on other machines"
        );
    }
}

/// The statements of a file: split at `;` at the end of a line or of the text, without comment lines.
fn statements(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split(';')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}
