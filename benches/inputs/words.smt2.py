"""Arithmetic of machine words and memory, as a symbolic executor asks for it: for z3."""
import random

draw = random.Random(5)
COUNT = 12
print("(set-logic QF_AUFBV)")
for i in range(COUNT):
    print(f"(declare-const v{i} (_ BitVec 32))")
print("(declare-const m (Array (_ BitVec 32) (_ BitVec 8)))")
for k in range(44):
    a, b, c = (draw.randrange(COUNT) for _ in range(3))
    product = f"(bvadd (bvmul v{a} #x{draw.randrange(1 << 32):08x}) (bvxor v{b} v{c}))"
    print(f"(assert (not (= {product} (bvlshr v{a} #x{draw.randrange(31):08x}))))")
    if k % 6 == 0:
        print(f"(assert (= (select m (bvadd v{a} #x{k:08x})) ((_ extract 7 0) (bvadd v{b} v{c}))))")
    else:
        print(f"(assert (bvult v{a} (bvor v{b} #x{draw.randrange(1 << 28):08x})))")
print("(check-sat)")
