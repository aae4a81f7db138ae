"""The configuration of some services with functions, mixins and comprehensions: for jsonnet."""
print("""local service(name, port) = {
  name: name, port: port,
  labels: { ["l" + i]: std.format("%s-%d", [name, i * port]) for i in std.range(1, 12) },
  env: [{ name: std.asciiUpper(k), value: std.join(",", [std.toString(x * port) for x in std.range(1, 6)]) } for k in ["path", "home", "lang"]],
  limits:: { cpu: port % 7, memory: self.cpu * 128 },
  resources: self.limits { swap: super.memory / 2 },
};
{
  services: [service("service-" + i, 8000 + i) + { replicas: if i % 3 == 0 then 2 else 1, labels+: { tier: "t" + (i % 5) } } for i in std.range(1, 12)],
  total: std.foldl(function(a, s) a + s.port, self.services, 0),
}""")
