//! Building views on a real server: what is stored equals what one GROUP BY over the base table gives.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tidegate::views::build::{self, Limits, Order, Progress};
use tidegate::views::connection::{ChunkReads, Link, ViewsError};
use tidegate::views::definition::{BaseTable, Definition, MeasureFunction, ViewEnv};
use tidegate::views::keyset::{KeyPart, Keyset};

use crate::support::MySql;
use crate::support::mysql::cells;

/// A table with everything that makes exactness hard: NULL keys, equal texts of other bytes, ENUM, a composite text key,
/// timestamps that the session's time zone would fold together.
async fn hard_table(conn: &mut mysql_async::Conn, rows: u32) {
    conn.query_drop(
        "CREATE TABLE hard (a VARCHAR(12) COLLATE utf8mb4_0900_ai_ci NOT NULL, b INT NOT NULL, c DATE NOT NULL,
           kind ENUM('b','a','c') NULL, word VARCHAR(9) COLLATE utf8mb4_general_ci NULL, raw VARBINARY(9) NULL,
           at TIMESTAMP NULL, dt DATETIME(3) NULL, amount DECIMAL(15,2) NULL, units INT NOT NULL, PRIMARY KEY (a, b, c))",
    )
    .await
    .unwrap();
    conn.query_drop("SET SESSION cte_max_recursion_depth=1000000, time_zone='+00:00'")
        .await
        .unwrap();
    conn.query_drop(format!(
        "INSERT INTO hard
         WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         SELECT CONCAT('k', i % 97), i, DATE '2026-01-01' + INTERVAL i % 50 DAY,
           ELT(1 + i % 4, 'a', 'b', 'c', NULL), ELT(1 + i % 5, 'x', 'X', 'x ', NULL, 'ü'), ELT(1 + i % 3, 'r', 'r ', NULL),
           TIMESTAMP '2026-10-25 00:30:00' + INTERVAL i % 4 HOUR,
           TIMESTAMP '2026-01-01 23:59:59.999' + INTERVAL i % 400 HOUR,
           IF(i % 7 = 0, NULL, (i % 1000) / 100 - 3), i % 11 - 5
         FROM n"
    ))
    .await
    .unwrap();
}

fn definition(schema: &str, keys: &[&str]) -> Definition {
    use MeasureFunction::*;
    let measures: [(MeasureFunction, Option<&str>); 6] = [
        (CountStar, None),
        (Count, Some("`word`")),
        (Sum, Some("`amount`")),
        (Sum, Some("CASE WHEN `kind` = 'a' THEN `amount` ELSE 0 END")),
        (Min, Some("`dt`")),
        (Max, Some("`units`")),
    ];
    Definition::new(
        BaseTable {
            schema: schema.to_owned(),
            name: "hard".to_owned(),
        },
        keys.iter().map(|key| (*key).to_owned()),
        measures
            .iter()
            .map(|(function, argument)| (*function, argument.map(str::to_owned))),
        ViewEnv::default(),
    )
}

fn limits(reads: ChunkReads) -> Limits {
    Limits {
        rows_max: 1_000_000,
        ratio_max: 1.0,
        chunk_target: Duration::from_millis(10),
        reads,
    }
}

fn keyset() -> Keyset {
    let part = |column, data_type, character_set| KeyPart {
        column,
        data_type,
        character_set,
    };
    Keyset::new(&[
        part("a", "varchar", Some("utf8mb4")),
        part("b", "int", None),
        part("c", "date", None),
    ])
    .unwrap()
}

async fn build(
    server: &MySql,
    definition: &Definition,
    table: &str,
    limits: Limits,
    watch: &(dyn Fn() -> Result<(), ViewsError> + Sync),
) -> Result<(build::Built, Progress), ViewsError> {
    let mut link = Link::new(server.connect("").await);
    let keyset = keyset();
    let order = Order {
        definition,
        keyset: &keyset,
        table,
        probe_table: &format!("`{}`.`probe`", definition.base.schema),
        base_rows_estimated: 30_000,
        limits,
    };
    let progress = Progress::default();
    build::build(&mut link, &order, &progress, watch)
        .await
        .map(|built| (built, progress))
}

#[tokio::test]
async fn chunks_add_up_to_one_group_by() {
    let server = MySql::shared();
    let schema = server.schema("build");
    let mut conn = server.connect(&schema).await;
    hard_table(&mut conn, 30_000).await;
    for (at, reads) in [ChunkReads::Unlocked, ChunkReads::Locking]
        .into_iter()
        .enumerate()
    {
        let keys = ["DATE(`dt`)", "`kind`", "`word`", "`raw`", "`at`"];
        let definition = definition(&schema, &keys);
        let table = format!("`{schema}`.`v1_{at}`");
        let (built, progress) = build(server, &definition, &table, limits(reads), &|| Ok(()))
            .await
            .unwrap();
        assert!(progress.chunks.into_inner() > 5);
        assert_eq!(built.base_rows, 30_000);
        let keys: Vec<String> = definition
            .keys
            .iter()
            .map(|k| k.expression.clone())
            .collect();
        let direct = cells(
            &mut conn,
            &format!(
                "SELECT {0}, HEX(`word`), COUNT(*), COUNT(`word`), SUM(`amount`),
                   SUM(CASE WHEN `kind` = 'a' THEN `amount` ELSE 0 END), MIN(`dt`), MAX(`units`)
                 FROM hard GROUP BY {0}, HEX(`word`)",
                keys.join(", ")
            ),
        )
        .await
        .unwrap();
        let column = |function, argument: Option<&str>| {
            definition
                .measure(function, argument)
                .unwrap()
                .column
                .clone()
        };
        use MeasureFunction::*;
        let stored = cells(
            &mut conn,
            &format!(
                "SELECT {}, HEX(`{}`), n, {}, IF({}, {}, NULL), {}, {}, {} FROM {table}",
                definition
                    .keys
                    .iter()
                    .map(|k| k.column.clone())
                    .collect::<Vec<_>>()
                    .join(", "),
                definition.key("`word`").unwrap().column,
                column(Count, Some("`word`")),
                column(Count, Some("`amount`")),
                column(Sum, Some("`amount`")),
                column(Sum, Some("CASE WHEN `kind` = 'a' THEN `amount` ELSE 0 END")),
                column(Min, Some("`dt`")),
                column(Max, Some("`units`")),
            ),
        )
        .await
        .unwrap();
        let sorted = |mut rows: Vec<Vec<Option<Vec<u8>>>>| {
            rows.sort();
            rows
        };
        assert_eq!(direct.len() as u64, built.rows);
        assert_eq!(sorted(direct), sorted(stored));
        let word = definition.key("`word`").unwrap().column.clone();
        assert_eq!(
            built.variant_columns,
            [word],
            "x, X and x-blank are equal but not the same"
        );
    }
}
