//! Writes the statement over a view that gives the pattern's exact result. Pure.
//! The text is this file's own; of the client's text only the bytes of literals that passed their checks get into it.

use super::matching::{Columns, Match};
use super::pattern::Need;
use super::pattern::check::{Check, string_content};
use super::pattern::expression::{Aggregate, Expr, Operator, Printer};
use super::pattern::literal::{Literal, Slot, Varying, elements, parameters_before};
use super::refusal::Refusal;
use crate::sql::Literal as DigestLiteral;

/// One part of a statement over a view.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Text of ours.
    Sql(String),
    /// A literal of the client's text.
    Literal(Slot),
    /// A list of literals, by the digest's literal.
    List(u16),
    /// A stored day compared with the day of a literal.
    Day {
        column: String,
        operator: Operator,
        slot: Slot,
    },
}

/// A statement over a view with places for the varying literals.
#[derive(Debug, Clone)]
pub struct Template {
    pieces: Vec<Piece>,
    varying: Varying,
}

/// A statement ready to run on a service connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The statement, in the client's character set. Its result columns are named `c1`, `c2` ..; the client is sent the
    /// column definitions that PREPARE of its own statement gave.
    pub sql: Vec<u8>,
    /// For each `?` of the statement in order: the number of the client's parameter that belongs there.
    pub parameters: Vec<u16>,
    /// What the client's parameters must be, by number; test them with `pattern::check_parameters` at each execution.
    pub checks: Vec<(u16, Check)>,
}

/// Writes the statement for one text of the match's pattern. The caller has made sure that the text fits the pattern
/// ([`super::pattern::Pattern::fits`]).
///
/// # Errors
/// When a varying literal is not of the kind its place needs.
pub fn rewrite(
    found: &Match,
    text: &[u8],
    literals: &[DigestLiteral],
) -> Result<Rewritten, Refusal> {
    found.template.fill(text, literals)
}

impl Template {
    pub(super) fn print(
        columns: &Columns<'_>,
        table_sql: &str,
        varying: Varying,
    ) -> Result<Self, Refusal> {
        let mut out = Text {
            columns,
            varying: &varying,
            in_having: false,
            pieces: Vec::new(),
        };
        let pattern = columns.pattern;
        out.text("SELECT ");
        for (at, item) in pattern.projection.iter().enumerate() {
            if at > 0 {
                out.text(", ");
            }
            item.print(&mut out)?;
            out.text(&format!(" AS `c{}`", at + 1));
        }
        out.text(&format!(" FROM {table_sql} AS `v`"));
        out.joined(" WHERE ", " AND ", &pattern.filters)?;
        out.joined(
            " GROUP BY ",
            ", ",
            pattern.keys.as_deref().unwrap_or_default(),
        )?;
        if let Some(having) = &pattern.having {
            out.text(" HAVING ");
            out.in_having = true;
            having.print(&mut out)?;
            out.in_having = false;
        }
        for (at, order) in pattern.order.iter().enumerate() {
            out.text(if at == 0 { " ORDER BY " } else { ", " });
            match pattern
                .projection
                .iter()
                .position(|item| *item == order.expr)
            {
                Some(item) => out.text(&format!("`c{}`", item + 1)),
                None => order.expr.print(&mut out)?,
            }
            if order.descending {
                out.text(" DESC");
            }
        }
        if let Some(limit) = &pattern.limit {
            out.text(" LIMIT ");
            out.literal(&limit.count)?;
            if let Some(offset) = &limit.offset {
                out.text(" OFFSET ");
                out.literal(offset)?;
            }
        }
        Ok(Self {
            pieces: out.pieces,
            varying,
        })
    }

    fn fill(&self, text: &[u8], literals: &[DigestLiteral]) -> Result<Rewritten, Refusal> {
        let checks = self.varying.check(text, literals)?;
        let mut filling = Filling {
            text,
            literals,
            sql: Vec::with_capacity(512),
            parameters: Vec::new(),
        };
        for piece in &self.pieces {
            filling.piece(piece)?;
        }
        Ok(Rewritten {
            sql: filling.sql,
            parameters: filling.parameters,
            checks,
        })
    }

    /// The statement with the literals of the pattern's own text left open, for people.
    pub fn display(&self) -> String {
        let mut sql = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Sql(ours) => sql.push_str(ours),
                Piece::Literal(slot) => sql.push_str(&format!("<{}>", slot.literal)),
                Piece::List(literal) => sql.push_str(&format!("(<{literal}>)")),
                Piece::Day {
                    column,
                    operator,
                    slot,
                } => sql.push_str(&format!(
                    "({column} {} <day of {}>)",
                    operator.sql(),
                    slot.literal
                )),
            }
        }
        sql
    }
}

/// One statement being put together.
struct Filling<'a> {
    text: &'a [u8],
    literals: &'a [DigestLiteral],
    sql: Vec<u8>,
    parameters: Vec<u16>,
}

