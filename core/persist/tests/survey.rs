//! What is found in a file of a log that is damaged, and what is read behind the damage. Logs are real ones, on a disk in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_persist::aof::{
    Base, Commands, Damaged, HistoryId, Log, Manifest, Part, Place, Survey, SurveyStart, Wrong, preview,
    survey,
};
use tandem_persist::disk::{Disk, Memory};

const HISTORY: HistoryId = HistoryId(0x5eed);
const BATCHES: u64 = 6;

fn place() -> Place {
    Place::new(Path::new("/data"))
}

fn command(number: u64) -> Vec<u8> {
    let value = format!("value {number} {}", "*x\r\n#".repeat(number as usize));
    format!("*3\r\n$3\r\nSET\r\n$3\r\nk{number:02}\r\n${}\r\n{value}\r\n", value.len()).into_bytes()
}

fn time_of(batch: u64) -> i64 {
    1_700_000_000_000 + batch as i64 * 1000
}

/// A log with batches of two commands, and the path of its file.
fn log() -> (Memory, PathBuf) {
    let memory = Memory::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut log = Log::create(disk, place(), b"REDIS0011 a base", Base::Snapshot, HISTORY).unwrap();
    for batch in 1..=BATCHES {
        let mut bytes = [command(batch * 2), command(batch * 2 + 1)].concat();
        log.append(&mut bytes, time_of(batch)).unwrap();
    }
    let path = place().log_dir().join(&log.manifest().incrementals[0].name);
    (memory, path)
}

fn start() -> SurveyStart {
    SurveyStart { history: Some(HISTORY), first_batch: Some(1), needs_head: true, ..SurveyStart::default() }
}

fn look(disk: &Memory, path: &Path, start: SurveyStart) -> Survey {
    survey(disk, path, start, &mut |_| {}).unwrap()
}

/// The numbers of the commands that can be read, each checked to be what was written.
fn numbers(bytes: &[u8], found: &Survey) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut at = 0;
    for part in &found.parts {
        let (from, to, text) = match part {
            Part::Good { from, to } => (*from, *to, bytes[*from as usize..*to as usize].to_vec()),
            Part::Mended { damage, bytes } => (damage.from, damage.to, bytes.clone()),
            Part::Lost(damage) => (damage.from, damage.to, Vec::new()),
        };
        assert_eq!(from, at, "parts are in order and leave nothing out: {:?}", found.parts);
        at = to;
        let length = text.len() as u64;
        let mut commands = Commands::new(&text[..], 0, length);
        if let Some(history) = found.history {
            commands = commands.of(history);
        }
        while let Some(args) = commands.next().unwrap() {
            let number = std::str::from_utf8(&args[1][1..]).unwrap().parse().unwrap();
            assert_eq!(Commands::new(&command(number)[..], 0, u64::MAX).next().unwrap().unwrap(), args);
            numbers.push(number);
        }
    }
    assert_eq!(at, bytes.len() as u64, "all of the file has a place");
    numbers
}

fn all() -> Vec<u64> {
    (2..BATCHES * 2 + 2).collect()
}

#[test]
fn a_whole_file_is_good() {
    let (disk, path) = log();
    let found = look(&disk, &path, start());
    assert_eq!(numbers(&disk.bytes(&path).unwrap(), &found), all());
    assert_eq!(found.damages().count(), 0);
    assert_eq!((found.first_batch, found.last_batch, found.batches), (Some(1), Some(BATCHES), BATCHES));
    assert_eq!((found.last_ms, found.history, found.open_bytes), (Some(time_of(BATCHES)), Some(HISTORY), 0));
}

#[test]
fn a_changed_byte_anywhere_is_put_right_and_told() {
    let (disk, path) = log();
    let whole = disk.bytes(&path).unwrap();
    for at in 0..whole.len() {
        for change in [1, 0x20, 0xff] {
            let mut bad = whole.clone();
            bad[at] ^= change;
            disk.put(&path, &bad);
            let found = look(&disk, &path, start());
            let damages: Vec<&Damaged> = found.damages().collect();
            // The last line closes what nothing behind it can vouch for.
            if at + 120 < whole.len() {
                assert_eq!(numbers(&bad, &found), all(), "byte {at}: {damages:?}");
            }
            assert!(damages.len() == 1 || found.open_bytes > 0, "byte {at}: {damages:?}");
            if let Some(Damaged { what: Wrong::ChangedByte { offset, is, was }, .. }) = damages.first() {
                assert_eq!((*offset, *is, *was), (at as u64, bad[at], whole[at]));
            }
        }
    }
}

