//! Scripts through the public interface: conversions, errors, protection, libraries, limits.

use proptest::prelude::*;
use resp::{Protocol, Sink, Wire};
use tandem_script::{Flags, Host, Interpreter, Interrupt, Limits, Origin, RunError};

#[derive(Default)]
struct Fake {
    calls: Vec<Vec<Vec<u8>>>,
    kills: bool,
    asked: usize,
    log: Vec<(i64, Vec<u8>)>,
}

impl Host for Fake {
    fn call(&mut self, argv: &[&[u8]], sink: &mut dyn Sink, _held_bytes: usize) -> u64 {
        self.calls.push(argv.iter().map(|arg| arg.to_vec()).collect());
        match argv[0] {
            b"echo" => sink.bulk(argv[1]),
            b"ok" => sink.status("OK"),
            b"null" => sink.null(),
            b"fail" => sink.error(b"WRONGTYPE no"),
            b"map" => {
                sink.map(1);
                sink.bulk(b"k");
                sink.array(2);
                sink.integer(7);
                sink.null();
            }
            b"set" => {
                sink.set(2);
                sink.bulk(b"a");
                sink.bulk(b"b");
            }
            b"double" => sink.double(1.5),
            b"panic" => panic!("host"),
            b"deep" => (0..5_000).for_each(|_| sink.array(1)),
            _ => sink.integer(argv.len() as i64),
        }
        0
    }

    fn is_short_of_memory(&mut self) -> bool {
        false
    }

    fn interrupt(&mut self) -> Interrupt {
        self.asked += 1;
        if self.kills {
            Interrupt::Kill("Script killed by user with SCRIPT KILL.")
        } else {
            Interrupt::Continue
        }
    }

    fn log(&mut self, level: i64, message: &[u8]) {
        self.log.push((level, message.to_vec()));
    }

    fn set_replication(&mut self, _flags: i64) {}
    fn error_replied(&mut self, _text: &[u8], _is_counted: bool) {}

    fn acl_allows(&mut self, argv: &[&[u8]]) -> Result<bool, String> {
        if argv[0] == b"nosuch" {
            Err("Invalid command passed to redis.acl_check_cmd()".into())
        } else {
            Ok(true)
        }
    }
}

fn run_in(lua: &mut Interpreter, source: &[u8], args: &[&[u8]], protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    let mut wire = Wire { out: &mut out, protocol, limit: usize::MAX };
    let sha = match lua.load(source, Origin::Eval, &mut Fake::default()) {
        Ok(sha) => sha,
        Err(error) => {
            wire.error(&error.0);
            return out;
        }
    };
    if let Err(RunError::Failed { text, .. }) =
        lua.run(&sha, &[b"key"], args, &mut Fake::default(), &mut wire)
    {
        wire.error(&text);
    }
    out
}

fn run(source: &str) -> String {
    let mut lua = Interpreter::new(Limits::default());
    String::from_utf8_lossy(&run_in(&mut lua, source.as_bytes(), &[b"arg"], Protocol::Resp2)).into_owned()
}

fn run3(source: &str) -> String {
    let mut lua = Interpreter::new(Limits::default());
    String::from_utf8_lossy(&run_in(&mut lua, source.as_bytes(), &[], Protocol::Resp3)).into_owned()
}

