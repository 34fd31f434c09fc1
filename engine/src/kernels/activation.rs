//! The transcendental functions of a transformer, on vectors: exp, GELU and `SiLU`.
//!
//! Promises: `exp` within 4e-7 relative for inputs in -87..=0 (a smaller one counts as -87), GELU (the erf form, not the tanh
//! one) and `SiLU` within 1e-6 absolute for inputs up to 10. Must not know about matrices or models.

use super::lanes::{Lanes, WIDTH, Wide};

/// e to the x, for x not above 0: all that softmax and GELU ask for. Cody-Waite reduction to |r| <= ln(2)/2, then a degree-6 polynomial fitted for least relative error
/// (3e-9 before rounding).
#[inline(always)]
pub fn exp<L: Lanes>(x: L) -> L {
    let x = x.max(L::splat(-87.0));
    let n = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    let r = n.fma(L::splat(-0.693_359_4), x);
    let r = n.fma(L::splat(2.121_944_4e-4), r);
    let p = L::splat(1.381_461_4e-3);
    let p = p.fma(r, L::splat(8.368_71e-3));
    let p = p.fma(r, L::splat(4.166_839e-2));
    let p = p.fma(r, L::splat(1.666_652_1e-1));
    let p = p.fma(r, L::splat(4.999_999_4e-1));
    let p = p.fma(r.mul(r), r.add(L::splat(1.0)));
    p.mul(n.exp2_whole())
}

/// x times the normal distribution function of x (Hendrycks and Gimpel, 2016), with erfc from Abramowitz and Stegun,
/// Handbook of Mathematical Functions, 7.1.26: absolute error of erf at most 1.5e-7.
///
/// Written as max(x, 0) - |x| * erfc(|x| / sqrt 2) / 2, which holds for both signs and needs no branch.
#[inline(always)]
pub fn gelu<L: Lanes>(x: L) -> L {
    let size = x.abs();
    let z = size.mul(L::splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = L::splat(1.0).div(z.fma(L::splat(0.327_591_1), L::splat(1.0)));
    let p = L::splat(0.530_702_7);
    let p = p.fma(t, L::splat(-0.726_576));
    let p = p.fma(t, L::splat(0.710_706_9));
    let p = p.fma(t, L::splat(-0.142_248_37));
    let p = p.fma(t, L::splat(0.127_414_8));
    let tail = p.mul(t).mul(exp(z.mul(z).mul(L::splat(-1.0))));
    x.max(L::splat(0.0)).sub(size.mul(tail))
}

/// x times the logistic function of x (Elfwing et al., 2018). Written as max(x, 0) - |x| * e / (1 + e) with e = exp(-|x|),
/// which holds for both signs and needs no branch.
#[inline(always)]
pub fn silu<L: Lanes>(x: L) -> L {
    let size = x.abs();
    let e = exp(size.mul(L::splat(-1.0)));
    let small = size.mul(e).div(e.add(L::splat(1.0)));
    x.max(L::splat(0.0)).sub(small)
}

/// `row[i] = silu(row[i]) * row[half + i]` for the first half of each row: a gated unit (Shazeer, 2020).
///
/// # Panics
/// If `rows` is no whole number of rows of `width` floats, or `width` is odd.
pub fn gate(rows: &mut [f32], width: usize) {
    assert!(width.is_multiple_of(2) && rows.len().is_multiple_of(width), "no whole number of gated rows");
    for row in rows.chunks_exact_mut(width) {
        let (gates, values) = row.split_at_mut(width / 2);
        let whole = gates.len() / WIDTH * WIDTH;
        let (gates, gates_tail) = gates.split_at_mut(whole);
        let (values, values_tail) = values.split_at(whole);
        for (gate, value) in gates.chunks_exact_mut(WIDTH).zip(values.chunks_exact(WIDTH)) {
            gated(gate, value);
        }
        if !gates_tail.is_empty() {
            let (mut gate, mut value) = ([0.0; WIDTH], [0.0; WIDTH]);
            gate[..gates_tail.len()].copy_from_slice(gates_tail);
            value[..gates_tail.len()].copy_from_slice(values_tail);
            gated(&mut gate, &value);
            gates_tail.copy_from_slice(&gate[..gates_tail.len()]);
        }
    }
}

/// One vector of `gate`; both slices hold `WIDTH` floats.
#[inline(always)]
fn gated(gate: &mut [f32], value: &[f32]) {
    assert!(gate.len() == WIDTH && value.len() == WIDTH, "a vector is expected");
    // SAFETY: both are one vector.
    unsafe { silu(Wide::load(gate.as_ptr())).mul(Wide::load(value.as_ptr())).store(gate.as_mut_ptr()) };
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)] // small whole numbers
mod tests {
    use super::{Lanes, WIDTH, Wide};
    use super::{exp, gate, gelu, silu};
    use crate::kernels::lanes::Portable;

    fn one<L: Lanes>(f: impl Fn(L) -> L, x: f32) -> f32 {
        let mut out = [0.0; WIDTH];
        // SAFETY: `out` holds WIDTH floats.
        unsafe { f(L::splat(x)).store(out.as_mut_ptr()) };
        out[3]
    }

    /// erf by its Maclaurin series in f64, exact enough below 6.
    fn erf(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..400 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn exp_is_within_its_promise() {
        for i in -87_000..=0 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            for got in [one::<Wide>(exp, x), one::<Portable>(exp, x)] {
                assert!(((f64::from(got) - exact) / exact).abs() < 4e-7, "exp({x}) = {got}, exact {exact}");
            }
        }
        assert!(one::<Wide>(exp, -1e9) < 1e-37 && one::<Wide>(exp, f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn gelu_is_within_its_promise() {
        for i in -4_500..4_500 {
            let x = i as f32 / 1000.0;
            let exact = 0.5 * f64::from(x) * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2));
            for got in [one::<Wide>(gelu, x), one::<Portable>(gelu, x)] {
                assert!((f64::from(got) - exact).abs() < 1e-6, "gelu({x}) = {got}, exact {exact}");
            }
        }
        assert!((one::<Wide>(gelu, 30.0) - 30.0).abs() < 1e-5);
        assert!(one::<Wide>(gelu, -30.0).abs() < 1e-6);
    }

    #[test]
    fn silu_is_within_its_promise() {
        for i in -100_000..10_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            for got in [one::<Wide>(silu, x), one::<Portable>(silu, x)] {
                assert!((f64::from(got) - exact).abs() < 1e-6, "silu({x}) = {got}, exact {exact}");
            }
        }
    }

    #[test]
    fn gate_takes_whole_vectors_and_ragged_ends_alike() {
        for half in [1, 7, 8, 9, 24, 37] {
            let row: Vec<f32> = (0..4 * half).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
            let mut rows = row.clone();
            gate(&mut rows, 2 * half);
            for (got, from) in rows.chunks_exact(2 * half).zip(row.chunks_exact(2 * half)) {
                for i in 0..half {
                    let want = from[i] / (1.0 + (-from[i]).exp()) * from[half + i];
                    assert!((got[i] - want).abs() < 1e-5, "{half}: {i}");
                }
                assert_eq!(got[half..], from[half..]);
            }
        }
    }
}
