//! `surehand check` beside the running application, after each of its deployments.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use console::Style;
use tokio::task::JoinHandle;

use crate::{
    application::project::Project,
    check::{self, Told},
    progress::Progress,
    terminal::{error_width, plain, wrapped},
};

/// The check of the last deployment; dropping it ends it.
pub(super) struct Checks {
    project: Project,
    progress: Progress,
    /// The warnings that were shown. The check of an earlier deployment may still be about to show some.
    warned: Arc<Mutex<BTreeSet<String>>>,
    running: Option<JoinHandle<()>>,
}

impl Checks {
    pub(super) fn new(project: Project, progress: &Progress) -> Self {
        Self {
            project,
            progress: progress.clone(),
            warned: Arc::default(),
            running: None,
        }
    }

    /// Checks what was deployed, of which these are the executables, and shows what is wrong. What is not finished of an
    /// earlier deployment is given up.
    pub(super) fn begin(&mut self, executables: BTreeMap<String, PathBuf>) {
        self.end();
        let (project, progress) = (self.project.clone(), self.progress.clone());
        let warned = Arc::clone(&self.warned);
        self.running = Some(tokio::spawn(async move {
            let rows = match check::beside(project, executables).await {
                Ok(told) => {
                    let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
                    rows(told, &mut warned, error_width())
                }
                Err(error) => vec![plain(&format!("not checked: {error:#}")).into_owned()],
            };
            for row in rows {
                progress.line(&row);
            }
        }));
    }

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is shown: each error, and each warning that was not shown yet.
fn rows(told: Vec<Told>, warned: &mut BTreeSet<String>, width: Option<usize>) -> Vec<String> {
    let is_new = |told: &Told| told.is_error || warned.insert(told.key.clone());
    let told = told.into_iter().filter(is_new);
    told.map(|told| {
        let (word, style) = match told.is_error {
            true => ("error", Style::new().red().bold()),
            false => ("warning", Style::new().yellow().bold()),
        };
        let ours = Style::new().for_stderr();
        let parts = [
            (ours.clone(), format!("{}:", plain(&told.place))),
            (style.for_stderr(), format!("{word}[{}]:", told.rule)),
            (ours.clone(), plain(&told.sentence).into_owned()),
        ];
        let fix = [(ours, told.fix.to_owned())];
        let width = width.unwrap_or(usize::MAX);
        format!(
            "{}\n    {}",
            wrapped(&parts, (0, 4), width),
            wrapped(&fix, (4, 4), width)
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_error: bool, sentence: &str) -> Told {
        Told {
            is_error,
            place: "template.yaml:7".to_owned(),
            rule: "SH101",
            sentence: sentence.to_owned(),
            fix: "give the queue a redrive policy, so that what cannot be handled is kept",
            key: sentence.to_owned(),
        }
    }

    #[test]
    fn errors_are_shown_each_time_and_warnings_once() {
        let mut warned = BTreeSet::new();
        let mut shown = |all: &[(bool, &str)]| {
            let all = all.iter().map(|(is_error, text)| told(*is_error, text));
            let rows = rows(all.collect(), &mut warned, None);
            let rows = rows.iter().map(|it| console::strip_ansi_codes(it));
            rows.map(|it| it.lines().next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let error = "template.yaml:7: error[SH101]: Queue: it loses";
        let warning = "template.yaml:7: warning[SH101]: Queue: it may lose";
        let both = [(true, "Queue: it loses"), (false, "Queue: it may lose")];
        assert_eq!(shown(&both), [error, warning]);
        assert_eq!(shown(&both), [error]);
        assert_eq!(shown(&[]), [""; 0]);
    }

    #[test]
    fn a_finding_is_broken_between_words() {
        let rows = rows(
            vec![told(
                true,
                "OrdersQueue: nothing keeps the messages that its function cannot handle",
            )],
            &mut BTreeSet::new(),
            Some(80),
        );
        assert_eq!(
            console::strip_ansi_codes(&rows[0]),
            "\
template.yaml:7: error[SH101]: OrdersQueue: nothing keeps the messages that its
    function cannot handle
    give the queue a redrive policy, so that what cannot be handled is kept"
        );
    }
}
