//! Where output goes, and whether somebody watches.

use std::io::{self, Write};

/// Standard output and standard error of a run. They may be anything that can be written to, so that what a health check prints
/// can be looked at by who has called it.
pub struct Screen {
    /// Replies.
    pub out: Box<dyn Write>,
    /// What is told beside them.
    pub err: Box<dyn Write>,
    /// A person reads the replies as they come.
    pub is_terminal: bool,
    /// A person sees what is told beside them: then what takes long says how far it is.
    pub is_watched: bool,
}

impl Screen {
    /// Writes to standard output.
    pub(crate) fn print(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.out.write_all(bytes.as_ref())
    }

    /// Writes a line to standard error. Where that is closed there is nobody to tell.
    pub(crate) fn tell(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.out.flush();
        let _ = self.err.write_all(text.as_ref()).and_then(|()| self.err.write_all(b"\n"));
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
