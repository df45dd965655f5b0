//! The rules as data, and the functions that find what breaks them.
//!
//! An arrow is a normal dependency between crates of this workspace. Every finding is one line of text that names the
//! place and the rule, because a person reads it.

use crate::source;

/// `(crate, the workspace crates it may use)`. Arrows point down only; a new arrow is the expensive change.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("tandem-base", &[]),
    ("tandem-journal", &[]),
    ("tandem-replication", &["tandem-base", "tandem-resp"]),
    ("tandem-resp", &["tandem-base"]),
    ("tandem-table", &["tandem-base"]),
    ("tandem-persist", &["tandem-base"]),
    ("tandem-archive", &["tandem-persist"]),
    ("tandem-check", &["tandem-base", "tandem-config", "tandem-engine", "tandem-keyspace", "tandem-persist"]),
    ("tandem-config", &["tandem-base"]),
    ("tandem-telemetry", &[]),
    ("tandem-types", &["tandem-base", "tandem-table"]),
    ("tandem-queues", &["tandem-base", "tandem-table", "tandem-types"]),
    ("tandem-keyspace", &["tandem-base", "tandem-table", "tandem-types", "tandem-persist", "tandem-queues"]),
    ("tandem-commands", &["tandem-base", "tandem-resp", "tandem-types", "tandem-keyspace"]),
    ("tandem-script", &["tandem-base", "tandem-resp"]),
    (
        "tandem-engine",
        &[
            "tandem-base",
            "tandem-resp",
            "tandem-types",
            "tandem-keyspace",
            "tandem-queues",
            "tandem-replication",
            "tandem-commands",
            "tandem-script",
            "tandem-config",
            "tandem-telemetry",
        ],
    ),
    ("tandem-net", &["tandem-base"]),
    ("tandem-console", &[]),
    ("tandem-control", &["tandem-base", "tandem-console"]),
    (
        "tandem-server",
        &[
            "tandem-base",
            "tandem-resp",
            "tandem-keyspace",
            "tandem-commands",
            "tandem-config",
            "tandem-telemetry",
            "tandem-persist",
            "tandem-archive",
            "tandem-engine",
            "tandem-journal",
            "tandem-replication",
            "tandem-net",
            "tandem-control",
            "tandem-profiles",
        ],
    ),
    ("tandem-cli", &["tandem-base", "tandem-resp"]),
    ("tandem-profiles", &["tandem-config"]),
    (
        "tandem",
        &[
            "tandem-server",
            "tandem-profiles",
            "tandem-control",
            "tandem-cli",
            "tandem-archive",
            "tandem-check",
            "tandem-persist",
        ],
    ),
    ("tandem-tests", &[]),
    (
        "tandem-simulation",
        &[
            "tandem-base",
            "tandem-config",
            "tandem-engine",
            "tandem-journal",
            "tandem-keyspace",
            "tandem-persist",
            "tandem-types",
        ],
    ),
    (
        "tandem-fuzz",
        &[
            "tandem-base",
            "tandem-resp",
            "tandem-persist",
            "tandem-keyspace",
            "tandem-config",
            "tandem-engine",
            "tandem-cli",
        ],
    ),
];

/// `(library, the crates that may depend on it)`.
pub const LIBRARIES: &[(&str, &[&str])] = &[
    ("mio", &["tandem-net"]),
    ("rustls", &["tandem-net", "tandem-control", "tandem-cli", "tandem-archive"]),
    ("rustyline", &["tandem-cli"]),
    ("zstd", &["tandem-archive"]),
    ("object_store", &["tandem-archive"]),
    ("reqwest", &["tandem-archive"]),
    ("age", &["tandem-archive"]),
    ("indicatif", &["tandem"]),
    ("tokio", &["tandem-control", "tandem-archive"]),
    ("tokio-rustls", &["tandem-control"]),
    ("hyper", &["tandem-control"]),
    ("mlua-sys", &["tandem-script"]),
    ("figment", &["tandem-config", "tandem-profiles"]),
];

/// Crates that are pure functions of their arguments: no clock, disk, socket, thread or chance.
pub const PURE: &[&str] = &[
    "base",
    "resp",
    "table",
    "types",
    "keyspace",
    "commands",
    "script",
    "engine",
    "console",
    "journal",
    "queues",
    "replication",
];

