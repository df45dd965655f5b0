//! What lies in a server's directory and is not its own, or is and is not whole.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use profiles::Profile;
use support::{Server, server, try_server};

const LOG: &[&str] = &["--save", "", "--appendonly", "yes"];

fn queue(dir: &Path) -> Result<Server, String> {
    let words = ["--tls", "off", "--metrics-port", "0", "--health-socket", "", "--save", "3600 1"];
    try_server(Profile::Queue, dir, &words)
}

/// A queue that holds a list of three, and has ended.
fn with_jobs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let first = queue(dir.path()).unwrap();
    first.client().ask("RPUSH jobs a b c", ":3\r\n");
    first.stop();
    dir
}

fn refusal(dir: &Path) -> String {
    queue(dir).err().expect("it must not start")
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let log = std::fs::read_dir(dir.join("appendonlydir")).unwrap();
    let mut files: Vec<PathBuf> = log.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_snapshot_that_somebody_laid_beside_the_log_stops_a_queue() {
    let (dir, other) = (with_jobs(), tempfile::tempdir().unwrap());
    let writer = server(other.path(), &["--save", ""]);
    writer.client().ask("SET restored 1", "+OK\r\n");
    writer.client().ask("SAVE", "+OK\r\n");
    writer.stop();
    let (dump, before) = (dir.path().join("dump.rdb"), files(dir.path()));
    std::fs::copy(other.path().join("dump.rdb"), &dump).unwrap();
    let why = refusal(dir.path());
    assert!(
        why.contains("is not one that this server has written") && why.contains("move the directory"),
        "{why}"
    );
    assert_eq!(files(dir.path()), before);
    // Either of the two ways that the sentence names.
    std::fs::remove_file(&dump).unwrap();
    let again = queue(dir.path()).unwrap();
    again.client().ask("LLEN jobs", ":3\r\n");
    again.stop();
    std::fs::copy(other.path().join("dump.rdb"), &dump).unwrap();
    std::fs::rename(dir.path().join("appendonlydir"), dir.path().join("old")).unwrap();
    assert!(refusal(dir.path()).contains("there is no log"), "the old one lies there yet");
    std::fs::rename(dir.path().join("old"), other.path().join("old")).unwrap();
    let restored = queue(dir.path()).unwrap();
    restored.client().ask("GET restored", "$1\r\n1\r\n");
    // Its own snapshots, and the one that it was made of, are known.
    restored.stop();
    let saving = queue(dir.path()).unwrap();
    saving.client().ask("SAVE", "+OK\r\n");
    saving.client().ask("SET more 1", "+OK\r\n");
    saving.finish();
    queue(dir.path()).unwrap().client().ask("DBSIZE", ":2\r\n");
}

#[test]
fn a_snapshot_that_was_put_there_while_the_server_ran_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let running = server(dir.path(), &["--save", ""]);
    running.client().ask("SET k v", "+OK\r\n");
    running.client().ask("SAVE", "+OK\r\n");
    running.client().ask("SAVE", "+OK\r\n");
    let kept = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.to_string_lossy().contains("dump.rdb.kept-")).collect::<Vec<_>>()
    };
    assert_eq!(kept(), Vec::<PathBuf>::new());
    std::fs::write(dir.path().join("dump.rdb"), "somebody's backup").unwrap();
    running.client().ask("SAVE", "+OK\r\n");
    assert_eq!(std::fs::read(&kept()[0]).unwrap(), b"somebody's backup");
}

#[test]
fn an_empty_snapshot_is_no_data_set() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), "").unwrap();
    assert!(refusal(dir.path()).contains("rdb file reading failure"));
    assert_eq!(std::fs::read(dir.path().join("dump.rdb")).unwrap(), b"");
}

#[test]
fn a_manifest_that_was_cut_stops_the_start() {
    let dir = with_jobs();
    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    let text = std::fs::read_to_string(&manifest).unwrap();
    // With the line that vouches for the others, and as an earlier version wrote it.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (cut, told) in
        [(lines[..2].concat(), "its checksum is wrong"), (lines[1].to_owned(), "does not name it")]
    {
        std::fs::write(&manifest, cut).unwrap();
        let before = files(dir.path());
        for start in [queue, |dir: &Path| try_server(Profile::Plain, dir, LOG)] {
            let why = start(dir.path()).err().expect("it must not start");
            assert!(why.contains(told), "{why}");
            assert_eq!(files(dir.path()), before);
        }
    }
    std::fs::write(&manifest, text).unwrap();
    queue(dir.path()).unwrap().client().ask("LLEN jobs", ":3\r\n");
}

