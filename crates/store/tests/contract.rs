//! The contract of every store: random operations give what a plain array gives.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use store::{Error, File, Io, Memory, Null, OpenErrorKind, OpenOptions, Plan, ResizeError, Store, blocking, error_of};

/// Size of the disks under test: some chunks and a rest that fills none.
const BYTES: u64 = (1 << 20) + 65536 + 4096;

/// Carries out a plan as a reactor would.
fn run_read(plan: Plan, into: &mut [u8]) -> Result<(), Error> {
    match plan {
        Plan::Done(result) => result,
        Plan::Io(Io::Read { file, offset }) => blocking::read(borrow(file), offset, into).map_err(error_of),
        Plan::Io(other) => panic!("a read became {other:?}"),
    }
}

fn run(plan: Plan, from: &[u8]) -> Result<(), Error> {
    match plan {
        Plan::Done(result) => result,
        Plan::Io(Io::Write { file, offset, sync }) => blocking::write(borrow(file), offset, from, sync).map_err(error_of),
        Plan::Io(Io::Sync { file }) => blocking::sync(borrow(file)).map_err(error_of),
        Plan::Io(Io::Discard { file, offset, len, block_device }) => blocking::discard(borrow(file), offset, len, block_device).map_err(error_of),
        Plan::Io(Io::Zero { file, offset, len, block_device, sync }) => {
            blocking::zero(borrow(file), offset, len, block_device, sync).map_err(error_of)
        }
        Plan::Io(Io::Read { .. }) => panic!("a change became a read"),
    }
}

fn borrow<'a>(file: i32) -> BorrowedFd<'a> {
    // SAFETY: the store that made the plan is alive in every test and keeps its descriptors open.
    unsafe { BorrowedFd::borrow_raw(file) }
}

/// xorshift: the tests need variety, not quality.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A range, aligned to `unit` most of the time when `unit` is not 1.
    fn range(&mut self, bytes: u64, unit: u64) -> (u64, u64) {
        let unit = if self.below(4) == 0 { 1 } else { unit };
        let offset = self.below(bytes / unit) * unit;
        let most = if self.below(8) == 0 { 300_000 } else { 9000 };
        let len = (self.below(most) / unit + 1) * unit;
        (offset, len.min(bytes - offset))
    }
}

/// Memory, and where in it a page starts, as the pool's buffers do.
fn aligned() -> (Vec<u8>, usize) {
    let memory = vec![0u8; 512 << 10];
    let start = memory.as_ptr().align_offset(4096);
    (memory, start)
}

fn contract(store: &dyn Store, start: &[u8], seed: u64, steps: usize) {
    let geometry = store.geometry();
    let bytes = geometry.bytes;
    assert_eq!(bytes, start.len() as u64);
    let mut model = start.to_vec();
    let mut random = Random(seed | 1);
    let (mut memory, page) = aligned();
    for step in 0..steps {
        let (offset, len) = random.range(bytes, 512);
        let (at, size) = (usize::try_from(offset).unwrap(), usize::try_from(len).unwrap());
        let shift = page + if random.below(3) == 0 { 48 } else { 0 };
        let buffer = &mut memory[shift..shift + size];
        match random.below(8) {
            0..3 => {
                buffer.fill(0xee);
                run_read(store.read(offset, buffer), buffer).unwrap();
                assert!(buffer == &model[at..at + size], "seed {seed} step {step}: read {offset}+{len}");
            }
            3..6 => {
                let value = u8::try_from(random.below(255)).unwrap() + 1;
                buffer.iter_mut().enumerate().for_each(|(at, byte)| *byte = value ^ at.to_le_bytes()[0]);
                let stable = random.below(8) == 0;
                run(store.write(offset, buffer, stable), buffer).unwrap();
                model[at..at + size].copy_from_slice(buffer);
            }
            6 => {
                run(store.zero(offset, len, random.below(4) == 0), &[]).unwrap();
                model[at..at + size].fill(0);
            }
            _ if geometry.can_discard => {
                run(store.discard(offset, len), &[]).unwrap();
                model[at..at + size].fill(0);
            }
            _ => run(store.flush(0, 0), &[]).unwrap(),
        }
        if step % 16 == 0 {
            check_extents(store, &model, offset, len);
            store.prefetch(offset, len);
        }
    }
    run(store.flush(0, 0), &[]).unwrap();
    refuses_what_lies_outside(store);
}

