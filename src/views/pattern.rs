//! The aggregate pattern of a statement, and the definition that generalises it. Pure.
//! Never reads values of a table and never chooses a view; what is not provably exact is refused by name.
//!
//! A pattern holds for every statement text of one digest and shape whose *fixed* literals are the pattern's. Literals in
//! WHERE and HAVING comparisons and in LIMIT may vary; each has a [`Check`] that its bytes must pass.

pub mod check;
pub mod expression;
pub mod literal;

mod build;
mod convert;
mod functions;
mod rules;
mod scale;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast;

use check::{Check, ParameterValue, plain_content};
use expression::{Aggregate, AggregateFunction, Expr, Operator, Printer, quoted_name};
use literal::{Fixed, Literal, Shape, Slot, Varying};

use super::definition::{BaseTable, Definition, MeasureFunction, ViewEnv};
use super::refusal::Refusal;
use super::schema::{ColumnType, TableSchema};
use crate::sql::{Literal as DigestLiteral, SelectTree};

/// What of a column the pattern needs from a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The day of a DATETIME column.
    Day,
    /// The column itself.
    Exact,
}

/// One entry of ORDER BY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is sorted by.
    pub expr: Expr,
    /// DESC.
    pub descending: bool,
}

/// LIMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Rows at most.
    pub count: Literal,
    /// Rows left out before.
    pub offset: Option<Literal>,
}

/// The canonical form of one aggregate SELECT over one table.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The base table.
    pub table: Arc<TableSchema>,
    /// The select list.
    pub projection: Vec<Expr>,
    /// WHERE, as conditions that must all hold.
    pub filters: Vec<Expr>,
    /// GROUP BY; `None` for a scalar aggregate.
    pub keys: Option<Vec<Expr>>,
    /// HAVING.
    pub having: Option<Expr>,
    /// ORDER BY.
    pub order: Vec<Order>,
    /// LIMIT.
    pub limit: Option<Limit>,
    /// Whether ORDER BY leaves no ties: then even the order of rows is the base table's.
    pub total_order: bool,
    /// What each column that keys and filters read must be in a view.
    pub needs: BTreeMap<usize, Need>,
    /// Literals that may vary, with what each must be; those of day bounds are not among them.
    varying: Varying,
    /// Literals of comparisons of DATETIME columns: column, comparison and slot.
    day_bounds: Vec<(usize, Operator, Slot)>,
    /// The other literals: they shape the pattern, so only these very bytes fit.
    fixed: Vec<Fixed>,
    /// How many literals a text must have.
    literal_count: usize,
}

/// The one base table a SELECT reads, with the default schema filled in. The description of this table is what
/// [`Pattern::new`] needs.
///
/// # Errors
/// When the statement cannot have a pattern whatever the table is.
pub fn base_table(
    ast: &ast::Statement,
    default_schema: Option<&str>,
) -> Result<BaseTable, Refusal> {
    build::base_table(ast, default_schema)
}

impl Pattern {
    /// Makes the pattern of a statement over the table that [`base_table`] named.
    ///
    /// # Errors
    /// The first rule the statement does not meet.
    pub fn new(tree: &SelectTree, table: &Arc<TableSchema>) -> Result<Self, Refusal> {
        if tree.hint {
            return Err(Refusal::Hint);
        }
        build::pattern(&tree.ast, &tree.sample, &tree.literals, table)
    }

    /// Whether the literals that shape the pattern are the same in another text of the same digest.
    pub fn fits(&self, text: &[u8], literals: &[DigestLiteral]) -> bool {
        literals.len() == self.literal_count
            && self.fixed.iter().all(|fixed| fixed.fits(text, literals))
    }

    /// Whether a text of the same digest could be answered from the pattern's own definition: its shaping literals are the
    /// pattern's, and its varying ones are of the kinds the rewrite needs. Parameters have no value yet and are not judged.
    ///
    /// # Errors
    /// The first rule that a literal does not meet.
    pub fn check(&self, text: &[u8], literals: &[DigestLiteral]) -> Result<(), Refusal> {
        if !self.fits(text, literals) {
            return Err(Refusal::OtherLiterals);
        }
        self.varying(&self.needs).check(text, literals).map(|_| ())
    }

    /// The varying literals when columns are held as `held` says.
    pub(super) fn varying(&self, held: &BTreeMap<usize, Need>) -> Varying {
        let mut varying = self.varying.clone();
        for (column, operator, slot) in &self.day_bounds {
            let check = match held.get(column) {
                Some(Need::Day) => self.day_check(*column, *operator),
                _ => Check::Date,
            };
            varying.values.push((*slot, check));
        }
        varying
    }

    fn day_check(&self, column: usize, operator: Operator) -> Check {
        match operator {
            Operator::Less | Operator::GreaterOrEqual => Check::DayStart,
            _ => match self.table.columns.get(column).map(|c| c.column_type) {
                Some(ColumnType::Datetime { fraction }) => Check::DayEnd { fraction },
                _ => Check::DayStart,
            },
        }
    }

