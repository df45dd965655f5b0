//! `tandem up`: both instances on this machine, with nothing prepared.
//!
//! It lays out one directory, makes passwords, an authority and certificates at first start, runs the two
//! instances as children and forwards what they log. An instance that ends by itself takes the other
//! with it: half a pair that looks like a whole one would be found out much later.

mod home;
mod instance;
mod options;

use std::io::{self, ErrorKind, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use control::health::ask;
use control::{Stop, Wish};
use rustix::process::Signal;

use crate::instances::{Name, health_socket};
use crate::say;
use home::Home;
use instance::Instance;

pub(crate) use instance::end_with;
pub(crate) use options::Options;

/// How often one who waits is told what for.
const TELL_PERIOD: Duration = Duration::from_secs(3);

/// How often the children and the clock are looked at.
const ROUND: Duration = Duration::from_millis(100);

/// How long a child may take to stop before it is killed; a last save of a small machine fits.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// What comes so soon after the first signal was caused by the same wish: wrappers signal a process, and its group with it.
const SAME_WISH: Duration = Duration::from_secs(1);

/// How often certificates are checked for renewal.
const RENEWAL_PERIOD: Duration = Duration::from_secs(3600);

/// How long a health question may take.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// Prepares, starts, watches and stops the pair.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let wishes = control::wishes().context("taking over the signals")?;
    check_folder(&options.dir)?;
    check_ports(options)?;
    let home = Home::prepare(options)?;
    let mut pair = Vec::new();
    for name in Name::BOTH {
        match Instance::start(&home, options, name) {
            Ok(instance) => pair.push(instance),
            Err(error) => {
                stop(&mut pair, &wishes);
                return Err(error);
            }
        }
    }
    watch(&home, options, pair, &wishes)
}

/// A folder that a running pair uses is told before anything is started: its servers would answer for ours.
fn check_folder(root: &Path) -> anyhow::Result<()> {
    for name in Name::BOTH {
        if ask(&health_socket(root, name), ASK_PATIENCE).is_ok() {
            bail!(
                "a {} is running from {} already; stop it, or choose another folder with --dir",
                name.as_str(),
                root.display()
            );
        }
    }
    Ok(())
}

/// A port that is named twice or taken is told before anything is started, with what to do about it.
fn check_ports(options: &Options) -> anyhow::Result<()> {
    let mut named: Vec<(String, u16)> = Vec::new();
    for name in Name::BOTH {
        let ports = [("port", options.port(name)), ("metrics-port", options.metrics_port(name))];
        for (what, port) in ports.into_iter().filter(|(_, port)| *port != 0) {
            let option = format!("--{}-{what}", name.as_str());
            if let Some((other, _)) = named.iter().find(|(_, taken)| *taken == port) {
                bail!("{other} and {option} are both {port}; choose another port for one of them");
            }
            named.push((option, port));
        }
    }
    for (option, port) in named {
        let address = SocketAddr::new(options.bind, port);
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                bail!("{address} is in use by another program; stop it, or choose another port with {option}")
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        }
    }
    Ok(())
}

