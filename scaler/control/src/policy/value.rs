//! Values that may be written in two ways.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use tidegate_config::Duration;

/// `target_value`: a number, or a duration where the metric is a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TargetValue {
    Number(f64),
    Time(Duration),
}

/// What a signal asks for while nobody knows its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// As many as there are: the fleet does not shrink, others may let it grow.
    #[default]
    Hold,
    /// This many workers.
    Workers(u32),
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

        impl Visitor<'_> for HoldOrWorkers {
            type Value = OnMissing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"hold\", or a number of workers")
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
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        from.deserialize_any(HoldOrWorkers)
    }
}
