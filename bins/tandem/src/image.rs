//! `tandem image …`: the entry of the container image, which must start from nothing but its name.
//!
//! It understands what stands behind the image's name as the entries of Redis' and Valkey's images do, and the variables of
//! theirs and of Bitnami's. What it finds becomes defaults and options of an ordinary start; the entry knows no more of a
//! server. Started as root it gives the data to an ordinary user, as those images do, and becomes that user.
//!
//! The image holds no other program. Nothing that only helps (the health socket, a certificate nobody asked for) may
//! keep a server from starting; what is missing is a line in its log.

use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::bail;
use profiles::Profile;
use rustix::fs::{Access, access};
use rustix::process::{geteuid, umask};
use server::Surroundings;

use crate::container::{IMAGE_VARIABLE, SECRET_FILES, SOCKET_FOLDER, is_here, place, variable};
use crate::say;

/// The user and the group that a server in a container runs as; also named in the image's `Dockerfile`.
const USER: u32 = 10_001;

/// The variable that says which server the image is when its command line does not; also known to `config`.
const ROLE_VARIABLE: &str = "TANDEM_ROLE";

/// The two prefixes of the variables of other images.
const FAMILIES: [&str; 2] = ["VALKEY_", "REDIS_"];

/// The prefixes of the variables that name the server which a replica follows.
const MASTERS: [&str; 2] = ["VALKEY_PRIMARY_", "REDIS_MASTER_"];

/// Variables that name the file of the password which that server asks for.
const MASTER_SECRET_FILES: [&str; 3] =
    ["VALKEY_PRIMARY_PASSWORD_FILE", "REDIS_MASTER_PASSWORD_FILE", "TANDEM_MASTERAUTH_FILE"];

/// Variables of Bitnami's images behind the prefix, and the directives that they are.
const DIRECTIVES: [(&str, &str); 4] = [
    ("PORT_NUMBER", "port"),
    ("ACLFILE", "aclfile"),
    ("IO_THREADS", "io-threads"),
    ("OVERRIDES_FILE", "include"),
];

/// The same for those that count only with `TLS_ENABLED`.
const TLS_DIRECTIVES: [(&str, &str); 7] = [
    ("TLS_CERT_FILE", "tls-cert-file"),
    ("TLS_KEY_FILE", "tls-key-file"),
    ("TLS_KEY_FILE_PASS", "tls-key-file-pass"),
    ("TLS_CA_FILE", "tls-ca-cert-file"),
    ("TLS_CA_DIR", "tls-ca-cert-dir"),
    ("TLS_DH_PARAMS_FILE", "tls-dh-params-file"),
    ("TLS_AUTH_CLIENTS", "tls-auth-clients"),
];

const HELP: &str = "\
Tandem's image. Behind the image's name stands:

  nothing, or --directive value ...     a server as in Redis' image: port 6379, data in /data
  tandem-queue [--directive value ...]  the durable queue, port 6380
  tandem-cache [--directive value ...]  the evicting cache, port 6379
  redis-server, valkey-server ...       as in their images; also FILE.conf or FILE.toml alone
  tandem COMMAND ...                    the tool; `tandem --help` tells its commands

Variables: REDIS_PASSWORD or REDIS_PASSWORD_FILE, REDIS_MAXMEMORY, TANDEM_ROLE=queue|cache|server where no
command line can be given, TANDEM_<DIRECTIVE> for any directive, and those of Redis', Valkey's and Bitnami's images.";

/// What a container is asked to run.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Server(Profile, Vec<String>),
    Tool(Vec<String>),
    Client(Vec<String>),
    Shell(Vec<String>),
    Help,
}

