//! The console over HTTP: who may have the page and the state, and the conversation with the server by which the state is had.
//!
//! Who comes logs in by name and password of a user of the server, with every request anew. That is checked by the server itself:
//! the state is asked for over a connection of its own, as any client's from that address would be, so the one gate decides, failed
//! log-ins stand in ACL LOG and wait in the line of password checks like others, and nothing here holds the engine.
//!
//! Passwords come over TLS or from this machine only. Without TLS the name in `Host` must be one of this machine, too: another one
//! is that of a foreign page, whose name somebody has led to this address. Where clients must show a certificate, so must a browser: one
//! that the data port trusts, over HTTPS. Without it are only those let in who reach the data port without TLS: on this machine, where
//! that is open to it.
//!
//! Every visit has a bound in time and bytes, there are few at a time, and fewer of one machine, so that a console that hangs takes
//! no scrape's place.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use console::{Answer as PartAnswer, Frame, Part, Trouble, Value};
use hyper::Request;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::http::{self, Answer};
use crate::instance::Health;
use crate::plane::Plane;
use crate::secrets::Secret;

/// Requests for the console that are answered at a time, of all and of one machine. More are refused, and may come again.
const VISITS_MAX: usize = 4;
const VISITS_OF_ONE_MAX: usize = 2;

/// Longest a visit may take: a password check in a crowd, and a state from a server that is busy.
const VISIT_PATIENCE: Duration = Duration::from_secs(5);

/// Rest before a server is asked again where it is reached.
const PLACE_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of replies that one visit may read: what 10,000 queues have to tell.
const REPLY_BYTES_MAX: usize = 8 << 20;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

const HTML_TYPE: &str = "text/html; charset=utf-8";

/// Headers of every answer of the console: nobody frames it, guesses its type, or takes it into another page.
const GUARDS: [(&str, &str); 5] = [
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// The policy of what is no page: nothing may be in it.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// How a browser is told to ask for a name and a password.
const CHALLENGE: &str = "Basic realm=\"Tandem\", charset=\"UTF-8\"";

/// When who was turned away may come again, seconds.
const RETRY_AFTER_S: &str = "2";

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    /// It has shown a certificate that clients of the data port may show.
    pub(crate) is_certified: bool,
}

/// Answers a request for `/console` or something below it.
pub(crate) async fn respond<B>(request: &Request<B>, origin: Origin, plane: &Plane) -> Answer {
    let path = request.uri().path();
    let (answer, policy) = match (path, welcome(request, origin)) {
        (_, Err(refusal)) => (refusal.answer(), NO_PAGE),
        (path, Ok(login)) if is_page(path) => match visit(plane, origin, &login, &[]).await {
            Ok(_) => {
                let page = console::page();
                (http::answer(StatusCode::OK, HTML_TYPE, page.html.as_str()), page.policy.as_str())
            }
            Err(refusal) => (refusal.answer(), NO_PAGE),
        },
        ("/console/state", Ok(login)) => (tell_state(request, origin, plane, &login).await, NO_PAGE),
        _ => (http::plain(StatusCode::NOT_FOUND, "not found\n"), NO_PAGE),
    };
    guarded(answer, policy)
}

/// Whether this is the page's path, as people type it.
fn is_page(path: &str) -> bool {
    path == "/console" || path == "/console/"
}

