//! The Lua machine behind a thin layer: the only file of this crate that calls C.
//!
//! A safe layer costs some 0.4 us a script (mlua's was measured), which is a fifth of what a whole EVALSHA may cost here,
//! so the C interface is used directly and everything foreign is kept in this one place. The sources of Lua are built
//! with corrections of ours (`build/corrections.rs`), two of which are used here: the budget and the floor.
//!
//! The *budget* of a state is how many units of work (an instruction is one) are left until the host is asked whether
//! the script may go on. Instructions and all loops in C take from it, and so do all loops of ours by [`Lua::charge`]:
//! whatever a script does, the host is asked after some hundred microseconds, and it looks at the clock. The *floor* is
//! how far the C stack may reach down where C recurses in proportion to what a script gave it.
//!
//! Invariants that every SAFETY note below leans on:
//! - *Our mode.* While Rust code of ours runs (`Context::ours`), an allocation for Lua never fails: it may
//!   pass the limit for a moment, and a refusal by the system ends the process as it does everywhere in
//!   Rust. Lua raises errors with `longjmp`; in our mode no call made here can raise, because none runs out
//!   of memory, none meets a metamethod (raw access only) and none runs script code. So no Rust frame with
//!   destructors is ever jumped over. The limit is enforced where Lua's own C code runs, and on the way out.
//! - A function of ours returns its error as `Err(Raise)` with the value on the stack; only the outermost
//!   frame, which owns nothing, raises it. A panic is caught there, and continued in `Machine::protected`.
//! - Whoever pushes has room: 20 slots at the start of a function, more after `reserve`.
//! - A slice borrowed from a Lua string is used only while that string stays on the Lua stack.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{NonNull, null_mut};

use mlua_sys as ffi;
use resp::Protocol;

use crate::convert::{Frame, NAMES, Name};
use crate::library::Registered;
use crate::{Host, Interrupt};

/// How many units of work lie between two questions to the host. An instruction is one; all take some 3 ns.
const QUANTUM: isize = 20_000;
/// The most that Lua may hold: its lengths are C ints.
const LIMIT_BYTES_MAX: usize = i32::MAX as usize;
/// What may come since the last collection before one is made out of turn.
const GARBAGE_BYTES: usize = 4 << 20;
/// How much of the C stack a script may use; frames of a build without optimisation are large.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 3 << 19 } else { 1 << 20 };
/// How many bytes of a text are handed to the compiler between two questions.
const PIECE_BYTES: usize = 4096;
/// Lua's most strictly aligned type is a double or a pointer.
const ALIGNMENT: usize = 8;

unsafe extern "C-unwind" {
    /// Sets who is asked when the budget is used up; it has to set a new one, and may raise.
    fn tandem_set_tick(state: *mut ffi::lua_State, tick: ffi::lua_CFunction);
    /// Where the budget lies, as long as the state lives.
    fn tandem_budget(state: *mut ffi::lua_State) -> *mut isize;
    /// Sets the floor.
    fn tandem_set_floor(state: *mut ffi::lua_State, floor: *const c_char);
    /// Gives back the buffer in which texts are joined. Not while they are.
    fn tandem_give_back(state: *mut ffi::lua_State);
}

/// An error value lies on top of the Lua stack, to be raised by the outermost frame.
#[derive(Debug)]
pub(crate) struct Raise;

/// What ends a function of ours before its end.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A text to be raised with its place.
    Text(String),
    /// The error value lies on top of the stack already.
    Raised,
}

impl From<String> for Fault {
    fn from(text: String) -> Fault {
        Fault::Text(text)
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Fault {
        Fault::Text(text.to_owned())
    }
}

impl From<Raise> for Fault {
    fn from(_: Raise) -> Fault {
        Fault::Raised
    }
}

/// What Lua says when there is no memory left.
pub(crate) const NO_MEMORY: &str = "not enough memory";

/// What a function gives back to Lua: how many results lie on top of the stack, or an error.
pub(crate) type Outcome = Result<usize, Raise>;

/// The types of Lua values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LuaType {
    Nil,
    Boolean,
    Light,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
    None,
}

