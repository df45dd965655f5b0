//! The directory of a pair: its passwords, certificates and settings, made where they are missing.
//!
//! ```text
//! tandem-data/             0700
//!   secrets/NAME-password  0600, made once
//!   secrets/metrics-token  0600, made once if the metrics can be reached from other machines
//!   tls/                   the authority and both certificates
//!   tls-names              what `--tls-name` said last, for the starts that do not say it
//!   NAME/                  the instance's data and its health socket
//!   NAME/users.acl         0600, made once, empty: ACL SAVE writes it
//!   NAME.conf              0600, made once: directives of yours; CONFIG REWRITE writes it
//! ```

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use control::addresses::listened_on;
use control::certs::{Authority, is_name};
use control::probe::logs_in;
use control::secrets;

use super::options::Options;
use crate::instances::{self, DIRECTORY, Name};
use crate::say;

/// How long each step of trying a password may take: a hash, and a busy machine.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);

/// What a new file of directives says.
const SETTINGS_HEAD: &str = "\
# Directives of this instance, in the language of redis.conf. CONFIG REWRITE writes them here.
# Variables (TANDEM_…) win over this file, and so does what `tandem up` says on the command line:
# addresses, ports, folders, certificates. `console no` and `metrics-tls yes` count.
";

/// The address that other machines would use for a bound one: itself, or, when all are bound, that of the
/// default route. Asking for the route sends nothing.
fn outer_address(bind: IpAddr) -> Option<IpAddr> {
    if !bind.is_unspecified() {
        return Some(bind);
    }
    let (own, elsewhere) = match bind {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(own).ok()?;
    socket.connect(elsewhere).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The directory with all that must be there before a start.
pub(super) struct Home {
    pub(super) root: PathBuf,
    /// The address that clients connect to.
    outer: IpAddr,
    /// What the certificates are for beyond the names of every machine.
    names: Vec<String>,
}

/// What the environment says of `tls` to both instances.
fn tls_variable() -> String {
    std::env::var("TANDEM_TLS").unwrap_or_default()
}

/// What a file of directives says of one that is `yes` or `no`; the last line of it counts.
fn said_in(settings: &str, directive: &str) -> Option<bool> {
    let value = |line: &str| {
        let (name, value) = line.trim().split_once(char::is_whitespace)?;
        name.eq_ignore_ascii_case(directive).then(|| is_yes(value.trim().trim_matches(['"', '\''])))
    };
    settings.lines().filter_map(value).next_back()
}

fn is_yes(value: &str) -> bool {
    value.eq_ignore_ascii_case("yes")
}

/// What clients may speak where the variable of `tls` says `tls`; without it the profile's `auto` decides.
fn schemes(tls: &str, is_public: bool) -> &'static [&'static str] {
    match (tls, is_public) {
        ("off", _) => &["redis"],
        ("required", _) => &["rediss"],
        ("optional", _) | (_, false) => &["redis", "rediss"],
        (_, true) => &["rediss"],
    }
}

impl Home {
    pub(super) fn prepare(options: &Options) -> anyhow::Result<Home> {
        let (directory, bind) = (&options.dir, options.bind);
        make_private(directory)?;
        let root = directory.canonicalize().with_context(|| directory.display().to_string())?;
        make_private(&root.join("secrets"))?;
        let outer = outer_address(bind).unwrap_or(bind);
        let named = kept_names(&root.join("tls-names"), &options.tls_names)?
            .into_iter()
            .chain(names_from_variable()?);
        let addresses = std::iter::once(outer).chain(listened_on(&[bind.to_string()]));
        let mut names: Vec<String> = named.chain(addresses.map(|address| address.to_string())).collect();
        names.dedup();
        let home = Home { root, outer, names };
        for name in Name::BOTH {
            make_private(&home.root.join(name.as_str()))?;
            make_kept(&home.users(name), "")?;
            make_kept(&home.settings(name), SETTINGS_HEAD)?;
            let found = secrets::read_or_create(&home.password_file(name))?;
            for warning in found.warning.into_iter().chain(home.overruled(name)) {
                say(&format!("warning: {warning}"));
            }
        }
        if home.is_public() {
            secrets::read_or_create(&home.metrics_token())?;
        }
        home.renew_certificates()?;
        Ok(home)
    }

    pub(super) fn password_file(&self, name: Name) -> PathBuf {
        instances::password_file(&self.root, name)
    }

    /// The ACL file: users made with ACL SETUSER stay when ACL SAVE has been said.
    pub(super) fn users(&self, name: Name) -> PathBuf {
        self.root.join(name.as_str()).join("users.acl")
    }

    /// The file of an instance's directives: it is read at each start, and CONFIG REWRITE writes it.
    pub(super) fn settings(&self, name: Name) -> PathBuf {
        self.root.join(format!("{}.conf", name.as_str()))
    }

    /// What the variable of a directive says that is `yes` or `no`, or else the instance's settings.
    fn said(&self, name: Name, directive: &str) -> Option<bool> {
        let variable = format!("TANDEM_{}", directive.to_uppercase().replace('-', "_"));
        let of_file = || said_in(&std::fs::read_to_string(self.settings(name)).ok()?, directive);
        std::env::var(variable).ok().map(|value| is_yes(&value)).or_else(of_file)
    }

    /// Whether an instance has a console: unless a variable or its settings say otherwise, wherever it has a port for it.
    pub(super) fn has_console(&self, options: &Options, name: Name) -> bool {
        options.metrics_port(name) != 0 && self.said(name, "console").unwrap_or(true)
    }

    /// Whether the port of the metrics speaks TLS: where other machines can reach it, and where a variable or the settings say so.
    pub(super) fn encrypts_metrics(&self, name: Name) -> bool {
        self.is_public() || self.said(name, "metrics-tls").unwrap_or(false)
    }

    /// What is configured and has no effect, in words.
    fn overruled(&self, name: Name) -> Option<String> {
        let is_overruled = self.is_public() && self.said(name, "metrics-tls") == Some(false);
        is_overruled.then(|| {
            let name = name.as_str();
            format!(
                "metrics-tls no has no effect on the {name}: other machines can reach its metrics and console"
            )
        })
    }

    /// Whether the password in the instance's file lets the default user in, asked of the running instance as a client would.
    pub(super) fn password_fits(&self, options: &Options, name: Name) -> anyhow::Result<bool> {
        if tls_variable() == "off" {
            // It is tried over TLS only, so that it never leaves this process in the clear.
            return Ok(true);
        }
        let password = secrets::read(&self.password_file(name))?.secret;
        let ip = match options.bind {
            all if all.is_unspecified() && all.is_ipv4() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            all if all.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            bound => bound,
        };
        let address = SocketAddr::new(ip, options.port(name));
        let authority = self.tls().join("ca.crt");
        logs_in(address, &authority, "default", password.reveal(), LOGIN_PATIENCE)
            .with_context(|| format!("trying the password of the {} at {address}", name.as_str()))
    }

    /// Other machines can reach the pair: then metrics ask for a token and are encrypted for its sake, and
    /// only TLS is offered (`tls auto`).
    pub(super) fn is_public(&self) -> bool {
        !self.outer.is_loopback()
    }

    pub(super) fn metrics_token(&self) -> PathBuf {
        self.root.join("secrets").join("metrics-token")
    }

    pub(super) fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// Makes what is missing or due; the instances watch the files and take new ones up.
    pub(super) fn renew_certificates(&self) -> anyhow::Result<()> {
        for name in Name::BOTH {
            let issued = Authority::new(&self.tls(), name.program(), &self.names).ensure(SystemTime::now())?;
            for made in issued.made {
                say(&format!("made {made}"));
            }
        }
        Ok(())
    }

    /// What a user pastes into an application. The instances in `foreign` have another password than the one in their file, so
    /// it is not shown. Nor is any where nobody watches: it would stay in a log.
    pub(super) fn connection_strings(
        &self,
        options: &Options,
        foreign: &[Name],
        is_watched: bool,
    ) -> anyhow::Result<String> {
        let mut text = String::from("tandem is up\n");
        for name in Name::BOTH {
            let found = secrets::read(&self.password_file(name))?;
            let password = match foreign.contains(&name) || !is_watched {
                true => "<password>".to_owned(),
                false => url_encoded(found.secret.reveal()),
            };
            let address = SocketAddr::new(self.outer, options.port(name));
            for (at, scheme) in schemes(&tls_variable(), self.is_public()).iter().enumerate() {
                let label = if at == 0 { name.as_str() } else { "" };
                text += &format!("  {label:<8} {scheme}://default:{password}@{address}\n");
            }
            if options.metrics_port(name) != 0 {
                let metrics = SocketAddr::new(self.outer, options.metrics_port(name));
                let scheme = if self.encrypts_metrics(name) { "https" } else { "http" };
                text += &format!("           {scheme}://{metrics}/metrics\n");
                if self.has_console(options, name) {
                    text += &format!("           {scheme}://{metrics}/console\n");
                }
            }
        }
        if !is_watched {
            let place = self.root.join("secrets").display().to_string();
            text += &format!("  passwords, which are shown on terminals only: {place}/*-password\n");
        }
        if self.is_public() {
            text += &format!("  bearer token of the metrics: {}\n", self.metrics_token().display());
        }
        text += &format!("  authority of the certificates: {}\n", self.tls().join("ca.crt").display());
        let folder = match options.dir == Path::new(DIRECTORY) {
            true => String::new(),
            false => format!(" --dir {}", self.root.display()),
        };
        Ok(text + &format!("  to ask them: tandem cli --cache{folder}, tandem cli --queue{folder}"))
    }
}

fn make_private(directory: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making {}", directory.display()))
}

/// Bytes as they may stand in the user part of a URL (RFC 3986): all but the unreserved ones by their numbers.
fn url_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// A file with this text if there is none. An ACL file without users leaves the default user the instance's password.
fn make_kept(file: &Path, text: &str) -> anyhow::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let outcome = match made {
        Ok(mut made) => made.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    outcome.with_context(|| format!("making {}", file.display()))
}

/// The names that were given, which are kept in `file`; where none are given, those that were kept. A certificate that lost a name
/// with a start would lock out whoever uses it.
fn kept_names(file: &Path, given: &[String]) -> anyhow::Result<Vec<String>> {
    if !given.is_empty() {
        let new = file.with_extension("new");
        std::fs::write(&new, given.join("\n") + "\n")
            .and_then(|()| std::fs::rename(&new, file))
            // What is left then is told by its name.
            .inspect_err(|_| std::fs::remove_file(&new).unwrap_or_default())
            .with_context(|| format!("writing {}", file.display()))?;
        return Ok(given.to_vec());
    }
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    let names: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => bail!("{}: '{name}' is neither a host name nor an address", file.display()),
        None => Ok(names),
    }
}