/// Until somebody asks for the end or an instance ends by itself.
fn watch(
    home: &Home,
    options: &Options,
    mut pair: Vec<Instance>,
    wishes: &Receiver<Wish>,
) -> anyhow::Result<ExitCode> {
    let had_terminal = io::stdout().is_terminal();
    let (mut announced, mut rereads) = (false, false);
    let (mut renewed, mut told) = (Instant::now(), Instant::now());
    loop {
        match wishes.recv_timeout(ROUND) {
            Err(RecvTimeoutError::Timeout) => {}
            // A terminal that has gone is none any more.
            Ok(Wish::HangUp) if !had_terminal || io::stdout().is_terminal() => rereads = true,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                say("stopping both instances");
                return Ok(if stop(&mut pair, wishes) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        if let Some(index) = pair.iter_mut().position(Instance::has_ended) {
            let mut early = pair.remove(index);
            stop(&mut pair, wishes);
            bail!("{}", early.last_words());
        }
        if !announced {
            let waits = unready(&pair);
            if waits.is_empty() {
                announced = true;
                announce(home, options)?;
            } else {
                tell_each_period(&mut told, || waits.join("; "));
            }
        }
        // One that has not started up yet would be ended by the signal.
        if rereads && announced {
            rereads = false;
            reread(home, &pair);
        }
        if renewed.elapsed() > RENEWAL_PERIOD {
            renewed = Instant::now();
            renew(home);
        }
    }
}

/// SIGHUP: what is read again goes for both.
fn reread(home: &Home, pair: &[Instance]) {
    say("reading passwords and certificates again");
    renew(home);
    pair.iter().for_each(|instance| instance.signal(Signal::HUP));
}

fn renew(home: &Home) {
    if let Err(error) = home.renew_certificates() {
        say(&format!("warning: {error:#}"));
    }
}

/// Who does not serve yet, in words.
fn unready(pair: &[Instance]) -> Vec<String> {
    let words = |instance: &Instance| {
        let why = instance.readiness().err()?.unwrap_or_else(|| "starting".to_owned());
        Some(format!("waiting for the {}: {why}", instance.name.as_str()))
    };
    pair.iter().filter_map(words).collect()
}

/// Says what is waited for, when nothing was said of it for a while.
fn tell_each_period(told: &mut Instant, text: impl FnOnce() -> String) {
    if told.elapsed() >= TELL_PERIOD {
        *told = Instant::now();
        say(&text());
    }
}

/// Tells how applications connect, once it is known that they can.
fn announce(home: &Home, options: &Options) -> anyhow::Result<()> {
    let mut foreign = Vec::new();
    for name in Name::BOTH {
        match home.password_fits(options, name) {
            Ok(true) => {}
            Ok(false) => foreign.push(name),
            Err(error) => say(&format!("warning: {error:#}")),
        }
    }
    say(&home.connection_strings(options, &foreign, std::io::stdout().is_terminal())?);
    for name in foreign {
        say(&format!(
            "warning: the password in {} does not log in to the {}: another one was kept by ACL SAVE in {} or by CONFIG REWRITE \
             in {}. To go back to it, take the line of the default user, or requirepass, out of them",
            home.password_file(name).display(),
            name.as_str(),
            home.users(name).display(),
            home.settings(name).display()
        ));
    }
    Ok(())
}

/// Asks all to stop and waits; a second signal, or too long a wait, kills. True when all ended well.
fn stop(pair: &mut [Instance], wishes: &Receiver<Wish>) -> bool {
    pair.iter().for_each(|instance| instance.signal(Signal::TERM));
    let begin = Instant::now();
    let (mut killed, mut told) = (false, begin);
    while pair.iter_mut().any(|instance| !instance.has_ended()) {
        let again = match wishes.recv_timeout(ROUND) {
            Ok(wish) => insists(wish, begin.elapsed()),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(ROUND);
                false
            }
        };
        if !killed && (again || begin.elapsed() > STOP_PATIENCE) {
            killed = true;
            say("killing what has not stopped");
            pair.iter().for_each(|instance| instance.signal(Signal::KILL));
        }
        tell_each_period(&mut told, || {
            let left: Vec<&str> =
                pair.iter().filter(|i| i.ended().is_none()).map(|i| i.name.as_str()).collect();
            format!("waiting for the {} to stop; Ctrl-C again kills", left.join(" and the "))
        });
    }
    pair.iter_mut().for_each(Instance::drain);
    pair.iter().all(|instance| instance.ended().is_some_and(|status| status.success()))
}

/// Whether a signal that comes so long after the beginning of the stop asks for more than that. Only a person at a terminal does:
/// who sends SIGTERM has SIGKILL, too.
fn insists(wish: Wish, stopping: Duration) -> bool {
    wish == Wish::End(Stop::Interrupted) && stopping >= SAME_WISH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_interrupt_insists() {
        let (soon, later) = (Duration::from_millis(2), Duration::from_secs(2));
        assert!(insists(Wish::End(Stop::Interrupted), later));
        assert!(!insists(Wish::End(Stop::Interrupted), soon));
        assert!(!insists(Wish::End(Stop::Terminated), later));
        assert!(!insists(Wish::HangUp, later));
    }

    #[test]
    fn a_taken_port_is_told_with_the_option_that_helps() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let none = ["--cache-metrics-port", "0", "--queue-metrics-port", "0"];
        let words = [&none[..], &["--queue-port", &port]].concat();
        // Whoever has the usual port of a cache is of no interest.
        let asked = Options { cache_port: 0, ..Options::of(&words) };
        let error = check_ports(&asked).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("--queue-port"), "{error}");
        drop(taken);
    }

    #[test]
    fn one_port_for_two_is_told_with_both_options() {
        let words = ["--cache-port", "7000", "--queue-metrics-port", "7000"];
        let error = check_ports(&Options::of(&words)).unwrap_err().to_string();
        assert!(error.contains("--cache-port and --queue-metrics-port are both 7000"), "{error}");
    }
}