#[test]
fn results_become_replies() {
    assert_eq!(run("return {1.9, 'a', true, false, nil, 4}"), "*4\r\n:1\r\n$1\r\na\r\n:1\r\n$-1\r\n");
    assert_eq!(run("return {ok='fine'}"), "+fine\r\n");
    assert_eq!(run("return {err='My text'}"), "-My text\r\n");
    assert_eq!(run("return {KEYS[1], ARGV[1]}"), "*2\r\n$3\r\nkey\r\n$3\r\narg\r\n");
    assert_eq!(run("return"), "$-1\r\n");
    assert_eq!(run("return {map={a=1}}"), "*2\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(run3("return {map={a=1}}"), "%1\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(run3("return {double=3.5}"), ",3.5\r\n");
    assert_eq!(run3("return {set={a=true}}"), "~1\r\n$1\r\na\r\n");
    assert_eq!(run3("redis.setresp(3) return true"), "#t\r\n");
    assert_eq!(run3("return {verbatim_string={string='abc',format='txt'}}"), "=7\r\ntxt:abc\r\n");
    assert!(run("local t = {} t[1] = t return t").contains("ERR reached lua stack limit"));
}

#[test]
fn replies_become_values() {
    assert_eq!(run("return redis.call('ok').ok"), "$2\r\nOK\r\n");
    assert_eq!(run("return tostring(redis.call('null'))"), "$5\r\nfalse\r\n");
    assert_eq!(run("redis.setresp(3) return tostring(redis.call('null'))"), "$3\r\nnil\r\n");
    assert_eq!(
        run("local m = redis.call('map') return {m[1], m[2][1], m[2][2] == false}"),
        "*3\r\n$1\r\nk\r\n:7\r\n:1\r\n"
    );
    assert_eq!(run("redis.setresp(3) return redis.call('map').map.k[1]"), ":7\r\n");
    assert_eq!(run("redis.setresp(3) return tostring(redis.call('set').set.b)"), "$4\r\ntrue\r\n");
    assert_eq!(run("return redis.call('double')"), "$3\r\n1.5\r\n");
    assert_eq!(run("redis.setresp(3) return redis.call('double').double * 2"), ":3\r\n");
    assert!(run("return redis.call('deep')").contains("too deep"));
    assert_eq!(
        run("local t = {} for i = 1, 7000 do t[i] = i end return redis.call('count', unpack(t))"),
        ":7001\r\n"
    );
}

#[test]
fn numbers_are_passed_as_integers() {
    assert_eq!(run("return redis.call('echo', 1e17)"), "$18\r\n100000000000000000\r\n");
    assert_eq!(run("return redis.call('echo', -3)"), "$2\r\n-3\r\n");
    assert_eq!(run("return 1e15 .. ''"), "$5\r\n1e+15\r\n");
}

#[test]
fn errors_name_script_and_line() {
    let text = run("\nreturn redis.call('fail')");
    assert!(
        text.starts_with("-WRONGTYPE no script: ") && text.ends_with(", on @user_script:2.\r\n"),
        "{text}"
    );
    let text = run("error('hi')");
    assert!(text.starts_with("-ERR user_script:1: hi script: "), "{text}");
    assert!(run("error({})").starts_with("-ERR unknown error script: "));
    assert!(run("error({err = 1})").starts_with("-1 script: "), "a number is as good as a text");
    assert!(run("error()").starts_with("-ERR nil script: "));
    assert!(
        run("return redis.call()")
            .starts_with("-ERR Please specify at least one argument for this redis lib call script")
    );
    assert!(
        run("return redis.call({})")
            .starts_with("-ERR Lua redis lib command arguments must be strings or integers")
    );
    assert_eq!(run("return redis.pcall('fail')"), "-WRONGTYPE no\r\n");
    assert_eq!(run("local _, e = pcall(redis.call, 'fail') return e"), "$12\r\nWRONGTYPE no\r\n");
    assert_eq!(run("return redis.error_reply('FOO bar')"), "-FOO bar\r\n");
    assert_eq!(run("return redis.error_reply('My')"), "-ERR My\r\n");
    assert_eq!(
        run("return 1 +"),
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'\r\n"
    );
}

#[test]
fn globals_are_protected() {
    for source in [
        "foo = 1",
        "redis.call = 1",
        "_G = {}",
        "KEYS = {}",
        "setmetatable(_G, {})",
        "getmetatable(_G).__index = {}",
        "rawset(_G, 'a', 1)",
        "table.insert(redis, 1)",
        "getmetatable('').__index = {}",
        "string.format = 1",
        "cjson.encode = 1",
    ] {
        assert!(run(source).contains("Attempt to modify a readonly table"), "{source}: {}", run(source));
    }
    for name in
        ["loadfile", "dofile", "print", "io", "package", "require", "debug", "newproxy", "setfenv", "foo"]
    {
        let text = run(&format!("return {name}"));
        assert!(
            text.contains(&format!("Script attempted to access nonexistent global variable '{name}'")),
            "{text}"
        );
    }
    assert_eq!(run("local n = 0 for k in pairs(redis) do n = n + 1 end return n > 20"), ":1\r\n");
    assert_eq!(run("return type(rawget(_G, 'redis')) .. type(next(redis))"), "$11\r\ntablestring\r\n");
    assert_eq!(run("return getmetatable('').__index == string and getmetatable(redis) == nil"), ":1\r\n");
    assert_eq!(run("return loadstring('\\27Lua') == nil"), ":1\r\n");
    assert_eq!(
        run("local d = {'return ', '5'} local n = 0 return load(function() n = n + 1 return d[n] end)()"),
        ":5\r\n"
    );
}

#[test]
fn random_numbers_are_those_of_redis() {
    let text = run("return tostring(math.random())..' '..tostring(math.random(10))..' '..math.random(5,10)");
    assert_eq!(text.lines().nth(1), Some(expected_random().as_str()));
    assert_eq!(
        run("math.randomseed(7) return math.random(100)"),
        run("math.randomseed(7) return math.random(100)")
    );
}

/// Names that scripts make of them would repeat otherwise.
#[test]
fn random_numbers_go_on_after_a_flush_and_with_whoever_shares_them() {
    const RANDOM: &str = "return math.random(1000000)";
    let limits = Limits::default();
    let mut lua = Interpreter::new(limits.clone());
    let mut other = Interpreter::new(limits);
    let next = |lua: &mut Interpreter, source: &str| run_in(lua, source.as_bytes(), &[], Protocol::Resp2);
    assert_eq!(next(&mut lua, "math.randomseed(7) return math.random(1000000)"), b":266445\r\n");
    assert_eq!(next(&mut lua, RANDOM), b":682036\r\n");
    lua.flush();
    assert_eq!(next(&mut lua, RANDOM), b":265491\r\n");
    assert_eq!(next(&mut other, RANDOM), b":129111\r\n");
}

/// The same recurrence, written down a second time.
fn expected_random() -> String {
    let mut x: u128 = 0x1234_ABCD_330E;
    let mut next = || {
        x = (x * 25_214_903_917 + 11) % (1 << 48);
        ((x >> 17) % 2_147_483_647) as f64 / 2_147_483_647.0
    };
    let unit = base::number::format_g14(next());
    format!("{unit} {} {}", (next() * 10.0).floor() + 1.0, (next() * 6.0).floor() + 5.0)
}

#[test]
fn json_is_written_and_read() {
    assert_eq!(
        run("return cjson.encode({1, 'a/b', {x = 1.5}})"),
        "$22\r\n[1,\"a\\/b\",{\"x\":1.5}]\r\n".replace("$22", "$20")
    );
    assert_eq!(run("return cjson.encode({})"), "$2\r\n{}\r\n");
    assert_eq!(run("return cjson.decode('{\"a\":[1,2,{\"b\":null}]}').a[3].b == cjson.null"), ":1\r\n");
    assert_eq!(run("return cjson.decode('\"\\\\u00e9\\\\ud83d\\\\ude00\"')"), "$6\r\né😀\r\n");
    assert!(run("return cjson.encode({[1000] = 1})").contains("excessively sparse array"));
    assert!(run("return cjson.decode('[1,]')").contains("Expected value but found T_ARR_END at character 4"));
    assert!(run("local t = {} t.t = t return cjson.encode(t)").contains("excessive nesting (1001)"));
    assert!(
        run("return cjson.decode(string.rep('[', 2000))")
            .contains("Found too many nested data structures (1001)")
    );
}

#[test]
fn messagepack_is_written_and_read() {
    let hex = |source: &str| {
        let mut lua = Interpreter::new(Limits::default());
        let out = run_in(&mut lua, source.as_bytes(), &[], Protocol::Resp2);
        let start = out.iter().position(|&c| c == b'\n').unwrap() + 1;
        base::hex::encode(&out[start..out.len() - 2])
    };
    assert_eq!(hex("return cmsgpack.pack({1, -1, 300, 'a', true})"), "9501ffcd012ca161c3");
    assert_eq!(hex("return cmsgpack.pack(1.5, 0.1)"), "ca3fc00000cb3fb999999999999a");
    assert_eq!(hex("return cmsgpack.pack({a = {}})"), "81a16190");
    assert_eq!(run("return cmsgpack.unpack(cmsgpack.pack({1, {x = 'y'}}))[2].x"), "$1\r\ny\r\n");
    assert!(run("return cmsgpack.unpack('\\220\\255\\255')").contains("Missing bytes in input."));
    assert!(run("return cmsgpack.unpack('\\193')").contains("Bad data format in input."));
    assert!(run("return cmsgpack.unpack('\\196\\002hi')").contains("Bad data format in input."));
}

#[test]
fn struct_and_bit_work() {
    assert_eq!(run("return struct.pack('>I2', 258)"), "$2\r\n\u{1}\u{2}\r\n");
    assert_eq!(
        run("return {struct.unpack('<i4bs', '\\255\\255\\255\\255\\5hi\\0')}"),
        "*4\r\n:-1\r\n:5\r\n$2\r\nhi\r\n:9\r\n"
    );
    assert_eq!(run("return struct.size('!4bi4')"), ":8\r\n");
    assert_eq!(
        run("return {bit.band(255, 15), bit.bnot(0), bit.lshift(1, 31), bit.tohex(255, 4)}"),
        "*4\r\n:15\r\n:-1\r\n:-2147483648\r\n$4\r\n00ff\r\n"
    );
}

#[test]
fn a_killed_script_cannot_go_on() {
    for source in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    ] {
        let mut lua = Interpreter::new(Limits::default());
        let sha = lua.load(source.as_bytes(), Origin::Eval, &mut Fake::default()).unwrap();
        let mut host = Fake { kills: true, ..Fake::default() };
        let mut out = Vec::new();
        let mut wire = Wire { out: &mut out, protocol: Protocol::Resp2, limit: usize::MAX };
        let Err(RunError::Failed { text, .. }) = lua.run(&sha, &[], &[], &mut host, &mut wire) else {
            panic!("{source}")
        };
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("ERR Script killed by user with SCRIPT KILL."), "{source}: {text}");
        assert_eq!(run_in(&mut lua, b"return 1", &[], Protocol::Resp2), b":1\r\n");
    }
}

