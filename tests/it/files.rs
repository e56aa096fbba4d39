//! The files source: capture and restore on real file systems. Run as root, as in a container, since devices, owners
//! and mounts are part of it.

mod attacks;
mod captures;
mod excludes;
mod nested;
mod random;
mod restores;
mod rights;
mod round_trip;
mod safety;
mod tree;
mod volumes;
