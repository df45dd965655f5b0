//! What DEBUG switches and others look at.

/// What DEBUG has switched, for the engine's other parts to look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switches {
    /// Scripts may run what is otherwise not for scripts.
    pub(crate) scripts_may_all: bool,
    /// Nothing is done without a request: no expiry, no regular work.
    pub(crate) cron_paused: bool,
}
