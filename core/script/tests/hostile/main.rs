//! Scripts that mean harm: `canary` holds what was found in Lua over the years, `bounds` what a script may take.

mod bounds;
mod canary;
mod support;
