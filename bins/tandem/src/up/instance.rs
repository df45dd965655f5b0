//! One server of the pair as a child of `tandem up`: how it is started, asked, told to end, and what it logged last.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use control::health::{Answer, ask};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::ASK_PATIENCE;
use super::home::Home;
use super::options::Options;
use crate::instances::{Name, health_socket};
use crate::say;

/// Most lines of an instance's log that are shown again when it ends early: those that tell why.
const REASON_LINES_MAX: usize = 8;

/// What stands in a line of the log before a warning, by `log-format`.
const WARNING_MARKS: [&str; 3] = [" # ", "level=warning", "\"level\":\"warning\""];

/// Longest log line that is forwarded whole, in bytes; longer ones are split.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Has this instance end in order when the `up` that started it ends in whatever way, also by `kill -9`.
///
/// # Errors
/// When it has ended already.
pub(crate) fn end_with(parent: Option<i32>) -> anyhow::Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::TERM)).context("asking to be told of the parent's end")?;
    // It may have ended before the kernel was asked.
    if getppid() != Pid::from_raw(parent) {
        bail!("the process that started this one has ended");
    }
    Ok(())
}

/// One running child.
pub(super) struct Instance {
    pub(super) name: Name,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    forwarders: Vec<JoinHandle<()>>,
    socket: PathBuf,
    ended: Option<ExitStatus>,
}

impl Instance {
    pub(super) fn start(home: &Home, options: &Options, name: Name) -> anyhow::Result<Instance> {
        let mut command = program(name)?;
        command
            .args(arguments(home, options, name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C reaches this process only, which then stops both in order.
            .process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {}", name.program()))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let mut forwarders = Vec::new();
        if let Some(stream) = child.stdout.take() {
            forwarders.push(forward(name, stream, Arc::clone(&log)));
        }
        if let Some(stream) = child.stderr.take() {
            forwarders.push(forward(name, stream, Arc::clone(&log)));
        }
        let socket = health_socket(&home.root, name);
        Ok(Instance { name, child, log, forwarders, socket, ended: None })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    /// Whether it serves; if not, what it says of that, unless nobody answers yet.
    pub(super) fn readiness(&self) -> Result<(), Option<String>> {
        match ask(&self.socket, ASK_PATIENCE) {
            Ok(Answer::Ready(_)) => Ok(()),
            Ok(Answer::NotReady(why) | Answer::NotAlive(why)) => Err(Some(why)),
            Err(_) => Err(None),
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        // A child that has just ended needs no signal; it has not been waited for, so its number is its own.
        if self.ended.is_none()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Has all be forwarded that it logged before it ended.
    pub(super) fn drain(&mut self) {
        for forwarder in self.forwarders.drain(..) {
            // A forwarder only reads and prints; were it to panic, its lines are missing and no more.
            let _ = forwarder.join();
        }
    }

    /// How it ended, once that is known.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// That it has ended by itself, and why.
    pub(super) fn last_words(&mut self) -> String {
        let how = self.ended.map_or("without a status".to_owned(), |status| status.to_string());
        let reason = self.reason();
        format!(
            "the {} ended by itself ({how}), so both have stopped. The end of its log:\n{reason}",
            self.name.as_str()
        )
    }

    /// Why it has ended, as its log has it: the last warning and what stands below it. All of the log was shown as it came.
    fn reason(&mut self) -> String {
        self.drain();
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let is_warning = |line: &String| WARNING_MARKS.iter().any(|mark| line.contains(mark));
        let begin = log.iter().rposition(is_warning).unwrap_or(0);
        log.iter().skip(begin).map(|line| format!("  {line}\n")).collect()
    }
}

/// This very program in the instance's role: what is started is never older than who starts it.
fn program(name: Name) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("finding this program's own file")?;
    let mut command = Command::new(own);
    command.args(["instance", "--parent", &std::process::id().to_string(), name.as_str()]);
    Ok(command)
}

/// Directives for one instance. The password goes by file, never by value. What the profile says anyway is not said: it could
/// not be changed by variables or the settings' file then.
fn arguments(home: &Home, options: &Options, name: Name) -> Vec<String> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let certificate = |extension: &str| path(home.tls().join(format!("{}.{extension}", name.program())));
    let bind = options.bind.to_string();
    let token = if home.is_public() { path(home.metrics_token()) } else { String::new() };
    let word = |is_on: bool| if is_on { "yes" } else { "no" }.to_owned();
    let directives = [
        ("bind", bind.clone()),
        ("port", options.port(name).to_string()),
        ("dir", path(home.root.join(name.as_str()))),
        ("requirepass-file", path(home.password_file(name))),
        ("aclfile", path(home.users(name))),
        ("tls-cert-file", certificate("crt")),
        ("tls-key-file", certificate("key")),
        ("metrics-bind", bind),
        ("metrics-port", options.metrics_port(name).to_string()),
        ("health-socket", path(health_socket(&home.root, name))),
        // Said in both cases: CONFIG REWRITE may have kept what was so at another start.
        ("metrics-token-file", token),
        ("metrics-tls", word(home.encrypts_metrics(name))),
        // Who reaches it must log in, and without TLS it is for this machine alone.
        ("console", word(home.has_console(options, name))),
    ];
    let options = directives.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]);
    std::iter::once(path(home.settings(name))).chain(options).collect()
}

/// Copies a child's lines to our output under its name, and keeps the last ones.
fn forward(
    name: Name,
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<VecDeque<String>>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            say(&format!("{} | {text}", name.as_str()));
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == REASON_LINES_MAX {
                log.pop_front();
            }
            log.push_back(text);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::secrets;

    #[test]
    fn no_password_is_on_a_childs_command_line() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::of(&["--dir", directory.path().to_str().unwrap(), "--queue-port", "7000"]);
        let home = Home::prepare(&options).unwrap();
        let words = arguments(&home, &options, Name::Queue).join(" ");
        assert!(words.starts_with(home.settings(Name::Queue).to_str().unwrap()), "{words}");
        let secret = secrets::read(&home.password_file(Name::Queue)).unwrap().secret;
        assert!(!words.contains(std::str::from_utf8(secret.reveal()).unwrap()));
        for free in ["--tls ", "--tls-auth-clients ", "--maxmemory ", "--appendfsync "] {
            assert!(!words.contains(free), "{free} is the operator's");
        }
        assert!(words.contains("--port 7000 ") && words.contains("--requirepass-file /"));
        assert!(words.contains("--console yes"), "{words}");
        let options = Options::of(&["--queue-metrics-port", "0"]);
        assert!(
            arguments(&home, &options, Name::Queue).join(" ").contains("--console no"),
            "there is no port for it"
        );
    }

