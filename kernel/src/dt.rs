//! The device tree that the firmware hands over: what of it Rux needs, read once.
//!
//! Source: the Devicetree specification 0.4 and Linux's bindings (`cpus`, `plic`, `serial`, `virtio`).
//! The tree is trusted, as the firmware is; what it lacks is `None`.

use arrayvec::ArrayVec;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use rux_machine::MAX_HARTS;
use rux_mm::addr::PhysAddr;
use spin::Once;

/// Physical addresses from `start` up to, but not with, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PhysRange {
    /// The first byte.
    pub start: PhysAddr,
    /// One past the last byte.
    pub end: PhysAddr,
}

impl PhysRange {
    /// `bytes` from `start` on.
    pub fn new(start: u64, bytes: u64) -> Self {
        Self { start: PhysAddr::new(start), end: PhysAddr::new(start.saturating_add(bytes)) }
    }

    /// How many bytes.
    pub fn len(self) -> u64 {
        self.end.get().saturating_sub(self.start.get())
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether a byte is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A hart that the tree names and that is not disabled.
#[derive(Clone, Copy, Debug)]
pub struct CpuNode {
    /// The hart's id, as the firmware knows it.
    pub id: u64,
    /// The handle of its interrupt controller.
    pub intc: u32,
}

/// A device with one window of registers and one interrupt.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its registers.
    pub regs: PhysRange,
    /// Its interrupt at the PLIC; 0 for none.
    pub irq: u32,
    /// log2 of the distance between two registers (`reg-shift`).
    pub shift: u32,
}

/// The interrupt controller.
#[derive(Clone, Debug)]
pub struct Plic {
    /// Its registers.
    pub regs: PhysRange,
    /// How many interrupts it has.
    pub irqs: u32,
    /// For each context: the hart's controller and the interrupt that it raises there.
    pub contexts: ArrayVec<(u32, u32), { 2 * MAX_HARTS }>,
}

/// What the harts have in common beyond rv64imac.
#[derive(Clone, Copy, Debug)]
pub struct Isa {
    /// The first hart's `riscv,isa`, for /proc/cpuinfo.
    pub text: &'static str,
    /// The first hart's `mmu-type`, as `riscv,sv57`.
    pub mmu: &'static str,
    /// Bytes that `cbo.zero` clears; 0 without Zicboz.
    pub zero_block: u32,
    /// `stimecmp` exists.
    pub sstc: bool,
    /// F and D exist.
    pub double: bool,
}

impl Isa {
    /// `AT_HWCAP`: a bit for each single-letter extension that programs may use, `a` being bit 0.
    pub const fn hwcap(&self) -> u64 {
        const fn bit(letter: u8) -> u64 {
            1 << (letter - b'a')
        }
        let base = bit(b'i') | bit(b'm') | bit(b'a') | bit(b'c');
        if self.double { base | bit(b'f') | bit(b'd') } else { base }
    }
}

/// The machine as the tree describes it.
#[derive(Debug)]
pub struct Platform {
    /// The tree itself.
    pub tree: PhysRange,
    /// RAM.
    pub memory: ArrayVec<PhysRange, 32>,
    /// RAM that is not ours: firmware, reserved regions.
    pub reserved: ArrayVec<PhysRange, 64>,
    /// The initial file system.
    pub initrd: Option<PhysRange>,
    /// The harts, the boot hart first.
    pub harts: ArrayVec<CpuNode, MAX_HARTS>,
    /// What they can do.
    pub isa: Isa,
    /// Ticks of `time` a second.
    pub timebase: u64,
    /// The kernel's command line.
    pub bootargs: &'static str,
    /// Bytes that nobody can guess, if the firmware gave some.
    pub seed: &'static [u8],
    /// The serial line.
    pub uart: Option<Device>,
    /// The interrupt controller.
    pub plic: Option<Plic>,
    /// The clock that knows the date (`google,goldfish-rtc`).
    pub rtc: Option<Device>,
    /// The device that ends QEMU with a status (`sifive,test1`).
    pub test: Option<Device>,
    /// Places where a virtio device may be.
    pub virtio: ArrayVec<Device, 16>,
}

static PLATFORM: Once<Platform> = Once::new();

/// The machine. Known from the first steps of boot on.
pub fn platform() -> &'static Platform {
    // The boot hart sets it before anything else runs.
    PLATFORM.get().expect("the device tree is read first")
}

