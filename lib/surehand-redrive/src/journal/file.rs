//! A journal in a file.

use super::{Entry, Journal, Ledger};
use crate::letter::Letter;
use futures_util::future::BoxFuture;
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
use surehand::{Error, Result};

/// A journal in a file of JSON lines, one for each [`Entry`], which is on the disk when
/// [`append`](Journal::append) returns.
///
/// The file is locked while it is open, so that one process at a time works through it. It holds the
/// letters themselves, and is its owner's alone: keep it as you would keep the queue.
#[derive(Debug)]
pub struct FileJournal {
    file: File,
    path: PathBuf,
    /// Up to where the file is whole.
    end: u64,
}

impl FileJournal {
    /// A new journal.
    ///
    /// # Errors
    /// If the file is there already, or cannot be written.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // Letters hold what customers wrote.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path);
        let file = file.map_err(|error| failed("created", &path, &error))?;
        lock(&file, &path)?;
        // A file is only there after a crash if its directory says so.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed("created", &path, &error))?;
        let end = 0;
        Ok(Self { file, path, end })
    }

    /// A journal that was begun, and what it says.
    ///
    /// The last line may have been cut off by a crash: it announced something that was not begun then,
    /// and is removed.
    ///
    /// # Errors
    /// If the file cannot be read, is used by another process, or has other lines that are none of a
    /// journal.
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Ledger)> {
        let path = path.into();
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| failed("opened", &path, &error))?;
        lock(&file, &path)?;
        let mut ledger = Ledger::default();
        let mut entries = FileEntries::new(&file, &path);
        for entry in &mut entries {
            ledger.note(&entry?);
        }
        let end = entries.end;
        file.set_len(end)
            .map_err(|error| failed("repaired", &path, &error))?;
        Ok((Self { file, path, end }, ledger))
    }

    /// Every entry, in their order, with one in memory at a time.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn entries(path: impl AsRef<Path>) -> Result<impl Iterator<Item = Result<Entry>> + Send> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| failed("opened", path, &error))?;
        Ok(FileEntries::new(file, path))
    }

    /// Every letter that the journal has, as it was before anything was done to it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn letters(path: impl AsRef<Path>) -> Result<impl Iterator<Item = Result<Letter>> + Send> {
        let entries = Self::entries(path)?;
        Ok(entries.filter_map(|entry| match entry {
            Ok(Entry::Intent { letter, .. }) => Some(Ok(*letter)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    fn write(&mut self, entries: &[Entry]) -> Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        // What an earlier write left half done is overwritten.
        let written = self
            .file
            .set_len(self.end)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.end)))
            .and_then(|_| self.file.write_all(&lines))
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| failed("written", &self.path, &error))?;
        self.end += lines.len() as u64;
        Ok(())
    }
}

impl Journal for FileJournal {
    fn append<'a>(&'a mut self, entries: &'a [Entry]) -> BoxFuture<'a, Result<()>> {
        // A few milliseconds, and everybody waits for them in any case.
        Box::pin(std::future::ready(self.write(entries)))
    }
}

fn lock(file: &File, path: &Path) -> Result<()> {
    file.try_lock()
        .map_err(|_| Error::transient(format!("journal {} is in use", path.display())))
}

/// The entries of a file, up to where it is whole.
struct FileEntries<R> {
    reader: BufReader<R>,
    path: PathBuf,
    number: usize,
    end: u64,
    line: Vec<u8>,
}

impl<R: Read> FileEntries<R> {
    fn new(file: R, path: &Path) -> Self {
        Self {
            reader: BufReader::new(file),
            path: path.to_owned(),
            number: 0,
            end: 0,
            line: Vec::new(),
        }
    }
}

impl<R: Read> Iterator for FileEntries<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line.clear();
        let length = match self.reader.read_until(b'\n', &mut self.line) {
            Ok(length) => length,
            Err(error) => return Some(Err(failed("read", &self.path, &error))),
        };
        if self.line.last() != Some(&b'\n') {
            return None;
        }
        self.number += 1;
        self.end += length as u64;
        let entry = serde_json::from_slice(&self.line);
        Some(entry.map_err(|error| {
            let (path, number) = (self.path.display(), self.number);
            Error::malformed(format!("journal {path}, line {number}: {error}"))
        }))
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::transient(format!(
        "journal {} cannot be {what}: {error}",
        path.display()
    ))
}
