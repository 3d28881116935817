//! What people should know of the group, each thing when it begins and when it ends.

use super::group::{Description, Refresh};
use super::shortage::Offering;
use crate::fleet::Notice;

/// Notices that are given once in a run, remembered at most.
const MEMORY: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct Notices {
    waiting: Vec<Notice>,
    once: Vec<Notice>,
    suspended: Vec<String>,
    refresh: Option<String>,
    is_short: bool,
    is_throttled: bool,
}

impl Notices {
    /// What has come up since the last call.
    pub fn take(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.waiting)
    }

    pub fn push(&mut self, notice: Notice) {
        if self.waiting.len() < MEMORY {
            self.waiting.push(notice);
        }
    }

    /// Tells what will not change while this process runs.
    pub fn once(&mut self, notice: Notice) {
        if !self.once.contains(&notice) && self.once.len() < MEMORY {
            self.once.push(notice.clone());
            self.push(notice);
        }
    }

    /// How the group is set up.
    pub fn group(&mut self, name: &str, description: &Description) {
        self.is_throttled = false;
        if !description.protects_new {
            let group = name.to_owned();
            self.once(Notice::Unprotected { group });
        }
        if description.suspended != self.suspended {
            self.suspended.clone_from(&description.suspended);
            self.push(match description.suspended.is_empty() {
                true => Notice::Resumed,
                false => {
                    let processes = description.suspended.join(", ");
                    Notice::Suspended { processes }
                }
            });
        }
    }

    pub fn refresh(&mut self, refresh: Option<Refresh>) {
        let id = refresh.as_ref().map(|refresh| refresh.id.clone());
        if id == self.refresh {
            return;
        }
        self.refresh = id;
        self.push(match refresh {
            Some(Refresh { id, percent }) => Notice::RefreshBegan { id, percent },
            None => Notice::RefreshOver,
        });
    }

    pub fn short(&mut self, offerings: Vec<Offering>) {
        self.is_short = true;
        let what: Vec<String> = offerings.iter().map(Offering::to_string).collect();
        let what = what.join(", ");
        self.push(Notice::CapacityUnavailable { what });
    }

    pub fn capacity_back(&mut self) {
        if std::mem::take(&mut self.is_short) {
            self.push(Notice::CapacityBack);
        }
    }

    pub fn throttled(&mut self, why: String) {
        if !std::mem::replace(&mut self.is_throttled, true) {
            self.push(Notice::Throttled { why });
        }
    }
}
