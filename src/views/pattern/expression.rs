//! The expressions a pattern is made of, and how they print. A closed language: what has no form here is refused before.
//! Prints only its own forms; bytes of the client appear as literals only.

use super::functions::{Family, Function};
use super::literal::Literal;
use crate::views::refusal::Refusal;

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`.
    Divide,
    /// `=`.
    Equal,
    /// `<=>`.
    NullSafeEqual,
    /// `<>`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `AND`.
    And,
    /// `OR`.
    Or,
}

impl Operator {
    /// How it is written.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Equal => "=",
            Self::NullSafeEqual => "<=>",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::And => "AND",
            Self::Or => "OR",
        }
    }

    /// `+ - * /`.
    pub fn is_arithmetic(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide
        )
    }

    /// `AND OR`.
    pub fn is_logical(self) -> bool {
        matches!(self, Self::And | Self::Or)
    }

    /// The comparison with its operands exchanged.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// An aggregate function of the closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// COUNT(*), and all that counts every row.
    CountStar,
    /// COUNT(x).
    Count,
    /// SUM(x).
    Sum,
    /// AVG(x) as it prints.
    Avg,
    /// AVG(x) with the digits that do not print: inside rounding functions and comparisons.
    AvgHidden,
    /// MIN(x).
    Min,
    /// MAX(x).
    Max,
}

/// One aggregate leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// The function.
    pub function: AggregateFunction,
    /// Its argument over base columns; `None` only for `CountStar`.
    pub argument: Option<Box<Expr>>,
}

/// An expression over columns of the base table, literals and aggregates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A column of the base table, by its place.
    Column(usize),
    /// A literal.
    Literal(Literal),
    /// A function call.
    Call(&'static Function, Vec<Expr>),
    /// EXTRACT(unit FROM x).
    Extract(&'static str, Box<Expr>),
    /// Two operands.
    Infix(Operator, Box<Expr>, Box<Expr>),
    /// NOT x.
    Not(Box<Expr>),
    /// -x.
    Negative(Box<Expr>),
    /// x IS [NOT] NULL.
    IsNull {
        /// NOT.
        negated: bool,
        /// x.
        operand: Box<Expr>,
    },
    /// x [NOT] IN (..).
    InList {
        /// NOT.
        negated: bool,
        /// x.
        operand: Box<Expr>,
        /// The list.
        list: Vec<Expr>,
    },
    /// x [NOT] BETWEEN low AND high.
    Between {
        /// NOT.
        negated: bool,
        /// x.
        operand: Box<Expr>,
        /// low.
        low: Box<Expr>,
        /// high.
        high: Box<Expr>,
    },
    /// x [NOT] LIKE pattern.
    Like {
        /// NOT.
        negated: bool,
        /// x.
        operand: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
    },
    /// CASE.
    Case {
        /// CASE x WHEN ..
        operand: Option<Box<Expr>>,
        /// WHEN and THEN.
        branches: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
    },
    /// A comparison of a DATETIME column with a literal that holds for a moment exactly when it holds for its day.
    DayBound {
        /// The column.
        column: usize,
        /// The comparison, column first.
        operator: Operator,
        /// The literal.
        literal: Literal,
    },
    /// An aggregate leaf.
    Aggregate(Aggregate),
}

/// Turns what differs from printing to printing into text.
pub trait Printer {
    /// Plain SQL.
    fn text(&mut self, sql: &str);
    /// A column of the base table.
    ///
    /// # Errors
    /// When this printing has no text for it.
    fn column(&mut self, column: usize) -> Result<(), Refusal>;
    /// A literal.
    ///
    /// # Errors
    /// When this printing has no text for it.
    fn literal(&mut self, literal: &Literal) -> Result<(), Refusal>;
    /// A comparison with a day.
    ///
    /// # Errors
    /// When this printing has no text for it.
    fn day_bound(
        &mut self,
        column: usize,
        operator: Operator,
        literal: &Literal,
    ) -> Result<(), Refusal>;
    /// An aggregate leaf.
    ///
    /// # Errors
    /// When this printing has no text for it.
    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<(), Refusal>;
    /// The list of an IN with its parentheses; false when this printing has no text of its own for it.
    fn list(&mut self, _list: &[Expr]) -> bool {
        false
    }
    /// A name that stands for the whole expression here.
    fn name_of(&self, _expr: &Expr) -> Option<String> {
        None
    }
}

impl Expr {
    /// Prints with every operator in parentheses, so that precedence plays no part.
    ///
    /// # Errors
    /// What the printer has no text for.
    pub fn print<P: Printer>(&self, out: &mut P) -> Result<(), Refusal> {
        if let Some(name) = out.name_of(self) {
            out.text(&name);
            return Ok(());
        }
        match self {
            Self::Column(column) => out.column(*column),
            Self::Literal(literal) => out.literal(literal),
            Self::Aggregate(aggregate) => out.aggregate(aggregate),
            Self::DayBound {
                column,
                operator,
                literal,
            } => out.day_bound(*column, *operator, literal),
            Self::Call(function, arguments) => {
                out.text(function.name);
                print_list(arguments, out)
            }
            Self::Extract(unit, operand) => {
                out.text("EXTRACT(");
                out.text(unit);
                out.text(" FROM ");
                operand.print(out)?;
                out.text(")");
                Ok(())
            }
            Self::Infix(operator, left, right) => {
                out.text("(");
                left.print(out)?;
                out.text(" ");
                out.text(operator.sql());
                out.text(" ");
                right.print(out)?;
                out.text(")");
                Ok(())
            }
            Self::Not(operand) => print_around("(NOT ", operand, ")", out),
            Self::Negative(operand) => print_around("(- ", operand, ")", out),
            Self::Case {
                operand,
                branches,
                otherwise,
            } => print_case(operand.as_deref(), branches, otherwise.as_deref(), out),
            _ => self.print_condition(out),
        }
    }

    fn print_condition<P: Printer>(&self, out: &mut P) -> Result<(), Refusal> {
        let not = |negated: &bool| if *negated { " NOT" } else { "" };
        match self {
            Self::IsNull { negated, operand } => {
                print_around("(", operand, " IS", out)?;
                out.text(not(negated));
                out.text(" NULL)");
                Ok(())
            }
            Self::InList {
                negated,
                operand,
                list,
            } => {
                print_around("(", operand, not(negated), out)?;
                out.text(" IN ");
                if !out.list(list) {
                    print_list(list, out)?;
                }
                out.text(")");
                Ok(())
            }
            Self::Between {
                negated,
                operand,
                low,
                high,
            } => {
                print_around("(", operand, not(negated), out)?;
                print_around(" BETWEEN ", low, " AND ", out)?;
                print_around("", high, ")", out)
            }
            Self::Like {
                negated,
                operand,
                pattern,
            } => {
                print_around("(", operand, not(negated), out)?;
                print_around(" LIKE ", pattern, ")", out)
            }
            // All other forms are printed above.
            _ => Err(Refusal::PredicateForm),
        }
    }

    /// Every direct part of the expression, in the order it prints.
    pub fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Column(_) | Self::Literal(_) | Self::DayBound { .. } => Vec::new(),
            Self::Call(_, arguments) => arguments.iter().collect(),
            Self::Infix(_, left, right) => vec![left, right],
            Self::Extract(_, operand)
            | Self::Not(operand)
            | Self::Negative(operand)
            | Self::IsNull { operand, .. } => vec![operand],
            Self::InList { operand, list, .. } => {
                std::iter::once(operand.as_ref()).chain(list).collect()
            }
            Self::Between {
                operand, low, high, ..
            } => vec![operand, low, high],
            Self::Like {
                operand, pattern, ..
            } => vec![operand, pattern],
            Self::Case {
                operand,
                branches,
                otherwise,
            } => operand
                .as_deref()
                .into_iter()
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.as_deref())
                .collect(),
            Self::Aggregate(aggregate) => aggregate.argument.as_deref().into_iter().collect(),
        }
    }

    /// Calls `visit` for this expression and everything in it, from outside to inside.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Expr)) {
        visit(self);
        for part in self.parts() {
            part.walk(visit);
        }
    }

    /// Marks every AVG whose hidden digits count: those inside a rounding function or a comparison.
    pub fn mark_hidden(&mut self, hidden: bool) {
        let inside = hidden
            || match self {
                Self::Call(function, _) => function.family == Family::Number,
                Self::Infix(operator, ..) => !operator.is_logical(),
                Self::InList { .. } | Self::Between { .. } => true,
                _ => false,
            };
        match self {
            Self::Aggregate(aggregate) => {
                if hidden && aggregate.function == AggregateFunction::Avg {
                    aggregate.function = AggregateFunction::AvgHidden;
                }
            }
            Self::Column(_) | Self::Literal(_) | Self::DayBound { .. } => {}
            Self::Call(_, arguments) => {
                for argument in arguments {
                    argument.mark_hidden(inside);
                }
            }
            Self::Infix(_, left, right) => {
                left.mark_hidden(inside);
                right.mark_hidden(inside);
            }
            Self::Extract(_, operand)
            | Self::Not(operand)
            | Self::Negative(operand)
            | Self::IsNull { operand, .. }
            | Self::InList { operand, .. }
            | Self::Between { operand, .. }
            | Self::Like { operand, .. } => operand.mark_hidden(inside),
            Self::Case {
                operand,
                branches,
                otherwise,
            } => {
                for part in operand.iter_mut().chain(otherwise) {
                    part.mark_hidden(inside);
                }
                for (when, then) in branches {
                    when.mark_hidden(inside);
                    then.mark_hidden(inside);
                }
            }
        }
    }

    /// Whether an aggregate is in it.
    pub fn has_aggregate(&self) -> bool {
        let mut found = false;
        self.walk(&mut |part| found |= matches!(part, Expr::Aggregate(_)));
        found
    }
}

fn print_around<P: Printer>(
    before: &str,
    operand: &Expr,
    after: &str,
    out: &mut P,
) -> Result<(), Refusal> {
    out.text(before);
    operand.print(out)?;
    out.text(after);
    Ok(())
}

fn print_list<P: Printer>(list: &[Expr], out: &mut P) -> Result<(), Refusal> {
    for (at, item) in list.iter().enumerate() {
        out.text(if at == 0 { "(" } else { ", " });
        item.print(out)?;
    }
    out.text(")");
    Ok(())
}

fn print_case<P: Printer>(
    operand: Option<&Expr>,
    branches: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    out: &mut P,
) -> Result<(), Refusal> {
    out.text("CASE");
    if let Some(operand) = operand {
        print_around(" ", operand, "", out)?;
    }
    for (when, then) in branches {
        print_around(" WHEN ", when, "", out)?;
        print_around(" THEN ", then, "", out)?;
    }
    if let Some(otherwise) = otherwise {
        print_around(" ELSE ", otherwise, "", out)?;
    }
    out.text(" END");
    Ok(())
}

/// A name in backticks.
pub fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(quoted_name("a`b"), "`a``b`");
    }
}
