//! The health socket's one-line protocol, and the client side of it.
//!
//! A local socket that only its owner may open needs no password, so `tandem health` never holds one.
//! The client writes one word and a line break, the server one line, and the connection ends:
//!
//! | asked | answered |
//! |---|---|
//! | `health` | `READY <status>`, `UNREADY <reason>` or `DEAD <reason>` |
//! | `json` | the same as one JSON object |
//! | `place` | `PLACE <address>:<port> plain` or `… tls`: where a client on this machine connects; or `NOWHERE` |
//!
//! Socket paths are limited to about 100 bytes by the kernel. Longer ones are reached through the open
//! directory, so that a deep data directory works.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::instance::{Health, Place};

/// Longest line in either direction, in bytes.
pub const LINE_BYTES_MAX: u64 = 4096;

/// Path bytes the kernel takes for a socket, less the closing NUL and some room for a temporary suffix.
const SOCKET_PATH_BYTES_MAX: usize = 92;

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Clients can be served; a word on how it does.
    Ready(String),
    /// Alive, but clients should not be sent here; why.
    NotReady(String),
    /// A restart is needed; why.
    NotAlive(String),
}

impl Answer {
    /// Judges a server's condition.
    pub fn of(health: &Health) -> Answer {
        if let Some(reason) = health.not_alive() {
            Answer::NotAlive(reason)
        } else if let Some(reason) = health.not_ready() {
            Answer::NotReady(reason)
        } else if let Some(busy) = &health.busy {
            Answer::Ready(format!("BUSY {busy}"))
        } else if let Some(full) = &health.full {
            Answer::Ready(format!("FULL {full}; {}", health.status))
        } else {
            let troubles = [&health.replicas, &health.link, &health.archive].into_iter().flatten();
            let parts = std::iter::once(&health.status).chain(troubles).map(String::as_str);
            Answer::Ready(parts.collect::<Vec<_>>().join("; "))
        }
    }

    /// As one JSON object, where the server has given none.
    pub fn to_json(&self) -> String {
        let (alive, ready, reason, status) = match self {
            Answer::Ready(status) => (true, true, None, status.as_str()),
            Answer::NotReady(reason) => (true, false, Some(reason.as_str()), ""),
            Answer::NotAlive(reason) => (false, false, Some(reason.as_str()), ""),
        };
        object((alive, ready), reason, None, [None; 5], (false, status))
    }

    /// The line without its break.
    pub fn to_line(&self) -> String {
        let (word, text) = match self {
            Answer::Ready(text) => ("READY", text),
            Answer::NotReady(text) => ("UNREADY", text),
            Answer::NotAlive(text) => ("DEAD", text),
        };
        let mut line = format!("{word} {}", text.replace(['\r', '\n'], " "));
        let mut end = line.len().min(LINE_BYTES_MAX as usize - 1);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line
    }

    /// Reads a line; `None` when it is not one of this protocol.
    pub fn parse(line: &str) -> Option<Answer> {
        let line = line.trim_end();
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = text.to_owned();
        match word {
            "READY" => Some(Answer::Ready(text)),
            "UNREADY" => Some(Answer::NotReady(text)),
            "DEAD" => Some(Answer::NotAlive(text)),
            _ => None,
        }
    }
}

const PLAIN: &str = "plain";
const TLS: &str = "tls";

/// A place, or that there is none, as a line without its break.
pub fn place_line(place: Option<Place>) -> String {
    match place {
        Some(Place { address, needs_tls }) => {
            format!("PLACE {address} {}", if needs_tls { TLS } else { PLAIN })
        }
        None => "NOWHERE".to_owned(),
    }
}

/// Reads such a line; `None` when it is none of this protocol, and when there is no place.
fn place_of(line: &str) -> Option<Place> {
    let mut words = line.trim_end().strip_prefix("PLACE ")?.split(' ');
    let address = words.next()?.parse().ok()?;
    let needs_tls = match words.next()? {
        TLS => true,
        PLAIN => false,
        _ => return None,
    };
    Some(Place { address, needs_tls })
}

