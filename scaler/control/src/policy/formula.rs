//! `formula`: the user's own arithmetic over signals, in the Common Expression Language.
//!
//! Names are those of the signals, and `workers` and `serving`; functions are `min`, `max`, `ceil`
//! and `floor` of numbers, and CEL's conversions. It is compiled and tried out when it is loaded;
//! one that could need more than a bounded number of steps is refused then, so that no tick waits.

use std::fmt;
use std::sync::Arc;

use cel::extractors::Arguments;
use cel::{Context, Env, ExecutionError, Program, Value};
use tidegate_config::{Problem, nearest};

use super::quoted;
use super::steps::{MOST_STEPS, bound, steps};

/// What a formula may name besides signals: workers that serve or boot, and those that serve.
const FLEET: [&str; 2] = ["workers", "serving"];

const FUNCTIONS: [&str; 7] = ["min", "max", "ceil", "floor", "double", "int", "uint"];

/// Longer is no formula but a program.
const LONGEST: usize = 1000;

/// A compiled formula.
#[derive(Clone)]
pub struct Formula {
    text: String,
    program: Arc<Program>,
    env: Arc<Env>,
    names: Vec<String>,
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formula").field(&self.text).finish()
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Formula) -> bool {
        self.text == other.text
    }
}

impl Formula {
    /// Compiles a formula over these signals.
    ///
    /// # Errors
    /// With the position of the first mistake, and the nearest name where it is a name.
    pub fn new(text: &str, signals: &[&str]) -> Result<Formula, Problem> {
        let wrong = |found: String, expected: &str| Problem::new("formula", found, expected);
        if text.len() > LONGEST {
            let expected = format!("at most {LONGEST} characters");
            return Err(wrong(format!("{} characters", text.len()), &expected));
        }
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.first();
            let place = first.map_or(1, |error| error.pos.1);
            let why = first.map_or("", |error| error.msg.as_str());
            let why = why.trim_start_matches("Syntax error: ");
            let (why, _) = why.split_once(" expecting").unwrap_or((why, ""));
            let found = format!("{} at position {place}", quoted(text));
            wrong(found, &format!("an expression: {why}"))
        })?;
        let needed = steps(&program.expression().expr);
        if needed > MOST_STEPS {
            let expected = format!("at most {MOST_STEPS} steps to evaluate");
            return Err(wrong(format!("{} with more", quoted(text)), &expected));
        }
        let names = check_names(text, &program, signals)?;
        let formula = Formula {
            text: text.to_owned(),
            program: Arc::new(program),
            env: Arc::new(Env::stdlib()),
            names,
        };
        formula.workers(|_| 1.0, [1.0, 1.0]).map_err(|why| {
            let hint = "a formula that comes to a number; CEL wants decimals everywhere, as in \
                        4.0, not 4";
            wrong(format!("{}, which fails: {why}", quoted(text)), hint)
        })?;
        Ok(formula)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signals that it names.
    pub fn signals(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter().map(String::as_str);
        names.filter(|name| !FLEET.contains(name))
    }

    /// What it comes to, given the signals' values, workers and workers that serve.
    ///
    /// # Errors
    /// In words, when it comes to nothing that is a number of workers.
    pub fn workers(&self, value: impl Fn(&str) -> f64, fleet: [f64; 2]) -> Result<f64, String> {
        let mut context = Context::with_env(self.env.clone());
        let unusable = |error: ExecutionError| error.to_string();
        for name in &self.names {
            let known = FLEET
                .iter()
                .zip(fleet)
                .find(|(known, _)| **known == name.as_str());
            let value = known.map_or_else(|| value(name), |(_, value)| value);
            (context.add_variable(name.as_str(), value)).map_err(|error| error.to_string())?;
        }
        for (name, function) in [
            (
                "min",
                least as fn(Arguments) -> Result<Value, ExecutionError>,
            ),
            ("max", most),
            ("ceil", ceil),
            ("floor", floor),
        ] {
            (context.add_function(name, function)).map_err(|error| error.to_string())?;
        }
        let number = match self.program.execute(&context).map_err(unusable)? {
            Value::Float(number) => number,
            Value::Int(number) => number as f64,
            Value::UInt(number) => number as f64,
            other => return Err(format!("it comes to {other:?} and not to a number")),
        };
        match number.is_finite() {
            true => Ok(number.max(0.0)),
            false => Err(format!("it comes to {number}")),
        }
    }
}