/// What a pure crate must not say.
pub const IMPURE_WORDS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::net",
    "std::thread",
    "thread::spawn",
    "getrandom",
    "std::process",
];

/// Path prefixes (from the workspace root) where `unsafe` may stand.
pub const UNSAFE_PLACES: &[&str] = &["core/table/src/", "core/types/src/pack/", "core/script/src/"];

/// Where the one gate is: nothing else decides whether a command may run.
pub const GATE: &str = "core/engine/src/gate/";

/// `(flag of a command's row, where it is read)`. Those of the gate are read nowhere else, and a flag that nobody reads is none.
pub const FLAGS: &[(&str, &str)] = &[
    ("WRITE", "core/engine/src/"),
    ("READONLY", "core/engine/src/"),
    ("DENYOOM", GATE),
    ("ADMIN", "core/engine/src/monitor.rs"),
    ("PUBSUB", "core/engine/src/acl/selector.rs"),
    ("NOSCRIPT", GATE),
    ("BLOCKING", "core/commands/src/spec.rs"),
    ("LOADING", GATE),
    ("STALE", GATE),
    ("DEBUGS", GATE),
    ("LOADS_MODULES", GATE),
    ("SKIP_MONITOR", "core/engine/src/monitor.rs"),
    ("SKIP_SLOWLOG", "core/engine/src/commandlog.rs"),
    ("FAST", "core/engine/src/call.rs"),
    ("NO_AUTH", "core/engine/src/"),
    ("NO_MULTI", GATE),
    ("MOVABLE_KEYS", TOLD),
    ("ALLOW_BUSY", GATE),
    ("NO_ASYNC_LOADING", TOLD),
    ("MAY_REPLICATE", GATE),
    ("DANGEROUS", "core/commands/src/spec.rs"),
    ("MOVES", GATE),
    ("UNSEEN", "core/engine/src/monitor.rs"),
    ("ASKING", TOLD),
    ("IN_MULTI", GATE),
    ("RUNS_QUEUE", "core/engine/src/"),
    ("AS_SUBSCRIBER", "core/engine/src/"),
    ("BY_PATTERN", GATE),
    ("MAY_WRITE", GATE),
    ("SETS_REPLIES", "core/engine/src/call.rs"),
    ("TELLS_HEALTH", GATE),
];

/// Of a flag that only COMMAND tells.
pub const TOLD: &str = "";

/// Where rows and their flags are declared.
pub const SPEC: &str = "core/commands/src/spec.rs";

/// Longest function, in lines from `fn` to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Arrows and libraries of one crate that no rule allows. `uses` are its normal dependencies by package name.
pub fn wrong_dependencies(name: &str, uses: &[String]) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name} has no row in ARROWS")];
    };
    let mut found = Vec::new();
    for used in uses {
        if ARROWS.iter().any(|(known, _)| known == used) && !allowed.contains(&used.as_str()) {
            found.push(format!("{name} uses {used}: no such arrow"));
        }
        if let Some((_, users)) = LIBRARIES.iter().find(|(library, _)| library == used)
            && !users.contains(&name)
        {
            found.push(format!("{name} uses {used}, which only {users:?} may"));
        }
    }
    found
}

/// Arrows that a crate may have and does not use: it has no such dependency, or its code never says the name under which `names`
/// knows it. `sources` are all its files.
pub fn idle_arrows(
    name: &str,
    allowed: &[&str],
    names: impl Fn(&str) -> Option<String>,
    sources: &[String],
) -> Vec<String> {
    let code: Vec<String> = sources.iter().map(|text| source::code(text)).collect();
    let is_said = |word: &str| code.iter().any(|code| source::words(code, word).next().is_some());
    let is_idle = |used: &&&str| names(used).is_none_or(|word| !is_said(&word));
    allowed
        .iter()
        .filter(is_idle)
        .map(|used| format!("{name} does not use {used}: take the arrow out"))
        .collect()
}

