//! Values that may be written in two ways.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};
use tidegate_config::Duration;

/// `target_value`: a number, or a duration where the metric is a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TargetValue {
    Number(f64),
    Time(Duration),
}

/// What a signal asks for while nobody knows its value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OnMissing {
    /// As many as there are: the fleet does not shrink, others may let it grow.
    #[default]
    Hold,
    /// This many workers.
    Workers(u32),
    /// Nothing: as if the signal were not there; 0 in a formula.
    Ignore,
    /// This value is taken for its own.
    Value(f64),
}

impl OnMissing {
    /// What stands for the value.
    pub(crate) fn value(self) -> Option<f64> {
        match self {
            OnMissing::Hold | OnMissing::Workers(_) => None,
            OnMissing::Ignore => Some(0.0),
            OnMissing::Value(value) => Some(value),
        }
    }
}

impl TargetValue {
    pub(super) fn is_zero(&self) -> bool {
        match self {
            TargetValue::Number(number) => *number <= 0.0,
            TargetValue::Time(duration) => duration.is_zero(),
        }
    }
}

impl fmt::Display for TargetValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetValue::Number(number) => number.fmt(f),
            TargetValue::Time(duration) => write!(f, "\"{duration}\""),
        }
    }
}

impl<'de> Deserialize<'de> for TargetValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NumberOrTime;

        impl Visitor<'_> for NumberOrTime {
            type Value = TargetValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a duration such as \"2s\"")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<TargetValue, E> {
                Ok(TargetValue::Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<TargetValue, E> {
                Ok(TargetValue::Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TargetValue, E> {
                let reader = StrDeserializer::new(text);
                Duration::deserialize(reader).map(TargetValue::Time)
            }
        }

        from.deserialize_any(NumberOrTime)
    }
}

impl<'de> Deserialize<'de> for OnMissing {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct HoldOrWorkers;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            value: f64,
        }

        impl<'de> Visitor<'de> for HoldOrWorkers {
            type Value = OnMissing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"hold\", \"ignore\", a number of workers, or a value as in { value = 2.5 }",
                )
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<OnMissing, E> {
                match u32::try_from(number) {
                    Ok(workers) => Ok(OnMissing::Workers(workers)),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OnMissing, E> {
                match text {
                    "hold" => Ok(OnMissing::Hold),
                    "ignore" => Ok(OnMissing::Ignore),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<OnMissing, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(table))?;
                // What is measured is a count, a rate or a time.
                match table.value.is_finite() && table.value >= 0.0 {
                    true => Ok(OnMissing::Value(table.value)),
                    false => Err(A::Error::invalid_value(
                        Unexpected::Float(table.value),
                        &"a value from 0 on",
                    )),
                }
            }
        }

        from.deserialize_any(HoldOrWorkers)
    }
}
