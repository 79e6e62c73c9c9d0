//! The front of a logical unit: gates, dispatch, medium, settings.

mod medium;
mod settings;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use scsi::command::{self, CommandRow, Operation, Refusal};
use scsi::planted::{Bug, is_planted};
use scsi::protection::Protection;
use scsi::{Asc, BlockCount, BlockRange, BlockSize, DeviceType, Outcome, Sense, SenseFormat, SenseKey};

use crate::cdb::{self, fail};
use crate::disk::erase::{self, Erasure};
use crate::disk::marked::Marked;
use crate::disk::scan::{self, Scan};
use crate::disk::streams::Streams;
use crate::disk::thresholds::{self, Thresholds};
use crate::errand::Errands;
use crate::operation::{Notice, PortIdentity, Request, Step, StoreFault, StoreResult};
use crate::parameter::{Medium, UnitSettings};
use crate::primary::buffers::Buffers;
use crate::primary::control::{self, Interlock, QueueErrors};
use crate::primary::diagnostics::{self, Diagnostics};
use crate::primary::exceptions::{self, Exceptions, Method};
use crate::primary::identity::{Clock, Information};
use crate::primary::log_thresholds::LogThresholds;
use crate::primary::mode_pages::ModePages;
use crate::primary::power::{self, Power};
use crate::progress::{Progress, State};
use crate::statistics::Statistics;
use crate::{controller, disk, primary};

/// Most bytes one READ, WRITE, VERIFY or WRITE AND VERIFY may move, told as MAXIMUM TRANSFER LENGTH (VPD page B0h):
/// the largest payload buffer a task may hold, and room for 65536 blocks of 512 bytes.
pub const MAX_TRANSFER_BYTES: u32 = 32 << 20;

/// Bytes more that a block may take in a payload where it has protection information: its own, as sent, and room to put it there.
const PROTECTED_ROOM: u32 = 16;

/// Unit attentions that wait for [`Device::poll_notice`]. More than this many different ones at once cannot tell an initiator anything new.
const MAX_NOTICES: usize = 64;

/// INQUIRY DATA HAS CHANGED.
pub(crate) const INQUIRY_DATA_CHANGED: Asc = Asc(0x3f03);
/// MODE PARAMETERS CHANGED.
pub(crate) const MODE_PARAMETERS_CHANGED: Asc = Asc(0x2a01);
/// CAPACITY DATA HAS CHANGED.
pub(crate) const CAPACITY_DATA_CHANGED: Asc = Asc(0x2a09);
/// NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED.
const MEDIUM_MAY_HAVE_CHANGED: Asc = Asc(0x2800);

/// What READ CAPACITY(16) and the block VPD pages tell, beyond size and block length.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Geometry {
    /// Set by the administrator; `None`: derived from the preferred I/O size of the store.
    pub(crate) physical_exponent: Option<u8>,
    pub(crate) lowest_aligned: u16,
    pub(crate) optimal_granularity: u16,
    pub(crate) optimal_length: u32,
    pub(crate) rotation_rate: u16,
}

/// TPGS of standard INQUIRY data: how the states of target port groups change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetPortGroupSupport {
    /// Initiators hear nothing of them.
    None,
    /// By the target alone.
    Implicit,
    /// By SET TARGET PORT GROUPS alone.
    Explicit,
    /// By both.
    Both,
}

impl TargetPortGroupSupport {
    /// The two bits of the field.
    pub(crate) const fn field(self) -> u8 {
        match self {
            TargetPortGroupSupport::None => 0,
            TargetPortGroupSupport::Implicit => 1,
            TargetPortGroupSupport::Explicit => 2,
            TargetPortGroupSupport::Both => 3,
        }
    }
}

