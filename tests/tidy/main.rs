//! Rules of the repository, kept by machine.
