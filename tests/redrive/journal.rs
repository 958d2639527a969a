//! The journal in a file.

use std::{
    env, fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use surehand_redrive::{Action, Entry, FileJournal, Journal, Ledger, Letter, Progress};

/// A test's own folder, which is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("surehand-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("redrive.journal")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn intent(id: &str) -> Entry {
    let letter = Box::new(Letter::new(id, "{}"));
    let line = serde_json::json!({"step": "intent", "action": "redrive", "letter": letter});
    serde_json::from_value(line).unwrap()
}

fn sent(id: &str) -> Entry {
    let line = serde_json::json!({"step": "sent", "id": id, "message_id": "new"});
    serde_json::from_value(line).unwrap()
}

/// The journal, also while another test begins a process: until that runs its program it has what this
/// one had open, the lock included.
fn reopened(file: &Path) -> (FileJournal, Ledger) {
    for _ in 0..500 {
        match FileJournal::open(file) {
            Err(error) if error.to_string().contains("is in use") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("{} is in use", file.display());
}

#[tokio::test]
async fn a_journal_is_read_up_to_where_it_is_whole() {
    let folder = Folder::new("torn");
    let file = folder.file();
    let mut journal = FileJournal::create(&file).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    journal.append(&[intent("a"), intent("b")]).await.unwrap();
    let whole = fs::read(&file).unwrap().len();
    journal.append(&[sent("a")]).await.unwrap();
    drop(journal);
    let bytes = fs::read(&file).unwrap();
    for end in whole..=bytes.len() {
        fs::write(&file, &bytes[..end]).unwrap();
        let (mut journal, ledger) = reopened(&file);
        let progress = match end == bytes.len() {
            true => Progress::Sent,
            false => Progress::Intended,
        };
        assert_eq!(ledger.progress("a"), Some(progress), "{end}");
        assert_eq!(ledger.progress("b"), Some(Progress::Intended));
        journal.append(&[sent("b")]).await.unwrap();
        drop(journal);
        let entries: Result<Vec<_>, _> = FileJournal::entries(&file).unwrap().collect();
        let entries = entries.unwrap();
        assert_eq!(entries.last(), Some(&sent("b")));
        assert_eq!(entries.len(), if end == bytes.len() { 4 } else { 3 });
        assert_eq!(FileJournal::letters(&file).unwrap().count(), 2);
    }
    // A broken line that is not the last one was not caused by a crash.
    fs::write(
        &file,
        [&bytes[..whole - 3], b"\n", &bytes[whole..]].concat(),
    )
    .unwrap();
    let error = FileJournal::entries(&file).unwrap().find_map(Result::err);
    let error = error.unwrap();
    assert!(error.to_string().contains("line 2"), "{error}");
    let error = FileJournal::create(&file).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    let missing = FileJournal::open(folder.0.join("none")).unwrap_err();
    assert!(
        missing.to_string().contains("cannot be opened"),
        "{missing}"
    );
}

#[test]
fn a_drop_and_an_edit_come_back_as_they_were() {
    let letter = Letter::new("m", "{}");
    for action in [
        Action::Drop,
        Action::Edit {
            body: "{\"a\":1}".into(),
        },
    ] {
        let line = serde_json::json!({"step": "intent", "letter": letter});
        let mut line = line.as_object().unwrap().clone();
        let action_json = serde_json::to_value(&action).unwrap();
        line.extend(action_json.as_object().unwrap().clone());
        let entry: Entry = serde_json::from_value(line.into()).unwrap();
        let again = serde_json::to_string(&entry).unwrap();
        let again: Entry = serde_json::from_str(&again).unwrap();
        assert!(matches!(again, Entry::Intent { action: it, .. } if it == action));
    }
}

const FILE: &str = "SUREHAND_TEST_JOURNAL";

/// Runs this test alone, in a process of its own, with the journal's file.
fn process(test: &str, file: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    let test = format!("redrive::journal::{test}");
    command
        .args(["-c", shell, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(FILE, file);
    command
}

#[test]
fn one_process_at_a_time_has_a_journal() {
    if let Some(file) = env::var_os(FILE) {
        let _journal = FileJournal::create(PathBuf::from(file)).unwrap();
        println!("held");
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let folder = Folder::new("lock");
    let file = folder.file();
    let mut other = process("one_process_at_a_time_has_a_journal", &file, r#"exec "$@""#)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = Vec::new();
    let mut stdout = other.stdout.take().unwrap();
    while !String::from_utf8_lossy(&output).contains("held") {
        let mut some = [0; 64];
        let length = stdout.read(&mut some).unwrap();
        assert!(length > 0, "it ended");
        output.extend(&some[..length]);
    }
    let error = FileJournal::open(&file).unwrap_err();
    assert!(error.to_string().contains("is in use"), "{error}");
    // Reading changes nothing.
    assert_eq!(FileJournal::entries(&file).unwrap().count(), 0);
    other.stdin.take().unwrap().write_all(b"\n").unwrap();
    let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    assert!(other.wait().unwrap().success());
    reopened(&file);
}

/// Checks that every announced line is on the disk, and complete.
#[tokio::test]
async fn a_full_disk_is_an_error_and_spoils_nothing() {
    if let Some(file) = env::var_os(FILE) {
        let file = PathBuf::from(file);
        let mut journal = FileJournal::create(&file).unwrap();
        let mut written = 0;
        let error = loop {
            match journal.append(&[intent(&format!("m-{written}"))]).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("cannot be written"), "{error}");
        assert!(journal.append(&[intent("again")]).await.is_err());
        // A shorter line fits, and replaces the incomplete one.
        while journal.append(&[sent("s")]).await.is_ok() {}
        drop(journal);
        let (_, ledger) = reopened(&file);
        assert!(written > 5, "{written}");
        assert_eq!(ledger.count(Progress::Intended), written);
        return;
    }
    let folder = Folder::new("full");
    let limited = r#"trap '' XFSZ; ulimit -f 4; exec "$@""#;
    let mut process = process(
        "a_full_disk_is_an_error_and_spoils_nothing",
        &folder.file(),
        limited,
    );
    let output = process.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(folder.file().exists(), "the test ran there");
}
