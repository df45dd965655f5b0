//! A log is written, archived and restored; what comes back is compared with what was written. The log is the real one, in a
//! directory of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persist::aof::{Base, Commands, FileKind, HistoryId, Log, Place, examine};
use persist::disk::{Disk, Real};
use tempfile::TempDir;

use super::*;
use crate::seal::tests::identity;

mod follow;
mod roll;
mod untold;

const HISTORY: HistoryId = HistoryId(0xabc);
/// A batch every second.
const STEP_MS: i64 = 1000;

/// A server, as far as its log goes: batch N sets the number N, base N holds the numbers up to N.
struct Server {
    dir: TempDir,
    log: Log,
    last: u64,
}

fn base_bytes(covers: u64) -> Vec<u8> {
    format!("REDIS0011 a base that holds {covers}").into_bytes()
}

fn command(batch: u64) -> Vec<u8> {
    let number = batch.to_string();
    format!("*3\r\n$3\r\nSET\r\n$1\r\nn\r\n${}\r\n{number}\r\n", number.len()).into_bytes()
}

fn time_of(batch: u64) -> Moment {
    Moment(batch as i64 * STEP_MS)
}

impl Server {
    fn new() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Real);
        let log = Log::create(disk, Place::new(dir.path()), &base_bytes(0), Base::Snapshot, HISTORY).unwrap();
        let server = Server { dir, log, last: 0 };
        server.date_base();
        server
    }

    /// Whose log begins with the state behind a batch.
    fn begun(history: HistoryId, last: u64) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let temp = dir.path().join("temp-base");
        fs::write(&temp, base_bytes(last)).unwrap();
        let (disk, place): (Arc<dyn Disk>, Place) = (Arc::new(Real), Place::new(dir.path()));
        let log = Log::create_behind(disk, place, &temp, Base::Snapshot, history, last).unwrap();
        let server = Server { dir, log, last };
        server.date_base();
        server
    }

    fn place(&self) -> Place {
        Place::new(self.dir.path())
    }

    fn write(&mut self, batches: u64) {
        for _ in 0..batches {
            self.last += 1;
            self.log.append(&mut command(self.last), time_of(self.last).0).unwrap();
        }
    }

    /// A rewrite begins: what follows goes to another file.
    fn move_on(&mut self) {
        let prepared = self.log.plan_rewrite().unwrap().run();
        self.log.begin_rewrite(prepared).unwrap();
    }

    /// A whole one, but for the writes between.
    fn rewrite(&mut self) {
        self.move_on();
        self.finish_rewrite();
    }

    fn finish_rewrite(&mut self) {
        let temp = self.dir.path().join("temp-base");
        fs::write(&temp, base_bytes(self.last)).unwrap();
        let published = self.log.plan_finish(Base::Snapshot).unwrap().run(&temp).unwrap();
        drop(self.log.install(published));
        self.date_base();
    }

    /// When a file was changed last is the time of a base, and here batches have times of their own.
    fn date_base(&self) {
        let base = self.place().log_dir().join(&self.log.manifest().base.as_ref().unwrap().name);
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(time_of(self.last).0 as u64);
        fs::File::open(base).unwrap().set_modified(at).unwrap();
    }

    /// A copy of its directory, to which another server is started.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        let log = Place::new(copy.path()).log_dir();
        fs::create_dir(&log).unwrap();
        for file in fs::read_dir(self.place().log_dir()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), log.join(file.file_name())).unwrap();
        }
        copy
    }

    fn from_copy(dir: TempDir, last: u64) -> Server {
        let disk: Arc<dyn Disk> = Arc::new(Real);
        let place = Place::new(dir.path());
        let found = persist::aof::recover(&Real, &place, true, 0).unwrap();
        let verified = found.load(|_| Ok::<_, ()>(())).unwrap();
        Server { log: Log::open(disk, place, verified, HISTORY).unwrap(), dir, last }
    }
}

/// A repository and what it is written and read with.
struct Repository {
    dir: TempDir,
    recipients: Vec<Recipient>,
    keys: Vec<Identity>,
}

impl Repository {
    fn sealed() -> Repository {
        let keys = vec![identity()];
        Repository { dir: tempfile::tempdir().unwrap(), recipients: vec![keys[0].recipient()], keys }
    }

