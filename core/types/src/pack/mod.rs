//! Packed encodings.
