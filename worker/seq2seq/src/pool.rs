//! Pages of a cache, counted by who uses them.

/// Pages that are used by no one, one, or several.
#[derive(Debug)]
pub(crate) struct Pool {
    users: Vec<u32>,
    free: Vec<u32>,
    /// Pages that were promised and are not taken.
    promised: usize,
}

impl Pool {
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            users: vec![0; pages],
            free: (0..pages as u32).rev().collect(),
            promised: 0,
        }
    }

    /// Pages that someone uses or was promised.
    pub(crate) fn used(&self) -> usize {
        self.users.len() - self.free.len() + self.promised
    }

    /// Promises pages, if there are as many that are neither used nor promised.
    pub(crate) fn promise(&mut self, pages: usize) -> bool {
        let fits = self.promised + pages <= self.free.len();
        if fits {
            self.promised += pages;
        }
        fits
    }

    /// Takes back a promise that is not needed any more.
    pub(crate) fn forget(&mut self, pages: usize) {
        self.promised -= pages;
    }

    /// Takes a page out of a promise.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.promised -= 1;
        self.users[page as usize] = 1;
        Some(page)
    }

    /// One more uses the page.
    pub(crate) fn share(&mut self, page: u32) {
        self.users[page as usize] += 1;
    }

    /// One less uses the page. The last one's page is promised again, to whom it was promised
    /// before.
    pub(crate) fn leave(&mut self, page: u32) {
        let users = &mut self.users[page as usize];
        *users -= 1;
        if *users == 0 {
            self.free.push(page);
            self.promised += 1;
        }
    }
}
