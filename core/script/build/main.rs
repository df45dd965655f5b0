//! Builds Lua 5.1 with our corrections: a copy of the sources that the crate `lua-src` ships is changed in the build's
//! own folder and compiled into one static library.
//!
//! A correction that no longer finds its place fails the build, so a newer `lua-src` cannot silently bring back what
//! was corrected. What scripts must never reach (files, packages, the debug library, bytecode) is not built at all.
#![expect(clippy::print_stdout, reason = "a build script tells cargo so")]

mod corrections;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use corrections::{CORRECTIONS, Correction};

/// Where `lua-src` keeps Lua 5.1, from its root.
const VERSION: &str = "lua-5.1.5";
/// What is compiled: the core, and of the libraries those that the sandbox opens.
const SOURCES: [&str; 26] = [
    "lapi", "lauxlib", "lbaselib", "lcode", "ldebug", "ldo", "ldump", "lfunc", "lgc", "llex", "lmathlib",
    "lmem", "lobject", "lopcodes", "loslib", "lparser", "lstate", "lstring", "lstrlib", "ltable", "ltablib",
    "ltm", "lundump", "lvm", "lzio", "tandem",
];

fn main() {
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names the build's own folder"));
    let copy = out.join("lua");
    copy_sources(&lua_src().join(VERSION), &copy);
    for correction in CORRECTIONS {
        apply(&copy, correction);
    }
    fs::write(copy.join("tandem.c"), include_str!("tandem.c")).expect("the folder is ours");
    let mut build = cc::Build::new();
    build.include(&copy).warnings(false).cargo_metadata(false).opt_level(2);
    build.define("LUA_USE_LINUX", None).define("_GNU_SOURCE", None).flag_if_supported("-fno-common");
    build.files(SOURCES.map(|name| copy.join(name).with_extension("c")));
    build.compile("tandem_lua");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static:+whole-archive=tandem_lua");
}

/// Where the crate `lua-src` lies. It does not say so itself; but its refusal of a target that it does not know comes
/// with the place in its source, which the compiler has written down as a full path.
fn lua_src() -> PathBuf {
    if let Some(given) = std::env::var_os("TANDEM_LUA_SRC") {
        return PathBuf::from(given);
    }
    println!("cargo:rerun-if-env-changed=TANDEM_LUA_SRC");
    let told = Arc::new(Mutex::new(PathBuf::new()));
    let place = told.clone();
    std::panic::set_hook(Box::new(move |panic| {
        if let (Some(location), Ok(mut place)) = (panic.location(), place.lock()) {
            *place = PathBuf::from(location.file());
        }
    }));
    let refused = std::panic::catch_unwind(|| {
        lua_src::Build::new().target("no such target").host("none").build(lua_src::Lua51)
    });
    drop(std::panic::take_hook());
    assert!(refused.is_err(), "lua-src refuses a target that it does not know");
    let file = told.lock().expect("the hook does not panic").clone();
    let root = file.parent().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    assert!(
        root.join(VERSION).join("lua.h").is_file(),
        "the sources of lua-src are not at {root:?} (told by {file:?}): name their place in TANDEM_LUA_SRC"
    );
    root
}

fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the build's own folder can be written");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{from:?}: {error}")).flatten() {
        let text = fs::read(entry.path()).unwrap_or_else(|error| panic!("{:?}: {error}", entry.path()));
        fs::write(to.join(entry.file_name()), text).expect("the build's own folder can be written");
    }
}

fn apply(folder: &Path, correction: &Correction) {
    let path = folder.join(correction.file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let found = text.matches(correction.from).count();
    assert!(
        found == correction.times,
        "{}: {:?} stands {found} times where {} were expected: is {:?} still right?",
        correction.file,
        correction.from,
        correction.times,
        correction.why
    );
    fs::write(&path, text.replace(correction.from, correction.to)).expect("the copy can be written");
}
