//! Mode logicalunit: new, delete, and what show says of a unit. (Update is in `parameter`.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

use admin::code::Code;
use admin::reply::{Failure, Reply};
use admin::request::UnitNew;
use admin::view::UnitView;
use device::{Device, Medium, UnitSettings};
use scsi::protection::Protection;
use scsi::{BlockSize, DeviceType, Lun};
use store::{File, Memory, Null, OpenOptions, Protected, Store, protected};
use target::Unit;
use transport::model::UnitCell;

use super::{Context, DONE, News, parameter, port_groups};
use crate::identity;
use crate::state::{State, StoreFlags, TargetState, UNIT_LIMIT, UnitState};

/// Size of the null store, as in tgt: 1 TiB.
const NULL_BYTES: u64 = 1 << 40;
/// The device type that asks for passthrough.
const PASSTHROUGH: u8 = 0xff;

/// A unit to be made.
pub struct NewUnit {
    /// Number.
    pub lun: u64,
    /// Store word as shown.
    pub store: &'static str,
    /// Path as given; none: removable, without medium.
    pub path: Option<String>,
    /// Store flags.
    pub flags: StoreFlags,
    /// Block length.
    pub block_size: BlockSize,
    /// What tells it from other units of the same target name and number. Serial and identification are then made from the designator; without it they are
    /// those of tgt's scheme.
    pub identity: Option<String>,
    /// Its medium, when it is open already.
    pub opened: Option<Arc<dyn Store>>,
}

/// Checks in tgt's order: target (4), number (10), then everything else (17).
pub fn new(context: &mut Context<'_>, request: &UnitNew) -> Reply {
    let target = context.state.targets.get(&request.tid).ok_or(Code::NoTarget)?;
    if target.units.contains_key(&request.lun) {
        return Err(Code::UnitExists.into());
    }
    let (store, flags) = store_of(request)?;
    if let Some(options) = request.bsopts.as_deref().filter(|text| !text.is_empty()) {
        tracing::debug!(options, "store {store} takes no bsopts: ignored");
    }
    let new = NewUnit {
        lun: request.lun,
        store,
        path: request.path.clone(),
        flags,
        block_size: request.blocksize.and_then(BlockSize::new).unwrap_or(BlockSize::B512),
        identity: request.identity.clone(),
        opened: context.opened.remove(&(request.tid, request.lun)),
    };
    admit(&context.state, request.tid, new.lun)?;
    // Opening a file may take as long as its file system likes.
    let opened = context.unlocked(|| new.open())?;
    let cell = place(&mut context.state, request.tid, new, opened)?;
    if let Some(unit) = context.state.targets.get_mut(&request.tid).and_then(|target| target.units.get_mut(&request.lun)) {
        unit.configured.bsopts.clone_from(&request.bsopts);
    }
    if let Err(failure) = first_settings(&mut context.state, request) {
        // Nobody has seen it: its model was never published.
        if let Some(unit) = context.state.targets.get_mut(&request.tid).and_then(|target| target.units.remove(&request.lun)) {
            context.state.faults.detach(request.tid, request.lun, &mut unit.cell.lock());
        }
        return Err(failure);
    }
    context.news.push(News::Added(cell));
    DONE
}

fn first_settings(state: &mut State, request: &UnitNew) -> Result<(), Failure> {
    let target = state.targets.get_mut(&request.tid).ok_or(Code::NoTarget)?;
    let unit = target.units.get_mut(&request.lun).ok_or(Code::NoUnit)?;
    parameter::set_first(unit, &request.parameters)
}

