//! Bits of the Memento instructions: pure functions between an [`Instruction`] and its bytes.
//!
//! `ISA.md` is the specification, and its tables are what the tests compare with this file and
//! with the C header. Nothing here executes anything, so both encodings are known on every host.

use crate::object::FreeFault;

/// What every x86-64 encoding carries in the upper 24 bits of its displacement: `MEM` in memory.
pub const X86_SIGNATURE: u32 = 0x4D45_4D00;
/// Bytes of an x86-64 instruction, and its alignment.
pub const X86_BYTES: usize = 8;
/// The RISC-V major opcode custom-0.
pub const RISCV_CUSTOM_0: u32 = 0x0B;

/// Version of the specification that `memento-id` reports in bits 0–7.
pub const ISA_VERSION: u64 = 1;
/// Bit of the identification word that software sets when it emulates the instructions.
pub const ID_EMULATED: u64 = 1 << 8;
/// Upper half of the identification word: `MEMT`, first letter in the lowest byte.
pub const ID_SIGNATURE: u64 = 0x544D_454D;

/// The identification word of this implementation of the specification.
pub const fn identification(emulated: bool) -> u64 {
    let flags = if emulated { ID_EMULATED } else { 0 };
    ID_SIGNATURE << 32
        | (crate::geometry::CLASS_STEP as u64) << 24
        | (crate::geometry::CLASSES as u64) << 16
        | flags
        | ISA_VERSION
}

/// What an instruction does: the function code, common to both architectures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Function {
    /// `memento-id rd`: the identification word.
    Identify = 0,
    /// `obj-alloc rd, rs`: an object of `rs` bytes, or 0.
    ObjAlloc = 1,
    /// `obj-free rd, rs`: frees the object at `rs`; `rd` becomes the fault code.
    ObjFree = 2,
    /// `hot-flush`, supervisor: writes the HOT back.
    HotFlush = 3,
    /// `read-mrs rd`: start of the region.
    ReadRegionStart = 8,
    /// `read-mre rd`: end of the region.
    ReadRegionEnd = 9,
    /// `read-mptr rd`, supervisor: root of the Memento page table.
    ReadPageTable = 10,
    /// `write-mrs rs`, supervisor.
    WriteRegionStart = 12,
    /// `write-mre rs`, supervisor.
    WriteRegionEnd = 13,
    /// `write-mptr rs`, supervisor.
    WritePageTable = 14,
}

impl Function {
    /// Every function, in the order of the codes.
    pub const ALL: [Self; 10] = [
        Self::Identify,
        Self::ObjAlloc,
        Self::ObjFree,
        Self::HotFlush,
        Self::ReadRegionStart,
        Self::ReadRegionEnd,
        Self::ReadPageTable,
        Self::WriteRegionStart,
        Self::WriteRegionEnd,
        Self::WritePageTable,
    ];

    /// The function with this code; `None` for a reserved code.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Identify,
            1 => Self::ObjAlloc,
            2 => Self::ObjFree,
            3 => Self::HotFlush,
            8 => Self::ReadRegionStart,
            9 => Self::ReadRegionEnd,
            10 => Self::ReadPageTable,
            12 => Self::WriteRegionStart,
            13 => Self::WriteRegionEnd,
            14 => Self::WritePageTable,
            _ => return None,
        })
    }

    /// The function code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether a program may execute it. The others are undefined outside the supervisor.
    pub const fn is_user(self) -> bool {
        matches!(
            self,
            Self::Identify
                | Self::ObjAlloc
                | Self::ObjFree
                | Self::ReadRegionStart
                | Self::ReadRegionEnd
        )
    }

    /// The assembler mnemonic, as `ISA.md` writes it.
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::Identify => "memento-id",
            Self::ObjAlloc => "obj-alloc",
            Self::ObjFree => "obj-free",
            Self::HotFlush => "hot-flush",
            Self::ReadRegionStart => "read-mrs",
            Self::ReadRegionEnd => "read-mre",
            Self::ReadPageTable => "read-mptr",
            Self::WriteRegionStart => "write-mrs",
            Self::WriteRegionEnd => "write-mre",
            Self::WritePageTable => "write-mptr",
        }
    }
}

