//! `tandem cli`, also called `redis-cli`: the crate `cli` with what this program knows of its instances.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use cli::{FindError, Finder, Place, Role, Screen, Surroundings};
use control::health::find;

use crate::container;
use crate::instances::{DIRECTORY, Name, health_socket, is_closed, password_file};

/// What it is called where it is not called otherwise.
pub(crate) const NAME: &str = "tandem cli";

/// What it is called where it tells queues.
const QUEUES_NAME: &str = "tandem queues";

/// What the prompt keeps is kept here, in the user's folder.
const HISTORY_FILE: &str = ".tandem_history";

/// In the image, the ports that are tried where none is named: those of a server and of a queue.
const PORTS_IN_IMAGE: [u16; 2] = [6379, 6380];

/// How long an instance may take to tell where it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does what the words say.
pub(crate) fn run(name: &str, words: Vec<OsString>) -> ExitCode {
    ExitCode::from(run_on(&mut cli::standard_screen(), name, words))
}

/// Tells the queues of a server.
pub(crate) fn queues(words: Vec<OsString>) -> ExitCode {
    let mut screen = cli::standard_screen();
    ExitCode::from(run_with(cli::queues, &mut screen, QUEUES_NAME, words))
}

/// What one command says.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    /// There was a reply.
    pub(crate) has_answer: bool,
}

/// Asks without a terminal, for one who looks at the reply.
pub(crate) fn answer(name: &str, words: &[String]) -> Said {
    let (out, err) = (Printed::default(), Printed::default());
    let (to_out, to_err) = (Box::new(out.clone()), Box::new(err.clone()));
    let mut screen = Screen { out: to_out, err: to_err, is_terminal: false, is_watched: false };
    let code = run_on(&mut screen, name, words.iter().map(OsString::from).collect());
    Said { out: out.text(), err: err.text(), has_answer: code == 0 }
}

fn run_on(screen: &mut Screen, name: &str, words: Vec<OsString>) -> u8 {
    run_with(cli::run, screen, name, words)
}

/// What the crate does with a command line.
type Task = fn(Vec<OsString>, &mut Screen, &Surroundings<'_>) -> u8;

fn run_with(task: Task, screen: &mut Screen, name: &str, words: Vec<OsString>) -> u8 {
    let own = env!("CARGO_PKG_VERSION");
    // Scripts look for a version of Redis behind the other names.
    let version = if [NAME, QUEUES_NAME].contains(&name) {
        own.to_owned()
    } else {
        format!("{} (tandem {own})", server::REDIS_VERSION)
    };
    with_surroundings_of(name, &version, |surroundings| task(words, screen, surroundings))
}

/// Gives what this program knows of its instances to one who asks them.
pub(crate) fn with_surroundings<T>(run: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    with_surroundings_of(NAME, env!("CARGO_PKG_VERSION"), run)
}

fn with_surroundings_of<T>(name: &str, version: &str, run: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    run(&Surroundings {
        name,
        version,
        finder: &Instances,
        ports: if container::is_here() { &PORTS_IN_IMAGE } else { &PORTS_IN_IMAGE[..1] },
        history: std::env::var_os("HOME").map(|home| PathBuf::from(home).join(HISTORY_FILE)),
    })
}

/// What is printed into memory.
#[derive(Clone, Default)]
struct Printed(Rc<RefCell<Vec<u8>>>);

impl Printed {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The instances of this machine: those of `tandem up` and of systemd, or that of the container.
///
/// An instance is known by its health socket, which only its owner may ask; it tells address and port. The password stands where
/// whoever started it has put it.
struct Instances;

/// Where an instance has its files.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    socket: PathBuf,
    password: Password,
    authority: PathBuf,
}

/// Where a password is.
#[derive(Debug, PartialEq, Eq)]
enum Password {
    File(PathBuf),
    /// In the variables of a container.
    Variables,
}

impl Site {
    /// Under the folder of `tandem up`.
    fn of_up(root: &Path, name: Name) -> Site {
        Site {
            socket: health_socket(root, name),
            password: Password::File(password_file(root, name)),
            authority: root.join("tls").join("ca.crt"),
        }
    }

    /// Where the units of systemd have it.
    fn of_system(name: Name) -> Site {
        let state = Path::new("/var/lib").join(name.program());
        Site {
            socket: Path::new("/run").join(name.program()).join("health.sock"),
            password: Password::File(PathBuf::from(format!("/etc/tandem/{}-password", name.as_str()))),
            authority: state.join("tls").join("ca.crt"),
        }
    }

    fn of_container(socket: PathBuf) -> Site {
        Site { socket, password: Password::Variables, authority: container::authority() }
    }

    fn place(&self) -> anyhow::Result<Place> {
        let found = find(&self.socket, PATIENCE)?;
        let password = match &self.password {
            Password::File(file) => Some(container::found_in(file)?),
            Password::Variables => container::password()?,
        };
        Ok(Place {
            host: found.address.ip().to_string(),
            port: found.address.port(),
            password,
            authority: found.needs_tls.then(|| self.authority.clone()),
        })
    }
}

impl Finder for Instances {
    fn find(&self, role: Role, folder: Option<&str>) -> Result<Place, FindError> {
        let name = match role {
            Role::Cache => Name::Cache,
            Role::Queue => Name::Queue,
        };
        let site = site(name, folder).ok_or_else(|| FindError(nowhere(name)))?;
        site.place().map_err(|error| FindError(format!("the {} was not reached: {error:#}", name.as_str())))
    }
}

/// The first of the usual places where there is such an instance, or the one in the folder named.
fn site(name: Name, folder: Option<&str>) -> Option<Site> {
    if let Some(folder) = folder {
        return Some(Site::of_up(Path::new(folder), name));
    }
    let mut sites = vec![Site::of_system(name), Site::of_up(Path::new(DIRECTORY), name)];
    if container::is_here() {
        sites.extend(container::health_sockets().map(Site::of_container));
    }
    let seen = sites.iter().position(|site| site.socket.exists());
    seen.or_else(|| sites.iter().position(|site| is_closed(&site.socket))).map(|at| sites.swap_remove(at))
}

fn nowhere(name: Name) -> String {
    let name = name.as_str();
    format!(
        "no {name} was found: none of systemd's is running, nor one of a `tandem up` in this folder. Name the folder of that \
         `tandem up` with --dir, or the server by its address"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_is_not_there_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Instances.find(Role::Queue, folder.path().to_str()).unwrap_err().to_string();
        assert!(error.contains("the queue was not reached") && error.contains("health.sock"), "{error}");
        assert!(nowhere(Name::Cache).contains("--dir"));
    }

    #[test]
    fn what_one_command_prints_comes_back_with_its_verdict() {
        let said = answer("redis-cli", &["-p".to_owned(), "1".to_owned(), "ping".to_owned()]);
        assert_eq!(said.err, "Could not connect to Redis at 127.0.0.1:1: Connection refused\n");
        assert!(said.out.is_empty() && !said.has_answer);
        let said = answer("redis-cli", &["--version".to_owned()]);
        assert!(
            said.out.starts_with("redis-cli 7.") && said.err.is_empty() && said.has_answer,
            "{}",
            said.out
        );
    }
}
