//! Changes of a unit's store while sessions are up and commands run.
//!
//! Files may lie on a network and stores may hang: opening, truncating and waiting are done while other requests go on. A mark on the unit keeps a second
//! such change away meanwhile; the unit itself may go.

use std::sync::Arc;
use std::time::Duration;

use admin::code::Code;
use admin::document::Size;
use admin::reply::{Failure, Reply};
use admin::request::UnitSwap;
use device::Parameter;
use store::Store;
use transport::model::UnitCell;

use super::unit::{self, invalid};
use super::{Context, DONE, target};
use crate::state::{StoreFlags, UnitState, protection_of};

/// How long a shrinking waits for the operations behind the new end.
const SHRINK_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 4000 });

/// A unit whose store is being changed.
struct Place {
    tid: i32,
    lun: u64,
    created: u64,
    cell: Arc<UnitCell>,
}

/// Another size: `None` looks at the medium again, `Some` sets it. Shrinking needs `force`.
pub fn resize(context: &mut Context<'_>, tid: i32, lun: u64, bytes: Option<u64>, force: bool) -> Reply {
    let (cell, old) = {
        let unit = find(context, tid, lun)?;
        (unit.cell.clone(), unit.cell.store().ok_or_else(|| invalid("the unit has no medium"))?)
    };
    let present = old.geometry().bytes;
    if let Some(bytes) = bytes.filter(|&bytes| bytes < present && !force) {
        return Err(invalid(format!("{bytes} bytes are less than the {present} of now: what lies behind would be lost; force does it")));
    }
    let place = begin(context, tid, lun)?;
    let result = set_size(context, &cell, &old, bytes);
    // The size of a memory disk is its path.
    if let (Ok(()), Some(bytes), Some(unit)) = (&result, bytes, marked(context, &place))
        && unit.store == "memory"
    {
        unit.path = Some(Size(bytes).to_string());
    }
    end(context, &place);
    result.and(DONE)
}

fn set_size(context: &mut Context<'_>, cell: &Arc<UnitCell>, old: &Arc<dyn Store>, bytes: Option<u64>) -> Result<(), Failure> {
    let refusal = |error: store::ResizeError| invalid(error.to_string());
    let present = old.geometry().bytes;
    let seen = match bytes {
        None => Some(context.unlocked(|| old.resized(None)).map_err(refusal)?),
        Some(_) => None,
    };
    let wanted = bytes.unwrap_or_else(|| seen.as_ref().map_or(present, |store| store.geometry().bytes));
    if wanted < present {
        narrow(context, cell, present, wanted)?;
    }
    let new = match seen {
        Some(store) => Ok(store),
        None => context.unlocked(|| old.resized(bytes)),
    };
    match new {
        Ok(store) => {
            let mut core = cell.lock();
            cell.set_store(Some(store));
            core.device_mut().resize(wanted);
            core.publish_notices();
        }
        Err(error) => {
            set_end(context, cell, present);
            return Err(refusal(error));
        }
    }
    context.plane.attend(cell);
    Ok(())
}

/// Lets no command behind the new end any more, and waits for those that are there.
fn narrow(context: &mut Context<'_>, cell: &Arc<UnitCell>, present: u64, wanted: u64) -> Result<(), Failure> {
    set_end(context, cell, wanted);
    if context.unlocked(|| target::wait(SHRINK_PATIENCE, || !cell.lock().works_behind(wanted))) {
        return Ok(());
    }
    set_end(context, cell, present);
    Err(Code::UnitActive.because("the store is still at work behind the new end"))
}

/// The range check ends here from now on.
fn set_end(context: &Context<'_>, cell: &Arc<UnitCell>, bytes: u64) {
    let mut core = cell.lock();
    core.device_mut().resize(bytes);
    core.publish_notices();
    drop(core);
    context.plane.attend(cell);
}

