//! What a service's refusals mean, in words for people.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// What object_store writes before the number of an answer's status, and before its text.
const STATUS: &str = "status code: ";
/// What it says of a redirect that names no place.
const REDIRECT: &str = "redirect without LOCATION";
/// The most of a service's own words that is told, characters.
const WORDS_MAX: usize = 200;
/// Where a machine in a cloud is told its role.
const MACHINE_ROLES: [&str; 2] = ["//169.254.", "//metadata.google.internal"];

/// An error of ours on its way through object_store.
pub(super) fn generic(error: io::Error) -> Error {
    Error::Generic { store: "archive", source: error.into() }
}

/// Whether the connection broke before the answer: what was asked may have been done.
pub(super) fn is_cut(error: &Error) -> bool {
    let broken =
        [HttpErrorKind::Interrupted, HttpErrorKind::Timeout, HttpErrorKind::Request, HttpErrorKind::Unknown];
    transport(error).is_some_and(|error| broken.contains(&error.kind()))
}

fn transport(error: &Error) -> Option<&HttpError> {
    let mut at = error.source();
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<HttpError>() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// The error for people.
pub(super) fn told(error: Error) -> io::Error {
    let error = match error {
        Error::Generic { source, store } => match source.downcast::<io::Error>() {
            Ok(ours) => return *ours,
            Err(source) => Error::Generic { source, store },
        },
        error => error,
    };
    let (kind, words) = match &error {
        Error::AlreadyExists { .. } => {
            (ErrorKind::AlreadyExists, "there is an object of that name already".to_owned())
        }
        error if asks_for_role(error) => (
            ErrorKind::PermissionDenied,
            "there are no credentials, and this machine has no role: name a file (--credentials FILE)"
                .to_owned(),
        ),
        error => match (transport(error), Answer::of(error)) {
            (Some(broken), _) => unanswered(broken),
            (_, Some(answer)) => answer.told(),
            _ => unknown(error),
        },
    };
    io::Error::new(kind, words)
}

fn asks_for_role(error: &Error) -> bool {
    let text = error.to_string();
    MACHINE_ROLES.iter().any(|place| text.contains(place))
}

fn unanswered(broken: &HttpError) -> (ErrorKind, String) {
    let why = innermost(broken);
    match broken.kind() {
        HttpErrorKind::Connect => (ErrorKind::NotConnected, format!("no connection to the service: {why}")),
        HttpErrorKind::Timeout => (ErrorKind::TimedOut, "the service does not answer".to_owned()),
        _ => (ErrorKind::ConnectionAborted, format!("the connection to the service broke: {why}")),
    }
}

/// Why a service is not even asked: a setting that is missing or wrong.
pub(super) fn unbuilt(error: &Error) -> String {
    let why = innermost(error);
    let is_trust = why.to_lowercase().contains("certificate");
    let hint = if is_trust { ": name a file with those that are trusted in SSL_CERT_FILE" } else { "" };
    why + hint
}

/// The cause of causes; those around it say the same in more words.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    shortened(&at.to_string())
}

fn unknown(error: &Error) -> (ErrorKind, String) {
    match error {
        Error::NotFound { .. } => (ErrorKind::NotFound, "it is not there".to_owned()),
        error if error.to_string().contains(REDIRECT) => {
            (ErrorKind::Other, "the bucket is somewhere else: is the region right (AWS_REGION)?".to_owned())
        }
        error => {
            let why = shortened(&error.source().map_or_else(|| error.to_string(), innermost));
            (ErrorKind::Other, format!("the service's answer is not understood, if it is one: {why}"))
        }
    }
}

/// An answer that is a refusal.
struct Answer {
    status: u16,
    /// What the service calls it, as `AccessDenied`, and what it says of it.
    code: String,
    message: String,
}

impl Answer {
    /// object_store tells status and text in its words only.
    fn of(error: &Error) -> Option<Answer> {
        let text = error.to_string();
        let (_, answer) = text.split_once(STATUS)?;
        let status = answer.get(..3)?.parse().ok()?;
        let element = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>"))?;
            Some(shortened(rest.split_once("</")?.0))
        };
        let [code, message] = ["Code", "Message"].map(|name| element(name).unwrap_or_default());
        Some(Answer { status, code, message })
    }

    fn told(&self) -> (ErrorKind, String) {
        match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket" | "ContainerNotFound") => {
                (ErrorKind::NotFound, "there is no such bucket".to_owned())
            }
            (404, "NoSuchKey" | "BlobNotFound" | "NoSuchUpload") => {
                (ErrorKind::NotFound, "it is not there".to_owned())
            }
            (404, _) => {
                (ErrorKind::NotFound, "it is not there, or this is no address of an object store".to_owned())
            }
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity") => {
                (ErrorKind::StorageFull, format!("there is no room left: {self}"))
            }
            (
                401 | 403,
                "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AuthenticationFailed" | "ExpiredToken",
            ) => (ErrorKind::PermissionDenied, format!("the credentials are wrong: {self}")),
            (401 | 403, _) => {
                (ErrorKind::PermissionDenied, format!("these credentials may not do that: {self}"))
            }
            (301 | 307 | 308, _) => {
                (ErrorKind::Other, format!("the bucket is somewhere else; is the region right? {self}"))
            }
            (500.., _) => (ErrorKind::ResourceBusy, format!("the service has failed, several times: {self}")),
            _ => (ErrorKind::Other, format!("the service refuses it: {self}")),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, ", {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ", {}", self.message)?;
        }
        Ok(())
    }
}

/// One line of printable characters: it is somebody else's text.
fn shortened(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(WORDS_MAX).collect::<String>().trim().to_owned()
}
