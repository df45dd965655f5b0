//! The append-only file: any log is refused or cut to a good beginning, and what is left can be run. A look for damage finds a place for
//! every byte, and what it calls good can be read.

use std::path::Path;

use crate::bench::Bench;
use persist::aof::{Commands, Manifest, Part, Place, SurveyStart, recover, survey};
use persist::disk::{Disk, Memory};

const MANIFEST: &[u8] = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
const MANIFEST_PATH: &str = "/data/appendonlydir/appendonly.aof.manifest";
const LOG_PATH: &str = "/data/appendonlydir/appendonly.aof.1.incr.aof";

/// The first byte says whether the rest is the log or the manifest.
pub fn run(data: &[u8]) {
    let Some((&which, data)) = data.split_first() else { return };
    let disk = Memory::new();
    let is_manifest = which & 1 == 1;
    disk.put(Path::new(MANIFEST_PATH), if is_manifest { data } else { MANIFEST });
    disk.put(Path::new(LOG_PATH), if is_manifest { b"" } else { data });
    let place = Place::new(Path::new("/data"));
    if is_manifest {
        Manifest::mend(data);
    } else {
        look_through(&disk, data);
    }
    let Ok(recovered) = recover(&disk, &place, which & 2 == 0, 7) else { return };
    let again = recover(&disk, &place, false, 8).expect("what was cut is whole");
    assert_eq!(again.files(), recovered.files(), "a second look finds something else");
    let mut bench = Bench::new();
    for file in recovered.files().iter().filter(|file| !file.is_rdb) {
        let Ok(source) = disk.read(&file.path, file.commands_offset) else { continue };
        let mut commands = Commands::new(source, file.commands_offset, file.bytes);
        while let Ok(Some(argv)) = commands.next() {
            let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            bench.engine.begin_batch(bench.world_now());
            if bench.engine.replay(&argv, &mut bench.world).is_err() {
                break;
            }
        }
    }
    bench.engine.replay_end();
}

fn look_through(disk: &Memory, data: &[u8]) {
    let found = survey(disk, Path::new(LOG_PATH), SurveyStart::default(), &mut |_| {})
        .expect("the disk does not fail");
    let mut at = 0;
    for part in &found.parts {
        let (from, to, bytes) = match part {
            Part::Good { from, to } => (*from, *to, &data[*from as usize..*to as usize]),
            Part::Mended { damage, bytes } => (damage.from, damage.to, &bytes[..]),
            Part::Lost(damage) => (damage.from, damage.to, &[][..]),
        };
        assert_eq!(from, at, "parts follow each other: {:?}", found.parts);
        at = to;
        let mut commands = Commands::new(bytes, from, from + bytes.len() as u64);
        if let Some(history) = found.history.filter(|_| found.has_head) {
            commands = commands.of(history);
        }
        while commands.next().expect("it was found good").is_some() {}
    }
    assert_eq!(at, data.len() as u64, "all has a place");
}
