//! `dir` is where a server is: its path is told whole, and relative paths are in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

fn bulk_pair(dir: &Path) -> String {
    let dir = dir.to_str().unwrap();
    format!("*2\r\n$3\r\ndir\r\n${}\r\n{dir}\r\n", dir.len())
}

#[test]
fn relative_paths_are_in_dir_and_dir_counts_from_the_present_one() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let data = root.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    let words = [
        "--dir",
        "./data/",
        "--pidfile",
        "r.pid",
        "--unixsocket",
        "r.sock",
        "--enable-protected-configs",
        "yes",
    ];
    let server = support::server(&root, &words);
    assert!(data.join("r.pid").exists() && data.join("r.sock").exists());
    let mut client = server.client();
    client.ask("CONFIG GET dir", &bulk_pair(&data));
    client.ask("CONFIG SET dir ..", "+OK\r\n");
    client.ask("CONFIG GET dir", &bulk_pair(&root));
    let refused =
        |why: &str| format!("-ERR CONFIG SET failed (possibly related to argument 'dir') - {why}\r\n");
    client.ask("CONFIG SET dir file", &refused("Not a directory"));
    client.ask("CONFIG SET dir none", &refused("No such file or directory"));
    client.ask("CONFIG SET dir \"\"", &refused("No such file or directory"));
    client.ask("CONFIG GET dir", &bulk_pair(&root));
    server.stop();
    assert!(!data.join("r.pid").exists() && !data.join("r.sock").exists());
}

#[test]
fn each_dir_must_be_there_also_when_another_follows() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let refusal = support::refusal(place.path(), &["--dir", "none", "--dir", root]);
    assert!(refusal.contains("Can't chdir to 'none': No such file or directory"), "{refusal}");
}
