//! `memento completions` and `memento man`: what packages of the command install besides it.

use super::Cli;
use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `--help` of `completions` says below the options.
pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  memento completions bash > ~/.local/share/bash-completion/completions/memento
  memento completions zsh > ~/.zfunc/_memento
  memento completions fish > ~/.config/fish/completions/memento.fish";

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Write a page for the command and one for each subcommand into this directory, instead of the
    /// command's to standard output
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// The command without the subcommands that it starts itself by.
fn visible() -> clap::Command {
    let full = Cli::command();
    let mut command = clap::Command::new("memento").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = full.get_about() {
        command = command.about(about.clone());
    }
    if let Some(help) = full.get_after_help() {
        command = command.after_help(help.clone());
    }
    command.subcommands(full.get_subcommands().filter(|each| !each.is_hide_set()).cloned())
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(), "memento", &mut script);
    std::io::stdout().lock().write_all(&script).context("cannot write the completions")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &ManArgs) -> Result<ExitCode> {
    let mut command = visible();
    match &args.directory {
        Some(directory) => {
            command.build();
            let written = clap_mangen::generate_to(command, directory);
            written.with_context(|| format!("cannot write to {}", directory.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            std::io::stdout().lock().write_all(&page).context("cannot write the page")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
