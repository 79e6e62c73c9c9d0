//! Payload memory of one reactor.
//!
//! Invariants: every buffer starts on a page boundary and is initialised memory (the kernel's zeros, or what its last user left); taking and giving back
//! costs no heap call once a buffer of the class exists; what is lent out never exceeds the limit. A reference count stands in a header outside the
//! pages, so pages are whole pages of payload. Nothing here crosses threads: the types are `!Send`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// Smallest size class in bytes: a page.
pub const SMALLEST_BUFFER: usize = 4 << 10;
/// Largest size class in bytes: not below the largest transfer of one command (MAXIMUM TRANSFER LENGTH), so one buffer always suffices.
pub const LARGEST_BUFFER: usize = 32 << 20;

/// Powers of two from 4 KiB to 32 MiB.
const CLASSES: usize = 14;
/// Smaller classes are cut from a mapping of this size, larger ones have a mapping each: at most 256 KiB lies idle for the first small buffer.
const SLAB: usize = 256 << 10;

/// Buffers of one reactor.
///
/// The limit is a credit: the sum of the size classes lent out never exceeds it. Returned small buffers are kept for the next user; large ones (from
/// 256 KiB) are unmapped while more than the limit is mapped, so the process never holds more than twice the limit.
pub struct Pool {
    inner: Rc<Inner>,
}

/// A buffer with one owner. Its bytes are initialised but **undefined**: zeros at first use, otherwise whatever an earlier user left there, perhaps of
/// another session. Send only what you wrote, or take it with [`Pool::take_zeroed`]. Debug builds fill reused buffers with DBh to show mistakes.
pub struct Buffer {
    header: NonNull<Header>,
    len: usize,
}

/// A buffer with several owners, for reading.
pub struct Shared {
    header: NonNull<Header>,
    len: usize,
}

impl Pool {
    /// A pool that lends at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Pool {
        Pool {
            inner: Rc::new(Inner {
                limit: limit_bytes,
                used: Cell::new(0),
                mapped: Cell::new(0),
                free: [const { Cell::new(None) }; CLASSES],
                slabs: RefCell::new(Vec::new()),
            }),
        }
    }

    /// A buffer of exactly `len` bytes with undefined content. `None`: no credit now, or more than [`LARGEST_BUFFER`].
    pub fn take(&self, len: usize) -> Option<Buffer> {
        let buffer = self.take_raw(len)?;
        #[cfg(debug_assertions)]
        if !buffer.header().fresh.get() {
            // SAFETY: the header's pages are `size_of_class` mapped bytes, and this buffer is their only user.
            unsafe { buffer.header().data.as_ptr().write_bytes(0xdb, size_of_class(buffer.header().class)) };
        }
        buffer.header().fresh.set(false);
        Some(buffer)
    }

    /// As [`Pool::take`], all zeros.
    pub fn take_zeroed(&self, len: usize) -> Option<Buffer> {
        let mut buffer = self.take_raw(len)?;
        if !buffer.header().fresh.replace(false) {
            buffer.fill(0);
        }
        Some(buffer)
    }

    /// Bytes lent out, counted in size classes.
    pub fn used(&self) -> usize {
        self.inner.used.get()
    }

    /// The credit in bytes.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// Bytes mapped, lent out or idle.
    pub fn mapped(&self) -> usize {
        self.inner.mapped.get()
    }

    /// What a buffer of `len` bytes costs in credit; `None` when there is no class for it.
    pub fn cost(len: usize) -> Option<usize> {
        class_of(len).map(size_of_class)
    }

    fn take_raw(&self, len: usize) -> Option<Buffer> {
        let class = class_of(len)?;
        let size = size_of_class(class);
        let used = self.inner.used.get().checked_add(size).filter(|used| *used <= self.inner.limit)?;
        let free = &self.inner.free[usize::from(class)];
        if free.get().is_none() {
            Inner::grow(&self.inner, class)?;
        }
        let header = free.get()?;
        // SAFETY: headers on a free list are live boxes until the pool's last owner drops them.
        free.set(unsafe { header.as_ref() }.next.take());
        self.inner.used.set(used);
        // SAFETY: as above; the pointer came from `Rc::as_ptr` of the same `Rc`, which `self.inner` keeps alive here. The count taken is given back by `give_back`.
        unsafe { Rc::increment_strong_count(header.as_ref().pool) };
        // SAFETY: as above.
        unsafe { header.as_ref() }.count.set(1);
        Some(Buffer { header, len })
    }
}

impl Buffer {
    /// Lets others read it too. No copy, no heap allocation.
    pub fn freeze(self) -> Shared {
        let shared = Shared { header: self.header, len: self.len };
        std::mem::forget(self);
        shared
    }