/// What breaks a rule in one source file. `path` is from the workspace root.
pub fn wrong_source(path: &str, text: &str) -> Vec<String> {
    let code = source::code(text);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path}: opens without saying what it is for (`//!`)"));
    }
    if PURE.iter().any(|name| path.starts_with(&format!("core/{name}/src/"))) {
        for word in IMPURE_WORDS {
            found.extend(places(path, &code, word).map(|place| format!("{place}: {word} in a pure crate")));
        }
    }
    if !UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
        found.extend(
            places(path, &code, "unsafe").map(|place| format!("{place}: unsafe is not allowed here")),
        );
    }
    for function in source::functions(&code) {
        if function.lines > FUNCTION_LINES_MAX {
            let source::Function { name, line, lines } = function;
            found.push(format!("{path}:{line}: {name} has {lines} lines, more than {FUNCTION_LINES_MAX}"));
        }
    }
    found
}

/// What breaks a rule of the gate. `sources` are all files by their paths.
pub fn second_gates(sources: &[(String, String)]) -> Vec<String> {
    let code: Vec<(&str, String)> =
        sources.iter().map(|(path, text)| (path.as_str(), source::code(text))).collect();
    let mut found = Vec::new();
    for (path, code) in &code {
        if path.starts_with("core/engine/src/") {
            for compared in ["spec.name ==", "spec.name !=", "match spec.name", "matches!(spec.name"] {
                let places = code.match_indices(compared).map(|(at, _)| source::line_of(code, at));
                found.extend(places.map(|line| format!("{path}:{line}: a command is known by its flags")));
            }
        }
    }
    let reads = |path: &str, code: &str, flag: &str| {
        let word = format!("Flags::{flag}");
        source::words(code, &word).any(|at| path.starts_with(GATE) || is_question(&code[..at]))
    };
    for (flag, place) in FLAGS.iter().filter(|(_, place)| *place != TOLD) {
        let readers = || code.iter().filter(|(path, code)| reads(path, code, flag)).map(|(path, _)| *path);
        if !readers().any(|path| path.starts_with(place)) {
            found.push(format!("Flags::{flag} is not read in {place}"));
        }
        let others = readers().filter(|path| *place == GATE && !path.starts_with(GATE) && *path != SPEC);
        found.extend(others.map(|path| format!("{path}: Flags::{flag} is the gate's to read")));
    }
    let declared = code.iter().filter(|(path, _)| *path == SPEC).flat_map(|(_, code)| declared_flags(code));
    let unknown = declared.filter(|flag| FLAGS.iter().all(|(known, _)| known != flag));
    found.extend(unknown.map(|flag| format!("Flags::{flag} has no row in FLAGS")));
    found
}

/// Whether what follows `before` is asked for, rather than given to a row.
fn is_question(before: &str) -> bool {
    let before = before.rsplit(['{', '}', ';']).next().unwrap_or_default();
    let asked = before.rfind("has(").max(before.rfind("has_any("));
    asked.is_some_and(|at| before[at..].matches('(').count() > before[at..].matches(')').count())
}

/// The flags that `Flags` declares with a bit of their own.
fn declared_flags(code: &str) -> Vec<String> {
    let of = |line: &str| {
        let (name, value) = line.trim().strip_prefix("pub const ")?.split_once(": Flags = ")?;
        value.starts_with("Flags(").then(|| name.to_owned())
    };
    code.lines().filter_map(of).collect()
}

