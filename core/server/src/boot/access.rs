//! Who is let in, as the files say that a start finds: passwords, users, and secrets that lie open.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use config::{Config, Origin};
use control::password::Record;
use profiles::Profile;

use crate::shared::{PasswordFile, Shared};

/// What stands before a record in place of a plain password.
const RECORD_PREFIX: &str = "argon2id:";

/// A sentence about each file with secrets in it that everybody on the machine can read.
pub(super) fn exposed_files(profile: Profile, config: &Config, file: Option<&Path>) -> Vec<String> {
    let dir = Path::new(&config.dir);
    let named = [
        &config.requirepass_file,
        &config.masterauth_file,
        &config.metrics_token_file,
        &config.tls_key_file,
        &config.aclfile,
    ];
    let mut paths: Vec<PathBuf> =
        named.iter().filter(|name| !name.is_empty()).map(|name| dir.join(name)).collect();
    // The authority's key may lie beside the one that is used.
    paths.extend(Path::new(&config.tls_key_file).parent().map(|place| dir.join(place).join("ca.key")));
    if config.tls_cert_file.is_empty() && config.is_said("dir") {
        // Those of our own authority.
        let leaf = format!("{}.key", crate::plane::program(profile));
        paths.extend(["ca.key", &leaf].map(|name| dir.join("tls").join(name)));
    }
    if !config.requirepass.is_empty() && config.requirepass_file.is_empty() || !config.users.is_empty() {
        paths.extend(file.map(Path::to_owned));
    }
    paths.iter().filter_map(|path| control::secrets::exposure(path)).collect()
}

/// The default user's password.
pub(crate) struct Password {
    pub(super) record: String,
    /// What the record was made of, if it was made here.
    pub(super) plain: Option<Vec<u8>>,
    /// The file that it came from, if it was one.
    pub(super) file: Option<PasswordFile>,
}

/// Replaces the plain password of the configuration by a record of it.
pub(super) fn hide_password(config: &mut Config) -> anyhow::Result<Option<Password>> {
    if config.requirepass.is_empty() {
        return Ok(None);
    }
    let given = String::from_utf8_lossy(&config.requirepass).into_owned();
    let (record, plain) = match given.strip_prefix(RECORD_PREFIX) {
        Some(record) => (Record::parse(record)?, None),
        None => (control::password::hash(&config.requirepass)?, Some(config.requirepass.clone())),
    };
    let origin = config.origin("requirepass").cloned().unwrap_or(Origin::Default);
    let text = format!("{RECORD_PREFIX}{}", record.as_str());
    let file = match &origin {
        Origin::Secret(path) => Some(PasswordFile { path: PathBuf::from(&**path), record: record.clone() }),
        _ => None,
    };
    config.assign("requirepass", text.as_bytes(), origin).map_err(|why| anyhow!(why))?;
    Ok(Some(Password { record: record.as_str().to_owned(), plain, file }))
}

/// Users of the configuration file or of the ACL file.
pub(super) fn load_users(shared: &Shared, config: &Config) -> anyhow::Result<()> {
    if !config.users.is_empty() && !config.aclfile.is_empty() {
        return Err(anyhow!(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
             invalid. This setup is very likely to lead to configuration errors and security holes, please \
             define either an ACL file or declare users directly in your redis.conf, but not both."
        ));
    }
    if !config.aclfile.is_empty() {
        let names_default = crate::background::load_acl(shared, None)
            .map_err(|why| {
                anyhow!(
                    "The start is given up because of ACL errors: {why}\n`tandem check {}` tells whether the file is right, and starts \
                     nothing.",
                    shared.files.place().join(&config.aclfile).display()
                )
            })?;
        let (counts, open) =
            shared.with_engine(|engine, _| (engine.requirepass_counts(), engine.acl.default_is_open()));
        if names_default && !config.requirepass.is_empty() && !counts {
            let what = if open { "and it needs NO password" } else { "so its passwords count" };
            shared.logger.warning(&format!(
                "The ACL file names the default user, {what}: requirepass does not count. To change that: ACL SETUSER default \
                 resetpass ><password>, and ACL SAVE, in one session; or CONFIG SET requirepass, and CONFIG REWRITE"
            ));
        }
    } else if !config.users.is_empty() {
        shared.with_engine(|engine, _| engine.load_users(&config.users)).map_err(|why| anyhow!(why))?;
    }
    Ok(())
}

/// Tells that whoever reaches the server may do everything, where that is so and nobody needs to come from this machine.
///
/// # Errors
/// That it is so, where a password was demanded.
pub(super) fn look_for_open_access(
    shared: &Shared,
    config: &Config,
    needs_password: bool,
) -> anyhow::Result<()> {
    let is_open = shared.engine.lock().acl.default_is_open();
    if is_open && needs_password {
        bail!("no password is set, and ALLOW_EMPTY_PASSWORD says that one is needed: give REDIS_PASSWORD");
    }
    let is_local = |address: &String| {
        let address = address.trim_start_matches('-');
        address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    };
    if is_open && !config.protected_mode && !config.bind.iter().all(is_local) {
        shared.logger.warning(
            "No password is set and protected-mode is off: whoever reaches this server may read and change everything. \
             Set one: requirepass, or the variable REDIS_PASSWORD.",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_with_secrets_that_all_can_read_are_told_of() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut config = Config::default();
        let mut set = |name: &str, value: &str| config.assign(name, value.as_bytes(), Origin::Set).unwrap();
        set("dir", place.path().to_str().unwrap());
        set("requirepass-file", &file("password", 0o604));
        set("metrics-token-file", &file("token", 0o600));
        set("aclfile", "users.acl");
        file("users.acl", 0o644);
        file("tls/ca.key", 0o644);
        file("tls/tandem-queue.key", 0o640);
        let told = |config: &Config, file: Option<&Path>| -> Vec<String> {
            let name = |text: &String| text.split(' ').nth(2).unwrap().rsplit('/').next().unwrap().to_owned();
            exposed_files(Profile::Queue, config, file).iter().map(name).collect()
        };
        assert_eq!(told(&config, None), ["password", "users.acl", "ca.key"]);
        for (name, value) in [("requirepass-file", ""), ("aclfile", ""), ("requirepass", "pw")] {
            config.assign(name, value.as_bytes(), Origin::Set).unwrap();
        }
        config.assign("tls-cert-file", b"tls/c", Origin::Set).unwrap();
        config.assign("tls-key-file", b"tls/k", Origin::Set).unwrap();
        let conf = PathBuf::from(file("queue.conf", 0o644));
        assert_eq!(told(&config, Some(&conf)), ["ca.key", "queue.conf"]);
    }
}
