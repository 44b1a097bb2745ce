//! What is tried, in this order.

mod deaths;
mod nodes;
mod one_node;
mod scaling;
mod turnaround;
mod updates;

use crate::cluster::Cluster;

/// What is done with the cluster; panics when it does not come out as promised.
pub(crate) type Scenario = fn(&mut Cluster);

/// All scenarios by name. The later ones add nodes.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("ten_curls_of_one_repository_complete_each_in_fresh_containers", one_node::ten_curls),
    ("the_real_agent_works_in_its_container", one_node::real_agent),
    ("an_agents_container_gives_it_no_rights", one_node::no_rights),
    ("images_are_small_and_say_what_they_are", one_node::images_are_small),
    ("a_worker_is_replaced_as_fast_as_an_empty_container", turnaround::beside_an_empty_container),
    ("many_jobs_at_once_all_complete", turnaround::throughput),
    ("restarts_after_jobs_and_after_crashes_are_counted_apart", scaling::restarts),
    ("replicas_come_and_go_by_order", scaling::by_order),
    ("replicas_come_and_go_with_a_burst", scaling::by_demand),
    ("killed_containers_and_a_killed_engine_lose_and_double_no_job", deaths::under_load),
    ("fifty_workers_that_end_at_once_refuse_no_job", deaths::restart_storm),
    ("a_rolling_update_refuses_nobody_and_loses_no_job", updates::rolling_update),
    ("services_updated_in_turn_refuse_nobody_and_lose_no_job", updates::in_turn),
    ("a_changed_credential_is_what_the_next_jobs_use", updates::changed_credential),
    ("a_bad_image_is_taken_back", updates::bad_image),
    ("the_clusters_token_changes_without_a_gap", updates::rotated_token),
    ("the_steps_of_a_job_stay_on_its_node", nodes::stay_together),
    ("a_drained_node_finishes_its_jobs_first", nodes::drained),
    ("any_node_takes_any_step_on_shared_storage", nodes::on_shared_storage),
    ("nodes_that_are_lost_lose_only_their_own_jobs", nodes::lost),
    ("buildkit_makes_the_same_images", one_node::buildkit),
];
