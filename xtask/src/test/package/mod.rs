//! What is installed beside the programs: manual pages, completions, systemd units; and the Debian package of it all.

mod pages;
mod tree;
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
    if report.check("two builds of the Debian package are the same", tree::build) {
        report.check("the Debian package replaces tgt, serves, and goes without a trace", tree::install);
    }
    report.check("systemd-socket-activate starts the daemon for who connects", units::activate);
}
