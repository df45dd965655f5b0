//! The layers of a configuration, each over the one before: profile, file, secrets of the service manager,
//! environment, command line.
//!
//! Layers that are maps (profiles and TOML files) are merged by figment, which remembers where each value
//! came from; redis.conf text is not a map (order counts, lines repeat) and is read line by line on top.

use std::collections::BTreeMap;
use std::sync::Arc;

use figment::Figment;
use figment::providers::{Data, Toml};
use figment::value::Value as Item;

use crate::args::Invocation;
pub use crate::conf::Files;
use crate::conf::{Reader, Source, enter};
use crate::directives::{self, TABLE};
use crate::error::LoadError;
use crate::values::{Config, Origin};

/// What lies outside: variables and files.
pub struct Sources<'a> {
    /// The environment. Values are bytes, as those of a file are: a password need not be UTF-8.
    pub variables: &'a [(String, Vec<u8>)],
    /// The disk.
    pub files: &'a mut dyn Files,
}

/// What is known before loading.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The profile's defaults; `None` for Redis' own.
    pub profile: Option<Figment>,
    /// `maxmemory` in bytes where no layer names one; 0 for no limit.
    pub maxmemory: u64,
    /// A profile starts: a `dir` that is not there is made by the server, so it is no mistake, and one that is said at the start counts
    /// from where that is.
    pub makes_dir: bool,
    /// Name and content of the configuration file; TOML if its name ends in `.toml`, else redis.conf.
    pub file: Option<(String, Vec<u8>)>,
    /// What came on standard input.
    pub stdin: Option<Vec<u8>>,
    /// The command line.
    pub invocation: Invocation,
}

/// The result of loading.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Only the profile's part of it, which is what a rewrite need not write.
    pub base: Config,
    /// What an operator should know; one line each.
    pub notes: Vec<String>,
}

/// Most bytes of a secret: more is a wrong file.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// Short names of variables that people know from elsewhere.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("REDIS_PASSWORD", "requirepass"),
    ("REDIS_MAXMEMORY", "maxmemory"),
    ("REDIS_MAXMEMORY_POLICY", "maxmemory-policy"),
    ("VALKEY_PASSWORD", "requirepass"),
    ("VALKEY_MAXMEMORY", "maxmemory"),
    ("VALKEY_MAXMEMORY_POLICY", "maxmemory-policy"),
];

/// Variables of ours that name no directive: what a container's entry reads, and what `compose.yaml` is filled
/// in with, which reaches the containers in the same file as directives.
const OTHER_NAMES: &[&str] = &[
    "TANDEM_ROLE",
    "TANDEM_IN_IMAGE",
    "TANDEM_BEHIND_TERMINAL",
    "TANDEM_IMAGE",
    "TANDEM_DOCKERFILE",
    "TANDEM_NETWORK",
    "TANDEM_OPEN_FILES",
    "TANDEM_CACHE_MEMORY",
    "TANDEM_QUEUE_MEMORY",
    "TANDEM_CACHE_CPUS",
    "TANDEM_QUEUE_CPUS",
    "TANDEM_CACHE_PORT",
    "TANDEM_QUEUE_PORT",
    "TANDEM_CACHE_METRICS_PORT",
    "TANDEM_QUEUE_METRICS_PORT",
];

const PREFIX: &str = "TANDEM_";

