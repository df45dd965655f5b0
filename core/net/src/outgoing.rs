//! Connections that this server makes by itself: to a master, or to the target of a MIGRATE.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The address that it was to come from is none of this machine, or none of the target's kind.
    Source(io::Error),
    /// The target cannot be reached.
    Target(io::Error),
}

impl ConnectError {
    /// What the system has said.
    pub fn into_io(self) -> io::Error {
        match self {
            ConnectError::Source(error) | ConnectError::Target(error) => error,
        }
    }
}

/// A connection to the first address of `host` that takes one, without delay, from the address `source` if that is not empty. Each
/// attempt takes `wait` at most.
///
/// # Errors
/// What the last attempt has met.
pub fn connect(host: &str, port: u16, source: &str, wait: Duration) -> Result<TcpStream, ConnectError> {
    let sources: Vec<SocketAddr> = match source {
        "" => Vec::new(),
        name => (name, 0).to_socket_addrs().map_err(ConnectError::Source)?.collect(),
    };
    let mut last = ConnectError::Target(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    for to in (host, port).to_socket_addrs().map_err(ConnectError::Target)? {
        let connected = match source {
            "" => TcpStream::connect_timeout(&to, wait).map_err(ConnectError::Target),
            _ => connect_from(&sources, to, wait),
        };
        match connected.and_then(|stream| {
            stream.set_nodelay(true).map_err(ConnectError::Target)?;
            Ok(stream)
        }) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_from(sources: &[SocketAddr], to: SocketAddr, wait: Duration) -> Result<TcpStream, ConnectError> {
    let source = sources.iter().find(|source| source.is_ipv4() == to.is_ipv4());
    let source = source.ok_or_else(|| {
        let text = "the address to connect from is of another kind than the target's";
        ConnectError::Source(io::Error::new(ErrorKind::AddrNotAvailable, text))
    })?;
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).map_err(ConnectError::Source)?;
    socket.bind(&(*source).into()).map_err(ConnectError::Source)?;
    socket.connect_timeout(&to.into(), wait).map_err(ConnectError::Target)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const WAIT: Duration = Duration::from_secs(5);

    #[test]
    fn it_comes_from_where_it_is_said_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for (source, seen) in [("", "127.0.0.1"), ("127.0.0.9", "127.0.0.9")] {
            let stream = connect("127.0.0.1", port, source, WAIT).unwrap();
            assert_eq!(stream.local_addr().unwrap().ip().to_string(), seen);
            assert_eq!(listener.accept().unwrap().1.ip().to_string(), seen);
        }
    }

    #[test]
    fn it_is_told_which_of_the_two_ends_is_not_to_be_had() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for source in ["192.0.2.1", "::1"] {
            assert!(matches!(connect("127.0.0.1", port, source, WAIT), Err(ConnectError::Source(_))));
        }
        drop(listener);
        for source in ["", "127.0.0.9"] {
            assert!(matches!(connect("127.0.0.1", port, source, WAIT), Err(ConnectError::Target(_))));
        }
    }
}
