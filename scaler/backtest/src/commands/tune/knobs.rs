//! The numbers of a policy that may be searched, in place, so that comments stay.

use std::fmt;
use std::str::FromStr;

use tidegate_config::Duration;
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// What a number is multiplied by in one step.
pub const STEPS: [f64; 4] = [0.5, 0.8, 1.25, 2.0];

/// Tables and their keys.
const OF_TABLES: [(&str, &[&str]); 3] = [
    ("forecast", &["attainment", "waiting_budget"]),
    ("scale_out", &["stabilization", "tolerance"]),
    ("scale_in", &["stabilization", "tolerance"]),
];

/// Keys of every `[[signal]]`.
const OF_SIGNALS: [&str; 3] = ["target_per_worker", "target_value", "window"];

/// A number in a policy file.
#[derive(Clone, Debug)]
pub struct Knob {
    table: &'static str,
    /// For tables of which there are several.
    index: Option<usize>,
    key: &'static str,
}

/// The numbers that a policy names; what it leaves to its default is left alone.
pub fn of(document: &DocumentMut) -> Vec<Knob> {
    let mut knobs = Vec::new();
    let signals = document.get("signal").and_then(Item::as_array_of_tables);
    for index in 0..signals.map_or(0, |signals| signals.len()) {
        let knob = |key| Knob {
            table: "signal",
            index: Some(index),
            key,
        };
        knobs.extend(OF_SIGNALS.map(knob));
    }
    for (table, keys) in OF_TABLES {
        let index = None;
        knobs.extend(keys.iter().map(|key| Knob { table, index, key }));
    }
    knobs.retain(|knob| knob.value(document).is_some());
    knobs
}

impl Knob {
    fn value<'a>(&self, document: &'a DocumentMut) -> Option<&'a Value> {
        let item = document.get(self.table)?;
        let table: &dyn TableLike = match self.index {
            Some(index) => item.as_array_of_tables()?.get(index)?,
            None => item.as_table_like()?,
        };
        table.get(self.key)?.as_value()
    }

    fn value_mut<'a>(&self, document: &'a mut DocumentMut) -> Option<&'a mut Value> {
        let item = document.get_mut(self.table)?;
        let table: &mut dyn TableLike = match self.index {
            Some(index) => item.as_array_of_tables_mut()?.get_mut(index)?,
            None => item.as_table_like_mut()?,
        };
        table.get_mut(self.key)?.as_value_mut()
    }

    /// The value as it is written.
    pub fn text(&self, document: &DocumentMut) -> String {
        let bare = |value: &Value| value.clone().decorated("", "").to_string();
        self.value(document).map_or(String::new(), bare)
    }

    /// Multiplies the value; false where that changes nothing.
    pub fn turn(&self, document: &mut DocumentMut, factor: f64) -> bool {
        let before = self.text(document);
        let Some(value) = self.value_mut(document) else {
            return false;
        };
        let Some(turned) = self.turned(value, factor) else {
            return false;
        };
        let decor = value.decor().clone();
        *value = turned;
        *value.decor_mut() = decor;
        self.text(document) != before
    }

    fn turned(&self, value: &Value, factor: f64) -> Option<Value> {
        match value {
            Value::Float(number) if self.key == "attainment" => {
                let misses = (1.0 - number.value()) * factor;
                Some(rounded(1.0 - misses).into())
            }
            Value::Float(number) => Some(rounded(number.value() * factor).into()),
            Value::Integer(number) => Some(rounded(*number.value() as f64 * factor).into()),
            Value::String(text) => {
                let time = Duration::from_str(text.value()).ok()?;
                let seconds = (time.as_secs_f64() * factor).round().max(1.0);
                Some(Duration::from_secs(seconds as u64).to_string().into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}[{index}].{}", self.table, self.key),
            None => write!(f, "{}.{}", self.table, self.key),
        }
    }
}

/// Four digits are enough for a policy.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ours\n[[signal]]\nname = \"a\"\ntarget_per_worker = 24 # of 32\n\
        window = \"10s\"\n[scale_in]\nstabilization = \"5m\" # long\n[forecast]\nattainment = 0.99\n";

    #[test]
    fn numbers_are_turned_in_place() {
        let mut document: DocumentMut = TEXT.parse().expect("it is TOML");
        let knobs = of(&document);
        let names: Vec<String> = knobs.iter().map(Knob::to_string).collect();
        assert_eq!(
            names,
            [
                "signal[0].target_per_worker",
                "signal[0].window",
                "forecast.attainment",
                "scale_in.stabilization"
            ]
        );
        assert!(knobs.iter().all(|knob| knob.turn(&mut document, 0.5)));
        let expected = TEXT
            .replace("24 #", "12.0 #")
            .replace("10s", "5s")
            .replace("5m", "150s")
            .replace("0.99", "0.995");
        assert_eq!(document.to_string(), expected);
    }
}