/// One instruction: a function and the numbers of its two registers, as the architecture counts
/// them (x86-64: 0 is `rax`, 7 is `rdi`; RISC-V: 10 is `a0`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// What it does.
    pub function: Function,
    /// Destination register.
    pub rd: u8,
    /// Source register.
    pub rs: u8,
}

impl Instruction {
    /// The eight bytes at an address that is a multiple of eight, as an instruction; `None` if
    /// they are none of ours.
    ///
    /// ```
    /// use memento_hal::isa::{Function, Instruction};
    /// let bytes = [0x48, 0x0f, 0xb9, 0x87, 0x01, 0x4d, 0x45, 0x4d];
    /// let found = Instruction::decode_x86(bytes).unwrap();
    /// assert_eq!(found, Instruction { function: Function::ObjAlloc, rd: 0, rs: 7 });
    /// assert_eq!(found.encode_x86(), Some(bytes));
    /// ```
    pub const fn decode_x86(bytes: [u8; X86_BYTES]) -> Option<Self> {
        let [rex, b1, b2, modrm, d0, d1, d2, d3] = bytes;
        // REX with W set and X clear: 0100_1R0B.
        if rex & 0b1111_1010 != 0b0100_1000 || b1 != 0x0F || b2 != 0xB9 {
            return None;
        }
        // mod = 10 (base register and 32-bit displacement); rm = 100 would announce a SIB byte.
        if modrm >> 6 != 0b10 || modrm & 7 == 4 {
            return None;
        }
        let displacement = u32::from_le_bytes([d0, d1, d2, d3]);
        if displacement & !0xFF != X86_SIGNATURE {
            return None;
        }
        let rd = (modrm >> 3 & 7) | (rex & 4) << 1;
        if rd == 4 {
            return None;
        }
        match Function::from_code(d0) {
            Some(function) => Some(Self { function, rd, rs: (modrm & 7) | (rex & 1) << 3 }),
            None => None,
        }
    }

    /// The x86-64 bytes; `None` for registers that cannot be encoded (`rsp` as destination, `rsp`
    /// and `r12` as source, numbers from 16 up).
    pub const fn encode_x86(self) -> Option<[u8; X86_BYTES]> {
        if self.rd > 15 || self.rs > 15 || self.rd == 4 || self.rs & 7 == 4 {
            return None;
        }
        let rex = 0x48 | (self.rd >> 3) << 2 | self.rs >> 3;
        let modrm = 0x80 | (self.rd & 7) << 3 | self.rs & 7;
        let [d0, d1, d2, d3] = (X86_SIGNATURE | self.function.code() as u32).to_le_bytes();
        Some([rex, 0x0F, 0xB9, modrm, d0, d1, d2, d3])
    }

    /// A RISC-V instruction word as an instruction; `None` if it is none of ours.
    pub const fn decode_riscv(word: u32) -> Option<Self> {
        let opcode = word & 0x7F;
        let funct3 = word >> 12 & 7;
        let rs2 = word >> 20 & 31;
        if opcode != RISCV_CUSTOM_0 || funct3 != 0 || rs2 != 0 {
            return None;
        }
        match Function::from_code((word >> 25) as u8) {
            Some(function) => {
                Some(Self { function, rd: (word >> 7 & 31) as u8, rs: (word >> 15 & 31) as u8 })
            }
            None => None,
        }
    }

    /// The RISC-V word; `None` for register numbers from 32 up.
    pub const fn encode_riscv(self) -> Option<u32> {
        if self.rd > 31 || self.rs > 31 {
            return None;
        }
        let funct7 = (self.function.code() as u32) << 25;
        Some(funct7 | (self.rs as u32) << 15 | (self.rd as u32) << 7 | RISCV_CUSTOM_0)
    }
}