#[test]
fn behind_bytes_that_cannot_be_put_right_the_other_batches_are_read() {
    let (disk, path) = log();
    let whole = disk.bytes(&path).unwrap();
    for at in (0..whole.len()).step_by(3) {
        for length in [2, 40, 300] {
            let mut bad = whole.clone();
            let end = (at + length).min(bad.len());
            bad[at..end].iter_mut().for_each(|byte| *byte = !*byte);
            disk.put(&path, &bad);
            let found = look(&disk, &path, start());
            let (there, damages) = (numbers(&bad, &found), found.damages().collect::<Vec<_>>());
            assert!(!damages.is_empty() || found.open_bytes > 0, "{at} {length}");
            let is_told = |number: u64| {
                damages.iter().any(|damage| match &damage.batches {
                    Some(batches) => batches.contains(&(number / 2)),
                    None => damage.to == whole.len() as u64,
                })
            };
            // A line that is a comment now may close what is behind it for nobody.
            let is_open = |number: u64| found.open_bytes > 0 && found.last_batch < Some(number / 2);
            for number in all() {
                assert!(
                    there.contains(&number) || is_told(number) || is_open(number),
                    "{at} {length}: {number} is gone and not told: {found:?}"
                );
            }
            // A batch is told of that lies wholly elsewhere only where its own line or that before it was hit.
            let lost = all().len() - there.len();
            assert!(lost <= 2 * 3, "{at} {length}: {lost} commands are lost, {damages:?}");
        }
    }
}

#[test]
fn a_cut_end_is_told_and_all_before_it_is_read() {
    let (disk, path) = log();
    let whole = disk.bytes(&path).unwrap();
    for cut in 0..whole.len() {
        disk.put(&path, &whole[..cut]);
        let found = look(&disk, &path, start());
        let there = numbers(&whole[..cut], &found);
        assert!(all().starts_with(&there), "{cut}: {there:?}");
        let torn: Vec<&Wrong> = found.damages().map(|damage| &damage.what).collect();
        assert!(matches!(torn[..], [] | [Wrong::TornEnd]), "{cut}: {torn:?}");
        assert!(preview(&disk, &place(), true).is_ok(), "a crash leaves that");
    }
}

