//! What was found in Lua as Redis and Valkey embed it, since 2015: each by its name, how it is met here, and with an
//! input where one can be given. An input ends in the answer that stands here, or in any answer at all where none does:
//! what it must not do is end the process.

use std::collections::HashMap;

use crate::support::{Fake, run, run_within};

/// What an input must answer with.
enum Answer {
    /// Something that contains this.
    Has(&'static str),
    /// Anything.
    Any,
}

use Answer::{Any, Has};

struct Weakness {
    name: &'static str,
    /// How it is met.
    met: &'static str,
    inputs: &'static [(&'static str, Answer)],
}

const READ_ONLY: Answer = Has("Attempt to modify a readonly table");

const WEAKNESSES: &[Weakness] = &[
    Weakness {
        name: "CVE-2014-5461",
        met: "room for all parameters of a function is made before its arguments are moved (in Lua 5.1.5 already)",
        inputs: &[(
            "local p = {} for i = 1, 180 do p[i] = 'p' .. i end
             local f = loadstring('return function(' .. table.concat(p, ',') .. ', ...) return select(\"#\", ...) end')()
             local function deep(n) if n == 0 then return f() end return deep(n - 1) + 0 end
             local sum = 0 for i = 1, 150 do sum = sum + deep(i) end return sum",
            Has(":0"),
        )],
    },
    Weakness {
        name: "CVE-2015-4335",
        met: "bytecode is refused by the loader itself, in whatever way it comes",
        inputs: &[
            ("return loadstring(string.dump(function() end)) == nil", Has(":1")),
            ("return select(2, loadstring(string.dump(function() end)))", Has("bytecode is not accepted")),
            (
                "local d = string.dump(function() end) local n = 0
                 return load(function() n = n + 1 return n <= #d and d:sub(n, n) or nil end) == nil",
                Has(":1"),
            ),
            ("\x1bLua", Has("bytecode is not accepted")),
        ],
    },
    Weakness {
        name: "CVE-2015-8080, CVE-2020-14147",
        met: "the numbers in a format of `struct` are read with their bound (structs.rs, in Rust)",
        inputs: &[
            ("return struct.pack('>I2147483648', '10')", Has("integral size overflow")),
            ("return struct.pack('>I99999999999999999999', '10')", Has("integral size overflow")),
            ("return struct.unpack('c2147483647', 'a')", Has("data string too short")),
            ("return struct.size('!2147483648i4')", Has("integral size overflow")),
        ],
    },
    Weakness {
        name: "CVE-2018-11218",
        met: "`cmsgpack` makes sure of room on the stack for each value, and never trusts a length (msgpack.rs, in Rust)",
        inputs: &[
            ("local t = {} for i = 1, 7000 do t[i] = i end return #cmsgpack.pack(unpack(t))", Has(":")),
            ("return cmsgpack.unpack(string.rep('\\147\\1\\2\\3', 100000))", Has("too many values to unpack")),
            ("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", Has("Missing bytes in input.")),
            ("return cmsgpack.unpack('\\223\\255\\255\\255\\255')", Has("Missing bytes in input.")),
        ],
    },
    Weakness {
        name: "CVE-2018-11219",
        met: "places and sizes of `struct` are checked by slices (structs.rs, in Rust)",
        inputs: &[
            ("return struct.unpack('i4', 'abcd', -1)", Any),
            ("return struct.unpack('i4', 'abcd', 2147483647)", Has("data string too short")),
            ("return struct.unpack('c0', 'abcd')", Has("needs a previous size")),
            ("return struct.unpack('bc0', '\\127abc')", Has("data string too short")),
        ],
    },
    Weakness {
        name: "CVE-2021-32626",
        met: "whoever pushes more than a function's own slots makes sure of them first",
        inputs: &[
            ("local t = {} for i = 1, 7900 do t[i] = 'a' end return redis.call('echo', unpack(t))", Has("$1")),
            ("local t = {} t[1] = t return t", Has("reached lua stack limit")),
            ("return cjson.decode(string.rep('[', 100000))", Has("too many nested data structures")),
            ("return tostring(string.byte(string.rep('a', 7000), 1, -1))", Has("97")),
            ("return string.byte(string.rep('a', 1000000), 1, -1)", Has("string slice too long")),
        ],
    },
    Weakness {
        name: "CVE-2021-32672",
        met: "there is no script debugger, so nobody can send it a malformed request",
        inputs: &[("return redis.breakpoint()", Has("$-1"))],
    },
    Weakness {
        name: "CVE-2022-0543",
        met: "`package`, `io` and `debug` are not even linked, nor does the loader open files",
        inputs: &[
            ("return package.loadlib('liblua.so', 'luaopen_io')", Has("nonexistent global variable 'package'")),
            ("return io.popen('id')", Has("nonexistent global variable 'io'")),
            ("return require('os')", Has("nonexistent global variable 'require'")),
            ("return os.execute('id')", Has("attempt to call")),
            ("return dofile('/etc/passwd')", Has("nonexistent global variable 'dofile'")),
            ("return debug.getregistry()", Has("nonexistent global variable 'debug'")),
        ],
    },
    Weakness {
        name: "CVE-2022-24735, CVE-2025-46818",
        met: "globals, libraries and the metatables that all scripts share are stand-ins that cannot be changed",
        inputs: &[
            ("redis.call = function() end", READ_ONLY),
            ("server.call = function() end", READ_ONLY),
            ("rawset(redis, 'call', 1)", READ_ONLY),
            ("rawset(_G, 'tostring', 1)", READ_ONLY),
            ("table.insert(_G, 1)", READ_ONLY),
            ("setmetatable(_G, {__index = function() return 1 end})", READ_ONLY),
            ("getmetatable('').__index = function() return 'mine' end", READ_ONLY),
            ("getmetatable('').__add = function() return 'mine' end", READ_ONLY),
            ("getmetatable('').__index.rep = function() return 'mine' end", READ_ONLY),
            ("rawset(getmetatable(''), '__index', nil)", READ_ONLY),
            ("return setfenv(1, {})", Has("nonexistent global variable 'setfenv'")),
            ("return getfenv(0)", Has("nonexistent global variable 'getfenv'")),
            ("return newproxy(true)", Has("nonexistent global variable 'newproxy'")),
            ("table.sort(redis)", Any),
            ("table.remove(_G)", Any),
            ("return getmetatable(nil) or getmetatable(1) or getmetatable(true) or getmetatable(print)", Any),
        ],
    },
    Weakness {
        name: "CVE-2022-24736",
        met: "no message is made from what a function may not have: names and lines are looked at before they are used",
        inputs: &[
            ("error()", Has("ERR nil script")),
            ("error(nil, 2)", Has("ERR")),
            ("error(redis)", Has("ERR")),
            ("error({err = {}})", Has("ERR unknown error")),
            ("local t = setmetatable({}, {__index = error}) return t.x", Has("ERR")),
            ("return (coroutine.wrap(error))()", Has("ERR")),
        ],
    },
    Weakness {
        name: "CVE-2022-24834",
        met: "`cjson` and `cmsgpack` write into vectors that grow, within the memory of the script (in Rust)",
        inputs: &[
            ("local s = string.rep('\\1', 20000000) return #cjson.encode({s, s, s, s})", Has("not enough memory")),
            (
                "local s = string.rep('x', 20000000) return #cmsgpack.pack({s, s, s, s, s, s})",
                Has("not enough memory"),
            ),
        ],
    },
    Weakness {
        name: "CVE-2024-31449",
        met: "`bit.tohex` writes eight digits at most (bit.rs, in Rust)",
        inputs: &[
            ("return bit.tohex(65535, -2147483648)", Has("0000FFFF")),
            ("return bit.tohex(65535, 2147483647)", Has("0000ffff")),
            ("return bit.tohex(0, -2147483649)", Any),
        ],
    },
    Weakness {
        name: "CVE-2024-46981",
        met: "no finalizer of a script exists (there is no `newproxy`), and userdata of ours has none: nothing runs while a \
              state is closed",
        inputs: &[
            ("local t = setmetatable({}, {__gc = function() error('ran') end}) t = nil collectgarbage() return 1", Has(":1")),
            ("collectgarbage('stop') collectgarbage('setpause', 1000000) collectgarbage('setstepmul', 0) return 1", Has(":1")),
            ("for i = -5, 5 do collectgarbage('step', i * 1e9) end return 1", Has(":1")),
            ("return collectgarbage('generational')", Has("invalid option")),
        ],
    },
    Weakness {
        name: "CVE-2025-46817",
        met: "the number of results is computed without overflow, and bounded before anything is pushed; the same in a \
              table's index",
        inputs: &[
            ("return unpack({}, -2147483648, 2147483647)", Has("too many results to unpack")),
            ("return unpack({1}, 0, 2147483647)", Has("too many results to unpack")),
            ("return unpack({1}, -2147483648)", Has("too many results to unpack")),
            ("return unpack({}, -2147483648, 0)", Has("too many results to unpack")),
            ("return unpack({1}, -1, 2147483646)", Has("too many results to unpack")),
            ("return unpack({}, 1, 8000)", Has("too many results to unpack")),
            ("return unpack({}, 2147483647, 2147483647)", Any),
            ("return unpack({}, -2147483648, -2147483648)", Any),
            ("return {unpack({}, 2147483640, 2147483647)}", Any),
            ("local t = {1} return tostring(t[-2147483648]) .. tostring(t[2147483648])", Has("nilnil")),
            ("return table.concat({}, ',', 2147483647, 2147483647)", Has("invalid value (nil)")),
            ("return table.concat({}, ',', -2147483648, 2147483647)", Has("invalid value (nil)")),
            ("return select(-2147483648, 1)", Has("index out of range")),
            ("return string.sub('abc', -2147483648, 2147483647)", Has("abc")),
            ("return string.rep('ab', -2147483648)", Has("$0")),
        ],
    },
    Weakness {
        name: "CVE-2025-46819",
        met: "the signs of a long bracket are counted with their bound, and a text is no longer than a script may hold",
        inputs: &[
            ("return loadstring('return [' .. string.rep('=', 1000000) .. '[a]') == nil", Has(":1")),
            ("return loadstring('return [' .. string.rep('=', 1000) .. '[a]' .. string.rep('=', 1000) .. ']')()", Has("a")),
            ("[=", Has("ERR Error compiling script")),
        ],
    },
    Weakness {
        name: "CVE-2025-49844",
        met: "the name of a chunk lies on the stack while the chunk is compiled",
        inputs: &[(
            "for i = 1, 300 do
               loadstring('local a = ' .. i .. ' ' .. string.rep('a = a .. \"' .. i .. '\" ', 50), 'name ' .. i .. string.rep('n', 50))
               collectgarbage()
             end
             return 1",
            Has(":1"),
        )],
    },
    Weakness {
        name: "CVE-2025-67733",
        met: "the ends of lines in errors and states become blanks when they are written",
        inputs: &[
            ("return redis.error_reply('a\\r\\n+OK\\r\\n')", Has("-ERR a  +OK\r\n")),
            ("return {err = 'My a\\r\\n+OK'}", Has("-My a  +OK\r\n")),
            ("return {ok = 'a\\r\\n+OK'}", Has("+a  +OK\r\n")),
            ("return redis.status_reply('a\\r\\n-ERR b')", Has("+a  -ERR b\r\n")),
            ("error({err = 'My a\\r\\n+OK'})", Has("-My a  +OK")),
        ],
    },
    Weakness {
        name: "CVE-2026-23631",
        met: "a script keeps the engine to the end: nothing else changes data or libraries while it is asked for time",
        inputs: &[],
    },
    Weakness {
        name: "patterns that recurse without bound (no number)",
        met: "a pattern may use a part of the C stack, and says so when it needs more",
        inputs: &[
            (
                "return tostring(string.find(string.rep('a', 400000), string.rep('a?', 400000)))",
                Has("pattern too complex"),
            ),
            ("return tostring(string.find(string.rep('a', 100), string.rep('a?', 100)))", Has("1")),
            ("return string.match(string.rep('(', 100000), string.rep('(', 100000))", Any),
            ("return (string.gsub(string.rep('a', 300000), string.rep('a-', 300000), ''))", Has("pattern too complex")),
        ],
    },
    Weakness {
        name: "coroutines and calls that nest without bound (no number)",
        met: "nested C calls are counted through coroutines (in Lua 5.1.5 already)",
        inputs: &[
            ("local function f() return coroutine.wrap(f)() end return f()", Has("C stack overflow")),
            ("local function f() return pcall(f) end return tostring(f())", Any),
            ("local function f() return f() + 1 end return f()", Has("stack overflow")),
            ("local t = {} setmetatable(t, {__index = function(t, k) return t[k] end}) return t.x", Has("overflow")),
            ("return loadstring('return ' .. string.rep('(', 100000)) == nil", Has(":1")),
            ("return loadstring(string.rep('do ', 100000)) == nil", Has(":1")),
            ("return string.gsub('a', 'a', function() return string.gsub('a', 'a', string.upper) end)", Any),
        ],
    },
    Weakness {
        name: "formats (no number)",
        met: "width and precision have two digits, so an item fits its buffer",
        inputs: &[
            ("return string.format('%99999d', 1)", Has("invalid format")),
            ("return string.format('%.99999f', 1)", Has("invalid format")),
            ("return #string.format('%99.99f', -1e308)", Has(":")),
            ("return string.format('%s%s', 'a')", Has("no value")),
            ("return #string.format('%-#0 +99.99g', 1)", Has(":")),
            ("return string.format('%n', 1)", Has("invalid option")),
        ],
    },
];

#[test]
fn what_was_found_in_lua_does_nothing_here() {
    for Weakness { name, met, inputs } in WEAKNESSES {
        for (input, answer) in *inputs {
            let told = run(input);
            match answer {
                Any => assert!(told.ends_with("\r\n"), "{name} ({met}): {input}: {told}"),
                Has(part) => assert!(told.contains(part), "{name} ({met}): {input}: {told}"),
            }
        }
    }
}

#[test]
fn strings_that_differ_in_a_few_bytes_do_not_share_a_bucket() {
    // With every 32nd byte hashed, these 30,000 strings have some hundred hashes and take half a minute.
    let began = std::time::Instant::now();
    let told = run_within("return #redis.call('alike')", 256 << 20, &mut Fake::default());
    assert_eq!(told, ":30000\r\n");
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// Texts of 75 bytes that all have the same hash: fifteen times one of two pieces that lead from one state to the same other.
fn colliding() -> Vec<Vec<u8>> {
    let step = |hash: u32, byte: u8| hash ^ (hash << 5).wrapping_add(hash >> 2).wrapping_add(u32::from(byte));
    let (mut hash, mut texts) = (75_u32, vec![Vec::new()]);
    let mut random = 1_u64;
    for _ in 0..15 {
        let mut seen: HashMap<u32, [u8; 5]> = HashMap::new();
        let (end, one, other) = loop {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let piece: [u8; 5] = random.to_be_bytes()[..5].try_into().expect("five of eight");
            let end = piece.iter().fold(hash, |hash, byte| step(hash, *byte));
            match seen.insert(end, piece) {
                Some(known) if known != piece => break (end, known, piece),
                _ => {}
            }
        };
        hash = end;
        texts =
            texts.iter().flat_map(|text| [[text, &one[..]].concat(), [text, &other[..]].concat()]).collect();
    }
    // The hash is taken from the last byte to the first.
    texts.iter_mut().for_each(|text| text.reverse());
    texts
}

#[test]
fn strings_that_are_made_to_have_one_hash_do_not_share_a_bucket() {
    let mut host = Fake { values: colliding(), ..Fake::default() };
    assert_eq!(host.values.len(), 32_768);
    let began = std::time::Instant::now();
    assert_eq!(run_within("return #redis.call('values')", 256 << 20, &mut host), ":32768\r\n");
    // In one bucket they take four seconds on a fast machine.
    assert!(began.elapsed().as_millis() < 1500, "{:?}", began.elapsed());
}

#[test]
fn keys_of_a_table_come_in_the_order_of_redis() {
    let order = |make: &str| {
        run(&format!(
            "local t = {{}} {make} local o = {{}} for k in pairs(t) do o[#o + 1] = k:sub(-2) end return table.concat(o, ',')"
        ))
    };
    assert_eq!(
        order("for i = 1, 12 do t[('k'):rep(40 + i) .. i] = 1 end").lines().nth(1),
        Some("11,k5,k2,10,k7,k8,k1,12,k6,k9,k3,k4")
    );
    assert_eq!(
        order("for i = 1, 12 do t[('k'):rep(600 + i) .. i] = 1 end").lines().nth(1),
        Some("k6,10,k4,k3,k8,k7,11,k9,k5,k1,12,k2")
    );
}
