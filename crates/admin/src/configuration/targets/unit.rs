//! The units of a target: where their numbers come from, and which of its settings each gets.

use std::collections::BTreeSet;

use super::super::{Error, SENSELESS, Section};
use super::{only, value, values};

/// Updates of a unit that may also stand in the target, for all its units, in the order in which they are sent.
pub(in crate::configuration) const SHARED: &[&str] = &[
    "scsi_id",
    "sense_format",
    "removable",
    "online",
    "path",
    "readonly",
    "vendor_id",
    "product_id",
    "product_rev",
    "scsi_sn",
    "lbppbe",
    "la_lba",
    "optimal_xfer_gran",
    "optimal_xfer_len",
];
/// A caching page without write cache, as an update of the mode pages.
const NO_WRITE_CACHE: &str = "8:0:18:0x10:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0";
/// In front of a name instead of a path: a unit without medium.
const NO_MEDIUM: &str = "NONE:";

/// One unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit {
    /// Number.
    pub lun: String,
    /// What it stores on; `None`: no medium.
    pub path: Option<String>,
    /// It shows what the device below says of itself.
    pub direct: bool,
    /// It may be in use elsewhere.
    pub allow_in_use: bool,
    /// `--device-type`.
    pub device_type: Option<String>,
    /// `--bstype`.
    pub bstype: Option<String>,
    /// `--bsopts`.
    pub bsopts: Option<String>,
    /// `--bsoflags`.
    pub bsoflags: Option<String>,
    /// `--blocksize`.
    pub block_size: Option<String>,
    /// What is done once it exists, in order.
    pub steps: Vec<UnitStep>,
}

/// One step on the way to a unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnitStep {
    /// Something to tell whoever watches.
    Comment(String),
    /// `KEY=VALUE`.
    Update(String, String),
    /// Any text for `--params`.
    Text(String),
}

/// A store as it stands in the target.
pub(super) struct Store<'a> {
    path: String,
    direct: bool,
    /// Its own block, if it has one.
    block: Option<&'a Section>,
    lun: Option<String>,
}

/// The stores of a target in their order: by path, backing stores before direct ones.
pub(super) fn stores(target: &Section) -> Result<Vec<Store<'_>>, Error> {
    let mut stores = Vec::new();
    for (key, direct) in [("backing-store", false), ("direct-store", true)] {
        let mut lines = values(target, key)?;
        lines.sort();
        let blocks: Vec<(&String, &Section)> = target.blocks_of(key).collect();
        if let (Some(line), false) = (target.values(key).first(), blocks.is_empty()) {
            let message = format!("Your config file is not supported: {key} stands here as a line, elsewhere in the target as a block");
            return Err(Error::at(&line.place, SENSELESS, message));
        }
        stores.extend(lines.into_iter().map(|path| Store { path, direct, block: None, lun: None }));
        for (path, block) in blocks {
            if let (true, Some(place)) = (path.is_empty(), &block.place) {
                return Err(Error::at(place, SENSELESS, format!("a store needs a path: <{key} PATH>")));
            }
            stores.push(Store { path: path.clone(), direct, block: Some(block), lun: only(block, "lun")? });
        }
    }
    number(target, &mut stores)?;
    Ok(stores)
}

/// Gives each store a number that has none: the lowest that is free, from 1.
fn number(target: &Section, stores: &mut [Store<'_>]) -> Result<(), Error> {
    if let [Store { lun: lun @ None, .. }] = stores {
        *lun = only(target, "lun")?;
    }
    let mut taken: BTreeSet<u64> = stores.iter().filter_map(|store| store.lun.as_ref()?.parse().ok()).collect();
    let mut free = 1;
    for store in stores.iter_mut().filter(|store| store.lun.is_none()) {
        while !taken.insert(free) {
            free += 1;
        }
        store.lun = Some(free.to_string());
    }
    Ok(())
}

pub(super) fn units(target: &Section, stores: Vec<Store<'_>>) -> Result<Vec<Unit>, Error> {
    stores.into_iter().map(|store| unit(target, store)).collect()
}

fn unit(target: &Section, store: Store<'_>) -> Result<Unit, Error> {
    let empty = Section::default();
    let block = store.block.unwrap_or(&empty);
    let either = |key: &str| -> Result<Option<String>, Error> {
        match only(block, key)? {
            Some(value) => Ok(Some(value)),
            None => only(target, key),
        }
    };
    let lun = store.lun.unwrap_or_default();
    Ok(Unit {
        steps: steps(target, block, &lun)?,
        lun,
        path: Some(store.path).filter(|path| !path.starts_with(NO_MEDIUM)),
        direct: store.direct,
        allow_in_use: either("allow-in-use")?.is_some_and(|value| value == "yes"),
        device_type: either("device-type")?,
        bstype: either("bs-type")?,
        bsopts: either("bsopts")?,
        bsoflags: either("bsoflags")?,
        block_size: only(block, "block-size")?,
    })
}

/// Mode pages first, then the block's own settings, then the target's for all units, then free texts.
fn steps(target: &Section, block: &Section, lun: &str) -> Result<Vec<UnitStep>, Error> {
    let update = |key: &str, value: String| UnitStep::Update(key.to_owned(), value);
    let mut steps: Vec<UnitStep> = values(block, "mode_page")?.into_iter().map(|page| update("mode_page", page)).collect();
    let cache = match only(block, "write-cache")? {
        None => only(target, "write-cache")?,
        own => own,
    };
    let cache = match cache.as_deref() {
        Some("off") => {
            steps.push(update("mode_page", NO_WRITE_CACHE.into()));
            None
        }
        None | Some("on") => Some(format!("Write cache is enabled (default) for lun {lun}.")),
        Some(other) => Some(format!("WARNING! Unknown value ({other}) to write-cache! Accepted values are \"on\" and \"off\".")),
    };
    steps.extend(values(target, "mode_page")?.into_iter().map(|page| update("mode_page", page)));
    for key in block.settings.keys().filter(|key| SHARED.contains(&key.as_str())) {
        steps.extend(only(block, key)?.map(|value| update(key, value)));
    }
    for key in SHARED.iter().filter(|key| block.values(key).is_empty()) {
        // A target may say so several times, over several files: the first counts, as with its other settings.
        steps.extend(target.values(key).first().map(|setting| value(key, setting)).transpose()?.map(|value| update(key, value)));
    }
    steps.extend(cache.map(UnitStep::Comment));
    for section in [block, target] {
        steps.extend(values(section, "params")?.into_iter().map(UnitStep::Text));
    }
    Ok(steps)
}
