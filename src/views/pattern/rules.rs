//! Which expressions are exact, total and free of warnings, by the types of the base columns. Every doubt is a refusal.
//! Changes no expression; notes which literals may vary and what each must be.

use super::check::{Check, plain_content};
use super::expression::{Aggregate, AggregateFunction, Expr, Operator};
use super::functions::{Family, Function, Returns};
use super::literal::{Literal, Shape, Varying};
use super::scale;
use crate::views::refusal::Refusal;
use crate::views::schema::{ColumnType, TableSchema};

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Int {
        /// Arithmetic on it may leave the range and fail.
        unsigned: bool,
    },
    /// A DECIMAL.
    Decimal,
    /// An AVG with digits that do not print.
    Average,
    /// A DATE.
    Date,
    /// A DATETIME.
    Datetime,
    /// A YEAR.
    Year,
    /// A TIME.
    Time,
    /// A string.
    Text,
    /// ENUM or SET.
    Member,
    /// NULL.
    Null,
}

/// Where an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On rows of the base table, when the view is filled: literals are part of the view.
    Row,
    /// In WHERE: on rows by the client's query, on stored keys by ours.
    Filter,
    /// In GROUP BY: as WHERE, but the literals shape the query.
    Key,
    /// Over keys and aggregates.
    Outer,
}

/// Checks the expressions of one pattern.
#[derive(Debug)]
pub struct Rules<'a> {
    /// The base table.
    pub table: &'a TableSchema,
    /// The group keys, once checked.
    pub keys: Vec<Expr>,
    /// Whether there is a GROUP BY.
    pub grouped: bool,
    /// Whether literals compared with keys and aggregates may vary: in HAVING. Elsewhere two equal ones are taken for the
    /// same, so they must stay what they are.
    pub in_having: bool,
    /// The literals that may vary, and what each must be.
    pub varying: Varying,
}

/// Digits that every AVG prints behind the point at least.
const AVERAGE_DIGITS_MIN: u32 = 4;

type Checked = Result<Kind, Refusal>;

const INT: Kind = Kind::Int { unsigned: false };

