//! What [`board`](crate::board) is made of: `orders` puts a model in its place.

pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Mutex,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
    thread::yield_now,
};
