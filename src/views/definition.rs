//! What a view stores: base table, keys, measures, and the shape of its storage table. Plain data that matching, rewriting
//! and building agree on. Never does IO and never reads SQL.
//!
//! Storage of a definition is one InnoDB table with the columns, in this order:
//! `gk BINARY(16) PRIMARY KEY` (hash of the exact key bytes), the key columns `k1..` with the types the server derives for
//! their expressions, `n BIGINT NOT NULL` (rows of the base table in this group), and one column per measure.
//! Each `Sum` has its `Count` of the same argument beside it, so that a group whose arguments are all NULL stays NULL.

use std::collections::BTreeSet;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

/// Name of the column that holds the hash of a group's exact key bytes.
pub const GROUP_KEY_COLUMN: &str = "gk";
/// Name of the column that holds COUNT(*) of a group; the column of every `CountStar`.
pub const COUNT_STAR_COLUMN: &str = "n";

/// A base table by its two names, as the server spells them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseTable {
    /// The schema that holds the table.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

/// One stored group key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyColumn {
    /// Its column in storage: `k1`, `k2` ..
    pub column: String,
    /// SQL over columns of the base table, every name in backticks and unqualified.
    pub expression: String,
}

/// The aggregate functions that can be stored and rolled up without losing a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MeasureFunction {
    /// COUNT(*). Always stored, in column `n`.
    CountStar,
    /// COUNT(argument).
    Count,
    /// SUM(argument) of an exact numeric type.
    Sum,
    /// MIN(argument).
    Min,
    /// MAX(argument).
    Max,
}

impl MeasureFunction {
    /// The SQL name of the function.
    pub fn sql(self) -> &'static str {
        match self {
            Self::CountStar | Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

/// One stored aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Measure {
    /// Its column in storage: `n` for `CountStar`, else `m1`, `m2` ..
    pub column: String,
    /// The aggregate function.
    pub function: MeasureFunction,
    /// The argument in normal-form SQL over columns of the base table; `None` only for `CountStar`.
    pub argument: Option<String>,
}

/// The session variables the expressions of a definition depend on. `None`: they do not depend on it.
/// sql_mode and the others must be the accepted set in every session that builds or matches, so they are not kept here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewEnv {
    /// `time_zone`, when a TIMESTAMP column goes through a function.
    pub time_zone: Option<String>,
    /// `collation_connection`, when an expression yields a string whose collation comes from the session.
    pub collation_connection: Option<String>,
}

/// What a view stores. Make one with [`Definition::new`]: equal contents then have equal column names and fingerprints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Definition {
    /// The one table it aggregates.
    pub base: BaseTable,
    /// Group keys, at least one.
    pub keys: Vec<KeyColumn>,
    /// Aggregates; the first is always `CountStar`.
    pub measures: Vec<Measure>,
    /// A constant WHERE kept inside the view. Always `None` now.
    pub predicate: Option<String>,
    /// The session variables its expressions depend on.
    pub env: ViewEnv,
}

impl Definition {
    /// Makes the canonical definition: keys sorted by text and unique, measures sorted and unique, `CountStar` first,
    /// a `Count` beside every `Sum`, columns numbered from 1.
    pub fn new(
        base: BaseTable,
        keys: impl IntoIterator<Item = String>,
        measures: impl IntoIterator<Item = (MeasureFunction, Option<String>)>,
        env: ViewEnv,
    ) -> Self {
        let keys: BTreeSet<String> = keys.into_iter().collect();
        let mut wanted: BTreeSet<(String, MeasureFunction)> = BTreeSet::new();
        for (function, argument) in measures {
            let Some(argument) = argument else { continue };
            if function == MeasureFunction::CountStar {
                continue;
            }
            if function == MeasureFunction::Sum {
                wanted.insert((argument.clone(), MeasureFunction::Count));
            }
            wanted.insert((argument, function));
        }
        let mut stored = vec![Measure {
            column: COUNT_STAR_COLUMN.to_owned(),
            function: MeasureFunction::CountStar,
            argument: None,
        }];
        stored.extend(
            wanted
                .into_iter()
                .enumerate()
                .map(|(at, (argument, function))| Measure {
                    column: format!("m{}", at + 1),
                    function,
                    argument: Some(argument),
                }),
        );
        Self {
            base,
            keys: keys
                .into_iter()
                .enumerate()
                .map(|(at, expression)| KeyColumn {
                    column: format!("k{}", at + 1),
                    expression,
                })
                .collect(),
            measures: stored,
            predicate: None,
            env,
        }
    }

    /// The stored key with exactly this expression.
    pub fn key(&self, expression: &str) -> Option<&KeyColumn> {
        self.keys.iter().find(|key| key.expression == expression)
    }

    /// The stored measure with exactly this function and argument.
    pub fn measure(&self, function: MeasureFunction, argument: Option<&str>) -> Option<&Measure> {
        self.measures
            .iter()
            .find(|m| m.function == function && m.argument.as_deref() == argument)
    }

    /// Whether every group and every value of `other` can be had from `self`: same table, environment and predicate, and
    /// at least its keys and measures.
    pub fn covers(&self, other: &Self) -> bool {
        self.base == other.base
            && self.env == other.env
            && self.predicate == other.predicate
            && other
                .keys
                .iter()
                .all(|key| self.key(&key.expression).is_some())
            && other
                .measures
                .iter()
                .all(|m| self.measure(m.function, m.argument.as_deref()).is_some())
    }

