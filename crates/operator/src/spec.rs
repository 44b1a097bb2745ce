//! A service as Docker gave it, and what it is to become: plain JSON, so that nothing of it is lost
//! that this program does not know.
//!
//! Docker remembers only the specification before the latest, and a change of replicas counts as one.
//! So whatever changes a service without changing its version puts the version before it into a
//! label, from which a rollback can still take it.

use serde_json::{Value, json};

use crate::snapshot::STACK_LABEL;

/// The label with the task template of the version before this one, as JSON.
const PREVIOUS_LABEL: &str = "oneshift.previous";

/// A service as Docker gave it.
#[derive(Clone, Debug)]
pub(crate) struct Spec(Value);

/// How to get a service back to the version before.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rollback {
    /// Docker remembers it; the specification is only sent along.
    ByDocker(Value),
    /// This is the specification with that version.
    ByLabel(Value),
}

impl Spec {
    pub(crate) fn new(service: Value) -> Self {
        Self(service)
    }

    /// Whether the service is part of the stack.
    pub(crate) fn is_of(&self, stack: &str) -> bool {
        self.0["Spec"]["Labels"][STACK_LABEL].as_str() == Some(stack)
    }

    /// What Docker wants to hear with a change, so that it does not undo somebody else's.
    pub(crate) fn version(&self) -> u64 {
        self.0["Version"]["Index"].as_u64().unwrap_or_default()
    }

    /// How many replicas are wanted; none for a service that is not made of replicas.
    pub(crate) fn replicas(&self) -> Option<u64> {
        self.0["Spec"]["Mode"]["Replicated"]["Replicas"].as_u64()
    }

    /// Docker's word for how far the latest update is.
    pub(crate) fn update_state(&self) -> &str {
        self.0["UpdateStatus"]["State"].as_str().unwrap_or_default()
    }

    /// The image of a specification, as it was written.
    pub(crate) fn image(spec: &Value) -> &str {
        spec["TaskTemplate"]["ContainerSpec"]["Image"].as_str().unwrap_or_default()
    }

    /// The same with another number of replicas.
    pub(crate) fn scaled(&self, replicas: u32) -> Value {
        let mut spec = self.same_version();
        spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
        spec
    }

    /// The same with all replicas new.
    pub(crate) fn forced(&self) -> Value {
        let mut spec = self.same_version();
        let before = spec["TaskTemplate"]["ForceUpdate"].as_u64().unwrap_or_default();
        spec["TaskTemplate"]["ForceUpdate"] = json!(before + 1);
        spec
    }

    /// The version before this one, if anybody remembers it.
    pub(crate) fn rolled_back(&self) -> Option<Rollback> {
        if self.docker_remembers() {
            return Some(Rollback::ByDocker(self.0["Spec"].clone()));
        }
        let label = self.0["Spec"]["Labels"][PREVIOUS_LABEL].as_str()?;
        let previous: Value = serde_json::from_str(label).ok().filter(Value::is_object)?;
        let mut spec = self.0["Spec"].clone();
        if is_same_version(&spec["TaskTemplate"], &previous) {
            return None;
        }
        spec["TaskTemplate"] = previous;
        if let Some(labels) = spec["Labels"].as_object_mut() {
            labels.remove(PREVIOUS_LABEL);
        }
        Some(Rollback::ByLabel(spec))
    }

    /// The version before, when Docker carries out the rollback.
    pub(crate) fn previous(&self) -> &Value {
        &self.0["PreviousSpec"]
    }

    /// The specification, with a note of the version before if Docker is about to forget it.
    fn same_version(&self) -> Value {
        let mut spec = self.0["Spec"].clone();
        if self.docker_remembers() {
            let previous = self.previous()["TaskTemplate"].to_string();
            spec["Labels"][PREVIOUS_LABEL] = json!(previous);
        }
        spec
    }

    /// Whether what Docker would go back to is another version.
    fn docker_remembers(&self) -> bool {
        let previous = &self.previous()["TaskTemplate"];
        previous.is_object() && !is_same_version(&self.0["Spec"]["TaskTemplate"], previous)
    }
}

