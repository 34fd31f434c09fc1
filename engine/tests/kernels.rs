//! The kernels against the formulas they stand for, in every shape where their code takes another way.
#![allow(clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::float_cmp)]

use _engine::kernels::activation::gelu;
use _engine::kernels::attention::{Heads, attend, exponentials, scratch_len};
use _engine::kernels::lanes::{Lanes, Portable, WIDTH, Wide};
use _engine::kernels::matmul::{Finish, Packed, Rows, matmul_with};
use _engine::kernels::norm::{Norm, mean_of_rows, normalize_row, to_unit_length};
use _engine::kernels::packing::{K_BLOCK, Source, pack, packed_len};

/// Numbers in -1..1 that are the same on every run (Marsaglia's xorshift).
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn close(got: f32, want: f64, scale: f64, what: &str) {
    assert!((f64::from(got) - want).abs() <= 2e-6 * scale.max(1.0), "{what}: got {got}, want {want}");
}

fn packed(b: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut into = vec![f32::NAN; packed_len(k, n).unwrap()];
    pack(Source { data: b, row_stride: n, column_stride: 1 }, k, n, 1.0, &mut into);
    into
}

fn gelu_of(x: f32) -> f32 {
    let mut out = [0.0; WIDTH];
    // SAFETY: `out` is one vector.
    unsafe { gelu(Portable::splat(x)).store(out.as_mut_ptr()) };
    out[0]
}

fn product<L: Lanes>(rows: usize, k: usize, n: usize, finish: Finish, with_bias: bool) {
    let (a_stride, c_stride) = (k + 3, n + 5);
    let (a, b) = (numbers(rows * a_stride, 1), numbers(k * n, 2));
    let bias = numbers(if with_bias { n } else { 0 }, 3);
    let data = packed(&b, k, n);
    let mut c = vec![7.0; rows * c_stride];
    let weights = Packed { data: &data, k, n, bias: &bias };
    matmul_with::<L>(Rows { data: &a, stride: a_stride }, rows, weights, finish, &mut c, c_stride);
    for r in 0..rows {
        for j in 0..n {
            let mut want: f64 = (0..k).map(|i| f64::from(a[r * a_stride + i]) * f64::from(b[i * n + j])).sum();
            want += bias.get(j).map_or(0.0, |b| f64::from(*b));
            if finish == Finish::Gelu {
                want = f64::from(gelu_of(want as f32));
            }
            close(c[r * c_stride + j], want, (k as f64).sqrt(), &format!("{rows}x{k}x{n} at {r},{j}"));
        }
        assert!(c[r * c_stride + n..(r + 1) * c_stride].iter().all(|x| *x == 7.0), "wrote beyond the row");
    }
}

#[test]
fn products_are_right_in_every_shape() {
    for rows in [1, 2, 3, 4, 5, 6, 7, 11, 13, 16, 95, 96, 97, 200] {
        for (k, n) in [(1, 1), (3, 16), (5, 17), (32, 33), (K_BLOCK, 16), (K_BLOCK + 7, 40), (2 * K_BLOCK + 1, 15)] {
            product::<Wide>(rows, k, n, Finish::Nothing, rows % 2 == 0);
            if rows < 8 || rows == 97 {
                product::<Portable>(rows, k, n, Finish::Gelu, true);
                product::<Wide>(rows, k, n, Finish::Gelu, true);
            }
        }
    }
}

#[test]
fn a_packed_transpose_is_the_packed_matrix() {
    for (k, n) in [(1, 1), (17, 31), (K_BLOCK + 1, 48)] {
        let b = numbers(k * n, 4);
        let transposed: Vec<f32> = (0..n * k).map(|at| b[(at % k) * n + at / k]).collect();
        let mut into = vec![f32::NAN; packed_len(k, n).unwrap()];
        pack(Source { data: &transposed, row_stride: 1, column_stride: k }, k, n, 1.0, &mut into);
        assert_eq!(into, packed(&b, k, n));
    }
    assert_eq!(packed_len(usize::MAX / 2, 17), None);
}

