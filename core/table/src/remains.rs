//! A table that nobody uses any more, freed a segment at a time.

use crate::directory::Directory;
use crate::{Item, Table};

/// See the module.
pub struct Remains<T: Item>(Directory<T>);

impl<T: Item> Table<T> {
    /// The table, to be freed in steps.
    pub fn into_remains(self) -> Remains<T> {
        Remains(self.directory)
    }
}

impl<T: Item> Remains<T> {
    /// Lets go a segment, some hundreds of items; whether there are more.
    pub fn free_some(&mut self) -> bool {
        self.0.release_last();
        !self.0.is_empty()
    }
}
