//! Eight floats at a time: the one place that knows how the machine does vector arithmetic.
//!
//! Decides how add, fused multiply-add, max and the like are carried out; every kernel is written once against
//! [`Lanes`]. Promises that both implementations agree to rounding of the fused multiply-add, which the tests
//! check. `Wide` is chosen at compile time: AVX2 and FMA where the target has them, plain arrays elsewhere.
//! It must not know what a kernel computes.

/// Floats in one vector.
pub const WIDTH: usize = 8;

/// The arithmetic a kernel may use.
#[allow(clippy::return_self_not_must_use)] // as with + and *, no one calls these for nothing
pub trait Lanes: Copy {
    fn splat(value: f32) -> Self;
    /// Reads `WIDTH` floats.
    ///
    /// # Safety
    /// `from` must be valid for reading `WIDTH` floats; no alignment is asked.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `WIDTH` floats.
    ///
    /// # Safety
    /// `to` must be valid for writing `WIDTH` floats; no alignment is asked.
    unsafe fn store(self, to: *mut f32);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn fma(self, factor: Self, addend: Self) -> Self;
    fn abs(self) -> Self;
    /// To the nearest whole number, ties to even.
    fn round(self) -> Self;
    /// Two to the power of a whole number in -126..=127.
    fn exp2_whole(self) -> Self;
    fn sum(self) -> f32;
    fn largest(self) -> f32;
}

/// The implementation this build uses.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
pub type Wide = avx2::Avx2;
/// The implementation this build uses.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
pub type Wide = Portable;

/// Plain arrays: what every target can do, and the reference for the others.
#[derive(Clone, Copy)]
pub struct Portable([f32; WIDTH]);

impl Portable {
    #[inline]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Portable {
    #[inline]
    fn splat(value: f32) -> Self {
        Self([value; WIDTH])
    }
    #[inline]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises WIDTH readable floats, and a float array has no stricter alignment.
        Self(unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() })
    }
    #[inline]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises WIDTH writable floats.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(self.0) }
    }
    #[inline]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline]
    fn fma(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }
    #[inline]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline]
    fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and in range by contract
    fn exp2_whole(self) -> Self {
        Self(self.0.map(|n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23)))
    }
    #[inline]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline]
    fn largest(self) -> f32 {
        self.0.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
pub mod avx2 {
    //! 256-bit vectors. Every block below is sound for one reason, said here once: the module is compiled only when
    //! the whole build targets AVX2 and FMA, so the instructions exist wherever this code can run.
    use super::Lanes;
    use std::arch::x86_64 as x;

    #[derive(Clone, Copy)]
    pub struct Avx2(x::__m256);

    #[allow(clippy::undocumented_unsafe_blocks)] // the module's comment is the SAFETY comment of each
    impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { x::_mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { x::_mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { x::_mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { x::_mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { x::_mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { x::_mm256_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn div(self, other: Self) -> Self {
            Self(unsafe { x::_mm256_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(unsafe { x::_mm256_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn fma(self, factor: Self, addend: Self) -> Self {
            Self(unsafe { x::_mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn abs(self) -> Self {
            Self(unsafe { x::_mm256_andnot_ps(x::_mm256_set1_ps(-0.0), self.0) })
        }
        #[inline(always)]
        fn round(self) -> Self {
            Self(unsafe { x::_mm256_round_ps::<{ x::_MM_FROUND_TO_NEAREST_INT | x::_MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn exp2_whole(self) -> Self {
            Self(unsafe {
                let biased = x::_mm256_add_epi32(x::_mm256_cvtps_epi32(self.0), x::_mm256_set1_epi32(127));
                x::_mm256_castsi256_ps(x::_mm256_slli_epi32::<23>(biased))
            })
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe {
                let half = x::_mm_add_ps(x::_mm256_castps256_ps128(self.0), x::_mm256_extractf128_ps::<1>(self.0));
                let quarter = x::_mm_add_ps(half, x::_mm_movehl_ps(half, half));
                x::_mm_cvtss_f32(x::_mm_add_ss(quarter, x::_mm_shuffle_ps::<1>(quarter, quarter)))
            }
        }
        #[inline(always)]
        fn largest(self) -> f32 {
            unsafe {
                let half = x::_mm_max_ps(x::_mm256_castps256_ps128(self.0), x::_mm256_extractf128_ps::<1>(self.0));
                let quarter = x::_mm_max_ps(half, x::_mm_movehl_ps(half, half));
                x::_mm_cvtss_f32(x::_mm_max_ss(quarter, x::_mm_shuffle_ps::<1>(quarter, quarter)))
            }
        }
    }
}
