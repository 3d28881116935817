//! Writes files that are complete or absent, and on the disk when the call returns; detects full disks.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

/// Whether an error says that a disk or a quota is full.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Writes a file whole or not at all: beside its place, to the disk, and then to its name.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let whole = || {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&part)?);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(&part, path)?;
        sync_directory(path)?;
        Ok(bytes)
    };
    whole().inspect_err(|_| {
        let _ = std::fs::remove_file(&part);
    })
}

/// Makes a name in a directory as durable as the file behind it.
pub fn sync_directory(of: &Path) -> io::Result<()> {
    let directory = of.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
