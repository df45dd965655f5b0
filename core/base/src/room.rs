//! How much memory a length is worth that somebody has only announced.

/// How many times the bytes that have come may be allocated.
const AHEAD: usize = 8;

/// How many bytes a buffer is to have room for when `come` of the `whole` that were announced are there: all of them once an eighth is,
/// and until then no more than an eighth, so that what has to be moved to the last buffer is little beside it.
pub fn towards(come: usize, whole: usize) -> usize {
    match come.saturating_mul(AHEAD) {
        ahead if ahead >= whole => whole.max(come),
        ahead => ahead.min(whole.div_ceil(AHEAD)),
    }
}

/// Makes room in `buffer` for `count` more bytes, on its way to `whole`.
pub fn reserve_towards(buffer: &mut Vec<u8>, count: usize, whole: usize) {
    if buffer.capacity() - buffer.len() < count {
        let room = towards(buffer.len() + count, whole);
        buffer.reserve_exact(room - buffer.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_on_its_way_is_neither_far_ahead_nor_moved_when_it_is_long() {
        for whole in [1, 7, 4096, 65_537, 9_999_999] {
            let (mut buffer, mut moved) = (Vec::new(), 0);
            while buffer.len() < whole {
                let (room, come) = (buffer.capacity(), buffer.len());
                let count = (whole - come).min(1000);
                reserve_towards(&mut buffer, count, whole);
                buffer.resize(come + count, 7);
                if buffer.capacity() > room {
                    moved = come;
                }
                assert!(buffer.capacity() <= AHEAD * buffer.len(), "{whole} announced, {come} there");
            }
            assert!(moved <= whole / 7, "{moved} of {whole} bytes were there twice");
            assert_eq!(buffer.capacity(), whole);
        }
    }
}
