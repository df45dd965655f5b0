//! What every subcommand owes whoever meets it first: help with an example and the exit codes, JSON where scripts ask, no
//! colour where there is no terminal.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output, Stdio};

/// Subcommands that answer no question: they run servers, whose log has forms of its own, or print what a shell reads.
const WITHOUT_JSON: [&str; 5] = ["up", "server", "cache", "queue", "completions"];

fn done(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn help_of(words: &[&str]) -> String {
    let done = done(&[words, &["--help"]].concat());
    assert!(done.status.success() && done.stderr.is_empty(), "{words:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Those that the help of the program lists.
fn subcommands() -> Vec<String> {
    let text = help_of(&[]);
    let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| line.starts_with("  ")).filter_map(|line| {
        let name = line.trim_start().split(' ').next()?;
        (line.starts_with("  ") && !line.starts_with("   ")).then(|| name.to_owned())
    });
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_subcommand_has_an_example_and_its_exit_codes_in_its_help() {
    let names = subcommands();
    for known in ["up", "server", "cache", "queue", "cli", "health"] {
        assert!(names.iter().any(|name| name == known), "{known} is not in {names:?}");
    }
    for name in &names {
        let text = help_of(&[name]);
        let folded = text.to_lowercase();
        assert!(folded.contains("usage: tandem"), "{text}");
        assert!(folded.contains("exit code"), "{name} does not tell its exit codes:\n{text}");
        let example = text.split_once("Examples:").map(|(_, behind)| behind);
        let shown = example.is_some_and(|text| {
            text.contains(&format!("\n  tandem {name} ")) || text.contains(&format!("tandem {name}\n"))
        });
        assert!(shown, "{name} has no example:\n{text}");
        assert!(!text.contains('\x1b'), "{name} is coloured where nobody sees it");
        let is_asked = !WITHOUT_JSON.contains(&name.as_str());
        assert_eq!(text.contains("--json"), is_asked, "{name}: JSON is for what scripts ask");
    }
}

#[test]
fn the_program_itself_tells_them_too() {
    let text = help_of(&[]);
    assert!(
        text.contains("Exit codes:") && text.contains("Examples:") && text.contains("NO_COLOR"),
        "{text}"
    );
}

#[test]
fn what_is_not_understood_exits_with_a_code_of_its_own_and_says_what_to_do() {
    for words in [&["no-such-thing"][..], &["health", "--no-such-thing"], &["up", "--cache-port", "x"]] {
        let done = done(words);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{words:?}: {text}");
        assert!(
            text.contains("--help") && !text.contains('\x1b') && done.stdout.is_empty(),
            "{words:?}: {text}"
        );
    }
}

#[test]
fn health_tells_a_script_also_that_nobody_is_there() {
    let done = done(&["health", "--socket", "/nonexistent/health.sock", "--json"]);
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(
        done.stderr.is_empty()
            && text.starts_with("{\"alive\":false,\"ready\":false,\"reason\":\"no server at /nonexistent"),
        "{text}"
    );
}