/// What belongs to one machine beside its Lua state, found from inside any function.
#[derive(Default)]
pub(crate) struct Context {
    used: Cell<usize>,
    limit: Cell<usize>,
    ours: Cell<bool>,
    host: Cell<Option<NonNull<dyn Host>>>,
    /// The budget, which lies in the state; set once the state is there.
    budget: Cell<Option<NonNull<isize>>>,
    /// How far the stack may reach down, as an address.
    floor: Cell<usize>,
    /// What was left after the last collection between two runs.
    settled: Cell<usize>,
    /// What was left after the last collection.
    collected: Cell<usize>,
    killed: Cell<Option<&'static str>>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    argv: Cell<Vec<&'static [u8]>>,
    /// The protocol in which the running script wants its replies.
    pub(crate) protocol: Cell<Protocol>,
    /// The state of `math.random`: 48 bits.
    pub(crate) random: Cell<u64>,
    /// That state as it was before the running script set a seed of its own.
    pub(crate) random_before: Cell<Option<u64>>,
    /// Counts runs: what a script has set for itself only holds for its own.
    pub(crate) run: Cell<u64>,
    /// Text under construction; taken and put back so that its capacity is reused.
    pub(crate) scratch: Cell<Vec<u8>>,
    /// Open aggregates of the reply being converted; taken and put back likewise.
    pub(crate) frames: Cell<Vec<Frame>>,
    /// What the library being loaded has registered; `None` while none is.
    pub(crate) registered: Cell<Option<Vec<Registered>>>,
    /// The kept strings of [`Name`].
    pub(crate) names: Cell<[Reference; NAMES.len()]>,
}

/// A Lua stack as seen by one running function. Indexes are Lua's: 1 is the first argument, -1 the top.
#[derive(Clone, Copy)]
pub(crate) struct Lua(NonNull<ffi::lua_State>);

/// A kept value that scripts cannot reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference(c_int);

/// The owner of a Lua state and its context.
pub(crate) struct Machine {
    lua: Lua,
    context: NonNull<Context>,
}

// SAFETY: the state and the context are reached only through the machine, which hands them to one thread at
// a time by the ordinary rules of ownership; neither uses thread-local state.
unsafe impl Send for Machine {}