/// The condition as one JSON object, keys in fixed order.
pub fn to_json(health: &Health) -> String {
    let percent = health.loading.map(u32::from);
    object(
        (health.not_alive().is_none(), health.not_ready().is_none()),
        health.not_ready().as_deref(),
        percent,
        [&health.busy, &health.full, &health.archive, &health.replicas, &health.link].map(Option::as_deref),
        (health.stopping, &health.status),
    )
}

fn object(
    (alive, ready): (bool, bool),
    reason: Option<&str>,
    loading_percent: Option<u32>,
    [busy, full, archive, replicas, link]: [Option<&str>; 5],
    (stopping, status): (bool, &str),
) -> String {
    let text = |value: Option<&str>| value.map_or("null".to_owned(), json_string);
    format!(
        "{{\"alive\":{alive},\"ready\":{ready},\"reason\":{},\"loading_percent\":{},\"busy\":{},\"full\":{},\
         \"archive\":{},\"replicas\":{},\"link\":{},\"stopping\":{stopping},\"status\":{}}}",
        text(reason),
        loading_percent.map_or("null".to_owned(), |percent| percent.to_string()),
        text(busy),
        text(full),
        text(archive),
        text(replicas),
        text(link),
        json_string(status),
    )
}

/// Why no answer came.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens there.
    Unreachable(PathBuf, io::Error),
    /// The connection failed or took too long.
    Io(PathBuf, io::Error),
    /// What came is not of this protocol.
    Garbled(PathBuf),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Unreachable(path, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "{} is for the user that runs the server, and for root: ask as one of them (sudo)",
                path.display()
            ),
            AskError::Unreachable(path, error) => write!(f, "no server at {}: {error}", path.display()),
            AskError::Io(path, error) => {
                write!(f, "the server at {} did not answer: {error}", path.display())
            }
            AskError::Garbled(path) => write!(f, "{} is not a health socket", path.display()),
        }
    }
}

impl std::error::Error for AskError {}

/// Asks the server behind `socket` how it does; gives up after `timeout` for each step.
///
/// # Errors
/// Nobody listens, nobody answers in time, or somebody else answers.
pub fn ask(socket: &Path, timeout: Duration) -> Result<Answer, AskError> {
    Answer::parse(&answer_to(socket, "health", timeout)?).ok_or_else(|| AskError::Garbled(socket.to_owned()))
}

/// The same as the JSON object of `/readyz`.
///
/// # Errors
/// As [`ask`].
pub fn ask_json(socket: &Path, timeout: Duration) -> Result<String, AskError> {
    let line = answer_to(socket, "json", timeout)?;
    let json = line.trim_end();
    match json.starts_with('{') && json.ends_with('}') {
        true => Ok(json.to_owned()),
        false => Err(AskError::Garbled(socket.to_owned())),
    }
}

/// Asks the server behind `socket` where clients on this machine reach it.
///
/// # Errors
/// As [`ask`]; and when it cannot tell.
pub fn find(socket: &Path, timeout: Duration) -> Result<Place, AskError> {
    place_of(&answer_to(socket, "place", timeout)?).ok_or_else(|| AskError::Garbled(socket.to_owned()))
}

/// The line that answers one word.
fn answer_to(socket: &Path, question: &str, timeout: Duration) -> Result<String, AskError> {
    let io_error = |error| AskError::Io(socket.to_owned(), error);
    let unreachable = |error| AskError::Unreachable(socket.to_owned(), error);
    let reached = Reached::new(socket).map_err(unreachable)?;
    let mut stream = UnixStream::connect(&reached.path).map_err(unreachable)?;
    stream.set_read_timeout(Some(timeout)).map_err(io_error)?;
    stream.set_write_timeout(Some(timeout)).map_err(io_error)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(io_error)?;
    let mut line = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut line).map_err(io_error)?;
    Ok(line)
}

/// A socket's path in a form the kernel takes, and the open directory that may lead to it.
pub(crate) struct Reached {
    pub(crate) path: PathBuf,
    _directory: Option<File>,
}

impl Reached {
    pub(crate) fn new(path: &Path) -> io::Result<Reached> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Reached { path: path.to_owned(), _directory: None });
        }
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, "not a path of a file");
        let directory = File::open(path.parent().ok_or_else(bad)?)?;
        let name = path.file_name().ok_or_else(bad)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Reached { path, _directory: Some(directory) })
    }
}

fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_survives_its_line() {
        for answer in [
            Answer::Ready(String::new()),
            Answer::Ready("12 keys".into()),
            Answer::NotReady("LOADING the data set, 3% done".into()),
            Answer::NotAlive("x".into()),
        ] {
            assert_eq!(Answer::parse(&(answer.to_line() + "\n")), Some(answer));
        }
        assert_eq!(Answer::parse("+PONG"), None);
        assert_eq!(Answer::NotReady("two\nlines".into()).to_line(), "UNREADY two lines");
        assert!(Answer::Ready("é".repeat(9000)).to_line().len() < LINE_BYTES_MAX as usize);
    }

    #[test]
    fn a_place_survives_its_line() {
        for (address, needs_tls) in [("127.0.0.1:6379", false), ("[::1]:1", true)] {
            let place = Place { address: address.parse().unwrap(), needs_tls };
            assert_eq!(place_of(&(place_line(Some(place)) + "\n")), Some(place));
        }
        for none in [place_line(None).as_str(), "PLACE x plain", "PLACE 127.0.0.1:1", "ERROR ask for health"]
        {
            assert_eq!(place_of(none), None, "{none}");
        }
    }

    #[test]
    fn json_is_escaped_and_complete() {
        let health = Health {
            persistence_fault: Some("disk \"full\"\n".into()),
            loading: None,
            status: "a\\b".into(),
            ..Health::good()
        };
        assert_eq!(
            to_json(&health),
            "{\"alive\":true,\"ready\":false,\"reason\":\"persistence fault: disk \\\"full\\\"\\u000a\",\
             \"loading_percent\":null,\"busy\":null,\"full\":null,\"archive\":null,\"replicas\":null,\"link\":null,\"stopping\":false,\"status\":\"a\\\\b\"}"
        );
    }

    #[test]
    fn an_answer_has_the_same_keys_in_json() {
        let json = Answer::NotAlive("no server at /x: \"gone\"".into()).to_json();
        let keys = |json: &str| -> Vec<String> {
            json.split(['{', ',']).filter_map(|part| Some(part.split_once("\":")?.0.to_owned())).collect()
        };
        assert_eq!(keys(&json), keys(&to_json(&Health::good())));
        assert!(
            json.starts_with("{\"alive\":false,\"ready\":false,\"reason\":\"no server at /x: \\\"gone"),
            "{json}"
        );
        assert!(Answer::Ready("7 keys".into()).to_json().ends_with("\"status\":\"7 keys\"}"));
    }

    #[test]
    fn what_belongs_to_another_user_is_told_as_such() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = AskError::Unreachable(PathBuf::from("/run/x/health.sock"), denied).to_string();
        assert!(
            text.starts_with("/run/x/health.sock is for the user that runs") && text.contains("sudo"),
            "{text}"
        );
    }

    #[test]
    fn a_full_server_says_so_and_is_ready() {
        let health = Health { full: Some("9M of 10M".into()), status: "7 keys".into(), ..Health::good() };
        assert_eq!(Answer::of(&health).to_line(), "READY FULL 9M of 10M; 7 keys");
        assert!(
            to_json(&health).contains("\"ready\":true,")
                && to_json(&health).contains("\"full\":\"9M of 10M\"")
        );
    }

    #[test]
    fn what_is_wrong_beside_the_service_stands_behind_the_status() {
        let health = Health {
            link: Some("no link".into()),
            archive: Some("late".into()),
            replicas: Some("too few".into()),
            status: "7 keys".into(),
            ..Health::good()
        };
        assert_eq!(Answer::of(&health).to_line(), "READY 7 keys; too few; no link; late");
        assert!(
            to_json(&health).contains("\"archive\":\"late\",\"replicas\":\"too few\",\"link\":\"no link\"")
        );
    }

    #[test]
    fn nobody_there_is_told_with_the_path() {
        let error = ask(Path::new("/nonexistent/health.sock"), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/health.sock"), "{error}");
    }
}
