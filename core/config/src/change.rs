//! `CONFIG GET` and `CONFIG SET` as functions of a configuration.
//!
//! A change is a copy with all pairs applied; the server tries what depends on the outside world (a port, a
//! folder), the profile checks its rules, and only then does the copy take the original's place.

use crate::choice::DebugAccess;
use crate::directives::{self, Change, TABLE};
use crate::error::SetError;
use crate::values::{Config, Origin};

/// A configuration that was asked for and is not yet in force.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// The whole new configuration.
    pub config: Config,
    /// Names of the rows whose value differs, or whose files are to be read again, in the order of the request.
    pub changed: Vec<&'static str>,
}

impl Proposed {
    /// Puts the path that the system knows in place of the `dir` that was asked for, so that it is no change where both are one.
    pub fn settle_dir(&mut self, from: &Config, real: impl FnOnce(&str) -> String) {
        if !self.changed.contains(&"dir") {
            return;
        }
        let settled = self.config.assign("dir", real(&self.config.dir).as_bytes(), Origin::Set);
        debug_assert!(settled.is_ok(), "any text is a path");
        if self.config.dir == from.dir {
            self.changed.retain(|name| *name != "dir");
        }
    }
}

impl Config {
    /// Names and values for `CONFIG GET`: a pattern finds what is not hidden, an exact name finds anything
    /// and is given back as it was written. No name appears twice.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], at: usize| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_vec(), self.text_at(at)));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                if let Some(at) = directives::index_of(pattern) {
                    add(pattern, at);
                }
                continue;
            }
            for (at, row) in TABLE.iter().enumerate().filter(|(_, row)| !row.hidden) {
                for name in std::iter::once(&row.name).chain(row.aliases) {
                    if base::glob::matches(pattern, name.as_bytes(), true) {
                        add(name.as_bytes(), at);
                    }
                }
            }
        }
        found
    }

    /// The configuration with all pairs set, or the first reason why not. `local` says whether the asking
    /// connection comes from this machine, which protected directives may depend on.
    ///
    /// # Errors
    /// Redis' texts, see [`SetError`].
    pub fn with(&self, pairs: &[(&[u8], &[u8])], local: bool) -> Result<Proposed, SetError> {
        let places = self.places(pairs, local)?;
        let mut config = self.clone();
        let mut changed = Vec::new();
        for (&at, (name, text)) in places.iter().zip(pairs) {
            let words = match TABLE[at].kind {
                // Only these may hold quoted words.
                kind if kind.takes_words() => kind.words_of(text),
                // It counts from the present one.
                _ if TABLE[at].name == "dir" && !text.is_empty() => vec![self.beside_dir(text)],
                _ => vec![text.to_vec()],
            };
            config.assign_at(at, &words, Origin::Set).map_err(|why| SetError::failed(lossy(name), why))?;
            let row = &TABLE[at];
            let is_change = row.reread || config.value_at(at) != self.value_at(at);
            if is_change && !changed.contains(&row.name) {
                changed.push(row.name);
            }
        }
        config.refresh();
        Ok(Proposed { config, changed })
    }

    fn beside_dir(&self, dir: &[u8]) -> Vec<u8> {
        self.in_dir(&String::from_utf8_lossy(dir)).into_os_string().into_encoded_bytes()
    }

    /// The row of each pair, all known, changeable and named once; of two names of one row the later counts.
    fn places(&self, pairs: &[(&[u8], &[u8])], local: bool) -> Result<Vec<usize>, SetError> {
        let may_change_protected = match self.enable_protected_configs {
            DebugAccess::Yes => true,
            DebugAccess::Local => local,
            DebugAccess::No => false,
        };
        let mut places = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let at = directives::index_of(name).ok_or_else(|| SetError::Unknown(lossy(name)))?;
            let why = if TABLE[at].change == Change::Boot {
                "can't set immutable config"
            } else if TABLE[at].protected && !may_change_protected {
                "can't set protected config"
            } else if pairs[..places.len()].iter().any(|(before, _)| before.eq_ignore_ascii_case(name)) {
                "duplicate parameter"
            } else {
                places.push(at);
                continue;
            };
            return Err(SetError::failed(lossy(name), why));
        }
        Ok(places)
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(config: &mut Config, pairs: &[(&str, &str)]) -> String {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        match config.with(&pairs, true) {
            Ok(proposed) => {
                *config = proposed.config;
                "OK".into()
            }
            Err(error) => error.to_string(),
        }
    }

    fn shown(config: &Config, name: &str) -> String {
        String::from_utf8(config.text(name).unwrap()).unwrap()
    }

    #[test]
    fn refused_values_are_named_in_redis_words() {
        let mut config = Config::default();
        let cases = [
            ("maxmemory", "abc", "argument must be a memory value"),
            ("maxmemory", "-1", "argument must be a memory value"),
            ("maxmemory", "1.5gb", "argument must be a memory value"),
            ("timeout", "-1", "argument must be between 0 and 2147483647 inclusive"),
            ("timeout", "x", "argument couldn't be parsed into an integer"),
            ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
            ("appendfsync", "x", "argument(s) must be one of the following: everysec, always, no"),
            ("daemonize", "yes", "can't set immutable config"),
            ("dir", "/tmp", "can't set protected config"),
            ("backup-interval", "0", "argument must be between 1 and 86400 inclusive"),
            ("backup-keep", "4w", "argument must be a number of seconds, or one with a unit: s, m, h, d"),
            ("backup-keep", "d", "argument couldn't be parsed into an integer"),
            ("maxmemory-clients", "101%", "percentage argument must be less or equal to 100"),
            (
                "client-output-buffer-limit",
                "normal 0 0",
                "Wrong number of arguments in buffer limit configuration.",
            ),
            (
                "client-output-buffer-limit",
                "x 0 0 0",
                "Invalid client class specified in buffer limit configuration.",
            ),
            (
                "client-output-buffer-limit",
                "normal 1mb 1 x",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
            ("notify-keyspace-events", "Qx", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
            ("oom-score-adj-values", "1 2", "wrong number of arguments"),
            (
                "latency-tracking-info-percentiles",
                "50 200",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ),
            (
                "shutdown-on-sigterm",
                "save nosave",
                "shutdown options SAVE and NOSAVE can't be used simultaneously",
            ),
            ("proto-max-bulk-len", "1", "argument must be between 1048576 and 9223372036854775807 inclusive"),
            ("maxmemory-samples", "65", "argument must be between 1 and 64 inclusive"),
            (
                "tls-protocols",
                "TLSv1.2 TLSv1.1",
                "TLSv1 and TLSv1.1 are not offered: they are unsafe; name TLSv1.2 or TLSv1.3",
            ),
            (
                "cluster-announce-hostname",
                "a_b",
                "Hostnames may only contain alphanumeric characters, hyphens or dots",
            ),
            ("proc-title-template", "{title}", "template format is invalid or contains unknown variables"),
            ("proc-title-template", "{foo}", "template format is invalid or contains unknown variables"),
        ];
        for (name, value, why) in cases {
            let expected = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
            assert_eq!(set(&mut config, &[(name, value)]), expected);
        }
        assert_eq!(config, Config::default());
        let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'rename-command'";
        assert_eq!(set(&mut config, &[("maxmemory", "1"), ("rename-command", "x")]), unknown);
        let twice = "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - duplicate parameter";
        assert_eq!(set(&mut config, &[("maxmemory", "1"), ("maxmemory", "2")]), twice);
        assert_eq!(set(&mut config, &[("lua-time-limit", "1"), ("busy-reply-threshold", "2")]), "OK");
        assert_eq!(config.busy_reply_threshold_ms, 2);
    }

    #[test]
    fn save_points_have_no_blanks_but_one_between_two_numbers() {
        let mut config = Config::default();
        for save in ["3600 1 300", "0 1", " 900 1", "900 1 ", "900  1"] {
            let why = "ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters";
            assert_eq!(set(&mut config, &[("save", save)]), why);
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn values_are_shown_as_redis_shows_them() {
        let mut config = Config::default();
        let cases = [
            ("maxmemory", "5kB", "5120"),
            ("maxmemory", "1g", "1000000000"),
            ("maxmemory", "1gb", "1073741824"),
            ("maxmemory", "5b", "5"),
            ("maxmemory", "", "0"),
            ("backup-keep", "30d", "2592000"),
            ("backup-base-every", "2H", "7200"),
            ("backup-interval", "3m", "180"),
            ("backup-interval", "7s", "7"),
            ("notify-keyspace-events", "AKEmnoc", "AKEm"),
            ("notify-keyspace-events", "KEcon", "nocKE"),
            (
                "client-output-buffer-limit",
                "",
                "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            ),
            ("locale-collate", "C", "C"),
            ("tls-protocols", "TLSv1.2 tlsv1.3", "TLSv1.2 tlsv1.3"),
            ("cluster-announce-hostname", "a-1.example", "a-1.example"),
            ("maxmemory-clients", "10%", "10%"),
            ("save", "900 1 300 10", "900 1 300 10"),
            ("save", "", ""),
            ("hz", "1000", "500"),
            ("repl-backlog-size", "1", "16384"),
            ("repl-backlog-size", "17kb", "17408"),
            ("loglevel", "WARNING", "warning"),
            ("rdbcompression", "NO", "no"),
            ("notify-keyspace-events", "KEA", "AKE"),
            ("notify-keyspace-events", "$lg", "g$l"),
            ("shutdown-on-sigterm", "save now", "save now"),
            ("latency-tracking-info-percentiles", "50.5 100.0", "50.5 100"),
            (
                "client-output-buffer-limit",
                "replica 1mb 1kb 60",
                "normal 0 0 0 slave 1048576 1024 60 pubsub 33554432 8388608 60",
            ),
        ];
        for (name, value, expected) in cases {
            assert_eq!(set(&mut config, &[(name, value)]), "OK", "{name} {value}");
            assert_eq!(shown(&config, name), expected, "{name} {value}");
        }
    }

    #[test]
    fn several_pairs_change_together_or_not_at_all() {
        let mut config = Config::default();
        assert!(set(&mut config, &[("maxmemory", "1mb"), ("timeout", "x")]).contains("'timeout'"));
        assert_eq!(config.maxmemory, 0);
        assert_eq!(set(&mut config, &[("maxmemory", "1mb"), ("HASH-MAX-ZIPLIST-ENTRIES", "9")]), "OK");
        assert_eq!((config.maxmemory, config.hash_max_listpack_entries), (1 << 20, 9));
    }

    #[test]
    fn files_that_are_named_again_are_a_change() {
        let mut config = Config::default();
        assert_eq!(set(&mut config, &[("tls-cert-file", "s.crt")]), "OK");
        let pairs: [(&[u8], &[u8]); 3] =
            [(b"tls-cert-file", b"s.crt"), (b"tls-ca-cert-dir", b""), (b"tls-protocols", b"")];
        let proposed = config.with(&pairs, true).unwrap();
        assert_eq!(proposed.changed, ["tls-cert-file", "tls-ca-cert-dir"]);
    }

    #[test]
    fn a_folder_counts_from_the_present_one() {
        let mut config = Config::default();
        config.assign("enable-protected-configs", b"yes", Origin::Default).unwrap();
        config.assign("dir", b"/a", Origin::Default).unwrap();
        let mut set = |dir: &str, real: &str| {
            let mut proposed = config.with(&[(b"dir", dir.as_bytes())], true).unwrap();
            let asked = proposed.config.dir.clone();
            proposed.settle_dir(&config, |_| real.to_owned());
            config = proposed.config;
            (asked, proposed.changed.len())
        };
        assert_eq!(set("b", "/a/b"), ("/a/b".to_owned(), 1));
        assert_eq!(set("..", "/a"), ("/a/b/..".to_owned(), 1));
        assert_eq!(set(".", "/a"), ("/a/.".to_owned(), 0));
        assert_eq!(set("/c", "/c"), ("/c".to_owned(), 1));
        assert_eq!(set("", ""), (String::new(), 1));
    }

    #[test]
    fn of_two_names_of_a_choice_the_first_is_told() {
        let mut config = Config::default();
        for said in ["yes", "Relative"] {
            set(&mut config, &[("oom-score-adj", said)]);
            assert_eq!(config.get(&[b"oom-score-adj"])[0].1, b"yes", "{said}");
        }
    }

    #[test]
    fn percentages_follow_maxmemory() {
        let mut config = Config::default();
        set(&mut config, &[("maxmemory", "1000"), ("maxmemory-clients", "10%"), ("queue-reserve", "5%")]);
        assert_eq!((config.maxmemory_clients, config.queue_reserve), (100, 50));
    }

    #[test]
    fn get_finds_aliases_patterns_and_hidden_names_once() {
        let config = Config::default();
        let names = |patterns: &[&str]| -> Vec<String> {
            let patterns: Vec<_> = patterns.iter().map(|p| p.as_bytes()).collect();
            config.get(&patterns).into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
        };
        let hash = ["hash-max-listpack-entries", "hash-max-ziplist-entries", "hash-max-listpack-value"];
        assert!(hash.iter().all(|name| names(&["hash-max-*"]).contains(&(*name).to_string())));
        assert_eq!(names(&["DIR", "MaxMemory", "maxmemory", "nosuch"]), ["DIR", "MaxMemory"]);
        assert!(!names(&["*"]).contains(&"key-load-delay".to_string()));
        assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
        assert_eq!(names(&["maxmemor[xy]"]), ["maxmemory"]);
    }
}
