//! Memory for weights: page-aligned, zeroed, on huge pages where the kernel grants them.

use std::{fs, ops::Range};

use memmap2::MmapMut;

use crate::Error;

/// An anonymous map that asks for transparent huge pages. A page becomes real when it is first written, in the memory
/// nearest to the core that writes it: fill it from the threads that will read it, within [`Cpu::install`](crate::Cpu::install).
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
        #[cfg(all(target_os = "linux", not(miri)))]
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

    /// How many of the bytes lie on huge pages now, as `/proc/self/smaps` tells; `None` where the system does not.
    ///
    /// Linux counts by mapping and joins neighbouring ones that are alike. Of such a mapping's huge pages a buffer is
    /// given the share that it has of its bytes: exact for all buffers together, an estimate for one of them.
    pub fn huge_page_bytes(&self) -> Option<usize> {
        let start = self.map.as_ptr() as usize;
        let smaps = fs::read_to_string("/proc/self/smaps").ok()?;
        huge_page_bytes(&smaps, start..start + self.map.len())
    }
}

/// The part of `range` that lies on huge pages according to the text of `smaps`; `None` if no mapping there is told of.
fn huge_page_bytes(smaps: &str, range: Range<usize>) -> Option<usize> {
    let mut mapping = 0..0;
    let mut found = None;
    for line in smaps.lines() {
        if let Some(addresses) = addresses(line) {
            mapping = addresses;
        } else if let Some(kibibytes) = line.strip_prefix("AnonHugePages:") {
            let common = range.end.min(mapping.end).saturating_sub(range.start.max(mapping.start));
            if common == 0 {
                continue;
            }
            let huge = kibibytes.trim().trim_end_matches(" kB").parse::<usize>().ok()? << 10;
            let share = huge as f64 * common as f64 / mapping.len() as f64;
            *found.get_or_insert(0) += (share.round() as usize).min(common);
        }
    }
    found
}

/// The range of a mapping's first line: `7f5c00000000-7f5c20000000 rw-p …`.
fn addresses(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// The system's setting for transparent huge pages as the kernel prints it, such as `always [madvise] never`;
/// `None` where there is no such setting.
pub fn huge_pages_setting() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
10000000-10400000 rw-p 00000000 00:00 0
Size:               4096 kB
AnonHugePages:      2048 kB
VmFlags: rd wr mr mw me ac sd hg
10400000-10800000 rw-p 00000000 00:00 0                          [heap]
AnonHugePages:      4096 kB
";

    #[test]
    fn mappings_give_each_range_its_share() {
        const MIB: usize = 1 << 20;
        let start = 0x1000_0000;
        let huge = |from: usize, to: usize| huge_page_bytes(SMAPS, start + from * MIB..start + to * MIB);
        assert_eq!(huge(0, 4), Some(2 * MIB));
        assert_eq!(huge(0, 2), Some(MIB));
        assert_eq!(huge(2, 6), Some(MIB + 2 * MIB));
        assert_eq!(huge(8, 9), None);
        assert_eq!(huge_page_bytes("", 0..10), None);
    }

    #[test]
    fn a_buffer_lies_on_no_more_huge_pages_than_it_has_bytes() {
        let mut buffer = WeightBuffer::zeroed(8 << 20).unwrap();
        buffer.bytes_mut().fill(1);
        if let Some(huge) = buffer.huge_page_bytes() {
            assert!(huge <= 8 << 20);
        }
    }
}