fn places<'a>(path: &'a str, code: &'a str, word: &'a str) -> impl Iterator<Item = String> + 'a {
    source::words(code, word).map(move |at| format!("{path}:{}", source::line_of(code, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(name: &str, used: &str) -> Vec<String> {
        wrong_dependencies(name, &[used.to_owned()])
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        assert_eq!(uses("tandem-base", "tandem-engine").len(), 1);
        assert_eq!(uses("tandem-net", "tandem-commands").len(), 1);
        assert!(uses("tandem-engine", "tandem-commands").is_empty());
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(uses("tandem-new", "anyhow").len(), 1);
    }

    #[test]
    fn a_library_in_the_wrong_crate_is_found() {
        for (library, wrong) in [
            ("tokio", "tandem-net"),
            ("mio", "tandem-engine"),
            ("mlua-sys", "tandem-engine"),
            ("rustls", "tandem-server"),
        ] {
            assert_eq!(uses(wrong, library).len(), 1, "{library} in {wrong}");
        }
        assert!(uses("tandem-net", "mio").is_empty());
    }

    #[test]
    fn an_arrow_that_nobody_uses_is_found() {
        let idle = |known: Option<&str>, text: &str| {
            let names = |_: &str| known.map(str::to_owned);
            idle_arrows("tandem-net", &["tandem-base"], names, &[text.to_owned()]).len()
        };
        assert_eq!(idle(Some("base"), "use base::Now;"), 0);
        assert_eq!(idle(Some("base"), "// base::Now\nfn database() {}"), 1);
        assert_eq!(idle(None, "use base::Now;"), 1);
    }

    #[test]
    fn arrows_have_no_circle() {
        for (name, allowed) in ARROWS {
            for used in *allowed {
                let back = ARROWS.iter().find(|(n, _)| n == used).map_or(&[][..], |(_, users)| *users);
                assert!(!back.contains(name), "{name} and {used} use each other");
            }
        }
    }

    #[test]
    fn impurity_is_found_in_pure_crates_only() {
        for word in IMPURE_WORDS {
            let text = format!("//! Doc.\nfn f() {{ {word}(); }}\n");
            assert_eq!(wrong_source("core/engine/src/x.rs", &text).len(), 1, "{word}");
            assert!(wrong_source("core/server/src/x.rs", &text).is_empty(), "{word}");
        }
        assert!(wrong_source("core/engine/src/x.rs", "//! Instant::now\n// std::fs\n").is_empty());
    }

    #[test]
    fn unsafe_is_found_where_it_may_not_be() {
        let text = "//! Doc.\nfn f() { unsafe { g() } }\n";
        assert_eq!(wrong_source("core/engine/src/x.rs", text).len(), 1);
        assert_eq!(wrong_source("core/types/src/list.rs", text).len(), 1);
        assert!(wrong_source("core/table/src/x.rs", text).is_empty());
        assert!(wrong_source("core/engine/src/x.rs", "//! unsafe\n#![forbid(unsafe_code)]\n").is_empty());
    }

    /// What is found in a tree that keeps the rules, and has this file besides.
    fn gates(path: &str, text: &str) -> Vec<String> {
        let file =
            |place: &str| if place.ends_with('/') { format!("{place}mod.rs") } else { place.to_owned() };
        let read = FLAGS.iter().filter(|(_, place)| *place != TOLD);
        let mut all: Vec<(String, String)> =
            read.map(|(flag, place)| (file(place), format!("if f.has(Flags::{flag}) {{}}"))).collect();
        all.push((path.to_owned(), text.to_owned()));
        second_gates(&all)
    }

    #[test]
    fn a_second_gate_is_found() {
        assert_eq!(gates("core/engine/src/y.rs", "fn f() {}"), [""; 0]);
        assert_eq!(gates("core/engine/src/y.rs", "if spec.name == x {}").len(), 1);
        assert_eq!(gates("core/engine/src/y.rs", "matches!(spec.name, x)").len(), 1);
        assert_eq!(gates("core/engine/src/y.rs", "if f.has(Flags::NOSCRIPT) {}").len(), 1);
        assert_eq!(gates("core/engine/src/y.rs", "f.has_any(Flags::WRITE.and(Flags::DENYOOM));").len(), 1);
        assert_eq!(gates("core/engine/src/y.rs", "row.flags(Flags::NOSCRIPT.and(Flags::LOADING))"), [""; 0]);
    }

    #[test]
    fn a_flag_that_nobody_reads_is_found() {
        let text = "pub const NEW: Flags = Flags(1 << 30);\npub const TWO: Flags = Flags::WRITE;";
        assert_eq!(gates(SPEC, text), ["Flags::NEW has no row in FLAGS"]);
        let unread = second_gates(&[(format!("{GATE}mod.rs"), "Flags::NOSCRIPT".to_owned())]);
        assert!(unread.iter().any(|line| line.starts_with("Flags::LOADING is not read")));
        assert!(!unread.iter().any(|line| line.starts_with("Flags::NOSCRIPT is not read")));
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert_eq!(wrong_source("core/net/src/x.rs", "use std::io;\n").len(), 1);
    }

    #[test]
    fn a_long_function_is_found() {
        let text = |lines: usize| format!("//! Doc.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        assert_eq!(wrong_source("core/net/src/x.rs", &text(FUNCTION_LINES_MAX - 1)).len(), 1);
        assert!(wrong_source("core/net/src/x.rs", &text(FUNCTION_LINES_MAX - 2)).is_empty());
    }
}
