//! RESP2 and RESP3 without I/O: an incremental request parser and a reply encoder.
//!
//! The parser hands out spans of the caller's buffer and copies nothing. Replies are written through
//! [`Reply`], either straight to wire bytes or into any [`Sink`] (a script's values, a test's tree).

#![forbid(unsafe_code)]

mod parse;
mod reply;
mod request;

pub use parse::{BulkAtHand, Limits, Parsed, Parser, ProtocolError, Span};
pub use reply::{CUT, Protocol, Reply, Sink, Wire};
pub use request::{push_bulk_header, push_command, push_command_header, split_inline};
