//! One blocking connection to a server: TCP, a Unix socket, or TLS over TCP. Requests out, replies in.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};

use crate::options::{Target, Tls};
use crate::tls::{self, TlsError};
use crate::value::{NotAReply, Reader, Value};

/// What is read from the socket at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Refused(Target, io::Error),
    NoSuchPort(Target),
    Tls(TlsError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Refused(target, error) => {
                write!(f, "Could not connect to Redis at {target}: {}", plain(error))
            }
            ConnectError::NoSuchPort(target) => {
                write!(f, "Could not connect to Redis at {target}: there is no such port")
            }
            ConnectError::Tls(error) => write!(f, "Could not negotiate a TLS connection: {error}"),
        }
    }
}

/// What musl says, and what glibc, with which redis-cli is linked, says of the same: scripts match on it.
const TEXTS: [(&str, &str); 5] = [
    ("Name does not resolve", "Name or service not known"),
    ("Try again", "Temporary failure in name resolution"),
    ("Operation timed out", "Connection timed out"),
    ("Host is unreachable", "No route to host"),
    ("Network unreachable", "Network is unreachable"),
];

/// What the system says of an error, without its number and without what Rust puts before it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(text);
    TEXTS.iter().find(|(musl, _)| *musl == text).map_or(text, |(_, glibc)| glibc).to_owned()
}

/// Why a conversation ended.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The server has closed it.
    Closed,
    Io(io::Error),
    Protocol(NotAReply),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Closed => f.write_str("Server closed the connection"),
            LinkError::Io(error) => f.write_str(&plain(error)),
            LinkError::Protocol(reason) => reason.fmt(f),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                LinkError::Closed
            }
            _ => LinkError::Io(error),
        }
    }
}

