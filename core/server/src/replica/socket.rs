//! The socket of a link to a master, encrypted or not.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use config::Config;
use control::outgoing::{Encrypted, OutgoingError, OutgoingFiles, encrypt};
use profiles::Profile;

/// See the module.
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<Encrypted>),
}

impl Socket {
    /// Makes an encrypted one of a connection that was just made.
    pub(super) fn encrypted(
        files: &OutgoingFiles,
        host: &str,
        socket: TcpStream,
    ) -> Result<Socket, OutgoingError> {
        encrypt(files, host, socket).map(|encrypted| Socket::Tls(Box::new(encrypted)))
    }

    /// The connection below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(socket) => socket,
            Socket::Tls(encrypted) => &encrypted.sock,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(socket) => socket.read(into),
            Socket::Tls(encrypted) => encrypted.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(socket) => socket.write(bytes),
            Socket::Tls(encrypted) => encrypted.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(socket) => socket.flush(),
            Socket::Tls(encrypted) => encrypted.flush(),
        }
    }
}

/// With which files the link is encrypted, if it is to be (`tls-replication`). Where no authority is named, that of this server itself is
/// believed, whose certificates it makes.
pub(super) fn tls(profile: Profile, config: &Config) -> Option<OutgoingFiles> {
    if !config.tls_replication {
        return None;
    }
    let path = |text: &str| (!text.is_empty()).then(|| config.in_dir(text));
    let (ca, ca_dir) = (path(&config.tls_ca_cert_file), path(&config.tls_ca_cert_dir));
    let own = || Path::new(&config.dir).join("tls").join("ca.crt");
    let is_own = ca.is_none() && ca_dir.is_none() && profile != Profile::Plain && config.is_said("dir");
    let shown = match config.tls_client_cert_file.is_empty() {
        true => (&config.tls_cert_file, &config.tls_key_file),
        false => (&config.tls_client_cert_file, &config.tls_client_key_file),
    };
    Some(OutgoingFiles {
        ca: ca.or_else(|| is_own.then(own)),
        ca_dir,
        identity: path(shown.0).zip(path(shown.1)),
        options: crate::plane::options(config),
    })
}
