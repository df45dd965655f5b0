//! The limits that several crates share, each with its unit and its reason.

/// Longest string value or bulk argument, bytes: Redis' own ceiling (`proto-max-bulk-len` may lower it).
pub const STRING_BYTES_MAX: usize = 512 << 20;

/// Longest bulk that anybody may ever send, bytes, however high `proto-max-bulk-len` is: places in a request are counted
/// with 32 bits. Every reader of what was executed once (the log) reads as much, whatever the limits are by then.
pub const BULK_BYTES_MAX: usize = u32::MAX as usize;

/// Most arguments of one request: Redis refuses more with "invalid multibulk length".
pub const REQUEST_ARGS_MAX: usize = i32::MAX as usize;

/// Most arguments before a client has authenticated, as in Redis: a stranger must not make us allocate.
pub const REQUEST_ARGS_MAX_UNAUTHENTICATED: usize = 10;

/// Longest bulk argument before a client has authenticated, bytes.
pub const BULK_BYTES_MAX_UNAUTHENTICATED: usize = 16 << 10;

/// Longest password that is hashed or compared with a record, bytes: a longer one fits nothing and costs nothing.
pub const PASSWORD_BYTES_MAX: usize = 4096;

/// Most argon2id records of one user: a wrong password costs a hash for each.
pub const RECORDS_MAX: usize = 32;

/// Most memory that a record may ask for, KiB: one must not be able to exhaust a machine.
pub const RECORD_MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Most passes over that memory.
pub const RECORD_PASSES_MAX: u32 = 16;

/// Longest line of the protocol (inline request, or the header of a bulk), bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Most databases a configuration may ask for.
pub const DATABASES_MAX: usize = 1 << 14;
