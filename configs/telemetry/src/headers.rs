//! Trace context between processes, as W3C's Trace Context (level 1) has it.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

pub const TRACE_PARENT: &str = "traceparent";
pub const TRACE_STATE: &str = "tracestate";

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const LENGTH: usize = 55;

/// A longer `tracestate` is left out, as the specification permits beyond 512 bytes.
const LONGEST_STATE: usize = 1024;

/// The span of another process that asked for what is done here.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent(pub(crate) SpanContext);

/// What the next process is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    pub parent: String,
    pub state: Option<String>,
}

impl Parent {
    /// Reads the two fields of a request. `None` where they name no span, or not as specified.
    pub fn of(parent: Option<&[u8]>, state: Option<&[u8]>) -> Option<Parent> {
        let parent = std::str::from_utf8(parent?).ok()?.trim();
        let (trace, span, flags) = split(parent)?;
        let state = state.filter(|state| state.len() <= LONGEST_STATE);
        let state = state.and_then(|state| std::str::from_utf8(state).ok());
        let state = state.and_then(|state| TraceState::from_str(state).ok());
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(flags) & TraceFlags::SAMPLED,
            true,
            state.unwrap_or_default(),
        );
        context.is_valid().then_some(Parent(context))
    }
}

/// Trace, span and flags. A version that is not known may have more behind them.
fn split(parent: &str) -> Option<(&str, &str, u8)> {
    let is_hex = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = parent.splitn(5, '-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), trace.len(), span.len(), flags.len()];
    let whole = lengths == [2, 32, 16, 2] && [version, trace, span, flags].into_iter().all(is_hex);
    let known = version != "ff" && (version != "00" || parent.len() == LENGTH);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (whole && known).then_some((trace, span, flags))
}

impl TraceHeaders {
    pub(crate) fn of(context: &SpanContext) -> TraceHeaders {
        let state = context.trace_state().header();
        TraceHeaders {
            parent: format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags().to_u8() & TraceFlags::SAMPLED.to_u8(),
            ),
            state: (!state.is_empty()).then_some(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(parent: &str, state: &str) -> Option<Parent> {
        Parent::of(Some(parent.as_bytes()), Some(state.as_bytes()))
    }

    #[test]
    fn what_is_read_is_written_again() {
        for (parent, state) in [
            (PARENT, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
            (PARENT, ""),
        ] {
            let Some(Parent(context)) = of(parent, state) else {
                panic!("{parent} names a span");
            };
            let headers = TraceHeaders::of(&context);
            assert_eq!(headers.parent, parent);
            assert_eq!(headers.state.unwrap_or_default(), state);
        }
    }

    #[test]
    fn a_later_version_may_have_more() {
        let later = PARENT.replacen("00", "01", 1);
        assert!(of(&later, "").is_some());
        assert!(of(&format!("{later}-more"), "").is_some());
        assert!(of(&format!("{PARENT}-more"), "").is_none());
    }

    #[test]
    fn what_is_not_as_specified_names_no_span() {
        assert_eq!(Parent::of(None, None), None);
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(wrong, ""), None, "{wrong}");
        }
        // A state that cannot be read takes nothing from the parent.
        assert!(of(PARENT, "=,=").is_some());
    }
}
