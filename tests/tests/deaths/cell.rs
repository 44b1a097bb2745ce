//! One cell of the matrix.

use end_to_end::kernel::Seen;
use end_to_end::{Setup, eventually, kernel};
use rustix::process::{Pid, Signal, kill_process};

use crate::aftermath::{Promise, assert_aftermath};
use crate::point::{Blow, Point, Victim};
use crate::scene::Scene;

/// Brings a job to a point, lets somebody die there, and checks what is promised.
pub(crate) async fn cell(victim: Victim, blow: Blow, point: Point, promise: Promise) {
    let mut scene = Scene::start(setup(victim, blow)).await;
    scene.reach(point).await;
    let process = scene.process_of(victim, point).await;
    let mut seen = scene.stack.children();
    seen.extend(scene.stack.at_work());
    strike(&mut scene, (victim, blow), process, &seen).await;
    if point == Point::BeforeAccept {
        scene.stack.at_full_strength().await;
        scene.submit_job().await;
    }
    assert_aftermath(scene, promise, seen).await;
}

fn setup(victim: Victim, blow: Blow) -> Setup {
    let setup = Setup::new();
    let setup = match victim {
        // No worker of an earlier `up` comes back.
        Victim::Supervisor => setup.env("ONESHIFT_REATTACH_SECONDS", "1"),
        // A worker whose workflow is lost waits so long for another reader.
        Victim::Workflow => setup.env("ONESHIFT_READER_WAIT_SECONDS", "1"),
        _ => setup,
    };
    // Those whose supervisor was killed must not take the time that they would have otherwise.
    let is_forsaken = (victim, blow) == (Victim::Supervisor, Blow::Killed);
    let drain = if is_forsaken || blow == Blow::Drained { "100" } else { "0" };
    setup.env("ONESHIFT_DRAIN_SECONDS", drain)
}

/// The victim is told, or made, to end; one that may take its time is not waited for.
async fn strike(scene: &mut Scene, (victim, blow): (Victim, Blow), process: u32, seen: &[Seen]) {
    if victim == Victim::Supervisor {
        return replace_supervisor(scene, blow, seen).await;
    }
    signal(process, blow.signal());
    if matches!(blow, Blow::Killed | Blow::Terminated) {
        let gone = async || (!kernel::is_alive(process)).then_some(());
        eventually("the victim is gone", gone).await;
    }
}

/// `oneshift up` ends and is started again at once, before those that it has left behind have ended.
pub(crate) async fn replace_supervisor(scene: &mut Scene, blow: Blow, seen: &[Seen]) {
    if blow == Blow::Drained {
        signal(scene.stack.supervisor().id(), blow.signal());
        scene.release();
        assert!(scene.stack.supervisor_end().await.success());
    } else {
        scene.stack.end_supervisor(blow.signal()).await;
    }
    if blow != Blow::Killed {
        assert_eq!(kernel::still_there(seen), [], "it has taken everything down with it");
    }
    scene.stack.launch_again();
    scene.stack.supervisor().line("Oneshift is up at").await;
    eventually("the killed supervisor's processes are gone", async || {
        kernel::still_there(seen).is_empty().then_some(())
    })
    .await;
}

/// Sends a signal to a process that is there.
pub(crate) fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A test for each cell of a row: its name, who dies how and when, and what is promised.
macro_rules! cells {
    ($($name:ident: $victim:ident $blow:ident $point:ident => $promise:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            use crate::point::{Blow, Point, Victim};
            crate::cell::cell(Victim::$victim, Blow::$blow, Point::$point, $promise).await;
        }
    )*};
}

pub(crate) use cells;
