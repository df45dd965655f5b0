//! The server: boot, the I/O threads' tick, durability, snapshots and the end.
//!
//! Everything that touches clocks, sockets, disks and threads meets here; the crates below are given values.
//! A server is one [`start`], which returns once the data is loaded, and one [`Running::wait`].

#![forbid(unsafe_code)]

mod allocator;
mod archiving;
mod background;
mod beside;
mod boot;
mod busy;
mod client;
mod clients;
mod clock;
mod completions;
mod context;
mod copy;
mod daemon;
mod durable;
mod feed;
mod files;
mod freeing;
mod instance;
mod introduction;
mod keepsakes;
mod life;
mod limits;
mod listen;
mod live;
mod loader;
mod locks;
mod logger;
mod mail;
mod meters;
mod migrate;
mod notices;
mod older;
mod parked;
mod passwords;
mod plane;
mod replica;
mod report;
mod resync;
mod rewrite;
mod run;
mod saver;
mod shared;
mod stand_in;
mod stop;
mod strangers;
mod tick;
mod unacked;
mod usage;
mod view;

use std::io::Write;
use std::process::ExitCode;

pub use boot::{OnDisk, Running, StartError, Surroundings, start, start_in};
pub use engine::REDIS_VERSION;
use profiles::Profile;

/// jemalloc: it returns memory, and it counts per thread what it gives out, which is what `used_memory` is.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs a server until it is stopped. `args` are the words after the program's name.
///
/// # Errors
/// Whatever keeps it from serving and was not told on standard output yet; the text is for standard error.
pub fn run(profile: Profile, args: Vec<String>) -> anyhow::Result<ExitCode> {
    run_in(&Surroundings::default(), profile, args)
}

/// The same where the surroundings have a say, as in a container.
///
/// # Errors
/// As [`run`].
pub fn run_in(surroundings: &Surroundings, profile: Profile, args: Vec<String>) -> anyhow::Result<ExitCode> {
    if let [word] = args.as_slice()
        && matches!(word.as_str(), "-v" | "--version" | "-h" | "--help")
    {
        let wants_usage = word.trim_start_matches('-').starts_with('h');
        let usage = if wants_usage { format!("\n\n{}", usage::text(profile)) } else { String::new() };
        writeln!(std::io::stdout(), "{}{usage}", version())?;
        return Ok(ExitCode::SUCCESS);
    }
    limits::keep_others_out();
    if daemon::is_wanted(surroundings, profile, &args)? {
        return daemon::start();
    }
    let starter = daemon::Starter::leave();
    let started = start_in(surroundings, profile, &args, true);
    if let Some(starter) = starter {
        starter.tell(started.as_ref().map(|_| ()).map_err(|failed| &failed.error));
    }
    match started {
        Ok(running) => Ok(running.wait()),
        Err(failed) if failed.is_told => Ok(ExitCode::FAILURE),
        Err(failed) => Err(failed.error),
    }
}

/// What the program says about itself.
fn version() -> String {
    // Tools that start servers read this line; `v=` and what follows are where Redis has them.
    format!(
        "Redis server v={} sha=00000000:0 malloc={} bits=64 build=0 (Tandem {})",
        REDIS_VERSION,
        engine::ALLOCATOR,
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_told_as_tools_expect_it() {
        let line = super::version();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..3], ["Redis", "server", "v=7.4.2"]);
        let names: Vec<&str> = words[2..7].iter().filter_map(|word| word.split('=').next()).collect();
        assert_eq!(names, ["v", "sha", "malloc", "bits", "build"]);
        assert!(line.ends_with(&format!("(Tandem {})", env!("CARGO_PKG_VERSION"))), "{line}");
    }
}
