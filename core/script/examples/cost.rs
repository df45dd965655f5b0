//! What one script costs with a host that does nothing: `cargo run --release -p tandem-script --example cost`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the command line")]

use std::time::Instant;

use resp::{Protocol, Sink, Wire};
use tandem_script::{Host, Interpreter, Interrupt, Limits, Origin};

struct Nothing;

impl Host for Nothing {
    fn call(&mut self, _argv: &[&[u8]], sink: &mut dyn Sink, _held_bytes: usize) -> u64 {
        sink.integer(1);
        0
    }
    fn is_short_of_memory(&mut self) -> bool {
        false
    }
    fn interrupt(&mut self) -> Interrupt {
        Interrupt::Continue
    }
    fn log(&mut self, _level: i64, _message: &[u8]) {}
    fn set_replication(&mut self, _flags: i64) {}
    fn error_replied(&mut self, _text: &[u8], _is_counted: bool) {}
    fn acl_allows(&mut self, _argv: &[&[u8]]) -> Result<bool, String> {
        Ok(true)
    }
}

fn main() {
    let mut lua = Interpreter::new(Limits::default());
    let runs = 300_000;
    for (name, source) in [
        ("empty", "return 1"),
        (
            "4 calls",
            "local c = redis.call c('INCR', KEYS[1]) c('HSET', KEYS[1], 'f', ARGV[1]) c('LPUSH', KEYS[1], ARGV[2]) return c('GET', KEYS[1])",
        ),
        ("cjson", "return cjson.encode(cjson.decode('{\"a\":[1,2,3],\"b\":\"text\"}'))"),
    ] {
        let sha = lua.load(source.as_bytes(), Origin::Load, &mut Nothing).unwrap();
        let mut out = Vec::new();
        let start = Instant::now();
        for _ in 0..runs {
            out.clear();
            let mut wire = Wire { out: &mut out, protocol: Protocol::Resp2, limit: usize::MAX };
            lua.run(&sha, &[b"some:key:name"], &[b"value1", b"1790000000000"], &mut Nothing, &mut wire)
                .unwrap();
        }
        println!("{name}: {} ns a run", start.elapsed().as_nanos() / runs);
    }
    println!("{} bytes of Lua", lua.memory_bytes());
}
