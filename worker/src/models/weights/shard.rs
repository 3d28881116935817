//! One safetensors file: its header, checked before anything is read by it, and its bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

use crate::models::{ModelError, files};

/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// The most that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    pub header: Metadata,
    file: File,
    /// Where the first tensor begins.
    data: u64,
}

impl Shard {
    /// Reads the header and checks that the file is as long as it says.
    pub fn open(path: &Path) -> Result<Shard, ModelError> {
        let unreadable = |error| ModelError::Unreadable {
            file: path.to_owned(),
            error,
        };
        let invalid = |problem: String| ModelError::Invalid {
            file: path.to_owned(),
            problem,
        };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut prefix = [0; LENGTH_BYTES as usize];
        if length < LENGTH_BYTES {
            return Err(invalid(format!(
                "it is not a safetensors file: it has {length} bytes"
            )));
        }
        file.read_exact_at(&mut prefix, 0).map_err(unreadable)?;
        let header_bytes = u64::from_le_bytes(prefix);
        if files::is_pointer(&first_bytes(&file, length).map_err(unreadable)?) {
            return Err(invalid(files::POINTER.to_owned()));
        }
        if header_bytes > MAX_HEADER_BYTES || header_bytes > length - LENGTH_BYTES {
            return Err(invalid(format!(
                "it is not a safetensors file, or cut off: its header would have {header_bytes} bytes, the file has {length}"
            )));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact_at(&mut header, LENGTH_BYTES)
            .map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| {
            invalid(format!(
                "its header is not that of a safetensors file: {error}"
            ))
        })?;
        let data = LENGTH_BYTES + header_bytes;
        let expected = data + header.data_len() as u64;
        if expected != length {
            return Err(invalid(format!(
                "it is damaged or cut off: its header promises {expected} bytes, the file has {length}"
            )));
        }
        Ok(Shard {
            path: path.to_owned(),
            header,
            file,
            data,
        })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.data + self.header.data_len() as u64
    }

    /// A tensor's bytes as they are stored.
    pub fn bytes(&self, info: &TensorInfo) -> Result<Vec<u8>, ModelError> {
        let (first, end) = info.data_offsets;
        let mut bytes = vec![0; end - first];
        self.read_at(&mut bytes, first as u64)?;
        Ok(bytes)
    }

    /// Passes the data of all tensors through `take`, piece by piece.
    pub fn each_piece(&self, take: &mut impl FnMut(&[u8])) -> Result<(), ModelError> {
        const PIECE: usize = 1 << 20;
        let mut piece = vec![0; PIECE];
        let mut left = self.header.data_len();
        let mut at = 0;
        while left > 0 {
            let now = &mut piece[..left.min(PIECE)];
            self.read_at(now, at)?;
            take(now);
            left -= now.len();
            at += now.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), ModelError> {
        let read = self.file.read_exact_at(bytes, self.data + offset);
        read.map_err(|error| ModelError::Unreadable {
            file: self.path.clone(),
            error,
        })
    }
}

/// As many as show what a file is.
fn first_bytes(file: &File, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length.min(64) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
