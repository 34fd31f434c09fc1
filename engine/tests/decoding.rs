//! The kernels of a decoder against the formulas they stand for, and what is drawn from logits.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use _engine::draw::{Draw, Sampling, stream};
use _engine::kernels::attention::{Heads, attend_biased, scratch_len};
use _engine::kernels::cross::{self, attend_memory, memory_len, pack_memory};
use _engine::kernels::norm::normalize_by_square;
use _engine::kernels::step::{Cache, attend_step};

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// softmax(q k^T + bias) v for one query and one head.
fn naive(query: &[f32], keys: &[&[f32]], values: &[&[f32]], bias: &[f32]) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let scores: Vec<f64> =
        keys.iter().zip(bias).map(|(key, bias)| (dot(query, key) + f64::from(*bias)).exp()).collect();
    let total: f64 = scores.iter().sum();
    let column = |c: usize| scores.iter().zip(values).map(|(s, v)| s * f64::from(v[c])).sum::<f64>() / total;
    (0..query.len()).map(column).collect()
}

fn close(got: &[f32], want: &[f64], what: &str) {
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() < 1e-5, "{what}: got {got}, want {want}");
    }
}

#[test]
fn attention_to_a_memory_is_softmax_of_scores_times_values() {
    for (rows, tokens, heads, width) in [(1, 1, 1, 1), (3, 17, 2, 5), (32, 130, 3, 16), (7, 40, 1, 24)] {
        let (shape, hidden) = (Heads { heads, width }, heads * width);
        let (queries, source) = (numbers(rows * hidden, 1), numbers(tokens * 2 * hidden, 2));
        let mut memory = vec![f32::NAN; memory_len(tokens, shape).unwrap()];
        pack_memory(&source, tokens, shape, &mut memory);
        let mut scratch = vec![f32::NAN; cross::scratch_len(rows, tokens, shape).unwrap()];
        let mut out = vec![f32::NAN; rows * hidden];
        attend_memory(&queries, &memory, tokens, shape, &mut scratch, &mut out);
        for row in 0..rows {
            for head in 0..heads {
                let at = |part: usize, t: usize| &source[t * 2 * hidden + part * hidden + head * width..][..width];
                let keys: Vec<&[f32]> = (0..tokens).map(|t| at(0, t)).collect();
                let values: Vec<&[f32]> = (0..tokens).map(|t| at(1, t)).collect();
                let here = row * hidden + head * width;
                let want = naive(&queries[here..][..width], &keys, &values, &vec![0.0; tokens]);
                close(&out[here..][..width], &want, &format!("{rows}x{tokens}, row {row}, head {head}"));
            }
        }
    }
}

#[test]
fn steps_with_a_cache_are_the_last_rows_of_attention_with_a_bias() {
    for (tokens, heads, width) in [(1, 1, 1), (9, 2, 5), (40, 3, 16)] {
        let (shape, hidden, capacity) = (Heads { heads, width }, heads * width, tokens + 3);
        let (qkv, bias) = (numbers(tokens * 3 * hidden, 3), numbers(heads * capacity, 4));
        let (mut keys, mut values) = (vec![0.0; heads * capacity * width], vec![0.0; heads * capacity * width]);
        let mut scores = vec![0.0; capacity];
        for at in 0..tokens {
            let mut out = vec![f32::NAN; hidden];
            let mut cache = Cache { keys: &mut keys, values: &mut values, capacity };
            let row = &qkv[at * 3 * hidden..][..3 * hidden];
            attend_step(row, &mut cache, at, (shape, &bias), &mut scores, &mut out);
            // The same through the kernel for whole texts, the future shut off by its bias.
            let mut scratch = vec![0.0; scratch_len(tokens, shape).unwrap()];
            let mut whole = vec![f32::NAN; tokens * hidden];
            let causal = |head: usize, query: usize, scores: &mut [f32]| {
                for (key, score) in scores.iter_mut().enumerate() {
                    *score += if key > query { -1e9 } else { bias[head * capacity + query - key] };
                }
            };
            attend_biased(&qkv, tokens, shape, causal, &mut scratch, &mut whole);
            let want: Vec<f64> = whole[at * hidden..][..hidden].iter().map(|x| f64::from(*x)).collect();
            close(&out, &want, &format!("{tokens} tokens, step {at}"));
        }
    }
}

