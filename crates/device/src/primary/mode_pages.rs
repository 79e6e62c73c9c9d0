//! Mode pages (SPC-6 7.5, SBC-4 6.5): current, changeable and default values of every page.
//!
//! The defaults of a disk are the original's bytes. Only bits with an effect are changeable: PER (error recovery), WCE (caching), TST, D_SENSE, RLEC, QERR,
//! UA_INTLCK, SWP and TAS (control), advice about groups of blocks, command duration limits, IALUAE (control extension), the timers of the power condition page, the informational exceptions page, the thresholds of thin disks.
//! Everything that depends on a bit reads it here, so that a page set by the administrator works like one set by MODE SELECT.

use alloc::vec;
use alloc::vec::Vec;

use super::{duration, hints};
use crate::cdb::bit;
use crate::disk::thresholds;
use crate::parameter::ParameterError;

/// Caching mode page.
const CACHING: u8 = 0x08;
/// Control mode page.
const CONTROL: u8 = 0x0a;
/// DPICZ of the control mode page, byte 2.
const DPICZ: u8 = 0x08;
/// ATO and RWWP of the control mode page, byte 5.
const ATO: u8 = 0x80;
const RWWP: u8 = 0x10;
/// Longest subpage: with the header of MODE SENSE(10) it still fits a 16-bit length.
const MAX_SUBPAGE: u16 = 4096;
/// Most pages a unit keeps: as many as there are page codes.
const MAX_PAGES: usize = 64;

/// Which values MODE SENSE asks for (PC field).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Values {
    Current,
    Changeable,
    Default,
}

/// One page or subpage. The three values have one length: what follows the page header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ModePage {
    pub(crate) page: u8,
    pub(crate) subpage: u8,
    pub(crate) current: Vec<u8>,
    pub(crate) changeable: Vec<u8>,
    default: Vec<u8>,
}

/// All pages of a unit, ascending by page and subpage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ModePages {
    pages: Vec<ModePage>,
    /// Thin disks have the logical block provisioning page.
    thin: bool,
}

/// Page, subpage, values, changeable bits as (offset, mask).
type Row = (u8, u8, &'static [u8], &'static [(usize, u8)]);

/// Power condition: the enable bits and the five timers.
#[rustfmt::skip]
const TIMERS: &[(usize, u8)] = &[
    (0, 0x01), (1, 0x0f), (2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff), (6, 0xff), (7, 0xff), (8, 0xff), (9, 0xff), (10, 0xff), (11, 0xff),
    (12, 0xff), (13, 0xff), (14, 0xff), (15, 0xff), (16, 0xff), (17, 0xff), (18, 0xff), (19, 0xff), (20, 0xff), (21, 0xff),
];

/// Logical block provisioning, thin disks only: a threshold for used resources that increase, one for available ones that decrease.
const PROVISIONING: [u8; 28] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0];
/// ENABLED and THRESHOLD COUNT.
#[rustfmt::skip]
const THRESHOLDS: &[(usize, u8)] =
    &[(12, 0x80), (16, 0xff), (17, 0xff), (18, 0xff), (19, 0xff), (20, 0x80), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)];

