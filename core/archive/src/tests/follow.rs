//! What a follower does step by step, with rewrites between.

use super::*;
use crate::describe::Kind;

/// A server that is followed into a repository.
struct Followed {
    repository: Repository,
    server: Server,
    follower: Follower,
}

impl Followed {
    fn new() -> Followed {
        let server = Server::new();
        Followed { repository: Repository::sealed(), follower: Follower::new(server.place()), server }
    }

    fn step(&mut self, terms: Terms<'_>) -> Result<Step, ArchiveError> {
        let terms = Terms { recipients: &self.repository.recipients, ..terms };
        self.follower.step(&self.repository.store(), &terms, &mut |_, _| {})
    }

    /// Steps until nothing is new; what each of them did.
    fn catch_up(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..20 {
            done.push(match self.step(Terms::default()).unwrap() {
                Step::Nothing => return done,
                Step::Base(base) => format!("base {}", base.last_batch()),
                Step::Segment(segment) => format!("{}-{}", segment.first_batch(), segment.last_batch()),
                Step::Gap(_) => "gap".to_owned(),
            });
        }
        panic!("it does not end: {done:?}");
    }

    /// As a server does it that archives.
    fn rewrite_keeping(&mut self) {
        self.server.move_on();
        let files = &self.server.log.manifest().incrementals;
        let names = files[..files.len() - 1].iter().map(|file| file.name.as_str());
        self.follower.backlog().keep(names).unwrap();
        self.server.finish_rewrite();
    }

    /// The server is given another data set, that behind batch 10, and begins another log with it, of two batches.
    fn replace_log(&mut self, next: HistoryId) {
        let place = self.server.place();
        fs::remove_dir_all(place.log_dir()).unwrap();
        let temp = place.dir.join("temp-base");
        fs::write(&temp, base_bytes(10)).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Real);
        self.server.log = Log::create_behind(disk, place, &temp, Base::Snapshot, next, 10).unwrap();
        self.server.last = 10;
        self.server.date_base();
        self.server.write(2);
        self.catch_up();
    }

    fn kept(&self) -> Vec<String> {
        self.follower.backlog().names().unwrap()
    }

    /// The server and its archive thread are started anew.
    fn restart(&mut self) {
        self.follower = Follower::new(self.server.place());
    }
}

#[test]
fn what_rewrites_replace_is_archived_without_a_gap() {
    for restarts in [false, true] {
        let mut followed = Followed::new();
        followed.server.write(2);
        assert_eq!(followed.catch_up(), ["base 0", "1-2"]);
        for _ in 0..3 {
            followed.server.write(2);
            followed.rewrite_keeping();
        }
        followed.server.write(1);
        if restarts {
            followed.restart();
        }
        assert_eq!(followed.kept().len(), 3);
        let mut done = followed.catch_up();
        // It comes when what was archived since the last one is longer, of which a new follower knows nothing.
        done.retain(|step| step != "base 8");
        assert_eq!(done, ["3-4", "5-6", "7-8", "9-9"]);
        followed.follower.tidy().unwrap();
        assert_eq!(followed.kept(), [""; 0]);
        for batch in 0..=9 {
            assert_eq!(followed.repository.state(Target::Batch(batch)).unwrap(), batch);
        }
        assert_eq!(followed.repository.verify().remarks, []);
    }
}

#[test]
fn the_file_in_which_archiving_goes_on_stays_until_the_next_one_has_something() {
    let mut followed = Followed::new();
    followed.server.write(2);
    followed.rewrite_keeping();
    followed.catch_up();
    followed.follower.tidy().unwrap();
    assert_eq!(followed.kept().len(), 1);
    followed.restart();
    followed.server.write(1);
    assert_eq!(followed.catch_up(), ["3-3"], "its end is known to be what the next file follows");
    followed.follower.tidy().unwrap();
    assert_eq!(followed.kept(), [""; 0]);
}

#[test]
fn what_is_given_up_is_a_gap_and_archiving_goes_on() {
    // In the middle of what is kept, at its beginning, all of it, and a file that is cut or changed.
    for loss in 0..5 {
        let mut followed = Followed::new();
        followed.server.write(2);
        followed.catch_up();
        for _ in 0..3 {
            followed.server.write(2);
            followed.rewrite_keeping();
        }
        followed.server.write(2);
        let (backlog, kept) = (followed.follower.backlog().clone(), followed.kept());
        assert_eq!(kept.len(), 3);
        match loss {
            0 => backlog.drop_files(&kept[1..2]).unwrap(),
            1 => backlog.drop_files(&kept[..1]).unwrap(),
            2 => backlog.drop_files(&kept).unwrap(),
            3 => fs::write(backlog.path(&kept[1]), b"").unwrap(),
            _ => {
                let mut bytes = fs::read(backlog.path(&kept[1])).unwrap();
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                fs::write(backlog.path(&kept[1]), bytes).unwrap();
            }
        }
        let done = followed.catch_up();
        assert!(done.contains(&"base 8".to_owned()) && done.last().unwrap() == "9-10", "{loss}: {done:?}");
        assert_eq!(done.iter().any(|step| step == "gap"), ![1, 2].contains(&loss), "{loss}: {done:?}");
        for batch in [2, 8, 9, 10] {
            assert_eq!(followed.repository.state(Target::Batch(batch)).unwrap(), batch, "{loss}");
        }
        assert!(followed.repository.state(Target::Batch(7)).is_err());
        assert_eq!(followed.repository.verify().wrong, []);
    }
}

