//! The disks that the suite runs on: properties, every combination of them, and a choice of few that pairs each value with each other.

/// A property of a disk that the suite may notice, with its two values.
pub struct Property {
    /// What conditions of `tests/conformance/expect.txt` call it.
    pub name: &'static str,
    /// Both values; the first is what `scuzzy serve` does unasked.
    pub values: [&'static str; 2],
    /// Words of `scuzzy serve` for the second value.
    serve: &'static [&'static str],
    /// Parameters of `tgtadm` for either value.
    parameters: [&'static str; 2],
}

impl Property {
    const fn new(name: &'static str, values: [&'static str; 2], serve: &'static [&'static str], parameters: [&'static str; 2]) -> Property {
        Property { name, values, serve, parameters }
    }
}

const NONE: [&str; 2] = ["", ""];

/// All of them. A file has physical blocks of its own, so their length is always set.
pub const PROPERTIES: [Property; COUNT] = [
    Property::new("readonly", ["no", "yes"], &["--read-only"], NONE),
    Property::new("block", ["512", "4096"], &["--block-size", "4096"], NONE),
    Property::new("thin", ["yes", "no"], &[], ["", "thin_provisioning=0"]),
    Property::new("removable", ["no", "yes"], &[], ["", "removable=1"]),
    Property::new("physical", ["1", "8"], &[], ["lbppbe=0", "lbppbe=3"]),
    Property::new("chap", ["no", "yes"], &["--chap", USER], NONE),
    Property::new("store", ["memory", "file"], &[], NONE),
    Property::new("io", ["uring", "epoll"], &["--io", "epoll"], NONE),
];

/// Number of properties.
const COUNT: usize = 8;
/// Places of those that are asked for by place.
const READ_ONLY: usize = 0;
const CHAP: usize = 5;
const STORE: usize = 6;
const IO: usize = 7;

/// Account of the disks that want one.
pub const USER: &str = "joe";

/// Which value each property has: bit `n` is 1 for the second value of property `n`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Disk(u16);

impl Disk {
    fn second(self, property: usize) -> bool {
        self.0 >> property & 1 == 1
    }

    /// The value of each property.
    pub fn values(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        PROPERTIES.iter().enumerate().map(move |(place, property)| (property.name, property.values[usize::from(self.second(place))]))
    }

    /// `readonly=no,block=512,...`.
    pub fn name(self) -> String {
        self.values().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }

    /// What a person calls it.
    pub fn title(self) -> String {
        let word = |place: usize| -> String {
            let value = PROPERTIES[place].values[usize::from(self.second(place))];
            match (PROPERTIES[place].name, value) {
                ("readonly", "no") | ("removable", "no") | ("physical", "1") | ("chap", "no") => String::new(),
                ("readonly", _) => "read-only".to_owned(),
                ("thin", "yes") => "thin".to_owned(),
                ("thin", _) => "thick".to_owned(),
                ("physical", _) => "8 blocks in a physical one".to_owned(),
                ("chap", _) => "CHAP".to_owned(),
                ("removable", _) => "removable".to_owned(),
                _ => value.to_owned(),
            }
        };
        let words: Vec<String> = (1..COUNT).chain([READ_ONLY]).map(word).filter(|word| !word.is_empty()).collect();
        words.join(", ")
    }

    /// The image of a disk in a file must be there before.
    pub fn in_file(self) -> bool {
        self.second(STORE)
    }

    /// Initiators must log in as [`USER`].
    pub fn chap(self) -> bool {
        self.second(CHAP)
    }

    /// Words of `scuzzy serve`, but for the medium.
    pub fn serve(self) -> Vec<&'static str> {
        let mut words: Vec<&str> =
            PROPERTIES.iter().enumerate().filter(|(place, _)| self.second(*place)).flat_map(|(_, it)| it.serve).copied().collect();
        if !self.second(IO) {
            words.extend(["--io", "uring"]);
        }
        words
    }

    /// Parameters that only tgtadm sets.
    pub fn parameters(self) -> String {
        let all = PROPERTIES.iter().enumerate().map(|(place, it)| it.parameters[usize::from(self.second(place))]);
        all.filter(|parameter| !parameter.is_empty()).collect::<Vec<_>>().join(",")
    }
}

/// Every combination.
pub fn product() -> Vec<Disk> {
    (0..1 << COUNT).map(Disk).collect()
}

/// Few disks among which each pair of values is to be found. Each property but the first has its second value on three of five disks, no two on the same
/// three: then two properties have second values together somewhere, and each of them one without the other. A sixth disk has all first values. Two more
/// are read-only, which has nothing to be paired with but single values.
pub fn pairwise() -> Vec<Disk> {
    let read_only = [1 << READ_ONLY, (1 << COUNT) - 1];
    six().into_iter().chain(read_only).map(Disk).collect()
}

