//! Device trees that QEMU does not make by itself: its own one with a node more (Devicetree specification 0.4,
//! section 5, the flattened form).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::qemu::{Machine, QEMU};
use crate::shell;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The bytes of a flattened tree's header.
const HEADER: usize = 40;

/// Writes the tree of `machine` to `file`, with a node that has OpenSBI (1.3 and later) boot on the hart with `id`.
pub(super) fn boot_on(machine: &Machine, id: u32, file: &Path) -> Result<()> {
    let mut command = Command::new(QEMU);
    command.arg("-machine").arg(format!("virt,dumpdtb={}", file.display()));
    command.args(["-display", "none", "-cpu", &machine.cpu]);
    command.args(["-smp", &machine.smp.to_string(), "-m", &machine.mem]);
    let output = command.output().with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shell::shown(&command), String::from_utf8_lossy(&output.stderr));
    }
    let tree = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let tree = with_cold_boot_hart(&tree, id).context("QEMU's device tree has no such hart")?;
    fs::write(file, tree).with_context(|| format!("cannot write {}", file.display()))
}

/// `tree` with a node `opensbi-config` below `/chosen`; `None` when it is no tree or lacks the hart.
fn with_cold_boot_hart(tree: &[u8], id: u32) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u32::from_be_bytes(tree.get(at..at + 4)?.try_into().ok()?));
    let size = |at: usize| Some(word(at)? as usize);
    let (structure, strings) = (size(8)?, size(12)?);
    let (strings_len, structure_len) = (size(32)?, size(36)?);
    let names = tree.get(strings..strings + strings_len)?;

    // Where `/chosen` ends, and the phandle of the hart.
    let mut path: Vec<String> = Vec::new();
    let (mut chosen_end, mut phandle) = (None, None);
    let mut at = structure;
    while word(at)? != END {
        match word(at)? {
            BEGIN_NODE => {
                let name = text(tree.get(at + 4..)?)?;
                path.push(name.into());
                at += 4 + (name.len() + 1).next_multiple_of(4);
            }
            END_NODE => {
                if path == ["", "chosen"] {
                    chosen_end = Some(at);
                }
                path.pop()?;
                at += 4;
            }
            PROP => {
                let (len, name) = (size(at + 4)?, text(names.get(size(at + 8)?..)?)?);
                if name == "phandle" && path == ["", "cpus", &format!("cpu@{id:x}")] {
                    phandle = word(at + 12);
                }
                at += 12 + len.next_multiple_of(4);
            }
            NOP => at += 4,
            _ => return None,
        }
    }

    let mut strings_new = names.to_vec();
    let mut node = Vec::new();
    push_word(&mut node, BEGIN_NODE);
    push_text(&mut node, "opensbi-config");
    let phandle = phandle?.to_be_bytes();
    for (name, value) in [("compatible", &b"opensbi,config\0"[..]), ("cold-boot-harts", &phandle[..])] {
        push_word(&mut node, PROP);
        push_word(&mut node, value.len() as u32);
        push_word(&mut node, strings_new.len() as u32);
        node.extend_from_slice(value);
        node.resize(node.len().next_multiple_of(4), 0);
        strings_new.extend_from_slice(name.as_bytes());
        strings_new.push(0);
    }
    push_word(&mut node, END_NODE);

    // The header and the reserved ranges stay where they are, the names move to the end.
    let chosen_end = chosen_end?;
    let mut new = tree.get(..chosen_end)?.to_vec();
    new.extend_from_slice(&node);
    new.extend_from_slice(tree.get(chosen_end..structure + structure_len)?);
    let strings_at = new.len();
    new.extend_from_slice(&strings_new);
    let fields =
        [(4, new.len()), (12, strings_at), (32, strings_new.len()), (36, structure_len + node.len())];
    for (at, value) in fields {
        new.get_mut(at..at + 4)?.copy_from_slice(&(value as u32).to_be_bytes());
    }
    (structure >= HEADER).then_some(new)
}

/// The text up to the first zero.
fn text(bytes: &[u8]) -> Option<&str> {
    std::ffi::CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok()
}

fn push_word(bytes: &mut Vec<u8>, word: u32) {
    bytes.extend_from_slice(&word.to_be_bytes());
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
