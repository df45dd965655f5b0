//! Starts the control plane on a runtime of its own, and the handle the server holds on it.
//!
//! Sockets are bound before `start` returns, so that a taken port is an error at boot and not a line in
//! a log. The server keeps the [`Handle`]: it says when it is ready and when it stops, and dropping it
//! ends the threads.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::certs::{self, Authority, CertError};
use crate::http::{self, Doors, HttpServer};
use crate::instance::{Health, Instance, Level};
use crate::notify::Notifier;
use crate::secrets::Secret;
use crate::signals;
use crate::socket::HealthSocket;
use crate::tls::{self, ClientCerts, Fingerprint, TlsError, TlsFiles, TlsOptions};
use crate::visits::Visits;

/// Longest a call into the server may take before the server counts as hung.
pub(crate) const INSTANCE_PATIENCE: Duration = Duration::from_secs(2);

/// Calls into the server at a time. Were it to hang, this many threads would hang with it and no more.
const INSTANCE_CALLS_MAX: usize = 4;

/// Threads for those calls and for reading certificate files.
const BLOCKING_THREADS_MAX: usize = 8;

/// Seconds of a day.
const DAY_S: u64 = 24 * 60 * 60;

/// How often the certificate files are looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(5);

/// How often the authority is asked whether a certificate is due.
const RENEWAL_PERIOD: Duration = Duration::from_secs(3600);

/// How long the threads are waited for when the handle is dropped.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `tandem-cache` or `tandem-queue`: thread names and log lines.
    pub name: String,
    /// The metrics endpoint, if any.
    pub http: Option<HttpSettings>,
    /// Where the owner-only health socket is made, if anywhere.
    pub health_socket: Option<PathBuf>,
    /// The certificates to load and watch, if there is TLS at all.
    pub tls: Option<TlsSettings>,
    /// Whether SIGTERM, SIGINT and SIGHUP are this instance's; false in tests that share a process.
    pub signals: bool,
}

/// The endpoint that serves `/metrics`, `/healthz`, `/readyz` and, if it may, `/console`.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where to listen; port 0 takes a free one.
    pub addresses: Vec<SocketAddr>,
    /// What scrapers must send as `Authorization: Bearer …`; `None` lets everybody in.
    pub token: Option<Secret>,
    /// Whether to speak HTTPS, with the certificate of [`Settings::tls`].
    pub tls: bool,
    /// Whether users of the server may see its state there.
    pub console: bool,
}

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum TlsSettings {
    /// From the operator's files.
    Files(TlsFiles),
    /// From an authority of our own, made at first start and renewed in time. Whether clients must show
    /// certificates is said beside it; they are then issued by other means than ours.
    Own(Authority, ClientCerts, TlsOptions),
}

/// Why the control plane did not start.
#[derive(Debug)]
pub enum StartError {
    /// The system gave no thread, timer or signal handler.
    Runtime(io::Error),
    /// The metrics address is taken or not allowed.
    Http(SocketAddr, io::Error),
    /// The health socket could not be made.
    HealthSocket(PathBuf, io::Error),
    /// The authority's certificates could not be made.
    Certificates(CertError),
    /// The certificates could not be loaded.
    Tls(TlsError),
    /// HTTPS is wanted for metrics but no certificates are configured.
    HttpsWithoutCertificates,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Runtime(error) => write!(f, "control plane: {error}"),
            StartError::Http(address, error) => write!(f, "metrics address {address}: {error}"),
            StartError::HealthSocket(path, error) => write!(f, "health socket {}: {error}", path.display()),
            StartError::Certificates(error) => error.fmt(f),
            StartError::Tls(error) => error.fmt(f),
            StartError::HttpsWithoutCertificates => f.write_str("HTTPS for metrics needs TLS certificates"),
        }
    }
}

impl std::error::Error for StartError {}

/// The way in: see [`ControlPlane::start`].
#[derive(Debug)]
pub struct ControlPlane;

