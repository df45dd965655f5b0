//! The limits of what is read of a log, each from both sides: the last that is taken and the first that is not.

use std::path::Path;

use tandem_persist::aof::{BadRecord, Commands, Manifest, Place, cut_in_place, examine, recover};
use tandem_persist::disk::{Disk, Memory};

fn place() -> Place {
    Place::new(Path::new("/data"))
}

fn line(name: &str, seq: &str) -> String {
    format!("file {name} seq {seq} type i\n")
}

#[test]
fn a_line_of_a_manifest_has_1024_bytes_at_most() {
    let others = line("", "1").len();
    let of_length = |bytes: usize| Manifest::parse(line(&"a".repeat(bytes - others), "1").as_bytes());
    assert!(of_length(1024).is_ok());
    assert!(of_length(1025).is_err());
}

#[test]
fn the_numbers_of_a_manifest_begin_with_one_go_up_and_leave_room_for_more() {
    let parse = |text: String| Manifest::parse(text.as_bytes()).is_ok();
    assert!(parse(line("a", "1")) && !parse(line("a", "0")));
    let last = (1u64 << 62) - 1;
    assert!(parse(line("a", &last.to_string())) && !parse(line("a", &(last + 1).to_string())));
    assert!(parse(line("a", "1") + &line("b", "2")));
    assert!(!parse(line("a", "2") + &line("b", "2")) && !parse(line("a", "3") + &line("b", "2")));
    assert!(!parse("file a seq 1\n".to_owned()) && !parse("file a seq 1 type i x\n".to_owned()));
}

fn read(bytes: &[u8], end: u64) -> Result<usize, BadRecord> {
    let mut commands = Commands::new(bytes, 0, end);
    let mut count = 0;
    while commands.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn a_line_of_a_log_has_1024_bytes_at_most_and_an_argument_ends_with_the_file() {
    // More follows, so that the line is not simply at the end.
    let comment = |bytes: usize| format!("#{}\r\n*1\r\n$4\r\nPING\r\n", "c".repeat(bytes - 1)).into_bytes();
    for (bytes, is_read) in [(10, true), (1024, true), (70_000, false)] {
        let text = comment(bytes);
        assert_eq!(read(&text, text.len() as u64).is_ok(), is_read, "{bytes}");
    }
    let whole = b"*1\r\n$4\r\nPING\r\n";
    assert_eq!(read(whole, whole.len() as u64).unwrap(), 1);
    assert!(matches!(read(b"*1\r\n$4\r\nPING", 12), Err(BadRecord::Torn)));
    assert!(matches!(read(b"*0\r\n", 4), Err(BadRecord::Format { .. })));
}

/// A log whose only file is that of another server, and its bytes.
fn foreign(bytes: &[u8]) -> Memory {
    let disk = Memory::new();
    let dir = place().log_dir();
    disk.put(&dir.join("appendonly.aof.manifest"), line("appendonly.aof.1.incr.aof", "1").as_bytes());
    disk.put(&dir.join("appendonly.aof.1.incr.aof"), bytes);
    disk
}

#[test]
fn a_mark_is_broken_by_one_byte_less_than_it_tells_and_only_in_the_very_file() {
    let bytes = b"*1\r\n$4\r\nPING\r\n".repeat(3);
    let disk = foreign(&bytes);
    let path = place().log_dir().join("appendonly.aof.1.incr.aof");
    let mark = |synced: usize, inode: u64| {
        let text = format!("file appendonly.aof.1.incr.aof synced {synced} inode {inode}");
        let crc = base::crc64::update(0, text.as_bytes());
        disk.put(&place().log_dir().join("appendonly.aof.synced"), format!("{text} {crc:016x}\n").as_bytes());
        cut_in_place(&disk, &place()).is_some()
    };
    let inode = disk.stat(&path).unwrap().id.1;
    assert!(!mark(bytes.len(), inode) && mark(bytes.len() + 1, inode) && !mark(bytes.len() + 1, inode + 1));
    assert_eq!(examine(&disk, &place()).unwrap().remarks().len(), 1);
    mark(bytes.len(), inode);
    assert_eq!(examine(&disk, &place()).unwrap().remarks().len(), 0);
}

#[test]
fn an_end_is_cut_only_where_no_whole_command_follows() {
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let torn = [&ping[..], &ping[..ping.len() - 1]].concat();
    let disk = foreign(&torn);
    let recovered = recover(&disk, &place(), true, 7).unwrap();
    assert_eq!(
        (recovered.tails()[0].offset, recovered.tails()[0].bytes),
        (ping.len() as u64, ping.len() as u64 - 1)
    );
    let disk = foreign(&[&ping[..], b"*1\r\n$999\r\nPING\r\n", &ping[..]].concat());
    assert!(recover(&disk, &place(), true, 7).is_err());
    let disk = foreign(&[&ping[..], &[0; 5]].concat());
    assert!(recover(&disk, &place(), true, 7).unwrap().tails()[0].zero_filled);
    let disk = foreign(&[&ping[..], &[0, 0, 1]].concat());
    assert!(recover(&disk, &place(), true, 7).is_err(), "a byte that is none of zeros");
}
