//! How much memory there is, and how much of it an instance takes when nobody says.
//!
//! The most frequent misfortune of such servers is a `maxmemory` of 0 inside a container: it grows until
//! the kernel kills it. So a profile always has a limit, taken from the control group or the machine.

use std::path::{Path, PathBuf};

/// The least that a default may be, bytes: below it nothing useful fits.
const MAXMEMORY_MIN: u64 = 16 << 20;

/// Most levels of control groups that are looked at.
const GROUP_DEPTH_MAX: usize = 32;

/// What part of the memory an instance takes, in percent. Buffers, fragmentation and the program itself need
/// the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of a control group's limit, which is usually meant for this instance alone.
    pub of_group: u8,
    /// Of a machine that others use too.
    pub of_machine: u8,
}

/// The `maxmemory` of an instance that was not told one, in bytes; never 0.
pub fn default_maxmemory(group_limit: Option<u64>, machine: u64, share: Share) -> u64 {
    let part = |whole: u64, percent: u8| (u128::from(whole) * u128::from(percent.min(100)) / 100) as u64;
    let of_machine = part(machine, share.of_machine);
    let chosen = match group_limit {
        // A machine that could not be measured (0) must not hide the group's limit.
        Some(limit) if limit < machine || machine == 0 => part(limit, share.of_group),
        _ => of_machine,
    };
    chosen.max(MAXMEMORY_MIN)
}

/// What the machine and the control group allow, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The smallest limit of the process' control groups; `None` when there is none.
    pub group_limit: Option<u64>,
    /// The machine's memory; 0 when it could not be read.
    pub machine: u64,
}

/// Where the kernel tells it; the default is the usual places.
#[derive(Clone, Debug)]
pub struct Places {
    /// The machine's memory.
    pub meminfo: PathBuf,
    /// The groups of this process.
    pub groups: PathBuf,
    /// Where control groups are mounted.
    pub mount: PathBuf,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            meminfo: "/proc/meminfo".into(),
            groups: "/proc/self/cgroup".into(),
            mount: "/sys/fs/cgroup".into(),
        }
    }
}

/// Reads the limits; what cannot be read counts as absent.
pub fn read(places: &Places) -> Measured {
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let groups = text(&places.groups);
    let mut group_limit: Option<u64> = None;
    for (folder, files) in group_folders(&groups, &places.mount) {
        for file in files {
            if let Some(limit) = parse_limit(&text(&folder.join(file))) {
                group_limit = Some(group_limit.map_or(limit, |known| known.min(limit)));
            }
        }
    }
    Measured { group_limit, machine: parse_meminfo(&text(&places.meminfo)) }
}

const V2: &[&str] = &["memory.max", "memory.high"];
const V1: &[&str] = &["memory.limit_in_bytes"];

/// Each group of the process and its parents, as folders, with the files that may hold a limit. Inside a
/// container the path may not exist below the mount; then the mount itself is the group.
fn group_folders(groups: &str, mount: &Path) -> Vec<(PathBuf, &'static [&'static str])> {
    let mut folders = vec![(mount.to_path_buf(), V2), (mount.join("memory"), V1)];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, files) = if controllers.is_empty() {
            (mount.to_path_buf(), V2)
        } else if controllers.split(',').any(|name| name == "memory") {
            (mount.join("memory"), V1)
        } else {
            continue;
        };
        let relative = Path::new(path.trim_start_matches('/'));
        if relative.components().any(|part| part == std::path::Component::ParentDir) {
            continue;
        }
        for ancestor in relative.ancestors().take(GROUP_DEPTH_MAX) {
            folders.push((root.join(ancestor), files));
        }
    }
    folders
}

/// A limit in bytes; `max`, and the number that version 1 uses for it, are none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit > 0 && *limit < 1 << 60)
}

fn parse_meminfo(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share { of_group: 75, of_machine: 40 };
    const GB: u64 = 1 << 30;

    #[test]
    fn a_default_is_a_part_of_the_tighter_limit_and_never_nothing() {
        assert_eq!(default_maxmemory(None, 10 * GB, SHARE), 4 * GB);
        assert_eq!(default_maxmemory(Some(4 * GB), 10 * GB, SHARE), 3 * GB);
        assert_eq!(default_maxmemory(Some(64 * GB), 10 * GB, SHARE), 4 * GB);
        assert_eq!(default_maxmemory(Some(4 * GB), 0, SHARE), 3 * GB);
        assert_eq!(default_maxmemory(None, 0, SHARE), MAXMEMORY_MIN);
        assert_eq!(
            default_maxmemory(Some(u64::MAX), u64::MAX, SHARE),
            (u128::from(u64::MAX) * 40 / 100) as u64
        );
    }

    fn measure(files: &[(&str, &str)]) -> Measured {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let place = |name: &str| root.path().join(name);
        read(&Places { meminfo: place("meminfo"), groups: place("self"), mount: place("cg") })
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let meminfo = ("meminfo", "MemTotal:       2000 kB\nMemFree: 1 kB\n");
        let v2 = [
            meminfo,
            ("self", "0::/system.slice/x.service\n"),
            ("cg/system.slice/memory.max", "1000\n"),
            ("cg/system.slice/x.service/memory.max", "max\n"),
            ("cg/system.slice/x.service/memory.high", "3000\n"),
        ];
        assert_eq!(measure(&v2), Measured { group_limit: Some(1000), machine: 2_048_000 });
        let v1 = [
            meminfo,
            ("self", "5:cpu:/a\n4:memory:/docker/abc\n"),
            ("cg/memory/memory.limit_in_bytes", "500\n"),
            ("cg/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(measure(&v1).group_limit, Some(500));
        assert_eq!(measure(&[]), Measured::default());
        let container = [("self", "0::/../outside\n"), ("cg/memory.max", "7000\n")];
        assert_eq!(measure(&container).group_limit, Some(7000));
    }
}
