//! Which instructions the kernels use on this CPU.

use std::fmt;

use crate::simd::{Kernel, scalar::Scalar};
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

/// A set of instructions that this CPU has. Packed weights and activations belong to one isa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// The fastest isa of this CPU.
    pub fn best() -> Self {
        let scalar = Self(Kind::Scalar(Scalar));
        Self::available().last().unwrap_or(scalar)
    }

    /// Every isa that this CPU can execute, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let found = [
            Some(Kind::Scalar(Scalar)),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Kind::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Kind::Avx512),
        ];
        found.into_iter().flatten().map(Self)
    }

    /// The isa with this name, to force one: `scalar`, `avx2` or `avx512-vnni`.
    ///
    /// # Errors
    /// There is no such isa, or this CPU cannot execute it.
    pub fn named(name: &str) -> Result<Self, UnknownIsa> {
        Self::available()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| UnknownIsa {
                name: name.to_owned(),
            })
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512-vnni",
        }
    }

    /// Runs the kernel's code for this isa.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Scalar(simd) => kernel.run(simd),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd) => simd.run(kernel),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A isa that does not exist or that this CPU cannot execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa {
    pub name: String,
}

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here: Vec<_> = Isa::available().map(Isa::name).collect();
        write!(
            f,
            "kernel isa {:?}: this CPU can execute {}",
            self.name,
            here.join(", ")
        )
    }
}

impl std::error::Error for UnknownIsa {}
