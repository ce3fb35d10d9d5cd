//! From the parsed tree to the closed language of expressions; names are resolved by MySQL's rules on the way.
//! Knows no types. What has no form in the language is refused by name.

use sqlparser::ast;
use sqlparser::tokenizer::Location;

use super::check::skip_sign;
use super::expression::{Aggregate, AggregateFunction, Expr, Operator};
use super::functions::find_function;
use super::literal::{Literal, Places, Shape, parameters_before};
use crate::views::refusal::Refusal;
use crate::views::schema::{TableSchema, may_be_equal, names_equal};

/// One item of the select list, for alias look-ups.
#[derive(Debug, Clone)]
pub struct Item {
    /// The alias, when one was written.
    pub alias: Option<String>,
    /// What it is.
    pub expr: Expr,
}

/// Where an expression stands: decides whether aliases and aggregates may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// WHERE: columns only, no aggregates.
    Where,
    /// The select list: columns and aggregates.
    Select,
    /// GROUP BY: aliases too, no aggregates.
    GroupBy,
    /// HAVING and ORDER BY: aliases and aggregates.
    After,
    /// Inside an aggregate: columns only.
    Argument,
}

/// Converts the expressions of one SELECT.
#[derive(Debug)]
pub struct Converter<'a> {
    /// The one table.
    pub table: &'a TableSchema,
    /// What may stand in front of a column name: the alias, or the table's name.
    pub qualifier: &'a str,
    /// Whether `schema.table.column` is possible: only without an alias.
    pub schema: Option<&'a str>,
    /// The literals of the text.
    pub places: &'a Places<'a>,
    /// The select list, once converted.
    pub items: Vec<Item>,
}

type Converted = Result<Expr, Refusal>;

