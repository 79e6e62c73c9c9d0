//! Error numbers of the control protocol.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a request was refused: tgt's numbers and texts.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u32)]
        pub enum Code {
            $($(#[$doc])* $name = $number,)*
        }

        impl Code {
            /// All codes, by number from 1.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The number on the wire, never 0.
            pub fn number(self) -> u32 {
                match self { $(Code::$name => $number,)* }
            }

            /// The text that tgtadm prints; scripts compare it word for word.
            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// Anything else.
    Unknown = 1, "unknown error";
    /// No memory.
    NoMemory = 2, "out of memory";
    /// No driver of that name, or it is not ready.
    NoDriver = 3, "can't find the driver";
    /// No target of that number.
    NoTarget = 4, "can't find the target";
    /// No unit of that number.
    NoUnit = 5, "can't find the logical unit";
    /// No session of that number.
    NoSession = 6, "can't find the session";
    /// No connection of that number.
    NoConnection = 7, "can't find the connection";
    /// The host number is not bound.
    NoBinding = 8, "can't find the binding";
    /// Number or name of the target is taken.
    TargetExists = 9, "this target already exists";
    /// Number of the unit is taken.
    UnitExists = 10, "this logical unit number already exists";
    /// The host number is bound.
    BindingExists = 11, "this binding already exists";
    /// The access rule is there already.
    RuleExists = 12, "this access control rule already exists";
    /// The access rule is not there.
    NoRule = 13, "this access control rule does not exist";
    /// The account is there, or bound, already.
    AccountExists = 14, "this account already exists";
    /// The account is not there, or not bound.
    NoAccount = 15, "can't find the account";
    /// The account table is full.
    TooManyAccounts = 16, "too many accounts";
    /// The request makes no sense, or a file could not be opened.
    InvalidRequest = 17, "invalid request";
    /// One outgoing account is all a target has.
    OutgoingAccountExists = 18, "this target already has an outgoing account";
    /// The target has sessions.
    TargetActive = 19, "this target is still active";
    /// The unit has commands.
    UnitActive = 20, "this logical unit is still active";
    /// The driver has targets.
    DriverActive = 21, "this driver is busy";
    /// The mode does not know the operation.
    Unsupported = 22, "this operation isn't supported";
    /// A changer does not know the parameter.
    UnknownParameter = 23, "unknown parameter";
    /// An initiator keeps the medium in.
    RemovalPrevented = 24, "this device has Prevent Removal set";
}

impl Code {
    /// The code with this number; `None` for 0 (success) and for numbers nobody gave a meaning.
    pub fn from_number(number: u32) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// With a detail for logs and JSON; tgtadm's wire carries the number only.
    pub fn because(self, detail: impl Into<String>) -> crate::reply::Failure {
        crate::reply::Failure { code: self, detail: detail.into() }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_1_to_24_and_come_back() {
        let numbers: Vec<u32> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, (1..=24).collect::<Vec<u32>>());
        assert!(Code::ALL.iter().all(|code| Code::from_number(code.number()) == Some(*code)));
        assert_eq!((Code::from_number(0), Code::from_number(25)), (None, None));
    }
}
