//! HELP: the subcommands of a container, told by their documentation.

use super::{all, syntax};
use resp::Reply;

/// Writes the help of `container` (lower case): how each of its subcommands is called and what it does.
pub fn write(container: &str, reply: &mut Reply<'_>) {
    let own = |name: &'static str| name.strip_prefix(container)?.strip_prefix('|');
    let lines: Vec<(String, &str)> = all()
        .filter_map(|doc| {
            let arguments = syntax::parse(doc.arguments).unwrap_or_default();
            let usage = format!("{} {}", own(doc.name)?.to_ascii_uppercase(), syntax::usage(&arguments));
            Some((usage.trim_end().to_owned(), doc.summary))
        })
        .collect();
    write_lines(container, &lines, reply);
}

/// Writes usages and what they do as Redis lays them out: an array of status replies, what is done indented behind its usage.
pub fn write_lines(container: &str, lines: &[(String, &str)], reply: &mut Reply<'_>) {
    reply.array(1 + 2 * lines.len());
    let container = container.to_ascii_uppercase();
    reply.status(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, summary) in lines {
        reply.status(usage);
        reply.status(&format!("    {summary}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::Protocol;

    #[test]
    fn help_names_each_subcommand_with_its_arguments() {
        let mut out = Vec::new();
        write("memory", &mut Reply::wire(&mut out, Protocol::Resp2));
        let text = String::from_utf8(out).expect("help is ASCII");
        assert!(text.starts_with("*13\r\n+MEMORY <subcommand> "), "{text}");
        assert!(text.contains("\r\n+HELP\r\n+    Lists the subcommands.\r\n"), "{text}");
        assert!(text.contains("\r\n+USAGE <key> [SAMPLES <count>]\r\n"), "{text}");
    }
}
