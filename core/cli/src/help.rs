//! What the options are, and what `help` at the prompt says.

use crate::docs::{Docs, Entry};
use crate::failure::Failure;
use crate::session::Session;
use crate::value::Value;

/// The variable that says that nothing may be coloured.
pub(crate) const COLOURLESS_VARIABLE: &str = "NO_COLOR";

/// Options that say which server is asked, by whom and how.
pub(crate) const CONNECTION: &str = "\
Which server:
  -h HOST               its name or address (127.0.0.1)
  -p PORT               its port (6379)
  -s PATH               its Unix socket, in place of both
  -u URI                redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]; rediss:// for TLS, unix:// for a socket
  --cache, --queue      this machine's instance, of `tandem up`, systemd or the image; its password goes to no other server
  --dir FOLDER          the folder of that `tandem up` (tandem-data)
  -t SECONDS            how long connecting may take
  -n NUMBER             the database
  -2, -3                the protocol: RESP2, or RESP3
  -c                    accepted; there is no cluster mode

Who asks:
  -a PASSWORD, --pass PASSWORD
                        the password; $REDISCLI_AUTH keeps it off the command line
  --askpass             type it, unseen
  --user NAME           the user (default)
  --no-auth-warning     nothing is said about a password on the command line

TLS:
  --tls                 speak it
  --cacert FILE         the authority of the server's certificate (the system's)
  --cacertdir FOLDER    a folder of authorities
  --cert FILE, --key FILE
                        a certificate of your own
  --sni NAME            the server's name in its certificate (HOST)
  --insecure            any certificate will do
  --tls-ciphers LIST, --tls-ciphersuites LIST
                        suites that may be used, by OpenSSL's names";

/// The text of `--help`.
pub(crate) fn usage(name: &str) -> String {
    format!(
        "\
Asks a server, at a prompt or with one command.

Usage: {name} [OPTIONS] [COMMAND [ARGUMENT ...]]

{CONNECTION}

What is sent:
  -x                    the last argument is what standard input holds
  -X TAG                the argument TAG is
  -r TIMES              so often; -1 is for ever
  -i SECONDS            the pause in between
  -e                    exit with 1 if the reply is an error, which then goes to standard error
  --quoted-input        words may be written as at the prompt: '\"a\\x00b\"'
  --eval FILE [KEY ...] [, ARGUMENT ...]
                        run a Lua script; the comma stands alone
  --pipe                requests as they stand in standard input; counts replies
  --pipe-timeout SECONDS
                        how long the last reply may take (30; 0 is for ever)

How replies are shown:
  --raw                 bytes only (the default where standard output is no terminal)
  --no-raw              with types and numbers (the default at a terminal)
  --csv, --json, --quoted-json
                        as such; JSON asks with RESP3 unless -2 is given
  -d TEXT, -D TEXT      between the parts of a raw reply, and behind it (a line break)
  --show-pushes YES|NO  messages out of band (yes at a terminal)
  --verbose             accepted

Other things:
  --scan                all keys' names          [--pattern GLOB] [--quoted-pattern GLOB] [--count NUMBER]
  --bigkeys             the largest keys by elements
  --memkeys             the largest keys by memory          [--memkeys-samples NUMBER]
  --hotkeys             the most used keys, where maxmemory-policy counts that
  --stat                a line about the server each second
  --latency             round trips; --latency-history line by line, --latency-dist as a spectrum
  --intrinsic-latency SECONDS
                        standstills of this machine itself
  --rdb FILE            a snapshot; - is standard output. --functions-rdb FILE has the functions only
  --replica             what a replica is told
  --help, --version

Exit code: 0 if there was a reply, also one that is an error; 1 if there was none, or with -e if it is an error.

Examples:
  {name} --queue llen mail
  {name} -h cache.internal --tls --cacert ca.crt --user app --askpass
  {name} --scan --pattern 'session:*' | wc -l
"
    )
}

