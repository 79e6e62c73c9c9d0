//! What a disk says of itself, as the kernel keeps it: a direct store shows it to initiators.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use admin::configuration::targets::{Unit, UnitStep};

/// Settings of a unit that a device has itself. Empty for what is no device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    block_size: Option<String>,
    updates: Vec<(&'static str, String)>,
}

/// Asks the kernel.
pub fn facts(path: &Path) -> Facts {
    let Ok(metadata) = fs::metadata(path) else { return Facts::default() };
    if !metadata.file_type().is_block_device() {
        return Facts::default();
    }
    let device = metadata.rdev();
    let folder = PathBuf::from(format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device)));
    // A partition has its queue and its device one level up.
    let folder = if folder.join("partition").exists() { folder.join("..") } else { folder };
    read(&folder)
}

fn read(folder: &Path) -> Facts {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let mut facts = Facts::default();
    let identity = [
        ("vendor_id", text("device/vendor")),
        ("product_id", text("device/model")),
        ("product_rev", text("device/rev")),
        ("scsi_sn", serial(folder)),
    ];
    facts.updates.extend(identity.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let Some(logical) = number("queue/logical_block_size").filter(|logical| logical.is_power_of_two()) else { return facts };
    facts.block_size = Some(logical.to_string());
    let physical = number("queue/physical_block_size").unwrap_or(logical).max(logical);
    let exponent = (physical / logical).ilog2();
    if exponent > 0 {
        facts.updates.push(("lbppbe", exponent.to_string()));
    }
    let geometry = [("la_lba", "alignment_offset"), ("optimal_xfer_gran", "queue/minimum_io_size"), ("optimal_xfer_len", "queue/optimal_io_size")];
    for (key, name) in geometry {
        facts.updates.extend(number(name).map(|bytes| bytes / logical).filter(|blocks| *blocks > 0).map(|blocks| (key, blocks.to_string())));
    }
    facts
}

/// Page 80h of the device's vital product data: four bytes, then the serial number.
fn serial(folder: &Path) -> Option<String> {
    let page = fs::read(folder.join("device/vpd_pg80")).ok()?;
    let text = String::from_utf8(page.get(4..)?.to_vec()).ok()?;
    Some(text.trim_matches([' ', '\0']).to_owned()).filter(|text| !text.is_empty())
}

impl Facts {
    /// Adds what the configuration does not say itself.
    pub fn complete(&self, unit: &mut Unit) {
        if unit.block_size.is_none() {
            unit.block_size.clone_from(&self.block_size);
        }
        for (key, value) in &self.updates {
            let said = unit.steps.iter().any(|step| matches!(step, UnitStep::Update(name, _) if name == key));
            if !said {
                unit.steps.push(UnitStep::Update((*key).to_owned(), value.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_described_and_the_configuration_wins() {
        let folder = std::env::temp_dir().join(format!("tgt-admin-direct-{}", std::process::id()));
        fs::create_dir_all(folder.join("device")).expect("a folder");
        fs::create_dir_all(folder.join("queue")).expect("a folder");
        let files: [(&str, &[u8]); 6] = [
            ("device/vendor", b"ACME    \n"),
            ("device/model", b"Disk 9000       \n"),
            ("device/vpd_pg80", b"\0\x80\0\x04 S1 "),
            ("queue/logical_block_size", b"512\n"),
            ("queue/physical_block_size", b"4096\n"),
            ("queue/optimal_io_size", b"65536\n"),
        ];
        for (name, content) in files {
            fs::write(folder.join(name), content).expect("a file");
        }
        let facts = read(&folder);
        let _ = fs::remove_dir_all(&folder);
        let mut unit = Unit { steps: vec![UnitStep::Update("vendor_id".into(), "OWN".into())], ..Unit::default() };
        facts.complete(&mut unit);
        assert_eq!(unit.block_size.as_deref(), Some("512"));
        let updates: Vec<String> = unit
            .steps
            .iter()
            .map(|step| match step {
                UnitStep::Update(key, value) => format!("{key}={value}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(updates, ["vendor_id=OWN", "product_id=Disk 9000", "scsi_sn=S1", "lbppbe=3", "optimal_xfer_len=128"]);
        assert_eq!(super::facts(Path::new("/dev/null")), Facts::default());
    }
}
