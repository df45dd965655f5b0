//! What a server tells about itself: fields declared once, shown as INFO and as Prometheus metrics.
//!
//! [`fields::TABLE`] is the one list; the engine and the server fill a [`Report`] by name, INFO renders it in
//! Redis' order, and [`prometheus`] exports it under redis_exporter's names, because dashboards and alerts
//! for those exist. Everything here is a plain value: no clock, socket or thread.
//!
//! Invariants: recording a call is a few additions; every log of events is bounded.

#![forbid(unsafe_code)]

mod events;
pub mod fields;
mod graph;
mod histogram;
mod info;
mod prometheus;
mod stats;

pub use events::{CommandEntry, CommandLog, LatencyEvent, LatencyEvents, LatencySummary, Rate};
pub use graph::latency_graph;
pub use histogram::Histogram;
pub use info::{Queue, Replica, Report, V, human};
pub use prometheus::prometheus;
pub use stats::{CommandStats, ErrorStats};
