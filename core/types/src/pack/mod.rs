//! Packed encodings.

pub(crate) mod entry;
pub(crate) mod ints;
pub(crate) mod listpack;
pub(crate) mod member;
pub(crate) mod pair;
pub(crate) mod pairs;
pub(crate) mod thin;
