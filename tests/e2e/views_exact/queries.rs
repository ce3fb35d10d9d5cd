//! Random aggregate statements over a random table. The grammar is a little wider than what is rewritten, so that near
//! misses occur too. Literals that may vary are marked, so that one statement can be written with other values, other list
//! lengths, or parameters.

use mysql_async::Value;

use super::random::Random;
use super::tables::{Column, Family, Table, day, decimal, quoted};

const OPEN: char = '\u{1}';
const CLOSE: char = '\u{2}';

/// A statement with marked literals.
#[derive(Clone, Debug)]
pub struct Query {
    marked: String,
}

fn mark(kind: &str) -> String {
    format!("{OPEN}{kind}{CLOSE}")
}

impl Query {
    /// A random statement over the table.
    pub fn random(random: &mut Random, table: &Table) -> Self {
        let (alias, qualifier) = match random.below(6) {
            0 => ("", "base."),
            1 => (" AS x", "x."),
            2 => (" x", ""),
            _ => ("", ""),
        };
        let mut maker = Maker {
            random,
            table,
            alias,
            qualifier,
        };
        Self {
            marked: maker.select(),
        }
    }

    /// Writes it with random literals. With `parameters`, some literals are `?` and their values come back beside the text;
    /// without, the values are in the text.
    pub fn write(&self, random: &mut Random, parameters: bool) -> (String, Vec<Value>) {
        let mut sql = String::new();
        let mut values = Vec::new();
        let mut rest = self.marked.as_str();
        while let Some((before, after)) = rest.split_once(OPEN) {
            sql.push_str(before);
            let (kind, behind) = after.split_once(CLOSE).unwrap();
            rest = behind;
            if let Some(kind) = kind.strip_prefix('L') {
                let count = 1 + random.below(4);
                for at in 0..count {
                    sql.push_str(if at == 0 { "" } else { ", " });
                    one(random, kind, parameters, &mut sql, &mut values);
                }
            } else {
                one(random, kind, parameters, &mut sql, &mut values);
            }
        }
        sql.push_str(rest);
        (sql, values)
    }
}

fn one(
    random: &mut Random,
    kind: &str,
    parameters: bool,
    sql: &mut String,
    values: &mut Vec<Value>,
) {
    let (text, value) = literal(random, kind);
    if parameters && random.chance(70) {
        sql.push('?');
        values.push(value);
    } else {
        sql.push_str(&text);
    }
}

/// A literal of a kind, as text and as a bound value.
fn literal(random: &mut Random, kind: &str) -> (String, Value) {
    let (kind, argument) = kind.split_at(1);
    let quoted = |text: String| (format!("'{text}'"), Value::Bytes(text.into_bytes()));
    let number = argument.parse::<u32>().unwrap_or(0);
    match kind {
        "i" => {
            let low = if random.chance(80) { 0 } else { -6 };
            let value = random.between(low, 12);
            (value.to_string(), Value::Int(value))
        }
        "q" => {
            let value = random.between(0, 12);
            (format!("'{value}'"), Value::Int(value))
        }
        "D" => {
            let text = decimal(random, number, 40);
            (text.clone(), Value::Bytes(text.into_bytes()))
        }
        "t" => {
            quoted((*random.pick(&["EUR", "eur", "x", "X ", "b", "a", "yy", "none"])).to_owned())
        }
        "d" => {
            let text = day(random);
            if random.chance(3) {
                return (format!("DATE '{text}'"), Value::Bytes(text.into_bytes()));
            }
            quoted(text)
        }
        "s" => {
            let suffix = *random.pick(&["", "", " 00:00:00", " 00:00:00.000"]);
            quoted(format!("{}{suffix}", day(random)))
        }
        "e" => {
            let digits = match number {
                0 => String::new(),
                number => format!(".{}", "9".repeat(number as usize)),
            };
            quoted(format!("{} 23:59:59{digits}", day(random)))
        }
        "m" => quoted(format!("{} {:02}:30:00", day(random), random.below(24))),
        "y" => {
            let value = random.between(2022, 2026);
            (value.to_string(), Value::Int(value))
        }
        "n" => {
            let value = random.between(1, 12);
            (value.to_string(), Value::Int(value))
        }
        "M" => quoted(day(random)[..7].to_owned()),
        _ => {
            let value = random.between(1, 12);
            (value.to_string(), Value::Int(value))
        }
    }
}

