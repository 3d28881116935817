//! Tidegate as its users meet it: real processes, real sockets.

mod line;
