//! The sockets that are listened on, and their change while the server runs.
//!
//! They are shared, because any I/O thread may run the CONFIG SET that changes them; only the first thread
//! accepts. The lock is a leaf, and held for a few system calls.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use config::Settings;
use net::{ListenOptions, Listeners, Poller, UnixOptions};
use parking_lot::{Mutex, MutexGuard};

/// What is spoken on a set of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What `tls` says.
    Main,
    /// Only TLS.
    Tls,
    /// A Unix socket.
    Unix,
}

impl Role {
    const ALL: [Role; 3] = [Role::Main, Role::Tls, Role::Unix];

    fn port(self, settings: &Settings) -> u16 {
        match self {
            Role::Main => settings.port,
            Role::Tls => settings.tls_port,
            Role::Unix => 0,
        }
    }

    /// The sockets that the settings ask for, if they do.
    fn open(self, settings: &Settings) -> anyhow::Result<Option<Door>> {
        let options = match (self, self.port(settings)) {
            (Role::Unix, _) if !settings.unixsocket.is_empty() => options(settings, None)?,
            (Role::Unix, _) | (_, 0) => return Ok(None),
            _ if settings.bind.is_empty() => return Ok(None),
            (_, port) => options(settings, Some(port))?,
        };
        Ok(Some(Door { role: self, listeners: Listeners::bind(&options)?, registered: false }))
    }
}

/// Sockets of one role.
pub(crate) struct Door {
    pub(crate) role: Role,
    pub(crate) listeners: Listeners,
    /// The first I/O thread is told of their connections.
    registered: bool,
}

/// All sockets that are listened on.
#[derive(Default)]
pub(crate) struct Entrance {
    doors: Mutex<Vec<Door>>,
    changed: AtomicBool,
}

impl Entrance {
    /// Opens what the settings ask for.
    ///
    /// # Errors
    /// The first that cannot be opened, in Redis' words.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Entrance> {
        let mut doors = Vec::new();
        for role in Role::ALL {
            doors.extend(role.open(settings)?);
        }
        if doors.is_empty() {
            return Err(anyhow::anyhow!("Configured to not listen anywhere, exiting."));
        }
        Ok(Entrance { doors: Mutex::new(doors), changed: AtomicBool::new(true) })
    }

    /// The sockets, for accepting; those that are new are registered first.
    ///
    /// # Errors
    /// When the kernel refuses to report them.
    pub(crate) fn doors(&self, poller: &Poller) -> std::io::Result<MutexGuard<'_, Vec<Door>>> {
        let mut doors = self.doors.lock();
        for door in doors.iter_mut().filter(|door| !door.registered) {
            poller.add_listeners(&mut door.listeners)?;
            door.registered = true;
        }
        Ok(doors)
    }

    /// Whether sockets have changed since the last call.
    #[inline]
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed) && self.changed.swap(false, Ordering::AcqRel)
    }

    /// Listens where `to` says in place of where `from` says. Connections that are up stay.
    ///
    /// # Errors
    /// What cannot be opened; then the old sockets stay or are opened again.
    pub(crate) fn move_to(&self, from: &Settings, to: &Settings) -> anyhow::Result<()> {
        let mut doors = self.doors.lock();
        let mut moved: Vec<Role> = Vec::new();
        for role in [Role::Main, Role::Tls] {
            if role.port(from) == role.port(to) && from.bind == to.bind {
                continue;
            }
            if let Err(error) = reopen(&mut doors, role, from, to) {
                for role in moved {
                    // It was open a moment ago; who has taken it meanwhile cannot be driven out.
                    let _ = reopen(&mut doors, role, to, from);
                }
                self.changed.store(true, Ordering::Release);
                return Err(error);
            }
            moved.push(role);
        }
        self.changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Sets the keepalive time of connections to come, seconds.
    pub(crate) fn set_keepalive(&self, seconds: u32) -> std::io::Result<()> {
        self.doors.lock().iter().try_for_each(|door| door.listeners.set_keepalive(seconds))
    }

    /// The TCP addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.lock().iter().flat_map(|door| door.listeners.addresses()).collect()
    }

    /// The path of the Unix socket.
    pub(crate) fn unix_path(&self) -> Option<PathBuf> {
        self.doors.lock().iter().find_map(|door| door.listeners.unix_path().map(PathBuf::from))
    }

    /// Closes all.
    pub(crate) fn close(&self) {
        self.doors.lock().clear();
    }
}

/// Another port is opened before the old one is closed. Another address on the same port cannot be: it may be
/// a part of the old one.
fn reopen(doors: &mut Vec<Door>, role: Role, from: &Settings, to: &Settings) -> anyhow::Result<()> {
    let others = |door: &Door| door.role != role;
    if role.port(from) != role.port(to) {
        let new = role.open(to)?;
        doors.retain(others);
        doors.extend(new);
        return Ok(());
    }
    doors.retain(others);
    match role.open(to) {
        Ok(new) => doors.extend(new),
        Err(error) => {
            doors.extend(role.open(from).context("nor could the old addresses be opened again")?);
            return Err(error);
        }
    }
    Ok(())
}

