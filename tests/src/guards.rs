//! What is called while the guard of a lock is alive: no lock is held over a wait, and locks are taken in their order.
//!
//! A guard is what `let` binds to an expression that ends in a call which locks, a parameter that is one, and `&mut Engine`, which
//! only who has the engine has. It is alive until its block ends, until it is dropped, or until it is given away. What a called
//! function does is not seen, so this finds what stands in one function, and not more.

use crate::source;

/// Where the rule holds: the one crate that has locks and waits.
pub const PLACE: &str = "core/server/src/";

/// The locks, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The open log file; it may be held as long as a disk takes.
    Log,
    /// The engine, for which all clients wait.
    Engine,
    /// The journal.
    Journal,
    /// Any other.
    Leaf,
}

/// How an expression ends that locks, and what.
const LOCKING: &[(&str, Lock)] = &[
    ("engine.lock()", Lock::Engine),
    ("engine.try_lock()", Lock::Engine),
    ("engine.try_lock_for(_)", Lock::Engine),
    ("self.lock()", Lock::Engine),
    (".log()", Lock::Log),
    ("log.lock()", Lock::Log),
    ("log.try_lock()", Lock::Log),
    ("log.try_lock_for(_)", Lock::Log),
    (".journal()", Lock::Journal),
    ("journal.lock()", Lock::Journal),
    (".work()", Lock::Leaf),
    (".lock()", Lock::Leaf),
    (".try_lock()", Lock::Leaf),
    (".try_lock_for(_)", Lock::Leaf),
];

/// Calls that may take long, whatever is held.
const WAITS: &[&str] =
    &["sleep(", ".recv()", ".recv_timeout(", ".join()", ".wait(", ".wait_for(", "yield_now(", "park("];

/// Calls that may take as long as a disk.
const DISK: &[&str] = &[".disk.", "write_waiting(", "write_rest(", "fs::", ".sync_handle(", "take_snapshot("];

const TAKES_LOG: &[&str] = &["durable.log()", "self.log()", "log.lock()", "log.try_lock_for("];
const TAKES_ENGINE: &[&str] = &["engine.lock()", "engine.try_lock_for(", "with_engine("];
const TAKES_JOURNAL: &[&str] = &["durable.journal()", "self.journal()", "journal.lock()", ".tell("];

impl Lock {
    /// What must not be called while it is held.
    fn forbidden(self) -> Vec<&'static [&'static str]> {
        match self {
            Lock::Log => vec![WAITS, TAKES_LOG],
            Lock::Engine => vec![WAITS, DISK, TAKES_LOG, TAKES_ENGINE],
            Lock::Journal => vec![WAITS, DISK, TAKES_LOG, TAKES_ENGINE, TAKES_JOURNAL],
            Lock::Leaf => vec![WAITS, TAKES_LOG, TAKES_ENGINE, TAKES_JOURNAL],
        }
    }
}

/// `(file, guard)` of the two leaves that come before the engine.
pub const BEFORE_THE_ENGINE: &[(&str, &str)] =
    &[("core/server/src/background.rs", "known"), ("core/server/src/instance.rs", "last")];

/// A guard, and the code during which it is alive.
#[derive(Debug, PartialEq, Eq)]
struct Guard<'a> {
    name: &'a str,
    lock: Lock,
    /// Where that code begins in the file.
    at: usize,
    code: &'a str,
}

/// What breaks the rule in one source file.
pub fn held_too_long(path: &str, text: &str) -> Vec<String> {
    let code = source::code(text);
    let mut found = Vec::new();
    for guard in guards(&code).into_iter().filter(|_| path.starts_with(PLACE)) {
        let is_leaf = !BEFORE_THE_ENGINE.contains(&(path, guard.name));
        for call in guard.lock.forbidden().into_iter().flatten() {
            for (at, _) in guard.code.match_indices(call).filter(|_| is_leaf) {
                let gives_it_up =
                    arguments(&guard.code[at + call.len()..]).contains(&format!("&mut {}", guard.name));
                if !gives_it_up {
                    let (line, Guard { name, lock, .. }) = (source::line_of(&code, guard.at + at), &guard);
                    found.push(format!("{path}:{line}: {call} while `{name}` ({lock:?}) is held"));
                }
            }
        }
    }
    found
}