/// Disks among which any three values are to be found. The property's number, with a one before it, says which bits of the disk's number are added up: any
/// three such words are linearly independent, so three properties have each of their eight combinations on two of sixteen disks. The six disks of
/// [`pairwise`] are added read-only.
pub fn triples() -> Vec<Disk> {
    let value = |disk: u16, property: usize| u16::from((disk & (1 << FACTOR_BITS | property as u16)).count_ones() % 2 == 1) << property;
    let writable = (0..2u16 << FACTOR_BITS).map(|disk| (READ_ONLY + 1..COUNT).map(|property| value(disk, property)).sum());
    writable.chain(six().map(|disk| disk | 1 << READ_ONLY)).map(Disk).collect()
}

/// Bits of a property's number.
const FACTOR_BITS: u16 = 3;

/// Disks that can be written, for all pairs of values.
fn six() -> [u16; OTHERS + 1] {
    let triples = (0..1u16 << OTHERS).filter(|disks| disks.count_ones() == SECOND);
    let mut disks = [0u16; OTHERS + 1];
    for (property, triple) in (READ_ONLY + 1..COUNT).zip(triples) {
        for (place, disk) in disks.iter_mut().skip(1).enumerate() {
            *disk |= (triple >> place & 1) << property;
        }
    }
    disks
}

/// Disks that can be written and have second values, and how many of them have that of one property: enough for ten properties.
const OTHERS: usize = 5;
const SECOND: u32 = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Two properties with a value each.
    type Pair = ((usize, bool), (usize, bool));

    /// The pairs that a run on this disk shows. Most of the suite writes and is left out on a read-only disk, so such a run says little about two
    /// other properties.
    fn pairs(disk: Disk) -> impl Iterator<Item = Pair> {
        let read_only = disk.second(READ_ONLY);
        let both = (0..COUNT).flat_map(|one| (one + 1..COUNT).map(move |other| (one, other)));
        both.filter(move |(one, _)| !read_only || *one == READ_ONLY).map(move |(one, other)| ((one, disk.second(one)), (other, disk.second(other))))
    }

    /// As many as the test command has time for.
    const MOST: usize = 8;

    #[test]
    fn few_disks_pair_every_value_with_every_other() {
        let chosen = pairwise();
        assert!(chosen.len() <= MOST, "{}", chosen.len());
        assert_eq!(chosen, pairwise(), "the same list every time");
        let shown: BTreeSet<Pair> = chosen.iter().copied().flat_map(pairs).collect();
        for (one, other) in (0..COUNT).flat_map(|one| (one + 1..COUNT).map(move |other| (one, other))) {
            for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
                assert!(shown.contains(&((one, left), (other, right))), "{} {}", PROPERTIES[one].name, PROPERTIES[other].name);
            }
        }
    }

    #[test]
    fn any_three_values_meet_on_some_disk() {
        let disks = triples();
        assert_eq!(disks.len(), 22);
        let places = || 0..COUNT;
        for (one, two, three) in places().flat_map(|one| (one + 1..COUNT).flat_map(move |two| (two + 1..COUNT).map(move |three| (one, two, three)))) {
            let found: BTreeSet<_> = disks.iter().map(|disk| (disk.second(one), disk.second(two), disk.second(three))).collect();
            assert_eq!(found.len(), 8, "{one} {two} {three}");
        }
        let writable = disks.iter().filter(|disk| !disk.second(READ_ONLY));
        let found: BTreeSet<_> = writable.map(|disk| (disk.second(1), disk.second(4), disk.second(7))).collect();
        assert_eq!(found.len(), 8, "writable disks alone have them, too");
    }

    #[test]
    fn a_read_only_disk_shows_no_pair_of_two_other_properties() {
        assert_eq!(pairs(Disk(1)).count(), COUNT - 1);
        assert_eq!(pairs(Disk(0)).count(), COUNT * (COUNT - 1) / 2);
    }

    #[test]
    fn a_disk_says_what_it_is() {
        assert_eq!(Disk(0).name(), "readonly=no,block=512,thin=yes,removable=no,physical=1,chap=no,store=memory,io=uring");
        assert_eq!(Disk(0).title(), "512, thin, memory, uring");
        assert_eq!(Disk(0xff).title(), "4096, thick, removable, 8 blocks in a physical one, CHAP, file, epoll, read-only");
        assert_eq!(Disk(0).parameters(), "lbppbe=0");
        assert_eq!(Disk(0xff).parameters(), "thin_provisioning=0,removable=1,lbppbe=3");
        assert_eq!(Disk(0b11).serve(), ["--read-only", "--block-size", "4096", "--io", "uring"]);
        assert_eq!(product().len(), 256);
    }
}
