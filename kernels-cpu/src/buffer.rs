//! Memory for weights: page-aligned, zeroed, on huge pages where the kernel grants them.

use std::fs;

use memmap2::MmapMut;

use crate::Error;

/// An anonymous map that asks for transparent huge pages. A page becomes real when it is first written, by the
/// thread that writes it; fill it from the threads that will read it.
#[derive(Debug)]
pub struct WeightBuffer {
    map: MmapMut,
}

impl WeightBuffer {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// The operating system refuses the memory.
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        // An empty map is refused by the system; one byte that nobody sees stands in.
        let map = MmapMut::map_anon(len.max(1))
            .map_err(|e| Error::System { what: "mapping memory for weights", reason: e.to_string() })?;
        #[cfg(target_os = "linux")]
        // Advice only: where it is refused the buffer has small pages and is merely slower.
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

/// The system's setting for transparent huge pages as the kernel prints it, such as `always [madvise] never`;
/// `None` where there is no such setting.
pub fn huge_pages_setting() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.trim().to_owned())
}
