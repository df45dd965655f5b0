//! What a script may take: time, memory, replies, and what it leaves for the next one.

use crate::support::{Fake, KILLED, run_with, run_within};
use std::sync::mpsc;
use std::time::Duration;

use resp::CUT;
use tandem_script::{Interpreter, Limits};

const MEMORY: usize = 64 << 20;

/// What would run for hours, or for ever, if it were not asked.
const ENDLESS: &[&str] = &[
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "while true do pcall(pcall, pcall, error) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    // Coroutines that end before a hook of theirs would have run.
    "while true do local c = coroutine.wrap(function() for i = 1, 1000 do end end) c() end",
    "while true do coroutine.resume(coroutine.create(function() error('x') end)) end",
    "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "while true do collectgarbage() end",
    "while true do collectgarbage('step') end",
    "while true do local s = string.rep('', 2147483647) end",
    "while true do local s = string.rep('x', 1000000) end",
    "local s = string.rep('x', 3000000) while true do local t = s .. 'y' end",
    "local s = string.rep('x', 3000000) local kept = s .. 'y' while true do local t = s .. 'y' end",
    "local s = string.rep('x', 3000000) local kept = s:sub(2) while true do local t = s:sub(2) end",
    "local s = string.rep('x', 3000000) local kept = s:upper() while true do local t = s:upper() end",
    "table.insert({}, -2147483647, 1)",
    "local t = {} while true do pcall(table.insert, t, -2147483647, 1) end",
    "return string.find(string.rep('a', 1000000), '.-.-.-.-b')",
    "return string.gsub(string.rep('a', 1000000), '.-.-.-.-b', '')",
    "for w in string.gmatch(string.rep('a', 1000000), '.-.-.-.-b') do end",
    "return string.match(string.rep('a', 1000000), '(.-)%1%1%1%1b')",
    "return string.find(string.rep('(', 1000000), '%b()')",
    "return string.find(string.rep('a', 1000000), '[' .. string.rep('b', 1000000) .. ']')",
    "local s, n = string.rep('a', 3000000), string.rep('a', 4000000) .. 'b' while true do s:find(n, 1, true) end",
    "local s = string.rep('a', 3000000) while true do s:find('b', 1, true) end",
    "local s = string.rep('1', 3000000) while true do local n = tonumber(s) end",
    "local s = string.rep('1', 3000000) while true do local n = tonumber(s, 16) end",
    "local s = string.rep(' ', 3000000) while true do local ok = pcall(function() return s + 1 end) end",
    "local a, b = string.rep('a', 3000000) .. 'x', string.rep('a', 3000000) .. 'y' while true do local c = a < b end",
    "local t = {} for i = 1, 200000 do t[i] = i end for i = 1, 200000 do t[i] = nil end while true do next(t) end",
    "local t = {} for i = 1, 400000 do t['k' .. i] = i end for k in pairs(t) do t[k] = nil end while true do next(t) end",
    "local t = {} for i = 1, 200000 do t[i] = i end while true do table.maxn(t) end",
    "local t = {} for i = 1, 200000 do t[i] = i end while true do table.remove(t, 1) t[#t + 1] = 1 end",
    "local t = {} for i = 1, 200000 do t[i] = i end while true do table.sort(t) end",
    "local t = {} for i = 1, 200000 do t[i] = 'x' end while true do table.concat(t) end",
    "local t = {} for i = 1, 200000 do t[i] = 1 end while true do table.foreachi(t, type) end",
    "local t = {} for i = 1, 200000 do t[i] = 1 end while true do table.foreach(t, type) end",
    "local t = {} for i = 1, 7000 do t[i] = i end while true do unpack(t) end",
    "local t = {} t[1] = t t[2] = t cjson.encode_max_depth(2000) while true do pcall(cjson.encode, t) end",
    "local t = {} for i = 1, 16 do t = {t, t, t, t, t} end return cmsgpack.pack(t)",
    "local t = {} for i = 1, 30 do t = {t, t, t} end return t",
    "local t = {} t[1] = t t[2] = t return t",
    "local t = {} t.map = t return t",
    "local s = '[' .. string.rep('1,', 1000000) .. '1]' while true do cjson.decode(s) end",
    "local s = '\"' .. string.rep('x', 3000000) .. '\"' while true do cjson.decode(s) end",
    "local s = string.rep('x', 3000000) while true do redis.sha1hex(s) end",
    "local s = string.rep('x', 3000000) while true do struct.unpack('s', s .. '\\0') end",
    "local f = string.rep('x', 3000000) while true do struct.size(f) end",
    "while true do redis.call('slow') end",
    "while true do redis.pcall('echo', 'a') end",
    "while true do redis.log(redis.LOG_WARNING, 'x') end",
    "local s = 'return 1 ' .. string.rep(' ', 3000000) while true do loadstring(s) end",
    "local s = string.rep('local function f() ', 150) .. string.rep('a = a ', 1000000) loadstring(s)",
    "while true do string.format('%s', string.rep('x', 100000)) end",
    "while true do error_reply = nil end",
    "local f = loadstring('local x = ... ' .. string.rep('x = 1 ', 300000) .. ' x.y.z = 1') while true do pcall(f) end",
];

