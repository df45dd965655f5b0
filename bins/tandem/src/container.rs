//! What a process in the container image knows of its container: where data, secrets and sockets are.

use std::path::{Path, PathBuf};

use cli::FoundPassword;
use control::secrets::{self, SecretError};

/// Where data is kept unless the working directory is another one.
const PLACE: &str = "/data";

/// Where Bitnami's images keep their data: a volume that is mounted there must not be passed by.
const FOREIGN_PLACES: [&str; 2] = ["/bitnami/redis", "/bitnami/valkey"];

/// The folders for the health socket, best first; the data's own comes last.
pub(crate) const SOCKET_FOLDER: &str = "/run/tandem";

/// The variable that the image's `Dockerfile` sets; also known to `config`.
pub(crate) const IMAGE_VARIABLE: &str = "TANDEM_IN_IMAGE";

/// Variables that name the file of the password.
pub(crate) const SECRET_FILES: [&str; 3] =
    ["REDIS_PASSWORD_FILE", "VALKEY_PASSWORD_FILE", "TANDEM_REQUIREPASS_FILE"];

/// Variables that hold the password itself.
const SECRETS: [&str; 3] = ["REDIS_PASSWORD", "VALKEY_PASSWORD", "TANDEM_REQUIREPASS"];

/// A variable of the environment that says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether this process runs in the image: a server is then started as here also where its entry is passed by, as by `command` of
/// Kubernetes and `--entrypoint`.
pub(crate) fn is_here() -> bool {
    variable(IMAGE_VARIABLE).is_some()
}

/// Where the data is where nobody says: a volume that was made for another image, the working directory, or the image's own place.
pub(crate) fn place(current: &Path, is_folder: &dyn Fn(&Path) -> bool) -> PathBuf {
    if let Some(foreign) = FOREIGN_PLACES.into_iter().find(|folder| is_folder(Path::new(folder))) {
        return Path::new(foreign).join("data");
    }
    match current.parent() {
        Some(_) => current.to_owned(),
        None => PathBuf::from(PLACE),
    }
}

/// Where a server in this container may have its health socket.
pub(crate) fn health_sockets() -> impl Iterator<Item = PathBuf> {
    let place = place(&std::env::current_dir().unwrap_or_default(), &|path| path.is_dir());
    [PathBuf::from(SOCKET_FOLDER), place].into_iter().map(|folder| folder.join("health.sock"))
}

/// The password that the variables of this container give, in the order in which a server takes them.
///
/// # Errors
/// A variable names a file that cannot be read.
pub(crate) fn password() -> anyhow::Result<Option<FoundPassword>> {
    if let Some(file) = SECRET_FILES.into_iter().find_map(variable) {
        return Ok(Some(found_in(Path::new(&file))?));
    }
    Ok(SECRETS.into_iter().find_map(|name| {
        let secret = variable(name)?.into_bytes();
        Some(FoundPassword { secret, source: format!("the variable {name}") })
    }))
}

/// Where a server in this container has its certificates.
pub(crate) fn authority() -> PathBuf {
    let place = variable("TANDEM_DIR").map(PathBuf::from);
    let usual = || self::place(&std::env::current_dir().unwrap_or_default(), &|path| path.is_dir());
    place.unwrap_or_else(usual).join("tls").join("ca.crt")
}

/// The password in a file.
pub(crate) fn found_in(file: &Path) -> Result<FoundPassword, SecretError> {
    let secret = secrets::read(file)?.secret.reveal().to_vec();
    Ok(FoundPassword { secret, source: file.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_where_the_volume_is() {
        let none = |_: &Path| false;
        assert_eq!(place(Path::new("/data"), &none), Path::new("/data"));
        assert_eq!(place(Path::new("/srv/x"), &none), Path::new("/srv/x"));
        assert_eq!(place(Path::new("/"), &none), Path::new("/data"));
        let bitnami = |path: &Path| path == Path::new("/bitnami/redis");
        assert_eq!(place(Path::new("/data"), &bitnami), Path::new("/bitnami/redis/data"));
    }
}
