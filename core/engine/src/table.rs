//! The whole command table: rows of the data types and of the engine, found by name.

use crate::call::EngineHandler;
use commands::{Handler, KeyFinder, Row, Spec};
use config::Rename;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What runs a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// A handler on data.
    Data(Handler),
    /// A handler on the engine itself.
    Engine(EngineHandler),
}

/// One command (or subcommand) with its place in the statistics.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) spec: &'static Spec,
    /// Where the keys of its requests stand and how they are used.
    pub(crate) keys: KeyFinder,
    pub(crate) run: Run,
    /// Indices of its subcommands.
    pub(crate) subcommands: Vec<usize>,
    /// The container it belongs to.
    pub(crate) parent: Option<usize>,
}

/// A `rename-command` that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameError {
    rename: Rename,
    why: &'static str,
}

impl core::fmt::Display for RenameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Rename { from, to } = &self.rename;
        write!(f, "rename-command \"{}\" \"{}\": {}", from.escape_ascii(), to.escape_ascii(), self.why)
    }
}

impl core::error::Error for RenameError {}

/// All commands by index, and names by hash. Rows are the same in every engine of a process, so they are put together once.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) commands: &'static [Command],
    /// Open addressing over a power of two.
    slots: &'static [Slot],
    /// Further names, of `rename-command`; a name of no command hides the original.
    renamed: HashMap<Vec<u8>, Option<usize>>,
}

/// A name in lower case, a word for every eight bytes: every request is looked up by it.
type Name = [u64; NAME_BYTES_MAX / 8];

/// A place for a command.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    name: Name,
    /// Index + 1 of the command, 0 for none.
    command: u16,
}

const SLOT_BITS: u32 = 10;
const SLOTS: usize = 1 << SLOT_BITS;
/// No name of a top-level command is longer.
const NAME_BYTES_MAX: usize = 24;

/// What every [`Table`] looks at.
struct Rows {
    commands: Vec<Command>,
    slots: Vec<Slot>,
}

static ROWS: LazyLock<Rows> = LazyLock::new(Rows::new);

impl Rows {
    fn new() -> Rows {
        let mut all = Rows { commands: Vec::new(), slots: vec![Slot::default(); SLOTS] };
        for rows in commands::tables() {
            rows.iter().for_each(|row| all.add(row, &Run::Data, None));
        }
        for rows in crate::tables() {
            rows.iter().for_each(|row| all.add(row, &Run::Engine, None));
        }
        all
    }

