//! What the process asks of the kernel for itself: descriptors, its place among the victims when memory is
//! short, pages.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors needed beyond one for each client: an idle queue has some 25, and saving, rewriting, MIGRATE and the metrics
/// take more.
pub(crate) const SPARE_DESCRIPTORS: u64 = 48;

/// The scores that the kernel knows.
const SCORES: std::ops::RangeInclusive<i64> = -1000..=1000;

const SCORE_FILE: &str = "/proc/self/oom_score_adj";

/// Raises the limit of open files to what so many clients need.
///
/// # Errors
/// How many clients the limit is enough for.
pub(crate) fn raise_descriptors(maxclients: u64) -> Result<(), u64> {
    let wanted = maxclients.saturating_add(SPARE_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let Some(now) = limit.current.filter(|current| *current < wanted) else { return Ok(()) };
    // A process with the right to do so may exceed the hard limit, too.
    for maximum in [limit.maximum, limit.maximum.map(|maximum| maximum.max(wanted))] {
        let current = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if current == wanted
            && setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).is_ok()
        {
            return Ok(());
        }
    }
    let most = limit.maximum.unwrap_or(now);
    // What there is to have is taken; a failure leaves what was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    Err(most.saturating_sub(SPARE_DESCRIPTORS))
}

/// The score as it is now; 0 where there is none.
pub(crate) fn oom_score() -> i64 {
    std::fs::read_to_string(SCORE_FILE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Sets the score, moved to the nearer bound when it is outside.
pub(crate) fn set_oom_score(score: i64) -> std::io::Result<()> {
    let score = score.clamp(*SCORES.start(), *SCORES.end());
    if score == oom_score() {
        return Ok(());
    }
    std::fs::write(SCORE_FILE, score.to_string())
}

/// Has nobody else write what this process makes, however it was started. A socket that others shall use has `unixsocketperm`.
pub(crate) fn keep_others_out() {
    use rustix::fs::Mode;
    let given = rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::umask(given | Mode::WGRP | Mode::WOTH);
}

/// Has the calling thread give way to others when processors are scarce: what strangers ask for must not hold up who is served.
pub(crate) fn give_way() {
    /// About a tenth of a busy processor, so that a right password does not wait for ever either.
    const NICENESS: i32 = 10;
    // Where that is not allowed it works as fast as all others. For the kernel, each thread is a process here.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Keeps the kernel from giving huge pages to this process, of which a part that is freed cannot be given back.
pub(crate) fn disable_huge_pages() -> std::io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}
