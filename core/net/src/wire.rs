//! What lies between a connection's bytes and its socket: nothing, TLS, or "not known yet".
//!
//! A client shows by its first byte whether it speaks TLS: 0x16 opens a handshake record and no request.
//! The functions here move bytes one way each; what to keep, limit or close is the connection's.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::ServerConnection;

use crate::stream::Stream;
use crate::tls::{TlsHandle, TlsMode};

/// First byte of a TLS handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;
/// What a TLS client is told where TLS is off: a fatal `handshake_failure` alert.
pub(crate) const ALERT_HANDSHAKE_FAILURE: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];
/// What a plaintext client is told where TLS is required.
pub(crate) const TLS_REQUIRED: &[u8] =
    b"-ERR this port requires TLS, connect with rediss:// or the client's TLS option\r\n";

/// Plaintext encrypted at once, in bytes: rustls' own limit for records not yet written.
const ENCRYPT_CHUNK: usize = 64 * 1024;

pub(crate) enum Wire {
    Undecided(Arc<TlsHandle>, TlsMode),
    Plain,
    Tls(Box<ServerConnection>),
}

/// What the first byte led to.
pub(crate) enum Decision {
    Plain,
    Tls(Box<ServerConnection>),
    /// Plaintext where TLS is required.
    NeedsTls,
    /// TLS where it is off or no certificate is loaded.
    NoTls,
}

pub(crate) fn decide(first: u8, handle: &TlsHandle, mode: TlsMode) -> Decision {
    match (first == HANDSHAKE_RECORD, mode) {
        (false, TlsMode::Required) => Decision::NeedsTls,
        (false, TlsMode::Off | TlsMode::Optional) => Decision::Plain,
        (true, TlsMode::Off) => Decision::NoTls,
        (true, TlsMode::Optional | TlsMode::Required) => {
            match handle.config().and_then(|config| ServerConnection::new(config).ok()) {
                Some(tls) => Decision::Tls(Box::new(tls)),
                None => Decision::NoTls,
            }
        }
    }
}

/// Read once, going on after a signal. `Ok(None)` is "would block".
pub(crate) fn read_once(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Write once, going on after a signal. `Ok(None)` is "would block".
pub(crate) fn write_once(stream: &mut Stream, bytes: &[u8]) -> io::Result<Option<usize>> {
    blocked(|| stream.write(bytes))
}

/// The same for bytes that lie in several places.
pub(crate) fn write_slices(stream: &mut Stream, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    blocked(|| stream.write_vectored(slices))
}

fn blocked(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Decrypt what was received, passing plaintext on piece by piece. True when the peer has said that
/// nothing more will come.
pub(crate) fn decrypt(
    tls: &mut ServerConnection,
    mut received: &[u8],
    mut deliver: impl FnMut(&[u8]),
) -> io::Result<bool> {
    while !received.is_empty() {
        if tls.read_tls(&mut received)? == 0 {
            return Ok(true);
        }
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let mut reader = tls.reader();
            let piece = reader.fill_buf()?;
            let count = piece.len();
            deliver(piece);
            reader.consume(count);
            left = left.saturating_sub(count.max(1));
        }
        if state.peer_has_closed() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Write records that are ready. False when the socket is full.
pub(crate) fn write_records(tls: &mut ServerConnection, stream: &mut Stream) -> io::Result<bool> {
    while tls.wants_write() {
        if blocked(|| tls.write_tls(stream))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Turn the front of `plain` into records; returns how much of it was taken.
pub(crate) fn encrypt(tls: &mut ServerConnection, plain: &[u8]) -> io::Result<usize> {
    tls.writer().write(&plain[..plain.len().min(ENCRYPT_CHUNK)])
}
