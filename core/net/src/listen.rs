//! The sockets a server listens on: TCP addresses as in Redis' `bind`, and one Unix socket.
//!
//! `TCP_NODELAY` and keepalive are set on the listening socket, from which Linux hands them down to every
//! accepted one: no system call per connection besides accept itself.
//!
//! Invariants: a set is bound whole or not at all; a Unix socket gets its permissions before it can be
//! connected to, and takes no path of one that is listened on; whoever stops before a set is drained comes back without an event, since an edge is reported only once.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::poller::LISTENERS_MAX;
use crate::stream::{Peer, Stream};

/// What to listen on.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Addresses as in `bind`: an IP address, `*`, `::*` or a host name; with `-` before it, an address
    /// that this machine does not have is passed over.
    pub bind: Vec<String>,
    /// TCP port; 0 lets the kernel choose one. `None`: no TCP.
    pub port: Option<u16>,
    /// Length of the accept queue (`tcp-backlog`), in connections; the kernel caps it at `somaxconn`.
    pub backlog: u32,
    /// Keepalive idle time in seconds (`tcp-keepalive`); 0 turns it off.
    pub keepalive_s: u32,
    /// Mark for packet filters (`socket-mark-id`); 0 for none. Needs the right to administer the network.
    pub mark: u32,
    /// Let several sockets share the port (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// The Unix socket, if any.
    pub unix: Option<UnixOptions>,
}

/// A Unix socket to listen on.
#[derive(Clone, Debug)]
pub struct UnixOptions {
    /// Its path (`unixsocket`). A socket left there by an earlier process is replaced, unless somebody listens on it.
    pub path: PathBuf,
    /// Its permission bits (`unixsocketperm`); `None` leaves what the umask gives.
    pub mode: Option<u32>,
    /// The number of the group that it belongs to (`unixsocketgroup`); `None` leaves that of the process.
    pub group: Option<u32>,
}

/// Why nothing is listened on. The text is the log line, in Redis' words.
#[derive(Debug)]
pub struct ListenError {
    text: String,
}

impl ListenError {
    fn tcp(address: &str, port: u16, step: &str, error: &io::Error) -> ListenError {
        let error = base::fault::text(error);
        let text = format!(
            "Could not create server TCP listening socket {address}:{port}: {step}: {error}. \
             Failed listening on port {port} (tcp), aborting."
        );
        ListenError { text }
    }

    fn unix(path: &Path, step: &str, error: &io::Error) -> ListenError {
        let error = base::fault::text(error);
        let text = format!(
            "Failed opening Unix socket: {step}: {error}. Failed listening on {} (unix), aborting.",
            path.display()
        );
        ListenError { text }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ListenError {}

/// A connection just accepted, not registered anywhere yet; may be sent to another thread.
pub struct Accepted {
    pub(crate) stream: Stream,
    /// Where it comes from.
    pub peer: Peer,
    /// It was made in this process: nobody reads along, so there is no TLS on it whatever holds for others.
    pub(crate) within: bool,
}

impl Accepted {
    /// One end of a connection within this process, over which somebody goes on who has come from `peer`.
    pub fn within(stream: std::os::unix::net::UnixStream, peer: SocketAddr) -> io::Result<Accepted> {
        stream.set_nonblocking(true)?;
        let stream = Stream::Unix(mio::net::UnixStream::from_std(stream));
        Ok(Accepted { stream, peer: Peer::Tcp(peer), within: true })
    }
}

/// What is left after [`Listeners::accept`].
#[derive(Debug)]
pub enum Accepting {
    /// Nothing; the next event tells.
    Drained,
    /// The limit was reached: call again in the next tick, without waiting for an event.
    More,
    /// The kernel refused, most likely for want of file descriptors. Connections may be waiting: call
    /// again after a pause (no event will tell), and log no more than once in a while.
    Failed(io::Error),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Arc<str>),
}

/// Peers that may have gone before they were accepted, in one [`Listeners::accept`].
const GONE_MAX: usize = 256;

/// A set of listening sockets.
pub struct Listeners {
    listeners: Vec<Listener>,
    unix_path: Option<PathBuf>,
    /// Where the next [`Listeners::accept`] begins.
    next: usize,
}

impl Listeners {
    /// Bind and listen on everything that `options` name.
    ///
    /// # Errors
    /// [`ListenError`] naming the address, the step and the cause.
    pub fn bind(options: &ListenOptions) -> Result<Listeners, ListenError> {
        let mut set = Listeners { listeners: Vec::new(), unix_path: None, next: 0 };
        if let Some(port) = options.port {
            set.bind_tcp(options, port)?;
        }
        if let Some(unix) = &options.unix {
            let listener = unix_listener(unix, options.backlog)?;
            set.listeners.push(Listener::Unix(listener, unix.path.to_string_lossy().into()));
            set.unix_path = Some(unix.path.clone());
        }
        Ok(set)
    }

