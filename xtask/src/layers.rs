//! Crate edges against the table in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::root;

/// The heading of the table.
const HEADING: &str = "| crate | may use |";

/// Fails when a crate uses another that its row does not name, when a row is missing, or when a row names a crate that does not exist.
pub fn check() -> Result<()> {
    let allowed = table()?;
    let actual = edges()?;
    let mut wrong = Vec::new();
    for (name, uses) in &actual {
        let Some(row) = allowed.get(name) else {
            wrong.push(format!("{name} has no row in ARCHITECTURE.md"));
            continue;
        };
        for used in uses.difference(row) {
            wrong.push(format!("{name} -> {used} is not in the table"));
        }
    }
    for name in allowed.keys().filter(|name| !actual.contains_key(*name)) {
        wrong.push(format!("{name} has a row but is no crate"));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn table() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let mut rows = BTreeMap::new();
    for line in text.lines().skip_while(|line| line.trim() != HEADING).skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, uses] = cells[..] else { bail!("not a row of two cells: {line}") };
        let uses = uses.split_whitespace().filter(|word| *word != "-").map(|word| word.trim_matches('`').to_owned()).collect();
        rows.insert(name.trim_matches('`').to_owned(), uses);
    }
    if rows.is_empty() {
        bail!("ARCHITECTURE.md has no table '{HEADING}'");
    }
    Ok(rows)
}

fn edges() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root()).stderr(std::process::Stdio::null());
    let output = command.output().context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut edges = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let uses = package["dependencies"].as_array().into_iter().flatten();
        let uses = uses.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        let uses = uses.filter_map(|dependency| dependency["name"].as_str()).filter(|used| names.contains(used)).map(str::to_owned);
        edges.insert(name, uses.collect());
    }
    Ok(edges)
}
