"""Which module uses which: a graph for dot."""
import random

draw = random.Random("modules")
print("digraph modules { node [shape=box]; rankdir=LR;")
for i in range(1, 260):
    for j in {draw.randrange(max(0, i - 40), i) for _ in range(1 + draw.randrange(2))}:
        print(f'm{j} -> m{i} [label="{draw.randrange(100)}"];')
print("}")
