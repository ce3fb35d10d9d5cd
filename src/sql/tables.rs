//! The tables a query's tree reads, common table expressions resolved by MySQL's scoping. The second of two independent ways
//! to the list (the first is [`super::scan`]): where they disagree, nobody relies on either.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Query, Select, Statement as Ast, TableFactor, ValueWithSpan,
    Visit, Visitor,
};

use super::statement::{Slot, TableName};

/// What a walk over the tree found.
#[derive(Debug, Default)]
pub struct Tables {
    /// Every name in a table position, as written, in order.
    pub named: Vec<TableName>,
    /// Those of them that are tables (or SQL views: only the server knows), each once.
    pub read: Vec<TableName>,
    /// A table factor that MySQL does not have, or a name of three parts: the tree is not to be trusted.
    pub strange: bool,
    /// The most expressions inside each other, or the number of SELECTs where that is more: how deep a walk has to go.
    pub depth: usize,
    /// Some literal of the text is no value in the tree (a type's length, an alias): its meaning is not in the tree.
    pub unbound_literal: bool,
}

/// Walk a query.
pub fn tables(ast: &Ast, slots: &[Slot]) -> Tables {
    let mut walk = Walk {
        found: Tables::default(),
        scopes: Vec::new(),
        values: HashSet::new(),
        expressions: 0,
        selects: 0,
    };
    let _ = ast.visit(&mut walk);
    let mut found = walk.found;
    found.depth = found.depth.max(walk.selects);
    let mut seen = HashSet::new();
    found.read.retain(|table| seen.insert(table.clone()));
    found.unbound_literal = slots
        .iter()
        .any(|slot| !walk.values.contains(&(u64::from(slot.start) + 1)));
    found
}

/// The WITH of one query on the way down. `visible` of its names hold where the walk is now.
struct Scope {
    query: *const Query,
    names: Vec<(String, *const Query)>,
    recursive: bool,
    visible: usize,
}

struct Walk {
    found: Tables,
    scopes: Vec<Scope>,
    /// Columns of the values met.
    values: HashSet<u64>,
    /// Expressions around the walk's place.
    expressions: usize,
    /// SELECTs met. A chain of UNIONs is as deep as it is long.
    selects: usize,
}

impl Walk {
    fn is_common_table(&self, name: &str) -> bool {
        self.scopes.iter().rev().any(|scope| {
            scope
                .names
                .iter()
                .take(scope.visible)
                .any(|(known, _)| known == name)
        })
    }

    /// The place of `query` among the definitions of the WITH around it.
    fn definition(&self, query: &Query) -> Option<usize> {
        let scope = self.scopes.last()?;
        scope
            .names
            .iter()
            .position(|(_, definition)| std::ptr::eq(*definition, query))
    }
}

impl Visitor for Walk {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(place) = self.definition(query)
            && let Some(scope) = self.scopes.last_mut()
        {
            // A definition sees those before it, and itself when RECURSIVE.
            scope.visible = place + usize::from(scope.recursive);
        }
        if let Some(with) = &query.with {
            let names = with
                .cte_tables
                .iter()
                .map(|cte| {
                    (
                        cte.alias.name.value.clone(),
                        std::ptr::from_ref(&*cte.query),
                    )
                })
                .collect();
            self.scopes.push(Scope {
                query: std::ptr::from_ref(query),
                names,
                recursive: with.recursive,
                visible: 0,
            });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self
            .scopes
            .last()
            .is_some_and(|scope| std::ptr::eq(scope.query, query))
        {
            self.scopes.pop();
        }
        if let Some(place) = self.definition(query)
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.visible = place + 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let known = match factor {
            TableFactor::Table {
                args,
                version,
                json_path,
                sample,
                ..
            } => args.is_none() && version.is_none() && json_path.is_none() && sample.is_none(),
            TableFactor::Derived { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::NestedJoin { .. } => true,
            _ => false,
        };
        self.found.strange |= !known;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let mut parts = Vec::new();
        for part in &relation.0 {
            match part {
                ObjectNamePart::Identifier(ident) => parts.push(ident),
                ObjectNamePart::Function(_) => self.found.strange = true,
            }
        }
        let table = match parts.as_slice() {
            [name] if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("dual") => {
                return ControlFlow::Continue(());
            }
            [name] => TableName {
                schema: None,
                name: name.value.clone(),
            },
            [schema, name] => TableName {
                schema: Some(schema.value.clone()),
                name: name.value.clone(),
            },
            _ => {
                self.found.strange = true;
                return ControlFlow::Continue(());
            }
        };
        // Only the exact spelling: with case-sensitive names `C` is not the common table `c`, and a name too many does no harm.
        if table.schema.is_some() || !self.is_common_table(&table.name) {
            self.found.read.push(table.clone());
        }
        self.found.named.push(table);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.selects += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.expressions += 1;
        self.found.depth = self.found.depth.max(self.expressions);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.expressions -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if value.span.start.line == 1 {
            self.values.insert(value.span.start.column);
        }
        ControlFlow::Continue(())
    }
}
