//! Notices changed source files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// Editors write a file in several steps, and one command can change many files.
const QUIET: Duration = Duration::from_millis(200);

/// Watches source folders until it is dropped.
pub(crate) struct Watcher {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    changes: UnboundedReceiver<PathBuf>,
}

impl Watcher {
    /// Watches `folders` with everything below them, and the `files` by themselves.
    pub(crate) fn new(folders: &BTreeSet<PathBuf>, files: &BTreeSet<PathBuf>) -> Result<Self> {
        let (sender, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                // The receiver is gone when the command ends.
                drop(sender.send(path));
            }
        })
        .context("cannot watch for changes")?;
        let mut watcher = Self {
            watcher,
            watched: BTreeSet::new(),
            changes,
        };
        watcher.add(folders, files)?;
        Ok(watcher)
    }

    /// Watches these, too.
    pub(crate) fn add(
        &mut self,
        folders: &BTreeSet<PathBuf>,
        files: &BTreeSet<PathBuf>,
    ) -> Result<()> {
        for folder in folders {
            self.watch(folder, RecursiveMode::Recursive)?;
        }
        // Editors replace a file by a new one of its name, which only a watcher of the folder sees.
        for parent in files.iter().filter_map(|file| file.parent()) {
            self.watch(parent, RecursiveMode::NonRecursive)?;
        }
        Ok(())
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) -> Result<()> {
        if self.watched.insert(path.to_owned()) {
            (self.watcher.watch(path, mode))
                .with_context(|| format!("cannot watch {}", path.display()))?;
        }
        Ok(())
    }

    /// Waits for a change, and then until nothing has changed for a moment; returns all changed paths.
    pub(crate) async fn changed(&mut self) -> BTreeSet<PathBuf> {
        let mut paths = BTreeSet::new();
        match self.changes.recv().await {
            Some(path) => paths.insert(path),
            // This cannot happen as long as the watcher lives, because it holds the sender.
            None => return std::future::pending().await,
        };
        while let Ok(Some(path)) = tokio::time::timeout(QUIET, self.changes.recv()).await {
            paths.insert(path);
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_collected() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut watcher = Watcher::new(&BTreeSet::from([root.clone()]), &BTreeSet::new()).unwrap();
        std::fs::write(root.join("a.rs"), "").unwrap();
        std::fs::write(root.join("b.rs"), "").unwrap();
        let changed = watcher.changed().await;
        assert!(changed.contains(&root.join("a.rs")));
        assert!(changed.contains(&root.join("b.rs")));
    }
}
