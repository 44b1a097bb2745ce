//! A job that says more than anybody can keep.

use end_to_end::{Ended, Setup};

use crate::gateway::memory;
use crate::scene::Scene;
use crate::{alone, size};

/// How much the gateway keeps of it, in bytes; as usual in a full run.
fn kept() -> usize {
    size(4, 256) * 1024 * 1024
}

#[tokio::test]
async fn a_job_that_says_a_gigabyte_is_cut_short_and_has_its_outcome_and_its_patch() {
    let _alone = alone().await;
    let megabytes = size(40, 1_000);
    let kept = kept();
    let setup = Setup::new().env("ONESHIFT_MAX_EVENT_BYTES", kept.to_string());
    let scene = Scene::of(setup).await;
    let prompt = format!(
        "echo begins; head -c {megabytes}000000 /dev/zero | tr '\\0' x | fold -w 999
         echo ends; echo b > b.txt"
    );
    let running = scene.waiting().await;
    let events = scene.stack.submit(&scene.request(&prompt)).await;
    let ended = Ended::of(events.rest().await);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.notices(), ["truncated"]);
    let said = ended.output("execute", "stdout");
    assert!(said.starts_with("begins\nxxx") && !said.contains("ends"));
    assert!((kept / 2..kept).contains(&said.len()), "{} of {kept} bytes", said.len());
    let steps = ended.events("step");
    let step = |it: &serde_json::Value| format!("{} {}", it["step"], it["state"]).replace('"', "");
    let steps: Vec<_> = steps.iter().map(step).collect();
    for step in ["pull", "execute", "deliver"] {
        assert!(steps.contains(&format!("{step} completed")), "{step}: {steps:?}");
    }
    assert!(scene.stack.patch(&ended.job).await.contains("+b\n"));
    assert!(scene.ended(&ended.job).await.frames == ended.frames, "it is stored as it was shown");
    scene.serves(running).await;
    let memory = memory(scene.gateway());
    assert!(memory < 200, "{memory} MiB");
}