/// A logical unit: a disk (SBC), the controller at LUN 0 (SCC), or a well known one (SPC).
#[derive(Debug)]
pub struct Device {
    kind: DeviceType,
    pub(crate) settings: UnitSettings,
    medium: Option<Medium>,
    /// False: taken offline by the administrator, or ejected. The medium stays known.
    online: bool,
    epoch: u32,
    /// Counts the media: another number, other data.
    edition: u32,
    pub(crate) modes: ModePages,
    pub(crate) geometry: Geometry,
    /// Nexuses that prevent removal of the medium.
    prevents: Vec<u64>,
    notices: VecDeque<Notice>,
    port_groups: TargetPortGroupSupport,
    /// Target ports of the unit, ascending by relative port.
    pub(crate) ports: Vec<PortIdentity>,
    flush_failed: bool,
    /// `None`: the medium has no room for protection information.
    pub(crate) protection: Option<Protection>,
    /// Time of the last input, and of the first: power on.
    now: u64,
    powered: Option<u64>,
    pub(crate) statistics: Statistics,
    pub(crate) exceptions: Exceptions,
    pub(crate) buffers: Buffers,
    pub(crate) diagnostics: Diagnostics,
    pub(crate) power: Power,
    pub(crate) information: Information,
    pub(crate) clock: Clock,
    /// Blocks that initiators reassigned, ascending.
    pub(crate) reassigned: Vec<u64>,
    pub(crate) marked: Marked,
    pub(crate) streams: Streams,
    pub(crate) thresholds: Thresholds,
    /// SANITIZE or FORMAT UNIT is at work, or has failed.
    pub(crate) erasure: Option<Erasure>,
    pub(crate) errands: Errands,
    pub(crate) scan: Scan,
    /// Start-stop log page: as an initiator set it.
    pub(crate) accounting_date: [u8; 6],
    /// Thresholds of the error counters.
    pub(crate) log_thresholds: LogThresholds,
    /// Application client log page: general usage parameters.
    pub(crate) application_log: BTreeMap<u16, Vec<u8>>,
}

impl Device {
    /// A disk. Without a medium it is offline; nothing is told to anybody yet.
    pub fn disk(settings: UnitSettings, medium: Option<Medium>) -> Device {
        let modes = ModePages::disk(settings.thin);
        Device::new(DeviceType::DISK, settings, medium, medium.is_some(), modes)
    }

    /// The controller at LUN 0: no medium, always ready.
    pub fn controller(settings: UnitSettings) -> Device {
        Device::new(DeviceType::CONTROLLER, settings, None, true, ModePages::none())
    }

    /// A well known logical unit: no medium, always ready, and no name of its own.
    pub fn well_known(settings: UnitSettings) -> Device {
        Device::new(DeviceType::WELL_KNOWN, settings, None, true, ModePages::none())
    }

    fn new(kind: DeviceType, settings: UnitSettings, medium: Option<Medium>, online: bool, modes: ModePages) -> Device {
        Device {
            kind,
            settings,
            medium,
            online,
            epoch: 0,
            edition: 0,
            modes,
            geometry: Geometry::default(),
            prevents: Vec::new(),
            notices: VecDeque::new(),
            port_groups: TargetPortGroupSupport::Both,
            ports: Vec::new(),
            flush_failed: false,
            protection: None,
            now: 0,
            powered: None,
            statistics: Statistics::default(),
            exceptions: Exceptions::default(),
            buffers: Buffers::default(),
            diagnostics: Diagnostics::default(),
            power: Power::default(),
            information: Information::default(),
            clock: Clock::default(),
            reassigned: Vec::new(),
            marked: Marked::default(),
            streams: Streams::default(),
            thresholds: Thresholds::default(),
            erasure: None,
            errands: Errands::default(),
            scan: Scan::default(),
            accounting_date: [b' '; 6],
            log_thresholds: LogThresholds::default(),
            application_log: BTreeMap::new(),
        }
    }

    /// Time passes: monotonic, in nanoseconds. Call before everything else that happens at that time. `idle`: no command was running since the last call.
    pub fn tick(&mut self, now: u64, idle: bool) {
        self.powered.get_or_insert(now);
        if idle && self.now != 0 {
            self.statistics.idle = self.statistics.idle.saturating_add(now.saturating_sub(self.now));
        }
        self.now = now;
        self.errands.tick(now);
        power::tick(self, now);
    }

    /// Mode parameters were changed: what follows from them is looked at again.
    pub(crate) fn modes_changed(&mut self) {
        self.exceptions.restart(&self.modes);
        self.power.modes_changed(&self.modes);
        self.thresholds.modes_changed(&self.modes);
        scan::modes_changed(self);
    }

    /// Time of the last input, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Nanoseconds since power on.
    pub(crate) fn power_on(&self) -> u64 {
        self.powered.map_or(0, |powered| self.now.saturating_sub(powered))
    }

