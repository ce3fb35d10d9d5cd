//! From a parsed SELECT to a pattern: clause by clause, in the order in which MySQL resolves them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast;

use super::check::Check;
use super::convert::{Clause, Converter, Item, identifier};
use super::expression::{Expr, Operator};
use super::functions::{Family, find_function};
use super::literal::{Fixed, Literal, Places, Shape, Slot, Varying};
use super::rules::{Kind, Place, Rules};
use super::{Limit, Need, Order, Pattern};
use crate::sql::Literal as DigestLiteral;
use crate::views::definition::BaseTable;
use crate::views::refusal::Refusal;
use crate::views::schema::{ColumnType, TableSchema};

/// The table of FROM as it is written.
struct From<'a> {
    schema: Option<&'a str>,
    name: &'a str,
    alias: Option<&'a str>,
}

pub(super) fn base_table(
    ast: &ast::Statement,
    default_schema: Option<&str>,
) -> Result<BaseTable, Refusal> {
    let (_, select) = select(ast)?;
    let from = from(select)?;
    let schema = from.schema.or(default_schema).ok_or(Refusal::NoTable)?;
    Ok(BaseTable {
        schema: schema.to_owned(),
        name: from.name.to_owned(),
    })
}

pub(super) fn pattern(
    ast: &ast::Statement,
    text: &[u8],
    literals: &[DigestLiteral],
    table: &Arc<TableSchema>,
) -> Result<Pattern, Refusal> {
    table.is_eligible()?;
    let (query, select) = select(ast)?;
    refuse_hints(text)?;
    refuse_bang(text, literals)?;
    let places = Places::new(text, literals)?;
    let from = from(select)?;
    let mut converter = converter(&from, table, &places);
    converter.items = items(&converter, &select.projection)?;
    let mut rules = Rules {
        table,
        keys: Vec::new(),
        grouped: false,
        in_having: false,
        varying: Varying::default(),
    };
    let grouped =
        !matches!(&select.group_by, ast::GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let aggregated = converter.items.iter().any(|item| item.expr.has_aggregate());
    if !grouped && !aggregated {
        return Err(Refusal::NoAggregate);
    }
    let keys = group_keys(&converter, &select.group_by, &mut rules)?;
    let (filters, day_bounds) = filters(&converter, select.selection.as_ref(), &mut rules)?;
    let outer = outer(&converter, query, select, &mut rules)?;
    if !places.all_named() {
        return Err(Refusal::LiteralPosition);
    }
    let total_order = keys
        .iter()
        .flatten()
        .all(|key| outer.order.iter().any(|order| order.expr == *key));
    if outer.limit.is_some() && !total_order {
        return Err(Refusal::LimitWithoutOrder);
    }
    let varying = varying(rules.varying, outer.limit.as_ref(), literals)?;
    let mut all = varying.clone();
    all.values
        .extend(day_bounds.iter().map(|(_, _, slot)| (*slot, Check::Date)));
    let fixed = Fixed::of(text, literals, &all)?;
    let mut pattern = Pattern {
        table: Arc::clone(table),
        projection: converter.items.into_iter().map(|item| item.expr).collect(),
        having: outer.having,
        order: outer.order,
        limit: outer.limit,
        total_order,
        needs: needs(table, keys.iter().flatten().chain(&filters)),
        filters,
        keys,
        varying,
        day_bounds,
        fixed,
        literal_count: literals.len(),
    };
    for expr in pattern.outer_mut() {
        expr.mark_hidden(false);
    }
    // Arguments that cannot be stored must be known now.
    pattern.generalise()?;
    Ok(pattern)
}

fn refuse_hints(text: &[u8]) -> Result<(), Refusal> {
    let hinted = [&b"/*!"[..], b"/*+", b"/*M!"]
        .iter()
        .any(|mark| memchr::memmem::find(text, mark).is_some());
    if hinted { Err(Refusal::Hint) } else { Ok(()) }
}

/// `!x` binds closer than NOT, which is what the tree makes of it. Every `!` that is neither in a literal nor part of `!=`
/// counts; one in a name or comment costs no more than the rewrite.
fn refuse_bang(text: &[u8], literals: &[DigestLiteral]) -> Result<(), Refusal> {
    for at in memchr::memchr_iter(b'!', text) {
        let in_literal = literals
            .iter()
            .any(|literal| (literal.start as usize..literal.end as usize).contains(&at));
        if !in_literal && text.get(at + 1) != Some(&b'=') {
            return Err(Refusal::Operator);
        }
    }
    Ok(())
}

fn converter<'a>(from: &From<'a>, table: &'a TableSchema, places: &'a Places<'a>) -> Converter<'a> {
    Converter {
        table,
        qualifier: from.alias.unwrap_or(from.name),
        schema: from.alias.is_none().then_some(&*table.schema),
        places,
        items: Vec::new(),
    }
}

fn select(ast: &ast::Statement) -> Result<(&ast::Query, &ast::Select), Refusal> {
    let ast::Statement::Query(query) = ast else {
        return Err(Refusal::NotSelect);
    };
    if query.with.is_some() {
        return Err(Refusal::CommonTable);
    }
    if !query.locks.is_empty() {
        return Err(Refusal::LockingRead);
    }
    let ast::SetExpr::Select(select) = query.body.as_ref() else {
        return Err(Refusal::SetOperation);
    };
    let foreign = query.fetch.is_some()
        || query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty()
        || select.top.is_some()
        || select.exclude.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some()
        || !matches!(select.flavor, ast::SelectFlavor::Standard);
    let rules = [
        (foreign, Refusal::NotSelect),
        (!select.optimizer_hints.is_empty(), Refusal::Hint),
        (select.distinct.is_some(), Refusal::Distinct),
        (
            select
                .select_modifiers
                .as_ref()
                .is_some_and(ast::SelectModifiers::is_any_set),
            Refusal::Modifier,
        ),
        (select.into.is_some(), Refusal::Into),
        (!select.named_window.is_empty(), Refusal::WindowFunction),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, refusal)) => Err(refusal),
        None => Ok((query, select)),
    }
}

