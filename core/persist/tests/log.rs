//! The log: a crash at any call leaves a prefix that holds all that was synced; damage gets the right verdict.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_persist::aof::{Commands, Log, Place, Recovered, State, recover};
use tandem_persist::disk::{Disk, Fault, Memory, Real, write_all};
use tandem_persist::rdb::{Item, Reader, Value, Writer, kind};

fn place() -> Place {
    Place::new(Path::new("/data"))
}

fn command(number: u64) -> Vec<u8> {
    let text = number.to_string();
    format!("*2\r\n$4\r\nPUSH\r\n${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A base that holds the count of numbers pushed so far.
fn base(disk: &dyn Disk, count: u64) -> std::io::Result<PathBuf> {
    let mut writer = Writer::new(false, true);
    writer.header(10);
    writer.key(kind::STRING, b"count");
    writer.integer(count as i64);
    writer.end();
    let path = PathBuf::from("/data/temp-1.rdb");
    let mut file = disk.create(&path)?;
    write_all(&mut *file, writer.as_bytes()).map_err(|(_, error)| error)?;
    file.sync()?;
    Ok(path)
}

/// Loads a recovered log; it must be the numbers 0, 1, 2, ... without gap. Gives how many.
fn load(disk: &dyn Disk, recovered: &Recovered) -> u64 {
    let mut count = 0;
    for file in &recovered.files {
        if file.is_rdb {
            let mut reader = Reader::new(disk.read(&file.path, 0).unwrap(), Some(file.bytes), true).unwrap();
            while let Some(item) = reader.next().unwrap() {
                let Item::Entry(entry) = item else { continue };
                let Value::String(text) = entry.value else { panic!("not a string") };
                count = base::number::parse_u64(&text).unwrap();
            }
            continue;
        }
        let source = disk.read(&file.path, file.commands_offset).unwrap();
        let mut commands = Commands::new(source, file.commands_offset, file.bytes);
        while let Some(args) = commands.next().unwrap() {
            assert_eq!(args[1], count.to_string().into_bytes(), "a command is missing or there twice");
            count += 1;
        }
    }
    count
}

/// Writes, syncs and rewrites until something fails. Gives (appended, synced) as numbers of commands.
fn work(disk: &Memory, random: &mut base::Random) -> (u64, u64) {
    let (mut count, mut synced) = (0, 0);
    let Ok(recovered) = recover(disk, &place(), true, 1) else { return (0, 0) };
    let Ok(mut log) = Log::open(Arc::new(disk.clone()), place(), &recovered) else { return (0, 0) };
    let mut base_count = None;
    for _ in 0..40 {
        let done = match random.below(8) {
            0..4 => {
                let batch: Vec<u8> = (0..3).flat_map(|n| command(count + n)).collect();
                // A batch whose write failed half-way may be there or not.
                let done = log.append(&batch, 5).is_ok();
                count += 3;
                done
            }
            4 | 5 => {
                let done = log.sync().is_ok();
                synced = if done { count } else { synced };
                done
            }
            _ if !log.is_rewriting() => {
                base_count = Some(count);
                let done = log.begin_rewrite().is_ok();
                synced = if done { count } else { synced };
                done
            }
            _ => match base(disk, base_count.take().unwrap_or(count)) {
                Ok(temp) => log.finish_rewrite(&temp).is_ok(),
                Err(_) => false,
            },
        };
        if !done {
            break;
        }
    }
    (count, synced)
}

#[test]
fn a_crash_at_any_call_keeps_all_that_was_synced() {
    for seed in 0..60 {
        let whole = Memory::new();
        work(&whole, &mut base::Random::new(seed));
        for dies in 0..whole.calls() {
            let disk = Memory::new();
            disk.inject(Fault::DieAt(dies));
            let (appended, synced) = work(&disk, &mut base::Random::new(seed));
            for image in 0..4 {
                let after = disk.crash(image);
                let trace = format!("seed {seed}, dead at call {dies}, image {image}");
                let recovered = recover(&after, &place(), true, 2).unwrap_or_else(|e| panic!("{trace}: {e}"));
                let count = load(&after, &recovered);
                assert!((synced..=appended).contains(&count), "{trace}: {synced} <= {count} <= {appended}");
                // And it goes on from there, without anything more to repair.
                let mut log = Log::open(Arc::new(after.clone()), place(), &recovered).unwrap();
                log.append(&command(count), 6).unwrap();
                let again = recover(&after, &place(), false, 3).unwrap_or_else(|e| panic!("{trace}: {e}"));
                assert_eq!(load(&after, &again), count + 1, "{trace}");
            }
        }
    }
}

fn written(batches: u64) -> (Memory, PathBuf) {
    let disk = Memory::new();
    let mut log = Log::open(Arc::new(disk.clone()), place(), &Recovered::default()).unwrap();
    for number in 0..batches {
        log.append(&command(number), 5).unwrap();
    }
    (disk, place().log_dir().join("appendonly.aof.1.incr.aof"))
}

#[test]
fn a_cut_at_any_byte_keeps_every_whole_command() {
    let (disk, path) = written(12);
    let whole = disk.bytes(&path).unwrap();
    for cut in 0..=whole.len() {
        disk.put(&path, &whole[..cut]);
        let recovered = recover(&disk, &place(), true, 7).unwrap();
        let closed = whole[..cut].windows(4).filter(|w| w == b"PUSH").count() as u64;
        let count = load(&disk, &recovered);
        assert!(count == closed || count + 1 == closed, "cut at {cut}: {count} of {closed}");
        if let Some(tail) = &recovered.tail {
            assert_eq!((tail.bad_offset, tail.bad_byte), (cut as u64, None));
            assert_eq!(disk.bytes(&tail.kept_as).unwrap(), whole[tail.offset as usize..cut]);
            assert_eq!(disk.bytes(&path).unwrap(), whole[..tail.offset as usize]);
        }
        disk.put(&path, &whole[..cut]);
        assert_eq!(recover(&disk, &place(), false, 7).is_err(), recovered.tail.is_some());
    }
}

#[test]
fn a_zero_filled_tail_is_cut_and_told() {
    let (disk, path) = written(3);
    let mut bytes = disk.bytes(&path).unwrap();
    let end = bytes.len();
    bytes.resize(end + 4096, 0);
    disk.put(&path, &bytes);
    let recovered = recover(&disk, &place(), true, 7).unwrap();
    let tail = recovered.tail.clone().unwrap();
    assert!(tail.zero_filled);
    assert_eq!((tail.offset, tail.bytes, tail.bad_byte), (end as u64, 4096, Some(0)));
    assert_eq!(load(&disk, &recovered), 3);
}

#[test]
fn damage_below_what_was_promised_is_refused_and_nothing_is_changed() {
    let disk = Memory::new();
    let mut log = Log::open(Arc::new(disk.clone()), place(), &Recovered::default()).unwrap();
    for number in 0..10 {
        log.append(&command(number), 5).unwrap();
        log.sync().unwrap();
    }
    let path = place().log_dir().join("appendonly.aof.1.incr.aof");
    let whole = disk.bytes(&path).unwrap();
    for at in 0..whole.len() / 2 {
        let mut bad = whole.clone();
        bad[at] ^= 0x41;
        disk.put(&path, &bad);
        let error = recover(&disk, &place(), true, 7).expect_err("damage in what was synced");
        assert_eq!(error.path, path, "flip at {at}");
        assert_eq!(disk.bytes(&path).unwrap(), bad);
    }
}

#[test]
fn a_log_that_cannot_be_read_is_never_taken_for_an_empty_one() {
    let (disk, path) = written(3);
    let manifest = place().log_dir().join("appendonly.aof.manifest");
    let text = disk.bytes(&manifest).unwrap();
    disk.remove(&manifest).unwrap();
    assert!(recover(&disk, &place(), true, 7).unwrap_err().what.contains("manifest is missing"));
    disk.put(&manifest, b"");
    assert!(recover(&disk, &place(), true, 7).is_err());
    disk.put(&manifest, &text);
    disk.remove(&path).unwrap();
    assert_eq!(recover(&disk, &place(), true, 7).unwrap_err().path, path);
    assert!(recover(&Memory::new(), &place(), true, 7).unwrap().fresh);
}

#[test]
fn a_single_file_of_older_redis_is_moved_in_even_after_a_crash_half_way() {
    for dies in 0..20 {
        let disk = Memory::new();
        let old: Vec<u8> = (0..3).flat_map(command).collect();
        disk.put(&place().dir.join("appendonly.aof"), &old);
        disk.inject(Fault::DieAt(dies));
        let _died_or_done = recover(&disk, &place(), true, 7);
        let after = disk.crash(dies);
        let recovered = recover(&after, &place(), true, 7).unwrap();
        assert_eq!(load(&after, &recovered), 3, "dead at call {dies}");
    }
}

#[test]
fn a_full_disk_leaves_whole_batches_and_the_batch_can_be_tried_again() {
    for space in 0..80 {
        let (disk, _) = written(2);
        let recovered = recover(&disk, &place(), false, 7).unwrap();
        let mut log = Log::open(Arc::new(disk.clone()), place(), &recovered).unwrap();
        disk.inject(Fault::Space(space));
        let first = log.append(&command(2), 5);
        disk.heal();
        if first.is_err() {
            log.append(&command(2), 5).unwrap();
        }
        let recovered = recover(&disk, &place(), false, 7).unwrap();
        assert_eq!(load(&disk, &recovered), 3, "{space} bytes of room");
    }
}

#[test]
fn a_failed_sync_is_final_until_the_log_is_replaced() {
    let (disk, _) = written(2);
    let recovered = recover(&disk, &place(), false, 7).unwrap();
    let mut log = Log::open(Arc::new(disk.clone()), place(), &recovered).unwrap();
    log.append(&command(2), 5).unwrap();
    disk.inject(Fault::SyncError);
    assert!(log.sync().is_err());
    assert!(matches!(log.state(), State::Failed(_)));
    assert!(log.sync().is_err() && log.append(&command(3), 5).is_err() && log.begin_rewrite().is_err());
    let temp = base(&disk, 3).unwrap();
    log.replace_with_new_incr(&temp).unwrap();
    log.append(&command(3), 5).unwrap();
    log.sync().unwrap();
    assert_eq!(log.position_synced(), log.position());
    for image in 0..8 {
        let after = disk.crash(image);
        assert_eq!(load(&after, &recover(&after, &place(), true, 7).unwrap()), 4);
    }
}

#[test]
fn the_logs_of_redis_are_read() {
    for name in ["r7-aof", "r8-aof"] {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name),
            temp.path().join("appendonlydir"),
        );
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        let recovered = recover(&Real, &Place::new(temp.path()), false, 7).unwrap();
        assert_eq!((recovered.files.len(), &recovered.tail), (2, &None), "{name}");
        assert!(recovered.files[1].commands > 200, "{name}: {}", recovered.files[1].commands);
    }
}

