//! `auditlog running-counts`.

use std::io::{Write, stdout};

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::DatabaseArgs;
use crate::counts::{CountCheck, EntryCounter};
use crate::domain::{CountKey, OrganizationId};
use crate::error::Error;
use crate::store::Lag;

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  auditlog running-counts status
  auditlog running-counts check
  auditlog running-counts rebuild --organization org_abc123")]
pub(super) enum RunningCountsCommand {
    /// Print a line for each organization: its name, entries, counted entries, uncounted entries; separated by tabs.
    #[command(after_help = "\
Examples:
  auditlog running-counts status
  auditlog running-counts status --organization org_abc123")]
    Status(ChosenArgs),
    /// Count all uncounted entries now. `serve` does so in the background.
    #[command(after_help = "\
Examples:
  auditlog running-counts update
  auditlog running-counts update --organization org_abc123
  auditlog running-counts update --lag 256")]
    Update {
        #[command(flatten)]
        chosen: ChosenArgs,
        /// Skip organizations with fewer uncounted entries than this.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..), value_name = "N")]
        lag: i64,
    },
    /// Compare all running counts with the entries. Exit code 1 if one is wrong.
    ///
    /// Services may run meanwhile. The command reads each entry up to three times.
    #[command(after_help = "\
Examples:
  auditlog running-counts check
  auditlog running-counts check --organization org_abc123")]
    Check(ChosenArgs),
    /// Delete the running counts and rebuild them from the entries.
    ///
    /// Services may run meanwhile. Their answers stay exact, and are slower until this is done.
    #[command(after_help = "\
Examples:
  auditlog running-counts rebuild --organization org_abc123
  auditlog running-counts rebuild")]
    Rebuild(ChosenArgs),
}

#[derive(Args)]
pub(super) struct ChosenArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Only this organization. Without the option, all organizations.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
}

impl RunningCountsCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (Self::Status(chosen) | Self::Update { chosen, .. } | Self::Check(chosen) | Self::Rebuild(chosen)) = &self;
        let store = chosen.database.open_existing().await?;
        let counter = EntryCounter::new(store.clone());
        let lags = match &chosen.organization {
            Some(organization) => match counter.lag(organization).await {
                Err(Error::OrganizationNotFound) => bail!("there is no organization {organization}"),
                lag => vec![lag?],
            },
            None => counter.lags().await?,
        };
        let outcome = match self {
            Self::Status(_) => status(&lags),
            Self::Update { lag: least, .. } => {
                let behind = |lag: &&Lag| lag.head - lag.counted >= least;
                update(&counter, &lags.iter().filter(behind).cloned().collect::<Vec<_>>()).await
            }
            Self::Check(_) => check(&counter, &lags).await,
            Self::Rebuild(_) => rebuild(&counter, &lags).await,
        };
        store.close().await;
        outcome
    }
}

fn status(lags: &[Lag]) -> anyhow::Result<()> {
    for Lag { organization, head, counted } in lags {
        writeln!(stdout(), "{organization}\t{head}\t{counted}\t{}", head - counted)?;
    }
    Ok(())
}

fn bar(entries: i64) -> anyhow::Result<ProgressBar> {
    let progress = ProgressBar::new(u64::try_from(entries)?);
    progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")?);
    Ok(progress)
}

async fn update(counter: &EntryCounter, lags: &[Lag]) -> anyhow::Result<()> {
    let progress = bar(lags.iter().map(|lag| lag.head - lag.counted).sum())?;
    let mut counted = 0;
    for lag in lags {
        progress.set_message(lag.organization.to_string());
        let before = progress.position();
        let progressed = |to: i64| progress.set_position(before + u64::try_from(to - lag.counted).unwrap_or(0));
        counted += counter.count_all(&lag.organization, progressed).await?;
    }
    finish(&progress, counted)
}

fn finish(progress: &ProgressBar, counted: i64) -> anyhow::Result<()> {
    progress.finish_and_clear();
    writeln!(stdout(), "{} entries counted", HumanCount(u64::try_from(counted)?))?;
    Ok(())
}

async fn check(counter: &EntryCounter, lags: &[Lag]) -> anyhow::Result<()> {
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
    let (mut keys, mut counts, mut faults) = (0, 0, 0);
    for Lag { organization, .. } in lags {
        let progressed = |key: &CountKey| {
            progress.set_message(format!("{organization}: {}", named(key)));
            progress.tick();
        };
        let checked: CountCheck = counter.check(organization, progressed).await?;
        (keys, counts, faults) = (keys + checked.keys, counts + checked.counts, faults + checked.faults.len());
        for fault in checked.faults {
            progress.suspend(|| writeln!(stdout(), "{organization}: {} {}", named(&fault.key), fault.what))?;
        }
    }
    progress.finish_and_clear();
    let [organizations, keys, counts] = [lags.len(), keys, counts].map(|count| HumanCount(count as u64));
    writeln!(stdout(), "{organizations} organizations, {keys} keys, {counts} running counts: {faults} wrong")?;
    match faults {
        0 => Ok(()),
        _ => bail!("running counts are wrong, so totals may be wrong; run `auditlog running-counts rebuild`"),
    }
}

async fn rebuild(counter: &EntryCounter, lags: &[Lag]) -> anyhow::Result<()> {
    let progress = bar(lags.iter().map(|lag| lag.head).sum())?;
    let mut counted = 0;
    // One after the other, so that few are without counts at a time.
    for Lag { organization, .. } in lags {
        progress.set_message(organization.to_string());
        let before = progress.position();
        counter.discard(organization).await?;
        let progressed = |to: i64| progress.set_position(before + u64::try_from(to).unwrap_or(0));
        counted += counter.count_all(organization, progressed).await?;
    }
    finish(&progress, counted)
}

fn named(key: &CountKey) -> String {
    match key {
        CountKey::Organization => "the organization".to_owned(),
        CountKey::User(id) => format!("user {id}"),
        CountKey::Resource(code, id) => format!("resource {id} (type code {})", code.0),
    }
}
