"""Binary trees of many sizes that are built, counted and dropped: for Lua, which frees them by its collector."""
print("""local function bottom(depth)
  if depth == 0 then return {} end
  return {bottom(depth - 1), bottom(depth - 1)}
end
local function count(tree)
  if tree[1] then return 1 + count(tree[1]) + count(tree[2]) end
  return 1
end
local long = bottom(15)
for depth = 4, 15, 3 do
  local sum = 0
  for _ = 1, 2 ^ (15 - depth + 2) do sum = sum + count(bottom(depth)) end
  print(depth, sum)
end
print(count(long))""")
