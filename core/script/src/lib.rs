//! Lua 5.1 scripts as Redis runs them: the sandbox, its libraries, and `redis.call` into a [`Host`].
//!
//! The crate knows no database: whoever runs a script implements [`Host`]. Replies of commands become Lua
//! values directly and the script's result goes straight into a [`resp::Sink`]; no RESP text lies between.
//! All foreign calls are in `raw`, which states the rules that make them sound.

mod api;
mod bit;
mod convert;
mod errors;
mod functions;
mod interpreter;
mod json;
mod library;
mod msgpack;
mod random;
mod raw;
mod recency;
mod sandbox;
mod shebang;
mod structs;

pub use functions::{Function, Functions, Library, Policy};
pub use interpreter::{CompileError, Interpreter, Limits, Origin, RunError, Sha, sha_of};
pub use random::Numbers;
pub use shebang::{Flags, flags_of};

/// What the running of a script needs from whoever runs it.
pub trait Host {
    /// Runs one command for `redis.call` or `redis.pcall`; exactly one reply, maybe an error, goes into `sink`.
    /// `argv` is never empty. The reply's shape must follow `sink.protocol()`.
    /// Gives how long it took, nanoseconds, so that [`Host::interrupt`] is asked the sooner after a long one.
    /// `held_bytes` is what Lua holds now.
    fn call(&mut self, argv: &[&[u8]], sink: &mut dyn resp::Sink, held_bytes: usize) -> u64;
    /// Whether what this command may allocate would be evicted for, or refused: garbage is collected first then.
    fn is_short_of_memory(&mut self) -> bool;
    /// Asked some thousand times a second, whatever the script does, whether it may go on. The host knows the clock.
    fn interrupt(&mut self) -> Interrupt;
    /// A line of `redis.log`; `level` is 0 (debug) to 3 (warning).
    fn log(&mut self, level: i64, message: &[u8]);
    /// `redis.set_repl`: bit 0 is the append-only file, bit 1 the replicas.
    fn set_replication(&mut self, flags: i64);
    /// What the script returns holds this error, which goes to its caller. `is_counted`: it came from a command and was counted then.
    fn error_replied(&mut self, text: &[u8], is_counted: bool);
    /// `redis.acl_check_cmd`: whether the user may run this. An error names an unknown command, in Redis' words.
    fn acl_allows(&mut self, argv: &[&[u8]]) -> Result<bool, String>;
}

/// A host's answer to [`Host::interrupt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Go on.
    Continue,
    /// End the script with this error, which it cannot catch. `ERR` is put before the text unless it begins
    /// with a code of its own, as in `-CODE text`.
    Kill(&'static str),
}
