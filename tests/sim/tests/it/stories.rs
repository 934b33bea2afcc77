//! Stories: text in, text out. `QUORATE_UPDATE=1` writes what comes of them now into their files.

use std::path::Path;
use std::{env, fs};

use quorate_sim::script;

#[test]
fn stories_go_as_they_are_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let is_update = env::var_os("QUORATE_UPDATE").is_some();
    let mut count = 0;
    let mut changed = Vec::new();
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let story = fs::read_to_string(&path).unwrap();
        let told = script::run(&story).unwrap_or_else(|error| panic!("{path:?} {error:#}"));
        count += 1;
        if told == story {
            continue;
        }
        if is_update {
            fs::write(&path, told).unwrap();
        } else {
            let differs = story.lines().zip(told.lines()).find(|(old, new)| old != new);
            changed.push(format!("{path:?}: {differs:?}"));
        }
    }
    assert!(count >= 6, "there are stories to tell");
    assert!(
        changed.is_empty(),
        "another end than told: {changed:#?}\nQUORATE_UPDATE=1 writes it down, for a diff to show"
    );
}
