//! The images that the product's own are built from, made without any registry: Debian by
//! debootstrap, the programs and the Claude Code CLI as they are on this machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::{binaries, claude_cli, variable};

use crate::engine::Engine;
use crate::network::command;

pub(crate) const BASE: &str = "oneshift-test-base";
pub(crate) const BINARIES: &str = "oneshift-test-binaries";
pub(crate) const CLAUDE: &str = "oneshift-test-claude";

/// The services' programs.
const PROGRAMS: [&str; 5] = ["gateway", "workflow", "git-pull", "claude-exec", "operator"];

/// Gives an engine all that the images are built from.
pub(crate) fn provide(engine: &Engine, folder: &Path) {
    import(engine, BASE, File::open(debian()).expect("the base is made"));
    let out = folder.join("programs/out");
    fs::create_dir_all(&out).expect("there is room for the programs");
    for program in PROGRAMS {
        let (from, to) = (binaries().join(program), out.join(program));
        // Debug information is most of a program, and every image would carry it.
        command("strip", &["-o", &to.display().to_string(), &from.display().to_string()]);
    }
    import_folder(engine, BINARIES, &folder.join("programs"));
    let out = folder.join("claude/out");
    fs::create_dir_all(&out).expect("there is room for the agent");
    let claude = claude_cli().expect("the tests' machine can install the Claude Code CLI");
    fs::copy(claude, out.join("claude")).expect("the agent's program can be copied");
    import_folder(engine, CLAUDE, &folder.join("claude"));
}

/// What the slim images of Debian tell dpkg too: to leave documents out, and not to wait for disks.
const DPKG: &str = "force-unsafe-io
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
";

/// A minimal Debian as a tar file in the user's cache, made once.
fn debian() -> PathBuf {
    let home = variable("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let cache = home.join(".cache/oneshift");
    let tar = cache.join("debian-bookworm-slim.tar");
    if tar.is_file() {
        return tar;
    }
    fs::create_dir_all(&cache).expect("the cache folder can be made");
    let root = tempfile::tempdir().expect("there is room for a Debian");
    let path = root.path().display().to_string();
    command("debootstrap", &["--variant=minbase", "bookworm", &path]);
    let dpkg = root.path().join("etc/dpkg/dpkg.cfg.d/docker");
    fs::write(dpkg, DPKG).expect("a Debian has dpkg");
    for folder in ["usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt"] {
        command("find", &[&format!("{path}/{folder}"), "-type", "f", "-delete"]);
    }
    let unfinished = cache.join(format!("debian-bookworm-slim.{}.tar", std::process::id()));
    let name = unfinished.display().to_string();
    command("tar", &["--one-file-system", "-C", &path, "-cf", &name, "."]);
    fs::rename(&unfinished, &tar).expect("a file can be renamed");
    tar
}

fn import_folder(engine: &Engine, name: &str, folder: &Path) {
    let mut tar = Command::new("tar");
    let tar = tar.arg("-C").arg(folder).args(["-c", "out"]).stdout(Stdio::piped()).spawn();
    let mut tar = tar.expect("tar runs");
    let stream = tar.stdout.take().expect("it is piped");
    import(engine, name, stream);
    assert!(tar.wait().expect("tar ends").success(), "tar packs {name}");
}

fn import(engine: &Engine, name: &str, tar: impl Into<Stdio>) {
    let import = Command::new("docker")
        .env("DOCKER_HOST", engine.host())
        .args(["import", "-", name])
        .stdin(tar)
        .output()
        .expect("docker runs");
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

/// Gives another engine the images that one has.
pub(crate) fn copy(from: &Engine, to: &Engine, images: &[String]) {
    let mut save = Command::new("docker");
    save.env("DOCKER_HOST", from.host()).arg("save").args(images).stdout(Stdio::piped());
    let mut save = save.spawn().expect("docker runs");
    let stream = save.stdout.take().expect("it is piped");
    let load = Command::new("docker")
        .env("DOCKER_HOST", to.host())
        .arg("load")
        .stdin(stream)
        .output()
        .expect("docker runs");
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    assert!(save.wait().expect("docker ends").success(), "docker saves the images");
}
