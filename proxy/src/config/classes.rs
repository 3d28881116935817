//! The classes of requests, as the config has them: their order, limits and shares.

use serde::Deserialize;
use tidegate_config::{Duration, Problem};
use tidegate_queue::{ClassConfig, is_name};

use super::QueueRules;

/// Classes are looked at one by one for each request.
const MOST_CLASSES: usize = 16;

/// A class of requests. What it leaves out is taken from [`QueueRules`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassRules {
    /// As `X-Priority` names it.
    pub name: String,
    pub waiting: Option<usize>,
    pub waiting_bytes: Option<u64>,
    pub default_timeout: Option<Duration>,
    pub longest_timeout: Option<Duration>,
    pub retry_after: Option<Duration>,
    /// A request that has waited for longer takes part in `share`.
    pub ageing: Duration,
    /// Part of the work that the class gets while it has such requests, although those before it
    /// wait.
    pub share: f64,
    /// Part of the workers' slots that it leaves free.
    pub headroom: f64,
    /// Paths whose requests are of this class.
    pub routes: Vec<String>,
    /// Names of keys whose requests are of this class, or of a later one if they say so.
    pub keys: Vec<String>,
}

impl ClassRules {
    /// The classes of a config that names none.
    pub(super) fn usual() -> Vec<ClassRules> {
        let class = |name: &str, ageing, share, headroom| ClassRules {
            name: name.to_owned(),
            ageing: Duration::from_secs(ageing),
            share,
            headroom,
            ..ClassRules::default()
        };
        vec![
            class("interactive", 0, 0.0, 0.0),
            class("default", 5, 0.2, 0.0),
            class("batch", 60, 0.05, 0.25),
        ]
    }

    pub(super) fn class_config(&self, rules: &QueueRules) -> ClassConfig {
        ClassConfig {
            name: self.name.as_str().into(),
            waiting: self.waiting.unwrap_or(rules.waiting),
            waiting_bytes: self.waiting_bytes.unwrap_or(rules.waiting_bytes),
            retry_after: self.retry_after.unwrap_or(rules.retry_after).into(),
            ageing: self.ageing.into(),
            share: self.share,
            headroom: self.headroom,
        }
    }

    fn check(&self) -> Result<(), Problem> {
        if !is_name(&self.name) {
            let expected = "up to 128 of the characters A-Z a-z 0-9 . _ : -";
            return Err(Problem::new("name", format!("\"{}\"", self.name), expected));
        }
        for (key, part) in [("share", self.share), ("headroom", self.headroom)] {
            if !(0.0..=1.0).contains(&part) {
                return Err(Problem::new(key, part, "0.0 to 1.0"));
            }
        }
        if self.waiting == Some(0) {
            return Err(Problem::new("waiting", 0, "1 or more"));
        }
        Ok(())
    }
}

/// Whether the classes and their order make sense.
pub(super) fn check(classes: &[ClassRules], default_class: &str) -> Result<(), Problem> {
    let names: Vec<&str> = classes.iter().map(|class| &*class.name).collect();
    if !(1..=MOST_CLASSES).contains(&names.len()) {
        let expected = format!("1 to {MOST_CLASSES} of them");
        return Err(Problem::new("classes", names.len(), expected));
    }
    let mut least = 0.0;
    for (at, class) in classes.iter().enumerate() {
        let within = |problem: Problem| problem.within_item("classes", at);
        class.check().map_err(within)?;
        if names[..at].contains(&names[at]) {
            let found = format!("\"{}\"", class.name);
            let expected = "a name that no other class has";
            return Err(within(Problem::new("name", found, expected)));
        }
        // Otherwise a class could pass one before it.
        if class.headroom < least {
            let expected = format!("at least {least}, which the class before it leaves free");
            return Err(within(Problem::new("headroom", class.headroom, expected)));
        }
        least = class.headroom;
    }
    if !names.contains(&default_class) {
        let expected = format!("one of {}", names.join(", "));
        return Err(Problem::new(
            "default_class",
            format!("\"{default_class}\""),
            expected,
        ));
    }
    Ok(())
}
