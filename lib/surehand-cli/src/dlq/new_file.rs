//! A file that is only there if it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Removed when it is dropped without [`NewFile::keep`]: a command that failed or was interrupted can be repeated.
pub(super) struct NewFile {
    path: PathBuf,
    pub(super) writer: BufWriter<File>,
    is_kept: bool,
}

impl NewFile {
    /// A file that was not there before, and that only its owner reads: letters hold what customers wrote.
    pub(super) fn create(path: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match file {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                writer: BufWriter::new(file),
                is_kept: false,
            }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!(
                    "{} already exists: name a file that does not",
                    path.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }

    /// Returns when it is on the disk.
    pub(super) fn keep(mut self) -> Result<()> {
        use std::io::Write as _;
        self.writer
            .flush()
            .and_then(|()| self.writer.get_ref().sync_all())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        drop(NewFile::create(&path).unwrap());
        assert!(!path.exists());
        NewFile::create(&path).unwrap().keep().unwrap();
        assert!(path.exists());
        let error = NewFile::create(&path).err().unwrap().to_string();
        assert!(error.contains("already exists"), "{error}");
        assert!(path.exists(), "it is somebody else's");
    }
}
