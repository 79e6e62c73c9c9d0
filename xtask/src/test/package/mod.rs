//! What is installed beside the programs: manual pages, completions, systemd units.

mod pages;
mod units;

use super::workspace;
use crate::report::Report;

/// Runs them all.
pub fn run(report: &mut Report) {
    if !report.check("package: the release binaries build", workspace::build_release) {
        return;
    }
    report.check("manual pages render without a warning", pages::render);
    report.check("completions of bash, zsh and fish", pages::complete);
    report.check("systemd units are understood, and confine the daemon", units::verify);
    report.check("systemd-socket-activate starts the daemon for who connects", units::activate);
}
