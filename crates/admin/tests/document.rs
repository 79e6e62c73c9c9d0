//! Replays what the fuzzer knows about configurations in TOML.

#[path = "../../../fuzz/harness/document.rs"]
mod harness;

use std::path::Path;

#[test]
fn corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/document");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        println!("{}", path.display());
        harness::run(&std::fs::read(&path).expect("a file of the corpus can be read"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
    // The example of the book is one, too.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scuzzy.toml");
    harness::run(&std::fs::read(example).expect("the example is there"));
}
