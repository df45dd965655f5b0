//! The server: boot, the I/O threads' tick, durability, snapshots and the end.
//!
//! Everything that touches clocks, sockets, disks and threads meets here; the crates below are given values.
//! A server is one [`start`], which returns once the data is loaded, and one [`Running::wait`].

#![forbid(unsafe_code)]

mod boot;
mod busy;
mod chores;
mod client;
mod clients;
mod clock;
mod doors;
mod durable;
mod instance;
mod listen;
mod loader;
mod logger;
mod memory;
mod plane;
mod report;
mod run;
mod saver;
mod shared;
mod stop;
mod tick;
mod world;

use std::process::ExitCode;

pub use boot::{Running, start};
use profiles::Profile;

/// jemalloc: it returns memory, and it counts per thread what it gives out, which is what `used_memory` is.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs a server until it is stopped. `args` are the words after the program's name.
///
/// # Errors
/// Whatever keeps it from serving; the text is for standard error.
pub fn run(profile: Profile, args: Vec<String>) -> anyhow::Result<ExitCode> {
    Ok(start(profile, &args, true)?.wait())
}