#[test]
fn memory_is_bounded_and_given_back() {
    let mut lua = Interpreter::new(Limits { memory_bytes: 8 << 20, ..Limits::default() });
    for source in ["local t = {} for i = 1, 1e9 do t[i] = {} end", "return string.rep('x', 1e9)"] {
        let text = String::from_utf8(run_in(&mut lua, source.as_bytes(), &[], Protocol::Resp2)).unwrap();
        assert!(text.contains("not enough memory"), "{text}");
        assert_eq!(run_in(&mut lua, b"return 1", &[], Protocol::Resp2), b":1\r\n");
    }
    for _ in 0..2_000 {
        run_in(
            &mut lua,
            b"local t = {} for i = 1, 500 do t[i] = i .. 'x' end return #t",
            &[],
            Protocol::Resp2,
        );
    }
    assert!(lua.memory_bytes() < 4 << 20, "{}", lua.memory_bytes());
}

#[test]
fn a_panic_of_the_host_reaches_its_owner() {
    let caught = std::panic::catch_unwind(|| run("pcall(redis.call, 'panic') return 1"));
    assert!(caught.is_err());
}

#[test]
fn first_line_gives_flags() {
    let mut lua = Interpreter::new(Limits::default());
    let sha =
        lua.load(b"#!lua flags=no-writes,allow-oom\nreturn 1", Origin::Load, &mut Fake::default()).unwrap();
    let expected = Flags { is_declared: true, no_writes: true, allow_oom: true, ..Flags::default() };
    assert_eq!(lua.flags(&sha), Some(expected));
    let error = |lua: &mut Interpreter, source: &[u8]| {
        String::from_utf8(lua.load(source, Origin::Load, &mut Fake::default()).unwrap_err().0).unwrap()
    };
    assert_eq!(error(&mut lua, b"#!lua flags=x\nreturn 1"), "ERR Unexpected flag in script shebang: x");
    assert_eq!(error(&mut lua, b"#!py\nreturn 1"), "ERR Unexpected engine in script shebang: #!py");
    assert_eq!(error(&mut lua, b"#!lua"), "ERR Invalid script shebang");
    lua.flush();
    assert!(lua.is_empty() && !lua.contains(&sha));
}

