// A fixed number of operator new/delete pairs of one size, for counting instructions. argv[1]: the size,
// argv[2]: how many pairs.
#include <cstdlib>
#include <new>

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    std::size_t size = static_cast<std::size_t>(std::atol(argv[1]));
    for (long n = std::atol(argv[2]); n > 0; n--) {
        void *volatile object = ::operator new(size);
        ::operator delete(object);
    }
    return 0;
}