impl ControlPlane {
    /// Loads certificates, binds the sockets, takes over the signals and starts serving.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running after an error.
    pub fn start(settings: Settings, instance: Arc<dyn Instance>) -> Result<Handle, StartError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name(format!("{}-control", settings.name))
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let has_console = settings.http.as_ref().is_some_and(|http| http.console);
        let tls = settings.tls.map(|tls| Tls::start(tls, has_console, instance.as_ref())).transpose()?;
        let plane = Arc::new(Plane {
            slots: Arc::new(Semaphore::new(INSTANCE_CALLS_MAX)),
            tls: Mutex::new(tls),
            has_console,
            notifier: Notifier::from_environment(),
            visits: Visits::default(),
            instance,
        });
        let http_addresses = {
            let _inside = runtime.enter();
            if settings.signals {
                signals::watch(&plane).map_err(StartError::Runtime)?;
            }
            if let Some(path) = settings.health_socket {
                let socket =
                    HealthSocket::bind(&path).map_err(|error| StartError::HealthSocket(path, error))?;
                tokio::spawn(socket.serve(Arc::clone(&plane)));
            }
            tokio::spawn(watch_files(Arc::clone(&plane)));
            tokio::spawn(renew(Arc::clone(&plane)));
            if let Some(pings) = Notifier::watchdog(&plane) {
                tokio::spawn(pings);
            }
            settings.http.map_or(Ok(Vec::new()), |http| start_http(http, &plane))?
        };
        Ok(Handle { plane, http_addresses, runtime: Some(runtime) })
    }
}

fn start_http(settings: HttpSettings, plane: &Arc<Plane>) -> Result<Vec<SocketAddr>, StartError> {
    if settings.tls && plane.tls().is_none() {
        return Err(StartError::HttpsWithoutCertificates);
    }
    let mut bound = Vec::new();
    for &address in &settings.addresses {
        let doors = Doors { token: settings.token.clone(), tls: settings.tls, console: settings.console };
        let server = HttpServer::bind(address, doors).map_err(|error| StartError::Http(address, error))?;
        bound.push(server.address());
        tokio::spawn(http::serve(server, Arc::clone(plane)));
    }
    Ok(bound)
}

/// A running control plane. Dropping it closes its sockets and ends its threads.
#[derive(Debug)]
pub struct Handle {
    plane: Arc<Plane>,
    http_addresses: Vec<SocketAddr>,
    runtime: Option<Runtime>,
}

impl Handle {
    /// Where metrics are really served, in the order asked for.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// The TLS configuration for the data port's new connections; later ones arrive by
    /// [`Instance::reload_tls`].
    pub fn tls_config(&self) -> Option<Arc<ServerConfig>> {
        Some(self.plane.tls().as_ref()?.loaded.data.clone())
    }

    /// The way to other certificates.
    pub fn certificates(&self) -> Certificates {
        Certificates(Arc::clone(&self.plane))
    }

    /// Tells the service manager that clients are served. Until then, while the server ticks, its start
    /// time limit is extended, so that a long load is not taken for a hang.
    pub fn ready(&self) {
        self.plane.notifier.ready();
    }

    /// Tells the service manager that the server is on its way out. Until the process ends, while the
    /// server ticks, the stop time limit is extended, so that a last save is not cut off.
    pub fn stopping(&self) {
        self.plane.notifier.stopping();
    }
}

/// The way to change the certificates of a running control plane.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Plane>);

/// What INFO tells of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its serial number, hexadecimal digits.
    pub serial: String,
    /// When it ends.
    pub not_after: SystemTime,
}

impl CertificateFacts {
    /// Of the first certificate in a PEM file, if it is understood.
    fn of(path: &Path) -> Option<CertificateFacts> {
        let chain = tls::certificates(path).ok()?;
        let first = chain.first()?;
        Some(CertificateFacts { serial: certs::serial(first)?, not_after: certs::not_after(first)? })
    }
}

impl Certificates {
    /// What is known of the server's certificate and of the authority that clients' certificates are compared with, or else of
    /// our own authority, as they were loaded last.
    pub fn facts(&self) -> [Option<CertificateFacts>; 2] {
        self.0.tls().as_ref().map(|tls| tls.loaded.facts.clone()).unwrap_or_default()
    }

