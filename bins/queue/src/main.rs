//! Placeholder until the server crate boots.
fn main() {}
