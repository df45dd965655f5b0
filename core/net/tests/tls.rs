//! TLS against a real client: whatever the sizes and the pieces, bytes come back unchanged, and who speaks the
//! wrong language is told so.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::{Bench, Seen, echo, options, pattern};
use tandem_net::{ClientAuth, Flush, Pem, TlsHandle, TlsMode, TlsSettings, TlsVersions, server_config};

struct Identity {
    certificate: String,
    key: String,
}

fn identity() -> Identity {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    Identity { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn bench(identity: &Identity, mode: TlsMode, versions: TlsVersions) -> Bench {
    let settings = TlsSettings {
        certificate: Pem { name: "crt", bytes: identity.certificate.as_bytes() },
        key: Pem { name: "key", bytes: identity.key.as_bytes() },
        client_ca: None,
        client_auth: ClientAuth::No,
        versions,
    };
    Bench::new(&options(), TlsHandle::new(Some(server_config(&settings).unwrap())), mode)
}

fn connect(address: SocketAddr, identity: &Identity) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

fn ended(seen: &Seen) -> bool {
    matches!(seen, Seen::Closed(_) | Seen::Failed(_) | Seen::Refused(_))
}

#[test]
fn bytes_return_unchanged_in_both_versions_and_all_sizes() {
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        for bytes in [1, 16 << 10, (16 << 10) + 1, 3 << 20] {
            let identity = identity();
            let mut bench = bench(&identity, TlsMode::Required, versions);
            let address = bench.address();
            let client = thread::spawn(move || {
                let mut stream = connect(address, &identity);
                let sent = pattern(bytes);
                for piece in sent.chunks(48 << 10) {
                    stream.write_all(piece).unwrap();
                    let mut back = vec![0; piece.len()];
                    stream.read_exact(&mut back).unwrap();
                    assert!(back == piece);
                }
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            });
            let seen = bench.until(ended, echo);
            assert!(matches!(seen, Seen::Closed(_)), "{seen:?}");
            client.join().unwrap();
        }
    }
}

/// Passes bytes on one by one, so that every record arrives in as many pieces as it has bytes.
fn slow_proxy(to: SocketAddr) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let mut byte = [0];
        while client.read(&mut byte).unwrap_or(0) == 1 && server.write_all(&byte).is_ok() {}
        let _ = server.shutdown(std::net::Shutdown::Write);
    });
    address
}

#[test]
fn a_handshake_may_arrive_byte_by_byte() {
    let identity = identity();
    let mut bench = bench(&identity, TlsMode::Optional, TlsVersions::Both);
    let address = slow_proxy(bench.address());
    let client = thread::spawn(move || {
        let mut stream = connect(address, &identity);
        stream.write_all(b"in pieces").unwrap();
        let mut back = [0; 9];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"in pieces");
    });
    bench.until(ended, echo);
    client.join().unwrap();
}

#[test]
fn one_port_speaks_both_and_each_mode_refuses_in_the_clients_language() {
    let identity = identity();
    let mut both = bench(&identity, TlsMode::Optional, TlsVersions::Both);
    let address = both.address();
    let plain = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"plain").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"plain");
    });
    both.until(ended, echo);
    plain.join().unwrap();

    let mut required = bench(&identity, TlsMode::Required, TlsVersions::Both);
    let address = required.address();
    let plain = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with('-') && answer.ends_with("\r\n"), "{answer:?}");
    });
    assert!(matches!(required.until(ended, echo), Seen::Refused(_)));
    plain.join().unwrap();

    let mut off = bench(&identity, TlsMode::Off, TlsVersions::Both);
    let address = off.address();
    let encrypted = thread::spawn(move || {
        let error = connect(address, &identity).write_all(b"PING\r\n").unwrap_err();
        assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    });
    assert!(matches!(off.until(ended, echo), Seen::Refused(_)));
    encrypted.join().unwrap();
}

