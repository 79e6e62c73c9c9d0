//! Parts of the state that know what has changed in them since the last publication, so that only that is made anew.
//!
//! Reading is free, and whoever gets something to change has changed it: nobody can forget to say so.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use transport::model::UnitCell;
use transport::shared_map::SharedMap;

use crate::state::{TargetState, UnitState};

/// A value that all targets may depend on.
#[derive(Default)]
pub struct Tracked<T> {
    value: T,
    changed: bool,
}

impl<T> Tracked<T> {
    /// True when it has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        mem::take(&mut self.changed)
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }
}

/// Targets by number.
#[derive(Default)]
pub struct Targets {
    targets: BTreeMap<i32, TargetState>,
    numbers: BTreeMap<String, i32>,
    changed: BTreeSet<i32>,
}

impl Targets {
    /// A target, to be changed in anything but its name.
    pub fn get_mut(&mut self, tid: &i32) -> Option<&mut TargetState> {
        let target = self.targets.get_mut(tid)?;
        self.changed.insert(*tid);
        Some(target)
    }

    /// All targets, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut TargetState> {
        self.changed.extend(self.targets.keys());
        self.targets.values_mut()
    }

    /// A new target, at a number and with a name that are free.
    pub fn insert(&mut self, tid: i32, target: TargetState) {
        self.numbers.insert(target.name.clone(), tid);
        self.targets.insert(tid, target);
        self.changed.insert(tid);
    }

    /// Takes a target out.
    pub fn remove(&mut self, tid: &i32) -> Option<TargetState> {
        let target = self.targets.remove(tid)?;
        self.numbers.remove(&target.name);
        self.changed.insert(*tid);
        Some(target)
    }

    /// The target of that name.
    pub fn named(&self, name: &str) -> Option<&TargetState> {
        self.targets.get(self.numbers.get(name)?)
    }

    /// Those for which this holds count as changed.
    pub fn mark(&mut self, affected: impl Fn(&TargetState) -> bool) {
        self.changed.extend(self.targets.values().filter(|target| affected(target)).map(|target| target.tid));
    }

    /// Numbers of targets that have changed, come or gone since this was asked last.
    pub fn take_changed(&mut self) -> BTreeSet<i32> {
        mem::take(&mut self.changed)
    }
}

impl Deref for Targets {
    type Target = BTreeMap<i32, TargetState>;

    fn deref(&self) -> &BTreeMap<i32, TargetState> {
        &self.targets
    }
}

/// Units of a target by number, and what is published of them.
pub struct Units {
    units: BTreeMap<u64, UnitState>,
    cells: SharedMap<u64, Arc<UnitCell>>,
    well_known: Arc<UnitCell>,
}

impl Units {
    /// A unit, to be changed in anything but its cell.
    pub fn get_mut(&mut self, lun: &u64) -> Option<&mut UnitState> {
        self.units.get_mut(lun)
    }

    /// No units but the well known one.
    pub fn new(well_known: Arc<UnitCell>) -> Units {
        let mut cells = SharedMap::default();
        cells.insert(well_known.lun, well_known.clone());
        Units { units: BTreeMap::new(), cells, well_known }
    }

    /// The well known logical unit REPORT LUNS, which comes and goes with its target.
    pub fn well_known(&self) -> &Arc<UnitCell> {
        &self.well_known
    }

    /// A new unit.
    pub fn insert(&mut self, lun: u64, unit: UnitState) {
        self.cells.insert(lun, unit.cell.clone());
        self.units.insert(lun, unit);
    }

    /// Takes a unit out.
    pub fn remove(&mut self, lun: &u64) -> Option<UnitState> {
        self.cells.remove(lun);
        self.units.remove(lun)
    }

    /// The cells, as reactors see them.
    pub fn cells(&self) -> SharedMap<u64, Arc<UnitCell>> {
        self.cells.clone()
    }
}

impl Deref for Units {
    type Target = BTreeMap<u64, UnitState>;

    fn deref(&self) -> &BTreeMap<u64, UnitState> {
        &self.units
    }
}
