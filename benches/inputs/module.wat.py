"""A WebAssembly module of many functions as text: for wat2wasm."""
print("(module (memory 1)")
for i in range(4000):
    print(f'''(func $f{i} (export "f{i}") (param $a i32) (param $b i32) (result i32) (local $c i32)
  (local.set $c (i32.add (i32.mul (local.get $a) (i32.const {i})) (i32.load offset={i * 4} (local.get $b))))
  (block $out (loop $again (br_if $out (i32.eqz (local.get $c))) (local.set $c (i32.sub (local.get $c) (i32.const 1))) (br $again)))
  (if (result i32) (i32.gt_s (local.get $a) (local.get $b))
    (then (call $f{max(0, i - 1)} (local.get $b) (local.get $c))) (else (i32.xor (local.get $a) (i32.const {i * 31})))))''')
print(")")