impl<'a> Filling<'a> {
    fn piece(&mut self, piece: &Piece) -> Result<(), Refusal> {
        match piece {
            Piece::Sql(ours) => self.sql.extend_from_slice(ours.as_bytes()),
            Piece::Literal(slot) => {
                let literal = self.value(*slot)?;
                self.parameter(literal, *slot)?;
                self.sql.extend_from_slice(literal);
            }
            Piece::List(at) => {
                let list = self.literals.get(usize::from(*at));
                let list = list.ok_or(Refusal::OtherLiterals)?.bytes(self.text);
                let values = elements(list).ok_or(Refusal::LiteralType)?;
                for (element, (start, end)) in (0u16..).zip(values) {
                    let slot = Slot {
                        literal: *at,
                        element,
                    };
                    let value = list.get(start..end).unwrap_or_default();
                    self.parameter(value, slot)?;
                    self.sql
                        .extend_from_slice(if element == 0 { b"(" } else { b", " });
                    self.sql.extend_from_slice(value);
                }
                self.sql.push(b')');
            }
            Piece::Day {
                column,
                operator,
                slot,
            } => {
                let literal = self.value(*slot)?;
                let operator = operator.sql();
                if self.parameter(literal, *slot)? {
                    // As a DATETIME the stored day makes the server read the parameter as it would beside the base column.
                    let day = format!("(CAST({column} AS DATETIME(6)) {operator} ?)");
                    self.sql.extend_from_slice(day.as_bytes());
                    return Ok(());
                }
                let day = string_content(literal)
                    .and_then(|content| content.get(..10))
                    .ok_or(Refusal::DateInvalid)?;
                self.sql
                    .extend_from_slice(format!("({column} {operator} '").as_bytes());
                self.sql.extend_from_slice(day);
                self.sql.extend_from_slice(b"')");
            }
        }
        Ok(())
    }

    fn value(&self, slot: Slot) -> Result<&'a [u8], Refusal> {
        slot.bytes(self.text, self.literals)
            .ok_or(Refusal::OtherLiterals)
    }

    /// Notes the parameter that stands here, if one does.
    fn parameter(&mut self, value: &[u8], slot: Slot) -> Result<bool, Refusal> {
        let is_parameter = value == b"?";
        if is_parameter {
            let number = parameters_before(self.text, self.literals, slot)
                .ok_or(Refusal::ParameterPosition)?;
            self.parameters.push(number);
        }
        Ok(is_parameter)
    }
}

struct Text<'a> {
    columns: &'a Columns<'a>,
    varying: &'a Varying,
    /// Inside HAVING, which may not name columns that are only inside a grouped expression: those select items go by their
    /// names.
    in_having: bool,
    pieces: Vec<Piece>,
}

impl Text<'_> {
    fn joined(&mut self, before: &str, between: &str, list: &[Expr]) -> Result<(), Refusal> {
        for (at, expr) in list.iter().enumerate() {
            self.text(if at == 0 { before } else { between });
            expr.print(self)?;
        }
        Ok(())
    }

    fn varies(&self, literal: &Literal) -> bool {
        literal.slot.is_some_and(|slot| self.varying.has(slot))
    }
}

impl Printer for Text<'_> {
    fn text(&mut self, sql: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Sql(last)) => last.push_str(sql),
            _ => self.pieces.push(Piece::Sql(sql.to_owned())),
        }
    }

    fn column(&mut self, column: usize) -> Result<(), Refusal> {
        let (name, _) = self.columns.keys.get(&column).ok_or(Refusal::MissingKey)?;
        let name = format!("`v`.`{name}`");
        self.text(&name);
        Ok(())
    }

    fn literal(&mut self, literal: &Literal) -> Result<(), Refusal> {
        if let Some(prefix) = literal.prefix {
            self.text(prefix);
            self.text(" ");
        }
        match literal.slot {
            Some(slot) if self.varies(literal) => self.pieces.push(Piece::Literal(slot)),
            _ => self.text(&literal.text),
        }
        Ok(())
    }

    fn day_bound(
        &mut self,
        column: usize,
        operator: Operator,
        literal: &Literal,
    ) -> Result<(), Refusal> {
        let (name, held) = self.columns.keys.get(&column).ok_or(Refusal::MissingKey)?;
        let name = format!("`v`.`{name}`");
        match held {
            Need::Exact => {
                self.text(&format!("({name} {} ", operator.sql()));
                self.literal(literal)?;
                self.text(")");
            }
            Need::Day => self.pieces.push(Piece::Day {
                column: name,
                operator,
                slot: literal.slot.ok_or(Refusal::LiteralPosition)?,
            }),
        }
        Ok(())
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<(), Refusal> {
        let leaf = self
            .columns
            .leaves
            .iter()
            .find(|(known, _)| *known == aggregate)
            .ok_or(Refusal::MissingMeasure)?;
        let sql = leaf.1.sql();
        self.text(&sql);
        Ok(())
    }

    fn list(&mut self, list: &[Expr]) -> bool {
        match list.first() {
            Some(Expr::Literal(Literal {
                slot: Some(slot), ..
            })) if self.varying.has_list(slot.literal) => {
                self.pieces.push(Piece::List(slot.literal));
                true
            }
            _ => false,
        }
    }

    fn name_of(&self, expr: &Expr) -> Option<String> {
        let plain = matches!(
            expr,
            Expr::Call(..) | Expr::Extract(..) | Expr::Infix(..) | Expr::Case { .. }
        );
        if !self.in_having || !plain || expr.has_aggregate() {
            return None;
        }
        // Equal in the pattern's text is not enough for a literal that may vary.
        let mut varies = false;
        expr.walk(&mut |part| {
            if let Expr::Literal(literal) = part {
                varies |= self.varies(literal);
            }
        });
        let items = &self.columns.pattern.projection;
        let at = items.iter().position(|item| item == expr)?;
        (!varies).then(|| format!("`c{}`", at + 1))
    }
}
