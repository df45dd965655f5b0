//! `redis-cli` of the container image: commands to a server in it, and their replies as text.
//!
//! Health checks of compose files and of CI systems call `redis-cli ping` in whatever image they use; without one a server that
//! is well counts as ill. This is no more than that: no prompt, no TLS, no cluster. A command comes on the command line, or
//! commands come line by line on standard input. As with Redis' own, a reply is a success, also one that is an error.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

/// The ports that are tried where none is named: those of a server and of a queue.
const PORTS: [u16; 2] = [6379, 6380];

/// How long a step of a conversation may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deepest nesting of a reply; a server of ours stays far below.
const DEPTH_MAX: usize = 32;

/// Longest line of a reply's frame and longest command on standard input, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Variables that hold the password, so that it is on no command line.
const PASSWORD_VARIABLES: [&str; 2] = ["REDISCLI_AUTH", "VALKEYCLI_AUTH"];

/// What a command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    command: Vec<String>,
}

/// Asks and prints.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    answer(words, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Asks, and writes the replies to `output`.
///
/// # Errors
/// Options that are not known here, or a server that does not answer.
pub(crate) fn answer(words: &[String], output: &mut dyn Write) -> anyhow::Result<()> {
    let mut asked = read(words)?;
    if asked.password.is_none() {
        asked.password = PASSWORD_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
    }
    let mut server = Server::reach(asked.host.as_deref().unwrap_or("127.0.0.1"), asked.port)?;
    if let Some(password) = &asked.password {
        let words = ["AUTH"].into_iter().chain(asked.user.as_deref()).chain([password.as_str()]);
        server.told(words, "AUTH failed")?;
    }
    if let Some(database) = &asked.database {
        server.told(["SELECT", database], "SELECT failed")?;
    }
    if !asked.command.is_empty() {
        return server.ask(asked.command.iter().map(String::as_str), output);
    }
    let mut lines = io::stdin().lock().take(LINE_BYTES_MAX).lines();
    while let Some(line) = lines.next().transpose()? {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words.is_empty() {
            server.ask(words.into_iter(), output)?;
        }
    }
    Ok(())
}

fn read(words: &[String]) -> anyhow::Result<Asked> {
    let mut asked = Asked::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().cloned().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "-h" => asked.host = Some(value()?),
            "-p" => asked.port = Some(value()?.parse().context("-p needs a port")?),
            "-a" | "--pass" => asked.password = Some(value()?),
            "--user" => asked.user = Some(value()?),
            "-n" => asked.database = Some(value()?),
            "--raw" | "--no-raw" | "--no-auth-warning" | "-e" => {}
            option if option.starts_with('-') => bail!(
                "{option}: redis-cli of this image knows -h, -p, -a, --user, -n, --raw and --no-auth-warning only"
            ),
            _ => {
                asked.command = std::iter::once(word).chain(rest).cloned().collect();
                break;
            }
        }
    }
    Ok(asked)
}

/// A connection.
struct Server {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Server {
    fn reach(host: &str, port: Option<u16>) -> anyhow::Result<Server> {
        let ports = port.map_or(PORTS.to_vec(), |port| vec![port]);
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        for port in &ports {
            let addresses =
                (host, *port).to_socket_addrs().with_context(|| format!("{host} has no address"))?;
            for address in addresses {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(stream) => return Server::over(stream).context("a connection without time limits"),
                    Err(refused) => error = refused,
                }
            }
        }
        bail!("Could not connect to {host}:{}: {error}", ports[0])
    }

    fn over(stream: TcpStream) -> io::Result<Server> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Server { replies: BufReader::new(stream.try_clone()?), stream })
    }

    /// One command, and its reply to `output`.
    fn ask<'a>(
        &mut self,
        words: impl Iterator<Item = &'a str>,
        output: &mut dyn Write,
    ) -> anyhow::Result<()> {
        self.stream.write_all(&request(words)).context("the server does not listen")?;
        print_reply(&mut self.replies, output, 0).context("no reply")
    }

    /// One command that only prepares; an error goes to standard error.
    fn told<'a>(&mut self, words: impl IntoIterator<Item = &'a str>, failure: &str) -> anyhow::Result<()> {
        let mut reply = Vec::new();
        self.ask(words.into_iter(), &mut reply)?;
        if reply != b"OK\n" {
            // Where standard error is closed there is nobody to tell.
            let _ = write!(io::stderr(), "{failure}: {}", String::from_utf8_lossy(&reply));
        }
        Ok(())
    }
}