#[test]
fn what_is_said_before_the_first_byte_is_heard_in_both_languages() {
    for encrypted in [false, true] {
        let identity = identity();
        let mut bench = bench(&identity, TlsMode::Required, TlsVersions::Both);
        let address = bench.address();
        let client = thread::spawn(move || {
            let mut answer = String::new();
            if encrypted {
                let mut stream = connect(address, &identity);
                stream.write_all(b"PING\r\n").unwrap();
                stream.read_to_string(&mut answer).unwrap();
            } else {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"PING\r\n").unwrap();
                stream.read_to_string(&mut answer).unwrap();
            }
            assert_eq!(answer, "-DENIED no\r\n");
        });
        let Seen::Open(id) = bench.until(|seen| matches!(seen, Seen::Open(_)), |_, _| 0) else {
            unreachable!()
        };
        let connection = bench.slots.get_mut(id).unwrap();
        assert!(connection.awaits_tls());
        connection.out(&mut bench.pool).extend_from_slice(b"-DENIED no\r\n");
        connection.close_after_flush();
        assert!(matches!(connection.flush(&bench.poller, &mut bench.pool), tandem_net::Flush::Pending));
        bench.until(ended, |input, _| input.len());
        client.join().unwrap();
    }
}

#[test]
fn broken_records_end_the_connection_and_nothing_else() {
    let identity = identity();
    let mut bench = bench(&identity, TlsMode::Required, TlsVersions::Both);
    let mut client = TcpStream::connect(bench.address()).unwrap();
    client.write_all(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
    assert!(matches!(bench.until(ended, echo), Seen::Failed(_)));
    let address = bench.address();
    let good = thread::spawn(move || {
        let mut stream = connect(address, &identity);
        stream.write_all(b"still here").unwrap();
        let mut back = [0; 10];
        stream.read_exact(&mut back).unwrap();
    });
    bench.until(ended, echo);
    good.join().unwrap();
}

#[test]
fn what_was_encrypted_leaves_although_the_rest_is_held() {
    let identity = identity();
    let mut bench = bench(&identity, TlsMode::Required, TlsVersions::Both);
    let address = bench.address();
    let (tell, hear) = std::sync::mpsc::channel::<usize>();
    let client = thread::spawn(move || {
        let mut stream = connect(address, &identity);
        stream.write_all(b"begin").unwrap();
        let mut all = vec![0; hear.recv().unwrap()];
        stream.read_exact(&mut all).unwrap();
        all
    });
    let Seen::Open(id) = bench.until(|seen| matches!(seen, Seen::Open(_)), |_, _| 0) else { unreachable!() };
    let mut came = 0;
    while came < 5 {
        bench.step(&mut |input: &[u8], _: &mut Vec<u8>| {
            came += input.len();
            input.len()
        });
    }
    let big = pattern(64 << 20);
    let connection = bench.slots.get_mut(id).unwrap();
    connection.out(&mut bench.pool).extend_from_slice(&big);
    while !matches!(connection.flush(&bench.poller, &mut bench.pool), Flush::Pending) {}
    assert!(connection.has_records() && connection.pending() > 0);
    let encrypted = big.len() - connection.pending();
    tell.send(encrypted).unwrap();
    while connection.has_records() {
        assert!(!matches!(connection.flush_first(0, &bench.poller, &mut bench.pool), Flush::Failed(_)));
        thread::yield_now();
    }
    assert_eq!(big.len() - connection.pending(), encrypted, "nothing more was encrypted");
    assert!(client.join().unwrap() == big[..encrypted]);
}

#[test]
fn shared_buffers_are_encrypted_in_their_order() {
    let identity = identity();
    let mut bench = bench(&identity, TlsMode::Required, TlsVersions::Both);
    let message: Arc<[u8]> = pattern(2 << 20).into();
    let expected = [b"head".as_slice(), &message, &message, b"end"].concat();
    let (address, len) = (bench.address(), expected.len());
    let client = thread::spawn(move || {
        let mut stream = connect(address, &identity);
        stream.write_all(b"begin").unwrap();
        let mut all = vec![0; len];
        stream.read_exact(&mut all).unwrap();
        all
    });
    let Seen::Open(id) = bench.until(|seen| matches!(seen, Seen::Open(_)), |_, _| 0) else { unreachable!() };
    let connection = bench.slots.get_mut(id).unwrap();
    connection.append(b"head", &mut bench.pool);
    connection.append_shared(Arc::clone(&message));
    connection.append_shared(Arc::clone(&message));
    connection.append(b"end", &mut bench.pool);
    bench.until(ended, |input, _| input.len());
    assert!(client.join().unwrap() == expected);
    bench.slots.remove(id);
    assert_eq!(Arc::strong_count(&message), 1);
}