impl Converter<'_> {
    /// Converts one expression.
    ///
    /// # Errors
    /// The rule that keeps it out.
    pub fn expr(&self, expr: &ast::Expr, clause: Clause) -> Converted {
        match expr {
            ast::Expr::Nested(inner) => self.expr(inner, clause),
            ast::Expr::Identifier(ident) => self.name(ident, clause),
            ast::Expr::CompoundIdentifier(parts) => self.qualified(parts),
            ast::Expr::Value(value) => self.literal(value, None, false).map(Expr::Literal),
            ast::Expr::TypedString(typed) => self.typed_string(typed),
            ast::Expr::UnaryOp { op, expr } => self.unary(op, expr, clause),
            ast::Expr::BinaryOp { left, op, right } => {
                let operator = operator(op)?;
                let (left, right) = (self.expr(left, clause)?, self.expr(right, clause)?);
                Ok(Expr::Infix(operator, Box::new(left), Box::new(right)))
            }
            ast::Expr::Function(call) => self.call(call, clause),
            ast::Expr::Case { .. } => self.case(expr, clause),
            ast::Expr::Extract { field, expr, .. } => {
                let unit = extract_unit(field)?;
                Ok(Expr::Extract(unit, Box::new(self.expr(expr, clause)?)))
            }
            ast::Expr::Floor { expr, field } => self.floor("FLOOR", expr, field, clause),
            ast::Expr::Ceil { expr, field } => self.floor("CEILING", expr, field, clause),
            _ => self.condition(expr, clause),
        }
    }

    fn condition(&self, expr: &ast::Expr, clause: Clause) -> Converted {
        let boxed = |expr: &ast::Expr| self.expr(expr, clause).map(Box::new);
        match expr {
            ast::Expr::IsNull(operand) => Ok(Expr::IsNull {
                negated: false,
                operand: boxed(operand)?,
            }),
            ast::Expr::IsNotNull(operand) => Ok(Expr::IsNull {
                negated: true,
                operand: boxed(operand)?,
            }),
            ast::Expr::InList {
                expr,
                list,
                negated,
            } => Ok(Expr::InList {
                negated: *negated,
                operand: boxed(expr)?,
                list: list
                    .iter()
                    .map(|item| self.expr(item, clause))
                    .collect::<Result<_, _>>()?,
            }),
            ast::Expr::Between {
                expr,
                negated,
                low,
                high,
            } => Ok(Expr::Between {
                negated: *negated,
                operand: boxed(expr)?,
                low: boxed(low)?,
                high: boxed(high)?,
            }),
            ast::Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => Ok(Expr::Like {
                negated: *negated,
                operand: boxed(expr)?,
                pattern: boxed(pattern)?,
            }),
            ast::Expr::Subquery(_)
            | ast::Expr::Exists { .. }
            | ast::Expr::InSubquery { .. }
            | ast::Expr::AnyOp { .. }
            | ast::Expr::AllOp { .. } => Err(Refusal::Subquery),
            ast::Expr::Cast { .. }
            | ast::Expr::Convert { .. }
            | ast::Expr::Substring { .. }
            | ast::Expr::Trim { .. }
            | ast::Expr::Position { .. } => Err(Refusal::Function),
            _ => Err(Refusal::Operator),
        }
    }

    fn unary(&self, op: &ast::UnaryOperator, operand: &ast::Expr, clause: Clause) -> Converted {
        match op {
            ast::UnaryOperator::Not => Ok(Expr::Not(Box::new(self.expr(operand, clause)?))),
            ast::UnaryOperator::Minus | ast::UnaryOperator::Plus => {
                let minus = *op == ast::UnaryOperator::Minus;
                if let ast::Expr::Value(value) = operand {
                    let literal = self.literal(value, None, true)?;
                    let signed = literal.text.starts_with(['-', '+']);
                    if signed || !minus {
                        return Ok(Expr::Literal(literal));
                    }
                    return Ok(Expr::Negative(Box::new(Expr::Literal(literal))));
                }
                let operand = self.expr(operand, clause)?;
                Ok(if minus {
                    Expr::Negative(Box::new(operand))
                } else {
                    operand
                })
            }
            _ => Err(Refusal::Operator),
        }
    }

    /// A literal at its place in the text. `after_sign`: the tree has a sign in front, so the span may have it too.
    ///
    /// # Errors
    /// When its kind is not taken or the text does not have it where the tree says.
    pub fn literal(
        &self,
        value: &ast::ValueWithSpan,
        prefix: Option<&'static str>,
        after_sign: bool,
    ) -> Result<Literal, Refusal> {
        let Location { line, column } = value.span.start;
        let found = self.places.at(line, column);
        let shape = match &value.value {
            ast::Value::Number(_, false) => Shape::Number,
            ast::Value::SingleQuotedString(_) | ast::Value::DoubleQuotedString(_) => Shape::Text,
            ast::Value::Boolean(_) => Shape::Boolean,
            ast::Value::Null => Shape::Null,
            ast::Value::Placeholder(text) if text == "?" => {
                let (slot, _) = found.ok_or(Refusal::LiteralPosition)?;
                let number = parameters_before(self.places.text(), self.places.literals(), slot)
                    .ok_or(Refusal::LiteralPosition)?;
                Shape::Parameter(number)
            }
            ast::Value::Placeholder(text) if text.starts_with('@') => {
                return Err(Refusal::Variable);
            }
            _ => return Err(Refusal::LiteralType),
        };
        let keyword = match &value.value {
            ast::Value::Boolean(true) => Some("TRUE"),
            ast::Value::Boolean(false) => Some("FALSE"),
            ast::Value::Null => Some("NULL"),
            _ => None,
        };
        let Some((slot, bytes)) = found else {
            // The digest keeps these words; any other literal must have its place.
            let text = keyword.ok_or(Refusal::LiteralPosition)?.to_owned();
            return Ok(Literal {
                slot: None,
                shape,
                prefix,
                text,
            });
        };
        let text = std::str::from_utf8(bytes).map_err(|_not_utf8| Refusal::LiteralPosition)?;
        let signed = skip_sign(bytes).1;
        let agrees = match &value.value {
            ast::Value::Number(number, _) => text.ends_with(number.as_str()),
            ast::Value::SingleQuotedString(_) => text.starts_with('\''),
            ast::Value::DoubleQuotedString(_) => text.starts_with('"'),
            ast::Value::Placeholder(_) => text == "?",
            _ => keyword.is_some_and(|word| word.eq_ignore_ascii_case(text)),
        };
        if !agrees || signed && !after_sign {
            return Err(Refusal::LiteralPosition);
        }
        Ok(Literal {
            slot: Some(slot),
            shape,
            prefix,
            text: keyword.map_or_else(|| text.to_owned(), str::to_owned),
        })
    }

    fn typed_string(&self, typed: &ast::TypedString) -> Converted {
        let prefix = match typed.data_type {
            _ if typed.uses_odbc_syntax => return Err(Refusal::LiteralType),
            ast::DataType::Date => "DATE",
            ast::DataType::Timestamp(None, _) => "TIMESTAMP",
            _ => return Err(Refusal::LiteralType),
        };
        let literal = self.literal(&typed.value, Some(prefix), false)?;
        match literal.shape {
            Shape::Text => Ok(Expr::Literal(literal)),
            _ => Err(Refusal::LiteralType),
        }
    }

    /// An unqualified name. In WHERE, the select list and arguments only columns count. Elsewhere MySQL looks at columns
    /// and aliases in an order that depends on the clause: a name that could be both is refused unless both are the same.
    fn name(&self, ident: &ast::Ident, clause: Clause) -> Converted {
        let name = identifier(ident)?;
        let column = self.column(name);
        if matches!(clause, Clause::Where | Clause::Select) {
            return column;
        }
        let found = self.alias(name)?;
        match (column, found) {
            (Ok(column), None) => Ok(column),
            (Ok(column), Some(alias)) if *alias == column => Ok(column),
            (Ok(_), Some(_)) => Err(Refusal::AmbiguousName),
            (Err(_), Some(alias)) if clause != Clause::Argument => Ok(alias.clone()),
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// What the select list calls by this name: an alias, or a plain column of that name.
    ///
    /// # Errors
    /// When it calls two different things so, or may do.
    pub fn alias(&self, name: &str) -> Result<Option<&Expr>, Refusal> {
        let mut found: Option<&Expr> = None;
        for item in &self.items {
            let called = match (&item.alias, &item.expr) {
                (Some(alias), _) => alias.as_str(),
                (None, Expr::Column(column)) => self
                    .table
                    .columns
                    .get(*column)
                    .map_or("", |described| described.name.as_str()),
                _ => continue,
            };
            if !may_be_equal(called, name) {
                continue;
            }
            if !names_equal(called, name) || found.is_some_and(|other| *other != item.expr) {
                return Err(Refusal::AmbiguousName);
            }
            found = Some(&item.expr);
        }
        Ok(found)
    }

    fn column(&self, name: &str) -> Converted {
        let position = self.table.position(name).ok_or(Refusal::UnknownColumn)?;
        let described = self
            .table
            .columns
            .get(position)
            .ok_or(Refusal::UnknownColumn)?;
        if described.generated_virtual {
            return Err(Refusal::VirtualColumn);
        }
        Ok(Expr::Column(position))
    }

    fn qualified(&self, parts: &[ast::Ident]) -> Converted {
        let (schema, table, column) = match parts {
            [table, column] => (None, table, column),
            [schema, table, column] => (Some(schema), table, column),
            _ => return Err(Refusal::UnknownColumn),
        };
        // Names of tables and schemas have case or not by server setting: only the very same spelling is taken.
        if identifier(table)? != self.qualifier {
            return Err(Refusal::UnknownColumn);
        }
        if let Some(schema) = schema
            && Some(identifier(schema)?) != self.schema
        {
            return Err(Refusal::UnknownColumn);
        }
        self.column(identifier(column)?)
    }

    /// Whether the client quoted a name; the tree's own mark does not say.
    fn is_quoted(&self, ident: &ast::Ident) -> bool {
        let Location { line, column } = ident.span.start;
        matches!(self.places.byte_at(line, column), None | Some(b'`' | b'"'))
    }

    fn call(&self, call: &ast::Function, clause: Clause) -> Converted {
        let name = match call.name.0.as_slice() {
            [ast::ObjectNamePart::Identifier(ident)] if !self.is_quoted(ident) => ident,
            _ => return Err(Refusal::Function),
        };
        if call.over.is_some() {
            return Err(Refusal::WindowFunction);
        }
        let plain = !call.uses_odbc_syntax
            && matches!(call.parameters, ast::FunctionArguments::None)
            && call.within_group.is_empty()
            && call.filter.is_none()
            && call.null_treatment.is_none();
        if !plain {
            return Err(Refusal::Function);
        }
        let list = match &call.args {
            ast::FunctionArguments::List(list) => list,
            // CURRENT_DATE and the like.
            ast::FunctionArguments::None => {
                return Err(find_function(&name.value, 0)
                    .err()
                    .unwrap_or(Refusal::Function));
            }
            ast::FunctionArguments::Subquery(_) => return Err(Refusal::Subquery),
        };
        if let Some(function) = aggregate_function(&name.value) {
            return self.aggregate(function, name, list, clause);
        }
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(find_function(&name.value, 0)
                .err()
                .unwrap_or(Refusal::Function));
        }
        let function = find_function(&name.value, list.args.len())?;
        let arguments = list
            .args
            .iter()
            .map(|argument| self.expr(plain_argument(argument)?, clause))
            .collect::<Result<_, _>>()?;
        Ok(Expr::Call(function, arguments))
    }

    fn aggregate(
        &self,
        function: AggregateFunction,
        name: &ast::Ident,
        list: &ast::FunctionArgumentList,
        clause: Clause,
    ) -> Converted {
        if matches!(clause, Clause::Where | Clause::GroupBy | Clause::Argument) {
            return Err(Refusal::NestedAggregate);
        }
        if list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct) {
            return Err(Refusal::DistinctAggregate);
        }
        // With a space in front of the parenthesis the name is a stored function's.
        let Location { line, column } = name.span.end;
        if !list.clauses.is_empty() || self.places.byte_at(line, column) != Some(b'(') {
            return Err(Refusal::Function);
        }
        let [argument] = list.args.as_slice() else {
            return Err(Refusal::AggregateArgument);
        };
        if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) = argument {
            return match function {
                AggregateFunction::Count => Ok(Expr::Aggregate(Aggregate {
                    function: AggregateFunction::CountStar,
                    argument: None,
                })),
                _ => Err(Refusal::AggregateArgument),
            };
        }
        let argument = self.expr(plain_argument(argument)?, Clause::Argument)?;
        if function == AggregateFunction::Count && self.is_never_null(&argument) {
            return Ok(Expr::Aggregate(Aggregate {
                function: AggregateFunction::CountStar,
                argument: None,
            }));
        }
        Ok(Expr::Aggregate(Aggregate {
            function,
            argument: Some(Box::new(argument)),
        }))
    }

    fn is_never_null(&self, argument: &Expr) -> bool {
        match argument {
            Expr::Column(column) => self
                .table
                .columns
                .get(*column)
                .is_some_and(|described| !described.nullable),
            Expr::Literal(literal) => {
                matches!(literal.shape, Shape::Number | Shape::Text | Shape::Boolean)
            }
            _ => false,
        }
    }

    fn case(&self, expr: &ast::Expr, clause: Clause) -> Converted {
        let ast::Expr::Case {
            operand,
            conditions,
            else_result,
            ..
        } = expr
        else {
            return Err(Refusal::Operator);
        };
        let optional = |part: &Option<Box<ast::Expr>>| {
            part.as_deref()
                .map(|part| self.expr(part, clause).map(Box::new))
                .transpose()
        };
        let mut branches = Vec::with_capacity(conditions.len());
        for branch in conditions {
            branches.push((
                self.expr(&branch.condition, clause)?,
                self.expr(&branch.result, clause)?,
            ));
        }
        Ok(Expr::Case {
            operand: optional(operand)?,
            branches,
            otherwise: optional(else_result)?,
        })
    }

    fn floor(
        &self,
        name: &str,
        operand: &ast::Expr,
        field: &ast::CeilFloorKind,
        clause: Clause,
    ) -> Converted {
        match field {
            ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) => Ok(Expr::Call(
                find_function(name, 1)?,
                vec![self.expr(operand, clause)?],
            )),
            _ => Err(Refusal::Function),
        }
    }
}

