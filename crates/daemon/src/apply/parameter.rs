//! `logicalunit update --params KEY=VALUE,…`.
//!
//! The parameters are applied from left to right; a bad one does not stop those after it. The result is the last error, except that `online`, `path` and
//! `mode_page` replace it by their own result, whatever it is: so it is in tgt, and scripts may have come to rely on it.

use std::sync::{Arc, MutexGuard};

use admin::code::Code;
use admin::document::{Access, Alua, ModePage};
use admin::number;
use admin::reply::{Failure, Reply};
use admin::unit_setting;
use device::{Parameter, ParameterError};
use scsi::SenseFormat;
use target::Unit;

use super::{Context, DONE, live, port_groups, unit};
use crate::state::UnitState;

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
    match key {
        "path" => return change_medium(unit, value),
        "alua" => {
            let alua =
                Alua::from_word(value).ok_or_else(|| Code::InvalidRequest.because(format!("`{value}` is not none, implicit, explicit or both")))?;
            port_groups::support(unit, alua);
            return Ok(());
        }
        "access_state" => return port_groups::set(unit, Access::parse(value).map_err(|error| Code::InvalidRequest.because(error))?),
        _ => {}
    }
    set(unit, read(key, value)?).map_err(|error| failure(error, key, value))
}

/// Sets a parameter and remembers that it was set.
fn set(unit: &mut UnitState, parameter: Parameter) -> Result<(), ParameterError> {
    let mut core = lock(unit);
    core.device_mut().set(parameter.clone())?;
    core.publish_notices();
    drop(core);
    remember(&mut unit.configured, parameter);
    Ok(())
}

fn remember(unit: &mut admin::document::Unit, parameter: Parameter) {
    match parameter {
        Parameter::ScsiId(text) => unit.scsi_id = Some(text),
        Parameter::ScsiSn(text) => unit.scsi_sn = Some(text),
        Parameter::VendorId(text) => unit.vendor_id = Some(text),
        Parameter::ProductId(text) => unit.product_id = Some(text),
        Parameter::ProductRev(text) => unit.product_rev = Some(text),
        Parameter::SenseFormat(format) => unit.sense_format = Some(format == SenseFormat::Descriptor),
        Parameter::Lbppbe(exponent) => unit.lbppbe = Some(exponent),
        Parameter::AutomaticLbppbe => unit.lbppbe = None,
        Parameter::LowestAlignedLba(block) => unit.la_lba = Some(block),
        Parameter::OptimalTransferGranularity(blocks) => unit.optimal_xfer_gran = Some(blocks),
        Parameter::OptimalTransferLength(blocks) => unit.optimal_xfer_len = Some(blocks),
        Parameter::Removable(flag) => unit.removable = Some(flag),
        Parameter::ReadOnly(flag) => unit.readonly = Some(flag),
        Parameter::Online(flag) => unit.online = Some(flag),
        Parameter::ModePage { page, subpage, size, data } => unit.record_page(ModePage::new(page, subpage, size, data)),
        Parameter::DefaultModePage { page, subpage } => unit.forget_page(page, subpage),
        Parameter::ThinProvisioning(flag) => unit.thin_provisioning = Some(flag),
        Parameter::RotationRate(rate) => unit.rotation_rate = Some(rate),
    }
}

/// Parameters back to those of a new unit. The first bad name stops it.
pub fn default(context: &mut Context<'_>, tid: i32, lun: u64, names: &[String]) -> Reply {
    let target = context.state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    let unit = target.units.get_mut(&lun).ok_or(Code::NoUnit)?;
    let result = names.iter().try_for_each(|name| default_one(unit, tid, &target.name, lun, name));
    context.plane.attend(&unit.cell);
    result.and(DONE)
}

fn default_one(unit: &mut UnitState, tid: i32, target: &str, lun: u64, name: &str) -> Result<(), Failure> {
    if name == "alua" {
        port_groups::support(unit, Alua::Both);
        unit.configured.alua = None;
        return Ok(());
    }
    if let Some(group) = name.strip_prefix("access_state:").and_then(|group| group.parse().ok()) {
        port_groups::set(unit, Access { group, state: scsi::AccessState::Optimized, preferred: false })?;
        unit.configured.forget_access(group);
        return Ok(());
    }
    let first = unit::first_settings_of(tid, target, lun, unit);
    let parameter = match name {
        "scsi_id" => Parameter::ScsiId(first.scsi_id),
        "scsi_sn" => Parameter::ScsiSn(first.scsi_sn),
        "vendor_id" => Parameter::VendorId(first.vendor),
        "product_id" => Parameter::ProductId(first.product),
        "product_rev" => Parameter::ProductRev(first.revision),
        "sense_format" => Parameter::SenseFormat(SenseFormat::Fixed),
        "lbppbe" => Parameter::AutomaticLbppbe,
        "la_lba" => Parameter::LowestAlignedLba(0),
        "optimal_xfer_gran" => Parameter::OptimalTransferGranularity(0),
        "optimal_xfer_len" => Parameter::OptimalTransferLength(0),
        "removable" => Parameter::Removable(first.removable),
        "readonly" => Parameter::ReadOnly(first.read_only),
        "online" => Parameter::Online(unit.path.is_some()),
        "thin_provisioning" => Parameter::ThinProvisioning(first.thin),
        "rotation_rate" => Parameter::RotationRate(0),
        name => default_page(name)?,
    };
    set(unit, parameter).map_err(|error| failure(error, name, "the default"))?;
    // The texts of an identity are not a setting when they are the first ones again.
    match name {
        "scsi_id" => unit.configured.scsi_id = None,
        "scsi_sn" => unit.configured.scsi_sn = None,
        "sense_format" => unit.configured.sense_format = None,
        _ => {}
    }
    Ok(())
}

/// `mode_page:PAGE:SUBPAGE`.
fn default_page(name: &str) -> Result<Parameter, Failure> {
    let codes = name.strip_prefix("mode_page:").and_then(|codes| codes.split_once(':'));
    let parsed = codes.and_then(|(page, subpage)| Some((page.parse().ok()?, subpage.parse().ok()?)));
    let (page, subpage) = parsed.ok_or_else(|| Code::InvalidRequest.because(format!("a disk has no parameter `{name}`")))?;
    Ok(Parameter::DefaultModePage { page, subpage })
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
    let ModePage { page, subpage, size, data } = ModePage::parse(text).map_err(|error| Code::InvalidRequest.because(error))?;
    Ok(Parameter::ModePage { page, subpage, size, data })
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
    unit.configured.online = None;
    unit.cell.set_store(None);
    lock(unit).device_mut().set_medium(None);
    let opened = unit::open(unit.store, path, unit.flags);
    let outcome = match opened {
        Ok(store) => {
            let medium = unit::medium_of(&*store);
            unit::protect(lock(unit).device_mut(), &*store)?;
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
