"""A Ruby script: the same report on an access log."""
print(r'''
Entry = Struct.new(:address, :time, :base, :fields, :status, :bytes)
entries = File.foreach(ARGV[0]).filter_map do |line|
  next unless line =~ /\A(\S+) \S+ \S+ \[([^\]]+)\] "\w+ (\S+) [^"]*" (\d+) (\d+)/
  address, time, path, status, bytes = $1, $2, $3, $4.to_i, $5.to_i
  base, query = path.split("?", 2)
  Entry.new(address, time, base, query.split("&").to_h { |pair| pair.split("=", 2) }, status, bytes)
end
by_path = entries.group_by { |e| [e.base, e.fields["id"]] }
lines = by_path.sort_by { |key, list| [-list.sum(&:bytes), key] }.map do |key, list|
  "#{key.join(' ')}: #{list.map { |e| e.time.tr('/', '-') }.join(',')}"
end
puts lines.sum(&:size), entries.map { |e| e.address.split(".").reverse.join(".") }.uniq.size
''')
