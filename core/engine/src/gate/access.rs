//! Commands that the configuration keeps from everybody, or from clients elsewhere.

use super::Asked;
use crate::engine::Engine;
use commands::{Error, Flags};
use config::DebugAccess;

/// A command that has one of these is kept so.
const KEPT: Flags = Flags::DEBUGS.and(Flags::LOADS_MODULES);

const NO_DEBUG: Error = Error::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
const NO_MODULE: Error = Error::new(
    "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);

impl Engine {
    /// Whether the configuration lets this session ask for it. It is looked at when a command comes, so that a transaction with one
    /// that is kept does not run at all.
    #[inline]
    pub(super) fn check_access(&self, asked: Asked<'_>) -> Result<(), Error> {
        let flags = self.flags(asked);
        if flags.has_any(KEPT) { self.check_kept(asked, flags) } else { Ok(()) }
    }

    #[cold]
    fn check_kept(&self, asked: Asked<'_>, flags: Flags) -> Result<(), Error> {
        let (access, refusal) = match flags.has(Flags::DEBUGS) {
            true => (self.config.enable_debug_command, NO_DEBUG),
            false => (self.module_access(), NO_MODULE),
        };
        match access {
            DebugAccess::Yes => Ok(()),
            DebugAccess::Local if self.sessions.at(asked.id).info.local => Ok(()),
            DebugAccess::Local | DebugAccess::No => Err(refusal),
        }
    }

    fn module_access(&self) -> DebugAccess {
        let value = self.config.get(&[b"enable-module-command"]).pop().map(|(_, value)| value);
        match value.as_deref() {
            Some(b"yes") => DebugAccess::Yes,
            Some(b"local") => DebugAccess::Local,
            _ => DebugAccess::No,
        }
    }
}