#[test]
fn what_was_taken_out_is_told_by_the_numbers_and_times_around_it() {
    let (disk, path) = log();
    let whole = disk.bytes(&path).unwrap();
    let line = |seq: u64| {
        let mark = format!("#TDM:{seq}:");
        let at = whole.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap();
        at + whole[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1
    };
    let bad = [&whole[..line(2)], &whole[line(4)..]].concat();
    disk.put(&path, &bad);
    let found = look(&disk, &path, start());
    assert_eq!(numbers(&bad, &found).len(), all().len() - 4);
    let [damage] = found.damages().collect::<Vec<_>>()[..] else { panic!("{found:?}") };
    assert_eq!((&damage.what, &damage.batches), (&Wrong::Missing, &Some(3..=4)));
    assert_eq!((damage.from, damage.after_ms), (line(2) as u64, Some(time_of(2))));
    let bad = [&whole[..line(3)], &whole[line(1)..]].concat();
    disk.put(&path, &bad);
    let found = look(&disk, &path, start());
    assert_eq!(numbers(&bad, &found), all());
    assert!(found.damages().all(|damage| damage.what == Wrong::Repeated) && found.damages().count() == 2);
}

#[test]
fn a_file_of_another_log_or_behind_a_gap_is_told() {
    let (disk, path) = log();
    let other = SurveyStart { history: Some(HistoryId(1)), ..start() };
    assert_eq!(
        look(&disk, &path, other).damages().map(|damage| &damage.what).collect::<Vec<_>>(),
        [&Wrong::Foreign]
    );
    let behind = SurveyStart { first_batch: Some(1), before_bytes: Some(7), ..start() };
    let found = look(&disk, &path, behind);
    assert_eq!(
        found.damages().map(|damage| &damage.what).collect::<Vec<_>>(),
        [&Wrong::Before { had: 0, has: 7 }]
    );
    assert_eq!(numbers(&disk.bytes(&path).unwrap(), &found), all());
}

/// A file as another server writes it.
fn foreign() -> Vec<u8> {
    all().into_iter().flat_map(command).collect()
}

#[test]
fn in_a_file_of_another_server_reading_goes_on_with_the_next_command() {
    let (disk, path) = (Memory::new(), Path::new("/appendonly.aof"));
    let (whole, first) = (foreign(), command(2).len());
    for at in [0, 4, 6, first, first + 4] {
        let mut bad = whole.clone();
        bad[at] = b'!';
        disk.put(path, &bad);
        let found = look(&disk, path, SurveyStart::default());
        let lost = if at < first { 2 } else { 3 };
        let expected: Vec<u64> = all().into_iter().filter(|&number| number != lost).collect();
        assert_eq!(numbers(&bad, &found), expected, "byte {at}");
        let [damage] = found.damages().collect::<Vec<_>>()[..] else { panic!("{found:?}") };
        assert_eq!(damage.from, if at < first { 0 } else { first as u64 });
    }
    disk.put(path, &whole[..whole.len() - 3]);
    let found = look(&disk, path, SurveyStart::default());
    assert_eq!(found.damages().map(|damage| &damage.what).collect::<Vec<_>>(), [&Wrong::TornEnd]);
}

#[test]
fn half_a_transaction_is_lost_as_a_whole() {
    let (disk, path) = (Memory::new(), Path::new("/appendonly.aof"));
    let (multi, exec) = (b"*1\r\n$5\r\nMULTI\r\n".to_vec(), b"*1\r\n$4\r\nEXEC\r\n".to_vec());
    let whole = [command(2), multi, command(3), command(4), exec, command(5)].concat();
    let begin = command(2).len();
    for at in [begin, begin + 15, begin + 15 + command(3).len() + 4] {
        let mut bad = whole.clone();
        bad[at] = b'!';
        disk.put(path, &bad);
        let found = look(&disk, path, SurveyStart::default());
        assert_eq!(numbers(&bad, &found), [2, 5], "byte {at}");
        assert_eq!(found.damages().next().unwrap().from, begin as u64);
    }
    disk.put(path, &whole[..whole.len() - command(5).len() - 4]);
    assert_eq!(numbers(&disk.bytes(path).unwrap(), &look(&disk, path, SurveyStart::default())), [2]);
}

#[test]
fn a_base_of_commands_is_put_right_by_its_last_line() {
    let (disk, path) = (Memory::new(), Path::new("/base.aof"));
    let commands = foreign();
    let crc = base::crc64::update(0, &commands);
    let fields = format!("#TDM-BASE:{crc:016x}:");
    let line = format!("{fields}{:016x}\r\n", base::crc64::update(0, fields.as_bytes()));
    let whole = [commands, line.into_bytes()].concat();
    for at in 0..whole.len() - 60 {
        let mut bad = whole.clone();
        bad[at] ^= 2;
        disk.put(path, &bad);
        let found = look(&disk, path, SurveyStart::default());
        assert_eq!(numbers(&bad, &found), all(), "byte {at}");
        assert!(
            matches!(found.damages().next().unwrap().what, Wrong::ChangedByte { offset, .. } if offset == at as u64)
        );
    }
}

#[test]
fn a_manifest_with_a_changed_byte_is_read_as_it_was() {
    let (disk, _) = log();
    let path = place().log_dir().join(place().manifest_name());
    let text = disk.bytes(&path).unwrap();
    let whole = Manifest::parse(&text).unwrap();
    assert_eq!(Manifest::mend(&text), None, "there is nothing to do");
    for at in 0..text.len() {
        let mut bad = text.clone();
        bad[at] ^= 1;
        assert!(Manifest::parse(&bad).is_err() || Manifest::parse(&bad).unwrap().id.is_none());
        assert_eq!(Manifest::mend(&bad), Some((whole.clone(), at)), "{}", bad.escape_ascii());
    }
}

#[test]
fn a_preview_changes_nothing() {
    let (disk, path) = log();
    let whole = disk.bytes(&path).unwrap();
    let torn = &whole[..whole.len() - 10];
    disk.put(&path, torn);
    let tails = preview(&disk, &place(), true).unwrap();
    assert_eq!(tails.len(), 1);
    assert!(preview(&disk, &place(), false).is_err());
    assert_eq!(disk.bytes(&path).unwrap(), torn);
    assert!(disk.bytes(&tails[0].kept_as).is_none());
}