#[test]
fn a_log_of_another_name_stops_a_queue_that_would_begin_empty() {
    let dir = with_jobs();
    let words = ["--tls", "off", "--metrics-port", "0", "--appenddirname", "other"];
    let why = try_server(Profile::Queue, dir.path(), &words).err().expect("it must not start");
    assert!(why.contains("appendonlydir/appendonly.aof.manifest lies there"), "{why}");
}

#[test]
fn a_single_log_laid_beside_stops_a_queue_and_not_a_server_without_a_profile() {
    let dir = with_jobs();
    let old = dir.path().join("appendonly.aof");
    std::fs::write(&old, "*1\r\n$8\r\nFLUSHALL\r\n").unwrap();
    assert!(refusal(dir.path()).contains("lies beside the log"));
    let plain = server(dir.path(), LOG);
    plain.client().ask("LLEN jobs", ":3\r\n");
    plain.stop();
    assert!(old.exists());
}

#[test]
fn nobody_writes_beside_a_queue_and_others_share_a_directory_but_no_log() {
    let dir = with_jobs();
    let running = queue(dir.path()).unwrap();
    for words in [LOG, &["--save", "3600 1"]] {
        let why = try_server(Profile::Plain, dir.path(), words).err().expect("it must not start");
        assert!(why.contains("a queue uses the directory"), "{why}");
    }
    // One that keeps nothing may come in, and then is kept from writing.
    let reader = server(dir.path(), &["--save", ""]);
    let mut client = reader.client();
    client.send(b"SAVE\r\n");
    assert!(client.line().contains("a queue uses the directory"));
    drop(client);
    reader.stop();
    running.client().ask("LLEN jobs", ":3\r\n");
    running.stop();
    let one = server(dir.path(), LOG);
    let why = try_server(Profile::Plain, dir.path(), LOG).err().expect("it must not start");
    assert!(why.contains("another server writes the log"), "{why}");
    let two = server(dir.path(), &[LOG, &["--appendfilename", "second.aof"]].concat());
    two.client().ask("DBSIZE", ":0\r\n");
    one.client().ask("DBSIZE", ":1\r\n");
}

#[test]
fn of_two_servers_with_the_same_snapshot_the_second_starts_and_does_not_save() {
    let dir = tempfile::tempdir().unwrap();
    let one = server(dir.path(), &["--save", "3600 1"]);
    one.client().ask("SET k 1", "+OK\r\n");
    let two = server(dir.path(), &["--save", "3600 1"]);
    let mut client = two.client();
    client.ask("SET k 2", "+OK\r\n");
    client.send(b"SAVE\r\n");
    let why = client.line();
    assert!(why.contains("another server writes the snapshot 'dump.rdb'"), "{why}");
    one.client().ask("SAVE", "+OK\r\n");
    drop(client);
    two.stop();
    one.stop();
    // Where it ends it leaves what it has under a name of its own.
    let one = server(dir.path(), &["--save", "3600 1"]);
    let two = server(dir.path(), &["--save", "3600 1"]);
    two.client().ask("SET k 3", "+OK\r\n");
    two.finish();
    one.client().ask("SET k 4", "+OK\r\n");
    one.finish();
    // One that has nothing new leaves nothing, and the next one keeps what the first has left.
    let one = server(dir.path(), &["--save", "3600 1"]);
    server(dir.path(), &["--save", "3600 1"]).finish();
    let two = server(dir.path(), &["--save", "3600 1"]);
    two.client().ask("SET k 5", "+OK\r\n");
    two.finish();
    one.finish();
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".rdb") && !name.ends_with(".lock"))
        .collect();
    names.sort();
    assert_eq!(names[..2], ["dump.rdb", "dump.rdb.kept-last"]);
    assert!(names.len() == 3 && names[2].starts_with("dump.rdb.kept-last-"), "{names:?}");
    for (name, value) in names.iter().zip(["4", "5", "3"]) {
        let read = server(dir.path(), &["--save", "", "--dbfilename", name]);
        read.client().ask("GET k", &format!("$1\r\n{value}\r\n"));
    }
    // With nothing to keep, nothing is taken and nothing is left behind.
    let empty = tempfile::tempdir().unwrap();
    server(empty.path(), &["--save", ""]).client().ask("SET k 1", "+OK\r\n");
    let names = std::fs::read_dir(empty.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["log"]);
}

