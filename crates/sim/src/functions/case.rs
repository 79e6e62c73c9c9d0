//! The cases: which function, at which stage, by whom; and what is right then.

pub(super) const OWNER: usize = 0;
pub(super) const OTHER: usize = 1;
pub(super) const COMPLETE: u8 = 0;
pub(super) const DOES_NOT_EXIST: u8 = 1;
pub(super) const SUCCEEDED: u8 = 7;
pub(super) const REJECTED: u8 = 255;

/// Task management functions by their codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Function {
    AbortTask = 1,
    AbortTaskSet = 2,
    ClearAca = 3,
    ClearTaskSet = 4,
    UnitReset = 5,
    WarmReset = 6,
    ColdReset = 7,
    QueryTask = 9,
    QueryTaskSet = 10,
    NexusReset = 11,
    QueryEvent = 12,
}

/// Where the victim stands when the function arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// There never was such a command.
    Never,
    /// Its CmdSN is due and it did not come.
    Missing,
    /// It waits in the command window for the one before it.
    Held,
    /// It comes with the function.
    Arriving,
    /// Its data are on their way.
    AwaitingData,
    /// An ORDERED command before it has not ended.
    Ordered,
    /// A COMPARE AND WRITE of the other initiator has its block, and the store does not answer.
    Contended,
    /// The store works for it and will answer.
    Storing,
    /// The store works for it and does not answer.
    Stuck,
    /// A fault rule lets it wait.
    Paused,
    /// A fault rule lets it hang.
    Hung,
    /// An auto contingent allegiance blocks it.
    Contingent,
    /// Its answer is being sent.
    Sending,
    /// It was answered.
    Answered,
}

const FUNCTIONS: [Function; 11] = [
    Function::AbortTask,
    Function::AbortTaskSet,
    Function::ClearAca,
    Function::ClearTaskSet,
    Function::UnitReset,
    Function::WarmReset,
    Function::ColdReset,
    Function::QueryTask,
    Function::QueryTaskSet,
    Function::NexusReset,
    Function::QueryEvent,
];
const STAGES: [Stage; 14] = [
    Stage::Never,
    Stage::Missing,
    Stage::Held,
    Stage::Arriving,
    Stage::AwaitingData,
    Stage::Ordered,
    Stage::Contended,
    Stage::Storing,
    Stage::Stuck,
    Stage::Paused,
    Stage::Hung,
    Stage::Contingent,
    Stage::Sending,
    Stage::Answered,
];
/// Pairs of function and stage; each is there with the owner and the other as issuer, with and without TAS, immediate and not.
pub const PAIRS: u64 = (FUNCTIONS.len() * STAGES.len()) as u64;
/// All of them once.
pub const CASES: u64 = PAIRS * 8;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub(super) function: Function,
    pub(super) stage: Stage,
    pub(super) issuer: usize,
    pub(super) tas: bool,
    pub(super) immediate: bool,
}

impl Case {
    /// The case of a seed: [`CASES`] seeds in a row are all cases, [`PAIRS`] in a row all pairs.
    pub fn of(seed: u64) -> Case {
        let (pair, variant) = ((seed % PAIRS) as usize, seed / PAIRS);
        let stage = STAGES[pair % STAGES.len()];
        // Behind a hole of the window a function that takes a number of its own would wait for its turn too.
        let behind_hole = matches!(stage, Stage::Held | Stage::Missing);
        Case {
            function: FUNCTIONS[pair / STAGES.len()],
            stage,
            issuer: if variant & 1 == 0 { OWNER } else { OTHER },
            tas: variant & 2 != 0,
            immediate: variant & 4 == 0 || behind_hole,
        }
    }

    /// The function ends commands of `owner`; `referenced`: it may name this one.
    pub(super) fn ends(&self, owner: usize, referenced: bool) -> bool {
        match self.function {
            Function::AbortTask => referenced && owner == self.issuer,
            Function::AbortTaskSet | Function::NexusReset => owner == self.issuer,
            Function::ClearTaskSet | Function::UnitReset | Function::WarmReset | Function::ColdReset => true,
            Function::ClearAca | Function::QueryTask | Function::QueryTaskSet | Function::QueryEvent => false,
        }
    }

    pub(super) fn resets(&self) -> bool {
        matches!(self.function, Function::UnitReset | Function::WarmReset | Function::ColdReset)
    }

    /// The victim is in the task set of the unit. Not asked of [`Stage::Sending`], which may be either.
    fn in_task_set(&self) -> bool {
        !matches!(self.stage, Stage::Never | Stage::Missing | Stage::Held | Stage::Sending | Stage::Answered)
    }

    /// The function ends the victim. One that waits in its session's window is none of the other's business.
    pub(super) fn ends_victim(&self) -> bool {
        match self.stage {
            Stage::Never | Stage::Missing | Stage::Answered => false,
            Stage::Held => self.issuer == OWNER && self.ends(OWNER, true),
            _ => self.ends(OWNER, true),
        }
    }

    /// A command that the store keeps is among those that end.
    fn meets_hanging_store(&self) -> bool {
        match self.stage {
            Stage::Stuck => self.ends(OWNER, true),
            Stage::Contended => self.ends(OTHER, false),
            _ => false,
        }
    }

    /// Answers that are right.
    pub(super) fn answers(&self) -> &'static [u8] {
        let own = self.issuer == OWNER;
        match self.function {
            _ if self.meets_hanging_store() => &[REJECTED],
            Function::AbortTask if !own => &[DOES_NOT_EXIST],
            Function::AbortTask => match self.stage {
                Stage::Never | Stage::Answered => &[DOES_NOT_EXIST],
                Stage::Sending => &[COMPLETE, DOES_NOT_EXIST],
                _ => &[COMPLETE],
            },
            Function::QueryTask if !own => &[COMPLETE],
            // The bystander is there.
            Function::QueryTaskSet if !own => &[SUCCEEDED],
            Function::QueryTask | Function::QueryTaskSet => match self.stage {
                Stage::Sending | Stage::Held => &[COMPLETE, SUCCEEDED],
                _ if self.in_task_set() => &[SUCCEEDED],
                _ => &[COMPLETE],
            },
            _ => &[COMPLETE],
        }
    }

    /// Unit attentions of `who` afterwards, one of these lists.
    pub(super) fn heard(&self, who: usize) -> &'static [&'static [u16]] {
        match self.function {
            Function::UnitReset | Function::WarmReset | Function::ColdReset => &[&[0x2900]],
            Function::NexusReset if who == self.issuer => &[&[0x2907]],
            Function::ClearTaskSet if who != self.issuer && !self.tas => match self.stage {
                _ if who == OTHER || self.in_task_set() => &[&[0x2f00]],
                Stage::Sending => &[&[], &[0x2f00]],
                _ => &[&[]],
            },
            _ => &[&[]],
        }
    }
}
