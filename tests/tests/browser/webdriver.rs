//! A headless Chromium, driven over HTTP by chromedriver, as
//! <https://www.w3.org/TR/webdriver2/> says.

use end_to_end::{Launch, Process, http, kernel, tool};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// No window, no sandbox (containers have none to offer), and nobody is called up but the gateway.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A browser with one page, until it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Process,
    session: String,
    _folder: TempDir,
}

impl Browser {
    /// `None`, which is said aloud, if the machine has no Chromium.
    pub(crate) async fn start() -> Option<Self> {
        let (chromium, chromedriver) = (tool("chromium")?, tool("chromedriver")?);
        let folder = tempfile::tempdir().unwrap();
        // Where Chromium leaves things behind when it is killed.
        let driver =
            Launch::program(&chromedriver).env("TMPDIR", folder.path()).args(["--port=0"]).start();
        let line = driver.line("started successfully on port").await;
        let port = line.rsplit(' ').next().unwrap().trim_end_matches('.');
        let url = format!("http://127.0.0.1:{port}/session");
        let profile = folder.path().join("profile");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let options = json!({"binary": chromium, "args": arguments});
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": options});
        let body = json!({"capabilities": {"alwaysMatch": wanted}});
        let session = ask(Method::POST, &url, &body).await;
        let id = session["sessionId"].as_str().unwrap();
        Some(Self { session: format!("{url}/{id}"), driver, _folder: folder })
    }

    /// Opens a page.
    pub(crate) async fn open(&self, url: &str) {
        ask(Method::POST, &format!("{}/url", self.session), &json!({"url": url})).await;
    }

    /// Closes the page; there is none after that.
    pub(crate) async fn close_page(&self) {
        ask(Method::DELETE, &format!("{}/window", self.session), &json!({})).await;
    }

    /// Runs a script in the page; returns what it returns.
    pub(crate) async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let body = json!({"script": script, "args": arguments});
        ask(Method::POST, &format!("{}/execute/sync", self.session), &body).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is in a process group of its own, which would outlive the driver.
        for child in kernel::children_of(self.driver.id()) {
            let id = i32::try_from(child.id).ok().and_then(Pid::from_raw);
            let _ = id.map(|id| kill_process(id, Signal::KILL));
        }
    }
}

async fn ask(method: Method, url: &str, body: &Value) -> Value {
    let request = http::client().request(method, url).body(body.to_string());
    let text = request.send().await.unwrap().text().await.unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    assert!(answer["value"].get("error").is_none(), "{url}: {body}: {answer:#}");
    answer["value"].take()
}
