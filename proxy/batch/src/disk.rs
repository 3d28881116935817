//! Writes files that are complete or absent, and on the disk when the call returns; detects full disks.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt;

const BUFFER_BYTES: usize = 1 << 20;

/// Pieces in which a file is sent.
const PIECE_BYTES: usize = 256 << 10;

/// Whether an error says that a disk or a quota is full.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Bytes that may still be written where a path is.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A file from where it stands to its end, piece by piece.
pub fn pieces(file: tokio::fs::File) -> impl Stream<Item = io::Result<Vec<u8>>> {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await? {
            0 => Ok::<_, io::Error>(None),
            _ => Ok(Some((piece, file))),
        }
    })
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