    fn add<H: Copy>(&mut self, row: &'static Row<H>, run: &dyn Fn(H) -> Run, parent: Option<usize>) {
        let index = self.commands.len();
        let (spec, keys) = (&row.spec, KeyFinder::new(&row.spec));
        self.commands.push(Command { spec, keys, run: run(row.run), subcommands: Vec::new(), parent });
        match parent {
            Some(container) => self.commands[container].subcommands.push(index),
            None => {
                let name =
                    name_of(row.spec.name.as_bytes()).expect("no row has a longer name, as a test tells");
                let mut slot = slot_of(name);
                while self.slots[slot].command != 0 {
                    slot = (slot + 1) % SLOTS;
                }
                self.slots[slot] = Slot { name, command: index as u16 + 1 };
            }
        }
        row.subcommands.iter().for_each(|sub| self.add(sub, run, Some(index)));
    }
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { commands: &ROWS.commands, slots: &ROWS.slots, renamed: HashMap::new() }
    }

    /// Gives a command another name; an empty one takes it away.
    pub(crate) fn rename(&mut self, rename: &Rename) -> Result<(), RenameError> {
        let refused = |why| RenameError { rename: rename.clone(), why };
        let index =
            self.find_top(&rename.from).ok_or_else(|| refused("No such command in rename-command"))?;
        self.renamed.insert(rename.from.to_ascii_lowercase(), None);
        if rename.to.is_empty() {
            return Ok(());
        }
        if self.find_top(&rename.to).is_some() {
            return Err(refused("Target command name already exists"));
        }
        self.renamed.insert(rename.to.to_ascii_lowercase(), Some(index));
        Ok(())
    }

    /// The top-level command called `name`, in any case.
    #[inline]
    pub(crate) fn find_top(&self, name: &[u8]) -> Option<usize> {
        if !self.renamed.is_empty()
            && let Some(found) = self.renamed.get(&name.to_ascii_lowercase())
        {
            return *found;
        }
        self.find_original_top(name)
    }

    #[inline]
    fn find_original_top(&self, name: &[u8]) -> Option<usize> {
        let name = name_of(name)?;
        let mut at = slot_of(name);
        loop {
            let slot = self.slots.get(at)?;
            let index = usize::from(slot.command).checked_sub(1)?;
            if slot.name == name {
                return Some(index);
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// The command that `argv` names, its subcommand where it has one. For a container without that subcommand, the container.
    #[inline]
    pub(crate) fn find(&self, argv: &[&[u8]]) -> Option<usize> {
        let top = self.find_top(argv.first()?)?;
        if self.commands[top].subcommands.is_empty() {
            return Some(top);
        }
        Some(argv.get(1).and_then(|name| self.find_sub(top, name)).unwrap_or(top))
    }

    /// The command that a record of the log names: one that the server wrote itself has the name from before `rename-command`.
    pub(crate) fn find_logged(&self, argv: &[&[u8]]) -> Option<usize> {
        self.find(argv).or_else(|| {
            let top = self.find_original_top(argv.first()?)?;
            Some(argv.get(1).and_then(|name| self.find_sub(top, name)).unwrap_or(top))
        })
    }

    /// The subcommand `name` of container `top`.
    pub(crate) fn find_sub(&self, top: usize, name: &[u8]) -> Option<usize> {
        let container = &self.commands[top];
        let skip = container.spec.name.len() + 1;
        container
            .subcommands
            .iter()
            .copied()
            .find(|i| self.commands[*i].spec.name.as_bytes()[skip..].eq_ignore_ascii_case(name))
    }

    /// Finds `name` or `container|name`, as COMMAND INFO writes it.
    pub(crate) fn find_full(&self, name: &[u8]) -> Option<usize> {
        self.find_parts(name, self.find_top(name.split(|c| *c == b'|').next()?))
    }

    /// Finds `name` or `container|name`, as ACL rules write it: what a command is called at first, whatever it has been renamed to.
    pub(crate) fn find_original(&self, name: &[u8]) -> Option<usize> {
        self.find_parts(name, self.find_original_top(name.split(|c| *c == b'|').next()?))
    }

    fn find_parts(&self, name: &[u8], top: Option<usize>) -> Option<usize> {
        match name.iter().position(|c| *c == b'|') {
            Some(bar) => self.find_sub(top?, &name[bar + 1..]),
            None => top,
        }
    }
}

/// A name in lower case; `None` when it is too long for one. Names that end in zero bytes are no other names without them, but no
/// command has such a name.
#[inline]
fn name_of(text: &[u8]) -> Option<Name> {
    let mut name = Name::default();
    if text.len() > NAME_BYTES_MAX || text.ends_with(&[0]) {
        return None;
    }
    for (word, chunk) in name.iter_mut().zip(text.chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = lower_case(u64::from_le_bytes(bytes));
    }
    Some(name)
}

/// Eight bytes at once: each that is an ASCII capital gets the bit that makes it small. The additions set the top bit of a byte
/// whose lower seven are at least `A`, or above `Z`, and carry nothing into the next byte.
#[inline]
fn lower_case(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let low = word & (ONES * 0x7f);
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let above_z = low + ONES * (0x7f - b'Z' as u64);
    let capital = (from_a ^ above_z) & !word & (ONES * 0x80);
    word | capital >> 2
}

/// The home slot of a name.
#[inline]
fn slot_of(name: Name) -> usize {
    let mixed = name[0] ^ name[1].rotate_left(23) ^ name[2].rotate_left(41);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn capitals_and_nothing_else_become_small() {
        for byte in 0..=255u8 {
            let text = [byte, b'a', byte, b'Z', byte, byte, b'@', byte];
            let expected = u64::from_le_bytes(text.map(|b| b.to_ascii_lowercase()));
            assert_eq!(lower_case(u64::from_le_bytes(text)), expected, "{byte}");
        }
        let table = Table::new();
        let known = table.find_top(b"GeoRadiusByMember_RO");
        assert!(known.is_some());
        for unknown in [&b"get\0"[..], b"", b"ge", b"gett", b"\0", &[b'a'; 25], &[0; 24]] {
            assert_eq!(table.find_top(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        let table = Table::new();
        let mut names = HashSet::new();
        for (index, command) in table.commands.iter().enumerate() {
            let spec = command.spec;
            assert!(names.insert(spec.name), "{} twice", spec.name);
            assert_eq!(spec.name, spec.name.to_ascii_lowercase());
            assert_eq!(table.find_full(spec.name.to_uppercase().as_bytes()), Some(index), "{}", spec.name);
            assert_ne!(spec.arity, 0, "{}", spec.name);
        }
        assert_eq!(table.find_top(b"nosuchcommand"), None);
        assert_eq!(table.find_top(b""), None);
    }

    #[test]
    fn a_renamed_command_answers_to_its_new_name_only() {
        let mut table = Table::new();
        let mut rename = |from: &str, to: &str| {
            let outcome = table.rename(&Rename { from: from.into(), to: to.into() });
            outcome.map_err(|error| error.to_string())
        };
        assert_eq!(
            [rename("GET", "fetch"), rename("SET", ""), rename("append", "Append")],
            [Ok(()), Ok(()), Ok(())]
        );
        let unknown = |line: &str| Err(format!("rename-command {line}: No such command in rename-command"));
        for from in ["nosuch", "set", "get", "config|get", ""] {
            assert_eq!(rename(from, "x"), unknown(&format!("\"{from}\" \"x\"")));
        }
        let taken = "rename-command \"incr\" \"DECR\": Target command name already exists";
        assert_eq!(rename("incr", "DECR"), Err(taken.to_owned()));
        assert!(
            table.find_top(b"get").is_none()
                && table.find_top(b"Fetch").is_some()
                && table.find_top(b"set").is_none()
        );
        assert_eq!(table.find_original(b"GET"), table.find_top(b"fetch"));
        assert!(table.find_original(b"fetch").is_none() && table.find_original(b"set").is_some());
    }
}
