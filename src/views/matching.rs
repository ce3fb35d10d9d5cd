//! Finds the view that holds everything a pattern asks for. Pure.
//! Goldstein and Larson's tests, as far as one table and views without a predicate need them: same table; every column
//! that the query filters or groups by is a stored key (or the day of it is, where only the day counts); every aggregate is
//! stored. The query's own WHERE and GROUP BY are always applied again over the view, so nothing is compensated.
//!
//! ```text
//! query  SELECT YEAR(d), SUM(a) FROM t WHERE d >= '2024-01-01' AND s = 'X' GROUP BY YEAR(d)
//! view   keys DATE(d), s, u; measures n, COUNT(a), SUM(a)
//! d -> k1 (only its day counts), s -> k2, SUM(a) -> m1, m2; u is summed over
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::{MeasureFunction, ReadyView, ViewEnv};
use super::pattern::expression::{Aggregate, AggregateFunction, Expr};
use super::pattern::{Need, Pattern, key_text, stored_measure};
use super::refusal::Refusal;
use super::rewrite::Template;
use super::schema::ColumnType;

/// What rolls an aggregate leaf up from stored columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Sum of stored counts.
    Count {
        /// The column with the counts.
        count: String,
    },
    /// Sum of stored sums, NULL when nothing was counted.
    Sum(SumColumns),
    /// Sum divided by count at the printed digits of AVG.
    Average(SumColumns),
    /// Sum divided by count with the digits that AVG carries and does not print.
    HiddenAverage(SumColumns),
    /// MIN or MAX of stored extremes or of a stored key.
    Extreme {
        /// MIN or MAX.
        function: &'static str,
        /// The column.
        column: String,
    },
}

/// Where a SUM is stored, and its type on the base table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SumColumns {
    /// The column with the counts of the argument.
    count: String,
    /// The column with the sums.
    sum: String,
    /// All digits of the type of SUM.
    precision: u8,
    /// Digits behind the point of it.
    scale: u8,
}

/// How one view answers one pattern.
#[derive(Debug, Clone)]
pub struct Match {
    /// The view's number.
    pub view: u64,
    /// Which build of it.
    pub generation: u64,
    /// The statement over the view, with places for the varying literals.
    pub template: Arc<Template>,
}

/// What a match found for each need of a pattern; the template is printed from it.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) pattern: &'a Pattern,
    /// Stored column and what it holds, by base column.
    pub(super) keys: BTreeMap<usize, (String, Need)>,
    /// The roll-up of each distinct leaf.
    pub(super) leaves: Vec<(&'a Aggregate, Leaf)>,
}

/// The smallest ready view that answers the pattern exactly.
///
/// # Errors
/// Why the view that came nearest does not: no view on the table, then keys, then aggregates, then exactness.
pub fn find(pattern: &Pattern, views: &[ReadyView]) -> Result<Match, Refusal> {
    let mut nearest = Refusal::NoView;
    let mut best: Option<(&ReadyView, Columns<'_>)> = None;
    for view in views {
        let definition = &view.definition;
        let on_table = definition.base.schema == pattern.table.schema
            && definition.base.name == pattern.table.name
            && definition.predicate.is_none()
            && definition.env == ViewEnv::default();
        if !on_table {
            continue;
        }
        match columns(pattern, view) {
            Ok(columns) => {
                if best
                    .as_ref()
                    .is_none_or(|(other, _)| view.rows < other.rows)
                {
                    best = Some((view, columns));
                }
            }
            Err(refusal) => {
                if distance(refusal) < distance(nearest) {
                    nearest = refusal;
                }
            }
        }
    }
    let (view, columns) = best.ok_or(nearest)?;
    let held = columns
        .keys
        .iter()
        .map(|(column, (_, need))| (*column, *need))
        .collect();
    Ok(Match {
        view: view.id,
        generation: view.generation,
        template: Arc::new(Template::print(
            &columns,
            &view.table_sql,
            pattern.varying(&held),
        )?),
    })
}

/// How far a view that was refused was from answering.
fn distance(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::NoView => 3,
        Refusal::MissingKey => 2,
        Refusal::MissingMeasure => 1,
        _ => 0,
    }
}

