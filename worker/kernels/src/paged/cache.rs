//! The pool of pages.

use std::marker::PhantomData;

use crate::aligned::{Aligned, LINE_BYTES};
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::simd::number::{AsF16, AsF32, Storable};
use crate::simd::{Kernel, MAX_PANEL, Simd};

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;

/// Rows of values are padded to a multiple of this, whole panels of any isa.
pub(crate) const PAGE_VALUES_PAD: usize = MAX_PANEL;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    F32,
    /// Half precision.
    F16,
}

impl KvType {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// What a cache holds for each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl KvShape {
    pub(crate) fn fits(&self, kv_heads: usize, head_dim: usize) -> Result<(), ShapeError> {
        exactly("key heads of the cache", kv_heads, self.kv_heads)?;
        exactly("head width of the cache", head_dim, self.head_dim)
    }

    /// Numbers of one head in a page: keys, then values.
    fn head_numbers(&self) -> usize {
        PAGE_TOKENS * (self.head_dim + self.head_dim.next_multiple_of(PAGE_VALUES_PAD))
    }

    /// Numbers of one layer's page.
    fn page_numbers(&self) -> usize {
        self.kv_heads * self.head_numbers()
    }
}

/// Keys and values of every layer, in pages of [`PAGE_TOKENS`] tokens. Pages that are not used take
/// no memory.
pub struct KvCache {
    shape: KvShape,
    pages: usize,
    kind: KvType,
    bytes: Aligned<u8>,
}

impl KvCache {
    pub fn new(shape: KvShape, pages: usize, kind: KvType) -> Self {
        Self {
            shape,
            pages,
            kind,
            bytes: Aligned::zeroed(Self::bytes_for(shape, pages, kind)),
        }
    }

    /// Bytes that a cache takes when every page is used.
    pub fn bytes_for(shape: KvShape, pages: usize, kind: KvType) -> usize {
        let page = shape.page_numbers() * kind.bytes();
        debug_assert!(page.is_multiple_of(LINE_BYTES));
        shape.layers.saturating_mul(pages).saturating_mul(page)
    }

    pub fn shape(&self) -> KvShape {
        self.shape
    }

    pub fn pages(&self) -> usize {
        self.pages
    }

    pub fn kind(&self) -> KvType {
        self.kind
    }

    pub fn bytes(&self) -> usize {
        self.bytes.bytes()
    }

    /// Copies a page in every layer, for a sequence that goes on differently from there.
    ///
    /// # Errors
    /// A page is outside the cache.
    pub fn copy_page(&mut self, from: u32, to: u32) -> Result<(), ShapeError> {
        for page in [from, to] {
            at_most("page", self.pages.saturating_sub(1), page as usize)?;
        }
        let size = self.shape.page_numbers() * self.kind.bytes();
        for layer in 0..self.shape.layers {
            let at = |page: u32| (layer * self.pages + page as usize) * size;
            self.bytes.copy_within(at(from)..at(from) + size, at(to));
        }
        Ok(())
    }

    /// Writes the keys and values of some tokens of a sequence, from position `start` on: rows of
    /// `kv_heads * head_dim` values each.
    ///
    /// # Errors
    /// Shapes do not fit, or a page is missing or outside the cache.
    pub fn write(
        &mut self,
        isa: Isa,
        layer: usize,
        pages: &[u32],
        start: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), ShapeError> {
        let KvShape {
            kv_heads, head_dim, ..
        } = self.shape;
        let width = kv_heads * head_dim;
        at_most("layer", self.shape.layers.saturating_sub(1), layer)?;
        exactly("keys", keys.len() / width * width, keys.len())?;
        exactly("values", keys.len(), values.len())?;
        self.check_pages(pages, start + keys.len() / width)?;
        let view = self.view_mut();
        for (r, (keys, values)) in keys
            .chunks_exact(width)
            .zip(values.chunks_exact(width))
            .enumerate()
        {
            let page = pages[(start + r) / PAGE_TOKENS];
            for head in 0..kv_heads {
                let first = head * head_dim;
                isa.run(WriteHead {
                    cache: view,
                    at: Place {
                        layer,
                        page,
                        slot: (start + r) % PAGE_TOKENS,
                        head,
                    },
                    key: &keys[first..][..head_dim],
                    value: &values[first..][..head_dim],
                });
            }
        }
        Ok(())
    }

    /// Refuses a page table that does not hold `tokens` tokens or leaves the cache.
    pub(crate) fn check_pages(&self, pages: &[u32], tokens: usize) -> Result<(), ShapeError> {
        at_least("pages", tokens.div_ceil(PAGE_TOKENS), pages.len())?;
        for &page in pages {
            at_most("page", self.pages.saturating_sub(1), page as usize)?;
        }
        Ok(())
    }