fn request<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let words: Vec<&str> = words.collect();
    let head = format!("*{}\r\n", words.len());
    words.iter().fold(head.into_bytes(), |mut bytes, word| {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        bytes
    })
}

/// Copies a reply as text, an element a line.
fn print_reply(replies: &mut impl BufRead, output: &mut dyn Write, depth: usize) -> io::Result<()> {
    let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    if depth > DEPTH_MAX {
        return wrong("the reply is nested too deeply");
    }
    let mut line = Vec::new();
    replies.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\r\n") else { return wrong("the connection ended") };
    let Some((kind, text)) = line.split_first() else { return wrong("an empty line") };
    let length = || std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    match (kind, length()) {
        (b'+' | b'-' | b':', _) => output.write_all(&[text, b"\n"].concat()),
        (b'$' | b'*', Some(-1)) => output.write_all(b"\n"),
        (b'$', Some(length @ 0..)) => {
            let copied = io::copy(&mut replies.by_ref().take(length as u64), output)?;
            let mut end = [0; 2];
            replies.read_exact(&mut end)?;
            if copied != length as u64 || &end != b"\r\n" {
                return wrong("a string that does not end where it says");
            }
            output.write_all(b"\n")
        }
        (b'*', Some(length @ 0..)) => {
            for _ in 0..length {
                print_reply(replies, output, depth + 1)?;
            }
            Ok(())
        }
        _ => wrong("not a reply of Redis' protocol"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn printed(reply: &[u8]) -> io::Result<String> {
        let mut output = Vec::new();
        print_reply(&mut &reply[..], &mut output, 0)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    #[test]
    fn replies_are_printed_as_redis_cli_prints_them_to_a_pipe() {
        for (reply, text) in [
            (&b"+PONG\r\n"[..], "PONG\n"),
            (b"-NOAUTH Authentication required.\r\n", "NOAUTH Authentication required.\n"),
            (b":7\r\n", "7\n"),
            (b"$3\r\na\nb\r\n", "a\nb\n"),
            (b"$-1\r\n", "\n"),
            (b"$0\r\n\r\n", "\n"),
            (b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", "a\n1\n\n"),
            (b"*0\r\n", ""),
        ] {
            assert_eq!(printed(reply).unwrap(), text, "{reply:?}");
        }
        for broken in
            [&b""[..], b"+PON", b"$5\r\nab\r\n", b"$1\r\nab\r\n", b"?\r\n", b"$x\r\n", b"HTTP/1.1 400\r\n"]
        {
            assert!(printed(broken).is_err(), "{broken:?}");
        }
        assert!(printed(&b"*1\r\n".repeat(DEPTH_MAX + 2)).is_err());
    }

    #[test]
    fn options_stand_before_the_command() {
        let asked = read(&words("-h x -p 7 -a pw --user u -n 3 --raw incr ping -n")).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = Asked {
            host: text("x"),
            port: Some(7),
            user: text("u"),
            password: text("pw"),
            database: text("3"),
            command: words("incr ping -n"),
        };
        assert_eq!(asked, expected);
        assert!(read(&words("--cluster create")).unwrap_err().to_string().contains("--cluster"));
        assert!(read(&words("-p")).is_err() && read(&words("-p x")).is_err());
    }

    #[test]
    fn a_password_goes_first_and_the_reply_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut expect = |bytes: &[u8], reply: &[u8]| {
                let mut seen = vec![0; bytes.len()];
                stream.read_exact(&mut seen).unwrap();
                assert_eq!(seen, bytes);
                stream.write_all(reply).unwrap();
            };
            expect(b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n", b"+OK\r\n");
            expect(b"*1\r\n$4\r\nping\r\n", b"+PONG\r\n");
        });
        let mut output = Vec::new();
        answer(&words(&format!("-p {port} -a pw ping")), &mut output).unwrap();
        server.join().unwrap();
        assert_eq!(output, b"PONG\n");
        let error = answer(&words(&format!("-p {port} ping")), &mut output).unwrap_err().to_string();
        assert!(error.contains("Could not connect"), "{error}");
    }
}
