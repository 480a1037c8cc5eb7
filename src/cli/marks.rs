//! `auditlog marks`.

use std::io::{Write, stdout};

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::Database;
use crate::domain::{Key, OrganizationId};
use crate::error::Error;
use crate::marks::{Checked, Folder};
use crate::store::Lag;

/// Shows, checks and makes the counts that keep totals and deep pages fast.
///
/// A running service keeps them by itself. Totals and pages are exact with them, without them, and while they are
/// made; without them they take longer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog marks status
  auditlog marks check
  auditlog marks rebuild --organization org_abc123")]
pub struct Marks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show how far the counts reach: organization, entries, entries counted, entries behind.
    #[command(after_help = "\
Examples:
  auditlog marks status
  auditlog marks status --organization org_abc123")]
    Status(Chosen),
    /// Count the entries that are not counted yet, now. `serve` does so by itself.
    #[command(after_help = "\
Examples:
  auditlog marks fold
  auditlog marks fold --organization org_abc123
  auditlog marks fold --lag 256")]
    Fold {
        #[command(flatten)]
        chosen: Chosen,
        /// Only organizations that are at least so many entries behind.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..), value_name = "N")]
        lag: i64,
    },
    /// Compare all counts with the entries. Exit code 1 if one is wrong.
    ///
    /// Services may run meanwhile. It reads each entry up to three times.
    #[command(after_help = "\
Examples:
  auditlog marks check
  auditlog marks check --organization org_abc123")]
    Check(Chosen),
    /// Throw the counts away and make them again from the entries.
    ///
    /// Services may run meanwhile; they answer as exactly, and slower until this is done.
    #[command(after_help = "\
Examples:
  auditlog marks rebuild --organization org_abc123
  auditlog marks rebuild")]
    Rebuild(Chosen),
}

#[derive(Args)]
struct Chosen {
    #[command(flatten)]
    database: Database,
    /// The one organization to look at; without it, all.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
}

impl Marks {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (Command::Status(chosen)
        | Command::Fold { chosen, .. }
        | Command::Check(chosen)
        | Command::Rebuild(chosen)) = &self.command;
        let store = chosen.database.open_existing().await?;
        let folder = Folder::new(store.clone());
        let lags = match &chosen.organization {
            Some(organization) => match folder.lag(organization).await {
                Err(Error::OrganizationNotFound) => bail!("there is no organization {organization}"),
                lag => vec![lag?],
            },
            None => folder.lags().await?,
        };
        let outcome = match self.command {
            Command::Status(_) => status(&lags),
            Command::Fold { lag: least, .. } => {
                let behind = |lag: &&Lag| lag.head - lag.folded >= least;
                fold(&folder, &lags.iter().filter(behind).cloned().collect::<Vec<_>>()).await
            }
            Command::Check(_) => check(&folder, &lags).await,
            Command::Rebuild(_) => rebuild(&folder, &lags).await,
        };
        store.close().await;
        outcome
    }
}

fn status(lags: &[Lag]) -> anyhow::Result<()> {
    for Lag { organization, head, folded } in lags {
        writeln!(stdout(), "{organization}\t{head}\t{folded}\t{}", head - folded)?;
    }
    Ok(())
}

fn bar(entries: i64) -> anyhow::Result<ProgressBar> {
    let progress = ProgressBar::new(u64::try_from(entries)?);
    progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")?);
    Ok(progress)
}

async fn fold(folder: &Folder, lags: &[Lag]) -> anyhow::Result<()> {
    let progress = bar(lags.iter().map(|lag| lag.head - lag.folded).sum())?;
    let mut folded = 0;
    for lag in lags {
        progress.set_message(lag.organization.to_string());
        let before = progress.position();
        let told = |to: i64| progress.set_position(before + u64::try_from(to - lag.folded).unwrap_or(0));
        folded += folder.fold_all(&lag.organization, told).await?;
    }
    finish(&progress, folded)
}

fn finish(progress: &ProgressBar, folded: i64) -> anyhow::Result<()> {
    progress.finish_and_clear();
    writeln!(stdout(), "{} entries counted", HumanCount(u64::try_from(folded)?))?;
    Ok(())
}

async fn check(folder: &Folder, lags: &[Lag]) -> anyhow::Result<()> {
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
    let (mut keys, mut marks, mut faults) = (0, 0, 0);
    for Lag { organization, .. } in lags {
        let told = |key: &Key| {
            progress.set_message(format!("{organization}: {}", named(key)));
            progress.tick();
        };
        let checked: Checked = folder.check(organization, told).await?;
        (keys, marks, faults) = (keys + checked.keys, marks + checked.marks, faults + checked.faults.len());
        for fault in checked.faults {
            progress.suspend(|| writeln!(stdout(), "{organization}: {} {}", named(&fault.key), fault.what))?;
        }
    }
    progress.finish_and_clear();
    let [organizations, keys, marks] = [lags.len(), keys, marks].map(|count| HumanCount(count as u64));
    writeln!(stdout(), "{organizations} organizations, {keys} keys, {marks} marks: {faults} wrong")?;
    match faults {
        0 => Ok(()),
        _ => bail!("counts are wrong, and so may totals be; `auditlog marks rebuild` makes them again"),
    }
}

async fn rebuild(folder: &Folder, lags: &[Lag]) -> anyhow::Result<()> {
    let progress = bar(lags.iter().map(|lag| lag.head).sum())?;
    let mut folded = 0;
    // One after the other, so that few are without counts at a time.
    for Lag { organization, .. } in lags {
        progress.set_message(organization.to_string());
        let before = progress.position();
        folder.forget(organization).await?;
        let told = |to: i64| progress.set_position(before + u64::try_from(to).unwrap_or(0));
        folded += folder.fold_all(organization, told).await?;
    }
    finish(&progress, folded)
}

fn named(key: &Key) -> String {
    match key {
        Key::Organization => "the organization".to_owned(),
        Key::User(id) => format!("user {id}"),
        Key::Resource(code, id) => format!("resource {id} (type code {})", code.0),
    }
}
