//! What the control plane asks of a running server, and what it is told.
//!
//! A trait, because this crate knows no engine. The implementer answers from counters and flags that its
//! threads leave behind, in bounded time, also while a script holds the engine: an answer that waits for
//! the engine's lock would make a busy server look like a dead one.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::ServerConfig;

/// A running server as the control plane sees it. No method may wait for the engine.
pub trait Instance: Send + Sync + 'static {
    /// The Prometheus text exposition of all metrics. At most 2 s, or the scrape is answered with 503.
    fn metrics(&self) -> String;

    /// How the server does right now, from counters. At most 2 s, or the server counts as hung.
    fn health(&self) -> Health;

    /// Where a client on this machine reaches the server; none without a port, or while a script keeps what knows it.
    fn place(&self) -> Option<Place>;

    /// A connection to the server, over which a client's requests go as if it had come from `peer` itself, encrypted or not: its rights,
    /// its limits and its address are that of any client there. `None` when the server takes no more.
    fn connect(&self, peer: SocketAddr) -> Option<UnixStream>;

    /// A stop was asked for; begin it and return. The server ends its process by itself.
    fn shutdown(&self, reason: Stop);

    /// Somebody wants the process to end at once and to leave a report: `signal` (SIGABRT) came from outside.
    fn crash(&self, signal: i32);

    /// SIGHUP: files that are read at the start, beside those of certificates, may have changed. Begin reading and return.
    fn reread(&self);

    /// The certificate files changed and were found good; use this for connections to come.
    fn reload_tls(&self, config: Arc<ServerConfig>);

    /// One line for the log.
    fn log(&self, level: Level, message: &str);
}

/// How serious a line for the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Normal, worth knowing.
    Notice,
    /// Somebody should look.
    Warning,
}

/// Why the server is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: somebody at a terminal. A second one, while a signal's stop is under way, means: leave at once.
    Interrupted,
    /// SIGTERM: the service manager.
    Terminated,
}

/// Where a client on this machine reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address and port.
    pub address: SocketAddr,
    /// Plaintext from there is refused.
    pub needs_tls: bool,
}

/// A server's condition at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// A script or command that runs past its threshold, named; others are answered with BUSY.
    pub busy: Option<String>,
    /// Memory is full, in words: commands that need more of it are refused, and consumers go on.
    pub full: Option<String>,
    /// The archive of the log is behind, in words; clients are served.
    pub archive: Option<String>,
    /// Writes are refused for want of replicas, in words; what is read is served.
    pub replicas: Option<String>,
    /// The link to the master of a replica is not up, in words; clients are served what is there.
    pub link: Option<String>,
    /// The master to follow follows this server: neither will ever have a link, nor take a write.
    pub circular: bool,
    /// While the data set is being read: how much of it is in, in percent.
    pub loading: Option<u8>,
    /// Why acknowledged writes cannot be kept at the moment (failed fsync, full disk).
    pub persistence_fault: Option<String>,
    /// One line for the service manager, such as key and client counts.
    pub status: String,
    /// A stop is under way.
    pub stopping: bool,
    /// Every I/O thread has finished a tick, or was found waiting in poll, within the last seconds.
    pub ticking: bool,
}

impl Health {
    /// A server at its best, with nothing to tell.
    pub fn good() -> Self {
        Health {
            busy: None,
            full: None,
            archive: None,
            replicas: None,
            link: None,
            circular: false,
            loading: None,
            persistence_fault: None,
            status: String::new(),
            stopping: false,
            ticking: true,
        }
    }

    /// What is assumed of a server that did not answer within its time.
    pub fn hung() -> Self {
        Health { ticking: false, ..Health::good() }
    }

    /// Why this server is not alive, `None` when it is. A restart is the cure for what is told here.
    pub fn not_alive(&self) -> Option<String> {
        (!self.ticking).then(|| "the I/O threads do not tick".to_owned())
    }

    /// Why clients should not be sent here, `None` when they should. A restart would not help.
    pub fn not_ready(&self) -> Option<String> {
        if let Some(reason) = self.not_alive() {
            return Some(reason);
        }
        if self.stopping {
            return Some("shutting down".to_owned());
        }
        if let Some(percent) = self.loading {
            return Some(format!("LOADING the data set, {percent}% done"));
        }
        if self.circular {
            return self.link.clone();
        }
        self.persistence_fault.as_ref().map(|fault| format!("persistence fault: {fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_that_follow_each_other_are_not_ready_and_a_replica_without_its_master_is() {
        let away = Health { link: Some("no link".into()), ..Health::good() };
        assert_eq!(away.not_ready(), None);
        assert_eq!(Health { circular: true, ..away }.not_ready().as_deref(), Some("no link"));
    }

    #[test]
    fn a_fault_takes_readiness_but_not_life() {
        let health = Health { persistence_fault: Some("fsync failed".into()), ..Health::good() };
        assert_eq!(health.not_alive(), None);
        assert_eq!(health.not_ready().as_deref(), Some("persistence fault: fsync failed"));
    }

    #[test]
    fn a_busy_server_is_alive_and_ready() {
        let health = Health { busy: Some("EVALSHA for 7 s".into()), ..Health::good() };
        assert_eq!((health.not_alive(), health.not_ready()), (None, None));
    }

    #[test]
    fn a_full_server_is_alive_and_ready_for_consumers() {
        let health = Health { full: Some("memory is full".into()), ..Health::good() };
        assert_eq!((health.not_alive(), health.not_ready()), (None, None));
    }

    #[test]
    fn loading_stopping_and_hanging_are_not_ready() {
        for health in [
            Health { loading: Some(40), ..Health::good() },
            Health { stopping: true, ..Health::good() },
            Health::hung(),
        ] {
            assert!(health.not_ready().is_some(), "{health:?}");
        }
    }
}
