"""A job-shop problem in difference logic: which of two jobs comes first, for z3."""
import random

draw = random.Random("schedule")
JOBS = 60
print("(set-logic QF_LIA)")
for job in range(JOBS):
    print(f"(declare-const x{job} Int)(assert (and (<= 0 x{job}) (<= x{job} 400)))")
for _ in range(JOBS * 16):
    first, second = draw.sample(range(JOBS), 2)
    one, other = 1 + draw.randrange(12), 1 + draw.randrange(12)
    print(f"(assert (or (<= (+ x{first} {one}) x{second}) (<= (+ x{second} {other}) x{first})))")
print("(check-sat)")
