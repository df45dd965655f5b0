//! Libraries of functions through the public interface: what a load accepts, what it changes, how functions run.

use resp::{Protocol, Sink, Wire};
use tandem_script::{Functions, Host, Interrupt, Limits, Policy, RunError};

/// A host that answers every command with its number of arguments, and allows so many questions for time.
struct Fake {
    patience: usize,
}

impl Host for Fake {
    fn call(&mut self, argv: &[&[u8]], sink: &mut dyn Sink, _held_bytes: usize) -> u64 {
        sink.integer(argv.len() as i64);
        0
    }

    fn is_short_of_memory(&mut self) -> bool {
        false
    }

    fn interrupt(&mut self) -> Interrupt {
        if self.patience == 0 {
            return Interrupt::Kill("FUNCTION LOAD timeout");
        }
        self.patience -= 1;
        Interrupt::Continue
    }

    fn log(&mut self, _level: i64, _message: &[u8]) {}
    fn set_replication(&mut self, _flags: i64) {}
    fn error_replied(&mut self, _text: &[u8], _is_counted: bool) {}
    fn acl_allows(&mut self, _argv: &[&[u8]]) -> Result<bool, String> {
        Ok(true)
    }
}

fn fresh() -> Functions {
    Functions::new(Limits::default())
}

/// One sequence goes on through all states that share it.
#[test]
fn random_numbers_go_on_after_a_flush() {
    let mut functions = fresh();
    let body = "redis.register_function('f', function() return math.random(1000000000) end)";
    load(&mut functions, "l", body).unwrap();
    let before = call(&mut functions, "f");
    functions.flush();
    load(&mut functions, "l", body).unwrap();
    assert_ne!(call(&mut functions, "f"), before);
}

fn load(functions: &mut Functions, name: &str, body: &str) -> Result<Vec<u8>, String> {
    load_over(functions, name, body, false)
}

fn load_over(functions: &mut Functions, name: &str, body: &str, replace: bool) -> Result<Vec<u8>, String> {
    functions
        .load(format!("#!lua name={name}\n{body}").as_bytes(), replace, &mut Fake { patience: 10 })
        .map_err(shown)
}

/// An error as text.
fn shown(error: Vec<u8>) -> String {
    String::from_utf8(error).expect("these tests use no other bytes")
}