/// Whether two task templates differ at most in how often they were forced.
fn is_same_version(one: &Value, other: &Value) -> bool {
    let without_force = |template: &Value| {
        let mut template = template.clone();
        if let Some(template) = template.as_object_mut() {
            template.remove("ForceUpdate");
        }
        template
    };
    without_force(one) == without_force(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::recorded;

    fn spec(name: &str) -> Spec {
        let services: Vec<Value> = recorded("services");
        let full_name = format!("optest_{name}");
        let mut services = services.into_iter();
        Spec::new(services.find(|service| service["Spec"]["Name"] == full_name).unwrap())
    }

    /// The service after such a change, as Docker then shows it.
    fn after(service: &Spec, spec: Value) -> Spec {
        let mut service = service.0.clone();
        service["PreviousSpec"] = std::mem::replace(&mut service["Spec"], spec);
        Spec::new(service)
    }

    fn with_image(service: &Spec, image: &str) -> Value {
        let mut spec = service.0["Spec"].clone();
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!(image);
        spec
    }

    #[test]
    fn scaling_changes_the_replicas_and_nothing_else() {
        let service = spec("flash");
        let mut expected = service.0["Spec"].clone();
        assert_eq!(service.replicas(), Some(3));
        expected["Mode"]["Replicated"]["Replicas"] = json!(7);
        assert_eq!(service.scaled(7), expected);
        assert!(expected["TaskTemplate"]["ContainerSpec"]["Healthcheck"].is_object());
    }

    #[test]
    fn a_forced_update_counts_up_and_changes_nothing_else() {
        let service = spec("flash");
        let mut expected = service.0["Spec"].clone();
        expected["TaskTemplate"]["ForceUpdate"] = json!(1);
        assert_eq!(service.forced(), expected);
        expected["TaskTemplate"]["ForceUpdate"] = json!(2);
        assert_eq!(after(&service, service.forced()).forced(), expected);
    }

    #[test]
    fn docker_itself_goes_back_while_it_remembers_the_version_before() {
        let service = spec("bad");
        let rollback = service.rolled_back().unwrap();
        assert_eq!(rollback, Rollback::ByDocker(service.0["Spec"].clone()));
    }

    #[test]
    fn a_version_is_remembered_across_any_changes_of_replicas() {
        let old = spec("flash");
        let new = after(&old, with_image(&old, "new:2"));
        let scaled = after(&new, new.scaled(5));
        let scaled = after(&scaled, scaled.forced());
        let scaled = after(&scaled, scaled.scaled(6));
        let Some(Rollback::ByLabel(back)) = scaled.rolled_back() else { panic!("{scaled:?}") };
        assert_eq!(back["TaskTemplate"], old.0["Spec"]["TaskTemplate"]);
        assert_eq!(back["Mode"]["Replicated"]["Replicas"], json!(6));
        assert_eq!(back["Labels"], old.0["Spec"]["Labels"]);
        // From there it can go forth again.
        let Some(Rollback::ByDocker(_)) = after(&scaled, back).rolled_back() else {
            panic!("Docker remembers the newer version");
        };
    }

    #[test]
    fn a_service_that_never_had_another_version_does_not_go_back() {
        let service = spec("flash");
        assert_eq!(service.rolled_back(), None);
        let scaled = after(&service, service.scaled(9));
        assert_eq!(scaled.rolled_back(), None);
        assert_eq!(after(&scaled, scaled.forced()).rolled_back(), None);
    }

    #[test]
    fn a_label_that_is_not_ours_is_no_version() {
        let mut service = spec("flash");
        for label in ["", "{", "[]", "null", "\"x\""] {
            service.0["Spec"]["Labels"][PREVIOUS_LABEL] = json!(label);
            assert_eq!(service.rolled_back(), None, "{label}");
        }
    }

    #[test]
    fn only_services_of_the_stack_are_ours() {
        let service = spec("flash");
        assert!(service.is_of("optest"));
        assert!(!service.is_of("other"));
        assert!(!Spec::new(json!({ "Spec": { "Name": "optest_x" } })).is_of("optest"));
    }

    #[test]
    fn a_service_without_replicas_has_none() {
        assert_eq!(spec("agent").replicas(), None);
        assert_eq!(spec("bad").update_state(), "paused");
    }
}
