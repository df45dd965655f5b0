//! Packed encodings.

pub(crate) mod listpack;
pub(crate) mod member;
