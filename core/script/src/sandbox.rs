//! The globals that scripts see, and their protection.
//!
//! Stock Lua has no read-only tables. Each protected table is therefore an empty stand-in whose metatable
//! leads reads to the real one and refuses writes; the functions that would see through this (`next`, `pairs`,
//! `rawget`, `rawset`, `setmetatable`, `table.insert`) are ours. Removed are all functions that reach files or
//! code on disk, and `getfenv`, `setfenv` and `newproxy`: the first two would let a script change what the next
//! one sees, and a finalizer of a script's own would run in the middle of our code.

use crate::convert::NAMES;
use crate::raw::{Lua, LuaType, Machine, Outcome, Raise, Reference};
use crate::{Limits, api, bit, json, msgpack, random, structs};

/// What runs in a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Scripts of EVAL.
    Script,
    /// Functions of libraries.
    Function,
}

const REMOVED: [&str; 7] = ["dofile", "loadfile", "print", "getfenv", "setfenv", "newproxy", "os"];
const LIBRARIES: [&str; 10] =
    ["string", "table", "math", "coroutine", "os", "redis", "cjson", "cmsgpack", "struct", "bit"];
/// What a collection costs at least, in units of work.
const COLLECT_UNITS: usize = 1_000;
const READ_ONLY: &str = "Attempt to modify a readonly table";