    pub(crate) fn view(&self) -> CacheView<'_> {
        CacheView {
            shape: self.shape,
            pages: self.pages,
            kind: self.kind,
            bytes: self.bytes.as_ptr().cast_mut(),
            borrow: PhantomData,
        }
    }

    pub(crate) fn view_mut(&mut self) -> CacheView<'_> {
        CacheView {
            bytes: self.bytes.as_mut_ptr(),
            ..self.view()
        }
    }
}

/// A cache that members of a team write and read; who uses it keeps the two apart.
#[derive(Clone, Copy)]
pub(crate) struct CacheView<'a> {
    pub(crate) shape: KvShape,
    pages: usize,
    pub(crate) kind: KvType,
    bytes: *mut u8,
    borrow: PhantomData<&'a KvCache>,
}

// SAFETY: the pointer is used only in unsafe methods, whose callers keep writes and reads apart.
unsafe impl Send for CacheView<'_> {}
// SAFETY: as above.
unsafe impl Sync for CacheView<'_> {}

/// Where one token's head lies.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    pub(crate) page: u32,
    pub(crate) slot: usize,
    pub(crate) head: usize,
}

impl CacheView<'_> {
    /// Keys of one head of a page, `[head_dim][PAGE_TOKENS]`.
    ///
    /// # Safety
    /// Layer, page and head are in the cache, and `T` is its kind.
    #[inline(always)]
    pub(crate) unsafe fn keys<T: Storable>(
        &self,
        layer: usize,
        page: u32,
        head: usize,
    ) -> *mut T::Number {
        debug_assert!((page as usize) < self.pages && head < self.shape.kv_heads);
        let at = (layer * self.pages + page as usize) * self.shape.page_numbers()
            + head * self.shape.head_numbers();
        // SAFETY: the caller's promise.
        unsafe { self.bytes.cast::<T::Number>().add(at) }
    }

    /// Values of one head of a page, `[PAGE_TOKENS][head_dim, padded]`.
    ///
    /// # Safety
    /// As [`CacheView::keys`].
    #[inline(always)]
    pub(crate) unsafe fn values<T: Storable>(
        &self,
        layer: usize,
        page: u32,
        head: usize,
    ) -> *mut T::Number {
        // SAFETY: the keys of a head are followed by its values.
        unsafe {
            self.keys::<T>(layer, page, head)
                .add(PAGE_TOKENS * self.shape.head_dim)
        }
    }

    /// Stores one token's key and value of one head.
    ///
    /// # Safety
    /// The view came from a mutable borrow; the place is in the cache and nobody else uses it now;
    /// both rows are valid for reading `head_dim` values.
    #[inline(always)]
    pub(crate) unsafe fn put<S: Simd>(&self, s: S, at: Place, key: *const f32, value: *const f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.kind {
                KvType::F32 => self.put_as::<S, AsF32>(s, at, key, value),
                KvType::F16 => self.put_as::<S, AsF16>(s, at, key, value),
            }
        }
    }

    /// # Safety
    /// As [`CacheView::put`].
    #[inline(always)]
    unsafe fn put_as<S: Simd, T: Storable>(
        &self,
        s: S,
        at: Place,
        key: *const f32,
        value: *const f32,
    ) {
        let dim = self.shape.head_dim;
        // SAFETY: d < dim; a row of values is padded to whole vectors.
        unsafe {
            let keys = self.keys::<T>(at.layer, at.page, at.head).add(at.slot);
            let stride = dim.next_multiple_of(PAGE_VALUES_PAD);
            let values = self.values::<T>(at.layer, at.page, at.head);
            let values = values.add(at.slot * stride);
            let mut line = Aligned32::<T>::zeroed();
            for d in (0..dim).step_by(S::LANES) {
                let n = S::LANES.min(dim - d);
                T::store(s, line.0.as_mut_ptr(), s.load_n(key.add(d), n, 0.0));
                for (i, &x) in line.0.iter().enumerate().take(n) {
                    *keys.add((d + i) * PAGE_TOKENS) = x;
                }
                T::store(s, values.add(d), s.load_n(value.add(d), n, 0.0));
            }
        }
    }
}

/// A vector of numbers on the stack, of any isa.
struct Aligned32<T: Storable>([T::Number; MAX_PANEL]);

impl<T: Storable> Aligned32<T> {
    #[inline(always)]
    fn zeroed() -> Self {
        // SAFETY: zero bytes are a number.
        Self([unsafe { std::mem::zeroed() }; MAX_PANEL])
    }
}

struct WriteHead<'a> {
    cache: CacheView<'a>,
    at: Place,
    key: &'a [f32],
    value: &'a [f32],
}

impl Kernel for WriteHead<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `KvCache::write` checked the place and the rows, and borrowed the cache mutably.
        unsafe {
            self.cache
                .put(s, self.at, self.key.as_ptr(), self.value.as_ptr());
        }
    }
}
