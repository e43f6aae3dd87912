//! Memory between two pages that nobody may touch: whoever reads or writes one element too many dies of it.
//!
//! ```text
//!   Edge::End     |-- no access --|.........elements|-- no access --|
//!   Edge::Start   |-- no access --|elements.........|-- no access --|
//! ```

#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    marker::PhantomData,
    ops::{Deref, DerefMut, Range},
    ptr::null_mut,
    slice,
};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// A multiple of the page size: 4 KiB here, up to 64 KiB elsewhere.
pub const PAGE: usize = if cfg!(target_arch = "x86_64") { 1 << 12 } else { 1 << 16 };

/// Which end of the elements touches a page without access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Start,
    End,
}

/// A copy of a slice, ending or starting exactly at such a page.
pub struct Guarded<T> {
    map: *mut c_void,
    map_len: usize,
    first: *mut T,
    len: usize,
    owns: PhantomData<T>,
}

impl<T: Copy> Guarded<T> {
    pub fn new(edge: Edge, elements: &[T]) -> Self {
        let bytes = size_of_val(elements);
        let inner = bytes.next_multiple_of(PAGE).max(PAGE);
        let map_len = inner + 2 * PAGE;
        let at = PAGE + if edge == Edge::End { inner - bytes } else { 0 };
        // SAFETY: a new mapping, so no one else's memory; the pages that lose their access are its first and its last.
        // `bytes` bytes from `at` on lie between those two, aligned: whole elements before the end of a page.
        unsafe {
            let map =
                mmap_anonymous(null_mut(), map_len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).unwrap();
            mprotect(map, PAGE, MprotectFlags::empty()).unwrap();
            mprotect(map.byte_add(PAGE + inner), PAGE, MprotectFlags::empty()).unwrap();
            let first = map.byte_add(at).cast::<T>();
            first.copy_from_nonoverlapping(elements.as_ptr(), elements.len());
            Self { map, map_len, first, len: elements.len(), owns: PhantomData }
        }
    }
}

impl Guarded<u8> {
    /// Takes the access away from `bytes`, which must start where a page does, up to the end of their last page.
    pub fn forbid(&mut self, bytes: Range<usize>) {
        let len = bytes.len().next_multiple_of(PAGE);
        // SAFETY: within the mapping, whose pages before the last one hold all bytes; whoever looks there deserves it.
        unsafe { mprotect(self.first.add(bytes.start).cast(), len, MprotectFlags::empty()) }.unwrap();
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements were written there by `new`.
        unsafe { slice::from_raw_parts(self.first, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; the mapping is ours alone.
        unsafe { slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, once.
        unsafe { munmap(self.map, self.map_len) }.unwrap();
    }
}