#[test]
fn a_step_reads_what_is_new_and_no_more() {
    let mut followed = Followed::new();
    followed.server.write(500);
    followed.catch_up();
    followed.server.write(1);
    let (mut read, store) = (0, followed.repository.store());
    let terms = Terms { recipients: &followed.repository.recipients, ..Terms::default() };
    let step = followed.follower.step(&store, &terms, &mut |bytes, _| read = bytes).unwrap();
    let Step::Segment(segment) = step else { panic!("{step:?}") };
    assert_eq!((segment.first_batch(), read), (501, segment.plain_bytes));
    assert!(read < 200, "{read}");
}

#[test]
fn what_lies_behind_the_end_is_left_for_later() {
    let mut followed = Followed::new();
    followed.server.write(2);
    let (file, bytes, _) = followed.server.log.end().unwrap();
    followed.server.write(2);
    let end = Some(End { file: &file, bytes: bytes + 10, is_durable: true });
    assert!(matches!(followed.step(Terms { end, ..Terms::default() }), Ok(Step::Base(_))));
    let step = followed.step(Terms { end, ..Terms::default() }).unwrap();
    assert!(matches!(step, Step::Segment(told) if told.last_batch() == 2));
    assert!(matches!(followed.step(Terms { end, ..Terms::default() }), Ok(Step::Nothing)));
    // The log is about to move, and the end is that of before.
    followed.server.move_on();
    followed.server.write(1);
    assert!(matches!(followed.step(Terms { end, ..Terms::default() }), Ok(Step::Nothing)));
    assert_eq!(followed.catch_up(), ["3-4", "5-5"]);
}

#[test]
fn a_newer_base_is_taken_when_it_is_wanted_and_the_segments_go_on() {
    let mut followed = Followed::new();
    followed.server.write(1);
    followed.catch_up();
    followed.server.write(1);
    followed.rewrite_keeping();
    let wants = Terms { wants_base: true, ..Terms::default() };
    assert!(matches!(followed.step(wants), Ok(Step::Base(base)) if base.last_batch() == 2));
    assert_eq!(followed.catch_up(), ["2-2"]);
    assert!(matches!(followed.step(wants), Ok(Step::Nothing)), "there is none that is newer");
    followed.server.write(1);
    let Step::Segment(told) = followed.step(wants).unwrap() else { panic!("it goes on") };
    assert!(matches!(told.kind, Kind::Segment { follows: Some(_), .. }));
    for batch in 0..=3 {
        assert_eq!(followed.repository.state(Target::Batch(batch)).unwrap(), batch);
    }
}

#[test]
fn a_log_that_another_one_has_replaced_is_pruned_whole_and_no_other() {
    let mut followed = Followed::new();
    followed.server.write(3);
    followed.catch_up();
    let next = HistoryId(0xdef);
    followed.replace_log(next);
    let strangers = Server::begun(HistoryId(0x77), 1);
    back_up(&followed.repository.store(), &strangers.place(), &[], &mut |_, _| {}).unwrap();

    let store = followed.repository.store();
    let ids = || lineages(&store).unwrap().into_iter().map(|lineage| lineage.id).collect::<Vec<_>>();
    let (early, late) = (time_of(9), time_of(11));
    for (since, bases_min) in [(early, 1), (late, 2)] {
        prune_lineage(&store, next, Keep { since, bases_min }).unwrap();
        assert_eq!(ids().len(), 3, "{since} is in the old one, or so many bases are in no other");
    }
    prune_lineage(&store, next, Keep { since: late, bases_min: 1 }).unwrap();
    assert_eq!(ids(), [HistoryId(0x77), next]);
    prune(&store, Keep { since: late, bases_min: 1 }, false).unwrap();
    assert_eq!(ids().len(), 2, "an idle server's only backup stays");
}

/// What is followed is a log that `next` says to have replaced, and that goes on all the same.
fn replaced_and_going_on(next: HistoryId) -> Followed {
    let mut followed = Followed::new();
    followed.server.write(3);
    followed.catch_up();
    let original = followed.server.copy();
    followed.replace_log(next);
    followed.server = Server::from_copy(original, 3);
    followed.restart();
    followed
}