    fn open() -> Repository {
        Repository { dir: tempfile::tempdir().unwrap(), recipients: Vec::new(), keys: Vec::new() }
    }

    fn store(&self) -> Directory {
        Directory::open(self.dir.path()).unwrap()
    }

    fn back_up(&self, server: &Server) -> Result<BackedUp, ArchiveError> {
        back_up(&self.store(), &server.place(), &self.recipients, &mut |_, _| {})
    }

    fn restore(&self, target: Target) -> Result<(Restored, TempDir), ArchiveError> {
        let dir = tempfile::tempdir().unwrap();
        let done = restore(&self.store(), None, target, &self.keys, &Place::new(dir.path()), &mut |_, _| {})?;
        Ok((done, dir))
    }

    /// The state at a target, the last number that was set.
    fn state(&self, target: Target) -> Result<u64, ArchiveError> {
        let (done, dir) = self.restore(target)?;
        let state = state(dir.path(), done.base_covers);
        assert_eq!(state, done.last_batch);
        Ok(state)
    }

    fn verify(&self) -> Findings {
        verify(&self.store(), None, &self.keys, &mut |_, _| {}).unwrap()
    }

    fn prune(&self, since: u64, bases_min: usize) -> Pruned {
        prune(&self.store(), Keep { since: time_of(since), bases_min }, false).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.store().list().unwrap().into_iter().map(|name| self.dir.path().join(name)).collect()
    }
}

/// Reads a log as a server does at its start: the number that it ends with, when all from the base on are there.
fn state(dir: &Path, covers: u64) -> u64 {
    let found = examine(&Real, &Place::new(dir)).unwrap();
    let [base, commands] = found.files() else { panic!("{:?}", found.files()) };
    assert_eq!((base.kind, fs::read(&base.path).unwrap()), (FileKind::Base, base_bytes(covers)));
    let mut state = covers;
    let mut reader = Commands::new(fs::File::open(&commands.path).unwrap(), 0, commands.bytes);
    while let Some(args) = reader.next().unwrap() {
        assert_eq!(args[2], (state + 1).to_string().as_bytes());
        state += 1;
    }
    state
}

#[test]
fn every_batch_comes_back_through_rewrites_and_starts() {
    for repository in [Repository::open(), Repository::sealed()] {
        let mut server = Server::new();
        for round in 0..6 {
            server.write(round);
            repository.back_up(&server).unwrap();
            server.write(round % 2);
            if round == 2 {
                repository.back_up(&server).unwrap();
                server.rewrite();
            }
            if round == 3 {
                server.move_on();
                server.write(2);
                repository.back_up(&server).unwrap();
                server.log.abort_rewrite();
                server.move_on();
            }
            if round == 4 {
                let (copy, last) = (server.copy(), server.last);
                server = Server::from_copy(copy, last);
            }
        }
        let last = repository.back_up(&server).unwrap().last_batch;
        assert_eq!(last, server.last);
        for batch in 0..=last {
            assert_eq!(repository.state(Target::Batch(batch)).unwrap(), batch);
        }
        assert_eq!(repository.state(Target::Latest).unwrap(), last);
        assert!(matches!(repository.state(Target::Batch(last + 1)), Err(ArchiveError::NoSuchBatch(_))));
        assert_eq!(repository.verify().wrong, []);
    }
}

#[test]
fn a_time_is_the_last_batch_that_is_not_later() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(5);
    repository.back_up(&server).unwrap();
    server.rewrite();
    server.write(5);
    repository.back_up(&server).unwrap();
    for batch in 1..=server.last {
        for (off, expected) in [(0, batch), (STEP_MS - 1, batch), (-1, batch - 1)] {
            let moment = Moment(time_of(batch).0 + off);
            assert_eq!(repository.state(Target::At(moment)).unwrap(), expected, "{moment}");
        }
    }
    let long_ago = Moment(-1);
    assert!(matches!(repository.state(Target::At(long_ago)), Err(ArchiveError::NothingSoOld(_))));
}