fn from(select: &ast::Select) -> Result<From<'_>, Refusal> {
    let table = match select.from.as_slice() {
        [] => return Err(Refusal::NoTable),
        [one] if one.joins.is_empty() => &one.relation,
        _ => return Err(Refusal::Join),
    };
    let ast::TableFactor::Table {
        name,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_hints,
    } = table
    else {
        return Err(match table {
            ast::TableFactor::NestedJoin { .. } => Refusal::Join,
            _ => Refusal::DerivedTable,
        });
    };
    if !index_hints.is_empty() {
        return Err(Refusal::IndexHint);
    }
    if !partitions.is_empty() {
        return Err(Refusal::PartitionSelection);
    }
    let plain = args.is_none()
        && with_hints.is_empty()
        && version.is_none()
        && !with_ordinality
        && json_path.is_none()
        && sample.is_none();
    if !plain {
        return Err(Refusal::DerivedTable);
    }
    let alias = match alias {
        None => None,
        Some(alias) if alias.columns.is_empty() && alias.at.is_none() => {
            Some(identifier(&alias.name)?)
        }
        Some(_) => return Err(Refusal::DerivedTable),
    };
    let part = |part: &'_ ast::ObjectNamePart| match part {
        ast::ObjectNamePart::Identifier(_) => Ok(()),
        ast::ObjectNamePart::Function(_) => Err(Refusal::DerivedTable),
    };
    name.0.iter().try_for_each(part)?;
    let names: Vec<&ast::Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    let (schema, name) = match names.as_slice() {
        [name] => (None, identifier(name)?),
        [schema, name] => (Some(identifier(schema)?), identifier(name)?),
        _ => return Err(Refusal::DerivedTable),
    };
    if schema.is_none() && name.eq_ignore_ascii_case("dual") {
        return Err(Refusal::NoTable);
    }
    Ok(From {
        schema,
        name,
        alias,
    })
}

fn items(converter: &Converter<'_>, projection: &[ast::SelectItem]) -> Result<Vec<Item>, Refusal> {
    projection
        .iter()
        .map(|item| match item {
            ast::SelectItem::UnnamedExpr(expr) => Ok(Item {
                alias: None,
                expr: converter.expr(expr, Clause::Select)?,
            }),
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                // An alias may be a string, which the digest takes for a literal.
                let place = alias.span.start;
                converter.places.at(place.line, place.column);
                Ok(Item {
                    alias: Some(alias.value.clone()),
                    expr: converter.expr(expr, Clause::Select)?,
                })
            }
            ast::SelectItem::ExprWithAliases { .. } => Err(Refusal::NotSelect),
            ast::SelectItem::QualifiedWildcard(..) | ast::SelectItem::Wildcard(_) => {
                Err(Refusal::Wildcard)
            }
        })
        .collect()
}