/// The answer with the headers that keep a browser from making anything else of it.
fn guarded(mut answer: Answer, policy: &'static str) -> Answer {
    for (name, value) in GUARDS {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let name = HeaderName::from_static("content-security-policy");
    answer.headers_mut().insert(name, HeaderValue::from_static(policy));
    answer
}

async fn tell_state<B>(request: &Request<B>, origin: Origin, plane: &Plane, login: &Login) -> Answer {
    let Some(parts) = Part::asked(request.uri().query()) else {
        return http::plain(StatusCode::BAD_REQUEST, "no such part of the state\n");
    };
    match visit(plane, origin, login, &parts).await {
        Ok(answers) => {
            let troubles = troubles(plane.health().await);
            http::answer(StatusCode::OK, http::JSON_TYPE, console::state(&login.name, &troubles, &answers))
        }
        Err(refusal) => refusal.answer(),
    }
}

/// What is wrong with the server, the worst first.
fn troubles(health: Health) -> Vec<Trouble> {
    let stopping = health.stopping.then(|| "the server is shutting down".to_owned());
    let loading = health.loading.map(|percent| format!("the data set is being read, {percent}% is in"));
    let told = [
        ("server", health.not_alive()),
        ("server", stopping),
        ("loading", loading),
        ("writes", health.persistence_fault),
        ("memory", health.full),
        ("replicas", health.replicas),
        ("busy", health.busy),
        ("backup", health.archive),
        ("replication", health.link),
    ];
    told.into_iter().filter_map(|(what, text)| Some(Trouble { what, text: text? })).collect()
}

/// A name and a password.
#[derive(Debug)]
struct Login {
    name: String,
    password: Secret,
}

/// Who asks, if he may ask from there.
fn welcome<B>(request: &Request<B>, origin: Origin) -> Result<Login, Refusal> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_here = origin.peer.ip().to_canonical().is_loopback();
    let is_private = origin.tls || is_here && header(HOST).is_some_and(names_this_machine);
    if !is_private {
        let text = "the console is told over HTTPS (metrics-tls), or on this machine by the name localhost";
        return Err(Refusal::of(StatusCode::FORBIDDEN, text));
    }
    let site = header(HeaderName::from_static("sec-fetch-site")).unwrap_or("none");
    if !is_page(request.uri().path()) && !["same-origin", "none"].contains(&site) {
        return Err(Refusal::of(StatusCode::FORBIDDEN, "the state is for the console's own page"));
    }
    let login = header(AUTHORIZATION).and_then(login);
    login.ok_or_else(|| Refusal::of(StatusCode::UNAUTHORIZED, "a user's name and password are needed"))
}

/// Refuses who shows no certificate where the data port would not take him without one.
async fn check_certificate(plane: &Plane, origin: Origin, deadline: Instant) -> Result<(), Refusal> {
    if origin.is_certified || !plane.wants_certificates() {
        return Ok(());
    }
    if !origin.tls && !needs_tls(plane, deadline).await? {
        return Ok(());
    }
    let text = "this server wants clients to show a certificate (tls-auth-clients): the console is told over HTTPS (metrics-tls) to who \
                shows one";
    Err(Refusal::of(StatusCode::FORBIDDEN, text))
}

/// Whether clients on this machine need TLS. A server that is busy is asked again.
async fn needs_tls(plane: &Plane, deadline: Instant) -> Result<bool, Refusal> {
    while Instant::now() < deadline {
        if let Some(place) = plane.call(|instance| instance.place()).await.flatten() {
            return Ok(place.needs_tls);
        }
        tokio::time::sleep(PLACE_PAUSE).await;
    }
    Err(Refusal::unavailable("the server does not say where it is reached"))
}

/// Whether the name in `Host` can mean no other machine than this one.
fn names_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Reads `Basic` and the name and password behind it.
fn login(header: &str) -> Option<Login> {
    let (scheme, words) = header.split_once(' ')?;
    let words = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(words.trim()).ok())??;
    let colon = words.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(words[..colon].to_vec()).ok().filter(|name| !name.is_empty())?;
    Some(Login { name, password: Secret::new(&words[colon + 1..]) })
}

/// Why somebody is not told what he asks for.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn of(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into() }
    }

    fn unavailable(text: impl Into<String>) -> Refusal {
        Refusal::of(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    fn answer(self) -> Answer {
        let mut answer = http::answer(self.status, http::TEXT_TYPE, self.text + "\n");
        let advice = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, CHALLENGE)),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, RETRY_AFTER_S)),
            _ => None,
        };
        answer.headers_mut().extend(advice.map(|(name, value)| (name, HeaderValue::from_static(value))));
        answer
    }
}

/// The machines that are answered just now, by what [`machine_of`] says.
#[derive(Debug, Default)]
pub(crate) struct Visits(Mutex<Vec<IpAddr>>);

