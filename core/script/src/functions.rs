//! Libraries of functions: loaded whole or not at all, and run by name.
//!
//! All libraries share one machine, apart from that of EVAL. A load compiles the source, runs it once in a bare
//! environment and collects what it registers; only then is it compared with what is there, so that a failed
//! load, or a restore of which one library fails, changes nothing. Names of functions are unique among all
//! libraries, in any case of letters.

use std::collections::{BTreeMap, HashMap};

use resp::{Protocol, Sink};

use crate::interpreter::{Limits, RunError};
use crate::library::{self, Registered};
use crate::raw::{Lua, Machine, Raise, Reference};
use crate::sandbox::{self, Role};
use crate::shebang::Flags;
use crate::{Host, convert, errors};

/// After so many runs the collector takes a step, however little they allocated.
const RUNS_PER_STEP: u32 = 50;
const CHUNK_NAME: &std::ffi::CStr = c"@user_function";

/// What happens to libraries that are there when others are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All go.
    Flush,
    /// All stay; one of the same name is an error.
    Append,
    /// Those of the same name are replaced.
    Replace,
}

/// A library.
#[derive(Debug)]
pub struct Library {
    code: Vec<u8>,
    functions: BTreeMap<Vec<u8>, Function>,
}

/// A function of a library.
#[derive(Debug)]
pub struct Function {
    /// What its library says about it.
    pub description: Option<Vec<u8>>,
    /// What it declares about itself.
    pub flags: Flags,
    callback: Reference,
}

impl Library {
    /// Its source.
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// Its functions by name.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = (&[u8], &Function)> {
        self.functions.iter().map(|(name, function)| (name.as_slice(), function))
    }
}

/// Libraries that are loaded but not in force yet.
#[derive(Debug)]
struct Staged {
    name: Vec<u8>,
    library: Library,
}

/// What is needed to run a function.
#[derive(Clone, Debug)]
struct Callable {
    /// As it was registered.
    name: Vec<u8>,
    flags: Flags,
    callback: Reference,
}

/// A Lua state with its libraries. One belongs to each engine.
pub struct Functions {
    machine: Machine,
    limits: Limits,
    globals: Reference,
    load_globals: Reference,
    handler: Reference,
    libraries: BTreeMap<Vec<u8>, Library>,
    /// All functions, by name in lower case.
    index: HashMap<Vec<u8>, Callable>,
    runs: u32,
}

impl Functions {
    /// A state without libraries. Of `limits`, the number of scripts means nothing here.
    pub fn new(limits: Limits) -> Self {
        let machine = sandbox::machine(&limits, Role::Function);
        let lua = machine.lua();
        let load_globals = sandbox::keep_load_globals(lua, &limits);
        let globals = lua.keep();
        lua.push_function(errors::describe, 0);
        let handler = lua.keep();
        let (libraries, index) = (BTreeMap::new(), HashMap::new());
        Self { machine, limits, globals, load_globals, handler, libraries, index, runs: 0 }
    }

    /// The libraries by name.
    pub fn libraries(&self) -> impl ExactSizeIterator<Item = (&[u8], &Library)> {
        self.libraries.iter().map(|(name, library)| (name.as_slice(), library))
    }

    /// How many functions there are.
    pub fn function_count(&self) -> usize {
        self.index.len()
    }

    /// Bytes that Lua holds.
    pub fn machine_bytes(&self) -> usize {
        self.machine.used_bytes()
    }

    /// Bytes held for the libraries outside of Lua, about.
    pub fn catalogue_bytes(&self) -> usize {
        let functions = |library: &Library| -> usize {
            let each = |(name, function): (&Vec<u8>, &Function)| {
                2 * (name.len() + size_of::<Function>())
                    + size_of::<Callable>()
                    + function.description.as_ref().map_or(0, Vec::len)
            };
            library.functions.iter().map(each).sum()
        };
        let libraries = self.libraries.iter();
        size_of::<Self>()
            + libraries
                .map(|(name, library)| name.len() + library.code.len() + functions(library))
                .sum::<usize>()
    }

    /// What the function `name` (in any case) declares about itself.
    pub fn flags(&self, name: &[u8]) -> Option<Flags> {
        Some(self.index.get(name.to_ascii_lowercase().as_slice())?.flags)
    }

    /// Loads one library and gives its name. `host` tells when it has taken too long; no command can be run.
    ///
    /// # Errors
    /// In Redis' words, without code. Nothing has changed then.
    pub fn load(&mut self, code: &[u8], is_replacing: bool, host: &mut dyn Host) -> Result<Vec<u8>, Vec<u8>> {
        let (name, _) = library::parse(code)?;
        if !is_replacing && self.libraries.contains_key(&name) {
            return Err([b"Library '", name.as_slice(), b"' already exists"].concat());
        }
        let staged = self.stage(code, host)?;
        self.commit(vec![staged], Policy::Replace)?;
        Ok(name)
    }

    /// Loads several libraries, all or none.
    ///
    /// # Errors
    /// In Redis' words, without code. Nothing has changed then.
    pub fn restore(&mut self, codes: &[Vec<u8>], policy: Policy, host: &mut dyn Host) -> Result<(), Vec<u8>> {
        let mut staged: Vec<Staged> = Vec::with_capacity(codes.len().min(1024));
        for code in codes {
            let next = self.stage(code, host).and_then(|next| {
                match staged.iter().any(|known| known.name == next.name) {
                    true => Err([b"Library '", next.name.as_slice(), b"' already exists"].concat()),
                    false => Ok(next),
                }
            });
            match next {
                Ok(next) => staged.push(next),
                Err(text) => {
                    self.forget_staged(staged);
                    return Err(text);
                }
            }
        }
        self.commit(staged, policy)
    }