#[test]
fn whatever_a_script_does_it_can_be_ended() {
    // A quantum of work is some hundred microseconds; this is for the slowest machine, with what comes before.
    const PATIENCE: Duration = Duration::from_secs(60);
    for source in ENDLESS {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut host = Fake { patience: Some(20), ..Fake::default() };
            // Nobody listens any more when it has taken too long.
            let _ = tell.send(run_within(source, MEMORY, &mut host));
        });
        let told = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{source}: it goes on and on"));
        assert!(told.contains(KILLED) || told.contains("ERR"), "{source}: {told:.200}");
    }
}

#[test]
fn a_long_text_can_be_given_up_while_it_is_compiled() {
    let source = "a = 1 ".repeat(1_000_000);
    let mut host = Fake { patience: Some(20), ..Fake::default() };
    let told = run_within(&source, 512 << 20, &mut host);
    assert!(told.starts_with("-ERR Script killed"), "{:.200}", told);
    assert_eq!(host.asked, 21, "the first question that says so ends it");
}

#[test]
fn garbage_is_collected_before_it_is_short_and_after_a_run() {
    let mut lua = Interpreter::new(Limits { memory_bytes: MEMORY, ..Limits::default() });
    let before = lua.memory_bytes();
    let mut host = Fake { is_short: true, ..Fake::default() };
    let source = "for i = 1, 20 do local s = string.rep('x', 8000000 + i) end return redis.call('echo', 'a')";
    assert_eq!(run_with(&mut lua, source.as_bytes(), &mut host, usize::MAX), b"$1\r\na\r\n");
    assert!(host.held_bytes < before + (12 << 20), "before a command: {}", host.held_bytes);
    let told = run_with(&mut lua, b"local s = string.rep('x', 10000000) return #s", &mut host, usize::MAX);
    assert_eq!(told, b":10000000\r\n");
    assert!(lua.memory_bytes() < before + (1 << 20), "after a run: {}", lua.memory_bytes());
    // What was still needed when it was collected in the middle is garbage at the end.
    let source = "local s = string.rep('x', 20000000) local t = string.rep('y', 20000000) return redis.call('echo', 'a')";
    run_with(&mut lua, source.as_bytes(), &mut host, usize::MAX);
    assert!(lua.memory_bytes() < before + (1 << 20), "after a run: {}", lua.memory_bytes());
}

