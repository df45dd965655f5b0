//! What a package brings beside the program is derived from the program, so that each command is in all of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

/// What the tool prints.
fn said(words: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_tandem")).args(words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The commands that `--help` tells of.
fn commands() -> Vec<String> {
    parts_in(&said(&["--help"]))
}

/// The commands that a help tells of, if it tells of any.
fn parts_in(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let words = lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    words.filter(|word| word != "help").collect()
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn each_command_has_a_page_and_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    said(&["pages", folder.path().to_str().unwrap()]);
    let folder = folder.path();
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    let overview = text(folder, "man/tandem.1");
    let mut pages = 1;
    for command in &commands {
        let page = text(folder, &format!("man/tandem-{command}.1"));
        assert!(page.contains(".SH NAME\n") && page.contains(&format!("tandem\\-{command}")), "{page}");
        assert!(overview.contains(&format!("tandem\\-{command}(1)")), "{overview}");
        pages += 1;
        for part in parts_in(&said(&[command, "--help"])) {
            let name = format!("tandem\\-{command}\\-{part}");
            assert!(text(folder, &format!("man/tandem-{command}-{part}.1")).contains(&name), "{name}");
            assert!(page.contains(&format!("{name}(1)")), "{page}");
            pages += 1;
        }
        for shell in ["tandem.bash", "_tandem", "tandem.fish"] {
            assert!(text(folder, &format!("completions/{shell}")).contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.join("man")).unwrap().count(), pages);
}

#[test]
fn commands_that_read_their_own_words_say_them() {
    let folder = tempfile::tempdir().unwrap();
    said(&["pages", folder.path().to_str().unwrap()]);
    let folder = folder.path();
    assert!(text(folder, "man/tandem-queue.1").contains("directive value ..."));
    assert!(text(folder, "man/tandem-cli.1").contains("\\-\\-memkeys\\-samples NUMBER"));
    let fish = text(folder, "completions/tandem.fish");
    for option in ["-l memkeys-samples", "-l cacert", "-l scan -d 'all keys", "-l cache-port"] {
        assert!(fish.contains(option), "{option}");
    }
    assert!(!fish.contains("-a \"instance\""), "a hidden command is completed");
}

#[test]
fn completions_are_printed_for_any_shell() {
    for (shell, word) in
        [("bash", "complete -F _tandem"), ("zsh", "#compdef tandem"), ("fish", "complete -c tandem")]
    {
        let text = said(&["completions", shell]);
        assert!(text.contains(word) && text.contains("memkeys-samples"), "{shell}");
    }
}
