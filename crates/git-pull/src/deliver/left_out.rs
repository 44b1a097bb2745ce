//! What a delivery leaves out, and says so.

use crate::progress::{Progress, first_few};

/// Paths that are not part of the tree although they are in the checkout and not ignored.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    special: Paths,
    repositories: Paths,
    unreadable: Paths,
    too_deep: Paths,
}

/// The first few paths, and how many there were.
#[derive(Debug, Default)]
struct Paths {
    count: usize,
    first: Vec<String>,
}

/// As many as are named, and one more.
const KEPT: usize = 6;

impl LeftOut {
    pub(crate) fn special(&mut self, path: &[u8]) {
        self.special.add(path);
    }

    pub(crate) fn repository(&mut self, path: &[u8]) {
        self.repositories.add(path);
    }

    pub(crate) fn unreadable(&mut self, path: &[u8]) {
        self.unreadable.add(path);
    }

    pub(crate) fn too_deep(&mut self, path: &[u8]) {
        self.too_deep.add(path);
    }

    /// Tells about everything that was left out.
    pub(crate) fn tell(&self, progress: &Progress) {
        let all = [
            (&self.special, "special_files_left", "pipes, sockets and devices are left out"),
            (&self.repositories, "repositories_left", "git repositories inside it are left out"),
            (&self.unreadable, "unreadable_files_left", "what may not be read is left as it was"),
            (&self.too_deep, "deep_folders_left", "folders too deep are left as they were"),
        ];
        for (paths, code, words) in all {
            if paths.count > 0 {
                let message = format!("{words} ({}): {}", paths.count, first_few(&paths.first));
                progress.notice(code, message);
            }
        }
    }
}

impl Paths {
    fn add(&mut self, path: &[u8]) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(String::from_utf8_lossy(path).into_owned());
        }
    }
}
