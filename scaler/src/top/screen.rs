//! The page on a screen: the fleet as it is now, and one table at a time.

use ratatui_core::layout::{Constraint, Layout, Rect};
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::terminal::Frame;
use ratatui_core::text::{Line, Span, Text};
use ratatui_widgets::block::Block;
use ratatui_widgets::borders::Borders;
use ratatui_widgets::paragraph::{Paragraph, Wrap};
use ratatui_widgets::sparkline::Sparkline;
use ratatui_widgets::table::{Row, Table, TableState};
use ratatui_widgets::tabs::Tabs;

use super::Shown;
use super::content::{self, Figure, Grid};
use super::keys::Key;
use crate::status::View;

/// Figures in a row.
const ABREAST: usize = 6;

/// Rows that a page key moves.
const PAGE: usize = 10;

/// Lines of the statement about the fleet.
const MOST_STATED: u16 = 8;

/// Columns between two of a table.
const GAP: u16 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    Some,
    /// Bold and reversed text alone.
    None,
}

/// What is looked at, and where.
pub struct Screen {
    address: String,
    colors: Colors,
    shown: Shown,
    /// Why the newest state is not known.
    lost: Option<String>,
    fleet: usize,
    part: usize,
    rows: TableState,
}

impl Screen {
    pub fn new(address: String, colors: Colors) -> Screen {
        Screen {
            address,
            colors,
            shown: Shown::default(),
            lost: None,
            fleet: 0,
            part: 0,
            rows: TableState::default(),
        }
    }

    pub(super) fn show(&mut self, shown: Shown) {
        self.shown = shown;
        self.lost = None;
    }

    /// The scaler does not answer; what is shown is the last that it said.
    pub fn lose(&mut self, why: &anyhow::Error) {
        self.lost = Some(format!("{why:#}"));
    }

    /// Looks at the fleet with this name.
    pub fn choose(&mut self, name: Option<&str>) {
        let mut fleets = self.shown.status.fleets.iter();
        let found = name.and_then(|name| fleets.position(|view| view.fleet == name));
        self.fleet = found.unwrap_or(0);
    }

    /// The name of the fleet that is looked at.
    pub fn fleet(&self) -> Option<&str> {
        self.view().map(|view| &*view.fleet)
    }

    fn view(&self) -> Option<&View> {
        let fleets = &self.shown.status.fleets;
        fleets.get(self.fleet).or(fleets.first())
    }

    fn grids(&self) -> Vec<Grid> {
        let batches = self.shown.status.batches.as_ref();
        let grids = |view| content::grids(view, batches, &self.shown.past.decisions);
        self.view().map(grids).unwrap_or_default()
    }

    pub fn take(&mut self, key: Key) {
        let parts = self.grids().len().max(1);
        match key {
            Key::NextPart => self.turn_to((self.part + 1) % parts),
            Key::PreviousPart => self.turn_to((self.part + parts - 1) % parts),
            Key::NextFleet => {
                self.fleet = (self.fleet + 1) % self.shown.status.fleets.len().max(1);
                // The past is another fleet's until the scaler is asked again.
                self.shown.past = super::Past::default();
                self.turn_to(self.part);
            }
            Key::Up => self.go_to(self.row().saturating_sub(1)),
            Key::Down => self.go_to(self.row() + 1),
            Key::PageUp => self.go_to(self.row().saturating_sub(PAGE)),
            Key::PageDown => self.go_to(self.row() + PAGE),
            Key::Quit => {}
        }
    }

    fn turn_to(&mut self, part: usize) {
        self.part = part;
        self.rows = TableState::default();
    }

    fn row(&self) -> usize {
        self.rows.selected().unwrap_or(0)
    }

    fn go_to(&mut self, row: usize) {
        let grids = self.grids();
        let rows = grids.get(self.part).map_or(0, |grid| grid.rows.len());
        self.rows.select(Some(row.min(rows.saturating_sub(1))));
    }

