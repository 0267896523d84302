//! As much of gdb's remote protocol as it takes to stop a QEMU at an address and to tell its monitor something.
//!
//! Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol".

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};

/// Register 32 of a RISC-V is the program counter.
const PC: &str = "p20";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the address.
    There,
    /// Elsewhere, as [`interrupt`] asked.
    Interrupted,
    /// The machine is gone.
    Ended,
}

/// Where a program is to be stopped, and the code that it has there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub address: u64,
    pub code: Vec<u8>,
}

/// Stops the machine that runs, from another thread.
pub(super) fn interrupt(mut stream: &UnixStream) {
    // A machine that has ended needs no stop.
    let _ = stream.write_all(b"\x03");
}

/// A connection to QEMU's gdb stub.
pub(super) struct Gdb {
    stream: BufReader<UnixStream>,
}

impl Gdb {
    pub(super) fn new(stream: UnixStream) -> Gdb {
        Gdb { stream: BufReader::new(stream) }
    }

    /// Waits for the stub; the machine stands.
    pub(super) fn attach(&mut self) -> Result<()> {
        self.ask("?").map(drop)
    }

    /// Runs until the program counter is `at.address`, where the machine does not stand now, in the program that has
    /// that code there: others have theirs at the same addresses.
    pub(super) fn run_to(&mut self, at: &Place) -> Result<Stop> {
        loop {
            let stop = self.run_to_any(at.address)?;
            if stop != Stop::There {
                return Ok(stop);
            }
            let found = self.ask(&format!("m{:x},{:x}", at.address, at.code.len()))?;
            if bytes(&found)? == at.code {
                return Ok(stop);
            }
            self.send("s")?;
            if self.receive()?.is_none_or(|reply| reply.starts_with('W')) {
                return Ok(Stop::Ended);
            }
        }
    }

    /// As [`Gdb::run_to`], in any program.
    fn run_to_any(&mut self, at: u64) -> Result<Stop> {
        self.command(&format!("Z0,{at:x},2"))?;
        self.send("c")?;
        match self.receive()? {
            Some(reply) if !reply.starts_with('W') => {}
            _ => return Ok(Stop::Ended),
        }
        self.command(&format!("z0,{at:x},2"))?;
        let pc = self.ask(PC)?;
        Ok(if register(&pc)? == at { Stop::There } else { Stop::Interrupted })
    }

    /// Has QEMU's monitor do `line`, which prints nothing unless it fails.
    pub(super) fn monitor(&mut self, line: &str) -> Result<()> {
        let digits: String = line.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("qRcmd,{digits}"))?;
        let mut said = Vec::new();
        loop {
            match self.receive()?.context("QEMU ended")?.as_str() {
                "OK" if said.is_empty() => return Ok(()),
                "OK" => bail!("QEMU's monitor, told `{line}`: {}", String::from_utf8_lossy(&said).trim()),
                reply => said.extend(bytes(reply.strip_prefix('O').unwrap_or_default())?),
            }
        }
    }

    /// Lets the machine run alone.
    pub(super) fn detach(&mut self) -> Result<()> {
        self.command("D")
    }

    fn command(&mut self, packet: &str) -> Result<()> {
        match self.ask(packet)?.as_str() {
            "OK" => Ok(()),
            reply => bail!("QEMU's gdb stub answers `{reply}` to `{packet}`"),
        }
    }

    fn ask(&mut self, packet: &str) -> Result<String> {
        self.send(packet)?;
        self.receive()?.context("QEMU ended")
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        self.stream.get_mut().write_all(&framed(packet)).context("writing to QEMU's gdb stub")
    }

    /// The next packet; `None` at the end.
    fn receive(&mut self) -> Result<Option<String>> {
        let mut packet = Vec::new();
        let mut inside = false;
        while let Some(byte) = self.byte() {
            match byte {
                b'$' => {
                    packet.clear();
                    inside = true;
                }
                b'#' if inside => {
                    // The sum: a socket loses nothing.
                    if self.byte().is_none() || self.byte().is_none() {
                        break;
                    }
                    // An acknowledgement to a machine that has ended is not missed.
                    let _ = self.stream.get_mut().write_all(b"+");
                    return Ok(Some(String::from_utf8(packet)?));
                }
                byte if inside => packet.push(byte),
                _ => {}
            }
        }
        Ok(None)
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }
}

/// A packet as it is sent: with its sum.
fn framed(packet: &str) -> Vec<u8> {
    let sum = packet.bytes().fold(0u8, u8::wrapping_add);
    format!("${packet}#{sum:02x}").into_bytes()
}

/// Bytes from pairs of digits.
fn bytes(digits: &str) -> Result<Vec<u8>> {
    let pair = |at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len())
        .step_by(2)
        .map(|at| pair(at).with_context(|| format!("`{digits}` from QEMU's gdb stub")))
        .collect()
}

/// A register from its bytes, lowest first.
fn register(digits: &str) -> Result<u64> {
    let bytes = bytes(digits)?;
    Ok(u64::from_le_bytes(bytes.try_into().ok().with_context(|| format!("`{digits}` is no register"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_sums() {
        assert_eq!(framed("OK"), b"$OK#9a");
        assert_eq!(framed("?"), b"$?#3f");
    }

    #[test]
    fn registers_come_lowest_byte_first() {
        assert_eq!(register("020b010000000000").unwrap(), 0x10b02);
        assert!(register("020b").is_err() && register("xy").is_err());
    }

    #[test]
    fn a_stub_that_hangs_up_has_ended() {
        let (ours, its) = UnixStream::pair().unwrap();
        let mut gdb = Gdb::new(ours);
        (&its).write_all(b"+$T05thread:01;#07").unwrap();
        assert_eq!(gdb.receive().unwrap().as_deref(), Some("T05thread:01;"));
        drop(its);
        assert_eq!(gdb.receive().unwrap(), None);
    }
}
