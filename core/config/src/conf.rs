//! Reads redis.conf text: one directive a line, comments, includes.
//!
//! The command line is turned into the same lines, so both have one reader and one set of errors.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::directives::{self, LINES, TABLE};
use crate::error::LoadError;
use crate::value_type::ValueType;
use crate::values::{Config, Origin, Rename};
use crate::words::split;

/// How deep files may include each other: a file that includes itself must end with an error.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Longest line, bytes: an ACL user may have many rules, but a line is not a data set.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How other files are found and read; the disk is behind it.
pub trait Files {
    /// The content of a file.
    ///
    /// # Errors
    /// Those of reading it.
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>>;

    /// The files that a pattern names, in order of their names; a plain path is given back as it is.
    ///
    /// # Errors
    /// Those of reading folders.
    fn expand(&mut self, pattern: &str) -> io::Result<Vec<String>>;

    /// The absolute path of the folder `dir`, seen from `from`, or from where the process is if that is empty. `is_made`: one that is
    /// not there is made later. Without a disk any folder is there.
    ///
    /// # Errors
    /// There is no such folder.
    fn enter(&mut self, from: &str, dir: &str, is_made: bool) -> io::Result<String> {
        let _ = is_made;
        Ok(Path::new(from).join(dir).to_string_lossy().into_owned())
    }
}

/// The folder in which a relative path of the next line is: where the process is (empty) until a line or variable names another one.
/// That of a profile is only where files are kept.
pub(crate) fn place(config: &Config) -> String {
    match config.origin("dir") {
        None | Some(Origin::Default | Origin::Profile) => String::new(),
        Some(_) => String::from_utf8_lossy(&config.text("dir").unwrap_or_default()).into_owned(),
    }
}

/// Has a `dir` that was just said count from `before` and be absolute, as if the process had gone there.
pub(crate) fn enter(
    config: &mut Config,
    before: &str,
    is_made: bool,
    files: &mut dyn Files,
) -> Result<(), String> {
    let dir = String::from_utf8_lossy(&config.text("dir").unwrap_or_default()).into_owned();
    let entered = match dir.as_str() {
        "" => Err(io::ErrorKind::NotFound.into()),
        dir => files.enter(before, dir, is_made),
    };
    let entered = entered.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "No such file or directory".to_owned(),
            io::ErrorKind::NotADirectory => "Not a directory".to_owned(),
            _ => error.to_string(),
        };
        format!("Can't chdir to '{dir}': {why}")
    })?;
    let origin = config.origin("dir").cloned().unwrap_or(Origin::Default);
    config.assign("dir", entered.as_bytes(), origin)
}

/// A configuration while it is being read.
pub(crate) struct Reader<'a> {
    pub(crate) config: Config,
    pub(crate) files: &'a mut dyn Files,
    /// A profile starts: a `dir` that is not there is made later, and one that is said at the start counts from where that is.
    pub(crate) makes_dir: bool,
    /// The first `save` line replaces what came before; later ones add.
    save_seen: bool,
}

/// What the lines at hand are part of.
#[derive(Clone)]
pub(crate) enum Source {
    File(Arc<str>),
    CommandLine,
}

impl Source {
    fn origin(&self, line: usize) -> Origin {
        match self {
            Source::File(path) => Origin::File(path.clone(), line),
            Source::CommandLine => Origin::CommandLine,
        }
    }

    fn name(&self) -> &str {
        match self {
            Source::File(path) => path,
            Source::CommandLine => "command line",
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(config: Config, files: &'a mut dyn Files) -> Reader<'a> {
        Reader { config, files, makes_dir: false, save_seen: false }
    }

    /// Applies all lines of a text, included files in their place.
    pub(crate) fn read_text(&mut self, text: &[u8], place: &Source) -> Result<(), LoadError> {
        self.read_nested(text, place, 0)
    }

    fn read_nested(&mut self, text: &[u8], place: &Source, depth: usize) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            self.read_line(line, place, index + 1, depth).map_err(|problem| match problem {
                Problem::Here(why) => {
                    LoadError { origin: place.name().into(), line: index + 1, text: printable(line), why }
                }
                Problem::Inside(error) => *error,
            })?;
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], place: &Source, number: usize, depth: usize) -> Result<(), Problem> {
        if line.len() > LINE_BYTES_MAX {
            return Err("the line is too long".into());
        }
        let words = split(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, values)) = words.split_first() else { return Ok(()) };
        if let Some(at) = directives::index_of(name) {
            return self.read_value(at, values, place.origin(number)).map_err(Problem::Here);
        }
        match (name.to_ascii_lowercase().as_slice(), values) {
            (b"include", [pattern]) => self.include(&String::from_utf8_lossy(pattern), depth),
            // Redis reads them and does nothing with them.
            (b"list-max-ziplist-entries" | b"list-max-ziplist-value", [_]) => Ok(()),
            (b"rename-command", [from, to]) => {
                self.config.renames.push(Rename { from: from.clone(), to: to.clone() });
                Ok(())
            }
            (b"user", [_, ..]) => self.add_user(values).map_err(Problem::Here),
            (b"loadmodule", [_, ..]) => Err(LINES[3].1.into()),
            (name, _) => Err(Problem::Here(directives::unknown(name))),
        }
    }

