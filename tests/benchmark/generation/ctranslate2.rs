//! CTranslate2 on a T5 with random weights.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Rates, THREADS, finish, peers, python};

/// Tokens of each text that is read and of each that is written.
pub const TOKENS: usize = 64;

pub struct CTranslate2 {
    python: OsString,
    model: PathBuf,
    cache: PathBuf,
}

impl CTranslate2 {
    /// Makes the model; none if peers are not installed.
    pub fn find(home: &Path) -> Option<CTranslate2> {
        let peer = CTranslate2 {
            python: python()?,
            model: home.join("t5"),
            cache: home.to_owned(),
        };
        std::fs::create_dir(&peer.model).expect("a folder of the benchmark's own");
        finish(peer.program().arg("--make"));
        Some(peer)
    }

    /// The directory of the model, as the hub would hold it, with inputs.json beside it.
    pub fn model(&self) -> &Path {
        &self.model
    }

    /// One round, with the faster of its settings.
    pub fn rates(&self) -> Rates {
        #[derive(Deserialize)]
        struct Best {
            tokens_per_second: f64,
        }
        #[derive(Deserialize)]
        struct Printed {
            one: Best,
            eight: Best,
        }
        let mut program = self.program();
        program.arg("--cache").arg(&self.cache);
        program.args(["--threads", &THREADS.to_string()]);
        let printed = finish(&mut program);
        let printed: Printed = serde_json::from_str(printed.trim()).expect("JSON");
        Rates {
            prefill: f64::NAN,
            one: printed.one.tokens_per_second,
            eight: printed.eight.tokens_per_second,
        }
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(peers().join("t5.py"));
        command.arg("--model").arg(&self.model);
        command
    }
}