    /// Uses other certificates from now on, as after CONFIG SET tls-cert-file, and watches their files.
    ///
    /// # Errors
    /// See [`StartError`]; the old ones stay in use.
    pub fn replace(&self, settings: Option<TlsSettings>) -> Result<Option<Arc<ServerConfig>>, StartError> {
        let Plane { instance, has_console, .. } = &*self.0;
        let fresh = settings.map(|tls| Tls::start(tls, *has_console, instance.as_ref())).transpose()?;
        let config = fresh.as_ref().map(|tls| tls.loaded.data.clone());
        *self.0.tls() = fresh;
        Ok(config)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(STOP_PATIENCE);
        }
    }
}

/// What the tasks of the control plane share.
pub(crate) struct Plane {
    instance: Arc<dyn Instance>,
    slots: Arc<Semaphore>,
    tls: Mutex<Option<Tls>>,
    has_console: bool,
    notifier: Notifier,
    pub(crate) visits: Visits,
}

impl Plane {
    /// The server's condition; one that does not answer in time is hung.
    pub(crate) async fn health(&self) -> Health {
        self.call(|instance| instance.health()).await.unwrap_or_else(Health::hung)
    }

    /// The metrics page, `None` when the server does not give it in time.
    pub(crate) async fn metrics(&self) -> Option<String> {
        self.call(|instance| instance.metrics()).await
    }

    /// Calls the server on another thread, and waits for it no longer than its time. A call that never
    /// returns keeps its place, which is what bounds the threads it can take.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Instance) -> T + Send + 'static,
    ) -> Option<T> {
        let (slots, instance) = (Arc::clone(&self.slots), Arc::clone(&self.instance));
        let answer = async move {
            let place = slots.acquire_owned().await.ok()?;
            let asked = tokio::task::spawn_blocking(move || {
                let answer = ask(instance.as_ref());
                drop(place);
                answer
            });
            asked.await.ok()
        };
        timeout(INSTANCE_PATIENCE, answer).await.ok().flatten()
    }

    pub(crate) async fn log(&self, level: Level, message: String) {
        // A log that hangs must not stop the control plane; the line is lost then.
        let _ = self.call(move |instance| instance.log(level, &message)).await;
    }

    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// The certificate for the metrics endpoint, for connections from now on.
    pub(crate) fn http_tls(&self) -> Option<Arc<ServerConfig>> {
        Some(self.tls().as_ref()?.loaded.http.clone())
    }

    /// Whether clients must show a certificate where TLS is spoken.
    pub(crate) fn wants_certificates(&self) -> bool {
        self.tls().as_ref().is_some_and(|tls| tls.loaded.files.clients == ClientCerts::Required)
    }

    fn tls(&self) -> std::sync::MutexGuard<'_, Option<Tls>> {
        // Nothing panics while it is held, and what it guards is whole at every moment.
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the files in use again; `None` when they are as they were.
    fn reload(&self, always: bool) -> Option<Result<Fresh, TlsError>> {
        let (files, seen) = {
            let mut tls = self.tls();
            let loaded = &mut tls.as_mut()?.loaded;
            let seen = Fingerprint::of(&loaded.files);
            if seen == loaded.seen && !always {
                return None;
            }
            // Remembered also when loading fails, so that one bad state is told once.
            loaded.seen = seen.clone();
            (loaded.files.clone(), seen)
        };
        let fresh = match Loaded::from(files, self.has_console) {
            Ok(fresh) => fresh,
            Err(error) => return Some(Err(error)),
        };
        let news = Fresh { config: fresh.data.clone(), overdue: fresh.overdue(SystemTime::now()) };
        let mut tls = self.tls();
        // Other files may have been named meanwhile, or newer ones of the same names read; then these are nobody's.
        let current =
            tls.as_mut().filter(|tls| tls.loaded.files == fresh.files && tls.loaded.seen == seen)?;
        current.loaded = fresh;
        Some(Ok(news))
    }

    /// Reads the certificate files again, when they changed or `always`; a bad state of them is logged
    /// once and changes nothing.
    pub(crate) async fn reload_tls(self: &Arc<Self>, always: bool) {
        let plane = Arc::clone(self);
        let outcome = tokio::task::spawn_blocking(move || plane.reload(always)).await;
        match outcome.ok().flatten() {
            None => {}
            Some(Err(error)) => {
                self.log(Level::Warning, format!("{error}; the certificate in use stays")).await;
            }
            Some(Ok(Fresh { config, overdue })) => {
                self.call(move |instance| instance.reload_tls(config)).await;
                self.log(Level::Notice, "TLS certificate reloaded".to_owned()).await;
                for line in overdue {
                    self.log(Level::Warning, line).await;
                }
            }
        }
    }

    /// Has the own authority renew what is due. Blocks on files.
    fn renew(&self) -> Option<Result<Vec<String>, CertError>> {
        let authority = self.tls().as_ref()?.authority.clone()?;
        Some(authority.ensure(SystemTime::now()).map(|issued| issued.made))
    }
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plane")
    }
}

