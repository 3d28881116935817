//! A chart as inline SVG: axes with round numbers, lines, dots, a limit.

use std::fmt::{self, Write};

use super::Text;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 34.0;

/// More points than this cannot be distinguished on a page.
const MOST_POINTS: usize = 720;

/// How many steps an axis has, about.
const STEPS: f64 = 5.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    /// Powers of ten; what is smaller than the least sits on it.
    Log,
}

/// One curve, in the colour of its class.
pub struct Curve {
    pub name: String,
    /// What the key calls it and others like it.
    pub kind: String,
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// One point with its name.
pub struct Dot {
    pub name: String,
    /// What stands beside it.
    pub label: Option<String>,
    pub class: &'static str,
    pub at: (f64, f64),
}

pub struct Chart {
    pub title: &'static str,
    pub x: &'static str,
    pub y: &'static str,
    pub scale: Scale,
    pub curves: Vec<Curve>,
    pub dots: Vec<Dot>,
    pub limit: Option<f64>,
}

/// An axis: the least and most value, and where they are drawn.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    scale: Scale,
}

impl Chart {
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut svg);
        svg
    }

    fn write(&self, svg: &mut String) -> fmt::Result {
        let (x, y) = self.axes();
        let about = self.about();
        write!(
            svg,
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{}\">",
            Text(self.title),
            Text(&about)
        )?;
        self.grid(svg, &x, &y)?;
        if let Some(limit) = self.limit {
            let at = y.place(limit);
            write!(
                svg,
                "<path class=\"limit\" d=\"M{LEFT} {at:.1}H{:.1}\"/>",
                WIDTH - RIGHT
            )?;
        }
        if self.scale == Scale::Linear {
            self.shade(svg, &x, &y)?;
        }
        for curve in &self.curves {
            write!(svg, "<path class=\"line {}\" d=\"", curve.class)?;
            for (index, (px, py)) in thinned(&curve.points).into_iter().enumerate() {
                let pen = if index == 0 { 'M' } else { 'L' };
                write!(svg, "{pen}{:.1} {:.1}", x.place(px), y.place(py))?;
            }
            write!(svg, "\"><title>{}</title></path>", Text(&curve.name))?;
        }
        let mut labels = Labels::default();
        for dot in &self.dots {
            dot.write(svg, x.place(dot.at.0), y.place(dot.at.1), &mut labels)?;
        }
        svg.push_str("</svg>");
        self.key(svg)?;
        svg.push_str("</figure>\n");
        Ok(())
    }

    /// The area under the demand.
    fn shade(&self, svg: &mut String, x: &Axis, y: &Axis) -> fmt::Result {
        for curve in self.curves.iter().filter(|curve| curve.class == "demand") {
            let points = thinned(&curve.points);
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            write!(
                svg,
                "<path class=\"area\" d=\"M{:.1} {:.1}",
                x.place(first.0),
                y.place(0.0)
            )?;
            for (px, py) in &points {
                write!(svg, "L{:.1} {:.1}", x.place(*px), y.place(*py))?;
            }
            write!(svg, "L{:.1} {:.1}Z\"/>", x.place(last.0), y.place(0.0))?;
        }
        Ok(())
    }

    /// What those hear who do not see it.
    fn about(&self) -> String {
        let curves = self.curves.iter().map(|curve| {
            let values = || curve.points.iter().map(|(_, value)| *value);
            let most = values().fold(0.0, f64::max);
            let mean = values().sum::<f64>() / curve.points.len().max(1) as f64;
            format!("{}: mean {mean:.1}, most {most:.1}", curve.name)
        });
        let dots = self.dots.iter().map(|dot| dot.name.clone());
        let parts: Vec<String> = curves.chain(dots).collect();
        format!(
            "{}. {} over {}. {}",
            self.title,
            self.y,
            self.x,
            parts.join("; ")
        )
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || {
            let curves = self.curves.iter().flat_map(|curve| &curve.points);
            curves.copied().chain(self.dots.iter().map(|dot| dot.at))
        };
        let most = |values: &mut dyn Iterator<Item = f64>| {
            values.filter(|value| value.is_finite()).fold(0.0, f64::max)
        };
        let (high_x, high_y) = (
            most(&mut points().map(|(x, _)| x)),
            most(&mut points().map(|(_, y)| y).chain(self.limit)),
        );
        // Points in a cloud are distinguished by where the cloud begins.
        let low_x = match self.dots.is_empty() {
            true => 0.0,
            false => points().map(|(x, _)| x).fold(high_x, f64::min) * 0.95,
        };
        let x = Axis {
            low: low_x,
            high: if high_x > low_x { high_x } else { low_x + 1.0 },
            from: LEFT,
            to: WIDTH - RIGHT,
            scale: Scale::Linear,
        };
        let (low, high) = match self.scale {
            Scale::Linear => (0.0, (high_y * 1.05).max(1e-9)),
            Scale::Log => {
                let least = points()
                    .map(|(_, y)| y.max(LEAST_LOG))
                    .fold(high_y, f64::min);
                let decade = 10_f64.powf(least.max(LEAST_LOG).log10().floor());
                (decade, high_y.max(decade * 10.0))
            }
        };
        let y = Axis {
            low,
            high,
            from: HEIGHT - BOTTOM,
            to: TOP,
            scale: self.scale,
        };
        (x, y)
    }

    fn grid(&self, svg: &mut String, x: &Axis, y: &Axis) -> fmt::Result {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in y.ticks() {
            let at = y.place(tick);
            write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 5.0,
                at + 4.0,
                Number(tick)
            )?;
        }
        for tick in x.ticks() {
            let at = x.place(tick);
            write!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {bottom}v4\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 15.0,
                Number(tick)
            )?;
        }
        write!(
            svg,
            "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            HEIGHT - 5.0,
            Text(self.x),
            LEFT + 4.0,
            TOP - 7.0,
            Text(self.y)
        )
    }

    fn key(&self, svg: &mut String) -> fmt::Result {
        svg.push_str("<div class=\"key\">");
        let mut shown: Vec<&str> = Vec::new();
        for curve in &self.curves {
            if shown.contains(&curve.kind.as_str()) {
                continue;
            }
            shown.push(&curve.kind);
            write!(
                svg,
                "<span><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"line {}\" \
                 d=\"M0 5H28\"/></svg>{}</span>",
                curve.class,
                Text(&curve.kind)
            )?;
        }
        svg.push_str("</div>");
        Ok(())
    }
}

