//! The control plane from outside: over its sockets, with an instance whose condition the test sets.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see in this folder")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tandem_control::certs::{Authority, LEAF_LIFETIME};
use tandem_control::health::{Answer, ask, find};
use tandem_control::secrets::Secret;
use tandem_control::tls::{ClientCerts, TlsFiles, TlsOptions};
use tandem_control::{
    ControlPlane, Handle, Health, HttpSettings, Instance, Level, Place, Settings, StartError, Stop,
    TlsSettings,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An instance that is whatever the test says.
struct Puppet {
    health: Mutex<Health>,
    hang: Mutex<Duration>,
    reloads: AtomicUsize,
    log: Mutex<Vec<String>>,
    stops: Mutex<Vec<Stop>>,
}

impl Puppet {
    fn new() -> Arc<Puppet> {
        Arc::new(Puppet {
            health: Mutex::new(Health { status: "3 keys".into(), ..Health::good() }),
            hang: Mutex::default(),
            reloads: AtomicUsize::new(0),
            log: Mutex::default(),
            stops: Mutex::default(),
        })
    }
}

impl Instance for Puppet {
    fn crash(&self, _: i32) {}

    fn metrics(&self) -> String {
        let hang = *self.hang.lock().unwrap();
        std::thread::sleep(hang);
        "redis_up 1\n".into()
    }
    fn health(&self) -> Health {
        let hang = *self.hang.lock().unwrap();
        std::thread::sleep(hang);
        self.health.lock().unwrap().clone()
    }
    fn place(&self) -> Option<Place> {
        Some(place())
    }
    fn connect(&self, _: SocketAddr) -> Option<UnixStream> {
        None
    }
    fn shutdown(&self, reason: Stop) {
        self.stops.lock().unwrap().push(reason);
    }
    fn reread(&self) {}
    fn reload_tls(&self, _: Arc<ServerConfig>) {
        self.reloads.fetch_add(1, Ordering::SeqCst);
    }
    fn log(&self, _: Level, message: &str) {
        self.log.lock().unwrap().push(message.to_owned());
    }
}

fn place() -> Place {
    Place { address: "127.0.0.1:6380".parse().unwrap(), needs_tls: true }
}

fn settings() -> Settings {
    Settings { name: "test".into(), http: None, health_socket: None, tls: None, signals: false }
}

fn http(token: Option<&str>, tls: bool) -> Option<HttpSettings> {
    Some(HttpSettings {
        addresses: vec!["127.0.0.1:0".parse().unwrap()],
        token: token.map(Secret::new),
        tls,
        console: false,
    })
}

fn exchange(mut stream: impl Read + Write, path: &str, header: &str) -> String {
    let mut answer = String::new();
    // A request that is refused half-way may have been answered all the same.
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
    // A peer that closes without a TLS farewell has still sent its answer.
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn get(address: SocketAddr, path: &str, header: &str) -> String {
    exchange(connect(address), path, header)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn tls_client(address: SocketAddr, ca: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(address))
}

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start_http(puppet: &Arc<Puppet>, token: Option<&str>) -> (Handle, SocketAddr) {
    let handle =
        ControlPlane::start(Settings { http: http(token, false), ..settings() }, puppet.clone()).unwrap();
    let address = handle.http_addresses()[0];
    (handle, address)
}

#[test]
fn endpoints_tell_the_condition() {
    let puppet = Puppet::new();
    let (_handle, address) = start_http(&puppet, None);
    let page = get(address, "/metrics", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("\r\n\r\nredis_up 1\n"), "{page}");
    assert!(page.contains("text/plain; version=0.0.4"), "{page}");
    assert!(get(address, "/healthz", "").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz", "").contains("\"ready\":true"));
    assert!(get(address, "/nowhere", "").starts_with("HTTP/1.1 404"));

    puppet.health.lock().unwrap().persistence_fault = Some("fsync failed".into());
    assert!(get(address, "/healthz", "").starts_with("HTTP/1.1 200"));
    let ready = get(address, "/readyz", "");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("fsync failed"), "{ready}");

    puppet.health.lock().unwrap().ticking = false;
    assert!(get(address, "/healthz", "").starts_with("HTTP/1.1 503"));
}