impl Visits {
    /// A place for one more from there, which is given back when the value is dropped.
    fn enter(&self, from: IpAddr) -> Option<Visit<'_>> {
        let (mut taken, from) = (self.taken(), machine_of(from));
        let of_one = taken.iter().filter(|ip| **ip == from).count();
        if taken.len() >= VISITS_MAX || of_one >= VISITS_OF_ONE_MAX {
            return None;
        }
        taken.push(from);
        Some(Visit { visits: self, from })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<IpAddr>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the addresses of one machine have in common: all of it, or in IPv6 the network, of which it may have every address. A server tells
/// strangers apart by the same.
fn machine_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        ip => ip,
    }
}

/// One of the places.
struct Visit<'a> {
    visits: &'a Visits,
    from: IpAddr,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut taken = self.visits.taken();
        if let Some(at) = taken.iter().position(|ip| *ip == self.from) {
            taken.swap_remove(at);
        }
    }
}

/// Logs in at the server and asks it for these parts.
async fn visit(
    plane: &Plane,
    origin: Origin,
    login: &Login,
    parts: &[Part],
) -> Result<Vec<(Part, PartAnswer)>, Refusal> {
    let Some(_place) = plane.visits.enter(origin.peer.ip()) else {
        return Err(Refusal::unavailable("too many ask at once"));
    };
    let deadline = Instant::now() + VISIT_PATIENCE;
    check_certificate(plane, origin, deadline).await?;
    let stream = plane.call(move |instance| instance.connect(origin.peer)).await.flatten();
    let Some(mut talk) = stream.and_then(Talk::over) else {
        return Err(Refusal::unavailable("the server takes no connection"));
    };
    match timeout_at(deadline, talk.log_in(login)).await {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => return Err(refusal),
        Err(_) => return Err(Refusal::unavailable("the server does not answer")),
    }
    Ok(talk.ask(parts, deadline).await)
}

/// A conversation with the server.
struct Talk {
    stream: UnixStream,
    /// What has come and was not read as a reply yet.
    held: Vec<u8>,
    /// Bytes that have come in all.
    come: usize,
}

impl Talk {
    fn over(stream: StdStream) -> Option<Talk> {
        stream.set_nonblocking(true).ok()?;
        let stream = UnixStream::from_std(stream).ok()?;
        Some(Talk { stream, held: Vec::new(), come: 0 })
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), Refusal> {
        let request = request(&[b"AUTH", login.name.as_bytes(), login.password.reveal()]);
        // A server that refuses everybody says so and reads nothing.
        let _ = self.stream.write_all(&request).await;
        match self.reply().await {
            PartAnswer::Reply(Value::Status(_)) => Ok(()),
            PartAnswer::Reply(Value::Error(why)) => Err(refusal_of(&why)),
            PartAnswer::Reply(_) => Err(Refusal::unavailable("the server answers something else")),
            PartAnswer::Missing(why) => Err(Refusal::unavailable(why)),
        }
    }

    /// Asks for all parts at once, and takes what of them comes in time.
    async fn ask(&mut self, parts: &[Part], deadline: Instant) -> Vec<(Part, PartAnswer)> {
        let mut requests = Vec::new();
        for part in parts {
            let words: Vec<&[u8]> = part.request().iter().map(|word| word.as_bytes()).collect();
            requests.extend_from_slice(&request(&words));
        }
        let mut answers = Vec::new();
        let mut broken = match timeout_at(deadline, self.stream.write_all(&requests)).await {
            Ok(Ok(())) => None,
            _ => Some("the server takes no requests"),
        };
        for &part in parts {
            let answer = match broken {
                Some(why) => PartAnswer::Missing(why),
                None => match timeout_at(deadline, self.reply()).await {
                    Ok(answer) => answer,
                    Err(_) => PartAnswer::Missing("the server does not answer in time"),
                },
            };
            // Behind a reply that is not whole nothing can be found.
            if let PartAnswer::Missing(why) = answer {
                broken = Some(why);
            }
            answers.push((part, answer));
        }
        answers
    }

