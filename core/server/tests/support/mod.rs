//! A server in this process on a port of its own, and clients that speak bytes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part; a failed step fails the test"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use profiles::Profile;
use tandem_server::{OnDisk, Running, Surroundings, start_in};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    running: Option<Running>,
    pub address: SocketAddr,
}

/// Starts a server with these further words.
pub fn server(dir: &Path, words: &[&str]) -> Server {
    server_as(Profile::Plain, dir, words)
}

/// The same with a profile.
pub fn server_as(profile: Profile, dir: &Path, words: &[&str]) -> Server {
    try_server(profile, dir, words).unwrap()
}

/// The same with a disk of the test's own.
pub fn server_on(disk: OnDisk, dir: &Path, words: &[&str]) -> Server {
    let surroundings = Surroundings { disk, ..Surroundings::default() };
    try_server_in(&surroundings, Profile::Plain, dir, words).unwrap()
}

/// Why a server with these words does not start.
pub fn refusal(dir: &Path, words: &[&str]) -> String {
    try_server(Profile::Plain, dir, words).err().expect("it starts")
}

/// Starts a server with a profile, or tells why it does not start.
pub fn try_server(profile: Profile, dir: &Path, words: &[&str]) -> Result<Server, String> {
    try_server_in(&Surroundings::default(), profile, dir, words)
}

fn try_server_in(
    surroundings: &Surroundings,
    profile: Profile,
    dir: &Path,
    words: &[&str],
) -> Result<Server, String> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_text = port.to_string();
    let dir = dir.to_str().unwrap();
    let log = format!("{dir}/log");
    let mut args = vec!["--port", &port_text, "--bind", "127.0.0.1", "--dir", dir, "--logfile", &log];
    args.extend(words);
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let running =
        start_in(surroundings, profile, &args, false).map_err(|error| format!("{:#}", error.error))?;
    let address = running.addresses()[0];
    Ok(Server { running: Some(running), address })
}

impl Server {
    /// As SIGHUP does.
    pub fn reread(&self) {
        self.running.as_ref().unwrap().reread();
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// Stops without saving; what the log holds must be enough.
    pub fn stop(mut self) {
        let mut client = self.client();
        client.send(b"SHUTDOWN NOSAVE\r\n");
        client.closed();
        self.running.take().unwrap().wait();
    }

    /// Stops as configured.
    pub fn finish(mut self) {
        let running = self.running.take().unwrap();
        running.stop();
        running.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait();
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads exactly what is expected.
    pub fn expect(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.stream.read(&mut got[filled..]) {
                Ok(0) => panic!(
                    "closed after {:?}, expected {expected:?}",
                    String::from_utf8_lossy(&got[..filled])
                ),
                Ok(count) => filled += count,
                Err(error) => panic!(
                    "{error} after {:?}, expected {expected:?}",
                    String::from_utf8_lossy(&got[..filled])
                ),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    pub fn ask(&mut self, line: &str, expected: &str) {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect(expected);
    }

    /// One line of a reply.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            assert_eq!(self.stream.read(&mut byte).unwrap(), 1, "closed");
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Asks until the reply is this one.
    pub fn until(&mut self, line: &str, expected: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.send(format!("{line}\r\n").as_bytes());
            let got = self.line();
            if got == expected {
                return;
            }
            assert!(Instant::now() < end, "{line} goes on answering {got}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A field of INFO.
    pub fn info(&mut self, name: &str) -> String {
        self.send(b"INFO everything\r\n");
        let header = self.line();
        let length: usize = header.trim_start_matches(['$', '=']).parse().unwrap();
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let prefix = format!("{name}:");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    }

    /// Asks INFO until a field has this value.
    pub fn until_info(&mut self, name: &str, value: &str) {
        let end = Instant::now() + PATIENCE;
        while self.info(name) != value {
            assert!(Instant::now() < end, "{name} is {}, not {value}", self.info(name));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A snapshot as a replica gets it that reads its mark; the history and the offset that it was told in front of it.
    pub fn snapshot(&mut self) -> (String, u64) {
        let mut told = self.told();
        let place = told.split_off("+FULLRESYNC ".len());
        let (history, offset) = place.split_once(' ').unwrap();
        let head = self.told();
        let mark = head.strip_prefix("$EOF:").unwrap().as_bytes();
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while !bytes.ends_with(mark) {
            self.stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        (history.to_owned(), offset.parse().unwrap())
    }

    /// A line behind signs of life.
    pub fn told(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            if line.is_empty() && byte == *b"\n" {
                continue;
            }
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Nothing comes within this time.
    pub fn silent(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0];
        let got = self.stream.read(&mut byte);
        assert!(got.is_err(), "{got:?}");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// The server closes.
    pub fn closed(&mut self) {
        let mut rest = Vec::new();
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        // A reset is a close, too.
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert!(!matches!(error.kind(), WouldBlock | TimedOut), "it is still open");
        }
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

/// A request as RESP.
pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The answer to GET, head and body.
pub fn http_get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
