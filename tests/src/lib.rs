//! The architecture as a test: which crate may use which, what must be absent where, and how long a function may be.
//!
//! The rules of `core/ARCHITECTURE.md` that a machine can hold are data in [`rules`]; [`source`] reads Rust just well
//! enough to apply them (comments, strings and test modules are no code). Every rule has a self-test with an example
//! that breaks it, so that a rule that has gone blind is noticed.
#![forbid(unsafe_code)]

pub mod guards;
pub mod rules;
pub mod source;
