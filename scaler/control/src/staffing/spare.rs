//! Slots beyond the mean of busy ones.

/// `deviations` standard deviations of the slots that would be busy if nobody waited.
///
/// In a system with as many servers as it takes, busy servers have mean `load` and variance
/// `load x z`, where z, the peakedness of the arrivals, is about `(1 + dispersion) / 2` when
/// service times vary as much as exponential ones (Eckberg 1983). Staffing by the square root of
/// the load keeps the chance to wait the same at any scale (Halfin and Whitt 1981).
pub(super) fn slots(load: f64, dispersion: f64, deviations: f64) -> f64 {
    let peakedness = (1.0 + dispersion) / 2.0;
    deviations * (load * peakedness).sqrt()
}
