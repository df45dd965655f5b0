//! Lua's own functions as Redis changed them, and tables that scripts can only read.

use std::ffi::{c_int, c_void};

use mlua_sys as ffi;

use super::{Lua, context_of};

impl Lua {
    /// Marks the metatable on top: what it guards is read-only and stands for the table at `backing`.
    pub(crate) fn mark_protected(self, backing: c_int) {
        // SAFETY: there is room; a table lies on top.
        unsafe {
            let backing = self.absolute(backing);
            ffi::lua_pushlightuserdata(self.raw(), protected_mark());
            ffi::lua_pushvalue(self.raw(), backing);
            ffi::lua_rawset(self.raw(), -3);
        }
    }

    /// Sets fields of the table on top to those of Lua's own functions that must know protected tables.
    pub(crate) fn set_basics(self) {
        // SAFETY: a table lies on top, there is room.
        unsafe {
            ffi::lua_pushcclosure(self.raw(), next, 0);
            ffi::lua_pushvalue(self.raw(), -1);
            ffi::lua_pushcclosure(self.raw(), pairs, 1);
        }
        self.set_field(-3, "pairs");
        self.set_field(-2, "next");
        let functions: [(&str, ffi::lua_CFunction); 5] = [
            ("pcall", pcall),
            ("xpcall", xpcall),
            ("rawget", rawget),
            ("rawset", rawset),
            ("setmetatable", setmetatable),
        ];
        for (name, function) in functions {
            // SAFETY: there is room.
            unsafe { ffi::lua_pushcclosure(self.raw(), function, 0) };
            self.set_field(-2, name);
        }
    }

    /// Puts the table that a protected one stands for in its place on top; any other value stays.
    pub(crate) fn see_through(self) {
        // SAFETY: a value lies on top and there is room; in our mode nothing here can raise.
        if unsafe { push_backing(self.raw(), -1) } {
            self.replace(-2);
        }
    }

    /// Whether the value is a protected table's stand-in.
    pub(crate) fn is_protected(self, index: c_int) -> bool {
        // SAFETY: a valid index and room; in our mode nothing here can raise.
        let is_protected = unsafe { push_backing(self.raw(), index) };
        if is_protected {
            self.pop(1);
        }
        is_protected
    }
}

/// `pcall` as Redis changed it: an error table with a text is given to the script as that text. Written
/// against C because script code runs inside it: it owns nothing, so errors may pass through.
unsafe extern "C-unwind" fn pcall(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: plain stack work within the slots that a function has; no Rust value lives across a call.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count == 0 {
            ffi::luaL_checkany(state, 1);
        }
        ffi::lua_pushboolean(state, 1);
        ffi::lua_insert(state, 1);
        if ffi::lua_pcall(state, count - 1, ffi::LUA_MULTRET, 0) == ffi::LUA_OK {
            return ffi::lua_gettop(state);
        }
        if context_of(state).killed.get().is_some() {
            ffi::lua_error(state);
        }
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushstring_(state, c"err".as_ptr());
            ffi::lua_rawget_(state, -2);
            if ffi::lua_type(state, -1) != ffi::LUA_TSTRING {
                ffi::lua_settop(state, -2);
            }
        }
        ffi::lua_pushboolean(state, 0);
        ffi::lua_insert(state, -2);
        2
    }
}

/// The address under which a guarding metatable names the table it stands for. Scripts cannot make it.
fn protected_mark() -> *mut c_void {
    static MARK: u8 = 0;
    (&raw const MARK).cast_mut().cast()
}

/// Pushes the table that a protected one stands for; nothing when `index` is an ordinary value.
///
/// # Safety
/// The state is running, `index` is valid, and three slots are free. May raise for want of memory.
unsafe fn push_backing(state: *mut ffi::lua_State, index: c_int) -> bool {
    // SAFETY: the caller vouches for it.
    unsafe {
        if ffi::lua_getmetatable(state, index) == 0 {
            return false;
        }
        ffi::lua_pushlightuserdata(state, protected_mark());
        ffi::lua_rawget_(state, -2);
        ffi::lua_remove(state, -2);
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            return true;
        }
        ffi::lua_settop(state, -2);
        false
    }
}

// The five functions below are Lua's own, except that a protected table reads as what it stands for and
// cannot be changed. They are written against C like `pcall`, because Lua may raise inside them.

unsafe extern "C-unwind" fn next(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: plain stack work; this frame owns nothing, so errors may pass through.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 2);
        if push_backing(state, 1) {
            ffi::lua_replace(state, 1);
        }
        if ffi::lua_next(state, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}

unsafe extern "C-unwind" fn pairs(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `next`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}

unsafe extern "C-unwind" fn rawget(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `next`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        if push_backing(state, 1) {
            ffi::lua_replace(state, 1);
        }
        ffi::lua_rawget_(state, 1);
        1
    }
}

unsafe extern "C-unwind" fn rawset(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `next`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::luaL_checkany(state, 3);
        ffi::lua_settop(state, 3);
        raise_when_protected(state);
        ffi::lua_rawset(state, 1);
        1
    }
}

unsafe extern "C-unwind" fn setmetatable(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `next`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let kind = ffi::lua_type(state, 2);
        if kind != ffi::LUA_TNIL && kind != ffi::LUA_TTABLE {
            ffi::luaL_argerror(state, 2, c"nil or table expected".as_ptr());
        }
        ffi::lua_settop(state, 2);
        raise_when_protected(state);
        if ffi::luaL_getmetafield_(state, 1, c"__metatable".as_ptr()) != 0 {
            ffi::luaL_error(state, c"cannot change a protected metatable".as_ptr());
        }
        ffi::lua_setmetatable(state, 1);
        1
    }
}

/// Raises when the first argument is a protected table.
///
/// # Safety
/// As for `push_backing`; no frame between this and Lua owns anything.
unsafe fn raise_when_protected(state: *mut ffi::lua_State) {
    // SAFETY: the caller vouches for it.
    unsafe {
        if push_backing(state, 1) {
            ffi::lua_pushstring_(state, c"Attempt to modify a readonly table".as_ptr());
            ffi::lua_error(state);
        }
    }
}

/// `xpcall` whose handler does not run for a killed script: it would run inside the hook, where no hook could
/// end it.
unsafe extern "C-unwind" fn xpcall(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `pcall`.
    unsafe {
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        ffi::lua_pushcclosure(state, handle, 1);
        ffi::lua_insert(state, 1);
        let status = ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 1);
        if status != ffi::LUA_OK && context_of(state).killed.get().is_some() {
            ffi::lua_error(state);
        }
        ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

unsafe extern "C-unwind" fn handle(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `pcall`.
    unsafe {
        if context_of(state).killed.get().is_none() {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
            ffi::lua_insert(state, 1);
            ffi::lua_call(state, 1, 1);
        }
        1
    }
}