#[test]
fn what_is_not_closed_is_not_taken_and_comes_next_time() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(3);
    let file = server.place().log_dir().join(&server.log.manifest().incrementals[0].name);
    let whole = fs::read(&file).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        fs::write(&file, &whole[..cut]).unwrap();
        repository.back_up(&server).unwrap();
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(repository.back_up(&server).unwrap().last_batch, 3);
    assert_eq!(repository.back_up(&server).unwrap().bytes(), 0, "nothing is archived twice");
    assert_eq!(repository.state(Target::Batch(2)).unwrap(), 2);
}

#[test]
fn a_damaged_log_is_refused_and_what_is_archived_stays() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(2);
    repository.back_up(&server).unwrap();
    server.write(2);
    let file = server.place().log_dir().join(&server.log.manifest().incrementals[0].name);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(matches!(repository.back_up(&server), Err(ArchiveError::BadLog(..))));
    assert_eq!(repository.state(Target::Latest).unwrap(), 2);
}

#[test]
fn a_rewrite_that_took_what_was_not_archived_leaves_a_gap_that_is_told() {
    let (repository, mut server) = (Repository::sealed(), Server::new());
    server.write(3);
    repository.back_up(&server).unwrap();
    server.write(4);
    server.rewrite();
    server.write(2);
    assert_eq!(repository.back_up(&server).unwrap().base.unwrap().last_batch(), 7);
    for batch in [0, 1, 3, 7, 8, 9] {
        assert_eq!(repository.state(Target::Batch(batch)).unwrap(), batch);
    }
    for batch in 4..7 {
        assert!(matches!(repository.state(Target::Batch(batch)), Err(ArchiveError::NoSuchBatch(_))));
    }
    for lost in 4..7 {
        let refused = repository.restore(Target::At(time_of(lost)));
        assert!(matches!(refused, Err(ArchiveError::Gap { last: 3, to: 7, .. })), "{refused:?}");
    }
    let (done, _dir) = repository.restore(Target::At(time_of(3))).unwrap();
    assert_eq!((done.last_batch, done.gap_to, done.archived_batch), (3, Some(7), 9));
    let found = repository.verify();
    assert_eq!((found.wrong.len(), found.gaps.len(), found.between.len()), (0, 0, 1), "{found:?}");
    assert_eq!(found.remarks, []);
}

#[test]
fn two_that_went_on_from_one_log_do_not_mix() {
    let (repository, mut one) = (Repository::open(), Server::new());
    one.write(3);
    let mut other = Server::from_copy(one.copy(), one.last);
    one.write(2);
    repository.back_up(&one).unwrap();
    assert!(matches!(repository.back_up(&other), Err(ArchiveError::Behind { log: 3, archived: 5 })));
    other.last = 100;
    other.write(3);
    assert!(matches!(repository.back_up(&other), Err(ArchiveError::Forked(5))));
    assert_eq!(repository.state(Target::Latest).unwrap(), 5);
}

#[test]
fn what_was_restored_is_another_log() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(4);
    repository.back_up(&server).unwrap();
    let (done, dir) = repository.restore(Target::Batch(2)).unwrap();
    assert_ne!(done.history, HISTORY);
    let mut restored = Server::from_copy(dir, 2);
    restored.write(1);
    assert_eq!(repository.back_up(&restored).unwrap().lineage, done.history);
    repository.back_up(&server).unwrap();
    assert!(
        matches!(repository.restore(Target::Latest), Err(ArchiveError::Ambiguous(ids)) if ids.len() == 2)
    );
    let dir = tempfile::tempdir().unwrap();
    let store = repository.store();
    let place = Place::new(dir.path());
    restore(&store, Some(done.history), Target::Latest, &[], &place, &mut |_, _| {}).unwrap();
    assert_eq!(state(dir.path(), 0), 3);
}

#[test]
fn a_time_chooses_the_log_where_only_one_reaches_over_it() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(4);
    repository.back_up(&server).unwrap();
    let mut later = Server::begun(HistoryId(0xdef), 20);
    later.write(3);
    repository.back_up(&later).unwrap();
    assert_eq!(repository.restore(Target::At(time_of(2))).unwrap().0.lineage, HISTORY);
    assert_eq!(repository.restore(Target::At(time_of(22))).unwrap().0.lineage, HistoryId(0xdef));
    let Err(error) = repository.restore(Target::At(time_of(10))) else { panic!("it lies in neither") };
    assert!(error.to_string().contains(&format!(
        "{HISTORY}  {} to {}, last batch 4",
        time_of(0),
        time_of(4)
    )));
    server.last = 21;
    server.write(1);
    repository.back_up(&server).unwrap();
    let both = repository.restore(Target::At(time_of(21)));
    assert!(matches!(both, Err(ArchiveError::Ambiguous(_))), "two servers archive at once");
}