    /// What REQUEST SENSE tells of a unit that is ready and has no unit attention.
    pub fn sense_on_request(&self) -> Option<Sense> {
        let erasure = self.erasure.map(Erasure::sense);
        erasure
            .or_else(|| self.diagnostics.sense_on_request())
            .or_else(|| self.exceptions.on_request(&self.modes))
            .or_else(|| self.power.sense_on_request())
    }

    /// Peripheral device type.
    pub fn device_type(&self) -> DeviceType {
        self.kind
    }

    /// The row of the command, or the refusal as an outcome: INVALID COMMAND OPERATION CODE, or INVALID FIELD IN CDB at the service action.
    pub fn lookup(&self, cdb: &[u8]) -> Result<&'static CommandRow, Outcome> {
        match command::lookup(self.kind, cdb) {
            Ok(row) if self.offers(row) => Ok(row),
            // What SBC asks for where the protection is another one.
            Ok(row) if row.opcode == command::VARIABLE_LENGTH => Err(Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE))),
            Ok(row) if row.service_action.is_some() => Err(cdb::bad_field(1, Some(4))),
            Ok(_) | Err(Refusal::InvalidOperationCode) => Err(Outcome::check(Sense::illegal(Asc::INVALID_OPERATION_CODE))),
            Err(Refusal::InvalidServiceAction) if cdb::byte(cdb, 0) == command::VARIABLE_LENGTH => Err(cdb::bad_field(8, Some(7))),
            Err(Refusal::InvalidServiceAction) => Err(cdb::bad_field(1, Some(4))),
            Err(Refusal::InvalidLength) => Err(cdb::bad_field(7, Some(7))),
            Err(Refusal::TooShort) => Err(Outcome::check(Sense::illegal(Asc::INVALID_FIELD_IN_CDB))),
        }
    }

    /// Does this unit have the command? UNMAP needs thin provisioning, those of target port groups what the unit supports of them.
    pub(crate) fn offers(&self, row: &CommandRow) -> bool {
        let here = match row.operation {
            Operation::Unmap => self.thin(),
            operation if disk::needs_tags(operation) => self.protection() == Protection::Type2,
            Operation::ReportTargetPortGroups => self.port_groups != TargetPortGroupSupport::None,
            Operation::SetTargetPortGroups => matches!(self.port_groups, TargetPortGroupSupport::Explicit | TargetPortGroupSupport::Both),
            _ => true,
        };
        here && row.device_types.contains(&self.kind)
    }

    /// TPGS of standard INQUIRY data. A controller has no target port groups to tell of.
    pub(crate) fn target_port_group_support(&self) -> TargetPortGroupSupport {
        if self.kind == DeviceType::DISK { self.port_groups } else { TargetPortGroupSupport::None }
    }

    /// Which changes of target port group states initiators are told of, and may ask for. All hear of a change (6/3F03).
    pub fn set_target_port_group_support(&mut self, support: TargetPortGroupSupport) {
        if replace(&mut self.port_groups, support) {
            self.notify(INQUIRY_DATA_CHANGED, None);
        }
    }

    /// The administrator may change the states of target port groups: no initiator has cleared IALUAE of the control extension mode page, or the bit means
    /// nothing, without implicit support.
    pub fn implicit_access_enabled(&self) -> bool {
        let implicit = matches!(self.port_groups, TargetPortGroupSupport::Implicit | TargetPortGroupSupport::Both);
        !implicit || control::implicit_access_enabled(&self.modes)
    }

    /// Gates before the range check, in SAM's order: control byte, ready, medium, write protection, then fields of the CDB and parameter lengths.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Outcome> {
        let row = request.row;
        if request.cdb.len() < row.usage.len() {
            return Err(Outcome::check(Sense::illegal(Asc::INVALID_FIELD_IN_CDB)));
        }
        self.check_control(request)?;
        if let Some(erasure) = self.erasure {
            erase::gate(erasure, request)?;
        }
        if row.needs_medium && !self.is_ready() {
            return Err(Outcome::check(self.not_ready()));
        }
        if row.writes && self.write_protected() {
            return Err(Outcome::check(Sense::new(SenseKey::DATA_PROTECT, Asc::WRITE_PROTECTED)));
        }
        match self.kind {
            DeviceType::DISK => disk::check(self, request),
            _ => Ok(()),
        }?;
        primary::check(self, request)
    }

    /// LINK is refused: linked commands are long gone. NACA is the business of the unit's task manager.
    fn check_control(&self, request: &Request<'_>) -> Result<(), Outcome> {
        let at = request.row.control_at();
        if cdb::byte(request.cdb, at) & 0x01 == 0 {
            return Ok(());
        }
        Err(cdb::bad_field(u16::try_from(at).unwrap_or(u16::MAX), Some(0)))
    }

    /// Blocks the command reads or writes, for faults and the range check. `None` when its CDB addresses none (UNMAP has them in its data). A zero count
    /// that means "to the end" is resolved.
    pub fn range(&self, row: &CommandRow, cdb: &[u8]) -> Option<BlockRange> {
        let mut range = row.range(cdb)?;
        let to_the_end = matches!(
            row.operation,
            Operation::WriteSame10
                | Operation::WriteSame16
                | Operation::WriteSame32
                | Operation::SynchronizeCache10
                | Operation::SynchronizeCache16
                | Operation::PreFetch10
                | Operation::PreFetch16
        );
        if to_the_end && range.count.0 == 0 {
            range.count = BlockCount(self.blocks().saturating_sub(range.start.0));
        }
        Some(range)
    }

    /// Range check and first step. Call after [`check`](Device::check).
    pub fn begin(&mut self, request: &Request<'_>) -> (Progress, Step) {
        if request.row.lba.is_some() || request.row.writes {
            power::use_medium(self);
        }
        let (state, step) = match self.kind {
            DeviceType::DISK => disk::begin(self, request),
            _ => controller::begin(self, request),
        };
        let guard = if self.protection() == Protection::None { None } else { disk::protection::guard(self, request).map(Box::new) };
        (Progress { state, epoch: self.epoch, guard }, self.with_exception(step))
    }

    /// Where a command ends well, an informational exception that is due is reported.
    fn with_exception(&mut self, mut step: Step) -> Step {
        if let Step::Finish(outcome) = &mut step
            && exceptions::may_tell(outcome)
        {
            match self.exceptions.due(&self.modes, self.now) {
                Some(Method::UnitAttention) => self.notify(self.exceptions.reported(), None),
                Some(method) => exceptions::tell(method, outcome),
                None => {}
            }
        }
        step
    }

    /// The data of a [`Step::Fetch`] are complete. `data` holds them when the step asked for `inline`, otherwise it is empty.
    /// Inline data stay in the payload as well: WRITE SAME looks at its block and then has the store repeat it.
    pub fn fetched(&mut self, progress: &mut Progress, data: &[u8]) -> Step {
        if progress.epoch != self.epoch {
            progress.state = State::Ended;
            return fail(self.not_ready_now(), 0);
        }
        let step = match &mut progress.state {
            State::Write(write) => write.fetched(),
            State::Verify(verify) => verify.fetched(),
            State::CompareAndWrite(command) => command.fetched(),
            State::WriteSame(command) => command.fetched(self, data),
            State::Unmap(command) => command.fetched(self, data),
            State::ModeSelect(command) => command.fetched(self, data),
            State::Parameters(command) => command.fetched(self, data),
            State::OrWrite(command) => command.fetched(),
            State::Erase(command) => command.fetched(self, data),
            _ => fail(internal_failure(), 0),
        };
        // MODE SELECT may just have asked for the exception: the next command tells it.
        if matches!(progress.state, State::ModeSelect(_)) { step } else { self.with_exception(step) }
    }

    /// A store operation ended.
    pub fn stored(&mut self, progress: &mut Progress, result: StoreResult) -> Step {
        if progress.epoch != self.epoch && matches!(progress.state, State::Erase(_)) {
            progress.state = State::Ended;
            return fail(self.not_ready_now(), 0);
        }
        let step = self.after_store(progress, result);
        let step = thresholds::after_write(self, &mut progress.state, step);
        if progress.epoch != self.epoch && matches!(step, Step::Store(_)) {
            progress.state = State::Ended;
            return fail(self.not_ready_now(), 0);
        }
        if matches!(progress.state, State::ModeSelect(_)) { step } else { self.with_exception(step) }
    }

    /// For a step that waited: `Err` when the medium with which the command began was exchanged meanwhile. The command ends so, and leaves the new one alone.
    pub fn check_medium(&self, progress: &Progress) -> Result<(), Outcome> {
        if progress.epoch == self.epoch { Ok(()) } else { Err(Outcome::check(self.not_ready_now())) }
    }

    fn after_store(&mut self, progress: &mut Progress, result: StoreResult) -> Step {
        match &mut progress.state {
            State::Read(read) => read.stored(self, result),
            State::Write(write) => write.stored(self, result),
            State::Verify(verify) => verify.stored(self, result),
            State::CompareAndWrite(command) => command.stored(self, result),
            State::WriteSame(command) => command.stored(self, result),
            State::Unmap(command) => command.stored(self, result),
            State::Synchronize { offset } => disk::synchronize::stored(self, *offset, result),
            State::Prefetch => disk::synchronize::prefetched(result),
            State::LbaStatus(command) => command.stored(self, result),
            State::ModeSelect(command) => command.stored(self, result),
            State::StartStop(command) => command.stored(self, result),
            State::SelfTest(command) => command.stored(self, result),
            State::OrWrite(command) => command.stored(self, result),
            State::Erase(command) => command.stored(self, result),
            State::Measurement(command) => command.stored(self, result),
            State::Ended | State::Parameters(_) => fail(internal_failure(), 0),
        }
    }

    /// A command is over, whatever ended it: nothing of it goes on.
    pub fn left(&mut self, progress: &mut Progress) {
        if let State::Erase(command) = &mut progress.state
            && progress.epoch == self.epoch
        {
            command.left(self);
        }
    }

    /// LOGICAL UNIT RESET or power on: mode parameters back to their defaults, prevent flags cleared.
    pub fn reset(&mut self) {
        self.modes.reset();
        self.modes_changed();
        diagnostics::reset(self);
        erase::reset(self);
        self.errands.set_flush(None);
        power::reset(self);
        self.streams.close();
        self.prevents.clear();
    }

    /// An I_T nexus is gone: its PREVENT flag is dropped.
    pub fn nexus_lost(&mut self, nexus: u64) {
        self.allow_removal(nexus);
        self.buffers.nexus_lost(nexus);
    }

    /// What other nexuses must hear of since the last call (unit attentions).
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(crate) fn notify(&mut self, asc: Asc, except: Option<u64>) {
        let notice = Notice { asc, except };
        if self.notices.len() < MAX_NOTICES && !self.notices.contains(&notice) {
            self.notices.push_back(notice);
        }
    }

    /// Encoding of sense data: D_SENSE of the control mode page.
    pub fn sense_format(&self) -> SenseFormat {
        if self.modes.descriptor_sense() { SenseFormat::Descriptor } else { SenseFormat::Fixed }
    }

    /// TAS of the control mode page: tasks that another nexus ended get TASK ABORTED.
    pub fn task_aborted_status(&self) -> bool {
        self.modes.task_aborted_status()
    }

    /// TST of the control mode page: each nexus has a task set of its own.
    pub fn separate_task_sets(&self) -> bool {
        control::separate_task_sets(&self.modes)
    }

    /// QERR of the control mode page.
    pub fn queue_errors(&self) -> QueueErrors {
        control::queue_errors(&self.modes)
    }

    /// UA_INTLCK of the control mode page.
    pub fn attention_interlock(&self) -> Interlock {
        control::interlock(&self.modes)
    }

    /// An initiator keeps the medium in.
    pub fn is_removal_prevented(&self) -> bool {
        self.removal_prevented()
    }

    /// Logical block length.
    pub fn block_size(&self) -> BlockSize {
        self.settings.block_size
    }

    /// Capacity in blocks; 0 without a medium. What does not fill a block is not used.
    pub fn blocks(&self) -> u64 {
        self.medium.map_or(0, |medium| medium.bytes >> self.settings.block_size.shift())
    }

    /// The administrator's reset of a remembered flush failure: until then every SYNCHRONIZE CACHE and every durable write fails.
    pub fn forget_flush_failure(&mut self) {
        self.flush_failed = false;
    }

    // --- what the commands ask ---

    pub(crate) fn is_ready(&self) -> bool {
        self.online && (self.kind != DeviceType::DISK || self.blocks() > 0)
    }

    pub(crate) fn read_only(&self) -> bool {
        self.settings.read_only || self.medium.is_some_and(|medium| medium.read_only)
    }

    pub(crate) fn write_protected(&self) -> bool {
        self.kind == DeviceType::DISK && (self.read_only() || self.modes.software_write_protect())
    }

    pub(crate) fn thin(&self) -> bool {
        self.settings.thin
    }

    /// Logical blocks per physical block, as an exponent of two.
    pub(crate) fn physical_exponent(&self) -> u8 {
        if let Some(exponent) = self.geometry.physical_exponent {
            return exponent;
        }
        let ratio = self.medium.map_or(0, |medium| medium.preferred) / self.settings.block_size.bytes();
        u8::try_from(ratio.checked_ilog2().unwrap_or(0)).unwrap_or(0).min(15)
    }

    pub(crate) fn max_transfer_blocks(&self) -> u32 {
        if self.protection.is_some() {
            return MAX_TRANSFER_BYTES / (self.settings.block_size.bytes() + PROTECTED_ROOM);
        }
        MAX_TRANSFER_BYTES >> self.settings.block_size.shift()
    }

    /// Must a write be durable before it is acknowledged? Always without a write cache.
    pub(crate) fn stable(&self, force_unit_access: bool) -> bool {
        (force_unit_access && !is_planted(Bug::FuaIgnored)) || !self.modes.write_cache_enabled()
    }

    pub(crate) fn removal_prevented(&self) -> bool {
        !self.prevents.is_empty()
    }

    pub(crate) fn prevent_removal(&mut self, nexus: u64) {
        if !self.prevents.contains(&nexus) {
            self.prevents.push(nexus);
        }
    }

    pub(crate) fn allow_removal(&mut self, nexus: u64) {
        self.prevents.retain(|&other| other != nexus);
    }

    pub(crate) fn flush_failed(&self) -> bool {
        self.flush_failed
    }

    /// A flush ended badly: what it was to make durable is in doubt, and the store may not say so twice.
    /// Injected failures and a missing store leave the data as they were.
    pub(crate) fn remember_flush_failure(&mut self, fault: StoreFault) {
        if matches!(fault, StoreFault::Io { .. } | StoreFault::NoSpace | StoreFault::ReadOnly) {
            self.flush_failed = true;
        }
    }
}