#[test]
fn the_token_guards_metrics_and_reasons_but_not_the_probes() {
    let puppet = Puppet::new();
    let (_handle, address) = start_http(&puppet, Some("sesame"));
    for header in ["", "Authorization: Bearer sesamo\r\n", "Authorization: Basic sesame\r\n"] {
        let refused = get(address, "/metrics", header);
        assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("redis_up"), "{refused}");
    }
    assert!(get(address, "/metrics", "Authorization: Bearer sesame\r\n").contains("redis_up 1"));
    puppet.health.lock().unwrap().persistence_fault = Some("fsync failed".into());
    let probe = get(address, "/readyz", "");
    assert!(probe.starts_with("HTTP/1.1 503") && !probe.contains("fsync"), "{probe}");
    assert!(get(address, "/readyz", "Authorization: bearer sesame\r\n").contains("fsync failed"));
}

#[test]
fn a_hung_instance_is_reported_and_not_imitated() {
    let puppet = Puppet::new();
    let (_handle, address) = start_http(&puppet, None);
    *puppet.hang.lock().unwrap() = Duration::from_secs(5);
    let start = Instant::now();
    // More askers than calls at a time: nobody waits behind the hanging ones for ever.
    let answers: Vec<_> = (0..6).map(|_| std::thread::spawn(move || get(address, "/healthz", ""))).collect();
    for answer in answers {
        assert!(answer.join().unwrap().starts_with("HTTP/1.1 503"));
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(get(address, "/", "").starts_with("HTTP/1.1 200"));
    *puppet.hang.lock().unwrap() = Duration::ZERO;
    eventually("recovery", || get(address, "/healthz", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn oversized_and_foreign_requests_end_in_an_error() {
    let puppet = Puppet::new();
    let (_handle, address) = start_http(&puppet, None);
    let long = format!("X-Long: {}\r\n", "x".repeat(40_000));
    let answer = get(address, "/metrics", &long);
    assert!(!answer.contains("redis_up"), "{answer}");
    let many: String = (0..60).map(|index| format!("X-{index}: 1\r\n")).collect();
    assert!(!get(address, "/metrics", &many).contains("redis_up"));
    let mut stream = connect(address);
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains("200 OK"));
    let mut stream = connect(address);
    stream.write_all(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[test]
fn a_crowd_of_idle_connections_is_bounded_and_ends() {
    let puppet = Puppet::new();
    let (_handle, address) = start_http(&puppet, None);
    let crowd: Vec<_> = (0..40).map(|_| connect(address)).collect();
    eventually("those beyond the bound are closed at once", || {
        let closed = crowd.iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            matches!((&**stream).read(&mut [0]), Ok(0))
        });
        closed.count() >= 8
    });
    eventually("the rest are cut off in time", || get_once(address).contains("redis_up"));
}

#[test]
fn those_who_say_nothing_give_their_place_to_a_probe() {
    let puppet = Puppet::new();
    let (_handle, address) = start_http(&puppet, None);
    let mut idle: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    // Half of a request is nothing, too.
    idle.iter_mut().for_each(|stream| {
        let _ = stream.write_all(b"GET /hea");
    });
    for _ in 0..5 {
        assert!(get_once(address).starts_with("HTTP/1.1 200"));
    }
}

/// A request that may be refused by closing.
fn get_once(address: SocketAddr) -> String {
    let mut stream = connect(address);
    let mut answer = String::new();
    if write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() {
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

#[test]
fn https_uses_the_own_authority_and_follows_replaced_files() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "tandem-cache", &[]);
    let puppet = Puppet::new();
    let tls = Some(TlsSettings::Own(authority, ClientCerts::Ignored, TlsOptions::default()));
    let wanted = Settings { http: http(None, true), tls, ..settings() };
    let handle = ControlPlane::start(wanted, puppet.clone()).unwrap();
    let address = handle.http_addresses()[0];
    let ca = directory.path().join("ca.crt");
    assert!(exchange(tls_client(address, &ca), "/metrics", "").contains("redis_up 1"));
    let plaintext = get(address, "/metrics", "");
    assert!(plaintext.starts_with("HTTP/1.1 400") && plaintext.contains("https://"), "{plaintext}");
    assert!(handle.tls_config().is_some());
    assert!(puppet.log.lock().unwrap().iter().any(|line| line.contains("ca.crt")));

    // A torn key changes nothing but the log; a good pair is taken up.
    let key = directory.path().join("tandem-cache.key");
    std::fs::write(&key, "torn").unwrap();
    eventually("the torn file is noticed", || {
        puppet.log.lock().unwrap().iter().any(|line| line.contains("the certificate in use stays"))
    });
    assert!(exchange(tls_client(address, &ca), "/metrics", "").contains("redis_up 1"));
    assert_eq!(puppet.reloads.load(Ordering::SeqCst), 0);
    Authority::new(directory.path(), "tandem-cache", &[]).ensure(SystemTime::now()).unwrap();
    eventually("the good pair is loaded", || puppet.reloads.load(Ordering::SeqCst) == 1);
    assert!(exchange(tls_client(address, &ca), "/metrics", "").contains("redis_up 1"));
}

#[test]
fn metrics_ask_no_client_certificate_and_other_files_can_be_set() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let issue = |path: &Path| Authority::new(path, "a", &[]).ensure(SystemTime::now()).unwrap();
    let (first, second) = (issue(one.path()), issue(two.path()));
    let files = TlsFiles { client_ca: Some(first.ca.clone()), clients: ClientCerts::Required, ..first.files };
    let wanted = Settings { http: http(None, true), tls: Some(TlsSettings::Files(files)), ..settings() };
    let handle = ControlPlane::start(wanted, Puppet::new()).unwrap();
    let address = handle.http_addresses()[0];
    assert!(exchange(tls_client(address, &first.ca), "/metrics", "").contains("redis_up 1"));
    handle.certificates().replace(Some(TlsSettings::Files(second.files.clone()))).unwrap();
    assert!(exchange(tls_client(address, &second.ca), "/metrics", "").contains("redis_up 1"));
    let broken = TlsFiles { key: first.ca.with_file_name("a.key"), ..second.files };
    assert!(handle.certificates().replace(Some(TlsSettings::Files(broken))).is_err());
    assert!(exchange(tls_client(address, &second.ca), "/metrics", "").contains("redis_up 1"));
}

#[test]
fn a_certificate_that_has_ended_is_told_at_the_start_and_when_it_is_set() {
    let (good, ended) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let issue = |path: &Path, at| Authority::new(path, "a", &[]).ensure(at).unwrap().files;
    let good = issue(good.path(), SystemTime::now());
    let ended = issue(ended.path(), SystemTime::now() - LEAF_LIFETIME - Duration::from_secs(73 * 60 * 60));
    let line = format!("the certificate in {} has ended 3 days ago", ended.cert.display());
    let puppet = Puppet::new();
    let told = || puppet.log.lock().unwrap().iter().filter(|told| **told == line).count();
    let start = |files: &TlsFiles| {
        let tls = Some(TlsSettings::Files(files.clone()));
        ControlPlane::start(Settings { http: http(None, true), tls, ..settings() }, puppet.clone()).unwrap()
    };
    drop(start(&ended));
    assert_eq!(told(), 1, "{:?}", puppet.log);
    let handle = start(&good);
    assert_eq!(told(), 1);
    handle.certificates().replace(Some(TlsSettings::Files(ended))).unwrap();
    assert_eq!(told(), 2);
}

#[test]
fn the_console_wants_the_certificate_that_clients_must_show() {
    let directory = tempfile::tempdir().unwrap();
    let issued = Authority::new(directory.path(), "a", &[]).ensure(SystemTime::now()).unwrap();
    let files = TlsFiles { client_ca: Some(issued.ca.clone()), ..issued.files };
    let asking = |clients| Some(TlsSettings::Files(TlsFiles { clients, ..files.clone() }));
    for speaks_tls in [true, false] {
        let http = http(None, speaks_tls).map(|http| HttpSettings { console: true, ..http });
        let wanted = Settings { http, tls: asking(ClientCerts::Required), ..settings() };
        let handle = ControlPlane::start(wanted, Puppet::new()).unwrap();
        let address = handle.http_addresses()[0];
        let get = |path| match speaks_tls {
            true => exchange(tls_client(address, &issued.ca), path, LOGIN),
            false => get(address, path, LOGIN),
        };
        for path in ["/console", "/console/state"] {
            let answer = get(path);
            assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("certificate"), "{answer}");
        }
        assert!(get("/metrics").contains("redis_up 1"), "scrapers need none");
        for clients in [ClientCerts::Optional, ClientCerts::Ignored] {
            handle.certificates().replace(asking(clients)).unwrap();
            assert!(get("/console").starts_with("HTTP/1.1 503"), "the server is asked, and takes nobody");
        }
        handle.certificates().replace(asking(ClientCerts::Required)).unwrap();
        assert!(get("/console").starts_with("HTTP/1.1 403"));
    }
}

/// The header of a user's log-in.
const LOGIN: &str = "Authorization: Basic YTpi\r\n";

#[test]
fn a_taken_address_is_an_error_at_start() {
    let (_handle, address) = start_http(&Puppet::new(), None);
    let wanted = HttpSettings { addresses: vec![address], token: None, tls: false, console: false };
    let error =
        ControlPlane::start(Settings { http: Some(wanted), ..settings() }, Puppet::new()).unwrap_err();
    assert!(matches!(error, StartError::Http(..)) && error.to_string().contains(&address.to_string()));
    let error =
        ControlPlane::start(Settings { http: http(None, true), ..settings() }, Puppet::new()).unwrap_err();
    assert!(matches!(error, StartError::HttpsWithoutCertificates));
}

#[test]
fn the_health_socket_is_the_owners_and_answers_without_a_password() {
    let directory = tempfile::tempdir().unwrap();
    // Deeper than a socket's path may be, as data directories sometimes are.
    let deep = directory.path().join("d".repeat(80)).join("e".repeat(80));
    std::fs::create_dir_all(&deep).unwrap();
    for path in [directory.path().join("health.sock"), deep.join("health.sock")] {
        let puppet = Puppet::new();
        let wanted = Settings { health_socket: Some(path.clone()), ..settings() };
        let handle = ControlPlane::start(wanted.clone(), puppet.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&path, PATIENCE).unwrap(), Answer::Ready("3 keys".into()));
        assert_eq!(find(&path, PATIENCE).unwrap(), place());
        puppet.health.lock().unwrap().loading = Some(10);
        assert!(matches!(ask(&path, PATIENCE).unwrap(), Answer::NotReady(why) if why.contains("LOADING")));
        puppet.health.lock().unwrap().ticking = false;
        assert!(matches!(ask(&path, PATIENCE).unwrap(), Answer::NotAlive(_)));

        let error = ControlPlane::start(wanted.clone(), Puppet::new()).unwrap_err();
        assert!(matches!(error, StartError::HealthSocket(..)), "{error}");
        drop(handle);
        assert!(!path.exists(), "the socket goes with its server");
        assert!(ask(&path, PATIENCE).is_err());
        // A socket left behind by a killed server is replaced.
        let reachable = directory.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&reachable).unwrap());
        std::fs::rename(&reachable, &path).unwrap();
        let handle = ControlPlane::start(wanted, Puppet::new()).unwrap();
        assert!(ask(&path, PATIENCE).is_ok());
        drop(handle);
    }
}

