//! Freeing what is large in steps, each of which is told: who looks for room knows what is free already and what is still to come.

use keyspace::Contents;

use crate::allocator;

/// Frees it, and tells after each step how many bytes that was; of the `bytes` that it was thought to take, all are told in the end.
pub(crate) fn free_in_steps(mut contents: Contents, bytes: usize, mut tell: impl FnMut(usize)) {
    let (mut left, mut has_more) = (bytes, true);
    while has_more {
        let before = allocator::own();
        has_more = contents.free_some();
        let freed = usize::try_from(before - allocator::own()).unwrap_or(0).min(left);
        left -= freed;
        tell(freed);
    }
    drop(contents);
    tell(left);
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyspace::{Db, Keyspace, Ttl};

    #[test]
    fn what_is_free_is_told_while_the_rest_is_freed() {
        const KEYS: usize = 5_000;
        const VALUE: [u8; 1_000] = [7; 1_000];
        let mut space = Keyspace::new(1, 3);
        for n in 0..KEYS {
            Db::new(&mut space, 0).put_text(&n.to_be_bytes(), &VALUE, Ttl::Clear);
        }
        let (trash, before) = (space.into_trash(Box::new(())), allocator::own());
        let (bytes, mut told, mut steps) = (trash.bytes, 0, 0);
        free_in_steps(trash.contents, bytes, |freed| {
            (told, steps) = (told + freed, steps + 1);
            let free = (before - allocator::own()) as usize;
            assert!(told <= free || told == bytes, "{told} of {free} bytes are told at step {steps}");
            assert!(told + 2_000 * VALUE.len() > free.min(bytes), "a step is bounded, and told");
        });
        assert!(told == bytes && steps > 5, "{told} of {bytes} bytes in {steps} steps");
    }
}
