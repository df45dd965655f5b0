//! Scripts: any source, and any bytes handed to what a script can call, end in a reply.

use crate::bench::Bench;

/// What is done with the bytes, by the first of them. The arguments are the bytes, cut at zeros.
const SCRIPTS: &[&str] = &[
    "return ARGV",
    "return redis.call(unpack(ARGV))",
    "return redis.pcall(unpack(ARGV))",
    "redis.setresp(3); return redis.pcall(unpack(ARGV))",
    "return cjson.encode(cjson.decode(ARGV[1]))",
    "return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))",
    "return {cmsgpack.unpack_limit(ARGV[1], 3, 1)}",
    "return {struct.unpack(ARGV[1], ARGV[2])}",
    "return struct.pack(ARGV[1], ARGV[2], ARGV[3], 1, 2, 3)",
    "return struct.size(ARGV[1])",
    "return string.format(ARGV[1], ARGV[2], ARGV[3])",
    "return {string.find(ARGV[1], ARGV[2])}",
    "return string.gsub(ARGV[1], ARGV[2], ARGV[3])",
    "return {tonumber(ARGV[1]), tostring(tonumber(ARGV[1]) or 0), bit.tohex(tonumber(ARGV[1]) or 0)}",
    "return redis.sha1hex(ARGV[1])",
    "return {err = ARGV[1]}",
    "return {ok = ARGV[1]}",
    "return loadstring(ARGV[1])()",
];

/// The first byte chooses; past the list, the rest is itself the script.
pub fn run(data: &[u8]) {
    let Some((&which, rest)) = data.split_first() else { return };
    let mut bench = Bench::new();
    let Some(script) = SCRIPTS.get(usize::from(which)) else {
        bench.call(&[b"EVAL", rest, b"0"]);
        return;
    };
    let mut argv: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), b"0"];
    argv.extend(rest.split(|&b| b == 0));
    bench.call(&argv);
    assert_eq!(bench.call(&[b"PING"]).as_deref(), Some(&b"+PONG\r\n"[..]), "the engine goes on");
}