/// What `obj-free` writes to its destination register: 0, or the number of the fault.
pub const fn fault_code(outcome: Result<(), FreeFault>) -> usize {
    match outcome {
        Ok(()) => 0,
        Err(FreeFault::Outside) => 1,
        Err(FreeFault::Misaligned) => 2,
        Err(FreeFault::NotAllocated) => 3,
    }
}

/// The meaning of what `obj-free` wrote. Codes from 4 up are reserved; a program that meets one
/// treats it as [`FreeFault::Outside`].
pub const fn fault_of(code: usize) -> Result<(), FreeFault> {
    match code {
        0 => Ok(()),
        2 => Err(FreeFault::Misaligned),
        3 => Err(FreeFault::NotAllocated),
        _ => Err(FreeFault::Outside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_functions_are_one_to_one() {
        let mut defined = 0;
        for code in 0..=u8::MAX {
            if let Some(function) = Function::from_code(code) {
                assert_eq!(function.code(), code);
                assert!(Function::ALL.contains(&function));
                defined += 1;
            }
        }
        assert_eq!(defined, Function::ALL.len());
    }

    #[test]
    fn every_x86_register_pair_survives_the_round_trip() {
        let mut encodable = 0;
        for function in Function::ALL {
            for rd in 0..=255 {
                for rs in (0..=255).step_by(if cfg!(miri) { 7 } else { 1 }) {
                    let instruction = Instruction { function, rd, rs };
                    if let Some(bytes) = instruction.encode_x86() {
                        assert_eq!(Instruction::decode_x86(bytes), Some(instruction));
                        encodable += 1;
                    }
                }
            }
        }
        let sources = if cfg!(miri) { 3 } else { 14 };
        assert_eq!(encodable, Function::ALL.len() * 15 * sources);
    }

    /// Every value of the three bytes that vary: exactly the encodings of the table are recognised.
    #[cfg(not(miri))]
    #[test]
    fn nothing_else_is_recognised_on_x86() {
        let mut recognised = 0;
        for rex in 0..=255u8 {
            for modrm in 0..=255u8 {
                for code in 0..=255u8 {
                    let [_, d1, d2, d3] = X86_SIGNATURE.to_le_bytes();
                    let bytes = [rex, 0x0F, 0xB9, modrm, code, d1, d2, d3];
                    if let Some(found) = Instruction::decode_x86(bytes) {
                        assert_eq!(found.encode_x86(), Some(bytes));
                        recognised += 1;
                    }
                }
            }
        }
        assert_eq!(recognised, Function::ALL.len() * 15 * 14);
    }

    #[test]
    fn one_changed_byte_of_the_fixed_ones_makes_it_foreign() {
        let ours = Instruction { function: Function::ObjFree, rd: 0, rs: 7 }.encode_x86().unwrap();
        for at in [1, 2, 5, 6, 7] {
            for value in 0..=255u8 {
                let mut bytes = ours;
                bytes[at] = value;
                assert_eq!(Instruction::decode_x86(bytes).is_some(), value == ours[at]);
            }
        }
    }

    /// The opcode, `funct3`, `rs2` and `funct7` are all that decides; 22 bits, tried in full.
    #[cfg(not(miri))]
    #[test]
    fn nothing_else_is_recognised_on_riscv() {
        let mut recognised = 0;
        for decisive in 0..1u32 << 22 {
            let word = decisive & 0x7F | (decisive >> 7 & 7) << 12 | (decisive >> 10) << 20;
            for registers in [0, 10 << 7 | 10 << 15, 31 << 7 | 31 << 15] {
                if let Some(found) = Instruction::decode_riscv(word | registers) {
                    assert_eq!(found.encode_riscv(), Some(word | registers));
                    recognised += 1;
                }
            }
        }
        assert_eq!(recognised, Function::ALL.len() * 3);
    }

    #[test]
    fn fault_codes_survive_the_round_trip() {
        for outcome in [
            Ok(()),
            Err(FreeFault::Outside),
            Err(FreeFault::Misaligned),
            Err(FreeFault::NotAllocated),
        ] {
            assert_eq!(fault_of(fault_code(outcome)), outcome);
        }
        assert_eq!(fault_of(4), Err(FreeFault::Outside));
    }
}