#[test]
fn nothing_is_listed_or_pruned_where_nothing_is() {
    let repository = Repository::open();
    let keep = Keep { since: time_of(0), bases_min: 1 };
    assert!(matches!(prune(&repository.store(), keep, false), Err(ArchiveError::Empty)));
}

#[test]
fn what_is_encrypted_is_not_mixed_by_an_oversight() {
    let (repository, mut server) = (Repository::sealed(), Server::new());
    assert!(refuse_sealed(&repository.store()).is_ok());
    server.write(1);
    repository.back_up(&server).unwrap();
    assert!(matches!(refuse_sealed(&repository.store()), Err(ArchiveError::Unsealed)));
}

#[test]
fn only_the_right_key_opens_it() {
    let (mut repository, mut server) = (Repository::sealed(), Server::new());
    server.write(2);
    repository.back_up(&server).unwrap();
    let secret =
        |file: &PathBuf| !String::from_utf8_lossy(&fs::read(file).unwrap()).contains("a base that holds");
    assert!(repository.files().iter().all(secret));
    repository.keys.clear();
    assert!(matches!(repository.restore(Target::Latest), Err(ArchiveError::NeedsKey(_))));
    assert_eq!((repository.verify().wrong, repository.verify().opened), (Vec::new(), 0));
    let other = "# another one\nAGE-SECRET-KEY-1CTY3U3CW48YA2ANG2NYRPR5YGC5A3EYMJUMJTKPXVA7ZFDS4NG6QLG9SV9\n";
    repository.keys = identities(other.as_bytes()).unwrap();
    assert!(matches!(repository.restore(Target::Latest), Err(ArchiveError::WrongKey(_))));
    let found = repository.verify();
    assert_eq!((found.wrong.len(), found.opened), (2, 0));
    assert!(found.wrong.iter().all(|wrong| wrong.what.contains("none of the keys")), "{found:?}");
}

#[test]
fn another_recipient_is_told_once() {
    let (mut repository, mut server) = (Repository::sealed(), Server::new());
    let first = repository.recipients[0].to_string();
    let mut told = Vec::new();
    let other = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    for recipients in [
        vec![first.as_str()],
        vec![first.as_str()],
        vec![other],
        vec![other, &first],
        vec![&first, other],
        vec![],
        vec![],
    ] {
        server.write(1);
        repository.recipients = recipients.iter().map(|text| text.parse().unwrap()).collect();
        told.push(repository.back_up(&server).unwrap().recipients_before);
    }
    let mut both = vec![first.clone(), other.to_owned()];
    both.sort();
    assert_eq!(told, [None, None, Some(vec![first]), Some(vec![other.to_owned()]), None, Some(both), None]);
}

#[test]
fn a_flipped_byte_is_named_whatever_it_is_in() {
    for repository in [Repository::open(), Repository::sealed()] {
        let mut server = Server::new();
        server.write(3);
        repository.back_up(&server).unwrap();
        server.write(3);
        repository.back_up(&server).unwrap();
        assert_eq!(repository.files().len(), 6, "a base, two segments and what tells of them");
        for file in repository.files() {
            let good = fs::read(&file).unwrap();
            let name = file.strip_prefix(repository.dir.path()).unwrap().to_str().unwrap();
            for at in (0..good.len()).step_by(11) {
                let mut bad = good.clone();
                bad[at] ^= 4;
                fs::write(&file, bad).unwrap();
                let found = repository.verify();
                // A changed time or place of the log in a description is no damage to what is restored.
                let is_harmless = name.ends_with(".json") && found.wrong.is_empty();
                assert!(is_harmless || !found.wrong.is_empty(), "{name}, byte {at}");
                if !name.ends_with(".json") {
                    assert_eq!(found.wrong[0].name, name);
                    assert!(at > 0 || repository.restore(Target::Latest).is_err());
                }
            }
            fs::write(&file, good).unwrap();
        }
        assert_eq!(repository.verify().wrong, []);
    }
}

