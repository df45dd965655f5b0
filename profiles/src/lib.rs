//! The two profiles: what a cache and a queue are told by default, and what they must never be told.
//!
//! The same engine serves both, so nothing but these rules keeps a queue from evicting jobs or a cache from
//! waiting for a disk. They are checked at start and on every `CONFIG SET`; the plain profile, for a
//! `redis.conf` that moves here as it is, has none.

#![forbid(unsafe_code)]

use std::fmt;

use config::machine::Share;
use config::{Config, MaxmemoryPolicy};
use figment::Figment;
use figment::providers::{Data, Toml};

const CACHE: &str = include_str!("../cache.toml");
const QUEUE: &str = include_str!("../queue.toml");

/// Which rules an instance follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Evicts when full, writes nothing to disk.
    Cache,
    /// Refuses when full, keeps every acknowledged write.
    Queue,
    /// Whatever its configuration says.
    Plain,
}

/// A setting that would break what a profile promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The directive at fault.
    pub directive: &'static str,
    /// Why it cannot be so, and what to do instead.
    pub why: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.directive, self.why)
    }
}

impl std::error::Error for Violation {}

const QUEUE_EVICTS: &str = "a queue must not evict: jobs would vanish. Leave maxmemory-policy noeviction and \
                            raise maxmemory, or use tandem-cache";
const QUEUE_FORGETS: &str = "a queue must log its writes: jobs that it has acknowledged since the last snapshot would \
                             vanish with the process. Leave appendonly yes, or run `tandem server`, which has no rules";
const CACHE_LOGS: &str = "a cache writes nothing to disk, so that it never waits for one. Use tandem-queue for \
                          data that must be kept";

const CACHE_ARCHIVES: &str = "a cache has no log that could be archived: it may forget everything. Use tandem-queue for data that must \
                              be kept";
const NO_LOG: &str = "what is archived is the log: set appendonly yes";

