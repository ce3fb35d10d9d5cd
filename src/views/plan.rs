//! The seam to pattern, matching and rewrite: how one question is recognised and answered from a view. Does no IO.

use std::sync::Arc;

use super::catalog::{Asof, TableInfo};
use super::definition::{BaseTable, Definition, ReadyView};
use super::matching::{self, Match};
use super::observed::Session;
use super::pattern::check::ParameterValue;
use super::pattern::literal::elements;
use super::pattern::{self, Pattern};
use super::refusal::Refusal;
use super::registry::Published;
use super::rewrite::{Rewritten, rewrite};
use crate::binlog::{Binlog, TableKey};
use crate::sql::{DigestScratch, LiteralKind, SelectTree, Statement, StatementCache};

/// A view, and how it answers one question.
pub type Found = (Arc<Published>, Match);

/// One question: its pattern and the view that would answer it.
#[derive(Debug)]
pub struct Plan {
    pattern: Pattern,
    definition: Arc<Definition>,
    info: Arc<TableInfo>,
    /// From when the description of the table is.
    asof: Asof,
}

/// A text parsed by itself: the tree that the workers share was made from another text of its digest, and literals that
/// shape the answer must be this one's.
#[derive(Debug)]
pub struct Parsed(Arc<Statement>);

impl Parsed {
    /// Parses a text as its session reads it.
    pub fn new(text: &[u8], session: &Session) -> Self {
        let mut scratch = DigestScratch::new(text.len().saturating_mul(2).max(2048));
        scratch.run(text, session.mode);
        Self(StatementCache::new(1).get_or_parse(&scratch, text))
    }

    fn tree(&self) -> Result<&SelectTree, Refusal> {
        self.0.select_ast.as_ref().ok_or(Refusal::NotSelect)
    }

    /// The one base table it reads.
    ///
    /// # Errors
    /// When it can have no pattern whatever the table is.
    pub fn base_table(&self, session: &Session) -> Result<BaseTable, Refusal> {
        let default = (!session.schema.is_empty()).then_some(&*session.schema);
        pattern::base_table(&self.tree()?.ast, default)
    }
}

impl Plan {
    /// Plans a text over its base table.
    ///
    /// # Errors
    /// The first rule that keeps it on the base table.
    pub fn make(parsed: &Parsed, info: Arc<TableInfo>, asof: Asof) -> Result<Self, Refusal> {
        let tree = parsed.tree()?;
        let pattern = Pattern::new(tree, &info.schema)?;
        let definition = Arc::new(pattern.generalise()?);
        Ok(Self {
            pattern,
            definition,
            info,
            asof,
        })
    }

    /// Whether the table may have another definition now than the one that was planned with.
    pub fn is_outdated(&self, binlog: &Binlog) -> bool {
        binlog.epoch() != self.asof.epoch
            || binlog
                .last_definition(self.table())
                .is_some_and(|at| at > self.asof.position)
    }

    /// Whether another text of the same statement asks this question.
    pub fn fits(&self, text: &[u8], scratch: &DigestScratch) -> bool {
        self.pattern.fits(text, scratch.literals())
    }

    /// The view that would answer it.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// The base table.
    pub fn table(&self) -> &TableKey {
        &self.info.key
    }

    /// The smallest of the views that answers it.
    ///
    /// # Errors
    /// Why none does.
    pub fn find(&self, views: &[Arc<Published>]) -> Result<Found, Refusal> {
        let ready: Vec<ReadyView> = views
            .iter()
            .filter(|published| !published.is_stale())
            .map(|published| published.view.clone())
            .collect();
        let found = matching::find(&self.pattern, &ready)?;
        let view = views
            .iter()
            .find(|p| p.view.id == found.view && p.view.generation == found.generation)
            .ok_or(Refusal::NoView)?;
        Ok((Arc::clone(view), found))
    }

    /// The statement over the view that a match found, for one text.
    ///
    /// # Errors
    /// When a literal is not of the kind its place needs.
    pub fn rewrite(
        &self,
        found: &Match,
        text: &[u8],
        scratch: &DigestScratch,
    ) -> Result<Rewritten, Refusal> {
        rewrite(found, text, scratch.literals())
    }