    /// The definition of the smallest view that can answer every statement of this pattern, whatever its varying literals
    /// are: filtered and grouped columns become keys, DATETIME ranges become days.
    ///
    /// # Errors
    /// When an aggregate's argument cannot be written so that it means the same in every session.
    pub fn generalise(&self) -> Result<Definition, Refusal> {
        let keys = self
            .needs
            .iter()
            .map(|(column, need)| key_text(&self.table, *column, *need));
        let mut measures = Vec::new();
        for aggregate in self.aggregates() {
            if let Some((function, argument)) = stored_measure(&self.table, aggregate)? {
                measures.push((function, argument));
            }
        }
        let base = BaseTable {
            schema: self.table.schema.clone(),
            name: self.table.name.clone(),
        };
        Ok(Definition::new(base, keys, measures, ViewEnv::default()))
    }

    /// Every aggregate leaf of the select list, HAVING and ORDER BY.
    pub fn aggregates(&self) -> Vec<&Aggregate> {
        let mut found = Vec::new();
        for expr in self.outer() {
            expr.walk(&mut |part| {
                if let Expr::Aggregate(aggregate) = part
                    && !found.contains(&aggregate)
                {
                    found.push(aggregate);
                }
            });
        }
        found
    }

    /// Select list, HAVING and ORDER BY.
    fn outer(&self) -> impl Iterator<Item = &Expr> {
        self.projection
            .iter()
            .chain(self.having.as_ref())
            .chain(self.order.iter().map(|order| &order.expr))
    }

    fn outer_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        self.projection
            .iter_mut()
            .chain(self.having.as_mut())
            .chain(self.order.iter_mut().map(|order| &mut order.expr))
    }

    /// Whether values of this column are grouped by, so that it matters which of several equal ones is printed.
    pub fn groups_by(&self, column: usize) -> bool {
        let mut found = false;
        for key in self.keys.iter().flatten() {
            key.walk(&mut |part| found |= *part == Expr::Column(column));
        }
        found
    }
}

/// The text of the stored key that holds a column as needed.
pub(super) fn key_text(table: &TableSchema, column: usize, need: Need) -> String {
    let name = table
        .columns
        .get(column)
        .map_or_else(String::new, |described| quoted_name(&described.name));
    match need {
        Need::Exact => name,
        Need::Day => format!("DATE({name})"),
    }
}

/// What a view must store for an aggregate leaf; `None` for what every view stores.
pub(super) fn stored_measure(
    table: &TableSchema,
    aggregate: &Aggregate,
) -> Result<Option<(MeasureFunction, Option<String>)>, Refusal> {
    let function = match aggregate.function {
        AggregateFunction::CountStar => return Ok(None),
        AggregateFunction::Count => MeasureFunction::Count,
        AggregateFunction::Sum | AggregateFunction::Avg | AggregateFunction::AvgHidden => {
            MeasureFunction::Sum
        }
        AggregateFunction::Min => MeasureFunction::Min,
        AggregateFunction::Max => MeasureFunction::Max,
    };
    let argument = aggregate
        .argument
        .as_deref()
        .ok_or(Refusal::AggregateArgument)?;
    Ok(Some((function, Some(normal_text(table, argument)?))))
}

/// The normal form of an expression over base columns: names in backticks and unqualified, everything in parentheses.
///
/// # Errors
/// When a literal does not mean the same in every session.
pub fn normal_text(table: &TableSchema, expr: &Expr) -> Result<String, Refusal> {
    let mut printer = NormalText {
        table,
        sql: String::new(),
    };
    expr.print(&mut printer)?;
    Ok(printer.sql)
}

struct NormalText<'a> {
    table: &'a TableSchema,
    sql: String,
}

impl Printer for NormalText<'_> {
    fn text(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    fn column(&mut self, column: usize) -> Result<(), Refusal> {
        let column = self
            .table
            .columns
            .get(column)
            .ok_or(Refusal::UnknownColumn)?;
        self.sql.push_str(&quoted_name(&column.name));
        Ok(())
    }

    fn literal(&mut self, literal: &Literal) -> Result<(), Refusal> {
        if let Some(prefix) = literal.prefix {
            self.sql.push_str(prefix);
            self.sql.push(' ');
        }
        match literal.shape {
            Shape::Text => {
                let content = plain_content(&literal.text).ok_or(Refusal::AggregateArgument)?;
                self.sql.push('\'');
                self.sql.push_str(content);
                self.sql.push('\'');
            }
            Shape::Parameter(_) => return Err(Refusal::ParameterPosition),
            Shape::Number | Shape::Null | Shape::Boolean => self.sql.push_str(&literal.text),
        }
        Ok(())
    }

    fn day_bound(&mut self, _: usize, _: Operator, _: &Literal) -> Result<(), Refusal> {
        Err(Refusal::AggregateArgument)
    }

    fn aggregate(&mut self, _: &Aggregate) -> Result<(), Refusal> {
        Err(Refusal::NestedAggregate)
    }
}

/// Tests the bound values of a prepared statement.
///
/// # Errors
/// The first rule that a value does not meet.
pub fn check_parameters(
    checks: &[(u16, Check)],
    values: &[ParameterValue<'_>],
) -> Result<(), Refusal> {
    checks.iter().try_for_each(|(number, check)| {
        let value = values
            .get(usize::from(*number))
            .ok_or(Refusal::ParameterPosition)?;
        check.parameter(value)
    })
}
