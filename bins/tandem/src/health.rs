//! `tandem health`: is a server fit for clients? Exit code 0 says yes, 1 says no and why.
//!
//! It asks the owner-only socket, so it needs no password and shows none. `--address` asks over the
//! network instead: the endpoint of the metrics, or a server as a client would. There `NOAUTH`, `LOADING` and `MISCONF`
//! are a no, unlike with `redis-cli ping`, whose exit code is 0 for any reply.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use control::health::{Answer, LINE_BYTES_MAX, ask, ask_json};
use control::probe::speaks_tls;

use crate::instances::{DIRECTORY, Name, health_socket, is_closed};
use crate::{container, say};

/// The socket to ask where the command line names nothing. Not an option's default for clap: there it would
/// count as given, and in a container that sets it no other server could be asked.
const SOCKET_VARIABLE: &str = "TANDEM_HEALTH_SOCKET";

/// What stands below the options in the help.
const MORE_HELP: &str = "\
Exit codes:
  0  it is fit for clients, also while a script runs too long (BUSY) or memory is full (FULL), which the line says
  1  it is not, or was not reached; the line, or standard error, says why
  2  the options are wrong

Examples:
  tandem health queue
  tandem health cache --dir /srv/tandem --json
  tandem health --address 127.0.0.1:9121";

/// Options of `tandem health`.
#[derive(Debug, Args)]
#[command(after_help = MORE_HELP)]
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
    /// Ask over the network, as HOST:PORT, in place of the socket: the port of the metrics, or a server without a password;
    /// without TLS.
    #[arg(long)]
    address: Option<String>,
    /// Milliseconds to wait for each step.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
    /// Print one JSON object: alive, ready, reason, loading_percent, busy, full, archive, replicas, link, stopping, status.
    #[arg(long)]
    json: bool,
}

/// What is said of a server that wants a password.
const NO_PASSWORD: &str = "--address gives no password: ask the port of the server's metrics, or its health socket \
                           (`tandem health cache` or `queue`, or --socket PATH)";

/// Whom to ask.
enum Asked<'a> {
    Socket(PathBuf),
    Address(&'a str),
}

/// Asks, tells and judges.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_millis(options.timeout_ms);
    let outcome = asked(options).and_then(|asked| match asked {
        Asked::Address(address) => over_network(address, timeout),
        Asked::Socket(socket) if options.json => told_in_json(&socket, timeout),
        Asked::Socket(socket) => Ok(Told { answer: ask(&socket, timeout)?, json: None }),
    });
    let told = match outcome {
        Err(error) if options.json => Told { answer: Answer::NotAlive(format!("{error:#}")), json: None },
        outcome => outcome?,
    };
    say(&match options.json {
        true => told.json.unwrap_or_else(|| told.answer.to_json()),
        false => sentence(&told.answer),
    });
    Ok(match told.answer {
        Answer::Ready(_) => ExitCode::SUCCESS,
        Answer::NotReady(_) | Answer::NotAlive(_) => ExitCode::FAILURE,
    })
}

/// An answer, and the object that the server itself gave, if it gave one.
#[derive(Debug)]
struct Told {
    answer: Answer,
    json: Option<String>,
}

fn sentence(answer: &Answer) -> String {
    match answer {
        Answer::Ready(status) if status.is_empty() => "healthy".to_owned(),
        Answer::Ready(status) => format!("healthy: {status}"),
        Answer::NotReady(reason) => format!("not ready: {reason}"),
        Answer::NotAlive(reason) => format!("not alive: {reason}"),
    }
}

fn asked(options: &Options) -> anyhow::Result<Asked<'_>> {
    Ok(match (&options.address, options.name, &options.socket) {
        (Some(address), _, _) => Asked::Address(address),
        (None, Some(name), _) => Asked::Socket(socket_of(name, options.dir.as_deref())?),
        (None, None, Some(socket)) => Asked::Socket(socket.clone()),
        (None, None, None) => match std::env::var_os(SOCKET_VARIABLE) {
            Some(socket) => Asked::Socket(PathBuf::from(socket)),
            None => match container::health_sockets().find(|socket| socket.exists()) {
                Some(socket) => Asked::Socket(socket),
                None => bail!("say which: cache, queue, --socket PATH or --address HOST:PORT"),
            },
        },
    })
}

fn told_in_json(socket: &Path, timeout: Duration) -> anyhow::Result<Told> {
    let json = ask_json(socket, timeout)?;
    Ok(Told { answer: judged_by_json(&json), json: Some(json) })
}

/// The socket in the folder named, or the first of the usual places where there is one. One that may not be looked at counts as
/// there: to ask it tells why it cannot be asked.
fn socket_of(name: Name, dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = dir {
        return Ok(health_socket(dir, name));
    }
    let system = Path::new("/run").join(name.program()).join("health.sock");
    let local = health_socket(Path::new(DIRECTORY), name);
    let both = [system, local];
    let seen = both.iter().position(|socket| socket.exists());
    match seen.or_else(|| both.iter().position(|socket| is_closed(socket))) {
        Some(at) => Ok(both[at].clone()),
        None => bail!(
            "no {} was found: there is neither {} (systemd) nor {} (`tandem up` in this folder). Name the folder of \
             `tandem up` with --dir, or a socket with --socket",
            name.as_str(),
            both[0].display(),
            both[1].display()
        ),
    }
}

