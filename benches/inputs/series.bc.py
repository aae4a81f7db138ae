"""A recurrence over small numbers and one over large ones: for bc."""
print("""scale = 0
define f(n) { auto a, b, i, t
  a = 0; b = 1
  for (i = 0; i < n; i++) { t = (a * 3 + b) % 1000003; a = b; b = t }
  return b }
for (k = 0; k < 900; k++) { s = s + f(250 + k % 7) }
s
p = 1
for (k = 1; k < 400; k++) { p = p * k }
length(p)
quit""")
