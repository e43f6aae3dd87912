//! One file per command of the program.

mod authoring;
pub mod break_even;
mod comparisons;
pub mod compose;
pub mod decode;
pub mod doctor;
pub mod eval;
pub mod gate;
pub mod history;
pub mod inspect;
pub mod logits;
pub mod measure;
mod models;
pub mod peers;
pub mod per;
pub mod policies;
mod records;
pub mod report;
pub mod roof;
pub mod run;
mod scores;
pub mod task_worker;
pub mod tasks;
pub mod trace;
pub mod train_predictor;
pub mod validate;
mod validate_across;
mod validate_published;

/// What was asked for, or what is taken where nothing was.
fn or_default<T: Clone>(given: &[T], default: &[T]) -> Vec<T> {
    if given.is_empty() { default.to_vec() } else { given.to_vec() }
}
