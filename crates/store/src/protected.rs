//! Bytes that have something kept beside each block: protection information, of which a store knows no more than its length.
//!
//! The data stay as they are in the store below; the side has a header and then an entry for every block. An entry is two copies of eight bytes, what counts
//! and what counted before; both are kept with every bit turned over, so that a hole in the side, which reads as zeros, is information of all ones: none.
//! What the copies mean while a write is under way is the business of whoever writes them.

use std::fs::OpenOptions as SystemOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::{BLOCK, Error, Extent, File, Geometry, Memory, OpenError, OpenOptions, Plan, ResizeError, Store};

/// Bytes of an entry.
pub const ENTRY: u64 = 16;
/// First byte of the entries.
pub const ENTRIES: u64 = 4096;
/// Bytes of the header that mean something.
pub const HEADER: usize = 512;
/// What the header begins with; the last byte is the version of the layout.
const MAGIC: [u8; 8] = *b"SCUZPI\0\x01";
/// Longest protection number.
const MAX_FORMAT: u8 = 3;

/// A store with a side.
pub struct Protected {
    data: Arc<dyn Store>,
    side: Arc<dyn Store>,
    /// Where the side lives, when it outlives the process.
    path: Option<PathBuf>,
    format: AtomicU8,
    /// Bytes of a block; 0: nobody has said it yet.
    block: AtomicU32,
}

/// Why there is no side: one line that names the cure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SideError {
    /// The file of the side cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Nor made, read or written.
    #[error("{path}: {cause}")]
    System {
        /// The file.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// It is not ours.
    #[error("{0} is no side file of an image: move it away, or serve the image without protection information")]
    Foreign(String),
    /// Blocks of another size.
    #[error("the protection information was made for blocks of {kept} bytes, not {wanted}: serve the image with those, or remove its side file")]
    Block {
        /// As the side says.
        kept: u32,
        /// As is asked for.
        wanted: u32,
    },
}

/// Where the side of an image lives.
pub fn side_path(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".pi");
    PathBuf::from(name)
}

/// Is there a side of this image?
pub fn has_side(image: &Path) -> bool {
    let mut start = [0; HEADER];
    let read = std::fs::File::open(side_path(image)).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && read_header(&start).is_some()
}

/// The header that says so.
pub fn header(format: u8, block: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = format;
    header[12..16].copy_from_slice(&block.to_be_bytes());
    header
}

fn read_header(bytes: &[u8; HEADER]) -> Option<(u8, u32)> {
    let block = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    (bytes[..8] == MAGIC && bytes[8] <= MAX_FORMAT).then_some((bytes[8], block))
}

/// Bytes of the side of so many bytes of data, whatever the size of a block: it is sparse.
fn side_bytes(data: u64) -> u64 {
    ENTRIES + data.div_ceil(BLOCK) * ENTRY
}

impl Protected {
    /// A disk in memory, or anything else whose side need not outlive the process.
    pub fn in_memory(data: Arc<dyn Store>, format: u8) -> Protected {
        let side = Arc::new(Memory::new(side_bytes(data.geometry().bytes)));
        Protected { data, side, path: None, format: AtomicU8::new(format.min(MAX_FORMAT)), block: AtomicU32::new(0) }
    }

    /// The side of an open image, in the file beside it. A new one has `format`; one that is there already says itself what it has.
    ///
    /// # Errors
    /// The reason.
    pub fn beside(data: Arc<dyn Store>, image: &Path, options: OpenOptions, format: u8) -> Result<Protected, SideError> {
        let path = side_path(image);
        let bytes = side_bytes(data.geometry().bytes);
        if !path.exists() && (options.ephemeral || options.read_only) {
            return Ok(Protected::in_memory(data, format));
        }
        let system = |error: std::io::Error| SideError::System { path: path.display().to_string(), cause: error.to_string() };
        if !options.ephemeral && !options.read_only {
            make(&path, image, bytes, format).map_err(system)?;
        }
        let mut start = [0; HEADER];
        std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut start)).map_err(system)?;
        let (format, block) = read_header(&start).ok_or_else(|| SideError::Foreign(path.display().to_string()))?;
        let side = Arc::new(File::open(&path, OpenOptions { direct: false, ..options })?);
        let path = (!options.ephemeral && !options.read_only).then_some(path);
        Ok(Protected { data, side, path, format: AtomicU8::new(format), block: AtomicU32::new(block) })
    }

    /// The entries.
    pub fn side(&self) -> &Arc<dyn Store> {
        &self.side
    }

    /// The number of the protection that the medium is formatted with.
    pub fn format(&self) -> u8 {
        self.format.load(Ordering::Acquire)
    }

    /// Bytes of a block.
    pub fn block(&self) -> u32 {
        self.block.load(Ordering::Acquire)
    }

    /// The header on the side says so by now.
    pub fn formatted(&self, format: u8) {
        self.format.store(format.min(MAX_FORMAT), Ordering::Release);
    }

    /// Blocks are this long from now on; the first time it is written down. May block.
    ///
    /// # Errors
    /// They are of another length already, or the header cannot be written.
    pub fn adopt(&self, block: u32) -> Result<(), SideError> {
        let kept = self.block();
        if kept != 0 {
            return if kept == block { Ok(()) } else { Err(SideError::Block { kept, wanted: block }) };
        }
        if let Some(path) = &self.path {
            let system = |error: std::io::Error| SideError::System { path: path.display().to_string(), cause: error.to_string() };
            let mut file = SystemOptions::new().write(true).open(path).map_err(system)?;
            file.write_all(&header(self.format(), block)).and_then(|()| file.sync_data()).map_err(system)?;
        }
        self.block.store(block, Ordering::Release);
        Ok(())
    }
}

