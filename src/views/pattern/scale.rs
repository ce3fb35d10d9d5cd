//! Digits behind the point that values carry in memory: the hidden digits of a quotient depend on them. Knows no rules beyond.

use super::expression::{Aggregate, AggregateFunction, Expr, Operator};
use super::literal::Shape;
use crate::views::refusal::Refusal;
use crate::views::schema::{ColumnType, TableSchema};

/// How many digits behind the point the values of an expression carry in memory; a quotient's hidden digits depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Zero or NULL: any.
    Any,
    /// Always this many.
    Is(u32),
    /// It depends on the row.
    Mixed,
}

impl Scale {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, same) | (same, Self::Any) => same,
            (one, two) if one == two => one,
            _ => Self::Mixed,
        }
    }

    fn combined(self, other: Self, combine: fn(u32, u32) -> u32) -> Self {
        match (self, other) {
            (Self::Is(one), Self::Is(two)) => Self::Is(combine(one, two)),
            _ => Self::Mixed,
        }
    }
}

/// Whether every aggregate of an operand has values of one scale, so that a quotient of it has the same hidden digits from a
/// view as from the base table.
///
/// # Errors
/// When one has not.
pub fn scales_are_stable(table: &TableSchema, operand: &Expr) -> Result<(), Refusal> {
    let mut stable = true;
    operand.walk(&mut |part| {
        if let Expr::Aggregate(Aggregate {
            argument: Some(argument),
            function,
        }) = part
            && *function != AggregateFunction::Count
        {
            stable &= scale(table, argument) != Scale::Mixed;
        }
    });
    if stable {
        Ok(())
    } else {
        Err(Refusal::ScaleUnstable)
    }
}

fn scale(table: &TableSchema, expr: &Expr) -> Scale {
    match expr {
        Expr::Column(column) => match table.columns.get(*column).map(|c| c.column_type) {
            Some(ColumnType::Int { .. }) => Scale::Is(0),
            Some(ColumnType::Decimal { scale, .. }) => Scale::Is(u32::from(scale)),
            _ => Scale::Mixed,
        },
        Expr::Literal(literal) if literal.is_zero() || literal.shape == Shape::Null => Scale::Any,
        Expr::Literal(literal) => Scale::Is(literal.scale()),
        Expr::Negative(operand) => scale(table, operand),
        Expr::Infix(Operator::Multiply, left, right) => {
            exact_scale(table, left).combined(exact_scale(table, right), |one, two| one + two)
        }
        Expr::Infix(operator, left, right) if operator.is_arithmetic() => {
            exact_scale(table, left).combined(exact_scale(table, right), u32::max)
        }
        Expr::Case {
            branches,
            otherwise,
            ..
        } => branches
            .iter()
            .map(|(_, then)| then)
            .chain(otherwise.as_deref())
            .fold(Scale::Any, |found, part| found.or(scale(table, part))),
        Expr::Call(function, arguments) => {
            let values = match function.name {
                "IF" => arguments.get(1..),
                "IFNULL" | "COALESCE" => Some(arguments.as_slice()),
                "NULLIF" | "ABS" => arguments.get(..1),
                _ => None,
            };
            values.map_or(Scale::Is(0), |values| {
                values
                    .iter()
                    .fold(Scale::Any, |found, part| found.or(scale(table, part)))
            })
        }
        // Conditions and date parts are integers.
        _ => Scale::Is(0),
    }
}

/// As `scale`, but a zero inside arithmetic has the digits it is written with.
fn exact_scale(table: &TableSchema, expr: &Expr) -> Scale {
    match expr {
        Expr::Literal(literal) if literal.shape == Shape::Number => Scale::Is(literal.scale()),
        _ => match scale(table, expr) {
            Scale::Any => Scale::Mixed,
            scale => scale,
        },
    }
}

/// Whether the values of an argument have one scale.
pub fn is_stable(table: &TableSchema, argument: &Expr) -> bool {
    scale(table, argument) != Scale::Mixed
}
