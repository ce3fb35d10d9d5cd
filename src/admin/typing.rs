//! Types of result columns, worked out from the statement alone, so that PREPARE can tell them before anything runs.
//! SQLite knows only the types of bare columns; this adds those of expressions. What cannot be told is None: the engine
//! then goes by the values. Never decides what a statement returns, only how it is described.

use sqlparser::ast::{
    BinaryOperator, Cte, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor,
    TableWithJoins, UnaryOperator, Value,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;

use super::catalog::{self, Table, Type};

/// Where a bare column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The table's alias in the statement, or its name.
    pub alias: String,
    /// The table's schema.
    pub schema: &'static str,
    /// The table's own name.
    pub table: &'static str,
    /// The column's own name.
    pub column: &'static str,
}

/// What is known of one result column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    name: String,
    /// Its type, if it can be told.
    pub kind: Option<Type>,
    /// The column that it shows unchanged, if it does.
    pub origin: Option<Origin>,
}

/// A VARCHAR for text of unknown length.
pub const TEXT: Type = Type::Name(255);

/// Columns of longer texts are typed by their values alone.
const SQL_BYTES_MAX: usize = 16 * 1024;

/// The columns of a query in SQLite's dialect. Empty when the text is not understood here.
pub fn outputs(sql: &str, default_schema: &'static str) -> Vec<Output> {
    // A chain of operators makes a tree as deep as its text is long, and trees are dropped by recursion.
    if sql.len() > SQL_BYTES_MAX {
        return Vec::new();
    }
    let Ok(statements) = Parser::parse_sql(&SQLiteDialect {}, sql) else {
        return Vec::new();
    };
    match statements.as_slice() {
        [Statement::Query(query)] => Typer { default_schema }.query(query, &Scope::default()),
        _ => Vec::new(),
    }
}

/// One table that columns can be taken from.
#[derive(Clone)]
struct Relation {
    alias: String,
    columns: Vec<Output>,
}

/// What names mean at some place: common table expressions, and relations with the innermost last.
#[derive(Clone, Default)]
struct Scope {
    ctes: Vec<Relation>,
    relations: Vec<Relation>,
}

struct Typer {
    default_schema: &'static str,
}