    /// Removes a library; false when there is none of that name.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        for (name, function) in library.functions {
            self.index.remove(name.to_ascii_lowercase().as_slice());
            self.machine.lua().forget(function.callback);
        }
        true
    }

    /// Removes all libraries; the old state, which may be dropped anywhere.
    pub fn flush(&mut self) -> Functions {
        let fresh = Self::new(self.limits.clone());
        std::mem::replace(self, fresh)
    }

    /// How many bytes Lua may hold from now on; at most 2 GiB.
    pub fn set_memory_limit(&mut self, bytes: usize) {
        self.limits.memory_bytes = bytes;
        self.machine.set_limit(bytes);
    }

    /// Runs a function, whose name is given in any case, and sends what it returns to `reply`.
    ///
    /// # Errors
    /// There is none of that name or it failed; `reply` was not touched then.
    pub fn run(
        &mut self,
        name: &[u8],
        keys: &[&[u8]],
        args: &[&[u8]],
        host: &mut dyn Host,
        reply: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(entry) = self.index.get(name.to_ascii_lowercase().as_slice()) else {
            return Err(RunError::NoScript);
        };
        let lua = self.machine.lua();
        lua.push_kept(self.handler);
        lua.push_kept(entry.callback);
        push_list(lua, keys);
        push_list(lua, args);
        lua.context().protocol.set(Protocol::Resp2);
        let result = match self.machine.protected(2, 1, host) {
            Ok(()) => convert::send(lua, reply, host).map_err(RunError::killed),
            Err(Raise) => Err(errors::failure(lua, &entry.name)),
        };
        lua.set_top(0);
        self.runs = self.runs.wrapping_add(1);
        if self.runs.is_multiple_of(RUNS_PER_STEP) {
            lua.collect_step(1);
        }
        lua.collect_after_run();
        result
    }

    /// Compiles a library and lets it register its functions.
    fn stage(&mut self, code: &[u8], host: &mut dyn Host) -> Result<Staged, Vec<u8>> {
        let (name, body) = library::parse(code)?;
        let lua = self.machine.lua();
        if self.machine.used_bytes() > self.limits.memory_bytes {
            lua.collect();
            if self.machine.used_bytes() > self.limits.memory_bytes {
                return Err("not enough memory for another library".into());
            }
        }
        lua.push_kept(self.handler);
        if self.machine.compile(body, CHUNK_NAME, host).is_err() {
            let told = errors::text(lua);
            lua.set_top(0);
            return Err([b"Error compiling function: ", told.as_slice()].concat());
        }
        sandbox::show_globals(lua, self.load_globals);
        lua.context().registered.set(Some(Vec::new()));
        let outcome = self.machine.protected(0, 1, host);
        let registered = lua.context().registered.take().unwrap_or_default();
        sandbox::show_globals(lua, self.globals);
        let told = outcome.is_err().then(|| errors::text(lua));
        lua.set_top(0);
        let problem = match told {
            Some(text) => Some([b"Error registering functions: ", text.as_slice()].concat()),
            None if registered.is_empty() => Some("No functions registered".into()),
            None => None,
        };
        if let Some(text) = problem {
            registered.iter().for_each(|function| lua.forget(function.callback));
            return Err(text);
        }
        let functions = registered.into_iter().map(Registered::into_function).collect();
        Ok(Staged { name, library: Library { code: code.to_vec(), functions } })
    }

    /// Puts loaded libraries in force, if their names are free.
    fn commit(&mut self, staged: Vec<Staged>, policy: Policy) -> Result<(), Vec<u8>> {
        if let Err(text) = self.check_names(&staged, policy) {
            self.forget_staged(staged);
            return Err(text);
        }
        if policy == Policy::Flush {
            for name in self.libraries.keys().cloned().collect::<Vec<_>>() {
                self.delete(&name);
            }
        }
        for Staged { name, library } in staged {
            self.delete(&name);
            for (name, function) in &library.functions {
                let entry =
                    Callable { name: name.clone(), flags: function.flags, callback: function.callback };
                self.index.insert(name.to_ascii_lowercase(), entry);
            }
            self.libraries.insert(name, library);
        }
        Ok(())
    }

    fn check_names(&self, staged: &[Staged], policy: Policy) -> Result<(), Vec<u8>> {
        let mut taken: HashMap<Vec<u8>, ()> = HashMap::new();
        for (name, library) in self.libraries.iter().filter(|_| policy != Policy::Flush) {
            if staged.iter().any(|new| new.name == *name) {
                if policy == Policy::Append {
                    return Err([b"Library ", name.as_slice(), b" already exists"].concat());
                }
                continue;
            }
            taken.extend(library.functions.keys().map(|name| (name.to_ascii_lowercase(), ())));
        }
        for name in staged.iter().flat_map(|new| new.library.functions.keys()) {
            if taken.insert(name.to_ascii_lowercase(), ()).is_some() {
                return Err([b"Function ", name.as_slice(), b" already exists"].concat());
            }
        }
        Ok(())
    }

    fn forget_staged(&self, staged: Vec<Staged>) {
        for function in staged.iter().flat_map(|new| new.library.functions.values()) {
            self.machine.lua().forget(function.callback);
        }
    }
}

impl Registered {
    fn into_function(self) -> (Vec<u8>, Function) {
        let Registered { name, description, flags, callback } = self;
        (name, Function { description, flags, callback })
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Functions").field("libraries", &self.libraries.len()).finish_non_exhaustive()
    }
}

fn push_list(lua: Lua, values: &[&[u8]]) {
    lua.push_list_table(values.len());
    for (value, n) in values.iter().zip(1..) {
        lua.push_bytes(value);
        lua.set_item(-2, n);
    }
}