    fn read_value(&mut self, at: usize, values: &[Vec<u8>], origin: Origin) -> Result<(), String> {
        let kind = TABLE[at].kind;
        let mut values = values.to_vec();
        match values.as_slice() {
            // A lone `save` clears the points like an empty one.
            [] if kind == ValueType::Save => values.push(Vec::new()),
            [] if kind != ValueType::Shutdown => return Err("wrong number of arguments".into()),
            // A list in one quoted word is the same as its words, which may be quoted themselves.
            [list] => values = kind.words_of_quoted(list).ok_or("Unbalanced quotes in configuration line")?,
            _ => {}
        }
        if kind != ValueType::Save {
            return self.assign(at, &values, origin);
        }
        let mut words = Vec::new();
        let clears = matches!(values.as_slice(), [word] if word.is_empty());
        if self.save_seen && !clears {
            words = kind.words_of(&self.config.text_at(at));
            words.retain(|word| !word.is_empty());
        }
        words.extend(values.iter().flat_map(|value| kind.words_of(value)));
        self.config.assign_at(at, &words, origin)?;
        self.save_seen = true;
        Ok(())
    }

    /// Assigns what a line or a variable says; a `dir` is entered.
    pub(crate) fn assign(&mut self, at: usize, words: &[Vec<u8>], origin: Origin) -> Result<(), String> {
        // With a profile, whoever starts the server means the folder from where it is started, whatever a file says.
        let is_starters = matches!(origin, Origin::CommandLine | Origin::Variable(_));
        let before = if self.makes_dir && is_starters { String::new() } else { place(&self.config) };
        self.config.assign_at(at, words, origin)?;
        match TABLE[at].name {
            "dir" => enter(&mut self.config, &before, self.makes_dir, self.files),
            _ => Ok(()),
        }
    }

    fn add_user(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        if self.config.users.iter().any(|user| user[0] == words[0]) {
            let name = String::from_utf8_lossy(&words[0]);
            return Err(format!(
                "Error in user declaration '{name}': Duplicate user found. A user can only be defined once in config files"
            ));
        }
        self.config.users.push(words.to_vec());
        Ok(())
    }

    fn include(&mut self, pattern: &str, depth: usize) -> Result<(), Problem> {
        if depth + 1 >= INCLUDE_DEPTH_MAX {
            return Err(format!("files include each other more than {INCLUDE_DEPTH_MAX} deep")
                .as_str()
                .into());
        }
        let unreadable =
            |path: &str, error: io::Error| Problem::Here(format!("can't open config file '{path}': {error}"));
        let pattern = Path::new(&place(&self.config)).join(pattern).to_string_lossy().into_owned();
        let pattern = pattern.as_str();
        for path in self.files.expand(pattern).map_err(|error| unreadable(pattern, error))? {
            let text = self.files.read(&path).map_err(|error| unreadable(&path, error))?;
            self.read_nested(&text, &Source::File(path.as_str().into()), depth + 1)
                .map_err(|error| Problem::Inside(Box::new(error)))?;
        }
        Ok(())
    }
}

/// What is wrong with a line: the line itself, or one in a file that it includes.
enum Problem {
    Here(String),
    Inside(Box<LoadError>),
}

impl From<&str> for Problem {
    fn from(why: &str) -> Problem {
        Problem::Here(why.into())
    }
}