    /// Keeps the first `len` bytes; no effect when it is not longer than that. The credit stays the same.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes it `len` bytes long, longer or shorter, as far as its pages reach; what becomes visible has undefined content. The credit stays the same.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(size_of_class(self.header().class));
    }

    fn header(&self) -> &Header {
        // SAFETY: the header outlives every Buffer and Shared that points to it: it is freed only by `give_back` of the last one or by the pool's drop, which waits for them.
        unsafe { self.header.as_ref() }
    }
}

impl Shared {
    /// The only owner gets the buffer back for writing; otherwise the value returns.
    pub fn thaw(self) -> Result<Buffer, Shared> {
        if self.header().count.get() != 1 {
            return Err(self);
        }
        let buffer = Buffer { header: self.header, len: self.len };
        std::mem::forget(self);
        Ok(buffer)
    }

    fn header(&self) -> &Header {
        // SAFETY: as in `Buffer::header`.
        unsafe { self.header.as_ref() }
    }
}

impl Clone for Shared {
    fn clone(&self) -> Shared {
        let count = &self.header().count;
        // Overflow is a leak of four thousand million clones; going on would free memory in use.
        count.set(count.get().checked_add(1).unwrap_or_else(|| std::process::abort()));
        Shared { header: self.header, len: self.len }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(self.header);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let count = &self.header().count;
        count.set(count.get() - 1);
        if count.get() == 0 {
            give_back(self.header);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` is at most the class size, all of it mapped and initialised (anonymous pages are zeros); only `&mut self` writes.
        unsafe { std::slice::from_raw_parts(self.header().data.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; a Buffer is the only user of its pages.
        unsafe { std::slice::from_raw_parts_mut(self.header().data.as_ptr(), self.len) }
    }
}

impl Deref for Shared {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: as in `Buffer::deref`; nobody writes while a Shared exists, since `thaw` demands the only owner.
        unsafe { std::slice::from_raw_parts(self.header().data.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({}, {} owners)", self.len, self.header().count.get())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} bytes lent, {} mapped)", self.used(), self.limit(), self.mapped())
    }
}

struct Header {
    data: NonNull<u8>,
    /// Next on the free list.
    next: Cell<Option<NonNull<Header>>>,
    count: Cell<u32>,
    /// Never lent: still the kernel's zeros.
    fresh: Cell<bool>,
    class: u8,
    pool: *const Inner,
}

struct Inner {
    limit: usize,
    used: Cell<usize>,
    mapped: Cell<usize>,
    free: [Cell<Option<NonNull<Header>>>; CLASSES],
    /// Mappings that small buffers are cut from.
    slabs: RefCell<Vec<NonNull<u8>>>,
}

impl Inner {
    /// Puts at least one new buffer on the class's free list. `None`: the system has no memory.
    fn grow(inner: &Rc<Inner>, class: u8) -> Option<()> {
        let size = size_of_class(class);
        let mapping = size.max(SLAB);
        let base = map(mapping)?;
        inner.mapped.set(inner.mapped.get() + mapping);
        if size < SLAB {
            inner.slabs.borrow_mut().push(base);
        }
        for start in (0..mapping).step_by(size).rev() {
            // SAFETY: `start` lies inside the mapping of `mapping` bytes at `base`.
            let data = unsafe { base.add(start) };
            let header = Box::new(Header {
                data,
                next: Cell::new(inner.free[usize::from(class)].get()),
                count: Cell::new(0),
                fresh: Cell::new(true),
                class,
                pool: Rc::as_ptr(inner),
            });
            inner.free[usize::from(class)].set(Some(NonNull::from(Box::leak(header))));
        }
        Some(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Every buffer lent out holds a count of this pool, so all headers are on the free lists now.
        for (class, list) in self.free.iter().enumerate() {
            while let Some(header) = list.take() {
                // SAFETY: made by `Box::leak` in `grow`, taken off the list once, no other pointer to it is left.
                let header = unsafe { Box::from_raw(header.as_ptr()) };
                list.set(header.next.get());
                let size = SMALLEST_BUFFER << class;
                if size >= SLAB {
                    unmap(header.data, size);
                }
            }
        }
        for slab in self.slabs.get_mut().drain(..) {
            unmap(slab, SLAB);
        }
    }
}

fn give_back(header: NonNull<Header>) {
    // SAFETY: the caller is the last owner of this header; it is live until here.
    let this = unsafe { header.as_ref() };
    // SAFETY: `take_raw` left one strong count for this header; this takes it over, so `pool` is alive until the end of this function.
    let pool = unsafe { Rc::from_raw(this.pool) };
    let size = size_of_class(this.class);
    pool.used.set(pool.used.get() - size);
    if size >= SLAB && pool.mapped.get() > pool.limit {
        pool.mapped.set(pool.mapped.get() - size);
        unmap(this.data, size);
        // SAFETY: made by `Box::leak` in `grow`; it is on no list, and its last owner is gone.
        drop(unsafe { Box::from_raw(header.as_ptr()) });
        return;
    }
    let free = &pool.free[usize::from(this.class)];
    this.next.set(free.get());
    free.set(Some(header));
}

fn class_of(len: usize) -> Option<u8> {
    let size = len.max(SMALLEST_BUFFER).checked_next_power_of_two().filter(|size| *size <= LARGEST_BUFFER)?;
    u8::try_from(size.trailing_zeros() - SMALLEST_BUFFER.trailing_zeros()).ok()
}

fn size_of_class(class: u8) -> usize {
    SMALLEST_BUFFER << class
}

fn map(len: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a new private mapping at an address the kernel chooses; it aliases nothing.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    NonNull::new(base.ok()?.cast())
}

fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: `base` and `len` are exactly one mapping made by `map`, and its last user is gone. A failure leaves it mapped, which is a leak and no danger.
    let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_powers_of_two_from_a_page_to_32_mib() {
        assert_eq!(Pool::cost(0), Some(4096));
        assert_eq!(Pool::cost(4096), Some(4096));
        assert_eq!(Pool::cost(4097), Some(8192));
        assert_eq!(Pool::cost(LARGEST_BUFFER), Some(32 << 20));
        assert_eq!(Pool::cost(LARGEST_BUFFER + 1), None);
        assert_eq!(Pool::cost(usize::MAX), None);
        assert_eq!(size_of_class(u8::try_from(CLASSES).unwrap() - 1), LARGEST_BUFFER);
    }

    #[test]
    fn buffers_are_page_aligned_exact_and_zero_at_first_use() {
        let pool = Pool::new(1 << 20);
        let buffers: Vec<_> = [1, 100, 4096, 5000, 70_000].map(|len| (len, pool.take(len).unwrap())).into();
        for (len, buffer) in buffers {
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % 4096, 0);
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn the_limit_is_a_credit_that_returns() {
        let pool = Pool::new(8192);
        let first = pool.take(4096).unwrap();
        let second = pool.take(1).unwrap();
        assert_eq!(pool.used(), 8192);
        assert!(pool.take(1).is_none());
        drop(first);
        assert_eq!(pool.used(), 4096);
        assert!(pool.take(8192).is_none());
        drop(second);
        assert_eq!(pool.take(8192).unwrap().len(), 8192);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn a_reused_buffer_is_zeroed_when_asked() {
        let pool = Pool::new(1 << 20);
        let mut buffer = pool.take(4096).unwrap();
        buffer.fill(0x5a);
        let address = buffer.as_ptr();
        drop(buffer);
        let buffer = pool.take_zeroed(4000).unwrap();
        assert_eq!(buffer.as_ptr(), address);
        assert!(buffer.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn shared_counts_its_owners() {
        let pool = Pool::new(1 << 20);
        let mut buffer = pool.take(10).unwrap();
        buffer.copy_from_slice(b"0123456789");
        let one = buffer.freeze();
        let two = one.clone();
        let one = one.thaw().unwrap_err();
        assert_eq!(&one[..], b"0123456789");
        drop(one);
        let mut again = two.thaw().unwrap();
        again[0] = b'x';
        assert_eq!(&again[..], b"x123456789");
        assert_eq!(pool.used(), 4096);
        drop(again);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn buffers_may_outlive_their_pool() {
        let pool = Pool::new(64 << 20);
        let small = pool.take(4096).unwrap();
        let large = pool.take(LARGEST_BUFFER).unwrap().freeze();
        drop(pool);
        assert_eq!(small.len() + large.len(), 4096 + LARGEST_BUFFER);
    }

    #[test]
    fn large_buffers_are_unmapped_beyond_the_limit() {
        let pool = Pool::new(1 << 20);
        drop(pool.take(1 << 20).unwrap());
        assert_eq!(pool.mapped(), 1 << 20);
        let half = pool.take(512 << 10).unwrap();
        assert_eq!(pool.mapped(), 3 << 19);
        drop(half);
        assert_eq!(pool.mapped(), 1 << 20);
        drop(pool.take(1 << 20).unwrap());
        assert_eq!(pool.mapped(), 1 << 20);
    }

    #[test]
    fn warm_takes_reuse_the_same_pages() {
        let pool = Pool::new(1 << 20);
        let addresses: Vec<_> = (0..4).map(|_| pool.take(4096).unwrap().as_ptr()).collect();
        assert!(addresses.iter().all(|address| *address == addresses[0]));
        assert_eq!(pool.mapped(), SLAB);
    }
}
