//! A demand made up by a few words, such as `step:from=10,to=60,at=20m,for=1h`.

use std::str::FromStr;

use tidegate_config::Duration;

use super::{Demand, constant, flash_crowd, on_off, ramp, step};

/// A shape and its numbers, with what each is when it is not given. Rates are relative: the
/// scenario scales them.
const SHAPES: [(&str, &[(&str, &str)]); 5] = [
    ("constant", &[("rate", "40"), ("for", "2h")]),
    (
        "step",
        &[("from", "20"), ("to", "60"), ("at", HALF), ("for", "2h")],
    ),
    ("ramp", &[("from", "20"), ("to", "60"), ("for", "2h")]),
    (
        "on-off",
        &[
            ("high", "60"),
            ("low", "20"),
            ("on", "10m"),
            ("off", "10m"),
            ("for", "2h"),
        ],
    ),
    (
        "flash-crowd",
        &[
            ("base", "20"),
            ("peak", "100"),
            ("at", HALF),
            ("rise", "60s"),
            ("half-life", "10m"),
            ("for", "2h"),
        ],
    ),
];

/// At half of the time.
const HALF: &str = "half";

/// Why words do not make a demand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "\"{found}\" is no shape; expected one of constant, step, ramp, on-off, flash-crowd{nearest}"
    )]
    Shape { found: String, nearest: String },
    #[error("{shape}: \"{found}\"; expected KEY=VALUE with a key of {expected}")]
    Key {
        shape: String,
        found: String,
        expected: String,
    },
    #[error("{shape}: {key} is \"{found}\"; expected {expected}")]
    Value {
        shape: String,
        key: &'static str,
        found: String,
        expected: &'static str,
    },
}

/// Whether this is meant as made-up demand and not as a file.
pub fn is_spec(words: &str) -> bool {
    let shape = words.split(':').next().unwrap_or_default();
    SHAPES.iter().any(|(name, _)| *name == shape)
}

/// What is said of a word that is none of the shapes.
pub fn no_shape(found: &str) -> SpecError {
    SpecError::Shape {
        found: found.to_owned(),
        nearest: tidegate_config::nearest(found, &SHAPES.map(|(name, _)| name))
            .map_or(String::new(), |name| format!("; did you mean \"{name}\"?")),
    }
}

/// Reads `SHAPE` or `SHAPE:KEY=VALUE,...`; times carry their unit, rates are requests a second.
pub fn made_up(words: &str) -> Result<Demand, SpecError> {
    let (shape, values) = words.split_once(':').unwrap_or((words, ""));
    let keys = SHAPES.iter().find(|(name, _)| *name == shape);
    let (_, keys) = keys.ok_or_else(|| no_shape(shape))?;
    let numbers = Numbers::read(shape, keys, values)?;
    let demand = match shape {
        "constant" => constant(numbers.rate(0)?, numbers.time(1)?),
        "step" => {
            let (at, span) = numbers.within(2, 3)?;
            step(numbers.rate(0)?, numbers.rate(1)?, at, span)
        }
        "ramp" => ramp(numbers.rate(0)?, numbers.rate(1)?, numbers.time(2)?),
        "on-off" => on_off(
            numbers.rate(0)?,
            numbers.rate(1)?,
            numbers.time(2)?,
            numbers.time(3)?,
            numbers.time(4)?,
        ),
        _ => {
            let (at, span) = numbers.within(2, 5)?;
            let (rise, half_life) = (numbers.time(3)?, numbers.time(4)?);
            flash_crowd(
                numbers.rate(0)?,
                numbers.rate(1)?,
                at,
                rise,
                half_life,
                span,
            )
        }
    };
    Ok(demand)
}

/// The values of a shape's keys, in its order.
struct Numbers<'a> {
    shape: &'a str,
    values: Vec<(&'static str, &'a str)>,
}

impl<'a> Numbers<'a> {
    fn read(
        shape: &'a str,
        keys: &[(&'static str, &'static str)],
        given: &'a str,
    ) -> Result<Numbers<'a>, SpecError> {
        let mut values = keys.to_vec();
        for pair in given.split(',').filter(|pair| !pair.is_empty()) {
            let found = pair.split_once('=').and_then(|(key, value)| {
                let index = keys.iter().position(|(name, _)| *name == key.trim())?;
                Some((index, value.trim()))
            });
            let (index, value) = found.ok_or_else(|| SpecError::Key {
                shape: shape.to_owned(),
                found: pair.to_owned(),
                expected: keys
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
            values[index].1 = value;
        }
        Ok(Numbers { shape, values })
    }

    fn wrong(&self, index: usize, expected: &'static str) -> SpecError {
        let (key, found) = self.values[index];
        SpecError::Value {
            shape: self.shape.to_owned(),
            key,
            found: found.to_owned(),
            expected,
        }
    }

    fn rate(&self, index: usize) -> Result<f64, SpecError> {
        let rate = f64::from_str(self.values[index].1).ok();
        let rate = rate.filter(|rate| rate.is_finite() && *rate >= 0.0);
        rate.ok_or_else(|| self.wrong(index, "requests a second, 0 or more"))
    }

    fn time(&self, index: usize) -> Result<f64, SpecError> {
        let time = Duration::from_str(self.values[index].1).ok();
        let time = time.filter(|time| !time.is_zero());
        let time = time.ok_or_else(|| self.wrong(index, "a time such as \"30m\""))?;
        Ok(time.as_secs_f64())
    }

    /// A moment and the length that it lies in.
    fn within(&self, at: usize, span: usize) -> Result<(f64, f64), SpecError> {
        let length = self.time(span)?;
        let moment = match self.values[at].1 {
            HALF => length / 2.0,
            _ => self.time(at)?,
        };
        match moment < length {
            true => Ok((moment, length)),
            false => Err(self.wrong(at, "a time before the end (\"for\")")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_a_demand_and_what_is_left_out_has_a_default() {
        let found = made_up("step:from=1,to=3,at=20s,for=60s").expect("it is a spec");
        assert_eq!(found, step(1.0, 3.0, 20.0, 60.0));
        let half = made_up("step:for=20m").expect("it is a spec");
        assert_eq!(half, step(20.0, 60.0, 600.0, 1200.0));
        for (shape, _) in SHAPES {
            let demand = made_up(shape).expect(shape);
            assert_eq!(demand.span_s(), 7200.0, "{shape}");
            assert!(is_spec(shape));
        }
        assert!(!is_spec("traces/step.csv"));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (words, message) in [
            (
                "stairs",
                "\"stairs\" is no shape; expected one of constant, step, ",
            ),
            (
                "ramp:up=3",
                "ramp: \"up=3\"; expected KEY=VALUE with a key of from, to, for",
            ),
            (
                "ramp:for=30",
                "ramp: for is \"30\"; expected a time such as \"30m\"",
            ),
            (
                "step:at=3h",
                "step: at is \"3h\"; expected a time before the end (\"for\")",
            ),
            (
                "step:to=many",
                "step: to is \"many\"; expected requests a second, 0 or more",
            ),
        ] {
            let error = made_up(words).expect_err(words).to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
