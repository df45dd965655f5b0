//! Configuration files: any text is refused, or gives settings that a rewritten file gives again.

use std::io;

use config::{Files, Layers, Loaded, Sources};

/// No file but the one at hand.
struct Nothing;

impl Files for Nothing {
    fn read(&mut self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn expand(&mut self, pattern: &str) -> io::Result<Vec<String>> {
        Ok(vec![pattern.into()])
    }
}

fn load(name: &str, text: &[u8]) -> Option<Loaded> {
    let layers = Layers { file: Some((name.into(), text.to_vec())), ..Layers::default() };
    layers.load(&mut Sources { variables: &[], files: &mut Nothing }).ok()
}

/// The first byte chooses redis.conf or TOML.
pub fn run(data: &[u8]) {
    let Some((&which, text)) = data.split_first() else { return };
    if which & 1 == 1 {
        load("t.toml", text);
        return;
    }
    let Some(loaded) = load("t.conf", text) else { return };
    let rewritten = config::rewrite(&loaded.config, &loaded.base, text, None);
    let again = load("t.conf", &rewritten).expect("what we wrote can be read");
    assert_eq!(
        loaded.config.get(&[b"*"]),
        again.config.get(&[b"*"]),
        "the rewritten file says something else"
    );
}