/// The names in `$TANDEM_TLS_NAMES`, which the servers would take for themselves if they made their certificates.
fn names_from_variable() -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = std::env::var("TANDEM_TLS_NAMES")
        .map_or(Vec::new(), |names| names.split_ascii_whitespace().map(str::to_owned).collect());
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => bail!("TANDEM_TLS_NAMES: '{name}' is neither a host name nor an address"),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_home_is_private_and_stays_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("data");
        let root_text = root.to_str().unwrap();
        let options = Options::of(&["--dir", root_text, "--tls-name", "redis.example.com"]);
        let home = Home::prepare(&options).unwrap();
        let names = std::fs::read_to_string(home.tls().join("tandem-queue.names")).unwrap();
        assert!(names.lines().any(|name| name == "redis.example.com"), "{names}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root), 0o700);
        assert_eq!(mode(&home.password_file(Name::Cache)), 0o600);
        assert_eq!(mode(&home.tls().join("ca.key")), 0o600);
        assert_eq!(mode(&home.users(Name::Queue)), 0o600);
        assert_eq!(mode(&home.settings(Name::Cache)), 0o600);
        std::fs::write(home.users(Name::Queue), "user worker on").unwrap();
        std::fs::write(home.settings(Name::Queue), "hz 20\n").unwrap();
        let first = home.connection_strings(&options, &[], true).unwrap();
        let again = Home::prepare(&options).unwrap().connection_strings(&options, &[], true).unwrap();
        assert_eq!(std::fs::read_to_string(home.settings(Name::Queue)).unwrap(), "hz 20\n");
        assert_eq!(first, again);
        assert_eq!(std::fs::read_to_string(home.users(Name::Queue)).unwrap(), "user worker on");
        assert!(first.contains("@127.0.0.1:6380\n") && first.contains("http://127.0.0.1:9121/metrics"));
        assert!(first.contains("http://127.0.0.1:9122/console\n"));
    }

    #[test]
    fn strings_are_of_what_is_spoken() {
        assert_eq!(schemes("", false), ["redis", "rediss"]);
        assert_eq!(schemes("", true), ["rediss"]);
        assert_eq!(schemes("auto", true), ["rediss"]);
        assert_eq!(schemes("required", false), ["rediss"]);
        assert_eq!(schemes("optional", true), ["redis", "rediss"]);
        assert_eq!(schemes("off", false), ["redis"]);
    }

    #[test]
    fn a_password_of_any_bytes_stands_in_a_url() {
        assert_eq!(url_encoded("p@ss/w:rd#1% -._~é".as_bytes()), "p%40ss%2Fw%3Ard%231%25%20-._~%C3%A9");
    }

    #[test]
    fn names_of_certificates_are_kept_until_others_are_given() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let names = |words: &[&str]| {
            let home = Home::prepare(&Options::of(&[&["--dir", root], words].concat())).unwrap();
            let text = std::fs::read_to_string(home.tls().join("tandem-queue.names")).unwrap();
            text.lines().filter(|name| name.ends_with(".example.com")).map(str::to_owned).collect::<Vec<_>>()
        };
        let both = ["a.example.com", "b.example.com"];
        assert_eq!(names(&["--tls-name", both[0], "--tls-name", both[1]]), both);
        assert_eq!(names(&[]), both);
        assert_eq!(names(&["--tls-name", "c.example.com"]), ["c.example.com"]);
        assert_eq!(names(&[]), ["c.example.com"]);
        std::fs::write(directory.path().join("tls-names"), "not/a/name\n").unwrap();
        let error = Home::prepare(&Options::of(&["--dir", root])).map(drop).unwrap_err().to_string();
        assert!(error.contains("tls-names") && error.contains("not/a/name"), "{error}");
    }
}
