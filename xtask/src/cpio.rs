//! Writes a cpio archive in the "newc" form, which Linux's initramfs and Rux read.

use std::io::{self, Write};

pub(crate) const DIRECTORY: u32 = 0o040_000;
pub(crate) const REGULAR: u32 = 0o100_000;
pub(crate) const SYMLINK: u32 = 0o120_000;

/// Appends entries to `out`; `finish` closes the archive.
pub(crate) struct Writer<W> {
    out: W,
    inode: u32,
    written: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Writer { out, inode: 0, written: 0 }
    }

    /// `path` without a leading slash; `mode` with the file type; `data` is a link's target for symlinks.
    pub(crate) fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let links = if mode & DIRECTORY == DIRECTORY && mode & REGULAR == 0 { 2 } else { 1 };
        self.record(path, self.inode, mode, links, data)
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.record("TRAILER!!!", 0, 0, 1, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn record(&mut self, path: &str, inode: u32, mode: u32, links: u32, data: &[u8]) -> io::Result<()> {
        let too_big = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{path}: over 4 GiB"));
        let size = u32::try_from(data.len()).map_err(too_big)?;
        let name_size = path.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, size, major, minor, rmajor, rminor, name size, checksum
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.write(b"070701")?;
        for field in fields {
            self.write(format!("{field:08x}").as_bytes())?;
        }
        self.write(path.as_bytes())?;
        self.write(&[0])?;
        self.pad()?;
        self.write(data)?;
        self.pad()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Names and data end on a multiple of four bytes.
    fn pad(&mut self) -> io::Result<()> {
        let rest = (4 - self.written % 4) % 4;
        self.write(&[0; 4][..rest as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_newc_layout() {
        let mut writer = Writer::new(Vec::new());
        writer.entry("ab", REGULAR | 0o644, b"hello").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000081a4");
        // 110 bytes of header and "ab\0" end at 113, padded to 116; five bytes of data at 116, padded to 124.
        assert_eq!(&bytes[110..116], b"ab\0\0\0\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