/// The store of a new unit and how it is to be opened.
///
/// # Errors
/// 17: no such store, flags that it does not have, or another type than a disk.
pub fn store_of(request: &UnitNew) -> Result<(&'static str, StoreFlags), Failure> {
    let store = store_word(request.bstype.as_deref().unwrap_or("rdwr"), request.device_type)?;
    let flags = match request.bsoflags.as_deref().filter(|text| !text.is_empty()) {
        None => StoreFlags::default(),
        Some(text) => StoreFlags::parse(text)
            .ok_or_else(|| invalid(format!("bsoflags are sync, direct, read-only, ephemeral and protection-0 to protection-3, not `{text}`")))?,
    };
    if !flags.fit(store) {
        return Err(invalid(format!("store {store} takes no such bsoflags")));
    }
    if request.device_type != DeviceType::DISK.0 {
        return Err(invalid(format!("device type {:#04x} is not built yet: only disks", request.device_type)));
    }
    Ok((store, flags))
}

/// The store's word as we keep it.
pub fn store_word(word: &str, device_type: u8) -> Result<&'static str, Failure> {
    if device_type == PASSTHROUGH || word == "sg" || word == "bsg" {
        return Err(invalid("passthrough is not built yet"));
    }
    ["rdwr", "aio", "null", "memory"]
        .into_iter()
        .find(|known| *known == word)
        .ok_or_else(|| invalid(format!("no store `{word}`: rdwr, aio, null and memory are built")))
}

/// Makes a disk at `tid`, opens its medium, and lets the rules that waited for it in.
///
/// # Errors
/// When the target or the number does not fit, or the medium cannot be opened (17 with the reason).
pub fn create(state: &mut State, tid: i32, new: NewUnit) -> Result<Arc<UnitCell>, Failure> {
    admit(state, tid, new.lun)?;
    let opened = new.open()?;
    place(state, tid, new, opened)
}

/// Whether there is room for this unit.
fn admit(state: &State, tid: i32, lun: u64) -> Result<&TargetState, Failure> {
    let target = state.targets.get(&tid).ok_or(Code::NoTarget)?;
    if target.units.contains_key(&lun) {
        return Err(Code::UnitExists.into());
    }
    if target.units.len() >= UNIT_LIMIT || Lun::from_number(lun).is_none() {
        return Err(invalid(format!("unit numbers go from 1 to {}, not {lun}", UNIT_LIMIT - 1)));
    }
    Ok(target)
}

/// Puts a disk with an open store in its place.
fn place(state: &mut State, tid: i32, new: NewUnit, opened: Option<Arc<dyn Store>>) -> Result<Arc<UnitCell>, Failure> {
    let settings = settings(tid, &admit(state, tid, new.lun)?.name, &new);
    let mut device = Device::disk(settings, opened.as_deref().map(medium_of));
    if let Some(store) = &opened {
        protect(&mut device, &**store)?;
        // Nobody has seen it without.
        while device.poll_notice().is_some() {}
    }
    insert(state, tid, new, device, opened)
}

impl NewUnit {
    /// Opens its medium, if it has one.
    fn open(&self) -> Result<Option<Arc<dyn Store>>, Failure> {
        if let Some(opened) = &self.opened {
            return Ok(Some(opened.clone()));
        }
        self.path.as_ref().map(|path| open(self.store, path, self.flags)).transpose()
    }
}

/// Makes the controller at LUN 0.
pub fn controller(state: &mut State, tid: i32) -> Result<(), Failure> {
    let name = state.targets.get(&tid).ok_or(Code::NoTarget)?.name.clone();
    let new = NewUnit { lun: 0, store: "null", path: None, flags: StoreFlags::default(), block_size: BlockSize::B512, identity: None, opened: None };
    let settings = UnitSettings { product: "Controller".into(), removable: false, ..settings(tid, &name, &new) };
    insert(state, tid, new, Device::controller(settings), None).map(|_| ())
}

/// Makes the well known logical unit REPORT LUNS of a new target.
pub fn well_known(state: &State, tid: i32, target: &str) -> Arc<UnitCell> {
    let lun = Lun::REPORT_LUNS_NUMBER;
    let new = NewUnit { lun, store: "null", path: None, flags: StoreFlags::default(), block_size: BlockSize::B512, identity: None, opened: None };
    let settings = UnitSettings { product: "Report LUNs".into(), removable: false, ..settings(tid, target, &new) };
    let core = Unit::new(Device::well_known(settings), state.seed);
    let cell = Arc::new(UnitCell::new(tid, lun, core, None));
    port_groups::tell_well_known(&state.groups, target, &cell);
    cell
}

