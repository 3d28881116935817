//! Random damage to a sound file: reading never panics, and keeps what it promises when it succeeds.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tidegate_gguf::{Gguf, Kind, Numbers, Scalar, Value, Writer};

fn sound() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.attribute("general.alignment", &Value::Unsigned(32));
    writer.attribute("s", &Value::String("text".into()));
    let strings = ["one", "two", "three"].into_iter().collect();
    writer.attribute("l", &Value::Strings(strings));
    let numbers = Numbers {
        scalar: Scalar::I32,
        bytes: vec![7; 40],
    };
    writer.attribute("n", &Value::Numbers(numbers));
    for kind in Kind::ALL {
        writer.tensor(kind.name(), kind, &[256, 2]).unwrap();
    }
    let mut file = Vec::new();
    let data = |name: &str| -> Result<_, std::io::Error> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.unwrap();
        Ok(vec![
            0;
            (512 / kind.block_values() * kind.block_bytes())
                as usize
        ])
    };
    writer.write(&mut file, data).unwrap();
    file
}

/// What holds of every file that is read without an error.
fn keeps_its_promises(gguf: &Gguf, length: u64) -> Result<(), TestCaseError> {
    let mut end = 0;
    let mut tensors: Vec<_> = gguf.tensors().map(|(_, tensor)| tensor).collect();
    tensors.sort_by_key(|tensor| tensor.offset);
    for tensor in tensors {
        prop_assert!(tensor.offset >= end);
        end = tensor.offset + tensor.bytes;
        prop_assert!(end <= length);
        let values = tensor.columns() * tensor.rows();
        let blocks = values / tensor.kind.block_values();
        prop_assert_eq!(blocks * tensor.kind.block_bytes(), tensor.bytes);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(
        damage in prop::collection::vec((0usize..1500, any::<u8>()), 0..6),
        wide in prop::option::of((0usize..1500, prop::sample::select(vec![0u64, 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX]))),
        cut in prop::option::of(0usize..4000),
    ) {
        let mut file = sound();
        for (at, byte) in damage {
            let at = at % file.len();
            file[at] = byte;
        }
        if let Some((at, number)) = wide {
            let at = at % (file.len() - 8);
            file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        file.truncate(cut.unwrap_or(usize::MAX));
        if let Ok(gguf) = Gguf::read(&file[..], file.len() as u64) {
            keeps_its_promises(&gguf, file.len() as u64)?;
        }
    }

    #[test]
    fn noise_is_no_file(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = [b"GGUF\x03\0\0\0", &noise[..]].concat();
        if let Ok(gguf) = Gguf::read(&file[..], file.len() as u64) {
            keeps_its_promises(&gguf, file.len() as u64)?;
        }
    }
}
