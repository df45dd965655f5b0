//! What a configuration says about archiving, read once.

use std::fmt;
use std::path::{Path, PathBuf};

use archive::{ArchiveError, Recipient, RepositoryUrl, StoreOptions, UrlError};
use config::Config;

/// The directives; a change of one of them begins archiving anew.
pub(crate) const DIRECTIVES: &[&str] = &[
    "backup-repository",
    "backup-recipients",
    "backup-unencrypted",
    "backup-interval",
    "backup-base-every",
    "backup-keep",
    "backup-keep-bases",
    "backup-bandwidth",
    "backup-backlog-max",
    "backup-credentials",
    "backup-endpoint",
];

/// What is kept for a shorter time is hardly meant to be, milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// What is wrong with what is configured.
#[derive(Debug)]
pub(crate) enum PlanError {
    /// The repository is none.
    Url(UrlError),
    /// Where a directory is would depend on where the server was started.
    Relative,
    /// Nobody is named who can read the archive.
    NoRecipients,
    /// A recipient is none.
    Recipient(ArchiveError),
    /// The repository would be lost with the server.
    Place(ArchiveError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Url(error) => write!(f, "backup-repository: {error}"),
            PlanError::Relative => {
                f.write_str("backup-repository: a directory is named by its whole path, as /srv/backup")
            }
            PlanError::NoRecipients => f.write_str(
                "backup-recipients: who shall be able to read the archive? Name the public key of age (age1...) that \
                 `age-keygen -o backup.key` prints, and keep that file elsewhere; or say backup-unencrypted yes",
            ),
            PlanError::Recipient(error) => write!(f, "backup-recipients: {error}"),
            PlanError::Place(error) => write!(f, "backup-repository: {error}"),
        }
    }
}

impl std::error::Error for PlanError {}

/// How the log is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) url: RepositoryUrl,
    pub(crate) options: StoreOptions,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) interval_us: u64,
    pub(crate) base_every_ms: i64,
    /// How long every moment is kept; for ever if there is none.
    pub(crate) keep_ms: Option<i64>,
    pub(crate) bases_min: usize,
    /// Bytes a second; 0 for no bound.
    pub(crate) bandwidth: u64,
    pub(crate) backlog_bytes_max: u64,
}

impl Plan {
    /// That of a configuration; `None` where nothing is archived.
    ///
    /// # Errors
    /// What is wrong, for whoever has configured it.
    pub(crate) fn of(config: &Config) -> Result<Option<Plan>, PlanError> {
        if config.backup_repository.is_empty() {
            return Ok(None);
        }
        let url: RepositoryUrl = config.backup_repository.parse().map_err(PlanError::Url)?;
        if matches!(&url, RepositoryUrl::Directory(path) if !path.is_absolute()) {
            return Err(PlanError::Relative);
        }
        archive::refuse_inside(&url, Path::new(&config.dir)).map_err(PlanError::Place)?;
        if config.backup_recipients.is_empty() && !config.backup_unencrypted {
            return Err(PlanError::NoRecipients);
        }
        let recipients = config.backup_recipients.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let named = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Some(Plan {
            url,
            options: StoreOptions {
                // One that is not there may be a disk that is not mounted.
                create: false,
                endpoint: named(&config.backup_endpoint),
                credentials: named(&config.backup_credentials).map(PathBuf::from),
            },
            recipients: recipients.map_err(PlanError::Recipient)?,
            interval_us: config.backup_interval_seconds.saturating_mul(1_000_000),
            base_every_ms: milliseconds(config.backup_base_every_seconds),
            keep_ms: (config.backup_keep_seconds > 0).then(|| milliseconds(config.backup_keep_seconds)),
            bases_min: config.backup_keep_bases,
            bandwidth: config.backup_bandwidth,
            backlog_bytes_max: config.backup_backlog_bytes_max,
        }))
    }

    /// What is allowed and hardly meant, in words.
    pub(crate) fn doubt(&self) -> Option<String> {
        let seconds = self.keep_ms.filter(|keep_ms| *keep_ms < HOUR_MS)? / 1000;
        Some(format!(
            "backup-keep is {seconds} seconds, after which what was archived is removed: a number without a unit is one of seconds, and \
             {seconds}d are days"
        ))
    }
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Origin;

    fn plan(pairs: &[(&str, &str)]) -> Result<Option<Plan>, PlanError> {
        let mut config = Config::default();
        for (name, value) in pairs {
            config.assign(name, value.as_bytes(), Origin::Set).unwrap();
        }
        Plan::of(&config)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_directive() {
        assert_eq!(plan(&[]).unwrap(), None);
        for (pairs, directive) in [
            (&[("backup-repository", "ftp://x")][..], "backup-repository: "),
            (&[("backup-repository", "backup")], "backup-repository: "),
            (&[("backup-repository", "/d/e/b"), ("dir", "/d")], "backup-repository: /d/e/b lies in"),
            (&[("backup-repository", "/b")], "backup-recipients: who"),
            (&[("backup-repository", "/b"), ("backup-recipients", "age1x")], "backup-recipients: "),
        ] {
            let why = plan(pairs).unwrap_err().to_string();
            assert!(why.starts_with(directive), "{why}");
        }
        let words = [("backup-repository", "/b"), ("backup-unencrypted", "yes"), ("backup-keep", "0")];
        let plan = plan(&words).unwrap().unwrap();
        assert_eq!((plan.keep_ms, plan.interval_us, plan.base_every_ms), (None, 10_000_000, 86_400_000));
        assert_eq!(plan.doubt(), None);
    }

    #[test]
    fn a_time_to_keep_that_lacks_its_unit_is_doubted() {
        let doubt = |keep: &str| {
            let words = [("backup-repository", "/b"), ("backup-unencrypted", "yes"), ("backup-keep", keep)];
            plan(&words).unwrap().unwrap().doubt()
        };
        assert!(doubt("30").unwrap().starts_with("backup-keep is 30 seconds"));
        assert_eq!((doubt("30d"), doubt("1h")), (None, None));
    }

    #[test]
    fn every_directive_of_archiving_is_followed() {
        let of_archiving = |name: &&str| name.starts_with("backup-");
        let known: Vec<&str> =
            config::directives::TABLE.iter().map(|row| row.name).filter(of_archiving).collect();
        assert_eq!(known, DIRECTIVES);
    }
}