/// Offsets count from byte 2 of a page (byte 4 of a subpage).
#[rustfmt::skip]
const DISK: &[Row] = &[
    (0x01, 0x00, &[0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[(0, 0x04)]),
    (0x02, 0x00, &[0x80, 0x80, 0x00, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
    (0x07, 0x00, &[0; 10], &[]),
    (CACHING, 0x00, &[0x14, 0x00, 0xff, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x80, 0x14, 0, 0, 0, 0, 0, 0], &[(0, 0x04)]),
    (CONTROL, 0x00, &[0x02, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00], &[(0, 0x25), (1, 0x06), (2, 0x38), (3, 0x40)]),
    (CONTROL, 0x01, &[0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[(0, 0x01)]),
    (CONTROL, hints::SUBPAGE, &hints::DEFAULT, &hints::CHANGEABLE),
    // Background operation control: BO_MODE = 0. What goes on in the background begins at the wish of a host, and waits for commands.
    (CONTROL, 0x06, &[0; 12], &[]),
    (CONTROL, duration::T2A, &[0; duration::PAGE_LEN], &duration::CHANGEABLE),
    (CONTROL, duration::T2B, &[0; duration::PAGE_LEN], &duration::CHANGEABLE),
    (0x18, 0x00, &[0x05, 0, 0, 0, 0, 0], &[]),
    (0x19, 0x00, &[0x05, 0, 0, 0, 0, 0], &[]),
    (0x1a, 0x00, &[0; 38], TIMERS),
    (0x1c, 0x00, &[0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[(0, 0x9d), (1, 0x0f), (2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff), (6, 0xff), (7, 0xff), (8, 0xff), (9, 0xff)]),
    (0x1c, 0x01, &[0x00, 0x00, 0x00, 0x18, 0, 0, 0x01, 0xf4, 0, 0, 0, 0], &[(0, 0x07), (2, 0xff), (3, 0xff), (6, 0xff), (7, 0xff)]),
    (0x1c, 0x02, &PROVISIONING, THRESHOLDS),
];

impl ModePages {
    /// The pages of a disk.
    pub(crate) fn disk(thin: bool) -> ModePages {
        let page = |&(page, subpage, values, bits): &Row| {
            let mut changeable = vec![0; values.len()];
            for &(at, mask) in bits {
                changeable[at] |= mask;
            }
            ModePage { page, subpage, current: values.to_vec(), changeable, default: values.to_vec() }
        };
        ModePages { pages: DISK.iter().map(page).collect(), thin }
    }

    /// No pages.
    pub(crate) fn none() -> ModePages {
        ModePages { pages: Vec::new(), thin: false }
    }

    /// The pages that a page code and subpage code ask for, in order. 3Fh: all pages; FFh: all subpages; 00h with 3Fh: no subpages.
    pub(crate) fn select(&self, page: u8, subpage: u8) -> impl Iterator<Item = &ModePage> {
        self.pages
            .iter()
            .filter(|it| self.offers(it))
            .filter(move |it| (page == 0x3f || it.page == page) && (subpage == 0xff || it.subpage == subpage))
    }

    /// One page, to be changed.
    pub(crate) fn find_mut(&mut self, page: u8, subpage: u8) -> Option<&mut ModePage> {
        let thin = self.thin;
        self.pages.iter_mut().find(|it| it.page == page && it.subpage == subpage && (thin || (page, subpage) != thresholds::PAGE))
    }

    fn offers(&self, page: &ModePage) -> bool {
        self.thin || (page.page, page.subpage) != thresholds::PAGE
    }

    /// The disk keeps protection information or does not: ATO (the application tag is the initiator's), and DPICZ and RWWP to be changed.
    pub(crate) fn set_protection(&mut self, kept: bool) {
        let Some(control) = self.find_mut(CONTROL, 0) else { return };
        for values in [&mut control.current, &mut control.default] {
            let Some(byte) = values.get_mut(3) else { continue };
            *byte = if kept { *byte | ATO } else { *byte & !(ATO | RWWP) };
        }
        for (at, bit) in [(0, DPICZ), (3, RWWP)] {
            let Some(byte) = control.changeable.get_mut(at) else { continue };
            *byte = if kept { *byte | bit } else { *byte & !bit };
        }
    }

    /// RWWP: a write without protection information is refused.
    pub(crate) fn rejects_unprotected(&self) -> bool {
        self.values(CONTROL, 0).is_some_and(|values| bit(values, 3, RWWP))
    }

    /// DPICZ: where none is carried, none is checked.
    pub(crate) fn checks_only_what_is_carried(&self) -> bool {
        self.values(CONTROL, 0).is_some_and(|values| bit(values, 0, DPICZ))
    }

    /// The disk becomes thin or thick.
    pub(crate) fn set_thin(&mut self, thin: bool) {
        self.thin = thin;
    }

    /// The current values of a page.
    pub(crate) fn values(&self, page: u8, subpage: u8) -> Option<&[u8]> {
        self.pages.iter().find(|it| (it.page, it.subpage) == (page, subpage)).map(|it| it.current.as_slice())
    }

    fn flag(&self, page: u8, at: usize, mask: u8) -> bool {
        self.pages.iter().any(|it| it.page == page && it.subpage == 0 && bit(&it.current, at, mask))
    }

    /// WCE. Without a caching page there is no cache: every write is durable.
    pub(crate) fn write_cache_enabled(&self) -> bool {
        self.flag(CACHING, 0, 0x04)
    }

    /// D_SENSE.
    pub(crate) fn descriptor_sense(&self) -> bool {
        self.flag(CONTROL, 0, 0x04)
    }

    /// SWP.
    pub(crate) fn software_write_protect(&self) -> bool {
        self.flag(CONTROL, 2, 0x08)
    }

    /// TAS.
    pub(crate) fn task_aborted_status(&self) -> bool {
        self.flag(CONTROL, 3, 0x40)
    }

    /// The administrator's D_SENSE: current and default, so that a reset does not undo it. Says whether that changed anything.
    pub(crate) fn set_descriptor_sense(&mut self, on: bool) -> bool {
        let before = self.descriptor_sense();
        if !self.pages.iter().any(|it| (it.page, it.subpage) == (CONTROL, 0)) {
            self.insert(ModePage { page: CONTROL, subpage: 0, current: vec![0; 10], changeable: vec![0; 10], default: vec![0; 10] });
        }
        if let Some(page) = self.find_mut(CONTROL, 0) {
            for values in [&mut page.current, &mut page.default] {
                if let Some(first) = values.first_mut() {
                    *first = *first & !0x04 | if on { 0x04 } else { 0x00 };
                }
            }
        }
        before != self.descriptor_sense()
    }

    /// The administrator replaces or adds a page: `size` bytes after the header, the rest of `data` zeros, nothing changeable, and a reset comes
    /// back to it.
    ///
    /// # Errors
    /// [`ParameterError::Invalid`], and nothing changed: more data than `size`, codes of requests instead of pages, or too long for its header.
    pub(crate) fn set_page(&mut self, page: u8, subpage: u8, size: u16, data: &[u8]) -> Result<(), ParameterError> {
        let limit = if subpage == 0 { 0xff } else { MAX_SUBPAGE };
        let known = self.pages.iter().any(|it| (it.page, it.subpage) == (page, subpage));
        if page >= 0x3f || subpage == 0xff || size > limit || data.len() > usize::from(size) || !known && self.pages.len() >= MAX_PAGES {
            return Err(ParameterError::Invalid);
        }
        let mut current = data.to_vec();
        current.resize(usize::from(size), 0);
        let changeable = vec![0; current.len()];
        self.insert(ModePage { page, subpage, default: current.clone(), current, changeable });
        Ok(())
    }

    /// A page is again as a new unit, which has the pages `own`, has it: with its changeable bits, or not at all.
    pub(crate) fn restore_page(&mut self, page: u8, subpage: u8, own: &ModePages) {
        self.pages.retain(|it| (it.page, it.subpage) != (page, subpage));
        if let Some(known) = own.pages.iter().find(|it| (it.page, it.subpage) == (page, subpage)) {
            self.insert(known.clone());
        }
    }

    fn insert(&mut self, page: ModePage) {
        match self.pages.binary_search_by_key(&(page.page, page.subpage), |it| (it.page, it.subpage)) {
            Ok(at) => self.pages[at] = page,
            Err(at) => self.pages.insert(at, page),
        }
    }

    /// Every page back to its default.
    pub(crate) fn reset(&mut self) {
        for page in &mut self.pages {
            page.current.clone_from(&page.default);
        }
    }
}

impl ModePage {
    /// What a reset comes back to.
    pub(crate) fn default(&self) -> &[u8] {
        &self.default
    }

    /// The page with its header. PS is zero: nothing can be saved.
    pub(crate) fn write(&self, values: Values, data: &mut Vec<u8>) {
        let body = match values {
            Values::Current => &self.current,
            Values::Changeable => &self.changeable,
            Values::Default => &self.default,
        };
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
        if self.subpage == 0 {
            data.extend([self.page, length[1]]);
        } else {
            data.extend([0x40 | self.page, self.subpage, length[0], length[1]]);
        }
        data.extend(body);
    }
}
