"""A translation unit as C++ programs have them: containers, algorithms, templates: for compilers and checkers."""
print('''#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>
template <int N> struct Shape { virtual ~Shape() = default; virtual double area() const { return N * 0.5 + Shape<N - 1>().area(); } };
template <> struct Shape<0> { virtual ~Shape() = default; virtual double area() const { return 0; } };''')
for i in range(2):
    print(f'''struct Order{i} {{ int id; std::string name; std::vector<double> prices; std::shared_ptr<Shape<{i + 1}>> shape; }};
std::map<std::string, std::vector<Order{i}>> group{i}(const std::vector<Order{i}> &orders) {{
    std::map<std::string, std::vector<Order{i}>> out;
    for (const auto &order : orders) if (order.prices.size() > {i}u) out[order.name].push_back(order);
    for (auto &[name, list] : out) std::sort(list.begin(), list.end(), [](const auto &a, const auto &b) {{ return a.id < b.id; }});
    return out;
}}
std::string show{i}(const std::unordered_map<int, Order{i}> &orders) {{
    std::ostringstream text;
    std::function<void(const Order{i} &)> one = [&](const Order{i} &o) {{ text << o.id << ' ' << o.name << ' ' << (o.shape ? o.shape->area() : 0) << char(10); }};
    for (const auto &entry : orders) one(entry.second);
    return text.str();
}}''')