fn call(functions: &mut Functions, name: &str) -> String {
    let mut out = Vec::new();
    let mut wire = Wire { out: &mut out, protocol: Protocol::Resp2, limit: usize::MAX };
    match functions.run(name.as_bytes(), &[b"k"], &[b"a"], &mut Fake { patience: 10 }, &mut wire) {
        Ok(()) => {}
        Err(RunError::NoScript) => return "none".into(),
        Err(RunError::Failed { text, .. }) => wire.error(&text),
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn registers(name: &str, result: &str) -> String {
    format!("redis.register_function('{name}', function(keys, args) return {result} end)")
}

#[test]
fn a_function_gets_its_keys_and_arguments_and_any_case_finds_it() {
    let mut functions = fresh();
    assert_eq!(load(&mut functions, "lib", &registers("one", "{keys[1], args[1]}")), Ok(b"lib".to_vec()));
    assert_eq!(call(&mut functions, "ONE"), "*2\r\n$1\r\nk\r\n$1\r\na\r\n");
    assert_eq!(call(&mut functions, "two"), "none");
    assert_eq!((functions.libraries().len(), functions.function_count()), (1, 1));
}

#[test]
fn named_arguments_tell_description_and_flags() {
    let mut functions = fresh();
    let body = "redis.register_function{function_name='f', callback=function() return 1 end,
        description='what it does', flags={'no-writes', 'allow-stale'}}";
    load(&mut functions, "lib", body).unwrap();
    let (_, library) = functions.libraries().next().unwrap();
    let (name, function) = library.functions().next().unwrap();
    assert_eq!((name, function.description.as_deref()), (&b"f"[..], Some(&b"what it does"[..])));
    assert_eq!(function.flags.names().collect::<Vec<_>>(), ["no-writes", "allow-stale"]);
    assert_eq!(library.code(), format!("#!lua name=lib\n{body}").as_bytes());
}

#[test]
fn a_load_sees_no_more_than_it_needs() {
    let told = |body: &str| load(&mut fresh(), "lib", body).unwrap_err();
    let missing = |name: &str| {
        format!(
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable '{name}'"
        )
    };
    assert_eq!(told("redis.call('ping')"), missing("call"));
    assert_eq!(told("return string.rep('x', 3)"), missing("string"));
    assert_eq!(told("return _G"), missing("_G"));
    let fixed = "Error registering functions: ERR user_function:2: Attempt to modify a readonly table";
    assert_eq!(told("redis.x = 1"), fixed);
    assert_eq!(told("x = 1"), fixed);
    assert_eq!(told("return 1"), "No functions registered");
    assert_eq!(told("while true do end"), "Error registering functions: ERR FUNCTION LOAD timeout");
    assert_eq!(told("x y"), "Error compiling function: user_function:2: '=' expected near 'y'");
}

#[test]
fn what_a_load_has_captured_registers_nothing_later() {
    let mut functions = fresh();
    let body = "local api = redis
        redis.register_function('late', function() api.register_function('x', function() end) end)
        redis.register_function('calls', function() return redis.call('a', 'b') end)
        redis.register_function('fails', function() error('boom') end)";
    load(&mut functions, "lib", body).unwrap();
    let late = "-ERR redis.register_function can only be called on FUNCTION LOAD command script: late, on @user_function:3.\r\n";
    assert_eq!(call(&mut functions, "late"), late);
    assert_eq!(call(&mut functions, "calls"), ":2\r\n");
    let boom = "-ERR user_function:5: boom script: fails, on @user_function:5.\r\n";
    assert_eq!(call(&mut functions, "fails"), boom);
}

#[test]
fn wrong_registrations_are_refused_in_redis_words() {
    for (arguments, text) in [
        ("", "wrong number of arguments to redis.register_function"),
        ("1, 2, 3", "wrong number of arguments to redis.register_function"),
        ("{}, function() end", "first argument to redis.register_function must be a string"),
        ("'a', 1", "second argument to redis.register_function must be a function"),
        ("{foo=1}", "unknown argument given to redis.register_function"),
        ("{[1]=2}", "unknown argument given to redis.register_function"),
        ("{function_name='a'}", "redis.register_function must get a callback argument"),
        ("{callback=function() end}", "redis.register_function must get a function name argument"),
        ("{flags={'nope'}}", "unknown flag given"),
        (
            "'a', function() end) redis.register_function('A', function() end",
            "Function already exists in the library",
        ),
    ] {
        let told = load(&mut fresh(), "lib", &format!("redis.register_function({arguments})"));
        assert_eq!(told.unwrap_err(), format!("Error registering functions: ERR {text}"), "{arguments}");
    }
}

#[test]
fn a_failed_load_changes_nothing() {
    let mut functions = fresh();
    load(&mut functions, "one", &registers("f", "1")).unwrap();
    let exists = "Library 'one' already exists";
    assert_eq!(load(&mut functions, "one", &registers("f", "2")).unwrap_err(), exists);
    assert_eq!(load(&mut functions, "two", &registers("F", "2")).unwrap_err(), "Function F already exists");
    assert!(load_over(&mut functions, "one", "error()", true).is_err());
    assert_eq!((call(&mut functions, "f"), functions.function_count()), (":1\r\n".into(), 1));
    load_over(&mut functions, "one", &registers("g", "3"), true).unwrap();
    assert_eq!((call(&mut functions, "f"), call(&mut functions, "g")), ("none".into(), ":3\r\n".into()));
    assert!(functions.delete(b"one") && !functions.delete(b"one"));
    assert_eq!((call(&mut functions, "g"), functions.function_count()), ("none".into(), 0));
}

#[test]
fn a_restore_is_done_whole_or_not_at_all() {
    let code = |name: &str, function: &str| {
        format!("#!lua name={name}\n{}", registers(function, "'new'")).into_bytes()
    };
    let codes = [code("one", "f"), code("two", "g")];
    let mut functions = fresh();
    load(&mut functions, "two", &registers("old", "1")).unwrap();
    let restore = |functions: &mut Functions, policy| {
        functions.restore(&codes, policy, &mut Fake { patience: 10 }).map_err(shown)
    };
    assert_eq!(restore(&mut functions, Policy::Append).unwrap_err(), "Library two already exists");
    assert_eq!(call(&mut functions, "f"), "none");
    restore(&mut functions, Policy::Replace).unwrap();
    assert_eq!(
        (call(&mut functions, "g"), call(&mut functions, "old")),
        ("$3\r\nnew\r\n".into(), "none".into())
    );
    load(&mut functions, "three", &registers("h", "1")).unwrap();
    restore(&mut functions, Policy::Flush).unwrap();
    let count = functions.libraries().len();
    assert_eq!((count, call(&mut functions, "h")), (2, "none".into()));
    load_over(&mut functions, "one", &registers("x", "1"), true).unwrap();
    load(&mut functions, "four", &registers("F", "4")).unwrap();
    assert_eq!(restore(&mut functions, Policy::Replace).unwrap_err(), "Function f already exists");
    assert_eq!((call(&mut functions, "f"), call(&mut functions, "x")), (":4\r\n".into(), ":1\r\n".into()));
}
