//! Reads a small text file completely; the path may lead to a file of any kind and size.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A file's text and its permission bits, such as 0o600, both of the same open file. Whatever is no
/// regular file is refused, since a pipe or a device may never end, and so is a file of more than
/// `most` bytes.
pub fn read_text(file: &Path, most: u64) -> io::Result<(String, u32)> {
    // Before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let opened = File::open(file)?;
    let mode = opened.metadata()?.permissions().mode() & 0o777;
    let mut text = String::new();
    let length = opened.take(most + 1).read_to_string(&mut text)?;
    match length as u64 > most {
        true => Err(io::Error::other(format!("it is larger than {most} bytes"))),
        false => Ok((text, mode)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        let whole = dir.path().join("whole");
        std::fs::write(&whole, "12345678").expect("the file is written");
        for (file, most, says) in [
            (&*pipe, 8, "no regular file"),
            (dir.path(), 8, "no regular file"),
            (Path::new("/dev/zero"), 8, "no regular file"),
            (&*whole, 7, "larger than 7 bytes"),
        ] {
            let refused = read_text(file, most).expect_err(says).to_string();
            assert!(refused.contains(says), "{}: {refused}", file.display());
        }
        let (text, _) = read_text(&whole, 8).expect("it fits");
        assert_eq!(text, "12345678");
    }
}