/// One PING as any client sends it, whose first line decides; the address of the metrics is asked for `/readyz` instead.
fn over_network(address: &str, timeout: Duration) -> anyhow::Result<Told> {
    let resolved = resolved(address)?;
    let said = told_by(resolved, address, b"*1\r\n$4\r\nPING\r\n", timeout);
    if is_odd(&said) && speaks_tls(resolved, timeout) {
        bail!(
            "{address} speaks TLS, and --address does not: ask the server's health socket (`tandem health cache` or `queue`, or \
             --socket PATH), or over TLS with `tandem cli --tls`"
        );
    }
    let said = said?;
    if said.starts_with("HTTP/") {
        let request = b"GET /readyz HTTP/1.1\r\nHost: tandem\r\nConnection: close\r\n\r\n";
        let said = told_by(resolved, address, request, timeout)?;
        let json = said.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
        return Ok(Told { answer: judged_by_http(&said), json: json.filter(|body| body.starts_with('{')) });
    }
    let answer = match said.lines().next().unwrap_or_default() {
        "+PONG" => Answer::Ready(String::new()),
        // It is alive and will go on.
        busy if busy.starts_with("-BUSY ") => Answer::Ready(busy.trim_start_matches('-').to_owned()),
        locked if locked.starts_with("-NOAUTH ") => {
            Answer::NotReady(format!("{} {NO_PASSWORD}", locked.trim_start_matches('-')))
        }
        refused if refused.starts_with('-') => Answer::NotReady(refused.trim_start_matches('-').to_owned()),
        "" => Answer::NotReady("the connection was closed without an answer".to_owned()),
        other => Answer::NotReady(other.to_owned()),
    };
    Ok(Told { answer, json: None })
}

/// Whether this may be what a port that speaks only TLS says to plaintext.
fn is_odd(said: &anyhow::Result<String>) -> bool {
    match said {
        Ok(said) => {
            !said.starts_with(['+', '-', 'H'])
                || said.starts_with("HTTP/1.1 400")
                || said.contains("requires TLS")
        }
        Err(_) => true,
    }
}

fn resolved(address: &str) -> anyhow::Result<SocketAddr> {
    let mut all = address.to_socket_addrs().with_context(|| format!("{address} is not HOST:PORT"))?;
    all.next().with_context(|| format!("{address} has no address"))
}

/// What a server says to some bytes: a line, or a whole answer over HTTP.
fn told_by(resolved: SocketAddr, address: &str, request: &[u8], timeout: Duration) -> anyhow::Result<String> {
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

/// A text in a server's object, as far as its first quotation mark.
fn text_in(json: &str, name: &str) -> Option<String> {
    let (_, behind) = json.split_once(&format!("\"{name}\":\""))?;
    behind.split('"').next().map(str::to_owned)
}

/// The answer of `/readyz`: its status, and the reason in it where it tells one.
fn judged_by_http(said: &str) -> Answer {
    let first = said.lines().next().unwrap_or_default();
    match first.split(' ').nth(1) {
        Some("200") => {
            let state = |name, word| text_in(said, name).map(|why| format!("{word} {why}; "));
            let state = state("busy", "BUSY").or_else(|| state("full", "FULL")).unwrap_or_default();
            let status = text_in(said, "status").unwrap_or_default();
            // As the health socket's line has them.
            let troubles = ["link", "archive"].map(|name| text_in(said, name));
            let line = std::iter::once(status).chain(troubles.into_iter().flatten());
            Answer::Ready(state + &line.collect::<Vec<_>>().join("; "))
        }
        _ => Answer::NotReady(text_in(said, "reason").unwrap_or_else(|| first.to_owned())),
    }
}

/// The same for what the socket says, which has no status before it.
fn judged_by_json(json: &str) -> Answer {
    match json.contains("\"ready\":true,") {
        true => Answer::Ready(text_in(json, "status").unwrap_or_default()),
        false => Answer::NotReady(text_in(json, "reason").unwrap_or_default()),
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
        let told = over_network(&address, Duration::from_secs(10)).unwrap();
        server.join().unwrap();
        told.answer
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
        assert!(why.starts_with("NOAUTH Authentication required. ") && why.contains("--socket"), "{why}");
    }

    #[test]
    fn a_port_that_speaks_tls_is_told_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for reply in [&b""[..], b"\x16\x03\x03\x00\x7a"] {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.write_all(reply).unwrap();
            }
        });
        let error = over_network(&address, Duration::from_secs(10)).unwrap_err().to_string();
        server.join().unwrap();
        assert!(error.contains("speaks TLS") && error.contains("tandem health cache"), "{error}");
    }

    #[test]
    fn the_metrics_endpoint_tells_by_its_status_and_reason() {
        let body = r#"{"alive":true,"ready":true,"reason":null,"status":"7 keys, serving"}"#;
        let ready = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}\n");
        assert_eq!(judged_by_http(&ready), Answer::Ready("7 keys, serving".to_owned()));
        let tight = ready.replace("\"reason\":null", "\"reason\":null,\"busy\":null,\"full\":\"9M of 10M\"");
        assert_eq!(judged_by_http(&tight), Answer::Ready("FULL 9M of 10M; 7 keys, serving".to_owned()));
        let apart = ready.replace("\"reason\":null", "\"archive\":\"late\",\"link\":\"no link\"");
        assert_eq!(judged_by_http(&apart), Answer::Ready("7 keys, serving; no link; late".to_owned()));
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
