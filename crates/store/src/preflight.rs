//! A look at the engine's files before the engine looks at them.
//!
//! The engine sizes some of its tables by counts that it reads before, or without, comparing a checksum. One
//! flipped bit there asks for tens of gigabytes at once, and an allocation that fails ends the process: no
//! `Result`, no panic to catch. So the counts are held against the room there is for what they count. There
//! are four, in the containers that every file of a sorted table, of separated values and of a version is:
//!
//! ```text
//! sections … | "TOC!" | count, 4 bytes | (position 8, length 8, name length 2, name) …
//! "SFA!" | version 1, checksum type 1, checksum 16 | position of "TOC!" 8 | length 8
//! ```
//!
//! the table of contents itself, and the sections that begin with a count. Files that are not containers
//! are passed over; whatever else is wrong with a container the engine notices by itself.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const TRAILER_LEN: u64 = 4 + 1 + 1 + 16 + 8 + 8;
const ITEM_LEN_MIN: u64 = 8 + 8 + 2;
/// Sections that begin with a count, and the least that one of what they count takes.
const COUNTED: [(&[u8], u64); 3] =
    [(b"blob_files", 8 + 1 + 16), (b"blob_gc_stats", 8 + 4 + 8 + 8), (b"linked_blob_files", 4 * 8)];

/// Looks at every file in a directory. Says what is wrong, and with which.
pub(crate) fn look(dir: &Path) -> io::Result<Result<(), String>> {
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for item in fs::read_dir(dir)? {
            let path = item?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Some(wrong) = container(&path)? {
                return Ok(Err(format!("{} of {}", wrong, name(&path))));
            }
        }
    }
    Ok(Ok(()))
}

fn name(path: &Path) -> String {
    let parts: Vec<_> = path.iter().collect();
    let last: PathBuf = parts[parts.len().saturating_sub(3)..].iter().collect();
    last.display().to_string()
}

/// What is wrong with a container; `None` for a sound one and for what is none.
fn container(path: &Path) -> io::Result<Option<&'static str>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let Some(trailer_at) = len.checked_sub(TRAILER_LEN) else { return Ok(None) };
    let trailer: [u8; TRAILER_LEN as usize] = read_at(&mut file, trailer_at)?;
    if !trailer.starts_with(b"SFA!") {
        return Ok(None);
    }
    let contents_at = trailer[22..].first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    let Some(room) = trailer_at.checked_sub(contents_at).filter(|room| *room >= 8) else {
        return Ok(Some("the position of the table of contents"));
    };
    let head: [u8; 8] = read_at(&mut file, contents_at)?;
    let count = head.last_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
    if u64::from(count).saturating_mul(ITEM_LEN_MIN) > room - 8 {
        return Ok(Some("the table of contents"));
    }
    for _ in 0..count {
        let item: [u8; ITEM_LEN_MIN as usize] = read(&mut file)?;
        let (position, rest) =
            item.split_first_chunk().map_or((0, &item[..]), |(p, rest)| (u64::from_le_bytes(*p), rest));
        let section_len = rest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let name_len = rest.last_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
        let mut name = vec![0; usize::from(name_len)];
        if file.read_exact(&mut name).is_err() {
            return Ok(Some("the table of contents"));
        }
        let next = file.stream_position()?;
        if !counted_section_fits(&mut file, len, &name, position, section_len)? {
            return Ok(Some("a count in the sections"));
        }
        file.seek(SeekFrom::Start(next))?;
    }
    Ok(None)
}

fn counted_section_fits(
    file: &mut File,
    file_len: u64,
    name: &[u8],
    position: u64,
    section_len: u64,
) -> io::Result<bool> {
    let Some((_, each)) = COUNTED.iter().find(|(counted, _)| *counted == name) else { return Ok(true) };
    if position.checked_add(section_len).is_none_or(|end| end > file_len) {
        return Ok(false);
    }
    let Some(room) = section_len.checked_sub(4) else { return Ok(section_len == 0) };
    let count = u32::from_le_bytes(read_at(file, position)?);
    Ok(u64::from(count) * each <= room)
}

fn read_at<const N: usize>(file: &mut File, position: u64) -> io::Result<[u8; N]> {
    file.seek(SeekFrom::Start(position))?;
    read(file)
}

fn read<const N: usize>(file: &mut File) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
