//! The `redis` library: calls into the host, and what scripts ask about themselves.

use base::number::{push_f64, push_i64};
use resp::Protocol;

use crate::convert::Incoming;
use crate::interpreter::{Limits, sha_of};
use crate::library;
use crate::raw::{Lua, LuaType, Outcome, Raise};
use crate::sandbox::Role;

const NO_ARGUMENT: &str = "Please specify at least one argument for this redis lib call";
const BAD_ARGUMENT: &str = "Lua redis lib command arguments must be strings or integers";

/// What a call costs beside what its command takes, and how long a unit of work takes, about.
const CALL_UNITS: usize = 20;
const NS_PER_UNIT: usize = 4;
/// How much of a line is kept for the log, which cuts what is longer.
const LOG_BYTES_MAX: usize = 1024;

/// Pushes the library's table.
pub(crate) fn open(lua: Lua, limits: &Limits, role: Role) {
    lua.push_table(0, 32);
    lua.set_function("call", |lua: Lua| {
        call(lua).and_then(|is_error| if is_error { Err(Raise) } else { Ok(1) })
    });
    lua.set_function("pcall", |lua: Lua| call(lua).map_or(Ok(1), |_| Ok(1)));
    lua.set_function("error_reply", error_reply);
    lua.set_function("status_reply", status_reply);
    lua.set_function("sha1hex", sha1hex);
    lua.set_function("setresp", set_resp);
    lua.set_function("set_repl", set_repl);
    lua.set_function("acl_check_cmd", acl_check_cmd);
    if role == Role::Script {
        lua.set_function("replicate_commands", |lua: Lua| give(lua, true));
        lua.set_function("breakpoint", |lua: Lua| give(lua, false));
        lua.set_function("debug", |_: Lua| Ok(0));
    }
    let sinks = [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];
    set_numbers(lua, &sinks);
    open_common(lua, limits);
}

/// Pushes the table that a library's chunk sees while it is loaded.
pub(crate) fn open_for_load(lua: Lua, limits: &Limits) {
    lua.push_table(0, 8);
    lua.set_function("register_function", library::register_function);
    open_common(lua, limits);
}