fn check_extents(store: &dyn Store, model: &[u8], offset: u64, len: u64) {
    let extents = store.extents(offset, len, 3).unwrap();
    assert!(!extents.is_empty() && extents.len() <= 3);
    let mut position = offset;
    for extent in extents {
        assert_eq!(extent.offset, position);
        assert!(extent.len > 0);
        position += extent.len;
        let range = usize::try_from(extent.offset).unwrap()..usize::try_from(position).unwrap();
        assert!(extent.mapped || model[range].iter().all(|byte| *byte == 0), "what holds no blocks reads as zeros");
    }
    assert!(position <= offset + len);
}

fn refuses_what_lies_outside(store: &dyn Store) {
    let bytes = store.geometry().bytes;
    let mut block = [0u8; 512];
    for offset in [bytes, bytes - 511, u64::MAX, u64::MAX - 511] {
        assert_eq!(store.read(offset, &mut block), Plan::Done(Err(Error::OutOfRange)));
        assert_eq!(store.write(offset, &block, false), Plan::Done(Err(Error::OutOfRange)));
        assert_eq!(store.zero(offset, 512, false), Plan::Done(Err(Error::OutOfRange)));
        assert_eq!(store.flush(offset, 512), Plan::Done(Err(Error::OutOfRange)));
        assert_eq!(store.extents(offset, 512, 1), Err(Error::OutOfRange));
    }
    assert_eq!(store.read(bytes, &mut []), Plan::Done(Ok(())));
}

/// A file that goes away with the test.
struct Image(PathBuf);