#[test]
fn attention_is_softmax_of_scores_times_values() {
    for (tokens, heads, width) in [(1, 1, 1), (2, 3, 5), (17, 2, 32), (130, 2, 16), (401, 1, 20)] {
        let shape = Heads { heads, width };
        let hidden = heads * width;
        let qkv: Vec<f32> = numbers(tokens * 3 * hidden, 5).into_iter().map(|x| x * 4.0).collect();
        let mut scratch = vec![f32::NAN; scratch_len(tokens, shape).unwrap()];
        let mut out = vec![f32::NAN; tokens * hidden];
        attend(&qkv, tokens, shape, &mut scratch, &mut out);
        let at = |token: usize, part: usize, column: usize| f64::from(qkv[token * 3 * hidden + part * hidden + column]);
        for head in 0..heads {
            for t in 0..tokens {
                let columns = head * width..(head + 1) * width;
                let score = |s: usize| columns.clone().map(|c| at(t, 0, c) * at(s, 1, c)).sum::<f64>();
                let scores: Vec<f64> = (0..tokens).map(score).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for c in columns.clone() {
                    let want = (0..tokens).map(|s| weights[s] * at(s, 2, c)).sum::<f64>() / total;
                    // Scores of up to a few hundred in single precision: an error of 1e-5 in the exponent.
                    close(out[t * hidden + c], want, 40.0, &format!("{tokens} tokens, head {head}, at {t},{c}"));
                }
            }
        }
    }
}

#[test]
fn scratch_of_the_longest_text_is_enough_for_every_shorter_one() {
    for shape in [Heads { heads: 12, width: 32 }, Heads { heads: 1, width: 5 }, Heads { heads: 4, width: 64 }] {
        let hidden = shape.heads * shape.width;
        let qkv = numbers(600 * 3 * hidden, 9);
        let mut out = vec![0.0; 600 * hidden];
        for longest in [1, 2, 30, 191, 257, 294, 340, 512, 600] {
            let mut scratch = vec![f32::NAN; scratch_len(longest, shape).unwrap()];
            for tokens in (1..=longest).step_by(7).chain([longest]) {
                attend(&qkv[..tokens * 3 * hidden], tokens, shape, &mut scratch, &mut out[..tokens * hidden]);
            }
        }
    }
}

#[test]
fn softmax_survives_the_largest_scores() {
    for scores in [vec![3e38; 9], vec![-3e38; 3], vec![3e38, -3e38, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] {
        let (mut wide, mut plain) = (scores.clone(), scores.clone());
        let sums = [exponentials::<Wide>(&mut wide), exponentials::<Portable>(&mut plain)];
        assert!(sums.iter().all(|sum| sum.is_finite() && *sum >= 1.0), "{scores:?}: {sums:?}");
        assert!(wide.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn a_normalised_row_has_mean_0_and_variance_1() {
    for width in [1, 7, 8, 15, 16, 17, 384, 385] {
        let row: Vec<f32> = numbers(width, 6).into_iter().map(|x| x * 3.0 + 10.0).collect();
        let (weight, bias) = (numbers(width, 7), numbers(width, 8));
        let norm = Norm { weight: &weight, bias: &bias, eps: 1e-5 };
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
        let (mut wide, mut plain) = (row.clone(), row.clone());
        normalize_row::<Wide>(&mut wide, norm);
        normalize_row::<Portable>(&mut plain, norm);
        for i in 0..width {
            let want = (f64::from(row[i]) - mean) / (variance + 1e-5).sqrt();
            let want = want * f64::from(weight[i]) + f64::from(bias[i]);
            close(wide[i], want, 5.0, &format!("width {width} at {i}"));
            close(plain[i], want, 5.0, &format!("width {width} at {i}, portable"));
        }
    }
}

#[test]
fn pooling_is_the_mean_and_zero_has_no_direction() {
    let mut mean = [0.0; 3];
    mean_of_rows(&[1.0, 2.0, 3.0, 3.0, 2.0, 1.0], &mut mean);
    assert_eq!(mean, [2.0, 2.0, 2.0]);
    to_unit_length(&mut mean);
    close(mean.iter().map(|x| x * x).sum(), 1.0, 1.0, "length");
    let mut zero = [0.0; 9];
    to_unit_length(&mut zero);
    assert_eq!(zero, [0.0; 9]);
}
