"""Many message types: for protoc."""
import random

draw = random.Random("proto")
TYPES = "int32 int64 string bytes double bool fixed64 sint32".split()
print('syntax = "proto3";\npackage shop.v1;')
for i in range(190):
    print(f"// Message number {i}.\nmessage Message{i} {{\n  enum Kind {{ UNKNOWN_{i} = 0; FIRST_{i} = 1; SECOND_{i} = 2; }}")
    for field in range(1, 14):
        kind = draw.choice(TYPES) if i == 0 or draw.randrange(3) else f"Message{draw.randrange(i)}"
        repeated = "repeated " if draw.randrange(4) == 0 else ""
        print(f"  // Field {field}.\n  {repeated}{kind} field_{field} = {field};")
    print(f"  map<string, int64> counts = 20;\n  oneof choice {{ string left = 21; Kind right = 22; }}\n}}")
