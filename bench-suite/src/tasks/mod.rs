//! Code tasks in HumanEval's form, and their execution.
//!
//! A task is a signature and a docstring with examples; a completion is the body, and hidden tests decide. Tasks are
//! drawn from [`families`]; training sees no solution that the held-out set holds, and of some families nothing at all.
//! Their language is Starlark as far as it is Python too, so the same files serve harnesses that run Python.
//!
//! | step | module |
//! |---|---|
//! | what code does to a value: its words, its code, its meaning | [`int_op`], [`int_test`], [`str_op`], [`str_test`] |
//! | shapes of problems made of these | [`family`], [`families`] |
//! | names, docstring, examples, hidden tests | [`problem`], [`draw`], [`value`] |
//! | what is held out | [`split`], [`suite`] |
//! | a completion run, under limits | [`interpreter`], [`limits`], [`outcome`] |
//! | many of them, in child processes under the kernel's limits too | [`pool`], [`worker`] |
//! | completions by a model under a policy; under which, for a whole curve | [`complete`], [`curve`] |
//! | HumanEval's own problems by the user's Python | [`humaneval`] |
//! | pass@1, its interval, a paired test | [`score`] |

pub mod complete;
pub mod curve;
pub mod draw;
pub mod families;
pub mod family;
pub mod humaneval;
pub mod int_op;
pub mod int_test;
pub mod interpreter;
pub mod limits;
pub mod outcome;
pub mod pool;
pub mod problem;
pub mod score;
pub mod split;
pub mod str_op;
pub mod str_test;
pub mod suite;
pub mod value;
pub mod worker;

pub use problem::Problem;
