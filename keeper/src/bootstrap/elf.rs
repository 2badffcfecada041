//! What a program of Linux needs to start: its loader and the newest glibc symbols, read from its
//! own headers (ELF-64, little endian; System V ABI chapter 4, LSB 5.0 section 10.7).

use std::io::{self, Read, Seek, SeekFrom};

/// Section headers of a program; real ones have fewer than 100.
const MAX_SECTIONS: u16 = 1024;
/// Bytes of a section that is read whole: version needs, dynamic strings.
const MAX_SECTION_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a loader's path.
const MAX_LOADER_BYTES: u64 = 4096;
/// Versions that a program needs of all libraries; real ones need fewer than 100.
const MAX_VERSIONS: usize = 4096;
/// Program header: the path of the loader.
const PT_INTERP: u32 = 3;
/// Section: the versions that are needed of other libraries.
const SHT_GNU_VERNEED: u32 = 0x6fff_fffe;

/// A version of glibc: major, minor.
pub type Glibc = (u32, u32);

/// What a program needs of the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// The loader that the kernel starts; none for a static program.
    pub loader: Option<String>,
    /// The oldest glibc that has all of its symbols; none without glibc.
    pub glibc: Option<Glibc>,
}

/// Reads what a program needs.
///
/// # Errors
/// `InvalidData` when it is no such program, else those of reading.
pub fn needs(file: &mut (impl Read + Seek)) -> io::Result<Needs> {
    let head = at(file, 0, 64)?;
    if head.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Err(bad("it is no 64-bit program of Linux"));
    }
    Ok(Needs { loader: loader(file, &head)?, glibc: glibc(file, &head)? })
}

fn loader(file: &mut (impl Read + Seek), head: &[u8]) -> io::Result<Option<String>> {
    let (start, size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    let table = table(file, start, size, count)?;
    for entry in table.chunks_exact(usize::from(size).max(1)) {
        if u32_at(entry, 0)? == PT_INTERP {
            let length = u64_at(entry, 32)?.min(MAX_LOADER_BYTES);
            let bytes = at(file, u64_at(entry, 8)?, length)?;
            let path = String::from_utf8(bytes).map_err(|_| bad("its loader has no name"))?;
            return Ok(Some(path.trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

fn glibc(file: &mut (impl Read + Seek), head: &[u8]) -> io::Result<Option<Glibc>> {
    let (start, size, count) = (u64_at(head, 40)?, u16_at(head, 58)?, u16_at(head, 60)?);
    let table = table(file, start, size, count)?;
    let entries: Vec<&[u8]> = table.chunks_exact(usize::from(size).max(1)).collect();
    for entry in &entries {
        if u32_at(entry, 4)? == SHT_GNU_VERNEED {
            let link = usize::try_from(u32_at(entry, 40)?).unwrap_or(usize::MAX);
            let strings = entries.get(link).ok_or_else(|| bad("a section is missing"))?;
            let (needed, strings) = (section(file, entry)?, section(file, strings)?);
            return newest(&needed, &strings);
        }
    }
    Ok(None)
}

/// The newest `GLIBC_x.y` of the names that the version needs refer to.
fn newest(needed: &[u8], strings: &[u8]) -> io::Result<Option<Glibc>> {
    let mut newest = None;
    let (mut library, mut seen) = (0, 0);
    loop {
        let (mut version, next) =
            (library + index(needed, library + 8)?, index(needed, library + 12)?);
        for _ in 0..u16_at(needed, library + 2)? {
            seen += 1;
            if seen > MAX_VERSIONS {
                return Err(bad("it needs too many versions"));
            }
            newest = newest.max(name_at(strings, index(needed, version + 8)?).and_then(parsed));
            version += index(needed, version + 12)?;
        }
        if next == 0 {
            return Ok(newest);
        }
        // Always forward, so that a chain ends.
        library += next;
    }
}

/// `GLIBC_2.34`, also with a third number.
fn parsed(name: &str) -> Option<Glibc> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn name_at(strings: &[u8], offset: usize) -> Option<&str> {
    let rest = strings.get(offset..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// The bytes of a table of headers.
fn table(file: &mut (impl Read + Seek), start: u64, size: u16, count: u16) -> io::Result<Vec<u8>> {
    if count > MAX_SECTIONS {
        return Err(bad("it has too many headers"));
    }
    at(file, start, u64::from(size) * u64::from(count))
}

fn section(file: &mut (impl Read + Seek), header: &[u8]) -> io::Result<Vec<u8>> {
    let (offset, length) = (u64_at(header, 24)?, u64_at(header, 32)?);
    if length > MAX_SECTION_BYTES {
        return Err(bad("a section is too long"));
    }
    at(file, offset, length)
}

fn at(file: &mut (impl Read + Seek), offset: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).ok() != Some(length) {
        return Err(bad("it ends too early"));
    }
    Ok(bytes)
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> io::Result<[u8; N]> {
    let end = offset.checked_add(N);
    let found = end.and_then(|end| bytes.get(offset..end)?.try_into().ok());
    found.ok_or_else(|| bad("a header is cut off"))
}

fn u16_at(bytes: &[u8], offset: usize) -> io::Result<u16> {
    bytes_at(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> io::Result<u32> {
    bytes_at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> io::Result<u64> {
    bytes_at(bytes, offset).map(u64::from_le_bytes)
}

/// A 32-bit offset as an index.
fn index(bytes: &[u8], offset: usize) -> io::Result<usize> {
    usize::try_from(u32_at(bytes, offset)?).map_err(|_| bad("an offset is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn this_program_says_what_it_needs() {
        let mut file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&mut file).unwrap();
        if crate::install::TARGET.ends_with("-gnu") {
            assert!(needs.loader.unwrap().contains("/ld-linux"));
            // What the linker of this machine wrote is not newer than its own library.
            let said = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output();
            let said = String::from_utf8(said.unwrap().stdout).unwrap();
            let own = parsed(&said.trim().replace("glibc ", "GLIBC_")).unwrap();
            assert!(needs.glibc.unwrap() >= (2, 17) && needs.glibc.unwrap() <= own);
        }
    }

    #[test]
    fn versions_are_numbers_and_not_words() {
        assert_eq!(parsed("GLIBC_2.2.5"), Some((2, 2)));
        assert!(parsed("GLIBC_2.34") > parsed("GLIBC_2.9"));
        assert_eq!(parsed("GLIBC_PRIVATE"), None);
    }

    proptest! {
        #[test]
        fn a_damaged_program_is_an_error_and_never_a_panic(
            place in 0usize..4096, byte: u8, length in 0usize..4096,
        ) {
            let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
            let mut bytes = Vec::new();
            file.take(8192).read_to_end(&mut bytes).unwrap();
            bytes[place] = byte;
            let _ = needs(&mut Cursor::new(&bytes));
            let _ = needs(&mut Cursor::new(&bytes[..length]));
            let _ = newest(&bytes[place..], &bytes[length..]);
        }
    }
}
