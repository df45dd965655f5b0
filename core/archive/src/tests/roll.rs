//! Many small segments become few, and every batch comes back all the same.

use super::*;

/// A server that is followed, and what was rolled of it.
struct Rolling {
    repository: Repository,
    server: Server,
    follower: Follower,
}

impl Rolling {
    fn new() -> Rolling {
        let server = Server::new();
        Rolling { repository: Repository::sealed(), follower: Follower::new(server.place()), server }
    }

    /// So many rounds of a batch each, as a server does them; how many segments were made of others.
    fn rounds(&mut self, count: u64) -> usize {
        let mut rolled = 0;
        for _ in 0..count {
            self.server.write(1);
            rolled += self.round();
        }
        rolled
    }

    fn round(&mut self) -> usize {
        let (store, recipients) = (self.repository.store(), self.repository.recipients.clone());
        let terms = Terms { recipients: &recipients, ..Terms::default() };
        while !matches!(self.follower.step(&store, &terms, &mut |_, _| {}).unwrap(), Step::Nothing) {}
        let mut rolled = 0;
        while self.follower.roll(&store, &terms).unwrap().is_some() {
            rolled += 1;
        }
        self.follower.tidy().unwrap();
        rolled
    }

    /// As a server does it that archives.
    fn rewrite(&mut self) {
        self.server.move_on();
        let files = &self.server.log.manifest().incrementals;
        let names = files[..files.len() - 1].iter().map(|file| file.name.as_str());
        self.follower.backlog().keep(names).unwrap();
        self.server.finish_rewrite();
    }

    fn restart(&mut self) {
        self.follower = Follower::new(self.server.place());
    }

    fn segments(&self) -> (Vec<(u64, u64)>, usize) {
        let [lineage] = &lineages(&self.repository.store()).unwrap()[..] else { panic!("it is one") };
        let told = lineage.segments().iter().map(|told| (told.first_batch(), told.last_batch())).collect();
        (told, lineage.replaced_count())
    }

    /// What was replaced is old by now.
    fn age(&self) {
        for file in self.repository.files() {
            fs::File::open(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }

    fn all_come_back(&self, batches: impl Iterator<Item = u64>) {
        for batch in batches {
            assert_eq!(self.repository.state(Target::Batch(batch)).unwrap(), batch);
            assert_eq!(self.repository.state(Target::At(time_of(batch))).unwrap(), batch);
        }
        assert_eq!(self.repository.state(Target::Latest).unwrap(), self.server.last);
        let found = self.repository.verify();
        assert_eq!((found.wrong, found.gaps, found.remarks), (vec![], vec![], vec![]));
    }
}

#[test]
fn what_was_rolled_holds_what_it_replaces_and_archiving_goes_on_behind_it() {
    for restarts in [false, true] {
        let mut rolling = Rolling::new();
        assert_eq!(rolling.rounds(63), 0);
        if restarts {
            rolling.restart();
        }
        assert_eq!(rolling.rounds(1), 1);
        assert_eq!(rolling.segments(), (vec![(1, 64)], 64), "who has begun a restore has what it began with");
        rolling.all_come_back([0, 1, 30, 63, 64].into_iter());
        if restarts {
            rolling.restart();
        }
        assert_eq!(rolling.rounds(2), 0);
        rolling.all_come_back([0, 64, 65, 66].into_iter());
        rolling.age();
        assert_eq!(rolling.rounds(62), 1);
        assert_eq!(rolling.segments(), (vec![(1, 64), (65, 128)], 64), "the older ones have gone");
        rolling.age();
        rolling.repository.prune(0, 1);
        assert_eq!(rolling.segments(), (vec![(1, 64), (65, 128)], 0));
        rolling.all_come_back([0, 1, 64, 65, 127, 128].into_iter());
    }
}

#[test]
fn a_file_of_the_log_that_is_over_becomes_one_before_it_goes() {
    let mut rolling = Rolling::new();
    rolling.rounds(70);
    rolling.rewrite();
    rolling.rounds(3);
    rolling.rewrite();
    rolling.rounds(1);
    let (segments, replaced) = rolling.segments();
    assert_eq!((&segments[..], replaced), (&[(1, 70), (71, 73), (74, 74)][..], 74));
    rolling.age();
    rolling.repository.prune(0, 5);
    assert_eq!(rolling.segments(), (segments, 0));
    rolling.all_come_back([0, 1, 63, 64, 70, 71, 73, 74].into_iter());
}

#[test]
fn what_a_crash_leaves_of_a_roll_is_as_good_and_is_made_up_for() {
    let mut rolling = Rolling::new();
    rolling.rounds(64);
    let json = rolling
        .repository
        .files()
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(&format!("segment-{:020}-{:020}.json", 1, 64)));
    // It ended before anything told of it.
    fs::remove_file(json.unwrap()).unwrap();
    rolling.restart();
    assert_eq!(rolling.repository.state(Target::Latest).unwrap(), 64);
    assert_eq!(rolling.repository.verify().wrong, []);
    assert_eq!(rolling.rounds(1), 1);
    // It ended while what was replaced was removed, the oldest first.
    rolling.age();
    let [lineage] = &lineages(&rolling.repository.store()).unwrap()[..] else { panic!("it is one") };
    for told in &lineage.replaced[..20] {
        told.remove(&rolling.repository.store(), HISTORY).unwrap();
    }
    fs::remove_file(rolling.repository.dir.path().join(lineage.replaced[20].json_name(HISTORY))).unwrap();
    rolling.restart();
    assert_eq!(rolling.rounds(1), 0);
    assert_eq!(rolling.segments().0, [(1, 64), (65, 65), (66, 66)]);
    rolling.age();
    let pruned = rolling.repository.prune(0, 1);
    assert_eq!((pruned.objects.len(), pruned.swept.len()), (43, 2), "{pruned:?}");
    rolling.all_come_back([0, 1, 20, 64, 65, 66].into_iter());
}

#[test]
fn what_was_replaced_stays_where_what_replaces_it_is_lost() {
    let mut rolling = Rolling::new();
    rolling.rounds(64);
    rolling.age();
    let [lineage] = &lineages(&rolling.repository.store()).unwrap()[..] else { panic!("it is one") };
    fs::remove_file(rolling.repository.dir.path().join(lineage.segments()[0].object_name(HISTORY))).unwrap();
    rolling.repository.prune(0, 1);
    assert_eq!(rolling.segments().1, 64);
}

#[test]
fn what_is_not_kept_goes_with_what_it_has_replaced() {
    let mut rolling = Rolling::new();
    rolling.rounds(64);
    rolling.rewrite();
    rolling.rounds(2);
    rolling.repository.prune(66, 1);
    assert_eq!(rolling.segments().0.first(), Some(&(65, 65)));
    assert_eq!(rolling.segments().1, 0);
    assert_eq!(rolling.repository.verify().wrong, []);
}

/// A repository in which something goes away when an object is read.
struct Leaving<'a> {
    store: Directory,
    leave: &'a (dyn Fn() + Sync),
}

