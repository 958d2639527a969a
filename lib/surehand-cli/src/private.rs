//! Files and folders that only their owner may read, however wide the rights were before.
//!
//! Nothing is written through a link: a folder that others could once write to may hold links of theirs.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::Path,
};

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Creates the folder in an existing one, or takes the rights of others from it. Fails if it is a link, or another
/// user's.
pub(crate) fn folder(path: &Path) -> Result<()> {
    let cannot_create = || format!("cannot create {}", path.display());
    match DirBuilder::new().mode(FOLDER).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(cannot_create),
    }
    let metadata = fs::symlink_metadata(path).with_context(cannot_create)?;
    if !metadata.is_dir() {
        bail!("{}: it is not a folder", cannot_create());
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        bail!(
            "{} belongs to another user (uid {}): take it over with chown, or remove it",
            path.display(),
            metadata.uid()
        );
    }
    if metadata.permissions().mode() & 0o777 != FOLDER {
        fs::set_permissions(path, Permissions::from_mode(FOLDER))
            .with_context(|| format!("cannot change who may read {}", path.display()))?;
    }
    Ok(())
}

/// Creates the file, or empties it. One that is a link or another user's is replaced.
pub(crate) fn create(path: &Path) -> Result<File> {
    open(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Writes the file, as [`create`] does.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    create(path)?
        .write_all(contents.as_ref())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn open(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
            if !metadata.is_file() || metadata.nlink() > 1 || !is_own {
                fs::remove_file(path)?;
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE)
        .custom_flags(no_follow)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_with_wider_rights_loses_them() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_link_is_no_folder() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        symlink("/", &path).unwrap();
        let error = folder(&path).unwrap_err().to_string();
        assert!(error.ends_with(": it is not a folder"), "{error}");
    }

    #[test]
    fn a_file_is_not_written_through_a_link() {
        let place = tempfile::tempdir().unwrap();
        let (path, other) = (place.path().join("log"), place.path().join("mine"));
        fs::write(&other, "mine").unwrap();
        for plant in [
            |from: &Path, to: &Path| symlink(from, to),
            |from: &Path, to: &Path| fs::hard_link(from, to),
        ] {
            plant(&other, &path).unwrap();
            write(&path, "secret").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
            assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
            assert_eq!(mode(&path), 0o600);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_file_that_others_could_read_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        fs::write(&path, "a longer text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        write(&path, "short").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(mode(&path), 0o600);
    }
}