/// `load` through `loadstring`, so that there is one place where text becomes code.
const LOAD: &[u8] = b"local loadstring, type, concat, pcall, error = ...
return function(reader, name)
  local parts = {}
  local done, message = pcall(function()
    repeat
      local part = reader()
      if part ~= nil and type(part) ~= 'string' then error('reader function must return a string', 0) end
      parts[#parts + 1] = part
    until part == nil or part == ''
  end)
  if not done then return nil, message end
  return loadstring(concat(parts), name or '=(load)')
end";

/// A fresh machine with everything open. It leaves the real table of globals on the stack, which is else empty.
pub(crate) fn machine(limits: &Limits, role: Role) -> Machine {
    let machine = Machine::new(limits.memory_bytes, limits.numbers.clone());
    let lua = machine.lua();
    lua.context().names.set(NAMES.map(|name| {
        lua.push_bytes(name.as_bytes());
        lua.keep()
    }));
    open(lua, limits, role);
    machine
}

/// Keeps the globals that a library's chunk sees while it is loaded: little more than
/// `redis.register_function`. The stack is as `machine` left it.
pub(crate) fn keep_load_globals(lua: Lua, limits: &Limits) -> Reference {
    lua.push_table(0, 2);
    api::open_for_load(lua, limits);
    refuse_missing(lua, -2);
    protect(lua);
    lua.push_copy(-1);
    lua.set_field(-3, "redis");
    lua.set_field(-2, "server");
    refuse_missing(lua, -2);
    lua.keep()
}

/// Lets chunks see `globals`, a kept table, from now on.
pub(crate) fn show_globals(lua: Lua, globals: Reference) {
    lua.push_globals();
    if lua.push_metatable(-1) {
        lua.push_kept(globals);
        lua.set_field(-2, "__index");
        lua.pop(1);
    }
    lua.pop(1);
}

fn open(lua: Lua, limits: &Limits, role: Role) {
    lua.open_libraries();
    lua.open_os();
    lua.push_globals();
    lua.push_field(1, "os");
    lua.push_field(-1, "clock");
    for name in REMOVED {
        lua.push_nil();
        lua.set_field(1, name);
    }
    lua.push_table(0, 1);
    lua.insert(-2);
    lua.set_field(-2, "clock");
    lua.set_field(1, "os");
    lua.set_top(1);

    let libraries: [(&str, &dyn Fn(Lua)); 5] = [
        ("redis", &|lua| api::open(lua, limits, role)),
        ("cjson", &|lua| json::open(lua)),
        ("cmsgpack", &|lua| msgpack::open(lua)),
        ("struct", &|lua| structs::open(lua)),
        ("bit", &|lua| bit::open(lua)),
    ];
    for (name, open) in libraries {
        open(lua);
        lua.set_field(1, name);
    }
    lua.set_basics();
    lua.set_function("collectgarbage", collect_garbage);
    lua.set_function("loadstring", load_string);
    lua.set_function("getmetatable", get_metatable);
    lua.push_field(1, "math");
    random::open(lua);
    lua.pop(1);
    lua.push_field(1, "table");
    lua.set_function("insert", insert);
    lua.pop(1);
    open_load(lua);
    protect_all(lua);
}

fn open_load(lua: Lua) {
    if lua.compile(LOAD, c"=load").is_ok() {
        lua.push_field(1, "loadstring");
        lua.push_field(1, "type");
        lua.push_field(1, "table");
        lua.push_field(-1, "concat");
        lua.replace(-2);
        lua.push_field(1, "pcall");
        lua.push_field(1, "error");
        lua.call_prelude(5, 1);
        lua.set_field(1, "load");
    }
}

/// Puts stand-ins for the libraries and for the globals into place.
fn protect_all(lua: Lua) {
    for name in LIBRARIES {
        lua.push_field(1, name);
        protect(lua);
        lua.set_field(1, name);
    }
    // Valkey's name of the same table.
    lua.push_field(1, "redis");
    lua.set_field(1, "server");
    // The metatable of strings is shared by all scripts.
    lua.push_bytes(b"");
    if lua.push_metatable(-1) {
        lua.push_table(0, 1);
        lua.push_field(1, "string");
        lua.set_field(-2, "__index");
        protect(lua);
        lua.set_field(-2, "__metatable");
        lua.pop(1);
    }
    lua.pop(1);
    // Missing globals are errors, in the real table; the stand-in becomes what chunks and `_G` see.
    refuse_missing(lua, 1);
    lua.push_copy(1);
    protect(lua);
    if lua.push_metatable(-1) {
        lua.push_table(0, 0);
        protect(lua);
        lua.set_field(-2, "__metatable");
        lua.pop(1);
    }
    lua.push_copy(-1);
    lua.set_field(1, "_G");
    lua.set_globals();
    lua.set_top(1);
}

/// Makes it an error to read a field that the table at `index` does not have.
fn refuse_missing(lua: Lua, index: i32) {
    lua.push_table(0, 1);
    lua.set_function("__index", missing_global);
    lua.set_metatable(index);
}

/// Replaces the table on top by its stand-in, which shows no metatable.
fn protect(lua: Lua) {
    lua.push_table(0, 0);
    lua.push_table(0, 4);
    lua.push_copy(-3);
    lua.set_field(-2, "__index");
    lua.set_function("__newindex", |lua: Lua| lua.raise(READ_ONLY));
    lua.mark_protected(-3);
    lua.set_metatable(-2);
    lua.remove(-2);
}

/// `getmetatable`: a stand-in has none unless it tells one.
fn get_metatable(lua: Lua) -> Outcome {
    if lua.kind(1) == LuaType::None {
        return lua.raise_argument(1, "value expected");
    }
    if !lua.push_metatable(1) {
        lua.push_nil();
        return Ok(1);
    }
    lua.push_field(-1, "__metatable");
    if lua.kind(-1) == LuaType::Nil && !lua.is_protected(1) {
        lua.pop(1);
    }
    Ok(1)
}

fn missing_global(lua: Lua) -> Outcome {
    let mut text = b"Script attempted to access nonexistent global variable '".to_vec();
    match lua.bytes(2) {
        Some(name) => text.extend_from_slice(name),
        None => text.extend_from_slice(lua.type_name(2).as_bytes()),
    }
    text.push(b'\'');
    lua.raise(text)
}

/// Only asking and collecting: stopping the collector would outlive the script.
fn collect_garbage(lua: Lua) -> Outcome {
    let answer = match lua.bytes(1) {
        None | Some(b"collect") => {
            lua.charge(COLLECT_UNITS + lua.used_bytes() / 32)?;
            lua.collect();
            0.0
        }
        Some(b"count") => lua.used_bytes() as f64 / 1024.0,
        Some(b"step") => {
            lua.charge(COLLECT_UNITS)?;
            let is_done = lua.collect_step(0);
            lua.push_boolean(is_done);
            return Ok(1);
        }
        Some(b"stop" | b"restart" | b"setpause" | b"setstepmul") => 0.0,
        Some(other) => {
            let text = format!("invalid option '{}'", String::from_utf8_lossy(other));
            return lua.raise_argument(1, &text);
        }
    };
    lua.push_number(answer);
    Ok(1)
}

fn load_string(lua: Lua) -> Outcome {
    let Some(source) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    let name = lua.bytes(2).unwrap_or(source);
    let name = name.split(|&c| c == 0).next().unwrap_or_default();
    let name = std::ffi::CString::new(name).unwrap_or_default();
    if lua.compile(source, &name).is_err() {
        if lua.is_killed() {
            return Err(Raise);
        }
        lua.push_nil();
        lua.insert(-2);
        return Ok(2);
    }
    Ok(1)
}

/// `table.insert`, which would else write into a stand-in.
fn insert(lua: Lua) -> Outcome {
    if lua.kind(1) != LuaType::Table {
        return lua.raise_type(1, "table");
    }
    if lua.is_protected(1) {
        return lua.raise_plain(READ_ONLY.as_bytes());
    }
    let end = lua.length(1) as i32 + 1;
    match lua.top() {
        2 => lua.set_item(1, end),
        3 => {
            if !lua.is_numeric(2) {
                return lua.raise_type(2, "number");
            }
            let at = lua.number(2) as i64 as i32;
            for n in (at.saturating_add(1)..=end.max(at)).rev() {
                lua.charge(4)?;
                lua.push_item(1, n - 1);
                lua.set_item(1, n);
            }
            lua.set_item(1, at);
        }
        _ => return lua.raise("wrong number of arguments to 'insert'"),
    }
    Ok(0)
}
