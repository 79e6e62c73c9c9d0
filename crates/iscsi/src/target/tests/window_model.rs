//! Commands in any order, twice, not at all, outside of the window, immediate, and task management that makes up for missing ones, over the wrap of CmdSN:
//! against a model that knows nothing of lists or windows, but counts which numbers have come.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Commands that the target takes at once, as `parameters` has it.
const WINDOW: u32 = 8;
/// A tag for each command that is sent, duplicates too: two living commands never have the same.
const FIRST_TAG: u32 = 1000;

#[derive(Clone, Copy, Debug)]
enum Input {
    /// A command this far from ExpCmdSN; negative ones were there before.
    Command(i32),
    Immediate,
    /// One of the commands that run is answered.
    Answer(usize),
    /// ABORT TASK of a command that did not come, this far from ExpCmdSN.
    Plug(u32),
}

struct Model {
    first: u32,
    /// Numbers from `first` on that count as received.
    received: BTreeSet<u32>,
    expected: u32,
    /// Highest number that may come.
    maximum: u32,
    /// Tag of what came, by its number, while it waits for those before it.
    waiting: std::collections::BTreeMap<u32, u32>,
    running: Vec<u32>,
    immediate: Vec<u32>,
}

impl Model {
    /// A number as it is on the wire.
    fn wire(&self, number: u32) -> u32 {
        self.first.wrapping_add(number)
    }

    /// What comes to its turn now, in order.
    fn deliver(&mut self) -> Vec<u32> {
        let mut delivered = Vec::new();
        while self.received.contains(&self.expected) {
            delivered.extend(self.waiting.remove(&self.expected));
            self.expected += 1;
        }
        self.running.extend(&delivered);
        delivered
    }

    fn command(&mut self, number: Option<u32>, tag: u32) -> Vec<u32> {
        let Some(number) = number.filter(|number| *number <= self.maximum && !self.received.contains(number)) else { return Vec::new() };
        self.received.insert(number);
        self.waiting.insert(number, tag);
        self.deliver()
    }
}

/// What the target told last of its window, as far from `first`.
fn told(sent: &[Sent], first: u32) -> Option<(u32, u32)> {
    let last = sent.last()?;
    Some((u32_at(&last.header, 28).wrapping_sub(first), u32_at(&last.header, 32).wrapping_sub(first)))
}

fn play(first: u32, inputs: &[Input]) {
    let mut peer = Peer::logged_in_at(first, parameters(), &[]);
    let mut model = Model {
        first,
        received: BTreeSet::new(),
        expected: 0,
        maximum: WINDOW - 1,
        waiting: std::collections::BTreeMap::new(),
        running: Vec::new(),
        immediate: Vec::new(),
    };
    for (tag, &input) in (FIRST_TAG..).zip(inputs) {
        let mut expected = Vec::new();
        match input {
            Input::Command(distance) => {
                let number = model.expected.checked_add_signed(distance);
                let cmd_sn = model.first.wrapping_add(model.expected).wrapping_add_signed(distance);
                let command = ScsiCommand { tag, cmd_sn, ..peer.read(tag, 512) };
                peer.send(&command.encode(), b"");
                expected = model.command(number, tag);
            }
            Input::Immediate if model.immediate.len() < 4 => {
                let command = ScsiCommand { tag, immediate: true, cmd_sn: model.wire(model.expected), ..peer.read(tag, 512) };
                peer.send(&command.encode(), b"");
                model.immediate.push(tag);
                expected = alloc::vec![tag];
            }
            Input::Answer(at) if !model.running.is_empty() || !model.immediate.is_empty() => {
                let of = if model.running.is_empty() { &mut model.immediate } else { &mut model.running };
                let tag = of.remove(at % of.len());
                peer.connection.respond(tag, good(ReplyData::None, 0));
            }
            Input::Plug(distance) => {
                let number = model.expected + distance;
                // The function has a number behind the one it makes up for.
                let request = TaskManagementRequest {
                    immediate: true,
                    function: 1,
                    tag,
                    referenced_tag: 0x00ff_ffff,
                    cmd_sn: model.wire(number + 1),
                    ref_cmd_sn: model.wire(number),
                    ..TaskManagementRequest::default()
                };
                peer.send(&request.encode(), b"");
                if number <= model.maximum {
                    model.received.insert(number);
                }
                expected = model.deliver();
                let functions: Vec<u32> = expected.clone();
                let events = peer.events();
                assert_eq!(command_tags(&events), functions, "{input:?}");
                assert!(events.iter().any(|event| matches!(event, Event::Function(function) if function.tag == tag)), "{events:?}");
                peer.connection.function_response(tag, FunctionCode::COMPLETE);
                expected.clear();
            }
            Input::Immediate | Input::Answer(_) => {}
        }
        assert_eq!(command_tags(&peer.events()), expected, "{input:?} of {first:#x}");
        let active = u32::try_from(model.running.len()).unwrap();
        if let Some((next, maximum)) = told(&peer.sent(), model.first) {
            assert_eq!(next, model.expected, "ExpCmdSN after {input:?}");
            // No more than the window has room for, never less than was promised before, and all of it when nothing runs.
            assert!(maximum >= model.maximum && maximum.wrapping_add(1) <= model.expected + WINDOW, "MaxCmdSN after {input:?}");
            assert!(maximum + 1 >= model.expected + WINDOW.saturating_sub(active), "MaxCmdSN after {input:?}");
            model.maximum = maximum;
        }
    }
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        10 => (-3i32..10).prop_map(Input::Command),
        6 => Just(Input::Command(0)),
        2 => Just(Input::Immediate),
        6 => any::<usize>().prop_map(Input::Answer),
        1 => (0u32..6).prop_map(Input::Plug),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands_come_once_and_in_order(
        first in prop::sample::select(alloc::vec![100, u32::MAX - 3, 0x7fff_fffd, u32::MAX]),
        inputs in proptest::collection::vec(input(), 0..120),
    ) {
        play(first, &inputs);
    }
}
