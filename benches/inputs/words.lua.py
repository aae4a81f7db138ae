"""A Lua script: words counted, sorted and joined, objects with methods, closures."""
print('''
local seed = 42
local function draw(n) seed = (seed * 1103515245 + 12345) % 2147483648; return seed % n end
local Account = {}
Account.__index = Account
function Account.new(name) return setmetatable({name = name, entries = {}, total = 0}, Account) end
function Account:post(amount, text)
  self.entries[#self.entries + 1] = {amount = amount, text = text}
  self.total = self.total + amount
end
local accounts, words = {}, {}
for i = 1, 40000 do
  local name = "account-" .. draw(3000)
  local account = accounts[name]
  if not account then account = Account.new(name); accounts[name] = account end
  account:post(draw(10000) / 100, string.format("invoice %d of %s", i, name))
  for word in ("the quick brown fox " .. draw(500) .. " jumps over"):gmatch("%w+") do
    words[word] = (words[word] or 0) + 1
  end
end
local names = {}
for name, account in pairs(accounts) do names[#names + 1] = name end
table.sort(names, function(a, b) return accounts[a].total > accounts[b].total end)
local lines = {}
for i, name in ipairs(names) do
  for _, entry in ipairs(accounts[name].entries) do
    lines[#lines + 1] = name:upper() .. ": " .. entry.text:reverse() .. " " .. entry.amount
  end
end
print(#table.concat(lines, "\\n"), words.quick)
''')