#[test]
fn a_row_normalised_by_its_root_mean_square_has_one() {
    for width in [1, 7, 8, 17, 64] {
        let (row, weight) = (numbers(3 * width, 5), numbers(width, 6));
        let mut out = vec![f32::NAN; 3 * width];
        normalize_by_square(&row, &weight, 1e-6, &mut out);
        for (row, out) in row.chunks_exact(width).zip(out.chunks_exact(width)) {
            let square = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
            let want: Vec<f64> =
                row.iter().zip(&weight).map(|(x, w)| f64::from(*x) / (square + 1e-6).sqrt() * f64::from(*w)).collect();
            close(out, &want, &format!("width {width}"));
        }
    }
}

fn shares(sampling: Sampling, logits: &[f32], banned: u32) -> Vec<f64> {
    const DRAWS: u32 = 40_000;
    let (mut draw, mut chance) = (Draw::new(sampling, logits.len()).unwrap(), stream(7, 3));
    let mut counts = vec![0_u32; logits.len()];
    for _ in 0..DRAWS {
        counts[draw.token(logits, banned, &mut chance) as usize] += 1;
    }
    counts.iter().map(|count| f64::from(*count) / f64::from(DRAWS)).collect()
}

#[test]
fn tokens_are_drawn_as_often_as_softmax_says() {
    let logits = [0.0, 1.0, 2.0, -1.0, 0.5_f32];
    for temperature in [0.5, 1.0, 2.0_f32] {
        let weights: Vec<f64> = logits.iter().map(|x| f64::from(x / temperature).exp()).collect();
        let total: f64 = weights[1..].iter().sum();
        let got = shares(Sampling { temperature, top_k: 99, top_p: 1.0 }, &logits, 0);
        assert!(got[0] == 0.0, "a banned token was drawn");
        for (got, weight) in got.iter().zip(&weights).skip(1) {
            assert!((got - weight / total).abs() < 0.01, "{got} of {}", weight / total);
        }
    }
}

#[test]
fn only_the_likeliest_are_drawn_when_k_or_p_say_so() {
    let logits = [0.0, 1.0, 2.0, -1.0, 0.5_f32];
    let drawn = |top_k: usize, top_p: f32| -> Vec<usize> {
        let got = shares(Sampling { temperature: 1.0, top_k, top_p }, &logits, 3);
        (0..5).filter(|token| got[*token] > 0.0).collect()
    };
    assert_eq!(drawn(1, 1.0), [2]);
    assert_eq!(drawn(2, 1.0), [1, 2]);
    assert_eq!(drawn(5, 0.01), [2]);
    // e^2 of e^2 + e + e^0.5 + 1 is 0.58: the second is needed for 0.6 and enough until 0.79.
    assert_eq!(drawn(5, 0.6), [1, 2]);
    assert_eq!(drawn(5, 0.78), [1, 2]);
    assert_eq!(drawn(5, 0.80), [1, 2, 4]);
}

#[test]
fn draws_do_not_depend_on_who_draws_beside() {
    let logits = numbers(50, 8);
    let sampling = Sampling { temperature: 1.0, top_k: 50, top_p: 1.0 };
    let alone = |sequence: u64| -> Vec<u32> {
        let (mut draw, mut chance) = (Draw::new(sampling, 50).unwrap(), stream(1, sequence));
        (0..20).map(|_| draw.token(&logits, 0, &mut chance)).collect()
    };
    let (mut draw, mut chances) = (Draw::new(sampling, 50).unwrap(), [stream(1, 0), stream(1, 1)]);
    let together: Vec<[u32; 2]> = (0..20).map(|_| chances.each_mut().map(|c| draw.token(&logits, 0, c))).collect();
    assert_eq!(together.iter().map(|two| two[0]).collect::<Vec<_>>(), alone(0));
    assert_eq!(together.iter().map(|two| two[1]).collect::<Vec<_>>(), alone(1));
    assert_ne!(alone(0), alone(1));
}
