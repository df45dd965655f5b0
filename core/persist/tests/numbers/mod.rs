//! A log that counts: its commands are the numbers from 0 on, so what is missing or there twice is seen.

use std::path::Path;

use tandem_persist::aof::{Commands, LogFile, Place};
use tandem_persist::disk::Disk;

/// Where it lies.
pub(crate) fn place() -> Place {
    Place::new(Path::new("/data"))
}

/// The command of a number.
pub(crate) fn command(number: u64) -> Vec<u8> {
    let text = number.to_string();
    format!("*2\r\n$4\r\nPUSH\r\n${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// How many there are behind this file of commands, which begins with number `count`.
pub(crate) fn counted(disk: &dyn Disk, file: &LogFile, mut count: u64) -> u64 {
    let source = disk.read(&file.path, file.commands_offset).unwrap();
    let mut commands = Commands::new(source, file.commands_offset, file.bytes);
    while let Some(args) = commands.next().unwrap() {
        assert_eq!(args[1], count.to_string().into_bytes(), "a command is missing or there twice");
        count += 1;
    }
    count
}
