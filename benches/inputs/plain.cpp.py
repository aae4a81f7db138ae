"""Code without includes, as a checker or formatter sees it."""
for i in range(24):
    print(f'''namespace n{i} {{
struct Item{i} {{ int id; int count; double price; Item{i} *next; }};
static int total{i}(const Item{i} *item, int limit) {{
    int sum = 0;
    for (int k = 0; item != nullptr && k < limit; k++, item = item->next) {{
        if (item->count > {i} && (item->id % 3 == 0 || item->price > {i}.5)) {{ sum += item->count * (k + {i}); }}
        else if (item->id == {i}) {{ sum -= 1; continue; }}
        switch (item->id & 3) {{ case 0: sum ^= {i}; break; case 1: sum += k; break; default: break; }}
    }}
    return sum;
}}
class Box{i} {{ public: explicit Box{i}(int size) : data(new int[size]), used(0), size(size) {{}} ~Box{i}() {{ delete[] data; }}
    bool put(int value) {{ if (used >= size) return false; data[used++] = value; return true; }}
    int at(int place) const {{ return place < used ? data[place] : -1; }}
private: int *data; int used; int size; }};
int run{i}(int n) {{ Box{i} box(n); Item{i} last = {{1, 2, 3.0, nullptr}}; Item{i} first = {{3, n, 1.0, &last}};
    for (int k = 0; k < n; ++k) box.put(total{i}(&first, k)); return box.at(n / 2) + total{i}(&last, n); }}
}}''')
