//! Why a statement is not answered from a view: one stable label per rule. Decides nothing itself.

use std::fmt;

use crate::sql::env::EnvRefusal;

macro_rules! refusals {
    ($($name:ident $label:literal $help:literal,)*) => {
        /// A rule that keeps a statement on the base tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Refusal {
            /// The session's environment is not the one in which rewrites were measured.
            Environment(EnvRefusal),
            $(#[doc = $help] $name,)*
        }

        impl Refusal {
            /// Every rule of this room; those of the environment have labels of their own.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)*];

            /// The stable name of the rule, for metrics, admin tables and EXPLAIN ROUTE.
            pub fn label(self) -> &'static str {
                match self {
                    Self::Environment(refusal) => refusal.label(),
                    $(Self::$name => $label,)*
                }
            }

            /// One sentence for people.
            pub fn help(self) -> &'static str {
                match self {
                    Self::Environment(_) => "A session variable is not at the value rewrites were measured with.",
                    $(Self::$name => $help,)*
                }
            }
        }
    };
}

refusals! {
    NotSelect "not_select" "The statement is not a SELECT of the understood form.",
    SetOperation "set_operation" "UNION, INTERSECT, EXCEPT or a parenthesised SELECT.",
    CommonTable "common_table" "A WITH clause.",
    Distinct "select_distinct" "SELECT DISTINCT.",
    Modifier "select_modifier" "A SELECT modifier such as SQL_CALC_FOUND_ROWS or STRAIGHT_JOIN.",
    Into "select_into" "SELECT .. INTO.",
    LockingRead "locking_read" "FOR UPDATE or FOR SHARE.",
    Hint "hint" "An optimizer hint or a version comment.",
    IndexHint "index_hint" "USE, FORCE or IGNORE INDEX.",
    PartitionSelection "partition_selection" "PARTITION (..) in FROM.",
    NoTable "no_table" "No table in FROM.",
    Join "join" "More than one table.",
    DerivedTable "derived_table" "FROM reads something other than a named table.",
    SystemTable "system_table" "A table of the server itself.",
    NotBaseTable "not_base_table" "An SQL view.",
    NotInnoDb "not_innodb" "The table is not InnoDB.",
    NoPrimaryKey "no_primary_key" "The table has no primary key.",
    UnknownColumn "unknown_column" "A name that is no column of the table.",
    AmbiguousName "ambiguous_name" "A name that can mean a column or an alias, or two aliases.",
    Wildcard "wildcard" "* or t.* in the select list.",
    NoAggregate "no_aggregate" "Neither aggregate functions nor GROUP BY.",
    NotGrouped "not_grouped" "A column that is neither grouped by nor aggregated.",
    Rollup "rollup" "WITH ROLLUP or grouping sets.",
    ConstantGroup "constant_group" "GROUP BY of a constant, a place outside the select list, or an aggregate.",
    KeyForm "key_form" "GROUP BY of something that is neither a column nor a function of a day.",
    WindowFunction "window_function" "A window function.",
    Subquery "subquery" "A subquery inside an expression.",
    Function "function" "A function that is not in the list of measured ones, or with other arguments.",
    Nondeterministic "nondeterministic" "A function whose value changes from call to call or by session.",
    CurrentTime "current_time" "NOW, CURDATE and their family.",
    Variable "variable" "A user or system variable.",
    Operator "operator" "An operator that is not in the list of measured ones.",
    LocaleFormat "locale_format" "A date format that prints names of months or days.",
    TimePart "time_part" "A part of a time of day, which is not derivable from a day.",
    TimestampColumn "timestamp_column" "A TIMESTAMP column outside COUNT: its text depends on time_zone.",
    KeyType "key_type" "A group key or filter column of a type that has no exact bytes (FLOAT, JSON, BLOB ..).",
    VirtualColumn "virtual_column" "A VIRTUAL generated column.",
    DistinctAggregate "distinct_aggregate" "COUNT(DISTINCT ..) or another DISTINCT aggregate.",
    OrderedAggregate "ordered_aggregate" "GROUP_CONCAT, JSON aggregates, ANY_VALUE: the order of rows decides.",
    ApproximateAggregate "approximate_aggregate" "STD, VARIANCE and their family: DOUBLE results.",
    BitAggregate "bit_aggregate" "BIT_AND, BIT_OR, BIT_XOR.",
    FloatAggregate "float_aggregate" "An aggregate of FLOAT or DOUBLE: its value depends on the plan.",
    StringMinMax "string_min_max" "MIN or MAX of a string.",
    DateMinMax "date_min_max" "MIN or MAX of a DATE column that can be NULL: the server may warn where it groups.",
    AggregateArgument "aggregate_argument" "The argument of an aggregate is not of an exact, total form.",
    NestedAggregate "nested_aggregate" "An aggregate inside an aggregate or in WHERE.",
    AverageInExpression "average_in_expression" "AVG inside an expression, where its hidden digits count.",
    DivisionMayWarn "division_may_warn" "A division by something that may be zero.",
    ScaleUnstable "scale_unstable" "A quotient or average of branches with different scales.",
    PredicateForm "predicate_form" "A condition of a form that is not understood.",
    LiteralType "literal_type" "A literal of another kind than the column it is compared with.",
    DateInvalid "date_invalid" "A date literal that is not complete and valid.",
    RangeNotAligned "range_not_aligned" "A range of a DATETIME column that does not begin or end at midnight.",
    ParameterPosition "parameter_position" "A parameter of a prepared statement where its value shapes the query.",
    LiteralPosition "literal_position" "A literal that the digest does not list.",
    LimitWithoutOrder "limit_without_order" "LIMIT without an ORDER BY that covers every group key.",
    LimitForm "limit_form" "A LIMIT that is not a plain number.",
    OrderForm "order_form" "An ORDER BY of a form that is not understood.",
    OtherLiterals "other_literals" "Literals that shape the query differ from the pattern's.",
    NoView "no_view" "No ready view on the table.",
    MissingKey "missing_key" "No ready view has all the keys.",
    MissingMeasure "missing_measure" "No ready view has all the aggregates.",
    KeyVariants "key_variants" "A text key holds values that are equal but differ in their bytes.",
    NotPlanned "not_planned" "The statement was not seen on base tables yet, or not often enough to be looked at.",
    ViewStale "view_stale" "The base table changed; the view is not built again yet.",
    NotCompared "not_compared" "Its answer from this view was not compared with the base table's yet.",
    ViewsOff "views_off" "Views are switched off.",
    StoredType "stored_type" "A stored column's type is at a limit where roll-up is not exact.",
}

impl Refusal {
    /// Whether the same statement with other literals may be accepted: such a refusal must not be remembered for a digest.
    pub fn depends_on_literals(self) -> bool {
        matches!(
            self,
            Self::LocaleFormat
                | Self::TimePart
                | Self::Function
                | Self::LiteralType
                | Self::DateInvalid
                | Self::RangeNotAligned
                | Self::LimitForm
                | Self::OtherLiterals
                | Self::ConstantGroup
                | Self::OrderForm
                | Self::DivisionMayWarn
                | Self::ScaleUnstable
                | Self::AggregateArgument
                | Self::PredicateForm
                | Self::LiteralPosition
                | Self::NotGrouped
                | Self::LimitWithoutOrder
        )
    }
}

impl From<EnvRefusal> for Refusal {
    fn from(refusal: EnvRefusal) -> Self {
        Self::Environment(refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_plain() {
        let mut labels: Vec<&str> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
        assert!(
            labels
                .iter()
                .all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }
}
