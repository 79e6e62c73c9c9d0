//! Power conditions (SPC-6 5.14, power condition mode page; SBC-4 4.20).
//!
//! Nothing spins here, so a condition is only a name: it is entered when START STOP UNIT or a timer of the power condition mode page says so, REQUEST SENSE and the
//! power condition transitions log page tell it, and a command that uses the medium leaves it. Timers are looked at when something happens.

use scsi::{Asc, Sense, SenseKey};

use super::mode_pages::ModePages;
use crate::cdb::{be32, bit};
use crate::device::Device;

/// Page code of the power condition mode page.
const PAGE: u8 = 0x1a;
/// Nanoseconds of one unit of a timer.
const TIMER_UNIT: u64 = 100_000_000;

/// A low power condition, less power to the right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Condition {
    IdleA,
    IdleB,
    IdleC,
    StandbyY,
    StandbyZ,
}

impl Condition {
    /// Parameter code of the power condition transitions log page.
    fn code(self) -> u16 {
        match self {
            Condition::IdleA => 2,
            Condition::IdleB => 3,
            Condition::IdleC => 4,
            Condition::StandbyZ => 8,
            Condition::StandbyY => 9,
        }
    }

    /// What REQUEST SENSE tells.
    fn asc(self, by_timer: bool) -> Asc {
        Asc(match (self, by_timer) {
            (Condition::IdleA, true) => 0x5e01,
            (Condition::StandbyZ, true) => 0x5e02,
            (Condition::IdleA, false) => 0x5e03,
            (Condition::StandbyZ, false) => 0x5e04,
            (Condition::IdleB, true) => 0x5e05,
            (Condition::IdleB, false) => 0x5e06,
            (Condition::IdleC, true) => 0x5e07,
            (Condition::IdleC, false) => 0x5e08,
            (Condition::StandbyY, true) => 0x5e09,
            (Condition::StandbyY, false) => 0x5e0a,
        })
    }
}

/// Parameter code of transitions to active.
const TO_ACTIVE: u16 = 1;

/// Where the unit stands.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Power {
    /// Enabled timers of the mode page, `None` when there is none.
    timers: Option<Timers>,
    /// `None`: active.
    condition: Option<Condition>,
    by_timer: bool,
    /// A condition that START STOP UNIT chose stays, whatever the timers say.
    timers_stopped: bool,
    /// Last use of the medium, in nanoseconds.
    used: u64,
}

/// What POWER CONDITION and its modifier ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    Active,
    Enter(Condition),
    /// The timers decide from now on.
    TimersDecide,
    /// As if the timer had run out.
    Force(Condition),
    /// A reserved value: accepted and without effect, as the original takes them all and libiscsi's suite asks for.
    Nothing,
}

/// Reads POWER CONDITION and POWER CONDITION MODIFIER. `Err`: byte and leftmost bit of the field that means nothing.
pub(super) fn wanted(condition: u8, modifier: u8) -> Result<Wanted, (u16, u8)> {
    Ok(match (condition, modifier) {
        (0x1, 0) => Wanted::Active,
        (0x2, 0) => Wanted::Enter(Condition::IdleA),
        (0x2, 1) => Wanted::Enter(Condition::IdleB),
        (0x2, 2) => Wanted::Enter(Condition::IdleC),
        (0x3, 0) => Wanted::Enter(Condition::StandbyZ),
        (0x3, 1) => Wanted::Enter(Condition::StandbyY),
        (0x7, 0) => Wanted::TimersDecide,
        (0xa, 0) => Wanted::Force(Condition::IdleA),
        (0xb, 0) => Wanted::Force(Condition::StandbyZ),
        (0x1 | 0x2 | 0x3 | 0x7 | 0xa | 0xb, _) => return Err((3, 3)),
        _ => Wanted::Nothing,
    })
}

/// The timers of the page, ascending by what they lead to: those that are enabled in nanoseconds.
type Timers = [(Condition, Option<u64>); 5];

fn timers(modes: &ModePages) -> Timers {
    let page = modes.values(PAGE, 0).unwrap_or(&[]);
    let timer = |at: usize, mask: u8, value: usize| bit(page, at, mask).then(|| u64::from(be32(page, value)).saturating_mul(TIMER_UNIT));
    [
        (Condition::IdleA, timer(1, 0x02, 2)),
        (Condition::IdleB, timer(1, 0x04, 10)),
        (Condition::IdleC, timer(1, 0x08, 14)),
        (Condition::StandbyY, timer(0, 0x01, 18)),
        (Condition::StandbyZ, timer(1, 0x01, 6)),
    ]
}

/// Lets the timers that ran out lead on: each condition on the way down counts.
pub(crate) fn tick(device: &mut Device, now: u64) {
    let Some(timers) = device.power.timers.filter(|_| !device.power.timers_stopped) else { return };
    let unused = now.saturating_sub(device.power.used);
    for (condition, timer) in timers {
        if timer.is_some_and(|timer| unused >= timer) && device.power.condition < Some(condition) {
            enter(device, condition, true);
        }
    }
}

/// A command uses the medium.
pub(crate) fn use_medium(device: &mut Device) {
    if device.power.condition.is_some() {
        activate(device);
    }
    device.power.timers_stopped = false;
    device.power.used = device.now();
}