/// What carries the bytes.
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Tcp(stream) => stream.as_fd(),
            Wire::Unix(stream) => stream.as_fd(),
            Wire::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(buffer),
            Wire::Unix(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.write(bytes),
            Wire::Unix(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.flush(),
            Wire::Unix(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection and what has come over it.
pub(crate) struct Link {
    wire: Wire,
    reader: Reader,
    chunk: Vec<u8>,
}

impl Link {
    /// Connects, with each attempt, and each part of shaking hands, bounded by `patience` if there is one.
    pub(crate) fn connect(
        target: &Target,
        tls: &Tls,
        patience: Option<Duration>,
    ) -> Result<Link, ConnectError> {
        let refused = |error| ConnectError::Refused(target.clone(), error);
        let wire = match &target.socket {
            Some(path) => Wire::Unix(UnixStream::connect(path).map_err(refused)?),
            None => {
                let port =
                    u16::try_from(target.port).map_err(|_| ConnectError::NoSuchPort(target.clone()))?;
                let (stream, address) = over_tcp(&target.host, port, patience).map_err(refused)?;
                match tls.is_on {
                    true => Wire::Tls(encrypted(stream, address, target, tls, patience)?),
                    false => Wire::Tcp(stream),
                }
            }
        };
        Ok(Link { wire, reader: Reader::default(), chunk: vec![0; CHUNK_BYTES] })
    }

    /// What a wait for something to read looks at.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.wire.descriptor()
    }

    /// Sends one command.
    pub(crate) fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<(), LinkError> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        let mut request = Vec::new();
        resp::push_command(&mut request, &words);
        self.write(&request)
    }

    /// Sends bytes that are requests already.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.wire.write_all(bytes)?;
        self.wire.flush()?;
        Ok(())
    }

    /// Waits for the next reply or push.
    pub(crate) fn receive(&mut self) -> Result<Value, LinkError> {
        loop {
            if let Some(value) = self.reader.next().map_err(LinkError::Protocol)? {
                return Ok(value);
            }
            self.fill()?;
        }
    }

    /// The next reply if it has come already.
    pub(crate) fn received(&mut self) -> Result<Option<Value>, LinkError> {
        loop {
            if let Some(value) = self.reader.next().map_err(LinkError::Protocol)? {
                return Ok(Some(value));
            }
            if !self.is_readable(Some(Duration::ZERO))? {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// Waits until there is something to read; false if there is nothing within `patience`.
    pub(crate) fn is_readable(&mut self, patience: Option<Duration>) -> Result<bool, LinkError> {
        loop {
            if let Wire::Tls(stream) = &mut self.wire
                && stream.conn.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read() > 0
            {
                return Ok(true);
            }
            if !self.has_come(patience)? {
                return Ok(false);
            }
            // What has come over TLS need not be anybody's text.
            let Wire::Tls(stream) = &mut self.wire else { return Ok(true) };
            if stream.conn.read_tls(&mut stream.sock)? == 0 {
                return Ok(true);
            }
        }
    }

    fn has_come(&self, patience: Option<Duration>) -> Result<bool, LinkError> {
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut watched = [PollFd::from_borrowed_fd(self.wire.descriptor(), PollFlags::IN)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(LinkError::Io(error.into())),
        }
    }

    /// From now on nothing waits but [`Link::exchange`].
    pub(crate) fn stop_waiting(&mut self) -> Result<(), LinkError> {
        match &self.wire {
            Wire::Tcp(stream) => stream.set_nonblocking(true)?,
            Wire::Unix(stream) => stream.set_nonblocking(true)?,
            Wire::Tls(stream) => stream.sock.set_nonblocking(true)?,
        }
        Ok(())
    }

    /// Waits, at most for `patience`, until bytes can be sent or some have come, and does what can be done. How many were sent;
    /// none if time ran out. What has come is in [`Link::parsed`].
    pub(crate) fn exchange(
        &mut self,
        unsent: &[u8],
        patience: Option<Duration>,
    ) -> Result<Option<usize>, LinkError> {
        let has_unsent =
            !unsent.is_empty() || matches!(&self.wire, Wire::Tls(stream) if stream.conn.wants_write());
        let wanted = if has_unsent { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut watched = [PollFd::from_borrowed_fd(self.wire.descriptor(), wanted)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(LinkError::Io(error.into())),
        }
        if !watched[0].revents().is_empty() && watched[0].revents() != PollFlags::OUT {
            match self.wire.read(&mut self.chunk) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => self.reader.feed(&self.chunk[..count]),
                Err(error) => pardoned(error)?,
            }
        }
        if !has_unsent {
            return Ok(Some(0));
        }
        match self.wire.write(unsent).and_then(|count| self.wire.flush().map(|()| count).or(Ok(count))) {
            Ok(count) => Ok(Some(count)),
            Err(error) => pardoned(error).map(|()| Some(0)),
        }
    }

    /// The next reply of what has come already, without looking for more.
    pub(crate) fn parsed(&mut self) -> Result<Option<Value>, LinkError> {
        self.reader.next().map_err(LinkError::Protocol)
    }

    /// The next bytes of what is no reply, such as a snapshot's.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, LinkError> {
        let rest = self.reader.take_bytes();
        if !rest.is_empty() {
            return Ok(rest);
        }
        let count = self.read()?;
        Ok(self.chunk[..count].to_vec())
    }

    /// The bytes of the next line, with its end.
    pub(crate) fn bytes_until_line(&mut self) -> Result<Vec<u8>, LinkError> {
        let mut line = Vec::new();
        loop {
            line.extend(self.bytes()?);
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let rest = line.split_off(end + 1);
                self.give_back(&rest);
                return Ok(line);
            }
            if line.len() > CHUNK_BYTES {
                return Err(LinkError::Protocol(NotAReply::Line));
            }
        }
    }

    /// Bytes that were taken and belong to what comes next.
    pub(crate) fn give_back(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
    }

    /// A command and its reply; pushes in between are left out.
    pub(crate) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, LinkError> {
        self.send(words)?;
        loop {
            match self.receive()? {
                Value::Push(_) => {}
                value => return Ok(value),
            }
        }
    }

    fn fill(&mut self) -> Result<(), LinkError> {
        let count = self.read()?;
        self.reader.feed(&self.chunk[..count]);
        Ok(())
    }

    fn read(&mut self) -> Result<usize, LinkError> {
        loop {
            match self.wire.read(&mut self.chunk) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// That nothing could be done at the moment is no error.
fn pardoned(error: io::Error) -> Result<(), LinkError> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(error.into()),
    }
}

/// The first of a host's addresses that lets us in, and which one it was.
fn over_tcp(host: &str, port: u16, patience: Option<Duration>) -> io::Result<(TcpStream, SocketAddr)> {
    let mut refused = io::Error::from(ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        let attempt = match patience {
            Some(patience) => TcpStream::connect_timeout(&address, patience),
            None => TcpStream::connect(address),
        };
        match attempt {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok((stream, address));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn encrypted(
    stream: TcpStream,
    address: SocketAddr,
    target: &Target,
    asked: &Tls,
    patience: Option<Duration>,
) -> Result<Box<StreamOwned<ClientConnection, TcpStream>>, ConnectError> {
    let is_here = is_loopback(address.ip());
    let connection = tls::connection(&target.host, is_here, asked).map_err(ConnectError::Tls)?;
    let mut stream = StreamOwned::new(connection, stream);
    let failed = |error| ConnectError::Tls(TlsError::Handshake(error));
    set_patience(&stream.sock, patience).map_err(failed)?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(failed)?;
    }
    set_patience(&stream.sock, None).map_err(failed)?;
    Ok(Box::new(stream))
}

fn set_patience(socket: &TcpStream, patience: Option<Duration>) -> io::Result<()> {
    socket.set_read_timeout(patience)?;
    socket.set_write_timeout(patience)
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_nothing_to_a_handshake_is_not_waited_for_for_ever() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = i64::from(silent.local_addr().unwrap().port());
        let target = Target { host: "127.0.0.1".to_owned(), port, socket: None };
        let tls = Tls { is_on: true, is_unchecked: true, ..Tls::default() };
        let why = Link::connect(&target, &tls, Some(Duration::from_millis(50))).err().unwrap().to_string();
        assert!(why.ends_with("it does not answer; does it speak TLS on this port?"), "{why}");
    }

    #[test]
    fn an_error_has_the_same_text_whatever_it_is_linked_with() {
        let text = |text: &str| plain(&io::Error::other(text));
        assert_eq!(
            text("failed to lookup address information: Name does not resolve"),
            "Name or service not known"
        );
        assert_eq!(text("Operation timed out (os error 110)"), "Connection timed out");
        assert_eq!(text("Connection refused (os error 111)"), "Connection refused");
    }
}
