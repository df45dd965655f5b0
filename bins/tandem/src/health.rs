//! `tandem health`: is a server fit for clients? Exit code 0 says yes, 1 says no and why.
//!
//! It asks the owner-only socket, so it needs no password and shows none. `--address` asks over the
//! network instead, as a client would: there `NOAUTH`, `LOADING` and `MISCONF` are a no, unlike with
//! `redis-cli ping`, whose exit code is 0 for any reply.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use control::health::{Answer, LINE_BYTES_MAX, ask};

use crate::{say, up};

/// The socket to ask where the command line names nothing. Not an option's default for clap: there it would
/// count as given, and in a container that sets it no other server could be asked.
const SOCKET_VARIABLE: &str = "TANDEM_HEALTH_SOCKET";

/// Which instance of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The evicting cache.
    Cache,
    /// The durable queue.
    Queue,
}

impl Name {
    pub(crate) const BOTH: [Name; 2] = [Name::Cache, Name::Queue];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Name::Cache => "cache",
            Name::Queue => "queue",
        }
    }

    /// The name of its program and of its certificate.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Name::Cache => "tandem-cache",
            Name::Queue => "tandem-queue",
        }
    }
}

/// Options of `tandem health`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The instance to ask; its socket is looked for where systemd and `tandem up` put it.
    #[arg(conflicts_with_all = ["socket", "address"])]
    name: Option<Name>,
    /// The folder of the `tandem up` that runs the instance.
    #[arg(long, requires = "name")]
    dir: Option<PathBuf>,
    /// The health socket to ask. Where nothing is named, $TANDEM_HEALTH_SOCKET.
    #[arg(long, conflicts_with = "address")]
    socket: Option<PathBuf>,
    /// Ask over the network, as HOST:PORT, in place of the socket.
    #[arg(long)]
    address: Option<String>,
    /// Milliseconds to wait for each step.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
}

/// Asks, tells and judges.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_millis(options.timeout_ms);
    let answer = match (&options.address, options.name, &options.socket) {
        (Some(address), _, _) => over_network(address, timeout)?,
        (None, Some(name), _) => ask(&socket_of(name, options.dir.as_deref())?, timeout)?,
        (None, None, Some(socket)) => ask(socket, timeout)?,
        (None, None, None) => match std::env::var_os(SOCKET_VARIABLE) {
            Some(socket) => ask(Path::new(&socket), timeout)?,
            None => bail!("say which: cache, queue, --socket PATH or --address HOST:PORT"),
        },
    };
    let (text, code) = match answer {
        Answer::Ready(status) if status.is_empty() => ("healthy".to_owned(), ExitCode::SUCCESS),
        Answer::Ready(status) => (format!("healthy: {status}"), ExitCode::SUCCESS),
        Answer::NotReady(reason) => (format!("not ready: {reason}"), ExitCode::FAILURE),
        Answer::NotAlive(reason) => (format!("not alive: {reason}"), ExitCode::FAILURE),
    };
    say(&text);
    Ok(code)
}

/// The socket in the folder named, or the first of the usual places where there is one.
fn socket_of(name: Name, dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = dir {
        return Ok(up::health_socket(dir, name));
    }
    let system = Path::new("/run").join(name.program()).join("health.sock");
    let local = up::health_socket(Path::new(up::DIRECTORY), name);
    match [&system, &local].into_iter().find(|socket| socket.exists()) {
        Some(socket) => Ok(socket.clone()),
        None => bail!(
            "no {} was found: there is neither {} (systemd) nor {} (`tandem up` in this folder). Name the folder of \
             `tandem up` with --dir, or a socket with --socket",
            name.as_str(),
            system.display(),
            local.display()
        ),
    }
}

/// One PING as any client sends it. The first line that comes back decides.
fn over_network(address: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let resolved = address
        .to_socket_addrs()
        .with_context(|| format!("{address} is not HOST:PORT"))?
        .next()
        .with_context(|| format!("{address} has no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&resolved, timeout).with_context(|| format!("no server at {address}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut line = Vec::new();
    stream
        .write_all(b"*1\r\n$4\r\nPING\r\n")
        .and_then(|()| BufReader::new(stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line))
        .with_context(|| format!("the server at {address} did not answer"))?;
    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
    Ok(match line.as_str() {
        "+PONG" => Answer::Ready(String::new()),
        "" => Answer::NotReady("the connection was closed without an answer".to_owned()),
        other => Answer::NotReady(other.trim_start_matches('-').to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn ping_answered_with(reply: &'static [u8]) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 14];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"*1\r\n$4\r\nPING\r\n");
            stream.write_all(reply).unwrap();
        });
        let answer = over_network(&address, Duration::from_secs(10)).unwrap();
        server.join().unwrap();
        answer
    }

    #[test]
    fn only_pong_is_healthy_over_the_network() {
        assert_eq!(ping_answered_with(b"+PONG\r\n"), Answer::Ready(String::new()));
        for refusal in [
            &b"-NOAUTH Authentication required.\r\n"[..],
            b"-LOADING Redis is loading the dataset in memory\r\n",
            b"-MISCONF Errors writing to the AOF file\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"",
        ] {
            assert!(matches!(ping_answered_with(refusal), Answer::NotReady(_)));
        }
        let Answer::NotReady(why) = ping_answered_with(b"-NOAUTH Authentication required.\r\n") else {
            panic!("must be a refusal")
        };
        assert_eq!(why, "NOAUTH Authentication required.");
    }

    #[test]
    fn a_folder_names_the_socket_in_it() {
        let socket = socket_of(Name::Queue, Some(Path::new("/srv/pair"))).unwrap();
        assert_eq!(socket, Path::new("/srv/pair/queue/health.sock"));
    }

    #[test]
    fn where_nothing_runs_all_places_are_named() {
        let error = socket_of(Name::Queue, None).unwrap_err().to_string();
        assert!(error.contains("/run/tandem-queue/health.sock"), "{error}");
        assert!(error.contains("tandem-data/queue/health.sock") && error.contains("--dir"), "{error}");
    }

    #[test]
    fn nobody_at_the_address_is_an_error_that_names_it() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = over_network(&address, Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains(&address));
    }
}