fn insert(state: &mut State, tid: i32, new: NewUnit, device: Device, opened: Option<Arc<dyn Store>>) -> Result<Arc<UnitCell>, Failure> {
    let mut core = Unit::new(device, state.seed);
    if let (Some(keeper), Some(target), false) = (&state.reservations, state.targets.get(&tid), new.lun == 0) {
        keeper.restore(&mut core, &target.name, new.lun);
    }
    state.faults.attach(tid, new.lun, &mut core);
    let created = state.next_created();
    let cell = Arc::new(UnitCell::new(tid, new.lun, core, opened));
    let configured = configured(&new);
    let unit = UnitState { cell: cell.clone(), store: new.store, path: new.path, flags: new.flags, created, changing: false, configured };
    let target = state.targets.get_mut(&tid).ok_or(Code::NoTarget)?;
    port_groups::tell(&state.groups, &target.name, &unit);
    target.units.insert(new.lun, unit);
    Ok(cell)
}

/// The configuration's view of a unit that was just made.
fn configured(new: &NewUnit) -> admin::document::Unit {
    admin::document::Unit {
        block_size: Some(new.block_size.bytes()),
        identity: new.identity.clone(),
        removable: Some(new.path.is_none()),
        ..admin::document::Unit::new(new.lun)
    }
}

/// What a unit like this one had when it was made.
pub fn first_settings_of(tid: i32, target: &str, lun: u64, unit: &UnitState) -> UnitSettings {
    let identity = unit.configured.identity.clone();
    settings(
        tid,
        target,
        &NewUnit { lun, store: unit.store, path: unit.path.clone(), flags: unit.flags, block_size: BlockSize::B512, identity, opened: None },
    )
}

fn settings(tid: i32, target: &str, new: &NewUnit) -> UnitSettings {
    let own = new.identity.is_some();
    let unique = identity::designator(target, new.lun, new.identity.as_deref().unwrap_or_default());
    let (scsi_id, scsi_sn) = if own {
        let serial = identity::serial(&unique);
        (format!("SCUZZY  {serial}"), serial)
    } else {
        (format!("IET     {tid:04x}{:04x}", new.lun), format!("beaf{tid}{}", new.lun))
    };
    UnitSettings {
        tid,
        lun: new.lun,
        block_size: new.block_size,
        vendor: if own { "SCUZZY".into() } else { "IET".into() },
        product: "VIRTUAL-DISK".into(),
        revision: "0001".into(),
        scsi_id,
        scsi_sn,
        unique,
        removable: new.path.is_none(),
        read_only: new.flags.read_only,
        thin: own,
    }
}

/// Opens a medium.
///
/// # Errors
/// 17 with the reason.
pub fn open(store: &str, path: &str, flags: StoreFlags) -> Result<Arc<dyn Store>, Failure> {
    match store {
        "null" => Ok(Arc::new(Null::new(NULL_BYTES))),
        "memory" => {
            let memory: Arc<dyn Store> = Arc::new(Memory::new(crate::size::parse(path).map_err(invalid)?));
            Ok(match flags.protection {
                Some(format) => Arc::new(Protected::in_memory(memory, format)),
                None => memory,
            })
        }
        _ => {
            let options =
                OpenOptions { direct: flags.direct || store == "aio", sync: flags.sync, read_only: flags.read_only, ephemeral: flags.ephemeral };
            open_file(Path::new(path), options, flags.protection)
        }
    }
}

