//! `tandem backup` and `tandem restore`: what `archive` does, for people and for cron.
//!
//! Every command tells what it has done in a few lines, or with `--json` in one object. Where it lasts and standard error is a
//! terminal, a bar tells how far it is.

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use archive::{
    ArchiveError, BackedUp, Description, Finding, Identity, Keep, Lineage, Moment, Pruned, Recipient,
    RepositoryUrl, Restored, Target,
};
use check::Contents;
use clap::{ArgGroup, Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use persist::aof::{HistoryId, Place};
use serde_json::{Value, json};

use crate::check::contents_json;
use crate::instances::refuse_home;
use crate::rehearse::load_log;
use crate::repository::Reach;
use crate::{say, verify};

const BACKUP_HELP: &str = "\
Exit codes:
  0  done; with `verify`: nothing is wrong or missing
  1  not done, or something is wrong, or there is no backup in the repository; standard error says what
  2  the options are wrong
  3  `verify`: nothing is wrong with what is there, but the archive of a server that archives all the time has gaps

Examples:
  age-keygen -o backup.key                       # keep it elsewhere; it prints the public key
  tandem backup now --dir /var/lib/tandem-queue --repository /mnt/backup --recipient age1...
  tandem backup now --dir /var/lib/tandem-queue --repository s3://BUCKET/queue --credentials s3.keys --recipient age1...
  tandem backup list --repository /mnt/backup --json
  tandem backup verify --repository /mnt/backup --identity backup.key
  tandem backup prune --repository /mnt/backup --keep 30d";

const RESTORE_HELP: &str = "\
Exit codes:
  0  restored
  1  not restored, and the directory holds no log, or it was restored and cannot be loaded; standard error says which.
     A time at which the repository has a gap is not restored
  2  the options are wrong

Examples:
  tandem restore --from /mnt/backup --dir /srv/restored --identity backup.key
  tandem restore --from /mnt/backup --at 2026-01-24T14:00:00Z --dir /srv/yesterday --identity backup.key
  tandem restore --from /mnt/backup --batch 4711 --dir /srv/restored --identity backup.key --json
  tandem queue --dir /srv/yesterday --port 6390 --metrics-port 0";

/// Options of `tandem backup`.
#[derive(Debug, Args)]
#[command(after_help = BACKUP_HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Bring a repository up to what a server's log holds, beside the running server.
    Now(Now),
    /// Tell what is in a repository.
    List(List),
    /// Look through a repository, restore a copy of it, load that and compare it.
    Verify(verify::Options),
    /// Remove what no moment that is to be kept needs.
    Prune(Prune),
}

