//! Whether a password lets somebody in: the question that a connection string is printed for; and whether a port speaks TLS.
//!
//! The first is asked as a client would, over TLS and with the authority that clients are given, so that a certificate which does
//! not name the address is found out, too.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::tls;

/// What a TLS record of a server begins with: of its handshake, or of its refusal.
const TLS_RECORDS: [[u8; 2]; 2] = [[22, 3], [21, 3]];

/// Whether a server at `address` takes TLS. Each step may take `patience`; whoever cannot be asked does not.
pub fn speaks_tls(address: SocketAddr, patience: Duration) -> bool {
    answers_hello(address, patience).unwrap_or(false)
}

fn answers_hello(address: SocketAddr, patience: Duration) -> io::Result<bool> {
    // Nothing is sent behind the hello, so it does not matter who answers.
    let mut connection = connection(RootCertStore::empty(), address)?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    connection.write_tls(&mut stream)?;
    let mut begin = [0; 2];
    stream.read_exact(&mut begin)?;
    Ok(TLS_RECORDS.contains(&begin))
}

fn connection(roots: RootCertStore, address: SocketAddr) -> io::Result<ClientConnection> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::IpAddress(address.ip().into());
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}

/// Longest line of an answer, bytes.
const LINE_BYTES_MAX: u64 = 1024;

/// Tries to log in as `name` at `address`, whose certificate the authority in `ca` must have issued. Each step may take
/// `patience`.
///
/// # Errors
/// The server cannot be reached or does not answer as one; a wrong password is no error.
pub fn logs_in(
    address: SocketAddr,
    ca: &Path,
    name: &str,
    password: &[u8],
    patience: Duration,
) -> io::Result<bool> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(ca).map_err(io::Error::other)? {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let connection = connection(roots, address)?;
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut request =
        format!("*3\r\n$4\r\nAUTH\r\n${}\r\n{name}\r\n${}\r\n", name.len(), password.len()).into_bytes();
    request.extend_from_slice(password);
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut answer)?;
    match answer.as_slice() {
        b"+OK\r\n" => Ok(true),
        refusal if refusal.starts_with(b"-WRONGPASS") => Ok(false),
        other => Err(io::Error::other(String::from_utf8_lossy(other).trim_end().to_owned())),
    }
}
