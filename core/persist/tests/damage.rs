//! Damage to a log at rest: whatever bit is flipped, and whichever file is that of another server, what is loaded is all that was
//! acknowledged, or the start stops with a sentence.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_persist::aof::{
    Base, Commands, HistoryId, Log, Place, RefuseError, examine, recover, snapshot_to_commands,
};
use tandem_persist::disk::{Disk, Memory};
use tandem_persist::rdb::{self, Reader, Writer, kind};

fn place() -> Place {
    Place::new(Path::new("/data"))
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A batch: one command or a few, a transaction, or a value with blocks of zeros in it.
fn batch(number: u64) -> Vec<u8> {
    let key = format!("key:{number}").into_bytes();
    match number % 4 {
        0 => request(&[b"INCR", &key]),
        1 => [request(&[b"MULTI"]), request(&[b"SET", &key, b"1"]), request(&[b"EXEC"])].concat(),
        2 => request(&[b"SET", &key, &[0; 700]]),
        _ => [request(&[b"SELECT", b"1"]), request(&[b"RPUSH", &key, b"a", b"bc"])].concat(),
    }
}

fn snapshot(count: u64) -> Vec<u8> {
    let mut writer = Writer::new(false, true);
    writer.header(rdb::VERSION);
    writer.select_db(0);
    writer.key(kind::STRING, b"count");
    writer.integer(count as i64);
    writer.end();
    writer.take()
}

/// A file with the base of so many batches.
fn base(disk: &Memory, form: Base, count: u64) -> PathBuf {
    let (path, snapshot) = (PathBuf::from("/data/temp-1.rdb"), snapshot(count));
    let mut bytes = Vec::new();
    match form {
        Base::Snapshot => bytes = snapshot,
        Base::Commands => {
            let mut sink = |part: &[u8]| {
                bytes.extend_from_slice(part);
                Ok(())
            };
            snapshot_to_commands(Reader::new(&snapshot[..], None, true).unwrap(), None, &mut sink).unwrap();
        }
    }
    disk.put(&path, &bytes);
    path
}

/// How a log that is looked at came to be.
#[derive(Clone, Copy, Debug)]
struct Story {
    form: Base,
    /// A rewrite was done before the last batches.
    rewrites: bool,
    /// One more had begun, and was given up: there are two incremental files.
    moves_on: bool,
    /// The log tells at its end that it is durable.
    is_told: bool,
    batches: u64,
}

/// Writes a log of which every batch was synced, as with `appendfsync always`.
fn written(story: Story, id: HistoryId) -> Memory {
    let disk = Memory::new();
    let empty = if story.form == Base::Snapshot { snapshot(id.0 as u64) } else { Vec::new() };
    let mut log = Log::create(Arc::new(disk.clone()), place(), &empty, story.form, id).unwrap();
    let append = |log: &mut Log, number| {
        log.append(&mut batch(number), 5).unwrap();
        log.sync().unwrap();
    };
    append(&mut log, 0);
    if story.rewrites {
        let prepared = log.plan_rewrite().unwrap().run();
        log.begin_rewrite(prepared).unwrap();
        append(&mut log, 1);
        let temp = base(&disk, story.form, id.0 as u64);
        let published = log.plan_finish(story.form).unwrap().run(&temp).unwrap();
        drop(log.install(published));
    }
    for number in 0..story.batches {
        append(&mut log, number + 3);
    }
    if story.moves_on {
        let prepared = log.plan_rewrite().unwrap().run();
        log.begin_rewrite(prepared).unwrap();
        (0..story.batches).for_each(|number| append(&mut log, number));
        log.abort_rewrite();
    }
    if story.is_told {
        log.finish(6).unwrap();
    }
    disk
}

fn stories() -> Vec<Story> {
    let bit = |number: u32, bit: u32| number >> bit & 1 == 1;
    let story = |n: u32| Story {
        form: if bit(n, 0) { Base::Snapshot } else { Base::Commands },
        rewrites: bit(n, 1),
        moves_on: bit(n, 2),
        is_told: bit(n, 3),
        batches: 1 + u64::from(n) % 4,
    };
    (0..16).map(story).collect()
}

/// All that a start would take in, in order.
fn loaded(disk: &Memory) -> Result<Vec<u8>, RefuseError> {
    let recovered = recover(disk, &place(), true, 7)?;
    let mut all = Vec::new();
    for file in recovered.files() {
        let mut offset = file.commands_offset;
        if file.is_rdb {
            let source = disk.read(&file.path, 0).unwrap();
            let refused = |error: rdb::Error| RefuseError {
                path: file.path.clone(),
                offset: None,
                what: error.to_string(),
            };
            let mut reader = Reader::new(source, Some(file.bytes), true).map_err(refused)?;
            while let Some(item) = reader.next().map_err(refused)? {
                all.extend_from_slice(format!("{item:?}").as_bytes());
            }
            offset = file.bytes.max(offset);
        }
        let mut commands = Commands::new(disk.read(&file.path, offset).unwrap(), offset, file.bytes);
        while let Some(argv) = commands.next().unwrap() {
            all.extend(argv.into_iter().flatten());
            all.push(b'\n');
        }
    }
    let verified = recovered.load(|_| Ok::<(), Infallible>(())).unwrap();
    // And it goes on from there.
    let mut log = Log::open(Arc::new(disk.clone()), place(), verified, HistoryId(1)).unwrap();
    log.append(&mut request(&[b"PING"]), 5).unwrap();
    log.finish(6).unwrap();
    let again = recover(disk, &place(), false, 8).unwrap();
    assert!(again.tails().is_empty());
    Ok(all)
}

fn files(disk: &Memory) -> Vec<(PathBuf, Vec<u8>)> {
    let names = disk.list(&place().log_dir()).unwrap();
    let paths = names.into_iter().map(|name| place().log_dir().join(name));
    paths.map(|path| (path.clone(), disk.bytes(&path).unwrap())).collect()
}

fn disk_of(files: &[(PathBuf, Vec<u8>)]) -> Memory {
    let disk = Memory::new();
    files.iter().for_each(|(path, bytes)| disk.put(path, bytes));
    disk
}

#[test]
fn any_flipped_bit_of_a_synced_log_changes_nothing_that_is_loaded_or_stops_the_start() {
    let (mut refused, mut harmless) = (0, 0);
    for story in stories() {
        let files = files(&written(story, HistoryId(77)));
        let whole = loaded(&disk_of(&files)).unwrap();
        for (at, (path, bytes)) in files.iter().enumerate() {
            for bit in 8 * bytes.len().saturating_sub(300)..8 * bytes.len() {
                let mut files = files.clone();
                files[at].1[bit / 8] ^= 1 << (bit % 8);
                let trace = format!("{story:?}: bit {} of byte {} of {}", bit % 8, bit / 8, path.display());
                match loaded(&disk_of(&files)) {
                    Ok(there) => {
                        assert_eq!(there, whole, "{trace}: something else is loaded");
                        harmless += 1;
                    }
                    Err(error) => {
                        assert!(error.what.len() > 20, "{trace}: {error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 50_000 && harmless > 1_000, "{refused} refused, {harmless} without consequence");
}

#[test]
fn a_flipped_bit_beside_blocks_of_zeros_is_no_crash_even_where_nothing_was_synced() {
    let written = Memory::new();
    let mut log =
        Log::create(Arc::new(written.clone()), place(), &[], Base::Commands, HistoryId(77)).unwrap();
    for number in [2, 1, 2, 0] {
        log.append(&mut batch(number), 5).unwrap();
    }
    drop(log);
    let files = files(&written);
    let at = files.iter().position(|(path, _)| path.ends_with("appendonly.aof.1.incr.aof")).unwrap();
    let whole = loaded(&disk_of(&files)).unwrap();
    for bit in 0..8 * files[at].1.len() {
        let mut files = files.clone();
        files[at].1[bit / 8] ^= 1 << (bit % 8);
        if let Ok(there) = loaded(&disk_of(&files)) {
            assert!(there == whole, "bit {} of byte {}: something else is loaded", bit % 8, bit / 8);
        }
    }
}

#[test]
fn a_file_of_another_server_in_place_of_this_ones_stops_the_start() {
    for story in stories() {
        let (ours, theirs) = (written(story, HistoryId(77)), written(story, HistoryId(78)));
        let (ours, theirs) = (files(&ours), files(&theirs));
        let names =
            |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs));
        // What differs of manifest, base and incremental files. Where an empty log has an empty base, that is the same file.
        let members: Vec<usize> = (0..ours.len())
            .filter(|&at| {
                let name = ours[at].0.to_str().unwrap();
                !name.ends_with("notes") && !name.ends_with("synced") && ours[at].1 != theirs[at].1
            })
            .collect();
        assert!(members.len() >= 2, "{story:?}");
        for swapped in 1..(1u32 << members.len()) - 1 {
            let mut mixed = ours.clone();
            let chosen = members.iter().enumerate().filter(|(n, _)| swapped >> n & 1 == 1);
            chosen.for_each(|(_, &at)| mixed[at] = theirs[at].clone());
            let before = disk_of(&mixed);
            let error = recover(&before, &place(), true, 7).expect_err("a mix of two logs");
            assert!(error.what.contains("or belongs to another log"), "{story:?}: {error}");
            assert_eq!(files(&before), mixed, "nothing is touched");
            assert!(examine(&before, &place()).is_err());
        }
        let mut all = ours.clone();
        members.iter().for_each(|&at| all[at] = theirs[at].clone());
        loaded(&disk_of(&all)).unwrap();
    }
}

#[test]
fn one_bad_batch_in_the_middle_is_told_with_what_would_be_lost() {
    let story = Story { form: Base::Snapshot, rewrites: false, moves_on: false, is_told: true, batches: 6 };
    let disk = written(story, HistoryId(77));
    let path = place().log_dir().join("appendonly.aof.1.incr.aof");
    let mut bytes = disk.bytes(&path).unwrap();
    let at = bytes.windows(5).position(|window| window == b"key:3").unwrap() + 4;
    bytes[at] ^= 4;
    disk.put(&path, &bytes);
    let error = recover(&disk, &place(), true, 7).unwrap_err();
    for part in [
        "the checksum of batch 2 is wrong",
        "commands: 2",
        &format!("bit 2 of the byte at offset {at}"),
        "had been made durable",
        "Whole commands from there on in this file: 10",
        "whole batches behind the damage: 6",
        "truncate -s",
    ] {
        assert!(error.what.contains(part), "{part} is not in: {error}");
    }
    assert_eq!(disk.bytes(&path).unwrap(), bytes);
}

/// Where the lines of ours end in a file.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let lines = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"#TDM"));
    lines.map(|at| at + bytes[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1).collect()
}

#[test]
fn a_batch_that_is_missing_there_twice_or_out_of_order_stops_the_start_and_so_does_a_second_head() {
    let story = Story { form: Base::Snapshot, rewrites: false, moves_on: false, is_told: true, batches: 4 };
    let disk = written(story, HistoryId(77));
    let path = place().log_dir().join("appendonly.aof.1.incr.aof");
    let bytes = disk.bytes(&path).unwrap();
    let ends = ends(&bytes);
    let (head, rest) = (&bytes[..ends[0]], &bytes[ends[1]..]);
    let parts: Vec<&[u8]> = ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
    let [first, second, third, ..] = parts[..] else { panic!("{} batches", parts.len()) };
    assert_eq!([head, first, rest].concat(), bytes);
    let behind = &bytes[ends[3]..];
    for (what, there) in [
        ("missing", [head, second, third, behind].concat()),
        ("missing in the middle", [head, first, third, behind].concat()),
        ("twice", [head, first, first, second, third, behind].concat()),
        ("out of order", [head, first, third, second, behind].concat()),
        ("two heads", [head, first, head, second, third, behind].concat()),
    ] {
        disk.put(&path, &there);
        assert!(recover(&disk, &place(), true, 7).is_err(), "{what}");
        // Nor where no line tells that anything is durable.
        disk.remove(&place().log_dir().join("appendonly.aof.synced")).unwrap_or_default();
        assert!(recover(&disk, &place(), true, 7).is_err(), "{what}, without the mark");
    }
}

/// A log with so many batches in front of its rewrite, and two behind it.
fn rewritten_behind(batches: u64) -> Memory {
    let disk = Memory::new();
    let mut log =
        Log::create(Arc::new(disk.clone()), place(), &snapshot(0), Base::Snapshot, HistoryId(77)).unwrap();
    for number in 0..batches {
        log.append(&mut batch(number), 5).unwrap();
    }
    log.begin_rewrite(log.plan_rewrite().unwrap().run()).unwrap();
    let temp = base(&disk, Base::Snapshot, 1);
    drop(log.install(log.plan_finish(Base::Snapshot).unwrap().run(&temp).unwrap()));
    for number in 0..2 {
        log.append(&mut batch(number), 5).unwrap();
    }
    disk
}

#[test]
fn a_file_that_does_not_begin_as_the_one_that_was_there_stops_the_start() {
    let (disk, path) = (rewritten_behind(2), place().log_dir().join("appendonly.aof.2.incr.aof"));
    assert!(loaded(&disk_of(&files(&disk))).is_ok());
    let of_another_time = rewritten_behind(3).bytes(&path).unwrap();
    disk.remove(&place().log_dir().join("appendonly.aof.synced")).unwrap_or_default();
    for (what, there) in [
        ("of another time", &of_another_time[..]),
        ("without a head", &batch(0)),
        ("torn, without a head", b"*3\r\n$3\r\nSE"),
    ] {
        disk.put(&path, there);
        assert!(recover(&disk, &place(), true, 7).is_err(), "{what}");
    }
}

#[test]
fn damage_that_no_crash_leaves_stops_the_start_where_nothing_was_synced_either() {
    let disk = Memory::new();
    let mut log =
        Log::create(Arc::new(disk.clone()), place(), &snapshot(0), Base::Snapshot, HistoryId(77)).unwrap();
    for number in 3..7 {
        log.append(&mut batch(number), 5).unwrap();
    }
    let path = place().log_dir().join("appendonly.aof.1.incr.aof");
    let bytes = disk.bytes(&path).unwrap();
    let ends = ends(&bytes);
    let with = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    let refuses = |there: &[u8]| {
        disk.put(&path, there);
        recover(&disk, &place(), true, 7).is_err()
    };
    assert!(!refuses(&bytes) && !refuses(&bytes[..bytes.len() - 60]), "as it is, and torn");
    assert!(refuses(&with(b"key:4", b"kez:6")), "two bits of a batch");
    assert!(refuses(&[&bytes[..ends[1]], &bytes[ends[2]..]].concat()), "a batch is missing");
    assert!(refuses(&with(b"#TDM:2:", b"#TDM:3:")), "the line that closes one");
    let mut strange = bytes.clone();
    strange[ends[1]] = b'x';
    assert!(refuses(&strange), "a byte, with zeros in what is behind it");
    assert!(refuses(&with(b"$700", b"$900")), "a length that reaches beyond the end");
}

/// The same log as an earlier version wrote it: no heads, no checksum of a line of itself, no identity.
fn as_before(disk: &Memory) -> Memory {
    let old = Memory::new();
    for (path, bytes) in files(disk) {
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        if !path.to_str().unwrap().ends_with("rdb") {
            lines.retain(|line| !line.starts_with(b"#TDM-"));
        }
        let (mut out, mut batch_start) = (Vec::new(), 0);
        for line in lines {
            if line.starts_with(b"#TDM:") {
                let text = String::from_utf8(line).unwrap();
                let fields: Vec<&str> = text.trim_end().split(':').collect();
                let crc = base::crc64::update(0, &out[batch_start..]);
                out.extend_from_slice(
                    format!("#TDM:{}:{crc:016x}:{}:0\r\n", fields[1], fields[3]).as_bytes(),
                );
                batch_start = out.len();
            } else {
                out.extend_from_slice(&line);
            }
        }
        old.put(&path, &out);
    }
    old
}

#[test]
fn a_log_of_an_earlier_version_loads_and_gets_an_identity_at_the_next_rewrite() {
    for story in stories() {
        let new = written(story, HistoryId(77));
        let whole = loaded(&new).unwrap();
        let disk = as_before(&written(story, HistoryId(77)));
        let manifest = place().log_dir().join("appendonly.aof.manifest");
        assert_eq!(loaded(&disk).unwrap(), whole, "{story:?}");
        let recovered = recover(&disk, &place(), true, 7).unwrap();
        let verified = recovered.load(|_| Ok::<(), Infallible>(())).unwrap();
        let mut log = Log::open(Arc::new(disk.clone()), place(), verified, HistoryId(5)).unwrap();
        assert!(log.manifest().id.is_none() && !disk.bytes(&manifest).unwrap().starts_with(b"#TDM"));
        // It goes on in the old file, moves to a new one, and is whole at each step.
        log.append(&mut batch(3), 5).unwrap();
        loads_as_it_is(&disk, 1);
        let prepared = log.plan_rewrite().unwrap().run();
        loads_as_it_is(&disk, 1);
        log.begin_rewrite(prepared).unwrap();
        log.append(&mut batch(3), 5).unwrap();
        loads_as_it_is(&disk, 2);
        let temp = base(&disk, story.form, 1);
        let published = log.plan_finish(story.form).unwrap().run(&temp).unwrap();
        drop(log.install(published));
        assert_eq!(log.manifest().id.map(|id| id.history), Some(HistoryId(5)));
        log.append(&mut batch(3), 5).unwrap();
        let log = files(&disk);
        let incremental = &log.iter().rfind(|file| file.0.to_str().unwrap().ends_with("incr.aof")).unwrap().1;
        assert!(incremental.starts_with(format!("#TDM-HEAD:{}:", HistoryId(5)).as_bytes()));
        loaded(&disk).unwrap();
    }
}

/// A copy of the log as it is now can be loaded, and its last files hold `batches` of number 3.
fn loads_as_it_is(disk: &Memory, batches: usize) {
    let all = loaded(&disk_of(&files(disk))).unwrap();
    let found = all.windows(13).filter(|window| window == b"RPUSHkey:3abc").count();
    assert!(found >= batches, "{found}");
}

#[test]
fn damage_to_a_manifest_stops_the_start_or_changes_nothing() {
    for story in stories() {
        let disk = written(story, HistoryId(77));
        let whole = loaded(&disk_of(&files(&disk))).unwrap();
        let path = place().log_dir().join("appendonly.aof.manifest");
        let text = disk.bytes(&path).unwrap();
        for cut in 0..text.len() {
            let copy = disk_of(&files(&disk));
            copy.put(&path, &text[..cut]);
            assert!(recover(&copy, &place(), true, 7).is_err(), "{story:?}: cut at {cut}");
        }
        for bit in 0..text.len() * 8 {
            let copy = disk_of(&files(&disk));
            let mut bad = text.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            copy.put(&path, &bad);
            if let Ok(there) = loaded(&copy) {
                assert_eq!(there, whole, "{story:?}: bit {bit}");
            }
        }
    }
}

/// The size of a copy is what its sender says, and so is the length of a string in it.
#[test]
fn no_room_is_made_for_what_is_only_announced() {
    let mut bytes = b"REDIS0011\x00\x01k\x81".to_vec();
    bytes.extend_from_slice(&(1u64 << 62).to_be_bytes());
    bytes.extend_from_slice(b"the first of them");
    let mut reader = Reader::new(&bytes[..], Some(9_000_000_000_000_000_000), true).unwrap();
    assert!(matches!(reader.next(), Err(rdb::Error::Truncated { .. })));
}
