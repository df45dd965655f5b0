//! What `tandem up` is asked for.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use control::certs::is_name;

use crate::instances::{DIRECTORY, Name};

/// What stands below the options in the help.
const MORE_HELP: &str = "\
Ctrl-C and SIGTERM stop both in order, Ctrl-C again, after a second or more, kills; SIGHUP has passwords and certificates read
again. Directives for both come from the environment (TANDEM_MAXMEMORY=500mb), for one of them from DIR/cache.conf and
DIR/queue.conf.

Exit codes:
  0  both were stopped as asked
  1  one of them did not start, ended by itself or did not stop in time; standard error tells which, and why
  2  the options are wrong

Examples:
  tandem up
  tandem up --dir /srv/tandem --bind 10.0.0.5 --tls-name redis.example.com
  TANDEM_MAXMEMORY=500mb tandem up --cache-port 7000 --cache-metrics-port 0";

/// Options of `tandem up`.
#[derive(Debug, Args)]
#[command(after_help = MORE_HELP)]
pub(crate) struct Options {
    /// Where passwords, certificates and data are kept.
    #[arg(long, default_value = DIRECTORY)]
    pub(super) dir: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) bind: IpAddr,
    /// Port of the cache.
    #[arg(long, default_value_t = 6379, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) cache_port: u16,
    /// Port of the queue.
    #[arg(long, default_value_t = 6380, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) queue_port: u16,
    /// A further name or address that the certificates are for; may be given several times. Kept for further starts, until
    /// others are given.
    #[arg(long = "tls-name", value_name = "NAME", value_parser = certificate_name)]
    pub(super) tls_names: Vec<String>,
    /// Port of the cache's metrics; 0 for none.
    #[arg(long, default_value_t = 9121)]
    pub(super) cache_metrics_port: u16,
    /// Port of the queue's metrics; 0 for none.
    #[arg(long, default_value_t = 9122)]
    pub(super) queue_metrics_port: u16,
}

impl Options {
    pub(super) fn port(&self, name: Name) -> u16 {
        match name {
            Name::Cache => self.cache_port,
            Name::Queue => self.queue_port,
        }
    }

    pub(super) fn metrics_port(&self, name: Name) -> u16 {
        match name {
            Name::Cache => self.cache_metrics_port,
            Name::Queue => self.queue_metrics_port,
        }
    }
}

/// A word of the command line that a certificate can name.
fn certificate_name(word: &str) -> Result<String, String> {
    match is_name(word) {
        true => Ok(word.to_owned()),
        false => Err("neither a host name nor an address".to_owned()),
    }
}

#[cfg(test)]
impl Options {
    /// Those that a command line says.
    pub(super) fn of(words: &[&str]) -> Options {
        tests::parsed(words).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    pub(super) fn parsed(words: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from([&["up"], words].concat()).map(|line| line.options)
    }

    #[test]
    fn a_pair_without_a_port_is_refused_before_anything_is_made() {
        for option in ["--cache-port", "--queue-port"] {
            assert!(parsed(&[option, "0"]).is_err(), "{option}");
        }
        assert_eq!(Options::of(&["--cache-metrics-port", "0"]).cache_metrics_port, 0);
    }
}
