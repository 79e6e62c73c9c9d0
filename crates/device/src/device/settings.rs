//! Settings of the administrator: what changes with each, and who hears of it.

use alloc::string::String;

use scsi::protection::Protection;
use scsi::{Asc, DeviceType, SenseFormat};

use super::{CAPACITY_DATA_CHANGED, Device, INQUIRY_DATA_CHANGED, MODE_PARAMETERS_CHANGED, replace};
use crate::parameter::{Parameter, ParameterError, UnitView};
use crate::primary::mode_pages::ModePages;

impl Device {
    /// Changes one setting.
    ///
    /// # Errors
    /// [`ParameterError::RemovalPrevented`] when the unit is to go offline while an initiator prevents it; [`ParameterError::Invalid`] when it
    /// is to go online without a medium, or a value does not fit its field.
    pub fn set(&mut self, parameter: Parameter) -> Result<(), ParameterError> {
        let notice = match parameter {
            Parameter::ScsiId(text) => assign(&mut self.settings.scsi_id, text, 36),
            Parameter::ScsiSn(text) => assign(&mut self.settings.scsi_sn, text, 36),
            Parameter::VendorId(text) => assign(&mut self.settings.vendor, text, 8),
            Parameter::ProductId(text) => assign(&mut self.settings.product, text, 16),
            Parameter::ProductRev(text) => assign(&mut self.settings.revision, text, 4),
            Parameter::Removable(removable) => replace(&mut self.settings.removable, removable).then_some(INQUIRY_DATA_CHANGED),
            Parameter::ThinProvisioning(thin) => {
                self.modes.set_thin(thin);
                replace(&mut self.settings.thin, thin).then_some(INQUIRY_DATA_CHANGED)
            }
            Parameter::ReadOnly(read_only) => replace(&mut self.settings.read_only, read_only).then_some(MODE_PARAMETERS_CHANGED),
            Parameter::SenseFormat(format) => self.modes.set_descriptor_sense(format == SenseFormat::Descriptor).then_some(MODE_PARAMETERS_CHANGED),
            Parameter::Online(online) => return self.set_online(online, None),
            Parameter::ModePage { page, subpage, size, data } => {
                self.modes.set_page(page, subpage, size, &data)?;
                self.modes_changed();
                Some(MODE_PARAMETERS_CHANGED)
            }
            Parameter::DefaultModePage { page, subpage } => {
                let mut own = if self.kind == DeviceType::DISK { ModePages::disk(self.settings.thin) } else { ModePages::none() };
                own.set_protection(self.protection.is_some());
                self.modes.restore_page(page, subpage, &own);
                self.modes_changed();
                Some(MODE_PARAMETERS_CHANGED)
            }
            geometry => self.set_geometry(geometry)?,
        };
        if let Some(asc) = notice {
            self.notify(asc, None);
        }
        Ok(())
    }

    fn set_geometry(&mut self, parameter: Parameter) -> Result<Option<Asc>, ParameterError> {
        let geometry = &mut self.geometry;
        let (changed, asc) = match parameter {
            Parameter::Lbppbe(exponent) if exponent <= 15 => (replace(&mut geometry.physical_exponent, Some(exponent)), CAPACITY_DATA_CHANGED),
            Parameter::AutomaticLbppbe => (replace(&mut geometry.physical_exponent, None), CAPACITY_DATA_CHANGED),
            // Fourteen bits in READ CAPACITY(16); what does not fit must not spill into LBPME and LBPRZ.
            Parameter::LowestAlignedLba(lba) if lba < 1 << 14 => (replace(&mut geometry.lowest_aligned, lba), CAPACITY_DATA_CHANGED),
            Parameter::OptimalTransferGranularity(blocks) => (replace(&mut geometry.optimal_granularity, blocks), INQUIRY_DATA_CHANGED),
            Parameter::OptimalTransferLength(blocks) => (replace(&mut geometry.optimal_length, blocks), INQUIRY_DATA_CHANGED),
            Parameter::RotationRate(rate) => (replace(&mut geometry.rotation_rate, rate), INQUIRY_DATA_CHANGED),
            _ => return Err(ParameterError::Invalid),
        };
        Ok(changed.then_some(asc))
    }

    /// The unit as `show` prints it.
    pub fn view(&self) -> UnitView {
        UnitView {
            device_type: self.kind,
            scsi_id: self.settings.scsi_id.clone(),
            scsi_sn: self.settings.scsi_sn.clone(),
            bytes: self.medium.map_or(0, |medium| medium.bytes),
            block_size: if self.kind == DeviceType::DISK { self.settings.block_size.bytes() } else { 1 },
            online: self.online,
            removable: self.settings.removable,
            prevent_removal: self.removal_prevented(),
            read_only: self.read_only(),
            swp: self.modes.software_write_protect(),
            thin: self.thin(),
            protection: self.protection.map(Protection::number),
        }
    }
}

/// Puts a text of at most `limit` characters in place, cut without complaint as the original does it.
fn assign(place: &mut String, text: String, limit: usize) -> Option<Asc> {
    let cut = text.chars().take(limit).collect();
    replace(place, cut).then_some(INQUIRY_DATA_CHANGED)
}