/// Options of `tandem backup now`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("readers").required(true))]
struct Now {
    /// Where the backups are: a directory, which is made if it is not there, or s3://, gs:// or az:// with BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    repository: RepositoryUrl,
    #[command(flatten)]
    reach: Reach,
    /// The server's directory.
    #[arg(long)]
    dir: PathBuf,
    /// Who can read the backup: a public key of age, age1...; may be given several times.
    #[arg(long, value_name = "AGE1...", group = "readers")]
    recipient: Vec<String>,
    /// Do not encrypt: whoever reads the repository reads the data.
    #[arg(long, group = "readers")]
    unencrypted: bool,
    /// Do not encrypt even where the repository holds encrypted backups.
    #[arg(long, requires = "unencrypted")]
    although_encrypted: bool,
    /// The server's `appenddirname`.
    #[arg(long, default_value = "appendonlydir")]
    appenddirname: String,
    /// The server's `appendfilename`.
    #[arg(long, default_value = "appendonly.aof")]
    appendfilename: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Options of `tandem backup list`.
#[derive(Debug, Args)]
struct List {
    /// Where the backups are: a directory, or s3://, gs:// or az:// with BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    repository: RepositoryUrl,
    #[command(flatten)]
    reach: Reach,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Options of `tandem backup prune`.
#[derive(Debug, Args)]
struct Prune {
    /// Where the backups are: a directory, or s3://, gs:// or az:// with BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    repository: RepositoryUrl,
    #[command(flatten)]
    reach: Reach,
    /// Every moment of this time can be restored afterwards, as far as it could before: 30d, 12h.
    #[arg(long, value_parser = archive::parse_age_ms)]
    keep: i64,
    /// Keep at least so many bases of each log.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    bases: u16,
    /// Only tell what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Options of `tandem restore`.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub(crate) struct RestoreOptions {
    /// Where the backups are: a directory, or s3://, gs:// or az:// with BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    from: RepositoryUrl,
    #[command(flatten)]
    reach: Reach,
    /// Where the log is written; it is made if it is not there, and must hold no data.
    #[arg(long)]
    dir: PathBuf,
    /// As it was at this time, as 2026-01-24T14:00:00Z.
    #[arg(long, conflicts_with = "batch")]
    at: Option<Moment>,
    /// As it was behind this batch of the log.
    #[arg(long)]
    batch: Option<u64>,
    /// Which log, if there are several in the repository; --at chooses it where one alone reaches over that time.
    #[arg(long, value_parser = lineage)]
    lineage: Option<HistoryId>,
    /// The file with the secret key of age.
    #[arg(long)]
    identity: Option<PathBuf>,
    /// The `appenddirname` of the server that is to start there.
    #[arg(long, default_value = "appendonlydir", value_parser = file_name)]
    appenddirname: String,
    /// The `appendfilename` of the server that is to start there.
    #[arg(long, default_value = "appendonly.aof", value_parser = file_name)]
    appendfilename: String,
    /// Do not load what was restored, which takes as much memory as a server; then its keys are not counted.
    #[arg(long)]
    checksums_only: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Does what `tandem backup` is asked for.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    match &options.task {
        Task::Now(options) => now(options),
        Task::List(options) => list(options),
        Task::Verify(options) => verify::run(options),
        Task::Prune(options) => prune(options),
    }
}

/// Does what `tandem restore` is asked for.
pub(crate) fn restore(options: &RestoreOptions) -> anyhow::Result<ExitCode> {
    refuse_home(&options.dir)?;
    let store = options.reach.open(&options.from)?;
    let target = match (options.at, options.batch) {
        (Some(moment), _) => Target::At(moment),
        (None, Some(batch)) => Target::Batch(batch),
        (None, None) => Target::Latest,
    };
    let keys = keys(options.identity.as_deref())?;
    let place = Place {
        dir: options.dir.clone(),
        dir_name: options.appenddirname.clone(),
        file_name: options.appendfilename.clone(),
    };
    let restored = with_bar(|bar| archive::restore(&*store, options.lineage, target, &keys, &place, bar))?;
    let contents = match options.checksums_only {
        true => None,
        false => Some(load_log(&place)?.contents()),
    };
    let text = || restored_text(&restored, options, contents.as_ref());
    tell(options.json, text, || restored_json(&restored, contents.as_ref()));
    Ok(ExitCode::SUCCESS)
}

fn now(options: &Now) -> anyhow::Result<ExitCode> {
    let recipients =
        options.recipient.iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, _>>()?;
    refuse_home(&options.dir)?;
    archive::refuse_inside(&options.repository, &options.dir)?;
    let store = options.reach.create(&options.repository)?;
    if options.unencrypted && !options.although_encrypted {
        archive::refuse_sealed(&*store)?;
    }
    let place = Place {
        dir: options.dir.clone(),
        dir_name: options.appenddirname.clone(),
        file_name: options.appendfilename.clone(),
    };
    let done = with_bar(|bar| archive::back_up(&*store, &place, &recipients, bar))?;
    tell(options.json, || backed_up_text(&done), || backed_up_json(&done));
    Ok(ExitCode::SUCCESS)
}

fn list(options: &List) -> anyhow::Result<ExitCode> {
    let found = archive::lineages(&*options.reach.open(&options.repository)?)?;
    if found.is_empty() {
        return Err(ArchiveError::Empty.into());
    }
    let text = || found.iter().map(lineage_text).collect::<Vec<_>>().join("\n");
    tell(options.json, text, || json!({ "lineages": found.iter().map(lineage_json).collect::<Vec<_>>() }));
    Ok(ExitCode::SUCCESS)
}

fn prune(options: &Prune) -> anyhow::Result<ExitCode> {
    let since = Moment(now_ms()?.saturating_sub(options.keep));
    let keep = Keep { since, bases_min: usize::from(options.bases) };
    let done = archive::prune(&*options.reach.open(&options.repository)?, keep, options.dry_run)?;
    tell(options.json, || pruned_text(&done, options.dry_run), || pruned_json(&done));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn tell(as_json: bool, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) {
    say(&if as_json { value().to_string() } else { text() });
}

pub(crate) fn lineage(text: &str) -> Result<HistoryId, String> {
    archive::parse_id(text)
        .ok_or_else(|| "a log is named by 32 hexadecimal digits; `list` tells them".to_owned())
}

fn file_name(text: &str) -> Result<String, &'static str> {
    match Path::new(text).file_name() {
        Some(name) if name == text => Ok(text.to_owned()),
        _ => Err("a name is wanted, and no path"),
    }
}

pub(crate) fn keys(file: Option<&Path>) -> anyhow::Result<Vec<Identity>> {
    let Some(path) = file else { return Ok(Vec::new()) };
    let read = |path: &Path| anyhow::Ok(archive::identities(File::open(path)?)?);
    read(path).with_context(|| format!("reading the key in {}", path.display()))
}

fn now_ms() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// What lasts no longer than this is done before anybody wonders.
const SILENT_S: u64 = 1;

/// Runs what lasts, with a bar on a terminal as soon as that takes a while.
pub(crate) fn with_bar<T, E>(work: impl FnOnce(archive::Progress<'_>) -> Result<T, E>) -> Result<T, E> {
    if !std::io::stderr().is_terminal() {
        return work(&mut |_, _| {});
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{bytes}/{total_bytes} {wide_bar} {bytes_per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut is_hidden = true;
    let result = work(&mut |done, total| {
        if is_hidden && bar.elapsed().as_secs() >= SILENT_S {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            is_hidden = false;
        }
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

fn at(moment: Option<Moment>) -> String {
    moment.map_or_else(|| "unknown".to_owned(), |moment| moment.to_string())
}

fn backed_up_text(done: &BackedUp) -> String {
    let mut text = match (&done.base, done.segments.as_slice()) {
        (None, []) => "nothing new".to_owned(),
        (None, [first, ..]) => {
            format!("archived batches {} to {}", first.first_batch(), done.last_batch)
        }
        (Some(base), []) => format!("archived a base that covers batch {}", base.last_batch()),
        (Some(base), [first, ..]) => format!(
            "archived a base that covers batch {}, and batches {} to {}",
            base.last_batch(),
            first.first_batch(),
            done.last_batch
        ),
    };
    text += &format!(": {} bytes of the log, {} in the repository\n", done.plain_bytes(), done.bytes());
    text += &format!("log {}, last batch {}, of {}", done.lineage, done.last_batch, at(done.last_moment));
    text + &match done.recipients_before.as_deref() {
        None => String::new(),
        Some([]) => "\nnote: what was archived of it before is not encrypted".to_owned(),
        Some(keys) => format!(
            "\nnote: what was archived of it before is encrypted to {}: keep that key as long as these backups",
            keys.join(", ")
        ),
    }
}

fn backed_up_json(done: &BackedUp) -> Value {
    json!({
        "lineage": done.lineage.to_string(),
        "base_covers": done.base.as_ref().map(Description::last_batch),
        "first_batch": done.segments.first().map(Description::first_batch),
        "last_batch": done.last_batch,
        "last_moment": done.last_moment,
        "segments": done.segments.len(),
        "log_bytes": done.plain_bytes(),
        "stored_bytes": done.bytes(),
        "recipients_before": done.recipients_before,
    })
}

fn lineage_text(lineage: &Lineage) -> String {
    let bytes: u64 = lineage.objects().map(|told| told.bytes).sum();
    let mut text = format!("log {}: {} bytes, up to {}", lineage.id, bytes, at(lineage.last_moment()));
    for told in lineage.objects() {
        let (first, last, at) = (told.first_batch(), told.last_batch(), told.at());
        text += &match told.from() {
            None => format!("\n  base     covers batch {last}, of {at} at the latest, {} bytes", told.bytes),
            Some(from) => {
                format!("\n  segment  batches {first} to {last}, {from} to {at}, {} bytes", told.bytes)
            }
        };
    }
    match lineage.replaced_count() {
        0 => {}
        count => text += &format!("\n  {count} more segments lie in larger ones by now, and go"),
    }
    for finding in lineage.unreadable() {
        text += &format!("\n  cannot be read: {}: {}", finding.name, finding.what);
    }
    text
}

fn lineage_json(lineage: &Lineage) -> Value {
    json!({
        "lineage": lineage.id.to_string(),
        "last_batch": lineage.last_batch(),
        "last_moment": lineage.last_moment(),
        "first_moment": lineage.span().times.map(|(from, _)| from),
        "bases": lineage.bases(),
        "segments": lineage.segments(),
        "replaced": lineage.replaced_count(),
        "unreadable": findings_list(&lineage.unreadable()),
    })
}

pub(crate) fn findings_list(findings: &[Finding]) -> Vec<Value> {
    findings.iter().map(|finding| json!({ "name": finding.name, "what": finding.what })).collect()
}

fn pruned_text(done: &Pruned, only_told: bool) -> String {
    let verb = if only_told { "would remove" } else { "removed" };
    let mut text: String = done.objects.iter().map(|name| format!("{name}\n")).collect();
    for name in &done.swept {
        text += &format!("{name}: {verb}, nothing tells of it\n");
    }
    for name in &done.spared {
        text += &format!("{name}: stays, though nothing tells of it: it is the only copy of what it holds\n");
    }
    text += &format!("{verb} {} objects of {} bytes", done.objects.len(), done.bytes);
    match done.unnamed {
        0 => text,
        files => text + &format!("; {files} files were left of uploads, and are removed"),
    }
}

fn pruned_json(done: &Pruned) -> Value {
    json!({
        "objects": done.objects,
        "bytes": done.bytes,
        "swept": done.swept,
        "spared": done.spared,
        "unnamed": done.unnamed,
    })
}

fn restored_text(done: &Restored, options: &RestoreOptions, contents: Option<&Contents>) -> String {
    let Restored { lineage, last_batch, last_moment, bytes, .. } = done;
    let mut text = format!(
        "restored log {lineage} as of batch {last_batch}, {last_moment}: {bytes} bytes in {}",
        options.dir.display()
    );
    if let Some(contents) = contents {
        text += &format!("\nit was loaded: {contents}");
    }
    if done.archived_batch > *last_batch {
        text += &format!("\nleft out: batches {} to {}", last_batch + 1, done.archived_batch);
    } else if options.at.is_some_and(|at| at > *last_moment) {
        text += "\nthe repository ends there: what was written later, if anything was, is not in it";
    }
    if let Some(to) = done.gap_to {
        text += &format!(
            "\nbatches {} to {to} are not in the repository, so nothing between can be restored",
            last_batch + 1
        );
    }
    text
}

fn restored_json(done: &Restored, contents: Option<&Contents>) -> Value {
    json!({
        "lineage": done.lineage.to_string(),
        "history": done.history.to_string(),
        "base_covers": done.base_covers,
        "last_batch": done.last_batch,
        "last_moment": done.last_moment,
        "archived_batch": done.archived_batch,
        "gap_to": done.gap_to,
        "bytes": done.bytes,
        "is_end": done.last_batch == done.archived_batch,
        "contents": contents.map(contents_json),
    })
}
