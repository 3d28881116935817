//! The last valid state of each policy of a scaler. A reload is compared with it, so that the next start
//! does not find two policies that cannot run together.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use tidegate_policy::PolicyFile;

use super::policies::{self, Policy};
use super::{Clash, Unusable};

/// Clones are of one accepted. All loops are one task, so that nobody borrows it for long.
#[derive(Clone)]
pub struct AcceptedPolicies(Rc<RefCell<Vec<Policy>>>);

impl AcceptedPolicies {
    pub fn new(policies: &[Policy]) -> AcceptedPolicies {
        AcceptedPolicies(Rc::new(RefCell::new(policies.to_vec())))
    }

    /// Holds a policy as it was read again against the others.
    ///
    /// # Errors
    /// When it clashes with what another has said and, if that can be read, still says: of files
    /// that were changed together each may come first.
    pub fn check(&self, changed: &Policy) -> Result<(), Unusable> {
        let accepted = self.0.borrow();
        let mut order = (accepted.iter()).map(|policy| policy.path == changed.path);
        let own = order.position(|is_own| is_own).unwrap_or(accepted.len());
        let others = accepted.iter().enumerate().filter(|(at, _)| *at != own);
        let between = |at: usize, other: &Policy| match at < own {
            true => policies::clash(other, changed),
            false => policies::clash(changed, other),
        };
        let clashes: Vec<Clash> = others
            .filter_map(|(at, other)| {
                let clash = between(at, other)?;
                match other.read_again() {
                    Ok(now) => between(at, &now),
                    Err(_) => Some(clash),
                }
            })
            .collect();
        match clashes.is_empty() {
            true => Ok(()),
            false => Err(Unusable::Together(clashes)),
        }
    }

    /// What a policy said last.
    pub fn last(&self, path: &Path) -> Option<PolicyFile> {
        let accepted = self.0.borrow();
        let own = accepted.iter().find(|policy| policy.path == path);
        own.map(|policy| policy.file.clone())
    }

    /// Takes it in the place of what it said before.
    pub fn accept(&self, changed: Policy) {
        let mut accepted = self.0.borrow_mut();
        if let Some(own) = (accepted.iter_mut()).find(|policy| policy.path == changed.path) {
            *own = changed;
        }
    }
}