impl Machine {
    /// A fresh state without any library, in which Lua may hold up to `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let context = Box::new(Context::default());
        context.limit.set(limit_bytes.min(LIMIT_BYTES_MAX));
        context.ours.set(true);
        let context = NonNull::from(Box::leak(context));
        // SAFETY: `allocate` meets the contract of lua_Alloc, and the context outlives the state (see Drop).
        let state = unsafe { ffi::lua_newstate(allocate, context.as_ptr().cast()) };
        let state = NonNull::new(state).expect("in our mode an allocation does not fail");
        // SAFETY: the state is alive; the tick is a function of the right type, and the budget lies in the state.
        let budget = unsafe {
            tandem_set_tick(state.as_ptr(), on_tick);
            tandem_budget(state.as_ptr())
        };
        let machine = Self { lua: Lua(state), context };
        machine.lua.context().budget.set(NonNull::new(budget));
        machine.lua.set_budget(QUANTUM);
        machine
    }

    /// The stack of the main thread, empty between scripts.
    pub(crate) fn lua(&self) -> Lua {
        self.lua
    }

    /// Bytes that Lua holds now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lua.used_bytes()
    }

    /// How many bytes Lua may hold from now on.
    pub(crate) fn set_limit(&self, bytes: usize) {
        self.lua.context().limit.set(bytes.min(LIMIT_BYTES_MAX));
    }

    /// Lets the function under the `arguments` topmost values run, with `host` behind it and `handler` (an
    /// index) called on errors. One result or the error value is left on the stack.
    pub(crate) fn protected(
        &mut self,
        arguments: usize,
        handler: c_int,
        host: &mut dyn Host,
    ) -> Result<(), Raise> {
        self.with_host(host, |lua| {
            let context = lua.context();
            context.ours.set(false);
            // SAFETY: a function and its arguments lie on the stack. Errors raised inside end in lua_pcall.
            let status = unsafe { ffi::lua_pcall(lua.raw(), arguments as c_int, 1, handler) };
            context.ours.set(true);
            if status == ffi::LUA_ERRMEM {
                lua.collect();
            }
            if status == ffi::LUA_OK { Ok(()) } else { Err(Raise) }
        })
    }

    /// Compiles text with `host` to be asked; pushes the function, or what went wrong and says `Raise`.
    pub(crate) fn compile(&mut self, source: &[u8], name: &CStr, host: &mut dyn Host) -> Result<(), Raise> {
        self.with_host(host, |lua| lua.compile(source, name))
    }

    /// Works with `host` behind what is run; a kill ends with it.
    fn with_host<R>(&mut self, host: &mut dyn Host, work: impl FnOnce(Lua) -> R) -> R {
        let context = self.lua.context();
        // SAFETY: only the lifetime is erased; the pointer is cleared below, before `host` is given back.
        let host: NonNull<dyn Host + 'static> = unsafe { std::mem::transmute(NonNull::from(host)) };
        context.host.set(Some(host));
        context.run.set(context.run.get() + 1);
        let here = 0_u8;
        let floor: *const c_char = (&raw const here).wrapping_sub(STACK_BYTES).cast();
        context.floor.set(floor as usize);
        // SAFETY: the state is alive; the floor is only compared with.
        unsafe { tandem_set_floor(self.lua.raw(), floor) };
        let result = work(self.lua);
        context.host.set(None);
        if let Some(random) = context.random_before.take() {
            context.random.set(random);
        }
        if context.killed.take().is_some() {
            self.lua.set_budget(QUANTUM);
        }
        if let Some(payload) = context.panic.take() {
            self.lua.set_top(0);
            resume_unwind(payload);
        }
        result
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the state is alive and closed once; the context was leaked in `new`, is freed once, and is
        // used by lua_close only.
        unsafe {
            ffi::lua_close(self.lua.0.as_ptr());
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

/// Lua's allocator: counts, and refuses past the limit unless Rust code of ours is running.
unsafe extern "C" fn allocate(
    context: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: lua_newstate was given this pointer, and the context outlives the state.
    let context = unsafe { &*context.cast::<Context>() };
    let old = if block.is_null() { 0 } else { old };
    let used = context.used.get() - old + new;
    if new > old && used > context.limit.get() && !context.ours.get() {
        return null_mut();
    }
    let layout = |size| Layout::from_size_align(size, ALIGNMENT);
    let (Ok(old_layout), Ok(new_layout)) = (layout(old), layout(new)) else { return null_mut() };
    // SAFETY: Lua tells the true size of the block it gives back, every block was made here with the same
    // alignment, and neither alloc nor realloc is called with size 0.
    let result = unsafe {
        match (old, new) {
            (0, 0) => null_mut(),
            (0, _) => alloc(new_layout),
            (_, 0) => {
                dealloc(block.cast(), old_layout);
                null_mut()
            }
            _ => realloc(block.cast(), old_layout, new),
        }
    };
    if result.is_null() && new > 0 {
        if context.ours.get() {
            handle_alloc_error(new_layout);
        }
        return null_mut();
    }
    context.used.set(used);
    result.cast()
}

/// The context behind a raw state.
fn context_of<'a>(state: *mut ffi::lua_State) -> &'a Context {
    let mut context = null_mut();
    // SAFETY: the state is alive; its allocator's argument is the context, which outlives it.
    unsafe {
        ffi::lua_getallocf(state, &mut context);
        &*context.cast::<Context>()
    }
}

/// Runs `body` in our mode and says what the outermost frame has to do. Nothing here outlives the call.
fn enter(state: *mut ffi::lua_State, body: impl FnOnce(Lua) -> Outcome) -> Outcome {
    let context = context_of(state);
    context.ours.set(true);
    let lua = Lua(NonNull::new(state).expect("Lua passes the running state"));
    let mut outcome = match catch_unwind(AssertUnwindSafe(|| body(lua))) {
        Ok(outcome) => outcome,
        Err(payload) => {
            context.panic.set(Some(payload));
            lua.kill("the server failed inside a script");
            lua.raise_error("the server failed inside a script")
        }
    };
    if outcome.is_ok() && context.used.get() > context.limit.get() {
        outcome = lua.raise_plain(NO_MEMORY.as_bytes());
    }
    context.ours.set(false);
    outcome
}

/// The outermost frame of every function of ours.
unsafe extern "C-unwind" fn trampoline<F: Fn(Lua) -> Outcome>(state: *mut ffi::lua_State) -> c_int {
    const { assert!(size_of::<F>() == 0, "a Lua function of ours captures nothing") };
    // SAFETY: F has no size, and a value of it was given to `push_function`, so one may be conjured.
    let body = unsafe { NonNull::<F>::dangling().as_ref() };
    match enter(state, body) {
        Ok(results) => results as c_int,
        // SAFETY: this frame owns nothing; the error value lies on top of the stack.
        Err(Raise) => unsafe { ffi::lua_error(state) },
    }
}

/// Called when the budget is used up: lets the host stop the script, and collects garbage where memory becomes short.
unsafe extern "C-unwind" fn on_tick(state: *mut ffi::lua_State) -> c_int {
    let outcome = enter(state, |lua| {
        lua.ask()?;
        lua.collect_when_short();
        Ok(0)
    });
    if outcome.is_err() {
        // SAFETY: this frame owns nothing; the error value lies on top of the stack.
        unsafe { ffi::lua_error(state) }
    }
    0
}

/// A text that is handed to the compiler piece by piece.
struct Pieces<'a> {
    rest: &'a [u8],
}

/// Hands the next piece to the compiler, after asking whether to go on.
unsafe extern "C-unwind" fn read_piece(
    state: *mut ffi::lua_State,
    pieces: *mut c_void,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: `compile` passes its own `Pieces`, which nobody else uses meanwhile, and Lua a place for the length.
    let (pieces, length) = unsafe { (&mut *pieces.cast::<Pieces<'_>>(), &mut *length) };
    let (piece, rest) = pieces.rest.split_at(pieces.rest.len().min(PIECE_BYTES));
    (pieces.rest, *length) = (rest, piece.len());
    if enter(state, |lua| lua.charge(piece.len() * 4).map(|()| 0)).is_err() {
        // SAFETY: this frame owns nothing; the error value lies on top of the stack, and lua_load catches it.
        unsafe { ffi::lua_error(state) }
    }
    piece.as_ptr().cast()
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

impl Lua {
    /// What belongs to this machine.
    pub(crate) fn context(&self) -> &Context {
        context_of(self.0.as_ptr())
    }

    /// Runs `work` with the host of the running script, if one runs.
    pub(crate) fn with_host<R>(&self, work: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
        let mut host = self.context().host.get()?;
        // SAFETY: `protected` holds the unique borrow; a function of ours never runs inside another, since
        // none calls script code, so this is the only reference now.
        Some(work(unsafe { host.as_mut() }))
    }

    /// Ends the running script: from now on every instruction, in whatever coroutine, raises `text`, whoever catches it.
    fn kill(&self, text: &'static str) {
        self.context().killed.set(Some(text));
        self.set_budget(0);
    }

    fn set_budget(&self, units: isize) {
        if let Some(budget) = self.context().budget.get() {
            // SAFETY: the budget lives as long as the state, and only the thread that has the state touches it.
            unsafe { budget.write(units) };
        }
    }

    /// Counts work of ours, in units of an instruction. Every loop that a script can make long calls this.
    ///
    /// # Errors
    /// The script is to end: pass it on.
    #[inline]
    pub(crate) fn charge(self, units: usize) -> Result<(), Raise> {
        let Some(budget) = self.context().budget.get() else { return Ok(()) };
        // SAFETY: as in `set_budget`.
        let left = unsafe {
            let left = budget.read().saturating_sub_unsigned(units);
            budget.write(left);
            left
        };
        if left > 0 { Ok(()) } else { self.ask() }
    }

    /// Asks the host whether the script may go on, for another quantum of work.
    #[cold]
    fn ask(self) -> Result<(), Raise> {
        let context = self.context();
        if context.killed.get().is_none()
            && let Some(mut host) = context.host.get()
            // SAFETY: the host is borrowed by the running `with_host`, and only the innermost function of
            // ours uses it; nothing that works with it charges.
            && let Interrupt::Kill(text) = unsafe { host.as_mut() }.interrupt()
        {
            self.kill(text);
        }
        if let Some(text) = context.killed.get() {
            self.kill(text);
            self.push_error(text.as_bytes());
            return Err(Raise);
        }
        self.set_budget(QUANTUM);
        Ok(())
    }

    /// Whether the running script is to end.
    pub(crate) fn is_killed(&self) -> bool {
        self.context().killed.get().is_some()
    }

    /// Whether Lua holds more than it may, `more` bytes of ours included; loops that build values ask this.
    pub(crate) fn is_over_limit(&self, more: usize) -> bool {
        let context = self.context();
        context.used.get().saturating_add(more) > context.limit.get()
    }

    /// Before a command runs: garbage goes first where memory is short, so that nothing is evicted or refused for it.
    #[inline]
    pub(crate) fn collect_before_call(self) {
        let context = self.context();
        if context.used.get() > context.collected.get() + GARBAGE_BYTES {
            self.collect_for_call();
        }
    }

    #[cold]
    fn collect_for_call(self) {
        if self.with_host(|host| host.is_short_of_memory()) == Some(true) {
            self.collect();
        }
    }

    /// After a run: what it has left is collected where that is much.
    #[inline]
    pub(crate) fn collect_after_run(self) {
        let context = self.context();
        if context.used.get() > context.settled.get() + GARBAGE_BYTES {
            self.collect();
            context.settled.set(context.used.get());
        }
    }

    /// Counts `units` of work, and makes sure that Lua may hold `more` bytes of ours beside its own.
    ///
    /// # Errors
    /// The script is to end, or there is no room.
    #[inline]
    pub(crate) fn admit(self, units: usize, more: usize) -> Result<(), Fault> {
        self.charge(units)?;
        if self.is_over_limit(more) { Err(NO_MEMORY.into()) } else { Ok(()) }
    }

    /// Collects garbage when half of what may be held is, and an eighth of it has come since the last time. Lua
    /// itself waits until twice as much is held as was left, which may be more than there is.
    fn collect_when_short(self) {
        let context = self.context();
        let (used, limit) = (context.used.get(), context.limit.get());
        if used > limit / 2 && used > context.collected.get() + limit / 8 {
            self.collect();
        }
    }

    /// Works with the values at 1 to `count`, which are strings, as slices in the reused vector.
    pub(crate) fn with_argv<R>(&self, count: c_int, work: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut argv = self.context().argv.take();
        for index in 1..=count {
            let bytes = self.bytes(index).unwrap_or_default();
            // SAFETY: only the lifetime is erased; the strings stay on the stack during `work`, which sees
            // them with a shorter lifetime, and the vector is emptied before it is kept.
            argv.push(unsafe { std::mem::transmute::<&[u8], &'static [u8]>(bytes) });
        }
        let result = work(&argv);
        argv.clear();
        self.context().argv.set(argv);
        result
    }

    /// Pushes a kept field name.
    #[inline]
    pub(crate) fn push_name(self, name: Name) {
        self.push_kept(self.context().names.get()[name as usize]);
    }

    /// Sets `table[name]` of the table on top to a function.
    pub(crate) fn set_function<F: Fn(Lua) -> Outcome>(self, name: &str, body: F) {
        self.push_function(body, 0);
        self.set_field(-2, name);
    }

    /// Pops a value into the slot at `index`.
    pub(crate) fn replace(self, index: c_int) {
        // SAFETY: a valid index.
        unsafe { ffi::lua_replace(self.raw(), index) }
    }

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

    /// Bytes that Lua holds now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.context().used.get()
    }

    /// Opens `os`, which the sandbox strips of everything but `clock`.
    pub(crate) fn open_os(self) {
        // SAFETY: as for `open_libraries`.
        unsafe {
            ffi::lua_pushcclosure(self.raw(), ffi::luaopen_os, 0);
            ffi::lua_call(self.raw(), 0, 0);
        }
    }

    fn raw(self) -> *mut ffi::lua_State {
        self.0.as_ptr()
    }

    /// How many values lie on this function's stack.
    pub(crate) fn top(self) -> c_int {
        // SAFETY: the state is alive.
        unsafe { ffi::lua_gettop(self.raw()) }
    }

    /// Drops or adds (as nil) values until `top` are left.
    pub(crate) fn set_top(self, top: c_int) {
        // SAFETY: the state is alive; growth stays within the reserved slots.
        unsafe { ffi::lua_settop(self.raw(), top) }
    }

    /// Drops the `count` topmost values.
    pub(crate) fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    /// Makes sure of `slots` free slots; false when Lua's stack would become too deep.
    pub(crate) fn reserve(self, slots: c_int) -> bool {
        // SAFETY: the state is alive; in our mode growing cannot fail.
        unsafe { ffi::lua_checkstack(self.raw(), slots) != 0 }
    }

    /// The same for what calls itself: false also when our own stack would become too deep.
    pub(crate) fn reserve_level(self, slots: c_int) -> bool {
        let here = 0_u8;
        (&raw const here) as usize > self.context().floor.get() && self.reserve(slots)
    }

    /// The type of the value at `index`.
    pub(crate) fn kind(self, index: c_int) -> LuaType {
        // SAFETY: any acceptable index.
        match unsafe { ffi::lua_type(self.raw(), index) } {
            ffi::LUA_TNIL => LuaType::Nil,
            ffi::LUA_TBOOLEAN => LuaType::Boolean,
            ffi::LUA_TLIGHTUSERDATA => LuaType::Light,
            ffi::LUA_TNUMBER => LuaType::Number,
            ffi::LUA_TSTRING => LuaType::String,
            ffi::LUA_TTABLE => LuaType::Table,
            ffi::LUA_TFUNCTION => LuaType::Function,
            ffi::LUA_TUSERDATA => LuaType::Userdata,
            ffi::LUA_TTHREAD => LuaType::Thread,
            _ => LuaType::None,
        }
    }

    /// The number at `index`, or what a string there converts to, or 0.
    pub(crate) fn number(self, index: c_int) -> f64 {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_tonumber(self.raw(), index) }
    }

    /// Whether the value is a number or a string that converts to one.
    pub(crate) fn is_numeric(self, index: c_int) -> bool {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_isnumber(self.raw(), index) != 0 }
    }

    /// The truth of the value at `index`.
    pub(crate) fn boolean(self, index: c_int) -> bool {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_toboolean(self.raw(), index) != 0 }
    }

    /// The bytes of the string at `index`; a number there becomes a string in place. Valid while that string
    /// stays on the stack.
    pub(crate) fn bytes(&self, index: c_int) -> Option<&[u8]> {
        let mut length = 0;
        // SAFETY: in our mode the conversion of a number cannot fail; Lua's strings do not move.
        unsafe {
            let start = ffi::lua_tolstring(self.raw(), index, &mut length);
            (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast(), length))
        }
    }

    /// The length of a table's array part or of a string.
    pub(crate) fn length(self, index: c_int) -> usize {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_objlen(self.raw(), index) }
    }

    pub(crate) fn push_nil(self) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushnil(self.raw()) }
    }

    pub(crate) fn push_boolean(self, value: bool) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushboolean(self.raw(), c_int::from(value)) }
    }

    pub(crate) fn push_number(self, value: f64) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushnumber(self.raw(), value) }
    }

    pub(crate) fn push_bytes(self, bytes: &[u8]) {
        // SAFETY: there is room (file invariant); Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.raw(), bytes.as_ptr().cast(), bytes.len()) }
    }

    /// The null address, which stands for JSON's null.
    pub(crate) fn push_null(self) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushlightuserdata(self.raw(), null_mut()) }
    }

    /// Whether the value is what `push_null` pushes.
    pub(crate) fn is_null(self, index: c_int) -> bool {
        // SAFETY: any acceptable index.
        self.kind(index) == LuaType::Light && unsafe { ffi::lua_touserdata(self.raw(), index) }.is_null()
    }

    /// Pushes a copy of the value at `index`.
    pub(crate) fn push_copy(self, index: c_int) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushvalue(self.raw(), index) }
    }

    /// Moves the top value down to `index`.
    pub(crate) fn insert(self, index: c_int) {
        // SAFETY: a valid index.
        unsafe { ffi::lua_insert(self.raw(), index) }
    }

    /// Takes the value at `index` out.
    pub(crate) fn remove(self, index: c_int) {
        // SAFETY: a valid index.
        unsafe { ffi::lua_remove(self.raw(), index) }
    }

    /// Pushes a table with room for so many values. The hints are capped: they may come from a script.
    pub(crate) fn push_table(self, array: usize, hash: usize) {
        // SAFETY: there is room (file invariant); capped sizes cannot overflow a table.
        unsafe { ffi::lua_createtable(self.raw(), array.min(1 << 16) as c_int, hash.min(1 << 12) as c_int) }
    }

    /// Pushes a function with the topmost `upvalues` values kept inside it.
    pub(crate) fn push_function<F: Fn(Lua) -> Outcome>(self, _body: F, upvalues: c_int) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushcclosure(self.raw(), trampoline::<F>, upvalues) }
    }

    /// Keeps `value` as a userdata on top of the stack, for a function's first kept value.
    pub(crate) fn push_cell<T: Copy>(self, value: T) {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        // SAFETY: there is room; the block is large and aligned enough, and needs no destructor.
        unsafe { ffi::lua_newuserdata(self.raw(), size_of::<T>()).cast::<T>().write(value) }
    }

    /// The running function's first kept value, which `push_cell::<T>` made.
    pub(crate) fn cell<T: Copy>(&self) -> &Cell<T> {
        // SAFETY: only functions built upon `push_cell::<T>` ask for it, scripts cannot change kept values of
        // a function, and the function, which is running, keeps the block alive.
        unsafe { &*ffi::lua_touserdata(self.raw(), ffi::lua_upvalueindex(1)).cast::<Cell<T>>() }
    }

    /// Pushes `table[n]`, without metamethods.
    pub(crate) fn push_item(self, table: c_int, n: c_int) {
        // SAFETY: a table lies at the index; there is room.
        unsafe { ffi::lua_rawgeti_(self.raw(), table, n) }
    }

    /// Pops a value into `table[n]`, without metamethods.
    pub(crate) fn set_item(self, table: c_int, n: c_int) {
        // SAFETY: a table lies at the index; in our mode its growth cannot fail.
        unsafe { ffi::lua_rawseti_(self.raw(), table, n) }
    }

    /// Replaces the key on top by `table[key]`, without metamethods.
    pub(crate) fn push_value_of_key(self, table: c_int) {
        // SAFETY: a table lies at the index.
        unsafe { ffi::lua_rawget_(self.raw(), table) }
    }

    /// Pops a value and the key under it into the table, without metamethods. A nil or NaN key is dropped.
    pub(crate) fn set_pair(self, table: c_int) {
        let is_key = match self.kind(-2) {
            LuaType::Nil => false,
            LuaType::Number => !self.number(-2).is_nan(),
            _ => true,
        };
        if is_key {
            // SAFETY: a table lies at the index and the key is one that a table takes.
            unsafe { ffi::lua_rawset(self.raw(), table) }
        } else {
            self.pop(2);
        }
    }

    /// Pushes `table[name]`, without metamethods.
    pub(crate) fn push_field(self, table: c_int, name: &str) {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.push_value_of_key(table);
    }

    /// Pops a value into `table[name]`, without metamethods.
    pub(crate) fn set_field(self, table: c_int, name: &str) {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.set_pair(table);
    }

    /// `index` counted from the bottom.
    pub(crate) fn absolute(self, index: c_int) -> c_int {
        if index < 0 && index > ffi::LUA_REGISTRYINDEX { self.top() + index + 1 } else { index }
    }

    /// Replaces the key on top by the next key and its value; false, and the key popped, at the end.
    pub(crate) fn next(self, table: c_int) -> bool {
        // SAFETY: a table lies at the index, and the key came from it, so this cannot raise.
        unsafe { ffi::lua_next(self.raw(), table) != 0 }
    }

    /// Pushes the metatable of the value at `index`, if it has one.
    pub(crate) fn push_metatable(self, index: c_int) -> bool {
        // SAFETY: a valid index; there is room.
        unsafe { ffi::lua_getmetatable(self.raw(), index) != 0 }
    }

    /// Pops a table (or nil) and makes it the metatable of the value at `index`.
    pub(crate) fn set_metatable(self, index: c_int) {
        // SAFETY: a table or nil lies on top.
        unsafe { ffi::lua_setmetatable(self.raw(), index) };
    }

    /// Joins the `count` topmost strings into one.
    pub(crate) fn concat(self, count: c_int) {
        // SAFETY: only strings lie there, so no metamethod runs.
        unsafe { ffi::lua_concat(self.raw(), count) }
    }

    /// Pops a value and keeps it.
    pub(crate) fn keep(self) -> Reference {
        // SAFETY: a value lies on top.
        Reference(unsafe { ffi::luaL_ref(self.raw(), ffi::LUA_REGISTRYINDEX) })
    }

    /// Pushes a kept value.
    #[inline]
    pub(crate) fn push_kept(self, reference: Reference) {
        self.push_item(ffi::LUA_REGISTRYINDEX, reference.0);
    }

    /// Forgets a kept value.
    pub(crate) fn forget(self, reference: Reference) {
        // SAFETY: the reference came from `keep`.
        unsafe { ffi::luaL_unref(self.raw(), ffi::LUA_REGISTRYINDEX, reference.0) }
    }

    /// Pushes the table in which chunks look for globals.
    pub(crate) fn push_globals(self) {
        self.push_copy(ffi::LUA_GLOBALSINDEX);
    }

    /// Pops a table, in which chunks look for globals from now on.
    pub(crate) fn set_globals(self) {
        // SAFETY: a table lies on top.
        unsafe { ffi::lua_replace(self.raw(), ffi::LUA_GLOBALSINDEX) }
    }

    /// Compiles text; pushes the function, or a message and says `Raise`. Bytecode, which could break the machine, is
    /// refused. The text must not change meanwhile.
    pub(crate) fn compile(self, source: &[u8], name: &CStr) -> Result<(), Raise> {
        let mut pieces = Pieces { rest: source };
        let context = self.context();
        context.ours.set(false);
        // SAFETY: the pieces outlive the call; errors, of memory also, are caught inside.
        let status =
            unsafe { ffi::lua_load(self.raw(), read_piece, (&raw mut pieces).cast(), name.as_ptr()) };
        context.ours.set(true);
        if status == ffi::LUA_OK { Ok(()) } else { Err(Raise) }
    }

    /// Opens Lua's own base, table, string and math libraries into the globals. Only at the start.
    pub(crate) fn open_libraries(self) {
        let openers = [ffi::luaopen_base, ffi::luaopen_table, ffi::luaopen_string, ffi::luaopen_math];
        for opener in openers {
            // SAFETY: each is a C function that opens one library and needs no arguments; nothing in it can
            // fail in our mode.
            unsafe {
                ffi::lua_pushcclosure(self.raw(), opener, 0);
                ffi::lua_call(self.raw(), 0, 0);
            }
        }
    }

    /// Calls the function on top with no arguments, keeping `results`. Only for our own prelude, whose code
    /// cannot raise.
    pub(crate) fn call_prelude(self, arguments: c_int, results: c_int) {
        // SAFETY: a function and its arguments lie on top.
        unsafe { ffi::lua_call(self.raw(), arguments, results) }
    }

    /// Collects all garbage.
    pub(crate) fn collect(self) {
        // SAFETY: no finalizer of a script exists (there is no `newproxy`), so this runs no script code. No code of
        // ours runs while texts are joined.
        unsafe {
            tandem_give_back(self.raw());
            ffi::lua_gc(self.raw(), ffi::LUA_GCCOLLECT, 0);
        }
        let context = self.context();
        context.collected.set(context.used.get());
    }

    /// One bounded step of collecting; true when a cycle was finished.
    pub(crate) fn collect_step(self, size: i32) -> bool {
        // SAFETY: as for `collect`.
        unsafe { ffi::lua_gc(self.raw(), ffi::LUA_GCSTEP, size) != 0 }
    }

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