    /// The definition with the keys and measures of both, or `None` when table, environment or predicate differ.
    pub fn merged(&self, other: &Self) -> Option<Self> {
        let same = self.base == other.base
            && self.env == other.env
            && self.predicate == other.predicate
            && self.predicate.is_none();
        same.then(|| {
            Self::new(
                self.base.clone(),
                self.keys
                    .iter()
                    .chain(&other.keys)
                    .map(|key| key.expression.clone()),
                self.measures
                    .iter()
                    .chain(&other.measures)
                    .map(|m| (m.function, m.argument.clone())),
                self.env.clone(),
            )
        })
    }

    /// A number that is equal for equal definitions, across restarts.
    pub fn fingerprint(&self) -> u128 {
        let mut text = Vec::with_capacity(256);
        let mut put = |part: &str| {
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part.as_bytes());
        };
        put(&self.base.schema);
        put(&self.base.name);
        for key in &self.keys {
            put("key");
            put(&key.expression);
        }
        for measure in &self.measures {
            put(measure.function.sql());
            put(measure.argument.as_deref().unwrap_or("*"));
        }
        for part in [
            &self.predicate,
            &self.env.time_zone,
            &self.env.collation_connection,
        ] {
            put(if part.is_some() { "some" } else { "none" });
            put(part.as_deref().unwrap_or(""));
        }
        xxh3_128(&text)
    }
}

/// A column of a storage table as the server made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredColumn {
    /// Column name: `k1`.., `n` or `m1`..
    pub name: String,
    /// `information_schema.columns.column_type`, e.g. `decimal(37,2)`, `varchar(20)`, `enum('A','B')`.
    pub column_type: String,
    /// Character set of a string column.
    pub character_set: Option<String>,
    /// Collation of a string column.
    pub collation: Option<String>,
    /// Whether it can hold NULL.
    pub nullable: bool,
}

/// A built view as matching sees it. From which place in the binary log it may be used is the registry's business.
#[derive(Debug, Clone)]
pub struct ReadyView {
    /// The view's number; it keeps it over rebuilds.
    pub id: u64,
    /// Which build of it this is.
    pub generation: u64,
    /// The storage table, quoted for SQL: `` `tidegate`.`v1_3` ``.
    pub table_sql: Arc<str>,
    /// What it stores.
    pub definition: Arc<Definition>,
    /// The stored columns with their types (not `gk`).
    pub columns: Arc<Vec<StoredColumn>>,
    /// Columns whose values have collation-equal but byte-different variants in this build: filtering by them is exact,
    /// printing or grouping by them (or MIN/MAX of them) is not.
    pub variant_columns: Arc<Vec<String>>,
    /// Groups stored.
    pub rows: u64,
}

impl ReadyView {
    /// The stored column of this name.
    pub fn column(&self, name: &str) -> Option<&StoredColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether the column's values may not be grouped by or printed.
    pub fn has_variants(&self, column: &str) -> bool {
        self.variant_columns.iter().any(|name| name == column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BaseTable {
        BaseTable {
            schema: "shop".into(),
            name: "orders".into(),
        }
    }

    fn definition(keys: &[&str], measures: &[(MeasureFunction, Option<&str>)]) -> Definition {
        Definition::new(
            base(),
            keys.iter().map(|key| (*key).to_owned()),
            measures
                .iter()
                .map(|(function, argument)| (*function, argument.map(str::to_owned))),
            ViewEnv::default(),
        )
    }

    #[test]
    fn order_of_parts_does_not_matter() {
        use MeasureFunction::*;
        let one = definition(&["`b`", "`a`"], &[(Sum, Some("`x`")), (CountStar, None)]);
        let two = definition(&["`a`", "`b`", "`a`"], &[(Sum, Some("`x`"))]);
        assert_eq!(one, two);
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_eq!(
            one.measure(Count, Some("`x`")).map(|m| m.column.as_str()),
            Some("m1")
        );
        assert_eq!(
            one.measure(Sum, Some("`x`")).map(|m| m.column.as_str()),
            Some("m2")
        );
    }

    #[test]
    fn fingerprints_separate_what_differs() {
        use MeasureFunction::*;
        let all = [
            definition(&["`a`"], &[]),
            definition(&["`a`", "`b`"], &[]),
            definition(&["`a`"], &[(Count, Some("`b`"))]),
            definition(&["`a`"], &[(Min, Some("`b`"))]),
            definition(&["`a`"], &[(Max, Some("`b`"))]),
        ];
        let seen: BTreeSet<u128> = all.iter().map(Definition::fingerprint).collect();
        assert_eq!(seen.len(), all.len());
    }

    #[test]
    fn a_merge_covers_both() {
        use MeasureFunction::*;
        let one = definition(&["`a`"], &[(Sum, Some("`x`"))]);
        let two = definition(&["`b`"], &[(Max, Some("`y`"))]);
        let both = one.merged(&two).unwrap();
        assert!(both.covers(&one) && both.covers(&two));
        assert!(!one.covers(&two) && !one.covers(&both));
    }
}
