//! Blocks are read and written as their format's own library does it (`blocks.py` says which).

use tidegate_kernels::{BlockType, RawWeights, ShapeError};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect()
}

fn floats(hex: &str) -> Vec<f32> {
    bytes(hex)
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

fn kind(name: &str) -> BlockType {
    let kind = BlockType::ALL.into_iter().find(|kind| kind.name() == name);
    kind.expect("a type of this name")
}

#[test]
fn every_type_reads_as_its_format_says() -> Result<(), ShapeError> {
    let mut seen = 0;
    for line in include_str!("blocks.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = kind(fields[0]);
        let expected = floats(fields[2]);
        let raw = RawWeights {
            kind,
            rows: 1,
            cols: expected.len(),
            bytes: &bytes(fields[1]),
        };
        let mut found = vec![0.0; expected.len()];
        raw.dequantize_row(0, &mut found)?;
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let apart = (found - expected).abs();
            assert!(
                apart <= 1e-6 * expected.abs().max(1e-3),
                "{kind} at {i}: {found}, {expected}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, BlockType::ALL.len() - 1, "all but F32");
    Ok(())
}

#[test]
fn what_is_encoded_has_the_bytes_that_its_format_says() -> Result<(), ShapeError> {
    for line in include_str!("encoded.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = kind(fields[0]);
        let encoded = kind.encode(&floats(fields[2]))?;
        assert_eq!(encoded, Some(bytes(fields[1])), "{kind}");
    }
    assert_eq!(BlockType::Q6K.encode(&[0.0; 256])?, None);
    assert!(BlockType::Q4_0.encode(&[0.0; 33]).is_err());
    Ok(())
}
