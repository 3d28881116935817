//! AVX2 with FMA: vectors of eight.
//!
//! The int8 product is exact. `vpmaddubsw` would add two products in 16 bits and saturate, so
//! activations are kept as i16 and `vpmaddwd` adds pairs of products in 32 bits.

use std::arch::x86_64::*;

use super::Simd;
use crate::simd::Kernel;

const LANES: usize = 8;

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn enter<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: the token proves that the CPU has these features.
        unsafe { enter(self, kernel) }
    }
}

/// Functions that are one expression of register instructions.
macro_rules! ops {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> $out {
            // SAFETY: the token proves that the CPU has these instructions, and they touch no
            // memory.
            unsafe { $body }
        }
    )*};
}

/// The mask whose first n lanes are set.
#[inline(always)]
fn first(n: usize) -> __m256i {
    // SAFETY: only called from methods of the token, which proves AVX2; register instructions.
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)
    }
}

/// The bytes of one input group for two vectors of channels.
///
/// No closure reads them (`[0, 1].map(..)`): a closure is a function without the isa's features, into
/// which no instruction is inlined.
/// # Safety
/// `p` is valid for reading 64 bytes; the caller has the token.
#[inline(always)]
unsafe fn panel(p: *const u8) -> [__m256i; 2] {
    // SAFETY: as promised.
    unsafe {
        [
            _mm256_loadu_si256(p.cast()),
            _mm256_loadu_si256(p.add(32).cast()),
        ]
    }
}

impl Simd for Avx2 {
    type F = __m256;
    type I = __m256i;
    type Act = i16;
    type A = __m256i;
    type W = __m256i;