fn group_keys(
    converter: &Converter<'_>,
    group_by: &ast::GroupByExpr,
    rules: &mut Rules<'_>,
) -> Result<Option<Vec<Expr>>, Refusal> {
    let ast::GroupByExpr::Expressions(exprs, modifiers) = group_by else {
        return Err(Refusal::Rollup);
    };
    if !modifiers.is_empty() {
        return Err(Refusal::Rollup);
    }
    if exprs.is_empty() {
        return Ok(None);
    }
    let mut keys: Vec<Expr> = Vec::with_capacity(exprs.len());
    for expr in exprs {
        if matches!(
            expr,
            ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_)
        ) {
            return Err(Refusal::Rollup);
        }
        let key = match ordinal(converter, expr)? {
            Some(item) => item,
            None => converter.expr(expr, Clause::GroupBy)?,
        };
        match &key {
            Expr::Literal(_) | Expr::Aggregate(_) => return Err(Refusal::ConstantGroup),
            _ if key.has_aggregate() => return Err(Refusal::ConstantGroup),
            Expr::Column(_) | Expr::Extract(..) => {}
            Expr::Call(function, _) if matches!(function.family, Family::Day | Family::Text) => {}
            _ => return Err(Refusal::KeyForm),
        }
        rules.value(&key, Place::Key)?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    rules.grouped = true;
    rules.keys.clone_from(&keys);
    Ok(Some(keys))
}

/// The select item that a number in GROUP BY or ORDER BY names.
fn ordinal(converter: &Converter<'_>, expr: &ast::Expr) -> Result<Option<Expr>, Refusal> {
    let ast::Expr::Value(value) = expr else {
        return Ok(None);
    };
    // The digest keeps such numbers as they are, so they are the same in every text.
    let place: usize = match &value.value {
        ast::Value::Number(number, false) => number
            .parse()
            .map_err(|_not_a_place| Refusal::ConstantGroup)?,
        ast::Value::Placeholder(_) => return Err(Refusal::ParameterPosition),
        _ => return Err(Refusal::ConstantGroup),
    };
    let item = place
        .checked_sub(1)
        .and_then(|at| converter.items.get(at))
        .ok_or(Refusal::ConstantGroup)?;
    Ok(Some(item.expr.clone()))
}

type DayBounds = Vec<(usize, Operator, Slot)>;

fn filters(
    converter: &Converter<'_>,
    selection: Option<&ast::Expr>,
    rules: &mut Rules<'_>,
) -> Result<(Vec<Expr>, DayBounds), Refusal> {
    let mut filters = Vec::new();
    let mut day_bounds = Vec::new();
    if let Some(selection) = selection {
        let condition = converter.expr(selection, Clause::Where)?;
        split(condition, &mut filters);
    }
    for filter in &mut filters {
        by_days(rules, filter, &mut day_bounds)?;
        rules.condition(filter, Place::Filter)?;
    }
    Ok((filters, day_bounds))
}

fn split(condition: Expr, into: &mut Vec<Expr>) {
    match condition {
        Expr::Infix(Operator::And, left, right) => {
            split(*left, into);
            split(*right, into);
        }
        other => into.push(other),
    }
}

