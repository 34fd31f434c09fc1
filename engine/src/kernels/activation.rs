//! The transcendental functions of a transformer, on vectors: exp and GELU.
//!
//! Promises: `exp` within 4e-7 relative for inputs in -87..=0 (a smaller one counts as -87), GELU (the erf form, not the tanh
//! one) within 1e-6 absolute. Must not know about matrices or models.

use super::lanes::Lanes;

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

#[cfg(test)]
#[allow(clippy::cast_precision_loss)] // small whole numbers
mod tests {
    use super::super::lanes::{Lanes, Portable, WIDTH, Wide};
    use super::{exp, gelu};

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
}
