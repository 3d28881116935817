//! Ragged attention equals its definition, for any length and head width.

mod reference;

use reference::Noise;
use tidegate_kernels::{Attention, AttentionScratch, Isa, Mask, Queries, RelativeBias, ShapeError};

fn close(found: &[f32], expected: &[f32]) -> bool {
    found
        .iter()
        .zip(expected)
        .all(|(a, b)| (a - b).abs() < 2e-5)
}

fn shape(heads: usize, head_dim: usize) -> Attention {
    Attention {
        heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    }
}

#[test]
fn every_sequence_of_a_batch_attends_to_itself_alone() -> Result<(), ShapeError> {
    let mut noise = Noise::new(1);
    for isa in Isa::available() {
        for (heads, dim) in [
            (1, 1),
            (2, 3),
            (3, 8),
            (2, 16),
            (2, 20),
            (12, 32),
            (1, 33),
            (3, 64),
            (1, 100),
        ] {
            let (shape, width) = (shape(heads, dim), heads * dim);
            let mut scratch = AttentionScratch::new(80, dim);
            let mut first = 0;
            let lengths = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 45, 64, 80];
            let qkv = noise.normals(lengths.iter().sum::<usize>() * 3 * width, 1.5);
            for len in lengths {
                let sequence = first..first + len;
                let own = &qkv[first * 3 * width..][..len * 3 * width];
                let expected = reference::attention(own, width, heads, None, None);
                let mut out = vec![0.0; len * width];
                let from = Queries {
                    qkv: &qkv,
                    sequence: sequence.clone(),
                    queries: sequence,
                };
                shape.run(isa, from, Mask::None, &mut scratch, &mut out)?;
                assert!(
                    close(&out, &expected),
                    "{isa}, {heads} heads of {dim}, {len} tokens"
                );
                first += len;
            }
        }
    }
    Ok(())
}

#[test]
fn some_queries_get_the_same_bits_as_all() -> Result<(), ShapeError> {
    let mut noise = Noise::new(2);
    let (shape, len) = (shape(2, 24), 137);
    let qkv = noise.normals(len * 3 * shape.width(), 1.0);
    for isa in Isa::available() {
        let mut scratch = AttentionScratch::new(len, 24);
        let mut run = |queries: std::ops::Range<usize>, mask: Mask<'_>| {
            let mut out = vec![0.0; queries.len() * shape.width()];
            let from = Queries {
                qkv: &qkv,
                sequence: 0..len,
                queries,
            };
            shape
                .run(isa, from, mask, &mut scratch, &mut out)
                .map(|()| out)
        };
        for mask in [
            Mask::None,
            Mask::Window(0),
            Mask::Window(7),
            Mask::Window(90),
        ] {
            let all = run(0..len, mask)?;
            for queries in [5..18, 77..130, 96..97] {
                let expected = queries.start * shape.width()..queries.end * shape.width();
                assert_eq!(run(queries, mask)?, all[expected], "{isa}, {mask:?}");
            }
            assert_eq!(run(9..9, mask)?, [0.0; 0]);
        }
    }
    Ok(())
}

#[test]
fn a_relative_bias_is_added_to_the_scores() -> Result<(), ShapeError> {
    let mut noise = Noise::new(3);
    let (shape, max_len) = (shape(3, 16), 40);
    let values = noise.normals(3 * (2 * max_len - 1), 2.0);
    let bias = RelativeBias::new(values.clone(), 3, max_len)?;
    for isa in Isa::available() {
        for len in [1, 8, 17, 40] {
            let qkv = noise.normals(len * 3 * shape.width(), 1.0);
            let expected = reference::attention(
                &qkv,
                shape.width(),
                3,
                Some(&(values.clone(), max_len)),
                None,
            );
            let mut out = vec![0.0; len * shape.width()];
            let from = Queries {
                qkv: &qkv,
                sequence: 0..len,
                queries: 0..len,
            };
            shape.run(
                isa,
                from,
                Mask::Bias(&bias),
                &mut AttentionScratch::new(len, 16),
                &mut out,
            )?;
            assert!(close(&out, &expected), "{isa}, {len} tokens");
        }
    }
    Ok(())
}