impl Layers {
    /// Loads all layers.
    ///
    /// # Errors
    /// The first mistake, with the place it came from.
    pub fn load(self, sources: &mut Sources<'_>) -> Result<Loaded, LoadError> {
        let mut base = Config::default();
        let mut notes = Vec::new();
        // Only of account if no other layer names another one.
        let mut unentered = None;
        if let Some(profile) = &self.profile {
            apply_map(&mut base, profile, None)?;
            if *base.origin_at(place("dir")) == Origin::Profile {
                unentered = enter(&mut base, "", true, sources.files).err();
            }
        }
        if self.maxmemory > 0 && *base.origin_at(place("maxmemory")) == Origin::Default {
            let words = [self.maxmemory.to_string().into_bytes()];
            base.assign_at(place("maxmemory"), &words, Origin::Profile)
                .map_err(|why| about("maxmemory", why))?;
        }
        base.refresh();

        let mut config = base.clone();
        let mut text_file = None;
        if let Some((name, text)) = &self.file {
            if name.ends_with(".toml") {
                apply_map(&mut config, &toml_file(name, text)?, Some(name))?;
                if matches!(config.origin_at(place("dir")), Origin::File(..)) {
                    enter(&mut config, "", self.makes_dir, sources.files).map_err(|why| about(name, why))?;
                }
            } else {
                text_file = Some((name.as_str(), text.as_slice()));
            }
        }
        let mut reader = Reader::new(config, sources.files);
        reader.makes_dir = self.makes_dir;
        if let Some((name, text)) = text_file {
            reader.read_text(text, &Source::File(name.into()))?;
        }
        if let Some(text) = &self.stdin {
            reader.read_text(text, &Source::File("standard input".into()))?;
        }
        apply_credentials(&mut reader, sources.variables)?;
        apply_variables(&mut reader, sources.variables, &mut notes)?;
        reader.read_text(self.invocation.options.as_bytes(), &Source::CommandLine)?;
        for secret in SECRET_FILES {
            apply_secret_file(&mut reader, secret, &mut notes)?;
        }
        // Without a name it is where the process is, which a rewritten file tells unless a profile does.
        if *reader.config.origin_at(place("dir")) == Origin::Default
            && let Ok(here) = reader.files.enter("", ".", false)
        {
            for config in self.profile.as_ref().map(|_| &mut base).into_iter().chain([&mut reader.config]) {
                config.assign("dir", here.as_bytes(), Origin::Default).map_err(|why| about("dir", why))?;
            }
        }
        if let Some(why) = unentered
            && *reader.config.origin_at(place("dir")) == Origin::Profile
        {
            return Err(about("dir", why));
        }
        reader.config.refresh();
        note_command_line_secrets(&reader.config, &mut notes);
        Ok(Loaded { config: reader.config, base, notes })
    }
}

fn place(name: &'static str) -> usize {
    directives::index_of(name.as_bytes()).expect("only names of the table are passed here")
}

fn about(text: impl Into<String>, why: String) -> LoadError {
    LoadError::about("", text, why)
}

fn toml_file(name: &str, text: &[u8]) -> Result<Figment, LoadError> {
    let text = std::str::from_utf8(text).map_err(|_| LoadError::about(name, "", "the file is not UTF-8"))?;
    Ok(Figment::from(Data::<Toml>::string(text)))
}

/// Applies a map of directives. Values may be text, numbers, truths, or lists of words.
fn apply_map(config: &mut Config, map: &Figment, file: Option<&str>) -> Result<(), LoadError> {
    let label = file.unwrap_or("profile");
    let items: BTreeMap<String, Item> =
        map.extract().map_err(|error| LoadError::about(label, "", error.to_string()))?;
    for (name, item) in items {
        let fail = |why: String| LoadError::about(label, name.clone(), why);
        let at = directives::index_of(name.as_bytes())
            .ok_or_else(|| fail(directives::unknown(name.as_bytes())))?;
        let words = words_of_item(at, &item).ok_or_else(|| fail("a table is not a value".into()))?;
        let origin = file.map_or(Origin::Profile, |file| Origin::File(file.into(), 0));
        config.assign_at(at, &words, origin).map_err(fail)?;
    }
    Ok(())
}

fn words_of_item(at: usize, item: &Item) -> Option<Vec<Vec<u8>>> {
    if let Item::Array(_, items) = item {
        let words: Option<Vec<_>> = items.iter().map(scalar).collect();
        return words.map(|words| if words.is_empty() { vec![Vec::new()] } else { words });
    }
    Some(TABLE[at].kind.words_of(&scalar(item)?))
}

fn scalar(item: &Item) -> Option<Vec<u8>> {
    match item {
        Item::String(_, text) => Some(text.clone().into_bytes()),
        Item::Bool(_, on) => Some((if *on { "yes" } else { "no" }).into()),
        Item::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .map(String::into_bytes),
        _ => None,
    }
}