impl Dot {
    fn write(&self, svg: &mut String, x: f64, y: f64, labels: &mut Labels) -> fmt::Result {
        write!(
            svg,
            "<circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
            self.class,
            Text(&self.name)
        )?;
        let Some(label) = &self.label else {
            return Ok(());
        };
        let (aside, anchor) = match x > WIDTH * 0.8 {
            true => (x - 7.0, "end"),
            false => (x + 7.0, "start"),
        };
        let width = label.len() as f64 * LETTER;
        let begins = if anchor == "end" {
            aside - width
        } else {
            aside
        };
        let Some(at) = labels.place(begins, width, y) else {
            return Ok(());
        };
        write!(
            svg,
            "<text class=\"label {}\" x=\"{aside:.1}\" y=\"{at:.1}\" \
             text-anchor=\"{anchor}\">{}</text>",
            self.class,
            Text(label)
        )
    }
}

/// Width of a letter and height of a line, about.
const LETTER: f64 = 6.0;
const LINE: f64 = 11.0;

/// Where labels stand already, so that none is written over another.
#[derive(Default)]
struct Labels {
    boxes: Vec<(f64, f64, f64)>,
}

impl Labels {
    /// The base line of a label beside a dot at height `y`: below it, above it, or a line further;
    /// `None` where there is no room.
    fn place(&mut self, begins: f64, width: f64, y: f64) -> Option<f64> {
        let heights = [12.0, -5.0, 23.0, -16.0, 34.0, -27.0].map(|aside| y + aside);
        let inside = |at: &f64| (TOP..HEIGHT - BOTTOM).contains(at);
        let is_free = |at: &f64| {
            let apart = |(left, right, height): &(f64, f64, f64)| {
                begins > *right || begins + width < *left || (at - height).abs() >= LINE
            };
            self.boxes.iter().all(apart)
        };
        let at = heights.into_iter().filter(inside).find(is_free)?;
        self.boxes.push((begins, begins + width, at));
        Some(at)
    }
}

/// Where a logarithmic axis begins at the lowest.
pub const LEAST_LOG: f64 = 0.01;

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => {
                let value = value.max(self.low);
                (value / self.low).ln() / (self.high / self.low).ln()
            }
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values along the axis.
    fn ticks(&self) -> Vec<f64> {
        if self.scale == Scale::Log {
            let decades = (self.high / self.low).log10().floor() as i32;
            return (0..=decades)
                .map(|power| self.low * 10_f64.powi(power))
                .collect();
        }
        let rough = (self.high - self.low) / STEPS;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|step| step * unit >= rough);
        let step = step.unwrap_or(10.0) * unit;
        let first = (self.low / step).ceil();
        let count = (self.high / step - first).floor().max(0.0) as usize;
        (0..=count)
            .map(|index| (first + index as f64) * step)
            .collect()
    }
}

/// A number as short as it can be read.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 1e6).round() / 1e6;
        write!(f, "{rounded}")
    }
}

/// Few enough points: of each stretch of too many, the highest.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(MOST_POINTS).max(1);
    let highest = |points: &[(f64, f64)]| {
        let points = points.iter().copied();
        points.reduce(|best, next| if next.1 > best.1 { next } else { best })
    };
    points.chunks(each).filter_map(highest).collect()
}