/// All guards of a file.
fn guards(code: &str) -> Vec<Guard<'_>> {
    let bound = source::words(code, "let").filter_map(|at| bound_by(code, at));
    let looked_into = ["if let", "while let", "match", "for"].into_iter();
    let unnamed = looked_into
        .flat_map(|word| source::words(code, word).filter_map(move |at| unnamed(code, at + word.len())));
    let given = code.match_indices(": MutexGuard<").filter_map(|(at, _)| {
        let open = at + body(&code[at..])?;
        Some(alive(code, last_word(&code[..at]), guard_type(&code[at..]), open))
    });
    let lent = code.match_indices(": &mut Engine").filter_map(|(at, _)| {
        let open = at + body(&code[at..])?;
        let rest = &code[open..open + block_rest(&code[open..])];
        Some(Guard { name: last_word(&code[..at]), lock: Lock::Engine, at: open, code: rest })
    });
    bound.chain(unnamed).chain(given).chain(lent).collect()
}

fn guard_type(text: &str) -> Lock {
    match text.find('>').map_or(text, |end| &text[..end]) {
        engine if engine.ends_with("Engine") => Lock::Engine,
        journal if journal.ends_with("Journal") => Lock::Journal,
        log if log.contains("Log") => Lock::Log,
        _ => Lock::Leaf,
    }
}

/// The body that follows a parameter; none for a declaration or a closure without braces.
fn body(text: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth <= 0 => return Some(at + 1),
            ';' | '}' | '|' => return None,
            _ => {}
        }
    }
    None
}

/// The guard that the `let` at `at` binds, if it does.
fn bound_by(code: &str, at: usize) -> Option<Guard<'_>> {
    let (pattern, rest) = code[at + 3..].split_once('=')?;
    if pattern.contains([';', '{', '}']) {
        return None; // it is bound later
    }
    let from = code.len() - rest.len();
    let end = expression_end(rest);
    let lock = locks(&rest[..end])?;
    let pattern = pattern.split(':').next().unwrap_or(pattern);
    let mut names = pattern.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let name = names.rfind(|word| !matches!(*word, "mut" | "Some" | "Ok" | "ref"))?;
    let before = code[..at].trim_end();
    let is_condition = before.ends_with("&&") || ["if", "while"].contains(&last_word(before));
    let begin = match rest[end..].trim_start().strip_prefix("else") {
        // Behind the block of an `else`, or inside the one that a condition opens.
        Some(other) => code.len() - other.len() + block_end(other),
        None if is_condition => from + end + rest[end..].find('{')? + 1,
        None => from + end,
    };
    Some(alive(code, name, lock, begin))
}

/// The guard that what is looked into from `at` on makes without a name: it lives as long as the block.
fn unnamed(code: &str, at: usize) -> Option<Guard<'_>> {
    let head = &code[at..at + expression_end(&code[at..])];
    let open = at + head.len();
    let packed: String = head.split_whitespace().collect();
    let is_inside = |end: &str| packed.find(end).is_some_and(|found| found + end.len() < packed.len());
    let (_, lock) = LOCKING.iter().find(|(end, _)| is_inside(end))?;
    let lives = code[open..].starts_with('{') && !packed.contains("=*");
    lives.then(|| alive(code, "a value of the moment", *lock, open + 1))
}

/// Where an expression ends: at a semicolon, an `else`, a block or a further condition.
fn expression_end(text: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' | '{' if depth == 0 => return at,
            '&' if depth == 0 && text[at..].starts_with("&&") => return at,
            'e' if depth == 0 && text[at..].starts_with("else") => return at,
            _ => {}
        }
    }
    text.len()
}

/// What an expression locks that gives the guard.
fn locks(expression: &str) -> Option<Lock> {
    let expression: String = expression.split_whitespace().collect();
    if expression.starts_with('*') {
        return None; // what is in it is copied
    }
    // Times differ from call to call.
    let expression = match expression.rfind("_lock_for(") {
        Some(at) if expression.ends_with(')') => format!("{}_lock_for(_)", &expression[..at]),
        _ => expression,
    };
    LOCKING.iter().find(|(end, _)| expression.ends_with(end)).map(|(_, lock)| *lock)
}

/// The guard is alive from `at` to the end of its block, or until it is dropped or given away.
fn alive<'a>(code: &'a str, name: &'a str, lock: Lock, at: usize) -> Guard<'a> {
    let block = &code[at..at + block_rest(&code[at..])];
    let given = source::words(block, name).find(|word| {
        let before = block[..*word].trim_end();
        let after = block[word + name.len()..].trim_start();
        before.ends_with(['(', ',']) && after.starts_with([')', ','])
    });
    Guard { name, lock, at, code: &block[..given.unwrap_or(block.len())] }
}

