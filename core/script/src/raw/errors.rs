//! Errors of scripts: how they are raised, and where in a script they come from.

use std::ffi::{CStr, c_char, c_int};

use mlua_sys as ffi;

use super::{Fault, Lua, LuaType, Outcome, Raise};

impl Lua {
    /// Raises a table whose `err` is `text`, with the code `ERR` unless `text` brings its own as `-CODE text`.
    pub(crate) fn raise_error(self, text: &str) -> Outcome {
        self.push_error(text.as_bytes());
        Err(Raise)
    }

    /// Pushes what `raise_error` raises.
    pub(crate) fn push_error(self, text: &[u8]) {
        let mut message = Vec::with_capacity(text.len() + 4);
        match text.strip_prefix(b"-") {
            Some(coded) if coded.contains(&b' ') => message.extend_from_slice(coded),
            Some(coded) => message.extend([b"ERR ", coded].concat()),
            None => message.extend([b"ERR ", text].concat()),
        }
        self.push_table(0, 3);
        self.push_bytes(message.trim_ascii_end_of_line());
        self.set_field(-2, "err");
    }

    /// Raises `text` as it is.
    pub(crate) fn raise_plain(self, text: &[u8]) -> Outcome {
        self.push_bytes(text);
        Err(Raise)
    }

    /// Raises `text` with the calling line before it, as Lua's own libraries do.
    pub(crate) fn raise(self, text: impl AsRef<[u8]>) -> Outcome {
        // SAFETY: there is room; in our mode building the text cannot fail.
        unsafe { ffi::luaL_where(self.raw(), 1) };
        self.push_bytes(text.as_ref());
        self.concat(2);
        Err(Raise)
    }

    /// Raises what ended a function of ours.
    pub(crate) fn raise_fault(self, fault: Fault) -> Outcome {
        match fault {
            Fault::Text(text) => self.raise(text),
            Fault::Raised => Err(Raise),
        }
    }

    /// Raises "bad argument", naming the running function.
    pub(crate) fn raise_argument(self, n: c_int, text: &str) -> Outcome {
        let name = self.level(0).and_then(|level| level.name).unwrap_or_else(|| "?".into());
        self.raise(format!("bad argument #{n} to '{name}' ({text})"))
    }

    /// Raises "bad argument" for a value of a wrong type.
    pub(crate) fn raise_type(self, n: c_int, expected: &str) -> Outcome {
        let found = self.type_name(n);
        self.raise_argument(n, &format!("{expected} expected, got {found}"))
    }

    /// The name of the type of the value at `index`.
    pub(crate) fn type_name(self, index: c_int) -> &'static str {
        match self.kind(index) {
            LuaType::Nil => "nil",
            LuaType::Boolean => "boolean",
            LuaType::Light | LuaType::Userdata => "userdata",
            LuaType::Number => "number",
            LuaType::String => "string",
            LuaType::Table => "table",
            LuaType::Function => "function",
            LuaType::Thread => "thread",
            LuaType::None => "no value",
        }
    }

    /// Who is running: level 0 is the current function, 1 its caller, and so on.
    pub(crate) fn level(self, level: c_int) -> Option<Level> {
        // SAFETY: lua_Debug is plain data that lua_getstack and lua_getinfo fill; the texts it points to live
        // as long as the function, which is running, and are copied at once.
        unsafe {
            let mut info: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.raw(), level, &mut info) == 0 {
                return None;
            }
            ffi::lua_getinfo(self.raw(), c"nSl".as_ptr(), &mut info);
            Some(Level {
                is_foreign: text(info.what).as_deref() == Some("C"),
                source: text(info.source).unwrap_or_default(),
                line: info.currentline,
                name: text(info.name),
            })
        }
    }
}

/// A function that is running.
pub(crate) struct Level {
    /// Whether it is not written in Lua.
    pub(crate) is_foreign: bool,
    /// The name of its chunk, with its `@` or `=`.
    pub(crate) source: String,
    /// The line it is at, or -1.
    pub(crate) line: c_int,
    /// How its caller calls it.
    pub(crate) name: Option<String>,
}

/// A copy of a C text.
///
/// # Safety
/// `start` is null or points to a text that ends with a zero byte.
unsafe fn text(start: *const c_char) -> Option<String> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    Some(unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned())
}

trait TrimLine {
    fn trim_ascii_end_of_line(&self) -> &[u8];
}

impl TrimLine for [u8] {
    fn trim_ascii_end_of_line(&self) -> &[u8] {
        let kept = self.iter().rposition(|c| !matches!(c, b'\r' | b'\n')).map_or(0, |last| last + 1);
        &self[..kept]
    }
}
