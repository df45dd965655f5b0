//! What a server's `--help` says: what it is, the directives that are changed most, where settings come from, signals, exit codes.

use profiles::Profile;

/// The directives that people change first, and what each is for; those of a role say what it makes of them.
const COMMON: &[(&str, &str)] = &[
    ("port NUMBER", "where clients connect, with and without TLS"),
    ("bind ADDRESS ...", "the addresses that are listened on"),
    (
        "requirepass-file FILE",
        "the default user's password; without one only clients of this machine are let in",
    ),
    ("maxmemory BYTES", "as 500mb; what happens when it is full is said by maxmemory-policy"),
    ("maxclients NUMBER", "connections at a time"),
    ("timeout SECONDS", "idle clients are closed after it; 0 for never"),
    ("logfile FILE", "the log, in place of standard output; log-format json is for machines"),
    ("metrics-port NUMBER", "Prometheus' metrics, /healthz and /readyz; 0 for none"),
    ("console yes", "a page of the live state at /console on that port, for users of the server"),
];

/// The text under the line of the version.
pub(crate) fn text(profile: Profile) -> String {
    let role = Role::of(profile);
    let directives: String = role
        .directives
        .iter()
        .chain(COMMON)
        .map(|(name, purpose)| format!("  --{name:<22} {purpose}{}\n", role.value(name)))
        .collect();
    let Role { about, program, file, example, .. } = role;
    format!(
        "\
{about}

usage: {program} [FILE | -] [--directive value ...]

FILE is a redis.conf or a .toml, `-` reads one from standard input; directives are those of redis.conf. Some of them:

{directives}
CONFIG GET * lists all with their values. Later in this list wins: {file},
TANDEM_<DIRECTIVE> in the environment (as in TANDEM_MAXMEMORY=1gb), the command line, CONFIG SET. The log's first lines tell what
came from where.

Signals: SIGTERM and SIGINT stop it in order; SIGHUP has the files of passwords and certificates read again.

Exit codes:
  0  it was stopped as asked
  1  it did not start, or cannot go on; the last lines of its log, or standard error, tell why and what to do

Examples:
  {program} {example}
  {program} --help | --version"
    )
}

/// What is different by profile.
struct Role {
    about: &'static str,
    program: &'static str,
    file: &'static str,
    example: &'static str,
    /// Directives that matter here alone.
    directives: &'static [(&'static str, &'static str)],
    /// Values that this profile has where nobody says otherwise.
    values: &'static [(&'static str, &'static str)],
}

impl Role {
    fn of(profile: Profile) -> Role {
        match profile {
            Profile::Plain => Role {
                about: "A server by Redis' rules, without a profile: it does what its file says.",
                program: "tandem server",
                file: "FILE",
                example: "/etc/redis/redis.conf --port 7000 --appendonly yes",
                directives: &[
                    ("dir FOLDER", "where it reads and writes its files; it must be there"),
                    ("appendonly yes|no", "a log of every write"),
                    ("save SECONDS CHANGES", "when snapshots are taken"),
                ],
                values: &[("port", "6379"), ("metrics-port", "0"), ("appendonly", "no")],
            },
            Profile::Cache => Role {
                about: "The cache: the least recently used keys leave when memory is full, and no data is on disk.",
                program: "tandem cache",
                file: "FILE, or cache.conf of dir where none is named",
                example: "--dir /srv/cache --maxmemory 500mb",
                directives: &[("dir FOLDER", "where its certificates are; made if it is not there")],
                values: &[("port", "6379"), ("metrics-port", "9121")],
            },
            Profile::Queue => Role {
                about: "The queue: every write is logged before its reply, nothing is evicted; full memory refuses what would grow.",
                program: "tandem queue",
                file: "FILE, or queue.conf of dir where none is named",
                example: "--dir /srv/queue --appendfsync always",
                directives: &[
                    ("dir FOLDER", "where its log, snapshots and certificates are; made if it is not there"),
                    ("appendfsync WHEN", "always, everysec or no: what a power cut may cost"),
                ],
                values: &[
                    ("port", "6380"),
                    ("metrics-port", "9122"),
                    ("dir", "/var/lib/tandem-queue"),
                    ("appendfsync", "everysec"),
                ],
            },
        }
    }

    /// The value of a directive here, in words.
    fn value(&self, row: &str) -> String {
        let name = row.split(' ').next().unwrap_or_default();
        let known = self.values.iter().find(|(known, _)| *known == name);
        known.map_or(String::new(), |(_, value)| format!(" ({value})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::directives::TABLE;

    const PROFILES: [Profile; 3] = [Profile::Plain, Profile::Cache, Profile::Queue];

    #[test]
    fn what_it_names_is_there_and_has_that_value() {
        for profile in PROFILES {
            let role = Role::of(profile);
            let args = ["--dir".to_owned(), "/".to_owned()];
            let surroundings = crate::Surroundings::default();
            let own = if profile == Profile::Queue { &args[..0] } else { &args[..] };
            let (loaded, _) = crate::boot::configure(&surroundings, profile, own).unwrap();
            for (row, _) in COMMON.iter().chain(role.directives) {
                let name = row.split(' ').next().unwrap();
                assert!(TABLE.iter().any(|known| known.name == name), "{name}");
            }
            for (name, value) in role.values {
                let known = loaded.config.text(name).unwrap();
                assert_eq!(String::from_utf8(known).unwrap(), *value, "{name} of {}", profile.name());
            }
        }
    }

    #[test]
    fn it_tells_exit_codes_and_an_example_and_fits_a_screen() {
        for profile in PROFILES {
            let text = text(profile);
            assert!(text.contains("Exit codes:") && text.contains("Examples:"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 130) && text.lines().count() < 40, "{text}");
        }
    }
}
