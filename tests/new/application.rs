//! An application as `surehand new` makes it, in the folder for tests of `target`.

use serde_json::{Value, json};
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use surehand_test_support::{
    cargo,
    run::{Place, surehand},
};

/// It is removed with the next one.
pub(crate) struct Application {
    folder: PathBuf,
    /// Held until the test has ended, because another process may be testing the same checkout.
    _lock: File,
}

impl Application {
    pub(crate) fn make(name: &str, options: &[&str]) -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
        fs::create_dir_all(&parent).unwrap();
        let lock = File::create(parent.join("lock")).unwrap();
        lock.lock().unwrap();
        let folder = parent.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        let mut new = Command::new(surehand());
        new.current_dir(&parent).args(["new", name]);
        new.args(options)
            .arg("--surehand-path")
            .arg(cargo::workspace().join("lib/surehand"));
        let said = cargo::output_of(&mut new);
        assert!(said.starts_with(&format!("made {name}\n")), "{said}");
        let application = Self {
            folder,
            _lock: lock,
        };
        application.share_what_is_there();
        application
    }

    /// Its dependencies and tools would take minutes to compile and install once more, as they do for
    /// its owner.
    ///
    /// Cargo compiles a dependency once more if its features differ. So the workspace gets a member
    /// that wants what this workspace wants, together with its versions. That it depends on packages
    /// without a library makes cargo warn, and compile nothing.
    fn share_what_is_there(&self) {
        let workspace = cargo::workspace();
        let package = |folder: &str| workspace.join(folder).to_str().unwrap().to_owned();
        let (command, tests) = (package("lib/surehand-cli"), package("tests"));
        self.write(
            "unify/Cargo.toml",
            &format!(
                "[package]\nname = \"unify\"\nedition = \"2024\"\n\n[dependencies]\n\
                 surehand-cli = {{ path = {} }}\nsurehand-tests = {{ path = {} }}\n",
                json!(command),
                json!(tests)
            ),
        );
        self.write("unify/src/lib.rs", "//! Nothing but dependencies.\n");
        let manifest = self.text("Cargo.toml");
        let members = "members = [\"handlers\"]";
        assert_eq!(manifest.matches(members).count(), 1);
        let more = "members = [\"handlers\", \"unify\"]";
        self.write("Cargo.toml", &manifest.replace(members, more));
        fs::copy(workspace.join("Cargo.lock"), self.folder.join("Cargo.lock")).unwrap();
        // Also what only other platforms need, which no build downloads and cargo's metadata wants.
        cargo::output_of(
            cargo::cargo()
                .args(["fetch", "--quiet", "--locked"])
                .current_dir(workspace),
        );
        // Makes the lock file fit these packages, which the command's builds refuse to do.
        cargo::output_of(self.cargo().args(["metadata", "--format-version=1"]));

        let state = self.folder.join(".surehand");
        fs::create_dir(&state).unwrap();
        symlink(cargo::tools(), state.join("venv")).unwrap();
    }

    /// Where its commands run: they build where this test was built.
    pub(crate) fn place(&self) -> Place {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        Place {
            folder: self.folder.clone(),
            variables: vec![
                ("CARGO_TARGET_DIR", target.to_owned()),
                // All its dependencies have been downloaded for this workspace.
                ("CARGO_NET_OFFLINE", "true".into()),
            ],
        }
    }

    pub(crate) fn text(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn cargo(&self) -> Command {
        let cargo = cargo::cargo();
        self.place().command(Path::new(cargo.get_program()))
    }

    pub(crate) fn is_formatted(&self) {
        cargo::output_of(self.cargo().args(["fmt", "--check"]));
    }

    pub(crate) fn passes_its_tests(&self) {
        let said = cargo::output_of(self.cargo().arg("test"));
        let test = "test users_are_welcomed_and_those_without_a_name_are_parked ... ok";
        assert!(said.contains(test), "{said}");
    }

    /// Checks that there is no error, warning or hint. For that every function is built, and
    /// describes itself.
    pub(crate) fn passes_the_check(&self) {
        let mut check = self.place().command(surehand());
        let found = cargo::output_of(check.args(["check", "--json"]));
        let checked: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(checked["findings"], json!([]));
        // Half an hour of an outage.
        let outages = &checked["outages"];
        assert_eq!(outages[0]["function"], "WelcomeUser");
        assert!(
            outages[0]["outage_s"].as_u64() >= Some(30 * 60),
            "{outages}"
        );
    }

    /// With the rules of the linter.
    pub(crate) fn is_valid(&self) {
        let mut sam = self.place().command(cargo::tools().join("bin/sam"));
        sam.args(["validate", "--lint", "--region", "us-east-1"])
            .env("SAM_CLI_TELEMETRY", "0");
        let said = cargo::output_of(&mut sam);
        assert!(said.contains("is a valid SAM Template"), "{said}");
    }
}
