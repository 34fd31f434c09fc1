//! Rotary positions: each pair of a head's columns is turned by an angle that grows with the position.
//!
//! Promises the pairing of the published Llama weights (column i with column i + width / 2) and angles multiplied in
//! f32, as the reference does. Must not know how the angles were chosen.

/// Cosines, then sines, for positions `first..`, one row of `2 * steps.len()` floats each.
///
/// # Panics
/// If `table` is no whole number of rows.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // positions are below 2^24
pub fn fill_table(steps: &[f32], first: usize, table: &mut [f32]) {
    assert!(table.len().is_multiple_of(2 * steps.len()), "no whole number of rows");
    for (row, position) in table.chunks_exact_mut(2 * steps.len()).zip(first..) {
        let (cosines, sines) = row.split_at_mut(steps.len());
        for ((cosine, sine), step) in cosines.iter_mut().zip(sines).zip(steps) {
            let angle = f64::from(position as f32 * step);
            (*cosine, *sine) = (angle.cos() as f32, angle.sin() as f32);
        }
    }
}

/// Turns every head of a row, `2 * half` columns each, by the row of a table.
///
/// # Panics
/// If the table's row is shorter than a head.
pub fn rotate(heads: &mut [f32], turn: &[f32]) {
    let half = turn.len() / 2;
    let (cosines, sines) = turn.split_at(half);
    for head in heads.chunks_exact_mut(2 * half) {
        let (low, high) = head.split_at_mut(half);
        for (((a, b), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
            let (x, y) = (*a, *b);
            *a = x * cosine - y * sine;
            *b = y * cosine + x * sine;
        }
    }
}