impl Profile {
    /// The name in messages and in INFO.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Cache => "cache",
            Profile::Queue => "queue",
            Profile::Plain => "plain",
        }
    }

    /// The defaults, under all other layers; for [`config::Layers::profile`].
    pub fn base(self) -> Option<Figment> {
        let text = match self {
            Profile::Cache => CACHE,
            Profile::Queue => QUEUE,
            Profile::Plain => return None,
        };
        Some(Figment::from(Data::<Toml>::string(text)))
    }

    /// The same with `defaults` of the surroundings over them: directives with their words.
    pub fn base_in(self, defaults: &[(&str, Vec<String>)]) -> Option<Figment> {
        if defaults.is_empty() {
            return self.base();
        }
        let base = self.base().unwrap_or_default();
        Some(defaults.iter().fold(base, |base, (name, words)| base.merge((*name, words))))
    }

    /// What part of the memory it takes by default; `None` for no limit, as in Redis. Both profiles fit on
    /// one machine together.
    pub fn memory_share(self) -> Option<Share> {
        match self {
            Profile::Plain => None,
            Profile::Cache | Profile::Queue => Some(Share { of_group: 75, of_machine: 35 }),
        }
    }

    /// Why no snapshot or log may be written or read, where it may not.
    pub fn disk_refusal(self) -> Option<&'static str> {
        match self {
            Profile::Cache => Some(CACHE_LOGS),
            Profile::Queue | Profile::Plain => None,
        }
    }

    /// Whether a configuration keeps the profile's promises.
    ///
    /// # Errors
    /// The first promise that it would break.
    pub fn check(self, config: &Config) -> Result<(), Violation> {
        let broken = match self {
            Profile::Plain => None,
            Profile::Queue if config.maxmemory_policy != MaxmemoryPolicy::Noeviction => {
                Some(("maxmemory-policy", QUEUE_EVICTS))
            }
            Profile::Queue if !config.appendonly => Some(("appendonly", QUEUE_FORGETS)),
            Profile::Cache if config.appendonly => Some(("appendonly", CACHE_LOGS)),
            Profile::Cache if !config.save.is_empty() => Some(("save", CACHE_LOGS)),
            Profile::Cache if config.shutdown_on_sigterm.save() => Some(("shutdown-on-sigterm", CACHE_LOGS)),
            Profile::Cache if config.shutdown_on_sigint.save() => Some(("shutdown-on-sigint", CACHE_LOGS)),
            Profile::Cache | Profile::Queue => None,
        };
        let broken = broken.or_else(|| self.forbids_archiving(config));
        broken.map_or(Ok(()), |(directive, why)| Err(Violation { directive, why }))
    }

    /// What keeps the log from being archived, where it is to be.
    fn forbids_archiving(self, config: &Config) -> Option<(&'static str, &'static str)> {
        match self {
            _ if config.backup_repository.is_empty() => None,
            Profile::Cache => Some(("backup-repository", CACHE_ARCHIVES)),
            _ if !config.appendonly => Some(("backup-repository", NO_LOG)),
            Profile::Queue | Profile::Plain => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{AppendFsync, Files, Layers, Sources, TlsMode};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&mut self, _: &str) -> std::io::Result<Vec<u8>> {
            Err(std::io::ErrorKind::NotFound.into())
        }

        fn expand(&mut self, _: &str) -> std::io::Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    fn load(profile: Profile, args: &[&str]) -> Config {
        let args: Vec<String> = args.iter().map(|word| (*word).to_string()).collect();
        let layers = Layers {
            profile: profile.base(),
            maxmemory: 1 << 30,
            invocation: config::read_args(&args),
            ..Layers::default()
        };
        layers.load(&mut Sources { variables: &[], files: &mut NoFiles }).unwrap().config
    }

    #[test]
    fn each_profile_keeps_its_own_promises() {
        for profile in [Profile::Cache, Profile::Queue, Profile::Plain] {
            assert_eq!(profile.check(&load(profile, &[])), Ok(()), "{profile:?}");
        }
    }

    #[test]
    fn surroundings_cover_a_profile_and_nothing_else() {
        let defaults = [("dir", vec!["/data".to_owned()]), ("bind", vec!["*".to_owned(), "-::*".to_owned()])];
        for profile in [Profile::Cache, Profile::Queue, Profile::Plain] {
            let invocation = config::read_args(&["--dir".to_owned(), "/other".to_owned()]);
            let layers = Layers { profile: profile.base_in(&defaults), invocation, ..Layers::default() };
            let config = layers.load(&mut Sources { variables: &[], files: &mut NoFiles }).unwrap().config;
            assert_eq!((config.bind.join(" "), config.dir.as_str()), ("* -::*".to_owned(), "/other"));
            assert_eq!(profile.check(&config), Ok(()), "{profile:?}");
        }
        assert!(Profile::Plain.base_in(&[]).is_none());
    }

    #[test]
    fn both_run_on_one_machine_and_listen_only_there() {
        let (cache, queue) = (load(Profile::Cache, &[]), load(Profile::Queue, &[]));
        assert_eq!((cache.port, cache.metrics_port), (6379, 9121));
        assert_eq!((queue.port, queue.metrics_port), (6380, 9122));
        for config in [&cache, &queue] {
            assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
            assert_eq!((config.tls, config.maxmemory), (TlsMode::Auto, 1 << 30));
        }
        assert_eq!(cache.maxmemory_policy, MaxmemoryPolicy::AllkeysLru);
        assert_eq!((queue.appendonly, queue.appendfsync), (true, AppendFsync::Everysec));
        let shares = [Profile::Cache, Profile::Queue].map(|p| p.memory_share().unwrap().of_machine);
        assert!(shares.iter().sum::<u8>() <= 75, "the system and the buffers need the rest");
    }

    #[test]
    fn what_breaks_a_promise_is_refused_with_a_way_out() {
        let cases: [(Profile, &[&str], &str); 10] = [
            (Profile::Cache, &["--backup-repository", "/b"], "backup-repository"),
            (Profile::Queue, &["--backup-repository", "/b", "--appendonly", "no"], "appendonly"),
            (Profile::Queue, &["--maxmemory-policy", "allkeys-lru"], "maxmemory-policy"),
            (Profile::Queue, &["--maxmemory-policy", "volatile-ttl"], "maxmemory-policy"),
            (Profile::Queue, &["--appendonly", "no", "--save", ""], "appendonly"),
            (Profile::Queue, &["--appendonly", "no", "--save", "1", "1"], "appendonly"),
            (Profile::Cache, &["--appendonly", "yes"], "appendonly"),
            (Profile::Cache, &["--save", "1", "1"], "save"),
            (Profile::Cache, &["--shutdown-on-sigterm", "save"], "shutdown-on-sigterm"),
            (Profile::Cache, &["--shutdown-on-sigint", "save force"], "shutdown-on-sigint"),
        ];
        for (profile, args, directive) in cases {
            let config = load(profile, args);
            let violation = profile.check(&config).unwrap_err();
            assert_eq!(violation.directive, directive, "{args:?}");
            // What is archived and who can read it is asked of all.
            assert_eq!(
                Profile::Plain.check(&config).is_ok(),
                config.backup_repository.is_empty(),
                "{args:?}"
            );
        }
        let archived = ["--backup-repository", "/b", "--backup-unencrypted", "yes"];
        assert_eq!(Profile::Queue.check(&load(Profile::Queue, &archived)), Ok(()));
        assert_eq!(
            Profile::Plain.check(&load(Profile::Plain, &archived)).unwrap_err().directive,
            "backup-repository"
        );
        assert_eq!(Profile::Queue.check(&load(Profile::Queue, &["--save", ""])), Ok(()));
        let why =
            Profile::Cache.check(&load(Profile::Cache, &["--appendonly", "yes"])).unwrap_err().to_string();
        assert!(why.contains("tandem-queue"), "{why}");
    }
}
