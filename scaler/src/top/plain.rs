//! The page as plain text, once.

use std::io::{self, Write};

use super::Shown;
use super::content::{self, Grid};
use crate::status::View;

/// Decisions that are printed: what is older, `explain` has.
const ROWS: usize = 20;

/// Prints the fleet with this name, or every one.
pub fn print(shown: &Shown, fleet: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let fleets = &shown.status.fleets;
    if fleets.is_empty() {
        return writeln!(out, "the scaler has decided nothing yet");
    }
    let chosen = fleets
        .iter()
        .filter(|view| fleet.is_none_or(|fleet| view.fleet == fleet));
    for (at, view) in chosen.enumerate() {
        // The history is that of the first.
        let past = if at == 0 {
            &shown.past.decisions[..]
        } else {
            &[]
        };
        print_fleet(view, out)?;
        for grid in content::grids(view, shown.status.batches.as_ref(), past) {
            print_grid(&grid, out)?;
        }
    }
    Ok(())
}

fn print_fleet(view: &View, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", view.fleet, content::size(view))?;
    writeln!(out, "{}", content::reason(view))?;
    for line in content::order(view).iter().chain(&view.holds) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    for figure in content::figures(view) {
        writeln!(out, "{:<16} {}", figure.name, figure.value)?;
    }
    Ok(())
}

fn print_grid(grid: &Grid, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", grid.title)?;
    if let Some(note) = &grid.note {
        writeln!(out, "{note}")?;
    }
    if grid.rows.is_empty() {
        return writeln!(out, "{}", grid.empty);
    }
    let rows = &grid.rows[..grid.rows.len().min(ROWS)];
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(grid.head[column].chars().count())
    };
    let head: Vec<String> = grid.head.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(column, cell)| format!("{cell:<0$}", width(column)));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