/// `systemd` hands secrets over as files in a folder; a file named as a secret directive is its value, and
/// `metrics-token` is the file of the token.
fn apply_credentials(reader: &mut Reader<'_>, variables: &[(String, Vec<u8>)]) -> Result<(), LoadError> {
    let Some((_, folder)) = variables.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY") else {
        return Ok(());
    };
    let folder = std::str::from_utf8(folder)
        .map_err(|_| about("variable CREDENTIALS_DIRECTORY", "the path is no UTF-8".into()))?;
    for (at, row) in TABLE.iter().enumerate().filter(|(_, row)| row.secret) {
        let path = format!("{folder}/{}", row.name);
        match reader.files.read(&path) {
            Ok(content) => set_secret(reader, at, &path, content)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(LoadError::about(path, row.name, error.to_string())),
        }
    }
    let path = format!("{folder}/metrics-token");
    if reader.files.read(&path).is_ok() {
        let origin = Origin::Secret(path.as_str().into());
        let words = [path.clone().into_bytes()];
        reader
            .config
            .assign_at(place("metrics-token-file"), &words, origin)
            .map_err(|why| about(path, why))?;
    }
    Ok(())
}

fn set_secret(reader: &mut Reader<'_>, at: usize, path: &str, mut content: Vec<u8>) -> Result<(), LoadError> {
    let fail = |why: &str| LoadError::about(path, TABLE[at].name, why);
    // Editors and `echo` end a file with a line end that is not part of the secret.
    if content.last() == Some(&b'\n') {
        content.pop();
        if content.last() == Some(&b'\r') {
            content.pop();
        }
    }
    if content.is_empty() {
        return Err(fail("the file of a secret is empty"));
    }
    if content.len() > SECRET_BYTES_MAX {
        return Err(fail("the file is too large for a secret"));
    }
    let origin = Origin::Secret(path.into());
    reader.config.assign_at(at, &[content], origin).map_err(|why| fail(&why))
}

fn apply_variables(
    reader: &mut Reader<'_>,
    variables: &[(String, Vec<u8>)],
    notes: &mut Vec<String>,
) -> Result<(), LoadError> {
    // Short names first, so that the exact ones win; then by name, so that the order is the same everywhere.
    let mut known: Vec<_> = variables.iter().filter(|(name, value)| is_ours(name, value)).collect();
    known.sort_by_key(|(name, _)| (name.starts_with(PREFIX), name.as_str()));
    for (name, value) in known {
        match directive_of(name) {
            Some((at, is_file)) => apply_variable(reader, name, value, at, is_file, notes)?,
            None => notes.push(unknown_variable(name)),
        }
    }
    Ok(())
}

/// Whether a variable is for us. A short name without a value is one that a compose file passes on and nobody has set.
fn is_ours(name: &str, value: &[u8]) -> bool {
    let short = name.strip_suffix("_FILE").unwrap_or(name);
    let is_short = !value.is_empty() && SHORT_NAMES.iter().any(|(known, _)| *known == short);
    is_short || name.starts_with(PREFIX) && !OTHER_NAMES.contains(&name)
}

/// The row that a variable names, and whether its value is the path of a file that holds the secret.
fn directive_of(name: &str) -> Option<(usize, bool)> {
    let lookup = |name: &str| match SHORT_NAMES.iter().find(|(short, _)| *short == name) {
        Some((_, directive)) => directives::index_of(directive.as_bytes()),
        None => directives::index_of(name.strip_prefix(PREFIX)?.replace('_', "-").as_bytes()),
    };
    // `TANDEM_REQUIREPASS_FILE` is also a directive of its own, to the same end.
    if let Some(at) = name.strip_suffix("_FILE").and_then(lookup).filter(|at| TABLE[*at].secret) {
        return Some((at, true));
    }
    lookup(name).map(|at| (at, false))
}

fn unknown_variable(name: &str) -> String {
    let meant = directives::nearest(name.strip_prefix(PREFIX).unwrap_or(name))
        .map_or(String::new(), |meant| {
            format!("; did you mean {PREFIX}{}?", meant.to_ascii_uppercase().replace('-', "_"))
        });
    format!("variable {name} names no directive and has no effect{meant}")
}