/// Reads the tree at `tree`, for a boot on hart `boot_hart`.
///
/// # Safety
/// There is a device tree, which nobody changes, and the direct map maps it.
#[inline(never)]
pub unsafe fn init(tree: PhysAddr, boot_hart: u64) -> Result<&'static Platform, &'static str> {
    // SAFETY: the caller vouches for the tree.
    let fdt = unsafe { Fdt::from_raw(tree.as_ptr()) }.map_err(|_| "the device tree is malformed")?;
    PLATFORM.try_call_once(|| read(fdt, tree, boot_hart))
}

#[inline(never)]
fn read(fdt: Fdt<'static>, tree: PhysAddr, boot_hart: u64) -> Result<Platform, &'static str> {
    let mut platform = Platform {
        tree: PhysRange::new(tree.get(), fdt.data().len() as u64),
        memory: ArrayVec::new(),
        reserved: ArrayVec::new(),
        initrd: None,
        harts: ArrayVec::new(),
        isa: Isa { text: "rv64imac", mmu: "riscv,none", zero_block: 0, sstc: true, double: true },
        timebase: 0,
        bootargs: "",
        seed: &[],
        uart: None,
        plic: None,
        rtc: None,
        test: None,
        virtio: ArrayVec::new(),
    };
    for reservation in fdt.memory_reservations() {
        reserve(&mut platform, PhysRange::new(reservation.address(), reservation.size()))?;
    }
    for node in fdt.root().children() {
        match node.name_without_address() {
            "memory" => add_ranges(&mut platform.memory, node)?,
            "reserved-memory" => {
                for region in node.children() {
                    for range in ranges(region) {
                        reserve(&mut platform, range)?;
                    }
                }
            }
            "chosen" => read_chosen(&mut platform, node),
            "cpus" => read_cpus(&mut platform, node, boot_hart)?,
            "soc" => devices(&mut platform, node),
            _ => device(&mut platform, node),
        }
    }
    if platform.memory.is_empty() {
        return Err("the device tree names no memory");
    }
    if platform.timebase == 0 {
        return Err("the device tree has no timebase-frequency");
    }
    Ok(platform)
}

fn reserve(platform: &mut Platform, range: PhysRange) -> Result<(), &'static str> {
    if range.is_empty() {
        return Ok(());
    }
    platform.reserved.try_push(range).map_err(|_| "the device tree reserves too many regions")
}

fn add_ranges<const N: usize>(
    list: &mut ArrayVec<PhysRange, N>,
    node: FdtNode<'static>,
) -> Result<(), &'static str> {
    for range in ranges(node).filter(|range| !range.is_empty()) {
        list.try_push(range).map_err(|_| "the device tree names too many memories")?;
    }
    Ok(())
}

fn ranges(node: FdtNode<'static>) -> impl Iterator<Item = PhysRange> {
    node.reg()
        .ok()
        .flatten()
        .into_iter()
        .flatten()
        .filter_map(|reg| Some(PhysRange::new(reg.address().ok()?, reg.size().ok()?)))
}