fn columns<'a>(pattern: &'a Pattern, view: &ReadyView) -> Result<Columns<'a>, Refusal> {
    let mut keys = BTreeMap::new();
    for (column, need) in &pattern.needs {
        let key = key(pattern, view, *column, *need)?;
        if pattern.groups_by(*column) && view.has_variants(&key.0) {
            return Err(Refusal::KeyVariants);
        }
        keys.insert(*column, key);
    }
    let mut leaves = Vec::new();
    for aggregate in pattern.aggregates() {
        leaves.push((aggregate, leaf(pattern, view, aggregate)?));
    }
    Ok(Columns {
        pattern,
        keys,
        leaves,
    })
}

/// The stored key for a column: the column itself, or the day of it where that is enough.
fn key(
    pattern: &Pattern,
    view: &ReadyView,
    column: usize,
    need: Need,
) -> Result<(String, Need), Refusal> {
    let offers = [Need::Exact, Need::Day];
    for offered in offers.into_iter().filter(|offered| *offered >= need) {
        let text = key_text(&pattern.table, column, offered);
        let Some(key) = view.definition.key(&text) else {
            continue;
        };
        let base = pattern
            .table
            .columns
            .get(column)
            .ok_or(Refusal::UnknownColumn)?;
        let stored = view.column(&key.column).ok_or(Refusal::StoredType)?;
        let same = match offered {
            Need::Exact => {
                ColumnType::parse(&stored.column_type) == base.column_type
                    && stored.collation == base.collation
            }
            Need::Day => stored.column_type.eq_ignore_ascii_case("date"),
        };
        if !same {
            return Err(Refusal::StoredType);
        }
        return Ok((key.column.clone(), offered));
    }
    Err(Refusal::MissingKey)
}

fn leaf(pattern: &Pattern, view: &ReadyView, aggregate: &Aggregate) -> Result<Leaf, Refusal> {
    let Some((function, argument)) = stored_measure(&pattern.table, aggregate)? else {
        return Ok(Leaf::Count {
            count: super::definition::COUNT_STAR_COLUMN.to_owned(),
        });
    };
    let stored = |function: MeasureFunction| {
        view.definition
            .measure(function, argument.as_deref())
            .map(|measure| measure.column.clone())
            .ok_or(Refusal::MissingMeasure)
    };
    match aggregate.function {
        AggregateFunction::CountStar | AggregateFunction::Count => Ok(Leaf::Count {
            count: stored(function)?,
        }),
        AggregateFunction::Min | AggregateFunction::Max => {
            extreme(pattern, view, aggregate, stored(function))
        }
        AggregateFunction::Sum | AggregateFunction::Avg | AggregateFunction::AvgHidden => {
            let (count, sum) = (
                stored(MeasureFunction::Count)?,
                stored(MeasureFunction::Sum)?,
            );
            let column_type = &view.column(&sum).ok_or(Refusal::StoredType)?.column_type;
            let (precision, scale) = sum_type(column_type)?;
            let columns = SumColumns {
                count,
                sum,
                precision,
                scale,
            };
            Ok(match aggregate.function {
                AggregateFunction::Avg => Leaf::Average(columns),
                AggregateFunction::AvgHidden => {
                    columns.hidden_digits()?;
                    Leaf::HiddenAverage(columns)
                }
                _ => Leaf::Sum(columns),
            })
        }
    }
}

/// MIN and MAX come from their own measure or from the column as a key.
fn extreme(
    pattern: &Pattern,
    view: &ReadyView,
    aggregate: &Aggregate,
    measure: Result<String, Refusal>,
) -> Result<Leaf, Refusal> {
    let function = match aggregate.function {
        AggregateFunction::Min => "MIN",
        _ => "MAX",
    };
    let column = match (measure, aggregate.argument.as_deref()) {
        (Ok(column), _) => column,
        (Err(refusal), Some(Expr::Column(column))) => {
            key(pattern, view, *column, Need::Exact)
                .map_err(|_no_key| refusal)?
                .0
        }
        (Err(refusal), _) => return Err(refusal),
    };
    Ok(Leaf::Extreme { function, column })
}