/// Another store. Operations that run, and the commands they belong to, end on the old one.
pub fn swap(context: &mut Context<'_>, swap: &UnitSwap) -> Reply {
    let unit = find(context, swap.tid, swap.lun)?;
    let view = unit.cell.lock().device().view();
    if view.removable && view.prevent_removal && !swap.force {
        return Err(Code::RemovalPrevented.into());
    }
    let word = unit::store_word(swap.bstype.as_deref().unwrap_or(unit.store), view.device_type.0)?;
    let flags = match swap.bsoflags.as_deref() {
        Some(text) => flags(text)?,
        None if swap.bstype.is_none() => unit.flags,
        None => StoreFlags::default(),
    };
    if !flags.fit(word) {
        return Err(invalid(format!("store {word} takes no such bsoflags")));
    }
    let place = begin(context, swap.tid, swap.lun)?;
    let opened = match context.opened.remove(&(swap.tid, swap.lun)) {
        Some(opened) => Ok(opened),
        None => context.unlocked(|| unit::open(word, &swap.path, flags)),
    };
    let result = opened.and_then(|store| install(context, &place, swap, word, flags, store));
    end(context, &place);
    result.and(DONE)
}

fn install(
    context: &mut Context<'_>,
    place: &Place,
    swap: &UnitSwap,
    word: &'static str,
    flags: StoreFlags,
    store: Arc<dyn Store>,
) -> Result<(), Failure> {
    let unit = context.state.targets.get_mut(&place.tid).and_then(|target| target.units.get_mut(&place.lun));
    let unit = unit.filter(|unit| unit.created == place.created).ok_or_else(|| Code::NoUnit.because("it was deleted meanwhile"))?;
    let medium = unit::medium_of(&*store);
    let present = unit.cell.store().map_or(0, |store| store.geometry().bytes);
    if medium.bytes < present && !swap.force {
        return Err(invalid(format!("{} has {} bytes, less than the {present} of now; force takes it", swap.path, medium.bytes)));
    }
    let mut core = unit.cell.lock();
    if swap.bsoflags.is_some() && flags.read_only != unit.flags.read_only {
        core.device_mut().set(Parameter::ReadOnly(flags.read_only)).map_err(|_| invalid("the unit cannot be read-only"))?;
        unit.configured.readonly = None;
    }
    unit::protect(core.device_mut(), &*store)?;
    let old = unit.cell.store();
    unit.cell.set_store(Some(store));
    core.device_mut().exchange(medium);
    core.publish_notices();
    drop(core);
    (unit.store, unit.path, unit.flags) = (word, Some(swap.path.clone()), flags);
    context.plane.attend(&place.cell);
    // The last descriptor of a file may take long to close.
    context.unlocked(|| drop(old));
    Ok(())
}

/// Words between colons. (tgt's own request knows two of them, by their beginning.)
fn flags(text: &str) -> Result<StoreFlags, Failure> {
    let mut flags = StoreFlags::default();
    for word in text.split(':').filter(|word| !word.is_empty()) {
        match word {
            "sync" => flags.sync = true,
            "direct" => flags.direct = true,
            "readonly" | "read-only" => flags.read_only = true,
            "ephemeral" => flags.ephemeral = true,
            _ => match protection_of(word) {
                Some(format) => flags.protection = Some(format),
                None => {
                    return Err(invalid(format!("bsoflags are sync, direct, readonly, ephemeral and protection-0 to protection-3, not `{word}`")));
                }
            },
        }
    }
    Ok(flags)
}

fn find<'a>(context: &'a Context<'_>, tid: i32, lun: u64) -> Result<&'a UnitState, Failure> {
    let target = context.state.targets.get(&tid).ok_or(Code::NoTarget)?;
    let unit = target.units.get(&lun).ok_or(Code::NoUnit)?;
    if lun == 0 {
        return Err(invalid("the controller at LUN 0 has no store"));
    }
    Ok(unit)
}

/// Marks the unit: one change at a time.
fn begin(context: &mut Context<'_>, tid: i32, lun: u64) -> Result<Place, Failure> {
    let unit = context.state.targets.get_mut(&tid).and_then(|target| target.units.get_mut(&lun)).ok_or(Code::NoUnit)?;
    if std::mem::replace(&mut unit.changing, true) {
        return Err(Code::UnitActive.because("another request is changing its store"));
    }
    Ok(Place { tid, lun, created: unit.created, cell: unit.cell.clone() })
}

/// The unit that [`begin`] has marked, if it is still there.
fn marked<'a>(context: &'a mut Context<'_>, place: &Place) -> Option<&'a mut UnitState> {
    let unit = context.state.targets.get_mut(&place.tid).and_then(|target| target.units.get_mut(&place.lun));
    unit.filter(|unit| unit.created == place.created)
}

fn end(context: &mut Context<'_>, place: &Place) {
    if let Some(unit) = marked(context, place) {
        unit.changing = false;
    }
}
