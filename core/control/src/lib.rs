//! The control plane: everything of an instance that may wait, kept off the threads that serve clients.
//!
//! Signals, password hashing, certificates, secrets, the endpoints of metrics, health and the console, and
//! the service manager's protocol live here, on threads of their own, because each of them can take
//! milliseconds and none of them may be felt by a client.
//!
//! Invariants:
//! - It knows no engine. It sees the server through [`Instance`], and bounds every call into it by a
//!   time limit of its own, so a server that hangs is reported as hung and not imitated.
//! - Every queue and every number of connections has a named bound; at the bound work is refused. The line of
//!   password checks is bounded by the clients that wait in it.
//! - No secret appears in a log line, an error text or a `Debug` form.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod certs;
mod checks;
mod client_certs;
pub mod health;
mod http;
mod instance;
pub mod jobs;
mod notify;
pub mod outgoing;
pub mod password;
mod plane;
pub mod probe;
pub mod secrets;
mod signals;
mod socket;
mod tickets;
pub mod tls;
mod visits;

pub use checks::{Answered, Asker, Question};
pub use instance::{Health, Instance, Level, Place, Stop};
pub use jobs::{Jobs, PasswordDone, Release};
pub use plane::{
    CertificateFacts, Certificates, ControlPlane, Handle, HttpSettings, Settings, StartError, TlsSettings,
};
pub use rustls::ServerConfig;
pub use signals::{Wish, hold_early, wishes};