#[test]
#[ignore = "runs redis-check-aof and redis-server, which must be installed"]
fn redis_loads_what_we_write() {
    let temp = tempfile::tempdir().unwrap();
    let place = Place::new(temp.path());
    let mut log =
        Log::open(Arc::new(Real), place.clone(), &Recovered { fresh: true, ..Recovered::default() }).unwrap();
    for _ in 0..5 {
        log.append(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", 1_700_000_000_000)
            .unwrap();
    }
    log.begin_rewrite().unwrap();
    let mut writer = Writer::new(true, true);
    writer.header(10);
    writer.standard_aux("7.4.0", 1_700_000_000_000, 1, true);
    writer.select_db(0);
    writer.key(kind::STRING, b"n");
    writer.integer(5);
    writer.end();
    let base = temp.path().join("temp-1.rdb");
    std::fs::write(&base, writer.as_bytes()).unwrap();
    log.append(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", 1_700_000_000_001)
        .unwrap();
    log.finish_rewrite(&base).unwrap();
    log.append(
        b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n",
        1_700_000_000_002,
    )
    .unwrap();
    log.sync().unwrap();
    let manifest = place.log_dir().join(place.manifest_name());
    let check = std::process::Command::new("redis-check-aof").arg(&manifest).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let ask = |words: &[&str]| {
        let out = std::process::Command::new("redis-cli").args(["-p", "17012"]).args(words).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    let mut server = std::process::Command::new("redis-server")
        .args(["--port", "17012", "--save", "", "--appendonly", "yes", "--dir"])
        .arg(temp.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..100 {
        if ask(&["PING"]) == "PONG" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (value, next) = (ask(&["GET", "n"]), ask(&["INCR", "n"]));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((value.as_str(), next.as_str()), ("7", "8"));
    let recovered = recover(&Real, &place, false, 7).unwrap();
    assert!(recovered.files.last().unwrap().commands >= 5, "what Redis appended behind our lines is read");
}