#[test]
fn a_log_that_was_cut_where_it_lies_stops_a_queue_and_a_copy_of_a_running_one_does_not() {
    let dir = with_jobs();
    let path = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for bytes in [0, whole.len() as u64 / 2] {
        file.set_len(bytes).unwrap();
        assert!(refusal(dir.path()).contains("its end was cut off"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    }
    file.set_len(0).unwrap();
    std::fs::rename(&path, dir.path().join("cut")).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let copy = queue(dir.path()).unwrap();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("Its end is missing, unless this is a copy"), "{log}");
    copy.client().ask("PING", "+PONG\r\n");
}

fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_directory_that_was_copied_tells_what_is_not_known_of_its_backups() {
    let (dir, repository) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = ["--backup-repository", repository.path().to_str().unwrap(), "--backup-unencrypted", "yes"];
    let start = || server(dir.path(), &[LOG, &to].concat());
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    let (mark, copy) = (dir.path().join("backup-log"), dir.path().join("copy"));
    for _ in 0..2 {
        let archives = start();
        archives.client().ask("SET k 1", "+OK\r\n");
        until(|| mark.exists());
        archives.stop();
        assert!(!log().contains("backup-log is a copy"), "{}", log());
    }
    std::fs::copy(&mark, &copy).unwrap();
    std::fs::rename(&copy, &mark).unwrap();
    let _moved = start();
    until(|| log().contains("backup-log is a copy"));
}

#[test]
fn temporary_files_of_a_server_that_died_are_removed_and_others_stay() {
    let dir = with_jobs();
    let own = std::process::id();
    let gone = [
        format!("temp-{own}.rdb"),
        format!("temp-{own}-00ff00ff00ff00ff.rdb"),
        format!("temp-rewriteaof-bg-{own}-00ff00ff00ff00ff.aof"),
    ];
    // Whoever has the same number in another container is writing.
    let written = format!("temp-{own}-1111111111111111.rdb");
    let _writer = persist::disk::Disk::create(&persist::disk::Real, &dir.path().join(&written)).unwrap();
    let stay = [&written, "temp-1.rdb", "temp-1-00ff00ff00ff00ff.rdb", "temp-notes.rdb", "temp-5.txt"];
    for name in gone.iter().map(String::as_str).chain(stay) {
        std::fs::write(dir.path().join(name), "left").unwrap();
    }
    std::fs::write(dir.path().join("appendonlydir/temp-appendonly.aof.manifest"), "left").unwrap();
    let running = queue(dir.path()).unwrap();
    assert!(gone.iter().all(|name| !dir.path().join(name).exists()));
    assert!(stay.iter().all(|name| dir.path().join(name).exists()));
    assert!(!dir.path().join("appendonlydir/temp-appendonly.aof.manifest").exists());
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(
        log.contains("Removed what a server that died has left")
            && log.contains("Removing what a crash has left")
    );
    running.stop();
}

#[test]
fn a_failed_snapshot_leaves_no_temporary_file_and_stops_nobody_who_has_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let running = server(dir.path(), &["--appendonly", "yes", "--save", "3600 1"]);
    let mut client = running.client();
    client.ask("SET k v", "+OK\r\n");
    std::fs::create_dir(dir.path().join("dump.rdb")).unwrap();
    client.send(b"SAVE\r\n");
    assert!(client.line().starts_with("-ERR"));
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    client.ask("BGSAVE", "+Background saving started\r\n");
    client.until_info("rdb_last_bgsave_status", "err");
    client.ask("SET k w", "+OK\r\n");
    let names =
        || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(!names().iter().any(|name| name.to_string_lossy().starts_with("temp-")), "{:?}", names());
    drop(client);
    // And a stop is not held up either: the log has everything.
    running.finish();
    std::fs::remove_dir(dir.path().join("dump.rdb")).unwrap();
    server(dir.path(), LOG).client().ask("GET k", "$1\r\nw\r\n");
}

#[test]
fn a_log_whose_directory_was_removed_is_written_anew() {
    let dir = with_jobs();
    let running = queue(dir.path()).unwrap();
    let mut client = running.client();
    client.ask("RPUSH jobs d", ":4\r\n");
    std::fs::remove_dir_all(dir.path().join("appendonlydir")).unwrap();
    client.until_info("aof_last_write_status", "err");
    client.until_info("aof_last_write_status", "ok");
    client.ask("RPUSH jobs e", ":5\r\n");
    drop(client);
    running.stop();
    queue(dir.path()).unwrap().client().ask("LLEN jobs", ":5\r\n");
}
