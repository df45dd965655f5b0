//! Packed encodings.

pub(crate) mod listpack;
