use proptest::prelude::*;

use super::*;

const BOUNDS: Autoscale = Autoscale { min: 2, max: 20 };
const COOL: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_secs(60);

fn load(replicas: u32, in_use: u32, queued: u32) -> Load {
    Load { replicas, in_use, queued, ahead: 0, ended: 0 }
}

/// Lets the same need last for some time, at two looks a second, and tells each change.
fn last(scaler: &mut Scaler, now: &mut Instant, seconds: u64, load: Load) -> Vec<(u64, u32)> {
    let (start, mut replicas, mut changes) = (*now, load.replicas, Vec::new());
    while *now - start < Duration::from_secs(seconds) {
        let wanted = scaler.wanted(*now, Load { replicas, ..load });
        if wanted != replicas {
            changes.push(((*now - start).as_secs(), wanted));
            replicas = wanted;
        }
        *now += Duration::from_millis(500);
    }
    changes
}

#[test]
fn a_burst_is_met_at_once_and_let_go_of_after_five_minutes_in_steps() {
    let (mut scaler, mut now) = (Scaler::new(BOUNDS, COOL), Instant::now());
    assert_eq!(last(&mut scaler, &mut now, 600, load(2, 0, 0)), []);
    assert_eq!(last(&mut scaler, &mut now, 1, load(2, 2, 8)), [(0, 11)]);
    assert_eq!(last(&mut scaler, &mut now, 60, load(11, 10, 0)), []);
    let changes = last(&mut scaler, &mut now, 900, load(11, 0, 0));
    assert_eq!(changes, [(300, 6), (360, 4), (420, 3), (480, 2)]);
}

#[test]
fn who_wants_to_pay_for_less_time_lets_go_sooner() {
    let (mut scaler, mut now) = (Scaler::new(BOUNDS, COOL / 10), Instant::now());
    assert_eq!(last(&mut scaler, &mut now, 1, load(2, 2, 8)), [(0, 11)]);
    let changes = last(&mut scaler, &mut now, 90, load(11, 0, 0));
    assert_eq!(changes, [(30, 6), (36, 4), (42, 3), (48, 2)]);
}

#[test]
fn one_idle_worker_is_kept_before_anybody_waits() {
    let (mut scaler, mut now) = (Scaler::new(BOUNDS, COOL), Instant::now());
    assert_eq!(last(&mut scaler, &mut now, 1, load(5, 5, 0)), [(0, 6)]);
    assert_eq!(last(&mut scaler, &mut now, 10, load(6, 5, 0)), []);
}

#[test]
fn quick_jobs_get_spare_workers_for_those_that_are_being_replaced() {
    let (mut scaler, mut now) = (Scaler::new(BOUNDS, COOL), Instant::now());
    let mut replicas = 4;
    // Three jobs end in each second; each worker is away for two.
    for second in 0..60 {
        let ended = second * 3;
        replicas = scaler.wanted(now, Load { ended, ..load(replicas, 2, 0) });
        now += Duration::from_secs(1);
    }
    assert_eq!(replicas, 2 + 6);
}

#[test]
fn workers_of_later_steps_are_there_before_the_jobs_get_to_them() {
    let mut scaler = Scaler::new(BOUNDS, COOL);
    let wanted = scaler.wanted(Instant::now(), Load { ahead: 7, ..load(3, 2, 0) });
    assert_eq!(wanted, 8);
}

#[test]
fn after_a_start_nothing_is_taken_away_for_five_minutes() {
    let (mut scaler, mut now) = (Scaler::new(BOUNDS, COOL), Instant::now());
    assert_eq!(last(&mut scaler, &mut now, 299, load(12, 0, 0)), []);
    assert_eq!(last(&mut scaler, &mut now, 3, load(12, 0, 0)), [(1, 7)]);
}

#[test]
fn replicas_that_a_person_added_stay_for_five_minutes() {
    let (mut scaler, mut now) = (Scaler::new(BOUNDS, COOL), Instant::now());
    assert_eq!(last(&mut scaler, &mut now, 600, load(2, 0, 0)), []);
    let changes = last(&mut scaler, &mut now, 330, load(10, 0, 0));
    assert_eq!(changes, [(300, 6)]);
}