impl Image {
    fn new(folder: &Path, name: &str, content: &[u8]) -> Image {
        let path = folder.join(format!("store-contract-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Image(path)
    }

    fn open(&self, options: OpenOptions) -> File {
        File::open(&self.0, options).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn disk() -> PathBuf {
    // Beside the build, which is on a disk more often than the temporary directory.
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|at| (at / 512).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect()
}

#[test]
fn memory_keeps_the_contract() {
    for seed in 1..20 {
        contract(&Memory::new(BYTES), &vec![0; usize::try_from(BYTES).unwrap()], seed, 400);
    }
}

#[test]
fn a_cached_file_keeps_the_contract() {
    let image = Image::new(&disk(), "cached", &pattern());
    let file = image.open(OpenOptions::default());
    contract(&file, &pattern(), 21, 600);
    assert!(file.geometry().durable && !file.geometry().read_only);
    assert_eq!(file.geometry().alignment, 1);
}

#[test]
fn a_file_in_memory_keeps_the_contract_without_a_plan() {
    let folder = Path::new("/dev/shm");
    if !folder.is_dir() {
        return;
    }
    let image = Image::new(folder, "tmpfs", &pattern());
    let file = image.open(OpenOptions::default());
    assert_eq!(file.write(0, &pattern()[..512], true), Plan::Done(Ok(())));
    assert!(!file.geometry().durable);
    contract(&file, &pattern(), 31, 600);
}

#[test]
fn a_synchronous_file_keeps_the_contract() {
    let image = Image::new(&disk(), "sync", &pattern());
    let file = image.open(OpenOptions { sync: true, ..OpenOptions::default() });
    assert!(matches!(file.write(0, &pattern()[..512], false), Plan::Io(Io::Write { sync: true, .. })));
    contract(&file, &pattern(), 41, 100);
}

#[test]
fn a_direct_file_keeps_the_contract_aligned_or_not() {
    let image = Image::new(&disk(), "direct", &pattern());
    let file = match File::open(&image.0, OpenOptions { direct: true, ..OpenOptions::default() }) {
        Ok(file) => file,
        Err(error) => return assert_eq!(error.kind, OpenErrorKind::NoDirect),
    };
    assert!(file.geometry().alignment >= 512);
    let (memory, page) = aligned();
    let (Plan::Io(Io::Write { file: direct, sync: false, .. }), Plan::Io(Io::Write { file: cached, sync: true, .. })) =
        (file.write(4096, &memory[page..page + 4096], false), file.write(4096, &memory[page + 1..page + 4097], false))
    else {
        panic!("direct writes are planned, unaligned ones are durable")
    };
    assert_ne!(direct, cached);
    contract(&file, &pattern(), 51, 300);
}

#[test]
fn an_ephemeral_file_keeps_the_contract_and_its_image() {
    let image = Image::new(&disk(), "ephemeral", &pattern());
    for direct in [false, true] {
        let options = OpenOptions { ephemeral: true, direct, ..OpenOptions::default() };
        let Ok(file) = File::open(&image.0, options) else { continue };
        assert!(file.geometry().can_discard && !file.geometry().read_only && !file.geometry().durable);
        contract(&file, &pattern(), 61, 800);
        drop(file);
        assert!(std::fs::read(&image.0).unwrap() == pattern());
    }
}

#[test]
#[ignore = "destroys the block device that STORE_BLOCK_DEVICE names"]
fn a_block_device_keeps_the_contract() {
    let path = std::env::var("STORE_BLOCK_DEVICE").expect("STORE_BLOCK_DEVICE");
    for direct in [false, true] {
        let file = File::open(Path::new(&path), OpenOptions { direct, ..OpenOptions::default() }).unwrap();
        assert!(file.is_block_device());
        let mut start = vec![0; usize::try_from(file.geometry().bytes).unwrap()];
        run_read(file.read(0, &mut start), &mut start).unwrap();
        contract(&file, &start, 71, 300);
    }
}

#[test]
fn null_answers_everything_at_once() {
    let null = Null::new(Null::DEFAULT_BYTES);
    refuses_what_lies_outside(&null);
    assert_eq!(null.extents(0, 4096, 1).unwrap().len(), 1);
}

#[test]
fn a_handle_of_the_simulator_makes_plans_only() {
    let file = File::from_handle(1 << 20, 1 << 20);
    let mut block = [0u8; 512];
    assert_eq!(file.read(512, &mut block), Plan::Io(Io::Read { file: 1 << 20, offset: 512 }));
    assert_eq!(file.write(0, &block, true), Plan::Io(Io::Write { file: 1 << 20, offset: 0, sync: true }));
    assert_eq!(file.flush(0, 0), Plan::Io(Io::Sync { file: 1 << 20 }));
    assert!(matches!(file.discard(0, 512), Plan::Io(Io::Discard { block_device: false, .. })));
    assert_eq!(file.extents(0, 512, 1).unwrap().len(), 1);
    file.prefetch(0, 512);
    refuses_what_lies_outside(&file);
}

#[test]
fn a_read_only_store_reads_and_refuses() {
    let image = Image::new(&disk(), "read-only", &pattern());
    let file = image.open(OpenOptions { read_only: true, ..OpenOptions::default() });
    assert!(file.geometry().read_only && !file.geometry().can_discard && !file.fell_back_to_read_only());
    let mut block = [0u8; 512];
    run_read(file.read(512, &mut block), &mut block).unwrap();
    assert_eq!(block, pattern()[512..1024]);
    assert_eq!(file.write(0, &block, false), Plan::Done(Err(Error::ReadOnly)));
    assert_eq!(file.zero(0, 512, false), Plan::Done(Err(Error::ReadOnly)));
    assert_eq!(file.discard(0, 512), Plan::Done(Err(Error::ReadOnly)));
    assert_eq!(file.flush(0, 0), Plan::Done(Ok(())));
}

#[test]
fn a_file_that_shrank_reads_as_zeros_at_its_end() {
    let image = Image::new(&disk(), "shrunk", &pattern());
    let file = image.open(OpenOptions::default());
    std::fs::OpenOptions::new().write(true).open(&image.0).unwrap().set_len(1000).unwrap();
    let mut bytes = [0xaau8; 1024];
    run_read(file.read(512, &mut bytes), &mut bytes).unwrap();
    assert_eq!(bytes[..488], pattern()[512..1000]);
    assert!(bytes[488..].iter().all(|byte| *byte == 0));
}

#[test]
fn errors_of_the_system_have_a_meaning() {
    assert_eq!(error_of(libc::ENOSPC), Error::NoSpace);
    assert_eq!(error_of(libc::EDQUOT), Error::NoSpace);
    assert_eq!(error_of(libc::EROFS), Error::ReadOnly);
    assert_eq!(error_of(libc::EOPNOTSUPP), Error::Unsupported);
    assert_eq!(error_of(libc::EIO), Error::Io(libc::EIO));
    // A failed fdatasync (here: of a descriptor that cannot be synchronised) is an error of the medium, never success.
    let (reader, _writer) = std::io::pipe().unwrap();
    let failed = blocking::sync(std::os::fd::AsFd::as_fd(&reader)).map_err(error_of);
    assert_eq!(failed, Err(Error::Io(libc::EINVAL)));
}

#[test]
fn a_full_file_system_is_no_space() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let written = blocking::write(std::os::fd::AsFd::as_fd(&full), 0, &[1; 512], false).map_err(error_of);
    assert_eq!(written, Err(Error::NoSpace));
}

#[test]
fn open_errors_are_one_line_with_the_cure() {
    let image = Image::new(&disk(), "errors", b"");
    let open = |path: &Path| File::open(path, OpenOptions::default()).unwrap_err();
    let missing = disk().join("store-contract-no-such-file");
    let cases = [
        (missing.as_path(), OpenErrorKind::NotFound, "truncate -s 1G"),
        (Path::new("/no/such/directory/x"), OpenErrorKind::NotFound, "no directory"),
        (Path::new("/"), OpenErrorKind::NotAnImage, "a directory"),
        (Path::new("/dev/null"), OpenErrorKind::NotAnImage, "name a file or a block device"),
        (image.0.as_path(), OpenErrorKind::TooSmall, "truncate -s 1G"),
    ];
    for (path, kind, cure) in cases {
        let error = open(path);
        assert_eq!(error.kind, kind);
        let text = error.to_string();
        assert!(text.contains(cure) && text.starts_with(&path.display().to_string()) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn a_memory_disk_keeps_its_bytes_in_another_size() {
    let small = Memory::new(1 << 20);
    let mut bytes = [0u8; 512];
    assert_eq!(small.write(512, &[7; 512], false), Plan::Done(Ok(())));
    let large = small.resized(Some(200 << 20)).expect("grows");
    assert_eq!(large.geometry().bytes, 200 << 20);
    // An operation that is still under way on the one is seen by the other.
    assert_eq!(small.write(1024, &[8; 512], false), Plan::Done(Ok(())));
    for (offset, byte) in [(512, 7), (1024, 8), (199 << 20, 0)] {
        assert_eq!(large.read(offset, &mut bytes), Plan::Done(Ok(())));
        assert_eq!(bytes, [byte; 512]);
    }
    assert_eq!(large.write(199 << 20, &[9; 512], false), Plan::Done(Ok(())));
    let again = large.resized(Some(768)).and_then(|shrunk| shrunk.resized(Some(200 << 20))).expect("shrinks and grows");
    for (offset, byte) in [(0, 0), (1024, 0), (199 << 20, 0)] {
        assert_eq!(again.read(offset, &mut bytes), Plan::Done(Ok(())));
        assert_eq!(bytes, [byte; 512], "at {offset}");
    }
    assert_eq!(again.read(512, &mut bytes[..256]), Plan::Done(Ok(())));
    assert_eq!(bytes[..256], [7; 256]);
    assert_eq!(small.resized(None).err(), Some(ResizeError::NothingToRead));
    assert_eq!(small.resized(Some(511)).err(), Some(ResizeError::TooSmall(511)));
}

#[test]
fn a_file_grows_shrinks_and_is_looked_at_again() {
    let path = std::env::temp_dir().join(format!("scuzzy-resize-{}", std::process::id()));
    let outside = std::fs::File::create(&path).expect("an image");
    outside.set_len(1 << 20).expect("a size");
    let store = File::open(&path, OpenOptions::default()).expect("opens");
    let length = || std::fs::metadata(&path).expect("facts").len();
    assert_eq!((store.resized(Some(3 << 20)).expect("grows").geometry().bytes, length()), (3 << 20, 3 << 20));
    outside.set_len(4 << 20).expect("a size");
    let seen = store.resized(None).expect("looks");
    assert_eq!(seen.geometry().bytes, 4 << 20);
    assert_eq!((store.resized(Some(2 << 20)).expect("takes a part").geometry().bytes, length()), (2 << 20, 4 << 20), "nothing served was lost");
    assert_eq!((seen.resized(Some(2 << 20)).expect("shrinks").geometry().bytes, length()), (2 << 20, 2 << 20));
    assert_eq!(seen.resized(Some(100)).err(), Some(ResizeError::TooSmall(100)));
    for options in [OpenOptions { read_only: true, ..OpenOptions::default() }, OpenOptions { ephemeral: true, ..OpenOptions::default() }] {
        let guarded = File::open(&path, options).expect("opens");
        assert_eq!(guarded.resized(Some(1 << 20)).err(), Some(ResizeError::ReadOnly));
        assert!(guarded.resized(None).is_ok());
    }
    assert_eq!(length(), 2 << 20);
    std::fs::remove_file(&path).expect("the image goes");
}
