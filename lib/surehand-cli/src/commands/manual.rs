//! `surehand completions` and `surehand man`: what shells and `man` read.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that reads them
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for each command into this folder, instead of the first page to standard output
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(arguments: &Completions, mut whole: Command) {
    let mut text = Vec::new();
    let name = whole.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut whole, name, &mut text);
    print(&text);
}

pub(crate) fn man(arguments: &Man, whole: Command) -> Result<()> {
    match &arguments.out {
        Some(folder) => write(folder, whole)
            .with_context(|| format!("cannot write the pages to {}", folder.display())),
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(whole).render(&mut text)?;
            print(&text);
            Ok(())
        }
    }
}

fn write(folder: &Path, whole: Command) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(whole, folder)
}

/// A reader such as `head` that has read enough is no failure.
fn print(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text).and_then(|()| out.flush()));
}