impl Store for Leaving<'_> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.store.list()
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Upload + '_>> {
        self.store.upload(name)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn io::Read>> {
        if !name.ends_with(".json") {
            (self.leave)();
        }
        self.store.read(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.store.remove(name)
    }

    fn age_s(&self, name: &str) -> io::Result<u64> {
        self.store.age_s(name)
    }

    fn sweep(&self, age_s_min: u64) -> io::Result<usize> {
        self.store.sweep(age_s_min)
    }
}

#[test]
fn a_restore_goes_on_however_often_what_leads_on_is_rolled_meanwhile() {
    let mut rolling = Rolling::new();
    rolling.rounds(63);
    let (store, keys) = (rolling.repository.store(), rolling.repository.keys.clone());
    let rolling = std::sync::Mutex::new((rolling, 0));
    let leave = || {
        let (rolling, times) = &mut *rolling.lock().unwrap();
        *times += 1;
        // More often than a restore is begun.
        if *times <= 9 {
            rolling.rounds(64);
            rolling.age();
            rolling.repository.prune(0, 1);
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let mut told = (0, 0);
    let hears = &mut |done, total| told = (done, total);
    let done =
        restore(&Leaving { store, leave: &leave }, None, Target::Latest, &keys, &place, hears).unwrap();
    assert!(done.last_batch >= 63 && done.gap_to.is_none(), "{done:?}");
    assert_eq!(state(dir.path(), 0), done.last_batch);
    assert!(told.0 <= told.1, "{told:?}");
}

#[test]
fn a_rolled_segment_is_as_continuous_as_what_it_was_made_of() {
    for continuous in [true, false] {
        let mut rolling = Rolling::new();
        let (store, recipients) = (rolling.repository.store(), rolling.repository.recipients.clone());
        let terms = |continuous| Terms { recipients: &recipients, continuous, ..Terms::default() };
        for _ in 0..64 {
            rolling.server.write(1);
            let mut step = || rolling.follower.step(&store, &terms(continuous), &mut |_, _| {}).unwrap();
            while !matches!(step(), Step::Nothing) {}
        }
        assert!(rolling.follower.roll(&store, &terms(!continuous)).unwrap().is_some());
        let [lineage] = &lineages(&store).unwrap()[..] else { panic!("it is one") };
        let told = |told: &Description| (told.first_batch(), told.last_batch(), told.continuous);
        assert_eq!(lineage.segments().iter().map(told).collect::<Vec<_>>(), [(1, 64, continuous)]);
    }
}

#[test]
fn a_restore_and_a_look_go_on_where_what_they_began_with_is_rolled_meanwhile() {
    for looks in [false, true] {
        let mut rolling = Rolling::new();
        rolling.rounds(63);
        let (store, keys) = (rolling.repository.store(), rolling.repository.keys.clone());
        let rolling = std::sync::Mutex::new((rolling, false));
        let leave = || {
            let (rolling, is_done) = &mut *rolling.lock().unwrap();
            if !std::mem::replace(is_done, true) {
                rolling.rounds(1);
                rolling.age();
                rolling.repository.prune(0, 1);
                assert_eq!(rolling.segments(), (vec![(1, 64)], 0));
            }
        };
        let leaving = Leaving { store, leave: &leave };
        if looks {
            let found = verify(&leaving, None, &keys, &mut |_, _| {}).unwrap();
            assert_eq!(found.wrong, []);
        } else {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path());
            let done = restore(&leaving, None, Target::Latest, &keys, &place, &mut |_, _| {}).unwrap();
            assert_eq!((done.last_batch, state(dir.path(), 0)), (64, 64));
        }
    }
}
