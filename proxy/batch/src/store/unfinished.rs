//! Batches with something left to do, in the order of turns.

use rusqlite::params;

use super::batch::Row;
use super::batches::parse;
use super::{Store, StoreError};

/// More than can be at work at once; those behind them wait.
const MOST_UNFINISHED: usize = 2000;

/// Those with something left to do, found without looking at each of their batches.
const OWNERS: &str = "
    WITH RECURSIVE owners (owner) AS (
        SELECT min(owner) FROM batches WHERE ended = 0
        UNION ALL
        SELECT (SELECT min(owner) FROM batches WHERE ended = 0 AND batches.owner > owners.owner)
        FROM owners WHERE owners.owner IS NOT NULL
    )
    SELECT owner FROM owners WHERE owner IS NOT NULL";

/// A batch with something left to do.
#[derive(Clone, Debug)]
pub struct Unfinished {
    pub owner: String,
    pub row: Row,
}

impl Store {
    /// Batches with something left to do: the oldest of each owner, then the next of each, and so on.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        self.with(|database| {
            let mut query = database.prepare_cached(OWNERS)?;
            let owners = query.query_map((), |row| row.get::<_, String>(0))?;
            let owners: Vec<String> = owners.collect::<Result<_, _>>()?;
            let each = (MOST_UNFINISHED / owners.len().max(1)).max(1);
            let mut query = database.prepare_cached(
                "SELECT seq, body FROM batches WHERE ended = 0 AND owner = ? ORDER BY seq LIMIT ?",
            )?;
            let mut unfinished = Vec::new();
            for owner in &owners {
                let rows = query.query_map(params![owner, each], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                })?;
                for (turn, row) in rows.enumerate() {
                    let (seq, body) = row?;
                    let (owner, row) = (owner.clone(), parse(&body)?);
                    unfinished.push(((turn, seq), Unfinished { owner, row }));
                }
            }
            unfinished.sort_by_key(|(order, _)| *order);
            Ok(unfinished.into_iter().map(|(_, one)| one).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Quota;
    use crate::input::Endpoint;
    use crate::store::NewDeferred;

    #[test]
    fn each_owner_has_its_oldest_before_any_has_its_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), Quota::default()).expect("a store");
        let add = |owner: &str, name: &str| {
            let new = NewDeferred {
                name: name.to_owned(),
                endpoint: Endpoint::Inputs,
                bytes: 0,
                window_seconds: 60,
                keep_seconds: 60,
                invocation: None,
            };
            let kept = store.keep_deferred(owner, new, b"{}");
            (kept.expect("room"), name.to_owned())
        };
        let added = ["b1", "b2", "b3", "a1", "a2", "c1"].map(|name| add(&name[..1], name));
        let names: BTreeMap<String, String> = added.into_iter().collect();
        let found = store.unfinished().expect("rows");
        let found: Vec<&str> = (found.iter())
            .map(|one| names[&one.row.batch.id].as_str())
            .collect();
        assert_eq!(found, ["b1", "a1", "c1", "b2", "a2", "b3"]);
    }
}
