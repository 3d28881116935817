//! The standard environment variables, as far as OpenTelemetry's own crates do not read them.
//! (Those read the sampler, the resource, headers and compression.)

use std::fmt;
use std::time::Duration;

/// Where to send: of traces alone, and of everything.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Which protocol, likewise.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// How long one request to the collector may take, likewise, in milliseconds.
const TIMEOUTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];

/// The only protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";

/// What the daemons go by. Defaults are those of OpenTelemetry's specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub endpoint: String,
    /// Whether the environment names the service.
    pub is_named: bool,
    /// Spans that wait to be sent, at most.
    pub queue: usize,
    /// Spans that are sent together, at most.
    pub batch: usize,
    /// How long a span waits for others.
    pub delay: Duration,
    /// How long the collector may take for a batch, all attempts together.
    pub timeout: Duration,
}

/// Why a variable cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{variable}: found {found:?}, expected {expected}")]
pub struct SettingsError {
    pub variable: &'static str,
    pub found: String,
    pub expected: Mistake,
}

/// What was expected instead.
#[derive(Debug, PartialEq)]
pub enum Mistake {
    Number,
    Protocol,
    Url,
}

impl Settings {
    /// `None` where no traces are asked for.
    pub fn of_environment() -> Result<Option<Settings>, SettingsError> {
        Settings::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Settings>, SettingsError> {
        // An empty variable counts as absent.
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let is = |name: &str, word: &str| {
            variable(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
        };
        let endpoint = (ENDPOINTS.into_iter())
            .find_map(|name| variable(name).map(|endpoint| (name, endpoint)));
        let Some((name, endpoint)) = endpoint else {
            return Ok(None);
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let mistake = |variable, found: &str, expected| SettingsError {
            variable,
            found: found.to_owned(),
            expected,
        };
        if !["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(mistake(name, &endpoint, Mistake::Url));
        }
        let protocol = (PROTOCOLS.into_iter())
            .find_map(|name| variable(name).map(|protocol| (name, protocol)));
        if let Some((name, found)) = protocol.filter(|(_, found)| found != PROTOCOL) {
            return Err(mistake(name, &found, Mistake::Protocol));
        }
        let number = |name: &'static str, default: u64| match variable(name) {
            None => Ok(default),
            Some(text) => (text.trim().parse().ok())
                .filter(|number| (1..=MOST).contains(number))
                .ok_or_else(|| mistake(name, &text, Mistake::Number)),
        };
        let timeout = TIMEOUTS.into_iter().find(|name| variable(name).is_some());
        let names_service = |text: String| {
            text.split(',')
                .any(|pair| pair.trim().starts_with("service.name="))
        };
        Ok(Some(Settings {
            endpoint,
            is_named: variable("OTEL_SERVICE_NAME").is_some()
                || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(names_service),
            queue: number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)? as usize,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)? as usize,
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 5000)?),
            timeout: Duration::from_millis(number(timeout.unwrap_or(TIMEOUTS[1]), 10_000)?),
        }))
    }
}

/// Of a number in these variables.
const MOST: u64 = 1_000_000;

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Number => write!(out, "a number from 1 to {MOST}"),
            Mistake::Protocol => write!(out, "\"{PROTOCOL}\""),
            Mistake::Url => out.write_str("a URL such as \"http://127.0.0.1:4318\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(variable).map_err(|error| error.to_string())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn traces_are_off_unless_a_collector_is_named() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(
            read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]),
            Ok(None)
        );
        let settings = read(&[ENDPOINT]).expect("valid").expect("on");
        assert_eq!((settings.queue, settings.batch), (2048, 512));
        assert_eq!(settings.delay, Duration::from_secs(5));
        assert_eq!(settings.timeout, Duration::from_secs(10));
        assert!(!settings.is_named);
    }

    #[test]
    fn a_service_may_have_a_name_of_its_own() {
        for named in [
            ("OTEL_SERVICE_NAME", "embedding"),
            ("OTEL_RESOURCE_ATTRIBUTES", "host.name=a, service.name=b"),
        ] {
            let settings = read(&[ENDPOINT, named]).expect("valid").expect("on");
            assert!(settings.is_named, "{named:?}");
        }
    }

    #[test]
    fn mistakes_name_the_variable() {
        let refused = |more| read(&[ENDPOINT, more]).expect_err("refused");
        assert_eq!(
            refused(("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")),
            "OTEL_EXPORTER_OTLP_PROTOCOL: found \"grpc\", expected \"http/protobuf\""
        );
        assert_eq!(
            refused(("OTEL_BSP_MAX_QUEUE_SIZE", "0")),
            "OTEL_BSP_MAX_QUEUE_SIZE: found \"0\", expected a number from 1 to 1000000"
        );
        assert_eq!(
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")]),
            Err(
                "OTEL_EXPORTER_OTLP_ENDPOINT: found \"localhost:4318\", expected a URL such as \
                 \"http://127.0.0.1:4318\""
                    .to_owned()
            )
        );
    }
}