struct Maker<'a> {
    random: &'a mut Random,
    table: &'a Table,
    /// An alias of the table, and what stands in front of columns.
    alias: &'static str,
    qualifier: &'static str,
}

fn is_number(family: Family) -> bool {
    matches!(
        family,
        Family::Int | Family::Unsigned | Family::Decimal(_) | Family::Generated
    )
}

fn is_day(family: Family) -> bool {
    matches!(family, Family::Date | Family::Datetime(_))
}

impl Maker<'_> {
    fn chance(&mut self, percent: u64) -> bool {
        self.random.chance(percent)
    }

    fn shown(&self, column: &Column) -> String {
        format!("{}{}", self.qualifier, quoted(column.name))
    }

    fn number_column(&mut self) -> Option<String> {
        let odd = self.chance(3);
        self.table
            .column(self.random, |f| is_number(f) || odd)
            .map(|column| self.shown(&column))
    }

    fn select(&mut self) -> String {
        let mut keys: Vec<String> = Vec::new();
        if self.chance(85) {
            for _ in 0..1 + self.random.below(2) {
                keys.extend(self.key());
            }
        }
        let mut items: Vec<String> = keys.clone();
        if !keys.is_empty() && self.chance(10) {
            items.remove(0);
        }
        for _ in 0..1 + self.random.below(4) {
            items.push(self.outer());
        }
        if self.chance(3) {
            items.truncate(keys.len().max(1));
        }
        let mut aliases: Vec<Option<String>> = vec![None; items.len()];
        for (at, alias) in aliases.iter_mut().enumerate() {
            if self.random.chance(60) {
                *alias = Some(format!("a{at}"));
            } else if self.random.chance(5) {
                *alias = Some("amount".into());
            }
        }
        let list: Vec<String> = items
            .iter()
            .zip(&aliases)
            .map(|(item, alias)| match alias {
                Some(alias) => format!("{item} AS {alias}"),
                None => item.clone(),
            })
            .collect();
        let mut sql = format!(
            "SELECT {} FROM `{}`{}",
            list.join(", "),
            self.table.name,
            self.alias
        );
        if self.chance(60) {
            let conditions: Vec<String> = (0..1 + self.random.below(2))
                .filter_map(|_| self.filter())
                .collect();
            if !conditions.is_empty() {
                sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
            }
        }
        if !keys.is_empty() {
            let by: Vec<String> = keys
                .iter()
                .map(|key| self.reference(key, &items, &aliases))
                .collect();
            sql.push_str(&format!(" GROUP BY {}", by.join(", ")));
        }
        if self.chance(25) {
            sql.push_str(&format!(" HAVING {}", self.having(&keys, &items, &aliases)));
        }
        self.order_and_limit(&mut sql, &keys, &items, &aliases);
        sql
    }

    /// A select item by its text, its alias or its place.
    fn reference(&mut self, key: &str, items: &[String], aliases: &[Option<String>]) -> String {
        let Some(at) = items.iter().position(|item| item == key) else {
            return key.to_owned();
        };
        match (self.random.below(3), &aliases[at]) {
            (0, Some(alias)) => alias.clone(),
            (1, _) => (at + 1).to_string(),
            _ => key.to_owned(),
        }
    }

    fn order_and_limit(
        &mut self,
        sql: &mut String,
        keys: &[String],
        items: &[String],
        aliases: &[Option<String>],
    ) {
        let mut order: Vec<String> = Vec::new();
        let all = self.chance(40);
        if self.chance(40) {
            let at = self.random.below(items.len());
            let item = items[at].clone();
            order.push(self.reference(&item, items, aliases));
        }
        for key in keys {
            if all || self.random.chance(40) {
                let by = self.reference(key, items, aliases);
                order.push(by);
            }
        }
        if order.is_empty() {
            return;
        }
        let order: Vec<String> = order
            .into_iter()
            .map(|by| {
                if self.random.chance(40) {
                    format!("{by} DESC")
                } else {
                    by
                }
            })
            .collect();
        sql.push_str(&format!(" ORDER BY {}", order.join(", ")));
        if all && self.chance(50) || self.chance(5) {
            let limit = match self.random.below(3) {
                0 => mark("c"),
                1 => format!("{}, {}", mark("c"), mark("c")),
                _ => format!("{} OFFSET {}", mark("c"), mark("c")),
            };
            sql.push_str(&format!(" LIMIT {limit}"));
        }
    }

    fn key(&mut self) -> Option<String> {
        if self.chance(50) {
            let any = self.chance(3);
            let column = self.table.column(self.random, |f| {
                any || !matches!(f, Family::Double | Family::Timestamp | Family::Datetime(_))
            })?;
            return Some(self.shown(&column));
        }
        self.day_function()
    }

    fn day_function(&mut self) -> Option<String> {
        let stamp = self.chance(2);
        let column = self.table.column(self.random, |f| {
            is_day(f) || stamp && f == Family::Timestamp
        })?;
        let d = self.shown(&column);
        let functions = [
            "DATE(#)",
            "YEAR(#)",
            "MONTH(#)",
            "QUARTER(#)",
            "DAY(#)",
            "DATE_FORMAT(#, '%Y-%m')",
            "DATE_FORMAT(#, '%Y-%m-01')",
            "DATE_FORMAT(#, '%x/%v')",
            "DATE_FORMAT(DATE(#), '%d.%m.%y')",
            "LAST_DAY(#)",
            "YEARWEEK(#, 3)",
            "YEARWEEK(#)",
            "WEEK(#, 1)",
            "WEEK(#)",
            "DAYOFWEEK(#)",
            "WEEKDAY(#)",
            "TO_DAYS(#)",
            "EXTRACT(YEAR FROM #)",
            "EXTRACT(MONTH FROM #)",
            "CONCAT(YEAR(#), '-Q', QUARTER(#))",
            "DAYOFYEAR(#)",
            "WEEKOFYEAR(#)",
            "DAYOFMONTH(#)",
            "YEAR(LAST_DAY(#))",
            "DATE_FORMAT(#, '%c %e %j %U %u %V %w %X %%')",
            "DATE_FORMAT(#, '%M')",
            "HOUR(#)",
            "DATE_FORMAT(#, '%H')",
            "MONTHNAME(#)",
        ];
        let usual = self.chance(95);
        let last = if usual {
            functions.len() - 4
        } else {
            functions.len()
        };
        let function = functions[self.random.below(last)];
        Some(function.replace('#', &d))
    }

    fn filter(&mut self) -> Option<String> {
        let one = self.condition(true)?;
        Some(match self.random.below(10) {
            0 => {
                let other = self.condition(true)?;
                format!("({one} OR {other})")
            }
            1 => format!("NOT ({one})"),
            2 => format!("{one} AND 1 = 1 AND TRUE"),
            _ => one,
        })
    }

    /// A condition over columns. `varies`: it stands in WHERE, where literals may vary; else they are written out.
    fn condition(&mut self, varies: bool) -> Option<String> {
        let text = self.marked_condition(varies)?;
        if varies {
            return Some(text);
        }
        let fixed = Query { marked: text };
        Some(fixed.write(self.random, false).0)
    }

    fn marked_condition(&mut self, varies: bool) -> Option<String> {
        if self.chance(12) {
            let function = self.day_function()?;
            return Some(self.function_condition(&function));
        }
        let column = self.table.column(self.random, |f| {
            !matches!(f, Family::Double | Family::Timestamp | Family::Time)
        })?;
        let c = self.shown(&column);
        if self.chance(8) {
            let not = *self.random.pick(&["", " NOT"]);
            return Some(format!("{c} IS{not} NULL"));
        }
        let kind = match column.family {
            Family::Int | Family::Unsigned => "i".to_owned(),
            Family::Decimal(scale) => format!("D{}", scale.min(8)),
            Family::Enum | Family::Text | Family::Binary => "t".to_owned(),
            Family::Date => self.random.pick(&["d", "d", "s", "m"]).to_string(),
            Family::Year => "y".to_owned(),
            Family::Datetime(fraction) => return Some(self.moment_condition(&c, fraction, varies)),
            _ => "i".to_owned(),
        };
        let text = matches!(column.family, Family::Text | Family::Enum | Family::Binary);
        let in_quotes = matches!(column.family, Family::Int) && self.chance(10);
        let kind = if in_quotes { "q".to_owned() } else { kind };
        let rare = matches!(column.family, Family::Decimal(_)) && self.chance(80);
        let form = match (text, rare) {
            (true, _) => self.random.below(5),
            (_, true) => 5 + self.random.below(4),
            _ => self.random.below(9),
        };
        Some(match form {
            0 | 1 => format!("{c} = {}", mark(&kind)),
            2 => format!("{c} IN ({})", mark(&format!("L{kind}"))),
            3 => format!("{c} NOT IN ({})", mark(&format!("L{kind}"))),
            4 if text && column.family == Family::Text && varies && self.chance(40) => {
                format!("{c} LIKE 'e%'")
            }
            4 => format!(
                "{c} {} {}",
                self.random.pick(&["<>", "<=>", "!="]),
                mark(&kind)
            ),
            5 => format!("{c} BETWEEN {} AND {}", mark(&kind), mark(&kind)),
            6 => format!(
                "{} {} {c}",
                mark(&kind),
                self.random.pick(&["<", ">=", "="])
            ),
            _ => format!(
                "{c} {} {}",
                self.random.pick(&["<", "<=", ">", ">="]),
                mark(&kind)
            ),
        })
    }

    fn moment_condition(&mut self, c: &str, fraction: u32, varies: bool) -> String {
        let end = format!("e{fraction}");
        match self.random.below(if varies { 8 } else { 9 }) {
            0 => format!("{c} >= {}", mark("s")),
            1 => format!("{c} < {}", mark("s")),
            2 => format!("{c} >= {} AND {c} < {}", mark("s"), mark("s")),
            3 => format!("{c} <= {}", mark(&end)),
            4 => format!("{c} BETWEEN {} AND {}", mark("s"), mark(&end)),
            5 => format!("{} <= {c}", mark("s")),
            6 => format!("{c} > {}", mark(&end)),
            7 if self.chance(15) => format!("{c} >= {}", mark("m")),
            7 => format!("{c} < {}", mark("s")),
            _ => format!("{c} > {}", mark("m")),
        }
    }

    fn function_condition(&mut self, function: &str) -> String {
        let kind = match function {
            f if f.starts_with("DATE(") || f.starts_with("LAST_DAY(") => "d",
            f if f.ends_with("'%Y-%m')") => "M",
            f if f.starts_with("YEAR(") || f.starts_with("EXTRACT(YEAR") => "y",
            f if f.starts_with("DATE_FORMAT") || f.starts_with("CONCAT") => "M",
            _ => "n",
        };
        match self.random.below(4) {
            0 => format!("{function} IN ({})", mark(&format!("L{kind}"))),
            1 => format!("{function} BETWEEN {} AND {}", mark(kind), mark(kind)),
            2 => format!("{function} >= {}", mark(kind)),
            _ => format!("{function} = {}", mark(kind)),
        }
    }

    fn measure(&mut self) -> Option<String> {
        let x = self.number_column()?;
        let y = self.number_column()?;
        Some(match self.random.below(26) {
            21 => format!("SUM(COALESCE({x}, {y}, 0))"),
            22 => format!("SUM(-{x})"),
            23 => {
                let column = self.table.column(self.random, |f| f == Family::Enum)?;
                let c = self.shown(&column);
                format!("SUM(CASE {c} WHEN 'a' THEN {x} WHEN 'x' THEN -{x} ELSE 0.5 END)")
            }
            24 => {
                let (p, q) = (self.condition(false)?, self.condition(false)?);
                format!("SUM(IF({p}, CASE WHEN {q} THEN {x} ELSE 0 END, NULL))")
            }
            0 | 1 => "COUNT(*)".into(),
            2 => {
                let any = self.table.column(self.random, |_| true)?;
                format!("COUNT({})", self.shown(&any))
            }
            3..=5 => format!("SUM({x})"),
            6 => {
                let any = self.table.column(self.random, |f| {
                    is_number(f) || is_day(f) || f == Family::Year
                })?;
                format!(
                    "{}({})",
                    self.random.pick(&["MIN", "MAX"]),
                    self.shown(&any)
                )
            }
            7 => format!("MAX({x})"),
            8 | 9 => {
                let p = self.condition(false)?;
                format!("SUM(CASE WHEN {p} THEN {x} ELSE 0 END)")
            }
            10 => {
                let p = self.condition(false)?;
                format!("SUM(CASE WHEN {p} THEN {x} END)")
            }
            11 => {
                let p = self.condition(false)?;
                format!("SUM(IF({p}, {x}, 0))")
            }
            12 => {
                let p = self.condition(false)?;
                format!("COUNT(CASE WHEN {p} THEN 1 END)")
            }
            13 => {
                let p = self.condition(false)?;
                format!("COUNT(IF({p}, 1, NULL))")
            }
            14 => format!("SUM({x} * {y})"),
            15 => format!("SUM({x} {} {y})", self.random.pick(&["+", "-"])),
            16 => format!("SUM({x} * 0.19)"),
            17 => format!("SUM(IFNULL({x}, 0))"),
            18 => format!("SUM({})", self.condition(false)?),
            19 => {
                let p = self.condition(false)?;
                format!("SUM(CASE WHEN {p} THEN {x} ELSE {y} END)")
            }
            20 => {
                let p = self.condition(false)?;
                format!("SUM(CASE WHEN {p} THEN {x} ELSE 1 END)")
            }
            _ => "COUNT(1)".into(),
        })
    }

    fn outer(&mut self) -> String {
        let Some(m) = self.measure() else {
            return "COUNT(*)".into();
        };
        if self.chance(60) {
            return m;
        }
        self.expression(&m).unwrap_or(m)
    }

    fn expression(&mut self, m: &str) -> Option<String> {
        let x = self.number_column()?;
        let n = self.random.below(7);
        Some(match self.random.below(22) {
            0..=2 => format!("AVG({x})"),
            3 => {
                let p = self.condition(false)?;
                format!("AVG(CASE WHEN {p} THEN {x} END)")
            }
            4 => format!("{m} / COUNT(*)"),
            5 => format!("ROUND(SUM({x}) * 100 / NULLIF({m}, 0), {n})"),
            6 => format!("COALESCE({m}, 0)"),
            7 => format!("IFNULL({m}, 0)"),
            8 => format!("{m} - {}", self.measure()?),
            9 => format!("{m} * 1.1"),
            10 => format!("CASE WHEN {m} > 100 THEN 'high' ELSE 'low' END"),
            11 => match self.random.below(5) {
                0 => format!("ROUND(IFNULL(AVG({x}), 0), {n})"),
                1 => format!("FORMAT(AVG({x}), {n})"),
                2 => format!("COALESCE(AVG({x}), 0)"),
                3 => format!("TRUNCATE(AVG({x}), {n})"),
                _ => format!("ROUND(AVG({x}), {n})"),
            },
            12 => format!("ABS({m})"),
            13 => format!("FORMAT({m}, {n})"),
            14 => format!("-{m}"),
            15 => format!("FLOOR({m})"),
            16 => format!("TRUNCATE({m}, {n})"),
            17 => format!("IF({m} IS NULL, 0, {m})"),
            18 => format!("ROUND({m}, {n})"),
            19 => format!("({m} + 1) * 2"),
            20 => format!("{m} / 7"),
            _ => format!("ROUND({m} / COUNT(*), {n})"),
        })
    }

    fn having(&mut self, keys: &[String], items: &[String], aliases: &[Option<String>]) -> String {
        let operator = *self.random.pick(&["<", "<=", ">", ">=", "=", "<>"]);
        if self.chance(30)
            && let Some((at, alias)) = aliases
                .iter()
                .enumerate()
                .find_map(|(at, alias)| alias.as_ref().map(|alias| (at, alias)))
        {
            if keys.contains(&items[at]) {
                return format!("{alias} IS NOT NULL");
            }
            return format!("{alias} {operator} {}", mark("D2"));
        }
        if self.chance(20)
            && let Some(x) = self.number_column()
        {
            return format!("AVG({x}) {operator} {}", mark("D4"));
        }
        match self.measure() {
            Some(m) => format!("{m} {operator} {}", mark("D1")),
            None => format!("COUNT(*) {operator} {}", mark("c")),
        }
    }
}
