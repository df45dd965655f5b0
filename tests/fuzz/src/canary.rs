//! A target with a known fault behind four comparisons: a fuzzer that does not find it is blind.

/// Panics on bytes that begin with a certain word, which only coverage can lead to.
pub fn run(data: &[u8]) {
    if let [a, b, c, d, ..] = data
        && *a == b't'
        && *b == b'D'
        && *c == b'm'
        && *d == b'!'
    {
        panic!("the canary sings");
    }
}