/// Starts what the words behind the image's name ask for.
///
/// # Errors
/// Outside the image, where it would give somebody's folder to another user.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    if !is_here() {
        bail!(
            "`tandem image` is the entry of the container image, which sets {IMAGE_VARIABLE}; here it is `tandem server`"
        );
    }
    match understand(words, role(variable(ROLE_VARIABLE).as_deref())?)? {
        Asked::Server(profile, words) => serve(profile, words),
        Asked::Tool(words) => crate::run_tool(words),
        Asked::Client(words) => {
            Ok(crate::client::run("redis-cli", words.into_iter().map(Into::into).collect()))
        }
        Asked::Shell(words) => crate::shell::run(&words),
        Asked::Help => {
            say(HELP);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Starts a server with the image's defaults.
pub(crate) fn serve(profile: Profile, words: Vec<String>) -> anyhow::Result<ExitCode> {
    // Who may read what the server writes was not said: then its user alone.
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    let place = named_place(&words, variable("TANDEM_DIR"))
        .unwrap_or_else(|| place(&std::env::current_dir().unwrap_or_default(), &|path| path.is_dir()));
    let mut notes = Vec::new();
    if geteuid().is_root() {
        notes.extend(hand_over(&place, profile, &words));
    }
    let options = options_of(&variable)?;
    notes.extend(options.notes);
    let ground = Ground::of(place);
    notes.extend(ground.judged(profile)?);
    let surroundings = Surroundings {
        defaults: ground.defaults(profile),
        notes,
        needs_password: options.needs_password,
        ..Surroundings::default()
    };
    let words = joined(words, options.before, options.behind);
    server::run_in(&surroundings, profile, words)
}

/// The role that a variable names.
fn role(name: Option<&str>) -> anyhow::Result<Option<Profile>> {
    Ok(match name {
        None => None,
        Some("cache") => Some(Profile::Cache),
        Some("queue") => Some(Profile::Queue),
        Some("server") => Some(Profile::Plain),
        Some(other) => bail!("{ROLE_VARIABLE} is cache, queue or server, not '{other}'"),
    })
}

/// Whose start the words are. `role` is what the image is when they do not say.
fn understand(words: &[String], role: Option<Profile>) -> anyhow::Result<Asked> {
    let server = |profile, words: &[String]| Ok(Asked::Server(profile, words.to_vec()));
    let by_default = role.unwrap_or(Profile::Plain);
    let Some((first, rest)) = words.split_first() else { return server(by_default, words) };
    if rest.is_empty() && matches!(first.as_str(), "-h" | "--help" | "help") {
        return Ok(Asked::Help);
    }
    if first.starts_with('-') || first.ends_with(".conf") || first.ends_with(".toml") {
        return server(by_default, words);
    }
    let name = Path::new(first).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "redis-server" | "valkey-server" => server(by_default, rest),
        "tandem-cache" | "cache" => server(Profile::Cache, rest),
        "tandem-queue" | "queue" => server(Profile::Queue, rest),
        "server" => server(Profile::Plain, rest),
        "tandem" => match rest.first().map(String::as_str) {
            Some("cache" | "queue" | "server") => understand(rest, role),
            _ => Ok(Asked::Tool(rest.to_vec())),
        },
        "redis-cli" | "valkey-cli" => Ok(Asked::Client(rest.to_vec())),
        "sh" => Ok(Asked::Shell(rest.to_vec())),
        _ if crate::is_command(name) => Ok(Asked::Tool(words.to_vec())),
        _ => bail!(
            "there is no '{first}' in this image, which holds nothing but Tandem. Behind the image's \
             name stands a server's options, tandem-queue, tandem-cache, redis-server or tandem; --help tells more"
        ),
    }
}

/// The place that the command line or a variable names.
fn named_place(words: &[String], variable: Option<String>) -> Option<PathBuf> {
    let option = words.windows(2).rev().find(|pair| pair[0] == "--dir").map(|pair| pair[1].clone());
    option.or(variable).map(PathBuf::from).filter(|place| place.is_absolute() && place.parent().is_some())
}

/// Gives the data to the ordinary user and becomes that user by starting anew, which does not come back. Comes back, with what
/// to tell, where the container may do neither; then the server runs as it is.
fn hand_over(place: &Path, profile: Profile, words: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Err(error) = give(place).and_then(|()| give(Path::new(SOCKET_FOLDER))) {
        notes.push(format!("{} cannot be given to user {USER}: {error}", place.display()));
    }
    let name = match profile {
        Profile::Cache => "cache",
        Profile::Queue => "queue",
        Profile::Plain => "server",
    };
    let error = match std::env::current_exe() {
        Ok(own) => {
            let mut command = Command::new(own);
            command.arg0("tandem").args(["image", name]).args(words).uid(USER).gid(USER);
            for file in SECRET_FILES.into_iter().chain(MASTER_SECRET_FILES) {
                let Some((plain, secret)) = secret_of_root(file, variable(file)) else { continue };
                command.env_remove(file).env(plain, secret);
            }
            command.exec()
        }
        Err(error) => error,
    };
    notes.push(format!("running as root, since user {USER} cannot be taken on: {error}"));
    notes
}

/// The secret in a file that the ordinary user could not read, as one that the machine's owner mounts for himself alone, and the
/// variable that holds it instead. What the server itself can read, and watch, is left to it.
fn secret_of_root(name: &str, path: Option<String>) -> Option<(&str, String)> {
    const READABLE_BY_OTHERS: u32 = 0o004;
    const BYTES_MAX: u64 = 64 << 10;
    let (plain, path) = (name.strip_suffix("_FILE")?, PathBuf::from(path?));
    let seen = path.metadata().ok()?;
    if seen.mode() & READABLE_BY_OTHERS != 0 || seen.uid() == USER || seen.len() > BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    // A line end is not part of the secret.
    let secret =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    (!secret.is_empty()).then(|| (plain, secret.to_owned()))
}

/// Gives a folder with all that is in it to the ordinary user, links not followed.
fn give(folder: &Path) -> io::Result<()> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let seen = match path.symlink_metadata() {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if seen.uid() != USER {
            lchown(&path, Some(USER), Some(USER))?;
        }
        if seen.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// What the container offers.
#[derive(Debug)]
struct Ground {
    place: PathBuf,
    is_writable: bool,
    socket: Option<PathBuf>,
}

impl Ground {
    fn of(place: PathBuf) -> Ground {
        let is_writable = std::fs::create_dir_all(&place).is_ok() && may_write(&place);
        let folder = [Path::new(SOCKET_FOLDER), &place].into_iter().find(|folder| may_write(folder));
        let socket = folder.map(|folder| folder.join("health.sock"));
        Ground { place, is_writable, socket }
    }

    /// What to tell of it.
    ///
    /// # Errors
    /// A queue without a place for its log.
    fn judged(&self, profile: Profile) -> anyhow::Result<Vec<String>> {
        let mut notes = Vec::new();
        if !self.is_writable {
            let place = self.place.display();
            let (user, remedy) =
                (geteuid().as_raw(), "start the container without --user, which hands the folder over");
            match profile {
                Profile::Queue => bail!(
                    "{place} cannot be written by user {user}, and a queue keeps its log there: chown it to that user, or \
                     {remedy}"
                ),
                Profile::Cache => notes.push(format!(
                    "{place} cannot be written by user {user}: there is no place for certificates, so no TLS is spoken"
                )),
                Profile::Plain => notes.push(format!(
                    "{place} cannot be written by user {user}: saving will fail. Chown it to that user, or {remedy}"
                )),
            }
        }
        if self.socket.is_none() {
            notes.push("there is no place for a health socket: `tandem health` needs --address".to_owned());
        }
        Ok(notes)
    }

    /// Defaults over those of the profile. As in Redis' image, other containers reach the server also without a password; what is
    /// published beyond them is said to the engine, not to us.
    fn defaults(&self, profile: Profile) -> Vec<(&'static str, Vec<String>)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut found = vec![
            ("bind", vec!["*".to_owned(), "-::*".to_owned()]),
            ("protected-mode", vec!["no".to_owned()]),
            ("dir", vec![text(&self.place)]),
        ];
        if let Some(socket) = &self.socket {
            found.push(("health-socket", vec![text(socket)]));
        }
        if profile != Profile::Plain {
            let tls = if self.is_writable { "optional" } else { "off" };
            found.push(("tls", vec![tls.to_owned()]));
            found.push(("metrics-bind", vec!["0.0.0.0".to_owned()]));
        }
        found
    }
}

fn may_write(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// What variables of other images ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Options under those of the command line.
    before: Vec<String>,
    /// Options over them.
    behind: Vec<String>,
    notes: Vec<String>,
    needs_password: bool,
}

/// Reads the variables of other images. Passwords and memory are not among them: the server itself knows those.
///
/// # Errors
/// A replica is asked for, and not of whom.
fn options_of(variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Options> {
    let of_families = |name: &str| FAMILIES.iter().find_map(|family| variable(&format!("{family}{name}")));
    let is = |name: &str| of_families(name).map(|value| is_yes(&value));
    let mut options = Options::default();
    let mut set = |directive: &str, words: &[&str]| {
        options.before.push(format!("--{directive}"));
        options.before.extend(words.iter().map(|word| (*word).to_owned()));
    };
    match of_families("REPLICATION_MODE").as_deref() {
        None | Some("master" | "primary") => {}
        Some("slave" | "replica") => set_master(variable, &mut set)?,
        Some(mode) => bail!("REPLICATION_MODE is master or replica, not '{mode}'"),
    }
    for (name, directive) in DIRECTIVES {
        of_families(name).inspect(|value| set(directive, &[value]));
    }
    if let Some(on) = is("AOF_ENABLED") {
        set("appendonly", &[if on { "yes" } else { "no" }]);
    }
    if is("RDB_POLICY_DISABLED") == Some(true) {
        set("save", &[""]);
    } else if let Some(policy) = of_families("RDB_POLICY") {
        set("save", &policy.split([' ', '#']).filter(|word| !word.is_empty()).collect::<Vec<_>>());
    }
    for command in of_families("DISABLE_COMMANDS").unwrap_or_default().split(',') {
        if !command.trim().is_empty() {
            set("rename-command", &[command.trim(), ""]);
        }
    }
    if is("ALLOW_REMOTE_CONNECTIONS") == Some(false) {
        set("bind", &["127.0.0.1", "-::1"]);
    }
    if is("TLS_ENABLED") == Some(true) {
        set_tls(&of_families, &mut set);
    }
    for name in ["REDIS_ARGS", "REDIS_EXTRA_FLAGS", "VALKEY_EXTRA_FLAGS"] {
        let flags = variable(name).unwrap_or_default();
        options.behind.extend(flags.split_whitespace().map(str::to_owned));
    }
    options.needs_password = variable("ALLOW_EMPTY_PASSWORD").is_some_and(|value| !is_yes(&value));
    Ok(options)
}

/// The server that a replica follows, as Bitnami's images name it.
///
/// # Errors
/// It is not named.
fn set_master(
    variable: &dyn Fn(&str) -> Option<String>,
    set: &mut dyn FnMut(&str, &[&str]),
) -> anyhow::Result<()> {
    const PORT: &str = "6379";
    let of_master = |name: &str| MASTERS.iter().find_map(|prefix| variable(&format!("{prefix}{name}")));
    let Some(host) = of_master("HOST") else {
        bail!(
            "REPLICATION_MODE asks for a replica, and no REDIS_MASTER_HOST names the server that it follows"
        );
    };
    set("replicaof", &[&host, &of_master("PORT_NUMBER").unwrap_or_else(|| PORT.to_owned())]);
    if let Some(file) = of_master("PASSWORD_FILE") {
        set("masterauth-file", &[&file]);
    } else if let Some(password) = of_master("PASSWORD") {
        set("masterauth", &[&password]);
    }
    Ok(())
}

/// TLS as Bitnami's images have it: on its own port, and where that is the ordinary one, nothing else on it.
fn set_tls(of_families: &dyn Fn(&str) -> Option<String>, set: &mut dyn FnMut(&str, &[&str])) {
    const PORT: &str = "6379";
    let tls_port = of_families("TLS_PORT_NUMBER").or_else(|| of_families("TLS_PORT"));
    let tls_port = tls_port.unwrap_or_else(|| PORT.to_owned());
    let port = of_families("PORT_NUMBER").unwrap_or_else(|| PORT.to_owned());
    set("tls-port", &[&tls_port]);
    if port == tls_port {
        set("port", &["0"]);
    }
    for (name, directive) in TLS_DIRECTIVES {
        of_families(name).inspect(|value| set(directive, &[value]));
    }
}

fn is_yes(value: &str) -> bool {
    ["yes", "true", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// The words of a command line with options around its own; a file, or `-`, stays in front.
fn joined(mut words: Vec<String>, before: Vec<String>, behind: Vec<String>) -> Vec<String> {
    let front = words.iter().take_while(|word| !word.starts_with("--")).count().min(2);
    words.splice(front..front, before);
    words.extend(behind);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn asked(text: &str) -> Asked {
        understand(&words(text), None).unwrap()
    }

    fn options(variables: &[(&str, &str)]) -> Options {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        options_of(&find).unwrap()
    }

    #[test]
    fn the_words_behind_the_image_are_those_of_other_images() {
        for (text, profile, rest) in [
            ("", Profile::Plain, ""),
            ("--requirepass x", Profile::Plain, "--requirepass x"),
            ("redis-server --appendonly yes", Profile::Plain, "--appendonly yes"),
            ("/usr/local/bin/redis-server", Profile::Plain, ""),
            ("valkey-server /etc/v.conf", Profile::Plain, "/etc/v.conf"),
            (
                "/usr/local/etc/redis/redis.conf --port 1",
                Profile::Plain,
                "/usr/local/etc/redis/redis.conf --port 1",
            ),
            ("queue.toml", Profile::Plain, "queue.toml"),
            ("--version", Profile::Plain, "--version"),
            ("tandem-cache --maxmemory 1gb", Profile::Cache, "--maxmemory 1gb"),
            ("/tandem-queue", Profile::Queue, ""),
            ("queue --help", Profile::Queue, "--help"),
            ("tandem cache --port 1", Profile::Cache, "--port 1"),
            ("/tandem server x.conf", Profile::Plain, "x.conf"),
        ] {
            assert_eq!(asked(text), Asked::Server(profile, words(rest)), "{text}");
        }
        for text in ["tandem", "tandem --help", "tandem health queue", "tandem up --dir /data"] {
            assert_eq!(asked(text), Asked::Tool(words(text)[1..].to_vec()), "{text}");
        }
        assert_eq!(asked("health --address x:1"), Asked::Tool(words("health --address x:1")));
        assert_eq!(asked("--help"), Asked::Help);
        assert_eq!(asked("redis-cli -h cache ping"), Asked::Client(words("-h cache ping")));
        assert_eq!(asked("/bin/sh -c ls"), Asked::Shell(words("-c ls")));
        for text in ["bash -c ls", "redis-benchmark", "instance queue"] {
            let error = understand(&words(text), None).unwrap_err().to_string();
            assert!(error.contains("nothing but Tandem"), "{error}");
        }
    }

    #[test]
    fn a_role_may_be_given_where_no_words_can_be() {
        let queue = role(Some("queue")).unwrap();
        assert_eq!(understand(&[], queue).unwrap(), Asked::Server(Profile::Queue, Vec::new()));
        let passed = Asked::Server(Profile::Queue, words("--port 1"));
        assert_eq!(understand(&words("redis-server --port 1"), queue).unwrap(), passed);
        assert_eq!(understand(&words("cache"), queue).unwrap(), Asked::Server(Profile::Cache, Vec::new()));
        assert!(role(Some("broker")).unwrap_err().to_string().contains("TANDEM_ROLE"));
    }

    #[test]
    fn variables_of_other_images_are_options() {
        for (variables, expected) in [
            (&[("REDIS_PORT_NUMBER", "7000")][..], "--port 7000"),
            (&[("VALKEY_PORT_NUMBER", "1"), ("REDIS_PORT_NUMBER", "2")], "--port 1"),
            (&[("REDIS_AOF_ENABLED", "no")], "--appendonly no"),
            (&[("VALKEY_AOF_ENABLED", "True")], "--appendonly yes"),
            (&[("REDIS_RDB_POLICY", "900#1 600#5")], "--save 900 1 600 5"),
            (&[("REDIS_ALLOW_REMOTE_CONNECTIONS", "no")], "--bind 127.0.0.1 -::1"),
            (&[("REDIS_REPLICATION_MODE", "master"), ("REDIS_DATABASE", "redis")], ""),
            (
                &[
                    ("REDIS_REPLICATION_MODE", "slave"),
                    ("REDIS_MASTER_HOST", "a"),
                    ("REDIS_MASTER_PASSWORD", "p"),
                ],
                "--replicaof a 6379 --masterauth p",
            ),
            (
                &[
                    ("VALKEY_REPLICATION_MODE", "replica"),
                    ("VALKEY_PRIMARY_HOST", "a"),
                    ("VALKEY_PRIMARY_PORT_NUMBER", "7000"),
                    ("VALKEY_PRIMARY_PASSWORD_FILE", "/p"),
                ],
                "--replicaof a 7000 --masterauth-file /p",
            ),
            (&[("REDIS_TLS_CERT_FILE", "/c"), ("REDIS_TLS_ENABLED", "no")], ""),
            (
                &[("REDIS_TLS_CERT_FILE", "/c"), ("REDIS_TLS_ENABLED", "yes")],
                "--tls-port 6379 --port 0 --tls-cert-file /c",
            ),
            (&[("REDIS_TLS_ENABLED", "1"), ("REDIS_TLS_PORT_NUMBER", "6380")], "--tls-port 6380"),
            // Of an application's own settings, which a shared file of variables brings along.
            (&[("REDIS_PORT", "6379"), ("REDIS_HOST", "cache"), ("REDIS_URL", "redis://cache")], ""),
        ] {
            assert_eq!(options(variables).before, words(expected), "{variables:?}");
        }
        let hidden = options(&[("REDIS_DISABLE_COMMANDS", "FLUSHDB, FLUSHALL")]).before;
        assert_eq!(hidden, ["--rename-command", "FLUSHDB", "", "--rename-command", "FLUSHALL", ""]);
        assert_eq!(options(&[("REDIS_RDB_POLICY_DISABLED", "yes")]).before, ["--save", ""]);
        let replica = |name: &str| (name == "REDIS_REPLICATION_MODE").then(|| "slave".to_owned());
        assert!(options_of(&replica).unwrap_err().to_string().contains("REDIS_MASTER_HOST"));
        let odd = |name: &str| (name == "REDIS_REPLICATION_MODE").then(|| "Replica".to_owned());
        assert!(options_of(&odd).is_err(), "it is no master by a slip");
    }

    #[test]
    fn extra_flags_come_last_and_files_stay_first() {
        let extra = options(&[("VALKEY_EXTRA_FLAGS", "--port 2  --hz 1")]);
        assert_eq!(extra.behind, words("--port 2 --hz 1"));
        let joined = |text: &str| joined(words(text), words("--a 1"), words("--b 2")).join(" ");
        assert_eq!(joined(""), "--a 1 --b 2");
        assert_eq!(joined("--port 1"), "--a 1 --port 1 --b 2");
        assert_eq!(joined("x.conf --port 1"), "x.conf --a 1 --port 1 --b 2");
        assert_eq!(joined("x.conf - --port 1"), "x.conf - --a 1 --port 1 --b 2");
    }

    #[test]
    fn only_a_secret_that_the_user_cannot_read_is_read_for_him() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "p w\r\n").unwrap();
        let read = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            secret_of_root("REDIS_PASSWORD_FILE", path.to_str().map(str::to_owned))
        };
        assert_eq!(read(0o600), Some(("REDIS_PASSWORD", "p w".to_owned())));
        assert_eq!(read(0o644), None);
        assert_eq!(secret_of_root("REDIS_PASSWORD_FILE", Some("/none".to_owned())), None);
        assert_eq!(secret_of_root("REDIS_PASSWORD_FILE", None), None);
    }

    #[test]
    fn an_empty_password_is_refused_only_where_that_was_said() {
        assert!(!options(&[]).needs_password);
        assert!(!options(&[("ALLOW_EMPTY_PASSWORD", "yes")]).needs_password);
        assert!(options(&[("ALLOW_EMPTY_PASSWORD", "no")]).needs_password);
    }

    #[test]
    fn the_place_may_be_named() {
        let named = |text: &str| named_place(&words(text), Some("/v".to_owned()));
        assert_eq!(named("--dir /a --port 1 --dir /b"), Some("/b".into()));
        assert_eq!(named("--port 1"), Some("/v".into()));
        assert_eq!((named("--dir ./a"), named("--dir /")), (None, None));
    }

    #[test]
    fn what_cannot_be_written_stops_only_a_queue() {
        let ground = Ground { place: "/data".into(), is_writable: false, socket: None };
        let error = ground.judged(Profile::Queue).unwrap_err().to_string();
        assert!(error.contains("/data") && error.contains("chown"), "{error}");
        assert_eq!(ground.judged(Profile::Plain).unwrap().len(), 2);
        let cache = ground.defaults(Profile::Cache);
        assert!(cache.contains(&("tls", vec!["off".to_owned()])), "{cache:?}");
        let fine = Ground { place: "/data".into(), is_writable: true, socket: Some("/s".into()) };
        assert!(fine.judged(Profile::Queue).unwrap().is_empty());
        let queue = fine.defaults(Profile::Queue);
        assert!(queue.contains(&("tls", vec!["optional".to_owned()])), "{queue:?}");
        assert!(fine.defaults(Profile::Plain).iter().all(|(name, _)| *name != "tls"));
    }
}