/// Our own mistake, told as such.
pub(crate) fn internal_failure() -> Sense {
    Sense::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE)
}

/// Puts `new` in place and says whether it differs from what was there.
fn replace<T: PartialEq>(place: &mut T, new: T) -> bool {
    let changed = *place != new;
    *place = new;
    changed
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::tests::bench::{Bench, medium, port, settings};
    use crate::{Parameter, StoreOp};
    use scsi::Status;

    const READY: [u8; 6] = [0; 6];

    #[test]
    fn control_byte() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.sense(&[0, 0, 0, 0, 0, 0x01], &[]), Sense::invalid_cdb_field(5, Some(0)));
        let mut read = [0; 16];
        (read[0], read[15]) = (0x88, 0x05);
        assert_eq!(bench.sense(&read, &[]), Sense::invalid_cdb_field(15, Some(0)));
        bench.good(&[0, 0, 0, 0, 0, 0xc4]);
    }

    #[test]
    fn lookup_refuses_in_three_ways() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&[0xff; 16], &[]), 0x0005_2000);
        assert_eq!(bench.sense(&[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]), Sense::invalid_cdb_field(1, Some(4)));
        assert_eq!(bench.refused(&[0x28, 0, 0, 0, 0, 0], &[]), 0x0005_2400);
        assert_eq!(bench.refused(&[], &[]), 0x0005_2400);
    }

    #[test]
    fn not_ready_before_anything_else() {
        let write = [0x2a, 0x20, 0, 0, 0, 0, 0, 0, 1, 0];
        let mut fixed = Bench::around(Device::disk(settings(), None), 0);
        assert_eq!(fixed.refused(&READY, &[]), 0x0002_0401);
        assert_eq!(fixed.refused(&write, &[0; 512]), 0x0002_0401);
        assert_eq!(fixed.good(&[0x12, 0, 0, 0, 36, 0]).len(), 36);
        let mut removable = Bench::removable(8);
        removable.device.set(Parameter::Online(false)).unwrap();
        assert_eq!(removable.refused(&write, &[0; 512]), 0x0002_3a00);
        assert_eq!(removable.device.view().bytes, 4096, "the size stays known");
        let mut tiny = Bench::around(Device::disk(settings(), Some(medium(511))), 0);
        assert_eq!(tiny.refused(&READY, &[]), 0x0002_0401, "less than a block is no medium");
    }

    #[test]
    fn protected_units_refuse_every_write() {
        let read_only = Medium { read_only: true, ..medium(4096) };
        let unit = UnitSettings { thin: true, ..settings() };
        let mut bench = Bench::around(Device::disk(unit, Some(read_only)), 4096);
        let cdbs: [&[u8]; 6] = [
            &[0x0a, 0, 0, 0, 1, 0],
            &[0x2a, 0x20, 0, 0, 0, 0, 0, 0, 1, 0],
            &[0x41, 0x10, 0, 0, 0, 0, 0, 0, 1, 0],
            &[0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0],
            &[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
            &[0x93, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        ];
        for cdb in cdbs {
            assert_eq!(bench.refused(cdb, &[0; 512]), 0x0007_2700, "{:02x}", cdb[0]);
        }
        assert!(bench.device.view().read_only);
        bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        bench.good(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_controller() {
        let mut bench = Bench::around(Device::controller(settings()), 0);
        bench.good(&READY);
        bench.good(&[0x2f, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bench.good(&[0xaf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bench.good(&[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for opcode in [0x28, 0x2a, 0x1a, 0x25, 0x42, 0x1b] {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            assert_eq!(bench.refused(&cdb, &[]), 0x0005_2000);
        }
        let view = bench.device.view();
        assert_eq!((view.device_type, view.block_size, view.bytes, view.online), (DeviceType::CONTROLLER, 1, 0, true));
        bench.device.set_medium(None);
        bench.device.set(Parameter::Online(false)).unwrap();
        bench.good(&READY);
    }

    #[test]
    fn other_peoples_commands_are_refused_here() {
        let mut bench = Bench::disk(8);
        assert_eq!(bench.refused(&[0x03, 0, 0, 0, 18, 0], &[]), 0x0005_2000);
        assert_eq!(bench.refused(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[]), 0x0005_2000);
    }

    /// READ BLOCK LIMITS, LOCATE, SPACE, WRITE FILEMARKS, READ ELEMENT STATUS, MOVE MEDIUM: of tapes and changers, with and without data.
    #[test]
    fn commands_of_tapes_and_changers_are_refused_with_any_data() {
        let mut bench = Bench::disk(8);
        let mut controller = Bench::around(Device::controller(settings()), 0);
        let cdbs: [&[u8]; 6] = [
            &[0x05, 0, 0, 0, 0, 0],
            &[0x2b, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x11, 0, 0, 0, 0, 0],
            &[0x10, 0, 0, 0, 0, 0],
            &[0xb8, 0x10, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0],
            &[0xa5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for cdb in cdbs {
            for offered in [0, 1, 20, 4096] {
                assert_eq!(bench.refused(cdb, &vec![0; offered]), 0x0005_2000, "{:02x}", cdb[0]);
                assert_eq!(controller.refused(cdb, &vec![0; offered]), 0x0005_2000, "{:02x}", cdb[0]);
            }
        }
    }

    #[test]
    fn ranges() {
        let device = Device::disk(UnitSettings { thin: true, ..settings() }, Some(medium(4096)));
        let of = |cdb: &[u8]| device.range(device.lookup(cdb).unwrap(), cdb).map(|range| (range.start.0, range.count.0));
        assert_eq!(of(&[0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0]), Some((3, 2)));
        assert_eq!(of(&[0x28, 0, 0, 0, 0, 3, 0, 0, 0, 0]), Some((3, 0)));
        assert_eq!(of(&[0x35, 0, 0, 0, 0, 3, 0, 0, 0, 0]), Some((3, 5)));
        assert_eq!(of(&[0x41, 0, 0, 0, 0, 9, 0, 0, 0, 0]), Some((9, 0)));
        assert_eq!(of(&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(of(&READY), None);
    }

    #[test]
    fn media_come_and_go() {
        let mut device = Device::disk(settings(), Some(medium(4096)));
        let asc = |device: &mut Device| device.poll_notice().map(|notice| (notice.asc.0, notice.except));
        assert_eq!(asc(&mut device), None);
        device.set_medium(Some(medium(8192)));
        assert_eq!(asc(&mut device), Some((0x2a09, None)));
        device.set_medium(Some(medium(8192)));
        assert_eq!(asc(&mut device), None);
        device.set_medium(None);
        assert_eq!((asc(&mut device), device.blocks(), device.view().online), (None, 0, false));
        device.set_medium(Some(medium(8192)));
        assert_eq!((asc(&mut device), device.blocks()), (Some((0x2800, None)), 16));
        device.set(Parameter::Online(false)).unwrap();
        device.set_medium(Some(medium(4096)));
        assert_eq!((asc(&mut device), asc(&mut device)), (Some((0x2800, None)), Some((0x2a09, None))));
        assert!(device.view().online);
    }

    #[test]
    fn settings_that_change_what_initiators_saw_are_told_once() {
        let mut device = Device::disk(settings(), Some(medium(4096)));
        device.set(Parameter::ScsiSn("a".into())).unwrap();
        device.set(Parameter::ScsiId("x".repeat(40))).unwrap();
        device.set(Parameter::ProductId("VIRTUAL-DISK".into())).unwrap();
        assert_eq!(device.view().scsi_id.len(), 36);
        assert_eq!(device.poll_notice(), Some(Notice { asc: Asc(0x3f03), except: None }));
        assert_eq!(device.poll_notice(), None);
    }

    #[test]
    fn a_command_never_touches_another_medium() {
        let mut device = Device::disk(settings(), Some(medium(4096)));
        let port = port();
        let cdb = [0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let row = device.lookup(&cdb).unwrap();
        let request = Request { row, cdb: &cdb, data_out: 512, data_in: 0, nexus: 1, port: &port };
        let refused = |step: &Step| matches!(step, Step::Finish(outcome) if outcome.status == Status::CHECK_CONDITION);
        let (mut fetching, _) = device.begin(&request);
        let (mut writing, _) = device.begin(&request);
        let (mut growing, _) = device.begin(&request);
        assert!(matches!(device.fetched(&mut writing, &[]), Step::Store(StoreOp::Write { .. })));
        device.set_medium(Some(medium(8192)));
        assert!(matches!(device.fetched(&mut growing, &[]), Step::Store(_)), "growing is no exchange");
        device.set_medium(Some(medium(4096)));
        assert!(refused(&device.fetched(&mut fetching, &[])));
        assert!(refused(&device.stored(&mut writing, Ok(crate::StoreAnswer::Done))));
        assert!(refused(&device.stored(&mut writing, Ok(crate::StoreAnswer::Done))), "and it stays ended");
    }

    #[test]
    fn calls_out_of_order_are_told_and_do_no_harm() {
        let mut bench = Bench::disk(8);
        let port = port();
        let row = bench.device.lookup(&READY).unwrap();
        let request = Request { row, cdb: &READY, data_out: 0, data_in: 0, nexus: 1, port: &port };
        let (mut progress, step) = bench.device.begin(&request);
        assert_eq!(step, Step::Finish(Outcome::good(0)));
        assert_eq!(bench.device.fetched(&mut progress, &[]), fail(internal_failure(), 0));
        assert_eq!(bench.device.stored(&mut progress, Ok(crate::StoreAnswer::Done)), fail(internal_failure(), 0));
    }

    #[test]
    fn notices_are_bounded() {
        let mut device = Device::disk(settings(), None);
        for nexus in 0..1000 {
            device.notify(Asc(0x2a01), Some(nexus));
        }
        assert_eq!(core::iter::from_fn(|| device.poll_notice()).count(), MAX_NOTICES);
    }

    #[test]
    fn physical_blocks_follow_the_store() {
        let exponent = |preferred| {
            let medium = Medium { preferred, ..medium(1 << 30) };
            Device::disk(settings(), Some(medium)).physical_exponent()
        };
        assert_eq!([0, 512, 4096, 1 << 30].map(exponent), [0, 0, 3, 15]);
    }
}
