//! The vector instructions that the kernels are written in, once for every isa.
//!
//! A kernel is a type with one generic [`Kernel::run`]; an ISA is a token that implements [`Simd`].
//! A token can only be made on a CPU that has the isa's instructions, so holding one is the proof
//! that the safe operations below may be executed. Only loads and stores are unsafe: they take
//! pointers.
//!
//! Every method is `#[inline(always)]`: a kernel must end up inside the isa's `#[target_feature]`
//! entry function as one piece of code, or each operation becomes a call.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod number;
pub(crate) mod rows;
pub(crate) mod scalar;

/// Columns of the widest panel and lanes of the widest vector, for buffers on the stack.
pub(crate) const MAX_PANEL: usize = 32;

/// The largest [`Simd::TILE_ROWS`] of any isa.
pub(crate) const MAX_TILE_ROWS: usize = 8;

/// Work that is compiled once for each isa and run by [`crate::Isa::run`].
pub(crate) trait Kernel {
    type Output;

    /// Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// One isa's instructions. `F` holds [`Simd::LANES`] f32, `I` as many i32.
pub(crate) trait Simd: Copy {
    type F: Copy;
    type I: Copy;

    /// A quantized activation, 0..=255.
    type Act: Copy;
    /// [`Simd::K_GROUP`] activations of one row, repeated for every lane.
    type A: Copy;
    /// [`Simd::K_GROUP`] weights for each of [`Simd::LANES`] output channels.
    type W: Copy;

    const LANES: usize;
    /// Consecutive input features that one [`Simd::dot`] consumes.
    const K_GROUP: usize;
    /// Rows of the largest tile of the int8 product: what the registers hold.
    const TILE_ROWS: usize;
    /// Rows of the largest tile of the block-scaled product: what the registers hold.
    const BLOCK_TILE_ROWS: usize;
    /// What is added to a signed weight of the block-scaled product where it is stored as a byte.
    const BYTE_OFFSET: i32;

    /// Runs a kernel as a function of its own rather than as a part of the caller: less code where it
    /// is called from several places.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger of each pair; `b` where either is not a number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller of each pair; `b` where either is not a number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// a * b + c, rounded once where the isa can.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// a * 2^n for integral n in -126..=127.
    fn scale(self, a: Self::F, n: Self::F) -> Self::F;
    /// The sum of all lanes.
    fn sum(self, a: Self::F) -> f32;
    /// The smallest lane.
    fn smallest(self, a: Self::F) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::F) -> f32;

    /// # Safety
    /// `p` is valid for reading [`Simd::LANES`] values.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// The first `n` lanes from memory, the others `fill`.
    /// # Safety
    /// `p` is valid for reading `n` values; `n <= LANES`.
    unsafe fn load_n(self, p: *const f32, n: usize, fill: f32) -> Self::F;
    /// # Safety
    /// `p` is valid for writing [`Simd::LANES`] values.
    unsafe fn store(self, p: *mut f32, a: Self::F);
    /// The first `n` lanes.
    /// # Safety
    /// `p` is valid for writing `n` values; `n <= LANES`.
    unsafe fn store_n(self, p: *mut f32, n: usize, a: Self::F);
    /// [`Simd::LANES`] bytes, each to f32.
    /// # Safety
    /// `p` is valid for reading [`Simd::LANES`] values.
    unsafe fn load_i8(self, p: *const i8) -> Self::F;
    /// Rounds to the nearest integer and stores as activations; the caller keeps lanes in 0..=255.
    /// # Safety
    /// `p` is valid for writing [`Simd::LANES`] values.
    unsafe fn store_act(self, p: *mut Self::Act, a: Self::F);
    /// `dst[c * LANES * 2 + r] = src[r * stride + c]` for a block of LANES rows and `cols` columns;
    /// rows from `rows` on count as zero.
    /// # Safety
    /// `src` is valid for reading `rows` rows of `cols` values, `dst` for writing `cols` lines;
    /// both counts are at most LANES.
    unsafe fn transpose(
        self,
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
    );

    /// [`Simd::LANES`] half-precision values (IEEE 754 binary16), each to f32.
    /// # Safety
    /// `p` is valid for reading [`Simd::LANES`] values.
    unsafe fn load_f16(self, p: *const u16) -> Self::F;
    /// Rounds to half precision, ties to even.
    /// # Safety
    /// `p` is valid for writing [`Simd::LANES`] values.
    unsafe fn store_f16(self, p: *mut u16, a: Self::F);
    /// [`Simd::LANES`] values of bfloat16, each to f32.
    /// # Safety
    /// `p` is valid for reading [`Simd::LANES`] values.
    unsafe fn load_bf16(self, p: *const u16) -> Self::F;
    /// Rounds to the nearest integer and stores as bytes; the caller keeps lanes in -127..=127.
    /// # Safety
    /// `p` is valid for writing [`Simd::LANES`] values.
    unsafe fn store_i8(self, p: *mut i8, a: Self::F);

    fn to_f32(self, a: Self::I) -> Self::F;
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn zero_i32(self) -> Self::I;
    /// # Safety
    /// `p` is valid for reading [`Simd::LANES`] values.
    unsafe fn load_i32(self, p: *const i32) -> Self::I;
    /// # Safety
    /// `p` is valid for writing [`Simd::LANES`] values.
    unsafe fn store_i32(self, p: *mut i32, a: Self::I);

    /// # Safety
    /// `p` is valid for reading [`Simd::K_GROUP`] values.
    unsafe fn load_a(self, p: *const Self::Act) -> Self::A;
    /// # Safety
    /// `p` is valid for reading `LANES * K_GROUP` values.
    unsafe fn load_w(self, p: *const i8) -> Self::W;
    /// For every lane: acc + the dot product of its [`Simd::K_GROUP`] weights with the activations,
    /// exact.
    fn dot(self, acc: Self::I, a: Self::A, w: Self::W) -> Self::I;
    /// The exact dot products of one block of 32 inputs: `first[r]` plus row r's activations times
    /// the weights of two vectors of channels. Weights are bytes with [`Simd::BYTE_OFFSET`] added,
    /// `[input / 4][vector][channel][input % 4]`; the caller's `first` takes the offset back. `groups`
    /// is 4: a loop that the compiler cannot unroll keeps its sums in registers.
    /// # Safety
    /// `w` is valid for reading 64 * LANES bytes, `a` for R rows of 32 values, `stride` apart, each
    /// in -127..=127; `groups` is 4.
    unsafe fn block_i8<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        first: [i32; R],
        groups: usize,
    ) -> [[Self::I; 2]; R];
    /// As [`Simd::block_i8`] from zero with weights 0..=15, two a byte: `[input / 4 % 4][vector]
    /// [channel][input % 4]`, inputs 0..16 in the low halves, 16..32 in the high ones.
    /// # Safety
    /// `w` is valid for reading 32 * LANES bytes, the others as above.
    unsafe fn block_u4<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        groups: usize,
    ) -> [[Self::I; 2]; R];
    /// As [`Simd::block_u4`] with weights 0..=31: after the lower four bits `[vector][channel][input %
    /// 4]` bytes, bit i of which is the fifth of input group i.
    /// # Safety
    /// `w` is valid for reading 40 * LANES bytes, the others as above.
    unsafe fn block_u5<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        groups: usize,
    ) -> [[Self::I; 2]; R];
    /// Asks for the cache line at `p`; any address is allowed.
    fn prefetch(self, p: *const i8);
    /// Asks for the cache line at `p`, to write it soon; any address is allowed.
    fn prefetch_to_write(self, p: *const f32);
}