#[test]
fn the_health_socket_bounds_questions_and_never_replaces_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("health.sock");
    std::fs::write(&path, "precious").unwrap();
    let wanted = Settings { health_socket: Some(path.clone()), ..settings() };
    assert!(ControlPlane::start(wanted.clone(), Puppet::new()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
    let _handle = ControlPlane::start(wanted, Puppet::new()).unwrap();
    for (question, answer) in
        [("json\n", "{\"alive\":true"), ("PING\r\n", "ERROR"), (&"x".repeat(500), "ERROR")]
    {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may answer and close before it has read all of an endless question.
        let _ = stream.write_all(question.as_bytes());
        let mut line = [0; 5];
        let length = stream.read(&mut line).unwrap();
        assert!(answer.starts_with(std::str::from_utf8(&line[..length]).unwrap()), "{question}");
    }
}

/// Not a test of its own: the process that the tests of signals and of the service manager start.
#[test]
#[ignore = "started by other tests as a child process"]
fn child() {
    let Some(directory) = std::env::var_os("CONTROL_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    let puppet = Puppet::new();
    let tls = Some(TlsSettings::Own(
        Authority::new(directory, "a", &[]),
        ClientCerts::Ignored,
        TlsOptions::default(),
    ));
    let handle = ControlPlane::start(Settings { signals: true, tls, ..settings() }, puppet.clone()).unwrap();
    handle.ready();
    std::fs::write(directory.join("up"), "").unwrap();
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
        puppet.health.lock().unwrap().ticking = !directory.join("hang").exists();
        let reloads = puppet.reloads.load(Ordering::SeqCst);
        std::fs::write(directory.join("reloads"), reloads.to_string()).unwrap();
        let stops = puppet.stops.lock().unwrap().clone();
        std::fs::write(directory.join("stops"), format!("{stops:?}")).unwrap();
        if stops.last() == Some(&Stop::Terminated) {
            handle.stopping();
            return;
        }
    }
}

fn start_child(directory: &Path, notify: Option<&Path>) -> Child {
    // The shell knows the process number that the service manager would put into the environment.
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" --exact child --ignored"]);
    command.arg(std::env::current_exe().unwrap()).env("CONTROL_TEST_DIRECTORY", directory);
    command.env_remove("NOTIFY_SOCKET").stdout(std::process::Stdio::null());
    if let Some(socket) = notify {
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "200000");
    }
    let child = command.spawn().unwrap();
    eventually("the child is up", || directory.join("up").exists());
    child
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn signals_reach_the_instance() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start_child(directory.path(), None);
    let told = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap_or_default();
    signal(&child, "HUP");
    eventually("a reload", || told("reloads") == "1");
    signal(&child, "INT");
    eventually("an interrupt", || told("stops") == "[Interrupted]");
    signal(&child, "INT");
    eventually("a second one", || told("stops") == "[Interrupted, Interrupted]");
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_watchdog_is_fed_only_while_the_threads_tick() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = start_child(directory.path(), Some(&socket));
    let hear = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut heard = Vec::new();
    while !(heard.iter().any(|line: &String| line.contains("READY=1"))
        && heard.iter().any(|line| line.contains("WATCHDOG=1") && line.contains("STATUS=READY 3 keys")))
    {
        heard.push(hear());
        assert!(heard.len() < 500, "{heard:?}");
    }
    std::fs::write(directory.path().join("hang"), "").unwrap();
    while !hear().contains("STATUS=DEAD") {}
    for _ in 0..10 {
        let told = hear();
        assert!(told.contains("STATUS=DEAD") && !told.contains("WATCHDOG=1"), "{told}");
    }
    std::fs::remove_file(directory.path().join("hang")).unwrap();
    while !hear().contains("WATCHDOG=1") {}
    signal(&child, "TERM");
    while !hear().contains("STOPPING=1") {}
    child.wait().unwrap();
}
