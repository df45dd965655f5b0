//! `tandem completions` and `tandem pages`: what a package brings beside the program, derived from the command line itself.
//!
//! Servers and the client read their own words, of which clap knows nothing. What they say of them with `--help` stands in their
//! manual page, and the options named there are completed: so no page says anything that the program does not.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

use anyhow::{Context, ensure};
use clap::{Arg, ArgAction, Args, Command, CommandFactory};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::{Line, say};

/// The name that all of it is for.
const PROGRAM: &str = "tandem";

/// The shells whose completions a package holds.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Options of `tandem completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  done
  1  not done; standard error says why
  2  the options are wrong

Examples:
  tandem completions bash > /etc/bash_completion.d/tandem")]
pub(crate) struct Completions {
    /// The shell that reads them.
    shell: Shell,
}

/// Options of `tandem pages`.
#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// Where they are written; it is made if it is not there.
    folder: PathBuf,
}

/// Prints what a shell reads.
pub(crate) fn complete(options: &Completions) -> anyhow::Result<ExitCode> {
    let text = String::from_utf8(completions(options.shell, &documented()?))?;
    say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Writes every manual page, and the completions of each shell.
pub(crate) fn write(options: &Pages) -> anyhow::Result<ExitCode> {
    let program = documented()?;
    let (manual, shells) = (options.folder.join("man"), options.folder.join("completions"));
    put(&manual, &format!("{PROGRAM}.1"), &page(&program, false)?)?;
    for command in program.get_subcommands() {
        let name = format!("{PROGRAM}-{}", command.get_name());
        let own = reads_its_own_words(command);
        let bin_name = format!("{PROGRAM} {}", command.get_name());
        let command = command.clone().name(name.clone()).bin_name(bin_name.clone());
        put(&manual, &format!("{name}.1"), &page(&command, own)?)?;
        for part in command.get_subcommands() {
            let name = format!("{name}-{}", part.get_name());
            let part = part.clone().name(name.clone()).bin_name(format!("{bin_name} {}", part.get_name()));
            put(&manual, &format!("{name}.1"), &page(&part, false)?)?;
        }
    }
    for shell in SHELLS {
        put(&shells, &shell.file_name(PROGRAM), &completions(shell, &program))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let file = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, bytes))
        .with_context(|| format!("writing {}", file.display()))
}

/// The command line that people are told of.
fn documented() -> anyhow::Result<Command> {
    let whole = Line::command();
    let mut told = Command::new(PROGRAM).disable_help_subcommand(true);
    told = told.version(env!("CARGO_PKG_VERSION")).about(whole.get_about().cloned().unwrap_or_default());
    told = told.after_help(whole.get_after_help().cloned().unwrap_or_default());
    for command in whole.get_subcommands().filter(|command| !command.is_hide_set()) {
        told = told.subcommand(with_its_own_words(command.clone())?);
    }
    Ok(told)
}

fn reads_its_own_words(command: &Command) -> bool {
    command.is_disable_help_flag_set()
}

/// A command with all that it says of itself.
fn with_its_own_words(command: Command) -> anyhow::Result<Command> {
    if !reads_its_own_words(&command) {
        return Ok(command);
    }
    let help = help_of(command.get_name())?;
    Ok(command.args(options_in(&help)).after_help(help))
}

/// What `tandem NAME --help` prints.
fn help_of(name: &str) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("finding this program")?;
    let said = Process::new(program).args([OsStr::new(name), OsStr::new("--help")]).output();
    let said = said.with_context(|| format!("asking `{PROGRAM} {name}` for its help"))?;
    ensure!(said.status.success(), "`{PROGRAM} {name} --help` failed: {}", said.status);
    Ok(String::from_utf8(said.stdout)?)
}

/// The long options in a help: words of lines that begin with an option. What stands in the second column is said of those in
/// the first; a word in capitals behind an option is its value.
fn options_in(help: &str) -> Vec<Arg> {
    let mut found: Vec<Arg> = Vec::new();
    for line in help.lines().map(str::trim).filter(|line| line.starts_with('-')) {
        let (names, about) = line.split_once("  ").unwrap_or((line, ""));
        for (column, about) in [(names, about.trim()), (about, "")] {
            let mut words = column.split_whitespace().map(bare).peekable();
            while let Some(word) = words.next() {
                let Some(name) = word.strip_prefix("--").filter(|name| is_option(name)) else { continue };
                let takes_value = words.peek().is_some_and(|next| is_value(next));
                if found.iter().all(|known| known.get_long() != Some(name)) {
                    found.push(option(name, takes_value, about));
                }
            }
        }
    }
    found
}

/// A word without the brackets and the punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_start_matches('[').trim_end_matches([',', ';', ':', '.', ']'])
}

fn is_option(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_value(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte == b'|' || byte.is_ascii_uppercase())
}

fn option(name: &str, takes_value: bool, about: &str) -> Arg {
    let action = if takes_value { ArgAction::Set } else { ArgAction::SetTrue };
    Arg::new(name.to_owned()).long(name.to_owned()).help(about.to_owned()).action(action)
}

fn completions(shell: Shell, program: &Command) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program.clone(), PROGRAM, &mut text);
    text
}

/// A manual page. Where `own` words are read, their help says what clap cannot.
fn page(command: &Command, own: bool) -> anyhow::Result<Vec<u8>> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let source = concat!("Tandem ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).manual("Tandem").source(source);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    if !own {
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if !help.is_empty() {
        as_it_stands(if own { "DESCRIPTION" } else { "NOTES" }, &help).to_writer(&mut text)?;
    }
    if !command.has_subcommands() {
        let mut see = Roff::new();
        see.control("SH", ["SEE ALSO"]).text([roman(format!("{PROGRAM}(1)"))]);
        see.to_writer(&mut text)?;
    }
    Ok(text)
}

/// A section whose lines stay lines.
fn as_it_stands(heading: &str, lines: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [heading]).control("nf", []);
    for line in lines.trim().lines() {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_a_help() {
        let help = "\
Usage: x [--none value]

  -h HOST               its name
  -a WORD, --pass WORD  the password
  --one, --two          both of them
  --scan                all names          [--pattern GLOB]
  --push YES|NO         two; --other line by line
  x --example 7
";
        let found: Vec<_> = options_in(help)
            .iter()
            .map(|arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                (arg.get_long().unwrap().to_owned(), arg.get_action().takes_values(), help)
            })
            .collect();
        let expected = [
            ("pass", true, "the password"),
            ("one", false, "both of them"),
            ("two", false, "both of them"),
            ("scan", false, "all names          [--pattern GLOB]"),
            ("pattern", true, ""),
            ("push", true, "two; --other line by line"),
            ("other", false, ""),
        ];
        assert_eq!(found, expected.map(|(name, value, help)| (name.to_owned(), value, help.to_owned())));
    }

    #[test]
    fn lines_of_a_help_stay_lines_and_are_no_requests() {
        let text = as_it_stands("NOTES", "first\n  .second - 'x'\n.third\n").to_roff();
        assert!(text.contains("\nfirst\n  .second \\- 'x'\n\\&.third\n.fi"), "{text}");
    }
}
