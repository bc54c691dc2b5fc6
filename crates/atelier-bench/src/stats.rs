//! One measured row: its values, its target, its line in the table.

/// Which value of a row the target speaks of.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    None,
    /// The median is at most this.
    Median(f64),
    /// The 99th percentile is at most this.
    P99(f64),
    /// Median and 99th percentile are at most these.
    Both(f64, f64),
    /// The median is at least this.
    AtLeast(f64),
}

pub(crate) struct Row {
    pub(crate) what: String,
    values: Vec<f64>,
    unit: &'static str,
    target: Target,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, values: Vec<f64>, unit: &'static str, target: Target) -> Self {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        Self { what: what.into(), values, unit, target }
    }

    fn percentile(&self, share: f64) -> f64 {
        if self.values.is_empty() {
            return f64::NAN;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (share * self.values.len() as f64).ceil() as usize;
        self.values[rank.clamp(1, self.values.len()) - 1]
    }

    pub(crate) fn is_missed(&self) -> bool {
        let (median, p99) = (self.percentile(0.5), self.percentile(0.99));
        // a value that is not a number meets no target
        let met = match self.target {
            Target::None => true,
            Target::Median(limit) => median <= limit,
            Target::P99(limit) => p99 <= limit,
            Target::Both(half, most) => median <= half && p99 <= most,
            Target::AtLeast(limit) => median >= limit,
        };
        !met
    }

    pub(crate) fn line(&self, name: &str) -> String {
        let target = match self.target {
            Target::None => String::new(),
            Target::Median(limit) => format!("median <= {limit}"),
            Target::P99(limit) => format!("p99 <= {limit}"),
            Target::Both(half, most) => format!("median <= {half}, p99 <= {most}"),
            Target::AtLeast(limit) => format!("median >= {limit}"),
        };
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {target}{} |",
            self.what,
            show(self.percentile(0.0)),
            show(self.percentile(0.5)),
            show(self.percentile(0.99)),
            show(self.percentile(1.0)),
            self.unit,
            if self.is_missed() { " **missed**" } else { "" },
        )
    }
}

fn show(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
