//! What a tick's span says: the decision, in numbers and in a sentence.

use tidegate_control::{Decision, Policy};
use tidegate_telemetry::Span;

pub fn decided(span: &mut Span, decision: &Decision, policy: &Policy) {
    if !span.is_recording() {
        return;
    }
    if let Some(model) = &policy.fleet.model {
        span.set("gen_ai.request.model", model.clone());
    }
    let reason = &decision.reason;
    span.set("tidegate.workers.needed", i64::from(decision.need));
    span.set("tidegate.workers.from", i64::from(reason.from));
    span.set("tidegate.workers.to", i64::from(reason.to));
    span.set("tidegate.reason", decision.to_string());
}