/// The line for an error message, without passwords.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let name = text.split_whitespace().next().unwrap_or("");
    let secret =
        name.eq_ignore_ascii_case("user") || directives::find(name.as_bytes()).is_some_and(|row| row.secret);
    if secret { format!("{name} (not shown)") } else { text.into_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Files that exist only here; a pattern is a glob over their names.
    #[derive(Default)]
    pub(crate) struct InMemory(pub(crate) BTreeMap<String, Vec<u8>>);

    impl InMemory {
        pub(crate) fn of(files: &[(&str, &str)]) -> InMemory {
            InMemory(files.iter().map(|(path, text)| ((*path).into(), text.as_bytes().to_vec())).collect())
        }
    }

    impl Files for InMemory {
        fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
            self.0.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }

        fn expand(&mut self, pattern: &str) -> io::Result<Vec<String>> {
            if !pattern.contains('*') {
                return Ok(vec![pattern.into()]);
            }
            let named = |path: &&String| base::glob::matches(pattern.as_bytes(), path.as_bytes(), false);
            Ok(self.0.keys().filter(named).cloned().collect())
        }
    }

    pub(crate) fn read(text: &str, files: &[(&str, &str)]) -> Result<Config, LoadError> {
        let mut files = InMemory::of(files);
        let mut reader = Reader::new(Config::default(), &mut files);
        reader.read_text(text.as_bytes(), &Source::File("test.conf".into()))?;
        reader.config.refresh();
        Ok(reader.config)
    }

    #[test]
    fn errors_carry_line_text_and_redis_reason() {
        let cases = [
            ("port 1\nnosuch 1\n", 2, "Bad directive or wrong number of arguments"),
            ("port", 1, "wrong number of arguments"),
            (
                "shutdown-on-sigint",
                1,
                "argument(s) must be one of the following: default, save, nosave, now, force",
            ),
            ("port a", 1, "argument couldn't be parsed into an integer"),
            ("port 1 3", 1, "wrong number of arguments"),
            ("save 1", 1, "Invalid save parameters"),
            ("save 1 1 2", 1, "Invalid save parameters"),
            ("dir \"abc", 1, "Unbalanced quotes in configuration line"),
            ("dir 'abc'x", 1, "Unbalanced quotes in configuration line"),
            ("save \"'\"", 1, "Unbalanced quotes in configuration line"),
            ("save \"' '\"", 1, "Invalid save parameters"),
            ("# x\n\nreplicaof a", 3, "wrong number of arguments"),
            ("replicaof a b", 1, "Invalid master port"),
            ("unixsocketperm 999", 1, "argument couldn't be parsed as an octal number"),
            ("databases 0", 1, "argument must be between 1 and 16384 inclusive"),
            ("appendfilename a/b", 1, "appendfilename can't be a path, just a filename"),
            ("bind a b c d e f g h i j k l m n o p q", 1, "Too many bind addresses specified."),
            ("rename-command GET", 1, "Bad directive or wrong number of arguments"),
            ("user", 1, "Bad directive or wrong number of arguments"),
            ("loadmodule x.so", 1, "modules are not supported"),
        ];
        for (text, line, why) in cases {
            let error = read(text, &[]).unwrap_err();
            assert_eq!((error.line, error.why.as_str()), (line, why), "{text}");
        }
        let shown = read("port 1\nnosuch 1", &[]).unwrap_err().to_string();
        assert_eq!(
            shown,
            "*** FATAL CONFIG FILE ERROR ***\nReading the configuration file, at line 2\n(from test.conf)\n\
             >>> 'nosuch 1'\nBad directive or wrong number of arguments"
        );
    }

    #[test]
    fn messages_never_show_passwords() {
        for text in ["requirepass a b", "user x foo\nuser x >hunter2", "masterauth \"hunter2"] {
            let error = read(text, &[]).unwrap_err().to_string();
            assert!(error.contains("(not shown)") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn save_lines_replace_the_default_and_then_add() {
        let save = |text: &str| String::from_utf8(read(text, &[]).unwrap().text("save").unwrap()).unwrap();
        assert_eq!(save(""), "3600 1 300 100 60 10000");
        assert_eq!(save("save 900 1\nsave 300 10"), "900 1 300 10");
        assert_eq!(save("save 900 1 300 10"), "900 1 300 10");
        assert_eq!(save("save \"\""), "");
        assert_eq!(save("save 900 1\nsave"), "");
        // Compose files quote twice: once for YAML, once for a shell that is not there.
        for twice in [
            r#"save "''""#,
            r#"save "\"\"""#,
            r#"save '""'"#,
            r#"save 9 9
save "''""#,
        ] {
            assert_eq!(save(twice), "", "{twice}");
        }
        assert_eq!(save(r#"save "'900' \"1\"""#), "900 1");
        assert_eq!(save("save 900 1\nsave \"\"\nsave 1 1\nsave \"2 2 3 3\""), "1 1 2 2 3 3");
    }

    #[test]
    fn includes_are_read_in_place_and_errors_inside_name_their_file() {
        let files = [("/c/a.conf", "port 1\n"), ("/c/b.conf", "port 2\ntimeout 7\n"), ("/bad", "\nport x\n")];
        let config = read("port 9\ninclude /c/*.conf\ntimeout 8\n", &files).unwrap();
        assert_eq!((config.port, config.timeout_seconds), (2, 8));
        assert_eq!(config.origin("port").unwrap().to_string(), "/c/b.conf, line 1");
        let error = read("include /bad", &files).unwrap_err();
        assert_eq!((error.origin.as_str(), error.line), ("/bad", 2));
        assert!(
            read("include /missing", &files).unwrap_err().why.contains("can't open config file '/missing'")
        );
        assert!(read("include /none/*.conf", &files).is_ok());
        assert!(read("include /me", &[("/me", "include /me")]).unwrap_err().why.contains("16 deep"));
    }

    #[test]
    fn lines_are_collected_and_words_kept() {
        let config =
            read("rename-command FLUSHALL \"\"\nuser a on \">p q\" ~*\nrequirepass \"\\x00\\xffx\"", &[])
                .unwrap();
        assert!(read("list-max-ziplist-entries 512\nlist-max-ziplist-value 64", &[]).is_ok());
        assert_eq!(config.renames, [Rename { from: b"FLUSHALL".to_vec(), to: Vec::new() }]);
        assert_eq!(config.users, [[&b"a"[..], b"on", b">p q", b"~*"].map(<[u8]>::to_vec).to_vec()]);
        assert_eq!(config.requirepass, b"\x00\xffx");
        assert!(read("user a on\nuser a off", &[]).unwrap_err().why.contains("Duplicate user"));
    }

    #[test]
    fn the_files_that_come_with_valkey_and_redis_8_are_read() {
        let stock = "mptcp no\nrdma-bind \"\"\nrdma-port 0\nrdma-rx-size 1mb\nrdma-completion-vector -1\nrepl-mptcp no
            prefetch-batch-max-size 16\ntls-auto-reload-interval 0\navailability-zone \"\"\nhash-seed \"\"
            extended-redis-compatibility no\nimport-mode no\nvset-force-single-threaded-execution no
            active-defrag-cycle-us 500\nrdb-version-check strict\ndual-channel-replication-enabled no
            cluster-announce-client-ipv4 \"\"\ncluster-announce-client-ipv6 \"\"\ncluster-announce-client-port 0
            cluster-announce-client-tls-port 0\ncluster-blacklist-ttl 60\ncluster-compatibility-sample-ratio 0
            cluster-config-save-behavior sync\ncluster-databases 1\ncluster-manual-failover-timeout 5000
            cluster-slot-migration-log-max-len 1000\ncluster-slot-stats-enabled no
            slot-migration-max-failover-repl-bytes 0";
        read(stock, &[]).unwrap();
        for (lacking, why) in [
            ("rdb-version-check relaxed", "versions that are not known are never read"),
            ("dual-channel-replication-enabled yes", "share one connection"),
            ("import-mode yes", "no import mode"),
            ("availability-zone a", "not told of zones"),
            ("mptcp yes", "multipath TCP"),
            ("rdma-port 6379", "RDMA"),
        ] {
            assert!(read(lacking, &[]).unwrap_err().why.contains(why), "{lacking}");
        }
    }

    #[test]
    fn what_we_lack_is_refused_only_when_switched_on() {
        assert!(read("cluster-enabled no\nactivedefrag no\nsyslog-enabled no", &[]).is_ok());
        assert!(read("cluster-enabled yes", &[]).unwrap_err().why.contains("cluster mode is not supported"));
    }
}