    fn bind_tcp(&mut self, options: &ListenOptions, port: u16) -> Result<(), ListenError> {
        let before = self.listeners.len();
        for name in &options.bind {
            let (name, optional) = match name.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (name.as_str(), false),
            };
            match tcp_listener(name, port, options) {
                Ok(listener) if self.listeners.len() < LISTENERS_MAX => {
                    self.listeners.push(Listener::Tcp(listener));
                }
                Ok(_) => {
                    let cause = io::Error::other("too many addresses to bind");
                    return Err(ListenError::tcp(name, port, "bind", &cause));
                }
                Err((_, error)) if may_be_passed_over(&error, optional) => {}
                Err((step, error)) => return Err(ListenError::tcp(name, port, step, &error)),
            }
        }
        if self.listeners.len() == before && !options.bind.is_empty() {
            let cause = io::Error::from(io::ErrorKind::AddrNotAvailable);
            return Err(ListenError::tcp(&options.bind.join(" "), port, "bind", &cause));
        }
        Ok(())
    }

    /// The TCP addresses that are listened on, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(tcp) => tcp.local_addr().ok(),
            Listener::Unix(..) => None,
        });
        tcp.collect()
    }

    /// The Unix socket's path, for the owner to remove at shutdown.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix_path.as_deref()
    }

    /// Change the keepalive idle time of connections accepted from now on; 0 turns it off.
    ///
    /// # Errors
    /// When the kernel refuses the value.
    pub fn set_keepalive(&self, idle_s: u32) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| match listener {
            Listener::Tcp(tcp) => keepalive(SockRef::from(tcp), idle_s),
            Listener::Unix(..) => Ok(()),
        })
    }

    /// Append at most `limit` new connections to `accepted`. A peer that has gone already is passed over.
    ///
    /// Only connections use the limit up: a look at a socket with none in its queue must not count, or a set of more
    /// sockets than the limit would never be found drained and its owner never sleep. The sockets take turns at being
    /// the first, so that a crowd at one does not shut out the others.
    pub fn accept(&mut self, limit: usize, accepted: &mut Vec<Accepted>) -> Accepting {
        let (mut left, mut gone_left, count) = (limit, GONE_MAX, self.listeners.len());
        for turn in 0..count {
            let at = (self.next + turn) % count;
            loop {
                if left == 0 || gone_left == 0 {
                    self.next = (at + 1) % count;
                    return Accepting::More;
                }
                match self.listeners[at].accept() {
                    Ok(connection) => {
                        accepted.push(connection);
                        left -= 1;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_of_one_peer(&error) => gone_left -= 1,
                    Err(error) => return Accepting::Failed(error),
                }
            }
        }
        Accepting::Drained
    }

    pub(crate) fn sources(&mut self) -> impl Iterator<Item = &mut dyn Source> {
        self.listeners.iter_mut().map(|listener| match listener {
            Listener::Tcp(tcp) => tcp as &mut dyn Source,
            Listener::Unix(unix, _) => unix as &mut dyn Source,
        })
    }
}

impl Listener {
    fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(tcp) => tcp.accept().map(|(stream, peer)| Accepted {
                stream: Stream::Tcp(stream),
                peer: Peer::Tcp(peer),
                within: false,
            }),
            Listener::Unix(unix, path) => unix.accept().map(|(stream, _)| Accepted {
                stream: Stream::Unix(stream),
                peer: Peer::Unix(Arc::clone(path)),
                within: false,
            }),
        }
    }
}