/// How much is left of the block in which this text begins. What opens a block at once is in front of it.
fn block_rest(text: &str) -> usize {
    let skipped = if text.starts_with('{') { 1 } else { 0 };
    let mut depth = 0_i32;
    for (at, c) in text.char_indices().skip(skipped) {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the block that this text opens ends.
fn block_end(text: &str) -> usize {
    let open = text.find('{').unwrap_or(0);
    open + block_rest(&text[open..]) + 1
}

/// What a call is given, up to its closing parenthesis.
fn arguments(text: &str) -> &str {
    let mut depth = 1_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

fn last_word(text: &str) -> &str {
    text.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> usize {
        held_too_long("core/server/src/x.rs", &format!("fn f() {{ {body} }}")).len()
    }

    #[test]
    fn a_wait_under_a_guard_is_found_until_the_guard_is_gone() {
        assert_eq!(found("let queue = self.queue.lock(); std::thread::sleep(NAP);"), 1);
        assert_eq!(found("let queue = self.queue.lock(); drop(queue); std::thread::sleep(NAP);"), 0);
        assert_eq!(found("{ let queue = self.queue.lock(); } std::thread::sleep(NAP);"), 0);
        assert_eq!(found("let first = self.queue.lock().first(); std::thread::sleep(NAP);"), 0);
        assert_eq!(found("let count = *self.count.lock(); std::thread::sleep(NAP);"), 0);
        assert_eq!(found("if let Some(mut log) = self.log.try_lock() && x { inbox.recv(); }"), 1);
        assert_eq!(found("let Some(engine) = engine.try_lock_for(A) else { return }; handle.join();"), 1);
        assert_eq!(
            found("let Some(engine) = engine.try_lock_for(A) else { return }; stop(engine); handle.join();"),
            0
        );
    }

    #[test]
    fn a_guard_without_a_name_lives_as_long_as_what_looks_into_it() {
        assert_eq!(found("if let Some(x) = self.queue.lock().pop() { sleep(x); }"), 1);
        assert_eq!(found("match shared.engine.lock().config.dir { _ => self.write_waiting(log) }"), 1);
        assert_eq!(found("for x in self.queue.lock().drain(..) { sleep(x); }"), 1);
        assert_eq!(found("while self.queue.lock().is_full() { sleep(x); }"), 0);
    }

    #[test]
    fn who_waits_for_a_condition_gives_its_own_lock_up_and_no_other() {
        assert_eq!(found("let mut rung = self.rung.lock(); self.wake.wait_for(&mut rung, TIME);"), 0);
        assert_eq!(
            found("let log = self.log(); let mut rung = self.rung.lock(); self.wake.wait(&mut rung);"),
            1
        );
    }

    #[test]
    fn a_disk_is_not_waited_for_with_the_engine_or_the_journal_in_hand() {
        assert_eq!(found("let engine = shared.engine.lock(); self.write_waiting(log);"), 1);
        assert_eq!(found("let mut journal = self.journal(); shared.durable.disk.len(path);"), 1);
        assert_eq!(found("let log = self.log(); shared.durable.disk.len(path);"), 0);
        let with = "fn f(&self, engine: &mut Engine) -> usize { self.durable.disk.len(path) }";
        assert_eq!(held_too_long("core/server/src/x.rs", with).len(), 1);
        let closure = "fn f() { shared.use(|engine: &mut Engine| { shared.durable.disk.len(path) }) }";
        assert_eq!(held_too_long("core/server/src/x.rs", closure).len(), 0, "closures say no types");
    }

    #[test]
    fn locks_are_taken_in_their_order() {
        assert_eq!(
            found("let log = self.log(); let engine = shared.engine.lock(); let journal = self.journal();"),
            0
        );
        assert_eq!(found("let engine = shared.engine.lock(); let log = self.log();"), 1);
        assert_eq!(found("let journal = self.journal(); let engine = shared.engine.lock();"), 1);
        assert_eq!(found("let journal = self.journal(); self.tell(shared, Journal::moved);"), 1);
        assert_eq!(found("let state = self.state.lock(); shared.with_engine(f);"), 1);
        let given = "fn f(mut journal: MutexGuard<'_, Journal>) { let log = self.log(); }";
        assert_eq!(held_too_long("core/server/src/x.rs", given).len(), 1);
    }
}
