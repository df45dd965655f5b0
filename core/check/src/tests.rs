//! Files that are damaged on purpose, looked at and written anew. What other servers and whole directories do is tried with real ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persist::aof::{Base, FileKind, HistoryId, Log, Place};
use persist::disk::{Disk, Real};
use tempfile::TempDir;

use super::*;
use crate::log::member;

fn request(words: &str) -> Vec<u8> {
    let words: Vec<&str> = words.split(' ').collect();
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}

/// A file of commands; `!` before one: its first byte is wrong.
fn file(commands: &[&str]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("appendonly.aof");
    let mut bytes = Vec::new();
    for command in commands {
        let start = bytes.len();
        bytes.extend(request(command.trim_start_matches('!')));
        if command.starts_with('!') {
            bytes[start] = b'!';
        }
    }
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn look(path: &Path) -> Report {
    check(path, Depth::default(), &mut |_, _| {}).unwrap().remove(0)
}

fn digest(commands: &[&str]) -> String {
    let (_dir, path) = file(commands);
    let report = look(&path);
    assert_eq!(report.worst(), None, "{:?}", report.findings);
    report.contents.unwrap().digest
}

/// What is left of a file is what these commands make.
fn leaves(damaged: &[&str], left: &[&str]) -> Report {
    let (dir, path) = file(damaged);
    let report = look(&path);
    assert_eq!(report.contents.as_ref().unwrap().digest, digest(left), "{:?}", report.findings);
    assert_eq!(report.worst(), Some(Level::Damage));
    assert!(report.findings.iter().any(|finding| !finding.left_out.is_empty()));
    let before = fs::read(&path).unwrap();
    let (_, written) = repair(&path, &dir.path().join("new"), &mut |_, _| {}).unwrap();
    assert_eq!(written[0].contents.as_ref().unwrap().digest, digest(left));
    assert_eq!(fs::read(&path).unwrap(), before);
    report
}

#[test]
fn behind_a_lost_command_the_same_database_is_selected() {
    let left = ["SELECT 0", "SET a 1", "SET c 3", "SELECT 2", "SET d 4"];
    leaves(&["SELECT 0", "SET a 1", "!SET b 2", "SET c 3", "SELECT 2", "SET d 4"], &left);
    leaves(&["SET a 1", "!SET b 2", "SET c 3"], &["SET a 1", "SET c 3"]);
}

#[test]
fn a_lost_select_is_told_by_the_next_one() {
    let whole = ["SELECT 0", "SET a 1", "SELECT 2", "SET b 2", "SELECT 0", "SET c 3"];
    leaves(&["SELECT 0", "SET a 1", "!SELECT 2", "SET b 2", "SELECT 0", "SET c 3", "SELECT 2"], &whole);
}

#[test]
fn where_nobody_knows_the_database_nothing_is_written_to_a_wrong_one() {
    let left = ["SELECT 0", "SET a 1", "SELECT 0", "SET c 3", "SELECT 2", "SET d 4", "SELECT 1", "SET e 5"];
    let damaged = [
        "SELECT 0",
        "SET a 1",
        "!SELECT 1",
        "SET b 2",
        "MULTI",
        "SET x 1",
        "EXEC",
        "SELECT 0",
        "SET c 3",
        "SELECT 2",
        "SET d 4",
        "SELECT 1",
        "SET e 5",
    ];
    let report = leaves(&damaged, &left);
    assert!(report.findings.iter().any(|finding| finding.what.contains("for which database")));
    let inside = [
        "SELECT 0",
        "SET a 1",
        "!SELECT 1",
        "MULTI",
        "SELECT 0",
        "SET c 3",
        "EXEC",
        "SELECT 2",
        "SET d 4",
        "SELECT 1",
        "SET e 5",
    ];
    leaves(&inside, &left);
}

#[test]
fn of_three_databases_another_select_says_nothing() {
    let damaged =
        ["SELECT 0", "SET a 1", "!SELECT 1", "SET b 2", "SELECT 2", "SET c 3", "SELECT 1", "SET d 4"];
    leaves(&damaged, &["SELECT 0", "SET a 1", "SELECT 2", "SET c 3", "SELECT 1", "SET d 4"]);
}

#[test]
fn where_no_select_follows_two_databases_are_one_too_many() {
    let damaged = ["SELECT 2", "SET a 1", "SELECT 0", "SET b 2", "!SELECT 2", "SET c 3"];
    leaves(&damaged, &["SELECT 2", "SET a 1", "SELECT 0", "SET b 2"]);
}

#[test]
fn every_key_that_is_refused_is_told_and_the_rest_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    let mut writer = persist::rdb::Writer::new(false, true);
    writer.header(11);
    writer.raw(b"\xfe\x00");
    for pair in
        [b"\x00\x01a\x011", b"\x00\x01a\x012", b"\x00\x01b\x011", b"\x00\x01b\x013", b"\x00\x01c\x011"]
    {
        writer.raw(pair);
    }
    writer.end();
    let mut bytes = Vec::new();
    writer
        .drain(&mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })
        .unwrap();
    fs::write(&path, bytes).unwrap();
    let report = look(&path);
    let told: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert!(told.len() == 2 && told[0].contains("'a'") && told[1].contains("'b'"), "{told:?}");
    assert_eq!(report.contents.unwrap().digest, digest(&["SET a 1", "SET b 1", "SET c 1"]));
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("dump.rdb");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), dir.path()] {
        let refused = check(path, Depth::default(), &mut |_, _| {});
        assert!(matches!(refused, Err(CheckError::NoFile(_))), "{refused:?}");
    }
    let log = dir.path().join("appendonlydir");
    fs::create_dir(&log).unwrap();
    fs::rename(&pipe, log.join("appendonly.aof.1.base.rdb")).unwrap();
    let refused = check(dir.path(), Depth::default(), &mut |_, _| {});
    assert!(matches!(refused, Err(CheckError::NoFile(_))), "{refused:?}");
}

