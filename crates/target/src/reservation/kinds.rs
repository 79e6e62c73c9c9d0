//! Types of persistent reservations, and the table of conflicts (SPC-6 5.14).

/// Type of a persistent reservation, with its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ReservationType {
    WriteExclusive = 1,
    ExclusiveAccess = 3,
    WriteExclusiveRegistrantsOnly = 5,
    ExclusiveAccessRegistrantsOnly = 6,
    WriteExclusiveAllRegistrants = 7,
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All six, ascending.
    pub const ALL: [ReservationType; 6] = [
        ReservationType::WriteExclusive,
        ReservationType::ExclusiveAccess,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];

    /// Its number in parameter data and service requests.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The type with this number.
    pub fn from_number(number: u8) -> Option<ReservationType> {
        ReservationType::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Every registrant holds it.
    pub fn all_registrants(self) -> bool {
        matches!(self, ReservationType::WriteExclusiveAllRegistrants | ReservationType::ExclusiveAccessAllRegistrants)
    }

    /// Registrants may do what the holder may.
    pub fn shared(self) -> bool {
        !matches!(self, ReservationType::WriteExclusive | ReservationType::ExclusiveAccess)
    }

    /// Others may not even read.
    pub fn excludes_reads(self) -> bool {
        matches!(
            self,
            ReservationType::ExclusiveAccess | ReservationType::ExclusiveAccessRegistrantsOnly | ReservationType::ExclusiveAccessAllRegistrants
        )
    }
}

/// What a nexus is to a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Holds it (for the all-registrants types: every registrant).
    Holder,
    /// Has a key, but does not hold it.
    Registrant,
    /// Has no key.
    Stranger,
}

/// What a command does to the medium, as a reservation sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Never conflicts with a persistent reservation.
    Free,
    /// Reads.
    Read,
    /// Writes, or changes the unit.
    Write,
}

/// The conflict table of persistent reservations: does a command with this access conflict?
pub fn conflicts(kind: ReservationType, access: Access, relation: Relation) -> bool {
    let privileged = match relation {
        Relation::Holder => true,
        Relation::Registrant => kind.shared(),
        Relation::Stranger => false,
    };
    match access {
        Access::Free => false,
        Access::Read => kind.excludes_reads() && !privileged,
        Access::Write => !privileged,
    }
}
