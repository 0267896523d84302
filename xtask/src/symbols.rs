//! Writes the names of the kernel's functions into the finished kernel, for its backtraces.
//!
//! `kernel/src/symbols.rs` says what the table in the section `.symbols` looks like.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use elf::ElfBytes;
use elf::abi::{STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;

const SECTION: &str = ".symbols";
/// Bytes of a name that are kept.
const LONGEST_NAME: usize = 200;

/// Copies the kernel at `built` to `finished`, with its table filled.
pub(crate) fn write(built: &Path, finished: &Path) -> Result<()> {
    let mut image = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    let (place, functions) = read(&image).with_context(|| format!("reading {}", built.display()))?;
    let table = table(&functions, place.len());
    image[place.start..place.start + table.len()].copy_from_slice(&table);
    fs::write(finished, image).with_context(|| format!("cannot write {}", finished.display()))
}

/// A function: its distance from the image's start, its name.
type Function = (u32, String);

/// Where the table is in the file, and the functions, sorted.
fn read(image: &[u8]) -> Result<(std::ops::Range<usize>, Vec<Function>)> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(image)?;
    let Some(section) = file.section_header_by_name(SECTION)? else { bail!("there is no section {SECTION}") };
    let Some(text) = file.section_header_by_name(".text")? else { bail!("there is no section .text") };
    let place = section.sh_offset as usize..(section.sh_offset + section.sh_size) as usize;
    if place.end > image.len() {
        bail!("the section {SECTION} is not in the file");
    }
    let Some((symbols, names)) = file.symbol_table()? else { bail!("there are no symbols") };
    let mut functions = Vec::new();
    for symbol in symbols.iter() {
        let named = matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE);
        let name = names.get(symbol.st_name as usize)?;
        let inside = (text.sh_addr..text.sh_addr + text.sh_size).contains(&symbol.st_value);
        if named && inside && !name.is_empty() && !name.starts_with(['.', '$']) {
            let mut shown = format!("{:#}", rustc_demangle::demangle(name));
            shown.truncate(shown.floor_char_boundary(LONGEST_NAME));
            functions.push(((symbol.st_value - text.sh_addr) as u32, shown));
        }
    }
    functions.sort();
    functions.dedup_by_key(|function| function.0);
    Ok((place, functions))
}

/// The table, of at most `room` bytes: the last functions are left out if it is too small for all.
fn table(functions: &[Function], room: usize) -> Vec<u8> {
    let mut count = 0;
    let mut bytes = 4;
    for (_, name) in functions {
        bytes += 8 + 2 + name.len();
        if bytes > room {
            break;
        }
        count += 1;
    }
    let mut index = (count as u32).to_le_bytes().to_vec();
    let mut names = Vec::new();
    for (distance, name) in &functions[..count] {
        index.extend(distance.to_le_bytes());
        index.extend(((4 + 8 * count + names.len()) as u32).to_le_bytes());
        names.extend((name.len() as u16).to_le_bytes());
        names.extend(name.as_bytes());
    }
    index.extend(names);
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_small_keeps_the_first() {
        let functions = [(0, "one".to_owned()), (16, "two".to_owned()), (32, "three".to_owned())];
        let whole = table(&functions, 1000);
        assert_eq!(whole.len(), 4 + 3 * 10 + 11);
        assert_eq!(whole[..4], [3, 0, 0, 0]);
        assert_eq!(whole[4 + 8 + 4..][..4], [4 + 24 + 5, 0, 0, 0], "where the second name is");
        let cut = table(&functions, whole.len() - 1);
        assert_eq!(cut[..4], [2, 0, 0, 0]);
        assert_eq!(&cut[4 + 16 + 2..][..3], b"one");
    }
}