#[test]
fn under_a_window_a_query_sees_what_is_near_on_both_sides() -> Result<(), ShapeError> {
    let mut noise = Noise::new(4);
    let shape = shape(2, 20);
    for isa in Isa::available() {
        let mut scratch = AttentionScratch::new(200, 20);
        for len in [1, 2, 16, 33, 64, 65, 200] {
            let qkv = noise.normals((len + 5) * 3 * shape.width(), 1.5);
            for window in [0, 1, 5, 31, 32, 63, 64, 199, usize::MAX] {
                let own = &qkv[5 * 3 * shape.width()..];
                let expected = reference::attention(own, shape.width(), 2, None, Some(window));
                let mut out = vec![0.0; len * shape.width()];
                let from = Queries {
                    qkv: &qkv,
                    sequence: 5..5 + len,
                    queries: 5..5 + len,
                };
                shape.run(isa, from, Mask::Window(window), &mut scratch, &mut out)?;
                assert!(close(&out, &expected), "{isa}, {len} tokens, {window}");
            }
        }
    }
    Ok(())
}

/// The buckets of the T5 paper's rule for 32 buckets up to distance 128, as its published code
/// gives them.
#[test]
fn relative_buckets_follow_the_rule() -> Result<(), ShapeError> {
    let table: Vec<f32> = (0..32).map(|bucket| bucket as f32).collect();
    let bias = RelativeBias::from_buckets(&table, 1, 32, 128, 200)?;
    // One key and one query apart by `distance`, value 1 for it and 0 for the query itself: the
    // weight of the key tells the difference of the two biases. Bucket 0 is the query's own.
    let shape = Attention {
        heads: 1,
        head_dim: 1,
        scale: 1.0,
    };
    for (distance, bucket) in [
        (1, 17),
        (7, 23),
        (8, 24),
        (11, 24),
        (12, 25),
        (16, 26),
        (64, 30),
        (127, 31),
        (199, 31),
    ] {
        let len = distance + 1;
        let mut qkv = vec![0.0; len * 3];
        qkv[distance * 3 + 2] = 1.0;
        let mut out = [0.0];
        let from = Queries {
            qkv: &qkv,
            sequence: 0..len,
            queries: 0..1,
        };
        shape.run(
            Isa::best(),
            from,
            Mask::Bias(&bias),
            &mut AttentionScratch::new(len, 1),
            &mut out,
        )?;
        let expected: f64 = {
            let rule = |d: usize| {
                if d == 0 {
                    0.0
                } else if d < 8 {
                    16.0 + d as f64
                } else {
                    let far = 8.0 + ((d as f64 / 8.0).ln() / 16f64.ln() * 8.0).floor();
                    16.0 + far.min(15.0)
                }
            };
            assert_eq!(rule(distance), f64::from(bucket));
            rule(distance).exp() / (0..len).map(|d| rule(d).exp()).sum::<f64>()
        };
        assert!(
            (f64::from(out[0]) - expected).abs() < 1e-5,
            "distance {distance}"
        );
    }
    Ok(())
}

#[test]
fn a_wrong_shape_is_an_error_that_names_it() {
    let (shape, qkv) = (shape(2, 8), vec![0.0; 10 * 48]);
    let mut scratch = AttentionScratch::new(9, 8);
    let mut what = |sequence, queries, len: usize| {
        let from = Queries {
            qkv: &qkv,
            sequence,
            queries,
        };
        let mut out = vec![0.0; len];
        shape
            .run(Isa::best(), from, Mask::None, &mut scratch, &mut out)
            .err()
            .map(|error| error.what)
    };
    assert_eq!(what(0..11, 0..1, 16), Some("end of the sequence"));
    assert_eq!(what(0..10, 0..10, 160), Some("sequence"));
    assert_eq!(what(2..5, 1..5, 64), Some("first query"));
    assert_eq!(what(2..5, 2..6, 64), Some("end of the queries"));
    assert_eq!(what(2..5, 2..5, 47), Some("attention output"));
    assert_eq!(what(2..5, 2..5, 48), None);
}