fn apply_variable(
    reader: &mut Reader<'_>,
    name: &str,
    value: &[u8],
    at: usize,
    is_file: bool,
    notes: &mut Vec<String>,
) -> Result<(), LoadError> {
    let text = String::from_utf8_lossy(value);
    if is_file {
        let content = reader.files.read(&text);
        let content = content.map_err(|error| {
            LoadError::about(format!("variable {name}"), &*text, format!("can't read it: {error}"))
        })?;
        return set_secret(reader, at, &text, content);
    }
    // A variable that nobody filled in names no folder.
    if TABLE[at].name == "dir" && value.is_empty() {
        return Ok(());
    }
    // Kubernetes sets TANDEM_PORT=tcp://10.0.0.1:6379 for a service that is called "tandem".
    if TABLE[at].name.ends_with("port") && text.contains("://") {
        notes.push(format!("variable {name} holds an address that Kubernetes made; it has no effect"));
        return Ok(());
    }
    let origin = Origin::Variable(Arc::from(name));
    let shown = if TABLE[at].secret { "(not shown)" } else { &*text };
    let fail = |why: String| {
        LoadError::about(format!("variable {name}"), format!("{} {shown}", TABLE[at].name), why)
    };
    let words = TABLE[at].kind.words_of_quoted(value);
    let words = words.ok_or_else(|| fail("Unbalanced quotes in configuration line".into()))?;
    reader.assign(at, &words, origin).map_err(fail)
}

/// Directives that may be given as files, and those that name the files.
const SECRET_FILES: [(&str, &str); 2] =
    [("requirepass", "requirepass-file"), ("masterauth", "masterauth-file")];

/// The file of a secret is read where no layer gave it more directly.
fn apply_secret_file(
    reader: &mut Reader<'_>,
    (secret, file): (&'static str, &'static str),
    notes: &mut Vec<String>,
) -> Result<(), LoadError> {
    let path = reader.config.text_at(place(file));
    if path.is_empty() {
        return Ok(());
    }
    let path = String::from_utf8_lossy(&path).into_owned();
    if !reader.config.text_at(place(secret)).is_empty() {
        let origin = reader.config.origin_at(place(secret));
        if *origin != Origin::Secret(path.as_str().into()) {
            notes.push(format!("{file} {path} is not read: {secret} is given by {origin}, which wins"));
        }
        return Ok(());
    }
    let content = reader.files.read(&path);
    let content =
        content.map_err(|error| LoadError::about(&*path, file, format!("can't read it: {error}")))?;
    set_secret(reader, place(secret), &path, content)
}

