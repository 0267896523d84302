//! Which function an address belongs to: by the symbols of an ELF file or a System.map, and, for what was inlined, by
//! the line tables of an ELF file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use addr2line::gimli::{self, EndianSlice, LittleEndian};
use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::{SHF_EXECINSTR, STT_FUNC, STT_NOTYPE};

/// Functions by where they begin.
#[derive(Debug, Default)]
pub(super) struct Functions {
    by_start: BTreeMap<u64, String>,
}

impl Functions {
    /// The functions of an ELF file, by its symbols.
    pub(super) fn of_elf(path: &Path) -> Result<Functions> {
        let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut functions = Functions::default();
        let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(&image)?;
        let symbols = file.symbol_table()?.with_context(|| format!("{} has no symbols", path.display()))?;
        let sections =
            file.section_headers().with_context(|| format!("{} has no sections", path.display()))?;
        for symbol in symbols.0.iter() {
            let code = sections
                .get(symbol.st_shndx.into())
                .is_ok_and(|section| section.sh_flags & u64::from(SHF_EXECINSTR) != 0);
            if code && matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE) {
                functions.add(symbol.st_value, symbols.1.get(symbol.st_name as usize)?);
            }
        }
        Ok(functions)
    }

    /// The functions of a System.map or of /proc/kallsyms: lines of address, kind, name.
    pub(super) fn of_map(text: &str) -> Functions {
        let mut functions = Functions::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) =
                (words.next(), words.next(), words.next())
                && let Ok(address @ 1..) = u64::from_str_radix(address, 16)
            {
                functions.add(address, name);
            }
        }
        functions
    }

    /// Local labels name no function.
    fn add(&mut self, address: u64, name: &str) {
        if !name.is_empty() && !name.starts_with(['.', '$']) {
            self.by_start.entry(address).or_insert_with(|| demangled(name));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// Where the function of that name begins.
    pub(super) fn address(&self, name: &str) -> Option<u64> {
        self.by_start.iter().find(|(_, known)| *known == name).map(|(address, _)| *address)
    }

    /// The function that begins last at or before `pc`.
    pub(super) fn at(&self, pc: u64) -> Option<&str> {
        self.by_start.range(..=pc).next_back().map(|(_, name)| name.as_str())
    }
}

/// The first bytes of the code at `address` in an ELF file, [`CODE`] of them.
pub(super) fn code_at(path: &Path, address: u64) -> Result<Vec<u8>> {
    let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(&image)?;
    let segments = file.segments().with_context(|| format!("{} has no segments", path.display()))?;
    let code = segments.iter().find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr).filter(|inside| *inside < segment.p_filesz)?;
        let start = usize::try_from(segment.p_offset + inside).ok()?;
        image.get(start..start + CODE)
    });
    Ok(code.with_context(|| format!("{} has no code at {address:#x}", path.display()))?.to_vec())
}

/// How many bytes tell one program's code from another's.
const CODE: usize = 32;

/// What was inlined where, by the line tables.
pub(super) struct Inlined<'a> {
    context: addr2line::Context<EndianSlice<'a, LittleEndian>>,
}

impl<'a> Inlined<'a> {
    /// `image` is the ELF file's bytes.
    pub(super) fn of_elf(image: &'a [u8]) -> Result<Self> {
        let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(image)?;
        let load = |id: gimli::SectionId| -> Result<_> {
            let bytes: &'a [u8] = match file.section_header_by_name(id.name())? {
                Some(section) => file.section_data(&section)?.0,
                None => &[],
            };
            Ok(EndianSlice::new(bytes, LittleEndian))
        };
        let context = addr2line::Context::from_dwarf(gimli::Dwarf::load(load)?).context("the line tables")?;
        Ok(Inlined { context })
    }

    /// The innermost function whose text the instruction is from.
    pub(super) fn at(&self, pc: u64) -> Option<String> {
        let mut frames = self.context.find_frames(pc).skip_all_loads().ok()?;
        let function = frames.next().ok()??.function?;
        Some(demangled(&function.raw_name().ok()?))
    }
}

/// Without the hash.
fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_names_what_begins_before() {
        let map = "\
0000000000000000 t not_known\n\
ffffffff80000010 T _start\n\
ffffffff80000012 t .L1\n\
ffffffff80000020 D data\n\
ffffffff80000030 t helper\t[module]\n";
        let functions = Functions::of_map(map);
        assert_eq!(functions.at(0xffff_ffff_8000_002f), Some("_start"));
        assert_eq!(functions.at(0xffff_ffff_8000_0030), Some("helper"));
        assert_eq!(functions.at(0x10), None);
        assert_eq!(functions.address("helper"), Some(0xffff_ffff_8000_0030));
    }
}
