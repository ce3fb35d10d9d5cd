//! Golden SQL of storage tables and chunks.

use super::*;
use crate::views::definition::ViewEnv;

fn column(name: &str, kind: &str, collation: Option<&str>, nullable: bool) -> StoredColumn {
    StoredColumn {
        name: name.into(),
        column_type: kind.into(),
        character_set: collation.map(|c| c.split('_').next().unwrap_or_default().to_owned()),
        collation: collation.map(str::to_owned),
        nullable,
    }
}

fn definition() -> Definition {
    use MeasureFunction::*;
    Definition::new(
        BaseTable {
            schema: "shop".into(),
            name: "or`ders".into(),
        },
        [
            "DATE(`at`)".to_owned(),
            "`kind`".to_owned(),
            "`region`".to_owned(),
        ],
        [
            (Sum, Some("`amount`".to_owned())),
            (Max, Some("`amount`".to_owned())),
            (Min, Some("`amount`".to_owned())),
        ],
        ViewEnv::default(),
    )
}

fn columns() -> Vec<StoredColumn> {
    vec![
        column("k1", "date", None, true),
        column("k2", "enum('A','it''s')", Some("utf8mb4_0900_ai_ci"), false),
        column("k3", "varchar(20)", Some("latin1_swedish_ci"), true),
        column("n", "bigint", None, false),
        column("m1", "bigint", None, false),
        column("m2", "decimal(37,2)", None, true),
        column("m3", "decimal(15,2)", None, true),
        column("m4", "decimal(15,2)", None, true),
    ]
}

#[test]
fn storage_names_read_back() {
    assert_eq!(storage_sql("tide`gate", 7, 12), "`tide``gate`.`v7_12`");
    assert_eq!(parse_storage_name("v7_12"), Some((7, 12)));
    for other in [
        "views",
        "v_1",
        "v1_",
        "v1_2x",
        "v+1_2",
        "x1_2",
        "v99999999999999999999_1",
    ] {
        assert_eq!(parse_storage_name(other), None, "{other}");
    }
}

#[test]
fn literals_are_quoted() {
    assert_eq!(literal("it's \\ fine"), "'it''s \\\\ fine'");
}

#[test]
fn probe() {
    insta::assert_snapshot!(probe_sql(&definition(), "`tidegate`.`p`"), @r"CREATE TEMPORARY TABLE `tidegate`.`p` (`gk` BINARY(16) NOT NULL DEFAULT '', PRIMARY KEY (`gk`)) AS SELECT DATE(`at`) AS `k1`, `kind` AS `k2`, `region` AS `k3`, COUNT(*) AS `n`, COUNT(`amount`) AS `m1`, SUM(`amount`) AS `m2`, MIN(`amount`) AS `m3`, MAX(`amount`) AS `m4` FROM `shop`.`or``ders` WHERE FALSE GROUP BY DATE(`at`), `kind`, `region`");
}

