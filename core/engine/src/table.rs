//! The whole command table: rows of the data types and of the engine, found by name.

use crate::engine::EngineHandler;
use commands::{Handler, KeyFinder, Row, Spec};
use std::collections::HashMap;

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

/// All commands by index, and names by hash.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) commands: Vec<Command>,
    /// Open addressing over a power of two: index + 1 of the command, 0 for none.
    slots: Vec<u16>,
    /// Further names, of `rename-command`; a name of no command hides the original.
    renamed: HashMap<Vec<u8>, Option<usize>>,
}

const SLOTS: usize = 2048;
const NAME_BYTES_MAX: usize = 32;

/// What `rename-command` has made of the names, for those who read requests without the engine.
#[derive(Clone, Debug, Default)]
pub struct Renames(HashMap<Vec<u8>, Option<&'static str>>);

impl Renames {
    /// The name that the command called `name` had at first; `None` when there is no command of that name any more.
    pub fn original<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        match self.0.get(&name.to_ascii_lowercase()) {
            Some(original) => original.map(str::as_bytes),
            None => Some(name),
        }
    }
}

impl Table {
    pub(crate) fn new() -> Table {
        let mut table = Table { commands: Vec::new(), slots: vec![0; SLOTS], renamed: HashMap::new() };
        for rows in commands::tables() {
            rows.iter().for_each(|row| table.add(row, &Run::Data, None));
        }
        for rows in crate::tables() {
            rows.iter().for_each(|row| table.add(row, &Run::Engine, None));
        }
        table
    }

    fn add<H: Copy>(&mut self, row: &'static Row<H>, run: &dyn Fn(H) -> Run, parent: Option<usize>) {
        let index = self.commands.len();
        let (spec, keys) = (&row.spec, KeyFinder::new(&row.spec));
        self.commands.push(Command { spec, keys, run: run(row.run), subcommands: Vec::new(), parent });
        match parent {
            Some(container) => self.commands[container].subcommands.push(index),
            None => {
                let mut slot = slot_of(row.spec.name.as_bytes());
                while self.slots[slot] != 0 {
                    slot = (slot + 1) % SLOTS;
                }
                self.slots[slot] = index as u16 + 1;
            }
        }
        row.subcommands.iter().for_each(|sub| self.add(sub, run, Some(index)));
    }

    /// Gives the command `name` another name; an empty one takes it away. False when there is no such command.
    pub(crate) fn rename(&mut self, name: &[u8], to: &[u8]) -> bool {
        let Some(index) = self.find_top(name) else { return false };
        self.renamed.insert(name.to_ascii_lowercase(), None);
        if !to.is_empty() {
            self.renamed.insert(to.to_ascii_lowercase(), Some(index));
        }
        true
    }

    /// What has been renamed.
    pub(crate) fn renames(&self) -> Renames {
        let original = |index: &Option<usize>| index.map(|at| self.commands[at].spec.name);
        Renames(self.renamed.iter().map(|(name, index)| (name.clone(), original(index))).collect())
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
        let mut slot = slot_of(name);
        loop {
            let index = usize::from(*self.slots.get(slot)?).checked_sub(1)?;
            if self.commands[index].spec.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(index);
            }
            slot = (slot + 1) % SLOTS;
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

/// The home slot of a name: a hash of its lower-case letters.
#[inline]
fn slot_of(name: &[u8]) -> usize {
    let mut hash = name.len() as u32;
    for c in name.iter().take(NAME_BYTES_MAX) {
        hash = hash.wrapping_mul(31).wrapping_add(u32::from(c | 0x20));
    }
    (hash ^ (hash >> 11)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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
        assert!(table.rename(b"GET", b"fetch") && table.rename(b"SET", b""));
        assert!(
            table.find_top(b"get").is_none()
                && table.find_top(b"Fetch").is_some()
                && table.find_top(b"set").is_none()
        );
        assert!(!table.rename(b"nosuch", b"x"));
        assert_eq!(table.find_original(b"GET"), table.find_top(b"fetch"));
        assert!(table.find_original(b"fetch").is_none() && table.find_original(b"set").is_some());
        let renames = table.renames();
        let original = |name: &'static str| renames.original(name.as_bytes());
        assert_eq!((original("FETCH"), original("Get"), original("set")), (Some(&b"get"[..]), None, None));
        assert_eq!(original("Del"), Some(&b"Del"[..]));
    }
}
