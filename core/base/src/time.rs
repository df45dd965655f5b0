//! The time as a value, read once a tick by the server and handed down.

/// One reading of both clocks.
///
/// Commands compare expiry times with `unix_ms`; durations are measured with `mono_us`, which never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Wall clock, microseconds since the Unix epoch.
    pub unix_us: i64,
    /// Monotonic clock, microseconds since an arbitrary start.
    pub mono_us: u64,
}

impl Now {
    /// A reading whose wall clock is `unix_ms` and whose monotonic clock agrees with it. For tests and replays.
    pub fn at_ms(unix_ms: i64) -> Now {
        Now { unix_ms, unix_us: unix_ms.saturating_mul(1000), mono_us: unix_ms.unsigned_abs() * 1000 }
    }
}