/// A file that may only be read is served read-only.
fn open_file(path: &Path, options: OpenOptions, protection: Option<u8>) -> Result<Arc<dyn Store>, Failure> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let file = File::open(&absolute, options).map_err(|error| invalid(error.to_string()))?;
    let Some(format) = protection else {
        let writes = !options.read_only && !options.ephemeral;
        if writes && protected::has_side(&absolute) {
            let side = protected::side_path(&absolute);
            let cure = "say protection-1, or remove that file";
            return Err(invalid(format!(
                "{} has protection information in {}, which would be wrong after a write: {cure}",
                path.display(),
                side.display()
            )));
        }
        return Ok(Arc::new(file));
    };
    if file.is_block_device() {
        return Err(invalid(format!("{}: protection information is kept beside images in files, not beside block devices", path.display())));
    }
    let store = Protected::beside(Arc::new(file), &absolute, options, format).map_err(|error| invalid(error.to_string()))?;
    Ok(Arc::new(store))
}

/// Tells the device how its store is formatted, and the store how long blocks are.
///
/// # Errors
/// 17: the protection information is of blocks of another length.
pub fn protect(device: &mut Device, store: &dyn Store) -> Result<(), Failure> {
    if let Some(protected) = store.protected() {
        protected.adopt(device.block_size().bytes()).map_err(|error| invalid(error.to_string()))?;
    }
    device.set_protection(store.protected().and_then(|protected| Protection::of(protected.format())));
    Ok(())
}

/// What a device needs to know of a store.
pub fn medium_of(store: &dyn Store) -> Medium {
    let geometry = store.geometry();
    Medium {
        bytes: geometry.bytes,
        read_only: geometry.read_only,
        can_discard: geometry.can_discard,
        preferred: geometry.preferred,
        durable: geometry.durable,
    }
}

/// Takes a unit away. Commands that somebody waits for stop it without `force`; those that were aborted, or whose session is gone, do not, however long
/// their store keeps them.
pub fn delete(context: &mut Context<'_>, tid: i32, lun: u64, force: bool) -> Reply {
    if lun == 0 {
        return Err(invalid("the controller at LUN 0 goes with its target"));
    }
    let unit = context.state.unit(tid, lun).ok_or(Code::NoUnit)?;
    let active = unit.cell.lock().awaited_tasks();
    if active > 0 && !force && !context.forced {
        return Err(Code::UnitActive.because(format!("{active} command(s)")));
    }
    remove(context, tid, lun);
    DONE
}

/// The administrator's reset.
pub fn reset(context: &mut Context<'_>, tid: i32, lun: u64) -> Reply {
    let target = context.state.targets.get(&tid).ok_or(Code::NoTarget)?;
    let unit = target.units.get(&lun).ok_or(Code::NoUnit)?;
    unit.cell.lock().reset(context.plane.now());
    context.plane.attend(&unit.cell);
    DONE
}

/// Takes a unit out of its target. Its fault rules wait for the next one with its numbers; its commands, if any, end aborted.
pub fn remove(context: &mut Context<'_>, tid: i32, lun: u64) {
    let Some(unit) = context.state.targets.get_mut(&tid).and_then(|target| target.units.remove(&lun)) else { return };
    context.state.faults.detach(tid, lun, &mut unit.cell.lock());
    context.news.push(News::Removed(unit.cell));
}

/// A unit as show tells it.
pub fn view(lun: u64, unit: &UnitState) -> UnitView {
    let view = unit.cell.lock().device().view();
    UnitView {
        lun,
        device_type: view.device_type.0,
        scsi_id: view.scsi_id,
        scsi_sn: view.scsi_sn,
        bytes: view.bytes,
        block_size: view.block_size,
        online: view.online,
        removable: view.removable,
        prevent_removal: view.prevent_removal,
        read_only: view.read_only,
        swp: view.swp,
        thin: view.thin,
        store: unit.store.into(),
        path: unit.path.clone(),
        sync: unit.flags.sync,
        direct: unit.flags.direct,
        protection: view.protection,
        port_groups: port_groups::view(unit),
    }
}

pub fn invalid(detail: impl Into<String>) -> Failure {
    Code::InvalidRequest.because(detail)
}