fn check_names(text: &str, program: &Program, signals: &[&str]) -> Result<Vec<String>, Problem> {
    let references = program.references();
    let known: Vec<&str> = signals.iter().chain(&FLEET).copied().collect();
    let bound = bound(&program.expression().expr);
    let mut names: Vec<&str> = references.variables();
    names.retain(|name| known.contains(name) || !bound.contains(name));
    names.sort_unstable();
    let is_operator = |name: &&str| !name.starts_with(|c: char| c.is_ascii_alphabetic());
    let functions = references.functions().into_iter();
    let functions = functions.filter(|name| !is_operator(name));
    for (found, valid) in (names.iter().map(|name| (*name, &known[..])))
        .chain(functions.map(|name| (name, &FUNCTIONS[..])))
    {
        if valid.contains(&found) {
            continue;
        }
        let place = position(text, found);
        let hint = nearest(found, valid);
        let hint = hint.map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
        let expected = format!("one of {}{hint}", valid.join(", "));
        let found = format!("\"{found}\" at position {place}");
        return Err(Problem::new("formula", found, expected));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Where a name first stands on its own, counted from 1.
fn position(text: &str, name: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut places = text.match_indices(name).map(|(place, _)| place);
    let alone = places.find(|place| {
        let after = text.get(place + name.len()..).unwrap_or("");
        let before = text.get(..*place).unwrap_or("");
        !before.ends_with(is_part) && !after.starts_with(is_part)
    });
    1 + alone.map_or(0, |place| text[..place].chars().count())
}

fn numbers(arguments: &Arguments) -> Result<Vec<f64>, ExecutionError> {
    let number = |value: &Value| match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::UInt(number) => Ok(*number as f64),
        other => Err(ExecutionError::FunctionError {
            function: "min, max, ceil or floor".to_owned(),
            message: format!("{other:?} is not a number"),
        }),
    };
    arguments.0.iter().map(number).collect()
}

fn folded(arguments: &Arguments, of: fn(f64, f64) -> f64) -> Result<Value, ExecutionError> {
    let numbers = numbers(arguments)?;
    let folded = numbers.into_iter().reduce(of);
    folded
        .map(Value::Float)
        .ok_or_else(|| ExecutionError::invalid_argument_count(1, 0))
}

fn least(arguments: Arguments) -> Result<Value, ExecutionError> {
    folded(&arguments, f64::min)
}

fn most(arguments: Arguments) -> Result<Value, ExecutionError> {
    folded(&arguments, f64::max)
}

fn ceil(arguments: Arguments) -> Result<Value, ExecutionError> {
    folded(&arguments, |first, _| first).map(|value| rounded(value, f64::ceil))
}

fn floor(arguments: Arguments) -> Result<Value, ExecutionError> {
    folded(&arguments, |first, _| first).map(|value| rounded(value, f64::floor))
}

fn rounded(value: Value, how: fn(f64) -> f64) -> Value {
    match value {
        Value::Float(number) => Value::Float(how(number)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALS: [&str; 2] = ["queue", "in_flight"];

    fn refusal(text: &str) -> String {
        format!("{:?}", Formula::new(text, &SIGNALS).expect_err(text))
    }

    #[test]
    fn a_formula_combines_signals_by_name() {
        let value = |name: &str| if name == "queue" { 10.0 } else { 100.0 };
        for (text, expected) in [
            ("max(queue / 4.0, in_flight / 8.0)", 12.5),
            ("min(queue, in_flight, 3.0)", 3.0),
            ("queue > 3.0 ? workers + 1.0 : serving", 6.0),
            ("ceil(in_flight / 30.0) - 10.0", 0.0),
            ("7", 7.0),
        ] {
            let formula = Formula::new(text, &SIGNALS).expect(text);
            assert_eq!(formula.workers(value, [5.0, 4.0]), Ok(expected), "{text}");
        }
        let formula = Formula::new("queue / in_flight", &SIGNALS).expect("a formula");
        assert!(
            formula.workers(|_| 0.0, [1.0, 1.0]).is_err(),
            "not a number"
        );
        assert_eq!(
            formula.signals().collect::<Vec<_>>(),
            ["in_flight", "queue"]
        );
    }

    #[test]
    fn a_formula_that_would_take_long_is_refused_at_once() {
        let nested = |call: &str, depth: usize| {
            let numbers = ["0"; 40].join(",");
            let inner = (0..depth).fold("true".to_owned(), |inner, level| {
                format!("[{numbers}].{call}(v{level}, {inner})")
            });
            format!("{inner} ? 1.0 : 2.0")
        };
        for call in ["all", "exists", "filter", "map"] {
            let text = nested(call, 8);
            assert!(refusal(&text).contains("steps to evaluate"), "{call}");
        }
        let lists = "[[0,0,0,0,0,0,0,0,0,0],[0,0,0,0,0,0,0,0,0,0]]";
        let through = "l.all(a, l.all(b, l.all(c, l.all(d, true))))";
        let inner = format!("{lists}.all(l, {through}) ? 1.0 : 2.0");
        assert!(
            refusal(&inner).contains("steps to evaluate"),
            "lists in lists"
        );
        let few = "[queue, in_flight].exists(v, v > 3.0) ? 2.0 : 1.0";
        let few = Formula::new(few, &SIGNALS).expect("a few steps");
        assert_eq!(few.workers(|_| 4.0, [1.0, 1.0]), Ok(2.0));
    }

    #[test]
    fn a_mistake_is_found_when_it_is_loaded_with_its_position() {
        for (text, says) in [
            ("max(quue / 4.0, 1.0)", "\\\"quue\\\" at position 5"),
            ("max(quue / 4.0, 1.0)", "did you mean \\\"queue\\\"?"),
            ("maxx(queue, 1.0)", "did you mean \\\"max\\\"?"),
            ("max(queue / , 3.0)", "at position 13"),
            ("queue / 4", "4.0, not 4"),
            ("queue > 1.0", "not to a number"),
            ("max()", "fails"),
            ("\"queue\"", "not to a number"),
        ] {
            assert!(refusal(text).contains(says), "{text}: {}", refusal(text));
        }
    }
}