#[test]
fn old_evaluated_scripts_make_room() {
    let mut lua = Interpreter::new(Limits { eval_scripts: 10, ..Limits::default() });
    let kept = lua.load(b"return 'kept'", Origin::Load, &mut Fake::default()).unwrap();
    for n in 0..100 {
        lua.load(format!("return {n}").as_bytes(), Origin::Eval, &mut Fake::default()).unwrap();
    }
    assert_eq!(lua.len(), 11);
    assert!(lua.contains(&kept));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_may_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut lua = Interpreter::new(Limits::default());
        for source in [
            "return {pcall(cmsgpack.unpack, ARGV[1])}",
            "return {pcall(cjson.decode, ARGV[1])}",
            "return {pcall(struct.unpack, ARGV[1], ARGV[1])}",
            "return {pcall(struct.size, ARGV[1])}",
            "return {pcall(loadstring, ARGV[1])}",
        ] {
            run_in(&mut lua, source.as_bytes(), &[&bytes], Protocol::Resp3);
        }
    }

    #[test]
    fn texts_and_numbers_make_the_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..100), n in any::<i32>()) {
        let mut lua = Interpreter::new(Limits::default());
        let source = format!(
            "local v = {{a = ARGV[1], b = {{{n}, 0.5, {{}}}}, c = true}}
             local m, j = cmsgpack.unpack(cmsgpack.pack(v)), cjson.decode(cjson.encode(v))
             return m.a == v.a and j.a == v.a and m.b[1] == {n} and j.b[1] == {n} and m.b[2] == 0.5 and j.c and m.c"
        );
        prop_assert_eq!(run_in(&mut lua, source.as_bytes(), &[&bytes], Protocol::Resp2), b":1\r\n");
    }
}
