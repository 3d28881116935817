//! Several fleets under one scaler: apart in groups, metrics, ledgers and orders, and refused where
//! they would share what they must not.

mod at_work;
mod clashes;

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_tests::REGION;

use crate::stage::token_file;

/// What two policies differ in, or do not.
struct Draft<'a> {
    name: &'a str,
    proxy: &'a str,
    scaler: String,
    more: String,
}

impl Draft<'_> {
    /// A policy that can be run beside others.
    fn new(name: &str) -> Draft<'_> {
        Draft {
            name,
            proxy: "http://127.0.0.1:1",
            scaler: format!("ledger = '/nowhere/{name}.jsonl'"),
            more: asg(name, ""),
        }
    }

    fn write(&self, directory: &Path) -> PathBuf {
        let file = directory.join(format!("{}.toml", self.name));
        let token = token_file(directory, &format!("{}.token", self.name));
        let kind = match self.more.split_once("]") {
            Some((kind @ ("[process" | "[container"), _)) => &kind[1..],
            _ => "asg",
        };
        let text = format!(
            "[fleet]\nkind = '{kind}'\nmin = 1\nmax = 4\nmodel = '{}'\n\
             [slo]\nlatency = '2s'\n\
             [[signal]]\nname = 'requests'\nmetric = 'concurrency'\nstatistic = 'mean'\n\
             window = '1s'\ntarget_per_worker = 4\n\
             [proxies]\nadmin = ['{}']\ntoken_file = '{}'\n[scaler]\n{}\n{}",
            self.name,
            self.proxy,
            token.display(),
            self.scaler,
            self.more
        );
        fs::write(&file, text).expect("the policy is written");
        file
    }
}

fn asg(group: &str, endpoint: &str) -> String {
    format!("[asg]\ngroup = '{group}'\nregion = '{REGION}'\n{endpoint}")
}
