//! Mistakes in a configuration file, in messages that say what to do.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable {
        file: PathBuf,
        cause: std::io::Error,
    },
    /// The text is not TOML. A key given twice is among these.
    #[error("{}:{line}: not valid TOML{}: {message}", file.display(), near_text(near))]
    Syntax {
        file: PathBuf,
        line: usize,
        /// The text at the place of the mistake; empty at the end of a line.
        near: String,
        message: String,
    },
    #[error("{}:{line}: {key}: {mistake}", file.display())]
    Key {
        file: PathBuf,
        line: usize,
        /// Path of the key from the top, such as `signal[requests].window`.
        key: String,
        mistake: Mistake,
    },
    /// In the order of their lines, one in each line.
    #[error("{}", in_lines(.0))]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// Where in the file the first mistake is.
    pub(crate) fn line(&self) -> usize {
        match self {
            ConfigError::Unreadable { .. } => 0,
            ConfigError::Syntax { line, .. } | ConfigError::Key { line, .. } => *line,
            ConfigError::Several(errors) => errors.first().map_or(0, ConfigError::line),
        }
    }
}

fn in_lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    lines.join("\n")
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    UnknownKey {
        expected: Vec<&'static str>,
        nearest: Option<&'static str>,
    },
    UnknownWord {
        found: String,
        expected: Vec<&'static str>,
        nearest: Option<&'static str>,
    },
    Missing,
    /// Of the wrong type, or out of range.
    Wrong {
        found: String,
        expected: String,
    },
    /// Of the right type, refused by what reads it.
    Refused {
        found: String,
        why: String,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::UnknownKey { expected, nearest } => {
                write!(f, "unknown key; {}", words(expected, *nearest))
            }
            Mistake::UnknownWord {
                found,
                expected,
                nearest,
            } => write!(f, "found \"{found}\"; {}", words(expected, *nearest)),
            Mistake::Missing => f.write_str("missing key"),
            Mistake::Wrong { found, expected } => write!(f, "found {found}, expected {expected}"),
            Mistake::Refused { found, why } => write!(f, "found {found}: {why}"),
        }
    }
}

fn words(expected: &[&str], nearest: Option<&str>) -> String {
    let hint = nearest.map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
    match expected {
        [] => "expected none here".to_owned(),
        _ => format!("expected one of {}{hint}", expected.join(", ")),
    }
}

fn near_text(near: &str) -> String {
    match near {
        "" => String::new(),
        _ => format!(" at {near:?}"),
    }
}

/// The word most like `found`, if one is like it at all.
pub fn nearest<'a>(found: &str, valid: &[&'a str]) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    let found = found.to_lowercase().replace('-', "_");
    valid
        .iter()
        .map(|word| (strsim::jaro_winkler(&found, word), *word))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}
