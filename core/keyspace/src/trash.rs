//! What is to be freed on another thread, and a little at a time: who asks for room meanwhile is told how much of it is free already.

use crate::space::{Database, Keyspace};
use table::{Remains, Table};
use types::Entry;

/// What is to be freed, where it holds up nobody.
pub struct Trash {
    /// What is to be dropped.
    pub contents: Contents,
    /// How many keys or values that are.
    pub objects: usize,
    /// About how many bytes they take.
    pub bytes: usize,
}

/// What a [`Trash`] holds.
pub struct Contents {
    entries: Vec<Entry>,
    tables: Vec<Remains<Entry>>,
    rest: Option<Box<dyn Send>>,
}

impl Trash {
    /// Something that is freed as a whole.
    pub fn whole(rest: Box<dyn Send>, objects: usize, bytes: usize) -> Trash {
        Trash {
            contents: Contents { entries: Vec::new(), tables: Vec::new(), rest: Some(rest) },
            objects,
            bytes,
        }
    }

    /// Values and whole tables.
    pub(crate) fn of(entries: Vec<Entry>, tables: Vec<Table<Entry>>, bytes: usize) -> Trash {
        let objects = entries.len() + tables.iter().map(Table::len).sum::<usize>();
        let tables = tables.into_iter().map(Table::into_remains).collect();
        Trash { contents: Contents { entries, tables, rest: None }, objects, bytes }
    }
}

impl Contents {
    /// Frees a value, or some hundreds of keys; whether there is more.
    pub fn free_some(&mut self) -> bool {
        if self.entries.pop().is_some() {
            return true;
        }
        if let Some(table) = self.tables.last_mut() {
            if !table.free_some() {
                self.tables.pop();
            }
            return true;
        }
        self.rest.take().is_some()
    }
}

impl core::fmt::Debug for Trash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Trash")
            .field("objects", &self.objects)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Keyspace {
    /// All of it as trash, with what goes with it.
    pub fn into_trash(mut self, beside: Box<dyn Send>) -> Trash {
        let seed = self.seed();
        for index in 0..self.dbs.len() {
            let old = core::mem::replace(&mut self.dbs[index], Database::new(seed, index));
            if !old.table.is_empty() {
                self.discard_table(old.table);
            }
        }
        let mut trash = self.take_trash().unwrap_or_else(|| Trash::of(Vec::new(), Vec::new(), 0));
        trash.contents.rest = Some(Box::new((self, beside)));
        trash
    }
}
