mod access;
mod content;

use end_to_end::git_server::GitServer;

/// A server with the repository `demo`, and its only commit.
fn server_with_demo() -> (GitServer, String) {
    let server = GitServer::start();
    let mut commit = String::new();
    server.repository("demo", |repository| {
        repository.file("README.md", "hello\n").executable("run.sh", "#!/bin/sh\n");
        repository.symlink("link", "README.md").noise("noise", 200_000);
        commit = repository.commit("first");
    });
    (server, commit)
}