type Step<T> = Result<T, (&'static str, io::Error)>;

fn tcp_listener(name: &str, port: u16, options: &ListenOptions) -> Step<TcpListener> {
    let address = resolve(name, port).map_err(|error| ("resolve", error))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)
        .map_err(|error| ("socket", error))?;
    prepare(&socket, address, options).map_err(|error| ("setsockopt", error))?;
    socket.bind(&address.into()).map_err(|error| ("bind", error))?;
    socket.listen(backlog(options.backlog)).map_err(|error| ("listen", error))?;
    Ok(TcpListener::from_std(socket.into()))
}

fn prepare(socket: &Socket, address: SocketAddr, options: &ListenOptions) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if options.mark != 0 {
        socket.set_mark(options.mark)?;
    }
    socket.set_tcp_nodelay(true)?;
    keepalive(SockRef::from(socket), options.keepalive_s)
}

/// Three probes, a third of the idle time apart, so a dead peer is noticed after twice the idle time.
fn keepalive(socket: SockRef<'_>, idle_s: u32) -> io::Result<()> {
    if idle_s == 0 {
        return socket.set_keepalive(false);
    }
    let times = TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(idle_s)))
        .with_interval(Duration::from_secs(u64::from((idle_s / 3).max(1))))
        .with_retries(3);
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&times)
}

fn resolve(name: &str, port: u16) -> io::Result<SocketAddr> {
    let address = match name {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => match name.parse() {
            Ok(address) => address,
            Err(_) => return first_address(name, port),
        },
    };
    Ok(SocketAddr::new(address, port))
}

fn first_address(name: &str, port: u16) -> io::Result<SocketAddr> {
    (name, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

fn unix_listener(options: &UnixOptions, accept_queue: u32) -> Result<UnixListener, ListenError> {
    let path = &options.path;
    let fail = |step| move |error: io::Error| ListenError::unix(path, step, &error);
    let address = SockAddr::unix(path).map_err(fail("path"))?;
    remove_stale_socket(path, &address).map_err(fail("unlink"))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(fail("socket"))?;
    socket.bind(&address).map_err(fail("bind"))?;
    // The group first: to give a file away may take bits from its permissions.
    if let Some(group) = options.group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(fail("chown"))?;
    }
    if let Some(mode) = options.mode {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).map_err(fail("chmod"))?;
    }
    socket.listen(backlog(accept_queue)).map_err(fail("listen"))?;
    Ok(UnixListener::from_std(socket.into()))
}

/// Remove what an earlier process left behind, but never a file that is not a socket, nor a socket that may be listened on: whose
/// it is would go on without noticing that nobody reaches it any more.
fn remove_stale_socket(path: &Path, address: &SockAddr) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is taken by another file"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(address) {
        // Where its queue is full it would block.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            // Nobody listens, or it cannot be told, for we may not write to it or it is of another kind.
            _ => std::fs::remove_file(path),
        },
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")),
    }
}

fn backlog(connections: u32) -> i32 {
    i32::try_from(connections).unwrap_or(i32::MAX)
}

/// `-address` tolerates an address that the machine does not have; a protocol that it does not speak at
/// all is passed over in any case, as Redis does.
fn may_be_passed_over(error: &io::Error, optional: bool) -> bool {
    const ENOPROTOOPT: i32 = 92;
    const EPROTONOSUPPORT: i32 = 93;
    const ESOCKTNOSUPPORT: i32 = 94;
    const EPFNOSUPPORT: i32 = 96;
    const EAFNOSUPPORT: i32 = 97;
    match error.raw_os_error() {
        Some(ENOPROTOOPT | EPROTONOSUPPORT | ESOCKTNOSUPPORT | EPFNOSUPPORT | EAFNOSUPPORT) => true,
        _ => optional && error.kind() == io::ErrorKind::AddrNotAvailable,
    }
}

/// Errors that say something about the one connection, not about the listener.
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut)
}
