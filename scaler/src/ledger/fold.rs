//! What a restarted scaler takes from its own ledger: the last ticks, as far back as it looks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tidegate_control::{Guard, Law, Override, Roster, Time};

use super::{ByHand, Entry, Line, Tick, VERSION, aside};

/// The most that is read of one file. An hour of ticks fits in, at 9 KB a tick: some forty workers
/// at one proxy. Of a larger fleet, less of the past is taken up.
const TAIL_BYTES: u64 = 32 << 20;

/// The recent part of a ledger.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    pub ticks: Vec<Recalled>,
    last_number: u32,
    by_hand: Option<Override>,
    removed: BTreeMap<String, Time>,
}

/// A tick of an earlier run.
#[derive(Clone, Debug)]
pub struct Recalled {
    pub at: Time,
    pub tick: Tick,
}

/// Reads the ticks of the last `span` before `now`. A ledger that is not there has none.
pub fn fold(file: &Path, now: Time, span: Duration) -> io::Result<Folded> {
    let mut folded = Folded::default();
    for path in [aside(file, 1), file.to_owned()] {
        match read_tail(&path) {
            Ok(text) => folded.take(&text, now, span),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(folded)
}

impl Folded {
    fn take(&mut self, text: &str, now: Time, span: Duration) {
        for text in text.lines().filter(|text| !text.is_empty()) {
            // What is torn, or of a later version, is left out.
            if let Ok(line) = serde_json::from_str::<Line>(text)
                && line.version <= VERSION
            {
                self.take_line(line, now, span);
            }
        }
    }

    fn take_line(&mut self, line: Line, now: Time, span: Duration) {
        let recent = line.at <= now && now.since(line.at) <= span;
        match line.entry {
            Entry::Tick(tick) => {
                let order = tick
                    .decision
                    .reason
                    .guards
                    .iter()
                    .find_map(|guard| match guard {
                        Guard::Override { by_hand } => Some(*by_hand),
                        _ => None,
                    });
                self.by_hand = order;
                self.number(tick.fleet.workers.iter().map(|worker| &worker.id));
                if recent {
                    let (at, tick) = (line.at, *tick);
                    self.ticks.push(Recalled { at, tick });
                }
            }
            Entry::ByHand(ByHand { order, .. }) => self.by_hand = order,
            // The ticks since then have it.
            Entry::WorkerByHand(_) => {}
            Entry::Outcome(outcome) => {
                self.number(outcome.launched.iter());
                let removed = outcome.removed.into_iter().filter(|_| recent);
                self.removed.extend(removed.map(|id| (id, line.at)));
            }
        }
    }

    fn number<'a>(&mut self, ids: impl Iterator<Item = &'a String>) {
        let numbers = ids.filter_map(|id| id.rsplit_once('-')?.1.parse().ok());
        self.last_number = numbers.fold(self.last_number, u32::max);
    }

    /// Takes an earlier run's ticks into the law and the roster.
    pub fn recall(&self, law: &mut Law, roster: &mut Roster) {
        for Recalled { at, tick } in &self.ticks {
            law.recall(*at, &tick.observation, &tick.fleet, &tick.decision);
        }
        law.set_override(self.by_hand);
        if let Some(last) = self.ticks.last() {
            roster.recall(&last.tick.fleet);
        }
    }

    /// When each worker was launched that was there at the last tick.
    pub fn launched(&self) -> BTreeMap<String, Time> {
        let last = self.ticks.last().map(|last| &last.tick.fleet.workers);
        let workers = last.into_iter().flatten();
        workers.map(|w| (w.id.clone(), w.launched)).collect()
    }

    /// Members that were removed within the span that was read, and when.
    pub fn removed(&self) -> &BTreeMap<String, Time> {
        &self.removed
    }

    /// The highest `N` of workers named `PREFIX-N`.
    pub fn last_number(&self) -> u32 {
        self.last_number
    }
}

/// The end of a file, from the beginning of a line.
fn read_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match skipped {
        0 => &*text,
        _ => text.split_once('\n').map_or("", |(_, whole)| whole),
    };
    Ok(whole.to_owned())
}
