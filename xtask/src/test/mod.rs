//! `cargo xtask test`: every check of the project, one after another, and what came of each.
//!
//! A step has a name, which FILTER is looked for in, and ends passed, failed or skipped with the reason. A failed step
//! does not stop the others.

mod guest;
mod host;
mod machine;
mod rows;
mod tree;

use std::time::Instant;

use anyhow::Result;

use crate::cli::TestOptions;
use crate::{say, setup};

/// How a step ended, if not with an error.
pub(crate) enum Outcome {
    Passed,
    /// With the reason.
    Skipped(String),
}

/// One step of the tests.
pub(crate) struct Step<'a> {
    pub name: String,
    pub run: Box<dyn FnMut() -> Result<Outcome> + 'a>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> Result<Outcome> + 'a) -> Step<'a> {
        Step { name: name.into(), run: Box::new(run) }
    }
}

pub(crate) fn test(options: &TestOptions) -> Result<u8> {
    setup::for_test()?;
    let mut steps = if options.on_linux { Vec::new() } else { host::steps(options) };
    steps.extend(machine::steps(options)?);
    if let Some(filter) = &options.filter {
        steps.retain(|step| step.name.contains(filter.as_str()));
    }
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    let count = steps.len();
    for (at, step) in steps.iter_mut().enumerate() {
        say!("[{}/{count}] {}", at + 1, step.name);
        let start = Instant::now();
        let outcome = (step.run)();
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(Outcome::Passed) => {
                say!("[{}/{count}] {}: passed ({seconds:.1} s)", at + 1, step.name);
                passed += 1;
            }
            Ok(Outcome::Skipped(reason)) => {
                say!("[{}/{count}] {}: skipped: {reason}", at + 1, step.name);
                skipped.push((step.name.clone(), reason));
            }
            Err(error) => {
                say!("[{}/{count}] {}: FAILED ({seconds:.1} s): {error:#}", at + 1, step.name);
                failed.push(step.name.clone());
            }
        }
    }
    for (name, reason) in &skipped {
        say!("skipped: {name}: {reason}");
    }
    for name in &failed {
        say!("FAILED: {name}");
    }
    say!("{passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    if count == 0 {
        say!("no test's name contains `{}`", options.filter.as_deref().unwrap_or(""));
    }
    Ok(u8::from(!failed.is_empty() || count == 0))
}