/// The name of an identifier; refused when it is quoted in another way than MySQL's or is a variable.
///
/// # Errors
/// The rule that keeps it out.
pub fn identifier(ident: &ast::Ident) -> Result<&str, Refusal> {
    match ident.quote_style {
        _ if ident.value.starts_with('@') => Err(Refusal::Variable),
        None | Some('`') => Ok(&ident.value),
        Some(_) => Err(Refusal::UnknownColumn),
    }
}

fn plain_argument(argument: &ast::FunctionArg) -> Result<&ast::Expr, Refusal> {
    match argument {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Ok(expr),
        _ => Err(Refusal::Function),
    }
}

fn aggregate_function(name: &str) -> Option<AggregateFunction> {
    [
        ("COUNT", AggregateFunction::Count),
        ("SUM", AggregateFunction::Sum),
        ("AVG", AggregateFunction::Avg),
        ("MIN", AggregateFunction::Min),
        ("MAX", AggregateFunction::Max),
    ]
    .into_iter()
    .find(|(known, _)| names_equal(known, name))
    .map(|(_, function)| function)
}

fn operator(op: &ast::BinaryOperator) -> Result<Operator, Refusal> {
    Ok(match op {
        ast::BinaryOperator::Plus => Operator::Add,
        ast::BinaryOperator::Minus => Operator::Subtract,
        ast::BinaryOperator::Multiply => Operator::Multiply,
        ast::BinaryOperator::Divide => Operator::Divide,
        ast::BinaryOperator::Eq => Operator::Equal,
        ast::BinaryOperator::Spaceship => Operator::NullSafeEqual,
        ast::BinaryOperator::NotEq => Operator::NotEqual,
        ast::BinaryOperator::Lt => Operator::Less,
        ast::BinaryOperator::LtEq => Operator::LessOrEqual,
        ast::BinaryOperator::Gt => Operator::Greater,
        ast::BinaryOperator::GtEq => Operator::GreaterOrEqual,
        ast::BinaryOperator::And => Operator::And,
        ast::BinaryOperator::Or => Operator::Or,
        _ => return Err(Refusal::Operator),
    })
}

fn extract_unit(field: &ast::DateTimeField) -> Result<&'static str, Refusal> {
    match field {
        ast::DateTimeField::Year => Ok("YEAR"),
        ast::DateTimeField::Quarter => Ok("QUARTER"),
        ast::DateTimeField::Month => Ok("MONTH"),
        ast::DateTimeField::Day => Ok("DAY"),
        ast::DateTimeField::Hour
        | ast::DateTimeField::Minute
        | ast::DateTimeField::Second
        | ast::DateTimeField::Microsecond => Err(Refusal::TimePart),
        _ => Err(Refusal::Function),
    }
}
