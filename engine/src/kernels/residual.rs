//! The sums around a block: what a block computed is added to what went into it.
//!
//! Promises element by element what the formula says, in the order of the slices. Must not know what a row is.

/// `rows = rows + delta`.
///
/// # Panics
/// If the slices differ in length.
pub fn add(rows: &mut [f32], delta: &[f32]) {
    assert_eq!(rows.len(), delta.len(), "rows and delta differ");
    for (value, d) in rows.iter_mut().zip(delta) {
        *value += d;
    }
}

/// `rows = max(rows + delta, 0)`: the end of a block of a residual network (He et al., 2015).
///
/// # Panics
/// If the slices differ in length.
pub fn add_and_rectify(rows: &mut [f32], delta: &[f32]) {
    assert_eq!(rows.len(), delta.len(), "rows and delta differ");
    for (value, d) in rows.iter_mut().zip(delta) {
        *value = (*value + d).max(0.0);
    }
}
