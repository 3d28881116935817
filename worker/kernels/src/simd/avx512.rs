//! AVX-512 with VNNI: vectors of sixteen, and `vpdpbusd`, which adds four products of u8 and i8 to
//! an i32 without saturation.

use std::arch::x86_64::*;

use super::Simd;
use crate::simd::Kernel;

const LANES: usize = 16;

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn enter<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
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
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

/// The bytes of one input group for two vectors of channels.
///
/// No closure reads them (`[0, 1].map(..)`): a closure is a function without the isa's features, into
/// which no instruction is inlined.
/// # Safety
/// `p` is valid for reading 128 bytes; the caller has the token.
#[inline(always)]
unsafe fn panel(p: *const u8) -> [__m512i; 2] {
    // SAFETY: as promised.
    unsafe {
        [
            _mm512_loadu_si512(p.cast()),
            _mm512_loadu_si512(p.add(64).cast()),
        ]
    }
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type Act = u8;
    type A = __m512i;
    type W = __m512i;

    const LANES: usize = LANES;
    const K_GROUP: usize = 4;
    const TILE_ROWS: usize = 8;
    const BLOCK_TILE_ROWS: usize = 6;
    const BYTE_OFFSET: i32 = 128;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        self.run(kernel)
    }

    ops! {
        splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        round(a: __m512) -> __m512 =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
        sum(a: __m512) -> f32 = _mm512_reduce_add_ps(a);
        smallest(a: __m512) -> f32 = _mm512_reduce_min_ps(a);
        largest(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
        to_f32(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        add_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        zero_i32() -> __m512i = _mm512_setzero_si512();
        dot(acc: __m512i, a: __m512i, w: __m512i) -> __m512i = _mm512_dpbusd_epi32(acc, a, w);
        prefetch(p: *const i8) -> () = _mm_prefetch::<_MM_HINT_T1>(p);
        prefetch_to_write(p: *const f32) -> () = _mm_prefetch::<_MM_HINT_ET0>(p.cast());
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize, fill: f32) -> __m512 {
        // SAFETY: the token for the instruction; a masked load touches the first n lanes alone.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(n), p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: __m512) {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm512_storeu_ps(p, a) }
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, a: __m512) {
        // SAFETY: the token for the instruction; a masked store touches the first n lanes alone.
        unsafe { _mm512_mask_storeu_ps(p, first(n), a) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512 {
        // SAFETY: the token for the instructions; sixteen bytes are read, as promised.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_act(self, p: *mut u8, a: __m512) {
        // SAFETY: the token for the instructions; sixteen bytes are written, as promised.
        unsafe {
            _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
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
            let mut x = [_mm512_setzero_ps(); LANES];
            for (r, x) in x.iter_mut().enumerate() {
                if r < rows {
                    *x = _mm512_maskz_loadu_ps(first(cols), src.add(r * stride));
                }
            }
            let y = transposed(x);
            for (c, y) in y.into_iter().enumerate() {
                if c < cols {
                    _mm512_storeu_ps(dst.add(c * LANES * 2), y);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m512 {
        // SAFETY: the token for the instructions; sixteen values are read, as promised.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, a: __m512) {
        // SAFETY: the token for the instructions; sixteen values are written, as promised.
        unsafe {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a);
            _mm256_storeu_si256(p.cast(), half);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m512 {
        // SAFETY: the token for the instructions; sixteen values are read, as promised.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, a: __m512) {
        // SAFETY: the token for the instructions; sixteen bytes are written, as promised.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a))) }
    }

    /// `vpdpbusd` takes one operand without sign: the weights, which are stored 128 higher.
    #[inline(always)]
    unsafe fn block_i8<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        first: [i32; R],
        _: usize,
    ) -> [[__m512i; 2]; R] {
        // SAFETY: the token for the instructions; group g < 8 reads 128 bytes of weights and four
        // activations of each of R rows.
        unsafe {
            let mut acc = [[_mm512_setzero_si512(); 2]; R];
            for (acc, first) in acc.iter_mut().zip(first) {
                *acc = [_mm512_set1_epi32(first); 2];
            }
            for g in 0..8 {
                let w = panel(w.add(g * 128));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = a.add(r * stride + g * 4).cast::<i32>().read_unaligned();
                    let a = _mm512_set1_epi32(a);
                    for v in 0..2 {
                        acc[v] = _mm512_dpbusd_epi32(acc[v], w[v], a);
                    }
                }
            }
            acc
        }
    }
    #[inline(always)]
    unsafe fn block_u4<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        _: usize,
    ) -> [[__m512i; 2]; R] {
        // SAFETY: the token for the instructions; group g < 4 reads 128 bytes of weights and twice
        // four activations of each of R rows.
        unsafe {
            let low = _mm512_set1_epi8(15);
            let mut acc = [[_mm512_setzero_si512(); 2]; R];
            for g in 0..4 {
                let both = panel(w.add(g * 128));
                for half in 0..2 {
                    let shifted = match half {
                        0 => both,
                        _ => [
                            _mm512_srli_epi16::<4>(both[0]),
                            _mm512_srli_epi16::<4>(both[1]),
                        ],
                    };
                    let w = [
                        _mm512_and_si512(shifted[0], low),
                        _mm512_and_si512(shifted[1], low),
                    ];
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let at = r * stride + half * 16 + g * 4;
                        let a = _mm512_set1_epi32(a.add(at).cast::<i32>().read_unaligned());
                        for v in 0..2 {
                            acc[v] = _mm512_dpbusd_epi32(acc[v], w[v], a);
                        }
                    }
                }
            }
            acc
        }
    }

    #[inline(always)]
    unsafe fn block_u5<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        _: usize,
    ) -> [[__m512i; 2]; R] {
        // SAFETY: the token for the instructions; group g < 4 reads 128 bytes of weights, then 128
        // of fifth bits, and twice four activations of each of R rows.
        unsafe {
            let low = _mm512_set1_epi8(15);
            let high = _mm512_set1_epi8(16);
            let fifth = panel(w.add(512));
            let mut acc = [[_mm512_setzero_si512(); 2]; R];
            for half in 0..2 {
                for g in 0..4 {
                    let mut w = panel(w.add(g * 128));
                    for v in 0..2 {
                        if half == 1 {
                            w[v] = _mm512_srli_epi16::<4>(w[v]);
                        }
                        let count =
                            _mm_cvtsi32_si128(if half == 0 { 4 - g as i32 } else { g as i32 });
                        let bit = if half == 0 {
                            _mm512_sll_epi16(fifth[v], count)
                        } else {
                            _mm512_srl_epi16(fifth[v], count)
                        };
                        let bit = _mm512_and_si512(bit, high);
                        w[v] = _mm512_or_si512(_mm512_and_si512(w[v], low), bit);
                    }
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let at = r * stride + half * 16 + g * 4;
                        let a = _mm512_set1_epi32(a.add(at).cast::<i32>().read_unaligned());
                        for v in 0..2 {
                            acc[v] = _mm512_dpbusd_epi32(acc[v], w[v], a);
                        }
                    }
                }
            }
            acc
        }
    }

    #[inline(always)]
    unsafe fn load_i32(self, p: *const i32) -> __m512i {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i32(self, p: *mut i32, a: __m512i) {
        // SAFETY: the token for the instruction, the caller for the pointer.
        unsafe { _mm512_storeu_si512(p.cast(), a) }
    }
    #[inline(always)]
    unsafe fn load_a(self, p: *const u8) -> __m512i {
        // SAFETY: the token for the instruction; four bytes are read, as promised.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_w(self, p: *const i8) -> __m512i {
        // SAFETY: the token for the instruction; 64 bytes are read, as promised.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
}

/// The 16 x 16 transpose: pairs, then quads inside each 128-bit quarter, then the quarters
/// themselves.
#[inline(always)]
fn transposed(x: [__m512; LANES]) -> [__m512; LANES] {
    // SAFETY: only called from methods of the token, which proves AVX-512; register instructions.
    unsafe {
        let mut pairs = x;
        for i in 0..8 {
            pairs[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        // quads[4 * i + c] holds column c + 4 * quarter of rows 4 * i ..
        let mut quads = x;
        for i in 0..4 {
            let p = &pairs[4 * i..4 * i + 4];
            quads[4 * i] = _mm512_shuffle_ps::<0x44>(p[0], p[2]);
            quads[4 * i + 1] = _mm512_shuffle_ps::<0xEE>(p[0], p[2]);
            quads[4 * i + 2] = _mm512_shuffle_ps::<0x44>(p[1], p[3]);
            quads[4 * i + 3] = _mm512_shuffle_ps::<0xEE>(p[1], p[3]);
        }
        let mut out = x;
        for c in 0..4 {
            let (a, b, d, e) = (quads[c], quads[c + 4], quads[c + 8], quads[c + 12]);
            let even_low = _mm512_shuffle_f32x4::<0x88>(a, b);
            let odd_low = _mm512_shuffle_f32x4::<0xDD>(a, b);
            let even_high = _mm512_shuffle_f32x4::<0x88>(d, e);
            let odd_high = _mm512_shuffle_f32x4::<0xDD>(d, e);
            out[c] = _mm512_shuffle_f32x4::<0x88>(even_low, even_high);
            out[c + 4] = _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high);
            out[c + 8] = _mm512_shuffle_f32x4::<0xDD>(even_low, even_high);
            out[c + 12] = _mm512_shuffle_f32x4::<0xDD>(odd_low, odd_high);
        }
        out
    }
}