/// Most digits of a DECIMAL.
const PRECISION_MAX: u8 = 65;
/// Most digits of a DECIMAL behind the point.
const SCALE_MAX: u8 = 30;
/// Digits that AVG adds behind the point (`div_precision_increment`).
const AVERAGE_DIGITS: u8 = 4;
/// Digits the server keeps in one word of a DECIMAL: quotients have a multiple of it behind the point.
const WORD_DIGITS: u8 = 9;
/// Digits that SUM adds in front of the point.
const SUM_DIGITS: u8 = 22;

/// Precision and scale of SUM's own type, from the stored column. A type at a limit does not tell its argument's.
fn sum_type(column_type: &str) -> Result<(u8, u8), Refusal> {
    match ColumnType::parse(column_type) {
        ColumnType::Decimal {
            precision,
            scale,
            unsigned: false,
        } if precision > SUM_DIGITS
            && precision < PRECISION_MAX
            && scale + AVERAGE_DIGITS <= SCALE_MAX =>
        {
            Ok((precision, scale))
        }
        _ => Err(Refusal::StoredType),
    }
}

impl Leaf {
    /// The SQL of the leaf over the storage table `v`.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Count { count } => format!("IFNULL(CAST(SUM(`v`.`{count}`) AS SIGNED), 0)"),
            Self::Sum(columns) => columns.sum_sql(),
            Self::Average(columns) => columns.average_sql(),
            Self::HiddenAverage(columns) => columns.hidden_average_sql(),
            Self::Extreme { function, column } => format!("{function}(`v`.`{column}`)"),
        }
    }
}

impl SumColumns {
    fn sum_sql(&self) -> String {
        let Self {
            count,
            sum,
            precision,
            scale,
        } = self;
        format!(
            "CAST(IF(SUM(`v`.`{count}`) > 0, SUM(`v`.`{sum}`), NULL) AS DECIMAL({precision}, {scale}))"
        )
    }

    /// AVG(x) has the digits of x and four more behind the point; SUM(x) has those of x and 22 more in front.
    fn average_sql(&self) -> String {
        format!(
            "CAST({} / CAST(SUM(`v`.`{}`) AS SIGNED) AS DECIMAL({}, {}))",
            self.sum_sql(),
            self.count,
            self.precision - SUM_DIGITS + AVERAGE_DIGITS,
            self.scale + AVERAGE_DIGITS
        )
    }

    /// How many digits behind the point AVG carries: the server divides at whole words, at least four digits beyond the
    /// argument's scale.
    fn hidden_digits(&self) -> Result<u8, Refusal> {
        let held = self.scale.div_ceil(WORD_DIGITS) * WORD_DIGITS;
        let more = AVERAGE_DIGITS.saturating_sub(held - self.scale);
        let digits = (held + more).div_ceil(WORD_DIGITS) * WORD_DIGITS;
        let whole = self.precision - self.scale;
        // The quotient below has one word more, which must fit as well.
        if digits + WORD_DIGITS <= SCALE_MAX && whole + digits + WORD_DIGITS <= PRECISION_MAX {
            Ok(digits)
        } else {
            Err(Refusal::StoredType)
        }
    }

    /// A quotient with one word more than AVG carries, cut to what AVG carries: no digit of it is rounded.
    fn hidden_average_sql(&self) -> String {
        let digits = self.hidden_digits().unwrap_or(WORD_DIGITS);
        let operand_scale = digits + WORD_DIGITS - AVERAGE_DIGITS;
        format!(
            "TRUNCATE(CAST({} AS DECIMAL({}, {operand_scale})) / CAST(SUM(`v`.`{}`) AS SIGNED), {digits})",
            self.sum_sql(),
            self.precision - self.scale + operand_scale,
            self.count
        )
    }
}