/// Turns comparisons of DATETIME columns into day bounds, which hold for a moment exactly when they hold for its day (also
/// when they are NULL), so they may stand under NOT and OR. Columns that are group keys themselves stay as they are.
fn by_days(rules: &Rules<'_>, expr: &mut Expr, found: &mut DayBounds) -> Result<(), Refusal> {
    let moment = |operand: &Expr| match operand {
        Expr::Column(column) if !rules.keys.contains(operand) => {
            match rules.table.columns.get(*column)?.column_type {
                ColumnType::Datetime { .. } => Some(*column),
                _ => None,
            }
        }
        _ => None,
    };
    match expr {
        Expr::Infix(operator, left, right) if operator.is_logical() => {
            by_days(rules, left, found)?;
            by_days(rules, right, found)
        }
        Expr::Not(operand) => by_days(rules, operand, found),
        Expr::Infix(operator, left, right) if !operator.is_arithmetic() => {
            let (column, operator, constant) = match (moment(left), moment(right)) {
                (Some(column), None) => (column, *operator, right.as_ref()),
                (None, Some(column)) => (column, operator.flipped(), left.as_ref()),
                (None, None) => return Ok(()),
                (Some(_), Some(_)) => return Err(Refusal::RangeNotAligned),
            };
            *expr = day_bound(column, operator, constant, found)?;
            Ok(())
        }
        Expr::Between {
            negated,
            operand,
            low,
            high,
        } => {
            let Some(column) = moment(operand) else {
                return Ok(());
            };
            if *negated {
                return Err(Refusal::RangeNotAligned);
            }
            let low = day_bound(column, Operator::GreaterOrEqual, low, found)?;
            let high = day_bound(column, Operator::LessOrEqual, high, found)?;
            *expr = Expr::Infix(Operator::And, Box::new(low), Box::new(high));
            Ok(())
        }
        Expr::InList { operand, .. } if moment(operand).is_some() => Err(Refusal::RangeNotAligned),
        Expr::IsNull { operand, .. } => {
            if moment(operand).is_some() {
                let day = find_function("DATE", 1)?;
                let column = std::mem::replace(operand.as_mut(), Expr::Column(0));
                **operand = Expr::Call(day, vec![column]);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn day_bound(
    column: usize,
    operator: Operator,
    constant: &Expr,
    found: &mut DayBounds,
) -> Result<Expr, Refusal> {
    let Expr::Literal(literal) = constant else {
        return Err(Refusal::PredicateForm);
    };
    if !matches!(literal.shape, Shape::Text | Shape::Parameter(_)) {
        return Err(Refusal::LiteralType);
    }
    if matches!(
        operator,
        Operator::Equal | Operator::NotEqual | Operator::NullSafeEqual
    ) {
        return Err(Refusal::RangeNotAligned);
    }
    let slot = literal.slot.ok_or(Refusal::LiteralPosition)?;
    found.push((column, operator, slot));
    Ok(Expr::DayBound {
        column,
        operator,
        literal: literal.clone(),
    })
}

/// What stands over keys and aggregates.
struct Outer {
    having: Option<Expr>,
    order: Vec<Order>,
    limit: Option<Limit>,
}

fn outer(
    converter: &Converter<'_>,
    query: &ast::Query,
    select: &ast::Select,
    rules: &mut Rules<'_>,
) -> Result<Outer, Refusal> {
    // A bare AVG prints, and sorts by, what it prints; inside anything else its hidden digits count.
    for item in &converter.items {
        rules.value(&item.expr, Place::Outer)?;
    }
    let having = match &select.having {
        None => None,
        Some(having) => {
            let having = converter.expr(having, Clause::After)?;
            rules.in_having = true;
            rules.condition(&having, Place::Outer)?;
            rules.in_having = false;
            Some(having)
        }
    };
    let mut order = Vec::new();
    for (expr, descending) in order_by(converter, query.order_by.as_ref())? {
        if rules.value(&expr, Place::Outer)? == Kind::Null {
            return Err(Refusal::OrderForm);
        }
        order.push(Order { expr, descending });
    }
    Ok(Outer {
        having,
        order,
        limit: limit(converter, query.limit_clause.as_ref())?,
    })
}

fn order_by(
    converter: &Converter<'_>,
    order_by: Option<&ast::OrderBy>,
) -> Result<Vec<(Expr, bool)>, Refusal> {
    let exprs = match order_by {
        None => return Ok(Vec::new()),
        Some(ast::OrderBy {
            kind: ast::OrderByKind::Expressions(exprs),
            interpolate: None,
        }) => exprs,
        Some(_) => return Err(Refusal::OrderForm),
    };
    let mut order = Vec::with_capacity(exprs.len());
    for item in exprs {
        if item.with_fill.is_some() || item.options.nulls_first.is_some() {
            return Err(Refusal::OrderForm);
        }
        let descending = match item.options.sort {
            None | Some(ast::OrderBySort::Asc) => false,
            Some(ast::OrderBySort::Desc) => true,
            Some(_) => return Err(Refusal::OrderForm),
        };
        if let ast::Expr::Value(value) = &item.expr
            && value.value == ast::Value::Null
        {
            // ORDER BY NULL: no order.
            continue;
        }
        let placed = ordinal(converter, &item.expr).map_err(|refusal| match refusal {
            Refusal::ConstantGroup => Refusal::OrderForm,
            other => other,
        })?;
        let expr = match placed {
            Some(expr) => expr,
            None => sorted(converter, &item.expr)?,
        };
        order.push((expr, descending));
    }
    Ok(order)
}

/// A name alone in ORDER BY is an alias before it is a column; inside an expression either is refused when both exist.
fn sorted(converter: &Converter<'_>, expr: &ast::Expr) -> Result<Expr, Refusal> {
    if let ast::Expr::Identifier(ident) = expr
        && let Some(alias) = converter.alias(identifier(ident)?)?
    {
        return Ok(alias.clone());
    }
    converter.expr(expr, Clause::After)
}

fn limit(
    converter: &Converter<'_>,
    clause: Option<&ast::LimitClause>,
) -> Result<Option<Limit>, Refusal> {
    let (count, offset) = match clause {
        None => return Ok(None),
        Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => (limit, Some(offset)),
        Some(ast::LimitClause::LimitOffset {
            limit: Some(limit),
            offset,
            limit_by,
        }) if limit_by.is_empty() => (limit, offset.as_ref().map(|offset| &offset.value)),
        Some(_) => return Err(Refusal::LimitForm),
    };
    let number = |expr: &ast::Expr| -> Result<Literal, Refusal> {
        let ast::Expr::Value(value) = expr else {
            return Err(Refusal::LimitForm);
        };
        let literal = converter.literal(value, None, false)?;
        match literal.shape {
            Shape::Number | Shape::Parameter(_) => Ok(literal),
            _ => Err(Refusal::LimitForm),
        }
    };
    Ok(Some(Limit {
        count: number(count)?,
        offset: offset.map(number).transpose()?,
    }))
}

fn needs<'a>(table: &TableSchema, exprs: impl Iterator<Item = &'a Expr>) -> BTreeMap<usize, Need> {
    let mut needs = BTreeMap::new();
    for expr in exprs {
        note_needs(table, expr, &mut needs);
    }
    needs
}

/// What keys and filters read, as far as they read it: a day where only a day counts.
fn note_needs(table: &TableSchema, expr: &Expr, needs: &mut BTreeMap<usize, Need>) {
    let mut note = |column: usize, need: Need| {
        let held = needs.entry(column).or_insert(need);
        *held = (*held).max(need);
    };
    match expr {
        Expr::Column(column) => note(*column, Need::Exact),
        Expr::DayBound { column, .. } => note(*column, Need::Day),
        Expr::Call(function, arguments) if function.family == Family::Day => {
            for argument in arguments {
                note_day(table, argument, needs);
            }
        }
        Expr::Extract(_, operand) => note_day(table, operand, needs),
        _ => {
            for part in expr.parts() {
                note_needs(table, part, needs);
            }
        }
    }
}

fn note_day(table: &TableSchema, operand: &Expr, needs: &mut BTreeMap<usize, Need>) {
    match operand {
        Expr::Column(column) => {
            let need = match table.columns.get(*column).map(|c| c.column_type) {
                Some(ColumnType::Datetime { .. }) => Need::Day,
                _ => Need::Exact,
            };
            let held = needs.entry(*column).or_insert(need);
            *held = (*held).max(need);
        }
        _ => note_needs(table, operand, needs),
    }
}

/// All that may vary, once: an alias can put one literal in several places, where it must be the same.
fn varying(
    found: Varying,
    limit: Option<&Limit>,
    literals: &[DigestLiteral],
) -> Result<Varying, Refusal> {
    let mut values = found.values;
    for literal in limit
        .into_iter()
        .flat_map(|limit| [Some(&limit.count), limit.offset.as_ref()])
        .flatten()
    {
        values.push((literal.slot.ok_or(Refusal::LiteralPosition)?, Check::Count));
    }
    let mut lists = found.lists;
    for varying in [sorted_once(&mut values), sorted_once(&mut lists)] {
        if !varying {
            return Err(Refusal::LiteralType);
        }
    }
    let mixed = values
        .iter()
        .any(|(slot, _)| lists.iter().any(|(literal, _)| *literal == slot.literal));
    let known = lists
        .iter()
        .all(|(literal, _)| literals.get(usize::from(*literal)).is_some());
    if mixed || !known {
        return Err(Refusal::LiteralPosition);
    }
    Ok(Varying { values, lists })
}

/// Sorts and removes repeats; false when the same place must be two things.
fn sorted_once<T: Ord + Copy>(places: &mut Vec<(T, Check)>) -> bool {
    places.sort_unstable();
    places.dedup();
    places.windows(2).all(|pair| match pair {
        [one, two] => one.0 != two.0,
        _ => true,
    })
}