    #[test]
    fn settings_have_the_last_word_on_console_and_encrypted_metrics() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::of(&["--dir", directory.path().to_str().unwrap()]);
        let home = Home::prepare(&options).unwrap();
        let words = || arguments(&home, &options, Name::Queue).join(" ");
        assert!(words().contains("--metrics-tls no --console yes"), "{}", words());
        std::fs::write(home.settings(Name::Queue), "console yes\nCONSOLE \"no\"\n# x\nmetrics-tls yes\n")
            .unwrap();
        assert!(words().contains("--metrics-tls yes --console no"), "{}", words());
        let text = home.connection_strings(&options, &[], true).unwrap();
        assert!(text.contains("https://127.0.0.1:9122/metrics") && !text.contains("9122/console"), "{text}");
        assert!(text.contains("http://127.0.0.1:9121/console"), "the cache is another one: {text}");
    }

    #[test]
    fn a_public_pair_offers_only_tls_for_its_address_and_guards_its_metrics() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::of(&["--dir", directory.path().to_str().unwrap(), "--bind", "192.0.2.7"]);
        let home = Home::prepare(&options).unwrap();
        let names = std::fs::read_to_string(home.tls().join("tandem-cache.names")).unwrap();
        assert!(names.lines().any(|name| name == "192.0.2.7"));
        let words = arguments(&home, &options, Name::Cache).join(" ");
        assert!(words.contains("--metrics-tls yes") && words.contains("secrets/metrics-token"), "{words}");
        let text = home.connection_strings(&options, &[], true).unwrap();
        assert!(text.contains("@192.0.2.7:6379\n") && text.contains("https://192.0.2.7:9121/metrics"));
        assert!(!text.contains("redis://") && !text.contains("http://"), "{text}");
        let secret = secrets::read(&home.password_file(Name::Queue)).unwrap().secret;
        let secret = std::str::from_utf8(secret.reveal()).unwrap();
        assert!(
            text.contains(secret)
                && !home.connection_strings(&options, &[Name::Queue], true).unwrap().contains(secret)
                && !home.connection_strings(&options, &[], false).unwrap().contains(secret)
        );
    }

    #[test]
    fn an_instance_whose_parent_has_gone_does_not_start() {
        assert!(end_with(Some(i32::MAX)).is_err() && end_with(None).is_ok());
        set_parent_process_death_signal(None).unwrap();
    }

    #[test]
    fn an_instance_that_ends_early_is_told_with_the_reason_alone() {
        let lines: String = (0..30)
            .map(|line| match line {
                20 => "1:M 30 Nov # an older warning\n".to_owned(),
                27 => "1:M 30 Nov # Could not listen\n".to_owned(),
                line => format!("line {line}\n"),
            })
            .collect();
        let mut child = Command::new("true").spawn().unwrap();
        let status = child.wait().unwrap();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let forwarders = vec![forward(Name::Cache, std::io::Cursor::new(lines), Arc::clone(&log))];
        let socket = PathBuf::new();
        let mut instance =
            Instance { name: Name::Cache, child, log, forwarders, socket, ended: Some(status) };
        let words = instance.last_words();
        assert!(words.ends_with(":\n  1:M 30 Nov # Could not listen\n  line 28\n  line 29\n"), "{words}");
    }
}