#[test]
fn what_libraries_build_and_what_commands_answer_counts_as_memory() {
    for source in [
        "local s = string.rep('x', 10000000) local t = {} for i = 1, 30 do t[i] = s end return #cjson.encode(t)",
        "local s = string.rep('\\1', 10000000) local t = {} for i = 1, 30 do t[i] = s end return #cjson.encode(t)",
        "local s = string.rep('x', 10000000) local t = {} for i = 1, 30 do t[i] = s end return #cmsgpack.pack(t)",
        "local s = string.rep('x', 10000000) return #struct.pack(string.rep('s', 30), unpack((function() local t = {} \
         for i = 1, 30 do t[i] = s end return t end)()))",
        "return #redis.call('many')",
        "return cjson.encode((function() cjson.encode_sparse_array(true, 0, 2147483647) return {[2147483647] = 1} end)())",
    ] {
        let told = run_within(source, MEMORY, &mut Fake::default());
        let is_refused = ["not enough memory", "too large", "sparse"].iter().any(|part| told.contains(part));
        assert!(is_refused, "{source}: {told:.200}");
    }
}

#[test]
fn a_reply_ends_where_its_receiver_takes_no_more() {
    let mut lua = Interpreter::new(Limits { memory_bytes: MEMORY, ..Limits::default() });
    let source = "local s = string.rep('x', 1000000) local t = {} for i = 1, 3000 do t[i] = s end return t";
    let out = run_with(&mut lua, source.as_bytes(), &mut Fake::default(), 5_000_000);
    assert!(out.ends_with(CUT) && out.len() < 6_100_000, "{}", out.len());
    // Killed while it is sent: nothing of it is left.
    let mut host = Fake { patience: Some(10), ..Fake::default() };
    let out = run_with(&mut lua, b"local t = {} t[1] = t t[2] = t return t", &mut host, usize::MAX);
    assert_eq!(String::from_utf8_lossy(&out), "-ERR Script killed\r\n");
}

#[test]
fn scripts_that_are_kept_leave_room_for_those_that_run() {
    let mut lua = Interpreter::new(Limits { memory_bytes: MEMORY, ..Limits::default() });
    let kept = lua.load(b"return 'kept'", tandem_script::Origin::Load, &mut Fake::default()).unwrap();
    for n in 0..100 {
        let source = format!("local a = {n} {} return {n}", "a = a + 1 ".repeat(100_000));
        let told = run_with(&mut lua, source.as_bytes(), &mut Fake::default(), usize::MAX);
        assert_eq!(String::from_utf8_lossy(&told), format!(":{n}\r\n"));
    }
    assert!(lua.contains(&kept) && lua.evicted() > 0);
    let told = run_with(&mut lua, b"return #string.rep('x', 14000000)", &mut Fake::default(), usize::MAX);
    assert_eq!(told, b":14000000\r\n");
}

#[test]
fn lines_for_the_log_are_cut() {
    let mut host = Fake::default();
    run_within("redis.log(redis.LOG_WARNING, 'a', string.rep('x', 10000000), 'b')", MEMORY, &mut host);
    assert_eq!(host.lines.len(), 1);
    assert_eq!(host.lines[0].len(), 1024);
    assert!(host.lines[0].starts_with(b"a xxx"));
}

#[test]
fn nobody_changes_what_the_next_script_gets() {
    let mut lua = Interpreter::new(Limits::default());
    let mut run = |source: &str| {
        String::from_utf8(run_with(&mut lua, source.as_bytes(), &mut Fake::default(), usize::MAX)).unwrap()
    };
    let pi = "return cjson.encode(3.14159)";
    assert_eq!(run(pi), "$7\r\n3.14159\r\n");
    assert_eq!(run("cjson.encode_number_precision(3) return cjson.encode(3.14159)"), "$4\r\n3.14\r\n");
    assert_eq!(run(pi), "$7\r\n3.14159\r\n");
    assert_eq!(
        run("cjson.decode_max_depth(1) cjson.encode_max_depth(1) cjson.encode_invalid_numbers(true)"),
        "$-1\r\n"
    );
    assert_eq!(run("return cjson.encode(cjson.decode('[[[1]]]'))"), "$7\r\n[[[1]]]\r\n");
    assert!(run("return cjson.encode(1/0)").contains("must not be NaN or Inf"));
    assert_eq!(
        run("local c = cjson.new() c.encode_number_precision(3) return c.encode(3.14159)"),
        "$4\r\n3.14\r\n"
    );
}