#[test]
fn create() {
    insta::assert_snapshot!(create_sql(&definition(), &columns(), "`tidegate`.`v1_1`"), @r"
CREATE TABLE `tidegate`.`v1_1` (
  `gk` BINARY(16) NOT NULL,
  `k1` date NULL,
  `k2` enum('A','it''s') CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci NOT NULL,
  `k3` varchar(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci NULL,
  `n` bigint NOT NULL,
  `m1` bigint NOT NULL,
  `m2` decimal(37,2) NOT NULL,
  `m3` decimal(15,2) NULL,
  `m4` decimal(15,2) NULL,
  PRIMARY KEY (`gk`),
  KEY `k1` (`k1`)
) ENGINE=InnoDB COMMENT='Tidegate view storage, made and dropped by the proxy'
");
}

#[test]
fn chunk() {
    let sql = chunk_sql(
        &definition(),
        &columns(),
        "`tidegate`.`v1_1`",
        "`id` > 5 AND `id` <= 10",
    );
    insta::assert_snapshot!(sql, @r"
INSERT INTO `tidegate`.`v1_1` (`gk`, `k1`, `k2`, `k3`, `n`, `m1`, `m2`, `m3`, `m4`)
SELECT UNHEX(LEFT(SHA2(CONCAT(IFNULL(CONCAT('v', LENGTH(CAST(d.`k1` AS BINARY)), ':', CAST(d.`k1` AS BINARY)), 'n'), IFNULL(CONCAT('v', LENGTH(CAST(CAST(d.`k2` AS UNSIGNED) AS BINARY)), ':', CAST(CAST(d.`k2` AS UNSIGNED) AS BINARY)), 'n'), IFNULL(CONCAT('v', LENGTH(CAST(d.`k3` AS BINARY)), ':', CAST(d.`k3` AS BINARY)), 'n')), 256), 32)), d.`k1`, d.`k2`, d.`k3`, d.`n`, d.`m1`, d.`m2`, d.`m3`, d.`m4`
FROM (SELECT DATE(`at`) AS `k1`, `kind` AS `k2`, `region` AS `k3`, COUNT(*) AS `n`, COUNT(`amount`) AS `m1`, IFNULL(SUM(`amount`), 0) AS `m2`, MIN(`amount`) AS `m3`, MAX(`amount`) AS `m4` FROM `shop`.`or``ders` FORCE INDEX (PRIMARY) WHERE `id` > 5 AND `id` <= 10 GROUP BY DATE(`at`), `kind`, `region`, CAST(`region` AS BINARY)) AS d
ON DUPLICATE KEY UPDATE `n` = `tidegate`.`v1_1`.`n` + d.`n`, `m1` = `tidegate`.`v1_1`.`m1` + d.`m1`, `m2` = `tidegate`.`v1_1`.`m2` + d.`m2`, `m3` = CASE WHEN `tidegate`.`v1_1`.`m3` IS NULL OR d.`m3` < `tidegate`.`v1_1`.`m3` THEN d.`m3` ELSE `tidegate`.`v1_1`.`m3` END, `m4` = CASE WHEN `tidegate`.`v1_1`.`m4` IS NULL OR d.`m4` > `tidegate`.`v1_1`.`m4` THEN d.`m4` ELSE `tidegate`.`v1_1`.`m4` END
");
}

#[test]
fn a_chunk_without_keys_adds_nothing_for_no_rows() {
    let whole = Definition::new(
        definition().base,
        [],
        [(MeasureFunction::Count, Some("`x`".to_owned()))],
        ViewEnv::default(),
    );
    insta::assert_snapshot!(chunk_sql(&whole, &[], "`t`.`v`", ""), @r"
INSERT INTO `t`.`v` (`gk`, `n`, `m1`)
SELECT UNHEX(LEFT(SHA2('', 256), 32)), d.`n`, d.`m1`
FROM (SELECT COUNT(*) AS `n`, COUNT(`x`) AS `m1` FROM `shop`.`or``ders` FORCE INDEX (PRIMARY) HAVING COUNT(*) > 0) AS d
ON DUPLICATE KEY UPDATE `n` = `t`.`v`.`n` + d.`n`, `m1` = `t`.`v`.`m1` + d.`m1`
");
}

#[test]
fn variants() {
    insta::assert_snapshot!(variants_sql("`tidegate`.`v1_1`", "k3"), @r"SELECT COUNT(*) FROM (SELECT 1 FROM `tidegate`.`v1_1` WHERE `k3` IS NOT NULL GROUP BY `k3` HAVING COUNT(DISTINCT CAST(`k3` AS BINARY)) > 1) AS d");
    assert!(can_have_variants(&column(
        "k",
        "varchar(3)",
        Some("utf8mb4_bin"),
        true
    )));
    assert!(!can_have_variants(&column(
        "k",
        "varchar(3)",
        Some("utf8mb4_0900_bin"),
        true
    )));
    assert!(!can_have_variants(&column(
        "k",
        "enum('a')",
        Some("utf8mb4_0900_ai_ci"),
        true
    )));
    assert!(!can_have_variants(&column("k", "varbinary(3)", None, true)));
}

#[test]
fn copies_cover_every_hash_once() {
    assert_eq!(group_key_ranges(0), ["TRUE"]);
    assert_eq!(group_key_ranges(1), ["TRUE"]);
    assert_eq!(
        group_key_ranges(3),
        [
            "`gk` < X'5555'",
            "`gk` >= X'5555' AND `gk` < X'AAAA'",
            "`gk` >= X'AAAA'"
        ]
    );
    assert_eq!(group_key_ranges(1 << 40).len(), 65_536);
    assert_eq!(
        copy_sql("`t`.`p`", "`t`.`v1_1`", "`gk` < X'55'"),
        "INSERT INTO `t`.`v1_1` SELECT * FROM `t`.`p` WHERE `gk` < X'55'"
    );
}

#[test]
fn staging_is_temporary_and_has_no_index_but_the_hash() {
    let sql = create_stage_sql(&definition(), &columns(), "`tidegate`.`p`");
    assert!(sql.starts_with("CREATE TEMPORARY TABLE `tidegate`.`p` (\n  `gk` BINARY(16) NOT NULL"));
    assert!(sql.ends_with("PRIMARY KEY (`gk`)\n) ENGINE=InnoDB"));
}
