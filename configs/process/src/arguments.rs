//! Command lines: usage errors, completions, manual pages, the version.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, Error, Parser, value_parser};
use clap_complete::Shell;
use tidegate_config::BAD_CONFIG;

const COMPLETIONS: &str = "completions";
const MANUAL: &str = "manual";

/// The version, and the commit if the build was told it by the variable `TIDEGATE_COMMIT`.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let number = env!("CARGO_PKG_VERSION");
        match option_env!("TIDEGATE_COMMIT").filter(|commit| !commit.is_empty()) {
            Some(commit) => format!("{number} ({commit})"),
            None => number.to_owned(),
        }
    });
    &VERSION
}

/// Reads this process's command line. Every binary also has `completions SHELL` and
/// `manual DIRECTORY`.
///
/// # Errors
/// The code to exit with, everything being printed: 0 after help, version, completions or manual
/// pages, and 78 (EX_CONFIG of sysexits.h) for arguments that cannot be used.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    let mut command = command::<C>();
    let parsed = command
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|matches| match matches.subcommand() {
            Some((COMPLETIONS, asked)) => completions(command.clone(), asked),
            Some((MANUAL, asked)) => manual(command.clone(), asked),
            _ => C::from_arg_matches(&matches).map(Some),
        });
    match parsed {
        Ok(Some(parsed)) => Ok(parsed),
        Ok(None) => Err(ExitCode::SUCCESS),
        Err(error) => {
            let error = error.format(&mut command);
            let _ = error.print();
            Err(match error.use_stderr() {
                true => BAD_CONFIG.into(),
                false => ExitCode::SUCCESS,
            })
        }
    }
}

fn command<C: Parser>() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell));
    let directory = Arg::new("directory")
        .value_name("DIRECTORY")
        .required(true)
        .value_parser(value_parser!(PathBuf));
    let command = C::command().version(version());
    let name = command.get_name().to_owned();
    command
        .subcommand(
            Command::new(COMPLETIONS)
                .about("Print completions for a shell")
                .after_help(format!("Examples:\n  {name} {COMPLETIONS} bash"))
                .arg(shell),
        )
        .subcommand(
            Command::new(MANUAL)
                .about("Write manual pages into a directory")
                .after_help(format!("Examples:\n  {name} {MANUAL} ."))
                .arg(directory),
        )
}

fn completions<C>(mut command: Command, asked: &ArgMatches) -> Result<Option<C>, Error> {
    if let Some(shell) = asked.get_one::<Shell>("shell") {
        let (name, mut script) = (command.get_name().to_owned(), Vec::new());
        clap_complete::generate(*shell, &mut command, name, &mut script);
        std::io::stdout().write_all(&script)?;
    }
    Ok(None)
}

fn manual<C>(command: Command, asked: &ArgMatches) -> Result<Option<C>, Error> {
    if let Some(directory) = asked.get_one::<PathBuf>("directory") {
        clap_mangen::generate_to(command, directory).map_err(|error| {
            let problem = format!("{}: {error}", directory.display());
            Error::raw(ErrorKind::Io, problem)
        })?;
    }
    Ok(None)
}

/// For tests: whether the help of every subcommand has examples, and whether they can be parsed.
///
/// # Errors
/// The first subcommand or example that is wrong.
pub fn check_examples<C: Parser>() -> Result<(), String> {
    let mut command = command::<C>();
    command.build();
    let subcommands: Vec<&Command> = command.get_subcommands().collect();
    for described in subcommands.iter().filter(|sub| sub.get_name() != "help") {
        let help = described.get_after_help().map(ToString::to_string);
        let examples = help
            .as_deref()
            .and_then(|help| help.strip_prefix("Examples:\n"));
        let name = described.get_name();
        let examples = examples.ok_or_else(|| format!("the help of {name} has no examples"))?;
        for example in examples.lines() {
            let words = example.split_whitespace();
            (command.clone().try_get_matches_from(words))
                .map_err(|error| format!("{example:?} of {name}: {error}"))?;
        }
    }
    Ok(())
}