#[test]
fn a_replaced_log_whose_directory_was_put_back_stays_as_long_as_it_is_written() {
    let next = HistoryId(0xdef);
    let mut followed = replaced_and_going_on(next);
    let store = followed.repository.store();
    let ids = || lineages(&store).unwrap().into_iter().map(|lineage| lineage.id).collect::<Vec<_>>();
    let keep = Keep { since: time_of(30), bases_min: 1 };
    prune_lineage(&store, HISTORY, keep).unwrap();
    assert_eq!(ids(), [HISTORY, next], "it is the one that is archived, though nothing is new in it yet");
    followed.server.write(20);
    followed.catch_up();
    prune_lineage(&store, HISTORY, keep).unwrap();
    prune(&store, keep, false).unwrap();
    assert_eq!(ids(), [HISTORY, next]);
    followed.restart();
    assert_eq!(followed.catch_up(), [""; 0], "all of it is there");
}

#[test]
fn a_log_that_the_server_of_a_copy_has_replaced_stays_while_its_own_server_writes_it() {
    let next = HistoryId(0xdef);
    let mut followed = replaced_and_going_on(next);
    followed.server.write(20);
    followed.catch_up();
    let store = followed.repository.store();
    // The copy's server prunes what it believes to be its own past.
    let pruned = prune_lineage(&store, next, Keep { since: time_of(30), bases_min: 1 }).unwrap();
    assert_eq!(pruned.objects, [""; 0]);
    followed.restart();
    assert_eq!(followed.catch_up(), [""; 0], "all of it is there");
}

#[test]
fn a_repository_is_asked_though_nothing_is_new() {
    let mut followed = Followed::new();
    followed.server.write(2);
    followed.catch_up();
    followed.follower.probe(&followed.repository.store()).unwrap();
    let name = format!("segment-{:020}.json", 1);
    let newest = followed.repository.files().into_iter().find(|path| path.ends_with(&name));
    fs::remove_file(newest.unwrap()).unwrap();
    assert!(matches!(followed.follower.probe(&followed.repository.store()), Err(ArchiveError::Store(..))));
    assert!(followed.follower.tail().is_none(), "what is there is asked for anew");
}

#[test]
fn a_repository_that_was_emptied_gets_a_base_first() {
    let mut followed = Followed::new();
    followed.server.write(2);
    followed.catch_up();
    for file in followed.repository.files() {
        fs::remove_file(file).unwrap();
    }
    followed.server.write(1);
    assert!(matches!(followed.step(Terms::default()), Err(ArchiveError::Store(..))), "and it is told");
    assert_eq!(followed.catch_up(), ["base 0", "1-3"]);
}

#[test]
fn what_a_server_has_lost_that_archives_all_the_time_is_a_gap_and_else_lies_between_two_runs() {
    for continuous in [true, false] {
        let mut followed = Followed::new();
        let terms = Terms { continuous, ..Terms::default() };
        let catch_up =
            |followed: &mut Followed| while !matches!(followed.step(terms).unwrap(), Step::Nothing) {};
        followed.server.write(2);
        catch_up(&mut followed);
        followed.server.write(4);
        followed.server.rewrite();
        followed.server.write(1);
        catch_up(&mut followed);
        let found = followed.repository.verify();
        let (gaps, between) = if continuous { (1, 0) } else { (0, 1) };
        assert_eq!((found.wrong.len(), found.gaps.len(), found.between.len()), (0, gaps, between));
    }
}

#[test]
fn which_log_another_one_has_replaced_is_known_after_a_start() {
    let next = HistoryId(0xdef);
    for remembers in [true, false] {
        let mut followed = Followed::new();
        let anew = |followed: &mut Followed| {
            let place = followed.server.place();
            followed.follower = if remembers { Follower::remembering(place) } else { Follower::new(place) };
        };
        anew(&mut followed);
        followed.server.write(3);
        followed.catch_up();
        // The server ends before anything of the new log is archived.
        anew(&mut followed);
        followed.replace_log(next);
        let found = lineages(&followed.repository.store()).unwrap();
        let replaced = found.iter().find(|lineage| lineage.id == next).and_then(Lineage::replaces);
        assert_eq!(replaced.map(|(_, before)| before), remembers.then_some(HISTORY));
    }
}

#[test]
fn what_rewrites_replace_before_anything_was_archived_behind_the_base_is_no_gap() {
    for restarts in [false, true] {
        let mut followed = Followed::new();
        assert_eq!(followed.catch_up(), ["base 0"]);
        for _ in 0..2 {
            followed.server.write(2);
            followed.rewrite_keeping();
        }
        followed.server.write(1);
        if restarts {
            followed.restart();
        }
        let mut done = followed.catch_up();
        done.retain(|step| step != "base 4");
        assert_eq!(done, ["1-2", "3-4", "5-5"]);
        for batch in 0..=5 {
            assert_eq!(followed.repository.state(Target::Batch(batch)).unwrap(), batch);
        }
    }
}