    /// The statement over a view that is not published yet.
    ///
    /// # Errors
    /// Why the view does not answer the text.
    pub fn rewrite_for(
        &self,
        view: &ReadyView,
        text: &[u8],
        scratch: &DigestScratch,
    ) -> Result<Rewritten, Refusal> {
        let found = matching::find(&self.pattern, std::slice::from_ref(view))?;
        self.rewrite(&found, text, scratch)
    }
}

/// The text of a prepared statement with its parameters written out, so that it can be kept and run again. `None` when a
/// value has no exact text form or a parameter stands where none is looked for.
pub fn inlined(
    text: &[u8],
    scratch: &DigestScratch,
    values: &[ParameterValue<'_>],
) -> Option<Vec<u8>> {
    let mut values = values.iter();
    let mut out = Vec::with_capacity(text.len() + 16 * values.len());
    let mut copied = 0;
    let mut put = |start: usize, end: usize| -> Option<()> {
        if text.get(start..end)? == b"?" {
            out.extend_from_slice(text.get(copied..start)?);
            write_value(&mut out, values.next()?)?;
            copied = end;
        }
        Some(())
    };
    for literal in scratch.literals() {
        let (start, end) = (literal.start as usize, literal.end as usize);
        match literal.kind {
            LiteralKind::List => {
                for (from, to) in elements(literal.bytes(text))? {
                    put(start + from, start + to)?;
                }
            }
            LiteralKind::Rows if literal.mask & LiteralKind::Parameter.bit() != 0 => return None,
            _ => put(start, end)?,
        }
    }
    out.extend_from_slice(text.get(copied..)?);
    values.next().is_none().then_some(out)
}

fn write_value(out: &mut Vec<u8>, value: &ParameterValue<'_>) -> Option<()> {
    match value {
        ParameterValue::Null => out.extend_from_slice(b"NULL"),
        ParameterValue::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        ParameterValue::Bytes(bytes) => {
            out.push(b'\'');
            for byte in *bytes {
                match byte {
                    b'\'' => out.extend_from_slice(b"''"),
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    byte => out.push(*byte),
                }
            }
            out.push(b'\'');
        }
        ParameterValue::Moment([year, month, day, hour, minute, second, micro]) => {
            let mut moment = format!("'{year:04}-{month:02}-{day:02}");
            if (hour, minute, second, micro) != (&0, &0, &0, &0) {
                moment.push_str(&format!(" {hour:02}:{minute:02}:{second:02}"));
            }
            if *micro != 0 {
                moment.push_str(&format!(".{micro:06}"));
            }
            out.extend_from_slice(moment.as_bytes());
            out.push(b'\'');
        }
        ParameterValue::Double(_) | ParameterValue::Other => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::LexMode;

    fn inline(text: &str, values: &[ParameterValue<'_>]) -> Option<String> {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(text.as_bytes(), LexMode::default());
        inlined(text.as_bytes(), &scratch, values).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn parameters_are_written_out_in_order() {
        use ParameterValue::*;
        assert_eq!(
            inline(
                "SELECT COUNT(*) FROM t WHERE a = ? AND b IN (1, ?, 'x?') AND c >= ? LIMIT ?",
                &[
                    Bytes(b"it's \\"),
                    Int(-5),
                    Moment([2026, 1, 2, 0, 0, 0, 0]),
                    Int(10)
                ],
            )
            .as_deref(),
            Some(
                "SELECT COUNT(*) FROM t WHERE a = 'it''s \\\\' AND b IN (1, -5, 'x?') AND c >= '2026-01-02' LIMIT 10"
            )
        );
        assert_eq!(
            inline("SELECT ?", &[Moment([2026, 1, 2, 3, 4, 5, 60])]).as_deref(),
            Some("SELECT '2026-01-02 03:04:05.000060'")
        );
    }

    #[test]
    fn what_has_no_exact_text_is_not_written() {
        use ParameterValue::*;
        assert_eq!(inline("SELECT ?", &[Double(0.1)]), None);
        assert_eq!(inline("SELECT ?", &[]), None);
        assert_eq!(inline("SELECT 1", &[Int(1)]), None);
    }
}