fn open_common(lua: Lua, limits: &Limits) {
    lua.set_function("log", log);
    set_numbers(lua, &[("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)]);
    set_numbers(lua, &[("REDIS_VERSION_NUM", limits.version_number)]);
    lua.push_bytes(limits.version.as_bytes());
    lua.set_field(-2, "REDIS_VERSION");
}

fn set_numbers(lua: Lua, numbers: &[(&str, u32)]) {
    for (name, value) in numbers {
        lua.push_number(f64::from(*value));
        lua.set_field(-2, name);
    }
}

fn give(lua: Lua, value: bool) -> Outcome {
    lua.push_boolean(value);
    Ok(1)
}

/// Runs a command; its reply, or an error's table, lies on the stack afterwards. True for an error's table.
fn call(lua: Lua) -> Result<bool, Raise> {
    let count = check_arguments(lua)?;
    let mut frames = lua.context().frames.take();
    lua.collect_before_call();
    let mut sink = Incoming::new(lua, &mut frames);
    let spent_ns =
        lua.with_argv(count, |argv| lua.with_host(|host| host.call(argv, &mut sink, lua.used_bytes())));
    let is_error = sink.finish();
    lua.context().frames.set(frames);
    lua.charge(CALL_UNITS + spent_ns.unwrap_or_default() as usize / NS_PER_UNIT)?;
    Ok(is_error)
}

/// Makes every argument a string; the number of them, or an error's table on the stack.
fn check_arguments(lua: Lua) -> Result<i32, Raise> {
    let count = lua.top();
    if count == 0 {
        lua.push_error(NO_ARGUMENT.as_bytes());
        return Err(Raise);
    }
    for index in 1..=count {
        match lua.kind(index) {
            LuaType::String => {}
            LuaType::Number => {
                let mut text = lua.context().scratch.take();
                text.clear();
                push_argument(&mut text, lua.number(index));
                lua.push_bytes(&text);
                lua.context().scratch.set(text);
                lua.replace(index);
            }
            _ => {
                lua.push_error(BAD_ARGUMENT.as_bytes());
                return Err(Raise);
            }
        }
    }
    Ok(count)
}

/// A number as a command's argument: whole ones without point or exponent as far as an integer reaches.
fn push_argument(text: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = (i64::MAX / 2) as f64;
    if value.is_nan() {
        text.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    } else if value.trunc() == value && value.abs() < EXACT {
        push_i64(text, value as i64);
    } else {
        push_f64(text, value);
    }
}

fn error_reply(lua: Lua) -> Outcome {
    if lua.top() != 1 || lua.kind(1) != LuaType::String {
        lua.push_error(b"wrong number or type of arguments");
        return Ok(1);
    }
    let text = lua.bytes(1).unwrap_or_default();
    if let Err(fault) = lua.admit(text.len() / 16, 3 * text.len()) {
        return lua.raise_fault(fault);
    }
    match text.first() {
        Some(b'-') => lua.push_error(text),
        _ => lua.push_error(&[b"-", text].concat()),
    }
    Ok(1)
}

fn status_reply(lua: Lua) -> Outcome {
    if lua.top() != 1 || lua.kind(1) != LuaType::String {
        lua.push_error(b"wrong number or type of arguments");
        return Ok(1);
    }
    lua.push_table(0, 1);
    lua.push_copy(1);
    lua.set_field(-2, "ok");
    Ok(1)
}

fn sha1hex(lua: Lua) -> Outcome {
    if lua.top() != 1 {
        return lua.raise_error("wrong number of arguments");
    }
    let text = lua.bytes(1).unwrap_or_default();
    lua.charge(text.len() / 2)?;
    lua.push_bytes(&sha_of(text));
    Ok(1)
}

fn log(lua: Lua) -> Outcome {
    let count = lua.top();
    if count < 2 {
        return lua.raise_error("redis.log() requires two arguments or more.");
    }
    if !lua.is_numeric(1) {
        return lua.raise_error("First argument must be a number (log level).");
    }
    let level = lua.number(1) as i64;
    if !(0..=3).contains(&level) {
        return lua.raise_error("Invalid log level.");
    }
    let mut message = Vec::new();
    for index in 2..=count {
        if let Some(part) = lua.bytes(index) {
            if index > 2 {
                message.push(b' ');
            }
            message.extend_from_slice(&part[..part.len().min(LOG_BYTES_MAX)]);
        }
        if message.len() >= LOG_BYTES_MAX {
            message.truncate(LOG_BYTES_MAX);
            break;
        }
    }
    lua.charge(CALL_UNITS)?;
    lua.with_host(|host| host.log(level, &message));
    Ok(0)
}

fn set_resp(lua: Lua) -> Outcome {
    if lua.top() != 1 {
        return lua.raise_error("redis.setresp() requires one argument.");
    }
    let protocol = match lua.number(1) as i64 {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => return lua.raise_error("RESP version must be 2 or 3."),
    };
    lua.context().protocol.set(protocol);
    Ok(0)
}

fn set_repl(lua: Lua) -> Outcome {
    if lua.top() != 1 {
        return lua.raise_error("redis.set_repl() requires one argument.");
    }
    let flags = lua.number(1) as i64;
    if flags & !3 != 0 {
        return lua
            .raise_error("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    }
    lua.with_host(|host| host.set_replication(flags));
    Ok(0)
}

fn acl_check_cmd(lua: Lua) -> Outcome {
    let count = check_arguments(lua)?;
    match lua.with_argv(count, |argv| lua.with_host(|host| host.acl_allows(argv))) {
        Some(Err(text)) => lua.raise_error(&text),
        Some(Ok(is_allowed)) => give(lua, is_allowed),
        None => give(lua, false),
    }
}