/// Makes the file, or makes it long enough, durably. It gets the mode of the image.
fn make(path: &Path, image: &Path, bytes: u64, format: u8) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if !path.exists() {
        let mode = std::fs::metadata(image)?.permissions().mode() & 0o777;
        // Nobody may find a file without its header.
        let new = path.with_extension("pi.new");
        let mut file = SystemOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.set_len(bytes)?;
        file.write_all(&header(format, 0))?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return std::fs::File::open(folder)?.sync_all();
    }
    if std::fs::metadata(path)?.len() < bytes {
        SystemOptions::new().write(true).open(path)?.set_len(bytes)?;
    }
    Ok(())
}

impl Store for Protected {
    fn geometry(&self) -> Geometry {
        self.data.geometry()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Plan {
        self.data.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], stable: bool) -> Plan {
        self.data.write(offset, from, stable)
    }

    fn flush(&self, offset: u64, len: u64) -> Plan {
        self.data.flush(offset, len)
    }

    fn zero(&self, offset: u64, len: u64, stable: bool) -> Plan {
        self.data.zero(offset, len, stable)
    }

    fn discard(&self, offset: u64, len: u64) -> Plan {
        self.data.discard(offset, len)
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, Error> {
        self.data.extents(offset, len, max)
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.data.prefetch(offset, len);
    }

    fn kind(&self) -> &'static str {
        self.data.kind()
    }

    fn protected(&self) -> Option<&Protected> {
        Some(self)
    }

    fn resized(&self, bytes: Option<u64>) -> Result<Arc<dyn Store>, ResizeError> {
        let data = self.data.resized(bytes)?;
        let side = self.side.resized(Some(side_bytes(data.geometry().bytes)))?;
        let (format, block) = (AtomicU8::new(self.format()), AtomicU32::new(self.block()));
        Ok(Arc::new(Protected { data, side, path: self.path.clone(), format, block }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("side-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("image");
        std::fs::File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("an image");
        path
    }

    fn open(path: &Path, format: u8) -> Result<Protected, SideError> {
        let data = Arc::new(File::open(path, OpenOptions::default()).expect("it opens"));
        Protected::beside(data, path, OpenOptions::default(), format)
    }

    #[test]
    fn the_side_says_what_it_is() {
        let path = image("says");
        let store = open(&path, 2).expect("a new side");
        assert_eq!((store.format(), store.block()), (2, 0));
        store.adopt(4096).expect("the first says");
        assert_eq!(store.adopt(512), Err(SideError::Block { kept: 4096, wanted: 512 }));
        drop(store);
        let store = open(&path, 1).expect("the same side");
        assert_eq!((store.format(), store.block()), (2, 4096), "what is there counts");
        assert_eq!(store.side().geometry().bytes, ENTRIES + (1 << 20) / 512 * ENTRY);
        let grown = store.resized(Some(2 << 20)).expect("it grows");
        assert_eq!(grown.protected().map(|store| store.side().geometry().bytes), Some(ENTRIES + (2 << 20) / 512 * ENTRY));
        drop((grown, store));
        std::fs::write(side_path(&path), [1; 8192]).expect("something else");
        assert!(matches!(open(&path, 1), Err(SideError::Foreign(_))));
    }

    #[test]
    fn what_is_not_written_needs_no_file() {
        let path = image("memory");
        let options = OpenOptions { ephemeral: true, ..OpenOptions::default() };
        let data = Arc::new(File::open(&path, options).expect("it opens"));
        let store = Protected::beside(data, &path, options, 3).expect("a side");
        assert_eq!((store.format(), side_path(&path).exists()), (3, false));
        store.adopt(512).expect("a block");
    }
}
