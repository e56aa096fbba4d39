//! A restore of all sources that are meant: all of them are known, planned and agreed to before the first is touched.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Place, RestoreRun, folder, live, selection};
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::{InSnapshot, places_that_exist};
use crate::reference::Address;
use crate::source_spec::SourceSpec;
use crate::ui::format::printable;

/// What is to be done with one source.
enum Step<'a> {
    Folder(folder::Step<'a>),
    Live(live::Step<'a>),
}

/// The same, planned and agreed to.
enum Agreed<'a> {
    Folder(folder::Step<'a>),
    Live(Box<live::Agreed>),
}

impl Agreed<'_> {
    fn name(&self) -> String {
        match self {
            Self::Folder(step) => step.name().to_owned(),
            Self::Live(step) => step.name().to_owned(),
        }
    }

    fn carry_out(self, run: &RestoreRun<'_>) -> Result<ExitCode, CliError> {
        match self {
            Self::Folder(step) => step.carry_out(run),
            Self::Live(step) => step.carry_out(run).map(|()| ExitCode::Done),
        }
    }
}

/// Restores what is meant. A no leaves nothing half done.
pub(super) fn restore(
    run: &RestoreRun<'_>,
    place: &Place,
    address: Option<&Address>,
) -> Result<ExitCode, CliError> {
    let steps = match place {
        Place::Elsewhere { target, to } => elsewhere(run, target.as_deref(), to, address)?,
        Place::InPlace => in_place(run, address)?,
    };
    refuse_one_place_twice(&steps)?;
    if steps.is_empty() {
        return Err(CliError::usage(
            "the snapshot holds nothing of what was asked for",
        ));
    }
    let is_live = |step: &Step<'_>| matches!(step, Step::Live(_));
    if !run.args.dry_run && steps.iter().any(is_live) {
        // Where nothing can be written down, nothing live is begun; said before anything is asked or written.
        live::journal(run.context)?;
    }
    let mut code = ExitCode::Done;
    let mut agreed = Vec::new();
    for step in steps {
        match step {
            Step::Folder(step) => {
                code = code.worse(step.agree(run)?);
                agreed.push(Agreed::Folder(step));
            }
            Step::Live(step) => {
                agreed.extend(step.agree(run)?.map(Box::new).map(Agreed::Live));
            }
        }
    }
    if run.args.dry_run {
        return Ok(code);
    }
    carry_out(run, agreed)
}

fn elsewhere<'a>(
    run: &RestoreRun<'a>,
    target: Option<&Path>,
    to: &[SourceSpec],
    address: Option<&Address>,
) -> Result<Vec<Step<'a>>, CliError> {
    let mut steps = Vec::new();
    if let Some(target) = target {
        let in_folder = folder::steps(run, target, address, to)?;
        if in_folder.is_empty() {
            return Err(CliError::usage("nothing is left for --target"));
        }
        steps.extend(in_folder.into_iter().map(Step::Folder));
    }
    for spec in to {
        steps.push(Step::Live(live::Step::new(run, spec)?));
    }
    Ok(steps)
}

fn in_place<'a>(
    run: &RestoreRun<'a>,
    address: Option<&Address>,
) -> Result<Vec<Step<'a>>, CliError> {
    let (filter, store) = (&run.args.filter, &run.store);
    let mut steps = Vec::new();
    for place in places_that_exist(&run.listed.snapshot, address.into_iter(), filter, store)? {
        let InSnapshot { source, path } = place;
        steps.push(if source.kind == "files" {
            Step::Folder(folder::in_place(run, source, &path))
        } else if path.is_root() {
            let spec = live::spec_of(source, run.context)?;
            Step::Live(live::Step::new(run, &spec)?)
        } else {
            return Err(selection::is_whole(&source.name));
        });
    }
    Ok(steps)
}

/// The second would find the first, and not what the user has agreed to lose.
fn refuse_one_place_twice(steps: &[Step<'_>]) -> Result<(), CliError> {
    let mut places = BTreeMap::new();
    for step in steps {
        let Step::Live(step) = step else { continue };
        let Some(place) = step.place() else { continue };
        if let Some(other) = places.insert(place, step.name()) {
            return Err(CliError::usage(format!(
                "the sources {other} and {} would go to the same place",
                step.name()
            )));
        }
    }
    Ok(())
}

fn carry_out(run: &RestoreRun<'_>, agreed: Vec<Agreed<'_>>) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::Done;
    let mut left: Vec<_> = agreed.iter().map(Agreed::name).collect();
    for (done, step) in agreed.into_iter().enumerate() {
        match step.carry_out(run) {
            Ok(of_step) => code = code.worse(of_step),
            Err(error) => {
                let failed_and_left = left.split_off(done);
                tell_done(run, &left, failed_and_left.get(1..).unwrap_or_default());
                return Err(error);
            }
        }
    }
    Ok(code)
}

/// Of several sources one failed: what became of the others.
fn tell_done(run: &RestoreRun<'_>, done: &[String], left: &[String]) {
    for (names, what) in [(done, "restored before that"), (left, "not restored")] {
        if !names.is_empty() {
            let text = format!("{what}: {}", names.join(", "));
            run.context.ui.warning(&printable(&text));
        }
    }
}
