//! Commands: any row of requests, typed as text lines with quotes and escapes, is answered.

use crate::bench::Bench;
use resp::{Limits, Parsed, Parser};

/// Requests of one run.
const REQUESTS_MAX: usize = 64;

/// One request a line.
pub fn run(data: &[u8]) {
    let mut bench = Bench::new();
    for line in data.split(|&b| b == b'\n').take(REQUESTS_MAX) {
        let text = [line, b"\r\n"].concat();
        let parsed = Parser::default().next(&text, &mut Vec::new(), &Limits::trusted(1 << 20));
        let Ok(Parsed::Inline { args, .. }) = parsed else { continue };
        if args.is_empty() {
            continue;
        }
        let argv: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        if let Some(reply) = bench.call(&argv) {
            assert!(reply.is_empty() || reply.ends_with(b"\r\n"), "a reply that does not end");
        }
    }
}
