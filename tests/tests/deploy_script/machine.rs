//! A machine to deploy on, and what the script does there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::variable;
use tempfile::TempDir;

/// What a checkout has, as far as the script is concerned.
const FILES: [&str; 10] = [
    "deploy-swarm.sh",
    "docker",
    "swarm.yml",
    "swarm.small.yml",
    "swarm.nfs.yml",
    "swarm.host-ports.yml",
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "docs",
];

/// How many seconds a run may take. It takes one, but not on a machine that has much else to do.
const PATIENCE: &str = "300";

/// The services, in the order in which their images are built.
pub(crate) const SERVICES: [&str; 6] =
    ["gateway", "workflow", "git-pull", "claude-exec", "operator", "docker-proxy"];

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A machine with an engine and no swarm, a checkout without settings, and a caller in another folder.
pub(crate) struct Machine {
    folder: TempDir,
    path: String,
    exported: Vec<(String, String)>,
    /// What is before all other settings.
    given: String,
}

/// What became of one run of the script.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    /// What it prints for programs.
    pub(crate) printed: String,
    /// What it says to people.
    pub(crate) said: String,
    /// What it asked of docker, a command a line.
    pub(crate) calls: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkout = folder.path().join("checkout");
        for made in
            [&checkout.join("crates"), &folder.path().join("docker"), &folder.path().join("caller")]
        {
            fs::create_dir_all(made).unwrap();
        }
        for file in FILES {
            symlink(root().join(file), checkout.join(file)).unwrap();
        }
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy_script/fake");
        let path = format!("{}:{}", fake.display(), variable("PATH").unwrap().display());
        let machine = Self { folder, path, exported: Vec::new(), given: String::new() };
        machine.write("docker/addresses", "10.0.0.5\n");
        machine
    }

    /// One on which everything is deployed, of images that are given, with no other settings but these;
    /// and its token.
    pub(crate) fn deployed(settings: &str) -> (Self, String) {
        let mut machine = Self::new();
        for service in SERVICES {
            let variable = service.to_uppercase().replace('-', "_");
            machine.given.push_str(&format!("ONESHIFT_IMAGE_{variable}=a-{service}@sha256:1\n"));
        }
        machine.settings(settings);
        let run = machine.must(&[]);
        (machine, run.printed.trim().to_owned())
    }

    /// Exports a variable of the caller's.
    pub(crate) fn export(&mut self, name: &str, value: &str) {
        self.exported.push((name.to_owned(), value.to_owned()));
    }

    /// Leaves a program out of the caller's PATH.
    pub(crate) fn without(&mut self, program: &str) {
        let programs = self.folder.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for folder in std::env::split_paths(&self.path.clone()) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name() != *program {
                    // The first on the PATH counts, as ever.
                    let _ = symlink(entry.path(), programs.join(entry.file_name()));
                }
            }
        }
        self.path = programs.display().to_string();
    }

    /// Writes `.env` beside the script.
    pub(crate) fn settings(&self, text: &str) {
        self.write("checkout/.env", &format!("{}{text}", self.given));
    }

    /// Writes a file, in the folders `caller` (where the script is called), `checkout` (where it is)
    /// or `docker` (the state of the engine).
    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path_of(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The text of a file, empty if there is none.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path_of(file)).unwrap_or_default()
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path_of(file)).unwrap();
    }

    /// Lets something happen before a call of docker, such as `service update 2`, the second one of the
    /// next run: shell, for the tests' docker.
    pub(crate) fn before(&self, call: &str, shell: &str) {
        self.write(&format!("docker/before {call}"), shell);
    }

    /// Runs the script without a terminal.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let called = self.path_of("checkout/deploy-swarm.sh");
        let mut script = self.command("timeout");
        self.finish(script.arg(PATIENCE).arg(called).args(arguments))
    }

    /// Runs the script at a terminal where somebody types.
    pub(crate) fn run_typing(&self, arguments: &str, answer: &str) -> Run {
        let mut script = self.command("sh");
        let called = self.path_of("checkout/deploy-swarm.sh").display().to_string();
        let inner = format!("'{called}' {arguments} 2>said");
        let typed = format!("script --quiet --return --command \"{inner}\" /dev/null");
        let line = format!("echo '{answer}' | timeout --foreground {PATIENCE} {typed}");
        let mut run = self.finish(script.args(["-c", &line]));
        run.said = self.read("caller/said");
        run
    }

    /// Runs the script, which must succeed.
    pub(crate) fn must(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.said);
        run
    }

    /// Runs the script, which must fail and say this.
    pub(crate) fn must_fail(&self, arguments: &[&str], words: &str) -> Run {
        let run = self.run(arguments);
        assert_ne!(run.code, 0, "{arguments:?}: {}", run.said);
        assert!(run.said.contains(words), "{arguments:?} says {:?}, not {words:?}", run.said);
        run
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.folder.path())
            .env("FAKE_DOCKER", self.path_of("docker"))
            .envs(self.exported.iter().cloned())
            .current_dir(self.path_of("caller"))
            .stdin(Stdio::null());
        command
    }

    fn finish(&self, command: &mut Command) -> Run {
        let _ = fs::remove_file(self.path_of("docker/calls"));
        let output = command.output().unwrap();
        self.forget_hooks();
        let unknown = self.read("docker/unknown");
        assert!(unknown.is_empty(), "the tests' docker does not know {unknown}");
        Run {
            code: output.status.code().unwrap(),
            printed: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
            calls: self.read("docker/calls"),
        }
    }

    fn forget_hooks(&self) {
        for entry in fs::read_dir(self.path_of("docker")).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("before ") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        let _ = fs::remove_dir_all(self.path_of("docker/counts"));
    }

    /// What a service is, by the lines of the tests' docker.
    pub(crate) fn spec(&self, service: &str) -> String {
        self.read(&format!("docker/services/oneshift_{service}/spec"))
    }

    /// What is after a word in a service's specification, such as `image`.
    pub(crate) fn of(&self, service: &str, word: &str) -> String {
        let spec = self.spec(service);
        let found = spec.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        found.unwrap_or_default().to_owned()
    }

    /// What a secret's file has in a service.
    pub(crate) fn secret(&self, service: &str, file: &str) -> String {
        let name = self.of(service, &format!("secret {file}"));
        self.read(&format!("docker/secrets/{name}"))
    }

    /// How many versions of a secret there are.
    pub(crate) fn versions(&self, name: &str) -> usize {
        let prefix = format!("oneshift_{name}_2");
        let files = fs::read_dir(self.path_of("docker/secrets")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|file| file.starts_with(&prefix) && !file.ends_with(".labels")).count()
    }
}

impl Run {
    /// Whether it asked this of docker.
    pub(crate) fn called(&self, command: &str) -> bool {
        self.calls.lines().any(|line| line.starts_with(&format!("docker {command}")))
    }

    /// Whether it changed nothing.
    pub(crate) fn changed_nothing(&self) -> bool {
        let changes = [
            "swarm init",
            "secret create",
            "secret rm",
            "stack deploy",
            "stack rm",
            "node update",
            "service rollback",
            "volume rm",
            "build",
            "push",
            "pull",
        ];
        !changes.iter().any(|change| self.called(change))
    }
}
