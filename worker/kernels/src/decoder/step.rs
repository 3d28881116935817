//! One step: what is asked, what is refused, and what each member does.

use std::fmt;
use std::sync::atomic::AtomicUsize;

use super::Decoder;
use super::phases::Pass;
use super::workspace::{DecoderWorkspace, Plan};
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::paged::{KvCache, PAGE_TOKENS};
use crate::team::{Broken, SharedRows, Team};

/// The next tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    pub tokens: &'a [u32],
    /// The position of the first; those before it are in the cache.
    pub start: usize,
    /// The sequence's page table, up to its last token here at least.
    pub pages: &'a [u32],
    pub logits: Wanted,
}

/// Whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    None,
    /// Those after the chunk's last token.
    Last,
    /// Those after each of its tokens.
    All,
}

impl Chunk<'_> {
    /// Rows of logits that the chunk asks for.
    pub fn logit_rows(&self) -> usize {
        match self.logits {
            Wanted::None => 0,
            Wanted::Last => usize::from(!self.tokens.is_empty()),
            Wanted::All => self.tokens.len(),
        }
    }
}

/// Why a step was not computed. The cache's pages past each chunk's start are then undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepError {
    /// The step does not fit the decoder, the workspace, the cache or the output.
    Shape(ShapeError),
    /// Two chunks use a page that one of them writes.
    SharedPage { page: u32 },
    /// A thread that shared the work failed.
    Broken,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::SharedPage { page } => {
                write!(f, "page {page} is written by one chunk and used by another")
            }
            Self::Broken => Broken.fmt(f),
        }
    }
}

impl std::error::Error for StepError {}

impl From<ShapeError> for StepError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

impl From<Broken> for StepError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl Decoder {
    /// Computes the next tokens of some sequences and writes their keys and values to the cache.
    /// `out` gets a row of `vocab` logits for each that is wanted, in the order of chunks and tokens.
    ///
    /// # Errors
    /// A token is outside the vocabulary, a page table too short or outside the cache, a page is
    /// written by one chunk and used by another, the step has more rows or a longer sequence than
    /// the workspace, or workspace, cache or output are made for something else.
    pub fn step(
        &self,
        team: &mut Team,
        cache: &mut KvCache,
        workspace: &mut DecoderWorkspace,
        chunks: &[Chunk<'_>],
        out: &mut [f32],
    ) -> Result<(), StepError> {
        self.check(team, cache, workspace, chunks)?;
        workspace.plan.layout(chunks);
        workspace.plan.claim_pages(cache.pages(), chunks)?;
        let wanted: usize = chunks.iter().map(Chunk::logit_rows).sum();
        exactly("logits", wanted * self.parts.shape.vocab, out.len())?;
        let rows = workspace.plan.rows.len();
        if rows == 0 {
            return Ok(());
        }
        let pass = Pass {
            decoder: self,
            chunks,
            plan: &workspace.plan,
            by_rows: rows >= Pass::ROWS_OF_ONE * team.members(),
            cache: cache.view_mut(),
            hidden: SharedRows::new(&mut workspace.hidden),
            normed: SharedRows::new(&mut workspace.normed),
            normed_quant: workspace.normed_quant.view_mut(),
            qkv: SharedRows::new(&mut workspace.qkv),
            context: SharedRows::new(&mut workspace.context),
            context_quant: workspace.context_quant.view_mut(),
            branch: SharedRows::new(&mut workspace.branch),
            inner: SharedRows::new(&mut workspace.inner),
            inner_quant: workspace.inner_quant.view_mut(),
            tables: SharedRows::new(&mut workspace.tables),
            scratch: SharedRows::new(&mut workspace.scratch),
            max_rows: workspace.max_rows,
            max_context: workspace.max_context,
            out: SharedRows::new(out),
            taken: AtomicUsize::new(0),
        };
        team.run(|member| pass.run(member).map_err(StepError::from))
    }

    fn check(
        &self,
        team: &Team,
        cache: &KvCache,
        workspace: &DecoderWorkspace,
        chunks: &[Chunk<'_>],
    ) -> Result<(), ShapeError> {
        let fits = usize::from(workspace.sizes == self.sizes());
        exactly("workspaces made for such a decoder", 1, fits)?;
        at_most("members", workspace.members, team.members())?;
        let (found, expected) = (cache.shape(), self.kv_shape());
        exactly("layers of the cache", expected.layers, found.layers)?;
        found.fits(expected.kv_heads, expected.head_dim)?;
        let mut rows = 0usize;
        for chunk in chunks {
            rows = rows.saturating_add(chunk.tokens.len());
            at_least("tokens of a chunk", 1, chunk.tokens.len())?;
            let end = chunk.start.saturating_add(chunk.tokens.len());
            at_most("tokens of a sequence", workspace.max_context, end)?;
            cache.check_pages(chunk.pages, end)?;
            for &token in chunk.tokens {
                at_most("token", self.parts.shape.vocab - 1, token as usize)?;
            }
        }
        at_most("rows of a step", workspace.max_rows, rows)
    }
}

impl Plan {
    fn layout(&mut self, chunks: &[Chunk<'_>]) {
        self.rows.clear();
        self.first.clear();
        self.wanted.clear();
        for (c, chunk) in chunks.iter().enumerate() {
            self.first.push(self.rows.len());
            let positions = chunk.start..chunk.start + chunk.tokens.len();
            self.rows.extend(positions.map(|position| (c, position)));
            let end = self.rows.len();
            self.wanted.extend(end - chunk.logit_rows()..end);
        }
    }

    /// Refuses a page that one chunk writes and another uses: they would race.
    fn claim_pages(&mut self, pages: usize, chunks: &[Chunk<'_>]) -> Result<(), StepError> {
        self.pages.resize(pages, 0);
        self.steps += 1;
        for chunk in chunks {
            for &page in chunk.written() {
                let owner = &mut self.pages[page as usize];
                if *owner == self.steps {
                    return Err(StepError::SharedPage { page });
                }
                *owner = self.steps;
            }
        }
        for chunk in chunks {
            for &page in &chunk.pages[..chunk.start / PAGE_TOKENS] {
                let owner = self.pages[page as usize];
                if owner == self.steps {
                    return Err(StepError::SharedPage { page });
                }
            }
        }
        Ok(())
    }
}

impl<'a> Chunk<'a> {
    /// The pages that its tokens are written to.
    fn written(&self) -> &'a [u32] {
        let end = self.start + self.tokens.len();
        &self.pages[self.start / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS)]
    }
}
