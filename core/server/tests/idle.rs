//! What a server costs that has nothing to do: processor time by kind of socket, number of threads and state of its clients.
//!
//! One test, because it measures the process: nothing else may run in it.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use control::certs::Authority;
use support::{Client, Server, server};

/// How long one state is watched.
const WATCH: Duration = Duration::from_millis(250);

/// Most processor time of the process in that time. A thread that spins takes all of it, or at least its share of a
/// busy machine; one that sleeps takes some hundred microseconds.
const COST_MAX: Duration = Duration::from_millis(25);

/// Processor time of all threads of this process.
fn spent() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let of_thread = |path: &Path| -> u64 {
        // A thread that has just ended has no time to tell.
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.map(|entry| of_thread(&entry.unwrap().path())).sum())
}

/// The server must come to rest within some seconds and stay so for a while.
fn rests(state: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let before = spent();
        std::thread::sleep(WATCH);
        let cost = spent().saturating_sub(before);
        if cost < COST_MAX {
            return;
        }
        assert!(Instant::now() < end, "{state}: {cost:?} of processor time in {WATCH:?}");
    }
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A server that listens on everything there is.
fn everywhere(dir: &Path, words: &[&str]) -> (Server, String, String) {
    let issued = Authority::new(dir, "tandem", &[]).ensure(SystemTime::now()).unwrap();
    let (cert, key) = (issued.files.cert.to_str().unwrap(), issued.files.key.to_str().unwrap());
    let (tls_port, socket) = (free_port(), format!("{}/socket", dir.display()));
    let mut all = vec!["--save", "", "--tls-port", &tls_port, "--tls-cert-file", cert, "--tls-key-file", key];
    all.extend(["--tls-auth-clients", "no", "--unixsocket", &socket, "--bind", "127.0.0.1 127.0.0.2 -::1"]);
    all.extend(words);
    (server(dir, &all), tls_port, socket)
}

#[test]
fn an_idle_server_sleeps() {
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let (server, tls_port, socket) =
            everywhere(dir.path(), &["--io-threads", threads, "--maxclients", "12"]);
        rests(&format!("{threads} threads, nobody there"));
        let mut operator = server.client();
        states(&mut operator, &server, &tls_port, &socket);
        let crowd: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(server.address).unwrap()).collect();
        rests("more clients than maxclients");
        drop(crowd);
        operator.ask("CONFIG SET bind \"127.0.0.1 127.0.0.3\"", "+OK\r\n");
        operator.ask(&format!("CONFIG SET tls-port {}", free_port()), "+OK\r\n");
        operator.ask(&format!("CONFIG SET port {}", free_port()), "+OK\r\n");
        rests("sockets that were moved");
        operator.ask("CONFIG SET port 0", "+OK\r\n");
        rests("only TLS and a Unix socket");
        operator.ask("CONFIG SET requirepass pw", "+OK\r\n");
        let _stranger = UnixStream::connect(&socket).unwrap();
        rests("a stranger who says nothing");
        server.finish();
    }
}

/// Clients in every state that lasts.
fn states(operator: &mut Client, server: &Server, tls_port: &str, socket: &str) {
    let _plain = TcpStream::connect(server.address).unwrap();
    let mut tls = Client { stream: TcpStream::connect(format!("127.0.0.1:{tls_port}")).unwrap() };
    let mut unix = UnixStream::connect(socket).unwrap();
    rests("clients who say nothing");
    let mut blocked = server.client();
    blocked.send(b"BLPOP nothing 0\r\nPING\r\n");
    let mut monitor = server.client();
    monitor.ask("MONITOR", "+OK\r\n");
    let mut half = server.client();
    half.send(b"*2\r\n$4\r\nPI");
    tls.send(&[22, 3, 1]);
    std::io::Write::write_all(&mut unix, b"SUBSCRIBE a\r\n").unwrap();
    rests("clients who wait, watch, or have said half of something");
    operator.ask("CLIENT PAUSE 1500 ALL", "+OK\r\n");
    let mut paused = server.client();
    paused.send(b"GET a\r\nGET b\r\n");
    rests("paused clients");
    paused.expect("$-1\r\n$-1\r\n");
    // Replies that nobody reads.
    let mut deaf = server.client();
    operator.send(&support::request(&[b"SET", b"large", &vec![b'x'; 1 << 20]]));
    operator.expect("+OK\r\n");
    deaf.send("GET large\r\n".repeat(30).as_bytes());
    rests("a client who does not read");
}

#[test]
fn what_waits_for_a_client_is_told_whichever_thread_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(
        dir.path(),
        &["--save", "", "--io-threads", "4", "--client-output-buffer-limit", "pubsub 0 0 0"],
    );
    let mut operator = server.client();
    let mut deaf: Vec<Client> = (0..4).map(|_| server.client()).collect();
    // Each its own: what is long in a message for many is there once.
    for (channel, client) in deaf.iter_mut().enumerate() {
        let confirmed = format!("*3\r\n$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:1\r\n");
        client.ask(&format!("SUBSCRIBE {channel}"), &confirmed);
    }
    // Time for each thread to have told what there was before.
    std::thread::sleep(Duration::from_millis(1_500));
    for channel in 0..deaf.len() {
        let message = vec![b'x'; 16 << 20];
        operator.send(&support::request(&[b"PUBLISH", channel.to_string().as_bytes(), &message]));
        operator.expect(":1\r\n");
    }
    let told = |operator: &mut Client| operator.info("mem_clients_normal").parse::<usize>().unwrap();
    let mut waits_for = |wanted: &dyn Fn(usize) -> bool| {
        let end = std::time::Instant::now() + support::PATIENCE;
        while !wanted(told(&mut operator)) {
            assert!(std::time::Instant::now() < end, "{} bytes are told", told(&mut operator));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    waits_for(&|bytes| bytes > 4 * (8 << 20));
    drop(deaf);
    waits_for(&|bytes| bytes < 8 << 20);
}
