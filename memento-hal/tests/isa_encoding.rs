//! One truth in four places: the tables of `ISA.md`, the Rust encoder, the C header and the
//! assemblers of both architectures.

#![cfg(not(miri))]

#[path = "isa/tools.rs"]
mod tools;

use memento_hal::isa::{Function, Instruction};
use std::path::Path;
use tools::{RISCV, Target, X86_64, manifest, scratch};

/// Cells of the rows of the table in `ISA.md` whose header begins with `header`.
fn table(header: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(manifest("ISA.md")).unwrap();
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with(header))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "ISA.md has no table that begins with {header}");
    rows
}

fn bytes(cell: &str) -> Vec<u8> {
    cell.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}

/// Rows of the table of all instructions: function, x86-64 bytes, RISC-V bytes.
fn instructions() -> Vec<(Function, Vec<u8>, Vec<u8>)> {
    let rows = table("| instruction | code | x86-64 |");
    let parse = |row: &Vec<String>| {
        let function = Function::from_code(row[1].parse().unwrap()).unwrap();
        assert_eq!(function.mnemonic(), row[0]);
        (function, bytes(&row[2]), bytes(&row[3]))
    };
    rows.iter().map(parse).collect()
}

#[test]
fn the_table_lists_every_instruction_as_the_encoder_makes_it() {
    let rows = instructions();
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), Function::ALL);
    for (function, x86, riscv) in rows {
        let instruction = Instruction { function, rd: 0, rs: 7 };
        assert_eq!(instruction.encode_x86().unwrap().as_slice(), x86);
        let instruction = Instruction { function, rd: 10, rs: 10 };
        assert_eq!(instruction.encode_riscv(), Some(word(&riscv)));
    }
}

#[test]
fn the_table_of_operations_agrees_on_codes_and_modes() {
    let rows = table("| instruction | code | mode |");
    assert_eq!(rows.len(), Function::ALL.len());
    for row in rows {
        let function = Function::from_code(row[1].parse().unwrap()).unwrap();
        assert!(row[0].trim_matches('`').starts_with(function.mnemonic()), "{row:?}");
        assert_eq!(row[2], if function.is_user() { "user" } else { "supervisor" });
    }
}

#[test]
fn the_c_header_emits_what_the_table_says() {
    for (target, x86) in [(X86_64, true), (RISCV, false)] {
        let object = scratch(format!("encodings-{}.o", target.name));
        let source = manifest("tests/isa/encodings.c");
        target.compile(&["-O2", "-ffunction-sections", "-c"], &[&source], &object);
        for (function, x86_bytes, riscv_bytes) in instructions() {
            let section = format!(".text.emit_{}", function.code());
            let code = target.section(&object, &section);
            let want = if x86 { x86_bytes } else { riscv_bytes };
            assert!(code.starts_with(&want), "{} {function:?}: {code:x?}", target.name);
        }
    }
}

/// Assembles one line and returns its bytes.
fn assemble(target: &Target, line: &str) -> Vec<u8> {
    let source = scratch(format!("syntax-{}.s", target.name));
    let object = source.with_extension("o");
    std::fs::write(&source, format!("{line}\n")).unwrap();
    target.compile(&["-c"], &[Path::new(&source)], &object);
    target.section(&object, ".text")
}

#[test]
fn assemblers_accept_the_documented_syntax() {
    for row in table("| target | source | bytes |") {
        let (source, want) = (row[1].trim_matches('`'), bytes(&row[2]));
        if row[0] == X86_64.name {
            assert_eq!(assemble(&X86_64, source), want, "{source}");
            let found = Instruction::decode_x86(want.as_slice().try_into().unwrap()).unwrap();
            assert_eq!(found.encode_x86().unwrap().as_slice(), want);
        } else {
            assert_eq!(row[0], RISCV.name);
            assert_eq!(assemble(&RISCV, source), want, "{source}");
            let found = Instruction::decode_riscv(word(&want)).unwrap();
            assert_eq!(found.encode_riscv(), Some(word(&want)));
        }
    }
}

/// The indented block of `ISA.md` under the line `heading`, in the section of worked examples.
fn example(heading: &str) -> String {
    let text = std::fs::read_to_string(manifest("ISA.md")).unwrap();
    let (_, section) = text.split_once("Worked examples").unwrap();
    let block: Vec<&str> = section
        .lines()
        .skip_while(|line| *line != heading)
        .skip(2)
        .take_while(|line| line.starts_with("    "))
        .collect();
    assert!(!block.is_empty(), "ISA.md has no example {heading}");
    block.join("\n")
}

#[test]
fn the_worked_examples_are_the_instructions_they_name() {
    // `li` and `mov` aside, an example allocates and then frees.
    let code = assemble(&X86_64, &example("x86-64:"));
    let found: Vec<Function> = code
        .chunks_exact(8)
        .filter_map(|slot| Instruction::decode_x86(slot.try_into().unwrap()))
        .map(|instruction| instruction.function)
        .collect();
    assert_eq!(found, [Function::ObjAlloc, Function::ObjFree]);
    let code = assemble(&RISCV, &example("RISC-V:"));
    let found: Vec<Function> = code
        .windows(4)
        .step_by(2)
        .filter_map(|bytes| Instruction::decode_riscv(word(bytes)))
        .map(|instruction| instruction.function)
        .collect();
    assert_eq!(found, [Function::ObjAlloc, Function::ObjFree]);
}

/// The C example, in a function of the shape that it needs.
#[test]
fn the_c_example_compiles() {
    let source = scratch("example.c");
    let body = example("C, with `memento_isa.h`:");
    let text = format!(
        "#include \"memento_isa.h\"\nvoid *software_path(size_t, size_t);\n\
         void *allocate(size_t request, size_t alignment)\n{{\n{body}\n    return object;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    for target in [X86_64, RISCV] {
        target.compile(&["-O2", "-c"], &[&source], &scratch(format!("example-{}.o", target.name)));
    }
}