    pub fn draw(&mut self, frame: &mut Frame) {
        let area = frame.area();
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.head(), head);
        frame.render_widget(Line::from(self.keys()).style(self.soft()), foot);
        match self.view().cloned() {
            Some(view) => self.draw_fleet(&view, frame, body),
            None => frame.render_widget("waiting for the first tick", body),
        }
    }

    fn head(&self) -> Line<'static> {
        let version = &self.shown.status.version;
        let mut spans = vec![Span::styled(
            "Tidegate",
            Style::new().add_modifier(Modifier::BOLD),
        )];
        if let Some(fleet) = self.fleet() {
            spans.push(Span::raw(format!("  {fleet}")));
        }
        spans.push(match &self.lost {
            None => {
                let text = format!("  live, version {version}, {}", self.address);
                Span::styled(text, self.color(Color::Green))
            }
            Some(why) => {
                let text = format!("  no connection, retrying: {why}");
                Span::styled(text, self.color(Color::Red).add_modifier(Modifier::BOLD))
            }
        });
        Line::from(spans)
    }

    fn keys(&self) -> String {
        let fleets = match self.shown.status.fleets.len() {
            0 | 1 => "",
            _ => "  f next fleet",
        };
        format!("q quit  tab or ← → part  ↑ ↓ rows{fleets}")
    }

    fn draw_fleet(&mut self, view: &View, frame: &mut Frame, area: Rect) {
        let statement = self.statement(view);
        let lines = statement
            .iter()
            .map(|line| lines(line, area.width))
            .sum::<u16>();
        let grids = self.grids();
        self.part = self.part.min(grids.len().saturating_sub(1));
        let [now, figures, demand, tabs, rest] = Layout::vertical([
            Constraint::Length(lines.min(MOST_STATED)),
            Constraint::Length(4),
            Constraint::Length(3),
            Constraint::Length(1),
            Constraint::Min(0),
        ])
        .areas(area);
        let statement = Paragraph::new(statement).wrap(Wrap { trim: true });
        frame.render_widget(statement, now);
        self.draw_figures(&content::figures(view), frame, figures);
        self.draw_demand(frame, demand);
        let titles = grids
            .iter()
            .map(|grid| format!("{} ({})", grid.title, grid.rows.len()));
        let chosen = Style::new().add_modifier(Modifier::REVERSED);
        let titles = Tabs::new(titles).select(self.part).highlight_style(chosen);
        frame.render_widget(titles, tabs);
        if let Some(grid) = grids.get(self.part) {
            self.draw_grid(grid, frame, rest);
        }
    }

    fn statement(&self, view: &View) -> Vec<Line<'static>> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut lines = vec![
            Line::styled(content::size(view), bold),
            Line::raw(content::reason(view)),
        ];
        let order = content::order(view).into_iter();
        lines.extend(order.map(|order| Line::styled(order, self.color(Color::Yellow))));
        lines.extend(
            view.holds
                .iter()
                .cloned()
                .map(|hold| Line::styled(hold, self.soft())),
        );
        lines
    }

    fn draw_figures(&self, figures: &[Figure], frame: &mut Frame, area: Rect) {
        let rows = Layout::vertical([Constraint::Length(2); 2]).split(area);
        for (row, figures) in rows.iter().zip(figures.chunks(ABREAST)) {
            let columns = Layout::horizontal([Constraint::Fill(1); ABREAST]).split(*row);
            for (column, figure) in columns.iter().zip(figures) {
                let value = match figure.bad {
                    true => self.color(Color::Red).add_modifier(Modifier::BOLD),
                    false => Style::new().add_modifier(Modifier::BOLD),
                };
                let text = Text::from(vec![
                    Line::styled(figure.name, self.soft()),
                    Line::styled(figure.value.clone(), value),
                ]);
                frame.render_widget(text, *column);
            }
        }
    }

    /// Workers needed and requests present, as far back as there is room.
    fn draw_demand(&self, frame: &mut Frame, area: Rect) {
        let halves = Layout::horizontal([Constraint::Fill(1); 2])
            .spacing(GAP)
            .split(area);
        let points = &self.shown.past.points;
        let needed: Vec<u64> = points.iter().map(|point| point.need.into()).collect();
        let present: Vec<u64> = (points.iter())
            .map(|point| point.waiting + point.in_flight)
            .collect();
        let drawn = [
            ("Workers needed", needed, Color::Yellow),
            ("Requests in the queue and at workers", present, Color::Cyan),
        ];
        for (half, (title, values, color)) in halves.iter().zip(drawn) {
            let from = values.len().saturating_sub(half.width.into());
            let block = Block::new().borders(Borders::TOP).title(title);
            let line = Sparkline::default().block(block).style(self.color(color));
            frame.render_widget(line.data(&values[from..]), *half);
        }
    }

    fn draw_grid(&mut self, grid: &Grid, frame: &mut Frame, area: Rect) {
        let [note, body] = Layout::vertical([
            Constraint::Length(grid.note.is_some().into()),
            Constraint::Min(0),
        ])
        .areas(area);
        if let Some(text) = &grid.note {
            frame.render_widget(Line::styled(text.clone(), self.soft()), note);
        }
        if grid.rows.is_empty() {
            return frame.render_widget(Line::styled(grid.empty, self.soft()), body);
        }
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let rows = grid.rows.iter().map(|row| Row::new(row.clone()));
        let table = Table::new(rows, widths(grid))
            .header(Row::new(grid.head.clone()).style(bold))
            .column_spacing(GAP)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, body, &mut self.rows);
    }

    fn color(&self, color: Color) -> Style {
        match self.colors {
            Colors::Some => Style::new().fg(color),
            Colors::None => Style::new(),
        }
    }

    fn soft(&self) -> Style {
        self.color(Color::DarkGray)
    }
}

/// Lines of the screen that a line takes when it is wrapped, or one more.
fn lines(line: &Line, width: u16) -> u16 {
    let (needed, width) = (line.width() as u16, width.max(1));
    match needed <= width {
        true => 1,
        // Words are not cut.
        false => needed / width + 2,
    }
}

/// As wide as what is in it; the last column takes the rest.
fn widths(grid: &Grid) -> Vec<Constraint> {
    let columns = grid.head.len();
    let widest = |column: usize| {
        let head = grid.head[column].chars().count();
        let cells = grid.rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(head)
    };
    let width = |column| match column + 1 == columns {
        true => Constraint::Fill(1),
        false => Constraint::Length(widest(column) as u16),
    };
    (0..columns).map(width).collect()
}
