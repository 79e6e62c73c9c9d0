//! Asymmetric access states of target port groups (SPC-6 5.18), and their words.

/// State of a target port group, with its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum AccessState {
    Optimized = 0x0,
    NonOptimized = 0x1,
    Standby = 0x2,
    Unavailable = 0x3,
    Offline = 0xe,
    Transitioning = 0xf,
}

impl AccessState {
    /// All six.
    pub const ALL: [AccessState; 6] = [
        AccessState::Optimized,
        AccessState::NonOptimized,
        AccessState::Standby,
        AccessState::Unavailable,
        AccessState::Offline,
        AccessState::Transitioning,
    ];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its word: `optimized`, `non-optimized`, `standby`, `unavailable`, `offline` or `transitioning`.
    pub const fn word(self) -> &'static str {
        match self {
            AccessState::Optimized => "optimized",
            AccessState::NonOptimized => "non-optimized",
            AccessState::Standby => "standby",
            AccessState::Unavailable => "unavailable",
            AccessState::Offline => "offline",
            AccessState::Transitioning => "transitioning",
        }
    }

    /// The state of that word.
    pub fn from_word(word: &str) -> Option<AccessState> {
        AccessState::ALL.into_iter().find(|state| state.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_one_state_each() {
        for state in AccessState::ALL {
            assert_eq!(AccessState::from_word(state.word()), Some(state));
        }
        assert_eq!(AccessState::from_word("active"), None);
    }
}
