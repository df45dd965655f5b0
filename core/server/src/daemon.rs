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
use std::path::Path;
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
    let (process, parent) = (std::process::id(), std::os::unix::process::parent_id());
    let variable = |name: &str| std::env::var_os(name).is_some();
    let is_contained = || is_in_container(&variable, &Path::exists);
    let is_watched = ends_a_container(process, parent, is_contained) || variable("NOTIFY_SOCKET");
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
/// machine starts programs, too, and is the parent of those whose own has ended: nobody waits for these to end.
fn ends_a_container(process: u32, parent: u32, is_contained: impl FnOnce() -> bool) -> bool {
    process == 1 || parent == 1 && is_contained()
}

/// Whether something tells of a container: our image, Docker, Podman, what most others set, or Kubernetes. In one that runs systemd it is as on
/// a machine: systemd tells what it starts who they are, and may wait for this one to go behind (`Type=forking`).
fn is_in_container(has_variable: &dyn Fn(&str) -> bool, is_there: &dyn Fn(&Path) -> bool) -> bool {
    let variables = ["TANDEM_IN_IMAGE", "container", "KUBERNETES_SERVICE_HOST"];
    let files = ["/.dockerenv", "/run/.containerenv"];
    !has_variable("INVOCATION_ID")
        && (variables.into_iter().any(has_variable)
            || files.into_iter().any(|file| is_there(Path::new(file))))
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
    use super::*;

    #[test]
    fn the_first_process_of_a_container_and_the_one_that_its_init_starts_stay_before_the_terminal() {
        assert!(ends_a_container(1, 0, || false) && ends_a_container(7, 1, || true));
        assert!(!ends_a_container(700, 650, || true), "a shell's");
        assert!(
            !ends_a_container(700, 1, || false),
            "a machine's init has started it, or a script that has ended"
        );
    }

    #[test]
    fn a_container_has_signs_and_systemd_in_one_is_as_on_a_machine() {
        let of = |variables: &[&str], file: &str| {
            is_in_container(&|name| variables.contains(&name), &|path| path == Path::new(file))
        };
        assert!(!of(&[], "") && !of(&["PATH"], "/etc/passwd"));
        assert!(
            of(&["TANDEM_IN_IMAGE"], "") && of(&["container"], "") && of(&["KUBERNETES_SERVICE_HOST"], "")
        );
        assert!(of(&[], "/.dockerenv") && of(&[], "/run/.containerenv"));
        assert!(!of(&["INVOCATION_ID", "container"], "/.dockerenv"));
    }
}