/// Does what START STOP UNIT asks.
pub(super) fn change(device: &mut Device, wanted: Wanted) {
    match wanted {
        Wanted::Active => {
            activate(device);
            device.power.timers_stopped = false;
            device.power.used = device.now();
        }
        Wanted::Enter(condition) => {
            enter(device, condition, false);
            device.power.timers_stopped = true;
        }
        Wanted::TimersDecide => {
            device.power.timers_stopped = false;
            device.power.used = device.now();
        }
        Wanted::Nothing => {}
        Wanted::Force(condition) => {
            enter(device, condition, true);
            device.power.timers_stopped = true;
        }
    }
}

/// A reset makes the unit active.
pub(crate) fn reset(device: &mut Device) {
    device.power = Power { used: device.now(), ..Power::default() };
    device.power.modes_changed(&device.modes);
}

fn activate(device: &mut Device) {
    if device.power.condition.take().is_some() {
        device.statistics.transition(TO_ACTIVE);
    }
}

fn enter(device: &mut Device, condition: Condition, by_timer: bool) {
    if device.power.condition != Some(condition) {
        device.power.condition = Some(condition);
        device.statistics.transition(condition.code());
    }
    device.power.by_timer = by_timer;
}

impl Power {
    /// The power condition mode page may have been changed.
    pub(crate) fn modes_changed(&mut self, modes: &ModePages) {
        self.timers = Some(timers(modes)).filter(|timers| timers.iter().any(|timer| timer.1.is_some()));
    }

    /// What REQUEST SENSE tells in a low power condition.
    pub(crate) fn sense_on_request(&self) -> Option<Sense> {
        self.condition.map(|condition| Sense::new(SenseKey::NO_SENSE, condition.asc(self.by_timer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bench::{Bench, code};
    use std::vec::Vec;

    fn condition(bench: &mut Bench, condition: u8, modifier: u8) {
        bench.good(&[0x1b, 0, 0, modifier, condition << 4, 0]);
    }

    fn told(bench: &Bench) -> u32 {
        bench.device.sense_on_request().map_or(0, |sense| code(&sense))
    }

    /// Counts of the transitions page: to active, idle a b c, standby z y.
    fn transitions(bench: &mut Bench) -> Vec<u8> {
        bench.good(&[0x4d, 0, 0x5a, 0, 0, 0, 0, 0, 99, 0])[4..].chunks(8).map(|parameter| parameter[7]).collect()
    }

    #[test]
    fn conditions_by_command() {
        let mut bench = Bench::disk(8);
        for (asked, modifier, asc) in
            [(2, 0, 0x5e03), (2, 1, 0x5e06), (2, 2, 0x5e08), (3, 0, 0x5e04), (3, 1, 0x5e0a), (0xa, 0, 0x5e01), (0xb, 0, 0x5e02), (7, 0, 0x5e02)]
        {
            condition(&mut bench, asked, modifier);
            assert_eq!(told(&bench), asc);
        }
        assert_eq!(bench.ops.len(), 2, "standby writes the cache out");
        bench.good(&[0; 6]);
        assert_eq!(told(&bench), 0x5e02, "TEST UNIT READY does not wake it");
        bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(told(&bench), 0);
        assert_eq!(transitions(&mut bench), [1, 2, 1, 1, 2, 1]);
        condition(&mut bench, 3, 0);
        condition(&mut bench, 1, 0);
        assert_eq!(told(&bench), 0);
        condition(&mut bench, 2, 0);
        bench.device.reset();
        assert_eq!(told(&bench), 0);
    }

    #[test]
    fn conditions_that_are_not_there() {
        let mut bench = Bench::disk(8);
        for reserved in [4, 5, 6, 8, 9, 0xc, 0xf] {
            bench.good(&[0x1b, 0, 0, 0, reserved << 4, 0]);
            assert_eq!(told(&bench), 0);
        }
        for (asked, modifier) in [(1, 1), (2, 3), (3, 2), (7, 1), (0xa, 1)] {
            assert_eq!(bench.sense(&[0x1b, 0, 0, modifier, asked << 4, 0], &[]), Sense::invalid_cdb_field(3, Some(3)));
        }
    }

    #[test]
    fn conditions_by_timer() {
        let mut bench = Bench::disk(8);
        // IDLE_A after 1 s, STANDBY_Z after 10 s.
        let mut page = Vec::from([0, 0, 0, 0, 0x1a, 0x26, 0x00, 0x03, 0, 0, 0, 10, 0, 0, 0, 100]);
        page.resize(44, 0);
        let at = |bench: &mut Bench, seconds: u64| bench.device.tick(seconds * 1_000_000_000, true);
        at(&mut bench, 100);
        bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(bench.run(&[0x15, 0x10, 0, 0, 44, 0], &page).0.sense, None);
        assert_eq!(told(&bench), 0);
        at(&mut bench, 101);
        assert_eq!(told(&bench), 0x5e01);
        at(&mut bench, 109);
        assert_eq!(told(&bench), 0x5e01);
        at(&mut bench, 110);
        assert_eq!(told(&bench), 0x5e02);
        bench.good(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(told(&bench), 0);
        at(&mut bench, 200);
        assert_eq!(told(&bench), 0x5e02);
        assert_eq!(transitions(&mut bench), [1, 2, 0, 0, 2, 0]);
        condition(&mut bench, 2, 1);
        at(&mut bench, 300);
        assert_eq!(told(&bench), 0x5e06, "what a command chose stays");
        condition(&mut bench, 7, 0);
        at(&mut bench, 311);
        assert_eq!(told(&bench), 0x5e02);
    }
}
