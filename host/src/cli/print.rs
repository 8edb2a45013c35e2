//! What goes to stdout: data, as it comes.
//!
//! Invariant: a reader that goes away early, as `head` does, ends the command quietly and not as an error.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

use super::Failure;

/// Writes and flushes, so that a reader sees each piece when it comes.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(closed)
}

/// Writes one line.
pub(super) fn line(line: impl fmt::Display) -> Result<(), Failure> {
    write(format!("{line}\n").as_bytes())
}

fn closed(error: io::Error) -> Failure {
    // The reader had what it wanted: this is how `seaway complete ... | head -1` ends.
    match error.kind() == ErrorKind::BrokenPipe {
        true => Failure::quiet(),
        false => Failure::failed(format_args!("the answer cannot be written: {error}")),
    }
}
