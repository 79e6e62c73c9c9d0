//! What `scuzzy serve` prints: where the disks are and what to do with them next.

use std::fmt::Write;

use daemon::{DiskSettings, MediumSettings, size};

use crate::arguments::Serve;
use crate::client;
use crate::command::serve::Endpoint;

/// One disk in a few words.
pub fn describe(disk: &DiskSettings) -> String {
    let block = disk.block_size.bytes();
    let medium = match &disk.medium {
        MediumSettings::Memory(bytes) => format!("{} of memory", size::words(*bytes)),
        MediumSettings::File { path, ephemeral, .. } => {
            let fate = if *ephemeral { ", changes thrown away at the end" } else { "" };
            format!("{}{fate}", path.display())
        }
    };
    let access = if disk.read_only { ", read-only" } else { "" };
    format!("{medium}, {block}-byte blocks{access}")
}

/// The whole text.
pub fn text(options: &Serve, endpoint: &Endpoint) -> String {
    let mut out = String::new();
    // Writing to a string has no way to fail.
    let _ = write(&mut out, options, endpoint);
    out
}

fn write(out: &mut String, options: &Serve, endpoint: &Endpoint) -> std::fmt::Result {
    let Endpoint { portal, target, control, .. } = endpoint;
    let url = endpoint.urls.first().map(String::as_str).unwrap_or_default();
    writeln!(out, "Serving until Ctrl-C. Seed of the faults: {}\n", endpoint.seed)?;
    if !endpoint.disks.is_empty() {
        writeln!(out, "  target   {target}")?;
    }
    for address in &endpoint.portals {
        writeln!(out, "  portal   {address}")?;
    }
    for (lun, (url, disk)) in endpoint.urls.iter().zip(&endpoint.disks).enumerate() {
        writeln!(out, "  LUN {:<4} {url}\n           {disk}", lun + 1)?;
    }
    writeln!(out, "  control  {}\n", control.display())?;
    if endpoint.disks.is_empty() {
        writeln!(out, "What it serves:  scuzzy dump")?;
        return writeln!(out, "Change it:       scuzzy apply FILE");
    }
    writeln!(out, "Use it from Linux:")?;
    if options.chap.is_some() {
        writeln!(out, "  (with user and secret in /etc/iscsi/iscsid.conf: node.session.auth.*)")?;
    }
    writeln!(out, "  sudo iscsiadm -m discovery -t sendtargets -p {portal}")?;
    writeln!(out, "  sudo iscsiadm -m node -T {target} -p {portal} --login")?;
    let url = match &options.chap {
        Some(user) => {
            writeln!(
                out,
                "\nlibiscsi and QEMU take the secret from the environment:\n  export LIBISCSI_CHAP_USERNAME={user} LIBISCSI_CHAP_PASSWORD=..."
            )?;
            url.to_owned()
        }
        None => url.to_owned(),
    };
    writeln!(out, "Use it with libiscsi:\n  iscsi-ls -s iscsi://{portal}\n  iscsi-inq {url}")?;
    writeln!(out, "Use it with QEMU:\n  qemu-img info {url}\n  qemu-system-x86_64 -m 1G -drive file={url},format=raw,if=virtio")?;
    let scuzzy = program();
    let which = if client::find_default().as_ref() == Some(control) { String::new() } else { format!(" --control {}", control.display()) };
    writeln!(out, "Make every WRITE(10) fail with a medium error, look, and heal it:")?;
    writeln!(out, "  {scuzzy} fault{which} add op=WRITE10 lba=0 len=99999999 key=3 asc=0x0c02")?;
    writeln!(out, "  {scuzzy} fault{which} list\n  {scuzzy} fault{which} rm --all")
}

/// This program as the person called it.
pub fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "scuzzy".into())
}
