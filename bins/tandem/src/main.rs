//! `tandem`, the operator's tool: start the pair, run one server, ask for its health.
//!
//! Each subcommand is a module; this file only reads the command line. Servers take redis-server's
//! options, which are not described here again but passed on as they are.

#![forbid(unsafe_code)]

mod health;
mod up;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tandem: a cache and a durable queue that speak Redis' protocol.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Line {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the cache and the queue here; passwords and certificates are made at first start.
    Up(up::Options),
    /// Run one server by Redis' rules: `tandem server [FILE|-] [--directive value …]`.
    #[command(disable_help_flag = true)]
    Server {
        /// As redis-server takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Exit with 0 if a server is fit for clients, else with 1 and the reason.
    Health(health::Options),
    /// Run one instance of the pair in this process.
    #[command(hide = true, disable_help_flag = true)]
    Instance {
        /// The process of `tandem up`, with which this one ends.
        #[arg(long)]
        parent: Option<i32>,
        name: health::Name,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Line::parse().task {
        Task::Up(options) => up::run(&options),
        Task::Health(options) => health::run(&options),
        Task::Server { words } => server::run(profiles::Profile::Plain, words),
        Task::Instance { parent, name, words } => {
            up::end_with(parent).and_then(|()| server::run(profile(name), words))
        }
    };
    outcome.unwrap_or_else(|error| {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "tandem: {error:#}");
        ExitCode::FAILURE
    })
}

fn profile(name: health::Name) -> profiles::Profile {
    match name {
        health::Name::Cache => profiles::Profile::Cache,
        health::Name::Queue => profiles::Profile::Queue,
    }
}

/// One line, or several, on standard output; a closed pipe is not a reason to stop serving.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_servers_words_are_passed_on_as_they_are() {
        let words = ["redis.conf", "--save", "", "--port", "7000", "--help", "-x"];
        for prefix in [&["tandem", "server"][..], &["tandem", "instance", "queue"]] {
            let line = Line::try_parse_from([prefix, &words].concat()).unwrap();
            let (Task::Server { words: passed } | Task::Instance { words: passed, .. }) = line.task else {
                panic!("not a server")
            };
            assert_eq!(passed, words);
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
