//! `tandem`: one program with several names. By its own it is the operator's tool: start the pair, run one server, ask for its
//! health. Started as `tandem-cache` or `tandem-queue`, by a link to it, it is that server and nothing else. In the container
//! image, which holds no other program, it is also `redis-server` and as much of a shell as checks need. By the name `redis-cli`
//! it is `tandem cli` anywhere.
//!
//! Each subcommand is a module; this file only reads the command line. Servers take redis-server's
//! options, which are not described here again but passed on as they are.

#![forbid(unsafe_code)]

mod backup;
mod check;
mod client;
mod container;
mod health;
mod image;
mod import;
mod instances;
mod pages;
mod rehearse;
mod repository;
mod shell;
mod up;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory, Parser, Subcommand};
use instances::Name;
use profiles::Profile;

/// What stands below the subcommands in the help.
const MORE_HELP: &str = "\
Exit codes: 0 done, 1 not done (standard error says why), 2 the options are wrong. `tandem COMMAND --help` tells a command's own.
$NO_COLOR (any value) keeps colours off a terminal; elsewhere there are none.

Examples:
  tandem up
  tandem cli --queue llen mail
  tandem queues
  tandem health queue --json";

/// Tandem: a cache and a durable queue that speak Redis' protocol.
#[derive(Debug, Parser)]
#[command(version, about, after_help = MORE_HELP)]
struct Line {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the cache and the queue here; passwords and certificates are made at first start.
    Up(up::Options),
    /// Run one server by Redis' rules; `tandem server --help` tells its options.
    #[command(disable_help_flag = true)]
    Server {
        /// As redis-server takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run the cache, as `tandem-cache` does; `tandem cache --help` tells its options.
    #[command(disable_help_flag = true)]
    Cache {
        /// As `tandem-cache` takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run the queue, as `tandem-queue` does; `tandem queue --help` tells its options.
    #[command(disable_help_flag = true)]
    Queue {
        /// As `tandem-queue` takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Ask a server, at a prompt or with one command: what redis-cli does. `tandem cli --help` tells its options.
    #[command(disable_help_flag = true)]
    Cli {
        /// As redis-cli takes them, and `--cache` or `--queue` for an instance of this machine.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Show the queues of a server: depths, workers, rates and ages. `tandem queues --help` tells its options.
    #[command(disable_help_flag = true)]
    Queues {
        /// `--json`, and whose queues, as for `tandem cli`; without any, this machine's queue.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Exit with 0 if a server is fit for clients, else with 1 and the reason.
    Health(health::Options),
    /// Archive a server's log in a repository, encrypted, and look after that.
    Backup(backup::Options),
    /// Bring what another server holds into a running one, follow it, and take over.
    Import(import::Options),
    /// Make a directory from a repository that a server starts from, as it was at any moment.
    Restore(backup::RestoreOptions),
    /// Look for damage in the files of a server or in a repository, say what it is, and write what is good elsewhere.
    Check(check::Options),
    /// Print what a shell needs to complete this program's commands and options.
    Completions(pages::Completions),
    /// Write the manual pages and the completions, as a package holds them.
    #[command(hide = true)]
    Pages(pages::Pages),
    /// Run what the words behind a container image's name ask for.
    #[command(hide = true, disable_help_flag = true)]
    Image {
        /// A server's options, a program's name with its options, or nothing.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run one instance of the pair in this process.
    #[command(hide = true, disable_help_flag = true)]
    Instance {
        /// The process of `tandem up`, with which this one ends.
        #[arg(long)]
        parent: Option<i32>,
        name: Name,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let outcome = match called(Path::new(&words.next().unwrap_or_default())) {
        Called::Server(role) => plain_text(words).and_then(|words| serve(role, words)),
        Called::Client(name) => Ok(client::run(&name, words.collect())),
        Called::Shell => plain_text(words).and_then(|words| shell::run(&words)),
        Called::Tool => run(Line::parse().task),
    };
    outcome.unwrap_or_else(|error| {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "tandem: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Up(options) => up::run(&options),
        Task::Health(options) => health::run(&options),
        Task::Backup(options) => backup::run(&options),
        Task::Import(options) => import::run(&options),
        Task::Restore(options) => backup::restore(&options),
        Task::Check(options) => Ok(check::run(&options)),
        Task::Completions(options) => pages::complete(&options),
        Task::Pages(options) => pages::write(&options),
        Task::Cli { words } => Ok(client::run(client::NAME, words)),
        Task::Queues { words } => Ok(client::queues(words)),
        Task::Server { words } => serve(Profile::Plain, words),
        Task::Cache { words } => serve(Profile::Cache, words),
        Task::Queue { words } => serve(Profile::Queue, words),
        Task::Image { words } => image::run(&words),
        Task::Instance { parent, name, words } => {
            up::end_with(parent).and_then(|()| server::run(name.profile(), words))
        }
    }
}

/// Runs a server, in the container image with the defaults that belong there.
fn serve(role: Profile, words: Vec<String>) -> anyhow::Result<ExitCode> {
    if container::is_here() { image::serve(role, words) } else { server::run(role, words) }
}

/// Does what `tandem WORDS` does.
pub(crate) fn run_tool(words: Vec<String>) -> anyhow::Result<ExitCode> {
    run(Line::parse_from(std::iter::once("tandem".to_owned()).chain(words)).task)
}

/// Whether `name` is a command of the tool that people are told of.
pub(crate) fn is_command(name: &str) -> bool {
    Line::command().get_subcommands().any(|command| command.get_name() == name && !command.is_hide_set())
}

/// What the program is by the name that it was started by.
#[derive(Debug, PartialEq, Eq)]
enum Called {
    Server(Profile),
    /// `redis-cli`, by the name that it was called by.
    Client(String),
    /// `/bin/sh` of the container image.
    Shell,
    Tool,
}

fn called(name: &Path) -> Called {
    let name = name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "redis-server" | "valkey-server" => Called::Server(Profile::Plain),
        "redis-cli" | "valkey-cli" => Called::Client(name.to_owned()),
        "sh" => Called::Shell,
        _ => {
            let role = Name::BOTH.into_iter().find(|role| name == role.program());
            role.map_or(Called::Tool, |role| Called::Server(role.profile()))
        }
    }
}

/// Words of a command line that is not read by clap.
fn plain_text(words: impl Iterator<Item = OsString>) -> anyhow::Result<Vec<String>> {
    let text = |word: OsString| {
        word.into_string().map_err(|word| anyhow!("{}: the word is not UTF-8", word.to_string_lossy()))
    };
    words.map(text).collect()
}

/// One line, or several, on standard output; a closed pipe is not a reason to stop serving.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_servers_words_are_passed_on_as_they_are() {
        let words = ["redis.conf", "--save", "", "--port", "7000", "--help", "-x"];
        for prefix in ["server", "cache", "queue", "instance queue"] {
            let prefix: Vec<_> = std::iter::once("tandem").chain(prefix.split(' ')).collect();
            let line = Line::try_parse_from([&prefix[..], &words].concat()).unwrap();
            let (Task::Server { words: passed }
            | Task::Cache { words: passed }
            | Task::Queue { words: passed }
            | Task::Instance { words: passed, .. }) = line.task
            else {
                panic!("not a server")
            };
            assert_eq!(passed, words);
        }
    }

    #[test]
    fn a_name_is_a_role_wherever_the_link_lies() {
        for (name, expected) in [
            ("tandem-cache", Called::Server(Profile::Cache)),
            ("/usr/local/bin/tandem-queue", Called::Server(Profile::Queue)),
            ("redis-server", Called::Server(Profile::Plain)),
            ("/usr/local/bin/valkey-cli", Called::Client("valkey-cli".to_owned())),
            ("/bin/sh", Called::Shell),
        ] {
            assert_eq!(called(Path::new(name)), expected, "{name}");
        }
        for other in ["tandem", "./tandem", "tandem-cache.old", "/tandem-queue/tandem", "", "/"] {
            assert_eq!(called(Path::new(other)), Called::Tool, "{other}");
        }
    }

    #[test]
    fn an_instance_may_be_told_its_parent() {
        let words = ["tandem", "instance", "--parent", "7", "cache", "--port", "8"];
        let Task::Instance { parent, words, .. } = Line::try_parse_from(words).unwrap().task else {
            panic!("not an instance")
        };
        assert_eq!((parent, words), (Some(7), vec!["--port".to_owned(), "8".to_owned()]));
    }

    #[test]
    fn options_may_come_first() {
        let line = Line::try_parse_from(["tandem", "server", "--port", "7000"]).unwrap();
        assert!(matches!(line.task, Task::Server { words } if words == ["--port", "7000"]));
    }
}
