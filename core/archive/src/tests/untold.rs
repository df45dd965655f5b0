//! Objects that nothing tells of: left by an archiving that was stopped, or all that is left where a JSON was lost.

use super::*;

#[test]
fn what_nothing_tells_of_is_swept_when_it_is_old() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(1);
    repository.back_up(&server).unwrap();
    let orphan = repository.dir.path().join(format!("{HISTORY}/segment-left.aof.zst"));
    fs::write(&orphan, "half").unwrap();
    assert_eq!(repository.verify().remarks.len(), 1);
    assert_eq!(repository.prune(0, 1).swept, [""; 0], "somebody may be about to tell of it");
    fs::File::open(&orphan).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let name = format!("{HISTORY}/segment-left.aof.zst");
    let keep = Keep { since: time_of(0), bases_min: 1 };
    assert_eq!(prune(&repository.store(), keep, true).unwrap().swept, [name.as_str()]);
    assert!(orphan.exists(), "it was only told");
    assert_eq!(repository.prune(0, 1).swept, [name]);
    assert!(!orphan.exists());
    assert_eq!(repository.state(Target::Latest).unwrap(), 1);
}

/// A repository in which somebody does something when the age of an object is asked for.
struct Meanwhile<'a> {
    store: Directory,
    act: &'a (dyn Fn() + Sync),
}

impl Store for Meanwhile<'_> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.store.list()
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Upload + '_>> {
        self.store.upload(name)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn io::Read>> {
        self.store.read(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.store.remove(name)
    }

    fn age_s(&self, name: &str) -> io::Result<u64> {
        let age_s = self.store.age_s(name);
        (self.act)();
        age_s
    }

    fn sweep(&self, age_s_min: u64) -> io::Result<usize> {
        self.store.sweep(age_s_min)
    }
}

#[test]
fn what_is_told_of_while_it_is_pruned_stays() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(4);
    repository.back_up(&server).unwrap();
    server.rewrite();
    server.write(1);
    let base = repository.back_up(&server).unwrap().base.expect("what came since outweighs it");
    let object = untell(&repository, &base);
    let act = || base.put(&repository.store(), HISTORY).unwrap();
    let beside = Meanwhile { store: repository.store(), act: &act };
    let keep = Keep { since: time_of(0), bases_min: 1 };
    assert_eq!(prune(&beside, keep, false).unwrap().swept, [""; 0]);
    assert!(object.exists());
    assert_eq!(repository.verify().wrong, []);
}

/// Makes an object a year old.
fn age(path: &Path) {
    fs::File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
}

/// Takes away what tells of an object, which gets old; where it lies.
fn untell(repository: &Repository, told: &Description) -> PathBuf {
    repository.store().remove(&told.json_name(HISTORY)).unwrap();
    let object = repository.dir.path().join(told.object_name(HISTORY));
    age(&object);
    object
}

#[test]
fn the_only_copy_of_something_is_found_and_never_swept() {
    let (repository, mut server) = (Repository::open(), Server::new());
    for _ in 0..3 {
        server.write(2);
        repository.back_up(&server).unwrap();
    }
    let lineage = lineages(&repository.store()).unwrap().remove(0);
    for told in lineage.objects() {
        let (store, json) = (repository.store(), repository.dir.path().join(told.json_name(HISTORY)));
        let text = fs::read(&json).unwrap();
        let object = untell(&repository, told);
        let name = told.object_name(HISTORY);
        let found = repository.verify().wrong;
        assert!(
            found.iter().any(|wrong| wrong.name == name && wrong.what.contains("only copy")),
            "{found:?}"
        );
        for only_tell in [true, false] {
            let pruned = prune(&store, Keep { since: time_of(0), bases_min: 1 }, only_tell).unwrap();
            assert_eq!((pruned.spared, pruned.swept), (vec![name.clone()], Vec::new()));
        }
        assert!(object.exists());
        fs::write(json, text).unwrap();
    }
    assert_eq!(repository.verify().wrong, []);
}

#[test]
fn what_is_told_of_besides_is_swept() {
    let (repository, mut server) = (Repository::open(), Server::new());
    server.write(2);
    repository.back_up(&server).unwrap();
    let segment = lineages(&repository.store()).unwrap()[0].segments()[0].clone();
    let object = untell(&repository, &segment);
    server.write(1);
    repository.back_up(&server).unwrap();
    assert_eq!((repository.verify().wrong, repository.verify().remarks.len()), (Vec::new(), 1));
    assert_eq!(repository.prune(0, 1).swept, [segment.object_name(HISTORY)]);
    assert!(!object.exists());
    assert_eq!(repository.state(Target::Latest).unwrap(), 3);
}

#[test]
fn a_restore_to_the_end_asks_for_what_nothing_tells_of() {
    let (repository, mut server) = (Repository::open(), Server::new());
    for _ in 0..2 {
        server.write(2);
        repository.back_up(&server).unwrap();
    }
    let segment = lineages(&repository.store()).unwrap()[0].segments()[1].clone();
    untell(&repository, &segment);
    for target in [Target::Latest, Target::At(time_of(3))] {
        let refused = repository.restore(target).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, ArchiveError::Untold { known: Some(2), .. }), "{target:?}: {told}");
        assert!(told.contains(&segment.object) && told.contains("--batch 2"), "{told}");
    }
    for target in [Target::Batch(2), Target::At(time_of(2)), Target::At(time_of(1))] {
        assert!(repository.state(target).unwrap() <= 2);
    }
}

#[test]
fn the_oldest_base_is_missed_where_something_leads_on_from_it() {
    let (repository, mut server) = (Repository::open(), Server::new());
    for _ in 0..2 {
        server.write(4);
        repository.back_up(&server).unwrap();
        server.rewrite();
        server.write(1);
        repository.back_up(&server).unwrap();
    }
    let lineage = lineages(&repository.store()).unwrap().remove(0);
    assert!(lineage.bases().len() > 1);
    let object = untell(&repository, &lineage.bases()[0]);
    let name = lineage.bases()[0].object_name(HISTORY);
    assert!(repository.verify().wrong.iter().any(|wrong| wrong.name == name));
    let pruned = repository.prune(0, 1);
    assert_eq!((pruned.spared, pruned.objects), (vec![name], Vec::new()), "what leads on from it stays, too");
    assert!(object.exists());
    // What pruning leaves when it is stopped before the last step is missed by nobody.
    for segment in lineage.segments().iter().filter(|one| one.last_batch() <= lineage.bases()[1].last_batch())
    {
        repository.store().remove(&segment.json_name(HISTORY)).unwrap();
        repository.store().remove(&segment.object_name(HISTORY)).unwrap();
    }
    assert_eq!(repository.verify().wrong, []);
    assert_eq!(repository.prune(0, 1).swept, [lineage.bases()[0].object_name(HISTORY)]);
}
