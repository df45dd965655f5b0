//! The two files that a profile keeps in its `dir` for whoever operates it: settings that CONFIG REWRITE writes, and users that
//! ACL SAVE writes. Without them what was set at run time would be gone with the process, and nobody would be told.
//!
//! They are in `dir`, and not below `/etc`, because there the server may write whoever runs it: a service manager gives it that
//! folder and no other, and a container only its volume. Who names a file keeps to it, as with Redis.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use config::{Config, Loaded, Origin};
use profiles::Profile;

use crate::logger::Logger;

/// The name of the file of users.
const USERS: &str = "users.acl";

/// Only the owner may read: both files hold records of passwords.
const OWNER_ONLY: u32 = 0o600;

/// Where the settings of a profile that was named no file are.
pub(crate) fn settings_path(profile: Profile, config: &Config) -> Option<PathBuf> {
    let has_place = profile != Profile::Plain && config.is_said("dir");
    has_place.then(|| Path::new(&config.dir).join(format!("{}.conf", profile.name())))
}

/// Has a profile keep its users in its `dir`, where nobody has said otherwise.
pub(crate) fn keep_users(profile: Profile, loaded: &mut Loaded) {
    let config = &loaded.config;
    let is_said = !config.aclfile.is_empty() || !config.users.is_empty();
    if profile == Profile::Plain || !config.is_said("dir") || is_said {
        return;
    }
    for config in [&mut loaded.base, &mut loaded.config] {
        let kept = config.assign("aclfile", USERS.as_bytes(), Origin::Profile);
        debug_assert!(kept.is_ok(), "any text is a path");
    }
}

/// Makes what of both is not there yet. What cannot be made is told and done without: then CONFIG REWRITE and ACL SAVE refuse.
///
/// # Errors
/// One of them is there and cannot be read. A start without it would let everybody in whom the users' passwords keep out.
pub(crate) fn make(
    profile: Profile,
    config: &mut Config,
    settings: &mut Option<PathBuf>,
    logger: &Logger,
) -> anyhow::Result<()> {
    if profile == Profile::Plain {
        return Ok(());
    }
    let head = format!(
        "# Settings of this {}, in the language of redis.conf. CONFIG REWRITE writes them here.\n\
         # Variables (TANDEM_…) and the command line win over this file.\n",
        profile.name()
    );
    *settings = match settings.take() {
        None => None,
        Some(path) => match make_file(&path, &head)? {
            Ok(()) => Some(path.canonicalize().unwrap_or(path)),
            Err(error) => {
                let path = path.display();
                logger.warning(&format!(
                    "Settings cannot be kept in {path}, so CONFIG REWRITE will refuse: {error}"
                ));
                None
            }
        },
    };
    let is_ours = config.origin("aclfile") == Some(&Origin::Profile);
    if is_ours && let Err(error) = make_file(&Path::new(&config.dir).join(USERS), "")? {
        logger.warning(&format!(
            "Users cannot be kept in {}/{USERS}, so ACL SAVE will refuse: {error}",
            config.dir
        ));
        let freed = config.assign("aclfile", b"", Origin::Profile);
        debug_assert!(freed.is_ok(), "no path is a value");
    }
    Ok(())
}

/// Makes a file that is not there yet; the inner error is why that cannot be, the outer one why what is there cannot be read.
fn make_file(path: &Path, text: &str) -> anyhow::Result<std::io::Result<()>> {
    let made = match OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) => Err(error),
    };
    if !matches!(&made, Err(error) if error.kind() == ErrorKind::AlreadyExists) {
        return Ok(made);
    }
    match std::fs::File::open(path) {
        // A link that leads nowhere is there, too.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(anyhow!("{} is there but cannot be read: {error}", path.display()))
        }
        opened => Ok(opened.map(drop)),
    }
}