#[test]
fn a_missing_object_is_named() {
    let (repository, mut server) = (Repository::open(), Server::new());
    for _ in 0..3 {
        server.write(2);
        repository.back_up(&server).unwrap();
    }
    for file in repository.files() {
        let good = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let found = repository.verify();
        assert!(!found.wrong.is_empty(), "{}: {found:?}", file.display());
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn pruning_keeps_what_a_kept_moment_needs() {
    for since in [0, 3, 4, 9, 16] {
        for bases_min in [1, 3] {
            let (repository, mut server) = (Repository::open(), Server::new());
            for _ in 0..4 {
                server.write(4);
                repository.back_up(&server).unwrap();
                server.rewrite();
            }
            let all = lineages(&repository.store()).unwrap();
            let bases: Vec<u64> = all[0].bases().iter().map(Description::last_batch).collect();
            repository.prune(since, bases_min);
            let left = lineages(&repository.store()).unwrap();
            assert!(left[0].bases().len() >= bases_min.min(bases.len()));
            assert_eq!(repository.verify().wrong, [], "kept since {since}, {bases_min} bases");
            for batch in since..=16 {
                assert_eq!(
                    repository.state(Target::At(time_of(batch))).unwrap(),
                    batch,
                    "{since} {bases_min}"
                );
            }
            assert_eq!(repository.prune(since, bases_min).objects, [""; 0], "once is enough");
        }
    }
}

#[test]
fn pruning_removes_what_is_old() {
    let (repository, mut server) = (Repository::open(), Server::new());
    for _ in 0..4 {
        server.write(4);
        repository.back_up(&server).unwrap();
        server.rewrite();
        repository.back_up(&server).unwrap();
    }
    let bases = lineages(&repository.store()).unwrap()[0].bases().len();
    assert!(bases > 2, "a newer base is taken when the segments outweigh it");
    let pruned = repository.prune(16, 1);
    assert!(!pruned.objects.is_empty());
    let left = lineages(&repository.store()).unwrap();
    assert!(left[0].bases().len() < bases);
    assert_eq!(repository.state(Target::Latest).unwrap(), 16);
}

#[test]
fn data_is_never_written_over() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(1);
    repository.back_up(&server).unwrap();
    let store = repository.store();
    let restore_to =
        |dir: &Path| restore(&store, None, Target::Latest, &[], &Place::new(dir), &mut |_, _| {});
    let refused = restore_to(server.dir.path());
    assert!(matches!(refused, Err(ArchiveError::HoldsData(_))), "{refused:?}");
    for name in ["dump.rdb", "appendonly.aof"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), "x").unwrap();
        assert!(matches!(restore_to(dir.path()), Err(ArchiveError::HoldsData(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("users.acl"), "").unwrap();
    restore_to(&dir.path().join("new")).unwrap();
    restore_to(dir.path()).unwrap();
}

#[test]
fn a_description_leads_nowhere_else() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(1);
    repository.back_up(&server).unwrap();
    let store = repository.store();
    for name in store.list().unwrap().into_iter().filter(|name| name.ends_with(".json")) {
        let text = fs::read_to_string(repository.dir.path().join(&name)).unwrap();
        let told = Description::read(&store, &name).unwrap();
        let deeper = told.object.replace('.', "/.");
        for object in ["../../etc/passwd", "/etc/passwd", "", &deeper] {
            fs::write(repository.dir.path().join(&name), text.replace(&told.object, object)).unwrap();
            assert!(matches!(Description::read(&store, &name), Err(ArchiveError::Damaged(..))));
        }
        fs::write(repository.dir.path().join(&name), text).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_not_passed_over() {
    let (repository, mut server) = (Repository::open(), Server::new());
    for _ in 0..2 {
        server.write(2);
        repository.back_up(&server).unwrap();
    }
    let name = format!("{HISTORY}/segment-00000000000000000003.json");
    let file = repository.dir.path().join(&name);
    let mut text = fs::read(&file).unwrap();
    text[0] ^= 4;
    fs::write(&file, text).unwrap();
    for target in [Target::Latest, Target::At(time_of(4)), Target::At(time_of(1)), Target::Batch(3)] {
        let refused = repository.restore(target).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, ArchiveError::Unreadable { known: Some(2), .. }), "{target:?}: {told}");
        assert!(told.contains(&name) && told.contains("verify") && told.contains("--batch 2"), "{told}");
    }
    for batch in 0..=2 {
        assert_eq!(repository.state(Target::Batch(batch)).unwrap(), batch);
    }
    let [unreadable] = &lineages(&repository.store()).unwrap()[0].unreadable()[..] else { panic!() };
    assert_eq!(unreadable.name, name);
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(1);
    repository.back_up(&server).unwrap();
    let (root, folder) = (repository.dir.path(), repository.dir.path().join(HISTORY.to_string()));
    let folders = [folder.join("notes"), folder.join("segment-left.aof.zst"), root.join("temp-folder")];
    folders.iter().for_each(|path| fs::create_dir(path).unwrap());
    let unlike_text = OsStr::from_bytes(b"segment-\xff.aof.zst");
    let files = [folder.join("notes.txt"), folder.join("notes.json"), folder.join(unlike_text)];
    files.iter().for_each(|path| fs::write(path, "mine").unwrap());
    for path in folders.iter().chain(&files) {
        fs::File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    assert_eq!(repository.prune(0, 1).swept, [""; 0]);
    assert!(folders.iter().chain(&files).all(|path| path.exists()));
    assert_eq!((repository.verify().wrong, repository.verify().remarks), (Vec::new(), Vec::new()));
    assert_eq!(repository.state(Target::Latest).unwrap(), 1);
}

#[test]
fn an_object_called_as_it_was_before_names_were_random_is_read() {
    let (repository, mut server) = (Repository::sealed(), Server::new());
    server.write(2);
    repository.back_up(&server).unwrap();
    let store = repository.store();
    let segment = lineages(&store).unwrap()[0].segments()[0].clone();
    let old = format!("segment-{:020}-{:020}.{}.aof.zst.age", 1, 2, &segment.sha256[..16]);
    let path = |name: &str| repository.dir.path().join(name);
    fs::rename(path(&segment.object_name(HISTORY)), path(&format!("{HISTORY}/{old}"))).unwrap();
    let json = path(&segment.json_name(HISTORY));
    let text = fs::read_to_string(&json).unwrap().replace(&segment.object, &old);
    fs::write(&json, text).unwrap();
    assert_eq!(repository.state(Target::Latest).unwrap(), 2);
}

#[test]
fn a_log_gets_the_names_that_its_server_has_and_none_is_hidden_by_them() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(2);
    repository.back_up(&server).unwrap();
    let named = |dir: &Path| Place { dir: dir.into(), dir_name: "log".into(), file_name: "queue.log".into() };
    let store = repository.store();
    let restore_to = |place: &Place| restore(&store, None, Target::Latest, &[], place, &mut |_, _| {});
    let dir = tempfile::tempdir().unwrap();
    restore_to(&named(dir.path())).unwrap();
    let found = examine(&Real, &named(dir.path())).unwrap();
    assert_eq!(found.files().len(), 2);
    assert!(found.files().iter().all(|file| file.path.starts_with(dir.path().join("log"))));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["log"]);
    for place in [Place::new(dir.path()), named(server.dir.path())] {
        let refused = restore_to(&place);
        assert!(matches!(refused, Err(ArchiveError::HoldsData(_))), "{refused:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("queue.log"), "x").unwrap();
    assert!(matches!(restore_to(&named(dir.path())), Err(ArchiveError::HoldsData(_))));
}

#[test]
fn a_repository_is_not_taken_where_it_would_be_lost_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (data, link) = (dir.path().join("data"), dir.path().join("link"));
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let refused = |repository: PathBuf| refuse_inside(&RepositoryUrl::Directory(repository), &data).is_err();
    assert!(refused(data.clone()) && refused(data.join("backup/one")) && refused(link.join("backup")));
    assert!(!refused(dir.path().join("backup")) && !refused(dir.path().join("data-backup")));
    assert!(refuse_inside(&"s3://bucket/one".parse().unwrap(), &data).is_ok());
    let beside = RepositoryUrl::Directory(dir.path().join("backup"));
    assert!(refuse_inside(&beside, Path::new("")).is_ok(), "a server without `dir` is where it was started");
    assert!(refuse_inside(&beside, Path::new("/")).is_ok(), "everything lies in the root");
}