/// The certificates in use and the authority that renews them, if it is ours.
struct Tls {
    authority: Option<Authority>,
    loaded: Loaded,
}

/// What a look at the files has brought.
struct Fresh {
    config: Arc<ServerConfig>,
    /// See [`Loaded::overdue`].
    overdue: Vec<String>,
}

/// One state of the files, loaded.
struct Loaded {
    files: TlsFiles,
    seen: Fingerprint,
    data: Arc<ServerConfig>,
    /// The same certificate without demanding one of clients: scrapers show a token. Where they are demanded elsewhere and there is a
    /// console, they are asked for, since users of it need one then (`visits.rs`).
    http: Arc<ServerConfig>,
    /// Of the server's certificate and of the authority.
    facts: [Option<CertificateFacts>; 2],
}

impl Loaded {
    fn from(files: TlsFiles, has_console: bool) -> Result<Loaded, TlsError> {
        // Looked at before reading: a change during the read is then seen at the next look.
        let seen = Fingerprint::of(&files);
        let data = tls::load(&files)?;
        let asked = match files.clients {
            ClientCerts::Required if has_console => ClientCerts::Optional,
            _ => ClientCerts::Ignored,
        };
        let http = match files.clients {
            ClientCerts::Ignored => data.clone(),
            _ => tls::load(&TlsFiles { clients: asked, ..files.clone() })?,
        };
        let facts =
            [CertificateFacts::of(&files.cert), files.client_ca.as_deref().and_then(CertificateFacts::of)];
        Ok(Loaded { files, seen, data, http, facts })
    }

    /// What has ended, a line each: such files load, and then every client that looks at them goes away without the server hearing why.
    fn overdue(&self, now: SystemTime) -> Vec<String> {
        let paths = [Some(&self.files.cert), self.files.client_ca.as_ref()];
        let ended = self.facts.iter().zip(paths).filter_map(|(facts, path)| {
            let days = now.duration_since(facts.as_ref()?.not_after).ok()?.as_secs() / DAY_S;
            Some(format!("the certificate in {} has ended {days} days ago", path?.display()))
        });
        ended.collect()
    }
}

impl Tls {
    fn start(settings: TlsSettings, has_console: bool, instance: &dyn Instance) -> Result<Tls, StartError> {
        let (authority, files) = match settings {
            TlsSettings::Files(files) => (None, files),
            TlsSettings::Own(authority, clients, options) => {
                let issued = authority.ensure(SystemTime::now()).map_err(StartError::Certificates)?;
                for made in &issued.made {
                    instance.log(Level::Notice, &format!("made {made}"));
                }
                let client_ca = (clients != ClientCerts::Ignored).then_some(issued.ca);
                (Some(authority), TlsFiles { client_ca, clients, options, ..issued.files })
            }
        };
        let loaded = Loaded::from(files, has_console).map_err(StartError::Tls)?;
        for line in loaded.overdue(SystemTime::now()) {
            instance.log(Level::Warning, &line);
        }
        Ok(Tls { authority, loaded })
    }
}

async fn watch_files(plane: Arc<Plane>) {
    loop {
        tokio::time::sleep(WATCH_PERIOD).await;
        plane.reload_tls(false).await;
    }
}

async fn renew(plane: Arc<Plane>) {
    loop {
        tokio::time::sleep(RENEWAL_PERIOD).await;
        let worker = Arc::clone(&plane);
        match tokio::task::spawn_blocking(move || worker.renew()).await.ok().flatten() {
            None => {}
            Some(Ok(made)) => {
                for made in made {
                    plane.log(Level::Notice, format!("renewed {made}")).await;
                }
            }
            Some(Err(error)) => plane.log(Level::Warning, error.to_string()).await,
        }
    }
}
