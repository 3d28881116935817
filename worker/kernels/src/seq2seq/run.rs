//! What is asked of an encoder and a decoder, and what is refused.

use super::Seq2Seq;
use super::pass::Pass;
use super::rows::Row;
use super::workspace::Seq2SeqWorkspace;
use crate::decoder::StepError;
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::paged::{KvCache, PAGE_TOKENS, Visible};
use crate::team::{SharedRows, Team};

/// Tokens of one source that are one piece of attention's work.
const QUERY_BLOCK: usize = 32;

/// A text to encode.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub tokens: &'a [u32],
    /// Where its keys and values for the decoder's layers go.
    pub pages: &'a [u32],
}

/// The next token of a text that is being written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub token: u32,
    /// Its position; the tokens before it are in the cache.
    pub position: usize,
    /// The target's page table, up to this position at least. The page of this position is its own.
    pub pages: &'a [u32],
    /// The pages of what was encoded, and how many tokens it has.
    pub source: &'a [u32],
    pub source_len: usize,
}

impl Seq2Seq {
    /// Encodes sources, as many tokens together as the workspace has rows, and writes what the
    /// decoder will look at to `cache`.
    ///
    /// # Errors
    /// A source is empty, too long, has too few pages or pages outside the cache, shares a page with
    /// another, holds a token outside the vocabulary, or workspace or cache do not fit.
    pub fn encode(
        &self,
        team: &mut Team,
        cache: &mut KvCache,
        workspace: &mut Seq2SeqWorkspace,
        sources: &[Source<'_>],
    ) -> Result<(), StepError> {
        self.fits(team, cache, workspace)?;
        self.check_sources(cache, workspace, sources)?;
        unshared(sources.iter().flat_map(|source| source.written()))?;
        // While it works the encoder keeps keys and values in pages of its own, one source after
        // another.
        let own: Vec<u32> = (0..workspace.encoder.pages() as u32).collect();
        let (mut rows, mut pieces, mut used) = (Vec::new(), Vec::new(), 0);
        for source in sources {
            let (first, len) = (rows.len(), source.tokens.len());
            let pages = &own[used..used + len.div_ceil(PAGE_TOKENS)];
            used += pages.len();
            let tokens = source.tokens.iter().enumerate();
            rows.extend(tokens.map(|(position, &token)| Row {
                token,
                position,
                pages,
                visible: Visible::First(len),
                source: source.pages,
                source_len: len,
            }));
            let blocks = (0..len).step_by(QUERY_BLOCK);
            pieces.extend(blocks.map(|at| first + at..first + len.min(at + QUERY_BLOCK)));
        }
        let encoder = workspace.encoder.view_mut();
        let buffers = &mut workspace.buffers;
        let pass = Pass::new(self, &self.parts.encoder, buffers, (&rows, &pieces), team);
        let cross = cache.view_mut();
        team.run(|member| pass.encode(member, encoder, cross).map_err(StepError::from))
    }

    /// Computes the next token of some targets. `out` gets a row of `vocab` logits for each.
    ///
    /// # Errors
    /// A token is outside the vocabulary, a page table too short or outside its cache, the page of a
    /// position is used by another target, there are more targets than the workspace has rows, or
    /// workspace, caches or output do not fit.
    pub fn step(
        &self,
        team: &mut Team,
        cache: &mut KvCache,
        sources: &KvCache,
        workspace: &mut Seq2SeqWorkspace,
        targets: &[Target<'_>],
        out: &mut [f32],
    ) -> Result<(), StepError> {
        self.fits(team, cache, workspace)?;
        self.fits(team, sources, workspace)?;
        self.check_targets(cache, sources, workspace, targets)?;
        exactly("logits", targets.len() * self.parts.shape.vocab, out.len())?;
        let written = |target: &Target<'_>| target.pages[target.position / PAGE_TOKENS];
        unshared(targets.iter().map(written))?;
        let rows: Vec<Row<'_>> = targets.iter().map(Target::row).collect();
        let pieces: Vec<_> = (0..rows.len()).map(|row| row..row + 1).collect();
        let buffers = &mut workspace.buffers;
        let pass = Pass::new(self, &self.parts.decoder, buffers, (&rows, &pieces), team);
        let (cache, sources) = (cache.view_mut(), sources.view());
        let out = SharedRows::new(out);
        team.run(|member| {
            pass.decode(member, cache, sources, out)
                .map_err(StepError::from)
        })
    }

    fn fits(
        &self,
        team: &Team,
        cache: &KvCache,
        workspace: &Seq2SeqWorkspace,
    ) -> Result<(), ShapeError> {
        let fits = usize::from(workspace.sizes == self.sizes());
        exactly("workspaces made for such a model", 1, fits)?;
        at_most("members", workspace.members, team.members())?;
        let (found, expected) = (cache.shape(), self.kv_shape());
        exactly("layers of the cache", expected.layers, found.layers)?;
        found.fits(expected.kv_heads, expected.head_dim)
    }

    fn check_sources(
        &self,
        cache: &KvCache,
        workspace: &Seq2SeqWorkspace,
        sources: &[Source<'_>],
    ) -> Result<(), ShapeError> {
        let (mut rows, mut pages) = (0usize, 0usize);
        for source in sources {
            let len = source.tokens.len();
            at_least("tokens of a source", 1, len)?;
            at_most("tokens of a source", self.parts.shape.max_source, len)?;
            cache.check_pages(source.pages, len)?;
            for &token in source.tokens {
                at_most("token", self.parts.shape.vocab - 1, token as usize)?;
            }
            rows = rows.saturating_add(len);
            pages = pages.saturating_add(len.div_ceil(PAGE_TOKENS));
        }
        at_most("rows", workspace.max_rows, rows)?;
        at_most("pages of sources", workspace.encoder.pages(), pages)
    }

    fn check_targets(
        &self,
        cache: &KvCache,
        sources: &KvCache,
        workspace: &Seq2SeqWorkspace,
        targets: &[Target<'_>],
    ) -> Result<(), ShapeError> {
        let shape = &self.parts.shape;
        at_least("targets", 1, targets.len())?;
        at_most("rows", workspace.max_rows, targets.len())?;
        for target in targets {
            at_most("token", shape.vocab - 1, target.token as usize)?;
            at_most("position", shape.max_target - 1, target.position)?;
            cache.check_pages(target.pages, target.position + 1)?;
            at_least("tokens of a source", 1, target.source_len)?;
            at_most("tokens of a source", shape.max_source, target.source_len)?;
            sources.check_pages(target.source, target.source_len)?;
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    /// The pages that its keys and values are written to.
    fn written(&self) -> impl Iterator<Item = u32> + 'a {
        let used = self.tokens.len().div_ceil(PAGE_TOKENS);
        self.pages[..used].iter().copied()
    }
}

impl<'a> Target<'a> {
    fn row(&self) -> Row<'a> {
        Row {
            token: self.token,
            position: self.position,
            pages: self.pages,
            visible: Visible::Causal { window: None },
            source: self.source,
            source_len: self.source_len,
        }
    }
}

/// Refuses a page that two would write: they would race.
fn unshared(pages: impl Iterator<Item = u32>) -> Result<(), StepError> {
    let mut pages: Vec<u32> = pages.collect();
    pages.sort_unstable();
    match pages.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(StepError::SharedPage { page: pair[0] }),
        None => Ok(()),
    }
}
