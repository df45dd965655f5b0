//! `tandem check`: what `check` finds in files of a server, and what `archive` finds in a repository, for people and for programs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use archive::{Moment, RepositoryUrl};
use check::{Contents, Depth, Finding, Level, Repaired, Report};
use clap::Args;
use serde_json::{Value, json};

use crate::backup::{keys, with_bar};
use crate::instances::refuse_home;
use crate::repository::Reach;
use crate::{say, verify};

const HELP: &str = "\
It never changes what it looks at. A snapshot or log is read whole, every checksum looked at, and then loaded into the memory of this
program, so that what a server would stumble over is found: that takes as much memory as a server. What a running server has not
finished writing looks like the end that a crash leaves.

With --repair-to DIR all that is good is written to an empty directory from which a server starts. A byte that was changed is put
right where a checksum tells what it was; what cannot be read is left out, and each piece of that is told.

Exit codes, of what was looked at:
  0  whole
  1  damaged
  2  it could not be looked at, or not be repaired; standard error says why. Or the options are wrong

Examples:
  tandem check /var/lib/tandem-queue
  tandem check /backup/dump.rdb --json
  tandem check /var/lib/tandem-queue --repair-to /var/lib/tandem-repaired
  tandem check /mnt/backup --identity backup.key";

/// Options of `tandem check`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// A snapshot (dump.rdb), a log (its directory, manifest, or a single file), users.acl, the directory of a server, or a repository of backups.
    #[arg(value_name = "FILE|DIR|URL")]
    what: String,
    /// Write what is good to this directory, which is empty or not there yet.
    #[arg(long, value_name = "DIR", conflicts_with = "checksums_only")]
    repair_to: Option<PathBuf>,
    /// Only look at formats and checksums, and load nothing.
    #[arg(long)]
    checksums_only: bool,
    /// The file with the secret key, for an encrypted repository.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is told of a time.
const DAMAGED: u8 = 1;
const NOT_LOOKED: u8 = 2;

/// Does what `tandem check` is asked for.
pub(crate) fn run(options: &Options) -> ExitCode {
    match look(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DAMAGED),
        Err(error) => {
            use std::io::Write;
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "tandem: {error:#}");
            ExitCode::from(NOT_LOOKED)
        }
    }
}

/// Whether all is whole.
fn look(options: &Options) -> anyhow::Result<bool> {
    let path = Path::new(&options.what);
    if let Some(url) = repository(&options.what)? {
        if options.repair_to.is_some() {
            bail!(
                "a repository is not repaired: `tandem restore --from {} --dir DIR` makes a directory from what is good of it",
                options.what
            );
        }
        let (store, keys) = (options.reach.open(&url)?, keys(options.identity.as_deref())?);
        let scratch = std::env::temp_dir();
        let scratch = (!options.checksums_only).then_some(scratch.as_path());
        // Moments that were never archived are told, and are no damage.
        let wanted = verify::Wanted { json: options.json, ..verify::Wanted::default() };
        let found = verify::look_through(&*store, &wanted, &keys, scratch)?;
        return Ok(found.wrong.is_empty());
    }
    refuse_home(path)?;
    let depth = Depth { checksums_only: options.checksums_only };
    let (reports, repaired) = match &options.repair_to {
        None => (with_bar(|bar| check::check(path, depth, bar))?, Vec::new()),
        Some(to) => with_bar(|bar| check::repair(path, to, bar))?,
    };
    let is_whole = reports.iter().all(|report| report.worst().is_none());
    let advice = match &options.repair_to {
        Some(to) => takeover(path, to, &reports)?,
        None => (!is_whole).then(|| advice(&options.what, &reports)),
    };
    say(&match options.json {
        true => report_json(&reports, &repaired, is_whole).to_string(),
        false => report_text(&reports, &repaired, advice),
    });
    Ok(is_whole)
}

/// The repository that this names, if it is one.
fn repository(what: &str) -> anyhow::Result<Option<RepositoryUrl>> {
    if what.contains("://") {
        return Ok(Some(what.parse().with_context(|| what.to_owned())?));
    }
    let is_lineage = |name: &std::ffi::OsStr| name.to_str().and_then(archive::parse_id).is_some();
    let folders = std::fs::read_dir(what).into_iter().flatten().flatten();
    let has_lineage =
        folders.into_iter().any(|folder| is_lineage(&folder.file_name()) && folder.path().is_dir());
    if has_lineage { Ok(Some(what.parse().with_context(|| what.to_owned())?)) } else { Ok(None) }
}

fn advice(what: &str, reports: &[Report]) -> String {
    let loses = reports.iter().any(|report| report.worst() == Some(Level::Damage));
    let copy = format!("`tandem check {what} --repair-to DIR` writes what is good to another directory");
    match loses {
        true => format!(
            "a backup may hold more: `tandem restore`, or a copy of the files. Else {copy}, and tells what is left out"
        ),
        false => format!("{copy}; nothing is lost by that"),
    }
}

