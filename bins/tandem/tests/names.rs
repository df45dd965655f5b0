//! One program with three names, as it is run: what decides is the name of the link, or the subcommand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a start says that breaks each role's promise; no server comes up, so nothing is left behind.
const EVICTING: [&str; 2] = ["--maxmemory-policy", "allkeys-lru"];
const LOGGING: [&str; 2] = ["--appendonly", "yes"];

/// What the program says when it is started by `name` (a link in `folder`) with `words`, and whether that was fine.
fn said(folder: &Path, name: &str, words: &[&str]) -> (bool, String) {
    let link: PathBuf = folder.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tandem"), &link).unwrap();
    }
    let done = Command::new(link).args(words).stdin(Stdio::null()).output().unwrap();
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (done.status.success(), text)
}

#[test]
fn a_link_makes_a_server_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (fine, text) = said(folder.path(), "tandem-queue", &EVICTING);
    assert!(!fine && text.contains("a queue must not evict"), "{text}");
    let (fine, text) = said(folder.path(), "tandem-cache", &LOGGING);
    assert!(!fine && text.contains("a cache writes nothing to disk"), "{text}");
    let (fine, text) = said(folder.path(), "tandem-cache", &["--help"]);
    assert!(fine && text.contains("[--directive value ...]"), "{text}");
}

#[test]
fn a_subcommand_is_the_same_server() {
    let folder = tempfile::tempdir().unwrap();
    let (fine, text) = said(folder.path(), "tandem", &[&["queue"][..], &EVICTING].concat());
    assert!(!fine && text.contains("a queue must not evict"), "{text}");
    let (fine, text) = said(folder.path(), "tandem", &[&["cache"][..], &LOGGING].concat());
    assert!(!fine && text.contains("a cache writes nothing to disk"), "{text}");
}

#[test]
fn the_entry_of_the_image_does_nothing_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (fine, text) = said(folder.path(), "tandem", &["image", "--port", "0"]);
    assert!(!fine && text.contains("entry of the container image"), "{text}");
}

#[test]
fn any_other_name_is_the_tool() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tandem", "tandem-1.2"] {
        let (fine, text) = said(folder.path(), name, &["--help"]);
        assert!(fine && ["up", "server", "cache", "queue", "health"].iter().all(|word| text.contains(word)));
    }
}
