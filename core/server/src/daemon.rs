//! `--daemonize yes`: the server goes on behind the terminal, and whoever has started it gets it back once it serves.
//!
//! A process that has threads cannot be forked without harm, so the program is started once more, in a session of its own. The two hold
//! the ends of a socket, which is the second one's standard input: what comes there before it closes is why the server did not start.
//! A file's `daemonize yes` stays without effect, since systemd, containers and supervisors, which stock files know nothing of, would take
//! the server for ended.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use config::Origin;
use profiles::Profile;

use crate::boot::{Surroundings, configure};

/// Set for the second process: its standard input is the socket.
const BEHIND: &str = "TANDEM_BEHIND_TERMINAL";

/// What the second process says when it serves.
const SERVES: &[u8] = b"\0";

/// Most of what is read of why it does not, bytes.
const REASON_BYTES_MAX: u64 = 16 << 10;

/// Whether the command line asks for it, and nobody waits for this very process to end.
///
/// # Errors
/// The first mistake in the configuration, and one that comes by standard input, which cannot be read twice.
pub(crate) fn is_wanted(
    surroundings: &Surroundings,
    profile: Profile,
    args: &[String],
) -> anyhow::Result<bool> {
    let asks = args.iter().any(|word| word.trim_start_matches('-').eq_ignore_ascii_case("daemonize"));
    let is_systemds = std::env::var_os("INVOCATION_ID").is_some();
    let is_watched = ends_a_container(std::process::id(), std::os::unix::process::parent_id(), is_systemds)
        || std::env::var_os("NOTIFY_SOCKET").is_some();
    if !asks || is_watched || is_behind() {
        return Ok(false);
    }
    if config::read_args(args).stdin {
        bail!("daemonize cannot be combined with a configuration on standard input");
    }
    let config = configure(surroundings, profile, args)?.0.config;
    Ok(config.daemonize && config.origin("daemonize") == Some(&Origin::CommandLine))
}

/// Whether a container would end with a process: its first one, or the one that its init (`docker run --init`) has started. That of a
/// machine starts programs, too, and systemd may wait for this one to go behind (`Type=forking`); it tells them who they are.
fn ends_a_container(process: u32, parent: u32, is_systemds: bool) -> bool {
    process == 1 || parent == 1 && !is_systemds
}

/// Whether this is the second process.
fn is_behind() -> bool {
    std::env::var_os(BEHIND).is_some()
}

/// Starts the second process and waits until it serves or has ended.
///
/// # Errors
/// Why it does not serve.
pub(crate) fn start() -> anyhow::Result<ExitCode> {
    let (ours, theirs) = UnixStream::pair().context("Can't go behind the terminal")?;
    let mut words = std::env::args_os();
    let mut command = Command::new(std::env::current_exe().context("Can't go behind the terminal")?);
    // It is who it was called.
    command.arg0(words.next().unwrap_or_default()).args(words).env(BEHIND, "1");
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("Can't go behind the terminal")?;
    // With it go the other end's copies here.
    drop(command);
    let mut said = Vec::new();
    ours.take(REASON_BYTES_MAX).read_to_end(&mut said).context("Can't hear of the server")?;
    match said.as_slice() {
        SERVES => Ok(ExitCode::SUCCESS),
        b"" => bail!("the server has ended before it served; its log tells why"),
        why => bail!("{}", String::from_utf8_lossy(why)),
    }
}

/// The second process' way to the first.
pub(crate) struct Starter(UnixStream);

impl Starter {
    /// Leaves the terminal, if this is the second process.
    pub(crate) fn leave() -> Option<Starter> {
        if !is_behind() {
            return None;
        }
        // Who leads a session already has left.
        let _ = rustix::process::setsid();
        std::io::stdin().as_fd().try_clone_to_owned().ok().map(|socket| Starter(UnixStream::from(socket)))
    }

    /// The server serves, or does not and why. Who does not listen any more need not hear it.
    pub(crate) fn tell(mut self, outcome: Result<(), &anyhow::Error>) {
        let _ = match outcome {
            Ok(()) => self.0.write_all(SERVES),
            Err(why) => self.0.write_all(format!("{why:#}").as_bytes()),
        };
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::ends_a_container;

    #[test]
    fn the_first_process_of_a_container_and_the_one_that_its_init_starts_stay_before_the_terminal() {
        assert!(ends_a_container(1, 0, false) && ends_a_container(7, 1, false));
        assert!(!ends_a_container(700, 650, false) && !ends_a_container(700, 1, true));
    }
}
