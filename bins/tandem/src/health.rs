//! `tandem health`: is a server fit for clients? Exit code 0 says yes, 1 says no and why.
//!
//! It asks the owner-only socket, so it needs no password and shows none. `--address` asks over the
//! network instead: the endpoint of the metrics, or a server as a client would. There `NOAUTH`, `LOADING` and `MISCONF`
//! are a no, unlike with `redis-cli ping`, whose exit code is 0 for any reply.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use control::health::{Answer, LINE_BYTES_MAX, ask};

use crate::{image, say, up};

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
    /// The health socket to ask. Where nothing is named, $TANDEM_HEALTH_SOCKET, or that of the container.
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
            None => match image::health_sockets().find(|socket| socket.exists()) {
                Some(socket) => ask(&socket, timeout)?,
                None => bail!("say which: cache, queue, --socket PATH or --address HOST:PORT"),
            },
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

/// One PING as any client sends it, whose first line decides; the address of the metrics is asked for `/readyz` instead.
fn over_network(address: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let said = told_by(address, b"*1\r\n$4\r\nPING\r\n", timeout)?;
    if said.starts_with("HTTP/") {
        let request = b"GET /readyz HTTP/1.1\r\nHost: tandem\r\nConnection: close\r\n\r\n";
        return Ok(judged_by_http(&told_by(address, request, timeout)?));
    }
    Ok(match said.lines().next().unwrap_or_default() {
        "+PONG" => Answer::Ready(String::new()),
        // It is alive and will go on.
        busy if busy.starts_with("-BUSY ") => Answer::Ready(busy.trim_start_matches('-').to_owned()),
        "" => Answer::NotReady("the connection was closed without an answer".to_owned()),
        other => Answer::NotReady(other.trim_start_matches('-').to_owned()),
    })
}

/// What a server says to some bytes: a line, or a whole answer over HTTP.
fn told_by(address: &str, request: &[u8], timeout: Duration) -> anyhow::Result<String> {
    let resolved = address
        .to_socket_addrs()
        .with_context(|| format!("{address} is not HOST:PORT"))?
        .next()
        .with_context(|| format!("{address} has no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&resolved, timeout).with_context(|| format!("no server at {address}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let silent = || format!("the server at {address} did not answer within {} ms", timeout.as_millis());
    stream.write_all(request).with_context(silent)?;
    let (mut reader, mut said) = (BufReader::new(stream).take(LINE_BYTES_MAX), Vec::new());
    reader.read_until(b'\n', &mut said).with_context(silent)?;
    if said.starts_with(b"HTTP/") {
        reader.read_to_end(&mut said).with_context(silent)?;
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The answer of `/readyz`: its status, and the reason in it where it tells one.
fn judged_by_http(said: &str) -> Answer {
    let text_of = |name: &str| {
        let (_, behind) = said.split_once(&format!("\"{name}\":\""))?;
        behind.split('"').next().map(str::to_owned)
    };
    let first = said.lines().next().unwrap_or_default();
    match first.split(' ').nth(1) {
        Some("200") => {
            let state = |name, word| text_of(name).map(|why| format!("{word} {why}; "));
            let state = state("busy", "BUSY").or_else(|| state("full", "FULL")).unwrap_or_default();
            Answer::Ready(state + &text_of("status").unwrap_or_default())
        }
        _ => Answer::NotReady(text_of("reason").unwrap_or_else(|| first.to_owned())),
    }
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
        let busy = "BUSY Redis is busy running a script.";
        assert_eq!(
            ping_answered_with(b"-BUSY Redis is busy running a script.\r\n"),
            Answer::Ready(busy.to_owned())
        );
        for refusal in [
            &b"-NOAUTH Authentication required.\r\n"[..],
            b"-LOADING Redis is loading the dataset in memory\r\n",
            b"-MISCONF Errors writing to the AOF file\r\n",
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
    fn the_metrics_endpoint_tells_by_its_status_and_reason() {
        let body = r#"{"alive":true,"ready":true,"reason":null,"status":"7 keys, serving"}"#;
        let ready = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}\n");
        assert_eq!(judged_by_http(&ready), Answer::Ready("7 keys, serving".to_owned()));
        let tight = ready.replace("\"reason\":null", "\"reason\":null,\"busy\":null,\"full\":\"9M of 10M\"");
        assert_eq!(judged_by_http(&tight), Answer::Ready("FULL 9M of 10M; 7 keys, serving".to_owned()));
        let full = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"reason\":\"loading\",\"status\":\"\"}";
        assert_eq!(judged_by_http(full), Answer::NotReady("loading".to_owned()));
        let other = "HTTP/1.1 404 Not Found\r\n\r\nnot found";
        assert_eq!(judged_by_http(other), Answer::NotReady("HTTP/1.1 404 Not Found".to_owned()));
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