impl Rules<'_> {
    /// The kind of a value at a place.
    ///
    /// # Errors
    /// The rule that it does not meet.
    pub fn value(&mut self, expr: &Expr, place: Place) -> Checked {
        if place == Place::Outer && self.keys.contains(expr) {
            return self.value(expr, Place::Key);
        }
        match expr {
            Expr::Column(column) => self.column(*column, place),
            Expr::Literal(literal) => constant(literal, place),
            Expr::Aggregate(aggregate) if place == Place::Outer => self.aggregate(aggregate),
            Expr::Aggregate(_) => Err(Refusal::NestedAggregate),
            Expr::Call(function, arguments) => self.call(function, arguments, place),
            Expr::Extract(_, operand) => {
                self.day(operand, place)?;
                Ok(INT)
            }
            Expr::Infix(operator, left, right) if operator.is_arithmetic() => {
                self.arithmetic(*operator, left, right, place)
            }
            Expr::Negative(operand) if place == Place::Row || place == Place::Outer => {
                signed(self.value(operand, place)?)
            }
            Expr::Case {
                operand,
                branches,
                otherwise,
            } if place == Place::Row || place == Place::Outer => {
                for (when, _) in branches {
                    match operand {
                        // Compared by its hidden digits, which only a few forms around an average keep.
                        Some(operand) if holds_average(operand) || holds_average(when) => {
                            return Err(Refusal::AverageInExpression);
                        }
                        Some(operand) => self.compare(operand, when, place, false)?,
                        None => self.condition(when, place)?,
                    }
                }
                let mut kind = Kind::Null;
                for (_, then) in branches {
                    kind = either(kind, self.value(then, place)?)?;
                }
                match otherwise {
                    Some(otherwise) => either(kind, self.value(otherwise, place)?),
                    None => Ok(kind),
                }
            }
            Expr::Negative(_) | Expr::Case { .. } => Err(form(place)),
            _ => {
                self.condition(expr, place)?;
                Ok(INT)
            }
        }
    }

    fn column(&self, column: usize, place: Place) -> Checked {
        let column_type = self
            .table
            .columns
            .get(column)
            .ok_or(Refusal::UnknownColumn)?
            .column_type;
        match place {
            Place::Outer => return Err(Refusal::NotGrouped),
            Place::Filter | Place::Key => column_type.allows_key()?,
            Place::Row => {}
        }
        kind_of(column_type)
    }

    /// The operand of a function of a day: a DATE or DATETIME column, or a function that yields a DATE of one.
    fn day(&mut self, operand: &Expr, place: Place) -> Result<(), Refusal> {
        let computed = match operand {
            Expr::Column(_) => true,
            Expr::Call(function, _) => function.returns == Returns::Date,
            _ => false,
        };
        if !computed {
            return Err(Refusal::Function);
        }
        match self.value(operand, place)? {
            Kind::Date | Kind::Datetime => Ok(()),
            _ => Err(Refusal::Function),
        }
    }

    fn call(&mut self, function: &Function, arguments: &[Expr], place: Place) -> Checked {
        match (function.family, place) {
            (Family::Day, _) => {
                let (operand, rest) = arguments.split_first().ok_or(Refusal::Function)?;
                self.day(operand, place)?;
                day_argument(function, rest)?;
                Ok(match function.returns {
                    Returns::Date => Kind::Date,
                    Returns::Text => Kind::Text,
                    _ => INT,
                })
            }
            (Family::Choice, Place::Row | Place::Outer) => self.choice(function, arguments, place),
            (Family::Number, Place::Outer) => self.number_function(function, arguments, place),
            (Family::Number, Place::Row) if function.name == "ABS" => {
                self.number_function(function, arguments, place)
            }
            (Family::Text, Place::Filter | Place::Key | Place::Outer) => {
                for argument in arguments {
                    self.text_part(argument, place)?;
                }
                Ok(Kind::Text)
            }
            _ => Err(form(place)),
        }
    }

    /// A part of a CONCAT: only what prints the same ASCII bytes in every session, so that no collation can make two of
    /// them equal.
    fn text_part(&mut self, part: &Expr, place: Place) -> Result<(), Refusal> {
        if let Expr::Literal(literal) = part {
            return match literal.shape {
                Shape::Text if plain_content(&literal.text).is_some() => Ok(()),
                Shape::Parameter(_) => Err(Refusal::ParameterPosition),
                _ => Err(Refusal::LiteralType),
            };
        }
        let printed = matches!(part, Expr::Extract(..))
            || matches!(part, Expr::Call(function, _)
                if function.family == Family::Day && function.returns != Returns::Date);
        if !printed {
            return Err(Refusal::Function);
        }
        self.value(part, place).map(|_| ())
    }

    fn choice(&mut self, function: &Function, arguments: &[Expr], place: Place) -> Checked {
        let values = if function.name == "IF" {
            let (condition, values) = arguments.split_first().ok_or(Refusal::Function)?;
            self.condition(condition, place)?;
            values
        } else {
            arguments
        };
        let mut kind = Kind::Null;
        for value in values {
            let next = self.value(value, place)?;
            // IFNULL(AVG(x), 0) prints as AVG(x) does.
            let zero = matches!(value, Expr::Literal(literal) if literal.is_zero() && literal.scale() == 0);
            kind = match (kind, next) {
                (Kind::Null, Kind::Average) if function.name != "IF" => Kind::Average,
                (Kind::Average, _) if zero && function.name != "NULLIF" => Kind::Average,
                _ => either(kind, next)?,
            };
        }
        Ok(kind)
    }

    fn number_function(
        &mut self,
        function: &Function,
        arguments: &[Expr],
        place: Place,
    ) -> Checked {
        let (operand, digits) = arguments.split_first().ok_or(Refusal::Function)?;
        let digits = match digits.first() {
            None => None,
            Some(Expr::Literal(digits)) => Some(small_number(digits, 30)?),
            Some(_) => return Err(Refusal::Function),
        };
        let kind = self.value(operand, place)?;
        let kind = if kind == Kind::Average {
            // Rounding AVG itself sees its hidden digits; a function between the two may not. Beyond the printed digits the
            // result is cut again.
            let rounds = matches!(function.name, "ROUND" | "TRUNCATE" | "FORMAT");
            let directly = matches!(operand, Expr::Aggregate(_));
            if !rounds || !directly || digits.unwrap_or(0) > AVERAGE_DIGITS_MIN {
                return Err(Refusal::AverageInExpression);
            }
            Kind::Decimal
        } else {
            number(kind)?
        };
        Ok(if function.returns == Returns::Text {
            Kind::Text
        } else {
            kind
        })
    }

    fn arithmetic(
        &mut self,
        operator: Operator,
        left: &Expr,
        right: &Expr,
        place: Place,
    ) -> Checked {
        if place != Place::Row && place != Place::Outer {
            return Err(form(place));
        }
        let kinds = [
            signed(self.value(left, place)?)?,
            signed(self.value(right, place)?)?,
        ];
        if operator != Operator::Divide {
            let both_int = kinds.iter().all(|kind| matches!(kind, Kind::Int { .. }));
            return Ok(if both_int { INT } else { Kind::Decimal });
        }
        if place == Place::Row || !self.is_never_zero(right) {
            return Err(if place == Place::Row {
                Refusal::AggregateArgument
            } else {
                Refusal::DivisionMayWarn
            });
        }
        for operand in [left, right] {
            scale::scales_are_stable(self.table, operand)?;
        }
        Ok(Kind::Decimal)
    }

    /// A divisor that is never zero: NULLIF(x, 0), a literal other than zero, or the number of rows of a group.
    fn is_never_zero(&self, divisor: &Expr) -> bool {
        match divisor {
            Expr::Literal(literal) => literal.shape == Shape::Number && !literal.is_zero(),
            Expr::Aggregate(aggregate) => {
                self.grouped && aggregate.function == AggregateFunction::CountStar
            }
            Expr::Call(function, arguments) if function.name == "NULLIF" => {
                matches!(arguments.get(1), Some(Expr::Literal(literal)) if literal.is_zero())
            }
            _ => false,
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Checked {
        let Some(argument) = aggregate.argument.as_deref() else {
            return Ok(INT);
        };
        match aggregate.function {
            AggregateFunction::CountStar => Ok(INT),
            AggregateFunction::Count => {
                self.counted(argument)?;
                Ok(INT)
            }
            AggregateFunction::Min | AggregateFunction::Max => {
                let Expr::Column(column) = argument else {
                    return Err(Refusal::AggregateArgument);
                };
                self.extreme(*column)
            }
            AggregateFunction::Sum | AggregateFunction::Avg | AggregateFunction::AvgHidden => {
                self.summed(argument)?;
                if aggregate.function == AggregateFunction::Sum {
                    return Ok(Kind::Decimal);
                }
                if !scale::is_stable(self.table, argument) {
                    return Err(Refusal::ScaleUnstable);
                }
                Ok(Kind::Average)
            }
        }
    }

    fn extreme(&self, column: usize) -> Checked {
        let column = self
            .table
            .columns
            .get(column)
            .ok_or(Refusal::UnknownColumn)?;
        match column.column_type {
            ColumnType::Timestamp => return Err(Refusal::TimestampColumn),
            // 9.7 warns of '0000-00-00' when it groups such NULLs in a temporary table.
            ColumnType::Date if column.nullable => return Err(Refusal::DateMinMax),
            column_type => column_type.allows_min_max()?,
        }
        kind_of(column.column_type)
    }

    fn summed(&mut self, argument: &Expr) -> Result<(), Refusal> {
        match self.value(argument, Place::Row)? {
            Kind::Int { .. } | Kind::Decimal => Ok(()),
            _ => Err(Refusal::AggregateArgument),
        }
    }

    /// The argument of COUNT: only whether it is NULL counts, so a column of any type will do.
    fn counted(&mut self, argument: &Expr) -> Result<(), Refusal> {
        match argument {
            Expr::Column(_) => Ok(()),
            Expr::Literal(literal) => match literal.shape {
                Shape::Null | Shape::Number | Shape::Boolean => Ok(()),
                Shape::Text if plain_content(&literal.text).is_some() => Ok(()),
                Shape::Parameter(_) => Err(Refusal::ParameterPosition),
                Shape::Text => Err(Refusal::AggregateArgument),
            },
            Expr::Case {
                operand,
                branches,
                otherwise,
            } => {
                for (when, then) in branches {
                    match operand {
                        Some(operand) => self.compare(operand, when, Place::Row, false)?,
                        None => self.condition(when, Place::Row)?,
                    }
                    self.counted(then)?;
                }
                otherwise
                    .as_deref()
                    .map_or(Ok(()), |otherwise| self.counted(otherwise))
            }
            Expr::Call(function, arguments) if function.name == "IF" => {
                let (condition, values) = arguments.split_first().ok_or(Refusal::Function)?;
                self.condition(condition, Place::Row)?;
                values.iter().try_for_each(|value| self.counted(value))
            }
            _ => self.value(argument, Place::Row).map(|_| ()),
        }
    }

    /// Checks a condition.
    ///
    /// # Errors
    /// The rule that it does not meet.
    pub fn condition(&mut self, expr: &Expr, place: Place) -> Result<(), Refusal> {
        match expr {
            Expr::Infix(operator, left, right) if operator.is_logical() => {
                self.condition(left, place)?;
                self.condition(right, place)
            }
            Expr::Not(operand) => self.condition(operand, place),
            Expr::Infix(operator, left, right) if !operator.is_arithmetic() => {
                let ranged = !matches!(
                    operator,
                    Operator::Equal | Operator::NotEqual | Operator::NullSafeEqual
                );
                self.compare(left, right, place, ranged)
            }
            Expr::IsNull { operand, .. } => self.operand(operand, place).map(|_| ()),
            Expr::InList { operand, list, .. } => self.in_list(operand, list, place),
            Expr::Between {
                operand, low, high, ..
            } => [low, high]
                .into_iter()
                .try_for_each(|bound| self.compare_literal(operand, bound, place, true)),
            Expr::Like {
                operand, pattern, ..
            } => match self.operand(operand, place)? {
                Kind::Text if place == Place::Filter => {
                    self.compare_literal(operand, pattern, place, false)
                }
                _ => Err(Refusal::PredicateForm),
            },
            Expr::DayBound { .. } => Ok(()),
            _ => match self.operand(expr, place)? {
                Kind::Int { .. } => Ok(()),
                _ => Err(Refusal::PredicateForm),
            },
        }
    }

    /// A value inside a condition, which must not be a condition itself: MySQL's precedence of those is not modelled.
    fn operand(&mut self, expr: &Expr, place: Place) -> Checked {
        match expr {
            Expr::Column(_) | Expr::Literal(_) | Expr::Call(..) | Expr::Extract(..) => {}
            Expr::Aggregate(_) | Expr::Case { .. } | Expr::Negative(_) => {}
            Expr::Infix(operator, ..) if operator.is_arithmetic() => {}
            _ => return Err(Refusal::PredicateForm),
        }
        self.value(expr, place)
    }

    fn compare(
        &mut self,
        left: &Expr,
        right: &Expr,
        place: Place,
        ranged: bool,
    ) -> Result<(), Refusal> {
        match (is_constant(left), is_constant(right)) {
            (true, true) => {
                for side in [left, right] {
                    number(self.operand(side, place)?)?;
                }
                Ok(())
            }
            (false, true) => self.compare_literal(left, right, place, ranged),
            (true, false) => self.compare_literal(right, left, place, ranged),
            (false, false) => {
                let kinds = [self.operand(left, place)?, self.operand(right, place)?];
                let comparable = match kinds {
                    [Kind::Average, _] | [_, Kind::Average] => {
                        return Err(Refusal::AverageInExpression);
                    }
                    [Kind::Date, Kind::Date] => true,
                    [Kind::Datetime, Kind::Datetime] => place == Place::Row,
                    [one, two] => number(one).is_ok() && number(two).is_ok(),
                };
                if comparable {
                    Ok(())
                } else {
                    Err(Refusal::PredicateForm)
                }
            }
        }
    }

    /// IN (..). Where its values may vary the list may have any length: the digest folds it into one literal.
    fn in_list(&mut self, operand: &Expr, list: &[Expr], place: Place) -> Result<(), Refusal> {
        let check = self.check_beside(operand, place, false)?;
        let varies = place == Place::Filter || place == Place::Outer && self.in_having;
        if !varies {
            return list
                .iter()
                .try_for_each(|item| self.compare_literal(operand, item, place, false));
        }
        let mut whole = None;
        for (at, item) in list.iter().enumerate() {
            let Expr::Literal(Literal {
                slot: Some(slot),
                shape: Shape::Number | Shape::Text | Shape::Parameter(_),
                prefix: None,
                ..
            }) = item
            else {
                return Err(Refusal::LiteralType);
            };
            let in_order = usize::from(slot.element) == at
                && whole.is_none_or(|literal| literal == slot.literal);
            if !in_order {
                return Err(Refusal::LiteralPosition);
            }
            whole = Some(slot.literal);
        }
        let literal = whole.ok_or(Refusal::PredicateForm)?;
        self.varying.lists.push((literal, check));
        Ok(())
    }

    /// What a literal must be to be compared with an operand.
    fn check_beside(
        &mut self,
        operand: &Expr,
        place: Place,
        ranged: bool,
    ) -> Result<Check, Refusal> {
        match self.operand(operand, place)? {
            Kind::Int { .. } | Kind::Decimal if place == Place::Outer => Ok(Check::Number),
            Kind::Int { unsigned } => Ok(Check::Integer { unsigned }),
            Kind::Decimal => Ok(Check::Number),
            // As an equal of a DATE a literal with a time of day warns.
            Kind::Date if !ranged => Ok(Check::DayStart),
            Kind::Date | Kind::Datetime => Ok(Check::Date),
            Kind::Year => Ok(Check::Year),
            Kind::Text | Kind::Member => Ok(Check::Text),
            Kind::Average => Ok(Check::Number),
            Kind::Time | Kind::Null => Err(Refusal::LiteralType),
        }
    }

    fn compare_literal(
        &mut self,
        operand: &Expr,
        constant: &Expr,
        place: Place,
        ranged: bool,
    ) -> Result<(), Refusal> {
        let check = self.check_beside(operand, place, ranged)?;
        match constant {
            Expr::Literal(literal) => self.literal(literal, check, place),
            // A sign that is not part of the literal: the number behind it shapes the query.
            Expr::Negative(inner) => match (inner.as_ref(), check) {
                (Expr::Literal(literal), Check::Number | Check::Integer { unsigned: false }) => {
                    check.literal(literal.text.as_bytes())
                }
                _ => Err(Refusal::LiteralType),
            },
            _ => Err(Refusal::PredicateForm),
        }
    }

    fn literal(&mut self, literal: &Literal, check: Check, place: Place) -> Result<(), Refusal> {
        let counts_as_number = matches!(check, Check::Number | Check::Integer { .. });
        if literal.prefix.is_some() && check != Check::Date {
            return Err(Refusal::LiteralType);
        }
        match (literal.shape, literal.slot, place) {
            (Shape::Null, ..) => Err(Refusal::LiteralType),
            (Shape::Boolean, ..) if counts_as_number => Ok(()),
            (Shape::Boolean, ..) => Err(Refusal::LiteralType),
            (_, None, _) => Err(Refusal::LiteralPosition),
            (_, Some(slot), Place::Filter) => {
                self.varying.values.push((slot, check));
                Ok(())
            }
            (_, Some(slot), Place::Outer) if self.in_having => {
                self.varying.values.push((slot, check));
                Ok(())
            }
            (Shape::Parameter(_), ..) => Err(Refusal::ParameterPosition),
            _ => {
                check.literal(literal.text.as_bytes())?;
                // What goes into the view's text must mean the same in every session.
                if literal.shape == Shape::Text && plain_content(&literal.text).is_none() {
                    return Err(Refusal::AggregateArgument);
                }
                Ok(())
            }
        }
    }
}

fn form(place: Place) -> Refusal {
    match place {
        Place::Row => Refusal::AggregateArgument,
        Place::Filter => Refusal::PredicateForm,
        Place::Key => Refusal::KeyForm,
        Place::Outer => Refusal::Function,
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(_) => true,
        Expr::Negative(inner) => matches!(inner.as_ref(), Expr::Literal(_)),
        _ => false,
    }
}

fn constant(literal: &Literal, place: Place) -> Checked {
    match literal.shape {
        Shape::Parameter(_) => Err(Refusal::ParameterPosition),
        _ if literal.prefix.is_some() => Err(Refusal::LiteralType),
        Shape::Null => Ok(Kind::Null),
        Shape::Boolean => Ok(INT),
        Shape::Number => {
            Check::Number.literal(literal.text.as_bytes())?;
            Ok(if literal.text.contains('.') {
                Kind::Decimal
            } else {
                INT
            })
        }
        Shape::Text if place == Place::Outer && plain_content(&literal.text).is_some() => {
            Ok(Kind::Text)
        }
        Shape::Text => Err(Refusal::LiteralType),
    }
}

fn kind_of(column_type: ColumnType) -> Checked {
    Ok(match column_type {
        ColumnType::Int { unsigned, .. } => Kind::Int { unsigned },
        ColumnType::Decimal { .. } => Kind::Decimal,
        ColumnType::Date => Kind::Date,
        ColumnType::Datetime { .. } => Kind::Datetime,
        ColumnType::Year => Kind::Year,
        ColumnType::Time => Kind::Time,
        ColumnType::Text | ColumnType::Binary => Kind::Text,
        ColumnType::Enum | ColumnType::Set => Kind::Member,
        ColumnType::Timestamp => return Err(Refusal::TimestampColumn),
        ColumnType::Approximate => return Err(Refusal::FloatAggregate),
        ColumnType::Other => return Err(Refusal::KeyType),
    })
}

fn number(kind: Kind) -> Checked {
    match kind {
        Kind::Int { .. } | Kind::Decimal => Ok(kind),
        Kind::Average => Err(Refusal::AverageInExpression),
        _ => Err(Refusal::Operator),
    }
}

/// A number on which arithmetic cannot fail by its sign.
fn signed(kind: Kind) -> Checked {
    match number(kind)? {
        Kind::Int { unsigned: true } => Err(Refusal::Operator),
        kind => Ok(kind),
    }
}

/// The kind of a choice between two.
fn either(one: Kind, two: Kind) -> Checked {
    match (one, two) {
        (Kind::Average, _) | (_, Kind::Average) => Err(Refusal::AverageInExpression),
        (Kind::Null, kind) | (kind, Kind::Null) => Ok(kind),
        (Kind::Int { unsigned: one }, Kind::Int { unsigned: two }) => Ok(Kind::Int {
            unsigned: one || two,
        }),
        (Kind::Int { .. } | Kind::Decimal, Kind::Int { .. } | Kind::Decimal) => Ok(Kind::Decimal),
        (Kind::Text, Kind::Text) => Ok(Kind::Text),
        _ => Err(Refusal::Function),
    }
}

/// The second argument of a function of a day.
fn day_argument(function: &Function, rest: &[Expr]) -> Result<(), Refusal> {
    let literal = match rest {
        [] => return Ok(()),
        [Expr::Literal(literal)] => literal,
        _ => return Err(Refusal::Function),
    };
    if function.name != "DATE_FORMAT" {
        return small_number(literal, 7).map(|_| ());
    }
    match literal.shape {
        Shape::Text => {}
        Shape::Parameter(_) => return Err(Refusal::ParameterPosition),
        _ => return Err(Refusal::LiteralType),
    }
    let mask = plain_content(&literal.text).ok_or(Refusal::LiteralType)?;
    let mut letters = mask.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            continue;
        }
        match letters.next() {
            Some(
                'Y' | 'y' | 'm' | 'c' | 'd' | 'e' | 'j' | 'u' | 'U' | 'v' | 'V' | 'x' | 'X' | 'w'
                | '%',
            ) => {}
            Some('M' | 'b' | 'W' | 'a' | 'D') => return Err(Refusal::LocaleFormat),
            Some('H' | 'h' | 'I' | 'i' | 'k' | 'l' | 'p' | 'r' | 's' | 'S' | 'T' | 'f') => {
                return Err(Refusal::TimePart);
            }
            _ => return Err(Refusal::Function),
        }
    }
    Ok(())
}

fn small_number(literal: &Literal, most: u32) -> Result<u32, Refusal> {
    match literal.shape {
        Shape::Parameter(_) => Err(Refusal::ParameterPosition),
        Shape::Number => match literal.text.parse::<u32>() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(Refusal::Function),
        },
        _ => Err(Refusal::Function),
    }
}

/// Whether an expression has an AVG anywhere in it.
fn holds_average(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |part| {
        found |= matches!(part, Expr::Aggregate(aggregate) if aggregate.function == AggregateFunction::Avg);
    });
    found
}