fn same(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

/// The type that holds values of both.
fn both(left: Option<Type>, right: Option<Type>) -> Option<Type> {
    match (left?, right?) {
        (left, right) if left == right => Some(left),
        (Type::BigInt | Type::Bool, Type::BigInt | Type::Bool) => Some(Type::BigInt),
        (left, right) if is_number(left) && is_number(right) => Some(Type::Double),
        (Type::Text, _) | (_, Type::Text) => Some(Type::Text),
        _ => Some(TEXT),
    }
}

fn is_number(kind: Type) -> bool {
    matches!(kind, Type::BigInt | Type::Double | Type::Bool)
}

impl Typer {
    fn query(&self, query: &Query, outer: &Scope) -> Vec<Output> {
        let mut scope = outer.clone();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let relation = self.cte(cte, &scope);
            scope.ctes.push(relation);
        }
        self.body(&query.body, &scope)
    }

    fn cte(&self, cte: &Cte, scope: &Scope) -> Relation {
        let mut columns = self.query(&cte.query, scope);
        for (column, named) in columns.iter_mut().zip(&cte.alias.columns) {
            column.name = named.name.value.clone();
        }
        Relation {
            alias: cte.alias.name.value.clone(),
            columns,
        }
    }

    fn body(&self, body: &SetExpr, scope: &Scope) -> Vec<Output> {
        match body {
            SetExpr::Select(select) => self.select(select, scope),
            SetExpr::Query(query) => self.query(query, scope),
            SetExpr::SetOperation { left, right, .. } => {
                let mut columns = self.body(left, scope);
                for (left, right) in columns.iter_mut().zip(self.body(right, scope)) {
                    left.kind = both(left.kind, right.kind);
                    left.origin = None;
                }
                columns
            }
            SetExpr::Values(values) => {
                let mut rows = values.rows.iter().map(|row| -> Vec<Option<Type>> {
                    row.content
                        .iter()
                        .map(|value| self.kind(value, scope))
                        .collect()
                });
                let mut kinds = rows.next().unwrap_or_default();
                for row in rows {
                    for (kind, other) in kinds.iter_mut().zip(row) {
                        *kind = both(*kind, other);
                    }
                }
                kinds
                    .into_iter()
                    .enumerate()
                    .map(|(at, kind)| Output {
                        name: format!("column{}", at + 1),
                        kind,
                        origin: None,
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn select(&self, select: &Select, outer: &Scope) -> Vec<Output> {
        let mut scope = outer.clone();
        let own = scope.relations.len();
        for from in &select.from {
            self.from(from, &mut scope);
        }
        let mut outputs = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(name) => name.value.clone(),
                        Expr::CompoundIdentifier(names) => names
                            .last()
                            .map(|name| name.value.clone())
                            .unwrap_or_default(),
                        other => other.to_string(),
                    };
                    outputs.push(self.output(name, expr, &scope));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    outputs.push(self.output(alias.value.clone(), expr, &scope));
                }
                SelectItem::Wildcard(_) => {
                    for relation in &scope.relations[own..] {
                        outputs.extend(relation.columns.iter().cloned());
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let alias = name.0.last().and_then(|part| part.as_ident());
                    let relation = scope.relations[own..].iter().find(|relation| {
                        alias.is_some_and(|name| same(&relation.alias, &name.value))
                    });
                    outputs.extend(relation.into_iter().flat_map(|r| r.columns.iter().cloned()));
                }
                _ => outputs.push(Output::default()),
            }
        }
        outputs
    }

    fn output(&self, name: String, expr: &Expr, scope: &Scope) -> Output {
        let found = column_name(expr).and_then(|(table, column)| find(scope, table, column));
        match found {
            Some(found) => Output {
                name,
                ..found.clone()
            },
            None => Output {
                name,
                kind: self.kind(expr, scope),
                origin: None,
            },
        }
    }

    fn from(&self, from: &TableWithJoins, scope: &mut Scope) {
        self.factor(&from.relation, scope);
        for join in &from.joins {
            self.factor(&join.relation, scope);
        }
    }

    fn factor(&self, factor: &TableFactor, scope: &mut Scope) {
        let (alias, columns) = match factor {
            TableFactor::Table { name, alias, .. } => {
                let parts: Vec<&str> = name
                    .0
                    .iter()
                    .filter_map(|part| part.as_ident())
                    .map(|name| name.value.as_str())
                    .collect();
                let Some(own) = parts.last() else { return };
                let shown = alias
                    .as_ref()
                    .map_or(*own, |alias| alias.name.value.as_str());
                let cte = scope
                    .ctes
                    .iter()
                    .rev()
                    .find(|cte| parts.len() == 1 && same(&cte.alias, own));
                let columns = match cte {
                    Some(cte) => cte.columns.clone(),
                    None => self
                        .table(&parts)
                        .map_or_else(Vec::new, |table| table_columns(table, shown)),
                };
                (shown.to_owned(), columns)
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => {
                let columns = self.query(subquery, scope);
                let alias = alias.as_ref().map(|alias| alias.name.value.clone());
                (alias.unwrap_or_default(), columns)
            }
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => {
                self.from(table_with_joins, scope);
                return;
            }
            _ => return,
        };
        scope.relations.push(Relation { alias, columns });
    }

    fn table(&self, parts: &[&str]) -> Option<&'static Table> {
        match parts {
            [schema, name] => catalog::find(schema, name),
            [name] => {
                let other = [catalog::SCHEMA, catalog::INFORMATION_SCHEMA];
                catalog::find(self.default_schema, name).or_else(|| {
                    other
                        .into_iter()
                        .find_map(|schema| catalog::find(schema, name))
                })
            }
            _ => None,
        }
    }

    fn kind(&self, expr: &Expr, scope: &Scope) -> Option<Type> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let (table, column) = column_name(expr)?;
                find(scope, table, column)?.kind
            }
            Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => self.kind(inner, scope),
            Expr::Value(value) => literal(&value.value),
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                ..
            } => Some(Type::BigInt),
            Expr::UnaryOp { expr, .. } => self.kind(expr, scope).filter(|kind| is_number(*kind)),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Expr::Cast { data_type, .. } => cast(data_type),
            Expr::Case {
                conditions,
                else_result,
                ..
            } => {
                let results = conditions.iter().map(|when| &when.result);
                self.common(results.chain(else_result.as_deref()), scope)
            }
            Expr::Function(function) => self.function(function, scope),
            Expr::Subquery(query) => self.query(query, scope).first()?.kind,
            Expr::Floor { .. } | Expr::Ceil { .. } | Expr::Position { .. } => Some(Type::BigInt),
            Expr::Extract { .. } => Some(Type::BigInt),
            Expr::Substring { .. } | Expr::Trim { .. } | Expr::Overlay { .. } => Some(TEXT),
            Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_) => {
                Some(Type::BigInt)
            }
            Expr::IsNotTrue(_) | Expr::IsNotFalse(_) | Expr::Exists { .. } => Some(Type::BigInt),
            Expr::InList { .. } | Expr::InSubquery { .. } | Expr::Between { .. } => {
                Some(Type::BigInt)
            }
            Expr::Like { .. } | Expr::RLike { .. } => Some(Type::BigInt),
            _ => None,
        }
    }

    fn binary(
        &self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        scope: &Scope,
    ) -> Option<Type> {
        match op {
            BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply => {
                let kind = both(self.kind(left, scope), self.kind(right, scope))?;
                match kind {
                    Type::Bool => Some(Type::BigInt),
                    kind => is_number(kind).then_some(kind),
                }
            }
            // Of two whole numbers SQLite makes a whole one; `dialect` writes MySQL's `/` as `*1.0/`.
            BinaryOperator::Divide => {
                let kind = both(self.kind(left, scope), self.kind(right, scope))?;
                is_number(kind).then_some(kind)
            }
            BinaryOperator::Modulo => Some(Type::BigInt),
            BinaryOperator::StringConcat => Some(TEXT),
            BinaryOperator::Arrow | BinaryOperator::LongArrow => None,
            _ => Some(Type::BigInt),
        }
    }

    fn common<'a>(
        &self,
        mut values: impl Iterator<Item = &'a Expr>,
        scope: &Scope,
    ) -> Option<Type> {
        // NULL fits every type.
        let is_null =
            |expr: &Expr| matches!(expr, Expr::Value(value) if value.value == Value::Null);
        let first = values.by_ref().find(|expr| !is_null(expr))?;
        let mut kind = self.kind(first, scope);
        for value in values.filter(|expr| !is_null(expr)) {
            kind = both(kind, self.kind(value, scope));
        }
        kind
    }

    fn function(&self, function: &Function, scope: &Scope) -> Option<Type> {
        let name = function
            .name
            .0
            .last()?
            .as_ident()?
            .value
            .to_ascii_lowercase();
        let arguments: Vec<&Expr> = match &function.args {
            FunctionArguments::List(list) => list.args.iter().filter_map(argument).collect(),
            _ => Vec::new(),
        };
        let of = |at: usize| arguments.get(at).and_then(|expr| self.kind(expr, scope));
        let all = |from: usize| self.common(arguments.iter().skip(from).copied(), scope);
        match name.as_str() {
            "count" | "length" | "octet_length" | "char_length" | "character_length" | "locate"
            | "instr" | "strcmp" | "field" | "is_null" | "floor" | "ceil" | "ceiling"
            | "timestampdiff" | "datediff" | "extract" | "year" | "quarter" | "month" | "day"
            | "dayofmonth" | "hour" | "minute" | "second" | "microsecond" | "weekday"
            | "row_number" | "rank" | "dense_rank" | "ntile" | "sign" | "unicode" => {
                Some(Type::BigInt)
            }
            "avg" | "total" | "round" | "sqrt" | "exp" | "ln" | "log" | "log2" | "log10"
            | "power" | "pow" | "truncate" | "percent_rank" | "cume_dist" => Some(Type::Double),
            "sum" => match of(0)? {
                Type::Double => Some(Type::Double),
                Type::BigInt | Type::Bool => Some(Type::BigInt),
                _ => None,
            },
            "min" | "max" | "greatest" | "least" | "coalesce" | "ifnull" => all(0),
            "nullif" | "first_value" | "last_value" | "nth_value" | "lag" | "lead" => of(0),
            "if" | "iif" => all(1),
            "abs" => of(0).filter(|kind| is_number(*kind)),
            "mod" => both(of(0), of(1)).filter(|kind| is_number(*kind)),
            "now" | "sysdate" | "utc_timestamp" | "localtime" | "localtimestamp" => {
                Some(Type::Datetime)
            }
            "from_unixtime" if arguments.len() == 1 => Some(Type::Datetime),
            "date_add" | "adddate" | "date_sub" | "subdate" | "interval_add" => {
                of(0).filter(|kind| *kind == Type::Datetime).or(Some(TEXT))
            }
            "group_concat" => Some(Type::Text),
            "concat" | "concat_ws" | "left_of" | "right_of" | "upper" | "ucase" | "lower"
            | "lcase" | "lpad" | "rpad" | "repeat" | "reverse" | "format" | "format_bytes"
            | "format_pico_time" | "date_format" | "from_unixtime" | "curdate" | "utc_date"
            | "curtime" | "utc_time" | "sec_to_time" | "replace" | "substr" | "substring"
            | "trim" | "ltrim" | "rtrim" | "hex" | "typeof" | "date" | "time" | "datetime"
            | "strftime" | "printf" | "char" | "quote" => Some(TEXT),
            _ => None,
        }
    }
}

fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn table_columns(table: &'static Table, alias: &str) -> Vec<Output> {
    table
        .columns
        .iter()
        .map(|column| Output {
            name: column.name.to_owned(),
            kind: Some(column.kind),
            origin: Some(Origin {
                alias: alias.to_owned(),
                schema: table.schema,
                table: table.name,
                column: column.name,
            }),
        })
        .collect()
}

/// The table and the name of a bare column.
fn column_name(expr: &Expr) -> Option<(Option<&str>, &str)> {
    match expr {
        Expr::Identifier(name) => Some((None, &name.value)),
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [.., table, name] => Some((Some(&table.value), &name.value)),
            _ => None,
        },
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

fn find<'a>(scope: &'a Scope, table: Option<&str>, column: &str) -> Option<&'a Output> {
    scope
        .relations
        .iter()
        .rev()
        .filter(|relation| table.is_none_or(|table| same(&relation.alias, table)))
        .find_map(|relation| {
            relation
                .columns
                .iter()
                .find(|known| same(&known.name, column))
        })
}

fn literal(value: &Value) -> Option<Type> {
    match value {
        Value::Number(digits, _) => {
            let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
            Some(if whole && digits.parse::<i64>().is_ok() {
                Type::BigInt
            } else {
                Type::Double
            })
        }
        Value::Boolean(_) => Some(Type::BigInt),
        Value::SingleQuotedString(text) => {
            let length = u16::try_from(text.chars().count().max(1)).ok();
            Some(length.map_or(Type::Text, Type::Name))
        }
        _ => None,
    }
}

