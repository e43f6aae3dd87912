//! Energy of a GPU's board, by NVIDIA's management library: loaded at run time, where there is one.

use cost_model::record::Covers;
use cudarc::driver::CudaContext;
use nvml_wrapper::Nvml;

use crate::power::{EnergyCounter, PowerError};

const MJ_PER_J: f64 = 1e3;

/// The counter of one board.
#[derive(Debug)]
pub struct Board {
    library: Nvml,
    /// The library counts GPUs in another order than CUDA.
    uuid: String,
    last_mj: u64,
}

impl Board {
    /// That of GPU `ordinal`, as CUDA counts them, from now on.
    ///
    /// # Errors
    /// The library is not installed, or does not know the GPU or its energy: that of a part of one, for instance.
    pub fn open(ordinal: usize) -> Result<Self, PowerError> {
        let library = Nvml::init()?;
        // Without CUDA's driver the next call would panic.
        if !super::is_there() {
            return Err(PowerError::NoGpu);
        }
        let uuid = CudaContext::new(ordinal)?.uuid()?;
        let mut counter = Self { library, uuid: spelled(uuid.bytes.map(|byte| byte as u8)), last_mj: 0 };
        counter.last_mj = counter.read_mj()?;
        Ok(counter)
    }

    fn read_mj(&self) -> Result<u64, PowerError> {
        Ok(self.library.device_by_uuid(self.uuid.as_str())?.total_energy_consumption()?)
    }
}

impl EnergyCounter for Board {
    fn spent_j(&mut self) -> Result<f64, PowerError> {
        let now = self.read_mj()?;
        let before = std::mem::replace(&mut self.last_mj, now);
        // It starts again at 0 only with the driver.
        Ok(now.saturating_sub(before) as f64 / MJ_PER_J)
    }

    fn covers(&self) -> Covers {
        Covers::Gpu
    }
}

/// As the library spells it: `GPU-` and 8, 4, 4, 4 and 12 hexadecimal digits.
fn spelled(bytes: [u8; 16]) -> String {
    let mut text = String::from("GPU");
    for (index, byte) in bytes.into_iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_library_does() {
        let bytes = [0xb1, 0x02, 0x8d, 0xf5, 0x00, 0xff, 0x4a, 0x5b, 0x9c, 0x0d, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66];
        assert_eq!(spelled(bytes), "GPU-b1028df5-00ff-4a5b-9c0d-112233445566");
    }

    /// Without the library, or without a GPU, there is a reason and nothing else.
    #[test]
    fn a_board_is_there_or_a_reason_is() {
        match Board::open(0) {
            Ok(mut board) => assert!(board.spent_j().unwrap() >= 0.0),
            Err(why) => assert!(why.to_string().contains("board") && !why.to_string().contains('\n'), "{why}"),
        }
    }
}