fn options(settings: &Settings, port: Option<u16>) -> anyhow::Result<ListenOptions> {
    let unix = match port {
        None => Some(UnixOptions {
            path: settings.in_dir(&settings.unixsocket),
            mode: (settings.unixsocketperm != 0).then_some(settings.unixsocketperm),
            group: group(&settings.unixsocketgroup)?,
        }),
        Some(_) => None,
    };
    Ok(ListenOptions {
        bind: settings.bind.clone(),
        port,
        backlog: settings.tcp_backlog as u32,
        keepalive_s: settings.tcp_keepalive_seconds as u32,
        mark: settings.socket_mark,
        reuse_port: false,
        unix,
    })
}

/// The number of the group that `unixsocketgroup` names; `None` when it names none.
fn group(name: &str) -> anyhow::Result<Option<u32>> {
    if name.is_empty() {
        return Ok(None);
    }
    let groups = std::fs::read_to_string("/etc/group").context("unixsocketgroup: /etc/group")?;
    let number = group_in(&groups, name).or_else(|| name.parse().ok());
    Ok(Some(number.with_context(|| format!("unixsocketgroup: there is no group {name}"))?))
}

/// The number of the group `name` in the text of /etc/group.
fn group_in(groups: &str, name: &str) -> Option<u32> {
    let fields = groups.lines().map(|line| line.split(':'));
    let mut numbers = fields.filter_map(|mut line| (line.next()? == name).then(|| line.nth(1)?.parse().ok()));
    numbers.next()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Config, Origin};
    use std::net::{TcpListener, TcpStream};

    fn settings(bind: &str, port: u16) -> Config {
        let mut config = Config::default();
        config.assign("bind", bind.as_bytes(), Origin::Set).unwrap();
        config.assign("port", port.to_string().as_bytes(), Origin::Set).unwrap();
        config
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_move_that_fails_leaves_the_old_sockets() {
        let old = settings("127.0.0.1", free_port());
        let entrance = Entrance::open(&old).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let wrong = settings("127.0.0.1", taken.local_addr().unwrap().port());
        assert!(entrance.move_to(&old, &wrong).is_err());
        assert!(entrance.move_to(&old, &settings("192.0.2.1", old.port)).is_err());
        assert!(entrance.has_changed());
        TcpStream::connect(("127.0.0.1", old.port)).unwrap();
    }

    #[test]
    fn a_move_opens_the_new_sockets_and_closes_the_old() {
        let old = settings("127.0.0.1", free_port());
        let entrance = Entrance::open(&old).unwrap();
        let wide = settings("*", old.port);
        entrance.move_to(&old, &wide).unwrap();
        TcpStream::connect(("127.0.0.1", old.port)).unwrap();
        let other = settings("127.0.0.1", free_port());
        entrance.move_to(&wide, &other).unwrap();
        TcpStream::connect(("127.0.0.1", other.port)).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", old.port)).is_err());
        entrance.move_to(&other, &settings("127.0.0.1", 0)).unwrap();
        assert!(entrance.addresses().is_empty());
    }

    #[test]
    fn a_unix_socket_belongs_to_the_group_that_is_named() {
        use std::os::unix::fs::MetadataExt;
        let groups = "root:x:0:\nredis:x:107:app,web\nodd\n";
        let numbers = ["redis", "root", "app", "odd", "x"].map(|name| group_in(groups, name));
        assert_eq!(numbers, [Some(107), Some(0), None, None, None]);
        assert!(group("no-such-group-here").is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let own = folder.path().metadata().unwrap().gid();
        let mut config = settings("127.0.0.1", 0);
        config.assign("unixsocket", path.to_str().unwrap().as_bytes(), Origin::Set).unwrap();
        config.assign("unixsocketgroup", own.to_string().as_bytes(), Origin::Set).unwrap();
        config.assign("unixsocketperm", b"770", Origin::Set).unwrap();
        let _entrance = Entrance::open(&config).unwrap();
        let there = path.metadata().unwrap();
        assert_eq!((there.gid(), there.mode() & 0o777), (own, 0o770));
    }

    #[test]
    fn no_address_means_no_socket() {
        let old = settings("127.0.0.1", free_port());
        let (entrance, none) = (Entrance::open(&old).unwrap(), settings("", old.port));
        entrance.move_to(&old, &none).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", old.port)).is_err());
        assert!(Entrance::open(&none).is_err());
        entrance.move_to(&none, &old).unwrap();
        TcpStream::connect(("127.0.0.1", old.port)).unwrap();
    }
}
