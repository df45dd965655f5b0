//! The console: a web page of a server's live state, and the state itself as JSON.
//!
//! Everything here is a function of values: [`Part`] says what is asked of the server, [`Frame`] and [`Value`] read what it answers,
//! [`state`] makes of it what the page shows, and [`page`] is the page. Who asks, as which user, and how the bytes get there is the
//! caller's: the server answers as it answers any client, so the page shows a user what that user may see and nothing else.
//!
//! Invariants:
//! - What comes from clients (names of queues, clients, commands) is data: JSON strings here, text nodes in the page, whose policy
//!   runs no script but its own.
//! - The page asks nothing of any other place, and changes nothing on the server.
//!
//! *Absent:* sockets, clocks, threads, the engine.

#![forbid(unsafe_code)]

mod info;
mod page;
mod reply;
mod state;

pub use page::{Page, page};
pub use reply::{Broken, Frame, Value};
pub use state::{Answer, Part, Trouble, state};
