//! The allocator's size classes, so that we ask for what we would be given anyway.
//!
//! jemalloc (and its likes) round a request up to 8, a multiple of 16 to 128, then four sizes to every
//! doubling. Whoever sizes an allocation with [`size_class`] wastes nothing and can compute its layout
//! again from any length that falls into the same class.

/// The size class that holds `bytes`, in bytes; at least 8.
#[inline]
pub const fn size_class(bytes: usize) -> usize {
    if bytes <= 8 {
        return 8;
    }
    if bytes <= 128 {
        return (bytes + 15) & !15;
    }
    let step = 1usize << ((bytes - 1).ilog2() - 2);
    (bytes + step - 1) & !(step - 1)
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes_are_those_of_the_allocator() {
        let pairs = [(0, 8), (8, 8), (9, 16), (112, 112), (113, 128), (129, 160), (160, 160), (192, 192)];
        let large = [(193, 224), (257, 320), (1025, 1280), (4160, 5120), (5121, 6144), (8193, 10240)];
        for (asked, given) in pairs.into_iter().chain(large) {
            assert_eq!(size_class(asked), given, "{asked}");
        }
    }

    #[test]
    fn a_class_is_its_own_class_and_never_too_small() {
        for bytes in 0..20_000 {
            let class = size_class(bytes);
            assert!(class >= bytes && size_class(class) == class);
        }
    }
}
