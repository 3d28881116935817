//! Opening a store: locked, of a version that this build knows, whole, and swept.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use rusqlite::{Connection, ErrorCode};
use tracing::{info, warn};

use super::{Store, StoreError, remove};
use crate::config::Quota;

/// Of what this build writes.
pub const VERSION: u32 = 2;

/// Of a store without invocations, which version 1 reads as well.
const FIRST_VERSION: u32 = 1;

/// "tgbt": marks the database as ours.
const APPLICATION: i32 = 0x7467_6274;

const TABLES: &str = "
    CREATE TABLE files (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        lines INTEGER,
        endpoint TEXT
    );
    CREATE INDEX files_of ON files (owner, seq);
    CREATE TABLE batches (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        -- 1 once nothing more is to be done.
        ended INTEGER NOT NULL,
        lines INTEGER NOT NULL,
        input TEXT NOT NULL,
        input_bytes INTEGER NOT NULL,
        -- The batch as JSON, so that a version may add to it.
        body TEXT NOT NULL
    );
    CREATE INDEX batches_of ON batches (owner, seq);
    CREATE INDEX unfinished ON batches (ended, seq);
";

const UNFINISHED_BY_OWNER: &str =
    "CREATE INDEX IF NOT EXISTS unfinished_of ON batches (owner, seq) WHERE ended = 0";

impl Store {
    /// Opens the store, or makes an empty one in a directory that is absent or empty.
    pub fn open(directory: &Path, quota: Quota) -> Result<Store, StoreError> {
        let failed = |cause| StoreError::Io {
            path: directory.to_owned(),
            cause,
        };
        for name in ["files", "answers", "uploads"] {
            fs::create_dir_all(directory.join(name)).map_err(failed)?;
        }
        let lock = fs::File::create(directory.join("lock")).map_err(failed)?;
        if lock.try_lock().is_err() {
            let directory = directory.to_owned();
            return Err(StoreError::InUse { directory });
        }
        let opened = open_database(&directory.join("batch.db"));
        let database = opened.map_err(|error| plainly(directory, error))?;
        let store = Store {
            directory: directory.to_owned(),
            database: Mutex::new(database),
            quota,
            _lock: lock,
        };
        store.sweep()?;
        store.keep_reserve();
        Ok(store)
    }

    /// Removes what no row stands for.
    fn sweep(&self) -> Result<(), StoreError> {
        let files: HashSet<String> = self.ids("SELECT id FROM files")?;
        let unfinished: HashSet<String> = self.ids("SELECT id FROM batches WHERE ended = 0")?;
        let mut removed = 0;
        for (place, keep) in [
            ("files", Some(&files)),
            ("answers", Some(&unfinished)),
            ("uploads", None),
        ] {
            let place = self.directory.join(place);
            let failed = |cause| StoreError::Io {
                path: place.clone(),
                cause,
            };
            for entry in fs::read_dir(&place).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                let is_kept =
                    keep.is_some_and(|keep| name.to_str().is_some_and(|n| keep.contains(n)));
                if !is_kept {
                    remove(&entry.path())?;
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            info!(removed, "removed unfinished files of an earlier process");
        }
        for id in files.iter().filter(|id| !self.file_path(id).exists()) {
            warn!(file = %id, "the content of a listed file is missing");
        }
        Ok(())
    }

    fn ids(&self, query: &str) -> Result<HashSet<String>, StoreError> {
        self.with(|database| {
            let mut query = database.prepare(query)?;
            let ids = query.query_map((), |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
    }
}

/// What is wrong with a database, before it is put in words.
enum Unusable {
    Database(rusqlite::Error),
    Damaged(String),
    Newer(u32),
    Foreign,
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Unusable::Damaged(error.to_string())
            }
            _ => Unusable::Database(error),
        }
    }
}

fn open_database(file: &Path) -> Result<Connection, Unusable> {
    let database = Connection::open(file)?;
    let number = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    match (application, version) {
        (0, 0) => begin(&database)?,
        (application, _) if application != i64::from(APPLICATION) => return Err(Unusable::Foreign),
        (_, version) if version > i64::from(VERSION) => {
            return Err(Unusable::Newer(version as u32));
        }
        _ => {}
    }
    // Every commit is on the disk when it returns.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    let found: String = database.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if found != "ok" {
        return Err(Unusable::Damaged(found));
    }
    // Stores of older versions are without it. It is for speed alone, so that a full disk does not stop the start.
    if let Err(error) = database.execute_batch(UNFINISHED_BY_OWNER) {
        warn!(file = %file.display(), %error, "an index is missing");
    }
    Ok(database)
}

fn begin(database: &Connection) -> Result<(), Unusable> {
    let tables: i64 =
        database.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables > 0 {
        return Err(Unusable::Foreign);
    }
    database.execute_batch(&format!(
        "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FIRST_VERSION}; COMMIT;"
    ))?;
    Ok(())
}

fn plainly(directory: &Path, error: Unusable) -> StoreError {
    let directory = directory.to_owned();
    match error {
        Unusable::Database(error) => StoreError::Database(error),
        Unusable::Damaged(found) => StoreError::Damaged { directory, found },
        Unusable::Newer(found) => StoreError::Newer { directory, found },
        Unusable::Foreign => StoreError::Foreign { directory },
    }
}
