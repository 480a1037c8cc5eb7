//! `auditlog completions`.

use std::io::{Write, stdout};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog completions bash > /etc/bash_completion.d/auditlog
  auditlog completions zsh > \"${fpath[1]}/_auditlog\"
  auditlog completions fish > ~/.config/fish/completions/auditlog.fish")]
pub struct CompletionsArgs {
    /// Shell that runs the script.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut super::Cli::command(), "auditlog", &mut script);
        Ok(stdout().write_all(&script)?)
    }
}