#[test]
fn what_is_refused_without_what_is_lost_is_told_and_the_rest_goes_on() {
    let report = leaves(&["SET a 1", "!DEL a", "LPUSH a x", "SET b 2"], &["SET a 1", "SET b 2"]);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.what.contains("LPUSH") && finding.what.contains("WRONGTYPE"))
    );
}

#[test]
fn a_torn_end_is_no_damage_and_a_directory_with_something_in_it_is_refused() {
    let (dir, path) = file(&["SET a 1", "SET b 2"]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let report = look(&path);
    assert_eq!((report.worst(), report.findings.len()), (None, 1));
    assert_eq!(report.contents.unwrap().digest, digest(&["SET a 1"]));
    let refused = repair(&path, dir.path(), &mut |_, _| {});
    assert!(matches!(refused, Err(CheckError::NotEmpty(_))), "{refused:?}");
}

#[test]
fn a_log_is_known_by_its_files() {
    assert_eq!(member("appendonly.aof.3.base.rdb"), Some(("appendonly.aof", 3, FileKind::Base)));
    assert_eq!(member("a.b.12.incr.aof"), Some(("a.b", 12, FileKind::Incremental)));
    for other in
        ["appendonly.aof.manifest", "dump.rdb", "appendonly.aof.x.incr.aof", "incr.aof", "appendonly.aof"]
    {
        assert_eq!(member(other), None, "{other}");
    }
}

#[test]
fn a_snapshot_is_put_right_by_its_checksum_whichever_byte_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    let mut data = DataSet::new().unwrap();
    for words in [["SET", "key", "a value"], ["LPUSH", "list", "b"]] {
        data.run(&words.map(|word| word.as_bytes().to_vec())).unwrap();
    }
    let mut whole = Vec::new();
    data.write(false, &mut |part| {
        whole.extend_from_slice(part);
        Ok(())
    })
    .unwrap();
    let wanted = data.contents();
    for at in (0..whole.len()).step_by(5).chain(whole.len() - 8..whole.len()) {
        let mut bad = whole.clone();
        bad[at] ^= 0x42;
        fs::write(&path, &bad).unwrap();
        let report = look(&path);
        assert_eq!(report.worst(), Some(Level::Mendable), "byte {at}: {:?}", report.findings);
        assert_eq!(report.findings[0].bytes, Some((at as u64, at as u64 + 1)));
        assert_eq!(report.contents.unwrap().digest, wanted.digest);
        bad[at / 2 + 3] ^= 0x11;
        bad[at / 3 + 9] ^= 0x21;
        fs::write(&path, &bad).unwrap();
        assert_eq!(look(&path).worst(), Some(Level::Damage), "byte {at}");
    }
}

#[test]
fn a_file_of_settings_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, is_log) in [
        ("queue.conf", "# A queue\nport 6379\n", false),
        ("run.sh", "#!/bin/sh\n", false),
        ("log", "#TS:1700000000\r\n*1\r\n$8\r\nFLUSHALL\r\n", true),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let found = check(&path, Depth::default(), &mut |_, _| {});
        assert_eq!(found.is_ok(), is_log, "{name}");
        assert!(is_log || matches!(found, Err(CheckError::Nothing(_))));
    }
}

#[test]
fn a_log_that_ends_before_what_had_been_durable_of_it_is_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, place): (Arc<dyn Disk>, Place) = (Arc::new(Real), Place::new(dir.path()));
    let data = DataSet::new().unwrap();
    let mut base = Vec::new();
    { data }
        .write(true, &mut |bytes| {
            base.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    let mut log = Log::create(Arc::clone(&disk), place.clone(), &base, Base::Snapshot, HistoryId(7)).unwrap();
    let mut ends = Vec::new();
    for key in ["a", "b"] {
        log.append(&mut request(&format!("SET {key} 1")), 1_700_000_000_000).unwrap();
        ends.push(log.end().unwrap());
    }
    log.sync().unwrap();
    log.synced_mark().unwrap().write(&*disk, &place).unwrap();
    drop(log);
    assert_eq!(look(&place.log_dir()).worst(), None);
    let (file, bytes, _) = &ends[0];
    fs::OpenOptions::new().write(true).open(place.log_dir().join(file)).unwrap().set_len(*bytes).unwrap();
    let report = look(&place.log_dir());
    assert_eq!(report.worst(), Some(Level::Damage), "{:?}", report.findings);
    assert!(report.refusal.unwrap().contains("its end was cut off"));
    // Another file of that content may be a copy that was made while the server wrote: no damage, and told as a start tells it.
    let original = place.log_dir().join(file);
    let copy = dir.path().join("copy");
    fs::copy(&original, &copy).unwrap();
    fs::rename(&copy, &original).unwrap();
    let report = look(&place.log_dir());
    assert_eq!(report.worst(), None, "{:?}", report.findings);
    let is_told =
        |finding: &crate::Finding| finding.what.contains("Its end is missing, unless this is a copy");
    assert!(report.findings.iter().any(is_told), "{:?}", report.findings);
}