fn cast(target: &DataType) -> Option<Type> {
    match target {
        DataType::Integer(_) | DataType::Int(_) | DataType::BigInt(_) => Some(Type::BigInt),
        DataType::Real | DataType::Double(_) | DataType::Float(_) => Some(Type::Double),
        DataType::Text => Some(TEXT),
        // NUMERIC gives a whole number or a fraction, by the value.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<Option<Type>> {
        outputs(sql, catalog::SCHEMA)
            .into_iter()
            .map(|output| output.kind)
            .collect()
    }

    #[test]
    fn expressions_have_the_types_of_their_values() {
        let (int, real) = (Some(Type::BigInt), Some(Type::Double));
        for (sql, expected) in [
            (
                "SELECT COUNT(*), SUM(total_us), AVG(total_us), MAX(mean_us) FROM queries",
                vec![int, int, real, real],
            ),
            (
                "SELECT errors*1.0/executions, errors + 1, -errors FROM queries",
                vec![real, int, int],
            ),
            (
                "SELECT 1, 1.5, 'abc', NULL, ?",
                vec![int, real, Some(Type::Name(3)), None, None],
            ),
            (
                "SELECT IF(errors > 0, 'y', 'no') FROM queries",
                vec![Some(TEXT)],
            ),
            (
                "SELECT MAX(last_seen), MIN(digest) FROM queries",
                vec![Some(Type::Datetime), Some(Type::Name(32))],
            ),
            (
                "SELECT CASE WHEN slow > 0 THEN slow ELSE NULL END, COALESCE(mean_us, 0) FROM queries",
                vec![int, real],
            ),
            (
                "SELECT c FROM (SELECT COUNT(*) AS c FROM queries) AS x",
                vec![int],
            ),
            (
                "WITH x(n) AS (SELECT p99_us FROM queries) SELECT n, x.n, n IS NULL FROM x",
                vec![int, int, int],
            ),
            ("SELECT 1 UNION ALL SELECT 2.5", vec![real]),
            ("SELECT column1 FROM (VALUES (1), (2))", vec![int]),
            (
                "SELECT (SELECT MAX(count) FROM decisions), CAST('1' AS INTEGER)",
                vec![int, int],
            ),
            (
                "SELECT TABLE_NAME FROM information_schema.TABLES",
                vec![Some(Type::Varchar(64))],
            ),
            (
                "SELECT no_such_column, no_such_function(1) FROM queries",
                vec![None, None],
            ),
        ] {
            assert_eq!(kinds(sql), expected, "{sql}");
        }
        assert!(kinds("SELECT FROM WHERE").is_empty());
    }

    #[test]
    fn wildcards_open_and_bare_columns_know_their_table() {
        let all = outputs(
            "SELECT q.*, d.reason AS why FROM queries q JOIN decisions d ON 1",
            catalog::SCHEMA,
        );
        let queries = catalog::find("tidegate", "queries").unwrap();
        assert_eq!(all.len(), queries.columns.len() + 1);
        let last = all.last().unwrap().origin.clone().unwrap();
        assert_eq!(
            (last.alias.as_str(), last.table, last.column),
            ("d", "decisions", "reason")
        );
        assert_eq!(kinds("SELECT * FROM decisions, errors").len(), 6 + 8);
    }
}
