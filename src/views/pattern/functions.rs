//! The functions whose rewrites were measured, and why others are refused. Knows names and counts of arguments, no types.

use crate::views::refusal::Refusal;

/// What a function is good for, which decides the rules for its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A function of a day: equal for a moment and for its day.
    Day,
    /// Arithmetic on exact numbers.
    Number,
    /// Chooses between its arguments.
    Choice,
    /// Makes a string.
    Text,
}

/// What a function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// An integer.
    Int,
    /// A DATE.
    Date,
    /// A string of ASCII characters.
    Text,
    /// The type of its arguments.
    Arguments,
}

/// One function of the closed list.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Upper case.
    pub name: &'static str,
    /// Fewest and most arguments.
    pub arguments: (usize, usize),
    /// Which rules hold.
    pub family: Family,
    /// What it returns.
    pub returns: Returns,
}

const fn function(
    name: &'static str,
    arguments: (usize, usize),
    family: Family,
    returns: Returns,
) -> Function {
    Function {
        name,
        arguments,
        family,
        returns,
    }
}

/// Most arguments of COALESCE and CONCAT.
const LIST_MAX: usize = 16;

/// The functions whose rewrites were measured.
static FUNCTIONS: [Function; 27] = [
    function("DATE", (1, 1), Family::Day, Returns::Date),
    function("LAST_DAY", (1, 1), Family::Day, Returns::Date),
    function("YEAR", (1, 1), Family::Day, Returns::Int),
    function("QUARTER", (1, 1), Family::Day, Returns::Int),
    function("MONTH", (1, 1), Family::Day, Returns::Int),
    function("DAY", (1, 1), Family::Day, Returns::Int),
    function("DAYOFMONTH", (1, 1), Family::Day, Returns::Int),
    function("DAYOFWEEK", (1, 1), Family::Day, Returns::Int),
    function("DAYOFYEAR", (1, 1), Family::Day, Returns::Int),
    function("WEEKDAY", (1, 1), Family::Day, Returns::Int),
    function("WEEK", (1, 2), Family::Day, Returns::Int),
    function("WEEKOFYEAR", (1, 1), Family::Day, Returns::Int),
    function("YEARWEEK", (1, 2), Family::Day, Returns::Int),
    function("TO_DAYS", (1, 1), Family::Day, Returns::Int),
    function("DATE_FORMAT", (2, 2), Family::Day, Returns::Text),
    function("ROUND", (1, 2), Family::Number, Returns::Arguments),
    function("TRUNCATE", (2, 2), Family::Number, Returns::Arguments),
    function("ABS", (1, 1), Family::Number, Returns::Arguments),
    function("FLOOR", (1, 1), Family::Number, Returns::Arguments),
    function("CEIL", (1, 1), Family::Number, Returns::Arguments),
    function("CEILING", (1, 1), Family::Number, Returns::Arguments),
    function("FORMAT", (2, 2), Family::Number, Returns::Text),
    function("IF", (3, 3), Family::Choice, Returns::Arguments),
    function("IFNULL", (2, 2), Family::Choice, Returns::Arguments),
    function(
        "COALESCE",
        (1, LIST_MAX),
        Family::Choice,
        Returns::Arguments,
    ),
    function("NULLIF", (2, 2), Family::Choice, Returns::Arguments),
    function("CONCAT", (1, LIST_MAX), Family::Text, Returns::Text),
];

/// The function of this name and number of arguments.
///
/// # Errors
/// The rule that keeps it out.
pub fn find_function(name: &str, arguments: usize) -> Result<&'static Function, Refusal> {
    let known = FUNCTIONS
        .iter()
        .find(|function| function.name.eq_ignore_ascii_case(name));
    match known {
        Some(function) if (function.arguments.0..=function.arguments.1).contains(&arguments) => {
            Ok(function)
        }
        _ => Err(refused_function(name)),
    }
}

/// Functions that are refused for a reason of their own.
static GROUPS: [(&[&str], Refusal); 7] = [
    (
        &[
            "NOW",
            "CURDATE",
            "CURRENT_DATE",
            "CURTIME",
            "CURRENT_TIME",
            "CURRENT_TIMESTAMP",
            "LOCALTIME",
            "LOCALTIMESTAMP",
            "SYSDATE",
            "UTC_DATE",
            "UTC_TIME",
            "UTC_TIMESTAMP",
        ],
        Refusal::CurrentTime,
    ),
    (
        &[
            "RAND",
            "UUID",
            "UUID_SHORT",
            "RANDOM_BYTES",
            "SLEEP",
            "LAST_INSERT_ID",
            "FOUND_ROWS",
            "ROW_COUNT",
            "CONNECTION_ID",
            "CURRENT_USER",
            "SESSION_USER",
            "SYSTEM_USER",
            "USER",
            "CURRENT_ROLE",
            "DATABASE",
            "SCHEMA",
            "VERSION",
            "BENCHMARK",
            "GET_LOCK",
            "RELEASE_LOCK",
            "IS_FREE_LOCK",
            "IS_USED_LOCK",
            "LOAD_FILE",
        ],
        Refusal::Nondeterministic,
    ),
    (
        &[
            "HOUR",
            "MINUTE",
            "SECOND",
            "MICROSECOND",
            "TIME",
            "TIME_FORMAT",
            "TIME_TO_SEC",
            "TO_SECONDS",
        ],
        Refusal::TimePart,
    ),
    (&["MONTHNAME", "DAYNAME"], Refusal::LocaleFormat),
    (
        &[
            "GROUP_CONCAT",
            "JSON_ARRAYAGG",
            "JSON_OBJECTAGG",
            "ANY_VALUE",
            "ST_COLLECT",
        ],
        Refusal::OrderedAggregate,
    ),
    (
        &[
            "STD",
            "STDDEV",
            "STDDEV_POP",
            "STDDEV_SAMP",
            "VARIANCE",
            "VAR_POP",
            "VAR_SAMP",
        ],
        Refusal::ApproximateAggregate,
    ),
    (&["BIT_AND", "BIT_OR", "BIT_XOR"], Refusal::BitAggregate),
];

/// Which rule keeps a function out that is not in the list.
fn refused_function(name: &str) -> Refusal {
    GROUPS
        .iter()
        .find(|(names, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
        .map_or(Refusal::Function, |(_, refusal)| *refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_name_and_arguments() {
        assert_eq!(find_function("year", 1).unwrap().name, "YEAR");
        for (name, arguments, refusal) in [
            ("year", 2, Refusal::Function),
            ("LOWER", 1, Refusal::Function),
            ("now", 0, Refusal::CurrentTime),
            ("Rand", 0, Refusal::Nondeterministic),
            ("HOUR", 1, Refusal::TimePart),
            ("group_concat", 1, Refusal::OrderedAggregate),
            ("my_function", 1, Refusal::Function),
        ] {
            assert_eq!(find_function(name, arguments), Err(refusal), "{name}");
        }
    }
}
