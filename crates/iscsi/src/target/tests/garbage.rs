//! Random bytes, and streams cut anywhere.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}

/// A shell that answers at random, but never lies.
fn play_shell(peer: &mut Peer, random: &mut Random, alive: &mut Vec<u32>) {
    for event in peer.events() {
        match event {
            Event::LoginReady(_) if random.below(4) == 0 => peer.connection.refuse_login(LoginStatus::SESSION_DOES_NOT_EXIST, 0),
            Event::LoginReady(_) => peer.connection.accept_login(1, 0),
            Event::Command(command) => {
                alive.push(command.tag);
                peer.connection.fetch(command.tag, u32::try_from(random.below(70_000)).unwrap());
            }
            Event::Function(function) => peer.connection.function_response(function.tag, FunctionCode::COMPLETE),
            _ => {}
        }
    }
    if !alive.is_empty() && random.below(2) == 0 {
        let at = usize::try_from(random.below(u64::try_from(alive.len()).unwrap())).unwrap();
        let tag = alive.remove(at);
        if random.below(4) == 0 {
            peer.connection.forget(tag);
        } else {
            peer.connection.respond(tag, good(ReplyData::Inline(alloc::vec![1; usize::try_from(random.below(20_000)).unwrap()]), 512));
        }
    }
    while peer.connection.poll_transmit().is_some() {}
}

/// Raw random bytes, and random mutations of plausible PDUs, before and after login. Nothing panics, lands outside, or grows without bound.
#[test]
fn random_bytes_never_hurt() {
    for seed in 1..400u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut peer = if seed % 4 == 0 { Peer::new(parameters()) } else { Peer::logged_in(parameters(), &["InitialR2T=No"]) };
        let mut alive = Vec::new();
        for _ in 0..200 {
            let mut header = [0u8; 48];
            if random.below(3) == 0 {
                header.iter_mut().for_each(|byte| *byte = random.byte());
            }
            header[0] = [0, 1, 1, 1, 2, 3, 4, 5, 5, 5, 6, 0x10, 0x3f][usize::try_from(random.below(13)).unwrap()] | (random.byte() & 0x40);
            header[1] = random.byte();
            if header[0] & 0x3f == 3 {
                header[2..4].fill(0);
            }
            header[16..20].copy_from_slice(&u32::try_from(random.below(6)).unwrap().to_be_bytes());
            let transfer_tag = if random.below(2) == 0 { NO_TAG } else { u32::try_from(random.below(10)).unwrap() };
            header[20..24].copy_from_slice(&transfer_tag.to_be_bytes());
            if random.below(2) == 0 {
                header[24..28].copy_from_slice(&(100 + u32::try_from(random.below(40)).unwrap()).to_be_bytes());
            }
            let data: Vec<u8> = (0..random.below(600)).map(|_| random.byte()).collect();
            let mut header = header.to_vec();
            header.resize(48 + 4 * usize::try_from(random.below(3)).unwrap(), 0);
            peer.send(&header, &data);
            play_shell(&mut peer, &mut random, &mut alive);
            assert!(peer.connection.task_count() <= 8 + 32);
            if !peer.connection.is_full_feature() && seed % 4 != 0 {
                break;
            }
        }
        let bytes: Vec<u8> = (0..3000).map(|_| random.byte()).collect();
        peer.feed(&bytes);
    }
}

#[test]
fn the_stream_may_be_cut_anywhere() {
    let mut whole = Peer::logged_in(parameters(), &[]);
    let command = whole.write(5, 700, true);
    let wire = whole.wire(&command.encode(), &[3; 701][..699]);
    for step in [1, 2, 3, 47, 48, 49] {
        let mut peer = Peer::logged_in(parameters(), &[]);
        for part in wire.chunks(step) {
            peer.feed(part);
        }
        assert_eq!(command_tags(&peer.events()), [5]);
        assert_eq!(peer.payload[&5], [3; 699]);
    }
}
