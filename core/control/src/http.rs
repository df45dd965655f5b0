//! `/metrics`, `/healthz`, `/readyz` and `/console` over HTTP/1.1 or HTTPS.
//!
//! One request a connection: a scraper comes every fifteen seconds, and a connection that stays open
//! between would only be one more thing to bound. The token guards the metrics. The probes answer without
//! it, since orchestrators cannot hold one, but tell their reason only to those who have it. The console, if it was asked for, lets
//! in who logs in as a user of the server (`visits.rs`).
//!
//! Every connection has a bound in number, size and time, and one that says nothing gives its place to the
//! next, so that nobody can keep the endpoint from a scrape or a probe.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::health::to_json;
use crate::plane::Plane;
use crate::secrets::Secret;
use crate::visits::{self, Origin};

/// Connections at a time. One more takes the place of the oldest that has not asked for anything yet; if all have, it is closed at
/// once, which a scraper sees as a failed scrape.
const CONNECTIONS_MAX: usize = 32;

/// Longest a connection may live, handshake and answer included.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);

/// Longest the head of a request may take, a handshake ahead of it not counted.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header lines of a request.
const HEADERS_MAX: usize = 32;

/// Rest after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The content type that Prometheus knows its text format by.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(crate) const TEXT_TYPE: &str = "text/plain; charset=utf-8";
pub(crate) const JSON_TYPE: &str = "application/json";

const INDEX: &str = "Tandem\n/metrics  Prometheus\n/healthz  alive?\n/readyz   ready for clients?\n";
const INDEX_OF_CONSOLE: &str = "Tandem\n/metrics  Prometheus\n/healthz  alive?\n/readyz   ready for clients?\n/console  the live state, for users of the server\n";

pub(crate) type Answer = Response<Full<Bytes>>;

/// A bound endpoint.
pub(crate) struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    doors: Doors,
}

/// What is spoken at an endpoint, and to whom.
#[derive(Debug)]
pub(crate) struct Doors {
    /// What scrapers must show; `None` lets everybody in.
    pub(crate) token: Option<Secret>,
    /// HTTPS, and nothing else.
    pub(crate) tls: bool,
    /// There is a console.
    pub(crate) console: bool,
}

impl HttpServer {
    /// Takes the address. Needs a runtime around it.
    pub(crate) fn bind(address: SocketAddr, doors: Doors) -> io::Result<HttpServer> {
        // The standard listener sets SO_REUSEADDR, so a restart does not wait for old connections.
        let listener = net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(HttpServer { address: listener.local_addr()?, listener, doors })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until the runtime ends.
pub(crate) async fn serve(server: HttpServer, plane: Arc<Plane>) {
    let doors = Arc::new(server.doors);
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        let Ok((stream, peer)) = server.listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        guests.retain(|guest| !guest.task.is_finished());
        if guests.len() >= CONNECTIONS_MAX {
            let idle = guests.iter().position(|guest| !guest.has_asked.load(Ordering::Relaxed));
            let Some(oldest) = idle.and_then(|at| guests.remove(at)) else { continue };
            oldest.task.abort();
        }
        let (plane, doors) = (Arc::clone(&plane), Arc::clone(&doors));
        let has_asked = Arc::new(AtomicBool::new(false));
        let asks = Arc::clone(&has_asked);
        let task = tokio::spawn(async move {
            let connection = async {
                if !doors.tls {
                    let origin = Origin { peer, tls: false, is_certified: false };
                    return converse(stream, origin, &plane, &doors, &asks).await;
                }
                if !begins_handshake(&stream).await {
                    return say_tls(stream).await;
                }
                // Taken per connection, so that a renewed certificate is used at once.
                let Some(config) = plane.http_tls() else { return };
                if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                    let shown = stream.get_ref().1.peer_certificates();
                    let is_certified = shown.is_some_and(|chain| !chain.is_empty());
                    let origin = Origin { peer, tls: true, is_certified };
                    converse(stream, origin, &plane, &doors, &asks).await;
                }
            };
            // Who is too slow is cut off without a word.
            let _ = timeout(CONNECTION_PATIENCE, connection).await;
        });
        guests.push_back(Guest { task: task.abort_handle(), has_asked });
    }
}

/// Whether the first byte is that of a TLS handshake. It is left in the socket.
async fn begins_handshake(stream: &TcpStream) -> bool {
    const HANDSHAKE_RECORD: u8 = 0x16;
    let mut first = [0];
    // A peer that has gone is nobody to tell anything.
    !matches!(stream.peek(&mut first).await, Ok(1)) || first[0] == HANDSHAKE_RECORD
}

/// Tells whoever speaks plaintext what is spoken here.
async fn say_tls(mut stream: TcpStream) {
    const BODY: &str = "this port speaks TLS: ask with https://\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: {TEXT_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    // What it has sent is taken first: closing over it would reset the connection, and the answer with it.
    let mut head = [0; 1024];
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// A connection, the oldest first.
struct Guest {
    task: AbortHandle,
    /// The head of its request has come.
    has_asked: Arc<AtomicBool>,
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    origin: Origin,
    plane: &Plane,
    doors: &Doors,
    asks: &AtomicBool,
) {
    let service = service_fn(async |request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        Ok::<_, Infallible>(respond(&request, origin, plane, doors).await)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A peer's broken request or connection is the peer's affair.
    let _ = served.await;
}

async fn respond(request: &Request<Incoming>, origin: Origin, plane: &Plane, doors: &Doors) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let trusted = is_trusted(request, doors.token.as_ref());
    match request.uri().path() {
        "/metrics" if !trusted => unauthorized(),
        "/metrics" => match plane.metrics().await {
            Some(page) => answer(StatusCode::OK, METRICS_TYPE, page),
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the server does not answer\n"),
        },
        "/healthz" => {
            let health = plane.health().await;
            verdict(health.not_alive(), trusted, to_json(&health))
        }
        "/readyz" => {
            let health = plane.health().await;
            verdict(health.not_ready(), trusted, to_json(&health))
        }
        path if doors.console && is_console(path) => visits::respond(request, origin, plane).await,
        "/" if doors.console => plain(StatusCode::OK, INDEX_OF_CONSOLE),
        "/" => plain(StatusCode::OK, INDEX),
        _ => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn is_console(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

fn verdict(problem: Option<String>, trusted: bool, details: String) -> Answer {
    let status = if problem.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match (trusted, problem) {
        (true, _) => answer(status, JSON_TYPE, details + "\n"),
        (false, None) => plain(status, "ok\n"),
        (false, Some(_)) => plain(status, "unavailable\n"),
    }
}

fn is_trusted(request: &Request<Incoming>, token: Option<&Secret>) -> bool {
    let Some(token) = token else { return true };
    let Some((scheme, guess)) = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && token.matches(guess.trim().as_bytes())
}

fn unauthorized() -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

pub(crate) fn plain(status: StatusCode, text: &'static str) -> Answer {
    answer(status, TEXT_TYPE, text)
}

pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
