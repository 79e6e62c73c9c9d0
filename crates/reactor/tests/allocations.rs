//! Once warm, requests and replies cost no heap call, in either driver.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use reactor::{AnyDriver, Back, Batch, Done, Driver, IoChoice, Op, Pool, start};

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator unchanged; the counter does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn next(driver: &mut AnyDriver, done: &mut Vec<Done>) -> Done {
    while done.is_empty() {
        driver.wait(done, None);
    }
    done.swap_remove(0)
}

/// One request, one file read, one gathered reply.
fn round(driver: &mut AnyDriver, pool: &Pool, done: &mut Vec<Done>, socket: i32, file: i32, batch: &mut Batch, peer: &mut TcpStream) {
    let mut bytes = [0u8; 4096 + 48];
    peer.write_all(&bytes[..48]).unwrap();
    driver.submit(1, Op::Recv { socket, buffer: pool.take(8192).unwrap(), from: 0 });
    assert_eq!(next(driver, done).result, Ok(48));
    driver.submit(2, Op::Read { file, offset: 0, buffer: pool.take(4096).unwrap(), at: 0, len: 4096 });
    let Back::Buffer(buffer) = next(driver, done).back else { panic!() };
    batch.clear();
    batch.push_bytes(&bytes[..48]);
    batch.push_shared(buffer.freeze(), 0, 4096);
    driver.submit(3, Op::Send { socket, batch: std::mem::take(batch) });
    let Done { result: Ok(4144), back: Back::Batch(back), .. } = next(driver, done) else { panic!() };
    *batch = back;
    peer.read_exact(&mut bytes).unwrap();
}

#[test]
fn a_warm_driver_makes_no_heap_call() {
    for choice in [IoChoice::Auto, IoChoice::Epoll] {
        let mut driver = start(choice).unwrap().driver;
        let pool = Pool::new(1 << 20);
        let mut done = Vec::new();
        let (listener, address) = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        driver.submit(0, Op::Accept { listener });
        let mut peer = TcpStream::connect(address).unwrap();
        let Back::Accepted { socket, .. } = next(&mut driver, &mut done).back else { panic!() };
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let mut batch = Batch::new();
        let mut before = 0;
        for index in 0..300 {
            if index == 100 {
                before = CALLS.get();
            }
            round(&mut driver, &pool, &mut done, socket, file.as_raw_fd(), &mut batch, &mut peer);
        }
        assert_eq!(CALLS.get() - before, 0, "heap calls of 200 rounds with {}", driver.name());
        assert_eq!(driver.counters().sends, 300);
    }
}
