//! `scuzzy-counts`: system calls, heap allocations and payload copies per command, for SPECIFICATION.md.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use sim::counting::{Counts, Kind, count};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn allocations() -> u64 {
    dhat::HeapStats::get().total_blocks
}

fn all() -> Result<Vec<(&'static str, Counts)>, String> {
    Ok(vec![
        ("read of 4 KiB", count(Kind::read(4096), allocations)?),
        ("write of 4 KiB", count(Kind::write(4096), allocations)?),
        ("write of 64 KiB", count(Kind::write(65_536), allocations)?),
        ("the same with R2T", count(Kind { immediate: false, ..Kind::write(65_536) }, allocations)?),
        ("write of 256 KiB", count(Kind::write(262_144), allocations)?),
    ])
}

fn main() -> ExitCode {
    let _profiler = dhat::Profiler::builder().testing().build();
    let counts = match all() {
        Ok(counts) => counts,
        Err(what) => {
            eprintln!("scuzzy-counts: {what}");
            return ExitCode::FAILURE;
        }
    };
    if std::env::args().any(|word| word == "--json") {
        let [read, small, large, asked] = [counts[0].1, counts[1].1, counts[2].1, counts[3].1];
        println!(
            "{{\"sendmsg_per_reply_at_depth_32\": {}, \"recv_per_command_at_depth_32\": {}, \"allocations_per_read\": {}, \"allocations_per_write\": {}, \"copies_per_read\": {}, \
             \"copies_per_small_write\": {}, \"copies_per_large_write\": {}}}",
            read.sends.max(small.sends),
            read.receives.max(small.receives),
            read.allocations,
            small.allocations.max(large.allocations).max(asked.allocations),
            read.copies,
            small.copies,
            large.copies.max(asked.copies)
        );
    } else {
        println!("{:18} {:>12} {:>12} {:>12} {:>12}", "", "sendmsg", "recv", "allocations", "copies");
        for (name, counts) in counts {
            println!("{name:18} {:>12.4} {:>12.4} {:>12.4} {:>12.4}", counts.sends, counts.receives, counts.allocations, counts.copies);
        }
    }
    ExitCode::SUCCESS
}
