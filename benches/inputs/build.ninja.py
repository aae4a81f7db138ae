"""The build of a large project, of which everything is to be done: for ninja, which only says what."""
FILES = 30000
print("rule cc\n  command = cc -MD -c $in -o $out $flags\n  description = CC $out\n  depfile = $out.d")
for i in range(300):
    print(f"build include/h{i}.h: phony")
print("build include/common.h: phony")
for i in range(FILES):
    print(f"build src/dir{i % 90}/file{i}.c: phony\nbuild obj/dir{i % 90}/file{i}.o: cc src/dir{i % 90}/file{i}.c | include/h{i % 300}.h include/common.h\n"
          f"  flags = -O2 -DN={i} -Iinclude/dir{i % 40}")
