//! What was measured against what was promised.

use std::fmt;

/// One figure a round, and the bound it has to keep.
struct Figure {
    name: &'static str,
    rounds: Vec<f64>,
    bound: Bound,
}

#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Default)]
pub struct Table {
    figures: Vec<Figure>,
}

impl Table {
    /// The figure of one round.
    pub fn add(&mut self, name: &'static str, value: f64, bound: Bound) {
        let known = self.figures.iter_mut().find(|figure| figure.name == name);
        match known {
            Some(figure) => figure.rounds.push(value),
            None => self.figures.push(Figure {
                name,
                rounds: vec![value],
                bound,
            }),
        }
    }

    pub fn all_met(&self) -> bool {
        self.figures.iter().all(Figure::is_met)
    }
}

impl Figure {
    /// Lowest, median and highest.
    fn spread(&self) -> [f64; 3] {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        [
            rounds[0],
            rounds[rounds.len() / 2],
            rounds[rounds.len() - 1],
        ]
    }

    fn is_met(&self) -> bool {
        let [_, median, _] = self.spread();
        match self.bound {
            Bound::AtLeast(least) => median >= least,
            Bound::AtMost(most) => median <= most,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<44} {:>8} {:>8} {:>8}  must",
            "figure", "median", "lowest", "highest"
        )?;
        for figure in &self.figures {
            let [lowest, median, highest] = figure.spread();
            let (sign, bound) = match figure.bound {
                Bound::AtLeast(least) => (">=", least),
                Bound::AtMost(most) => ("<=", most),
            };
            writeln!(
                out,
                "{:<44} {median:>8.4} {lowest:>8.4} {highest:>8.4}  {sign} {bound}{}",
                figure.name,
                if figure.is_met() { "" } else { "  MISSED" }
            )?;
        }
        Ok(())
    }
}
