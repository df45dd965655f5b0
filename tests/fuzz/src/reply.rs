//! What a server answers the command line: however the bytes arrive, the same is shown, in every form.

/// The first byte says how long the pieces are.
pub fn run(data: &[u8]) {
    let Some((&piece, data)) = data.split_first() else { return };
    let whole = cli::shown(data, data.len().max(1));
    let pieces = cli::shown(data, usize::from(piece) + 1);
    assert_eq!(whole, pieces, "the pieces were shown otherwise");
}
