//! One figure, and the figures that stand together.

use serde::Serialize;

use super::samples::Samples;

/// Figures of one kind, each next to the same empty thing.
#[derive(Clone, Debug)]
pub(super) struct Group {
    title: String,
    /// What the baselines of these figures are.
    beside: &'static str,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(super) group: String,
    pub(super) what: String,
    pub(super) unit: &'static str,
    /// The median, where there are several.
    pub(super) measured: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) baseline: Option<Baseline>,
    /// Measured over baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bar: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) met: Option<bool>,
    #[serde(skip)]
    beside: &'static str,
}

/// The empty thing next to the real one, in the same unit.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Baseline {
    pub(super) what: &'static str,
    pub(super) measured: f64,
}

impl Group {
    pub(super) fn new(title: impl Into<String>, beside: &'static str) -> Self {
        Self { title: title.into(), beside }
    }

    /// A figure that stands alone, unless something is put next to it.
    pub(super) fn row(&self, what: impl Into<String>, unit: &'static str, measured: f64) -> Row {
        Row {
            group: self.title.clone(),
            what: what.into(),
            unit,
            measured,
            p99: None,
            baseline: None,
            ratio: None,
            bar: None,
            met: None,
            beside: self.beside,
        }
    }

    /// Times.
    pub(super) fn times(&self, what: impl Into<String>, samples: &Samples) -> Row {
        Row { p99: Some(samples.p99()), ..self.row(what, "ms", samples.median()) }
    }
}

impl Row {
    /// Next to its group's empty thing, measured in the same run.
    pub(super) fn over(mut self, measured: f64) -> Self {
        self.ratio = (measured > 0.0).then_some(self.measured / measured);
        self.baseline = Some(Baseline { what: self.beside, measured });
        self
    }

    /// With what is asked for, in the figure's unit, and whether it is met.
    pub(super) fn bar(mut self, bar: &'static str, met: impl FnOnce(&Self) -> bool) -> Self {
        self.met = Some(met(&self));
        self.bar = Some(bar);
        self
    }

    /// The figure.
    pub(super) fn value(&self) -> f64 {
        self.measured
    }

    /// The 99th percentile; the figure itself if there is only one.
    pub(super) fn p99(&self) -> f64 {
        self.p99.unwrap_or(self.measured)
    }

    /// Measured over baseline.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio.unwrap_or(f64::NAN)
    }
}
