//! The medium comes and goes, grows, is exchanged, and is taken offline.

use scsi::{Asc, DeviceType, Sense, SenseKey};

use super::{CAPACITY_DATA_CHANGED, Device, MEDIUM_MAY_HAVE_CHANGED, MODE_PARAMETERS_CHANGED, replace};
use crate::disk::marked::Marked;
use crate::disk::scan;
use crate::operation::StoreOp;
use crate::parameter::{Medium, ParameterError};
use crate::primary::diagnostics;

impl Device {
    /// A medium arrives (the unit goes online), goes, or changes size. Commands that began with the old one do not touch the new one.
    pub fn set_medium(&mut self, medium: Option<Medium>) {
        if self.kind != DeviceType::DISK {
            return;
        }
        let was_online = self.online;
        let old = core::mem::replace(&mut self.medium, medium);
        self.online = medium.is_some();
        let resized = matches!((old, medium), (Some(old), Some(new)) if old.bytes != new.bytes);
        // A medium that grows under running commands is the same one, and their blocks are still there.
        let grown = was_online && matches!((old, medium), (Some(old), Some(new)) if old.bytes <= new.bytes);
        if !grown {
            self.epoch = self.epoch.wrapping_add(1);
            self.edition = self.edition.wrapping_add(1);
            self.forget_medium();
        }
        if !was_online && self.online {
            self.notify(MEDIUM_MAY_HAVE_CHANGED, None);
        }
        if resized {
            self.notify(CAPACITY_DATA_CHANGED, None);
        }
    }

    /// The medium has another size and is the same otherwise: commands go on, those that reach behind a nearer end find it out ([`holds`](Device::holds)).
    pub fn resize(&mut self, bytes: u64) {
        if self.medium.is_some_and(|medium| bytes < medium.bytes) {
            self.edition = self.edition.wrapping_add(1);
        }
        if let Some(medium) = &mut self.medium
            && replace(&mut medium.bytes, bytes)
        {
            self.notify(CAPACITY_DATA_CHANGED, None);
        }
    }

    /// Another medium in the place of this one, while commands run: none of them is disturbed, each store operation goes where the shell sends it.
    ///
    /// A removable unit tells a medium change; any tells another capacity. A fixed disk of the same size tells nothing: whoever exchanges it under
    /// its users says that the same data are there.
    pub fn exchange(&mut self, medium: Medium) {
        if self.medium.is_none() || self.kind != DeviceType::DISK {
            return self.set_medium(Some(medium));
        }
        let told = |device: &Device| (device.blocks(), device.physical_exponent());
        let (capacity, protected) = (told(self), self.read_only());
        self.medium = Some(medium);
        self.edition = self.edition.wrapping_add(1);
        if self.settings.removable && self.online {
            self.notify(MEDIUM_MAY_HAVE_CHANGED, None);
        }
        if told(self) != capacity {
            self.notify(CAPACITY_DATA_CHANGED, None);
        }
        if self.read_only() != protected {
            self.notify(MODE_PARAMETERS_CHANGED, None);
        }
    }

    /// Number of the medium: while it stays, nobody but store operations changes data. It changes when the medium is replaced or cut.
    pub fn medium_edition(&self) -> u32 {
        self.edition
    }

    /// False when the operation reaches behind the end of the medium: it was made smaller after the range check.
    pub fn holds(&self, op: &StoreOp) -> bool {
        self.medium.is_none_or(|medium| op.end() <= medium.bytes)
    }

    /// What was known of the medium that is gone: bad blocks, and an erasure that was cut short.
    fn forget_medium(&mut self) {
        self.errands.drop_erase();
        diagnostics::disturb(self);
        scan::forget(self);
        self.statistics.pending.clear();
        self.marked = Marked::default();
        self.reassigned.clear();
        self.erasure = None;
    }

    /// Takes the unit offline or online. `except`: the nexus whose START STOP UNIT did it.
    pub(crate) fn set_online(&mut self, online: bool, except: Option<u64>) -> Result<(), ParameterError> {
        if self.kind != DeviceType::DISK || online == self.online {
            return Ok(());
        }
        if online && self.medium.is_none() {
            return Err(ParameterError::Invalid);
        }
        if !online && self.removal_prevented() {
            return Err(ParameterError::RemovalPrevented);
        }
        self.online = online;
        if online {
            self.notify(MEDIUM_MAY_HAVE_CHANGED, except);
        }
        Ok(())
    }

    /// Why the unit is not ready: no medium in a removable one, otherwise the code of the original for an offline one.
    pub(crate) fn not_ready(&self) -> Sense {
        let asc = if self.settings.removable { Asc::MEDIUM_NOT_PRESENT } else { Asc::BECOMING_READY };
        Sense::new(SenseKey::NOT_READY, asc)
    }

    /// As [`not_ready`](Device::not_ready), for a command whose medium was exchanged while it ran.
    pub(super) fn not_ready_now(&self) -> Sense {
        if self.is_ready() { Sense::new(SenseKey::NOT_READY, Asc::NOT_READY) } else { self.not_ready() }
    }
}