    /// The next reply.
    async fn reply(&mut self) -> PartAnswer {
        let mut frame = Frame::default();
        loop {
            match frame.end(&self.held) {
                Ok(Some(end)) => {
                    let value = Value::read(&self.held[..end]);
                    self.held.drain(..end);
                    return value
                        .map_or(PartAnswer::Missing("the server's reply is none"), PartAnswer::Reply);
                }
                Err(_) => return PartAnswer::Missing("the server's reply is none"),
                Ok(None) if self.come >= REPLY_BYTES_MAX => {
                    return PartAnswer::Missing("there is more of it than the console takes");
                }
                Ok(None) => {}
            }
            let from = self.held.len();
            self.held.resize(from + READ_BYTES, 0);
            let count = self.stream.read(&mut self.held[from..]).await.unwrap_or(0);
            self.held.truncate(from + count);
            self.come += count;
            if count == 0 {
                return PartAnswer::Missing("the server has closed the connection");
            }
        }
    }
}

/// What the server's refusal of a log-in means for a browser.
fn refusal_of(why: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(why);
    match text.split(' ').next() {
        Some("WRONGPASS") => Refusal::of(StatusCode::UNAUTHORIZED, "wrong name or password"),
        Some("DENIED") => Refusal::of(StatusCode::FORBIDDEN, text),
        _ => Refusal::unavailable(text),
    }
}