fn note_command_line_secrets(config: &Config, notes: &mut Vec<String>) {
    for (at, row) in TABLE.iter().enumerate() {
        if row.secret && *config.origin_at(at) == Origin::CommandLine {
            notes.push(format!(
                "{} was given on the command line, where everybody on this machine can read it",
                row.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::read_args;
    use crate::conf::tests::InMemory;

    fn load(
        profile: &str,
        file: Option<(&str, &str)>,
        variables: &[(&str, &str)],
        args: &[&str],
    ) -> Result<Loaded, LoadError> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        load_bytes(profile, file, &variables, args)
    }

    fn load_bytes(
        profile: &str,
        file: Option<(&str, &str)>,
        variables: &[(&str, &[u8])],
        args: &[&str],
    ) -> Result<Loaded, LoadError> {
        let mut files =
            InMemory::of(&[("/s/pw", "from-file\n"), ("/s/empty", "\n"), ("/c/requirepass", "cred")]);
        let variables: Vec<_> = variables.iter().map(|(n, v)| ((*n).to_string(), v.to_vec())).collect();
        let args: Vec<_> = args.iter().map(|word| (*word).to_string()).collect();
        let layers = Layers {
            profile: Some(Figment::from(Data::<Toml>::string(profile))),
            maxmemory: 77,
            makes_dir: false,
            file: file.map(|(name, text)| (name.into(), text.as_bytes().to_vec())),
            stdin: None,
            invocation: read_args(&args),
        };
        layers.load(&mut Sources { variables: &variables, files: &mut files })
    }

    #[test]
    fn each_layer_covers_the_one_before() {
        let profile =
            "port = 1\ntimeout = 1\nhz = 1\ndatabases = 3\nsave = [\"900\", \"1\"]\nappendonly = true";
        let file = Some(("x.conf", "timeout 2\nhz 2\nmaxclients 5\nsave 1 1"));
        let env = [("TANDEM_HZ", "3"), ("TANDEM_MAXCLIENTS", "6"), ("PATH", "x")];
        let loaded = load(profile, file, &env, &["--maxclients", "7"]).unwrap();
        let config = &loaded.config;
        assert_eq!((config.port, config.timeout_seconds, config.hz, config.maxclients), (1, 2, 3, 7));
        assert_eq!((config.databases, config.maxmemory, config.appendonly), (3, 77, true));
        assert_eq!(config.text("save").unwrap(), b"1 1");
        assert_eq!(loaded.base.text("save").unwrap(), b"900 1");
        let origins =
            ["port", "timeout", "hz", "maxclients"].map(|name| config.origin(name).unwrap().to_string());
        assert_eq!(origins, ["profile", "x.conf, line 1", "variable TANDEM_HZ", "command line"]);
    }

    #[test]
    fn each_dir_counts_from_the_one_before_and_includes_are_in_it() {
        let dir = |profile: &str, text: &str, env: &[(&str, &str)], args: &[&str]| {
            load(profile, Some(("x.conf", text)), env, args).map(|loaded| loaded.config)
        };
        assert_eq!(dir("", "dir /a\ndir b", &[], &["--dir", "c"]).unwrap().dir, "/a/b/c");
        assert_eq!(dir("", "dir /a", &[("TANDEM_DIR", "b")], &["--dir", "/c"]).unwrap().dir, "/c");
        assert_eq!(dir("", "dir /a", &[("TANDEM_DIR", "")], &[]).unwrap().dir, "/a");
        assert!(dir("", "dir \"\"", &[], &[]).unwrap_err().why.ends_with("No such file or directory"));
        // The folder of a profile is not where a path of the command line begins.
        assert_eq!(dir("dir = \"/p\"", "", &[], &["--dir", "d"]).unwrap().dir, "d");
        assert_eq!(dir("dir = \"/p\"", "", &[], &[]).unwrap().dir, "/p");
        let included = dir("", "dir /s\ninclude none.conf", &[], &[]).unwrap_err();
        assert!(included.why.contains("'/s/none.conf'"), "{included}");
        let toml = load("", Some(("x.toml", "dir = \"/t\"")), &[], &["--dir", "u"]).unwrap().config;
        assert_eq!(toml.dir, "/t/u");
        let none = load("", None, &[], &[]).unwrap();
        assert_eq!((none.config.dir.as_str(), none.config.is_said("dir")), (".", false));
        assert_eq!(none.config.in_dir("x"), std::path::Path::new("./x"));
        assert_eq!(none.config.in_dir("/x"), std::path::Path::new("/x"));
    }

    #[test]
    fn whoever_starts_a_profile_says_a_dir_from_where_he_is_and_may_leave_that_of_the_profile() {
        let start = |profile: &str, args: &[&str]| {
            let mut files = InMemory::of(&[("/blocked", "a file")]);
            let args: Vec<_> = args.iter().map(|word| (*word).to_string()).collect();
            let layers = Layers {
                profile: Some(Figment::from(Data::<Toml>::string(profile))),
                makes_dir: true,
                file: Some(("x.conf".into(), b"dir /a\ndir b".to_vec())),
                invocation: read_args(&args),
                ..Layers::default()
            };
            layers
                .load(&mut Sources { variables: &[], files: &mut files })
                .map(|loaded| loaded.config.dir.clone())
        };
        assert_eq!(start("", &[]).unwrap(), "/a/b");
        assert_eq!(start("", &["--dir", "data"]).unwrap(), "data");
        assert_eq!(start("dir = \"\"", &["--dir", "/data"]).unwrap(), "/data");
        assert!(load("dir = \"\"", None, &[], &[]).unwrap_err().why.contains("Can't chdir"));
    }

    #[test]
    fn toml_files_are_layers_too() {
        let loaded =
            load("port = 1", Some(("x.toml", "port = 2\nmaxmemory = \"1gb\"\nbind = [\"::1\"]")), &[], &[]);
        let config = loaded.unwrap().config;
        assert_eq!(
            (config.port, config.maxmemory, config.bind.clone()),
            (2, 1 << 30, vec!["::1".to_string()])
        );
        assert!(load("", Some(("x.toml", "nosuch = 1")), &[], &[]).unwrap_err().text.contains("nosuch"));
        assert!(load("", Some(("x.toml", "port = {a = 1}")), &[], &[]).unwrap_err().why.contains("table"));
    }

    #[test]
    fn secrets_come_from_variables_files_and_credentials() {
        let password = |env: &[(&str, &str)], args: &[&str]| {
            load("", None, env, args)
                .map(|loaded| String::from_utf8(loaded.config.requirepass.clone()).unwrap())
        };
        assert_eq!(password(&[("REDIS_PASSWORD", "x y")], &[]).unwrap(), "x y");
        assert_eq!(password(&[("VALKEY_PASSWORD_FILE", "/s/pw")], &[]).unwrap(), "from-file");
        assert_eq!(password(&[("REDIS_PASSWORD", ""), ("REDIS_PASSWORD_FILE", "")], &[]).unwrap(), "");
        assert_eq!(password(&[("REDIS_PASSWORD_FILE", "/s/pw")], &[]).unwrap(), "from-file");
        assert_eq!(password(&[("TANDEM_REQUIREPASS_FILE", "/s/pw")], &[]).unwrap(), "from-file");
        assert_eq!(password(&[], &["--requirepass-file", "/s/pw"]).unwrap(), "from-file");
        assert_eq!(password(&[("CREDENTIALS_DIRECTORY", "/c")], &[]).unwrap(), "cred");
        assert_eq!(
            password(&[("CREDENTIALS_DIRECTORY", "/c"), ("REDIS_PASSWORD", "env")], &[]).unwrap(),
            "env"
        );
        let both =
            load("", Some(("x.conf", "requirepass own")), &[], &["--requirepass-file", "/s/pw"]).unwrap();
        assert_eq!(both.config.requirepass, b"own");
        assert_eq!(
            both.notes,
            ["requirepass-file /s/pw is not read: requirepass is given by x.conf, line 1, which wins"]
        );
        let missing = password(&[("REDIS_PASSWORD_FILE", "/s/none")], &[]).unwrap_err();
        assert_eq!(missing.origin, "variable REDIS_PASSWORD_FILE");
        assert!(password(&[("REDIS_PASSWORD_FILE", "/s/empty")], &[]).unwrap_err().why.contains("empty"));
    }

    #[test]
    fn a_password_in_a_variable_may_be_of_any_bytes() {
        for name in ["REDIS_PASSWORD", "TANDEM_REQUIREPASS"] {
            let loaded = load_bytes("", None, &[(name, b"p\xe4ss")], &[]).unwrap();
            assert_eq!(loaded.config.requirepass, b"p\xe4ss", "{name}");
        }
    }

    #[test]
    fn mistakes_name_their_variable_and_strangers_are_only_noted() {
        let error = load("", None, &[("REDIS_MAXMEMORY", "lots")], &[]).unwrap_err();
        assert_eq!(
            (error.origin.as_str(), error.text.as_str()),
            ("variable REDIS_MAXMEMORY", "maxmemory lots")
        );
        let notes = load("", None, &[("TANDEM_MAX_MEMORY", "1gb")], &[]).unwrap().notes;
        assert_eq!(
            notes,
            [
                "variable TANDEM_MAX_MEMORY names no directive and has no effect; did you mean TANDEM_MAXMEMORY?"
            ]
        );
        for twice in ["''", "\"\""] {
            let config = load(
                "",
                None,
                &[("TANDEM_SAVE", twice)],
                &["--client-output-buffer-limit", "'normal' 1 2 3"],
            );
            assert_eq!(config.unwrap().config.text("save").unwrap(), b"");
        }
        let kubernetes = [("TANDEM_PORT", "tcp://10.0.0.1:6379"), ("TANDEM_SERVICE_HOST", "10.0.0.1")];
        let loaded = load("port = 5", None, &kubernetes, &["--requirepass", "x"]).unwrap();
        assert_eq!((loaded.config.port, loaded.notes.len()), (5, 3));
    }
}