fn bytes(node: FdtNode<'static>, name: &str) -> Option<&'static [u8]> {
    node.property(name)?.value_as::<&'static [u8]>().ok()
}

fn text(node: FdtNode<'static>, name: &str) -> Option<&'static str> {
    node.property(name)?.value_as::<&'static str>().ok()
}

fn number(node: FdtNode<'static>, name: &str) -> Option<u64> {
    match *bytes(node, name)? {
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

fn cells(value: &'static [u8]) -> impl Iterator<Item = u32> {
    value.chunks_exact(4).map(|cell| u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]))
}

fn read_chosen(platform: &mut Platform, node: FdtNode<'static>) {
    platform.bootargs = text(node, "bootargs").unwrap_or("");
    platform.seed = bytes(node, "rng-seed").unwrap_or(&[]);
    if let (Some(start), Some(end)) = (number(node, "linux,initrd-start"), number(node, "linux,initrd-end"))
        && start < end
    {
        platform.initrd = Some(PhysRange::new(start, end - start));
    }
}

fn read_cpus(platform: &mut Platform, cpus: FdtNode<'static>, boot_hart: u64) -> Result<(), &'static str> {
    platform.timebase = number(cpus, "timebase-frequency").unwrap_or(0);
    let mut first = true;
    for cpu in cpus.children().filter(|node| text(*node, "device_type") == Some("cpu")) {
        if platform.timebase == 0 {
            platform.timebase = number(cpu, "timebase-frequency").unwrap_or(0);
        }
        let Some(id) = cpu.reg().ok().flatten().and_then(|mut reg| reg.next()?.address::<u64>().ok()) else {
            continue;
        };
        if !matches!(text(cpu, "status"), None | Some("okay" | "ok")) {
            continue;
        }
        let intc = cpu.child("interrupt-controller").and_then(|intc| number(intc, "phandle"));
        let node = CpuNode { id, intc: intc.unwrap_or(0) as u32 };
        if id == boot_hart {
            // A machine with more harts than Rux drives still needs the one that runs.
            if platform.harts.is_full() {
                platform.harts.pop();
            }
            platform.harts.insert(0, node);
        } else if platform.harts.try_push(node).is_err() {
            log::warn!("hart {id} is left alone: there are more than {MAX_HARTS}");
        }
        read_isa(&mut platform.isa, cpu, first);
        first = false;
    }
    if platform.harts.first().is_none_or(|node| node.id != boot_hart) {
        return Err("the device tree does not name the boot hart");
    }
    Ok(())
}

/// What this hart lacks, all lack.
fn read_isa(isa: &mut Isa, cpu: FdtNode<'static>, first: bool) {
    let single = text(cpu, "riscv,isa").unwrap_or("rv64imac");
    let list = bytes(cpu, "riscv,isa-extensions");
    let has = |name: &str| match list {
        Some(list) => list.split(|&byte| byte == 0).any(|item| item == name.as_bytes()),
        None => {
            let mut parts = single.split('_');
            let letters = parts.next().unwrap_or("").trim_start_matches("rv64");
            if name.len() == 1 { letters.contains(name) } else { parts.any(|part| part == name) }
        }
    };
    let block = if has("zicboz") { number(cpu, "riscv,cboz-block-size").unwrap_or(0) as u32 } else { 0 };
    if first {
        isa.text = single;
        isa.mmu = text(cpu, "mmu-type").unwrap_or("riscv,none");
        isa.zero_block = block;
    } else if isa.zero_block != block {
        isa.zero_block = 0;
    }
    isa.sstc &= has("sstc");
    isa.double &= has("f") && has("d");
}

fn devices(platform: &mut Platform, bus: FdtNode<'static>) {
    for node in bus.children() {
        device(platform, node);
    }
}

fn device(platform: &mut Platform, node: FdtNode<'static>) {
    let Some(compatible) = node.compatible() else { return };
    let Some(regs) = ranges(node).next() else { return };
    let irq = bytes(node, "interrupts").and_then(|value| cells(value).next()).unwrap_or(0);
    let found = Device { regs, irq, shift: number(node, "reg-shift").unwrap_or(0) as u32 };
    for name in compatible {
        match name {
            "ns16550a" | "ns16550" if platform.uart.is_none() => platform.uart = Some(found),
            "google,goldfish-rtc" => platform.rtc = Some(found),
            "sifive,test1" | "sifive,test0" => platform.test = Some(found),
            "virtio,mmio" => {
                // More than the list holds are left alone.
                let _ = platform.virtio.try_push(found);
            }
            "sifive,plic-1.0.0" | "riscv,plic0" if platform.plic.is_none() => {
                let mut contexts = ArrayVec::new();
                let extended = bytes(node, "interrupts-extended").unwrap_or(&[]);
                for pair in extended.chunks_exact(8) {
                    let (intc, irq) = pair.split_at(4);
                    let one = |bytes| cells(bytes).next().unwrap_or(0);
                    if contexts.try_push((one(intc), one(irq))).is_err() {
                        break;
                    }
                }
                let irqs = number(node, "riscv,ndev").unwrap_or(0) as u32;
                platform.plic = Some(Plic { regs, irqs, contexts });
            }
            _ => {}
        }
    }
}
