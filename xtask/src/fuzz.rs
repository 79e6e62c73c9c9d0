//! Fuzz targets with cargo-fuzz. Their corpora replay as ordinary tests.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

/// Seconds a target runs when nothing is said.
const SECONDS: &str = "60";

/// `fuzz [TARGET...] [--seconds N]`.
pub fn run(words: &[String]) -> Result<bool> {
    let mut seconds = SECONDS.to_owned();
    let mut targets = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => seconds.clone_from(words.next().context("--seconds needs a number")?),
            _ => targets.push(word.clone()),
        }
    }
    if targets.is_empty() {
        targets = all()?;
    }
    for target in &targets {
        println!("== {target}, {seconds} s");
        // What is found goes to the first folder, which git ignores; the corpus in the tree is only read.
        let folder = |name: &str| root().join("fuzz").join(name).join(target);
        std::fs::create_dir_all(folder("found"))?;
        let mut options = vec![format!("-max_total_time={seconds}"), "-max_len=16384".into(), "-print_final_stats=1".into()];
        let dictionary = root().join("fuzz/dictionary").join(target);
        if dictionary.exists() {
            options.push(format!("-dict={}", dictionary.display()));
        }
        // What is fuzzed has no unsafe code, so there is nothing for a sanitizer to find; without one it runs several times faster, and on a stable compiler.
        let status = Command::new("cargo")
            .args(["fuzz", "run", "--sanitizer", "none", target])
            .args([folder("found"), folder("corpus")])
            .arg("--")
            .args(options)
            .current_dir(root())
            .status()
            .context("cargo fuzz (install it with `cargo install cargo-fuzz`)")?;
        if !status.success() {
            bail!("fuzz target {target} found something: see fuzz/artifacts/{target}");
        }
    }
    Ok(true)
}

/// cargo-fuzz is installed.
pub fn is_there() -> bool {
    Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success())
}

fn all() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        if let Some(name) = entry?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