    const LANES: usize = LANES;
    const K_GROUP: usize = 2;
    const TILE_ROWS: usize = 4;
    const BLOCK_TILE_ROWS: usize = 4;
    const BYTE_OFFSET: i32 = 0;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        self.run(kernel)
    }

    ops! {
        splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        round(a: __m256) -> __m256 =
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale(a: __m256, n: __m256) -> __m256 = {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        };
        sum(a: __m256) -> f32 = {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        };
        smallest(a: __m256) -> f32 = {
            let four = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)))
        };
        largest(a: __m256) -> f32 = {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        };
        to_f32(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        add_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        zero_i32() -> __m256i = _mm256_setzero_si256();
        dot(acc: __m256i, a: __m256i, w: __m256i) -> __m256i =
            _mm256_add_epi32(acc, _mm256_madd_epi16(a, w));
        prefetch(p: *const i8) -> () = _mm_prefetch::<_MM_HINT_T1>(p);
        prefetch_to_write(p: *const f32) -> () = _mm_prefetch::<_MM_HINT_ET0>(p.cast());
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize, fill: f32) -> __m256 {
        // SAFETY: the token for the instructions; a masked load touches the first n lanes alone.
        unsafe {
            let mask = first(n);
            let some = _mm256_maskload_ps(p, mask);
            _mm256_blendv_ps(_mm256_set1_ps(fill), some, _mm256_castsi256_ps(mask))
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: __m256) {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm256_storeu_ps(p, a) }
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, a: __m256) {
        // SAFETY: the token for the instruction; a masked store touches the first n lanes alone.
        unsafe { _mm256_maskstore_ps(p, first(n), a) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m256 {
        // SAFETY: the token for the instructions; eight bytes are read, as promised.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_act(self, p: *mut i16, a: __m256) {
        // SAFETY: the token for the instructions; eight i16 are written, as promised.
        unsafe {
            let wide = _mm256_cvtps_epi32(a);
            let low = _mm256_castsi256_si128(wide);
            let high = _mm256_extracti128_si256::<1>(wide);
            _mm_storeu_si128(p.cast(), _mm_packs_epi32(low, high));
        }
    }
    #[inline(always)]
    unsafe fn transpose(
        self,
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
    ) {
        // SAFETY: row r < rows is read in its first `cols` lanes, line c < cols is written whole.
        unsafe {
            let mut x = [_mm256_setzero_ps(); LANES];
            for (r, x) in x.iter_mut().enumerate() {
                if r < rows {
                    *x = _mm256_maskload_ps(src.add(r * stride), first(cols));
                }
            }
            let y = transposed(x);
            for (c, y) in y.into_iter().enumerate() {
                if c < cols {
                    _mm256_storeu_ps(dst.add(c * LANES * 2), y);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m256 {
        // SAFETY: the token for the instructions; eight values are read, as promised.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, a: __m256) {
        // SAFETY: the token for the instructions; eight values are written, as promised.
        unsafe {
            let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a);
            _mm_storeu_si128(p.cast(), half);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m256 {
        // SAFETY: the token for the instructions; eight values are read, as promised.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, a: __m256) {
        // SAFETY: the token for the instructions; eight bytes are written, as promised.
        unsafe {
            let wide = _mm256_cvtps_epi32(a);
            let low = _mm256_castsi256_si128(wide);
            let high = _mm256_extracti128_si256::<1>(wide);
            let words = _mm_packs_epi32(low, high);
            _mm_storel_epi64(p.cast(), _mm_packs_epi16(words, words));
        }
    }

    /// `vpmaddubsw` takes one operand without sign: the weight's magnitude, its sign being put on
    /// the activation. A pair's sum is at most 2 * 128 * 127, inside 16 bits.
    #[inline(always)]
    unsafe fn block_i8<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        first: [i32; R],
        groups: usize,
    ) -> [[__m256i; 2]; R] {
        // SAFETY: the token for the instructions; group g < 8 reads 64 bytes of weights and four
        // activations of each of R rows.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut acc = [[_mm256_setzero_si256(); 2]; R];
            for (acc, first) in acc.iter_mut().zip(first) {
                *acc = [_mm256_set1_epi32(first); 2];
            }
            for g in 0..2 * groups {
                let w = panel(w.add(g * 64));
                let size = [_mm256_abs_epi8(w[0]), _mm256_abs_epi8(w[1])];
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = a.add(r * stride + g * 4).cast::<i32>().read_unaligned();
                    let a = _mm256_set1_epi32(a);
                    for v in 0..2 {
                        let pairs = _mm256_maddubs_epi16(size[v], _mm256_sign_epi8(a, w[v]));
                        acc[v] = _mm256_add_epi32(acc[v], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            acc
        }
    }
    /// Sums of eight groups fit in 16 bits: 8 * 2 * 15 * 127 = 30,480. They are widened once.
    #[inline(always)]
    unsafe fn block_u4<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        groups: usize,
    ) -> [[__m256i; 2]; R] {
        // SAFETY: the token for the instructions; group g < 4 reads 64 bytes of weights and twice
        // four activations of each of R rows.
        unsafe {
            let low = _mm256_set1_epi8(15);
            let mut acc = [[_mm256_setzero_si256(); 2]; R];
            for g in 0..groups {
                let both = panel(w.add(g * 64));
                for half in 0..2 {
                    let shifted = match half {
                        0 => both,
                        _ => [
                            _mm256_srli_epi16::<4>(both[0]),
                            _mm256_srli_epi16::<4>(both[1]),
                        ],
                    };
                    let w = [
                        _mm256_and_si256(shifted[0], low),
                        _mm256_and_si256(shifted[1], low),
                    ];
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let at = r * stride + half * 16 + g * 4;
                        let a = _mm256_set1_epi32(a.add(at).cast::<i32>().read_unaligned());
                        for v in 0..2 {
                            acc[v] = _mm256_add_epi16(acc[v], _mm256_maddubs_epi16(w[v], a));
                        }
                    }
                }
            }
            let ones = _mm256_set1_epi16(1);
            for acc in &mut acc {
                *acc = [
                    _mm256_madd_epi16(acc[0], ones),
                    _mm256_madd_epi16(acc[1], ones),
                ];
            }
            acc
        }
    }
    /// Sums of four groups fit in 16 bits: 4 * 2 * 31 * 127 = 31,496. They are widened twice.
    #[inline(always)]
    unsafe fn block_u5<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        groups: usize,
    ) -> [[__m256i; 2]; R] {
        // SAFETY: the token for the instructions; group g < 4 reads 64 bytes of weights, then 64 of
        // fifth bits, and twice four activations of each of R rows.
        unsafe {
            let low = _mm256_set1_epi8(15);
            let high = _mm256_set1_epi8(16);
            let ones = _mm256_set1_epi16(1);
            let fifth = panel(w.add(256));
            let mut out = [[_mm256_setzero_si256(); 2]; R];
            for half in 0..2 {
                let mut acc = [[_mm256_setzero_si256(); 2]; R];
                for g in 0..groups {
                    let mut w = panel(w.add(g * 64));
                    for v in 0..2 {
                        if half == 1 {
                            w[v] = _mm256_srli_epi16::<4>(w[v]);
                        }
                        let count =
                            _mm_cvtsi32_si128(if half == 0 { 4 - g as i32 } else { g as i32 });
                        let bit = if half == 0 {
                            _mm256_sll_epi16(fifth[v], count)
                        } else {
                            _mm256_srl_epi16(fifth[v], count)
                        };
                        let bit = _mm256_and_si256(bit, high);
                        w[v] = _mm256_or_si256(_mm256_and_si256(w[v], low), bit);
                    }
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let at = r * stride + half * 16 + g * 4;
                        let a = _mm256_set1_epi32(a.add(at).cast::<i32>().read_unaligned());
                        for v in 0..2 {
                            acc[v] = _mm256_add_epi16(acc[v], _mm256_maddubs_epi16(w[v], a));
                        }
                    }
                }
                for r in 0..R {
                    for v in 0..2 {
                        let sums = _mm256_madd_epi16(acc[r][v], ones);
                        out[r][v] = _mm256_add_epi32(out[r][v], sums);
                    }
                }
            }
            out
        }
    }

    #[inline(always)]
    unsafe fn load_i32(self, p: *const i32) -> __m256i {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i32(self, p: *mut i32, a: __m256i) {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm256_storeu_si256(p.cast(), a) }
    }
    #[inline(always)]
    unsafe fn load_a(self, p: *const i16) -> __m256i {
        // SAFETY: the token for the instruction; two i16 are read, as promised.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_w(self, p: *const i8) -> __m256i {
        // SAFETY: the token for the instructions; sixteen bytes are read, as promised.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())) }
    }
}

/// The 8 x 8 transpose: pairs, then quads, then halves.
#[inline(always)]
fn transposed(x: [__m256; LANES]) -> [__m256; LANES] {
    // SAFETY: only called from methods of the token, which proves AVX2; register instructions.
    unsafe {
        let mut pairs = x;
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        let mut quads = x;
        for i in 0..2 {
            let p = &pairs[4 * i..4 * i + 4];
            quads[4 * i] = _mm256_shuffle_ps::<0x44>(p[0], p[2]);
            quads[4 * i + 1] = _mm256_shuffle_ps::<0xEE>(p[0], p[2]);
            quads[4 * i + 2] = _mm256_shuffle_ps::<0x44>(p[1], p[3]);
            quads[4 * i + 3] = _mm256_shuffle_ps::<0xEE>(p[1], p[3]);
        }
        let mut out = x;
        for i in 0..4 {
            out[i] = _mm256_permute2f128_ps::<0x20>(quads[i], quads[i + 4]);
            out[i + 4] = _mm256_permute2f128_ps::<0x31>(quads[i], quads[i + 4]);
        }
        out
    }
}
