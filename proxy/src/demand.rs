//! What a request asks for besides its model: class, deadline and cost.

use std::time::Duration;

use serde::Deserialize;
use tidegate_protocol::PRIORITY_HEADER;
use tidegate_protocol::api::{ApiRoute, Kind};
use tidegate_queue::{Class, cost};

use crate::config::Config;

/// The classes of the config, and which requests are of which.
pub struct Classes {
    /// In the order in which they are served.
    classes: Vec<Known>,
    default: Class,
}

struct Known {
    name: String,
    routes: Vec<String>,
    keys: Vec<String>,
    default_timeout: Duration,
    longest_timeout: Duration,
}

/// `X-Priority` names no class.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{PRIORITY_HEADER}: no class `{found}`; expected one of {known}")]
pub struct UnknownClass {
    found: String,
    known: String,
}

impl Classes {
    pub fn new(config: &Config) -> Self {
        let rules = &config.line;
        let known = config.classes.iter().map(|class| Known {
            name: class.name.clone(),
            routes: class.routes.clone(),
            keys: class.keys.clone(),
            default_timeout: class
                .default_timeout
                .unwrap_or(rules.default_timeout)
                .into(),
            longest_timeout: class
                .longest_timeout
                .unwrap_or(rules.longest_timeout)
                .into(),
        });
        let classes: Vec<Known> = known.collect();
        let default = find(&classes, |class| class.name == config.default_class);
        Classes {
            default: default.unwrap_or_default(),
            classes,
        }
    }

    /// The class that `asked` names, the value of `X-Priority`; else that of the client's key, of
    /// the route, or the default. A client whose key has a class is served in none before it.
    pub fn choose(
        &self,
        asked: Option<&[u8]>,
        path: &str,
        key: Option<&str>,
    ) -> Result<Class, UnknownClass> {
        let of_key = key.and_then(|key| {
            find(&self.classes, |class| {
                class.keys.iter().any(|name| name == key)
            })
        });
        let of_route = || {
            find(&self.classes, |class| {
                class.routes.iter().any(|route| route == path)
            })
        };
        let asked = asked.map(|name| self.named(name)).transpose()?;
        let class = asked.or(of_key).or_else(of_route).unwrap_or(self.default);
        Ok(of_key.map_or(class, |first| class.max(first)))
    }

    /// How long a request of a class waits that says nothing, and the most that it may ask for.
    pub fn timeouts(&self, class: Class) -> (Duration, Duration) {
        let class = &self.classes[class.index()];
        (class.default_timeout, class.longest_timeout)
    }

    fn named(&self, name: &[u8]) -> Result<Class, UnknownClass> {
        let name = name.trim_ascii();
        let same = |class: &Known| class.name.as_bytes().eq_ignore_ascii_case(name);
        find(&self.classes, same).ok_or_else(|| {
            let known: Vec<&str> = self.classes.iter().map(|class| &*class.name).collect();
            let shown = &name[..name.len().min(64)];
            UnknownClass {
                found: String::from_utf8_lossy(shown).into_owned(),
                known: known.join(", "),
            }
        })
    }
}

fn find(classes: &[Known], is_it: impl Fn(&Known) -> bool) -> Option<Class> {
    let index = classes.iter().position(is_it)?;
    u8::try_from(index).ok().map(Class)
}

/// What a request costs. A body that makes no sense is the worker's to refuse.
pub fn cost_of(path: &str, body: &[u8]) -> u64 {
    #[derive(Default, Deserialize)]
    struct Limits {
        max_tokens: Option<u64>,
        max_completion_tokens: Option<u64>,
        /// Where text-generation-inference's clients say it.
        #[serde(default)]
        parameters: Parameters,
    }
    #[derive(Default, Deserialize)]
    struct Parameters {
        max_new_tokens: Option<u64>,
    }
    let kind = ApiRoute::kind_of(path);
    let limits: Limits = match kind {
        Kind::Generate => serde_json::from_slice(body).unwrap_or_default(),
        _ => Limits::default(),
    };
    let max_tokens = limits.max_completion_tokens.or(limits.max_tokens);
    let max_tokens = max_tokens.or(limits.parameters.max_new_tokens);
    cost(kind, body.len(), max_tokens)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn classes() -> Classes {
        let text = r#"
            [[classes]]
            name = "interactive"
            [[classes]]
            name = "default"
            keys = ["shop"]
            [[classes]]
            name = "batch"
            routes = ["/embed_all"]
            keys = ["nightly"]
        "#;
        let config = tidegate_config::parse::<Config>(text, Path::new("p.toml"));
        Classes::new(&config.expect("it is valid"))
    }

    #[test]
    fn the_header_goes_before_the_key_and_the_key_before_the_route() {
        let classes = classes();
        for (asked, path, key, expected) in [
            (None, "/embed", None, 1),
            (None, "/embed_all", None, 2),
            (None, "/embed_all", Some("shop"), 1),
            (None, "/embed", Some("nightly"), 2),
            (Some("interactive"), "/embed_all", None, 0),
            (Some(" Batch "), "/embed", Some("shop"), 2),
            (Some("interactive"), "/embed", Some("nightly"), 2),
            (Some("interactive"), "/embed", Some("other"), 0),
        ] {
            let chosen = classes.choose(asked.map(str::as_bytes), path, key);
            assert_eq!(chosen, Ok(Class(expected)), "{asked:?} {path} {key:?}");
        }
        let unknown = classes.choose(Some(b"urgent"), "/embed", None);
        let unknown = unknown.expect_err("no such class").to_string();
        assert!(unknown.contains("interactive, default, batch"), "{unknown}");
    }

    #[test]
    fn classes_that_make_no_sense_are_refused_with_what_was_expected() {
        for (text, says) in [
            ("classes = []", "1 to 16"),
            ("default_class = 'bulk'", "interactive, default, batch"),
            ("[[classes]]\nname = 'default'\nshare = 2.0", "0.0 to 1.0"),
            ("[[classes]]\nname = 'a b'", "characters"),
            (
                "[[classes]]\nname = 'default'\n[[classes]]\nname = 'default'",
                "no other class",
            ),
            (
                "[[classes]]\nname = 'default'\nheadroom = 0.5\n[[classes]]\nname = 'late'",
                "at least 0.5",
            ),
        ] {
            let mistake = tidegate_config::parse::<Config>(text, Path::new("p.toml"));
            let mistake = mistake.expect_err(text).to_string();
            assert!(mistake.contains(says), "{text}: {mistake}");
        }
    }
}
