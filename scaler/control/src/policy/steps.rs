//! How many steps a formula may take: counted over its expression, before it is ever evaluated.
//!
//! Without macros each part is evaluated once. `all`, `exists`, `filter` and `map` evaluate a part
//! for each item of a list, and lists are no longer than what is written: so there is a bound.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr};

/// A tick evaluates a formula each second, and this takes a millisecond or so.
pub const MOST_STEPS: u64 = 10_000;

/// An upper bound of the steps that evaluating `expression` takes.
pub fn steps(expression: &Expr) -> u64 {
    Counter::default().cost(expression).steps
}

/// The names that macros go through their lists by, such as `v` in `[1.0].exists(v, v > 0.0)`.
pub fn bound(expression: &Expr) -> Vec<&str> {
    let mut counter = Counter::default();
    counter.cost(expression);
    counter.bound
}

/// What evaluating a part takes, and how many items may be in what it comes to, lists in lists
/// included.
#[derive(Clone, Copy, Default)]
struct Cost {
    steps: u64,
    items: u64,
}

impl Cost {
    /// Both are evaluated, and one or the sum of both is what they come to.
    fn and(self, other: Cost) -> Cost {
        Cost {
            steps: self.steps.saturating_add(other.steps),
            items: self.items.saturating_add(other.items),
        }
    }

    fn with_items(self, more: usize) -> Cost {
        Cost {
            items: self.items.saturating_add(more as u64),
            ..self
        }
    }
}

#[derive(Default)]
struct Counter<'a> {
    /// What macros go through, and how many items one of it may have. Other names are numbers.
    variables: Vec<(&'a str, u64)>,
    /// The names of all of them.
    bound: Vec<&'a str>,
}

impl<'a> Counter<'a> {
    fn cost(&mut self, expression: &'a Expr) -> Cost {
        let inner = match expression {
            Expr::Unspecified | Expr::Literal(_) => Cost::default(),
            Expr::Ident(name) => Cost {
                items: self.items(name),
                steps: 0,
            },
            Expr::Select(select) => self.cost(&select.operand.expr),
            Expr::Call(call) => self.all(call.target.as_deref().into_iter().chain(&call.args)),
            Expr::List(list) => {
                let elements = self.all(list.elements.iter());
                elements.with_items(list.elements.len())
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(one) => self.entries(one.entries.iter().map(|entry| &entry.expr)),
            Expr::Comprehension(over) => self.comprehension(over),
        };
        Cost {
            steps: inner.steps.saturating_add(1),
            ..inner
        }
    }

    /// What a macro becomes: a loop over a range that adds to a result.
    fn comprehension(&mut self, over: &'a ComprehensionExpr) -> Cost {
        let range = self.cost(&over.iter_range.expr);
        let outer = self.variables.len();
        let second = over.iter_var2.as_deref();
        for name in [over.iter_var.as_str()].into_iter().chain(second) {
            self.variables.push((name, range.items));
            self.bound.push(name);
        }
        let each = self.cost(&over.loop_cond.expr);
        let each = each.and(self.cost(&over.loop_step.expr));
        let around = self.cost(&over.accu_init.expr);
        let around = around.and(self.cost(&over.result.expr));
        self.variables.truncate(outer);
        let loops = Cost {
            steps: range.items.saturating_mul(each.steps),
            items: range.items.saturating_mul(each.items),
        };
        range.and(around).and(loops)
    }

    fn items(&self, name: &str) -> u64 {
        let mut innermost_first = self.variables.iter().rev();
        let found = innermost_first.find(|(known, _)| *known == name);
        found.map_or(0, |(_, items)| *items)
    }

    fn all(&mut self, parts: impl Iterator<Item = &'a IdedExpr>) -> Cost {
        parts.fold(Cost::default(), |sum, part| sum.and(self.cost(&part.expr)))
    }

    fn entries(&mut self, entries: impl Iterator<Item = &'a EntryExpr>) -> Cost {
        entries.fold(Cost::default(), |sum, entry| {
            let cost = match entry {
                EntryExpr::StructField(field) => self.cost(&field.value.expr),
                EntryExpr::MapEntry(entry) => {
                    let key = self.cost(&entry.key.expr);
                    key.and(self.cost(&entry.value.expr))
                }
            };
            sum.and(cost).with_items(1)
        })
    }
}