/// What `help` says without a word behind it.
const OVERVIEW: &str = "\
Type a command of the server, or
  help COMMAND          what a command takes and does
  help @GROUP           the commands of a group; the tab key completes both
  NUMBER COMMAND        run it so often
  connect HOST PORT     ask another server
  :set hints            show behind a command what it takes; :set nohints does not
  clear                 empty the screen
  quit
Preferences that stand in ~/.redisclirc are set at the start.
";

/// The text of `help`, with the words behind it.
pub(crate) fn answer(session: &mut Session<'_>, words: &[Vec<u8>]) -> Result<String, Failure> {
    let words: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if words.is_empty() {
        return Ok(OVERVIEW.to_owned());
    }
    let docs = match session.ask(&["COMMAND", "DOCS"])? {
        Value::Error(text) => return Ok(format!("{}\n", String::from_utf8_lossy(&text))),
        reply => Docs::of(&reply),
    };
    Ok(chosen(&docs, &words, session.screen.is_terminal && std::env::var_os(COLOURLESS_VARIABLE).is_none()))
}

fn chosen(docs: &Docs, words: &[String], is_coloured: bool) -> String {
    let entries: Vec<&Entry> = match words[0].strip_prefix('@') {
        Some(group) => docs.entries.iter().filter(|entry| entry.group.eq_ignore_ascii_case(group)).collect(),
        None => {
            let named = docs.find(words).filter(|(_, count)| *count == words.len());
            let name = words.join(" ").to_ascii_uppercase() + " ";
            // A command that has only subcommands is those.
            let below = docs.entries.iter().filter(|entry| entry.name.starts_with(&name));
            named.map(|(entry, _)| entry).into_iter().chain(below).collect()
        }
    };
    if entries.is_empty() {
        return format!(
            "No command or group is named {}. Groups: {}\n",
            words.join(" "),
            docs.groups().join(", ")
        );
    }
    let told: String = entries.iter().map(|entry| about(entry, is_coloured)).collect();
    format!("{told}\n")
}

fn about(entry: &Entry, is_coloured: bool) -> String {
    let painted = |code: &str, text: &str| match is_coloured {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let Entry { name, group, summary, since, .. } = entry;
    let syntax = entry.syntax();
    let gap = if syntax.is_empty() { "" } else { " " };
    let (head, syntax) = (painted("1", name), painted("90", &syntax));
    let field = |name: &str| painted("33", name);
    let (summary_is, since_is, group_is) = (field("summary:"), field("since:"), field("group:"));
    format!("\n  {head}{gap}{syntax}\n  {summary_is} {summary}\n  {since_is} {since}\n  {group_is} {group}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_the_usage() {
        let usage = usage("redis-cli");
        for option in [
            "-h ",
            "-p ",
            "-s ",
            "-u ",
            "--cache",
            "--queue",
            "--dir",
            "-t ",
            "-n ",
            "-2",
            "-3",
            "-c ",
            "-a ",
            "--pass",
            "--askpass",
            "--user",
            "--no-auth-warning",
            "--tls ",
            "--cacert ",
            "--cacertdir",
            "--cert ",
            "--key ",
            "--sni",
            "--insecure",
            "--tls-ciphers ",
            "--tls-ciphersuites",
            "-x ",
            "-X ",
            "-r ",
            "-i ",
            "-e ",
            "--quoted-input",
            "--eval",
            "--pipe ",
            "--pipe-timeout",
            "--raw",
            "--no-raw",
            "--csv",
            "--json",
            "--quoted-json",
            "-d ",
            "-D ",
            "--show-pushes",
            "--verbose",
            "--scan",
            "--pattern",
            "--quoted-pattern",
            "--count",
            "--bigkeys",
            "--memkeys ",
            "--memkeys-samples",
            "--hotkeys",
            "--stat",
            "--latency ",
            "--latency-history",
            "--latency-dist",
            "--intrinsic-latency",
            "--rdb",
            "--functions-rdb",
            "--replica",
            "--help",
            "--version",
        ] {
            assert!(usage.contains(option), "{option}");
        }
        assert!(usage.lines().all(|line| line.len() <= 130));
    }
}
