//! `logicalunit update --params KEY=VALUE,…`.
//!
//! The parameters are applied from left to right; a bad one does not stop those after it. The result is the last error, except that `online`, `path` and
//! `mode_page` replace it by their own result, whatever it is: so it is in tgt, and scripts may have come to rely on it.

use std::sync::{Arc, MutexGuard};

use admin::code::Code;
use admin::number;
use admin::reply::{Failure, Reply};
use admin::unit_setting;
use device::{Parameter, ParameterError};
use scsi::SenseFormat;
use target::Unit;

use super::{Context, DONE, live, unit};
use crate::state::UnitState;

/// Longest mode page in bytes.
const MODE_PAGE_MAX: u64 = 0xffff;

pub fn update(context: &mut Context<'_>, tid: i32, lun: u64, parameters: &[(String, String)]) -> Reply {
    let mut result: Result<(), Failure> = Ok(());
    for (key, value) in parameters {
        if let Some(bytes) = (key == "bsopts").then(|| value.strip_prefix("size=")).flatten() {
            let outcome = size(bytes).and_then(|bytes| live::resize(context, tid, lun, Some(bytes), false));
            result = outcome.map_or_else(Err, |_| result);
            continue;
        }
        let target = context.state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
        let unit = target.units.get_mut(&lun).ok_or(Code::NoUnit)?;
        let outcome = apply(unit, key, value);
        if outcome.is_err() || matches!(key.as_str(), "online" | "path" | "mode_page") {
            result = outcome;
        }
    }
    let target = context.state.targets.get(&tid).ok_or(Code::NoTarget)?;
    context.plane.attend(&target.units.get(&lun).ok_or(Code::NoUnit)?.cell);
    result.and(DONE)
}

/// Settings of a unit that nobody has seen yet: the first bad one is the result.
pub fn set_first(unit: &mut UnitState, parameters: &[(String, String)]) -> Result<(), Failure> {
    parameters.iter().try_for_each(|(key, value)| apply(unit, key, value))
}

/// `bsopts=size=BYTES`, as one program that brings a tgt of its own asks for growth.
fn size(text: &str) -> Result<u64, Failure> {
    crate::size::parse(text).map_err(|error| Code::InvalidRequest.because(error))
}

fn apply(unit: &mut UnitState, key: &str, value: &str) -> Result<(), Failure> {
    if value.is_empty() {
        return Err(Code::InvalidRequest.because(format!("parameter `{key}` has no value")));
    }
    if key == "path" {
        return change_medium(unit, value);
    }
    let parameter = read(key, value)?;
    let mut core = lock(unit);
    core.device_mut().set(parameter).map_err(|error| failure(error, key, value))?;
    core.publish_notices();
    Ok(())
}

/// The parameter that a key and its text mean.
fn read(key: &str, value: &str) -> Result<Parameter, Failure> {
    let decimal = number::decimal(value);
    let flag = decimal != 0;
    let text = |limit: usize| value.chars().take(limit).collect::<String>();
    let bad = |_| Code::InvalidRequest.because(format!("`{value}` is out of range for {key}"));
    Ok(match key {
        "scsi_id" => Parameter::ScsiId(text(36)),
        "scsi_sn" => Parameter::ScsiSn(text(36)),
        "vendor_id" => Parameter::VendorId(text(8)),
        "product_id" => Parameter::ProductId(text(16)),
        "product_rev" => Parameter::ProductRev(text(4)),
        "sense_format" => Parameter::SenseFormat(if flag { SenseFormat::Descriptor } else { SenseFormat::Fixed }),
        "lbppbe" => Parameter::Lbppbe(u8::try_from(decimal).map_err(bad)?),
        "la_lba" => Parameter::LowestAlignedLba(u16::try_from(decimal).map_err(bad)?),
        "optimal_xfer_gran" => Parameter::OptimalTransferGranularity(u16::try_from(decimal).map_err(bad)?),
        "optimal_xfer_len" => Parameter::OptimalTransferLength(u32::try_from(decimal).map_err(bad)?),
        "removable" => Parameter::Removable(flag),
        "readonly" => Parameter::ReadOnly(flag),
        "online" => Parameter::Online(flag),
        "mode_page" => mode_page(value)?,
        "thin_provisioning" => Parameter::ThinProvisioning(flag),
        "rotation_rate" => Parameter::RotationRate(u16::try_from(decimal).map_err(bad)?),
        _ => return Err(Code::InvalidRequest.because(format!("a disk has no parameter `{key}`: {}", unit_setting::names().join(", ")))),
    })
}

/// `page:subpage:size:byte:byte:…` in C numbers. Bytes that are left out are zero; more than `size` are refused.
fn mode_page(text: &str) -> Result<Parameter, Failure> {
    let bad = || Code::InvalidRequest.because(format!("`{text}` is no mode page: write page:subpage:size:byte:byte:…"));
    let field = |word: &str, most: u64| number::in_range(word, 0, most).ok_or_else(bad);
    let mut words = text.split(':');
    let mut head = |most: u64| words.next().ok_or_else(bad).and_then(|word| field(word, most));
    let (page, subpage, size) = (head(0x3f)?, head(0xff)?, head(MODE_PAGE_MAX)?);
    let data = words.map(|word| field(word, 0xff).and_then(|byte| u8::try_from(byte).map_err(|_| bad()))).collect::<Result<Vec<u8>, _>>()?;
    if data.len() as u64 > size {
        return Err(bad());
    }
    let small = |value: u64| u8::try_from(value).map_err(|_| bad());
    Ok(Parameter::ModePage { page: small(page)?, subpage: small(subpage)?, size: u16::try_from(size).map_err(|_| bad())?, data })
}

/// Another medium. The unit must be offline while one is in; a medium that cannot be opened leaves it without one.
fn change_medium(unit: &mut UnitState, path: &str) -> Result<(), Failure> {
    if unit.changing || lock(unit).active_tasks() > 0 {
        return Err(Code::UnitActive.into());
    }
    let view = lock(unit).device().view();
    if view.online && unit.path.is_some() {
        return Err(Code::InvalidRequest.because("a medium is in: set online=0 first"));
    }
    // The old one first: it may be the same file, and its lock must be free.
    unit.path = None;
    unit.cell.set_store(None);
    lock(unit).device_mut().set_medium(None);
    let opened = unit::open(unit.store, path, unit.flags);
    let outcome = match opened {
        Ok(store) => {
            let medium = unit::medium_of(&*store);
            unit.cell.set_store(Some(Arc::clone(&store)));
            unit.path = Some(path.into());
            let mut core = lock(unit);
            core.device_mut().set_medium(Some(medium));
            core.device_mut().set(Parameter::Online(true)).map_err(|error| failure(error, "path", path))
        }
        Err(error) => {
            let offline = lock(unit).device_mut().set(Parameter::Online(false));
            if offline.is_err() {
                tracing::debug!("a unit without medium stays as it is");
            }
            Err(error)
        }
    };
    lock(unit).publish_notices();
    outcome
}

fn lock(unit: &UnitState) -> MutexGuard<'_, Unit> {
    unit.cell.lock()
}

fn failure(error: ParameterError, key: &str, value: &str) -> Failure {
    match error {
        ParameterError::Invalid => Code::InvalidRequest.because(format!("`{value}` is no value for {key}")),
        ParameterError::RemovalPrevented => Code::RemovalPrevented.into(),
    }
}