/// What a directory of a server has besides its data, and the new one has not: settings, certificates, the owner. None where there
/// is no such directory.
fn takeover(from: &Path, to: &Path, reports: &[Report]) -> anyhow::Result<Option<String>> {
    let from = from.canonicalize().with_context(|| from.display().to_string())?;
    let named = reports.iter().map(|report| report.path.canonicalize().unwrap_or_default());
    let data: Vec<PathBuf> = named.collect();
    if !from.is_dir() || data.contains(&from) {
        return Ok(None);
    }
    let mut left: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let is_left = is_settings(&path) && !data.contains(&path);
        left.extend(is_left.then(|| path.display().to_string()));
    }
    left.sort_unstable();
    let (from, to) = (from.display(), to.display());
    let owner = format!("`chown -R --reference={from} {to}` before it takes the other's place");
    Ok(Some(match left.is_empty() {
        true => owner,
        false => format!("`cp -a {} {to}`, which are no data; then {owner}", left.join(" ")),
    }))
}

/// Whether it may belong to a server's settings: no socket, and nothing that a server makes for itself.
fn is_settings(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_process =
        name.starts_with("temp-") || [".lock", ".ballast"].iter().any(|end| name.ends_with(end));
    !is_of_process && name != "backup-backlog" && (path.is_file() || path.is_dir())
}

fn report_text(reports: &[Report], repaired: &[Repaired], advice: Option<String>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for report in reports {
        lines.push(format!(
            "{}: {}, {} bytes{}",
            report.path.display(),
            report.kind.name(),
            report.bytes,
            last(report)
        ));
        lines.extend(report.findings.iter().map(finding_text));
        lines.extend(report.contents.as_ref().map(|contents| contents_text("holds", contents)));
        lines.push(match (report.worst(), &report.refusal) {
            (None, _) => "  whole".to_owned(),
            (Some(_), None) => "  damaged".to_owned(),
            (Some(_), Some(_)) => "  damaged: a server does not start from it".to_owned(),
        });
    }
    for done in repaired {
        lines.push(format!("written: {}, from {}", done.path.display(), done.from.display()));
        lines.extend(done.contents.as_ref().map(|contents| contents_text("read again: it holds", contents)));
    }
    lines.extend(advice.map(|advice| format!("what to do: {advice}")));
    lines.join("\n")
}

fn last(report: &Report) -> String {
    match report.last_batch {
        Some((batch, 0)) => format!(", up to batch {batch}"),
        Some((batch, unix_ms)) => format!(", up to batch {batch} of {}", Moment(unix_ms)),
        None => String::new(),
    }
}

fn contents_text(verb: &str, contents: &Contents) -> String {
    format!("  {verb} {contents}; digest {}", contents.digest)
}

fn finding_text(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Note => "note",
        Level::Mendable => "damage, can be put right",
        Level::Damage => "damage",
    };
    let mut text = format!("  {level}: {}", finding.path.display());
    if let Some((from, to)) = finding.bytes {
        text += &format!(", bytes {from} to {to}");
    }
    if let Some(batches) = &finding.batches {
        text += &match batches.start() == batches.end() {
            true => format!(", batch {}", batches.start()),
            false => format!(", batches {} to {}", batches.start(), batches.end()),
        };
    }
    text += &match (finding.after_ms, finding.before_ms) {
        (Some(after), Some(before)) => format!(", written between {} and {}", Moment(after), Moment(before)),
        (Some(after), None) => format!(", written after {}", Moment(after)),
        (None, Some(before)) => format!(", written before {}", Moment(before)),
        (None, None) => String::new(),
    };
    text += &format!(": {}", finding.what);
    if !finding.left_out.is_empty() {
        text += &format!(". Left out: {}", finding.left_out);
    }
    text
}

/// What a data set holds.
pub(crate) fn contents_json(contents: &Contents) -> Value {
    let keys: serde_json::Map<String, Value> =
        contents.keys.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    json!({
        "keys": keys,
        "expired": contents.expired,
        "libraries": contents.libraries,
        "digest": contents.digest,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let level = match finding.level {
        Level::Note => "note",
        Level::Mendable => "mendable",
        Level::Damage => "damage",
    };
    json!({
        "level": level,
        "path": finding.path,
        "from": finding.bytes.map(|(from, _)| from),
        "to": finding.bytes.map(|(_, to)| to),
        "first_batch": finding.batches.as_ref().map(|batches| batches.start()),
        "last_batch": finding.batches.as_ref().map(|batches| batches.end()),
        "written_after": finding.after_ms.map(Moment),
        "written_before": finding.before_ms.map(Moment),
        "what": finding.what,
        "left_out": finding.left_out,
    })
}

fn report_json(reports: &[Report], repaired: &[Repaired], is_whole: bool) -> Value {
    let subject = |report: &Report| {
        json!({
            "path": report.path,
            "kind": report.kind.name(),
            "bytes": report.bytes,
            "whole": report.worst().is_none(),
            "last_batch": report.last_batch.map(|(batch, _)| batch),
            "last_moment": report.last_batch.filter(|(_, unix_ms)| *unix_ms > 0).map(|(_, unix_ms)| Moment(unix_ms)),
            "refusal": report.refusal,
            "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
            "contents": report.contents.as_ref().map(contents_json),
        })
    };
    let written = |done: &Repaired| json!({ "path": done.path, "from": done.from, "contents": done.contents.as_ref().map(contents_json) });
    json!({
        "whole": is_whole,
        "subjects": reports.iter().map(subject).collect::<Vec<_>>(),
        "written": repaired.iter().map(written).collect::<Vec<_>>(),
    })
}
