//! One file per command of the program.

mod comparisons;
pub mod compose;
pub mod doctor;
pub mod measure;
pub mod peers;
pub mod per;
pub mod report;
pub mod roof;
