//! Where a tensor stands in a file, and the checks that it may stand there.

use std::collections::BTreeMap;

use crate::Kind;
use crate::error::Problem;

/// A tensor of a file: its type, its shape, its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub kind: Kind,
    /// Innermost first: a matrix of `rows` rows has `[columns, rows]`.
    pub dimensions: Vec<u64>,
    /// The byte of the file where it begins.
    pub offset: u64,
    /// Bytes it takes.
    pub bytes: u64,
}

impl Tensor {
    /// Values of a row.
    pub fn columns(&self) -> u64 {
        self.dimensions.first().copied().unwrap_or(0)
    }

    /// Rows, all outer dimensions together. Cannot overflow: [`size`] has checked the product.
    pub fn rows(&self) -> u64 {
        self.dimensions.iter().skip(1).product()
    }
}

/// Bytes of a tensor of this shape.
pub(crate) fn size(name: &str, kind: Kind, dimensions: &[u64]) -> Result<u64, Problem> {
    let shape = |problem: String| Problem::Shape {
        name: name.to_owned(),
        problem,
    };
    let columns = dimensions.first().copied().unwrap_or(0);
    if dimensions.contains(&0) {
        return Err(shape(format!("{dimensions:?} holds no value")));
    }
    if !columns.is_multiple_of(kind.block_values()) {
        return Err(shape(format!(
            "rows of {columns} values are no whole blocks of {} ({})",
            kind.block_values(),
            kind.name()
        )));
    }
    let values = (dimensions.iter()).try_fold(1u64, |product, &d| product.checked_mul(d));
    let bytes = values.and_then(|n| (n / kind.block_values()).checked_mul(kind.block_bytes()));
    bytes.ok_or_else(|| shape(format!("{dimensions:?} is too large for any file")))
}

/// Refuses tensors that stand outside of the data or upon each other. `data` is where it begins.
pub(crate) fn place(
    tensors: &mut BTreeMap<String, Tensor>,
    data: u64,
    length: u64,
    alignment: u64,
) -> Result<(), Problem> {
    let room = length.saturating_sub(data);
    for (name, tensor) in tensors.iter_mut() {
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(Problem::Unaligned {
                name: name.clone(),
                offset: tensor.offset,
                alignment,
            });
        }
        let end = tensor.offset.saturating_add(tensor.bytes);
        if end > room {
            return Err(Problem::Outside {
                name: name.clone(),
                end,
                data: room,
            });
        }
        tensor.offset += data;
    }
    let mut by_place: Vec<_> = tensors.iter().collect();
    by_place.sort_by_key(|(_, tensor)| tensor.offset);
    for pair in by_place.windows(2) {
        let ((first, before), (second, after)) = (pair[0], pair[1]);
        if before.offset + before.bytes > after.offset {
            return Err(Problem::Overlap {
                first: first.clone(),
                second: second.clone(),
            });
        }
    }
    Ok(())
}