/// A request of these words.
fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_login_is_a_name_and_whatever_stands_behind_the_first_colon() {
        let of = |words: &str| {
            let login = login(&format!("Basic {}", STANDARD.encode(words)))?;
            Some((login.name, String::from_utf8(login.password.reveal().to_vec()).unwrap()))
        };
        assert_eq!(of("ann:a:b"), Some(("ann".to_owned(), "a:b".to_owned())));
        assert_eq!(of("ann:"), Some(("ann".to_owned(), String::new())));
        assert_eq!((of(":pw"), of("ann")), (None, None));
        for wrong in ["", "Basic", "Basic !!", "Bearer YTpi", "Basic /w=="] {
            assert!(login(wrong).is_none(), "{wrong}");
        }
        assert!(
            !format!("{:?}", login(&format!("basic {}", STANDARD.encode("ann:secret")))).contains("secret")
        );
    }

    #[test]
    fn the_host_must_mean_this_machine() {
        for right in ["localhost", "LOCALHOST:9121", "127.0.0.1:9121", "127.8.0.1", "[::1]:9121", "[::1]"] {
            assert!(names_this_machine(right), "{right}");
        }
        for wrong in [
            "",
            "example.com",
            "localhost.example.com:9121",
            "10.0.0.1:9121",
            "[2001:db8::1]:9121",
            "0.0.0.0",
        ] {
            assert!(!names_this_machine(wrong), "{wrong}");
        }
    }

    #[test]
    fn only_tls_or_this_machine_may_show_a_password() {
        let asked = |peer: &str, tls, host: &str, path: &str, site: &str| {
            let request = Request::builder().uri(path).header(HOST, host).header("sec-fetch-site", site);
            let request = request.header(AUTHORIZATION, "Basic YTpi").body(()).unwrap();
            let origin = Origin { peer: peer.parse().unwrap(), tls, is_certified: false };
            welcome(&request, origin).map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
        };
        assert_eq!(asked("127.0.0.1:1", false, "localhost:1", "/console", "none"), 200);
        assert_eq!(asked("[::ffff:127.0.0.1]:1", false, "localhost", "/console", "none"), 200);
        assert_eq!(asked("192.0.2.1:1", false, "localhost", "/console", "none"), 403);
        assert_eq!(asked("127.0.0.1:1", false, "rebound.example", "/console", "none"), 403);
        assert_eq!(asked("192.0.2.1:1", true, "cache.example", "/console", "cross-site"), 200);
        assert_eq!(asked("192.0.2.1:1", true, "cache.example", "/console/", "cross-site"), 200);
        assert_eq!(asked("192.0.2.1:1", true, "cache.example", "/console/state", "same-origin"), 200);
        assert_eq!(asked("192.0.2.1:1", true, "cache.example", "/console/state", "cross-site"), 403);
    }

    #[test]
    fn one_address_does_not_take_all_places_and_places_come_back() {
        let visits = Visits::default();
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let kept: Vec<_> = (0..VISITS_OF_ONE_MAX).map(|_| visits.enter(ip(1)).unwrap()).collect();
        assert!(visits.enter(ip(1)).is_none());
        let others: Vec<_> = (VISITS_OF_ONE_MAX..VISITS_MAX).map(|_| visits.enter(ip(2)).unwrap()).collect();
        assert!(visits.enter(ip(3)).is_none());
        drop(kept);
        assert!(visits.enter(ip(3)).is_some() && visits.enter(ip(1)).is_some());
        drop(others);
        assert!(visits.taken().is_empty());
    }

    #[test]
    fn a_machine_does_not_take_all_places_however_many_addresses_it_has() {
        let visits = Visits::default();
        let enter = |address: &str| visits.enter(address.parse().unwrap());
        let kept: Vec<_> =
            ["2001:db8::1", "2001:db8::ffff:1:2"].map(|address| enter(address).unwrap()).into();
        assert_eq!(kept.len(), VISITS_OF_ONE_MAX);
        assert!(enter("2001:db8::3").is_none());
        let mapped: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1"].map(|address| enter(address).unwrap()).into();
        drop(kept);
        assert!(enter("192.0.2.1").is_none() && enter("2001:db8:0:1::1").is_some());
        drop(mapped);
        assert!(visits.taken().is_empty());
    }

    /// What comes of asking a server that sends these bytes and then waits.
    fn asked(replies: &[u8], patience: Duration) -> Vec<(Part, PartAnswer)> {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let replies = replies.to_vec();
        let server = std::thread::spawn(move || {
            // Nobody need listen to the end.
            let _ = theirs.write_all(&replies);
            let _ = theirs.read_to_end(&mut Vec::new());
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answers = runtime.block_on(async {
            let mut talk = Talk::over(ours).unwrap();
            talk.ask(&[Part::Info, Part::Queues], Instant::now() + patience).await
        });
        server.join().unwrap();
        answers
    }

    #[test]
    fn replies_are_taken_in_order() {
        let told = asked(b"$1\r\nx\r\n-BUSY wait\r\n", VISIT_PATIENCE);
        assert_eq!(told[0], (Part::Info, PartAnswer::Reply(Value::Bulk(b"x".to_vec()))));
        assert_eq!(told[1], (Part::Queues, PartAnswer::Reply(Value::Error(b"BUSY wait".to_vec()))));
    }

    #[test]
    fn a_server_that_hangs_or_has_no_end_of_words_is_left() {
        let missing = |told: Vec<(Part, PartAnswer)>| match told.as_slice() {
            [(_, PartAnswer::Missing(first)), (_, PartAnswer::Missing(second))] => {
                assert_eq!(first, second);
                *first
            }
            other => panic!("{other:?}"),
        };
        let short = Duration::from_millis(50);
        for unfinished in [&b""[..], b"*4294967295\r\n:1\r\n", b"$4294967295\r\nx"] {
            assert_eq!(missing(asked(unfinished, short)), "the server does not answer in time");
        }
        let endless = format!("${}\r\n{}", REPLY_BYTES_MAX * 2, "x".repeat(REPLY_BYTES_MAX + READ_BYTES));
        let told = missing(asked(endless.as_bytes(), Duration::from_secs(60)));
        assert_eq!(told, "there is more of it than the console takes");
        assert_eq!(missing(asked(b"?\r\n", VISIT_PATIENCE)), "the server's reply is none");
    }

    #[test]
    fn troubles_are_told_the_worst_first() {
        let health = Health {
            full: Some("full".into()),
            replicas: Some("none".into()),
            persistence_fault: Some("disk".into()),
            ..Health::hung()
        };
        let told: Vec<&str> = troubles(health).iter().map(|trouble| trouble.what).collect();
        assert_eq!(told, ["server", "writes", "memory", "replicas"]);
        assert!(troubles(Health::good()).is_empty());
    }
}