#[test]
fn bounds_that_became_narrower_let_busy_workers_finish() {
    let mut scaler = Scaler::new(Autoscale { min: 1, max: 4 }, COOL);
    let start = Instant::now();
    assert_eq!(scaler.wanted(start, load(10, 9, 0)), 9);
    assert_eq!(scaler.wanted(start + STEP, load(9, 3, 0)), 6);
    assert_eq!(scaler.wanted(start + STEP * 2, load(6, 3, 0)), 5);
    assert_eq!(scaler.wanted(start + STEP * 3, load(5, 3, 0)), 4);
}

/// One look: how much later it is, in milliseconds, and what is going on.
fn look() -> impl Strategy<Value = (u64, u32, u32, u32, u64, Option<u32>)> {
    let pause = prop_oneof![4 => 200..5_000_u64, 1 => 5_000..200_000_u64];
    let by_hand = prop_oneof![9 => Just(None), 1 => (0..30_u32).prop_map(Some)];
    (pause, 0..30_u32, 0..10_u32, 0..30_u32, 0..20_u64, by_hand)
}

proptest! {
    #[test]
    fn no_demand_makes_it_flap_leave_its_bounds_or_stop_busy_workers(
        min in 1..10_u32,
        more in 0..20_u32,
        looks in proptest::collection::vec(look(), 1..400),
    ) {
        let bounds = Autoscale { min, max: min + more };
        let mut scaler = Scaler::new(bounds, COOL);
        let (mut now, mut replicas, mut ended) = (Instant::now(), 0, 0);
        let mut went_up: Option<Instant> = None;
        let mut went_down: Option<Instant> = None;
        let mut needs: Vec<(Instant, u32)> = Vec::new();
        for (pause, in_use, queued, ahead, ends, by_hand) in looks {
            now += Duration::from_millis(pause);
            ended += ends;
            if let Some(by_hand) = by_hand {
                if by_hand > replicas {
                    went_up = Some(now);
                }
                replicas = by_hand;
            }
            let in_use = in_use.min(replicas);
            let load = Load { replicas, in_use, queued, ahead, ended };
            let wanted = scaler.wanted(now, load);
            let need = (in_use + queued).max(ahead) + 1;
            needs.push((now, need));
            prop_assert!(wanted >= bounds.min);
            prop_assert!(wanted <= bounds.max.max(replicas), "above its bounds, not because of us");
            prop_assert!(wanted >= need.min(bounds.max), "somebody has to wait");
            prop_assert!(wanted >= in_use, "a busy worker is taken away");
            if wanted > replicas {
                went_up = Some(now);
            }
            if wanted < replicas {
                let recent = needs.iter().filter(|(at, _)| now - *at <= COOL);
                let peak = recent.map(|(_, need)| *need).max().unwrap();
                prop_assert!(wanted >= peak.min(bounds.max), "it was needed a moment ago");
                if replicas <= bounds.max {
                    prop_assert!(went_up.is_none_or(|at| now - at > COOL), "it flaps");
                }
                prop_assert!(went_down.is_none_or(|at| now - at >= STEP), "too many at once");
                went_down = Some(now);
            }
            replicas = wanted;
        }
    }

    #[test]
    fn a_need_that_stays_is_met_exactly_in_the_end(
        in_use in 0..30_u32,
        replicas in 0..=BOUNDS.max,
    ) {
        let mut scaler = Scaler::new(BOUNDS, COOL);
        let mut now = Instant::now();
        let need = (in_use + 1).clamp(BOUNDS.min, BOUNDS.max);
        let mut replicas = replicas;
        for _ in 0..1200 {
            let in_use = in_use.min(replicas);
            replicas = scaler.wanted(now, Load { queued: 0, ..load(replicas, in_use, 0) });
            now += Duration::from_secs(1);
        }
        prop_assert_eq!(replicas, need);
    }
}
